"""What a frame of a client does: the table (state, command) -> method.

Rule: what is not in the table is a protocol error. A method has its effect in one step, or starts
the pipeline of user code and returns; the next frame of the session waits until that has ended. The
RECEIPT follows the effect.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeAlias

from stocksync_ws.broker.calls.dispatch import Dispatch
from stocksync_ws.broker.calls.tasks import Tasks
from stocksync_ws.broker.frames.receipts import Receipts
from stocksync_ws.broker.frames.sending import Sending
from stocksync_ws.broker.frames.subscribing import Subscribing
from stocksync_ws.broker.frames.transactions import TransactionFrames
from stocksync_ws.broker.model.namespace import is_destination
from stocksync_ws.broker.model.pipeline import Task
from stocksync_ws.broker.model.session import Session, State
from stocksync_ws.broker.sessions.errors import ErrorReporter
from stocksync_ws.broker.sessions.lifecycle import Lifecycle
from stocksync_ws.config import BrokerConfig
from stocksync_ws.errors import CloseCode, DisconnectReason, ErrorCode, RemoteProtocolError
from stocksync_ws.stomp.frame import (
    ABORT,
    ACK,
    BEGIN,
    COMMIT,
    CONNECT,
    DISCONNECT,
    NACK,
    SEND,
    STOMP,
    SUBSCRIBE,
    UNSUBSCRIBE,
    Frame,
    Version,
    required,
)
from stocksync_ws.stomp.negotiate import (
    agree_heart_beats,
    choose_version,
    parse_heart_beat,
    trim_for_1_0,
)

__all__ = ["Commands"]

_Method: TypeAlias = Callable[[Session, Frame, float], None]


class Commands:
    """The frame table of one broker."""

    def __init__(
        self,
        config: BrokerConfig,
        dispatch: Dispatch,
        life: Lifecycle,
        tasks: Tasks,
        failures: ErrorReporter,
        receipts: Receipts,
        sending: Sending,
        committing: TransactionFrames,
        subscribing: Subscribing,
        proceed: Callable[[Session, float], None],
    ) -> None:
        self._limits = config.limits
        self._dispatch = dispatch
        self._life = life
        self._tasks = tasks
        self._failures = failures
        self._receipts = receipts
        self._sending = sending
        self._subscribing = subscribing
        self._proceed = proceed
        """Decode on: the frame that waited for user code is done."""
        send, receive = config.heart_beat
        self._server_beats = (round(send * 1000), round(receive * 1000))
        self._table: Mapping[tuple[State, str], _Method] = {
            (State.AWAITING, CONNECT): self._connect,
            (State.AWAITING, STOMP): self._connect,
            (State.CONNECTED, SEND): self._send,
            (State.CONNECTED, SUBSCRIBE): self._subscribe,
            (State.CONNECTED, UNSUBSCRIBE): subscribing.unsubscribe,
            (State.CONNECTED, ACK): sending.acknowledge,
            (State.CONNECTED, NACK): sending.acknowledge,
            (State.CONNECTED, BEGIN): committing.begin,
            (State.CONNECTED, COMMIT): committing.commit,
            (State.CONNECTED, ABORT): committing.abort,
            (State.CONNECTED, DISCONNECT): self._disconnect,
            (State.ENDING, SEND): self._send,
            (State.ENDING, UNSUBSCRIBE): subscribing.forget_name,
            (State.ENDING, ACK): sending.acknowledge,
            (State.ENDING, NACK): sending.acknowledge,
            (State.ENDING, BEGIN): committing.begin,
            (State.ENDING, COMMIT): committing.commit,
            (State.ENDING, ABORT): committing.abort,
            (State.ENDING, DISCONNECT): self._disconnect,
        }

    def handle(self, session: Session, frame: Frame, now: float) -> None:
        """Do what the frame asks for.

        Raises:
            RemoteProtocolError: The frame is not allowed here, or is malformed; the peer's fault.
        """
        method = self._table.get((session.state, frame.command))
        if method is None:
            refusal = _REFUSALS.get(session.state)
            if refusal is None:
                return
            raise RemoteProtocolError(refusal, frame.command, frame.headers)
        if session.version is not None and frame.command not in _SETTLING:
            required(frame, session.version)
        if "receipt" in frame.headers:
            self._receipts.check(session, frame)
        method(session, frame, now)

    # CONNECT

    def _connect(self, session: Session, frame: Frame, now: float) -> None:
        version = choose_version(frame.headers.get("accept-version"))
        if version is None:
            raise RemoteProtocolError(ErrorCode.UNSUPPORTED_VERSION, frame.command, frame.headers)
        beats = (0, 0)
        if version is Version.V10:
            frame.headers = trim_for_1_0(frame.headers)
        else:
            try:
                beats = parse_heart_beat(frame.headers.get("heart-beat"))
            except RemoteProtocolError as problem:
                raise RemoteProtocolError(problem.code, frame.command, frame.headers) from None
        pipeline = self._dispatch.connect(session, frame)
        if pipeline is None:
            self._connected(session, version, beats, None, now)
        else:
            done = partial(self._connect_done, frame, version, beats)
            self._tasks.run_frame(session, pipeline, done, now)

    def _connect_done(
        self,
        frame: Frame,
        version: Version,
        beats: tuple[int, int],
        task: Task,
        user: Any,
        error: BaseException | None,
        now: float,
    ) -> None:
        session = self._tasks.frame_done(task)
        if session.state is State.AWAITING:
            if error is None:
                self._connected(session, version, beats, user, now)
            else:
                self._failures.refuse_connect(session, frame, version, error, now)
        self._proceed(session, now)

    def _connected(
        self,
        session: Session,
        version: Version,
        beats: tuple[int, int],
        user: Any,
        now: float,
    ) -> None:
        client_every, server_every = agree_heart_beats(beats, self._server_beats)
        session.read_every = client_every / 1000
        session.write_every = server_every / 1000
        session.version = session.decoder.version = version
        session.user = user
        self._life.welcome(session, self._server_beats, now)

    # The others

    def _send(self, session: Session, frame: Frame, now: float) -> None:
        self._sending.send(session, frame, self._destination(frame), now)

    def _subscribe(self, session: Session, frame: Frame, now: float) -> None:
        self._subscribing.subscribe(session, frame, self._destination(frame), now)

    def _disconnect(self, session: Session, frame: Frame, now: float) -> None:
        self._receipts.send(session, frame, now)
        self._life.close(session, CloseCode.NORMAL, DisconnectReason.CLIENT_DISCONNECT, now)

    def _destination(self, frame: Frame) -> str:
        destination = frame.headers["destination"]
        if not is_destination(destination, self._limits):
            raise RemoteProtocolError(ErrorCode.BAD_DESTINATION, frame.command, frame.headers)
        return destination


_SETTLING = frozenset((ACK, NACK))
"""What of these is missing is looked at behind what they name: see `Acknowledgements`."""
_REFUSALS = {
    State.AWAITING: ErrorCode.NOT_CONNECTED,
    State.CONNECTED: ErrorCode.ALREADY_CONNECTED,
}
"""What a command that is not in the table is told. In ENDING nobody is there to be told."""

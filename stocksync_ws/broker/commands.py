"""What a frame of a client does: the table (state, command) -> method, and the methods.

Rule: what is not in the table is a protocol error. A method has its effect in one step, or starts
the pipeline of user code and returns; the next frame of the session waits until that has ended. The
RECEIPT follows the effect.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeAlias

from stocksync_ws.broker.destinations import (
    Kind,
    Space,
    has_wildcard,
    is_destination,
    printable,
)
from stocksync_ws.broker.dispatch import Dispatch, Reply
from stocksync_ws.broker.events import SessionSubscribed, SessionUnsubscribed
from stocksync_ws.broker.failures import Failures
from stocksync_ws.broker.headers import strip_reserved
from stocksync_ws.broker.index import Index
from stocksync_ws.broker.life import Life
from stocksync_ws.broker.outbox import Outbox
from stocksync_ws.broker.pipeline import Pipeline, Task
from stocksync_ws.broker.publication import Draft
from stocksync_ws.broker.publisher import Publisher
from stocksync_ws.broker.replies import receipt
from stocksync_ws.broker.session import Session, State, Subscription
from stocksync_ws.broker.tasks import Tasks
from stocksync_ws.config import BrokerConfig
from stocksync_ws.counters import Counters
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

ACK_MODES = ("auto", "client", "client-individual")

_Method: TypeAlias = Callable[[Session, Frame, float], None]


class Commands:
    """The frame table of one broker."""

    __slots__ = (
        "_counters",
        "_dispatch",
        "_failures",
        "_index",
        "_life",
        "_limits",
        "_outbox",
        "_proceed",
        "_publisher",
        "_server_beats",
        "_table",
        "_tasks",
        "space",
    )

    def __init__(
        self,
        config: BrokerConfig,
        dispatch: Dispatch,
        space: Space,
        counters: Counters,
        index: Index,
        outbox: Outbox,
        life: Life,
        publisher: Publisher,
        tasks: Tasks,
        failures: Failures,
        proceed: Callable[[Session, float], None],
    ) -> None:
        self._limits = config.limits
        self._dispatch = dispatch
        self.space = space
        self._counters = counters
        self._index = index
        self._outbox = outbox
        self._life = life
        self._publisher = publisher
        self._tasks = tasks
        self._failures = failures
        self._proceed = proceed
        """Decode on: the frame that waited for user code is done."""
        self._table: Mapping[tuple[State, str], _Method] = {
            (State.AWAITING, CONNECT): self._connect,
            (State.AWAITING, STOMP): self._connect,
            (State.CONNECTED, SEND): self._send,
            (State.CONNECTED, SUBSCRIBE): self._subscribe,
            (State.CONNECTED, UNSUBSCRIBE): self._unsubscribe,
            (State.CONNECTED, ACK): self._unsupported,
            (State.CONNECTED, NACK): self._unsupported,
            (State.CONNECTED, BEGIN): self._unsupported,
            (State.CONNECTED, COMMIT): self._unsupported,
            (State.CONNECTED, ABORT): self._unsupported,
            (State.CONNECTED, DISCONNECT): self._disconnect,
            (State.ENDING, SEND): self._send,
            (State.ENDING, DISCONNECT): self._disconnect,
        }
        send, receive = config.heart_beat
        self._server_beats = (round(send * 1000), round(receive * 1000))

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
        if session.version is not None:
            required(frame, session.version)
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
            beats = parse_heart_beat(frame.headers.get("heart-beat"))
        pipeline = self._dispatch.connect(session, frame)
        done = partial(self._connect_done, frame, version, beats)
        if pipeline is None:
            self._connected(session, version, beats, None, now)
        else:
            self._run(session, pipeline, done, now)

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
        session = self._ended(task)
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

    # SEND

    def _send(self, session: Session, frame: Frame, now: float) -> None:
        destination = self._destination(frame)
        if has_wildcard(destination):
            raise RemoteProtocolError(ErrorCode.BAD_DESTINATION, frame.command, frame.headers)
        if "transaction" in frame.headers:
            raise RemoteProtocolError(ErrorCode.UNSUPPORTED, frame.command, frame.headers)
        kind, path = self.space.classify(destination)
        if kind is Kind.APPLICATION:
            self._send_to_handler(session, frame, path, now)
        elif kind is Kind.NOWHERE:
            self._failures.application(session, frame, ErrorCode.NO_DESTINATION, now)
        elif kind is Kind.USER or not self.space.may_send.match(destination):
            self._failures.application(session, frame, ErrorCode.SEND_DENIED, now)
        else:
            headers, stripped = strip_reserved(frame.headers)
            self._counters.headers_stripped += stripped
            self._publisher.publish(Draft(destination, headers, frame.body), now)
            self._receipt(session, frame, now)

    def _send_to_handler(self, session: Session, frame: Frame, path: str, now: float) -> None:
        pipeline = self._dispatch.send(session, frame, path)
        if pipeline is None:
            self._failures.application(session, frame, ErrorCode.NO_HANDLER, now)
        else:
            self._run(session, pipeline, partial(self._send_done, frame), now)

    def _send_done(
        self, frame: Frame, task: Task, value: Any, error: BaseException | None, now: float
    ) -> None:
        session = self._ended(task)
        if error is None:
            self._receipt(session, frame, now)
        else:
            self._failures.handler(session, frame, error, task.label, now)
        self._proceed(session, now)

    # SUBSCRIBE, UNSUBSCRIBE

    def _subscribe(self, session: Session, frame: Frame, now: float) -> None:
        destination = self._destination(frame)
        key = self._new_key(session, frame, destination)
        kind, path = self.space.classify(destination)
        if has_wildcard(destination):
            self._refuse_subscribe(session, frame, key, ErrorCode.SUBSCRIBE_DENIED, now)
        elif kind is Kind.APPLICATION:
            self._subscribe_to_handler(session, frame, key, path, now)
        elif kind is Kind.NOWHERE:
            self._refuse_subscribe(session, frame, key, ErrorCode.NO_DESTINATION, now)
        elif not self._may_subscribe(kind, destination):
            self._refuse_subscribe(session, frame, key, ErrorCode.SUBSCRIBE_DENIED, now)
        else:
            subscription = Subscription(session, frame.headers.get("id"), destination)
            session.subscriptions[key] = subscription
            if kind is not Kind.USER:
                self._index.join(destination, subscription)
            elif session.user is not None:
                self._index.join((session.user.name, path), subscription)
            self._receipt(session, frame, now)
            self._life.emit(session, self._subscribed(subscription), now)

    def _may_subscribe(self, kind: Kind, destination: str) -> bool:
        if kind is Kind.USER:
            return self.space.is_own(destination)
        return self.space.may_subscribe.match(destination)

    def _new_key(self, session: Session, frame: Frame, destination: str) -> str:
        """The key of a new subscription: its id, or in 1.0 without one its destination."""
        headers = frame.headers
        mode = headers.get("ack", "auto")
        if mode not in ACK_MODES:
            raise RemoteProtocolError(ErrorCode.BAD_ACK_MODE, frame.command, headers)
        if mode != "auto" or "selector" in headers:
            raise RemoteProtocolError(ErrorCode.UNSUPPORTED, frame.command, headers)
        key = self._key(frame)
        if key in session.subscriptions:
            raise RemoteProtocolError(ErrorCode.DUPLICATE_SUBSCRIPTION, frame.command, headers)
        if len(session.subscriptions) >= self._limits.max_subscriptions:
            raise RemoteProtocolError(ErrorCode.LIMIT_COUNT, frame.command, headers)
        return key

    def _subscribe_to_handler(
        self, session: Session, frame: Frame, key: str, path: str, now: float
    ) -> None:
        pipeline = self._dispatch.subscribe(session, frame, path)
        if pipeline is None:
            self._refuse_subscribe(session, frame, key, ErrorCode.NO_HANDLER, now)
            return
        subscription = Subscription(session, frame.headers.get("id"), frame.headers["destination"])
        session.subscriptions[key] = subscription
        self._run(session, pipeline, partial(self._subscribe_done, frame, key, subscription), now)

    def _subscribe_done(
        self,
        frame: Frame,
        key: str,
        subscription: Subscription,
        task: Task,
        reply: Reply | None,
        error: BaseException | None,
        now: float,
    ) -> None:
        session = self._ended(task)
        if error is not None:
            session.subscriptions.pop(key, None)
            self._remember_refused(session, key)
            self._failures.handler(session, frame, error, task.label, now)
        else:
            self._receipt(session, frame, now)
            if session.state is State.CONNECTED:
                self._life.emit(session, self._subscribed(subscription), now)
                if reply is not None:
                    self._publisher.answer(subscription, reply, now)
        self._proceed(session, now)

    def _unsubscribe(self, session: Session, frame: Frame, now: float) -> None:
        key = self._key(frame)
        subscription = session.subscriptions.pop(key, None)
        if subscription is not None:
            self._index.leave(subscription)
            event = SessionUnsubscribed(
                session_id=session.id,
                user=session.user,
                subscription_id=subscription.id,
                destination=subscription.destination,
            )
            self._life.emit(session, event, now)
        elif session.refused_ids is not None and key in session.refused_ids:
            del session.refused_ids[key]
            self._counters.unsubscribes_ignored += 1
        else:
            raise RemoteProtocolError(ErrorCode.UNKNOWN_SUBSCRIPTION, frame.command, frame.headers)
        self._receipt(session, frame, now)

    def _refuse_subscribe(
        self, session: Session, frame: Frame, key: str, code: ErrorCode, now: float
    ) -> None:
        self._remember_refused(session, key)
        self._failures.application(session, frame, code, now)

    def _remember_refused(self, session: Session, key: str) -> None:
        """So that the UNSUBSCRIBE of a client that did not see the refusal is no error."""
        if session.refused_ids is None:
            session.refused_ids = {}
        session.refused_ids.pop(key, None)
        session.refused_ids[key] = None
        if len(session.refused_ids) > self._limits.max_subscriptions:
            del session.refused_ids[next(iter(session.refused_ids))]

    # The rest

    def _unsupported(self, session: Session, frame: Frame, now: float) -> None:
        raise RemoteProtocolError(ErrorCode.UNSUPPORTED, frame.command, frame.headers)

    def _disconnect(self, session: Session, frame: Frame, now: float) -> None:
        self._receipt(session, frame, now)
        self._life.close(session, CloseCode.NORMAL, DisconnectReason.CLIENT_DISCONNECT, now)

    # Helpers

    def _receipt(self, session: Session, frame: Frame, now: float) -> None:
        """The effect of the frame has happened; say so if it asked."""
        receipt_id = frame.headers.get("receipt")
        if receipt_id is not None and session.state is State.CONNECTED:
            assert session.version is not None
            self._outbox.frame(session, receipt(receipt_id, session.version), True, now)

    def _destination(self, frame: Frame) -> str:
        destination = frame.headers["destination"]
        if not is_destination(destination, self._limits):
            raise RemoteProtocolError(ErrorCode.BAD_DESTINATION, frame.command, frame.headers)
        return destination

    def _key(self, frame: Frame) -> str:
        subscription_id = frame.headers.get("id")
        if subscription_id is None:
            return "\0" + frame.headers["destination"]
        if not printable(subscription_id):
            raise RemoteProtocolError(ErrorCode.BAD_HEADER, frame.command, frame.headers)
        return subscription_id

    def _subscribed(self, subscription: Subscription) -> SessionSubscribed:
        session = subscription.session
        return SessionSubscribed(
            session_id=session.id,
            user=session.user,
            subscription_id=subscription.id,
            destination=subscription.destination,
        )

    def _run(
        self,
        session: Session,
        pipeline: Pipeline[Any],
        done: Callable[[Task, Any, BaseException | None, float], None],
        now: float,
    ) -> None:
        """Start the pipeline of a frame; the session's next frame waits for it."""
        tasks = self._tasks
        task = tasks.start(session, pipeline, session.context.copy(), done, now)
        if task in tasks.running:
            session.task = task

    def _ended(self, task: Task) -> Session:
        session = task.session
        assert session is not None
        session.task = None
        return session


_REFUSALS = {
    State.AWAITING: ErrorCode.NOT_CONNECTED,
    State.CONNECTED: ErrorCode.ALREADY_CONNECTED,
}
"""What a command that is not in the table is told. In ENDING nobody is there to be told."""

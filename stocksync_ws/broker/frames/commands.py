"""What a frame of a client does: the table (state, command) -> method.

Rule: what is not in the table is a protocol error. A method has its effect in one step, or returns
the script of what waits for user code; the next frame of the session waits until that has ended.
Interceptors of the application are asked before, and the frame that they leave is looked at
again. The RECEIPT follows the effect.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

from stocksync_ws.broker.frames.connecting import Connecting
from stocksync_ws.broker.frames.intercepting import Intercepting
from stocksync_ws.broker.frames.sending import Sending
from stocksync_ws.broker.frames.subscribing import Subscribing
from stocksync_ws.broker.frames.transactions import TransactionFrames
from stocksync_ws.broker.model.credentials import REFRESH_PATH
from stocksync_ws.broker.model.environment import Environment
from stocksync_ws.broker.model.namespace import Place, oversize
from stocksync_ws.broker.model.pipeline import Join, Pipeline, Script
from stocksync_ws.broker.model.session import SessionRecord
from stocksync_ws.broker.model.state import State
from stocksync_ws.codes import ErrorCode
from stocksync_ws.errors import RemoteProtocolError
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
    required,
)

__all__ = ["Commands"]

_Method: TypeAlias = Callable[[SessionRecord, Frame], Script | None]


class Commands:
    """The frame table of one broker."""

    __slots__ = (
        "_intercepting",
        "_limits",
        "_namespace",
        "_rates",
        "_rates_used",
        "_refresh",
        "_refresh_at",
        "_sending",
        "_subscribing",
        "_table",
    )

    def __init__(
        self,
        env: Environment,
        connecting: Connecting,
        sending: Sending,
        transactions: TransactionFrames,
        subscribing: Subscribing,
        intercepting: Intercepting,
    ) -> None:
        self._intercepting = intercepting
        self._limits = env.limits
        self._rates = intercepting.rates
        self._rates_used = env.buckets.used
        self._namespace = env.namespace
        self._sending = sending
        self._subscribing = subscribing
        self._refresh = connecting.refreshing.refresh
        self._refresh_at = env.config.user_prefix + REFRESH_PATH
        self._table: Mapping[tuple[State, str], _Method] = {
            (State.AWAITING, CONNECT): connecting.connect,
            (State.AWAITING, STOMP): connecting.connect,
            (State.CONNECTED, SEND): self._send,
            (State.CONNECTED, SUBSCRIBE): self._subscribe,
            (State.CONNECTED, UNSUBSCRIBE): subscribing.unsubscribing.unsubscribe,
            (State.CONNECTED, ACK): sending.acknowledge,
            (State.CONNECTED, NACK): sending.acknowledge,
            (State.CONNECTED, BEGIN): transactions.begin,
            (State.CONNECTED, COMMIT): transactions.commit,
            (State.CONNECTED, ABORT): transactions.abort,
            (State.CONNECTED, DISCONNECT): connecting.disconnect,
            (State.ENDING, SEND): self._send,
            (State.ENDING, UNSUBSCRIBE): subscribing.unsubscribing.forget_name,
            (State.ENDING, ACK): sending.acknowledge,
            (State.ENDING, NACK): sending.acknowledge,
            (State.ENDING, BEGIN): transactions.begin,
            (State.ENDING, COMMIT): transactions.commit,
            (State.ENDING, ABORT): transactions.abort,
            (State.ENDING, DISCONNECT): connecting.disconnect,
        }

    def handle(self, session: SessionRecord, frame: Frame) -> Script | None:
        """Do what the frame asks for, or return the script that does it.

        Raises:
            RemoteProtocolError: The frame is not allowed here, or is malformed; the peer's fault.
        """
        if session.inbound.window is not None and not self._sending.goes_beside(session, frame):
            return self._behind_window(session, frame)
        method = self._table.get((session.state, frame.command))
        if method is None:
            refusal = _REFUSALS.get(session.state)
            if refusal is None:
                return None
            raise RemoteProtocolError(refusal, frame.command, frame.headers)
        if session.version is not None and frame.command not in _SETTLING:
            required(frame, session.version)
        if self._rates_used and frame.command in _RATED and self._rates.refuse(session, frame):
            return None
        if self._intercepting.none:
            return method(session, frame)
        pipeline = self._intercepting.ask(session, frame)
        if pipeline is None:
            return method(session, frame)
        return self._intercepted(session, frame, pipeline)

    def _behind_window(self, session: SessionRecord, frame: Frame) -> Script:
        """Go on with a frame when no SEND of its session is on its way to the engine any more."""
        window = session.inbound.window
        assert window is not None
        yield Join(window.waiting)
        if session.state not in (State.CONNECTED, State.ENDING):
            return
        script = self.handle(session, frame)
        if script is not None:
            yield from script

    def _intercepted(
        self, session: SessionRecord, frame: Frame, pipeline: Pipeline[Frame]
    ) -> Script:
        """Go on with what the interceptors make of a frame, as if it had come like that."""
        changed = yield from self._intercepting.judge(session, frame, pipeline)
        method = self._table.get((session.state, frame.command))
        if changed is None or method is None:
            return
        if session.version is not None and frame.command not in _SETTLING:
            required(changed, session.version)
        script = method(session, changed)
        if script is not None:
            yield from script

    def _send(self, session: SessionRecord, frame: Frame) -> Script | None:
        place = self._place(frame)
        if place.destination == self._refresh_at:
            return self._refresh(session, frame)
        return self._sending.send(session, frame, place)

    def _subscribe(self, session: SessionRecord, frame: Frame) -> Script | None:
        return self._subscribing.subscribe(session, frame, self._place(frame))

    def _place(self, frame: Frame) -> Place:
        destination = frame.headers["destination"]
        place = self._namespace.place(destination)
        if place is None:
            detail = oversize(destination, self._limits)
            raise RemoteProtocolError(
                ErrorCode.BAD_DESTINATION, frame.command, frame.headers, detail
            )
        return place


_RATED = frozenset((SEND, SUBSCRIBE))
"""Frames that count: see `Rates`."""
_SETTLING = frozenset((ACK, NACK))
"""What of these is missing is looked at behind what they name: see `Acknowledgements`."""
_REFUSALS = {
    State.AWAITING: ErrorCode.NOT_CONNECTED,
    State.CONNECTED: ErrorCode.ALREADY_CONNECTED,
}
"""What a command that is not in the table is told. In ENDING nobody is there to be told."""

"""SENDs and SUBSCRIBEs to destinations that several workers share: they wait for the engine.

Rule: up to `MOST_SENDS` SENDs of a session are on their way at once, and their RECEIPTs leave in
the order of the frames; every other frame waits until none is, and so does what is told of a frame
that is refused meanwhile. A SUBSCRIBE waits until this worker follows its destination, as for a
handler. What the engine does not answer is told as an error of the application, and nothing is told
as done that is not.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from hashlib import sha256

from stocksync_ws.backplane import AppendOutcome
from stocksync_ws.broker.calls.dispatch import Denial
from stocksync_ws.broker.frames.receipts import Receipts
from stocksync_ws.broker.model.destination import Address
from stocksync_ws.broker.model.environment import Environment
from stocksync_ws.broker.model.flight import Failure, Settlement
from stocksync_ws.broker.model.pipeline import Join, Pipeline, Script, Task
from stocksync_ws.broker.model.publication import Draft
from stocksync_ws.broker.model.session import SessionRecord
from stocksync_ws.broker.model.window import MOST_SENDS, SharedSend, Window
from stocksync_ws.broker.sessions.room import Sessions
from stocksync_ws.codes import ErrorCode
from stocksync_ws.errors import AccessDenied, InterceptorFailed
from stocksync_ws.stomp.frame import Frame

__all__ = ["Sharing", "refuse_behind"]

_CODES = {
    Failure.UNAVAILABLE: ErrorCode.BACKPLANE_UNAVAILABLE,
    Failure.UNCERTAIN: ErrorCode.PUBLISH_UNCERTAIN,
    AppendOutcome.REFUSED: ErrorCode.BACKPLANE_UNAVAILABLE,
    AppendOutcome.MISMATCH: ErrorCode.IDEMPOTENCY_MISMATCH,
}


class Sharing:
    """The SENDs and SUBSCRIBEs of clients that concern all workers."""

    __slots__ = ("_counters", "_errors", "_publisher", "_step", "_workers", "none", "receipts")

    def __init__(
        self,
        env: Environment,
        sessions: Sessions,
        receipts: Receipts,
    ) -> None:
        self._counters = env.counters
        self._step = env.step
        self._errors = sessions.errors
        self._publisher = sessions.publisher
        self.receipts = receipts
        workers = sessions.workers
        self.none = workers is None
        """There is one worker, and nothing is shared."""
        if workers is not None:
            self._workers = workers

    def shares(self, destination: str) -> bool:
        """A message of a client to a destination goes to all workers."""
        return self._workers.shares_destination(destination)

    # SEND

    def is_full(self, session: SessionRecord) -> bool:
        """No further SEND may be on its way, or one behind them was refused."""
        window = session.inbound.window
        return window is not None and (len(window.sends) >= MOST_SENDS or len(window.refusals) > 0)

    def send(self, session: SessionRecord, frame: Frame, draft: Draft, key: str) -> None:
        """Send to all workers; its RECEIPT comes when the engine has answered."""
        entry = SharedSend(frame)
        digest = sha256(draft.body).hexdigest() if key else ""
        done = partial(self._settled, session, entry)
        try:
            problem = self._publisher.submit((draft,), done, key=key, digest=digest)
        except AccessDenied as veto:
            self._errors.denied(session, frame, ErrorCode.SEND_DENIED, Denial(str(veto)))
            return
        except InterceptorFailed as failure:
            self._errors.handler(session, frame, failure)
            return
        if problem:
            code = self.failure(Settlement(Failure.UNAVAILABLE))
            assert code is not None
            self._errors.application(session, frame, code, rule=problem)
            return
        if session.inbound.window is None:
            session.inbound.window = Window()
        session.inbound.window.sends.append(entry)

    def may_commit(self, drafts: Sequence[Draft]) -> bool:
        """Whether the engine can take all of these in one step."""
        return len({self._workers.partition_of(draft.target) for draft in drafts}) < 2

    def commit(self, drafts: Sequence[Draft]) -> Pipeline[Settlement]:
        """Send what a transaction publishes in one step, and wait for the engine; the interceptors
        have seen it.
        """
        settled: list[Settlement] = []
        waiting: list[Task] = []

        def done(settlement: Settlement) -> None:
            settled.append(settlement)
            for task in waiting:
                self._step.joined(task, True)

        problem = self._publisher.submit(drafts, done, intercepted=True)
        if problem:
            return Settlement(Failure.UNAVAILABLE, problem=problem)
        yield Join(waiting)
        return settled[0]

    def _settled(self, session: SessionRecord, entry: SharedSend, settlement: Settlement) -> None:
        """The engine has answered one of a session: RECEIPTs leave in the order of the frames."""
        entry.settlement = settlement
        window = session.inbound.window
        assert window is not None
        sends = window.sends
        while sends and (settled := sends[0].settlement) is not None:
            self._finish(session, sends.popleft().frame, settled)
        if not sends:
            session.inbound.window = None
            for tell in window.refusals:
                tell()
            for task in window.waiting:
                self._step.joined(task, True)

    def _finish(self, session: SessionRecord, frame: Frame, settlement: Settlement) -> None:
        code = self.failure(settlement)
        if code is not None:
            self._errors.tell(session, frame, code, rule=settlement.problem)
            return
        extra: dict[str, str] | None = None
        if "idempotency-key" in frame.headers and settlement.positions:
            extra = {"message-id": str(settlement.positions[0])}
            if settlement.outcome is AppendOutcome.DUPLICATE:
                self._counters.messages_duplicate += 1
                extra = {"duplicate": "true", **extra}
        self.receipts.send(session, frame, extra)

    def failure(self, settlement: Settlement) -> ErrorCode | None:
        """The code that a client is told of an append that was not done, or may not have been."""
        outcome = settlement.outcome
        if outcome is AppendOutcome.ACCEPTED:
            return None
        if outcome is AppendOutcome.REPEATED and not settlement.positions:
            outcome = Failure.UNCERTAIN
        code = _CODES.get(outcome)
        self._counters.backplane_uncertain += code is ErrorCode.PUBLISH_UNCERTAIN
        self._counters.backplane_refused += code is ErrorCode.BACKPLANE_UNAVAILABLE
        return code

    # SUBSCRIBE

    def follows(self, session: SessionRecord, address: Address) -> bool:
        """Whether a session may be subscribed at once: what it reads there comes from this worker
        alone, or this worker follows it already. Else it begins to.
        """
        if isinstance(address, str):
            shared = self._workers.shares_destination(address)
        else:
            shared = session.user is not None  # an anonymous session has destinations of its own
        return not shared or self._workers.follow(address)

    def attach(self, address: Address) -> Pipeline[bool]:
        """Wait until this worker follows a destination; whether it does."""
        followed: bool = yield self._workers.wait(address)
        return followed


def refuse_behind(window: Window, problem: BaseException) -> Script:
    """Refuse a frame when the engine has answered the SENDs before it."""
    yield Join(window.waiting)
    raise problem

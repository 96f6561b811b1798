"""Opening: a handshake becomes a session, when the application has no objection.

Rule: the verdict may come at once or much later; until then the session is OPENING and its
connection keeps what arrives. A verdict that comes too late is ignored.
"""

from __future__ import annotations

import contextvars

from stocksync_ws.broker.calls.room import Calls
from stocksync_ws.broker.model.credentials import Credentials
from stocksync_ws.broker.model.environment import Environment
from stocksync_ws.broker.model.pipeline import Pipeline, Script
from stocksync_ws.broker.model.session import SessionRecord
from stocksync_ws.broker.sessions.errors import ErrorReporter
from stocksync_ws.broker.sessions.lifecycle import Lifecycle
from stocksync_ws.broker.sessions.liveness import Liveness
from stocksync_ws.errors import Cancelled
from stocksync_ws.stomp.decoder import Decoder
from stocksync_ws.types import Handshake, Refusal

__all__ = ["Opening"]


class Opening:
    """Makes the sessions of a broker."""

    __slots__ = ("_calls", "_env", "_errors", "_lifecycle", "_liveness")

    def __init__(
        self,
        env: Environment,
        calls: Calls,
        lifecycle: Lifecycle,
        liveness: Liveness,
        errors: ErrorReporter,
    ) -> None:
        self._env = env
        self._calls = calls
        self._lifecycle = lifecycle
        self._liveness = liveness
        self._errors = errors

    def open(self, handshake: Handshake) -> SessionRecord:
        """A handshake came; its verdict comes by `Outputs.answers`, maybe much later."""
        env = self._env
        session = SessionRecord(
            env.token(128),
            handshake,
            Decoder(env.limits),
            env.office,
            self._liveness,
            contextvars.copy_context(),
        )
        env.sessions[session.id] = session
        if self._lifecycle.stopping:
            self._lifecycle.decide(session, Refusal(503, "The server is stopping."))
            return session
        pipeline = self._calls.dispatch.handshake(handshake)
        if pipeline is None:
            self._lifecycle.decide(session, None)
        else:
            self._lifecycle.users.ask(session)
            self._calls.tasks.run_frame(session, self._judge(session, handshake, pipeline))
        return session

    def _judge(
        self,
        session: SessionRecord,
        handshake: Handshake,
        pipeline: Pipeline[Refusal | Credentials | None],
    ) -> Script:
        try:
            verdict = yield from pipeline
            if isinstance(verdict, Credentials):
                verdict.begin(self._env.step.now)
                session.credentials = verdict
                verdict = None
            session.attributes = handshake.attributes or None
        except (Exception, Cancelled) as problem:
            self._errors.refuse_handshake(session, problem)
        else:
            self._lifecycle.decide(session, verdict)

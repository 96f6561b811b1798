"""Outbound interceptors of the application: asked once for each publication, before it is accepted.

Rule: they see the draft, change it, or refuse it; nothing of it has happened yet. What they publish
themselves comes behind what they look at, and is looked at too.
"""

from __future__ import annotations

from stocksync_ws.broker.calls.dispatch import Outbound
from stocksync_ws.broker.calls.room import Calls
from stocksync_ws.broker.model.environment import Environment
from stocksync_ws.broker.model.publication import Draft, PublicationKind
from stocksync_ws.errors import AccessDenied

__all__ = ["Interception"]


class Interception:
    """Asks the outbound interceptors."""

    __slots__ = ("_counters", "_dispatch", "_failed", "_outbound", "_step", "none")

    def __init__(self, env: Environment, calls: Calls) -> None:
        self.none = False
        """There are none: nobody needs to ask. Known with the first publication: an application may
        be declared until then.
        """
        self._dispatch = calls.dispatch
        self._failed = calls.failed
        self._counters = env.counters
        self._step = env.step
        self._outbound: Outbound | None = None

    def look(self, draft: Draft, kind: PublicationKind) -> None:
        """Let the interceptors look at a draft, and change it.

        Raises:
            AccessDenied: One refuses it.
            InterceptorFailed: One failed; the log tells how.
        """
        outbound = self._outbound
        if outbound is None:
            outbound = self._outbound = self._dispatch.outbound
            if outbound is None:
                self.none = True
                return
        step = self._step
        step.looking = True
        try:
            outbound(draft, kind, self._failed)
        except AccessDenied:
            self._counters.publications_vetoed += 1
            raise
        finally:
            step.looking = False

    def failed(self, error: Exception) -> None:
        """A publication of an interceptor could not be taken."""
        self._failed("what interceptors publish", error)

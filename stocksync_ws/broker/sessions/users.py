"""Acts of the server on the sessions of a user: their ends, and the bound of their number.

Rule: whoever is ended is told why, by an ERROR in front of the close; what waits for it is dropped.
A CONNECT that is being decided while the sessions of its user are ended is refused: it was asked
about before. Anonymous sessions count nowhere.
"""

from __future__ import annotations

from collections.abc import Iterable

from stocksync_ws.broker.model.environment import Environment
from stocksync_ws.broker.model.session import SessionRecord
from stocksync_ws.broker.model.user_index import Asked
from stocksync_ws.broker.sessions.errors import ErrorReporter
from stocksync_ws.broker.sessions.lifecycle import Lifecycle
from stocksync_ws.codes import ErrorCode
from stocksync_ws.errors import RemoteProtocolError
from stocksync_ws.types import Principal

__all__ = ["MOST_REASON", "Users"]

MOST_REASON = 200
"""Characters of the reason of a disconnect that a client is told."""


class Users:
    """The users of a broker."""

    __slots__ = ("_counters", "_errors", "_index", "_most", "_newest_wins", "_sessions")

    def __init__(self, env: Environment, lifecycle: Lifecycle, errors: ErrorReporter) -> None:
        self._sessions = env.sessions
        self._counters = env.counters
        self._index = lifecycle.users
        self._errors = errors
        self._most = env.config.sessions_per_user
        self._newest_wins = env.config.session_wins == "newest"

    # CONNECT

    def ask(self, session: SessionRecord) -> None:
        """The application begins to decide who a session is."""
        self._index.ask(session)

    def answered(self, session: SessionRecord) -> Asked | None:
        """A question that is over: it tells what happened to users meanwhile. None: the session was
        not asked.
        """
        return self._index.asked.pop(session, None)

    def admit(self, session: SessionRecord, user: Principal | None) -> None:
        """Make room for a session more of a user.

        Raises:
            RemoteProtocolError: The user's sessions were ended meanwhile, or are as many as may be.
        """
        if user is None:
            return
        name = user.name
        asked = self._index.asked.get(session)
        if asked is not None and name in asked.ended:
            raise RemoteProtocolError(ErrorCode.KICKED, detail=_told(asked.ended[name]))
        if self._most is None:
            return
        sessions = self._index.of(name)
        if len(sessions) >= self._most:
            self._make_room(sessions, self._most)

    def _make_room(self, sessions: list[SessionRecord], most: int) -> None:
        """The user has as many sessions as may be: the oldest go, or the new one does not come."""
        detail = f"sessions_per_user: {most}; session_wins: "
        if not self._newest_wins:
            raise RemoteProtocolError(ErrorCode.USER_LIMIT, detail=detail + "'oldest'.")
        for each in sessions[: len(sessions) - most + 1]:
            self._counters.sessions_replaced += 1
            self._errors.end(each, ErrorCode.USER_LIMIT, detail + "'newest'.")

    # The application ends sessions

    def disconnect_user(self, name: str, reason: str, until: float | None = None) -> int:
        """End the sessions of a user; how many.

        Args:
            name: The user.
            reason: Told to the client, and in the log.
            until: Only those that were CONNECTED by then, in the broker's own time; None: all of
                them, and CONNECTs that are being decided.
        """
        ending = [each for each in self._index.ending if each.user_name == name]
        sessions = [*self._index.of(name), *ending]
        if until is not None:
            sessions = [each for each in sessions if each.connected_at <= until]
            return self._disconnect(sessions, reason)
        for asked in self._index.asked.values():
            asked.ended[name] = reason
        return self._disconnect(sessions, reason)

    def disconnect_session(self, session_id: str, reason: str) -> int:
        """End one session; 0 when there is none of this id, or it is being closed already."""
        session = self._sessions.get(session_id)
        return 0 if session is None else self._disconnect([session], reason)

    def _disconnect(self, sessions: Iterable[SessionRecord], reason: str) -> int:
        ended = 0
        for session in sessions:
            ended += self._errors.end(session, ErrorCode.KICKED, _told(reason), reason)
        self._counters.sessions_kicked += ended
        return ended


def _told(reason: str) -> str:
    """The reason as a client is told it: control characters escaped, and cut."""
    if not reason:
        return ""
    cut = reason[:MOST_REASON]
    return f"The reason is {cut!r}{'…' if cut != reason else ''}."

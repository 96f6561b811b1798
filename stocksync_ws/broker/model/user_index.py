"""Sessions by the names of their users, and CONNECTs that are being decided.

Rule: plain records. A session stands under its user from CONNECTED until its row of the table of
ends takes it out; an anonymous one stands nowhere. Other threads read it without a lock: they copy
a dict in one call, and look at the copy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stocksync_ws.broker.model.session import SessionRecord

__all__ = ["Asked", "UserIndex"]


class Asked:
    """Acts of the application on users while a CONNECT was being decided."""

    __slots__ = ("ended", "reviewed")

    def __init__(self) -> None:
        self.ended: dict[str, str] = {}
        """Names whose sessions were ended, with the reason that was given."""
        self.reviewed: set[str] = set()
        """Names whose rights were changed."""


class UserIndex:
    """The sessions of all users of a broker."""

    __slots__ = ("asked", "connected", "ending")

    def __init__(self) -> None:
        self.connected: dict[str, dict[SessionRecord, None]] = {}
        """CONNECTED sessions by the name of their user, the oldest first."""
        self.ending: dict[SessionRecord, None] = {}
        """Sessions whose stream has ended, and whose last frames are processed."""
        self.asked: dict[SessionRecord, Asked] = {}
        """Sessions that the application was asked about, until it is decided who they are."""

    def ask(self, session: SessionRecord) -> None:
        """The application begins to decide who a session is."""
        self.asked.setdefault(session, Asked())

    def of(self, name: str) -> list[SessionRecord]:
        """The CONNECTED sessions of a user, the oldest first."""
        return list(self.connected.get(name, ()))

    def add(self, session: SessionRecord) -> None:
        """A session is CONNECTED."""
        if session.user is not None:
            self.connected.setdefault(session.user.name, {})[session] = None

    def remove(self, session: SessionRecord) -> None:
        """A session is CONNECTED no more."""
        if session.user is None:
            return
        name = session.user.name
        sessions = self.connected.get(name, {})
        sessions.pop(session, None)
        if not sessions:
            self.connected.pop(name, None)

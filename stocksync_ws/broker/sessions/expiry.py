"""Credentials that end: the session is told some time before, and closed at the end.

Rule: the end is the end. What is in work then, a refresh too, is over with the session; new
credentials that were accepted before move it.
"""

from __future__ import annotations

from contextlib import suppress

from stocksync_ws.broker.model.credentials import EXPIRE, TOLD_PATH, Credentials
from stocksync_ws.broker.model.environment import Environment
from stocksync_ws.broker.model.publication import Draft
from stocksync_ws.broker.model.session import SessionRecord
from stocksync_ws.broker.sessions.errors import ErrorReporter
from stocksync_ws.broker.sessions.publisher import Publisher
from stocksync_ws.errors import REFUSED
from stocksync_ws.types import ToSession

__all__ = ["Expiry"]


class Expiry:
    """The end of credentials, of all sessions of a broker."""

    __slots__ = ("_destination", "_errors", "_publisher", "_step")

    def __init__(self, env: Environment, errors: ErrorReporter, publisher: Publisher) -> None:
        self._step = env.step
        self._errors = errors
        self._publisher = publisher
        self._destination = env.config.user_prefix + TOLD_PATH

    def keep(self, session: SessionRecord, credentials: Credentials | None) -> None:
        """A session has credentials, or new ones. None: it is anonymous."""
        if credentials is None:
            return
        session.user = credentials.user
        session.roles = credentials.roles
        session.reads_roles = credentials.reads_roles
        session.verdicts = None
        session.credentials = None if credentials.ends_at is None else credentials

    def due(self, session: SessionRecord) -> None:
        """The time has come to tell a session, or to end it."""
        credentials, now = session.credentials, self._step.now
        assert credentials is not None
        if credentials.ended(now):
            self._errors.expired(session)
            return
        credentials.tell_at = None
        active = session.subscriptions.active.values()
        if any(each.destination == self._destination for each in active):
            headers = ((EXPIRE, str(credentials.left(now))),)
            draft = Draft(ToSession(session.id, TOLD_PATH), headers, b"")
            with suppress(*REFUSED):  # by an interceptor: counted, and told by an event
                self._publisher.publish(draft)

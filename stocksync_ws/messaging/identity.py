"""Identity: who a client is, by its upgrade, by its CONNECT, and by what it sends to stay.

Rule: what an authenticator returns is checked here and nowhere else. A passcode stays in the
request that the authenticator gets.
"""

from __future__ import annotations

import math
from typing import Any, cast

from stocksync_ws.broker.model.credentials import Credentials
from stocksync_ws.broker.model.pipeline import Mode, Pipeline, Threads
from stocksync_ws.broker.model.session import SessionRecord
from stocksync_ws.errors import ConfigurationError, StockSyncError
from stocksync_ws.messaging.authenticated import Authenticated
from stocksync_ws.messaging.connect import (
    Authenticate,
    AuthenticateHandshake,
    Authenticator,
    ConnectHeaders,
    ConnectRequest,
    RoleReader,
    RolesOf,
)
from stocksync_ws.policies import has_surrogate
from stocksync_ws.stomp.frame import Frame
from stocksync_ws.types import HttpRequest, Principal

__all__ = ["Identity"]


class Identity:
    """The authenticators of an application.

    Args:
        authenticator: Of CONNECT; None: it says nothing.
        handshake: Of the upgrade; None: it says nothing.
        roles: Tells the roles of a user; None: `Authenticated` alone does.

    Raises:
        ConfigurationError: One of them cannot work.
    """

    __slots__ = ("_connect", "_handshake", "_roles")

    def __init__(
        self,
        authenticator: Authenticate | None = None,
        handshake: AuthenticateHandshake | None = None,
        roles: RolesOf | None = None,
    ) -> None:
        self._connect = None if authenticator is None else Authenticator(authenticator)
        self._handshake = (
            None if handshake is None else Authenticator(handshake, "handshake_authenticator")
        )
        self._roles = None if roles is None else RoleReader(roles)
        if roles is not None and not self.known:
            raise ConfigurationError(
                "roles: there is no authenticator, so nobody has a name or a role: add"
                " authenticator= or handshake_authenticator="
            )

    @property
    def known(self) -> bool:
        """Somebody may have a name."""
        return self._connect is not None or self._handshake is not None

    @property
    def has_roles(self) -> bool:
        """Somebody may have a role."""
        if self._roles is not None:
            return True
        return any(each.may_give_roles for each in (self._connect, self._handshake) if each)

    @property
    def needs_threads(self) -> bool:
        """One of the functions runs in threads."""
        given = (self._connect, self._handshake, self._roles)
        return any(each.mode is Mode.POOL for each in given if each is not None)

    def users(self, *, final: bool) -> tuple[type, ...] | None:
        """The classes of users that the authenticators name; None when there are no authenticators,
        or not all names in their annotations exist yet.

        Args:
            final: Names have to exist by now.

        Raises:
            ConfigurationError: An annotation is missing, or cannot be evaluated.
        """
        if not self.known:
            return None
        found: tuple[type, ...] = ()
        for each in (self._connect, self._handshake):
            if each is not None:
                users = each.users(final=final)
                if users is None:
                    return None
                found += users
        return found

    # Pipelines

    def handshake(self, request: HttpRequest) -> Pipeline[Credentials | None] | None:
        """The user of an upgrade."""
        if self._handshake is None:
            return None
        return self._ask(self._handshake, request, request, None)

    def connect(self, session: SessionRecord, frame: Frame) -> Pipeline[Credentials | None] | None:
        """The user of a CONNECT."""
        if self._connect is None:
            return None
        assert session.handshake is not None
        request = session.handshake.request
        login = frame.headers.get("login")
        asked = _connect_request(session, frame, request, login, frame.headers.get("passcode"))
        return self._ask(self._connect, asked, request, login)

    def refresh(self, session: SessionRecord, frame: Frame) -> Pipeline[Credentials | None]:
        """The user of a session with new credentials."""
        before = session.credentials
        assert before is not None
        request = before.request
        if before.at_handshake:
            assert self._handshake is not None
            return self._ask(self._handshake, request, request, None)
        assert self._connect is not None
        login = frame.headers.get("login", before.login)
        passcode = frame.body.decode() or None
        asked = _connect_request(session, frame, request, login, passcode)
        return self._ask(self._connect, asked, request, login)

    def roles(self, session: SessionRecord) -> Pipeline[frozenset[str]] | None:
        """The roles of a user as they are now; None: they do not change."""
        if self._roles is None or session.user is None or not session.reads_roles:
            return None
        return _read_roles(self._roles, session.user)

    def _ask(
        self,
        authenticator: Authenticator,
        asked: ConnectRequest | HttpRequest,
        request: HttpRequest,
        login: str | None,
    ) -> Pipeline[Credentials | None]:
        said: Any = yield authenticator.call(asked)
        if said is None:
            return None
        expires_in: float | None = None
        roles: frozenset[str] = frozenset()
        user = said
        if isinstance(said, Authenticated):
            known = cast("Authenticated[Principal]", said)
            user, expires_in, roles = known.user, known.expires_in, frozenset(known.roles)
            if expires_in == math.inf:
                expires_in = None
        _check_name(authenticator.label, user)
        reads_roles = self._roles is not None and not roles
        if self._roles is not None and not roles:
            roles = self._roles.read((yield self._roles.call(user)))
        at_handshake = authenticator is self._handshake
        credentials = Credentials(
            user, expires_in, roles, request=request, login=login, at_handshake=at_handshake
        )
        credentials.reads_roles = reads_roles
        return credentials


def _read_roles(reader: RoleReader, user: Principal) -> Pipeline[frozenset[str]]:
    # Among handlers: many sessions at once would be more than may wait for an authenticator.
    return reader.read((yield reader.call(user, Threads.HANDLERS)))


def _check_name(label: str, user: Any) -> None:
    """A user has a name that can be sent.

    Raises:
        StockSyncError: It has none.
    """
    setting = label.partition(" ")[0]
    name = getattr(user, "name", None)
    if not isinstance(name, str) or not name:
        raise StockSyncError(
            f"the {setting} returned {type(user).__name__}; it must return None or an object with a"
            f" name, which is a text, such as User(name='ann')"
        )
    if has_surrogate(name) or "\0" in name:
        what = "a lone surrogate is no character" if has_surrogate(name) else "NUL ends a text"
        raise StockSyncError(
            f"the {setting} returned a user whose name is {name!r}: {what}, and cannot be"
            f" sent; let it raise BadCredentials"
        )


def _connect_request(
    session: SessionRecord,
    frame: Frame,
    request: HttpRequest,
    login: str | None,
    passcode: str | None,
) -> ConnectRequest:
    """The request that an authenticator gets, of a CONNECT or a SEND with new credentials."""
    return ConnectRequest(
        login=login,
        passcode=passcode,
        headers=ConnectHeaders(frame.headers),
        request=request,
        peer=session.peer,
    )

"""CONNECT, as the application sees it: the request, and the function that decides about it.

Rule: it runs once per session. Passwords stay in the request and are never logged or shown.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias, cast

from stocksync_ws.broker.model.pipeline import Call, Mode, Threads
from stocksync_ws.errors import ConfigurationError, StockSyncError
from stocksync_ws.messaging.authenticated import Authenticated
from stocksync_ws.messaging.binding import plan
from stocksync_ws.messaging.exchange import Role
from stocksync_ws.messaging.hints import UnresolvedName, signature_of
from stocksync_ws.messaging.marks import name_of
from stocksync_ws.messaging.modes import mode_of
from stocksync_ws.messaging.principals import may_give_roles, returned_users
from stocksync_ws.types import HttpRequest, Principal

__all__ = [
    "Authenticate",
    "AuthenticateHandshake",
    "Authenticator",
    "ConnectHeaders",
    "ConnectRequest",
    "RoleReader",
    "RolesOf",
]


class ConnectHeaders(Mapping[str, str]):
    """The headers of a CONNECT frame. `headers["authorization"]` finds what a client spelled
    `Authorization`; names are listed as they were spelled. Of names that differ in case only, the
    first counts.
    """

    __slots__ = ("_found",)

    def __init__(self, headers: Mapping[str, str]) -> None:
        self._found: dict[str, tuple[str, str]] = {}
        for name, value in headers.items():
            self._found.setdefault(name.lower(), (name, value))

    def __getitem__(self, name: str) -> str:
        try:
            return self._found[name.lower()][1]
        except KeyError:
            given = ", ".join(self)[:200]
            raise KeyError(
                f"the CONNECT frame has no header {name!r}, but {given!a}; use"
                f" headers.get({name!r}), and BadCredentials where it is None; headers of the"
                f" upgrade are in request.request"
            ) from None

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.lower() in self._found

    def __iter__(self) -> Iterator[str]:
        for name, _ in self._found.values():
            yield name

    def __len__(self) -> int:
        return len(self._found)

    def __repr__(self) -> str:
        """The names alone: values are secrets."""
        return f"<ConnectHeaders {', '.join(self)}>"


@dataclass(frozen=True, kw_only=True)
class ConnectRequest:
    """The CONNECT frame of a client and the HTTP request of its upgrade, for the authenticator. It
    is asked again when a client SENDs new credentials: the passcode is then the body of the SEND,
    and the headers are those of the SEND.
    """

    login: str | None
    passcode: str | None = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    """Of the CONNECT frame: names compare without case."""
    request: HttpRequest = field(repr=False)
    """Path, query, headers and cookies of the upgrade."""
    peer: str | None
    """The address of the peer, `host:port`."""


_Said: TypeAlias = "Principal | Authenticated[Principal] | None"
Authenticate: TypeAlias = Callable[[ConnectRequest], "_Said | Awaitable[_Said]"]
"""The user of a CONNECT: an object with a `name`, or `Authenticated` with one; None: the session is
anonymous. It raises `AccessDenied` or `BadCredentials`. Its return annotation names the class of
the users."""
AuthenticateHandshake: TypeAlias = Callable[[HttpRequest], "_Said | Awaitable[_Said]"]
"""The user of an upgrade; None leaves it to CONNECT; else as `Authenticate`."""


RolesOf: TypeAlias = "Callable[[Any], Collection[str] | Awaitable[Collection[str]]]"
"""The roles of a user that the authenticator returned, as texts."""


class RoleReader:
    """The application's function from a user to roles, with its colour decided.

    Raises:
        ConfigurationError: It cannot be called with one argument.
    """

    __slots__ = ("_function", "_label", "mode")

    def __init__(self, function: RolesOf) -> None:
        if not callable(function):
            raise ConfigurationError(
                f"roles: {function!r} cannot be called; write a function from a user to its roles"
            )
        self._function = function
        self._label = f"roles {getattr(function, '__module__', '')}.{name_of(function)}"
        self.mode: Mode = mode_of(function, inline=False)
        plan(function, role=Role.CONNECT, names=(), framework={}, label=self._label)

    def call(self, user: Principal, threads: Threads = Threads.AUTHENTICATORS) -> Call:
        """The call that tells the roles of a user."""
        return Call(self._function, (user,), mode=self.mode, label=self._label, threads=threads)

    def read(self, given: object) -> frozenset[str]:
        """What the function returned.

        Raises:
            StockSyncError: It is no collection of texts.
        """
        if isinstance(given, Collection) and not isinstance(given, (str, bytes)):
            roles = frozenset(cast("Collection[object]", given))
            if all(isinstance(role, str) for role in roles):
                return cast("frozenset[str]", roles)
        raise StockSyncError(f"{self._label} returned {given!r}; return a set such as {{'admin'}}")


class Authenticator:
    """The application's function, with its colour decided.

    Args:
        function: Of CONNECT, or of the handshake.
        setting: The argument of `StompApp` that it was given as.

    Raises:
        ConfigurationError: It does not take exactly one argument, or does not say what it returns.
    """

    __slots__ = ("_function", "_users", "label", "mode")

    def __init__(
        self, function: Authenticate | AuthenticateHandshake, setting: str = "authenticator"
    ) -> None:
        if not callable(function):
            raise ConfigurationError(
                f"{setting}: {function!r} cannot be called: give the function itself, as in"
                f" {setting}=authenticate, without calling it"
            )
        self._function = function
        module = getattr(function, "__module__", "")
        self.label = f"{setting} {module}.{name_of(function)}"
        """The setting and the function, for errors and log lines."""
        self.mode: Mode = mode_of(function, inline=False)
        plan(function, role=Role.CONNECT, names=(), framework={}, label=self.label)
        _check_request(function, setting, self.label)
        self._users: tuple[type, ...] | None = None
        self.users(final=False)

    def users(self, *, final: bool) -> tuple[type, ...] | None:
        """The classes of users that its return annotation names.

        Args:
            final: False: None when a name in the annotation does not exist yet.

        Raises:
            ConfigurationError: There is no annotation, or it cannot be evaluated.
        """
        if self._users is None:
            try:
                self._users = returned_users(self._function, self.label)
            except UnresolvedName:
                if final:
                    raise
        return self._users

    @property
    def may_give_roles(self) -> bool:
        """The user may come with roles. Asked when all names exist."""
        return may_give_roles(self._function, self.label)

    def call(self, request: ConnectRequest | HttpRequest) -> Call:
        """The call that decides about a CONNECT, or an upgrade."""
        threads = Threads.AUTHENTICATORS
        return Call(self._function, (request,), mode=self.mode, label=self.label, threads=threads)


_OTHER = {
    "authenticator": (HttpRequest, "ConnectRequest", "handshake_authenticator"),
    "handshake_authenticator": (ConnectRequest, "HttpRequest", "authenticator"),
}
"""The request that the function of a setting does not get, the one that it gets, and the setting
for the other."""


def _check_request(function: Any, setting: str, label: str) -> None:
    """Refuse an authenticator that is written for the other of the two places.

    Raises:
        ConfigurationError: Its parameter says so.
    """
    wrong, right, other = _OTHER[setting]
    parameters = signature_of(function, label).parameters.values()
    if any(each.annotation in (wrong, wrong.__name__) for each in parameters):
        raise ConfigurationError(
            f"{label} takes {wrong.__name__}, and {setting} gets {right}: give it as"
            f" {other}=, or annotate its parameter with {right}"
        )

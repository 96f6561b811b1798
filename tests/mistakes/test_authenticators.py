"""Mistakes about who somebody is: at the handshake, with an end, and with new credentials."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from stocksync_ws import (
    Authenticated,
    BadCredentials,
    ConfigurationError,
    ConnectRequest,
    HttpRequest,
    StompApp,
)
from stocksync_ws.testing.world import World
from tests.mistakes.kit import Mistake, check, compare


@dataclass(frozen=True)
class User:
    name: str


def a_text(request: HttpRequest) -> str:
    return "ann"


async def a_dict(request: HttpRequest) -> dict[str, str] | None:
    return None


def of_a_dict(request: HttpRequest) -> Authenticated[dict[str, str]]:  # type: ignore[type-var]  # pyright: ignore[reportInvalidTypeArguments]
    raise AssertionError


def of_nobody(request: HttpRequest) -> Authenticated:  # type: ignore[type-arg]  # pyright: ignore[reportMissingTypeArgument, reportUnknownParameterType]
    raise AssertionError


def silent(request):  # type: ignore[no-untyped-def]  # pyright: ignore[reportUnknownParameterType, reportMissingParameterType]
    return User("ann")


def connecting(request: ConnectRequest) -> User:
    return User("ann")


def upgrading(request: HttpRequest) -> User:
    return User("ann")


def hers(request: HttpRequest, more: str) -> User:
    return User("ann")


def at_handshake(function: Any) -> StompApp:
    """An application as somebody writes it who does not ask a type checker."""
    return StompApp("/ws", handshake_authenticator=function)


def at_connect(function: Any) -> StompApp:
    """The same at CONNECT."""
    return StompApp("/ws", authenticator=function)


def authenticated(*given: Any, **named: Any) -> Authenticated[User]:
    """`Authenticated`, made as somebody does who does not ask a type checker."""
    return Authenticated(*given, **named)


HERE = "tests.mistakes.test_authenticators"

TABLE = [
    *(
        Mistake(
            lambda function=function: at_handshake(function),
            ConfigurationError,
            (
                f"HERE: {function.__name__}(request: HttpRequest)\n"
                f"  handshake_authenticator {HERE}.{function.__name__}\n"
                f"  it returns {shown}, and a user is an object with a name, which is a text\n"
                f"  possible fixes:\n"
                f"    - return an object of your own class, such as User(name='ann')"
            ),
            "such as User(name='ann')",
        )
        for function, shown in (
            (a_text, "str"),
            (a_dict, "dict[str, str]"),
            (of_a_dict, "dict[str, str]"),
        )
    ),
    Mistake(
        lambda: at_handshake(of_nobody),
        ConfigurationError,
        (
            "HERE: of_nobody(request: HttpRequest)\n"
            f"  handshake_authenticator {HERE}.of_nobody\n"
            "  it returns Authenticated of nobody knows whom\n"
            "  possible fixes:\n"
            "    - name the class of its user: -> Authenticated[User]"
        ),
        "-> Authenticated[User]",
    ),
    *(
        Mistake(
            lambda give=give: give(silent),
            ConfigurationError,
            (
                "HERE: silent(request)\n"
                f"  {setting} {HERE}.silent\n"
                "  it does not say whom it returns, so nobody can tell which parameters of handlers"
                " are the user\n"
                "  possible fixes:\n"
                "    - annotate it with your own class: def authenticate(request:"
                f" {request}) -> User | None\n"
                "    - a lambda cannot be annotated: make it a function"
            ),
            f"def authenticate(request: {request}) -> User | None",
        )
        for give, setting, request in (
            (at_handshake, "handshake_authenticator", "HttpRequest"),
            (at_connect, "authenticator", "ConnectRequest"),
        )
    ),
    Mistake(
        lambda: at_handshake(lambda request: connecting(request)),
        ConfigurationError,
        (
            "HERE: <lambda>(request)\n"
            f"  handshake_authenticator {HERE}.<lambda>.<locals>.<lambda>\n"
            "  it does not say whom it returns, so nobody can tell which parameters of handlers are"
            " the user\n"
            "  possible fixes:\n"
            "    - annotate it with your own class: def authenticate(request: HttpRequest) -> User"
            " | None\n"
            "    - a lambda cannot be annotated: make it a function"
        ),
        "make it a function",
    ),
    Mistake(
        lambda: at_handshake(User("ann")),
        ConfigurationError,
        (
            "handshake_authenticator: User(name='ann') cannot be called: give the function itself,"
            " as in handshake_authenticator=authenticate, without calling it"
        ),
        "handshake_authenticator=authenticate",
    ),
    Mistake(
        lambda: at_handshake(connecting),
        ConfigurationError,
        (
            f"handshake_authenticator {HERE}.connecting takes ConnectRequest, and"
            " handshake_authenticator gets HttpRequest: give it as authenticator=, or annotate its"
            " parameter with HttpRequest"
        ),
        "give it as authenticator=",
    ),
    Mistake(
        lambda: at_connect(upgrading),
        ConfigurationError,
        (
            f"authenticator {HERE}.upgrading takes HttpRequest, and authenticator gets"
            " ConnectRequest: give it as handshake_authenticator=, or annotate its parameter with"
            " ConnectRequest"
        ),
        "give it as handshake_authenticator=",
    ),
    Mistake(
        lambda: at_handshake(hers),
        ConfigurationError,
        (
            "HERE: hers(request: HttpRequest, more: str)\n"
            f"  handshake_authenticator {HERE}.hers\n"
            "  parameter 'more': an authenticator takes exactly one positional parameter: def"
            " authenticate(request: ConnectRequest) -> User | None; one of the handshake gets an"
            " HttpRequest"
        ),
        "one of the handshake gets an HttpRequest",
    ),
    Mistake(
        lambda: StompApp("/ws", roles=lambda user: {"admin"}),
        ConfigurationError,
        (
            "roles: there is no authenticator, so nobody has a name or a role: add authenticator="
            " or handshake_authenticator="
        ),
        "add authenticator=",
    ),
    Mistake(
        lambda: authenticated(None),
        TypeError,
        "Authenticated: there is no user; for an anonymous session return None alone",
        "return None alone",
    ),
    Mistake(
        lambda: authenticated(User("ann"), timedelta(minutes=5)),
        TypeError,
        (
            "Authenticated: expires_in must be a number of seconds, not"
            " datetime.timedelta(seconds=300); of a moment in time, write moment.timestamp() -"
            " time.time()"
        ),
        "moment.timestamp() - time.time()",
    ),
    Mistake(
        lambda: authenticated(User("ann"), math.nan),
        ValueError,
        "Authenticated: expires_in is NaN; write None if it never ends",
        "write None",
    ),
    Mistake(
        lambda: authenticated(User("ann"), roles="admin"),
        TypeError,
        "Authenticated: roles must be a set of texts, not 'admin': write {'admin'}",
        "write {'admin'}",
    ),
    Mistake(
        lambda: authenticated(User("ann"), roles={7}),
        TypeError,
        "Authenticated: roles must be a set of texts, and 7 is none: write {'admin'}",
        "write {'admin'}",
    ),
]


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.says[:60])
def test_the_text_says_what_to_write(row: Mistake) -> None:
    check(row)


def test_a_coroutine_that_nobody_awaits(caplog: pytest.LogCaptureFixture) -> None:
    async def later(request: HttpRequest) -> User:
        raise AssertionError

    def plain(request: HttpRequest) -> User:
        coroutine: Any = later(request)
        coroutine.close()
        return coroutine  # type: ignore[no-any-return]

    with World(at_handshake(plain), raise_errors=False) as world:
        assert world.upgrade().response.startswith(b"HTTP/1.1 500 ")
    [record] = caplog.records
    assert record.exc_info is not None
    compare(
        str(record.exc_info[1]),
        (
            f"handshake_authenticator {HERE}.test_a_coroutine_that_nobody_awaits.<locals>.plain"
            " returned a coroutine: `await` is missing before the call that made it; a `def` that"
            " has to await becomes `async def`"
        ),
        "`await` is missing before the call that made it",
    )


@pytest.mark.parametrize(
    ("expires_in", "after", "says", "write"),
    [
        (
            None,
            None,
            (
                "failed mapping=- session= user='ann'"
                " destination='/user/session/credentials' code=send-denied correlation="
                " rule='expires_in: the credentials of this session do not end; let the"
                " authenticator return Authenticated(user, expires_in=...)'"
            ),
            "Authenticated(user, expires_in=...)",
        ),
        (
            60,
            "bob",
            (
                "refused session= user='ann' peer= code=bad-credentials"
                " error=\"the session is of 'ann', not of 'bob': a client connects again as"
                ' somebody else"'
            ),
            "connects again",
        ),
        (
            60,
            None,
            "refused session= user='ann' peer= code=bad-credentials error='no such token'",
            "no such token",
        ),
    ],
)
def test_new_credentials(
    caplog: pytest.LogCaptureFixture,
    expires_in: float | None,
    after: str | None,
    says: str,
    write: str,
) -> None:
    calls: list[str | None] = []

    def login(request: ConnectRequest) -> Authenticated[User]:
        calls.append(request.passcode)
        if len(calls) == 1:
            return Authenticated(User("ann"), expires_in)
        if after is None:
            raise BadCredentials("no such token")
        return Authenticated(User(after), expires_in)

    caplog.set_level("INFO", "stocksync_ws")
    with World(at_connect(login)) as world:
        peer = world.connect(passcode="old")
        peer.command("SEND", {"destination": "/user/session/credentials"}, "new")
        assert peer.frame("ERROR")
    [text] = [
        each.getMessage() for each in caplog.records if each.msg.startswith(("refused", "failed"))
    ]
    compare(text, says, write)

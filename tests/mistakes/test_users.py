"""Mistakes in calls of `StompApp.users`, and in settings of sessions of a user."""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType
from typing import Any

import pytest

from stocksync_ws import ConfigurationError, ConnectRequest, Rate, StompApp, authorize
from stocksync_ws.testing.world import World
from tests.mistakes.kit import Mistake, check


@dataclass
class User:
    name: str


def log_in(request: ConnectRequest) -> User | None:
    return None if request.login is None else User(request.login)


def users() -> Any:
    return StompApp("/ws").users


def with_a_session(code: Any) -> None:
    app = StompApp("/ws")
    with World(app) as world:
        world.connect()
        code(app, app.users.sessions()[0])


def settings(**given: Any) -> StompApp:
    return StompApp("/ws", **({"authenticator": log_in} | given))


def imported() -> None:
    """A module of handlers that imports a rule from a module that nobody includes."""

    @authorize("/topic/room/{room}")
    def members(room: str) -> bool:
        return False

    members.__module__ = "shop.rules"
    handlers: Any = ModuleType("shop.handlers")
    handlers.members = members
    app = StompApp("/ws")

    @app.message_mapping("/a")
    def handle() -> None: ...

    handle.__module__ = "shop.handlers"
    handlers.handle = handle
    app.include(handlers)
    app.check()


TABLE = [
    Mistake(
        lambda: users().disconnect(),
        ValueError,
        "disconnect takes a user or a session: write disconnect('ann'), disconnect(session) or"
        " disconnect(session_id=...)",
        "write disconnect('ann'), disconnect(session) or disconnect(session_id=...)",
    ),
    Mistake(
        lambda: users().reauthorize("ann", session_id="s"),
        ValueError,
        "reauthorize takes a user or a session: write reauthorize('ann'), reauthorize(session) or"
        " reauthorize(session_id=...)",
        "write reauthorize('ann'), reauthorize(session) or reauthorize(session_id=...)",
    ),
    Mistake(
        lambda: users().disconnect(7),
        ValueError,
        "disconnect: 7 is no user and no session: give the name of a user, such as user.name, or"
        " a Session",
        "give the name of a user, such as user.name, or a Session",
    ),
    Mistake(
        lambda: users().reauthorize(""),
        ValueError,
        "reauthorize: '' is no user and no session: give the name of a user, such as user.name, or"
        " a Session",
        "give the name of a user, such as user.name, or a Session",
    ),
    Mistake(
        lambda: users().disconnect(session_id=""),
        ValueError,
        "disconnect: session_id is the id of a session, not ''",
        "the id of a session",
    ),
    Mistake(
        lambda: users().disconnect("ann", reason=None),
        ValueError,
        "disconnect: the reason is a text, not None",
        "is a text",
    ),
    Mistake(
        lambda: users().find("topic/a"),
        ValueError,
        "find: template 'topic/a': the leading slash is missing: write '/topic/a'; a template"
        " looks like '/inventory/{product_id}/adjust'",
        "write '/topic/a'",
    ),
    Mistake(
        lambda: users().find("/topic/#"),
        ValueError,
        "find('/topic/#'): '#' is no wildcard here: write '*' for one segment, or '**' at the end"
        " for any number",
        "write '*' for one segment",
    ),
    Mistake(
        lambda: users().find(None),
        ValueError,
        "find takes a pattern such as '/topic/room/*', not None",
        "a pattern such as '/topic/room/*'",
    ),
    Mistake(
        lambda: users().subscriptions("s"),
        ValueError,
        "subscriptions takes a Session, as users.sessions() gives them, not 's'",
        "as users.sessions() gives them",
    ),
    Mistake(
        lambda: StompApp("/ws").template.convert_and_send_to_session("/queue/a", "id", 1),
        ValueError,
        "'/queue/a' is no session, which comes before the destination: write"
        " convert_and_send_to_session('id', '/queue/a', payload)",
        "write convert_and_send_to_session('id', '/queue/a', payload)",
    ),
    Mistake(
        lambda: StompApp("/ws").template.convert_and_send_to_session("", "/queue/a", 1),
        ValueError,
        "session_id must be the id of a session, such as session.id, not ''",
        "such as session.id",
    ),
    Mistake(
        lambda: with_a_session(
            lambda app, session: app.template.convert_and_send_to_session(session, "/queue/a", 1)
        ),
        ValueError,
        "session_id must be the id of a session, such as session.id, not <Session id2-128"
        " user=None>",
        "such as session.id",
    ),
    Mistake(
        lambda: settings(sessions_per_user=0),
        ConfigurationError,
        "sessions_per_user: must be None or a number from 1 on, not 0",
        "None or a number from 1 on",
    ),
    Mistake(
        lambda: settings(sessions_per_user=True),
        ConfigurationError,
        "sessions_per_user: must be None or a number from 1 on, not True",
        "None or a number from 1 on",
    ),
    Mistake(
        lambda: settings(session_wins="first"),
        ConfigurationError,
        "session_wins: must be 'newest' or 'oldest', not 'first'",
        "'newest' or 'oldest'",
    ),
    Mistake(
        lambda: StompApp("/ws", sessions_per_user=1),
        ConfigurationError,
        "sessions_per_user: there is no authenticator, so every session is anonymous and none is"
        " counted: add authenticator= or handshake_authenticator=",
        "add authenticator=",
    ),
    Mistake(
        lambda: StompApp("/ws", user_rate=Rate(20, burst=40)),
        ConfigurationError,
        "user_rate: there is no authenticator, so every session is anonymous and none is bounded:"
        " add authenticator= or handshake_authenticator=, or write session_rate=",
        "or write session_rate=",
    ),
    Mistake(
        imported,
        ConfigurationError,
        "shop.handlers imports @authorize('/topic/room/{room}')"
        " shop.rules.imported.<locals>.members, and nothing includes it: what the rule closes"
        " would be open; write include(shop.rules) as well",
        "write include(shop.rules) as well",
    ),
]


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.says[:60])
def test_the_text_says_what_to_write(row: Mistake) -> None:
    check(row)

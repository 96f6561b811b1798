"""Mistakes about presence, and about patterns of listeners."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from stocksync_ws import (
    ConfigurationError,
    PresenceJoined,
    SessionConnected,
    SessionSubscribed,
    StompApp,
)
from tests.mistakes.kit import Mistake, check


def loose(given: Any) -> Any:
    """As somebody writes who does not ask a type checker."""
    return given


def of(says: str, write: str, **settings: Any) -> Mistake:
    return Mistake(lambda: StompApp("/ws", **settings), ConfigurationError, says, write)


def called(code: Callable[[StompApp], object], says: str, write: str) -> Mistake:
    ws = StompApp("/ws", presence=["/topic/room/*"])
    return Mistake(lambda: code(ws), ValueError, says, write)


def joined(says: str, write: str, *given: Any) -> Mistake:
    """A listener with these arguments."""

    def code() -> None:
        ws = StompApp("/ws")

        @ws.event_listener(*given)
        def hear(event: Any) -> None: ...

        ws.check()

    shown = ", ".join(repr(each) if isinstance(each, str) else each.__name__ for each in given)
    place = "tests.mistakes.test_presence.joined.<locals>.code.<locals>.hear"
    head = f"HERE: hear(event: Any)\n  @event_listener({shown}) {place}\n  "
    return Mistake(code, ConfigurationError, head + says, write)


TABLE = [
    of(
        "presence: must be a list of texts, not one: write ['/topic/room/*']",
        "write ['/topic/room/*']",
        presence="/topic/room/*",
    ),
    of(
        "presence: '/topic/room/{room}': '{room}' is no wildcard, which is '*' for one segment or"
        " '**' for all that follow: write '/topic/room/*'",
        "write '/topic/room/*'",
        presence=["/topic/room/{room}"],
    ),
    of(
        "presence: '/room/*' is under no broker prefix: write '/topic/…' or '/queue/…'",
        "write '/topic/…'",
        presence=["/room/*"],
    ),
    of(
        "presence: '/app/room/*' is under no broker prefix, but for handlers, to which every client"
        " may send: leave it out",
        "leave it out",
        presence=["/app/room/*"],
    ),
    of(
        "presence: '/user/queue/*' is under no broker prefix, but below user_prefix, where every"
        " client may subscribe: leave it out",
        "leave it out",
        presence=["/user/queue/*"],
    ),
    of(
        "presence: '/queue/jobs' is below a queue prefix, and consumers are not there together:"
        " name a topic, or leave it out",
        "name a topic",
        presence=["/queue/jobs"],
    ),
    of(
        "presence: nobody is ever in '/topic/room/*', which no client may SUBSCRIBE to: open it"
        " with client_subscribe=['/topic/room/*'], or leave it out",
        "client_subscribe=['/topic/room/*']",
        presence=["/topic/room/*"],
        client_subscribe=["/topic/news"],
    ),
    of(
        "prefixes: '/topic/who' and '/topic' overlap: a destination would have two meanings; change"
        " one of the two",
        "change one of the two",
        presence_prefix="/topic/who",
    ),
    of(
        "prefixes: '/presence' and '/presence' overlap: a destination would have two meanings;"
        " change one of the two",
        "change one of the two",
        broker_prefixes=["/topic", "/queue", "/presence"],
    ),
    called(
        lambda ws: ws.presence("/topic/news"),
        "the presence of '/topic/news' is not kept: write StompApp(…, presence=['/topic/news']), or"
        " a pattern that covers it",
        "presence=['/topic/news']",
    ),
    called(
        lambda ws: ws.presence("/presence/topic/room/7"),
        "'/presence/topic/room/7' is what clients SUBSCRIBE to: write '/topic/room/7'",
        "write '/topic/room/7'",
    ),
    called(
        lambda ws: ws.presence("/topic/room/*"),
        "'/topic/room/*' is a pattern, and a presence is that of one destination: name one, or"
        " write ws.users.find('/topic/room/*')",
        "ws.users.find('/topic/room/*')",
    ),
    called(
        lambda ws: ws.presence("room/7"),
        "'room/7' is no destination: write one like '/topic/room/7'",
        "write one like '/topic/room/7'",
    ),
    called(
        lambda ws: ws.presence.attach(loose(None), {}),
        "attach takes a session or its id, such as event.session_id, not None",
        "such as event.session_id",
    ),
    called(
        lambda ws: ws.presence.attach("s", {"at": {1}}),
        "the info of a session must be JSON: Object of type set is not JSON serializable",
        "must be JSON",
    ),
    called(
        lambda ws: ws.template.convert_and_send("/presence/topic/room/7", {}),
        "'/presence/topic/room/7' is below presence_prefix, where nobody sends: members come and go"
        " by their SUBSCRIBE to '/topic/room/7'; for what is said about one, ws.presence.attach",
        "ws.presence.attach",
    ),
    Mistake(
        lambda: check_rule("/presence/topic/room/{room}"),
        ConfigurationError,
        "authorize('/presence/topic/room/{room}'): no client may SUBSCRIBE there, whatever the rule"
        " says: who may read a presence is said by the rule of the destination: write"
        " '/topic/room/{room}'",
        "write '/topic/room/{room}'",
    ),
    Mistake(
        lambda: StompApp("/ws").event_listener("/topic/a", SessionSubscribed),
        ConfigurationError,
        "@event_listener takes one pattern, behind the classes: '/topic/a' is not last; for two"
        " patterns decorate the function twice",
        "decorate the function twice",
    ),
    joined(
        "SessionConnected is about no destination, so no pattern fits it\n"
        "  possible fixes:\n"
        "    - leave the pattern out\n"
        "    - name SessionSubscribed instead",
        "leave the pattern out",
        SessionConnected,
        "/topic/room/{room}",
    ),
    joined(
        "no destination fits '/room/{room}', which is below none of the prefixes /app, /topic,"
        " /queue and /user, so it is never called: write '/topic/room/{room}'",
        "write '/topic/room/{room}'",
        SessionSubscribed,
        "/room/{room}",
    ),
    joined(
        "'#' is no wildcard here: write '*' for one segment, or '**' at the end for any number",
        "write '*' for one segment",
        SessionSubscribed,
        "/topic/room/#",
    ),
    joined(
        "no pattern of presence= meets it, so it is never called\n"
        "  possible fixes:\n"
        "    - write StompApp(…, presence=['/topic/room/*'])",
        "write StompApp(…, presence=['/topic/room/*'])",
        PresenceJoined,
        "/topic/room/{room}",
    ),
]


def check_rule(pattern: str) -> None:
    ws = StompApp("/ws")
    ws.authorize(pattern, frames=("SUBSCRIBE",), authenticated=True)
    ws.check()


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.says[:60])
def test_the_text_says_what_to_write(row: Mistake) -> None:
    check(row)

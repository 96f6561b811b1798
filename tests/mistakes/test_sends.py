"""Mistakes in calls of the template: raised to whoever called it, and nothing is sent."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

import pytest

from stocksync_ws import (
    BrokerClosed,
    ConversionError,
    StompApp,
)
from stocksync_ws.testing.world import World
from tests.mistakes.kit import Mistake, check


@dataclass
class User:
    name: str


def send(destination: Any, payload: Any, headers: Any = None) -> None:
    StompApp("/ws").template.convert_and_send(destination, payload, headers)


def to_user(user: Any, destination: str) -> None:
    StompApp("/ws").template.convert_and_send_to_user(user, destination, "text")


def forgotten() -> Coroutine[Any, Any, None]:
    return asyncio.sleep(0)


def payload_of(value: Any) -> Any:
    """Send a payload; a coroutine in it is closed, or Python would warn of it too."""
    try:
        send("/topic/chat", value)
    finally:
        if asyncio.iscoroutine(value):
            value.close()


def inside(code: Any) -> None:
    """Run something while an event loop runs on this thread."""

    async def main() -> None:
        code()

    asyncio.run(main())


def after_the_end() -> None:
    ws = StompApp("/ws")
    with World(ws):
        pass
    ws.template.convert_and_send("/topic/chat", "text")


text: Any = "text"

TABLE = [
    Mistake(
        lambda: send("/topic/*", "text"),
        ValueError,
        (
            "'/topic/*' is not a destination that can be sent to: publish to each"
            " destination by itself, without wildcards"
        ),
        "to each destination by itself",
    ),
    Mistake(
        lambda: send("topic/chat", "text"),
        ValueError,
        (
            "'topic/chat' is not a destination that can be sent to; it begins with a"
            " slash: '/topic/chat'"
        ),
        "'/topic/chat'",
    ),
    Mistake(
        lambda: send("/topic/chat/", "text"),
        ValueError,
        (
            "'/topic/chat/' is not a destination that can be sent to; no segment is empty,"
            " and no slash is last: '/topic/chat'"
        ),
        "'/topic/chat'",
    ),
    Mistake(
        lambda: send("/topic/../chat", "text"),
        ValueError,
        (
            "'/topic/../chat' is not a destination that can be sent to: /segments, none of"
            " them '.' or '..', within Limits.max_destination and max_segments"
        ),
        "none of them '.' or '..'",
    ),
    Mistake(
        lambda: send("ws://localhost/topic", "text"),
        ValueError,
        (
            "'ws://localhost/topic' is not a destination that can be sent to, but an"
            " address: write one like '/topic/inventory'"
        ),
        "write one like '/topic/inventory'",
    ),
    Mistake(
        lambda: send("/topic/{room}", "text"),
        ValueError,
        ("'/topic/{room}' holds {room} itself, which is no variable here: write f'/topic/{room}'"),
        "write f'/topic/{room}'",
    ),
    Mistake(
        lambda: send("/app/chat", "text"),
        ValueError,
        (
            "'/app/chat' is under none of the broker prefixes; handlers are what clients"
            " send to: call the function itself"
        ),
        "call the function itself",
    ),
    Mistake(
        lambda: send("/chat", "text"),
        ValueError,
        ("'/chat' is under none of the broker prefixes: write '/topic/chat'"),
        "write '/topic/chat'",
    ),
    Mistake(
        lambda: send("/user/queue/errors", "text"),
        ValueError,
        (
            "'/user/queue/errors': use convert_and_send_to_user, with the name of a user"
            " before '/queue/errors'"
        ),
        "use convert_and_send_to_user",
    ),
    Mistake(
        lambda: send({"a": 1}, "/topic/chat"),
        ValueError,
        (
            "a destination is a text such as '/topic/inventory', not {'a': 1}; it comes"
            " before the payload"
        ),
        "it comes before the payload",
    ),
    Mistake(
        lambda: to_user("\0session", "/queue/errors"),
        ValueError,
        ("user '\\x00session': NUL is no character of a name, and no user has it: write user.name"),
        "write user.name",
    ),
    Mistake(
        lambda: to_user("ann", "/user/queue/errors"),
        ValueError,
        (
            "'/user/queue/errors' must be like '/queue/errors', without the user prefix:"
            " write '/queue/errors'"
        ),
        "write '/queue/errors'",
    ),
    Mistake(
        lambda: to_user("ann", "queue/errors"),
        ValueError,
        (
            "'queue/errors' must be like '/queue/errors', without the user prefix: write"
            " '/queue/errors'"
        ),
        "write '/queue/errors'",
    ),
    Mistake(
        lambda: to_user("ann", "/chat"),
        ValueError,
        ("'/chat' must be like '/queue/errors', without the user prefix"),
        "like '/queue/errors'",
    ),
    Mistake(
        lambda: send("/user/ann/queue/x", "text"),
        ValueError,
        "'/user/ann/queue/x': write convert_and_send_to_user('ann', '/queue/x', payload)",
        "write convert_and_send_to_user('ann', '/queue/x', payload)",
    ),
    Mistake(
        lambda: send("/user/ann/chat", "text"),
        ValueError,
        (
            "'/user/ann/chat': use convert_and_send_to_user, with the name of a user before"
            " '/ann/chat'"
        ),
        "use convert_and_send_to_user",
    ),
    Mistake(
        lambda: to_user("/queue/x", "ann"),
        ValueError,
        (
            "'/queue/x' is no user, which comes before the destination: write"
            " convert_and_send_to_user('ann', '/queue/x', payload)"
        ),
        "write convert_and_send_to_user('ann', '/queue/x', payload)",
    ),
    Mistake(
        lambda: to_user(User("ann"), "/queue/errors"),
        ValueError,
        ("user must be the name of a user, such as user.name, not User(name='ann')"),
        "such as user.name",
    ),
    Mistake(
        lambda: send("/topic/chat", "text", {"n": 1}),
        ValueError,
        ("header 'n': names and values are texts, not 1: write {'n': '1'}"),
        "write {'n': '1'}",
    ),
    Mistake(
        lambda: send("/topic/chat", "text", "n:1"),
        ValueError,
        ("headers are a mapping of names to texts, not str: write {'priority': '1'}"),
        "write {'priority': '1'}",
    ),
    Mistake(
        lambda: send("/topic/chat", "text", {"n": "\0"}),
        ValueError,
        "header 'n': NUL cannot be sent: put it into the payload",
        "put it into the payload",
    ),
    Mistake(
        lambda: send("/topic/chat", "text", {"": "1"}),
        ValueError,
        "a header with an empty name cannot be sent: give it one",
        "give it one",
    ),
    Mistake(
        lambda: send("/topic/chat", "text", {"message-id": "1"}),
        ValueError,
        (
            "header 'message-id' is set by the server and cannot be given: leave it out,"
            " or write 'x-message-id'"
        ),
        "write 'x-message-id'",
    ),
    Mistake(
        lambda: send("/topic/chat", {"a": 1}, {"content-type": "application/msgpack"}),
        ConversionError,
        (
            "header content-type: nothing converts content_type='application/msgpack': write"
            " ws.converter('application/msgpack', encode=..., decode=...); JSON, text and octets"
            " need no content_type; a body that is encoded already is `bytes`"
        ),
        "write ws.converter('application/msgpack', encode=..., decode=...)",
    ),
    Mistake(
        lambda: send("/topic/chat", [1], {"content-type": "application/octet-stream"}),
        ConversionError,
        (
            "header content-type: nothing converts content_type='application/octet-stream': it is"
            " what is written of bytes; JSON, text and octets need no content_type; a body that is"
            " encoded already is `bytes`"
        ),
        "a body that is encoded already is `bytes`",
    ),
    Mistake(
        lambda: send("/topic/chat", "text", {"content-type": "text/html;charset=iso-8859-1"}),
        ConversionError,
        (
            "header content-type: JSON and text are written in UTF-8: write 'text/html', or encode"
            " the payload to `bytes`"
        ),
        "write 'text/html'",
    ),
    Mistake(
        lambda: send("/topic/chat", "text", {"content-type": "json"}),
        ConversionError,
        "header content-type: not of the form type/subtype",
        "of the form type/subtype",
    ),
    Mistake(
        lambda: send("/topic/chat", "text", {"expiration": "10s"}),
        ValueError,
        "header 'expiration': '10s' is not milliseconds, up to 15 digits: write '10000'",
        "write '10000'",
    ),
    Mistake(
        lambda: payload_of(forgotten()),
        ConversionError,
        "$: coroutine has no JSON form; `await` is missing before it",
        "`await` is missing before it",
    ),
    Mistake(
        lambda: payload_of({"all": [b"a"]}),
        ConversionError,
        ("$.all[0]: bytes has no JSON form; send it alone, or as text, such as base64"),
        "as text, such as base64",
    ),
    Mistake(
        lambda: payload_of(object()),
        ConversionError,
        ("$: object has no JSON form; send a dataclass, or a dict of its fields"),
        "send a dataclass",
    ),
    Mistake(
        lambda: payload_of(ValueError("x")),
        ConversionError,
        "$: ValueError has no JSON form; send str(error)",
        "send str(error)",
    ),
    Mistake(
        lambda: payload_of(letter for letter in "ab"),
        ConversionError,
        "$: generator has no JSON form; make a list of it",
        "make a list of it",
    ),
    Mistake(
        lambda: payload_of(print),
        ConversionError,
        ("$: builtin_function_or_method has no JSON form; call it: `()` is missing behind it"),
        "call it",
    ),
    Mistake(
        lambda: payload_of(float("nan")),
        ConversionError,
        "$: NaN and Infinity are not JSON; send None or a text",
        "send None or a text",
    ),
    Mistake(
        lambda: payload_of({(1, 2): 3}),
        ConversionError,
        "$: a key is tuple; it can be str, a number, bool, None, a UUID or an enum",
        "it can be str, a number, bool, None, a UUID or an enum",
    ),
    Mistake(
        lambda: StompApp("/ws").template.send("/topic/chat", text),
        ValueError,
        "send takes bytes as they are, not str: use convert_and_send",
        "use convert_and_send",
    ),
    Mistake(
        lambda: inside(lambda: StompApp("/ws").template.publish_wait("/topic/chat", 1)),
        RuntimeError,
        (
            "publish_wait would block the event loop that runs on this thread; use `await"
            " template.publish(...)`"
        ),
        "use `await template.publish(...)`",
    ),
    Mistake(
        after_the_end,
        BrokerClosed,
        ("the application was stopped: publish before its end, or serve it again"),
        "serve it again",
    ),
]


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.says[:60])
def test_the_text_says_what_to_write(row: Mistake) -> None:
    check(row)


def test_a_publication_that_nobody_awaits_is_told_by_python() -> None:
    template: Any = StompApp("/ws").template
    with pytest.warns(RuntimeWarning, match=r"'MessagingTemplate\.publish' was never awaited"):
        template.publish("/topic/chat", "text")

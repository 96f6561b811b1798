"""Mistakes in paths and replies: told where they are written, or by `check()` at the latest."""

from __future__ import annotations

from typing import Annotated, Any

import pytest

from stocksync_ws import (
    ConfigurationError,
    DestinationVariable,
    StompApp,
    send_to,
    send_to_user,
)
from tests.mistakes.kit import Loose, Mistake, check, raises

TABLE: list[Mistake] = []


# Paths


@raises(
    TABLE,
    ConfigurationError,
    (
        "@message_mapping('/app/chat')"
        " tests.mistakes.test_paths.the_prefix_in_a_mapping.<locals>.say: paths begin"
        " behind the application prefix '/app', and clients would have to send to"
        " '/app/app/chat'; write '/chat'"
    ),
    "write '/chat'",
)
def the_prefix_in_a_mapping(ws: Loose) -> None:
    @ws.message_mapping("/app/chat")
    async def say(text: str) -> str:
        return text


@raises(
    TABLE,
    ConfigurationError,
    (
        '@message_mapping needs its path: write @message_mapping("/path") with'
        " parentheses, not @message_mapping alone"
    ),
    'write @message_mapping("/path")',
)
def a_mapping_without_parentheses(ws: Loose) -> None:
    @ws.message_mapping
    async def say(text: str) -> str:
        return text


@raises(
    TABLE,
    ConfigurationError,
    (
        "template 'chat': the leading slash is missing: write '/chat'; a template"
        " looks like '/inventory/{product_id}/adjust'"
    ),
    "write '/chat'",
)
def a_path_without_its_slash(ws: Loose) -> None:
    @ws.message_mapping("chat")
    async def say(text: str) -> str:
        return text


@raises(
    TABLE,
    ConfigurationError,
    (
        "template '/chat/': empty segment: write '/chat'; a template looks like"
        " '/inventory/{product_id}/adjust'"
    ),
    "write '/chat'",
)
def a_path_with_a_slash_behind(ws: Loose) -> None:
    @ws.message_mapping("/chat/")
    async def say(text: str) -> str:
        return text


@raises(
    TABLE,
    ConfigurationError,
    (
        "template '/chat/<room>': '<room>' is no variable here; write {room}; a"
        " template looks like '/inventory/{product_id}/adjust'"
    ),
    "write {room}",
)
def a_variable_of_flask(ws: Loose) -> None:
    @ws.message_mapping("/chat/<room>")
    async def say(room: str, text: str) -> str:
        return text


@raises(
    TABLE,
    ConfigurationError,
    (
        "template '/chat/{room:int}': '{room:int}' holds a pattern; use {room} and"
        " give the parameter a type; a template looks like '/inventory/{product_id}/adjust'"
    ),
    "use {room} and give the parameter a type",
)
def a_variable_with_a_pattern(ws: Loose) -> None:
    @ws.message_mapping("/chat/{room:int}")
    async def say(room: int, text: str) -> str:
        return text


@raises(
    TABLE,
    ConfigurationError,
    (
        "template '/chat/*': '*' is a wildcard, and mappings have none; use a {name};"
        " a template looks like '/inventory/{product_id}/adjust'"
    ),
    "use a {name}",
)
def a_wildcard_in_a_mapping(ws: Loose) -> None:
    @ws.message_mapping("/chat/*")
    async def say(text: str) -> str:
        return text


@raises(
    TABLE,
    ConfigurationError,
    (
        "HERE: say(rom: str)\n"
        "  @message_mapping('/chat/{room}')"
        " tests.mistakes.test_paths.a_variable_that_is_misspelt_in_the_parameter.<locals>.say\n"
        "  nothing uses the variable {room}; its parameters are rom: add a parameter"
        " 'room', or write a literal segment in its place\n"
        "  possible fixes:\n"
        "    - rename 'rom' to 'room'"
    ),
    "rename 'rom' to 'room'",
)
def a_variable_that_is_misspelt_in_the_parameter(ws: Loose) -> None:
    @ws.message_mapping("/chat/{room}")
    async def say(rom: str) -> None: ...

    ws.check()


@raises(
    TABLE,
    ConfigurationError,
    (
        "HERE: say(rom: Annotated[str, DestinationVariable()], text: str)\n"
        "  @message_mapping('/chat/{room}')"
        " tests.mistakes.test_paths.a_variable_that_is_misspelt_in_a_mark.<locals>.say\n"
        "  parameter 'rom': the template has no variable {rom}; it has {room}\n"
        "  possible fixes:\n"
        "    - put {rom} into the template"
    ),
    "put {rom} into the template",
)
def a_variable_that_is_misspelt_in_a_mark(ws: Loose) -> None:
    @ws.message_mapping("/chat/{room}")
    async def say(rom: Annotated[str, DestinationVariable()], text: str) -> str:
        return text


@raises(
    TABLE,
    ConfigurationError,
    (
        "ambiguous mapping: '/chat/{name}' of @message_mapping('/chat/{name}')"
        " tests.mistakes.test_paths.a_mapping_twice.<locals>.tell at HERE\n"
        "  fits the same paths as '/chat/{room}' of @message_mapping('/chat/{room}')"
        " tests.mistakes.test_paths.a_mapping_twice.<locals>.say at HERE;\n"
        "  change one of the two, or merge their functions"
    ),
    "change one of the two, or merge their functions",
)
def a_mapping_twice(ws: Loose) -> None:
    @ws.message_mapping("/chat/{room}")
    async def say(room: str, text: str) -> str:
        return text

    @ws.message_mapping("/chat/{name}")
    async def tell(name: str, text: str) -> str:
        return text

    ws.check()


# Replies


@raises(
    TABLE,
    ConfigurationError,
    (
        "HERE: say(room: str, text: str)\n"
        "  @message_mapping('/chat/{room}')"
        " tests.mistakes.test_paths.a_variable_that_is_misspelt_in_a_reply.<locals>.say\n"
        "  '/topic/{rom}' needs {rom}, which the mapping does not have; it has {room}\n"
        "  possible fixes:\n"
        "    - write '/topic/{room}'\n"
        "    - put {rom} into the path of the mapping"
    ),
    "write '/topic/{room}'",
)
def a_variable_that_is_misspelt_in_a_reply(ws: Loose) -> None:
    @ws.message_mapping("/chat/{room}")
    @send_to("/topic/{rom}")
    async def say(room: str, text: str) -> str:
        return text


@raises(
    TABLE,
    ConfigurationError,
    (
        "HERE: say(room: str, day: str, text: str)\n"
        "  @message_mapping('/chat/{room}/{day}')"
        " tests.mistakes.test_paths.a_variable_in_a_reply_that_nothing_has.<locals>.say\n"
        "  '/topic/{user}' needs {user}, which the mapping does not have; it has {room},"
        " {day}\n"
        "  possible fixes:\n"
        "    - put {user} into the path of the mapping"
    ),
    "put {user} into the path of the mapping",
)
def a_variable_in_a_reply_that_nothing_has(ws: Loose) -> None:
    @ws.message_mapping("/chat/{room}/{day}")
    @send_to("/topic/{user}")
    async def say(room: str, day: str, text: str) -> str:
        return text


@raises(
    TABLE,
    ConfigurationError,
    (
        "HERE: say(text: str)\n"
        "  @message_mapping('/chat')"
        " tests.mistakes.test_paths.a_reply_to_a_handler.<locals>.say\n"
        "  the reply to '/app/chat' would reach nobody; it must be under a broker"
        " prefix, such as '/topic/chat'"
    ),
    "such as '/topic/chat'",
)
def a_reply_to_a_handler(ws: Loose) -> None:
    @ws.message_mapping("/chat")
    @send_to("/app/chat")
    async def say(text: str) -> str:
        return text


@raises(
    TABLE,
    ConfigurationError,
    (
        "HERE: say(text: str)\n"
        "  @message_mapping('/chat')"
        " tests.mistakes.test_paths.a_reply_with_the_prefix_of_users.<locals>.say\n"
        "  the reply to '/user/queue/errors' would reach nobody; it must be like"
        " '/queue/errors', without the user prefix: write @send_to_user('/queue/errors')"
    ),
    "write @send_to_user('/queue/errors')",
)
def a_reply_with_the_prefix_of_users(ws: Loose) -> None:
    @ws.message_mapping("/chat")
    @send_to_user("/user/queue/errors")
    async def say(text: str) -> str:
        return text


@raises(
    TABLE,
    ConfigurationError,
    (
        "HERE: say(text: str)\n"
        "  @message_mapping('/chat')"
        " tests.mistakes.test_paths.a_reply_to_the_sender_that_is_sent_to_all.<locals>.say\n"
        "  the reply to '/user/queue/errors' would reach nobody; it must be under a"
        " broker prefix; for the sender write @send_to_user('/queue/errors')"
    ),
    "write @send_to_user('/queue/errors')",
)
def a_reply_to_the_sender_that_is_sent_to_all(ws: Loose) -> None:
    @ws.message_mapping("/chat")
    @send_to("/user/queue/errors")
    async def say(text: str) -> str:
        return text


@raises(
    TABLE,
    ConfigurationError,
    (
        "a_reply_without_a_mapping.<locals>.say has a reply decorator and no mapping:"
        " add @message_mapping, @subscribe_mapping or @message_exception_handler"
    ),
    "add @message_mapping",
)
def a_reply_without_a_mapping(ws: Loose) -> None:
    @send_to("/topic/chat")
    async def say(text: str) -> str:
        return text

    ws.include(say)


@raises(
    TABLE,
    ConfigurationError,
    (
        "HERE: lines()\n"
        "  @snapshot('/topic/chat')"
        " tests.mistakes.test_paths.a_snapshot_with_a_reply.<locals>.lines\n"
        "  a snapshot goes to the new subscriber; leave the reply decorator out"
    ),
    "leave the reply decorator out",
)
def a_snapshot_with_a_reply(ws: Loose) -> None:
    @ws.snapshot("/topic/chat")
    @send_to("/topic/chat")
    async def lines() -> list[str]:
        return []


@raises(
    TABLE,
    ConfigurationError,
    (
        "HERE: lines()\n"
        "  @snapshot('/chat')"
        " tests.mistakes.test_paths.a_snapshot_without_its_prefix.<locals>.lines\n"
        "  nobody can subscribe there; a snapshot belongs to a topic, under a broker"
        " prefix: write @snapshot('/topic/chat')"
    ),
    "write @snapshot('/topic/chat')",
)
def a_snapshot_without_its_prefix(ws: Loose) -> None:
    @ws.snapshot("/chat")
    async def lines() -> list[str]:
        return []


@raises(
    TABLE,
    ConfigurationError,
    (
        "HERE: lines()\n"
        "  @snapshot('/app/chat')"
        " tests.mistakes.test_paths.a_snapshot_of_a_handler.<locals>.lines\n"
        "  a snapshot belongs to a topic, under a broker prefix; to answer a SUBSCRIBE"
        " to it, write @subscribe_mapping('/chat')"
    ),
    "write @subscribe_mapping('/chat')",
)
def a_snapshot_of_a_handler(ws: Loose) -> None:
    @ws.snapshot("/app/chat")
    async def lines() -> list[str]:
        return []


@raises(
    TABLE,
    ConfigurationError,
    (
        "HERE: jobs()\n"
        "  @snapshot('/queue/jobs')"
        " tests.mistakes.test_paths.a_snapshot_of_a_queue.<locals>.jobs\n"
        "  a snapshot belongs to a topic, under a broker prefix: what a queue keeps"
        " comes to its consumers by itself, so leave it out"
    ),
    "leave it out",
)
def a_snapshot_of_a_queue(ws: Loose) -> None:
    @ws.snapshot("/queue/jobs")
    async def jobs() -> list[str]:
        return []


@raises(
    TABLE,
    ConfigurationError,
    (
        "@send_to: a destination is a text, not ['/topic/a', '/topic/b']: write"
        " @send_to('/topic/a', '/topic/b')"
    ),
    "write @send_to('/topic/a', '/topic/b')",
)
def replies_as_a_list(ws: Loose) -> None:
    loose: Any = send_to
    loose(["/topic/a", "/topic/b"])


@raises(
    TABLE,
    ConfigurationError,
    ("@send_to_user: a destination is a text, not ['/queue/a']: write @send_to_user('/queue/a')"),
    "write @send_to_user('/queue/a')",
)
def replies_to_users_as_a_list(ws: Loose) -> None:
    loose: Any = send_to_user
    loose(["/queue/a"])


@raises(
    TABLE,
    ConfigurationError,
    (
        "@message_mapping takes one text, not ['/a', '/b']: write @message_mapping('/a') and"
        " @message_mapping('/b') above one another"
    ),
    "write @message_mapping('/a') and @message_mapping('/b')",
)
def paths_as_a_list(ws: Loose) -> None:
    ws.message_mapping(["/a", "/b"])


@raises(
    TABLE,
    ConfigurationError,
    "@authorize takes one text, not ['/topic/a']: write @authorize('/topic/a')",
    "write @authorize('/topic/a')",
)
def rules_as_a_list(ws: Loose) -> None:
    ws.authorize(["/topic/a"])


@raises(
    TABLE,
    ConfigurationError,
    (
        "@message_exception_handler takes classes, not [<class 'ValueError'>, <class 'KeyError'>]:"
        " write @message_exception_handler(ValueError, KeyError)"
    ),
    "write @message_exception_handler(ValueError, KeyError)",
)
def exceptions_as_a_list(ws: Loose) -> None:
    ws.message_exception_handler([ValueError, KeyError])


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.code.__name__)
def test_the_text_says_what_to_write(row: Mistake) -> None:
    check(row, StompApp("/ws"))

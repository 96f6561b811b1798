"""Mistakes in settings: told by `StompApp` and `Limits`, where they are written."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from stocksync_ws import (
    ConfigurationError,
    ConnectRequest,
    Latest,
    Limits,
    Queue,
    SockJSOptions,
    StompApp,
    Stream,
    Topic,
)
from tests.mistakes.kit import Mistake, check


def of(settings: Any, says: str, write: str) -> Mistake:
    """A row: what `StompApp` is given, a path or other settings."""
    given: dict[str, Any] = {"path": "/ws"}
    given |= {"path": settings} if isinstance(settings, str) else settings
    return Mistake(lambda: StompApp(**given), ConfigurationError, says, write)


def one(payload: Any) -> bytes:
    return b""


def two(body: bytes, annotation: Any) -> Any: ...


def loose(given: Any) -> Any:
    return given


@dataclass
class Nameless:
    login: str


def no_request() -> None: ...
def a_text(request: ConnectRequest) -> str | None: ...
async def a_dict(request: ConnectRequest) -> dict[str, str]:
    return {}


def nameless(request: ConnectRequest) -> Nameless | None: ...


TABLE = [
    of(
        "ws",
        (
            "path: 'ws': the path of the WebSocket begins with a slash and ends without"
            " one: write StompApp('/ws')"
        ),
        "write StompApp('/ws')",
    ),
    of(
        "/ws/",
        (
            "path: '/ws/': the path of the WebSocket begins with a slash and ends without"
            " one: write StompApp('/ws')"
        ),
        "write StompApp('/ws')",
    ),
    of(
        "/ws/**",
        (
            "path: '/ws/**': the path of the WebSocket begins with a slash and ends"
            " without one: write StompApp('/ws')"
        ),
        "write StompApp('/ws')",
    ),
    of(
        "ws://localhost:8000/chat-ws",
        (
            "path: 'ws://localhost:8000/chat-ws': the path of the WebSocket begins with a"
            " slash and ends without one: write StompApp('/chat-ws')"
        ),
        "write StompApp('/chat-ws')",
    ),
    of(
        "/my chat",
        (
            "path: '/my chat' must be letters, digits and \"/!$&'()*+,;=:@-._~\": write"
            " StompApp('/my-chat')"
        ),
        "write StompApp('/my-chat')",
    ),
    of(
        {"allowed_origins": "https://shop.example"},
        ("allowed_origins: must be a list of texts, not one: write ['https://shop.example']"),
        "write ['https://shop.example']",
    ),
    of(
        {"allowed_origins": 5},
        ("allowed_origins: must be a list of texts, not 5: write ['…', '…']"),
        "write ['…', '…']",
    ),
    of(
        {"allowed_origins": ["https://shop.example/"]},
        (
            "allowed_origins: 'https://shop.example/' has something behind the host: write"
            " 'https://shop.example'"
        ),
        "write 'https://shop.example'",
    ),
    of(
        {"allowed_origins": ["https://shop.example/cart"]},
        (
            "allowed_origins: 'https://shop.example/cart' has something behind the host:"
            " write 'https://shop.example'"
        ),
        "write 'https://shop.example'",
    ),
    of(
        {"allowed_origins": ["shop.example"]},
        ("allowed_origins: 'shop.example' has no scheme: write 'https://shop.example'"),
        "write 'https://shop.example'",
    ),
    of(
        {"allowed_origins": ["localhost:3000"]},
        ("allowed_origins: 'localhost:3000' has no scheme: write 'http://localhost:3000'"),
        "write 'http://localhost:3000'",
    ),
    of(
        {"allowed_origins": ["wss://shop.example"]},
        (
            "allowed_origins: 'wss://shop.example' is a WebSocket's address, and an origin"
            " is that of the page: write 'https://shop.example'"
        ),
        "write 'https://shop.example'",
    ),
    of(
        {"allowed_origins": ["https://*.shop.example"]},
        (
            "allowed_origins: 'https://*.shop.example' holds a wildcard: write each origin"
            " out, or ['*'] for any"
        ),
        "write each origin out",
    ),
    of(
        {"allowed_origins": ["https://a.example https://b.example"]},
        (
            "allowed_origins: 'https://a.example https://b.example' is no scheme, host and"
            " port: write 'https://shop.example'"
        ),
        "write 'https://shop.example'",
    ),
    of(
        {"allowed_hosts": ["https://shop.example/"]},
        ("allowed_hosts: 'https://shop.example/' is no host name: write 'shop.example'"),
        "write 'shop.example'",
    ),
    of(
        {"allowed_hosts": ["*.shop.example"]},
        ("allowed_hosts: '*.shop.example' is no host name: write 'shop.example'"),
        "write 'shop.example'",
    ),
    of(
        {"allowed_hosts": ["*"]},
        "allowed_hosts: '*' is no host name: write allowed_hosts=None for any",
        "write allowed_hosts=None",
    ),
    of(
        {"application_prefixes": "/app"},
        ("application_prefixes: must be a list of texts, not one: write ['/app']"),
        "write ['/app']",
    ),
    of(
        {"application_prefixes": ["/app/"]},
        (
            "application_prefixes: '/app/' must be like '/topic', without a trailing slash"
            " or a wildcard: write '/app'"
        ),
        "write '/app'",
    ),
    of(
        {"broker_prefixes": ["topic"]},
        (
            "broker_prefixes: 'topic' must be like '/topic', without a trailing slash or a"
            " wildcard: write '/topic'"
        ),
        "write '/topic'",
    ),
    of(
        {"broker_prefixes": ["/topic/**"]},
        (
            "broker_prefixes: '/topic/**' must be like '/topic', without a trailing slash"
            " or a wildcard: write '/topic'"
        ),
        "write '/topic'",
    ),
    of(
        {"user_prefix": ["/user"]},
        "user_prefix: must be a text like '/topic', not ['/user']",
        "must be a text like '/topic'",
    ),
    of(
        {"broker_prefixes": ["/topic", "/app"]},
        (
            "prefixes: '/app' and '/app' overlap: a destination would have two meanings;"
            " change one of the two"
        ),
        "change one of the two",
    ),
    of(
        {"client_send": ["/app/**"]},
        (
            "client_send: '/app/**' is under no broker prefix, but for handlers, to which"
            " every client may send: leave it out"
        ),
        "leave it out",
    ),
    of(
        {"client_subscribe": ["/user/**"]},
        (
            "client_subscribe: '/user/**' is under no broker prefix, but below"
            " user_prefix, where every client may subscribe: leave it out"
        ),
        "leave it out",
    ),
    of(
        {"client_send": ["/chat/**"]},
        ("client_send: '/chat/**' is under no broker prefix: write '/topic/…' or '/queue/…'"),
        "write '/topic/…' or '/queue/…'",
    ),
    of(
        {"client_subscribe": ["/topic/#"]},
        (
            "client_subscribe: '/topic/#': '#' is no wildcard, which is '*' for one"
            " segment or '**' for all that follow: write '/topic/**'"
        ),
        "write '/topic/**'",
    ),
    of(
        {"client_subscribe": ["/topic/room-*"]},
        (
            "client_subscribe: '/topic/room-*': 'room-*' is no wildcard, which is '*' for"
            " one segment or '**' for all that follow: write '/topic/*'"
        ),
        "write '/topic/*'",
    ),
    of(
        {"client_subscribe": ["/topic/{room}/lines"]},
        (
            "client_subscribe: '/topic/{room}/lines': '{room}' is no wildcard, which is"
            " '*' for one segment or '**' for all that follow: write '/topic/*/lines'"
        ),
        "write '/topic/*/lines'",
    ),
    of(
        {"client_subscribe": ["/topic/**/lines"]},
        (
            "client_subscribe: '/topic/**/lines': '**' may only be the last segment: write"
            " '*' for one in the middle"
        ),
        "write '*'",
    ),
    of(
        {"client_subscribe": ["topic/chat/"]},
        (
            "client_subscribe: 'topic/chat/' must be made of /segments, none of them"
            " empty: write '/topic/chat'"
        ),
        "write '/topic/chat'",
    ),
    of(
        {"client_subscribe": [""]},
        ("client_subscribe: '' must be made of /segments, none of them empty: write '/topic/**'"),
        "write '/topic/**'",
    ),
    of(
        {"destinations": {"/chat/**": Stream()}},
        ("destinations: '/chat/**' is under no broker prefix: write '/topic/…' or '/queue/…'"),
        "write '/topic/…' or '/queue/…'",
    ),
    of(
        {"destinations": {"/topic/chat": Stream}},
        ("destinations: '/topic/chat' needs an object, not a class: write Stream()"),
        "write Stream()",
    ),
    of(
        {"destinations": {"/topic/chat": "stream"}},
        (
            "destinations: '/topic/chat' needs a Topic(…), Stream(…), Latest(…) or"
            " Queue(…), not 'stream'"
        ),
        "Topic(…), Stream(…), Latest(…) or Queue(…)",
    ),
    of(
        {"destinations": {"/queue/jobs": Latest()}},
        ("destinations: '/queue/jobs' is below a queue prefix: write Queue(…)"),
        "write Queue(…)",
    ),
    of(
        {"destinations": {"/topic/chat": Queue()}},
        (
            "destinations: '/topic/chat' is below no queue prefix: write Topic(…),"
            " Stream(…) or Latest(…)"
        ),
        "write Topic(…), Stream(…) or Latest(…)",
    ),
    of(
        {"destinations": ["/topic/chat"]},
        (
            "destinations: must be a mapping of patterns to Topic, Stream, Latest or"
            " Queue, not ['/topic/chat']: write {'/topic/x': Stream()}"
        ),
        "write {'/topic/x': Stream()}",
    ),
    of(
        {"heart_beat": (10_000, 10_000)},
        (
            "heart_beat: is in seconds, at most 600, not (10000, 10000); if that is ms,"
            " write (10.0, 10.0)"
        ),
        "write (10.0, 10.0)",
    ),
    of(
        {"heart_beat": 10},
        ("heart_beat: must be two times in seconds like (10.0, 10.0), not 10"),
        "like (10.0, 10.0)",
    ),
    of(
        {"limits": {"max_connections": 100}},
        ("limits: write limits=Limits(max_connections=1_000), not {'max_connections': 100}"),
        "write limits=Limits(max_connections=1_000)",
    ),
    of(
        {"sockjs": "yes"},
        ("sockjs: must be a bool or SockJSOptions, not 'yes': write True"),
        "write True",
    ),
    of({"workers": 2}, "workers: must be 'warn' or 'refuse', not 2", "'warn' or 'refuse'"),
    Mistake(
        lambda: Limits(max_connections=0),
        ConfigurationError,
        "Limits.max_connections: must be a positive number, not 0",
        "a positive number",
    ),
    Mistake(
        lambda: Limits(max_header_line=20_000),
        ConfigurationError,
        ("Limits.max_header_line: must not exceed max_header_block (16384): raise that too"),
        "raise that too",
    ),
    Mistake(
        lambda: Queue(retry=loose(1)),
        ConfigurationError,
        ("Queue.retry: must be a tuple of seconds, such as (0, 1, 2, 4), not 1"),
        "such as (0, 1, 2, 4)",
    ),
    Mistake(
        lambda: SockJSOptions(heart_beat=25_000),
        ConfigurationError,
        (
            "SockJSOptions.heart_beat: is in seconds, at most 600, not 25000; if that is"
            " ms, write 25"
        ),
        "write 25",
    ),
    Mistake(
        lambda: StompApp("/ws").converter("a/b", encode=loose(two), decode=two),
        ConfigurationError,
        "converter: encode= of a/b is called with 1 argument: write encode=lambda payload: ...",
        "write encode=lambda payload: ...",
    ),
    Mistake(
        lambda: StompApp("/ws").converter("a/b", encode=one, decode=loose(one)),
        ConfigurationError,
        (
            "converter: decode= of a/b is called with 2 arguments: write decode=lambda body,"
            " annotation: ..."
        ),
        "write decode=lambda body, annotation: ...",
    ),
    Mistake(
        lambda: Stream(seconds=loose(timedelta(minutes=10))),
        ConfigurationError,
        (
            "Stream.seconds: must be a number above 0, not datetime.timedelta(seconds=600):"
            " write 600.0"
        ),
        "write 600.0",
    ),
    Mistake(
        lambda: Topic(flush_delay=5),
        ConfigurationError,
        (
            "Topic.flush_delay: must be seconds above 0 and at most 0.1, or None, not 5; if that"
            " is ms, write flush_delay=0.005"
        ),
        "write flush_delay=0.005",
    ),
    Mistake(
        lambda: Stream(flush_delay=loose(timedelta(milliseconds=2))),
        ConfigurationError,
        (
            "Stream.flush_delay: must be seconds above 0 and at most 0.1, or None, not"
            " datetime.timedelta(microseconds=2000): write 0.002"
        ),
        "write 0.002",
    ),
    Mistake(
        lambda: Stream(flush_delay=0),
        ConfigurationError,
        (
            "Stream.flush_delay: must be seconds above 0 and at most 0.1, or None, not 0; None"
            " turns it off"
        ),
        "None turns it off",
    ),
    Mistake(
        lambda: Limits(handler_timeout=loose(timedelta(minutes=1))),
        ConfigurationError,
        (
            "Limits.handler_timeout: must be a positive number, not"
            " datetime.timedelta(seconds=60): write 60.0"
        ),
        "write 60.0",
    ),
    Mistake(
        lambda: StompApp("/ws", authenticator=loose(no_request)),
        ConfigurationError,
        (
            "HERE: no_request()\n"
            "  authenticator tests.mistakes.test_settings.no_request\n"
            "  an authenticator takes exactly one positional parameter: def authenticate(request:"
            " ConnectRequest) -> User | None; one of the handshake gets an HttpRequest"
        ),
        "def authenticate(request: ConnectRequest) -> User | None",
    ),
    *(
        Mistake(
            lambda function=function: StompApp("/ws", authenticator=function),
            ConfigurationError,
            (
                f"HERE: {function.__name__}(request: ConnectRequest)\n"
                f"  authenticator tests.mistakes.test_settings.{function.__name__}\n"
                f"  it returns {shown}, and a user is an object with a name, which is a text\n"
                f"  possible fixes:\n"
                f"    - return an object of your own class, such as User(name='ann')"
            ),
            "such as User(name='ann')",
        )
        for function, shown in ((a_text, "str"), (a_dict, "dict[str, str]"), (nameless, "Nameless"))
    ),
]


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.says[:60])
def test_the_text_says_what_to_write(row: Mistake) -> None:
    check(row)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (
            {"handler_timeout": 30_000},
            "and 30000 are 8.3 hours; if that is ms, write handler_timeout=30",
        ),
        ({"handler_timeout": 7_200, "close_timeout": 60, "pong_timeout": 1e9}, ""),
    ],
)
def test_a_time_that_looks_like_ms_is_told(
    settings: dict[str, float], says: str, caplog: pytest.LogCaptureFixture
) -> None:
    StompApp("/ws", limits=Limits(**loose(settings)))
    told = "".join(each.getMessage() for each in caplog.records)
    assert told == (says and f"Limits.handler_timeout is in seconds, {says}")

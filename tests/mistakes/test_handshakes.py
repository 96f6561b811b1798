"""Mistakes that an HTTP request shows, and declarations that are only doubtful: a line in the log.

A client may ask as often as it likes, so there is one line a second of each kind.
"""

from __future__ import annotations

import logging

import pytest

from stocksync_ws import StompApp
from stocksync_ws.testing.peer import Peer
from stocksync_ws.testing.world import World
from tests.mistakes.kit import compare

EVIL = {"Origin": "http://localhost:3000"}


@pytest.mark.parametrize(
    ("app", "path", "headers", "says", "write"),
    [
        (
            StompApp("/chat-ws"),
            "/ws",
            {},
            (
                "no WebSocket is served at '/ws': let the client open /chat-ws, or give that path"
                " to StompApp (peer="
            ),
            "open /chat-ws",
        ),
        (
            StompApp("/chat-ws", sockjs=True),
            "/chat-ws-2",
            {},
            (
                "no WebSocket is served at '/chat-ws-2': let the client open /chat-ws or"
                " /chat-ws/…, or give that path to StompApp (peer="
            ),
            "open /chat-ws or /chat-ws/…",
        ),
        (
            StompApp("/chat-ws"),
            "/chat-ws/info",
            {"Upgrade": "", "Connection": ""},
            (
                "a client of SockJS asked for /chat-ws/info: write StompApp('/chat-ws',"
                " sockjs=True) (peer="
            ),
            "sockjs=True",
        ),
        (
            StompApp("/chat-ws"),
            "/chat-ws",
            EVIL,
            (
                "origin refused: allowed_origins takes the same origin as its Host, not:"
                " 'http://localhost:3000'; Host: 'localhost'; if that page is yours, write"
                " allowed_origins=['http://localhost:3000'] (peer="
            ),
            "allowed_origins=['http://localhost:3000']",
        ),
        (
            StompApp("/chat-ws", allowed_origins=["https://shop.example"]),
            "/chat-ws",
            EVIL,
            (
                "origin refused: allowed_origins takes the 1 listed, not:"
                " 'http://localhost:3000'; Host: 'localhost'; if that page is yours, write"
                " allowed_origins=[…, 'http://localhost:3000'] (peer="
            ),
            "allowed_origins=[…, 'http://localhost:3000']",
        ),
        (
            StompApp("/chat-ws", allowed_origins=["https://shop.example"]),
            "/chat-ws",
            {"Origin": "null"},
            (
                "origin refused: allowed_origins takes the 1 listed, not: 'null'; Host:"
                " 'localhost'; if that page is yours, write allowed_origins=[…, 'null'] (peer="
            ),
            "allowed_origins=[…, 'null']",
        ),
        (
            StompApp("/chat-ws", allowed_hosts=["shop.example"]),
            "/chat-ws",
            {},
            (
                "allowed_hosts does not hold the Host of a request: 'localhost'; if it is a name of"
                " this server, add it (peer="
            ),
            "add it",
        ),
    ],
)
def test_a_refused_request_has_its_line(
    app: StompApp,
    path: str,
    headers: dict[str, str],
    says: str,
    write: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with World(app, app.site()) as world:
        for _ in range(3):
            Peer(world, world.open(), path, headers)
    [line] = [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]
    compare(line.replace("(peer 127.0.0.1:50000)", "(peer="), says, write)


def test_a_scanner_gets_one_line_a_second(caplog: pytest.LogCaptureFixture) -> None:
    app = StompApp("/chat-ws")
    with World(app, app.site()) as world:
        for path in ("/a", "/b", "/c"):
            Peer(world, world.open(), path, {})
        world.advance(1.0)
        Peer(world, world.open(), "/d", {})
    lines = [each.getMessage() for each in caplog.records if "no WebSocket" in each.getMessage()]
    assert ["'/a'" in lines[0], "'/d'" in lines[1], len(lines)] == [True, True, 2]
    assert lines[1].endswith("; 2 more like it were not logged")


def test_what_no_client_of_ours_asks_for_has_no_line(caplog: pytest.LogCaptureFixture) -> None:
    app = StompApp("/chat-ws")
    with World(app, app.site()) as world:
        for path in ("/favicon.ico", "/chat-ws/infos", "/info"):
            Peer(world, world.open(), path, {"Upgrade": "", "Connection": ""})
    assert [each for each in caplog.records if each.levelno >= logging.WARNING] == []


def test_a_mapping_that_begins_as_a_topic_is_doubtful(caplog: pytest.LogCaptureFixture) -> None:
    ws = StompApp("/ws", application_prefixes=["/app", "/do"])

    @ws.message_mapping("/topic/chat")
    async def say(text: str) -> str:
        return text

    @ws.subscribe_mapping("/topic/chat")
    async def lines() -> list[str]:
        return []

    ws.check()
    name = "test_a_mapping_that_begins_as_a_topic_is_doubtful"
    place = f"tests.mistakes.test_handshakes.{name}.<locals>"
    reached = "clients reach it at '/app/topic/chat' or '/do/topic/chat', while '/topic/chat' goes"
    said = [each.getMessage() for each in caplog.records]
    assert said == [
        (
            f"@message_mapping('/topic/chat') {place}.say: {reached} to the broker and to no"
            " handler; write @message_mapping('/chat')"
        ),
        (
            f"@subscribe_mapping('/topic/chat') {place}.lines: {reached} to the broker and to no"
            " handler; write @snapshot('/topic/chat') to answer a SUBSCRIBE to that"
        ),
    ]

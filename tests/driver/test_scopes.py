"""What streams and connections of a host ask of the driver: an answer before any byte, a stream
that fails, a chunk that is kept, and an end that says who ended it.
"""

from __future__ import annotations

from typing import Any

import pytest

from stocksync_ws import DisconnectReason, SessionDisconnected, StompApp
from stocksync_ws.counters import Counters
from stocksync_ws.testing.peer import Peer
from stocksync_ws.testing.stream import MemoryStream
from stocksync_ws.testing.world import World
from stocksync_ws.types import Chunk, Closed, HttpRequest
from stocksync_ws.wire.scope import ScopeConnection
from stocksync_ws.wire.scope_wire import ScopeChunk


class ScopeStream(MemoryStream):
    """Takes messages instead of bytes, all at once."""

    def __init__(self, world: World) -> None:
        super().__init__(world.runtime.driver, world.runtime.host.soon)
        self.messages: list[Any] = []

    def write(self, chunks: list[Chunk]) -> int:
        self.messages += [chunk.message for chunk in chunks]
        return 0


def scope(world: World, target: str) -> ScopeStream:
    stream = ScopeStream(world)
    request = HttpRequest("GET", target, (("host", "localhost"),))
    site, limits = world._site, world.runtime.config.limits
    stream.start(ScopeConnection(site, request, limits, Counters()))
    return stream


def test_what_a_connection_answers_before_any_byte_is_written(world: World) -> None:
    refused = scope(world, "/other")
    assert refused.messages == [{"type": "websocket.close", "code": 1008}]
    assert refused.ended
    accepted = scope(world, "/ws")
    assert [message["type"] for message in accepted.messages] == ["websocket.accept"]
    assert not accepted.ended


def test_a_refusal_that_the_peer_does_not_end_is_aborted_in_time(world: World) -> None:
    refused = scope(world, "/other")
    world.advance(world.runtime.config.limits.close_timeout + 1)
    assert refused.aborted
    assert world.runtime.driver.connections == 0


def test_a_stream_that_fails_ends_its_session_and_no_other(
    world: World, app: StompApp, caplog: pytest.LogCaptureFixture
) -> None:
    peer, other = world.connect(), world.connect()
    other.subscribe("/topic/a")
    problem = RuntimeError("it cannot send")
    world.runtime.driver.failed(peer.stream.link, problem)
    assert peer.closed == 1011
    assert "it cannot send" in caplog.text
    world.expect_faults(internal_errors=1)
    app.template.send("/topic/a", b"1")
    assert other.message().body == b"1"


@pytest.mark.parametrize("how", ["gone", "no session"])
def test_a_failure_that_nobody_is_there_for_is_nobodys(
    world: World, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    if how == "gone":
        peer = world.connect()
        link = peer.stream.link
        peer.eof()
    else:
        link = world.open().link
    world.runtime.driver.failed(link, RuntimeError("late"))
    world.settle()
    assert world.counters.internal_errors == 0
    assert "late" not in caplog.text


def test_a_chunk_that_was_taken_in_part_is_kept_by_its_stream(world: World, app: StompApp) -> None:
    peer = world.connect()
    peer.subscribe("/topic/a")
    kept: list[tuple[int, int]] = []
    keep = peer.stream.keep

    def noted(chunk: bytes, sent: int) -> int:
        kept.append((len(chunk), sent))
        return keep(chunk, sent)

    peer.stream.keep = noted  # type: ignore[method-assign]
    app.template.send("/topic/a", b"0")
    assert peer.message().body == b"0"
    peer.frames()
    for window in (7, 0):
        peer.stream.window = window
        app.template.send("/topic/a", b"1")
        world.settle()
        assert kept[-1][1] == window
        assert peer.stream.unsent == kept[-1][0] - window
        peer.stream.open_window(None)
        assert peer.message().body == b"1"
        app.template.send("/topic/a", b"2")
        assert peer.message().body == b"2"
    assert len(kept) == 2


CAUSES = [
    (1006, None, DisconnectReason.CONNECTION_LOST),
    (1001, None, DisconnectReason.PEER_CLOSED),
    (1005, DisconnectReason.CONNECTION_LOST, DisconnectReason.CONNECTION_LOST),
    (1006, DisconnectReason.PEER_CLOSED, DisconnectReason.PEER_CLOSED),
    (1012, DisconnectReason.SERVER_SHUTDOWN, DisconnectReason.SERVER_SHUTDOWN),
]


@pytest.mark.parametrize(("code", "cause", "told"), CAUSES)
def test_an_end_tells_who_ended_it_and_else_the_code_does(
    app: StompApp, code: int, cause: DisconnectReason | None, told: DisconnectReason
) -> None:
    heard: list[SessionDisconnected] = []

    @app.event_listener(SessionDisconnected, inline=True)
    def listen(event: SessionDisconnected) -> None:
        heard.append(event)

    with World(app, silent=True) as world:
        peer: Peer = world.connect()
        wire = peer.stream.link.wire
        assert wire is not None
        driver = world.runtime.driver
        driver._links.closed(Closed(wire, code, "", cause=cause), world.now)
        driver.wake()
        world.settle()
        assert [(event.close_code, event.reason) for event in heard] == [(code, told)]


def test_a_chunk_is_what_it_was_made_of() -> None:
    chunk = ScopeChunk({"type": "websocket.send", "text": "x"}, 1, plain=True)
    assert (chunk.size, chunk.plain, chunk.last) == (1, True, False)

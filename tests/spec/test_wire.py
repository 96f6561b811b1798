"""What goes in and exactly what comes out: the list that brokers are measured by."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from stocksync_ws.testing.world import World
from tests.spec import (
    wire_acknowledging,
    wire_connecting,
    wire_frames,
    wire_headers,
    wire_limits,
    wire_sending,
    wire_subscribing,
    wire_transactions,
)
from tests.spec.checks import LOST, Binary, Check, without_detail
from tests.spec.talk import frame

CHECKS = [
    *wire_frames.CHECKS,
    *wire_headers.CHECKS,
    *wire_connecting.CHECKS,
    *wire_sending.CHECKS,
    *wire_subscribing.CHECKS,
    *wire_acknowledging.CHECKS,
    *wire_transactions.CHECKS,
    *wire_limits.CHECKS,
]
ELSEWHERE = {"V6", "V10", "B6"}
"""Rows that are no bytes in, bytes out: a refused login, the sub-protocol, the PING of a tab that
sleeps. They have tests of their own below.
"""
ROWS = {
    f"{letter}{number}"
    for letter, last in {"G": 13, "E": 7, "H": 4, "V": 10, "B": 6}.items()
    for number in range(1, last + 1)
}
ROWS |= {"S1", "R1", "R2", "X1", "X2", "D1", "D2", "L1", "U1", "U2", "U3", "M1"}
ROWS |= {"K1", "K2", "K3", "K4", "K5", "K6", "T1", "T2", "T3"}
ROWS |= {"A8", "A9", "A10"}


def test_every_row_has_a_check() -> None:
    assert {each.row for each in CHECKS} | ELSEWHERE == ROWS
    assert len(CHECKS) >= 250
    names = [f"{each.row} {each.about}" for each in CHECKS]
    assert len(set(names)) == len(names)


def _marked(check: Check) -> object:
    marks = [pytest.mark.stomp(*check.proves)] if check.proves else []
    return pytest.param(check, marks=marks, id=f"{check.row} {check.about}")


@pytest.mark.parametrize("check", [_marked(check) for check in CHECKS])
def test_on_the_wire(broker: Callable[..., World], check: Check) -> None:
    world = broker(**check.settings)
    peers = {
        name: world.connect(version) if version else world.upgrade()
        for name, version in check.peers.items()
    }
    for who, sent, expected in check.steps:
        if isinstance(sent, float):
            world.advance(sent)
        elif sent is LOST:
            peers[who].eof()
        else:
            for message in [sent] if isinstance(sent, bytes) else sent:
                peers[who].send(message, binary=isinstance(message, Binary))
        for name, peer in peers.items():
            came = [without_detail(each) for each in peer.raw()]
            assert came == expected.get(name, []), (name, sent)
    assert {n: p.closed for n, p in peers.items() if p.closed is not None} == check.closed


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        ("v10.stomp, v11.stomp, v12.stomp", "v12.stomp"),
        ("v12.stomp, v11.stomp, v10.stomp", "v12.stomp"),
        ("v10.stomp, v11.stomp", "v11.stomp"),
        ("mqtt, v10.stomp", "v10.stomp"),
        ("V12.stomp", None),
        ("mqtt", None),
        ("", None),
    ],
)
def test_v10_the_highest_sub_protocol_offered_is_chosen(
    world: World, offered: str, chosen: str | None
) -> None:
    peer = world.upgrade(Sec_WebSocket_Protocol=offered)
    head = peer.response.lower()
    assert head.startswith(b"http/1.1 101")
    line = b"" if chosen is None else f"sec-websocket-protocol: {chosen}\r\n".encode()
    assert (line in head) if line else b"sec-websocket-protocol" not in head
    peer.send(frame("CONNECT", accept_version="1.1", host="h"))  # it alone decides the version
    assert peer.frame("CONNECTED").headers["version"] == "1.1"


def test_b6_a_ping_of_websocket_asks_a_silent_peer(world: World) -> None:
    peer = world.connect("1.2")
    for turn in range(1, 4):
        world.advance(25.1)
        assert len(peer.pings) == turn
        peer.pong(peer.pings[-1])
    assert peer.closed is None
    world.advance(25.1 + 20.1)
    assert peer.closed == 4000

"""The W rows: bad WebSocket frames against a whole server, however the bytes are cut."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import pytest

from stocksync_ws import StompApp
from stocksync_ws.testing.peer import client_frame
from stocksync_ws.testing.world import World

Attack = Callable[..., Any]
FINE = client_frame(1, b"SEND\ndestination:/topic/open/b\nreceipt:fine\n\n\0")
MASK = bytes(4)


def close(code: int, reason: bytes = b"") -> bytes:
    return client_frame(8, struct.pack("!H", code) + reason)


ROWS: list[tuple[str, bytes, list[str], int | None]] = [
    ("W1 unmasked", b"\x81\x02hi" + FINE, [], 1002),
    ("W2 opcode 3", b"\x83\x80" + MASK + FINE, [], 1002),
    ("W2 RSV1", b"\xc1\x80" + MASK, [], 1002),
    ("W2 RSV2", b"\xa1\x80" + MASK, [], 1002),
    ("W2 RSV3", b"\x91\x80" + MASK, [], 1002),
    ("W2 control opcode 11", b"\x8b\x80" + MASK, [], 1002),
    ("W3 long ping", client_frame(9, b"x" * 126), [], 1002),
    ("W3 fragmented ping", b"\x09\x80" + MASK, [], 1002),
    ("W3 fragmented close", b"\x08\x80" + MASK, [], 1002),
    ("W4 2**63", b"\x82\xff\x80" + bytes(7) + MASK, [], 1002),
    ("W4 not the shortest length", b"\x81\xfe\x00\x05" + MASK + b"hello", [], 1002),
    ("W5 announces 2**62", b"\x82\xff\x40" + bytes(7) + MASK, ["ERROR limit"], 1009),
    ("W5 one byte too many", client_frame(2, b"\n" * 65_537), ["ERROR limit"], 1009),
    ("W6 continuation first", client_frame(0, b"x"), [], 1002),
    ("W6 text within a message", client_frame(1, b"a", fin=False) + client_frame(1, b"b"), [],
     1002),
    ("W7 overlong", client_frame(1, b"\xc0\xaf"), [], 1007),
    ("W7 surrogate", client_frame(1, b"\xed\xa0\x80"), [], 1007),
    ("W7 cut code point", client_frame(1, b"\xe2\x82"), [], 1007),
    ("W8 one byte", client_frame(8, b"\x03"), [], 1002),
    *((f"W8 code {code}", close(code), [], 1002)
      for code in (0, 999, 1004, 1005, 1006, 1015, 5000, 65535)),
    ("W8 bad reason", close(1000, b"\xff"), [], 1007),
    *((f"W8 fine {code}", close(code), [], code) for code in (1000, 1001, 3000, 4999)),
    ("W9 data after their Close", close(1000) + FINE, [], 1000),
    ("W9 data before it: handled, but nobody is there to be told", FINE + close(1001), [], 1001),
    ("W11 empty continuations",
     client_frame(2, b"a", fin=False) + client_frame(0, b"", fin=False) * 1_100,
     ["ERROR limit"], 1008),
    ("W12 endless fragments",
     client_frame(2, b"\n" * 9_000, fin=False) + client_frame(0, b"\n" * 9_000, fin=False) * 8,
     ["ERROR limit"], 1009),
    ("W13 pings", client_frame(9, b"x") * 40 + FINE, ["RECEIPT fine"], None),
    ("W14 pongs", client_frame(10, b"x") * 40 + FINE, ["RECEIPT fine"], None),
    ("W16 text and binary", FINE + client_frame(2, FINE[6:]), ["RECEIPT fine"] * 2, None),
    ("W17 many in one message", client_frame(1, FINE[6:] * 3), ["RECEIPT fine"] * 3, None),
    ("W17 one in many messages",
     b"".join(client_frame(1, FINE[at : at + 1]) for at in range(6, len(FINE))),
     ["RECEIPT fine"], None),
    ("W17 fragments", client_frame(1, FINE[6:20], fin=False) + client_frame(9, b"x")
     + client_frame(0, FINE[20:]), ["RECEIPT fine"], None),
    ("W empty messages", client_frame(1, b"") + client_frame(2, b"") + FINE,
     ["RECEIPT fine"], None),
    ("Z4 compressed without negotiation", b"\xc1\x85" + MASK + b"abcde", [], 1002),
]  # fmt: skip


@pytest.mark.parametrize(
    ("data", "told", "code"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS]
)
def test_frames(attack: Attack, data: bytes, told: list[str], code: int | None) -> None:
    assert attack(data, stomp=False) == (told, code)


@pytest.fixture
def world() -> Any:
    with World(StompApp("/ws", allowed_origins=["*"]), silent=True) as world:
        yield world


@pytest.mark.parametrize(
    "violation", [client_frame(1, b"\xff"), b"\x83\x80" + MASK, client_frame(1, b"FOO\n\n\0")]
)
def test_w10_what_follows_a_violation_is_thrown_away(world: World, violation: bytes) -> None:
    """Without a limit on its octets, and without keeping them; only time ends it."""
    peer = world.connect()
    peer.answers_close = False
    peer.feed(violation)
    frames = world.counters.frames_in
    junk = client_frame(2, b"SEND\ndestination:/app/x\n\n\0" * 2_000)
    for _ in range(60):
        world.runtime.driver.feed(peer.stream.link, junk)
    world.settle()
    assert world.counters.frames_in == frames
    assert not peer.stream.aborted
    assert world.broker.office.total == 0
    world.advance(5.1)
    assert peer.stream.aborted
    assert peer.closed is not None


def test_w9_their_close_after_ours_ends_it_at_once(world: World) -> None:
    peer = world.connect()
    peer.answers_close = False
    peer.send(b"FOO\n\n\0")
    peer.feed(client_frame(2, b"x" * 1_000) + close(1000))
    assert peer.stream.ended
    assert peer.closed == 1002


def test_w13_of_many_pings_the_newest_is_answered(world: World) -> None:
    peer = world.connect()
    peer.feed(b"".join(client_frame(9, b"%d" % n) for n in range(1_000)))
    assert peer.pongs == [b"999"]


def test_w15_one_byte_per_read(world: World) -> None:
    """Linear: each octet is looked at a bounded number of times, so this ends soon."""
    peer = world.connect()
    whole = client_frame(2, b"\n" * 30_000)
    for at in range(len(whole)):
        world.runtime.driver.feed(peer.stream.link, whole[at : at + 1])
    world.settle()
    assert peer.closed is None


def test_z_no_extension_is_ever_negotiated(world: World) -> None:
    peer = world.upgrade(Sec_WebSocket_Extensions="permessage-deflate")
    assert b"101 Switching" in peer.response
    assert b"xtension" not in peer.response

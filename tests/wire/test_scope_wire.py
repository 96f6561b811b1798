"""The wire of a WebSocket scope: what is one message to the host, and who shares it."""

from __future__ import annotations

from stocksync_ws.codes import CloseCode
from stocksync_ws.wire.scope_wire import Batcher, ScopeChunk, ScopeWire


def test_a_frame_is_one_message_of_its_kind() -> None:
    wire = ScopeWire()
    text = wire.dress(b"MESSAGE\n\n", "ü\0".encode(), True)
    assert text.message == {"type": "websocket.send", "text": "MESSAGE\n\nü\0"}
    assert (wire.size(text), text.plain, text.last) == (12, True, False)
    binary = wire.dress(b"MESSAGE\n\n", b"\xff\0", False)
    assert binary.message == {"type": "websocket.send", "bytes": b"MESSAGE\n\n\xff\0"}
    assert (wire.size(binary), binary.plain) == (11, True)


def test_all_wires_share_what_they_send() -> None:
    assert ScopeWire().key == ScopeWire(Batcher()).key


def test_the_close_is_made_once_with_a_code_of_the_plain_type() -> None:
    wire = ScopeWire()
    [chunk] = wire.close(CloseCode.TOO_BIG, "message too big")
    message = {"type": "websocket.close", "code": 1009, "reason": "message too big"}
    assert chunk.message == message
    assert type(chunk.message["code"]) is int
    assert (chunk.last, chunk.plain, wire.size(chunk)) == (True, False, 19)
    assert wire.close(1000, "") == []


def test_without_batching_chunks_go_as_they_are() -> None:
    wire = ScopeWire()
    chunks = [wire.dress(b"a", b"\0", True), wire.dress(b"b", b"\0", True)]
    assert wire.pack(chunks) == (chunks, False)


def test_a_batch_is_joined_once_for_all_its_receivers() -> None:
    batcher = Batcher()
    one, two = ScopeWire(batcher), ScopeWire(batcher)
    chunks = [one.dress(name, b"\0", True) for name in (b"a", "ü".encode(), b"c")]
    joined, ends = one.pack(chunks)
    assert [chunk.message for chunk in joined] == [{"type": "websocket.send", "text": "a\0ü\0c\0"}]
    assert (joined[0].size, joined[0].plain, joined[0].last, ends) == (7, True, False, False)
    again, _ = two.pack(list(chunks))
    assert again[0] is joined[0]
    other, _ = two.pack([one.dress(b"a", b"\0", True), *chunks[1:]])
    assert other[0] is not joined[0]
    assert len(two.pack(chunks[:2])[0][0].message["text"]) == 4


def test_one_message_is_not_joined() -> None:
    wire = ScopeWire(Batcher())
    chunks = [wire.dress(b"a", b"\0", True)]
    assert wire.pack(chunks)[0] is chunks


def test_a_batch_keeps_kinds_and_order() -> None:
    wire = ScopeWire(Batcher())
    [close] = wire.close(1000, "")
    texts = [wire.dress(name, b"\0", True) for name in (b"a", b"b")]
    binaries = [wire.dress(name, b"\0", False) for name in (b"\xfe", b"\xff")]
    last = wire.dress(b"c", b"\0", True)
    joined, _ = wire.pack([*texts, *binaries, last, close])
    assert [chunk.message for chunk in joined] == [
        {"type": "websocket.send", "text": "a\0b\0"},
        {"type": "websocket.send", "bytes": b"\xfe\0\xff\0"},
        last.message,
        close.message,
    ]
    assert [chunk.size for chunk in joined] == [4, 4, 2, 4]
    accept = ScopeChunk({"type": "websocket.accept"}, 0)
    assert wire.pack([accept, accept])[0] == [accept, accept]


def test_it_ends_with_its_scope_and_has_no_ping() -> None:
    wire = ScopeWire()
    assert (wire.parking, wire.transport) == (None, "websocket")
    assert wire.ping() is None  # type: ignore[func-returns-value]

"""WebSocket frames: what goes out, what comes in, and rows W of the threat list."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import cycle, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wsproto import frame_protocol
from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, TextMessage

from stocksync_ws.config import Limits
from stocksync_ws.types import Alive, Closed, Event, Message
from stocksync_ws.wire.websocket import BEGINNING, WebSocketReader, WebSocketWire

LIMITS = Limits(max_message_size=1000, max_fragments=4, max_header_block=1000, max_header_line=1000)
MASK = b"\x11\x22\x33\x44"


def client(first: int, payload: bytes = b"", length: int | None = None) -> bytes:
    """One masked frame; `length` lies about the payload."""
    size = len(payload) if length is None else length
    if size < 126:
        header = bytes((first, 0x80 | size))
    elif size < 65_536:
        header = bytes((first, 0xFE)) + size.to_bytes(2, "big")
    else:
        header = bytes((first, 0xFF)) + size.to_bytes(8, "big")
    return header + MASK + bytes(a ^ b for a, b in zip(payload, cycle(MASK), strict=False))


def too_big(got: int) -> str:
    return f"Limits.max_message_size=1000, got {got}"


def closing(code: int, reason: bytes = b"") -> bytes:
    return client(0x88, code.to_bytes(2, "big") + reason)


@dataclass
class Outcome:
    events: list[object] = field(default_factory=list)
    reply: bytes | None = None
    ended: bool = False


def seen(event: Event) -> object:
    if isinstance(event, Message):
        return event.payload
    assert isinstance(event, Closed)
    return (event.code, event.reason, "ours" if event.ours else "peer")


def run(pieces: Iterable[bytes], limits: Limits = LIMITS) -> Outcome:
    wire = WebSocketWire()
    reader = WebSocketReader(wire, limits)
    outcome = Outcome()
    for piece in pieces:
        events = reader.receive(piece)
        outcome.events += [seen(event) for event in events if not isinstance(event, Alive)]
        alive = [event.unfinished for event in events if isinstance(event, Alive)]
        assert alive in ([], [False], [True], [False, True])
        assert False not in alive or len(events) == len(alive)
        assert True not in alive or events[-1].unfinished  # type: ignore[union-attr]
        assert all(event.wire is wire for event in events)  # type: ignore[union-attr]
    outcome.reply, outcome.ended = reader.reply, reader.ended
    return outcome


def splits(data: bytes) -> Iterable[list[bytes]]:
    yield [data]
    yield [data[i : i + 1] for i in range(len(data))]
    for i in range(1, len(data)):
        yield [data[:i], data[i:]]


ROWS: dict[str, tuple[bytes, list[object]]] = {
    "W1 unmasked": (b"\x81\x02hi", [(1002, "frame is not masked", "ours")]),
    "W1 unmasked, empty, two octets in all": (
        b"\x81\x00",
        [(1002, "frame is not masked", "ours")],
    ),
    "W2 opcode 3": (client(0x83), [(1002, "invalid frame header", "ours")]),
    "W2 opcode 11": (client(0x8B), [(1002, "invalid frame header", "ours")]),
    "W2 RSV1": (client(0xC1), [(1002, "invalid frame header", "ours")]),
    "W2 RSV2": (client(0xA1), [(1002, "invalid frame header", "ours")]),
    "W2 RSV3": (client(0x91), [(1002, "invalid frame header", "ours")]),
    "W3 long ping": (client(0x89, b"x" * 126), [(1002, "control frame too long", "ours")]),
    "W3 fragmented ping": (client(0x09, b"x"), [(1002, "invalid frame header", "ours")]),
    "W4 2**63": (client(0x82, length=1 << 63), [(1002, "invalid frame length", "ours")]),
    "not shortest, 16 bit": (
        b"\x82\xfe\x00\x7d" + MASK,
        [(1002, "invalid frame length", "ours")],
    ),
    "not shortest, 64 bit": (
        b"\x82\xff" + bytes(6) + b"\xff\xff" + MASK,
        [(1002, "invalid frame length", "ours")],
    ),
    "W5 2**62": (
        client(0x82, length=1 << 62) + bytes(BEGINNING),
        [(1009, too_big(1 << 62), "ours")],
    ),
    "W5 one too long": (
        client(0x82, length=1001) + bytes(BEGINNING),
        [(1009, too_big(1001), "ours")],
    ),
    "W5 one too long, later": (
        client(0x82, b"x") + client(0x82, length=1001),
        [b"x", (1009, too_big(1001), "ours")],
    ),
    "exactly the limit": (client(0x82, b"x" * 1000), [b"x" * 1000]),
    "W6 continuation first": (client(0x80, b"x"), [(1002, "fragments out of order", "ours")]),
    "W6 new text in a message": (
        client(0x01, b"x") + client(0x81, b"y"),
        [(1002, "fragments out of order", "ours")],
    ),
    "W7 overlong": (client(0x81, b"\xc0\xaf"), [(1007, "text is not UTF-8", "ours")]),
    "W7 surrogate": (client(0x81, b"\xed\xa0\x80"), [(1007, "text is not UTF-8", "ours")]),
    "W7 cut at the end": (client(0x81, b"\xe2\x82"), [(1007, "text is not UTF-8", "ours")]),
    "W7 cut over fragments": (
        client(0x01, b"\xe2") + client(0x80, b"\x82"),
        [(1007, "text is not UTF-8", "ours")],
    ),
    "split code point": (client(0x01, b"\xe2") + client(0x80, b"\x82\xac"), ["€".encode()]),
    "W8 one byte": (client(0x88, b"\x03"), [(1002, "invalid Close frame", "ours")]),
    **{
        f"W8 code {code}": (closing(code), [(1002, "invalid Close frame", "ours")])
        for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000)
    },
    "W8 bad reason": (closing(1000, b"\xff"), [(1007, "invalid Close frame", "ours")]),
    "Close 1000": (closing(1000, b"bye"), [(1000, "bye", "peer")]),
    "Close 4999": (closing(4999), [(4999, "", "peer")]),
    "Close without code": (client(0x88), [(1005, "", "peer")]),
    "W9 data behind the peer's Close": (
        client(0x81, b"a") + closing(1000) + client(0x81, b"b") + b"\xff" * 50,
        [b"a", (1000, "", "peer")],
    ),
    "W10 junk behind a violation": (
        client(0x81, b"a") + b"\x81\x02hi" + client(0x81, b"b") + closing(1000),
        [b"a", (1002, "frame is not masked", "ours")],
    ),
    "Close behind too big": (
        client(0x82, b"x" * 1200) + client(0x81, b"b") + client(0x89) + closing(1000),
        [(1009, too_big(1200), "ours"), (1000, "", "peer")],
    ),
    "Close behind bad text": (
        client(0x81, b"\xff") + client(0x81, b"b") + closing(1001),
        [(1007, "text is not UTF-8", "ours"), (1001, "", "peer")],
    ),
    "junk behind too big": (
        client(0x82, b"x" * 1200) + b"\x81\x02hi" + closing(1000),
        [(1009, too_big(1200), "ours")],
    ),
    "bad Close behind too big": (
        client(0x82, b"x" * 1200) + closing(1) + closing(1000),
        [(1009, too_big(1200), "ours")],
    ),
    "W6 and a Close behind it": (
        client(0x80, b"x") + closing(1000),
        [(1002, "fragments out of order", "ours")],
    ),
    "the sum is that of one message": (
        (client(0x02, b"a" * 300) + client(0x80, b"a" * 300)) * 3,
        [b"a" * 600] * 3,
    ),
    "W11 four fragments": (
        client(0x02) + client(0x00) * 2 + client(0x80, b"x"),
        [b"x"],
    ),
    "W11 too many empty fragments": (
        client(0x02) + client(0x00) * 9 + closing(1000),
        [(1008, "Limits.max_fragments=4, got 5", "ours"), (1000, "", "peer")],
    ),
    "W12 sum of the fragments": (
        client(0x01, b"x" * 400) + client(0x00, b"x" * 400) + client(0x00, b"x" * 400),
        [(1009, too_big(1200), "ours")],
    ),
    "W13 pings inside a message": (
        client(0x01, b"a") + client(0x89, b"1") + client(0x8A, b"2") + client(0x80, b"b"),
        [b"ab"],
    ),
    "W14 pongs": (client(0x8A, b"x") * 3, []),
    "W16 binary and text": (client(0x82, b"a\0") + client(0x81, b"a\0"), [b"a\0", b"a\0"]),
    "binary that is not UTF-8": (client(0x82, b"\xff\xfe"), [b"\xff\xfe"]),
    "W17 messages in one read": (client(0x81, b"a") * 5, [b"a"] * 5),
    "empty messages": (client(0x81) + client(0x82) + client(0x01) + client(0x80), []),
    "a second message after fragments": (
        (client(0x02, b"a") + client(0x80, b"b")) * 2,
        [b"ab", b"ab"],
    ),
}


@pytest.mark.parametrize("name", ROWS)
def test_rows(name: str) -> None:
    data, expected = ROWS[name]
    for pieces in splits(data):
        outcome = run(pieces)
        assert outcome.events == expected
        last = expected[-1] if expected else None
        assert outcome.ended == (isinstance(last, tuple) and last[2] == "peer")
        assert (outcome.reply is not None) == (
            outcome.ended
            and len(expected) < 3
            and not any(isinstance(e, tuple) and e[2] == "ours" for e in expected)
        )


def test_w5_and_w12_are_refused_before_their_payload() -> None:
    """But for how a first message begins: whether it is STOMP decides what its sender is told."""
    first = client(0x82, length=1001) + bytes(BEGINNING)
    assert run([first[:-1]]).events == []
    assert run([first]).events == [(1009, too_big(1001), "ours")]
    head = client(0x02, b"x" * 600) + client(0x80, length=401)
    assert run([head]).events == [(1009, too_big(1001), "ours")]


def test_the_reply_echoes_the_code_and_never_the_reason() -> None:
    assert run([closing(4001, b"<script>")]).reply == b"\x88\x02" + (4001).to_bytes(2, "big")
    assert run([client(0x88)]).reply == b"\x88\x00"


@pytest.mark.parametrize("whole", [True, False])
def test_w10_nothing_is_kept_of_a_gigabyte(whole: bool) -> None:
    for start in (b"\x81\x02hi", client(0x82, length=1 << 40) + bytes(BEGINNING)):
        wire = WebSocketWire()
        reader = WebSocketReader(wire, LIMITS)
        reader.receive(start)
        for _ in range(1000):
            assert reader.receive(bytes(65_536) if whole else b"\x82") == []
        assert reader._buffer is None
        assert reader._parser is None


def test_w13_a_flood_of_pings_is_one_pong() -> None:
    reader = WebSocketReader(WebSocketWire(), LIMITS)
    for number in range(1000):
        events = reader.receive(client(0x89, b"old") * 3 + client(0x89, b"%d" % number))
        assert [type(event) for event in events] == [Alive]
    assert reader.pong == b"\x8a\x03999"


def test_a_ping_ahead_of_a_violation_or_close_needs_no_pong() -> None:
    for end in (b"\x81\x02hi", client(0x82, length=1 << 40) + bytes(BEGINNING), closing(1000)):
        reader = WebSocketReader(WebSocketWire(), LIMITS)
        reader.receive(client(0x89, b"x") + end)
        assert reader.pong is None


def test_w15_a_frame_byte_by_byte_is_looked_at_once() -> None:
    limits = Limits()
    data = client(0x81, b"x" * 65_536)
    assert run((data[i : i + 1] for i in range(len(data))), limits).events == [b"x" * 65_536]


@pytest.mark.parametrize(
    "data", [b"\x81", client(0x81, b"ab")[:-1], client(0x89), client(0x8A), client(0x81), b""]
)
def test_anything_without_a_message_is_life(data: bytes) -> None:
    reader = WebSocketReader(WebSocketWire(), LIMITS)
    assert [type(event) for event in reader.receive(data)] == [Alive]


CUT = client(0x01, b"half") + client(0x80, b"rest")


@pytest.mark.parametrize("cut", range(len(CUT)))
@pytest.mark.parametrize("code", [1000, None])
def test_w9_after_our_close_the_framing_is_followed_to_the_peers(
    cut: int, code: int | None
) -> None:
    for pieces in splits(CUT[cut:] + client(0x89) + closing(code or 7) + client(0x81, b"x")):
        wire = WebSocketWire()
        reader = WebSocketReader(wire, LIMITS)
        reader.receive(CUT[:cut])
        assert wire.close(1001, "going away") == [b"\x88\x0c\x03\xe9going away"]
        events = [seen(event) for piece in pieces for event in reader.receive(piece)]
        assert events == ([(1000, "", "peer")] if code else [])
        assert reader.reply is None
        assert reader.pong is None
        assert reader.ended == bool(code)


def test_our_close_is_not_sent_behind_the_reply() -> None:
    wire = WebSocketWire()
    WebSocketReader(wire, LIMITS).receive(closing(1000))
    assert wire.close(1001, "going away") == []


def test_the_wire() -> None:
    one, other = WebSocketWire(), WebSocketWire()
    assert one.transport == "websocket"
    assert one.key == other.key
    assert (one.session, one.link) == (None, None)
    assert one.ping() is other.ping()
    assert one.ping() == b"\x89\x00"
    assert one.pack([b"a", b"b"]) == ([b"a", b"b"], False)
    assert one.joins  # which says just this
    assert one.size(one.dress(b"ab", b"c", True)) == 5
    assert one.close(1000, "") == [b"\x88\x02\x03\xe8"]
    assert one.close(1000, "") == []


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65_535, 65_536])
@pytest.mark.parametrize("cut", [0, 1])
def test_prepared_frames_are_those_of_wsproto(size: int, cut: int) -> None:
    payload = b"x" * size
    theirs = Connection(ConnectionType.SERVER)
    wire = WebSocketWire()
    text = wire.dress(payload[:cut], payload[cut:], True)
    assert type(text) is bytes
    assert text == theirs.send(TextMessage(data=payload.decode()))
    assert wire.dress(payload[:cut], payload[cut:], False) == theirs.send(BytesMessage(payload))


# A peer's frames: messages of up to four fragments, with control frames between any two.
controls = st.lists(
    st.builds(client, st.sampled_from([0x89, 0x8A]), st.binary(max_size=125)), max_size=2
)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=200).map(str.encode)


@st.composite
def messages(draw: st.DrawFn) -> tuple[bytes, bytes]:
    first, payload = draw(st.tuples(st.just(1), texts) | st.tuples(st.just(2), st.binary()))
    cuts = sorted(draw(st.lists(st.integers(0, len(payload)), max_size=3)))
    parts = [payload[a:b] for a, b in zip([0, *cuts], [*cuts, len(payload)], strict=True)]
    wire = b""
    for number, part in enumerate(parts):
        opcode = (0 if number else first) | (0x80 if number == len(parts) - 1 else 0)
        wire += client(opcode, part) + b"".join(draw(controls))
    return wire, payload


def pieces_of(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[a:b] for a, b in pairwise(edges)]


CUTS = st.lists(st.integers(0, 1 << 16), max_size=20)


@settings(max_examples=150, deadline=None)
@given(st.lists(messages(), max_size=6), CUTS, st.sampled_from([b"", closing(4000)]))
def test_any_splitting_gives_the_same_messages(
    sent: list[tuple[bytes, bytes]], cuts: list[int], end: bytes
) -> None:
    data = b"".join(wire for wire, _ in sent) + end
    expected: list[object] = [payload for _, payload in sent if payload]
    if end:
        expected.append((4000, "", "peer"))
    assert run(pieces_of(data, cuts)).events == expected


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.binary(max_size=30)
        | st.builds(client, st.integers(0, 255), st.binary(max_size=300))
        | st.builds(client, st.sampled_from([0, 1, 2, 0x80, 0x81, 0x88]), st.binary(max_size=9)),
        max_size=12,
    ).map(b"".join),
    CUTS,
)
def test_any_bytes_end_alike_however_they_are_split(data: bytes, cuts: list[int]) -> None:
    whole, split = run([data]), run(pieces_of(data, cuts))
    assert (whole.events, whole.ended, whole.reply) == (split.events, split.ended, split.reply)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 255), st.binary(max_size=40))
        | st.tuples(
            st.sampled_from([0, 1, 2, 0x80, 0x81, 0x82, 0x88, 0x89]), st.binary(max_size=9)
        ),
        max_size=5,
    )
)
def test_wsproto_agrees_about_what_is_valid(sent: list[tuple[int, bytes]]) -> None:
    data = b"".join(client(first, payload) for first, payload in sent)
    ours = [event for event in run([data], Limits()).events if isinstance(event, tuple)]
    theirs = frame_protocol.FrameProtocol(client=False, extensions=[])
    theirs.receive_bytes(data)
    verdict: int | None = None
    try:
        for item in theirs.received_frames():
            if item.opcode is frame_protocol.Opcode.CLOSE:
                verdict = int(item.payload[0])
                break
    except frame_protocol.ParseFailed as error:
        verdict = int(error.code)
    assert [event[0] for event in ours[:1]] == ([] if verdict is None else [verdict])


@pytest.mark.parametrize("size", [20, 200, 70_000])
def test_behind_our_close_nothing_is_kept_of_what_was_not_finished(size: int) -> None:
    """Though the peer sends nothing more; what comes then is followed as ever."""
    message = client(0x82, b"x" * size)
    for data in (message, client(0x02, b"y" * 10) + client(0x80, b"x" * size)):
        for cut in (1, 3, len(data) - 1):
            wire = WebSocketWire()
            reader = WebSocketReader(wire, Limits(max_message_size=100_000))
            reader.receive(data[:cut])
            kept = wire.kept
            assert reader.forget() == []
            assert wire.kept == kept
            wire.close(1008, "not allowed")
            assert reader.forget() == []
            assert wire.kept == 0
            assert len(reader._buffer or b"") < 14
            assert reader.forget() == []
            rest = reader.receive(data[cut:] + closing(1008))
            assert [type(each) for each in rest] == [Closed]
            assert reader.ended


# How a first message begins


def beginning(*pieces: bytes, limits: Limits = LIMITS) -> bytes:
    wire = WebSocketWire()
    reader = WebSocketReader(wire, limits)
    for piece in pieces:
        reader.receive(piece)
    return wire.began


def test_how_a_first_message_begins_is_told_while_it_is_not_whole_and_when_it_is_refused() -> None:
    text = b"0123456789" * 20
    wanted = text[:BEGINNING]
    whole = client(0x81, text)
    assert beginning(whole[:10]) == text[:2]
    assert beginning(whole[:10], whole[10:100]) == wanted
    assert beginning(client(0x01, text[:5]), client(0x80, text[5:])[:-1]) == wanted
    assert beginning(client(0x01, text)) == wanted
    large = client(0x81, text * 10)
    for cut in range(1, 60):
        assert beginning(large[:cut], large[cut:]) == wanted
    many = Limits(max_fragments=1)
    assert beginning(client(0x01, text), client(0x00, text), limits=many) == wanted
    # Of later ones nobody asks.
    assert beginning(client(0x81, b"x"), whole[:100]) == b""
    assert beginning(client(0x81, b"x") + large) == b""

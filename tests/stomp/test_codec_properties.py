"""What holds for all frames, all octets and all cuts; and work counted in octets, not in time."""

from __future__ import annotations

from typing import Any, SupportsIndex

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stocksync_ws.codes import ErrorCode
from stocksync_ws.config import Limits
from stocksync_ws.errors import LocalProtocolError, RemoteProtocolError
from stocksync_ws.stomp import decoder as decoder_module
from stocksync_ws.stomp.decoder import Decoder
from stocksync_ws.stomp.encoder import TailEncoder, encode, encode_head
from stocksync_ws.stomp.frame import Frame, Version
from stocksync_ws.stomp.rules import BODIES, UNESCAPED, escape, unescape
from tests.stomp.octets import EXAMPLES, WIDE, cuts, octets, text, versions

V10, V11, V12 = Version
Outcome = tuple[list[Frame], ErrorCode | None, str | None, dict[str, str]]


def decode(
    messages: list[bytes], version: Version | None, server: bool = False, limits: Limits = WIDE
) -> Outcome:
    decoder = Decoder(limits, server_frames=server)
    decoder.version = version
    frames: list[Frame] = []
    for message in messages:
        decoder.feed(message)
        try:
            while (frame := decoder.next()) is not None:
                frames.append(frame)
        except RemoteProtocolError as error:
            assert_dead(decoder, error)
            return frames, error.code, error.command, dict(error.headers)
    return frames, None, None, {}


def assert_dead(decoder: Decoder, error: RemoteProtocolError) -> None:
    with pytest.raises(RemoteProtocolError) as again:
        decoder.next()
    assert again.value.code is error.code


# -- Strategies ----------------------------------------------------------------------------------


@st.composite
def frames(draw: st.DrawFn) -> tuple[Frame, Version, bool]:
    """A frame that its version can express."""
    version = draw(versions)
    command = draw(st.sampled_from(["SEND", "MESSAGE", "ERROR", "BEGIN", "RECEIPT", "CONNECT"]))
    gone = "\0"
    if version is V11:
        gone += "\r"
    if version is V10 or command in UNESCAPED:
        gone += "\r\n"

    def clean(value: str, more: str = "") -> str:
        for character in gone + more:
            value = value.replace(character, "")
        return value.lstrip(" \t") if version is V10 else value

    headers: dict[str, str] = {}
    plain = version is V10 or command in UNESCAPED
    for name, value in draw(st.dictionaries(text, text, max_size=5)).items():
        key = clean(name, ":" if plain else "")
        if key and key != "content-length":
            headers[key] = clean(value)
    body = draw(st.binary(max_size=40)) if command in BODIES else b""
    if body:
        headers["content-length"] = str(len(body))
    return Frame(command, headers, body), version, command in ("MESSAGE", "ERROR", "RECEIPT")


# -- P1, P2: round trip, fixed point -------------------------------------------------------------


@EXAMPLES
@given(frames(), st.data())
def test_p1_decoding_undoes_encoding(
    case: tuple[Frame, Version, bool], data: st.DataObject
) -> None:
    frame, version, server = case
    octets = encode(frame.command, frame.headers, frame.body, version)
    assert decode([octets], version, server) == ([frame], None, None, {})
    assert decode(data.draw(cuts(octets * 2)), version, server)[0] == [frame, frame]


@EXAMPLES
@given(octets, versions)
def test_p2_encoding_what_was_decoded_is_a_fixed_point(data: bytes, version: Version) -> None:
    for frame in decode([data], version)[0]:
        canonical = encode(frame.command, frame.headers, frame.body, version)
        (again,) = decode([canonical], version)[0]
        assert encode(again.command, again.headers, again.body, version) == canonical
        assert (again.command, again.body) == (frame.command, frame.body)


# -- P3, P5: any cut, any octets -----------------------------------------------------------------


@settings(max_examples=400, deadline=None)
@given(octets, st.sampled_from([None, *Version]), st.booleans(), st.data())
@pytest.mark.slow
def test_p3_p5_any_octets_any_cut_one_result(
    data: bytes, version: Version | None, server: bool, draw: st.DataObject
) -> None:
    # The one thing that depends on the borders of messages, and is meant to.
    data = data.replace(b"ACK", b"BEGIN")
    whole = decode([data], version, server)
    assert decode(draw.draw(cuts(data)), version, server) == whole
    assert decode([bytes([octet]) for octet in data], version, server) == whole


# -- P4, P6: limits ------------------------------------------------------------------------------


@EXAMPLES
@given(st.integers(0, 40), st.integers(-1, 1), st.booleans(), st.data())
def test_p4_size_is_exact(body: int, over: int, length: bool, draw: st.DataObject) -> None:
    head = b"SEND\na:1\n" + (b"content-length:%d\n\n" % body if length else b"\n")
    data = head + b"x" * body + b"\0"
    size = len(data) - over
    block = min(len(head), size)
    limits = Limits(
        max_header_line=min(18, block),
        max_header_block=block,
        max_message_size=size,
    )
    for messages in ([data], draw.draw(cuts(data))):
        read, code, _, _ = decode(messages, V12, limits=limits)
        assert (len(read), code) == ((1, None) if over <= 0 else (0, ErrorCode.LIMIT_SIZE))


@EXAMPLES
@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 3))
def test_p6_repeats_count(count: int, limit: int, names: int) -> None:
    data = b"SEND\n" + b"".join(b"%d:1\n" % (i % names) for i in range(count)) + b"\n\0"
    read, code, _, _ = decode([data], V12, limits=Limits(max_headers=limit))
    assert (len(read), code is None) == ((1, True) if count <= limit else (0, False))


# -- P7: nothing a user wrote ends a line --------------------------------------------------------


@EXAMPLES
@given(
    st.lists(st.tuples(text, text), max_size=5), versions, st.sampled_from(["MESSAGE", "CONNECTED"])
)
def test_p7_no_injection(headers: list[tuple[str, str]], version: Version, command: str) -> None:
    try:
        data = encode(command, headers, b"", version)
    except LocalProtocolError:
        assert command in UNESCAPED or any(
            not name or "\0" in name + value for name, value in headers
        )
        return
    assert data.startswith(command.encode() + b"\n")
    assert data.endswith(b"\n\n\0")
    assert data.count(b"\0") == 1
    assert b"\r" not in data
    assert data.count(b"\n") <= len(headers) + 2
    lines = data[:-3].split(b"\n")[1:]
    for line in lines:
        name, colon, value = line.partition(b":")
        assert name
        assert colon
        if version is not V10 and command not in UNESCAPED:
            assert b":" not in value


@EXAMPLES
@given(
    st.lists(st.tuples(text, text), max_size=4),
    st.tuples(text, text),
    versions,
    st.binary(max_size=9),
    st.integers(0, 4),
)
def test_p7_halves_join_to_the_whole(
    headers: list[tuple[str, str]],
    own: tuple[str, str],
    version: Version,
    body: bytes,
    cut: int,
) -> None:
    headers = [(name.replace("\0", "") or "x", value.replace("\0", "")) for name, value in headers]
    destination, message_id = (value.replace("\0", "") for value in own)
    before, behind = headers[:cut], headers[cut:]
    head = encode_head("MESSAGE", before, version)
    middle = [("destination", destination), ("message-id", message_id)]
    whole = encode("MESSAGE", [*before, *middle, *behind], body, version)
    tails = TailEncoder()
    for _ in "12":  # what repeats is remembered
        assert head + tails.encode(destination, message_id, tuple(behind), body, version) == whole


@EXAMPLES
@given(st.text(st.sampled_from("\\ncrtx:\r\n"), max_size=12), st.sampled_from([V11, V12]))
def test_escapes_against_one_pass_from_left_to_right(value: str, version: Version) -> None:
    letters = {"n": "\n", "c": ":", "\\": "\\"} | ({"r": "\r"} if version is V12 else {})
    escapes = tuple(("\\" + letter, meant) for letter, meant in letters.items() if letter != "\\")
    out: str | None = ""
    characters = iter(value)
    for character in characters:
        if character == "\\":
            meant = letters.get(next(characters, ""))
            if meant is None:
                out = None
                break
            character = meant
        out = (out or "") + character
    assert unescape(value, escapes) == out
    assert unescape(escape(value, escapes), escapes) == value


# -- P9: content-length is an ASCII grammar ------------------------------------------------------


@EXAMPLES
@given(st.text(st.sampled_from("0123456789+- _.eé\u0665\xb2"), max_size=12))
def test_p9_content_length(value: str) -> None:
    good = 0 < len(value) <= 10 and set(value) <= set("0123456789")
    data = f"SEND\ncontent-length:{value}\n\n".encode()
    for messages in ([data], [data[:9], data[9:]]):
        _, code, _, _ = decode(messages, V12)
        if not good:
            assert code is ErrorCode.BAD_CONTENT_LENGTH
        else:
            fits = len(data) + int(value) + 1 <= WIDE.max_message_size
            assert code is (None if fits else ErrorCode.LIMIT_SIZE)


# -- P8: linear work, counted in octets ----------------------------------------------------------


class Meter:
    octets = 0


class Counted(bytes):
    """Octets that know how many of them were looked at or copied."""

    def find(self, needle: Any, start: Any = 0, end: Any = None) -> int:
        stop = len(self) if end is None else min(len(self), max(end, start))
        at = super().find(needle, start, stop)
        Meter.octets += (at if at >= 0 else stop) - min(start, stop) + 1
        return at

    def __getitem__(self, key: SupportsIndex | slice) -> Any:
        got = super().__getitem__(key)
        if isinstance(got, int):
            Meter.octets += 1
            return got
        Meter.octets += len(got)
        return Counted(got)

    def __add__(self, other: Any) -> Counted:
        Meter.octets += len(self) + len(other)
        return Counted(super().__add__(other))

    def __contains__(self, key: Any) -> bool:
        Meter.octets += len(self)
        return super().__contains__(key)

    def __hash__(self) -> int:
        Meter.octets += len(self)
        return super().__hash__()

    def __eq__(self, other: object) -> bool:
        return super().__eq__(other)

    def decode(self, *args: Any, **kwargs: Any) -> str:
        Meter.octets += 4 * len(self)  # ... and split, partition, unescape
        return super().decode(*args, **kwargs)

    def isascii(self) -> bool:
        Meter.octets += len(self)
        return super().isascii()

    def endswith(self, *args: Any) -> bool:
        Meter.octets += 1
        return super().endswith(*args)


class CountedBuffer(bytearray):
    def __iadd__(self, other: Any) -> CountedBuffer:
        Meter.octets += len(other)
        return super().__iadd__(other)  # type: ignore[return-value]


def counted_bytes(buffer: bytearray) -> Counted:
    Meter.octets += len(buffer)
    return Counted(buffer)


class CountedPattern:
    def __init__(self, pattern: Any) -> None:
        self.pattern = pattern

    def match(self, data: bytes, pos: int) -> Any:
        found = self.pattern.match(data, pos)
        Meter.octets += found.end() - pos + 1
        return found


@pytest.fixture
def meter(monkeypatch: pytest.MonkeyPatch) -> type[Meter]:
    # The module's own globals hide the builtins, so the buffers of the decoder are counted too.
    monkeypatch.setattr(decoder_module, "bytearray", CountedBuffer, raising=False)
    monkeypatch.setattr(decoder_module, "bytes", counted_bytes, raising=False)
    monkeypatch.setattr(decoder_module, "GAP", CountedPattern(decoder_module.GAP))
    monkeypatch.setattr(decoder_module, "_EOLS", CountedPattern(decoder_module._EOLS))
    return Meter


HUGE = Limits(
    max_message_size=10**7,
    max_header_block=10**6,
    max_header_line=10**6,
    max_headers=10**6,
    max_messages_per_frame=10**7,
)


def work(data: bytes, size: int, limits: Limits) -> int:
    Meter.octets = 0
    decoder = Decoder(limits)
    decoder.version = V12
    try:
        for start in range(0, len(data), size):
            decoder.feed(Counted(data[start : start + size]))
            while decoder.next() is not None:
                pass
    except RemoteProtocolError:
        pass
    return Meter.octets


FAMILIES = {
    "LF": lambda n: b"\n" * n,
    "NUL": lambda n: b"\0" * n,
    "CRLF": lambda n: b"\r\n" * (n // 2),
    "headers": lambda n: b"SEND\n" + b"a:\n" * (n // 3),
    "escapes": lambda n: b"SEND\na:" + b"\\\\" * (n // 2) + b"\n\n\0",
    "long line": lambda n: b"SEND\na:" + b"x" * n,
    "long command": lambda n: b"A" * n,
    "body": lambda n: b"SEND\n\n" + b"x" * n,
    "body with length": lambda n: b"SEND\ncontent-length:%d\n\n" % n + b"x" * n + b"\0",
    "NULs in a body": lambda n: b"SEND\ncontent-length:%d\n\n" % n + b"\0" * n + b"\0",
    "LFs in a body": lambda n: b"SEND\n\n" + b"\n" * n + b"\0",
    "tiny frames": lambda n: b"SEND\n\n\0" * (n // 7),
    "tiny CRLF frames": lambda n: b"SEND\r\n\r\n\0" * (n // 9),
    "tiny CRLF frames, then a blank line": lambda n: b"SEND\r\n\r\n\0" * (n // 9) + b"SEND\n\n\0",
    "tiny frames that are not plain": lambda n: b"SEND\na:\\c\n\n\0" * (n // 12),
    "tiny frames with repeats": lambda n: b"SEND\na:\na:\n\n\0" * (n // 13),
    "tiny acks": lambda n: b"ACK\ncontent-length:0\n\n\0" * (n // 23),
    "tiny connects, a far NUL": lambda n: b"SEND\ncontent-length:1\n\nx\0" * (n // 26),
}


@pytest.mark.pure("counts by a type of its own, which compiled code does not ask")
@pytest.mark.parametrize("size", [1, 7, 1000, 10**9], ids=lambda size: f"{size}-octet-chunks")
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("limits", [HUGE, WIDE], ids=["huge", "default"])
@pytest.mark.usefixtures("meter")
def test_p8_work_is_linear(family: str, size: int, limits: Limits) -> None:
    for n in (2_000, 8_000):
        data = FAMILIES[family](n)
        assert work(data, size, limits) <= 16 * len(data) + 200


@pytest.mark.pure("counts by a type of its own, which compiled code does not ask")
@pytest.mark.usefixtures("meter")
def test_p8_the_meter_counts() -> None:
    assert work(b"SEND\n\n" + b"x" * 1000 + b"\0", 10**9, HUGE) >= 2000

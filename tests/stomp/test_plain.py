"""The quick reader: what it reads, and that it changes nothing."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stocksync_ws.config import Limits
from stocksync_ws.errors import RemoteProtocolError
from stocksync_ws.stomp.decoder import Decoder
from stocksync_ws.stomp.frame import Frame, Version
from tests.stomp.octets import EXAMPLES, WIDE, cuts, octets, versions

V10, V11, V12 = Version


@pytest.mark.parametrize(
    ("data", "frame"),
    [
        (b"SEND\n\n\0", Frame("SEND", {}, b"")),
        (b"SEND\na:b\nc:\n\nx\0\n", Frame("SEND", {"a": "b", "c": ""}, b"x")),
        (b"SEND\ncontent-length:3\n\nx\0y\0", Frame("SEND", {"content-length": "3"}, b"x\0y")),
    ],
)
def test_a_plain_frame_is_read_at_once(data: bytes, frame: Frame) -> None:
    decoder = Decoder(WIDE)
    decoder.version = V12
    decoder.feed(data)
    assert decoder._quick() == frame


class Slow(Decoder):
    """A decoder without its quick reader."""

    __slots__ = ()

    def _quick(self) -> None:
        return None


def read(
    kind: type[Decoder], messages: list[bytes], version: Version, limits: Limits
) -> tuple[list[Any], bool]:
    """Frames, the error that ends them, and whether another frame was begun."""
    decoder = kind(limits)
    decoder.version = version
    found: list[Any] = []
    try:
        for message in messages:
            decoder.feed(message)
            while (frame := decoder.next()) is not None:
                found.append(frame)
                frame.headers[f"mark-{len(found)}"] = "whoever gets a frame may change it"
    except RemoteProtocolError as error:
        found.append((type(error), error.code, error.command, error.headers))
    return found, decoder.mid_frame


@pytest.mark.pure("derives from a class that is compiled")
@EXAMPLES
@given(octets, versions)
def test_the_quick_reader_changes_nothing(data: bytes, version: Version) -> None:
    assert read(Decoder, [data], version, WIDE) == read(Slow, [data], version, WIDE)


HEADS = [
    b"SEND\n\n",
    b"SEND\ndestination:/a\n\n",
    b"SEND\ndestination:/a\ncontent-length:3\n\n",
    b"SEND\ndestination:/a\ncontent-length:0\n\n",
    b"SEND\r\ndestination:/a\n\n",
    b"SEND\ndestination:/a\\c\n\n",
    b"SEND\ndestination: /a\n\n",
    b"BEGIN\ntransaction:t\n\n",
    b"",
]
TAILS = [b"", b"abc", b"abcd", b"a\0c", b"\n\n", b"SEND\n\n\0", b"x" * 40, b"x" * 44]
ENDS = [b"\0", b"\0", b"\0", b"\0\n", b""]
repeated = st.tuples(
    st.sampled_from(HEADS),
    st.lists(st.tuples(st.sampled_from(TAILS), st.sampled_from(ENDS)), min_size=1, max_size=4),
)


@pytest.mark.pure("derives from a class that is compiled")
@settings(max_examples=600, deadline=None)
@given(
    st.lists(repeated, min_size=1, max_size=3),
    st.sampled_from([V12, V11, V10]),
    st.integers(44, 90),
    st.data(),
)
def test_a_head_that_repeats_is_read_as_the_first_one(
    pieces: list[tuple[bytes, list[tuple[bytes, bytes]]]],
    version: Version,
    size: int,
    draw: st.DataObject,
) -> None:
    data = b"".join(head + body + end for head, bodies in pieces for body, end in bodies)
    limits = Limits(max_header_line=44, max_header_block=44, max_message_size=size)
    messages = draw.draw(st.one_of(st.just([data]), cuts(data)))
    assert read(Decoder, messages, version, limits) == read(Slow, messages, version, limits)


@pytest.mark.pure("derives from a class that is compiled")
@pytest.mark.parametrize("length", [b"", b"content-length:9\n"])
def test_a_head_that_repeats_has_the_same_bounds(length: bytes) -> None:
    head = b"SEND\na:1\n" + length + b"\n"
    size = len(head) + 9 + 1
    for most in (size, size - 1):
        limits = Limits(
            max_header_line=len(head), max_header_block=len(head), max_message_size=most
        )
        first = head.replace(b"9", b"0") + b"\0" if length else head + b"\0"
        data = first + (head + b"x" * 9 + b"\0") * 2
        assert read(Decoder, [data], V12, limits) == read(Slow, [data], V12, limits)
        tail = head + b"x" * 8
        assert read(Decoder, [first + tail], V12, limits) == read(Slow, [first + tail], V12, limits)

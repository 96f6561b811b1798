"""Octets that look like frames, and the ways to cut them into messages."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st

from stocksync_ws.config import Limits
from stocksync_ws.stomp.frame import Version

WIDE = Limits(max_messages_per_frame=1_000_000)
EXAMPLES = settings(max_examples=150, deadline=None)

special = st.sampled_from(":\\\r\n \tnrc\0")
text = st.text(st.one_of(special, st.characters(codec="utf-8")), max_size=12)
pieces = st.sampled_from(
    [
        *[b"\n", b"\n\n", b"\r\n", b"\r", b"\0", b":", b"\\", b"\\n", b"\\c", b"\\r", b"\\\\"],
        *[b"SEND\n", b"CONNECT\n", b"ACK\n", b"NACK\r\n", b"SUBSCRIBE\n", b"DISCONNECT\n\n\0"],
        *[b"content-length:", b"3", b"0", b" ", b"destination:/a\n", b"receipt:1\n", b"a:b\n"],
        *[b"SEND\n\n", b"body", b"\xff", "é".encode(), b"MESSAGE\n", b"x" * 40],
    ]
)
octets = st.one_of(st.binary(max_size=60), st.lists(pieces, max_size=14).map(b"".join))
versions = st.sampled_from(Version)


@st.composite
def cuts(draw: st.DrawFn, data: bytes) -> list[bytes]:
    places = sorted(draw(st.sets(st.integers(0, len(data)), max_size=8)))
    return [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True)]

"""Bodies out of bytes: whole however they are split, and nothing of what comes behind."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from stocksync_ws.types import HttpRequest
from stocksync_ws.wire.body import BodyReader
from stocksync_ws.wire.http import HttpError

CHUNKED = ("transfer-encoding", "chunked")


def reader(*headers: tuple[str, str], version: str = "1.1") -> BodyReader:
    return BodyReader(HttpRequest("POST", "/", headers, version))


def splits(data: bytes) -> Iterable[list[bytes]]:
    yield [data]
    yield [data[at : at + 1] for at in range(len(data))]
    for at in range(1, len(data)):
        yield [data[:at], data[at:]]


def read(made: BodyReader, pieces: Iterable[bytes]) -> tuple[bytes, bytes]:
    """The body, and what stands behind it."""
    body, behind = made.receive(b""), b""
    for piece in pieces:
        if made.ended:
            behind += piece
        else:
            body += made.receive(piece)
    assert made.ended
    return body, made.rest + behind


@pytest.mark.parametrize(
    ("header", "data", "body"),
    [
        (("content-length", "5"), b"hello", b"hello"),
        (CHUNKED, b"5\r\nhello\r\n0\r\n\r\n", b"hello"),
        (CHUNKED, b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n", b"hello"),
        (CHUNKED, b"00005;name=value;x\r\nhello\r\n0;last\r\n\r\n", b"hello"),
        (CHUNKED, b"5\r\nhello\r\n0\r\nX-Trailer: a\r\nY: b\r\n\r\n", b"hello"),
        (CHUNKED, b"A\r\n0123456789\r\n0\r\n\r\n", b"0123456789"),
        (CHUNKED, b"0\r\n\r\n", b""),
    ],
)
def test_a_body_is_the_same_however_it_is_split(
    header: tuple[str, str], data: bytes, body: bytes
) -> None:
    for behind in (b"", b"GET / HTTP/1.1\r\n"):
        for pieces in splits(data + behind):
            assert read(reader(header), pieces) == (body, behind)


def test_it_is_not_whole_before_its_last_byte() -> None:
    for header, data in ((("content-length", "5"), b"hello"), (CHUNKED, b"1\r\nx\r\n0\r\n\r\n")):
        made = reader(header)
        made.receive(data[:-1])
        assert not made.ended
        made.receive(data[-1:])
        assert made.ended


@pytest.mark.parametrize("headers", [(), (("content-length", "0"),)])
def test_no_body_is_whole_at_once(headers: tuple[tuple[str, str], ...]) -> None:
    made = reader(*headers)
    assert not made.ended
    assert made.receive(b"GET /") == b""
    assert (made.ended, made.rest) == (True, b"GET /")


@pytest.mark.parametrize(
    "data",
    [
        b"x\r\n",
        b"-1\r\n",
        b"5\r\nhelloX\r\n",
        b"5\r\nhello\r\nGET / HTTP/1.1\r\n\r\n",
        b"1;" + b"a" * 20_000,
        b"0\r\n" + b"X: a\r\n" * 5_000,
    ],
)
def test_a_broken_chunk_is_the_peers_fault(data: bytes) -> None:
    for pieces in ([data], [data[at : at + 7] for at in range(0, len(data), 7)]):
        with pytest.raises(HttpError) as caught:
            read(reader(CHUNKED), pieces)
        assert caught.value.status == 400


def test_what_it_keeps_is_bounded() -> None:
    made = reader(CHUNKED)
    made.receive(b"FFFFFFF\r\n")
    for _ in range(100):
        assert made.receive(bytes(10_000)) == bytes(10_000)


def test_who_waits_for_a_word_is_known_by_the_head() -> None:
    waiting = (("content-length", "5"), ("expect", "100-continue"))
    assert reader(*waiting).wants_continue
    assert not reader(("content-length", "5")).wants_continue
    assert not reader(*waiting, version="1.0").wants_continue
    made = reader(*waiting)
    assert made.receive(b"hello") == b"hello"
    assert made.ended


def test_other_headers_are_nothing_to_it() -> None:
    made = reader(("x", "\xe9"), ("cookie", "a=b"), ("content-length", "1"), ("host", "a"))
    assert made.receive(b"x") == b"x"
    assert made.ended

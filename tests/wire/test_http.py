"""Request heads out of bytes, and answers into bytes."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stocksync_ws.config import Limits
from stocksync_ws.types import HttpRequest
from stocksync_ws.wire.http import (
    HttpError,
    HttpReader,
    has_body,
    keeps_alive,
    response,
    switching_protocols,
    tokens,
    wants_websocket,
)

LIMITS = Limits(max_handshake_bytes=200, max_handshake_headers=5)


def run(pieces: Iterable[bytes], limits: Limits = LIMITS) -> tuple[list[object], bytes]:
    """Requests as (method, target) and, at the end, the status of an error; the bytes left over."""
    reader = HttpReader(limits)
    seen: list[object] = []
    for piece in pieces:
        reader.feed(piece)
        try:
            while (request := reader.take("peer:1", False)) is not None:
                seen.append((request.method, request.target))
        except HttpError as error:
            return [*seen, error.status], b""
    return seen, bytes(reader.rest)


def splits(data: bytes) -> Iterable[list[bytes]]:
    yield [data]
    yield [data[i : i + 1] for i in range(len(data))]
    for i in range(1, len(data)):
        yield [data[:i], data[i:]]


H = b"Host: a\r\n"
ROWS: dict[str, tuple[bytes, list[object]]] = {
    "plain": (b"GET / HTTP/1.1\r\n" + H + b"\r\n", [("GET", "/")]),
    "query": (b"GET /a?b=c HTTP/1.1\r\n" + H + b"\r\n", [("GET", "/a?b=c")]),
    "bare LF": (b"GET / HTTP/1.1\nHost: a\n\n", [("GET", "/")]),
    "mixed ends": (b"GET / HTTP/1.1\nHost: a\n\r\n", [("GET", "/")]),
    "1.0 without Host": (b"GET / HTTP/1.0\r\n\r\n", [("GET", "/")]),
    "two": (
        b"GET /1 HTTP/1.1\r\n" + H + b"\r\nGET /2 HTTP/1.1\r\n" + H + b"\r\n",
        [("GET", "/1"), ("GET", "/2")],
    ),
    "empty lines between": (
        b"\r\n\r\nGET /1 HTTP/1.1\r\n" + H + b"\r\n\r\n\n\rGET /2 HTTP/1.1\r\n" + H + b"\r\n",
        [("GET", "/1"), ("GET", "/2")],
    ),
    "unfinished": (b"GET / HTTP/1.1\r\nHost", []),
    "asterisk": (b"OPTIONS * HTTP/1.1\r\n" + H + b"\r\n", [("OPTIONS", "*")]),
    "absolute": (b"GET http://A/x?y HTTP/1.1\r\n" + H + b"\r\n", [("GET", "/x?y")]),
    "absolute, no path": (b"GET HTTPS://a?y HTTP/1.1\r\n" + H + b"\r\n", [("GET", "/?y")]),
    "absolute, other host": (b"GET http://b/x HTTP/1.1\r\n" + H + b"\r\n", [400]),
    "authority": (b"CONNECT a:80 HTTP/1.1\r\n" + H + b"\r\n", [400]),
    "no request": (b"hello\r\n\r\n", [400]),
    "TLS hello": (b"\x16\x03\x01\x02\x00\x01", [400]),
    "blank first": (b" GET / HTTP/1.1\r\n", [400]),
    "header without colon": (b"GET / HTTP/1.1\r\n" + H + b"x\r\n\r\n", [400]),
    "blank before colon": (b"GET / HTTP/1.1\r\n" + H + b"x : y\r\n\r\n", [400]),
    "NUL in a value": (b"GET / HTTP/1.1\r\n" + H + b"x: \0\r\n\r\n", [400]),
    "1.1 without Host": (b"GET / HTTP/1.1\r\n\r\n", [400]),
    "1.1 with other headers, without Host": (b"GET / HTTP/1.1\r\nx: y\r\n\r\n", [400]),
    "H22 two Hosts": (b"GET / HTTP/1.1\r\n" + H + H + b"\r\n", [400]),
    "two lengths": (
        b"GET / HTTP/1.1\r\n" + H + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n",
        [400],
    ),
    "gzip coding": (b"GET / HTTP/1.1\r\n" + H + b"Transfer-Encoding: gzip\r\n\r\n", [501]),
    "HTTP/2 preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", [505]),
    "a good one, then junk": (b"GET / HTTP/1.1\r\n" + H + b"\r\n\0", [("GET", "/"), 400]),
    "H12 header too long": (b"GET / HTTP/1.1\r\n" + H + b"x: " + b"y" * 300, [431]),
    "H12 too long and complete": (
        b"GET / HTTP/1.1\r\n" + H + b"x: " + b"y" * 300 + b"\r\n\r\n",
        [431],
    ),
    "H12 just fits": (
        b"GET / HTTP/1.1\r\n" + H + b"x: " + b"y" * (200 - 32) + b"\r\n\r\n",
        [("GET", "/")],
    ),
    "H12 one byte over": (
        b"GET / HTTP/1.1\r\n" + H + b"x: " + b"y" * (201 - 32) + b"\r\n\r\n",
        [431],
    ),
    "H12 five headers": (b"GET / HTTP/1.1\r\n" + H + b"x: y\r\n" * 4 + b"\r\n", [("GET", "/")]),
    "H12 six headers": (b"GET / HTTP/1.1\r\n" + H + b"x: y\r\n" * 5 + b"\r\n", [431]),
    "H12 six headers and no end": (b"GET / HTTP/1.1\r\n" + H + b"x: y\r\n" * 5, [431]),
    "H12 headers of each request": (
        (b"GET / HTTP/1.1\r\n" + H + b"x: y\r\n" * 4 + b"\r\n") * 2,
        [("GET", "/")] * 2,
    ),
    "H12 folded lines count": (b"GET / HTTP/1.1\r\n" + H + b" y\r\n" * 5 + b"\r\n", [431]),
}


@pytest.mark.parametrize("name", ROWS)
def test_rows(name: str) -> None:
    data, expected = ROWS[name]
    for pieces in splits(data):
        assert run(pieces)[0] == expected


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (b"x: " + b"y" * 20_000, "Limits.max_handshake_bytes=16384, got at least 20019"),
        (b"x: y\r\n" * 101 + b"\r\n", "Limits.max_handshake_headers=100, got 101"),
    ],
)
def test_h12_says_which_limit(lines: bytes, says: str) -> None:
    reader = HttpReader(Limits())
    reader.feed(b"GET / HTTP/1.1\r\n" + lines)
    with pytest.raises(HttpError) as caught:
        reader.take(None, secure=False)
    assert caught.value.status == 431
    assert caught.value.text.endswith(says)


def test_h12_ten_megabytes_in_one_read() -> None:
    data = b"GET / HTTP/1.1\r\nHost: a\r\nx: " + b"y" * (10 << 20) + b"\r\n\r\n"
    assert run([data], Limits())[0] == [431]
    assert run([b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * 20_000 + b"\r\n"], Limits())[0] == [431]


def test_an_endless_line_is_not_searched_twice() -> None:
    reader = HttpReader(Limits())
    for _ in range(16_000):
        reader.feed(b"x")
        assert reader.take(None, False) is None
    assert len(reader.rest) == 16_000


def test_what_follows_a_head_stays() -> None:
    data = b"GET / HTTP/1.1\r\n" + H + b"\r\n"
    for pieces in splits(data + b"\x81\x80abcd\r\n\r\n"):
        reader = HttpReader(LIMITS)
        taken = None
        for piece in pieces:
            reader.feed(piece)
            taken = taken or reader.take(None, False)
        assert taken is not None
        assert bytes(reader.rest) == b"\x81\x80abcd\r\n\r\n"


def test_the_request() -> None:
    reader = HttpReader(LIMITS)
    reader.feed(b"GET /a?b HTTP/1.1\r\nHOST:  a:1 \r\nX-Y: \xe9\r\nx-y: 2\r\n\r\n")
    assert reader.take("1.2.3.4:5", True) == HttpRequest(
        "GET",
        "/a?b",
        (("host", "a:1"), ("x-y", "\xe9"), ("x-y", "2")),
        "1.1",
        "1.2.3.4:5",
        True,
    )


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.sampled_from([b"GET / HTTP/1.1", b"\r\n", b"\n", b"Host: a\r\n", b"\r", b": ", b" "])
        | st.binary(max_size=20),
        max_size=30,
    ).map(b"".join),
    st.lists(st.integers(0, 500), max_size=10),
)
def test_any_bytes_end_alike_however_they_are_split(data: bytes, cuts: list[int]) -> None:
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    pieces = [data[a:b] for a, b in itertools.pairwise(edges)]
    whole, left = run([data])
    split, rest = run(pieces)
    assert whole == split
    assert left == rest or not left.strip(b"\r\n")


@pytest.mark.parametrize(
    ("version", "connection", "expected"),
    [
        ("1.1", None, True),
        ("1.1", "keep-alive, Close", False),
        ("1.1", "closed", True),
        ("1.0", "keep-alive", False),
    ],
)
def test_keeps_alive(version: str, connection: str | None, expected: bool) -> None:
    headers = () if connection is None else (("connection", connection),)
    assert keeps_alive(HttpRequest("GET", "/", headers, version)) is expected


def test_tokens() -> None:
    assert tokens(["a, B ,\tc", "", "d"]) == ["a", "b", "c", "", "d"]


def test_responses() -> None:
    assert response(200, (("Content-Length", "2"),), b"hi", close=False) == (
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
    )
    assert response(426, (("Upgrade", "websocket"),), b"", close=True) == (
        b"HTTP/1.1 426 Upgrade Required\r\nUpgrade: websocket\r\nConnection: Upgrade, close\r\n\r\n"
    )
    assert response(418, (), b"", close=True).startswith(b"HTTP/1.1 418 Refused\r\n")


def test_switching_protocols() -> None:
    head = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    assert switching_protocols("x=", None) == head + b"Sec-WebSocket-Accept: x=\r\n\r\n"
    assert switching_protocols("x=", "v12.stomp") == (
        head + b"Sec-WebSocket-Accept: x=\r\nSec-WebSocket-Protocol: v12.stomp\r\n\r\n"
    )


@pytest.mark.parametrize(
    ("headers", "announced"),
    [
        ((), False),
        ((("content-length", "0"),), False),
        ((("content-length", "7"),), True),
        ((("content-length", "0"), ("content-length", "7")), True),
        ((("transfer-encoding", "chunked"),), True),
    ],
)
def test_has_body(headers: tuple[tuple[str, str], ...], announced: bool) -> None:
    assert has_body(HttpRequest("POST", "/", headers)) is announced


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ((), False),
        (("WebSocket",), True),
        (("h2c, websocket",), True),
        (("h2c", "websocket"), True),
        (("websockets",), False),
    ],
)
def test_wants_websocket(values: tuple[str, ...], wanted: bool) -> None:
    request = HttpRequest("GET", "/", tuple(("upgrade", value) for value in values))
    assert wants_websocket(request) is wanted

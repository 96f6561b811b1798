"""Answers that are not whole when they begin: chunks, or to the end of the stream."""

from __future__ import annotations

import h11
import pytest

from stocksync_ws.types import HttpRequest
from stocksync_ws.wire.answer import plain
from stocksync_ws.wire.framing import HttpFraming, framing_for

KEPT = HttpRequest("POST", "/", (("host", "a"),))
LAST = HttpRequest("POST", "/", (("host", "a"), ("connection", "close")))
OLD = HttpRequest("POST", "/", (("connection", "keep-alive"),), "1.0")


def parsed(data: bytes, *, eof: bool) -> tuple[dict[bytes, bytes], bytes, bytes]:
    """Headers, body, and what stands behind."""
    parser = h11.Connection(h11.CLIENT)
    parser.send(h11.Request(method="POST", target="/", headers=[("Host", "a")]))
    parser.send(h11.EndOfMessage())
    parser.receive_data(data)
    if eof:
        parser.receive_data(b"")
    response = parser.next_event()
    assert isinstance(response, h11.Response)
    assert response.status_code == 200
    body = b""
    while isinstance(event := parser.next_event(), h11.Data):
        body += bytes(event.data)
    assert isinstance(event, h11.EndOfMessage)
    return dict(response.headers), body, bytes(parser.trailing_data[0])


def stream(framing: HttpFraming, *parts: bytes) -> bytes:
    head: bytes = framing.head((("X", "y"),))
    chunks: list[bytes] = [framing.part(part) for part in parts]
    return b"".join([head, *chunks, *framing.end()])


def test_a_stream_that_is_kept_is_in_chunks() -> None:
    framing = framing_for(KEPT, last=False)
    assert not framing.last
    headers, body, behind = parsed(stream(framing, b"a", b"b" * 300) + b"HTTP/1.1", eof=False)
    assert (headers[b"x"], body, behind) == (b"y", b"a" + b"b" * 300, b"HTTP/1.1")
    assert b"connection" not in headers


@pytest.mark.parametrize(("request_", "last"), [(LAST, False), (KEPT, True)])
def test_the_last_one_says_so(request_: HttpRequest, last: bool) -> None:
    framing = framing_for(request_, last=last)
    assert framing.last
    headers, body, _ = parsed(stream(framing, b"a"), eof=False)
    assert (headers[b"connection"], headers[b"transfer-encoding"]) == (b"close", b"chunked")
    assert body == b"a"


@pytest.mark.parametrize("last", [False, True])
def test_an_old_client_is_sent_bytes_up_to_the_end(last: bool) -> None:
    framing = framing_for(OLD, last=last)
    assert framing.last
    headers, body, _ = parsed(stream(framing, b"a", b"b"), eof=True)
    assert (headers[b"connection"], body) == (b"close", b"ab")
    assert b"transfer-encoding" not in headers
    assert framing.end() == []


def test_equal_requests_share_their_framing() -> None:
    for request in (KEPT, LAST, OLD):
        assert framing_for(request, last=False) is framing_for(request, last=False)


@pytest.mark.parametrize(
    ("framing", "close", "closes"),
    [
        (framing_for(KEPT, last=False), False, False),
        (framing_for(KEPT, last=False), True, True),
        (framing_for(LAST, last=False), False, True),
        (framing_for(OLD, last=False), False, True),
    ],
)
def test_a_whole_answer_is_one_chunk(framing: HttpFraming, close: bool, closes: bool) -> None:
    answer = plain(200, "Yes.")
    [chunk] = framing.answer(type(answer)(200, answer.headers, answer.body, close=close))
    headers, body, _ = parsed(chunk, eof=False)
    assert body == b"Yes.\n"
    assert (headers.get(b"connection") == b"close") is closes

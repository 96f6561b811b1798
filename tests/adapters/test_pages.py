"""What is HTTP of our own: pages beside the endpoint, and heads of requests. A host has its own.

Rule: only bytes that come and go are looked at.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from carriers.client import connect_frame, http_request, stomp

from stocksync_ws import StompApp
from stocksync_ws.wire.endpoint import Page

Serve = Callable[..., Any]
PAGES = {
    "/": Page("text/html; charset=utf-8", b"<p>hello</p>"),
    "/big.js": Page("text/javascript", b"0123456789abcdef" * 65_536),
}


@pytest.fixture
def app() -> StompApp:
    """Nobody sends here."""
    return StompApp("/ws")


def test_pages_are_served(serve: Serve, app: StompApp) -> None:
    client = serve(app, PAGES).open()
    client.pipe.send(http_request("GET", "/"))
    status, headers, body = client.response()
    assert (status, body) == (200, b"<p>hello</p>")
    assert headers["content-type"] == "text/html; charset=utf-8"
    client.pipe.send(http_request("HEAD", "/"))
    status, headers, body = client.response(body=False)
    assert (status, headers["content-length"]) == (200, "12")
    client.pipe.send(http_request("GET", "/nothing"))
    assert client.response()[0] == 404
    client.pipe.send(http_request("POST", "/"))
    assert client.response()[0] == 405


def test_pipelined_requests_are_answered_in_order(serve: Serve, app: StompApp) -> None:
    client = serve(app, PAGES).open()
    requests = [http_request("GET", path) for path in ("/", "/nothing", "/ws", "/", "/big.js")]
    client.pipe.send(b"".join(requests))
    answers = [client.response() for _ in requests]
    assert [status for status, _, _ in answers] == [200, 404, 426, 200, 200]
    assert answers[4][2] == PAGES["/big.js"].body


def test_who_asks_for_much_and_takes_nothing_gets_one_answer_more(
    serve: Serve, app: StompApp
) -> None:
    client = serve(app, PAGES).open()
    client.pipe.send(http_request("GET", "/big.js") * 3)
    assert client.response()[2] == PAGES["/big.js"].body
    _, headers, body = client.response()
    assert (headers["connection"], body) == ("close", PAGES["/big.js"].body)
    assert client.rest() == b""


def test_a_large_page_is_whole_although_the_client_has_ended_its_direction(
    serve: Serve, app: StompApp
) -> None:
    page = Page("text/plain", bytes(12_000_000))
    running = serve(app, {"/huge": page})
    if not getattr(running.carrier, "half_closes", True):
        pytest.skip("asyncio's own TLS cannot end one direction alone")
    client = running.open()
    client.pipe.stop_reading()
    client.pipe.send(http_request("GET", "/huge"))
    client.pipe.half_close()
    running.connect()  # Whoever comes later is served: the end of the first one has been seen.
    client.pipe.read_on()
    assert client.response()[2] == page.body


def test_a_request_may_come_byte_by_byte(serve: Serve, app: StompApp) -> None:
    client = serve(app, PAGES).open()
    for byte in http_request("GET", "/"):
        client.pipe.send(bytes((byte,)))
    assert client.response()[0] == 200


def test_a_websocket_may_follow_a_page_on_the_same_connection(serve: Serve, app: StompApp) -> None:
    client = serve(app, PAGES).open()
    client.pipe.send(http_request("GET", "/"))
    assert client.response()[0] == 200
    client.connect()


def test_a_plain_get_of_the_endpoint_is_426(serve: Serve, app: StompApp) -> None:
    client = serve(app).open()
    client.pipe.send(http_request("GET", "/ws"))
    status, headers, body = client.response()
    assert (status, headers["upgrade"]) == (426, "websocket")
    assert body


def test_a_foreign_origin_is_403_and_the_stream_ends(serve: Serve, app: StompApp) -> None:
    running = serve(app)
    client = running.open()
    with pytest.raises(AssertionError, match="403"):
        client.upgrade(Origin="https://evil.example")
    assert client.rest() == b""
    assert running.carrier.counters.origins_refused == 1


def test_the_same_origin_may_come_in(serve: Serve, app: StompApp) -> None:
    running = serve(app)
    scheme = "https" if running.carrier.secure else "http"
    running.open().upgrade(Origin=f"{scheme}://localhost")


def test_what_is_no_http_is_400(serve: Serve, app: StompApp) -> None:
    client = serve(app).open()
    client.pipe.send(b"\x16\x03\x01 garbage\r\n\r\n")
    assert client.response()[0] == 400
    assert client.rest() == b""


def test_bytes_that_come_with_the_handshake_are_not_lost(serve: Serve, app: StompApp) -> None:
    client = serve(app).open()
    subscribe = stomp("SUBSCRIBE", {"id": "1", "destination": "/topic/a", "receipt": "r"})
    client.upgrade(connect_frame() + subscribe)
    assert client.frame("CONNECTED").headers["version"] == "1.2"
    assert client.frame("RECEIPT").headers["receipt-id"] == "r"

"""What every adapter must do alike. Rule: only bytes that come and go are looked at, and what the
application was told.
"""

from __future__ import annotations

import queue
from collections.abc import Callable
from typing import Any

import pytest
from carriers.client import CLOSE, PING, Client, Gone, connect_frame, http_request, stomp, ws_frame

from stocksync_ws import DisconnectReason, Frame, Limits, SessionDisconnected, StompApp
from stocksync_ws.wire.endpoint import Page

Serve = Callable[..., Any]
PATIENCE = 10.0
PAGES = {
    "/": Page("text/html; charset=utf-8", b"<p>hello</p>"),
    "/big.js": Page("text/javascript", b"0123456789abcdef" * 65_536),
}


@pytest.fixture
def app() -> StompApp:
    """A chat: what is sent to /app/say arrives at /topic/say."""
    app = StompApp("/ws", client_send=["/topic/**"])

    @app.message_mapping("/say")
    async def say(body: bytes) -> bytes:
        return body

    @app.subscribe_mapping("/version")
    def version() -> str:
        return "7"

    return app


@pytest.fixture
def ends(app: StompApp) -> queue.Queue[SessionDisconnected]:
    """The ends of sessions, as the application hears of them."""
    heard: queue.Queue[SessionDisconnected] = queue.Queue()

    @app.event_listener(SessionDisconnected, inline=True)
    def listen(event: SessionDisconnected) -> None:
        heard.put(event)

    return heard


# HTTP


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


# Sessions


def test_bytes_that_come_with_the_handshake_are_not_lost(serve: Serve, app: StompApp) -> None:
    client = serve(app).open()
    subscribe = stomp("SUBSCRIBE", {"id": "1", "destination": "/topic/a", "receipt": "r"})
    client.upgrade(connect_frame() + subscribe)
    assert client.frame("CONNECTED").headers["version"] == "1.2"
    assert client.frame("RECEIPT").headers["receipt-id"] == "r"


def test_send_reaches_a_handler_and_its_answer_the_topic(serve: Serve, app: StompApp) -> None:
    client = serve(app).connect()
    client.subscribe("/topic/say")
    client.send("SEND", {"destination": "/app/say", "receipt": "mine"}, b"hello")
    assert client.frame("MESSAGE").body == b"hello"
    assert client.frame("RECEIPT").headers["receipt-id"] == "mine"


def test_subscribe_to_a_handler_is_answered_once(serve: Serve, app: StompApp) -> None:
    client = serve(app).connect()
    client.subscribe("/app/version")
    assert client.frame("MESSAGE").body == b"7"


def test_disconnect_ends_with_a_receipt_and_1000(serve: Serve, app: StompApp, ends: Any) -> None:
    client = serve(app).connect()
    client.send("DISCONNECT", {"receipt": "bye"})
    assert client.frame("RECEIPT").headers["receipt-id"] == "bye"
    assert client.closed() == 1000
    assert client.rest() == b""
    assert ends.get(timeout=PATIENCE).reason is DisconnectReason.CLIENT_DISCONNECT


def test_the_peers_close_is_answered_with_its_code(serve: Serve, app: StompApp, ends: Any) -> None:
    client = serve(app).connect()
    client.pipe.send(ws_frame(CLOSE, b"\x0f\xa1"))
    assert client.closed() == 4001
    assert client.rest() == b""
    event = ends.get(timeout=PATIENCE)
    assert (event.reason, event.close_code) == (DisconnectReason.PEER_CLOSED, 4001)


def test_a_ping_is_answered(serve: Serve, app: StompApp) -> None:
    client = serve(app).connect()
    client.pipe.send(ws_frame(PING, b"hello"))
    client.subscribe("/topic/a")
    assert client.pongs == [b"hello"]


def test_fan_out_reaches_all_in_order(serve: Serve, app: StompApp) -> None:
    running = serve(app)
    clients = [running.connect() for _ in range(8)]
    for client in clients:
        client.subscribe("/topic/say")
    for number in range(50):
        app.template.send("/topic/say", str(number).encode())
    for client in clients:
        got = [int(client.frame("MESSAGE").body) for _ in range(50)]
        assert got == list(range(50))


def test_large_messages_pass_both_ways(serve: Serve, app: StompApp) -> None:
    client = serve(app).connect()
    client.subscribe("/topic/say")
    inward = bytes(range(256)) * 250
    client.send("SEND", {"destination": "/app/say"}, inward)
    assert client.frame("MESSAGE").body == inward
    outward = bytes(range(256)) * 2_000
    app.template.send("/topic/say", outward)
    assert client.frame("MESSAGE").body == outward


def test_many_frames_in_one_read_are_all_done_in_order(serve: Serve, app: StompApp) -> None:
    client = serve(app).connect()
    client.subscribe("/topic/say")
    sends = [stomp("SEND", {"destination": "/topic/say"}, b"%d" % n) for n in range(300)]
    client.pipe.send(b"".join(sends))
    assert [int(client.frame("MESSAGE").body) for _ in range(300)] == list(range(300))


# Ends


def test_frames_before_a_half_close_take_effect(serve: Serve, app: StompApp, ends: Any) -> None:
    running = serve(app)
    other = running.connect()
    other.subscribe("/topic/say")
    client = running.connect()
    client.send("SEND", {"destination": "/app/say"}, b"last words")
    client.pipe.half_close()
    assert other.frame("MESSAGE").body == b"last words"
    assert ends.get(timeout=PATIENCE).reason is DisconnectReason.CONNECTION_LOST


def test_a_reset_amid_a_fan_out_disturbs_nobody_else(
    serve: Serve, app: StompApp, ends: Any
) -> None:
    running = serve(app)
    clients = [running.connect() for _ in range(5)]
    for client in clients:
        client.subscribe("/topic/say")
    for number in range(100):
        if number == 40:
            clients.pop(2).pipe.reset()
        app.template.send("/topic/say", b"%d" % number)
    for client in clients:
        assert [int(client.frame("MESSAGE").body) for _ in range(100)] == list(range(100))
    assert ends.get(timeout=PATIENCE).reason is DisconnectReason.CONNECTION_LOST
    assert ends.empty()


def test_a_slow_reader_is_closed_and_the_others_get_everything(serve: Serve) -> None:
    app = StompApp("/ws", limits=Limits(send_queue=65_536))
    ends: queue.Queue[SessionDisconnected] = queue.Queue()

    @app.event_listener(SessionDisconnected, inline=True)
    def listen(event: SessionDisconnected) -> None:
        ends.put(event)

    running = serve(app)
    slow, fast = running.connect(), running.connect()
    for client in (slow, fast):
        client.subscribe("/topic/say")
    slow.pipe.stop_reading()
    body = bytes(60_000)
    for _ in range(500):
        app.template.send("/topic/say", body)
        assert fast.frame("MESSAGE").body == body
        if not ends.empty():
            break
    assert ends.get(timeout=PATIENCE).reason is DisconnectReason.SLOW_CONSUMER
    slow.pipe.read_on()
    with pytest.raises(Gone):
        while True:
            slow.frame("MESSAGE")
    assert slow.closed() == 4008
    app.template.send("/topic/say", b"still here")
    assert fast.frame("MESSAGE").body == b"still here"
    assert running.carrier.counters.slow_consumers == 1


def test_a_reader_that_lags_gets_everything_in_order(serve: Serve) -> None:
    app = StompApp("/ws", limits=Limits(send_queue=16_000_000, max_total_queued=64_000_000))
    client = serve(app).connect()
    client.subscribe("/topic/say")
    client.pipe.stop_reading()
    for number in range(0, 600, 3):
        app.template.send("/topic/say", b"%d " % number + bytes(20_000))
        app.template.send("/topic/say", b"%d " % (number + 1) + bytes(20_000))
        if number == 300:
            client.pipe.read_on()
        if number >= 300:
            assert int(client.frame("MESSAGE").body.split()[0]) == number // 3 - 100
        app.template.send("/topic/say", b"%d " % (number + 2) + bytes(20_000))
    for number in range(100, 600):
        assert int(client.frame("MESSAGE").body.split()[0]) == number


def test_an_error_arrives_although_the_client_keeps_sending(serve: Serve, app: StompApp) -> None:
    client = serve(app).connect()
    client.pipe.send(stomp("NONSENSE", {}))
    for _ in range(40):
        client.send("SEND", {"destination": "/topic/say"}, bytes(50_000))
    assert client.frame("ERROR").headers["code"] == "unknown-command"
    assert client.closed() == 1002
    assert client.rest() == b""


def test_a_message_over_the_limit_is_told_before_the_close(serve: Serve, app: StompApp) -> None:
    client = serve(app).connect()
    client.send("SEND", {"destination": "/app/say"}, bytes(1_000_000))
    assert client.frame("ERROR").headers["code"] == "limit"
    assert client.closed() == 1009
    assert client.rest() == b""


def test_a_stop_closes_everybody_in_good_order(serve: Serve, app: StompApp, ends: Any) -> None:
    running = serve(app)
    clients: list[Client] = [running.connect() for _ in range(5)]
    for client in clients:
        client.subscribe("/topic/say")
    app.template.send("/topic/say", b"before")
    running.carrier.begin_stop()
    for client in clients:
        assert client.frame("MESSAGE").body == b"before"
        assert client.closed() == 1012
        assert client.rest() == b""
        client.pipe.close()
    running.carrier.stop()
    reasons = {ends.get(timeout=PATIENCE).reason for _ in clients}
    assert reasons == {DisconnectReason.SERVER_SHUTDOWN}


def test_a_handler_sees_the_frame_as_it_was_sent(serve: Serve, app: StompApp) -> None:
    seen: queue.Queue[Frame] = queue.Queue()

    @app.message_mapping("/look")
    def look(frame: Frame) -> None:
        seen.put(frame)

    client = serve(app).connect()
    client.send("SEND", {"destination": "/app/look", "colour": "gr\\cün", "receipt": "r"}, b"x\0y")
    client.frame("RECEIPT")
    frame = seen.get(timeout=PATIENCE)
    assert (frame.headers["colour"], frame.body) == ("gr:ün", b"x\0y")

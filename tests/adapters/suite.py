"""What everything that serves an application must do alike: the in-memory world, our own server,
and the servers of others. Collected where a fixture `serve` says over what.

Rule: only bytes that come and go are looked at, and what the application was told.
"""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from carriers.client import (
    PING,
    TEXT,
    Client,
    Gone,
    connect_frame,
    http_request,
    stomp,
    ws_frame,
)
from carriers.shop import End
from carriers.stage import Stage, until

from stocksync_ws import CloseCode

Serve = Callable[..., Stage]
"""Settings of the shop, to the stage it runs on."""
KB60 = bytes(60_000)


def drained(client: Client) -> int:
    """Read to the server's Close, whatever comes before it; its code."""
    with pytest.raises(Gone):
        while True:
            client.frame("MESSAGE")
    return client.closed()


# The handshake


def test_a_plain_get_of_the_endpoint_is_426(serve: Serve) -> None:
    stage = serve()
    client = stage.open()
    client.pipe.send(http_request("GET", "/ws"))
    status, headers, body = client.response()
    assert (status, headers.get("upgrade")) == (426, "websocket" if stage.hops else None)
    assert body


def test_a_foreign_origin_is_403_and_counted(serve: Serve) -> None:
    stage = serve()
    with pytest.raises(AssertionError, match="403"):
        stage.open().upgrade(Origin="https://evil.example")
    assert stage.counters()["origins_refused"] == 1


def test_the_sub_protocol_that_is_offered_is_taken(serve: Serve) -> None:
    client = serve().open()
    fields = client.upgrade(Sec_WebSocket_Protocol="chat, v11.stomp, v12.stomp")
    assert fields["sec-websocket-protocol"] == "v12.stomp"


def test_the_cookies_of_the_handshake_reach_the_authenticator(serve: Serve) -> None:
    client = serve().open()
    client.upgrade(Cookie="theme=dark; login=ann")
    client.pipe.send(connect_frame())
    assert client.frame("CONNECTED").headers["user-name"] == "ann"


# Sessions


def test_the_inventory_story(serve: Serve) -> None:
    stage = serve()
    pages = [stage.connect() for _ in range(3)]
    for page in pages:
        page.subscribe("/topic/inventory")
        page.subscribe("/user/queue/errors")
    first, second, third = pages
    first.send("SEND", {"destination": "/app/inventory/reset"})
    for page in pages:
        assert page.frame("MESSAGE").body == b"reset"
    first.subscribe("/app/inventory")
    assert json.loads(first.frame("MESSAGE").body) == {"espresso-machine": 12, "kettle": 8}
    adjust = {"destination": "/app/inventory/kettle/adjust", "content-type": "application/json"}
    second.send("SEND", adjust, b'{"delta":-3}')
    for page in pages:
        update = page.frame("MESSAGE")
        assert update.headers["destination"] == "/topic/inventory"
        assert json.loads(update.body) == {"product": "kettle", "quantity": 5}
    third.send("SEND", adjust, b'{"delta":-9}')
    error = third.frame("MESSAGE")
    assert error.headers["destination"] == "/user/queue/errors"
    assert json.loads(error.body) == {"message": "Only 5 left."}
    stage.publish("/topic/inventory", b"from a route")
    for page in pages:
        assert page.frame("MESSAGE").body == b"from a route"
        page.send("DISCONNECT", {"receipt": "bye"})
        assert page.frame("RECEIPT").headers["receipt-id"] == "bye"
        assert page.closed() == 1000
        assert stage.next_end() == End("client_disconnect", 1000)


def test_a_client_may_speak_in_text_and_be_answered_in_text(serve: Serve) -> None:
    client = serve().open()
    client.upgrade()
    client.pipe.send(ws_frame(TEXT, b"CONNECT\naccept-version:1.2\nhost:localhost\n\n\0"))
    assert client.frame("CONNECTED").headers["version"] == "1.2"
    client.pipe.send(ws_frame(TEXT, b"SEND\ndestination:/app/say\n\ngr\xc3\xbcn\0"))
    client.subscribe("/topic/say")
    client.send("SEND", {"destination": "/app/say"}, "grün".encode())
    assert client.frame("MESSAGE").body.decode() == "grün"


def test_send_reaches_a_handler_of_either_colour(serve: Serve) -> None:
    client = serve().connect()
    client.subscribe("/topic/say")
    for handler in ("say", "say-plainly"):
        client.send("SEND", {"destination": f"/app/{handler}", "receipt": "mine"}, b"hello")
        assert client.frame("MESSAGE").body == b"hello"
        assert client.frame("RECEIPT").headers["receipt-id"] == "mine"


def test_subscribe_to_a_handler_is_answered_once(serve: Serve) -> None:
    client = serve().connect()
    client.subscribe("/app/version")
    assert client.frame("MESSAGE").body == b"7"


def test_a_handler_sees_the_frame_as_it_was_sent(serve: Serve) -> None:
    client = serve().connect()
    client.subscribe("/topic/looked")
    client.send("SEND", {"destination": "/app/look", "colour": "gr\\cün"}, b"x\0y")
    assert json.loads(client.frame("MESSAGE").body) == {"colour": "gr:ün", "body": b"x\0y".hex()}


def test_a_ping_is_answered(serve: Serve) -> None:
    client = serve().connect()
    client.pipe.send(ws_frame(PING, b"hello"))
    client.subscribe("/topic/a")
    until(lambda: client.pongs or client.subscribe("/topic/a"), "the PONG")
    assert client.pongs == [b"hello"]


def test_fan_out_reaches_all_in_order(serve: Serve) -> None:
    stage = serve()
    clients = [stage.connect() for _ in range(8)]
    for client in clients:
        client.subscribe("/topic/say")
    for number in range(50):
        stage.publish("/topic/say", str(number).encode())
    for client in clients:
        assert [int(client.frame("MESSAGE").body) for _ in range(50)] == list(range(50))


def test_large_messages_pass_both_ways(serve: Serve) -> None:
    stage = serve()
    client = stage.connect()
    client.subscribe("/topic/say")
    inward = bytes(range(256)) * 250
    client.send("SEND", {"destination": "/app/say"}, inward)
    assert client.frame("MESSAGE").body == inward
    outward = bytes(range(256)) * 2_000
    stage.publish("/topic/say", outward)
    assert client.frame("MESSAGE").body == outward


def test_half_a_megabyte_passes_both_ways_in_messages_of_60_kb(serve: Serve) -> None:
    stage = serve()
    sender, receiver = stage.connect(), stage.connect()
    receiver.subscribe("/topic/say")
    bodies = [bytes((number,)) * 60_000 for number in range(9)]
    for body in bodies:
        sender.send("SEND", {"destination": "/app/say"}, body)
    assert [receiver.frame("MESSAGE").body for _ in bodies] == bodies


def test_many_frames_in_one_read_are_all_done_in_order(serve: Serve) -> None:
    client = serve().connect()
    client.subscribe("/topic/say")
    sends = [stomp("SEND", {"destination": "/topic/say"}, b"%d" % n) for n in range(300)]
    client.pipe.send(b"".join(sends))
    assert [int(client.frame("MESSAGE").body) for _ in range(300)] == list(range(300))


@pytest.mark.slow
def test_a_thousand_connects_leave_nothing_behind(serve: Serve) -> None:
    stage = serve()

    def fifty_come_and_go() -> None:
        for client in [stage.connect() for _ in range(50)]:
            client.send("DISCONNECT", {"receipt": "bye"})
            client.frame("RECEIPT")
            assert client.closed() == 1000
        stage.hang_up()
        until(lambda: stage.counters()["connections_open"] == 0, "the end of the last connection")

    fifty_come_and_go()  # What is made once, with the first clients, is there afterwards.
    before = stage.baseline()
    for _ in range(20):
        fifty_come_and_go()
    assert stage.counters()["sessions"] == 1_050
    assert [stage.next_end() for _ in range(1_050)] == [End("client_disconnect", 1000)] * 1_050

    def is_back() -> bool:
        return all(now <= before[name] for name, now in stage.baseline().items())

    until(is_back, f"descriptors, threads, tasks and timers back at {before}")


# Ends


@pytest.mark.parametrize("code", [code.value for code in CloseCode])
def test_a_close_code_of_ours_arrives(serve: Serve, code: int) -> None:
    stage = serve()
    client = stage.connect()
    client.send("SEND", {"destination": f"/app/close/{code}"})
    assert client.closed() == stage.carried(code)
    stage.over(client)
    assert stage.next_end() == End("kicked", code)


def test_the_peers_close_is_told_with_its_code(serve: Serve) -> None:
    stage = serve()
    client = stage.connect()
    client.close(4001)
    seen, told = stage.answered(4001)
    assert client.closed() == seen
    stage.over(client)
    assert stage.next_end() == told


def test_wrong_credentials_are_told_and_closed_with_4501(serve: Serve) -> None:
    stage = serve()
    client = stage.open()
    client.upgrade()
    client.send("CONNECT", {"accept-version": "1.2", "host": "x", "login": "mallory"})
    assert client.frame("ERROR").headers["code"] == "bad-credentials"
    assert client.closed() == stage.carried(4501)
    assert stage.counters()["connects_refused"] == 1


def test_a_cut_is_a_lost_connection(serve: Serve) -> None:
    stage = serve()
    for cut in ("reset", "close"):
        client = stage.connect()
        client.subscribe("/topic/say")
        getattr(client.pipe, cut)()
        assert stage.next_end().reason == "connection_lost"


def test_a_cut_in_the_middle_of_a_frame_takes_no_effect(serve: Serve) -> None:
    stage = serve()
    other, client = stage.connect(), stage.connect()
    other.subscribe("/topic/say")
    frame = stomp("SEND", {"destination": "/topic/say"}, KB60)
    client.pipe.send(frame[:30_000])
    client.pipe.reset()
    assert stage.next_end().reason == "connection_lost"
    stage.publish("/topic/say", b"whole")
    assert other.frame("MESSAGE").body == b"whole"


def test_frames_before_a_half_close_take_effect(serve: Serve) -> None:
    stage = serve()
    other = stage.connect()
    other.subscribe("/topic/say")
    client = stage.connect()
    client.send("SEND", {"destination": "/app/say"}, b"last words")
    client.pipe.half_close()
    assert other.frame("MESSAGE").body == b"last words"
    assert stage.next_end().reason == "connection_lost"


def test_a_reset_amid_a_fan_out_disturbs_nobody_else(serve: Serve) -> None:
    stage = serve()
    clients = [stage.connect() for _ in range(5)]
    for client in clients:
        client.subscribe("/topic/say")
    for number in range(100):
        if number == 40:
            clients.pop(2).pipe.reset()
        stage.publish("/topic/say", b"%d" % number)
    for client in clients:
        assert [int(client.frame("MESSAGE").body) for _ in range(100)] == list(range(100))
    assert stage.next_end().reason == "connection_lost"
    assert stage.counters()["connections_open"] == 4


def test_a_slow_reader_is_closed_and_the_others_get_everything(serve: Serve) -> None:
    stage = serve(send_queue=65_536, close_timeout=2.0)
    if not stage.slows_down:
        pytest.skip("it takes everything: tests/servers/test_slow_clients.py")
    slow, fast = stage.connect(), stage.connect()
    for client in (slow, fast):
        client.subscribe("/topic/say")
    slow.pipe.stop_reading()
    for _ in range(500):
        stage.publish("/topic/say", KB60)
        assert fast.frame("MESSAGE").body == KB60
        if stage.ends():
            break
    assert stage.next_end() == End("slow_consumer", 4008)
    slow.pipe.read_on()
    assert drained(slow) == 4008
    stage.over(slow)
    stage.publish("/topic/say", b"still here")
    assert fast.frame("MESSAGE").body == b"still here"
    assert stage.counters()["slow_consumers"] == 1
    until(lambda: stage.counters()["connections_open"] == 1, "the end of the slow connection")


def test_a_healthy_reader_gets_every_burst_over_its_queue(serve: Serve) -> None:
    stage = serve(send_queue=262_144)
    client = stage.connect()
    client.subscribe("/topic/say")
    for _ in range(10):
        stage.publish("/topic/say", KB60, count=30)
        for _ in range(30):
            assert client.frame("MESSAGE").body == KB60
    assert stage.counters()["slow_consumers"] == 0


def test_a_reader_that_lags_gets_everything_in_order(serve: Serve) -> None:
    stage = serve(send_queue=16_000_000, max_total_queued=64_000_000)
    client = stage.connect()
    client.subscribe("/topic/say")
    client.pipe.stop_reading()
    for number in range(0, 600, 3):
        stage.publish("/topic/say", b"%d " % number + bytes(20_000))
        stage.publish("/topic/say", b"%d " % (number + 1) + bytes(20_000))
        if number == 300:
            client.pipe.read_on()
        if number >= 300:
            assert int(client.frame("MESSAGE").body.split()[0]) == number // 3 - 100
        stage.publish("/topic/say", b"%d " % (number + 2) + bytes(20_000))
    for number in range(100, 600):
        assert int(client.frame("MESSAGE").body.split()[0]) == number


def test_an_error_arrives_although_the_client_keeps_sending(serve: Serve) -> None:
    stage = serve()
    client = stage.connect()
    client.pipe.send(stomp("NONSENSE", {}))
    try:
        for _ in range(40):
            client.send("SEND", {"destination": "/topic/say"}, bytes(50_000))
    except (ConnectionResetError, BrokenPipeError):
        assert not stage.waits
    assert client.frame("ERROR").headers["code"] == "unknown-command"
    assert client.closed() == stage.carried(1002)
    stage.over(client)


def test_a_message_over_the_limit_is_told_before_the_close(serve: Serve) -> None:
    stage = serve()
    client = stage.connect()
    client.send("SEND", {"destination": "/app/say"}, bytes(1_000_000))
    assert client.frame("ERROR").headers["code"] == "limit"
    assert client.closed() == stage.carried(1009)
    stage.over(client)


def test_a_stop_closes_everybody_in_good_order(serve: Serve) -> None:
    stage = serve()
    if not stage.drains:
        pytest.skip("it cannot: tests/servers/test_stopping.py")
    clients = [stage.connect() for _ in range(5)]
    for client in clients:
        client.subscribe("/topic/say")
    stage.publish("/topic/say", b"before")
    stage.begin_stop()
    for client in clients:
        assert client.frame("MESSAGE").body == b"before"
        assert client.closed() == stage.carried(1012)
        stage.over(client)
    stage.stop()
    assert [stage.next_end() for _ in clients] == [End("server_shutdown", 1012)] * 5

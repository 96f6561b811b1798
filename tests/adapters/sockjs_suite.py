"""Sessions of SockJS over each transport, as they are seen from outside: what carries them, what
ends them, and that nothing is lost, doubled or reordered under way. Collected where a fixture
`serve` says over what; single requests are in `sockjs_answers.py`.

Rule: only bytes that come and go are looked at, and what the application was told.
"""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from carriers.client import TEXT, Gone, connect_frame, ws_frame
from carriers.shop import End
from carriers.sockjs import TRANSPORTS, Http, HttpPage, Page, SocketPage, text_of
from carriers.stage import Stage, until

Serve = Callable[..., Stage]
"""Settings of the shop, to the stage it runs on; it has SockJS."""

ALL = [*TRANSPORTS, "websocket"]
STREAMS = ["xhr_streaming", "eventsource"]
KB60 = "x" * 60_000
INTERRUPTED = 'c[1002,"Connection interrupted"]'

each = pytest.mark.parametrize("transport", ALL)
over_http = pytest.mark.parametrize("transport", TRANSPORTS)
streams = pytest.mark.parametrize("transport", STREAMS)


def http(page: Page) -> HttpPage:
    assert isinstance(page, HttpPage)
    return page


# The way of messages


@each
def test_the_story_of_a_session(serve: Serve, transport: str) -> None:
    stage = serve()
    page = stage.page(transport).connect().subscribe("/topic/say")
    for body in (
        "hello",
        "100% %20 %zz",
        'quo"te\\ \n\t',
        "<b>&amp;</b>",
        "grün 漢字 🛒",
        "\u200d\u2028",
    ):
        page.say(body)
        assert page.message().body.decode() == body
    stage.publish("/topic/say", b"from a route")
    assert page.message().body == b"from a route"
    page.send("DISCONNECT", {"receipt": "bye"})
    assert page.message("RECEIPT").headers["receipt-id"] == "bye"
    assert page.closed().startswith("c[1000,")
    assert stage.next_end() == End("client_disconnect", 1000)


@each
def test_the_transport_is_told(serve: Serve, transport: str) -> None:
    page = serve().page(transport).connect()
    page.send("SUBSCRIBE", {"id": "1", "destination": "/app/transports"})
    now, *connected = json.loads(page.message().body)
    assert (now, connected[-1]) == (transport, transport)


def test_the_transport_is_that_of_the_carrier_now(serve: Serve) -> None:
    page = http(serve().page("xhr").connect())
    page.transport = "eventsource"
    page.listen()
    page.send("SUBSCRIBE", {"id": "1", "destination": "/app/transports"})
    now, *connected = json.loads(page.message().body)
    assert (now, connected[-1]) == ("eventsource", "xhr")


@each
def test_half_a_megabyte_passes_both_ways_in_messages_of_60_kb(
    serve: Serve, transport: str
) -> None:
    page = serve().page(transport).connect().subscribe("/topic/say")
    bodies = [f"{number}{KB60}" for number in range(9)]
    for body in bodies:
        page.say(body)
    assert [page.message().body.decode() for _ in bodies] == bodies


@each
def test_a_burst_arrives_in_order(serve: Serve, transport: str) -> None:
    stage = serve()
    page = stage.page(transport).connect().subscribe("/topic/say")
    page.post(*(text_of("SEND", {"destination": "/topic/say"}, str(n)) for n in range(300)))
    assert [int(page.message().body) for _ in range(300)] == list(range(300))


def test_polls_and_posts_follow_each_other_on_one_connection(serve: Serve) -> None:
    stage = serve()
    page = http(stage.page("xhr").connect().subscribe("/topic/say"))
    for number in range(20):
        page.say(str(number))
        assert page.message().body == b"%d" % number
    # What was taken over is closed behind each answer, and says so.
    assert page.browser.opened == 1 if stage.keeps_alive else page.browser.opened > 40


@pytest.mark.parametrize("same", [True, False], ids=["one-connection", "new-connections"])
def test_messages_keep_the_order_of_their_posts(serve: Serve, same: bool) -> None:
    stage = serve()
    page = http(stage.page("xhr_streaming").connect().subscribe("/topic/say"))
    for number in range(0, 150, 3):
        if not same:
            page.browser = stage.browser()
        page.post(
            *(text_of("SEND", {"destination": "/topic/say"}, str(number + n)) for n in range(3))
        )
    assert [int(page.message().body) for _ in range(150)] == list(range(150))


# Streams


@streams
def test_every_frame_is_a_chunk_of_its_own(serve: Serve, transport: str) -> None:
    stage = serve()
    page = http(stage.page(transport))
    method = "GET" if transport == "eventsource" else "POST"
    stream = page.browser.begin(method, page.path(transport))
    head = stream.head()
    assert head.headers["transfer-encoding"] == "chunked"
    prelude, wrap = {
        "xhr_streaming": (b"h" * 2_048 + b"\n", "{}\n"),
        "eventsource": (b"\r\n", "data: {}\r\n\r\n"),
    }[transport]
    assert stream.chunk() == prelude
    assert stream.chunk() == wrap.format("o").encode()
    connect = text_of("CONNECT", {"accept-version": "1.2", "host": "x"})
    page.post(connect)
    assert stream.chunk().startswith(wrap[:-2].partition("{")[0].encode() + b'a["CONNECTED')
    page.send("SUBSCRIBE", {"id": "1", "destination": "/topic/say"})
    for number in range(5):
        page.say(str(number), "/topic/say")
        chunk = stream.chunk()
        assert chunk.endswith(b'%d\\u0000"]' % number + wrap.partition("}")[2].encode())
        assert chunk.count(b"a[") == 1


@streams
def test_behind_its_limit_a_stream_ends_and_the_next_one_goes_on(
    serve: Serve, transport: str
) -> None:
    stage = serve()
    page = http(stage.page(transport).connect().subscribe("/topic/say"))
    # Far more than one stream takes; it comes while none is open, too.
    for number in range(200):
        stage.publish("/topic/say", b"%d " % number + bytes([46]) * 2_100)
    seen = [int(page.message().body.split()[0]) for _ in range(200)]
    assert seen == list(range(200))
    assert 3 <= page.receivers <= 5
    page.say("still the same session")
    assert page.message().body == b"still the same session"
    assert stage.counters()["sessions"] == 1


# Receivers


@over_http
@pytest.mark.parametrize("second", TRANSPORTS)
def test_a_second_receiver_is_sent_away_and_the_first_goes_on(
    serve: Serve, transport: str, second: str
) -> None:
    stage = serve()
    page = http(stage.page(transport).connect().subscribe("/topic/say"))
    if page.receiver is None:
        page.listen()
    # It is there when a post behind it on the same way has been answered.
    page.post("\n")
    other = http(stage.page(second))
    other.name = page.name
    for _ in range(2):
        assert other.frame() == 'c[2010,"Another connection still open"]'
    page.say("to the first")
    assert page.message().body == b"to the first"


@over_http
def test_a_receiver_that_is_cut_ends_its_session_at_once(serve: Serve, transport: str) -> None:
    stage = serve()
    page = http(stage.page(transport).connect().subscribe("/topic/say"))
    if page.receiver is None:
        page.listen()
    page.post("\n")
    assert page.receiver is not None
    page.receiver.pipe.reset()
    assert stage.next_end().reason == "connection_lost"
    late = http(stage.page(transport))
    late.name = page.name
    for _ in range(2):
        assert late.frame() == INTERRUPTED
    assert late.try_post("\n").status == 404


@pytest.mark.slow
def test_time_without_a_receiver_and_in_silence(serve: Serve) -> None:
    times = {"disconnect_delay": 0.8, "heart_beat": 0.3}
    stage = serve(sockjs=times, send_stall_seconds=0.6)
    gone = http(stage.page("xhr").connect())
    poll, stream = stage.page("xhr").connect(), http(stage.page("xhr_streaming").connect())
    http(poll).listen()
    http(poll).post("\n")
    stage.pass_time(0.5)
    assert (poll.frame(), stream.frame()) == ("h", "h")
    http(poll).listen()
    stage.pass_time(0.5)
    assert stage.next_end() == End("connection_lost", 1006)
    assert gone.try_post("\n").status == 404
    assert gone.frame() == INTERRUPTED
    # And nobody else has ended.
    assert (poll.frame(), stream.frame()) == ("h", "h")
    assert len(stage.ends()) == 1


# Ends


@each
def test_a_close_of_ours_is_told(serve: Serve, transport: str) -> None:
    stage = serve()
    page = stage.page(transport).connect().subscribe("/topic/say")
    page.post(
        text_of("SEND", {"destination": "/topic/say"}, "last"),
        text_of("SEND", {"destination": "/app/close/4501"}),
    )
    assert page.message().body == b"last"
    told = page.closed()
    assert told.startswith('c[4501,"')
    assert stage.next_end() == End("kicked", 4501)
    if isinstance(page, HttpPage):
        # Again and again, to whoever asks.
        assert [page.frame(), page.frame()] == [told, told]
        assert page.try_post("\n").status == 404
    else:
        assert isinstance(page, SocketPage)
        assert page.client.closed() == 4501


def test_a_close_that_nobody_waits_for_is_told_to_who_comes(serve: Serve) -> None:
    stage = serve()
    page = http(stage.page("xhr").connect().subscribe("/topic/say"))
    page.post(
        text_of("SEND", {"destination": "/topic/say"}, "last"),
        text_of("SEND", {"destination": "/app/close/4501"}),
    )
    assert page.frame().startswith("a[")
    assert page.frame().startswith("c[4501,")
    assert page.frame().startswith("c[4501,")


def test_a_stop_is_told_to_streams_and_polls(serve: Serve) -> None:
    stage = serve()
    if not stage.drains:
        pytest.skip("it cannot")
    pages = [stage.page(transport).connect().subscribe("/topic/say") for transport in ALL]
    poll = http(pages[0])
    poll.listen()
    poll.post("\n")
    # One is between two polls, with a connection for the next one, and one without.
    for again in (True, False) if stage.listens_on else ():
        between = http(stage.page("xhr").connect().subscribe("/topic/say"))
        if not again:
            between.browser = stage.browser()
        pages.append(between)
    stage.begin_stop()
    for page in pages:
        assert page.closed().startswith("c[1012,"), page
    stage.hang_up()
    stage.stop()
    assert stage.ends() == [End("server_shutdown", 1012)] * len(pages)


# WebSocket


def test_a_raw_websocket_is_the_plain_one(serve: Serve) -> None:
    stage = serve()
    client = stage.open()
    fields = client.upgrade(target="/ws/websocket", Sec_WebSocket_Protocol="v11.stomp, v12.stomp")
    assert fields["sec-websocket-protocol"] == "v12.stomp"
    client.pipe.send(connect_frame())
    client.frame("CONNECTED")
    client.subscribe("/topic/say")
    client.send("SEND", {"destination": "/app/say"}, b"raw")
    assert client.frame("MESSAGE").body == b"raw"
    client.send("SEND", {"destination": "/app/close/4501"})
    assert client.closed() == 4501


def test_a_framed_websocket_takes_a_text_alone_and_nothing_for_nothing(serve: Serve) -> None:
    page = serve().page("websocket").connect().subscribe("/topic/say")
    assert isinstance(page, SocketPage)
    for idle in (b"", b"[]", b'""', b'"\\n"'):
        if idle:
            page.client.pipe.send(ws_frame(TEXT, idle))
    alone = json.dumps(text_of("SEND", {"destination": "/app/say"}, "alone"))
    page.client.pipe.send(ws_frame(TEXT, alone.encode()))
    assert page.message().body == b"alone"


def test_a_framed_websocket_ends_with_what_cannot_be_read(serve: Serve) -> None:
    stage = serve()
    page = stage.page("websocket").connect()
    assert isinstance(page, SocketPage)
    page.client.pipe.send(ws_frame(TEXT, b'["x'))
    assert page.closed().startswith("c[1007,")
    if stage.cuts:
        with pytest.raises((Gone, ConnectionResetError)):
            page.client.next_message()
    else:
        assert page.client.closed() == stage.carried(1007)


def test_sessions_on_websockets_stand_in_no_table(serve: Serve) -> None:
    stage = serve()
    one = stage.page("websocket").connect().subscribe("/topic/say")
    assert isinstance(one, SocketPage)
    other = stage.page("xhr")
    assert isinstance(other, HttpPage)
    other.name = one.name
    assert other.try_post("\n").status == 404
    other.connect().subscribe("/topic/say")
    one.say("to both")
    assert one.message().body == other.message().body == b"to both"


# Back-pressure


def test_posts_for_a_session_that_does_not_read_wait_and_keep_their_order(serve: Serve) -> None:
    stage = serve()
    page = http(stage.page("xhr_streaming").connect().subscribe("/topic/say"))
    waiting: list[Http] = []
    sent: list[int] = []
    page.say("", "/app/hold")
    number = 0

    def texts() -> list[str]:
        headers = {"destination": "/topic/say"}
        return [text_of("SEND", headers, f"{number}.{n} " + "x" * 9_000) for n in range(2)]

    # It reads until its inbox is full.
    while not stage.counters()["paused_open"]:
        assert page.try_post(*texts()).status == 204
        sent.append(number)
        number += 1
        assert number < 20
    for already in range(8):
        waiting.append(page.begin_post(*texts()))
        until(lambda: stage.counters()["posts_open"] == already + 1, "the post")  # noqa: B023
        sent.append(number)
        number += 1
    while number < 50:
        assert page.try_post(*texts()).status == 503
        number += 1
    assert stage.counters()["posts_open"] == 8
    # Others are served meanwhile, and one of them lets it go.
    other = stage.page("xhr").connect()
    other.say("", "/app/let-go")
    assert [each.answer().status for each in waiting] == [204] * 8
    expected = [f"{number}.{n}" for number in sent for n in range(2)]
    assert [page.message().body.decode().split()[0] for _ in expected] == expected
    page.say("and on")
    assert page.message().body == b"and on"


def test_a_slow_reader_of_a_stream_is_closed_and_a_healthy_one_is_not(serve: Serve) -> None:
    stage = serve(send_queue=65_536, close_timeout=2.0, sockjs={"stream_bytes": 100_000_000})
    slow, fast = (http(stage.page("xhr_streaming").connect()) for _ in range(2))
    for page in (slow, fast):
        page.subscribe("/topic/say")
    assert slow.receiver is not None
    slow.receiver.pipe.stop_reading()
    if not stage.slows_streams:
        stage.publish("/topic/say", KB60.encode(), count=100)
        assert {len(page.message().body) for page in (fast, slow) for _ in range(100)} == {60_000}
        assert stage.ends() == []
        return
    for _ in range(500):
        stage.publish("/topic/say", KB60.encode())
        assert len(fast.message().body) == 60_000
        if stage.ends():
            break
    assert stage.next_end() == End("slow_consumer", 4008)
    slow.receiver.pipe.read_on()
    assert slow.closed().startswith("c[4008,")
    stage.publish("/topic/say", b"still here")
    assert fast.message().body == b"still here"
    assert stage.counters()["slow_consumers"] == 1

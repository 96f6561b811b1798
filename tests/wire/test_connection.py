"""One socket from its first byte to its last."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import cycle, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stocksync_ws.config import EndpointConfig, Limits, SockJSOptions
from stocksync_ws.counters import Counters
from stocksync_ws.types import Alive, Closed, Connection, Event, Handshake, HttpRequest, Message
from stocksync_ws.wire import Endpoint, HttpConnection, Page, Site
from stocksync_ws.wire.answer import Refusals
from stocksync_ws.wire.sockjs.routes import SockJSRoutes

MASK = b"\x11\x22\x33\x44"
HELD = 65_536


def client(first: int, payload: bytes = b"") -> bytes:
    size = len(payload)
    extended = size > 125
    header = bytes((first, 0xFE if extended else 0x80 | size))
    header += size.to_bytes(2, "big") if extended else b""
    return header + MASK + bytes(a ^ b for a, b in zip(payload, cycle(MASK), strict=False))


CLOSE = client(0x88, b"\x03\xe8")
UPGRADE = (
    b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Protocol: v12.stomp\r\n\r\n"
)
SWITCH = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
    b"Sec-WebSocket-Protocol: v12.stomp\r\n\r\n"
)
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
LAST = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


def choose(offered: Sequence[str]) -> str | None:
    return offered[0] if offered else None


SITE = Site(
    EndpointConfig(path="/ws"),
    choose,
    {"/": Page("text/html", b"<p>"), "/large": Page("text/plain", b"x" * HELD)},
)


class Peer:
    """A connection with everything that came out of it."""

    def __init__(
        self,
        *,
        draining: bool | None = None,
        limits: Limits | None = None,
        site: Site | None = None,
        started: bool = True,
    ) -> None:
        self.counters = Counters()
        self.connection = HttpConnection(
            site or SITE,
            limits or Limits(),
            self.counters,
            peer="1.2.3.4:5",
            secure=False,
            draining=None if draining is None else lambda: draining,
        )
        if started:
            self.connection.start(100.0)
        self.output = b""
        self.events: list[object] = []
        self.handshake: Handshake | None = None

    def feed(self, *pieces: bytes, now: float = 100.0) -> None:
        for piece in pieces:
            self.see(self.connection.receive(piece, now))

    def see(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, Handshake):
                self.handshake = event
                self.events.append("handshake")
            elif isinstance(event, Message):
                self.events.append(event.payload)
            elif isinstance(event, Closed):
                self.events.append((event.code, event.ours))
            else:
                assert isinstance(event, Alive)
        self.output += b"".join(self.connection.take())

    def accept(self) -> None:
        assert self.handshake is not None
        self.see(self.connection.accept(self.handshake, 100.0))


def opened() -> Peer:
    peer = Peer()
    peer.feed(UPGRADE)
    peer.accept()
    peer.output = b""
    peer.events = []
    return peer


def splits(data: bytes) -> Iterable[list[bytes]]:
    yield [data]
    yield [data[i : i + 1] for i in range(len(data))]
    for i in range(1, len(data)):
        yield [data[:i], data[i:]]


def statuses(output: bytes) -> list[int]:
    return [int(part[:3]) for part in output.split(b"HTTP/1.1 ")[1:]]


def test_it_is_a_connection() -> None:
    connection: Connection = Peer().connection
    assert connection.start(100.0) == []
    assert connection.deadline == 105.0
    assert connection.detach(0.0) == []
    assert connection.take() == []


def test_h23_frames_in_the_same_segment_come_after_the_101() -> None:
    data = UPGRADE + client(0x81, b"CONNECT") + client(0x89, b"p") + client(0x81, b"b") + CLOSE
    for pieces in splits(data):
        peer = Peer()
        for piece in pieces:
            peer.feed(piece)
            if peer.handshake is not None and peer.events == ["handshake"]:
                assert peer.connection.deadline is None
                peer.accept()
        assert peer.events == ["handshake", b"CONNECT", b"b", (1000, False)]
        pongless = peer.output.replace(b"\x8a\x01p", b"")
        assert pongless == SWITCH + b"\x88\x02\x03\xe8"
        assert peer.connection.shut
        assert not peer.connection.held
        assert peer.connection.lost(101.0) == []


def test_the_handshake() -> None:
    peer = Peer()
    peer.feed(UPGRADE)
    assert peer.handshake is not None
    assert peer.handshake.subprotocol == "v12.stomp"
    assert peer.handshake.request.peer == "1.2.3.4:5"
    assert peer.handshake.wire.transport == "websocket"
    assert peer.output == b""
    other = Handshake(peer.handshake.request, peer.handshake.wire, None)
    assert peer.connection.accept(other, 100.0) == []
    assert peer.connection.refuse(other, 403, "No.", 100.0) == []
    peer.accept()
    assert peer.output == SWITCH
    peer.accept()
    assert peer.output == SWITCH


def test_a_framed_websocket_says_that_it_is_open_behind_the_101() -> None:
    def route(request: HttpRequest, rest: str) -> Endpoint:
        return Endpoint(None, framed=True)

    site = Site(EndpointConfig(path="/ws"), choose, {}, {"/ws": route})
    upgrade = UPGRADE.replace(b"/ws ", b"/ws/0/a/websocket ")
    for pieces in splits(client(0x81, b'["a","b"]') + client(0x89, b"p") + CLOSE):
        peer = Peer(site=site)
        # What comes before the verdict is framed too.
        peer.feed(upgrade + pieces[0])
        peer.accept()
        peer.feed(*pieces[1:])
        switch = SWITCH.replace(b"Sec-WebSocket-Protocol: v12.stomp\r\n", b"")
        assert peer.output.startswith(switch + b"\x81\x01o")
        assert peer.events == ["handshake", b"a", b"b", (1000, False)]
        assert peer.connection.shut


def test_over_pre_auth_bytes_before_the_verdict_reading_pauses() -> None:
    peer = Peer(limits=Limits(pre_auth_bytes=1_000))
    peer.feed(UPGRADE + b"x" * 1_000)
    assert not peer.connection.held
    peer.feed(b"x")
    assert peer.connection.held


def test_bytes_before_the_verdict_are_kept_and_over_64_kib_reading_pauses() -> None:
    peer = Peer(limits=Limits(pre_auth_bytes=2 * HELD))
    frame = client(0x82, b"x" * 1000)
    peer.feed(UPGRADE + frame)
    for _ in range(HELD // len(frame) - 1):
        peer.feed(frame)
    assert not peer.connection.held
    peer.feed(frame)
    assert peer.connection.held
    peer.accept()
    assert not peer.connection.held
    assert peer.events == ["handshake"] + [b"x" * 1000] * (HELD // len(frame) + 1)


def test_a_first_read_over_64_kib_pauses_reading_too() -> None:
    peer = Peer()
    peer.feed(UPGRADE + bytes(HELD + 1))
    assert peer.connection.held
    peer.see(peer.connection.lost(101.0))
    assert not peer.connection.held


def test_refuse() -> None:
    peer = Peer()
    peer.feed(UPGRADE + client(0x81, b"x"))
    assert peer.handshake is not None
    peer.see(peer.connection.refuse(peer.handshake, 401, "Log in first.", 101.0))
    assert peer.output.startswith(b"HTTP/1.1 401 Unauthorized\r\n")
    assert peer.output.endswith(b"Connection: close\r\n\r\nLog in first.\n")
    assert peer.connection.shut
    assert peer.counters.handshakes_refused == 1
    peer.feed(client(0x81, b"x"))
    peer.accept()
    peer.see(peer.connection.lost(101.0))
    assert peer.events == ["handshake"]


def test_lost_while_waiting() -> None:
    peer = Peer()
    peer.feed(UPGRADE)
    peer.see(peer.connection.lost(101.0))
    assert peer.events == ["handshake", (1006, False)]
    peer.accept()
    assert peer.output == b""
    assert peer.connection.lost(101.0) == []


def test_lost_while_open_and_before() -> None:
    peer = opened()
    peer.see(peer.connection.lost(101.0))
    assert peer.events == [(1006, False)]
    assert Peer().connection.lost(100.0) == []


def test_after_a_violation_the_end_of_the_stream_is_told_too() -> None:
    peer = opened()
    peer.feed(b"\x81\x02hi", CLOSE)
    assert peer.events == [(1002, True)]
    peer.see(peer.connection.lost(101.0))
    assert peer.events == [(1002, True), (1006, False)]


BROKEN = {
    "framing": b"\x81\x02hi",
    "reason of a Close": client(0x88, b"\x03\xe8\xff"),
    "short Close": client(0x88, b"\x03"),
}


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN)
def test_what_cannot_be_read_on_shuts_it_behind_our_close(data: bytes) -> None:
    peer = opened()
    peer.feed(data)
    assert peer.connection.shut
    assert [ours for _, ours in peer.events] == [True]
    peer.feed(CLOSE)
    assert [ours for _, ours in peer.events] == [True]


def test_text_that_is_no_utf8_shuts_nothing_before_the_peers_close() -> None:
    peer = opened()
    peer.feed(client(0x81, b"\xff"))
    assert peer.events == [(1007, True)]
    assert not peer.connection.shut
    peer.feed(CLOSE)
    assert peer.connection.shut


def test_after_too_much_the_peers_close_ends_it() -> None:
    peer = opened()
    peer.feed(b"\x82\xff\x40" + bytes(7) + MASK + bytes(32))
    assert peer.events == [(1009, True)]
    peer = opened()
    peer.feed(client(0x82, b"x" * 60_000)[:100])
    assert peer.handshake is not None
    assert peer.handshake.wire.close(1001, "") == [b"\x88\x02\x03\xe9"]
    peer.feed(client(0x82, b"x" * 60_000)[100:], CLOSE)
    assert peer.events == [(1000, False)]
    assert peer.output == b""
    assert peer.connection.shut


def test_pongs_are_coalesced_while_output_waits() -> None:
    peer = opened()
    for number in range(100):
        peer.connection.receive(client(0x89, b"%d" % number), 100.0)
    assert peer.connection.take() == [b"\x8a\x0299"]
    assert peer.connection.take() == []


def test_a_pong_goes_before_the_close_reply() -> None:
    peer = opened()
    peer.connection.receive(client(0x89, b"p"), 100.0)
    peer.connection.receive(CLOSE, 100.0)
    assert peer.connection.take() == [b"\x8a\x01p", b"\x88\x02\x03\xe8"]


def test_pages_on_one_connection() -> None:
    for pieces in splits(GET + GET + LAST):
        peer = Peer()
        peer.feed(*pieces)
        assert statuses(peer.output) == [200, 200, 200]
        assert peer.output.count(b"Connection: close") == 1
        assert peer.connection.shut
    assert peer.counters == Counters()


def test_a_page_and_then_an_upgrade() -> None:
    for pieces in splits(GET + UPGRADE):
        peer = Peer()
        peer.feed(*pieces)
        assert peer.events == ["handshake"]
        peer.accept()
        assert peer.output.endswith(b"<p>" + SWITCH)


def test_output_that_nobody_takes_pauses_reading_and_ends_pipelining() -> None:
    large = GET.replace(b"/ ", b"/large ", 1)
    connection = Peer().connection
    connection.receive(large, 100.0)
    assert connection.held
    assert len(connection.take()) == 1
    assert not connection.held
    connection.receive(large * 5, 100.0)
    answers = connection.take()
    assert len(answers) == 2
    assert b"Connection: close" in answers[1]
    assert connection.shut


REFUSED = {
    "H1": (UPGRADE.replace(b"Host: a", b"Host: \xff\xfe"), 400),
    "H9": (UPGRADE.replace(b"Key: d", b"Key: !"), 400),
    "H10": (UPGRADE.replace(b"HTTP/1.1", b"HTTP/1.0"), 505),
    "H11": (UPGRADE.replace(b"Host", b"Content-Length: 5\r\nHost") + b"GET /", 400),
    "H12": (UPGRADE.replace(b"Host", b"X: y\r\n" * 100 + b"Host"), 431),
    "H16": (UPGRADE.replace(b": 13", b": 8"), 426),
    "H18": (UPGRADE.replace(b"Host", b"Origin: http://evil.example\r\nHost"), 403),
    "H22": (UPGRADE.replace(b"Host", b"Host: a\r\nHost"), 400),
    "not HTTP": (b"\x16\x03\x01", 400),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_upgrades_are_answered_counted_and_closed(name: str) -> None:
    data, status = REFUSED[name]
    for pieces in splits(data) if len(data) < 300 else [[data]]:
        peer = Peer()
        peer.feed(*pieces, client(0x81, b"x"))
        assert statuses(peer.output) == [status]
        assert b"Connection: " in peer.output
        assert peer.connection.shut
        assert peer.connection.deadline is None
        assert peer.events == []
        assert peer.counters.handshakes_refused == 1
        assert peer.counters.origins_refused == (name == "H18")


def test_a_refused_origin_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "stocksync_ws.transport"):
        Peer(site=replace(SITE, refusals=Refusals())).feed(REFUSED["H18"][0])
    assert "allowed_origins" in caplog.text
    assert "evil.example" in caplog.text
    assert "1.2.3.4:5" in caplog.text


@pytest.mark.parametrize("data", [UPGRADE, GET])
def test_h25_draining(data: bytes) -> None:
    peer = Peer(draining=True)
    peer.feed(data)
    assert statuses(peer.output) == [503]
    head = peer.output.decode()
    seconds = int(head.partition("Retry-After: ")[2].partition("\r\n")[0])
    assert 5 <= seconds < 15
    assert peer.connection.shut
    assert (peer.counters.connections_refused, peer.counters.handshakes_refused) == (1, 0)
    peer = Peer(draining=False)
    peer.feed(data)
    assert peer.connection.shut is False


def test_h25_clients_come_back_spread_out() -> None:
    waits: set[bytes] = set()
    for number in range(100):
        peer = Peer(draining=True)
        peer.feed(UPGRADE.replace(b"dGhl", b"%04d" % number))
        waits.add(peer.output.partition(b"Retry-After: ")[2].partition(b"\r\n")[0])
    assert len(waits) > 5


def test_h13_five_seconds_for_the_whole_request() -> None:
    peer = Peer()
    for number in range(5):
        peer.feed(UPGRADE[number : number + 1], now=100.0 + number)
        assert peer.connection.deadline == 105.0
    peer.see(peer.connection.wake(104.9))
    assert not peer.connection.shut
    peer.see(peer.connection.wake(105.0))
    assert statuses(peer.output) == [408]
    assert peer.connection.shut
    assert peer.connection.deadline is None
    assert peer.counters.handshakes_refused == 1
    assert peer.connection.wake(200.0) == []


def test_h14_a_silent_connection_is_closed_without_a_word() -> None:
    peer = Peer()
    peer.see(peer.connection.wake(105.0))
    assert (peer.output, peer.connection.shut) == (b"", True)
    assert peer.counters == Counters()


def test_a_late_wake_is_not_the_peers_fault() -> None:
    peer = Peer()
    peer.see(peer.connection.wake(109.0))
    assert peer.connection.deadline == 109.25
    assert not peer.connection.shut
    peer.see(peer.connection.wake(109.3))
    assert peer.connection.shut


def test_between_requests_there_are_15_seconds() -> None:
    peer = Peer()
    peer.feed(GET, now=101.0)
    assert peer.connection.deadline == 116.0
    peer.feed(GET[:5], now=115.0)
    assert peer.connection.deadline == 120.0
    peer.feed(GET[5:9], now=115.5)
    assert peer.connection.deadline == 120.0
    peer.feed(GET[9:] + GET[:5], now=116.0)
    assert peer.connection.deadline == 121.0
    peer.feed(GET[5:-1], now=117.0)
    assert peer.connection.deadline == 121.0
    peer.feed(GET[-1:], now=118.0)
    peer.see(peer.connection.wake(133.0))
    assert statuses(peer.output) == [200, 200, 200]
    assert peer.connection.shut


def test_the_upgrade_ends_the_deadline() -> None:
    peer = opened()
    assert peer.connection.deadline is None
    assert peer.connection.wake(1000.0) == []
    assert not peer.connection.shut


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.sampled_from([UPGRADE, GET, client(0x81, b"x"), client(0x89), CLOSE, b"\r\n"])
        | st.binary(max_size=30),
        max_size=8,
    ).map(b"".join),
    st.lists(st.integers(0, 1 << 12), max_size=8),
)
def test_any_bytes_end_alike_however_they_are_split(data: bytes, cuts: list[int]) -> None:
    def run(pieces: Iterable[bytes]) -> tuple[list[object], bytes, bool]:
        peer = Peer()
        for piece in pieces:
            peer.feed(piece)
            if peer.handshake is not None:
                peer.accept()
        peer.see(peer.connection.lost(101.0))
        return peer.events, peer.output.replace(b"\x8a\x00", b""), peer.connection.shut

    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    assert run([data]) == run(data[a:b] for a, b in pairwise(edges))


# A request that somebody else has read


def handed(head: dict[str, str], site: Site = SITE, *, draining: bool = False) -> Peer:
    """A connection whose first request was read by somebody else, started."""
    peer = Peer(site=site, started=False, draining=draining or None)
    headers = tuple((name.lower(), value) for name, value in head.items())
    peer.connection.hand_over(HttpRequest("GET", "/ws", headers, "1.1", "9.9.9.9:9", False))
    peer.see(peer.connection.start(100.0))
    return peer


HEAD = {
    "Host": "a",
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Protocol": "v12.stomp",
}


def test_a_request_that_was_handed_over_is_decided_at_the_start() -> None:
    peer = handed(HEAD)
    assert peer.handshake is not None
    assert peer.handshake.request.peer == "9.9.9.9:9"
    assert (peer.output, peer.connection.deadline) == (b"", None)
    peer.see(peer.connection.accept(peer.handshake, 100.0))
    assert peer.output == SWITCH


def test_frames_may_come_before_and_behind_the_answer_to_it() -> None:
    peer = handed(HEAD)
    peer.feed(client(0x82, b"early"))
    assert peer.handshake is not None
    peer.see(peer.connection.accept(peer.handshake, 100.0))
    peer.feed(client(0x82, b"late"))
    assert peer.events == ["handshake", b"early", b"late"]


def test_a_request_that_was_handed_over_is_refused_as_any_other() -> None:
    peer = handed({**HEAD, "Origin": "https://evil.example"})
    assert peer.output.startswith(b"HTTP/1.1 403 ")
    assert (peer.counters.origins_refused, peer.connection.shut) == (1, True)
    peer = handed(HEAD, draining=True)
    assert peer.output.startswith(b"HTTP/1.1 503 ")


def test_it_is_decided_once() -> None:
    peer = handed(HEAD)
    assert peer.connection.start(101.0) == []


# Proxies


def test_a_request_is_judged_and_told_as_the_proxies_have_seen_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def seen(request: HttpRequest) -> HttpRequest:
        return replace(request, peer="7.7.7.7:7")

    site = replace(SITE, seen=seen, refusals=Refusals())
    peer = Peer(site=site)
    peer.feed(UPGRADE)
    assert peer.handshake is not None
    assert peer.handshake.request.peer == "7.7.7.7:7"
    peer = Peer(site=site)
    with caplog.at_level(logging.WARNING):
        peer.feed(UPGRADE.replace(b"Host: a", b"Host: a\r\nOrigin: https://evil.example"))
    assert "(peer 7.7.7.7:7)" in caplog.text


@pytest.mark.parametrize(("draining", "idle"), [(False, 15.0), (True, 1.0)])
def test_behind_a_carrier_that_is_over_a_stop_does_not_wait_long(
    draining: bool, idle: float
) -> None:
    endpoint = EndpointConfig(path="/ws", sockjs=SockJSOptions())
    routes = SockJSRoutes(endpoint, Limits(), lambda: 0)
    site = Site(endpoint, choose, {}, {"/ws": routes})
    post = b"POST /ws/a/s/%b HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%b"
    first = Peer(site=site).connection
    assert isinstance(first.receive(post % (b"xhr", 0, b""), 100.0)[0], Handshake)
    assert not first.shut
    connection = Peer(site=site, draining=draining).connection
    connection.receive(post % (b"xhr_send", 2, b"[]"), 100.0)
    assert b"".join(connection.take()).startswith(b"HTTP/1.1 204 ")
    assert connection.deadline == 100.0 + idle

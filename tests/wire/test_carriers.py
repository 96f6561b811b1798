"""A request that carries a wire without a WebSocket, over a connection that read it.

The carrier here is as small as can be, and real: a poll whose answer is a whole HTTP response.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from typing import Any
from urllib.parse import quote

import pytest

from stocksync_ws import SessionDisconnected, StompApp
from stocksync_ws.config import EndpointConfig, Limits
from stocksync_ws.counters import Counters
from stocksync_ws.testing.stream import MemoryStream
from stocksync_ws.testing.world import World
from stocksync_ws.types import (
    Attached,
    Chunk,
    Connection,
    Detached,
    Event,
    Handshake,
    HttpRequest,
    Message,
)
from stocksync_ws.wire import Answer, Carrier, HttpConnection, Page, Site, decide
from stocksync_ws.wire.answer import plain
from stocksync_ws.wire.http import keeps_alive, response

HELD = 65_536
POLL = b"POST /live/poll HTTP/1.1\r\nHost: a\r\n\r\n"
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
UPGRADE = (
    b"GET /live HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


def choose(offered: Sequence[str]) -> str | None:
    return None


def answer(body: bytes) -> bytes:
    return response(200, [("Content-Length", str(len(body)))], body, close=False)


class PollWire:
    """Each answer takes what waits, and ends."""

    transport = "poll"
    key: Hashable = "poll"

    def __init__(self) -> None:
        self.session: Any = None
        self.link: Any = None

    def dress(self, head: bytes, tail: bytes, text: bool) -> Chunk:
        return head + tail + b"\0"

    def size(self, chunk: Chunk) -> int:
        return len(chunk)

    def ping(self) -> Chunk | None:
        return None

    def pack(self, chunks: list[Chunk]) -> tuple[list[Chunk], bool]:
        return [answer(b"".join(chunks))], True

    def close(self, code: int, reason: str) -> list[Chunk]:
        return [b"c%d" % code]


class Poll:
    """One request: the first opens the session and is answered at once, a later one carries it."""

    def __init__(self, request: HttpRequest, wire: PollWire, first: bool, ends_at: float | None):
        self.request = request
        self.wire = wire
        self.deadline = ends_at
        self.held = self.shut = False
        self.calls: list[str] = []
        self._first = first
        self._handshake = Handshake(request, wire, None)
        self._carries = not first
        self._out: list[Chunk] = []

    def start(self, now: float) -> list[Event]:
        self.calls.append("start")
        if self._first:
            return [self._handshake]
        sent = self.request.query.get("send")
        message = [] if sent is None else [Message(self.wire, sent.encode())]
        return [Attached(self.wire), *message]

    def receive(self, data: bytes, now: float) -> list[Event]:
        raise AssertionError("no bytes are for a carrier")

    def accept(self, handshake: Handshake, now: float) -> list[Event]:
        if handshake is not self._handshake:
            return []
        self.calls.append("accept")
        self._out.append(answer(b"o"))
        return [Detached(self.wire)]

    def refuse(self, handshake: Handshake, status: int, text: str, now: float) -> list[Event]:
        self.calls.append("refuse")
        self.shut = True
        self._out.append(response(status, [("Content-Length", "0")], b"", close=True))
        return []

    def lost(self, now: float) -> list[Event]:
        self.calls.append("lost")
        return self._end()

    def wake(self, now: float) -> list[Event]:
        self.calls.append("wake")
        self._out.append(answer(b"h"))
        return self._end()

    def detach(self, now: float) -> list[Event]:
        self.calls.append("detach")
        self.shut = not keeps_alive(self.request)
        return self._end()

    def take(self) -> list[Chunk]:
        out, self._out = self._out, []
        return out

    def _end(self) -> list[Event]:
        carried, self._carries = self._carries, False
        return [Detached(self.wire)] if carried else []


class Polls:
    """A route of polls for one wire, and every poll there was."""

    def __init__(self, *, known: bool = False, ends_at: float | None = None) -> None:
        self.wire = PollWire()
        self.opened: list[Poll] = []
        self._known = known
        self._ends_at = ends_at

    def __call__(self, request: HttpRequest, rest: str) -> Answer | Carrier | None:
        if rest != "/poll":
            return None
        if request.method != "POST":
            return plain(405, "Only POST is possible here.", ("Allow", "POST"))
        return Carrier(self.open)

    def open(self, request: HttpRequest) -> Connection:
        first, self._known = not self._known, True
        poll = Poll(request, self.wire, first, self._ends_at)
        self.opened.append(poll)
        return poll


class Client:
    """A connection with a route, and everything that came out of it."""

    def __init__(self, polls: Polls, *, draining: bool = False) -> None:
        pages = {"/": Page("text/html", b"<p>"), "/large": Page("text/plain", b"x" * (HELD + 1))}
        self.counters = Counters()
        self.connection: Connection = HttpConnection(
            Site(EndpointConfig(path="/live"), choose, pages, {"/live": polls}),
            Limits(),
            self.counters,
            peer="1.2.3.4:5",
            secure=False,
            draining=lambda: draining,
        )
        self.connection.start(100.0)
        self.output = b""
        self.events: list[str] = []

    def feed(self, *pieces: bytes, now: float = 100.0) -> None:
        for piece in pieces:
            self.see(self.connection.receive(piece, now))

    def see(self, events: list[Event]) -> None:
        self.events += [type(event).__name__ for event in events]
        self.output += b"".join(self.connection.take())


def carried(**how: Any) -> tuple[Polls, Client]:
    """A connection with a poll that waits."""
    polls = Polls(known=True, **how)
    client = Client(polls)
    client.feed(POLL)
    assert client.events == ["Attached"]
    client.events.clear()
    return polls, client


def test_an_entry_path_without_bytes_starts_the_same_carrier() -> None:
    polls = Polls()
    site = Site(EndpointConfig(path="/live"), choose, {}, {"/live": polls})
    request = HttpRequest("POST", "/live/poll", (("host", "a"),), "2")
    decision = decide(request, site)
    assert isinstance(decision, Carrier)
    assert polls.opened == []
    [event] = decision.open(request).start(100.0)
    assert isinstance(event, Handshake)
    assert event.request is request


def test_what_comes_behind_is_the_next_request() -> None:
    polls, client = carried()
    for number in range(len(GET)):
        client.feed(GET[number : number + 1])
    assert client.output == b""
    client.see(client.connection.detach(101.0))
    assert client.events == ["Detached"]
    assert client.output.endswith(b"<p>")
    assert client.connection.deadline == 116.0
    client.feed(UPGRADE)
    assert client.events == ["Detached", "Handshake"]
    assert [poll.calls for poll in polls.opened] == [["start", "detach"]]


@pytest.mark.parametrize("pieces", [[POLL + POLL + GET], [POLL, POLL, GET]])
def test_one_poll_after_the_other(pieces: list[bytes]) -> None:
    polls = Polls()
    client = Client(polls)
    client.feed(*pieces)
    assert client.events == ["Handshake"]
    handshake = polls.opened[0]._handshake
    client.see(client.connection.accept(handshake, 100.0))
    assert client.events == ["Handshake", "Detached", "Attached"]
    # A verdict that comes late is for nobody.
    client.see(client.connection.accept(handshake, 100.0))
    assert client.output == answer(b"o")
    client.see(client.connection.detach(100.0))
    assert client.output.endswith(b"<p>")
    assert len(polls.opened) == 2
    client.see(client.connection.accept(handshake, 100.0))
    assert client.connection.detach(100.0) == []
    assert client.counters == Counters()


def test_carriers_that_are_over_at_once_are_not_nested() -> None:
    class Short(Poll):
        def start(self, now: float) -> list[Event]:
            self._out.append(b"x")
            return [Detached(self.wire)]

    class Shorts(Polls):
        def open(self, request: HttpRequest) -> Connection:
            return Short(request, self.wire, True, None)

    client = Client(Shorts())
    client.feed(POLL * 3000)
    assert client.output == b"x" * 3000
    assert len(client.events) == 3000


def test_reading_pauses_over_64_kib_or_when_the_carrier_says_so() -> None:
    polls, client = carried()
    client.feed(bytes(HELD))
    assert not client.connection.held
    client.feed(b"x")
    assert client.connection.held
    client.see(client.connection.lost(101.0))
    assert not client.connection.held
    polls, client = carried()
    polls.opened[0].held = True
    client.feed(b"P")
    assert client.connection.held
    client.see(client.connection.detach(101.0))
    assert not client.connection.held


def test_the_time_is_the_carriers() -> None:
    _, client = carried(ends_at=125.0)
    assert client.connection.deadline == 125.0
    client.feed(POLL[:5], now=120.0)
    assert client.connection.deadline == 125.0
    client.see(client.connection.wake(125.0))
    assert client.output == answer(b"h")
    assert client.events == ["Detached"]
    # Half of the next request is there already.
    assert client.connection.deadline == 130.0
    client.see(client.connection.wake(130.0))
    assert b" 408 " in client.output
    assert client.connection.shut


def test_without_a_deadline_a_poll_may_wait() -> None:
    _, client = carried()
    assert client.connection.deadline is None


def test_a_carrier_that_is_shut_stays_until_the_end() -> None:
    polls, client = carried()

    def last(now: float) -> list[Event]:
        polls.opened[0].shut = True
        return [Message(polls.wire, b"x")]

    polls.opened[0].wake = last
    client.see(client.connection.wake(101.0))
    assert client.connection.shut
    client.feed(POLL, bytes(2 * HELD))
    assert not client.connection.held
    client.see(client.connection.lost(102.0))
    assert client.events == ["Message", "Detached"]
    assert len(polls.opened) == 1


def test_a_poll_that_does_not_keep_the_connection_ends_it() -> None:
    polls = Polls(known=True)
    client = Client(polls)
    client.feed(POLL.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n") + POLL)
    client.see(client.connection.detach(101.0))
    assert client.connection.shut
    assert client.connection.deadline is None
    client.feed(POLL)
    assert client.events == ["Attached", "Detached"]


def test_a_refused_session() -> None:
    polls = Polls()
    client = Client(polls)
    client.feed(POLL)
    client.see(client.connection.refuse(polls.opened[0]._handshake, 401, "Log in.", 100.0))
    assert polls.opened[0].calls == ["start", "refuse"]
    assert b" 401 " in client.output
    assert client.connection.shut
    client.see(client.connection.lost(101.0))
    assert client.events == ["Handshake"]


def test_detach_ends_a_carrier_that_has_no_more_to_say() -> None:
    polls, client = carried()
    polls.opened[0]._carries = False
    client.feed(GET)
    client.see(client.connection.detach(101.0))
    assert client.events == []
    assert client.output.endswith(b"<p>")


def test_a_verdict_for_a_poll_that_is_lost() -> None:
    polls = Polls()
    client = Client(polls)
    client.feed(POLL)
    client.see(client.connection.lost(101.0))
    handshake = polls.opened[0]._handshake
    client.see(client.connection.accept(handshake, 102.0))
    client.see(client.connection.refuse(handshake, 401, "Log in.", 102.0))
    assert polls.opened[0].calls == ["start", "lost"]
    assert (client.events, client.output) == (["Handshake"], b"")


def test_lost_under_a_poll() -> None:
    polls, client = carried()
    client.see(client.connection.lost(101.0))
    assert client.events == ["Detached"]
    assert polls.opened[0].calls == ["start", "lost"]
    assert client.connection.shut
    assert client.connection.lost(102.0) == client.connection.wake(102.0) == []


REFUSED = {
    "body": (b"Host: a\r\nContent-Length: 5\r\n", 413, False),
    "chunked": (b"Host: a\r\nTransfer-Encoding: chunked\r\n", 413, False),
    "another site": (b"Host: a\r\nOrigin: http://evil.example\r\n", 403, True),
    "Host malformed": (b"Host: a/b\r\n", 400, False),
}


@pytest.mark.parametrize("name", REFUSED)
def test_nothing_is_opened_for_a_request_that_is_refused(name: str) -> None:
    headers, status, counted = REFUSED[name]
    polls = Polls()
    client = Client(polls)
    head = POLL.replace(b"Host: a\r\n", headers)
    client.feed(head + (b"hello" if status == 413 else b""))
    assert client.output.startswith(b"HTTP/1.1 %d " % status)
    assert client.connection.shut is (status != 400)
    assert (client.events, polls.opened) == ([], [])
    assert client.counters.origins_refused == client.counters.handshakes_refused == counted


def test_nothing_is_opened_while_we_stop_or_for_who_takes_no_answers() -> None:
    polls = Polls()
    client = Client(polls, draining=True)
    client.feed(POLL)
    assert b" 503 " in client.output
    client = Client(polls)
    client.feed(GET.replace(b"/ ", b"/large ", 1) + POLL)
    assert client.connection.shut
    assert client.output.count(b"HTTP/1.1") == 1
    assert polls.opened == []


def test_what_a_route_answers_itself() -> None:
    client = Client(Polls())
    client.feed(POLL.replace(b"POST", b"GET"), POLL.replace(b"poll", b"nothing"), POLL)
    assert client.output.startswith(b"HTTP/1.1 405 ")
    assert b"Allow: POST" in client.output
    assert b"HTTP/1.1 404 " in client.output
    assert client.events == ["Handshake"]


# A whole session


@pytest.fixture
def app() -> StompApp:
    return StompApp("/live", allowed_origins=["*"])


@pytest.fixture
def ended(app: StompApp) -> list[Any]:
    heard: list[Any] = []

    @app.event_listener(inline=True)
    def hear(event: SessionDisconnected) -> None:
        heard.append(event.reason)

    return heard


@pytest.fixture
def world(app: StompApp, ended: list[Any]) -> Iterator[World]:
    site = app.site({"/": Page("text/html", b"<p>")})
    with World(app, Site(site.endpoint, choose, site.pages, {"/live": Polls()})) as world:
        yield world
        assert not world.counters.internal_errors


def test_a_session_over_polls_of_one_socket(app: StompApp, world: World, ended: list[Any]) -> None:
    stream = world.open()

    def poll(frame: str | None = None) -> bytes:
        target = "/live/poll" if frame is None else "/live/poll?send=" + quote(frame)
        return sent(world, stream, b"POST %s HTTP/1.1\r\nHost: a\r\n\r\n" % target.encode())

    assert poll() == answer(b"o")
    assert b"CONNECTED\n" in poll("CONNECT\naccept-version:1.2\nheart-beat:0,0\n\n\0")
    subscribe = "SUBSCRIBE\nid:1\ndestination:/topic/a\nreceipt:r\n\n\0"
    assert b"receipt-id:r\n" in poll(subscribe)
    # Parked: what is published waits for the next poll.
    app.template.convert_and_send("/topic/a", 1)
    world.settle()
    assert stream.received == b""
    assert b"\n\n1\0" in poll()
    # A poll waits for what is published.
    assert poll() == b""
    app.template.convert_and_send("/topic/a", 2)
    world.settle()
    assert b"\n\n2\0" in taken(stream)
    # The same connection goes on with anything.
    assert sent(world, stream, GET).endswith(b"<p>")
    assert b"receipt-id:bye\n" in poll("DISCONNECT\nreceipt:bye\n\n\0")
    world.advance(30)
    assert [reason.value for reason in ended] == ["client_disconnect"]


def sent(world: World, stream: MemoryStream, data: bytes) -> bytes:
    world.runtime.driver.feed(stream.link, data)
    world.settle()
    return taken(stream)


def taken(stream: MemoryStream) -> bytes:
    received = bytes(stream.received)
    stream.received.clear()
    return received

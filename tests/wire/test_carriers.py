"""A request that carries or feeds a wire without a WebSocket, over a connection that read it.

The carrier here is as small as can be, and real: a poll or a post whose answer is a whole HTTP
response.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from stocksync_ws import SessionDisconnected, StompApp
from stocksync_ws.config import EndpointConfig, Limits
from stocksync_ws.counters import Counters
from stocksync_ws.testing.world import World
from stocksync_ws.types import (
    Alive,
    Attached,
    Chunk,
    Connection,
    Detached,
    Event,
    Handshake,
    HttpRequest,
    Message,
    Wire,
)
from stocksync_ws.wire import Answer, Carrier, HttpConnection, Page, Site, decide
from stocksync_ws.wire.answer import plain, unavailable
from stocksync_ws.wire.framing import Framing, framing_for
from stocksync_ws.wire.http import response
from stocksync_ws.wire.websocket import WebSocketWire
from tests.polling import CONNECT, Polling

HELD = 65_536
POLL = b"POST /live/poll HTTP/1.1\r\nHost: a\r\n\r\n"
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
UPGRADE = (
    b"GET /live HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


def choose(offered: Sequence[str]) -> str | None:
    return None


def answered(body: bytes) -> Answer:
    return Answer(200, (("Content-Length", str(len(body))),), body)


def answer(body: bytes) -> bytes:
    return response(200, [("Content-Length", str(len(body)))], body, close=False)


class Poll:
    """One request: the first opens the session and is answered at once, a later one carries it; a
    post is answered when its body is whole.
    """

    def __init__(
        self,
        request: HttpRequest,
        framing: Framing,
        wire: Wire,
        *,
        first: bool,
        ends_at: float | None,
    ):
        self.request = request
        self.wire = wire
        self.deadline = ends_at
        self.held = False
        self.shut = False
        self.calls: list[str] = []
        self.body: list[bytes] = []
        self._framing = framing
        self._first = first
        self._handshake = Handshake(request, wire, None)
        self._carries = not first
        self._out: list[Chunk] = []

    def say(self, body: bytes) -> None:
        self._out += self._framing.answer(answered(body))
        self.shut = self._framing.last

    def start(self, now: float) -> list[Event]:
        self.calls.append("start")
        if self.request.path.endswith("/post"):
            return [Alive(self.wire)]
        return [self._handshake] if self._first else [Attached(self.wire)]

    def receive(self, data: bytes, now: float) -> list[Event]:
        self.body.append(data)
        if data:
            return [Alive(self.wire)]
        self.say(b"p")
        return [Detached(self.wire)]

    def accept(self, handshake: Handshake, now: float) -> list[Event]:
        if handshake is not self._handshake:
            return []
        self.calls.append("accept")
        self.say(b"o")
        return [Detached(self.wire)]

    def refuse(self, handshake: Handshake, status: int, text: str, now: float) -> list[Event]:
        self.calls.append("refuse")
        self.shut = True
        self._out.append(response(status, [("Content-Length", "0")], b"", close=True))
        return []

    def resume(self, now: float) -> list[Event]:
        self.calls.append("resume")
        self.say(b"r")
        return self._end()

    def lost(self, now: float) -> list[Event]:
        self.calls.append("lost")
        return self._end()

    def wake(self, now: float) -> list[Event]:
        self.calls.append("wake")
        self.say(b"h")
        return self._end()

    def detach(self, now: float) -> list[Event]:
        self.calls.append("detach")
        self.shut = self._framing.last
        return self._end()

    def take(self) -> list[Chunk]:
        out, self._out = self._out, []
        return out

    def _end(self) -> list[Event]:
        carried, self._carries = self._carries, False
        return [Detached(self.wire)] if carried else []


class Polls:
    """A route of polls and posts for one wire, and all there were."""

    def __init__(self, *, known: bool = False, ends_at: float | None = None) -> None:
        self.wire = WebSocketWire()
        self.opened: list[Poll] = []
        self._known = known
        self._ends_at = ends_at

    def __call__(self, request: HttpRequest, rest: str) -> Answer | Carrier | None:
        if rest not in ("/poll", "/post"):
            return None
        if request.method != "POST":
            return plain(405, "Only POST is possible here.", ("Allow", "POST"))
        return Carrier(self.open, body=rest == "/post")

    def open(self, request: HttpRequest, framing: Framing, full: bool) -> Connection | Answer:
        if full and not self._known:
            return unavailable(request)
        first, self._known = not self._known, True
        poll = Poll(request, framing, self.wire, first=first, ends_at=self._ends_at)
        self.opened.append(poll)
        return poll


class Client:
    """A connection with a route, and everything that came out of it."""

    def __init__(
        self,
        polls: Polls,
        *,
        draining: bool = False,
        first: tuple[HttpRequest, bytes] | None = None,
    ) -> None:
        pages = {"/": Page("text/html", b"<p>"), "/large": Page("text/plain", b"x" * (HELD + 1))}
        self.counters = Counters()
        connection = HttpConnection(
            Site(EndpointConfig(path="/live"), choose, pages, {"/live": polls}),
            Limits(),
            self.counters,
            peer="1.2.3.4:5",
            secure=False,
            draining=lambda: draining,
        )
        self.connection: Connection = connection
        self.output = b""
        self.events: list[str] = []
        if first is not None:
            connection.hand_over(*first)
        self.see(connection.start(100.0))

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
    opened = decision.open(request, framing_for(request, last=False), False)
    assert not isinstance(opened, Answer)
    [event] = opened.start(100.0)
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
        def open(self, request: HttpRequest, framing: Framing, full: bool) -> Connection:
            return Short(request, framing, self.wire, first=True, ends_at=None)

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

    polls.opened[0].wake = last  # type: ignore[method-assign]
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


# While no new session is taken


def test_while_we_stop_a_session_that_is_there_goes_on() -> None:
    polls = Polls()
    client = Client(polls, draining=True)
    client.feed(POLL)
    assert client.output.startswith(b"HTTP/1.1 503 ")
    assert b"\r\nRetry-After: " in client.output
    assert client.counters.connections_refused == 1
    assert not client.connection.shut
    polls._known = True
    client.feed(POLL)
    assert client.events == ["Attached"]
    assert client.counters.connections_refused == 1


def test_while_we_stop_the_next_request_is_waited_for_a_second() -> None:
    """A client that polls comes back at once; others would hold the stop up."""
    for draining, seconds in ((True, 1.0), (False, 15.0)):
        client = Client(Polls(known=True), draining=draining)
        client.feed(POLL)
        client.see(client.connection.detach(200.0))
        assert client.connection.deadline == 200.0 + seconds
        client.feed(POLL, now=200.9)
        assert client.events == ["Attached", "Detached", "Attached"]
        client.see(client.connection.detach(201.0))
        client.see(client.connection.wake(201.0 + seconds))
        assert client.connection.shut


def test_a_carrier_that_is_refused_is_counted_as_one_only_when_there_is_no_room() -> None:
    class Foreign(Polls):
        def open(self, request: HttpRequest, framing: Framing, full: bool) -> Answer:
            return plain(404, "There is no such session.")

    client = Client(Foreign())
    client.feed(POLL + GET)
    assert client.output.startswith(b"HTTP/1.1 404 ")
    assert client.output.endswith(b"<p>")
    assert client.counters == Counters()


# Bodies

POST = b"POST /live/post HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = (
    b"POST /live/post HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"2;a=b\r\nhe\r\n3\r\nllo\r\n0\r\nX-Trailer: 1\r\n\r\n"
)


@pytest.mark.parametrize("post", [POST, CHUNKED])
def test_a_body_is_the_carriers_however_it_is_split(post: bytes) -> None:
    for pieces in splits(post + GET):
        polls = Polls(known=True)
        client = Client(polls)
        client.feed(*pieces)
        assert b"".join(polls.opened[0].body) == b"hello"
        assert polls.opened[0].body[-1] == b""
        assert polls.opened[0].body.count(b"") == 1
        assert client.events[0] == "Alive"
        assert client.events[-1] == "Detached"
        assert client.output.startswith(answer(b"p") + b"HTTP/1.1 200 ")
        assert client.output.endswith(b"<p>")


def splits(data: bytes) -> list[list[bytes]]:
    every = [[data[:at], data[at:]] for at in range(1, len(data))]
    return [[data], [data[at : at + 1] for at in range(len(data))], *every]


@pytest.mark.parametrize("length", [b"Content-Length: 0\r\n", b""])
def test_a_post_without_a_body_is_whole_at_once(length: bytes) -> None:
    polls = Polls(known=True)
    client = Client(polls)
    head = POST.replace(b"Content-Length: 5\r\n", length).removesuffix(b"hello")
    client.feed(head + head)
    assert [poll.body for poll in polls.opened] == [[b""]] * 2
    assert client.output == answer(b"p") * 2


def test_who_waits_for_a_word_gets_it_before_the_body() -> None:
    polls = Polls(known=True)
    client = Client(polls)
    head = POST.replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n").removesuffix(b"hello")
    client.feed(head)
    assert client.output == b"HTTP/1.1 100 Continue\r\n\r\n"
    client.feed(b"hello")
    assert client.output.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n") == answer(b"p")


def test_who_has_no_carrier_gets_no_word_for_a_body() -> None:
    client = Client(Polls(), draining=True)
    head = POST.replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n")
    client.feed(head + GET)
    # What stands behind the head is a body that nobody reads, and no request.
    assert client.output.startswith(b"HTTP/1.1 503 ")
    assert client.output.count(b"HTTP/1.1") == 1
    assert client.connection.shut


def test_a_broken_body_is_400_and_its_carrier_is_lost() -> None:
    polls = Polls(known=True)
    client = Client(polls)
    client.feed(CHUNKED.replace(b"3\r\nllo", b"x\r\nllo") + GET)
    assert client.output.startswith(b"HTTP/1.1 400 ")
    assert client.output.count(b"HTTP/1.1") == 1
    assert polls.opened[0].calls == ["start", "lost"]
    assert b"" not in polls.opened[0].body
    assert client.connection.shut
    assert client.connection.resume(100.0) == []


def test_what_comes_while_the_answer_to_a_post_is_on_its_way_is_kept() -> None:
    class Slow(Polls):
        def open(self, request: HttpRequest, framing: Framing, full: bool) -> Connection | Answer:
            opened = super().open(request, framing, full)
            assert isinstance(opened, Poll)
            opened.receive = lambda data, now: []  # type: ignore[method-assign]
            return opened

    polls = Slow(known=True)
    client = Client(polls)
    client.feed(POST, GET, bytes(HELD))
    assert client.output == b""
    assert client.connection.held
    client = Client(polls)
    client.feed(POST, GET)
    client.see(client.connection.resume(101.0))
    assert polls.opened[-1].calls == ["start", "resume"]
    assert client.events == ["Alive", "Detached"]
    assert client.output.startswith(answer(b"r"))
    assert client.output.endswith(b"<p>")
    assert client.connection.resume(102.0) == []


def test_reading_a_body_pauses_when_the_carrier_says_so() -> None:
    polls = Polls(known=True)
    client = Client(polls)
    client.feed(POST.replace(b"5", b"70000"))
    assert not client.connection.held
    polls.opened[0].held = True
    client.feed(bytes(60_000))
    assert client.connection.held
    polls.opened[0].held = False
    client.feed(bytes(9_995))
    assert client.output == answer(b"p")
    assert not client.connection.held


@pytest.mark.parametrize("at_start", [False, True])
def test_a_carrier_that_is_over_before_its_body_ends_the_stream(at_start: bool) -> None:
    """The rest of the body is no request, whatever it looks like."""

    class Hasty(Polls):
        def open(self, request: HttpRequest, framing: Framing, full: bool) -> Connection | Answer:
            opened = super().open(request, framing, full)
            assert isinstance(opened, Poll)
            opened.say(b"no")
            over: list[Event] = [Detached(self.wire)]
            if at_start:
                opened.start = lambda now: over  # type: ignore[method-assign]
            else:
                opened.receive = lambda data, now: over  # type: ignore[method-assign]
            return opened

    client = Client(Hasty(known=True))
    client.feed(POST.replace(b"Length: 5", b"Length: 500") + GET)
    assert client.output == answer(b"no")
    assert client.connection.shut
    client.feed(GET)
    assert client.output == answer(b"no")


def test_a_carrier_that_is_over_with_the_last_of_its_body_does_not() -> None:
    class Hasty(Polls):
        def open(self, request: HttpRequest, framing: Framing, full: bool) -> Connection | Answer:
            opened = super().open(request, framing, full)
            assert isinstance(opened, Poll)
            heard: list[bytes] = []

            def receive(data: bytes, now: float) -> list[Event]:
                heard.append(data)
                assert heard == [b"hello"]
                opened.say(b"no")
                return [Detached(self.wire)]

            opened.receive = receive  # type: ignore[method-assign]
            return opened

    client = Client(Hasty(known=True))
    client.feed(POST + GET)
    assert client.output.startswith(answer(b"no"))
    assert client.output.endswith(b"<p>")


# Requests that were handed over


@pytest.mark.parametrize("body", [b"hello", b""])
def test_the_body_of_a_request_that_was_handed_over_is_whole(body: bytes) -> None:
    polls = Polls(known=True)
    request = HttpRequest("POST", "/live/post", (("host", "a"), ("content-length", "5")))
    client = Client(polls, first=(request, body))
    assert polls.opened[0].body == ([body] if body else []) + [b""]
    assert client.output.startswith(b"HTTP/1.1 200 OK\r\n")
    # Whoever handed it over may have read more than it.
    assert b"\r\nConnection: close\r\n" in client.output
    assert client.connection.shut
    client.feed(GET)
    assert client.output.count(b"HTTP/1.1") == 1


def test_a_poll_that_was_handed_over_is_the_last_one() -> None:
    polls = Polls(known=True)
    request = HttpRequest("POST", "/live/poll", (("host", "a"),))
    client = Client(polls, first=(request, b""))
    assert client.events == ["Attached"]
    client.feed(GET)
    client.see(client.connection.detach(101.0))
    assert client.connection.shut
    assert client.output == b""


# A whole session


def test_a_session_over_polls_of_one_socket() -> None:
    app = StompApp("/ws", allowed_origins=["*"], sockjs=True)
    ended: list[Any] = []

    @app.event_listener(inline=True)
    def hear(event: SessionDisconnected) -> None:
        ended.append(event.reason)

    with World(app, app.site({"/": Page("text/html", b"<p>")})) as world:
        client = Polling(world)
        client.poster = client.stream
        client.receive()
        client.send(CONNECT)
        assert client.receive().messages()[0].startswith("CONNECTED\n")
        client.send("SUBSCRIBE\nid:1\ndestination:/topic/a\nreceipt:r\n\n\0")
        assert client.receive().messages() == ["RECEIPT\nreceipt-id:r\n\n\0"]
        # Parked: what is published waits for the next poll.
        app.template.convert_and_send("/topic/a", 1)
        world.settle()
        assert client.stream.received == b""
        assert client.receive().messages()[0].endswith("\n\n1\0")
        # A poll waits for what is published.
        assert client.receive().messages() == []
        app.template.convert_and_send("/topic/a", 2)
        world.settle()
        assert client.messages()[0].endswith("\n\n2\0")
        # The same connection goes on with anything.
        client.feed(client.stream, GET)
        assert client.stream.received.endswith(b"<p>")
        client.took()
        client.send("DISCONNECT\nreceipt:bye\n\n\0")
        assert client.receive().messages() == ["RECEIPT\nreceipt-id:bye\n\n\0"]
        assert client.receive().took() == ['c[1000,"bye"]']
        world.advance(30)
        assert [reason.value for reason in ended] == ["client_disconnect"]
        assert not world.counters.internal_errors

"""One request with the connection that answers it; `test_carriers.py` has the socket around it."""

from __future__ import annotations

import pytest

from stocksync_ws.config import Limits
from stocksync_ws.types import Alive, Connection, Detached, Event, HttpRequest
from stocksync_ws.wire.answer import Answer, plain
from stocksync_ws.wire.carried import CarriedRequest, open_request
from stocksync_ws.wire.endpoint import Carrier
from stocksync_ws.wire.framing import Framing
from stocksync_ws.wire.http import HttpError, HttpReader
from stocksync_ws.wire.websocket import WebSocketWire
from tests.polling import Says

WIRE = WebSocketWire()
POST = HttpRequest("POST", "/", (("host", "a"), ("content-length", "5")))
CHUNKED = HttpRequest("POST", "/", (("host", "a"), ("transfer-encoding", "chunked")))
PLAIN = HttpRequest("POST", "/", (("host", "a"),))


class Poster(Says):
    """Says of each part that it came; over behind a number of them."""

    def __init__(self, most: int = 99) -> None:
        super().__init__()
        self.parts: list[bytes] = []
        self._most = most

    def receive(self, data: bytes, now: float) -> list[Event]:
        self.parts.append(data)
        return [Alive(WIRE)] if len(self.parts) < self._most else [Detached(WIRE)]


def http(data: bytes = b"") -> HttpReader:
    reader = HttpReader(Limits())
    reader.feed(data)
    return reader


def opened(
    request: HttpRequest, made: Connection | Answer, *, body: bool, full: bool = False
) -> CarriedRequest | Answer:
    asked: list[tuple[HttpRequest, bool, bool]] = []

    def open_it(request: HttpRequest, framing: Framing, full: bool) -> Connection | Answer:
        asked.append((request, framing.last, full))
        return made

    found = open_request(request, Carrier(open_it, body), http(), last=True, full=full)
    assert asked in ([], [(request, True, full)])
    return found


@pytest.mark.parametrize("request_", [POST, CHUNKED])
def test_a_body_that_nobody_wants_is_refused_before_anything_is_opened(
    request_: HttpRequest,
) -> None:
    answer = opened(request_, plain(500, "It was asked."), body=False)
    assert isinstance(answer, Answer)
    assert (answer.status, answer.close) == (413, True)


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize(("request_", "close"), [(POST, True), (PLAIN, False)])
def test_an_answer_ends_the_stream_if_a_body_is_left_unread(
    request_: HttpRequest, close: bool, full: bool
) -> None:
    answer = opened(request_, plain(404, "Nothing."), body=True, full=full)
    assert isinstance(answer, Answer)
    assert (answer.status, answer.close) == (404, close)


@pytest.mark.parametrize(("request_", "unread"), [(POST, True), (CHUNKED, True), (PLAIN, False)])
def test_what_was_opened_knows_whether_a_body_is_unread(
    request_: HttpRequest, unread: bool
) -> None:
    connection = Poster()
    carried = opened(request_, connection, body=True)
    assert isinstance(carried, CarriedRequest)
    assert (carried.connection, carried.unread, carried.over) == (connection, unread, False)
    assert not carried.reads


def test_it_gives_the_body_and_leaves_what_comes_behind() -> None:
    reader, connection = http(b"he"), Poster()
    carried = CarriedRequest(connection, reader, unread=True)
    assert not carried.expect(POST)
    assert carried.reads
    assert len(carried.read(1.0)) == 1
    assert (connection.parts, bytes(reader.rest), carried.unread) == ([b"he"], b"", True)
    assert carried.read(1.0) == []
    reader.feed(b"lloGET")
    assert len(carried.read(1.0)) == 2
    assert connection.parts == [b"he", b"llo", b""]
    assert (bytes(reader.rest), carried.reads, carried.unread) == (b"GET", False, False)
    assert carried.read(1.0) == []
    assert bytes(reader.rest) == b"GET"


def test_it_gives_nothing_to_one_that_is_over() -> None:
    connection = Poster(most=1)
    carried = CarriedRequest(connection, http(b"hello"), unread=True)
    carried.expect(POST)
    [event] = carried.read(1.0)
    assert isinstance(event, Detached)
    assert carried.over
    assert connection.parts == [b"hello"]
    assert carried.give_whole(b"more", 1.0) == []
    assert connection.parts == [b"hello"]


def test_one_that_is_over_stays_so() -> None:
    carried = CarriedRequest(Says(Detached(WIRE)), http(), unread=False)
    carried.start(1.0)
    assert carried.over
    carried.heard([Alive(WIRE)])
    assert carried.over


def test_a_broken_body_gives_nothing_of_that_read() -> None:
    connection = Poster()
    carried = CarriedRequest(connection, http(b"1\r\nx\r\nbroken\r\n"), unread=True)
    carried.expect(CHUNKED)
    with pytest.raises(HttpError):
        carried.read(1.0)
    assert connection.parts == []
    assert carried.unread


def test_it_stops_reading_for_its_connection() -> None:
    connection = Poster()
    carried = CarriedRequest(connection, http(), unread=True)
    assert not carried.held
    connection.held = True
    assert carried.held

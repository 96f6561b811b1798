"""Sessions of SockJS over plain HTTP: how they begin, who carries them, and how they end."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest

from stocksync_ws import (
    DisconnectReason,
    SessionConnected,
    SockJSOptions,
    StompApp,
)
from stocksync_ws.config import Limits
from stocksync_ws.wire.framing import HttpFraming
from stocksync_ws.wire.sockjs.frames import FORMATS
from stocksync_ws.wire.sockjs.sessions import BATCH, Post, SockJSSessions, Track
from tests.wire.sockjs.client import CONNECT, Client, Web

TRANSPORTS = list(FORMATS)
STREAMS = [name for name, each in FORMATS.items() if each.streams]
POLLS = [name for name, each in FORMATS.items() if not each.streams]
CUT = [1002, "Connection interrupted"]
TWICE = [2010, "Another connection still open"]


@pytest.fixture
def web() -> Iterator[Web]:
    with Web() as web:
        yield web


class TestOpening:
    @pytest.mark.parametrize("transport", TRANSPORTS)
    def test_o_comes_first_and_once(self, web: Web, transport: str) -> None:
        client = Client(web, transport=transport)
        client.pump_once()
        assert client.frames == ["o"]
        assert client.answers[0].whole == (transport in POLLS)
        client.pump()
        assert client.frames == ["o"]

    @pytest.mark.parametrize("name", ["xhr_send", "jsonp_send"])
    def test_a_post_opens_nothing(self, web: Web, name: str) -> None:
        body = '["x"]' if name == "xhr_send" else "d=[]"
        assert web.ask("POST", f"/0/s1/{name}", body).status == 404
        assert web.sessions.find("s1") is None
        assert not web.broker.sessions

    @pytest.mark.parametrize("transport", TRANSPORTS)
    def test_the_transport_is_told(self, transport: str) -> None:
        told: list[str] = []
        app = StompApp("/ws", sockjs=SockJSOptions.conformance())

        @app.event_listener(SessionConnected)
        async def listen(event: SessionConnected) -> None:
            told.append(event.transport)

        with Web(app) as web:
            Client(web, transport=transport).connect()
        assert told == [transport]

    @pytest.mark.parametrize("other", TRANSPORTS)
    def test_a_session_may_change_its_transport(self, web: Web, other: str) -> None:
        client = Client(web).connect("/topic/a")
        web.publish("1")
        client.take_answer()
        client.transport = other
        web.publish("2")
        assert client.bodies() == ["1", "2"]
        assert web.sessions.find("s1").transport == other

    def test_no_more_than_the_bound(self) -> None:
        with Web(limits=Limits(sockjs_sessions=2)) as web:
            for name in ("a", "b"):
                assert web.ask("POST", f"/0/{name}/xhr").status == 200
            refused = web.ask("POST", "/0/c/xhr")
            assert refused.status == 503
            assert refused.get("retry-after")
            assert web.ask("POST", "/0/a/xhr_send", "[]").status == 204
            web.world.advance(5.1)
            assert web.ask("POST", "/0/c/xhr").status == 200


class TestSecondReceiver:
    @pytest.mark.parametrize("first", TRANSPORTS)
    @pytest.mark.parametrize("second", TRANSPORTS)
    def test_it_is_sent_away_and_the_first_goes_on(self, web: Web, first: str, second: str) -> None:
        client = Client(web, transport=first).connect("/topic/a")
        assert web.told(second) == TWICE
        assert web.told(second) == TWICE
        web.publish("1")
        assert client.bodies() == ["1"]

    @pytest.mark.parametrize("second", TRANSPORTS)
    def test_its_connection_goes_on_or_ends_as_others_do(self, web: Web, second: str) -> None:
        client = Client(web).connect("/topic/a")
        target = f"/ws/0/s1/{second}" + ("?c=cb" if FORMATS[second].callback else "")
        line = web.line()
        for _ in range(2):
            assert b"2010" in line.ask(FORMATS[second].method, target).body
        assert line.open
        last = line.ask(FORMATS[second].method, target, headers={"Connection": "close"})
        assert b"2010" in last.body
        assert not line.open
        web.publish("1")
        assert client.bodies() == ["1"]

    def test_nothing_arrives_twice(self, web: Web) -> None:
        """Row 23: a poll that a proxy has sent twice."""
        client = Client(web).connect("/topic/a")
        other = Client(web, "s1")
        other.pump_once()
        web.publish("1")
        assert other.messages == []
        assert client.bodies() == ["1"]


class TestExpiry:
    def test_right_after_the_opening(self) -> None:
        with Web() as web:
            web.ask("POST", "/0/s1/xhr")
            web.world.advance(4.9)
            assert web.ask("POST", "/0/s1/xhr_send", "[]").status == 204
            web.world.advance(0.2)
            assert not web.broker.sessions
            assert web.ask("POST", "/0/s1/xhr_send", "[]").status == 404
            assert web.told() == CUT

    @pytest.mark.parametrize("transport", POLLS)
    def test_between_two_polls(self, transport: str) -> None:
        """Row 25: the application hears of it once."""
        with Web() as web:
            client = Client(web, transport=transport).connect("/topic/a")
            web.publish("1")
            client.take_answer()
            web.world.advance(4.9)
            assert len(web.broker.sessions) == 1
            web.world.advance(0.2)
            assert not web.broker.sessions
            assert web.ends == [DisconnectReason.CONNECTION_LOST]
            assert client.post("x").status == 404
            assert web.told(transport) == CUT

    def test_a_poll_in_time_keeps_it(self, web: Web) -> None:
        client = Client(web).connect("/topic/a")
        for number in range(5):
            web.publish(str(number))
            client.take_answer()
            web.world.advance(4.9)
            parked = web.world.runtime.driver._links.parked
            assert len(parked) == 1
            client.pump()
            assert not parked
        web.world.advance(20)
        assert client.bodies() == ["0", "1", "2", "3", "4"]

    def test_the_delay_is_a_setting(self) -> None:
        with Web(sockjs=SockJSOptions(disconnect_delay=1.0, remember=2.0)) as web:
            web.ask("POST", "/0/s1/xhr")
            web.world.advance(1.1)
            assert web.told() == CUT
            web.world.advance(1.8)
            assert web.told() == CUT
            web.world.advance(0.2)
            assert web.ask("POST", "/0/s1/xhr").body == b"o\n"


class TestCut:
    @pytest.mark.parametrize("transport", TRANSPORTS)
    def test_a_receiver_that_is_cut_ends_its_session(self, transport: str) -> None:
        """Row 24: what was written into a connection that breaks is not sent again."""
        with Web() as web:
            client = Client(web, transport=transport).connect("/topic/a")
            web.publish("1")
            client.pump()
            client.cut()
            assert not web.broker.sessions
            assert web.ends == [DisconnectReason.CONNECTION_LOST]
            for other in TRANSPORTS:
                assert web.told(other) == CUT
            assert client.post("x").status == 404
            web.publish("2")
            assert web.told(transport) == CUT

    def test_it_is_remembered_for_a_while(self, web: Web) -> None:
        client = Client(web, transport="xhr_streaming").connect()
        client.cut()
        web.world.advance(59.9)
        assert web.told() == CUT
        web.world.advance(0.2)
        assert web.sessions.find("s1") is None
        assert client.post("x").status == 404
        assert web.ask("POST", "/0/s1/xhr").body == b"o\n"

    def test_an_answer_that_had_ended_is_no_cut(self, web: Web) -> None:
        client = Client(web).connect("/topic/a")
        line = client.line
        assert line is not None
        web.publish("1")
        line.eof()
        client.take_answer()
        web.publish("2")
        assert client.bodies() == ["1", "2"]

    def test_an_answer_that_is_not_read_is_one(self) -> None:
        with Web() as web:
            client = Client(web).connect("/topic/a")
            assert client.line is not None
            client.line.stream.window = 10
            web.publish("1")
            client.cut()
            assert web.told() == CUT
            assert not web.broker.sessions

    @pytest.mark.parametrize("window", [0, 3])
    @pytest.mark.parametrize("transport", TRANSPORTS)
    def test_an_opening_whose_o_has_not_left_is_one(
        self, web: Web, transport: str, window: int
    ) -> None:
        client = Client(web, transport=transport)
        client.window = window
        client.attach()
        assert len(web.broker.sessions) == 1
        client.cut()
        assert not web.broker.sessions
        assert web.told(transport) == CUT

    @pytest.mark.parametrize("transport", TRANSPORTS)
    def test_a_heart_beat_that_has_not_left_is_one(self, transport: str) -> None:
        with Web(limits=Limits(send_stall_seconds=60.0)) as web:
            client = Client(web, transport=transport).connect()
            assert client.line is not None
            client.line.stream.window = 3
            web.world.advance(40)
            assert client.line.stream.unsent
            assert len(web.broker.sessions) == 1
            client.cut()
            assert not web.broker.sessions
            assert web.ends == [DisconnectReason.CONNECTION_LOST]
            assert web.told(transport) == CUT

    @pytest.mark.parametrize("transport", POLLS)
    def test_a_poll_is_carried_until_its_own_frame_has_left(self, web: Web, transport: str) -> None:
        client = Client(web, transport=transport)
        client.window = 3
        client.attach()
        line = client.line
        assert line is not None
        client.post(CONNECT)
        web.world.advance(6)  # The time without a receiver does not run.
        assert web.told(transport) == TWICE
        line.stream.open_window(None)
        client.take_answer()
        assert client.frames == ["o"]
        client.window = None
        client.pump()
        assert [frame.command for frame in client.stomp] == ["CONNECTED"]

    def test_a_poll_that_does_not_take_its_heart_beat_is_slow(self) -> None:
        with Web(limits=Limits(send_stall_seconds=10.0)) as web:
            client = Client(web).connect()
            assert client.line is not None
            client.line.stream.window = 3
            web.world.advance(34)
            assert web.ends == []
            web.world.advance(10)
            assert web.ends == [DisconnectReason.SLOW_CONSUMER]

    def test_openings_behind_an_answer_that_waits_come_in_order(self, web: Web) -> None:
        line = web.line()
        line.stream.window = 0
        asked = [line.ask("GET", "/ws"), line.ask("POST", "/ws/0/a/xhr")]
        asked += [line.ask("POST", f"/ws/0/{name}/xhr") for name in "bc"]
        assert len(web.broker.sessions) == 1  # The others wait until the first one is answered.
        line.stream.open_window(None)
        line.read()
        assert [answer.body for answer in asked] == [b"Welcome to SockJS!\n", *[b"o\n"] * 3]
        assert len(web.broker.sessions) == 3

    def test_only_so_many_are_remembered(self) -> None:
        with Web(limits=Limits(sockjs_remembered=3)) as web:
            for name in "abcde":
                client = Client(web, name, "xhr_streaming")
                client.pump()
                client.cut()
            assert [name for name in "abcde" if web.sessions.find(name)] == ["c", "d", "e"]
            assert web.told(name="c") == CUT
            assert web.ask("POST", "/0/a/xhr").body == b"o\n"
            web.world.advance(66)
            assert not [name for name in "abcde" if web.sessions.find(name)]


class TestLeaks:
    @pytest.mark.slow
    def test_ten_thousand_abandoned_sessions(self) -> None:
        with Web() as web:
            timers = web.world.runtime.driver._timers
            line = web.line()
            for number in range(10_000):
                line.ask("POST", f"/ws/0/n{number}/xhr")
                if number % 100 == 0:
                    line.ask("POST", f"/ws/0/n{number}/xhr_send", json.dumps([CONNECT]))
                    line.eof()
                    line = web.line()
            line.eof()
            assert len(web.broker.sessions) == 10_000
            web.world.advance(5.1)
            assert not web.broker.sessions
            assert len(web.ends) == 100
            assert len(web.sessions._ended) == 10_000
            web.world.advance(61)
            assert not web.sessions._open
            assert not web.sessions._ended
            assert not web.world.runtime.driver._links.parked
            assert not web.world.runtime.driver._links._bringing
            assert timers.next() is None
            assert len(timers) == 0

    def test_memory_of_a_parked_session(self) -> None:
        with Web() as web:
            for name in ("warm", "up"):
                Client(web, name).pump_once()
            count = 200
            tracemalloc.start()
            try:
                before = tracemalloc.get_traced_memory()[0]
                for number in range(count):
                    line = web.line()
                    line.ask("POST", f"/ws/0/n{number}/xhr")
                    line.ask("POST", f"/ws/0/n{number}/xhr_send", json.dumps([CONNECT]))
                    line.ask("POST", f"/ws/0/n{number}/xhr")
                    line.eof()
                    del line
                web.world.settle()
                each = (tracemalloc.get_traced_memory()[0] - before) / count
            finally:
                tracemalloc.stop()
            assert len(web.broker.sessions) == count + 2
            assert each <= 6 * 1_024


class TestTable:
    """Wires and their table, by themselves."""

    def wire(self) -> Any:
        return SockJSSessions(SockJSOptions(), Limits()).open("a", None)

    def test_batches_are_bounded(self) -> None:
        wire = self.wire()
        big = b"x" * (BATCH // 2)
        wire.posters = 2
        wire.queue(Post([b"1", big, big, b"2"]))
        wire.queue(Post([b"3" * BATCH * 2, b"4"]))
        assert wire.batch() == [b"1", big]
        assert wire.batch() == [big, b"2"]
        assert wire.posters == 1
        assert wire.batch() == [b"3" * BATCH * 2]
        assert wire.batch() == [b"4"]
        assert wire.posters == 0
        assert wire.batch() == []

    def test_what_is_no_text_is_not_dressed(self) -> None:
        assert self.wire().dress(b"a\n\n", b"\xff", False) is None
        assert self.wire().dress(b"a\n\n", b"x", True) == b'"a\\n\\nx"'

    def test_nothing_makes_a_poll_answer(self) -> None:
        assert self.wire().ping() is None

    def test_a_wake_that_comes_early(self) -> None:
        wire = self.wire()
        wire.park(10.0)
        assert wire.wake(14.9) == []
        assert wire.deadline == 15.0
        assert [type(each).__name__ for each in wire.wake(15.0)] == ["Closed"]
        assert wire.deadline is None
        assert wire.wake(20.0) == []

    def test_one_that_has_ended_is_not_parked(self) -> None:
        wire = self.wire()
        wire.ended(1.0)
        wire.park(2.0)
        assert wire.deadline == 61.0

    def test_equal_messages_are_packed_once(self) -> None:
        track = Track(FORMATS["xhr_streaming"], HttpFraming(chunked=True, last=False))
        chunks = [b'"1"', b'"2"']
        part, size = track.pack(chunks)
        assert (part, size) == (b'b\r\na["1","2"]\n\r\n', 11)
        assert track.pack(list(chunks))[0] is part
        assert track.pack(chunks[:1]) == (b'7\r\na["1"]\n\r\n', 7)
        assert track.pack([chunks[0], b'"3"'])[0] == b'b\r\na["1","3"]\n\r\n'

    def test_a_group_gets_what_was_packed_once(self) -> None:
        with Web() as web:
            clients = [Client(web, f"s{n}", "xhr_streaming").connect("/topic/a") for n in range(3)]
            for number in range(4):
                web.app.template.send("/topic/a", b"%d" % number)
            web.publish("4")
            for client in clients:
                assert client.bodies() == list("01234")

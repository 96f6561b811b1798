"""Posts for a session that is not read: they wait, in bounds, and none is lost."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from stocksync_ws.config import Limits
from tests.wire.sockjs.client import CONNECT, Client, Web
from tests.wire.sockjs.slow import Slow, half, text


@pytest.fixture
def web() -> Iterator[Web]:
    with Web() as web:
        yield web


class TestBackPressure:
    def test_a_thousand_posts_beside_one_blocked_handler(self) -> None:
        slow = Slow()
        with slow.web as web:
            assert slow.client.post(text("0", "/app/slow")).status == 204
            body = json.dumps([text("x" * 6_000)])
            posts = [half(web, body, len(body)) for _ in range(1_000)]
            inbound = slow.session.inbound
            wire = web.sessions.find("s1")
            assert slow.session.paused
            assert inbound.size <= 65_536 + 65_536
            statuses = [answer.status for _, answer in posts]
            waiting = statuses.count(0)
            assert waiting == wire.posters == 8
            taken = statuses.count(204)
            assert 10 <= taken <= 22
            assert statuses.count(503) == 1_000 - 8 - taken
            assert statuses == [204] * taken + [0] * 8 + [503] * (1_000 - 8 - taken)
            slow.release()
            for line, _ in posts:
                line.read()
            assert [answer.status for _, answer in posts].count(204) == taken + 8
            assert wire.posters == 0
            assert len(slow.client.bodies()) == taken + 8
            assert not slow.session.paused

    def test_many_small_messages_count_too(self) -> None:
        slow = Slow()
        with slow.web as web:
            wire, inbound, most = web.sessions.find("s1"), slow.session.inbound, 0
            slow.client.post(text("0", "/app/slow"))
            body = json.dumps([text("0", "/app/slow"), *["\n"] * 4_000])
            for _ in range(12):
                half(web, body, len(body))
                most = max(most, inbound.size)
            assert wire.posters == 8
            while slow.gate is not None:
                slow.release()
                most = max(most, inbound.size)
                slow.client.pump()
            assert len(slow.heard) == 9
            assert most <= 2 * 65_536
            assert (wire.posters, inbound.size) == (0, 0)

    def test_a_body_of_a_session_that_is_not_read_is_not_read_either(self) -> None:
        slow = Slow("xhr_streaming", limits=Limits(frame_timeout=10))
        with slow.web as web:
            slow.client.post(text("0", "/app/slow"))
            for _ in range(3):
                slow.client.post(text("x" * 40_000))
            assert slow.session.paused
            body = json.dumps([text("y" * 50_000)] * 10)
            line, answer = half(web, body, 60_000)
            assert not line.stream.paused
            line.feed(body[60_000:70_000].encode())
            assert line.stream.paused
            small, _ = half(web, "[]", 1)
            assert not small.stream.paused
            # Waiting is no fault of the client's: its time stands still.
            web.world.advance(28)
            slow.release()
            assert not line.stream.paused
            web.world.advance(9)
            for at in range(70_000, len(body), 65_536):
                assert not line.stream.paused
                line.feed(body[at : at + 65_536].encode())
            web.world.advance(1)
            line.read()
            assert answer.status == 204
            assert slow.client.bodies().count("y" * 50_000) == 10
            small.eof()

    def test_a_body_that_was_long_before_the_session_was_not_read(self) -> None:
        slow = Slow()
        with slow.web as web:
            body = json.dumps([text("y" * 50_000)] * 4)
            line, answer = half(web, body, 100_000)
            slow.client.post(text("0", "/app/slow"))
            assert not line.stream.paused
            for _ in range(3):
                slow.client.post(text("x" * 40_000))
            assert line.stream.paused
            slow.release()
            assert not line.stream.paused
            line.feed(body[100_000:].encode())
            assert answer.status == 204
            slow.client.pump()

    def test_one_that_is_too_large_all_the_same(self) -> None:
        """What was on its way when reading stopped: the end of the connection is awaited."""
        slow = Slow(limits=Limits(sockjs_body=100_000))
        with slow.web as web:
            slow.client.post(text("0", "/app/slow"))
            for _ in range(3):
                slow.client.post(text("x" * 40_000))
            line, answer = half(web, "x" * 200_000, 70_000)
            assert line.stream.paused
            line.feed(b"x" * 60_000)
            assert answer.status == 413
            assert not line.stream.paused
            slow.release()

    def test_the_receiver_goes_on(self) -> None:
        """Its connection is read, so that its end is seen; its frames leave."""
        slow = Slow()
        with slow.web as web:
            slow.client.post(text("0", "/app/slow"))
            for _ in range(4):
                slow.client.post(text("x" * 40_000))
            assert slow.session.paused
            assert slow.client.line is not None
            assert not slow.client.line.stream.paused
            web.publish("1")
            assert slow.client.bodies() == ["1"]
            slow.release()

    def test_posts_of_a_paused_session_wait_without_a_receiver_too(self) -> None:
        slow = Slow()
        with slow.web as web:
            web.publish("first")
            slow.client.take_answer()
            slow.client.post(text("0", "/app/slow"))
            posts = [half(web, json.dumps([text("x" * 40_000)]), 50_000) for _ in range(4)]
            assert [answer.whole for _, answer in posts].count(False) >= 1
            slow.client.pump()
            slow.release()
            for line, answer in posts:
                line.read()
                assert answer.status == 204
            assert len(slow.client.bodies()) == 5

    def test_before_connected_only_so_much(self, web: Web) -> None:
        client = Client(web)
        client.pump()
        client.post("CONNECT\na:" + "x" * 20_000)
        client.pump()
        assert client.closed is not None
        assert client.stomp[0].headers["code"] == "limit"
        assert client.closed[0] == 1009

    def test_connect_and_more_in_one_post(self, web: Web) -> None:
        client = Client(web)
        client.pump()
        subscribe = "SUBSCRIBE\nid:1\ndestination:/topic/a\n\n\0"
        client.post(CONNECT, subscribe, text("1"), text("2")[:9], text("2")[9:])
        client.pump()
        commands = [frame.command for frame in client.stomp]
        assert commands == ["CONNECTED", "MESSAGE", "MESSAGE"]

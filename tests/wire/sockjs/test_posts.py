"""Requests that bring messages of a session: what is taken, in which order, and when it is not."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from stocksync_ws.config import Limits, SockJSOptions
from stocksync_ws.types import Alive, Detached
from stocksync_ws.wire.answer import Answer as WholeAnswer
from stocksync_ws.wire.framing import HttpFraming
from stocksync_ws.wire.sockjs.posts import Poster
from stocksync_ws.wire.sockjs.sessions import SockJSSessions
from tests.wire.sockjs.client import Answer, Client, Web
from tests.wire.sockjs.slow import Slow, half, text

SENDS = ("xhr_send", "jsonp_send")
TO_SLOW = "SEND\ndestination:/app/slow\n\n{}\0"


@pytest.fixture
def web() -> Iterator[Web]:
    with Web() as web:
        yield web


class TestAnswers:
    def test_of_xhr_send(self, web: Web) -> None:
        Client(web).connect()
        answer = web.ask("POST", "/0/s1/xhr_send", '["\\n"]')
        assert (answer.status, answer.body) == (204, b"")
        assert answer.get("content-type") == "text/plain; charset=UTF-8"
        assert answer.get("transfer-encoding") is None

    def test_of_jsonp_send(self, web: Web) -> None:
        Client(web).connect()
        answer = web.ask("POST", "/0/s1/jsonp_send", "d=%5B%22%5Cn%22%5D")
        assert (answer.status, answer.body) == (200, b"ok")
        assert answer.get("content-type") == "text/plain; charset=UTF-8"

    @pytest.mark.parametrize(
        "kind",
        ["text/plain", "T", "application/json", "application/xml", "", "text/xml"]
        + ["application/json; charset=utf-8", "text/xml; charset=utf-8"],
    )
    def test_xhr_send_takes_any_content_type(self, web: Web, kind: str) -> None:
        client = Client(web).connect("/topic/a")
        body = json.dumps([text("1")])
        answer = web.ask("POST", "/0/s1/xhr_send", body, {"Content-Type": kind})
        assert answer.status == 204
        assert client.bodies() == ["1"]

    @pytest.mark.parametrize(
        ("kind", "raw"),
        [
            ("application/x-www-form-urlencoded", False),
            ("application/x-www-form-urlencoded; charset=UTF-8", False),
            (None, False),
            ("text/plain", True),
            ("text/plain; charset=UTF-8", True),
            ("Text/Plain;charset=utf-8", True),
        ],
    )
    def test_jsonp_send_takes_forms_and_text(self, web: Web, kind: str | None, raw: bool) -> None:
        client = Client(web).connect("/topic/a")
        data = json.dumps([text("100% + é")])
        body = data if raw else "d=" + "".join(f"%{byte:02X}" for byte in data.encode())
        answer = web.ask("POST", "/0/s1/jsonp_send", body, {"Content-Type": kind} if kind else {})
        assert answer.body == b"ok"
        assert client.bodies() == ["100% + é"]

    @pytest.mark.parametrize(
        ("body", "problem"),
        [
            ("", "Payload expected."),
            ("{}", "Payload expected."),
            ('"x"', "Payload expected."),
            ("[1]", "Payload expected."),
            ('["x', "Broken JSON encoding."),
        ],
    )
    @pytest.mark.parametrize("name", SENDS)
    def test_a_bad_post_is_told_and_harms_nobody(
        self, web: Web, name: str, body: str, problem: str
    ) -> None:
        client = Client(web).connect("/topic/a")
        line = web.line()
        answer = line.ask("POST", f"/ws/0/s1/{name}", body, {"Content-Type": "text/plain"})
        assert answer.status == 500
        assert problem in answer.body.decode()
        assert answer.get("content-type") == "text/plain; charset=utf-8"
        good = line.ask("POST", "/ws/0/s1/xhr_send", json.dumps([text("1")]))
        assert good.status == 204
        assert client.bodies() == ["1"]

    @pytest.mark.parametrize("body", ["", "d=", "x=1", "d"])
    def test_a_form_without_the_field(self, web: Web, body: str) -> None:
        Client(web).connect()
        answer = web.ask("POST", "/0/s1/jsonp_send", body)
        assert answer.status == 500
        assert b"Payload expected." in answer.body

    @pytest.mark.parametrize("name", SENDS)
    def test_no_messages(self, web: Web, name: str) -> None:
        client = Client(web).connect("/topic/a")
        for body in ("[]", '[""]'):
            answer = web.ask("POST", f"/0/s1/{name}", body, {"Content-Type": "text/plain"})
            assert answer.status == (204 if name == "xhr_send" else 200)
        assert web.sessions.find("s1").posters == 0
        assert client.bodies() == []

    def test_a_post_without_a_length_is_empty(self, web: Web) -> None:
        Client(web).connect()
        line = web.line()
        for _ in range(2):
            assert line.head("POST", "/ws/0/s1/xhr_send").status == 500
        assert line.head("POST", "/ws/0/s1/xhr_send", version="1.0").status == 500
        assert web.sessions.find("s1").posters == 0

    def test_chunked(self, web: Web) -> None:
        client = Client(web).connect("/topic/a")
        line = web.line()
        answer = line.head("POST", "/ws/0/s1/xhr_send", {"Transfer-Encoding": "chunked"})
        for part in (json.dumps([text("1")])[:9], json.dumps([text("1")])[9:]):
            line.feed(f"{len(part):x}\r\n{part}\r\n".encode())
        assert not answer.whole
        line.feed(b"0\r\n\r\n")
        assert answer.status == 204
        assert line.ask("POST", "/ws/0/s1/xhr_send", json.dumps([text("2")])).status == 204
        assert client.bodies() == ["1", "2"]

    def test_a_broken_coding(self, web: Web) -> None:
        client = Client(web).connect("/topic/a")
        line = web.line()
        answer = line.head("POST", "/ws/0/s1/xhr_send", {"Transfer-Encoding": "chunked"})
        line.feed(b"zz\r\n")
        assert answer.status == 400
        assert not line.open
        assert web.sessions.find("s1").posters == 0
        assert client.bodies() == []

    def test_the_client_asks_first(self, web: Web) -> None:
        client = Client(web).connect("/topic/a")
        body = json.dumps([text("1")])
        line = web.line()
        headers = {"Content-Length": str(len(body)), "Expect": "100-continue"}
        answer = line.head("POST", "/ws/0/s1/xhr_send", headers)
        assert answer.continues == 1
        line.feed(body.encode())
        assert answer.status == 204
        assert client.bodies() == ["1"]

    def test_it_comes_byte_by_byte(self, web: Web) -> None:
        client = Client(web).connect("/topic/a")
        line = web.line()
        answer = Answer("POST")
        line._asked.append(answer)
        body = json.dumps([text("é 1")], ensure_ascii=False).encode()
        head = f"POST /ws/0/s1/xhr_send HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n"
        for byte in head.encode() + body:
            line.feed(bytes([byte]))
        assert answer.status == 204
        assert client.bodies() == ["é 1"]

    def test_many_at_once_in_order(self, web: Web) -> None:
        client = Client(web).connect("/topic/a")
        numbers = [str(number) for number in range(4_096)]
        assert client.post(*(text(number) for number in numbers)).status == 204
        web.world.advance(1)
        assert client.bodies() == numbers


class TestBounds:
    """Over a bound, nothing of the body is taken, and the session goes on."""

    def refused(self, web: Web, *messages: str) -> None:
        client = Client(web).connect("/topic/a")
        assert client.post(*messages).status == 413
        assert web.sessions.find("s1").posters == 0
        assert client.post(text("after")).status == 204
        assert client.bodies() == ["after"]

    def test_a_body(self) -> None:
        with Web(limits=Limits(sockjs_body=100_000)) as web:
            self.refused(web, text("1"), *["\n" * 60_000, "\n" * 60_000])

    def test_a_body_of_the_bound(self, web: Web) -> None:
        client = Client(web).connect("/topic/a")
        body = json.dumps([text("1")]).ljust(1_048_576)
        assert web.ask("POST", "/0/s1/xhr_send", body).status == 204
        assert web.ask("POST", "/0/s1/xhr_send", body + " ").status == 413
        assert client.bodies() == ["1"]

    def test_its_connection_is_closed(self, web: Web) -> None:
        Client(web).connect()
        line = web.line()
        answer = line.head("POST", "/ws/0/s1/xhr_send", {"Content-Length": "100000000"})
        for _ in range(20):
            line.feed(b" " * 65_536)
        assert answer.status == 413
        assert answer.get("connection") == "close"
        assert not line.open

    def test_a_message(self) -> None:
        with Web(limits=Limits(max_message_size=20_000)) as web:
            self.refused(web, text("1"), "x" * 20_001)

    def test_their_number(self, web: Web) -> None:
        self.refused(web, *[text("1")] * 4_097)

    def test_time(self, web: Web) -> None:
        client = Client(web).connect("/topic/a")
        line, answer = half(web, json.dumps([text("1")]), 5)
        web.world.advance(29)
        line.read()
        assert not answer.whole
        web.world.advance(1.1)
        line.read()
        assert answer.status == 408
        assert not line.open
        assert web.sessions.find("s1").posters == 0
        assert client.bodies() == []


class TestOrder:
    def test_that_of_becoming_whole(self, web: Web) -> None:
        client = Client(web).connect("/topic/a")
        first, second = json.dumps([text("1"), text("2")]), json.dumps([text("3")])
        line, answer = half(web, first, 10)
        other, quick = half(web, second, 10)
        other.feed(second[10:].encode())
        assert quick.status == 204
        assert not answer.whole
        line.feed(first[10:].encode())
        assert answer.status == 204
        assert client.bodies() == ["3", "1", "2"]

    def test_pipelined(self, web: Web) -> None:
        client = Client(web).connect("/topic/a")
        line = web.line()
        data = b""
        for number in range(5):
            line._asked.append(Answer("POST"))
            body = json.dumps([text(str(number))]).encode()
            data += b"POST /ws/0/s1/xhr_send HTTP/1.1\r\nHost: a\r\n"
            data += b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
        asked = list(line._asked)
        line.feed(data)
        assert [answer.status for answer in asked] == [204] * 5
        assert client.bodies() == list("01234")


class TestCut:
    @pytest.mark.parametrize("cut", [0, 1, 20, -1])
    def test_a_body_that_is_cut_has_no_effect(self, web: Web, cut: int) -> None:
        client = Client(web).connect("/topic/a")
        body = json.dumps([text("1"), text("2")])
        line, answer = half(web, body, cut if cut >= 0 else len(body) + cut)
        assert web.sessions.find("s1").posters == 1
        line.eof()
        assert not answer.whole
        assert web.sessions.find("s1").posters == 0
        client.post(text("3"))
        assert client.bodies() == ["3"]

    def test_one_that_was_whole_is_taken(self) -> None:
        slow = Slow()
        with slow.web as web:
            slow.client.post(text("0", "/app/slow"))
            for _ in range(3):
                slow.client.post(text("x" * 40_000))
            line, answer = half(web, json.dumps([text("last")]), 10_000)
            assert not answer.whole
            assert web.sessions.find("s1").posters
            line.eof()
            slow.release()
            assert slow.client.bodies()[-1] == "last"
            assert web.sessions.find("s1").posters == 0

    def test_its_session_ends_meanwhile(self, web: Web) -> None:
        client = Client(web, transport="xhr_streaming").connect("/topic/a")
        body = json.dumps([text("1")])
        line, answer = half(web, body, 10)
        client.cut()
        assert not answer.whole
        line.feed(body[10:].encode())
        assert answer.status == 404
        assert line.open
        assert line.ask("GET", "/ws/info").status == 200

    def test_its_session_ends_while_it_waits(self) -> None:
        slow = Slow()
        with slow.web as web:
            slow.client.post(text("0", "/app/slow"))
            for _ in range(3):
                slow.client.post(text("x" * 40_000))
            line, answer = half(web, json.dumps([text("last")]), 10_000)
            assert not answer.whole
            slow.client.cut()
            line.read()
            assert answer.status == 404
            assert line.open
            assert not web.world.runtime.driver._links._bringing
            slow.release()
            web.world.advance(10)


class TestUnread:
    @pytest.mark.parametrize("name", SENDS)
    def test_a_post_that_nobody_reads_ends_its_connection(self, web: Web, name: str) -> None:
        line = web.line()
        answer = line.ask("POST", f"/ws/0/nobody/{name}", '["x"]')
        assert answer.status == 404
        assert answer.get("connection") == "close"
        assert not line.open


class TestNothing:
    """What it may be asked when there is nothing to do."""

    def test_it(self) -> None:
        wire = SockJSSessions(SockJSOptions(), Limits()).open("a", None)
        framing, done = HttpFraming(chunked=True, last=False), WholeAnswer(204, (), b"")
        poster = Poster(wire, framing, Limits(), done=done, cors=(), form=False)
        assert [type(event) for event in poster.start(0.0)] == [Alive]
        assert poster.wake(1.0) == []
        assert poster.resume(1.0) == []
        assert [type(event) for event in poster.receive(b"[]", 1.0)] == [Alive]
        assert [type(event) for event in poster.receive(b"", 1.0)] == [Detached]
        assert poster.receive(b"x", 1.0) == poster.resume(1.0) == poster.wake(99.0) == []
        assert poster.lost(1.0) == []
        assert wire.posters == 0

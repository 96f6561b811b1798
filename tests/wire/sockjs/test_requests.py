"""Requests that carry a session: polls and streams, as bytes and in time."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from stocksync_ws import SockJSOptions
from stocksync_ws.config import Limits
from stocksync_ws.types import Attached, Closed, Detached, Handshake, HttpRequest
from stocksync_ws.wire.framing import HttpFraming
from stocksync_ws.wire.sockjs.frames import FORMATS
from stocksync_ws.wire.sockjs.requests import Notice, Receiver, Voice
from stocksync_ws.wire.sockjs.sessions import SockJSSessions, SockJSWire
from tests.wire.sockjs.client import Answer, Client, Web

STREAMS = [name for name, each in FORMATS.items() if each.streams]
POLLS = [name for name, each in FORMATS.items() if not each.streams]
METHODS = {name: each.method for name, each in FORMATS.items()}
QUERY = {"htmlfile": "?c=cb", "jsonp": "?c=cb"}
O = {name: each.wrap(b"o", "cb") for name, each in FORMATS.items()}  # noqa: E741


@pytest.fixture
def web() -> Iterator[Web]:
    with Web() as web:
        yield web


def target(transport: str, name: str = "s1") -> str:
    return f"/ws/0/{name}/{transport}{QUERY.get(transport, '')}"


class TestPolls:
    @pytest.mark.parametrize("transport", POLLS)
    def test_an_answer(self, web: Web, transport: str) -> None:
        line = web.line()
        answer = line.ask(METHODS[transport], target(transport))
        assert answer.status == 200
        assert answer.http_version == "1.1"
        assert answer.get("content-type") == FORMATS[transport].content_type
        assert answer.get("content-length") == str(len(O[transport]))
        assert answer.get("transfer-encoding") is None
        assert answer.get("connection") is None
        assert answer.body == O[transport]
        assert line.open

    def test_all_that_waits_in_one_frame(self, web: Web) -> None:
        client = Client(web).connect("/topic/a")
        web.publish("1")
        client.take_answer()
        for number in range(2, 7):
            web.publish(str(number))
        frames = len(client.frames)
        assert client.bodies() == list("123456")
        assert len(client.frames) == frames + 1
        assert client.frames[-1].startswith("a[")

    def test_at_most_64_kib_in_one(self, web: Web) -> None:
        client = Client(web).connect("/topic/a")
        web.publish("first")
        client.take_answer()
        sent = [f"{number}" + "x" * 20_000 for number in range(8)]
        for body in sent:
            web.publish(body)
        assert client.bodies() == ["first", *sent]
        assert max(len(answer.body) for answer in client.answers) < 70_000

    def test_never_an_answer_without_a_frame(self, web: Web) -> None:
        """The client would ask again at once, for ever; `pump` looks at each answer."""
        client = Client(web).connect("/topic/a")
        before = len(client.answers)
        web.world.advance(24)
        client.pump()
        assert len(client.answers) == before

    def test_a_body_is_not_possible(self, web: Web) -> None:
        line = web.line()
        answer = line.ask("POST", target("xhr"), b"x")
        assert answer.status == 413
        assert answer.get("connection") == "close"
        assert web.sessions.find("s1") is None

    @pytest.mark.parametrize("transport", POLLS)
    def test_1_0(self, web: Web, transport: str) -> None:
        line = web.line()
        answer = line.head(METHODS[transport], target(transport), version="1.0")
        assert answer.body == O[transport]
        assert answer.get("connection") == "close"
        assert not line.open
        assert web.ask("POST", "/0/s1/xhr_send", "[]").status == 204

    def test_the_client_wants_to_close(self, web: Web) -> None:
        line = web.line()
        answer = line.ask("POST", target("xhr"), headers={"Connection": "close"})
        assert answer.body == b"o\n"
        assert answer.get("connection") == "close"
        assert not line.open

    @pytest.mark.parametrize("transport", POLLS)
    def test_a_session_on_one_connection(self, web: Web, transport: str) -> None:
        """Polls and posts by turns, kept alive."""
        line = web.line()
        assert line.ask(METHODS[transport], target(transport)).body == O[transport]
        for _ in range(3):
            assert line.ask("POST", "/ws/0/s1/xhr_send", "[]").status == 204
        assert line.ask("GET", "/ws/info").status == 200
        assert line.open

    def test_pipelined(self, web: Web) -> None:
        """What came behind a poll waits until it is answered, and is then read."""
        client = Client(web).connect("/topic/a")
        line = client.line
        assert line is not None
        asked = [client.answers[-1], *(Answer("POST") for _ in range(2))]
        line._asked.extend(asked[1:])
        line.feed(b"POST /ws/0/s1/xhr_send HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n[]")
        line.feed(b"POST /ws/0/s1/xhr HTTP/1.1\r\nHost: a\r\n\r\n")
        assert [answer.whole for answer in asked] == [False, False, False]
        web.publish("1")
        line.read()
        assert [answer.status for answer in asked] == [200, 204, 0]
        web.publish("2")
        line.read()
        assert [b"MESSAGE" in answer.body for answer in asked] == [True, False, True]

    def test_pipelined_openings(self, web: Web) -> None:
        line = web.line()
        asked = [Answer("POST") for _ in range(3)]
        line._asked.extend(asked)
        heads = [f"POST /ws/0/p{n}/xhr HTTP/1.1\r\nHost: a\r\n\r\n" for n in range(3)]
        line.feed("".join(heads).encode())
        assert [answer.body for answer in asked] == [b"o\n"] * 3


class TestStreams:
    @pytest.mark.parametrize("transport", STREAMS)
    def test_the_beginning(self, web: Web, transport: str) -> None:
        line = web.line()
        answer = line.ask(METHODS[transport], target(transport))
        assert answer.status == 200
        assert answer.get("content-type") == FORMATS[transport].content_type
        assert answer.get("transfer-encoding") == "chunked"
        assert answer.get("content-length") is None
        assert answer.chunks == [FORMATS[transport].prelude("cb"), O[transport]]
        assert not answer.whole
        line.eof()

    @pytest.mark.parametrize("transport", STREAMS)
    def test_one_chunk_a_frame(self, web: Web, transport: str) -> None:
        client = Client(web, transport=transport).connect("/topic/a")
        before = len(client.answers[-1].chunks)
        for number in range(3):
            web.publish(str(number))
        assert client.bodies() == ["0", "1", "2"]
        chunks = client.answers[-1].chunks[before:]
        assert len(chunks) == 3
        ends = {"xhr_streaming": b"\n", "eventsource": b"\r\n\r\n", "htmlfile": b"</script>\r\n"}
        assert all(chunk.endswith(ends[transport]) for chunk in chunks)

    @pytest.mark.parametrize("transport", STREAMS)
    def test_it_ends_after_so_many_bytes_and_nothing_is_lost(self, transport: str) -> None:
        options = SockJSOptions(htmlfile=True, stream_bytes=4_096)
        with Web(sockjs=options) as web:
            client = Client(web, transport=transport).connect("/topic/a")
            bodies = [f"{number} " + "x" * 700 for number in range(40)]
            for body in bodies[:20]:
                web.publish(body)
                client.pump()
            for body in bodies[20:]:
                web.publish(body)
            assert client.bodies() == bodies
            assert len(client.answers) > 4
            assert client.frames.count("o") == 1
            for answer in client.answers[:-1]:
                assert answer.whole
                prelude, *frames = answer.chunks
                assert prelude == FORMATS[transport].prelude("cb")
                sizes = [len(frame) for frame in frames if frame != O[transport]]
                assert sum(sizes) >= 4_096 > sum(sizes[:-1])

    def test_at_the_default_that_is_128_kib(self, web: Web) -> None:
        client = Client(web, transport="xhr_streaming").connect("/topic/a")
        for _ in range(3):
            web.publish("x" * 40_000)
            client.pump()
        assert len(client.answers) == 1
        web.publish("x" * 40_000)
        client.pump()
        assert [answer.whole for answer in client.answers] == [True, False]

    def test_the_prelude_does_not_count(self) -> None:
        with Web(sockjs=SockJSOptions(stream_bytes=1_000)) as web:
            client = Client(web, transport="xhr_streaming").connect("/topic/a")
            assert len(client.answers) == 1
            web.publish("x" * 1_000)
            client.pump()
            assert len(client.answers) == 2

    @pytest.mark.parametrize("transport", STREAMS)
    def test_1_0(self, transport: str) -> None:
        """Neither chunked nor kept alive: the body goes to the end of the stream."""
        with Web(sockjs=SockJSOptions(htmlfile=True, stream_bytes=100)) as web:
            client = Client(web, transport=transport).connect("/topic/a")
            web.publish("x" * 100)
            client.take_answer()
            line = web.line()
            answer = line.head(METHODS[transport], target(transport), version="1.0")
            assert answer.get("transfer-encoding") is None
            assert answer.get("content-length") is None
            assert answer.body == FORMATS[transport].prelude("cb")
            web.publish("y" * 100)
            line.read()
            assert b"y" * 100 in answer.body
            assert answer.whole
            assert not line.open

    def test_kept_alive_behind_a_stream(self) -> None:
        with Web(sockjs=SockJSOptions(stream_bytes=100)) as web:
            client = Client(web, transport="xhr_streaming").connect("/topic/a")
            line = client.line
            assert line is not None
            web.publish("x" * 100)
            client.take_answer()
            assert line.ask("GET", "/ws/info").status == 200
            assert line.open

    def test_a_slow_client_loses_nothing_at_the_end_of_a_stream(self) -> None:
        with Web(sockjs=SockJSOptions(stream_bytes=2_000)) as web:
            client = Client(web, transport="xhr_streaming").connect("/topic/a")
            bodies = [f"{number} " + "x" * 500 for number in range(12)]
            for body in bodies:
                assert client.line is not None
                client.line.stream.open_window(300)
                web.publish(body)
                web.world.settle()
                client.pump()
            client.window = None
            assert client.line is not None
            client.line.stream.open_window(None)
            assert client.bodies() == bodies


class TestHeartBeats:
    def test_a_poll_ends_with_one(self, web: Web) -> None:
        client = Client(web).connect()
        web.world.advance(24.9)
        client.pump()
        assert client.frames[-1] != "h"
        web.world.advance(0.2)
        client.pump()
        assert client.frames[-1] == "h"
        assert client.answers[-2].body == b"h\n"
        assert client.line is not None

    @pytest.mark.parametrize("transport", STREAMS)
    def test_a_stream_says_it_now_and_then(self, web: Web, transport: str) -> None:
        opener = Client(web).connect("/topic/a")
        web.publish("1")
        opener.take_answer()
        client = Client(web, transport=transport)
        client.attach()
        client._read(client.answers[0])
        web.world.advance(24.9)
        client.pump()
        assert client.frames == []
        web.world.advance(0.2)
        client.pump()
        assert client.frames == ["h"]
        web.world.advance(75)
        client.pump()
        assert client.frames == ["h", "h", "h", "h"]

    @pytest.mark.parametrize("after", [0.1, 5.0, 12.4, 12.6, 20.0, 24.9])
    @pytest.mark.parametrize("several", [False, True])
    def test_not_before_it_was_silent(self, web: Web, after: float, several: bool) -> None:
        """A heart-beat is for silence: STOMP's own beats keep it away."""
        client = Client(web, transport="xhr_streaming").connect("/topic/a")
        web.world.advance(after)
        if several:
            web.app.template.send("/topic/a", b"0")
        web.publish("1")
        web.world.advance(24.9)
        client.pump()
        assert "h" not in client.frames
        web.world.advance(12.7)
        client.pump()
        assert client.frames[-1] == "h"

    def test_the_interval_is_a_setting(self) -> None:
        with Web(sockjs=SockJSOptions(heart_beat=2.0)) as web:
            client = Client(web, transport="xhr_streaming")
            client.pump()
            web.world.advance(8.1)
            client.pump()
            assert client.frames == ["o", *"hhhh"]

    @pytest.mark.parametrize("transport", ["xhr", "xhr_streaming"])
    def test_none_behind_the_end_of_an_answer(self, transport: str) -> None:
        """The answer is whole, and its client takes it slowly."""
        options = SockJSOptions(heart_beat=2.0, stream_bytes=100)
        with Web(sockjs=options) as web:
            client = Client(web, transport=transport).connect("/topic/a")
            line = client.line
            assert line is not None
            line.stream.window = 0
            web.publish("x" * 200)
            web.publish("y" * 200)
            for _ in range(20):
                web.world.advance(1.0)
                line.stream.open_window(10)
            line.stream.open_window(None)
            assert client.bodies() == ["x" * 200, "y" * 200]
            assert "h" not in client.frames

    def test_one_that_waits_behind_what_is_unsent(self) -> None:
        with Web(sockjs=SockJSOptions(heart_beat=2.0)) as web:
            client = Client(web, transport="xhr_streaming").connect("/topic/a")
            assert client.line is not None
            client.line.stream.window = 5
            web.publish("x")
            web.world.advance(5.1)
            client.line.stream.open_window(None)
            assert client.bodies() == ["x"]
            assert client.frames[-1] == "h"

    def test_stomp_has_its_own(self) -> None:
        """Both kinds arrive; those of STOMP are messages, which alone stompjs sees."""
        with Web(heart_beat=(10, 0)) as web:
            client = Client(web, transport="xhr_streaming")
            client.pump()
            connect = "CONNECT\naccept-version:1.2\nheart-beat:0,10000\n\n\0"
            client.post(connect)
            web.world.advance(45)
            client.pump()
            assert client.messages[1:] == ["\n"] * 4
            assert "h" not in client.frames


class TestMessages:
    @pytest.mark.parametrize("transport", FORMATS)
    @pytest.mark.parametrize(
        "body",
        ["100% %20 %", "</script><b>&", "\u2028\u200d\ufeff\ufffe", "é😀", '"\\\n\t\r\x7f', "\x01"],
    )
    def test_every_text_arrives(self, web: Web, transport: str, body: str) -> None:
        client = Client(web, transport=transport).connect("/topic/a")
        client.send("SEND", {"destination": "/topic/a"}, body)
        assert client.bodies() == [body]

    @pytest.mark.parametrize("transport", FORMATS)
    def test_what_is_no_text_is_left_out_and_told(self, web: Web, transport: str) -> None:
        client = Client(web, transport=transport).connect("/topic/a")
        web.app.template.send("/topic/a", b"\xff")
        web.publish("1")
        web.publish("2")
        assert client.bodies() == ["1", "2"]
        assert [frame.headers.get("dropped") for frame in client.stomp] == ["1", None]

    def test_crowds_of_one_topic(self) -> None:
        """Polls and streams, 1.0 and 1.1: each gets its own framing of the same messages."""
        with Web() as web:
            clients = [
                Client(web, f"s{n}{name}", name).connect("/topic/a")
                for n in range(2)
                for name in FORMATS
            ]
            for number in range(3):
                web.publish(str(number))
            for client in clients:
                assert client.bodies() == ["0", "1", "2"]


class TestBounds:
    def test_a_session_that_nobody_carries_keeps_its_bounds(self) -> None:
        with Web(
            limits=Limits(send_queue=10_000), sockjs=SockJSOptions(disconnect_delay=30)
        ) as web:
            client = Client(web).connect("/topic/a")
            web.publish("0")
            client.take_answer()
            for _ in range(20):
                web.publish("x" * 1_000)
            web.world.advance(2)
            client.pump()
            assert client.closed is not None
            assert client.closed[0] == 4008

    def test_a_stream_that_is_not_read(self) -> None:
        with Web(limits=Limits(send_queue=10_000)) as web:
            client = Client(web, transport="xhr_streaming").connect("/topic/a")
            assert client.line is not None
            client.line.stream.window = 0
            for _ in range(20):
                web.publish("x" * 1_000)
            web.world.advance(10)
            assert not web.broker.sessions
            assert json.loads(web.ask("POST", "/0/s1/xhr").body[1:])[0] in (1002, 4008)


class TestNothing:
    """What a connection may be asked that does not concern this kind of request."""

    def wire(self) -> tuple[SockJSSessions, SockJSWire, Voice]:
        sessions = SockJSSessions(SockJSOptions(), Limits())
        framing = HttpFraming(chunked=True, last=False)
        return sessions, sessions.open("a", None), Voice(FORMATS["xhr_streaming"], framing, (), "")

    def test_of_a_notice(self) -> None:
        _, wire, voice = self.wire()
        notice = Notice(wire, voice, b"c[1,2]", ends=True)
        handshake = Handshake(HttpRequest("POST", "/"), wire, None)
        assert [type(event) for event in notice.start(0.0)] == [Closed, Detached]
        assert notice.receive(b"x", 0.0) == []
        assert notice.accept(handshake, 0.0) == []
        assert notice.refuse(handshake, 403, "", 0.0) == []
        assert notice.resume(0.0) == notice.lost(0.0) == []
        assert notice.wake(99.0) == notice.detach(0.0) == []
        assert b"c[1,2]\n" in b"".join(notice.take())
        assert notice.take() == []

    def test_of_a_receiver(self) -> None:
        sessions, wire, voice = self.wire()
        receiver = Receiver(sessions, wire, voice, None)
        assert [type(event) for event in receiver.start(0.0)] == [Attached]
        assert receiver.wake(1.0) == []
        assert [type(event) for event in receiver.detach(1.0)] == [Detached]
        assert receiver.detach(2.0) == receiver.lost(2.0) == receiver.wake(99.0) == []
        assert wire.deadline == 6.0

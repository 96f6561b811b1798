"""SockJS over WebSocket: framed, and raw at `/websocket`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from stocksync_ws import SessionConnected, SockJSOptions, StompApp
from stocksync_ws.config import Limits
from stocksync_ws.stomp.encoder import encode
from stocksync_ws.stomp.frame import Version
from stocksync_ws.testing.peer import BINARY, PING, Peer, client_frame
from stocksync_ws.types import Alive, Closed, Message
from stocksync_ws.wire.sockjs.websocket import FramedScopeWire, FramedWire, unframe
from tests.wire.sockjs.client import CONNECT, Client, Web

FRAMED = "/ws/000/s1/websocket"
RAW = "/ws/websocket"
LIMITS = Limits(sockjs_messages=3, max_message_size=20_000, sockjs_body=50_000)


@pytest.fixture
def web() -> Iterator[Web]:
    with Web() as web:
        yield web


def open_socket(web: Web, path: str = FRAMED, **headers: str) -> Peer:
    """A WebSocket below the endpoint."""
    return Peer(web.world, web.line().stream, path, headers)


def connect(web: Web, *destinations: str) -> Peer:
    """A framed one that is CONNECTED and has subscribed."""
    peer = open_socket(web)
    assert peer.raw() == [b"o"]
    peer.send(json.dumps([CONNECT]))
    for number, destination in enumerate(destinations):
        peer.send(json.dumps([f"SUBSCRIBE\nid:{number}\ndestination:{destination}\n\n\0"]))
    assert [message[:12] for message in peer.raw()] == [b'a["CONNECTED']
    return peer


def texts(peer: Peer) -> list[str]:
    """The messages in the messages that have come."""
    found: list[str] = []
    for message in peer.raw():
        assert message.startswith(b"a["), message
        found += json.loads(message[1:])
    return found


def send(body: str, destination: str = "/topic/a") -> str:
    return encode("SEND", {"destination": destination}, body.encode(), Version.V12).decode()


class TestFramed:
    def test_the_opening(self, web: Web) -> None:
        peer = open_socket(web, Sec_WebSocket_Protocol="")
        assert b" 101 " in peer.response
        assert peer.raw() == [b"o"]
        assert peer.texts == [True]

    def test_no_protocol_is_chosen(self, web: Web) -> None:
        peer = open_socket(web)  # offers three
        assert b"sec-websocket-protocol" not in peer.response.lower()

    def test_one_text_message_a_frame(self, web: Web) -> None:
        peer = connect(web, "/topic/a")
        for number in range(3):
            web.publish(f"{number} % <b>\u2028é")
        messages = peer.raw()
        assert len(messages) == 3
        assert all(not message.endswith(b"\n") for message in messages)
        assert all(b"\\u2028" in message for message in messages)
        assert set(peer.texts) == {True}
        bodies = [json.loads(message[1:])[0].partition("\n\n")[2] for message in messages]
        assert bodies == [f"{number} % <b>\u2028é\0" for number in range(3)]

    @pytest.mark.parametrize(
        "sent",
        [
            json.dumps([send("1"), send("2")]),
            json.dumps(send("1") + send("2")),
            json.dumps(["", send("1"), "", send("2")]),
            json.dumps([send("1")[:9], send("1")[9:] + send("2")]),
        ],
    )
    def test_what_the_client_sends(self, web: Web, sent: str) -> None:
        peer = connect(web, "/topic/a")
        peer.send(sent)
        assert [text.partition("\n\n")[2] for text in texts(peer)] == ["1\0", "2\0"]

    def test_in_pieces_and_binary(self, web: Web) -> None:
        peer = connect(web, "/topic/a")
        data = json.dumps([send("1")]).encode()
        peer.feed(client_frame(1, data[:5], fin=False))
        peer.feed(client_frame(PING, b"?"))
        peer.feed(client_frame(0, data[5:]))
        peer.feed(client_frame(BINARY, data))
        assert [text.partition("\n\n")[2] for text in texts(peer)] == ["1\0", "1\0"]
        assert peer.pongs == [b"?"]

    @pytest.mark.parametrize("empty", ["", "[]", '""', '[""]'])
    def test_what_is_empty_is_a_sign_of_life(self, empty: str) -> None:
        with Web(heart_beat=(0, 10)) as web:
            peer = open_socket(web)
            peer.send(json.dumps("CONNECT\naccept-version:1.2\nheart-beat:10000,0\n\n\0"))
            for _ in range(10):
                web.world.advance(9)
                peer.send(empty)
            assert peer.closed is None
            web.world.advance(60)
            assert peer.closed is not None

    @pytest.mark.parametrize(
        ("sent", "code"),
        [
            ('["x', 1007),
            ("x", 1007),
            ("1", 1007),
            ("{}", 1007),
            ("[1]", 1007),
            ('["a\\ud800"]', 1007),
            (json.dumps(["\n"] * 4), 1009),
            (json.dumps("x" * 20_001), 1009),
            (" " * 50_001, 1009),
        ],
        ids=lambda value: str(value)[:12],
    )
    def test_what_cannot_be_read_ends_it(self, sent: str, code: int) -> None:
        with Web(limits=LIMITS) as web:
            watcher = Client(web, transport="xhr_streaming").connect("/topic/a")
            peer = connect(web)
            good = json.dumps([send("behind")])
            data = b"".join(client_frame(1, each.encode()) for each in (sent, good))
            peer.answers_close = False
            peer.feed(data)
            peer.send(good)
            *errors, last = peer.raw()
            assert json.loads(last[1:])[0] == code
            assert last.startswith(b"c[")
            assert [error[:8] for error in errors] == ([b'a["ERROR'] if code == 1009 else [])
            # What cannot be read at all ends the stream abruptly.
            assert peer.closed == (None if code == 1007 else code)
            assert watcher.bodies() == []
            web.world.advance(6)
            assert len(web.broker.sessions) == 1

    def test_each_text_may_be_as_long_as_a_frame_of_stomp(self) -> None:
        with Web(limits=LIMITS) as web:
            peer = connect(web, "/topic/a")
            bodies = [str(number) + "x" * 15_000 for number in range(3)]
            peer.send(json.dumps([send(body) for body in bodies]))
            assert [text.partition("\n\n")[2][:-1] for text in texts(peer)] == bodies

    def test_the_close_frame_comes_before_the_close(self, web: Web) -> None:
        peer = connect(web)
        peer.send(json.dumps(["NONSENSE\n\n\0"]))
        error, last = peer.raw()
        assert error.startswith(b'a["ERROR')
        assert json.loads(last[1:])[0] == peer.closed == 1002
        assert not web.broker.sessions
        assert peer.stream.ended

    def test_the_client_closes(self, web: Web) -> None:
        peer = connect(web)
        peer.close(1000)
        assert peer.closed == 1000
        assert peer.raw() == []
        assert not web.broker.sessions

    def test_it_ends_with_its_connection(self, web: Web) -> None:
        peer = connect(web)
        peer.eof()
        assert not web.broker.sessions
        assert web.sessions.find("s1") is None

    def test_it_has_nothing_to_do_with_sessions_of_the_same_name(self, web: Web) -> None:
        first, second = connect(web, "/topic/a"), connect(web, "/topic/a")
        assert web.ask("POST", "/000/s1/xhr_send", '["x"]').status == 404
        Client(web, "s1").connect()
        web.publish("1")
        assert [len(texts(peer)) for peer in (first, second)] == [1, 1]
        assert len(web.broker.sessions) == 3

    def test_heart_beats_of_stomp_are_messages(self) -> None:
        with Web(heart_beat=(10, 0)) as web:
            peer = open_socket(web)
            peer.send(json.dumps("CONNECT\naccept-version:1.2\nheart-beat:0,10000\n\n\0"))
            peer.raw()
            web.world.advance(25)
            assert set(peer.raw()) == {b'a["\\n"]'}

    def test_a_silent_client_is_asked_by_a_ping(self, web: Web) -> None:
        peer = connect(web)
        web.world.advance(30)
        assert peer.pings
        assert peer.raw() == []

    def test_the_transport_is_told(self) -> None:
        told: list[str] = []
        app = StompApp("/ws", sockjs=True)

        @app.event_listener(SessionConnected)
        async def listen(event: SessionConnected) -> None:
            told.append(event.transport)

        with Web(app) as web:
            connect(web)
            open_socket(web, RAW).connect()
        assert told == ["websocket", "websocket"]

    def test_new_ones_are_refused_while_the_server_stops(self, web: Web) -> None:
        web.draining = True
        for path in (FRAMED, RAW):
            assert b" 503 " in open_socket(web, path).response


class TestRaw:
    @pytest.mark.parametrize("path", [RAW, "/ws"])
    def test_it_is_the_plain_one(self, web: Web, path: str) -> None:
        peer = open_socket(web, path)
        assert peer.raw() == []
        assert peer.connect().command == "CONNECTED"
        peer.subscribe("/topic/a")
        web.publish("1")
        assert peer.message().body == b"1"

    @pytest.mark.parametrize(
        ("offered", "chosen"),
        [("v12.stomp, v11.stomp, v10.stomp", "v12.stomp"), ("v10.stomp", "v10.stomp"), ("x", None)],
    )
    def test_a_protocol_is_chosen(self, web: Web, offered: str, chosen: str | None) -> None:
        peer = open_socket(web, RAW, Sec_WebSocket_Protocol=offered)
        if chosen is None:
            assert b"sec-websocket-protocol" not in peer.response.lower()
        else:
            assert f"Sec-WebSocket-Protocol: {chosen}\r\n".encode() in peer.response

    def test_its_close_is_that_of_the_application(self, web: Web) -> None:
        peer = open_socket(web, RAW)
        peer.connect()
        peer.send("NONSENSE\n\n\0")
        assert peer.error()
        assert peer.closed == 1002

    def test_it_has_no_heart_beat_of_sockjs(self) -> None:
        with Web(sockjs=SockJSOptions(heart_beat=1.0)) as web:
            peer = open_socket(web, RAW)
            peer.connect()
            web.world.advance(20)
            assert peer.raw() == []


class TestScopes:
    """The wire inside an ASGI server, by itself."""

    def test_frames(self) -> None:
        wire = FramedScopeWire()
        assert wire.first.message == {"type": "websocket.send", "text": "o"}
        chunk: Any = wire.dress(b"MESSAGE\n\n", "é".encode(), True)
        assert chunk.message["text"] == 'a["MESSAGE\\n\\né"]'
        assert wire.size(chunk) == len('a["MESSAGE\\n\\né"]'.encode())
        assert wire.dress(b"MESSAGE\n\n", b"\xff", False) is None

    def test_the_end(self) -> None:
        wire = FramedScopeWire()
        told: Any = wire.close(3000, "Go away!")
        assert [each.message["type"] for each in told] == ["websocket.send", "websocket.close"]
        assert told[0].message["text"] == 'c[3000,"Go away!"]'
        assert wire.close(3000, "Go away!") == []

    def test_the_one_of_a_socket(self) -> None:
        wire = FramedWire()
        assert wire.dress(b"MESSAGE\n\n", b"\xff", False) is None
        assert len(wire.close(3000, "Go away!")) == 2
        assert wire.close(3000, "Go away!") == []


class TestUnframe:
    def test_behind_what_cannot_be_read_only_the_end_of_the_client_counts(self) -> None:
        wire: Any = FramedWire()
        end = Closed(wire, 1000, "")
        events = [
            Message(wire, b'["1"]'),
            Alive(wire),
            Message(wire, b"x"),
            Message(wire, b'["2"]'),
            Alive(wire),
            Closed(wire, 1002, "", ours=True),
            end,
        ]
        found: list[Any] = unframe(events, Limits())
        assert [type(each) for each in found] == [Message, Alive, Closed, Closed]
        assert found[0].payload == b"1"
        assert (found[2].code, found[2].ours) == (1007, True)
        assert found[3] is end

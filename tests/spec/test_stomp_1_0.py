"""STOMP 1.0, whose text knows no key words: what it says will be, is required, or should be."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from stocksync_ws import ConnectRequest
from stocksync_ws.testing.world import World
from tests.spec.checks import got
from tests.spec.delivering import User
from tests.spec.talk import alive, frame, refused

stomp = pytest.mark.stomp


@stomp(
    "1.0 Introduction 1",
    "1.0 Introduction 2",
    "1.0 Introduction 3",
    "1.0 Introduction 4",
    "1.0 Augmented BNF 1",
)
def test_connect_is_answered_by_connected_with_a_session(world: World) -> None:
    sessions: set[str] = set()
    for _ in range(2):
        peer = world.upgrade()
        peer.send(b"\n\nCONNECT\nlogin: u\npasscode:p\n\n\0\n\n\n")
        (raw,) = peer.raw()
        assert raw.startswith(b"CONNECTED\nversion:1.0\n")
        assert raw.endswith(b"\n\n\0")
        sessions.add(raw.partition(b"session:")[2].partition(b"\n")[0].decode())
    assert len(sessions) == 2


@stomp("1.0 Introduction 1")
@pytest.mark.parametrize("accept", [b"", b"accept-version: 1.0\n"])
def test_leading_blanks_of_connect_are_no_part_of_its_values(
    broker: Callable[..., World], accept: bytes
) -> None:
    asked: list[dict[str, str]] = []

    def authenticate(request: ConnectRequest) -> User:
        asked.append({"login": f"{request.login}", "passcode": f"{request.passcode}"})
        asked.append({name: request.headers[name] for name in ("login", "passcode", "k")})
        return User("ann")

    peer = broker(authenticator=authenticate).upgrade()
    peer.send(b"CONNECT\n" + accept + b"login: u\npasscode:\t p \nk:  v\n\n\0")
    peer.frame("CONNECTED")
    login = {"login": "u", "passcode": "p "}
    assert asked == [login, {**login, "k": "v"}]


@stomp(
    "1.0 SEND 1",
    "1.0 SUBSCRIBE 1",
    "1.0 UNSUBSCRIBE 2",
    "1.0 BEGIN 2",
    "1.0 COMMIT 1",
    "1.0 ABORT 1",
    "1.0 ACK 2",
)
@pytest.mark.parametrize(
    "command", ["SEND", "SUBSCRIBE", "UNSUBSCRIBE", "BEGIN", "COMMIT", "ABORT", "ACK"]
)
def test_required_headers_are_required(world: World, command: str) -> None:
    peer = world.connect("1.0")
    peer.send(frame(command))
    refused(peer, "missing-header")


@stomp(
    "1.0 SEND 2",
    "1.0 SUBSCRIBE 2",
    "1.0 SUBSCRIBE 3",
    "1.0 MESSAGE 1",
    "1.0 MESSAGE 2",
    "1.0 MESSAGE 3",
    "1.0 MESSAGE 4",
)
def test_a_subscription_without_id_gets_messages_without_subscription(world: World) -> None:
    peer = world.connect("1.0")
    peer.send(b"SUBSCRIBE\ndestination: /queue/a\n\n\0")
    peer.send(b"SEND\ndestination: /queue/a\nk:  a:b\\c \n\nhello queue a\0")
    peer.send(frame("SEND", destination="/queue/a"))
    peer.send(frame("SEND", b"x", destination="/queue/a"))
    assert peer.raw() == [
        got(1, None, "/queue/a", b"hello queue a", k="a:b\\c "),
        got(2, None, "/queue/a"),
        got(3, None, "/queue/a", b"x"),
    ]


@stomp("1.0 MESSAGE 5", "1.0 MESSAGE 4", "1.0 MESSAGE 6")
@pytest.mark.parametrize("body", [b"\0", b"\0\0", b"a\0b", b"\xff", b"x", b"x" * 9])
def test_the_body_of_a_message_is_counted_and_ends_with_nul(world: World, body: bytes) -> None:
    peer = world.connect("1.0")
    peer.subscribe("/topic/a", id="s")
    sent = frame("SEND", body, destination="/topic/a", content_length=str(len(body)))
    peer.send(sent, binary=True)
    (raw,) = peer.raw()
    assert raw.endswith(b"\ncontent-length:%d\n\n%b\0" % (len(body), body))


@stomp("1.0 Augmented BNF 2", "1.0 Augmented BNF 3")
def test_headers_hold_what_the_grammar_allows_and_more(world: World) -> None:
    peer = world.connect("1.0")
    peer.subscribe("/topic/a", id="s")
    sent = {name: "v:\\" for name in map(chr, range(1, 127)) if name not in "\n:"}
    sent |= {"empty": "", "é": "€", "all": "".join(map(chr, [*range(1, 10), *range(14, 127)]))}
    for name, value in sent.items():
        peer.send(f"SEND\ndestination:/topic/a\n{name}:{value}\n\n\0")
        (raw,) = peer.raw()
        told = value.lstrip(" \t") if name != "\r" else ""
        line = f"\n{name}:{told}\n".encode()
        assert (line in raw) == (name != "\r"), name
    for line in (b":v", b"no colon", b""):
        other = world.connect("1.0")
        other.send(b"SEND\n" + line + b"\n\n\0")
        assert other.error().headers["code"] == ("bad-header" if line else "missing-header")


@stomp("1.0 SUBSCRIBE 7")
def test_a_subscription_with_id_is_named(world: World) -> None:
    peer = world.connect("1.0")
    peer.subscribe("/topic/a", id="7")
    peer.send_to("/topic/a")
    assert peer.message().headers["subscription"] == "7"


@stomp("1.0 SEND 4", "1.0 SEND 5", "1.0 SEND 6")
def test_content_length_or_the_first_nul_ends_a_body(world: World) -> None:
    peer = world.connect("1.0")
    peer.subscribe("/topic/a", id="s")
    peer.send(b"SEND\ndestination:/topic/a\ncontent-length: 3\n\na\0b\0")
    peer.send(b"SEND\ndestination:/topic/a\n\nab\0")
    assert [each.body for each in peer.frames()] == [b"a\0b", b"ab"]
    peer.send(b"SEND\ndestination:/topic/a\ncontent-length:1\n\nab\0")
    refused(peer, "missing-nul")


@stomp("1.0 SUBSCRIBE 6")
@pytest.mark.parametrize("end", [b"\nany body\0", b"content-length:3\n\na\0b\0", b"\n\0"])
def test_the_body_of_subscribe_is_ignored(world: World, end: bytes) -> None:
    peer = world.connect("1.0")
    peer.send(b"SUBSCRIBE\ndestination:/topic/a\n" + end)
    peer.send_to("/topic/a", "x")
    assert peer.message().body == b"x"


@stomp("1.0 SUBSCRIBE 4", "1.0 SUBSCRIBE 5", "1.0 ACK 1")
@pytest.mark.parametrize("mode", ["auto", "client"])
@pytest.mark.parametrize("acked", [True, False])
def test_what_was_not_acknowledged_is_not_consumed(world: World, mode: str, acked: bool) -> None:
    peer, other = world.connect("1.0"), world.connect("1.0")
    peer.subscribe("/queue/a", id="s", ack=mode)
    peer.send_to("/queue/a", "x")
    got = peer.message()
    if acked and mode == "client":
        peer.send(frame("ACK", message_id=got.headers["message-id"]))
    peer.eof()
    other.subscribe("/queue/a", id="s")
    assert len(other.frames()) == (mode == "client" and not acked)


@stomp("1.0 ACK 2")
def test_an_ack_must_name_a_message_that_was_delivered(world: World) -> None:
    peer = world.connect("1.0")
    peer.subscribe("/queue/a", id="s", ack="client")
    peer.send(frame("ACK", message_id="id1-72-1"))
    refused(peer, "unknown-ack")


@stomp("1.0 UNSUBSCRIBE 1", "1.0 UNSUBSCRIBE 2")
@pytest.mark.parametrize("name", ["id", "destination"])
def test_unsubscribe_by_id_or_by_destination(world: World, name: str) -> None:
    peer = world.connect("1.0")
    headers = {"destination": "/topic/a"} | ({"id": "s"} if name == "id" else {})
    peer.send(frame("SUBSCRIBE", **headers))
    peer.send(frame("UNSUBSCRIBE", **{name: headers[name]}))
    peer.send_to("/topic/a", "x")
    peer.nothing()
    peer.send(frame("UNSUBSCRIBE", **{name: headers[name]}))
    refused(peer, "unknown-subscription")


@stomp("1.0 UNSUBSCRIBE 1", "1.0 UNSUBSCRIBE 2")
def test_unsubscribe_by_destination_ends_those_with_an_id_too(world: World) -> None:
    peer = world.connect("1.0")
    for name, destination in (("s", "/topic/a"), ("u", "/topic/b"), ("t", "/topic/a")):
        peer.subscribe(destination, id=name)
    peer.send(frame("UNSUBSCRIBE", destination="/topic/a", receipt="r"))
    assert peer.frame("RECEIPT").headers["receipt-id"] == "r"
    for destination in ("/topic/a", "/topic/b"):
        peer.send_to(destination)
    assert [each.headers["subscription"] for each in peer.frames()] == ["u"]
    peer.subscribe("/topic/a", id="s")  # the id is free
    peer.send(frame("UNSUBSCRIBE", destination="/topic/c"))
    refused(peer, "unknown-subscription")


@stomp("1.0 BEGIN 2", "1.0 SEND 3", "1.0 BEGIN 1", "1.0 ACK 3")
@pytest.mark.parametrize("end", ["COMMIT", "ABORT"])
def test_sends_and_acks_of_a_transaction_take_effect_together(world: World, end: str) -> None:
    peer = world.connect("1.0")
    peer.subscribe("/queue/a", id="s", ack="client")
    peer.subscribe("/topic/b", id="t")
    peer.send_to("/queue/a", "x")
    got = peer.message()
    peer.send(frame("BEGIN", transaction="1"))
    peer.send(frame("SEND", b"y", destination="/topic/b", transaction="1"))
    peer.send(frame("ACK", message_id=got.headers["message-id"], transaction="1"))
    peer.nothing()
    assert world.counters.messages_settled == 0
    peer.send(frame(end, transaction="1"))
    assert len(peer.frames()) == world.counters.messages_settled == (end == "COMMIT")


@stomp("1.0 DISCONNECT 1", "1.0 Receipt 1", "1.0 RECEIPT 1", "1.0 RECEIPT 2")
def test_receipts_come_for_every_frame_and_disconnect_is_graceful(world: World) -> None:
    peer = world.connect("1.0")
    peer.subscribe("/queue/a", id="s", ack="client")
    peer.send(frame("SEND", b"x", destination="/queue/a"))
    got = peer.message()
    frames = [
        frame("ACK", message_id=got.headers["message-id"], receipt="a:b"),
        frame("BEGIN", transaction="t", receipt="message-12345"),
        frame("COMMIT", transaction="t", receipt=""),
        frame("BEGIN", transaction="t", receipt="begin"),
        frame("ABORT", transaction="t", receipt="abort"),
        frame("SUBSCRIBE", destination="/topic/a", receipt="subscribe"),
        frame("UNSUBSCRIBE", destination="/topic/a", receipt="unsubscribe"),
        frame("SEND", destination="/topic/a", receipt="send"),
        frame("DISCONNECT", receipt="bye"),
    ]
    peer.send(b"".join(frames))
    names = ["a:b", "message-12345", "", "begin", "abort"]
    names += ["subscribe", "unsubscribe", "send", "bye"]
    assert peer.raw() == [f"RECEIPT\nreceipt-id:{each}\n\n\0".encode() for each in names]
    assert peer.closed == 1000


@stomp("1.0 ERROR 1", "1.0 ERROR 2", "1.0 ERROR 3", "1.0 ERROR 4")
def test_an_error_has_message_and_content_length(world: World) -> None:
    peer = world.connect("1.0")
    peer.send(frame("SEND", b"x", receipt="a:b\\c"))
    body = b"A header that the command requires is missing. SEND needs destination."
    assert peer.raw() == [
        b"ERROR\nmessage:Missing header\ncode:missing-header\ncontent-type:text/plain\n"
        b"receipt-id:a:b\\c\ncommand:SEND\ncontent-length:%d\n\n%b\0" % (len(body), body)
    ]
    assert peer.closed == 1002


def test_nack_does_not_exist(world: World) -> None:
    peer = world.connect("1.0")
    alive(peer)
    peer.send(frame("NACK", message_id="m"))
    refused(peer, "unknown-command")

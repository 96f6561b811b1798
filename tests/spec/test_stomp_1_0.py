"""STOMP 1.0, whose text knows no key words: what it says will be, is required, or should be."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest

from stocksync_ws import ConnectRequest
from stocksync_ws.testing.world import World
from tests.spec.checks import got
from tests.spec.delivering import User
from tests.spec.talk import alive, frame, refused

stomp = partial(pytest.mark.stomp, "1.0")


@stomp("Introduction", "MUST", "The frame starts with a command")
@stomp("Introduction", "MUST", "A blank line indicates the end of the headers")
@stomp("Introduction", "MUST", "the server will always acknowledge the connection")
@stomp("Introduction", "MUST", "is a unique identifier for this session")
@stomp("Augmented BNF", "MUST", "*( LF )")
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


@stomp("Introduction", "MUST", "The frame starts with a command")
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


@stomp("SEND", "MUST", "It has one required header, destination")
@stomp("SUBSCRIBE", "MUST", "the SUBSCRIBE command requires a destination header")
@stomp("UNSUBSCRIBE", "MUST", "It requires either a destination header or an id header")
@stomp("BEGIN", "MUST", "The transaction header is required")
@stomp("COMMIT", "MUST", "The transaction header is required")
@stomp("ABORT", "MUST", "The transaction header is required")
@stomp("ACK", "MUST", "ACK has one required header, message-id")
@pytest.mark.parametrize(
    "command", ["SEND", "SUBSCRIBE", "UNSUBSCRIBE", "BEGIN", "COMMIT", "ABORT", "ACK"]
)
def test_required_headers_are_required(world: World, command: str) -> None:
    peer = world.connect("1.0")
    peer.send(frame(command))
    refused(peer, "missing-header")


@stomp("SEND", "MUST", "The body of the SEND command is the message to be sent")
@stomp("SUBSCRIBE", "MUST", "will henceforth be delivered as MESSAGE frames")
@stomp("SUBSCRIBE", "MUST", "The ack header is optional, and defaults to auto")
@stomp("MESSAGE", "MUST", "The MESSAGE frame will include a header, destination")
@stomp("MESSAGE", "MUST", "message-id header with a unique identifier")
@stomp("MESSAGE", "MUST", "The frame body contains the contents of the message")
@stomp("MESSAGE", "SHOULD", "MESSAGE frames include a content-length header")
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


@stomp("MESSAGE", "SHOULD", "this number of bytes should be read")
@stomp("MESSAGE", "SHOULD", "MESSAGE frames include a content-length header")
@stomp("MESSAGE", "MUST", "The frame still needs to be terminated with a null byte")
@pytest.mark.parametrize("body", [b"\0", b"\0\0", b"a\0b", b"\xff", b"x", b"x" * 9])
def test_the_body_of_a_message_is_counted_and_ends_with_nul(world: World, body: bytes) -> None:
    peer = world.connect("1.0")
    peer.subscribe("/topic/a", id="s")
    sent = frame("SEND", body, destination="/topic/a", content_length=str(len(body)))
    peer.send(sent, binary=True)
    (raw,) = peer.raw()
    assert raw.endswith(b"\ncontent-length:%d\n\n%b\0" % (len(body), body))


@stomp("Augmented BNF", "MUST", "header-name = 1*<any CHAR except LF or")
@stomp("Augmented BNF", "MUST", "header-value = 1*<any CHAR except LF>")
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


@stomp("SUBSCRIBE", "SHOULD", "Stomp brokers should append a subscription header")
def test_a_subscription_with_id_is_named(world: World) -> None:
    peer = world.connect("1.0")
    peer.subscribe("/topic/a", id="7")
    peer.send_to("/topic/a")
    assert peer.message().headers["subscription"] == "7"


@stomp("SEND", "SHOULD", "SEND frames include a content-length header")
@stomp("SEND", "SHOULD", "this number of bytes should be read")
@stomp("SEND", "MUST", "the first null byte encountered signals the end")
def test_content_length_or_the_first_nul_ends_a_body(world: World) -> None:
    peer = world.connect("1.0")
    peer.subscribe("/topic/a", id="s")
    peer.send(b"SEND\ndestination:/topic/a\ncontent-length: 3\n\na\0b\0")
    peer.send(b"SEND\ndestination:/topic/a\n\nab\0")
    assert [each.body for each in peer.frames()] == [b"a\0b", b"ab"]
    peer.send(b"SEND\ndestination:/topic/a\ncontent-length:1\n\nab\0")
    refused(peer, "missing-nul")


@stomp("SUBSCRIBE", "MUST", "The body of the SUBSCRIBE command is ignored")
@pytest.mark.parametrize("end", [b"\nany body\0", b"content-length:3\n\na\0b\0", b"\n\0"])
def test_the_body_of_subscribe_is_ignored(world: World, end: bytes) -> None:
    peer = world.connect("1.0")
    peer.send(b"SUBSCRIBE\ndestination:/topic/a\n" + end)
    peer.send_to("/topic/a", "x")
    assert peer.message().body == b"x"


@stomp("SUBSCRIBE", "MUST", "only be considered delivered after the client specifically")
@stomp("SUBSCRIBE", "MUST", "The valid values for ack are auto")
@stomp("ACK", "MUST", "will not be considered to have been consumed")
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


@stomp("ACK", "MUST", "must contain a value matching the message-id")
def test_an_ack_must_name_a_message_that_was_delivered(world: World) -> None:
    peer = world.connect("1.0")
    peer.subscribe("/queue/a", id="s", ack="client")
    peer.send(frame("ACK", message_id="id1-72-1"))
    refused(peer, "unknown-ack")


@stomp("UNSUBSCRIBE", "MUST", "remove an existing subscription")
@stomp("UNSUBSCRIBE", "MUST", "It requires either a destination header or an id header")
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


@stomp("UNSUBSCRIBE", "MUST", "remove an existing subscription")
@stomp("UNSUBSCRIBE", "MUST", "It requires either a destination header or an id header")
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


@stomp("BEGIN", "MUST", "the transaction identifier will be used for SEND, COMMIT, ABORT, and ACK")
@stomp("SEND", "MUST", "SEND supports a transaction header")
@stomp("BEGIN", "MUST", "will be handled atomically based on the transaction")
@stomp("ACK", "SHOULD", "acknowledgment should be part of the named transaction")
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


@stomp("DISCONNECT", "MUST", "DISCONNECT does a graceful disconnect")
@stomp("Receipt", "MUST", "This will cause the server to acknowledge receipt")
@stomp("RECEIPT", "MUST", "A RECEIPT frame will include the header receipt-id")
@stomp("RECEIPT", "MUST", "The receipt body will be empty")
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


@stomp("ERROR", "SHOULD", "should contain a message header")
@stomp("ERROR", "SHOULD", "ERROR frames include a content-length header")
@stomp("ERROR", "SHOULD", "this number of bytes should be read")
@stomp("ERROR", "MUST", "The frame still needs to be terminated with a null byte")
def test_an_error_has_message_and_content_length(world: World) -> None:
    peer = world.connect("1.0")
    peer.send(frame("SEND", b"x", receipt="a:b\\c"))
    body = b"A header that the command requires is missing."
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

"""STOMP 1.0, whose text knows no key words: what it says will be, is required, or should be."""

from __future__ import annotations

from functools import partial

import pytest

from stocksync_ws.testing.world import World
from tests.spec.checks import got
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
    assert peer.raw() == [
        got(1, None, "/queue/a", b"hello queue a", k="a:b\\c "),
        got(2, None, "/queue/a"),
    ]


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
    peer.send(
        frame("SUBSCRIBE", destination="/topic/a", receipt="a:b")
        + frame("SEND", b"x", destination="/topic/a", receipt="message-12345")
        + frame("DISCONNECT", receipt="bye")
    )
    raw = peer.raw()
    assert raw[0] == b"RECEIPT\nreceipt-id:a:b\n\n\0"
    assert raw[1].startswith(b"MESSAGE\n")
    assert raw[2:] == [
        b"RECEIPT\nreceipt-id:message-12345\n\n\0",
        b"RECEIPT\nreceipt-id:bye\n\n\0",
    ]
    assert peer.closed == 1000


@stomp("ERROR", "SHOULD", "should contain a message header")
@stomp("ERROR", "SHOULD", "ERROR frames include a content-length header")
def test_an_error_has_message_and_content_length(world: World) -> None:
    peer = world.connect("1.0")
    peer.send(frame("SEND", b"x"))
    error = peer.error()
    assert error.headers["message"] == "Missing header"
    assert error.headers["content-length"] == str(len(error.body))


def test_nack_does_not_exist(world: World) -> None:
    peer = world.connect("1.0")
    alive(peer)
    peer.send(frame("NACK", message_id="m"))
    refused(peer, "unknown-command")

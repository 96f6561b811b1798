"""STOMP 1.1 and 1.2: "SEND", "BEGIN", "COMMIT", "ABORT", "DISCONNECT", "RECEIPT", "ERROR"."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from stocksync_ws import Limits, StompApp
from stocksync_ws.testing.peer import Peer
from stocksync_ws.testing.world import World
from tests.spec.talk import BROKER, EVERY, MODERN, alive, frame, refused

stomp = pytest.mark.stomp


def bodies(peer: Peer) -> list[bytes]:
    return [each.body for each in peer.frames() if each.command == "MESSAGE"]


@stomp("1.1 1.2", "SEND", "MUST", "It has one REQUIRED header, `destination`")
@stomp("1.2", "Frames and Headers", "MUST", "`SEND` REQUIRED: destination")
@pytest.mark.parametrize("version", EVERY)
def test_send_needs_a_destination(world: World, version: str) -> None:
    peer = world.connect(version)
    peer.send(frame("SEND", b"x", receipt="r"))
    headers = refused(peer, "missing-header")
    assert headers["receipt-id"] == "r"


@stomp("1.1 1.2", "SEND", "MUST", "successfully process the `SEND` frame for any reason")
@pytest.mark.parametrize("version", MODERN)
@pytest.mark.parametrize(
    ("destination", "code", "close"),
    [
        ("/nowhere/a", "no-destination", 1008),
        ("/app/unknown", "no-handler", 1008),
        ("/app/fails", "handler-failed", 1011),
        ("/user/bob/queue/a", "send-denied", 1008),
        ("no-slash", "bad-destination", 1002),
        ("/topic//a", "bad-destination", 1002),
        ("/topic/*", "bad-destination", 1002),
        ("/queue/full", "queue-full", 1013),
    ],
)
def test_a_send_that_fails_gets_error_and_close(
    broker: Callable[..., World], version: str, destination: str, code: str, close: int
) -> None:
    peer = failing(broker).connect(version)
    if code == "queue-full":
        for _ in range(2):
            peer.send(frame("SEND", b"x", destination=destination))
        peer.nothing()
    peer.send(frame("SEND", b"x", destination=destination, receipt="r"))
    assert refused(peer, code, close)["receipt-id"] == "r"


@stomp("1.1 1.2", "SEND", "MUST", "successfully process the `SEND` frame for any reason")
@pytest.mark.parametrize("version", MODERN)
def test_a_session_that_listens_for_errors_is_told_and_lives(
    broker: Callable[..., World], version: str
) -> None:
    peer = failing(broker).connect(version)
    peer.subscribe("/user/queue/errors", id="e")
    for destination in ("/nowhere/a", "/app/unknown", "/app/fails", "/user/bob/queue/a"):
        peer.send(frame("SEND", b"x", destination=destination, receipt="r"))
        assert peer.message().headers["receipt-id"] == "r"
        peer.nothing()  # no RECEIPT for a frame that failed
    alive(peer)


def failing(broker: Callable[..., World]) -> World:
    app = StompApp("/ws", allowed_origins=["*"], limits=Limits(queue_messages=2), **BROKER)

    @app.message_mapping("/fails", inline=True)
    def fails() -> None:
        raise RuntimeError("a secret")

    return broker(app)


# Transactions


@stomp("1.1 1.2", "BEGIN", "MUST", "The `transaction` header is REQUIRED")
@stomp("1.1 1.2", "COMMIT", "MUST", "The `transaction` header is REQUIRED")
@stomp("1.1 1.2", "ABORT", "MUST", "The `transaction` header is REQUIRED")
@stomp("1.2", "Frames and Headers", "MUST", "`BEGIN` or `COMMIT` or `ABORT` REQUIRED: transaction")
@pytest.mark.parametrize("version", MODERN)
@pytest.mark.parametrize("command", ["BEGIN", "COMMIT", "ABORT"])
def test_transaction_frames_need_their_header(world: World, version: str, command: str) -> None:
    peer = world.connect(version)
    peer.send(frame(command))
    refused(peer, "missing-header")


@stomp("1.1 1.2", "BEGIN", "MUST", "will be used for `SEND`, `COMMIT`, `ABORT`, `ACK`, and `NACK`")
@pytest.mark.parametrize("version", MODERN)
def test_frames_of_a_transaction_wait_for_commit_and_keep_their_order(
    world: World, version: str
) -> None:
    peer = world.connect(version)
    peer.subscribe("/topic/a", id="s")
    peer.send(frame("BEGIN", transaction="t"))
    peer.send(frame("SEND", b"one", destination="/topic/a", transaction="t"))
    peer.send(frame("SEND", b"three", destination="/topic/a", transaction="t"))
    assert bodies(peer) == []
    peer.send(frame("SEND", b"zero", destination="/topic/a"))
    assert bodies(peer) == [b"zero"]
    peer.send(frame("COMMIT", transaction="t"))
    assert bodies(peer) == [b"one", b"three"]


@stomp("1.1 1.2", "ABORT", "MUST", "MUST specify the id")
@pytest.mark.parametrize("version", MODERN)
def test_abort_drops_what_was_sent(world: World, version: str) -> None:
    peer = world.connect(version)
    peer.subscribe("/topic/a", id="s")
    peer.send(frame("BEGIN", transaction="t"))
    peer.send(frame("SEND", b"one", destination="/topic/a", transaction="t", receipt="lost"))
    peer.send(frame("ABORT", transaction="t", receipt="r"))
    assert [each.headers["receipt-id"] for each in peer.frames()] == ["r"]
    peer.send(frame("BEGIN", transaction="t"))  # the identifier may be used again
    peer.send(frame("COMMIT", transaction="t"))
    alive(peer)


@stomp("1.1 1.2", "COMMIT", "MUST", "MUST specify the id")
@stomp("1.1 1.2", "ABORT", "MUST", "MUST specify the id")
@pytest.mark.parametrize("version", MODERN)
@pytest.mark.parametrize("command", ["COMMIT", "ABORT", "SEND"])
def test_a_transaction_that_is_not_open_is_an_error(
    world: World, version: str, command: str
) -> None:
    peer = world.connect(version)
    peer.send(frame("BEGIN", transaction="t") + frame("COMMIT", transaction="t"))
    peer.send(frame(command, transaction="t", destination="/topic/a"))
    refused(peer, "unknown-transaction")


@stomp("1.2", "BEGIN", "MUST", "different transactions MUST use different transaction identifiers")
@pytest.mark.parametrize("version", MODERN)
def test_a_transaction_identifier_in_use_is_an_error(world: World, version: str) -> None:
    peer, other = world.connect(version), world.connect(version)
    peer.send(frame("BEGIN", transaction="t"))
    other.send(frame("BEGIN", transaction="t"))  # per connection
    alive(other)
    peer.send(frame("BEGIN", transaction="t"))
    refused(peer, "duplicate-transaction")


# DISCONNECT and RECEIPT


@stomp("1.1 1.2", "DISCONNECT", "SHOULD", "To do a graceful shutdown")
@stomp("1.1 1.2", "DISCONNECT", "MUST NOT", "MUST NOT send any more frames after")
@pytest.mark.parametrize("version", MODERN)
def test_disconnect_answers_last_and_what_follows_is_not_processed(
    world: World, version: str
) -> None:
    peer, listener = world.connect(version), world.connect(version)
    listener.subscribe("/topic/a", id="s")
    peer.send(
        frame("SEND", b"before", destination="/topic/a")
        + frame("DISCONNECT", receipt="77")
        + frame("SEND", b"after", destination="/topic/a")
    )
    assert peer.raw() == [b"RECEIPT\nreceipt-id:77\n\n\0"]
    assert peer.closed == 1000
    assert bodies(listener) == [b"before"]


@stomp("1.2", "RECEIPT", "MUST", "A `RECEIPT` frame MUST include the header `receipt-id`")
@stomp("1.2", "Frames and Headers", "MUST", "`RECEIPT` REQUIRED: receipt-id")
@pytest.mark.parametrize("version", MODERN)
def test_every_frame_gets_the_receipt_it_asked_for(world: World, version: str) -> None:
    peer = world.connect(version)
    frames = [
        frame("BEGIN", transaction="t", receipt=""),
        frame("COMMIT", transaction="t", receipt="a\\cb"),
        frame("BEGIN", transaction="u", receipt="3"),
        frame("ABORT", transaction="u", receipt="4"),
        frame("SUBSCRIBE", id="s", destination="/topic/a", receipt="5"),
        frame("UNSUBSCRIBE", id="s", receipt="6"),
        frame("SEND", b"x", destination="/topic/a", receipt="7"),
        frame("DISCONNECT", receipt="8"),
    ]
    peer.send(b"".join(frames))
    ids = [b"", b"a\\cb", b"3", b"4", b"5", b"6", b"7", b"8"]
    assert peer.raw() == [b"RECEIPT\nreceipt-id:" + each + b"\n\n\0" for each in ids]


@pytest.mark.parametrize("version", MODERN)
def test_acks_and_nacks_get_their_receipts(world: World, version: str) -> None:
    peer = world.connect(version)
    peer.subscribe("/queue/a", id="s", ack="client-individual")
    for command in ("ACK", "NACK"):
        peer.send(frame("SEND", b"x", destination="/queue/a"))
        got = peer.message()
        names = {"id": got.headers["ack"]} if version == "1.2" else {}
        peer.send(
            frame(
                command,
                receipt=command,
                subscription="s",
                message_id=got.headers["message-id"],
                requeue="false",
                **names,
            )
        )
        assert peer.frame("RECEIPT").headers["receipt-id"] == command


@stomp("1.2", "RECEIPT", "SHOULD", "previously received frames SHOULD continue to get processed")
@pytest.mark.parametrize("version", MODERN)
def test_what_was_received_is_processed_although_the_client_is_gone(
    broker: Callable[..., World], version: str
) -> None:
    app = StompApp("/ws", allowed_origins=["*"], **BROKER)

    @app.message_mapping("/slow")
    def slow() -> None:
        return None

    world = broker(app)
    peer, listener = world.connect(version), world.connect(version)
    listener.subscribe("/topic/a", id="s")
    world.hold_pool()
    peer.send(
        frame("SEND", b"", destination="/app/slow")
        + frame("SEND", b"waited", destination="/topic/a")
    )
    peer.eof()
    assert bodies(listener) == []
    world.release_pool()
    assert bodies(listener) == [b"waited"]


# ERROR


@stomp("1.2", "ERROR", "MUST", "it MUST then close the connection just after sending the `ERROR`")
@stomp("1.1 1.2", "ERROR", "SHOULD", "SHOULD contain a `message` header with a short description")
@stomp("1.1 1.2", "ERROR", "SHOULD", "SHOULD add additional headers to help identify")
@stomp("1.1 1.2", "ERROR", "SHOULD", "the `ERROR` frame SHOULD set the `receipt-id` header")
@stomp("1.1 1.2", "ERROR", "SHOULD", "`ERROR` frames SHOULD include a `content-length`")
@stomp("1.1", "Header content-length", "SHOULD", "frames SHOULD include a `content-length`")
@stomp("1.2", "Header content-length", "SHOULD", "frames SHOULD include a `content-length`")
@stomp("1.2", "Frames and Headers", "SHOULD", "the `ERROR` frame SHOULD include additional")
@pytest.mark.parametrize("version", MODERN)
def test_an_error_tells_what_and_which_frame_and_is_the_last(world: World, version: str) -> None:
    peer = world.connect(version)
    peer.send(
        frame("SUBSCRIBE", id="s", destination="/topic/a", ack="often", receipt="a\\cb")
        + frame("SEND", b"x", destination="/topic/a", receipt="later")
    )
    body = b"ack must be auto, client or client-individual."
    assert peer.raw() == [
        b"ERROR\nmessage:Bad ack mode\ncode:bad-ack-mode\ncontent-type:text/plain\n"
        b"receipt-id:a\\cb\ncommand:SUBSCRIBE\ndestination:/topic/a\nsubscription:s\n"
        b"content-length:%d\n\n%b\0" % (len(body), body)
    ]
    assert peer.closed == 1002


@pytest.mark.parametrize("version", EVERY)
@pytest.mark.parametrize("command", ["FOO", "send", "Send", "CONNECTED", "MESSAGE", "RECEIPT"])
def test_an_unknown_command_gets_error_and_close(world: World, version: str, command: str) -> None:
    peer = world.connect(version)
    peer.send(frame(command, destination="/topic/a"))
    refused(peer, "unknown-command")

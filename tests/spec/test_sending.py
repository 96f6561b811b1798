"""STOMP 1.1 and 1.2: "SEND", "BEGIN", "COMMIT", "ABORT", "DISCONNECT", "RECEIPT", "ERROR"."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from stocksync_ws import Limits, StompApp
from stocksync_ws.testing.peer import Peer, client_frame
from stocksync_ws.testing.world import World
from tests.spec.talk import BROKER, EVERY, MODERN, alive, answer, bodies, fill, frame, refused

stomp = pytest.mark.stomp


@stomp("1.1 1.2 SEND 1", "1.2 Frames and Headers 3")
@pytest.mark.parametrize("version", EVERY)
def test_send_needs_a_destination(world: World, version: str) -> None:
    peer = world.connect(version)
    peer.send(frame("SEND", b"x", receipt="r"))
    headers = refused(peer, "missing-header")
    assert headers["receipt-id"] == "r"


@stomp("1.1 1.2 SEND 6")
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


@stomp("1.1 1.2 SEND 6")
@pytest.mark.parametrize("version", EVERY)
@pytest.mark.parametrize(
    ("destination", "code", "close"),
    [
        ("/topic/secret", "send-denied", 1008),
        ("/user/bob/queue/a", "send-denied", 1008),
        ("/nowhere/a", "no-destination", 1008),
        ("/topic//a", "bad-destination", 1002),
        ("/topic/*", "bad-destination", 1002),
    ],
)
def test_a_send_that_fails_in_a_transaction_does_not_wait_for_commit(
    broker: Callable[..., World], version: str, destination: str, code: str, close: int
) -> None:
    world = broker(client_send=["/topic/open/**"])
    peer, listener = world.connect(version), world.connect(version)
    listener.subscribe("/topic/secret", id="s")
    listener.subscribe("/topic/open/a", id="o")
    peer.send(frame("BEGIN", transaction="t"))
    peer.send(frame("SEND", b"x", destination="/topic/open/a", transaction="t"))
    peer.send(frame("SEND", b"x", destination=destination, transaction="t", receipt="r"))
    assert refused(peer, code, close)["receipt-id"] == "r"
    listener.nothing()


@stomp("1.1 1.2 SEND 6")
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


@stomp("1.1 1.2 BEGIN 2", "1.1 1.2 COMMIT 1", "1.1 1.2 ABORT 1", "1.2 Frames and Headers 7")
@pytest.mark.parametrize("version", MODERN)
@pytest.mark.parametrize("command", ["BEGIN", "COMMIT", "ABORT"])
def test_transaction_frames_need_their_header(world: World, version: str, command: str) -> None:
    peer = world.connect(version)
    peer.send(frame(command))
    refused(peer, "missing-header")


@stomp("1.1 1.2 BEGIN 2")
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


@stomp("1.0 1.1 1.2 BEGIN 2", "1.0 1.1 1.2 COMMIT 1", "1.0 1.1 1.2 ABORT 1")
@pytest.mark.parametrize("version", EVERY)
@pytest.mark.parametrize("order", ["abc", "acb", "bac", "bca", "cab", "cba"])
def test_open_transactions_are_told_apart_by_their_identifiers(
    world: World, version: str, order: str
) -> None:
    peer = world.connect(version)
    peer.subscribe("/topic/a", id="s")
    for name in "abc":
        peer.send(frame("BEGIN", transaction=name))
    for turn in "12":
        for name in "abc":
            body = f"{name}{turn}".encode()
            peer.send(frame("SEND", body, destination="/topic/a", transaction=name))
    for name in order:
        peer.send(frame("ABORT" if name == "b" else "COMMIT", transaction=name))
        assert bodies(peer) == ([] if name == "b" else [f"{name}{n}".encode() for n in "12"])


@stomp("1.0 1.1 1.2 BEGIN 1")
@pytest.mark.parametrize("version", EVERY)
def test_what_a_handler_could_not_do_undoes_nothing_of_its_transaction(
    broker: Callable[..., World], version: str
) -> None:
    world = failing(broker)
    peer, listener = world.connect(version), world.connect(version)
    listener.subscribe("/topic/a", id="s")
    peer.send(frame("BEGIN", transaction="t"))
    for destination in ("/topic/a", "/app/fails", "/topic/a"):
        peer.send(frame("SEND", b"x", destination=destination, transaction="t"))
    listener.nothing()
    peer.send(frame("COMMIT", transaction="t"))
    refused(peer, "handler-failed", 1011)
    assert bodies(listener) == [b"x", b"x"]


@stomp("1.1 1.2 ABORT 1")
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


@stomp("1.1 1.2 COMMIT 1", "1.1 1.2 ABORT 1", "1.1 1.2 BEGIN 2")
@pytest.mark.parametrize("version", EVERY)
@pytest.mark.parametrize("command", ["COMMIT", "ABORT", "SEND"])
def test_a_transaction_that_is_not_open_is_an_error(
    world: World, version: str, command: str
) -> None:
    peer = world.connect(version)
    peer.send(frame("BEGIN", transaction="t") + frame("COMMIT", transaction="t"))
    peer.send(frame(command, transaction="t", destination="/topic/a"))
    refused(peer, "unknown-transaction")


@stomp("1.2 BEGIN 3")
@pytest.mark.parametrize("version", MODERN)
def test_a_transaction_identifier_in_use_is_an_error(world: World, version: str) -> None:
    peer, other = world.connect(version), world.connect(version)
    peer.send(frame("BEGIN", transaction="t"))
    other.send(frame("BEGIN", transaction="t"))  # per connection
    alive(other)
    peer.send(frame("BEGIN", transaction="t"))
    refused(peer, "duplicate-transaction")


# DISCONNECT and RECEIPT


@stomp("1.1 1.2 DISCONNECT 1", "1.1 1.2 DISCONNECT 2")
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


@stomp("1.1 1.2 RECEIPT 2", "1.2 Frames and Headers 9", "1.1 RECEIPT 1", "1.1 1.2 Header receipt 1")
@pytest.mark.parametrize("version", MODERN)
def test_every_frame_gets_the_receipt_it_asked_for(world: World, version: str) -> None:
    peer = world.connect(version)
    peer.subscribe("/topic/b", id="own", ack="client")
    peer.send(frame("SEND", b"x", destination="/topic/b", receipt="0"))
    got = peer.message()  # the effect, then the RECEIPT
    assert peer.frame("RECEIPT").headers["receipt-id"] == "0"
    acks = {"message_id": got.headers["message-id"], "subscription": "own"}
    if version == "1.2":
        acks = {"id": got.headers["ack"]}
    frames = [
        frame("BEGIN", transaction="t", receipt=""),
        frame("COMMIT", transaction="t", receipt="a\\cb"),
        frame("BEGIN", transaction="u", receipt="3"),
        frame("ABORT", transaction="u", receipt="4"),
        frame("SUBSCRIBE", id="s", destination="/topic/a", receipt="5"),
        frame("UNSUBSCRIBE", id="s", receipt="6"),
        frame("SEND", b"x", destination="/topic/a", receipt="7"),
        frame("ACK", receipt="8", **acks),
        frame("NACK", receipt="9", **acks),
        frame("DISCONNECT", receipt="10"),
    ]
    peer.send(b"".join(frames))
    ids = [b"", b"a\\cb", *(str(n).encode() for n in range(3, 11))]
    assert peer.raw() == [b"RECEIPT\nreceipt-id:" + each + b"\n\n\0" for each in ids]


@stomp("1.2 RECEIPT 1", "1.2 RECEIPT 2", "1.1 Header receipt 1")
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


@stomp("1.2 RECEIPT 4")
@pytest.mark.parametrize("version", MODERN)
def test_what_was_received_is_processed_although_the_client_is_gone(
    broker: Callable[..., World], version: str
) -> None:
    world = broker(slow())
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


@stomp("1.1 1.2 DISCONNECT 1", "1.2 RECEIPT 4")
@pytest.mark.parametrize("version", EVERY)
@pytest.mark.parametrize("end", ["eof", "close", "DISCONNECT"])
def test_whatever_was_received_is_processed_although_the_client_is_gone(
    broker: Callable[..., World], version: str, end: str
) -> None:
    world = broker(slow())
    peer, listener = world.connect(version), world.connect("1.2")
    listener.subscribe("/topic/a", id="s")
    peer.subscribe("/queue/a", id="q", ack="client-individual")
    fill(world, "/queue/a", "m1", "m2", "m3")
    one, two, _ = peer.frames()
    world.hold_pool()
    peer.send(frame("SEND", b"", destination="/app/slow"))
    answer(peer, "ACK", one)
    peer.send(frame("BEGIN", transaction="t") + frame("BEGIN", transaction="open"))
    for name, body in (("t", b"committed"), ("open", b"lost")):
        peer.send(frame("SEND", body, destination="/topic/a", transaction=name))
    answer(peer, "ACK", two, transaction="t")
    peer.send(frame("COMMIT", transaction="t"))
    peer.send(frame("SEND", b"plain", destination="/topic/a"))
    leave(peer, end)
    world.release_pool()
    assert bodies(listener) == [b"committed", b"plain"]
    other = world.connect("1.2")
    other.subscribe("/queue/a", id="q")
    assert bodies(other) == [b"m3"]


@stomp("1.2 RECEIPT 4")
@pytest.mark.parametrize("version", EVERY)
@pytest.mark.parametrize("end", ["eof", "close", "DISCONNECT"])
def test_what_came_in_the_same_turn_as_the_end_is_processed(
    world: World, version: str, end: str
) -> None:
    peer, listener = world.connect(version), world.connect("1.2")
    listener.subscribe("/topic/a", id="s")
    peer.subscribe("/queue/a", id="q", ack="client")
    fill(world, "/queue/a", "m1")
    got = peer.message()
    ack = {"id": got.headers.get("ack", ""), "message_id": got.headers["message-id"]}
    frames = [
        *[frame("SEND", b"x", destination="/topic/a")] * 100,  # more than one turn reads
        frame("BEGIN", transaction="t"),
        frame("SEND", b"committed", destination="/topic/a", transaction="t"),
        frame("COMMIT", transaction="t"),
        frame("ACK", subscription="q", **ack),
        frame("DISCONNECT") if end == "DISCONNECT" else b"",
    ]
    data = client_frame(1, b"".join(frames))
    if end == "close":
        data += client_frame(8, b"\x03\xe8")
    world.runtime.driver.feed(peer.stream.link, data)
    if end == "eof":
        world.runtime.driver.ended(peer.stream.link)
    world.settle()
    assert bodies(listener) == [b"x"] * 100 + [b"committed"]
    other = world.connect("1.2")
    other.subscribe("/queue/a", id="q")
    other.nothing()


def slow() -> StompApp:
    """The example broker, and a handler that the pool can hold back."""
    app = StompApp("/ws", allowed_origins=["*"], **BROKER)

    @app.message_mapping("/slow")
    def handle() -> None:
        return None

    return app


def leave(peer: Peer, how: str) -> None:
    """The end of a session, in three ways."""
    if how == "DISCONNECT":
        peer.send(frame("DISCONNECT"))
    elif how == "close":
        peer.close()
    else:
        peer.eof()


# ERROR


@stomp(
    "1.1 1.2 ERROR 1",
    "1.1 1.2 ERROR 2",
    "1.1 1.2 ERROR 3",
    "1.1 1.2 ERROR 4",
    "1.2 ERROR 5",
    "1.1 Header content-length 1",
    "1.2 Header content-length 3",
    "1.2 Frames and Headers 11",
    "1.1 1.2 Value Encoding 5",
)
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


@stomp("1.1 STOMP Frames 2", "1.2 STOMP Frames 4")
@pytest.mark.parametrize("version", EVERY)
@pytest.mark.parametrize("command", ["FOO", "send", "Send", "CONNECTED", "MESSAGE", "RECEIPT"])
def test_an_unknown_command_gets_error_and_close(world: World, version: str, command: str) -> None:
    peer = world.connect(version)
    peer.send(frame(command, destination="/topic/a"))
    refused(peer, "unknown-command")

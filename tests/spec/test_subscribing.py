"""STOMP 1.1 and 1.2: "SUBSCRIBE", "UNSUBSCRIBE", "ACK", "NACK", "MESSAGE"."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from stocksync_ws.stomp.frame import Frame
from stocksync_ws.testing.peer import Peer
from stocksync_ws.testing.world import World
from tests.spec.talk import EVERY, MODERN, alive, frame, refused

stomp = pytest.mark.stomp


def answer(peer: Peer, command: str, message: Frame, **headers: str) -> None:
    """ACK or NACK a MESSAGE, in the form of the version."""
    if peer.version == "1.2":
        headers["id"] = message.headers["ack"]
    else:
        headers["message_id"] = message.headers["message-id"]
        headers["subscription"] = message.headers["subscription"]
    peer.send(frame(command, **headers))


def fill(world: World, destination: str, *bodies: str) -> None:
    sender = world.connect("1.2")
    for body in bodies:
        sender.send_to(destination, body)


def bodies(peer: Peer) -> list[bytes]:
    return [each.body for each in peer.frames()]


@stomp("1.1 1.2", "SUBSCRIBE", "MUST", "successfully create the subscription")
@pytest.mark.parametrize("version", EVERY)
@pytest.mark.parametrize(
    ("destination", "code", "close"),
    [
        ("/nowhere/a", "no-destination", 1008),
        ("/app/unknown", "no-handler", 1008),
        ("/user/bob/queue/a", "subscribe-denied", 1008),
        ("/topic/*", "subscribe-denied", 1008),
        ("/topic/a/", "bad-destination", 1002),
        ("", "bad-destination", 1002),
    ],
)
def test_a_subscription_that_cannot_be_made_gets_error_and_close(
    world: World, version: str, destination: str, code: str, close: int
) -> None:
    peer = world.connect(version)
    peer.send(frame("SUBSCRIBE", id="s", destination=destination, receipt="r"))
    assert refused(peer, code, close)["receipt-id"] == "r"


@stomp("1.1 1.2", "SUBSCRIBE", "MUST", "successfully create the subscription")
@pytest.mark.parametrize("version", MODERN)
def test_a_refused_subscription_is_told_to_a_session_that_listens(
    world: World, version: str
) -> None:
    peer = world.connect(version)
    peer.subscribe("/user/queue/errors", id="e")
    peer.send(frame("SUBSCRIBE", id="s", destination="/nowhere/a", receipt="r"))
    assert peer.message().headers["receipt-id"] == "r"
    alive(peer)


@stomp("1.1", "SUBSCRIBE id Header", "MUST", "An `id` header MUST be included")
@stomp("1.2", "SUBSCRIBE id Header", "MUST", "an `id` header MUST be included")
@stomp("1.2", "Frames and Headers", "MUST", "`SUBSCRIBE` REQUIRED: destination, id")
@pytest.mark.parametrize("version", MODERN)
def test_subscribe_needs_destination_and_id(world: World, version: str) -> None:
    for headers in ({"destination": "/topic/a"}, {"id": "s"}):
        peer = world.connect(version)
        peer.send(frame("SUBSCRIBE", **headers))
        refused(peer, "missing-header")


@stomp("1.2", "SUBSCRIBE id Header", "MUST", "MUST use different subscription identifiers")
@pytest.mark.parametrize("version", EVERY)
def test_a_subscription_id_in_use_is_an_error(world: World, version: str) -> None:
    peer, other = world.connect(version), world.connect(version)
    peer.subscribe("/topic/a", id="s")
    other.subscribe("/topic/a", id="s")  # per connection
    peer.send(frame("UNSUBSCRIBE", id="s"))
    peer.subscribe("/topic/b", id="s")  # free again
    peer.send(frame("SUBSCRIBE", id="s", destination="/topic/c"))
    refused(peer, "duplicate-subscription")


@stomp("1.1 1.2", "SUBSCRIBE ack Header", "MUST", "the client MUST send the server `ACK`")
@pytest.mark.parametrize("version", MODERN)
@pytest.mark.parametrize("mode", ["client", "client-individual"])
def test_what_a_lost_client_did_not_acknowledge_goes_to_another(
    world: World, version: str, mode: str
) -> None:
    first, second = world.connect(version), world.connect(version)
    first.subscribe("/queue/a", id="s", ack=mode)
    fill(world, "/queue/a", "m1", "m2")
    one, two = first.frames()
    answer(first, "ACK", one)
    first.eof()
    second.subscribe("/queue/a", id="s", ack=mode)
    (again,) = second.frames()
    assert again.body == two.body == b"m2"
    assert again.headers["redelivered"] == "true"
    assert again.headers["message-id"] == two.headers["message-id"]


@stomp("1.1 1.2", "SUBSCRIBE ack Header", "MUST", "the client MUST send the server `ACK`")
@pytest.mark.parametrize("version", MODERN)
def test_an_ack_in_client_mode_is_cumulative_within_its_subscription(
    world: World, version: str
) -> None:
    peer = world.connect(version)
    peer.subscribe("/queue/a", id="a", ack="client")
    peer.subscribe("/queue/b", id="b", ack="client")
    fill(world, "/queue/a", "a1")
    fill(world, "/queue/b", "b1")
    fill(world, "/queue/a", "a2", "a3")
    got = {each.body: each for each in peer.frames()}
    answer(peer, "ACK", got[b"a2"])
    assert world.counters.messages_settled == 2
    peer.eof()
    left = {"/queue/a": [b"a3"], "/queue/b": [b"b1"]}
    for destination, expected in left.items():
        again = world.connect(version)
        again.subscribe(destination, id="s")
        assert bodies(again) == expected


@stomp("1.1 1.2", "SUBSCRIBE ack Header", "MUST NOT", "MUST NOT cause a previous message")
@pytest.mark.parametrize("version", MODERN)
@pytest.mark.parametrize("command", ["ACK", "NACK"])
def test_an_ack_in_individual_mode_leaves_earlier_ones_alone(
    world: World, version: str, command: str
) -> None:
    peer = world.connect(version)
    peer.subscribe("/queue/a", id="a", ack="client-individual")
    fill(world, "/queue/a", "m1", "m2", "m3")
    _, two, _ = peer.frames()
    answer(peer, command, two, requeue="false")
    peer.nothing()
    peer.eof()
    again = world.connect(version)
    again.subscribe("/queue/a", id="a", ack="client-individual")
    assert bodies(again) == [b"m1", b"m3"]


@stomp("1.2", "SUBSCRIBE ack Header", "SHOULD", "it SHOULD send `NACK` frames")
@pytest.mark.parametrize("version", MODERN)
def test_a_nack_brings_the_message_again(world: World, version: str) -> None:
    peer = world.connect(version)
    peer.subscribe("/topic/a", id="a", ack="client-individual")
    fill(world, "/topic/a", "m1")
    first = peer.message()
    assert first.headers["redelivered"] == "false"
    answer(peer, "NACK", first)
    again = peer.message()
    assert again.body == b"m1"
    assert again.headers["redelivered"] == "true"
    assert again.headers["delivery-attempt"] == "2"
    answer(peer, "ACK", again, receipt="r")
    assert peer.frame("RECEIPT").headers == {"receipt-id": "r"}


@pytest.mark.parametrize("version", EVERY)
@pytest.mark.parametrize("mode", ["", "AUTO", "often", "client_individual"])
def test_an_unknown_ack_mode_is_refused(world: World, version: str, mode: str) -> None:
    peer = world.connect(version)
    peer.send(frame("SUBSCRIBE", id="s", destination="/topic/a", ack=mode))
    refused(peer, "bad-ack-mode")


# UNSUBSCRIBE


@stomp("1.2", "UNSUBSCRIBE", "MUST", "an `id` header MUST be included")
@stomp("1.2", "UNSUBSCRIBE", "MUST", "MUST match the subscription identifier of an existing")
@stomp("1.2", "Frames and Headers", "MUST", "`UNSUBSCRIBE` REQUIRED: id")
@pytest.mark.parametrize("version", MODERN)
def test_unsubscribe_needs_the_id_of_a_subscription(world: World, version: str) -> None:
    for headers, code in (
        ({"destination": "/topic/a"}, "missing-header"),
        ({"id": "other"}, "unknown-subscription"),
    ):
        peer = world.connect(version)
        peer.subscribe("/topic/a", id="s")
        peer.send(frame("UNSUBSCRIBE", **headers))
        refused(peer, code)


@pytest.mark.parametrize("version", EVERY)
def test_nothing_comes_after_unsubscribe(world: World, version: str) -> None:
    peer = world.connect(version)
    peer.subscribe("/topic/a", id="s")
    peer.subscribe("/topic/a", id="t")
    peer.send(frame("UNSUBSCRIBE", id="s", receipt="r"))
    peer.frame("RECEIPT")
    fill(world, "/topic/a", "x")
    assert [each.headers["subscription"] for each in peer.frames()] == ["t"]


# ACK and NACK


@stomp("1.1", "ACK", "MUST", "`ACK` has two REQUIRED headers")
@stomp("1.1", "ACK", "MUST", "MUST contain a value matching")
@stomp("1.2", "ACK", "MUST", "MUST include an `id` header matching the `ack` header")
@stomp("1.2", "NACK", "MUST", "`id` (REQUIRED)")
@stomp("1.2", "Frames and Headers", "MUST", "`ACK` or `NACK` REQUIRED: id")
@pytest.mark.parametrize("version", MODERN)
@pytest.mark.parametrize("command", ["ACK", "NACK"])
@pytest.mark.parametrize("case", ["missing", "never issued", "other subscription"])
def test_ack_and_nack_need_what_was_issued(
    world: World, version: str, command: str, case: str
) -> None:
    peer = world.connect(version)
    peer.subscribe("/topic/a", id="s", ack="client")
    peer.subscribe("/topic/b", id="t", ack="client")
    fill(world, "/topic/a", "x")
    got = peer.message()
    message_id, number = got.headers["message-id"], int(got.headers.get("ack", "s.1")[2:])
    headers = {
        "missing": {},
        "never issued": {
            "id": f"s.{number + 1}",
            "message_id": message_id[:-1] + "9",
            "subscription": "s",
        },
        "other subscription": {
            "id": f"t.{number}",
            "message_id": message_id,
            "subscription": "t",
        },
    }[case]
    peer.send(frame(command, receipt="r", **headers))
    assert refused(peer, "missing-header" if case == "missing" else "unknown-ack")


@pytest.mark.parametrize("version", MODERN)
def test_what_was_settled_before_is_no_error(world: World, version: str) -> None:
    peer = world.connect(version)
    peer.subscribe("/topic/a", id="s", ack="client")
    fill(world, "/topic/a", "x", "y")
    one, two = peer.frames()
    for got in (two, two, one):
        answer(peer, "ACK", got, receipt="r")
        peer.frame("RECEIPT")
    alive(peer)


@stomp("1.1 1.2", "ACK", "SHOULD", "acknowledgment SHOULD be part of the named transaction")
@pytest.mark.parametrize("version", MODERN)
@pytest.mark.parametrize("end", ["COMMIT", "ABORT"])
def test_an_ack_is_part_of_its_transaction(world: World, version: str, end: str) -> None:
    peer = world.connect(version)
    peer.subscribe("/queue/a", id="s", ack="client")
    fill(world, "/queue/a", "x")
    got = peer.message()
    peer.send(frame("BEGIN", transaction="t"))
    answer(peer, "ACK", got, transaction="t")
    assert world.counters.messages_settled == 0
    peer.send(frame(end, transaction="t"))
    assert world.counters.messages_settled == (end == "COMMIT")
    peer.eof()
    other = world.connect(version)
    other.subscribe("/queue/a", id="s")
    assert bodies(other) == ([] if end == "COMMIT" else [b"x"])


@pytest.mark.parametrize("version", MODERN)
def test_what_an_aborted_transaction_acknowledged_can_be_acknowledged_again(
    world: World, version: str
) -> None:
    peer = world.connect(version)
    peer.subscribe("/queue/a", id="s", ack="client-individual")
    fill(world, "/queue/a", "x")
    got = peer.message()
    peer.send(frame("BEGIN", transaction="t"))
    answer(peer, "ACK", got, transaction="t")
    peer.send(frame("ABORT", transaction="t"))
    answer(peer, "ACK", got)
    assert world.counters.messages_settled == 1


# MESSAGE


@stomp("1.2", "MESSAGE", "MUST", "MUST include a `destination` header")
@stomp("1.2", "MESSAGE", "SHOULD", "`destination` header SHOULD be identical to the one used")
@stomp("1.2", "MESSAGE", "MUST", "MUST also contain a `message-id` header with a unique")
@stomp("1.2", "Frames and Headers", "MUST", "`MESSAGE` REQUIRED: destination, message-id")
@pytest.mark.parametrize("version", MODERN)
@pytest.mark.parametrize("destination", ["/topic/a", "/topic/ä/b%20c:d\\e", "/queue/a"])
def test_a_message_names_destination_id_and_subscription(
    world: World, version: str, destination: str
) -> None:
    peer = world.connect(version)
    peer.command("SUBSCRIBE", {"destination": destination, "id": "s:1"})
    for _ in range(50):
        peer.command("SEND", {"destination": destination})
    got = peer.frames()
    assert {each.headers["destination"] for each in got} == {destination}
    assert {each.headers["subscription"] for each in got} == {"s:1"}
    assert len({each.headers["message-id"] for each in got}) == len(got) == 50


@stomp("1.2", "MESSAGE", "MUST", "MUST also contain an `ack` header")
@pytest.mark.parametrize("mode", ["auto", "client", "client-individual"])
def test_a_message_has_an_ack_header_in_client_modes_of_1_2(world: World, mode: str) -> None:
    for version in EVERY:
        peer = world.connect(version)
        peer.subscribe("/topic/a", id="s", ack=mode)
        fill(world, "/topic/a", "x")
        assert ("ack" in peer.message().headers) == (mode != "auto" and version == "1.2")


@pytest.mark.parametrize("version", EVERY)
def test_a_message_comes_once_for_each_subscription(world: World, version: str) -> None:
    peer = world.connect(version)
    for name in ("s", "t", "u"):
        peer.subscribe("/topic/a", id=name)
    fill(world, "/topic/a", "x")
    assert sorted(each.headers["subscription"] for each in peer.frames()) == ["s", "t", "u"]


def test_headers_of_the_server_cannot_be_forged(broker: Callable[..., World]) -> None:
    world = broker()
    peer = world.connect("1.2")
    peer.subscribe("/topic/a", id="s", ack="client")
    forged = {"message-id": "f", "subscription": "f", "ack": "f", "redelivered": "f"}
    peer.command("SEND", {"destination": "/topic/a", **forged, "receipt": "f"})
    message, receipt = peer.raw()
    assert b":f\n" not in message
    assert receipt == b"RECEIPT\nreceipt-id:f\n\n\0"
    assert world.counters.headers_stripped == 4

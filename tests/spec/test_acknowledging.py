"""STOMP 1.1 and 1.2: "SUBSCRIBE ack Header", "ACK", "NACK", and what they do in a transaction."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from stocksync_ws import Limits
from stocksync_ws.testing.world import World
from tests.spec.talk import EVERY, MODERN, alive, answer, bodies, fill, frame, refused

stomp = pytest.mark.stomp


@stomp(
    "1.1 1.2 SUBSCRIBE ack Header 4",
    "1.1 1.2 SUBSCRIBE ack Header 5",
    "1.1 1.2 SUBSCRIBE ack Header 1",
    "1.0 1.1 1.2 ACK 1",
    "1.0 SUBSCRIBE 5",
)
@pytest.mark.parametrize("version", EVERY)
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


@stomp(
    "1.1 1.2 SUBSCRIBE ack Header 4",
    "1.1 1.2 SUBSCRIBE ack Header 6",
    "1.1 1.2 SUBSCRIBE ack Header 7",
)
@pytest.mark.parametrize("version", EVERY)
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


@stomp("1.1 1.2 SUBSCRIBE ack Header 7")
@pytest.mark.parametrize(
    ("version", "command"), [*[(v, "ACK") for v in EVERY], *[(v, "NACK") for v in MODERN]]
)
def test_what_an_ended_subscription_of_the_same_id_had_out_is_no_part_of_it(
    world: World, version: str, command: str
) -> None:
    peer = world.connect(version)
    peer.subscribe("/queue/a", id="s", ack="client")
    fill(world, "/queue/a", "job")
    peer.message()
    peer.send(frame("UNSUBSCRIBE", id="s"))
    peer.subscribe("/topic/b", id="s", ack="client")
    fill(world, "/topic/b", "news")
    answer(peer, command, peer.message(), requeue="false")
    peer.eof()
    other = world.connect(version)
    other.subscribe("/queue/a", id="q", ack="client")
    (again,) = other.frames()
    assert again.body == b"job"


@stomp("1.2 SUBSCRIBE ack Header 8", "1.1 1.2 NACK 2")
@pytest.mark.parametrize("version", MODERN)
@pytest.mark.parametrize("destination", ["/topic/a", "/queue/a"])
@pytest.mark.parametrize(
    ("mode", "come"), [("client", [b"m1", b"m2"]), ("client-individual", [b"m2"])]
)
def test_a_nack_has_the_scope_of_an_ack(
    world: World, version: str, destination: str, mode: str, come: list[bytes]
) -> None:
    peer = world.connect(version)
    peer.subscribe(destination, id="a", ack=mode)
    fill(world, destination, "m1", "m2", "m3")
    _, two, three = peer.frames()
    answer(peer, "NACK", two)
    assert bodies(peer) == come
    answer(peer, "ACK", three)
    peer.eof()
    world.advance(5)


@stomp("1.1 SUBSCRIBE ack Header 8", "1.2 SUBSCRIBE ack Header 9", "1.1 1.2 NACK 2")
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


@stomp("1.1 ACK 1", "1.2 SUBSCRIBE ack Header 8")
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


@stomp("1.1 1.2 SUBSCRIBE ack Header 2", "1.1 1.2 SUBSCRIBE ack Header 3", "1.0 SUBSCRIBE 3")
@pytest.mark.parametrize("version", EVERY)
@pytest.mark.parametrize("mode", [{}, {"ack": "auto"}])
def test_in_auto_mode_a_message_is_settled_when_it_is_sent(
    broker: Callable[..., World], version: str, mode: dict[str, str]
) -> None:
    world = broker(limits=Limits(queue_messages=2))
    peer, sender = world.connect(version), world.connect("1.2")
    peer.subscribe("/queue/a", id="s", **mode)
    for turn in range(5):  # nothing is kept: the queue never fills
        sender.send_to("/queue/a", str(turn))
        assert peer.message().body == str(turn).encode()
    peer.eof()
    assert "/queue/a" not in world.broker.delivery.registry.known
    other = world.connect(version)
    other.subscribe("/queue/a", id="s")
    other.nothing()


@stomp("1.1 1.2 ACK 2", "1.1 ACK 3", "1.2 NACK 1", "1.2 Frames and Headers 6")
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


@stomp("1.0 1.2 ACK 3", "1.1 ACK 4", "1.1 BEGIN 3", "1.2 BEGIN 4")
@pytest.mark.parametrize("version", EVERY)
@pytest.mark.parametrize("end", ["COMMIT", "ABORT", "DISCONNECT", "eof", "close"])
def test_an_ack_is_part_of_its_transaction(world: World, version: str, end: str) -> None:
    peer = world.connect(version)
    peer.subscribe("/queue/a", id="s", ack="client")
    fill(world, "/queue/a", "x")
    got = peer.message()
    peer.send(frame("BEGIN", transaction="t"))
    answer(peer, "ACK", got, transaction="t")
    assert world.counters.messages_settled == 0
    if end.isupper():
        peer.send(frame(end, transaction="t"))
    elif end == "close":
        peer.close()
    assert world.counters.messages_settled == (end == "COMMIT")
    peer.eof()
    other = world.connect(version)
    other.subscribe("/queue/a", id="s")
    assert bodies(other) == ([] if end == "COMMIT" else [b"x"])


@stomp("1.1 1.2 BEGIN 2", "1.1 1.2 BEGIN 1")
@pytest.mark.parametrize("version", MODERN)
@pytest.mark.parametrize("mode", ["client", "client-individual"])
@pytest.mark.parametrize("destination", ["/topic/a", "/queue/a"])
def test_a_nack_waits_for_its_transaction_and_stays_a_nack(
    world: World, version: str, mode: str, destination: str
) -> None:
    peer = world.connect(version)
    peer.subscribe(destination, id="s", ack=mode)
    fill(world, destination, "x")
    got = peer.message()
    peer.send(frame("BEGIN", transaction="t"))
    answer(peer, "NACK", got, transaction="t")
    world.advance(5)
    peer.nothing()
    peer.send(frame("COMMIT", transaction="t"))
    assert peer.message().headers["delivery-attempt"] == "2"
    assert world.counters.messages_settled == 0


@stomp("1.0 1.2 ACK 3", "1.1 ACK 4")
@pytest.mark.parametrize("version", EVERY)
@pytest.mark.parametrize("before", [b"", frame("BEGIN", transaction="other")])
def test_an_ack_for_a_transaction_that_is_not_open_is_an_error(
    world: World, version: str, before: bytes
) -> None:
    peer = world.connect(version)
    peer.subscribe("/topic/a", id="s", ack="client")
    fill(world, "/topic/a", "x")
    got = peer.message()
    peer.send(before)
    answer(peer, "ACK", got, transaction="t")
    refused(peer, "unknown-transaction")

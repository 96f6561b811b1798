"""STOMP 1.1 and 1.2: "SUBSCRIBE", "UNSUBSCRIBE", "MESSAGE"."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from stocksync_ws import StompApp
from stocksync_ws.testing.world import World
from tests.spec.delivering import Shop
from tests.spec.talk import BROKER, EVERY, MODERN, alive, answer, fill, frame, refused

stomp = pytest.mark.stomp


def clock() -> StompApp:
    """The example broker, and an application that tells the time."""
    app = StompApp("/ws", allowed_origins=["*"], **BROKER)

    @app.subscribe_mapping("/now")
    def now() -> str:
        return "12:00"

    return app


@stomp("1.1 1.2 SUBSCRIBE 3")
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


@stomp("1.1 1.2 SUBSCRIBE 3")
@pytest.mark.parametrize("version", MODERN)
def test_a_refused_subscription_is_told_to_a_session_that_listens(
    world: World, version: str
) -> None:
    peer = world.connect(version)
    peer.subscribe("/user/queue/errors", id="e")
    peer.send(frame("SUBSCRIBE", id="s", destination="/nowhere/a", receipt="r"))
    assert peer.message().headers["receipt-id"] == "r"
    alive(peer)


@stomp("1.1 1.2 SUBSCRIBE 3", "1.1 1.2 Size Limits 1")
@pytest.mark.parametrize("version", EVERY)
@pytest.mark.parametrize("destination", ["/topic/b", "/queue/b", "/user/queue/b"])
def test_a_subscription_too_many_gets_error_and_close(
    world: World, version: str, destination: str
) -> None:
    peer = world.connect(version)
    for n in range(100):
        peer.subscribe("/topic/a", id=str(n))
    peer.send(frame("UNSUBSCRIBE", id="7"))
    peer.subscribe(destination, id="again")
    peer.send(frame("SUBSCRIBE", id="one more", destination=destination, receipt="r"))
    assert refused(peer, "limit", 1008)["receipt-id"] == "r"


@stomp("1.1 1.2 SUBSCRIBE 1", "1.1 1.2 SUBSCRIBE id Header 1", "1.2 Frames and Headers 4")
@pytest.mark.parametrize("version", MODERN)
def test_subscribe_needs_destination_and_id(world: World, version: str) -> None:
    for headers in ({"destination": "/topic/a"}, {"id": "s"}):
        peer = world.connect(version)
        peer.send(frame("SUBSCRIBE", **headers))
        refused(peer, "missing-header")


@stomp("1.2 SUBSCRIBE id Header 2")
@pytest.mark.parametrize("version", EVERY)
@pytest.mark.parametrize("destination", ["/topic/c", "/queue/c", "/app/now", "/user/queue/c"])
def test_a_subscription_id_in_use_is_an_error(
    broker: Callable[..., World], version: str, destination: str
) -> None:
    world = broker(clock())
    peer, other = world.connect(version), world.connect(version)
    peer.subscribe("/topic/a", id="s")
    other.subscribe("/topic/a", id="s")  # per connection
    peer.send(frame("UNSUBSCRIBE", id="s"))
    peer.subscribe("/topic/b", id="s")  # free again
    peer.subscribe("/app/now", id="u")
    assert peer.message().body == b"12:00"
    peer.send(frame("SUBSCRIBE", id="s", destination=destination))
    refused(peer, "duplicate-subscription")


@stomp("1.1 1.2 SUBSCRIBE ack Header 1")
@pytest.mark.parametrize("version", EVERY)
@pytest.mark.parametrize("mode", ["", "AUTO", "often", "client_individual"])
def test_an_unknown_ack_mode_is_refused(world: World, version: str, mode: str) -> None:
    peer = world.connect(version)
    peer.send(frame("SUBSCRIBE", id="s", destination="/topic/a", ack=mode))
    refused(peer, "bad-ack-mode")


@stomp("1.1 1.2 UNSUBSCRIBE 2", "1.2 UNSUBSCRIBE 3", "1.2 Frames and Headers 5")
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


@stomp("1.1 UNSUBSCRIBE 2", "1.2 UNSUBSCRIBE 3")
@pytest.mark.parametrize("version", MODERN)
def test_the_id_of_a_subscription_that_was_refused_may_be_unsubscribed(
    world: World, version: str
) -> None:
    peer = world.connect(version)
    peer.subscribe("/user/queue/errors", id="e")
    peer.send(frame("SUBSCRIBE", id="s", destination="/nowhere/a"))
    peer.message()
    peer.send(frame("UNSUBSCRIBE", id="s", receipt="r"))
    assert peer.frame("RECEIPT").headers["receipt-id"] == "r"
    peer.send(frame("UNSUBSCRIBE", id="s"))
    refused(peer, "unknown-subscription")


@stomp("1.0 1.1 1.2 UNSUBSCRIBE 1", "1.1 1.2 SUBSCRIBE 2")
@pytest.mark.parametrize("version", EVERY)
@pytest.mark.parametrize("destination", ["/topic/a", "/queue/a", "/user/queue/a"])
@pytest.mark.parametrize("mode", ["auto", "client"])
def test_nothing_comes_after_unsubscribe(
    broker: Callable[..., World], version: str, destination: str, mode: str
) -> None:
    shop = Shop()
    world = broker(shop.app)
    peer = world.connect(version, login="ann")
    for name in "stu":
        peer.subscribe(destination, id=name, ack=mode)
    peer.send(frame("UNSUBSCRIBE", id="s", receipt="r") + frame("UNSUBSCRIBE", id="u"))
    peer.frame("RECEIPT")
    if destination.startswith("/user"):
        shop.app.template.convert_and_send_to_user("ann", "/queue/a", "x")
    else:
        fill(world, destination, *"xyz")
    assert {each.headers["subscription"] for each in peer.frames()} == {"t"}


@stomp("1.0 1.1 MESSAGE 2", "1.2 MESSAGE 3")
@pytest.mark.parametrize("version", EVERY)
def test_a_snapshot_has_the_message_id_of_the_newest_message_there(
    broker: Callable[..., World], version: str
) -> None:
    shop = Shop()

    @shop.app.snapshot("/topic/history/shelf")
    def shelf() -> str:
        return "all there is"

    world = broker(shop.app)
    fill(world, "/topic/history/shelf", "a", "b")
    peer = world.connect(version)
    peer.subscribe("/topic/history/shelf", id="s")
    snapshot = peer.message()
    fill(world, "/topic/history/shelf", "c")
    live = peer.message()
    assert snapshot.headers["snapshot"] == "true"
    epoch, _, place = snapshot.headers["message-id"].rpartition("-")
    assert live.headers["message-id"] == f"{epoch}-{int(place) + 1}"


@stomp("1.1 1.2 MESSAGE 1", "1.1 1.2 MESSAGE 3", "1.2 MESSAGE 2", "1.2 Frames and Headers 8")
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


@stomp("1.0 1.1 MESSAGE 2", "1.2 MESSAGE 3")
@pytest.mark.parametrize("version", EVERY)
def test_message_ids_are_unique_across_destinations_of_every_kind(
    broker: Callable[..., World], version: str
) -> None:
    world = broker(Shop().app)
    peer = world.connect(version)
    kinds = ["/topic/history/a", "/topic/history/b", "/topic/latest", "/topic/a", "/queue/a"]
    for name, destination in enumerate(kinds):
        peer.subscribe(destination, id=str(name))
    for destination in kinds:
        fill(world, destination, *"abc")
    got = peer.frames()
    assert len({each.headers["message-id"] for each in got}) == len(got) == 15


@stomp("1.2 MESSAGE 4")
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

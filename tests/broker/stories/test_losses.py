"""What a subscriber lost: told to it, counted, and told by an event; at the right place."""

from __future__ import annotations

from stocksync_ws import policies
from stocksync_ws.broker.calls.events import MessageDropped, SessionDisconnected
from tests.broker.kit import Broker, bodies, resubscribe

LATEST = {"/topic/s": policies.Latest()}


def losses(world: Broker) -> dict[tuple[str, str], int]:
    found: dict[tuple[str, str], int] = {}
    for event in world.heard(MessageDropped):
        key = event.destination, event.reason
        found[key] = found.get(key, 0) + event.count
    return found


def test_a_superseded_value_is_counted_and_told() -> None:
    with Broker(LATEST) as world:
        peer = world.reader("/topic/s")
        peer.stream.open_window(0)
        for number in "1234":
            world.publish("/topic/s", number, key="k")
        peer.stream.open_window(None)
        frames = peer.frames()
        told = [(f.body.decode(), f.headers.get("dropped")) for f in frames]
        assert told == [("1", None), ("4", "2")]
        assert losses(world) == {("/topic/s", "superseded"): 2}
        assert world.counters.messages_dropped == 2


def test_what_was_trimmed_while_a_name_was_away_is_counted_and_told() -> None:
    with Broker(durable_messages=2) as world:
        peer = world.reader("/topic/a", login="ann", durable="true")
        peer.eof()
        world.publish("/topic/a", *"12345")
        peer = world.reader("/topic/a", login="ann", durable="true")
        assert peer.message().headers["dropped"] == "3"
        assert losses(world) == {("/topic/a", "away"): 3}


def test_what_a_name_had_missed_when_it_expired_is_counted_and_told() -> None:
    with Broker(durable_messages=2) as world:
        peer = world.reader("/topic/a", login="ann", durable="true", ack="client")
        world.publish("/topic/a", "0")
        peer.eof()
        world.publish("/topic/a", *"123")
        world.advance(301)
        assert losses(world) == {("/topic/a", "away-too-long"): 3}
        assert world.counters.messages_unsettled == 1
        assert not world.broker.delivery.registry.known


def test_what_was_counted_once_is_not_counted_again_when_its_name_expires() -> None:
    with Broker(durable_messages=2) as world:
        for _ in range(2):
            peer = world.connect(login="ann")
            peer.stream.open_window(0)
            peer.command("BEGIN", {"transaction": "t", "receipt": "in the way"})
            fields = {"id": "s", "destination": "/topic/a", "durable": "true"}
            peer.command("SUBSCRIBE", fields)
            peer.eof()
            world.publish("/topic/a", *"12345")
        world.advance(301)
        assert losses(world) == {("/topic/a", "away"): 3, ("/topic/a", "away-too-long"): 7}


def test_dropped_stands_on_the_first_message_behind_the_gap() -> None:
    with Broker({"/topic/a": policies.Topic(overflow="drop_oldest")}, send_queue=1_000) as world:
        peer = world.reader("/topic/a")
        peer.stream.open_window(0)
        for number in range(20):
            world.publish("/topic/a", f"{number:02}" + "x" * 100)
        peer.stream.open_window(None)
        world.settle()
        expected = 0
        for frame in peer.frames():
            expected += int(frame.headers.get("dropped", "0"))
            assert int(frame.body[:2]) == expected
            expected += 1
        assert expected == 20
        assert losses(world) == {("/topic/a", "slow-consumer"): world.counters.messages_dropped}


def test_a_queue_message_in_the_transport_of_a_lost_consumer_is_counted_and_told() -> None:
    with Broker() as world:
        peer = world.reader("/queue/a")
        peer.stream.open_window(10)
        world.publish("/queue/a", "1")
        peer.eof()
        assert losses(world) == {("/queue/a", "connection-lost"): 1}
        assert world.counters.messages_dropped == 1
        assert world.heard(SessionDisconnected)


def test_a_queue_message_that_the_transport_has_written_is_not_lost() -> None:
    with Broker() as world:
        peer = world.reader("/queue/a")
        peer.stream.open_window(10)
        world.publish("/queue/a", "1", "2")
        peer.stream.open_window(None)
        world.settle()
        peer.eof()
        assert losses(world) == {}


def test_a_queue_message_that_waits_for_a_closing_consumer_is_lost_with_it() -> None:
    with Broker() as world:
        peer = world.reader("/queue/a")
        peer.stream.open_window(10)
        world.publish("/queue/a", "1")
        peer.command("DISCONNECT", {})
        world.advance(6)
        assert losses(world) == {("/queue/a", "connection-lost"): 1}


def test_several_losses_in_one_step_are_one_event() -> None:
    with Broker(LATEST) as world:
        peers = [world.reader("/topic/s") for _ in range(3)]
        for peer in peers:
            peer.stream.open_window(0)
        world.publish("/topic/s", *"12", key="k")
        world.publish("/topic/s", "3", key="k")
        for peer in peers:
            peer.stream.open_window(None)
        world.settle()
        assert sum(event.count for event in world.heard(MessageDropped)) == 3
        assert world.counters.messages_dropped == 3


def test_who_recovers_everything_has_lost_nothing() -> None:
    history = {"/topic/s": policies.Stream(history=4)}
    with Broker(history, durable_messages=4) as world:
        peer = world.connect(login="ann")
        resubscribe(peer, durable="true")
        peer.eof()
        world.publish("/topic/s", *"123456789")
        channel = world.broker.delivery.registry.find("/topic/s")
        assert channel is not None
        peer = world.connect(login="ann")
        receipt = resubscribe(peer, durable="true", last_message_id=channel.log.message_id(5))
        assert (receipt.headers["recovered"], receipt.headers["replayed"]) == ("true", "4")
        frames = peer.frames()
        assert [frame.body for frame in frames] == [b"6", b"7", b"8", b"9"]
        assert not any("dropped" in frame.headers for frame in frames)


def test_a_full_store_costs_histories_and_not_more_than_it_must() -> None:
    history = {"/topic/**": policies.Stream()}
    with Broker(history, max_stored=1_000) as world:
        for number in range(5):
            world.publish(f"/topic/{number}", "x" * 90)
        sender = world.connect()
        sender.send_to("/queue/a", "y" * 2_000)
        assert sender.error().headers["code"] == "queue-full"
        assert world.broker.delivery.registry.history_bytes.size == 5 * 98
        world.publish("/queue/a", "y" * 592)
        channels = world.broker.delivery.registry.known
        assert [len(channels[f"/topic/{n}"].log) for n in range(5)] == [0, 1, 1, 1, 1]
        world.publish("/queue/a", "z" * 300)
        world.publish("/topic/0", "new")
        assert world.broker.delivery.registry.stored.size <= 1_000
        assert world.broker.delivery.registry.history_bytes.size == len("/topic/0" + "new")


def test_keys_leave_with_their_values() -> None:
    with Broker({"/topic/**": policies.Latest()}, max_stored=2_000) as world:
        for number in range(60):
            world.publish("/topic/s", "x" * 50, key=f"{number:050}")
        channel = world.broker.delivery.registry.find("/topic/s")
        assert channel is not None
        assert channel.keys is not None
        assert len(channel.keys) == len(channel.log) < 20
        world.connect().send_to("/topic/s", "y", key="k", expiration="1000")
        assert "k" in channel.keys
        world.advance(2)
        assert "k" not in channel.keys
        assert bodies(world.reader("/topic/s")) == ["x" * 50] * len(channel.log)


def test_what_one_subscription_lost_is_told_by_its_own_next_message() -> None:
    with Broker({"/topic/o": policies.Topic(overflow="drop_oldest")}, send_queue=4_000) as world:
        peer = world.reader("/topic/o")
        peer.subscribe("/topic/other", "other")
        peer.stream.open_window(0)
        world.publish("/topic/other", "in the way")
        world.publish("/topic/other", "in front")
        world.publish("/topic/o", *(f"{number}" + "x" * 500 for number in range(9)))
        peer.stream.open_window(None)
        world.settle()
        told = [(frame.body[:8], frame.headers.get("dropped")) for frame in peer.frames()]
        assert told[:2] == [(b"in the w", None), (b"in front", None)]
        lost = losses(world)["/topic/o", "slow-consumer"]
        assert told[2] == (f"{lost}xxxxxxx".encode(), f"{lost}")
        assert len(told) == 2 + 9 - lost

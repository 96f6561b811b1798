"""Topics: fan-out, history and recovery, newest values, snapshots, slow consumers, receipts."""

from __future__ import annotations

import pytest

from stocksync_ws import policies
from stocksync_ws.broker.calls.events import MessageDropped
from stocksync_ws.types import Chunk
from tests.broker.delivery.room import Room, waiting
from tests.broker.kit import Broker, TextWire, ack, bodies, epoch, resubscribe

STREAM = {"/topic/s": policies.Stream(history=5, seconds=60.0)}


# History and recovery


def test_every_subscribe_to_a_history_says_where_it_is() -> None:
    with Broker(STREAM) as world:
        peer = world.connect()
        headers = resubscribe(peer).headers
        assert headers == {"receipt-id": "r", "last-message-id": f"{epoch(world)}-0"}
        world.publish("/topic/s", "1")
        message = peer.message()
        assert message.headers["message-id"] == f"{epoch(world)}-1"
        assert "replayed" not in message.headers
        other = world.connect()
        assert resubscribe(other).headers["last-message-id"] == f"{epoch(world)}-1"
        other.nothing()


def test_history_is_kept_though_nobody_is_subscribed() -> None:
    with Broker(STREAM) as world:
        world.publish("/topic/s", "1", "2")
        peer = world.connect()
        headers = resubscribe(peer, last_message_id=f"{epoch(world)}-1").headers
        assert headers["recovered"] == "true"
        assert headers["replayed"] == "1"
        assert headers["last-message-id"] == f"{epoch(world)}-2"
        message = peer.message()
        assert message.body == b"2"
        assert message.headers["replayed"] == "true"
        world.publish("/topic/s", "3")
        assert "replayed" not in peer.message().headers
        assert world.counters.recoveries == 1


@pytest.mark.parametrize(
    ("offset", "recovered", "replayed"),
    [
        ("8", True, []),
        ("7", True, ["8"]),
        ("3", True, ["4", "5", "6", "7", "8"]),
        ("2", False, []),
        ("0", False, []),
        ("9", False, []),
        ("x", False, []),
        ("", False, []),
        ("-1", False, []),
        ("9" * 30, False, []),
        ("٣", False, []),
    ],
)
def test_recovery_is_all_or_nothing(offset: str, recovered: bool, replayed: list[str]) -> None:
    with Broker(STREAM) as world:
        world.publish("/topic/s", *"12345678")
        peer = world.connect()
        headers = resubscribe(peer, last_message_id=f"{epoch(world)}-{offset}").headers
        assert headers["recovered"] == ("true" if recovered else "false")
        assert headers["replayed"] == str(len(replayed))
        assert bodies(peer) == replayed
        world.publish("/topic/s", "9")
        assert bodies(peer) == ["9"]


def test_another_epoch_recovers_nothing() -> None:
    with Broker(STREAM) as world:
        world.publish("/topic/s", "1")
        for wanted in ("other-1", "-1", "1", ""):
            peer = world.connect()
            assert resubscribe(peer, last_message_id=wanted).headers["recovered"] == "false"
            peer.nothing()
        assert world.counters.recoveries_failed == 4


def test_messages_expire_and_the_epoch_does_not() -> None:
    with Broker(STREAM) as world:
        world.publish("/topic/s", "1", "2")
        world.advance(60.1)
        at_top, before = world.connect(), world.connect()
        headers = resubscribe(at_top, last_message_id=f"{epoch(world)}-2").headers
        assert (headers["recovered"], headers["replayed"]) == ("true", "0")
        headers = resubscribe(before, last_message_id=f"{epoch(world)}-1").headers
        assert headers["recovered"] == "false"
        world.advance(86_400)
        late = world.connect()
        headers = resubscribe(late, last_message_id=f"{epoch(world)}-2").headers
        assert headers["recovered"] == "true"


def test_without_a_receipt_the_next_message_says_that_it_failed() -> None:
    with Broker(STREAM) as world:
        world.publish("/topic/s", "1")
        peer = world.connect()
        peer.command(
            "SUBSCRIBE", {"destination": "/topic/s", "id": "s", "last-message-id": "other-1"}
        )
        world.publish("/topic/s", "2", "3")
        first, second = peer.frames()
        assert first.headers["recovered"] == "false"
        assert "recovered" not in second.headers


@pytest.mark.parametrize("place", ["/topic/plain", "/user/queue/x"])
def test_where_there_is_no_history_nothing_is_recovered(place: str) -> None:
    with Broker(STREAM) as world:
        peer = world.connect()
        headers = resubscribe(peer, place, last_message_id="e-1").headers
        assert headers == {"receipt-id": "r", "recovered": "false", "replayed": "0"}


def test_a_replay_of_ten_mailboxes_has_no_gap_and_no_duplicate() -> None:
    places = {"/topic/s": policies.Stream(history=1000, seconds=60.0)}
    with Broker(places, durable_bytes=10**7, send_queue=65_536) as world:
        for number in range(700):
            world.publish("/topic/s", f"{number:04}" + "x" * 1000)
        peer = world.connect()
        headers = resubscribe(peer, last_message_id=f"{epoch(world)}-0").headers
        assert headers["replayed"] == "700"
        world.publish("/topic/s", "live")
        got = bodies(peer)
        assert [body[:4] for body in got] == [f"{n:04}" for n in range(700)] + ["live"]
        assert peer.closed is None


def test_a_blocked_reader_goes_on_where_it_was_among_live_messages() -> None:
    places = {"/topic/s": policies.Stream(history=1000, seconds=60.0)}
    with Broker(places, durable_bytes=10**7) as world:
        for number in range(200):
            world.publish("/topic/s", f"{number:04}" + "x" * 1000)
        peer = world.connect()
        peer.stream.open_window(5_000)
        peer.command(
            "SUBSCRIBE",
            {"destination": "/topic/s", "id": "s", "last-message-id": f"{epoch(world)}-0"},
        )
        for number in range(200, 300):
            world.publish("/topic/s", f"{number:04}" + "x" * 1000)
        (session,) = world.broker.sessions.values()
        assert session.mailbox.queued <= 70_000
        peer.stream.open_window(None)
        world.settle()
        assert [body[:4] for body in bodies(peer)] == [f"{n:04}" for n in range(300)]


def test_a_history_that_overtakes_its_reader_closes_with_4010() -> None:
    with Broker(STREAM) as world:
        world.publish("/topic/s", *"12345")
        peer = world.connect()
        resubscribe(peer, ack="client", last_message_id=f"{epoch(world)}-0", prefetch_count="1")
        assert bodies(peer) == ["1"]
        world.publish("/topic/s", "6")
        assert peer.closed is None
        world.publish("/topic/s", "7")
        assert peer.closed == 4010


def test_what_is_replayed_is_an_ordinary_delivery() -> None:
    with Broker(STREAM) as world:
        world.publish("/topic/s", *"123")
        peer = world.connect()
        resubscribe(peer, ack="client", last_message_id=f"{epoch(world)}-0", prefetch_count="2")
        one, two = peer.frames()
        assert one.headers["replayed"] == "true"
        assert one.headers["redelivered"] == "false"
        ack(peer, two)
        assert bodies(peer) == ["3"]
        world.advance(30.1)
        headers = peer.message().headers
        assert headers["delivery-attempt"] == "2"


def test_one_message_larger_than_all_history_is_kept_alone() -> None:
    with Broker(STREAM, durable_bytes=1_000) as world:
        world.publish("/topic/s", "1", "x" * 2_000)
        peer = world.connect()
        resubscribe(peer, last_message_id=f"{epoch(world)}-1")
        assert len(bodies(peer)) == 1


# Slow consumers


def test_a_subscriber_that_does_not_keep_up_is_closed_with_4008() -> None:
    with Broker(send_queue=1_000) as world:
        peer = world.reader("/topic/a")
        healthy = world.reader("/topic/a")
        peer.stream.open_window(0)
        for _ in range(12):
            world.publish("/topic/a", "x" * 100)
        assert world.counters.slow_consumers == 0
        world.advance(1.1)
        assert world.counters.slow_consumers == 1
        assert len(bodies(healthy)) == 12
        peer.stream.open_window(None)
        world.settle()
        assert peer.closed == 4008


def test_drop_oldest_keeps_the_newest_and_tells_how_many_are_gone() -> None:
    with Broker({"/topic/a": policies.Topic(overflow="drop_oldest")}, send_queue=1_000) as world:
        peer = world.reader("/topic/a")
        peer.stream.open_window(0)
        for number in range(40):
            world.publish("/topic/a", f"{number:03}" + "x" * 100)
        assert peer.closed is None
        assert world.counters.messages_dropped > 0
        assert world.heard(MessageDropped)[0].reason == "slow-consumer"
        peer.stream.open_window(None)
        world.settle()
        world.publish("/topic/a", "end")
        frames = peer.frames()
        told = sum(int(frame.headers.get("dropped", "0")) for frame in frames)
        assert len(frames) + told == 41
        assert told == world.counters.messages_dropped
        numbers = [frame.body for frame in frames]
        assert numbers == sorted(numbers)
        assert "dropped" not in frames[0].headers


def test_a_healthy_subscriber_survives_5000_messages_in_one_go() -> None:
    with Broker() as world:
        peer = world.reader("/topic/a")
        for number in range(5_000):
            world.app.template.send("/topic/a", f"{number}".encode() + b"x" * 200)
        world.settle()
        assert len(bodies(peer)) == 5_000


def test_the_mailboxes_of_all_sessions_together_are_bounded() -> None:
    with Broker(send_queue=5_000, max_total_queued=5_000) as world:
        peers = [world.reader("/topic/a") for _ in range(2)]
        alone = world.reader("/topic/b")
        for peer in [*peers, alone]:
            peer.stream.open_window(0)
        for _ in range(30):
            world.publish("/topic/a", "x" * 300)
            world.publish("/topic/b", "y" * 300)
        assert world.broker.office.total <= 5_000
        assert world.counters.slow_consumers >= 1


def test_a_shared_entry_counts_once() -> None:
    with Broker() as world:
        peers = [world.reader("/topic/a") for _ in range(5)]
        for peer in peers:
            peer.stream.open_window(0)
        world.publish("/topic/a", "1")
        world.publish("/topic/a", "2")
        (size,) = {session.mailbox.queued for session in world.broker.sessions.values()}
        assert world.broker.office.total == size
        for peer in peers:
            peer.eof()
        assert world.broker.office.total == 0


def test_a_clock_starts_when_a_message_leaves_the_log_and_not_before() -> None:
    with Broker() as world:
        peer = world.reader("/topic/a", ack="client", prefetch_count="1")
        world.publish("/topic/a", "1", "2")
        first = peer.message()
        peer.subscribe("/topic/b", "b")
        peer.stream.open_window(0)
        world.publish("/topic/b", "stuck")
        ack(peer, first)
        world.advance(40)
        peer.stream.open_window(None)
        world.settle()
        world.advance(29)
        assert world.counters.ack_timeouts == 0


# Receipts


def test_the_receipt_of_subscribe_comes_before_its_first_message() -> None:
    with Broker({"/topic/l": policies.Latest()}) as world:
        world.publish("/topic/l", "1")
        peer = world.connect()
        peer.command("SUBSCRIBE", {"destination": "/topic/l", "id": "s", "receipt": "r"})
        assert [frame.command for frame in peer.frames()] == ["RECEIPT", "MESSAGE"]


def test_nothing_follows_the_receipt_of_unsubscribe() -> None:
    with Broker() as world:
        peer = world.reader("/topic/a", ack="client")
        world.publish("/topic/a", "1")
        ack(peer, peer.message(), "NACK")
        ack(peer, peer.message(), "NACK")
        peer.command("UNSUBSCRIBE", {"id": "s", "receipt": "u"})
        peer.frame("RECEIPT")
        world.publish("/topic/a", "2")
        world.advance(100)
        peer.nothing()


# Wires that carry text only


@pytest.mark.parametrize("address", ["/topic/a", "/topic/h/a"])
def test_a_group_that_cannot_get_it_is_asked_as_one_and_nothing_is_made_for_it(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = Room()
    topic = room.topic(address)
    texts = [room.live(topic, room.session(TextWire())) for _ in range(3)]
    other = room.live(topic)
    dressed: list[bool] = []
    dress = TextWire.dress

    def noted(wire: TextWire, head: bytes, tail: bytes, text: bool) -> Chunk | None:
        dressed.append(text)
        return dress(wire, head, tail, text)

    monkeypatch.setattr(TextWire, "dress", noted)
    room.publish(topic, b"\xff")
    assert dressed == []
    assert len(other.session.mailbox.entries) == 1
    assert [(each.next, each.dropped) for each in texts] == [(2, 1)] * 3
    assert list(topic.behind) == texts
    room.publish(topic, "1")
    for each in texts:
        room.readers.pull(each.session)
    assert [waiting(each) for each in texts] == [["1"]] * 3
    assert not topic.behind
    dressed.clear()
    room.publish(topic, "2")
    assert dressed == [True]


def test_who_has_not_come_there_yet_has_not_lost_it_and_is_no_receiver() -> None:
    room = Room()
    topic = room.topic("/topic/h/a")
    texts = room.behind(topic, session=room.session(TextWire()))
    other = room.behind(topic)
    room.keep(topic, "1")
    assert room.delivery.topics.publish(topic, room.item(b"\xff"), None) == 1
    assert (texts.next, texts.dropped) == (1, 0)
    room.readers.pull(texts.session)
    assert (texts.next, texts.dropped) == (3, 1)
    assert other.dropped == 0


def test_who_waits_for_a_snapshot_loses_it_behind_that() -> None:
    room = Room()
    topic = room.topic()
    reader = room.behind(topic, session=room.session(TextWire()))
    reader.blocked = True
    assert room.delivery.topics.publish(topic, room.item(b"\xff"), None) == 0
    assert (reader.next, reader.dropped, len(topic.log)) == (1, 0, 1)


def test_newest_values_are_lost_at_once_by_who_is_live() -> None:
    room = Room()
    topic = room.topic("/topic/latest")
    texts, other = room.live(topic, room.session(TextWire())), room.live(topic)
    assert room.delivery.topics.publish(topic, room.item(b"\xff"), None) == 1
    assert (texts.next, texts.dropped) == (2, 1)
    assert (other.next, other.dropped) == (1, 0)


def test_a_full_window_loses_it_as_well_and_none_is_used() -> None:
    room = Room()
    topic = room.topic()
    reader = room.behind(topic, session=room.session(TextWire()), window=1)
    room.readers.go_live(reader)
    room.publish(topic, "1", b"\xff")
    assert reader.ledger is not None
    assert (len(reader.ledger), reader.dropped, reader.next) == (1, 1, 3)

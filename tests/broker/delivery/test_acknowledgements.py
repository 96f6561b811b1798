"""ACK, NACK, timeouts, retries and dead letters, on the wire (STOMP 1.2, "ACK", "NACK")."""

from __future__ import annotations

import asyncio

import pytest

from stocksync_ws import policies
from stocksync_ws.broker.calls.events import DeadLetter, SessionDisconnected
from stocksync_ws.testing.peer import Peer
from tests.broker.delivery.room import Room, empty, waiting
from tests.broker.kit import Broker, ack, bodies, policy, refused

HEADS = {
    "1.0": b"MESSAGE\nsubscription:s\nredelivered:false\n",
    "1.1": b"MESSAGE\nsubscription:s\nredelivered:false\n",
    "1.2": b"MESSAGE\nsubscription:s\nack:s.1\nredelivered:false\n",
}


@pytest.mark.parametrize("version", ["1.0", "1.1", "1.2"])
def test_the_exact_message_of_each_version(version: str) -> None:
    with Broker() as world:
        peer = world.reader("/topic/a", version, ack="client")
        world.publish("/topic/a", "hi")
        (raw,) = peer.raw()
        epoch = raw.partition(b"message-id:")[2].partition(b"-1\n")[0]
        tail = b"destination:/topic/a\nmessage-id:" + epoch + b"-1\ncontent-length:2\n\nhi\x00"
        assert raw == HEADS[version] + tail


@pytest.mark.parametrize("version", ["1.0", "1.1", "1.2"])
@pytest.mark.parametrize("place", ["/topic/a", "/queue/a"])
def test_ack_settles_in_the_form_of_each_version(version: str, place: str) -> None:
    with Broker(ack_window=1) as world:
        peer = world.reader(place, version, ack="client-individual")
        world.publish(place, "1", "2")
        first = peer.message()
        peer.nothing()
        ack(peer, first, receipt="r")
        frames = peer.frames()
        assert {frame.command for frame in frames} == {"RECEIPT", "MESSAGE"}
        assert world.counters.messages_settled == 1
        world.advance(29)
        peer.nothing()


def test_1_0_without_subscription_settles_wherever_it_is_out() -> None:
    with Broker() as world:
        peer = world.connect("1.0")
        peer.subscribe("/topic/a", "x", ack="client")
        peer.subscribe("/topic/a", "y", ack="client")
        world.publish("/topic/a", "1")
        message = peer.message()
        peer.message()
        peer.command("ACK", {"message-id": message.headers["message-id"], "receipt": "r"})
        peer.frame("RECEIPT")
        assert world.counters.messages_settled == 2


def test_1_0_with_subscription_settles_there_only() -> None:
    with Broker() as world:
        peer = world.connect("1.0")
        peer.subscribe("/topic/a", "x", ack="client")
        peer.subscribe("/topic/a", "y", ack="client")
        world.publish("/topic/a", "1")
        ack(peer, peer.message())
        assert world.counters.messages_settled == 1


def three(peer: Peer) -> list[str]:
    return [peer.message().headers["ack"] for _ in range(3)]


def test_client_mode_is_cumulative_within_its_own_subscription() -> None:
    with Broker() as world:
        peer = world.connect()
        peer.subscribe("/topic/a", "x", ack="client")
        peer.subscribe("/topic/b", "y", ack="client")
        world.publish("/topic/b", "other")
        world.publish("/topic/a", "1", "2", "3")
        peer.message()
        ids = three(peer)
        peer.command("ACK", {"id": ids[1]})
        assert world.counters.messages_settled == 2
        world.advance(31)
        assert sorted(bodies(peer)) == ["3", "other"]


def test_cumulative_means_delivered_earlier_not_numbered_lower() -> None:
    with Broker() as world:
        peer = world.reader("/topic/a", ack="client")
        world.publish("/topic/a", "1", "2", "3")
        ids = three(peer)
        peer.command("NACK", {"id": ids[0]})
        assert bodies(peer) == ["1"]
        peer.command("ACK", {"id": ids[1]})
        assert world.counters.messages_settled == 1
        peer.command("ACK", {"id": ids[0]})
        assert world.counters.messages_settled == 3


def test_individual_mode_settles_one() -> None:
    with Broker() as world:
        peer = world.reader("/topic/a", ack="client-individual")
        world.publish("/topic/a", "1", "2", "3")
        ids = three(peer)
        peer.command("ACK", {"id": ids[2]})
        assert world.counters.messages_settled == 1


@pytest.mark.parametrize("place", ["/topic/a", "/queue/a"])
def test_nack_in_client_mode_gives_back_everything_up_to_it_in_order(place: str) -> None:
    with Broker() as world:
        peer = world.reader(place, ack="client", prefetch_count="3")
        world.publish(place, "1", "2", "3", "4")
        ids = three(peer)
        peer.command("NACK", {"id": ids[1]})
        again = peer.frames()
        assert [frame.body for frame in again] == [b"1", b"2"]
        assert all(frame.headers["redelivered"] == "true" for frame in again)
        assert all(frame.headers["delivery-attempt"] == "2" for frame in again)


def test_nack_of_a_whole_queue_window_keeps_the_order_before_what_waits() -> None:
    with Broker() as world:
        peer = world.reader("/queue/a", ack="client", prefetch_count="3")
        world.publish("/queue/a", "1", "2", "3", "4")
        ids = three(peer)
        peer.command("NACK", {"id": ids[2]})
        assert bodies(peer) == ["1", "2", "3"]


@pytest.mark.parametrize("word", ["False", "FALSE", "0", "True", "1"])
@pytest.mark.parametrize("transaction", [False, True])
def test_requeue_is_said_in_any_case(word: str, transaction: bool) -> None:
    with Broker({"/queue/a": policies.Queue(dead_letter="/queue/dead")}) as world:
        dead = world.reader("/queue/dead")
        peer = world.reader("/queue/a", ack="client-individual")
        world.publish("/queue/a", "1")
        fields = {"requeue": word}
        if transaction:
            peer.command("BEGIN", {"transaction": "t"})
            fields["transaction"] = "t"
        ack(peer, peer.message(), "NACK", **fields)
        if transaction:
            peer.command("COMMIT", {"transaction": "t"})
        again = word in ("True", "1")
        assert (len(bodies(peer)), len(bodies(dead))) == ((1, 0) if again else (0, 1))


@pytest.mark.parametrize("transaction", [{}, {"transaction": "t"}])
def test_requeue_that_is_no_word_settles_nothing(transaction: dict[str, str]) -> None:
    with Broker({"/queue/a": policies.Queue(dead_letter="/queue/dead")}) as world:
        peer = world.reader("/queue/a", ack="client-individual")
        world.publish("/queue/a", "1")
        peer.command("BEGIN", {"transaction": "t"})
        ack(peer, peer.message(), "NACK", requeue="no", **transaction)
        refused(peer, "bad-header", 1002)
        assert bodies(world.reader("/queue/a")) == ["1"]
        assert not world.heard(DeadLetter)


@pytest.mark.parametrize("place", ["/topic/a", "/queue/a"])
def test_requeue_false_is_a_dead_letter(place: str) -> None:
    with Broker({place: policy(place, dead_letter="/queue/dead")}) as world:
        dead = world.reader("/queue/dead")
        peer = world.reader(place, ack="client-individual")
        world.publish(place, "1", kind="k")
        ack(peer, peer.message(), "NACK", requeue="false")
        peer.nothing()
        headers = dead.message().headers
        assert headers["destination"] == "/queue/dead"
        assert headers["original-destination"] == place
        assert headers["x-death-reason"] == "rejected"
        assert headers["delivery-attempt"] == "1"
        assert headers["kind"] == "k"
        (event,) = world.heard(DeadLetter)
        assert (event.reason, event.deliveries, event.body) == ("rejected", 1, b"1")


@pytest.mark.parametrize("place", ["/topic/a", "/queue/a"])
def test_the_pauses_are_a_setting_and_the_last_one_holds_for_the_rest(place: str) -> None:
    with Broker({place: policy(place, retry=(2, 0.5))}) as world:
        peer = world.reader(place, ack="client-individual")
        world.publish(place, "1")
        for pause in (2, 0.5, 0.5, 0.5):
            ack(peer, peer.message(), "NACK")
            world.advance(pause - 0.01)
            peer.nothing()
            world.advance(0.02)
        assert peer.message().headers["delivery-attempt"] == "5"


@pytest.mark.parametrize("place", ["/topic/a", "/queue/a"])
def test_the_second_follows_at_once_then_after_1_2_and_4_seconds(place: str) -> None:
    with Broker({place: policy(place, dead_letter="/queue/dead")}) as world:
        dead = world.reader("/queue/dead")
        peer = world.reader(place, ack="client-individual")
        world.publish(place, "1")
        message = peer.message()
        assert message.headers["redelivered"] == "false"
        assert "delivery-attempt" not in message.headers
        for attempt, pause in ((2, 0.0), (3, 1.0), (4, 2.0), (5, 4.0)):
            ack(peer, message, "NACK")
            if pause:
                world.advance(pause - 0.01)
                peer.nothing()
                world.advance(0.02)
            message = peer.message()
            assert message.headers["redelivered"] == "true"
            assert message.headers["delivery-attempt"] == str(attempt)
        ack(peer, message, "NACK")
        world.advance(100)
        peer.nothing()
        headers = dead.message().headers
        assert headers["x-death-reason"] == "attempts"
        assert headers["delivery-attempt"] == "5"
        assert world.counters.messages_dead == 1


def test_a_dead_letter_of_a_dead_letter_is_only_told() -> None:
    places = {"/queue/**": policies.Queue(dead_letter="/queue/dead")}
    with Broker(places) as world:
        world.publish("/queue/a", "1")
        peer = world.reader("/queue/a", ack="client-individual")
        ack(peer, peer.message(), "NACK", requeue="false")
        dead = world.reader("/queue/dead", ack="client-individual")
        ack(dead, dead.message(), "NACK", requeue="false")
        dead.nothing()
        assert len(world.heard(DeadLetter)) == 2


def test_of_what_is_late_only_what_was_not_sent_is_out_for_longer() -> None:
    room = Room()
    topic = room.topic()
    reader = room.behind(topic, window=10)
    assert reader.ledger is not None
    reader.session.subscriptions.ledgers = {"s": reader.ledger}
    room.publish(topic, "1", "2", "3")
    room.readers.pull(reader.session)
    unsent, *_ = reader.session.mailbox.entries
    empty(reader)
    reader.session.mailbox.append(unsent)
    room.env.step.now = 31.0
    room.delivery.acks.expire(reader.session)
    assert room.env.counters.ack_timeouts == 2
    assert waiting(reader) == ["1", "2", "3"]


def test_ack_timeout_is_30_seconds_on_topics_and_off_on_queues() -> None:
    with Broker() as world:
        topic = world.reader("/topic/a", ack="client-individual")
        queue = world.reader("/queue/a", ack="client-individual")
        world.publish("/topic/a", "1")
        world.publish("/queue/a", "1")
        topic.message()
        queue.message()
        world.advance(29.9)
        topic.nothing()
        world.advance(0.2)
        assert topic.message().headers["delivery-attempt"] == "2"
        world.advance(86_400)
        queue.nothing()
        assert world.counters.ack_timeouts == 5


def test_a_queue_times_out_where_the_policy_says_so() -> None:
    with Broker({"/queue/a": policies.Queue(ack_timeout=5.0)}) as world:
        first = world.reader("/queue/a", ack="client-individual")
        second = world.reader("/queue/a", ack="client-individual")
        world.publish("/queue/a", "1")
        first.message()
        world.advance(5.1)
        assert second.message().headers["redelivered"] == "true"


def test_the_ack_clock_stands_while_we_do_not_read() -> None:
    release = asyncio.Event()

    async def wait() -> None:
        await release.wait()

    with Broker(prepare=lambda app: app.message_mapping("/wait")(wait)) as world:
        peer = world.reader("/topic/a", ack="client-individual")
        world.publish("/topic/a", "1")
        message = peer.message()
        world.advance(10)
        peer.send_to("/app/wait")
        ack(peer, message)
        world.advance(25)
        peer.nothing()
        assert world.counters.ack_timeouts == 0
        release.set()
        world.settle()
        assert world.counters.messages_settled == 1


def test_prefetch_count_narrows_the_window_and_0_or_more_mean_the_window() -> None:
    with Broker(ack_window=4) as world:
        for given, expected in (("1", 1), ("3", 3), ("4", 4), ("0", 4), ("99", 4)):
            peer = world.reader("/topic/a", ack="client-individual", prefetch_count=given)
            world.publish("/topic/a", *"abcdef")
            assert len(bodies(peer)) == expected


@pytest.mark.parametrize("given", ["-1", "x", "1.5", "", "٣", "99999999999"])
def test_any_other_prefetch_count_is_a_bad_header(given: str) -> None:
    with Broker() as world:
        peer = world.connect()
        fields = {"destination": "/topic/a", "id": "s", "ack": "client", "prefetch-count": given}
        peer.command("SUBSCRIBE", fields)
        assert peer.error().headers["code"] == "bad-header"


@pytest.mark.parametrize("place", ["/topic/a", "/queue/a"])
def test_the_window_counts_bytes_and_takes_one_of_any_size_when_empty(place: str) -> None:
    with Broker(ack_window_bytes=100) as world:
        peer = world.reader(place, ack="client-individual")
        world.publish(place, "x" * 500, "y")
        first = peer.message()
        peer.nothing()
        ack(peer, first)
        assert bodies(peer) == ["y"]


@pytest.mark.parametrize("bad", ["s.99", "t.1", "s", "s.", ".1", "s.-1", "s.01", "s.x", "x", "."])
def test_an_id_never_issued_is_unknown(bad: str) -> None:
    with Broker() as world:
        peer = world.reader("/topic/a", ack="client")
        world.publish("/topic/a", "1")
        peer.message()
        peer.command("ACK", {"id": bad, "receipt": "r"})
        error = peer.error()
        assert error.headers["code"] == "unknown-ack"
        assert error.headers["receipt-id"] == "r"
        assert peer.closed == 1002


@pytest.mark.parametrize("version", ["1.0", "1.1", "1.2"])
def test_what_was_settled_before_is_ignored_counted_and_receipted(version: str) -> None:
    with Broker() as world:
        peer = world.reader("/topic/a", version, ack="client")
        world.publish("/topic/a", "1")
        message = peer.message()
        ack(peer, message)
        ack(peer, message, receipt="r")
        assert peer.frame("RECEIPT").headers == {"receipt-id": "r"}
        assert world.counters.acks_ignored == 1
        assert world.counters.messages_settled == 1


def test_ack_that_names_an_auto_subscription_is_ignored() -> None:
    with Broker() as world:
        peer = world.reader("/topic/a")
        peer.command("ACK", {"id": "s.77", "subscription": "s", "receipt": "r"})
        peer.frame("RECEIPT")
        assert world.counters.acks_ignored == 1


def test_an_ack_after_unsubscribe_settles() -> None:
    with Broker() as world:
        peer = world.reader("/queue/a", ack="client")
        world.publish("/queue/a", "1")
        message = peer.message()
        peer.command("UNSUBSCRIBE", {"id": "s"})
        ack(peer, message, receipt="r")
        peer.frame("RECEIPT")
        assert world.counters.messages_settled == 1
        other = world.reader("/queue/a")
        other.nothing()


def test_a_nack_after_unsubscribe_gives_it_to_another_consumer_at_once() -> None:
    with Broker() as world:
        peer = world.reader("/queue/a", ack="client")
        world.publish("/queue/a", "1")
        message = peer.message()
        peer.command("UNSUBSCRIBE", {"id": "s"})
        other = world.reader("/queue/a")
        ack(peer, message, "NACK")
        assert other.message().headers["delivery-attempt"] == "2"


def test_a_topic_session_that_ends_tells_what_it_left() -> None:
    with Broker() as world:
        peer = world.reader("/topic/a", ack="client-individual")
        world.publish("/topic/a", "1", "2", "3")
        ack(peer, peer.message())
        peer.eof()
        (event,) = world.heard(SessionDisconnected)
        assert event.unacknowledged == 2
        assert world.counters.messages_unsettled == 2


def test_two_subscriptions_may_get_the_same_message_back_at_the_same_time() -> None:
    with Broker() as world:
        peer = world.connect()
        for name in "xyz":
            peer.subscribe("/topic/a", name, ack="client-individual")
        world.publish("/topic/a", "1")
        world.advance(31)
        world.advance(31)
        peer.frames()
        world.advance(10)
        assert world.counters.internal_errors == 0
        world.advance(200)
        assert world.counters.messages_dead == 3


def test_a_full_window_on_a_transient_topic_closes_or_drops_by_policy() -> None:
    places = {"/topic/lossy": policies.Topic(overflow="drop_oldest")}
    with Broker(places, pending_messages=2) as world:
        lossy = world.reader("/topic/lossy", ack="client-individual", prefetch_count="1")
        strict = world.reader("/topic/strict", ack="client-individual", prefetch_count="1")
        world.publish("/topic/strict", "1", "2", "3")
        first = strict.message()
        assert strict.closed is None
        ack(strict, first)
        assert strict.message().body == b"2"
        world.publish("/topic/strict", "4", "5")
        assert strict.closed == 4010
        world.publish("/topic/lossy", "1", "2", "3", "4", "5")
        ack(lossy, lossy.message())
        message = lossy.message()
        assert message.body == b"4"
        assert message.headers["dropped"] == "2"
        ack(lossy, message)
        assert "dropped" not in lossy.message().headers

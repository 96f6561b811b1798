"""Queues: kept, in order, in fair turn, given back, bounded; reply queues; expiry."""

from __future__ import annotations

import pytest

from stocksync_ws import BrokerBusy, StompApp, policies, send_to
from stocksync_ws.broker.calls.events import DeadLetter, MessageDropped
from tests.broker.kit import Broker, ack, bodies


def test_what_nobody_consumes_is_kept_and_comes_in_order() -> None:
    with Broker() as world:
        world.publish("/queue/a", "1", "2", "3")
        assert bodies(world.reader("/queue/a")) == ["1", "2", "3"]
        world.reader("/queue/a").nothing()


def test_consumers_are_served_in_turn() -> None:
    with Broker() as world:
        peers = [world.reader("/queue/a") for _ in range(3)]
        world.publish("/queue/a", *"123456")
        assert [bodies(peer) for peer in peers] == [["1", "4"], ["2", "5"], ["3", "6"]]


def test_a_full_or_blocked_consumer_is_skipped_and_keeps_its_turn() -> None:
    with Broker() as world:
        full = world.reader("/queue/a", ack="client", prefetch_count="1")
        blocked = world.reader("/queue/a")
        free = world.reader("/queue/a")
        blocked.stream.open_window(0)
        world.publish("/queue/a", *"123")
        world.publish("/queue/a", *"45")
        assert bodies(free) == ["3", "4", "5"]
        first = full.message()
        assert first.body == b"1"
        ack(full, first)
        world.publish("/queue/a", "6")
        assert bodies(full) == ["6"]
        blocked.stream.open_window(None)
        world.settle()
        assert bodies(blocked) == ["2"]


def test_a_session_that_ends_gives_back_at_once_to_another_in_order() -> None:
    with Broker() as world:
        first = world.reader("/queue/a", ack="client", prefetch_count="3")
        world.publish("/queue/a", *"12345")
        assert bodies(first) == ["1", "2", "3"]
        second = world.reader("/queue/a", ack="client")
        assert bodies(second) == ["4", "5"]
        first.eof()
        frames = second.frames()
        assert [frame.body for frame in frames] == [b"1", b"2", b"3"]
        assert all(frame.headers["redelivered"] == "true" for frame in frames)


def test_what_comes_back_takes_its_old_place_before_what_waits() -> None:
    with Broker() as world:
        first = world.reader("/queue/a", ack="client", prefetch_count="2")
        world.publish("/queue/a", *"1234")
        assert bodies(first) == ["1", "2"]
        first.eof()
        assert bodies(world.reader("/queue/a")) == ["1", "2", "3", "4"]


def test_a_lost_session_is_no_refusal_but_counts_as_a_delivery() -> None:
    with Broker() as world:
        world.publish("/queue/a", "1")
        for attempt in range(1, 7):
            peer = world.reader("/queue/a", ack="client")
            headers = peer.message().headers
            assert headers.get("delivery-attempt", "1") == str(attempt)
            peer.eof()
        world.reader("/queue/a").nothing()
        assert [event.deliveries for event in world.heard(DeadLetter)] == [6]


def test_auto_mode_is_settled_by_the_transport_and_not_before() -> None:
    """A consumer that dies: what it was handed is lost, what lay in its mailbox goes back."""
    with Broker() as world:
        peer = world.reader("/queue/a")
        peer.stream.open_window(0)
        world.publish("/queue/a", "1")
        assert peer.stream.unsent
        peer.send("")  # nothing; the next two are queued in one step, before a flush
        world.publish("/queue/a", "2")
        peer.eof()
        assert bodies(world.reader("/queue/a")) == ["2"]


def test_what_lies_in_the_mailbox_of_a_session_that_ends_goes_back() -> None:
    with Broker() as world:
        peer = world.reader("/queue/a")
        draft = world.app.template
        draft.send("/queue/a", b"1")
        world.runtime._inbox.drain()
        assert len(next(iter(world.broker.sessions.values())).mailbox.entries) == 1
        world.runtime.driver.ended(peer.stream.link)
        world.settle()
        again = world.reader("/queue/a").message()
        assert again.body == b"1"
        assert "redelivered" not in again.headers


def test_auto_mode_leaves_nothing_behind() -> None:
    with Broker() as world:
        peer = world.reader("/queue/a", ack="client")
        world.publish("/queue/a", "1")
        ack(peer, peer.message(), "NACK")
        peer.message()
        peer.eof()
        last = world.reader("/queue/a")
        assert last.message().headers["delivery-attempt"] == "3"
        last.command("UNSUBSCRIBE", {"id": "s"})
        assert not world.broker.delivery.registry.known
        assert len(world.broker.delivery.registry.queues) == 0


def test_a_queue_lives_while_it_has_messages_or_consumers() -> None:
    with Broker() as world:
        queues = world.broker.delivery.registry.queues
        peer = world.reader("/queue/a")
        assert len(queues) == 1
        peer.command("UNSUBSCRIBE", {"id": "s"})
        assert not queues
        world.publish("/queue/a", "1")
        assert len(queues) == 1
        peer.subscribe("/queue/a", "t", ack="client")
        message = peer.message()
        peer.command("UNSUBSCRIBE", {"id": "t"})
        assert len(queues) == 1
        ack(peer, message)
        assert not queues


@pytest.mark.parametrize(
    "limits",
    [{"queue_messages": 2}, {"queue_bytes": 25}, {"max_stored": 25}],
    ids=["messages", "bytes", "stored"],
)
def test_a_full_queue_is_an_error_for_clients_and_an_event_for_the_server(
    limits: dict[str, int],
) -> None:
    with Broker(**limits) as world:
        world.publish("/queue/a", "12", "34")
        world.publish("/queue/a", "5" * 20)
        (event,) = world.heard(MessageDropped)
        assert (event.destination, event.reason) == ("/queue/a", "queue-full")
        assert world.counters.messages_dropped == 1
        peer = world.connect()
        peer.send_to("/queue/a", "6" * 20, receipt="r")
        error = peer.error()
        assert error.headers["code"] == "queue-full"
        assert error.headers["receipt-id"] == "r"
        assert peer.closed == 1013
        assert bodies(world.reader("/queue/a")) == ["12", "34"]


@pytest.mark.parametrize("limits", [{"queue_messages": 1}, {"max_queues": 1}])
def test_an_awaited_publication_to_a_full_queue_is_refused_by_its_name(
    limits: dict[str, int],
) -> None:
    with Broker(**limits) as world:
        world.publish("/queue/a", "1")
        name = "/queue/b" if "max_queues" in limits else "/queue/a"
        with pytest.raises(BrokerBusy, match=f"the queue '{name}' is full"):
            world.run(world.app.template.publish(name, "2"))
        world.settle()
        assert [event.reason for event in world.heard(MessageDropped)] == ["queue-full"]
        world.app.template.convert_and_send(name, "3")
        world.settle()
        assert world.counters.messages_dropped == 2


def test_a_reply_to_a_full_queue_is_dropped_and_its_handler_has_not_failed() -> None:
    def prepare(app: StompApp) -> None:
        @app.message_mapping("/ask")
        @send_to("/queue/a")
        def ask() -> str:
            return "2"

    with Broker(prepare=prepare, queue_messages=1) as world:
        world.publish("/queue/a", "1")
        peer = world.connect()
        peer.send_to("/app/ask", receipt="r")
        assert peer.frame("RECEIPT").headers["receipt-id"] == "r"
        assert world.counters.messages_dropped == 1


def test_too_many_queues_are_refused() -> None:
    with Broker(max_queues=1) as world:
        world.publish("/queue/a", "1")
        world.publish("/queue/b", "1")
        assert len(world.heard(MessageDropped)) == 1
        peer = world.connect()
        peer.command("SUBSCRIBE", {"destination": "/queue/b", "id": "s"})
        assert peer.error().headers["code"] == "queue-full"


def test_a_full_dead_letter_queue_drops_with_event_and_counter() -> None:
    with Broker({"/queue/a": policies.Queue(dead_letter="/queue/dead")}, queue_messages=1) as world:
        world.publish("/queue/dead", "x")
        peer = world.reader("/queue/a", ack="client")
        world.publish("/queue/a", "1")
        ack(peer, peer.message(), "NACK", requeue="false")
        assert world.counters.messages_dead == 1
        assert [event.destination for event in world.heard(MessageDropped)] == ["/queue/dead"]


def test_an_expired_message_is_a_dead_letter() -> None:
    with Broker({"/queue/**": policies.Queue(dead_letter="/queue/dead")}) as world:
        world.publish("/queue/a", "1", expiration="1000")
        world.publish("/queue/a", "2")
        world.advance(1.1)
        assert bodies(world.reader("/queue/a")) == ["2"]
        (event,) = world.heard(DeadLetter)
        assert (event.reason, event.deliveries) == ("expired", 0)


def test_a_message_that_comes_back_when_its_time_is_over_is_dead_at_once() -> None:
    with Broker() as world:
        peer = world.reader("/queue/a", ack="client")
        world.publish("/queue/a", "1", expiration="1000")
        world.advance(20)
        peer.eof()
        assert [event.body for event in world.heard(DeadLetter)] == [b"1"]
        assert world.counters.stalls == 0  # its time was over long ago, which is no stall of ours


def test_expires_is_turned_into_a_remaining_time_by_the_wall_clock() -> None:
    with Broker() as world:
        wall = world.broker._sessions.publisher._wall()
        world.publish("/queue/a", "1", expires=str(int(wall * 1000) + 10_000))
        world.publish("/queue/a", "2", expires=str(int(wall * 1000) - 10_000))
        world.publish("/queue/a", "3", expires="0")
        world.advance(1)
        assert [event.body for event in world.heard(DeadLetter)] == [b"2"]
        world.advance(60)
        assert bodies(world.reader("/queue/a")) == ["3"]


def test_the_durable_header_changes_nothing_on_a_queue() -> None:
    with Broker() as world:
        peer = world.reader("/queue/a", durable="true")
        world.publish("/queue/a", "1")
        assert bodies(peer) == ["1"]


def test_a_reply_queue_is_private_and_dies_with_its_session() -> None:
    with Broker() as world:
        server = world.reader("/queue/rpc")
        client = world.connect()
        client.send_to("/queue/rpc", "q", reply_to="/temp-queue/x")
        client.send_to("/queue/rpc", "q", reply_to="/temp-queue/x")
        one, two = server.message(), server.message()
        address = one.headers["reply-to"]
        assert address == two.headers["reply-to"]
        assert address.startswith("/reply-queue/")
        server.send_to(address, "answer")
        answer = client.message()
        assert answer.body == b"answer"
        assert answer.headers["subscription"] == "/temp-queue/x"
        client.eof()
        # Who answers cannot know that nobody waits any more: it is counted, and no error.
        server.send_to(address, "late", receipt="late")
        assert server.frame("RECEIPT").headers["receipt-id"] == "late"
        assert world.counters.messages_unrouted == 1
        assert not [a for a in world.broker.delivery.registry.known if "reply" in str(a)]


@pytest.mark.parametrize("place", ["/temp-queue/x", "/reply-queue/x"])
def test_reply_queues_cannot_be_subscribed_to(place: str) -> None:
    with Broker() as world:
        peer = world.connect()
        peer.command("SUBSCRIBE", {"destination": place, "id": "s"})
        assert peer.error().headers["code"] in ("no-destination", "subscribe-denied")


def test_a_reply_in_the_mailbox_of_a_dead_session_is_gone_with_its_queue() -> None:
    with Broker() as world:
        server = world.reader("/queue/rpc")
        client = world.connect()
        client.send_to("/queue/rpc", "q", reply_to="/temp-queue/x")
        address = server.message().headers["reply-to"]
        client.stream.open_window(0)
        server.send_to(address, "1")
        server.send_to(address, "2")
        client.eof()
        assert world.broker.delivery.registry.stored.size == 0
        assert len(world.broker.delivery.registry.queues) == 1


def test_a_consumer_whose_mailbox_is_full_is_passed_over_until_it_was_flushed() -> None:
    with Broker(send_queue=1_000) as world:
        peer = world.reader("/queue/a")
        queue = world.broker.delivery.registry.queues["/queue/a"]
        for number in range(9):
            world.app.template.send("/queue/a", b"%d" % number + b"x" * 99)
        assert 0 < len(queue.log) < 9
        world.settle()
        assert [body[0] for body in bodies(peer)] == list("012345678")
        assert peer.closed is None


# Wires that carry text only


def test_of_several_consumers_one_that_can_be_sent_it_gets_it_and_the_others_keep_their_turn() -> (
    None
):
    with Broker() as world:
        texts = [world.text_reader("/queue/a") for _ in range(2)]
        other = world.reader("/queue/a")
        world.publish("/queue/a", b"\xff", "1", "2", "3")
        assert other.message().body == b"\xff"
        assert [bodies(peer) for peer in texts] == [["1"], ["2"]]
        assert bodies(other) == ["3"]
        assert world.counters.messages_dropped == 0


def test_a_message_that_no_consumer_can_be_sent_leaves_the_queue_and_reaches_nobody() -> None:
    with Broker() as world:
        peer = world.text_reader("/queue/a")
        assert world.receivers("/queue/a", b"\xff") == 0
        assert world.receivers("/queue/a", b"1") == 1
        assert peer.message().headers["dropped"] == "1"
        (event,) = world.heard(DeadLetter)
        assert (event.reason, event.deliveries) == ("binary", 0)
        assert world.broker.delivery.registry.stored.size == 0


def test_when_the_last_that_could_be_sent_it_leaves_the_queue_goes_on() -> None:
    with Broker() as world:
        other = world.reader("/queue/a", ack="client", prefetch_count="1")
        peer = world.text_reader("/queue/a")
        world.publish("/queue/a", b"\xff", b"\xff", "1")
        peer.nothing()
        other.command("UNSUBSCRIBE", {"id": "s"})
        assert peer.message().headers["dropped"] == "1"


def test_while_another_that_can_be_sent_it_stays_it_waits_for_that_one() -> None:
    with Broker() as world:
        others = [world.reader("/queue/a", ack="client", prefetch_count="1") for _ in range(2)]
        peer = world.text_reader("/queue/a")
        world.publish("/queue/a", b"\xff", b"\xff", b"\xff", "1")
        others[0].command("UNSUBSCRIBE", {"id": "s"})
        peer.nothing()
        ack(others[1], others[1].message())
        assert bodies(peer) == ["1"]
        assert others[1].message().body == b"\xff"
        assert world.counters.messages_dropped == 0


class TestNobodyConsumes:
    """After `queue_idle_seconds` what lies in the queue is a dead letter."""

    def test_its_time_runs_from_when_the_last_consumer_left(self) -> None:
        with Broker(queue_idle_seconds=100) as world:
            peer = world.reader("/queue/a", ack="client")
            world.publish("/queue/a", "1", "2")
            world.advance(150)
            peer.eof()
            world.advance(99)
            assert len(world.broker.delivery.registry.queues) == 1
            assert bodies(world.reader("/queue/a")) == ["1", "2"]
            assert not world.heard(MessageDropped)

    def test_while_somebody_consumes_it_stands_still_and_begins_anew(self) -> None:
        with Broker(queue_idle_seconds=100) as world:
            world.publish("/queue/a", "1")
            world.advance(60)
            peer = world.reader("/queue/a", ack="client")
            peer.message()
            world.advance(60)
            peer.eof()
            world.advance(99)
            assert not world.heard(MessageDropped)
            world.advance(2)
            [event] = world.heard(MessageDropped)
            assert (event.destination, event.reason, event.count) == ("/queue/a", "expired", 1)
            assert not world.broker.delivery.registry.known

    def test_what_pauses_expires_with_the_rest_in_its_order(self) -> None:
        dead = {"/queue/a": policies.Queue(dead_letter="/queue/dead", max_deliveries=9)}
        with Broker(dead, queue_idle_seconds=2) as world:
            peer = world.reader("/queue/a", ack="client-individual")
            world.publish("/queue/a", "1", "2")
            for _ in range(4):
                for message in peer.frames():
                    if message.body == b"1":
                        ack(peer, message, "NACK")
                world.advance(2)
            peer.eof()
            world.advance(2.1)
            letters = world.reader("/queue/dead").frames()
            assert [each.body for each in letters] == [b"1", b"2"]
            assert world.broker.delivery.registry.stored.size == 0
            assert [each.count for each in world.heard(MessageDropped)] == [2]

    def test_what_is_out_at_its_end_has_a_time_of_its_own(self) -> None:
        with Broker(queue_idle_seconds=100) as world:
            peer = world.reader("/queue/a", ack="client")
            world.publish("/queue/a", "out")
            peer.message()
            peer.command("UNSUBSCRIBE", {"id": "s"})
            world.publish("/queue/a", "in")
            world.advance(101)
            assert [each.count for each in world.heard(MessageDropped)] == [1]
            world.publish("/queue/a", "new")
            world.advance(50)
            peer.eof()
            assert bodies(world.reader("/queue/a")) == ["out", "new"]
            assert world.counters.stuck_deadlines == 0

    def test_where_everything_is_out_there_is_nothing_to_tell(self) -> None:
        with Broker(queue_idle_seconds=100) as world:
            peer = world.reader("/queue/a", ack="client")
            world.publish("/queue/a", "out")
            message = peer.message()
            peer.command("UNSUBSCRIBE", {"id": "s"})
            world.advance(101)
            assert not world.heard(MessageDropped)
            ack(peer, message)
            assert not world.broker.delivery.registry.known
            assert world.counters.stuck_deadlines == 0

    def test_an_empty_queue_has_none(self) -> None:
        with Broker(queue_idle_seconds=100) as world:
            peer = world.reader("/queue/a")
            peer.command("UNSUBSCRIBE", {"id": "s"})
            peer.eof()
            assert world.broker._step._timers.next() is None

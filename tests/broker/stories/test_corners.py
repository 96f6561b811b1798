"""Corners of delivery in which two rules meet."""

from __future__ import annotations

import asyncio

import pytest

from stocksync_ws import StompApp, policies
from stocksync_ws.broker.calls.events import DeadLetter, SessionDisconnected
from stocksync_ws.broker.model.ledger import EPOCHS
from stocksync_ws.stomp.encoder import encode
from tests.broker.kit import Broker, ack, bodies, resubscribe


def test_what_is_refused_behind_unsubscribe_on_a_topic_is_unsettled() -> None:
    with Broker() as world:
        peer = world.reader("/topic/a", ack="client")
        world.publish("/topic/a", "1")
        message = peer.message()
        peer.command("UNSUBSCRIBE", {"id": "s"})
        ack(peer, message, "NACK")
        peer.nothing()
        assert world.counters.messages_unsettled == 1


def test_what_is_refused_behind_unsubscribe_of_a_name_comes_back_with_the_name() -> None:
    with Broker() as world:
        peer = world.connect(login="ann")
        resubscribe(peer, durable="true", ack="client")
        world.publish("/topic/s", "1")
        message = peer.message()
        peer.command("UNSUBSCRIBE", {"id": "s"})
        ack(peer, message, "NACK")
        resubscribe(peer, durable="true", ack="client")
        assert peer.message().headers["delivery-attempt"] == "2"


def test_a_session_that_ends_between_two_deliveries_leaves_both() -> None:
    with Broker() as world:
        peer = world.reader("/topic/a", ack="client")
        world.publish("/topic/a", "1")
        for _ in range(2):
            ack(peer, peer.message(), "NACK")
        peer.eof()  # a second before the third delivery
        assert world.heard(SessionDisconnected)[0].unacknowledged == 1


def test_a_name_that_is_taken_between_two_deliveries_takes_them_with_it() -> None:
    with Broker() as world:
        first, second = world.connect(login="ann"), world.connect(login="ann")
        resubscribe(first, durable="true", ack="client-individual")
        world.publish("/topic/s", "1", "2")
        one, two = first.frames()
        ack(first, one, "NACK")
        ack(first, first.message(), "NACK")
        ack(first, two, "NACK")
        for _ in range(3):
            ack(first, first.message(), "NACK")
            world.advance(5)
        assert first.frames()  # the fifth of the one, or the third of the other
        resubscribe(second, durable="true", ack="client-individual")
        assert sorted(bodies(second)) == sorted(
            {"1", "2"} - {event.body.decode() for event in world.heard(DeadLetter)}
        )


def test_a_name_that_is_taken_over_counts_nothing() -> None:
    with Broker({"/topic/s": policies.Topic(max_deliveries=1)}) as world:
        sessions = [world.connect(login="ann") for _ in range(4)]
        resubscribe(sessions[0], durable="true", ack="client")
        world.publish("/topic/s", "1")
        assert sessions[0].message().headers["redelivered"] == "false"
        for peer in sessions[1:]:
            resubscribe(peer, durable="true", ack="client")
            again = peer.message().headers
            assert (again["redelivered"], again["delivery-attempt"]) == ("true", "1")
        assert not world.heard(DeadLetter)


def slow(app: StompApp) -> None:
    @app.message_mapping("/slow")
    async def slow_one(seconds: str) -> None:
        await asyncio.sleep(float(seconds))


def test_what_is_delivered_while_we_do_not_read_has_a_clock_of_its_own() -> None:
    with Broker(prepare=slow) as world:
        waiting = world.reader("/topic/a", ack="client-individual")
        ready = world.reader("/topic/a", ack="client-individual")
        for _ in range(2):
            waiting.send_to("/app/slow", "4")
        world.publish("/topic/a", "1")
        world.advance(31)
        assert world.counters.ack_timeouts == 1  # of the one that could acknowledge
        assert [len(bodies(peer)) for peer in (waiting, ready)] == [1, 2]
        world.advance(4)
        assert world.counters.ack_timeouts == 2


def test_the_epochs_that_an_id_remembers_are_bounded() -> None:
    with Broker({"/topic/**": policies.Stream()}) as world:
        peer = world.connect("1.1")
        first = None
        for number in range(EPOCHS + 2):
            peer.subscribe(f"/topic/{number}", "s", ack="client")
            world.publish(f"/topic/{number}", "x")
            message = peer.message()
            first = first or message
            ack(peer, message)
            peer.command("UNSUBSCRIBE", {"id": "s"})
        (session,) = world.broker.sessions.values()
        assert session.subscriptions.ledgers is not None
        assert len(session.subscriptions.ledgers["s"]._issued) == EPOCHS
        assert first is not None
        ack(peer, first)
        assert peer.error().headers["code"] == "unknown-ack"


def test_of_several_late_deliveries_only_those_that_are_late_go_back() -> None:
    with Broker() as world:
        peer = world.reader("/topic/a", ack="client-individual")
        world.publish("/topic/a", "1")
        world.advance(20)
        world.publish("/topic/a", "2")
        peer.frames()
        world.advance(10.5)
        assert bodies(peer) == ["1"]


def test_a_history_that_gave_way_under_a_reader_closes_it() -> None:
    kinds = {"/topic/**": policies.Stream()}
    with Broker(kinds, max_stored=200_000) as world:
        world.publish("/topic/s", *(f"{number}" * 22_000 for number in range(8)))
        peer = world.connect()
        peer.stream.open_window(0)
        channel = world.broker.delivery.registry.find("/topic/s")
        assert channel is not None
        fields = {
            "id": "s",
            "destination": "/topic/s",
            "last-message-id": channel.log.message_id(0),
        }
        peer.command("SUBSCRIBE", fields)
        world.publish("/topic/other", "x" * 190_000)
        assert not len(channel.log)
        peer.stream.open_window(None)
        assert peer.closed == 4010


def test_newest_values_give_way_before_the_whole_store_overflows() -> None:
    with Broker({"/topic/s": policies.Latest()}, max_stored=1_000) as world:
        for number in range(3):
            world.publish("/topic/s", "x" * 200, key=f"{number}")
        world.publish("/queue/a", "y" * 500)
        for number in range(3, 6):
            world.publish("/topic/s", "x" * 200, key=f"{number}")
        assert world.broker.delivery.registry.stored.size <= 1_000
        assert len(bodies(world.reader("/topic/s"))) == 2


def test_what_a_snapshot_waits_for_stays_in_the_history() -> None:
    go = asyncio.Event()

    def prepare(app: StompApp) -> None:
        @app.snapshot("/topic/s")
        async def snapshot() -> str:
            await go.wait()
            return "so far"

    with Broker({"/topic/s": policies.Stream(history=2)}, prepare=prepare) as world:
        peer = world.connect()
        peer.command("SUBSCRIBE", {"id": "s", "destination": "/topic/s"})
        world.publish("/topic/s", *"12345")
        go.set()
        world.settle()
        assert bodies(peer) == ["so far", *"12345"]
        channel = world.broker.delivery.registry.find("/topic/s")
        assert channel is not None
        world.publish("/topic/s", "6")
        assert len(channel.log) == 2


def test_who_lost_everything_that_waited_is_told_by_the_next_message() -> None:
    with Broker({"/topic/a": policies.Topic(overflow="drop_oldest")}, send_queue=1_000) as world:
        peer = world.reader("/topic/a")
        peer.stream.open_window(0)
        world.publish("/topic/a", "0")
        world.publish("/topic/a", *["1" * 460] * 2)
        world.publish("/topic/a", "2")
        peer.stream.open_window(None)
        frames = peer.frames()
        assert [frame.body[:1] for frame in frames] == [b"0", b"2"]
        assert frames[1].headers["dropped"] == "2"


def test_two_readers_of_a_session_share_the_room_of_its_mailbox() -> None:
    kinds = {"/topic/**": policies.Stream()}
    with Broker(kinds) as world:
        for place in "ab":
            world.publish(f"/topic/{place}", *(f"{n}" + "x" * 40_000 for n in range(4)))
        peer = world.connect()
        for place in "ab":
            channel = world.broker.delivery.registry.find(f"/topic/{place}")
            assert channel is not None
            peer.stream.open_window(0)
            fields = {"id": place, "destination": f"/topic/{place}"}
            peer.command("SUBSCRIBE", fields | {"last-message-id": channel.log.message_id(0)})
        peer.stream.open_window(None)
        got = [(f.headers["subscription"], f.body[:1].decode()) for f in peer.frames()]
        for place in "ab":
            assert [number for name, number in got if name == place] == ["0", "1", "2", "3"]


def test_histories_that_are_read_are_kept_beyond_their_number() -> None:
    with Broker({"/topic/**": policies.Stream()}, max_streams=1) as world:
        readers = [world.reader(f"/topic/{number}") for number in range(3)]
        assert len(world.broker.delivery.registry.histories) == 3
        for reader in readers:
            reader.eof()
        world.publish("/topic/new", "x")
        assert list(world.broker.delivery.registry.histories) == ["/topic/new"]


@pytest.mark.parametrize("limits", [{"max_queues": 1}, {"max_stored": 30}])
def test_a_commit_for_which_there_is_no_room_at_all_has_no_effect(
    limits: dict[str, int],
) -> None:
    with Broker(**limits) as world:
        peer = world.connect()
        peer.command("BEGIN", {"transaction": "t"})
        for place in "ab":
            peer.send_to(f"/queue/{place}", "x" * 10, transaction="t")
        peer.command("COMMIT", {"transaction": "t"})
        assert peer.error().headers["code"] == "queue-full"
        assert not world.broker.delivery.registry.known


def test_a_key_with_another_body_is_refused_when_it_comes_into_a_transaction() -> None:
    with Broker() as world:
        peer = world.connect(login="ann")
        peer.send_to("/topic/a", "1", idempotency_key="k")
        peer.command("BEGIN", {"transaction": "t"})
        peer.send_to("/topic/a", "2", idempotency_key="k", transaction="t")
        assert peer.error().headers["code"] == "idempotency-mismatch"


def test_a_key_is_not_remembered_where_there_is_no_handler() -> None:
    with Broker() as world:
        peer = world.connect(login="ann")
        peer.subscribe("/user/queue/errors")
        for _ in range(2):
            peer.send_to("/app/nothing", "1", idempotency_key="k")
            assert b"no-handler" in peer.message().body


def test_whoever_joined_a_run_and_is_gone_gets_nothing() -> None:
    with Broker(prepare=slow) as world:
        first, second = world.connect(login="ann"), world.connect(login="ann")
        first.send_to("/app/slow", "10", idempotency_key="k", receipt="r")
        second.send_to("/app/slow", "10", idempotency_key="k", receipt="r")
        second.eof()
        world.advance(10.5)
        first.frame("RECEIPT")
        assert world.counters.messages_duplicate == 0


def test_keys_of_all_users_together_are_bounded() -> None:
    with Broker(idempotency_keys=10) as world:
        for number in range(12):
            peer = world.connect(login=f"user{number}")
            peer.send_to("/topic/a", "1", idempotency_key="k")
        idempotency = world.broker.delivery.idempotency
        assert len(idempotency) == 10


def test_an_anonymous_session_that_has_ended_has_no_name_to_delete() -> None:
    with Broker(prepare=slow) as world:
        peer = world.connect()
        peer.send_to("/app/slow", "1")
        peer.command("UNSUBSCRIBE", {"id": "s", "durable": "true"})
        peer.eof()
        world.advance(11)
        assert not world.broker.sessions
        assert world.counters.internal_errors == 0


def test_a_header_with_a_lone_surrogate_cannot_be_sent() -> None:
    with Broker() as world, pytest.raises(ValueError, match="surrogate"):
        world.app.template.send("/topic/a", b"", {"name": "\udc80"})


def test_a_session_that_has_ended_deletes_no_name_that_is_unknown_or_held() -> None:
    with Broker(prepare=slow) as world:
        holder, peer = world.connect(login="ann"), world.connect(login="ann")
        resubscribe(holder, durable="true")
        peer.send_to("/app/slow", "1")
        for name in ("s", "unknown"):
            peer.command("UNSUBSCRIBE", {"id": name, "durable": "true"})
        peer.eof()
        world.advance(11)
        world.publish("/topic/s", "1")
        assert bodies(holder) == ["1"]
        assert world.counters.internal_errors == 0


def test_a_name_that_is_taken_in_a_pause_brings_what_waited_at_once() -> None:
    with Broker() as world:
        first, second = world.connect(login="ann"), world.connect(login="ann")
        resubscribe(first, durable="true", ack="client-individual")
        first.subscribe("/topic/other", "other", ack="client-individual")
        world.publish("/topic/s", "1")
        world.publish("/topic/other", "2")
        for message in first.frames():
            ack(first, message, "NACK")
            ack(first, first.message(), "NACK")
        first.nothing()  # a second before the third deliveries
        resubscribe(second, durable="true", ack="client-individual")
        assert second.message().headers["delivery-attempt"] == "3"
        world.advance(5)
        assert bodies(first) == ["2"]
        second.nothing()


def test_what_was_replayed_meanwhile_is_unsettled_once_when_its_transaction_is_aborted() -> None:
    with Broker({"/topic/s": policies.Stream()}) as world:
        peer = world.connect()
        before = resubscribe(peer, ack="client-individual").headers["last-message-id"]
        world.publish("/topic/s", "1")
        peer.command("BEGIN", {"transaction": "t"})
        ack(peer, peer.message(), transaction="t")
        peer.command("UNSUBSCRIBE", {"id": "s"})
        resubscribe(peer, ack="client-individual", last_message_id=before)
        message = peer.message()
        peer.command("ABORT", {"transaction": "t"})
        ack(peer, message)
        assert world.counters.messages_settled == 1
        peer.eof()
        assert world.heard(SessionDisconnected)[0].unacknowledged == 0


def test_of_an_id_that_is_forgotten_a_settled_redelivery_may_still_wait() -> None:
    with Broker(max_subscriptions=2) as world:
        peer = world.reader("/topic/a", ack="client-individual")
        peer.subscribe("/topic/o", "o")
        world.publish("/topic/a", "1")
        message = peer.message()
        peer.stream.open_window(0)
        world.publish("/topic/o", "0" * 1_000)
        ack(peer, message, "NACK")
        ack(peer, message)
        peer.command("UNSUBSCRIBE", {"id": "s"})
        for name in "123456":
            fields = {"destination": "/topic/b", "id": name, "ack": "client"}
            peer.command("SUBSCRIBE", fields)
            peer.command("UNSUBSCRIBE", {"id": name})
        peer.eof()
        assert world.counters.messages_settled == 1
        assert world.heard(SessionDisconnected)[0].unacknowledged == 0
        assert world.counters.internal_errors == 0


def test_what_died_in_a_stall_is_not_handed_to_a_window_that_opens() -> None:
    with Broker() as world:
        peer = world.reader("/topic/a", ack="client", prefetch_count="1")
        world.publish("/topic/a", "1")
        world.publish("/topic/a", "2", expiration="500")
        world.publish("/topic/a", "3")
        message = peer.message()
        world.loop.stall(0.8)  # the ACK is read before the timer runs
        ack(peer, message)
        assert bodies(peer) == ["3"]
        assert [event.body for event in world.heard(DeadLetter)] == [b"2"]


def test_an_acknowledgement_in_one_message_with_the_frame_in_work_is_not_late() -> None:
    with Broker({"/queue/a": policies.Queue(ack_timeout=5)}, prepare=slow) as world:
        peer = world.reader("/queue/a", ack="client")
        world.publish("/queue/a", "1")
        slowly = encode("SEND", {"destination": "/app/slow"}, b"8", peer.version)
        acked = encode("ACK", {"id": peer.message().headers["ack"]}, b"", peer.version)
        peer.send(slowly + acked)
        world.advance(9)
        peer.nothing()
        assert world.counters.messages_settled == 1


def test_an_acknowledgement_that_waits_is_not_late_because_its_stream_ended() -> None:
    with Broker({"/queue/a": policies.Queue(ack_timeout=5)}, prepare=slow) as world:
        peer, other = world.reader("/queue/a", ack="client"), world.connect()
        world.publish("/queue/a", "1")
        message = peer.message()
        peer.send_to("/app/slow", "8")
        ack(peer, message)
        world.advance(6)
        peer.eof()
        other.subscribe("/queue/a")
        world.advance(3)
        assert world.counters.messages_settled == 1
        other.nothing()

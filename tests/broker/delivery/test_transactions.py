"""BEGIN, COMMIT, ABORT: all or nothing, in order, bounded (STOMP 1.2, "BEGIN")."""

from __future__ import annotations

import pytest

from stocksync_ws import StompApp
from stocksync_ws.broker.calls.events import TransactionAborted
from tests.broker.kit import Broker, ack, bodies


def receipts(frames: list[object]) -> list[str]:
    return [f.headers["receipt-id"] for f in frames if f.command == "RECEIPT"]  # type: ignore


def test_nothing_happens_before_commit_and_all_of_it_in_order_then() -> None:
    with Broker() as world:
        reader = world.reader("/topic/a")
        peer = world.connect()
        peer.command("BEGIN", {"transaction": "t", "receipt": "b"})
        assert peer.frame("RECEIPT").headers["receipt-id"] == "b"
        for body in ("1", "2", "3"):
            peer.send_to("/topic/a", body, transaction="t", receipt=body)
        reader.nothing()
        peer.nothing()
        peer.command("COMMIT", {"transaction": "t", "receipt": "c"})
        assert bodies(reader) == ["1", "2", "3"]
        assert receipts(peer.frames()) == ["1", "2", "3", "c"]


def test_abort_undoes_and_its_frames_get_no_receipt() -> None:
    with Broker() as world:
        reader = world.reader("/topic/a")
        peer = world.connect()
        peer.command("BEGIN", {"transaction": "t"})
        peer.send_to("/topic/a", "1", transaction="t", receipt="1")
        peer.command("ABORT", {"transaction": "t", "receipt": "a"})
        assert receipts(peer.frames()) == ["a"]
        reader.nothing()


@pytest.mark.parametrize("command", ["COMMIT", "ABORT", "SEND", "ACK"])
def test_a_transaction_that_is_not_open_is_unknown(command: str) -> None:
    with Broker() as world:
        peer = world.connect()
        fields = {"transaction": "t", "destination": "/topic/a", "id": "s.1"}
        peer.command(command, fields)
        assert peer.error().headers["code"] == "unknown-transaction"


def test_begin_twice_and_one_too_many() -> None:
    with Broker(max_transactions=2) as world:
        peer = world.connect()
        peer.command("BEGIN", {"transaction": "t"})
        peer.command("BEGIN", {"transaction": "t"})
        assert peer.error().headers["code"] == "duplicate-transaction"
        peer = world.connect()
        for name in "tuv":
            peer.command("BEGIN", {"transaction": name})
        assert peer.error().headers["code"] == "limit"
        assert peer.closed == 1008


def test_too_many_frames_and_too_many_bytes() -> None:
    with Broker(max_transaction_frames=2, max_transaction_bytes=200) as world:
        peer = world.connect()
        peer.command("BEGIN", {"transaction": "t"})
        for _ in range(3):
            peer.send_to("/topic/a", "1", transaction="t")
        assert peer.error().headers["code"] == "limit"
        assert peer.closed == 1008
        peer = world.connect()
        peer.command("BEGIN", {"transaction": "t"})
        peer.send_to("/topic/a", "1" * 300, transaction="t")
        assert peer.error().headers["code"] == "limit"
        assert peer.closed == 1009


def test_it_is_aborted_at_60_seconds_with_an_event() -> None:
    with Broker() as world:
        peer = world.connect()
        peer.command("BEGIN", {"transaction": "t"})
        world.advance(59.9)
        assert not world.heard(TransactionAborted)
        world.advance(0.2)
        (event,) = world.heard(TransactionAborted)
        assert event.transaction == "t"
        assert world.counters.transactions_aborted == 1
        peer.send_to("/topic/a", "1", transaction="t")
        assert peer.error().headers["code"] == "unknown-transaction"


def test_a_session_that_ends_aborts() -> None:
    with Broker() as world:
        other = world.reader("/queue/b", ack="client")
        other.nothing()
        reader = world.reader("/topic/a")
        peer = world.reader("/queue/a", ack="client")
        world.publish("/queue/a", "1")
        peer.command("BEGIN", {"transaction": "t"})
        peer.send_to("/topic/a", "x", transaction="t")
        ack(peer, peer.message(), transaction="t")
        peer.eof()
        reader.nothing()
        assert world.reader("/queue/a").message().headers["delivery-attempt"] == "2"


def test_an_ack_inside_is_undone_by_abort_and_its_clock_runs_afresh() -> None:
    with Broker() as world:
        peer = world.reader("/topic/a", ack="client-individual")
        world.publish("/topic/a", "1")
        message = peer.message()
        world.advance(20)
        peer.command("BEGIN", {"transaction": "t"})
        ack(peer, message, transaction="t")
        world.advance(20)
        peer.nothing()
        peer.command("ABORT", {"transaction": "t"})
        assert world.counters.messages_settled == 0
        world.advance(29.9)
        peer.nothing()
        world.advance(0.2)
        assert peer.message().headers["delivery-attempt"] == "2"


def test_an_aborted_ack_has_its_old_place_in_the_order_of_delivery() -> None:
    with Broker() as world:
        peer = world.reader("/topic/a", ack="client")
        world.publish("/topic/a", "1", "2", "3")
        messages = peer.frames()
        peer.command("BEGIN", {"transaction": "t"})
        ack(peer, messages[0], transaction="t")
        peer.command("ABORT", {"transaction": "t"})
        ack(peer, messages[2])
        assert world.counters.messages_settled == 3


def test_an_ack_inside_does_not_open_the_window_before_commit() -> None:
    with Broker(ack_window=1) as world:
        peer = world.reader("/topic/a", ack="client")
        world.publish("/topic/a", "1", "2")
        message = peer.message()
        peer.command("BEGIN", {"transaction": "t"})
        ack(peer, message, transaction="t", receipt="a")
        world.publish("/topic/a", "3")
        peer.nothing()
        peer.command("COMMIT", {"transaction": "t", "receipt": "c"})
        frames = peer.frames()
        assert receipts(frames) == ["a", "c"]
        assert [f.body for f in frames if f.command == "MESSAGE"] == [b"2"]


def test_a_full_queue_undoes_the_whole_transaction() -> None:
    with Broker(queue_messages=2) as world:
        reader = world.reader("/topic/a")
        peer = world.connect()
        peer.command("BEGIN", {"transaction": "t"})
        peer.send_to("/topic/a", "1", transaction="t")
        for body in "123":
            peer.send_to("/queue/a", body, transaction="t")
        peer.command("COMMIT", {"transaction": "t", "receipt": "c"})
        error = peer.error()
        assert error.headers["code"] == "queue-full"
        assert error.headers["receipt-id"] == "c"
        reader.nothing()
        world.reader("/queue/a").nothing()


def test_a_nack_inside_cannot_take_the_room_that_commit_was_promised() -> None:
    with Broker(queue_messages=2) as world:
        peer = world.reader("/queue/a", ack="client", prefetch_count="1")
        world.publish("/queue/a", "1")
        message = peer.message()
        peer.command("UNSUBSCRIBE", {"id": "s"})
        peer.command("BEGIN", {"transaction": "t"})
        ack(peer, message, "NACK", transaction="t")
        peer.send_to("/queue/a", "2", transaction="t")
        peer.command("COMMIT", {"transaction": "t", "receipt": "c"})
        assert receipts(peer.frames()) == ["c"]
        assert bodies(world.reader("/queue/a")) == ["1", "2"]


def test_what_is_out_counts_against_the_bound_of_its_queue_until_it_is_settled() -> None:
    with Broker(queue_messages=1) as world:
        peer = world.reader("/queue/a", ack="client")
        world.publish("/queue/a", "1")
        message = peer.message()
        other = world.connect()
        other.send_to("/queue/a", "2")
        assert other.error().headers["code"] == "queue-full"
        ack(peer, message)
        world.connect().send_to("/queue/a", "3")
        assert bodies(peer) == ["3"]


def test_sends_to_handlers_run_after_the_broker_in_order_and_fail_alone() -> None:
    ran: list[str] = []

    def prepare(app: StompApp) -> None:
        @app.message_mapping("/do")
        async def do(body: str) -> None:
            ran.append(body)
            if body == "bad":
                raise ValueError(body)

    with Broker(prepare=prepare) as world:
        reader = world.reader("/topic/a")
        peer = world.connect()
        peer.subscribe("/user/queue/errors", "e")
        peer.command("BEGIN", {"transaction": "t"})
        for place, body in (("/app/do", "1"), ("/topic/a", "2"), ("/app/do", "bad")):
            peer.send_to(place, body, transaction="t", receipt=body)
        peer.send_to("/app/do", "3", transaction="t", receipt="3")
        assert ran == []
        peer.command("COMMIT", {"transaction": "t", "receipt": "c"})
        assert ran == ["1", "bad", "3"]
        assert bodies(reader) == ["2"]
        frames = peer.frames()
        assert receipts(frames) == ["1", "2", "3", "c"]
        (told,) = [frame.body for frame in frames if frame.command == "MESSAGE"]
        assert b'"code":"handler-failed"' in told
        assert b'"receipt_id":"bad"' in told


def test_a_denied_send_in_a_transaction_is_an_error_at_once() -> None:
    with Broker() as world:
        peer = world.connect()
        peer.command("BEGIN", {"transaction": "t"})
        peer.send_to("/user/queue/x", "1", transaction="t")
        assert peer.error().headers["code"] == "send-denied"

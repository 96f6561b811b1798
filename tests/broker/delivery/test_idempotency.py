"""SEND with an idempotency key: the table of its retries."""

from __future__ import annotations

import asyncio

from stocksync_ws import StompApp
from stocksync_ws.broker.model.owner import Owner
from tests.broker.kit import Broker, bodies


def test_a_repeat_is_not_published_and_is_told_the_first_message_id() -> None:
    with Broker() as world:
        reader = world.reader("/topic/a")
        peer = world.connect()
        peer.send_to("/topic/a", "1", idempotency_key="k", receipt="1")
        first = peer.frame("RECEIPT").headers
        peer.send_to("/topic/a", "1", idempotency_key="k", receipt="2")
        again = peer.frame("RECEIPT").headers
        message = reader.message()
        reader.nothing()
        assert first == {"receipt-id": "1", "message-id": message.headers["message-id"]}
        assert again["duplicate"] == "true"
        assert again["message-id"] == first["message-id"]
        assert "idempotency-key" not in message.headers
        assert world.counters.messages_duplicate == 1


def test_another_body_under_the_same_key_is_a_mismatch() -> None:
    with Broker() as world:
        peer = world.connect()
        peer.send_to("/topic/a", "1", idempotency_key="k")
        peer.send_to("/topic/a", "2", idempotency_key="k")
        assert peer.error().headers["code"] == "idempotency-mismatch"
        assert peer.closed == 1008


def test_a_key_belongs_to_a_user_or_an_anonymous_session_and_a_destination() -> None:
    with Broker() as world:
        reader = world.reader("/topic/a")
        other = world.reader("/topic/b")
        peers = [world.connect(login="ann"), world.connect(login="ann"), world.connect(login="bob")]
        peers += [world.connect(), world.connect()]
        for peer in peers:
            peer.send_to("/topic/a", "1", idempotency_key="k")
        assert len(bodies(reader)) == 4
        peers[0].send_to("/topic/b", "1", idempotency_key="k")
        assert len(bodies(other)) == 1


def test_a_key_is_forgotten_after_300_seconds() -> None:
    with Broker() as world:
        reader = world.reader("/topic/a")
        peer = world.connect()
        peer.send_to("/topic/a", "1", idempotency_key="k")
        world.advance(299)
        peer.send_to("/topic/a", "1", idempotency_key="k")
        assert len(bodies(reader)) == 1
        world.advance(2)
        peer.send_to("/topic/a", "1", idempotency_key="k")
        assert len(bodies(reader)) == 1


def test_a_failure_is_not_remembered() -> None:
    with Broker(queue_messages=1) as world:
        world.publish("/queue/a", "x")
        peer = world.connect(login="ann")
        peer.send_to("/queue/a", "1", idempotency_key="k")
        assert peer.error().headers["code"] == "queue-full"
        reader = world.reader("/queue/a")
        assert bodies(reader) == ["x"]
        world.connect(login="ann").send_to("/queue/a", "1", idempotency_key="k")
        assert bodies(reader) == ["1"]


def anonymous_of(world: Broker) -> Owner:
    """All anonymous sessions together."""
    return world.broker.delivery.idempotency._owners.anonymous


class Handler:
    """A handler that waits, and fails as often as it is told."""

    def __init__(self, failures: int = 0) -> None:
        self.runs = 0
        self.failures = failures
        self.release = asyncio.Event()

    def prepare(self, app: StompApp) -> None:
        @app.message_mapping("/do")
        async def do() -> None:
            self.runs += 1
            await self.release.wait()
            if self.runs <= self.failures:
                raise ValueError


def test_a_repeat_joins_the_first_while_it_runs() -> None:
    handler = Handler()
    with Broker(prepare=handler.prepare) as world:
        one, two = world.connect(login="ann"), world.connect(login="ann")
        one.send_to("/app/do", "x", idempotency_key="k", receipt="1")
        two.send_to("/app/do", "x", idempotency_key="k", receipt="2")
        two.nothing()
        handler.release.set()
        world.settle()
        assert "duplicate" not in one.frame("RECEIPT").headers
        assert two.frame("RECEIPT").headers["duplicate"] == "true"
        assert handler.runs == 1


def test_what_stands_behind_a_repeat_that_joined_waits_with_it() -> None:
    handler = Handler()
    with Broker(prepare=handler.prepare) as world:
        reader = world.reader("/topic/a")
        first, second = world.connect(login="ann"), world.connect(login="ann")
        first.send_to("/app/do", "1", idempotency_key="k")
        second.send_to("/app/do", "1", idempotency_key="k", receipt="1")
        second.send_to("/topic/a", "behind", receipt="2")
        reader.nothing()
        second.nothing()
        handler.release.set()
        world.settle()
        assert [frame.headers["receipt-id"] for frame in second.frames()] == ["1", "2"]
        assert bodies(reader) == ["behind"]


def test_a_repeat_that_joined_a_failure_runs_itself() -> None:
    handler = Handler(failures=1)
    with Broker(prepare=handler.prepare) as world:
        one, two = world.connect(login="ann"), world.connect(login="ann")
        one.send_to("/app/do", "x", idempotency_key="k", receipt="1")
        two.send_to("/app/do", "x", idempotency_key="k", receipt="2")
        handler.release.set()
        world.settle()
        assert one.error().headers["code"] == "handler-failed"
        assert two.frame("RECEIPT").headers == {"receipt-id": "2"}
        assert handler.runs == 2


def test_of_one_user_so_many_keys_are_remembered_as_its_share_and_the_next_is_refused() -> None:
    with Broker(idempotency_keys=20) as world:
        reader = world.reader("/topic/a")
        ann, bob = world.connect(login="ann"), world.connect(login="bob")
        bob.send_to("/topic/a", "b", idempotency_key="b")
        for key in "12":
            ann.send_to("/topic/a", "x", idempotency_key=key)
        assert bodies(reader) == ["b", "x", "x"]
        ann.send_to("/topic/a", "x", idempotency_key="1")
        bob.send_to("/topic/a", "b", idempotency_key="b")
        ann.send_to("/topic/a", "x", idempotency_key="3")
        reader.nothing()
        error = ann.error()
        assert error.headers["code"] == "limit"
        assert "Limits.owner_share=0.1 of Limits.idempotency_keys=20, got 3" in str(error.body)
        assert ann.closed == 1008
        world.advance(300.1)
        world.connect(login="ann").send_to("/topic/a", "x", idempotency_key="3")
        assert bodies(reader) == ["x"]


def test_a_key_counts_in_the_share_while_its_handler_runs() -> None:
    handler = Handler()
    with Broker(prepare=handler.prepare, idempotency_keys=10) as world:
        first, second = world.connect(login="ann"), world.connect(login="ann")
        first.send_to("/app/do", "x", idempotency_key="1")
        second.send_to("/app/do", "x", idempotency_key="2")
        assert second.error().headers["code"] == "limit"
        assert handler.runs == 1


def test_a_commit_whose_keys_are_more_than_the_share_has_no_effect() -> None:
    with Broker(idempotency_keys=20) as world:
        reader = world.reader("/topic/a")
        for keys, expected in (("11", ["1"]), ("123", []), ("12", ["1"])):
            peer = world.connect(login="ann")
            peer.command("BEGIN", {"transaction": "t"})
            for key in keys:
                peer.send_to("/topic/a", "1", transaction="t", idempotency_key=key)
            peer.command("COMMIT", {"transaction": "t"})
            assert bodies(reader) == expected
            if not expected:
                assert peer.error().headers["code"] == "limit"


def test_keys_of_an_anonymous_session_end_with_it_whatever_still_runs() -> None:
    handler = Handler()
    with Broker(prepare=handler.prepare) as world:
        idempotency, anonymous = world.broker.delivery.idempotency, anonymous_of(world)
        peer = world.connect()
        peer.send_to("/topic/a", "1", idempotency_key="1")
        peer.send_to("/topic/a", "1", idempotency_key="2")
        peer.send_to("/app/do", "x", idempotency_key="3")
        assert (len(idempotency), anonymous.keys) == (3, 3)
        peer.eof()
        world.advance(4)
        handler.release.set()
        world.settle()
        assert (len(idempotency), anonymous.keys) == (0, 0)
        assert not idempotency._of_anonymous


def test_a_run_that_ends_behind_its_anonymous_session_is_not_remembered() -> None:
    def prepare(app: StompApp) -> None:
        @app.message_mapping("/do")
        def do() -> None: ...

    with Broker(prepare=prepare) as world:
        idempotency, anonymous = world.broker.delivery.idempotency, anonymous_of(world)
        peer = world.connect()
        world.hold_pool(inside=True)
        peer.send_to("/app/do", "x", idempotency_key="1")
        peer.eof()
        world.advance(11)
        assert (len(idempotency), anonymous.keys) == (1, 1)
        world.release_pool()
        assert (len(idempotency), anonymous.keys) == (0, 0)


def test_keys_of_an_anonymous_session_grow_old_too() -> None:
    with Broker() as world:
        idempotency = world.broker.delivery.idempotency
        peer = world.connect()
        for key in "12":
            peer.send_to("/topic/a", "1", idempotency_key=key)
        world.advance(300.1)
        assert (len(idempotency), anonymous_of(world).keys) == (0, 0)
        assert not idempotency._of_anonymous


def test_an_empty_or_too_long_key_is_a_limit() -> None:
    with Broker() as world:
        for key in ("", "x" * 129):
            peer = world.connect()
            peer.send_to("/topic/a", "1", idempotency_key=key)
            assert peer.error().headers["code"] == "limit"


def test_in_a_transaction_a_key_is_remembered_at_commit_and_not_by_abort() -> None:
    with Broker() as world:
        reader = world.reader("/topic/a")
        peer = world.connect()
        for end, expected in (("ABORT", []), ("COMMIT", ["1"]), ("COMMIT", [])):
            peer.command("BEGIN", {"transaction": "t"})
            peer.send_to("/topic/a", "1", transaction="t", idempotency_key="k", receipt="s")
            peer.command(end, {"transaction": "t"})
            assert bodies(reader) == expected
        first, again = [frame.headers for frame in peer.frames()]
        assert "duplicate" not in first
        assert again["duplicate"] == "true"
        assert again["message-id"] == first["message-id"]


def test_one_key_twice_in_a_transaction_has_one_effect_or_none() -> None:
    with Broker() as world:
        reader = world.reader("/topic/a")
        peer = world.connect()
        peer.command("BEGIN", {"transaction": "t"})
        for _ in range(2):
            peer.send_to("/topic/a", "1", transaction="t", idempotency_key="k")
        peer.command("COMMIT", {"transaction": "t"})
        assert bodies(reader) == ["1"]
        peer.command("BEGIN", {"transaction": "t"})
        for body in "12":
            peer.send_to("/topic/a", body, transaction="t", idempotency_key="other")
        peer.command("COMMIT", {"transaction": "t"})
        assert peer.error().headers["code"] == "idempotency-mismatch"
        reader.nothing()


def test_a_function_that_was_left_behind_is_still_the_first_run() -> None:
    ran: list[str] = []

    def prepare(app: StompApp) -> None:
        @app.message_mapping("/pay")
        def pay(text: str) -> None:
            ran.append(text)
            if text == "bad":
                raise ValueError

    for text, again in (("good", 1), ("bad", 2)):
        ran.clear()
        with Broker(prepare=prepare) as world:
            peer, retry = world.connect(login="ann"), world.connect(login="ann")
            retry.subscribe("/user/queue/errors")
            world.hold_pool(inside=True)
            peer.send_to("/app/pay", text, idempotency_key="k")
            peer.eof()
            world.advance(11)
            retry.send_to("/app/pay", text, idempotency_key="k", receipt="r")
            retry.nothing()
            world.release_pool()
            answer = retry.frame()
            assert ran == [text] * again
            assert answer.headers.get("duplicate") == ("true" if again == 1 else None)
            assert world.counters.results_dropped == 1


def test_repeats_in_a_transaction_need_no_room() -> None:
    with Broker(queue_messages=1) as world:
        peer = world.connect(login="ann")
        for receipt in ("first", "again"):
            peer.command("BEGIN", {"transaction": "t"})
            peer.send_to("/queue/a", "1", transaction="t", idempotency_key="k")
            peer.command("COMMIT", {"transaction": "t", "receipt": receipt})
            assert peer.frame("RECEIPT").headers["receipt-id"] == receipt
        assert world.counters.messages_duplicate == 1


def test_keys_go_when_their_time_has_come_though_nobody_asks() -> None:
    with Broker() as world:
        peer = world.connect(login="ann")
        idempotency = world.broker.delivery.idempotency
        for number in range(3):
            peer.send_to("/topic/a", "1", idempotency_key=f"{number}")
            world.advance(10)
        peer.eof()
        for left in (3, 2, 1, 0):
            assert len(idempotency) == left
            world.advance(270.001 if left == 3 else 10)
        assert world.broker._step._timers.next() is None

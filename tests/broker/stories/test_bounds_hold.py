"""Bounds that hold where something failed, ended or waits; what they count, and at what cost."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from stocksync_ws import StompApp, policies, send_to_user
from stocksync_ws.broker.model.mailbox import Mailbox
from stocksync_ws.broker.model.session import SessionRecord
from stocksync_ws.broker.model.subscription import Subscription
from tests.broker.kit import Broker, ack, bodies, resubscribe


def test_a_queue_that_a_full_store_refused_is_not_left_behind() -> None:
    with Broker(max_stored=1_000, max_queues=5) as world:
        world.publish("/queue/full", "x" * 950)
        for number in range(10):
            sender = world.connect()
            sender.send_to(f"/queue/{number}", "x" * 100)
            assert sender.error().headers["code"] == "queue-full"
        assert list(world.broker.delivery.registry.known) == ["/queue/full"]
        assert len(bodies(world.reader("/queue/full"))) == 1
        sender = world.connect()
        sender.send_to("/queue/new", "1", receipt="r")
        sender.frame("RECEIPT")


def asking(app: StompApp) -> None:
    @app.message_mapping("/ask")
    @send_to_user("/queue/r", broadcast=False)
    async def ask(text: str) -> str:
        return text


def test_answers_to_one_session_count_against_no_other_of_its_user() -> None:
    with Broker(prepare=asking, pending_messages=10) as world:
        waits = world.reader("/user/queue/r", login="ann", ack="client", prefetch_count="1")
        for text in "12":
            world.app.template.convert_and_send_to_user("ann", "/queue/r", text)
        first = waits.message()
        asks = world.connect(login="ann")
        for _ in range(12):
            asks.send_to("/app/ask", "not yours")
        assert waits.closed is None
        ack(waits, first)
        assert bodies(waits) == ["2"]


def test_answers_to_one_session_leave_another_that_waits_for_its_first_message() -> None:
    with Broker(prepare=asking, pending_messages=10) as world:
        waits = world.connect(login="ann")
        # Nothing can be recovered, which is for the first message to tell: it does not go live.
        waits.command(
            "SUBSCRIBE", {"destination": "/user/queue/r", "id": "s", "last-message-id": "x-1"}
        )
        asks = world.reader("/user/queue/r", login="ann")
        for _ in range(12):
            asks.send_to("/app/ask", "mine")
        assert bodies(asks) == ["mine"] * 12
        assert waits.closed is None
        world.app.template.convert_and_send_to_user("ann", "/queue/r", "ours")
        assert waits.message().headers["recovered"] == "false"


def test_a_replay_makes_nobody_slow_however_small_the_bound() -> None:
    kinds = {"/topic/s": policies.Stream(overflow="drop_oldest")}
    with Broker(kinds, send_queue=16_384) as world:
        world.publish("/topic/s", *["x" * 1_000] * 60)
        channel = world.broker.delivery.registry.find("/topic/s")
        assert channel is not None
        peer = world.connect()
        peer.stream.open_window(3_000)
        fields = {
            "destination": "/topic/s",
            "id": "s",
            "last-message-id": channel.log.message_id(0),
        }
        peer.command("SUBSCRIBE", fields)
        for _ in range(10):
            peer.stream.open_window(3_000)
            world.advance(0.5)
        peer.stream.open_window(None)
        assert len(bodies(peer)) == 60
        assert world.counters.slow_consumers == world.counters.messages_dropped == 0


def test_a_session_that_ended_in_a_transaction_waits_for_nothing() -> None:
    with Broker({"/topic/a": policies.Topic(ack_timeout=3_600)}) as world:
        for _ in range(100):
            peer = world.reader("/topic/a", ack="client")
            world.publish("/topic/a", "1")
            message = peer.message()
            peer.command("BEGIN", {"transaction": "t"})
            ack(peer, message, transaction="t")
            peer.eof()
        world.advance(600)
        armed = [
            thing
            for _, number, thing in world.broker._step._timers._heap
            if isinstance(thing, SessionRecord) and thing.armed == number
        ]
        assert not armed
        assert not world.broker.sessions


def test_shedding_looks_at_each_message_a_few_times_only(monkeypatch: pytest.MonkeyPatch) -> None:
    looked = 0
    shed = Mailbox.shed

    def counted(self: Mailbox) -> dict[Subscription, int]:
        nonlocal looked
        looked += len(self.entries)
        return shed(self)

    monkeypatch.setattr(Mailbox, "shed", counted)
    with Broker({"/topic/a": policies.Topic(overflow="drop_oldest")}, send_queue=20_000) as world:
        peer = world.reader("/topic/a")
        peer.stream.open_window(0)
        for _ in range(1_000):
            world.publish("/topic/a", "x")
        assert world.counters.messages_dropped > 500
        assert looked <= 3 * 1_000


class Counting(dict[Any, Any]):
    """Readers, or names, of a destination; counts how many are looked through."""

    looked = 0

    def __iter__(self) -> Iterator[Any]:
        Counting.looked += len(self)
        return super().__iter__()

    def values(self) -> Any:
        Counting.looked += len(self)
        return super().values()


def looked_through(crowd: int) -> int:
    """Readers looked at while so many names come, go and come back to one message."""
    with Broker({"/topic/s": policies.Stream()}) as world:
        world.publish("/topic/s", "1")
        channel = world.broker.delivery.registry.find("/topic/s")
        assert channel is not None
        channel.behind, channel.durables = Counting(), Counting()
        Counting.looked = 0
        for _ in range(2):
            peers = [world.connect(login=f"user{number}") for number in range(crowd)]
            for peer in peers:
                resubscribe(peer, durable="true")
            for peer in peers:
                peer.eof()
        looked = Counting.looked
        world.publish("/topic/s", *["2"] * 100)
        assert Counting.looked > looked  # it does count, where something leaves the history
        return looked


def test_a_crowd_that_comes_back_to_a_history_does_not_pay_the_square_of_its_number() -> None:
    assert looked_through(80) <= looked_through(20) * 6 + 80


def test_what_a_history_kept_for_a_blocked_reader_goes_although_nobody_publishes() -> None:
    go = asyncio.Event()
    go.set()

    def prepare(app: StompApp) -> None:
        @app.snapshot("/topic/s")
        async def snapshot() -> str:
            await go.wait()
            return "so far"

    kinds = {"/topic/s": policies.Stream(seconds=10.0)}
    with Broker(kinds, prepare=prepare) as world:
        # A reader that stays behind: or else the log is trimmed when the blocked one goes on.
        behind = world.reader("/topic/s", ack="client", prefetch_count="1")
        go.clear()
        blocked = world.connect()
        blocked.command("SUBSCRIBE", {"destination": "/topic/s", "id": "s"})
        world.publish("/topic/s", *"12")
        channel = world.broker.delivery.registry.find("/topic/s")
        assert channel is not None
        world.advance(11)
        assert len(channel.log) == 2
        go.set()
        world.settle()
        assert bodies(blocked) == ["so far", "1", "2"]
        world.advance(8)
        assert len(channel.log) == 2
        world.advance(2)
        assert not len(channel.log)
        assert behind.closed == 4010
        assert channel.deadline is None


def test_newest_values_too_leave_a_store_that_is_full() -> None:
    with Broker({"/topic/s": policies.Latest()}, max_stored=1_000) as world:
        for key in "abcdef":
            world.publish("/topic/s", key * 300, key=key)
        channel = world.broker.delivery.registry.find("/topic/s")
        assert channel is not None
        assert channel.log.stored <= 1_000
        values = bodies(world.reader("/topic/s"))
        assert values[-1] == "f" * 300
        assert 0 < len(values) < 6


def test_where_queues_fill_the_store_only_the_newest_value_of_all_is_kept() -> None:
    with Broker({"/topic/s": policies.Latest()}, max_stored=1_000) as world:
        world.publish("/queue/full", "x" * 900)
        for key in "abc":
            world.publish("/topic/s", key * 300, key=key)
        assert bodies(world.reader("/topic/s")) == ["c" * 300]


def test_an_answer_to_another_session_of_the_user_is_skipped_where_it_is_kept() -> None:
    with Broker(prepare=asking) as world:
        peers = [world.connect(login="ann") for _ in range(2)]
        for peer in peers:
            peer.subscribe("/user/queue/r", "s", ack="client", prefetch_count="1")
        world.app.template.convert_and_send_to_user("ann", "/queue/r", "for both")
        asks, waits = peers
        world.app.template.convert_and_send_to_user("ann", "/queue/r", "this, too")
        first = waits.message()
        asked = asks.message()
        asks.send_to("/app/ask", "mine")
        world.app.template.convert_and_send_to_user("ann", "/queue/r", "and this")
        ack(waits, first)
        ack(waits, waits.message())
        assert bodies(waits) == ["and this"]
        ack(asks, asked)
        ack(asks, asks.message())
        assert bodies(asks) == ["mine"]

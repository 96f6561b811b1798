"""Dead letters, closes and losses that wait for the end of a step: no step is cut short."""

from __future__ import annotations

import asyncio

import pytest

from stocksync_ws import StompApp, policies
from stocksync_ws.broker.calls.events import (
    BrokerAvailability,
    DeadLetter,
    MessageDropped,
    SessionDisconnected,
    SessionSubscribed,
)
from stocksync_ws.stomp.encoder import encode
from stocksync_ws.stomp.frame import Version
from tests.broker.kit import Broker, ack, bodies, resubscribe

BURIED = {"/topic/s": policies.Topic(dead_letter="/topic/dead")}


def test_dead_letters_that_close_who_takes_a_name_leave_the_rest_to_the_name() -> None:
    with Broker(BURIED, send_queue=1_000) as world:
        peer = world.connect(login="ann")
        resubscribe(peer, durable="true", ack="client")
        sender = world.connect()
        for _ in range(5):
            sender.send_to("/topic/s", "x" * 3_000, expiration="500")
        world.publish("/topic/s", *"123")
        peer.eof()
        world.advance(2)
        peer = world.connect(login="ann")
        peer.subscribe("/topic/dead", "dead")
        resubscribe(peer, durable="true", ack="client")
        assert peer.closed == 4008
        peer = world.connect(login="ann")
        resubscribe(peer, durable="true", ack="client")
        again = peer.frames()
        assert [frame.body for frame in again] == [b"1", b"2", b"3"]
        # The one that counted, the oldest that was written, is dead.
        assert {frame.headers["delivery-attempt"] for frame in again} == {"1"}
        assert world.counters.messages_unsettled == world.counters.internal_errors == 0
        assert len(world.heard(DeadLetter)) == 5


def test_dead_letters_that_close_who_is_to_get_something_again_leave_it_once() -> None:
    with Broker(BURIED, send_queue=1_000) as world:
        peer = world.connect(login="ann")
        resubscribe(peer, durable="true", ack="client")
        for name in "ab":
            peer.subscribe("/topic/dead", name)
        for _ in range(14):
            world.publish("/topic/s", "x" * 200, expiration="500")
        world.publish("/topic/s", *"123")
        for _ in range(2):
            ack(peer, peer.frames()[-1], "NACK")
        world.advance(1.5)
        assert peer.closed == 4008
        peer = world.connect(login="ann")
        resubscribe(peer, durable="true", ack="client")
        again = peer.frames()
        assert [frame.body for frame in again] == [b"1", b"2", b"3"]
        assert {frame.headers["delivery-attempt"] for frame in again} == {"3"}
        assert world.counters.internal_errors == 0


def test_dead_letters_that_close_who_subscribes_come_behind_its_receipt_and_its_event() -> None:
    with Broker({"/queue/a": policies.Queue(dead_letter="/topic/dead")}, send_queue=1_000) as world:
        peer = world.reader("/topic/dead")
        world.reader("/queue/a", ack="client", prefetch_count="1")
        world.publish("/queue/a", "held")
        sender = world.connect()
        for _ in range(4):
            sender.send_to("/queue/a", "x" * 2_700, expiration="500")
        world.publish("/queue/a", "behind")
        world.loop.stall(0.7)  # the SUBSCRIBE is read before they are found dead in time
        peer.command("SUBSCRIBE", {"destination": "/queue/a", "id": "a", "receipt": "r"})
        peer.frame("RECEIPT")
        assert peer.closed == 4008
        assert world.counters.messages_dead == 4
        (gone,) = world.heard(SessionDisconnected)
        came = [
            each for each in world.heard(SessionSubscribed) if each.session_id == gone.session_id
        ]
        assert [each.destination for each in came] == ["/topic/dead", "/queue/a"]
        assert world.events.index(came[-1]) < world.events.index(gone)


def test_a_dead_letter_does_not_take_the_queue_that_a_commit_was_promised() -> None:
    kinds = {"/queue/a": policies.Queue(dead_letter="/queue/dead")}
    with Broker(kinds, max_queues=2) as world:
        peer = world.reader("/queue/a", ack="client-individual")
        world.publish("/queue/a", "1")
        message = peer.message()
        peer.command("BEGIN", {"transaction": "t"})
        ack(peer, message, "NACK", requeue="false", transaction="t")
        peer.send_to("/queue/new", "2", transaction="t")
        peer.command("COMMIT", {"transaction": "t", "receipt": "r"})
        peer.frame("RECEIPT")
        assert world.counters.internal_errors == 0
        assert [event.destination for event in world.heard(MessageDropped)] == ["/queue/dead"]
        assert bodies(world.reader("/queue/new")) == ["2"]


def slow(app: StompApp) -> None:
    @app.message_mapping("/slow")
    async def slow_one() -> None:
        await asyncio.sleep(1)


@pytest.mark.parametrize("ends", [False, True])
def test_an_ack_in_auto_mode_is_ignored_behind_the_end_of_the_stream_too(ends: bool) -> None:
    with Broker(prepare=slow) as world:
        reader, peer = world.reader("/topic/b"), world.reader("/topic/a")
        world.publish("/topic/a", "1")
        message = peer.message()
        peer.send_to("/app/slow")
        fields = {"id": message.headers["message-id"], "subscription": "s"}
        peer.command("ACK", fields)
        peer.send_to("/topic/b", "2")
        if ends:
            peer.eof()
        world.advance(3)
        assert bodies(reader) == ["2"]
        assert world.counters.protocol_errors == 0


def test_what_is_shed_when_the_transport_was_tried_is_told_in_that_step() -> None:
    with Broker({"/topic/a": policies.Topic(overflow="drop_oldest")}, send_queue=1_000) as world:
        peer = world.reader("/topic/a")
        peer.stream.open_window(0)
        for number in range(30):
            world.publish("/topic/a", f"{number:02}" + "x" * 100)
            told = sum(event.count for event in world.heard(MessageDropped))
            assert told == world.counters.messages_dropped
        assert world.counters.messages_dropped > 0


def test_an_unsubscribe_that_trims_another_subscriptions_log_has_its_receipt_before_the_close() -> (
    None
):
    """A durable name kept the log; without it the history of two ends before the other reader."""
    with Broker({"/topic/s": policies.Stream(history=2)}) as world:
        peer = world.connect(login="ann")
        resubscribe(peer, durable="true", ack="client", **{"prefetch-count": "1"})
        peer.subscribe("/topic/s", "other", ack="client", prefetch_count="1")
        world.publish("/topic/s", *"123456")
        assert len(peer.frames()) == 2
        peer.command("UNSUBSCRIBE", {"id": "s", "durable": "true", "receipt": "r"})
        assert [frame.command for frame in peer.frames()] == ["RECEIPT"]
        assert peer.closed == 4010


@pytest.mark.parametrize("command", ["SUBSCRIBE", "UNSUBSCRIBE"])
def test_who_lost_a_log_by_it_is_closed_before_the_next_frame(command: str) -> None:
    """Both give up a durable name: the one deletes it, the other takes it to another place."""
    with Broker({"/topic/s": policies.Stream(history=2)}) as world:
        peer = world.connect(login="ann")
        resubscribe(peer, durable="true", ack="client", **{"prefetch-count": "1"})
        peer.subscribe("/topic/s", "other", ack="client", prefetch_count="1")
        world.publish("/topic/s", *"123456")
        assert len(peer.frames()) == 2
        frames = [("UNSUBSCRIBE", {"id": "s", "durable": "true", "receipt": "1"})]
        if command == "SUBSCRIBE":
            frames = [
                ("UNSUBSCRIBE", {"id": "s"}),
                (command, {"id": "s", "destination": "/topic/b", "durable": "true"}),
            ]
        frames.append(("SEND", {"destination": "/topic/c", "receipt": "behind"}))
        peer.send(b"".join(encode(name, headers, b"", Version.V12) for name, headers in frames))
        assert "behind" not in [frame.headers.get("receipt-id") for frame in peer.frames()]
        assert peer.closed == 4010


def test_who_lost_a_log_by_the_frame_of_another_session_is_closed_before_its_own_next_one() -> None:
    """Both go on in one step: the second has sent what the first had, and has waited for that."""
    release = asyncio.Event()

    def prepare(app: StompApp) -> None:
        @app.message_mapping("/do")
        async def do() -> None:
            await release.wait()

    with Broker({"/topic/s": policies.Stream(history=2)}, prepare=prepare) as world:
        watcher = world.reader("/topic/c")
        first, second = world.connect(login="ann"), world.connect(login="ann")
        second.subscribe("/topic/s", "s", ack="client", prefetch_count="1")
        world.publish("/topic/s", *"123")
        assert bodies(second) == ["1"]
        for peer, destination in ((first, "/topic/s"), (second, "/topic/c")):
            peer.send_to("/app/do", "x", idempotency_key="k")
            peer.send_to(destination, "4")
        release.set()
        world.settle()
        assert second.closed == 4010
        watcher.nothing()


def test_dead_letters_of_a_halt_are_told_before_its_end() -> None:
    heard: list[str] = []

    def prepare(app: StompApp) -> None:
        @app.event_listener(DeadLetter, BrokerAvailability, inline=True)
        def hear(event: DeadLetter | BrokerAvailability) -> None:
            heard.append(type(event).__name__)

    with Broker({"/queue/a": policies.Queue(dead_letter="/queue/dead")}, prepare=prepare) as world:
        peer = world.reader("/queue/a", ack="client-individual")
        world.publish("/queue/a", "1", expiration="500")
        peer.message()
        world.reader("/queue/a").nothing()
        world.advance(1)
        heard.clear()
    assert heard == ["DeadLetter", "BrokerAvailability"]

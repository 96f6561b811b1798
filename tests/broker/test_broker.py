"""The machine as a whole: what the wire says about a peer, and what is left for the world."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from stocksync_ws import StompApp, policies
from stocksync_ws.broker.broker import Broker
from stocksync_ws.broker.calls.dispatch import NullDispatch
from stocksync_ws.broker.calls.events import DeadLetter, MessageDropped, SessionDisconnected
from stocksync_ws.broker.model.session import SessionRecord
from stocksync_ws.broker.model.state import State
from stocksync_ws.broker.model.step import DeadMessage
from stocksync_ws.broker.sessions.ends import Effect
from stocksync_ws.broker.sessions.lifecycle import Lifecycle
from stocksync_ws.broker.sessions.overload import Overload
from stocksync_ws.broker.sessions.publisher import Publisher
from stocksync_ws.broker.sessions.slow_consumers import SlowConsumers
from stocksync_ws.codes import DisconnectReason
from stocksync_ws.config import BrokerConfig, Limits
from stocksync_ws.counters import Counters
from stocksync_ws.testing.peer import Peer, client_frame
from stocksync_ws.testing.world import World
from stocksync_ws.timers import Timers
from tests.broker.kit import Broker as Kit
from tests.broker.kit import drafted

Start = Callable[..., World]
CONNECT = b"CONNECT\naccept-version:1.2\n\n\0"
OPEN = {"client_send": ["/topic/**"]}


class TestViolations:
    """What the wire says about the peer becomes an ERROR where it was about STOMP."""

    @pytest.mark.parametrize(
        ("data", "close", "code"),
        [
            (client_frame(1, b"x" * 65_537), 1009, "limit"),
            (client_frame(1, b"\xff"), 1007, None),
            (b"\x83\x80\0\0\0\0", 1002, None),
            (client_frame(2, b"a", fin=False) + client_frame(0, b"", fin=False) * 1_100, 1008,
             "limit"),
        ],
    )  # fmt: skip
    def test_each(self, start: Start, data: bytes, close: int, code: str | None) -> None:
        world = start()
        peer = world.connect()
        peer.answers_close = False
        peer.feed(data)
        told = [frame.headers["code"] for frame in peer.frames()]
        assert told == ([] if code is None else [code])
        assert peer.closed == close
        assert world.counters.protocol_errors == 1
        peer.eof()


class TestOutputs:
    def make(self) -> Broker:
        numbers = iter(range(1, 1_000))
        return Broker(
            BrokerConfig(), NullDispatch(), Timers(), lambda bits: f"{bits}-{next(numbers)}", float
        )

    def test_a_fresh_one_has_nothing_to_do(self) -> None:
        broker = self.make()
        assert not broker.outputs.pending
        assert not broker.outputs.urgent

    def test_it_counts_in_counters_of_its_own_or_in_given_ones(self) -> None:
        mine = Counters()
        assert Broker(BrokerConfig(), NullDispatch(), Timers(), str, float, mine).counters is mine
        assert self.make().counters is not self.make().counters

    def test_a_stop_without_sessions_is_nothing(self) -> None:
        broker = self.make()
        broker.start(0.0)
        broker.stop(0.0)
        broker.halt(0.0)
        assert not broker.outputs.pending

    def test_parked_closes_end_without_a_link(self) -> None:
        """A session without a connection whose close takes too long is simply over."""
        from stocksync_ws.types import Handshake, HttpRequest
        from stocksync_ws.wire import WebSocketWire

        broker = self.make()
        wire = WebSocketWire()
        session = broker.open(wire, Handshake(HttpRequest("GET", "/"), wire, None), 0.0)
        assert [refusal for _, refusal in broker.outputs.answers] == [None]
        broker.halt(1.0)
        session.wake(6.0)
        assert broker.outputs.aborts == [session]
        assert session.deadline is None

    def test_memory_of_an_idle_session_holds_no_empty_containers(self, start: Start) -> None:
        world = start()
        world.connect()
        [session] = world.broker.sessions.values()
        assert session.inbound.waiting is session.events is session.attributes is None
        assert session.subscriptions.refused_ids is session.subscriptions.ledgers is None
        assert session.inbound.task is session.handshake is None


def test_attached_and_pong_flush_what_waits(start: Start) -> None:
    app = StompApp("/ws", allowed_origins=["*"], limits=Limits())
    world = start(app)
    peer = world.connect()
    peer.subscribe("/topic/a")
    [session] = world.broker.sessions.values()
    app.template.convert_and_send("/topic/a", "x")
    world.broker.outputs.dirty.clear()
    session.mailbox.dirty = False
    peer.pong()
    peer.message()


class TestEndOfStep:
    """What a step has noted is done at its end, each for itself: a bug in it takes nothing away
    from what was noted behind it.
    """

    def readers(self, world: Kit, number: int) -> list[tuple[Peer, SessionRecord]]:
        made = []
        for _ in range(number):
            peer = world.reader("/topic/a")
            made.append((peer, list(world.broker.sessions.values())[-1]))
        return made

    def test_a_bug_while_one_session_is_closed_does_not_lose_what_was_noted_behind_it(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with Kit({"/queue/a": policies.Queue(dead_letter="/queue/dead")}) as world:
            (one, first), (two, second), (three, _) = self.readers(world, 3)
            close_lost = Lifecycle.close_lost

            def broken(life: Lifecycle, session: SessionRecord) -> None:
                if session is first:
                    raise RuntimeError("a bug of ours")
                close_lost(life, session)

            monkeypatch.setattr(Lifecycle, "close_lost", broken)
            step = world.broker._step

            def note() -> None:
                step.close_lost(first)
                step.close_lost(second)
                step.tell_dropped("/topic/a", "slow-consumer", 3)

            world.act(note)
            assert (one.closed, two.closed, three.closed) == (1011, 4010, None)
            world.expect_faults(internal_errors=1)
            (event,) = world.heard(MessageDropped)
            assert (event.destination, event.count) == ("/topic/a", 3)
            ends = [each.reason for each in world.heard(SessionDisconnected)]
            assert ends == [DisconnectReason.INTERNAL_ERROR, DisconnectReason.HISTORY_LOST]
            world.publish("/topic/a", "still here")
            assert three.message().body == b"still here"

    def test_a_bug_in_an_effect_of_an_end_takes_away_none_behind_it(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with Kit() as world:
            ((peer, session),) = self.readers(world, 1)

            def broken(life: Lifecycle, session: SessionRecord) -> None:
                raise RuntimeError("a bug of ours")

            monkeypatch.setitem(
                world.broker._sessions.lifecycle._effects,
                Effect.LEAVE,
                broken.__get__(world.broker._sessions.lifecycle),
            )
            world.act(world.broker._step.close_lost, session)
            assert peer.closed == 4010
            world.expect_faults(internal_errors=1)
            world.advance(10)
            assert session.id not in world.broker.sessions

    def test_a_bug_with_one_dead_message_costs_no_session_and_no_other_dead_message(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with Kit({"/queue/a": policies.Queue(dead_letter="/queue/dead")}) as world:
            ((peer, session),) = self.readers(world, 1)
            publish_dead = Publisher.publish_dead

            def broken(publisher: Publisher, dead: DeadMessage) -> None:
                if dead.publication.body == b"1":
                    raise RuntimeError("a bug of ours")
                publish_dead(publisher, dead)

            monkeypatch.setattr(Publisher, "publish_dead", broken)
            world.publish("/queue/a", "1", "2", expiration="500")
            world.advance(2)
            world.expect_faults(internal_errors=1)
            assert [event.body for event in world.heard(DeadLetter)] == [b"2"]
            assert peer.closed is None
            assert session.state is State.CONNECTED

    def test_a_mailbox_that_grew_too_much_several_times_is_relieved_once(self) -> None:
        lossy = {"/topic/a": policies.Topic(overflow="drop_oldest")}
        with Kit(lossy, send_queue=3_000) as world:
            ((peer, session),) = self.readers(world, 1)
            publisher, step = world.broker._sessions.publisher, world.broker._step

            def burst() -> None:
                for _ in range(30):
                    publisher.publish(drafted("/topic/a", (), b"x" * 1_000))
                assert step.overfull.count(session.mailbox) > 1

            world.act(burst)
            assert peer.closed is None
            assert sum(event.count for event in world.heard(MessageDropped)) > 0

    @pytest.mark.pure("replaces a function that compiled code calls without a look-up")
    def test_a_bug_in_the_bound_of_all_mailboxes_is_nobodys_error(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def broken(overload: Overload) -> bool:
            raise RuntimeError("a bug of ours")

        monkeypatch.setattr(Overload, "relieve", broken)
        with Kit(send_queue=3_000, max_total_queued=3_000) as world:
            ((peer, _),) = self.readers(world, 1)
            peer.stream.open_window(0)
            for _ in range(8):
                world.app.template.send("/topic/a", b"x" * 1_000)
            world.settle()
            world.expect_faults(internal_errors=7)
            monkeypatch.undo()  # the end has steps of its own

    def test_a_bug_with_one_overfull_mailbox_ends_its_session_and_the_other_one_is_relieved(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with Kit() as world:
            (one, first), (two, second) = self.readers(world, 2)
            relieve = SlowConsumers.relieve

            def broken(slow: SlowConsumers, session: SessionRecord) -> None:
                if session is first:
                    raise RuntimeError("a bug of ours")
                relieve(slow, session)

            monkeypatch.setattr(SlowConsumers, "relieve", broken)

            def note() -> None:
                for session in (first, second):
                    world.broker._step.close_overfull(session.mailbox)

            world.act(note)
            assert (one.closed, two.closed) == (1011, 4008)
            world.expect_faults(internal_errors=1)

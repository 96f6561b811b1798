"""Durable names that change hands: of what lay in between nothing is lost, nothing comes twice."""

from __future__ import annotations

import asyncio

import pytest

from stocksync_ws import StompApp, policies
from stocksync_ws.broker.calls.events import SessionSubscribed, SessionUnsubscribed
from stocksync_ws.testing.peer import Peer
from tests.broker.kit import Broker, ack, bodies, resubscribe

HISTORY = {"/topic/s": policies.Stream()}


def named(world: Broker, **more: str) -> Peer:
    peer = world.connect(login="ann")
    resubscribe(peer, durable="true", **more)
    return peer


@pytest.mark.parametrize("how", ["takeover", "eof", "UNSUBSCRIBE", "DISCONNECT"])
@pytest.mark.parametrize("mode", ["auto", "client"])
def test_what_had_not_left_for_one_holder_comes_to_the_next(how: str, mode: str) -> None:
    with Broker() as world:
        first = named(world, ack=mode)
        first.stream.open_window(0)
        world.publish("/topic/s", "0" * 70_000)  # lies in the transport
        world.publish("/topic/s", *"123")
        if how == "eof":
            first.eof()
        elif how != "takeover":
            first.command(how, {"id": "s"})
        second = named(world, ack=mode)
        first.stream.open_window(None)
        world.settle()
        there = [frame.body[:1].decode() for frame in first.frames() if frame.body]
        again = second.frames()
        here = [frame.body[:1].decode() for frame in again]
        if mode == "auto":
            assert there == [] if how == "eof" else ["0"]
            assert here == ["1", "2", "3"]
        else:
            marks = [frame.headers["redelivered"] for frame in again]
            if how == "UNSUBSCRIBE":  # what was sent stays with its session
                assert (there, here) == (["0"], ["1", "2", "3"])
            else:
                assert (here.pop(0), marks.pop(0)) == ("0", "true")
            assert here == ["1", "2", "3"]
            assert marks == ["false"] * 3
        world.publish("/topic/s", "4")
        assert [frame.body for frame in second.frames()] == [b"4"]


def test_unsubscribe_that_deletes_a_name_still_brings_what_was_on_its_way() -> None:
    with Broker() as world:
        peer = named(world)
        peer.stream.open_window(0)
        world.publish("/topic/s", "0" * 70_000)
        world.publish("/topic/s", "1")
        peer.command("UNSUBSCRIBE", {"id": "s", "durable": "true"})
        peer.stream.open_window(None)
        assert [frame.body[:1] for frame in peer.frames()] == [b"0", b"1"]
        assert not world.broker.delivery.registry.known


def test_a_recovery_brings_what_was_unsettled_once() -> None:
    with Broker(HISTORY) as world:
        peer = named(world, ack="client")
        world.publish("/topic/s", *"12345")
        messages = peer.frames()
        ack(peer, messages[0])
        peer.eof()
        peer = world.connect(login="ann")
        seen = messages[2].headers["message-id"]
        receipt = resubscribe(peer, durable="true", ack="client", last_message_id=seen)
        assert receipt.headers["replayed"] == "2"
        again = [(f.body.decode(), f.headers.get("replayed"), f.headers["redelivered"])
                 for f in peer.frames()]  # fmt: skip
        assert again == [
            ("2", None, "true"),
            ("3", None, "true"),
            ("4", "true", "false"),
            ("5", "true", "false"),
        ]


def test_what_came_back_in_auto_mode_goes_back_alone() -> None:
    with Broker(HISTORY) as world:
        peer = named(world, ack="client-individual")
        world.publish("/topic/s", *"12345")
        for message in peer.frames()[1:]:
            ack(peer, message)
        peer.eof()
        peer = world.connect(login="ann")
        peer.stream.open_window(0)
        peer.send_to("/topic/other", b"", receipt="in the way")
        peer.command("SUBSCRIBE", {"id": "s", "destination": "/topic/s", "durable": "true"})
        peer.eof()
        assert bodies(named(world)) == ["1"]


def test_on_a_latest_destination_the_header_changes_nothing() -> None:
    with Broker({"/topic/s": policies.Latest()}) as world:
        anonymous = world.connect()
        resubscribe(anonymous, durable="true")
        for round_ in range(3):
            peer = named(world)
            peer.frames()
            peer.stream.open_window(0)
            for key in "ab":
                world.publish("/topic/s", f"{key}{round_}" + "x" * 40_000, key=key)
            world.publish("/topic/s", f"a{round_} new", key="a")
            peer.eof()
        channel = world.broker.delivery.registry.find("/topic/s")
        assert channel is not None
        assert len(channel.log) == 2
        assert not channel.durables


class Held:
    """A snapshot that runs until it is let go."""

    def __init__(self, error: Exception | None = None) -> None:
        self.go = asyncio.Event()
        self.error = error

    def prepare(self, app: StompApp) -> None:
        @app.snapshot("/topic/s")
        async def snapshot() -> str:
            await self.go.wait()
            if self.error is not None:
                raise self.error
            return "so far"


def test_a_name_that_is_taken_during_a_snapshot_answers_both() -> None:
    held = Held()
    with Broker(prepare=held.prepare) as world:
        first, second = world.connect(login="ann"), world.connect(login="ann")
        fields = {"id": "s", "destination": "/topic/s", "durable": "true", "receipt": "r"}
        for peer in (first, second):
            peer.command("SUBSCRIBE", fields)
        world.publish("/topic/s", "1")
        held.go.set()
        world.settle()
        assert [frame.command for frame in first.frames()] == ["RECEIPT"]
        assert [frame.body for frame in second.frames()] == [b"", b"so far", b"1"]
        one, two = world.heard(SessionSubscribed)
        (gone,) = world.heard(SessionUnsubscribed)
        assert gone.session_id == one.session_id != two.session_id
        assert world.events.index(one) < world.events.index(gone)


def test_a_snapshot_that_fails_leaves_no_name_but_those_there_were() -> None:
    held = Held(RuntimeError())
    held.go.set()
    with Broker(prepare=held.prepare) as world:
        other = world.connect(login="ann")
        resubscribe(other, "/topic/other", id="kept", durable="true")
        other.eof()
        peer = world.connect(login="ann")
        peer.subscribe("/user/queue/errors")
        for number in range(12):
            fields = {"id": f"{number}", "destination": "/topic/s", "durable": "true"}
            peer.command("SUBSCRIBE", fields)
        assert peer.closed is None
        assert "/topic/s" not in world.broker.delivery.registry.known
        assert "/topic/other" in world.broker.delivery.registry.known


def test_a_held_name_that_is_taken_to_another_destination_leaves_its_holder_unsubscribed() -> None:
    with Broker() as world:
        one, two = world.connect(login="ann"), world.connect(login="ann")
        resubscribe(one, "/topic/a", durable="true")
        resubscribe(two, "/topic/b", durable="true")
        [gone] = world.heard(SessionUnsubscribed)
        assert (gone.subscription_id, gone.destination) == ("s", "/topic/a")
        world.publish("/topic/a", "nobody")
        world.publish("/topic/b", "x")
        assert (bodies(one), bodies(two)) == ([], ["x"])
        assert one.closed is two.closed is None


def test_what_was_settled_before_it_was_sent_is_not_handed_out_again() -> None:
    """A client may guess the id of a MESSAGE that still waits for it."""
    with Broker() as world:
        peer = world.connect(login="ann")
        resubscribe(peer, durable="true", ack="client-individual")
        peer.stream.open_window(0)
        world.publish("/topic/s", "1", "2")
        peer.command("ACK", {"id": "s.1"})
        other = world.connect(login="ann")
        resubscribe(other, durable="true", ack="client-individual")
        assert bodies(other) == ["2"]
        assert world.counters.messages_settled == 1


def test_a_snapshot_that_was_not_sent_stays_behind_when_its_name_is_taken() -> None:
    def prepare(app: StompApp) -> None:
        @app.snapshot("/topic/s")
        async def current() -> str:
            return "now"

    with Broker(prepare=prepare) as world:
        peer = world.connect(login="ann")
        peer.subscribe("/topic/other", "other")
        peer.stream.open_window(0)
        world.publish("/topic/other", "fills the transport")
        peer.command("SUBSCRIBE", {"destination": "/topic/s", "id": "s", "durable": "true"})
        world.publish("/topic/s", "1")
        other = world.connect(login="ann")
        other.command("SUBSCRIBE", {"destination": "/topic/s", "id": "s", "durable": "true"})
        assert sorted(bodies(other)) == ["1", "now"]

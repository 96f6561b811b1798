"""What is sent to one subscription or to one session: answers, snapshots, replies, error replies.

They are deliveries like others: with an `ack` where the subscription acknowledges, in its window,
in its order.
"""

from __future__ import annotations

import pytest

from stocksync_ws import StompApp, policies, send_to_user
from stocksync_ws.broker.calls.events import DeadLetter
from stocksync_ws.testing.peer import Peer
from tests.broker.kit import Broker, ack, bodies, resubscribe


def prepare(app: StompApp) -> None:
    @app.subscribe_mapping("/stock")
    async def stock() -> str:
        return "stock"

    @app.subscribe_mapping("/broken")
    async def broken() -> str:
        raise RuntimeError

    @app.snapshot("/topic/s")
    async def snapshot() -> str:
        return "so far"

    @app.message_mapping("/echo")
    @send_to_user("/queue/echo", broadcast=False)
    async def echo(text: str) -> str:
        return text

    @app.message_mapping("/fail")
    async def fail() -> None:
        raise RuntimeError


@pytest.mark.parametrize("version", ["1.0", "1.1", "1.2"])
@pytest.mark.parametrize(("place", "body"), [("/app/stock", "stock"), ("/topic/s", "so far")])
def test_an_answer_can_be_acknowledged(version: str, place: str, body: str) -> None:
    with Broker(prepare=prepare) as world:
        peer = world.reader(place, version, ack="client-individual")
        answer = peer.message()
        assert answer.body.decode() == body
        assert ("ack" in answer.headers) == (version == "1.2")
        assert answer.headers["redelivered"] == "false"
        ack(peer, answer, receipt="r")
        peer.frame("RECEIPT")
        assert world.counters.messages_settled == 1
        world.advance(31)
        peer.nothing()


def test_an_answer_that_is_refused_comes_again_and_then_is_a_dead_letter() -> None:
    with Broker(prepare=prepare) as world:
        peer = world.reader("/app/stock", ack="client")
        for attempt in range(1, 6):
            answer = peer.message()
            assert answer.headers.get("delivery-attempt", "1") == str(attempt)
            ack(peer, answer, "NACK")
            world.advance(8)
        peer.nothing()
        assert [event.destination for event in world.heard(DeadLetter)] == ["/app/stock"]


def test_nothing_is_left_of_subscriptions_to_the_application() -> None:
    with Broker(prepare=prepare) as world:
        peer = world.connect()
        peer.subscribe("/user/queue/errors")
        peer.subscribe("/app/stock", "a", ack="client")
        peer.command("SUBSCRIBE", {"destination": "/app/broken", "id": "b"})
        assert len(peer.frames()) == 2
        assert set(world.broker.delivery.registry.known) - {"/app/stock"} == {
            (next(iter(world.broker.sessions.values())).owner, "/queue/errors")
        }
        peer.command("UNSUBSCRIBE", {"id": "a"})
        assert "/app/stock" not in world.broker.delivery.registry.known
        peer.eof()
        assert not world.broker.delivery.registry.known


def test_a_failed_recovery_is_told_by_the_snapshot_if_no_receipt_was_asked_for() -> None:
    history = {"/topic/s": policies.Stream()}
    with Broker(history, prepare=prepare) as world:
        peer = world.connect()
        fields = {"id": "s", "destination": "/topic/s", "last-message-id": "elsewhere-1"}
        peer.command("SUBSCRIBE", fields)
        world.publish("/topic/s", "live")
        snapshot, live = peer.frames()
        assert snapshot.headers["snapshot"] == "true"
        assert snapshot.headers["recovered"] == "false"
        assert "recovered" not in live.headers


def echoes(world: Broker, **more: str) -> Peer:
    peer = world.connect(login="ann")
    peer.subscribe("/user/queue/echo", "s", **more)
    return peer


def test_replies_to_one_session_wait_for_its_window() -> None:
    with Broker(prepare=prepare, ack_window=2) as world:
        peer = echoes(world, ack="client")
        for text in "abcd":
            peer.send_to("/app/echo", text)
        got = peer.frames()
        assert [frame.body.decode() for frame in got] == ["a", "b"]
        ack(peer, got[-1])
        assert bodies(peer) == ["c", "d"]


def test_replies_that_nobody_acknowledges_are_bounded() -> None:
    with Broker(prepare=prepare, ack_window=1, pending_messages=2) as world:
        peer = echoes(world, ack="client")
        for text in "abcd":
            peer.send_to("/app/echo", text)
        assert peer.closed == 4010


def test_a_reply_keeps_its_place_among_what_is_for_all_sessions_of_the_user() -> None:
    with Broker(prepare=prepare, ack_window=1) as world:
        peer, other = echoes(world, ack="client-individual"), echoes(world)
        for number in "12":
            world.app.template.convert_and_send_to_user("ann", "/queue/echo", number)
        peer.send_to("/app/echo", "mine")
        world.app.template.convert_and_send_to_user("ann", "/queue/echo", "3")
        world.settle()
        got: list[str] = []
        while frames := peer.frames():
            got += [frame.body.decode() for frame in frames]
            ack(peer, frames[-1])
        assert got == ["1", "2", "mine", "3"]
        assert bodies(other) == ["1", "2", "3"]
        assert not world.broker.delivery.registry.stored.size


def test_a_reader_behind_skips_what_is_for_another_session() -> None:
    with Broker(prepare=prepare, ack_window=1) as world:
        peer, other = echoes(world), echoes(world, ack="client-individual")
        for number in "12":
            world.app.template.convert_and_send_to_user("ann", "/queue/echo", number)
        peer.send_to("/app/echo", "not yours")
        world.settle()
        first = other.message()
        ack(other, first)
        assert bodies(other) == ["2"]
        assert bodies(peer) == ["1", "2", "not yours"]
        assert not world.broker.delivery.registry.stored.size


def test_an_error_reply_has_an_ack_and_a_place_in_the_window() -> None:
    with Broker(prepare=prepare, ack_window=1) as world:
        peer = world.connect()
        peer.subscribe("/user/queue/errors", "e", ack="client")
        for number in "12":
            peer.send_to("/app/fail", receipt=number)
        first = peer.message()
        assert first.headers["receipt-id"] == "1"
        peer.nothing()
        ack(peer, first)
        assert peer.message().headers["receipt-id"] == "2"


def test_a_message_to_a_session_that_has_ended_is_unrouted() -> None:
    with Broker(prepare=prepare) as world:
        peer = echoes(world)
        peer.send_to("/app/echo", "a")
        unrouted = world.counters.messages_unrouted
        peer.eof()
        other = echoes(world)
        other.command("UNSUBSCRIBE", {"id": "s"})
        other.send_to("/app/echo", "b", receipt="r")
        other.frame("RECEIPT")
        assert world.counters.messages_unrouted == unrouted + 1


def test_a_snapshot_of_a_durable_name_comes_before_what_came_back_to_it() -> None:
    with Broker(prepare=prepare) as world:
        peer = world.connect(login="ann")
        resubscribe(peer, durable="true", ack="client")
        ack(peer, peer.message())
        world.publish("/topic/s", "1")
        peer.message()
        peer.eof()
        peer = world.connect(login="ann")
        peer.command("SUBSCRIBE", {"destination": "/topic/s", "id": "s", "durable": "true"})
        assert bodies(peer) == ["so far", "1"]

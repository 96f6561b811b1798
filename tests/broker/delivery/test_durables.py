"""Durable names: what a user's named subscription missed while it was away."""

from __future__ import annotations

import pytest

from stocksync_ws import policies
from stocksync_ws.broker.calls.events import SessionUnsubscribed
from tests.broker.kit import Broker, ack, bodies, refused


@pytest.mark.parametrize("header", ["durable", "persistent"])
def test_what_was_missed_comes_when_the_name_returns(header: str) -> None:
    with Broker() as world:
        peer = world.reader("/topic/a", login="ann", **{header: "true"})
        world.publish("/topic/a", "1")
        assert bodies(peer) == ["1"]
        peer.eof()
        world.publish("/topic/a", "2", "3")
        peer = world.reader("/topic/a", login="ann", **{header: "true"})
        frames = peer.frames()
        assert [frame.body for frame in frames] == [b"2", b"3"]
        assert all(frame.headers["replayed"] == "true" for frame in frames)
        world.publish("/topic/a", "4")
        assert bodies(peer) == ["4"]


def test_anonymous_sessions_have_no_names() -> None:
    with Broker() as world:
        peer = world.connect()
        peer.command("SUBSCRIBE", {"destination": "/topic/a", "id": "s", "durable": "true"})
        assert peer.error().headers["code"] == "subscribe-denied"
        assert peer.closed == 1008


def test_1_0_without_an_id_cannot_be_named() -> None:
    with Broker() as world:
        peer = world.connect("1.0", login="ann")
        peer.command("SUBSCRIBE", {"destination": "/topic/a", "durable": "true"})
        assert peer.error().headers["code"] == "missing-header"
        assert not world.broker.delivery.registry.known


@pytest.mark.parametrize(
    ("header", "kept"), [({}, ["1"]), ({"durable": "0"}, ["1"]), ({"durable": "True"}, [])]
)
def test_unsubscribe_deletes_with_the_header_and_keeps_without(
    header: dict[str, str], kept: list[str]
) -> None:
    with Broker() as world:
        peer = world.reader("/topic/a", login="ann", durable="true")
        peer.command("UNSUBSCRIBE", {"id": "s"} | header)
        world.publish("/topic/a", "1")
        peer.subscribe("/topic/a", "s", durable="true")
        assert bodies(peer) == kept


def test_unsubscribe_with_a_header_that_is_no_word_deletes_nothing() -> None:
    with Broker() as world:
        peer = world.reader("/topic/a", login="ann", durable="1")
        peer.command("UNSUBSCRIBE", {"id": "s", "durable": "yes"})
        refused(peer, "bad-header", 1002)
        world.publish("/topic/a", "1")
        assert bodies(world.reader("/topic/a", login="ann", durable="1")) == ["1"]


def test_names_belong_to_users() -> None:
    with Broker() as world:
        world.reader("/topic/a", login="ann", durable="true").eof()
        world.publish("/topic/a", "1")
        world.reader("/topic/a", login="bob", durable="true").nothing()


def test_another_session_takes_the_name_over() -> None:
    with Broker() as world:
        first = world.reader("/topic/a", login="ann", durable="true", ack="client")
        world.publish("/topic/a", "1", "2")
        one, _ = first.frames()
        ack(first, one)
        second = world.reader("/topic/a", login="ann", durable="true", ack="client")
        again = second.message()
        assert again.body == b"2"
        # Nobody refused it, and nobody was lost: nothing counts.
        assert (again.headers["redelivered"], again.headers["delivery-attempt"]) == ("true", "1")
        world.publish("/topic/a", "3")
        assert bodies(second) == ["3"]
        first.nothing()
        assert first.closed is None
        assert [event.subscription_id for event in world.heard(SessionUnsubscribed)] == ["s"]
        first.command("UNSUBSCRIBE", {"id": "s", "receipt": "u"})
        first.frame("RECEIPT")
        world.publish("/topic/a", "4")
        assert bodies(second) == ["4"]


def test_what_was_unsettled_comes_back_first_and_marked() -> None:
    with Broker() as world:
        peer = world.reader("/topic/a", login="ann", durable="true", ack="client-individual")
        world.publish("/topic/a", "1", "2")
        one, _ = peer.frames()
        ack(peer, one)
        peer.eof()
        world.publish("/topic/a", "3")
        peer = world.reader("/topic/a", login="ann", durable="true", ack="client-individual")
        two, three = peer.frames()
        assert (two.body, three.body) == (b"2", b"3")
        assert two.headers["redelivered"] == "true"
        assert three.headers["redelivered"] == "false"
        ack(peer, two)
        assert world.counters.messages_settled == 2
        assert world.counters.messages_unsettled == 0


def test_what_was_unsettled_comes_back_in_auto_mode_too() -> None:
    with Broker() as world:
        peer = world.reader("/topic/a", login="ann", durable="true", ack="client")
        world.publish("/topic/a", "1")
        peer.message()
        peer.eof()
        peer = world.reader("/topic/a", login="ann", durable="true")
        assert peer.message().headers["delivery-attempt"] == "2"


def test_a_name_away_does_not_outlive_five_deliveries_and_one_by_itself() -> None:
    with Broker() as world:
        for attempt in range(1, 9):
            peer = world.reader("/topic/a", login="ann", durable="true", ack="client")
            if attempt == 1:
                world.publish("/topic/a", "1")
            if attempt <= 6:
                assert peer.message().headers.get("delivery-attempt", "1") == str(attempt)
            peer.nothing()
            peer.eof()
        assert world.counters.messages_dead == 1


def test_a_name_is_kept_for_5_minutes() -> None:
    with Broker() as world:
        world.reader("/topic/a", login="ann", durable="true").eof()
        world.publish("/topic/a", "1")
        world.advance(299)
        peer = world.reader("/topic/a", login="ann", durable="true")
        assert bodies(peer) == ["1"]
        peer.eof()
        world.publish("/topic/a", "2")
        world.advance(301)
        assert not world.broker.delivery.registry.known
        assert world.broker.delivery.registry.stored.size == 0
        world.reader("/topic/a", login="ann", durable="true").nothing()


@pytest.mark.parametrize("limits", [{"durable_messages": 2}, {"durable_bytes": 22}])
def test_what_was_trimmed_is_told_by_the_next_message(limits: dict[str, int]) -> None:
    with Broker(**limits) as world:
        peer = world.reader("/topic/a", login="ann", durable="true")
        peer.eof()
        world.publish("/topic/a", *"12345")
        peer = world.reader("/topic/a", login="ann", durable="true")
        first, second = peer.frames()
        assert (first.body, first.headers["dropped"]) == (b"4", "3")
        assert "dropped" not in second.headers


def test_a_name_keeps_a_history_beyond_its_own_bounds() -> None:
    places = {"/topic/s": policies.Stream(history=2, seconds=10.0)}
    with Broker(places, durable_messages=4) as world:
        peer = world.reader("/topic/s", login="ann", durable="true")
        peer.eof()
        world.publish("/topic/s", *"123")
        world.advance(60)
        peer = world.reader("/topic/s", login="ann", durable="true")
        assert bodies(peer) == ["1", "2", "3"]
        channel = world.broker.delivery.registry.find("/topic/s")
        assert channel is not None
        assert len(channel.log) <= 2
        peer.eof()
        world.publish("/topic/s", *"456789")
        first = world.reader("/topic/s", login="ann", durable="true").message()
        assert (first.body, first.headers["dropped"]) == (b"6", "2")


def test_a_reader_that_lived_on_a_name_is_closed_when_the_name_is_deleted() -> None:
    places = {"/topic/s": policies.Stream(history=9, seconds=10.0)}
    with Broker(places) as world:
        narrow = {"ack": "client", "prefetch_count": "1"}
        named = world.reader("/topic/s", login="ann", durable="true", **narrow)
        slow = world.reader("/topic/s", **narrow)
        world.publish("/topic/s", "1", "2")
        world.advance(20)
        assert bodies(slow) == ["1"]
        assert slow.closed is None
        named.command("UNSUBSCRIBE", {"id": "s", "durable": "true"})
        assert slow.closed == 4010


def test_a_user_has_10_names() -> None:
    with Broker() as world:
        peer = world.connect(login="ann")
        for number in range(10):
            peer.subscribe("/topic/a", f"s{number}", durable="true")
        peer.command("SUBSCRIBE", {"destination": "/topic/b", "id": "x", "durable": "true"})
        error = peer.error()
        assert error.headers["code"] == "limit"
        assert b"Limits.max_durables=10, got 11" in error.body
        assert list(world.broker.delivery.registry.known) == ["/topic/a"]


def test_a_name_moves_to_another_destination() -> None:
    with Broker() as world:
        world.reader("/topic/a", login="ann", durable="true").eof()
        world.publish("/topic/a", "1")
        peer = world.reader("/topic/b", login="ann", durable="true")
        peer.nothing()
        assert list(world.broker.delivery.registry.known) == ["/topic/b"]


def test_what_was_not_written_when_the_session_was_lost_comes_again() -> None:
    with Broker() as world:
        peer = world.reader("/topic/a", login="ann", durable="true")
        world.app.template.send("/topic/a", b"1")
        world.runtime._inbox.drain()
        world.runtime.driver.ended(peer.stream.link)
        world.settle()
        assert bodies(world.reader("/topic/a", login="ann", durable="true")) == ["1"]


def test_what_is_still_in_the_mailbox_at_unsubscribe_does_not_come_twice() -> None:
    with Broker() as world:
        peer = world.reader("/topic/a", login="ann", durable="true")
        peer.stream.open_window(0)
        world.publish("/topic/a", "1")
        world.publish("/topic/a", "2")
        peer.command("UNSUBSCRIBE", {"id": "s"})
        peer.command("SUBSCRIBE", {"destination": "/topic/a", "id": "s", "durable": "true"})
        peer.stream.open_window(None)
        world.settle()
        assert bodies(peer) == ["1", "2"]


def test_a_name_that_is_left_in_a_mailbox_reads_again_what_its_holder_could_not_be_sent() -> None:
    places = {"/topic/s": policies.Stream(history=9)}
    with Broker(places) as world:
        peer = world.text_reader("/topic/s", login="ann", durable="true")
        peer.stream.open_window(0)
        peer.command("BEGIN", {"transaction": "t", "receipt": "in the way"})
        world.publish("/topic/s", "1", "2", b"\xff", b"\xff")
        peer.eof()
        peer = world.text_reader("/topic/s", login="ann", durable="true")
        assert bodies(peer) == ["1", "2"]
        world.publish("/topic/s", "3")
        assert peer.message().headers["dropped"] == "2"

"""The atomic step of a publication, and the seam in it for who orders several processes."""

from __future__ import annotations

from typing import Any

import pytest

from stocksync_ws import policies
from stocksync_ws.broker.calls.events import DeadLetter
from stocksync_ws.broker.delivery.queues import QueueFull
from stocksync_ws.broker.model.owner import Owners
from stocksync_ws.broker.model.publication import Draft, Publication, Published
from stocksync_ws.position import Position
from tests.broker.delivery.room import Room, empty, head
from tests.broker.kit import Broker, ack, bodies, drafted, resubscribe

HISTORY = {"/topic/s": policies.Stream()}
PLACE = "/topic/s"


def admit(world: Broker, body: str, destination: str = PLACE, **more: Any) -> Publication:
    """A message that has its number, and is with nobody yet."""
    headers = tuple(more.pop("headers", {}).items())
    draft = drafted(destination, headers, body.encode(), **more)
    publisher = world.broker._sessions.publisher
    return world.act(publisher.admit, draft)


def put(
    world: Broker, publication: Publication, position: Position | None = None, **reserved: bool
) -> Published:
    """The atomic step, as a backplane would take it."""

    def work() -> int:
        if position is not None:
            begin(world, publication, position)
        return world.broker.delivery.publishing.publish_local(publication, position, **reserved)

    receivers = world.act(work)
    return Published(publication.message_id, receivers)


def begin(world: Broker, publication: Publication, position: Position) -> None:
    """A fresh history takes over that of its first position."""
    known = world.broker.delivery.destinations
    if not isinstance(known.policy(publication.destination), (policies.Stream, policies.Latest)):
        return
    log = known.open_topic(publication.destination).log
    if not log.top:
        log.adopt(position.epoch, ((position.generation, 0),), position.offset - 1)


def post(world: Broker, body: str, offset: int, epoch: str = "e", **headers: str) -> Published:
    return put(world, admit(world, body, headers=headers), Position(epoch, 0, offset))


def log(world: Broker, destination: str = PLACE) -> Any:
    found = world.broker.delivery.registry.find(destination)
    assert found is not None
    return found.log


class TestPositions:
    def test_a_message_has_the_id_and_the_offset_of_its_position(self) -> None:
        with Broker(HISTORY) as world:
            peer, acking = world.reader(PLACE), world.reader(PLACE, ack="client")
            assert post(world, "1", 5) == Published("e-5", 2)
            for each in (peer, acking):
                message = each.message()
                assert (message.body, message.headers["message-id"]) == (b"1", "e-5")
            assert [offset for offset, _ in log(world)] == [5]
            assert log(world).top == 5

    def test_a_fresh_history_takes_over_the_epoch_of_its_first_position(self) -> None:
        with Broker(HISTORY) as world:
            world.reader(PLACE)
            mine = log(world).epoch
            assert mine != "theirs"
            post(world, "1", 1, "theirs")
            assert log(world).epoch == "theirs"

    def test_what_was_there_already_reaches_nobody_a_second_time(self) -> None:
        with Broker(HISTORY) as world:
            live, behind = (
                world.reader(PLACE),
                world.reader(PLACE, ack="client", prefetch_count="1"),
            )
            for body, offset in (("1", 4), ("2", 7)):
                assert post(world, body, offset).receivers == 2
            for offset in (7, 4, 5, 1):
                assert post(world, "again", offset).receivers == 0
            assert bodies(live) == ["1", "2"]
            message = behind.message()
            ack(behind, message)
            assert bodies(behind) == ["2"]
            assert [offset for offset, _ in log(world)] == [4, 7]
            assert world.counters.messages_unrouted == 0
            post(world, "3", 8)
            assert bodies(live) == ["3"]

    @pytest.mark.parametrize("own", [False, True])
    def test_a_position_in_another_history_is_an_error_and_nothing_is_queued(
        self, own: bool
    ) -> None:
        with Broker(HISTORY) as world:
            peer = world.reader(PLACE)
            if own:
                world.publish(PLACE, "0")
            else:
                post(world, "0", 1)
            assert bodies(peer) == ["0"]
            published = world.counters.messages_published
            with pytest.raises(ValueError, match="is not other"):
                post(world, "1", 9, "other")
            world.settle()
            peer.nothing()
            assert [offset for offset, _ in log(world)] == [1]
            assert (log(world).top, world.counters.messages_published) == (1, published)
            world.publish(PLACE, "2")  # and the broker lives on
            assert bodies(peer) == ["2"]

    def test_a_newcomer_does_not_claim_what_was_there_before_it(self) -> None:
        with Broker(HISTORY) as world:
            post(world, "1", 1_000)
            for seen, recovered in ((10, "false"), (998, "false"), (999, "true"), (1_000, "true")):
                receipt = resubscribe(world.connect(), last_message_id=f"e-{seen}")
                assert receipt.headers["recovered"] == recovered

    def test_a_history_that_began_anew_is_another_one(self) -> None:
        with Broker(HISTORY) as world:
            peer = world.reader(PLACE)
            put(world, admit(world, "1"), Position("e", 1, 5))
            assert peer.message().headers["message-id"] == "e.1-5"
            assert (
                resubscribe(world.connect(), last_message_id="e.1-5").headers["recovered"] == "true"
            )
            assert (
                resubscribe(world.connect(), last_message_id="e-5").headers["recovered"] == "false"
            )

    @pytest.mark.parametrize("ack", ["auto", "client"])
    def test_on_a_topic_that_keeps_only_for_who_is_behind_it_means_nothing(self, ack: str) -> None:
        with Broker() as world:
            peer = world.reader("/topic/a", ack=ack)
            world.publish("/topic/a", "0")
            put(world, admit(world, "1", "/topic/a"), Position("e", 0, 9))
            assert bodies(peer) == ["0", "1"]
            assert log(world, "/topic/a").epoch is None
            assert log(world, "/topic/a").top == 2

    def test_without_a_position_the_next_offset_follows(self) -> None:
        with Broker(HISTORY) as world:
            peer = world.reader(PLACE)
            post(world, "1", 5)
            world.publish(PLACE, "2")
            assert [frame.headers["message-id"] for frame in peer.frames()] == ["e-5", "e-6"]

    def test_recovery_goes_on_across_gaps(self) -> None:
        with Broker(HISTORY) as world:
            for body, offset in (("1", 1), ("2", 9), ("3", 20)):
                post(world, body, offset)
            for seen, expected in (
                (0, "123"), (1, "23"), (5, "23"), (8, "23"), (9, "3"), (19, "3"), (20, "")
            ):  # fmt: skip
                peer = world.connect()
                receipt = resubscribe(peer, last_message_id=f"e-{seen}")
                assert receipt.headers["recovered"] == "true"
                assert receipt.headers["replayed"] == f"{len(expected)}"
                assert receipt.headers["last-message-id"] == "e-20"
                assert bodies(peer) == [*expected]
            peer = world.connect()
            assert resubscribe(peer, last_message_id="e-21").headers["recovered"] == "false"

    def test_all_or_nothing_holds_across_gaps(self) -> None:
        with Broker({PLACE: policies.Stream(history=2)}) as world:
            for body, offset in (("1", 3), ("2", 9), ("3", 20)):
                post(world, body, offset)
            for seen, recovered in ((2, "false"), (3, "true"), (8, "true")):
                receipt = resubscribe(world.connect(), last_message_id=f"e-{seen}")
                assert receipt.headers["recovered"] == recovered

    def test_a_durable_name_goes_on_across_gaps(self) -> None:
        with Broker(HISTORY) as world:
            peer = world.reader(PLACE, login="ann", durable="true")
            post(world, "1", 3)
            assert bodies(peer) == ["1"]
            peer.eof()
            for body, offset in (("2", 9), ("3", 20)):
                post(world, body, offset)
            back = world.connect(login="ann")
            resubscribe(back, durable="true")
            frames = back.frames()
            assert [frame.body for frame in frames] == [b"2", b"3"]
            assert not any("dropped" in frame.headers for frame in frames)

    def test_newest_values_take_positions_too(self) -> None:
        with Broker({PLACE: policies.Latest()}) as world:
            peer = world.reader(PLACE)
            post(world, "1", 3, key="a")
            post(world, "2", 8, key="b")
            post(world, "old", 3, key="a")
            assert [frame.headers["message-id"] for frame in peer.frames()] == ["e-3", "e-8"]
            late = world.connect()
            resubscribe(late, last_message_id="e-3")
            assert bodies(late) == ["2"]

    @pytest.mark.parametrize("version", ["1.0", "1.1", "1.2"])
    def test_what_came_by_a_position_is_acknowledged_like_any_other(self, version: str) -> None:
        with Broker(HISTORY) as world:
            peer = world.reader(PLACE, version, ack="client", prefetch_count="1")
            post(world, "1", 3)
            post(world, "2", 9)
            message = peer.message()
            ack(peer, message, receipt="r")
            received = peer.frames()
            assert [frame.command for frame in received] == ["RECEIPT", "MESSAGE"]
            assert received[1].headers["message-id"] == "e-9"

    def test_a_dead_message_leaves_its_place_empty(self) -> None:
        with Broker(HISTORY) as world:
            peer = world.reader(PLACE)
            publication = admit(world, "dead", headers={"expiration": "500"})
            world.advance(1)
            assert put(world, publication, Position("e", 0, 3)).receivers == 0
            assert [event.body for event in world.heard(DeadLetter)] == [b"dead"]
            post(world, "alive", 4)
            assert bodies(peer) == ["alive"]

    def test_on_a_topic_without_a_history_a_position_means_nothing(self) -> None:
        with Broker() as world:
            peer = world.reader("/topic/a")
            for body, offset in (("1", 9), ("2", 3), ("3", 3)):
                publication = admit(world, body, "/topic/a")
                message_id = publication.message_id
                position = Position(f"epoch of {body}", 0, offset)
                assert put(world, publication, position) == Published(message_id, 1)
            assert bodies(peer) == ["1", "2", "3"]
            assert log(world, "/topic/a").epoch is None
            assert log(world, "/topic/a").top == 3

    def test_on_a_queue_it_means_nothing_either(self) -> None:
        with Broker() as world:
            for body, offset in (("1", 9), ("2", 3), ("3", 3)):
                put(world, admit(world, body, "/queue/a"), Position("e", 0, offset))
            assert [offset for offset, _ in log(world, "/queue/a")] == [1, 2, 3]
            assert bodies(world.reader("/queue/a")) == ["1", "2", "3"]

    def test_nor_for_a_user_or_one_session(self) -> None:
        with Broker() as world:
            peer = world.connect(login="ann")
            peer.subscribe("/user/queue/x", "s")
            (session,) = world.broker.sessions
            for to in ({"user": "ann"}, {"session": session}):
                publication = admit(world, "x", "/queue/x", **to)
                assert put(world, publication, Position("e", 0, 9)).receivers == 1
            assert bodies(peer) == ["x", "x"]


def test_two_logs_may_keep_one_publication_each_in_a_place_of_its_own() -> None:
    """A publication carries no offset: that of an entry, a delivery and a name is its log's."""
    room = Room()
    one, two = room.topic("/topic/h/a"), room.topic("/topic/h/b")
    readers = [room.behind(topic, window=1) for topic in (one, two)]
    blocker, item, behind = room.item("0"), room.item("1"), room.item("2")
    for topic, offsets in ((one, (3, 4, 6)), (two, (8, 20, 21))):
        topic.log.adopt("e", ((0, 0),), 0)
        for publication, offset in zip((blocker, item, behind), offsets, strict=True):
            position = Position("e", 0, offset)
            room.delivery.topics.publish(topic, publication, position)
    assert [offset for offset, _ in one.log] == [3, 4, 6]
    assert [offset for offset, _ in two.log] == [8, 20, 21]
    for reader, offsets in zip(readers, ((3, 4, 6), (8, 20, 21)), strict=True):
        assert reader.ledger is not None
        for publication, offset in zip((blocker, item, behind), offsets, strict=True):
            room.readers.pull(reader.session)
            (entry,) = empty(reader)
            (delivery,) = reader.ledger.clear()
            assert (entry.publication, entry.offset) == (publication, offset)
            assert (delivery.publication, delivery.offset) == (publication, offset)
            assert "dropped" not in head(entry)
        assert reader.next == offsets[-1] + 1


class TestCounted:
    def test_what_reaches_nobody_and_is_kept_for_nobody_is_unrouted(self) -> None:
        with Broker(HISTORY) as world:
            for destination, unrouted in (("/topic/a", 1), (PLACE, 0), ("/queue/a", 0)):
                before = world.counters.messages_unrouted
                put(world, admit(world, "x", destination))
                assert world.counters.messages_unrouted - before == unrouted
            assert world.counters.messages_published == 3

    def test_what_is_dead_already_is_not_unrouted_and_makes_no_destination(self) -> None:
        with Broker() as world:
            publication = admit(world, "x", "/queue/a", headers={"expiration": "0"})
            world.advance(1)
            assert put(world, publication).receivers == 0
            assert world.counters.messages_unrouted == 0
            assert not world.broker.delivery.registry.known
            assert [event.reason for event in world.heard(DeadLetter)] == ["expired"]

    def test_what_a_queue_does_not_take_was_not_published(self) -> None:
        with Broker(queue_messages=1, max_queues=1) as world:
            put(world, admit(world, "1", "/queue/a"))
            for destination in ("/queue/a", "/queue/b"):
                with pytest.raises(QueueFull):
                    put(world, admit(world, "2", destination))
            assert world.counters.messages_published == 1
            put(world, admit(world, "3", "/queue/a"), reserved=True)
            assert bodies(world.reader("/queue/a")) == ["1", "3"]


class TestRoom:
    """What a transaction asks before its step."""

    def drafts(self, *destinations: str, size: int = 1) -> list[Draft]:
        return [drafted(each, (), b"x" * size) for each in destinations]

    def test_each_queue_has_to_take_all_that_is_for_it(self) -> None:
        with Broker(queue_messages=2) as world:
            room = world.broker.delivery.publishing.has_room
            assert room(self.drafts(*["/queue/a"] * 2, *["/queue/b"] * 2))
            assert not room(self.drafts(*["/queue/a"] * 3))
            put(world, admit(world, "x", "/queue/a"))
            assert not room(self.drafts(*["/queue/a"] * 2))

    def test_new_queues_are_counted_once(self) -> None:
        with Broker(max_queues=2) as world:
            room = world.broker.delivery.publishing.has_room
            put(world, admit(world, "x", "/queue/a"))
            assert room(self.drafts("/queue/a", "/queue/b", "/queue/b"))
            assert not room(self.drafts("/queue/b", "/queue/c"))

    def test_all_of_them_together_have_to_fit_into_what_may_be_stored(self) -> None:
        with Broker(max_stored=1_000) as world:
            room = world.broker.delivery.publishing.has_room
            assert room(self.drafts("/queue/a", size=600))
            assert not room(self.drafts("/queue/a", "/queue/b", size=600))

    def test_topics_and_reply_queues_need_none(self) -> None:
        with Broker(max_queues=1, queue_messages=1, max_stored=100) as world:
            room = world.broker.delivery.publishing.has_room
            assert room(self.drafts(*["/topic/a", "/reply-queue/x"] * 9, size=600))
            assert room([drafted("/queue/a", (), b"x" * 600, user="ann")])


class TestShare:
    """What a transaction asks before its step, of what its owner may hold."""

    def test_all_it_makes_and_stores_is_counted_together(self) -> None:
        streams = {"/topic/s/**": policies.Stream()}
        with Broker(streams, max_queues=20, max_streams=20, max_stored=3_000) as world:
            publishing = world.broker.delivery.publishing
            made = Owners(world.broker.limits)._new()

            def over(*destinations: str, size: int = 1) -> str:
                drafts = [drafted(each, (), b"x" * size) for each in destinations]
                return publishing.over_share(made, drafts)

            assert over("/queue/1", "/queue/1", "/queue/2") == ""
            assert "max_queues=20, got 3" in over("/queue/1", "/queue/2", "/queue/3")
            assert "max_streams=20, got 3" in over("/topic/s/1", "/topic/s/2", "/topic/s/3")
            assert over("/topic/1", "/topic/2", "/topic/3", size=500) == ""
            assert over("/queue/1", size=500) == ""
            assert "max_stored=3000, got " in over("/queue/1", "/topic/s/1", size=150)

    def test_answers_and_topics_that_keep_nothing_count_for_nobody(self) -> None:
        with Broker(max_stored=1_000) as world:
            publishing = world.broker.delivery.publishing
            made = Owners(world.broker.limits)._new()
            world.reader("/topic/a")
            peer = world.connect()
            other = world.reader("/queue/a")
            peer.send_to("/queue/a", "?", reply_to="/temp-queue/a")
            address = other.message().headers["reply-to"]
            drafts = [drafted(each, (), b"x" * 500) for each in ("/topic/a", address, "/queue/a")]
            assert publishing.over_share(made, drafts) == ""
            assert "max_stored" in publishing.over_share(made, [*drafts, drafts[-1]])

    def test_in_streams_its_oldest_messages_give_way(self) -> None:
        with Broker(HISTORY, max_stored=10_000) as world:
            peer = world.connect(login="ann")
            for _ in range(5):
                peer.send_to("/topic/s", "x" * 180)
            stream = world.broker.delivery.registry.find("/topic/s")
            assert stream is not None
            peer.command("BEGIN", {"transaction": "t"})
            peer.send_to("/topic/s", "y" * 500, transaction="t")
            peer.command("COMMIT", {"transaction": "t", "receipt": "r"})
            assert peer.frame("RECEIPT")
            assert [each.body[:1] for _, each in stream.log] == [b"x", b"x", b"y"]
            assert stream.log.size <= 1_000

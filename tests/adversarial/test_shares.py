"""One client must not use up what all share: stored bytes, queues, streams, idempotency keys.

Each test is a row of docs/contributing/neighbours.md.
"""

from __future__ import annotations

from unittest import mock

import pytest

from stocksync_ws import Latest, Queue, Stream
from stocksync_ws.broker.calls.events import DeadLetter, MessageDropped
from stocksync_ws.broker.model.topic import Topic
from stocksync_ws.testing.peer import Peer
from tests.broker.kit import Broker, bodies

STREAM = {"/topic/s/**": Stream(), "/topic/l/**": Latest()}


def told(peer: Peer, code: str, *texts: str) -> None:
    """Its last frame was this ERROR, and says why."""
    error = peer.error()
    assert error.headers["code"] == code
    for text in texts:
        assert text in error.body.decode()
    assert peer.closed in (1008, 1013)


def send_until_refused(peer: Peer, destination: str, body: str = "x", most: int = 300) -> int:
    """SENDs to destinations of this form, with a number in each; how many were taken."""
    for number in range(most):
        peer.send_to(destination.format(number), body, receipt="r")
        if peer.frames()[0].command == "ERROR":
            return number
    return most


# Idempotency keys


def test_eleven_anonymous_sessions_flush_nobodys_keys() -> None:
    with Broker(idempotency_keys=1_000) as world:
        ann = world.connect(login="ann")
        ann.send_to("/topic/a", "pay", idempotency_key="k")
        crowd = [world.connect() for _ in range(11)]
        for peer in crowd:
            for number in range(101):
                peer.send_to("/topic/a", "x", idempotency_key=f"{number}")
        for peer in crowd[:5]:
            told(peer, "limit", "Limits.owner_share=0.1 of Limits.idempotency_keys=1000, got 101")
        ann.send_to("/topic/a", "pay", idempotency_key="k", receipt="r")
        assert ann.frame("RECEIPT").headers["duplicate"] == "true"


def test_anonymous_sessions_that_stay_have_half_of_the_keys() -> None:
    with Broker(idempotency_keys=1_000) as world:
        crowd = [world.connect() for _ in range(6)]
        for peer in crowd[:5]:
            for number in range(100):
                peer.send_to("/topic/a", "x", idempotency_key=f"{number}")
        crowd[5].send_to("/topic/a", "x", idempotency_key="k")
        told(crowd[5], "limit", "the half of all anonymous clients of Limits.idempotency_keys=1000")
        crowd[0].eof()  # And its keys end with it.
        world.connect().send_to("/topic/a", "x", idempotency_key="k")
        assert len(world.broker.delivery.idempotency) == 401


# Stored bytes


@pytest.mark.parametrize("destination", ["/queue/one", "/queue/{}", "/topic/l/{}"])
def test_one_user_fills_a_tenth_of_the_store(destination: str) -> None:
    with Broker(STREAM, max_stored=100_000) as world:
        ann = world.connect(login="ann")
        taken = send_until_refused(ann, destination, "x" * 980)
        stored = world.broker.delivery.registry.stored.size
        assert (taken, stored <= 10_000) == (10, True)
        world.connect(login="bob").send_to("/queue/b", "x" * 9_000, receipt="r")
        again = world.connect(login="ann")
        again.send_to("/queue/other", "x" * 980)
        told(again, "queue-full", "Limits.owner_share=0.1 of Limits.max_stored=100000, got ")
        if destination == "/queue/one":
            assert len(bodies(world.reader("/queue/one"))) == 10
            world.connect(login="ann").send_to("/queue/c", "free again")
            assert bodies(world.reader("/queue/c")) == ["free again"]


def test_a_user_at_its_share_goes_on_with_a_stream_of_its_own() -> None:
    """Its own oldest messages there give way, and nobody else's do."""
    with Broker(STREAM, max_stored=100_000) as world:
        bob, ann = world.connect(login="bob"), world.connect(login="ann")
        bob.send_to("/topic/s/a", "bob's")
        for number in range(30):
            ann.send_to("/topic/s/b", f"{number:980}")
        ann.nothing()
        stream = world.broker.delivery.registry.find("/topic/s/b")
        assert stream is not None
        assert (len(stream.log), stream.log.size <= 10_000) == (10, True)
        ann.send_to("/topic/s/a", "x" * 980)
        told(ann, "queue-full", "Limits.owner_share")
        other = world.broker.delivery.registry.find("/topic/s/a")
        assert other is not None
        assert [each.body for _, each in other.log] == [b"bob's"]


def test_a_user_at_its_share_publishes_to_topics_that_keep_nothing() -> None:
    with Broker(max_stored=100_000) as world:
        ann, reader = world.connect(login="ann"), world.reader("/topic/a", ack="client")
        for _ in range(10):
            ann.send_to("/queue/a", "x" * 980)
        ann.send_to("/topic/a", "x" * 980)
        assert bodies(reader) == ["x" * 980]
        ann.nothing()


def test_a_newer_value_takes_the_place_of_the_older_one_in_the_share() -> None:
    with Broker(STREAM, max_stored=20_000) as world:
        ann = world.connect(login="ann")
        for number in range(20):
            ann.send_to("/topic/l/a", f"{number:1200}", key="k")
        ann.nothing()
        ann.send_to("/topic/l/a", "x" * 1_200, key="other")
        told(ann, "queue-full", "Limits.owner_share")


def test_anonymous_sessions_that_come_and_go_fill_half_of_the_store() -> None:
    with Broker(max_stored=100_000) as world:
        for number in range(20):
            peer = world.connect()
            taken = send_until_refused(peer, f"/queue/{number}", "x" * 980)
            assert taken == (10 if number < 5 else 0)
            peer.eof()
        assert world.broker.delivery.registry.stored.size <= 50_000
        last = world.connect()
        last.send_to("/queue/a", "x" * 980)
        told(last, "queue-full", "the half of all anonymous clients of Limits.max_stored=100000")
        world.connect(login="ann").send_to("/queue/a", "x" * 9_000)
        assert world.broker.delivery.registry.find("/queue/a") is not None
        world.publish("/queue/b", "x" * 30_000)  # What the application publishes has no owner.
        assert world.counters.messages_dropped == 0


def test_who_holds_nothing_may_place_one_message_of_any_size() -> None:
    with Broker(max_stored=100_000) as world:
        ann = world.connect(login="ann")
        ann.send_to("/queue/a", "x" * 60_000, receipt="r")
        ann.frame("RECEIPT")
        ann.send_to("/queue/a", "x")
        told(ann, "queue-full", "Limits.owner_share")


def test_what_is_out_and_what_waits_for_its_pause_counts_until_it_is_settled() -> None:
    with Broker(max_stored=100_000) as world:
        ann = world.connect(login="ann")
        worker = world.reader("/queue/a", ack="client-individual")
        for _ in range(10):
            ann.send_to("/queue/a", "x" * 980)
        ann.send_to("/queue/a", "x" * 980)
        told(ann, "queue-full")
        messages = worker.frames()
        worker.command("NACK", {"id": messages[0].headers["ack"]})
        worker.command("ACK", {"id": messages[1].headers["ack"]})
        ann = world.connect(login="ann")
        assert send_until_refused(ann, "/queue/a", "x" * 980) == 1
        worker.eof()
        world.advance(5)
        assert world.broker.delivery.registry.stored.size <= 10_000


def test_answers_count_in_the_share_of_who_asked() -> None:
    """Else a requester that fetches nothing would use up the share of the service."""
    with Broker(max_stored=100_000) as world:
        service = world.reader("/queue/service", login="service")
        asking = world.connect(login="ann")
        asking.send_to("/queue/service", "?", reply_to="/temp-queue/a")
        address = service.message().headers["reply-to"]
        asking.stream.open_window(0)
        for _ in range(80):
            service.send_to(address, "x" * 980)
        service.send_to("/queue/other", "x" * 980, receipt="r")
        assert service.frame("RECEIPT")
        assert world.counters.messages_dropped > 0
        owner = next(iter(world.broker.delivery.registry.private_queues.values())).owner
        assert owner is not None
        assert 0 < owner.stored <= 10_000
        asking.eof()
        assert owner.stored == 0
        assert world.broker.delivery.registry.stored.size < 2_000


# Queues and streams


@pytest.mark.parametrize(
    ("destination", "limit"), [("/queue/{}", "max_queues"), ("/topic/s/{}", "max_streams")]
)
def test_one_user_makes_a_tenth_of_what_there_may_be(destination: str, limit: str) -> None:
    with Broker(STREAM, **{limit: 100}) as world:
        for number in range(3):
            peer = world.connect(login=f"user{number}")
            assert send_until_refused(peer, destination.replace("{}", f"{number}-{{}}")) == 10
            assert peer.closed == 1013
        peer = world.connect(login="user0")
        peer.send_to(destination.format("0-1"), "x")  # One that is there is none that is made.
        peer.nothing()
        peer.send_to(destination.format("new"), "x")
        told(peer, "queue-full", f"Limits.owner_share=0.1 of Limits.{limit}=100, got 11")
        crowd = sum(
            send_until_refused(world.connect(), destination.replace("{}", f"{each}-{{}}"))
            for each in "abcdefgh"
        )
        assert crowd == 50
        world.publish(destination.format("by the application"), "x")
        assert len(world.broker.delivery.registry.known) == 81


def test_a_share_is_free_again_when_what_was_made_is_gone() -> None:
    with Broker(STREAM, max_queues=20, max_streams=20) as world:
        ann = world.connect(login="ann")
        for number in range(2):
            ann.send_to(f"/queue/{number}", "x")
            ann.send_to(f"/topic/s/{number}", "x")
        reader = world.reader("/queue/0")
        assert bodies(reader) == ["x"]
        reader.eof()
        for number in range(19):
            world.publish(f"/topic/s/new{number}", "x")
        assert world.broker.delivery.registry.find("/topic/s/0") is None
        ann.send_to("/queue/new", "x")
        ann.send_to("/topic/s/new", "x", receipt="r")
        ann.frame("RECEIPT")


@pytest.mark.parametrize("what", ["queues", "streams", "bytes"])
def test_a_commit_that_is_more_than_the_share_has_no_effect(what: str) -> None:
    with Broker(STREAM, max_queues=20, max_streams=20, max_stored=50_000) as world:
        destination = "/topic/s/{}" if what == "streams" else "/queue/{}"
        size, count = (3_000, 2) if what == "bytes" else (1, 3)
        peer = world.connect(login="ann")
        peer.command("BEGIN", {"transaction": "t"})
        for number in range(count):
            peer.send_to(destination.format(number), "x" * size, transaction="t")
        peer.command("COMMIT", {"transaction": "t"})
        told(peer, "queue-full", "Limits.owner_share=0.1")
        assert not world.broker.delivery.registry.known


def test_a_crowd_of_names_that_are_only_read_flushes_no_history() -> None:
    with Broker(STREAM, max_streams=10) as world:
        world.publish("/topic/s/kept", "x")
        peer = world.connect(login="ann")
        for number in range(30):
            peer.subscribe(f"/topic/s/{number}", "s")
            peer.command("UNSUBSCRIBE", {"id": "s"})
        kept = world.broker.delivery.registry.find("/topic/s/kept")
        assert kept is not None
        assert len(kept.log) == 1


@pytest.mark.parametrize("pinned", [10, 500])
def test_nobody_looks_through_streams_that_stay(pinned: int) -> None:
    """What a SEND costs does not depend on how many are read."""
    looks = 0

    def counted(topic: Topic) -> bool:
        nonlocal looks
        looks += 1
        return bool(topic.groups or topic.durables)

    with Broker(STREAM, max_streams=pinned, max_subscriptions=pinned, owner_share=1.0) as world:
        reader = world.connect(login="ann")
        for number in range(pinned):
            reader.subscribe(f"/topic/s/{number}")
        bob = world.connect(login="bob")
        bob.send_to("/topic/s/first", "x")  # It takes those that are read out of its way, once.
        with mock.patch.object(Topic, "pinned", property(counted)):
            for number in range(20):
                bob.send_to(f"/topic/s/new{number}", "x")
        assert looks <= 20 * 4
        assert len(world.broker.delivery.registry.histories) == pinned + 1


# Queues that nobody consumes


def test_a_queue_that_nobody_consumes_is_not_kept_for_good() -> None:
    dead = {"/queue/a": Queue(dead_letter="/queue/dead")}
    with Broker(dead, queue_idle_seconds=3_600, max_queues=10) as world:
        ann = world.connect(login="ann")
        ann.send_to("/queue/a", "1")
        world.advance(3_000)
        ann.send_to("/queue/a", "2", receipt="r")
        world.advance(599)
        assert world.broker.delivery.registry.find("/queue/a")
        world.advance(2)
        assert world.broker.delivery.registry.find("/queue/a") is None
        [event] = world.heard(MessageDropped)
        assert (event.destination, event.reason, event.count) == ("/queue/a", "expired", 2)
        assert not world.heard(DeadLetter)
        assert world.counters.messages_dead == 2
        letters = world.reader("/queue/dead").frames()
        assert [each.headers["x-death-reason"] for each in letters] == ["expired"] * 2
        assert [each.body for each in letters] == [b"1", b"2"]

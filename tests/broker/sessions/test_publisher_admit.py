"""The one door: whatever becomes a MESSAGE is admitted once, with a number, an id and a kind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from stocksync_ws import StompApp, policies, send_to
from stocksync_ws.broker.calls.dispatch import NullDispatch
from stocksync_ws.broker.calls.events import DeadLetter
from stocksync_ws.broker.calls.room import Calls
from stocksync_ws.broker.delivery.room import Delivery
from stocksync_ws.broker.model.publication import Draft, Publication, PublicationKind
from stocksync_ws.broker.model.step import DeadMessage
from stocksync_ws.broker.sessions.interception import Interception
from stocksync_ws.broker.sessions.publisher import Publisher
from stocksync_ws.types import ToDestination, ToSession, ToUser
from tests.broker.kit import Broker, ack, drafted, environment

MESSAGE, DEAD_LETTER, ANSWER, SNAPSHOT, PRESENCE, ERROR_REPLY = PublicationKind
BURIED = policies.Topic(dead_letter="/queue/dead", max_deliveries=1)
BURIED_QUEUE = policies.Queue(dead_letter="/queue/dead", max_deliveries=1)
KINDS = {
    "/queue/a": BURIED_QUEUE,
    "/topic/a": BURIED,
    "/topic/snap": BURIED,
    "/queue/dead": BURIED_QUEUE,
}


def publisher(now: float = 0.0, wall: float = 0.0) -> Publisher:
    env = environment()
    env.wall = lambda: wall
    env.step.now = now
    calls = Calls(env, NullDispatch())
    return Publisher(env, Delivery(env), calls.listeners, calls.log, Interception(env, calls))


def draft(**headers: str) -> Draft:
    return drafted("/topic/a", tuple(headers.items()), b"x")


class TestAdmit:
    def test_each_has_a_number_and_an_id_that_no_other_has_whatever_its_kind(self) -> None:
        made = publisher(now=5.0)
        admitted = [made.admit(draft(), kind) for kind in PublicationKind]
        assert [each.number for each in admitted] == [1, 2, 3, 4, 5, 6]
        assert [each.message_id for each in admitted] == [f"token0-72-{n}" for n in range(1, 7)]
        kinds = [MESSAGE, DEAD_LETTER, ANSWER, SNAPSHOT, PRESENCE, ERROR_REPLY]
        assert [each.kind for each in admitted] == kinds
        assert {each.at for each in admitted} == {5.0}

    def test_it_is_a_message_unless_something_else_is_said(self) -> None:
        assert publisher().admit(draft()).kind is MESSAGE

    @pytest.mark.parametrize(
        ("to", "target", "destination"),
        [
            ({}, ToDestination("/queue/x"), "/queue/x"),
            ({"user": "ann"}, ToUser("ann", "/queue/x"), "/user/queue/x"),
            ({"session": "s1"}, ToSession("s1", "/queue/x"), "/user/queue/x"),
        ],
    )
    def test_its_destination_is_the_one_its_receivers_named(
        self, to: dict[str, str], target: object, destination: str
    ) -> None:
        admitted = publisher().admit(drafted("/queue/x", (), b"", **to))
        assert (admitted.target, admitted.destination) == (target, destination)
        assert admitted.only == to.get("session")

    @pytest.mark.parametrize("kind", PublicationKind)
    @pytest.mark.parametrize("header", [{"expiration": "2500"}, {"expires": "102500"}])
    def test_only_a_message_has_an_end_of_life(
        self, kind: PublicationKind, header: dict[str, str]
    ) -> None:
        admitted = publisher(now=5.0, wall=100.0).admit(draft(**header), kind)
        assert admitted.expires_at == (7.5 if kind is MESSAGE else None)

    @pytest.mark.parametrize(
        ("headers", "expires_at"),
        [
            ({}, None),
            ({"expiration": "0"}, 5.0),
            ({"expires": "0"}, None),  # never
            ({"expiration": "1000", "expires": "102500"}, 6.0),
            ({"expires": "102500", "expiration": "1000"}, 6.0),
            ({"expiration": "9" * 15}, 5.0 + int("9" * 15) / 1000),
            ({"expires": "102500"}, 7.5),
            ({"expires": "99000"}, 4.0),
        ],
    )
    def test_its_end_of_life_is_what_its_sender_says(
        self, headers: dict[str, str], expires_at: float | None
    ) -> None:
        assert publisher(now=5.0, wall=100.0).admit(draft(**headers)).expires_at == expires_at

    @pytest.mark.parametrize("name", ["expiration", "expires"])
    def test_of_two_headers_of_one_name_the_first_counts(self, name: str) -> None:
        pairs = ((name, "102500"), (name, "999999"))
        admitted = publisher(now=5.0, wall=100.0).admit(drafted("/topic/a", pairs, b"x"))
        assert admitted.expires_at == (7.5 if name == "expires" else 5.0 + 102.5)


class Door:
    """What was admitted, in order."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.admitted: list[Publication] = []
        admit = Publisher.admit

        def watched(door: Publisher, *args: Any, **more: Any) -> Publication:
            self.admitted.append(admit(door, *args, **more))
            return self.admitted[-1]

        monkeypatch.setattr(Publisher, "admit", watched)

    @property
    def kinds(self) -> list[PublicationKind]:
        return [each.kind for each in self.admitted]


@pytest.fixture
def door(monkeypatch: pytest.MonkeyPatch) -> Door:
    return Door(monkeypatch)


def prepare(app: StompApp) -> None:
    @app.message_mapping("/reply")
    @send_to("/topic/a")
    def reply() -> str:
        return "reply"

    @app.message_mapping("/broken", inline=True)
    def broken() -> None:
        raise RuntimeError

    @app.subscribe_mapping("/number", inline=True)
    def number() -> int:
        return 42

    @app.snapshot("/topic/snap", inline=True)
    def snapshot() -> str:
        return "so far"


def by_send(world: Broker) -> None:
    world.connect().send_to("/topic/a", "x")


def by_template(world: Broker) -> None:
    world.publish("/topic/a", "x")


def by_handler(world: Broker) -> None:
    world.connect().send_to("/app/reply")


def by_error(world: Broker) -> None:
    peer = world.connect()
    peer.subscribe("/user/queue/errors", "e")
    peer.send_to("/app/broken")
    assert peer.message().headers["destination"] == "/user/queue/errors"


def by_transaction(world: Broker) -> None:
    peer = world.connect()
    peer.command("BEGIN", {"transaction": "t"})
    peer.send_to("/topic/a", "x", transaction="t")
    peer.command("COMMIT", {"transaction": "t"})


def by_subscribe(world: Broker) -> None:
    peer = world.connect()
    peer.subscribe("/app/number", "n")
    assert peer.message().body == b"42"


def by_snapshot(world: Broker) -> None:
    peer = world.connect()
    peer.subscribe("/topic/snap", "n")
    assert peer.message().body == b"so far"


def by_death(world: Broker) -> None:
    peer = world.reader("/queue/a", ack="client")
    world.publish("/queue/a", "x")
    ack(peer, peer.message(), "NACK")


@pytest.mark.parametrize(
    ("act", "kinds"),
    [
        (by_send, [MESSAGE]),
        (by_template, [MESSAGE]),
        (by_handler, [MESSAGE]),
        (by_error, [ERROR_REPLY]),
        (by_transaction, [MESSAGE]),
        (by_subscribe, [ANSWER]),
        (by_snapshot, [SNAPSHOT]),
        (by_death, [MESSAGE, DEAD_LETTER]),
    ],
)
def test_everything_that_becomes_a_message_passes_the_door_once(
    door: Door, act: Callable[[Broker], None], kinds: list[PublicationKind]
) -> None:
    with Broker(KINDS, prepare=prepare) as world:
        one, two = world.reader("/topic/a"), world.reader("/topic/a", "1.1", ack="client")
        act(world)
        assert door.kinds == kinds
        for peer in (one, two):
            ids = [frame.headers["message-id"] for frame in peer.frames()]
            assert ids == [
                each.message_id for each in door.admitted if each.destination == "/topic/a"
            ]


def test_a_redelivery_a_replay_and_a_full_window_are_no_new_messages(door: Door) -> None:
    with Broker({"/topic/a": policies.Stream()}) as world:
        peer = world.reader("/topic/a", ack="client", prefetch_count="1")
        world.publish("/topic/a", "1", "2")
        ack(peer, peer.message(), "NACK")
        ack(peer, peer.message())
        peer.message()
        again = world.connect()
        again.subscribe("/topic/a", "s", last_message_id="x-1")
        assert door.kinds == [MESSAGE, MESSAGE]


class TestDeadLetters:
    @pytest.mark.parametrize("kind", PublicationKind)
    def test_whatever_dies_is_told_and_all_but_a_dead_letter_leaves_one(
        self, door: Door, kind: PublicationKind
    ) -> None:
        with Broker(KINDS) as world:
            publisher = world.broker._sessions.publisher

            def die() -> None:
                publication = publisher.admit(draft(color="red"), kind)
                publisher.publish_dead(DeadMessage(BURIED, publication, 3, "rejected"))

            world.act(die)
            (event,) = world.heard(DeadLetter)
            assert (event.reason, event.deliveries, event.headers) == (
                ("rejected", 3, {"color": "red"})
            )
            assert world.counters.messages_dead == 1
            letters = [] if kind is DEAD_LETTER else [DEAD_LETTER]
            assert door.kinds == [kind, *letters]
            if letters:
                (letter,) = world.reader("/queue/dead").frames()
                assert letter.headers["original-destination"] == "/topic/a"
                assert letter.headers["x-death-reason"] == "rejected"
                assert letter.headers["delivery-attempt"] == "3"
                assert letter.headers["color"] == "red"

    def test_a_dead_letter_that_is_refused_too_ends_there(self, door: Door) -> None:
        with Broker(KINDS) as world:
            by_death(world)
            peer = world.reader("/queue/dead", ack="client")
            ack(peer, peer.message(), "NACK")
            peer.nothing()
            assert door.kinds == [MESSAGE, DEAD_LETTER]
            assert [each.destination for each in world.heard(DeadLetter)] == (
                ["/queue/a", "/queue/dead"]
            )
            assert not world.broker.delivery.registry.queues["/queue/dead"].log

    def test_a_dead_letter_does_not_expire_with_the_time_its_message_had(self) -> None:
        with Broker(KINDS) as world:
            world.publish("/queue/a", "x", expiration="500")
            world.advance(2)
            (letter,) = world.reader("/queue/dead").frames()
            assert letter.headers["x-death-reason"] == "expired"
            assert letter.headers["expiration"] == "500"

    def test_an_answer_that_is_refused_leaves_a_dead_letter(self, door: Door) -> None:
        with Broker({"/topic/snap": BURIED}, prepare=prepare) as world:
            peer = world.connect()
            peer.subscribe("/topic/snap", "n", ack="client")
            ack(peer, peer.message(), "NACK", requeue="false")
            assert door.kinds == [SNAPSHOT, DEAD_LETTER]
            (letter,) = world.reader("/queue/dead").frames()
            assert (letter.body, letter.headers["snapshot"]) == (b"so far", "true")

"""Fan-out: who gets what, byte for byte, and who is closed so that others are served."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from stocksync_ws import ConnectRequest, StompApp
from stocksync_ws.config import Limits
from stocksync_ws.errors import BrokerClosed
from stocksync_ws.testing.peer import Peer
from stocksync_ws.testing.world import World
from tests.broker.kit import drafted

Start = Callable[..., World]


class User:
    def __init__(self, name: str) -> None:
        self.name = name


def by_login(request: ConnectRequest) -> User | None:
    return None if request.login is None else User(request.login)


def post(world: World, destination: str, body: bytes = b"x", **to: Any) -> int:
    published = world.runtime.driver.publish(drafted(destination, (), body, **to))
    return published.receivers


class TestGroups:
    @pytest.mark.parametrize(
        ("body", "text"), [(b'{"q":7}', True), ("é".encode(), True), (b"\xff\x00\xfe", False)]
    )
    def test_six_receivers_get_exact_bytes_of_the_right_kind(
        self, start: Start, body: bytes, text: bool
    ) -> None:
        world = start()
        peers: list[Peer] = []
        for version in ("1.0", "1.1", "1.2") * 2:
            peers.append(world.connect(version))
            peers[-1].subscribe("/topic/a", "s:1")
            peers[-1].texts.clear()
        assert post(world, "/topic/a", body) == 6
        world.settle()
        rest = b"destination:/topic/a\nmessage-id:id1-72-1\ncontent-length:%d\n\n%s\0"
        for peer in peers:
            # In 1.0 nothing is escaped.
            head = b"s:1" if peer.version == "1.0" else b"s\\c1"
            expected = b"MESSAGE\nsubscription:%s\n" % head + rest % (len(body), body)
            assert peer.raw() == [expected]
            assert peer.texts == [text]

    def test_receivers_of_a_group_share_one_object(self, start: Start) -> None:
        world = start()
        peers = [world.connect(version) for version in ("1.0", "1.1", "1.2") * 2]
        for peer in peers:
            peer.subscribe("/topic/a", "s1")
        sessions = list(world.broker.sessions.values())
        post(world, "/topic/a")
        entries = [session.mailbox.entries[0] for session in sessions]
        for one, other in ((0, 3), (1, 4), (2, 5)):
            assert entries[one] is entries[other]
            assert entries[one].chunk is entries[other].chunk
            assert entries[one].waiting == 2
        assert len({id(entry.chunk) for entry in entries}) == 3
        assert world.broker.office.total == sum(entry.size for entry in entries[:3])
        world.settle()
        assert world.broker.office.total == 0
        assert all(len(peer.raw()) == 1 for peer in peers)

    def test_each_subscription_of_each_session(self, start: Start) -> None:
        world = start()
        peers = [world.connect(), world.connect()]
        for peer in peers:
            peer.subscribe("/topic/foo", "sub1")
            peer.subscribe("/topic/foo", "sub2")
            peer.subscribe("/topic/bar", "sub3")
        assert post(world, "/topic/foo") + post(world, "/topic/bar") == 6
        world.settle()
        for peer in peers:
            told = [frame.headers["subscription"] for frame in peer.frames()]
            assert told == ["sub1", "sub2", "sub3"]
        peers[0].command("DISCONNECT", {})
        assert post(world, "/topic/foo") + post(world, "/topic/bar") == 3
        world.settle()
        assert len(peers[1].frames()) == 3
        peers[0].nothing()

    def test_a_thousand_messages_keep_their_order(self, start: Start) -> None:
        world = start(authenticator=by_login)
        peer = world.connect(login="joe")
        peer.subscribe("/topic/a")
        peer.subscribe("/user/queue/b")
        for n in range(500):
            post(world, "/topic/a", b"%d" % (2 * n))
            post(world, "/queue/b", b"%d" % (2 * n + 1), user="joe")
            if n % 100 == 0:
                world.settle()
        world.settle()
        assert [int(frame.body) for frame in peer.frames()] == list(range(1000))

    def test_message_ids_are_unique_and_equal_for_all_receivers(self, start: Start) -> None:
        world = start()
        one, two = world.connect(), world.connect("1.0")
        one.subscribe("/topic/a")
        two.subscribe("/topic/a")
        post(world, "/topic/a")
        post(world, "/topic/a")
        world.settle()
        ids = [[frame.headers["message-id"] for frame in peer.frames()] for peer in (one, two)]
        assert ids == [["id1-72-1", "id1-72-2"]] * 2

    def test_leaving_while_messages_wait(self, start: Start) -> None:
        """A subscriber that goes in the turn of the publication takes nothing from the others."""
        world = start()
        going, staying = world.connect(), world.connect()
        going.subscribe("/topic/a", "1")
        staying.subscribe("/topic/a", "1")
        post(world, "/topic/a")
        going.eof()
        assert staying.message().body == b"x"
        going.nothing()


class TestUsers:
    def test_a_named_user_in_two_sessions(self, start: Start) -> None:
        world = start(authenticator=by_login)
        one, two, other = (world.connect(login=name) for name in ("joe", "joe", "anna"))
        for peer in (one, two, other):
            peer.subscribe("/user/queue/foo", "u")
        assert post(world, "/queue/foo", user="joe") == 2
        world.settle()
        for peer in (one, two):
            assert peer.raw() == [
                (
                    b"MESSAGE\nsubscription:u\ndestination:/user/queue/foo\nmessage-id:id1-72-1\n"
                    b"content-length:1\n\nx\0"
                )
            ]
        other.nothing()

    def test_one_session_of_them(self, start: Start) -> None:
        world = start(authenticator=by_login)
        one, two = world.connect(login="joe"), world.connect(login="joe")
        for peer in (one, two):
            peer.subscribe("/user/queue/foo", "u1")
            peer.subscribe("/user/queue/foo", "u2")
            peer.subscribe("/user/queue/bar", "u3")
        first = next(iter(world.broker.sessions))
        assert post(world, "/queue/foo", session=first) == 2
        world.settle()
        assert [frame.headers["subscription"] for frame in one.frames()] == ["u1", "u2"]
        two.nothing()

    def test_an_anonymous_session_has_only_itself(self, start: Start) -> None:
        world = start(authenticator=by_login)
        one, two = world.connect(), world.connect()
        one.subscribe("/user/queue/foo", "u")
        two.subscribe("/user/queue/foo", "u")
        first = next(iter(world.broker.sessions))
        assert post(world, "/queue/foo", session=first) == 1
        assert post(world, "/queue/foo", user="") == 0
        world.settle()
        assert one.message().headers["destination"] == "/user/queue/foo"
        two.nothing()

    def test_a_session_that_is_gone_gets_nothing(self, start: Start) -> None:
        world = start()
        assert post(world, "/queue/foo", session="never") == 0
        world.upgrade()
        awaiting = next(iter(world.broker.sessions))
        assert post(world, "/queue/foo", session=awaiting) == 0
        assert world.counters.messages_unrouted == 2

    def test_nothing_is_queued_behind_a_close(self, start: Start) -> None:
        world = start()
        peer = world.connect()
        peer.subscribe("/topic/a")
        peer.answers_close = False
        [session] = world.broker.sessions.values()
        peer.command("DISCONNECT", {})
        assert post(world, "/topic/a") == post(world, "/topic/a", session=session.id) == 0
        assert not session.mailbox.entries

    @pytest.mark.parametrize("name", ["a/queue/x", "a%2Fqueue%2Fx", "..", "*", "^.*$", "é/"])
    def test_a_name_is_an_opaque_key(self, start: Start, name: str) -> None:
        world = start(authenticator=by_login)
        mine, plain, encoded = (world.connect(login=who) for who in (name, "a", "a/queue/x%2F"))
        for peer in (mine, plain, encoded):
            peer.subscribe("/user/queue/y", "1")
            peer.subscribe("/user/queue/x/queue/y", "2")
        assert post(world, "/queue/y", user=name) == 1
        world.settle()
        assert mine.message().headers["destination"] == "/user/queue/y"
        plain.nothing()
        encoded.nothing()

    def test_user_destinations_of_topics(self, start: Start) -> None:
        world = start(authenticator=by_login)
        peer = world.connect(login="joe")
        peer.subscribe("/user/topic/a")
        assert post(world, "/topic/a") == 0
        assert post(world, "/topic/a", user="joe") == 1
        world.settle()
        assert peer.message().headers["destination"] == "/user/topic/a"

    def test_unsubscribing_ends_it(self, start: Start) -> None:
        world = start(authenticator=by_login)
        peer = world.connect(login="joe")
        peer.subscribe("/user/queue/a", "u")
        peer.command("UNSUBSCRIBE", {"id": "u"})
        assert post(world, "/queue/a", user="joe") == 0

    def test_a_queue_is_consumed_where_the_configuration_opens_it(self, start: Start) -> None:
        world = start(client_subscribe=["/queue/jobs"])
        one, two = world.connect(), world.connect()
        one.subscribe("/queue/jobs")
        two.subscribe("/queue/jobs")
        assert [post(world, "/queue/jobs") for _ in range(2)] == [1, 1]
        assert len(one.frames()) == len(two.frames()) == 1
        one.command("SUBSCRIBE", {"id": "x", "destination": "/topic/a"})
        assert one.closed == 1008


class TestBounds:
    def test_eight_times_the_queue_in_one_step_is_enough(self, start: Start) -> None:
        world = start(limits=Limits(send_queue=10_000))
        peer = world.connect()
        peer.subscribe("/topic/a")
        [session] = world.broker.sessions.values()
        for _ in "12":  # the second puts the first into the mailbox
            post(world, "/topic/a", b"x" * 1_000)
        size = session.mailbox.queued // 2
        while session.mailbox.queued + size <= 80_000:
            post(world, "/topic/a", b"x" * 1_000)
        assert world.counters.slow_consumers == 0
        post(world, "/topic/a", b"x" * 1_000)
        assert world.counters.slow_consumers == 1
        assert not session.mailbox.queued or session.mailbox.queued < 100
        world.settle()
        assert peer.closed == 4008
        peer.nothing()

    def test_a_healthy_subscriber_survives_five_thousand_messages_in_one_go(
        self, start: Start
    ) -> None:
        app = StompApp("/ws", allowed_origins=["*"])

        @app.message_mapping("/burst")
        async def burst() -> None:
            for n in range(5_000):
                app.template.convert_and_send("/topic/a", f"{n:250d}")

        world = start(app)
        peers = [world.connect(), world.connect()]
        for peer in peers:
            peer.subscribe("/topic/a")
        peers[0].send_to("/app/burst", receipt="r")
        for peer in peers:
            bodies = [int(f.body) for f in peer.frames() if f.command == "MESSAGE"]
            assert bodies == list(range(5_000))
        assert world.counters.slow_consumers == 0

    def test_over_the_cap_of_all_the_largest_that_is_blocked_goes(self, start: Start) -> None:
        limits = Limits(send_queue=100_000, max_total_queued=150_000)
        world = start(limits=limits)
        large, small, healthy = (world.connect() for _ in range(3))
        for peer, topic in ((large, "a"), (small, "b"), (healthy, "c")):
            peer.subscribe(f"/topic/{topic}", topic)
        for peer in (large, small):
            peer.stream.window = 0
        for topic in ("/topic/a", "/topic/b"):
            post(world, topic, b"x" * 60_000)  # lies in the transports, which take nothing
        world.settle()
        for _ in range(6):
            post(world, "/topic/a", b"x" * 10_000)
        for _ in range(3):
            post(world, "/topic/b", b"x" * 10_000)
        for _ in range(5):
            post(world, "/topic/c", b"x" * 10_000)
        assert world.counters.slow_consumers == 0
        post(world, "/topic/c", b"x" * 10_000)
        assert world.counters.slow_consumers == 1
        assert world.broker.office.total < 150_000
        large.stream.open_window(None)
        small.stream.open_window(None)
        world.settle()
        assert large.closed == 4008
        assert small.closed is healthy.closed is None
        assert len(small.frames()) == 4
        assert len(healthy.frames()) == 6

    def test_over_the_cap_of_all_who_takes_what_he_gets_is_flushed_first(
        self, start: Start
    ) -> None:
        world = start(limits=Limits(send_queue=40_000, max_total_queued=40_000))
        peers = [world.connect() for _ in range(3)]
        for at, peer in enumerate(peers):
            peer.subscribe(f"/topic/{at}")
        for at in (0, 1):
            post(world, f"/topic/{at}", b"x" * 38_000)
        world.settle()
        assert [len(peer.frames()) for peer in peers] == [1, 1, 0]
        for at in (0, 1, 2):
            post(world, f"/topic/{at}", b"x" * (27_000 + at))
        assert world.counters.slow_consumers == 1
        world.settle()
        assert [peer.closed for peer in peers] == [None, None, 4008]

    def test_who_blocks_over_the_cap_of_all_is_found_at_the_flush(self, start: Start) -> None:
        world = start(limits=Limits(send_queue=200_000, max_total_queued=200_000))
        peer = world.connect()
        peer.subscribe("/topic/a")
        peer.stream.window = 0
        for _ in range(30):
            post(world, "/topic/a", b"x" * 10_000)
        assert world.counters.slow_consumers == 0
        world.settle()
        assert world.counters.slow_consumers == 1
        assert world.broker.office.total < 200_000

    def test_when_only_closing_ones_are_left_the_cap_waits_for_them(self, start: Start) -> None:
        world = start(limits=Limits(send_queue=2_000, max_total_queued=2_000))
        peer = world.connect()
        peer.subscribe("/topic/a", "a")
        peer.stream.window = 0
        post(world, "/topic/a")
        world.settle()
        post(world, "/topic/a", b"x" * 1_850)
        peer.command("DISCONNECT", {"receipt": "r" * 128})
        assert world.broker.office.total > 2_000
        post(world, "/topic/a")
        assert world.counters.messages_unrouted == 1
        assert world.counters.slow_consumers == 0

    def test_one_session_that_grows_too_large_twice_is_closed_once(self, start: Start) -> None:
        world = start(limits=Limits(send_queue=1_000))
        peer = world.connect()
        peer.subscribe("/topic/a", "1")
        peer.subscribe("/topic/a", "2")
        post(world, "/topic/a", b"x" * 9_000)
        assert world.counters.slow_consumers == 1
        world.settle()
        assert peer.closed == 4008


def test_after_the_end_nothing_is_published(start: Start) -> None:
    world = start()
    world.runtime.driver.halt()
    with pytest.raises(BrokerClosed):
        post(world, "/topic/a")

"""Delivery filters: who gets what is published to a topic, wherever it comes from, and that nothing
else is different.
"""

from __future__ import annotations

from typing import Any

import pytest

from stocksync_ws import (
    Latest,
    MessageDropped,
    OutboundMessage,
    PublicationKind,
    Queue,
    Session,
    StompApp,
    Stream,
)
from stocksync_ws.testing.peer import Peer
from stocksync_ws.testing.world import World
from tests.broker.kit import ack, authenticate


def tenants(destination: str = "/topic/**", **settings: Any) -> StompApp:
    """An application in which everybody gets what is for the own tenant, the name of the user."""
    app = StompApp("/ws", authenticator=authenticate, client_subscribe=["/topic/**"], **settings)

    @app.delivery_filter(destination)
    def own(session: Session, message: OutboundMessage) -> bool:
        return session.user is not None and message.headers.get("tenant") == session.user.name

    return app


def publish(app: StompApp, body: str, tenant: str, destination: str = "/topic/a") -> None:
    app.template.convert_and_send(destination, body, {"tenant": tenant})


def bodies(peer: Peer) -> list[str]:
    return [each.body.decode() for each in peer.frames() if each.command == "MESSAGE"]


class TestTopics:
    @pytest.mark.parametrize("mode", ["auto", "client", "client-individual"])
    def test_each_gets_its_own_and_the_others_are_counted(self, mode: str) -> None:
        app = tenants()
        with World(app) as world:
            ann, bob, eve = world.connect(login="ann"), world.connect(login="bob"), world.connect()
            for peer in (ann, bob, eve):
                peer.subscribe("/topic/a", ack=mode)
            for tenant in ("ann", "bob", "ann"):
                publish(app, f"for {tenant}", tenant)
            assert bodies(ann) == ["for ann", "for ann"]
            assert bodies(bob) == ["for bob"]
            assert bodies(eve) == []
            assert world.counters.messages_withheld == 6
            assert world.counters.messages_queued == 3

    def test_what_is_withheld_takes_no_place_in_a_window(self) -> None:
        app = tenants()
        with World(app) as world:
            peer = world.connect(login="ann")
            peer.subscribe("/topic/a", ack="client-individual", prefetch_count="1")
            for tenant in ("bob", "ann", "bob", "ann", "bob"):
                publish(app, f"for {tenant}", tenant)
            first = peer.message()
            peer.nothing()
            ack(peer, first)
            assert peer.message().body == b"for ann"
            assert world.counters.messages_withheld == 3

    def test_a_destination_without_one_asks_nobody(self) -> None:
        app = tenants("/topic/a/**")
        with World(app) as world:
            peer = world.connect(login="ann")
            peer.subscribe("/topic/b")
            publish(app, "for all", "bob", "/topic/b")
            assert bodies(peer) == ["for all"]
            [topic] = world.runtime.broker.delivery.registry.topics.values()
            assert topic.passes is None

    def test_those_who_get_it_share_its_bytes(self) -> None:
        app = tenants()
        with World(app) as world:
            peers = [world.connect(login=name) for name in ("ann", "bob", "ann")]
            for peer in peers:
                peer.subscribe("/topic/a", id="same")
            publish(app, "x", "ann")
            [group] = world.runtime.broker.delivery.registry.topics["/topic/a"].groups.values()
            assert [bodies(peer) for peer in peers] == [["x"], [], ["x"]]
            assert len(group.members) == 3

    def test_a_published_message_tells_how_many_get_it(self) -> None:
        app = tenants()

        async def publish_it() -> int:
            published = await app.template.publish("/topic/a", "x", {"tenant": "ann"})
            return published.receivers

        with World(app) as world:
            for name in ("ann", "bob"):
                world.connect(login=name).subscribe("/topic/a")
            assert world.run(publish_it()) == 1


class TestHistory:
    def test_what_is_replayed_and_its_number_are_filtered(self) -> None:
        app = tenants(destinations={"/topic/a": Stream(history=10, on_subscribe="history")})
        with World(app) as world:
            for tenant in ("ann", "bob", "ann"):
                publish(app, f"for {tenant}", tenant)
            peer = world.connect(login="ann")
            peer.command("SUBSCRIBE", {"id": "1", "destination": "/topic/a", "receipt": "r"})
            assert peer.frame("RECEIPT").headers["replayed"] == "2"
            assert bodies(peer) == ["for ann", "for ann"]

    def test_what_was_withheld_is_no_gap_for_a_recovery(self) -> None:
        app = tenants(destinations={"/topic/a": Stream(history=10)})
        with World(app) as world:
            peer = world.connect(login="ann")
            peer.subscribe("/topic/a")
            publish(app, "1", "ann")
            last = peer.message().headers["message-id"]
            for body, tenant in (("2", "bob"), ("3", "ann"), ("4", "bob")):
                publish(app, body, tenant)
            again = world.connect(login="ann")
            wanted = {"id": "1", "destination": "/topic/a", "last-message-id": last, "receipt": "r"}
            again.command("SUBSCRIBE", wanted)
            receipt = again.frame("RECEIPT").headers
            assert (receipt["recovered"], receipt["replayed"]) == ("true", "1")
            message = again.message()
            assert (message.body, "dropped" in message.headers) == (b"3", False)

    def test_newest_values_are_filtered_and_still_marked_as_replayed(self) -> None:
        app = tenants(destinations={"/topic/a": Latest(key="k")})
        with World(app) as world:
            for key, tenant in (("1", "ann"), ("2", "bob"), ("3", "ann")):
                app.template.convert_and_send("/topic/a", key, {"tenant": tenant, "k": key})
            peer = world.connect(login="ann")
            peer.subscribe("/topic/a")
            app.template.convert_and_send("/topic/a", "4", {"tenant": "ann", "k": "4"})
            came = [(each.body, each.headers.get("replayed")) for each in peer.frames()]
            assert came == [(b"1", "true"), (b"3", "true"), (b"4", None)]

    def test_what_a_durable_name_has_missed_is_filtered(self) -> None:
        app = tenants()
        with World(app) as world:
            peer = world.connect(login="ann")
            peer.subscribe("/topic/a", id="n", durable="true")
            peer.eof()
            for tenant in ("bob", "ann"):
                publish(app, f"for {tenant}", tenant)
            again = world.connect(login="ann")
            again.subscribe("/topic/a", id="n", durable="true")
            assert bodies(again) == ["for ann"]

    def test_what_comes_back_is_asked_about_again(self) -> None:
        app = tenants()
        mine = ["ann"]

        @app.delivery_filter("/topic/a", order=1)
        def still(session: Session, message: OutboundMessage) -> bool:
            return bool(mine)

        with World(app) as world:
            peer = world.connect(login="ann")
            peer.subscribe("/topic/a", ack="client-individual")
            publish(app, "x", "ann")
            message = peer.message()
            mine.clear()
            peer.command("NACK", {"id": message.headers["ack"]})
            world.advance(2)
            peer.nothing()
            assert world.counters.messages_withheld == 1


class TestUsers:
    def test_what_is_for_a_user_is_filtered_for_each_session(self) -> None:
        app = StompApp("/ws", authenticator=authenticate)

        @app.delivery_filter("/user/queue/{name}")
        def older(session: Session, message: OutboundMessage, name: str) -> bool:
            assert (message.user, message.destination) in [("ann", "/queue/x"), (None, "/queue/x")]
            return name != "x" or session.version.value == "1.1"

        with World(app) as world:
            one, two = world.connect("1.2", login="ann"), world.connect("1.1", login="ann")
            for peer in (one, two):
                peer.subscribe("/user/queue/x")
            app.template.convert_and_send_to_user("ann", "/queue/x", "1")
            assert (bodies(one), bodies(two)) == ([], ["1"])

    def test_an_error_reply_is_never_withheld_and_another_for_one_session_may_be(self) -> None:
        app = StompApp("/ws")

        @app.delivery_filter("/user/**")
        def nothing(session: Session, message: OutboundMessage) -> bool:
            assert message.kind is PublicationKind.MESSAGE
            assert message.session_id == session.id
            return False

        @app.message_mapping("/fail")
        def fail(body: str) -> None:
            raise KeyError(body)

        @app.message_exception_handler()
        def told(error: KeyError) -> str:
            return "told"

        with World(app) as world:
            peer = world.connect()
            peer.subscribe("/user/queue/errors")
            peer.send_to("/nowhere", "x")
            assert b"no-destination" in peer.message().body
            peer.send_to("/app/fail", "x")
            peer.nothing()
            assert world.counters.messages_withheld == 1

    def test_snapshots_and_answers_are_not_asked_about(self) -> None:
        app = tenants()

        @app.snapshot("/topic/a")
        def first() -> str:
            return "first"

        with World(app) as world:
            peer = world.connect(login="ann")
            peer.subscribe("/topic/a")
            assert bodies(peer) == ["first"]


class TestSeveral:
    def test_all_that_fit_must_let_it_pass_in_order(self) -> None:
        app = StompApp("/ws")
        asked: list[str] = []

        def adding(name: str, pattern: str, order: int, verdict: bool) -> None:
            @app.delivery_filter(pattern, order=order)
            def ask(session: Session, message: OutboundMessage) -> bool:
                asked.append(name)
                return verdict

        adding("last", "/topic/*", 2, True)
        adding("no", "/topic/{x}", 1, False)
        adding("first", "/**", 0, True)
        adding("other", "/topic/b", 0, False)
        with World(app) as world:
            peer = world.connect()
            peer.subscribe("/topic/a")
            app.template.send("/topic/a", b"x")
            peer.nothing()
        assert asked == ["first", "no"]

    def test_variables_come_by_their_names(self) -> None:
        app = StompApp("/ws", client_subscribe=["/topic/**"])
        asked: list[object] = []

        @app.delivery_filter("/topic/{room}/{seat}/**")
        def ask(
            session: Session, message: OutboundMessage, seat: str, *, room: str, more: int = 7
        ) -> bool:
            asked.append((room, seat, more))
            return True

        with World(app) as world:
            peer = world.connect()
            peer.subscribe("/topic/a/b/c")
            app.template.send("/topic/a/b/c", b"x")
            assert peer.message().body == b"x"
        assert asked == [("a", "b", 7)]


class TestFailures:
    @pytest.mark.parametrize("wrong", [ValueError("oh"), None, 1])
    def test_withhold_the_message_from_that_receiver_and_are_counted(
        self, wrong: object, caplog: pytest.LogCaptureFixture
    ) -> None:
        app = StompApp("/ws", authenticator=authenticate)

        @app.delivery_filter("/topic/a")
        def ask(session: Session, message: OutboundMessage) -> Any:
            if session.user is None:
                return True
            if isinstance(wrong, Exception):
                raise wrong
            return wrong

        with World(app, raise_errors=False) as world:
            ann, eve = world.connect(login="ann"), world.connect()
            for peer in (ann, eve):
                peer.subscribe("/topic/a")
            for _ in range(3):
                app.template.send("/topic/a", b"x")
            assert (bodies(ann), len(bodies(eve))) == ([], 3)
            assert world.counters.interceptors_failed == 3
            assert world.counters.messages_withheld == 3
        lines = [each for each in caplog.records if "interceptor failed" in each.getMessage()]
        assert "mapping=@delivery_filter('/topic/a')" in lines[0].getMessage()
        assert len(lines) == 1 + any("in the last second" in each.message for each in lines)

    def test_are_raised_in_the_test(self) -> None:
        app = StompApp("/ws")

        @app.delivery_filter("/topic/a")
        def ask(session: Session, message: OutboundMessage) -> bool:
            raise ValueError("oh")

        with World(app) as world:
            world.connect().subscribe("/topic/a")
            app.template.send("/topic/a", b"x")
            with pytest.raises(ValueError, match="oh"):
                world.settle()

    def test_what_one_publishes_comes_behind(self) -> None:
        app = StompApp("/ws")

        @app.delivery_filter("/topic/a")
        def ask(session: Session, message: OutboundMessage) -> bool:
            app.template.send("/topic/log", message.body)
            return True

        with World(app) as world:
            peer = world.connect()
            peer.subscribe("/topic/log")
            peer.subscribe("/topic/a")
            app.template.send("/topic/a", b"x")
            came = [each.headers["destination"] for each in peer.frames()]
            assert came == ["/topic/a", "/topic/log"]


def test_text_only_receivers_lose_only_what_would_have_been_theirs() -> None:
    """A message that is no text is lost to who would get it, and withheld from the other."""
    app = tenants()
    told: list[MessageDropped] = []

    @app.event_listener(inline=True)
    def tell(event: MessageDropped) -> None:
        told.append(event)

    with World(app) as world:
        ann, bob = world.connect(login="ann"), world.connect(login="bob")
        for peer in (ann, bob):
            peer.subscribe("/topic/a")
        topic = world.runtime.broker.delivery.registry.topics["/topic/a"]
        for group in topic.groups.values():
            group.text_only = True
        app.template.send("/topic/a", b"\xff", {"tenant": "ann"})
        app.template.send("/topic/a", b"text", {"tenant": "ann"})
        message = ann.message()
        assert (message.body, message.headers["dropped"]) == (b"text", "1")
        bob.nothing()
        app.template.send("/topic/a", b"text", {"tenant": "bob"})
        assert "dropped" not in bob.message().headers
    assert [(each.reason, each.count) for each in told] == [("binary", 1)]


def test_a_queue_below_a_wide_pattern_asks_nobody() -> None:
    app = StompApp("/ws", client_subscribe=["/queue/**"], destinations={"/queue/a": Queue()})

    @app.delivery_filter("/**")
    def nothing(session: Session, message: OutboundMessage) -> bool:
        return False

    with World(app) as world:
        peer = world.connect()
        peer.subscribe("/queue/a")
        app.template.send("/queue/a", b"x")
        assert peer.message().body == b"x"

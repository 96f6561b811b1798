"""Outbound interceptors: asked once about everything that becomes a MESSAGE, before it is accepted,
and what a veto means to each way in.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from threading import Thread
from typing import Any

import pytest

from stocksync_ws import (
    AccessDenied,
    BrokerBusy,
    InterceptorFailed,
    Limits,
    MessageDropped,
    OutboundMessage,
    PublicationKind,
    Queue,
    Session,
    StompApp,
    send_to,
)
from stocksync_ws.broker.broker import Broker
from stocksync_ws.broker.model.step import MOST_POSTED
from stocksync_ws.testing.peer import Peer
from stocksync_ws.testing.world import World

ERRORS = "/user/queue/errors"
Look = Callable[[OutboundMessage], "OutboundMessage | None"]


def application(look: Look | None = None, **settings: Any) -> StompApp:
    given: dict[str, Any] = {
        "client_send": ["/topic/**", "/queue/**"],
        "client_subscribe": ["/topic/**", "/queue/**"],
    }
    app = StompApp("/ws", **(given | settings))
    if look is not None:
        app.outbound_interceptor()(look)
    return app


def veto(message: OutboundMessage) -> None:
    raise AccessDenied("not today")


def fail(message: OutboundMessage) -> None:
    raise ValueError("oh")


def dropped(app: StompApp) -> list[MessageDropped]:
    """What is told of lost messages."""
    told: list[MessageDropped] = []

    @app.event_listener(inline=True)
    def tell(event: MessageDropped) -> None:
        told.append(event)

    return told


def listening(world: World) -> Peer:
    peer = world.connect()
    peer.subscribe(ERRORS)
    return peer


def code_of(peer: Peer) -> str:
    body: dict[str, str] = json.loads(peer.message().body)
    return body["code"]


class TestWhatItSees:
    def test_every_kind_passes_it_once(self) -> None:
        app = application(
            destinations={"/queue/jobs": Queue(dead_letter="/queue/dead", max_deliveries=1)}
        )
        seen: list[tuple[PublicationKind, str, bool]] = []

        @app.outbound_interceptor()
        def look(message: OutboundMessage) -> None:
            seen.append((message.kind, message.destination, message.sender is not None))

        @app.message_mapping("/echo")
        @send_to("/topic/echo")
        def echo(text: str) -> str:
            return text

        @app.subscribe_mapping("/now")
        def now() -> str:
            return "now"

        @app.snapshot("/topic/first")
        def first() -> str:
            return "first"

        with World(app) as world:
            peer = listening(world)
            peer.send_to("/app/echo", "x")
            peer.send_to("/topic/a", "x")
            for destination in ("/app/now", "/topic/first"):
                peer.subscribe(destination)
                peer.message()
            peer.subscribe("/queue/jobs", ack="client-individual")
            app.template.convert_and_send("/queue/jobs", "x")
            [job] = [each for each in peer.frames() if "ack" in each.headers]
            peer.command("NACK", {"id": job.headers["ack"]})
            peer.send_to("/nowhere", "x")
            app.template.convert_and_send_to_user("ann", "/queue/x", "x")
        kinds = PublicationKind
        assert seen == [
            (kinds.MESSAGE, "/topic/echo", True),
            (kinds.MESSAGE, "/topic/a", True),
            (kinds.ANSWER, "/app/now", True),
            (kinds.SNAPSHOT, "/topic/first", True),
            (kinds.MESSAGE, "/queue/jobs", False),
            (kinds.DEAD_LETTER, "/queue/dead", False),
            (kinds.ERROR_REPLY, "/queue/errors", True),
            (kinds.MESSAGE, "/queue/x", False),
        ]

    def test_it_may_change_each_kind(self) -> None:
        app = application(lambda message: message.replace(headers={"x": "1"}, body=b"changed"))

        @app.subscribe_mapping("/now")
        def now() -> str:
            return "now"

        @app.snapshot("/topic/first")
        def first() -> str:
            return "first"

        with World(app) as world:
            peer = world.connect()
            peer.subscribe("/app/now")
            answer = peer.message()
            peer.subscribe("/topic/first")
            snapshot = peer.message()
            assert (answer.body, answer.headers["x"]) == (b"changed", "1")
            assert (snapshot.body, snapshot.headers["snapshot"]) == (b"changed", "true")

    def test_they_are_asked_by_order_each_with_what_the_last_has_left(self) -> None:
        app = application()

        def adding(name: str, order: int) -> None:
            @app.outbound_interceptor(order)
            def add(message: OutboundMessage) -> OutboundMessage:
                return message.replace(body=message.body + name.encode())

        for name, order in (("c", 1), ("a", -1), ("d", 1), ("b", 0)):
            adding(name, order)
        with World(app) as world:
            peer = world.connect()
            peer.subscribe("/topic/a")
            app.template.send("/topic/a", b"x")
            assert peer.message().body == b"xabcd"

    def test_an_expiration_that_it_sets_holds(self) -> None:
        app = application(lambda message: message.replace(headers={"expiration": "1000"}))
        with World(app) as world:
            app.template.send("/queue/a", b"x")
            world.advance(2)
            peer = world.connect()
            peer.subscribe("/queue/a")
            peer.nothing()


class TestAVeto:
    def test_of_what_a_client_sends_is_told_to_it(self) -> None:
        app = application(lambda message: veto(message) if message.body == b"bad" else None)
        with World(app) as world:
            peer = listening(world)
            peer.subscribe("/topic/a")
            peer.send_to("/topic/a", "bad", receipt="r")
            assert code_of(peer) == "send-denied"
            peer.send_to("/topic/a", "good")
            assert peer.message().body == b"good"
            assert world.counters.publications_vetoed == 1

    def test_of_a_send_with_a_key_leaves_the_key_free(self) -> None:
        vetoes = [True]
        app = application(
            lambda message: veto(message) if vetoes and message.body == b"x" else None
        )
        with World(app) as world:
            peer = listening(world)
            peer.send_to("/topic/a", "x", idempotency_key="1", receipt="r")
            assert code_of(peer) == "send-denied"
            vetoes.clear()
            peer.send_to("/topic/a", "x", idempotency_key="1", receipt="r")
            assert "duplicate" not in peer.frame("RECEIPT").headers

    async def awaiting(self, app: StompApp) -> None:
        with pytest.raises(AccessDenied, match="veto: not today"):
            await app.template.publish("/topic/a", "x")

    def test_is_raised_to_who_awaits(self) -> None:
        app = application(veto)
        told = dropped(app)
        with World(app) as world:
            world.run(self.awaiting(app))
        assert told == [MessageDropped(destination="/topic/a", reason="vetoed")]

    def test_of_what_nobody_awaits_is_told_by_an_event(self) -> None:
        app = application(veto)
        told = dropped(app)
        with World(app) as world:
            app.template.convert_and_send("/topic/a", "x")
            app.template.convert_and_send_to_user("ann", "/queue/a", "x")
            assert world.counters.messages_dropped == 2
        assert told == [
            MessageDropped(destination="/topic/a", reason="vetoed"),
            MessageDropped(destination="/user/queue/a", reason="vetoed"),
        ]

    def test_of_what_a_handler_returns_denies_the_send(self) -> None:
        app = application(lambda message: veto(message) if message.body == b"x" else None)
        told = dropped(app)

        @app.message_mapping("/echo")
        @send_to("/topic/echo")
        def echo(text: str) -> str:
            return text

        with World(app) as world:
            peer = listening(world)
            peer.send_to("/app/echo", "x")
            assert code_of(peer) == "send-denied"
        assert [each.destination for each in told] == ["/topic/echo"]

    def test_of_an_answer_or_a_snapshot_is_a_refused_subscribe(self) -> None:
        app = application(lambda message: veto(message) if message.body == b"first" else None)

        @app.subscribe_mapping("/now")
        def now() -> str:
            return "first"

        @app.snapshot("/topic/first")
        def first() -> str:
            return "first"

        with World(app) as world:
            peer = listening(world)
            for name, destination in (("1", "/app/now"), ("2", "/topic/first")):
                wanted = {"id": name, "destination": destination, "receipt": "r"}
                peer.command("SUBSCRIBE", wanted)
                assert code_of(peer) == "subscribe-denied"
            app.template.send("/topic/first", b"later")
            peer.nothing()

    def test_of_a_dead_letter_drops_it_and_makes_no_other(self) -> None:
        def look(message: OutboundMessage) -> None:
            if message.kind is PublicationKind.DEAD_LETTER:
                veto(message)

        policy = Queue(dead_letter="/queue/dead", max_deliveries=1)
        app = application(look, destinations={"/queue/**": policy})
        told = dropped(app)
        with World(app) as world:
            app.template.send("/queue/jobs", b"x", {"expiration": "1"})
            world.advance(1)
            assert (world.counters.messages_dead, world.counters.publications_vetoed) == (1, 1)
        assert told == [MessageDropped(destination="/queue/dead", reason="vetoed")]

    def test_of_an_error_reply_closes_who_would_never_know(self) -> None:
        def look(message: OutboundMessage) -> None:
            if message.kind is PublicationKind.ERROR_REPLY:
                veto(message)

        with World(application(look)) as world:
            peer = listening(world)
            peer.send_to("/nowhere", "x")
            assert peer.error().headers["code"] == "no-destination"

    def test_in_a_transaction_undoes_all_of_it(self) -> None:
        app = application(lambda message: veto(message) if message.body == b"bad" else None)
        with World(app) as world:
            reader, peer = world.connect(), listening(world)
            reader.subscribe("/topic/a")
            peer.command("BEGIN", {"transaction": "t"})
            peer.send_to("/topic/a", "good", transaction="t")
            peer.send_to("/topic/a", "bad", transaction="t")
            peer.command("COMMIT", {"transaction": "t"})
            assert peer.error().headers["code"] == "send-denied"
            reader.nothing()

    def test_in_a_transaction_each_is_asked_once_and_has_room_as_changed(self) -> None:
        seen: list[bytes] = []

        def look(message: OutboundMessage) -> OutboundMessage:
            seen.append(message.body)
            return message.replace(body=message.body + b"!")

        with World(application(look)) as world:
            reader, peer = world.connect(), world.connect()
            reader.subscribe("/topic/a")
            peer.command("BEGIN", {"transaction": "t"})
            peer.send_to("/topic/a", "1", transaction="t", reply_to="/temp-queue/r")
            peer.command("COMMIT", {"transaction": "t"})
            asked = reader.message()
            assert asked.body == b"1!"
            reader.command("BEGIN", {"transaction": "t"})
            reader.send_to(asked.headers["reply-to"], "2", transaction="t")
            reader.command("COMMIT", {"transaction": "t"})
            assert peer.message().body == b"2!"
        assert seen == [b"1", b"2"]


class TestAFailure:
    def test_is_that_of_one_publication_and_raised_in_the_test(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        app = application(lambda message: fail(message) if message.body == b"bad" else None)
        told = dropped(app)
        with World(app) as world:
            peer = world.connect()
            peer.subscribe("/topic/a")
            app.template.send("/topic/a", b"bad")
            app.template.send("/topic/a", b"good")
            with pytest.raises(ValueError, match="oh"):
                world.settle()
            assert peer.message().body == b"good"
            assert world.counters.interceptors_failed == 1
        assert told == [MessageDropped(destination="/topic/a", reason="interceptor-failed")]
        assert "interceptor failed mapping=@outbound_interceptor()" in caplog.text

    def test_of_a_send_is_told_to_its_client(self) -> None:
        app = application(lambda message: fail(message) if message.body == b"bad" else None)
        with World(app) as world:
            peer = listening(world)
            with pytest.raises(ValueError, match="oh"):
                peer.send_to("/topic/a", "bad", receipt="r")
            assert code_of(peer) == "handler-failed"

    def test_in_a_transaction_undoes_all_of_it(self) -> None:
        app = application(lambda message: fail(message) if message.body == b"bad" else None)
        with World(app, raise_errors=False) as world:
            peer = listening(world)
            peer.subscribe("/topic/a")
            peer.command("BEGIN", {"transaction": "t"})
            peer.send_to("/topic/a", "bad", transaction="t")
            peer.command("COMMIT", {"transaction": "t"})
            assert peer.error().headers["code"] == "handler-failed"

    @pytest.mark.parametrize(
        ("wrong", "told"),
        [
            (lambda message: message.body, "returns None or message.replace(…), not b'x'"),
            (lambda message: message.replace(body=b"x" * 1_000), "larger than Limits"),
            (lambda message: message.replace(headers={"message-id": "7"}), "set by the server"),
            (lambda message: message.replace(headers={"a": "\0"}), "NUL cannot be sent"),
            (lambda message: message.replace(body="text"), "a body is bytes, not str"),
        ],
    )
    def test_is_what_cannot_be_sent(self, wrong: Any, told: str) -> None:
        app = application(wrong, limits=Limits(max_outbound_message=512))

        async def publish() -> None:
            with pytest.raises(InterceptorFailed, match="raised") as raised:
                await app.template.publish("/topic/a", "x")
            assert told in str(raised.value)

        with World(app, raise_errors=False) as world:
            world.run(publish())

    def test_is_to_return_what_was_kept_from_another_publication(self) -> None:
        kept: list[OutboundMessage] = []

        def look(message: OutboundMessage) -> OutboundMessage:
            kept.append(message)
            return kept[0]

        app = application(look)
        with World(app, raise_errors=False) as world:
            app.template.send("/topic/a", b"1")
            app.template.send("/topic/a", b"2")
            world.settle()
            assert world.counters.interceptors_failed == 1


class TestWhatItPublishes:
    def test_comes_behind_what_it_looks_at_and_is_looked_at_too(self) -> None:
        app = application()
        seen: list[str] = []

        @app.outbound_interceptor()
        def audit(message: OutboundMessage) -> None:
            seen.append(message.destination)
            if message.destination != "/topic/audit":
                app.template.send("/topic/audit", message.body)

        with World(app) as world:
            peer = world.connect()
            peer.subscribe("/topic/audit")
            peer.subscribe("/topic/a")
            app.template.send("/topic/a", b"x")
            came = [each.headers["destination"] for each in peer.frames()]
            assert came == ["/topic/a", "/topic/audit"]
        assert seen == ["/topic/a", "/topic/audit"]

    def test_ends_where_it_would_never_end(self) -> None:
        app = application()
        seen: list[str] = []

        @app.outbound_interceptor()
        def audit(message: OutboundMessage) -> None:
            seen.append(message.destination)
            app.template.send("/topic/audit", message.body)

        with World(app) as world:
            app.template.send("/topic/a", b"x")
            with pytest.raises(InterceptorFailed, match="would never end"):
                world.settle()
            assert world.counters.messages_published == 5
            assert world.counters.messages_dropped == 1
        assert seen == ["/topic/a", *["/topic/audit"] * 4]

    def test_is_bounded(self) -> None:
        app = application()

        @app.outbound_interceptor()
        def flood(message: OutboundMessage) -> None:
            if message.destination == "/topic/a":
                for _ in range(MOST_POSTED + 1):
                    app.template.send("/topic/b", b"")

        with World(app) as world:
            app.template.send("/topic/a", b"x")
            with pytest.raises(BrokerBusy, match="have published 1000 messages at once"):
                world.settle()
            assert world.counters.messages_published == MOST_POSTED + 1
            assert world.counters.messages_dropped == 1

    def test_may_be_vetoed_itself(self) -> None:
        app = application()
        told = dropped(app)

        @app.outbound_interceptor()
        def audit(message: OutboundMessage) -> None:
            if message.destination == "/topic/audit":
                raise AccessDenied("closed")
            app.template.send("/topic/audit", message.body)

        with World(app) as world:
            app.template.send("/topic/a", b"x")
            assert world.counters.messages_published == 1
        assert told == [MessageDropped(destination="/topic/audit", reason="vetoed")]


def test_the_sender_of_a_send_is_its_session() -> None:
    app = application()
    seen: list[Session | None] = []

    @app.outbound_interceptor()
    def look(message: OutboundMessage) -> None:
        seen.append(message.sender)

    with World(app) as world:
        peer = world.connect()
        peer.send_to("/topic/a", "x")
        [session] = seen
        assert session is not None
        assert [session.id] == list(world.runtime.broker.sessions)


def test_without_one_nobody_is_asked() -> None:
    app = application()
    with World(app) as world:
        app.template.send("/topic/a", b"x")
        interception = world.runtime.broker._sessions.publisher.interception
        assert interception.none


class TestWhatElseItDoes:
    """Nothing of the broker changes under what it looks at."""

    def test_what_other_threads_have_posted_stays_where_it_is(self) -> None:
        app = application()
        thousands = MOST_POSTED + 1

        @app.outbound_interceptor()
        def look(message: OutboundMessage) -> None:
            if message.destination == "/topic/a":
                thread = Thread(target=flood)
                thread.start()
                thread.join()
                app.template.send("/topic/own", b"")

        def flood() -> None:
            for _ in range(thousands):
                app.template.send("/topic/b", b"")

        with World(app) as world:
            app.template.send("/topic/a", b"")
            world.settle()
            assert world.counters.messages_published == thousands + 2
            assert world.counters.messages_dropped == 0

    @pytest.mark.parametrize("kind", ["interceptor", "filter"])
    def test_a_session_that_is_ended_there_ends_behind_it(self, kind: str) -> None:
        app = application()

        def end_all(broker: Broker, now: float) -> None:
            broker.stop(now)
            broker.halt(now)

        if kind == "interceptor":

            @app.outbound_interceptor()
            def end(message: OutboundMessage) -> None:
                app.inbox.command(end_all)

        else:

            @app.delivery_filter("/topic/a")
            def ask(session: Session, message: OutboundMessage) -> bool:
                app.inbox.command(end_all)
                return True

        world = World(app)
        peers = [world.connect() for _ in range(3)]
        for peer in peers:
            peer.subscribe("/topic/a")
        app.template.send("/topic/a", b"x")
        assert world.counters.messages_queued == 3
        assert [peer.closed for peer in peers] == [1001] * 3
        world.close()

"""UNSUBSCRIBE and refused ids, frames that share one read, and frames for the application."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from stocksync_ws import SessionConnected, StompApp
from stocksync_ws.config import Limits
from stocksync_ws.testing.world import World
from tests.broker.kit import refused

Start = Callable[..., World]
OPEN = {"client_send": ["/topic/**"]}


class TestUnsubscribe:
    def test_nothing_comes_after_its_receipt(self, start: Start) -> None:
        world = start(**OPEN)
        peer = world.connect()
        peer.subscribe("/topic/a", "s1")
        peer.subscribe("/topic/a", "s2")
        peer.command("UNSUBSCRIBE", {"id": "s1", "receipt": "r"})
        assert peer.frame("RECEIPT").headers == {"receipt-id": "r"}
        peer.send_to("/topic/a", "x")
        assert peer.message().headers["subscription"] == "s2"
        peer.nothing()

    def test_the_id_may_be_used_again(self, start: Start) -> None:
        peer = start(**OPEN).connect()
        peer.subscribe("/topic/a", "s1")
        peer.command("UNSUBSCRIBE", {"id": "s1"})
        peer.subscribe("/topic/b", "s1")
        peer.send_to("/topic/b", "x")
        assert peer.message().headers["subscription"] == "s1"

    @pytest.mark.parametrize("subscription_id", ["s2", "", "S1"])
    def test_an_unknown_id_is_refused(self, start: Start, subscription_id: str) -> None:
        peer = start().connect()
        peer.subscribe("/topic/a", "s1")
        peer.command("UNSUBSCRIBE", {"id": subscription_id, "receipt": "r"})
        refused(peer, "unknown-subscription", 1002, **{"receipt-id": "r"})

    def test_1_0_needs_an_id_or_a_destination(self, start: Start) -> None:
        peer = start().connect("1.0")
        peer.command("UNSUBSCRIBE", {})
        refused(peer, "missing-header", 1002)


class TestRefusedIds:
    """A client that listens for errors lives on, and may UNSUBSCRIBE what it never had."""

    def test_unsubscribe_of_a_refused_id_is_ignored_and_counted(self, start: Start) -> None:
        world = start()
        peer = world.connect()
        peer.subscribe("/user/queue/errors", "e")
        peer.command("SUBSCRIBE", {"id": "q", "destination": "/queue/jobs", "receipt": "r1"})
        told = peer.message()
        assert told.headers["receipt-id"] == "r1"
        assert json.loads(told.body)["code"] == "subscribe-denied"
        peer.command("UNSUBSCRIBE", {"id": "q", "receipt": "r2"})
        assert peer.frame("RECEIPT").headers == {"receipt-id": "r2"}
        assert world.counters.unsubscribes_ignored == 1
        peer.command("UNSUBSCRIBE", {"id": "q"})
        refused(peer, "unknown-subscription", 1002)

    def test_a_refused_id_may_be_used_again(self, start: Start) -> None:
        peer = start().connect()
        peer.subscribe("/user/queue/errors", "e")
        peer.command("SUBSCRIBE", {"id": "q", "destination": "/queue/jobs"})
        peer.message()
        peer.subscribe("/topic/a", "q")
        peer.command("UNSUBSCRIBE", {"id": "q", "receipt": "r"})
        peer.frame("RECEIPT")

    def test_only_the_last_refused_ids_are_remembered(self, start: Start) -> None:
        peer = start(limits=Limits(max_subscriptions=2)).connect()
        peer.subscribe("/user/queue/errors", "e")
        for refused_id in ("a", "b", "a", "c"):
            peer.command("SUBSCRIBE", {"id": refused_id, "destination": "/queue/jobs"})
            peer.message()
        peer.command("UNSUBSCRIBE", {"id": "a", "receipt": "r"})
        peer.frame("RECEIPT")
        peer.command("UNSUBSCRIBE", {"id": "b"})
        refused(peer, "unknown-subscription", 1002)

    def test_the_id_of_a_failed_subscribe_handler_is_remembered(self, start: Start) -> None:
        app = StompApp("/ws", allowed_origins=["*"])

        @app.subscribe_mapping("/broken", inline=True)
        def broken() -> None:
            raise RuntimeError

        world = start(app)
        peer = world.connect()
        peer.subscribe("/user/queue/errors", "e")
        peer.command("SUBSCRIBE", {"id": "q", "destination": "/app/broken"})
        assert json.loads(peer.message().body)["subscription"] == "q"
        peer.command("UNSUBSCRIBE", {"id": "q", "receipt": "r"})
        peer.frame("RECEIPT")
        assert world.counters.unsubscribes_ignored == 1


class TestAcknowledgements:
    def test_nack_does_not_exist_in_1_0(self, start: Start) -> None:
        peer = start().connect("1.0")
        peer.send(b"NACK\nmessage-id:1\n\n\0")
        refused(peer, "unknown-command", 1002)

    def test_a_send_in_a_transaction_that_is_not_open(self, start: Start) -> None:
        world = start(**OPEN)
        peer = world.connect()
        peer.send_to("/topic/a", "x", transaction="t")
        refused(peer, "unknown-transaction", 1002)
        assert not world.counters.messages_published


class TestOneRead:
    """Frames that came in one read with the one that was refused are gone with it."""

    def test_after_a_refused_connect(self, start: Start) -> None:
        app = StompApp("/ws", authenticator=lambda request: _deny(), client_send=["/topic/**"])
        world = start(app)
        peer = world.upgrade()
        peer.send(
            b"CONNECT\naccept-version:1.2\n\n\0SUBSCRIBE\nid:1\ndestination:/topic/a\n\n\0"
            b"SEND\ndestination:/topic/a\n\nx\0"
        )
        refused(peer, "connect-refused", 4500, command="CONNECT")
        assert not world.counters.messages_published
        assert world.counters.sessions == 0

    def test_after_a_refused_subscribe(self, start: Start) -> None:
        world = start(**OPEN)
        peer = world.connect()
        peer.send(b"SUBSCRIBE\nid:1\ndestination:/queue/a\n\n\0SEND\ndestination:/topic/a\n\nx\0")
        refused(peer, "subscribe-denied", 1008)
        assert not world.counters.messages_published

    def test_the_frames_before_it_had_their_effect(self, start: Start) -> None:
        world = start(**OPEN)
        peer = world.connect()
        peer.send(b"SEND\ndestination:/topic/a\nreceipt:r\n\nx\0FOO\n\n\0")
        assert [frame.command for frame in peer.frames()] == ["RECEIPT", "ERROR"]
        assert world.counters.messages_published == 1


def _deny() -> None:
    from stocksync_ws import AccessDenied

    raise AccessDenied("no")


class TestHandlers:
    """SUBSCRIBE and SEND to the application, as the broker sees them."""

    @pytest.fixture
    def app(self) -> StompApp:
        app = StompApp("/ws", allowed_origins=["*"])

        @app.subscribe_mapping("/number", inline=True)
        def number() -> int:
            return 42

        @app.subscribe_mapping("/nothing", inline=True)
        def nothing() -> None:
            return None

        return app

    def test_the_receipt_comes_before_the_one_answer(self, start: Start, app: StompApp) -> None:
        peer = start(app).connect()
        peer.send(b"SUBSCRIBE\nid:n\ndestination:/app/number\nreceipt:r\n\n\0")
        receipt, message = peer.raw()
        assert receipt == b"RECEIPT\nreceipt-id:r\n\n\0"
        assert message == (
            b"MESSAGE\nsubscription:n\ndestination:/app/number\nmessage-id:id1-72-1\n"
            b"content-type:application/json\ncontent-length:2\n\n42\0"
        )

    def test_the_id_stays_in_use_until_unsubscribe(self, start: Start, app: StompApp) -> None:
        peer = start(app).connect()
        peer.subscribe("/app/nothing", "n")
        peer.command("UNSUBSCRIBE", {"id": "n", "receipt": "r"})
        peer.frame("RECEIPT")
        peer.subscribe("/app/nothing", "n")
        peer.command("SUBSCRIBE", {"id": "n", "destination": "/app/number"})
        refused(peer, "duplicate-subscription", 1002)

    def test_a_session_that_went_meanwhile_gets_no_answer(self, start: Start) -> None:
        app = StompApp("/ws", allowed_origins=["*"])

        @app.subscribe_mapping("/number")
        def number() -> int:
            return 42

        world = start(app)
        peer = world.connect()
        world.hold_pool()
        peer.command("SUBSCRIBE", {"id": "n", "destination": "/app/number", "receipt": "r"})
        peer.eof()
        world.release_pool()
        peer.nothing()

    def test_events_have_seen_what_the_session_may_do(self, start: Start) -> None:
        """SessionConnected is told after CONNECTED was queued."""
        app = StompApp("/ws", allowed_origins=["*"])
        seen: list[int] = []

        @app.event_listener(SessionConnected, inline=True)
        def on_connect(event: SessionConnected) -> None:
            [session] = world.broker.sessions.values()
            seen.append(len(session.mailbox.entries))

        world = start(app)
        world.connect()
        assert seen == [1]

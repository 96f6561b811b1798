"""UNSUBSCRIBE: of what there is, of what was refused, and of nothing."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from stocksync_ws import StompApp
from stocksync_ws.config import Limits
from stocksync_ws.testing.world import World
from tests.broker.kit import Broker, refused

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

    @pytest.mark.parametrize("destination", ["/topic/a", "/queue/a", "/app/a"])
    def test_a_refused_id_may_be_used_again(self, destination: str) -> None:
        def answer() -> str:
            return "x"

        with Broker(prepare=lambda app: app.subscribe_mapping("/a")(answer)) as world:
            peer = world.connect()
            peer.subscribe("/user/queue/errors", "e")
            peer.command("SUBSCRIBE", {"id": "q", "destination": "/nowhere"})
            peer.message()
            peer.command("SUBSCRIBE", {"id": "q", "destination": destination})
            peer.command("UNSUBSCRIBE", {"id": "q", "receipt": "r"})
            assert [frame.command for frame in peer.frames()][-1] == "RECEIPT"
            peer.command("UNSUBSCRIBE", {"id": "q"})
            refused(peer, "unknown-subscription", 1002)

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

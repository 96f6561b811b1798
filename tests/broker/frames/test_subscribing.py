"""SUBSCRIBE and UNSUBSCRIBE, exactly: what they start and end, and what is refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from stocksync_ws import StompApp
from stocksync_ws.config import Limits
from stocksync_ws.testing.world import World
from tests.broker.kit import refused

Start = Callable[..., World]
OPEN = {"client_send": ["/topic/**"]}


class TestSubscribe:
    def test_its_receipt_comes_before_its_first_message(self, start: Start) -> None:
        peer = start(**OPEN).connect()
        peer.send(
            b"SUBSCRIBE\nid:1\ndestination:/topic/a\nreceipt:r1\n\n\0"
            b"SEND\ndestination:/topic/a\n\nx\0"
        )
        assert [frame.command for frame in peer.frames()] == ["RECEIPT", "MESSAGE"]

    def test_1_1_and_1_2_need_an_id(self, start: Start) -> None:
        for version in ("1.1", "1.2"):
            peer = start().connect(version)
            peer.command("SUBSCRIBE", {"destination": "/topic/a"})
            refused(peer, "missing-header", 1002, command="SUBSCRIBE")

    def test_1_0_without_id_is_known_by_its_destination(self, start: Start) -> None:
        world = start(**OPEN)
        peer = world.connect("1.0")
        peer.send(b"SUBSCRIBE\ndestination:/topic/a\n\nthrown away\0")
        peer.send(b"SEND\ndestination:/topic/a\n\nx\0")
        assert peer.raw() == [
            b"MESSAGE\ndestination:/topic/a\nmessage-id:id1-72-1\ncontent-length:1\n\nx\0"
        ]
        peer.send(b"UNSUBSCRIBE\ndestination:/topic/a\nreceipt:r\n\n\0")
        assert peer.frame().headers == {"receipt-id": "r"}
        peer.send(b"SEND\ndestination:/topic/a\n\nx\0")
        peer.nothing()

    def test_1_0_twice_without_id_is_a_duplicate(self, start: Start) -> None:
        peer = start().connect("1.0")
        peer.send(b"SUBSCRIBE\ndestination:/topic/a\n\n\0" * 2)
        refused(peer, "duplicate-subscription", 1002)

    @pytest.mark.parametrize("destination", ["/topic/a", "/topic/b"])
    def test_an_id_in_use_is_refused(self, start: Start, destination: str) -> None:
        peer = start().connect()
        peer.subscribe("/topic/a", "s1")
        peer.command("SUBSCRIBE", {"id": "s1", "destination": destination, "receipt": "r"})
        refused(peer, "duplicate-subscription", 1002, subscription="s1", **{"receipt-id": "r"})

    def test_two_ids_of_one_destination_are_two_messages(self, start: Start) -> None:
        peer = start(**OPEN).connect()
        peer.subscribe("/topic/a", "s1")
        peer.subscribe("/topic/a", "s2")
        peer.send_to("/topic/a", "x")
        assert [frame.headers["subscription"] for frame in peer.frames()] == ["s1", "s2"]

    def test_ack_auto_is_the_default(self, start: Start) -> None:
        peer = start().connect()
        peer.subscribe("/topic/a", ack="auto")

    @pytest.mark.parametrize("mode", ["foo", "AUTO", ""])
    def test_another_ack_mode_is_refused(self, start: Start, mode: str) -> None:
        peer = start().connect()
        peer.command("SUBSCRIBE", {"id": "1", "destination": "/topic/a", "ack": mode})
        refused(peer, "bad-ack-mode", 1002)

    def test_there_are_no_selectors(self, start: Start) -> None:
        peer = start().connect()
        peer.command(
            "SUBSCRIBE", {"id": "1", "destination": "/topic/a", "selector": "T(java.lang.Runtime)"}
        )
        refused(peer, "unsupported", 1008)

    @pytest.mark.parametrize(
        ("destination", "code"),
        [
            ("/queue/jobs", "subscribe-denied"),
            ("/queue/errors-user-id2-128", "subscribe-denied"),
            ("/user/bob/queue/x", "subscribe-denied"),
            ("/user/bob", "subscribe-denied"),
            ("/topic/*", "subscribe-denied"),
            ("/topic/**", "subscribe-denied"),
            ("/app/*", "subscribe-denied"),
            ("/**", "subscribe-denied"),
            ("/user/queue/*", "subscribe-denied"),
            ("/app/none", "no-handler"),
            ("/nowhere/x", "no-destination"),
        ],
    )
    def test_where_a_client_cannot_subscribe(
        self, start: Start, destination: str, code: str
    ) -> None:
        peer = start().connect()
        peer.command("SUBSCRIBE", {"id": "1", "destination": destination})
        refused(peer, code, 1008, destination=destination, subscription="1")

    def test_a_control_character_in_the_id_is_refused(self, start: Start) -> None:
        peer = start().connect()
        peer.command("SUBSCRIBE", {"id": "a\x1bb", "destination": "/topic/a"})
        error = peer.error()
        assert error.headers["code"] == "bad-header"
        assert "subscription" not in error.headers

    def test_more_subscriptions_than_allowed_are_refused(self, start: Start) -> None:
        peer = start(limits=Limits(max_subscriptions=2)).connect()
        peer.subscribe("/topic/a", "1")
        peer.subscribe("/topic/a", "2")
        peer.command("SUBSCRIBE", {"id": "3", "destination": "/topic/a"})
        refused(peer, "limit", 1008, subscription="3")


class TestHandlers:
    """SUBSCRIBE to the application, as the broker sees it."""

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


@pytest.mark.parametrize("segment", ["#", ">", "a.*", "a.#", "a.>", "*", "**"])
def test_a_wildcard_of_any_dialect_is_refused(segment: str, start: Start) -> None:
    peer = start().connect()
    peer.command("SUBSCRIBE", {"id": "1", "destination": f"/topic/{segment}"})
    assert peer.error().headers["code"] == "subscribe-denied"

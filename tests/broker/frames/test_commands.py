"""The table of frames: what is not in it is refused, and ends what came in one read with it."""

from __future__ import annotations

from collections.abc import Callable

from stocksync_ws import AccessDenied, ConnectRequest, StompApp
from stocksync_ws.testing.world import World
from tests.broker.kit import refused

Start = Callable[..., World]
OPEN = {"client_send": ["/topic/**"]}


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
        app = StompApp("/ws", authenticator=_deny, client_send=["/topic/**"])
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


def _deny(request: ConnectRequest) -> None:
    raise AccessDenied("no")

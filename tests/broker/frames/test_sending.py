"""SEND: where it may go, what it carries on, and its MESSAGE and RECEIPT word for word."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from stocksync_ws.testing.world import World
from tests.broker.kit import refused

Start = Callable[..., World]
OPEN = {"client_send": ["/topic/**"]}


class TestSend:
    def test_a_broker_destination_is_closed_to_clients_by_default(self, start: Start) -> None:
        world = start()
        peer = world.connect()
        peer.send_to("/topic/inventory", "x", receipt="r1")
        refused(peer, "send-denied", 1008, destination="/topic/inventory", **{"receipt-id": "r1"})
        assert not world.counters.messages_published

    def test_message_is_exactly_this(self, start: Start) -> None:
        peer = start(**OPEN).connect()
        peer.subscribe("/topic/a", "s1")
        peer.send(b"SEND\ndestination:/topic/a\ncontent-type:text/plain\nn:1\\c2\n\nhello\0")
        assert peer.raw() == [
            (
                b"MESSAGE\nsubscription:s1\ndestination:/topic/a\nmessage-id:id1-72-1\n"
                b"content-type:text/plain\nn:1\\c2\ncontent-length:5\n\nhello\0"
            )
        ]

    def test_an_empty_body_has_no_content_length(self, start: Start) -> None:
        peer = start(**OPEN).connect()
        peer.subscribe("/topic/a", "s1")
        peer.send(b"SEND\ndestination:/topic/a\n\n\0")
        [message] = peer.raw()
        assert message.endswith(b"\nmessage-id:id1-72-1\n\n\0")

    def test_the_receipt_follows_the_effect_and_is_exactly_this(self, start: Start) -> None:
        peer = start(**OPEN).connect()
        peer.subscribe("/topic/a", "s1")
        peer.send(b"SEND\ndestination:/topic/a\nreceipt:a\\cb\n\nx\0")
        message, receipt = peer.raw()
        assert message.startswith(b"MESSAGE\n")
        assert receipt == b"RECEIPT\nreceipt-id:a\\cb\n\n\0"

    def test_forged_headers_are_stripped_and_counted(self, start: Start) -> None:
        world = start(**OPEN)
        peer = world.connect()
        peer.subscribe("/topic/a", "s1")
        forged = {
            "subscription": "0",
            "message-id": "y",
            "ack": "1",
            "receipt-id": "r",
            "session": "s",
            "server": "me",
            "redelivered": "true",
            "simpOrigDestination": "/x",
            "simpUser": "admin",
            "user-name": "admin",
            "login": "l",
            "passcode": "secret",
            "authorization": "Bearer",
            "cookie": "c",
        }
        peer.command("SEND", {"destination": "/topic/a", **forged, "__proto__": "mine"}, b"x")
        message = peer.message()
        assert message.headers == {
            "subscription": "s1",
            "destination": "/topic/a",
            "message-id": "id1-72-1",
            "__proto__": "mine",
            "content-length": "1",
        }
        assert world.counters.headers_stripped == len(forged)

    @pytest.mark.parametrize(
        "destination",
        ["/topic/../app/x", "/topic//x", "/topic/./x", "/topic/x/", "topic/x", "/", "",
         "/topic/a\\nb", "/topic/*", "/topic/**", "/" + "x" * 255, "/topic" + "/x" * 16],
    )  # fmt: skip
    def test_a_malformed_destination_is_refused(self, start: Start, destination: str) -> None:
        peer = start(**OPEN).connect()
        peer.send(f"SEND\ndestination:{destination}\n\nx\0")
        refused(peer, "bad-destination", 1002, command="SEND")

    @pytest.mark.parametrize("destination", ["/topic/%2e%2e/x", "/topic/{x:(.*a){12}}", "/topic/É"])
    def test_destinations_are_literal(self, start: Start, destination: str) -> None:
        peer = start(**OPEN).connect()
        peer.subscribe(destination, "s1")
        peer.send_to(destination, "x")
        assert peer.message().headers["destination"] == destination

    def test_a_send_needs_a_destination(self, start: Start) -> None:
        peer = start(**OPEN).connect()
        peer.command("SEND", {"receipt": "r"}, b"x")
        refused(peer, "missing-header", 1002, command="SEND", **{"receipt-id": "r"})

    @pytest.mark.parametrize(
        ("destination", "code"),
        [
            ("/app/none", "no-handler"),
            ("/nowhere/x", "no-destination"),
            ("/topicX/a", "no-destination"),
            ("/topic", "no-destination"),
            ("/user/queue/x", "send-denied"),
            ("/user/bob/queue/x", "send-denied"),
            ("/queue/errors-user-id2-128", "send-denied"),
        ],
    )
    def test_where_a_client_cannot_send(self, start: Start, destination: str, code: str) -> None:
        peer = start(**OPEN).connect()
        peer.send_to(destination, "x")
        refused(peer, code, 1008, destination=destination)

    def test_nobody_subscribed_is_no_error(self, start: Start) -> None:
        world = start(**OPEN)
        peer = world.connect()
        peer.send_to("/topic/a", "x", receipt="r1")
        assert peer.frame("RECEIPT").headers == {"receipt-id": "r1"}
        assert world.counters.messages_unrouted == 1

"""What each frame does, exactly: the state machine of a session."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from stocksync_ws.config import Limits
from stocksync_ws.testing.peer import Peer
from stocksync_ws.testing.world import World

Start = Callable[..., World]
OPEN = {"client_send": ["/topic/**"]}


def refused(peer: Peer, code: str, close: int, **headers: str) -> None:
    """The last frame was an ERROR with this code, and the connection is closed with `close`."""
    error = peer.error()
    assert error.headers["code"] == code
    assert error.headers.items() >= headers.items()
    assert peer.closed == close


class TestConnect:
    def test_connected_is_exactly_this(self, start: Start) -> None:
        peer = start(heart_beat=(15.0, 15.0)).upgrade()
        peer.send(b"CONNECT\naccept-version:1.0,1.1,1.2\nhost:h\n\n\0")
        assert peer.raw() == [
            (
                b"CONNECTED\nversion:1.2\nheart-beat:15000,15000\nsession:id2-128\n"
                b"server:stocksync-ws\n\n\0"
            )
        ]

    def test_the_name_of_the_user_stands_in_connected(self, start: Start) -> None:
        class Joe:
            name = "joe"

        peer = start(authenticator=lambda request: Joe(), heart_beat=(0.0, 0.0)).upgrade()
        peer.send(b"CONNECT\naccept-version:1.2\n\n\0")
        assert peer.raw() == [
            (
                b"CONNECTED\nversion:1.2\nheart-beat:0,0\nsession:id2-128\n"
                b"server:stocksync-ws\nuser-name:joe\n\n\0"
            )
        ]

    def test_1_0_gets_the_configured_beats_too(self, start: Start) -> None:
        peer = start().upgrade()
        peer.send(b"CONNECT\naccept-version:1.0\nheart-beat:nonsense\n\n\0")
        assert peer.raw() == [
            (
                b"CONNECTED\nversion:1.0\nheart-beat:10000,10000\nsession:id2-128\n"
                b"server:stocksync-ws\n\n\0"
            )
        ]

    def test_stomp_is_connect(self, start: Start) -> None:
        world = start()
        peer = world.upgrade()
        peer.send(
            b"STOMP\naccept-version:1.1,1.0\nlogin:guest\npasscode:guest\n"
            b"heart-beat:10000,10000\n\n\0"
        )
        assert peer.frame("CONNECTED").headers["version"] == "1.1"
        [session] = world.broker.sessions.values()
        assert (session.clocks.read_every, session.clocks.write_every) == (10.0, 10.0)

    @pytest.mark.parametrize(
        ("offer", "version"),
        [
            ("", "1.0"),
            ("accept-version:1.2, 1.1\n", "1.2"),
            ("accept-version:1.0,1.1,2.0\n", "1.1"),
            ("accept-version:1.2,1.1,1.0\n", "1.2"),
        ],
    )
    def test_the_highest_common_version_wins(self, start: Start, offer: str, version: str) -> None:
        peer = start().upgrade()
        peer.send(f"CONNECT\n{offer}\n\0")
        assert peer.frame("CONNECTED").headers["version"] == version

    def test_no_common_version_is_told_exactly(self, start: Start) -> None:
        peer = start().upgrade()
        peer.send(b"CONNECT\naccept-version:9.9\nreceipt:r1\n\n\0")
        assert peer.raw() == [
            (
                b"ERROR\nmessage:Unsupported version\ncode:unsupported-version\n"
                b"content-type:text/plain\nreceipt-id:r1\ncommand:CONNECT\n"
                b"version:1.0,1.1,1.2\ncontent-length:44\n\n"
                b"Supported protocol versions are 1.0 1.1 1.2.\0"
            )
        ]
        assert peer.closed == 1002

    def test_a_receipt_on_connect_is_not_answered(self, start: Start) -> None:
        peer = start().connect(receipt="r1")
        peer.nothing()

    @pytest.mark.parametrize("beat", ["1", "-5,0", "a,b", "0,99999999999", "1,2,3", "1.5,2", ""])
    def test_a_malformed_heart_beat_is_refused(self, start: Start, beat: str) -> None:
        peer = start().upgrade()
        peer.send(f"CONNECT\naccept-version:1.2\nheart-beat:{beat}\n\n\0")
        refused(peer, "bad-heart-beat", 1002)

    @pytest.mark.parametrize("frame", ["SEND\ndestination:/topic/a", "SUBSCRIBE\nid:1", "ACK"])
    def test_nothing_is_done_before_connect(self, start: Start, frame: str) -> None:
        world = start(**OPEN)
        peer = world.upgrade()
        peer.send(f"{frame}\nreceipt:r\n\n\0CONNECT\naccept-version:1.2\n\n\0")
        refused(peer, "not-connected", 1002, **{"receipt-id": "r"})
        assert world.counters.sessions == world.counters.messages_published == 0

    def test_a_second_connect_ends_the_session(self, start: Start) -> None:
        peer = start().connect()
        peer.command("CONNECT", {"accept-version": "1.2"})
        refused(peer, "already-connected", 1002, command="CONNECT")


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

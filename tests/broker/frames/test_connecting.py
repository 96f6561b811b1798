"""CONNECT and STOMP, word for word: versions, beats and the user; and DISCONNECT in good order."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from stocksync_ws import SessionConnected, StompApp
from stocksync_ws.testing.world import World
from tests.broker.kit import everybody_is, refused

Start = Callable[..., World]
OPEN = {"client_send": ["/topic/**"]}


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

        peer = start(authenticator=everybody_is(Joe()), heart_beat=(0.0, 0.0)).upgrade()
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


@pytest.mark.parametrize(
    ("client", "server", "reads", "writes"),
    [
        (None, (10.0, 10.0), 0, 0),
        ("0,0", (10.0, 10.0), 0, 0),
        ("10000,10000", (0.0, 0.0), 0, 0),
        ("4000,0", (10.0, 10.0), 10, 0),
        ("0,4000", (10.0, 10.0), 0, 10),
        ("4000,20000", (10.0, 10.0), 10, 20),
        ("500,500", (1.0, 1.0), 1, 1),
        ("1,1", (10.0, 10.0), 10, 10),
    ],
)
def test_beats_are_agreed_by_the_larger_of_both(
    start: Start, client: str | None, server: tuple[float, float], reads: float, writes: float
) -> None:
    world = start(heart_beat=server)
    peer = world.upgrade()
    beat = f"heart-beat:{client}\n" if client else ""
    peer.send(f"CONNECT\naccept-version:1.2\n{beat}\n\0")
    [session] = world.broker.sessions.values()
    assert (session.clocks.read_every, session.clocks.write_every) == (reads, writes)
    sent = ",".join(str(round(each * 1000)) for each in server)
    assert peer.frame("CONNECTED").headers["heart-beat"] == sent


class TestDisconnect:
    def test_with_receipt(self, start: Start) -> None:
        peer = start().connect()
        peer.send(b"DISCONNECT\nreceipt:message-123\n\n\0")
        assert peer.raw() == [b"RECEIPT\nreceipt-id:message-123\n\n\0"]
        assert peer.closed == 1000

    def test_without_receipt_there_is_only_the_close(self, start: Start) -> None:
        peer = start().connect()
        peer.send(b"DISCONNECT\n\n\0")
        assert peer.closed == 1000
        assert peer.raw() == []

    def test_frames_after_it_are_ignored(self, start: Start) -> None:
        world = start(**OPEN)
        peer = world.connect()
        peer.send(b"DISCONNECT\n\n\0SEND\ndestination:/topic/a\n\nx\0nonsense")
        peer.send(b"SEND\ndestination:/topic/a\n\nx\0")
        assert peer.closed == 1000
        peer.nothing()
        assert not world.counters.messages_published

    def test_what_waits_goes_out_before_the_receipt(self, start: Start) -> None:
        world = start(**OPEN)
        peer = world.connect()
        peer.subscribe("/topic/a", "s1")
        peer.stream.window = 0
        peer.send_to("/topic/a", "one")
        peer.send(b"SEND\ndestination:/topic/a\n\ntwo\0DISCONNECT\nreceipt:r\n\n\0")
        world.connect().send_to("/topic/a", "three")
        peer.stream.open_window(None)
        world.settle()
        one, two, receipt = peer.frames()
        assert (one.body, two.body, receipt.headers) == (b"one", b"two", {"receipt-id": "r"})
        assert peer.closed == 1000


def test_events_have_seen_what_the_session_may_do(start: Start) -> None:
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

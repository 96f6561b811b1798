"""STOMP 1.1 and 1.2: "Connecting", "CONNECT or STOMP Frame", "CONNECTED Frame", "Protocol
Negotiation", "Heart-beating".
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from stocksync_ws import AccessDenied, BadCredentials, ConnectRequest
from stocksync_ws.testing.world import World
from tests.spec.delivering import User
from tests.spec.talk import EVERY, MODERN, alive, frame, refused

stomp = pytest.mark.stomp


@stomp("1.0 Introduction 3", "1.1 1.2 Connecting 2", "1.1 1.2 CONNECT or STOMP Frame 1")
@pytest.mark.parametrize("version", EVERY)
@pytest.mark.parametrize("command", ["CONNECT", "STOMP"])
@pytest.mark.parametrize(
    ("problem", "code", "close"),
    [(AccessDenied, "connect-refused", 4500), (BadCredentials, "bad-credentials", 4501)],
)
def test_a_rejected_connection_gets_error_and_close(
    broker: Callable[..., World],
    version: str,
    command: str,
    problem: type[Exception],
    code: str,
    close: int,
) -> None:
    def authenticate(request: ConnectRequest) -> None:
        raise problem

    peer = broker(authenticator=authenticate).upgrade()
    peer.send(frame(command, accept_version=version, host="h", receipt="r"))
    headers = refused(peer, code, close)
    assert headers["command"] == command
    assert headers["receipt-id"] == "r"


@stomp("1.1 Connecting 3", "1.2 Connection Lingering 1")
@pytest.mark.parametrize("version", EVERY)
def test_clients_may_come_and_go_rapidly(world: World, version: str) -> None:
    for turn in range(200):
        peer = world.upgrade()
        peer.send(
            frame("CONNECT", accept_version=version, host="h")
            + frame("SEND", b"x", destination="/topic/a", receipt="r")
            + frame("DISCONNECT", receipt="bye")
        )
        assert [each.command for each in peer.frames()] == ["CONNECTED", "RECEIPT", "RECEIPT"]
        assert peer.closed == 1000
        assert len(world.broker.sessions) <= 1, turn


@stomp("1.1 1.2 CONNECT or STOMP Frame 1", "1.1 1.2 CONNECT or STOMP Frame 2")
@pytest.mark.parametrize("version", MODERN)
def test_stomp_and_connect_get_the_same_answer(broker: Callable[..., World], version: str) -> None:
    answers: list[bytes] = []
    for command in ("CONNECT", "STOMP"):
        peer = broker().upgrade()
        peer.send(frame(command, accept_version=version, host="h", heart_beat="5000,7000"))
        answers += peer.raw()
    assert answers[0] == answers[1]
    assert answers[0].startswith(b"CONNECTED\nversion:" + version.encode())


@stomp("1.1 1.2 CONNECT or STOMP Frame 1")
@pytest.mark.parametrize("version", EVERY)
@pytest.mark.parametrize("command", ["CONNECT", "STOMP"])
def test_the_application_decides_about_connect_and_stomp_alike(
    broker: Callable[..., World], version: str, command: str
) -> None:
    asked: list[tuple[str | None, str | None]] = []

    def authenticate(request: ConnectRequest) -> User:
        asked.append((request.login, request.passcode))
        return User("ann")

    peer = broker(authenticator=authenticate).upgrade()
    login = {"login": "u", "passcode": "a\\tb:c\\c"}
    peer.send(frame(command, accept_version=version, host="h", receipt="r", **login))
    assert peer.frame("CONNECTED").headers["user-name"] == "ann"
    peer.nothing()  # no RECEIPT
    assert asked == [("u", "a\\tb:c\\c")]


@stomp("1.1 1.2 CONNECT or STOMP Frame 1")
@pytest.mark.parametrize("version", EVERY)
@pytest.mark.parametrize("command", ["CONNECT", "STOMP"])
@pytest.mark.parametrize("name", ["login", "passcode", "receipt"])
def test_connect_and_stomp_must_not_say_two_things(
    world: World, version: str, command: str, name: str
) -> None:
    head = f"{command}\naccept-version:{version}\nhost:h\n"
    peer = world.upgrade()
    peer.send(f"{head}{name}:x\n{name}:x\nk:1\nk:2\n\n\0")
    assert peer.frame("CONNECTED").headers["version"] == version
    peer = world.upgrade()
    peer.send(f"{head}{name}:x\n{name}:y\n\n\0")
    refused(peer, "repeated-header")


@stomp(
    "1.1 1.2 CONNECT or STOMP Frame 3",
    "1.1 1.2 CONNECT or STOMP Frame 4",
    "1.2 Frames and Headers 1",
    "1.1 1.2 Protocol Negotiation 1",
)
@pytest.mark.parametrize("version", MODERN)
def test_accept_version_decides_and_host_may_be_missing(world: World, version: str) -> None:
    for host in ({}, {"host": ""}, {"host": "elsewhere"}):
        peer = world.upgrade()
        peer.send(frame("CONNECT", accept_version=version, **host))
        assert peer.frame("CONNECTED").headers["version"] == version
    other = world.upgrade()
    other.send(frame("CONNECT", host="h"))
    assert other.frame("CONNECTED").headers["version"] == "1.0"


@stomp("1.1 1.2 CONNECTED Frame 1", "1.1 1.2 CONNECTED Frame 2", "1.2 Frames and Headers 2")
@pytest.mark.parametrize("version", MODERN)
def test_connected_names_version_server_and_session(world: World, version: str) -> None:
    peer, other = world.upgrade(), world.upgrade()
    sessions: set[str] = set()
    for each in (peer, other):
        each.send(frame("CONNECT", accept_version=version, host="h"))
        headers = each.frame("CONNECTED").headers
        assert headers["version"] == version
        assert re.fullmatch(r"[!-~]+?(/[!-~]+)?( .*)?", headers["server"])
        assert headers["heart-beat"] == "1000,1000"
        sessions.add(headers["session"])
    assert len(sessions) == 2


@stomp(
    "1.1 1.2 Protocol Negotiation 2",
    "1.1 1.2 Protocol Negotiation 4",
    "1.1 1.2 Protocol Negotiation 5",
)
@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        ("1.0", "1.0"),
        ("1.1", "1.1"),
        ("1.2", "1.2"),
        ("1.0,1.1,2.0", "1.1"),
        ("1.0,1.1,1.2", "1.2"),
        ("1.2,1.1,1.0", "1.2"),
        ("1.1, 1.2", "1.2"),
        ("1.0,1.2,1.1,3.7", "1.2"),
        ("0.6,0.7,0.8,0.9,1.0,1.1,1.2", "1.2"),
        ("1.1,1.10,1.20,11.2,1.2.0", "1.1"),
    ],
)
def test_the_highest_common_version_is_chosen(world: World, offered: str, chosen: str) -> None:
    peer = world.upgrade()
    peer.send(frame("CONNECT", accept_version=offered, host="h"))
    assert peer.frame("CONNECTED").headers["version"] == chosen


@stomp("1.1 1.2 Protocol Negotiation 6")
@pytest.mark.parametrize("offered", ["2.0", "", "1.3,0.9", "one"])
def test_no_common_version_is_told_and_closed(world: World, offered: str) -> None:
    peer = world.upgrade()
    peer.send(frame("CONNECT", accept_version=offered, host="h"))
    error = peer.error()
    assert error.headers["version"] == "1.0,1.1,1.2"
    assert error.headers["code"] == "unsupported-version"
    assert error.body == b"Supported protocol versions are 1.0 1.1 1.2."
    assert peer.closed == 1002


# Heart-beating


@stomp("1.1 1.2 Heart-beating 1")
@pytest.mark.parametrize("version", MODERN)
@pytest.mark.parametrize(
    "value", ["", "abc", "1000", "-1,0", "1,2,3", "1.5,2", "1, 2", "+1,1", "1e3,1", "1,2,"]
)
def test_a_malformed_heart_beat_is_refused(world: World, version: str, value: str) -> None:
    peer = world.upgrade()
    peer.send(frame("CONNECT", accept_version=version, host="h", heart_beat=value))
    refused(peer, "bad-heart-beat")


@stomp("1.1 1.2 Heart-beating 2")
@pytest.mark.parametrize("version", MODERN)
@pytest.mark.parametrize("headers", [{}, {"heart_beat": "0,0"}])
def test_without_heart_beat_nothing_is_sent_and_nothing_expected(
    world: World, version: str, headers: dict[str, Any]
) -> None:
    peer = world.connect(version, **headers)
    world.advance(20)
    assert peer.beats == 0
    alive(peer)


@stomp("1.1 1.2 Heart-beating 7", "1.1 1.2 Heart-beating 8")
@pytest.mark.parametrize("version", MODERN)
@pytest.mark.parametrize(
    ("asked", "every"), [("0,1", 1.0), ("0,500", 1.0), ("0,1000", 1.0), ("0,2000", 2.0)]
)
def test_every_window_of_the_agreed_length_holds_data(
    world: World, version: str, asked: str, every: float
) -> None:
    peer = world.connect(version, heart_beat=asked)
    for _ in range(20):
        world.advance(every)
        got = peer.raw()
        assert got
        assert set(got) == {b"\n"}
    peer.subscribe("/topic/a", id="s")
    for _ in range(5):  # other frames are as good
        world.advance(every * 0.6)
        peer.send_to("/topic/a", "x")
        assert [each for each in peer.raw() if each != b"\n"]


@stomp("1.1 1.2 Heart-beating 5")
@pytest.mark.parametrize("version", MODERN)
@pytest.mark.parametrize("asked", ["0,0", "1000,0", "5000,0"])
def test_who_wants_no_heart_beat_gets_none(world: World, version: str, asked: str) -> None:
    peer = world.connect(version, heart_beat=asked)
    for _ in range(10):
        world.advance(1)
        peer.beat()
    assert peer.raw() == []


@stomp("1.1 1.2 Heart-beating 9")
@pytest.mark.parametrize("version", MODERN)
def test_a_late_heart_beat_is_tolerated_and_silence_is_not(world: World, version: str) -> None:
    peer = world.connect(version, heart_beat="1000,0")
    for _ in range(10):
        world.advance(1.9)
        peer.beat()
        assert peer.closed is None
    world.advance(2.5)
    assert peer.closed == 4000
    peer.nothing()


@stomp("1.1 1.2 Heart-beating 4")
@pytest.mark.parametrize("version", MODERN)
@pytest.mark.parametrize(
    ("asked", "every"), [("1,0", 1.0), ("100,0", 1.0), ("1000,0", 1.0), ("4000,0", 4.0)]
)
def test_the_slower_of_two_rates_is_expected(
    world: World, version: str, asked: str, every: float
) -> None:
    peer = world.connect(version, heart_beat=asked)
    for _ in range(3):
        world.advance(2 * every - 0.1)  # `missed_heart_beats` is 2
        assert peer.closed is None
        peer.beat()
    world.advance(2 * every + 0.1)
    assert peer.closed == 4000


@stomp("1.1 1.2 Heart-beating 6")
@pytest.mark.parametrize("version", MODERN)
@pytest.mark.parametrize("sign", [b"\n", b"\r\n", b"\0"])
def test_any_octet_is_a_sign_of_life(world: World, version: str, sign: bytes) -> None:
    peer = world.connect(version, heart_beat="1000,0")
    for _ in range(10):
        world.advance(1.5)
        peer.send(sign)
    assert peer.closed is None
    peer.pong()
    alive(peer)


@stomp("1.1 1.2 Heart-beating 7")
@pytest.mark.parametrize("version", MODERN)
def test_what_is_no_data_for_the_client_does_not_delay_the_heart_beat(
    world: World, version: str
) -> None:
    peer, sender = world.connect(version, heart_beat="0,1000"), world.connect("1.2")
    peer.subscribe("/topic/a", id="s", ack="client-individual", prefetch_count="1")
    sender.send_to("/topic/a", "fills the window")
    peer.message()
    for _ in range(6):
        for _ in range(4):  # kept, not sent
            sender.send_to("/topic/a", "waits")
            peer.feed(b"\x89\x80\0\0\0\0")  # PING: its PONG is no data of STOMP
            world.advance(0.25)
        assert peer.raw() == [b"\n"]

"""Rates: which frames count, what is told of a refused one, and what it does not do."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from typing import Any

import pytest

from stocksync_ws import Limits, Rate, StompApp
from stocksync_ws.testing.peer import Peer
from stocksync_ws.testing.world import World
from tests.broker.kit import QUIET, authenticate

Start = Callable[..., World]


def make(**settings: Any) -> StompApp:
    quiet: dict[str, Any] = QUIET
    fields: dict[str, Any] = {"heart_beat": (0, 0), "limits": Limits(**quiet)}
    fields |= settings
    return StompApp("/ws", authenticator=authenticate, client_send=["/topic/**"], **fields)


def listening(world: World, **headers: str) -> Peer:
    """A client that is told of errors, and has its whole burst again."""
    peer = world.connect(**headers)
    peer.subscribe("/user/queue/errors", "errors")
    world.advance(100)
    return peer


def codes_of(peer: Peer) -> list[str]:
    """What came: the command, or the code of an error."""
    return [
        json.loads(frame.body)["code"] if b'"code"' in frame.body else frame.command
        for frame in peer.frames()
    ]


SLOW = Rate(0.5, burst=2)


def test_a_frame_too_many_is_refused_with_when_to_come_back(start: Start) -> None:
    world = start(make(session_rate=SLOW))
    peer, reader = listening(world), world.connect()
    reader.subscribe("/topic/a")
    for number in range(3):
        peer.send_to("/topic/a", str(number), receipt=str(number))
    kept = [peer.frame("RECEIPT").headers["receipt-id"] for _ in range(2)]
    reply = peer.frame("MESSAGE")
    assert kept == ["0", "1"]
    assert reply.headers["retry-after"] == "2"
    assert reply.headers["receipt-id"] == "2"
    assert json.loads(reply.body)["code"] == "rate-limited"
    assert [frame.body for frame in reader.frames()] == [b"0", b"1"]
    assert world.counters.frames_rate_limited == 1
    assert world.counters.application_errors == 1
    world.advance(1)
    peer.send_to("/topic/a", "too soon")
    assert peer.frame("MESSAGE").headers["retry-after"] == "1"
    world.advance(1)
    peer.send_to("/topic/a", "x", receipt="r")
    assert peer.frame("RECEIPT")


def test_a_session_that_does_not_listen_gets_an_error_and_close_1013(start: Start) -> None:
    world = start(make(session_rate=SLOW))
    peer = world.connect()
    for _ in range(3):
        peer.send_to("/topic/a", "x")
    error = peer.error()
    assert error.headers["code"] == "rate-limited"
    assert error.headers["retry-after"] == "2"
    assert error.headers["destination"] == "/topic/a"
    assert peer.closed == 1013


def test_in_a_transaction_a_refusal_ends_the_session_and_nothing_happens(start: Start) -> None:
    world = start(make(session_rate=SLOW))
    peer, reader = listening(world), world.connect()
    reader.subscribe("/topic/a")
    peer.command("BEGIN", {"transaction": "t"})
    for _ in range(3):
        peer.send_to("/topic/a", "x", transaction="t")
    error = peer.error()
    assert error.headers["code"] == "rate-limited"
    assert error.headers["retry-after"] == "2"
    assert peer.closed == 1013
    reader.nothing()
    assert world.counters.frames_rate_limited == 1


def test_a_refused_subscribe_does_not_exist_and_its_unsubscribe_is_no_error(start: Start) -> None:
    app = make(session_rate=Rate(1, burst=1))
    world = start(app)
    peer = listening(world)
    peer.subscribe("/topic/a", "1")
    peer.command("SUBSCRIBE", {"id": "2", "destination": "/topic/b", "receipt": "r"})
    reply = peer.frame("MESSAGE")
    assert json.loads(reply.body)["subscription"] == "2"
    assert reply.headers["retry-after"] == "1"
    peer.command("UNSUBSCRIBE", {"id": "2", "receipt": "u"})
    assert peer.frame("RECEIPT").headers["receipt-id"] == "u"
    app.template.convert_and_send("/topic/b", "x")
    peer.nothing()
    world.advance(1)
    peer.subscribe("/topic/b", "2")


def test_a_malformed_subscribe_too_many_is_told_what_is_wrong_with_it(start: Start) -> None:
    world = start(make(session_rate=Rate(1, burst=1)))
    peer = listening(world)
    peer.subscribe("/topic/a", "1")
    peer.command("SUBSCRIBE", {"id": "2", "destination": "/topic/b", "ack": "never"})
    assert peer.error().headers["code"] == "bad-ack-mode"


@pytest.mark.parametrize("destination", ["topic/a", "/topic//a", "/topic/*", "/topic/" + "a" * 300])
def test_a_malformed_destination_too_many_is_refused_for_its_rate_and_not_told(
    start: Start, destination: str
) -> None:
    world = start(make(session_rate=Rate(0.1, burst=1)))
    peer = listening(world)
    peer.send_to("/topic/a", "x")
    peer.command("SEND", {"destination": destination}, "x")
    [reply] = peer.frames()
    assert json.loads(reply.body)["code"] == "rate-limited"
    assert (json.loads(reply.body)["destination"] is None) is (destination != "/topic/*")


def test_a_frame_without_a_header_that_it_needs_is_told_that(start: Start) -> None:
    world = start(make(session_rate=Rate(0.1, burst=1)))
    peer = listening(world)
    peer.send_to("/topic/a", "x")
    peer.command("SEND", {}, "x")
    assert peer.error().headers["code"] == "missing-header"


def test_frames_that_settle_end_or_take_back_are_never_refused(start: Start) -> None:
    app = make(session_rate=Rate(0.001, burst=3))
    world = start(app)
    peer = world.connect()
    for number in range(2):
        peer.subscribe("/topic/a", str(number), ack="client-individual")
    peer.send_to("/topic/b", "the last one that counts")
    app.template.convert_and_send("/topic/a", "x")
    first, second = peer.frame("MESSAGE"), peer.frame("MESSAGE")
    peer.command("ACK", {"id": first.headers["ack"]})
    peer.command("NACK", {"id": second.headers["ack"]})
    for number in range(20):
        peer.command("BEGIN", {"transaction": str(number)})
        peer.command(("COMMIT", "ABORT")[number % 2], {"transaction": str(number)})
    peer.command("UNSUBSCRIBE", {"id": "0"})
    peer.beat()
    peer.command("DISCONNECT", {"receipt": "bye"})
    assert [frame.command for frame in peer.frames()] == ["MESSAGE", "RECEIPT"]
    assert peer.closed == 1000
    assert not world.counters.frames_rate_limited


def test_all_sessions_of_a_user_share_its_bucket_and_a_reconnect_wins_nothing(start: Start) -> None:
    world = start(make(user_rate=Rate(0.1, burst=4)))
    one, two = world.connect(login="a"), world.connect(login="a")
    other = world.connect(login="b")
    for peer in (one, two, one, two):
        peer.send_to("/topic/a", "x", receipt="r")
        peer.frame("RECEIPT")
    one.send_to("/topic/a", "x")
    assert one.error().headers["retry-after"] == "10"
    other.send_to("/topic/a", "x", receipt="r")
    other.frame("RECEIPT")
    two.eof()
    again = world.connect(login="a")
    again.send_to("/topic/a", "x")
    assert again.error().headers["code"] == "rate-limited"
    world.advance(10)
    later = world.connect(login="a")
    later.send_to("/topic/a", "x", receipt="r")
    later.frame("RECEIPT")


def test_only_so_many_users_are_remembered_when_they_have_left(start: Start) -> None:
    quiet: dict[str, Any] = QUIET
    limits = Limits(**quiet, rated_users=1)
    world = start(make(user_rate=Rate(0.01, burst=2), limits=limits))
    for name, frames in (("a", 1), ("b", 2), ("c", 1)):
        peer = world.connect(login=name)
        for _ in range(frames):
            peer.send_to("/topic/a", "x", receipt="r")
            peer.frame("RECEIPT")
        peer.eof()
    for name, left in (("b", 0), ("a", 2)):
        peer = world.connect(login=name)
        for number in range(3):
            peer.send_to("/topic/a", "x", receipt=str(number))
        assert codes_of(peer) == ["RECEIPT"] * left + ["ERROR"]


def test_anonymous_sessions_have_only_the_rate_of_a_session(start: Start) -> None:
    world = start(make(user_rate=Rate(0.1, burst=1)))
    peer = world.connect()
    for number in range(5):
        peer.send_to("/topic/a", "x", receipt=str(number))
    assert codes_of(peer) == ["RECEIPT"] * 5


def test_neither_rule_nor_handler_nor_key_is_asked_for_a_refused_frame(start: Start) -> None:
    app = make(session_rate=Rate(0.1, burst=1))
    asked: list[str] = []

    @app.authorize("/app/work", inline=True)
    def rule() -> bool:
        asked.append("rule")
        return True

    @app.message_mapping("/work", inline=True)
    def work(body: bytes) -> None:
        asked.append("handler")

    world = start(app)
    peer = listening(world)
    peer.send_to("/app/work", "1", **{"idempotency-key": "k", "receipt": "1"})
    peer.send_to("/app/work", "2", **{"idempotency-key": "k", "receipt": "2"})
    assert codes_of(peer) == ["RECEIPT", "rate-limited"]
    assert asked == ["rule", "handler"]
    # The key was not looked at either: with another body it would be `idempotency-mismatch`.
    assert not world.counters.messages_duplicate


def test_frames_that_arrived_before_the_end_of_a_session_count_too(start: Start) -> None:
    app = make(user_rate=Rate(0.1, burst=2))

    @app.message_mapping("/wait")
    async def wait() -> None:
        await asyncio.sleep(1)

    world = start(app)
    peer, reader = world.connect(login="a"), world.connect()
    reader.subscribe("/topic/a")
    peer.send_to("/app/wait", "")
    for number in range(3):
        peer.send_to("/topic/a", str(number))
    peer.eof()
    world.advance(2)
    assert [frame.body for frame in reader.frames()] == [b"0"]
    assert world.counters.frames_rate_limited == 2


def test_the_log_names_the_setting_and_the_user(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    world = start(make(user_rate=Rate(0.1, burst=1)))
    peer = world.connect(login="ann")
    with caplog.at_level(logging.WARNING, "stocksync_ws.handler"):
        peer.send_to("/topic/a", "x")
        peer.send_to("/topic/a", "x")
    line = caplog.records[-1].getMessage()
    assert "code=rate-limited" in line
    assert "user='ann'" in line
    assert "rule='user_rate=Rate(per_second=0.1, burst=1)'" in line


def test_time_in_which_we_stand_still_refills_no_bucket(start: Start) -> None:
    """Buckets live in the broker's own time, as everything that judges a client does."""
    world = start(make(session_rate=Rate(0.1, burst=2), heart_beat=(1, 1)))
    peer = world.connect(heart_beat="1000,1000")
    peer.subscribe("/user/queue/errors")
    peer.send_to("/topic/a", "x")
    world.stall(60)
    assert world.counters.stalls == 1
    peer.send_to("/topic/a", "y")
    assert [frame.headers["retry-after"] for frame in peer.frames()] == ["10"]


def test_without_a_rate_nobody_asks_a_bucket(start: Start) -> None:
    world = start(make())
    peer = world.connect()
    peer.subscribe("/topic/a")
    for _ in range(200):
        peer.send_to("/topic/a", "x")
    assert len(peer.frames()) == 200
    assert next(iter(world.broker.sessions.values())).buckets is None

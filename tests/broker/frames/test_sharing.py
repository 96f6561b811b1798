"""SENDs and SUBSCRIBEs of clients that wait for the engine: RECEIPTs in order, and errors that are
told as what they are.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack

import pytest

from stocksync_ws import AccessDenied, StompApp
from stocksync_ws.backplane import (
    Append,
    Appended,
    AppendOutcome,
    BackplaneCommand,
    BackplaneSettings,
)
from stocksync_ws.broker.model.window import MOST_SENDS
from stocksync_ws.testing.backplane import MemoryLink
from stocksync_ws.testing.peer import Peer
from tests.broker.several import Several

TOPIC = "/topic/a"


@pytest.fixture
def several() -> Iterator[Several]:
    with ExitStack() as stack:
        yield Several(stack)


def link(several: Several) -> MemoryLink:
    return next(iter(several.engine.links.values()))


def hold(several: Several) -> list[Append]:
    """Keep commands on their way to the engine; the SENDs among those that are sent meanwhile."""
    sent: list[Append] = []

    def send(commands: Sequence[BackplaneCommand]) -> None:
        appends = [each for each in commands if isinstance(each, Append)]
        sent.extend(each for each in appends if each.items[0].channel == TOPIC)

    several.held = sent
    link(several).send = send  # type: ignore[method-assign]
    return sent


def answer(several: Several, which: int, outcome: AppendOutcome = AppendOutcome.ACCEPTED) -> None:
    """Answer the first, the second, ... of them."""
    number = several.held[which - 1].number
    link(several)._receive([Appended(number, outcome)])
    several.settle()


def receipts(peer: Peer) -> list[str]:
    return [each.headers["receipt-id"] for each in peer.frames() if each.command == "RECEIPT"]


# SEND


def test_a_send_has_its_receipt_when_the_engine_has_answered(several: Several) -> None:
    peer = several.connect()
    sent = hold(several)
    peer.send_to(TOPIC, "x", receipt="r")
    peer.nothing()
    assert len(sent) == 1
    answer(several, 1)
    assert receipts(peer) == ["r"]


def test_receipts_leave_in_the_order_of_the_frames(several: Several) -> None:
    peer = several.connect()
    hold(several)
    for name in "abc":
        peer.send_to(TOPIC, name, receipt=name)
    several.settle()
    answer(several, 2)
    answer(several, 3)
    peer.nothing()
    answer(several, 1)
    assert receipts(peer) == ["a", "b", "c"]


def test_so_many_sends_are_on_their_way_and_no_more(several: Several) -> None:
    peer = several.connect()
    sent = hold(several)
    for number in range(MOST_SENDS + 2):
        peer.send_to(TOPIC, str(number), receipt=str(number))
    several.advance(0.1)
    assert len(sent) == MOST_SENDS
    for number in range(MOST_SENDS):
        answer(several, number + 1)
    several.advance(0.1)
    assert len(sent) == MOST_SENDS + 2
    assert receipts(peer) == [str(number) for number in range(MOST_SENDS)]


@pytest.mark.parametrize(
    ("command", "headers"),
    [
        ("SUBSCRIBE", {"id": "s", "destination": "/topic/here"}),
        ("SEND", {"destination": "/topic/here"}),
        ("BEGIN", {"transaction": "t"}),
        ("DISCONNECT", {}),
    ],
)
def test_every_other_frame_waits_until_none_is_on_its_way(
    several: Several, command: str, headers: dict[str, str]
) -> None:
    peer = several.connect()
    hold(several)
    peer.send_to(TOPIC, "x", receipt="send")
    peer.command(command, headers | {"receipt": "other"})
    several.settle()
    peer.nothing()
    answer(several, 1)
    assert receipts(peer) == ["send", "other"]


def test_a_send_in_a_transaction_waits_too(several: Several) -> None:
    peer = several.connect()
    peer.command("BEGIN", {"transaction": "t"})
    hold(several)
    peer.send_to(TOPIC, "x", receipt="send")
    peer.send_to(TOPIC, "y", transaction="t")
    peer.command("ABORT", {"transaction": "t", "receipt": "abort"})
    peer.nothing()
    answer(several, 1)
    assert receipts(peer) == ["send", "abort"]


def test_a_session_that_ends_meanwhile_is_told_nothing(several: Several) -> None:
    peer = several.connect()
    hold(several)
    peer.send_to(TOPIC, "x", receipt="r")
    peer.command("SUBSCRIBE", {"id": "s", "destination": TOPIC})
    peer.eof()
    answer(several, 1)
    several.advance(20)
    assert not several.worlds[0].broker.sessions


# What was not done


@pytest.mark.parametrize(
    ("outcome", "code"),
    [
        (AppendOutcome.REFUSED, "backplane-unavailable"),
        (AppendOutcome.MISMATCH, "idempotency-mismatch"),
        (AppendOutcome.REPEATED, "publish-uncertain"),
    ],
)
def test_what_the_engine_does_not_do_is_an_error(
    several: Several, outcome: AppendOutcome, code: str
) -> None:
    peer = several.connect()
    hold(several)
    peer.send_to(TOPIC, "x", receipt="r", idempotency_key="k")
    several.settle()
    answer(several, 1, outcome)
    error = peer.error()
    assert (error.headers["code"], error.headers["receipt-id"]) == (code, "r")


@pytest.mark.parametrize(
    ("connected", "code"), [(True, "publish-uncertain"), (False, "backplane-unavailable")]
)
def test_what_is_not_answered_in_time_was_sent_or_not(
    several: Several, connected: bool, code: str
) -> None:
    peer = several.connect()
    if connected:
        hold(several)
    else:
        several.engine.disconnect()
    peer.send_to(TOPIC, "x", receipt="r")
    several.advance(4.9)
    peer.nothing()
    several.advance(0.2)
    assert peer.error().headers["code"] == code
    counters = several.worlds[0].counters
    assert counters.backplane_uncertain == connected
    assert counters.backplane_refused == (not connected)


def test_a_session_that_listens_is_told_and_goes_on(several: Several) -> None:
    peer = several.connect(login="ann")
    peer.command("SUBSCRIBE", {"id": "e", "destination": "/user/queue/errors"})
    several.settle()
    hold(several)
    for name in "ab":
        peer.send_to(TOPIC, name, receipt=name)
    several.settle()
    answer(several, 2)
    answer(several, 1, AppendOutcome.REFUSED)
    told, receipt = peer.frames()
    assert json.loads(told.body)["code"] == "backplane-unavailable"
    assert told.headers["receipt-id"] == "a"
    assert receipt.headers["receipt-id"] == "b"


def test_too_much_in_flight_is_told_at_once() -> None:
    with ExitStack() as stack:
        several = Several(stack, settings=BackplaneSettings(max_in_flight=1))
        peer, other = several.connect(), several.connect()
        hold(several)
        other.send_to(TOPIC, "x")
        peer.send_to(TOPIC, "y", receipt="r")
        assert peer.error().headers["code"] == "backplane-unavailable"


def test_what_an_interceptor_refuses_or_fails_at_is_never_sent() -> None:
    def prepare(app: StompApp) -> None:
        @app.outbound_interceptor()
        def look(message: object) -> None:
            body = message.body  # type: ignore[attr-defined]
            if body == b"veto":
                raise AccessDenied("not this")
            if body == b"bug":
                raise RuntimeError("oh")

    with ExitStack() as stack:
        several = Several(stack, prepare=prepare)
        codes = []
        for body in ("veto", "bug"):
            peer = several.connect()
            sent = hold(several)
            peer.send_to(TOPIC, body)
            codes.append(peer.error().headers["code"])
            assert sent == []
        assert codes == ["send-denied", "handler-failed"]


# Idempotency keys


def test_a_key_is_known_at_every_worker(several: Several) -> None:
    peers = [several.connect(worker, login="ann") for worker in range(2)]
    reader = several.connect(1)
    reader.command("SUBSCRIBE", {"id": "s", "destination": TOPIC})
    several.settle()
    found = []
    for peer in peers:
        peer.send_to(TOPIC, "x", receipt="r", idempotency_key="k")
        several.settle()
        found.append(peer.frame("RECEIPT").headers)
    first, second = found
    message = reader.message()
    assert first["message-id"] == second["message-id"] == message.headers["message-id"]
    assert ("duplicate" in first, second["duplicate"]) == (False, "true")
    reader.nothing()
    assert several.worlds[1].counters.messages_duplicate == 1


def test_the_same_key_with_another_body_is_a_mismatch(several: Several) -> None:
    peer = several.connect(login="ann")
    for body in ("x", "y"):
        peer.send_to(TOPIC, body, idempotency_key="k")
        several.settle()
    assert peer.error().headers["code"] == "idempotency-mismatch"


# SUBSCRIBE


def test_an_anonymous_session_has_user_destinations_of_its_own(several: Several) -> None:
    several.engine.disconnect()
    several.connect().subscribe("/user/queue/mine")


def test_a_local_destination_is_subscribed_without_the_engine(several: Several) -> None:
    several.engine.disconnect()
    several.connect().subscribe("/topic/here")


def test_a_subscribe_whose_session_ends_meanwhile_leaves_nothing(several: Several) -> None:
    several.engine.disconnect()
    peer = several.connect()
    peer.command("SUBSCRIBE", {"id": "s", "destination": TOPIC})
    peer.eof()
    several.engine.reconnect()
    several.settle()
    assert TOPIC not in several.worlds[0].broker.delivery.registry.topics
    assert not several.worlds[0].broker.sessions


def test_all_that_was_done_before_a_connection_was_lost_is_told_as_done(
    several: Several, monkeypatch: pytest.MonkeyPatch
) -> None:
    sender, reader = several.connect(), several.connect(1)
    reader.subscribe("/topic/a")
    several.settle()
    reader.frames()
    bodies = [str(number) for number in range(20)]
    first = link(several)
    monkeypatch.setattr(several.engine, "moved", lambda link: None)
    for body in bodies:
        sender.send_to("/topic/a", body, receipt=body)
    while first.commands:
        first.execute()
    first.lose()
    monkeypatch.undo()
    first.connect()
    several.engine.moved(link(several))
    for other in several.engine.links.values():
        several.engine.moved(other)
    several.settle()
    assert [each.headers["receipt-id"] for each in sender.frames()] == bodies
    assert several.worlds[0].counters.backplane_repeats == 20
    assert several.bodies(reader) == bodies

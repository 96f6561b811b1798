"""What a SUBSCRIBE asks for and what an UNSUBSCRIBE means, read off their headers."""

from __future__ import annotations

from typing import Any

import pytest

from stocksync_ws.broker.frames.subscribe_options import (
    ALL,
    SubscribeOptions,
    ended_keys,
    read_subscribe,
    wants_durable,
)
from stocksync_ws.broker.model.ledger import AckMode
from stocksync_ws.broker.model.session import SessionRecord
from stocksync_ws.codes import ErrorCode
from stocksync_ws.config import Limits
from stocksync_ws.errors import RemoteProtocolError
from stocksync_ws.stomp.frame import Frame
from tests.broker.kit import record

LIMITS = Limits(ack_window=50, max_subscriptions=3)


def read(session: SessionRecord | None = None, **headers: str) -> SubscribeOptions:
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    fields = {"destination": "/topic/a", "id": "s"} | fields
    frame = Frame("SUBSCRIBE", {name: value for name, value in fields.items() if value != "-"})
    return read_subscribe(session or record(), frame, LIMITS)


def subscribed(**destinations: str) -> SessionRecord:
    """A session with subscriptions of these keys to these destinations."""
    session = record()
    for key, destination in destinations.items():
        each: Any = type("Subscribed", (), {"destination": destination})()
        session.subscriptions.active[key] = each
    return session


def refused(session: SessionRecord | None = None, **headers: str) -> ErrorCode:
    with pytest.raises(RemoteProtocolError) as caught:
        read(session, **headers)
    assert caught.value.command == "SUBSCRIBE"
    return caught.value.code


@pytest.mark.parametrize(
    ("name", "value"),
    [("prefetch-count", "0"), ("durable", "false"), ("persistent", "0"), ("last-message-id", "-")],
)
def test_what_is_said_as_if_it_were_not_changes_nothing(name: str, value: str) -> None:
    assert read(**{name: value}) == read()


def test_what_is_not_said_is_auto_the_whole_window_and_from_now_on() -> None:
    assert read() == SubscribeOptions(
        key="s",
        id="s",
        mode=AckMode.AUTO,
        prefetch=50,
        durable=False,
        last_message_id=None,
        history=None,
        receipt=False,
    )


def test_what_is_said_is_read() -> None:
    wanted = read(ack="client", prefetch_count="7", last_message_id="e-5", receipt="r")
    assert (wanted.mode, wanted.prefetch) == (AckMode.CLIENT, 7)
    assert (wanted.last_message_id, wanted.receipt) == ("e-5", True)


@pytest.mark.parametrize("mode", ["auto", "client", "client-individual"])
def test_there_are_three_ways_to_acknowledge(mode: str) -> None:
    assert read(ack=mode).mode.value == mode


@pytest.mark.parametrize("mode", ["", "AUTO", "Client", "client ", "individual"])
def test_and_no_other(mode: str) -> None:
    assert refused(ack=mode) is ErrorCode.BAD_ACK_MODE


@pytest.mark.parametrize(
    ("count", "prefetch"),
    [("0", 50), ("1", 1), ("49", 49), ("50", 50), ("51", 50), ("007", 7), ("9" * 10, 50)],
)
def test_a_count_narrows_the_window_and_never_widens_it(count: str, prefetch: int) -> None:
    assert read(prefetch_count=count).prefetch == prefetch


@pytest.mark.parametrize("count", ["", "-1", "+1", "1.0", "x", "1 ", "٤", "²", "9" * 11])
def test_a_count_is_a_number(count: str) -> None:
    assert refused(prefetch_count=count) is ErrorCode.BAD_HEADER


@pytest.mark.parametrize(
    ("text", "history"), [("all", ALL), ("0", 0), ("7", 7), ("007", 7), ("9" * 10, ALL - 1)]
)
def test_a_history_is_a_number_of_messages_or_all(text: str, history: int) -> None:
    assert read(history=text).history == history


@pytest.mark.parametrize("text", ["", "ALL", "all ", "-1", "+1", "1.0", "live", "٤", "²", "9" * 11])
def test_and_nothing_else(text: str) -> None:
    assert refused(history=text) is ErrorCode.BAD_HEADER


@pytest.mark.parametrize(
    ("headers", "durable"),
    [
        ({"durable": "true"}, True),
        ({"persistent": "true"}, True),
        ({"durable": "false", "persistent": "true"}, True),
        ({"durable": "true", "persistent": "false"}, True),
        ({"durable": "True"}, True),
        ({"durable": "TRUE"}, True),
        ({"durable": "1"}, True),
        ({"persistent": "1"}, True),
        ({"durable": "0"}, False),
        ({"durable": "False"}, False),
        ({"auto-delete": "false"}, False),
        ({}, False),
    ],
)
def test_a_durable_name_is_wanted_in_these_words(headers: dict[str, str], durable: bool) -> None:
    assert wants_durable(Frame("UNSUBSCRIBE", headers)) is durable
    assert read(**headers).durable is durable


@pytest.mark.parametrize("value", ["", "yes", "2", "true ", "tru\u0435"])
@pytest.mark.parametrize("name", ["durable", "persistent"])
def test_and_in_no_other(name: str, value: str) -> None:
    assert refused(**{"durable": "true", name: value}) is ErrorCode.BAD_HEADER
    assert refused(**{"persistent": "true", name: value}) is ErrorCode.BAD_HEADER


def test_a_selector_is_not_taken_for_one_that_works() -> None:
    assert refused(selector="") is ErrorCode.UNSUPPORTED


@pytest.mark.parametrize("subscription_id", ["a\x1bb", "\x7f", "a\nb", "\0/topic/a"])
def test_an_id_is_printable(subscription_id: str) -> None:
    assert refused(id=subscription_id) is ErrorCode.BAD_HEADER
    frame = Frame("UNSUBSCRIBE", {"id": subscription_id})
    with pytest.raises(RemoteProtocolError) as caught:
        ended_keys(record(), frame)
    assert caught.value.code is ErrorCode.BAD_HEADER


def test_an_id_may_be_empty_and_any_other_text() -> None:
    assert read(id="").key == ""
    assert read(id="é ü").key == "é ü"


def test_an_id_that_is_in_use_is_refused_also_by_a_reply_queue() -> None:
    session = subscribed(s="/topic/other")
    assert refused(session) is ErrorCode.DUPLICATE_SUBSCRIPTION
    session.subscriptions.reply_queues = {"/temp-queue/x": "/reply-queue/1"}
    assert refused(session, id="/temp-queue/x") is ErrorCode.DUPLICATE_SUBSCRIPTION
    assert read(session, id="t").key == "t"


def test_one_subscription_too_many_is_refused() -> None:
    assert read(subscribed(a="/topic/a", b="/topic/b")).key == "s"
    session = subscribed(a="/topic/a", b="/topic/b", c="/topic/c")
    assert refused(session) is ErrorCode.LIMIT_COUNT


def test_without_an_id_the_destination_is_the_key_and_no_id_is_equal_to_it() -> None:
    wanted = read(id="-")
    assert (wanted.key, wanted.id) == ("\0/topic/a", None)
    assert read(id="/topic/a").key != wanted.key
    assert refused(subscribed(**{wanted.key: "/topic/a"}), id="-") is (
        ErrorCode.DUPLICATE_SUBSCRIPTION
    )


@pytest.mark.pure("hands over a stand-in; compiled code takes its own records")
class TestEndedKeys:
    """Which subscriptions an UNSUBSCRIBE means."""

    def test_an_id_means_its_own_whatever_else_is_said(self) -> None:
        session = subscribed(a="/topic/x", b="/topic/x")
        frame = Frame("UNSUBSCRIBE", {"id": "a", "destination": "/topic/x"})
        assert ended_keys(session, frame) == ["a"]
        assert ended_keys(record(), frame) == ["a"]

    def test_a_destination_means_all_that_is_subscribed_to_it(self) -> None:
        session = subscribed(a="/topic/x", b="/topic/y", c="/topic/x")
        frame = Frame("UNSUBSCRIBE", {"destination": "/topic/x"})
        assert ended_keys(session, frame) == ["a", "c"]

    def test_where_there_is_none_it_is_the_key_that_one_without_an_id_would_have(self) -> None:
        frame = Frame("UNSUBSCRIBE", {"destination": "/topic/x"})
        assert ended_keys(subscribed(b="/topic/y"), frame) == ["\0/topic/x"]

"""The template: mistakes are raised to whoever made them, everything else is a draft."""

from __future__ import annotations

import re
from decimal import Decimal
from enum import Enum
from typing import Any

import pytest

from stocksync_ws import ConversionError, StompApp
from stocksync_ws.broker.model.namespace import MOST_FOUND
from stocksync_ws.broker.model.publication import Draft, Published
from stocksync_ws.config import BrokerConfig, Limits
from stocksync_ws.errors import BrokerClosed
from stocksync_ws.messaging.template import MessagingTemplate
from stocksync_ws.testing.world import World
from stocksync_ws.types import ToDestination, ToUser
from tests.broker.kit import User, everybody_is


class Gate:
    """Takes everything down."""

    def __init__(self) -> None:
        self.drafts: list[Draft] = []

    def post(self, draft: Draft) -> None:
        self.drafts.append(draft)

    async def publish(self, draft: Draft) -> Published:
        self.drafts.append(draft)
        return Published("e-1", 2)

    def publish_wait(self, draft: Draft, timeout: float) -> Published:
        self.drafts.append(draft)
        self.timeout = timeout
        return Published("e-2", 3)


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
def template(gate: Gate) -> MessagingTemplate:
    return MessagingTemplate(gate, BrokerConfig(limits=Limits(max_outbound_message=1_000)))


@pytest.mark.parametrize(
    ("payload", "body", "content_type"),
    [
        ("é", "é".encode(), "text/plain;charset=utf-8"),
        (b"\xff", b"\xff", "application/octet-stream"),
        ({"a": Decimal("1.50")}, b'{"a":"1.50"}', "application/json"),
        (None, b"null", "application/json"),
    ],
)
def test_convert_and_send(
    template: MessagingTemplate, gate: Gate, payload: object, body: bytes, content_type: str
) -> None:
    template.convert_and_send("/topic/a", payload, {"n": "1"})
    [draft] = gate.drafts
    assert (draft.target, draft.body) == (ToDestination("/topic/a"), body)
    assert draft.headers == (("content-type", content_type), ("n", "1"))


def test_a_given_content_type_wins(template: MessagingTemplate, gate: Gate) -> None:
    template.convert_and_send("/queue/a", "<p>", {"content-type": "text/html"})
    assert gate.drafts[0].headers == (("content-type", "text/html"),)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("topic/a", "is not a destination that can be sent to"),
        ("/topic/*", "is not a destination that can be sent to"),
        ("/topic/{x}", "which is no variable here"),
        ("/user/ann/a", "use convert_and_send_to_user"),
        ("/app/a", "is under none of the broker prefixes"),
        ([], "a destination is a text"),
    ],
)
def test_a_mistake_is_raised_each_time(
    template: MessagingTemplate, gate: Gate, wrong: Any, said: str
) -> None:
    for _ in range(3):
        template.convert_and_send("/topic/a", 1)
        with pytest.raises(ValueError, match=said):
            template.convert_and_send(wrong, 1)
    assert len(gate.drafts) == 3


class Disguised(str):
    """A text that says that it is another one."""

    __slots__ = ()

    def __hash__(self) -> int:
        return hash("/topic/a")

    def __eq__(self, other: object) -> bool:
        return True


def test_a_destination_that_only_looks_like_a_known_one_is_checked(
    template: MessagingTemplate, gate: Gate
) -> None:
    template.convert_and_send("/topic/a", 1)
    with pytest.raises(ValueError, match="is not a destination"):
        template.convert_and_send(Disguised("nowhere"), 1)
    template.convert_and_send(Disguised("/topic/b"), 1)
    assert gate.drafts[1].target == ToDestination("/topic/b")
    assert type(gate.drafts[1].target.destination) is str


def test_destinations_that_are_known_to_be_right_are_bounded(
    template: MessagingTemplate, gate: Gate
) -> None:
    for number in range(MOST_FOUND + 10):
        template.convert_and_send(f"/topic/{number}", 1)
    assert 0 < len(template._drafts._checked) <= MOST_FOUND
    assert gate.drafts[-1].target == ToDestination(f"/topic/{MOST_FOUND + 9}")


def test_to_a_user(template: MessagingTemplate, gate: Gate) -> None:
    template.convert_and_send_to_user("a/queue/x", "/queue/errors", 1, {"n": "1"})
    [draft] = gate.drafts
    assert (draft.target, draft.body) == (ToUser("a/queue/x", "/queue/errors"), b"1")
    assert draft.headers == (("content-type", "application/json"), ("n", "1"))


def test_octets_as_they_are(template: MessagingTemplate, gate: Gate) -> None:
    template.send("/topic/a", b"\x00")
    template.send("/topic/a", b"x", {"content-type": "image/png"})
    assert [draft.headers for draft in gate.drafts] == [(), (("content-type", "image/png"),)]
    assert gate.drafts[0].body == b"\x00"


@pytest.mark.parametrize(
    ("destination", "problem"),
    [
        ("topic/a", "not a destination that can be sent to; it begins with a slash: '/topic/a'"),
        ("/topic//a", "not a destination"),
        ("/topic/*", "not a destination"),
        ("/topic/a\n", "not a destination"),
        ("/topic/" + "x" * 255, "not a destination"),
        ("/user/queue/a", "convert_and_send_to_user"),
        ("/app/a", "none of the broker prefixes; handlers are what clients send to: call the"),
        ("/nowhere", "under none of the broker prefixes"),
        ("/topic", "under none of the broker prefixes"),
    ],
)
def test_a_destination_that_cannot_be_sent_to(
    template: MessagingTemplate, gate: Gate, destination: str, problem: str
) -> None:
    with pytest.raises(ValueError, match=problem):
        template.convert_and_send(destination, 1)
    with pytest.raises(ValueError, match=problem):
        template.send(destination, b"")
    assert not gate.drafts


@pytest.mark.parametrize("destination", ["queue/a", "/user/queue/a", "/a", "/queue/*", "/queue/"])
def test_a_destination_of_a_user_that_cannot_be(
    template: MessagingTemplate, destination: str
) -> None:
    with pytest.raises(ValueError, match="without the user prefix"):
        template.convert_and_send_to_user("joe", destination, 1)


@pytest.mark.parametrize("body", ["text", bytearray(b"x"), None])
def test_what_is_sent_as_it_is_must_be_bytes(
    template: MessagingTemplate, gate: Gate, body: Any
) -> None:
    with pytest.raises(ValueError, match=f"bytes as they are, not {type(body).__name__}: use conv"):
        template.send("/topic/a", body)
    assert not gate.drafts


def test_nobody_is_no_user(template: MessagingTemplate) -> None:
    with pytest.raises(ValueError, match="must be the name of a user"):
        template.convert_and_send_to_user("", "/queue/a", 1)


@pytest.mark.parametrize("headers", [{"message-id": "x"}, {"simpUser": "x"}, {"": "x"}])
def test_reserved_headers_are_refused(template: MessagingTemplate, headers: dict[str, str]) -> None:
    for send in (
        lambda: template.convert_and_send("/topic/a", 1, headers),
        lambda: template.send("/topic/a", b"", headers),
        lambda: template.convert_and_send_to_user("joe", "/queue/a", 1, headers),
    ):
        with pytest.raises(ValueError, match="header"):
            send()


HEADERS: dict[str, Any] = {
    "a number": {"n": 5},
    "a list": {"n": ["a"]},
    "nothing": {"n": None},
    "octets": {"n": b"a"},
    "a name that is none": {5: "n"},
    "NUL": {"n": "a\0"},
    "a lone surrogate": {"n": "\ud800"},
    "a lone surrogate in a name": {"\ud800": "n"},
    "pairs": [("n", "a")],
    "no pairs": [],
    "a text": "text/plain",
}


@pytest.mark.parametrize("headers", HEADERS.values(), ids=HEADERS.keys())
def test_what_no_reader_could_be_sent_is_refused_where_it_comes_in(
    template: MessagingTemplate, gate: Gate, headers: Any
) -> None:
    with World(StompApp("/ws")) as world:
        for send in (
            lambda: template.convert_and_send("/topic/a", 1, headers),
            lambda: template.send("/topic/a", b"", headers),
            lambda: template.convert_and_send_to_user("joe", "/queue/a", 1, headers),
            lambda: template.publish_wait("/topic/a", 1, headers),
            lambda: world.run(template.publish("/topic/a", 1, headers)),
        ):
            with pytest.raises(ValueError, match="header"):
                send()
    assert not gate.drafts


@pytest.mark.parametrize("destination", [5, None, b"/topic/a", ("/topic/a",)])
def test_what_is_no_text_is_no_destination(
    template: MessagingTemplate, gate: Gate, destination: Any
) -> None:
    for send in (
        lambda: template.convert_and_send(destination, 1),
        lambda: template.send(destination, b""),
        lambda: template.publish_wait(destination, 1),
        lambda: template.convert_and_send_to_user("joe", destination, 1),
    ):
        with pytest.raises(ValueError, match=r"a destination is a text|must be like"):
            send()
    assert not gate.drafts


@pytest.mark.parametrize("timeout", [None, "5", -1, float("nan"), float("inf"), 1e9])
def test_a_time_that_no_thread_can_wait(
    template: MessagingTemplate, gate: Gate, timeout: Any
) -> None:
    with pytest.raises(ValueError, match="timeout is a number of seconds"):
        template.publish_wait("/topic/a", 1, timeout=timeout)
    assert not gate.drafts


def test_texts_of_an_enum_are_sent_by_their_value(template: MessagingTemplate, gate: Gate) -> None:
    class Word(str, Enum):  # noqa: UP042 - its `__str__` is the trap
        TOPIC = "/topic/a"
        QUEUE = "/queue/a"
        NAME = "name"

    template.convert_and_send(Word.TOPIC, b"", {Word.NAME: Word.NAME})
    template.convert_and_send_to_user(Word.NAME, Word.QUEUE, b"")
    first, second = gate.drafts
    assert [type(text) for pair in first.headers for text in pair] == [str] * 4
    assert first.headers[-1] == ("name", "name")
    assert [f"{text}" for text in (*first.target, *second.target)] == [
        "/topic/a",
        "name",
        "/queue/a",
    ]


def test_what_cannot_be_converted_is_the_callers_fault(template: MessagingTemplate) -> None:
    with pytest.raises(ConversionError):
        template.convert_and_send("/topic/a", float("nan"))
    with pytest.raises(ConversionError):
        template.convert_and_send("/topic/a", object())


def test_a_message_that_no_queue_can_hold(template: MessagingTemplate, gate: Gate) -> None:
    with pytest.raises(ValueError, match="larger than"):
        template.send("/topic/a", b"x" * 1_000)
    template.send("/topic/a", b"x" * 900)
    assert len(gate.drafts) == 1


async def _publish(template: MessagingTemplate) -> Any:
    return await template.publish("/topic/a", {"a": 1}, {"n": "1"})


def test_publish_tells_what_became_of_it(template: MessagingTemplate, gate: Gate) -> None:
    with World(StompApp("/ws")) as world:
        assert world.run(_publish(template)) == Published("e-1", 2)
    assert gate.drafts[0].body == b'{"a":1}'


class TestInAWorld:
    def test_before_the_start_it_is_kept_and_after_the_end_refused(self) -> None:
        app = StompApp("/ws", allowed_origins=["*"])
        app.template.convert_and_send("/topic/a", 1)
        with World(app) as world:
            assert world.counters.messages_published == 1
        with pytest.raises(BrokerClosed):
            app.template.convert_and_send("/topic/a", 1)

    def test_on_the_owner_thread_it_is_applied_at_once(self) -> None:
        app = StompApp("/ws", allowed_origins=["*"])
        with World(app) as world:
            peer = world.connect()
            peer.subscribe("/topic/a")
            app.template.convert_and_send("/topic/a", 1)
            assert world.counters.messages_queued == 1
            world.settle()
            assert peer.message().headers["content-type"] == "application/json"

    def test_publish_counts_the_subscriptions(self) -> None:
        app = StompApp("/ws", allowed_origins=["*"])
        with World(app) as world:
            peer = world.connect()
            peer.subscribe("/topic/a", "1")
            peer.subscribe("/topic/a", "2")
            published = world.run(_publish(app.template))
            assert published == Published(peer.frame().headers["message-id"], 2)


def test_a_lone_surrogate_reaches_nobody(template: MessagingTemplate, gate: Gate) -> None:
    for send in (template.convert_and_send, template.send):
        with pytest.raises(ValueError, match="not a destination"):
            send("/topic/\udc80", b"x")
    with pytest.raises(ValueError, match="without the user prefix"):
        template.convert_and_send_to_user("joe", "/queue/\udc80", b"x")
    with pytest.raises(ValueError, match="a lone surrogate is no character"):
        template.convert_and_send_to_user("joe\ud800", "/queue/a", b"x")
    assert gate.drafts == []


def test_a_principal_is_no_name(template: MessagingTemplate) -> None:
    somebody: Any = object()
    with pytest.raises(ValueError, match=r"such as user\.name"):
        template.convert_and_send_to_user(somebody, "/queue/a", 1)


def test_destination_and_payload_in_the_wrong_order(template: MessagingTemplate) -> None:
    payload: Any = {"a": 1}
    with pytest.raises(ValueError, match="it comes before the payload"):
        template.convert_and_send(payload, "/topic/a")


def test_publish_to_user_counts_the_subscriptions_of_the_user() -> None:
    app = StompApp("/ws", authenticator=everybody_is(User("ann")))
    with World(app) as world:
        peer = world.connect()
        peer.subscribe("/user/queue/news")
        publish = app.template.publish_to_user
        published = world.run(publish("ann", "/queue/news", {"a": 1}, {"n": "1"}))
        message = peer.message()
        assert published == Published(message.headers["message-id"], 1)
        assert (message.headers["n"], message.body) == ("1", b'{"a":1}')
        assert world.run(publish("bob", "/queue/news", 1)).receivers == 0
        with pytest.raises(ValueError, match="without the user prefix"):
            world.run(publish("ann", "/user/queue/news", 1))


def test_publish_wait_converts_and_passes_its_patience_on(
    template: MessagingTemplate, gate: Gate
) -> None:
    assert template.publish_wait("/topic/a", {"a": 1}, {"n": "1"}) == Published("e-2", 3)
    assert gate.timeout == 30.0
    template.publish_wait("/topic/a", "x", timeout=1.5)
    assert gate.timeout == 1.5
    assert gate.drafts[0].headers == (("content-type", "application/json"), ("n", "1"))
    with pytest.raises(ConversionError):
        template.publish_wait("/topic/a", object())
    assert len(gate.drafts) == 2


@pytest.mark.parametrize("segment", ["#", ">", "a.*", "a.#", "a.>"])
def test_wildcards_of_other_dialects_are_refused(template: MessagingTemplate, segment: str) -> None:
    with pytest.raises(ValueError, match="publish to each destination by itself"):
        template.convert_and_send(f"/topic/{segment}", "x")
    with pytest.raises(ValueError, match="must be like '/queue/errors'"):
        template.convert_and_send_to_user("ann", f"/queue/{segment}", "x")


@pytest.mark.parametrize(
    ("destination", "headers", "advice"),
    [
        ("", {}, "'' is not a destination that can be sent to: write one like '/topic/inventory'"),
        ("/", {}, "'/' is not a destination that can be sent to: write one like"),
        ("/app", {}, "none of the broker prefixes, but one itself: write '/topic/inventory'"),
        ("/topic", {}, "none of the broker prefixes, but one itself: write '/topic/inventory'"),
        ("/user", {}, "none of the broker prefixes, but one itself: write '/topic/inventory'"),
        ("/stock", {}, "is under none of the broker prefixes: write '/topic/stock'"),
        ("/topic/a", {"x": None}, "names and values are texts, not None: leave it out"),
        ("/topic/a", {"x": b"1"}, "not b'1': decode it, or send it as the body"),
        ("/topic/a", {"x": 1}, "write {'x': '1'}"),
    ],
)
def test_advice_leads_to_no_other_error(
    template: MessagingTemplate, destination: str, headers: Any, advice: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(advice)):
        template.convert_and_send(destination, 1, headers)

"""Every way in under `default_access="deny"`: what it needs, and that it does nothing without.

`WAYS` is the table of docs/security.md. Each way is tried on a WebSocket and on every transport of
SockJS: without a rule, with the rules that it needs, and with all of them but one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from stocksync_ws import (
    Authenticated,
    ConnectRequest,
    Frame,
    Latest,
    SockJSOptions,
    StompApp,
    Stream,
)
from stocksync_ws.testing.peer import Peer
from tests.broker.kit import User
from tests.wire.sockjs.client import Client, Web

Said = tuple[str, dict[str, str], str]

PAGE = Path(__file__).parents[2] / "docs" / "security.md"
TRANSPORTS = ("xhr", "xhr_streaming", "eventsource", "htmlfile", "jsonp")


def send(place: str, **headers: str) -> Said:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return "SEND", {"destination": place, **named}, "x"


def subscribe(place: str, **headers: str) -> Said:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return "SUBSCRIBE", {"destination": place, "id": "1", **named}, ""


def other(command: str, **headers: str) -> Said:
    return command, headers, ""


@dataclass(frozen=True)
class Way:
    """One way in."""

    what: str
    """The client's part, as the page says it."""
    needs: str
    """The rules, as the page says it."""
    tries: tuple[tuple[Said, ...], ...] = ()
    """Frames after CONNECT, of which the last one gets a receipt; each try by itself."""
    rules: tuple[str, ...] = ()
    """What opens it: frame and destination."""
    never: bool = False
    """No rule opens it."""
    proof: str = ""
    """The test of what is more than frames of one client."""
    code: str = ""
    """The refusal; empty: that of the last frame."""


DENIED = {"SEND": "send-denied", "SUBSCRIBE": "subscribe-denied"}
IN_T = {"transaction": "t"}

WAYS = (
    Way(
        "the upgrade, CONNECT",
        "none: the authenticators say who may",
        proof="test_the_upgrade_and_connect_are_the_business_of_the_authenticators",
    ),
    Way(
        "heart-beats, BEGIN, ABORT, COMMIT of nothing, DISCONNECT",
        "none: they reach no destination",
        (
            (other("BEGIN", transaction="t"),),
            (other("BEGIN", transaction="t"), other("ABORT", transaction="t")),
            (other("BEGIN", transaction="t"), other("COMMIT", transaction="t")),
            (other("DISCONNECT"),),
        ),
    ),
    Way(
        "UNSUBSCRIBE, ACK, NACK",
        "none: they name what the session was given",
        proof="test_what_a_session_was_given_it_may_settle_and_give_back",
    ),
    Way(
        "SUBSCRIBE, whatever its headers (`last-message-id`, `durable`, `ack`, `history`)",
        "for SUBSCRIBE, of the destination",
        (
            (subscribe("/topic/kept"),),
            (subscribe("/topic/kept", last_message_id="id1-72-1"),),
            (subscribe("/topic/kept", last_message_id="garbage"),),
            (subscribe("/topic/kept", durable="true"),),
            (subscribe("/topic/kept", ack="client"),),
            (subscribe("/topic/kept", ack="client-individual", prefetch="1"),),
            (subscribe("/topic/kept", history="all"),),
        ),
        ("SUBSCRIBE /topic/kept",),
    ),
    Way(
        "the same to a queue, which takes messages away",
        "for SUBSCRIBE, of the queue",
        ((subscribe("/queue/jobs"),), (subscribe("/queue/jobs", ack="client"),)),
        ("SUBSCRIBE /queue/jobs",),
    ),
    Way(
        "the same where there is a `@snapshot`, or the newest values of a `Latest`",
        "for SUBSCRIBE, of the destination; the roles of the `@snapshot` besides",
        (
            (subscribe("/topic/state"),),
            (subscribe("/topic/latest"),),
            (subscribe("/topic/state", last_message_id="id1-72-1"),),
        ),
        ("SUBSCRIBE /topic/state", "SUBSCRIBE /topic/latest"),
    ),
    Way(
        "SUBSCRIBE to `/app/…`, which a handler answers",
        "for SUBSCRIBE, of the destination; the roles of the handler besides",
        ((subscribe("/app/now"),),),
        ("SUBSCRIBE /app/now",),
    ),
    Way(
        "SUBSCRIBE to `/user/queue/…`, its own",
        "for SUBSCRIBE, of the destination as the client writes it",
        ((subscribe("/user/queue/mine"),), (subscribe("/user/topic/mine"),)),
        ("SUBSCRIBE /user/queue/mine", "SUBSCRIBE /user/topic/mine"),
    ),
    Way(
        "SUBSCRIBE to `/presence/topic/room/7`",
        "for SUBSCRIBE, of `/topic/room/7`: who may be there, may see who is",
        (
            (subscribe("/presence/topic/room/7"),),
            (subscribe("/presence/topic/room/7", last_message_id="id1-72-1"),),
            (subscribe("/presence/topic/room/7", history="all"),),
        ),
        ("SUBSCRIBE /topic/room/7",),
    ),
    Way(
        "SUBSCRIBE to `/user/queue/errors`, where it hears of refusals",
        "for SUBSCRIBE, of `/user/queue/errors`",
        ((subscribe("/user/queue/errors"),),),
        ("SUBSCRIBE /user/queue/errors",),
    ),
    Way(
        "SUBSCRIBE with a wildcard, or below the name of a user",
        "no rule opens it",
        (
            (subscribe("/topic/*"),),
            (subscribe("/topic/**"),),
            (subscribe("/user/joe/queue/mine"),),
            (subscribe("/user/*/queue/mine"),),
        ),
        never=True,
    ),
    Way(
        "SEND to a topic, a queue or a handler, with an idempotency key too",
        "for SEND, of the destination; the roles of the handler besides",
        (
            (send("/topic/kept"),),
            (send("/queue/jobs"),),
            (send("/app/work"),),
            (send("/topic/kept", idempotency_key="k"),),
            (send("/app/work", idempotency_key="k"),),
        ),
        ("SEND /topic/kept", "SEND /queue/jobs", "SEND /app/work"),
    ),
    Way(
        "a SEND whose idempotency key is known",
        "for SEND, as it was the first, and the roles of the handler as they are now: nothing is"
        " answered from memory",
        proof="test_a_repeat_is_judged_as_the_first_was",
    ),
    Way(
        "SUBSCRIBE to `/user/queue/credentials`, where it hears that they end",
        "for SUBSCRIBE, of `/user/queue/credentials`",
        ((subscribe("/user/queue/credentials"),),),
        ("SUBSCRIBE /user/queue/credentials",),
    ),
    Way(
        "SEND of new credentials to `/user/session/credentials`",
        "none: the authenticator judges them",
        ((send("/user/session/credentials"),),),
    ),
    Way(
        "SEND in a transaction",
        "for SEND, when it comes, not at COMMIT; a refusal ends the session, and with it the"
        " transaction",
        (
            (
                other("BEGIN", **IN_T),
                send("/topic/kept", transaction="t"),
                other("COMMIT", **IN_T),
            ),
            (other("BEGIN", **IN_T), send("/app/work", transaction="t"), other("COMMIT", **IN_T)),
        ),
        ("SEND /topic/kept", "SEND /app/work"),
        code="send-denied",
    ),
    Way(
        "`reply-to` on SEND",
        "for SEND, of both destinations; of a handler there also its `roles=`",
        (
            (send("/topic/kept", reply_to="/topic/answers"),),
            (send("/app/work", reply_to="/topic/answers"),),
        ),
        ("SEND /topic/answers", "SEND /topic/kept", "SEND /app/work"),
    ),
    Way(
        "`reply-to` on SUBSCRIBE",
        "for SUBSCRIBE, of the destination, and for SEND, of the other",
        ((subscribe("/app/now", reply_to="/topic/answers"),),),
        ("SUBSCRIBE /app/now", "SEND /topic/answers"),
    ),
    Way(
        "`reply-to:/temp-queue/…`",
        "for SEND, of the destination; none for the private queue",
        ((send("/topic/kept", reply_to="/temp-queue/a"),),),
        ("SEND /topic/kept",),
    ),
    Way(
        "SEND to the address that was made of it",
        "none: whoever was told the address may answer",
        proof="test_whoever_was_told_the_address_of_a_private_queue_may_answer",
    ),
    Way(
        "SUBSCRIBE to a private queue, or SEND to it by the name that its owner gave it",
        "no rule opens it",
        (
            (subscribe("/temp-queue/a"),),
            (subscribe("/reply-queue/a"),),
            (send("/temp-queue/a"),),
        ),
        never=True,
        code="no-destination",
    ),
    Way(
        "SEND below `/user`, but of new credentials",
        "no rule opens it",
        ((send("/user/queue/mine"),), (send("/user/joe/queue/mine"),)),
        never=True,
    ),
    Way(
        "nothing: handlers, listeners and the template send",
        "none: the server is no client",
        proof="test_what_the_server_sends_needs_no_rule",
    ),
)


def authenticate(request: ConnectRequest) -> Authenticated[User] | None:
    return Authenticated(User(request.login), expires_in=600) if request.login else None


@dataclass
class Site:
    """An application in which everything is closed but what these rules open."""

    rules: tuple[str, ...] = ()
    called: list[str] = field(default_factory=list[str])

    def make(self) -> StompApp:
        app = StompApp(
            "/ws",
            allowed_origins=["*"],
            authenticator=authenticate,
            client_send=["/topic/**", "/queue/**"],
            client_subscribe=["/topic/**", "/queue/**"],
            destinations={"/topic/kept": Stream(history=5), "/topic/latest": Latest()},
            heart_beat=(0, 0),
            sockjs=SockJSOptions.conformance(),
            default_access="deny",
            presence=["/topic/room/*"],
        )
        app.message_mapping("/work", inline=True)(self._note("work"))
        app.subscribe_mapping("/now", inline=True)(self._note("now"))
        app.snapshot("/topic/state", inline=True)(self._note("state"))
        for rule in self.rules:
            frame, _, place = rule.partition(" ")
            frames: Any = (frame,)
            app.authorize(place, frames=frames, anyone=True)
        return app

    def _note(self, what: str) -> Any:
        def call() -> None:
            self.called.append(what)

        return call


class Talk:
    """A client on a WebSocket, or on a transport of SockJS."""

    def __init__(self, web: Web, transport: str, name: str = "s1", login: str = "joe") -> None:
        self.peer: Peer | None = None
        self.sockjs: Client | None = None
        if transport == "websocket":
            self.peer = web.world.connect(login=login)
        else:
            self.sockjs = Client(web, name, transport)
            self.sockjs.pump_once()
            self.say("CONNECT", {"accept-version": "1.2", "login": login}, "")
            assert self.frames()[0].command == "CONNECTED"

    def say(self, command: str, headers: Mapping[str, str], body: str = "") -> None:
        if self.peer is not None:
            self.peer.command(command, dict(headers), body)
        elif self.sockjs is not None and self.sockjs.closed is None:
            self.sockjs.send(command, headers, body)

    def frames(self) -> list[Frame]:
        """Those that came since this was asked last."""
        if self.peer is not None:
            return list(self.peer.frames())
        assert self.sockjs is not None
        self.sockjs.pump()
        found, self.sockjs.stomp = self.sockjs.stomp, []
        return found

    def told(self) -> list[str]:
        """Commands, and codes of ERRORs."""
        return [frame.headers.get("code", frame.command) for frame in self.frames()]

    @property
    def closed(self) -> bool:
        ended = self.peer.closed if self.peer is not None else self.sockjs and self.sockjs.closed
        return ended is not None


TRIES = [(way, said) for way in WAYS for said in way.tries]
CARRIERS = ("websocket", *TRANSPORTS)


def _name(value: Way | tuple[Said, ...]) -> str:
    if isinstance(value, Way):
        return value.what[:40]
    return " ".join(filter(None, (value[-1][0], *value[-1][1].values())))


def attempt(way: Way, said: tuple[Said, ...], site: Site, transport: str) -> tuple[list[str], Any]:
    """Say the frames; what was told, and what they have done."""
    with Web(site.make()) as web:
        talk = Talk(web, transport)
        for at, (command, headers, body) in enumerate(said):
            if talk.closed:
                break
            last = {"receipt": "r"} if at == len(said) - 1 else {}
            talk.say(command, headers | last, body)
        told = [each for each in talk.told() if each != "MESSAGE"]
        broker = web.broker
        sessions = list(broker.sessions.values())
        done = (
            broker.counters.messages_published,
            [key for each in sessions for key in each.subscriptions.active],
            len(broker.delivery.idempotency),
            site.called[:],
        )
    return told, done


@pytest.mark.parametrize("transport", CARRIERS)
@pytest.mark.parametrize(("way", "said"), TRIES, ids=_name)
def test_without_a_rule_it_does_nothing_or_needs_none(
    way: Way, said: tuple[Said, ...], transport: str
) -> None:
    told, done = attempt(way, said, Site(), transport)
    if not way.rules and not way.never:
        assert told == ["RECEIPT"]
    else:
        assert told[-1] == refusal(way, said)
        assert "RECEIPT" not in told
        assert done == (0, [], 0, [])


def refusal(way: Way, said: tuple[Said, ...]) -> str:
    if way.code == "no-destination" or not way.code:
        command = said[-1][0]
        return way.code or DENIED[command]
    return way.code


def needed(way: Way, said: tuple[Said, ...]) -> list[str]:
    """Those of its rules that are about the destinations of this try."""
    names = ("destination", "reply-to")
    named = {headers.get(name, "") for _, headers, _ in said for name in names}
    named |= {place.removeprefix("/presence") for place in named}
    return [rule for rule in way.rules if rule.partition(" ")[2] in named]


@pytest.mark.parametrize("transport", ["websocket", "xhr"])
@pytest.mark.parametrize(("way", "said"), [each for each in TRIES if each[0].rules], ids=_name)
def test_with_its_rules_it_is_open_and_with_all_but_one_it_is_not(
    way: Way, said: tuple[Said, ...], transport: str
) -> None:
    rules = needed(way, said)
    assert rules
    told, _ = attempt(way, said, Site(tuple(rules)), transport)
    assert told == ["RECEIPT"]
    for left_out in rules:
        site = Site(tuple(rule for rule in rules if rule != left_out))
        told, done = attempt(way, said, site, transport)
        assert told[-1] == refusal(way, said), left_out
        assert done == (0, [], 0, [])


EVERYTHING = tuple(
    f"{frame} {place}"
    for frame, places in {
        "SEND": ("/topic/**", "/queue/**", "/app/**"),
        "SUBSCRIBE": ("/topic/**", "/queue/**", "/app/**", "/user/queue/**", "/user/topic/**"),
    }.items()
    for place in places
)


@pytest.mark.parametrize("transport", ["websocket", "xhr"])
@pytest.mark.parametrize(("way", "said"), [each for each in TRIES if each[0].never], ids=_name)
def test_what_no_rule_opens_is_closed_where_all_is_open(
    way: Way, said: tuple[Said, ...], transport: str
) -> None:
    told, done = attempt(way, said, Site(EVERYTHING), transport)
    assert told[-1] in (refusal(way, said), "bad-destination")
    assert done == (0, [], 0, [])


def test_every_rule_of_the_table_is_needed_by_a_try() -> None:
    for way in WAYS:
        used = {rule for said in way.tries for rule in needed(way, said)}
        assert used == set(way.rules), way.what
        assert bool(way.tries) != bool(way.proof), way.what
        assert not way.proof or way.proof in globals()


# Ways that are more than the frames of one client


@pytest.fixture
def opened(request: pytest.FixtureRequest) -> Iterator[Web]:
    """An application with the rules of the test."""
    with Web(Site(request.param).make()) as web:
        yield web


@pytest.mark.parametrize("opened", [()], indirect=True)
@pytest.mark.parametrize("transport", CARRIERS)
def test_the_upgrade_and_connect_are_the_business_of_the_authenticators(
    opened: Web, transport: str
) -> None:
    talk = Talk(opened, transport)
    assert not talk.closed
    assert opened.broker.counters.sessions == 1


@pytest.mark.parametrize("opened", [("SUBSCRIBE /queue/jobs",)], indirect=True)
@pytest.mark.parametrize("transport", CARRIERS)
def test_what_a_session_was_given_it_may_settle_and_give_back(opened: Web, transport: str) -> None:
    talk = Talk(opened, transport)
    talk.say("SUBSCRIBE", {"destination": "/queue/jobs", "id": "1", "ack": "client-individual"})
    for _ in range(2):
        opened.app.template.convert_and_send("/queue/jobs", "job")
        opened.world.settle()
    first, second = (frame.headers["ack"] for frame in talk.frames())
    talk.say("ACK", {"id": first, "receipt": "a"})
    talk.say("UNSUBSCRIBE", {"id": "1", "receipt": "b"})
    talk.say("NACK", {"id": second, "receipt": "c"})
    assert talk.told() == ["RECEIPT"] * 3


@pytest.mark.parametrize("transport", ["websocket", "xhr"])
def test_a_repeat_is_judged_as_the_first_was(transport: str) -> None:
    app, allowed = Site().make(), [True]

    @app.authorize("/topic/once", inline=True)
    def once(frame: Frame) -> bool:  # who reads the frame is asked each time
        return allowed[0]

    with Web(app) as web:
        repeat = send("/topic/once", idempotency_key="k", receipt="r")
        talk = Talk(web, transport)
        talk.say(*repeat)
        talk.say(*repeat)
        assert [frame.headers.get("duplicate") for frame in talk.frames()] == [None, "true"]
        allowed[0] = False
        again = Talk(web, transport, "s2")
        for each in (talk, again):
            each.say(*repeat)
            assert each.told() == ["send-denied"]
        assert web.broker.counters.messages_duplicate == 1


@pytest.mark.parametrize("opened", [("SEND /topic/kept", "SUBSCRIBE /topic/kept")], indirect=True)
@pytest.mark.parametrize("transport", ["websocket", "xhr"])
def test_whoever_was_told_the_address_of_a_private_queue_may_answer(
    opened: Web, transport: str
) -> None:
    asks, answers = Talk(opened, transport), Talk(opened, transport, "s2", "anna")
    answers.say(*subscribe("/topic/kept"))
    asks.say(*send("/topic/kept", reply_to="/temp-queue/a"))
    [question] = answers.frames()
    address = question.headers["reply-to"]
    assert re.fullmatch(r"/reply-queue/.+", address)
    answers.say("SEND", {"destination": address, "receipt": "r"}, "answer")
    assert answers.told() == ["RECEIPT"]
    assert [frame.body for frame in asks.frames()] == [b"answer"]


@pytest.mark.parametrize("opened", [("SUBSCRIBE /topic/kept",)], indirect=True)
@pytest.mark.parametrize("transport", CARRIERS)
def test_what_the_server_sends_needs_no_rule(opened: Web, transport: str) -> None:
    talk = Talk(opened, transport)
    talk.say(*subscribe("/topic/kept"))
    opened.app.template.convert_and_send("/topic/kept", "hello")
    opened.world.settle()
    assert [frame.body for frame in talk.frames()] == [b"hello"]


# The page


def test_the_page_has_this_table() -> None:
    section = PAGE.read_text().split("### What each way in needs under deny\n", 1)[1]
    rows = [line for line in section.split("\n#", 1)[0].splitlines() if line.startswith("|")]
    assert rows == [
        "| what a client does | the rule it needs |",
        "|---|---|",
        *(f"| {way.what} | {way.needs} |" for way in WAYS),
    ]

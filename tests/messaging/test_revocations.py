"""Random rules, users, frames, transports and revocations against a search through all rules.

    python -m tests.messaging.test_revocations --decisions 1000000 --seed 1

Rule: the oracle knows nothing of routers, caches and reviews. It looks through all rules for the
most specific one, asks it, and remembers what a session may have kept. After each act every client
is told exactly what the oracle says, and has exactly the subscriptions that it says.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Annotated, Any, Literal

import pytest

from stocksync_ws import (
    ConnectRequest,
    CurrentUser,
    Frame,
    Header,
    Limits,
    Queue,
    SockJSOptions,
    StompApp,
)
from stocksync_ws.testing.peer import Peer
from tests.messaging.test_rights import ERRORS, SEND, SUBSCRIBE, fits, rank, segments_of
from tests.wire.sockjs.client import Client as Page
from tests.wire.sockjs.client import Web

NAMES = ("ann", "bob", "a/queue/x", "%2F", "*")
KEYS = ("k1", "k2")
TRANSPORTS = (*("websocket",) * 3, "xhr", "xhr_streaming", "eventsource", "htmlfile", "jsonp")
KINDS = ("static", "known", "anyone", "inline", "async", "slow", "header")
Kind = Literal["static", "known", "anyone", "inline", "async", "slow", "header"]


@dataclass(frozen=True)
class User:
    name: str


@dataclass(frozen=True)
class Law:
    """A rule, as the oracle sees it."""

    number: int
    frames: tuple[str, ...]
    pattern: str
    kind: Kind
    roles: frozenset[str] = frozenset()


class Polled:
    """A client on a transport of SockJS, used as a `Peer` is."""

    def __init__(self, web: Web, number: int, transport: str, login: dict[str, str]) -> None:
        self._page = Page(web, f"s{number}", transport)
        self._page.pump_once()
        self.command("CONNECT", {"accept-version": "1.2", **login})
        assert [frame.command for frame in self.frames()] == ["CONNECTED"]

    def command(self, command: str, headers: dict[str, str], body: bytes | str = b"") -> None:
        text = body if isinstance(body, str) else body.decode()
        self._page.send(command, headers, text)

    def frames(self) -> list[Frame]:
        self._page.pump()
        found, self._page.stomp = self._page.stomp, []
        return found


@dataclass
class Client:
    """A session: what it is, and what the oracle says that it has."""

    peer: Peer | Polled
    name: str | None
    roles: frozenset[str]
    kept: dict[tuple[str, str], bool] = field(default_factory=dict[tuple[str, str], bool])
    has: dict[str, tuple[str, str]] = field(default_factory=dict[str, tuple[str, str]])
    """Destination and key of each subscription, by id."""


class Round:
    """One application, and what happens to it."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.dice = random.Random(seed)
        self.default = self.dice.choice(("allow", "deny"))
        self.roles = {name: self.some_roles() for name in NAMES}
        self.granted: dict[tuple[int, str | None, str], bool] = {}
        self.decisions = 0
        self.numbers = count(1)
        self.before: set[str] = set()
        """Subscriptions there were before the act: what came for them may still come."""
        self.app = StompApp(
            "/ws",
            authenticator=self.log_in,
            roles=self.roles_of,
            client_send=["/topic/**", "/queue/**"],
            client_subscribe=["/topic/**", "/queue/**"],
            destinations={"/queue/**": Queue()},
            default_access=self.default,
            heart_beat=(0, 0),
            # Clients poll at the end of an act, however long it takes.
            limits=Limits(send_stall_seconds=3_600, send_queue_seconds=3_600),
            sockjs=SockJSOptions(
                disconnect_delay=3_600, stream_bytes=1 << 30, htmlfile=True, jsonp=True
            ),
        )
        self.app.authorize(ERRORS, anyone=True)
        self.laws = [Law(0, (SUBSCRIBE,), ERRORS, "anyone")]
        self.declare()
        self.web = Web(self.app)
        self.world = self.web.world
        self.world.silent = False
        self.clients = [self.enter(name) for name in (*NAMES, *self.dice.sample(NAMES, 2), None)]

    # The application

    async def log_in(self, request: ConnectRequest) -> User | None:
        return None if request.login is None else User(request.login)

    async def roles_of(self, user: User) -> frozenset[str]:
        return self.roles[user.name]

    def some_roles(self) -> frozenset[str]:
        return frozenset(self.dice.sample("pqr", self.dice.randint(0, 3)))

    def declare(self) -> None:
        shapes: set[tuple[str, tuple[str, ...]]] = set()
        for number in range(1, self.dice.randint(2, 12)):
            pattern = self.some_pattern()
            frames: Any = self.dice.choice(((SEND,), (SUBSCRIBE,), (SEND, SUBSCRIBE)))
            if pattern.startswith("/user"):
                frames = (SUBSCRIBE,)
            new = {(frame, tuple(segments_of(pattern))) for frame in frames}
            if not new & shapes:
                shapes |= new
                kind: Any = self.dice.choice(KINDS)
                roles = frozenset(self.dice.sample("pqr", self.dice.randint(0, 1)))
                self.legislate(Law(number, frames, pattern, kind, roles))

    def some_pattern(self) -> str:
        names = iter(("{x}", "{y}", "{z}"))
        parts = [self.dice.choice(("a", "b", "*", next(names))) for _ in range(2)]
        parts = parts[: self.dice.randint(0, 2)] + ["**"] * self.dice.randint(0, 1)
        return "/".join((self.some_prefix(), *(parts or ["**"])))

    def some_prefix(self) -> str:
        return self.dice.choice(("/topic", "/topic", "/queue", "/user/queue"))

    def legislate(self, law: Law) -> None:
        frames: Any = law.frames
        if law.kind in ("static", "known", "anyone"):
            roles = law.roles if law.kind == "static" else frozenset[str]()
            if law.kind == "static" and not roles:
                roles = frozenset("p")
            law = Law(law.number, law.frames, law.pattern, law.kind, roles)
            self.app.authorize(
                law.pattern,
                frames=frames,
                roles=roles,
                authenticated=law.kind == "known",
                anyone=law.kind == "anyone",
            )
        else:
            decorate = self.app.authorize(
                law.pattern, frames=frames, roles=law.roles, inline=law.kind == "inline"
            )
            decorate(self.function_of(law))
        self.laws.append(law)

    def function_of(self, law: Law) -> Callable[..., Any]:
        def inline(user: CurrentUser[User] | None) -> bool:
            return self.grants(law, user, "")

        async def later(user: CurrentUser[User] | None) -> bool:
            await asyncio.sleep(0)
            return self.grants(law, user, "")

        async def slow(user: CurrentUser[User] | None) -> bool:
            granted = self.grants(law, user, "")
            await asyncio.sleep(1)
            return granted

        async def header(user: CurrentUser[User] | None, key: Annotated[str, Header()]) -> bool:
            return self.grants(law, user, key)

        functions = {"inline": inline, "async": later, "slow": slow, "header": header}
        return functions[law.kind]

    def grants(self, law: Law, user: User | None, key: str) -> bool:
        return self.granted.get((law.number, None if user is None else user.name, key), True)

    # The oracle

    def law_of(self, frame: str, destination: str) -> Law | None:
        found = [
            each for each in self.laws if frame in each.frames and fits(each.pattern, destination)
        ]
        return min(found, key=lambda each: rank(each.pattern), default=None)

    def kept(self, client: Client, frame: str, destination: str) -> bool | None:
        """What is decided without asking a function; None: one has to be asked."""
        law = self.law_of(frame, destination)
        if law is None:
            return self.default == "allow"
        if law.kind == "anyone":
            return True
        if (law.kind == "known" or law.roles) and client.name is None:
            return False
        if law.roles and not law.roles & client.roles:
            return False
        if law.kind in ("static", "known"):
            return True
        return client.kept.get((frame, destination))

    def may(self, client: Client, frame: str, destination: str, key: str) -> bool:
        self.decisions += 1
        known = self.kept(client, frame, destination)
        if known is not None:
            return known
        law = self.law_of(frame, destination)
        assert law is not None
        reads = law.kind == "header"
        granted = self.granted.get((law.number, client.name, key if reads else ""), True)
        if not reads:
            client.kept[frame, destination] = granted
        return granted

    def review(self, client: Client) -> list[str]:
        """What a session loses by a review."""
        client.kept.clear()
        if client.name is not None:
            client.roles = self.roles[client.name]
        lost = [
            number
            for number, (destination, key) in client.has.items()
            if not self.may(client, SUBSCRIBE, destination, key)
        ]
        for number in lost:
            del client.has[number]
        return lost

    # What happens

    def enter(self, name: str | None) -> Client:
        login = {} if name is None else {"login": name}
        transport = self.dice.choice(TRANSPORTS)
        peer: Peer | Polled
        if transport == "websocket":
            peer = self.world.connect(**login)
        else:
            peer = Polled(self.web, next(self.numbers), transport, login)
        peer.command(SUBSCRIBE, {"id": "errors", "destination": ERRORS})
        peer.frames()
        roles = frozenset[str]() if name is None else self.roles[name]
        return Client(peer, name, roles, has={"errors": (ERRORS, "")})

    def act(self) -> None:
        acts = (self.ask, self.publish, self.revoke, self.change, self.race)
        self.before = {number for client in self.clients for number in client.has}
        self.dice.choices(acts, (12, 3, 2, 1, 2))[0]()

    def some_frame(self) -> tuple[Client, str, str, str]:
        """Somebody sends a frame: who, which, where to, and with which key."""
        client = self.dice.choice(self.clients)
        prefix = self.some_prefix()
        frame = SUBSCRIBE if prefix == "/user/queue" else self.dice.choice((SEND, SUBSCRIBE))
        parts = self.dice.choices("abc", k=self.dice.randint(1, 2))
        return client, frame, "/".join((prefix, *parts)), self.dice.choice(KEYS)

    def send(self, client: Client, frame: str, destination: str, key: str) -> str:
        """Send a frame; its receipt, which is the id of a subscription too."""
        number = str(next(self.numbers))
        headers = {"destination": destination, "key": key, "receipt": number}
        headers |= {"id": number} if frame == SUBSCRIBE else {}
        client.peer.command(frame, headers, b"" if frame == SUBSCRIBE else number)
        return number

    def decide(
        self, client: Client, frame: str, destination: str, key: str, number: str
    ) -> tuple[str, str]:
        """What becomes of a frame, and what its sender is told."""
        if not self.may(client, frame, destination, key):
            return number, f"{frame.lower()}-denied"
        if frame == SUBSCRIBE:
            client.has[number] = destination, key
            self.before.add(number)  # what lies in a queue comes at once
        return number, "yes"

    def ask(self) -> None:
        client, frame, destination, _key = asked = self.some_frame()
        number = self.send(*asked)
        self.world.advance(1.5)
        told = self.decide(*asked, number)
        reached = frame == SEND and told[1] == "yes"
        self.check({told}, (destination, number.encode()) if reached else None)
        if number in client.has and self.dice.random() < 0.5:
            client.peer.command("UNSUBSCRIBE", {"id": number})
            del client.has[number]
            self.check(set())

    def publish(self) -> None:
        _, _, destination, _ = self.some_frame()
        body = str(next(self.numbers)).encode()
        if destination.startswith("/user"):
            name = self.dice.choice(NAMES)
            path = destination.removeprefix("/user")
            self.app.template.convert_and_send_to_user(name, path, body)
            self.world.settle()
            self.check(set(), (destination, body), name)
        elif destination.startswith("/topic"):
            self.app.template.convert_and_send(destination, body)
            self.world.settle()
            self.check(set(), (destination, body))

    def change(self, name: str | None = "") -> None:
        """Somebody gets other rights, and nobody is told."""
        name = self.dice.choice((*NAMES, None)) if name == "" else name
        for law in self.laws:
            for key in ("", *KEYS):
                self.granted[law.number, name, key] = self.dice.random() < 0.5
        if name is not None:
            self.roles[name] = self.some_roles()

    def reauthorize(self, name: str | None) -> set[tuple[str, str]]:
        """Judge a user anew, or the session of nobody; what is told of which subscription."""
        found = [each for each in self.clients if each.name == name]
        if name is not None:
            assert self.app.users.reauthorize(name) == len(found)
        else:
            [session] = [each for each in self.app.users.sessions() if each.user is None]
            assert self.app.users.reauthorize(session) == 1
        return {
            (number, "subscription-revoked") for client in found for number in self.review(client)
        }

    def revoke(self) -> None:
        name = self.dice.choice((*NAMES, None))
        self.change(name)
        told = self.reauthorize(name)
        self.world.advance(120)
        self.check(told)

    def race(self) -> None:
        """Rights of a client change while a function is asked about its frame: the answer to that
        question does not count.
        """
        client, frame, destination, _key = asked = self.some_frame()
        law = self.law_of(frame, destination)
        waits = law is not None and law.kind == "slow"
        waits = waits and self.kept(client, frame, destination) is None
        number = self.send(*asked)
        told: set[tuple[str, str]] = set()
        if not waits:
            told.add(self.decide(*asked, number))
        self.change(client.name)
        told |= self.reauthorize(client.name)
        if waits:
            told.add(self.decide(*asked, number))
        self.world.advance(120)
        self.check(told)

    # What is compared

    def check(
        self,
        told: set[tuple[str, str]],
        reached: tuple[str, bytes] | None = None,
        name: str | None = None,
    ) -> None:
        """Everybody is told what the oracle says, and has what it says.

        Args:
            told: Receipts or subscriptions, and a code or `yes`.
            reached: A destination, and the body of a message that its subscribers get.
            name: The one user who gets it; None: everybody.
        """
        came: set[tuple[str, str]] = set()
        for client in self.clients:
            bodies: list[str] = []
            for frame in client.peer.frames():
                at = frame.headers.get("subscription")
                if frame.command == "RECEIPT":
                    came.add((frame.headers["receipt-id"], "yes"))
                elif at == "errors":
                    code = json.loads(frame.body)
                    subject = code["receipt_id"] or frame.headers["revoked-subscription"]
                    came.add((subject, code["code"]))
                elif reached is not None and frame.body == reached[1]:
                    assert at is not None
                    bodies.append(at)
                else:
                    assert at in self.before, self.at(frame)
            if reached is not None and not reached[0].startswith("/queue"):
                wanted = [
                    number
                    for number, (destination, _) in client.has.items()
                    if destination == reached[0] and name in (None, client.name)
                ]
                assert sorted(bodies) == sorted(wanted), self.at(reached)
        assert came == told, self.at((came, told))
        self.compare()

    def compare(self) -> None:
        has = [
            (each.id, each.destination)
            for session in self.app.users.sessions()
            for each in self.app.users.subscriptions(session)
        ]
        wanted = [
            (number, destination)
            for client in self.clients
            for number, (destination, _) in client.has.items()
        ]
        assert has == wanted, self.at((has, wanted))

    def at(self, seen: object) -> object:
        """What is needed to see it again."""
        return self.seed, seen, self.laws


def decisions(seed: int, acts: int) -> int:
    """So many acts in one application; how many decisions that were."""
    there = Round(seed)
    with there.web:
        for _ in range(acts):
            there.act()
    return there.decisions


@pytest.mark.slow
def test_random_rights_are_taken_away_as_a_search_through_all_rules_says() -> None:
    assert sum(decisions(seed, 60) for seed in range(25)) > 1_500


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--decisions", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0, help="of the first application")
    given = parser.parse_args()
    logging.disable()  # every refusal has its line
    seed, done = given.seed, 0
    while done < given.decisions:
        done += decisions(seed, 400)
        seed += 1
    print(f"{done} decisions in {seed - given.seed} applications: none differs")


if __name__ == "__main__":
    main()

"""The comparison of the two brokers: what every client has, and whether the accounts add up.

Rule: everything that a client got is exactly what the naive broker says, in this order; who cannot
be looked into any more has a beginning of it.
"""

from __future__ import annotations

import json
from typing import Any

from stocksync_ws import SessionDisconnected
from stocksync_ws.broker.model.state import State
from stocksync_ws.testing.world import World
from tests.model import rules
from tests.model.application import Application
from tests.model.client import Client, Got
from tests.model.clock import Model, Thing
from tests.model.records import Job, Session

__all__ = ["Checks", "Diverged"]

MARKS = (
    "redelivered",
    "delivery-attempt",
    "replayed",
    "dropped",
    "recovered",
    "original-destination",
    "x-death-reason",
    "duplicate",
    "snapshot",
    "reply-to",
)
ABOUT = ("receipt-id", "command", "destination", "subscription")
SLIGHTLY = 1e-4
"""Seconds: a beat of the real broker is a tick later than the one before it asks for."""
STATES = {
    State.CONNECTED: "open",
    State.ENDING: "ending",
    State.CLOSING: "closing",
    State.CLOSED: "gone",
}


def readable(body: bytes) -> str:
    """A body as the naive broker knows it: of an error of the application, what it is about."""
    text = body.decode()
    if text.startswith("{"):
        about = json.loads(text)
        text = f"{about['code']}|{about['destination']}|{about['subscription']}"
    return text


class Diverged(AssertionError):
    """The two brokers do not agree."""


class Checks:
    """What is compared after every step."""

    application: Application
    world: World
    model: Model
    clients: list[Client]
    addresses: dict[str, str]
    """Reply queues: what the real broker calls them, and what the naive one does."""
    steps: int
    log: list[str]

    def compare(self) -> None:
        """Every client has what it must have, and the accounts add up."""
        for client in self.clients:
            for name, real in (client.real.subscriptions.reply_queues or {}).items():
                self.addresses.setdefault(real, f"reply:{client.twin.number}:{name}")
        for client in self.clients:
            self.compare_client(client)
        self.compare_accounts()

    def compare_client(self, client: Client) -> None:
        twin = client.twin
        expected = [self.expected(each) for each in twin.out + twin.mailbox]
        got = client.got
        for read in client.raw[1 + len(got) :]:
            place = len(got)
            got.append(self.plain(read, expected[place] if place < len(expected) else None))
        whole = not (client.stuck or client.stream.aborted or client.cut)
        if got != expected[: len(got)] or (whole and len(got) != len(expected)):
            pairs = enumerate(zip(got, expected, strict=False))
            at = next((n for n, (one, other) in pairs if one != other), -1)
            self.fail(
                f"client {twin.number}, at {at}:\n got      {got[at:][:8]}\n"
                f" expected {expected[at:][:8]}\n ({len(got)} of {len(expected)} frames)"
            )
        if twin.state != STATES[client.real.state]:
            self.fail(f"client {twin.number} is {client.real.state}, not {twin.state}")
        if twin.state == "open" and client.stuck != twin.stuck:
            self.fail(f"client {twin.number} is stuck: {client.stuck}, not {twin.stuck}")
        task = client.real.inbound.task
        if bool(task and task.call) != bool(twin.job):
            self.fail(f"client {twin.number} runs {task}, not {twin.job}")
        if twin.state == "gone":
            self.compare_gone(client)
        else:
            self.compare_session(client)

    def compare_gone(self, client: Client) -> None:
        if client.real.subscriptions.unacknowledged != client.twin.unacknowledged:
            self.fail(f"unacknowledged: {client.real.subscriptions.unacknowledged}")
        if client.real.mailbox.entries or client.real.mailbox.queued:
            self.fail("a mailbox of a dead session")

    def compare_session(self, client: Client) -> None:
        real, twin = client.real, client.twin
        if [*real.subscriptions.active] != [*twin.subs]:
            self.fail(
                f"client {twin.number} has {[*real.subscriptions.active]}, not {[*twin.subs]}"
            )
        for sub_id, ledger in (real.subscriptions.ledgers or {}).items():
            mine = [d.message.body for d in twin.ledgers[sub_id]]
            theirs = [readable(d.publication.body) for d in ledger]
            if mine != theirs:
                self.fail(f"client {twin.number}, ledger {sub_id}: {theirs}, not {mine}")
        deadline = self.model.session_due(twin)
        if deadline is not None and (real.deadline is None or real.deadline > deadline + SLIGHTLY):
            self.fail(f"client {twin.number} wakes at {real.deadline}, not {deadline}")

    def compare_accounts(self) -> None:
        broker, counters = self.world.broker, self.world.counters
        if counters.messages_dead != self.model.dead:
            self.fail(f"dead letters: {counters.messages_dead}, {self.model.dead}")
        if len(broker.sessions) != len(self.model.sessions):
            self.fail(f"{len(broker.sessions)} sessions, not {len(self.model.sessions)}")
        groups = [
            group for c in broker.delivery.registry.known.values() for group in c.groups.values()
        ]
        if sum(group.refs for group in groups) != self.readers():
            self.fail(f"{sum(group.refs for group in groups)} readers, not {self.readers()}")
        for address, place in self.model.places.items():
            whole = rules.is_queue(address) or address in rules.WITH_HISTORY
            first = 0 if whole else self.model.needed(address)
            mine = [m.body for m in place.log if m.offset >= first]
            theirs = self.kept(self.channel(address), whole)
            if theirs != mine:
                self.fail(f"{address} keeps {theirs}, not {mine}")

    def kept(self, channel: Any, whole: bool) -> list[str]:
        """What is kept of a destination, or what of it somebody has still to read."""
        if channel is None:
            return []
        first = 0
        if not whole:
            away = [name for name in channel.durables.values() if name.holder is None]
            read = [each.next for each in [*channel.behind, *away]]
            first = min(read, default=channel.log.top + 1)
        return [readable(each.body) for at, each in channel.log if at >= first]

    def readers(self) -> int:
        """Subscriptions that read a destination, those of private queues too."""
        sessions = self.model.sessions
        own = sum(len(session.subs) for session in sessions)
        return own + sum(len(session.replies) for session in sessions)

    # From one to the other

    def channel(self, address: str) -> Any:
        """What the real broker keeps of an address of the naive one."""
        store = self.world.broker.delivery.registry
        if address in rules.PLACES:
            return store.find(address)
        if address.startswith("reply:"):
            known = [real for real, alias in self.addresses.items() if alias == address]
            return store.find(known[0]) if known else None
        owner, path = address.split(":")
        if owner.startswith("#"):
            ids = [c.real.id for c in self.clients if c.twin.owner == owner]
            owner = "\0" + ids[0] if ids else owner
        return store.find((owner, path))

    def order(self, thing: Thing) -> tuple[float, int]:
        """Where it stands in the real heap."""
        if isinstance(thing, Session):
            found = self.client_of(thing).real
        elif isinstance(thing, Job):
            found = self.client_of(thing.session).real.inbound.task
        else:
            found = self.channel(thing)
        return (0.0, 0) if found is None else (found.armed_at, found.armed)

    def ended_at(self, session: Session) -> int:
        """Where its end stands among those that the real one has told; behind them, if nowhere."""
        events = self.application.events
        ended = [each.session_id for each in events if isinstance(each, SessionDisconnected)]
        mine = self.client_of(session).real.id
        return ended.index(mine) if mine in ended else len(ended)

    def client_of(self, session: Session) -> Client:
        return next(client for client in self.clients if client.twin is session)

    def expected(self, each: tuple[object, ...]) -> Got:
        kind, text, marks = each[:3]
        if kind == "MESSAGE":
            text = f"{each[3].id}:{each[3].said}:{text}"  # type: ignore[attr-defined]
        return kind, text, marks  # type: ignore[return-value]

    def plain(self, read: tuple[str, dict[str, str], bytes], expected: Got | None) -> Got:
        """What came, as the naive broker says it."""
        kind, headers, body = read
        self.learn(headers, expected)
        said = {name: self.addresses.get(value, value) for name, value in headers.items()}
        if kind == "ERROR":
            about = {name: said[name] for name in ABOUT if name in said}
            # Of garbage the naive broker knows no more than the code.
            return kind, said["code"], about if expected and expected[2] else {}
        marks = {name: said[name] for name in MARKS if name in said}
        if kind == "RECEIPT":
            if "last-message-id" in said:
                marks["offset"] = said["last-message-id"].rpartition("-")[2]
            return kind, said["receipt-id"], marks
        if kind != "MESSAGE":
            return kind, body.decode(), {}
        text = readable(body)
        if said["destination"] in rules.WITH_HISTORY:
            marks["offset"] = said["message-id"].rpartition("-")[2]
        if said["destination"] == rules.ERRORS and "receipt-id" in said:
            marks["receipt-id"] = said["receipt-id"]
        return kind, f"{said['subscription']}:{said['destination']}:{text}", marks

    def learn(self, headers: dict[str, str], expected: Got | None) -> None:
        """The name of a reply queue is a secret of the real broker: taken as it first comes."""
        real = headers.get("reply-to")
        if real is not None and real not in self.addresses and expected is not None:
            self.addresses[real] = expected[2].get("reply-to", "")
        # An answer may be all that is left of a queue whose session has ended in the same step.
        place, name = headers.get("destination", ""), headers.get("subscription", "")
        if place.startswith("/reply-queue/") and place not in self.addresses and expected:
            self.addresses[place] = expected[1].removeprefix(f"{name}:").rpartition(":")[0]

    def fail(self, problem: str) -> None:
        raise Diverged(f"step {self.steps}: {problem}\n" + "\n".join(self.log[-60:]))

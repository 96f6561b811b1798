"""The comparison of the two brokers: what every client has, and whether the accounts add up."""

from __future__ import annotations

from typing import Any

from stocksync_ws.broker.session import Session as RealSession
from stocksync_ws.broker.session import State
from stocksync_ws.testing.peer import Peer
from stocksync_ws.testing.world import World
from tests.model import naive
from tests.model.frames import Model
from tests.model.naive import Session

__all__ = ["Checks", "Client", "Diverged"]

MARKS = (
    "redelivered",
    "delivery-attempt",
    "replayed",
    "dropped",
    "recovered",
    "original-destination",
    "x-death-reason",
    "duplicate",
)


class Diverged(AssertionError):
    """The two brokers do not agree."""


class Client:
    """One session on both sides."""

    def __init__(self, peer: Peer, real: RealSession, twin: Session) -> None:
        self.peer = peer
        self.real = real
        self.twin = twin
        self.got: list[tuple[str, str, dict[str, str]]] = []
        self.headers: list[dict[str, str]] = []
        self.cut = False
        """The client is gone; nothing can be seen of it any more."""


class Checks:
    """What is looked at after every step, and at the end."""

    world: World
    model: Model
    clients: list[Client]
    steps: int
    log: list[str]

    def look(self) -> None:
        """Which transports are stuck is the one thing that the naive broker is told."""
        for client in self.clients:
            client.twin.stuck = bool(client.peer.stream.unsent)

    def check(self) -> None:
        """Every client has what it must have, and the accounts add up."""
        for client in self.clients:
            self.check_client(client)
        self.check_accounts()
        for client in [c for c in self.clients if not c.twin.alive]:
            self.forget(client)

    def check_client(self, client: Client) -> None:
        for frame in client.peer.frames():
            client.got.append(_plain(frame))
            client.headers.append(dict(frame.headers))
        if not client.twin.alive and client.peer.closed is not None:
            client.got.append(("CLOSE", str(client.peer.closed), {}))
        expected = [_expected(each) for each in client.twin.out + client.twin.mailbox]
        stream = client.peer.stream
        whole = not (stream.unsent or stream.aborted or client.cut)
        got = client.got
        if got != expected[: len(got)] or (whole and len(got) != len(expected)):
            pairs = enumerate(zip(got, expected, strict=False))
            at = next((n for n, (one, other) in pairs if one != other), -1)
            self.fail(
                f"client {client.twin.number}, at {at}:\n got      {got[at:][:8]}\n"
                f" expected {expected[at:][:8]}\n ({len(got)} of {len(expected)} frames)"
            )
        if client.twin.alive != (client.real.state is State.CONNECTED):
            self.fail(f"client {client.twin.number} is {client.real.state}")

    def forget(self, client: Client) -> None:
        if client.real.unacknowledged != client.twin.unacknowledged:
            self.fail(f"unacknowledged: {client.real.unacknowledged}")
        client.peer.eof()
        if client.real.mailbox or client.real.queued:
            self.fail("a mailbox of a dead session")
        self.clients.remove(client)
        self.model.sessions.remove(client.twin)

    def check_accounts(self) -> None:
        broker, counters = self.world.broker, self.world.counters
        if counters.internal_errors or counters.stuck_deadlines or counters.stalls:
            problem = counters.internal_errors, counters.stuck_deadlines, counters.stalls
            self.fail(f"internal errors, stuck deadlines, stalls: {problem}")
        if counters.messages_dead != self.model.dead:
            self.fail(f"dead letters: {counters.messages_dead}, {self.model.dead}")
        if broker.outbox.total != self.waiting():
            self.fail(f"{broker.outbox.total} octets wait, not {self.waiting()}")
        channels = broker.store.channels.values()
        if broker.store.tally.size != sum(channel.log.size for channel in channels):
            self.fail("the tally of what is stored does not add up")
        if broker.store.queues != sum(channel.queue is not None for channel in channels):
            self.fail("the number of queues does not add up")
        for client in self.clients:
            self.check_session(client)
        for dest, place in self.model.places.items():
            channel = broker.store.find(dest)
            kept = 0 if channel is None else len(channel.log)
            if kept != len(place.log):
                self.fail(f"{dest} keeps {kept}, not {len(place.log)}")

    def waiting(self) -> int:
        entries = {
            id(entry): entry.size
            for client in self.clients
            for entry in client.real.mailbox
            if entry.waiting
        }
        return sum(entries.values())

    def check_session(self, client: Client) -> None:
        real, twin = client.real, client.twin
        if real.queued != sum(entry.size for entry in real.mailbox):
            self.fail(f"client {twin.number}: {real.queued} octets queued")
        for sub_id, ledger in (real.ledgers or {}).items():
            mine = [d.message.body for d in twin.ledgers[sub_id]]
            theirs = [d.publication.body.decode() for d in ledger]
            if mine != theirs:
                self.fail(f"client {twin.number}, ledger {sub_id}: {theirs}, not {mine}")
        deadline = self.model.session_due(twin)
        if deadline is not None and (real.deadline is None or real.deadline > deadline):
            self.fail(f"client {twin.number} wakes at {real.deadline}, not {deadline}")

    def fail(self, problem: str) -> None:
        raise Diverged(f"step {self.steps}: {problem}\n" + "\n".join(self.log[-60:]))

    def finish(self) -> None:
        """Everybody leaves, time passes: nothing is left."""
        for client in self.clients:
            client.peer.eof()
            self.model.end(client.twin)
        self.clients.clear()
        self.world.advance(4000.0)
        broker = self.world.broker
        with_history = {naive.STREAM, naive.LATEST}
        for dest, channel in list(broker.store.channels.items()):
            if channel.queue is not None:
                if len(channel.log) == 0 or channel.queue.consumers or channel.queue.delayed:
                    self.fail(f"left: {dest}")
                if channel.queue.attempts.keys() - {offset for offset, _ in channel.log}:
                    self.fail(f"left: attempts of {dest}")
            elif dest not in with_history:
                self.fail(f"left: {dest}")
            if channel.groups or channel.behind or channel.durables:
                self.fail(f"left: subscriptions of {dest}")
        if broker.life.sessions or broker.outbox.total or broker.tasks.running:
            self.fail("left: sessions, octets or tasks")
        self.world.close()


def _plain(frame: Any) -> tuple[str, str, dict[str, str]]:
    headers = frame.headers
    marks = {name: headers[name] for name in MARKS if name in headers}
    if frame.command == "MESSAGE":
        if headers["destination"] in (naive.STREAM, naive.LATEST):
            marks["offset"] = headers["message-id"].rpartition("-")[2]
        return "MESSAGE", f"{headers['subscription']}:{frame.body.decode()}", marks
    if frame.command == "RECEIPT":
        if "last-message-id" in headers:
            marks["offset"] = headers["last-message-id"].rpartition("-")[2]
        return "RECEIPT", headers["receipt-id"], marks
    return frame.command, headers["code"], {}


def _expected(each: tuple[Any, ...]) -> tuple[str, str, dict[str, str]]:
    kind, text, marks = each[:3]
    return kind, f"{each[3].id}:{text}" if kind == "MESSAGE" else text, marks

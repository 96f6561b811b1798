"""One client of the soak: it lives the connections of its plan, and keeps the books of what it was
promised.

Rule: what it does is drawn from its plan; what has to come of it is the ledger's to say.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import NamedTuple

from tests.soak.ledger import Holding, Ledger, LiveReader, Publication, State, StreamReader
from tests.soak.link import PATIENCE, Link, Lost, Message
from tests.soak.places import DURABLE, ECHO, QUEUES, REPLIES, STREAMS, TOPICS, solo
from tests.soak.plan import Life

__all__ = ["Actor", "Subscription"]

WINDOW = 40
"""Unsettled messages of a subscription that are settled before anything else is done."""


@dataclass(eq=False)
class Subscription:
    """A subscription of the connection that there is."""

    id: str
    destination: str
    mode: str
    """Its `ack`."""
    reader: LiveReader | None = None
    holding: Holding | None = None
    unsettled: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    """What is to be settled: the name of the publication, and the headers of its ACK."""

    @property
    def comes_back(self) -> bool:
        """A next connection goes on with it."""
        return self.destination in STREAMS or self.destination in DURABLE


class _Taken(NamedTuple):
    """What a transaction acknowledged of one subscription."""

    subscription: Subscription
    holding: Holding
    names: list[str]
    before: list[tuple[str, dict[str, str]]]
    """What is to be settled again if the transaction is not committed."""


class Actor:
    """A client.

    Args:
        queues: What each queue holds; shared by all clients.
    """

    def __init__(self, ledger: Ledger, port: int, name: str, queues: dict[str, Holding]) -> None:
        self.ledger = ledger
        self.name = name
        self.cuts = self.lives = self.recoveries = self.restarts = 0
        self._port = port
        self._queues = queues
        self._streams: dict[str, StreamReader] = {}
        self._durables: dict[str, Holding] = {}
        self._subscriptions: dict[str, Subscription] = {}
        self._ids = count(1)
        self._asked: set[str] = set()
        self._link: Link
        self._choices = TOPICS + STREAMS + DURABLE + QUEUES + (solo(int(name.split(".")[0])),)

    def _complain(self, text: str) -> None:
        self.ledger.violate(f"client {self.name}: {text}")

    # Connections

    async def live(self, life: Life, over: Callable[[], bool]) -> None:
        """One connection."""
        self.lives += 1
        try:
            await self._open(life.version)
            for name, numbers in life.steps:
                if over():
                    break
                await self._settle_much()
                await self._STEPS[name](self, numbers)
            await (self._end_well() if over() else self._ENDS[life.end](self))
        except (Lost, TimeoutError) as problem:
            if isinstance(problem, TimeoutError):
                self._complain("an answer did not come")
            await self._give_up()

    async def _open(self, version: str) -> None:
        self._subscriptions.clear()
        self._asked.clear()
        self._link = await Link.open(self._port, self.name, version, self._hear, self._complain)
        await self._subscribe(REPLIES)
        for destination in (*self._streams, *self._durables):
            await self._subscribe(destination)

    async def _cut(self) -> None:
        self.cuts += 1
        await self._link.cut()

    async def _give_up(self) -> None:
        """It is lost, or does not answer; the first one may not even have begun."""
        if hasattr(self, "_link"):
            await self._link.cut()

    async def _close(self) -> None:
        await self._link.close()

    async def _cut_in_transaction(self) -> None:
        await self._transaction((0, 2, 1, 2, 3, 4, 5, 6))
        await self._cut()

    async def _end_well(self) -> None:
        """DISCONNECT: everything that was promised has come before its RECEIPT."""
        until = self.ledger.stamp()
        await self._link.disconnect()
        for each in self._subscriptions.values():
            if each.reader is not None and not each.comes_back:
                each.reader.finish(until)
        if self._asked:
            self._complain(f"{len(self._asked)} answers of a handler did not come")

    async def finish(self) -> None:
        """Read everything that streams and durable names still have, and give them up."""
        try:
            await self._open("1.2")
            until = self.ledger.stamp()
            readers: list[LiveReader | Holding] = [*self._streams.values()]
            readers += self._durables.values()
            try:
                async with asyncio.timeout(PATIENCE):
                    while any(each.missing(until) for each in readers):
                        await self._settle_all()
                        await asyncio.sleep(0.02)
            except TimeoutError:
                pass  # What is missing is told by `finish`.
            await self._settle_all()
            for reader in readers:
                reader.finish(until)
            for each in [each for each in self._subscriptions.values() if each.comes_back]:
                durable = {"durable": "true"} if each.holding is not None else {}
                await self._link.ask("UNSUBSCRIBE", {"id": each.id} | durable)
            await self._link.disconnect()
        except (Lost, TimeoutError):
            self._complain("the last connection ended")
            await self._give_up()

    # What comes

    def _hear(self, message: Message) -> None:
        subscription = self._subscriptions.get(message.headers["subscription"])
        if subscription is None:
            self._complain(f"a MESSAGE for {message.headers['subscription']}, which is over")
            return
        if "dropped" in message.headers:
            self._complain(f"{message.headers['dropped']} messages were dropped")
        if subscription.destination == REPLIES:
            self._answered(message.body)
            return
        found = self.ledger.find(message.body)
        if found is None:
            return
        if found.destination != subscription.destination:
            self._complain(f"{found.name} came from {subscription.destination}")
        if subscription.reader is not None:
            subscription.reader.take(found, message.headers["message-id"])
        if subscription.holding is not None:
            redelivered = message.headers.get("redelivered") == "true"
            subscription.holding.take(found, redelivered)
            headers = message.headers
            ack = (
                {"id": headers["ack"]}
                if "ack" in headers
                else {
                    "message-id": headers["message-id"],
                    "subscription": headers["subscription"],
                }
            )
            subscription.unsettled.append((found.name, ack))

    def _answered(self, body: str) -> None:
        self.ledger.delivered += 1
        if body in self._asked:
            self._asked.remove(body)
        else:
            self._complain(f"the answer {body!r} came, and nobody waited for it")

    # Subscriptions

    async def _step_subscribe(self, numbers: tuple[int, ...]) -> None:
        destination = self._choices[numbers[0] % len(self._choices)]
        kept = self._streams.keys() | self._durables.keys()
        single = destination in STREAMS + DURABLE or destination.startswith("/queue/solo/")
        taken = any(each.destination == destination for each in self._subscriptions.values())
        if destination in kept or (single and taken) or len(self._subscriptions) > 12:
            return
        await self._subscribe(destination, ("client", "client-individual")[numbers[1] % 2])

    async def _subscribe(self, destination: str, mode: str = "client-individual") -> None:
        """SUBSCRIBE, and wait until it is active."""
        each = Subscription(f"s{next(self._ids)}", destination, "auto")
        headers = {"destination": destination}
        label = f"client {self.name} at {destination}"
        if destination in TOPICS:
            each.reader = LiveReader(self.ledger, destination, label)
        elif destination in STREAMS:
            reader = StreamReader(self.ledger, destination, label)
            each.reader = reader = self._streams.setdefault(destination, reader)
            if reader.last:
                headers["last-message-id"] = reader.last
        elif destination in DURABLE:
            holding = Holding(self.ledger, destination, label, ordered=True)
            each.holding = self._durables.setdefault(destination, holding)
            each.id, each.mode = f"d{destination[-1]}", "client-individual"
            headers["durable"] = "true"
        elif destination != REPLIES:
            each.holding, each.mode = self._queues[destination], mode
        self._subscriptions[each.id] = each
        headers |= {"id": each.id, "ack": each.mode}
        await self._link.ask("SUBSCRIBE", headers, done=lambda got: self._subscribed(each, got))

    def _subscribed(self, each: Subscription, headers: dict[str, str]) -> None:
        reader = each.reader or each.holding
        if isinstance(reader, StreamReader):
            if headers.get("recovered") == "true":
                self.recoveries += 1
            else:
                self.restarts += bool(reader.last)
                reader.begin_anew(headers.get("last-message-id", ""))
        elif reader is not None and not reader.since:
            reader.since = self.ledger.stamp()

    async def _step_unsubscribe(self, numbers: tuple[int, ...]) -> None:
        """End a subscription that no later connection goes on with."""
        open_ = [
            each for each in self._subscriptions.values() if each.destination in TOPICS + QUEUES
        ]
        if not open_:
            return
        each = open_[numbers[0] % len(open_)]
        until = self.ledger.stamp()
        await self._link.ask("UNSUBSCRIBE", {"id": each.id})
        del self._subscriptions[each.id]
        if each.reader is not None:
            each.reader.finish(until)

    # SEND

    async def _send(self, number: int, size: int, receipt: bool, **more: str) -> Publication:
        destination = self._choices[number % len(self._choices)]
        found = self.ledger.send(destination, self.name, held="transaction" in more)
        headers = {"destination": destination} | more
        done = (lambda _: None) if more else (lambda _: self.ledger.promise(found))
        await self._link.send("SEND", headers, found.body(size), receipt=receipt, done=done)
        return found

    async def _step_send(self, numbers: tuple[int, ...]) -> None:
        await self._send(numbers[0], numbers[1] % 400, numbers[2] % 2 == 0)

    async def _step_burst(self, numbers: tuple[int, ...]) -> None:
        for _ in range(numbers[1] % 20):
            await self._send(numbers[0], numbers[2] % 400, False)
        await self._send(numbers[0], 0, True)

    async def _step_ask(self, numbers: tuple[int, ...]) -> None:
        body = f"{self.name} {self.ledger.stamp()}"
        self._asked.add(body)
        await self._link.ask("SEND", {"destination": ECHO, "content-type": "text/plain"}, body)
        if body in self._asked:
            self._complain(f"the answer {body!r} did not come before the RECEIPT")

    async def _step_pause(self, numbers: tuple[int, ...]) -> None:
        await asyncio.sleep(numbers[0] % 30 / 1000)

    # ACK and NACK

    async def _settle_much(self) -> None:
        for each in list(self._subscriptions.values()):
            if len(each.unsettled) > WINDOW:
                await self._settle(each, len(each.unsettled), "ACK")

    async def _settle_all(self) -> None:
        for each in list(self._subscriptions.values()):
            await self._settle(each, len(each.unsettled), "ACK")

    async def _step_settle(self, numbers: tuple[int, ...]) -> None:
        open_ = [each for each in self._subscriptions.values() if each.unsettled]
        if open_:
            each = open_[numbers[0] % len(open_)]
            how = ("ACK", "ACK", "ACK", "NACK", "REJECT")[numbers[1] % 5]
            if how == "REJECT" and each.destination not in QUEUES:
                how = "NACK"
            await self._settle(each, 1 + numbers[2] % len(each.unsettled), how)

    async def _settle(self, each: Subscription, number: int, how: str, **more: str) -> list[str]:
        """Settle the oldest; the last frame asks for a RECEIPT outside of a transaction."""
        taken, each.unsettled = each.unsettled[:number], each.unsettled[number:]
        names = [name for name, _ in taken]
        frames = taken[-1:] if each.mode == "client" else taken
        headers = more | ({"requeue": "false"} if how == "REJECT" else {})
        holding = each.holding
        assert holding is not None or not taken
        for place, (name, ack) in enumerate(frames, 1):
            covered = names if each.mode == "client" else [name]
            if holding is not None and how != "NACK" and not more:
                holding.perhaps.update(covered)
            await self._link.send(
                "ACK" if how == "ACK" else "NACK",
                headers | ack,
                receipt=place == len(frames) and not more,
                done=self._settles(holding, covered, how) if not more else lambda _: None,
            )
        return names

    def _settles(
        self, holding: Holding | None, names: list[str], how: str
    ) -> Callable[[dict[str, str]], None]:
        def done(headers: dict[str, str]) -> None:
            if holding is not None and how != "NACK":
                for name in names:
                    holding.settle(name, acknowledged=how == "ACK")

        return done

    # Transactions

    async def _transaction(self, numbers: tuple[int, ...]) -> None:
        """BEGIN, SENDs and ACKs, then what `numbers[1]` says: 0 COMMIT, 1 ABORT, 2 nothing."""
        how = numbers[1] % 3
        name = f"t{next(self._ids)}"
        await self._link.send("BEGIN", {"transaction": name})
        sent = [
            await self._send(number, number % 200, False, transaction=name)
            for number in numbers[3 : 4 + numbers[2] % 5]
        ]
        acks = [each for each in self._subscriptions.values() if each.unsettled]
        taken: list[_Taken] = []
        for each in acks[: numbers[0] % 3]:
            before = each.unsettled[: 1 + numbers[2] % 3]
            names = await self._settle(each, len(before), "ACK", transaction=name)
            assert each.holding is not None
            taken.append(_Taken(each, each.holding, names, before))
        if how == 0:
            await self._commit(name, sent, taken)
            return
        for found in sent:
            found.state = State.FORBIDDEN
        for acked in taken:
            acked.subscription.unsettled[:0] = acked.before
        if how == 1:
            await self._link.ask("ABORT", {"transaction": name})

    async def _commit(self, name: str, sent: list[Publication], taken: list[_Taken]) -> None:
        for found in sent:
            found.state = State.SENT
        for acked in taken:
            acked.holding.perhaps.update(acked.names)

        def done(headers: dict[str, str]) -> None:
            for found in sent:
                self.ledger.promise(found)
            for acked in taken:
                for settled in acked.names:
                    acked.holding.settle(settled)

        await self._link.ask("COMMIT", {"transaction": name}, done=done)

    async def _step_transaction(self, numbers: tuple[int, ...]) -> None:
        await self._transaction((numbers[0], numbers[1] % 2, *numbers[2:]))

    _STEPS = {
        "send": _step_send,
        "settle": _step_settle,
        "pause": _step_pause,
        "subscribe": _step_subscribe,
        "transaction": _step_transaction,
        "burst": _step_burst,
        "ask": _step_ask,
        "unsubscribe": _step_unsubscribe,
    }
    _ENDS = {
        "cut": _cut,
        "disconnect": _end_well,
        "close": _close,
        "cut in a transaction": _cut_in_transaction,
    }

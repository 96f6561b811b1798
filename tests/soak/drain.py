"""The last consumer of a round: it takes everything that the queues still hold."""

from __future__ import annotations

import asyncio

from tests.soak.ledger import Holding, Ledger
from tests.soak.link import PATIENCE, Link, Lost, Message
from tests.soak.places import DEAD

__all__ = ["Drain"]


class Drain:
    """Reads all queues, the dead letters too, and acknowledges."""

    def __init__(self, ledger: Ledger, queues: dict[str, Holding]) -> None:
        self._ledger = ledger
        self._queues = queues
        self._destinations = dict(enumerate([*queues, DEAD]))
        self._unsettled: list[tuple[Holding | None, str, str]] = []

    async def run(self, port: int) -> None:
        """Until everything that was promised is settled, or nothing more comes."""
        link = await Link.open(port, "drain", "1.2", self._hear, self._complain)
        until = self._ledger.stamp()
        try:
            for number, destination in self._destinations.items():
                headers = {"destination": destination, "ack": "client-individual"}
                await link.ask("SUBSCRIBE", headers | {"id": str(number)})
            async with asyncio.timeout(PATIENCE):
                while True:
                    await self._settle(link)
                    if not any(self._waits(each, until) for each in self._queues.values()):
                        break
                    await asyncio.sleep(0.02)
        except TimeoutError:
            pass  # What is missing is told by `finish`.
        except Lost:
            self._complain("the connection ended")
        if not link.over:
            await self._settle(link)
            await link.disconnect()
        for holding in self._queues.values():
            holding.finish(until)

    def _waits(self, holding: Holding, until: int) -> bool:
        return bool(holding.missing(until) or holding.rejected - holding.dead)

    def _complain(self, text: str) -> None:
        self._ledger.violate(f"the drain: {text}")

    def _hear(self, message: Message) -> None:
        found = self._ledger.find(message.body)
        destination = self._destinations[int(message.headers["subscription"])]
        ack = message.headers["ack"]
        if found is None:
            self._unsettled.append((None, "", ack))
        elif destination == DEAD:
            self._queues[found.destination].bury(found)
            self._unsettled.append((None, "", ack))
        else:
            redelivered = message.headers.get("redelivered") == "true"
            self._queues[destination].take(found, redelivered)
            self._unsettled.append((self._queues[destination], found.name, ack))

    async def _settle(self, link: Link) -> None:
        while self._unsettled:
            taken, self._unsettled = self._unsettled, []
            for holding, name, ack in taken[:-1]:
                if holding is not None:
                    holding.settle(name)
                await link.send("ACK", {"id": ack})
            holding, name, ack = taken[-1]
            if holding is not None:
                holding.settle(name)
            await link.ask("ACK", {"id": ack})

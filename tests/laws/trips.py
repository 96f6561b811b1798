"""Trips: which files one message runs through, and how often it comes back to one it had left.

python -m tests.laws.trips                   the table that docs/contributing/architecture.md shows
python -m tests.laws.trips ACK               every call of the trips whose name begins so
PYTHONPATH=PATH python tests/laws/trips.py   the same for another checkout

Rule: a trip is every call of a function of the package that `sys.setprofile` sees in a `World`, on
one thread and a virtual clock, from the bytes (or the call) that begin it until nothing is ready
any more. A generator that goes on counts as a call. `stocksync_ws.testing` stands for the socket
and the peer, and is left out. A *change* is a call in another file than the call before; a *return*
is a change to a file in which the trip had been already. Numbers of the page are of Python 3.11:
later ones make no call for a comprehension, and begin an `async def` at once.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from types import FrameType
from typing import Any

import stocksync_ws
from stocksync_ws import StompApp, Stream, send_to
from stocksync_ws.stomp.encoder import encode
from stocksync_ws.stomp.frame import Version
from stocksync_ws.testing import Peer, World, client_frame

PACKAGE = Path(stocksync_ws.__file__).parent
LEFT_OUT = "testing/"


@dataclass(frozen=True)
class Trip:
    """Calls in order, each as its file below the package and its function."""

    calls: tuple[tuple[str, str], ...]

    @property
    def files(self) -> set[str]:
        return {file for file, _ in self.calls}

    @property
    def changes(self) -> int:
        files = [file for file, _ in self.calls]
        return sum(one != other for one, other in pairwise(files))

    @property
    def returns(self) -> int:
        return self.changes - (len(self.files) - 1)

    @property
    def broker_files(self) -> int:
        return sum(file.startswith("broker/") for file in self.files)

    def row(self, name: str) -> str:
        numbers = (len(self.calls), len(self.files), self.broker_files, self.changes, self.returns)
        return f"| {name} | {' | '.join(map(str, numbers))} |"


HEAD = """\
| trip | calls | files | of these in broker/ | changes | returns |
|---|--:|--:|--:|--:|--:|"""


@dataclass
class Adjustment:
    product_id: str
    quantity: int


class Tour(World):
    """A world that is traced: subscribers of a topic, and one client more."""

    def __init__(self, readers: int = 3, ack: str = "auto") -> None:
        self.app = StompApp(
            "/ws",
            client_send=("/topic/**",),
            destinations={"/topic/history": Stream()},
        )

        @self.app.message_mapping("/adjust")
        @send_to("/topic/stock")
        async def adjust(adjustment: Adjustment) -> Adjustment:
            return adjustment

        super().__init__(self.app)
        self.readers = [self.connect() for _ in range(readers)]
        for reader in self.readers:
            reader.subscribe("/topic/stock", "s", ack=ack)
        self.client = self.connect()

    def traced(self, work: Callable[[], object]) -> Trip:
        """Do something, and let the world come to rest."""
        calls: list[tuple[str, str]] = []

        def see(frame: FrameType, event: str, _: Any) -> None:
            path = Path(frame.f_code.co_filename)
            if event == "call" and path.is_relative_to(PACKAGE):
                file = path.relative_to(PACKAGE).as_posix()
                if not file.startswith(LEFT_OUT):
                    calls.append((file, frame.f_code.co_name))

        self.settle()
        sys.setprofile(see)
        try:
            work()
            self.settle()
        finally:
            sys.setprofile(None)
        return Trip(tuple(calls))

    def fed(self, peer: Peer, command: str, headers: Mapping[str, str], body: bytes = b"") -> Trip:
        """A frame comes from a client."""
        data = client_frame(1, encode(command, headers, body, Version.V12))
        return self.traced(lambda: self.runtime.driver.feed(peer.stream.link, data))

    def publish(self, destination: str) -> None:
        """Publish from the server's side."""
        self.app.template.convert_and_send(destination, {"quantity": 7})


def template_publish() -> Trip:
    with Tour() as world:
        world.publish("/topic/stock")  # the first one makes what the others share
        world.settle()
        return world.traced(lambda: world.publish("/topic/stock"))


def send_to_handler() -> Trip:
    body = b'{"product_id":"kettle","quantity":7}'
    with Tour() as world:
        headers = {"destination": "/app/adjust", "receipt": "r"}
        return world.fed(world.client, "SEND", headers, body)


def send_to_topic() -> Trip:
    with Tour() as world:
        headers = {"destination": "/topic/stock", "receipt": "r"}
        return world.fed(world.client, "SEND", headers, b"{}")


def acknowledge() -> Trip:
    with Tour(ack="client-individual") as world:
        world.publish("/topic/stock")
        reader = world.readers[0]
        return world.fed(reader, "ACK", {"id": reader.message().headers["ack"]})


def recover() -> Trip:
    with Tour() as world:
        world.readers[0].subscribe("/topic/history", "h")
        for _ in range(4):
            world.publish("/topic/history")
        seen = world.readers[0].message().headers["message-id"]
        headers = {"destination": "/topic/history", "id": "h", "receipt": "r"}
        trip = world.fed(world.client, "SUBSCRIBE", headers | {"last-message-id": seen})
        assert [f.command for f in world.client.frames()] == ["RECEIPT", *["MESSAGE"] * 3]
        return trip


def lose_connection() -> Trip:
    with Tour(readers=1) as world:
        link = world.readers[0].stream.link
        return world.traced(lambda: world.runtime.driver.ended(link))


TRIPS: Mapping[str, Callable[[], Trip]] = {
    "template publishes to 3 subscribers, one flush": template_publish,
    "SEND to an async handler, `@send_to` 3 subscribers, RECEIPT": send_to_handler,
    "SEND to a topic with 3 subscribers, RECEIPT": send_to_topic,
    "ACK, `client-individual`": acknowledge,
    "SUBSCRIBE with `last-message-id`, 3 replayed, RECEIPT": recover,
    "connection lost, 1 subscription, the last of its topic": lose_connection,
}


def main() -> None:
    chosen = " ".join(sys.argv[1:])
    print(HEAD)
    for name, trip in TRIPS.items():
        if name.startswith(chosen):
            measured = trip()
            print(measured.row(name))
            for file, function in measured.calls if chosen else ():
                print(f"    {file}  {function}")


if __name__ == "__main__":
    main()

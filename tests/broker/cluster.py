"""Several workers over one engine in memory, for the tests of what they share."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self

from stocksync_ws import PresenceJoined, PresenceLeft, StompApp
from stocksync_ws.backplane import BackplaneSettings
from stocksync_ws.broker.calls.events import SessionDisconnected
from stocksync_ws.testing.backplane import MemoryBackplane, MemoryLink
from stocksync_ws.testing.peer import Peer
from stocksync_ws.testing.world import World
from tests.broker.kit import authenticate

__all__ = ["Cluster"]

STEP = 0.5
"""Virtual seconds that a worker may be ahead of another."""


class Cluster:
    """Workers of one application.

    Args:
        workers: How many.
        prepare: Declares handlers at each.
        settings: Of the engine.
        listens: Events are kept.
        given: Of the application.
    """

    def __init__(
        self,
        workers: int = 2,
        prepare: Callable[[StompApp], None] | None = None,
        settings: BackplaneSettings | None = None,
        *,
        listens: bool = True,
        **given: Any,
    ) -> None:
        self.engine = MemoryBackplane(settings)
        self.told: list[tuple[int, object]] = []
        """Events, and the workers that told them."""
        self.apps: list[StompApp] = []
        self.worlds: list[World] = []
        self._prepare = prepare
        self._listens = listens
        self._given: dict[str, Any] = {"authenticator": authenticate, **given}
        self._stack = ExitStack()
        for _ in range(workers):
            self.start()

    def start(self) -> int:
        """One worker more; its number."""
        number = len(self.apps)
        app = StompApp("/ws", allowed_origins=["*"], backplane=self.engine, **self._given)

        def hear(event: PresenceJoined | PresenceLeft | SessionDisconnected) -> None:
            self.told.append((number, event))

        if self._listens:
            kinds = PresenceJoined, PresenceLeft, SessionDisconnected
            app.event_listener(*kinds, inline=True)(hear)
        if self._prepare is not None:
            self._prepare(app)
        self.apps.append(app)
        self.worlds.append(self._stack.enter_context(World(app, raise_errors=False)))
        self.settle()
        return number

    def settle(self) -> None:
        """Run what is ready at all workers, until nothing is."""
        for _ in range(4):
            for world in self.worlds:
                world.settle()

    def advance(self, seconds: float) -> None:
        """Let time pass at all workers."""
        self.settle()
        left = seconds
        while left > 0:
            step = min(STEP, left)
            left -= step
            for world in self.worlds:
                if not world.loop.is_closed():
                    world.advance(step)
        self.settle()

    def connect(self, worker: int = 0, login: str | None = None) -> Peer:
        """A client of a worker that outlives resets; anonymous without a login."""
        headers = {} if login is None else {"login": login}
        peer = self.worlds[worker].connect(on_reset="message", **headers)
        self.settle()
        return peer

    def subscribe(self, peer: Peer, destination: str) -> Peer:
        """A subscription that is active."""
        peer.subscribe(destination)
        self.settle()
        return peer

    def link(self, worker: int) -> MemoryLink:
        """A worker's way to the engine: `lose` cuts it off, `connect` brings it back."""
        return self.engine.links[self.worlds[worker].broker.worker]

    def kill(self, worker: int) -> None:
        """A worker is gone without a word; what runs of it reaches nobody."""
        link = self.link(worker)
        link._drop()
        del self.engine.links[link.worker]

    def bodies(self, peer: Peer) -> list[bytes]:
        """The messages that have come to a client."""
        self.settle()
        return [frame.body for frame in peer.frames() if frame.command == "MESSAGE"]

    def heard(self, kind: type) -> list[tuple[int, Any]]:
        """Events of a kind that were told since the last time, and by whom."""
        found = [each for each in self.told if isinstance(each[1], kind)]
        self.told = [each for each in self.told if not isinstance(each[1], kind)]
        return found

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.__exit__(kind, error, traceback)

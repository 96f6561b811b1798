"""What the tests of several workers share: Worlds over one engine in memory."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from stocksync_ws import Latest, Limits, Queue, StompApp, Stream, Topic
from stocksync_ws.backplane import Append, BackplaneSettings
from stocksync_ws.broker.calls.events import BackplaneAvailability, BackplaneReset, MessageDropped
from stocksync_ws.messaging.connect import ConnectRequest
from stocksync_ws.testing.backplane import MemoryBackplane
from stocksync_ws.testing.peer import Peer
from stocksync_ws.testing.world import World
from tests.broker.kit import User

__all__ = ["Several"]


def authenticate(request: ConnectRequest) -> User | None:
    return User(request.login) if request.login else None


class Several:
    """So many workers that share everything but what is local."""

    def __init__(
        self,
        stack: ExitStack,
        count: int = 2,
        settings: BackplaneSettings | None = None,
        prepare: Callable[[StompApp], object] | None = None,
        **limits: Any,
    ) -> None:
        self.engine = MemoryBackplane(settings)
        self.events: list[Any] = []
        self.held: list[Append] = []
        """Publications that a test keeps from the engine."""
        self.apps = [self._app(limits, prepare) for _ in range(count)]
        self.worlds = [stack.enter_context(World(app, raise_errors=False)) for app in self.apps]
        self.settle()

    def _app(
        self, limits: dict[str, Any], prepare: Callable[[StompApp], object] | None
    ) -> StompApp:
        app = StompApp(
            "/ws",
            allowed_origins=["*"],
            authenticator=authenticate,
            backplane=self.engine,
            client_send=["/topic/**"],
            destinations={
                "/topic/kept/**": Stream(history=10),
                "/topic/latest": Latest(),
                "/topic/here": Topic(local=True),
                "/queue/**": Queue(local=True),
            },
            limits=Limits(**limits),
        )

        @app.event_listener(BackplaneAvailability, BackplaneReset, MessageDropped, inline=True)
        def hear(event: BackplaneAvailability | BackplaneReset | MessageDropped) -> None:
            self.events.append(event)

        if prepare is not None:
            prepare(app)
        return app

    def settle(self) -> None:
        """All that is on its way arrives."""
        for _ in range(4):
            for world in self.worlds:
                world.settle()

    def advance(self, seconds: float) -> None:
        for world in self.worlds:
            world.advance(seconds)
        self.settle()

    def connect(self, worker: int = 0, **headers: str) -> Peer:
        peer = self.worlds[worker].connect(**headers)
        self.settle()
        return peer

    def publish(self, destination: str, body: str, worker: int = 0, **headers: str) -> None:
        self.apps[worker].template.send(destination, body.encode(), headers or None)
        self.settle()

    def resets(self) -> list[str]:
        """Destinations whose resets were told."""
        return [each.destination for each in self.events if isinstance(each, BackplaneReset)]

    def bodies(self, peer: Peer) -> list[str]:
        self.settle()
        return [frame.body.decode() for frame in peer.frames() if frame.command == "MESSAGE"]

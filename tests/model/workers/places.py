"""Destinations of the workers' model, and the application that all workers run."""

from __future__ import annotations

from dataclasses import dataclass

from stocksync_ws import Latest, Limits, StompApp, Stream, Topic
from stocksync_ws.backplane import BackplaneSettings
from stocksync_ws.broker.model.channels import channel_of
from stocksync_ws.messaging.connect import ConnectRequest
from stocksync_ws.testing.backplane import MemoryBackplane

__all__ = ["PLACES", "Place", "make_app"]


@dataclass(frozen=True)
class Place:
    """A destination."""

    name: str
    keeps: bool = False
    """It has a history, and a place in it."""
    latest: bool = False
    snapshot: bool = False
    lossy: bool = False
    user: bool = False

    def channel(self, user: str) -> str:
        if self.user:
            return channel_of((user, self.name.removeprefix("/user")))
        return channel_of(self.name)


PLACES = (
    Place("/topic/stream", keeps=True),
    Place("/topic/stream/begins", keeps=True),
    Place("/topic/stream/snapshot", keeps=True, snapshot=True),
    Place("/topic/stream/lossy", keeps=True, lossy=True),
    Place("/topic/latest", keeps=True, latest=True),
    Place("/topic/plain"),
    Place("/topic/plain/snapshot", snapshot=True),
    Place("/topic/lossy", lossy=True),
    Place("/user/queue/mine", user=True),
)

QUIET = {"ping_after": 1e9, "send_queue_seconds": 1e9, "send_stall_seconds": 1e9}


@dataclass(frozen=True)
class User:
    name: str


def authenticate(request: ConnectRequest) -> User | None:
    return User(request.login) if request.login else None


authenticate.__annotations__["return"] = User


def make_app(settings: BackplaneSettings) -> StompApp:
    """An application that shares everything."""
    app = StompApp(
        "/ws",
        authenticator=authenticate,
        heart_beat=(0, 0),
        client_send=("/topic/**",),
        client_subscribe=("/topic/**",),
        backplane=MemoryBackplane(settings),
        destinations={
            "/topic/stream": Stream(history=6),
            "/topic/stream/begins": Stream(history=6, on_subscribe=3),
            "/topic/stream/snapshot": Stream(history=6, on_subscribe=2),
            "/topic/stream/lossy": Stream(history=4, overflow="drop_oldest"),
            "/topic/latest": Latest(),
            "/topic/lossy": Topic(overflow="drop_oldest"),
        },
        limits=Limits(**QUIET),
    )

    @app.snapshot("/topic/stream/snapshot")
    def kept() -> str:
        return "snapshot"

    @app.snapshot("/topic/plain/snapshot")
    def plain() -> str:
        return "snapshot"

    app.check()
    return app

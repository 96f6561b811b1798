"""An application with every kind of destination, and what its listeners have heard."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from stocksync_ws import (
    ConnectRequest,
    DeadLetter,
    Latest,
    Limits,
    MessageDropped,
    Queue,
    SessionConnected,
    SessionDisconnected,
    StompApp,
    Stream,
    Topic,
)
from stocksync_ws.stomp.frame import Frame
from stocksync_ws.testing.peer import Peer
from stocksync_ws.testing.world import World
from tests.spec.talk import BROKER

KINDS = {
    "/topic/history/**": Stream(history=10, seconds=60),
    "/topic/latest": Latest(),
    "/topic/lossy": Topic(overflow="drop_oldest"),
    "/queue/strict": Queue(dead_letter="/queue/dead"),
}


@dataclass(frozen=True)
class User:
    name: str


def who(request: ConnectRequest) -> User | None:
    return User(request.login) if request.login else None


class Shop:
    """The application, with what it has done."""

    def __init__(self, **settings: Any) -> None:
        self.app = app = StompApp(
            "/ws", allowed_origins=["*"], authenticator=who, destinations=KINDS, **BROKER | settings
        )
        self.events: list[Any] = []
        self.handled: list[str] = []

        @app.message_mapping("/note")
        def note(text: str) -> None:
            self.handled.append(text)
            app.template.convert_and_send("/topic/noted", text)

        @app.message_mapping("/fail", inline=True)
        def fail() -> None:
            raise RuntimeError

        @app.snapshot("/topic/shelf")
        def shelf() -> str:
            return "all there is"

        def listen(kind: Any) -> None:
            @app.event_listener(kind, inline=True)
            def hear(event: Any) -> None:
                self.events.append(event)

        for kind in (SessionConnected, SessionDisconnected, DeadLetter, MessageDropped):
            listen(kind)

    def heard(self, kind: type) -> list[Any]:
        return [each for each in self.events if isinstance(each, kind)]


def bodies(peer: Peer) -> list[bytes]:
    return [each.body for each in peer.frames() if each.command == "MESSAGE"]


def recover(peer: Peer, destination: str, last: str) -> tuple[Frame, list[Frame]]:
    """SUBSCRIBE with `last-message-id`: its RECEIPT, and what comes with it."""
    headers = {"id": "again", "destination": destination, "receipt": "r", "last-message-id": last}
    peer.command("SUBSCRIBE", headers)
    receipt, *rest = peer.frames()
    assert receipt.command == "RECEIPT"
    return receipt, rest


def fill(world: World, destination: str, *texts: str) -> None:
    sender = world.connect()
    for text in texts:
        sender.send_to(destination, text)
    sender.eof()


def limited(broker: Callable[..., World], **limits: int) -> tuple[Shop, World]:
    """A shop with other limits, and its world."""
    shop = Shop(limits=Limits(**limits))
    return shop, broker(shop.app)

"""The application of the suite: the same over every carrier, in this process or in a server's.

Rule: what a test wants to know of it is asked through `Shop`, so that a server of somebody else can
be asked the same.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from stocksync_ws import (
    BadCredentials,
    CloseCode,
    ConnectRequest,
    DisconnectReason,
    Frame,
    Limits,
    MessagingTemplate,
    Principal,
    Session,
    SessionConnected,
    SessionDisconnected,
    SockJSOptions,
    StompApp,
    send_to,
    send_to_user,
)
from stocksync_ws.running.runtime import Runtime

__all__ = ["End", "Shop"]

STOCK = {"espresso-machine": 12, "kettle": 8}


@dataclass(frozen=True)
class Name:
    """A user."""

    name: str


@dataclass(frozen=True)
class Adjustment:
    """What a page sends."""

    delta: int


class OutOfStock(Exception):
    """More was taken than there is."""


@dataclass(frozen=True)
class End:
    """How a session ended, as the application was told."""

    reason: str
    code: int | None


class Shop:
    """An application, and what it was told.

    Args:
        settings: Fields of `Limits`, and `workers`, `sockjs` (fields of its options), `origins`,
            `access` (where no rule is).
        told: Called with the end of each session.
    """

    def __init__(self, settings: dict[str, Any], told: Callable[[End], None]) -> None:
        own = ("workers", "sockjs", "origins", "access")
        limits = {name: value for name, value in settings.items() if name not in own}
        sockjs = settings.get("sockjs")
        self.app = StompApp(
            "/ws",
            client_send=["/topic/**"],
            authenticator=_authenticate,
            limits=Limits(**limits),
            allowed_origins=settings.get("origins", ()),
            sockjs=False if sockjs is None else SockJSOptions(**sockjs),
            workers=settings.get("workers", "warn"),
            default_access=settings.get("access", "allow"),
        )
        self.app.authorize("/topic/staff", authenticated=True)
        self.runtime: Callable[[], Runtime | None] = lambda: self.app._run.runtime
        self._stock = dict(STOCK)
        _chat(self.app)
        self._inventory()
        self._closes()
        _holds(self.app)
        self._transports: list[str] = []

        @self.app.subscribe_mapping("/transports")
        async def transports(session: Session) -> list[str]:
            return [session.transport, *self._transports]

        @self.app.event_listener(SessionConnected, inline=True)
        def note(event: SessionConnected) -> None:
            self._transports.append(event.transport)

        @self.app.event_listener(SessionDisconnected, inline=True)
        def hear(event: SessionDisconnected) -> None:
            told(End(str(event.reason), event.close_code))

    def counters(self) -> dict[str, int]:
        """The counters of the run, and what is open now."""
        runtime = self.runtime()
        if runtime is None:
            return {}
        open_now = {
            "connections_open": runtime.driver.connections,
            "sessions_open": len(runtime.broker.sessions),
            "paused_open": sum(each.paused for each in runtime.broker.sessions.values()),
            "posts_open": 0,
        }
        if self.app._sockjs is not None:
            wires = self.app._sockjs.sessions._open.values()
            open_now["posts_open"] = sum(len(wire.posts or ()) for wire in wires)
        return asdict(runtime.broker.counters) | open_now

    def baseline(self) -> dict[str, int]:
        """What this process holds; timers only where the loop lets one count them."""
        runtime = self.runtime()
        assert runtime is not None
        gc.collect()
        scheduled = getattr(runtime.loop, "_scheduled", [])
        return {
            "descriptors": len(os.listdir("/dev/fd")),
            "threads": threading.active_count(),
            "tasks": len(asyncio.all_tasks(runtime.loop)),
            "timers": sum(not timer.cancelled() for timer in list(scheduled)),
            "links": runtime.driver.connections,
            "sessions": len(runtime.broker.sessions),
        }

    def publish(self, destination: str, body: bytes, count: int = 1) -> None:
        """From outside of every handler."""
        for _ in range(count):
            self.app.template.send(destination, body)

    def _closes(self) -> None:
        """Ends of a session by any close code: no event of a client leads to each of them."""

        @self.app.message_mapping("/close/{code}")
        async def close(code: int, session: Session) -> None:
            runtime = self.runtime()
            assert runtime is not None
            broker, now = runtime.broker, runtime.host.now()
            record = broker.sessions[session.id]
            end = broker._sessions.lifecycle.close
            broker._step.run(now, end, record, CloseCode(code), DisconnectReason.KICKED)
            runtime.driver._finish(now)

    def _inventory(self) -> None:
        """A shop whose pages see every change."""
        app = self.app

        @app.subscribe_mapping("/inventory")
        async def current_stock() -> dict[str, int]:
            return self._stock

        @app.message_mapping("/inventory/{product}/adjust")
        @send_to("/topic/inventory")
        async def adjust(adjustment: Adjustment, product: str) -> dict[str, object]:
            quantity = self._stock[product] + adjustment.delta
            if quantity < 0:
                raise OutOfStock(f"Only {self._stock[product]} left.")
            self._stock[product] = quantity
            return {"product": product, "quantity": quantity}

        @app.message_mapping("/inventory/reset")
        def reset(template: MessagingTemplate) -> None:
            self._stock.update(STOCK)
            template.convert_and_send("/topic/inventory", "reset")

        @app.message_exception_handler(OutOfStock)
        @send_to_user("/queue/errors", broadcast=False)
        async def on_error(error: OutOfStock) -> dict[str, str]:
            return {"message": str(error)}


def _chat(app: StompApp) -> None:
    """What is sent to /app/say arrives at /topic/say."""

    @app.message_mapping("/say")
    async def say(body: bytes) -> bytes:
        return body

    @app.message_mapping("/say-plainly")
    @send_to("/topic/say")
    def say_plainly(body: bytes) -> bytes:
        return body

    @app.subscribe_mapping("/version")
    def version() -> str:
        return "7"

    @app.message_mapping("/look")
    @send_to("/topic/looked")
    def look(frame: Frame) -> bytes:
        seen = {"colour": frame.headers["colour"], "body": frame.body.hex()}
        return json.dumps(seen).encode()


def _holds(app: StompApp) -> None:
    """A handler that waits until somebody lets it go."""
    gates: list[asyncio.Event] = []

    @app.message_mapping("/hold")
    async def hold() -> None:
        gates.append(asyncio.Event())
        await gates[-1].wait()

    @app.message_mapping("/let-go")
    async def let_go() -> None:
        for gate in gates:
            gate.set()
        gates.clear()


async def _authenticate(request: ConnectRequest) -> Principal | None:
    if request.login == "mallory":
        raise BadCredentials
    name = request.login or request.request.cookies.get("login")
    return None if name is None else Name(name)

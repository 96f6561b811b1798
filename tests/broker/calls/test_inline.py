"""An inline call of a frame runs inside of its step, and nobody can tell it from one put out."""

from __future__ import annotations

import contextvars
import random
from dataclasses import asdict
from typing import Any

import pytest

from stocksync_ws import (
    AccessDenied,
    Frame,
    Limits,
    MessageDropped,
    MessagingTemplate,
    Queue,
    Session,
    SessionDisconnected,
    SessionSubscribed,
    StompApp,
    Stream,
    send_to,
    send_to_user,
)
from stocksync_ws.testing.peer import Peer
from stocksync_ws.testing.world import World

TRACE: contextvars.ContextVar[str] = contextvars.ContextVar("trace", default="none")
SEEDS = 150


class Sold(Exception):
    """Mapped to a reply."""


def application(told: list[Any]) -> StompApp:
    """Handlers that are inline and do everything that a handler may do."""
    app = StompApp(
        "/ws",
        allowed_origins=["*"],
        client_send=["/topic/**", "/queue/**"],
        client_subscribe=["/topic/**", "/queue/**"],
        destinations={
            "/topic/kept": Stream(history=3),
            "/queue/**": Queue(dead_letter="/topic/dead"),
        },
        limits=Limits(max_receipts=4, queue_messages=2),
    )

    @app.message_mapping("/quiet", inline=True)
    def quiet(body: bytes) -> None:
        told.append(("quiet", body, TRACE.get()))
        TRACE.set(body.decode())

    @app.message_mapping("/say/{topic}", inline=True)
    @send_to("/topic/{topic}")
    def say(body: bytes, topic: str) -> bytes | None:
        return None if body == b"0" else body

    @app.message_mapping("/publish", inline=True)
    def publish(body: bytes, template: MessagingTemplate, session: Session) -> None:
        for destination in ("/topic/kept", "/topic/plain", "/queue/jobs"):
            template.send(destination, body)
        template.send("/queue/late", body, headers={"expires": "1"})
        session.attributes["seen"] = session.attributes.get("seen", 0) + 1
        told.append(("seen", session.attributes["seen"]))

    @app.message_mapping("/fail/{how}", inline=True)
    def fail(how: str) -> None:
        kinds = {"mapped": Sold("sold"), "denied": AccessDenied("no"), "bug": ZeroDivisionError()}
        raise kinds[how]

    @app.message_mapping("/exit", inline=True)
    def leave() -> None:
        raise SystemExit

    @app.message_mapping("/kick/{whom}", inline=True)
    def kick(whom: str, session: Session) -> None:
        found = [each for each in app.users.sessions() if (each.id == session.id) is (whom == "me")]
        told.extend(("kicked", app.users.disconnect(each)) for each in found)

    @app.message_mapping("/review", inline=True)
    def review(session: Session) -> None:
        told.append(("reviewed", app.users.reauthorize(session)))

    @app.message_mapping("/slow")
    async def slow(body: bytes) -> bytes:
        return body

    @app.subscribe_mapping("/first", inline=True)
    def first(frame: Frame) -> str:
        return frame.headers["id"]

    @app.snapshot("/topic/plain", inline=True)
    def snapshot() -> str:
        return "snapshot"

    @app.authorize("/topic/ruled", inline=True)
    def ruled(session: Session) -> bool:
        return session.user is None

    @app.message_exception_handler(Sold, inline=True)
    @send_to_user("/queue/errors", broadcast=False)
    def on_sold(error: Sold, template: MessagingTemplate) -> str:
        template.send("/topic/plain", b"sold")
        return str(error)

    @app.event_listener(SessionSubscribed, SessionDisconnected, MessageDropped, inline=True)
    def hear(event: SessionSubscribed | SessionDisconnected | MessageDropped) -> None:
        told.append(event)
        app.template.send("/topic/plain", b"heard")

    return app


DESTINATIONS = [
    *["/app/quiet", "/app/say/plain", "/app/say/kept", "/app/publish", "/app/slow", "/app/none"],
    *["/app/review", "/app/review"],
    *["/app/fail/mapped", "/app/fail/denied", "/app/fail/bug", "/app/exit"],
    *["/topic/kept", "/topic/plain", "/topic/ruled", "/queue/jobs", "/queue/jobs"],
]


def frame(draw: random.Random, number: int) -> bytes:
    """A frame of a client."""
    headers: dict[str, str] = {}
    command = draw.choice(["SEND"] * 8 + ["SUBSCRIBE"] * 2 + ["BEGIN", "COMMIT", "UNSUBSCRIBE"])
    if command == "SUBSCRIBE":
        headers["id"] = str(number)
        headers["destination"] = draw.choice(
            [
                "/topic/kept",
                "/topic/plain",
                "/topic/ruled",
                "/app/first",
                "/queue/jobs",
                "/topic/dead",
            ]
        )
    elif command == "UNSUBSCRIBE":
        headers["id"] = str(draw.randrange(number + 1))
    elif command != "SEND":
        headers["transaction"] = "t"
    else:
        headers["destination"] = draw.choice(DESTINATIONS)
        if draw.random() < 0.01:
            headers["destination"] = draw.choice(
                ["/app/kick/me", "/app/kick/others", "/app/kick/all"]
            )
        if draw.random() < 0.1:
            headers["transaction"] = "t"
        if draw.random() < 0.2:
            headers["expires"] = "1"
        if draw.random() < 0.1:
            headers["idempotency-key"] = draw.choice("ab")
        if draw.random() < 0.2:
            headers["reply-to"] = draw.choice(["/temp-queue/x", "/topic/plain", "/app/quiet"])
    if draw.random() < 0.3:
        headers["receipt"] = str(number)
    body = draw.choice([b"0", b"1", b"{}"]) if command == "SEND" else b""
    lines = "".join(f"{name}:{value}\n" for name, value in headers.items())
    return f"{command}\n{lines}\n".encode() + body + b"\0"


def story(seed: int, *, inside: bool) -> tuple[Any, ...]:
    """Everything that can be seen of a run."""
    draw = random.Random(seed)
    told: list[Any] = []
    with World(application(told), raise_errors=False, silent=True) as world:
        if not inside:
            world.broker.calls.tasks.inline = None
        gone: list[Peer] = []
        peers = [world.connect() for _ in range(2)]
        peers[0].subscribe("/user/queue/errors", id="errors")
        peers[1].subscribe("/topic/plain", id="plain")
        for number in range(30):
            at = draw.randrange(2)
            peer = peers[at]
            if peer.closed is not None:
                gone.append(peer)
                peer = peers[at] = world.connect()
            if not peer.stream.aborted:
                frames = [frame(draw, number * 8 + each) for each in range(draw.randint(1, 6))]
                peer.send(b"".join(frames))
            if draw.random() < 0.1:
                world.advance(1.0)
        everybody = [*gone, *peers]
        seen = [[(f.command, f.headers, f.body) for f in peer.frames()] for peer in everybody]
        closed = [peer.closed for peer in everybody]
        counters = asdict(world.counters)
    return seen, closed, told, counters


BLOCKS = [0, *(pytest.param(block, marks=pytest.mark.slow) for block in range(1, 5))]


@pytest.mark.parametrize("block", BLOCKS)
def test_nobody_can_tell_it_from_one_that_is_put_out(block: int) -> None:
    for seed in range(block * SEEDS // 5, (block + 1) * SEEDS // 5):
        assert story(seed, inside=True) == story(seed, inside=False), seed

"""The application of the real broker: its settings, its handlers, and who listens to its events.

Rule: what a handler does is said by its destination, or by the test when it lets it go on; nothing
here waits for time. Every exception carries `rules.SECRET`, which no client may ever see.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from stocksync_ws import (
    AccessDenied,
    BadCredentials,
    ConnectRejected,
    ConnectRequest,
    DeadLetter,
    Latest,
    Limits,
    MessageDropped,
    Queue,
    Session,
    SessionConnected,
    SessionDisconnected,
    SessionSubscribed,
    SessionUnsubscribed,
    StompApp,
    Stream,
    Topic,
    TransactionAborted,
    send_to,
    send_to_user,
)
from tests.model import rules

__all__ = ["Application"]

FOREVER = 1e9
LIMITS = Limits(
    ack_window=rules.WINDOW,
    pending_messages=rules.PENDING,
    durable_messages=rules.PENDING,
    queue_messages=rules.QUEUE,
    max_durables=rules.NAMES,
    idempotency_keys=rules.KEYS,
    owner_share=rules.SHARE,
    queue_idle_seconds=rules.QUEUE_IDLE,
    max_transactions=rules.TX_OPEN,
    max_transaction_frames=rules.TX_FRAMES,
    handler_timeout=rules.HANDLER_SECONDS,
    frame_timeout=rules.FRAME_SECONDS,
    close_timeout=rules.CLOSE_SECONDS,
    inbox=500,
    max_message_size=20_000,
    ping_after=FOREVER,
    send_queue_seconds=FOREVER,
    send_stall_seconds=rules.STALL_SECONDS,
)
EVENTS = (
    ConnectRejected,
    DeadLetter,
    MessageDropped,
    SessionConnected,
    SessionDisconnected,
    SessionSubscribed,
    SessionUnsubscribed,
    TransactionAborted,
)


@dataclass(frozen=True)
class User:
    name: str


class MappedError(Exception):
    """There is an exception handler for it."""


class UnmappedError(Exception):
    """There is none."""


def authenticate(request: ConnectRequest) -> User | None:
    if request.passcode == "wrong":
        raise BadCredentials(rules.SECRET)
    return User(request.login) if request.login else None


class Application:
    """One application for one round."""

    def __init__(self) -> None:
        self.events: list[Any] = []
        self.waiting: dict[str, asyncio.Future[str]] = {}
        """Handlers that the test has to let go on, by their session."""
        self.over = False
        """The round ends: nobody is stubborn any more."""
        self.app = make_app()
        self._add_handlers()
        self._add_listeners()

    def work(self, how: str, body: str) -> str | None:
        """What every handler does."""
        if how == "publish":
            self.app.template.send(rules.STREAM, b"by-" + body.encode())
        if how == "mapped":
            raise MappedError(rules.SECRET)
        if how == "unmapped":
            raise UnmappedError(rules.SECRET)
        if how == "denied":
            raise AccessDenied(rules.SECRET)
        return "to-" + body if how == "reply" else None

    async def hold(self, session: Session, how: str, body: str) -> str | None:
        """Wait for the test to say what to do; a stubborn one does not end when it is cancelled."""
        while True:
            future = self.waiting[session.id] = asyncio.get_running_loop().create_future()
            try:
                return self.work(await future, body)
            except asyncio.CancelledError:
                if how != "stubborn" or self.over:
                    raise
            finally:
                self.waiting.pop(session.id, None)

    def _add_handlers(self) -> None:
        app = self.app

        @app.message_mapping("/inline/{how}", inline=True)
        @send_to(rules.PLAIN)
        def at_once(how: str, body: str) -> str | None:
            return self.work(how, body)

        @app.message_mapping("/inline/misfit", inline=True)
        def misfit(number: int) -> None:
            raise AssertionError

        @app.message_mapping("/pool/{how}")
        @send_to_user("/queue/mine")
        def soon(how: str, body: str) -> str | None:
            return self.work(how, body)

        @app.message_mapping("/hold/{how}")
        @send_to_user("/queue/mine", broadcast=False)
        async def held(session: Session, how: str, body: str) -> str | None:
            return await self.hold(session, how, body)

        @app.message_exception_handler(MappedError, inline=True)
        @send_to_user("/queue/errors", broadcast=False)
        def mapped(error: MappedError) -> str:
            return "mapped"

        self._add_answers()

    def _add_answers(self) -> None:
        app = self.app

        @app.subscribe_mapping("/inline/{how}", inline=True)
        def at_once(how: str) -> str | None:
            return self.work(how, "") and "answer"

        @app.subscribe_mapping("/pool/{how}")
        def soon(how: str) -> str | None:
            return self.work(how, "") and "answer"

        @app.subscribe_mapping("/hold/{how}")
        async def held(session: Session, how: str) -> str | None:
            return await self.hold(session, how, "") and "answer"

        @app.snapshot(rules.SNAP)
        async def so_far(session: Session) -> str:
            await self.hold(session, "", "")
            return "snapshot"

        @app.snapshot(rules.FRESH)
        async def also_so_far(session: Session) -> str:
            await self.hold(session, "", "")
            return "snapshot"

    def _add_listeners(self) -> None:
        app = self.app

        @app.event_listener(*EVENTS, inline=True)
        def record(event: Any) -> None:
            self.events.append(event)

        @app.event_listener(SessionConnected, SessionDisconnected, SessionSubscribed, inline=True)
        def fail(event: Any) -> None:
            raise UnmappedError(rules.SECRET)

        @app.event_listener(SessionDisconnected)
        def fail_in_the_pool(event: SessionDisconnected) -> None:
            raise UnmappedError(rules.SECRET)


def make_app() -> StompApp:
    """The settings that `rules.py` tells the naive broker."""
    tries = rules.ATTEMPTS
    history: dict[str, Any] = {"history": rules.HISTORY, "seconds": rules.AGE}
    delay = rules.FLUSH_DELAY
    return StompApp(
        "/ws",
        authenticator=authenticate,
        heart_beat=(rules.BEAT_SECONDS, rules.BEAT_SECONDS),
        missed_heart_beats=rules.GRACE,
        client_send=rules.PLACES,
        client_subscribe=rules.PLACES,
        limits=LIMITS,
        destinations={
            rules.STREAM: Stream(**history, max_deliveries=1),
            rules.SNAP: Stream(
                **history,
                max_deliveries=tries,
                on_subscribe=rules.BEGINS[rules.SNAP],
                flush_delay=delay,
            ),
            rules.RECENT: Stream(
                **history,
                max_deliveries=tries,
                on_subscribe=rules.BEGINS[rules.RECENT],
                flush_delay=delay,
            ),
            rules.LATEST: Latest(max_deliveries=tries),
            rules.LOSSY: Topic(overflow="drop_oldest", max_deliveries=1, flush_delay=delay),
            rules.PLAIN: Topic(dead_letter=rules.DEAD, max_deliveries=tries, flush_delay=delay),
            rules.QUEUE_B: Queue(
                dead_letter=rules.PLAIN, ack_timeout=rules.QUEUE_TIMEOUT, max_deliveries=tries
            ),
            rules.QUEUE_A: Queue(max_deliveries=1),
            "/queue/**": Queue(max_deliveries=tries),
            rules.FRESH: Topic(max_deliveries=tries),
        },
    )

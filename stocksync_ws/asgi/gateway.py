"""The scopes of an application inside a host: who is let in, by which run, and how each one ends.

Rule: the run begins when the host's lifespan does, or with the first WebSocket where the host has
none; it ends with the lifespan, or with the loop. What a request gets is decided by the site. A
scope that comes on a second live loop is the caller's mistake and raises.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import replace
from functools import partial
from typing import Any, Literal, TypeAlias

from stocksync_ws.asgi.http_stream import HttpScopeStream
from stocksync_ws.asgi.stepping import Receive, Send, Stepping
from stocksync_ws.asgi.stream import ScopeStream
from stocksync_ws.running.run import Run
from stocksync_ws.running.runtime import Runtime
from stocksync_ws.running.siblings import Claim, claim_of
from stocksync_ws.running.signals import SignalChain
from stocksync_ws.types import Connection, HttpRequest
from stocksync_ws.wire.answer import Answer, refusal, unavailable
from stocksync_ws.wire.endpoint import Carrier, Decision, Endpoint, Site, decide
from stocksync_ws.wire.scope import ScopeConnection, answer_messages, refusal_messages, request_of
from stocksync_ws.wire.scope_http import SCOPE_FRAMING
from stocksync_ws.wire.scope_wire import Batcher
from stocksync_ws.wire.upgrade import check_handshake

__all__ = ["Gateway", "Scope", "Users", "Workers"]

Scope: TypeAlias = MutableMapping[str, Any]
Users: TypeAlias = Callable[[Mapping[str, Any]], Awaitable[Mapping[str, Any]]]
"""A question for what is to be added to a scope: its `session` and `user`."""
Workers: TypeAlias = Literal["warn", "refuse"]
"""The treatment of a second worker process behind the same address."""


class Gateway:
    """An ASGI application for the scopes of one site: `http` and `websocket`.

    Args:
        run: The one run of the application.
        check: Freezes the application; raises `ConfigurationError` when a declaration cannot work.
        site: Endpoint and routes.
        batch: Join the frames of one turn into one message.
        signals: Drain the sessions before the host's own handler of SIGTERM and SIGINT is called.
        workers: After 30 s a second worker logs a warning, or takes no sessions either.
    """

    def __init__(
        self,
        run: Run,
        check: Callable[[], None],
        site: Site,
        *,
        batch: bool,
        signals: bool,
        workers: Workers,
    ) -> None:
        self._run = run
        self._check = check
        self._site = site
        self._batcher = Batcher() if batch else None
        self._signals = signals
        self._refuse_siblings = workers == "refuse"
        self._stepping = Stepping()
        self.checks: list[Callable[[], None]] = []
        """Called before a run begins; one that raises `ConfigurationError` prevents it."""
        self.users: Users | None = None
        """Asks for session and user where the host's middleware has not put them into the scope."""
        self._runtime: Runtime | None = None
        self._lifespans = 0
        """Those of the runtime's lifespans that are this application's; two hosts may serve it."""
        self._claim: Claim | None = None
        self._claimed = False
        self._chain: SignalChain | None = None
        self._ended_on: asyncio.AbstractEventLoop | None = None
        """The loop on which the host's lifespan is over; another loop is another host."""

    @property
    def path(self) -> str:
        """The path of the endpoint."""
        return self._site.endpoint.path

    @property
    def has_more(self) -> bool:
        """Something is below the path too."""
        return bool(self._site.routes)

    # The run

    async def begin_lifespan(self) -> None:
        """A host's lifespan begins: the run is there until the last such lifespan has ended. Where
        an engine is required, it is there too.
        """
        self.begin().lifespans += 1
        self._lifespans += 1
        await self._run.until_connected()

    def begin(self) -> Runtime:
        """Begin on the running loop, or join what runs there.

        Raises:
            WrongLoop: The application runs on another loop.
            ConfigurationError: A declaration cannot work.
        """
        loop = asyncio.get_running_loop()
        runtime = self._runtime
        if runtime is None or runtime.closed or runtime.loop is not loop:
            for check in (self._check, *self.checks):
                check()
            runtime = self._runtime = self._run.begin(loop)
            self._claimed = False
            self._lifespans = 0
            self._ended_on = None
            runtime.at_end.append(self._clean_up)
            if self._signals:
                self._chain = SignalChain(loop, partial(_drain_first, runtime), runtime.hurry)
                self._chain.install()
        return runtime

    def _clean_up(self) -> None:
        if self._chain is not None:
            self._chain.restore()
        if self._claim is not None:
            self._claim.end()
        self._chain = self._claim = None

    async def drain(self) -> None:
        """Close all sessions in good order; messages are still taken. Not where another application
        goes on with the run.
        """
        if self._runtime is not None and self._runtime.lifespans <= 1:
            await self._runtime.drain()

    async def end(self) -> None:
        """The host's lifespan is over: end the run."""
        if self._leave():
            await self._run.stop()

    def abort(self) -> None:
        """The host's lifespan was cancelled: end the run at once."""
        if self._leave():
            self._run.abort()

    def _leave(self) -> bool:
        """A lifespan is over; whether there is a run to end."""
        runtime = self._runtime
        if runtime is None:
            return False
        runtime.lifespans -= 1
        self._lifespans -= 1
        if self._lifespans <= 0:
            self._runtime = None
            self._ended_on = runtime.loop
        return self._run.runtime is runtime and runtime.lifespans <= 0

    def _has_ended(self) -> bool:
        return self._ended_on is asyncio.get_running_loop()

    # Scopes

    def owns(self, scope: Mapping[str, Any]) -> bool:
        """Say whether a scope is for the endpoint, or for what stands below it."""
        return scope["type"] in ("http", "websocket") and self.path_of(scope) is not None

    def path_of(self, scope: Mapping[str, Any]) -> str | None:
        """The path of a scope as the site knows it, or None when it is none of the site's.

        Hosts do not agree on whether the path begins with the root path; both are understood.
        """
        whole: str = scope["path"]
        root: str = scope.get("root_path") or ""
        root = root.rstrip("/")
        path = whole[len(root) :] if whole == root or whole.startswith(root + "/") else whole
        return path if self._site.has(path) else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one scope.

        Raises:
            WrongLoop: The application runs on another loop.
        """
        path = self.path_of(scope)
        request = request_of(scope, scope["path"] if path is None else path)
        if scope["type"] == "websocket":
            await self._websocket(request, receive, send)
        else:
            await self._http(request, receive, send)

    async def _http(self, request: HttpRequest, receive: Receive, send: Send) -> None:
        decision: Decision | Connection = decide(request, self._site, check_handshake)
        if isinstance(decision, Carrier) and not self._has_ended():
            decision = await self._open(request, decision)
        if not isinstance(decision, (Answer, Carrier, Endpoint)):
            stream = HttpScopeStream(self.begin().driver, send, self._stepping)
            await stream.run(decision, receive)
            return
        if not isinstance(decision, Answer):
            decision = refusal(
                501,
                "The server in front of this application passes no WebSocket on.",
                log="a WebSocket came as plain HTTP: the ASGI server lacks a WebSocket library"
                " (for uvicorn: pip install websockets)",
            )
        if self._has_ended():
            decision = unavailable(request)
        elif self._runtime is not None:
            counters, now = self._runtime.broker.counters, self._runtime.loop.time()
            self._site.refusals.tell(decision, counters, request.peer, now)
        if request.http_version not in ("1.0", "1.1"):
            # HTTP/2 knows no such header (RFC 9113 §8.2.2).
            headers = tuple(each for each in decision.headers if each[0] != "Upgrade")
            decision = Answer(decision.status, headers, decision.body)
        for message in answer_messages(decision, "http.response"):
            await send(message)

    async def _open(self, request: HttpRequest, carrier: Carrier) -> Connection | Answer:
        """The connection for a request that carries or feeds a wire, or its answer."""
        runtime = self.begin()
        if carrier.opens and self.users is not None and not self._is_full(runtime):
            request = await self._with_user(self.users, request)  # Meanwhile all may have changed.
            if self._has_ended():
                return unavailable(request)
            runtime = self.begin()
        if carrier.opens:
            self._claim_once(runtime, request)
        opened = carrier.open(request, SCOPE_FRAMING, self._is_full(runtime))
        if isinstance(opened, Answer) and opened.status == 503:
            runtime.broker.counters.connections_refused += 1
        return opened

    async def _websocket(self, request: HttpRequest, receive: Receive, send: Send) -> None:
        first = await receive()
        if first["type"] == "websocket.disconnect":
            return
        if first["type"] != "websocket.connect":
            receive = _again(first, receive)  # Quart's test client begins with what it sends.
        if self.users is not None and not self._has_ended() and not self._is_full(self.begin()):
            request = await self._with_user(self.users, request)  # Meanwhile all may have changed.
        if self._has_ended():
            for message in refusal_messages(unavailable(request), request.scope):
                await send(message)
            return
        runtime = self.begin()
        self._claim_once(runtime, request)
        connection = ScopeConnection(
            self._site,
            request,
            runtime.config.limits,
            runtime.broker.counters,
            batcher=self._batcher,
            refused=self._is_full(runtime),
        )
        await ScopeStream(runtime.driver, send, self._stepping).run(connection, receive)

    async def _with_user(self, users: Users, request: HttpRequest) -> HttpRequest:
        """The request with session and user, of whom the site would let in."""
        if isinstance(decide(request, self._site), Answer) or request.scope is None:
            return request
        return replace(request, scope={**request.scope, **await users(request.scope)})

    def _is_full(self, runtime: Runtime) -> bool:
        cap = runtime.config.limits.max_connections
        sibling = self._claim is not None and self._claim.sibling and self._refuse_siblings
        return (
            runtime.draining or sibling or (cap is not None and runtime.driver.connections >= cap)
        )

    def _claim_once(self, runtime: Runtime, request: HttpRequest) -> None:
        """Claim the address that the first WebSocket came to."""
        if self._claimed or request.scope is None or runtime.config.backplane is not None:
            return
        self._claimed = True
        server = request.scope.get("server")
        self._claim = claim_of(runtime.loop, server, self._site.endpoint.path)
        if self._claim is not None:
            self._claim.make()


async def _drain_first(runtime: Runtime) -> None:
    """Before the host hears of a signal. One without lifespans ends no run; it closes its loop."""
    await runtime.drain()
    runtime.host.stragglers.expect()


def _again(message: Mapping[str, Any], receive: Receive) -> Receive:
    """A `receive` of the host that begins with this message."""
    first = [message]

    async def receive_on() -> Mapping[str, Any]:
        return first.pop() if first else await receive()

    return receive_on

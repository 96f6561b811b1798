"""An ASGI host in memory: scopes, their messages both ways, and many manners of sending.

Rule: nothing waits in real time, and nothing is there that a host of the specification would not
do. A manner is what becomes of one `send`; a test chooses it, and may change it under way.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any

from stocksync_ws import Limits, SessionDisconnected, StompApp
from stocksync_ws.stomp.decoder import Decoder
from stocksync_ws.stomp.encoder import encode
from stocksync_ws.stomp.frame import Frame, Version
from stocksync_ws.testing.clock import VirtualLoop

__all__ = [
    "Asgi",
    "Client",
    "Ends",
    "FutureLike",
    "Held",
    "Lifespan",
    "at_once",
    "ends_of",
    "host_of",
    "learn",
    "lost",
    "only_timer",
    "publish",
    "suspending",
    "timed",
    "websocket_scope",
]

Manner = Callable[["Client", Mapping[str, Any]], Awaitable[None]]
_WIDE = Limits(max_message_size=2**31)


def websocket_scope(path: str = "/ws", **changes: Any) -> dict[str, Any]:
    """A WebSocket scope as the specification describes it; None leaves a key out."""
    scope: dict[str, Any] = {
        "type": "websocket",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "scheme": "ws",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"localhost")],
        "client": ("127.0.0.1", 50_000),
        "server": ("testserver", 80),
        "subprotocols": ["v12.stomp", "v11.stomp"],
        "extensions": {},
    }
    scope.update(changes)
    return {key: value for key, value in scope.items() if value is not None}


# Manners


async def at_once(client: Client, message: Mapping[str, Any]) -> None:
    """The transport takes it."""
    client.take(message)


async def suspending(client: Client, message: Mapping[str, Any]) -> None:
    """The transport takes it one turn later, every time."""
    await asyncio.sleep(0)
    client.take(message)


async def timed(client: Client, message: Mapping[str, Any]) -> None:
    """The host bounds its own sending, which works in a task only."""
    async with asyncio.timeout(5):
        await asyncio.sleep(0)
        client.take(message)


async def lost(client: Client, message: Mapping[str, Any]) -> None:
    """The client has gone."""
    raise OSError("gone")


class Held:
    """Suspends until it is released; one object for any number of clients."""

    def __init__(self) -> None:
        self.waiting: deque[tuple[Client, Mapping[str, Any], asyncio.Future[None]]] = deque()
        self.cancelled = 0

    async def __call__(self, client: Client, message: Mapping[str, Any]) -> None:
        future = asyncio.get_running_loop().create_future()
        self.waiting.append((client, message, future))
        try:
            await future
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        client.take(message)

    def release(self, error: BaseException | None = None) -> None:
        """Finish the oldest send."""
        _, _, future = self.waiting.popleft()
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)


class _FutureLike:
    """What a compiled host returns: awaited and iterated, and nothing else."""

    def __init__(self, future: asyncio.Future[None]) -> None:
        self._future = future
        self._asyncio_future_blocking = False
        self.get_loop = future.get_loop
        self.add_done_callback = future.add_done_callback
        self.cancel = future.cancel

    def __await__(self) -> _FutureLike:
        return self

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        if not self._future.done():
            self._asyncio_future_blocking = True
            return self
        raise StopIteration(self._future.result())

    def result(self) -> None:
        return self._future.result()


class FutureLike:
    """Returns an object without `send` and `throw`; finished at once, or when released."""

    def __init__(self, *, finished: bool) -> None:
        self._finished = finished
        self.waiting: deque[asyncio.Future[None]] = deque()

    def __call__(self, client: Client, message: Mapping[str, Any]) -> Awaitable[None]:
        client.take(message)
        future = asyncio.get_running_loop().create_future()
        if self._finished:
            future.set_result(None)
        else:
            self.waiting.append(future)
        return _FutureLike(future)


class Ends:
    """Works, and raises at one message: the first of a type, or the first that holds a text."""

    def __init__(self, error: BaseException, kind: str = "", text: str = "") -> None:
        self._error = error
        self._kind = kind
        self._text = text
        self.raised = 0

    async def __call__(self, client: Client, message: Mapping[str, Any]) -> None:
        if self._kind in message["type"] and self._text in str(message.get("text", "")):
            self.raised += 1
            raise self._error
        client.take(message)


# Scopes


class Client:
    """One WebSocket scope, and the client behind it."""

    def __init__(self, host: Asgi, scope: dict[str, Any], manner: Manner) -> None:
        self.host = host
        self.scope = scope
        self.manner = manner
        self.messages: list[Mapping[str, Any]] = []
        """What the application has sent, and nobody has taken."""
        self.receives = 0
        """Calls of `receive`."""
        self._incoming: deque[dict[str, Any]] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._decoder = Decoder(_WIDE, server_frames=True)
        self._decoder.version = Version.V12
        self.task = host.loop.create_task(host.app(scope, self._receive, self._send))

    # What the application calls

    def _send(self, message: Mapping[str, Any]) -> Awaitable[None]:
        return self.manner(self, message)

    def take(self, message: Mapping[str, Any]) -> None:
        """The transport has it."""
        self.messages.append(message)

    async def _receive(self) -> Mapping[str, Any]:
        self.receives += 1
        while not self._incoming:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        return self._incoming.popleft()

    # What the client does

    def tell(self, message: dict[str, Any]) -> None:
        """A message for the application."""
        self._incoming.append(message)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
        self.host.settle()

    def text(self, text: str) -> None:
        self.tell({"type": "websocket.receive", "text": text})

    def command(self, command: str, headers: dict[str, str], body: bytes = b"") -> None:
        """Send one STOMP frame."""
        self.text(encode(command, headers, body, Version.V12).decode())

    def connect(self, **headers: str) -> Client:
        """CONNECT, and take CONNECTED."""
        self.command("CONNECT", {"accept-version": "1.2", "host": "localhost", **headers})
        accepted = self.messages.pop(0)
        assert accepted["type"] == "websocket.accept", accepted
        assert [frame.command for frame in self.frames()] == ["CONNECTED"]
        return self

    def subscribe(self, destination: str, id: str = "1") -> Client:  # noqa: A002
        self.command("SUBSCRIBE", {"destination": destination, "id": id, "receipt": f"r{id}"})
        assert [frame.command for frame in self.frames()] == ["RECEIPT"]
        return self

    def disconnect(self, **message: Any) -> None:
        """The client is gone, or has closed, as the host says it."""
        self.tell({"type": "websocket.disconnect", **message})

    # What has come

    def frames(self) -> list[Frame]:
        """The STOMP frames that have come; all other messages stay."""
        self.host.settle()
        frames: list[Frame] = []
        rest = []
        for message in self.messages:
            if message["type"] != "websocket.send":
                rest.append(message)
                continue
            payload = message["text"].encode() if "text" in message else message["bytes"]
            self._decoder.feed(payload)
            while (frame := self._decoder.next()) is not None:
                frames.append(frame)
        self.messages = rest
        return frames

    def bodies(self) -> list[bytes]:
        """The bodies of the MESSAGE frames that have come."""
        return [frame.body for frame in self.frames() if frame.command == "MESSAGE"]

    @property
    def closed(self) -> Mapping[str, Any] | None:
        """The close that the application has sent."""
        self.host.settle()
        found = [each for each in self.messages if each["type"] == "websocket.close"]
        assert len(found) <= 1
        return found[0] if found else None

    @property
    def over(self) -> bool:
        """The application's coroutine has returned."""
        self.host.settle()
        return self.task.done()


class Lifespan:
    """The lifespan scope of a host."""

    def __init__(self, host: Asgi) -> None:
        self.sent: list[Mapping[str, Any]] = []
        self._incoming: asyncio.Queue[Mapping[str, Any]] = asyncio.Queue()
        self._host = host
        scope = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}
        self.task = host.loop.create_task(host.app(scope, self._incoming.get, self._send))

    async def _send(self, message: Mapping[str, Any]) -> None:
        self.sent.append(message)

    def tell(self, kind: str) -> list[str]:
        """`startup` or `shutdown`; the kinds of all answers so far."""
        self._incoming.put_nowait({"type": f"lifespan.{kind}"})
        self._host.settle()
        return self.said

    @property
    def said(self) -> list[str]:
        return [message["type"].removeprefix("lifespan.") for message in self.sent]


class Asgi:
    """A host that serves one application on a virtual clock."""

    def __init__(self, app: Callable[[Any, Any, Any], Awaitable[Any]]) -> None:
        self.loop = VirtualLoop()
        self.app = app
        self._lifespans: list[Lifespan] = []
        """The loop holds tasks weakly; these would be lost."""

    def settle(self) -> None:
        self.loop.settle()

    def advance(self, seconds: float) -> None:
        self.loop.advance(seconds)

    def open(self, manner: Manner = at_once, *, path: str = "/ws", **changes: Any) -> Client:
        """A client that has asked for the WebSocket."""
        client = Client(self, websocket_scope(path, **changes), manner)
        client.tell({"type": "websocket.connect"})
        return client

    def lifespan(self) -> Lifespan:
        self._lifespans.append(Lifespan(self))
        return self._lifespans[-1]

    def get(self, path: str = "/ws", **changes: Any) -> tuple[int, dict[str, str], bytes]:
        """One HTTP request: status, headers, body."""
        scope = websocket_scope(path, type="http", method="GET", scheme="http", **changes)
        sent: list[dict[str, Any]] = []

        come = False

        async def receive() -> dict[str, Any]:
            nonlocal come
            if come:
                await asyncio.Event().wait()  # The client waits for its answer.
            come = True
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        self.loop.run(self.app(scope, receive, send))  # type: ignore[arg-type]
        headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        return sent[0]["status"], headers, b"".join(each.get("body", b"") for each in sent)

    def tasks(self) -> set[asyncio.Task[Any]]:
        """Everything that runs."""
        self.settle()
        return asyncio.all_tasks(self.loop)

    def close(self) -> None:
        """The host ends: nothing of it runs any more."""
        for task in asyncio.all_tasks(self.loop):
            task.cancel()
        self.advance(60)
        self.loop.close()
        for lifespan in self._lifespans:
            if not lifespan.task.cancelled():
                lifespan.task.exception()  # A host has seen it.


async def nothing_else(scope: Any, receive: Any, send: Any) -> None:
    """An application without a lifespan that answers nothing."""
    assert scope["type"] != "lifespan"
    await send({"type": "http.response.start", "status": 404, "headers": []})
    await send({"type": "http.response.body", "body": b"of the inner application"})


def host_of(app: StompApp, inner: Any = nothing_else, *, signals: bool = False) -> Asgi:
    """A host that serves an application in front of another."""
    return Asgi(app.wrap(inner, signals=signals))


# Stories


def publish(app: StompApp, *bodies: bytes) -> None:
    for body in bodies:
        app.template.send("/topic/a", body)


def ends_of(app: StompApp) -> list[SessionDisconnected]:
    heard: list[SessionDisconnected] = []

    @app.event_listener(SessionDisconnected, inline=True)
    def listen(event: SessionDisconnected) -> None:
        heard.append(event)

    return heard


def learn(host: Asgi, manner: Any) -> None:
    """The first client of a host that sends in tasks only pays for the lesson."""
    if manner is timed:
        client = host.open(manner)
        client.command("CONNECT", {"accept-version": "1.2", "host": "localhost"})
        assert client.over


def only_timer(host: Asgi) -> bool:
    """Nothing is left of a client: no task, and nothing to do in the next turn."""
    turns = 0

    def count() -> None:
        nonlocal turns
        turns += 1

    assert host.tasks() == set()
    host.loop.call_soon(count)
    host.settle()
    return turns == 1

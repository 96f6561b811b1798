"""The lifespan of a host application, and what runs around it.

Rule: the run begins before the inner application starts, so that its startup may publish; at the
end sessions are drained and their listeners run first, then the inner application shuts down, then
the broker halts. An application without a lifespan of its own gets ours.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

from stocksync_ws.asgi.gateway import Gateway, Scope
from stocksync_ws.asgi.stream import Receive, Send

__all__ = ["AsgiApp", "Wrapped", "lifespan"]

AsgiApp: TypeAlias = Callable[[Any, Any, Any], Awaitable[Any]]


class Wrapped:
    """An ASGI application in front of another: its own scopes, and the lifespan around that of the
    other.

    Args:
        gateway: What serves the endpoint.
        app: The application that gets everything else.
        endpoint: What stands around the gateway; None: nothing.
    """

    def __init__(self, gateway: Gateway, app: AsgiApp, endpoint: AsgiApp | None = None) -> None:
        self._gateway = gateway
        self.other = app
        self.path = gateway.path
        self._endpoint = endpoint or gateway

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one scope, or pass it on."""
        if scope["type"] == "lifespan":
            await lifespan(self._gateway, self.other, scope, receive, send)
        elif self._gateway.owns(scope):
            await self._endpoint(scope, receive, send)
        else:
            await self.other(scope, receive, send)


async def lifespan(
    gateway: Gateway, app: AsgiApp | None, scope: Scope, receive: Receive, send: Send
) -> None:
    """Serve a lifespan scope.

    Args:
        gateway: Begins before `app` starts, and ends after it has shut down.
        app: Gets the scope. One that raises or returns before it has answered has no lifespan, and
            the host is answered here. None: there is no other.
        scope: The scope.
        receive: The host's.
        send: The host's.
    """
    startup = await receive()
    try:
        gateway.begin()
    except Exception as error:
        await send({"type": "lifespan.startup.failed", "message": str(error)})
        raise
    inner = _Inner(gateway, startup, receive, send)
    try:
        try:
            if app is not None:
                await app(scope, inner.receive, inner.send)
        except Exception:
            if inner.answered:
                raise
        await inner.finish()
    except Exception:
        await gateway.end()
        raise
    except BaseException:
        gateway.abort()  # The host cancels, and waits for nothing more.
        raise


class _Inner:
    """What the inner application sees of a lifespan."""

    def __init__(
        self, gateway: Gateway, startup: Mapping[str, Any], receive: Receive, send: Send
    ) -> None:
        self._gateway = gateway
        self._startup: Mapping[str, Any] | None = startup
        self._receive = receive
        self._send = send
        self._stopping = False
        self._over = False
        self.answered = False
        """The application has a lifespan."""

    async def receive(self) -> Mapping[str, Any]:
        """Startup, then shutdown behind the drain."""
        startup, self._startup = self._startup, None
        if startup is not None:
            return startup
        message = await self._receive()
        if message["type"] == "lifespan.shutdown":
            self._stopping = True
            await self._gateway.drain()
        return message

    async def send(self, message: Mapping[str, Any]) -> None:
        """Its answers; the run has ended when the host hears of the last one."""
        self.answered = True
        if message["type"] != "lifespan.startup.complete":
            self._over = True
            await self._gateway.end()
        await self._send(message)

    async def finish(self) -> None:
        """Say for an application what it has not said."""
        if self._over:
            return
        if not self.answered:
            await self._send({"type": "lifespan.startup.complete"})
        while not self._stopping:
            self._stopping = (await self._receive())["type"] == "lifespan.shutdown"
        await self._gateway.end()
        await self._send({"type": "lifespan.shutdown.complete"})

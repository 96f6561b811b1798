"""The lifespan of a host application, and what runs around it.

Rule: the run begins before the inner application starts, so that its startup may publish; at the
end sessions are drained and their listeners run first, then the inner application shuts down, then
the broker halts. An application without a lifespan of its own gets ours.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias, cast

from stocksync_ws.asgi.gateway import Gateway, Scope
from stocksync_ws.asgi.stepping import Receive, Send
from stocksync_ws.checks import takes
from stocksync_ws.errors import ConfigurationError

__all__ = ["AsgiApp", "Wrapped", "lifespan"]

_log = logging.getLogger("stocksync_ws.transport")

AsgiApp: TypeAlias = Callable[[Any, Any, Any], Awaitable[Any]]


def wsgi_application(method: str, app: object) -> ConfigurationError:
    """The error about an application that takes an environ, where one of ASGI belongs."""
    attribute = hasattr(app, "wsgi_app")
    wanted = "app.wsgi_app = ws.wrap_wsgi(app.wsgi_app)" if attribute else "app = ws.wrap_wsgi(app)"
    name = getattr(app, "__name__", type(app).__name__)
    return ConfigurationError(f"{method}: {name} is a WSGI application: write {wanted}")


class Wrapped:
    """An ASGI application in front of another: its own scopes, and the lifespan around that of the
    other.

    Args:
        gateway: What serves the endpoint.
        app: The application that gets everything else.
    """

    def __init__(self, gateway: Gateway, app: AsgiApp) -> None:
        if not callable(cast("object", app)):
            problem = f"{app!r} is no ASGI application, which can be called"
            raise ConfigurationError(f"wrap: {problem}: write application = ws.wrap(app)")
        if not takes(app, 3) and takes(app, 2):
            raise wsgi_application("wrap", app)
        self._gateway = gateway
        self.other = app
        self.path = gateway.path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one scope, or pass it on."""
        if scope["type"] == "lifespan":
            await lifespan(self._gateway, self.other, scope, receive, send)
        elif self._gateway.owns(scope):
            await self._gateway(scope, receive, send)
        else:
            await self.other(scope, receive, send)


async def lifespan(
    gateway: Gateway, app: AsgiApp | None, scope: Scope, receive: Receive, send: Send
) -> None:
    """Serve a lifespan scope.

    Args:
        gateway: Begins before `app` starts, and ends after it has shut down.
        app: Gets the scope. One that raises before it has asked for anything, or returns before it
            has answered, has no lifespan, and the host is answered here. None: there is no other.
        scope: The scope.
        receive: The host's.
        send: The host's.
    """
    startup = await receive()
    try:
        await gateway.begin_lifespan()
    except Exception as error:
        await send({"type": "lifespan.startup.failed", "message": str(error)})
        raise
    inner = _Inner(gateway, startup, receive, send)
    try:
        try:
            if app is not None:
                await app(scope, inner.receive, inner.send)
        except Exception as error:
            if inner.asked and not inner.answered:
                await inner.send({"type": "lifespan.startup.failed", "message": str(error)})
            if inner.asked:
                raise
            _log.debug("the application has no lifespan: %r", error)
        await inner.finish()
    except Exception:
        await inner.end()
        raise
    except BaseException:
        inner.abort()  # The host cancels, and waits for nothing more.
        raise


class _Inner:
    """A lifespan as the inner application sees it."""

    def __init__(
        self, gateway: Gateway, startup: Mapping[str, Any], receive: Receive, send: Send
    ) -> None:
        self._gateway = gateway
        self._startup: Mapping[str, Any] | None = startup
        self._receive = receive
        self._send = send
        self._stopping = False
        self._over = False
        self._ended = False
        self.asked = False
        """The application has a lifespan."""
        self.answered = False
        """The application has said whether it has started."""

    async def receive(self) -> Mapping[str, Any]:
        """Startup, then shutdown behind the drain."""
        self.asked = True
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
            await self.end()
        await self._send(message)

    async def finish(self) -> None:
        """Say for an application what it has not said."""
        if self._over:
            return
        if not self.answered:
            await self._send({"type": "lifespan.startup.complete"})
        while not self._stopping:
            self._stopping = (await self._receive())["type"] == "lifespan.shutdown"
        await self.end()
        await self._send({"type": "lifespan.shutdown.complete"})

    async def end(self) -> None:
        """End the run, once."""
        if not self._ended:
            self._ended = True
            await self._gateway.end()

    def abort(self) -> None:
        """End it at once, where it has not been ended."""
        if not self._ended:
            self._ended = True
            self._gateway.abort()

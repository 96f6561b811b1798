"""The entry points of `StompApp`: servers of our own, and places in applications of others.

Rule: adapters are imported inside the entry points only, so that importing the package costs none
of them. Where the application runs is known to its `Run` and to nobody else.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import ssl
import sys
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from stocksync_ws.arguments import (
    checked_workers,
    read_pages,
    refuse_loop,
    warn_about_hosts,
    warn_about_times,
)
from stocksync_ws.config import EndpointConfig
from stocksync_ws.inbox import Inbox
from stocksync_ws.messaging.application import Application
from stocksync_ws.running.run import Run
from stocksync_ws.wire.endpoint import Page, Site

if TYPE_CHECKING:
    from stocksync_ws.aio.address import Address
    from stocksync_ws.aio.server import Server
    from stocksync_ws.arguments import Pages
    from stocksync_ws.asgi.gateway import Gateway, Workers
    from stocksync_ws.asgi.lifespan import AsgiApp
    from stocksync_ws.threads import ThreadServer
    from stocksync_ws.wsgi import WsgiApp

__all__ = ["EntryPoints"]

_log = logging.getLogger("stocksync_ws.transport")


class EntryPoints(Application):
    """The ways to serve an application."""

    inbox: Inbox
    endpoint: EndpointConfig
    _run: Run
    _workers: Workers
    _asgi_batch: bool

    def _may_serve(self, workers: Workers, *, asgi_batch: bool) -> None:
        """Check the last settings, and let the application run from now on."""
        warn_about_times(self.config.limits)
        self._workers = checked_workers(workers)
        self._asgi_batch = asgi_batch
        self._run = Run(self)
        self.site()  # A mistake in it is told at once.

    @abstractmethod
    def site(self, pages: Mapping[str, Page] | None = None) -> Site:
        """The endpoint, and the pages and routes beside it."""

    def run(
        self,
        host: str = "127.0.0.1",
        port: int = 8000,
        *,
        unix: str | os.PathLike[str] | None = None,
        sock: socket.socket | None = None,
        reuse_port: bool = False,
        pages: Pages | None = None,
        health: str | None = None,
        ssl: ssl.SSLContext | None = None,
    ) -> None:
        """Serve until SIGINT (Ctrl-C) or SIGTERM: the last line of a script. Where no logging is
        configured, the addresses of the endpoint and of the pages are printed.

        Args:
            host: The address to bind.
            port: The port; 0 takes any free one.
            unix: As for `listen`.
            sock: As for `listen`.
            reuse_port: As for `listen`.
            pages: As for `listen`.
            health: As for `listen`.
            ssl: As for `listen`.

        Raises:
            OSError: The address cannot be bound, or a page cannot be read.
            ConfigurationError: A declaration cannot work.
            WrongLoop: The application runs already, or an event loop runs in this thread.
        """
        refuse_loop()
        server = self.listen(
            host,
            port,
            unix=unix,
            sock=sock,
            reuse_port=reuse_port,
            pages=pages,
            health=health,
            ssl=ssl,
        )

        def tell() -> None:
            if not _log.hasHandlers():
                shown = [server.url, *(server.page(path) for path in pages or ())]
                sys.stdout.write(f"serving {', '.join(shown)}; Ctrl-C ends it\n")
                sys.stdout.flush()

        asyncio.run(server.serve_forever(signals=True, started=tell))

    async def serve(
        self,
        host: str = "127.0.0.1",
        port: int = 8000,
        *,
        unix: str | os.PathLike[str] | None = None,
        sock: socket.socket | None = None,
        reuse_port: bool = False,
        pages: Pages | None = None,
        health: str | None = None,
        ssl: ssl.SSLContext | None = None,
        signals: bool = True,
    ) -> None:
        """Serve until cancelled, or until SIGINT or SIGTERM; then close all sessions in good order.

        Args:
            host: The address to bind.
            port: The port; 0 takes any free one.
            unix: As for `listen`.
            sock: As for `listen`.
            reuse_port: As for `listen`.
            pages: As for `listen`.
            health: As for `listen`.
            ssl: As for `listen`.
            signals: Handle SIGINT and SIGTERM; a second one ends at once.

        Raises:
            OSError: The address cannot be bound, or a page cannot be read.
            ConfigurationError: A declaration cannot work.
            WrongLoop: The application runs already.
        """
        server = self.listen(
            host,
            port,
            unix=unix,
            sock=sock,
            reuse_port=reuse_port,
            pages=pages,
            health=health,
            ssl=ssl,
        )
        await server.serve_forever(signals=signals)

    def listen(
        self,
        host: str = "127.0.0.1",
        port: int = 8000,
        *,
        unix: str | os.PathLike[str] | None = None,
        sock: socket.socket | None = None,
        reuse_port: bool = False,
        pages: Pages | None = None,
        health: str | None = None,
        ssl: ssl.SSLContext | None = None,
    ) -> Server:
        """A server beside whatever else runs on the event loop: in a test, or in the lifespan of an
        application. It handles no signals.

            async with ws.listen(port=0) as server:
                print(server.url)

        It listens inside of the block, and at its end closes all sessions in good order, within
        `Limits.shutdown_timeout` seconds.

        Args:
            host: The address to bind.
            port: The port; 0 takes any free one: see `Server.port` and `Server.url`.
            unix: Listen on a Unix socket of this path instead.
            sock: Listen on this bound socket instead, as a supervisor hands it over.
            reuse_port: Several processes may listen on the port.
            pages: Files served beside the endpoint: exact path to file, read once, now.
            health: A path such as `/health` for whoever checks the server: 200 while it takes new
                sessions, 503 while it stops or is full; it then listens until it has stopped.
            ssl: A server-side context, for `wss` and `https`.

        Raises:
            OSError: A page cannot be read; or, on entering the block, the address cannot be bound.
            ConfigurationError: A declaration cannot work.
            WrongLoop: On entering the block: the application runs already.
        """
        from stocksync_ws.aio.address import Address
        from stocksync_ws.aio.server import Server

        address = Address(host, port, unix, sock, reuse_port)
        return Server(self._run, self._served(address, pages, health), address, tls=ssl)

    def serve_in_thread(
        self,
        host: str = "127.0.0.1",
        port: int = 8000,
        *,
        unix: str | os.PathLike[str] | None = None,
        sock: socket.socket | None = None,
        pages: Pages | None = None,
        health: str | None = None,
        ssl: ssl.SSLContext | None = None,
    ) -> ThreadServer:
        """Serve on a thread of its own, beside an application that has no event loop.

            with ws.serve_in_thread(port=8001) as server:
                ...

        It listens when this returns, and ends with the `with` block, by `stop()`, or with the
        interpreter. Handlers that are `async def` run on that thread's loop.

        Args:
            host: The address to bind.
            port: The port; 0 takes any free one, see `ThreadServer.url`.
            unix: As for `serve`.
            sock: As for `serve`.
            pages: As for `serve`.
            health: As for `serve`.
            ssl: As for `serve`.

        Raises:
            OSError: The address cannot be bound, or a page cannot be read.
            ConfigurationError: A declaration cannot work.
            WrongLoop: The application runs already.
        """
        from stocksync_ws.aio.address import Address
        from stocksync_ws.threads import ThreadServer

        address = Address(host, port, unix, sock)
        server = ThreadServer(self._run, self._served(address, pages, health), address, tls=ssl)
        server.start()
        return server

    def _is_healthy(self) -> bool:
        runtime = self._run.runtime
        return runtime is None or runtime.broker.reachable

    def _served(self, address: Address, pages: Pages | None, health: str | None) -> Site:
        self.check()
        site = replace(self.site(read_pages(pages)), health=health, healthy=self._is_healthy)
        if address.unix is None and address.sock is None:
            warn_about_hosts(self.endpoint, address.host)
        return site

    def install(self, app: Any, *, signals: bool = True) -> AsgiApp:
        """Put the endpoint into an ASGI application: `ws.install(app)`.

        It goes in below the application's own middleware, so that its session and user arrive in
        `ConnectRequest.request`; the application's lifespan begins and ends the run, and where the
        server has no lifespan, the first WebSocket begins it.

        Args:
            app: An application of Starlette, FastAPI, Litestar or Quart, a `ProtocolTypeRouter` of
                Channels, or what Django's `get_asgi_application()` returns.
            signals: Close the sessions with 1012 first when SIGTERM or SIGINT comes, within
                `Limits.shutdown_timeout`, then let the server's own handler have it. A second
                signal goes straight through.

        Returns:
            The application to serve: `app` itself, but for Django, where it is
            `application = ws.install(get_asgi_application())`.

        Raises:
            ConfigurationError: `app` is none of these, or has a route at this path.
        """
        from stocksync_ws.asgi.install import install

        return install(self._gateway(signals=signals), app)

    def wrap(self, app: AsgiApp, *, signals: bool = True) -> AsgiApp:
        """An ASGI application that serves the endpoint, and passes everything else on to `app`.

        For applications that `install` does not know. It stands in front of `app`, so middleware
        *inside* of `app` does not see the endpoint: no session, no user, no access log of the
        application's own; wrap those around it instead, or use `install`.

        Args:
            app: Any ASGI application. Its lifespan, where it has one, stands inside of the run.
            signals: As for `install`.

        Raises:
            ConfigurationError: `app` cannot be called.
        """
        from stocksync_ws.asgi.lifespan import Wrapped

        return Wrapped(self._gateway(signals=signals), app)

    def wrap_wsgi(self, app: WsgiApp) -> WsgiApp:
        """A WSGI application that serves the endpoint, and passes everything else on to `app`:
        `app.wsgi_app = ws.wrap_wsgi(app.wsgi_app)`.

        The socket of a WebSocket is taken from the server and served on a thread of ours; the
        thread of the request is free at once. Works on POSIX, on servers that document how to get
        at the socket (Werkzeug, gunicorn's sync, gthread and gevent workers, uWSGI with
        `--http-socket`) and do not end TLS; others get a 501 that says what to do. The environ
        stands in `ConnectRequest.request.scope`.

        Args:
            app: Any WSGI application.

        Raises:
            ConfigurationError: `app` cannot be called.
        """
        from stocksync_ws.wsgi import WrappedWsgi

        limits, refuse = self.config.limits, self._workers == "refuse"
        site = self.site()
        return WrappedWsgi(self._run, self.check, site, app, limits=limits, refuse_siblings=refuse)

    def _gateway(self, *, signals: bool) -> Gateway:
        from stocksync_ws.asgi.gateway import Gateway

        return Gateway(
            self._run,
            self.check,
            self.site(),
            batch=self._asgi_batch,
            signals=signals,
            workers=self._workers,
        )

"""`StompApp`: an application with its endpoint and its entry points.

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
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from stocksync_ws.arguments import (
    mapping,
    read_pages,
    refuse_loop,
    sockjs_options,
    sockjs_routes,
    texts,
    warn_about_hosts,
    warn_about_times,
)
from stocksync_ws.config import BrokerConfig, EndpointConfig, Limits, SockJSOptions
from stocksync_ws.counters import Counters
from stocksync_ws.errors import ConfigurationError
from stocksync_ws.inbox import Inbox
from stocksync_ws.messaging.application import Application
from stocksync_ws.messaging.connect import Authenticate, RolesOf
from stocksync_ws.messaging.rights import Default
from stocksync_ws.messaging.scalars import INTEGER_BITS
from stocksync_ws.policies import DestinationPolicy
from stocksync_ws.running.run import Run
from stocksync_ws.stomp.negotiate import choose_subprotocol
from stocksync_ws.wire.endpoint import Page, Site

if TYPE_CHECKING:
    from stocksync_ws.aio.address import Address
    from stocksync_ws.aio.server import Server
    from stocksync_ws.arguments import Pages, Texts
    from stocksync_ws.asgi.gateway import Gateway, Workers
    from stocksync_ws.asgi.lifespan import AsgiApp
    from stocksync_ws.threads import ThreadServer
    from stocksync_ws.wire.sockjs.routes import SockJSRoutes
    from stocksync_ws.wsgi import WsgiApp

__all__ = ["StompApp"]

_log = logging.getLogger("stocksync_ws.transport")

_DEFAULTS = BrokerConfig()


class StompApp(Application):
    """Spring-style messaging for a web application.

    `Texts` below are a list, a tuple or a set of texts, and never one text alone.

    Args:
        path: The path of the WebSocket, for example `/inventory-ws`.
        allowed_origins: Pages that may open it in a browser: `["*"]`, or exact origins such as
            `https://shop.example`, `capacitor://localhost`, `file://`, `null`; none: the same one.
        allowed_hosts: Host names that may stand in the Host header; None: any.
        authenticator: Decides once per session, at CONNECT, who it is: a function, sync or async,
            from a `ConnectRequest` to an object with a `name`, or None. Its return annotation names
            the class of the users, by which handlers get them. None: everybody is anonymous.
        application_prefixes: Destinations that go to handlers.
        broker_prefixes: Destinations that go to the broker.
        queue_prefixes: The broker prefixes of queues.
        user_prefix: Destinations that mean the receiver's own sessions.
        client_send: Patterns of broker destinations that clients may SEND to.
        client_subscribe: Patterns of broker destinations that clients may SUBSCRIBE to.
        heart_beat: Seconds: how often we can send, how often we want to receive; 0 is never.
        missed_heart_beats: A peer is lost after this many agreed intervals without a byte.
        error_destination: Below the user prefix: where sessions are told of application errors.
        destinations: Patterns of broker destinations and what is kept below them: `Topic`,
            `Stream`, `Latest` or `Queue`; the first that matches counts.
        limits: Every bound, see `Limits`.
        sockjs: Serve SockJS too, for browsers that a proxy keeps from opening a WebSocket; True, or
            `SockJSOptions`. Clients are then `new SockJS("/inventory-ws")`.
        json_integers: Bits of an integer in a body, a variable or a header; one with more is a
            `ConversionError`. 54 is what JavaScript holds exactly; None: any, to 4,300 digits.
        trusted_proxies: Addresses and networks of proxies whose `Forwarded` and `X-Forwarded-For`,
            `-Proto`, `-Host` are believed, `unix` for a Unix socket; ASGI hosts have a setting.
        asgi_batch: On a host server, join the frames that a client gets in a turn into one message:
            much cheaper on busy topics, if clients look for several in one, as @stomp/stompjs does.
        workers: The answer of a second worker process behind the same address, after 30 s: `warn`
            logs a warning, `refuse` answers 503 to new sessions as well.
        roles: A function, sync or async, from a user to its roles, asked once a session.
        default_access: Without a rule of `authorize` a destination is open (`allow`), or `deny`.

    Raises:
        ConfigurationError: A setting is wrong; the text says which and how to mend it.
    """

    def __init__(
        self,
        path: str,
        *,
        allowed_origins: Texts = (),
        allowed_hosts: Texts | None = None,
        authenticator: Authenticate | None = None,
        application_prefixes: Texts = _DEFAULTS.application_prefixes,
        broker_prefixes: Texts = _DEFAULTS.broker_prefixes,
        queue_prefixes: Texts = _DEFAULTS.queue_prefixes,
        user_prefix: str = _DEFAULTS.user_prefix,
        client_send: Texts = _DEFAULTS.client_send,
        client_subscribe: Texts = _DEFAULTS.client_subscribe,
        heart_beat: tuple[float, float] = _DEFAULTS.heart_beat,
        missed_heart_beats: float = _DEFAULTS.missed_heart_beats,
        error_destination: str = _DEFAULTS.error_destination,
        destinations: Mapping[str, DestinationPolicy] = _DEFAULTS.destinations,
        limits: Limits = _DEFAULTS.limits,
        sockjs: bool | SockJSOptions = False,
        json_integers: int | None = INTEGER_BITS,
        trusted_proxies: Texts = (),
        asgi_batch: bool = False,
        workers: Workers = "warn",
        roles: RolesOf | None = None,
        default_access: Default = "allow",
    ) -> None:
        config = BrokerConfig(
            application_prefixes=texts("application_prefixes", application_prefixes),
            broker_prefixes=texts("broker_prefixes", broker_prefixes),
            queue_prefixes=texts("queue_prefixes", queue_prefixes),
            user_prefix=user_prefix,
            client_send=texts("client_send", client_send),
            client_subscribe=texts("client_subscribe", client_subscribe),
            heart_beat=heart_beat,
            missed_heart_beats=missed_heart_beats,
            error_destination=error_destination,
            destinations=mapping("destinations", destinations),
            limits=limits,
        )
        warn_about_times(limits)
        self.inbox = Inbox()
        self.endpoint = EndpointConfig(
            path=path,
            allowed_origins=texts("allowed_origins", allowed_origins),
            allowed_hosts=None if allowed_hosts is None else texts("allowed_hosts", allowed_hosts),
            sockjs=sockjs_options(sockjs),
        )
        super().__init__(config, self.inbox, authenticator, json_integers, roles, default_access)
        if workers not in ("warn", "refuse"):
            raise ConfigurationError(f"workers: must be 'warn' or 'refuse', not {workers!r}")
        self._sockjs: SockJSRoutes | None = None
        self._trusted_proxies = texts("trusted_proxies", trusted_proxies)
        if trusted_proxies:
            self.site()  # A mistake in them is told at once.
        self._workers: Workers = workers
        self._asgi_batch = asgi_batch
        self._run = Run(self)

    @property
    def counters(self) -> Counters:
        """Totals of what was refused, dropped, late or lost in this run, or in the last one."""
        return self._run.counters

    def site(self, pages: Mapping[str, Page] | None = None) -> Site:
        """The endpoint, and the pages and routes beside it, for a server of this application."""
        site = Site(self.endpoint, choose_subprotocol, dict(pages or {}))
        if self.endpoint.sockjs is not None:
            # One table of sessions, whatever servers the application has.
            self._sockjs = self._sockjs or sockjs_routes(self.endpoint, self.config.limits)
            routes = self._sockjs
            site = replace(site, routes={self.endpoint.path: routes}, greet=routes.greet)
        if self._trusted_proxies:
            from stocksync_ws.aio.proxies import TrustedProxies

            site = replace(site, seen=TrustedProxies(self._trusted_proxies))
        return site

    @property
    def ready(self) -> bool:
        """The application runs and takes new sessions: what a health check of the application's own
        asks. May be asked from any thread.
        """
        runtime = self._run.runtime
        return runtime is not None and runtime.ready

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

    def _served(self, address: Address, pages: Pages | None, health: str | None) -> Site:
        self.check()
        site = replace(self.site(read_pages(pages)), health=health)
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

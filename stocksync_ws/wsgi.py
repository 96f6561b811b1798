"""The endpoint inside a WSGI application: the socket of an upgrade, or of a request that carries or
feeds a wire, is taken over and served on a thread of ours.

Rule: the server of the application keeps its descriptor, with a dead end behind it: what it
writes, reads, shuts down or closes never touches the client. Only documented ways to the socket are
used; where there is none, the answer names the way out. The thread of the request is free again at
once.

The thread starts with the first request of any kind, in the process that serves it: a server that
forks its workers does so before, and the publications of a page are applied.
"""

from __future__ import annotations

import os
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from http import HTTPStatus
from typing import Any, TypeAlias, cast
from urllib.parse import quote

from stocksync_ws.checks import PATH_SAFE, takes
from stocksync_ws.config import Limits
from stocksync_ws.errors import ConfigurationError
from stocksync_ws.running.native import socket_of, socket_pair
from stocksync_ws.running.run import Run
from stocksync_ws.threads import ThreadServer
from stocksync_ws.types import HttpRequest
from stocksync_ws.wire.answer import Answer, plain, refusal, unavailable
from stocksync_ws.wire.endpoint import Carrier, Endpoint, Site, decide
from stocksync_ws.wire.http import has_body
from stocksync_ws.wire.upgrade import check_handshake

__all__ = ["WrappedWsgi"]

Environ: TypeAlias = dict[str, Any]
StartResponse: TypeAlias = Callable[..., Any]
WsgiApp: TypeAlias = Callable[[Environ, StartResponse], Iterable[bytes]]

_GONE_ON = "101 Switching Protocols"
"""The answer that the server believes it gave: it adds no body, and expects no next request."""

_PART = 65_536
"""Bytes that are read at a time."""

_WAY_OUT = "serve it on a port of its own: ws.serve_in_thread(), see docs/embedding/index.md"


class WrappedWsgi:
    """A WSGI application in front of another: requests for the endpoint are its own.

    Args:
        run: The one run of the application.
        check: A function that freezes the application, and raises `ConfigurationError` when a
            declaration cannot work.
        site: Endpoint and routes.
        app: The application that gets everything else.
        limits: The limits, for `sockjs_body`.
        refuse_siblings: A second worker, that warns after 30 s, takes no sessions from then on.
    """

    def __init__(
        self,
        run: Run,
        check: Callable[[], None],
        site: Site,
        app: WsgiApp,
        *,
        limits: Limits,
        refuse_siblings: bool = False,
    ) -> None:
        if not callable(cast("object", app)):
            problem = f"{app!r} is no WSGI application, which can be called"
            wanted = "app.wsgi_app = ws.wrap_wsgi(app.wsgi_app)"
            raise ConfigurationError(f"wrap_wsgi: {problem}: write {wanted}")
        if not takes(app, 2) and takes(app, 3):
            name = getattr(app, "__name__", type(app).__name__)
            raise ConfigurationError(
                f"wrap_wsgi: {name} is an ASGI application: write ws.install(app), or for one that"
                f" install does not know app = ws.wrap(app)"
            )
        self._run = run
        self._limits = limits
        self._refuse_siblings = refuse_siblings
        self._check = check
        self._site = site
        self._app = app
        self._lock = threading.Lock()
        """The lock is held while the thread starts."""
        self._server: ThreadServer | None = None
        self._pid: int | None = None
        """The process of the thread."""

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Serve one request, or pass it on."""
        path = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
        inner = environ.get("PATH_INFO", "")
        for each in (inner, path):
            if self._site.has(each):
                return self._serve(environ, each, start_response)
        begun = self._pid is not None or self._run.runtime is not None
        if not begun and isinstance(find_socket(environ), int):  # A test client has none.
            self._begin(environ)
        return self._app(environ, start_response)

    def _serve(self, environ: Environ, path: str, start_response: StartResponse) -> Iterable[bytes]:
        request = self._site.seen(request_of(environ, path))
        decision = decide(request, self._site, check_handshake)
        found = find_socket(environ)
        answer = decision if isinstance(decision, Answer) else None
        if not isinstance(decision, Answer):
            answer = self._hand_over(environ, request, decision, found)
        if answer is not None:
            now = time.monotonic()
            self._site.refusals.tell(answer, self._run.counters, request.peer, now)
            return _respond(answer, start_response)
        # The server writes this into a dead end.
        start_response(_GONE_ON, [])
        return []

    def _hand_over(
        self, environ: Environ, request: HttpRequest, decision: Endpoint | Carrier, found: int | str
    ) -> Answer | None:
        """Give the socket of a request to our thread; or return the answer that says why not."""
        if not isinstance(found, int):
            asked = "WebSocket" if isinstance(decision, Endpoint) else "request of SockJS"
            text = f"This server cannot pass a {asked} on ({found})."
            log = f"no {asked} through this server ({found}): {_WAY_OUT}"
            answer = refusal(501, text, log=log)
            return answer if isinstance(decision, Endpoint) else replace(answer, refused=None)
        body = b""
        if isinstance(decision, Carrier) and has_body(request):
            if not decision.body:
                return plain(413, "A body is not possible here.")
            read = _read_body(environ, self._limits.sockjs_body)
            if isinstance(read, Answer):
                return read
            body = read
        server = self._begin(environ)
        if server.refuses or (server.sibling and self._refuse_siblings):
            self._run.counters.connections_refused += 1
            return unavailable(request)
        server.adopt(take_over(found, server.swallow), request, body)
        return None

    def _begin(self, environ: Environ) -> ThreadServer:
        with self._lock:
            server = self._server
            if server is None or self._pid != os.getpid() or not server.running:
                self._check()
                server = ThreadServer(self._run, self._site, None)
                server.start()
                if self._run.backplane is None:
                    server.claim(environ["SERVER_NAME"], int(environ["SERVER_PORT"]))
                self._server, self._pid = server, os.getpid()
            return server


_BARE = (("content-length", "CONTENT_LENGTH"), ("content-type", "CONTENT_TYPE"))
"""The headers that stand in an environ without HTTP_ in front."""


def request_of(environ: Environ, path: str) -> HttpRequest:
    """The request of a WSGI environ (PEP 3333).

    Args:
        environ: The environ as the server made it; it is found again as `HttpRequest.scope`.
        path: The path that the site has: with the mount point of the application, or without it.
    """
    headers = [(name, str(environ[key])) for name, key in _BARE if environ.get(key)]
    for name, value in environ.items():
        if name.startswith("HTTP_"):
            headers.append((name[5:].replace("_", "-").lower(), value.strip(" \t")))
    target = quote(path.encode("latin-1"), safe=PATH_SAFE)
    query = environ.get("QUERY_STRING", "")
    address, port = environ.get("REMOTE_ADDR"), environ.get("REMOTE_PORT", "0")
    return HttpRequest(
        method=environ["REQUEST_METHOD"],
        target=f"{target}?{query}" if query else target,
        headers=tuple(headers),
        http_version=environ.get("SERVER_PROTOCOL", "HTTP/1.1").partition("/")[2],
        peer=f"{address}:{port}" if address else None,
        secure=environ.get("wsgi.url_scheme") == "https",
        scope=environ,
    )


def _read_body(environ: Environ, most: int) -> bytes | Answer:
    """The whole body of a request, or the answer. Of one over the bound as much again is read:
    a server that closes in front of unread bytes takes the answer back.
    """
    length = int(environ.get("CONTENT_LENGTH") or 0)
    if not length and not environ.get("wsgi.input_terminated"):
        return b""
    parts: list[bytes] = []
    size, end = 0, min(length or 2 * most, 2 * most)
    try:
        while size < end and (part := environ["wsgi.input"].read(min(end - size, _PART))):
            size += len(part)
            if size <= most:
                parts.append(part)
    except OSError:
        size = -1  # The client has gone.
    if size > most:
        return plain(413, "The body is too large.")
    if size < length:
        return plain(400, "The body is not whole.")
    return b"".join(parts)


def find_socket(environ: Environ) -> int | str:
    """The descriptor of the client's connection, by the ways that servers document; or the reason
    why there is none.
    """
    if sys.platform == "win32":
        return "a socket cannot be taken over on Windows"
    found = environ.get("werkzeug.socket") or environ.get("gunicorn.socket")
    if found is None and "uwsgi" in sys.modules and environ.get("uwsgi.version"):
        fd: int = sys.modules["uwsgi"].connection_fd()
        return fd
    if found is None:
        return "it gives no access to the socket"
    if isinstance(found, ssl.SSLSocket) or hasattr(found, "_sslobj"):
        return "TLS ends in it"
    number: int = found.fileno()
    return number


def take_over(fd: int, swallow: Callable[[socket.socket], None]) -> socket.socket:
    """Take the connection behind a descriptor, and leave a dead end there.

    Args:
        fd: The server's descriptor; it stays open, and stays the server's.
        swallow: Reads and drops what comes out of the other end until that is closed.
    """
    ours = socket_of(os.dup(fd))
    dead, other = socket_pair()
    try:
        # The server reads the end of the stream at once.
        other.shutdown(socket.SHUT_WR)
        os.dup2(dead.fileno(), fd)
    except BaseException:
        ours.close()
        other.close()
        raise
    finally:
        dead.close()
    swallow(other)
    return ours


def _respond(answer: Answer, start_response: StartResponse) -> Iterable[bytes]:
    try:
        phrase = HTTPStatus(answer.status).phrase
    except ValueError:
        phrase = "Refused"
    # The header Connection is the server's own.
    headers = [each for each in answer.headers if each[0] != "Upgrade"]
    start_response(f"{answer.status} {phrase}", headers)
    return [answer.body]

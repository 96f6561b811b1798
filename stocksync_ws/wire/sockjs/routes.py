"""The paths of SockJS below an endpoint, and the answers that need no session.

Rule: a path has a fixed number of segments. What does not fit is 404, and so are a `;` (a name
behind it is how a browser is made to save an answer as a file) and an encoded slash. Origin and
host were judged before; here an origin is answered with the headers of CORS, and nothing is cached
but what is the same for everybody.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from hashlib import sha1
from typing import Final
from urllib.parse import unquote

from stocksync_ws.config import EndpointConfig, Limits
from stocksync_ws.errors import ConfigurationError
from stocksync_ws.types import Connection, HttpRequest
from stocksync_ws.wire.answer import Answer, plain, unavailable
from stocksync_ws.wire.endpoint import Carrier, Endpoint
from stocksync_ws.wire.framing import Framing
from stocksync_ws.wire.http import tokens, wants_websocket
from stocksync_ws.wire.sockjs.frames import ANOTHER_OPEN, FORMATS, Format
from stocksync_ws.wire.sockjs.posts import Poster
from stocksync_ws.wire.sockjs.requests import Headers, Notice, Receiver, Voice
from stocksync_ws.wire.sockjs.sessions import SockJSSessions, SockJSWire

__all__ = ["SockJSRoutes"]

_SEGMENT: Final = re.compile(r"[^/.;\x00-\x1f\x7f]{1,128}")
_IFRAME: Final = re.compile(r"/iframe[0-9-.a-z_]*\.html")
_CALLBACK: Final = re.compile(r"[A-Za-z0-9_.-]{1,32}")
_COOKIE: Final = re.compile(r"[!#-+\--:<-\[\]-~]{1,128}")
_NAMES: Final = re.compile(r"[-!#$%&'*+.^_`|~0-9A-Za-z, ]{1,1024}")

_NOT_CACHED: Final = (
    ("Cache-Control", "no-store, no-cache, no-transform, must-revalidate, max-age=0"),
)
_YEAR: Final = 31_536_000
_CACHED: Final = (
    ("Cache-Control", f"public, max-age={_YEAR}"),
    # For caches that know no max-age: no clock is asked here.
    ("Expires", "Thu, 31 Dec 2037 23:55:55 GMT"),
)
_TEXT: Final = ("Content-Type", "text/plain; charset=UTF-8")
_NOSNIFF: Final = ("X-Content-Type-Options", "nosniff")
_GREETING: Final = b"Welcome to SockJS!\n"

_SENDS: Final = {
    "xhr_send": ("xhr", "xhr_streaming", "eventsource", "htmlfile"),
    "jsonp_send": ("jsonp",),
}
"""The half that sends, and the transports that need it."""


class SockJSRoutes:
    """What SockJS answers below one endpoint.

    Args:
        endpoint: With its `sockjs` options.
        limits: For sessions, bodies and messages.
        entropy: A random number of 32 bits, new each time.
    """

    def __init__(
        self, endpoint: EndpointConfig, limits: Limits, entropy: Callable[[], int]
    ) -> None:
        options = endpoint.sockjs
        if options is None:
            raise ConfigurationError("sockjs: the endpoint has no SockJSOptions")
        self._options = options
        self._limits = limits
        self._entropy = entropy
        self.sessions = SockJSSessions(options, limits)
        on = {name for name in FORMATS if getattr(options, name)}
        self._receivers = {name: FORMATS[name] for name in on}
        self._senders = {name for name, needed in _SENDS.items() if on.intersection(needed)}
        self._frame: tuple[bytes, str] | None = None
        if options.iframe and endpoint.allowed_origins in ((), ("*",)):
            self._frame = _frame_page(options.client_url or "")

    def greet(self, request: HttpRequest) -> Answer | None:
        """The answer to a plain GET of the endpoint itself."""
        if request.method not in ("GET", "HEAD") or wants_websocket(request):
            return None
        return _answer(200, (_TEXT, _NOSNIFF), _GREETING)

    def __call__(self, request: HttpRequest, rest: str) -> Answer | Carrier | Endpoint | None:
        """Decide what is below the endpoint.

        Args:
            request: Its origin has been judged.
            rest: Its path below the endpoint, from the slash on.
        """
        if rest == "/info":
            return self._info(request)
        if rest == "/websocket" and self._options.websocket:
            return _websocket(request) or Endpoint(None)
        if _IFRAME.fullmatch(rest):
            return self._iframe(request)
        return self._in_session(request, rest)

    def _in_session(self, request: HttpRequest, rest: str) -> Answer | Carrier | Endpoint | None:
        segments = rest.split("/")
        if len(segments) != 4:
            return None
        server, name, transport = (unquote(segment) for segment in segments[1:])
        if not (_SEGMENT.fullmatch(server) and _SEGMENT.fullmatch(name)):
            return None
        if transport == "websocket" and self._options.websocket:
            return _websocket(request) or Endpoint(None, framed=True)
        form = self._receivers.get(transport)
        if form is not None:
            return self._receive(request, name, form)
        return self._send(request, name, transport) if transport in self._senders else None

    # Answers without a session

    def _info(self, request: HttpRequest) -> Answer:
        if request.method == "OPTIONS":
            return _preflight(request, "OPTIONS, GET")
        if request.method not in ("GET", "HEAD"):
            return _wrong_method("OPTIONS, GET")
        info: dict[str, object] = {
            "websocket": self._options.websocket,
            "cookie_needed": self._options.cookie,
            "origins": ["*:*"],
            "entropy": self._entropy(),
        }
        if self._options.base_url is not None:
            info["base_url"] = self._options.base_url
        headers = (
            ("Content-Type", "application/json; charset=UTF-8"),
            _NOSNIFF,
            *_NOT_CACHED,
            *_cors(request),
        )
        return _answer(200, headers, json.dumps(info).encode())

    def _iframe(self, request: HttpRequest) -> Answer | None:
        if self._frame is None:
            return None
        if request.method not in ("GET", "HEAD"):
            return _wrong_method("GET")
        body, tag = self._frame
        headers = (("ETag", tag), *_CACHED)
        if tag in (item.strip() for item in (request.get("if-none-match") or "").split(",")):
            return Answer(304, headers, b"")
        return _answer(200, (("Content-Type", "text/html; charset=UTF-8"), *headers), body)

    # Requests of a session

    def _receive(self, request: HttpRequest, name: str, form: Format) -> Answer | Carrier:
        if request.method == "OPTIONS" and form.method == "POST":
            return _preflight(request, "OPTIONS, POST")
        if request.method != form.method:
            return _wrong_method("OPTIONS, POST" if form.method == "POST" else "GET")
        callback = ""
        if form.callback:
            callback = request.query.get("c") or request.query.get("callback") or ""
            if not callback:
                return plain(500, '"callback" parameter required')
            if not _CALLBACK.fullmatch(callback):
                return plain(500, 'invalid "callback" parameter')
        headers: Headers = (("Content-Type", form.content_type), _NOSNIFF, *self._common(request))
        if form.streams:
            headers = (*headers, ("X-Accel-Buffering", "no"))

        def open_it(request: HttpRequest, framing: Framing, full: bool) -> Connection | Answer:
            return self._open(request, name, Voice(form, framing, headers, callback), full)

        return Carrier(open_it, opens=self.sessions.find(name) is None)

    def _open(
        self, request: HttpRequest, name: str, voice: Voice, full: bool
    ) -> Connection | Answer:
        sessions = self.sessions
        wire = sessions.find(name)
        if wire is None:
            if full or sessions.full:
                return unavailable(request)
            return Receiver(sessions, sessions.open(name, _host(request)), voice, request)
        if not self._may_continue(wire, request):
            return _foreign(request)
        if wire.carrier is not None and not wire.over:
            # Also behind the last frame, which may be on its way.
            return Notice(wire, voice, ANOTHER_OPEN, ends=False)
        if wire.over or wire.said_all:
            assert wire.closing is not None
            return Notice(wire, voice, wire.closing, ends=not wire.over)
        return Receiver(sessions, wire, voice, None)

    def _send(self, request: HttpRequest, name: str, transport: str) -> Answer | Carrier:
        form = transport == "jsonp_send"
        if request.method == "OPTIONS" and not form:
            return _preflight(request, "OPTIONS, POST")
        if request.method != "POST":
            return _wrong_method("POST" if form else "OPTIONS, POST")
        common = self._common(request)
        done = Answer(204, (_TEXT, *common), b"")
        if form:
            done = _answer(200, (_TEXT, _NOSNIFF, *common), b"ok")
            kind = (request.get("content-type") or "").partition(";")[0]
            form = kind.strip().lower() != "text/plain"

        def open_it(request: HttpRequest, framing: Framing, full: bool) -> Connection | Answer:
            wire = self.sessions.find(name)
            if wire is None or wire.over:
                return _unknown(request)
            if not self._may_continue(wire, request):
                return _foreign(request)
            if wire.posters >= self._limits.sockjs_posts:
                return unavailable(request)
            cors = _cors(request)
            return Poster(wire, framing, self._limits, done=done, cors=cors, form=form)

        return Carrier(open_it, body=True)

    def _common(self, request: HttpRequest) -> Headers:
        """Headers of every answer of a session."""
        headers: Headers = (*_NOT_CACHED, *_cors(request))
        if self._options.cookie:
            found = request.cookies.get("JSESSIONID", "")
            value = found if _COOKIE.fullmatch(found) else "dummy"
            headers = (*headers, ("Set-Cookie", f"JSESSIONID={value}; path=/"))
        return headers

    def _may_continue(self, wire: SockJSWire, request: HttpRequest) -> bool:
        return not self._options.bind_address or wire.peer == _host(request)


def _host(request: HttpRequest) -> str | None:
    """The address of the peer without its port."""
    return request.peer.rpartition(":")[0] if request.peer else None


def _answer(status: int, headers: Headers, body: bytes) -> Answer:
    return Answer(status, (*headers, ("Content-Length", str(len(body)))), body)


def _wrong_method(allowed: str) -> Answer:
    return Answer(405, (("Allow", allowed), ("Content-Length", "0")), b"")


def _unknown(request: HttpRequest) -> Answer:
    log = (
        "SockJS: a message for a session that is not here; with several workers, a balancer has to"
        " be sticky"
    )
    return _with_log(plain(404, "There is no such session.", *_cors(request)), log)


def _foreign(request: HttpRequest) -> Answer:
    log = (
        "SockJS: a session was continued from another address; see SockJSOptions.bind_address, and"
        " trusted_proxies where there is a proxy"
    )
    return _with_log(plain(404, "There is no such session.", *_cors(request)), log)


def _with_log(answer: Answer, log: str) -> Answer:
    return Answer(answer.status, answer.headers, answer.body, log=log)


def _websocket(request: HttpRequest) -> Answer | None:
    """Judge a request for a WebSocket below the endpoint; None: its mechanics are judged next."""
    if request.method != "GET":
        return _wrong_method("GET")
    if request.scope is not None and request.scope.get("type") == "websocket":
        return None
    if not wants_websocket(request):
        return plain(400, 'Can "Upgrade" only to "WebSocket".')
    if "upgrade" not in tokens(request.all("connection")):
        return plain(400, '"Connection" must be "Upgrade".')
    return None


def _cors(request: HttpRequest) -> Headers:
    """The headers that let a page of an allowed origin read the answer, with its cookies."""
    origin = request.get("origin")
    if origin is None:
        return (("Access-Control-Allow-Origin", "*"), ("Vary", "Origin"))
    return (
        ("Access-Control-Allow-Origin", origin),
        ("Access-Control-Allow-Credentials", "true"),
        ("Vary", "Origin"),
    )


def _preflight(request: HttpRequest, methods: str) -> Answer:
    """The answer to the question of a browser whether a page may ask (Fetch §3.2.2)."""
    headers: Headers = (
        *_CACHED,
        ("Access-Control-Max-Age", str(_YEAR)),
        ("Access-Control-Allow-Methods", methods),
        *_cors(request),
    )
    names = request.get("access-control-request-headers")
    if names and _NAMES.fullmatch(names):
        headers = (*headers, ("Access-Control-Allow-Headers", names))
    return Answer(204, headers, b"")


def _frame_page(client_url: str) -> tuple[bytes, str]:
    """The page of the protocol for transports in a frame, and its tag."""
    body = f"""<!DOCTYPE html>
<html>
<head>
  <meta http-equiv="X-UA-Compatible" content="IE=edge" />
  <meta http-equiv="Content-Type" content="text/html; charset=UTF-8" />
  <script src="{client_url}"></script>
  <script>
    document.domain = document.domain;
    SockJS.bootstrap_iframe();
  </script>
</head>
<body>
  <h2>Don't panic!</h2>
  <p>This is a SockJS hidden iframe. It's used for cross domain magic.</p>
</body>
</html>
""".encode()
    return body, f'"{sha1(body, usedforsecurity=False).hexdigest()}"'

"""Policy: what a request gets. One pure function, `decide`, that every entry path calls.

Rule: host, path, origin and sub-protocol are judged here and nowhere else, and before anything is
kept for the client. How a WebSocket is asked for is no policy: HTTP/1.1 does it by an Upgrade and a
key (`upgrade.py`), HTTP/2 by Extended CONNECT, an ASGI server by a scope; all of them are judged by
the same rules. What the client sent is compared, never echoed; it is shown only in `Answer.log`,
escaped and cut.

Origins: none configured means the same origin, else exactly the listed ones, and `*` means any,
`null` included. A missing Origin is allowed, because browsers send one with every upgrade.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Final, TypeAlias, cast

from stocksync_ws.checks import OPAQUE_ORIGINS
from stocksync_ws.config import EndpointConfig
from stocksync_ws.errors import ConfigurationError
from stocksync_ws.types import Connection, HttpRequest
from stocksync_ws.wire.answer import Answer, Refusals, plain, refusal, show
from stocksync_ws.wire.framing import Framing
from stocksync_ws.wire.http import has_body, wants_websocket

__all__ = [
    "Carrier",
    "Check",
    "Decision",
    "Endpoint",
    "Page",
    "Route",
    "Site",
    "decide",
]

_PREFIX: Final = re.compile(r"(?:/[^/?#*]+)+")
_TOKEN: Final = re.compile(r"[-!#$%&'*+.^_`|~0-9A-Za-z]+")
_AUTHORITY: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::([0-9]{1,5}))?")
_ORIGIN: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.+)")
_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Endpoint:
    """The WebSocket, which this client may have; answered when the session has been accepted."""

    subprotocol: str | None
    """The chosen one, or None."""
    framed: bool = False
    """The messages are frames of SockJS."""


@dataclass(frozen=True)
class Carrier:
    """A request that carries or feeds a wire without a WebSocket, as a poll of SockJS does."""

    open: Callable[[HttpRequest, Framing, bool], Connection | Answer]
    """Make the connection that answers this one request, or say why there is none: called once,
    with the framing of the answer, and whether no new session is taken now. The connection is then
    started (`Connection.start`); it is over when it says `Detached`, and `shut` says that the
    stream ends with it.
    """
    body: bool = False
    """The request has a body: the connection receives it, and nothing when it is whole. Else the
    connection receives nothing.
    """
    opens: bool = False
    """The request is the handshake of a session, of which there is none yet."""


Decision: TypeAlias = Answer | Endpoint | Carrier

Check: TypeAlias = Callable[[HttpRequest], Answer | None]
"""Judge how a WebSocket is asked for: None when there is nothing to object to."""

Route: TypeAlias = Callable[[HttpRequest, str], Answer | Carrier | Endpoint | None]
"""Decide what is below a prefix, from the request and the rest of its path, which begins with a
slash and is not percent-decoded; None: nothing is there. Pure; asked when host and origin have been
judged. The mechanics of an `Endpoint` and its sub-protocol are judged behind it.
"""


@dataclass(frozen=True)
class Page:
    """One file that is served as it is.

    Raises:
        ConfigurationError: The content type cannot stand in a header.
    """

    content_type: str
    body: bytes

    def __post_init__(self) -> None:
        if not (self.content_type.isascii() and self.content_type.isprintable()):
            raise ConfigurationError(f"pages: {self.content_type!r} is no content type")


@dataclass(frozen=True)
class Site:
    """The paths of one server or application: one endpoint, pages and routes beside it.

    No path has two meanings. A route has all that is below its prefix and nothing else; so the
    endpoint itself may stand on the prefix, with and without a trailing slash.

    Raises:
        ConfigurationError: A path or a prefix is malformed, or two of them overlap.
    """

    endpoint: EndpointConfig
    choose_subprotocol: Callable[[Sequence[str]], str | None]
    """The sub-protocol to answer out of those offered, or None."""
    pages: Mapping[str, Page] = field(default_factory=dict[str, Page])
    """By exact path."""
    routes: Mapping[str, Route] = field(default_factory=dict[str, Route])
    """By prefix, like `/live`: has `/live/a`, neither `/live` nor `/lively`."""
    health: str | None = None
    """A path that says that new sessions are taken, to whoever asks, under whatever host name: a
    health check of a balancer knows an address. While none are taken it is 503, as all else.
    """
    healthy: Callable[[], bool] = field(default_factory=lambda: _always)
    """Health of the application: `health` is 200 while this is true, else 503."""
    greet: Callable[[HttpRequest], Answer | None] = field(default_factory=lambda: _no_greeting)
    """The answer to a request for the path of the endpoint that asks for no WebSocket, or None."""
    seen: Callable[[HttpRequest], HttpRequest] = field(default_factory=lambda: _as_it_came)
    """The request as the first proxy saw it, where proxies are trusted."""
    refusals: Refusals = field(default_factory=Refusals, repr=False, compare=False)
    """Counts and logs what is refused."""

    def __post_init__(self) -> None:
        for prefix in self.routes:
            self._check_prefix(prefix)
        for path in self.pages:
            if not path.startswith("/") or "?" in path:
                bare = "/" + path.lstrip("/").partition("?")[0]
                problem = f"must be a path like '/index.html': write {bare!r}"
                raise ConfigurationError(f"pages: {path!r} {problem}")
            if path in self.paths:
                problem = "is the path of the WebSocket: give the page or StompApp another one"
                raise ConfigurationError(f"pages: {path!r} {problem}")
        if self.health is not None:
            self._check_health(self.health)

    def _check_health(self, path: str) -> None:
        given = cast("object", path)
        if not isinstance(given, str) or not path.startswith("/") or "?" in path:
            raise ConfigurationError(f"health: {given!r} must be a path like '/health'")
        if path in self.pages or self.has(path):
            meaning = "a page" if path in self.pages else "the WebSocket"
            raise ConfigurationError(f"health: {path!r} is {meaning} already: give another path")

    def _check_prefix(self, prefix: str) -> None:
        if not _PREFIX.fullmatch(prefix):
            raise ConfigurationError(
                f"routes: {prefix!r} must be like '/live': /segments, no trailing slash"
            )
        if _is_below(self.endpoint.path, prefix):
            raise ConfigurationError(
                f"routes: {self.endpoint.path!r}, the path of the WebSocket, is below {prefix!r}"
            )
        for other in self.routes:
            if _is_below(other, prefix):
                raise ConfigurationError(f"routes: {other!r} is below {prefix!r}")
        for path in self.pages:
            if path == prefix or _is_below(path, prefix):
                raise ConfigurationError(f"pages: {path!r} belongs to the route {prefix!r}")

    @cached_property
    def _known(self) -> dict[tuple[object, ...], Endpoint]:
        """Handshakes that were accepted; kept for `repeated.py`."""
        return {}

    @cached_property
    def paths(self) -> frozenset[str]:
        """The paths of the endpoint."""
        return frozenset((self.endpoint.path, self.endpoint.path + "/"))

    def has(self, path: str) -> bool:
        """Say whether a path is that of the endpoint, or below a route."""
        return path in self.paths or any(_is_below(path, prefix) for prefix in self.routes)

    @cached_property
    def origins(self) -> frozenset[tuple[str, str, int | None] | None]:
        """The listed origins, taken apart."""
        return frozenset(
            _split_origin(origin)
            for origin in self.endpoint.allowed_origins
            if origin != "*" and origin not in OPAQUE_ORIGINS
        )

    @cached_property
    def hosts(self) -> frozenset[str]:
        """The listed hosts in lower case."""
        return frozenset(host.lower() for host in self.endpoint.allowed_hosts or ())


def _always() -> bool:
    return True


def _as_it_came(request: HttpRequest) -> HttpRequest:
    return request


def _no_greeting(request: HttpRequest) -> Answer | None:
    return None


def _is_below(path: str, prefix: str) -> bool:
    return path.startswith(prefix + "/")


class _Refused(Exception):
    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status)
        self.answer = answer


def decide(request: HttpRequest, site: Site, check: Check | None = None) -> Decision:
    """Judge a request. Pure; looks at the head only (RFC 9110, RFC 6455 §4.2.2 and §10.2).

    Args:
        request: Any request, whatever parsed it.
        site: The endpoint, pages and routes.
        check: Asked for a request to the endpoint, after its host and before its origin:
            `upgrade.check_handshake` for plain HTTP. None: a WebSocket has been asked for, and
            whoever parsed the request has seen to the mechanics, as for Extended CONNECT
            (RFC 8441 §4) and an ASGI scope; anything but an `Endpoint` refuses it.

    Returns:
        An `Answer` of one page or refusal, the `Endpoint` with its sub-protocol, or a `Carrier`.
    """
    try:
        if request.path == site.health:
            decision: Decision = _page(request, _READY) if site.healthy() else _ailing()
        else:
            host = _check_host(request, site, check is None or wants_websocket(request))
            decision = _route(request, site, host, check)
    except _Refused as refused:
        decision = refused.answer
    if not isinstance(decision, Answer):
        return decision
    body = b"" if request.method == "HEAD" else decision.body
    # Behind a refused upgrade there may be WebSocket frames, which are no requests.
    return replace(decision, body=body, close=decision.refused is not None or has_body(request))


def _route(request: HttpRequest, site: Site, host: str | None, check: Check | None) -> Decision:
    if request.path in site.paths:
        objection = check(request) if check is not None else None
        if objection is not None:
            return site.greet(request) or objection
        _check_origin(request, site, host)
        return Endpoint(site.choose_subprotocol(_offered(request)))
    for prefix, route in site.routes.items():
        if _is_below(request.path, prefix):
            _check_origin(request, site, host)
            decision = route(request, request.path[len(prefix) :]) or _nothing()
            return _endpoint(request, site, check, decision)
    page = site.pages.get(request.path)
    if page is not None:
        return _page(request, page)
    if check is None or wants_websocket(request):
        return replace(_nothing(), log=_no_websocket(request, site))
    if request.path == site.endpoint.path + "/info":
        # The first request of sockjs-client; scanners ask for other paths.
        path = site.endpoint.path
        log = f"a client of SockJS asked for {path}/info: write StompApp({path!r}, sockjs=True)"
        return replace(_nothing(), log=log)
    return _nothing()


def _no_websocket(request: HttpRequest, site: Site) -> str:
    served = " or ".join([site.endpoint.path, *(f"{prefix}/…" for prefix in site.routes)])
    log = show("no WebSocket is served at", request.path)
    return f"{log}: let the client open {served}, or give that path to StompApp"


def _endpoint(
    request: HttpRequest, site: Site, check: Check | None, decision: Decision
) -> Decision:
    """What a route has decided; a WebSocket is judged as one of the endpoint itself is."""
    if not isinstance(decision, Endpoint):
        return decision
    objection = check(request) if check is not None else None
    if objection is not None:
        return objection
    if decision.framed:
        return decision  # Its clients offer none.
    return Endpoint(site.choose_subprotocol(_offered(request)))


_READY = Page("text/plain; charset=utf-8", b"ready\n")


def _ailing() -> Answer:
    return plain(503, "The engine behind the workers cannot be reached.")


def _nothing() -> Answer:
    return plain(404, "There is nothing here.")


def _page(request: HttpRequest, page: Page) -> Answer:
    if request.method not in ("GET", "HEAD"):
        return plain(405, "Only GET and HEAD are possible here.", ("Allow", "GET, HEAD"))
    if has_body(request):
        return plain(413, "A body is not possible here.")
    headers = (
        ("Content-Type", page.content_type),
        ("Content-Length", str(len(page.body))),
        ("Cache-Control", "no-cache"),
        ("X-Content-Type-Options", "nosniff"),
    )
    return Answer(200, headers, page.body)


def _offered(request: HttpRequest) -> list[str]:
    """The sub-protocols offered, case kept, empty items left out (RFC 6455 §11.3.4).

    Raises:
        _Refused: 400 when one is not a token.
    """
    values = request.all("sec-websocket-protocol")
    items = [item.strip(" \t") for value in values for item in value.split(",")]
    offered = [item for item in items if item]
    if not all(map(_TOKEN.fullmatch, offered)):
        raise _Refused(refusal(400, "Sec-WebSocket-Protocol must be a list of tokens."))
    return offered


def _check_host(request: HttpRequest, site: Site, websocket: bool) -> str | None:
    """The Host header in lower case, or None when there is none (RFC 9110 §7.2).

    Raises:
        _Refused: 400 when it is malformed or there are two, 403 when it is not one of ours.
    """
    answer = refusal if websocket else plain
    hosts = request.all("host")
    if len(hosts) > 1 or (not hosts and request.http_version != "1.0"):
        raise _Refused(answer(400, "There must be one header Host."))
    host = hosts[0].lower() if hosts else None
    name = None
    if host is not None:
        if (parts := _split_authority(host)) is None:
            raise _Refused(answer(400, "The header Host is malformed."))
        name = parts[0]
    if site.endpoint.allowed_hosts is not None and site.hosts.isdisjoint((name, host)):
        log = show("allowed_hosts does not hold the Host of a request:", host)
        log += "; if it is a name of this server, add it"
        raise _Refused(replace(answer(403, "This host is not served here."), log=log))
    return host


def _check_origin(request: HttpRequest, site: Site, host: str | None) -> None:
    """Refuse a page of another site (RFC 6455 §10.2).

    Raises:
        _Refused: 400 for two Origins and one that is not ASCII, 403 for one that is not allowed.
    """
    origins = request.all("origin")
    if not origins:
        return
    if len(origins) > 1:
        raise _Refused(refusal(400, "There must be one header Origin."))
    origin, allowed = origins[0], site.endpoint.allowed_origins
    if not origin.isascii():
        raise _Refused(refusal(400, "A header is not ASCII."))
    if "*" in allowed:
        return
    if origin in OPAQUE_ORIGINS:
        fits, parts = origin in allowed, None
    else:
        parts = _split_origin(origin)
        same = not allowed and _same_origin(parts, host, request.secure)
        fits = parts is not None and (same or parts in site.origins)
    if not fits:
        rule = f"the {len(allowed)} listed" if allowed else "the same origin as its Host"
        log = show(f"origin refused: allowed_origins takes {rule}, not:", origin)
        log += show("; Host" + (" on TLS:" if request.secure else ":"), host)
        if parts is not None or origin in OPAQUE_ORIGINS:
            log += "; if that page is yours, write allowed_origins=[" + "…, " * bool(allowed)
            log += show("", origin).strip() + "]"
        answer = plain(403, "The origin of this page is not allowed here.")
        raise _Refused(replace(answer, refused="origin", log=log))


def _same_origin(
    origin: tuple[str, str, int | None] | None, host: str | None, secure: bool
) -> bool:
    """Compare host and port. The scheme is compared only when TLS ends here: behind a
    proxy that ends it, the page is https and we are not.
    """
    if origin is None or origin[0] not in _PORTS or (secure and origin[0] != "https"):
        return False
    if host is None:
        return False
    parts = _split_authority(host)
    assert parts is not None  # `_check_host` has looked
    name, port = parts
    return (name, _PORTS[origin[0]] if port is None else port) == origin[1:]


def _split_origin(origin: str) -> tuple[str, str, int | None] | None:
    """Scheme, host and port with the scheme's default; None when malformed (RFC 6454 §4)."""
    match = _ORIGIN.fullmatch(origin.lower())
    if match is None or (parts := _split_authority(match[2])) is None:
        return None
    return match[1], parts[0], _PORTS.get(match[1]) if parts[1] is None else parts[1]


def _split_authority(authority: str) -> tuple[str, int | None] | None:
    """Host and port; None when malformed, a label of impossible punycode included."""
    match = _AUTHORITY.fullmatch(authority)
    if match is None or int(match[2] or 0) > 65_535 or len(match[1]) > 255:
        return None
    for label in match[1].split("."):
        if label.startswith("xn--"):
            try:
                label[4:].encode("ascii").decode("punycode")
            except UnicodeError:
                return None
    return match[1], int(match[2]) if match[2] else None

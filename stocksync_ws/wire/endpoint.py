"""What an HTTP request is answered: a pure function that every entry path calls.

Rule: origin, host and sub-protocol are judged here and nowhere else, and before anything is kept
for the client. What the client sent is compared, never echoed; it is shown only in `Answer.log`,
escaped and cut.

Origins: none configured means the same origin, else exactly the listed ones, and `*` means any,
`null` included. A missing Origin is allowed, because browsers send one with every upgrade.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from hashlib import sha1
from typing import Final, Literal, TypeAlias

from stocksync_ws.config import EndpointConfig
from stocksync_ws.errors import ConfigurationError
from stocksync_ws.types import HttpRequest
from stocksync_ws.wire.http import tokens

__all__ = ["Answer", "Decision", "Page", "Site", "Upgrade", "decide", "plain"]

_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_KEY: Final = re.compile(r"[A-Za-z0-9+/]{22}==")
_TOKEN: Final = re.compile(r"[-!#$%&'*+.^_`|~0-9A-Za-z]+")
_AUTHORITY: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::([0-9]{1,5}))?")
_ORIGIN: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.+)")
_PORTS: Final = {"http": 80, "https": 443}

_JUDGED: Final = ("connection", "sec-websocket-version", "sec-websocket-key", "origin")

_HELP: Final = (
    "This is a WebSocket endpoint for STOMP: open it with a WebSocket client. "
    "A proxy in front of it has to pass on the headers Upgrade and Connection."
)


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
    """What one server or application answers to: one endpoint, and pages beside it.

    Raises:
        ConfigurationError: A page stands on the endpoint's path, or its path is malformed.
    """

    endpoint: EndpointConfig
    choose_subprotocol: Callable[[Sequence[str]], str | None]
    """The sub-protocol to answer out of those offered, or None."""
    pages: Mapping[str, Page] = field(default_factory=dict[str, Page])
    """By exact path."""

    def __post_init__(self) -> None:
        for path in self.pages:
            if not path.startswith("/") or "?" in path:
                raise ConfigurationError(f"pages: {path!r} must be a path like '/index.html'")
            if path in self.paths:
                raise ConfigurationError(f"pages: {path!r} is the path of the WebSocket")

    @cached_property
    def paths(self) -> frozenset[str]:
        """The paths of the endpoint."""
        return frozenset((self.endpoint.path, self.endpoint.path + "/"))

    @cached_property
    def origins(self) -> frozenset[tuple[str, str, int | None] | None]:
        """The listed origins, taken apart."""
        return frozenset(
            _split_origin(origin)
            for origin in self.endpoint.allowed_origins
            if origin not in ("*", "null")
        )

    @cached_property
    def hosts(self) -> frozenset[str]:
        """The listed hosts in lower case."""
        return frozenset(host.lower() for host in self.endpoint.allowed_hosts or ())


@dataclass(frozen=True)
class Answer:
    """An ordinary HTTP answer."""

    status: int
    headers: tuple[tuple[str, str], ...]
    """All but Connection, which belongs to the carrier."""
    body: bytes
    close: bool = False
    """What follows is no request (a body, WebSocket frames): close the connection."""
    refused: Literal["handshake", "origin"] | None = None
    """What was refused, for the counters; None when no upgrade was asked for."""
    log: str | None = None
    """What to log: peer text escaped, at most 200 characters."""


@dataclass(frozen=True)
class Upgrade:
    """A valid handshake; it is answered when the session has been accepted."""

    subprotocol: str | None
    accept: str
    """The value of Sec-WebSocket-Accept."""


Decision: TypeAlias = Answer | Upgrade


class _Refused(Exception):
    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status)
        self.answer = answer


def plain(status: int, text: str, *headers: tuple[str, str]) -> Answer:
    """An answer of one line of text, never cached.

    Args:
        status: The HTTP status.
        text: The line; not peer text.
        headers: More headers.
    """
    body = text.encode() + b"\n"
    return Answer(
        status,
        (
            ("Content-Type", "text/plain; charset=utf-8"),
            ("Content-Length", str(len(body))),
            ("Cache-Control", "no-store"),
            ("X-Content-Type-Options", "nosniff"),
            *headers,
        ),
        body,
    )


def decide(request: HttpRequest, site: Site) -> Decision:
    """What to answer. Pure; looks at the head only (RFC 6455 §4.2, RFC 9110).

    Args:
        request: Any request, whatever parsed it.
        site: What there is.
    """
    try:
        host = _check_host(request, site)
        decision = _route(request, site, host)
    except _Refused as refused:
        decision = refused.answer
    if isinstance(decision, Upgrade):
        return decision
    body = b"" if request.method == "HEAD" else decision.body
    # Behind a refused upgrade there may be WebSocket frames, which are no requests.
    return replace(decision, body=body, close=decision.refused is not None or _has_body(request))


def _route(request: HttpRequest, site: Site, host: str | None) -> Decision:
    if request.path not in site.paths:
        return _page(request, site.pages.get(request.path))
    wanted = _wants_websocket(request)
    if request.method == "GET" and wanted:
        return _upgrade(request, site, host)
    if request.method in ("GET", "HEAD"):
        return plain(426, _HELP, ("Upgrade", "websocket"))
    answer = plain(405, "Only GET is possible here.", ("Allow", "GET, HEAD"))
    return replace(answer, refused="handshake") if wanted else answer


def _page(request: HttpRequest, page: Page | None) -> Answer:
    if page is None:
        return plain(404, "There is nothing here.")
    if request.method not in ("GET", "HEAD"):
        return plain(405, "Only GET and HEAD are possible here.", ("Allow", "GET, HEAD"))
    if _has_body(request):
        return plain(413, "A body is not possible here.")
    headers = (
        ("Content-Type", page.content_type),
        ("Content-Length", str(len(page.body))),
        ("Cache-Control", "no-cache"),
        ("X-Content-Type-Options", "nosniff"),
    )
    return Answer(200, headers, page.body)


def _wants_websocket(request: HttpRequest) -> bool:
    return "websocket" in tokens(request.all("upgrade"))


def _has_body(request: HttpRequest) -> bool:
    lengths = request.all("content-length")
    return bool(request.all("transfer-encoding")) or any(length != "0" for length in lengths)


def _refuse(status: int, text: str, *headers: tuple[str, str], log: str | None = None) -> _Refused:
    return _Refused(replace(plain(status, text, *headers), refused="handshake", log=log))


def _upgrade(request: HttpRequest, site: Site, host: str | None) -> Upgrade:
    """Judge a WebSocket handshake (RFC 6455 §4.2.1).

    Raises:
        _Refused: 400, 403, 426 or 505.
    """
    if request.http_version == "1.0":
        # What a proxy speaks when nobody told it otherwise.
        log = "upgrade refused: HTTP/1.0; nginx needs 'proxy_http_version 1.1'"
        raise _refuse(505, "A WebSocket needs HTTP/1.1.", log=log)
    for name in _JUDGED:
        if not all(value.isascii() for value in request.all(name)):
            raise _refuse(400, "A header is not ASCII.")
    if "upgrade" not in tokens(request.all("connection")):
        raise _refuse(400, "The header Connection must hold 'Upgrade'.")
    assert host is not None  # only 1.0 may come without one
    if _has_body(request):
        raise _refuse(400, "An upgrade must not have a body.")
    if request.all("sec-websocket-version") != ["13"]:
        version = ("Sec-WebSocket-Version", "13")
        upgrade = ("Upgrade", "websocket")
        raise _refuse(426, "Only WebSocket version 13 is spoken here.", version, upgrade)
    keys = request.all("sec-websocket-key")
    if len(keys) != 1 or _KEY.fullmatch(keys[0]) is None:
        raise _refuse(400, "Sec-WebSocket-Key must be 16 bytes in base64, once.")
    _check_origin(request, site, host)
    offered = _offered(request)
    digest = sha1(keys[0].encode("ascii") + _GUID, usedforsecurity=False).digest()
    return Upgrade(site.choose_subprotocol(offered), b64encode(digest).decode("ascii"))


def _offered(request: HttpRequest) -> list[str]:
    """The sub-protocols offered, case kept, empty items left out (RFC 6455 §11.3.4).

    Raises:
        _Refused: 400 when one is not a token.
    """
    values = request.all("sec-websocket-protocol")
    items = [item.strip(" \t") for value in values for item in value.split(",")]
    offered = [item for item in items if item]
    if not all(map(_TOKEN.fullmatch, offered)):
        raise _refuse(400, "Sec-WebSocket-Protocol must be a list of tokens.")
    return offered


def _check_host(request: HttpRequest, site: Site) -> str | None:
    """The Host header in lower case, or None when there is none (RFC 9110 §7.2).

    Raises:
        _Refused: 400 when it is malformed or there are two, 403 when it is not one of ours.
    """
    hosts = request.all("host")
    if len(hosts) > 1 or (not hosts and request.http_version != "1.0"):
        raise _Refused(_marked(request, plain(400, "There must be one header Host.")))
    host = hosts[0].lower() if hosts else None
    name = None
    if host is not None:
        if (parts := _split_authority(host)) is None:
            raise _Refused(_marked(request, plain(400, "The header Host is malformed.")))
        name = parts[0]
    if site.endpoint.allowed_hosts is not None and site.hosts.isdisjoint((name, host)):
        log = _show("allowed_hosts does not hold the Host of a request:", host)
        answer = plain(403, "This host is not served here.")
        raise _Refused(replace(_marked(request, answer), log=log))
    return host


def _marked(request: HttpRequest, answer: Answer) -> Answer:
    return replace(answer, refused="handshake") if _wants_websocket(request) else answer


def _check_origin(request: HttpRequest, site: Site, host: str) -> None:
    """Refuse a page of another site (RFC 6455 §10.2).

    Raises:
        _Refused: 400 for two Origins, 403 for one that is not allowed.
    """
    origins = request.all("origin")
    if not origins:
        return
    if len(origins) > 1:
        raise _refuse(400, "There must be one header Origin.")
    origin, allowed = origins[0], site.endpoint.allowed_origins
    if "*" in allowed:
        return
    if origin == "null":
        fits = "null" in allowed
    else:
        parts = _split_origin(origin)
        same = not allowed and _same_origin(parts, host, request.secure)
        fits = parts is not None and (same or parts in site.origins)
    if not fits:
        rule = f"the {len(allowed)} listed" if allowed else "the same origin as its Host"
        log = _show(f"upgrade refused: allowed_origins takes {rule}, not:", origin)
        answer = plain(403, "The origin of this page is not allowed here.")
        raise _Refused(replace(answer, refused="origin", log=log))


def _same_origin(origin: tuple[str, str, int | None] | None, host: str, secure: bool) -> bool:
    """Host and port are equal. The scheme is compared only when TLS ends here: behind a proxy that
    ends it, the page is https and we are not.
    """
    if origin is None or origin[0] not in _PORTS or (secure and origin[0] != "https"):
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


def _show(text: str, peer_text: str | None) -> str:
    return f"{text} {peer_text!a}"[:200]

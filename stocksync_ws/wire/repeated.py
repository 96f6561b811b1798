"""Handshakes that repeat: of a crowd each client asks for the WebSocket as the last one did, but
for its key.

Rule: what `decide` has said to one request it says to the next that differs in nothing that is
looked at, and `_asked` holds all of that. It is kept of an open endpoint only: whatever is refused
is judged, counted and told each time.
"""

# pyright: reportPrivateUsage=false
# `Site._known` is kept for this module.
from __future__ import annotations

from typing import Final

from stocksync_ws.types import HttpRequest
from stocksync_ws.wire.endpoint import Decision, Endpoint, Site, decide
from stocksync_ws.wire.upgrade import KEY, check_handshake, is_key

__all__ = ["LONGEST", "MOST", "decide_handshake"]

MOST: Final = 256
"""Handshakes that are known at a time."""
LONGEST: Final = 1_024
"""Characters of one that is kept."""

_LOOKED_AT: Final = frozenset(
    (
        "host",
        "origin",
        "upgrade",
        "connection",
        "content-length",
        "transfer-encoding",
        "sec-websocket-version",
        "sec-websocket-protocol",
    )
)
"""Headers that are looked at besides the key, of which only its form counts."""
_GOOD_KEY: Final = (KEY, "")


def decide_handshake(request: HttpRequest, site: Site) -> Decision:
    """What `decide` says to a request over HTTP/1.1."""
    asked = _asked(request)
    known = site._known.get(asked)
    if known is not None:
        return known
    decision = decide(request, site, check_handshake)
    # A route may decide by anything else.
    if (
        isinstance(decision, Endpoint)
        and request.path in site.paths
        and len(repr(asked)) <= LONGEST
    ):
        if len(site._known) >= MOST:
            del site._known[next(iter(site._known))]
        site._known[asked] = decision
    return decision


def _asked(request: HttpRequest) -> tuple[object, ...]:
    """All that `decide` looks at in a request to an endpoint."""
    found: list[object] = [
        request.method,
        request.target.partition("?")[0],
        request.http_version,
        request.secure,
    ]
    for header in request.headers:
        name, value = header
        if name in _LOOKED_AT:
            found.append(header)
        elif name == KEY:
            found.append(_GOOD_KEY if is_key(value) else header)
    return tuple(found)

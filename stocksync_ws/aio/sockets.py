"""Accepted connections: what is set on their sockets, who is there, and how many there may be.

Rule: nothing here is kept; whoever asks acts.
"""

from __future__ import annotations

import socket

__all__ = ["FULL", "RESERVE", "descriptors", "peer_of", "prepare"]

RESERVE = 64
"""Descriptors left for everything else when `Limits.max_connections` is not set."""

FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nContent-Length: 0\r\n"
    b"Connection: close\r\n\r\n"
)
"""The answer at the cap."""


def prepare(sock: socket.socket) -> None:
    """Set on a socket what all of ours have."""
    sock.setblocking(False)
    if sock.family != getattr(socket, "AF_UNIX", None):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def peer_of(address: object) -> str | None:
    """Host and port of a peer; None for one of a Unix socket, which has no address."""
    return f"{address[0]}:{address[1]}" if isinstance(address, tuple) else None


def descriptors() -> int:
    """As many connections as descriptors allow, less a reserve; at most 10,000."""
    try:
        import resource
    except ImportError:
        return 10_000
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return max(1, min(10_000, (soft if soft > 0 else 10_000) - RESERVE))

"""The addresses of a server: a host and port, a Unix socket, or a socket that somebody has made.

Rule: what was made here ends here, a Unix socket with its file; a given socket is closed, and what
it is bound to is left alone.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import os
import socket
import stat
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

from stocksync_ws.errors import ConfigurationError

__all__ = ["BACKLOG", "Address", "Listener"]

Found: TypeAlias = tuple[int, int, int, str, Any]
"""A result of `getaddrinfo`: family, kind, protocol, name, address."""

BACKLOG = 4_096
"""Connections the kernel keeps for us; Linux keeps at most `net.core.somaxconn`, 4,096 by default.
A client that finds the backlog full sends its SYN again after one second, then after two: a storm
of more clients than this waits for that, while the server has nothing to do.
"""


class Listener:
    """A socket that listens, and what goes with it."""

    def __init__(self, sock: socket.socket, path: str | None = None) -> None:
        self.sock = sock
        self._path = path
        """The file of a Unix socket that was made here."""
        self._inode = None if path is None else os.stat(path).st_ino

    def close(self) -> None:
        """Stop listening; its file goes first, so that nobody else has put his there meanwhile."""
        if self._path is not None:
            try:
                if os.stat(self._path).st_ino == self._inode:
                    os.unlink(self._path)
            except OSError:
                pass  # It is gone already.
            self._path = None
        self.sock.close()


@dataclass(frozen=True)
class Address:
    """Where to listen; the first that is given counts: `sock`, `unix`, host and port.

    Raises:
        ConfigurationError: The host is no text, or the port no number of a port.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    """0 takes any free one."""
    unix: str | os.PathLike[str] | None = None
    """The path of a Unix socket. A file that a server of ours has left there is replaced."""
    sock: socket.socket | None = None
    """A bound stream socket; it is closed with the server."""
    reuse_port: bool = False
    """Several processes may listen on the port, and the kernel shares connections out."""

    def __post_init__(self) -> None:
        host, port = cast("object", self.host), cast("object", self.port)
        if not isinstance(host, str):
            hint = f": write port={host}" if isinstance(host, int) else ": write '127.0.0.1'"
            raise ConfigurationError(f"host: must be a name or an address, not {host!r}{hint}")
        bare, _, behind = host.rpartition("//")[2].partition("/")[0].partition(":")
        if "/" in host or (behind.isdecimal() and bare):
            wanted = f"{bare!r}, port={behind}" if behind.isdecimal() else repr(bare)
            problem = f"must be a name or an address alone, not {host!r}: write {wanted}"
            raise ConfigurationError(f"host: {problem}")
        if not isinstance(port, int) or not 0 <= port <= 65_535:
            given = f": write port={port}" if isinstance(port, str) and port.isdecimal() else ""
            raise ConfigurationError(
                f"port: must be a number from 0 to 65535, not {port!r}; 0 takes any free one{given}"
            )

    def __str__(self) -> str:
        if self.sock is not None:
            return str(self.sock.getsockname())
        return f"{self.host}:{self.port}" if self.unix is None else os.fspath(self.unix)

    @property
    def name(self) -> str:
        """The host that clients connect to."""
        return self.host if self.sock is None else str(self.sock.getsockname()[0])

    def authority(self, port: int | None) -> str:
        """Host and port as a URL has them; `localhost` for a Unix socket, whose port is None."""
        if port is None:
            return "localhost"
        return f"[{self.name}]:{port}" if ":" in self.name else f"{self.name}:{port}"

    async def listen(self, loop: asyncio.AbstractEventLoop) -> list[Listener]:
        """Listen there.

        Raises:
            OSError: It cannot be bound; the text names it.
        """
        made: list[Listener] = []
        try:
            if self.sock is not None:
                self.sock.setblocking(False)
                self.sock.listen(BACKLOG)
                return [Listener(self.sock)]
            if self.unix is not None:
                return [_listen_unix(os.fspath(self.unix))]
            for found in dict.fromkeys(await self._resolve(loop)):
                sock = _listen(found, reuse_port=self.reuse_port)
                made.append(Listener(sock))
        except OSError as error:
            for listener in made:
                listener.close()
            reason = error.strerror or str(error)
            hint = "" if self.sock is not None else _hint(error, on_port=self.unix is None)
            raise OSError(error.errno, f"cannot listen on {self}: {reason}{hint}") from None
        return made

    async def _resolve(self, loop: asyncio.AbstractEventLoop) -> Sequence[Found]:
        try:
            ipaddress.ip_address(self.host.partition("%")[0])
        except ValueError:
            return await loop.getaddrinfo(
                self.host, self.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )
        # No thread is needed for what has not to be looked up.
        flags = socket.AI_PASSIVE | socket.AI_NUMERICHOST
        return socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM, flags=flags)


def _hint(error: OSError, *, on_port: bool) -> str:
    """The end of the error: how to listen all the same."""
    other = "port, 0 for any free one" if on_port else "path"
    if error.errno == errno.EADDRINUSE:
        return f"; some program, perhaps this one, serves there: end it, or give another {other}"
    if error.errno == errno.EACCES:
        return f"; this user may not: give another {other}" + ", or one above 1023" * on_port
    if error.errno == errno.EADDRNOTAVAIL or isinstance(error, socket.gaierror):
        return "; no address of this machine: give '127.0.0.1', or '0.0.0.0' for all it has"
    return ""


def _listen(found: Found, *, reuse_port: bool) -> socket.socket:
    family, kind, protocol, _, address = found
    listener = socket.socket(family, kind, protocol)
    try:
        if sys.platform != "win32":  # There it would let another process take the port over.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.setblocking(False)
        listener.bind(address)
        listener.listen(BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener


def _listen_unix(path: str) -> Listener:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _remove_stale(path)
        listener.setblocking(False)
        listener.bind(path)
        listener.listen(BACKLOG)
    except BaseException:
        listener.close()
        raise
    return Listener(listener, path)


def _remove_stale(path: str) -> None:
    """Remove the socket of a server that has ended; one that is served is in use."""
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            return
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
        asking.setblocking(False)  # A full backlog is somebody who is there.
        if asking.connect_ex(path) == errno.ECONNREFUSED:
            os.unlink(path)

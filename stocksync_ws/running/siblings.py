"""Several worker processes behind one address: each has a broker of its own, and clients of one
miss what the others publish. That is noticed, and said.

Rule: a process claims its address and path by a name that the kernel frees when the process ends;
one that finds the name taken asks again `PATIENCE` seconds later, so that a predecessor that still
drains, as in a reload, is silent. It goes on asking, and is alone when it has got the name. Nothing
but a log line comes of it, unless the application wants such a worker to refuse.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import socket
import struct
import sys
import tempfile
from hashlib import sha256
from pathlib import Path
from typing import IO, Protocol

__all__ = ["PATIENCE", "Claim", "claim_of"]

PATIENCE = 30.0
"""Seconds until a name that is still taken is that of another worker, and of no predecessor."""

_log = logging.getLogger("stocksync_ws.transport")


class Name(Protocol):
    """A name that one process of this machine holds at a time."""

    def take(self) -> bool:
        """Take the name; False: another worker holds it. True where that cannot be told."""
        ...

    def holder(self) -> int | None:
        """The id of the process that holds it, where that can be told."""
        ...

    def free(self) -> None:
        """Hold it no longer."""
        ...


class SocketName:
    """An abstract Unix socket: gone with its process, and seen in its network namespace only."""

    def __init__(self, text: str) -> None:
        digest = sha256(text.encode()).hexdigest()[:32]
        self._address = f"\0stocksync-ws/{digest}"
        self._socket: socket.socket | None = None

    def take(self) -> bool:
        """Bind it, and listen, so that others can ask the kernel who does."""
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            made.bind(self._address)
            made.listen(64)
        except OSError as error:
            made.close()
            if error.errno != errno.EADDRINUSE:
                return True  # Without such sockets nothing is noticed.
            found = self._credentials()
            # Anybody may take any name; another user's process is none of our workers.
            return found is not None and found[1] != os.getuid()
        self._socket = made
        return True

    def holder(self) -> int | None:
        """The id of the process that listens."""
        found = self._credentials()
        return None if found is None else found[0]

    def _credentials(self) -> tuple[int, int] | None:
        """The process that listens, and its user, as the kernel tells them of a connection."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
            asking.setblocking(False)
            try:
                asking.connect(self._address)
                size = struct.calcsize("3i")
                found = asking.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
            except OSError:
                return None
        pid, uid, _ = struct.unpack("3i", found)
        return pid, uid

    def free(self) -> None:
        """Close it."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


class FileName:
    """A locked file that holds a process id, where there are no abstract sockets."""

    def __init__(self, text: str, folder: Path | None = None) -> None:
        name = f"stocksync-ws-{sha256(text.encode()).hexdigest()[:24]}.lock"
        self._path = (folder or Path(tempfile.gettempdir())) / name
        self._file: IO[str] | None = None

    def take(self) -> bool:
        """Lock the file, and write the id of this process into it."""
        try:
            import fcntl
        except ImportError:
            return True  # Nothing is noticed on this system.
        try:
            # In a folder of everybody, another user may have put a link there.
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            file = os.fdopen(os.open(self._path, flags, 0o600), "r+")
        except OSError:
            return True
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.close()
            return error.errno not in (errno.EAGAIN, errno.EACCES)
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        self._file = file
        return True

    def holder(self) -> int | None:
        """The id of the process that wrote it."""
        try:
            return int(self._path.read_text())
        except (OSError, ValueError):
            return None

    def free(self) -> None:
        """Unlock it; the file stays, so that nobody unlinks another's."""
        if self._file is not None:
            self._file.close()
            self._file = None


class Claim:
    """One process's claim to be the only one behind an address.

    Args:
        loop: The loop on which it is asked again.
        name: The name that is claimed.
        what: Address and path, for the log line.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, name: Name, what: str) -> None:
        self._loop = loop
        self._name = name
        self._what = what
        self._timer: asyncio.TimerHandle | None = None
        self._told = False
        self.sibling = False
        """Another process serves the same address, and has done so for `PATIENCE` seconds."""

    def make(self) -> None:
        """Take the name, or ask again later."""
        if not self._name.take():
            self._timer = self._loop.call_later(PATIENCE, self._again)

    def _again(self) -> None:
        self._timer = None
        self.sibling = False
        if self._name.take():
            return
        self._timer = self._loop.call_later(PATIENCE, self._again)
        holder = self._name.holder()
        if holder != os.getpid():  # It may be served twice by one process, with one broker.
            self.sibling = True
            self._tell(holder)

    def _tell(self, holder: int | None) -> None:
        if self._told:
            return
        self._told = True
        other = "another process" if holder is None else f"process {holder}"
        _log.warning(
            "several workers serve %s: this is process %d, and %s does so too. Each has a broker of"
            " its own, so clients of one do not get what the other publishes. Serve it with one"
            " worker, or give StompApp a backplane (docs/embedding/workers.md)",
            self._what,
            os.getpid(),
            other,
        )

    def end(self) -> None:
        """Free the name."""
        if self._timer is not None and not self._loop.is_closed():
            self._timer.cancel()
        with contextlib.suppress(OSError):
            self._name.free()


def claim_of(
    loop: asyncio.AbstractEventLoop, server: tuple[str, int | None] | None, path: str
) -> Claim | None:
    """The claim to an address, not made yet; None where there is no address to tell by.

    Args:
        loop: The loop of the run.
        server: `scope["server"]`: host and port, or the path of a Unix socket.
        path: The path of the endpoint.
    """
    if not server or server[0] == "testserver":
        return None  # A test client's; test runners have many processes.
    host, port = server
    address = host if port is None else f"{host}:{port}"
    uid = os.getuid() if hasattr(os, "getuid") else 0
    # By the port alone: the first clients of two workers may have come to different addresses.
    text = f"{uid}/{host if port is None else port}{path}"
    name = SocketName(text) if sys.platform == "linux" else FileName(text)
    return Claim(loop, name, f"{address}{path}")

"""Servers of Redis for tests: each in a folder of its own, on 127.0.0.1, ended by process id.

Rule: a test that needs one and finds no `redis-server` is skipped and says so; with
`STOCKSYNC_INTEROP=required` it fails.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from redis import Redis, RedisError

__all__ = [
    "CannotStart",
    "Server",
    "free_port",
    "in_cluster",
    "needed",
    "until_formed",
    "until_said",
    "until_synced",
]

PATIENCE = 10.0
"""Seconds in which a server must answer."""
TURN = 0.01


def needed() -> str:
    """The program, or the end of the test."""
    found = shutil.which("redis-server") or shutil.which("valkey-server")
    if found is None:
        import pytest  # not for benchmarks, which want a server too

        text = "redis-server is not installed"
        if os.environ.get("STOCKSYNC_INTEROP") == "required":
            pytest.fail(f"STOCKSYNC_INTEROP=required, but {text}", pytrace=False)
        pytest.skip(text)
    return found


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
    return port


def in_cluster() -> tuple[str, ...]:
    """The words for a node of a cluster, or the end of the test."""
    told = subprocess.run([needed(), "--version"], capture_output=True, text=True, check=True)
    found = re.search(r"v=(\d+)", told.stdout)
    assert found is not None
    if int(found[1]) < 7:
        import pytest

        pytest.skip(f"a cluster is one of Redis 7.0 or later, not {told.stdout.split()[2]}")
    return "--cluster-enabled", "yes", "--cluster-port", str(free_port())


class CannotStart(Exception):
    """A server has ended at once; with its log."""


class Server:
    """One process of Redis.

    Args:
        folder: Where it keeps what it has.
        settings: Further words of its command line.
        config: A file that makes it one that watches others.
    """

    def __init__(self, folder: Path, *settings: str, config: Path | None = None) -> None:
        self._config = config
        self.folder = folder
        self.settings = settings
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        self.start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def bus_port(self) -> int:
        """The port by which nodes of a cluster talk to each other."""
        return int(self.settings[self.settings.index("--cluster-port") + 1])

    def start(self) -> None:
        """Start it with what it has on its disk."""
        words = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder)]
        if self._config is None:
            words += ["--save", "", "--loglevel", "warning", *self.settings]
        else:
            words = [str(self._config), "--sentinel", *words]
        log = (self.folder / "log").open("ab")
        self.process = subprocess.Popen([needed(), *words], stdout=log, stderr=log)
        log.close()
        until = time.monotonic() + PATIENCE
        while True:
            try:
                if self.tell("PING"):
                    return
            except (OSError, RedisError):
                if self.process.poll() is not None or time.monotonic() > until:
                    self.kill()
                    raise CannotStart((self.folder / "log").read_text()) from None
                time.sleep(TURN)

    def tell(self, *words: str | int) -> object:
        """One command; its answer."""
        with Redis(port=self.port, socket_timeout=PATIENCE, single_connection_client=True) as told:
            return told.execute_command(*words)

    def raw(self, line: str) -> bytes:
        """One command; the bytes of its answer."""
        with socket.create_connection(("127.0.0.1", self.port), PATIENCE) as sock:
            sock.sendall(f"{line}\r\n".encode())
            return sock.recv(1 << 20)

    def kill(self) -> None:
        """End it without a word."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def cut(self) -> None:
        """End all connections to it."""
        for kind in ("normal", "pubsub"):
            self.tell("CLIENT", "KILL", "TYPE", kind)


def until_formed(nodes: Sequence[Server]) -> None:
    """Wait until all nodes of a cluster know of each other that everything is served."""
    for node in nodes:
        for text in (b"cluster_slots_ok:16384", b"cluster_state:ok"):
            until_said(node, "CLUSTER INFO", text)


def until_synced(replica: Server) -> None:
    """Wait until a replica has all that its master has."""
    until_said(replica, "INFO replication", b"master_link_status:up")


def until_said(server: Server, asked: str, text: bytes) -> None:
    """Wait until a text is in the answer to a command."""
    until = time.monotonic() + PATIENCE * 3
    while text not in server.raw(asked):
        assert time.monotonic() < until, f"{text!r} is not said in time"
        time.sleep(TURN)

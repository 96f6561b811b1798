"""What tests of servers on threads share: clients that block, and scripts in processes."""

from __future__ import annotations

import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ADAPTERS = str(Path(__file__).parent / "adapters")
sys.path.insert(0, ADAPTERS)

from carriers.client import Client  # noqa: E402

__all__ = ["PATIENCE", "Ended", "Sock", "elsewhere", "open_client", "run_script"]

PATIENCE = 10.0


class Sock:
    """A socket as a pipe of the conformance suite."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        sock.settimeout(PATIENCE)

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def receive(self) -> bytes:
        return self.sock.recv(65_536)

    def close(self) -> None:
        self.sock.close()

    stop_reading = read_on = reset = close

    def half_close(self) -> None:
        self.sock.shutdown(socket.SHUT_WR)


def open_client(port: int | None, host: str = "127.0.0.1") -> Client:
    """A client with nothing but a stream."""
    assert port is not None
    return Client(Sock(socket.create_connection((host, port), PATIENCE)))


def elsewhere(function: Callable[[], object]) -> Any:
    """Run it in another thread to its end; what it returned, or the exception that it raised."""
    outcome: list[Any] = []

    def run() -> None:
        try:
            outcome.append(function())
        except BaseException as error:
            outcome.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(PATIENCE)
    assert not thread.is_alive()
    return outcome[0]


CTRL_C = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
"""
"""As in a terminal: what a shell runs in the background, and its children, ignore SIGINT."""


@dataclass(frozen=True)
class Ended:
    """What a script left behind."""

    code: int
    lines: list[str]
    """What it printed."""
    errors: str
    seconds: float
    """From its line "exit" to its end."""


def run_script(source: str, *arguments: str, act: Callable[[Any], None] | None = None) -> Ended:
    """Run a script to its end.

    Args:
        source: Prints a line "exit" when its main thread is about to end.
        arguments: What follows it.
        act: Called at that line with the process.
    """
    command = [sys.executable, "-W", "error", "-c", CTRL_C + source, *arguments]
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, text=True, cwd=ADAPTERS
        )
        stdout = process.stdout
        assert stdout is not None
        # A script that hangs is killed, and then its output ends.
        watchdog = threading.Timer(4 * PATIENCE, process.kill)
        watchdog.start()
        lines: list[str] = []
        while (line := stdout.readline()) not in ("exit\n", ""):
            lines.append(line.rstrip("\n"))
        begun = time.monotonic()
        if act is not None:
            act(process)
        lines += stdout.read().splitlines()
        code = process.wait(PATIENCE)
        seconds = time.monotonic() - begun
        watchdog.cancel()
        stdout.close()
        errors.seek(0)
        return Ended(code, lines, errors.read(), seconds)

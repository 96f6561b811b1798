"""The examples as a user runs them: a process of their own, on a free port, stopped by its id."""

import os
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import stocksync_ws

ROOT = Path(__file__).parents[3]
PACKAGE = Path(stocksync_ws.__file__).parents[1]
PATIENCE = 15.0
"""Seconds a process has to listen, or to end."""


def free_port() -> int:
    """A port below the range for outgoing connections.

    A client that knocks at a closed port of that range can be connected to itself, and a restarted
    server can find its port taken.
    """
    for port in random.sample(range(20_000, 32_000), 200):
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                sock.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
    raise OSError("no free port on 127.0.0.1")


def _take_ctrl_c() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Example:
    """`with Example("examples/broker.py", log) as server: ...`; it can be stopped and started."""

    def __init__(self, script: str, log: Path, *, command: str = "", **environment: str) -> None:
        self.port = free_port()
        self._command = command
        """How another server is told to serve it, with `{port}` in it."""
        self._environment = environment
        self._script = ROOT / script
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def name(self) -> str:
        """That of its folder."""
        return self._script.parent.name

    @property
    def address(self) -> tuple[str, int]:
        return "127.0.0.1", self.port

    @property
    def log(self) -> str:
        """What the process has printed, over all its lives."""
        return self._log.read_text(errors="replace")

    def wait_for_log(self, part: str, times: int = 1) -> None:
        """Until a text has been printed so often."""
        until = time.monotonic() + PATIENCE
        while self.log.count(part) < times:
            assert time.monotonic() < until, f"not {times} times {part!r}:\n{self.log}"
            time.sleep(0.02)

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._words(),
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={
                    **os.environ,
                    "PYTHONPATH": str(PACKAGE),
                    "PYTHONUNBUFFERED": "1",
                    **self._environment,
                },
                # A shell without job control has its background jobs ignore Ctrl-C.
                preexec_fn=_take_ctrl_c,
            )
        until = time.monotonic() + PATIENCE
        while self._process.poll() is None and time.monotonic() < until:
            try:
                socket.create_connection(self.address, timeout=1).close()
            except ConnectionRefusedError:
                time.sleep(0.02)
            else:
                return
        self.kill()
        raise AssertionError(f"{self._script.name} does not listen:\n{self.log}")

    def _words(self) -> list[str]:
        if self._command:
            return [sys.executable, "-m", *self._command.format(port=self.port).split()]
        return [sys.executable, str(self._script), "--port", str(self.port)]

    def signal(self, number: signal.Signals) -> int:
        """Send a signal and wait for the end; returns the exit code."""
        process, self._process = self._process, None
        assert process is not None
        process.send_signal(number)
        try:
            return process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError(f"{number.name} did not end it:\n{self.log}") from None

    def kill(self) -> None:
        """The power cord: no Close frame, no farewell."""
        self.signal(signal.SIGKILL)

    def interrupt(self) -> None:
        """Ctrl-C: sessions are closed in good order."""
        code = self.signal(signal.SIGINT)
        assert code == 0, self.log

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._process is not None:
            self.signal(signal.SIGKILL)
        if error is None:
            assert "Traceback" not in self.log, self.log

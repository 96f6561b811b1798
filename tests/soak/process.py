"""The process of the server, and what it says about itself."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import IO, Any

__all__ = ["Server"]

ROOT = Path(__file__).parents[2]
PATIENCE = 30.0
"""Seconds in which it has to end."""


class Server:
    """Starts it.

    Args:
        log: A file of the system, where its log goes; it is read when the server has ended.
    """

    def __init__(self, log: IO[str]) -> None:
        self._log = log
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.soak.server"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )
        try:
            self.port = int(self._line())
        except BaseException:
            self.kill()
            raise

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the server is gone:\n{self._read_log()}")
        return line

    def probe(self) -> dict[str, Any]:
        """What it holds now; blocks."""
        assert self._process.stdin is not None
        self._process.stdin.write("probe\n")
        self._process.stdin.flush()
        found: dict[str, Any] = json.loads(self._line())
        return found

    def stop(self) -> tuple[int, str]:
        """End it; its exit code, and its log."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            code = self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            code = -1
        self._process.stdout.close()
        return code, self._read_log()

    def _read_log(self) -> str:
        self._log.seek(0)
        return self._log.read()

    def kill(self) -> None:
        """End it whatever it does; nothing if it has ended."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        for each in (self._process.stdin, self._process.stdout):
            if each is not None:
                each.close()

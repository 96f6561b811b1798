"""A server process pinned to one core, driven by this process on another.

Rule: what is compared is driven alike: the same control byte asks every server for a publication,
this process spins and never sleeps while a server is measured (a sleeping client would be woken at
the server's cost), and rounds of the servers alternate, so that a busy machine hurts all of them.
Of each the least counts. Nothing here asserts on time.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import socket
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

ROOT = Path(__file__).parents[2]
CORES = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]
"""What this process might use when it began; a child inherits less once this process is pinned."""
SERVER_CORE = CORES[0]
CLIENT_CORE = CORES[-1]
ENVIRONMENT = {**os.environ, "PYTHONHASHSEED": "0"}
"""Of every process that is measured: which names collide in a dict is the same in all of them."""
BODY = json.dumps(
    {
        "product_id": "espresso-machine",
        "quantity": 12,
        "urgent": False,
        "updated_at": "2026-11-23T10:15:30.123456Z",
        "note": "n" * 135,
    },
    separators=(",", ":"),
).encode()
"""The message of every benchmark: 250 bytes of JSON."""
assert len(BODY) == 250


@dataclass(frozen=True)
class Cpu:
    """What a server process has used so far, in seconds."""

    total: float
    user: float
    """From the scheduler's ticks: only sums over seconds mean something."""

    def __sub__(self, other: Cpu) -> Cpu:
        return Cpu(self.total - other.total, self.user - other.user)


class Process:
    """A server in a process of its own; ends when this object is closed, or this process ends.

    Args:
        kind: Which one, see `servers.py`.
        arguments: What it needs besides.
        tree: The checkout whose `servers.py` and library it runs.
    """

    def __init__(self, kind: str, *arguments: str, tree: Path = ROOT) -> None:
        self.control, theirs = socket.socketpair()
        with theirs:
            command = [sys.executable, "-m", "tests.bench.servers", kind, str(theirs.fileno())]
            self._process = subprocess.Popen(
                [*command, str(SERVER_CORE), *arguments],
                cwd=tree,
                env=ENVIRONMENT,
                pass_fds=[theirs.fileno()],
            )
        self.pid = self._process.pid
        pin(SERVER_CORE, self.pid)
        self._lines = self.control.makefile("rb")
        self.port: int = self._reply()["port"]

    def publish(self, count: int) -> None:
        """Ask for so many publications."""
        self.control.send(b"p" * count)

    def ask(self, question: bytes) -> dict[str, Any]:
        """Ask for something else and wait for the answer."""
        self.control.send(question)
        return self._reply()

    def begin(self, question: bytes) -> None:
        """Ask for something that takes its time."""
        self.control.send(question)

    def answered(self) -> dict[str, Any] | None:
        """What was begun has ended; None: not yet."""
        return self._reply() if select.select([self.control], [], [], 0)[0] else None

    def _reply(self) -> dict[str, Any]:
        line = self._lines.readline()
        if not line:
            raise RuntimeError("the server process has ended")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def cpu(self) -> Cpu:
        """What it has used so far."""
        answer = self.ask(b"c")
        return Cpu(answer["total"], answer["user"])

    def wait_for(self, connections: int) -> None:
        """Until it has exactly so many connections."""
        while self.ask(b"n")["connections"] != connections:
            pass

    def close(self) -> None:
        """Let it end."""
        self._lines.close()
        self.control.close()
        self._process.wait(30)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def pin(core: int, pid: int = 0) -> None:
    """Have a process run on this core only: itself, or a child that has just been started.

    What the process may use now says nothing: a child of a pinned client has inherited its core.
    """
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(pid, {core})


@dataclass(frozen=True)
class Row:
    """One line of the result."""

    what: str
    value: str
    target: str = ""
    met: bool | None = None


def at_most(what: str, value: float, target: float, unit: str, detail: str = "") -> Row:
    """A measured number against its target."""
    text = f"{value:.2f} {unit}" + (f"  ({detail})" if detail else "")
    return Row(what, text, f"<= {target:g} {unit}", value <= target)


def show(rows: Sequence[Row]) -> None:
    """Print the table."""
    widths = [max(len(row.what) for row in rows), max(len(row.value) for row in rows)]
    for row in rows:
        verdict = "" if row.met is None else "MET" if row.met else "MISSED"
        line = f"{row.what:<{widths[0]}}  {row.value:<{widths[1]}}  {row.target:<14} {verdict}"
        print(line.rstrip())


def options(description: str | None) -> bool:
    """Whether `--quick` was given: fewer rounds, in a few seconds."""
    parser = argparse.ArgumentParser(description=(description or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds")
    quick: bool = parser.parse_args().quick
    return quick


def begin() -> None:
    """Make this process the load client, and say where it and the servers run."""
    pin(CLIENT_CORE)
    if SERVER_CORE == CLIENT_CORE:
        print("NOT PINNED APART: client and servers share one core, and the numbers mean little")
    else:
        print(f"servers on core {SERVER_CORE}, client on core {CLIENT_CORE}")

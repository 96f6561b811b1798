"""A server of somebody else as a user runs it: a process of its own on a free port of 127.0.0.1.

Rule: only what was started here is ended here, by its process id: the server has a session of its
own, and its workers are in it. It is ended by SIGTERM; what has not gone then is killed, and
whoever asks is told that it hung.

    with launch("uvicorn-sansio", "application:app", tmp_path / "log") as server:
        ...  # server.port, server.log, server.pids()
        end = server.stop()  # end.code, end.seconds, end.hung
"""

from __future__ import annotations

import http.client
import json
import os
import random
import re
import signal
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from hosts import HOSTS, Start, python_command

import stocksync_ws

__all__ = ["End", "Server", "free_port", "launch", "until"]

PACKAGE = Path(stocksync_ws.__file__).parents[1]
HERE = Path(__file__).parent
AT_REST = 5
"""Looks in a row, 20 ms apart, at which nothing has happened."""
PATIENCE = 20.0
"""Seconds a server has to answer its first request, or to end."""

_ANYBODY = ssl.create_default_context()
_ANYBODY.check_hostname = False
_ANYBODY.verify_mode = ssl.CERT_NONE

_T = TypeVar("_T")


def until(look: Callable[[], _T], what: str, seconds: float = PATIENCE) -> _T:
    """Look until something true is seen; fails when that takes too long."""
    end = time.monotonic() + seconds
    while not (seen := look()):
        assert time.monotonic() < end, f"not within {seconds:g} s: {what}; seen last: {seen!r}"
        time.sleep(0.02)
    return seen


def free_port() -> int:
    """A port below the range for outgoing connections, so that no client of a test sits on it."""
    for port in random.sample(range(20_000, 32_000), 200):
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                sock.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
    raise OSError("no free port on 127.0.0.1")


@dataclass(frozen=True)
class End:
    """How a server ended."""

    code: int | None
    """Its exit code."""
    seconds: float
    """From SIGTERM to the end of its main process, or to the end of our patience."""
    hung: bool
    """It had to be killed."""
    left: bool
    """Workers outlived the main process; they were killed too."""


class Server:
    """One server process with its workers; made by `launch`."""

    def __init__(
        self,
        command: list[str],
        log: Path,
        environment: Mapping[str, str],
        port: int,
        *,
        certificate: str = "",
    ):
        self.port = port
        self.certificate = certificate
        """What it shows in its TLS; "" where it has none."""
        self._log = log
        self._ended: End | None = None
        self._told = False
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, **environment},
                start_new_session=True,
            )
        try:
            until(self._answers, "its first answer")
        except BaseException:
            self.kill()
            raise AssertionError(f"{' '.join(command)} does not serve:\n{self.tail}") from None

    def _answers(self) -> bool:
        # More than a port that is open: a main process listens before a worker is there, and one
        # server never ends when it is told to before that.
        assert self._process.poll() is None, "it has ended"
        try:
            self.request("/", seconds=2)
        except urllib.error.HTTPError:
            return True
        except OSError:
            return False
        return True

    @property
    def pid(self) -> int:
        """Of the main process."""
        return self._process.pid

    @property
    def log(self) -> str:
        """What the server and the application have printed."""
        return self._log.read_text(errors="replace")

    @property
    def tail(self) -> str:
        """The end of that."""
        return self.log[-2_000:]

    @property
    def running(self) -> bool:
        """The main process has not ended."""
        return self._process.poll() is None

    def pids(self) -> list[int]:
        """All its processes, as long as they stay in its session."""
        return [pid for pid in _processes() if _session_of(pid) == self.pid]

    def request(
        self, target: str, body: bytes | None = None, *, seconds: float = PATIENCE
    ) -> bytes:
        """The body of the answer to a GET, or with a body a POST.

        Raises:
            OSError: No answer, or one that is an error.
        """
        url = f"http{'s' if self.certificate else ''}://127.0.0.1:{self.port}{target}"
        with urllib.request.urlopen(url, body, timeout=seconds, context=_ANYBODY) as answer:
            read: bytes = answer.read()
        return read

    def line(self) -> http.client.HTTPConnection:
        """A connection of HTTP to it, not open yet."""
        if self.certificate:
            return http.client.HTTPSConnection("127.0.0.1", self.port, timeout=20, context=_ANYBODY)
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)

    def ask(self, target: str, body: bytes | None = None) -> Any:
        """The same for an answer in JSON."""
        return json.loads(self.request(target, body))

    def rest(self) -> None:
        """Wait until the main threads of all its processes have had nothing to do for a while.

        A client has its answer before the worker is done with the request: what a signal meets
        there is not what a server at rest does. One skips its exit handlers, another is
        interrupted in the middle of the application.
        """
        seen: list[list[str]] = []

        def at_rest() -> bool:
            seen.append([_switches(pid) for pid in self.pids()])
            return len(seen) >= AT_REST and all(each == seen[-1] for each in seen[-AT_REST:])

        until(at_rest, "a moment of rest")

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the main process alone."""
        self._process.send_signal(number)

    def terminate(self) -> None:
        """SIGTERM; `stop` then waits."""
        if not self._told:
            self._told = True
            self.signal(signal.SIGTERM)

    def wait(self, seconds: float = PATIENCE) -> End:
        """Wait for the end of a server that was told to end; then it is killed."""
        begun = time.monotonic()
        try:
            code = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            code = None
        took = time.monotonic() - begun
        left = code is not None and not self._is_empty(within=3.0)
        self.kill()
        self._ended = End(code, took, hung=code is None, left=left)
        return self._ended

    def _is_empty(self, within: float) -> bool:
        """Nothing is left of it; helpers of Python's own end a moment later than it does."""
        end = time.monotonic() + within
        while self.pids() and time.monotonic() < end:
            time.sleep(0.02)
        return not self.pids()

    def stop(self, seconds: float = PATIENCE) -> End:
        """SIGTERM, and wait; what has not gone then is killed. Asked twice, it is told again."""
        if self._ended is None:
            self.terminate()
            self.wait(seconds)
        assert self._ended is not None
        return self._ended

    def kill(self) -> None:
        """End it and its workers at once."""
        for pid in self.pids():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self._process.wait(PATIENCE)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        end = self.stop()
        if error is None:
            self.check(end)

    def check(self, end: End) -> None:
        """Fail when it did not end by itself, or has printed a traceback through the library.

        Raises:
            AssertionError: With its log.
        """
        assert not end.hung, f"it had to be killed after {end.seconds:.0f} s:\n{self.tail}"
        assert not end.left, f"workers outlived their main process:\n{self.tail}"
        found = re.search(r'File "[^"]*/stocksync_ws/|ERROR stocksync_ws', self.log)
        assert found is None, self.log[max(0, found.start() - 1_000) : found.end() + 2_000]


def _processes() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _switches(pid: int) -> str:
    """How often the main thread of a process has given its core away."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return ""
    return ",".join(re.findall(r"ctxt_switches:\s+(\d+)", status))


def _session_of(pid: int) -> int | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    state, _, _, session = stat.rpartition(")")[2].split()[:4]
    return None if state == "Z" else int(session)


def launch(
    name: str,
    target: str,
    log: Path,
    *,
    workers: int = 1,
    root_path: str = "",
    certificate: str = "",
    extra: tuple[str, ...] = (),
    environment: Mapping[str, str] | None = None,
    folders: tuple[Path, ...] = (HERE,),
    program: Path | None = None,
) -> Server:
    """Start a server and wait until it answers.

    Args:
        name: A row of `HOSTS`.
        target: `module:name` of the application.
        log: Where its output goes; what stands there is kept.
        workers: Processes that serve.
        root_path: What a proxy in front would cut off the path.
        certificate: A file with a certificate and its key, to serve by TLS.
        extra: Further arguments of this server.
        environment: Further variables.
        folders: Where its modules are.
        program: Runs in place of the server's own module, with the same words.

    Raises:
        AssertionError: It does not serve; with its log.
    """
    start = Start(target, free_port(), workers, root_path, certificate, extra)
    variables = {
        "PYTHONPATH": os.pathsep.join(map(str, (*folders, PACKAGE))),
        "PYTHONUNBUFFERED": "1",
        **(environment or {}),
    }
    command = python_command(HOSTS[name], start)
    if program is not None:
        command[1:3] = [str(program)]
    return Server(command, log, variables, start.port, certificate=certificate)

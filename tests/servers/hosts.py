"""The ASGI servers of others: how each is started, and what it can carry.

Rule: this is the one place that knows them. `docs/embedding/servers.md` is checked against it, and
every ability is asserted both ways: a server that gains one makes a test red, and so does one that
loses it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["HOSTS", "Host", "Start"]


@dataclass(frozen=True)
class Start:
    """How a server is started, in words that all of them understand.

    Args:
        target: `module:name` of the application.
        port: On 127.0.0.1.
        workers: Processes that serve.
        root_path: What a proxy in front would cut off the path, or "".
        extra: Further arguments of this one server.
    """

    target: str
    port: int
    workers: int = 1
    root_path: str = ""
    extra: tuple[str, ...] = ()


@dataclass(frozen=True)
class Host:
    """One server with one of its WebSocket implementations."""

    name: str
    command: Callable[[Start], list[str]]
    """What follows `python -m`."""


def _uvicorn(implementation: str, loop: str = "asyncio") -> Callable[[Start], list[str]]:
    def command(start: Start) -> list[str]:
        words = ["uvicorn", "--host", "127.0.0.1", "--port", str(start.port)]
        words += ["--ws", implementation, "--loop", loop, "--no-access-log"]
        if start.workers > 1:
            words += ["--workers", str(start.workers)]
        if start.root_path:
            words += ["--root-path", start.root_path]
        return [*words, *start.extra, start.target]

    return command


def _hypercorn(start: Start) -> list[str]:
    words = ["hypercorn", "--bind", f"127.0.0.1:{start.port}", "--workers", str(start.workers)]
    if start.root_path:
        words += ["--root-path", start.root_path]
    return [*words, *start.extra, start.target]


def _granian(start: Start) -> list[str]:
    words = ["granian", "--interface", "asgi", "--host", "127.0.0.1", "--port", str(start.port)]
    words += ["--loop", "asyncio", "--workers", str(start.workers)]
    if start.root_path:
        words += ["--url-path-prefix", start.root_path]
    return [*words, *start.extra, start.target]


def _gunicorn(start: Start) -> list[str]:
    words = ["gunicorn", "--worker-class", "asgi", "--bind", f"127.0.0.1:{start.port}"]
    words += ["--asgi-loop", "asyncio", "--no-control-socket", "--workers", str(start.workers)]
    if start.root_path:
        words += ["--root-path", start.root_path]
    return [*words, *start.extra, start.target]


def _daphne(start: Start) -> list[str]:
    words = ["daphne", "--bind", "127.0.0.1", "--port", str(start.port)]
    if start.root_path:
        words += ["--root-path", start.root_path]
    return [*words, *start.extra, start.target]


HOSTS = {
    host.name: host
    for host in (
        Host("uvicorn-sansio", _uvicorn("websockets-sansio")),
        Host("uvicorn-wsproto", _uvicorn("wsproto")),
        Host("uvicorn-legacy", _uvicorn("websockets")),
        Host("uvicorn-uvloop", _uvicorn("websockets-sansio", "uvloop")),
        Host("hypercorn", _hypercorn),
        Host("granian", _granian),
        Host("gunicorn", _gunicorn),
        Host("daphne", _daphne),
    )
}


def python_command(host: Host, start: Start) -> list[str]:
    """The whole command line, on the running Python."""
    return [sys.executable, "-m", *host.command(start)]

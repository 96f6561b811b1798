"""An application in front of another, on a host in memory, and nothing of it left behind."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from stocksync_ws import StompApp
from stocksync_ws.broker.model.pipeline import Threads
from stocksync_ws.running.run import Run
from tests.asgi.host import Asgi, host_of

POOLS = tuple(f"stocksync-{each.value}" for each in Threads)
PATIENCE = 10.0


@pytest.fixture(autouse=True)
def no_thread_is_left(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The threads of our pools end, whatever a test did: with the run, or with the next one where a
    host has closed its loop under it.
    """
    runs: list[Run] = []  # None is collected before it was asked.
    before = set(threading.enumerate())
    made = Run.__init__

    def remember(run: Run, app: StompApp) -> None:
        made(run, app)
        runs.append(run)

    monkeypatch.setattr(Run, "__init__", remember)
    yield
    for run in runs:
        if run.runtime is not None and run.runtime.loop.is_closed():
            run.make_way()
    for thread in set(threading.enumerate()) - before:
        if thread.name.startswith(POOLS):
            thread.join(PATIENCE)
            assert not thread.is_alive(), thread.name


@pytest.fixture
def app() -> StompApp:
    return StompApp("/ws", heart_beat=(0, 0), client_send=["/topic/**"], allowed_origins=["*"])


@pytest.fixture
def serve() -> Iterator[Callable[..., Asgi]]:
    """Serves an application; the host ends with the test."""
    hosts: list[Asgi] = []

    def serve(app: StompApp, *inner: object, signals: bool = False) -> Asgi:
        hosts.append(host_of(app, *inner, signals=signals))
        return hosts[-1]

    yield serve
    for host in hosts:
        host.close()


@pytest.fixture
def host(app: StompApp, serve: Callable[..., Asgi]) -> Asgi:
    return serve(app)

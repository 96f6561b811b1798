"""The server in front is always the first that hears of a stop: sessions close before it does."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable, Iterator

import pytest

from stocksync_ws import DisconnectReason, Limits, SessionDisconnected, StompApp
from tests.asgi.host import Asgi, Held, host_of

Serve = Callable[..., Asgi]


@pytest.fixture(autouse=True)
def heard() -> Iterator[list[str]]:
    """What the host hears."""
    before = signal.getsignal(signal.SIGTERM)
    heard: list[str] = []
    signal.signal(signal.SIGTERM, lambda number, frame: heard.append("SIGTERM"))
    yield heard
    signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize("with_lifespan", [True, False])
def test_clients_are_closed_before_the_host_hears_of_it(
    app: StompApp, serve: Serve, heard: list[str], with_lifespan: bool
) -> None:
    reasons: list[DisconnectReason] = []

    @app.event_listener(SessionDisconnected, inline=True)
    def listen(event: SessionDisconnected) -> None:
        reasons.append(event.reason)

    theirs = signal.getsignal(signal.SIGTERM)
    host = serve(app, signals=True)
    lifespan = host.lifespan()
    if with_lifespan:
        lifespan.tell("startup")
    client = host.open().connect()
    signal.raise_signal(signal.SIGTERM)
    assert heard == []
    assert client.closed == {"type": "websocket.close", "code": 1012, "reason": "server restarts"}
    host.advance(1)
    assert heard == ["SIGTERM"]
    assert reasons == [DisconnectReason.SERVER_SHUTDOWN]
    if with_lifespan:
        lifespan.tell("shutdown")
        assert lifespan.said == ["startup.complete", "shutdown.complete"]
    else:
        app._run.abort()
    assert signal.getsignal(signal.SIGTERM) is theirs


def test_a_host_that_cancels_its_scopes_waits_for_nobody(
    app: StompApp, serve: Serve, heard: list[str]
) -> None:
    host = serve(app, signals=True)
    clients = [host.open(Held()) for _ in range(3)]
    signal.raise_signal(signal.SIGTERM)
    host.settle()
    signal.raise_signal(signal.SIGTERM)
    assert heard == ["SIGTERM"]
    for client in clients:
        client.task.cancel()
    host.settle()
    assert heard == ["SIGTERM", "SIGTERM"]
    assert all(client.task.cancelled() for client in clients)


def test_the_host_hears_of_it_in_bounded_time(heard: list[str], serve: Serve) -> None:
    app = StompApp("/ws", limits=Limits(close_timeout=1, shutdown_timeout=4))
    host = serve(app, signals=True)
    client = host.open().connect()
    client.manner = Held()
    signal.raise_signal(signal.SIGTERM)
    host.advance(4)
    assert heard == ["SIGTERM"]


def test_signals_may_be_left_to_the_host(app: StompApp, serve: Serve, heard: list[str]) -> None:
    theirs = signal.getsignal(signal.SIGTERM)
    host = serve(app, signals=False)
    host.open().connect()
    assert signal.getsignal(signal.SIGTERM) is theirs


def test_a_run_whose_loop_was_closed_gives_the_handlers_back_to_the_next(
    app: StompApp, heard: list[str]
) -> None:
    theirs = signal.getsignal(signal.SIGTERM)
    for _ in range(2):
        host = host_of(app, signals=True)
        host.open().connect()
        host.close()
    signal.raise_signal(signal.SIGTERM)
    assert heard == ["SIGTERM"]
    app._run.abort()
    assert signal.getsignal(signal.SIGTERM) is theirs


def test_in_another_thread_nothing_is_installed(
    app: StompApp, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    theirs = signal.getsignal(signal.SIGTERM)
    seen: list[object] = []

    def serve() -> None:
        host = host_of(app, signals=True)
        host.open().connect()
        seen.append(signal.getsignal(signal.SIGTERM))
        app._run.abort()
        host.close()

    thread = threading.Thread(target=serve)
    thread.start()
    thread.join(10)
    assert seen == [theirs]

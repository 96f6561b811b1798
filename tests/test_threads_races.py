"""Threads against each other: every order of two calls, and fifty threads with a tiny switch
interval.

STOCKSYNC_RACES=10 makes the long session: seconds.
"""

from __future__ import annotations

import itertools
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent / "adapters"))

from carriers.client import Client, Gone
from threaded import PATIENCE, open_client

from stocksync_ws import BrokerBusy, BrokerClosed, Limits, SessionDisconnected, StompApp, WrongLoop
from stocksync_ws.threads import ThreadServer

SECONDS = float(os.environ.get("STOCKSYNC_RACES", "0.3"))
LIMITS = Limits(close_timeout=0.5, shutdown_timeout=1.0)


@pytest.fixture(autouse=True)
def tiny_switch_interval() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


class Story:
    """An app that runs on a thread, a client that is subscribed, and two that are not yet."""

    def __init__(self) -> None:
        self.ends: list[str] = []
        self.app = StompApp("/ws", limits=LIMITS, client_send=["/topic/**"])

        @self.app.event_listener(SessionDisconnected, inline=True)
        def listen(event: SessionDisconnected) -> None:
            self.ends.append(event.session_id)

        self.server: ThreadServer = self.app.serve_in_thread(port=0)
        self.client = open_client(self.server.port).connect()
        self.others = [open_client(self.server.port).connect() for _ in range(2)]
        self._silent = list(self.others)
        """Not subscribed yet: of two threads that subscribe, each has its own client."""
        self.client.subscribe("/topic/a")
        self.published: int | None = None

    def publish(self) -> None:
        try:
            self.published = self.app.template.publish_wait("/topic/a", "x").receivers
        except BrokerClosed:
            self.published = None

    def subscribe(self) -> None:
        try:
            self._silent.pop().subscribe("/topic/a")
        except (Gone, OSError, AssertionError):
            pass  # Closed, or a MESSAGE came behind the SUBSCRIBE and before its RECEIPT.

    def close(self) -> None:
        self.client.pipe.close()

    def stop(self) -> None:
        self.server.stop()

    def end(self) -> None:
        """Whatever happened: it stops, each session has ended once, and nothing waits."""
        self.client.pipe.close()
        for other in self.others:
            other.pipe.close()
        self.server.stop()
        assert sorted(self.ends) == sorted(set(self.ends))
        assert len(self.ends) == 3
        assert not self.app.inbox._items
        assert not self.app.inbox._queue
        with pytest.raises(BrokerClosed):
            self.app.template.send("/topic/a", b"x")


CALLS = ("publish", "subscribe", "close", "stop")
PAIRS = list(itertools.combinations_with_replacement(CALLS, 2))


@pytest.mark.parametrize(
    ("first", "second"), list(itertools.combinations_with_replacement(CALLS, 2))
)
@pytest.mark.parametrize("how", ["one behind the other", "the other way round", "at once"])
def test_any_two_calls_in_any_order_leave_everything_in_order(
    first: str, second: str, how: str
) -> None:
    story = Story()
    calls: list[Callable[[], None]] = [getattr(story, first), getattr(story, second)]
    if how == "at once":
        gate = threading.Barrier(2)
        together(*(_behind(gate, call) for call in calls))
    else:
        for call in calls if how == "one behind the other" else reversed(calls):
            together(call)
    orders = {"one behind the other": (first, second), "the other way round": (second, first)}
    order = orders.get(how)
    if order == ("publish", "stop"):
        assert story.published == 1
    elif order == ("stop", "publish"):
        assert story.published is None
    story.end()


def _behind(gate: threading.Barrier, call: Callable[[], None]) -> Callable[[], None]:
    def run() -> None:
        gate.wait(PATIENCE)
        call()

    return run


def together(*functions: Callable[[], None]) -> None:
    """Run each in a thread of its own to its end; what one raised is raised."""
    raised: list[BaseException] = []

    def guarded(function: Callable[[], None]) -> None:
        try:
            function()
        except BaseException as error:
            raised.append(error)

    threads = [threading.Thread(target=guarded, args=(function,)) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS + 3 * PATIENCE)
        assert not thread.is_alive(), "a thread hangs"
    if raised:
        raise raised[0]


def test_fifty_threads_that_publish_subscribe_and_close_lose_nothing() -> None:
    ends: list[str] = []
    app = StompApp("/ws", limits=LIMITS, client_send=["/topic/**"])

    @app.event_listener(SessionDisconnected, inline=True)
    def listen(event: SessionDisconnected) -> None:
        ends.append(event.session_id)

    server = app.serve_in_thread(port=0)
    until = time.monotonic() + SECONDS
    sent: dict[int, int] = {}
    opened: list[int] = []
    # The one reader of all would be too slow for 25 who do not wait for it.
    room = [threading.Semaphore(20) for _ in range(25)]

    def publishes(number: int) -> None:
        count = 0
        while time.monotonic() < until or count == 0:
            assert room[number].acquire(timeout=3 * PATIENCE)
            if number % 2:
                app.template.publish_wait("/topic/all", f"{number}:{count}")
            else:
                try:
                    app.template.send("/topic/all", f"{number}:{count}".encode())
                except BrokerBusy:
                    app.template.publish_wait("/topic/all", f"{number}:{count}")
            count += 1
        sent[number] = count

    def comes_and_goes(number: int) -> None:
        while time.monotonic() < until or number not in opened:
            client: Any = open_client(server.port).connect()
            opened.append(number)
            client.subscribe(f"/topic/{number}")
            body = f"{number}:{len(opened)}"
            assert app.template.publish_wait(f"/topic/{number}", body).receivers >= 1
            assert client.frame("MESSAGE").body == body.encode()
            client.pipe.close()

    reader: Client = open_client(server.port).connect()
    reader.subscribe("/topic/all")
    heard: dict[int, int] = {}
    wrong: list[str] = []

    def reads() -> None:
        while True:
            body = reader.frame("MESSAGE").body.decode()
            if body == "last":
                return
            number, count = map(int, body.split(":"))
            if heard.get(number, 0) != count:
                wrong.append(body)
            heard[number] = count + 1
            room[number].release()

    reading = threading.Thread(target=reads)
    reading.start()
    together(
        *(lambda number=number: publishes(number) for number in range(25)),
        *(lambda number=number: comes_and_goes(number) for number in range(25, 50)),
    )
    app.template.publish_wait("/topic/all", "last")
    reading.join(3 * PATIENCE)
    assert not reading.is_alive()
    reader.pipe.close()
    server.stop()
    assert wrong == []
    assert heard == sent
    assert len(ends) == len(set(ends)) == len(opened) + 1
    assert app.counters.messages_published >= sum(sent.values())


def test_an_app_is_started_by_one_of_many_threads_at_once() -> None:
    for _ in range(10):
        app = StompApp("/ws", limits=LIMITS)
        gate = threading.Barrier(8)
        servers: list[ThreadServer] = []
        refused: list[BaseException] = []

        def start(app: StompApp = app, gate: Any = gate, servers: Any = servers) -> None:
            gate.wait(PATIENCE)
            try:
                servers.append(app.serve_in_thread(port=0))
            except WrongLoop as error:
                refused.append(error)  # noqa: B023

        together(*[start] * 8)
        assert (len(servers), len(refused)) == (1, 7)
        servers[0].stop()

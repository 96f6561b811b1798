"""The application of the fault tests: it can be told to misbehave, and tells how it is.

Rule: it is told and asked over STOMP, so that both servers need nothing beside it. What its
listeners heard is appended to a file, which outlives the process. Settings come in the environment.

`python -m faults_app PORT` serves it with our own server; a host serves `faults_app:app`.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import logging
import os
import resource
import sys
import threading
import time
from dataclasses import asdict
from typing import Any
from weakref import WeakValueDictionary

from faults_tools import BrokenStream, forked, kept, status, watch_writers

from stocksync_ws import (
    BrokerAvailability,
    BrokerBusy,
    BrokerClosed,
    ConnectRequest,
    Limits,
    Session,
    SessionConnected,
    SessionDisconnected,
    SessionSubscribed,
    StompApp,
    send_to_user,
)

SETTINGS: dict[str, Any] = json.loads(os.environ.get("FAULTS", "{}"))
EVENTS = os.open(
    os.environ.get("FAULTS_EVENTS", os.devnull), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600
)
SECRET = "the-secret-of-an-exception"
HEARD = (SessionConnected, SessionDisconnected)

logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s %(message)s")
if "descriptors" in SETTINGS:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (SETTINGS["descriptors"], hard))


async def authenticate(request: ConnectRequest) -> None:
    """Everybody may come in, but who says so waits for ever."""
    if request.login == "wait":
        await asyncio.Event().wait()


ws = StompApp(
    "/ws",
    client_send=["/topic/**"],
    heart_beat=tuple(SETTINGS.get("heart_beat", (0, 0))),
    missed_heart_beats=SETTINGS.get("missed_heart_beats", 3.0),
    limits=Limits(**SETTINGS.get("limits", {})),
    authenticator=authenticate if SETTINGS.get("authenticator") else None,
)


def note(**fields: Any) -> None:
    """Append a line to the file of events: one write, so that no two get mixed."""
    os.write(EVENTS, (json.dumps(fields) + "\n").encode())


@ws.event_listener(*HEARD, inline=True)
def hear(event: SessionConnected | SessionDisconnected) -> None:
    line = {"event": type(event).__name__, "session": event.session_id}
    if isinstance(event, SessionDisconnected):
        line |= {"reason": str(event.reason), "code": str(event.close_code)}
    note(**line)


if SETTINGS.get("raising_listeners"):

    @ws.event_listener(*HEARD, SessionSubscribed)
    async def hear_and_raise(event: object) -> None:
        await asyncio.sleep(0)
        raise ValueError(SECRET)

    @ws.event_listener(*HEARD, SessionSubscribed)
    def hear_in_a_thread_and_raise(event: object) -> None:
        raise KeyError(SECRET)

    @ws.event_listener(SessionConnected)
    async def hear_for_ever(event: SessionConnected) -> None:
        await asyncio.Event().wait()


if SETTINGS.get("publishing_listeners"):

    @ws.event_listener(SessionSubscribed, inline=True)
    def hear_and_publish(event: SessionSubscribed) -> None:
        for number in range(3 if event.destination.startswith("/topic/") else 0):
            ws.template.send(event.destination, f"{event.subscription_id} {number}".encode())


# Asked

answered = send_to_user("/queue/answers", broadcast=False)


def most_queued() -> int:
    """What waits for the session for which most waits."""
    runtime = ws._run.runtime
    assert runtime is not None
    boxes = [each.mailbox for each in runtime.broker.sessions.values()]
    return max(each.queued + each.unsent for each in boxes)


@ws.message_mapping("/queued")
@answered
async def queued(body: bytes) -> list[int]:
    return [most_queued()]


@ws.message_mapping("/probe")
@answered
async def probe(body: bytes) -> dict[str, Any]:
    """How the process is, now. The call that asks is in the numbers."""
    runtime = ws._run.runtime
    assert runtime is not None
    gc.collect()
    loop = asyncio.get_running_loop()
    sessions = runtime.broker.sessions.values()
    return {
        "pid": os.getpid(),
        "descriptors": len(os.listdir("/proc/self/fd")),
        "threads": len(os.listdir("/proc/self/task")),
        "tasks": len(asyncio.all_tasks()),
        "handles": sum(1 for each in loop._scheduled if not each.cancelled()),
        "timers": kept(runtime.driver._timers._heap),
        "sessions": len(sessions),
        "connections": runtime.driver.connections,
        "destinations": len(runtime.broker.delivery.registry.known),
        "pipelines": len(runtime.broker.calls.tasks.running),
        "queued": most_queued(),
        "objects": len(gc.get_objects()),
        "peak": status("VmHWM"),
        "rss": status("VmRSS"),
        "counters": asdict(runtime.broker.counters),
    }


# Told


@ws.message_mapping("/publish")
async def publish(body: dict[str, Any]) -> None:
    """Publish numbers, each padded to a size, and pause behind every few."""
    pad = b"." * body.get("size", 0)
    for number in range(body["first"], body["first"] + body["count"]):
        ws.template.send(body["destination"], b"%d %s" % (number, pad))
        if number % body.get("at_once", 50) == 0:
            await asyncio.sleep(body.get("pause", 0))


ticking: set[asyncio.Task[None]] = set()
ticked = 0
"""Numbers that the broker has accepted."""


@ws.message_mapping("/tick")
async def tick(body: dict[str, Any]) -> None:
    """Publish numbers from now on, until the broker takes none."""
    ticking.add(asyncio.get_running_loop().create_task(tick_on(**body)))


async def tick_on(destination: str, every: float) -> None:
    global ticked
    with contextlib.suppress(BrokerClosed):
        while True:
            ws.template.send(destination, b"%d" % (ticked + 1))
            ticked += 1
            await asyncio.sleep(every)


@ws.message_mapping("/block")
async def block(body: dict[str, Any]) -> None:
    """Hold the loop; then publish a number, before the loop hears of anything else."""
    note(event="blocked")
    time.sleep(body["seconds"])  # noqa: ASYNC251  The fault.
    if "number" in body:
        ws.template.send("/topic/a", b"%d" % body["number"])


class Mapped(Exception):
    pass


@ws.message_exception_handler(Mapped)
def on_mapped(error: Mapped) -> str:
    return "mapped"


@ws.message_mapping("/raise/mapped")
async def raise_mapped(body: bytes) -> None:
    raise Mapped(SECRET)


@ws.message_mapping("/raise/error")
async def raise_error(body: bytes) -> None:
    raise ValueError(SECRET)


@ws.message_mapping("/raise/base")
async def raise_base(body: bytes) -> None:
    raise SystemExit(SECRET)


@ws.message_mapping("/raise/base-in-thread")
def raise_base_in_thread(body: bytes) -> None:
    raise SystemExit(SECRET)


@ws.message_mapping("/hang")
async def hang(body: bytes) -> None:
    try:
        await asyncio.Event().wait()
    finally:
        note(event="hang ended")


released = threading.Event()


@ws.message_mapping("/hang-in-thread")
def hang_in_thread(body: bytes) -> None:
    released.wait()


@ws.message_mapping("/release")
async def release(body: bytes) -> None:
    released.set()


@ws.message_mapping("/slow")
@answered
async def slow(body: dict[str, Any]) -> list[str]:
    """Ends in several steps, with nothing but the loop to hold it."""
    for _ in range(body["steps"]):
        await asyncio.sleep(body["every"])
    return ["done"]


waiting: WeakValueDictionary[int, asyncio.Future[None]] = WeakValueDictionary()


@ws.message_mapping("/wait")
@answered
async def wait(body: bytes) -> list[str]:
    """Wait for a future that nothing but this very call holds."""
    future = asyncio.get_running_loop().create_future()
    waiting[len(waiting)] = future
    await future
    return ["done"]


@ws.message_mapping("/wake")
@answered
async def wake(body: bytes) -> list[int]:
    """Let all of these go on; how many there are."""
    there = list(waiting.values())
    for future in there:
        future.set_result(None)
    return [len(there)]


@ws.message_mapping("/surrogate")
@answered
async def surrogate(body: bytes) -> list[str]:
    """A text that no frame can carry."""
    try:
        ws.template.convert_and_send("/topic/a", "\ud800")
    except Exception as error:
        return [type(error).__name__]
    return ["sent"]


@ws.message_mapping("/threads")
async def threads(body: dict[str, Any]) -> None:
    """Publish from threads of the application, and check who writes to a transport."""

    def run(thread: int) -> None:
        for number in range(body["count"]):
            while True:
                try:
                    ws.template.send("/topic/a", b"%d %d" % (thread, number))
                    break
                except BrokerBusy:
                    time.sleep(0.001)

    watch_writers(threading.get_ident(), lambda: note(event="written by another thread"))
    for thread in range(body["threads"]):
        threading.Thread(target=run, args=(thread,)).start()


@ws.message_mapping("/fork")
@answered
async def fork(body: bytes) -> list[int]:
    return forked((publish_now, publish_in_a_thread, publish_and_wait))


def publish_now() -> None:
    ws.template.send("/topic/a", b"by a child")


def publish_in_a_thread() -> None:
    problems: list[BaseException] = []

    def run() -> None:
        try:
            publish_now()
        except BaseException as error:
            problems.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if problems:
        raise problems[0]


def publish_and_wait() -> None:
    ws.template.publish("/topic/a", "by a child").send(None)  # type: ignore[attr-defined]


@ws.message_mapping("/break")
@answered
async def break_stream(body: bytes, session: Session) -> list[str]:
    """From the next turn on, nothing can be written to the one who asks: on our own server."""
    runtime = ws._run.runtime
    assert runtime is not None
    [link] = [
        each for each in runtime.driver._links.open
        if each.wire is not None and each.wire.session.id == session.id
    ]  # fmt: skip

    def do_break() -> None:
        link.stream = BrokenStream(link.stream)
        link.wire.session.mailbox.block()

    asyncio.get_running_loop().call_later(0.05, do_break)
    return ["it will be"]


collecting = threading.Event()


@ws.message_mapping("/collect")
async def collect(body: dict[str, Any]) -> None:
    """Collect garbage in a tight loop, until told otherwise."""
    if not body["on"]:
        collecting.clear()
    elif not collecting.is_set():
        collecting.set()
        threading.Thread(target=collect_on, daemon=True).start()


def collect_on() -> None:
    while collecting.is_set():
        gc.collect()


# Served


async def inner(scope: Any, receive: Any, send: Any) -> None:
    """The application of a host around ours: it knows nothing."""
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 404, "headers": []})
        await send({"type": "http.response.body", "body": b""})
    else:
        raise RuntimeError(scope["type"])


wrapped = ws.wrap(inner)


async def app(scope: Any, receive: Any, send: Any) -> None:
    """With middleware that fails for who asks for it in its query, from the third message on."""
    if scope["type"] != "websocket" or scope["query_string"] != b"broken":
        await wrapped(scope, receive, send)
        return
    sent = 0

    async def broken(message: Any) -> None:
        nonlocal sent
        sent += 1
        if sent > 3 and message["type"] == "websocket.send":
            raise RuntimeError("middleware of the host failed")
        await send(message)

    await wrapped(scope, receive, broken)


@ws.event_listener(BrokerAvailability, inline=True)
def began(event: BrokerAvailability) -> None:
    note(event="available" if event.available else "unavailable", ticked=ticked)


if __name__ == "__main__":
    asyncio.run(ws.serve("127.0.0.1", int(sys.argv[1])))

"""User code that never ends holds no process back: it ends in time, and the log names the culprit.

Each test is a row of docs/contributing/neighbours.md.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from threaded import Ended, run_script

pytestmark = pytest.mark.slow

SHUTDOWN = 0.4
PROMISED = SHUTDOWN + 5.0
"""Seconds from SIGTERM to the end of the process."""
SLACK = 3.0
"""For a machine that does other things too."""

BEGIN = """
import asyncio, logging, os, signal, socket, sys, threading
from carriers.client import Client
from stocksync_ws import ConnectRequest, Limits, SessionConnected, SessionDisconnected, StompApp

logging.basicConfig(format="%(levelname)s %(name)s %(message)s")
listening = socket.create_server(("127.0.0.1", 0))
port = listening.getsockname()[1]
limits = Limits(shutdown_timeout=0.4, close_timeout=0.2)
ending = signal.SIGTERM

def say(text):
    os.write(1, f"{text}\\n".encode())  # whole, whoever else prints

def hurt():
    "The user code has begun: now the process is to end."
    say("exit")
    os.kill(os.getpid(), ending)

async def swallow():
    hurt()
    while True:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            say("swallowed")

class Pipe:
    def __init__(self):
        # A bare descriptor, of which the interpreter does not say that it was left open.
        self.fd = socket.create_connection(("127.0.0.1", port)).detach()
    def send(self, data):
        os.write(self.fd, data)
    def receive(self):
        return os.read(self.fd, 65_536)

def knock():
    client = Client(Pipe())
    try:
        client.connect().send("SEND", {"destination": "/app/it"})
        while True:
            client.frame()
    except Exception:
        pass  # The server has ended.

app = StompApp("/ws", limits=limits)
"""

KINDS = {
    "a handler": """
@app.message_mapping("/it")
async def culprit():
    await swallow()
""",
    "a task of a handler": """
@app.message_mapping("/it")
async def culprit():
    await asyncio.create_task(swallow())
""",
    "a group of tasks of a handler": """
@app.message_mapping("/it")
async def culprit():
    async with asyncio.TaskGroup() as group:
        group.create_task(swallow())
""",
    "a handler that waits for so long": """
@app.message_mapping("/it")
async def culprit():
    await asyncio.wait_for(swallow(), 1_000)
""",
    "a listener": """
@app.message_mapping("/it")
async def it(): ...

@app.event_listener(SessionConnected)
async def culprit(event: SessionConnected):
    await swallow()
""",
    "a listener of the end": """
@app.message_mapping("/it")
async def it():
    hurt()

@app.event_listener(SessionDisconnected)
async def culprit(event: SessionDisconnected):
    while True:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            pass
""",
    "an authenticator": """
async def culprit(request: ConnectRequest) -> None:
    await swallow()

app = StompApp("/ws", limits=limits, authenticator=culprit)
""",
    "the clean-up of a pipeline": """
@app.message_mapping("/it")
async def it():
    hurt()
    try:
        await asyncio.Event().wait()
    finally:
        raise LookupError

@app.message_exception_handler(LookupError)
async def culprit():
    while True:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            pass
""",
    "a function": """
@app.message_mapping("/it")
def culprit():
    hurt()
    threading.Event().wait()
""",
    "a function that listens": """
@app.message_mapping("/it")
async def it():
    hurt()

@app.event_listener(SessionDisconnected)
def culprit(event: SessionDisconnected):
    threading.Event().wait()
""",
    "a function that authenticates": """
def culprit(request: ConnectRequest) -> None:
    hurt()
    threading.Event().wait()

app = StompApp("/ws", limits=limits, authenticator=culprit)
""",
}

SERVERS = {
    "serve": """
threading.Thread(target=knock, daemon=True).start()
asyncio.run(app.serve(sock=listening))
""",
    "a thread": """
# The signal ends the script as Ctrl-C does.
signal.signal(signal.SIGTERM, signal.default_int_handler)
try:
    with app.serve_in_thread(sock=listening):
        threading.Thread(target=knock, daemon=True).start()
        threading.Event().wait()
except KeyboardInterrupt:
    pass
""",
    "a thread at the exit": """
server = app.serve_in_thread(sock=listening)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
threading.Thread(target=knock, daemon=True).start()
threading.Event().wait()
""",
}
UVICORN = """
import uvicorn
from starlette.applications import Starlette

host = Starlette()
app.install(host)
threading.Thread(target=knock, daemon=True).start()
server = uvicorn.Server(
    uvicorn.Config(host, log_config=None, lifespan=lifespan, timeout_graceful_shutdown=1)
)
try:
    server.run(sockets=[listening])
except KeyboardInterrupt:
    pass
"""
SERVERS["uvicorn"] = "lifespan = 'on'" + UVICORN
SERVERS["uvicorn, by Ctrl-C"] = "lifespan, ending = 'on', signal.SIGINT" + UVICORN
WITHOUT = "uvicorn without lifespan, by Ctrl-C"
SERVERS[WITHOUT] = "lifespan, ending = 'off', signal.SIGINT" + UVICORN

SOON = """
from stocksync_ws.running import runtime, stragglers
runtime.CLEAN_UP = stragglers.CLEAN_UP = 0.3
"""
FEW = ("a handler", "a group of tasks of a handler", "the clean-up of a pipeline", "a function")
PAIRS = [(kind, "serve") for kind in KINDS]
PAIRS += [(kind, server) for server in SERVERS if server not in ("serve", WITHOUT) for kind in FEW]
PAIRS += [(kind, WITHOUT) for kind in FEW[:2]]


def check(ended: Ended) -> None:
    """It has ended in time, and the log has said whose fault that was, once."""
    assert ended.seconds < PROMISED + SLACK, ended
    told = [line for line in ended.errors.splitlines() if "left behind" in line]
    assert len(told) == 1, ended
    assert "__main__.culprit" in told[0], ended
    for noise in ("was destroyed", "already done", "Exception ignored in: <coroutine"):
        assert noise not in ended.errors, ended


@pytest.mark.parametrize(("kind", "server"), PAIRS)
def test_user_code_that_never_ends_holds_no_process_back(kind: str, server: str) -> None:
    check(run_script(BEGIN + SOON + KINDS[kind] + SERVERS[server]))


def test_a_coroutine_that_swallows_its_cancellation_has_a_few_seconds() -> None:
    ended = run_script(BEGIN + KINDS["a handler"] + SERVERS["serve"])
    check(ended)
    assert ended.seconds > 3.0, ended


def test_a_second_signal_ends_as_soon() -> None:
    twice = """
def hurt():
    say("exit")
    os.kill(os.getpid(), ending)
    asyncio.get_running_loop().call_later(0.05, os.kill, os.getpid(), ending)

limits = Limits()  # A stop would take long.
app = StompApp("/ws", limits=limits)
"""
    check(run_script(BEGIN + SOON + twice + KINDS["a handler"] + SERVERS["serve"]))


def test_a_coroutine_that_cleans_up_is_waited_for_and_not_named() -> None:
    ended = run_script(
        BEGIN
        + """
@app.message_mapping("/it")
async def it():
    hurt()
    try:
        await asyncio.Event().wait()
    finally:
        await asyncio.sleep(0.05)
        say("clean")
"""
        + SERVERS["serve"]
    )
    assert (ended.lines, ended.code, ended.errors) == (["clean"], 0, ""), ended

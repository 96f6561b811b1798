"""An interpreter that exits while a server runs on a thread: gone in time, and everybody told."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from threaded import Ended, run_script

pytestmark = pytest.mark.slow

IN_TIME = 2.0
"""Seconds from the end of the main thread to that of the process: promised."""
SLACK = 3.0
"""For a machine that does other things too."""

SCRIPT = """
import asyncio, os, socket, sys, threading, time
from carriers.client import Client, Gone
from stocksync_ws import Limits, SessionDisconnected, StompApp

app = StompApp("/ws", limits=Limits(handler_threads=1))
begun = threading.Event()

class Pipe:
    def __init__(self, port):
        # A bare descriptor, of which the interpreter does not say that it was left open.
        self.fd = socket.create_connection(("127.0.0.1", port)).detach()
    def send(self, data):
        os.write(self.fd, data)
    def receive(self):
        return os.read(self.fd, 65_536)

def say(text):
    os.write(1, f"{text}\\n".encode())  # whole, whoever else prints

@app.event_listener(SessionDisconnected)
def plain(event):
    say(f"def {event.reason}")

@app.event_listener(SessionDisconnected)
async def coroutine(event):
    await asyncio.sleep(0.001)
    say(f"async {event.reason}")

@app.message_mapping("/hold")
async def hold():
    begun.set()
    time.sleep(60)

@app.message_mapping("/wait")
async def wait():
    begun.set()
    try:
        await asyncio.sleep(60)
    finally:
        say("cleaned up")

def connect(count):
    return [Client(Pipe(server.port)).connect() for _ in range(count)]
"""


def run(rest: str, *, act: Any = None) -> Ended:
    """Run the script, with sessions open at its end; whose clients never answer a Close."""
    ended = run_script(SCRIPT + rest, act=act)
    assert ended.seconds < IN_TIME + SLACK, ended
    assert "Exception ignored" not in ended.errors
    return ended


PLAIN = """
server = app.serve_in_thread(port=0)
clients = connect(3)
"""
BOTH = ["async server_shutdown", "def server_shutdown"]


def test_it_is_gone_in_time_and_every_listener_was_told() -> None:
    ended = run(PLAIN + "say('exit')")
    assert sorted(ended.lines) == sorted(BOTH * 3)
    assert (ended.code, ended.errors) == (0, "")


def test_of_many_sessions_every_one_is_told() -> None:
    ended = run(
        """
@app.event_listener(SessionDisconnected, inline=True)
def code(event):
    say(str(event.close_code))
"""
        + PLAIN
        + "clients += connect(297)\nsay('exit')"
    )
    # 300 closes take longer otherwise; none of the clients is to hear 1001, "going away".
    assert sorted(ended.lines) == sorted([*BOTH, "1012"] * 300)
    assert (ended.code, ended.errors) == (0, "")


def test_a_client_that_answers_is_closed_in_good_order() -> None:
    ended = run("""
server = app.serve_in_thread(port=0)
[client] = connect(1)

def read():
    say(f"closed {client.closed()}")
    os.close(client.pipe.fd)

threading.Thread(target=read).start()
say("exit")
""")
    assert sorted(ended.lines) == sorted([*BOTH, "closed 1012"])


@pytest.mark.parametrize(
    ("end", "code", "error"),
    [
        ("raise KeyError('of the script')", 1, "KeyError"),
        ("sys.exit(7)", 7, ""),
    ],
)
def test_a_script_that_raises_or_exits_ends_so(end: str, code: int, error: str) -> None:
    ended = run(PLAIN + f"say('exit')\n{end}")
    assert sorted(ended.lines) == sorted(BOTH * 3)
    assert ended.code == code
    assert error in ended.errors
    assert ended.errors.count("Traceback") == (1 if error else 0), ended.errors


def test_ctrl_c_ends_a_script_that_waits() -> None:
    def act(process: Any) -> None:
        process.send_signal(signal.SIGINT)

    ended = run(PLAIN + "say('exit')\ntime.sleep(60)", act=act)
    assert sorted(ended.lines) == sorted(BOTH * 3)
    assert ended.code == -signal.SIGINT
    assert ended.errors.rstrip().endswith("KeyboardInterrupt")


def test_ctrl_c_in_a_with_block_ends_it_and_a_second_one_hurries_the_stop() -> None:
    def act(process: Any) -> None:
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "def server_shutdown\n"  # The stop has begun.
        process.send_signal(signal.SIGINT)

    ended = run(
        """
with app.serve_in_thread(port=0) as server:
    clients = connect(3)
    try:
        say("exit")
        time.sleep(60)
    except KeyboardInterrupt:
        pass
""",
        act=act,
    )
    assert sorted([*ended.lines, "def server_shutdown"]) == sorted(BOTH * 3)
    assert ended.errors.rstrip().endswith("KeyboardInterrupt")


HOLD = """
clients[0].send("SEND", {"destination": "/app/hold"})
begun.wait()
say("exit")
"""


def test_a_coroutine_that_waits_is_cancelled_and_cleans_up() -> None:
    ended = run(PLAIN + HOLD.replace("/hold", "/wait"))
    assert "cleaned up" in ended.lines


def test_a_coroutine_that_holds_the_loop_does_not_hang_the_exit() -> None:
    ended = run(PLAIN + HOLD)
    assert "user code holds the server's loop" in ended.errors


def test_a_function_that_does_not_return_hangs_neither_the_exit_nor_the_listeners() -> None:
    ended = run("""
@app.message_mapping("/block")
def block():
    begun.set()
    time.sleep(60)

server = app.serve_in_thread(port=0)
[client] = connect(1)
client.send("SEND", {"destination": "/app/block"})
begun.wait()
say("exit")
""")
    # The one thread for handlers is taken; listeners have their own.
    assert (ended.code, sorted(ended.lines)) == (0, BOTH)


def test_after_a_stop_nothing_is_left_to_wait_for() -> None:
    ended = run("""
with app.serve_in_thread(port=0) as server:
    pass
for thread in threading.enumerate():
    if thread.name in ("stocksync-handler", "stocksync-authenticator", "stocksync-listener"):
        thread.join(10)
say(sorted(thread.name for thread in threading.enumerate()))
say("exit")
""")
    assert ended.lines == ["['MainThread', 'stocksync-exit']"]
    assert (ended.code, ended.errors) == (0, "")


def test_two_servers_end_beside_each_other() -> None:
    ended = run("""
other = StompApp("/ws")

@other.event_listener(SessionDisconnected)
def plain_too(event):
    say("other")

server = other.serve_in_thread(port=0)
clients = connect(1)
server = app.serve_in_thread(port=0)
clients += connect(1)
say("exit")
""")
    assert sorted(ended.lines) == [*BOTH, "other"]
    assert (ended.code, ended.errors) == (0, "")


def test_a_server_that_was_started_by_another_thread_ends_too() -> None:
    ended = run("""
def begin():
    global server
    server = app.serve_in_thread(port=0)

thread = threading.Thread(target=begin)
thread.start()
thread.join()
clients = connect(1)
say("exit")
""")
    assert sorted(ended.lines) == BOTH

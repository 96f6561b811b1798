"""A script that gevent has patched: the server runs natively, and the script stays cooperative."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from threaded import run_script

pytest.importorskip("gevent")

SCRIPT = """
import warnings
warnings.simplefilter("ignore")  # Those of gevent are its own.
from gevent import monkey
monkey.patch_all()
import asyncio, os, socket, sys, threading
import gevent
from carriers.client import Client
from stocksync_ws import Limits, SessionDisconnected, StompApp

app = StompApp("/ws", limits=Limits(close_timeout=0.3, shutdown_timeout=0.6))

class Pipe:
    def __init__(self, port):
        self.sock = socket.create_connection(("127.0.0.1", port))
    def send(self, data):
        self.sock.sendall(data)
    def receive(self):
        return self.sock.recv(65_536)

def say(text):
    os.write(1, f"{text}\\n".encode())

native = monkey.get_original("_thread", "get_ident")

@app.event_listener(SessionDisconnected)
def plain(event):
    say(f"def {event.reason} {native() != main}")

@app.event_listener(SessionDisconnected)
async def coroutine(event):
    await asyncio.sleep(0.001)
    say(f"async {event.reason} {native() != main}")

main = native()
server = app.serve_in_thread(port=0)
client = Client(Pipe(server.port)).connect()
client.subscribe("/topic/a")
"""


def run(rest: str) -> list[str]:
    ended = run_script(SCRIPT + rest)
    assert (ended.code, ended.errors) == (0, "")
    return ended.lines


def test_it_publishes_from_many_greenlets_that_wait() -> None:
    assert run("""
publish = app.template.publish_wait
greenlets = [gevent.spawn(publish, "/topic/a", "x", timeout=10) for _ in range(50)]
gevent.joinall(greenlets, raise_error=True)
say({each.value.receivers for each in greenlets})
say([client.frame("MESSAGE").body for _ in range(50)] == [b"x"] * 50)
say("exit")
server.stop()
""") == ["{1}", "True", "def server_shutdown True", "async server_shutdown True"]


def test_while_one_greenlet_waits_for_a_message_the_others_run() -> None:
    assert (
        run("""
seen = []

def read():
    seen.append(client.frame("MESSAGE").body)

reading = gevent.spawn(read)
gevent.sleep(0)
seen.append("others run")
app.template.send("/topic/a", b"x")
reading.join()
say(seen)
say("exit")
server.stop()
""")[0]
        == "['others run', b'x']"
    )


def test_the_application_may_run_asyncio_of_its_own() -> None:
    assert run("""
async def own():
    await asyncio.sleep(0)
    try:
        app.template.publish_wait("/topic/a", "x")
    except RuntimeError:
        say("told")
    return (await app.template.publish("/topic/a", "x")).receivers

say(asyncio.run(own()))
say("exit")
server.stop()
""")[:2] == ["told", "1"]


def test_it_stops_and_starts_again() -> None:
    assert run("""
server.stop()
with app.serve_in_thread(port=0) as server:
    other = Client(Pipe(server.port)).connect()
    other.pipe.sock.close()
say("exit")
""")[:2] == ["def server_shutdown True", "async server_shutdown True"]


def test_an_interpreter_that_exits_tells_every_listener() -> None:
    ended = run_script(SCRIPT + "say('exit')")
    assert sorted(ended.lines) == ["async server_shutdown True", "def server_shutdown True"]
    assert (ended.code, ended.errors) == (0, "")
    assert ended.seconds < 5

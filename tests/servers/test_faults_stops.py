"""Faults around the end of a server: rows 17, 18, 19, 32 and 34 of the table of faults, on our own
server and on uvicorn.

The virtual clock proves when which session is closed, in `tests/broker/sessions/test_lifecycle.py`
(17 and 18), and `tests/running/` what a stop leaves behind (19 and 32). Row 34 is proved for the
inbox alone in `tests/test_inbox.py`.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.servers.faults_herd import Herd, Member
from tests.servers.faults_kit import HERE, LONG, Faulty, Watcher, both, scaled, serve, until

from carriers.client import Gone, upgrade  # isort: skip

TOPIC = "/topic/a"


@both
def test_row_17_sigterm_under_load(host: str, tmp_path: Path) -> None:
    clients = scaled(300, 2_000)
    limits = {"shutdown_timeout": 30.0}
    with serve(host, tmp_path, limits=limits) as server, Herd(server.port) as herd:
        watcher = server.watcher().enter()
        members = herd.join(clients, TOPIC)
        watcher.tell("/tick", {"destination": TOPIC, "every": 0.1 if LONG else 0.01})
        herd.wait_for_numbers(10, members)
        server.server.signal(signal.SIGTERM)
        end = server.server.wait(35)
        assert end.code == server.good_code()
        assert not end.left
        until(lambda: all(member.lost for member in members), "every stream has ended")
        assert {member.code for member in members} == {1012}
        assert [member.errors for member in members if member.errors] == []
        # No gap for anybody, up to the close of each.
        for member in members:
            assert member.numbers == list(range(1, len(member.numbers) + 1))
        [accepted] = [each["ticked"] for each in server.events("unavailable")]
        reached = {len(member.numbers) for member in members}
        assert max(reached) <= accepted
        assert len(reached) > 10, "they were closed one by one"
        assert server.ends() == ["server_shutdown"] * (clients + 1)
        names = [each["event"] for each in server.events()]
        assert names.count("SessionConnected") == clients + 1


@both
def test_row_17_what_has_a_receipt_is_delivered_to_who_is_still_there(
    host: str, tmp_path: Path
) -> None:
    with serve(host, tmp_path) as server, Herd(server.port) as herd:
        # Those that came first are closed first.
        writers, readers = herd.join(20), herd.join(60, TOPIC)

        async def write(member: Member, number: int) -> None:
            try:
                while True:
                    await member.command("SEND", destination=TOPIC, body=str(number))
            except asyncio.CancelledError:
                pass  # Its stream has ended.

        works = [herd.begin(write(member, number)) for number, member in enumerate(writers)]
        herd.wait_for_numbers(400, readers)
        server.server.signal(signal.SIGTERM)
        assert server.server.wait(10).code == server.good_code()
        for work in works:
            work.result(5)
        assert {member.code for member in herd.members} == {1012}
        # Who was sent the most is still there when every writer has been closed. When a Close came
        # is not asked for: a busy machine reads many of them at once.
        last = max(readers, key=lambda member: len(member.numbers))
        for reader in readers:
            assert reader.numbers == last.numbers[: len(reader.numbers)]
        for number, writer in enumerate(writers):
            assert writer.heard, "some of its messages had a receipt"
            assert last.numbers.count(number) >= len(writer.heard)


def half_a_handshake(server: Faulty) -> Watcher:
    client = server.watcher()
    client.pipe.send(upgrade()[:40])
    return client


def a_connection_that_says_nothing(server: Faulty) -> Watcher:
    return server.watcher()


def no_connect(server: Faulty) -> Watcher:
    client = server.watcher()
    client.upgrade()
    return client


def half_a_connect(server: Faulty) -> Watcher:
    client = no_connect(server)
    client.pipe.send(b"\x82\xfe\x01\x00\0\0\0\0CONNECT\naccept-ver")
    return client


def a_connect_that_is_being_decided(server: Faulty) -> Watcher:
    client = no_connect(server)
    client.send("CONNECT", {"accept-version": "1.2", "host": "h", "login": "wait"})
    return client


def an_unfinished_message(server: Faulty) -> Watcher:
    client = server.watcher().enter()
    client.pipe.send(b"\x82\xfe\x01\x00\0\0\0\0SEND\ndestination:/topic/a\n\nhalf of it")
    return client


def a_fragmented_message(server: Faulty) -> Watcher:
    client = server.watcher().enter()
    client.pipe.send(b"\x02\x84\0\0\0\0SEND")
    return client


def a_running_handler(server: Faulty) -> Watcher:
    client = server.watcher().enter()
    client.tell("/slow", {"steps": 20, "every": 0.02})
    return client


def an_unread_close(server: Faulty) -> Watcher:
    client = server.watcher().enter()
    client.send("NO-SUCH-COMMAND")
    return client


TOLD = {
    half_a_handshake: {None},
    a_connection_that_says_nothing: {None},
    no_connect: {1012},
    half_a_connect: {1012},
    a_connect_that_is_being_decided: {1012},
    an_unfinished_message: {1012},
    a_fragmented_message: {1012},
    a_running_handler: {1012},
    an_unread_close: {1002},
}
"""States of a connection, and the close codes that its client may see; None: there is none."""


@pytest.mark.parametrize("state", TOLD, ids=lambda state: state.__name__)
@both
def test_row_18_sigterm_in_each_state_of_a_connection(
    host: str, tmp_path: Path, state: Any
) -> None:
    with serve(host, tmp_path, authenticator=True) as server:
        watcher = server.watcher().enter()
        client = state(server)
        connected = 1 + (state not in NOT_CONNECTED)
        watcher.probe()  # What the other has sent has come before.
        assert len(server.events("SessionConnected")) == connected
        server.server.signal(signal.SIGTERM)
        assert closing(client) in TOLD[state]
        assert closing(watcher) == 1012
        end = server.server.wait(10)
        assert end.code == server.good_code()
        assert end.seconds < 6 + 1, "later than its `shutdown_timeout`"
        assert len(server.ends()) == connected


NOT_CONNECTED = (
    half_a_handshake,
    a_connection_that_says_nothing,
    no_connect,
    half_a_connect,
    a_connect_that_is_being_decided,
)


def closing(client: Watcher) -> int | None:
    """The code of the Close that comes, if one comes before the stream ends."""
    while True:
        try:
            opcode, payload = client.next_message()
        except (Gone, ConnectionResetError):
            return None
        if opcode == 8:
            client.pipe.send(b"\x88\x82\0\0\0\0" + payload[:2])
            return int.from_bytes(payload[:2])


@both
def test_row_19_a_second_sigterm(host: str, tmp_path: Path) -> None:
    limits = {"shutdown_timeout": 100.0, "close_timeout": 50.0, "handler_timeout": 100.0}
    with serve(host, tmp_path, limits=limits) as server:
        # A drain that takes its time: the client does not answer Close, a handler hangs.
        client, hanging = server.watcher().enter(), server.watcher().enter()
        hanging.tell("/hang", b"x")
        client.probe()
        server.server.signal(signal.SIGTERM)
        assert client.next_message()[0] == 8
        assert server.server.running
        server.server.signal(signal.SIGTERM)
        if not server.ours:
            # For the host it is the first: it begins to stop, beside the drain.
            until(lambda: "Shutting down" in server.server.log, "the host has heard of it")
            assert server.events("hang ended") == []
        end = server.server.wait(20)
        assert end.code == server.good_code()
        assert len(server.ends()) == 2


STOPPED = """
import asyncio, sys, threading
import faults_app
from stocksync_ws import BrokerClosed

ws = faults_app.ws
ws.check()

async def ours(stop):
    serving = asyncio.create_task(ws.serve("127.0.0.1", PORT, signals=False))
    await stop()
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)

async def uvicorn(stop):
    import uvicorn
    server = uvicorn.Server(uvicorn.Config(faults_app.app, port=PORT, ws="websockets-sansio"))
    serving = asyncio.create_task(server.serve())
    await stop()
    server.should_exit = True
    await serving

def refused(where, publish):
    try:
        publish()
    except BrokerClosed as error:
        print(where, "refused", flush=True)
    except BaseException as error:
        print(where, repr(error), flush=True)
    else:
        print(where, "taken", flush=True)

def send():
    ws.template.send("/topic/a", b"late")

def in_a_thread(where):
    thread = threading.Thread(target=refused, args=(where, send))
    thread.start()
    thread.join()

async def running():
    while ws._run.runtime is None:
        await asyncio.sleep(0.01)
    send()

async def main(serve):
    await serve(running)
    refused("its loop:", send)
    in_a_thread("a thread:")
    try:
        await ws.template.publish("/topic/a", "late")
    except BrokerClosed:
        print("awaited: refused", flush=True)

PORT = int(sys.argv[2])
asyncio.run(main({"ours": ours, "uvicorn-sansio": uvicorn}[sys.argv[1]]))
refused("without a loop:", send)
in_a_thread("a thread without a loop:")
async def elsewhere():
    try:
        await ws.template.publish("/topic/a", "late")
    except BrokerClosed:
        print("awaited elsewhere: refused", flush=True)
asyncio.run(elsewhere())
"""


@both
def test_row_32_a_publish_after_the_end(host: str) -> None:
    from launcher import PACKAGE, free_port

    path = os.pathsep.join((str(HERE), str(PACKAGE)))
    done = subprocess.run(
        [sys.executable, "-c", STOPPED, host, str(free_port())],
        capture_output=True,
        text=True,
        timeout=20,
        env={**os.environ, "PYTHONPATH": path},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "its loop: refused",
        "a thread: refused",
        "awaited: refused",
        "without a loop: refused",
        "a thread without a loop: refused",
        "awaited elsewhere: refused",
    ]
    assert "Traceback" not in done.stderr


@both
def test_row_34_a_fork_of_the_server(host: str, tmp_path: Path) -> None:
    with serve(host, tmp_path) as server, Herd(server.port) as herd:
        watcher = server.watcher().enter()
        members = herd.join(5, TOPIC)
        before = watcher.probe()
        for _ in range(3):
            assert watcher.ask("/fork") == [0, 0, 0]
        watcher.tell("/publish", {"destination": TOPIC, "first": 1, "count": 10})
        herd.wait_for_numbers(10, members)
        assert all(member.numbers == list(range(1, 11)) for member in members)
        now = watcher.probe()
        for each in ("pid", "threads", "tasks"):
            assert now[each] == before[each]
        assert server.ends() == []

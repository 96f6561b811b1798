"""The table of `hosts.py` is true, both ways: what a server cannot do is looked for as well.

What the suite asserts by the table (close codes, who hears of a stop) is not repeated here.
"""

from __future__ import annotations

import subprocess
import sys

import pytest
from carriers.aio import SocketPipe
from carriers.client import CLOSE, PING, Gone
from hosts import Host
from stage import Open, ServerStage


def test_the_run_begins_before_the_first_request_and_ends_with_the_server(
    open_shop: Open, host: Host
) -> None:
    stage = open_shop()
    assert ("STARTED" in stage.server.log) is host.lifespan
    if not host.lifespan:
        assert stage.counters() == {}
        stage.connect()
        assert stage.counters()["sessions"] == 1
        stage.hang_up()
    stage.server.stop()
    assert (stage.server.log.count("STOPPED") == 1) is host.lifespan


def test_behind_its_close_it_waits_for_that_of_the_client_or_not(
    stage: ServerStage, host: Host
) -> None:
    client = stage.connect()
    client.send("DISCONNECT", {"receipt": "bye"})
    client.frame("RECEIPT")
    opcode, payload = client.next_message()
    assert (opcode, payload[:2]) == (CLOSE, b"\x03\xe8")
    assert isinstance(client.pipe, SocketPipe)
    client.pipe.wait_at_most(1.0)
    try:
        assert client.pipe.receive() == b""
        waits = False
    except ConnectionResetError:
        waits = False
    except TimeoutError:
        waits = True
    assert waits is host.waits


def test_a_refused_handshake_is_told_in_our_words_or_is_a_403(open_shop: Open, host: Host) -> None:
    stage = open_shop({"max_connections": 1})
    stage.connect()
    client = stage.open()
    client.ask_upgrade()
    status, _, body = client.response()
    assert status == (503 if host.refuses_in_words else 403)
    assert (b"The server is not available" in body) is host.refuses_in_words
    assert stage.counters()["connections_refused"] == 1


@pytest.mark.asgi
def test_messages_over_the_servers_own_bound_are_its_close(open_shop: Open, host: Host) -> None:
    if not host.max_message.words:
        pytest.skip("it has no such setting")
    stage = open_shop(extra=host.max_message.words)
    client = stage.connect()
    client.subscribe("/topic/say")
    client.send("SEND", {"destination": "/topic/say"}, bytes(60_000))
    assert len(client.frame("MESSAGE").body) == 60_000
    client.send("SEND", {"destination": "/topic/say"}, bytes(200_000))
    try:
        seen: int | None = client.closed()
    except (ConnectionResetError, Gone):
        seen = None
    client.pipe.close()
    assert (seen, stage.next_end()) == host.over_bound


@pytest.mark.asgi
def test_the_default_of_that_bound_is_as_the_table_says(stage: ServerStage, host: Host) -> None:
    bound = int(host.max_message.default.removesuffix(" MiB")) * 1_048_576
    within, over = stage.connect(), stage.connect()
    within.send("SEND", {"destination": "/topic/say"}, bytes(bound - 100_000))
    # Ours is looked at behind that of the server, and has words.
    assert within.frame("ERROR").headers["code"] == "limit"
    try:
        over.send("SEND", {"destination": "/topic/say"}, bytes(bound + 100_000))
        with pytest.raises(Gone):
            over.frame("ERROR")
    except (ConnectionResetError, BrokenPipeError):
        pass  # It did not even wait for the rest.
    stage.hang_up()


@pytest.mark.asgi
def test_it_sends_pings_if_it_is_told_to(open_shop: Open, host: Host) -> None:
    if not host.ping.words:
        pytest.skip("it has no such setting")
    stage = open_shop(extra=host.ping.words)
    client = stage.connect()
    assert client.next_message()[0] == PING


def test_it_compresses_only_where_the_table_says_so(open_shop: Open, host: Host) -> None:
    def takes_it(stage: ServerStage) -> bool:
        client = stage.open()
        fields = client.upgrade(Sec_WebSocket_Extensions="permessage-deflate")
        return "permessage-deflate" in fields.get("sec-websocket-extensions", "")

    assert takes_it(open_shop()) is (host.deflate.default == "on")
    if host.deflate.words:
        assert not takes_it(open_shop(extra=host.deflate.words))


@pytest.mark.asgi
@pytest.mark.parametrize("kind", ["max_message", "ping", "deflate"])
def test_a_setting_that_the_table_does_not_know_is_not_there(host: Host, kind: str) -> None:
    words = {
        "max_message": ("max-size", "message-size", "max_size"),
        "ping": ("--ws-ping", "--websocket-ping", "--ping-"),
        "deflate": ("deflate", "compress"),
    }[kind]
    module = host.command.__name__
    text = _help(host)
    found = [word for word in words if word in text]
    known = getattr(host, kind)
    if known.text.startswith("--"):
        assert known.text.split()[0] in text
    else:
        assert not found, module


def _help(host: Host) -> str:
    from hosts import Start

    program = host.command(Start("x:y", 1))[0]
    command = [sys.executable, "-m", program, "--help"]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout


@pytest.mark.asgi
def test_a_root_path_may_be_in_front(open_shop: Open, host: Host) -> None:
    stage = open_shop(root_path="/shop")
    answers = {}
    for path in ("/ws", "/shop/ws"):
        client = stage.open()
        client.ask_upgrade(target=path)
        answers[path] = client.response()[0]
    assert 101 in answers.values(), answers
    assert answers == host.root_paths

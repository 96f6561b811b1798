"""SIGTERM: what clients see, what the application is told, and that the server ends."""

from __future__ import annotations

import os
import signal
from collections import Counter

import pytest
from carriers.aio import SocketPipe
from carriers.client import CLOSE, Client, Gone
from carriers.shop import End
from carriers.stage import until
from hosts import Host
from stage import Open, ServerStage

CLIENTS = 40
"""Closes are spread, 200 sessions a second: a server that does not wait for the drain cuts it."""


def farewell(client: Client) -> int | None:
    """The close code that a client sees; None when the stream ends without a Close."""
    try:
        return client.closed()
    except (Gone, ConnectionResetError):
        return None
    finally:
        client.pipe.close()


def told(stage: ServerStage) -> Counter[End]:
    """The ends of all sessions, as the application was told before its process ended."""
    stage.stop()
    return Counter(stage.ends())


def test_who_hears_of_a_stop_is_as_the_table_says(open_shop: Open, host: Host) -> None:
    if host.outstays:
        pytest.skip("it waits for its clients: see below")
    stage = open_shop()
    clients = [stage.connect() for _ in range(CLIENTS)]
    stage.begin_stop()
    seen = Counter(farewell(client) for client in clients)
    ends = told(stage)
    shutdown = End("server_shutdown", 1012)
    if host.drain == "all":
        assert seen == {host.carried(1012): CLIENTS}
        # A host may close with 1012 itself; it does not know our words.
        words = "server restarts" if host.says_why else ""
        assert {client.close_reason for client in clients} == {words}
        assert ends == {shutdown: CLIENTS}
    elif host.drain == "some":
        # How far the drain comes before the host cuts it is chance.
        assert host.farewell in seen
        assert seen.keys() <= {1012, host.farewell}
        assert ends.keys() <= {shutdown, End("connection_lost", 1005)}
        assert ends.total() == CLIENTS
    else:
        assert seen == {host.farewell: CLIENTS}
        lost = {End("connection_lost", 1006): CLIENTS}
        assert ends == (lost if host.tells_the_end else {})


def test_a_server_that_waits_for_its_clients_ends_when_they_leave(
    open_shop: Open, host: Host
) -> None:
    if not host.outstays:
        pytest.skip("it does not wait")
    stage = open_shop()
    client = stage.connect()
    stage.begin_stop()
    assert isinstance(client.pipe, SocketPipe)
    client.pipe.wait_at_most(5.0)
    with pytest.raises(TimeoutError):
        client.closed()
    assert stage.server.running
    client.pipe.close()
    assert told(stage) == {End("connection_lost", 1006): 1}


def test_a_client_that_does_not_answer_holds_nothing_up_for_long(
    open_shop: Open, host: Host
) -> None:
    if host.outstays:
        pytest.skip("it waits for its clients: see below")
    stage = open_shop({"close_timeout": 1.0, "shutdown_timeout": 4.0})
    stage.connect()
    stage.begin_stop()
    end = stage.server.stop()
    assert not end.hung
    assert end.seconds < 8.0


def test_a_second_sigterm_goes_straight_through(open_shop: Open, host: Host) -> None:
    if host.drain != "all":
        pytest.skip("the first one does so already")
    stage = open_shop({"close_timeout": 15.0, "shutdown_timeout": 60.0})
    client = stage.connect()
    stage.begin_stop()
    assert client.next_message()[0] == CLOSE
    stage.server.signal(signal.SIGTERM)
    end = stage.server.stop()
    assert not end.hung
    assert end.seconds < 8.0


@pytest.mark.wsgi
def test_ctrl_c_closes_everybody_in_good_order(open_shop: Open, host: Host) -> None:
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        pytest.skip("this process ignores SIGINT, and so would the server")
    stage = open_shop()
    clients = [stage.connect() for _ in range(5)]
    if host.gateway == "wsgi":
        stage.server.rest()
    stage.server.signal(signal.SIGINT)
    assert [farewell(client) for client in clients] == [1012] * 5
    until(lambda: not stage.server.running, "its end")
    assert told(stage) == {End("server_shutdown", 1012): 5}


def test_listeners_hear_before_the_applications_own_shutdown(open_shop: Open, host: Host) -> None:
    if not host.lifespan:
        pytest.skip("it has no lifespan")
    stage = open_shop()
    client = stage.connect()
    stage.begin_stop()
    if host.outstays:
        client.pipe.close()
    else:
        farewell(client)
    stage.stop()
    lines = stage.server.log.splitlines()
    end = next(place for place, line in enumerate(lines) if line.startswith("END "))
    stopped = next(place for place, line in enumerate(lines) if line.startswith("STOPPED "))
    assert end < stopped


def test_a_killed_server_leaves_no_worker(open_shop: Open, host: Host) -> None:
    stage = open_shop()
    workers = stage.server.pids()
    stage.server.kill()
    until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in workers), "their end")

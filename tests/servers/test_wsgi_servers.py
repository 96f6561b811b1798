"""What a server that hands its socket over must not notice, and what it is told that cannot."""

from __future__ import annotations

import json

import pytest
from carriers.client import connect_frame, stomp
from carriers.stage import until
from hosts import Host
from stage import Open, ServerStage

WAY_OUT = "serve it on a port of its own: ws.serve_in_thread()"


@pytest.mark.wsgi
def test_fifty_open_sockets_hold_no_thread_of_the_server(stage: ServerStage) -> None:
    clients = [stage.connect() for _ in range(50)]
    for _ in range(10):
        assert json.loads(stage.server.request("/")) == {"shop": "open"}
    # And nobody spins on a descriptor that is somebody else's now.
    before = stage.process()["cpu"]
    for number, client in enumerate(clients):
        client.subscribe(f"/topic/{number}")
    assert stage.process()["cpu"] - before < 2


@pytest.mark.wsgi
def test_frames_sent_at_once_behind_the_answer_are_not_stolen(stage: ServerStage) -> None:
    subscribe = stomp("SUBSCRIBE", {"id": "1", "destination": "/topic/a", "receipt": "r"})
    for _ in range(200):
        client = stage.open()
        client.upgrade()
        client.pipe.send(connect_frame() + subscribe)
        client.frame("CONNECTED")
        assert client.frame("RECEIPT").headers["receipt-id"] == "r"
        client.pipe.close()


@pytest.mark.wsgi
def test_asyncio_runs_in_a_view_beside_it(stage: ServerStage, host: Host) -> None:
    if host.name == "uwsgi":
        pytest.skip("asyncio.run takes uWSGI's SIGINT away: its worker would not end")
    stage.connect()
    assert stage.server.ask("/asyncio") == "ran"
    if host.name == "gunicorn-gevent":
        answer = stage.server.ask("/gevent")
        assert answer["order"] == ["waits", "others run", "has read"]
        assert answer["waited"] == [0] * 20


@pytest.mark.wsgi
def test_where_tls_ends_in_the_server_the_answer_and_the_log_name_the_way_out(
    open_shop: Open, host: Host, certificate: str
) -> None:
    if not host.ends_tls:
        pytest.skip("it does not serve by TLS")
    stage = open_shop(certificate=certificate)
    client = stage.open()
    client.ask_upgrade()
    status, _, body = client.response()
    assert (status, body) == (501, b"This server cannot pass a WebSocket on (TLS ends in it).\n")
    until(lambda: WAY_OUT in stage.server.log, "the way out, in the log")


@pytest.mark.way_out
def test_a_server_that_gives_no_socket_is_told_the_way_out(stage: ServerStage) -> None:
    client = stage.open()
    client.ask_upgrade()
    status, _, body = client.response()
    reason = b"This server cannot pass a WebSocket on (it gives no access to the socket).\n"
    assert (status, body) == (501, reason)
    until(lambda: WAY_OUT in stage.server.log, "the way out, in the log")
    assert json.loads(stage.server.request("/")) == {"shop": "open"}

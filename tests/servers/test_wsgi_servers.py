"""The endpoint inside Flask, under the WSGI servers that it can be taken over from."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "adapters"))

from carriers.client import Client, connect_frame, http_request, stomp
from launcher import HERE, PACKAGE, Server, free_port, until
from threaded import open_client

pytest.importorskip("flask")

TARGET = "wsgi_application:app"


def _werkzeug(port: int) -> list[str]:
    return [sys.executable, "-m", "flask", "--app", TARGET, "run", "--port", str(port)]


def _gunicorn(worker: str, *extra: str) -> Callable[[int], list[str]]:
    def command(port: int) -> list[str]:
        words = [sys.executable, "-m", "gunicorn", "--worker-class", worker]
        words += ["--bind", f"127.0.0.1:{port}", "--no-control-socket", *extra, TARGET]
        return words

    return command


def _uwsgi(port: int) -> list[str]:
    words = [str(Path(sys.executable).with_name("uwsgi")), "--master", "--die-on-term"]
    words += ["--http-socket", f"127.0.0.1:{port}", "--enable-threads", "--disable-logging"]
    return [*words, "--module", TARGET]


HOSTS = {
    "werkzeug": _werkzeug,
    "gunicorn-gthread": _gunicorn("gthread", "--threads", "2"),
    "gunicorn-sync": _gunicorn("sync"),
    "gunicorn-gevent": _gunicorn("gevent"),
    "uwsgi": _uwsgi,
}
SIGTERM_ENDS_AT_ONCE = frozenset(("werkzeug",))
"""Servers that leave SIGTERM as it is: their process is gone before anybody can be told."""


@pytest.fixture(params=HOSTS)
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    """One server, running."""
    port = free_port()
    command = HOSTS[request.param](port)
    if request.param == "gunicorn-gevent":
        pytest.importorskip("gevent")
    if request.param == "uwsgi" and not Path(command[0]).exists():
        pytest.skip("uWSGI is not installed")
    variables = {
        "PYTHONPATH": f"{HERE}:{PACKAGE}",
        "PYTHONUNBUFFERED": "1",
        "VIRTUAL_ENV": sys.prefix,
    }
    if request.param == "uwsgi":
        command += ["--virtualenv", sys.prefix]
    with Server(command, tmp_path / "log", variables, port) as running:
        running.name = request.param  # type: ignore[attr-defined]
        yield running


def connect(server: Server, **headers: str) -> Client:
    client = open_client(server.port)
    client.upgrade(**headers)
    client.pipe.send(connect_frame())
    client.frame("CONNECTED")
    return client


def test_a_session_lives_beside_the_pages(server: Server) -> None:
    client = connect(server, Cookie="login=ann")
    client.subscribe("/topic/say")
    client.send("SEND", {"destination": "/app/say"}, b"hello")
    assert client.frame("MESSAGE").body == b"hello"
    client.send("SUBSCRIBE", {"id": "t", "destination": "/app/thread"})
    client.frame("MESSAGE")
    body = b"x" * 60_000
    for _ in range(30):
        assert server.ask("/publish", body) == 1
    for _ in range(30):
        assert client.frame("MESSAGE").body == body
    client.send("DISCONNECT", {"receipt": "bye"})
    client.frame("RECEIPT")
    assert client.closed() == 1000
    client.pipe.close()
    until(lambda: "GONE ann client_disconnect 1000" in server.log, "the listener is told")


def test_fifty_open_sockets_hold_no_thread_of_the_server(server: Server) -> None:
    clients = [connect(server) for _ in range(50)]
    for _ in range(10):
        assert server.request("/") == b"a page"
    # And nobody spins on a descriptor that is somebody else's now.
    before = server.ask("/process")["seconds"]
    for number, client in enumerate(clients):
        client.subscribe(f"/topic/{number}")
    used = server.ask("/process")["seconds"] - before
    assert used < 5
    for client in clients:
        client.pipe.close()


def test_frames_sent_at_once_behind_the_answer_are_not_stolen(server: Server) -> None:
    for _ in range(200):
        client = open_client(server.port)
        client.upgrade()
        client.pipe.send(connect_frame())
        client.pipe.send(stomp("SUBSCRIBE", {"id": "1", "destination": "/topic/a", "receipt": "r"}))
        client.frame("CONNECTED")
        assert client.frame("RECEIPT").headers["receipt-id"] == "r"
        client.pipe.close()


def test_after_a_thousand_hand_overs_descriptors_and_threads_are_where_they_were(
    server: Server,
) -> None:
    def hand_over(count: int) -> None:
        for _ in range(count):
            client = connect(server)
            client.send("DISCONNECT", {"receipt": "bye"})
            client.frame("RECEIPT")
            client.closed()
            client.pipe.close()

    hand_over(10)
    baseline = until(lambda: _still(server), "it is at rest")
    hand_over(1_000)

    def at_rest() -> bool:
        now = server.ask("/process")
        # The last request of ours may still be open in it.
        return (
            now["descriptors"] <= baseline["descriptors"] + 1
            and now["threads"] <= baseline["threads"] + 1
        )

    until(at_rest, f"it is back at {baseline}")


def _still(server: Server) -> dict[str, int] | None:
    first, second = (server.ask("/process") for _ in range(2))
    same = all(first[name] == second[name] for name in ("descriptors", "threads"))
    return second if same else None


def test_what_is_refused_is_answered_by_the_server(server: Server) -> None:
    client = open_client(server.port)
    client.pipe.send(http_request("GET", "/ws"))
    assert client.response()[0] == 426
    client.pipe.close()
    client = open_client(server.port)
    with pytest.raises(AssertionError, match="403"):
        client.upgrade(Origin="https://evil.example")
    client.pipe.close()
    assert server.ask("/process")["origins_refused"] == 1


def test_at_sigterm_sessions_are_closed_in_good_order(server: Server) -> None:
    client = connect(server, Cookie="login=ann")
    if server.name in SIGTERM_ENDS_AT_ONCE:  # type: ignore[attr-defined]
        server.stop()
        assert client.pipe.receive() == b""
        client.pipe.close()
        assert "GONE" not in server.log
        return
    server.signal(signal.SIGTERM)
    assert client.closed() == 1012
    client.pipe.close()
    end = server.wait()
    assert not end.hung
    assert "GONE ann server_shutdown 1012" in server.log


def test_a_socket_that_the_client_leaves_ends_its_session(server: Server) -> None:
    client = connect(server, Cookie="login=ann")
    client.pipe.half_close()
    assert client.rest() == b""
    client.pipe.close()
    until(lambda: "GONE ann connection_lost 1006" in server.log, "the session is lost")


def test_asyncio_runs_in_a_view_beside_it(server: Server) -> None:
    if server.name == "uwsgi":  # type: ignore[attr-defined]
        pytest.skip("asyncio.run takes uWSGI's SIGINT away: its worker would not end")
    connect(server).pipe.close()
    assert server.request("/asyncio") == b"ran"
    if server.name == "gunicorn-gevent":  # type: ignore[attr-defined]
        answer = server.ask("/gevent")
        assert answer["order"] == ["waits", "others run", "has read"]
        assert answer["waited"] == [0] * 20

"""WSGI: what is taken over, what is answered, and what the server of the application notices.

The server is a double that does what WSGI servers do around the call; real ones are in
`tests/servers/`.
"""

from __future__ import annotations

import os
import socket
import ssl
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent / "adapters"))

from carriers.client import Client, connect_frame, stomp, ws_frame
from carriers.stage import until
from threaded import PATIENCE, Sock

from stocksync_ws import ConnectRequest, ForkedBrokerError, Limits, SessionDisconnected, StompApp
from stocksync_ws.running import siblings
from stocksync_ws.running.siblings import Claim
from stocksync_ws.threads import ThreadServer
from stocksync_ws.wsgi import WrappedWsgi, find_socket, request_of, take_over

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX only")

BASE = {
    "REQUEST_METHOD": "GET",
    "SCRIPT_NAME": "",
    "PATH_INFO": "/ws",
    "QUERY_STRING": "",
    "SERVER_PROTOCOL": "HTTP/1.1",
    "REMOTE_ADDR": "127.0.0.1",
    "REMOTE_PORT": "4711",
    "SERVER_NAME": "testserver",
    "SERVER_PORT": "80",
    "HTTP_HOST": "localhost",
    "wsgi.url_scheme": "http",
}
UPGRADE = BASE | {
    "HTTP_CONNECTION": "Upgrade",
    "HTTP_UPGRADE": "websocket",
    "HTTP_SEC_WEBSOCKET_KEY": "dGhlIHNhbXBsZSBub25jZQ==",
    "HTTP_SEC_WEBSOCKET_VERSION": "13",
    "HTTP_SEC_WEBSOCKET_PROTOCOL": "v12.stomp",
}


def inner(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"inner {environ['PATH_INFO']}".encode()]


@pytest.fixture
def app() -> StompApp:
    return StompApp("/ws", limits=Limits(close_timeout=0.2, shutdown_timeout=0.4))


class Server:
    """One worker that calls the application for connections of a test."""

    def __init__(self, app: StompApp) -> None:
        self.app = app
        self.wsgi = app.wrap_wsgi(inner)
        assert isinstance(self.wsgi, WrappedWsgi)
        self.clients: list[Client] = []

    def call(self, environ: dict[str, Any]) -> tuple[str, dict[str, str], bytes]:
        """The answer as the application gives it."""
        answers: list[Any] = []
        body = b"".join(
            self.wsgi(environ, lambda status, headers: answers.append((status, headers)))
        )
        [(status, headers)] = answers
        return status, dict(headers), body

    def upgrade(self, key: str = "gunicorn.socket", **environ: Any) -> tuple[Client, socket.socket]:
        """A client that asks for the WebSocket, and the socket that the server still holds."""
        theirs, ours = socket.socketpair()
        status, headers, body = self.call(UPGRADE | {key: ours} | environ)
        assert (status, headers, body) == ("101 Switching Protocols", {}, b"")
        client = Client(Sock(theirs))
        self.clients.append(client)
        return client, ours

    def connect(self, **environ: Any) -> Client:
        client, ours = self.upgrade(**environ)
        ours.close()
        client.response()
        client.pipe.send(connect_frame())
        client.frame("CONNECTED")
        return client

    def stop(self) -> None:
        for client in self.clients:
            client.pipe.close()
        if self.wsgi._server is not None:
            self.wsgi._server.stop()


@pytest.fixture
def server(app: StompApp) -> Iterator[Server]:
    server = Server(app)
    yield server
    server.stop()


# What is passed on, and what is answered


def test_everything_else_is_the_inner_applications(server: Server) -> None:
    for path in ("/", "/wsx", "/ws/x", ""):
        assert server.call(BASE | {"PATH_INFO": path})[2] == f"inner {path}".encode()


def test_a_plain_get_is_426(server: Server) -> None:
    _, ours = socket.socketpair()
    with _, ours:
        status, headers, body = server.call(BASE | {"gunicorn.socket": ours})
        assert status == "426 Upgrade Required"
        assert headers["Content-Length"] == str(len(body))
        # Hop-by-hop headers are the server's own (PEP 3333).
        assert not {"Upgrade", "Connection"} & set(headers)
        ours.getpeername()


def test_a_foreign_origin_is_403_and_counted(server: Server, caplog: Any) -> None:
    theirs, ours = socket.socketpair()
    with theirs, ours:
        environ = UPGRADE | {"gunicorn.socket": ours, "HTTP_ORIGIN": "https://evil.example"}
        assert server.call(environ)[0] == "403 Forbidden"
        ours.sendall(b"the server's own")
        assert theirs.recv(100) == b"the server's own"
    assert server.app.counters.origins_refused == 1
    assert "evil.example" in caplog.text


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("none", "it gives no access to the socket"),
        ("tls", "TLS ends in it"),
        ("tls of gevent", "TLS ends in it"),
        ("windows", "a socket cannot be taken over on Windows"),
    ],
)
def test_where_the_socket_cannot_be_taken_over_the_answer_and_the_log_name_the_way_out(
    server: Server,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    how: str,
    reason: str,
) -> None:
    theirs, ours = socket.socketpair()
    environ = dict(UPGRADE)
    found: Any = ours
    if how == "tls":
        found = ssl.create_default_context().wrap_socket(
            ours, server_hostname="x", do_handshake_on_connect=False
        )
    elif how == "tls of gevent":
        found = SimpleNamespace(_sslobj=None, fileno=ours.fileno)
    elif how == "windows":
        monkeypatch.setattr(sys, "platform", "win32")
    if how != "none":
        environ["werkzeug.socket"] = found
    with theirs, ours:
        status, _, body = server.call(environ)
        assert status == "501 Not Implemented"
        assert body.decode().strip() == f"This server cannot pass a WebSocket on ({reason})."
        assert f"({reason}): serve it on a port of its own: ws.serve_in_thread()" in (caplog.text)
    if how == "tls":
        found.close()
    assert server.app.counters.handshakes_refused == 1


def test_what_no_status_line_has_a_word_for_is_refused(server: Server) -> None:
    environ = UPGRADE | {"HTTP_SEC_WEBSOCKET_VERSION": "12"}
    status, headers, _ = server.call(environ)
    assert status.startswith("426 ")
    assert headers["Sec-WebSocket-Version"] == "13"


# Ways to the socket


def test_the_sockets_of_werkzeug_and_gunicorn_are_found() -> None:
    one, other = socket.socketpair()
    with one, other:
        for name in ("werkzeug.socket", "gunicorn.socket"):
            assert find_socket({name: one}) == one.fileno()


def test_uwsgi_is_asked_for_the_descriptor_only_where_it_serves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "uwsgi", SimpleNamespace(connection_fd=lambda: 7))
    assert find_socket({"uwsgi.version": b"2"}) == 7
    assert find_socket({}) == "it gives no access to the socket"
    monkeypatch.delitem(sys.modules, "uwsgi")
    assert find_socket({"uwsgi.version": b"2"}) == "it gives no access to the socket"


# What is taken over


@pytest.mark.parametrize("key", ["gunicorn.socket", "werkzeug.socket"])
def test_the_websocket_is_served_and_what_the_server_does_never_reaches_it(
    server: Server, key: str
) -> None:
    client, ours = server.upgrade(key)
    assert ours.recv(100) == b""  # The server reads the end of the stream at once.
    ours.sendall(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
    ours.setblocking(True)
    ours.shutdown(socket.SHUT_RDWR)
    ours.close()
    assert client.response()[0] == 101
    client.pipe.send(connect_frame())
    client.frame("CONNECTED")
    client.subscribe("/topic/a")
    server.app.template.send("/topic/a", b"x")
    assert client.frame("MESSAGE").body == b"x"


def test_much_that_the_server_writes_into_the_dead_end_does_not_hold_it(server: Server) -> None:
    client, ours = server.upgrade()
    with ours:
        ours.settimeout(PATIENCE)
        ours.sendall(bytes(5_000_000))
    assert client.response()[0] == 101


def test_frames_that_are_sent_at_once_are_not_stolen(server: Server) -> None:
    """The server reads what it can get, as Werkzeug does behind an answer."""
    for _ in range(200):
        theirs, ours = socket.socketpair()
        gate = threading.Barrier(2)

        def steal(ours: socket.socket = ours, gate: threading.Barrier = gate) -> None:
            assert server.call(UPGRADE | {"gunicorn.socket": ours})[0].startswith("101")
            gate.wait(PATIENCE)
            with ours:
                assert ours.recv(1_000_000) == b""

        stealing = threading.Thread(target=steal)
        stealing.start()
        gate.wait(PATIENCE)
        client = Client(Sock(theirs))
        client.pipe.send(connect_frame())
        client.pipe.send(stomp("SUBSCRIBE", {"id": "1", "destination": "/topic/a", "receipt": "r"}))
        assert client.response()[0] == 101
        client.frame("CONNECTED")
        assert client.frame("RECEIPT").headers["receipt-id"] == "r"
        stealing.join(PATIENCE)
        client.pipe.close()


def test_the_environ_reaches_the_authenticator(app: StompApp) -> None:
    asked: list[ConnectRequest] = []

    def authenticate(request: ConnectRequest) -> None:
        asked.append(request)

    server = Server(StompApp("/ws", authenticator=authenticate, limits=app.config.limits))
    server.connect(HTTP_COOKIE="session=abc; x=y", REMOTE_USER="ann", QUERY_STRING="a=1")
    server.stop()
    [request] = asked
    assert request.request.cookies == {"session": "abc", "x": "y"}
    assert request.request.scope["REMOTE_USER"] == "ann"
    assert (request.request.target, request.peer) == ("/ws?a=1", "127.0.0.1:4711")


@pytest.mark.parametrize(
    ("mounted", "path", "configured"),
    [("/shop", "/ws", "/ws"), ("/shop", "/ws", "/shop/ws"), ("", "/ws/", "/ws")],
)
def test_a_mounted_application_finds_its_endpoint_by_either_path(
    app: StompApp, mounted: str, path: str, configured: str
) -> None:
    server = Server(StompApp(configured, limits=app.config.limits))
    server.connect(SCRIPT_NAME=mounted, PATH_INFO=path)
    assert server.call(BASE | {"SCRIPT_NAME": "/x", "PATH_INFO": "/y"})[2] == b"inner /y"
    server.stop()


def test_trusted_proxies_are_believed(app: StompApp) -> None:
    asked: list[ConnectRequest] = []

    def authenticate(request: ConnectRequest) -> None:
        asked.append(request)

    stomp_app = StompApp(
        "/ws", authenticator=authenticate, trusted_proxies=["127.0.0.1"], limits=app.config.limits
    )
    server = Server(stomp_app)
    server.connect(
        HTTP_X_FORWARDED_FOR="198.51.100.4",
        HTTP_X_FORWARDED_PROTO="https",
        HTTP_X_FORWARDED_HOST="shop.example",
        HTTP_ORIGIN="https://shop.example",
    )
    server.stop()
    assert (asked[0].peer, asked[0].request.secure) == ("198.51.100.4:0", True)


def test_sockets_are_told_not_to_wait_for_more(server: Server) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        theirs = socket.create_connection(listener.getsockname())
        ours, _ = listener.accept()
    with ours, theirs:
        watch = socket.socket(fileno=os.dup(ours.fileno()))
        with watch:
            assert server.call(UPGRADE | {"gunicorn.socket": ours})[0].startswith("101")
            client = Client(Sock(theirs))
            assert client.response()[0] == 101
            assert watch.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_over_the_cap_the_answer_is_503(app: StompApp) -> None:
    server = Server(StompApp("/ws", limits=Limits(max_connections=1, close_timeout=0.2)))
    server.connect()
    theirs, ours = socket.socketpair()
    with theirs, ours:
        status, headers, body = server.call(UPGRADE | {"gunicorn.socket": ours})
        assert (status, body) == ("503 Service Unavailable", b"The server is not available.\n")
        assert 5 <= int(headers["Retry-After"]) < 15
        # One that is full only when the socket has been taken gets an answer, too.
        assert server.wsgi._server is not None
        server.wsgi._server.adopt(ours.dup(), request_of(UPGRADE, "/ws"))
        assert theirs.recv(100).startswith(b"HTTP/1.1 503 ")
    assert server.app.counters.connections_refused == 2
    server.stop()


class Taken:
    """A name that another process holds until it is told otherwise."""

    def __init__(self) -> None:
        self.freed = 0

    def take(self) -> bool:
        return False

    def holder(self) -> int | None:
        return 4_242

    def free(self) -> None:
        self.freed += 1


@pytest.mark.parametrize("workers", ["warn", "refuse"])
def test_a_second_worker_warns_or_refuses_as_well(
    workers: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    taken = Taken()
    asked: list[object] = []

    def claim_of(loop: Any, server: object, path: str) -> Claim:
        asked.append(server)
        return Claim(loop, taken, f"there{path}")

    monkeypatch.setattr("stocksync_ws.aio.server.claim_of", claim_of)
    monkeypatch.setattr(siblings, "PATIENCE", 0.01)
    limits = Limits(close_timeout=0.2, shutdown_timeout=0.4)
    server = Server(StompApp("/ws", workers=workers, limits=limits))
    place = {"SERVER_NAME": "10.0.0.1", "SERVER_PORT": "8000"}
    server.connect(**place)
    until(lambda: "several workers serve there/ws" in caplog.text, "the warning")
    assert "process 4242" in caplog.text
    if workers == "warn":
        server.connect(**place)
    else:
        theirs, ours = socket.socketpair()
        with theirs, ours:
            environ = UPGRADE | place | {"gunicorn.socket": ours}
            assert server.call(environ)[0] == "503 Service Unavailable"
        assert server.app.counters.connections_refused == 1
    server.stop()
    assert asked == [("10.0.0.1", 8000)]
    assert taken.freed == 1


def test_the_head_of_a_request_is_that_of_the_environ() -> None:
    request = request_of(
        UPGRADE
        | {
            "PATH_INFO": "/caf\xc3\xa9 x",
            "CONTENT_LENGTH": "3",
            "CONTENT_TYPE": "text/plain",
            "HTTP_X_A": " b ",
            "REMOTE_ADDR": "",
            "wsgi.url_scheme": "https",
        },
        "/caf\xc3\xa9 x",
    )
    assert request.target == "/caf%C3%A9%20x"
    assert request.get("content-length") == "3"
    assert request.get("content-type") == "text/plain"
    assert request.get("x-a") == "b"
    assert (request.peer, request.secure, request.http_version) == (None, True, "1.1")


# The thread behind it


def count_of_threads() -> int:
    return [t.name for t in threading.enumerate()].count("stocksync-server")


def test_the_thread_starts_with_the_first_request_and_is_one(server: Server) -> None:
    """A page that publishes, or waits for that, does not depend on a client having come before."""
    one, other = socket.socketpair()
    with one, other:
        for _ in range(2):
            answer = server.call(BASE | {"PATH_INFO": "/", "gunicorn.socket": one})
            assert answer[2] == b"inner /"
            assert server.app.template.publish_wait("/topic/a", b"x", timeout=PATIENCE) is not None
    for _ in range(3):
        server.connect()
    assert count_of_threads() == 1


def test_a_page_for_a_test_client_starts_nothing(server: Server) -> None:
    server.call(BASE)
    server.call(BASE | {"PATH_INFO": "/"})
    assert count_of_threads() == 0


def test_a_page_beside_a_server_of_its_own_starts_nothing(server: Server) -> None:
    one, other = socket.socketpair()
    with server.app.serve_in_thread(port=0), one, other:
        answer = server.call(BASE | {"PATH_INFO": "/", "gunicorn.socket": one})
        assert answer[2] == b"inner /"
        assert count_of_threads() == 1


def test_the_child_of_a_process_that_serves_takes_nothing_over_for_its_parent(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.connect()
    theirs, ours = socket.socketpair()
    with theirs, ours, monkeypatch.context() as patch:
        patch.setattr(server.wsgi, "_pid", -1)
        patch.setattr(server.app._run, "_pid", -1)
        with pytest.raises(ForkedBrokerError):
            server.call(UPGRADE | {"gunicorn.socket": ours})
        ours.sendall(b"still the server's")
        assert theirs.recv(100) == b"still the server's"


def test_after_its_end_it_starts_anew(server: Server) -> None:
    server.connect()
    first = server.wsgi._server
    assert first is not None
    first.stop()
    server.connect()
    second = server.wsgi._server
    assert second is not None
    assert second is not first


def test_many_first_requests_at_once_start_one_thread(server: Server) -> None:
    gate = threading.Barrier(20)

    def connect() -> None:
        gate.wait(PATIENCE)
        server.connect()

    threads = [threading.Thread(target=connect) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive()
    assert len(server.clients) == 20
    assert [t.name for t in threading.enumerate()].count("stocksync-server") == 1


def test_a_websocket_that_comes_while_the_thread_ends_is_closed(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.connect()
    ending = server.wsgi._server
    assert ending is not None
    ending.stop()
    ending._ask_to_end = lambda seconds: None  # It still says that it runs.
    monkeypatch.setattr(ThreadServer, "refuses", False)
    client, ours = server.upgrade()
    ours.close()
    assert client.pipe.receive() == b""


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="no /proc")
def test_a_dead_end_that_cannot_be_put_there_leaves_nothing_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fails(*args: object) -> None:
        raise OSError("no")

    theirs, ours = socket.socketpair()
    with theirs, ours:
        before = len(os.listdir("/proc/self/fd"))
        with monkeypatch.context() as patch, pytest.raises(OSError, match="no"):
            patch.setattr(os, "dup2", fails)
            take_over(ours.fileno(), lambda sock: None)
        assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="no /proc")
def test_after_a_thousand_hand_overs_nothing_is_left(app: StompApp) -> None:
    ends = threading.Semaphore(0)

    @app.event_listener(SessionDisconnected, inline=True)
    def listen(event: SessionDisconnected) -> None:
        ends.release()

    server = Server(app)
    server.connect()
    baseline = None
    for _ in range(1_000):
        client, ours = server.upgrade()
        ours.close()
        assert client.response()[0] == 101
        client.pipe.send(connect_frame())
        client.frame("CONNECTED")
        client.pipe.send(ws_frame(8, b"\x03\xe8"))
        assert client.next_message() == (8, b"\x03\xe8")
        client.pipe.close()
        server.clients.remove(client)
        assert ends.acquire(timeout=PATIENCE)
        state = settled(server)
        baseline = baseline or state
    assert state == baseline
    server.stop()


def settled(server: Server) -> tuple[int, int, int, int]:
    """Descriptors, threads, connections with dead ends, and timers, when the loop has come round
    until nothing of a hand-over is open.
    """
    thread = server.wsgi._server
    assert thread is not None
    ours = thread._server
    loop: Any = thread._loop
    assert ours is not None
    open_ = True
    while open_:
        open_ = ours._runtime.driver.connections != 1 or bool(ours._swallowing)
        done = threading.Event()
        loop.call_soon_threadsafe(done.set)  # Behind the callbacks that close descriptors.
        assert done.wait(PATIENCE)
    timers = len([each for each in loop._scheduled if not each.cancelled()])
    return len(os.listdir("/proc/self/fd")), threading.active_count(), len(ours._swallowing), timers


def test_dead_ends_that_a_server_still_holds_end_with_ours(server: Server) -> None:
    client, ours = server.upgrade()
    assert client.response()[0] == 101
    server.stop()
    with ours, pytest.raises(OSError):
        while True:
            ours.sendall(b"x")

"""SockJS under WSGI: what is answered without the socket, whose body is read, and that nothing
follows on a socket that was taken. The server is a double, as in `test_wsgi.py`.
"""

from __future__ import annotations

import io
import json
import logging
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent / "adapters"))

from carriers.sockjs import Answer, Http, text_of
from threaded import PATIENCE, Sock

from stocksync_ws import Limits, SockJSOptions, StompApp
from stocksync_ws.wsgi import WrappedWsgi

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX only")

BODY = 4_000
"""`Limits.sockjs_body` here."""
LIMITS = Limits(close_timeout=0.2, shutdown_timeout=0.4, sockjs_body=BODY)


class Body(io.RawIOBase):
    """What a server gives as `wsgi.input`: pieces, and then nothing, or an error."""

    def __init__(self, *pieces: bytes, error: OSError | None = None) -> None:
        self._pieces = list(pieces)
        self._error = error
        self.read_so_far = 0

    def read(self, size: int = -1) -> bytes:  # type: ignore[override]
        assert size > 0
        if not self._pieces:
            if self._error is not None:
                raise self._error
            return b""
        piece = self._pieces.pop(0)
        if len(piece) > size:
            self._pieces.insert(0, piece[size:])
        self.read_so_far += len(piece[:size])
        return piece[:size]


class Server:
    """One worker that calls the application for requests of a test."""

    def __init__(self, app: StompApp) -> None:
        self.app = app
        wsgi = app.wrap_wsgi(_inner)
        assert isinstance(wsgi, WrappedWsgi)
        self.wsgi = wsgi
        self.sockets: list[socket.socket] = []

    def environ(self, method: str, path: str, **more: Any) -> dict[str, Any]:
        path, _, query = path.partition("?")
        return {
            "REQUEST_METHOD": method,
            "SCRIPT_NAME": "",
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "SERVER_PROTOCOL": "HTTP/1.1",
            "REMOTE_ADDR": "127.0.0.1",
            "REMOTE_PORT": "4711",
            "SERVER_NAME": "testserver",
            "SERVER_PORT": "80",
            "HTTP_HOST": "localhost",
            "wsgi.url_scheme": "http",
            "wsgi.input": Body(),
        } | more

    def call(self, environ: dict[str, Any]) -> tuple[int, dict[str, str], bytes]:
        """The answer as the application gives it to the server."""
        answers: list[Any] = []
        body = b"".join(
            self.wsgi(environ, lambda status, headers: answers.append((status, headers)))
        )
        [(status, headers)] = answers
        return int(status.split()[0]), dict(headers), body

    def take(self, method: str, path: str, **more: Any) -> Http:
        """A request whose socket is taken over; what its client gets."""
        theirs, ours = socket.socketpair()
        self.sockets.append(theirs)
        with ours:
            environ = self.environ(method, path, **{"gunicorn.socket": ours}, **more)
            assert self.call(environ)[::2] == (101, b"")
            assert ours.recv(100) == b""  # The server reads the end of the stream.
        http = Http(Quiet(theirs))
        return http.ask(method, path)

    def ask(self, method: str, path: str, **more: Any) -> Answer:
        """The same, and its whole answer."""
        answer = self.take(method, path, **more).answer()
        assert answer.headers["connection"] == "close"
        return answer

    def post(self, *texts: str, name: str = "s") -> Answer:
        return self.send(json.dumps(texts).encode(), name=name)

    def send(self, body: bytes, *, name: str = "s", **more: Any) -> Answer:
        environ = {"CONTENT_LENGTH": str(len(body)), "wsgi.input": Body(body)} | more
        return self.ask("POST", f"/ws/000/{name}/xhr_send", **environ)

    def stop(self) -> None:
        for each in self.sockets:
            each.close()
        if self.wsgi._server is not None:
            self.wsgi._server.stop()


class Quiet(Sock):
    """The request has been read by the server already."""

    def send(self, data: bytes) -> None:
        return


def _inner(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"inner {environ['PATH_INFO']}".encode()]


@pytest.fixture
def app() -> StompApp:
    return StompApp("/ws", limits=LIMITS, sockjs=SockJSOptions(), client_send=["/topic/**"])


@pytest.fixture
def server(app: StompApp) -> Iterator[Server]:
    server = Server(app)
    yield server
    server.stop()


CONNECT = text_of("CONNECT", {"accept-version": "1.2", "host": "localhost"})


# What needs no socket


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/ws", 200),
        ("GET", "/ws/", 200),
        ("GET", "/ws/info?t=1", 200),
        ("OPTIONS", "/ws/info", 204),
        ("OPTIONS", "/ws/000/s/xhr", 204),
        ("GET", "/ws/000/s/xhr", 405),
        ("GET", "/ws/x", 404),
        ("GET", "/ws/websocket", 400),
    ],
)
def test_what_needs_no_session_is_the_servers_to_send(
    server: Server, method: str, path: str, status: int
) -> None:
    theirs, ours = socket.socketpair()
    with theirs, ours:
        environ = server.environ(method, path, **{"gunicorn.socket": ours})
        seen, headers, body = server.call(environ)
        assert seen == status
        assert "Connection" not in headers
        assert body == b"" if status in (204, 405) else body
        # The connection is still the server's, and no thread was begun for it.
        ours.sendall(b"the server's own")
        assert theirs.recv(100) == b"the server's own"
    assert server.wsgi._server is None


def test_without_a_socket_too(server: Server) -> None:
    assert server.call(server.environ("GET", "/ws"))[2] == b"Welcome to SockJS!\n"
    info = json.loads(server.call(server.environ("GET", "/ws/info"))[2])
    assert info["websocket"] is True


@pytest.mark.parametrize("transport", ["xhr", "xhr_streaming", "xhr_send"])
def test_a_session_without_a_socket_is_501_and_the_log_says_so(
    server: Server, transport: str, caplog: pytest.LogCaptureFixture
) -> None:
    environ = server.environ("POST", f"/ws/000/s/{transport}")
    with caplog.at_level(logging.WARNING):
        status, _, body = server.call(environ)
    why = "(it gives no access to the socket)"
    assert (status, body) == (
        501,
        f"This server cannot pass a request of SockJS on {why}.\n".encode(),
    )
    [line] = caplog.messages
    assert line.startswith(f"no request of SockJS through this server {why}: ")
    assert "ws.serve_in_thread()" in line
    assert "WebSocket" not in line
    assert server.app.counters.handshakes_refused == 0


def test_everything_beside_it_is_the_inner_applications(server: Server) -> None:
    for path in ("/", "/wsx", "/wsx/info", "/x/ws/info"):
        assert server.call(server.environ("GET", path))[2] == f"inner {path}".encode()


def test_below_a_mount(server: Server) -> None:
    environ = server.environ("GET", "/ws/info", SCRIPT_NAME="/shop")
    assert server.call(environ)[0] == 200
    assert server.ask("POST", "/ws/000/s/xhr", SCRIPT_NAME="/shop").body == b"o\n"


# What is taken over


def test_a_session_by_polls_and_streams(server: Server) -> None:
    assert server.ask("POST", "/ws/000/s/xhr").body == b"o\n"
    assert server.post(CONNECT).status == 204
    assert server.ask("POST", "/ws/000/s/xhr").body.startswith(b'a["CONNECTED')
    stream = server.take("POST", "/ws/000/s/xhr_streaming")
    head = stream.head()
    assert (head.status, head.headers["connection"]) == (200, "close")
    assert stream.chunk() == b"h" * 2_048 + b"\n"
    subscribe = text_of("SUBSCRIBE", {"id": "1", "destination": "/topic/a", "receipt": "r"})
    assert server.post(subscribe).status == 204
    assert stream.chunk().startswith(b'a["RECEIPT')
    for number in range(20):
        server.post(text_of("SEND", {"destination": "/topic/a"}, str(number)))
        assert stream.chunk().endswith(b'%d\\u0000"]\n' % number)


@pytest.mark.parametrize("path", ["/ws/000/s/xhr", "/ws/000/none/xhr_send"])
def test_nothing_behind_the_first_request_is_read(server: Server, path: str) -> None:
    """A proxy may have sent the next one already: it is not ours to answer."""
    theirs, ours = socket.socketpair()
    with theirs, ours:
        theirs.settimeout(PATIENCE)
        theirs.sendall(b"GET /ws HTTP/1.1\r\nHost: localhost\r\n\r\n" * 3)
        environ = server.environ("POST", path, **{"gunicorn.socket": ours})
        assert server.call(environ)[0] == 101
        answer = b""
        while data := _received(theirs):
            answer += data
    assert answer.count(b"HTTP/1.1 ") == 1
    assert b"Connection: close\r\n" in answer
    assert b"Welcome" not in answer


def _received(sock: socket.socket) -> bytes:
    try:
        return sock.recv(65_536)
    except ConnectionResetError:
        return b""  # In front of what it did not read, the system says it so.


# Bodies


@pytest.fixture
def session(server: Server) -> Server:
    """With a session that listens to /topic/a."""
    assert server.ask("POST", "/ws/000/s/xhr").body == b"o\n"
    subscribe = text_of("SUBSCRIBE", {"id": "1", "destination": "/topic/a", "receipt": "r"})
    assert server.post(CONNECT, subscribe).status == 204
    while b"RECEIPT" not in server.ask("POST", "/ws/000/s/xhr").body:
        pass
    return server


def said(text: str) -> bytes:
    return json.dumps([text_of("SEND", {"destination": "/topic/a"}, text)]).encode()


def nothing_but(session: Server, text: str) -> None:
    """Only this was taken."""
    assert session.send(said(text)).status == 204
    frame = session.ask("POST", "/ws/000/s/xhr").body
    assert frame.count(b"MESSAGE") == 1
    assert text.encode() in frame


def test_a_body_of_a_known_length_may_come_in_pieces_and_no_more_of_it_is_read(
    session: Server,
) -> None:
    body = said("in pieces")
    given = Body(body[:7], body[7:8], body[8:] + b"of the next request")
    assert session.send(body, **{"wsgi.input": given}).status == 204
    assert given.read_so_far == len(body)
    assert b"in pieces" in session.ask("POST", "/ws/000/s/xhr").body


def test_a_body_without_a_length_is_read_where_the_server_ends_it(session: Server) -> None:
    ended = {
        "CONTENT_LENGTH": "",
        "HTTP_TRANSFER_ENCODING": "chunked",
        "wsgi.input_terminated": True,
    }
    body = said("ended")
    given = Body(body[:7], body[7:])
    assert session.send(body, **ended, **{"wsgi.input": given}).status == 204
    assert b"ended" in session.ask("POST", "/ws/000/s/xhr").body


def test_a_body_that_nobody_ends_is_not_read(session: Server) -> None:
    """It would wait for the client for ever."""
    given = Body(said("never"))
    more = {"CONTENT_LENGTH": "", "HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input": given}
    answer = session.send(b"", **more)
    assert (answer.status, answer.body) == (500, b"Payload expected.\n")
    assert given.read_so_far == 0
    nothing_but(session, "whole")


@pytest.mark.parametrize("over", [1, BODY, 1_000_000_000])
@pytest.mark.parametrize("known", [True, False])
def test_a_body_over_the_bound_is_413_and_as_much_again_is_read(
    session: Server, known: bool, over: int
) -> None:
    length = BODY + over
    start = said("never")
    left = min(length, 20 * BODY) - len(start)
    given = Body(start, *[b" " * 1_000] * (left // 1_000), b" " * (left % 1_000))
    theirs, ours = socket.socketpair()
    with theirs, ours:
        more: dict[str, Any] = {"wsgi.input": given, "gunicorn.socket": ours}
        if known:
            more |= {"CONTENT_LENGTH": str(length)}
        else:
            more |= {"HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input_terminated": True}
        status, _, body = session.call(session.environ("POST", "/ws/000/s/xhr_send", **more))
        assert (status, body) == (413, b"The body is too large.\n")
        # Not taken over: the server has to know what is left of it.
        ours.sendall(b"the server's own")
        assert theirs.recv(100) == b"the server's own"
    assert given.read_so_far == min(length, 2 * BODY)
    nothing_but(session, "whole")


@pytest.mark.parametrize("error", [None, OSError("the client has gone")])
def test_a_body_that_is_cut_has_no_effect(session: Server, error: OSError | None) -> None:
    body = said("never")
    given = Body(body, error=error)
    theirs, ours = socket.socketpair()
    with theirs, ours:
        environ = session.environ(
            "POST",
            "/ws/000/s/xhr_send",
            CONTENT_LENGTH=str(len(body) + 1),
            **{"wsgi.input": given, "gunicorn.socket": ours},
        )
        status, _, text = session.call(environ)
        assert (status, text) == (400, b"The body is not whole.\n")
    nothing_but(session, "whole")


def test_a_poll_with_a_body_is_413(session: Server) -> None:
    theirs, ours = socket.socketpair()
    with theirs, ours:
        more = {"CONTENT_LENGTH": "3", "wsgi.input": Body(b"abc"), "gunicorn.socket": ours}
        assert session.call(session.environ("POST", "/ws/000/s/xhr", **more))[0] == 413

"""The test client that teams of Starlette and FastAPI have: a loop per client or per socket, in a
thread of its own.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fastapi import BackgroundTasks, FastAPI
from starlette.testclient import TestClient, WebSocketTestSession

from stocksync_ws import (
    BrokerClosed,
    DisconnectReason,
    SessionDisconnected,
    StompApp,
    WrongLoop,
    send_to,
)
from stocksync_ws.config import Limits
from stocksync_ws.stomp.decoder import Decoder
from stocksync_ws.stomp.encoder import encode
from stocksync_ws.stomp.frame import Frame, Version

PATIENCE = 10.0


@pytest.fixture(autouse=True)
def no_thread_of_anybody_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - before:
        thread.join(PATIENCE)
        assert not thread.is_alive(), thread.name


@pytest.fixture
def ws() -> Iterator[StompApp]:
    app = StompApp("/ws", heart_beat=(0, 0), client_subscribe=["/queue/**", "/topic/**"])

    @app.message_mapping("/pool")
    @send_to("/topic/a")
    def pool() -> str:
        return threading.current_thread().name

    yield app
    app._run.abort()


@pytest.fixture(params=["install", "wrap"])
def served(request: pytest.FixtureRequest, ws: StompApp) -> Any:
    """An application with routes that publish, from each place there is."""
    app = FastAPI()

    @app.get("/sync")
    def sync() -> str:
        ws.template.send("/topic/a", b"sync")
        return "published"

    @app.get("/async")
    async def on_loop() -> str:
        ws.template.send("/topic/a", b"async")
        return "published"

    @app.get("/background")
    def background(tasks: BackgroundTasks) -> str:
        tasks.add_task(ws.template.send, "/topic/a", b"background")
        return "published"

    @app.get("/queue")
    def queue() -> str:
        ws.template.send("/queue/q", b"of an earlier test")
        return "published"

    return ws.install(app) if request.param == "install" else ws.wrap(app)


class Stomp:
    """A STOMP client on a socket of the test client."""

    def __init__(self, session: WebSocketTestSession) -> None:
        self.session = session
        self._decoder = Decoder(Limits(), server_frames=True)
        self._decoder.version = Version.V12
        self.send("CONNECT", {"accept-version": "1.2", "host": "localhost"})
        assert self.frame().command == "CONNECTED"

    def send(self, command: str, headers: dict[str, str]) -> None:
        self.session.send_text(encode(command, headers, b"", Version.V12).decode())

    def frame(self) -> Frame:
        self._decoder.feed(self.session.receive_text().encode())
        frame = self._decoder.next()
        assert frame is not None
        return frame

    def subscribe(self, destination: str) -> None:
        self.send("SUBSCRIBE", {"destination": destination, "id": "1", "receipt": "r"})
        assert self.frame().command == "RECEIPT"

    def nothing(self) -> None:
        """Nothing waits: the answer to one more frame is the next that comes."""
        self.send("UNSUBSCRIBE", {"id": "1", "receipt": "r"})
        assert self.frame().command == "RECEIPT"


Use = Callable[[TestClient], None]


def use(client: TestClient) -> None:
    """What a test would do, with a thread of the pool in it."""
    with client.websocket_connect("/ws", ["v12.stomp"]) as session:
        stomp = Stomp(session)
        stomp.subscribe("/topic/a")
        stomp.send("SEND", {"destination": "/app/pool"})
        assert stomp.frame().body.startswith(b"stocksync-handler")


@pytest.mark.parametrize("path", ["/ws", "/ws/"])
def test_the_endpoint_is_there(ws: StompApp, served: Any, path: str) -> None:
    with TestClient(served) as client:
        assert client.get(path).status_code == 426
        with client.websocket_connect(path, ["v11.stomp", "v12.stomp"]) as session:
            assert session.accepted_subprotocol == "v12.stomp"
            Stomp(session)


@pytest.mark.parametrize("how", ["sync", "async", "background"])
def test_a_publish_of_a_route_arrives(ws: StompApp, served: Any, how: str) -> None:
    with (
        TestClient(served) as client,
        client.websocket_connect("/ws") as first,
        client.websocket_connect("/ws") as second,
    ):
        clients = [Stomp(first), Stomp(second)]
        for stomp in clients:
            stomp.subscribe("/topic/a")
        for _ in range(3):
            assert client.get(f"/{how}").status_code == 200
        for stomp in clients:
            assert [stomp.frame().body for _ in range(3)] == [how.encode()] * 3


def test_it_starts_and_stops_and_starts_again(
    ws: StompApp, served: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Pitfall 11; threads are looked at after each test."""
    for _ in range(3):
        with TestClient(served) as client:
            use(client)
            assert ws._run.runtime is not None
        assert ws._run.runtime is None
        with pytest.raises(BrokerClosed):
            ws.template.send("/topic/a", b"x")
    assert [each for each in caplog.records if each.levelno >= logging.WARNING] == []


def test_it_works_without_a_lifespan_one_socket_after_another(
    ws: StompApp, served: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Pitfall 11: each socket has a loop of its own, closed before the next one comes."""
    client = TestClient(served)
    for _ in range(3):
        use(client)
    assert [each for each in caplog.records if each.levelno >= logging.WARNING] == []


def test_two_sockets_at_once_without_a_lifespan_are_told_how_to_go_on(
    ws: StompApp, served: Any
) -> None:
    """Pitfall 11: two live loops."""
    client = TestClient(served)
    with client.websocket_connect("/ws") as session:
        stomp = Stomp(session)
        with pytest.raises(WrongLoop, match=r"with TestClient\(app\)"):
            client.websocket_connect("/ws").__enter__()
        stomp.subscribe("/topic/a")
    use(client)


def test_both_ways_may_be_mixed(ws: StompApp, served: Any) -> None:
    for _ in range(2):
        use(TestClient(served))
        with TestClient(served) as client:
            use(client)
        assert TestClient(served).get("/ws").status_code == 426


def test_nothing_of_one_test_appears_in_the_next(ws: StompApp, served: Any) -> None:
    with TestClient(served) as client:
        client.get("/queue")
        client.get("/sync")
    for _ in range(2):
        with TestClient(served) as client, client.websocket_connect("/ws") as session:
            stomp = Stomp(session)
            stomp.subscribe("/queue/q")
            stomp.nothing()
        assert ws.counters.messages_published == 0


def test_nothing_of_one_socket_appears_in_the_next(ws: StompApp, served: Any) -> None:
    client = TestClient(served)
    with client.websocket_connect("/ws") as session:
        Stomp(session)
        ws.template.send("/queue/q", b"of an earlier test")
    with client.websocket_connect("/ws") as session:
        stomp = Stomp(session)
        stomp.subscribe("/queue/q")
        stomp.nothing()


def test_a_socket_that_ends_is_told_to_listeners(ws: StompApp, served: Any) -> None:
    heard: list[SessionDisconnected] = []
    told = threading.Event()

    @ws.event_listener(SessionDisconnected)
    def listen(event: SessionDisconnected) -> None:
        heard.append(event)
        told.set()

    with TestClient(served) as client:
        with client.websocket_connect("/ws") as session:
            Stomp(session)
            session.close(1001)
        assert told.wait(PATIENCE)
    assert [(event.reason, event.close_code) for event in heard] == [
        (DisconnectReason.PEER_CLOSED, 1001)
    ]


def test_an_application_that_cannot_start_fails_the_client(ws: StompApp, served: Any) -> None:
    @ws.message_mapping("/x")
    def handler(what: Undeclared) -> None: ...  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(Exception, match="Undeclared"):
        TestClient(served).__enter__()
    assert ws._run.runtime is None

"""A server on a thread of its own: what holds when it has started, and what when it has stopped."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import ssl
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from threaded import PATIENCE, elsewhere, open_client, run_script

from stocksync_ws import (
    BrokerClosed,
    ConfigurationError,
    Limits,
    SessionDisconnected,
    StompApp,
    WrongLoop,
    send_to,
)
from stocksync_ws.threads import ThreadServer

LIMITS = Limits(close_timeout=0.2, shutdown_timeout=0.4)


@pytest.fixture
def app() -> StompApp:
    return StompApp("/ws", limits=LIMITS, client_send=["/topic/**"])


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    """All threads end, but the one that watches the exit."""
    before = set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - before:
        if thread.name != "stocksync-exit":
            thread.join(PATIENCE)
            assert not thread.is_alive(), thread.name


# Start


def test_it_takes_connections_when_it_returns(app: StompApp) -> None:
    with app.serve_in_thread(port=0) as server:
        assert server.running
        open_client(server.port).connect().pipe.close()
    assert not server.running


@pytest.mark.parametrize(
    ("host", "url"),
    [("127.0.0.1", "ws://127.0.0.1:{}/ws"), ("::1", "ws://[::1]:{}/ws")],
)
def test_the_url_is_where_clients_connect(app: StompApp, host: str, url: str) -> None:
    with app.serve_in_thread(host, 0) as server:
        assert server.url == url.format(server.port)
        open_client(server.port, host).connect().pipe.close()
    assert server.url == url.format(server.port)


def test_the_url_of_a_given_socket_is_that_of_the_socket(app: StompApp) -> None:
    given = socket.create_server(("127.0.0.2", 0))
    with app.serve_in_thread("ignored.invalid", 1, sock=given) as server:
        assert server.url == f"ws://127.0.0.2:{server.port}/ws"
        open_client(server.port, "127.0.0.2").connect().pipe.close()
    assert server.url == f"ws://127.0.0.2:{server.port}/ws"


def test_the_url_of_a_unix_socket_is_what_clients_ask_for_there(
    app: StompApp, tmp_path: Path
) -> None:
    with app.serve_in_thread(unix=tmp_path / "sock") as server:
        assert (server.port, server.url) == (None, "ws://localhost/ws")
        assert (tmp_path / "sock").is_socket()
    assert not (tmp_path / "sock").exists()


def test_the_url_by_tls_is_wss(app: StompApp) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with app.serve_in_thread(port=0, ssl=context) as server:
        assert server.url == f"wss://127.0.0.1:{server.port}/ws"


def test_a_name_is_looked_up(app: StompApp) -> None:
    with app.serve_in_thread("localhost", 0) as server:
        assert server.url == f"ws://localhost:{server.port}/ws"
        open_client(server.port, "localhost").connect().pipe.close()


def test_a_port_in_use_is_raised_to_who_starts(app: StompApp) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1:{port}") as raised:
            app.serve_in_thread(port=port)
    assert raised.value.errno == errno.EADDRINUSE
    with app.serve_in_thread(port=port) as server:
        assert server.port == port


def test_a_second_server_of_an_app_is_the_wrong_loop(app: StompApp) -> None:
    with app.serve_in_thread(port=0) as server:
        with pytest.raises(WrongLoop, match="runs already"):
            app.serve_in_thread(port=0)
        open_client(server.port).connect().pipe.close()


def test_an_app_that_runs_on_a_loop_does_not_start_on_a_thread(app: StompApp) -> None:
    async def main() -> None:
        serving = asyncio.create_task(app.serve(port=0, signals=False))
        await app.template.publish("/topic/a", "it runs")
        with pytest.raises(WrongLoop):
            app.serve_in_thread(port=0)
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)

    asyncio.run(main())


def test_a_declaration_that_cannot_work_is_raised_to_who_starts(app: StompApp) -> None:
    @app.message_mapping("/x/{a}")
    def handler(b: Missing) -> None: ...  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(ConfigurationError):
        app.serve_in_thread(port=0)


def test_a_page_that_is_not_there_is_raised_to_who_starts(app: StompApp, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        app.serve_in_thread(port=0, pages={"/": tmp_path / "index.html"})


def test_a_loop_that_cannot_be_made_is_raised_to_who_starts(
    app: StompApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails() -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(asyncio, "new_event_loop", fails)
    with pytest.raises(OSError, match="Too many open files"):
        app.serve_in_thread(port=0)


def test_who_is_interrupted_while_it_starts_leaves_no_server(app: StompApp) -> None:
    server = ThreadServer(app._run, app.site(), None)
    ready: Any = server._ready

    class Interrupted:
        """Ctrl-C comes when the server is ready."""

        locked, release = ready.locked, ready.release
        waits = False

        def acquire(self) -> None:
            ready.acquire()
            if self.waits:  # whether or not the server was ready before
                raise KeyboardInterrupt
            self.waits = True

    server._ready = Interrupted()  # type: ignore[assignment]
    with pytest.raises(KeyboardInterrupt):
        server.start()
    assert server.wait(PATIENCE)
    with app.serve_in_thread(port=0):
        pass


# While it runs


def test_the_template_is_called_from_any_thread(app: StompApp) -> None:
    with app.serve_in_thread(port=0) as server:
        client = open_client(server.port).connect()
        client.subscribe("/topic/a")
        app.template.send("/topic/a", b"main")
        assert client.frame("MESSAGE").body == b"main"
        elsewhere(lambda: app.template.convert_and_send("/topic/a", {"n": 1}))
        assert client.frame("MESSAGE").body == b'{"n":1}'
        client.pipe.close()


def test_publish_wait_tells_what_became_of_a_message(app: StompApp) -> None:
    with app.serve_in_thread(port=0) as server:
        client = open_client(server.port).connect()
        client.subscribe("/topic/a")
        published = app.template.publish_wait("/topic/a", "x", timeout=PATIENCE)
        assert published.receivers == 1
        assert client.frame("MESSAGE").body == b"x"
        client.pipe.close()


def test_what_is_published_before_the_start_is_applied_by_it(app: StompApp) -> None:
    outcome: list[Any] = []
    waiting = threading.Thread(
        target=lambda: outcome.append(app.template.publish_wait("/topic/a", "early"))
    )
    waiting.start()
    while not app.inbox._items:
        assert waiting.is_alive()
    with app.serve_in_thread(port=0):
        waiting.join(PATIENCE)
    assert outcome[0].receivers == 0


def test_publish_wait_on_the_loop_of_the_server_raises_at_once(app: StompApp) -> None:
    raised: list[BaseException] = []

    @app.message_mapping("/publish")
    async def publish() -> str:
        try:
            app.template.publish_wait("/topic/a", "x")
        except RuntimeError as error:
            raised.append(error)
        return "done"

    with app.serve_in_thread(port=0) as server:
        client = open_client(server.port).connect()
        client.subscribe("/topic/publish")
        client.send("SEND", {"destination": "/app/publish"})
        assert client.frame("MESSAGE").body == b"done"
        client.pipe.close()
    assert "await template.publish" in str(raised[0])


def test_publish_wait_works_in_a_plain_handler(app: StompApp) -> None:
    @app.message_mapping("/publish")
    def publish() -> str:
        return str(app.template.publish_wait("/topic/publish", "first").receivers)

    with app.serve_in_thread(port=0) as server:
        client = open_client(server.port).connect()
        client.subscribe("/topic/publish")
        client.send("SEND", {"destination": "/app/publish"})
        assert [client.frame("MESSAGE").body for _ in range(2)] == [b"first", b"1"]
        client.pipe.close()


def test_coroutines_run_on_the_loop_of_the_server_and_functions_in_the_pool(app: StompApp) -> None:
    ran: dict[str, tuple[str, bool]] = {}

    def note(name: str) -> str:
        try:
            asyncio.get_running_loop()
            loop = True
        except RuntimeError:
            loop = False
        ran[name] = (threading.current_thread().name, loop)
        return name

    @app.message_mapping("/coroutine")
    @send_to("/topic/out")
    async def coroutine() -> str:
        await asyncio.sleep(0)
        return note("coroutine")

    @app.message_mapping("/function")
    @send_to("/topic/out")
    def function() -> str:
        return note("function")

    with app.serve_in_thread(port=0) as server:
        client = open_client(server.port).connect()
        client.subscribe("/topic/out")
        for name in ("coroutine", "function"):
            client.send("SEND", {"destination": f"/app/{name}"})
            assert client.frame("MESSAGE").body == name.encode()
        client.pipe.close()
    assert ran == {
        "coroutine": ("stocksync-server", True),
        "function": ("stocksync-handler", False),
    }


# The end


def test_a_stop_closes_sessions_in_good_order(app: StompApp) -> None:
    ends: list[SessionDisconnected] = []

    @app.event_listener(SessionDisconnected)
    def listen(event: SessionDisconnected) -> None:
        ends.append(event)

    server = app.serve_in_thread(port=0)
    client = open_client(server.port).connect()
    stopping = threading.Thread(target=server.stop)
    stopping.start()
    assert client.closed() == 1012
    client.pipe.close()
    stopping.join(PATIENCE)
    assert not stopping.is_alive()
    assert [each.close_code for each in ends] == [1012]
    with pytest.raises(ConnectionRefusedError):
        open_client(server.port)


def test_after_the_stop_the_template_is_closed(app: StompApp) -> None:
    with app.serve_in_thread(port=0):
        pass
    for publish in (app.template.send, app.template.publish_wait):
        with pytest.raises(BrokerClosed):
            publish("/topic/a", b"x")  # type: ignore[operator]


def test_it_stops_once_from_many_threads(app: StompApp) -> None:
    server = app.serve_in_thread(port=0)
    threads = [threading.Thread(target=server.stop) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive()
    server.stop()


def test_it_starts_again_after_a_stop(app: StompApp) -> None:
    for number in range(3):
        with app.serve_in_thread(port=0) as server:
            client = open_client(server.port).connect()
            client.subscribe("/topic/a")
            app.template.send("/topic/a", str(number).encode())
            assert client.frame("MESSAGE").body == str(number).encode()
            client.pipe.close()


def test_a_stop_on_its_own_loop_raises_instead_of_waiting_for_itself(app: StompApp) -> None:
    raised: list[BaseException] = []

    @app.message_mapping("/stop")
    async def stop() -> str:
        try:
            server.stop()
        except RuntimeError as error:
            raised.append(error)
        return "done"

    with app.serve_in_thread(port=0) as server:
        client = open_client(server.port).connect()
        client.subscribe("/topic/stop")
        client.send("SEND", {"destination": "/app/stop"})
        assert client.frame("MESSAGE").body == b"done"
        client.pipe.close()
    assert "would block the event loop" in str(raised[0])


def test_a_loop_that_user_code_stops_ends_the_server_and_is_told(
    app: StompApp, caplog: pytest.LogCaptureFixture
) -> None:
    @app.message_mapping("/stop")
    async def stop() -> None:
        asyncio.get_running_loop().stop()

    server = app.serve_in_thread(port=0)
    client = open_client(server.port).connect()
    client.send("SEND", {"destination": "/app/stop"})
    assert server.wait(PATIENCE)
    client.pipe.close()
    assert [each for each in caplog.messages if "has ended by itself" in each]
    server.stop()
    with pytest.raises(ConnectionRefusedError):
        open_client(server.port)
    with app.serve_in_thread(port=server.port or 0):
        pass


def test_a_task_that_user_code_leaves_behind_may_clean_up(app: StompApp) -> None:
    heard: list[str] = []
    kept: list[asyncio.Task[None]] = []

    async def forever() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            heard.append("cleaned up")

    @app.subscribe_mapping("/begin")
    async def begin() -> str:
        kept.append(asyncio.create_task(forever()))
        return "begun"

    with app.serve_in_thread(port=0) as server:
        client = open_client(server.port).connect()
        client.send("SUBSCRIBE", {"id": "1", "destination": "/app/begin"})
        client.frame("MESSAGE")
        client.pipe.close()
    assert heard == ["cleaned up"]


def test_at_the_exit_a_stop_that_waits_hurries_up() -> None:
    app = StompApp("/ws", limits=Limits(close_timeout=60, shutdown_timeout=90))
    server = app.serve_in_thread(port=0)
    client = open_client(server.port).connect()
    stopping = threading.Thread(target=server.stop)
    stopping.start()
    while client.close_code is None:
        opcode, payload = client.next_message()
        if opcode == 8:
            client.close_code = int.from_bytes(payload[:2])  # and no answer
    server.end_at_exit()
    assert server.wait(PATIENCE)
    stopping.join(PATIENCE)
    client.pipe.close()


def test_what_is_handed_over_to_a_server_that_has_ended_is_closed(app: StompApp) -> None:
    with app.serve_in_thread(port=0) as server:
        pass
    ours, theirs = socket.socketpair()
    with theirs:
        server.swallow(ours)
        assert theirs.recv(1) == b""


FORK = """
import os, sys
from stocksync_ws import ForkedBrokerError, StompApp

app = StompApp("/ws")
server = app.serve_in_thread(port=0)
child = os.fork()
if child == 0:
    for name, call in (
        ("stop", server.stop),
        ("send", lambda: app.template.send("/topic/a", b"x")),
        ("publish_wait", lambda: app.template.publish_wait("/topic/a", b"x")),
        ("start", lambda: app.serve_in_thread(port=0)),
    ):
        try:
            call()
        except ForkedBrokerError as error:
            print(name, error, flush=True)
    sys.exit(0)
print("child", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
print("parent", app.template.publish_wait("/topic/a", b"x").receivers, flush=True)
server.stop()
print("exit", flush=True)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_forked_child_is_told_and_its_parent_lives() -> None:
    source = "import warnings\nwarnings.simplefilter('ignore')\n" + FORK
    ended = run_script(source)
    assert ended.lines == [
        "stop the server runs in the parent of this process",
        "send the application runs in the parent of this process",
        "publish_wait the application runs in the parent of this process",
        "start the application runs in the parent of this process",
        "child 0",
        "parent 0",
    ]
    assert (ended.code, ended.errors) == (0, "")

"""`StompApp`: its settings, `serve` with pages, and what it says when it cannot."""

from __future__ import annotations

import asyncio
import gc
import logging
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import websockets
from websockets.typing import Subprotocol

from stocksync_ws import (
    BackplaneAvailability,
    BrokerClosed,
    ConfigurationError,
    Limits,
    SessionDisconnected,
    SockJSOptions,
    StompApp,
    WrongLoop,
)
from stocksync_ws.testing.backplane import MemoryBackplane

PATIENCE = 10.0
SUBPROTOCOL = Subprotocol("v12.stomp")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port


async def request(port: int, target: str, method: str = "GET") -> tuple[str, dict[str, str], bytes]:
    """One request on a connection of its own."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = f"{method} {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    writer.write(head.encode())
    answer = await reader.read()
    writer.close()
    head, _, body = answer.decode("iso-8859-1").partition("\r\n\r\n")
    status, *lines = head.split("\r\n")
    headers = {name.lower(): text for name, text in (line.split(": ", 1) for line in lines)}
    return status.split()[1], headers, body.encode("iso-8859-1")


class Listening(logging.Handler):
    """Set when the server says that it listens."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.event = asyncio.Event()

    def emit(self, record: logging.LogRecord) -> None:
        if record.getMessage().startswith("listening on"):
            self.event.set()


async def begin(app: StompApp, port: int, **options: Any) -> asyncio.Task[None]:
    """Serve in a task, which listens now."""
    log = logging.getLogger("stocksync_ws.transport")
    listening = Listening()
    log.addHandler(listening)
    level = log.level
    log.setLevel(logging.INFO)
    serving = asyncio.create_task(app.serve(port=port, signals=False, **options))
    waiting = asyncio.create_task(listening.event.wait())
    try:
        await asyncio.wait({serving, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if serving.done():
            serving.result()
        return serving
    finally:
        waiting.cancel()
        log.removeHandler(listening)
        log.setLevel(level)


def while_served(
    app: StompApp, test: Callable[[int], Awaitable[Any]], *, port: int | None = None, **options: Any
) -> Any:
    """Run `test` with the port while the application is served; then cancel it."""

    async def main() -> Any:
        at = free_port() if port is None else port
        async with asyncio.timeout(PATIENCE):
            serving = await begin(app, at, **options)
            try:
                return await test(at)
            finally:
                serving.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await serving

    return asyncio.run(main())


@pytest.fixture
def app() -> StompApp:
    return StompApp("/ws", limits=Limits(close_timeout=0.2, shutdown_timeout=0.4))


# Starting


def test_a_server_that_listens_says_where_and_ends_with_its_block(app: StompApp) -> None:
    async def main() -> None:
        assert app.ready is False
        async with app.listen(port=0, pages={"/": __file__}) as server:
            assert server.port
            assert server.url == f"ws://127.0.0.1:{server.port}/ws"
            assert server.page("/") == f"http://127.0.0.1:{server.port}/"
            assert app.ready is True
            assert (await request(server.port, "/"))[0] == "200"
        assert app.ready is False
        with pytest.raises(ConnectionRefusedError):
            await request(server.port, "/")

    asyncio.run(main())


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="no Unix sockets")
def test_a_server_on_a_unix_socket_has_no_port(app: StompApp, tmp_path: Path) -> None:
    async def main() -> None:
        async with app.listen(unix=tmp_path / "ws.sock") as server:
            assert (server.port, server.url) == (None, "ws://localhost/ws")

    asyncio.run(main())


def test_ready_waits_for_the_start_and_raises_what_it_raised(app: StompApp) -> None:
    async def main() -> None:
        server = app.listen(port=0)
        waiting = asyncio.ensure_future(server.ready)
        await asyncio.sleep(0)
        assert not waiting.done()
        await server.start()
        await waiting
        await server.ready
        second = app.listen(port=0)
        waiting = asyncio.ensure_future(second.ready)
        await asyncio.sleep(0)
        with pytest.raises(WrongLoop, match="this StompApp runs already on this very loop"):
            await second.start()
        with pytest.raises(WrongLoop, match="this StompApp runs already on this very loop"):
            await waiting
        await server.stop()

    asyncio.run(main())


def test_somebody_who_waits_no_longer_takes_ready_from_nobody_else(app: StompApp) -> None:
    async def main() -> None:
        server = app.listen(port=0)
        impatient = asyncio.ensure_future(server.ready)
        patient = asyncio.ensure_future(server.ready)
        impatient.cancel()
        await server.start()
        await patient
        assert impatient.cancelled()
        await server.stop()

    asyncio.run(main())


def test_while_it_drains_it_is_not_ready(app: StompApp) -> None:
    told: list[bool] = []

    @app.event_listener(SessionDisconnected)
    def gone() -> None:
        told.append(app.ready)

    async def main() -> None:
        async with app.listen(port=0) as server:
            client = await websockets.connect(server.url, subprotocols=[SUBPROTOCOL])
            await client.send("CONNECT\naccept-version:1.2\nhost:x\n\n\0")
            await client.recv()
            assert app.ready
        await client.close()

    asyncio.run(main())
    assert told == [False]


def test_a_health_path_is_200_until_the_stop_and_503_while_it_drains() -> None:
    app = StompApp(
        "/ws",
        allowed_hosts=["shop.example"],
        limits=Limits(close_timeout=0.2, shutdown_timeout=PATIENCE),
    )
    release = asyncio.Event()

    @app.event_listener(SessionDisconnected)
    async def gone() -> None:
        await release.wait()

    async def main() -> None:
        async with app.listen(port=0, health="/health") as server:
            assert server.port is not None
            assert (await request(server.port, "/health"))[0::2] == ("200", b"ready\n")
            assert (await request(server.port, "/health", "HEAD"))[0::2] == ("200", b"")
            assert (await request(server.port, "/health", "POST"))[0] == "405"
            assert (await request(server.port, "/"))[0] == "403"  # of another host
            client = await websockets.connect(
                f"ws://shop.example:{server.port}/ws", host="127.0.0.1", subprotocols=[SUBPROTOCOL]
            )
            await client.send("CONNECT\naccept-version:1.2\nhost:x\n\n\0")
            await client.recv()
            stopping = asyncio.create_task(server.stop())
            with pytest.raises(websockets.ConnectionClosed):
                await client.recv()
            assert (await request(server.port, "/health"))[0] == "503"
            release.set()
            await stopping
            with pytest.raises(ConnectionRefusedError):
                await request(server.port, "/health")

    asyncio.run(main())


def test_a_health_path_is_503_while_the_engine_of_several_workers_is_away() -> None:
    engine = MemoryBackplane()
    app = StompApp("/ws", backplane=engine)
    there = asyncio.Event()

    @app.event_listener(BackplaneAvailability, inline=True)
    def told() -> None:
        there.set()

    async def main() -> None:
        async with app.listen(port=0, health="/health") as server:
            await there.wait()
            assert (await request(server.port, "/health"))[0] == "200"
            engine.disconnect()
            status, _, body = await request(server.port, "/health")
            assert (status, app.ready) == ("503", False)
            assert b"engine" in body
            engine.reconnect()
            assert (await request(server.port, "/health"))[0] == "200"

    asyncio.run(main())


@pytest.mark.parametrize("path", ["health", "/a?b", 7, "/ws", "/ws/", "/page"])
def test_a_health_path_that_cannot_be_one(app: StompApp, path: Any) -> None:
    with pytest.raises(ConfigurationError, match="health: "):
        app.listen(pages={"/page": __file__}, health=path)


RUN = """
from stocksync_ws import StompApp
{before}
StompApp("/ws").run(port=0, pages={{"/": "{page}"}})
print("ended")
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_run_says_where_it_serves_and_ends_by_a_signal(number: signal.Signals) -> None:
    command = [sys.executable, "-c", RUN.format(before="", page=Path(__file__).as_posix())]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.fullmatch(
            r"serving ws://127.0.0.1:(\d+)/ws, http://127.0.0.1:(\d+)/; Ctrl-C ends it\n", line
        )
        assert found is not None, line
        assert found[1] == found[2] != "0"
        process.send_signal(number)
        assert process.stdout.read() == "ended\n"
        assert process.wait(PATIENCE) == 0


def test_run_is_quiet_where_logging_says_it() -> None:
    before = "import logging, sys; logging.basicConfig(level=logging.INFO, stream=sys.stdout)"
    command = [sys.executable, "-c", RUN.format(before=before, page=Path(__file__).as_posix())]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("INFO:stocksync_ws.transport:listening on")
        process.send_signal(signal.SIGINT)
        assert "serving" not in process.stdout.read()


def test_run_inside_of_a_loop_says_what_to_write(app: StompApp) -> None:
    async def main() -> None:
        with pytest.raises(WrongLoop, match=r"write `await ws\.serve\(\.\.\.\)` or `async with"):
            app.run()

    asyncio.run(main())


# Settings


@pytest.mark.parametrize(
    "setting",
    [
        "allowed_origins",
        "allowed_hosts",
        "application_prefixes",
        "broker_prefixes",
        "queue_prefixes",
        "client_send",
        "client_subscribe",
    ],
)
def test_one_text_where_a_list_belongs_is_told(setting: str) -> None:
    arguments: dict[str, Any] = {setting: "/topic"}
    with pytest.raises(ConfigurationError, match=rf"{setting}: must be a list .*\['/topic'\]"):
        StompApp("/ws", **arguments)


def test_settings_reach_where_they_are_read() -> None:
    app = StompApp(
        "/stock",
        allowed_origins=["https://shop.example"],
        allowed_hosts=["shop.example"],
        application_prefixes=["/do"],
        broker_prefixes=["/news", "/work"],
        queue_prefixes=["/work"],
        user_prefix="/me",
        client_send=["/news/chat"],
        client_subscribe=["/news/**"],
        heart_beat=(5, 6),
        missed_heart_beats=2,
        error_destination="/work/errors",
        limits=Limits(max_id=7),
    )
    config, endpoint = app.config, app.endpoint
    assert (endpoint.path, endpoint.allowed_origins) == ("/stock", ("https://shop.example",))
    assert endpoint.allowed_hosts == ("shop.example",)
    assert (config.application_prefixes, config.broker_prefixes) == (("/do",), ("/news", "/work"))
    assert (config.queue_prefixes, config.user_prefix) == (("/work",), "/me")
    assert (config.client_send, config.client_subscribe) == (("/news/chat",), ("/news/**",))
    assert (config.heart_beat, config.missed_heart_beats, config.limits.max_id) == ((5, 6), 2, 7)
    assert config.error_destination == "/work/errors"


def test_importing_the_package_costs_no_adapter_and_no_run() -> None:
    script = "import sys, stocksync_ws\nstocksync_ws.StompApp('/ws')\nprint(*sys.modules)"
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True)
    loaded = set(done.stdout.split())
    assert "stocksync_ws.running.run" in loaded
    assert not {name for name in loaded if name.startswith("stocksync_ws.aio")}
    for made_by_a_start in ("running.runtime", "broker.broker", "driver.driver"):
        assert f"stocksync_ws.{made_by_a_start}" not in loaded
    assert not loaded & {"concurrent.futures.thread", "secrets"}


# SockJS


def test_sockjs_is_one_table_of_sessions_whatever_servers_there_are() -> None:
    options = SockJSOptions(jsonp=True)
    for given, kept in ((True, SockJSOptions()), (options, options)):
        app = StompApp("/ws", sockjs=given)
        assert app.endpoint.sockjs == kept
        [routes] = app.site().routes.values()
        assert app.site({}).routes == {"/ws": routes}
    assert StompApp("/ws").site().routes == {}
    assert StompApp("/ws", sockjs=False).site().routes == {}


@pytest.mark.parametrize("given", [None, 1, "yes", {}])
def test_what_is_no_option_of_sockjs(given: Any) -> None:
    with pytest.raises(ConfigurationError, match="sockjs: must be a bool or SockJSOptions"):
        StompApp("/ws", sockjs=given)


@pytest.mark.parametrize("given", [0, 1, -64, True, 64.0, "64", (0, 10)])
def test_what_is_no_size_of_an_integer(given: Any) -> None:
    with pytest.raises(ConfigurationError, match="json_integers: must be a number of bits"):
        StompApp("/ws", json_integers=given)


# serve


def test_pages_are_served_with_their_types(app: StompApp, tmp_path: Path) -> None:
    files = {
        "/": ("index.html", "text/html; charset=utf-8"),
        "/a.js": ("a.js", "text/javascript; charset=utf-8"),
        "/a.mjs": ("a.MJS", "text/javascript; charset=utf-8"),
        "/a.css": ("a.css", "text/css; charset=utf-8"),
        "/a.svg": ("a.svg", "image/svg+xml"),
        "/a.json": ("a.json", "application/json; charset=utf-8"),
        "/a.png": ("a.png", "image/png"),
        "/a": ("a.unheardof", "application/octet-stream"),
    }
    for name, _ in files.values():
        (tmp_path / name).write_text(name)
    pages = {path: tmp_path / name for path, (name, _) in files.items()}

    async def test(port: int) -> None:
        for path, (name, kind) in files.items():
            status, headers, body = await request(port, path)
            assert (status, headers["content-type"], body) == ("200", kind, name.encode())
        assert (await request(port, "/index.html"))[0] == "404"
        assert (await request(port, "/../test_app.py"))[0] in ("400", "404")
        assert (await request(port, "/", "DELETE"))[0] == "405"
        assert (await request(port, "/ws"))[0] == "426"

    while_served(app, test, pages=pages)


def test_a_page_is_read_once_at_the_start(app: StompApp, tmp_path: Path) -> None:
    file = tmp_path / "index.html"
    file.write_text("old")

    async def test(port: int) -> None:
        file.unlink()
        assert (await request(port, "/"))[2] == b"old"

    while_served(app, test, pages={"/": str(file)})


def test_a_page_that_does_not_exist_is_told_before_anything_listens(app: StompApp) -> None:
    async def test(port: int) -> None:
        pytest.fail("it was served")

    with pytest.raises(FileNotFoundError, match=r"nothing\.html"):
        while_served(app, test, pages={"/": "/nothing.html"})


def test_a_second_serve_while_it_runs_is_wrong_loop(app: StompApp) -> None:
    async def test(port: int) -> None:
        with pytest.raises(WrongLoop, match="runs already"):
            await app.serve(port=free_port())

        def elsewhere() -> None:
            with pytest.raises(WrongLoop, match="runs already"):
                asyncio.run(app.serve(port=free_port(), signals=False))

        await asyncio.to_thread(elsewhere)
        assert (await request(port, "/ws"))[0] == "426"

    while_served(app, test)


def test_it_may_be_served_again_on_another_loop(app: StompApp) -> None:
    async def test(port: int) -> int:
        app.template.send("/topic/a", b"x")
        await request(port, "/")
        return app.counters.connections

    assert [while_served(app, test) for _ in range(3)] == [1, 1, 1]
    assert app.counters.connections == 1
    with pytest.raises(BrokerClosed):
        app.template.send("/topic/a", b"x")


def test_after_a_port_in_use_it_may_be_served_on_another(app: StompApp) -> None:
    async def test(port: int) -> str:
        return (await request(port, "/ws"))[0]

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1:{port}"):
            asyncio.run(app.serve(port=port, signals=False))
    assert while_served(app, test) == "426"


def test_after_its_loop_was_closed_under_it_it_may_be_served_on_another(app: StompApp) -> None:
    async def test(port: int) -> str:
        return (await request(port, "/ws"))[0]

    port = free_port()
    loop = asyncio.new_event_loop()
    serving = loop.run_until_complete(begin(app, port))
    loop.close()
    app.template.send("/topic/a", b"x")
    assert while_served(app, test, port=port) == "426"
    assert app.counters.messages_published == 1
    del serving, loop
    gc.collect()


def test_what_is_left_of_a_closed_loop_does_not_end_the_next_run(app: StompApp) -> None:
    left: list[Any] = []

    def first() -> None:
        loop = asyncio.new_event_loop()
        left.append(loop.run_until_complete(begin(app, free_port())))
        loop.close()

    async def test(port: int) -> str:
        left.clear()
        gc.collect()
        return (await request(port, "/ws"))[0]

    first()
    assert while_served(app, test) == "426"


def test_a_cancelled_serve_closes_in_good_order(app: StompApp) -> None:
    answers: list[bytes] = []

    async def test(port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(
            b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        await reader.readuntil(b"\r\n\r\n")

        async def rest() -> None:
            answers.append(await reader.read())
            writer.close()

        tasks.append(asyncio.create_task(rest()))

    tasks: list[asyncio.Task[None]] = []
    while_served(app, test)
    assert answers
    assert answers[0][2:4] == b"\x03\xf4"


def test_serve_in_a_thread_installs_no_signal_handlers(app: StompApp) -> None:
    port = free_port()
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)

    async def served() -> str:
        serving = asyncio.create_task(app.serve(port=port))
        for _ in range(1_000):
            await asyncio.sleep(0.01)
            if serving.done() or app.counters is not counters:
                break
        answer = (await request(port, "/ws"))[0]
        assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
        serving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await serving
        return answer

    counters = app.counters
    answers: list[str] = []
    thread = threading.Thread(target=lambda: answers.append(asyncio.run(served())))
    thread.start()
    thread.join(30)
    assert answers == ["426"]
    with socket.create_server(("127.0.0.1", port)):
        pass


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ({"port": 99_999}, r"port: must be a number from 0 to 65535, not 99999"),
        ({"port": "http"}, r"port: must be a number from 0 to 65535, not 'http'"),
        ({"port": None}, r"port: must be a number from 0 to 65535, not None"),
        ({"port": -1}, r"port: must be a number"),
        ({"host": 8000}, r"host: must be a name or an address, not 8000: write port=8000"),
        ({"host": None}, r"host: must be a name or an address, not None: write"),
        ({"pages": "static"}, r"pages: must be a mapping of paths to files, not 'static'"),
        ({"pages": [("/", "a")]}, r"pages: must be a mapping of paths to files"),
        ({"pages": {1: "a"}}, r"pages: must be a mapping of paths to files; 1 is no text"),
        ({"pages": {"/": None}}, r"pages: '/' must name a file, not None"),
        (
            {"pages": {"/static": "."}},
            r"pages: '\.' is a folder; name its files one by one, such as '/static/index.html'",
        ),
    ],
)
def test_a_wrong_address_or_page_is_told_where_it_is_written(
    app: StompApp, address: dict[str, Any], says: str
) -> None:
    with pytest.raises(ConfigurationError, match=says):
        asyncio.run(app.serve(**address))
    with pytest.raises(ConfigurationError, match=says):
        app.serve_in_thread(**address)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"limits": {}}, r"limits: write limits=Limits\(max_connections=1_000\), not \{\}"),
        ({"destinations": ["/topic/a"]}, r"destinations: must be a mapping of patterns"),
        ({"client_send": None}, r"client_send: must be a list of texts, not None"),
        ({"client_send": [1]}, r"client_send: must be a list of texts, not \[1\]"),
        ({"heart_beat": (10_000, 10_000)}, r"if that is ms, write \(10\.0, 10\.0\)"),
        ({"heart_beat": 10}, r"heart_beat: must be two times in seconds"),
        ({"heart_beat": ("10", "10")}, r"heart_beat: must be two times in seconds"),
    ],
)
def test_a_wrong_setting_says_what_to_write(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        StompApp("/ws", **settings)


@pytest.mark.parametrize(
    ("host", "hosts", "warns"),
    [
        ("127.0.0.1", None, False),
        ("::1", None, False),
        ("localhost", None, False),
        ("0.0.0.0", None, True),
        ("shop.example", None, True),
        ("0.0.0.0", ["shop.example"], False),
    ],
)
def test_any_host_on_an_open_address_is_warned_of(
    caplog: pytest.LogCaptureFixture, host: str, hosts: list[str] | None, warns: bool
) -> None:
    StompApp("/ws", allowed_hosts=hosts).listen(host)
    assert [each for each in caplog.messages if "allowed_hosts" in each] == (
        [caplog.messages[0]] if warns else []
    )

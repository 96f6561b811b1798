"""The server: listening and accepting."""

from __future__ import annotations

import asyncio
import errno
import socket
import struct
from typing import Any

import pytest
from carriers.client import CLOSE, connect_frame, http_request, ws_frame
from carriers.line import Line, run, serving

from stocksync_ws import DisconnectReason, Limits, SessionDisconnected, StompApp, WrongLoop
from stocksync_ws.aio import server as server_module
from stocksync_ws.aio.address import Address
from stocksync_ws.aio.server import Server
from stocksync_ws.running.run import Run
from stocksync_ws.types import HttpRequest

PATIENCE = 10.0


@pytest.fixture
def app() -> StompApp:
    return StompApp("/ws", limits=Limits(close_timeout=0.2, shutdown_timeout=0.4))


# Listening


def test_a_port_in_use_is_named(app: StompApp) -> None:
    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1:{port}") as raised:
                await Server(Run(app), app.site(), Address("127.0.0.1", port)).start()
            assert raised.value.errno == errno.EADDRINUSE

    run(main())


def test_a_host_that_does_not_exist_is_named(app: StompApp) -> None:
    async def main() -> None:
        server = Server(Run(app), app.site(), Address("host.invalid", 0))
        with pytest.raises(OSError, match=r"cannot listen on host\.invalid:0"):
            await server.start()
        assert list(server.ports) == []

    run(main())


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6")
def test_it_listens_on_ipv6(app: StompApp) -> None:
    async def main() -> None:
        async with Server(Run(app), app.site(), Address("::1", 0)) as server:
            reader, writer = await asyncio.open_connection("::1", server.ports[0])
            writer.write(http_request())
            assert (await reader.readline()).startswith(b"HTTP/1.1 404")
            writer.close()

    run(main())


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6")
def test_of_one_port_ipv4_is_left_to_a_listener_of_its_own(app: StompApp) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        [six] = await Address("::", 0).listen(loop)
        port = six.sock.getsockname()[1]
        [four] = await Address("0.0.0.0", port).listen(loop)
        six.close()
        four.close()

    run(main())


def test_a_port_is_free_at_once_whose_connections_the_server_has_ended(app: StompApp) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        [listener] = await Address("127.0.0.1", 0).listen(loop)
        address = listener.sock.getsockname()
        with socket.create_connection(address) as peer:
            listener.sock.setblocking(True)
            accepted, _ = listener.sock.accept()
            accepted.close()
            assert peer.recv(1) == b""
        listener.close()
        [again] = await Address(*address).listen(loop)
        again.close()

    run(main())


def test_a_port_in_use_costs_no_message_and_no_run(app: StompApp) -> None:
    slot = Run(app)

    async def main() -> None:
        app.template.send("/topic/a", b"posted before")
        with socket.create_server(("127.0.0.1", 0)) as taken:
            server = Server(slot, app.site(), Address("127.0.0.1", taken.getsockname()[1]))
            with pytest.raises(OSError, match="cannot listen"):
                await server.start()
        assert slot.runtime is None
        async with Server(slot, app.site(), Address("127.0.0.1", 0)):
            assert slot.counters.messages_published == 1

    run(main())


def test_a_second_server_of_a_run_is_refused_and_leaves_the_first_alone(app: StompApp) -> None:
    slot = Run(app)

    async def main() -> None:
        async with Server(slot, app.site(), Address("127.0.0.1", 0)) as first:
            second = Server(slot, app.site(), Address("127.0.0.1", 0))
            with pytest.raises(WrongLoop, match="runs already"):
                await second.start()
            assert list(second.ports) == []
            line = await Line.connected(first)
            line.writer.close()

    run(main())


# Accepting


def test_out_of_descriptors_is_said_once_and_tried_again(
    app: StompApp, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(server_module, "RETRY", 0.01)
    real = socket.socket.accept
    failures = 2

    def accept(listener: socket.socket) -> Any:
        nonlocal failures
        if failures:
            failures -= 1
            raise OSError(errno.EMFILE, "Too many open files")
        return real(listener)

    monkeypatch.setattr(socket.socket, "accept", accept)

    async def main() -> None:
        async with serving(app) as server:
            line = await Line.open(server, http_request())
            assert (await line.reader.readline()).startswith(b"HTTP/1.1 404")
            line.writer.close()

    run(main())
    assert failures == 0
    lines = [each for each in caplog.messages if "cannot accept" in each]
    assert lines == ["cannot accept connections: Too many open files; trying again every second"]


def test_out_of_descriptors_is_said_again_when_it_goes_on(
    app: StompApp, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(server_module, "RETRY", 0.001)
    monkeypatch.setattr(server_module, "SAY_EVERY", 0.02)
    real = socket.socket.accept

    def accept(listener: socket.socket) -> Any:
        if sum("cannot accept" in each for each in caplog.messages) < 3:
            raise OSError(errno.EMFILE, "Too many open files")
        return real(listener)

    monkeypatch.setattr(socket.socket, "accept", accept)

    async def main() -> None:
        async with serving(app) as server:
            line = await Line.open(server, http_request())
            assert (await line.reader.readline()).startswith(b"HTTP/1.1 404")
            line.writer.close()

    run(main())


def test_out_of_descriptors_the_loop_does_not_spin(
    app: StompApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = asyncio.Event()
    attempts = 0

    def accept(listener: socket.socket) -> Any:
        nonlocal attempts
        attempts += 1
        tried.set()
        raise OSError(errno.EMFILE, "Too many open files")

    async def main() -> None:
        async with serving(app) as server:
            monkeypatch.setattr(socket.socket, "accept", accept)
            line = await Line.open(server)
            await tried.wait()
            for _ in range(50):
                await asyncio.sleep(0)
            line.writer.close()

    run(main())
    assert attempts == 1


def test_a_listener_that_was_closed_meanwhile_is_not_tried_again(
    app: StompApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = asyncio.Event()
    again: list[Any] = []

    def accept(listener: socket.socket) -> Any:
        tried.set()
        raise OSError(errno.ENFILE, "Too many open files in system")

    async def main() -> None:
        loop = asyncio.get_running_loop()
        monkeypatch.setattr(socket.socket, "accept", accept)
        async with serving(app) as server:
            monkeypatch.setattr(loop, "call_later", lambda _, resume: again.append(resume))
            line = await Line.open(server)
            await tried.wait()
            monkeypatch.undo()
        again[0]()
        line.writer.close()

    run(main())


def test_over_the_cap_the_answer_is_503(monkeypatch: pytest.MonkeyPatch) -> None:
    app = StompApp("/ws", limits=Limits(max_connections=1, close_timeout=0.2))

    async def main() -> None:
        async with serving(app) as server:
            first = await Line.connected(server)
            second = await Line.open(server)
            assert (await second.ended()).startswith(b"HTTP/1.1 503 ")
            first.writer.write(ws_frame(CLOSE, b"\x03\xe8"))
            await first.ended()
            await first.writer.wait_closed()
            assert server._runtime.broker.counters.connections_refused == 1
            while True:
                third = await Line.open(server, http_request())
                if (await third.reader.readline()).startswith(b"HTTP/1.1 404"):
                    third.writer.close()
                    return
                third.writer.close()

    run(main())


def test_another_error_of_accept_is_not_swallowed(
    app: StompApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    raised = asyncio.Event()

    def accept(listener: socket.socket) -> Any:
        raise OSError(errno.EINVAL, "bug")

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda *_: raised.set())
        async with serving(app) as server:
            monkeypatch.setattr(socket.socket, "accept", accept)
            line = await Line.open(server)
            await raised.wait()
            monkeypatch.undo()
        line.writer.close()

    run(main())


# Connections whose first request somebody else has read


def head(target: str = "/ws", **headers: str) -> HttpRequest:
    fields = {
        "host": "localhost",
        "upgrade": "websocket",
        "connection": "Upgrade",
        "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
        "sec-websocket-version": "13",
        "sec-websocket-protocol": "v12.stomp",
    }
    return HttpRequest("GET", target, tuple((fields | headers).items()), "1.1", "9.9.9.9:9", False)


async def adopted(server: Server, request: HttpRequest) -> Line:
    theirs, ours = socket.socketpair()
    line = Line()
    line.reader, line.writer = await asyncio.open_connection(sock=theirs)
    server.adopt(ours, request)
    return line


def test_an_adopted_connection_goes_on_behind_its_head(app: StompApp) -> None:
    async def main() -> None:
        async with serving(app) as server:
            line = await adopted(server, head())
            line.writer.write(connect_frame())
            assert (await line.reader.readline()).startswith(b"HTTP/1.1 101")
            await line.reader.readuntil(b"CONNECTED")
            line.writer.close()

    run(main())


def test_an_adopted_request_that_is_no_upgrade_is_answered_and_nothing_behind_it(
    app: StompApp,
) -> None:
    """Whoever handed it over may have read more than it."""

    async def main() -> None:
        async with serving(app) as server:
            line = await adopted(server, HttpRequest("GET", "/x", (("host", "a"),), "1.1", None))
            line.writer.write(http_request("GET", "/ws"))
            answer = await line.ended()
            assert answer.startswith(b"HTTP/1.1 404")
            assert answer.count(b"HTTP/1.1") == 1
            assert b"\r\nConnection: close\r\n" in answer
            line.writer.close()

    run(main())


def test_a_session_whose_opening_cannot_be_written_ends_at_once() -> None:
    app = StompApp("/ws", sockjs=True)

    async def main() -> None:
        async with serving(app) as server:
            theirs, ours = socket.socketpair()
            theirs.close()
            server.adopt(ours, HttpRequest("POST", "/ws/0/s/xhr", (("host", "localhost"),)))
            assert app._sockjs is not None
            wire = app._sockjs.sessions.find("s")
            assert (wire is None, wire and wire.over) == (False, False)
            await asyncio.sleep(0)
            assert wire is not None
            assert wire.over

    run(main())


def test_over_the_cap_and_while_it_stops_an_adopted_connection_is_503() -> None:
    app = StompApp("/ws", limits=Limits(max_connections=1, close_timeout=0.2))

    async def main() -> None:
        async with serving(app) as server:
            first = await adopted(server, head())
            assert (await (await adopted(server, head())).ended()).startswith(b"HTTP/1.1 503")
            first.writer.close()
        assert (await (await adopted(server, head())).ended()).startswith(b"HTTP/1.1 503")

    run(main())


def test_while_it_stops_a_client_that_polls_is_told_and_nobody_else_is_served() -> None:
    app = StompApp("/ws", sockjs=True)
    host = (("host", "a"),)

    async def main() -> None:
        async with serving(app) as server:
            poll = HttpRequest("POST", "/ws/0/s/xhr", host)
            assert (await (await adopted(server, poll)).ended()).endswith(b"\r\n\r\no\n")
            stopping = asyncio.create_task(server.stop())
            await asyncio.sleep(0)
            assert not server.refuses
            for target in ("/ws/0/other/xhr", "/ws/info"):
                other = await adopted(server, HttpRequest("POST", target, host))
                assert (await other.ended()).startswith(b"HTTP/1.1 503")
            assert b"\r\n\r\nc[1012," in await (await adopted(server, poll)).ended()
            await stopping
            assert server.refuses

    run(main())


def test_what_comes_out_of_a_dead_end_is_dropped_until_it_ends(app: StompApp) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with serving(app) as server:
            theirs, ours = socket.socketpair()
            theirs.setblocking(False)
            server.swallow(ours)
            await loop.sock_sendall(theirs, bytes(2_000_000))
            theirs.shutdown(socket.SHUT_WR)
            assert await loop.sock_recv(theirs, 10) == b""
            theirs.close()
            assert (ours.fileno(), server._swallowing) == (-1, set())

    run(main())


# A stop that hurries


@pytest.mark.parametrize("begun", [True, False])
def test_a_stop_that_hurries_tells_listeners_although_no_client_answers(
    begun: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    aborted: list[bool] = []
    app = StompApp("/ws", limits=Limits(close_timeout=60, shutdown_timeout=90))
    ends: list[DisconnectReason] = []

    @app.event_listener(SessionDisconnected)
    async def listen(event: SessionDisconnected) -> None:
        await asyncio.sleep(0)
        ends.append(event.reason)

    async def main() -> None:
        server = Server(Run(app), app.site(), Address("127.0.0.1", 0))
        await server.start()
        monkeypatch.setattr(server, "abort", lambda: aborted.append(True))
        lines = [await Line.connected(server) for _ in range(3)]
        if begun:
            stopping = asyncio.create_task(server.stop())
            await asyncio.sleep(0)
            server.hurry(0.4)
            await stopping
        else:
            server.hurry(0.4)
            await server.stop()
        for line in lines:
            line.writer.close()

    run(main())
    assert ends == [DisconnectReason.SERVER_SHUTDOWN] * 3
    assert aborted == []  # Not cut off: connections were reset in time for listeners to hear.


def test_in_a_hurry_clients_are_told_before_they_are_cut_off() -> None:
    app = StompApp("/ws", limits=Limits(close_timeout=60, shutdown_timeout=90))

    async def main() -> None:
        server = Server(Run(app), app.site(), Address("127.0.0.1", 0))
        await server.start()
        line = await Line.connected(server)
        server.hurry(1.0)
        opcode, _, code = struct.unpack("!BBH", await line.reader.readexactly(4))
        assert (opcode & 0x0F, code) == (CLOSE, 1001)
        server.abort()
        line.writer.close()

    run(main())


def test_a_listener_that_does_not_end_is_not_waited_for() -> None:
    app = StompApp("/ws", limits=Limits(close_timeout=60, shutdown_timeout=90))

    @app.event_listener(SessionDisconnected)
    async def listen(event: SessionDisconnected) -> None:
        await asyncio.Event().wait()

    async def main() -> None:
        server = Server(Run(app), app.site(), Address("127.0.0.1", 0))
        await server.start()
        line = await Line.connected(server)
        server.hurry(0.2)
        await server.stop()
        line.writer.close()

    run(main())


# Other loops


def test_it_serves_on_uvloop(app: StompApp) -> None:
    uvloop = pytest.importorskip("uvloop")

    async def main() -> None:
        async with serving(app) as server:
            line = await Line.connected(server)
            line.writer.close()
            adopted_line = await adopted(server, head())
            assert (await adopted_line.reader.readline()).startswith(b"HTTP/1.1 101")
            adopted_line.writer.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(asyncio.wait_for(main(), PATIENCE))

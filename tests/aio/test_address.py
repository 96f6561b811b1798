"""Addresses: Unix sockets, given sockets, shared ports, and what is left of them at the end."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from carriers.client import connect_frame, http_request, upgrade
from carriers.line import run

from stocksync_ws import ConnectRequest, Limits, StompApp
from stocksync_ws.aio.address import Address
from stocksync_ws.aio.server import Server
from stocksync_ws.running.run import Run

PATIENCE = 10.0


@pytest.fixture
def app() -> StompApp:
    return StompApp("/ws", limits=Limits(close_timeout=0.2, shutdown_timeout=0.4))


def server(app: StompApp, address: Address) -> Server:
    return Server(Run(app), app.site(), address)


async def answer(path: str | os.PathLike[str]) -> bytes:
    """The first line that a server on a Unix socket answers."""
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(http_request())
    line = await reader.readline()
    writer.close()
    return line


# Unix sockets


def test_it_listens_on_a_unix_socket_and_takes_its_file_away(app: StompApp, tmp_path: Path) -> None:
    path = tmp_path / "sock"

    async def main() -> None:
        async with server(app, Address(unix=path)) as ours:
            assert (await answer(path)).startswith(b"HTTP/1.1 404")
            assert list(ours.ports) == []
        assert not path.exists()

    run(main())


def test_who_comes_by_a_unix_socket_has_no_address(tmp_path: Path) -> None:
    asked: list[ConnectRequest] = []

    def ask(request: ConnectRequest) -> None:
        asked.append(request)

    app = StompApp("/ws", authenticator=ask, limits=Limits(close_timeout=0.2))
    path = tmp_path / "sock"

    async def main() -> None:
        async with server(app, Address(unix=path)):
            reader, writer = await asyncio.open_unix_connection(path)
            writer.write(upgrade() + connect_frame())
            await reader.readuntil(b"CONNECTED")
            writer.close()

    run(main())
    assert [(each.peer, each.request.peer) for each in asked] == [(None, None)]


def test_the_file_of_a_server_that_has_died_is_replaced(app: StompApp, tmp_path: Path) -> None:
    path = tmp_path / "sock"
    with socket.socket(socket.AF_UNIX) as died:
        died.bind(str(path))
        died.listen()

    async def main() -> None:
        async with server(app, Address(unix=path)):
            assert (await answer(path)).startswith(b"HTTP/1.1 404")

    run(main())


@pytest.mark.parametrize("full", [False, True])
def test_a_unix_socket_in_use_is_refused_and_left_alone(
    app: StompApp, tmp_path: Path, full: bool
) -> None:
    path = tmp_path / "sock"
    with socket.socket(socket.AF_UNIX) as used, socket.socket(socket.AF_UNIX) as waiting:
        used.bind(str(path))
        used.listen(0)
        if full:
            waiting.connect(str(path))

        says = f"cannot listen on {path}: Address already in use; .* another path$"

        async def main() -> None:
            with pytest.raises(OSError, match=says):
                await server(app, Address(unix=path)).start()

        run(main())
        assert path.is_socket()


def test_a_file_that_is_no_socket_is_never_removed(app: StompApp, tmp_path: Path) -> None:
    path = tmp_path / "sock"
    path.write_text("precious")

    async def main() -> None:
        with pytest.raises(OSError, match="cannot listen on"):
            await server(app, Address(unix=path)).start()

    run(main())
    assert path.read_text() == "precious"


def test_a_folder_that_is_not_there_is_named(app: StompApp, tmp_path: Path) -> None:
    path = tmp_path / "nowhere" / "sock"

    async def main() -> None:
        with pytest.raises(OSError, match=f"cannot listen on {path}: No such file"):
            await server(app, Address(unix=path)).start()

    run(main())


def test_a_port_that_needs_rights_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(found: object, *, reuse_port: bool) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("stocksync_ws.aio.address._listen", refuse)

    async def listen() -> None:
        await Address(port=80).listen(asyncio.get_running_loop())

    says = "cannot listen on 127.0.0.1:80: Permission denied; this user may not: give another port"
    with pytest.raises(PermissionError, match=f"{says}, 0 for any free one, or one above 1023$"):
        asyncio.run(listen())


def test_a_file_that_somebody_else_has_put_there_is_left_alone(
    app: StompApp, tmp_path: Path
) -> None:
    path = tmp_path / "sock"

    async def main() -> None:
        async with server(app, Address(unix=path)):
            path.rename(tmp_path / "ours")
            with socket.socket(socket.AF_UNIX) as theirs:
                theirs.bind(str(path))

    run(main())
    assert path.is_socket()


def test_a_file_that_is_gone_already_disturbs_nobody(app: StompApp, tmp_path: Path) -> None:
    path = tmp_path / "sock"

    async def main() -> None:
        async with server(app, Address(unix=path)):
            path.unlink()

    run(main())


# Given sockets


def test_a_given_socket_is_listened_on_and_closed_with_the_server(app: StompApp) -> None:
    given = socket.socket()
    given.bind(("127.0.0.1", 0))
    port = given.getsockname()[1]

    async def main() -> None:
        address = Address("ignored.invalid", 1, sock=given)
        async with server(app, address) as ours:
            assert list(ours.ports) == [port]
            assert str(address) == f"('127.0.0.1', {port})"
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(http_request())
            assert (await reader.readline()).startswith(b"HTTP/1.1 404")
            writer.close()
        assert given.fileno() == -1

    run(main())


def test_the_file_of_a_given_unix_socket_is_left_alone(app: StompApp, tmp_path: Path) -> None:
    path = tmp_path / "sock"
    given = socket.socket(socket.AF_UNIX)
    given.bind(str(path))

    async def main() -> None:
        async with server(app, Address(sock=given)) as ours:
            assert (await answer(path)).startswith(b"HTTP/1.1 404")
            assert list(ours.ports) == []

    run(main())
    assert path.is_socket()


def test_a_given_socket_that_cannot_listen_is_named(app: StompApp) -> None:
    async def main() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as given:
            given.bind(("127.0.0.1", 0))
            with pytest.raises(OSError, match=r"cannot listen on \('127.0.0.1', "):
                await server(app, Address(sock=given)).start()

    run(main())


# Ports that are shared


SHARE = """
import asyncio, sys
from stocksync_ws import StompApp
from stocksync_ws.aio.address import Address
from stocksync_ws.aio.server import Server
from stocksync_ws.running.run import Run

async def main():
    app = StompApp("/ws")
    address = Address("127.0.0.1", int(sys.argv[1]), reuse_port=sys.argv[2] == "shared")
    server = Server(Run(app), app.site(), address)
    try:
        await server.start()
    except OSError:
        print("refused", flush=True)
        return
    print("serving", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await server.stop()

asyncio.run(main())
"""


@pytest.mark.skipif(not hasattr(socket, "SO_REUSEPORT"), reason="no SO_REUSEPORT")
@pytest.mark.parametrize(("how", "second"), [("shared", "serving"), ("alone", "refused")])
def test_two_processes_share_a_port_if_both_say_so(how: str, second: str) -> None:
    with socket.socket() as reserved:
        # Bound and never listening: no other test gets the port, and no client comes here.
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reserved.bind(("127.0.0.1", 0))
        port = reserved.getsockname()[1]
        if how == "alone":
            reserved.close()
        command = [sys.executable, "-c", SHARE, str(port), how]
        processes: list[subprocess.Popen[str]] = []
        try:
            for expected in ("serving", second):
                processes.append(
                    subprocess.Popen(
                        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
                    )
                )
                stdout = processes[-1].stdout
                assert stdout is not None
                assert stdout.readline().strip() == expected
        finally:
            for process in processes:
                process.communicate(timeout=PATIENCE)
        assert [process.returncode for process in processes] == [0, 0]

"""Several workers behind one address: noticed by a name that one process holds at a time."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from stocksync_ws.running.siblings import (
    PATIENCE,
    Claim,
    FileName,
    Name,
    SocketName,
    claim_of,
)
from stocksync_ws.testing.clock import VirtualLoop

ROOT = Path(__file__).parents[2]
linux = pytest.mark.skipif(sys.platform != "linux", reason="abstract sockets are Linux's")
HOLD = """
import sys
from pathlib import Path
from stocksync_ws.running.siblings import FileName, SocketName
kind, text, folder = sys.argv[1:]
name = SocketName(text) if kind == "socket" else FileName(text, Path(folder))
print(name.take(), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def loop() -> Iterator[VirtualLoop]:
    loop = VirtualLoop()
    yield loop
    loop.close()


@pytest.fixture(params=[pytest.param("socket", marks=linux), "file"])
def kind(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture
def text(tmp_path: Path) -> str:
    """What is claimed; no other test claims it."""
    return f"{os.getpid()}{tmp_path}"


@pytest.fixture
def made(kind: str, text: str, tmp_path: Path) -> Iterator[Callable[[], Name]]:
    """Makes names of the same text."""
    names: list[Name] = []

    def make() -> Name:
        names.append(SocketName(text) if kind == "socket" else FileName(text, tmp_path))
        return names[-1]

    yield make
    for name in names:
        name.free()


@pytest.fixture
def other(kind: str, text: str, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the name; it ends with its input."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, kind, text, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "True\n"
        yield process
        end(process)


def end(process: subprocess.Popen[str]) -> None:
    process.communicate()
    assert process.returncode == 0


# Names


def test_one_holds_a_name_at_a_time(made: Callable[[], Name]) -> None:
    first, second = made(), made()
    assert first.take()
    assert not second.take()
    assert second.holder() == os.getpid()
    first.free()
    assert second.take()
    assert not first.take()
    second.free()
    second.free()


def test_other_names_are_free(text: str, tmp_path: Path, made: Callable[[], Name]) -> None:
    assert made().take()
    others: list[Name] = [FileName(text + "x", tmp_path)]
    if sys.platform == "linux":
        others.append(SocketName(text + "x"))
    for name in others:
        assert name.take()
        name.free()


def test_nobody_holds_a_name_that_is_free(made: Callable[[], Name]) -> None:
    assert made().holder() is None


def test_a_name_is_free_when_its_process_has_ended(
    made: Callable[[], Name], other: subprocess.Popen[str]
) -> None:
    name = made()
    assert not name.take()
    assert name.holder() == other.pid
    end(other)
    assert name.take()


def test_without_such_sockets_nothing_is_noticed(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def bind(self: object, address: object) -> None:
        raise PermissionError

    monkeypatch.setattr(socket, "socket", type("Closed", (socket.socket,), {"bind": bind}))
    name = SocketName(text)
    assert name.take()
    name.free()


def test_without_a_folder_nothing_is_noticed(text: str, tmp_path: Path) -> None:
    name = FileName(text, tmp_path / "missing")
    assert name.take()
    assert name.holder() is None
    name.free()


def test_a_system_without_locks_notices_nothing(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "fcntl", None)
    one, two = FileName(text, tmp_path), FileName(text, tmp_path)
    assert (one.take(), two.take()) == (True, True)
    assert list(tmp_path.iterdir()) == []


def test_a_file_system_without_locks_notices_nothing(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import errno
    import fcntl

    def flock(file: object, how: int) -> None:
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr(fcntl, "flock", flock)
    assert FileName(text, tmp_path).take()


def test_a_lock_file_is_ours_and_no_link_to_somewhere_else(text: str, tmp_path: Path) -> None:
    name = FileName(text, tmp_path)
    assert name.take()
    name.free()
    [file] = tmp_path.iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    file.unlink()
    precious = tmp_path / "precious"
    precious.write_text("something")
    file.symlink_to(precious)
    assert FileName(text, tmp_path).take()
    assert precious.read_text() == "something"


def test_a_lock_file_that_says_nothing_has_no_holder(text: str, tmp_path: Path) -> None:
    name = FileName(text, tmp_path)
    assert name.take()
    name._path.write_text("")
    assert name.holder() is None
    name.free()


@linux
def test_a_name_that_another_user_holds_is_nobodys(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every user of the machine can take any name."""
    first, second = SocketName(text), SocketName(text)
    assert first.take()
    assert not second.take()
    uid = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: uid + 1)
    assert second.take()
    # One that cannot be asked may still be one of ours.
    monkeypatch.setattr(SocketName, "_credentials", lambda self: None)
    assert not second.take()
    for name in (first, second):
        name.free()


# Claims


def test_the_warning_names_both_processes_and_waits_for_a_predecessor(
    loop: VirtualLoop,
    made: Callable[[], Name],
    other: subprocess.Popen[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    claim = Claim(loop, made(), "10.0.0.1:8000/ws")
    claim.make()
    loop.advance(PATIENCE - 0.1)
    assert (claim.sibling, caplog.text) == (False, "")
    loop.advance(0.2)
    assert claim.sibling
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    message = record.getMessage()
    assert "several workers serve 10.0.0.1:8000/ws" in message
    assert f"this is process {os.getpid()}, and process {other.pid} does so too" in message
    loop.advance(10 * PATIENCE)
    assert len(caplog.records) == 1
    claim.end()


def test_a_predecessor_that_frees_the_name_in_time_is_silent(
    loop: VirtualLoop,
    made: Callable[[], Name],
    other: subprocess.Popen[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    name = made()
    claim = Claim(loop, name, "a/ws")
    claim.make()
    loop.advance(PATIENCE / 2)
    end(other)
    loop.advance(PATIENCE)
    assert (claim.sibling, caplog.text) == (False, "")
    assert not made().take()
    claim.end()
    assert made().take()


class Script:
    """A name that is taken as it is told, by whom it is told."""

    def __init__(self, *taken: bool, holder: int | None = 1) -> None:
        self._taken = list(taken)
        self._holder = holder
        self.asked = 0
        self.freed = 0

    def take(self) -> bool:
        self.asked += 1
        return not self._taken.pop(0) if self._taken else True

    def holder(self) -> int | None:
        return self._holder

    def free(self) -> None:
        self.freed += 1


def test_a_sibling_that_ends_later_is_none_any_more(
    loop: VirtualLoop, caplog: pytest.LogCaptureFixture
) -> None:
    name = Script(True, True, True)
    claim = Claim(loop, name, "a/ws")
    claim.make()
    loop.advance(2 * PATIENCE + 1)
    assert claim.sibling
    loop.advance(PATIENCE)
    assert not claim.sibling
    assert name.asked == 4
    loop.advance(10 * PATIENCE)
    assert name.asked == 4
    assert len(caplog.records) == 1


def test_a_process_is_no_sibling_of_itself(
    loop: VirtualLoop, caplog: pytest.LogCaptureFixture
) -> None:
    claim = Claim(loop, Script(True, True, True, holder=os.getpid()), "a/ws")
    claim.make()
    loop.advance(PATIENCE + 1)
    assert (claim.sibling, caplog.text) == (False, "")
    claim.end()


def test_a_holder_that_cannot_be_told_is_another_process(
    loop: VirtualLoop, caplog: pytest.LogCaptureFixture
) -> None:
    claim = Claim(loop, Script(True, True, holder=None), "a/ws")
    claim.make()
    loop.advance(PATIENCE + 1)
    assert f"this is process {os.getpid()}, and another process does so too" in caplog.text


def test_an_end_asks_no_more_and_frees_the_name(
    loop: VirtualLoop, caplog: pytest.LogCaptureFixture
) -> None:
    name = Script(True, True, True)
    claim = Claim(loop, name, "a/ws")
    claim.make()
    claim.end()
    loop.advance(2 * PATIENCE)
    assert (name.asked, name.freed, caplog.text) == (1, 1, "")


def test_an_end_on_a_closed_loop_frees_the_name() -> None:
    loop = VirtualLoop()
    name = Script(True)
    claim = Claim(loop, name, "a/ws")
    claim.make()
    loop.close()
    claim.end()
    assert name.freed == 1


# Addresses


@pytest.mark.parametrize("server", [None, (), ("testserver", 80), ("testserver", None)])
def test_where_there_is_no_address_nothing_is_claimed(loop: VirtualLoop, server: Any) -> None:
    """TestClient's "testserver" among them: test runners have many processes."""
    assert claim_of(loop, server, "/ws") is None


@pytest.mark.parametrize(
    ("server", "what"),
    [(("10.0.0.1", 8000), "10.0.0.1:8000/ws"), (("/run/app.sock", None), "/run/app.sock/ws")],
)
def test_a_claim_says_what_is_claimed(loop: VirtualLoop, server: Any, what: str) -> None:
    claim = claim_of(loop, server, "/ws")
    assert claim is not None
    assert claim._what == what


def test_workers_whose_first_clients_came_to_different_addresses_of_a_port_meet(
    loop: VirtualLoop, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(sys, "platform", "darwin")  # Files in a folder of our own.
    servers = [("127.0.0.1", 8000), ("::1", 8000), ("10.0.0.5", 8000), ("127.0.0.1", 8001)]
    claims = [claim_of(loop, server, "/ws") for server in servers]
    names = [claim._name for claim in claims if claim is not None]
    assert [name.take() for name in names] == [True, False, False, True]
    for name in names:
        name.free()


@pytest.mark.parametrize("platform", [pytest.param("linux", marks=linux), "darwin"])
def test_each_platform_has_its_kind_of_name(
    loop: VirtualLoop, platform: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    server = (f"{tmp_path}", None)
    claims = [claim_of(loop, server, path) for path in ("/ws", "/ws", "/other")]
    first, second, third = (claim._name for claim in claims if claim is not None)
    assert type(first) is (SocketName if platform == "linux" else FileName)
    assert (first.take(), second.take(), third.take()) == (True, False, True)
    for name in (first, third):
        name.free()

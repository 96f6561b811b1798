"""The inventory example as a process: what a signal and a port in use do."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from carriers.client import CLOSE, connect_frame, upgrade, ws_frame

ROOT = Path(__file__).parents[2]
PATIENCE = 10.0


class Example:
    """The inventory example on a free port."""

    def __init__(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.process = self.start()

    def start(self) -> subprocess.Popen[str]:
        script = str(ROOT / "examples" / "inventory" / "app.py")
        command = [sys.executable, script, "--port", str(self.port)]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)

    def wait_for(self, text: str) -> str:
        """The lines up to one that holds this text."""
        assert self.process.stderr is not None
        lines = ""
        for line in self.process.stderr:
            lines += line
            if text in line:
                return lines
        pytest.fail(f"{text!r} did not come: {lines}")

    def connect(self) -> socket.socket:
        client = socket.create_connection(("127.0.0.1", self.port), PATIENCE)
        client.sendall(upgrade("/inventory-ws") + connect_frame())
        data = b""
        while b"CONNECTED" not in data:
            data += client.recv(65_536)
        return client


@pytest.fixture
def example() -> Iterator[Example]:
    example = Example()
    watchdog = threading.Timer(PATIENCE, example.process.kill)
    watchdog.start()
    try:
        example.wait_for("listening on")
        yield example
    finally:
        watchdog.cancel()
        example.process.kill()
        example.process.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_drains_and_exits_with_0(example: Example, number: signal.Signals) -> None:
    with example.connect() as client:
        example.wait_for("client connected")
        example.process.send_signal(number)
        lines = example.wait_for("stopping: closing 1 connections")
        data = client.recv(65_536)
        assert b"\x03\xf4server restarts" in data
        client.sendall(ws_frame(CLOSE, b"\x03\xf4"))
    rest = example.process.communicate(timeout=PATIENCE)[1]
    assert example.process.returncode == 0
    assert "Traceback" not in lines + rest


def test_a_second_signal_ends_at_once(example: Example) -> None:
    with example.connect() as client:
        example.wait_for("client connected")
        example.process.send_signal(signal.SIGINT)
        example.wait_for("client disconnected")
        assert b"server restarts" in client.recv(65_536)
        example.process.send_signal(signal.SIGINT)
        # Our Close was never answered: the first signal alone would wait for the close timeout.
        rest = example.process.communicate(timeout=4)[1]
    assert example.process.returncode == 0
    assert "Traceback" not in rest


def test_a_port_in_use_is_one_line_and_exit_code_1(example: Example) -> None:
    second = example.start()
    lines = second.communicate(timeout=PATIENCE)[1].splitlines()
    assert second.returncode == 1
    assert [line for line in lines if "cannot listen" in line] == [lines[-1]]
    assert f"127.0.0.1:{example.port}" in lines[-1]
    assert "Traceback" not in "".join(lines)

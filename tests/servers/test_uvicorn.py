"""What uvicorn alone has: --reload, and running without a WebSocket library."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

from carriers.client import Client
from carriers.stage import until
from launcher import launch
from stage import ADAPTERS, HERE, open_pipe


def test_a_reload_starts_and_stops_each_process_once(tmp_path: Path) -> None:
    module = tmp_path / "reloaded.py"
    module.write_text("from application import app\n")
    server = launch(
        "uvicorn-sansio",
        "reloaded:app",
        tmp_path / "log",
        extra=("--reload", "--reload-dir", str(tmp_path)),
        environment={"SHOP": json.dumps({"patience": 1.0})},
        folders=(tmp_path, HERE, ADAPTERS),
    )
    with server:
        client = Client(open_pipe(server)).connect()
        first = int(server.ask("/process")["pid"])
        module.write_text("from application import app  # changed\n")
        os.utime(module, (2_000_000_000, 2_000_000_000))
        assert client.closed() == 1012
        client.pipe.close()
        until(lambda: f"STOPPED {first}" in server.log, "the end of the first process", 20)
        until(lambda: server.log.count("STARTED") == 2, "the second process", 20)
        second = Client(open_pipe(server)).connect()
        second.pipe.close()
    assert re.findall(r"^END (\w+)", server.log, re.MULTILINE)[0] == "server_shutdown"
    started, stopped = (
        re.findall(rf"^{word} (\d+)$", server.log, re.MULTILINE) for word in ("STARTED", "STOPPED")
    )
    assert started == stopped
    assert len(set(started)) == 2
    assert "several workers" not in server.log


def test_without_a_websocket_library_the_way_out_is_told(tmp_path: Path) -> None:
    server = launch(
        "uvicorn-sansio",
        "application:app",
        tmp_path / "log",
        folders=(HERE, ADAPTERS),
        program=HERE / "uvicorn_without_library.py",
    )
    with server:
        client = Client(open_pipe(server))
        client.ask_upgrade()
        status, _, body = client.response()
        assert status == 501
        assert body == b"The server in front of this application passes no WebSocket on.\n"
        assert "pip install websockets" in server.log
        client.pipe.close()

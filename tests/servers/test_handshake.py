"""Who an upgrade is behind the session middleware of a host: files of the page, over uvicorn."""

from __future__ import annotations

import socket
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any

import pytest
from wsproto.events import AcceptConnection, RejectConnection

from tests.servers.test_embedding import CONNECT, Client, _free_port, process, write

PATIENCE = 10


@contextmanager
def upgraded(port: int, *headers: Any) -> Iterator[Client]:
    host = f"127.0.0.1:{port}"
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as connection:
        yield Client(connection, "/inventory-ws", host, *headers)


def logged_in(port: int, name: str) -> tuple[bytes, bytes]:
    """The cookie that the login route gives."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}/login/{name}", method="POST")
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        cookies = SimpleCookie(answer.headers["set-cookie"])
    return b"cookie", "; ".join(f"{k}={v.value}" for k, v in cookies.items()).encode()


def test_the_session_of_the_host_says_who_it_is(tmp_path: Path) -> None:
    pytest.importorskip("uvicorn")
    write("fastapi", tmp_path)
    port = _free_port()
    command = (sys.executable, "-m", "uvicorn", "users:app", "--port", str(port))
    with process(tmp_path, port, *command):
        with upgraded(port, logged_in(port, "alice")) as client:
            assert isinstance(client.answer, AcceptConnection)
            client.send(CONNECT)
            assert "\nuser-name:alice\n" in client.frame()
        with upgraded(port) as client:
            assert isinstance(client.answer, RejectConnection)
            assert client.answer.status_code == 401

"""Runs where only the wheel is installed: what is imported is that; it serves, and ends. With
`--compiled` it has to be a compiled one.

Rule: nothing of the tree is imported; a client of a dozen lines is enough.
"""

from __future__ import annotations

import socket
import sys
from importlib.metadata import entry_points
from pathlib import Path

import stocksync_ws
from stocksync_ws import StompApp

GET = b"GET /ws HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


def main() -> None:
    installed = Path(stocksync_ws.__file__)
    assert installed.is_relative_to(sys.prefix), installed
    assert (installed.parent / "py.typed").exists()
    assert stocksync_ws.compiled is ("--compiled" in sys.argv[1:])
    (plugin,) = (each for each in entry_points(group="pytest11") if "stocksync" in each.name)
    assert (installed.parents[1] / f"{plugin.module}.py").exists(), plugin
    with StompApp("/ws").serve_in_thread(port=0) as server:
        assert server.port is not None
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as client:
            client.sendall(GET)
            assert client.recv(100).startswith(b"HTTP/1.1 426 ")
    build = "compiled" if stocksync_ws.compiled else "pure"
    sys.stdout.write(
        f"stocksync-ws {stocksync_ws.__version__} runs from {installed.parent}, {build}\n"
    )


if __name__ == "__main__":
    main()

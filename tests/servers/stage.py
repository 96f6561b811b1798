"""The shop in the process of a server, and the clients of a test."""

from __future__ import annotations

import http.client
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from carriers.aio import SocketPipe, TlsPipe
from carriers.client import Pipe
from carriers.shop import End
from carriers.stage import Stage, until
from hosts import Host
from launcher import Server, launch

__all__ = ["ADAPTERS", "HERE", "Open", "ServerStage", "open_pipe", "open_server"]

HERE = Path(__file__).parent
ADAPTERS = HERE.parent / "adapters"


def open_server(host: Host, log: Path, settings: dict[str, Any], **launching: Any) -> Server:
    """A server of the shop."""
    return launch(
        host.name,
        f"{'wsgi_application' if host.gateway == 'wsgi' else 'application'}:app",
        log,
        environment={"SHOP": json.dumps(settings)},
        folders=(HERE, ADAPTERS),
        **launching,
    )


def open_pipe(server: Server) -> Pipe:
    """A new stream to a server."""
    return (
        TlsPipe(server.port, server.certificate) if server.certificate else SocketPipe(server.port)
    )


class ServerStage(Stage):
    """One server; several tests may have it one after the other.

    Args:
        host: What is known of it.
        server: The process.
    """

    def __init__(self, host: Host, server: Server) -> None:
        super().__init__()
        self.host = host
        self.server = server
        self.waits = host.waits
        self.hops = host.gateway == "asgi"
        self.drains = host.drain == "all"
        self.listens_on = host.listens_on
        self.slows_down = host.slows_down
        self.cuts = host.gateway == "wsgi"
        self.says_close = host.says_close
        self.slows_streams = host.slows_streams
        self.reads_chunks = host.reads_chunks
        # What was taken over is not the server's again.
        self.keeps_alive = host.gateway == "asgi"
        self._line = server.line()
        self._ends_before = len(self._all_ends())
        self._counters_before = self._ask("/counters")

    def _ask(self, target: str, body: bytes | None = None) -> Any:
        method = "GET" if body is None else "POST"
        try:
            self._line.request(method, target, body)
            answer = self._line.getresponse()
        except (http.client.RemoteDisconnected, ConnectionError):
            # It was idle for too long, and the server has closed it.
            self._line.close()
            self._line.request(method, target, body)
            answer = self._line.getresponse()
        text = answer.read()
        assert answer.status == 200, (answer.status, text[:500])
        return json.loads(text)

    def pipe(self) -> Pipe:
        return open_pipe(self.server)

    def publish(self, destination: str, body: bytes, count: int = 1) -> None:
        self._ask(f"/publish{destination}?count={count}", body)

    def _all_ends(self) -> list[End]:
        found = re.findall(r"^END (\w+) (\w+)$", self.server.log, re.MULTILINE)
        return [End(reason, None if code == "None" else int(code)) for reason, code in found]

    def ends(self) -> list[End]:
        return self._all_ends()[self._ends_before :]

    def counters(self) -> dict[str, int]:
        now, before = self._ask("/counters"), self._counters_before
        return {
            name: value if name.endswith("_open") else value - before.get(name, 0)
            for name, value in now.items()
        }

    def serving(self) -> set[int]:
        """The processes that have had a session."""
        found = re.findall(r"^(\d+) INFO stocksync_ws.session connected", self.server.log, re.M)
        return set(map(int, found))

    def process(self) -> dict[str, float]:
        """`pid`, `cpu` seconds used, bytes of `memory`."""
        used: dict[str, float] = self._ask("/process")
        return used

    def baseline(self) -> dict[str, int]:
        held: dict[str, int] = self._ask("/baseline")
        return held

    def carried(self, code: int) -> int:
        return self.host.carried(code)

    def answered(self, code: int) -> tuple[int, End]:
        told = End("peer_closed", code) if self.host.tells_codes else End("connection_lost", 1006)
        return code if self.host.returns_codes else 1000, told

    def begin_stop(self) -> None:
        self._line.close()
        if self.host.gateway == "wsgi":
            self.server.rest()
        self.server.terminate()

    def stop(self) -> None:
        self.server.stop()

    def close(self) -> None:
        self.hang_up()
        self._line.close()

    def close_and_free(self) -> None:
        """The same, and wait until the server has seen it: for whoever comes next."""
        for page in self._pages:
            try:
                page.leave()
            except OSError:
                pass  # It has closed already.
        self.hang_up()
        self.wait_until_free()
        self._line.close()

    def wait_until_free(self) -> None:
        """Wait until no connection is left in the server, and no session without one."""

        def is_free() -> bool:
            counters = self._ask("/counters")
            return not (counters.get("connections_open") or counters.get("sessions_open"))

        until(is_free, "the last connection")


Open = Callable[..., ServerStage]
"""Settings of the shop, and of `launch`, to the stage in a server of the test's own."""

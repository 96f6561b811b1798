"""What the fault tests share: both servers as processes, clients that watch and clients in herds.

Rule: whatever a test does to a server, afterwards each session that had Connected has exactly one
Disconnected behind it (I4), the server ends in time with the code its kind ends with, and its log
holds no traceback, unless the test says what it is about.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "adapters")]

from carriers.client import Client  # noqa: E402
from launcher import HERE, PACKAGE, Server, free_port, launch, until  # noqa: E402

__all__ = [
    "HERE",
    "LONG",
    "Faulty",
    "Proxy",
    "SocketPipe",
    "Watcher",
    "both",
    "check_pairs",
    "scaled",
    "serve",
    "until",
]

LONG = os.environ.get("STOCKSYNC_SERVERS") == "long"
"""The whole of what is scaled down otherwise: `STOCKSYNC_SERVERS=long python -m pytest ...`."""
PATIENCE = 15.0
BRIEF = {"close_timeout": 1.0, "shutdown_timeout": 6.0}
"""Limits of a server under test; what a test says goes before them."""

both = pytest.mark.parametrize("host", ["ours", "uvicorn-sansio"])


def scaled(short: int, long: int) -> int:
    """How many, in a run that everybody does, and in the long one."""
    return long if LONG else short


class Faulty:
    """A server with the application of `faults_app.py`."""

    def __init__(self, host: str, server: Server, events: Path) -> None:
        self.host = host
        self.server = server
        self.port = server.port
        self._events = events
        self._watchers: list[Watcher] = []

    @property
    def ours(self) -> bool:
        """It is our own server."""
        return self.host == "ours"

    def events(self, *names: str) -> list[dict[str, Any]]:
        """What the application noted, of these kinds or of all."""
        whole, _, _ = self._events.read_text().rpartition("\n")
        found = [json.loads(line) for line in whole.splitlines()]
        return [each for each in found if not names or each["event"] in names]

    def ends(self) -> list[str]:
        """The reasons of all ends so far."""
        return [each["reason"] for each in self.events("SessionDisconnected")]

    def wait_for_ends(self, count: int) -> list[str]:
        """The same, when so many have ended."""
        return until(
            lambda: found if len(found := self.ends()) >= count else [], f"{count} ends", PATIENCE
        )

    def watcher(self, **options: Any) -> Watcher:
        """A client that asks and is answered."""
        watcher = Watcher(SocketPipe(self.port, **options))
        self._watchers.append(watcher)
        return watcher

    def good_code(self) -> int:
        """How a server of this kind ends on SIGTERM: uvicorn sends itself the signal again."""
        return 0 if self.ours else -signal.SIGTERM

    def close(self) -> None:
        """Let go of the clients."""
        for watcher in self._watchers:
            watcher.pipe.close()


@contextmanager
def serve(
    host: str,
    folder: Path,
    *,
    environment: dict[str, str] | None = None,
    noise: tuple[str, ...] = (),
    **settings: Any,
) -> Iterator[Faulty]:
    """Start a server; at the end it is stopped, and what holds in every case is checked.

    Args:
        host: `ours`, or a row of `HOSTS`.
        folder: Where log and events go.
        environment: Further variables.
        noise: What makes a line of the log one that the test is about.
        settings: Of `faults_app.py`.
    """
    limits = {**BRIEF, **settings.pop("limits", {})}
    events, log = folder / f"{host}.events", folder / f"{host}.log"
    variables = {
        "FAULTS": json.dumps({"limits": limits, **settings}),
        "FAULTS_EVENTS": str(events),
        **(environment or {}),
    }
    faulty = Faulty(host, _start(host, log, variables), events)
    server = faulty.server
    try:
        yield faulty
    finally:
        faulty.close()
        end = server.stop()
    assert not end.hung, server.tail
    assert not end.left, server.tail
    assert end.code == faulty.good_code(), (end, server.tail)
    check_pairs(faulty.events())
    told = [line for line in server.log.splitlines() if not any(each in line for each in noise)]
    wrong = [line for line in told if line.startswith(("ERROR", "Traceback", "Exception ignored"))]
    assert not wrong, "\n".join([*wrong[:20], "", *server.log.splitlines()[-60:]])


def _start(host: str, log: Path, variables: dict[str, str]) -> Server:
    if host != "ours":
        return launch(host, "faults_app:app", log, environment=variables)
    port = free_port()
    path = {"PYTHONPATH": os.pathsep.join((str(HERE), str(PACKAGE))), "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "faults_app", str(port)]
    return Server(command, log, {**path, **variables}, port)


def check_pairs(events: list[dict[str, Any]]) -> None:
    """Invariant I4: exactly one end behind each beginning."""
    state: dict[str, str] = {}
    for each in events:
        session = each.get("session")
        if session is None:
            continue
        before = {"SessionConnected": None, "SessionDisconnected": "SessionConnected"}
        assert state.get(session) == before[each["event"]], (session, each, state.get(session))
        state[session] = each["event"]
    open_ = [session for session, last in state.items() if last != "SessionDisconnected"]
    assert not open_, f"{len(open_)} of {len(state)} sessions have no end"


class SocketPipe:
    """A blocking socket, as `carriers.client.Client` asks for it.

    Args:
        port: On 127.0.0.1.
        window: Bytes the kernel keeps for a client that does not read; None: what it likes.
    """

    def __init__(self, port: int, window: int | None = None) -> None:
        self.socket = socket.socket()
        if window is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
        self.socket.settimeout(PATIENCE)
        self.socket.connect(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.size = 65_536
        """Bytes that are read at once."""

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def receive(self) -> bytes:
        return self.socket.recv(self.size)

    def stop_reading(self) -> None:
        """Reading is what `receive` does."""

    def read_on(self) -> None:
        """It reads in `receive`."""

    def half_close(self) -> None:
        self.socket.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def close(self) -> None:
        self.socket.close()


class Watcher(Client):
    """A client that asks the application how it is, and tells it what to do."""

    pipe: SocketPipe

    def enter(self, target: str = "/ws", **headers: str) -> Watcher:
        """Upgrade, CONNECT, and listen for answers."""
        fields = {"accept-version": "1.2", "host": "localhost", "heart-beat": "0,0"}
        fields |= {name.replace("_", "-"): value for name, value in headers.items()}
        self.upgrade(target=target)
        self.send("CONNECT", fields)
        self.session = self.frame("CONNECTED").headers["session"]
        self.subscribe("/user/queue/answers")
        return self

    def tell(self, path: str, body: Any = b"") -> None:
        """SEND to the application."""
        fields = {"destination": "/app" + path}
        if not isinstance(body, bytes):
            fields["content-type"] = "application/json"
            body = json.dumps(body).encode()
        self.send("SEND", fields, body)

    def ask(self, path: str, body: Any = b"") -> Any:
        """The same, and its answer, which must come next."""
        self.tell(path, body)
        return json.loads(self.frame("MESSAGE").body)

    def probe(self) -> dict[str, Any]:
        """How the process is."""
        found: dict[str, Any] = self.ask("/probe")
        return found

    def numbers(self, count: int) -> list[int]:
        """The numbers in the next messages."""
        return [int(self.frame("MESSAGE").body.split()[0]) for _ in range(count)]

    def error(self) -> dict[str, str]:
        """Headers and body of the ERROR that must come next, as it may be told to anybody."""
        frame = self.frame("ERROR")
        return frame.headers | {"body": frame.body.decode()}

    def until_probe(self, look: Callable[[dict[str, Any]], bool], what: str) -> dict[str, Any]:
        """Ask until something is so."""
        found: list[dict[str, Any]] = []

        def seen() -> dict[str, Any]:
            found[:] = [self.probe()]
            return found[0] if look(found[0]) else {}

        try:
            return until(seen, what, PATIENCE)
        except AssertionError:
            raise AssertionError(f"not within {PATIENCE:g} s: {what}; it is: {found}") from None


class Proxy:
    """A network between a client and a server, whose directions can be made to swallow nothing and
    pass nothing on: what is sent into it stays in it.

    Args:
        port: Of the server.
    """

    def __init__(self, port: int) -> None:
        self._server_port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.to_client = threading.Event()
        self.to_server = threading.Event()
        """Set: this direction works."""
        self.open()
        self._ended = False
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Proxy:
        self._run(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self._ended = True
        self.open()
        for each in (self._listener, *self._sockets):
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        for thread in self._threads:
            thread.join(PATIENCE)
            assert not thread.is_alive()
        for each in (self._listener, *self._sockets):
            each.close()

    def open(self) -> None:
        """Everything passes."""
        self.to_client.set()
        self.to_server.set()

    def shut(self) -> None:
        """Nothing passes, and nobody is told."""
        self.to_client.clear()
        self.to_server.clear()

    def _run(self, function: Callable[..., None], *args: Any) -> None:
        thread = threading.Thread(target=function, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._ended:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            far = socket.socket()
            far.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16_384)
            far.connect(("127.0.0.1", self._server_port))
            self._sockets += [near, far]
            self._run(self._copy, near, far, self.to_server)
            self._run(self._copy, far, near, self.to_client)

    def _copy(self, source: socket.socket, sink: socket.socket, works: threading.Event) -> None:
        while not self._ended:
            works.wait()
            try:
                data = source.recv(16_384)
                works.wait()
                sink.sendall(data)
                if not data:
                    sink.shutdown(socket.SHUT_WR)
                    return
            except OSError:
                return

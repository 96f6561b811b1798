"""The server processes: ours, a bare loop of `socket.send`, and `websockets`.

Rule: each listens on a free port, says which, and obeys single octets on the control socket: `p`
publishes once, `c` tells the CPU time used, `m` the memory, `n` the number of connections, `s` the
deliveries settled; `w` begins to watch how late the loop is, and `l` tells it, where there is a
loop; `r` has ours publish at a steady rate, and tells the CPU time of that when it is over, without
the clock work around it. It ends when the control socket does. Whoever starts it pins it.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import resource
import socket
import ssl
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.bench.harness import BODY

TOPIC = "/topic/bench"
TICK = 0.001
"""Seconds between two looks at the loop."""


def _cpu() -> dict[str, Any]:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {"total": time.process_time(), "user": used.ru_utime}


def _memory() -> dict[str, Any]:
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    traced = tracemalloc.get_traced_memory()[0] if tracemalloc.is_tracing() else 0
    return {"rss": pages * os.sysconf("SC_PAGE_SIZE"), "traced": traced}


class Stalls:
    """How late a timer comes, again and again, on the running loop."""

    def __init__(self) -> None:
        self._lags: list[float] = []
        self._timer: asyncio.TimerHandle | None = None

    def watch(self) -> None:
        """Begin anew."""
        self._lags.clear()
        self._next(asyncio.get_running_loop())

    def _next(self, loop: asyncio.AbstractEventLoop) -> None:
        due = loop.time() + TICK

        def tick() -> None:
            self._lags.append(loop.time() - due)
            self._next(loop)

        self._timer = loop.call_at(due, tick)

    def tell(self) -> dict[str, float]:
        """Milliseconds, since `watch`."""
        assert self._timer is not None
        self._timer.cancel()
        lags = [each * 1e3 for each in sorted(self._lags)]
        return {"p50": lags[len(lags) // 2], "p99": lags[len(lags) * 99 // 100], "max": lags[-1]}


class Control:
    """The control socket, from the server's side."""

    def __init__(
        self,
        fd: int,
        publish: Callable[[], None],
        count: Callable[[], int],
        settled: Callable[[], int] = int,
        steady: Callable[[], object] = int,
    ) -> None:
        self.socket = socket.socket(fileno=fd)
        self._publish = publish
        self._count = count
        self._settled = settled
        self._stalls = Stalls()
        self._steady = steady

    def tell(self, answer: dict[str, Any]) -> None:
        """Say something."""
        self.socket.sendall(json.dumps(answer).encode() + b"\n")

    def step(self) -> bool:
        """Do what is asked; false at the end."""
        data = self.socket.recv(4096)
        for _ in range(data.count(b"p")):
            self._publish()
        if b"c" in data:
            self.tell(_cpu())
        if b"m" in data:
            self.tell(_memory())
        if b"n" in data:
            self.tell({"connections": self._count()})
        if b"s" in data:
            self.tell({"settled": self._settled()})
        if b"w" in data:
            self._stalls.watch()
        if b"l" in data:
            self.tell(self._stalls.tell())
        if b"r" in data:
            self._steady()
        return bool(data)

    async def run(self) -> None:
        """Do what is asked on the running loop, until the end."""
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()

        def readable() -> None:
            if not self.step():
                loop.remove_reader(self.socket.fileno())
                ended.set()

        loop.add_reader(self.socket.fileno(), readable)
        await ended.wait()


def bare(control_fd: int, frame: str) -> None:
    """No library at all: accept, and send canned bytes to everybody."""
    octets = bytes.fromhex(frame)
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    listener.setblocking(False)
    connections: list[socket.socket] = []

    def accept() -> int:
        try:
            while True:
                connection = listener.accept()[0]
                connection.setblocking(False)
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                connections.append(connection)
        except BlockingIOError:
            return len(connections)

    def publish() -> None:
        for connection in connections:
            connection.send(octets)

    control = Control(control_fd, publish, accept)
    control.tell({"port": listener.getsockname()[1]})
    while control.step():
        pass


async def websockets(control_fd: int, frame: str) -> None:
    """`websockets` with `broadcast`; no STOMP, no compression, no keepalive."""
    from websockets.asyncio.server import ServerConnection, broadcast, serve
    from websockets.exceptions import ConnectionClosed

    octets = bytes.fromhex(frame)
    text = octets[4 if octets[1] == 126 else 2 :].decode()
    connections: set[ServerConnection] = set()

    async def handler(connection: ServerConnection) -> None:
        connections.add(connection)
        try:
            async for message in connection:
                if message == "echo":
                    await connection.send(message)
        except ConnectionClosed:
            pass  # The load client resets.
        finally:
            connections.discard(connection)

    # As many connections as ours may wait to be accepted.
    server = await serve(
        handler, "127.0.0.1", 0, compression=None, ping_interval=None, backlog=4_096
    )
    control = Control(control_fd, lambda: broadcast(connections, text), lambda: len(connections))
    control.tell({"port": server.sockets[0].getsockname()[1]})
    await control.run()
    server.close()


FLUSH_DELAY = 0.005
"""Seconds that messages of the server `ours-delayed` may wait for each other."""
RATE = 1_000
"""Publications a second of a steady run."""
STEADY = 100
"""Publications of a steady run."""


REDIS = "STOCKSYNC_BENCH_REDIS"
"""Where the URL of Redis stands, for the servers that need it."""
CENTRIFUGE = "STOCKSYNC_BENCH_CENTRIFUGE"
"""Where the path of the program stands that `centrifuge.go` has become."""
KEPT = 1_000
"""Messages that the server `ours-kept` keeps of the topic."""


def _application(kind: str = "ours") -> Any:
    """What our servers serve."""
    from stocksync_ws import Limits, SockJSOptions, StompApp, send_to, send_to_user

    # The load client answers no PING.
    limits = Limits(ping_after=3600, handshake_timeout=60)
    # Nor does it ask for the next stream, or come back for what is parked.
    sockjs = SockJSOptions(stream_bytes=1 << 50, disconnect_delay=3600)
    ws = StompApp(
        "/ws", allowed_origins=["*"], client_send=["/topic/**"], limits=limits, sockjs=sockjs,
        destinations=_destinations(kind), backplane=_backplane(kind),
    )  # fmt: skip

    @ws.message_mapping("/publish", inline=True)
    @send_to(TOPIC)
    def publish(update: dict[str, Any]) -> dict[str, Any]:
        return update

    @ws.message_mapping("/ignore", inline=True)
    def ignore(update: dict[str, Any]) -> None:
        pass

    @ws.message_mapping("/ask")
    @send_to_user("/queue/answers", broadcast=False)
    async def answer(update: dict[str, Any]) -> dict[str, Any]:
        return update

    @ws.message_mapping("/ask-inline", inline=True)
    @send_to_user("/queue/answers", broadcast=False)
    def answer_inline(update: dict[str, Any]) -> dict[str, Any]:
        return update

    @ws.message_mapping("/wait")
    async def wait(update: dict[str, Any]) -> None:
        pass

    return ws


def _destinations(kind: str) -> dict[str, Any]:
    """The policy of the topic, where it has one."""
    from stocksync_ws import Stream, Topic

    if kind == "ours-delayed":
        return {TOPIC: Topic(flush_delay=FLUSH_DELAY)}
    return {TOPIC: Stream(history=KEPT)} if kind == "ours-kept" else {}


def _backplane(kind: str) -> Any:
    """The engine of the server `ours-redis`: the Redis that the environment names."""
    if kind != "ours-redis":
        return None
    from stocksync_ws.redis import RedisBackplane

    return RedisBackplane(os.environ[REDIS], prefix="bench", require_at_start=True)


async def ours(control_fd: int, cert: str = "", kind: str = "ours") -> None:
    """A `StompApp` on our own server, publishing with its template."""
    from stocksync_ws.aio.address import Address
    from stocksync_ws.aio.server import Server
    from stocksync_ws.running.run import Run

    ws = _application(kind)
    tls = None
    if cert:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(cert)
    ws.check()
    payload = json.loads(BODY)
    run = Run(ws)
    server = Server(run, ws.site(), Address("127.0.0.1", 0), tls=tls)
    await server.start()
    runtime = run.runtime
    assert runtime is not None

    def publish() -> None:
        ws.template.convert_and_send(TOPIC, payload)

    async def cost(work: Callable[[], None]) -> float:
        before, at = time.process_time(), time.monotonic()
        for _ in range(STEADY):
            work()
            # Not more than one in a turn, and of what is very late nothing is made up for: that
            # would join messages which a punctual publisher keeps apart.
            now = time.monotonic()
            at = max(at + 1 / RATE, now - 2 / RATE)
            await asyncio.sleep(max(0.0, at - now))
        await asyncio.sleep(2 * FLUSH_DELAY)
        return time.process_time() - before

    async def publish_steadily() -> None:
        control.tell({"total": await cost(publish) - await cost(lambda: None)})

    runs: list[asyncio.Task[None]] = []
    control = Control(
        control_fd,
        publish,
        lambda: runtime.driver.connections,
        lambda: runtime.broker.counters.messages_settled,
        lambda: runs.append(asyncio.create_task(publish_steadily())),
    )
    control.tell({"port": server.ports[0]})
    await control.run()
    server.abort()


def threaded(control_fd: int) -> None:
    """The same on a thread of its own. The control socket is read on the main thread, so that each
    publication is posted to another one, as by an application without a loop.
    """
    ws = _application()
    payload = json.loads(BODY)
    with ws.serve_in_thread(port=0) as server:
        control = Control(
            control_fd,
            lambda: ws.template.convert_and_send(TOPIC, payload),
            lambda: ws.counters.connections,
        )
        control.tell({"port": server.port})
        while control.step():
            pass


def main() -> None:
    kind, control_fd, _core, *rest = sys.argv[1:]
    if kind == "bare":
        bare(int(control_fd), *rest)
    elif kind.startswith("asgi-"):
        from tests.bench import hosts

        serve = hosts.inside if kind == "asgi-inside" else hosts.plain
        asyncio.run(serve(int(control_fd), *rest))
    elif kind.startswith("peer-"):
        from tests.bench.peer_servers import PEERS

        asyncio.run(PEERS[kind.removeprefix("peer-")](int(control_fd)))
    elif kind == "socketio-redis":
        from tests.bench.peer_servers import socketio_over_redis

        asyncio.run(socketio_over_redis(int(control_fd), os.environ[REDIS]))
    elif kind.startswith("channels-redis-"):
        from tests.bench.peer_servers import channels_over_redis

        layer = kind.removeprefix("channels-redis-")
        asyncio.run(channels_over_redis(int(control_fd), os.environ[REDIS], layer))
    elif kind == "socketio-redis-served":
        from tests.bench.peer_servers import socketio

        asyncio.run(socketio(int(control_fd), os.environ[REDIS]))
    elif kind == "centrifuge-redis":
        program = os.environ[CENTRIFUGE]
        os.execv(program, [program, control_fd, os.environ[REDIS], BODY.decode(), *rest])
    elif kind == "threaded":
        threaded(int(control_fd), *rest)
    elif kind == "websockets":
        asyncio.run(websockets(int(control_fd), *rest))
    else:
        if kind == "ours-traced":
            tracemalloc.start()
        asyncio.run(ours(int(control_fd), *rest, kind=kind))


if __name__ == "__main__":
    main()

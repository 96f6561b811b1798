"""The stream over a transport: what it tells the driver and when; and the server on loops that
watch neither descriptors nor signals. The conformance suite runs over it too.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Callable
from typing import Any

import pytest
from carriers.aio import NoReaders
from carriers.client import connect_frame, http_request, upgrade

from stocksync_ws import ConfigurationError, Limits, SessionDisconnected, StompApp
from stocksync_ws.aio.address import Address
from stocksync_ws.aio.server import Server
from stocksync_ws.aio.transports import TransportStream
from stocksync_ws.running.run import Run
from stocksync_ws.streams import read_buffer

PATIENCE = 10.0


def on_loop(new_loop: Callable[[], asyncio.AbstractEventLoop], coroutine: Any) -> Any:
    async def bounded() -> Any:
        async with asyncio.timeout(PATIENCE):
            return await coroutine

    with asyncio.Runner(loop_factory=new_loop) as runner:
        return runner.run(bounded())


class Driver:
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    def connected(self, stream: object, connection: Any) -> str:
        self.told.append(("connected", connection))
        return "link"

    def feed(self, link: object, data: bytes) -> None:
        self.told.append(data)

    def ended(self, link: object) -> None:
        self.told.append("ended")

    def drained(self, link: object) -> None:
        self.told.append("drained")


class Transport:
    """Keeps what is written until it is told to let it go."""

    def __init__(self, stream: TransportStream, *, eof: bool = True) -> None:
        self.stream = stream
        self.eof = eof
        self.kept = b""
        self.calls: list[str] = []
        self.closing = False
        self.resumes_inside = False

    def get_extra_info(self, name: str) -> object:
        return name

    def set_write_buffer_limits(self, *, high: int) -> None:
        assert high == 0

    def write(self, data: bytes) -> None:
        self.kept += data
        if self.resumes_inside:
            self.stream.resume_writing()

    def get_write_buffer_size(self) -> int:
        assert not self.calls.count("close") > 1
        return len(self.kept)

    def can_write_eof(self) -> bool:
        return self.eof

    def is_closing(self) -> bool:
        return self.closing

    def write_eof(self) -> None:
        self.calls.append("write_eof")

    def close(self) -> None:
        self.closing = True
        self.calls.append("close")

    def abort(self) -> None:
        self.calls.append("abort")

    def pause_reading(self) -> None:
        self.calls.append("pause")

    def resume_reading(self) -> None:
        self.calls.append("resume")

    def let_go(self) -> None:
        self.kept = b""
        self.stream.resume_writing()


def streaming(test: Callable[[TransportStream, Transport, Driver], object], **how: Any) -> None:
    """Run a test with a stream that is connected."""

    async def main() -> None:
        driver: Any = Driver()
        stream = TransportStream(driver, read_buffer(16), lambda address: address)  # type: ignore[arg-type,return-value]
        transport: Any = Transport(stream, **how)
        stream.connection_made(transport)
        assert driver.told.pop() == ("connected", "peername")
        outcome = test(stream, transport, driver)
        if asyncio.iscoroutine(outcome):
            await outcome

    asyncio.run(main())


def test_what_the_transport_keeps_is_unsent_until_it_says_so() -> None:
    def test(stream: TransportStream, transport: Transport, driver: Driver) -> None:
        assert stream.send is None
        assert stream.write([b"ab", b"c"]) == stream.unsent == 3
        assert stream.keep(b"defg", 2) == 5
        assert transport.kept == b"abcfg"
        transport.let_go()
        assert (stream.unsent, driver.told) == (0, ["drained"])

    streaming(test)


def test_bytes_are_given_as_a_copy() -> None:
    def test(stream: TransportStream, transport: Transport, driver: Driver) -> None:
        for data in (b"first", b"other"):
            stream.get_buffer(-1)[:5] = data
            stream.buffer_updated(5)
        assert driver.told == [b"first", b"other"]

    streaming(test)


def test_the_driver_is_told_nothing_from_inside_a_write() -> None:
    async def test(stream: TransportStream, transport: Transport, driver: Driver) -> None:
        transport.resumes_inside = True
        stream.write([b"a"])
        assert driver.told == []
        await asyncio.sleep(0)
        assert driver.told == ["drained"]

    streaming(test)


def test_a_shut_waits_until_everything_is_written() -> None:
    def test(stream: TransportStream, transport: Transport, driver: Driver) -> None:
        stream.write([b"a"])
        stream.shut()
        assert transport.calls == []
        transport.let_go()
        assert transport.calls == ["write_eof"]

    streaming(test)


def test_where_one_direction_cannot_end_alone_a_shut_ends_both_and_once() -> None:
    def test(stream: TransportStream, transport: Transport, driver: Driver) -> None:
        stream.shut()
        transport.let_go()
        stream.shut()
        assert transport.calls == ["close"]
        stream.pause()
        stream.unpause()
        assert transport.calls == ["close"]

    streaming(test, eof=False)


@pytest.mark.parametrize("eof", [True, False])
def test_the_end_of_the_peers_direction_leaves_ours_where_that_can_be(eof: bool) -> None:
    def test(stream: TransportStream, transport: Transport, driver: Driver) -> None:
        assert stream.eof_received() is eof
        assert driver.told == ["ended"]

    streaming(test, eof=eof)


def test_what_a_transport_has_given_up_is_unsent_until_the_end_is_told() -> None:
    def test(stream: TransportStream, transport: Transport, driver: Driver) -> None:
        transport.closing = True  # As it does inside of a write that fails.
        assert stream.write([]) == stream.unsent == 1
        stream.connection_lost(OSError("reset"))
        assert (stream.unsent, driver.told) == (0, ["ended"])

    streaming(test)


def test_a_lost_connection_is_told_once_and_asked_nothing_more() -> None:
    def test(stream: TransportStream, transport: Transport, driver: Driver) -> None:
        stream.write([b"a"])
        stream.connection_lost(None)
        stream.resume_writing()
        assert (stream.unsent, stream.write([b"b"]), transport.kept) == (0, 0, b"a")
        stream.shut()
        assert (driver.told, transport.calls) == (["ended"], [])

    streaming(test)


def test_after_an_abort_the_driver_hears_nothing() -> None:
    def test(stream: TransportStream, transport: Transport, driver: Driver) -> None:
        stream.abort()
        stream.connection_lost(None)
        assert stream.eof_received() is False
        assert (transport.calls, stream.unsent) == (["abort"], 0)
        assert driver.told == ["ended"]  # of the EOF, which comes of no aborted transport

    streaming(test)


def test_reading_pauses_and_goes_on() -> None:
    def test(stream: TransportStream, transport: Transport, driver: Driver) -> None:
        stream.pause()
        stream.unpause()
        assert transport.calls == ["pause", "resume"]

    streaming(test)


# The server


@pytest.fixture
def app() -> StompApp:
    return StompApp("/ws", limits=Limits(close_timeout=0.2, shutdown_timeout=0.4))


async def first_line(port: int, data: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    line = await reader.readline()
    writer.close()
    return line


def test_over_the_cap_the_answer_is_503() -> None:
    app = StompApp("/ws", limits=Limits(max_connections=1, close_timeout=0.2))

    async def main() -> None:
        async with Server(Run(app), app.site(), Address("127.0.0.1", 0)) as server:
            [port] = server.ports
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(upgrade() + connect_frame())
            await reader.readuntil(b"CONNECTED")
            assert (await first_line(port, http_request())).startswith(b"HTTP/1.1 503")
            writer.close()

    on_loop(NoReaders, main())


def test_a_start_that_fails_leaves_no_listener(
    app: StompApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    slot = Run(app)

    def fails(*args: object, **kwargs: object) -> None:
        raise ConfigurationError("a declaration cannot work")

    async def main() -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        with monkeypatch.context() as patch:
            patch.setattr(slot, "begin", fails)
            with pytest.raises(ConfigurationError):
                await Server(slot, app.site(), Address("127.0.0.1", port)).start()
        async with Server(slot, app.site(), Address("127.0.0.1", port)) as server:
            assert (await first_line(port, http_request())).startswith(b"HTTP/1.1 404")
            assert list(server.ports) == [port]

    on_loop(NoReaders, main())


def test_a_unix_socket_is_served_and_its_file_goes(app: StompApp, tmp_path: Any) -> None:
    path = tmp_path / "sock"

    async def main() -> None:
        async with Server(Run(app), app.site(), Address(unix=path)):
            reader, writer = await asyncio.open_unix_connection(path)
            writer.write(http_request())
            assert (await reader.readline()).startswith(b"HTTP/1.1 404")
            writer.close()
        assert not path.exists()

    on_loop(NoReaders, main())


@pytest.mark.parametrize("twice", [False, True])
def test_signals_end_it_where_the_loop_watches_none(twice: bool) -> None:
    app = StompApp("/ws")
    ends: list[int] = []

    @app.event_listener(SessionDisconnected, inline=True)
    def listen(event: SessionDisconnected) -> None:
        ends.append(event.close_code)

    before = signal.getsignal(signal.SIGTERM)

    async def main() -> None:
        server = Server(Run(app), app.site(), Address("127.0.0.1", 0))
        serving = asyncio.create_task(server.serve_forever(signals=True))
        await server.ready
        reader, writer = await asyncio.open_connection("127.0.0.1", server.ports[0])
        writer.write(upgrade() + connect_frame())
        await reader.readuntil(b"CONNECTED")
        assert signal.getsignal(signal.SIGTERM) is not before
        os.kill(os.getpid(), signal.SIGTERM)
        assert b"\x03\xf4" in await reader.readuntil(b"server restarts")
        if twice:  # The client does not answer the Close; without this it is waited for.
            os.kill(os.getpid(), signal.SIGTERM)
        else:
            writer.close()
        await serving
        writer.close()

    on_loop(NoReaders, main())
    assert signal.getsignal(signal.SIGTERM) is before
    assert ends == [1012]

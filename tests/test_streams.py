"""The byte streams over a poller that fires when the test says so, and a pair of sockets."""

from __future__ import annotations

import socket
import ssl
import struct
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from stocksync_ws.config import Limits
from stocksync_ws.streams import SocketStream, TlsStream, read_buffer

READ_SIZE = Limits().read_budget


class Poller:
    """What a stream watches, fired by hand."""

    def __init__(self) -> None:
        self.readers: dict[int, Callable[[], Any]] = {}
        self.writers: dict[int, Callable[[], Any]] = {}
        self.later: list[Callable[[], Any]] = []

    def add_reader(self, fd: int, callback: Callable[[], Any], /) -> None:
        self.readers[fd] = callback

    def remove_reader(self, fd: int, /) -> None:
        self.readers.pop(fd, None)

    def add_writer(self, fd: int, callback: Callable[[], Any], /) -> None:
        self.writers[fd] = callback

    def remove_writer(self, fd: int, /) -> None:
        self.writers.pop(fd, None)

    def call_soon(self, callback: Callable[[], Any], /) -> None:
        self.later.append(callback)

    def turn(self) -> None:
        """Fire everything once."""
        later, self.later = self.later, []
        for callback in [*later, *self.readers.values(), *self.writers.values()]:
            callback()


class Driver:
    """Notes what it is told, and aborts what has ended, as the real one does."""

    def __init__(self) -> None:
        self.stream: SocketStream
        self.fed = bytearray()
        self.told: list[str] = []
        self.at_work = False
        self.may_read = True

    def connected(self, stream: SocketStream, connection: object) -> str:
        self.stream = stream
        return "link"

    def feed(self, link: object, data: bytes) -> None:
        assert not self.at_work
        self.fed += data
        self.told.append("fed")

    def ended(self, link: object) -> None:
        assert not self.at_work
        self.told.append("ended")
        self.stream.abort()

    def drained(self, link: object) -> None:
        self.told.append("drained")


class Pair:
    """A stream and the other end of its socket."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        ours, self.peer = socket.socketpair()
        ours.setblocking(False)
        self.peer.settimeout(10)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8_192)
        self.socket = ours
        self.poller = Poller()
        self.driver = Driver()
        arguments: Any = (ours, self.poller, self.driver, read_buffer(READ_SIZE))
        self.stream = TlsStream(*arguments, context) if context else SocketStream(*arguments)
        self.stream.start(None)  # type: ignore[arg-type]

    def write(self, *chunks: bytes) -> int:
        """Write as the driver does: whatever goes wrong must not be told meanwhile."""
        self.driver.at_work = True
        unsent = self.stream.write(list(chunks))
        self.driver.at_work = False
        return unsent

    def shut(self) -> None:
        self.driver.at_work = True
        self.stream.shut()
        self.driver.at_work = False

    def take(self, count: int) -> bytes:
        """Read so many bytes at the other end while the poller turns."""
        data = b""
        while len(data) < count:
            data += self.peer.recv(count - len(data))
            self.poller.turn()
        return data

    def reset_by_peer(self) -> None:
        """What is not read when a socket closes makes a reset of it."""
        self.socket.send(b"never read")
        self.peer.close()

    def close(self) -> None:
        self.stream.abort()
        self.peer.close()


@pytest.fixture
def pair() -> Iterator[Pair]:
    pair = Pair()
    yield pair
    pair.close()


def fill(pair: Pair) -> int:
    """Write until the kernel takes no more; how many bytes it took."""
    written = 0
    while not pair.stream.unsent:
        written += 4_096
        pair.write(bytes(4_096))
    return written - pair.stream.unsent


def test_what_is_read_is_fed(pair: Pair) -> None:
    pair.peer.send(b"hello")
    pair.poller.turn()
    assert (bytes(pair.driver.fed), pair.driver.told) == (b"hello", ["fed"])


def test_nothing_is_read_while_the_turn_is_used_up(pair: Pair) -> None:
    pair.peer.send(b"hello")
    pair.driver.may_read = False
    pair.poller.turn()
    assert not pair.driver.told
    pair.driver.may_read = True
    pair.poller.turn()
    assert pair.driver.fed == b"hello"


def test_one_turn_reads_at_most_the_read_budget(pair: Pair) -> None:
    pair.peer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * READ_SIZE)
    pair.peer.setblocking(False)
    sent = pair.peer.send(bytes(3 * READ_SIZE))
    assert sent > READ_SIZE
    pair.poller.turn()
    assert len(pair.driver.fed) == READ_SIZE


def test_a_reader_that_was_woken_for_nothing_says_nothing(pair: Pair) -> None:
    pair.poller.turn()
    assert pair.driver.told == []


def test_eof_is_told(pair: Pair) -> None:
    pair.peer.shutdown(socket.SHUT_WR)
    pair.poller.turn()
    assert pair.driver.told == ["ended"]
    assert not pair.poller.readers


def test_a_reset_while_reading_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        ours, _ = listener.accept()
    ours.setblocking(False)
    poller, driver = Poller(), Driver()
    stream = SocketStream(ours, poller, driver, read_buffer(READ_SIZE))  # type: ignore[arg-type]
    stream.start(None)  # type: ignore[arg-type]
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
    poller.turn()
    assert driver.told == ["ended"]


def test_chunks_are_written_in_order(pair: Pair) -> None:
    assert pair.write(b"one ", b"two ", b"three") == 0
    assert pair.write(b"!") == 0
    assert pair.peer.recv(100) == b"one two three!"


def test_what_the_kernel_does_not_take_is_kept_and_written_later(pair: Pair) -> None:
    data = bytes(range(256)) * 4_000
    unsent = pair.write(data)
    assert 0 < unsent < len(data)
    assert pair.stream.unsent == unsent
    assert pair.write(b"the end") == unsent + 7
    assert pair.take(len(data) + 7) == data + b"the end"
    assert pair.stream.unsent == 0
    assert not pair.poller.writers
    assert pair.driver.told.count("drained") > 1


def test_a_full_socket_takes_nothing_and_nothing_is_lost(pair: Pair) -> None:
    taken = fill(pair)
    pair.take(taken + pair.stream.unsent)
    pair.socket.setblocking(False)
    count = 0
    while True:
        try:
            count += pair.socket.send(bytes(4_096))
        except BlockingIOError:
            break
    assert pair.write(b"behind") == 6
    assert pair.take(count + 6).endswith(b"\0behind")


@pytest.mark.parametrize("taken", [0, 3])
def test_the_rest_of_a_chunk_goes_behind_what_was_taken_of_it(pair: Pair, taken: int) -> None:
    chunk = b"abcdef"
    assert pair.stream.send(chunk[:taken]) == taken
    assert pair.stream.keep(chunk, taken) == 0
    assert pair.take(6) == chunk


def test_the_rest_of_a_chunk_waits_where_the_kernel_takes_nothing(pair: Pair) -> None:
    sent = 0
    with pytest.raises(BlockingIOError):
        while True:
            sent += pair.socket.send(bytes(4_096))
    assert pair.stream.keep(b"abcdef", 4) == 2
    assert pair.take(sent + 2).endswith(b"\0ef")


def test_a_writer_that_was_woken_for_nothing_keeps_its_bytes(pair: Pair) -> None:
    fill(pair)
    unsent = pair.stream.unsent
    pair.poller.turn()
    assert pair.stream.unsent == unsent
    assert pair.driver.told == []


def test_what_a_reset_has_left_unsent_puts_the_end_off_no_more(pair: Pair) -> None:
    unsent: list[int] = []
    pair.driver.ended = lambda link: unsent.append(pair.stream.unsent)  # type: ignore[method-assign]
    fill(pair)
    pair.poller.readers.clear()
    pair.peer.close()
    for _ in range(3):
        pair.poller.turn()
    assert unsent == [0]


def test_a_reset_while_writing_is_told_in_the_next_turn(pair: Pair) -> None:
    """Until then what was written counts as unsent: nothing may go on as if it had left."""
    pair.reset_by_peer()
    assert pair.write(b"x") == 1
    assert pair.write(b"y") == pair.stream.unsent == 2
    assert pair.driver.told == []
    pair.poller.readers.clear()
    pair.poller.turn()
    assert pair.driver.told == ["ended"]
    assert pair.write(b"y") == 0
    assert pair.stream.unsent == 0


def test_a_reset_while_bytes_wait_is_told(pair: Pair) -> None:
    fill(pair)
    pair.peer.close()
    pair.poller.readers.clear()
    pair.poller.turn()
    assert pair.driver.told == ["ended"]
    assert pair.stream.unsent == 0
    assert not pair.poller.writers


def test_pause_stops_reading_and_unpause_goes_on(pair: Pair) -> None:
    pair.stream.pause()
    pair.peer.send(b"x")
    pair.poller.turn()
    assert pair.driver.told == []
    pair.stream.unpause()
    pair.poller.turn()
    assert pair.driver.told == ["fed"]


def test_shut_sends_what_is_unsent_and_then_ends_our_direction(pair: Pair) -> None:
    data = bytes(500_000)
    pair.write(data)
    pair.shut()
    assert pair.take(len(data)) == data
    assert pair.peer.recv(1) == b""
    pair.peer.send(b"still read")
    pair.poller.turn()
    assert pair.driver.fed == b"still read"


def test_shut_of_a_stream_that_is_gone_is_told_in_the_next_turn() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        ours, _ = listener.accept()
    poller, driver = Poller(), Driver()
    stream = SocketStream(ours, poller, driver, read_buffer(READ_SIZE))  # type: ignore[arg-type]
    stream.start(None)  # type: ignore[arg-type]
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
    stream.shut()
    assert driver.told == []
    poller.readers.clear()
    poller.turn()
    assert driver.told == ["ended"]


def test_after_an_abort_every_verb_is_harmless(pair: Pair) -> None:
    fill(pair)
    pair.stream.abort()
    assert pair.stream.unsent == 0
    assert pair.stream.send is None
    pair.stream.pause()
    pair.stream.unpause()
    pair.shut()
    assert pair.write(b"x") == 0
    pair.stream.abort()
    assert (pair.poller.readers, pair.poller.writers, pair.poller.later) == ({}, {}, [])


# TLS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("tls") / "server.pem"
    chain: Path = file.with_suffix(".crt")
    command = [
        "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
        "-nodes", "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost",
        "-keyout", str(file), "-out", str(chain),
    ]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True, timeout=30)
    file.write_text(file.read_text() + chain.read_text())
    return str(file)


class TlsPair(Pair):
    """A TLS stream, and a client at the other end."""

    def __init__(self, certificate: str, version: ssl.TLSVersion) -> None:
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.load_cert_chain(certificate)
        client = ssl.create_default_context(cafile=certificate)
        client.maximum_version = version
        super().__init__(server)
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = client.wrap_bio(self.incoming, self.outgoing, server_hostname="localhost")

    def exchange(self) -> None:
        """Both directions, as far as they go now."""
        if data := self.outgoing.read():
            self.peer.sendall(data)
        self.poller.turn()
        self.peer.setblocking(False)
        try:
            self.incoming.write(self.peer.recv(1_000_000))
        except BlockingIOError:
            pass
        self.peer.settimeout(10)

    def handshake(self) -> None:
        for _ in range(5):
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                self.exchange()
            else:
                self.exchange()
                return
        pytest.fail("no handshake")

    def read(self, count: int) -> bytes:
        """Decrypted bytes."""
        data = b""
        for _ in range(10_000):
            if len(data) >= count:
                break
            try:
                data += self.tls.read(count - len(data))
            except ssl.SSLWantReadError:
                self.exchange()
        return data


@pytest.fixture(params=[ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def tls(request: pytest.FixtureRequest, certificate: str) -> Iterator[TlsPair]:
    pair = TlsPair(certificate, request.param)
    yield pair
    pair.close()


def test_tls_carries_bytes_both_ways(tls: TlsPair) -> None:
    tls.handshake()
    tls.tls.write(b"hello")
    tls.exchange()
    assert tls.driver.fed == b"hello"
    assert tls.write(b"wel", b"come") == 0
    assert tls.read(7) == b"welcome"


def test_tls_has_no_lane(tls: TlsPair) -> None:
    tls.handshake()
    assert tls.stream.send is None


def test_bytes_that_come_with_the_end_of_the_tls_handshake_are_fed(tls: TlsPair) -> None:
    with pytest.raises(ssl.SSLWantReadError):
        tls.tls.do_handshake()
    tls.exchange()
    try:
        tls.tls.do_handshake()
    except ssl.SSLWantReadError:
        tls.exchange()
        tls.tls.do_handshake()
    tls.tls.write(b"early")
    tls.exchange()
    assert tls.driver.fed == b"early"


def test_what_is_written_before_the_tls_handshake_waits_for_it(tls: TlsPair) -> None:
    assert tls.write(b"too ", b"early") == 9
    assert tls.stream.unsent == 9
    tls.handshake()
    assert tls.read(9) == b"too early"
    assert tls.stream.unsent == 0


def test_tls_keeps_what_the_kernel_does_not_take(tls: TlsPair) -> None:
    tls.handshake()
    data = bytes(range(256)) * 4_000
    unsent = tls.write(data)
    assert unsent > 0
    assert tls.write(b"the end") > unsent
    assert tls.read(len(data) + 7) == data + b"the end"
    assert tls.stream.unsent == 0


def test_tls_writes_what_is_unsent_before_it_says_goodbye(tls: TlsPair) -> None:
    tls.handshake()
    data = bytes(500_000)
    tls.write(data)
    tls.shut()
    assert tls.read(len(data)) == data
    tls.exchange()
    assert tls.tls.read(1) == b""
    assert tls.peer.recv(1) == b""


def test_a_shut_tls_stream_reads_on_until_the_peer_ends(tls: TlsPair) -> None:
    tls.handshake()
    tls.shut()
    tls.tls.write(b"still")
    tls.exchange()
    assert tls.driver.told == ["fed"]
    tls.exchange()
    tls.tls.unwrap()
    tls.exchange()
    assert tls.driver.told == ["fed", "ended"]


def test_close_notify_behind_data_feeds_the_data_first(tls: TlsPair) -> None:
    tls.handshake()
    tls.tls.write(b"bye")
    with pytest.raises(ssl.SSLWantReadError):
        tls.tls.unwrap()
    tls.exchange()
    assert (tls.driver.told, bytes(tls.driver.fed)) == (["fed", "ended"], b"bye")


def test_a_fin_without_close_notify_ends_the_stream(tls: TlsPair) -> None:
    tls.handshake()
    tls.peer.shutdown(socket.SHUT_WR)
    tls.poller.turn()
    assert tls.driver.told == ["ended"]


def test_plain_http_on_a_tls_port_ends_with_an_alert(tls: TlsPair) -> None:
    tls.peer.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    tls.poller.turn()
    assert tls.driver.told == ["ended"]
    assert bytes(tls.driver.fed) == b""


@pytest.mark.parametrize("ready", [False, True])
def test_garbage_ends_a_tls_stream_with_an_alert(tls: TlsPair, ready: bool) -> None:
    if ready:
        tls.handshake()
    tls.peer.sendall(b"\x17\x03\x03\x00\x20" + bytes(32))
    tls.poller.turn()
    assert tls.driver.told == ["ended"]
    encrypted = ready and tls.tls.version() == "TLSv1.3"
    assert tls.peer.recv(100)[:1] == (b"\x17" if encrypted else b"\x15")


def test_a_tls_stream_that_never_shook_hands_shuts_with_a_fin(tls: TlsPair) -> None:
    tls.shut()
    assert tls.peer.recv(1) == b""

"""The load client: many sockets, drained by one process that spins.

Rule: it reads whole buffers and counts an octet of which a message has one (NUL, the end of a STOMP
frame, unless said otherwise); it decodes nothing while a server is measured.
"""

from __future__ import annotations

import select
import socket
import ssl
import struct
from collections.abc import Callable

READ = 16_384
MASK = b"\x37\xfa\x21\x3d"
TEXT = 0x81
UPGRADE = (
    b"GET /ws HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Origin: http://127.0.0.1\r\nUser-Agent: bench\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n%b\r\n"
)
STOMP_UPGRADE = UPGRADE % b"Sec-WebSocket-Protocol: v12.stomp\r\n"
PLAIN_UPGRADE = UPGRADE % b""
CONNECT = b"CONNECT\naccept-version:1.2\nhost:127.0.0.1\nheart-beat:0,0\n\n\0"
SUBSCRIBE = "SUBSCRIBE\nid:sub-0\ndestination:/topic/bench\nack:{}\nreceipt:r\n\n\0"


def masked(payload: bytes) -> bytes:
    """A client's text frame."""
    size = len(payload)
    if size < 126:
        head = struct.pack(">BB", TEXT, 0x80 | size)
    else:
        head = struct.pack(">BBH", TEXT, 0x80 | 126, size)
    mask = MASK * (size // 4 + 1)
    value = int.from_bytes(payload) ^ int.from_bytes(mask[:size])
    return head + MASK + value.to_bytes(size)


def send_frame(destination: str, body: bytes, receipt: str = "") -> bytes:
    """A client's SEND."""
    headers = f"destination:{destination}\ncontent-type:application/json\n"
    if receipt:
        headers += f"receipt:{receipt}\n"
    return masked(f"SEND\n{headers}content-length:{len(body)}\n\n".encode() + body + b"\0")


def ack_frame(number: int) -> bytes:
    """A client's ACK of the publication of this number."""
    return masked(f"ACK\nid:sub-0.{number}\n\n\0".encode())


def connect(port: int, tls: ssl.SSLContext | None = None) -> socket.socket:
    """A connection that does not block."""
    connection = socket.create_connection(("127.0.0.1", port))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if tls is not None:
        connection = tls.wrap_socket(connection)
    connection.setblocking(False)
    return connection


def read_until(connection: socket.socket, mark: bytes) -> bytes:
    """Spin until what has come ends with `mark`."""
    found = b""
    while not found.endswith(mark):
        try:
            data = connection.recv(READ)
        except (BlockingIOError, ssl.SSLWantReadError):
            continue
        if not data:
            raise RuntimeError(f"the server hung up behind {found[-200:]!r}")
        found += data
    return found


def reset(connection: socket.socket) -> None:
    """Close with RST, so that no port stays in TIME_WAIT."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def open_stomp(
    port: int,
    count: int,
    *,
    subscribe: bool = True,
    ack: str = "auto",
    tls: ssl.SSLContext | None = None,
) -> list[socket.socket]:
    """Clients that are CONNECTED and, if so wished, subscribed in a mode of acknowledgement; all of
    them take the same step together.
    """
    connections = [connect(port, tls) for _ in range(count)]
    steps = [(STOMP_UPGRADE, b"\r\n\r\n"), (masked(CONNECT), b"\0")]
    if subscribe:
        steps.append((masked(SUBSCRIBE.format(ack).encode()), b"\0"))
    for request, mark in steps:
        for connection in connections:
            connection.send(request)
        for connection in connections:
            read_until(connection, mark)
    return connections


def open_plain(port: int, count: int) -> list[socket.socket]:
    """WebSocket clients."""
    connections = [connect(port) for _ in range(count)]
    for connection in connections:
        connection.send(PLAIN_UPGRADE)
    for connection in connections:
        read_until(connection, b"\r\n\r\n")
    return connections


def in_groups(
    opener: Callable[[int], list[socket.socket]], count: int, size: int = 16
) -> list[socket.socket]:
    """Open many connections, so many at a time."""
    opened: list[socket.socket] = []
    while len(opened) < count:
        opened += opener(min(size, count - len(opened)))
    return opened


class Crowd:
    """Subscribers: sockets that are drained and counted.

    Args:
        connections: One each.
        mark: The octet of which each message has one.
    """

    def __init__(self, connections: list[socket.socket], mark: bytes = b"\0") -> None:
        self.connections = connections
        self._mark = mark
        self._poll = select.epoll()
        self._readers: dict[int, Callable[[int], bytes]] = {}
        for connection in connections:
            self._readers[connection.fileno()] = connection.recv
            self._poll.register(connection.fileno(), select.EPOLLIN)

    def drive(self, publish: Callable[[int], None], publications: int, in_flight: int) -> None:
        """Have so many publications made, at most `in_flight` of them not yet with everybody.

        Args:
            publish: Asks for so many publications more.
            publications: How many in all.
            in_flight: How many may be on their way.
        """
        had = dict.fromkeys(self._readers, 0)
        reached = [0] * (publications + 1)
        everybody = len(had)
        asked = min(in_flight, publications)
        done = 0
        publish(asked)
        poll, readers, mark = self._poll.poll, self._readers, self._mark
        while done < publications:
            for fd, _ in poll(0):
                before = had[fd]
                data = readers[fd](READ)
                if not data:
                    raise RuntimeError("the server hung up on a subscriber")
                had[fd] = now = before + data.count(mark)
                for number in range(before + 1, now + 1):
                    reached[number] += 1
            was = done
            while done < publications and reached[done + 1] == everybody:
                done += 1
            more = min(done - was, publications - asked)
            if more:
                asked += more
                publish(more)

    def acknowledge(self) -> None:
        """Have everybody acknowledge when he reads.

        A client that has sent something holds its acknowledgements of TCP back, and that of every
        other message is then made and taken while the server sends, in the server's time. One that
        has only read, as those of a server without a handshake, does not; nor does one that has
        got nothing for a moment. Servers of both kinds are compared in the same mode.
        """
        for connection in self.connections:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)

    @property
    def acknowledges(self) -> bool:
        """Everybody acknowledges when he reads."""
        return all(
            each.getsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK) for each in self.connections
        )

    def read(self, within: float) -> int:
        """Read what has come, or comes within so many seconds; how many messages."""
        data = [self._readers[fd](READ) for fd, _ in self._poll.poll(within)]
        if not all(data):
            raise RuntimeError("the server hung up on a subscriber")
        return sum(each.count(self._mark) for each in data)

    def one(self, publish: Callable[[int], None]) -> bytes:
        """Have one publication made; the octets that the first subscriber gets."""
        publish(1)
        found = [read_until(connection, b"\0") for connection in self.connections]
        return found[0]

    def close(self) -> None:
        """Hang up."""
        self._poll.close()
        for connection in self.connections:
            reset(connection)

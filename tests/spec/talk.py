"""Short ways to say what the tests of the specifications say all the time."""

from __future__ import annotations

from typing import Any

from stocksync_ws.codes import ErrorCode
from stocksync_ws.stomp.frame import Frame
from stocksync_ws.testing.peer import Peer
from stocksync_ws.testing.world import World

MODERN = ("1.1", "1.2")
EVERY = ("1.0", *MODERN)
BROKER: dict[str, Any] = {
    "client_send": ["/topic/**", "/queue/**"],
    "client_subscribe": ["/topic/**", "/queue/**"],
    "heart_beat": (1.0, 1.0),
    "missed_heart_beats": 2,
}


def frame(command: str, body: bytes = b"", **headers: str) -> bytes:
    """A frame as a client writes it: nothing is escaped; `_` in a name stands for `-`."""
    lines = [f"{name.replace('_', '-')}:{value}\n" for name, value in headers.items()]
    return f"{command}\n{''.join(lines)}\n".encode() + body + b"\0"


def refused(peer: Peer, code: str, close: int = 1002) -> dict[str, str]:
    """The peer got this ERROR, nothing behind it, and the close; the headers of the ERROR."""
    error = peer.error()
    assert error.headers["code"] == code
    assert peer.closed == close
    assert any(each.code == code and each.close == close for each in ErrorCode)
    return error.headers


def alive(peer: Peer) -> None:
    """The session goes on."""
    peer.send(frame("SEND", b"", destination="/topic/nobody", receipt="alive"))
    assert peer.frame("RECEIPT").headers == {"receipt-id": "alive"}
    peer.nothing()


def answer(peer: Peer, command: str, message: Frame, **headers: str) -> None:
    """ACK or NACK a MESSAGE, in the form of the version."""
    if peer.version == "1.2":
        headers["id"] = message.headers["ack"]
    else:
        headers["message_id"] = message.headers["message-id"]
    if peer.version == "1.1":
        headers["subscription"] = message.headers["subscription"]
    peer.send(frame(command, **headers))


def fill(world: World, destination: str, *bodies: str) -> None:
    sender = world.connect("1.2")
    for body in bodies:
        sender.send_to(destination, body)


def bodies(peer: Peer) -> list[bytes]:
    return [each.body for each in peer.frames()]

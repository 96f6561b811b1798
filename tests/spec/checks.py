"""The vocabulary of the wire checks: what is sent, and exactly what must come back.

Rule: frames of the server are written out by the builders below, independent of the encoder. The
epoch of every world is `id1-72`, so message ids are known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from stocksync_ws.codes import ErrorCode
from tests.spec.demands import places

Sent: TypeAlias = bytes | Sequence[bytes] | float | None
"""One WebSocket message, several, seconds that pass, or LOST."""
LOST = None
"""The stream ends."""
Expected: TypeAlias = dict[str, list[bytes]]
Step: TypeAlias = tuple[str, Sent, Expected]
"""Who sends, what, and what each peer gets; who is not named gets nothing."""
Demands: TypeAlias = Sequence[str]
"""References to demands, as in `@pytest.mark.stomp`."""


class Binary(bytes):
    """Sent as a binary WebSocket message; everything else is text."""


@dataclass
class Check:
    """One check of a row of the list of rows."""

    row: str
    about: str
    peers: dict[str, str]
    """Names and versions; `""` has not sent CONNECT."""
    steps: list[Step]
    closed: dict[str, int] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    proves: Demands = ()


def said(version: str, *demands: Demands) -> list[str]:
    """Those of the demands that this version makes."""
    named = (place for each in demands for place in places(each))
    return [str(place) for place in named if place.version == version]


def lines(headers: dict[str, str]) -> bytes:
    return "".join(f"{k.replace('_', '-')}:{v}\n" for k, v in headers.items()).encode()


def f(command: str, body: bytes = b"", **headers: str) -> bytes:
    """A frame of the client."""
    return command.encode() + b"\n" + lines(headers) + b"\n" + body + b"\0"


def send(destination: str, body: bytes = b"", **headers: str) -> bytes:
    return f("SEND", body, destination=destination, **headers)


def sub(name: str, destination: str, **headers: str) -> bytes:
    return f("SUBSCRIBE", id=name, destination=destination, **headers)


def settle(command: str, version: str, number: int, name: str = "s", **headers: str) -> bytes:
    """ACK or NACK of a publication, in the form of the version."""
    if version == "1.2":
        return f(command, id=f"{name}.{number}", **headers)
    if version == "1.1":
        headers = {"subscription": name, **headers}
    return f(command, message_id=f"id1-72-{number}", **headers)


def connected(version: str, *, beats: str = "1000,1000", user: str | None = None) -> bytes:
    """CONNECTED of the first session."""
    name = "" if user is None else f"user-name:{user}\n"
    return (
        f"CONNECTED\nversion:{version}\nheart-beat:{beats}\nsession:id2-128\n"
        f"server:stocksync-ws\n{name}\n\0"
    ).encode()


def got(
    number: int,
    name: str | None,
    destination: str,
    body: bytes = b"",
    *,
    ack: str = "",
    marks: str = "",
    **headers: str,
) -> bytes:
    """A MESSAGE.

    Args:
        number: Its place among all publications.
        name: The subscription; None: it has no id.
        ack: The `ack` header.
        marks: `first`, `attempt n`: of an acknowledging subscription.
        headers: Those of the sender.
    """
    head = {} if name is None else {"subscription": name}
    if ack:
        head["ack"] = ack
    if marks == "first":
        head["redelivered"] = "false"
    elif marks:
        head |= {"redelivered": "true", "delivery-attempt": marks.split()[1]}
    head |= {"destination": destination, "message-id": f"id1-72-{number}", **headers}
    if body:
        head["content-length"] = str(len(body))
    return b"MESSAGE\n" + lines(head) + b"\n" + body + b"\0"


def receipt(name: str) -> bytes:
    return f"RECEIPT\nreceipt-id:{name}\n\n\0".encode()


def error(code: str, close: int = 1002, **headers: str) -> bytes:
    """An ERROR; `headers` are those about the failing frame, in their order."""
    (entry,) = [each for each in ErrorCode if each.code == code and each.close == close]
    head = {"message": entry.message, "code": code, "content-type": "text/plain", **headers}
    body = entry.sentence.encode()
    head["content-length"] = str(len(body))
    return b"ERROR\n" + lines(head) + b"\n" + body + b"\0"


def without_detail(frame: bytes) -> bytes:
    """A frame as it came, but for what an ERROR says behind its fixed sentence: which header, which
    limit and what came is proved where it is found out.
    """
    head, blank, rest = frame.partition(b"\n\n")
    if not head.startswith(b"ERROR\n"):
        return frame
    body = rest.removesuffix(b"\0")
    for each in ErrorCode:
        sentence = each.sentence.encode()
        if b"\ncode:%b\n" % each.code.encode() in head and body.startswith(sentence + b" "):
            length = b"content-length:%d"
            head = head.replace(length % len(body), length % len(sentence))
            return head + blank + sentence + b"\0"
    return frame


A12, A11, A10 = {"a": "1.2"}, {"a": "1.1"}, {"a": "1.0"}
NEW = {"a": ""}
SUB = ("a", sub("s", "/topic/a"), {})
CONNECT = b"CONNECT\naccept-version:1.2\nhost:h\n\n\0"
HELLO = ("a", CONNECT, {"a": [connected("1.2")]})
UNTIL_NUL = send("/topic/a", b"x")


def fatal(
    row: str,
    about: str,
    version: str,
    sent: bytes | list[bytes],
    code: str,
    /,
    proves: Demands = (),
    **about_frame: str,
) -> Check:
    """What is sent gets this ERROR and the close."""
    steps: list[Step] = [("a", sent, {"a": [error(code, **about_frame)]})]
    return Check(row, about, {"a": version}, steps, {"a": 1002}, proves=proves)


BOTH = {"a": "1.2", "b": "1.2"}
ACKED: Step = ("a", sub("s", "/topic/a", ack="client-individual"), {})
CUMULATIVE: Step = ("a", sub("s", "/topic/a", ack="client"), {})


def first(
    number: int, name: str = "s", destination: str = "/topic/a", *, version: str = "1.2"
) -> bytes:
    """The first delivery of an empty message to an acknowledging subscription."""
    ack = f"{name}.{number}" if version == "1.2" else ""
    return got(number, name, destination, ack=ack, marks="first")


def again(
    number: int,
    attempt: int,
    name: str = "s",
    destination: str = "/topic/a",
    *,
    version: str = "1.2",
) -> bytes:
    """A later delivery of it."""
    ack = f"{name}.{number}" if version == "1.2" else ""
    return got(number, name, destination, ack=ack, marks=f"attempt {attempt}")


def deliver(
    number: int, name: str = "s", destination: str = "/topic/a", *, version: str = "1.2"
) -> Step:
    """An empty message is sent and comes."""
    return ("a", send(destination), {"a": [first(number, name, destination, version=version)]})

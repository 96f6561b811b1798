"""Wire checks of sizes and of what real clients do: rows A9 and A10.

Rule: a check of A10 is what that client really sends, with its oddities; the broker has to live
with it.
"""

from __future__ import annotations

from typing import Any

from stocksync_ws import Limits
from tests.spec.checks import (
    A10,
    A11,
    A12,
    HELLO,
    NEW,
    SUB,
    Binary,
    Check,
    Demands,
    Step,
    connected,
    error,
    f,
    first,
    got,
    receipt,
    said,
    send,
    settle,
    sub,
)
from tests.spec.talk import EVERY

SIZES: Demands = ["1.1 1.2 Size Limits 1"]
SMALL = {"limits": Limits(max_message_size=8_192, max_header_block=4_096, max_header_line=1_024)}
DEST = {"destination": "/topic/a"}
HEAD = b"SEND\ndestination:/topic/a\n"


def over(v: str, about: str, sent: bytes | list[bytes], code: int = 1009, /, **frame: str) -> Check:
    """One more than may be: ERROR and close."""
    steps: list[Step] = [("a", sent, {"a": [error("limit", code, **frame)]})]
    return Check("A9", f"{v} {about}", {"a": v}, steps, {"a": code}, SMALL, said(v, SIZES))


def within(v: str, about: str, sent: bytes, settings: dict[str, Any] = SMALL) -> Check:
    """As much as may be."""
    return Check("A9", f"{v} {about}", {"a": v}, [("a", sent, {"a": [receipt("r")]})], {}, settings)


def sizes(v: str) -> list[Check]:
    """A9: the last that is taken and the first that is not."""
    body = 8_192 - len(HEAD) - len(b"receipt:r\n\n\0")
    many = b"".join(b"h%d:v\n" % n for n in range(62))
    block = b"".join(b"%d:%b\n" % (n, b"v" * 1_000) for n in range(4))
    return [
        within(v, "64 header lines", HEAD + b"receipt:r\n" + many + b"\n\0"),
        over(
            v, "65 header lines", HEAD + b"x:y\nz:\n" + many + b"\n\0", 1008, command="SEND", **DEST
        ),
        over(
            v, "65 header lines, all the same", HEAD + b"x:y\n" * 64, 1008, command="SEND", **DEST
        ),
        within(v, "a line of 1024", HEAD + b"receipt:r\nk:" + b"v" * 1_022 + b"\n\n\0"),
        over(v, "a line of 1025", HEAD + b"k:" + b"v" * 1_023 + b"\n", command="SEND", **DEST),
        over(v, "a line that does not end", HEAD + b"k:" + b"v" * 1_023, command="SEND", **DEST),
        within(v, "a block of 4096", HEAD + b"receipt:r\n" + block + b"k:" + b"v" * 44 + b"\n\n\0"),
        over(v, "a block of 4097", HEAD + block + b"k:" + b"v" * 56, command="SEND", **DEST),
        within(v, "a frame of 8192", HEAD + b"receipt:r\n\n" + b"x" * body + b"\0"),
        over(
            v,
            "a frame of 8193",
            [HEAD + b"receipt:r\n\n" + b"x" * body, b"x\0"],
            receipt_id="r",
            command="SEND",
            **DEST,
        ),
        over(v, "content-length", HEAD + b"content-length:8192\n\n", command="SEND", **DEST),
        over(v, "a message of 8193", b"\n" * 8_193),
        over(
            v,
            "a receipt of 129",
            send("/topic/a", receipt="r" * 129),
            command="SEND",
            **DEST,
        ),
        over(
            v,
            "a subscription too many",
            b"".join(sub(str(n), "/topic/a") for n in range(101)),
            1008,
            command="SUBSCRIBE",
            **DEST,
            subscription="100",
        ),
    ]


OLD = f("CONNECT", accept_version="1.1,1.0", heart_beat="10000,10000")
NEWER = f("CONNECT", accept_version="1.2,1.1,1.0", heart_beat="10000,10000")
CONNECTED_11, CONNECTED_12 = {"a": [connected("1.1")]}, {"a": [connected("1.2")]}
BODY = "x€" * 9_000
LONG = send("/topic/a", BODY.encode(), content_length=str(len(BODY.encode())))
LARGE = {"limits": Limits(max_message_size=200_000)}
PIECES = [LONG.decode()[n : n + 8_192].encode() for n in range(0, len(LONG.decode()), 8_192)]

CLIENTS = [
    Check(
        "A10",
        "stompjs 2.3.3: no host, nothing escaped, heart-beats of 10 s",
        NEW,
        [
            ("a", OLD, CONNECTED_11),
            ("a", sub("sub-0", "/topic/a", ack="client"), {}),
            (
                "a",
                send("/topic/a", k="a:b", content_length="0"),
                {"a": [got(1, "sub-0", "/topic/a", marks="first", k="a\\cb")]},
            ),
            ("a", f("ACK", message_id="id1-72-1", subscription="sub-0"), {}),
            ("a", 10.0, {"a": [b"\n"]}),
            ("a", [b"\n", f("DISCONNECT")], {}),
        ],
        {"a": 1000},
    ),
    Check(
        "A10",
        "stompjs 2.3.3: a long frame in pieces of 16 Ki characters comes back in one message",
        A11,
        [
            ("a", sub("sub-0", "/topic/a"), {}),
            ("a", PIECES, {"a": [got(1, "sub-0", "/topic/a", BODY.encode())]}),
        ],
        {},
        LARGE,
    ),
    Check(
        "A10",
        "@stomp/stompjs 7: ids in three headers, DISCONNECT with a receipt",
        NEW,
        [
            ("a", NEWER, CONNECTED_12),
            ("a", sub("sub-0", "/topic/a", ack="client-individual"), {}),
            ("a", send("/topic/a", content_length="0"), {"a": [first(1, "sub-0")]}),
            (
                "a",
                f("ACK", id="sub-0.1", message_id="id1-72-1", subscription="sub-0"),
                {},
            ),
            ("a", b"\n", {}),
            ("a", f("UNSUBSCRIBE", id="sub-0"), {}),
            ("a", f("DISCONNECT", receipt="close-1"), {"a": [receipt("close-1")]}),
        ],
        {"a": 1000},
    ),
    Check(
        "A10",
        "@stomp/stompjs 7: ACK for a subscription that needs none",
        A12,
        [
            SUB,
            ("a", send("/topic/a"), {"a": [got(1, "s", "/topic/a")]}),
            ("a", f("ACK", id="id1-72-1", message_id="id1-72-1", subscription="s"), {}),
            ("a", send("/topic/a"), {"a": [got(2, "s", "/topic/a")]}),
        ],
    ),
    Check(
        "A10",
        "webstomp-client: accept-version is one version",
        NEW,
        [
            ("a", f("CONNECT", accept_version="1.0", host="h"), {"a": [connected("1.0")]}),
            ("a", sub("s", "/topic/a"), {}),
            ("a", send("/topic/a", b"x"), {"a": [got(1, "s", "/topic/a", b"x")]}),
        ],
    ),
    *[
        Check(
            "A10",
            f"stomp.py {v}: STOMP, heart-beats of 0,0",
            NEW,
            [
                (
                    "a",
                    f("STOMP", accept_version=v, host="127.0.0.1", heart_beat="0,0"),
                    {"a": [connected(v)]},
                ),
                ("a", sub("1", "/queue/a", ack="client"), {}),
                ("a", send("/queue/a"), {"a": [first(1, "1", "/queue/a", version=v)]}),
                ("a", settle("ACK", v, 1, "1", receipt="r"), {"a": [receipt("r")]}),
                ("a", 24.0, {}),
            ],
        )
        for v in ("1.1", "1.2")
    ],
    Check(
        "A10",
        "stompman: heart-beats of 1 s",
        NEW,
        [
            (
                "a",
                f("CONNECT", accept_version="1.2", host="h", heart_beat="1000,1000"),
                CONNECTED_12,
            ),
            ("a", 1.0, {"a": [b"\n"]}),
            ("a", b"\n", {}),
            ("a", 1.0, {"a": [b"\n"]}),
        ],
    ),
    Check(
        "A10",
        "React Native: binary messages, the answers text",
        NEW,
        [
            ("a", Binary(NEWER), CONNECTED_12),
            ("a", Binary(sub("s", "/topic/a")), {}),
            (
                "a",
                [Binary(b"SEND\ndestination:/topic/a\n\nh"), b"i\0"],
                {"a": [got(1, "s", "/topic/a", b"hi")]},
            ),
        ],
    ),
    Check(
        "A10",
        "Ruby: CRLF in every line",
        NEW,
        [
            *[
                (who, sent.replace(b"\n", b"\r\n"), expected)
                for who, sent, expected in (HELLO, SUB)
                if isinstance(sent, bytes)
            ],
            (
                "a",
                b"SEND\r\ndestination:/topic/a\r\ncontent-length:3\r\n\r\na\0b\0\r\n",
                {"a": [got(1, "s", "/topic/a", b"a\0b")]},
            ),
        ],
    ),
    Check(
        "A10",
        "stomp-php: ACK with all the headers of its MESSAGE",
        A11,
        [
            ("a", sub("s", "/queue/a", ack="client"), {}),
            (
                "a",
                send("/queue/a", b"abc"),
                {"a": [got(1, "s", "/queue/a", b"abc", marks="first")]},
            ),
            (
                "a",
                f(
                    "ACK",
                    subscription="s",
                    redelivered="false",
                    destination="/queue/a",
                    message_id="id1-72-1",
                    content_length="3",
                    receipt="r",
                ),
                {"a": [receipt("r")]},
            ),
        ],
    ),
    Check(
        "A10",
        "a client of 1.0: padded headers, no ids",
        A10,
        [
            ("a", b"SUBSCRIBE\ndestination: /queue/a\nack: client\n\n\0\n", {}),
            (
                "a",
                b"SEND\ndestination: /queue/a\n\nhello queue a\n\0\n",
                {"a": [got(1, None, "/queue/a", b"hello queue a\n", marks="first")]},
            ),
            ("a", b"ACK\nmessage-id: id1-72-1\nreceipt: r\n\n\0\n", {"a": [receipt("r")]}),
        ],
    ),
]

CHECKS = [*[each for v in EVERY for each in sizes(v)], *CLIENTS]

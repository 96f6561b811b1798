"""Wire checks of frames and bodies: rows G, in every version."""

from __future__ import annotations

from tests.spec.checks import (
    A11,
    A12,
    CONNECT,
    NEW,
    SUB,
    UNTIL_NUL,
    Check,
    Demands,
    Step,
    connected,
    f,
    fatal,
    got,
    receipt,
    said,
    send,
    settle,
    sub,
)
from tests.spec.talk import EVERY, MODERN

STARTS: Demands = ["1.0 Introduction 1", "1.2 STOMP Frames 1"]
GRAMMAR: Demands = ["1.0 1.1 1.2 Augmented BNF 1"]
EOLS: Demands = ["1.2 STOMP Frames 2"]
CASE: Demands = ["1.1 STOMP Frames 2", "1.2 STOMP Frames 4"]
NAME: Demands = ["1.0 1.1 1.2 Augmented BNF 2"]
VALUE: Demands = ["1.0 1.1 1.2 Augmented BNF 3"]
READ: Demands = [
    "1.0 SEND 5",
    "1.0 MESSAGE 5",
    "1.1 Header content-length 3",
    "1.2 Header content-length 1",
]
FOLLOWED: Demands = ["1.1 STOMP Frames 1", "1.2 STOMP Frames 3"]
NUL: Demands = [
    "1.0 SEND 6",
    "1.0 MESSAGE 6",
    "1.1 Header content-length 4",
    "1.2 Header content-length 2",
    *FOLLOWED,
]
COUNTED: Demands = [
    "1.0 MESSAGE 4",
    "1.1 Header content-length 1",
    "1.2 Header content-length 3",
    "1.1 Header content-length 2",
    "1.2 Header content-length 4",
    "1.1 MESSAGE 5",
    "1.2 MESSAGE 7",
]
NO_BODY: Demands = ["1.1 Value Encoding 6", "1.2 Body 1"]
UTF_8: Demands = ["1.1 1.2 Header content-type 8"]


def sent(row: str, about: str, v: str, frames: bytes | list[bytes], *back: bytes) -> Check:
    """A subscriber to its own topic sends this and gets that."""
    return Check(row, f"{v} {about}", {"a": v}, [SUB, ("a", frames, {"a": [*back]})])


def proves(check: Check, *demands: Demands) -> Check:
    check.proves = said(check.peers["a"], *demands)
    return check


def whole(v: str) -> list[Check]:
    """G1, G2, G3 and G5: frames, and what stands between them."""
    hi = got(1, "s", "/topic/a", b"hi")
    x, y = got(1, "s", "/topic/a", b"x"), got(2, "s", "/topic/a", b"x")
    frame = b"SEND\ndestination:/topic/a\n\nhi\0"
    pieces = [b"SE", b"ND\ndestin", b"ation:/topic/a\n", b"\nh", b"i\0"]
    return [
        proves(
            sent("G1", "a frame and two line ends behind it", v, frame + b"\n\n", hi),
            STARTS,
            GRAMMAR,
            FOLLOWED,
        ),
        proves(
            fatal("G2", f"{v} a command in small letters", v, b"send\n", "unknown-command"), CASE
        ),
        proves(
            fatal(
                "G2",
                f"{v} a header name in capitals is another header",
                v,
                f("SEND", Destination="/topic/a"),
                "missing-header",
                command="SEND",
            ),
            CASE,
        ),
        proves(
            sent(
                "G2",
                "two headers that differ in capitals",
                v,
                send("/topic/a", k="1", K="2"),
                got(1, "s", "/topic/a", k="1", K="2"),
            ),
            CASE,
        ),
        proves(
            sent("G3", "CRLF between frames", v, b"\r\n\r\n" + UNTIL_NUL + b"\r\n", x),
            GRAMMAR if v == "1.2" else [],
        ),
        sent("G3", "a CRLF in two messages", v, [b"\r", b"\n" + UNTIL_NUL], x),
        fatal("G3", f"{v} a bare CR between frames", v, b"\rSEND\n", "bad-header"),
        sent("G4", "NULs between frames", v, b"\0\n\0" + UNTIL_NUL + b"\0", x),
        proves(sent("G5", "two frames in one message", v, UNTIL_NUL * 2, x, y), GRAMMAR),
        proves(sent("G5", "one frame in five messages", v, pieces, hi), GRAMMAR),
        proves(sent("G5", "octet by octet", v, [bytes([each]) for each in frame], hi), GRAMMAR),
    ]


def headers(v: str) -> list[Check]:
    """G6 to G9: what a header may be."""
    modern = v != "1.0"
    colon = "a\\cb" if modern else "a:b"
    about = {"command": "SEND"}
    return [
        proves(
            fatal("G6", f"{v} a line without colon", v, b"SEND\nx\n\n\0", "bad-header", **about),
            NAME,
        ),
        proves(
            fatal("G6", f"{v} an empty name", v, b"SEND\n:v\n\n\0", "bad-header", **about), NAME
        ),
        fatal("G6", f"{v} a NUL in a header", v, b"SEND\nk:a\0b\n\n\0", "bad-header", **about),
        fatal("G6", f"{v} a NUL in the command", v, b"SE\0ND\n\n\0", "unknown-command"),
        proves(
            sent("G7", "an empty value", v, send("/topic/a", x=""), got(1, "s", "/topic/a", x="")),
            VALUE,
        ),
        proves(
            sent(
                "G8",
                "UTF-8 in names and values",
                v,
                send("/topic/a", clé="é€🚚"),
                got(1, "s", "/topic/a", clé="é€🚚"),
            ),
            UTF_8,
            NAME,
            VALUE,
        ),
        proves(
            sent(
                "G9",
                "a colon in a value that was not escaped",
                v,
                send("/topic/a", k="a:b"),
                got(1, "s", "/topic/a", k=colon),
            ),
            VALUE,
        ),
    ]


def bodies(v: str) -> list[Check]:
    """G10, G11 and G13: where a body ends."""
    head = b"SEND\ndestination:/topic/a\n"
    about = {"command": "SEND", "destination": "/topic/a"}
    counted = head + b"content-length:3\n\na\0b\0"
    message = got(1, "s", "/topic/a", b"a\0b")
    slow = head + "é:è\ncontent-length:3\n\na\0b\0".encode()
    without = head + b"content-length:1\n\nabc\0"
    bad = ("", "-1", "+5", "0x5", "5 ", "5.0", "99999999999", "five", "\u0665")
    return [
        proves(sent("G10", "NUL inside a counted body", v, counted, message), READ, COUNTED),
        *[
            proves(
                sent("G10", f"the same cut at {at}", v, [counted[:at], counted[at:]], message),
                READ,
                COUNTED,
            )
            for at in (10, len(head), len(counted) - 4, len(counted) - 2, len(counted) - 1)
        ],
        proves(
            sent(
                "G10",
                "the same behind a header that is not ASCII",
                v,
                slow,
                got(1, "s", "/topic/a", b"a\0b", é="è"),
            ),
            READ,
            COUNTED,
        ),
        *[
            proves(
                fatal(
                    "G10", f"{v} no NUL behind a counted body{how}", v, each, "missing-nul", **about
                ),
                NUL,
            )
            for how, each in (("", without), (", cut", [without[:-3], without[-3:]]))
        ],
        sent(
            "G10",
            "a NUL ends a body without number",
            v,
            head + b"\na\0\n",
            got(1, "s", "/topic/a", b"a"),
        ),
        Check(
            "G10",
            f"{v} too large a number waits",
            {"a": v},
            [
                SUB,
                ("a", [head + b"content-length:4\n\na\0", b"\n"], {}),
                ("a", b"b\0", {"a": [got(1, "s", "/topic/a", b"a\0\nb")]}),
            ],
            proves=said(v, READ),
        ),
        *[
            fatal(
                "G11",
                f"{v} content-length {value!a}",
                v,
                head + f"content-length:{value}\n\nabcde\0".encode(),
                "bad-content-length",
                **about,
            )
            for value in (*bad, *([" 5"] if v != "1.0" else []))
        ],
        proves(
            sent(
                "G13",
                "content-length counts octets",
                v,
                send("/topic/a", "é€".encode()),
                b"MESSAGE\nsubscription:s\ndestination:/topic/a\nmessage-id:id1-72-1\n"
                b"content-length:5\n\n\xc3\xa9\xe2\x82\xac\0",
            ),
            COUNTED,
        ),
        proves(
            sent(
                "G13",
                "a body of one octet is counted too",
                v,
                UNTIL_NUL,
                got(1, "s", "/topic/a", b"x"),
            ),
            COUNTED,
        ),
    ]


def others(v: str) -> list[Check]:
    """G12: a body, or the number of one, on a frame that has none."""
    watched: list[Step] = [
        ("a", sub("s", "/topic/a", ack="client"), {}),
    ]
    message = got(1, "s", "/topic/a", b"x", ack="s.1" if v == "1.2" else "", marks="first")
    echoed = {"content_length": "1", "requeue": "false", "receipt": "r"}
    return [
        *[
            Check(
                "G12",
                f"{v} {command} that echoes the content-length of its MESSAGE",
                {"a": v},
                [
                    *watched,
                    ("a", UNTIL_NUL, {"a": [message]}),
                    ("a", settle(command, v, 1, **echoed) + b"\n", {"a": [receipt("r")]}),
                ],
                proves=said(v, READ),
            )
            for command in ("ACK", "NACK")
        ],
        *[
            proves(
                fatal(
                    "G12",
                    f"{v} a body on {command}",
                    v,
                    f(command, b"x", id="s"),
                    "body-not-allowed",
                    command=command,
                    **({"subscription": "s"} if "SUB" in command else {}),
                ),
                NO_BODY,
            )
            for command in (
                "SUBSCRIBE",
                "UNSUBSCRIBE",
                "ACK",
                "NACK",
                "BEGIN",
                "COMMIT",
                "ABORT",
                "DISCONNECT",
            )
        ],
        *[
            Check(
                "G12",
                f"{v} content-length:0 on {command}",
                {"a": v},
                [
                    (
                        "a",
                        f(command, content_length="0", receipt="r", **headers),
                        {"a": [receipt("r")]},
                    )
                ],
                {"a": 1000} if command == "DISCONNECT" else {},
                proves=said(v, READ),
            )
            for command, headers in (
                ("SUBSCRIBE", {"id": "s", "destination": "/topic/a"}),
                ("BEGIN", {"transaction": "t"}),
                ("DISCONNECT", {}),
            )
        ],
    ]


LINES = [
    Check(
        "G3",
        "line ends before CONNECT",
        NEW,
        [("a", b"\n\n\r\n" + CONNECT, {"a": [connected("1.2")]})],
    ),
    Check("G4", "NULs before CONNECT", NEW, [("a", b"\0\0" + CONNECT, {"a": [connected("1.2")]})]),
    Check(
        "G5",
        "CONNECT octet by octet",
        NEW,
        [("a", [bytes([each]) for each in CONNECT], {"a": [connected("1.2")]})],
    ),
    fatal("G6", "1.2 a bare CR", "1.2", b"SEND\nk:a\rb\n\n\0", "bad-header", command="SEND"),
    Check(
        "G6",
        "1.2 CRLF, LF, or each in turn",
        A12,
        [
            SUB,
            (
                "a",
                [
                    UNTIL_NUL.replace(b"\n", b"\r\n"),
                    b"SEND\r\ndestination:/topic/a\nk:v\r\n\nx\0",
                    *[bytes([each]) for each in UNTIL_NUL.replace(b"\n", b"\r\n")],
                ],
                {
                    "a": [
                        got(1, "s", "/topic/a", b"x"),
                        got(2, "s", "/topic/a", b"x", k="v"),
                        got(3, "s", "/topic/a", b"x"),
                    ]
                },
            ),
        ],
        proves=said("1.2", STARTS, EOLS, GRAMMAR),
    ),
    Check(
        "G6",
        "1.1 a CR is an octet of the value, and cannot be told",
        A11,
        [SUB, ("a", send("/topic/a", k="v\r"), {"a": [got(1, "s", "/topic/a", k="v")]})],
    ),
    fatal(
        "G6",
        "1.1 a blank line is LF",
        "1.1",
        b"SEND\ndestination:/topic/a\n\r\n\0",
        "bad-header",
        command="SEND",
        destination="/topic/a",
    ),
    fatal("G6", "1.1 a command ends with LF", "1.1", b"SEND\r\n\r\n\0", "unknown-command"),
]

CHECKS = [
    *[each for v in EVERY for each in (*whole(v), *headers(v), *bodies(v))],
    *[each for v in MODERN for each in others(v)],
    *LINES,
]

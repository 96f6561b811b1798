"""Wire checks of connecting and heart-beats: rows V and B, and E3."""

from __future__ import annotations

from dataclasses import dataclass

from stocksync_ws import ConnectRequest, Limits
from tests.spec.checks import (
    CONNECT,
    HELLO,
    NEW,
    Check,
    Demands,
    Step,
    connected,
    error,
    f,
    fatal,
    receipt,
    said,
    send,
)
from tests.spec.talk import EVERY, MODERN

ACCEPTED: Demands = ["1.1 1.2 Connecting 1"]
ACCEPTED_10: Demands = ["1.0 Introduction 3"]
MISSING: Demands = ["1.1 1.2 Protocol Negotiation 3"]
HIGHEST: Demands = ["1.1 1.2 Protocol Negotiation 4", "1.1 1.2 Protocol Negotiation 5"]
REQUIRED: Demands = ["1.2 Frames and Headers 2"]
LIST: Demands = ["1.1 1.2 Protocol Negotiation 2"]
ALIKE: Demands = ["1.1 1.2 CONNECT or STOMP Frame 1"]
UNESCAPED: Demands = ["1.1 1.2 Value Encoding 2"]
NO_BODY: Demands = ["1.1 Value Encoding 6", "1.2 Body 1"]
NONE: Demands = ["1.1 1.2 Heart-beating 3"]
SLOWER: Demands = ["1.1 1.2 Heart-beating 4"]
SAME_WAY: Demands = ["1.1 1.2 Heart-beating 5"]
SIGN: Demands = ["1.1 1.2 Heart-beating 6"]
UNSENT: Demands = ["1.1 1.2 Heart-beating 2"]
AT_LEAST: Demands = ["1.1 1.2 Heart-beating 7"]
TOLERANT: Demands = ["1.1 1.2 Heart-beating 9"]
MALFORMED: Demands = ["1.1 1.2 Heart-beating 1"]


@dataclass(frozen=True)
class User:
    name: str


def login(request: ConnectRequest) -> User:
    """The name shows in CONNECTED what the application was given."""
    return User(f"{request.login}|{request.passcode}")


def hello(v: str, **headers: str) -> bytes:
    """CONNECT of a version."""
    fields = {} if v == "1.0" else {"accept_version": v, "host": "h"}
    return f("CONNECT", **fields, **headers)


CONNECTING = [
    Check(
        "V1",
        "no accept-version is 1.0",
        NEW,
        [("a", b"CONNECT\nlogin:u\n\n\0", {"a": [connected("1.0")]})],
        proves=[*MISSING, *ACCEPTED_10],
    ),
    *[
        Check(
            "V2",
            f"accept-version {offered}",
            NEW,
            [("a", f("CONNECT", accept_version=offered, host="h"), {"a": [connected(chosen)]})],
            proves=said(chosen, HIGHEST, LIST, ACCEPTED),
        )
        for offered, chosen in (
            ("1.0,1.1,2.0", "1.1"),
            ("1.2,1.1,1.0", "1.2"),
            ("1.0,1.1,1.2", "1.2"),
            ("1.1, 1.2", "1.2"),
            ("1.0", "1.0"),
            ("2.0,1.3,1.2,0.9,1.1", "1.2"),
        )
    ],
    fatal(
        "V3",
        "no common version",
        "",
        f("CONNECT", accept_version="2.0", host="h"),
        "unsupported-version",
        proves=["1.1 1.2 Protocol Negotiation 6"],
        command="CONNECT",
        version="1.0,1.1,1.2",
    ),
    *[
        Check(
            "V4",
            f"STOMP {v}",
            NEW,
            [("a", f("STOMP", accept_version=v, host="h"), {"a": [connected(v)]})],
            proves=said(v, ALIKE, ACCEPTED),
        )
        for v in EVERY
    ],
    *[
        Check(
            "V5",
            f"{v} no host",
            NEW,
            [("a", f("CONNECT", accept_version=v), {"a": [connected(v)]})],
            proves=said(v, ACCEPTED),
        )
        for v in EVERY
    ],
    *[
        fatal(
            "V7",
            f"{command} before CONNECT",
            "",
            f(command, destination="/topic/a"),
            "not-connected",
            command=command,
            destination="/topic/a",
        )
        for command in ("SEND", "SUBSCRIBE", "BEGIN", "DISCONNECT")
    ],
    *[
        Check(
            "V7",
            f"a second {command}",
            NEW,
            [
                HELLO,
                (
                    "a",
                    CONNECT.replace(b"CONNECT", command.encode()),
                    {"a": [error("already-connected", command=command)]},
                ),
            ],
            {"a": 1002},
            proves=said("1.2", ALIKE),
        )
        for command in ("CONNECT", "STOMP")
    ],
    *[
        Check(
            "V7",
            f"receipt on {command} is ignored",
            NEW,
            [("a", f(command, accept_version="1.2", receipt="r"), {"a": [connected("1.2")]})],
            proves=said("1.2", ALIKE),
        )
        for command in ("CONNECT", "STOMP")
    ],
    Check(
        "V8",
        "no CONNECT in time",
        NEW,
        [("a", 9.5, {}), ("a", 1.0, {"a": [error("connect-timeout", 1008)]})],
        {"a": 1008},
    ),
    Check(
        "V8",
        "too much before CONNECT",
        NEW,
        [("a", b"\n" * 20_000, {"a": [error("limit", 1009)]})],
        {"a": 1009},
        {"limits": Limits(pre_auth_bytes=16_384)},
    ),
    Check(
        "V8",
        "too much before CONNECT, in two messages",
        NEW,
        [("a", b"\n" * 10_000, {}), ("a", b"\n" * 10_000, {"a": [error("limit", 1009)]})],
        {"a": 1009},
        {"limits": Limits(pre_auth_bytes=16_384)},
    ),
    *[
        Check(
            "V9",
            f"{v} CONNECTED always carries heart-beat",
            NEW,
            [("a", hello(v), {"a": [connected(v)]})],
            proves=said(v, ACCEPTED, ACCEPTED_10, REQUIRED),
        )
        for v in EVERY
    ],
    *[
        Check(
            "E3",
            f"{v} {command} is not unescaped",
            NEW,
            [
                (
                    "a",
                    f"{command}\naccept-version:{v}\nhost:h\npasscode:a\\tb\\c\nlogin:p\\n:s\n\n\0".encode(),
                    {"a": [connected(v, user="p\\n:s|a\\tb\\c")]},
                )
            ],
            {},
            {"authenticator": login},
            said(v, UNESCAPED, ALIKE),
        )
        for v in EVERY
        for command in ("CONNECT", "STOMP")
    ],
    *[
        Check(
            "E3",
            f"{v} blanks of a login: {means!r}",
            NEW,
            [
                (
                    "a",
                    hello(v, login=" u", passcode="\tp "),
                    {"a": [connected(v, user=means)]},
                )
            ],
            {},
            {"authenticator": login},
            said(v, ["1.1 Value Encoding 7", "1.2 Value Encoding 6"]),
        )
        for v in EVERY
        for means in ("u|p " if v == "1.0" else " u|\tp ",)
    ],
    *[
        fatal(
            "V4",
            f"{command}: {what}",
            "",
            f"{command}\naccept-version:1.2\nlogin:u\n{more}\0".encode(),
            code,
            proves=demands,
            command=command,
        )
        for command in ("CONNECT", "STOMP")
        for what, more, code, demands in (
            ("a body", "\nx", "body-not-allowed", ()),
            ("two logins", "login:v\n\n", "repeated-header", ()),
            ("a bare CR", "k:a\rb\n\n", "bad-header", ()),
        )
    ],
]


def agreed(row: str, v: str, asked: str, about: str, steps: list[Step], *demands: Demands) -> Check:
    """A client that sent this `heart-beat`, and what then happens."""
    start = ("a", hello(v, heart_beat=asked), {"a": [connected(v)]})
    return Check(row, f"{v} {asked}: {about}", NEW, [start, *steps], proves=said(v, *demands))


def lost(row: str, v: str, asked: str, about: str, steps: list[Step], *demands: Demands) -> Check:
    """The same, and it ends with a close."""
    check = agreed(row, v, asked, about, steps, *demands)
    check.closed = {"a": 4000}
    return check


def from_server(v: str) -> list[Check]:
    """What the server sends: at the slower of the two rates, or never."""
    one_lf: Demands = ["1.1 Heart-beating 8"]
    eol: Demands = ["1.2 Heart-beating 8"]
    beat = {"a": [b"\n"]}
    return [
        agreed(
            "B1",
            v,
            "0,1000",
            "one LF a window",
            [("a", 1.0, beat), ("a", 1.0, beat)],
            AT_LEAST,
            one_lf,
            eol,
        ),
        agreed(
            "B1",
            v,
            "0,1000",
            "a frame is as good",
            [
                ("a", 0.6, {}),
                ("a", send("/topic/x", receipt="r"), {"a": [receipt("r")]}),
                ("a", 0.8, {}),
                ("a", 0.2, beat),
            ],
            AT_LEAST,
        ),
        *[
            agreed(
                "B5",
                v,
                asked,
                "the slower of the two",
                [("a", early, {}), ("a", late, beat)],
                SAME_WAY,
            )
            for asked, early, late in (("0,500", 0.85, 0.1), ("0,4000", 3.5, 0.2))
        ],
        *[agreed("B5", v, asked, "never", [("a", 24.0, {})], SAME_WAY, NONE) for asked in ("0,0",)],
        agreed(
            "B5",
            v,
            "1000,0",
            "never to a client that wants none",
            [step for _ in range(9) for step in (("a", 1.0, {}), ("a", b"\n", {}))],
            SAME_WAY,
        ),
        Check(
            "B5",
            f"{v} no heart-beat: never",
            NEW,
            [("a", hello(v), {"a": [connected(v)]}), ("a", 24.0, {})],
            proves=said(v, UNSENT),
        ),
        Check(
            "B5",
            f"{v} a server of 0,0 sends none and wants none",
            NEW,
            [
                ("a", hello(v, heart_beat="1000,1000"), {"a": [connected(v, beats="0,0")]}),
                ("a", 24.0, {}),
                ("a", send("/topic/a", receipt="r"), {"a": [receipt("r")]}),
            ],
            {},
            {"heart_beat": (0.0, 0.0)},
            said(v, NONE, SAME_WAY),
        ),
        *[
            Check(
                "B5",
                f"{v} a server of {ours[0]:g},{ours[1]:g} s: {what}",
                NEW,
                [
                    ("a", hello(v, heart_beat="1000,1000"), {"a": [connected(v, beats=shown)]}),
                    *steps,
                ],
                closed,
                {"heart_beat": ours},
                said(v, NONE, SLOWER, SAME_WAY),
            )
            for ours, shown, what, steps, closed in (
                ((2.0, 0.0), "2000,0", "beats, wants none", [("a", 2.0, beat)] * 5, {}),
                (
                    (0.0, 2.0),
                    "0,2000",
                    "wants, beats none",
                    [("a", 3.9, {}), ("a", 0.2, {})],
                    {"a": 4000},
                ),
            )
        ],
    ]


def from_client(v: str) -> list[Check]:
    """What the server expects: at the slower of the two rates, twice as long at the most."""
    beats: list[Step] = [("a", b"\n", {}), ("a", 1.9, {})]
    signs = (b"\n", b"\0", send("/topic/a")[:9])
    return [
        lost(
            "B2",
            v,
            "1000,0",
            "silence ends it without an ERROR",
            [("a", 1.9, {}), *beats, *beats, ("a", 0.2, {})],
            TOLERANT,
            SLOWER,
        ),
        *[
            lost(
                "B5",
                v,
                asked,
                "the slower of the two, expected",
                [("a", early, {}), ("a", b"\n", {}), ("a", early, {}), ("a", 0.2, {})],
                SLOWER,
            )
            for asked, early in (("4000,0", 7.9), ("100,0", 1.9), ("1,0", 1.9), ("1500,0", 2.9))
        ],
        agreed(
            "B2",
            v,
            "1000,0",
            "any octet is life, of half a frame too",
            [step for each in signs for step in (("a", 1.9, {}), ("a", each, {}))],
            SIGN,
        ),
        agreed("B5", v, "0,1000", "nothing is expected", [("a", 0.5, {})], NONE),
    ]


BEATS = [
    *[each for v in MODERN for each in (*from_server(v), *from_client(v))],
    *[
        fatal(
            "B3",
            f"{v} heart-beat {value!r}",
            "",
            f("CONNECT", accept_version=v, heart_beat=value),
            "bad-heart-beat",
            proves=said(v, MALFORMED),
            command="CONNECT",
        )
        for v in MODERN
        for value in ("", "abc", "1000", "-1,0", "1,2,3", "1.5,2", " 1,1", "1,1 ", "1234567890,0")
    ],
    Check(
        "B4",
        "ignored in 1.0",
        NEW,
        [("a", f("CONNECT", heart_beat="abc"), {"a": [connected("1.0")]}), ("a", 24.0, {})],
    ),
    Check(
        "B4",
        "1.0: none is sent and none expected",
        NEW,
        [("a", f("CONNECT", heart_beat="1000,1000"), {"a": [connected("1.0")]}), ("a", 24.0, {})],
    ),
]

CHECKS = [*CONNECTING, *BEATS]

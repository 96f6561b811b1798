"""Wire checks of connecting and heart-beats: rows V and B."""

from __future__ import annotations

from stocksync_ws import Limits
from tests.spec.checks import (
    CONNECT,
    HELLO,
    NEW,
    UNTIL_NUL,
    Check,
    connected,
    error,
    f,
    fatal,
    receipt,
    send,
)

CONNECTING = [
    Check(
        "V1",
        "no accept-version is 1.0",
        NEW,
        [("a", b"CONNECT\nlogin:u\n\n\0", {"a": [connected("1.0")]})],
    ),
    *[
        Check(
            "V2",
            f"accept-version {offered}",
            NEW,
            [("a", f("CONNECT", accept_version=offered, host="h"), {"a": [connected(chosen)]})],
        )
        for offered, chosen in (
            ("1.0,1.1,2.0", "1.1"),
            ("1.2,1.1,1.0", "1.2"),
            ("1.1, 1.2", "1.2"),
            ("1.0", "1.0"),
        )
    ],
    fatal(
        "V3",
        "no common version",
        "",
        f("CONNECT", accept_version="2.0", host="h"),
        "unsupported-version",
        command="CONNECT",
        version="1.0,1.1,1.2",
    ),
    Check(
        "V4",
        "STOMP",
        NEW,
        [("a", f("STOMP", accept_version="1.1", host="h"), {"a": [connected("1.1")]})],
    ),
    Check(
        "V5", "no host", NEW, [("a", f("CONNECT", accept_version="1.2"), {"a": [connected("1.2")]})]
    ),
    fatal(
        "V7",
        "a frame before CONNECT",
        "",
        UNTIL_NUL,
        "not-connected",
        command="SEND",
        destination="/topic/a",
    ),
    Check(
        "V7",
        "a second CONNECT",
        NEW,
        [HELLO, ("a", CONNECT, {"a": [error("already-connected", command="CONNECT")]})],
        {"a": 1002},
    ),
    Check(
        "V7",
        "receipt on CONNECT is ignored",
        NEW,
        [("a", f("CONNECT", accept_version="1.2", receipt="r"), {"a": [connected("1.2")]})],
    ),
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
    Check("V9", "CONNECTED always carries heart-beat", NEW, [HELLO]),
]

BEATS = [
    Check(
        "B1",
        "one LF a window",
        NEW,
        [
            (
                "a",
                f("CONNECT", accept_version="1.2", heart_beat="0,1000"),
                {"a": [connected("1.2")]},
            ),
            ("a", 1.0, {"a": [b"\n"]}),
            ("a", 1.0, {"a": [b"\n"]}),
        ],
    ),
    Check(
        "B1",
        "a frame is as good",
        NEW,
        [
            (
                "a",
                f("CONNECT", accept_version="1.2", heart_beat="0,1000"),
                {"a": [connected("1.2")]},
            ),
            ("a", 0.6, {}),
            ("a", send("/topic/x", receipt="r"), {"a": [receipt("r")]}),
            ("a", 0.8, {}),
            ("a", 0.2, {"a": [b"\n"]}),
        ],
    ),
    Check(
        "B2",
        "silence ends it without an ERROR",
        NEW,
        [
            (
                "a",
                f("CONNECT", accept_version="1.2", heart_beat="1000,0"),
                {"a": [connected("1.2")]},
            ),
            ("a", 1.9, {}),
            ("a", b"\n", {}),
            ("a", 1.9, {}),
            ("a", 0.2, {}),
        ],
        {"a": 4000},
    ),
    *[
        fatal(
            "B3",
            f"heart-beat {value!r}",
            "",
            f("CONNECT", accept_version="1.1", heart_beat=value),
            "bad-heart-beat",
            command="CONNECT",
        )
        for value in ("abc", "1000", "-1,0", "1,2,3", "1.5,2")
    ],
    Check(
        "B4",
        "ignored in 1.0",
        NEW,
        [("a", f("CONNECT", heart_beat="abc"), {"a": [connected("1.0")]}), ("a", 20.0, {})],
    ),
    *[
        Check(
            "B5",
            f"{asked}: the slower of the two",
            NEW,
            [
                (
                    "a",
                    f("CONNECT", accept_version="1.2", heart_beat=asked),
                    {"a": [connected("1.2")]},
                ),
                ("a", early, {}),
                ("a", late, {"a": [b"\n"]}),
            ],
        )
        for asked, early, late in (("0,500", 0.85, 0.1), ("0,4000", 3.5, 0.2))
    ],
    Check(
        "B5",
        "0,0: never",
        NEW,
        [
            ("a", f("CONNECT", accept_version="1.2", heart_beat="0,0"), {"a": [connected("1.2")]}),
            ("a", 20.0, {}),
        ],
    ),
]

CHECKS = [*CONNECTING, *BEATS]

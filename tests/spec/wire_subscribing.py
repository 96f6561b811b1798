"""Wire checks of subscribing and its messages: rows U and M."""

from __future__ import annotations

from tests.spec.checks import (
    A10,
    A12,
    SUB,
    Check,
    Demands,
    Step,
    deliver,
    error,
    f,
    fatal,
    first,
    got,
    receipt,
    said,
    send,
    settle,
    sub,
)
from tests.spec.talk import EVERY

REQUIRES: Demands = ["1.1 1.2 SUBSCRIBE id Header 1"]
UNIQUE: Demands = ["1.2 SUBSCRIBE id Header 2"]
COMES: Demands = ["1.0 1.1 1.2 SUBSCRIBE 2"]
MODES: Demands = ["1.0 SUBSCRIBE 5", "1.1 1.2 SUBSCRIBE ack Header 1"]
DEFAULT: Demands = [
    "1.0 SUBSCRIBE 3",
    "1.1 1.2 SUBSCRIBE ack Header 2",
    "1.1 1.2 SUBSCRIBE ack Header 3",
]
GONE: Demands = ["1.0 1.1 1.2 UNSUBSCRIBE 1"]
EXISTS: Demands = ["1.1 UNSUBSCRIBE 2", "1.2 UNSUBSCRIBE 3"]
CREATED: Demands = ["1.1 1.2 SUBSCRIBE 3"]
NAMES: Demands = [
    "1.0 1.1 1.2 MESSAGE 1",
    "1.0 1.1 1.2 MESSAGE 2",
    "1.1 1.2 MESSAGE 3",
    "1.2 Frames and Headers 8",
]
NAMED: Demands = ["1.0 SUBSCRIBE 7"]
WITH_ACK: Demands = ["1.2 MESSAGE 4"]


def ids(v: str) -> list[Check]:
    """U1: what a subscription is called."""
    return [
        Check(
            "U1",
            f"{v} two subscriptions to one destination",
            {"a": v},
            [
                SUB,
                ("a", sub("t", "/topic/a"), {}),
                ("a", send("/topic/a"), {"a": [got(1, "s", "/topic/a"), got(1, "t", "/topic/a")]}),
            ],
            proves=said(v, COMES, NAMES, NAMED),
        ),
        *[
            Check(
                "U1",
                f"{v} an id in use, now for {destination}",
                {"a": v},
                [
                    SUB,
                    (
                        "a",
                        sub("s", destination),
                        {
                            "a": [
                                error(
                                    "duplicate-subscription",
                                    command="SUBSCRIBE",
                                    destination=destination,
                                    subscription="s",
                                )
                            ]
                        },
                    ),
                ],
                {"a": 1002},
                proves=said(v, UNIQUE, CREATED),
            )
            for destination in ("/topic/a", "/topic/b", "/queue/a", "/app/a", "/user/queue/a")
        ],
        Check(
            "U1",
            f"{v} the id is free after UNSUBSCRIBE",
            {"a": v},
            [
                SUB,
                (
                    "a",
                    f("UNSUBSCRIBE", id="s") + sub("s", "/topic/b", receipt="r"),
                    {"a": [receipt("r")]},
                ),
                ("a", send("/topic/a") + send("/topic/b"), {"a": [got(2, "s", "/topic/b")]}),
            ],
            proves=said(v, GONE),
        ),
        *(
            []
            if v == "1.0"
            else [
                fatal(
                    "U1",
                    f"{v} no id",
                    v,
                    f("SUBSCRIBE", destination="/topic/a"),
                    "missing-header",
                    proves=said(v, REQUIRES),
                    command="SUBSCRIBE",
                    destination="/topic/a",
                )
            ]
        ),
    ]


OLD = [
    Check(
        "U1",
        "1.0 without id",
        A10,
        [
            ("a", f("SUBSCRIBE", destination="/topic/a"), {}),
            ("a", send("/topic/a"), {"a": [got(1, None, "/topic/a")]}),
        ],
        proves=said("1.0", COMES, NAMES),
    ),
    Check(
        "U1",
        "1.0 without id, twice",
        A10,
        [
            ("a", f("SUBSCRIBE", destination="/topic/a"), {}),
            (
                "a",
                f("SUBSCRIBE", destination="/topic/a"),
                {
                    "a": [
                        error("duplicate-subscription", command="SUBSCRIBE", destination="/topic/a")
                    ]
                },
            ),
        ],
        {"a": 1002},
    ),
]


def modes(v: str) -> list[Check]:
    """U2: the ack header of SUBSCRIBE."""
    return [
        *[
            fatal(
                "U2",
                f"{v} ack:{mode!r} is none",
                v,
                sub("s", "/topic/a", ack=mode),
                "bad-ack-mode",
                proves=said(v, MODES, CREATED),
                command="SUBSCRIBE",
                destination="/topic/a",
                subscription="s",
            )
            for mode in ("", "sometimes", "AUTO", "client_individual", "client ")
        ],
        *[
            Check(
                "U2",
                f"{v} ack:{mode}",
                {"a": v},
                [
                    ("a", sub("s", "/topic/a", ack=mode, receipt="r"), {"a": [receipt("r")]}),
                    deliver(1, version=v)
                    if mode != "auto"
                    else ("a", send("/topic/a"), {"a": [got(1, "s", "/topic/a")]}),
                ],
                proves=said(v, MODES),
            )
            for mode in ("auto", "client", "client-individual")
        ],
        *[
            Check(
                "U2",
                f"{v} ack {said_so}: settled when it is sent",
                {"a": v, "b": v},
                [
                    ("a", sub("s", "/queue/a", **headers), {}),
                    ("a", send("/queue/a"), {"a": [got(1, "s", "/queue/a")]}),
                    ("a", f("DISCONNECT"), {}),
                    ("b", sub("s", "/queue/a"), {}),
                ],
                {"a": 1000},
                proves=said(v, DEFAULT),
            )
            for said_so, headers in (("left out", {}), ("auto", {"ack": "auto"}))
        ],
    ]


def leaving(v: str) -> list[Check]:
    """U3: UNSUBSCRIBE."""
    return [
        fatal(
            "U3",
            f"{v} UNSUBSCRIBE of an unknown id",
            v,
            f("UNSUBSCRIBE", id="s"),
            "unknown-subscription",
            proves=said(v, EXISTS),
            command="UNSUBSCRIBE",
            subscription="s",
        ),
        *[
            Check(
                "U3",
                f"{v} nothing of {destination} comes after UNSUBSCRIBE",
                {"a": v, "b": v},
                [
                    ("a", sub("s", destination), {}),
                    ("b", sub("t", destination), {}),
                    ("a", f("UNSUBSCRIBE", id="s"), {}),
                    ("a", send(destination) * 2, {"b": [got(n, "t", destination) for n in (1, 2)]}),
                ],
                proves=said(v, GONE),
            )
            for destination in ("/topic/a", "/queue/a")
        ],
        Check(
            "U3",
            f"{v} an ACK after UNSUBSCRIBE",
            {"a": v},
            [
                ("a", sub("s", "/topic/a", ack="client-individual"), {}),
                deliver(1, version=v),
                ("a", f("UNSUBSCRIBE", id="s"), {}),
                ("a", settle("ACK", v, 1, receipt="r"), {"a": [receipt("r")]}),
            ],
        ),
    ]


def messages(v: str) -> list[Check]:
    """M1: what a MESSAGE carries."""
    ack = "s.1" if v == "1.2" else ""
    typed = send("/topic/a", b"x", content_type="text/plain")
    client: Step = ("a", sub("s", "/topic/a", ack="client"), {})
    return [
        Check(
            "M1",
            f"{v} auto: no ack header",
            {"a": v},
            [SUB, ("a", send("/topic/a", b"x"), {"a": [got(1, "s", "/topic/a", b"x")]})],
            proves=said(v, NAMES),
        ),
        Check(
            "M1",
            f"{v} client mode: an ack header in 1.2",
            {"a": v},
            [
                client,
                (
                    "a",
                    typed,
                    {
                        "a": [
                            got(
                                1,
                                "s",
                                "/topic/a",
                                b"x",
                                ack=ack,
                                marks="first",
                                content_type="text/plain",
                            )
                        ]
                    },
                ),
            ],
            proves=said(v, NAMES, WITH_ACK),
        ),
        Check(
            "M1",
            f"{v} no content-length without a body",
            {"a": v},
            [SUB, ("a", send("/topic/a", content_length="0"), {"a": [got(1, "s", "/topic/a")]})],
        ),
    ]


ACROSS = [
    Check(
        "M1",
        "one publication, three versions",
        {"a": "1.0", "b": "1.1", "c": "1.2"},
        [
            *[(who, sub("s", "/topic/a", ack="client"), {}) for who in "abc"],
            (
                "a",
                send("/topic/a"),
                {w: [first(1, version=v)] for w, v in zip("abc", EVERY, strict=True)},
            ),
        ],
        proves=WITH_ACK,
    ),
    Check(
        "M1",
        "an id with a dot in it",
        A12,
        [
            ("a", sub("a.b.1", "/topic/a", ack="client"), {}),
            deliver(1, "a.b.1"),
            ("a", settle("ACK", "1.2", 1, "a.b.1", receipt="r"), {"a": [receipt("r")]}),
        ],
        proves=WITH_ACK,
    ),
]

CHECKS = [
    *[each for v in EVERY for each in (*ids(v), *modes(v), *leaving(v), *messages(v))],
    *OLD,
    *ACROSS,
]

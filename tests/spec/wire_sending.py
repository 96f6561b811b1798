"""Wire checks of sending, receipts, errors and the end: rows S, R, X, D and L."""

from __future__ import annotations

from stocksync_ws import Limits
from tests.spec.checks import (
    LOST,
    SUB,
    Check,
    Demands,
    Step,
    again,
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

NEEDS: Demands = ["1.0 1.1 1.2 SEND 1"]
BODY: Demands = ["1.0 1.1 1.2 SEND 2", "1.0 MESSAGE 3", "1.1 MESSAGE 4", "1.2 MESSAGE 6"]
FAILS: Demands = ["1.1 1.2 SEND 6"]
ANSWERS: Demands = ["1.0 Receipt 1", "1.1 1.2 Header receipt 1", "1.2 RECEIPT 1"]
RECEIPT_ID: Demands = ["1.0 1.1 RECEIPT 1", "1.0 1.1 1.2 RECEIPT 2", "1.2 Frames and Headers 9"]
IN_ORDER: Demands = ["1.2 RECEIPT 3"]
THEN_CLOSE: Demands = ["1.2 ERROR 1"]
WHICH: Demands = ["1.1 ERROR 2", "1.1 1.2 ERROR 3", "1.2 ERROR 4", "1.2 Frames and Headers 11"]
WHAT: Demands = [
    "1.0 1.1 ERROR 1",
    "1.0 1.2 ERROR 2",
    "1.0 ERROR 3",
    "1.0 1.1 ERROR 4",
    "1.2 ERROR 5",
]
GRACEFUL: Demands = ["1.0 1.1 1.2 DISCONNECT 1"]
NO_MORE: Demands = ["1.1 1.2 DISCONNECT 2"]
RECEIVED: Demands = ["1.2 RECEIPT 4"]


def sending(v: str) -> list[Check]:
    """S1 and R1: what a SEND needs, and what its RECEIPT says."""
    escaped = "a:b" if v == "1.0" else "a\\cb"
    nowhere = error("no-destination", 1008, receipt_id="r", command="SEND", destination="/x/y")
    return [
        fatal(
            "S1",
            f"{v} SEND without destination",
            v,
            f("SEND", b"x"),
            "missing-header",
            proves=said(v, NEEDS, WHAT),
            command="SEND",
        ),
        Check(
            "S1",
            f"{v} SEND to nowhere",
            {"a": v},
            [("a", send("/x/y", receipt="r"), {"a": [nowhere]})],
            {"a": 1008},
            proves=said(v, FAILS, THEN_CLOSE),
        ),
        Check(
            "S1",
            f"{v} SEND to where it may not, in a transaction too",
            {"a": v},
            [
                (
                    "a",
                    f("BEGIN", transaction="t") + send("/topic/a", transaction="t", receipt="r"),
                    {
                        "a": [
                            error(
                                "send-denied",
                                1008,
                                receipt_id="r",
                                command="SEND",
                                destination="/topic/a",
                            )
                        ]
                    },
                )
            ],
            {"a": 1008},
            {"client_send": []},
            said(v, FAILS, THEN_CLOSE),
        ),
        Check(
            "S1",
            f"{v} the body of SEND is the body of MESSAGE",
            {"a": v},
            [
                SUB,
                (
                    "a",
                    send("/topic/a", b" a\r\n\nb\\c: \n"),
                    {"a": [got(1, "s", "/topic/a", b" a\r\n\nb\\c: \n")]},
                ),
            ],
            proves=said(v, BODY),
        ),
        Check(
            "R1",
            f"{v} a receipt comes back as it was written",
            {"a": v},
            [("a", send("/topic/a", receipt=escaped), {"a": [receipt(escaped)]})],
            proves=said(v, RECEIPT_ID, ANSWERS),
        ),
        Check(
            "R1",
            f"{v} an empty receipt",
            {"a": v},
            [("a", send("/topic/a", receipt=""), {"a": [receipt("")]})],
            proves=said(v, RECEIPT_ID),
        ),
        Check(
            "R1",
            f"{v} receipts keep the order of the frames",
            {"a": v},
            [
                (
                    "a",
                    b"".join(send("/topic/a", receipt=str(n)) for n in range(9)),
                    {"a": [receipt(str(n)) for n in range(9)]},
                )
            ],
            proves=said(v, IN_ORDER),
        ),
        *(
            []
            if v == "1.2"
            else [
                Check(
                    "R1",
                    f"{v} a CR in a receipt cannot be told",
                    {"a": v},
                    [("a", send("/topic/a", receipt="7\r7"), {"a": [receipt("77")]})],
                )
            ]
        ),
    ]


def receipts(v: str) -> list[Check]:
    """R2: every frame but CONNECT gets its RECEIPT, behind its effect."""
    about = said(v, ANSWERS)
    queue = "/queue/a"
    waits: Step = ("a", send(queue) * 2, {"a": [first(1, "s", queue, version=v)]})
    frames = [
        f("BEGIN", transaction="t", receipt="1"),
        f("COMMIT", transaction="t", receipt="2"),
        f("BEGIN", transaction="t", receipt="3"),
        f("ABORT", transaction="t", receipt="4"),
        sub("s", "/topic/b", receipt="5"),
        f("UNSUBSCRIBE", id="s", receipt="6"),
        send("/topic/b", receipt="7"),
        f("DISCONNECT", receipt="8"),
    ]
    return [
        Check(
            "R2",
            f"{v} all frames in turn",
            {"a": v},
            [("a", b"".join(frames), {"a": [receipt(str(n)) for n in range(1, 9)]})],
            {"a": 1000},
            proves=[*about, *said(v, RECEIPT_ID, IN_ORDER)],
        ),
        Check(
            "R2",
            f"{v} SUBSCRIBE: before its first MESSAGE",
            {"a": v},
            [
                (
                    "a",
                    sub("s", "/topic/a", receipt="r") + send("/topic/a"),
                    {"a": [receipt("r"), got(1, "s", "/topic/a")]},
                )
            ],
            proves=about,
        ),
        Check(
            "R2",
            f"{v} SUBSCRIBE to a queue: before what waits there",
            {"a": v},
            [
                ("a", send(queue), {}),
                ("a", sub("s", queue, receipt="r"), {"a": [receipt("r"), got(1, "s", queue)]}),
            ],
            proves=about,
        ),
        Check(
            "R2",
            f"{v} UNSUBSCRIBE: behind its last MESSAGE",
            {"a": v},
            [
                SUB,
                (
                    "a",
                    send("/topic/a") + f("UNSUBSCRIBE", id="s", receipt="r") + send("/topic/a"),
                    {"a": [got(1, "s", "/topic/a"), receipt("r")]},
                ),
            ],
            proves=about,
        ),
        Check(
            "R2",
            f"{v} SEND: behind its own MESSAGE",
            {"a": v},
            [
                SUB,
                (
                    "a",
                    send("/topic/a", receipt="r"),
                    {"a": [got(1, "s", "/topic/a"), receipt("r")]},
                ),
            ],
            proves=about,
        ),
        *[
            Check(
                "R2",
                f"{v} {command}",
                {"a": v},
                [
                    ("a", sub("s", queue, ack="client"), {}),
                    deliver(1, "s", queue, version=v),
                    (
                        "a",
                        settle(command, v, 1, requeue="false", receipt="r"),
                        {"a": [receipt("r")]},
                    ),
                ],
                proves=about,
            )
            for command in (("ACK",) if v == "1.0" else ("ACK", "NACK"))
        ],
        *[
            Check(
                "R2",
                f"{v} {end} of a transaction with an ACK: the window is open then",
                {"a": v},
                [
                    ("a", sub("s", queue, ack="client", prefetch_count="1"), {}),
                    waits,
                    (
                        "a",
                        f("BEGIN", transaction="t")
                        + settle("ACK", v, 1, transaction="t")
                        + f(end, transaction="t", receipt="r"),
                        {"a": [*come, receipt("r")]},
                    ),
                ],
                proves=about,
            )
            for end, come in (("COMMIT", [first(2, "s", queue, version=v)]), ("ABORT", []))
        ],
    ]


def errors(v: str) -> list[Check]:
    """X1: what an ERROR says, and that it is the last."""
    return [
        fatal(
            "X1",
            f"{v} ERROR and nothing behind it",
            v,
            f("SEND", receipt="77") + send("/topic/a", receipt="78"),
            "missing-header",
            proves=said(v, THEN_CLOSE, WHICH, WHAT),
            receipt_id="77",
            command="SEND",
        ),
        Check(
            "X1",
            f"{v} nothing comes to one who had an ERROR",
            {"a": v, "b": v},
            [
                SUB,
                ("a", b"NONSENSE\n\n\0", {"a": [error("unknown-command")]}),
                ("b", send("/topic/a"), {}),
            ],
            {"a": 1002},
            proves=said(v, THEN_CLOSE),
        ),
    ]


SIZES = [
    Check(
        "X2",
        "size: 1009",
        {"a": "1.2"},
        [
            (
                "a",
                b"SEND\nk:" + b"v" * 9_000 + b"\n\n\0",
                {"a": [error("limit", 1009, command="SEND")]},
            )
        ],
        {"a": 1009},
    ),
    Check(
        "X2",
        "count: 1008",
        {"a": "1.2"},
        [
            SUB,
            (
                "a",
                sub("t", "/topic/a"),
                {
                    "a": [
                        error(
                            "limit",
                            1008,
                            command="SUBSCRIBE",
                            destination="/topic/a",
                            subscription="t",
                        )
                    ]
                },
            ),
        ],
        {"a": 1008},
        {"limits": Limits(max_subscriptions=1)},
    ),
]


def ends(v: str) -> list[Check]:
    """D1, D2 and L1: how a session ends."""
    both = {"a": v, "b": v}
    watching: Step = ("b", sub("s", "/topic/a"), {})
    heard = {"b": [got(1, "s", "/topic/a")]}
    closed = {"a": 1000}
    return [
        Check(
            "D1",
            f"{v} RECEIPT, then 1000; what follows is ignored",
            both,
            [
                watching,
                ("a", f("DISCONNECT", receipt="77") + send("/topic/a"), {"a": [receipt("77")]}),
                ("a", send("/topic/a") + f("DISCONNECT", receipt="78"), {}),
            ],
            closed,
            proves=said(v, GRACEFUL, NO_MORE),
        ),
        Check(
            "D1",
            f"{v} without receipt",
            {"a": v},
            [("a", f("DISCONNECT"), {})],
            closed,
            proves=said(v, ["1.0 DISCONNECT 1"]),
        ),
        Check(
            "D2",
            f"{v} frames before DISCONNECT are processed",
            both,
            [watching, ("a", send("/topic/a") + f("DISCONNECT"), heard)],
            closed,
            proves=said(v, GRACEFUL),
        ),
        Check(
            "D2",
            f"{v} frames before the stream ends are processed",
            both,
            [watching, ("a", send("/topic/a"), heard), ("a", LOST, {})],
            proves=said(v, RECEIVED),
        ),
        Check(
            "D2",
            f"{v} unacknowledged messages go to another consumer",
            both,
            [
                ("a", sub("s", "/queue/a", ack="client"), {}),
                ("b", send("/queue/a"), {"a": [first(1, "s", "/queue/a", version=v)]}),
                ("b", sub("u", "/queue/a", ack="client"), {}),
                ("a", f("DISCONNECT"), {"b": [again(1, 1, "u", "/queue/a", version=v)]}),
            ],
            closed,
        ),
        Check(
            "L1",
            f"{v} everything that waits is flushed before the close",
            {"a": v},
            [
                SUB,
                (
                    "a",
                    send("/topic/a") * 50 + f("DISCONNECT", receipt="r"),
                    {"a": [*[got(n, "s", "/topic/a") for n in range(1, 51)], receipt("r")]},
                ),
            ],
            closed,
            proves=said(v, GRACEFUL),
        ),
    ]


CHECKS = [
    *[each for v in EVERY for each in (*sending(v), *receipts(v), *errors(v), *ends(v))],
    *SIZES,
]

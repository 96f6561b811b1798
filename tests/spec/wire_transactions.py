"""Wire checks of transactions, their receipts, and required headers: rows T, R2, D2 and A8."""

from __future__ import annotations

from tests.spec.checks import (
    LOST,
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
from tests.spec.talk import EVERY, MODERN

BEGIN, QUEUE = f("BEGIN", transaction="t"), "/queue/a"
COMMIT, ABORT = f("COMMIT", transaction="t"), f("ABORT", transaction="t")
BINDS: Demands = ["1.0 1.1 1.2 BEGIN 2"]
ATOMIC: Demands = ["1.0 1.1 1.2 BEGIN 1"]
IMPLIED: Demands = ["1.1 BEGIN 3", "1.2 BEGIN 4"]
PART: Demands = ["1.0 1.2 ACK 3", "1.1 ACK 4"]
SENDS: Demands = ["1.0 1.1 1.2 SEND 3"]
COMMITS: Demands = ["1.0 1.1 1.2 COMMIT 1"]
ABORTS: Demands = ["1.0 1.1 1.2 ABORT 1"]
NACK_SCOPE: Demands = ["1.1 1.2 NACK 2"]
DIFFERENT: Demands = ["1.2 BEGIN 3"]
RECEIPTS: Demands = ["1.0 Receipt 1", "1.1 1.2 Header receipt 1"]


def names(v: str) -> list[Check]:
    """T1: what a transaction is called."""
    known = ("SEND", "ACK", "NACK", "COMMIT", "ABORT")
    headers = {"id": "s.1", "message_id": "id1-72-1", "subscription": "s"}
    return [
        Check(
            "T1",
            f"{v} BEGIN twice",
            {"a": v},
            [
                ("a", BEGIN, {}),
                ("a", BEGIN, {"a": [error("duplicate-transaction", command="BEGIN")]}),
            ],
            {"a": 1002},
            proves=said(v, DIFFERENT),
        ),
        *[
            fatal(
                "T1",
                f"{v} {command} of an unknown transaction",
                v,
                f(command, transaction="t", destination="/topic/a", **headers),
                "unknown-transaction",
                proves=said(v, BINDS),
                command=command,
                destination="/topic/a",
                subscription="s",
            )
            for command in known
            if (v, command) != ("1.0", "NACK")
        ],
        *[
            Check(
                "T1",
                f"{v} the identifier is free after {end.split()[0].decode()}",
                {"a": v},
                [
                    (
                        "a",
                        BEGIN + end + f("BEGIN", transaction="t", receipt="r"),
                        {"a": [receipt("r")]},
                    )
                ],
            )
            for end in (COMMIT, ABORT)
        ],
    ]


def effects(v: str) -> list[Check]:
    """T2: SENDs and ACKs, committed and aborted."""
    watched: Step = ("a", sub("s", "/topic/a"), {})
    acked, sent = settle("ACK", v, 1, "q", transaction="t"), send("/topic/a", transaction="t")
    return [
        Check(
            "T2",
            f"{v} what is in the transaction comes at COMMIT",
            {"a": v},
            [
                watched,
                (
                    "a",
                    BEGIN
                    + send("/topic/a", b"one", transaction="t", kind="x")
                    + send("/topic/a", b"two")
                    + COMMIT,
                    {
                        "a": [
                            got(1, "s", "/topic/a", b"two"),
                            got(2, "s", "/topic/a", b"one", kind="x"),
                        ]
                    },
                ),
            ],
            proves=said(v, SENDS, BINDS),
        ),
        *[
            Check(
                "T2",
                f"{v} in order: {how}",
                {"a": v},
                [
                    ("a", sub("q", QUEUE, ack="client", prefetch_count="1"), {}),
                    watched,
                    deliver(1, "q", QUEUE, version=v),
                    ("a", send(QUEUE), {}),
                    ("a", [BEGIN, *frames], {}),
                    (
                        "a",
                        COMMIT,
                        {"a": [first(2, "q", QUEUE, version=v), got(3, "s", "/topic/a")][::order]},
                    ),
                ],
                proves=said(v, ATOMIC, PART),
            )
            for how, order, frames in (
                ("an ACK before a SEND", 1, [acked, sent]),
                ("a SEND before an ACK", -1, [sent, acked]),
            )
        ],
        Check(
            "T2",
            f"{v} a cumulative ACK",
            {"a": v},
            [
                ("a", sub("q", QUEUE, ack="client", prefetch_count="2"), {}),
                deliver(1, "q", QUEUE, version=v),
                deliver(2, "q", QUEUE, version=v),
                ("a", send(QUEUE) * 2, {}),
                ("a", BEGIN + settle("ACK", v, 2, "q", transaction="t"), {}),
                ("a", COMMIT, {"a": [first(n, "q", QUEUE, version=v) for n in (3, 4)]}),
            ],
            proves=said(v, ATOMIC, PART),
        ),
        *[
            Check(
                "T2",
                f"{v} two open transactions: {kept} is committed, {dropped} aborted",
                {"a": v},
                [
                    watched,
                    ("a", f("BEGIN", transaction="1") + f("BEGIN", transaction="2"), {}),
                    ("a", send("/topic/a", b"1", transaction="1"), {}),
                    ("a", send("/topic/a", b"2", transaction="2"), {}),
                    (
                        "a",
                        f("COMMIT", transaction=kept),
                        {"a": [got(1, "s", "/topic/a", kept.encode())]},
                    ),
                    ("a", f("ABORT", transaction=dropped), {}),
                ],
                proves=said(v, BINDS, COMMITS, ABORTS),
            )
            for kept, dropped in (("1", "2"), ("2", "1"))
        ],
        Check(
            "T2",
            f"{v} two open transactions: an ACK of the second, the first committed",
            {"a": v},
            [
                ("a", sub("q", QUEUE, ack="client", prefetch_count="1"), {}),
                deliver(1, "q", QUEUE, version=v),
                ("a", send(QUEUE), {}),
                ("a", f("BEGIN", transaction="1") + f("BEGIN", transaction="2"), {}),
                ("a", settle("ACK", v, 1, "q", transaction="2"), {}),
                ("a", f("COMMIT", transaction="1"), {}),
                ("a", f("COMMIT", transaction="2"), {"a": [first(2, "q", QUEUE, version=v)]}),
            ],
            proves=said(v, BINDS, PART),
        ),
        Check(
            "T2",
            f"{v} ABORT drops",
            {"a": v},
            [
                watched,
                (
                    "a",
                    BEGIN
                    + send("/topic/a", transaction="t", receipt="lost")
                    + f("ABORT", transaction="t", receipt="r"),
                    {"a": [receipt("r")]},
                ),
            ],
            proves=said(v, ABORTS),
        ),
    ]


def ended(v: str) -> list[Check]:
    """T2 and D2: however a transaction ends without COMMIT, nothing was sent, and what it
    acknowledged is unacknowledged again.
    """
    # A lost connection counts as a delivery, a DISCONNECT does not.
    other = {"b": [again(1, 2, "u", QUEUE, version=v)]}
    uncounted = {"b": [again(1, 1, "u", QUEUE, version=v)]}
    ways: list[tuple[str, list[Step], dict[str, int]]] = [
        ("ABORT", [("a", ABORT, {}), ("a", LOST, other)], {}),
        ("the connection is lost", [("a", LOST, other)], {}),
        ("DISCONNECT", [("a", f("DISCONNECT"), uncounted)], {"a": 1000}),
    ]
    return [
        Check(
            "T2" if how == "ABORT" else "D2",
            f"{v} a SEND and an ACK in a transaction, then {how}",
            {"a": v, "b": v},
            [
                ("a", sub("s", QUEUE, ack="client"), {}),
                ("b", sub("w", "/topic/b"), {}),
                ("b", sub("u", QUEUE, ack="client"), {}),
                deliver(1, "s", QUEUE, version=v),
                ("a", BEGIN + send("/topic/b", transaction="t"), {}),
                ("a", settle("ACK", v, 1, transaction="t"), {}),
                *steps,
            ],
            closed,
            proves=said(v, ATOMIC, PART, [] if how == "ABORT" else IMPLIED),
        )
        for how, steps, closed in ways
    ]


def nacked(v: str) -> list[Check]:
    """T2: a NACK waits for COMMIT too, and stays a NACK."""
    watched: list[Step] = [
        ("a", sub("s", QUEUE, ack="client"), {}),
        deliver(1, "s", QUEUE, version=v),
        ("a", BEGIN + settle("NACK", v, 1, transaction="t"), {}),
        ("a", 5.0, {}),
    ]
    comes = {"a": [again(1, 2, "s", QUEUE, version=v)]}
    return [
        Check(
            "T2",
            f"{v} NACK in a transaction: again at COMMIT",
            {"a": v},
            [*watched, ("a", COMMIT, comes)],
            proves=said(v, BINDS, ATOMIC),
        ),
        Check(
            "T2",
            f"{v} NACK in a transaction: everything up to it, in order",
            {"a": v},
            [
                watched[0],
                *[deliver(n, "s", QUEUE, version=v) for n in (1, 2, 3)],
                ("a", BEGIN + settle("NACK", v, 2, transaction="t"), {}),
                ("a", COMMIT, {"a": [again(n, 2, "s", QUEUE, version=v) for n in (1, 2)]}),
            ],
            proves=said(v, BINDS, NACK_SCOPE),
        ),
        Check(
            "T2",
            f"{v} NACK in a transaction: nothing at ABORT",
            {"a": v},
            [*watched, ("a", ABORT, {}), ("a", 5.0, {}), ("a", settle("NACK", v, 1), comes)],
            proves=said(v, BINDS, ATOMIC),
        ),
    ]


def receipts(v: str) -> list[Check]:
    """R2 of transactions: at COMMIT, in the order of the frames; of an aborted one none."""
    return [
        Check(
            "R2",
            f"{v} a transaction: at COMMIT, in the order of its frames",
            {"a": v},
            [
                ("a", sub("s", QUEUE, ack="client"), {}),
                deliver(1, "s", QUEUE, version=v),
                ("a", f("BEGIN", transaction="t", receipt="1"), {"a": [receipt("1")]}),
                ("a", send("/topic/a", transaction="t", receipt="2"), {}),
                ("a", settle("ACK", v, 1, transaction="t", receipt="3"), {}),
                ("a", send("/topic/a", transaction="t", receipt="4"), {}),
                (
                    "a",
                    f("COMMIT", transaction="t", receipt="5"),
                    {"a": [receipt(each) for each in "2345"]},
                ),
            ],
            proves=said(v, RECEIPTS),
        ),
        Check(
            "R2",
            f"{v} an aborted transaction: its frames get none",
            {"a": v},
            [
                ("a", sub("s", QUEUE, ack="client"), {}),
                deliver(1, "s", QUEUE, version=v),
                ("a", f("BEGIN", transaction="t", receipt="1"), {"a": [receipt("1")]}),
                ("a", send("/topic/a", transaction="t", receipt="2"), {}),
                ("a", settle("ACK", v, 1, transaction="t", receipt="3"), {}),
                ("a", f("ABORT", transaction="t", receipt="4"), {"a": [receipt("4")]}),
            ],
            proves=said(v, RECEIPTS),
        ),
    ]


def too_much(v: str) -> list[Check]:
    """T3: transactions and their frames are bounded in number."""
    many = b"".join(f("BEGIN", transaction=str(n)) for n in range(9))
    return [
        Check(
            "T3",
            f"{v} too many open",
            {"a": v},
            [("a", many, {"a": [error("limit", 1008, command="BEGIN")]})],
            {"a": 1008},
        ),
        Check(
            "T3",
            f"{v} too many frames",
            {"a": v},
            [
                (
                    "a",
                    BEGIN + send("/topic/a", transaction="t") * 257,
                    {"a": [error("limit", 1008, command="SEND", destination="/topic/a")]},
                )
            ],
            {"a": 1008},
        ),
        Check(
            "T3",
            f"{v} open for too long: as if it were aborted",
            {"a": v},
            [
                ("a", BEGIN + send("/topic/a", transaction="t"), {}),
                ("a", 24.0, {}),
                ("a", b"\n", {}),
                ("a", 24.0, {}),
                ("a", b"\n", {}),
                ("a", 13.0, {}),
                ("a", COMMIT, {"a": [error("unknown-transaction", command="COMMIT")]}),
            ],
            {"a": 1002},
        ),
    ]


REQUIRES: dict[str, Demands] = {
    "SEND": ["1.0 1.1 1.2 SEND 1", "1.2 Frames and Headers 3"],
    "SUBSCRIBE": ["1.0 1.1 1.2 SUBSCRIBE 1", "1.2 Frames and Headers 4"],
    "UNSUBSCRIBE": ["1.0 1.1 1.2 UNSUBSCRIBE 2", "1.2 Frames and Headers 5"],
    "ACK": ["1.0 1.1 ACK 2", "1.2 Frames and Headers 6"],
    "NACK": ["1.1 1.2 NACK 1", "1.2 Frames and Headers 6"],
    "BEGIN": [*BINDS, "1.2 Frames and Headers 7"],
    "COMMIT": [*COMMITS, "1.2 Frames and Headers 7"],
    "ABORT": [*ABORTS, "1.2 Frames and Headers 7"],
}
REQUIRED = [
    fatal(
        "A8",
        f"{command} in {version}",
        version,
        f(command),
        "missing-header",
        proves=said(version, demands),
        command=command,
    )
    for version in EVERY
    for command, demands in REQUIRES.items()
    if (version, command) != ("1.0", "NACK")
]

CHECKS = [
    *[each for v in EVERY for each in names(v)],
    *[each for v in EVERY for each in effects(v)],
    *[each for v in EVERY for each in ended(v)],
    *[each for v in MODERN for each in nacked(v)],
    *[each for v in EVERY for each in receipts(v)],
    *[each for v in EVERY for each in too_much(v)],
    *REQUIRED,
]

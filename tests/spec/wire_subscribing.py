"""Wire checks of sending and subscribing: rows S, R, X, D, L, U and M."""

from __future__ import annotations

from stocksync_ws import Limits
from tests.spec.checks import (
    A10,
    A11,
    A12,
    ACKED,
    BOTH,
    CUMULATIVE,
    SUB,
    Check,
    again,
    deliver,
    error,
    f,
    fatal,
    first,
    got,
    receipt,
    send,
    sub,
)

SENDING = [
    fatal(
        "S1", "SEND without destination", "1.2", f("SEND", b"x"), "missing-header", command="SEND"
    ),
    Check(
        "S1",
        "SEND to nowhere",
        A12,
        [
            (
                "a",
                send("/x/y", receipt="r"),
                {
                    "a": [
                        error(
                            "no-destination",
                            1008,
                            receipt_id="r",
                            command="SEND",
                            destination="/x/y",
                        )
                    ]
                },
            )
        ],
        {"a": 1008},
    ),
    Check(
        "R1",
        "receipts are escaped again",
        A12,
        [("a", send("/topic/a", receipt="a\\cb"), {"a": [receipt("a\\cb")]})],
    ),
    Check(
        "R1", "an empty receipt", A12, [("a", send("/topic/a", receipt=""), {"a": [receipt("")]})]
    ),
    Check(
        "R1",
        "receipts keep the order of the frames",
        A12,
        [
            (
                "a",
                b"".join(send("/topic/a", receipt=str(n)) for n in range(9)),
                {"a": [receipt(str(n)) for n in range(9)]},
            )
        ],
    ),
    Check(
        "R2",
        "SUBSCRIBE: before its first MESSAGE",
        A12,
        [
            (
                "a",
                sub("s", "/topic/a", receipt="r") + send("/topic/a"),
                {"a": [receipt("r"), got(1, "s", "/topic/a")]},
            )
        ],
    ),
    Check(
        "R2",
        "SUBSCRIBE to a queue: before what waits there",
        A12,
        [
            ("a", send("/queue/a"), {}),
            (
                "a",
                sub("s", "/queue/a", receipt="r"),
                {"a": [receipt("r"), got(1, "s", "/queue/a")]},
            ),
        ],
    ),
    Check(
        "R2",
        "UNSUBSCRIBE: behind its last MESSAGE",
        A12,
        [
            SUB,
            (
                "a",
                send("/topic/a") + f("UNSUBSCRIBE", id="s", receipt="r") + send("/topic/a"),
                {"a": [got(1, "s", "/topic/a"), receipt("r")]},
            ),
        ],
    ),
    Check(
        "R2",
        "SEND: behind its own MESSAGE",
        A12,
        [SUB, ("a", send("/topic/a", receipt="r"), {"a": [got(1, "s", "/topic/a"), receipt("r")]})],
    ),
    Check(
        "R2",
        "a transaction: at COMMIT, in the order of its frames",
        A12,
        [
            ("a", f("BEGIN", transaction="t", receipt="1"), {"a": [receipt("1")]}),
            ("a", send("/topic/a", transaction="t", receipt="2"), {}),
            ("a", send("/topic/a", transaction="t", receipt="3"), {}),
            (
                "a",
                f("COMMIT", transaction="t", receipt="4"),
                {"a": [receipt("2"), receipt("3"), receipt("4")]},
            ),
        ],
    ),
    fatal(
        "X1",
        "ERROR and nothing behind it",
        "1.2",
        f("SEND", receipt="77") + send("/topic/a", receipt="78"),
        "missing-header",
        receipt_id="77",
        command="SEND",
    ),
    Check(
        "X2",
        "size: 1009",
        A12,
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
        A12,
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
    Check(
        "D1",
        "RECEIPT, then 1000; what follows is ignored",
        BOTH,
        [
            ("b", sub("s", "/topic/a"), {}),
            ("a", f("DISCONNECT", receipt="77") + send("/topic/a"), {"a": [receipt("77")]}),
        ],
        {"a": 1000},
    ),
    Check("D1", "without receipt", A12, [("a", f("DISCONNECT"), {})], {"a": 1000}),
    Check(
        "D2",
        "an open transaction is aborted",
        BOTH,
        [
            ("b", sub("s", "/topic/a"), {}),
            (
                "a",
                f("BEGIN", transaction="t") + send("/topic/a", transaction="t") + f("DISCONNECT"),
                {},
            ),
        ],
        {"a": 1000},
    ),
    Check(
        "D2",
        "frames before it are processed",
        BOTH,
        [
            ("b", sub("s", "/topic/a"), {}),
            ("a", send("/topic/a") + f("DISCONNECT"), {"b": [got(1, "s", "/topic/a")]}),
        ],
        {"a": 1000},
    ),
    Check(
        "D2",
        "unacknowledged messages go to another consumer",
        BOTH,
        [
            ("a", sub("s", "/queue/a", ack="client"), {}),
            ("b", send("/queue/a"), {"a": [first(1, "s", "/queue/a")]}),
            ("b", sub("u", "/queue/a", ack="client"), {}),
            ("a", f("DISCONNECT"), {"b": [again(1, 2, "u", "/queue/a")]}),
        ],
        {"a": 1000},
    ),
    Check(
        "L1",
        "everything that waits is flushed before the close",
        A12,
        [
            SUB,
            (
                "a",
                send("/topic/a") * 50 + f("DISCONNECT", receipt="r"),
                {"a": [*[got(n, "s", "/topic/a") for n in range(1, 51)], receipt("r")]},
            ),
        ],
        {"a": 1000},
    ),
]

SUBSCRIBING = [
    fatal(
        "U1",
        "no id",
        "1.1",
        f("SUBSCRIBE", destination="/topic/a"),
        "missing-header",
        command="SUBSCRIBE",
        destination="/topic/a",
    ),
    Check(
        "U1",
        "an id in use",
        A12,
        [
            SUB,
            (
                "a",
                sub("s", "/topic/b"),
                {
                    "a": [
                        error(
                            "duplicate-subscription",
                            command="SUBSCRIBE",
                            destination="/topic/b",
                            subscription="s",
                        )
                    ]
                },
            ),
        ],
        {"a": 1002},
    ),
    Check(
        "U1",
        "1.0 without id",
        A10,
        [
            ("a", f("SUBSCRIBE", destination="/topic/a"), {}),
            ("a", send("/topic/a"), {"a": [got(1, None, "/topic/a")]}),
        ],
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
    Check(
        "U1",
        "two subscriptions to one destination",
        A12,
        [
            SUB,
            ("a", sub("t", "/topic/a"), {}),
            ("a", send("/topic/a"), {"a": [got(1, "s", "/topic/a"), got(1, "t", "/topic/a")]}),
        ],
    ),
    fatal(
        "U2",
        "an unknown ack mode",
        "1.2",
        sub("s", "/topic/a", ack="sometimes"),
        "bad-ack-mode",
        command="SUBSCRIBE",
        destination="/topic/a",
        subscription="s",
    ),
    *[
        Check(
            "U2",
            f"ack:{mode}",
            A12,
            [("a", sub("s", "/topic/a", ack=mode, receipt="r"), {"a": [receipt("r")]})],
        )
        for mode in ("auto", "client", "client-individual")
    ],
    fatal(
        "U3",
        "UNSUBSCRIBE of an unknown id",
        "1.2",
        f("UNSUBSCRIBE", id="s"),
        "unknown-subscription",
        command="UNSUBSCRIBE",
        subscription="s",
    ),
    Check(
        "U3",
        "an ACK after UNSUBSCRIBE",
        A12,
        [
            ACKED,
            deliver(1),
            ("a", f("UNSUBSCRIBE", id="s"), {}),
            ("a", f("ACK", id="s.1", receipt="r"), {"a": [receipt("r")]}),
        ],
    ),
    Check(
        "M1",
        "auto: no ack header",
        A12,
        [SUB, ("a", send("/topic/a", b"x"), {"a": [got(1, "s", "/topic/a", b"x")]})],
    ),
    Check(
        "M1",
        "client mode: with ack header",
        A12,
        [
            CUMULATIVE,
            (
                "a",
                send("/topic/a", b"x", content_type="text/plain"),
                {
                    "a": [
                        got(
                            1,
                            "s",
                            "/topic/a",
                            b"x",
                            ack="s.1",
                            marks="first",
                            content_type="text/plain",
                        )
                    ]
                },
            ),
        ],
    ),
    Check(
        "M1",
        "1.1: no ack header in client mode",
        A11,
        [CUMULATIVE, ("a", send("/topic/a"), {"a": [got(1, "s", "/topic/a", marks="first")]})],
    ),
    Check(
        "M1",
        "no content-length without a body",
        A12,
        [SUB, ("a", send("/topic/a", content_length="0"), {"a": [got(1, "s", "/topic/a")]})],
    ),
]

CHECKS = [*SENDING, *SUBSCRIBING]

"""Wire checks of acknowledging, transactions and required headers: rows K, T and A8."""

from __future__ import annotations

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

ACKNOWLEDGING = [
    Check(
        "K1",
        "client: cumulative",
        A12,
        [
            ("a", sub("s", "/queue/a", ack="client", prefetch_count="3"), {}),
            *[deliver(n, "s", "/queue/a") for n in (1, 2, 3)],
            ("a", send("/queue/a"), {}),
            ("a", f("ACK", id="s.2"), {"a": [first(4, "s", "/queue/a")]}),
            ("a", send("/queue/a"), {"a": [first(5, "s", "/queue/a")]}),
            ("a", send("/queue/a"), {}),
        ],
    ),
    Check(
        "K1",
        "client: within its subscription",
        A12,
        [
            ("a", sub("s", "/queue/a", ack="client", prefetch_count="1"), {}),
            ("a", sub("t", "/queue/b", ack="client", prefetch_count="1"), {}),
            deliver(1, "s", "/queue/a"),
            deliver(2, "t", "/queue/b"),
            ("a", send("/queue/a"), {}),
            ("a", f("ACK", id="t.2"), {}),
            ("a", f("ACK", id="s.1"), {"a": [first(3, "s", "/queue/a")]}),
        ],
    ),
    Check(
        "K2",
        "client-individual: one only",
        A12,
        [
            ("a", sub("s", "/queue/a", ack="client-individual", prefetch_count="2"), {}),
            deliver(1, "s", "/queue/a"),
            deliver(2, "s", "/queue/a"),
            ("a", send("/queue/a") * 2, {}),
            ("a", f("ACK", id="s.2"), {"a": [first(3, "s", "/queue/a")]}),
            ("a", f("ACK", id="s.1"), {"a": [first(4, "s", "/queue/a")]}),
        ],
    ),
    Check(
        "K3",
        "NACK: again, marked",
        A12,
        [
            ACKED,
            deliver(1),
            ("a", f("NACK", id="s.1"), {"a": [again(1, 2)]}),
            ("a", f("NACK", id="s.1"), {}),
            ("a", 0.9, {}),
            ("a", 0.2, {"a": [again(1, 3)]}),
        ],
    ),
    Check(
        "K3",
        "NACK on a queue: the pauses grow",
        A12,
        [
            ("a", sub("s", "/queue/a", ack="client"), {}),
            deliver(1, "s", "/queue/a"),
            ("a", f("NACK", id="s.1"), {"a": [again(1, 2, "s", "/queue/a")]}),
            ("a", f("NACK", id="s.1"), {}),
            ("a", 0.9, {}),
            ("a", 0.2, {"a": [again(1, 3, "s", "/queue/a")]}),
            ("a", f("NACK", id="s.1"), {}),
            ("a", 1.9, {}),
            ("a", 0.2, {"a": [again(1, 4, "s", "/queue/a")]}),
        ],
    ),
    Check(
        "K3",
        "NACK in client mode: everything up to it, in order",
        A12,
        [
            CUMULATIVE,
            deliver(1),
            deliver(2),
            deliver(3),
            ("a", f("NACK", id="s.2"), {"a": [again(1, 2), again(2, 2)]}),
        ],
    ),
    Check(
        "K3",
        "NACK requeue:false: never again",
        A12,
        [
            ("a", sub("s", "/queue/a", ack="client"), {}),
            deliver(1, "s", "/queue/a"),
            ("a", f("NACK", id="s.1", requeue="false", receipt="r"), {"a": [receipt("r")]}),
            ("a", 20.0, {}),
        ],
    ),
    Check(
        "K3",
        "not acknowledged in time: again",
        A12,
        [ACKED, deliver(1), ("a", 29.0, {}), ("a", 1.1, {"a": [again(1, 2)]})],
    ),
    Check(
        "K4",
        "the connection is lost: to another consumer",
        BOTH,
        [
            ("a", sub("s", "/queue/a", ack="client"), {}),
            ("b", sub("u", "/queue/a", ack="client"), {}),
            ("a", send("/queue/a"), {"a": [first(1, "s", "/queue/a")]}),
            (
                "a",
                b"X\n\n\0",
                {"a": [error("unknown-command")], "b": [again(1, 2, "u", "/queue/a")]},
            ),
        ],
        {"a": 1002},
    ),
    fatal("K5", "an id never issued", "1.2", f("ACK", id="s.1"), "unknown-ack", command="ACK"),
    fatal(
        "K5",
        "an id not of our form",
        "1.2",
        f("NACK", id="whatever"),
        "unknown-ack",
        command="NACK",
    ),
    Check(
        "K5",
        "an id already settled",
        A12,
        [
            ACKED,
            deliver(1),
            ("a", f("ACK", id="s.1"), {}),
            ("a", f("ACK", id="s.1", receipt="r"), {"a": [receipt("r")]}),
        ],
    ),
    Check(
        "K5",
        "an id settled by a cumulative ACK of the same transaction",
        A12,
        [
            CUMULATIVE,
            deliver(1),
            deliver(2),
            (
                "a",
                f("BEGIN", transaction="t")
                + f("ACK", id="s.2", transaction="t")
                + f("ACK", id="s.1", transaction="t")
                + f("COMMIT", transaction="t", receipt="r"),
                {"a": [receipt("r")]},
            ),
        ],
    ),
    Check(
        "K5",
        "an ACK for an auto subscription is ignored",
        A12,
        [
            SUB,
            ("a", send("/topic/a"), {"a": [got(1, "s", "/topic/a")]}),
            ("a", f("ACK", id="id1-72-1", subscription="s", receipt="r"), {"a": [receipt("r")]}),
        ],
    ),
    Check(
        "K6",
        "1.1: message-id and subscription",
        A11,
        [
            ACKED,
            ("a", send("/topic/a"), {"a": [got(1, "s", "/topic/a", marks="first")]}),
            (
                "a",
                f("ACK", message_id="id1-72-1", subscription="s", receipt="r"),
                {"a": [receipt("r")]},
            ),
            ("a", 40.0, {}),
        ],
    ),
    Check(
        "K6",
        "1.1: message-id alone is not enough",
        A11,
        [
            ACKED,
            ("a", send("/topic/a"), {"a": [got(1, "s", "/topic/a", marks="first")]}),
            ("a", f("ACK", message_id="id1-72-1"), {"a": [error("missing-header", command="ACK")]}),
        ],
        {"a": 1002},
    ),
    Check(
        "K6",
        "1.0: message-id alone",
        A10,
        [
            ("a", f("SUBSCRIBE", destination="/topic/a", ack="client"), {}),
            ("a", send("/topic/a"), {"a": [got(1, None, "/topic/a", marks="first")]}),
            ("a", f("ACK", message_id="id1-72-1", receipt="r"), {"a": [receipt("r")]}),
            ("a", 40.0, {}),
        ],
    ),
    Check(
        "K6",
        "1.0: in every subscription that has it",
        A10,
        [
            ("a", sub("s", "/topic/a", ack="client"), {}),
            ("a", sub("t", "/topic/a", ack="client"), {}),
            (
                "a",
                send("/topic/a"),
                {
                    "a": [
                        got(1, "s", "/topic/a", marks="first"),
                        got(1, "t", "/topic/a", marks="first"),
                    ]
                },
            ),
            ("a", f("ACK", message_id="id1-72-1"), {}),
            ("a", 40.0, {}),
        ],
    ),
]

TRANSACTIONS = [
    Check(
        "T1",
        "BEGIN twice",
        A12,
        [
            ("a", f("BEGIN", transaction="t"), {}),
            (
                "a",
                f("BEGIN", transaction="t"),
                {"a": [error("duplicate-transaction", command="BEGIN")]},
            ),
        ],
        {"a": 1002},
    ),
    *[
        fatal(
            "T1",
            f"{command} of an unknown transaction",
            "1.2",
            f(command, transaction="t", id="s.1", destination="/topic/a"),
            "unknown-transaction",
            command=command,
            destination="/topic/a",
        )
        for command in ("SEND", "ACK", "NACK", "COMMIT", "ABORT")
    ],
    *[
        Check(
            "T1",
            f"the identifier is free after {end}",
            A12,
            [
                (
                    "a",
                    f("BEGIN", transaction="t")
                    + f(end, transaction="t")
                    + f("BEGIN", transaction="t", receipt="r"),
                    {"a": [receipt("r")]},
                )
            ],
        )
        for end in ("COMMIT", "ABORT")
    ],
    Check(
        "T2",
        "what is in the transaction comes at COMMIT",
        A12,
        [
            SUB,
            (
                "a",
                f("BEGIN", transaction="t1")
                + send("/topic/a", b"one", transaction="t1")
                + send("/topic/a", b"two")
                + f("COMMIT", transaction="t1"),
                {"a": [got(1, "s", "/topic/a", b"two"), got(2, "s", "/topic/a", b"one")]},
            ),
        ],
    ),
    Check(
        "T2",
        "ABORT drops",
        A12,
        [
            SUB,
            (
                "a",
                f("BEGIN", transaction="t")
                + send("/topic/a", transaction="t")
                + f("ABORT", transaction="t", receipt="r"),
                {"a": [receipt("r")]},
            ),
        ],
    ),
    Check(
        "T2",
        "acknowledged in an aborted transaction: unacknowledged again",
        A12,
        [
            ACKED,
            deliver(1),
            (
                "a",
                f("BEGIN", transaction="t")
                + f("ACK", id="s.1", transaction="t")
                + f("ABORT", transaction="t"),
                {},
            ),
            ("a", f("NACK", id="s.1"), {"a": [again(1, 2)]}),
        ],
    ),
    Check(
        "T3",
        "too many open",
        A12,
        [
            (
                "a",
                b"".join(f("BEGIN", transaction=str(n)) for n in range(9)),
                {"a": [error("limit", 1008, command="BEGIN")]},
            )
        ],
        {"a": 1008},
    ),
    Check(
        "T3",
        "too many frames",
        A12,
        [
            (
                "a",
                f("BEGIN", transaction="t") + send("/topic/a", transaction="t") * 257,
                {"a": [error("limit", 1008, command="SEND", destination="/topic/a")]},
            )
        ],
        {"a": 1008},
    ),
]

REQUIRED = [
    fatal("A8", f"{command} in {version}", version, f(command), "missing-header", command=command)
    for version in ("1.0", "1.1", "1.2")
    for command in ("SEND", "SUBSCRIBE", "UNSUBSCRIBE", "ACK", "NACK", "BEGIN", "COMMIT", "ABORT")
    if (version, command) != ("1.0", "NACK")
]

CHECKS = [*ACKNOWLEDGING, *TRANSACTIONS, *REQUIRED]

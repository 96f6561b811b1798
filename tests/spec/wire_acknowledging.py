"""Wire checks of acknowledging: rows K, in every version that has them."""

from __future__ import annotations

from tests.spec.checks import (
    A10,
    A11,
    A12,
    ACKED,
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

QUEUE = "/queue/a"
CLIENT, INDIVIDUAL = "client", "client-individual"
EARLIER: Demands = ["1.1 1.2 SUBSCRIBE ack Header 7"]
CUMULATIVE: Demands = ["1.1 1.2 SUBSCRIBE ack Header 6", *EARLIER]
ONE_ONLY: Demands = ["1.1 SUBSCRIBE ack Header 8", "1.2 SUBSCRIBE ack Header 9"]
NACK_SCOPE: Demands = ["1.1 1.2 NACK 2"]
CONSUMED: Demands = ["1.0 ACK 1"]
CONSUMED_NOW: Demands = ["1.1 1.2 ACK 1"]
NACKED: Demands = ["1.2 SUBSCRIBE ack Header 8"]
ANSWERS: Demands = ["1.1 1.2 Header receipt 1"]
FAILED: Demands = ["1.1 1.2 SUBSCRIBE ack Header 5"]
MATCHING: Demands = ["1.0 1.2 ACK 2", "1.1 ACK 3"]
RELATES: Demands = ["1.2 MESSAGE 5"]


def take(mode: str, name: str = "s", destination: str = QUEUE, **headers: str) -> Step:
    return ("a", sub(name, destination, ack=mode, **headers), {})


def ahead(version: str, number: int, name: str = "s", destination: str = QUEUE) -> Step:
    return deliver(number, name, destination, version=version)


def which_are_settled(v: str) -> list[Check]:
    """K1 and K2: a full window opens by as many as an ACK settles."""
    nine = first(9, "s", QUEUE, version=v)
    return [
        Check(
            "K1",
            f"{v} client: cumulative",
            {"a": v},
            [
                take(CLIENT, prefetch_count="3"),
                *[ahead(v, n) for n in (1, 2, 3)],
                ("a", send(QUEUE), {}),
                ("a", settle("ACK", v, 2), {"a": [first(4, "s", QUEUE, version=v)]}),
                ahead(v, 5),
                ("a", send(QUEUE), {}),
            ],
            proves=said(v, CUMULATIVE),
        ),
        Check(
            "K1",
            f"{v} client: within its subscription",
            {"a": v},
            [
                take(CLIENT, prefetch_count="1"),
                take(CLIENT, "t", "/queue/b", prefetch_count="1"),
                ahead(v, 1),
                ahead(v, 2, "t", "/queue/b"),
                ("a", send(QUEUE), {}),
                ("a", settle("ACK", v, 2, "t"), {}),
                (
                    "a",
                    settle("ACK", v, 1),
                    {"a": [first(3, "s", QUEUE, version=v)]},
                ),
            ],
            proves=said(v, EARLIER),
        ),
        Check(
            "K2",
            f"{v} client-individual: one only",
            {"a": v},
            [
                take(INDIVIDUAL, prefetch_count="2"),
                ahead(v, 1),
                ahead(v, 2),
                ("a", send(QUEUE) * 2, {}),
                ("a", settle("ACK", v, 2), {"a": [first(3, "s", QUEUE, version=v)]}),
                ("a", settle("ACK", v, 1), {"a": [first(4, "s", QUEUE, version=v)]}),
            ],
            proves=said(v, ONE_ONLY),
        ),
        Check(
            "K2",
            f"{v} the eight others stay out",
            {"a": v},
            [
                take(INDIVIDUAL, prefetch_count="8"),
                *[ahead(v, n) for n in range(1, 9)],
                ("a", send(QUEUE) * 2, {}),
                ("a", settle("ACK", v, 8), {"a": [nine]}),
            ],
            proves=said(v, ONE_ONLY),
        ),
    ]


def back(version: str, number: int, attempt: int, destination: str = QUEUE) -> bytes:
    return again(number, attempt, "s", destination, version=version)


def come_again(v: str) -> list[Check]:
    """K3: what a NACK does, of one and of many."""
    topic = "/topic/a"
    return [
        *[
            Check(
                "K3",
                f"{v} NACK on {destination}: again, marked; the pauses grow",
                {"a": v},
                [
                    take(INDIVIDUAL, "s", destination),
                    ahead(v, 1, "s", destination),
                    ("a", settle("NACK", v, 1), {"a": [back(v, 1, 2, destination)]}),
                    ("a", settle("NACK", v, 1), {}),
                    ("a", 0.9, {}),
                    ("a", 0.2, {"a": [back(v, 1, 3, destination)]}),
                    ("a", settle("NACK", v, 1), {}),
                    ("a", 1.9, {}),
                    ("a", 0.2, {"a": [back(v, 1, 4, destination)]}),
                ],
                proves=said(v, NACKED),
            )
            for destination in (QUEUE, topic)
        ],
        *[
            Check(
                "K3",
                f"{v} NACK in client mode on {destination}: everything up to it, in order",
                {"a": v},
                [
                    take(CLIENT, "s", destination),
                    *[ahead(v, n, "s", destination) for n in (1, 2, 3)],
                    (
                        "a",
                        settle("NACK", v, 2),
                        {"a": [back(v, 1, 2, destination), back(v, 2, 2, destination)]},
                    ),
                ],
                proves=said(v, NACK_SCOPE),
            )
            for destination in (QUEUE, topic)
        ],
        *[
            Check(
                "R2",
                f"{v} NACK on {destination}: before the redelivery",
                {"a": v},
                [
                    take(CLIENT, "s", destination),
                    ahead(v, 1, "s", destination),
                    (
                        "a",
                        settle("NACK", v, 1, receipt="r"),
                        {"a": [receipt("r"), back(v, 1, 2, destination)]},
                    ),
                ],
                proves=said(v, ANSWERS),
            )
            for destination in (QUEUE, topic)
        ],
        Check(
            "K3",
            f"{v} NACK in client-individual mode: one only",
            {"a": v},
            [
                take(INDIVIDUAL),
                *[ahead(v, n) for n in (1, 2, 3)],
                ("a", settle("NACK", v, 2), {"a": [back(v, 2, 2)]}),
            ],
            proves=said(v, NACK_SCOPE, ONE_ONLY),
        ),
        Check(
            "K3",
            f"{v} NACK requeue:false: never again",
            {"a": v},
            [
                take(CLIENT),
                ahead(v, 1),
                ("a", settle("NACK", v, 1, requeue="false", receipt="r"), {"a": [receipt("r")]}),
                ("a", 20.0, {}),
            ],
        ),
    ]


def lost_and_late(v: str) -> list[Check]:
    """K3 and K4: what is never acknowledged."""
    about = said(v, FAILED, CONSUMED, CONSUMED_NOW)
    return [
        Check(
            "K3",
            f"{v} not acknowledged in time: again",
            {"a": v},
            [
                take(INDIVIDUAL, "s", "/topic/a"),
                ahead(v, 1, "s", "/topic/a"),
                ("a", 29.0, {}),
                ("a", 1.1, {"a": [back(v, 1, 2, "/topic/a")]}),
            ],
            proves=said(v, CONSUMED, CONSUMED_NOW),
        ),
        *[
            Check(
                "K4",
                f"{v} {how}: to another consumer",
                {"a": v, "b": v},
                [
                    take(CLIENT),
                    ("b", sub("u", QUEUE, ack="client"), {}),
                    ahead(v, 1),
                    ("a", sent, {"b": [again(1, attempt, "u", QUEUE, version=v)], **answer}),
                ],
                closed,
                proves=about,
            )
            for how, attempt, sent, answer, closed in (
                ("the connection is lost", 2, LOST, {}, {}),
                ("DISCONNECT", 1, f("DISCONNECT"), {}, {"a": 1000}),
                ("an ERROR", 2, b"X\n\n\0", {"a": [error("unknown-command")]}, {"a": 1002}),
            )
        ],
    ]


def not_to_be_settled(v: str) -> list[Check]:
    """K5: ids that name nothing, or nothing any more."""
    commands = ("ACK", "NACK") if v != "1.0" else ("ACK",)
    named = {"subscription": "s"} if v == "1.1" else {}
    form = {"id": "whatever"} if v == "1.2" else {"message_id": "whatever", **named}
    about = said(v, MATCHING)
    return [
        *[
            fatal(
                "K5",
                f"{v} {command}: {what}",
                v,
                sent,
                "unknown-ack",
                proves=about if command == "ACK" else (),
                command=command,
                **named,
            )
            for command in commands
            for what, sent in (
                ("an id never issued", settle(command, v, 1)),
                ("an id not of our form", f(command, **form)),
            )
        ],
        *[
            Check(
                "K5",
                f"{v} {command}: an id already settled",
                {"a": v},
                [
                    take(INDIVIDUAL, "s", "/topic/a"),
                    ahead(v, 1, "s", "/topic/a"),
                    ("a", settle("ACK", v, 1), {}),
                    ("a", settle(command, v, 1, receipt="r"), {"a": [receipt("r")]}),
                    ("a", 40.0, {}),
                ],
                proves=said(v, RELATES),
            )
            for command in commands
        ],
        Check(
            "K5",
            f"{v} an id settled by a cumulative ACK of the same transaction",
            {"a": v},
            [
                take(CLIENT),
                ahead(v, 1),
                ahead(v, 2),
                (
                    "a",
                    f("BEGIN", transaction="t")
                    + settle("ACK", v, 2, transaction="t")
                    + settle("ACK", v, 1, transaction="t")
                    + f("COMMIT", transaction="t", receipt="r"),
                    {"a": [receipt("r")]},
                ),
            ],
        ),
        Check(
            "K5",
            f"{v} an ACK for an auto subscription is ignored",
            {"a": v},
            [
                ("a", sub("s", "/topic/a"), {}),
                ("a", send("/topic/a"), {"a": [got(1, "s", "/topic/a")]}),
                (
                    "a",
                    settle("ACK", v, 1, subscription="s", receipt="r")
                    if v == "1.0"
                    else f("ACK", id="any", message_id="id1-72-1", subscription="s", receipt="r"),
                    {"a": [receipt("r")]},
                ),
            ],
        ),
    ]


OF_ONE_VERSION = [
    Check(
        "K6",
        "1.1: message-id and subscription",
        A11,
        [
            ACKED,
            ("a", send("/topic/a"), {"a": [got(1, "s", "/topic/a", marks="first")]}),
            ("a", settle("ACK", "1.1", 1, receipt="r"), {"a": [receipt("r")]}),
            ("a", 40.0, {}),
        ],
        proves=said("1.1", MATCHING, ["1.1 ACK 2"]),
    ),
    *[
        Check(
            "K6",
            f"1.1 {command}: message-id alone is not enough",
            A11,
            [
                ACKED,
                ("a", send("/topic/a"), {"a": [got(1, "s", "/topic/a", marks="first")]}),
                (
                    "a",
                    f(command, message_id="id1-72-1"),
                    {"a": [error("missing-header", command=command)]},
                ),
            ],
            {"a": 1002},
            proves=demands,
        )
        for command, demands in (
            ("ACK", ["1.1 ACK 2"]),
            ("NACK", ["1.1 NACK 1"]),
        )
    ],
    Check(
        "K6",
        "1.2: id alone, and what a client says besides counts for nothing",
        A12,
        [
            ACKED,
            ("a", send("/topic/a"), {"a": [first(1)]}),
            (
                "a",
                f("ACK", id="s.1", message_id="x", subscription="x", receipt="r"),
                {"a": [receipt("r")]},
            ),
            ("a", 40.0, {}),
        ],
        proves=said("1.2", MATCHING, RELATES),
    ),
    Check(
        "K6",
        "1.0: message-id alone",
        A10,
        [
            ("a", f("SUBSCRIBE", destination="/topic/a", ack="client"), {}),
            ("a", send("/topic/a"), {"a": [got(1, None, "/topic/a", marks="first")]}),
            ("a", settle("ACK", "1.0", 1, receipt="r"), {"a": [receipt("r")]}),
            ("a", 40.0, {}),
        ],
        proves=said("1.0", MATCHING),
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
                {"a": [first(1, name, version="1.0") for name in ("s", "t")]},
            ),
            ("a", settle("ACK", "1.0", 1), {}),
            ("a", 40.0, {}),
        ],
    ),
]

CHECKS = [
    *[each for v in EVERY for each in which_are_settled(v)],
    *[each for v in MODERN for each in come_again(v)],
    *[each for v in EVERY for each in lost_and_late(v)],
    *[each for v in EVERY for each in not_to_be_settled(v)],
    *OF_ONE_VERSION,
]

"""Wire checks of escapes and of whose a header is: rows E and H."""

from __future__ import annotations

from tests.spec.checks import (
    CONNECT,
    NEW,
    SUB,
    Check,
    Demands,
    connected,
    error,
    f,
    fatal,
    got,
    receipt,
    said,
    send,
    sub,
)
from tests.spec.talk import EVERY, MODERN

DECODED: Demands = ["1.1 1.2 Value Encoding 3"]
ENCODED: Demands = ["1.1 1.2 Value Encoding 5"]
ALSO: Demands = ["1.1 1.2 Value Encoding 1"]
UNDEFINED: Demands = ["1.1 1.2 Value Encoding 4"]
BLANKS: Demands = ["1.1 Value Encoding 7", "1.2 Value Encoding 6"]
FIRST: Demands = ["1.1 1.2 Repeated Header Entries 1"]
PASSED: Demands = ["1.1 1.2 SEND 5", "1.1 MESSAGE 6", "1.2 MESSAGE 8", "1.2 Frames and Headers 10"]

FORGED = [
    *["ack", "delivery_attempt", "dropped", "heart_beat", "login", "message_id", "passcode"],
    *["original_destination", "redelivered", "replayed", "server", "session", "simpUser"],
    *["snapshot", "subscription", "user_name"],
]


def escapes(v: str) -> list[Check]:
    """E1, E2, E5 and E7: what is escaped, and how often."""
    cr = "\\r" if v == "1.2" else ""
    head = b"MESSAGE\nsubscription:s\ndestination:/topic/a\nmessage-id:id1-72-1\n"
    special = f"f\\co\\n{cr}\\\\:a\\nb\\\\{cr}\\c\n".encode()
    wrong = ["\\t", "\\", "\\C", "\\0", "a\\\\\\", *(["\\r"] if v == "1.1" else [])]
    return [
        Check(
            "E1",
            f"{v} one pass, from the left",
            {"a": v, "b": "1.0"},
            [
                SUB,
                ("b", sub("s", "/topic/a"), {}),
                (
                    "a",
                    send("/topic/a", k="a\\\\c"),
                    {
                        "a": [got(1, "s", "/topic/a", k="a\\\\c")],
                        "b": [got(1, "s", "/topic/a", k="a\\c")],
                    },
                ),
            ],
            proves=said(v, DECODED, ENCODED),
        ),
        Check(
            "E2",
            f"{v} names and values are escaped on the way out",
            {"a": v},
            [
                SUB,
                (
                    "a",
                    b"SEND\ndestination:/topic/a\n" + special + b"\n\0",
                    {"a": [head + special + b"\n\0"]},
                ),
            ],
            proves=said(v, DECODED, ENCODED, ALSO),
        ),
        Check(
            "E2",
            f"{v} in RECEIPT too",
            {"a": v},
            [
                (
                    "a",
                    send("/topic/a", receipt=f"a\\\\\\cb\\n{cr}"),
                    {"a": [receipt(f"a\\\\\\cb\\n{cr}")]},
                )
            ],
            proves=said(v, ENCODED, ALSO),
        ),
        Check(
            "E2",
            f"{v} the server's own headers: destination, subscription, ack",
            {"a": v},
            [
                (
                    "a",
                    sub("s\\c1", "/topic/b\\cc", ack="client"),
                    {},
                ),
                (
                    "a",
                    send("/topic/b\\cc"),
                    {
                        "a": [
                            got(
                                1,
                                "s\\c1",
                                "/topic/b\\cc",
                                ack="s\\c1.1" if v == "1.2" else "",
                                marks="first",
                            )
                        ]
                    },
                ),
            ],
            proves=said(v, DECODED, ENCODED, ALSO),
        ),
        *[
            fatal(
                "E5",
                f"{v} {each!r} in a {where}",
                v,
                b"SEND\n" + line.encode() + b"\n\n\0",
                "bad-escape",
                proves=said(v, UNDEFINED),
                command="SEND",
            )
            for each in wrong
            for where, line in (("value", f"k:{each}"), ("name", f"{each}:v"))
        ],
        fatal(
            "E7",
            f"{v} ERROR is escaped",
            v,
            f("SEND", receipt=f"a\\cb\\n\\\\{cr}"),
            "missing-header",
            proves=said(v, ENCODED, ALSO),
            receipt_id=f"a\\cb\\n\\\\{cr}",
            command="SEND",
        ),
    ]


def owners(v: str) -> list[Check]:
    """H1 to H4: repeated headers, the sender's and the server's."""
    forged = dict.fromkeys(FORGED, "x")
    mine = {"persistent": "true", "correlation_id": "7", "Foo": "", "priority": "4"}
    return [
        Check(
            "H1",
            f"{v} the first of a repeated header",
            {"a": v},
            [
                SUB,
                (
                    "a",
                    b"SEND\ndestination:/topic/a\nfoo:World\nfoo:Hello\n\n\0",
                    {"a": [got(1, "s", "/topic/a", foo="World")]},
                ),
            ],
            proves=said(v, FIRST),
        ),
        *[
            fatal(
                "H1",
                f"{v} a repeated {name}",
                v,
                f"SEND\ndestination:/topic/a\n{name}:/topic/a\n{name}:/topic/b\n\n\0".encode(),
                "repeated-header",
                proves=said(v, FIRST),
                **({"receipt_id": "/topic/a"} if name == "receipt" else {}),
                command="SEND",
                destination="/topic/a",
            )
            for name in ("destination", "id", "ack", "transaction", "receipt")
        ],
        *[
            Check(
                "H2",
                f"{v} headers of the sender are passed through{how}",
                {"a": v},
                [
                    SUB,
                    (
                        "a",
                        frames,
                        {"a": [got(1, "s", "/topic/a", **mine)]},
                    ),
                ],
                proves=said(v, PASSED),
            )
            for how, frames in (
                ("", [send("/topic/a", **mine)]),
                (
                    ", of a transaction too",
                    [
                        f("BEGIN", transaction="t"),
                        send("/topic/a", transaction="t", **mine),
                        f("COMMIT", transaction="t"),
                    ],
                ),
            )
        ],
        Check(
            "H3",
            f"{v} the server's headers are not",
            {"a": v},
            [
                SUB,
                (
                    "a",
                    send("/topic/a", receipt="r", **forged),
                    {"a": [got(1, "s", "/topic/a"), receipt("r")]},
                ),
            ],
        ),
        Check(
            "H4",
            f"{v} the server's headers stand first",
            {"a": v},
            [
                SUB,
                (
                    "a",
                    b"SEND\na:b\ndestination:/topic/a\n\n\0",
                    {"a": [got(1, "s", "/topic/a", a="b")]},
                ),
            ],
        ),
    ]


def blanks(v: str) -> list[Check]:
    """1.1 and 1.2 never trim: a padded name is another name, a padded value another value."""
    padded = b"SEND\ndestination:/topic/a\n k : v \nempty: \n\n\0"
    message = b"MESSAGE\nsubscription: s \ndestination:/topic/a\nmessage-id:id1-72-1\n"
    return [
        Check(
            "E2",
            f"{v} blanks are kept",
            {"a": v},
            [
                ("a", sub(" s ", "/topic/a"), {}),
                ("a", padded, {"a": [message + b" k : v \nempty: \n\n\0"]}),
            ],
            proves=said(v, BLANKS),
        ),
        Check(
            "E2",
            f"{v} a destination with a blank behind it is another",
            {"a": v},
            [
                ("a", sub("s", "/topic/a ") + sub("t", "/topic/a"), {}),
                ("a", send("/topic/a "), {"a": [got(1, "s", "/topic/a ")]}),
            ],
            proves=said(v, BLANKS),
        ),
        *[
            fatal(
                "E2",
                f"{v} {command}: a destination with a blank before it is none",
                v,
                f(command, id="s", destination=" /topic/a"),
                "bad-destination",
                proves=said(v, BLANKS),
                command=command,
                **({"subscription": "s"} if command == "SUBSCRIBE" else {}),
            )
            for command in ("SEND", "SUBSCRIBE")
        ],
        Check(
            "E2",
            f"{v} a receipt keeps its blanks",
            {"a": v},
            [("a", send("/topic/a", receipt=" r "), {"a": [receipt(" r ")]})],
            proves=said(v, BLANKS),
        ),
    ]


OLDER = [
    Check(
        "E4",
        "CRLF in CONNECT of a 1.1 session, LF after it",
        NEW,
        [
            (
                "a",
                CONNECT.replace(b"1.2", b"1.1").replace(b"\n", b"\r\n"),
                {"a": [connected("1.1")]},
            ),
            ("a", b"SEND\r\n\r\n\0", {"a": [error("unknown-command")]}),
        ],
        {"a": 1002},
    ),
    Check(
        "E6",
        "1.0 escapes nothing",
        {"a": "1.0", "b": "1.2", "c": "1.0"},
        [
            ("b", sub("s", "/topic/a"), {}),
            ("c", sub("s", "/topic/a"), {}),
            (
                "a",
                send("/topic/a", k="a\\cb"),
                {
                    "b": [got(1, "s", "/topic/a", k="a\\\\cb")],
                    "c": [got(1, "s", "/topic/a", k="a\\cb")],
                },
            ),
        ],
        proves=said("1.2", ENCODED),
    ),
    Check(
        "E6",
        "line ends cannot be told to 1.0",
        {"a": "1.2", "b": "1.0"},
        [
            ("b", sub("s", "/topic/a"), {}),
            (
                "a",
                send("/topic/a", k="a\\nmessage-id\\cb\\r"),
                {"b": [got(1, "s", "/topic/a", k="amessage-id:b")]},
            ),
        ],
    ),
    Check(
        "E6",
        "CR cannot be told to 1.1",
        {"a": "1.2", "b": "1.1"},
        [
            ("b", sub("s", "/topic/a"), {}),
            (
                "a",
                send("/topic/a", k="a\\nb\\rc"),
                {"b": [got(1, "s", "/topic/a", k="a\\nbc")]},
            ),
        ],
    ),
    Check(
        "E6",
        "a name that cannot be told is left out, with its value",
        {"a": "1.2", "b": "1.0", "c": "1.1"},
        [
            ("b", sub("s", "/topic/a"), {}),
            ("c", sub("s", "/topic/a"), {}),
            (
                "a",
                b"SEND\ndestination:/topic/a\nack\\r:1\nmessage-id\\c2:3\nk:v\n\n\0",
                {
                    "b": [got(1, "s", "/topic/a", k="v")],
                    "c": [got(1, "s", "/topic/a", **{"message_id\\c2": "3", "k": "v"})],
                },
            ),
        ],
    ),
]

CHECKS = [
    *[each for v in MODERN for each in (*escapes(v), *blanks(v))],
    *[each for v in EVERY for each in owners(v)],
    *OLDER,
]

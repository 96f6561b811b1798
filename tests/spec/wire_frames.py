"""Wire checks of frames, escapes and headers: rows G, E and H."""

from __future__ import annotations

from tests.spec.checks import (
    A11,
    A12,
    CONNECT,
    NEW,
    SUB,
    UNTIL_NUL,
    Check,
    connected,
    error,
    f,
    fatal,
    got,
    receipt,
    send,
    sub,
)

FRAMES = [
    Check(
        "G1",
        "a frame and two line ends behind it",
        A12,
        [
            SUB,
            (
                "a",
                b"SEND\ndestination:/topic/a\n\nhi\0\n\n",
                {"a": [got(1, "s", "/topic/a", b"hi")]},
            ),
        ],
    ),
    fatal(
        "G2", "a command in small letters", "1.2", b"send\ndestination:/q\n\nx\0", "unknown-command"
    ),
    Check(
        "G2",
        "a header name in capitals is another header",
        A12,
        [
            (
                "a",
                b"SEND\nDestination:/topic/a\n\n\0",
                {"a": [error("missing-header", command="SEND")]},
            )
        ],
        {"a": 1002},
    ),
    Check(
        "G3",
        "line ends before CONNECT",
        NEW,
        [("a", b"\n\n\r\n" + CONNECT, {"a": [connected("1.2")]})],
    ),
    Check(
        "G3",
        "CRLF between frames",
        A12,
        [SUB, ("a", b"\r\n\r\n" + UNTIL_NUL + b"\r\n", {"a": [got(1, "s", "/topic/a", b"x")]})],
    ),
    Check("G4", "NULs before CONNECT", NEW, [("a", b"\0\0" + CONNECT, {"a": [connected("1.2")]})]),
    Check(
        "G5",
        "byte by byte",
        NEW,
        [("a", [bytes([each]) for each in CONNECT], {"a": [connected("1.2")]})],
    ),
    Check(
        "G5",
        "two frames in one message",
        A12,
        [
            SUB,
            (
                "a",
                UNTIL_NUL * 2,
                {"a": [got(1, "s", "/topic/a", b"x"), got(2, "s", "/topic/a", b"x")]},
            ),
        ],
    ),
    Check(
        "G5",
        "one frame in five messages",
        A12,
        [
            SUB,
            (
                "a",
                [b"SE", b"ND\ndestin", b"ation:/topic/a\n", b"\nx", b"y\0"],
                {"a": [got(1, "s", "/topic/a", b"xy")]},
            ),
        ],
    ),
    fatal(
        "G6",
        "a line without colon",
        "1.2",
        b"SEND\ndestination\n\n\0",
        "bad-header",
        command="SEND",
    ),
    fatal("G6", "an empty name", "1.2", b"SEND\n:v\n\n\0", "bad-header", command="SEND"),
    fatal("G6", "a bare CR", "1.2", b"SEND\nk:a\rb\n\n\0", "bad-header", command="SEND"),
    fatal("G6", "a NUL in a header", "1.2", b"SEND\nk:a\0b\n\n\0", "bad-header", command="SEND"),
    Check(
        "G7",
        "an empty value",
        A12,
        [SUB, ("a", send("/topic/a", x=""), {"a": [got(1, "s", "/topic/a", x="")]})],
    ),
    Check(
        "G7",
        "an empty value in 1.1",
        A11,
        [SUB, ("a", send("/topic/a", x=""), {"a": [got(1, "s", "/topic/a", x="")]})],
    ),
    Check(
        "G8",
        "UTF-8 in names and values",
        A12,
        [
            SUB,
            (
                "a",
                send("/topic/a", clé="é"),
                {"a": [got(1, "s", "/topic/a", clé="é")]},
            ),
        ],
    ),
    Check(
        "G9",
        "a colon in a value that was not escaped",
        A12,
        [SUB, ("a", send("/topic/a", k="a:b"), {"a": [got(1, "s", "/topic/a", k="a\\cb")]})],
    ),
    Check(
        "G10",
        "NUL inside a counted body",
        A12,
        [
            SUB,
            (
                "a",
                b"SEND\ndestination:/topic/a\ncontent-length:3\n\na\0b\0",
                {"a": [got(1, "s", "/topic/a", b"a\0b")]},
            ),
        ],
    ),
    fatal(
        "G10",
        "no NUL behind a counted body",
        "1.2",
        b"SEND\ndestination:/topic/a\ncontent-length:1\n\nabc\0",
        "missing-nul",
        command="SEND",
        destination="/topic/a",
    ),
    Check(
        "G10",
        "too large a number waits",
        A12,
        [
            SUB,
            ("a", [b"SEND\ndestination:/topic/a\ncontent-length:4\n\na\0", b"\n"], {}),
            ("a", b"b\0", {"a": [got(1, "s", "/topic/a", b"a\0\nb")]}),
        ],
    ),
    *[
        fatal(
            "G11",
            f"content-length {value!r}",
            version,
            f"SEND\ndestination:/topic/a\ncontent-length:{value}\n\nabcde\0".encode(),
            "bad-content-length",
            command="SEND",
            destination="/topic/a",
        )
        for version in ("1.1", "1.2")
        for value in ("", "-1", "+5", "0x5", "5 ", " 5", "5.0", "99999999999", "five")
    ],
    Check(
        "G12",
        "an ACK that echoes the content-length of its MESSAGE",
        A12,
        [
            ("a", sub("s", "/topic/a", ack="client"), {}),
            ("a", UNTIL_NUL, {"a": [got(1, "s", "/topic/a", b"x", ack="s.1", marks="first")]}),
            ("a", f("ACK", id="s.1", content_length="1", receipt="r"), {"a": [receipt("r")]}),
        ],
    ),
    fatal(
        "G12",
        "a body on UNSUBSCRIBE",
        "1.2",
        f("UNSUBSCRIBE", b"x", id="s"),
        "body-not-allowed",
        command="UNSUBSCRIBE",
        subscription="s",
    ),
    Check(
        "G13",
        "content-length counts octets",
        A12,
        [
            SUB,
            (
                "a",
                send("/topic/a", "é€".encode()),
                {
                    "a": [
                        b"MESSAGE\nsubscription:s\ndestination:/topic/a\nmessage-id:id1-72-1\ncontent-length:5\n\n\xc3\xa9\xe2\x82\xac\0"
                    ]
                },
            ),
        ],
    ),
]

ESCAPES = [
    Check(
        "E1",
        "one pass, from the left",
        A12,
        [
            SUB,
            (
                "a",
                b"SEND\ndestination:/topic/a\nk:a\\\\c\n\n\0",
                {"a": [got(1, "s", "/topic/a", k="a\\\\c")]},
            ),
        ],
    ),
    Check(
        "E1",
        "one pass: what it means",
        {"a": "1.2", "b": "1.0"},
        [
            ("b", sub("s", "/topic/a"), {}),
            (
                "a",
                b"SEND\ndestination:/topic/a\nk:a\\\\c\n\n\0",
                {"b": [got(1, "s", "/topic/a", k="a\\c")]},
            ),
        ],
    ),
    Check(
        "E2",
        "names and values are escaped on the way out",
        A12,
        [
            SUB,
            (
                "a",
                b"SEND\ndestination:/topic/a\nf\\co:a\\nb\\\\\\r\n\n\0",
                {
                    "a": [
                        b"MESSAGE\nsubscription:s\ndestination:/topic/a\nmessage-id:id1-72-1\nf\\co:a\\nb\\\\\\r\n\n\0"
                    ]
                },
            ),
        ],
    ),
    Check(
        "E2",
        "in RECEIPT too",
        A12,
        [("a", send("/topic/a", receipt="a\\\\\\cb"), {"a": [receipt("a\\\\\\cb")]})],
    ),
    Check(
        "E3",
        "CONNECT is not unescaped",
        NEW,
        [
            (
                "a",
                b"CONNECT\naccept-version:1.2\nhost:h\npasscode:a\\tb\nlogin:pa:ss\n\n\0",
                {"a": [connected("1.2")]},
            )
        ],
    ),
    Check(
        "E3",
        "STOMP is not unescaped",
        NEW,
        [("a", b"STOMP\naccept-version:1.2\nhost:h\npasscode:\\\n\n\0", {"a": [connected("1.2")]})],
    ),
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
    fatal("E5", "\\t in 1.2", "1.2", b"SEND\nk:a\\tb\n\n\0", "bad-escape", command="SEND"),
    fatal("E5", "\\r in 1.1", "1.1", b"SEND\nk:a\\rb\n\n\0", "bad-escape", command="SEND"),
    fatal(
        "E5", "a backslash at the end", "1.2", b"SEND\nk:a\\\n\n\0", "bad-escape", command="SEND"
    ),
    fatal("E5", "in a name", "1.1", b"SEND\na\\b:v\n\n\0", "bad-escape", command="SEND"),
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
    fatal(
        "E7",
        "ERROR is escaped",
        "1.2",
        f("SEND", receipt="a\\cb"),
        "missing-header",
        receipt_id="a\\cb",
        command="SEND",
    ),
]

HEADERS = [
    Check(
        "H1",
        "the first of a repeated header",
        A12,
        [
            SUB,
            (
                "a",
                b"SEND\ndestination:/topic/a\nfoo:World\nfoo:Hello\n\n\0",
                {"a": [got(1, "s", "/topic/a", foo="World")]},
            ),
        ],
    ),
    fatal(
        "H1",
        "a repeated header that decides",
        "1.2",
        b"SEND\ndestination:/topic/a\ndestination:/topic/b\n\n\0",
        "repeated-header",
        command="SEND",
        destination="/topic/a",
    ),
    Check(
        "H2",
        "headers of the sender are passed through",
        A12,
        [
            SUB,
            (
                "a",
                send("/topic/a", persistent="true", correlation_id="7"),
                {"a": [got(1, "s", "/topic/a", persistent="true", correlation_id="7")]},
            ),
        ],
    ),
    Check(
        "H3",
        "the server's headers are not",
        A12,
        [
            SUB,
            (
                "a",
                send(
                    "/topic/a",
                    receipt="r",
                    subscription="x",
                    message_id="x",
                    ack="x",
                    redelivered="x",
                    session="x",
                    login="x",
                    passcode="x",
                    heart_beat="x",
                ),
                {"a": [got(1, "s", "/topic/a"), receipt("r")]},
            ),
        ],
    ),
    Check(
        "H4",
        "the server's headers stand first",
        A12,
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

CHECKS = [*FRAMES, *ESCAPES, *HEADERS]

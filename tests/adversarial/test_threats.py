"""Concrete bad inputs, row by row: what a whole server answers, however the bytes are cut."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

Attack = Callable[..., Any]
LF = b"\n"


def send(head: bytes, body: bytes = b"x") -> bytes:
    return b"SEND\n" + head + b"\n\n" + body + b"\0"


def subscribe(head: bytes) -> bytes:
    return b"SUBSCRIBE\n" + head + b"\n\n\0"


OPEN = b"destination:/topic/open/a"
FINE = b"SEND\ndestination:/topic/open/b\nreceipt:fine\n\n\0"
TAIL = send(b"destination:/topic/open/b\nreceipt:smuggled")

# id, octets, what is told, close code
CODEC: list[tuple[str, bytes, list[str], int | None]] = [
    ("C1 undefined escape", send(b"destination:/a\\tb") + TAIL, ["ERROR bad-escape"], 1002),
    ("C2 trailing backslash", send(OPEN + b"\nn:a\\") + TAIL, ["ERROR bad-escape"], 1002),
    ("C3 CR in a command", b"SE\rND\n\n\0", ["ERROR unknown-command"], 1002),
    ("C3 CR in a header", send(OPEN + b"\nn:a\rb"), ["ERROR bad-header"], 1002),
    ("C3 CR in a name", send(OPEN + b"\nn\r:a"), ["ERROR bad-header"], 1002),
    ("C3 CR between frames", FINE + b"\r" + FINE, ["RECEIPT fine", "ERROR bad-header"], 1002),
    ("C3 CRLF is fine", FINE.replace(LF, b"\r\n") + b"\r\n" + FINE, ["RECEIPT fine"] * 2, None),
    ("C4 NUL in a header", b"SEND\ndest\0ination:/a\n\n\0", ["ERROR bad-header"], 1002),
    ("C4 NUL in a value", send(b"destination:/a\0b"), ["ERROR bad-header"], 1002),
    ("C4 NUL in a command", b"SE\0ND\n\n\0", ["ERROR unknown-command"], 1002),
    ("C5 no colon", send(OPEN + b"\nnonsense"), ["ERROR bad-header"], 1002),
    ("C5 empty name", send(OPEN + b"\n:x"), ["ERROR bad-header"], 1002),
    ("C6 colon in a value", send(b"receipt:r\ndestination:/topic/open/a:b"), ["RECEIPT r"], None),
    *(
        (f"C7 {value!r}", send(OPEN + b"\ncontent-length:" + value, b"hello") + TAIL,
         ["ERROR bad-content-length"], 1002)
        for value in (b"abc", b"5abc", b"1e1", b"1_0", b"+5", b" 5", b"5 ", b"-1", b"", b"0x5",
                      b"\xd9\xa5", b"12345678901", b"5\ncontent-length:4")
    ),
    ("C7 leading zero", send(b"receipt:r\n" + OPEN + b"\ncontent-length:05", b"a\0b\0c"),
     ["RECEIPT r"], None),
    ("C7 too large", send(OPEN + b"\ncontent-length:2147483648", b""), ["ERROR limit"], 1009),
    ("C8 wrong case", send(OPEN + b"\nContent-Length:5\nreceipt:r"), ["RECEIPT r"], None),
    ("C9 missing NUL", send(OPEN + b"\ncontent-length:1", b"hi") + TAIL,
     ["ERROR missing-nul"], 1002),
    ("C10 smuggling", b"SUBSCRIBE\nid:1\ndestination:/topic/a\ncontent-length:40\n\n\0" + TAIL,
     ["ERROR body-not-allowed"], 1002),
    ("C11 body on SUBSCRIBE", b"SUBSCRIBE\nid:1\ndestination:/topic/a\n\nbody\0",
     ["ERROR body-not-allowed"], 1002),
    *(
        (f"C12 {command!r}", command + b"\n" + OPEN + b"\n\n\0" + TAIL,
         ["ERROR unknown-command"], 1002)
        for command in (b"FOO", b"send", b" SEND", b"SEND ", b"\xef\xbb\xbfSEND", b"SENDX", b"S")
    ),
    *(
        (f"C13 {command!r}", command + b"\nversion:1.2\n\n\0", ["ERROR unknown-command"], 1002)
        for command in (b"MESSAGE", b"CONNECTED", b"ERROR", b"RECEIPT")
    ),
    ("C14 not UTF-8", send(OPEN + b"\nn:\xff"), ["ERROR bad-utf8"], 1002),
    ("C14 overlong", send(OPEN + b"\nn:\xc0\xaf"), ["ERROR bad-utf8"], 1002),
    ("C14 surrogate", send(OPEN + b"\nn:\xed\xa0\x80"), ["ERROR bad-utf8"], 1002),
    ("C14 command", b"S\xffND\n\n\0", ["ERROR unknown-command"], 1002),
    ("C14 body may be anything", send(OPEN + b"\nreceipt:r", b"\xff\xfe"), ["RECEIPT r"], None),
    ("C15 two destinations", send(OPEN + b"\ndestination:/topic/secret"),
     ["ERROR repeated-header"], 1002),
    ("C15 the same twice", send(OPEN + b"\n" + OPEN + b"\nreceipt:r"), ["RECEIPT r"], None),
    ("C15 first wins", send(OPEN + b"\nn:1\nn:2\nreceipt:r"), ["RECEIPT r"], None),
    ("C16 64 headers", send(OPEN + b"\nreceipt:r" + b"\nn:1" * 62), ["RECEIPT r"], None),
    ("C16 65 headers", send(OPEN + b"\nreceipt:r" + b"\nn:1" * 63), ["ERROR limit"], 1008),
    ("C16 9 KiB header", send(OPEN + b"\nn:" + b"x" * 9_000), ["ERROR limit"], 1009),
    ("C16 17 KiB of headers", send(OPEN + (b"\nn:" + b"x" * 5_000) * 4), ["ERROR limit"], 1009),
    ("C16 long command", b"X" * 40, ["ERROR unknown-command"], 1002),
    ("C17 duplicates", send(OPEN + b"\nn:1" * 5_000), ["ERROR limit"], 1008),
    ("C18 EOLs", LF * 3_000 + FINE + b"\r\n" * 30 + FINE, ["RECEIPT fine"] * 2, None),
    ("C18 NULs between frames", b"\0\0" + FINE + b"\0\n\0" + FINE, ["RECEIPT fine"] * 2, None),
    ("C21 ESC in a destination", send(b"destination:/topic/open/\x1b[31m"),
     ["ERROR bad-destination"], 1002),
    ("C21 ESC in an id", subscribe(b"id:\x1b\ndestination:/topic/a"), ["ERROR bad-header"], 1002),
    ("C21 ESC in a user header", send(OPEN + b"\nn:\x1b[31m\nreceipt:r"), ["RECEIPT r"], None),
]  # fmt: skip

MACHINE: list[tuple[str, bytes, list[str], int | None]] = [
    ("S3 second CONNECT", FINE + b"CONNECT\naccept-version:1.2\n\n\0" + TAIL,
     ["RECEIPT fine", "ERROR already-connected"], 1002),
    ("S8 after DISCONNECT", b"DISCONNECT\nreceipt:bye\n\n\0" + TAIL + b"nonsense",
     ["RECEIPT bye"], 1000),
    ("S9 id in use", subscribe(b"id:1\ndestination:/topic/a") * 2 + TAIL,
     ["ERROR duplicate-subscription"], 1002),
    ("S10 UNSUBSCRIBE", b"UNSUBSCRIBE\nid:7\n\n\0" + TAIL, ["ERROR unknown-subscription"], 1002),
    *(
        (f"S12 {command.decode()}", command + b"\nid:1\ntransaction:t\n\n\0" + TAIL,
         ["ERROR unknown-transaction"], 1002)
        for command in (b"ACK", b"NACK", b"COMMIT", b"ABORT")
    ),
    ("S13 in a transaction", send(b"transaction:t\n" + OPEN),
     ["ERROR unknown-transaction"], 1002),
    ("S14 long receipt", send(OPEN + b"\nreceipt:" + b"r" * 129), ["ERROR limit"], 1009),
    ("S14 the same receipt again", FINE * 3, ["RECEIPT fine"] * 3, None),
    ("S15 selector", subscribe(b"id:1\ndestination:/topic/a\nselector:T(java.lang.Runtime)"),
     ["ERROR unsupported"], 1008),
    ("S16 ack mode", subscribe(b"id:1\ndestination:/topic/a\nack:foo"),
     ["ERROR bad-ack-mode"], 1002),
    ("S no destination", send(b"n:1"), ["ERROR missing-header"], 1002),
    ("S no id", subscribe(b"destination:/topic/a"), ["ERROR missing-header"], 1002),
    ("D1 past the application", send(b"destination:/topic/inventory"),
     ["ERROR send-denied"], 1008),
    ("D2 a victim's queue", send(b"destination:/queue/errors-userid9"),
     ["ERROR send-denied"], 1008),
    *(
        (f"D3 {destination.decode()}", subscribe(b"id:1\ndestination:" + destination) + TAIL,
         ["ERROR subscribe-denied"], 1008)
        for destination in (b"/queue/errors-userid9", b"/queue/**", b"/user/bob/queue/x", b"/**",
                            b"/topic/**", b"/topic/*", b"/user/**")
    ),
    ("D5 impersonation", send(b"destination:/user/bob/queue/x"), ["ERROR send-denied"], 1008),
    *(
        (f"D7 {destination.decode()}", send(b"destination:" + destination),
         ["ERROR bad-destination"], 1002)
        for destination in (b"/topic/../app/x", b"/topic//x", b"/topic/./x", b"/topic/open/",
                            b"topic/open", b"/", b"")
    ),
    ("D7 %2e is literal", send(b"receipt:r\ndestination:/topic/open/%2e%2e/x"),
     ["RECEIPT r"], None),
    ("D9 stars are literal", send(b"receipt:r\ndestination:/topic/open/*a*a*a*a*a*a*b"),
     ["RECEIPT r"], None),
    ("D10 braces are literal", send(b"receipt:r\ndestination:/topic/open/{x:(.*a){12}}"),
     ["RECEIPT r"], None),
    ("D13 long", send(b"destination:/topic/open/" + b"x" * 250), ["ERROR bad-destination"], 1002),
    ("D13 deep", send(b"destination:/topic/open" + b"/x" * 15), ["ERROR bad-destination"], 1002),
    ("D no handler", send(b"destination:/app/none"), ["ERROR no-handler"], 1008),
    ("D nowhere", send(b"destination:/elsewhere/a"), ["ERROR no-destination"], 1008),
]  # fmt: skip

OPENING: list[tuple[str, bytes, list[str], int | None]] = [
    ("S1 SEND first", TAIL + b"CONNECT\naccept-version:1.2\n\n\0", ["ERROR not-connected"], 1002),
    ("S1 SUBSCRIBE first", subscribe(b"id:1\ndestination:/topic/a"),
     ["ERROR not-connected"], 1002),
    ("S1 DISCONNECT first", b"DISCONNECT\n\n\0", ["ERROR not-connected"], 1002),
    ("S2 refused and more", b"CONNECT\naccept-version:1.2\nlogin:eve\n\n\0" + TAIL,
     ["ERROR connect-refused"], 4500),
    ("S5 version", b"CONNECT\naccept-version:9.9\n\n\0" + TAIL,
     ["ERROR unsupported-version"], 1002),
    *(
        (f"S6 {beat.decode()}", b"CONNECT\naccept-version:1.2\nheart-beat:" + beat + b"\n\n\0",
         ["ERROR bad-heart-beat"], 1002)
        for beat in (b"-5,0", b"a,b", b"0,99999999999999999999", b"1", b"", b"1,2,3", b"1, 2")
    ),
    ("S6 fine", b"CONNECT\naccept-version:1.2\nheart-beat:1,1\n\n\0", ["CONNECTED"], None),
    ("C11 body on CONNECT", b"CONNECT\naccept-version:1.2\n\nbody\0",
     ["ERROR body-not-allowed"], 1002),
    ("C15 two logins", b"CONNECT\nlogin:a\nlogin:eve\n\n\0", ["ERROR repeated-header"], 1002),
    ("C20 never unescaped", b"CONNECT\naccept-version:1.2\nlogin:\\t\\x\n\n\0",
     ["CONNECTED"], None),
    ("V8 too much", LF * 16_385, ["ERROR limit"], 1009),
]  # fmt: skip


def named(rows: list[tuple[str, bytes, list[str], int | None]]) -> Any:
    names = [row[0] for row in rows]
    assert len(set(names)) == len(names)
    return pytest.mark.parametrize(("data", "told", "close"), [row[1:] for row in rows], ids=names)


@named(CODEC)
def test_codec(attack: Attack, data: bytes, told: list[str], close: int | None) -> None:
    assert attack(data) == (told, close)


@named(MACHINE)
def test_state_machine_and_destinations(
    attack: Attack, data: bytes, told: list[str], close: int | None
) -> None:
    assert attack(data) == (told, close)


@named(OPENING)
def test_before_connect(attack: Attack, data: bytes, told: list[str], close: int | None) -> None:
    assert attack(data, "upgraded") == (told, close)


@pytest.mark.parametrize(
    ("row", "setup", "data", "told", "close"),
    [
        ("C1 in 1.0 nothing is escaped", "1.0", send(OPEN + b"\nn:\\t\nreceipt:r"),
         ["RECEIPT r"], None),
        ("C1 in 1.1 there is no \\r", "1.1", send(OPEN + b"\nn:\\r"), ["ERROR bad-escape"], 1002),
        ("C3 in 1.1 CR is data", "1.1", send(OPEN + b"\nn:a\rb\nreceipt:r"), ["RECEIPT r"], None),
        ("C3 in 1.1 CRLF is no line end", "1.1", b"SEND\r\n\r\n\0", ["ERROR unknown-command"],
         1002),
        ("C7 in 1.0 blanks are trimmed", "1.0",
         send(OPEN + b"\ncontent-length: 3\nreceipt: r", b"a\0b"), ["RECEIPT r"], None),
        ("C11 in 1.0 SUBSCRIBE may have one", "1.0",
         b"SUBSCRIBE\ndestination:/topic/a\nreceipt:r\n\nbody\0", ["RECEIPT r"], None),
        ("C13 no NACK in 1.0", "1.0", b"NACK\nmessage-id:1\n\n\0", ["ERROR unknown-command"], 1002),
    ],
)  # fmt: skip
def test_by_version(
    attack: Attack, row: str, setup: str, data: bytes, told: list[str], close: int | None
) -> None:
    assert attack(data, setup) == (told, close)


def test_a_connected_session_hears_its_own_message_once(attack: Attack) -> None:
    """F1-F3, C20: forged headers and escapes; what comes back is in `test_forged.py`."""
    head = OPEN + b"\nmessage-id:forged\nsubscription:forged\nn:a\\nERROR\\c\nreceipt:r"
    assert attack(send(head, b"hi"), "1.2+") == (["MESSAGE hi", "RECEIPT r"], None)


def test_c22_a_body_without_end(attack: Attack) -> None:
    """Refused when the count passes, not when a NUL comes."""
    from stocksync_ws.testing.peer import client_frame

    data = b"".join(
        client_frame(2, piece)
        for piece in (b"SEND\n" + OPEN + b"\n\n" + b"x" * 40_000, b"x" * 40_000, b"x" * 40_000)
    )
    assert attack(data, stomp=False) == (["ERROR limit"], 1009)

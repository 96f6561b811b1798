"""Mistakes of a page that writes its frames itself: the ERROR that it gets."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from stocksync_ws import StompApp
from stocksync_ws.testing.world import World
from tests.mistakes.kit import compare

CONNECT = "CONNECT\naccept-version:1.2\nhost:shop\n\n\0"
FIRST = (
    "The command is not one a STOMP client may send in this version. A first frame is a text like"
    r" 'CONNECT\naccept-version:1.2\n\n\0': the command, its headers, an empty line, and one octet"
    " NUL."
)

MALFORMED = "A header line is not of the form name:value, or its value is not allowed."
LIFE = "milliseconds, up to 15 digits"
END = "milliseconds since 1970, up to 15 digits; 0 means that it does not expire"


class Sent(NamedTuple):
    """One row."""

    frames: list[str]
    code: str
    says: str
    """The body of the ERROR."""
    write: str
    seconds: float = 0


TABLE = [
    Sent(['{"type":"subscribe"}'], "unknown-command", FIRST, r"CONNECT\naccept-version:1.2\n\n\0"),
    Sent(["hello"], "unknown-command", FIRST, r"CONNECT\naccept-version:1.2\n\n\0"),
    Sent(
        ["CONNECT\naccept-version:1.2\nhost:shop\n\n"],
        "connect-timeout",
        (
            "No CONNECT frame arrived in time. Limits.connect_timeout=10.0 seconds. A frame was"
            " begun, and the octet NUL that ends it did not come."
        ),
        "the octet NUL that ends it did not come",
        11,
    ),
    Sent(
        ["CONNECT\n\naccept-version:1.2\n\0"],
        "body-not-allowed",
        "Only SEND may have a body; the empty line stands behind the headers, and NUL behind it.",
        "the empty line stands behind the headers",
    ),
    Sent(
        ["CONNECT\naccept-version:2.0\nhost:shop\n\n\0"],
        "unsupported-version",
        "Supported protocol versions are 1.0 1.1 1.2.",
        "1.0 1.1 1.2",
    ),
    Sent(
        ["CONNECT\naccept-version:1.2\nheart-beat:10s,10s\n\n\0"],
        "bad-heart-beat",
        "heart-beat must be two numbers of milliseconds, separated by a comma.",
        "two numbers of milliseconds",
    ),
    Sent(
        ["SUBSCRIBE\nid:1\ndestination:/topic/chat\n\n\0"],
        "not-connected",
        "The first frame must be CONNECT or STOMP.",
        "must be CONNECT or STOMP",
    ),
    Sent(
        [CONNECT, CONNECT],
        "already-connected",
        "CONNECT may be sent only once.",
        "only once",
    ),
    Sent(
        [CONNECT, "SUBSCRIBE\ndestination:/topic/chat\n\n\0"],
        "missing-header",
        "A header that the command requires is missing. SUBSCRIBE needs id.",
        "SUBSCRIBE needs id",
    ),
    Sent(
        [CONNECT, *["SUBSCRIBE\nid:1\ndestination:/topic/chat\n\n\0"] * 2],
        "duplicate-subscription",
        "The subscription id is in use on this connection; each one needs its own.",
        "each one needs its own",
    ),
    Sent(
        [CONNECT, "SUBSCRIBE\nid:1\nack:manual\ndestination:/topic/chat\n\n\0"],
        "bad-ack-mode",
        "ack must be auto, client or client-individual.",
        "auto, client or client-individual",
    ),
    Sent(
        [CONNECT, "UNSUBSCRIBE\nid:/topic/chat\n\n\0"],
        "unknown-subscription",
        "There is no subscription with this id on this connection; it is that of its SUBSCRIBE.",
        "that of its SUBSCRIBE",
    ),
    Sent(
        [CONNECT, "ACK\nid:message-1\n\n\0"],
        "unknown-ack",
        (
            "No message with this id was ever delivered on this connection; it is the header ack of"
            " the MESSAGE, before STOMP 1.2 its message-id."
        ),
        "the header ack of the MESSAGE",
    ),
    *(
        Sent(
            [CONNECT, f"SEND\ndestination:{place}\n{header}:{value}\n\nhello\0"],
            "bad-header",
            f"{MALFORMED} It is {header}: {form}.",
            form,
        )
        for place, header, value, form in (
            ("/topic/chat", "expiration", "10s", LIFE),
            ("/topic/chat", "expiration", "", LIFE),
            ("/queue/jobs", "expiration", "-5", LIFE),
            ("/queue/jobs", "expiration", "1.5", LIFE),
            ("/queue/jobs", "expiration", "1" * 16, LIFE),
            ("/topic/chat", "expires", "tomorrow", END),
            ("/queue/jobs", "expires", "\u0663", END),
        )
    ),
    Sent(
        [CONNECT, "SUBSCRIBE\nid:1\ndestination:/topic/chat\ndurable:yes\n\n\0"],
        "bad-header",
        f"{MALFORMED} It is durable: true or false.",
        "true or false",
    ),
    Sent(
        [CONNECT, "SEND\ndestination:topic/chat\n\nhello\0"],
        "bad-destination",
        "A destination is made of /segments, none of them empty, '.' or '..': /topic/inventory.",
        "/topic/inventory",
    ),
    Sent(
        [CONNECT, "SEND\ndestination:/app/chat\ncontent-length:5\n\nhéllo\0"],
        "missing-nul",
        "The octet after the body must be NUL; content-length counts octets, not characters.",
        "counts octets, not characters",
    ),
]


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.code)
def test_the_error_says_what_to_send(row: Sent) -> None:
    with World(StompApp("/ws")) as world:
        peer = world.upgrade()
        for frame in row.frames:
            peer.send(frame)
        world.advance(row.seconds)
        errors = [frame for frame in peer.frames() if frame.command == "ERROR"]
    assert [error.headers["code"] for error in errors] == [row.code]
    compare(errors[0].body.decode(), row.says, row.write)

"""Every refusal names its cause: to the client in the ERROR, to the operator in one log line."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest

from stocksync_ws import Limits, StompApp
from stocksync_ws.messaging.connect import ConnectRequest
from stocksync_ws.testing.peer import Peer, client_frame
from stocksync_ws.testing.world import World
from tests.broker.kit import User

Start = Callable[..., World]
OPEN = {"client_send": ["/topic/**"]}


def cause(peer: Peer, code: str) -> str:
    """What an ERROR says of its cause."""
    frame = peer.error()
    assert frame.headers["code"] == code
    return frame.body.decode()


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Callable[[str], str]:
    """The one line about a code."""
    caplog.set_level(logging.INFO, "stocksync_ws")

    def line(code: str) -> str:
        [found] = [r.getMessage() for r in caplog.records if f" code={code}" in r.getMessage()]
        return found

    return line


def frames(command: str, count: int, **headers: str) -> bytes:
    """Frames that differ in the `{n}` of their headers."""
    one = command + "\n" + "".join(f"{name}:{value}\n" for name, value in headers.items()) + "\n\0"
    return "".join(one.replace("{n}", str(n)) for n in range(count)).encode()


LIMITS = [
    (frames("SEND", 1, destination="/topic/a", k="v" * 9_128), "max_header_line=8192, got 9130"),
    (b"SEND\n" + b"k:v\n" * 65 + b"\n\0", "max_headers=64, got at least 65"),
    (
        frames("SUBSCRIBE", 101, destination="/topic/a", id="{n}"),
        "max_subscriptions=100, got 101",
    ),
    (frames("BEGIN", 9, transaction="{n}"), "max_transactions=8, got 9"),
    (
        frames("BEGIN", 1, transaction="t")
        + frames("SEND", 257, transaction="t", destination="/topic/a"),
        "max_transaction_frames=256, got 257",
    ),
    (
        frames("BEGIN", 1, transaction="t")
        + frames("SEND", 1, transaction="t", destination="/topic/a", k="v" * 1_000),
        "max_transaction_bytes=1000, got 1032",
    ),
    (
        frames("SEND", 1, destination="/topic/a", **{"idempotency-key": "k" * 129}),
        "max_id=128, got 129",
    ),
]


@pytest.mark.parametrize(("sent", "says"), LIMITS)
def test_a_limit_is_told_with_its_value_and_what_came(
    start: Start, log: Callable[[str], str], sent: bytes, says: str
) -> None:
    bytes_of_one = 1_000 if "max_transaction_bytes" in says else 262_144
    limits = Limits(max_transaction_bytes=bytes_of_one, read_frames=1_000)
    world = start(limits=limits, **OPEN)
    peer = world.connect()
    peer.send(sent)
    [told] = peer.frames()
    assert told.headers["code"] == "limit"
    assert f"Limits.{says}" in told.body.decode()
    assert f"Limits.{says}" in log("limit")


@pytest.mark.parametrize(("sent", "says"), LIMITS[:2])
def test_too_many_is_not_too_large(start: Start, sent: bytes, says: str) -> None:
    peer = start(**OPEN).connect()
    peer.send(sent)
    text = cause(peer, "limit")
    assert f"Limits.{says}" in text
    assert ("larger" in text) is ("max_header_line" in says)
    assert peer.closed == (1009 if "max_header_line" in says else 1008)


def test_a_websocket_message_over_its_limit(start: Start, log: Callable[[str], str]) -> None:
    world = start(**OPEN)
    peer = world.connect()
    peer.send(b"x" * 70_000)
    assert "Limits.max_message_size=65536, got 70000" in cause(peer, "limit")
    assert "Limits.max_message_size=65536, got 70000" in log("limit")
    peer = world.connect()
    peer.feed(client_frame(1, b"", fin=False) + client_frame(0, b"", fin=False) * 1_024)
    assert "Limits.max_fragments=1024, got 1025" in cause(peer, "limit")


def test_bytes_before_connected(start: Start) -> None:
    peer = start().upgrade()
    peer.send(b"\n" * 16_385)
    assert "Limits.pre_auth_bytes=16384, got 16385" in cause(peer, "limit")


@pytest.mark.parametrize("sent", [b'{"a":"%b"}' % (b"x" * 20_000), b"Hello", b'["CONNECT\\n"]'])
def test_what_is_no_stomp_is_told_so_at_once(
    start: Start, log: Callable[[str], str], sent: bytes
) -> None:
    peer = start().upgrade()
    peer.send(sent)
    assert "A first frame is a text like 'CONNECT\\naccept-version:1.2\\n\\n\\0'" in cause(
        peer, "unknown-command"
    )
    assert peer.closed == 1002
    assert "A first frame" in log("unknown-command")


JSON = b'{"type":"subscribe","padding":"' + b"x" * 70_000 + b'"}'


def in_fragments(payload: bytes, size: int) -> bytes:
    rest = [client_frame(0, payload[at : at + size], fin=False) for at in range(0, 70_000, size)]
    return client_frame(1, b"", fin=False) + b"".join(rest)


FOREIGN = {
    "over max_message_size": client_frame(1, JSON),
    "in fragments": in_fragments(JSON, 1_000),
    "in very many fragments": in_fragments(JSON, 60),
    "over pre_auth_bytes, and not whole": client_frame(1, JSON[:60_000])[:-1],
}


@pytest.mark.parametrize("how", FOREIGN)
def test_what_is_no_stomp_is_told_so_whatever_its_size(start: Start, how: str) -> None:
    data = FOREIGN[how]
    world = start()
    for cut in (len(data), 1, 5, 8, 14, 15, 45, 46, 1_000, 20_000):
        peer = world.upgrade()
        peer.feed(data[:cut])
        peer.feed(data[cut:])
        assert "A first frame" in cause(peer, "unknown-command")
        assert peer.closed == 1002


@pytest.mark.parametrize("how", FOREIGN)
def test_a_first_frame_that_is_too_large_is_over_a_limit(start: Start, how: str) -> None:
    """As is a later message, whatever it is."""
    world = start()
    peer = world.upgrade()
    stomp = FOREIGN[how].replace(JSON[:30], b"CONNECT\naccept-version:1.2\na:b"[:30])
    assert stomp != FOREIGN[how]
    peer.feed(stomp)
    assert "Limits." in cause(peer, "limit")
    peer = world.upgrade()
    peer.send(b"\n")
    peer.feed(FOREIGN[how])
    assert "Limits." in cause(peer, "limit")


@pytest.mark.parametrize(
    ("data", "close", "says"),
    [
        (b"\x81\x02hi", 1002, "frame is not masked"),
        (b"\xc1\x80" + bytes(4), 1002, "invalid frame header"),
        (client_frame(0, b"x"), 1002, "fragments out of order"),
        (client_frame(1, b"\xff"), 1007, "text is not UTF-8"),
        (client_frame(8, (999).to_bytes(2, "big")), 1002, "invalid Close frame"),
    ],
)
def test_what_breaks_the_framing_is_logged_as_a_refusal(
    start: Start, caplog: pytest.LogCaptureFixture, data: bytes, close: int, says: str
) -> None:
    caplog.set_level(logging.INFO, "stocksync_ws.session")
    world = start()
    for peer in (world.upgrade(), world.connect()):
        peer.feed(data)
        assert peer.frames() == []
        assert peer.closed == close
        world.advance(6)
    assert world.counters.protocol_errors == 2
    lines = [text for text in caplog.messages if text.startswith("refused session=")]
    assert len(lines) == 2
    assert all(text.endswith(f" code={close} detail='{says}'") for text in lines)


def test_a_frame_without_an_end_is_told_what_it_lacks(
    start: Start, log: Callable[[str], str]
) -> None:
    world = start()
    peer = world.upgrade()
    peer.send(b"CONNECT\naccept-version:1.2\n^@")
    world.advance(10.1)
    text = cause(peer, "connect-timeout")
    assert "Limits.connect_timeout=10.0 seconds" in text
    assert "^@" in text
    silent = world.upgrade()
    world.advance(10.1)
    assert cause(silent, "connect-timeout").endswith("Limits.connect_timeout=10.0 seconds.")
    peer = world.connect()
    peer.send(b"SEND\ndestination:/topic/a\n\nhello")
    world.advance(30.1)
    assert "NUL that ends it did not come" in cause(peer, "frame-timeout")
    assert "Limits.frame_timeout=30.0 seconds" in log("frame-timeout")


@pytest.mark.parametrize(
    ("version", "sent", "says"),
    [
        ("1.2", frames("SEND", 1), "SEND needs destination."),
        ("1.2", frames("SUBSCRIBE", 1, destination="/topic/a"), "SUBSCRIBE needs id."),
        ("1.2", frames("ACK", 1), "ACK needs id."),
        ("1.1", frames("NACK", 1, subscription="s"), "NACK needs message-id."),
        ("1.2", frames("BEGIN", 1), "BEGIN needs transaction."),
        ("1.0", frames("UNSUBSCRIBE", 1), "UNSUBSCRIBE needs id or destination."),
    ],
)
def test_a_missing_header_is_named(
    start: Start, log: Callable[[str], str], version: str, sent: bytes, says: str
) -> None:
    peer = start().connect(version)
    peer.send(sent)
    assert says in cause(peer, "missing-header")
    assert says in log("missing-header")


@pytest.mark.parametrize(
    ("headers", "code", "says"),
    [
        ({"destination": "/topic/" + "a" * 250}, "bad-destination", "max_destination=255, got 257"),
        ({"destination": "/topic" + "/a" * 16}, "bad-destination", "max_segments=16, got 17"),
        ({"destination": "/topic/a", "prefetch-count": "x"}, "bad-header", "prefetch-count"),
        ({"destination": "/topic/a", "selector": "x"}, "unsupported", "selector"),
    ],
)
def test_a_bad_header_of_ours_is_named(
    start: Start, headers: dict[str, str], code: str, says: str
) -> None:
    peer = start().connect()
    peer.command("SUBSCRIBE", {"id": "s", **headers})
    assert says in cause(peer, code)


@pytest.mark.parametrize(
    ("command", "destination", "code", "rule"),
    [
        ("SEND", "/app/nobody", "no-handler", "no @message_mapping is declared"),
        ("SUBSCRIBE", "/app/nobody", "no-handler", "no @subscribe_mapping is declared"),
        ("SEND", "/topic/a", "send-denied", "client_send: none of its patterns covers it"),
        ("SEND", "/user/queue/a", "send-denied", "user_prefix: clients do not send below it"),
        ("SEND", "/elsewhere/a", "no-destination", "user_prefix: /app, /topic, "),
        ("SUBSCRIBE", "/elsewhere/a", "no-destination", "user_prefix: /app, /topic, "),
        ("SUBSCRIBE", "/queue/a", "subscribe-denied", "client_subscribe: none of its patterns"),
        ("SUBSCRIBE", "/user/a/b", "subscribe-denied", "user_prefix: below it only"),
        ("SUBSCRIBE", "/topic/*", "subscribe-denied", "a SUBSCRIBE takes no wildcard"),
    ],
)
def test_a_refusal_is_logged_with_destination_user_and_rule(
    start: Start, log: Callable[[str], str], command: str, destination: str, code: str, rule: str
) -> None:
    peer = start(authenticator=named).connect()
    peer.command(command, {"destination": destination, "id": "s"})
    assert rule not in cause(peer, code)
    line = log(code)
    assert f"user='ann' destination='{destination}'" in line
    assert rule in line


def named(request: ConnectRequest) -> User:
    return User("ann")


def test_a_durable_name_needs_a_user(start: Start, log: Callable[[str], str]) -> None:
    peer = start().connect()
    peer.command("SUBSCRIBE", {"id": "s", "destination": "/topic/a", "durable": "true"})
    cause(peer, "subscribe-denied")
    assert "a durable name needs a user" in log("subscribe-denied")


def test_a_refusal_in_a_transaction_says_it_too(start: Start, log: Callable[[str], str]) -> None:
    peer = start(StompApp("/ws", authenticator=named)).connect()
    peer.command("BEGIN", {"transaction": "t"})
    peer.send_to("/topic/a", transaction="t")
    cause(peer, "send-denied")
    line = log("send-denied")
    assert "user='ann'" in line
    assert "destination='/topic/a' rule='client_send: none of its patterns covers it;" in line

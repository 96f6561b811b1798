"""STOMP 1.1 and 1.2: "STOMP Frames", "Value Encoding", "Body", "Header content-*", "Size Limits",
"Repeated Header Entries".
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from stocksync_ws import Limits
from stocksync_ws.stomp.decoder import Decoder
from stocksync_ws.testing.world import World
from tests.spec.delivering import who
from tests.spec.talk import EVERY, MODERN, alive, frame, refused

stomp = pytest.mark.stomp


@stomp("1.2 STOMP Frames 1")
@pytest.mark.parametrize("eol", [b"\n", b"\r\n"])
def test_lines_end_with_lf_or_crlf_in_1_2(world: World, eol: bytes) -> None:
    peer = world.connect("1.2")
    peer.send(frame("SUBSCRIBE", id="s", destination="/topic/a").replace(b"\n", eol))
    peer.send(frame("SEND", b"a\r\nb", destination="/topic/a", k="v").replace(b"\n", eol, 4))
    got = peer.message()
    assert got.body == b"a\r\nb"
    assert got.headers["k"] == "v"


def test_a_cr_is_an_octet_of_the_header_in_1_1(world: World) -> None:
    peer = world.connect("1.1")
    peer.subscribe("/topic/a", id="s")
    peer.send(b"SEND\ndestination:/topic/a\nk:v\r\n\n\0")
    assert peer.message().headers["k"] == "v"  # to 1.1 it cannot be told: dropped on the way out
    peer.send(b"SEND\r\ndestination:/topic/a\r\n\r\n\0")
    refused(peer, "unknown-command")


@stomp("1.1 1.2 Value Encoding 3", "1.1 1.2 Value Encoding 5")
@pytest.mark.parametrize("version", MODERN)
def test_headers_are_unescaped_and_escaped_again(world: World, version: str) -> None:
    peer, listener = world.connect(version), world.connect("1.2")
    peer.subscribe("/topic/a", id="s")
    listener.subscribe("/topic/a", id="s")
    peer.send(b"SEND\ndestination:/topic/a\na\\cb:1\\c2\\n3\\\\c4\n\n\0")
    for each in (peer, listener):
        (raw,) = each.raw()
        assert b"\na\\cb:1\\c2\\n3\\\\c4\n" in raw
        decoder = Decoder(Limits(), server_frames=True)
        decoder.version = each.version
        decoder.feed(raw)
        message = decoder.next()
        assert message is not None
        assert message.headers["a:b"] == "1:2\n3\\c4"


@stomp("1.2 Value Encoding 3", "1.2 Value Encoding 5", "1.2 Value Encoding 1")
def test_cr_is_escaped_in_1_2_only(world: World) -> None:
    peer, old = world.connect("1.2"), world.connect("1.1")
    peer.subscribe("/topic/a", id="s")
    old.subscribe("/topic/a", id="s")
    peer.send(b"SEND\ndestination:/topic/a\nk:x\\ry\n\\r:v\nreceipt:\\r\n\n\0")
    message, receipt = peer.raw()
    assert b"\nk:x\\ry\n\\r:v\n" in message
    assert receipt == b"RECEIPT\nreceipt-id:\\r\n\n\0"
    (told,) = old.raw()
    assert b"\nk:xy\n" in told
    assert b":v\n" not in told


@stomp("1.1 1.2 Value Encoding 5", "1.1 1.2 Value Encoding 1")
@pytest.mark.parametrize("version", MODERN)
def test_error_and_receipt_are_escaped_too(world: World, version: str) -> None:
    peer = world.connect(version)
    peer.send(frame("SEND", destination="/topic/a", receipt="a\\c\\n\\\\b"))
    assert peer.raw() == [b"RECEIPT\nreceipt-id:a\\c\\n\\\\b\n\n\0"]
    peer.send(frame("BEGIN", receipt="a\\c\\n\\\\b"))
    (error,) = peer.raw()
    assert error.startswith(b"ERROR\n")
    assert b"\nreceipt-id:a\\c\\n\\\\b\n" in error


@stomp("1.1 1.2 Value Encoding 2")
@pytest.mark.parametrize("version", MODERN)
def test_connected_is_not_escaped(broker: Callable[..., World], version: str) -> None:
    peer = broker(authenticator=who).upgrade()
    peer.send(frame("CONNECT", accept_version=version, host="h", login="a:b\\c\\n"))
    (connected,) = peer.raw()
    assert b"\nuser-name:a:b\\c\\n\n" in connected


@stomp("1.1 1.2 Value Encoding 4")
@pytest.mark.parametrize(
    ("version", "value"),
    [
        *[(version, value) for version in MODERN for value in (r"a\tb", r"a\0", "a\\", r"\C")],
        ("1.1", r"a\rb"),
    ],
)
@pytest.mark.parametrize("place", ["value", "name"])
def test_an_undefined_escape_is_fatal(world: World, version: str, value: str, place: str) -> None:
    peer = world.connect(version)
    line = f"k:{value}" if place == "value" else f"{value}:v"
    peer.send(f"SEND\ndestination:/topic/a\n{line}\n\n\0")
    refused(peer, "bad-escape")


@stomp("1.1 Value Encoding 7", "1.2 Value Encoding 6")
@pytest.mark.parametrize("version", MODERN)
def test_blanks_around_names_and_values_are_kept(world: World, version: str) -> None:
    peer = world.connect(version)
    peer.subscribe("/topic/a", id=" s ")
    peer.send(b"SEND\ndestination:/topic/a\n k :  v\t \nempty:\n\n\0")
    (raw,) = peer.raw()
    assert b"\n k :  v\t \n" in raw
    assert b"\nempty:\n" in raw
    assert b"\nsubscription: s \n" in raw
    peer.command("SEND", {"destination": "/topic/a ", "receipt": " r "})
    assert peer.raw() == [b"RECEIPT\nreceipt-id: r \n\n\0"]  # to nobody: another destination
    peer.subscribe("/topic/a ", id="t")
    peer.command("SEND", {"destination": "/topic/a "})
    got = peer.message()
    assert (got.headers["subscription"], got.headers["destination"]) == ("t", "/topic/a ")
    peer.command("SEND", {"destination": " /topic/a"})
    refused(peer, "bad-destination")


@stomp("1.1 Value Encoding 6", "1.2 Body 1")
@pytest.mark.parametrize("version", MODERN)
@pytest.mark.parametrize(
    "command",
    ["SUBSCRIBE", "UNSUBSCRIBE", "ACK", "NACK", "BEGIN", "COMMIT", "ABORT", "DISCONNECT"],
)
def test_a_body_on_another_frame_is_refused(world: World, version: str, command: str) -> None:
    headers = {"id": "s", "destination": "/topic/a", "transaction": "t", "message-id": "m"}
    head = frame(command, subscription="s", **headers)[:-1]
    for body in (b"x\0", b"content"):
        peer = world.connect(version)
        peer.send(head + body)
        refused(peer, "body-not-allowed")
    peer = world.connect(version)
    peer.send(head[:-1] + b"content-length:1\n\nx\0")
    refused(peer, "body-not-allowed")


@stomp("1.1 Value Encoding 6", "1.2 Body 1", "1.1 1.2 CONNECT or STOMP Frame 1")
@pytest.mark.parametrize("version", EVERY)
@pytest.mark.parametrize("command", ["CONNECT", "STOMP"])
@pytest.mark.parametrize("length", [{}, {"content_length": "1"}])
def test_a_body_on_connect_is_refused(
    world: World, version: str, command: str, length: dict[str, str]
) -> None:
    peer = world.upgrade()
    peer.send(frame(command, accept_version=version, host="h", content_length="0"))
    assert peer.frame("CONNECTED").headers["version"] == version
    peer = world.upgrade()
    peer.send(frame(command, b"x", accept_version=version, host="h", **length))
    refused(peer, "body-not-allowed")


def test_our_own_frames_but_message_and_error_have_no_body(world: World) -> None:
    peer = world.upgrade()
    peer.send(frame("CONNECT", accept_version="1.2", host="h"))
    peer.send(frame("SEND", b"x", destination="/topic/a", receipt="r"))
    for raw in peer.raw():
        assert raw.endswith(b"\n\n\0")
        assert raw.startswith((b"CONNECTED\n", b"RECEIPT\n"))


@stomp(
    "1.1 Header content-length 3",
    "1.2 Header content-length 1",
    "1.1 Header content-length 2",
    "1.2 Header content-length 4",
)
@pytest.mark.parametrize("version", MODERN)
@pytest.mark.parametrize("name", ["k", "é"])
def test_nul_octets_in_a_body_are_counted_in_and_out(world: World, version: str, name: str) -> None:
    peer = world.connect(version)
    peer.subscribe("/topic/a", id="s")
    sent = frame("SEND", b"a\0b\0", destination="/topic/a", content_length="4", **{name: "v"})
    for cut in (0, *range(1, len(sent))):  # whole, then in two messages
        peer.send(sent[:cut], binary=True)
        peer.send(sent[cut:], binary=True)
        (raw,) = peer.raw()
        assert raw.endswith(b"\ncontent-length:4\n\na\0b\0\0"), cut


@stomp(
    "1.1 Header content-length 4",
    "1.2 Header content-length 2",
    "1.1 STOMP Frames 1",
    "1.2 STOMP Frames 3",
)
@pytest.mark.parametrize("version", MODERN)
@pytest.mark.parametrize("name", ["k", "é"])
def test_behind_a_counted_body_there_must_be_a_nul(world: World, version: str, name: str) -> None:
    sent = frame("SEND", b"abc", destination="/topic/a", content_length="2", **{name: "v"})
    for cut in (0, *range(len(sent) - 6, len(sent) - 1)):
        peer = world.connect(version)
        peer.send(sent[:cut], binary=True)
        peer.send(sent[cut:], binary=True)
        refused(peer, "missing-nul")


@stomp("1.1 Header content-length 1", "1.2 Header content-length 3", "1.1 1.2 SEND 4")
@pytest.mark.parametrize("version", MODERN)
def test_a_send_without_content_length_ends_at_nul_and_its_message_counts(
    world: World, version: str
) -> None:
    peer = world.connect(version)
    peer.subscribe("/topic/a", id="s")
    peer.send(frame("SEND", "€".encode(), destination="/topic/a"))
    (raw,) = peer.raw()
    assert raw.endswith(b"\ncontent-length:3\n\n" + "€".encode() + b"\0")
    peer.send(frame("SEND", destination="/topic/a"))
    assert b"content-length" not in peer.raw()[0]


@stomp(
    "1.1 MESSAGE 5",
    "1.2 MESSAGE 7",
    "1.1 1.2 Header content-type 1",
    "1.1 1.2 Header content-type 2",
    "1.1 1.2 Header content-type 4",
    "1.1 1.2 Header content-type 5",
    "1.1 1.2 Header content-type 6",
    "1.1 1.2 Header content-type 7",
)
@pytest.mark.parametrize("version", MODERN)
@pytest.mark.parametrize(
    "kind",
    ["text/plain", "text/html;charset=utf-16", "application/xml;charset=utf-8", "no mime type"],
)
def test_content_type_is_passed_on_as_it_was_given(world: World, version: str, kind: str) -> None:
    peer = world.connect(version)
    peer.subscribe("/topic/a", id="s")
    body = "<a/>".encode("utf-16")
    length = str(len(body))
    sent = frame("SEND", body, destination="/topic/a", content_type=kind, content_length=length)
    peer.send(sent, binary=True)
    got = peer.message()
    assert got.headers["content-type"] == kind
    assert got.headers["content-length"] == length
    assert got.body == body


@stomp("1.1 1.2 Header content-type 3")
@pytest.mark.parametrize("version", MODERN)
def test_a_body_without_content_type_is_octets_to_us(world: World, version: str) -> None:
    peer = world.connect(version)
    peer.subscribe("/topic/a", id="s")
    body = bytes(range(1, 256))
    peer.send(frame("SEND", body, destination="/topic/a"), binary=True)
    got = peer.message()
    assert "content-type" not in got.headers
    assert got.body == body
    assert got.headers["content-length"] == "255"
    assert peer.texts[-1] is False


@stomp("1.1 1.2 Header content-type 8", "1.1 1.2 Header content-type 9")
@pytest.mark.parametrize("version", MODERN)
def test_utf_8_goes_in_and_out_as_text(world: World, version: str) -> None:
    peer = world.connect(version)
    peer.subscribe("/topic/ä", id="s€")
    peer.send(frame("SEND", "Grüße 🚚".encode(), destination="/topic/ä", clé="é"))
    got = peer.message()
    assert got.headers["clé"] == "é"
    assert got.headers["destination"] == "/topic/ä"
    assert got.headers["subscription"] == "s€"
    assert got.body.decode() == "Grüße 🚚"
    assert peer.texts[-1] is True


@pytest.mark.parametrize("version", EVERY)
def test_a_header_that_is_not_utf_8_is_fatal(world: World, version: str) -> None:
    peer = world.connect(version)
    peer.send(b"SEND\ndestination:/topic/a\nk:\xff\n\n\0", binary=True)
    refused(peer, "bad-utf8")


@stomp("1.1 1.2 Repeated Header Entries 1")
@pytest.mark.parametrize("version", EVERY)
def test_of_a_repeated_header_the_first_counts(world: World, version: str) -> None:
    peer = world.connect(version)
    peer.subscribe("/topic/a", id="s")
    peer.send(b"SEND\ndestination:/topic/a\nfoo:World\nfoo:Hello\n\n\0")
    (raw,) = peer.raw()
    assert raw.count(b"foo:") == 1
    assert b"\nfoo:World\n" in raw


@stomp("1.1 1.2 Repeated Header Entries 1")
@pytest.mark.parametrize("version", EVERY)
@pytest.mark.parametrize(
    "name", ["destination", "id", "ack", "transaction", "receipt", "content-length"]
)
def test_a_repeated_header_that_decides_is_refused(world: World, version: str, name: str) -> None:
    peer = world.connect(version)
    length = name == "content-length"
    first, second = ("1", "2") if length else ("/topic/a", "/topic/b")
    lines = f"{name}:{first}\n{name}:{first}\n{name}:{second}\n"
    peer.send(f"SEND\n{lines}\n1\0")
    refused(peer, "bad-content-length" if length else "repeated-header")


@stomp("1.1 1.2 Size Limits 1")
@pytest.mark.parametrize("version", EVERY)
@pytest.mark.parametrize(
    ("what", "payload"),
    [
        ("headers", b"SEND\ndestination:/topic/a\n" + b"".join(b"h%d:v\n" % n for n in range(64))),
        ("line", b"SEND\ndestination:/topic/a\nk:" + b"v" * 9_000 + b"\n"),
        ("block", b"SEND\n" + (b"k:" + b"v" * 5_000 + b"\n") * 4),
        ("body", b"SEND\ndestination:/topic/a\n\n" + b"x" * 65_536),
        ("declared", b"SEND\ndestination:/topic/a\ncontent-length:70000\n\n"),
        ("receipt", b"SEND\ndestination:/topic/a\nreceipt:" + b"r" * 129 + b"\n"),
    ],
)
def test_a_frame_over_a_limit_gets_error_and_close(
    broker: Callable[..., World], version: str, what: str, payload: bytes
) -> None:
    peer = broker(limits=Limits(max_message_size=65_536)).connect(version)
    for start in range(0, len(payload), 20_000):
        peer.send(payload[start : start + 20_000])
    refused(peer, "limit", 1008 if what == "headers" else 1009)


@stomp("1.2 Frames and Headers 10", "1.1 1.2 SEND 5", "1.1 MESSAGE 6", "1.2 MESSAGE 8")
@pytest.mark.parametrize("version", MODERN)
@pytest.mark.parametrize("transaction", [{}, {"transaction": "t"}])
def test_user_defined_headers_are_passed_through(
    world: World, version: str, transaction: dict[str, str]
) -> None:
    peer = world.connect(version)
    peer.subscribe("/topic/a", id="s")
    own = {"foo": "bar", "Foo": "BAR", "x-y": "", "priority": "4", "correlation-id": "7"}
    if transaction:
        peer.command("BEGIN", transaction)
    peer.command("SEND", {"destination": "/topic/a", **transaction, **own})
    if transaction:
        peer.command("COMMIT", transaction)
    got = peer.message()
    assert {name: got.headers[name] for name in own} == own
    alive(peer)

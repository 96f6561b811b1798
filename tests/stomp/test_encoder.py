"""Encoding: rows E of the conformance list, escapes per version, halves that join."""

from __future__ import annotations

import pytest

from stocksync_ws.errors import LocalProtocolError
from stocksync_ws.stomp.encoder import HEART_BEAT, KINDS, TailEncoder, encode, encode_head
from stocksync_ws.stomp.frame import Version

V10, V11, V12 = Version
HARD = {"a:\r\n\\b": "alpha:bravo\r\n\\"}


@pytest.mark.parametrize(
    ("command", "headers", "body", "version", "octets"),
    [
        pytest.param("DISCONNECT", {}, b"", V12, b"DISCONNECT\n\n\0", id="E1"),
        pytest.param(
            "SEND",
            {"a": "alpha"},
            b"Message body",
            V12,
            b"SEND\na:alpha\ncontent-length:12\n\nMessage body\0",
            id="E2",
        ),
        pytest.param(
            "DISCONNECT",
            HARD,
            b"",
            V12,
            b"DISCONNECT\na\\c\\r\\n\\\\b:alpha\\cbravo\\r\\n\\\\\n\n\0",
            id="E3",
        ),
        pytest.param(
            "SEND",
            {"content-length": "12", "a": "alpha"},
            b"Message body",
            V12,
            b"SEND\na:alpha\ncontent-length:12\n\nMessage body\0",
            id="E4",
        ),
        pytest.param(
            "SEND",
            {"content-length": "99", "b": ":"},
            b"x",
            V12,
            b"SEND\nb:\\c\ncontent-length:1\n\nx\0",
            id="E4-wrong",
        ),
        pytest.param(
            "RECEIPT",
            {"content-length": "0", "a": "b"},
            b"",
            V12,
            b"RECEIPT\na:b\n\n\0",
            id="E4-none",
        ),
        pytest.param(
            "SEND",
            {"x-content-length": "1"},
            b"",
            V12,
            b"SEND\nx-content-length:1\n\n\0",
            id="E4-like",
        ),
        pytest.param(
            "CONNECTED",
            {"user-name": "a:b\\c"},
            b"",
            V12,
            b"CONNECTED\nuser-name:a:b\\c\n\n\0",
            id="E6",
        ),
        pytest.param(
            "CONNECT", {"passcode": "a\\tb"}, b"", V12, b"CONNECT\npasscode:a\\tb\n\n\0", id="E6-2"
        ),
        pytest.param(
            "STOMP", {"passcode": "p:q"}, b"", V11, b"STOMP\npasscode:p:q\n\n\0", id="E6-3"
        ),
        pytest.param(
            "SEND", {"f:o": "a\nb\\"}, b"", V12, b"SEND\nf\\co:a\\nb\\\\\n\n\0", id="escape-1.2"
        ),
        pytest.param(
            "ERROR",
            {"message": "Unknown action: x"},
            b"",
            V12,
            b"ERROR\nmessage:Unknown action\\c x\n\n\0",
            id="ERROR-is-escaped",
        ),
        pytest.param(
            "MESSAGE",
            {"a": "b\r\nc:\\", "x\r": "gone", "y:\n": "1"},
            b"",
            V11,
            b"MESSAGE\na:b\\nc\\c\\\\\ny\\c\\n:1\n\n\0",
            id="older-receiver-1.1",
        ),
        pytest.param(
            "MESSAGE",
            {"a": "b\r\nc:\\", "x\r": "1", "y:": "2", "z\n": "3", "ok": ""},
            b"",
            V10,
            b"MESSAGE\na:bc:\\\nok:\n\n\0",
            id="older-receiver-1.0",
        ),
        pytest.param("MESSAGE", {"a": "\\c"}, b"", V11, b"MESSAGE\na:\\\\c\n\n\0", id="backslash"),
        pytest.param("MESSAGE", {"a": ""}, b"", V12, b"MESSAGE\na:\n\n\0", id="empty-value"),
        pytest.param("MESSAGE", {"é": "ü"}, b"", V12, "MESSAGE\né:ü\n\n\0".encode(), id="UTF-8"),
        pytest.param(
            "MESSAGE", {}, b"\0", V12, b"MESSAGE\ncontent-length:1\n\n\0\0", id="NUL-body"
        ),
    ],
)
def test_encode(
    command: str, headers: dict[str, str], body: bytes, version: Version, octets: bytes
) -> None:
    assert encode(command, headers, body, version) == octets
    assert encode(command, headers.items(), body, version) == octets
    assert encode(command, iter(headers.items()), body, version) == octets


@pytest.mark.parametrize("version", Version)
@pytest.mark.parametrize("command", ["RECEIPT", "CONNECTED", "MESSAGE"])
@pytest.mark.parametrize(
    "headers", [[], [("a", "b")], [("a", "b:c\\")], [("content-length", "3"), ("x", "1")]]
)
def test_a_frame_without_a_body_ends_behind_its_head(
    command: str, headers: list[tuple[str, str]], version: Version
) -> None:
    head = encode_head(command, headers, version)
    assert encode(command, headers, b"", version) == head + b"\n\0"


def test_heart_beat_is_one_lf() -> None:
    assert HEART_BEAT == b"\n"  # E5


def test_head_and_tail_join_to_a_frame() -> None:
    head = encode_head("MESSAGE", [("subscription", "s:1")], V12)
    assert head == b"MESSAGE\nsubscription:s\\c1\n"
    assert encode_head("MESSAGE", [], V12) == b"MESSAGE\n"
    tail = TailEncoder().encode("/a:b", "e-1", (("content-length", "7"), ("n", "1")), b"hi", V12)
    assert tail == b"destination:/a\\cb\nmessage-id:e-1\nn:1\ncontent-length:2\n\nhi\0"
    own = [("subscription", "s:1"), ("destination", "/a:b"), ("message-id", "e-1"), ("n", "1")]
    assert head + tail == encode("MESSAGE", own, b"hi", V12)
    assert (
        TailEncoder().encode("/a", "e-1", (), b"", V10) == b"destination:/a\nmessage-id:e-1\n\n\0"
    )


@pytest.mark.parametrize("message_id", ["", "e:1", "e\\1", "e\n1", "\u00e4-1", "-", "a.b_c-1"])
@pytest.mark.parametrize("version", Version)
def test_a_message_id_is_written_as_any_value(message_id: str, version: Version) -> None:
    own = [("destination", "/a"), ("message-id", message_id)]
    whole = encode("MESSAGE", own, b"hi", version)
    assert b"MESSAGE\n" + TailEncoder().encode("/a", message_id, (), b"hi", version) == whole


def test_only_what_may_repeat_is_remembered_and_not_for_ever() -> None:
    """A client chooses the headers of its SEND: they are not kept."""
    tails, known = TailEncoder(), []
    for count in range(2 * KINDS + 10):
        tails.encode(f"/{count}", "e-1", (("a", "1"), ("b", "2")), b"", V12)
        known.append(len(tails._known))
    assert set(known) == {0}
    for count in range(2 * KINDS + 10):
        tails.encode(f"/{count}", "e-1", (("a", "1"),), b"", V12)
        known.append(len(tails._known))
    assert max(known) == KINDS
    assert known[-1] == 10


@pytest.mark.parametrize("version", Version)
@pytest.mark.parametrize("command", ["SEND", "CONNECT", "CONNECTED"])
@pytest.mark.parametrize(
    "header",
    [("", "x"), ("a\0", "x"), ("a", "\0"), ("a", "\ud800"), ("\udfff", "a")],
    ids=["empty-name", "NUL-name", "NUL-value", "surrogate-value", "surrogate-name"],
)
def test_what_no_version_can_express(
    version: Version, command: str, header: tuple[str, str]
) -> None:
    for headers in ([header], [("ok", "1"), header]):
        with pytest.raises(LocalProtocolError):
            encode(command, headers, b"", version)
        with pytest.raises(LocalProtocolError):
            TailEncoder().encode("/a", "e-1", tuple(headers), b"", version)


@pytest.mark.parametrize("command", ["CONNECT", "STOMP", "CONNECTED"])
@pytest.mark.parametrize(
    "header", [("a\r", "x"), ("a\n", "x"), ("a:b", "x"), ("a", "x\r"), ("a", "x\ny:z")]
)
def test_unescaped_commands_refuse_what_would_inject(command: str, header: tuple[str, str]) -> None:
    with pytest.raises(LocalProtocolError):
        encode(command, [header], b"", V12)


@pytest.mark.parametrize("command", ["CONNECT", "CONNECTED", "RECEIPT", "SUBSCRIBE", "ACK"])
def test_a_body_where_none_may_be(command: str) -> None:
    with pytest.raises(LocalProtocolError):
        encode(command, {}, b"x", V12)

"""Frames, and the headers they must have (STOMP A8)."""

from __future__ import annotations

import pytest

from stocksync_ws.codes import ErrorCode
from stocksync_ws.errors import RemoteProtocolError
from stocksync_ws.stomp.frame import (
    CLIENT_COMMANDS,
    SERVER_COMMANDS,
    Frame,
    Version,
    flag,
    required,
)

V10, V11, V12 = Version

REQUIRED = [
    ("CONNECT", "", "", ""),
    ("STOMP", "", "", ""),
    ("SEND", "destination", "destination", "destination"),
    ("SUBSCRIBE", "destination", "destination id", "destination id"),
    ("UNSUBSCRIBE", None, "id", "id"),
    ("ACK", "message-id", "message-id subscription", "id"),
    ("NACK", "", "message-id subscription", "id"),
    ("BEGIN", "transaction", "transaction", "transaction"),
    ("COMMIT", "transaction", "transaction", "transaction"),
    ("ABORT", "transaction", "transaction", "transaction"),
    ("DISCONNECT", "", "", ""),
    ("CONNECTED", "session", "version", "version"),
    (
        "MESSAGE",
        "destination message-id",
        "destination message-id subscription",
        "destination message-id subscription",
    ),
    ("RECEIPT", "receipt-id", "receipt-id", "receipt-id"),
    ("ERROR", "", "", ""),
]


@pytest.mark.parametrize(
    ("command", "version", "names"),
    [
        (row[0], version, names.split())
        for row in REQUIRED
        for version, names in zip(Version, row[1:], strict=True)
        if names is not None
    ],
)
def test_required_headers(command: str, version: Version, names: list[str]) -> None:
    headers = dict.fromkeys(names, "")
    required(Frame(command, headers), version)
    for name in names:
        rest = {key: value for key, value in headers.items() if key != name}
        with pytest.raises(RemoteProtocolError) as caught:
            required(Frame(command, rest), version)
        assert caught.value.code is ErrorCode.MISSING_HEADER
        assert caught.value.command == command
        assert caught.value.headers == rest


def test_unsubscribe_of_1_0_needs_destination_or_id() -> None:
    required(Frame("UNSUBSCRIBE", {"id": "1"}), V10)
    required(Frame("UNSUBSCRIBE", {"destination": "/topic/a"}), V10)
    with pytest.raises(RemoteProtocolError) as caught:
        required(Frame("UNSUBSCRIBE", {"receipt": "r"}), V10)
    assert caught.value.code is ErrorCode.MISSING_HEADER
    assert caught.value.headers == {"receipt": "r"}


def test_the_table_covers_every_command() -> None:
    assert {row[0] for row in REQUIRED} == CLIENT_COMMANDS | SERVER_COMMANDS
    assert not CLIENT_COMMANDS & SERVER_COMMANDS


def test_versions_are_ordered_strings() -> None:
    assert [str(version) for version in Version] == ["1.0", "1.1", "1.2"]


def test_equality_is_by_command_headers_and_body() -> None:
    frame = Frame("SEND", {"a": "1"}, b"x")
    assert frame == Frame("SEND", {"a": "1"}, b"x")
    assert frame != Frame("MESSAGE", {"a": "1"}, b"x")
    assert frame != Frame("SEND", {"a": "2"}, b"x")
    assert frame != Frame("SEND", {"a": "1"}, b"y")
    assert frame != "SEND"
    assert Frame("ACK", {}).body == b""


def test_a_frame_cannot_be_hashed() -> None:
    with pytest.raises(TypeError):
        hash(Frame("SEND", {}))


def test_repr_hides_secrets() -> None:
    text = repr(Frame("CONNECT", {"login": "joe", "passcode": "s3", "Authorization": "s3"}))
    assert text == (
        "Frame('CONNECT', {'login': 'joe', 'passcode': '***', 'Authorization': '***'}, b'')"
    )


@pytest.mark.parametrize(("extra", "cut"), [(0, False), (1, True)])
def test_repr_is_cut_at_200(extra: int, cut: bool) -> None:
    shell = len(repr(Frame("SEND", {})))
    text = repr(Frame("SEND", {}, b"x" * (200 - shell + extra)))
    assert len(text) == 200
    assert text.endswith("...") is cut


def test_repr_is_one_line_whatever_the_peer_wrote() -> None:
    assert repr(Frame("SEND", {"a": "\x1b[31m\n"})) == "Frame('SEND', {'a': '\\x1b[31m\\n'}, b'')"


@pytest.mark.parametrize(
    ("text", "value"),
    [("true", True), ("True", True), ("1", True), ("false", False), ("FALSE", False), ("0", False)],
)
def test_a_flag_is_true_or_false_in_any_case(text: str, value: bool) -> None:
    frame = Frame("NACK", {"requeue": text})
    assert flag(frame, "requeue", not value) is value
    assert flag(frame, "durable", value) is value


@pytest.mark.parametrize("text", ["", "no", "00", " true", "tru\u0435"])
def test_a_flag_is_nothing_else(text: str) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        flag(Frame("NACK", {"requeue": text}), "requeue", True)
    assert caught.value.code is ErrorCode.BAD_HEADER


class TestReplace:
    def test_is_another_frame_with_what_is_said(self) -> None:
        frame = Frame("SEND", {"destination": "/topic/a"}, b"x")
        changed = frame.replace(headers={**frame.headers, "a": "1"})
        assert changed == Frame("SEND", {"destination": "/topic/a", "a": "1"}, b"x")
        assert frame == Frame("SEND", {"destination": "/topic/a"}, b"x")
        assert frame.replace() == frame
        assert frame.replace().headers is not frame.headers

    @pytest.mark.parametrize(("headers", "length"), [({"content-length": "1"}, "3"), ({}, None)])
    def test_a_length_that_was_given_is_that_of_the_body(
        self, headers: dict[str, str], length: str | None
    ) -> None:
        frame = Frame("SEND", headers, b"x").replace(body=b"xyz")
        assert (frame.body, frame.headers.get("content-length")) == (b"xyz", length)

"""The server's own frames, byte for byte."""

from __future__ import annotations

import json

import pytest

from stocksync_ws.broker.sessions.replies import (
    connected,
    error,
    error_message,
    receipt,
    withholds_name,
)
from stocksync_ws.codes import ErrorCode
from stocksync_ws.config import Limits
from stocksync_ws.stomp.encoder import encode
from stocksync_ws.stomp.frame import Version

LIMITS = Limits()


def test_connected() -> None:
    assert connected(Version.V11, "s1", (1000, 0), "joe") == (
        b"CONNECTED\nversion:1.1\nheart-beat:1000,0\nsession:s1\nserver:stocksync-ws\n"
        b"user-name:joe\n\n\0"
    )


@pytest.mark.parametrize("version", Version)
@pytest.mark.parametrize("heart_beat", [(0, 0), (10_000, 5_000)])
@pytest.mark.parametrize("more", [{}, {"user-name": "joe"}, {"user-name": "é:\\"}])
@pytest.mark.parametrize("ends", [True, False])
def test_connected_is_what_the_encoder_makes_of_it(
    version: Version, heart_beat: tuple[int, int], more: dict[str, str], ends: bool
) -> None:
    if ends:
        more = more | {"credentials-expire": "60"}
    headers = [
        ("version", version.value),
        ("heart-beat", ",".join(map(str, heart_beat))),
        ("session", "-_s1"),
        ("server", "stocksync-ws"),
        *more.items(),
    ]
    made = connected(version, "-_s1", heart_beat, more.get("user-name"), 60 if ends else None)
    assert made == encode("CONNECTED", headers, b"", version)


@pytest.mark.parametrize("name", ["a\nb", "a\rb", "a\0b"])
def test_a_name_that_cannot_stand_in_connected_is_withheld(name: str) -> None:
    assert withholds_name(name)
    assert b"user-name" not in connected(Version.V12, "s", (0, 0), name)


@pytest.mark.parametrize("name", [None, "", "joe", "a:b\\c"])
def test_any_other_is_not(name: str | None) -> None:
    assert not withholds_name(name)


def test_connected_is_never_escaped() -> None:
    assert b"\nuser-name:a:b\\c\n" in connected(Version.V12, "s", (0, 0), "a:b\\c")


def test_receipt() -> None:
    assert receipt("a:b", Version.V12) == b"RECEIPT\nreceipt-id:a\\cb\n\n\0"
    assert receipt("a:b", Version.V10) == b"RECEIPT\nreceipt-id:a:b\n\n\0"
    assert receipt("1", Version.V12, {"recovered": "true"}) == (
        b"RECEIPT\nreceipt-id:1\nrecovered:true\n\n\0"
    )


def test_error_names_the_failing_frame() -> None:
    headers = {"receipt": "77", "destination": "/topic/a", "subscription": "no", "id": "s1"}
    frame = error(ErrorCode.SUBSCRIBE_DENIED, "SUBSCRIBE", headers, Version.V12, LIMITS)
    assert frame == (
        b"ERROR\nmessage:SUBSCRIBE denied\ncode:subscribe-denied\ncontent-type:text/plain\n"
        b"receipt-id:77\ncommand:SUBSCRIBE\ndestination:/topic/a\nsubscription:s1\n"
        b"content-length:49\n\nThis client may not subscribe to the destination.\0"
    )


def test_of_an_ack_the_subscription_is_named() -> None:
    headers = {"subscription": "s1", "id": "17"}
    frame = error(ErrorCode.UNKNOWN_ACK, "ACK", headers, Version.V12, LIMITS)
    assert b"\nsubscription:s1\n" in frame


def test_nothing_else_of_the_peer_comes_back() -> None:
    headers = {"destination": "/a\x1b", "id": "a\nb", "passcode": "secret", "x": "secret"}
    frame = error(ErrorCode.BAD_HEADER, "SEND\x00", headers, Version.V12, LIMITS)
    assert frame == (
        b"ERROR\nmessage:Malformed header\ncode:bad-header\ncontent-type:text/plain\n"
        b"content-length:%d\n\n%s\0"
        % (len(ErrorCode.BAD_HEADER.sentence), ErrorCode.BAD_HEADER.sentence.encode())
    )


@pytest.mark.parametrize("version", list(Version))
@pytest.mark.parametrize("code", list(ErrorCode))
def test_every_error_can_be_said_in_every_version(code: ErrorCode, version: Version) -> None:
    frame = error(code, None, {}, version, LIMITS)
    assert frame.startswith(f"ERROR\nmessage:{code.message}\ncode:{code.code}\n".encode())
    assert (b"\nversion:1.0,1.1,1.2\n" in frame) is (code is ErrorCode.UNSUPPORTED_VERSION)


def test_the_message_about_an_application_error() -> None:
    headers = {"receipt": "r", "destination": "/app/x", "id": "s1"}
    fields, body = error_message(ErrorCode.NO_HANDLER, "SUBSCRIBE", headers, "c1", LIMITS)
    assert fields == [("content-type", "application/json"), ("receipt-id", "r")]
    assert json.loads(body) == {
        "code": "no-handler",
        "message": "No handler",
        "receipt_id": "r",
        "destination": "/app/x",
        "subscription": "s1",
        "correlation_id": "c1",
    }


def test_without_receipt_and_names_they_are_null() -> None:
    fields, body = error_message(ErrorCode.NO_HANDLER, "SEND", {}, "c1", LIMITS)
    assert fields == [("content-type", "application/json")]
    told = json.loads(body)
    assert told["receipt_id"] is told["destination"] is told["subscription"] is None

"""The catalogue: what an ERROR may say, and what follows it."""

from __future__ import annotations

import re

import pytest

from stocksync_ws.codes import CloseCode, DisconnectReason, ErrorCode, Fault

BY_CLOSE = {
    1002: "not-connected already-connected unsupported-version unknown-command bad-header"
    " bad-escape bad-utf8 bad-content-length missing-nul body-not-allowed repeated-header"
    " missing-header bad-heart-beat bad-ack-mode bad-destination duplicate-subscription"
    " unknown-subscription unknown-ack duplicate-transaction unknown-transaction",
    1007: "bad-payload",
    1008: "send-denied subscribe-denied no-destination no-handler connect-timeout frame-timeout"
    " unsupported idempotency-mismatch limit subscription-revoked",
    1009: "limit",
    1011: "handler-failed handler-timeout internal-error",
    1013: "queue-full rate-limited backplane-unavailable publish-uncertain",
    4001: "credentials-expired",
    4500: "connect-refused",
    4501: "bad-credentials",
    4503: "kicked",
    4505: "user-limit",
}


def test_codes_and_their_closes_are_exactly_these() -> None:
    found: dict[int, list[str]] = {}
    for code in ErrorCode:
        found.setdefault(code.close, []).append(code.code)
    assert found == {close: codes.split() for close, codes in BY_CLOSE.items()}


@pytest.mark.parametrize("code", list(ErrorCode))
def test_texts_are_short_fixed_and_printable(code: ErrorCode) -> None:
    assert re.fullmatch(r"[a-z0-9-]+", code.code)
    assert re.fullmatch(r"[A-Za-z0-9 -]{3,40}", code.message)
    assert code.sentence.isascii()
    assert code.sentence.isprintable()
    assert code.sentence.endswith(".")
    assert isinstance(code.reason, DisconnectReason)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (ErrorCode.BAD_HEADER, "protocol_error"),
        (ErrorCode.LIMIT_SIZE, "limit_exceeded"),
        (ErrorCode.LIMIT_COUNT, "limit_exceeded"),
        (ErrorCode.CONNECT_TIMEOUT, "limit_exceeded"),
        (ErrorCode.FRAME_TIMEOUT, "limit_exceeded"),
        (ErrorCode.SEND_DENIED, "access_denied"),
        (ErrorCode.BAD_CREDENTIALS, "access_denied"),
        (ErrorCode.CREDENTIALS_EXPIRED, "credentials_expired"),
        (ErrorCode.HANDLER_TIMEOUT, "handler_failed"),
        (ErrorCode.INTERNAL_ERROR, "internal_error"),
        (ErrorCode.QUEUE_FULL, "limit_exceeded"),
        (ErrorCode.RATE_LIMITED, "limit_exceeded"),
        (ErrorCode.KICKED, "kicked"),
        (ErrorCode.USER_LIMIT, "limit_exceeded"),
    ],
)
def test_reasons(code: ErrorCode, reason: str) -> None:
    assert code.reason == reason


def test_no_two_texts_are_the_same() -> None:
    assert len({code.sentence for code in ErrorCode}) == len(ErrorCode)
    assert ErrorCode.LIMIT_COUNT is not ErrorCode.LIMIT_SIZE


def test_whose_fault_it_is() -> None:
    assert ErrorCode.HANDLER_FAILED.fault is Fault.APPLICATION
    assert ErrorCode.INTERNAL_ERROR.fault is Fault.SERVER
    assert ErrorCode.BAD_HEADER.fault is Fault.PEER


def test_close_codes() -> None:
    expected = [
        1000, 1001, 1002, 1007, 1008, 1009, 1011, 1012, 1013,
        4000, 4001, 4008, 4010, 4012, 4500, 4501, 4503, 4505,
    ]  # fmt: skip
    assert sorted(CloseCode) == expected

"""The tree of exceptions."""

from __future__ import annotations

from stocksync_ws import errors
from stocksync_ws.codes import ErrorCode
from stocksync_ws.errors import (
    BadCredentials,
    Cancelled,
    ConversionError,
    LimitExceeded,
    RemoteProtocolError,
    StockSyncError,
)


def test_everything_exported_is_there_and_every_error_has_one_base() -> None:
    for name in errors.__all__:
        found = getattr(errors, name)
        if isinstance(found, type) and issubclass(found, Exception):
            assert issubclass(found, StockSyncError)
    assert issubclass(BadCredentials, errors.AccessDenied)
    assert issubclass(errors.LocalProtocolError, errors.ProtocolError)


def test_cancelled_is_nothing_a_handler_catches_by_accident() -> None:
    assert not issubclass(Cancelled, Exception)


def test_a_remote_error_carries_what_was_read() -> None:
    bare = RemoteProtocolError(ErrorCode.BAD_HEADER)
    assert (bare.command, dict(bare.headers), str(bare)) == (None, {}, "Malformed header")
    full = LimitExceeded(ErrorCode.LIMIT_SIZE, "SEND", {"receipt": "r"})
    assert (full.code, full.command, full.headers["receipt"]) == (
        ErrorCode.LIMIT_SIZE,
        "SEND",
        "r",
    )


def test_a_conversion_error_names_the_path() -> None:
    error = ConversionError("$.items[2].quantity", "expected int, got str")
    assert str(error) == "$.items[2].quantity: expected int, got str"
    assert (error.path, error.problem) == ("$.items[2].quantity", "expected int, got str")

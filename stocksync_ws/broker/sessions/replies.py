"""The server's own frames: CONNECTED, RECEIPT, ERROR, and the reply about an error of the
application.

Rule: pure functions from facts to bytes. Fixed texts and our own names and numbers only; of the
peer's words nothing comes back but its receipt, and destination and subscription when they were
valid.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from stocksync_ws.broker.model.credentials import EXPIRE
from stocksync_ws.broker.model.namespace import is_destination, printable
from stocksync_ws.codes import ErrorCode
from stocksync_ws.config import Limits
from stocksync_ws.stomp.encoder import encode
from stocksync_ws.stomp.frame import CLIENT_COMMANDS, Version

__all__ = ["connected", "error", "error_message", "receipt", "withholds_name"]

SERVER = "stocksync-ws"


def withholds_name(name: str | None) -> bool:
    """A user name that cannot stand in CONNECTED, which is never escaped."""
    return name is not None and any(char in name for char in "\r\n\0")


def connected(
    version: Version,
    session_id: str,
    heart_beat: tuple[int, int],
    user_name: str | None,
    expire: int | None = None,
) -> bytes:
    """CONNECTED (STOMP 1.2, "CONNECTED Frame"); heart-beat in ms, as configured; `expire` in whole
    seconds.
    """
    text = (
        f"CONNECTED\nversion:{version.value}\nheart-beat:{heart_beat[0]},{heart_beat[1]}\n"
        f"session:{session_id}\nserver:{SERVER}\n"
    )
    # Names and numbers of ours; and that of a user is never escaped here.
    if user_name is not None and not withholds_name(user_name):
        text += f"user-name:{user_name}\n"
    if expire is not None:
        text += f"{EXPIRE}:{expire}\n"
    return f"{text}\n\0".encode()


def receipt(receipt_id: str, version: Version, extra: Mapping[str, str] | None = None) -> bytes:
    """RECEIPT, which follows the effect of the frame that asked for it."""
    headers = [("receipt-id", receipt_id), *(extra or {}).items()]
    return encode("RECEIPT", headers, b"", version)


def error(
    code: ErrorCode,
    command: str | None,
    headers: Mapping[str, str],
    version: Version,
    limits: Limits,
    detail: str = "",
    retry_after: int = 0,
) -> bytes:
    """ERROR about a frame; `command` and `headers` are what had been read of it, `detail` is of our
    own making, `retry_after` in seconds.
    """
    fields = [("message", code.message), ("code", code.code), ("content-type", "text/plain")]
    if "receipt" in headers:
        fields.append(("receipt-id", headers["receipt"]))
    if command in CLIENT_COMMANDS:
        assert command is not None
        fields.append(("command", command))
    fields += _valid_names(command, headers, limits)
    if retry_after:
        fields.append(("retry-after", str(retry_after)))
    if code is ErrorCode.UNSUPPORTED_VERSION:
        fields.append(("version", ",".join(version.value for version in Version)))
    body = f"{code.sentence} {detail}" if detail else code.sentence
    return encode("ERROR", fields, body.encode(), version)


def _valid_names(
    command: str | None, headers: Mapping[str, str], limits: Limits
) -> list[tuple[str, str]]:
    """Destination and subscription of the failing frame, when they were valid."""
    found: list[tuple[str, str]] = []
    destination = headers.get("destination")
    if destination is not None and is_destination(destination, limits):
        found.append(("destination", destination))
    name = "id" if command in ("SUBSCRIBE", "UNSUBSCRIBE") else "subscription"
    subscription = headers.get(name)
    if subscription is not None and printable(subscription):
        found.append(("subscription", subscription))
    return found


def error_message(
    code: ErrorCode,
    command: str | None,
    headers: Mapping[str, str],
    correlation_id: str,
    limits: Limits,
    detail: str = "",
    retry_after: int = 0,
) -> tuple[list[tuple[str, str]], bytes]:
    """Headers and JSON body of the MESSAGE that tells a listening session of an application
    error.
    """
    names = dict(_valid_names(command, headers, limits))
    receipt_id = headers.get("receipt")
    fields = [("content-type", "application/json")]
    if receipt_id is not None:
        fields.append(("receipt-id", receipt_id))
    if retry_after:
        fields.append(("retry-after", str(retry_after)))
    if code is ErrorCode.SUBSCRIPTION_REVOKED and "subscription" in names:
        fields.append(("revoked-subscription", names["subscription"]))
    detailed = {"detail": f"{code.sentence} {detail}"} if detail else {}
    body = {
        "code": code.code,
        "message": code.message,
        **detailed,
        "receipt_id": receipt_id,
        "destination": names.get("destination"),
        "subscription": names.get("subscription"),
        "correlation_id": correlation_id,
    }
    return fields, json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()

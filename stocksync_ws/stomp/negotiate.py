"""What CONNECT and CONNECTED settle: version, heart-beats, sub-protocol.

Rule: pure functions of header values; they keep nothing and know no session.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from stocksync_ws.codes import ErrorCode
from stocksync_ws.errors import RemoteProtocolError
from stocksync_ws.stomp.frame import Version

__all__ = [
    "SUBPROTOCOLS",
    "agree_heart_beats",
    "choose_subprotocol",
    "choose_version",
    "parse_heart_beat",
    "trim_for_1_0",
]

SUBPROTOCOLS = ("v12.stomp", "v11.stomp", "v10.stomp")
"""The WebSocket sub-protocols, the best first."""

BLANKS = " \t"
_HEART_BEAT = re.compile(r"([0-9]{1,9}),([0-9]{1,9})")
_BEST_FIRST = tuple(reversed(Version))


def choose_version(accept_version: str | None) -> Version | None:
    """The highest version both sides speak (STOMP 1.2, "Protocol Negotiation").

    Args:
        accept_version: The header of CONNECT, None when it is missing: that means 1.0. Blanks
            around its items do not count.

    Returns:
        The version, or None when there is no common one.
    """
    if accept_version is None:
        return Version.V10
    offered = {item.strip(BLANKS) for item in accept_version.split(",")}
    for version in _BEST_FIRST:
        if version in offered:
            return version
    return None


def trim_for_1_0(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers of a CONNECT whose session ends in 1.0: without leading blanks of values.

    Later frames of such a session are trimmed by the decoder.
    """
    return {name: value.lstrip(BLANKS) for name, value in headers.items()}


def parse_heart_beat(value: str | None) -> tuple[int, int]:
    """The two numbers of a `heart-beat` header, in milliseconds; 0 is never.

    Args:
        value: The header, None when it is missing: that means `0,0`.

    Returns:
        The interval at which the sender can send, and the one at which it wants to receive.

    Raises:
        RemoteProtocolError: `bad-heart-beat`: not `[0-9]{1,9},[0-9]{1,9}`; the peer's fault.
    """
    if value is None:
        return 0, 0
    match = _HEART_BEAT.fullmatch(value)
    if match is None:
        raise RemoteProtocolError(ErrorCode.BAD_HEART_BEAT)
    return int(match[1]), int(match[2])


def agree_heart_beats(client: tuple[int, int], server: tuple[int, int]) -> tuple[int, int]:
    """The intervals that two `heart-beat` headers agree on (STOMP 1.2, "Heart-beating").

    Args:
        client: Milliseconds of CONNECT: can send, wants to receive.
        server: Milliseconds of CONNECTED: can send, wants to receive.

    Returns:
        The client sends every ... ms, the server sends every ... ms; 0 is never.
    """
    return _slower(client[0], server[1]), _slower(server[0], client[1])


def _slower(sends: int, wants: int) -> int:
    return max(sends, wants) if sends and wants else 0


def choose_subprotocol(offered: Sequence[str]) -> str | None:
    """The best WebSocket sub-protocol of those offered, or None; the case of tokens counts.

    It binds nothing: `accept-version` alone decides the version of STOMP.
    """
    for protocol in SUBPROTOCOLS:
        if protocol in offered:
            return protocol
    return None

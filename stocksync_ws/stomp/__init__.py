"""STOMP 1.0, 1.1 and 1.2: frames, their octets, and what CONNECT settles.

Rule: nothing here knows a session, a socket or a clock.
"""

from stocksync_ws.stomp.decoder import Decoder
from stocksync_ws.stomp.encoder import HEART_BEAT, TailEncoder, encode, encode_head
from stocksync_ws.stomp.frame import (
    CLIENT_COMMANDS,
    SERVER_COMMANDS,
    Frame,
    Version,
    required,
)
from stocksync_ws.stomp.negotiate import (
    SUBPROTOCOLS,
    agree_heart_beats,
    choose_subprotocol,
    choose_version,
    parse_heart_beat,
    trim_for_1_0,
)

__all__ = [
    "CLIENT_COMMANDS",
    "HEART_BEAT",
    "SERVER_COMMANDS",
    "SUBPROTOCOLS",
    "Decoder",
    "Frame",
    "TailEncoder",
    "Version",
    "agree_heart_beats",
    "choose_subprotocol",
    "choose_version",
    "encode",
    "encode_head",
    "parse_heart_beat",
    "required",
    "trim_for_1_0",
]

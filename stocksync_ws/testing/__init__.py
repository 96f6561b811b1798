"""Tests without a network and without waiting: an in-memory world on a virtual clock.

`World` runs an application, `Peer` is a STOMP client of it, and `MemoryBackplane` joins several
Worlds. This file only re-exports.
"""

from stocksync_ws.testing.backplane import MemoryBackplane
from stocksync_ws.testing.clock import VirtualLoop
from stocksync_ws.testing.peer import Peer, ReceivedFrame, client_frame
from stocksync_ws.testing.stream import MemoryStream
from stocksync_ws.testing.world import World

__all__ = [
    "MemoryBackplane",
    "MemoryStream",
    "Peer",
    "ReceivedFrame",
    "VirtualLoop",
    "World",
    "client_frame",
]

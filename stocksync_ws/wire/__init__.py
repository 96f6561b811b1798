"""Wires: bytes of HTTP/1.1 and WebSocket in, payloads out. This file only re-exports."""

from __future__ import annotations

from stocksync_ws.wire.answer import Answer
from stocksync_ws.wire.connection import HttpConnection
from stocksync_ws.wire.endpoint import Carrier, Decision, Endpoint, Page, Site, decide
from stocksync_ws.wire.websocket import WebSocketReader, WebSocketWire

__all__ = [
    "Answer",
    "Carrier",
    "Decision",
    "Endpoint",
    "HttpConnection",
    "Page",
    "Site",
    "WebSocketReader",
    "WebSocketWire",
    "decide",
]

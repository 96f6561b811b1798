"""A publication as bytes of a channel: when it was sent, a line of JSON, and the body as it is.

Rule: what is read was written by this version of the library or by something else; the reader is
told which. Most publications have headers that others had before: those are written and read once.
"""

from __future__ import annotations

import json
from collections.abc import Hashable
from typing import NamedTuple, TypeVar

from stocksync_ws.broker.model.publication import Publication, PublicationKind

__all__ = ["Payload", "Payloads"]

MOST = 1_024
"""Heads that are remembered."""

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Payload(NamedTuple):
    """What a publication is at every worker."""

    kind: PublicationKind
    sent: float
    """When it was published, in seconds since the epoch."""
    headers: tuple[tuple[str, str], ...]
    body: bytes
    to: str
    """Its destination; empty where the channel says it."""


class _Head(NamedTuple):
    kind: PublicationKind
    headers: tuple[tuple[str, str], ...]
    to: str


class Payloads:
    """Writes publications, and reads them."""

    __slots__ = ("_read", "_written")

    def __init__(self) -> None:
        self._written: dict[_Head, bytes] = {}
        self._read: dict[bytes, _Head] = {}

    def pack(self, publication: Publication, sent: float, to: str = "") -> bytes:
        """Write a publication down.

        Args:
            publication: Which.
            sent: When it is published, in seconds since the epoch.
            to: Its destination, where the channel does not say it.
        """
        head = _Head(publication.kind, publication.headers, to)
        written = self._written.get(head)
        if written is None:
            data: list[object] = [head.kind.value, head.headers]
            if to:
                data.append(to)
            written = json.dumps(data, separators=(",", ":")).encode()
            _remember(self._written, head, written)
        return b"%.3f %b\n%b" % (sent, written, publication.body)

    def unpack(self, payload: bytes) -> Payload | None:
        """Read a publication; None: it is none of this version of the library."""
        line, _, body = payload.partition(b"\n")
        sent, _, written = line.partition(b" ")
        try:
            head = self._read.get(written)
            if head is None:
                name, pairs, *to = json.loads(written)
                headers = tuple((name, value) for name, value in pairs)
                head = _Head(PublicationKind(name), headers, to[0] if to else "")
                _remember(self._read, written, head)
            return Payload(head.kind, float(sent), head.headers, body, head.to)
        except (ValueError, TypeError):
            return None


def _remember(known: dict[K, V], key: K, value: V) -> None:
    if len(known) >= MOST:
        known.clear()
    known[key] = value

"""A publication as bytes of a channel: when it was sent, a line of JSON, and the body as it is.

Rule: what is read was written by this version of the library or by something else; the reader is
told which. Most publications have headers that others had before: those are written and read once.
"""

from __future__ import annotations

import json
from collections.abc import Hashable
from typing import NamedTuple, TypeVar

from stocksync_ws.broker.model.publication import Draft, PublicationKind

__all__ = ["Head", "Payloads"]

MOST = 1_024
"""Heads that are remembered."""

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Head(NamedTuple):
    """The part of a publication that others have in common with it."""

    kind: PublicationKind
    headers: tuple[tuple[str, str], ...]
    to: str
    """Its destination; empty where the channel says it."""


class Payloads:
    """Writes publications, and reads them."""

    __slots__ = ("_read", "_written")

    def __init__(self) -> None:
        self._written: dict[tuple[tuple[tuple[str, str], ...], str], bytes] = {}
        self._read: dict[bytes, Head] = {}

    def pack(self, draft: Draft, kind: PublicationKind, sent: float, to: str = "") -> bytes:
        """Write a publication down.

        Args:
            draft: The message.
            kind: What it is.
            sent: When it is published, in seconds since the epoch.
            to: Its destination, where the channel does not say it.
        """
        if kind is not PublicationKind.MESSAGE:
            return b"%.3f %b\n%b" % (sent, _head(kind, draft.headers, to), draft.body)
        key = draft.headers, to
        written = self._written.get(key)
        if written is None:
            written = _head(kind, *key)
            _remember(self._written, key, written)
        return b"%.3f %b\n%b" % (sent, written, draft.body)

    def unpack(self, payload: bytes) -> tuple[Head, float, bytes] | None:
        """Read a publication: its head, when it was published, in seconds since the epoch, and its
        body; None: it is none of this version of the library.
        """
        line, _, body = payload.partition(b"\n")
        sent, _, written = line.partition(b" ")
        try:
            head = self._read.get(written)
            if head is None:
                name, pairs, *to = json.loads(written)
                headers = tuple((name, value) for name, value in pairs)
                head = Head(PublicationKind(name), headers, to[0] if to else "")
                _remember(self._read, written, head)
            return head, float(sent), body
        except (ValueError, TypeError):
            return None


def _head(kind: PublicationKind, headers: tuple[tuple[str, str], ...], to: str) -> bytes:
    data = [kind.value, headers, to] if to else [kind.value, headers]
    return json.dumps(data, separators=(",", ":")).encode()


def _remember(known: dict[K, V], key: K, value: V) -> None:
    if len(known) >= MOST:
        known.clear()
    known[key] = value

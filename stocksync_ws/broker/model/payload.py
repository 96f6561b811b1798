"""A publication as bytes of a channel: a line of JSON, and the body as it is.

Rule: what is read was written by this version of the library or by something else; the reader is
told which.
"""

from __future__ import annotations

import json
from typing import NamedTuple

from stocksync_ws.broker.model.publication import Publication, PublicationKind

__all__ = ["Payload", "pack", "unpack"]


class Payload(NamedTuple):
    """What a publication is at every worker."""

    kind: PublicationKind
    sent: float
    """When it was published, in seconds since the epoch."""
    headers: tuple[tuple[str, str], ...]
    body: bytes
    to: str
    """Its destination; empty where the channel says it."""


def pack(publication: Publication, sent: float, to: str = "") -> bytes:
    """Write a publication down.

    Args:
        publication: Which.
        sent: When it is published, in seconds since the epoch.
        to: Its destination, where the channel does not say it.
    """
    head: list[object] = [publication.kind.value, round(sent, 3), publication.headers]
    if to:
        head.append(to)
    return json.dumps(head, separators=(",", ":")).encode() + b"\n" + publication.body


def unpack(payload: bytes) -> Payload | None:
    """Read a publication; None: it is none of this version of the library."""
    head, _, body = payload.partition(b"\n")
    try:
        name, sent, pairs, *to = json.loads(head)
        headers = tuple((name, value) for name, value in pairs)
        return Payload(PublicationKind(name), float(sent), headers, body, to[0] if to else "")
    except (ValueError, TypeError):
        return None

"""Publications as bytes of a channel."""

from __future__ import annotations

import pytest

from stocksync_ws.broker.model.payload import pack, unpack
from stocksync_ws.broker.model.publication import Draft, Publication, PublicationKind


@pytest.mark.parametrize("body", [b"", b"text", b"\n\n", bytes(range(256))])
@pytest.mark.parametrize(
    "headers", [(), (("a:b\n\\", "c\r\n\0"), ("a:b\n\\", "ü\u2028\U0001f600"))]
)
@pytest.mark.parametrize("to", ["", "/reply-queue/a"])
def test_what_is_written_is_read(
    body: bytes, headers: tuple[tuple[str, str], ...], to: str
) -> None:
    kind = PublicationKind.DEAD_LETTER
    publication = Publication(1, "id", "/topic/a", Draft("/topic/a", headers, body), 5.0, kind)
    assert unpack(pack(publication, 1.23456, to)) == (kind, 1.235, headers, body, to)


@pytest.mark.parametrize(
    "payload",
    [b"", b"\n", b"{}\n", b"[1]\n", b'["x",1,[]]\n', b'["message",null,[]]\n', b"\xff\n"]
    + [b'["message",1,[1]]\n', b'["message",1,[["a"]]]\n', b'["message",1,null]\n'],
)
def test_what_something_else_has_written_is_not_read(payload: bytes) -> None:
    assert unpack(payload) is None

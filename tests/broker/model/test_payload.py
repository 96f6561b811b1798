"""Publications as bytes of a channel."""

from __future__ import annotations

import pytest

from stocksync_ws.broker.model.payload import MOST, Payloads
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
    payloads = Payloads()
    for _ in range(2):  # the second time by what is remembered
        packed = payloads.pack(publication, 1.23456, to)
        assert payloads.unpack(packed) == (kind, 1.235, headers, body, to)


@pytest.mark.parametrize(
    "payload",
    [b"", b"\n", b"1 {}\n", b"1 [1]\n", b'1 ["x",[]]\n', b'x ["message",[]]\n', b"\xff\n"]
    + [b'1 ["message",[1]]\n', b'1 ["message",[["a"]]]\n', b'1 ["message",null]\n', b"1\n"]
    + [b'["message",1,[]]\n'],
)
def test_what_something_else_has_written_is_not_read(payload: bytes) -> None:
    assert Payloads().unpack(payload) is None


def test_what_is_remembered_is_bounded() -> None:
    payloads = Payloads()
    for number in range(MOST + 10):
        draft = Draft("/topic/a", (("n", str(number)),), b"")
        packed = payloads.pack(Publication(1, "id", "/topic/a", draft, 5.0), 1.0)
        assert payloads.unpack(packed) is not None
    assert 0 < len(payloads._written) <= MOST
    assert 0 < len(payloads._read) <= MOST

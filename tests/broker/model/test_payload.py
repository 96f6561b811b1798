"""Publications as bytes of a channel."""

from __future__ import annotations

import pytest

from stocksync_ws.broker.model.payload import MOST, Payloads
from stocksync_ws.broker.model.publication import PublicationKind
from tests.broker.kit import drafted


@pytest.mark.parametrize("body", [b"", b"text", b"\n\n", bytes(range(256))])
@pytest.mark.parametrize(
    "headers", [(), (("a:b\n\\", "c\r\n\0"), ("a:b\n\\", "ü\u2028\U0001f600"))]
)
@pytest.mark.parametrize("to", ["", "/reply-queue/a"])
@pytest.mark.parametrize("kind", PublicationKind)
def test_what_is_written_is_read(
    body: bytes, headers: tuple[tuple[str, str], ...], to: str, kind: PublicationKind
) -> None:
    draft = drafted("/topic/a", headers, body)
    payloads = Payloads()
    for _ in range(2):  # the second time by what is remembered
        packed = payloads.pack(draft, kind, 1.23456, to)
        assert payloads.unpack(packed) == ((kind, headers, to), 1.235, body)


def test_heads_that_differ_in_one_thing_are_not_mixed_up() -> None:
    payloads = Payloads()
    for kind in PublicationKind:
        for headers in ((), (("a", "1"),), (("a", "2"),)):
            for to in ("", "/reply-queue/a"):
                packed = payloads.pack(drafted("/topic/a", headers, b""), kind, 1.0, to)
                assert payloads.unpack(packed) == ((kind, headers, to), 1.0, b"")


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
        draft = drafted("/topic/a", (("n", str(number)),), b"")
        packed = payloads.pack(draft, PublicationKind.MESSAGE, 1.0)
        assert payloads.unpack(packed) is not None
    assert 0 < len(payloads._written) <= MOST
    assert 0 < len(payloads._read) <= MOST

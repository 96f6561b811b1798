"""One message: encoded once per version, text or binary as a whole."""

from __future__ import annotations

import pytest

from stocksync_ws.broker.model.publication import Publication
from stocksync_ws.stomp.encoder import TailEncoder
from stocksync_ws.stomp.frame import Version
from stocksync_ws.types import ToUser
from tests.broker.kit import drafted, publication


def make(body: bytes = b"x", headers: tuple[tuple[str, str], ...] = ()) -> Publication:
    return publication(7, "e-7", "/topic/a:b", headers, body, 5.0)


def test_the_tail_is_made_once_per_version() -> None:
    made = make(headers=(("n", "1"),))
    tails = {version: made.tail(version, TailEncoder()) for version in Version}
    assert tails[Version.V12] == (
        b"destination:/topic/a\\cb\nmessage-id:e-7\nn:1\ncontent-length:1\n\nx\0"
    )
    assert tails[Version.V10] == tails[Version.V12].replace(b"\\c", b":")
    assert all(made.tail(version, TailEncoder()) is tail for version, tail in tails.items())


def test_the_servers_own_headers_stand_first() -> None:
    made = make(headers=(("destination", "/forged"), ("message-id", "forged")))
    tail = made.tail(Version.V12, TailEncoder())
    assert tail.startswith(b"destination:/topic/a\\cb\nmessage-id:e-7\n")


@pytest.mark.parametrize(
    ("body", "text"), [(b"", True), (b"abc", True), ("é".encode(), True), (b"\xff", False)]
)
def test_text_is_utf_8(body: bytes, text: bool) -> None:
    made = make(body)
    assert made.text is text
    assert made.text is text


def test_a_draft_knows_what_it_counts_for() -> None:
    draft = drafted("/topic/a", (("n", "12"),), b"xyz", user="joe")
    assert draft.size == 3 + 8 + 3
    assert draft.target == ToUser("joe", "/topic/a")

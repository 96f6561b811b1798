"""What an interceptor is shown of a message, and what it makes of it."""

from __future__ import annotations

from typing import Any

import pytest

from stocksync_ws.broker.model.outbound import OutboundMessage
from stocksync_ws.broker.model.publication import Draft, PublicationKind
from tests.broker.kit import drafted

MESSAGE = PublicationKind.MESSAGE


def draft(*headers: tuple[str, str], **target: str) -> Draft:
    return drafted("/topic/a", headers, b"body", **target)


def shown(of: Draft) -> OutboundMessage:
    return OutboundMessage(of, MESSAGE)


class TestWhatItShows:
    @pytest.mark.parametrize(
        ("target", "user", "session_id"),
        [({}, None, None), ({"user": "ann"}, "ann", None), ({"session": "s1"}, None, "s1")],
    )
    def test_where_it_goes(
        self, target: dict[str, str], user: str | None, session_id: str | None
    ) -> None:
        message = shown(draft(**target))
        assert message.destination == "/topic/a"
        assert (message.user, message.session_id) == (user, session_id)
        assert repr(message) == "<OutboundMessage message to '/topic/a'>"

    def test_what_it_holds(self) -> None:
        message = shown(draft(("a", "1"), ("a", "2"), ("b", "3")))
        assert (message.kind, message.body, message.sender) == (MESSAGE, b"body", None)
        assert message.headers == {"a": "1", "b": "3"}  # A reader takes the first.
        assert message.headers is message.headers
        assert message.size == 10


class TestReplace:
    def test_changes_another_one_and_not_itself(self) -> None:
        of = draft(("a", "1"))
        size = of.size
        first = shown(of)
        second = first.replace(headers={**first.headers, "b": "22"})
        third = second.replace(body=b"longer body")
        assert (first.headers, first.body) == ({"a": "1"}, b"body")
        assert (second.headers, second.body) == ({"a": "1", "b": "22"}, b"body")
        assert (third.headers, third.body) == (second.headers, b"longer body")
        of.change(third.pairs, third.body)
        assert (of.headers, of.body) == ((("a", "1"), ("b", "22")), b"longer body")
        assert of.size == size + 3 + 7

    def test_keeps_what_is_the_servers_own(self) -> None:
        message = shown(draft(("original-destination", "/queue/a"), ("x", "1")))
        assert message.replace(headers={}).headers == {"original-destination": "/queue/a"}
        kept = message.replace(headers={**message.headers, "y": "2"})
        assert kept.headers == {"original-destination": "/queue/a", "x": "1", "y": "2"}
        with pytest.raises(ValueError, match="'original-destination' is set by the server"):
            message.replace(headers={"original-destination": "/queue/b"})

    @pytest.mark.parametrize(
        "wrong", [{"headers": {"a": 1}}, {"headers": {"": "x"}}, {"body": "text"}]
    )
    def test_refuses_what_cannot_be_sent(self, wrong: dict[str, Any]) -> None:
        with pytest.raises(ValueError, match=r"header|bytes"):
            shown(draft()).replace(**wrong)

    def test_knows_what_it_was_made_of(self) -> None:
        of = draft()
        assert shown(of).replace(body=b"").is_of(shown(of))
        assert not shown(of).is_of(shown(draft()))

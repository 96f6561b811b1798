"""Requests taken apart, and who a draft is for."""

from __future__ import annotations

from stocksync_ws.broker.model.publication import Draft
from stocksync_ws.types import HttpRequest, ToDestination, ToSession, ToUser


def test_a_query_is_decoded_and_its_first_value_counts() -> None:
    request = HttpRequest("GET", "/a?x=1&y=a%20b+c&x=2&empty=&z")
    assert request.path == "/a"
    assert request.query == {"x": "1", "y": "a b c", "empty": "", "z": ""}
    assert HttpRequest("GET", "/a").query == {}


def test_cookies_are_as_they_came_and_the_first_counts() -> None:
    headers = (("cookie", "a=1; b=x=y;c ; a=2"), ("cookie", "d=%20"))
    assert HttpRequest("GET", "/", headers).cookies == {"a": "1", "b": "x=y", "d": "%20"}
    assert HttpRequest("GET", "/").cookies == {}


def test_a_draft_is_for_a_destination_a_user_or_one_session() -> None:
    assert Draft("/topic/a", (), b"").target == ToDestination("/topic/a")
    assert Draft("/queue/a", (), b"", user="ann").target == ToUser("ann", "/queue/a")
    assert Draft("/queue/a", (), b"", session="s1").target == ToSession("s1", "/queue/a")
    both = Draft("/queue/a", (), b"", user="ann", session="s1")
    assert both.target == ToSession("s1", "/queue/a")


def test_targets_of_equal_fields_are_told_apart_by_their_type() -> None:
    """As tuples they would be equal."""
    assert type(Draft("/a", (), b"", user="x").target) is ToUser
    assert type(Draft("/a", (), b"", session="x").target) is ToSession

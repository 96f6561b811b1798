"""Requests taken apart."""

from __future__ import annotations

from stocksync_ws.types import HttpRequest


def test_a_query_is_decoded_and_its_first_value_counts() -> None:
    request = HttpRequest("GET", "/a?x=1&y=a%20b+c&x=2&empty=&z")
    assert request.path == "/a"
    assert request.query == {"x": "1", "y": "a b c", "empty": "", "z": ""}
    assert HttpRequest("GET", "/a").query == {}


def test_cookies_are_as_they_came_and_the_first_counts() -> None:
    headers = (("cookie", "a=1; b=x=y;c ; a=2"), ("cookie", "d=%20"))
    assert HttpRequest("GET", "/", headers).cookies == {"a": "1", "b": "x=y", "d": "%20"}
    assert HttpRequest("GET", "/").cookies == {}

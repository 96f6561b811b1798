"""Handshakes that repeat are told what they would be told if they were the first."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stocksync_ws.types import HttpRequest
from stocksync_ws.wire.answer import Answer
from stocksync_ws.wire.endpoint import Endpoint, Site, decide
from stocksync_ws.wire.repeated import LONGEST, MOST, decide_handshake
from stocksync_ws.wire.upgrade import check_handshake
from tests.wire.heads import KEY, Changes, choose, request, site

VALUES = {
    "host": ["shop.example:8000", "SHOP.example:8000", "a", "b:443", ["a", "a"], "a/b", None],
    "origin": ["http://shop.example:8000", "https://a", "http://b:443", "null", ["null"] * 2, None],
    "upgrade": ["websocket", "h2c, WebSocket", "h2c", None],
    "connection": ["Upgrade", ["keep-alive", "upgrade"], "close", "Upgrade, \xe9", None],
    "content-length": ["0", "5", None],
    "transfer-encoding": ["chunked", None],
    "sec-websocket-version": ["13", "8", ["13", "13"], None],
    "sec-websocket-protocol": ["v12.stomp", "v11.stomp, x", ["v11.stomp", "v12.stomp"], "\xe9"],
    "sec-websocket-key": [KEY, "AAAAAAAAAAAAAAAAAAAAAA==", "x", [KEY, KEY], None],
    "cookie": ["a=b", None],
}
"""What may make a difference, and a header that makes none."""


@st.composite
def requests(draw: st.DrawFn) -> HttpRequest:
    names = draw(st.lists(st.sampled_from(sorted(VALUES)), max_size=3, unique=True))
    changes: Changes = {name: draw(st.sampled_from(VALUES[name])) for name in names}
    made = request(changes, target=draw(st.sampled_from(["/ws", "/ws/", "/ws?a", "/", "/else"])))
    return replace(
        made,
        method=draw(st.sampled_from(["GET", "GET", "GET", "HEAD", "POST"])),
        http_version=draw(st.sampled_from(["1.1", "1.1", "1.0"])),
        secure=draw(st.booleans()),
    )


@pytest.mark.parametrize("name", VALUES)
def test_a_header_that_makes_a_difference_makes_it_behind_others(name: str) -> None:
    used = site(("http://shop.example:8000",))
    for value in VALUES[name]:
        for each in (request(), request({name: value})):
            fresh = site(("http://shop.example:8000",))
            assert decide_handshake(each, used) == decide(each, fresh, check_handshake)


def test_what_was_accepted_in_clear_text_is_judged_again_on_tls() -> None:
    used = site()
    headers = {"host": "a", "origin": "http://a"}
    assert isinstance(decide_handshake(request(headers), used), Endpoint)
    assert isinstance(decide_handshake(request(headers, secure=True), used), Answer)


@given(st.lists(requests(), min_size=2, max_size=8), st.sampled_from([(), ("https://a",), ("*",)]))
def test_whatever_came_before_the_verdict_is_the_same(
    came: list[HttpRequest], origins: tuple[str, ...]
) -> None:
    used = site(origins)
    for each in came:
        assert decide_handshake(each, used) == decide(each, site(origins), check_handshake)


def test_a_handshake_that_repeats_is_judged_once() -> None:
    used = site()
    first = decide_handshake(request({"sec-websocket-key": KEY}), used)
    assert isinstance(first, Endpoint)
    other = request({"sec-websocket-key": "AAAAAAAAAAAAAAAAAAAAAA=="}, target="/ws?other")
    assert decide_handshake(other, used) is first


def test_what_is_refused_is_judged_each_time() -> None:
    used = site()
    for _ in range(2):
        refused = decide_handshake(request({"origin": "https://evil.example"}), used)
        assert isinstance(refused, Answer)
        assert refused.log is not None
    assert not used._known


def test_what_a_route_decides_is_asked_each_time() -> None:
    asked: list[str] = []

    def route(request: HttpRequest, path: str) -> Endpoint:
        asked.append(path)
        return Endpoint(None, framed=True)

    used = Site(site().endpoint, choose, routes={"/live": route})
    for _ in range(2):
        assert decide_handshake(request(target="/live/a"), used) == Endpoint(None, framed=True)
    assert asked == ["/a", "/a"]


def test_so_many_are_known_and_the_oldest_is_forgotten() -> None:
    used = site(("*",))
    for number in range(MOST + 1):
        decide_handshake(request({"origin": f"http://{number}"}), used)
    assert len(used._known) == MOST
    known = list(used._known)
    assert ("origin", "http://1") in known[0]
    assert ("origin", f"http://{MOST}") in known[-1]


@pytest.mark.parametrize("length", [LONGEST // 2, LONGEST])
def test_a_long_one_is_not_kept(length: int) -> None:
    used = site(("*",))
    assert decide_handshake(request({"origin": "x" * length}), used) == Endpoint(None)
    assert len(used._known) == (length < LONGEST)

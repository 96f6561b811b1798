"""Ordinary answers: what they say, and what is told of them."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest

from stocksync_ws.counters import Counters
from stocksync_ws.types import HttpRequest
from stocksync_ws.wire.answer import Refusals, plain, refusal, show, unavailable


def test_plain() -> None:
    answer = plain(404, "No.", ("X", "y"))
    assert answer.body == b"No.\n"
    assert dict(answer.headers) == {
        "Content-Type": "text/plain; charset=utf-8",
        "Content-Length": "4",
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
        "X": "y",
    }


def test_the_second_attempts_of_a_crowd_are_spread() -> None:
    def seconds(request: HttpRequest) -> int:
        answer = unavailable(request)
        assert answer.status == 503
        return int(dict(answer.headers)["Retry-After"])

    keyed = {
        seconds(HttpRequest("GET", "/", (("sec-websocket-key", str(number)),), peer="1.2.3.4:5"))
        for number in range(200)
    }
    unkeyed = {seconds(HttpRequest("GET", "/", peer=f"1.2.3.4:{number}")) for number in range(200)}
    assert keyed == unkeyed == set(range(5, 15))
    assert seconds(HttpRequest("GET", "/")) == 5


def test_only_what_refuses_is_counted_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    counters = Counters()
    tell = Refusals().tell
    tell(plain(404, "Nothing."), counters, None, 0.0)
    assert (counters.handshakes_refused, caplog.text) == (0, "")
    tell(refusal(400, "No."), counters, None, 0.0)
    assert (counters.handshakes_refused, counters.origins_refused, caplog.text) == (1, 0, "")
    tell(refusal(400, "No.", log="a reason"), counters, "1.2.3.4:5", 0.0)
    assert counters.handshakes_refused == 2
    assert "a reason (peer 1.2.3.4:5)" in caplog.text


def test_a_crowd_is_logged_once_a_second_and_kind(caplog: pytest.LogCaptureFixture) -> None:
    refusals, counters = Refusals(), Counters()
    for now in (5.0, 5.0, 5.9, 6.0, 6.5, 9.0, 11.0):
        refusals.tell(refusal(400, "No.", log="a"), counters, "p", now)
    refusals.tell(refusal(404, "No.", log="b"), counters, "p", 11.0)
    refusals.tell(replace(plain(400, "No."), log="c"), counters, "p", 11.0)
    more = "; {} more like it were not logged"
    assert caplog.messages == [
        "a (peer p)",
        "a (peer p)" + more.format(2),
        "a (peer p)" + more.format(1),
        "a (peer p)",
        "b (peer p)",
        "c (peer p)",
    ]
    assert counters.handshakes_refused == 8


def test_a_refused_origin_counts_twice() -> None:
    counters = Counters()
    Refusals().tell(replace(plain(403, "No."), refused="origin"), counters, None, 0.0)
    assert (counters.handshakes_refused, counters.origins_refused) == (1, 1)


def test_a_refusal_is_a_plain_answer_that_counts() -> None:
    answer = refusal(426, "No.", ("Upgrade", "websocket"), log="why")
    assert answer == replace(
        plain(426, "No.", ("Upgrade", "websocket")), refused="handshake", log="why"
    )


def test_text_of_a_peer_is_shown_escaped_and_cut() -> None:
    assert show("origin:", "http://\xe9\r\n") == r"origin: 'http://\xe9\r\n'"
    assert show("origin:", None) == "origin: None"
    assert len(show("origin:", "x" * 500)) == 200

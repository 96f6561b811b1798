"""The framing of an answer on an HTTP scope: messages for a host, and nothing of HTTP itself."""

from __future__ import annotations

from typing import Any

from stocksync_ws.wire.answer import Answer
from stocksync_ws.wire.scope_http import SCOPE_FRAMING
from stocksync_ws.wire.scope_wire import ScopeChunk


def message(chunk: Any) -> dict[str, Any]:
    assert isinstance(chunk, ScopeChunk)
    return dict(chunk.message)


def test_a_stream_is_a_start_parts_and_an_empty_end() -> None:
    head = message(SCOPE_FRAMING.head((("Content-Type", "text/event-stream"),)))
    assert head["type"] == "http.response.start"
    assert head["status"] == 200
    # The host frames: there is neither a length nor a coding.
    assert head["headers"] == [(b"content-type", b"text/event-stream")]
    part = SCOPE_FRAMING.part(b"a[]\n")
    assert message(part) == {"type": "http.response.body", "body": b"a[]\n", "more_body": True}
    [end] = SCOPE_FRAMING.end()
    assert message(end)["body"] == b""
    assert not message(end).get("more_body")


def test_an_answer_that_is_whole_is_both_messages() -> None:
    headers = (("Content-Type", "text/plain"), ("Content-Length", "2"))
    start, body = SCOPE_FRAMING.answer(Answer(404, headers, b"no"))
    assert message(start)["status"] == 404
    assert (b"content-length", b"2") in message(start)["headers"]
    assert message(body)["body"] == b"no"
    assert not message(body).get("more_body")


def test_bytes_of_a_body_count_and_nothing_else_does() -> None:
    part = SCOPE_FRAMING.part(b"abc")
    assert isinstance(part, ScopeChunk)
    start, body = SCOPE_FRAMING.answer(Answer(200, (), b"four"))
    [end] = SCOPE_FRAMING.end()
    head = SCOPE_FRAMING.head(())
    sizes = [
        chunk.size for chunk in (head, part, end, start, body) if isinstance(chunk, ScopeChunk)
    ]
    assert sizes == [0, 3, 0, 0, 4]


def test_the_scope_ends_with_its_answer_and_nothing_is_begun_outside_of_a_task() -> None:
    assert SCOPE_FRAMING.last
    chunks = [SCOPE_FRAMING.head(()), SCOPE_FRAMING.part(b"x"), *SCOPE_FRAMING.end()]
    assert not any(chunk.plain for chunk in chunks if isinstance(chunk, ScopeChunk))

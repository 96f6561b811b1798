"""SockJS over what runs in this process: the in-memory world, and our own server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from carriers.running import Carrier
from carriers.sockjs import HttpPage, text_of
from carriers.stage import LocalStage
from rights_transports import *  # noqa: F403
from sockjs_answers import *  # noqa: F403
from sockjs_answers import SHOP, Serve
from sockjs_settings import *  # noqa: F403
from sockjs_suite import *  # noqa: F403


@pytest.fixture
def serve(carrier: Carrier) -> Iterator[Serve]:
    """Opens the shop; it closes with the test."""
    opened: list[LocalStage] = []

    def serve(**settings: Any) -> LocalStage:
        opened.append(LocalStage(carrier, {"sockjs": {}, "origins": [SHOP]} | settings))
        return opened[0]

    yield serve
    for stage in opened:
        stage.close()


# HTTP of our own


def test_a_client_of_http_1_0_gets_answers_that_end_with_the_stream(serve: Serve) -> None:
    stage = serve()
    browser = stage.browser()
    greeting = browser.ask("GET", "/ws", version="1.0")
    assert (greeting.status, greeting.body) == (200, b"Welcome to SockJS!\n")
    assert "transfer-encoding" not in greeting.headers
    page = stage.page("xhr")
    assert isinstance(page, HttpPage)
    opened = browser.ask("POST", page.path("xhr"), version="1.0")
    assert opened.body == b"o\n"
    connect = f'["{text_of("CONNECT", {"accept-version": "1.2", "host": "x"})}"]'
    body = connect.replace("\n", "\\n").replace("\0", "\\u0000").encode()
    assert browser.ask("POST", page.path("xhr_send"), body, version="1.0").status == 204
    stream = browser.begin("POST", page.path("xhr_streaming"), version="1.0")
    assert "transfer-encoding" not in stream.head().headers
    close = f'["{text_of("SEND", {"destination": "/app/close/4501"})}"]'
    body = close.replace("\n", "\\n").replace("\0", "\\u0000").encode()
    assert browser.ask("POST", page.path("xhr_send"), body, version="1.0").status == 204
    read = b"".join(iter(stream.chunk, b""))
    prelude, connected, closed, rest = read.split(b"\n")
    assert prelude == b"h" * 2_048
    assert connected.startswith(b'a["CONNECTED')
    assert closed.startswith(b"c[4501,")
    assert rest == b""

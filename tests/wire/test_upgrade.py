"""The opening handshake of HTTP/1.1, and rows H of the threat list that are its mechanics."""

from __future__ import annotations

from pathlib import Path

import pytest

from stocksync_ws.wire import upgrade
from stocksync_ws.wire.answer import Answer
from stocksync_ws.wire.endpoint import decide
from stocksync_ws.wire.upgrade import accept_key, check_handshake
from tests.wire.heads import KEY, Changes, request, site, status

ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
EVIL = "https://evil.example"

ROWS: dict[str, tuple[Changes, int]] = {
    "H4 Connection not ASCII": ({"connection": "Upgrade, \xe9"}, 400),
    "H5 extensions not ASCII": ({"sec-websocket-extensions": "\xe9"}, 101),
    "H6 bad window bits": (
        {"sec-websocket-extensions": "permessage-deflate; client_max_window_bits=abc"},
        101,
    ),
    "H7 endless window bits": (
        {"sec-websocket-extensions": "permessage-deflate; client_max_window_bits=" + "9" * 5000},
        101,
    ),
    "H8 unknown parameter": ({"sec-websocket-extensions": "permessage-deflate; foo=1"}, 101),
    "H9 key x": ({"sec-websocket-key": "x"}, 400),
    "H9 key empty": ({"sec-websocket-key": ""}, 400),
    "H9 key too long": ({"sec-websocket-key": KEY + "="}, 400),
    "H9 no key": ({"sec-websocket-key": None}, 400),
    "H9 key twice": ({"sec-websocket-key": [KEY, KEY]}, 400),
    "H9 key of 15 bytes": ({"sec-websocket-key": "dGhlIHNhbXBsZSBub25j"}, 400),
    "H9 key not base64": ({"sec-websocket-key": "dGhlIHNhbXBsZSBub25j!!=="}, 400),
    "H9 key not ASCII": ({"sec-websocket-key": "\xe9" * 22 + "=="}, 400),
    "H11 length": ({"content-length": "5"}, 400),
    "H11 length 0": ({"content-length": "0"}, 101),
    "H11 chunked": ({"transfer-encoding": "chunked"}, 400),
    "H16 version 8": ({"sec-websocket-version": "8"}, 426),
    "H16 no version": ({"sec-websocket-version": None}, 426),
    "H16 two versions": ({"sec-websocket-version": ["13", "13"]}, 426),
    "version not ASCII": ({"sec-websocket-version": "1\xb3"}, 400),
    "H17 other upgrade": ({"connection": "keep-alive", "upgrade": "notwebsocket"}, 426),
    "H17 no upgrade": ({"upgrade": None}, 426),
    "H17 token, not substring": ({"connection": "notupgrade"}, 400),
    "H17 no Connection": ({"connection": None}, 400),
    "one of two Connection lines": ({"connection": ["keep-alive", "upgrade"]}, 101),
    "one of two upgrades": ({"upgrade": "h2c, websocket"}, 101),
}


@pytest.mark.parametrize("target", ["/ws", "/ws/", "/ws?token=x", "/ws/?"])
def test_a_good_handshake(target: str) -> None:
    assert check_handshake(request(target=target)) is None
    assert accept_key(request(target=target)) == ACCEPT


@pytest.mark.parametrize("name", ROWS)
def test_rows(name: str) -> None:
    changes, expected = ROWS[name]
    assert status(request(changes)) == expected
    answer = check_handshake(request(changes))
    assert (101 if answer is None else answer.status) == expected


def test_h10_http_1_0() -> None:
    answer = decide(request(version="1.0"), site(), check_handshake)
    assert isinstance(answer, Answer)
    assert (answer.status, answer.refused) == (505, "handshake")
    assert "proxy_http_version" in (answer.log or "")
    assert status(request({"upgrade": None, "host": None}, version="1.0")) == 426
    assert status(request({"host": None}, version="1.1")) == 400


def test_h16_names_the_version_it_speaks() -> None:
    answer = check_handshake(request({"sec-websocket-version": "8"}))
    assert answer is not None
    assert ("Sec-WebSocket-Version", "13") in answer.headers


def test_the_endpoint_without_an_upgrade() -> None:
    answer = decide(request({"upgrade": None}), site(), check_handshake)
    assert isinstance(answer, Answer)
    assert (answer.status, answer.refused, answer.close) == (426, None, False)
    assert ("Upgrade", "websocket") in answer.headers
    assert b"WebSocket client" in answer.body
    head = decide(request(method="HEAD"), site(), check_handshake)
    assert isinstance(head, Answer)
    assert (head.status, head.body, head.headers) == (426, b"", answer.headers)


@pytest.mark.parametrize("method", ["POST", "OPTIONS", "CONNECT", "get"])
def test_other_methods(method: str) -> None:
    for changes, refused in (({"upgrade": None}, None), ({}, "handshake")):
        answer = decide(request(changes, method=method), site(), check_handshake)
        assert isinstance(answer, Answer)
        assert (answer.status, answer.refused) == (405, refused)
        assert ("Allow", "GET, HEAD") in answer.headers
        assert answer.close is (refused is not None)


ORDER: dict[str, tuple[Changes, str, bytes]] = {
    "plain GET, another site": ({"upgrade": None, "origin": EVIL}, "1.1", b"This is a WebSocket"),
    "1.0, another site": ({"origin": EVIL}, "1.0", b"A WebSocket needs HTTP/1.1."),
    "1.0, not ASCII": ({"connection": "\xe9"}, "1.0", b"A WebSocket needs HTTP/1.1."),
    "Origin not ASCII, no Connection": (
        {"origin": "\xe9", "connection": None},
        "1.1",
        b"A header is not ASCII.",
    ),
    "no Connection, a body": (
        {"connection": None, "content-length": "5"},
        "1.1",
        b"The header Connection",
    ),
    "a body, version 8": (
        {"content-length": "5", "sec-websocket-version": "8"},
        "1.1",
        b"An upgrade must not have a body.",
    ),
    "version 8, no key": (
        {"sec-websocket-version": "8", "sec-websocket-key": None},
        "1.1",
        b"Only WebSocket version 13",
    ),
    "no key, another site": ({"sec-websocket-key": None, "origin": EVIL}, "1.1", b"Sec-WebSocket-"),
    "another site, no subprotocol": (
        {"origin": EVIL, "sec-websocket-protocol": "a b"},
        "1.1",
        b"The origin of this page",
    ),
    "no Host, plain GET": (
        {"upgrade": None, "host": None},
        "1.1",
        b"There must be one header Host",
    ),
}
"""Two faults each, and the one that is told."""


@pytest.mark.parametrize("name", ORDER)
def test_of_two_faults_the_same_one_is_told_as_ever(name: str) -> None:
    changes, version, text = ORDER[name]
    answer = decide(request(changes, version=version), site(), check_handshake)
    assert isinstance(answer, Answer)
    assert answer.body.startswith(text)


def test_only_who_answers_plain_http_reads_a_handshake() -> None:
    """The byte connection, what a host passes on without a WebSocket, and the head of a WSGI
    environ.
    """
    root = Path(upgrade.__file__).parents[1]
    users = {
        str(file.relative_to(root))
        for file in root.rglob("*.py")
        if "stocksync_ws.wire.upgrade" in file.read_text()
    }
    assert users == {"asgi/gateway.py", "wire/connection.py", "wire/repeated.py", "wsgi.py"}

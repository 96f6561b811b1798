"""A WebSocket scope: who may come in, what is one message, and how it says that it is over."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from stocksync_ws.codes import CloseCode, DisconnectReason
from stocksync_ws.config import Limits
from stocksync_ws.counters import Counters
from stocksync_ws.types import Alive, Closed, Event, Handshake, HttpRequest, Message
from stocksync_ws.wire.answer import plain
from stocksync_ws.wire.endpoint import Carrier, Endpoint, Site
from stocksync_ws.wire.scope import ScopeConnection, answer_messages, refusal_messages, request_of
from stocksync_ws.wire.scope_wire import Batcher, ScopeWire
from tests.wire.heads import site

EXTENDED = {"websocket.http.response": {}}


def scope_of(**changes: Any) -> dict[str, Any]:
    scope = {
        "type": "websocket",
        "http_version": "1.1",
        "scheme": "ws",
        "path": "/ws",
        "query_string": b"",
        "headers": [(b"host", b"shop.example:8000")],
        "client": ("1.2.3.4", 5),
        "subprotocols": ["v12.stomp"],
    }
    return scope | changes


def connection(
    where: Site | None = None,
    *,
    counters: Counters | None = None,
    refused: bool = False,
    batcher: Batcher | None = None,
    **changes: Any,
) -> ScopeConnection:
    request = request_of(scope_of(**changes), changes.get("path", "/ws"))
    return ScopeConnection(
        where or site(),
        request,
        Limits(),
        counters or Counters(),
        batcher=batcher,
        refused=refused,
    )


def handshake(made: ScopeConnection) -> Handshake:
    [event] = made.start(0.0)
    assert isinstance(event, Handshake)
    return event


def opened(made: ScopeConnection | None = None) -> tuple[ScopeConnection, ScopeWire]:
    made = made or connection()
    asked = handshake(made)
    assert made.accept(asked, 0.0) == []
    made.take()
    assert isinstance(asked.wire, ScopeWire)
    return made, asked.wire


def messages(made: ScopeConnection) -> list[Mapping[str, Any]]:
    return [chunk.message for chunk in made.take()]


def ended(events: list[Event]) -> tuple[int, str, DisconnectReason | None]:
    [closed] = events
    assert isinstance(closed, Closed)
    assert not closed.ours
    return closed.code, closed.reason, closed.cause


def test_what_comes_before_the_verdict_is_kept_and_the_host_keeps_what_follows() -> None:
    made = connection()
    asked = handshake(made)
    assert made.receive(b"CONNECT", 0.0) == []
    assert made.held
    [event] = made.accept(asked, 0.0)
    assert isinstance(event, Message)
    assert (event.payload, made.held) == (b"CONNECT", False)
    refused = connection()
    asked = handshake(refused)
    refused.receive(b"CONNECT", 0.0)
    assert refused.refuse(asked, 401, "no", 0.0) == []
    assert refused.receive(b"more", 0.0) == []


# Requests


def test_a_request_has_what_the_scope_says() -> None:
    scope = scope_of(
        scheme="wss",
        query_string=b"a=1&b=%20",
        headers=[(b"Host", b"shop.example"), (b"x-blank", b" \tv\xe9 ")],
        session={"cart": 3},
        user="ann",
    )
    request = request_of(scope, "/ws")
    assert (request.method, request.target, request.path) == ("GET", "/ws?a=1&b=%20", "/ws")
    assert request.get("host") == "shop.example"
    assert request.get("x-blank") == "vé"
    assert (request.peer, request.secure, request.http_version) == ("1.2.3.4:5", True, "1.1")
    assert request.scope is scope
    assert (request.session, request.user) == ({"cart": 3}, "ann")


def test_a_request_of_a_socket_has_neither_session_nor_user() -> None:
    request = HttpRequest("GET", "/ws")
    assert (request.scope, request.session, request.user) == (None, None, None)
    assert request_of(scope_of(), "/ws").session is None
    assert request_of(scope_of(), "/ws").user is None


def test_a_scope_may_leave_out_what_is_optional() -> None:
    scope = {"type": "http", "headers": [], "method": "POST", "client": None}
    request = request_of(scope, "/ws")
    assert (request.method, request.target, request.peer) == ("POST", "/ws", None)
    assert (request.http_version, request.secure) == ("1.1", False)


def test_a_decoded_path_is_encoded_again() -> None:
    assert request_of(scope_of(), "/a b/ü?#%").path == "/a%20b/%C3%BC%3F%23%25"
    assert request_of(scope_of(), "/a!$&'()*+,;=:@-._~").path == "/a!$&'()*+,;=:@-._~"


@pytest.mark.parametrize("header", [None, b"v12.stomp", b"forged"])
def test_protocols_are_those_of_the_scope_whatever_headers_there_are(
    header: bytes | None,
) -> None:
    """Pitfall 1: some hosts take the headers of the handshake away."""
    headers = [(b"host", b"a")]
    if header is not None:
        headers.append((b"sec-websocket-protocol", header))
    made = connection(headers=headers, subprotocols=["x", "v11.stomp"])
    asked = handshake(made)
    assert asked.subprotocol == "v11.stomp"
    assert asked.request.get("sec-websocket-protocol") == "x, v11.stomp"
    made.accept(asked, 0.0)
    assert messages(made) == [{"type": "websocket.accept", "subprotocol": "v11.stomp"}]


@pytest.mark.parametrize("subprotocols", [[], None])
def test_where_the_scope_has_no_protocols_a_header_of_that_name_is_none(
    subprotocols: list[str] | None,
) -> None:
    headers = [(b"host", b"a"), (b"sec-websocket-protocol", b"v12.stomp")]
    assert handshake(connection(headers=headers, subprotocols=subprotocols)).subprotocol is None


def test_a_request_of_plain_http_keeps_its_headers() -> None:
    headers = [(b"sec-websocket-protocol", b"v12.stomp")]
    request = request_of(scope_of(type="http", headers=headers), "/ws")
    assert request.get("sec-websocket-protocol") == "v12.stomp"


# The handshake


@pytest.mark.parametrize("version", ["1.1", "2"])
def test_a_scope_needs_nothing_of_the_mechanics(version: str) -> None:
    """Pitfall 2: neither Connection nor Upgrade, key or version."""
    made = connection(http_version=version)
    asked = handshake(made)
    assert not made.shut
    made.accept(asked, 0.0)
    assert messages(made) == [{"type": "websocket.accept", "subprotocol": "v12.stomp"}]
    assert not made.shut


REFUSALS = {
    "origin": ({"headers": [(b"host", b"a"), (b"origin", b"https://evil")]}, 403),
    "host": ({"headers": [(b"host", b"a/b")]}, 400),
    "path": ({"path": "/other"}, 404),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_who_may_not_come_in_is_refused_as_the_host_can(name: str) -> None:
    changes, status = REFUSALS[name]
    extended = connection(extensions=EXTENDED, **changes)
    assert extended.start(0.0) == []
    assert extended.shut
    chunks = extended.take()
    assert [chunk.last for chunk in chunks] == [False, True]
    assert not any(chunk.plain for chunk in chunks)
    start, body = (chunk.message for chunk in chunks)
    assert (start["type"], start["status"]) == ("websocket.http.response.start", status)
    assert dict(start["headers"])[b"cache-control"] == b"no-store"
    assert body["type"] == "websocket.http.response.body"
    assert body["body"]

    plain_host = connection(extensions=None, **changes)
    assert plain_host.start(0.0) == []
    [chunk] = plain_host.take()
    assert chunk.message == {"type": "websocket.close", "code": 1008}
    assert (chunk.plain, chunk.last, plain_host.shut) == (False, True, True)


def test_a_refusal_is_counted_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    counters = Counters()
    headers = [(b"host", b"a"), (b"origin", b"https://evil")]
    connection(counters=counters, headers=headers).start(0.0)
    assert (counters.handshakes_refused, counters.origins_refused) == (1, 1)
    assert "evil'; Host: 'a'; if that page is yours" in caplog.text


def test_a_carrier_is_nothing_for_a_websocket() -> None:
    def route(request: HttpRequest, rest: str) -> Carrier:
        return Carrier(lambda *_: pytest.fail("it was opened"))

    where = Site(site().endpoint, site().choose_subprotocol, {}, {"/live": route})
    made = connection(where, path="/live/1/xhr", extensions=EXTENDED)
    assert made.start(0.0) == []
    assert messages(made)[0]["status"] == 404


def test_a_framed_one_is_told_that_it_is_open_behind_the_handshake() -> None:
    def route(request: HttpRequest, rest: str) -> Endpoint:
        return Endpoint(None, framed=True)

    where = Site(site().endpoint, site().choose_subprotocol, {}, {"/live": route})
    made = connection(where, path="/live/1/a/websocket")
    asked = handshake(made)
    assert made.accept(asked, 0.0) == []
    assert [each["type"] for each in messages(made)] == ["websocket.accept", "websocket.send"]
    assert made.accept(asked, 0.0) == []
    assert messages(made) == []
    # One message may hold many, each of the size of a plain one.
    [one, two] = made.receive(b'["a", "b"]', 0.0)
    assert isinstance(one, Message)
    assert isinstance(two, Message)
    assert (one.payload, two.payload) == (b"a", b"b")
    limits = Limits()
    largest = b'["%b"]' % (b"x" * limits.max_message_size)
    [large] = made.receive(largest, 0.0)
    assert isinstance(large, Message)
    [closed] = made.receive(bytes(limits.sockjs_body + 1), 0.0)
    assert isinstance(closed, Closed)
    assert (closed.code, closed.ours) == (CloseCode.TOO_BIG, True)


def test_it_brings_no_posts() -> None:
    made, _ = opened()
    assert made.resume(0.0) == []
    assert messages(made) == []


def test_one_that_is_not_available_says_503() -> None:
    counters = Counters()
    made = connection(counters=counters, refused=True, extensions=EXTENDED)
    assert made.start(0.0) == []
    start = messages(made)[0]
    assert start["status"] == 503
    assert 5 <= int(dict(start["headers"])[b"retry-after"]) < 15
    assert (counters.connections_refused, counters.handshakes_refused) == (1, 0)


def test_a_verdict_may_come_later_and_counts_once() -> None:
    counters = Counters()
    made = connection(counters=counters, extensions=EXTENDED)
    asked = handshake(made)
    assert made.receive(b"early", 0.0) == []
    assert made.refuse(asked, 401, "Who are you?", 0.0) == []
    assert counters.handshakes_refused == 1
    start, body = messages(made)
    assert (start["status"], body["body"]) == (401, b"Who are you?\n")
    assert made.shut
    assert made.refuse(asked, 401, "Who are you?", 0.0) == []
    assert made.accept(asked, 0.0) == []
    assert messages(made) == []
    assert counters.handshakes_refused == 1
    assert made.lost(0.0) == []


def test_a_client_that_has_gone_gets_no_verdict() -> None:
    made = connection()
    asked = handshake(made)
    assert ended(made.lost(0.0)) == (1006, "", DisconnectReason.CONNECTION_LOST)
    assert made.accept(asked, 0.0) == []
    assert made.refuse(asked, 403, "No.", 0.0) == []
    assert messages(made) == []


# Messages in


def test_one_message_is_one_event() -> None:
    made, wire = opened()
    [event] = made.receive(b"SEND\n\n\0", 0.0)
    assert isinstance(event, Message)
    assert (event.wire, event.payload) == (wire, b"SEND\n\n\0")
    [event] = made.receive(b"", 0.0)
    assert isinstance(event, Alive)
    assert event.wire is wire


def test_a_message_over_the_limit_closes_with_1009_once() -> None:
    """Pitfall 16, our half: the host bounds what it buffers, we what we take."""
    made, wire = opened()
    limit = Limits().max_message_size
    [event] = made.receive(bytes(limit), 0.0)
    assert isinstance(event, Message)
    [event] = made.receive(bytes(limit + 1), 0.0)
    assert isinstance(event, Closed)
    assert (event.wire, event.ours, event.code) == (wire, True, CloseCode.TOO_BIG)
    assert event.cause is None
    assert wire.began == bytes(32)
    assert made.receive(b"more", 0.0) == []
    assert ended(made.lost(0.0))[0] == 1006


def test_what_comes_behind_our_close_is_not_heard() -> None:
    made, wire = opened()
    wire.close(1000, "")
    assert made.receive(b"late", 0.0) == []


# The end

ENDS: dict[str, tuple[dict[str, Any], tuple[int, str, DisconnectReason]]] = {
    "closed by the client": ({"code": 1001, "reason": "away"}, (1001, "away", "peer_closed")),
    "no code in its close": ({"code": 1005, "reason": ""}, (1005, "", "peer_closed")),
    "lost, as a host says that": ({"code": 1005}, (1005, "", "connection_lost")),
    "lost, as another says that": ({"code": 1006}, (1006, "", "connection_lost")),
    "lost, with a word about it": ({"code": 1006, "reason": "x"}, (1006, "x", "connection_lost")),
    "no code at all": ({}, (1005, "", "connection_lost")),
    "no reason": ({"code": 1000, "reason": None}, (1000, "", "peer_closed")),
    "the host stops": ({"code": 1012}, (1012, "", "server_shutdown")),
    "the client says 1012": ({"code": 1012, "reason": ""}, (1012, "", "peer_closed")),
}


@pytest.mark.parametrize("name", ENDS)
def test_it_says_who_ended_it(name: str) -> None:
    """Pitfall 14: hosts have many codes for the same event."""
    message, (code, reason, cause) = ENDS[name]
    made, _ = opened()
    made.gone({"type": "websocket.disconnect", **message})
    assert ended(made.lost(0.0)) == (code, reason, DisconnectReason(cause))
    assert made.shut
    assert made.lost(0.0) == []


def test_output_that_was_not_taken_is_forgotten_at_the_end() -> None:
    made = connection()
    made.accept(handshake(made), 0.0)
    made.lost(0.0)
    assert made.take() == []


def test_it_keeps_no_time_and_nothing_of_a_poll() -> None:
    made, wire = opened()
    assert (made.deadline, made.held) == (None, False)
    assert made.wake(0.0) == []
    assert made.detach(0.0) == []
    assert wire.ping() is None  # type: ignore[func-returns-value]


# Answers


def test_an_answer_is_two_messages() -> None:
    answer = plain(404, "Nothing.", ("Allow", "GET"))
    start, body = answer_messages(answer, "http.response")
    assert (start["type"], start["status"]) == ("http.response.start", 404)
    assert start["headers"][-1] == (b"allow", b"GET")
    assert body == {"type": "http.response.body", "body": b"Nothing.\n"}


def test_a_refusal_of_a_scope_is_an_answer_where_the_host_has_one() -> None:
    answer = plain(503, "Not now.")
    extended = refusal_messages(answer, scope_of(extensions=EXTENDED))
    assert [each["type"] for each in extended] == [
        "websocket.http.response.start",
        "websocket.http.response.body",
    ]
    for scope in (scope_of(), scope_of(extensions=None), scope_of(extensions={"tls": {}}), None):
        assert refusal_messages(answer, scope) == [{"type": "websocket.close", "code": 1008}]

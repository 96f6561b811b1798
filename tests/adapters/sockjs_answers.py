"""SockJS, request by request: paths, methods, headers and bodies, as they are seen from outside.
Collected where a fixture `serve` says over what; sessions are in `sockjs_suite.py`.

Rule: only bytes that come and go are looked at, and what the application was told.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import pytest
from carriers.sockjs import TRANSPORTS, Answer, HttpPage, Page, text_of
from carriers.stage import Stage

Serve = Callable[..., Stage]
"""Settings of the shop, to the stage it runs on; it has SockJS, for pages of `SHOP`."""

SHOP = "https://shop.example"
NOT_CACHED = "no-store, no-cache, no-transform, must-revalidate, max-age=0"
TEXT = "text/plain; charset=UTF-8"
SCRIPT = "application/javascript; charset=UTF-8"
KINDS = {"xhr": SCRIPT, "xhr_streaming": SCRIPT, "eventsource": "text/event-stream"}
POSTED = ["xhr", "xhr_streaming", "xhr_send"]
"""Transports that are asked by POST, and so by a preflight before."""


def first(stage: Stage, transport: str, **headers: str) -> tuple[Page, Answer]:
    """A session that has been begun, and the head of the first answer."""
    page = stage.page(transport, **headers)
    assert isinstance(page, HttpPage)
    if transport == "xhr":
        answer = page.browser.ask("POST", page.path("xhr"), **headers)
        assert answer.body == b"o\n"
        return page, answer
    head = page.listen()
    return page.open(), head


# Without a session


@pytest.mark.parametrize("path", ["/ws", "/ws/"])
def test_the_greeting(serve: Serve, path: str) -> None:
    browser = serve().browser()
    for _ in range(2):
        answer = browser.ask("GET", path, Cookie="JSESSIONID=abc")
        assert (answer.status, answer.body) == (200, b"Welcome to SockJS!\n")
        assert answer.headers["content-type"] == TEXT
        assert "set-cookie" not in answer.headers


def test_info_is_new_each_time_and_comes_at_once(serve: Serve) -> None:
    browser = serve().browser()
    seen: set[int] = set()
    took: list[float] = []
    for _ in range(5):
        begun = time.monotonic()
        answer = browser.ask("GET", "/ws/info?t=1", Origin=SHOP)
        took.append(time.monotonic() - begun)
        assert answer.status == 200
        assert answer.headers["content-type"] == "application/json; charset=UTF-8"
        assert answer.headers["cache-control"] == NOT_CACHED
        assert not {"set-cookie", "expires", "last-modified"} & answer.headers.keys()
        info = json.loads(answer.body)
        entropy = info.pop("entropy")
        assert info == {"websocket": True, "cookie_needed": False, "origins": ["*:*"]}
        assert isinstance(entropy, int)
        assert 0 <= entropy < 2**32
        seen.add(entropy)
    assert len(seen) == 5
    # The client derives all its time limits from it.
    assert min(took) < 0.1


NOTHING = [
    "//",
    "///",
    "/a",
    "/a.html",
    "/a/",
    "/a/a",
    "/a/a/",
    "/INFO",
    "/info/",
    "/info;a",
    "/websocket/",
    "/iframe",
    "/iframe.htm",
    "/iframe-/.html",
    "/IFRAME.HTML",
    "/a/a/a",
    "/a/a/a/xhr",
    "//s/xhr",
    "/a//xhr",
    "/a/s/xhr/",
    "/a.b/s/xhr",
    "/a/s.t/xhr",
    "/a/s/xhr;setup.bat",
    "/a/s;t/xhr",
    "/a/s%3Bt/xhr",
    "/a/s%2Ft/xhr",
    "/a/s/XHR",
]
OFF = ["/iframe.html", "/iframe-1.6.1.html", "/a/s/htmlfile?c=f", "/a/s/jsonp?c=f"]


def test_a_path_that_does_not_fit_is_404(serve: Serve) -> None:
    browser = serve().browser()
    for path in NOTHING + OFF + ["/a/s/jsonp_send"]:
        for method in ("GET", "POST"):
            answer = browser.ask(method, "/ws" + path)
            assert answer.status == 404, (method, path, answer)


WRONG = [
    ("PUT", "/info", "OPTIONS, GET"),
    ("POST", "/info", "OPTIONS, GET"),
    ("POST", "/websocket", "GET"),
    ("POST", "/a/s/websocket", "GET"),
    ("POST", "/a/s/eventsource", "GET"),
    ("OPTIONS", "/a/s/eventsource", "GET"),
    ("GET", "/a/s/xhr", "OPTIONS, POST"),
    ("DELETE", "/a/s/xhr_streaming", "OPTIONS, POST"),
    ("GET", "/a/s/xhr_send", "OPTIONS, POST"),
]


def test_a_wrong_method_is_405_without_a_word(serve: Serve) -> None:
    browser = serve().browser()
    for method, path, allowed in WRONG:
        answer = browser.ask(method, "/ws" + path)
        assert (answer.status, answer.body) == (405, b""), (method, path, answer)
        assert answer.headers["allow"] == allowed
        assert "content-type" not in answer.headers


@pytest.mark.parametrize("path", ["/ws/websocket", "/ws/a/s/websocket"])
def test_a_websocket_has_to_be_asked_for(serve: Serve, path: str) -> None:
    answer = serve().browser().ask("GET", path)
    assert (answer.status, answer.body) == (400, b'Can "Upgrade" only to "WebSocket".\n')


def test_a_preflight_is_cached_for_a_year(serve: Serve) -> None:
    browser = serve().browser()
    for path in ["info", *(f"a/s/{each}" for each in POSTED)]:
        names = {"Access_Control_Request_Headers": "x-a, content-type"}
        answer = browser.ask("OPTIONS", f"/ws/{path}", Origin=SHOP, **names)
        assert (answer.status, answer.body) == (204, b"")
        headers = answer.headers
        assert headers["cache-control"] == "public, max-age=31536000"
        assert "expires" in headers
        assert headers["access-control-max-age"] == "31536000"
        assert headers["access-control-allow-methods"] == (
            "OPTIONS, GET" if path == "info" else "OPTIONS, POST"
        )
        assert headers["access-control-allow-origin"] == SHOP
        assert headers["access-control-allow-credentials"] == "true"
        assert headers["access-control-allow-headers"] == "x-a, content-type"
        plain = browser.ask("OPTIONS", f"/ws/{path}", Origin=SHOP)
        assert "access-control-allow-headers" not in plain.headers


# Origins


def test_a_foreign_origin_gets_nothing(serve: Serve) -> None:
    stage = serve()
    browser = stage.browser()
    page = stage.page("xhr").connect()
    assert isinstance(page, HttpPage)
    refused = 0
    for method, path in [
        ("GET", "/ws/info"),
        ("OPTIONS", "/ws/info"),
        ("POST", page.path("xhr")),
        ("POST", page.path("xhr_streaming")),
        ("GET", page.path("eventsource")),
        ("OPTIONS", page.path("xhr_send")),
    ]:
        answer = browser.ask(method, path, Origin="https://evil.example")
        assert answer.status == 403, (method, path, answer)
        assert "access-control-allow-origin" not in answer.headers
        refused += 1
    # A post without a preflight: it must not have happened.
    evil = json.dumps([text_of("SEND", {"destination": "/topic/say"}, "evil")]).encode()
    target = page.path("xhr_send")
    answer = browser.ask("POST", target, evil, Origin="https://evil.example", Content_Type="T")
    assert answer.status == 403
    refused += 1
    for target in ("/ws/websocket", "/ws/a/s/websocket"):
        with pytest.raises(AssertionError, match="403"):
            stage.open().upgrade(target=target, Origin="https://evil.example")
        refused += 1
    assert stage.counters()["origins_refused"] == refused
    page.subscribe("/topic/say").say("good")
    assert page.message().body == b"good"


def judge(stage: Stage, origin: str | None, answer: Answer) -> None:
    """Headers of an answer of a session, to a page of an origin."""
    headers = answer.headers
    assert headers["cache-control"] == NOT_CACHED
    assert not {"expires", "last-modified", "set-cookie"} & headers.keys()
    assert "Origin" in headers["vary"]
    assert headers["access-control-allow-origin"] == (origin or "*")
    assert headers.get("access-control-allow-credentials") == ("true" if origin else None)


@pytest.mark.parametrize("origin", [None, SHOP])
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_the_headers_of_a_session(serve: Serve, transport: str, origin: str | None) -> None:
    stage = serve()
    page, head = first(stage, transport, **({} if origin is None else {"Origin": origin}))
    assert isinstance(page, HttpPage)
    assert head.status == 200
    judge(stage, origin, head)
    assert head.headers["content-type"] == KINDS[transport]
    sent = page.try_post("\n")
    judge(stage, origin, sent)
    assert (sent.status, sent.headers["content-type"], sent.body) == (204, TEXT, b"")
    if transport != "xhr":
        assert head.headers["x-accel-buffering"] == "no"
        assert "content-length" not in head.headers


def test_cookies_for_sticky_balancers(serve: Serve) -> None:
    stage = serve(sockjs={"cookie": True})
    browser = stage.browser()
    info = browser.ask("GET", "/ws/info", Cookie="JSESSIONID=abc")
    assert json.loads(info.body)["cookie_needed"] is True
    assert "set-cookie" not in info.headers
    assert "set-cookie" not in browser.ask("GET", "/ws").headers
    for value, seen in (("JSESSIONID=abc", "abc"), ("a=b", "dummy"), ("JSESSIONID=a b", "dummy")):
        for transport in TRANSPORTS:
            page, head = first(stage, transport, Cookie=value)
            assert isinstance(page, HttpPage)
            for answer in (head, page.try_post("\n")):
                assert answer.headers["set-cookie"] == f"JSESSIONID={seen}; path=/"


# Posts


def raw(page: Page, body: bytes, **headers: str) -> tuple[int, bytes]:
    """The answer to any body."""
    assert isinstance(page, HttpPage)
    answer = page.browser.ask("POST", page.path("xhr_send"), body, **headers)
    return answer.status, answer.body


def test_a_broken_post_is_told_and_ends_nothing(serve: Serve) -> None:
    stage = serve()
    page = stage.page("xhr_streaming").connect().subscribe("/topic/say")
    say = text_of("SEND", {"destination": "/topic/say"}, "never")
    for body in (b'["x', b"x", b'["\xff"]', b'["\\ud800"]', f'["{say}"'.encode()):
        assert raw(page, body) == (500, b"Broken JSON encoding.\n")
    for other in ("{}", "1", "null", '"x"', '["x",1]', json.dumps([say, 1]), json.dumps([[say]])):
        assert raw(page, other.encode()) == (500, b"Payload expected.\n")
    assert raw(page, b"") == (500, b"Payload expected.\n")
    assert raw(page, b"", Content_Length="") == (500, b"Payload expected.\n")
    assert raw(page, b"[]") == (204, b"")
    for kind in ("text/plain", "T", "application/json", "text/xml; charset=x", ""):
        page.say(kind, "/topic/say")
        assert page.message().body == kind.encode()
        assert raw(page, b'["\\n"]', Content_Type=kind) == (204, b"")


def test_a_post_over_a_bound_is_413_and_nothing_of_it_is_taken(serve: Serve) -> None:
    stage = serve()
    page = stage.page("xhr_streaming").connect().subscribe("/topic/say")
    say = text_of("SEND", {"destination": "/topic/say"}, "never")
    assert raw(page, json.dumps([say, *["\n"] * 4_096]).encode())[0] == 413
    assert raw(page, json.dumps([say, "x" * 100_000]).encode())[0] == 413
    # An answer while the body is on its way must not be lost; nothing more is sent on that way.
    assert isinstance(page, HttpPage)
    large = json.dumps([say]).encode() + b" " * 1_048_576
    assert stage.browser().ask("POST", page.path("xhr_send"), large).status == 413
    page.say("still here")
    assert page.message().body == b"still here"


def test_a_post_may_come_in_chunks(serve: Serve) -> None:
    stage = serve()
    page = stage.page("xhr_streaming").connect().subscribe("/topic/say")
    body = json.dumps([text_of("SEND", {"destination": "/topic/say"}, "in chunks")]).encode()
    parts = [body[:10], body[10:11], body[11:], b""]
    coded = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts)
    headers = {"Content_Length": "", "Transfer_Encoding": "chunked"}
    if not stage.reads_chunks:
        assert raw(page, coded, **headers) == (500, b"Payload expected.\n")
        return
    assert raw(page, coded, **headers) == (204, b"")
    assert page.message().body == b"in chunks"


def test_a_post_that_is_cut_has_no_effect(serve: Serve) -> None:
    stage = serve()
    page = stage.page("xhr_streaming").connect().subscribe("/topic/say")
    assert isinstance(page, HttpPage)
    body = json.dumps([text_of("SEND", {"destination": "/topic/say"}, "never")]).encode()
    for cut in ("reset", "close", "half_close"):
        for part in (body[:-1], body):
            length = str(len(body) + 1)
            http = page.browser.begin("POST", page.path("xhr_send"), part, Content_Length=length)
            getattr(http.pipe, cut)()
    page.say("whole")
    assert page.message().body == b"whole"


def test_a_session_that_nobody_has_opened_is_404(serve: Serve) -> None:
    page = serve().page("xhr")
    assert isinstance(page, HttpPage)
    answer = page.try_post("\n")
    assert (answer.status, answer.headers["access-control-allow-origin"]) == (404, "*")
    # And it was not opened by that.
    assert page.try_post("\n").status == 404
    assert page.frame() == "o"

"""Headers of SockJS: origins, caching, cookies; names of callbacks; addresses."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from stocksync_ws import SockJSOptions
from tests.wire.sockjs.client import NEVER_CACHED, OF_A_SESSION, UPGRADE, Answer, Web

POSTS = ("xhr", "xhr_streaming", "xhr_send")


@pytest.fixture
def web() -> Iterator[Web]:
    with Web() as web:
        yield web


def open_session(web: Web, name: str = "s", **headers: str) -> Answer:
    answer = web.ask("POST", f"/0/{name}/xhr", headers=headers)
    assert answer.body == b"o\n"
    return answer


class TestOrigins:
    @pytest.mark.parametrize(("method", "path"), [("GET", "info"), *OF_A_SESSION])
    @pytest.mark.parametrize("origin", ["https://a.example", "http://a.example:8080", "null"])
    def test_an_origin_is_echoed(self, web: Web, method: str, path: str, origin: str) -> None:
        if path.endswith("_send"):
            open_session(web)
        below = "/info" if path == "info" else f"/0/s/{path}"
        body = "[]" if path == "xhr_send" else "d=[]"
        answer = web.ask(
            method, below, body if path.endswith("_send") else None, {"Origin": origin}
        )
        assert answer.status in (200, 204)
        assert answer.get("access-control-allow-origin") == origin
        assert answer.get("access-control-allow-credentials") == "true"
        assert answer.get("vary") == "Origin"

    @pytest.mark.parametrize(("method", "path"), [("GET", "/info"), ("POST", "/0/s/xhr")])
    def test_without_one(self, web: Web, method: str, path: str) -> None:
        answer = web.ask(method, path)
        assert answer.get("access-control-allow-origin") == "*"
        assert answer.get("access-control-allow-credentials") is None
        assert answer.get("vary") == "Origin"

    def test_errors_can_be_read_too(self, web: Web) -> None:
        open_session(web)
        for path, body, status in (("nobody", "[]", 404), ("s", "x", 500)):
            headers = {"Origin": "https://a.example"}
            answer = web.ask("POST", f"/0/{path}/xhr_send", body, headers)
            assert answer.status == status
            assert answer.get("access-control-allow-origin") == "https://a.example"

    @pytest.mark.parametrize("origins", [[], ["https://shop.example"]])
    @pytest.mark.parametrize(
        ("method", "path"),
        [
            ("GET", "info"),
            ("OPTIONS", "info"),
            *OF_A_SESSION,
            ("OPTIONS", "xhr"),
            ("OPTIONS", "xhr_send"),
        ],
    )
    def test_a_foreign_one_is_refused(self, origins: list[str], method: str, path: str) -> None:
        with Web(allowed_origins=origins) as web:
            open_session(web)
            below = "/info" if path == "info" else f"/0/s/{path}"
            for origin in ("https://evil.example", "null"):
                answer = web.ask(method, below, headers={"Origin": origin})
                assert answer.status == 403
                assert answer.get("access-control-allow-origin") is None
            assert web.world.counters.origins_refused == 2

    @pytest.mark.parametrize("path", ["/ws/websocket", "/ws/0/s/websocket"])
    def test_no_websocket_for_a_foreign_one(self, path: str) -> None:
        with Web(allowed_origins=[]) as web:
            headers = {**UPGRADE, "Origin": "https://evil.example"}
            assert web.line().ask("GET", path, headers=headers).status == 403
            assert (
                web.line().ask("GET", path, headers={**UPGRADE, "Origin": "http://a"}).status == 101
            )

    def test_a_post_of_a_foreign_page_has_no_effect(self) -> None:
        with Web(allowed_origins=[]) as web:
            open_session(web)
            web.ask("POST", "/0/s/xhr_send", '["x"]', {"Origin": "https://evil.example"})
            assert web.ask("POST", "/0/s/xhr").body == b""  # no ERROR, which the text would cause


class TestPreflight:
    @pytest.mark.parametrize("name", POSTS)
    def test_of_a_post(self, web: Web, name: str) -> None:
        self.check(web.ask("OPTIONS", f"/0/s/{name}"), "OPTIONS, POST")
        assert web.sessions.find("s") is None

    def test_of_info(self, web: Web) -> None:
        self.check(web.ask("OPTIONS", "/info"), "OPTIONS, GET")

    def check(self, answer: Answer, methods: str) -> None:
        assert answer.status == 204
        assert answer.body == b""
        assert answer.get("cache-control") == "public, max-age=31536000"
        assert answer.get("expires")
        assert answer.get("access-control-max-age") == "31536000"
        assert answer.get("access-control-allow-methods") == methods
        assert answer.get("access-control-allow-headers") is None
        assert answer.get("content-type") is None

    @pytest.mark.parametrize(
        ("asked", "told"), [("a, b, c", "a, b, c"), ("", None), ("a\tb", None), ("a: b", None)]
    )
    def test_the_headers_that_are_asked_for(self, web: Web, asked: str, told: str | None) -> None:
        headers = {"Origin": "null", "Access-Control-Request-Headers": asked}
        answer = web.ask("OPTIONS", "/0/s/xhr", headers=headers)
        assert answer.get("access-control-allow-headers") == told
        assert answer.get("access-control-allow-origin") == "null"
        assert answer.get("access-control-allow-credentials") == "true"


class TestHeaders:
    @pytest.mark.parametrize(("method", "path"), OF_A_SESSION)
    def test_nothing_of_a_session_is_cached(self, web: Web, method: str, path: str) -> None:
        if path.endswith("_send"):
            open_session(web)
        answer = web.ask(method, f"/0/s/{path}", "d=[]" if path == "jsonp_send" else "[]"[:0])
        answer = answer if answer.status != 500 else web.ask(method, f"/0/s/{path}", "[]")
        assert answer.status in (200, 204)
        assert answer.get("cache-control") == NEVER_CACHED
        assert answer.get("expires") is None
        assert answer.get("last-modified") is None
        assert answer.get("set-cookie") is None
        streams = path.startswith(("xhr_str", "ev", "ht"))
        assert answer.get("x-accel-buffering") == ("no" if streams else None)

    @pytest.mark.parametrize(("method", "path"), OF_A_SESSION)
    @pytest.mark.parametrize(
        ("sent", "kept"),
        [
            (None, "dummy"),
            ("JSESSIONID=abcdef", "abcdef"),
            ("a=b; JSESSIONID=a.b-c~1:2; c=d", "a.b-c~1:2"),
            ("JSESSIONID=", "dummy"),
            ("JSESSIONID=a b", "dummy"),
            ('JSESSIONID="a', "dummy"),
            ("JSESSIONID=a\\b", "dummy"),
            ("JSESSIONID=\xe9", "dummy"),
            ("JSESSIONID=" + "a" * 129, "dummy"),
            ("other=1", "dummy"),
            ("JSESSIONID", "dummy"),
        ],
    )
    def test_cookies(self, method: str, path: str, sent: str | None, kept: str) -> None:
        options = SockJSOptions(cookie=True, htmlfile=True, jsonp=True)
        with Web(sockjs=options) as web:
            if path.endswith("_send"):
                open_session(web)
            headers = {"Cookie": sent} if sent is not None else {}
            body = {"xhr_send": "[]", "jsonp_send": "d=[]"}.get(path)
            answer = web.ask(method, f"/0/s/{path}", body, headers)
            assert answer.status in (200, 204)
            assert answer.get("set-cookie") == f"JSESSIONID={kept}; path=/"


class TestCallbacks:
    @pytest.mark.parametrize("name", ["htmlfile", "jsonp"])
    def test_there_must_be_one(self, web: Web, name: str) -> None:
        for query in ("", "?", "?c=", "?callback=", "?x=1"):
            answer = web.ask("GET", f"/0/s/{name}{query}")
            assert answer.status == 500
            assert b'"callback" parameter required' in answer.body
            assert answer.get("content-type") == "text/plain; charset=utf-8"

    @pytest.mark.parametrize("name", ["htmlfile", "jsonp"])
    @pytest.mark.parametrize(
        "callback",
        ["a%20b", "a%3b", "%3Cb%3E", "a()", "abc(!)xyz", "%C3%A9", "a%0a", "a" * 33, "a%00"],
    )
    def test_it_must_be_a_name(self, web: Web, name: str, callback: str) -> None:
        answer = web.ask("GET", f"/0/s/{name}?c={callback}")
        assert answer.status == 500
        assert b'invalid "callback" parameter' in answer.body
        assert web.sessions.find("s") is None

    @pytest.mark.parametrize("callback", ["callback", "_jp.a-B0", "a" * 32])
    def test_names(self, web: Web, callback: str) -> None:
        sent = f'/**/{callback}("o");\r\n'.encode()
        assert web.ask("GET", f"/0/s1/jsonp?c={callback}").body == sent
        assert web.ask("GET", f"/0/s2/jsonp?callback={callback}").body == sent
        body = web.ask("GET", f"/0/s3/htmlfile?c={callback}").body
        assert f"var c = parent.{callback};\n".encode() in body

    def test_the_answer_is_not_taken_for_another_kind(self, web: Web) -> None:
        answer = web.ask("GET", "/0/s/jsonp?c=cb")
        assert answer.get("x-content-type-options") == "nosniff"
        assert answer.get("content-type") == "application/javascript; charset=UTF-8"


class TestWebSocketHeads:
    @pytest.mark.parametrize("path", ["/ws/websocket", "/ws/0/s/websocket"])
    def test_what_is_no_upgrade(self, web: Web, path: str) -> None:
        answer = web.line().ask("GET", path)
        assert answer.status == 400
        assert b'Can "Upgrade" only to "WebSocket".' in answer.body
        for connection in ("close", "keep-alive"):
            headers = {**UPGRADE, "Connection": connection}
            answer = web.line().ask("GET", path, headers=headers)
            assert answer.status == 400
            assert b'"Connection" must be "Upgrade".' in answer.body
        broken = {**UPGRADE, "Sec-WebSocket-Key": "x"}
        assert web.line().ask("GET", path, headers=broken).status == 400

    @pytest.mark.parametrize("path", ["/ws/websocket", "/ws/0/s/websocket"])
    def test_an_upgrade(self, web: Web, path: str) -> None:
        assert web.line().ask("GET", path, headers=UPGRADE).status == 101


class TestAddresses:
    """Who may continue a session."""

    def test_another_port_may(self, web: Web) -> None:
        assert web.ask("POST", "/0/s/xhr", peer="10.0.0.1:5").body == b"o\n"
        assert web.ask("POST", "/0/s/xhr_send", "[]", peer="10.0.0.1:6").status == 204

    @pytest.mark.parametrize("other", ["10.0.0.2:5", "[::1]:5", None])
    def test_another_address_may_not(
        self, web: Web, other: str | None, caplog: pytest.LogCaptureFixture
    ) -> None:
        web.ask("POST", "/0/s/xhr", peer="10.0.0.1:5")
        with caplog.at_level(logging.WARNING, "stocksync_ws"):
            for path in ("xhr_send", "xhr", "xhr_streaming"):
                assert web.ask("POST", f"/0/s/{path}", peer=other).status == 404
        assert "bind_address" in caplog.text
        assert web.ask("POST", "/0/s/xhr_send", "[]", peer="10.0.0.1:5").status == 204

    def test_it_can_be_switched_off(self) -> None:
        with Web(sockjs=SockJSOptions(bind_address=False)) as web:
            web.ask("POST", "/0/s/xhr", peer="10.0.0.1:5")
            assert web.ask("POST", "/0/s/xhr_send", "[]", peer="10.0.0.2:5").status == 204

    def test_the_client_behind_a_proxy_counts(self) -> None:
        with Web(trusted_proxies=["10.0.0.0/8"]) as web:

            def send(client: str, proxy: str) -> int:
                headers = {"X-Forwarded-For": client}
                return web.ask("POST", "/0/s/xhr_send", "[]", headers, peer=proxy).status

            opened = web.ask(
                "POST", "/0/s/xhr", headers={"X-Forwarded-For": "1.2.3.4"}, peer="10.0.0.1:5"
            )
            assert opened.body == b"o\n"
            assert send("1.2.3.4", "10.0.0.1:5") == 204
            assert send("1.2.3.4", "10.9.9.9:5") == 204
            assert send("1.2.3.5", "10.0.0.1:5") == 404
            assert send("1.2.3.4", "11.0.0.1:5") == 404

    def test_no_address_is_one_too(self, web: Web) -> None:
        assert web.ask("POST", "/0/s/xhr", peer=None).body == b"o\n"
        assert web.ask("POST", "/0/s/xhr_send", "[]", peer=None).status == 204

    def test_an_ended_one_is_told_to_nobody_else(self, web: Web) -> None:
        line = web.line("10.0.0.1:5")
        line.ask("POST", "/ws/0/s/xhr_streaming")
        line.eof()
        assert web.ask("POST", "/0/s/xhr", peer="10.0.0.2:5").status == 404
        assert web.ask("POST", "/0/s/xhr", peer="10.0.0.1:5").body.startswith(b"c[1002")

    def test_an_unknown_session_names_the_balancer(
        self, web: Web, caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level(logging.WARNING, "stocksync_ws"):
            answer = web.ask("POST", "/0/s/xhr_send", '["x"]')
        assert answer.status == 404
        assert "sticky" in caplog.text
        assert web.sessions.find("s") is None

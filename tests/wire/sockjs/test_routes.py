"""Paths of SockJS, headers, and the answers that need no session."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator

import pytest

from stocksync_ws import SockJSOptions, StompApp
from stocksync_ws.config import EndpointConfig, Limits
from stocksync_ws.errors import ConfigurationError
from stocksync_ws.wire.sockjs.routes import SockJSRoutes
from tests.wire.sockjs.client import Answer, Line, Web

NEVER_CACHED = "no-store, no-cache, no-transform, must-revalidate, max-age=0"
POSTS = ("xhr", "xhr_streaming", "xhr_send")
RECEIVERS = {"xhr": "POST", "xhr_streaming": "POST", "eventsource": "GET", "htmlfile": "GET"}
UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version": "13",
}
OF_A_SESSION = [
    ("POST", "xhr"),
    ("POST", "xhr_streaming"),
    ("GET", "eventsource"),
    ("GET", "htmlfile?c=cb"),
    ("GET", "jsonp?c=cb"),
    ("POST", "xhr_send"),
    ("POST", "jsonp_send"),
]
"""Every request of a session over plain HTTP."""


@pytest.fixture
def web() -> Iterator[Web]:
    with Web() as web:
        yield web


def open_session(web: Web, name: str = "s", **headers: str) -> Answer:
    answer = web.ask("POST", f"/0/{name}/xhr", headers=headers)
    assert answer.body == b"o\n"
    return answer


class TestPaths:
    @pytest.mark.parametrize(
        "path",
        [
            "/a",
            "/a.html",
            "//",
            "///",
            "/a/a",
            "/a/a/",
            "/a/",
            "/info/",
            "/INFO",
            "/websocket/",
            "//xhr",
            "/a/xhr",
            "/a//xhr",
            "//a/xhr",
            "/a/a/xhr/",
            "/a/a/a/xhr",
            "//a/a/xhr",
            "/a/a./xhr",
            "/a./a/xhr",
            "/../a/xhr",
            "/a/%2e/xhr",
            "/a/a/",
            "/a/a/a",
            "/a/a/XHR",
            "/a/a/xhr.bat",
            "/a/a/xhr;x",
            "/a/a/xhr%3bx",
            "/a/a;x/xhr",
            "/a;x/a/xhr",
            "/a/a%3Bx/xhr",
            "/a/a%2Fb/xhr",
            "/a%2Fb/a/xhr",
            "/a/a%2fxhr",
            "/a/a%00b/xhr",
            "/a/a%0Ab/xhr",
            f"/a/{'a' * 129}/xhr",
            "/a/a/websocket/",
            "/a.b/a/websocket",
            "/a/a/jsonp;setup.bat",
        ],
    )
    @pytest.mark.parametrize("method", ["GET", "POST"])
    def test_what_does_not_fit(self, web: Web, method: str, path: str) -> None:
        answer = web.ask(method, path)
        assert answer.status == 404
        assert answer.get("content-type") == "text/plain; charset=utf-8"
        assert answer.body

    @pytest.mark.parametrize("name", ["abc%20", "a b"[:1], "é".encode().hex("%"), "a" * 128, "%61"])
    def test_other_characters_of_a_segment(self, web: Web, name: str) -> None:
        assert web.ask("POST", f"/0%20/{name}/xhr").body == b"o\n"

    def test_one_session_by_two_spellings(self, web: Web) -> None:
        open_session(web, "%61b")
        assert web.ask("POST", "/0/ab/xhr_send", '["a"]').status == 204

    def test_the_server_id_says_nothing(self, web: Web) -> None:
        assert web.ask("POST", "/000/s/xhr").body == b"o\n"
        assert web.ask("POST", "/999/s/xhr_send", "[]").status == 204
        assert web.ask("POST", "/a%20b/s/xhr").body == b""

    def test_the_query_is_free(self, web: Web) -> None:
        assert web.ask("POST", "/0/s/xhr?t=1700000000000&token=a/b;c").body == b"o\n"
        assert web.ask("GET", "/info?token=a.b/c;d").status == 200
        assert web.ask("GET", "/iframe-1.6.1.html?t=qc0v").status == 200

    @pytest.mark.parametrize(
        ("path", "method", "allowed"),
        [
            ("/info", "POST", "OPTIONS, GET"),
            ("/info", "PUT", "OPTIONS, GET"),
            ("/iframe.html", "POST", "GET"),
            ("/websocket", "POST", "GET"),
            ("/websocket", "OPTIONS", "GET"),
            ("/0/s/websocket", "POST", "GET"),
            ("/0/s/websocket", "PUT", "GET"),
            ("/0/s/xhr", "GET", "OPTIONS, POST"),
            ("/0/s/xhr_streaming", "PUT", "OPTIONS, POST"),
            ("/0/s/xhr_send", "GET", "OPTIONS, POST"),
            ("/0/s/eventsource", "POST", "GET"),
            ("/0/s/eventsource", "OPTIONS", "GET"),
            ("/0/s/htmlfile", "POST", "GET"),
            ("/0/s/jsonp", "POST", "GET"),
            ("/0/s/jsonp_send", "GET", "POST"),
            ("/0/s/jsonp_send", "OPTIONS", "POST"),
        ],
    )
    def test_the_wrong_method(self, web: Web, path: str, method: str, allowed: str) -> None:
        answer = web.ask(method, path)
        assert answer.status == 405
        assert answer.get("allow") == allowed
        assert answer.get("content-type") is None
        assert answer.body == b""
        assert web.sessions.find("s") is None


class TestOptions:
    def test_off_by_default(self) -> None:
        with Web(sockjs=True) as web:
            for method, path in (
                ("GET", "/iframe.html"),
                ("GET", "/0/s/htmlfile?c=cb"),
                ("GET", "/0/s/jsonp?c=cb"),
                ("POST", "/0/s/jsonp_send"),
            ):
                assert web.ask(method, path).status == 404
            for name, method in [
                ("xhr", "POST"),
                ("xhr_streaming", "POST"),
                ("eventsource", "GET"),
            ]:
                assert web.ask(method, f"/0/{name}/{name}").status == 200
            assert web.line().ask("GET", "/ws").body == b"Welcome to SockJS!\n"

    def test_without_sockjs(self) -> None:
        with Web(sockjs=False) as web:
            assert web.ask("GET", "/info").status == 404
            assert web.ask("POST", "/0/s/xhr").status == 404
            assert web.line().ask("GET", "/ws").status == 426
            assert web.line().ask("GET", "/ws/websocket", headers=UPGRADE).status == 404

    @pytest.mark.parametrize("name", ["xhr", "xhr_streaming", "eventsource", "htmlfile", "jsonp"])
    def test_one_is_off(self, name: str) -> None:
        options = SockJSOptions(**{"htmlfile": True, "jsonp": True, name: False})
        with Web(sockjs=options) as web:
            for method, other in OF_A_SESSION[:5]:
                found = web.ask(method, f"/0/{other[:4]}/{other}").status
                assert found == (404 if other.partition("?")[0] == name else 200)
            expected = 404 if name == "jsonp" else 200
            assert web.ask("POST", "/0/json/jsonp_send", "d=[]").status in (expected, 404)

    def test_the_send_half_needs_its_transport(self) -> None:
        off = {"xhr": False, "xhr_streaming": False, "eventsource": False}
        with Web(sockjs=SockJSOptions(**off, jsonp=True)) as web:
            assert web.ask("GET", "/0/s/jsonp?c=cb").status == 200
            assert web.ask("POST", "/0/s/jsonp_send", "d=[]").status == 200
            assert web.ask("POST", "/0/s/xhr_send", "[]").status == 404
            assert web.ask("GET", "/0/s/xhr_send").status == 404

    def test_no_websocket(self) -> None:
        with Web(sockjs=SockJSOptions(websocket=False)) as web:
            for path in ("/websocket", "/0/s/websocket"):
                answer = web.line().ask("GET", f"/ws{path}", headers=UPGRADE)
                assert answer.status == 404
            assert json.loads(web.ask("GET", "/info").body)["websocket"] is False

    def test_an_endpoint_without_options(self) -> None:
        with pytest.raises(ConfigurationError):
            SockJSRoutes(EndpointConfig(path="/ws"), Limits(), lambda: 0)

    def test_one_table_for_all_servers_of_an_application(self) -> None:
        app = StompApp("/ws", sockjs=True)
        assert app.site().routes["/ws"] is app.site().routes["/ws"]


class TestGreeting:
    @pytest.mark.parametrize("path", ["/ws", "/ws/", "/ws?a=b"])
    def test_it(self, web: Web, path: str) -> None:
        answer = web.line().ask("GET", path)
        assert (answer.status, answer.body) == (200, b"Welcome to SockJS!\n")
        assert answer.get("content-type") == "text/plain; charset=UTF-8"
        assert answer.get("content-length") == "19"
        assert answer.get("set-cookie") is None

    def test_1_0(self, web: Web) -> None:
        line = web.line()
        answer = line.ask("GET", "/ws", version="1.0")
        assert answer.body == b"Welcome to SockJS!\n"
        assert answer.get("transfer-encoding") is None
        assert answer.get("connection") == "close"
        assert not line.open

    def test_keep_alive(self, web: Web) -> None:
        line = web.line()
        for _ in range(3):
            assert line.ask("GET", "/ws").body == b"Welcome to SockJS!\n"
        assert line.ask("HEAD", "/ws").body == b""
        assert line.open

    def test_only_a_get(self, web: Web) -> None:
        assert web.line().ask("POST", "/ws").status == 405

    def test_an_upgrade_of_the_path_itself(self, web: Web) -> None:
        assert web.line().ask("GET", "/ws", headers=UPGRADE).status == 101

    def test_a_broken_upgrade_is_told_so(self, web: Web) -> None:
        broken = {**UPGRADE, "Sec-WebSocket-Version": "7"}
        assert web.line().ask("GET", "/ws", headers=broken).status == 426


class TestInfo:
    def test_it(self, web: Web) -> None:
        answer = web.ask("GET", "/info")
        assert answer.status == 200
        assert answer.get("content-type") == "application/json; charset=UTF-8"
        assert answer.get("cache-control") == NEVER_CACHED
        assert answer.get("set-cookie") is None
        info = json.loads(answer.body)
        assert info.pop("entropy") in range(2**32)
        assert info == {"websocket": True, "cookie_needed": False, "origins": ["*:*"]}

    def test_entropy_is_new_each_time(self, web: Web) -> None:
        found = {json.loads(web.ask("GET", "/info").body)["entropy"] for _ in range(20)}
        assert len(found) == 20
        assert max(found) > 2**16

    def test_what_is_configured(self) -> None:
        options = SockJSOptions(cookie=True, base_url="https://b.example/ws")
        with Web(sockjs=options) as web:
            answer = web.ask("GET", "/info")
            info = json.loads(answer.body)
            assert info["cookie_needed"] is True
            assert info["base_url"] == "https://b.example/ws"
            assert answer.get("set-cookie") is None

    def test_head(self, web: Web) -> None:
        answer = web.ask("HEAD", "/info")
        assert (answer.status, answer.body) == (200, b"")


class TestIframe:
    @pytest.mark.parametrize(
        "name", ["iframe.html", "iframe-a.html", "iframe-0.1.2-abc.html", "iframe-0.1_2.3.html"]
    )
    def test_the_page(self, web: Web, name: str) -> None:
        answer = web.ask("GET", f"/{name}")
        assert answer.status == 200
        assert answer.get("content-type") == "text/html; charset=UTF-8"
        assert answer.get("cache-control") == "public, max-age=31536000"
        assert answer.get("expires")
        assert answer.get("last-modified") is None
        assert answer.get("set-cookie") is None
        assert answer.body == web.ask("GET", "/iframe.html").body
        scripts = re.findall(rb"<script.*?>", answer.body)
        assert scripts == [b'<script src="/sockjs.min.js">', b"<script>"]
        assert answer.body.startswith(b"<!DOCTYPE html>\n<html>\n<head>\n")
        assert answer.body.count(b"http-equiv=") == 2
        assert answer.body.index(b"document.domain = document.domain;") < answer.body.index(
            b"SockJS.bootstrap_iframe();"
        )

    @pytest.mark.parametrize(
        "name", ["iframe.htm", "iframe", "IFRAME.HTML", "IFRAME.html", "iframe.HTML", "iframe.xml"]
    )
    def test_no_page(self, web: Web, name: str) -> None:
        assert web.ask("GET", f"/{name}").status == 404
        assert web.ask("GET", f"/iframe-/{name}").status == 404

    def test_it_is_cached(self, web: Web) -> None:
        tag = web.ask("GET", "/iframe.html").get("etag")
        assert tag is not None
        assert re.fullmatch('"[^"]+"', tag)
        for sent in (tag, f'"other", {tag}'):
            answer = web.ask("GET", "/iframe-x.html", headers={"If-None-Match": sent})
            assert (answer.status, answer.body) == (304, b"")
            assert answer.get("content-type") is None
            assert answer.get("etag") == tag
        for other in ('"other"', tag.strip('"')):
            answer = web.ask("GET", "/iframe.html", headers={"If-None-Match": other})
            assert answer.status == 200

    def test_it_is_no_bridge_where_origins_are_listed(self) -> None:
        for origins, status in ((["https://a.example"], 404), ([], 200), (["*"], 200)):
            with Web(allowed_origins=origins) as web:
                assert web.ask("GET", "/iframe.html").status == status


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
        "callback", ["a%20b", "a%3b", "%3Cb%3E", "a()", "abc(!)xyz", "é", "a%0a", "a" * 33, "a%00"]
    )
    def test_it_must_be_a_name(self, web: Web, name: str, callback: str) -> None:
        answer = web.ask("GET", f"/0/s/{name}?c={callback.encode().decode('latin-1')}"[:200])
        assert answer.status in (400, 500)
        if answer.status == 500:
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

    def line(self, web: Web, peer: str | None) -> Line:
        return web.line(peer)

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

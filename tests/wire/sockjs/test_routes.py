"""Paths of SockJS, headers, and the answers that need no session."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest

from stocksync_ws import SockJSOptions, StompApp
from stocksync_ws.config import EndpointConfig, Limits
from stocksync_ws.errors import ConfigurationError
from stocksync_ws.types import HttpRequest
from stocksync_ws.wire.endpoint import Endpoint
from stocksync_ws.wire.sockjs.routes import SockJSRoutes
from tests.wire.sockjs.client import NEVER_CACHED, OF_A_SESSION, UPGRADE, Answer, Web


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

    @pytest.mark.parametrize("name", ["abc%20", "%C3%A9", "a" * 128, "%61"])
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


class TestScopes:
    def test_a_scope_needs_no_headers_of_an_upgrade(self, web: Web) -> None:
        """Whoever made the scope has seen to the mechanics."""
        scope = {"type": "websocket"}
        request = HttpRequest("GET", "/ws/websocket", (("host", "a"),), scope=scope)
        assert web.routes(request, "/websocket") == Endpoint(None)
        assert web.routes(request, "/0/s/websocket") == Endpoint(None, framed=True)
        plain = HttpRequest("GET", "/ws/websocket", (("host", "a"),), scope={"type": "http"})
        assert web.routes(plain, "/websocket").status == 400

"""Policy, and rows H of the threat list that it judges. How a WebSocket is asked for must not
matter: by an Upgrade of HTTP/1.1, by Extended CONNECT of HTTP/2, or by a scope.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stocksync_ws.config import EndpointConfig
from stocksync_ws.errors import ConfigurationError
from stocksync_ws.types import Connection, HttpRequest
from stocksync_ws.wire.answer import Answer, plain, refusal
from stocksync_ws.wire.endpoint import (
    Carrier,
    Check,
    Endpoint,
    Page,
    Route,
    Site,
    decide,
)
from stocksync_ws.wire.framing import Framing
from stocksync_ws.wire.upgrade import check_handshake
from tests.wire.heads import GOOD, PAGE, Changes, choose, request, site, status, websocket


def upgrade(changes: Changes | None = None) -> int:
    """The status by HTTP/1.1."""
    return status(request(changes))


def extended_connect(changes: Changes | None = None) -> int:
    """The status by HTTP/2 (RFC 8441 §5)."""
    return status(websocket(changes), check=None)


def scope(changes: Changes | None = None) -> int:
    """The status by an ASGI scope whose server keeps the headers of the handshake to itself."""
    return status(websocket(changes, method="GET", version="1.1"), check=None)


@pytest.mark.parametrize("target", ["/ws", "/ws/", "/ws?token=x", "/ws/?"])
def test_the_endpoint(target: str) -> None:
    assert decide(request(target=target), site(), check_handshake) == Endpoint(None)
    assert decide(websocket(target=target), site()) == Endpoint(None)


ROWS: dict[str, tuple[Changes, int]] = {
    "H1 Host not ASCII": ({"host": "\xff\xfe"}, 400),
    "H2 Host of impossible punycode": ({"host": "xn--999999999"}, 400),
    "punycode": ({"host": "xn--bcher-kva.example:1"}, 101),
    "H3 subprotocol not ASCII": ({"sec-websocket-protocol": "\xe9"}, 400),
    "H15 blanks": ({"sec-websocket-protocol": "b" + " " * 15_000 + "x"}, 400),
    "H18 another site": ({"origin": "https://evil.example"}, 403),
    "H20 null": ({"origin": "null"}, 403),
    "H22 two Hosts": ({"host": ["shop.example", "shop.example"]}, 400),
    "H22 two Origins": ({"origin": ["http://shop.example:8000"] * 2}, 400),
    "no Host": ({"host": None}, 400),
    "Host empty": ({"host": ""}, 400),
    "Host with path": ({"host": "a/b"}, 400),
    "Host with user": ({"host": "a@b"}, 400),
    "Host with a large port": ({"host": "a:65536"}, 400),
    "Host without port number": ({"host": "a:"}, 400),
    "Host too long": ({"host": "a" * 256}, 400),
    "Host IPv6": ({"host": "[::1]:8000"}, 101),
    "same origin": ({"origin": "http://shop.example:8000"}, 101),
    "same origin, other case": (
        {"origin": "HTTP://Shop.Example:8000", "host": "SHOP.example:8000"},
        101,
    ),
    "same origin IPv6": ({"host": "[::1]:80", "origin": "http://[::1]"}, 101),
    "default port http": ({"host": "a", "origin": "http://a:80"}, 101),
    "default port https, TLS ends before us": ({"host": "a", "origin": "https://a:443"}, 101),
    "port 443 is not that of http": ({"host": "a:443", "origin": "http://a"}, 403),
    "port 443 is that of https": ({"host": "a:443", "origin": "https://a"}, 101),
    "port that Host does not have": ({"host": "a", "origin": "http://a:8000"}, 403),
    "scheme without default": ({"host": "a", "origin": "app://a"}, 403),
    "Origin not ASCII": ({"origin": "http://\xe9"}, 400),
    "Origin malformed": ({"origin": "shop.example:8000"}, 403),
    "Origin empty": ({"origin": ""}, 403),
    "Origin with path": ({"origin": "http://shop.example:8000/"}, 403),
    "Origin with user": ({"origin": "http://x@shop.example:8000"}, 403),
    "Origin without host": ({"origin": "file://"}, 403),
    "two subprotocol lines": ({"sec-websocket-protocol": ["v11.stomp", "v12.stomp"]}, 101),
    "subprotocol with a blank": ({"sec-websocket-protocol": "v12 stomp"}, 400),
}


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("way", [upgrade, extended_connect, scope])
def test_rows(name: str, way: Callable[[Changes], int]) -> None:
    changes, expected = ROWS[name]
    assert way(changes) == expected


def test_a_websocket_of_http_2_has_neither_upgrade_nor_key() -> None:
    asked = websocket({"sec-websocket-version": "13", "sec-websocket-protocol": "v12.stomp"})
    assert (asked.method, asked.http_version, asked.get("upgrade")) == ("CONNECT", "2", None)
    assert decide(asked, site()) == Endpoint("v12.stomp")
    # The mechanics of HTTP/1.1 would refuse it.
    assert status(asked, check=check_handshake) == 405


def test_a_websocket_that_was_asked_for_elsewhere_is_counted_when_it_is_refused() -> None:
    for changes, refused in (
        ({"origin": "https://evil.example"}, "origin"),
        ({"origin": ["a", "b"]}, "handshake"),
        ({"host": "a/b"}, "handshake"),
        ({"host": "rebind.evil"}, "handshake"),
        ({"sec-websocket-protocol": "a b"}, "handshake"),
    ):
        answer = decide(websocket(changes), site(hosts=("shop.example",)))
        assert isinstance(answer, Answer)
        assert (answer.refused, answer.close) == (refused, True)
    assert status(websocket(target="/nothing"), check=None) == 404
    assert status(websocket(target="/"), check=None) == 405


def test_the_check_comes_behind_host_and_path_and_before_the_origin() -> None:
    asked: list[HttpRequest] = []

    def object_to(request: HttpRequest) -> Answer:
        asked.append(request)
        return refusal(400, "Not like this.")

    evil = {"origin": "https://evil.example"}
    for changed, expected, times in (
        (request({"host": "a/b", **evil}), b"The header Host is malformed.\n", 0),
        (request(evil, target="/nothing"), b"There is nothing here.\n", 0),
        (request({"sec-websocket-protocol": "a b", **evil}), b"Not like this.\n", 1),
    ):
        answer = decide(changed, site(), object_to)
        assert isinstance(answer, Answer)
        assert answer.body == expected
        assert len(asked) == times


@pytest.mark.parametrize(
    ("origins", "secure", "says"),
    [
        (
            (),
            False,
            (
                "origin refused: allowed_origins takes the same origin as its Host, not:"
                " 'http://a'; Host: 'a:8000';"
                " if that page is yours, write allowed_origins=['http://a']"
            ),
        ),
        (
            ("https://shop.example",),
            True,
            (
                "origin refused: allowed_origins takes the 1 listed, not: 'http://a';"
                " Host on TLS: 'a:8000'; if that page is yours, write allowed_origins=[…, 'http://a']"
            ),
        ),
    ],
)
def test_a_refused_origin_is_logged_beside_its_host(
    origins: tuple[str, ...], secure: bool, says: str
) -> None:
    asked = replace(request({"host": "A:8000", "origin": "http://a"}), secure=secure)
    answer = decide(asked, site(origins), check_handshake)
    assert isinstance(answer, Answer)
    assert answer.log == says


@pytest.mark.parametrize("origin", ["null", "file://", "capacitor://localhost"])
def test_origins_of_apps_can_be_listed_exactly(origin: str) -> None:
    for listed in ("null", "file://", "capacitor://localhost"):
        expected = 101 if listed == origin else 403
        assert status(request({"origin": origin}), site((listed,))) == expected
    for other in ("file:///", "file://x", "FILE://"):
        assert status(request({"origin": other}), site(("file://",))) == 403


def test_without_a_host_no_origin_is_the_same() -> None:
    changes = {"host": None, "origin": "http://shop.example:8000"}
    nobody = websocket(changes, method="GET", version="1.0")
    assert status(nobody, check=None) == 403
    assert status(nobody, site(("http://shop.example:8000",)), None) == 101


@pytest.mark.parametrize("target", ["/", "/ws", "/nothing"])
def test_host_is_judged_for_every_path(target: str) -> None:
    for changes in ({"host": "\xff"}, {"host": ["a", "a"]}, {"host": None}):
        assert status(request({**changes, "upgrade": None}, target=target)) == 400


@pytest.mark.parametrize(
    "origin",
    [
        "https://app.example.com.evil.io",
        "https://evilapp.example.com",
        "https://app.example.com:8443",
        "http://app.example.com",
        "http://shop.example:8000",
        "null",
        "https://app.example.com/",
    ],
)
def test_h19_listed_origins_are_exact(origin: str) -> None:
    listed = site(("https://app.example.com", "http://[::1]:8000"))
    assert status(request({"origin": origin}), listed) == 403


def test_listed_origins() -> None:
    listed = site(("https://App.example.com", "http://[::1]:8000", "app://x"))
    for origin in (
        "https://app.example.com",
        "https://app.example.com:443",
        "http://[::1]:8000",
        "app://x",
    ):
        assert status(request({"origin": origin}), listed) == 101
    assert status(request(), listed) == 101


def test_h20_null_when_listed_and_any() -> None:
    assert status(request({"origin": "null"}), site(("null",))) == 101
    assert status(request({"origin": "http://shop.example:8000"}), site(("null",))) == 403
    for origin in ("null", "https://evil.example", "file://"):
        assert status(request({"origin": origin}), site(("*",))) == 101
    assert status(request({"origin": ["a", "b"]}), site(("*",))) == 400


def test_the_scheme_counts_when_tls_ends_here() -> None:
    changes = {"host": "a:443", "origin": "https://a"}
    assert status(request(changes, secure=True)) == 101
    assert status(request({"host": "a:80", "origin": "http://a"}, secure=True)) == 403


def test_h21_allowed_hosts() -> None:
    rebound = {"host": "rebind.evil:8000", "origin": "http://rebind.evil:8000"}
    assert status(request(rebound)) == 101
    listed = site(hosts=("Shop.example", "[::1]:8000"))
    answer = decide(request(rebound), listed)
    assert isinstance(answer, Answer)
    assert (answer.status, answer.refused) == (403, "handshake")
    assert "'rebind.evil:8000'" in (answer.log or "")
    for host, expected in (("SHOP.example:1", 101), ("[::1]:8000", 101), ("[::1]:1", 403)):
        assert status(request({"host": host}), listed) == expected
    nobody = request({"host": None, "upgrade": None}, target="/", version="1.0")
    assert status(nobody, listed) == 403
    assert status(nobody) == 200


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        (None, None),
        ("", None),
        (",", None),
        ("v11.stomp", "v11.stomp"),
        ("v12.stomp, v11.stomp, evil", "v12.stomp"),
        ("V12.STOMP, evil", None),
    ],
)
def test_h24_h26_subprotocols(offered: str | None, chosen: str | None) -> None:
    changes = {"sec-websocket-protocol": offered}
    assert decide(request(changes), site(), check_handshake) == Endpoint(chosen)
    assert decide(websocket(changes), site()) == Endpoint(chosen)


def test_h27_each_site_keeps_its_own_policy() -> None:
    changed = request({"origin": "https://a.example"})
    mine, other = site(("https://a.example",)), site(("https://b.example",))
    assert [status(changed, where) for where in (mine, other, mine)] == [101, 403, 101]


def test_a_refused_origin_is_logged_escaped_and_cut() -> None:
    origin = "http://\x1b[31m" + "x" * 500
    for where, rule in ((site(), "same origin"), (site(("http://a",)), "the 1 listed")):
        answer = decide(request({"origin": origin}), where, check_handshake)
        assert isinstance(answer, Answer)
        assert answer.refused == "origin"
        assert answer.log is not None
        assert "allowed_origins" in answer.log
        assert rule in answer.log
        assert "\\x1b[31mxxx" in answer.log
        assert answer.log.endswith("x; Host: 'shop.example:8000'")
        assert len(answer.log) < 250
        assert b"31m" not in answer.body


@pytest.mark.parametrize("target", ["/?x=1", "/"])
def test_pages(target: str) -> None:
    got = decide(request(target=target), site(), check_handshake)
    assert got == Answer(
        200,
        (
            ("Content-Type", "text/html; charset=utf-8"),
            ("Content-Length", "3"),
            ("Cache-Control", "no-cache"),
            ("X-Content-Type-Options", "nosniff"),
        ),
        b"<p>",
    )
    assert isinstance(got, Answer)
    head = decide(request(target=target, method="HEAD"), site(), check_handshake)
    assert isinstance(head, Answer)
    assert (head.headers, head.body) == (got.headers, b"")


@pytest.mark.parametrize("method", ["POST", "OPTIONS", "get"])
def test_other_methods_of_a_page(method: str) -> None:
    changed = request({"upgrade": None}, method=method, target="/")
    answer = decide(changed, site(), check_handshake)
    assert isinstance(answer, Answer)
    assert answer.status == 405
    assert ("Allow", "GET, HEAD") in answer.headers
    assert not answer.close


@pytest.mark.parametrize(
    "target", ["/nothing", "/ws/x", "/ws//", "/wsx", "//", "/%77s", "/app.js/", "*", "/../app.js"]
)
def test_everything_else_is_404(target: str) -> None:
    assert status(request(target=target)) == 404
    assert status(request({"upgrade": None}, target=target, method="POST")) == 404


def test_a_body_is_never_read() -> None:
    for target, method, expected in (
        ("/", "GET", 413),
        ("/", "POST", 405),
        ("/ws", "POST", 405),
        ("/x", "PUT", 404),
    ):
        body = {"upgrade": None, "content-length": "7"}
        answer = decide(request(body, target=target, method=method), site(), check_handshake)
        assert isinstance(answer, Answer)
        assert (answer.status, answer.close) == (expected, True)


@pytest.mark.parametrize("path", ["/ws", "/ws/", "index.html", "/a?b"])
def test_pages_that_cannot_be_served(path: str) -> None:
    with pytest.raises(ConfigurationError):
        Site(EndpointConfig(path="/ws"), choose, {path: PAGE})


@pytest.mark.parametrize("content_type", ["text/plain\r\nX: y", "text/\xe9"])
def test_content_types_that_cannot_be_sent(content_type: str) -> None:
    with pytest.raises(ConfigurationError):
        Page(content_type, b"")


def never(request: HttpRequest, framing: Framing, full: bool) -> Connection:
    raise AssertionError


class Below:
    """A route, and what it was asked: the rest of each path."""

    def __init__(self, decision: Answer | Carrier | Endpoint | None = None) -> None:
        self.decision = decision
        self.asked: list[str] = []

    def __call__(self, request: HttpRequest, rest: str) -> Answer | Carrier | Endpoint | None:
        self.asked.append(rest)
        return self.decision


def routed(
    route: Route,
    prefix: str = "/live",
    *,
    origins: tuple[str, ...] = (),
    hosts: tuple[str, ...] | None = None,
) -> Site:
    plainly = site(origins, hosts)
    return Site(plainly.endpoint, choose, plainly.pages, {prefix: route})


@pytest.mark.parametrize("check", [check_handshake, None])
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
def test_a_route_has_what_is_below_its_prefix(method: str, check: Check | None) -> None:
    carrier = Carrier(never)
    route = Below(carrier)
    for target in ("/live/a", "/live/a/b?x=/live", "/live/", "/live//", "/live/%2e%2e/a"):
        assert decide(request(target=target, method=method), routed(route), check) is carrier
    assert route.asked == ["/a", "/a/b", "/", "//", "/%2e%2e/a"]


@pytest.mark.parametrize(
    "target", ["/live", "/lively", "/live?a", "/Live/a", "//live/a", "/x/live/a"]
)
def test_a_prefix_ends_on_the_border_of_a_segment(target: str) -> None:
    route = Below(Carrier(never))
    assert status(request(target=target), routed(route)) == 404
    assert route.asked == []


def test_the_endpoint_may_stand_on_the_prefix() -> None:
    route = Below(Carrier(never))
    where = routed(route, "/ws")
    for target in ("/ws", "/ws/", "/ws?a"):
        assert status(request(target=target), where) == 101
    assert route.asked == []
    assert decide(request(target="/ws/info"), where, check_handshake) == route.decision


def test_of_two_routes_each_has_its_own() -> None:
    one, two = Below(plain(200, "one")), Below(plain(200, "two"))
    where = Site(site().endpoint, choose, {}, {"/live": one, "/live2/a": two})
    assert status(request(target="/live2/a/b"), where) == 200
    assert (one.asked, two.asked) == ([], ["/b"])


def test_where_a_route_has_nothing_there_is_nothing() -> None:
    assert status(request(target="/live/a"), routed(Below(None))) == 404


def test_an_answer_of_a_route_is_like_any_other() -> None:
    where = routed(Below(plain(200, "Welcome.")))
    without = {"upgrade": None}
    got = decide(request(without, target="/live/a"), where, check_handshake)
    assert isinstance(got, Answer)
    assert (got.body, got.close, got.refused) == (b"Welcome.\n", False, None)
    head = decide(request(without, target="/live/a", method="HEAD"), where, check_handshake)
    assert isinstance(head, Answer)
    assert (head.headers, head.body) == (got.headers, b"")
    body = {**without, "content-length": "7"}
    posted = decide(request(body, target="/live/a", method="POST"), where, check_handshake)
    assert isinstance(posted, Answer)
    assert posted.close


@pytest.mark.parametrize(
    ("changes", "expected", "refused"),
    [
        ({"origin": "https://evil.example"}, 403, "origin"),
        ({"origin": "null"}, 403, "origin"),
        ({"origin": "http://\xe9"}, 400, "handshake"),
        ({"origin": ["http://shop.example:8000"] * 2}, 400, "handshake"),
        ({"host": "rebind.evil"}, 403, None),
        ({"host": "a/b"}, 400, None),
        ({"host": None}, 400, None),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_host_and_origin_are_judged_before_a_route_is_asked(
    changes: dict[str, str | list[str] | None], expected: int, refused: str | None, method: str
) -> None:
    route = Below(Carrier(never))
    where = routed(route, hosts=("shop.example",))
    changed = request({"upgrade": None, **changes}, target="/live/a", method=method)
    answer = decide(changed, where, check_handshake)
    assert isinstance(answer, Answer)
    assert (answer.status, answer.refused) == (expected, refused)
    assert route.asked == []


def test_the_origins_of_a_route_are_those_of_the_site() -> None:
    listed = routed(Below(plain(200, "")), origins=("https://a.example",))
    for origin, expected in (("https://a.example", 200), ("http://shop.example:8000", 403)):
        assert status(request({"origin": origin}, target="/live/a"), listed) == expected
    nobody = {"host": None, "upgrade": None, "origin": "http://a"}
    old = request(nobody, target="/live/a", version="1.0")
    assert status(old, routed(Below(plain(200, "")))) == 403
    assert status(old, routed(Below(plain(200, "")), origins=("*",))) == 200


@pytest.mark.parametrize("check", [check_handshake, None])
def test_a_websocket_of_a_route_is_judged_as_the_one_of_the_endpoint(check: Check | None) -> None:
    where = routed(Below(Endpoint(None)))
    offered = {"sec-websocket-protocol": "v10.stomp, v12.stomp"}
    assert decide(request(offered, target="/live/a"), where, check) == Endpoint("v12.stomp")
    bad = request({"sec-websocket-protocol": "a b"}, target="/live/a")
    answer = decide(bad, where, check)
    assert isinstance(answer, Answer)
    assert (answer.status, answer.refused) == (400, "handshake")
    evil = decide(request({"origin": "http://evil.example"}, target="/live/a"), where, check)
    assert isinstance(evil, Answer)
    assert evil.status == 403


def test_a_framed_websocket_has_no_subprotocol() -> None:
    framed = Endpoint(None, framed=True)
    where = routed(Below(framed))
    offered = request({"sec-websocket-protocol": "v12.stomp"}, target="/live/a")
    assert decide(offered, where, check_handshake) == framed
    # Whoever offers what is none is not looked at either.
    assert decide(request({"sec-websocket-protocol": "a b"}, target="/live/a"), where) == framed


@pytest.mark.parametrize("framed", [False, True])
def test_the_mechanics_of_a_websocket_of_a_route_are_judged(framed: bool) -> None:
    where = routed(Below(Endpoint(None, framed=framed)))
    assert status(request({"sec-websocket-version": "8"}, target="/live/a"), where) == 426
    assert status(request({"upgrade": None}, target="/live/a"), where) == 426


def test_who_asks_for_the_endpoint_but_for_no_websocket_may_be_greeted() -> None:
    def greet(request: HttpRequest) -> Answer | None:
        return plain(200, "Welcome.") if request.method in ("GET", "HEAD") else None

    where = replace(site(), greet=greet)
    without = {"upgrade": None, "connection": None}
    got = decide(request(without), where, check_handshake)
    assert isinstance(got, Answer)
    assert (got.status, got.body, got.close) == (200, b"Welcome.\n", False)
    head = decide(request(without, method="HEAD"), where, check_handshake)
    assert isinstance(head, Answer)
    assert (head.status, head.body) == (200, b"")
    assert status(request(without, method="POST"), where) == status(
        request(without, method="POST"), site()
    )
    assert status(request(), where) == 101


@pytest.mark.parametrize(
    ("routes", "pages", "problem"),
    [
        (["live"], [], "must be like '/live'"),
        (["/live/"], [], "must be like '/live'"),
        (["/"], [], "must be like '/live'"),
        ([""], [], "must be like '/live'"),
        (["/a//b"], [], "must be like '/live'"),
        (["/a?b"], [], "must be like '/live'"),
        (["/a/*"], [], "must be like '/live'"),
        (["/app"], [], "'/app/ws', the path of the WebSocket, is below '/app'"),
        (["/a", "/a/b"], [], "'/a/b' is below '/a'"),
        (["/a/b", "/a"], [], "'/a/b' is below '/a'"),
        (["/a"], ["/a"], "'/a' belongs to the route '/a'"),
        (["/a"], ["/a/"], "'/a/' belongs to the route '/a'"),
        (["/a"], ["/a/b/c.js"], "'/a/b/c.js' belongs to the route '/a'"),
    ],
)
def test_routes_that_cannot_be_served(routes: list[str], pages: list[str], problem: str) -> None:
    endpoint = EndpointConfig(path="/app/ws")
    with pytest.raises(ConfigurationError, match=re.escape(problem)):
        Site(endpoint, choose, dict.fromkeys(pages, PAGE), dict.fromkeys(routes, Below()))


def test_routes_and_pages_side_by_side() -> None:
    endpoint = EndpointConfig(path="/app/ws")
    routes = dict.fromkeys(["/app/ws", "/app/wss", "/b/c", "/b/d"], Below())
    Site(endpoint, choose, dict.fromkeys(["/", "/app", "/b", "/b/cc"], PAGE), routes)


values = st.text(st.characters(min_codepoint=1, max_codepoint=255), max_size=20)


@settings(max_examples=300, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from([*GOOD, "origin", "sec-websocket-protocol", "content-length"]),
        st.none() | values | st.lists(values, max_size=2),
    ),
    st.sampled_from(["GET", "HEAD", "POST"]),
    st.sampled_from(["1.0", "1.1"]),
    st.sampled_from([site(), site(("https://a",), ("a",)), site(("*",))]),
    st.sampled_from([check_handshake, None]),
)
def test_any_headers_get_an_answer(
    changes: dict[str, str | Sequence[str] | None],
    method: str,
    version: str,
    where: Site,
    check: Check | None,
) -> None:
    assert status(request(changes, method=method, version=version), where, check) >= 101

"""What a request is answered, and rows H of the threat list that are judged on a whole head."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stocksync_ws.config import EndpointConfig
from stocksync_ws.errors import ConfigurationError
from stocksync_ws.types import HttpRequest
from stocksync_ws.wire.endpoint import Answer, Page, Site, Upgrade, decide, plain

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
PAGE = Page("text/html; charset=utf-8", b"<p>")


def choose(offered: Sequence[str]) -> str | None:
    return next((name for name in ("v12.stomp", "v11.stomp") if name in offered), None)


def site(
    origins: tuple[str, ...] = (), hosts: tuple[str, ...] | None = None, path: str = "/ws"
) -> Site:
    endpoint = EndpointConfig(path=path, allowed_origins=origins, allowed_hosts=hosts)
    return Site(endpoint, choose, {"/": PAGE, "/app.js": Page("text/javascript", b"1")})


GOOD = {
    "host": "shop.example:8000",
    "connection": "keep-alive, Upgrade",
    "upgrade": "WebSocket",
    "sec-websocket-key": KEY,
    "sec-websocket-version": "13",
}


def request(
    changes: dict[str, str | Sequence[str] | None] | None = None,
    *,
    target: str = "/ws",
    method: str = "GET",
    version: str = "1.1",
    secure: bool = False,
) -> HttpRequest:
    """A good handshake with some headers changed: None leaves one out, a list repeats it."""
    merged = {**GOOD, **(changes or {})}
    headers: list[tuple[str, str]] = []
    for name, value in merged.items():
        values = [value] if isinstance(value, str) else value or ()
        headers += [(name, item) for item in values]
    return HttpRequest(method, target, tuple(headers), version, "1.2.3.4:5", secure)


def status(changed: HttpRequest, where: Site | None = None) -> int:
    decision = decide(changed, where or site())
    if isinstance(decision, Upgrade):
        return 101
    assert dict(decision.headers)["X-Content-Type-Options"] == "nosniff"
    if changed.method != "HEAD":
        assert dict(decision.headers)["Content-Length"] == str(len(decision.body))
    return decision.status


@pytest.mark.parametrize("target", ["/ws", "/ws/", "/ws?token=x", "/ws/?"])
def test_a_good_handshake(target: str) -> None:
    assert decide(request(target=target), site()) == Upgrade(None, ACCEPT)


ROWS: dict[str, tuple[dict[str, str | Sequence[str] | None], int]] = {
    "H1 Host not ASCII": ({"host": "\xff\xfe"}, 400),
    "H2 Host of impossible punycode": ({"host": "xn--999999999"}, 400),
    "punycode": ({"host": "xn--bcher-kva.example:1"}, 101),
    "H3 subprotocol not ASCII": ({"sec-websocket-protocol": "\xe9"}, 400),
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
    "H15 blanks": ({"sec-websocket-protocol": "b" + " " * 15_000 + "x"}, 400),
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
def test_rows(name: str) -> None:
    changes, expected = ROWS[name]
    assert status(request(changes)) == expected


@pytest.mark.parametrize("target", ["/", "/ws", "/nothing"])
def test_host_is_judged_for_every_path(target: str) -> None:
    for changes in ({"host": "\xff"}, {"host": ["a", "a"]}, {"host": None}):
        assert status(request({**changes, "upgrade": None}, target=target)) == 400


def test_h10_http_1_0() -> None:
    answer = decide(request(version="1.0"), site())
    assert isinstance(answer, Answer)
    assert (answer.status, answer.refused) == (505, "handshake")
    assert "proxy_http_version" in (answer.log or "")
    assert status(request({"upgrade": None, "host": None}, version="1.0")) == 426
    assert status(request({"host": None}, version="1.1")) == 400


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
    decision = decide(request({"sec-websocket-protocol": offered}), site())
    assert decision == Upgrade(chosen, ACCEPT)


def test_h27_each_site_keeps_its_own_policy() -> None:
    changed = request({"origin": "https://a.example"})
    mine, other = site(("https://a.example",)), site(("https://b.example",))
    assert [status(changed, where) for where in (mine, other, mine)] == [101, 403, 101]


def test_h16_names_the_version_it_speaks() -> None:
    answer = decide(request({"sec-websocket-version": "8"}), site())
    assert isinstance(answer, Answer)
    assert ("Sec-WebSocket-Version", "13") in answer.headers


def test_a_refused_origin_is_logged_escaped_and_cut() -> None:
    origin = "http://\x1b[31m" + "x" * 500
    for where, rule in ((site(), "same origin"), (site(("http://a",)), "the 1 listed")):
        answer = decide(request({"origin": origin}), where)
        assert isinstance(answer, Answer)
        assert answer.refused == "origin"
        assert answer.log is not None
        assert "allowed_origins" in answer.log
        assert rule in answer.log
        assert "\\x1b[31mxxx" in answer.log
        assert len(answer.log) == 200
        assert b"31m" not in answer.body


def test_the_endpoint_without_an_upgrade() -> None:
    answer = decide(request({"upgrade": None}), site())
    assert isinstance(answer, Answer)
    assert (answer.status, answer.refused, answer.close) == (426, None, False)
    assert ("Upgrade", "websocket") in answer.headers
    assert b"WebSocket client" in answer.body
    head = decide(request(method="HEAD"), site())
    assert isinstance(head, Answer)
    assert (head.status, head.body, head.headers) == (426, b"", answer.headers)


@pytest.mark.parametrize("method", ["POST", "OPTIONS", "get"])
def test_other_methods(method: str) -> None:
    for target in ("/ws", "/"):
        answer = decide(request({"upgrade": None}, method=method, target=target), site())
        assert isinstance(answer, Answer)
        assert answer.status == 405
        assert ("Allow", "GET, HEAD") in answer.headers
        assert not answer.close
    answer = decide(request(method=method), site())
    assert isinstance(answer, Answer)
    assert (answer.status, answer.refused, answer.close) == (405, "handshake", True)


@pytest.mark.parametrize("target", ["/?x=1", "/"])
def test_pages(target: str) -> None:
    got = decide(request(target=target), site())
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
    head = decide(request(target=target, method="HEAD"), site())
    assert isinstance(head, Answer)
    assert (head.headers, head.body) == (got.headers, b"")


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
        answer = decide(request(body, target=target, method=method), site())
        assert isinstance(answer, Answer)
        assert (answer.status, answer.close) == (expected, True)


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


@pytest.mark.parametrize("path", ["/ws", "/ws/", "index.html", "/a?b"])
def test_pages_that_cannot_be_served(path: str) -> None:
    with pytest.raises(ConfigurationError):
        Site(EndpointConfig(path="/ws"), choose, {path: PAGE})


@pytest.mark.parametrize("content_type", ["text/plain\r\nX: y", "text/\xe9"])
def test_content_types_that_cannot_be_sent(content_type: str) -> None:
    with pytest.raises(ConfigurationError):
        Page(content_type, b"")


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
)
def test_any_headers_get_an_answer(
    changes: dict[str, str | Sequence[str] | None], method: str, version: str, where: Site
) -> None:
    assert status(request(changes, method=method, version=version), where) >= 101

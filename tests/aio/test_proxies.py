"""What trusted proxies say, and what a client cannot make them say."""

from __future__ import annotations

import pytest

from stocksync_ws import ConfigurationError, StompApp
from stocksync_ws.aio.proxies import TrustedProxies
from stocksync_ws.types import HttpRequest

TRUSTED = TrustedProxies(["10.0.0.0/8", "2001:db8::1", "192.0.2.7"])
PROXY = "10.0.0.1:5000"


def request(*headers: tuple[str, str], peer: str | None = PROXY) -> HttpRequest:
    return HttpRequest(
        method="GET",
        target="/ws",
        headers=(("host", "inner:8000"), *headers),
        http_version="1.1",
        peer=peer,
        secure=False,
    )


def seen(
    *headers: tuple[str, str], peer: str | None = PROXY, by: TrustedProxies = TRUSTED
) -> tuple[str | None, bool, str]:
    """Peer, whether by TLS, and Host."""
    told = by(request(*headers, peer=peer))
    assert len(told.all("host")) == 1
    return told.peer, told.secure, told.all("host")[0]


UNCHANGED = (PROXY, False, "inner:8000")


# One proxy


def test_without_a_word_of_a_proxy_nothing_changes() -> None:
    asked = request(("accept", "*/*"))
    assert TRUSTED(asked) is asked


def test_forwarded_gives_peer_scheme_and_host() -> None:
    told = seen(("forwarded", 'for="198.51.100.4:4711";proto=https;host=shop.example'))
    assert told == ("198.51.100.4:4711", True, "shop.example")


def test_x_forwarded_gives_peer_scheme_and_host() -> None:
    told = seen(
        ("x-forwarded-for", "198.51.100.4"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "shop.example:8443"),
    )
    assert told == ("198.51.100.4:0", True, "shop.example:8443")


@pytest.mark.parametrize(
    ("proto", "secure"), [("https", True), ("WSS", True), ("http", False), ("ws", False)]
)
def test_the_scheme_is_that_of_http_or_of_websocket(proto: str, secure: bool) -> None:
    headers = (("x-forwarded-for", "198.51.100.4"), ("x-forwarded-proto", proto))
    assert seen(*headers)[1] is secure


def test_a_request_that_came_by_tls_stays_so_when_nobody_says_otherwise() -> None:
    asked = HttpRequest("GET", "/ws", (("x-forwarded-for", "198.51.100.4"),), "1.1", PROXY, True)
    assert TRUSTED(asked).secure
    assert TRUSTED(asked).peer == "198.51.100.4:0"


def test_the_other_headers_stay_as_they_came() -> None:
    told = TRUSTED(request(("cookie", "a=b"), ("forwarded", "for=198.51.100.4;host=x")))
    assert told.headers[:1] == (("cookie", "a=b"),)
    assert told.target == "/ws"


# Who is believed


@pytest.mark.parametrize("peer", ["11.0.0.1:5000", "192.0.2.8:1", "garbage", "", None])
def test_who_is_not_trusted_is_not_read(peer: str | None) -> None:
    asked = request(("forwarded", "for=198.51.100.4"), ("x-forwarded-for", "1.1.1.1"), peer=peer)
    assert TRUSTED(asked) is asked


@pytest.mark.parametrize("peer", ["2001:db8::1:443", "[2001:db8::1]:443", "::ffff:10.0.0.1:80"])
def test_an_ipv6_proxy_is_known_however_it_is_written(peer: str) -> None:
    assert seen(("x-forwarded-for", "198.51.100.4"), peer=peer)[0] == "198.51.100.4:0"


@pytest.mark.parametrize("peer", ["proxy.internal:80", "testclient:50000", "", "10.0.0.1.evil:1"])
def test_who_has_no_address_is_no_proxy(peer: str) -> None:
    header = ("x-forwarded-for", "198.51.100.4")
    assert seen(header, peer=peer) == (peer, False, "inner:8000")


def test_who_comes_by_a_unix_socket_is_trusted_by_name() -> None:
    header = ("x-forwarded-for", "198.51.100.4")
    assert seen(header, peer=None, by=TrustedProxies(["unix"]))[0] == "198.51.100.4:0"
    assert seen(header, peer=None, by=TRUSTED)[0] is None
    assert seen(header, peer=PROXY, by=TrustedProxies(["unix"]))[0] == PROXY


# Several hops


@pytest.mark.parametrize("name", ["forwarded", "x-forwarded-for"])
def test_several_trusted_proxies_are_followed_to_the_client(name: str) -> None:
    hops = ["198.51.100.4", "192.0.2.7", "10.9.9.9"]
    if name == "forwarded":
        hops = [f"for={hop}" for hop in hops]
    assert seen((name, ", ".join(hops)))[0] == "198.51.100.4:0"
    assert seen(*((name, hop) for hop in hops))[0] == "198.51.100.4:0"


@pytest.mark.parametrize("name", ["forwarded", "x-forwarded-for"])
def test_what_stands_left_of_the_client_is_its_own_word(name: str) -> None:
    hops = ["203.0.113.66", "10.0.0.66", "198.51.100.4", "10.9.9.9"]
    if name == "forwarded":
        hops = [f"for={hop};host=evil.example;proto=https" for hop in hops[:2]] + [
            f"for={hop}" for hop in hops[2:]
        ]
    assert seen((name, ", ".join(hops))) == ("198.51.100.4:0", False, "inner:8000")


@pytest.mark.parametrize("hidden", ["unknown", "_gazonk", "", '""', "999.1.1.1", "a:b:c"])
def test_a_proxy_that_hides_the_client_does_not_let_it_speak_for_itself(hidden: str) -> None:
    spoofed = "for=203.0.113.66;host=evil.example;proto=https"
    told = seen(("forwarded", f"{spoofed}, for={hidden};proto=http"))
    assert told == UNCHANGED
    if hidden.isalnum():
        assert seen(("x-forwarded-for", f"203.0.113.66, {hidden}")) == UNCHANGED


def test_a_proxy_that_names_nobody_does_not_let_the_client_speak_for_itself() -> None:
    spoofed = "for=203.0.113.66;proto=http"
    assert seen(("forwarded", f"{spoofed}, proto=https")) == (PROXY, True, "inner:8000")
    columns = (("x-forwarded-proto", "http, https"), ("x-forwarded-host", "evil, shop.example"))
    assert seen(*columns) == (PROXY, True, "shop.example")


def test_columns_of_different_length_are_read_from_the_right() -> None:
    told = seen(
        ("x-forwarded-for", "198.51.100.4, 10.0.0.2"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "evil.example, outer.example, inner.example"),
    )
    assert told == ("198.51.100.4:0", True, "outer.example")


def test_a_kind_that_the_proxy_passes_on_as_the_client_sent_it_is_not_believed() -> None:
    spoofed = ("forwarded", "for=203.0.113.66;host=evil.example;proto=https")
    assert seen(spoofed, ("x-forwarded-for", "198.51.100.4")) == UNCHANGED
    spoofed = ("x-forwarded-for", "203.0.113.66")
    assert seen(spoofed, ("forwarded", "for=198.51.100.4;proto=https")) == UNCHANGED


def test_a_proxy_that_says_the_same_in_both_kinds_is_believed() -> None:
    told = seen(
        ("forwarded", 'for="198.51.100.4:4711";proto=https'), ("x-forwarded-for", "198.51.100.4")
    )
    assert told == ("198.51.100.4:4711", True, "inner:8000")


# How addresses are written


@pytest.mark.parametrize(
    ("node", "peer"),
    [
        ('"[2001:db8:cafe::17]:4711"', "2001:db8:cafe::17:4711"),
        ('"[2001:db8:cafe::17]"', "2001:db8:cafe::17:0"),
        ("198.51.100.4:80", "198.51.100.4:80"),
        ('"198.51.100.4:_hidden"', "198.51.100.4:0"),
        ('"198.51.100.4:80) connected as admin"', "198.51.100.4:0"),
        ('"[2001:db8:cafe::17]:\u0661"', "2001:db8:cafe::17:0"),
    ],
)
def test_a_node_has_an_address_and_perhaps_a_port(node: str, peer: str) -> None:
    assert seen(("forwarded", f"for={node}"))[0] == peer


def test_an_ipv6_address_of_x_forwarded_for_needs_no_brackets() -> None:
    assert seen(("x-forwarded-for", "2001:db8:cafe::17"))[0] == "2001:db8:cafe::17:0"
    assert seen(("x-forwarded-for", "[2001:db8:cafe::17]:80"))[0] == "2001:db8:cafe::17:80"


@pytest.mark.parametrize(
    "text",
    ["for", 'for="1.1.1.1', "=x", ";", ",", "for=1.1.1.1 2", "for=1.1.1.1,,", "\x00"],
)
def test_a_malformed_forwarded_says_nothing(text: str) -> None:
    assert seen(("forwarded", text))[0] == PROXY
    assert seen(("forwarded", f"{text}, for=198.51.100.4"))[0] == PROXY


def test_names_and_spaces_of_forwarded_are_read_as_the_specification_has_them() -> None:
    told = seen(("forwarded", ' For = x , FOR=198.51.100.4 ; Proto="HTTPS" '))
    assert told == UNCHANGED  # no space stands around "="
    told = seen(("forwarded", ' FOR=198.51.100.4 ; Proto="HTTPS" ;by=10.0.0.1'))
    assert told == ("198.51.100.4:0", True, "inner:8000")


@pytest.mark.parametrize("host", ["evil/..", "a b", "x" * 256, "\x00", "a@b", ""])
def test_a_host_that_cannot_be_one_is_left_alone(host: str) -> None:
    headers = (("x-forwarded-for", "198.51.100.4"), ("x-forwarded-host", host))
    assert seen(*headers) == ("198.51.100.4:0", False, "inner:8000")


def test_a_long_list_takes_linear_time_and_is_followed_no_further_than_the_client() -> None:
    assert seen(("forwarded", ",".join(["for=10.0.0.1"] * 2_000) + ",for=198.51.100.4"))[0] == (
        "198.51.100.4:0"
    )
    assert seen(("forwarded", " " * 8_000 + '"'))[0] == PROXY


# The setting


@pytest.mark.parametrize("wrong", ["10.0.0.1/8", "proxy.internal", "", "10.0.0.0/33"])
def test_what_is_no_address_and_no_network_is_told_when_the_app_is_made(wrong: str) -> None:
    with pytest.raises(ConfigurationError, match=r"trusted_proxies: .* no address and no network"):
        StompApp("/ws", trusted_proxies=[wrong])


def test_one_text_is_no_list() -> None:
    with pytest.raises(ConfigurationError, match="trusted_proxies: must be a list"):
        StompApp("/ws", trusted_proxies="10.0.0.1")


def test_without_trusted_proxies_the_site_sees_requests_as_they_come() -> None:
    asked = request(("forwarded", "for=198.51.100.4"))
    assert StompApp("/ws").site().seen(asked) is asked
    assert StompApp("/ws", trusted_proxies=["10.0.0.1"]).site().seen(asked) is not asked


def test_they_are_read_for_sockjs_too() -> None:
    app = StompApp("/ws", sockjs=True, trusted_proxies=["10.0.0.0/8"])
    site = app.site()
    assert set(site.routes) == {"/ws"}
    asked = site.seen(request(("x-forwarded-for", "192.0.2.7")))
    assert asked.peer is not None
    assert asked.peer.startswith("192.0.2.7")

"""@stomp/stompjs over sockjs-client in a real browser: every transport, on our server and uvicorn.

The transports of one server are tried side by side, on pages of three: a browser opens no more than
six connections to one host.
"""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from peers import tools
from peers.chromium import Page
from peers.examples import Example
from peers.proxy import Buffering, NoUpgrades, Proxy
from peers.stompjs import Peer

TRANSPORTS = (
    "websocket",
    "xhr-streaming",
    "xhr-polling",
    "eventsource",
    "htmlfile",
    "jsonp-polling",
    "iframe-eventsource",
    "iframe-xhr-polling",
    "iframe-htmlfile",
)
"""All that a browser of today has."""

DEAF = ("htmlfile", "iframe-htmlfile")
"""They do not notice a page that is cut, since Chromium fires no event for it: what notices is the
lack of heart-beats of STOMP.
"""

MANY = 1_000
SOON = 3.0
"""Seconds in which a client has a session again, or has found the transport that works."""
FRAGILE = (
    "100%",
    "%20 %25 %zz %",
    "\u5eab\u5b58\u30b3\u30fc\u30d2\u30fc\u8c46",
    "\u2615 \U0001f600 \U0001f469\u200d\U0001f680",
    "a\u2028b\u2029c\u200c\u200f\u2060\ufff0",
    "</script><script>top.broken = true</script><!-- & ' \" \\ \\u0041",
    "\t\r\n\x01\x7f\x85",
)


@pytest.fixture(params=["ours", "uvicorn"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Example]:
    tools.stompjs()
    tools.sockjs()
    if request.param == "uvicorn":
        tools.module("uvicorn", "uvicorn", "servers")
    script = "tests/interop/peers/sockjs_server.py"
    with Example(script, tmp_path / "sockjs.log", SERVED_BY=request.param) as server:
        yield server


class Fleet:
    """A client for each transport."""

    def __init__(self, open_page: Callable[[str], Page], server: Example | Proxy) -> None:
        self.peers: dict[str, Peer] = {}
        self._pages: list[Page] = []
        url = f"http://127.0.0.1:{server.port}"
        for place, name in enumerate(TRANSPORTS):
            if place % 3 == 0:
                self._pages.append(open_page(f"{url}/"))
            destinations = [f"/topic/{kind}/{name}" for kind in ("burst", "report", "echo")]
            self.peers[name] = Peer(
                self._pages[-1],
                name,
                f"{url}/ws",
                sockjs=[name],
                destinations=[*destinations, "/topic/stream/all"],
                recover=True,
                reconnectDelay=100,
                heartbeatIncoming=500 if name in DEAF else 0,
            )
        self.wait("it.ready === 4")

    def wait(self, condition: str, names: tuple[str, ...] = TRANSPORTS) -> None:
        for name in names:
            self.peers[name].wait(condition)

    def of_each(self, what: str) -> dict[str, Any]:
        return {name: peer.note(what) for name, peer in self.peers.items()}

    def run(self, expression: str) -> None:
        """On all pages; `NAMES` are the clients there."""
        for page in self._pages:
            page.run(expression.replace("NAMES", "Object.keys(clients)"))

    def broken(self) -> list[object]:
        return [page.run("globalThis.broken ?? null") for page in self._pages]


@pytest.fixture
def fleet(open_page: Callable[[str], Page], server: Example) -> Fleet:
    return Fleet(open_page, server)


def every(value: object) -> dict[str, object]:
    return dict.fromkeys(TRANSPORTS, value)


def test_each_transport_carries_all_in_order_and_unchanged(fleet: Fleet) -> None:
    assert fleet.of_each("transports") == {name: [name] for name in TRANSPORTS}

    numbers = list(range(MANY))
    fleet.run(f"NAMES.forEach((name) => publish(name, `/app/burst/${{name}}`, '{MANY}'))")
    for name, peer in fleet.peers.items():
        assert peer.messages(f"/topic/burst/{name}", MANY) == numbers, name

    fleet.run(
        f"NAMES.forEach((name) => {{ publishMany(name, `/app/take/${{name}}`, {MANY});"
        " publish(name, `/app/report/${name}`, ''); })"
    )
    for name, peer in fleet.peers.items():
        (taken,) = peer.messages(f"/topic/report/{name}", 1)
        assert [int(number) for number in taken] == numbers, name

    for body in FRAGILE:
        text = json.dumps(body)
        fleet.run(f"NAMES.forEach((name) => publish(name, `/topic/echo/${{name}}`, {text}))")
    for name, peer in fleet.peers.items():
        texts = f"messages.filter((m) => m.destination === '/topic/echo/{name}').map((m) => m.text)"
        peer.wait(f"it.{texts}.length === {len(FRAGILE)}")
        assert peer.note(texts) == list(FRAGILE), name
    assert fleet.broken() == [None] * 3
    assert fleet.of_each("closes") == every([])


@pytest.mark.parametrize("end", ["interrupt", "kill"])
def test_each_transport_comes_back_after_a_restart(fleet: Fleet, server: Example, end: str) -> None:
    getattr(server, end)()
    if end == "interrupt":
        fleet.wait("it.closes.length > 0")
        told = {"code": 1012, "reason": "server restarts", "clean": True}
        assert fleet.of_each("closes[0]") == every(told)
    server.start()
    began = time.monotonic()
    fleet.wait("it.connected.length === 2 && it.ready === 4")
    assert time.monotonic() - began < SOON
    fleet.run("NAMES.forEach((name) => publish(name, `/topic/echo/${name}`, '1'))")
    for name, peer in fleet.peers.items():
        assert peer.messages(f"/topic/echo/{name}", 1) == [1]


def test_each_transport_misses_nothing_when_its_carrier_is_cut(
    open_page: Callable[[str], Page], server: Example
) -> None:
    with Proxy(server.address) as network:
        fleet = Fleet(open_page, network)
        bob = Peer(open_page(f"http://127.0.0.1:{server.port}/"), "bob", _url(server), sockjs=[])
        bob.wait("it.connected.length === 1")
        for number in range(3):
            bob.send("/topic/stream/all", str(number))
        fleet.wait("it.messages.length === 3")
        network.cut()
        for number in range(3, 20):
            bob.send("/topic/stream/all", str(number))
        # Over eventsource sockjs-client knows no network that is gone: it asks again, without a
        # pause, until somebody tells it that the session has ended. So nothing is waited for here.
        network.restore()
        began = time.monotonic()
        fleet.wait("it.connected.length === 2 && it.ready === 4")
        assert time.monotonic() - began < SOON
        bob.send("/topic/stream/all", "20")
        for name, peer in fleet.peers.items():
            assert peer.messages("/topic/stream/all", 21) == list(range(21)), name
        assert fleet.of_each("transports") == {name: [name] * 2 for name in TRANSPORTS}


def _url(server: Example | Proxy) -> str:
    return f"http://127.0.0.1:{server.port}/ws"


@pytest.mark.parametrize(
    ("kind", "transport", "seconds"),
    [(NoUpgrades, "xhr-streaming", SOON), (Buffering, "xhr-polling", 10.0)],
)
def test_a_page_behind_a_proxy_finds_what_works(
    open_page: Callable[[str], Page],
    server: Example,
    kind: type[Proxy],
    transport: str,
    seconds: float,
) -> None:
    with kind(server.address) as proxy:
        page = open_page(f"http://127.0.0.1:{proxy.port}/")
        ann = Peer(page, "ann", _url(proxy), sockjs=[], destinations=["/topic/echo/ann"])
        ann.wait("it.ready === 1")
        assert ann.note("transports") == [transport]
        assert ann.note("took[0]") < seconds * 1_000
        ann.send("/topic/echo/ann", "1")
        assert ann.messages("/topic/echo/ann", 1) == [1]
        assert ann.note("closes") == []

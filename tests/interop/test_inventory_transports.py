"""The page over every transport, chosen and found, and what its client makes of bad answers."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest
from peers.chromium import Page
from peers.examples import ROOT, Example
from peers.proxy import Buffering, NoUpgrades, Proxy

from stocksync_ws import StompApp

NAMES = {
    "websocket": "WebSocket",
    "xhr_streaming": "XHR streaming",
    "eventsource": "server-sent events",
    "xhr": "XHR polling",
}
PAGE = ROOT / "examples" / "shared" / "page"
FILES = {f"/{file.name}": file for file in PAGE.iterdir()} | {"/": PAGE / "index.html"}

OpenPage = Callable[[str], Page]
OpenShop = Callable[..., Page]
every_transport = pytest.mark.parametrize("transport", NAMES)


def over(page: Page, transport: str) -> None:
    page.wait_for_text("transport", f"In use: {NAMES[transport]}")
    page.wait_for_text("status", "Online")


def choose(page: Page, transport: str) -> None:
    page.choose("transport-choice", transport)
    page.wait_for_text("feed", f"Over {NAMES[transport]}")
    over(page, transport)


def quantity(page: Page, product: str, expected: int) -> None:
    page.wait(f"document.querySelector('[data-testid=qty-{product}]').innerText === '{expected}'")


def trends(page: Page) -> list[str]:
    return page.run("[...document.querySelectorAll('.line')].map((it) => it.getAttribute('d'))")


@every_transport
def test_a_transport_that_is_chosen_carries_everything(
    shop: OpenShop, inventory: Example, transport: str
) -> None:
    here, there = shop(), shop()
    choose(here, transport)
    there.click("plus10-kettle")
    quantity(here, "kettle", 18)
    for _ in range(5):
        here.click("minus1-kettle")
    for page in (here, there):
        quantity(page, "kettle", 13)
    here.click_twice("minus10-espresso-machine")
    here.wait_for_text("row-espresso-machine", "Only 2 left of Espresso machine.")
    here.click("minus1-scale")
    quantity(there, "scale", 3)
    assert "refused" not in there.text("row-espresso-machine")
    here.open(f"http://127.0.0.1:{inventory.port}/")
    over(here, transport)  # It was remembered.
    assert here.run("document.querySelector('[data-testid=transport-choice]').value") == transport
    quantity(here, "kettle", 13)
    assert f"transport={transport} " in inventory.log
    choose(here, "websocket" if transport == "xhr" else "xhr")
    here.choose("transport-choice", "")
    over(here, "websocket")


@every_transport
def test_nothing_is_missed_across_a_cut_on_any_transport(
    shop: OpenShop, inventory: Example, network: Proxy, transport: str
) -> None:
    here, there = shop(network.port), shop(inventory.port)
    choose(here, transport)
    there.click("plus10-kettle")
    quantity(here, "kettle", 18)
    network.cut()
    here.wait_for_text("status", "econnecting")
    for button in ("minus1-kettle", "plus10-scale", "minus1-kettle"):
        there.click(button)
    quantity(there, "kettle", 16)
    network.restore()
    over(here, transport)
    here.wait_for_text("feed", "3 changes recovered, nothing missed")
    assert trends(here) == trends(there)
    here.click("plus1-kettle")
    for page in (here, there):
        quantity(page, "kettle", 17)


@every_transport
@pytest.mark.parametrize("end", ["kill", "interrupt"])
def test_the_page_comes_back_after_a_restart_on_any_transport(
    shop: OpenShop, inventory: Example, transport: str, end: str
) -> None:
    here = shop()
    choose(here, transport)
    here.click("plus10-kettle")
    quantity(here, "kettle", 18)
    getattr(inventory, end)()
    here.wait_for_text("status", "econnecting")
    inventory.start()
    over(here, transport)
    here.wait_for_text("feed", "Reconnected; stock reloaded")
    quantity(here, "kettle", 8)  # A new process has forgotten the change.
    here.click("minus1-grinder")
    quantity(here, "grinder", 29)


@pytest.mark.parametrize(("kind", "transport"), [(NoUpgrades, "xhr_streaming"), (Buffering, "xhr")])
def test_through_an_old_proxy_the_page_finds_a_way_within_3_seconds(
    open_page: OpenPage, inventory: Example, kind: type[Proxy], transport: str
) -> None:
    with kind(inventory.address) as proxy:
        there = open_page(f"http://127.0.0.1:{inventory.port}/")
        over(there, "websocket")
        here = open_page(f"http://127.0.0.1:{proxy.port}/")
        over(here, transport)
        assert here.run("performance.now()") < 3_000
        there.click("plus10-kettle")
        quantity(here, "kettle", 18)
        here.click("minus1-kettle")
        for page in (here, there):
            quantity(page, "kettle", 17)
        # What comes back finds the way again, and says what it has seen.
        proxy.cut()
        here.wait_for_text("status", "econnecting")
        there.click("minus1-kettle")
        quantity(there, "kettle", 16)
        proxy.restore()
        here.wait_for_text("feed", "1 change recovered, nothing missed")
        over(here, transport)
        quantity(here, "kettle", 16)


@pytest.fixture
def app() -> StompApp:
    """Repeats what it is sent, to `/topic/echo`."""
    return StompApp("/inventory-ws", sockjs=True, client_send=["/topic/**"])


TALK = """
(async () => {
  const { StompClient } = await import("/stomp.js");
  const { SockJSSocket } = await import("/sockjs.js");
  const openSocket = (url, protocols) => new SockJSSocket(url, protocols, %(transport)s);
  const client = new StompClient(`${location.origin}/inventory-ws`, { openSocket });
  const got = [];
  const states = [];
  client.addEventListener("state", ({ detail }) => states.push(detail.state));
  const subscription = client.subscribe("/topic/echo", ({ body }) => got.push(body));
  client.connect();
  const soon = () => new Promise((resolve) => setTimeout(resolve, 5));
  while (!subscription.ready) await soon();
  await subscription.ready;
  const texts = Array.from({ length: 400 }, (_, index) => `${index} 100%% %%20 \\u2028 \\u{1f375}`);
  const padding = "x".repeat(800);
  await Promise.all(texts.map((text) => client.send("/topic/echo", text + padding)));
  while (got.length < 400 && states.length < 3) await soon();
  await client.close();
  const same = got.every((text, index) => text === texts[index] + padding);
  return { states: states.slice(0, 3), same, count: got.length };
})()
"""
"""More than one stream holds, and more than one POST, with what a transport might spoil."""


@every_transport
def test_much_goes_both_ways_in_order_and_unspoiled(
    open_page: OpenPage, app: StompApp, transport: str
) -> None:
    with app.serve_in_thread(
        pages={"/": ROOT / "tests/interop/browser/client.html", **FILES}
    ) as server:
        page = open_page(f"http://127.0.0.1:{server.port}/login.js")
        told = page.run(TALK % {"transport": json.dumps(transport)})
        assert told == {"states": ["connecting", "online", "offline"], "same": True, "count": 400}
        paths = [url.rpartition("/")[2] for url in page.requested()]
        if transport != "websocket":
            assert 4 <= paths.count("xhr_send") < 50  # Many messages in each.
            assert paths.count(transport) >= 3  # A stream ended, and the next one was asked for.


def test_an_endpoint_without_sockjs_has_its_websocket(open_page: OpenPage) -> None:
    app = StompApp("/inventory-ws")
    with app.serve_in_thread(pages=FILES) as server:
        page = open_page(f"http://127.0.0.1:{server.port}/")
        over(page, "websocket")


class Useless(BaseHTTPRequestHandler):
    """Has the page, and an endpoint whose answers are good and empty."""

    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path in FILES:
            kinds = {".js": "text/javascript", ".css": "text/css", ".html": "text/html"}
            self._answer(kinds[FILES[path].suffix], FILES[path].read_bytes())
        elif path.endswith("/info"):
            self.asked.append("info")
            self._answer("application/json", b'{"websocket": false}')
        elif path.endswith("/eventsource"):
            self.asked.append("eventsource")
            self._answer("text/event-stream", b"")
        else:
            self._answer("application/json", b"{}")

    def do_POST(self) -> None:
        self.asked.append(self.path.rpartition("/")[2])
        self._answer("application/javascript", b"h" * 2_048 + b"\n")

    def _answer(self, kind: str, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def served_useless() -> Iterator[int]:
    Useless.asked.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Useless) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


def test_answers_without_a_frame_are_an_end_and_not_a_loop(open_page: OpenPage) -> None:
    with served_useless() as port:
        page = open_page(f"http://127.0.0.1:{port}/")
        page.wait_for_text("status", "Reconnecting in")
        page.click("retry")
        page.wait_for_text("status", "Reconnecting in")
        page.choose("transport-choice", "xhr")
        page.wait_for_text("status", "Reconnecting in")
        page.close()
        once = ["info", "xhr_streaming", "eventsource", "xhr"]
        assert Useless.asked[:8] == [*once, *once]
        assert len(Useless.asked) < 40

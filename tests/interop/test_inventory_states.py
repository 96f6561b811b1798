"""The page of the inventory example in each of its states: what it says, and what it covers."""

import json
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from peers.chromium import Page
from peers.examples import PATIENCE, ROOT, Example
from peers.proxy import Proxy
from peers.tools import module

from stocksync_ws import StompApp

OpenPage = Callable[[str], Page]
OpenShop = Callable[..., Page]

MINUS = "\N{MINUS SIGN}"
FILES = {f"/{file.name}": file for file in (ROOT / "examples" / "shared" / "page").iterdir()}
PHONES = pytest.mark.parametrize("width", [390, 320])


def phone(page: Page, width: int) -> None:
    page.resize(width, 844, mobile=True)


def quantity(page: Page, product: str, expected: int) -> None:
    page.wait(f"document.querySelector('[data-testid=qty-{product}]').innerText === '{expected}'")


def button(testid: str) -> str:
    return f"document.querySelector('[data-testid={testid}]')"


# ---- the buttons


def test_a_change_that_would_be_refused_cannot_be_made(shop: OpenShop) -> None:
    here, there = shop(), shop()
    off = f"{button('minus10-espresso-machine')}.getAttribute('aria-disabled') === 'true'"
    assert not here.run(off)
    here.click("minus10-espresso-machine")
    for page in (here, there):
        page.wait(off)
        assert page.run(f"{button('minus10-espresso-machine')}.title") == "Only 2 left"
        assert page.run("document.querySelectorAll('[aria-disabled=true]').length") == 3
    # It keeps the focus, and its place among the others.
    assert here.run(f"document.activeElement === {button('minus10-espresso-machine')}")
    sent = len(here.frames("Sent"))
    here.click("minus10-espresso-machine")
    assert len(here.frames("Sent")) == sent
    there.click("plus10-espresso-machine")
    here.wait(f"!({off})")
    here.click("minus10-espresso-machine")
    quantity(there, "espresso-machine", 2)


def test_a_refused_change_is_told_in_its_row(shop: OpenShop) -> None:
    here = shop()
    here.click_twice("minus10-espresso-machine")
    here.wait_for_text("refusal-espresso-machine", f"{MINUS}10 refused: Only 2 left of Espresso")
    assert here.run(f"{button('refusal-espresso-machine')}.getAttribute('role')") == "alert"
    assert here.run(
        f"{button('row-espresso-machine')}.contains({button('refusal-espresso-machine')})"
    )
    assert not here.is_visible("toast")
    assert here.run("document.querySelectorAll('[data-kind=error]').length") == 1
    here.click("plus1-espresso-machine")
    here.wait(f"!{button('refusal-espresso-machine')}.checkVisibility()")


def test_a_change_that_was_not_confirmed_is_told_in_its_row(shop: OpenShop, network: Proxy) -> None:
    here = shop(network.port)
    network.swallow()
    here.click("minus1-kettle")
    network.wait_for_swallowed(b'"quantity":7')
    network.cut()
    here.wait_for_text("refusal-kettle", f"{MINUS}1 was not confirmed. Check the quantity")
    network.restore()
    quantity(here, "kettle", 7)


# ---- who made a change


def test_the_feed_says_who_made_a_change(shop: OpenShop) -> None:
    here, there = shop(), shop()
    here.click("plus10-kettle")
    here.wait_for_text("feed", "now 18 by you")
    there.wait_for_text("feed", "now 18 by visitor ")
    there.click("plus10-kettle")
    here.wait_for_text("feed", "now 28 by visitor ")
    names = re.findall(r"by (visitor [0-9a-f]{4}\b)", here.text("feed") + there.text("feed"))
    assert len(set(names)) == 2


def test_nobody_chooses_the_name_that_the_feed_shows(shop: OpenShop, inventory: Example) -> None:
    here = shop()
    client = module("websockets.sync.client", "websockets")
    body = json.dumps({"delta": 1, "by": "the boss"})
    with client.connect(f"ws://127.0.0.1:{inventory.port}/inventory-ws") as socket:
        socket.send("CONNECT\naccept-version:1.2\nhost:h\nlogin:the boss\nuser-name:the boss\n\n\0")
        assert "the boss" not in socket.recv(PATIENCE)
        socket.send(
            "SEND\ndestination:/app/inventory/kettle/adjust\nby:the boss\n"
            f"user-name:the boss\n\n{body}\0"
        )
        socket.send('SEND\ndestination:/app/inventory/scale/adjust\n\n{"delta":1}\0')
        quantity(here, "scale", 5)
    here.wait_for_text("feed", "now 5 by visitor ")
    assert "boss" not in here.text("feed")


# ---- offline


def test_while_offline_the_numbers_say_when_they_were_right(
    shop: OpenShop, network: Proxy, inventory: Example
) -> None:
    here, there = shop(network.port), shop(inventory.port)
    dated = "[...document.querySelectorAll('.as-of')].map((it) => it.innerText).filter(Boolean)"
    assert here.run(dated) == []
    there.click("plus10-kettle")
    quantity(here, "kettle", 18)
    heard = datetime.now(UTC).timestamp()
    network.cut()
    here.wait_for_text("status", "Reconnecting in")
    texts = here.run(dated)
    assert len(texts) == 6
    (text,) = set(texts)
    assert re.fullmatch(r"as of \d\d:\d\d:\d\d", text)
    # In the clock of the page, whatever its zone: not later than the cut.
    assert here.run(f"timeOf({json.dumps(text)})".replace("timeOf", TIME_OF)) <= heard + 1
    assert text in here.text("summary")
    # A connection that ends behind CONNECTED changes nothing of it.
    network.cut_after(b"\n\n\0")
    network.restore()
    here.wait("document.querySelectorAll('[data-kind=link]').length === 2")
    assert set(here.run(dated)) == {text}
    phone(here, 390)
    assert set(here.run(dated)) == {text}
    network.restore()
    here.wait(f"({dated}).length === 0")
    assert here.text("summary") == there.text("summary")


TIME_OF = """((text) => {
  const [hours, minutes, seconds] = text.slice(-8).split(":").map(Number);
  return new Date().setHours(hours, minutes, seconds, 0) / 1000;
})"""


@PHONES
def test_a_phone_has_connect_now(shop: OpenShop, network: Proxy, width: int) -> None:
    here = shop(network.port)
    phone(here, width)
    network.cut()
    # Pressed where it is found, before the countdown ends.
    here.wait(
        f"""(() => {{
          const [retry, pill] = [{button("retry")}, {button("status")}];
          if (pill.dataset.state !== "waiting") return false;
          const [box, beside] = [retry, pill].map((it) => it.getBoundingClientRect());
          const fits = box.left >= 0 && box.right <= beside.left && beside.right <= innerWidth;
          const hit = document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2);
          if (!fits || box.height < 44 || hit !== retry) return false;
          retry.click();
          return pill.dataset.state === "connecting";
        }})()"""
    )
    network.restore()
    here.wait_for_text("status", "Online")


def test_an_end_for_good_is_not_told_as_a_restart(shop: OpenShop) -> None:
    here = shop()
    # The server refuses the frame and closes; to come back would not help.
    subscribe = "client.subscribe('/topic//x', () => {})"
    here.run(f"import('/client.js').then(({{ client }}) => {subscribe}).then(() => 0)")
    here.wait_for_text("status", "Offline")
    here.wait_for_text("feed", "Connection ended")
    assert not re.search("restart|Reconnecting", here.text("feed") + here.text("status"))
    assert here.is_visible("retry")


# ---- the toast


HITTABLE = """[...document.querySelectorAll("button, select, input")].filter((it) => {
  const box = it.getBoundingClientRect();
  const hit = document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2);
  return it.contains(hit) || hit?.closest("label")?.contains(it);
})"""


SHOW_TOAST = f"""(async (top) => {{
  scrollTo(0, top);
  const before = {HITTABLE};
  const {{ toast }} = await import("/feed.js");
  toast("Restock", "The server could not be reached.");
  const after = new Set({HITTABLE});
  const gone = (it) => it.getBoundingClientRect().bottom > innerHeight;
  const covered = before.filter((it) => !after.has(it) && !gone(it));
  const box = document.getElementById("toast").getBoundingClientRect();
  const seen = box.top >= 0 && box.bottom <= innerHeight && box.right <= innerWidth;
  return {{ count: before.length, covered: covered.map((it) => it.outerHTML), seen }};
}})"""


@pytest.mark.parametrize("width", [320, 390, 700, 820, 1_000, 1_280])
def test_the_toast_is_over_no_button(shop: OpenShop, width: int) -> None:
    here = shop()
    phone(here, width)
    for top in (0, 450, 100_000):
        shown = here.run(f"{SHOW_TOAST}({top})")
        assert shown["count"] > 5
        assert shown["covered"] == []
        assert shown["seen"]
        here.click("toast-close")
        assert not here.is_visible("toast")


# ---- what explains itself


@pytest.mark.parametrize("width", [320, 390, 1_280])
def test_urgent_says_what_it_does(shop: OpenShop, width: int) -> None:
    here = shop()
    phone(here, width)
    meaning = "document.getElementById('urgent-meaning')"
    assert here.run(f"{meaning}.innerText") == (
        "Marks your changes on every page until they are seen"
    )
    box = here.run(f"{meaning}.getBoundingClientRect().toJSON()")
    assert box["width"] > 100
    assert box["left"] >= 0
    assert box["right"] <= width
    described = "document.getElementById(document.getElementById('urgent')"
    assert here.run(f"{described}.getAttribute('aria-describedby')) === {meaning}")
    assert here.run("document.documentElement.scrollWidth") == width


# ---- without JavaScript


def read_aloud(page: Page, url: str) -> str:
    """What a screen reader reads of a page that runs no scripts."""
    page.call("Emulation.setScriptExecutionDisabled", value=True)
    page.call("Accessibility.enable")
    page.events.clear()
    page.call("Page.navigate", url=url)
    until = time.monotonic() + PATIENCE
    while not any(method == "Page.loadEventFired" for method, _ in page.events):
        assert time.monotonic() < until, "the page was never loaded"
        page.call("Network.enable")  # Events come with an answer.
    nodes: list[dict[str, Any]] = page.call("Accessibility.getFullAXTree")["nodes"]
    return "\n".join(str(node["name"].get("value", "")) for node in nodes if "name" in node)


PROMISES = r"\u2026|Loading|Connecting|Waiting"


def test_without_javascript_nothing_loads_for_ever(open_page: OpenPage, inventory: Example) -> None:
    text = read_aloud(open_page("about:blank"), f"http://127.0.0.1:{inventory.port}/")
    assert "needs JavaScript" in text
    assert not re.search(PROMISES, text)
    for part in ("Urgent", "Quantity", "Automatic", "Activity"):
        assert part not in text


def test_without_its_script_the_page_promises_nothing(open_page: OpenPage) -> None:
    files = {path: file for path, file in FILES.items() if path != "/app.js"}
    app = StompApp("/inventory-ws")
    with app.serve_in_thread(pages={"/": FILES["/index.html"], **files}) as server:
        page = open_page(f"http://127.0.0.1:{server.port}/")
        text = page.run("document.body.innerText")
        assert "once the page has connected to the server" in text
        assert not re.search(PROMISES, text)

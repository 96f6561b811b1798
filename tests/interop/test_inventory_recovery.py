"""The page of the inventory example across a cut connection, to a server that goes on."""

import json
import re
from collections.abc import Callable

import pytest
from peers.chromium import Page
from peers.examples import PATIENCE, Example
from peers.proxy import Proxy
from peers.tools import module

OpenShop = Callable[..., Page]

MINUS = "\N{MINUS SIGN}"
EVERYTHING = "[...document.querySelectorAll('[data-testid=feed] .entry')].reverse()"
"""The entries of the feed, the oldest first."""


def quantity(page: Page, product: str, expected: int) -> None:
    page.wait(f"document.querySelector('[data-testid=qty-{product}]').innerText === '{expected}'")


def feed(page: Page) -> list[list[str]]:
    """Kind, title and text of every entry; not its time, and not the number of a visitor."""
    entries: list[list[str]] = page.run(
        f"{EVERYTHING}.map((it) => [it.dataset.kind, ...[...it.querySelectorAll('.entry-title,"
        " .entry-text')].map((part) => part.innerText.replace(/\\s+/g, ' '))])"
    )
    return [[re.sub(" by visitor [0-9a-f]{4}", " by V", part) for part in each] for each in entries]


def trends(page: Page) -> list[str]:
    """The lines that the sparklines draw."""
    return page.run("[...document.querySelectorAll('.line')].map((it) => it.getAttribute('d'))")


def loads(page: Page) -> int:
    """How often the page has asked for the whole stock."""
    return sum("destination:/app/inventory\n" in frame for frame in page.frames("Sent"))


def lose(page: Page, network: Proxy) -> None:
    network.cut()
    page.wait_for_text("status", "econnecting")


def come_back(page: Page, network: Proxy) -> None:
    network.restore()
    page.wait("document.querySelector('[data-testid=status]').innerText === 'Online'")


def test_nothing_is_missed_across_a_cut_connection(
    shop: OpenShop, inventory: Example, network: Proxy
) -> None:
    here, there = shop(network.port), shop(inventory.port)
    there.click("plus10-kettle")
    quantity(here, "kettle", 18)
    lose(here, network)
    for button in ("minus1-kettle", "plus10-scale", "minus1-kettle"):
        there.click(button)
    there.click("urgent")
    there.click("minus1-grinder")
    quantity(there, "grinder", 29)
    quantity(here, "kettle", 18)
    come_back(here, network)
    here.wait_for_text("feed", "4 changes recovered")
    quantity(here, "kettle", 16)
    assert feed(here) == [
        ["change", "Gooseneck kettle", "+10 now 18 by V"],
        ["link", "Connection lost"],
        ["change", "Gooseneck kettle", f"{MINUS}1 now 17 by V While away"],
        ["change", "Brewing scale", "+10 now 14 by V While away"],
        ["change", "Gooseneck kettle", f"{MINUS}1 now 16 by V While away"],
        ["urgent", "Coffee grinder", f"{MINUS}1 now 29 by V Urgent While away"],
        ["recovered", "Reconnected", "4 changes recovered, nothing missed"],
    ]
    assert here.is_visible("recovered")
    assert here.text("recovered") == "4 recovered"
    # Beside the quantity stands the whole change.
    assert here.run("document.querySelector('[data-testid=row-kettle] .delta').textContent") == (
        f"{MINUS}2"
    )
    here.wait_for_text("row-grinder", "Urgent")
    # The lines have every point, as on the page that was never cut off.
    assert trends(here) == trends(there)
    assert here.text("summary") == there.text("summary")
    assert loads(here) == 1
    here.click("plus1-kettle")
    for page in (here, there):
        quantity(page, "kettle", 17)


def test_what_the_server_sent_into_the_void_is_recovered(
    shop: OpenShop, inventory: Example, network: Proxy
) -> None:
    here, there = shop(network.port), shop(inventory.port)
    network.swallow()
    there.click("plus10-kettle")
    there.click("minus1-kettle")
    quantity(there, "kettle", 17)
    network.wait_for_swallowed(b'"quantity":17')
    lose(here, network)
    there.click("minus1-scale")
    quantity(there, "scale", 3)
    come_back(here, network)
    here.wait_for_text("feed", "3 changes recovered")
    assert trends(here) == trends(there)
    assert loads(here) == 1


def test_where_nothing_happened_the_page_says_that_nothing_was_missed(
    shop: OpenShop, network: Proxy
) -> None:
    here = shop(network.port)
    for time in (1, 2):
        lose(here, network)
        come_back(here, network)
        here.wait(f"document.querySelectorAll('[data-kind=recovered]').length === {time}")
        assert here.text("recovered") == "Nothing missed"
        assert feed(here)[-1] == ["recovered", "Reconnected", "Nothing missed"]
    assert loads(here) == 1


@pytest.mark.parametrize(("words", "arrived"), [(b"MESSAGE\n", 0), (b'"quantity":12', 3)])
def test_a_replay_that_is_cut_goes_on_where_it_ended(
    shop: OpenShop, inventory: Example, network: Proxy, words: bytes, arrived: int
) -> None:
    here, there = shop(network.port), shop(inventory.port)
    lose(here, network)
    for _ in range(6):
        there.click("plus1-kettle")
    quantity(there, "kettle", 14)
    network.cut_after(words)
    network.restore()
    here.wait("document.querySelectorAll('[data-kind=link]').length === 2")
    quantity(here, "kettle", 8 + arrived)
    come_back(here, network)
    here.wait_for_text("feed", f"{6 - arrived} changes recovered")
    changes = [parts[1] for kind, *parts in feed(here) if kind == "change"]
    assert changes == [f"+1 now {count} by V While away" for count in range(9, 15)]
    assert trends(here) == trends(there)
    assert loads(here) == 1


def test_a_page_that_was_cut_off_before_it_had_the_stock_loads_it(
    open_page: Callable[[str], Page], shop: OpenShop, inventory: Example, network: Proxy
) -> None:
    there = shop(inventory.port)
    network.cut_after(b'"product_id":"espresso-machine"')
    here = open_page(f"http://127.0.0.1:{network.port}/")
    here.wait_for_text("status", "econnecting")
    there.click("plus10-kettle")
    quantity(there, "kettle", 18)
    come_back(here, network)
    here.wait_for_text("feed", "Reconnected; stock reloaded")
    assert here.text("summary") == there.text("summary")
    quantity(here, "kettle", 18)


def test_more_changes_than_the_history_holds_are_reloaded(
    shop: OpenShop, inventory: Example, network: Proxy
) -> None:
    here = shop(network.port)
    lose(here, network)
    adjust(inventory, "kettle", times=1_001)
    come_back(here, network)
    here.wait_for_text("feed", "Reconnected; stock reloaded")
    quantity(here, "kettle", 8 + 1_001)
    assert "Gooseneck kettle: 8 → 1009" in here.text("feed")
    assert not here.is_visible("recovered")
    assert loads(here) == 2
    lose(here, network)
    adjust(inventory, "kettle", times=1_000)
    come_back(here, network)
    here.wait_for_text("feed", "1000 changes recovered")
    quantity(here, "kettle", 8 + 2_001)
    assert loads(here) == 2


def test_after_a_restart_the_stock_is_reloaded(
    shop: OpenShop, inventory: Example, network: Proxy
) -> None:
    here = shop(network.port)
    here.click("plus10-kettle")
    quantity(here, "kettle", 18)
    inventory.kill()
    here.wait_for_text("status", "econnecting")
    inventory.start()
    here.wait_for_text("feed", "Reconnected; stock reloaded")
    quantity(here, "kettle", 8)
    assert not here.is_visible("recovered")
    lose(here, network)
    adjust(inventory, "scale", times=1)
    come_back(here, network)
    here.wait_for_text("feed", "1 change recovered")
    quantity(here, "scale", 5)


def adjust(inventory: Example, product: str, times: int) -> None:
    """Add one, so many times, as one client that is done when all have been applied."""
    client = module("websockets.sync.client", "websockets")
    body = json.dumps({"delta": 1})
    send = f"SEND\ndestination:/app/inventory/{product}/adjust\n%s\n{body}\0"
    with client.connect(f"ws://127.0.0.1:{inventory.port}/inventory-ws") as socket:
        socket.send("CONNECT\naccept-version:1.2\nhost:h\n\n\0")
        assert socket.recv(PATIENCE).startswith("CONNECTED")
        for _ in range(times - 1):
            socket.send(send % "")
        socket.send(send % "receipt:last\n")
        assert socket.recv(PATIENCE) == "RECEIPT\nreceipt-id:last\n\n\0"

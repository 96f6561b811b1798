"""Urgent changes on the page: acknowledged when they are seen, and marked when they come again."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from peers.chromium import Page
from peers.examples import ROOT
from peers.proxy import Proxy

from stocksync_ws import StompApp, Stream

OpenPage = Callable[[str], Page]
OpenShop = Callable[..., Page]

EXAMPLES = ROOT / "examples"
FILES = {f"/{file.name}": file for file in (EXAMPLES / "shared" / "page").iterdir()}
FILES |= {"/": FILES["/index.html"], "/page.json": EXAMPLES / "inventory" / "page.json"}
LAST = "travel-mug"
"""The last row, which is out of view in a low window."""


def acknowledged(page: Page) -> int:
    return sum(frame.startswith("ACK\n") for frame in page.frames("Sent"))


def delivered(page: Page) -> list[str]:
    """What has come on the urgent topic, with its headers."""
    found = [part for frame in page.frames("Received") for part in frame.split("\0")]
    return [part for part in found if "\ndestination:/topic/inventory/urgent\n" in part]


def until(page: Page, condition: Callable[[], bool]) -> None:
    """Of what has gone over the wire: told by events, which come with answers to questions."""
    for _ in range(1_500):
        if condition():
            return
        page.run("new Promise((resolve) => setTimeout(resolve, 10))")
    raise AssertionError(f"{acknowledged(page)} acknowledgements of {delivered(page)}")


def wait_for_deliveries(page: Page, count: int) -> None:
    until(page, lambda: len(delivered(page)) >= count)


def until_acknowledged(page: Page, count: int) -> None:
    until(page, lambda: acknowledged(page) == count)


def low(page: Page) -> None:
    """A window in which the last row is out of view."""
    page.resize(1_280, 300)
    page.run("scrollTo(0, 0)")
    page.wait(f"{row(LAST)}.getBoundingClientRect().top > innerHeight")


def row(product: str) -> str:
    return f"document.querySelector('[data-testid=row-{product}]')"


def mark(page: Page, product: str) -> str:
    return str(page.run(f"{row(product)}.querySelector('.tag-urgent:not([hidden])')?.innerText"))


def change(page: Page, *products: str) -> None:
    page.click("urgent")
    for product in products:
        page.click(f"minus1-{product}")
    page.click("urgent")


def come_back(page: Page, network: Proxy) -> None:
    network.cut()
    page.wait_for_text("status", "econnecting")
    network.restore()
    page.wait("document.querySelector('[data-testid=status]').innerText === 'Online'")
    page.wait_for_text("feed", "Reconnected")


def test_the_urgent_topic_is_acknowledged_one_by_one(shop: OpenShop) -> None:
    here, there = shop(), shop()
    (subscribe,) = [
        frame
        for frame in here.frames("Sent")
        if "SUBSCRIBE" in frame and "\ndestination:/topic/inventory/urgent\n" in frame
    ]
    assert "\nack:client-individual\n" in subscribe
    change(there, "grinder", "kettle")
    for page in (here, there):
        page.wait_for_text("row-grinder", "Urgent")
        page.wait_for_text("row-kettle", "Urgent")
        assert mark(page, "kettle") == "Urgent"
        tag = f"{row('kettle')}.querySelector('.tag-urgent')"
        assert page.run(f"{tag}.title") == "Who made this change wants everybody to see it."
        until_acknowledged(page, 2)


def test_what_was_seen_does_not_come_again(shop: OpenShop, network: Proxy) -> None:
    here, there = shop(network.port), shop()
    change(there, "grinder")
    here.wait_for_text("row-grinder", "Urgent")
    come_back(here, network)
    change(there, "kettle")
    here.wait_for_text("row-kettle", "Urgent")
    until_acknowledged(here, 2)
    assert len(delivered(here)) == 2
    assert "again" not in here.text("feed")


def test_what_is_out_of_view_is_acknowledged_when_it_comes_into_view(shop: OpenShop) -> None:
    here, there = shop(), shop()
    low(here)
    change(there, LAST)
    wait_for_deliveries(here, 1)
    here.wait(f"{row(LAST)}.querySelector('.tag-urgent').checkVisibility()")
    assert acknowledged(here) == 0
    here.run(f"{row(LAST)}.scrollIntoView()")
    until_acknowledged(here, 1)
    assert mark(here, LAST) == "Urgent"


def test_what_comes_while_the_page_is_hidden_is_acknowledged_afterwards(shop: OpenShop) -> None:
    here, there = shop(), shop()
    hidden = "{ value: 'hidden', configurable: true }"
    here.run(f"Object.defineProperty(document, 'visibilityState', {hidden}); 0")
    change(there, "kettle")
    wait_for_deliveries(here, 1)
    here.wait_for_text("feed", "Urgent")
    assert acknowledged(here) == 0
    here.run(
        "delete document.visibilityState; document.dispatchEvent(new Event('visibilitychange')); 0"
    )
    until_acknowledged(here, 1)


def test_what_was_not_seen_comes_again_after_a_cut_and_is_marked(
    shop: OpenShop, network: Proxy
) -> None:
    here, there = shop(network.port), shop()
    low(here)
    # The first one is out of view, those behind it are seen.
    change(there, LAST, "espresso-machine", "espresso-machine")
    wait_for_deliveries(here, 3)
    until_acknowledged(here, 2)
    come_back(here, network)
    wait_for_deliveries(here, 6)
    here.wait_for_text("feed", "Urgent, again: it had not been seen")
    assert mark(here, LAST) == "Urgent, again"
    assert here.text("feed").count("again") == 1
    until_acknowledged(here, 4)  # What had been seen is not shown again.
    here.run(f"{row(LAST)}.scrollIntoView()")
    until_acknowledged(here, 5)
    come_back(here, network)
    change(there, "espresso-machine")
    here.run("scrollTo(0, 0)")
    wait_for_deliveries(here, 7)
    until_acknowledged(here, 6)
    assert len(delivered(here)) == 7


def test_what_is_not_seen_in_time_comes_again_on_the_same_connection_and_is_marked(
    open_page: OpenPage,
) -> None:
    with impatient() as (app, port):
        page = open_page(f"http://127.0.0.1:{port}/")
        page.wait_for_text("status", "Online")
        page.wait(row("p9"))
        page.resize(1_280, 300)
        page.wait(f"{row('p9')}.getBoundingClientRect().top > innerHeight")
        app.template.convert_and_send("/topic/inventory/urgent", item("p9"))
        page.wait_for_text("feed", "Urgent, again: it had not been seen")
        assert mark(page, "p9") == "Urgent, again"
        wait_for_deliveries(page, 3)
        assert page.text("feed").count("again") == 1
        assert all("\nredelivered:true\n" in each for each in delivered(page)[1:])
        page.run(f"{row('p9')}.scrollIntoView()")
        until_acknowledged(page, 1)
        count = len(delivered(page))
        app.template.convert_and_send("/topic/inventory/urgent", item("p8"))
        page.wait_for_text("row-p8", "Urgent")
        assert len(delivered(page)) <= count + 1
        assert page.complaints() == []


def item(product: str) -> dict[str, Any]:
    return {
        "product_id": product,
        "name": product,
        "quantity": 9,
        "urgent": True,
        "updated_at": datetime.now(UTC).isoformat(),
    }


@contextmanager
def impatient() -> Iterator[tuple[StompApp, int]]:
    """Waits 0.3 s for an acknowledgement."""
    policy = Stream(history=100, seconds=60, ack_timeout=0.3)
    app = StompApp("/inventory-ws", sockjs=True, destinations={"/topic/inventory/**": policy})

    @app.subscribe_mapping("/inventory")
    def stock() -> list[dict[str, Any]]:
        return [item(f"p{number}") for number in range(10)]

    with app.serve_in_thread(pages=FILES) as server:
        yield app, server.port

"""The page of the inventory example, in a real browser, as people use it."""

import json
from collections.abc import Callable

import pytest
from peers.chromium import Page
from peers.examples import Example

PRODUCTS = {
    "espresso-machine": 12,
    "grinder": 30,
    "kettle": 8,
    "scale": 4,
    "filter-papers": 240,
    "travel-mug": 57,
}

OpenShop = Callable[..., Page]


def wait_for_quantity(page: Page, product: str, quantity: int) -> None:
    find = f"document.querySelector('[data-testid=qty-{product}]').innerText"
    page.wait(f"{find} === {json.dumps(str(quantity))}")


def quantities(page: Page) -> dict[str, int]:
    return {product: int(page.text(f"qty-{product}")) for product in PRODUCTS}


def wait_for_feed(page: Page, kind: str, part: str) -> None:
    page.wait(
        f"[...document.querySelectorAll('[data-testid=feed] [data-kind={kind}]')]"
        f".some((entry) => entry.innerText.includes({json.dumps(part)}))"
    )


def test_the_page_shows_the_stock(shop: OpenShop) -> None:
    page = shop()
    assert quantities(page) == PRODUCTS
    assert page.text("status") == "Online"
    assert page.text("summary") == "6 products · 351 in stock · 1 low"
    assert page.complaints() == []


def test_a_click_changes_the_quantity_on_every_page(shop: OpenShop) -> None:
    here, there = shop(), shop()
    here.click("plus10-kettle")
    for page in (here, there):
        wait_for_quantity(page, "kettle", 18)
        wait_for_feed(page, "change", "Gooseneck kettle")
    there.click("minus1-kettle")
    for page in (here, there):
        wait_for_quantity(page, "kettle", 17)
    assert quantities(shop()) == {**PRODUCTS, "kettle": 17}


def test_many_clicks_are_all_counted(shop: OpenShop) -> None:
    here, there = shop(), shop()
    for _ in range(10):
        here.click("plus1-scale")
        there.click("plus10-scale")
    for page in (here, there):
        wait_for_quantity(page, "scale", 4 + 10 * 11)


def test_an_urgent_change_is_marked_for_everybody(shop: OpenShop) -> None:
    here, there = shop(), shop()
    here.click("urgent")
    here.click("minus1-grinder")
    for page in (here, there):
        wait_for_quantity(page, "grinder", 29)
        wait_for_feed(page, "urgent", "Coffee grinder")
        page.wait_for_text("row-grinder", "Urgent")
    assert "Urgent" not in there.text("row-kettle")


def test_an_error_reaches_the_sender_only_and_the_session_lives(shop: OpenShop) -> None:
    here, there = shop(), shop()
    here.click_twice("minus10-espresso-machine")
    here.wait_for_text("row-espresso-machine", "Only 2 left of Espresso machine.")
    wait_for_feed(here, "error", "Only 2 left of Espresso machine.")
    here.click("minus1-scale")
    for page in (here, there):
        wait_for_quantity(page, "espresso-machine", 2)
        wait_for_quantity(page, "scale", 3)
    # Whatever the other one was told came before this change.
    assert "refused" not in there.text("row-espresso-machine")
    assert there.run("document.querySelectorAll('[data-kind=error]').length") == 0
    assert here.run("document.querySelectorAll('[data-kind=link]').length") == 0


@pytest.mark.parametrize("end", ["kill", "interrupt"])
def test_the_page_comes_back_after_a_restart(shop: OpenShop, inventory: Example, end: str) -> None:
    here, there = shop(), shop()
    here.click("plus10-kettle")
    for page in (here, there):
        wait_for_quantity(page, "kettle", 18)
    getattr(inventory, end)()
    for page in (here, there):
        page.wait_for_text("status", "econnecting")
        wait_for_feed(page, "link", "Connection lost")
        wait_for_feed(page, "link", "The server stopped." if end == "interrupt" else "")
        assert "restarts" not in page.text("feed")
        assert page.run("[...document.querySelectorAll('.step')].every((b) => b.disabled)")
    inventory.start()
    for page in (here, there):
        page.wait_for_text("status", "Online")
        wait_for_feed(page, "back", "Reconnected; stock reloaded")
        wait_for_feed(page, "back", "Gooseneck kettle: 18 → 8")
        wait_for_feed(page, "back", "This demo keeps its stock in memory")
        assert page.text("feed").count("→") == 1
        assert quantities(page) == PRODUCTS  # a new process has forgotten the change
    here.click("minus1-travel-mug")
    there.click("plus1-grinder")
    for page in (here, there):
        wait_for_quantity(page, "travel-mug", 56)
        wait_for_quantity(page, "grinder", 31)
        assert quantities(page) == {**PRODUCTS, "travel-mug": 56, "grinder": 31}

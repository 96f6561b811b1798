"""The examples of frameworks, each started by its one command and used in a real browser."""

import json
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from peers import tools
from peers.chromium import Page
from peers.examples import Example

FRAMEWORKS = {
    "fastapi": ("fastapi", "uvicorn"),
    "starlette": ("starlette", "uvicorn"),
    "litestar": ("litestar", "uvicorn"),
    "quart": ("quart", "uvicorn"),
    "django": ("django", "uvicorn"),
    "flask": ("flask",),
    "django_wsgi": ("django", "werkzeug"),
}
"""Each with what its command installs."""
OpenShop = Callable[[], Page]


@pytest.fixture(params=FRAMEWORKS)
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Example]:
    name: str = request.param
    for module in FRAMEWORKS[name]:
        tools.module(module, module, "servers")
    database = str(tmp_path / "db.sqlite3")  # of Django
    with Example(f"examples/{name}/app.py", tmp_path / "example.log", DATABASE=database) as server:
        yield server


@pytest.fixture
def shop(open_page: Callable[[str], Page], server: Example) -> OpenShop:
    def open_shop() -> Page:
        page = open_page(f"http://127.0.0.1:{server.port}/")
        page.wait_for_text("status", "Online")
        page.wait("document.querySelectorAll('[data-testid^=row-]').length === 6")
        return page

    return open_shop


def wait_for_quantity(page: Page, product: str, quantity: int) -> None:
    find = f"document.querySelector('[data-testid=qty-{product}]').innerText"
    page.wait(f"{find} === {json.dumps(str(quantity))}")


def log_in(page: Page, password: str = "espresso") -> None:
    if not page.is_visible("login"):
        page.click("log-in")
    page.type("login-name", "ann")
    page.type("login-password", password)
    page.click("login-submit")


def change_by_ann(page: Page) -> None:
    log_in(page)
    page.wait_for_text("user", "ann")
    page.wait_for_text("feed", "Logged in as ann")
    page.click("plus1-kettle")


def test_the_story_of_two_windows(shop: OpenShop, server: Example) -> None:
    here, there = shop(), shop()
    change_by_ann(here)
    for page in (here, there):
        wait_for_quantity(page, "kettle", 9)
    server.wait_for_log("ann: +1 kettle")
    here.click("urgent")
    here.click("minus1-grinder")
    for page in (here, there):
        wait_for_quantity(page, "grinder", 29)
        page.wait_for_text("row-grinder", "Urgent")
    here.wait_for_text("feed", "by you Urgent")
    there.wait_for_text("feed", "by ann Urgent")
    here.click_twice("minus10-espresso-machine")
    here.wait_for_text("row-espresso-machine", "refused: Only 2 left of Espresso machine.")
    here.click("minus1-scale")
    for page in (here, there):
        wait_for_quantity(page, "scale", 3)
    # Whatever the other one was told came before this change.
    assert "refused" not in there.text("row-espresso-machine")
    assert "Connection lost" not in here.text("feed")
    assert here.complaints() == []
    assert there.complaints() == []


def test_who_is_not_logged_in_may_look_and_nothing_else(shop: OpenShop) -> None:
    here, there = shop(), shop()
    there.click("plus1-kettle")
    there.wait_for_text("row-kettle", "+1 refused: Log in to change the stock.")
    there.click("restock")
    there.wait_for_text("toast", "Restock Log in to change the stock.")
    there.wait("document.querySelectorAll('[data-kind=error]').length === 2")
    log_in(here, "tea")
    here.wait_for_text("login-error", "not right")
    change_by_ann(here)
    for page in (here, there):
        wait_for_quantity(page, "kettle", 9)
        wait_for_quantity(page, "scale", 4)
    here.click("log-out")
    here.wait_for_text("feed", "Logged out")
    here.click("plus1-kettle")
    here.wait_for_text("row-kettle", "Log in to change the stock.")
    wait_for_quantity(here, "kettle", 9)


TRANSPORTS = {
    "fastapi": "xhr_streaming",
    "starlette": "eventsource",
    "litestar": "xhr",
    "quart": "xhr",
    "django": "xhr",
    "flask": "eventsource",
    "django_wsgi": "xhr",
}
"""What stands in for the WebSocket on each."""


def choose(page: Page, transport: str) -> None:
    page.choose("transport-choice", transport)
    page.wait_for_text("feed", "Over ")
    page.wait_for_text("status", "Online")


def test_a_page_without_a_websocket_can_do_the_same(shop: OpenShop, server: Example) -> None:
    here, there = shop(), shop()
    transport = TRANSPORTS[server.name]
    choose(here, transport)
    change_by_ann(here)
    for page in (here, there):
        wait_for_quantity(page, "kettle", 9)
    server.wait_for_log("ann: +1 kettle")
    assert f"user='ann' transport={transport} " in server.log
    there.click("plus1-kettle")
    there.wait_for_text("row-kettle", "Log in to change the stock.")
    here.click_twice("minus10-espresso-machine")
    here.wait_for_text("row-espresso-machine", "Only 2 left of Espresso machine.")
    here.click("restock")
    for page in (here, there):
        wait_for_quantity(page, "scale", 24)
    assert here.complaints() == []


def test_what_is_changed_over_http_is_published(shop: OpenShop) -> None:
    here, there = shop(), shop()
    log_in(here)
    here.wait_for_text("user", "ann")
    here.click("restock")
    for page in (here, there):
        wait_for_quantity(page, "scale", 24)
    there.wait_for_text("feed", "now 24 by ann")
    assert here.run("document.querySelector('[data-testid=restock]').disabled")  # none is low


def test_who_is_logged_in_is_so_after_a_reload(shop: OpenShop, server: Example) -> None:
    here = shop()
    change_by_ann(here)
    wait_for_quantity(here, "kettle", 9)
    here.open(f"http://127.0.0.1:{server.port}/")
    here.wait_for_text("user", "ann")
    wait_for_quantity(here, "kettle", 9)


def test_who_goes_is_logged_and_a_stop_says_1012(shop: OpenShop, server: Example) -> None:
    here, there = shop(), shop()
    server.wait_for_log("client connected", 2)
    there.close()
    server.wait_for_log("client disconnected")
    here.run(
        f"""new Promise((resolve) => {{
          window.socket = new WebSocket("ws://127.0.0.1:{server.port}/inventory-ws", ["v12.stomp"]);
          socket.onopen = () => socket.send("CONNECT\\naccept-version:1.2\\nhost:x\\n\\n\\0");
          socket.onmessage = () => resolve(0);
          socket.onclose = ({{ code }}) => {{ window.code = code; }};
        }})"""
    )
    assert server.signal(signal.SIGTERM) == 0
    assert here.wait("window.code") == 1012
    here.wait_for_text("feed", "The server stopped")
    assert len(re.findall("client disconnected: .*server_shutdown", server.log)) == 2


def test_a_login_that_the_server_has_forgotten_is_given_up(shop: OpenShop, server: Example) -> None:
    here = shop()
    log_in(here)
    here.wait_for_text("user", "ann")
    server.kill()
    here.wait_for_text("status", "econnecting")
    server.start()
    here.wait_for_text("status", "Online")
    here.wait("document.querySelector('[data-testid=log-in]').checkVisibility()")
    here.click("plus1-kettle")
    here.wait_for_text("row-kettle", "Log in to change the stock.")


GUNICORN = (
    "gunicorn --threads 8 --no-control-socket --bind 127.0.0.1:{port} --chdir examples/%s app:app"
)


@pytest.mark.parametrize("name", ["flask", "django_wsgi"])
def test_gunicorn_serves_the_examples_of_wsgi(
    name: str, open_page: Callable[[str], Page], tmp_path: Path
) -> None:
    for module in (*FRAMEWORKS[name], "gunicorn"):
        tools.module(module, module, "servers")
    script = f"examples/{name}/app.py"
    environment = {"DATABASE": str(tmp_path / "db.sqlite3")}
    if name == "django_wsgi":  # Its first start makes the database.
        with Example(script, tmp_path / "first.log", **environment) as first:
            first.kill()  # It listens, so the database is there.
    log = tmp_path / "gunicorn.log"
    with Example(script, log, command=GUNICORN % name, **environment) as server:
        here, there = (open_page(f"http://127.0.0.1:{server.port}/") for _ in range(2))
        for page in (here, there):
            page.wait_for_text("status", "Online")
        choose(there, "xhr_streaming")
        change_by_ann(here)
        for page in (here, there):
            wait_for_quantity(page, "kettle", 9)
        here.click("restock")
        for page in (here, there):
            wait_for_quantity(page, "scale", 24)
        assert server.signal(signal.SIGTERM) == 0
        for page in (here, there):
            page.wait_for_text("feed", "The server stopped")

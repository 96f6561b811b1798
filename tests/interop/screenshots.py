"""Pictures of the examples' page, to look at: `python -m tests.interop.screenshots FOLDER`.

With `--docs` the light one also becomes `docs/images/inventory.png`, and those of the frameworks
become `docs/images/example-*.png`. Each of these shows the page at another moment.
"""

import argparse
import shutil
import sys
import tempfile
from collections.abc import Callable
from itertools import zip_longest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from peers import tools
from peers.chromium import Chromium, Page
from peers.examples import ROOT, Example
from peers.notebook import kernel
from peers.proxy import Proxy

CHANGES = {
    "grinder": (-1, +1, -1, -1, -1, +10, -1),
    "kettle": (+10, -1, -1, -1, +1),
    "travel-mug": (-1, -10, -1, +10),
    "filter-papers": (-10, -10, +10, -10),
    "espresso-machine": (-1, -1, +1, +1, -1),
    "scale": (-1, +1, -1),
}


def change(page: Page) -> None:
    """In turns, as several people would."""
    rounds = zip_longest(*([(product, step) for step in CHANGES[product]] for product in CHANGES))
    changes = [change for one_round in rounds for change in one_round if change]
    for product, step in changes:
        page.click(f"{'plus' if step > 0 else 'minus'}{abs(step)}-{product}")
    page.click("urgent")
    page.click("minus1-scale")
    page.click("urgent")
    page.click("plus1-kettle")
    page.wait(f"document.querySelectorAll('.entry').length === {len(changes) + 2}")
    page.hover_away()
    page.run("document.activeElement.blur()")


def shoot(page: Page, file: Path) -> None:
    """A picture when nothing moves any more, but for what moves without an end."""
    moving = "document.getAnimations().filter((it) => it.effect.getTiming().iterations < Infinity)"
    page.run(f"Promise.allSettled({moving}.map((it) => it.finished)).then(() => 0)")
    page.screenshot(file)


def recover(browser: Chromium, server: Example, folder: Path) -> None:
    """The page after a cut connection, during which somebody else made changes."""
    with Proxy(server.address) as network:
        page, other = browser.page(), browser.page(f"http://127.0.0.1:{server.port}/")
        page.open(f"http://127.0.0.1:{network.port}/")
        for one in (page, other):
            one.wait_for_text("status", "Online")
        for step in ("plus10-kettle", "minus1-grinder", "minus1-kettle"):
            page.click(step)
        page.wait("document.querySelectorAll('.entry').length === 3")
        for time in ("light", "dark"):
            network.cut()
            page.wait_for_text("status", "econnecting")
            for step in ("minus1-kettle", "minus10-filter-papers", "plus1-grinder"):
                other.click(step)
            other.click("urgent")
            other.click("minus1-travel-mug")
            other.click("urgent")
            network.restore()
            page.wait_for_text("recovered", "4 recovered")
            page.hover_away()
            page.scheme(time)
            shoot(page, folder / f"recovered-{time}.png")
        page.resize(390, 844, mobile=True)
        shoot(page, folder / "narrow-recovered.png")
        for width in (320, 700):
            page.resize(width, 844)
            shoot(page, folder / f"recovered-{width}.png")


def unseen(page: Page, other: Page, folder: Path) -> None:
    """An urgent change that was not seen comes again over another transport."""
    for one in (page, other):
        one.wait_for_text("status", "Online")
        one.wait("document.querySelectorAll('[data-testid^=row-]').length === 6")
    hidden = "{ value: 'hidden', configurable: true }"
    page.run(f"Object.defineProperty(document, 'visibilityState', {hidden}); 0")
    other.click("urgent")
    other.click("minus1-grinder")
    other.click("urgent")
    page.wait_for_text("feed", "Urgent")
    page.choose("transport-choice", "websocket")
    page.wait_for_text("feed", "again")
    shoot(page, folder / "urgent-again.png")
    page.resize(390, 844, mobile=True)
    page.run("scrollTo(0, 380)")
    shoot(page, folder / "narrow-urgent-again.png")
    page.run("scrollTo(0, 0)")
    told = "toast('Restock', 'Log in to change the stock.')"
    page.run(f"import('/feed.js').then(({{ toast }}) => {told})")
    shoot(page, folder / "narrow-toast.png")
    page.resize(1280, 800)
    shoot(page, folder / "toast.png")


def without_script(page: Page, url: str, folder: Path) -> None:
    page.call("Emulation.setScriptExecutionDisabled", value=True)
    page.events.clear()
    page.call("Page.navigate", url=url)
    while not any(method == "Page.loadEventFired" for method, _ in page.events):
        page.call("Network.enable")
    page.screenshot(folder / "without-script.png")
    page.resize(390, 844, mobile=True)
    page.screenshot(folder / "narrow-without-script.png")


def log_in(page: Page) -> None:
    page.click("log-in")
    page.type("login-name", "ann")
    page.type("login-password", "espresso")
    page.click("login-submit")
    page.wait_for_text("user", "ann")
    page.wait_for_text("feed", "Logged in as ann")


def with_token(page: Page) -> None:
    log_in(page)
    page.run("document.querySelector('[data-testid=feed] .entry').remove()")
    change(page)


def at_login(page: Page) -> None:
    page.click("log-in")
    page.type("login-name", "ann")
    page.type("login-password", "espresso")


def refused(page: Page) -> None:
    page.click("plus10-kettle")
    page.wait_for_text("row-kettle", "Log in")


def too_few(page: Page) -> None:
    log_in(page)
    for step in ("plus10-kettle", "minus1-scale", "minus10-travel-mug"):
        page.click(step)
    page.click_twice("minus10-espresso-machine")
    page.wait_for_text("row-espresso-machine", "Only")


def restocked(page: Page) -> None:
    log_in(page)
    for step in ("minus10-espresso-machine", "minus1-kettle", "minus1-kettle", "minus1-kettle"):
        page.click(step)
    page.wait("document.querySelectorAll('.low').length === 3")
    page.click("restock")
    page.wait("document.querySelectorAll('.low').length === 0")


def wrong_password(page: Page) -> None:
    page.click("log-in")
    page.type("login-name", "ann")
    page.type("login-password", "tea")
    page.click("login-submit")
    page.wait_for_text("login-error", "not right")


def by_several(page: Page) -> None:
    log_in(page)
    for step in ("minus1-scale", "plus1-scale", "plus10-kettle"):
        page.click(step)
    page.click_twice("minus10-espresso-machine")
    page.wait_for_text("row-espresso-machine", "Only")
    page.click("urgent")
    page.click("plus10-grinder")
    page.click("urgent")
    page.wait_for_text("row-grinder", "Urgent")


def sold(page: Page) -> None:
    """What the tills of the script sell by themselves."""
    page.click("minus1-scale")
    page.wait("document.querySelectorAll('.entry').length >= 9")


FRAMEWORKS: dict[str, tuple[Callable[[Page], None], str]] = {
    "fastapi": (with_token, "light"),
    "starlette": (at_login, "light"),
    "litestar": (refused, "light"),
    "quart": (too_few, "dark"),
    "django": (restocked, "light"),
    "flask": (wrong_password, "light"),
    "django_wsgi": (by_several, "light"),
    "threads": (sold, "dark"),
}


def frameworks(browser: Chromium, scratch: Path, folder: Path) -> None:
    """The page on every framework."""
    for name, (act, scheme) in FRAMEWORKS.items():
        database = str(scratch / f"{name}.sqlite3")
        script = f"examples/{name}/{'script' if name == 'threads' else 'app'}.py"
        with Example(script, scratch / f"{name}.log", DATABASE=database) as server:
            page = browser.page(f"http://127.0.0.1:{server.port}/", height=720)
            page.scheme(scheme)
            page.wait_for_text("status", "Online")
            page.wait("document.querySelectorAll('[data-testid^=row-]').length === 6")
            act(page)
            page.hover_away()
            shoot(page, folder / f"example-{name}.png")
            page.resize(360, 780, mobile=True)
            page.run("scrollTo(0, 0)")
            shoot(page, folder / f"narrow-{name}.png")
            if name == "quart":
                server.kill()
                page.wait_for_text("status", "Reconnecting in")
                shoot(page, folder / f"narrow-{name}-offline.png")
                page.resize(1000, 700)
                shoot(page, folder / f"medium-{name}-offline.png")
            page.close()


def notebook(browser: Chromium, folder: Path) -> None:
    """The page when a cell has stopped the server."""
    with kernel() as cells:
        for _ in range(3):
            cells.run_cell()
        page = browser.page(f"http://127.0.0.1:{cells.port}/", height=720)
        page.wait_for_text("status", "Online")
        page.wait("document.querySelectorAll('[data-testid^=row-]').length === 6")
        page.click("minus1-grinder")
        page.wait_for_text("qty-grinder", "29")
        for _ in range(3):
            cells.run_cell()
        page.wait_for_text("status", "Reconnecting in")
        page.hover_away()
        shoot(page, folder / "example-notebook.png")
        page.close()


def main() -> None:
    parser = argparse.ArgumentParser(description="Takes pictures of the inventory page.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--docs", action="store_true", help="update docs/images")
    args = parser.parse_args()
    folder: Path = args.folder
    folder.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch,
        Chromium(tools.chromium(), Path(scratch)) as browser,
        Example("examples/inventory/app.py", Path(scratch) / "inventory.log") as server,
    ):
        page = browser.page(f"http://127.0.0.1:{server.port}/")
        page.wait_for_text("status", "Online")
        page.wait("document.querySelectorAll('[data-testid^=row-]').length === 6")
        shoot(page, folder / "fresh.png")
        change(page)
        shoot(page, folder / "light.png")
        page.scheme("dark")
        shoot(page, folder / "dark.png")
        page.click_twice("minus10-espresso-machine")
        page.wait_for_text("row-espresso-machine", "Only")
        page.hover_away()
        shoot(page, folder / "dark-refused.png")
        page.scheme("light")
        shoot(page, folder / "light-refused.png")
        for name, width, height in (("medium", 1000, 700), ("tablet", 820, 1100)):
            page.resize(width, height)
            shoot(page, folder / f"{name}.png")
        page.resize(390, 844, mobile=True)
        shoot(page, folder / "narrow.png")
        page.run("scrollTo(0, document.body.scrollHeight)")
        shoot(page, folder / "narrow-end.png")
        page.run("scrollTo(0, 0)")
        page.choose("transport-choice", "xhr")
        page.wait_for_text("transport", "In use: XHR polling")
        page.hover_away()
        shoot(page, folder / "narrow-polling.png")
        recover(browser, server, folder)
        url = f"http://127.0.0.1:{server.port}/"
        unseen(browser.page(url), browser.page(url), folder)
        without_script(browser.page(), url, folder)
        server.kill()
        page.wait_for_text("status", "econnecting")
        page.resize(1280, 800)
        page.wait_for_text("status", "Reconnecting in")
        shoot(page, folder / "offline.png")
        page.resize(390, 844, mobile=True)
        shoot(page, folder / "narrow-offline.png")
        frameworks(browser, Path(scratch), folder)
        notebook(browser, folder)
    if args.docs:
        images = ROOT / "docs" / "images"
        images.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(folder / "light.png", images / "inventory.png")
        for name in (*FRAMEWORKS, "notebook"):
            shutil.copyfile(folder / f"example-{name}.png", images / f"example-{name}.png")


if __name__ == "__main__":
    main()

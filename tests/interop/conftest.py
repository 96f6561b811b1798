"""Fixtures of the interoperability tests.

They run the examples as processes and real clients against them; leave the folder out with
`--ignore=tests/interop`.
"""

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from peers import tools
from peers.chromium import Chromium, Page
from peers.examples import Example
from peers.pages import served_pages
from peers.proxy import Proxy

OF_CHROMIUM = re.compile(
    r"WebSocket connection to 'ws://127\.0\.0\.1:\d+/inventory-ws' failed"
    r"|Failed to load resource: (net::ERR_|the server responded with a status of 503)"
)
"""What Chromium itself says about a server that is not there, or stops; no page can prevent it."""


@pytest.fixture
def inventory(tmp_path: Path) -> Iterator[Example]:
    with Example("examples/inventory/app.py", tmp_path / "inventory.log") as server:
        yield server


@pytest.fixture
def network(inventory: Example) -> Iterator[Proxy]:
    """A way to the inventory that can be cut."""
    with Proxy(inventory.address) as proxy:
        yield proxy


BROKERS = {"ours": "examples/broker.py", "uvicorn": "tests/interop/peers/hosted_broker.py"}


@pytest.fixture(scope="session", params=BROKERS)
def broker(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Example]:
    """One for all: no test ends it, and each uses destinations of its own. It is served by our own
    server, then by a host.
    """
    log = tmp_path_factory.mktemp("broker") / "broker.log"
    with Example(BROKERS[request.param], log) as server:
        yield server


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    with Chromium(tools.chromium(), tmp_path_factory.mktemp("chromium")) as chromium:
        yield chromium


@pytest.fixture
def open_page(browser: Chromium) -> Iterator[Callable[[str], Page]]:
    """Opens pages that end with the test."""
    with ExitStack() as pages:

        def open_page(url: str) -> Page:
            page = browser.page(url)
            pages.callback(page.close)
            return page

        yield open_page


@pytest.fixture(scope="session")
def client_page() -> Iterator[str]:
    """The address of the page that holds @stomp/stompjs."""
    tools.stompjs()
    with served_pages() as address:
        yield address


@pytest.fixture
def shop(open_page: Callable[[str], Page], inventory: Example) -> Iterator[Callable[..., Page]]:
    """Opens the page of the inventory, there or through a port that leads there.

    When the test is over, it looks at what the pages did behind the scenes.
    """
    pages: list[tuple[Page, int]] = []

    def open_shop(port: int = inventory.port) -> Page:
        page = open_page(f"http://127.0.0.1:{port}/")
        pages.append((page, port))
        page.wait_for_text("status", "Online")
        page.wait("document.querySelectorAll('[data-testid^=row-]').length === 6")
        return page

    yield open_shop
    for page, port in pages:
        assert [text for text in page.complaints() if not OF_CHROMIUM.match(text)] == []
        hosts = {urlsplit(url).netloc for url in page.requested()}
        assert hosts == {f"127.0.0.1:{port}"}

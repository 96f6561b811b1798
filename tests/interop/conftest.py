"""Fixtures of the interoperability tests.

They run the examples as processes and real clients against them; leave the folder out with
`--ignore=tests/interop`.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from peers import tools
from peers.chromium import Chromium, Page
from peers.examples import Example
from peers.pages import served_pages


@pytest.fixture
def inventory(tmp_path: Path) -> Iterator[Example]:
    with Example("inventory/app.py", tmp_path / "inventory.log") as server:
        yield server


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Example]:
    """One for all: it keeps nothing, and no test ends it."""
    with Example("broker.py", tmp_path_factory.mktemp("broker") / "broker.log") as server:
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

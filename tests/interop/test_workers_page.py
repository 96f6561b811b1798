"""The example of several workers, in a browser: windows that different workers serve show the same,
and so does what a process publishes that serves nothing.
"""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from peers import tools
from peers.chromium import Page
from peers.examples import Example

from tests.redis.servers import Server, needed

OpenPage = Callable[[str], Page]
WINDOWS = 12
"""Windows that are opened until two workers have been seen."""


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[Server]:
    needed()
    server = Server(tmp_path / "redis")
    yield server
    server.kill()


@pytest.fixture
def workers(redis: Server, tmp_path: Path) -> Iterator[Example]:
    for module in ("fastapi", "uvicorn", "redis"):
        tools.module(module, module, "servers")
    log = tmp_path / "workers.log"
    with Example("examples/workers/app.py", log, REDIS_URL=redis.url) as server:
        yield server
        server.interrupt()


def worker_of(page: Page) -> str:
    page.wait_for_text("transport", "served by worker")
    found = re.search(r"worker (\d+)", page.text("transport"))
    assert found is not None
    return found[1]


def two_windows(open_page: OpenPage, server: Example) -> tuple[Page, Page]:
    """Two windows that two workers serve."""
    found: dict[str, Page] = {}
    for _ in range(WINDOWS):
        page = open_page(f"http://127.0.0.1:{server.port}/")
        page.wait_for_text("status", "Online")
        found.setdefault(worker_of(page), page)
        if len(found) == 2:
            here, there = found.values()
            return here, there
    raise AssertionError(f"{WINDOWS} windows, and one worker serves all of them")


def test_windows_at_two_workers_show_the_same(open_page: OpenPage, workers: Example) -> None:
    here, there = two_windows(open_page, workers)
    here.click("minus1-scale")
    there.wait_for_text("qty-scale", "3")
    there.wait_for_text("feed", f"at worker {worker_of(here)}")
    there.click("restock")
    for page in (here, there):
        page.wait_for_text("qty-scale", "23")
        page.wait_for_text("feed", "the warehouse")
    workers.wait_for_log("the warehouse: +20 scale, pushed to workers: 2")
    here.click("urgent")
    here.click("minus1-kettle")
    there.wait_for_text("row-kettle", "Urgent")
    for page in (here, there):
        assert page.complaints() == []

"""The examples without a framework around them: threads of a script, and a notebook."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from peers.chromium import Page
from peers.examples import PACKAGE, Example, free_port
from peers.notebook import NOTEBOOK, kernel

OpenPage = Callable[[str], Page]


def open_shop(open_page: OpenPage, port: int) -> Page:
    page = open_page(f"http://127.0.0.1:{port}/")
    page.wait_for_text("status", "Online")
    page.wait("document.querySelectorAll('[data-testid^=row-]').length === 6")
    return page


def quantity(page: Page, product: str) -> int:
    return int(page.text(f"qty-{product}"))


def wait_for_quantity(page: Page, product: str, expected: int) -> None:
    page.wait(f"document.querySelector('[data-testid=qty-{product}]').innerText === '{expected}'")


@pytest.fixture
def script(tmp_path: Path) -> Iterator[Example]:
    with Example("examples/threads/script.py", tmp_path / "example.log") as server:
        yield server


def test_what_threads_publish_is_seen_in_two_windows(open_page: OpenPage, script: Example) -> None:
    here, there = (open_shop(open_page, script.port) for _ in range(2))
    before = quantity(there, "filter-papers")
    there.wait(
        f"Number(document.querySelector('[data-testid=qty-filter-papers]').innerText) < {before}"
    )
    for _ in range(4):
        here.click("minus1-kettle")
    script.wait_for_log("a page: -1 kettle", 4)
    for page in (here, there):
        wait_for_quantity(page, "kettle", 24)  # It was low: a delivery came.
    script.wait_for_log("delivered kettle, told to 2")
    for part in ("by you", "by a till", "by a delivery"):
        here.wait_for_text("feed", part)
    there.wait_for_text("feed", "by visitor ")
    assert here.complaints() == []


@pytest.mark.parametrize("transport", ["xhr_streaming", "eventsource", "xhr"])
def test_the_script_serves_pages_without_a_websocket(
    open_page: OpenPage, script: Example, transport: str
) -> None:
    page = open_shop(open_page, script.port)
    page.choose("transport-choice", transport)
    page.wait_for_text("feed", "Over ")
    before = quantity(page, "filter-papers")
    page.wait(
        f"Number(document.querySelector('[data-testid=qty-filter-papers]').innerText) < {before}"
    )
    page.click("plus1-travel-mug")
    script.wait_for_log("a page: +1 travel-mug")
    assert f"transport={transport} " in script.log
    assert script.signal(signal.SIGTERM) == 0
    # Between two polls there is nobody to tell why.
    page.wait_for_text("feed", "Connection lost" if transport == "xhr" else "The server stopped")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_script_ends_and_tells_its_clients(
    open_page: OpenPage, script: Example, number: signal.Signals
) -> None:
    page = open_shop(open_page, script.port)
    assert script.signal(number) == 0
    page.wait_for_text("feed", "The server stopped")
    assert len(re.findall("client disconnected: .*server_shutdown", script.log)) == 1


def test_the_cells_of_the_notebook_do_what_they_say(open_page: OpenPage) -> None:
    with kernel() as notebook:
        assert notebook.run_cell() == ""  # The text.
        assert notebook.run_cell() == ""
        assert notebook.run_cell() == f"http://127.0.0.1:{notebook.port}/\n"
        here, there = (open_shop(open_page, notebook.port) for _ in range(2))
        there.choose("transport-choice", "xhr")
        there.wait_for_text("feed", "Over XHR polling")
        here.click("minus1-grinder")
        for page in (here, there):
            wait_for_quantity(page, "grinder", 29)
        seen = notebook.run_cell()
        assert seen.startswith("2 online\n")
        assert "  29 Coffee grinder\n" in seen
        notebook.run_cell()
        for page in (here, there):
            wait_for_quantity(page, "kettle", 18)
            page.wait_for_text("feed", "by the notebook")
        here.wait_for_text("feed", "by you")
        there.wait_for_text("feed", "by visitor ")
        assert notebook.run_cell() == "0 online\n"
        for page in (here, there):
            page.wait_for_text("status", "econnecting")
        notebook.run_cell()
        for page in (here, there):
            page.wait_for_text("status", "Online")
            wait_for_quantity(page, "kettle", 18)
        there.click("plus1-kettle")
        wait_for_quantity(here, "kettle", 19)
        notebook.run_cell()
        here.wait_for_text("status", "econnecting")
        assert notebook.shut_down() == 0


def test_a_kernel_that_is_shut_down_tells_its_clients(open_page: OpenPage) -> None:
    with kernel() as notebook:
        for _ in range(3):
            notebook.run_cell()
        page = open_shop(open_page, notebook.port)
        assert notebook.shut_down() == 0
        page.wait_for_text("feed", "The server stopped")


def test_the_notebook_runs_from_top_to_bottom() -> None:
    ran = subprocess.run(
        [sys.executable, str(NOTEBOOK)],
        env={**os.environ, "PYTHONPATH": str(PACKAGE), "PORT": str(free_port())},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "Coffee grinder" in ran.stdout

"""The lines that the pages of docs/embedding give to the console of a browser, in Chromium."""

import re
from collections.abc import Callable
from pathlib import Path

from peers.chromium import Page
from peers.examples import Example

PAGE = Path(__file__).parents[2] / "docs" / "embedding" / "fastapi.md"
"""The lines are the same on all pages; a law says so."""


def test_the_lines_for_the_console_show_messages(
    inventory: Example, open_page: Callable[[str], Page]
) -> None:
    found = re.search(r"^```js\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert found is not None
    host, port = inventory.address
    page = open_page(f"http://{host}:{port}/nothing-is-here")
    page.run("window.shown = []; console.log = (text) => window.shown.push(text); 1")
    page.run(f"(0, eval)({found[1]!r}); 1")
    page.wait("window.shown.some((text) => text.startsWith('CONNECTED\\n'))")
    frame = r"SEND\ndestination:/app/inventory/kettle/adjust\n\n{\"delta\":1}\0"
    page.run(f'socket.send("{frame}"); 1')
    page.wait("window.shown.some((text) => text.startsWith('MESSAGE\\n'))")

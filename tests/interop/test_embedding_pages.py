"""The JavaScript of docs/embedding and docs/sockjs.md, in Chromium."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from peers import tools
from peers.chromium import Page
from peers.examples import Example

from stocksync_ws import SockJSOptions, StompApp

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


SOCKJS = Path(__file__).parents[2] / "docs" / "sockjs.md"


@pytest.mark.parametrize("websocket", [True, False])
def test_the_lines_for_stompjs_over_sockjs_client_show_messages(
    open_page: Callable[[str], Page], websocket: bool
) -> None:
    (lines,) = re.findall(r"^```js\n(.*?)^```$", SOCKJS.read_text(), re.MULTILINE | re.DOTALL)
    app = StompApp("/inventory-ws", sockjs=SockJSOptions(websocket=websocket))
    pages = {
        "/": tools.PAGES / "sockjs.html",
        "/client.js": tools.PAGES / "client.js",
        "/stompjs.js": tools.stompjs(),
        "/sockjs.min.js": tools.sockjs(),
    }
    with app.serve_in_thread(pages=pages) as server:
        page = open_page(f"http://127.0.0.1:{server.port}/")
        page.run("window.shown = []; console.log = (text) => window.shown.push(text); 1")
        page.run(f"(0, eval)({json.dumps(lines + 'window.client = client;')}); 1")
        # The callback of the lines, and a word when the server has subscribed.
        page.run(
            """client.onConnect = ((theirs) => (frame) => {
              theirs(frame);
              client.watchForReceipt("r", () => { window.ready = true; });
              client.subscribe("/topic/other", () => {}, { receipt: "r" });
            })(client.onConnect); client.activate(); 1"""
        )
        page.wait("window.ready")
        app.template.convert_and_send("/topic/inventory", {"kettle": 9})
        page.wait("""window.shown.includes('{"kettle":9}')""")
        page.run("client.deactivate().then(() => 0)")

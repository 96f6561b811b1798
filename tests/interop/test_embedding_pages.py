"""The JavaScript of docs/embedding and docs/sockjs.md, in Chromium."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from peers import tools
from peers.chromium import Page
from peers.examples import Example

from stocksync_ws import (
    Authenticated,
    ConnectRequest,
    SessionDisconnected,
    SockJSOptions,
    StompApp,
)

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


TOKENS = Path(__file__).parents[2] / "docs" / "embedding" / "tokens.md"


@dataclass(frozen=True)
class User:
    name: str


def test_the_lines_for_tokens_keep_a_session_and_come_back_with_a_new_one(
    open_page: Callable[[str], Page],
) -> None:
    (lines,) = re.findall(r"^```js\n(.*?)^```$", TOKENS.read_text(), re.MULTILINE | re.DOTALL)
    lines = lines.replace('import { Client } from "@stomp/stompjs"', "const { Client } = StompJs")
    lines = lines.replace("wss://", "ws://").replace("client.activate()", "window.client = client")
    asked: list[str | None] = []

    def authenticate(request: ConnectRequest) -> Authenticated[User]:
        asked.append(request.passcode)
        return Authenticated(User("alice"), expires_in=2)

    ends: list[int] = []
    app = StompApp("/inventory-ws", authenticator=authenticate)

    @app.event_listener(SessionDisconnected)
    def ended(event: SessionDisconnected) -> None:
        ends.append(event.close_code)

    pages = {
        "/": tools.PAGES / "sockjs.html",
        "/client.js": tools.PAGES / "client.js",
        "/stompjs.js": tools.stompjs(),
        "/sockjs.min.js": tools.sockjs(),
    }
    with app.serve_in_thread(port=0, pages=pages) as server:
        page = open_page(f"http://127.0.0.1:{server.port}/")
        page.run(
            """window.tokens = 0;
            window.fetch = async (path) => {
              const token = path + " " + ++window.tokens;
              return { text: async () => token };
            }; 1"""
        )
        page.run(f"(0, eval)({json.dumps(lines)}); 1")
        page.run("client.reconnectDelay = 10; client.activate(); 1")
        page.wait("window.tokens >= 4")
        assert ends == []
        # A page that does not hear of the end comes back with a new token.
        page.run("client.publish = () => {}; 1")
        page.wait("window.tokens >= 6")
        page.wait("client.connected")
        page.run("client.deactivate().then(() => 0)")
    assert ends[0] == 4001
    assert asked[:3] == ["/token/alice 1", "/token/alice 2", "/token/alice 3"]

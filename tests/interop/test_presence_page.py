"""The JavaScript of docs/presence.md and the page of the room, in Chromium, as their readers use
them.
"""

import importlib.util
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from peers import tools
from peers.chromium import Page

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "presence.md").read_text()
CDN = "https://cdn.jsdelivr.net/npm/@stomp/stompjs@7/bundles/stomp.umd.min.js"
CLIENT = """
window.client = new StompJs.Client({
  brokerURL: `ws://${location.host}/ws`, reconnectDelay: 100, connectHeaders: { login: "ann" },
})
window.shown = ""
window.show = (members) => { shown = members.map((each) => each.user).join() }
"""

Open = Callable[[str], Page]


def block(language: str) -> str:
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)[0]


def test_the_page_that_follows_a_presence(open_page: Open, tmp_path: Path) -> None:
    names: dict[str, Any] = {"__name__": "page"}
    exec(compile(block("python"), "presence.md", "exec"), names)
    ws = names["ws"]
    (tmp_path / "index.html").write_text('<script src="/stomp.js"></script>')
    pages = {"/": tmp_path / "index.html", "/stomp.js": tools.stompjs()}
    with ws.serve_in_thread(pages=pages) as server:
        address = f"http://127.0.0.1:{server.port}/"
        ann, bob = open_page(address), open_page(address)
        for page, login in ((ann, "ann"), (bob, "bob")):
            page.run(CLIENT.replace('"ann"', json.dumps(login)) + "; 1")
            page.run(f"(0, eval)({block('js')!r}); client.activate(); 1")
            page.wait(f"shown.split(',').includes({json.dumps(login)})")
        ann.wait("shown === 'ann,bob'")
        assert names["names"](7) == ["ann", "bob"]
        bob.run("shown = ''; client.forceDisconnect(); 1")  # and it comes back by itself
        bob.wait("shown === 'ann,bob'")
        assert ann.run("shown") == "ann,bob"
        bob.close()
        ann.wait("shown === 'ann'")


@pytest.fixture
def room(tmp_path: Path) -> Any:
    """The example as a module, with the client from this machine."""
    folder = ROOT / "examples" / "room"
    spec = importlib.util.spec_from_file_location("room", folder / "app.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    text = (folder / "index.html").read_text()
    assert CDN in text
    (tmp_path / "index.html").write_text(text.replace(CDN, "/stomp.js"))
    return module.ws, {"/": tmp_path / "index.html", "/stomp.js": tools.stompjs()}


def enter(page: Page, name: str) -> None:
    page.run(f"by('name').value = {json.dumps(name)}; by('enter').requestSubmit(); 1")
    page.wait(f"by('state').textContent === {json.dumps(name + ', you are in')}")
    seen = "['enter', 'talk'].map((each) => by(each).checkVisibility()).join()"
    assert page.run(seen) == "false,true"


HERE = "[...document.querySelectorAll('#here li')].map((each) => each.textContent).join()"


def test_people_of_the_room_see_each_other(room: Any, open_page: Open) -> None:
    ws, pages = room
    with ws.serve_in_thread(pages=pages) as server:
        address = f"http://127.0.0.1:{server.port}/"
        ann, bob = open_page(address), open_page(address)
        enter(ann, "ann")
        ann.wait(f"{HERE} === 'ann' && by('count').textContent === 'One is here'")
        enter(bob, "bob")
        ann.wait(f"{HERE} === 'ann,bob' && by('count').textContent === '2 are here'")
        bob.run("by('status').value = 'busy'; by('status').onchange(); 1")
        ann.wait(f"{HERE} === 'ann,bob busy'")
        bob.run("by('text').value = '<b>hello</b>'; by('talk').requestSubmit(); 1")
        ann.wait("by('said').textContent === 'bob: <b>hello</b>'")
        second = open_page(address)
        enter(second, "bob")
        ann.wait(f"{HERE}.includes('2 windows')")
        second.close()
        bob.close()
        ann.wait(f"{HERE} === 'ann'")
        assert ann.complaints() == []


def test_a_page_that_lost_the_server_shows_it_and_comes_back(room: Any, open_page: Open) -> None:
    ws, pages = room
    with ws.serve_in_thread(pages=pages) as server:
        port = server.port
        page = open_page(f"http://127.0.0.1:{port}/")
        enter(page, "ann")
        page.wait(f"{HERE} === 'ann'")
    page.wait("by('here').classList.contains('stale') && by('say').disabled")
    with ws.serve_in_thread(port=port, pages=pages):
        page.wait(f"by('state').textContent === 'ann, you are in' && {HERE} === 'ann'")
        page.wait("!by('here').classList.contains('stale')")

"""The JavaScript of docs/delivery.md, in Chromium, against the server of its first block."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from peers import tools
from peers.chromium import Page

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "delivery.md").read_text()
CLIENT = "new StompJs.Client({brokerURL: `ws://${location.host}/ws`, reconnectDelay: 0})"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


@pytest.fixture
def served(tmp_path: Path) -> dict[str, Any]:
    """The application of the page, and what its server is to send besides."""
    (tmp_path / "index.html").write_text('<script src="/stomp.js"></script>')
    names: dict[str, Any] = {}
    exec(compile(blocks("python")[0], "delivery.md", "exec"), names)
    pages = {"/": tmp_path / "index.html", "/stomp.js": tools.stompjs()}
    return {"ws": names["ws"], "pages": pages}


def opened(open_page: Callable[[str], Page], port: int, script: str) -> Page:
    page = open_page(f"http://127.0.0.1:{port}/")
    page.run(f"window.client = {CLIENT}; window.seen = []; 1")
    page.run(f"(0, eval)({script!r}); client.activate(); 1")
    return page


def test_a_worker_acknowledges_and_gives_up(
    open_page: Callable[[str], Page], served: dict[str, Any]
) -> None:
    worker, _ = blocks("js")
    ws = served["ws"]
    with ws.serve_in_thread(pages=served["pages"]) as server:
        script = "var work = async (job) => { seen.push(job); if (job === 'hard') throw Error() };"
        for body in (b'"easy"', b"no JSON", b'"hard"'):
            ws.template.send("/queue/jobs", body)
        page = opened(open_page, server.port, script + worker)
        page.wait("seen.join() === 'easy,hard,hard'")
        page.run("client.subscribe('/queue/dead', ({ body }) => seen.push(body)); 1")
        page.wait("seen.slice(3).join() === 'no JSON,\"hard\"'")


def test_a_page_that_comes_back_shows_what_it_missed_or_loads_anew(
    open_page: Callable[[str], Page], served: dict[str, Any]
) -> None:
    _, room = blocks("js")
    script = "var load = () => seen.push('loaded'), show = ({ body }) => seen.push(body);"
    ws = served["ws"]
    with ws.serve_in_thread(pages=served["pages"]) as server:
        port = server.port
        page = opened(open_page, port, script + room.replace("let last", "var last"))
        page.wait("""seen.join() === '["welcome to 7"]' && last""")
        page.run("seen.length = 0; client.deactivate().then(() => 1)")
        ws.template.send("/topic/room/7", b"missed")
        page.run("client.activate(); 1")
        page.wait("seen.join() === 'missed'")
        page.run("seen.length = 0; client.deactivate().then(() => 1)")
    with ws.serve_in_thread(port=port, pages=served["pages"]):
        page.run("client.activate(); 1")
        page.wait("""seen.join() === 'loaded,["welcome to 7"]'""")

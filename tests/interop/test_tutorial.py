"""The tutorial and the recipes as somebody goes through them: a folder, a browser, workers."""

import importlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from peers import tools
from peers.chromium import Page
from peers.examples import PATIENCE, free_port

from stocksync_ws.testing import World

ROOT = Path(__file__).parents[2]
CDN = "https://cdn.jsdelivr.net/npm/@stomp/stompjs@7/bundles/stomp.umd.min.js"
FEED = "document.getElementById('feed').textContent"


def blocks(page: str, language: str) -> list[str]:
    text = (ROOT / "docs" / page).read_text()
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def files(page: str) -> dict[str, str]:
    """The files of a page, by the name that their first line says."""
    found = {}
    for text in (*blocks(page, "python"), *blocks(page, "html")):
        head = re.match(r"(?:# |<!-- )(\w+\.\w+)", text)
        if head is not None:
            found[head[1]] = text
    return found


def _take_ctrl_c() -> None:
    """A shell without job control has its background jobs ignore it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextmanager
def running(folder: Path, *command: str) -> Iterator["subprocess.Popen[str]"]:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        [sys.executable, *command],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=_take_ctrl_c,
    ) as process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                raise


@contextmanager
def step(name: str, folder: Path) -> Iterator[int]:
    """A step of the tutorial that serves its page; the port."""
    port = free_port()
    found = files("tutorial.md")
    assert found["index.html"].count(CDN) == 1
    (folder / "index.html").write_text(found["index.html"].replace(CDN, "/stomp.js"))
    beside = f'"index.html", "/stomp.js": {str(tools.stompjs())!r}'
    script = found[name].replace("8000", str(port)).replace('"index.html"', beside)
    (folder / name).write_text(script)
    with running(folder, name) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith(f"serving ws://127.0.0.1:{port}/inventory-ws")
        yield port


def of_console(text: str) -> str:
    """What somebody pastes into the console, who has a `client` already."""
    return text.replace("let last", "var last")


def test_step_1_serves(tmp_path: Path) -> None:
    (tmp_path / "step1.py").write_text(files("tutorial.md")["step1.py"].replace("8000", "0"))
    with running(tmp_path, "step1.py") as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert re.fullmatch(r"serving ws://127\.0\.0\.1:\d+/inventory-ws; Ctrl-C ends it\n", line)


def test_step_2_shows_a_line_a_second(open_page: Callable[[str], Page], tmp_path: Path) -> None:
    with step("step2.py", tmp_path) as port:
        page = open_page(f"http://127.0.0.1:{port}/")
        page.wait(f"""{FEED}.includes('{{"kettle":')""")
        page.wait("document.getElementById('state').textContent === 'live'")


def test_steps_3_and_4_change_the_stock(open_page: Callable[[str], Page], tmp_path: Path) -> None:
    sends, listens, _ = blocks("tutorial.md", "js")
    for name in ("step3.py", "step4.py"):
        with step(name, tmp_path) as port:
            page, other = (open_page(f"http://127.0.0.1:{port}/") for _ in range(2))
            for each in (page, other):
                each.wait("document.getElementById('state').textContent === 'live'")
            if name == "step4.py":
                page.run(f"(0, eval)({listens!r}); 1")
                page.run(f"(0, eval)({sends.replace('kettle', 'teapot')!r}); 1")
                page.wait(f"{FEED}.includes('there is no such product')")
            page.run(f"(0, eval)({sends!r}); 1")
            for each in (page, other):
                each.wait(f"""{FEED}.includes('{{"kettle":7}}')""")
            assert "refused" not in other.run(FEED)


def test_the_terminal_says_the_reasons_that_step_4_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "step3.py").write_text(files("tutorial.md")["step3.py"])
    monkeypatch.syspath_prepend(tmp_path)
    ws = importlib.import_module("step3").ws
    with World(ws) as world, pytest.raises(KeyError, match="teapot"):
        page, other = world.connect(), world.connect()
        page.send_to("/app/inventory/kettle/adjust", json={"delta": "many"})
        assert page.frame("ERROR").headers["message"] == "Bad payload"
        other.send_to("/app/inventory/teapot/adjust", json={"delta": -1})
        assert other.frame("ERROR").headers["message"] == "Handler failed"
        world.settle()
    section = (ROOT / "docs" / "tutorial.md").read_text().partition("\n## 4. ")[2]
    for text in ("Bad payload", "Handler failed"):
        assert f"`{text}`" in section
    for text in ("$.delta: expected int, got str", "KeyError: 'teapot'"):
        assert f"`{text}`" in section
        assert text in caplog.text


def test_step_5_shows_the_state_and_what_was_missed(
    open_page: Callable[[str], Page], tmp_path: Path
) -> None:
    sends, _, connects = blocks("tutorial.md", "js")
    with step("step5.py", tmp_path) as port:
        page, other = (open_page(f"http://127.0.0.1:{port}/") for _ in range(2))
        for each in (page, other):
            each.wait("document.getElementById('state').textContent === 'live'")
        other.wait(f"""{FEED}.includes('{{"grinder":30,"kettle":8}}')""")
        page.run(f"(0, eval)({of_console(connects)!r}); client.reconnectDelay = 0; 1")
        page.run("client.deactivate().then(() => { client.activate(); return 1 })")
        page.wait("window.last")
        other.run(f"(0, eval)({sends!r}); 1")
        page.wait(f"""{FEED}.includes('{{"kettle":7}}')""")
        page.run("document.getElementById('feed').textContent = ''; client.deactivate()")
        other.run(f"(0, eval)({sends!r}); 1")
        other.wait(f"""{FEED}.includes('{{"kettle":6}}')""")
        page.run("client.activate(); 1")
        page.wait(f"""{FEED}.includes('{{"kettle":6}}')""")
        assert "grinder" not in page.run(FEED)


def test_step_6_passes(tmp_path: Path) -> None:
    found = files("tutorial.md")
    for name in ("step5.py", "test_step5.py"):
        (tmp_path / name).write_text(found[name])
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    ran = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert "1 passed" in ran.stdout, ran.stdout + ran.stderr


@pytest.mark.parametrize(
    ("worker", "needs", "away"),
    [
        # Longer than the client has patience by its defaults: attempts after 1, 2 and 4 seconds,
        ("worker_stompman.py", "stompman[ws]", 5.0),
        # and three that are a fifth of a second apart.
        ("worker_stomp_py.py", "stomp.py", 1.5),
    ],
)
def test_a_worker_outlives_the_server_and_gets_what_is_enqueued(
    worker: str, needs: str, away: float, tmp_path: Path
) -> None:
    tools.module({"stompman[ws]": "stompman", "stomp.py": "stomp"}[needs], needs)
    found, port, pages = files("recipes.md"), free_port(), free_port()
    (tmp_path / worker).write_text(found[worker])
    (tmp_path / "jobs.py").write_text(found["jobs.py"].replace("8000", str(port)))
    shop = found["shop.py"].replace("8000", str(pages)).replace("8001", str(port))
    (tmp_path / "shop.py").write_text(shop)
    with ExitStack() as ends, running(tmp_path, "jobs.py") as alone:
        assert alone.stdout is not None
        alone.stdout.readline()
        works = ends.enter_context(running(tmp_path, worker, str(port)))
        assert works.stdout is not None
        assert works.stdout.readline() == "resized cat.png\n"
        alone.send_signal(signal.SIGINT)
        alone.wait(10)
        time.sleep(away)
        ends.enter_context(running(tmp_path, "shop.py"))
        upload(pages, "dog.png")
        assert works.stdout.readline() == "resized dog.png\n"


def upload(port: int, path: str) -> None:
    """Sent by a page of the shop, as soon as that listens."""
    client: Any = tools.module("websockets.sync.client", "websockets")
    until = time.monotonic() + PATIENCE
    while True:
        try:
            socket = client.connect(f"ws://127.0.0.1:{port}/shop", subprotocols=["v12.stomp"])
        except ConnectionRefusedError:
            assert time.monotonic() < until
            time.sleep(0.05)
        else:
            break
    with socket:
        socket.send("CONNECT\naccept-version:1.2\nhost:shop\n\n\0")
        assert socket.recv(PATIENCE).startswith("CONNECTED\n")
        body = json.dumps({"path": path})
        socket.send(f"SEND\ndestination:/app/uploads\nreceipt:sent\n\n{body}\0")
        assert socket.recv(PATIENCE).startswith("RECEIPT\n")


def test_a_page_shows_the_last_changes_and_what_it_missed_or_begins_anew(
    open_page: Callable[[str], Page], tmp_path: Path
) -> None:
    [follows] = [each for each in blocks("recipes.md", "js") if "/topic/changes" in each]
    [serves] = [each for each in blocks("recipes.md", "python") if "feed = StompApp(" in each]
    names: dict[str, Any] = {}
    exec(compile(serves, "recipes.md", "exec"), names)
    feed, changed = names["feed"], names["changed"]
    (tmp_path / "index.html").write_text('<script src="/stomp.js"></script>')
    pages = {"/": tmp_path / "index.html", "/stomp.js": tools.stompjs()}
    script = "var shown = []" + follows.removeprefix("const shown = []")
    client = "new StompJs.Client({brokerURL: `ws://${location.host}/feed`, reconnectDelay: 0})"
    with feed.serve_in_thread(pages=pages) as server:
        for number in range(30):
            changed(f"{number}")
        page = open_page(f"http://127.0.0.1:{server.port}/")
        page.run(f"window.client = {client}; (0, eval)({of_console(script)!r}); 1")
        page.run("client.activate(); 1")
        page.wait(f"shown.join() === {','.join(map(str, range(10, 30)))!r}")
        page.run("client.deactivate().then(() => 1)")
        changed("missed")
        page.run("client.activate(); 1")
        page.wait("shown.length === 21 && shown[20] === 'missed'")
        page.run("client.deactivate().then(() => 1)")
        for number in range(600):
            changed(f"{number}")
        page.run("client.activate(); 1")
        page.wait(f"shown.join() === {','.join(map(str, range(580, 600)))!r}")

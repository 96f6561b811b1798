"""The configurations of docs/sockjs.md, run: streams come through at once, and the requests of a
session reach the process that holds it.

What a machine lacks (nginx, Caddy, openssl) is skipped and says so.
"""

from __future__ import annotations

import http.client
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from test_embedding import BLOCK, _free_port, process

PAGE = Path(__file__).parents[2] / "docs" / "sockjs.md"
SERVE = """
import asyncio, sys
from stocksync_ws import StompApp

app = StompApp("/inventory-ws", sockjs=True, trusted_proxies=["127.0.0.1"])
asyncio.run(app.serve(port=int(sys.argv[1])))
"""


def _block(language: str) -> str:
    (found,) = [body for kind, body in BLOCK.findall(PAGE.read_text()) if kind == language]
    return str(found)


def _replaced(text: str, ports: tuple[int, int]) -> str:
    for old, new in {"127.0.0.1:8000": ports[0], "127.0.0.1:8001": ports[1]}.items():
        assert old in text
        text = text.replace(old, f"127.0.0.1:{new}")
    return text


def _nginx(folder: Path, port: int, ports: tuple[int, int]) -> list[str]:
    site = _replaced(_block("nginx"), ports)
    assert "listen 80;" in site
    site = site.replace("listen 80;", f"listen 127.0.0.1:{port};")
    (folder / "logs").mkdir()
    kept = "".join(
        f"{kind}_temp_path {folder}/{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    # One process: a worker would outlive the one that is ended.
    head = "daemon off;\nmaster_process off;\nerror_log stderr;\nevents {}\n"
    head += f"pid {folder}/nginx.pid;\n"
    (folder / "nginx.conf").write_text(f"{head}http {{\naccess_log off;\n{kept}{site}}}\n")
    return ["nginx", "-p", str(folder), "-e", "stderr", "-c", str(folder / "nginx.conf")]


def _caddy(folder: Path, port: int, ports: tuple[int, int]) -> list[str]:
    site = _replaced(_block("caddy"), ports)
    assert "\nshop.example {\n" in site
    site = site.replace("\nshop.example {\n", f"\nhttp://shop.example:{port} {{\n")
    (folder / "Caddyfile").write_text("{\nadmin off\nauto_https off\n}\n" + site)
    return ["caddy", "run", "--config", str(folder / "Caddyfile")]


class Balanced:
    """A proxy in front of two processes."""

    def __init__(self, port: int) -> None:
        self._port = port

    @contextmanager
    def ask(self, method: str, path: str, body: str = "") -> Iterator[http.client.HTTPResponse]:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=10)
        headers = {"Host": f"shop.example:{self._port}"}
        connection.request(method, f"/inventory-ws/{path}", body, headers)
        try:
            yield connection.getresponse()
        finally:
            connection.close()


@pytest.fixture(params=[_nginx, _caddy])
def balanced(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Balanced]:
    port, *behind = (_free_port() for _ in range(3))
    command = request.param(tmp_path, port, tuple(behind))
    if shutil.which(command[0]) is None:
        pytest.skip(f"no {command[0]}")
    with ExitStack() as stack:
        for each in behind:
            stack.enter_context(process(tmp_path, each, sys.executable, "-c", SERVE, str(each)))
        stack.enter_context(process(tmp_path, port, *command))
        yield Balanced(port)


def test_the_requests_of_a_session_reach_the_process_that_holds_it(balanced: Balanced) -> None:
    for number in range(20):
        session = f"{number * 47:03}/session{number}"
        with balanced.ask("POST", f"{session}/xhr") as answer:
            assert answer.read() == b"o\n"
        for _ in range(3):
            with balanced.ask("POST", f"{session}/xhr_send", '["\\n"]') as answer:
                assert answer.status == 204
    with balanced.ask("POST", "000/nobody/xhr_send", '["\\n"]') as answer:
        assert answer.status == 404


def test_the_log_line_of_the_page_is_the_one_of_the_code() -> None:
    code = (PAGE.parents[1] / "stocksync_ws" / "wire" / "sockjs" / "routes.py").read_text()
    assert _block("text").strip() in re.sub(r'"\s+"', "", code)


@pytest.mark.parametrize("transport", ["xhr_streaming", "eventsource"])
def test_a_stream_comes_through_while_it_goes_on(balanced: Balanced, transport: str) -> None:
    method = "GET" if transport == "eventsource" else "POST"
    with balanced.ask(method, f"817/{transport}/{transport}") as answer:
        frame = "data: o\r\n" if method == "GET" else "o\n"
        while answer.readline() != frame.encode():
            pass  # What a stream begins with; a stream that is held back times out.

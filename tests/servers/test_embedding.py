"""The pages of docs/embedding work as they stand: their files are written into an empty folder,
their tests run there with the test client of the framework, and their commands serve.

What a machine lacks (a server, nginx, Caddy, openssl) is skipped and says so.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
import tomllib
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, CloseConnection, RejectConnection, Request, TextMessage

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "embedding"
PAGES = sorted(FOLDER.glob("*.md"))
ASGI = ("django", "fastapi", "litestar", "quart", "starlette")
WSGI = ("django-wsgi", "flask")
BLOCK = re.compile(r"^```(\w+)\n((?:.*\n)*?)```$", re.MULTILINE)
HEAD = re.compile(r"# ([\w/]+\.py)\n")
PARTS = {"Users", "Publishing in the background", "Tests", "Deployment"}
STARTPROJECT = "django-admin startproject shop ."
CURL = "curl -X POST http://127.0.0.1:8000/restock/kettle"
SCRIPT = "python script.py"
CONNECT = "CONNECT\naccept-version:1.2\nhost:shop\n\n\0"
SUBSCRIBE = "SUBSCRIBE\nid:1\ndestination:/topic/inventory\nreceipt:r1\n\n\0"


def blocks(name: str, language: str) -> list[str]:
    """The fenced blocks of one language."""
    text = (FOLDER / f"{name}.md").read_text()
    return [body for found, body in BLOCK.findall(text) if found == language]


def files(name: str) -> dict[str, str]:
    """The Python of a page, by the path that its first line names."""
    heads = [(HEAD.match(text), text) for text in blocks(name, "python")]
    found = [(head[1], text) for head, text in heads if head is not None]
    assert len({path for path, _ in found}) == len(found)
    return dict(found)


def commands(name: str) -> list[str]:
    return [line for text in blocks(name, "bash") for line in text.splitlines()]


def _environment() -> dict[str, str]:
    left = {key: value for key, value in os.environ.items() if not key.startswith("DJANGO")}
    return {**left, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}


def _run(folder: Path, *arguments: str) -> str:
    command = [sys.executable, *arguments]
    ran = subprocess.run(
        command, cwd=folder, env=_environment(), capture_output=True, text=True, timeout=60
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout + ran.stderr


def write(name: str, folder: Path) -> dict[str, str]:
    """What somebody has in his folder who has done what the page says."""
    found = files(name)
    if STARTPROJECT in commands(name):
        _run(folder, "-m", "django", *STARTPROJECT.split()[1:])
    for path, text in found.items():
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_text(text)
    return found


@pytest.mark.parametrize("name", [page.stem for page in PAGES if files(page.stem)])
def test_the_tests_of_a_page_pass(name: str, tmp_path: Path) -> None:
    found = write(name, tmp_path)
    tests = sum(len(re.findall(r" def test_|^def test_", text, re.M)) for text in found.values())
    if "from websockets." in "".join(found.values()):
        pytest.importorskip("websockets")
    if (tmp_path / "manage.py").exists():
        inherited = sum("(tests.Live)" in text for text in found.values())
        told = _run(tmp_path, "manage.py", "test")
        assert f"Ran {tests * (1 + inherited)} tests" in told
    else:
        told = _run(tmp_path, "-m", "pytest", "-q", "-p", "no:cacheprovider")
        assert f"{tests} passed" in told
    modules = [path for path in found if path.startswith("test_")] or list(found)
    used = "".join(found[path] for path in found if "test" in path)
    for path in found:
        name = Path(path).stem
        assert path in modules or name in used or (tmp_path / "manage.py").exists(), path


@pytest.mark.parametrize("name", [*ASGI, *WSGI])
def test_a_framework_has_a_page_with_everything(name: str) -> None:
    text = (FOLDER / f"{name}.md").read_text()
    heads = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert set(heads) - {"With Channels"} == PARTS


@pytest.mark.parametrize("name", [*ASGI, *WSGI, "threads"])
def test_the_lines_for_the_console_are_those_of_all(name: str) -> None:
    assert blocks(name, "js") == blocks("fastapi", "js") != []


def _packages() -> set[str]:
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]
    lines = [line for group in ("hosts", "servers") for line in groups[group]]
    return {re.split(r"[<>=\[]", line)[0] for line in lines if isinstance(line, str)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_are_of_a_kind_that_is_checked(page: Path) -> None:
    for line in commands(page.stem):
        words = shlex.split(line)
        if words[:2] == ["pip", "install"]:
            assert {word.partition("[")[0] for word in words[2:]} <= _packages() | {"stocksync-ws"}
        else:
            known = words[0] in ("uvicorn", "gunicorn", "flask") or line == SCRIPT
            assert line in (STARTPROJECT, CURL) or known, line


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


class Client:
    """A client of WebSocket that a law can afford: it waits for each frame."""

    def __init__(self, connection: socket.socket, path: str, host: str, *headers: Any) -> None:
        self._socket = connection
        self._ws = WSConnection(ConnectionType.CLIENT)
        request = Request(host, path, subprotocols=["v12.stomp"], extra_headers=list(headers))
        self._socket.sendall(self._ws.send(request))
        self.answer = self._event()

    def _event(self) -> Any:
        for event in self._ws.events():
            return event
        data = self._socket.recv(65_536)
        self._ws.receive_data(data or None)
        return self._event()

    def send(self, text: str) -> None:
        self._socket.sendall(self._ws.send(TextMessage(text)))

    def frame(self) -> str:
        event = self._event()
        assert isinstance(event, TextMessage), event
        return str(event.data)

    def close_code(self) -> int:
        event = self._event()
        assert isinstance(event, CloseConnection), event
        self._socket.sendall(self._ws.send(event.response()))
        return int(event.code)


@contextmanager
def process(folder: Path, port: int, *command: str) -> Iterator[subprocess.Popen[bytes]]:
    """A server that listens on a port, and its log when it does not."""
    log = folder / f"{Path(command[0]).name}.log"
    with log.open("wb") as out:
        started = subprocess.Popen(
            command, cwd=folder, env=_environment(), stdout=out, stderr=subprocess.STDOUT
        )
    try:
        until = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                assert started.poll() is None, log.read_text()
                assert time.monotonic() < until, log.read_text()
                time.sleep(0.05)
        yield started
    finally:
        if started.poll() is None:
            started.kill()
        started.wait(10)


@contextmanager
def _subscriber(port: int) -> Iterator[Client]:
    """A client to whom changes of the stock come."""
    host = f"127.0.0.1:{port}"
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        client = Client(connection, "/inventory-ws", host, (b"origin", f"http://{host}".encode()))
        assert isinstance(client.answer, AcceptConnection)
        client.send(CONNECT)
        assert client.frame().startswith("CONNECTED\n")
        client.send(SUBSCRIBE)
        assert client.frame().startswith("RECEIPT\n")
        yield client


def _post(url: str, port: int) -> None:
    url = url.replace("8000", str(port))
    with urllib.request.urlopen(urllib.request.Request(url, method="POST"), timeout=10):
        pass


def _served() -> Iterator[tuple[str, str]]:
    for name in (*ASGI, *WSGI):
        for line in commands(name):
            if line.startswith(("uvicorn ", "gunicorn ", "flask ")):
                yield name, line
    for line in commands("proxies"):
        yield "fastapi", line


def _on_port(command: str, port: int) -> list[str]:
    """A command of a page on another port, and without what gunicorn leaves in a home folder."""
    words = [sys.executable, "-m", *shlex.split(command)]
    if words[2] == "gunicorn":
        return [*words, "--bind", f"127.0.0.1:{port}", "--no-control-socket"]
    return [*words, "--port", str(port)]


@pytest.mark.parametrize(("name", "command"), list(_served()))
def test_a_command_serves_and_stops(name: str, command: str, tmp_path: Path) -> None:
    server_of = command.split()[0]
    pytest.importorskip(server_of)
    write(name, tmp_path)
    port = _free_port()
    with process(tmp_path, port, *_on_port(command, port)) as server:
        with _subscriber(port) as client:
            _post(CURL.split()[-1], port)
            assert '{"kettle":18}' in client.frame()
            # The page says so: SIGTERM ends Werkzeug at once.
            server.send_signal(signal.SIGINT if server_of == "flask" else signal.SIGTERM)
            assert client.close_code() == 1012
        server.wait(20)


def test_any_wsgi_application_serves(tmp_path: Path) -> None:
    pytest.importorskip("gunicorn")
    write("wsgi", tmp_path)
    [command] = commands("wsgi")
    port = _free_port()
    topic = SUBSCRIBE.replace("/topic/inventory", "/topic/visits")
    with process(tmp_path, port, *_on_port(command, port)), _subscriber(port) as client:
        client.send(topic.replace("id:1", "id:2"))
        assert client.frame().startswith("RECEIPT\n")
        _post("http://127.0.0.1:8000/shelf", port)
        assert client.frame().endswith("\n\n/shelf\0")


def test_the_script_serves_and_stops(tmp_path: Path) -> None:
    write("threads", tmp_path)
    assert SCRIPT in commands("threads")
    port = _free_port()
    script = tmp_path / "script.py"
    assert "port=8000" in script.read_text()
    script.write_text(script.read_text().replace("port=8000", f"port={port}"))
    with process(tmp_path, port, sys.executable, str(script)) as server:
        with _subscriber(port) as client:
            assert '{"kettle":' in client.frame()
            server.send_signal(signal.SIGINT)
            while True:
                event = client._event()
                if isinstance(event, CloseConnection):
                    break
            assert event.code == 1012
        assert server.wait(20) == 0


# Proxies

SERVE = """
import asyncio, sys
from stocksync_ws import StompApp

asyncio.run(StompApp("/inventory-ws").serve(port=int(sys.argv[1])))
"""


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    if shutil.which("openssl") is None:
        pytest.skip("no openssl")
    pem, key = tmp_path / "shop.pem", tmp_path / "shop.key"
    made = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    named = ["-subj", "/CN=shop.example", "-addext", "subjectAltName=DNS:shop.example"]
    command = ["openssl", *made, *named, "-keyout", key, "-out", pem]
    subprocess.run(command, check=True, capture_output=True)
    return pem, key


def _nginx(folder: Path, port: int, behind: int, pem: Path, key: Path) -> list[str]:
    site, below = blocks("proxies", "nginx")
    inside = re.sub(r"^\}\n\Z", below + "}\n", site, flags=re.MULTILINE)
    assert inside != site
    for old, new in {
        "listen 443 ssl": f"listen 127.0.0.1:{port} ssl",
        "/etc/ssl/shop.example.pem": str(pem),
        "/etc/ssl/shop.example.key": str(key),
        "127.0.0.1:8000": f"127.0.0.1:{behind}",
    }.items():
        assert old in inside
        inside = inside.replace(old, new)
    (folder / "logs").mkdir()
    kept = "".join(
        f"{kind}_temp_path {folder}/{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    # One process: a worker would outlive the one that is ended.
    text = "daemon off;\nmaster_process off;\nerror_log stderr;\nevents {}\n"
    text += f"pid {folder}/nginx.pid;\n"
    text += f"http {{\naccess_log off;\n{kept}{inside}}}\n"
    (folder / "nginx.conf").write_text(text)
    return ["nginx", "-p", str(folder), "-e", "stderr", "-c", str(folder / "nginx.conf")]


def _caddy(folder: Path, port: int, behind: int, pem: Path, key: Path) -> list[str]:
    site, below = blocks("proxies", "caddy")
    text = site.replace("shop.example {\n", f"https://shop.example:{port} {{\ntls {pem} {key}\n")
    text = re.sub(r"^\}\n\Z", below + "}\n", text, flags=re.MULTILINE)
    text = text.replace("127.0.0.1:8000", f"127.0.0.1:{behind}")
    (folder / "Caddyfile").write_text("{\nadmin off\nauto_https off\n}\n" + text)
    return ["caddy", "run", "--config", str(folder / "Caddyfile")]


@pytest.mark.parametrize("make", [_nginx, _caddy])
def test_a_proxy_of_the_page_lets_pages_of_its_own_in(
    make: Callable[..., list[str]], tmp_path: Path, certificate: tuple[Path, Path]
) -> None:
    port, behind = _free_port(), _free_port()
    command = make(tmp_path, port, behind, *certificate)
    if shutil.which(command[0]) is None:
        pytest.skip(f"no {command[0]}")
    host = f"shop.example:{port}"
    trust = ssl.create_default_context(cafile=certificate[0])
    with ExitStack() as stack:
        stack.enter_context(process(tmp_path, behind, sys.executable, "-c", SERVE, str(behind)))
        stack.enter_context(process(tmp_path, port, *command))

        def client(path: str, origin: str) -> Client:
            plain = socket.create_connection(("127.0.0.1", port), timeout=10)
            tls = trust.wrap_socket(stack.enter_context(plain), server_hostname="shop.example")
            stack.enter_context(tls)
            return Client(tls, path, host, (b"origin", origin.encode()))

        for path in ("/inventory-ws", "/shop/inventory-ws"):
            here = client(path, f"https://{host}")
            assert isinstance(here.answer, AcceptConnection)
            here.send(CONNECT)
            assert here.frame().startswith("CONNECTED\n")
            elsewhere = client(path, "https://other.example").answer
            assert isinstance(elsewhere, RejectConnection)
            assert elsewhere.status_code == 403


# The log lines of the pages


def test_the_warning_of_the_page_is_the_one_of_the_code() -> None:
    code = (ROOT / "stocksync_ws" / "running" / "siblings.py").read_text()
    said = re.sub(r'"\s+"', "", code)
    (shown,) = blocks("workers", "text")
    for part in (
        "several workers serve ",
        "Each has a broker of its own, so clients of one do not",
    ):
        assert part in said
        assert part in shown
    assert "docs/embedding/workers.md" in said


def test_the_snippet_for_the_console_connects_and_subscribes() -> None:
    (snippet,) = blocks("fastapi", "js")
    sent = re.findall(r'send\("(.*?)"\)', snippet)
    assert sent[0] == CONNECT.replace("\n", "\\n").replace("\0", "\\0")
    assert sent[1].startswith("SUBSCRIBE\\nid:1\\ndestination:/topic/inventory\\n")

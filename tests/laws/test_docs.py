"""The pages tell the truth: every block runs, every link leads somewhere, no catalogue is stale."""

from __future__ import annotations

import re
import shutil
import signal
import socket
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path

import pytest

from stocksync_ws import StompApp
from stocksync_ws.broker.calls import events
from stocksync_ws.broker.model.headers import RESERVED
from stocksync_ws.testing import World
from tests.broker.kit import everybody_is

ROOT = Path(__file__).parents[2]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
EMBEDDING = [page for page in PAGES if page.parent.name == "embedding"]
"""Their files, commands and configurations are run by test_embedding.py."""
LANGUAGES = {"python", "bash", "text"}
LANGUAGES_OF_HOSTS = LANGUAGES | {"js", "html", "nginx", "caddy", "ini", "dockerfile"}
WALKED = [ROOT / "docs" / name for name in ("tutorial.md", "recipes.md")]
"""Their files and their JavaScript are run by tests/interop/test_tutorial.py."""
TESTED = [ROOT / "docs" / "testing.md"]
"""Their files are run by tests/test_pytest_plugin.py."""
HOSTED = [*EMBEDDING, *WALKED, ROOT / "README.md"]
OTHERS = ("sockjs.md", "deployment.md", "delivery.md", "presence.md")
HOSTED += [ROOT / "docs" / name for name in OTHERS]
"""Those that are also of proxies and browsers; test_sockjs_page.py, test_delivery_page.py and
test_presence_page.py run the others.
"""
HOME: str = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["urls"]["Homepage"]
HERE = f"{HOME}/blob/main/"
"""Where the pages are read that stand alone, such as the README on the package index."""
SHELL = {
    "python -m pip install . && python examples/inventory/app.py",
    "python -m pip install nox && python -m nox",
    "pip install stocksync-ws",
    f"git clone {HOME} && cd stocksync-ws",
}
"""What a page may tell people to type. The first is run by `readme`, the second is how all of this
is run; `wheel` installs what is built.
"""
ELSEWHERE = {
    "python -m pip install 'stocksync-ws[redis]'",
    """redis-server --save "" &
python -m pip install '.[redis]' fastapi uvicorn && python examples/workers/app.py""",
}
"""What pages beside the README tell people to type: `wheel` installs the extra, and `interop` runs
the example of several workers.
"""
RAW = HOME.replace("https://github.com/", "https://raw.githubusercontent.com/") + "/main/"
SERVES = "ws.run("
FENCED = re.MULTILINE | re.DOTALL
FILE = re.compile(r"[\w/]+\.py\b")
A_FILE = re.compile(r"# [\w/]+\.py\n")
"""How a block begins that is a file of its own."""
RUN_PAGE = """
import sys
from stocksync_ws import StompApp

names = {"__name__": "page"}
for block in sys.argv[1:]:
    exec(compile(block, "page", "exec"), names)
for value in names.values():
    if isinstance(value, StompApp):
        value.check()
"""
RUN_SERVER = """
import logging, sys

logging.basicConfig(level=logging.INFO, format="%(message)s")
exec(compile(sys.argv[1], "page", "exec"), {"__name__": "__main__"})
"""


@dataclass(frozen=True)
class Block:
    language: str
    text: str


def blocks(text: str) -> Iterator[Block]:
    """The fenced blocks of a page."""
    for language, body in re.findall(r"^```(.*)\n((?:.*\n)*?)```$", text, re.MULTILINE):
        yield Block(language, body)


def anchors(text: str) -> set[str]:
    """What a link into a page may name."""
    heads = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    words = (re.sub(r"[^\w\- ]", "", head.lower()) for head in heads)
    return {word.strip().replace(" ", "-") for word in words}


def broken_links(page: Path, text: str) -> Iterator[str]:
    """Links to files and headings that are not there; other sites are not asked."""
    without = re.sub(r"^```.*?^```$", "", text, flags=FENCED)
    for link in re.findall(r"\]\(([^)]+)\)", without):
        own = link.removeprefix(HERE).removeprefix(RAW)
        if re.match(r"https?://", own):
            continue
        file, _, anchor = own.partition("#")
        folder = page.parent if own == link else ROOT
        target = (folder / file).resolve() if file else page
        there = target.exists() and target.is_relative_to(ROOT)
        if there and anchor:
            there = anchor in anchors(target.read_text() if file else text)
        if not there:
            yield link


def _name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_every_block_is_of_a_kind_that_is_checked(page: Path) -> None:
    known = LANGUAGES_OF_HOSTS if page in HOSTED else LANGUAGES
    known |= {"pyi"} if page.name == "reference.md" else set()  # signatures, made from the code
    assert {block.language for block in blocks(page.read_text())} <= known


@pytest.mark.parametrize("page", [p for p in PAGES if p not in EMBEDDING], ids=_name)
def test_shell_commands_are_the_ones_that_are_run(page: Path) -> None:
    shell = {b.text.strip() for b in blocks(page.read_text()) if b.language == "bash"}
    assert shell <= SHELL | ELSEWHERE


@pytest.mark.parametrize(
    "page", [page for page in PAGES if "\n```html\n" in page.read_text()], ids=_name
)
def test_an_html_page_names_its_icon(page: Path) -> None:
    """Else browsers ask for `/favicon.ico`, and the console of a reader begins with a 404."""
    shown = [block.text for block in blocks(page.read_text()) if block.language == "html"]
    assert [text for text in shown if '<link rel="icon" href="data:,">\n' not in text] == []


def test_the_readme_names_all_commands_and_ci_runs_the_last() -> None:
    readme = (ROOT / "README.md").read_text()
    found = [block.text.strip() for block in blocks(readme) if block.language == "bash"]
    assert sorted(found) == sorted(SHELL)
    ci = (ROOT / ".ci" / "run").read_text()
    assert f"\nas_the_readme_says() {{\n    {found[-1]}\n}}\n" in ci
    assert "\ncheck readme as_the_readme_says\n" in ci


def test_the_readme_reads_alone() -> None:
    """On the package index a relative link leads nowhere, and a relative image is none."""
    readme = re.sub(r"^```.*?^```$", "", (ROOT / "README.md").read_text(), flags=FENCED)
    links = re.findall(r"(!?)\[[^\]]*\]\(([^)]+)\)", readme)
    assert len(links) > 10
    assert [
        link for _, link in links if not re.match(r"https://|http://127\.0\.0\.1|#", link)
    ] == []
    assert all(link.startswith(RAW) for image, link in links if image)


def _scripts(page: Path) -> tuple[list[str], list[str]]:
    """The Python of a page: what belongs together, and what serves on its own."""
    python = [block.text for block in blocks(page.read_text()) if block.language == "python"]
    if page in EMBEDDING or page in WALKED or page in TESTED:
        python = [text for text in python if not A_FILE.match(text)]
    return [text for text in python if SERVES not in text], [t for t in python if SERVES in t]


@pytest.mark.parametrize("page", [p for p in PAGES if _scripts(p)[0]], ids=_name)
def test_the_python_of_a_page_runs(page: Path, tmp_path: Path) -> None:
    ran = _python(RUN_PAGE, *_scripts(page)[0], cwd=tmp_path)
    _, errors = ran.communicate(timeout=60)
    assert ran.returncode == 0, errors


@pytest.mark.parametrize("page", [p for p in PAGES if _scripts(p)[1]], ids=_name)
def test_a_server_of_a_page_listens_and_stops(page: Path, tmp_path: Path) -> None:
    for name, text in re.findall(r"^```html\n<!-- (\S+) -->\n(.*?)^```$", page.read_text(), FENCED):
        (tmp_path / name).write_text(text)
    for text in _scripts(page)[1]:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        assert "8000" in text
        server = _python(RUN_SERVER, text.replace("8000", str(port)), cwd=tmp_path)
        assert server.stderr is not None
        seen = []
        for line in server.stderr:
            seen.append(line)
            if "listening on" in line:
                assert _get(port).startswith(b"HTTP/1.1 426 ")
                server.send_signal(signal.SIGINT)
                break
        _, rest = server.communicate(timeout=60)
        assert server.returncode == 0, "".join(seen) + rest


def _python(*arguments: str, cwd: Path) -> subprocess.Popen[str]:
    command = [
        sys.executable,
        "-c",
        f"import sys; sys.path.insert(0, {str(ROOT)!r})" + arguments[0],
    ]
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [*command, *arguments[1:]], cwd=cwd, stdout=pipe, stderr=pipe, text=True
    )


def _get(port: int) -> bytes:
    """The answer to a plain GET of the endpoint."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(
            b"GET /inventory-ws HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        )
        received = b""
        while data := connection.recv(65_536):
            received += data
    return received


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_every_link_leads_somewhere(page: Path) -> None:
    assert list(broken_links(page, page.read_text())) == []


def log_calls(source: str) -> Iterator[tuple[str, str]]:
    """The loggers of a module, and the levels at which they are called."""
    loggers = dict(re.findall(r'^(\w+) = (?:logging\.)?getLogger\("([\w.]+)"\)', source, re.M))
    for variable, method in re.findall(r"\b(_\w+)\.(debug|info|warning|error|exception)\(", source):
        if variable in loggers:
            yield loggers[variable], "ERROR" if method == "exception" else method.upper()


def test_the_page_about_log_lines_has_every_logger_and_level() -> None:
    package = (ROOT / "stocksync_ws").rglob("*.py")
    called = {call for file in package for call in log_calls(file.read_text())}
    text = (ROOT / "docs" / "logging.md").read_text()
    assert called == set(re.findall(r"^\| `([\w.]+)` \| ([A-Z]+) \|", text, re.M))
    assert len(called) > 8


def test_every_event_stands_with_its_fields() -> None:
    named = [getattr(events, name) for name in events.__all__]
    known = {
        each.__name__: [field.name for field in fields(each)]
        for each in named
        if isinstance(each, type) and is_dataclass(each)
    }
    text = (ROOT / "docs" / "handlers.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| .* \| ((?:`\w+`(?:, )?)+) \|$", text, re.M)
    assert {name: re.findall(r"`(\w+)`", cells) for name, cells in rows if name in known} == known


@pytest.mark.parametrize("folder", ["docs", "docs/embedding"])
def test_every_page_is_named_by_the_index(folder: str) -> None:
    index = (ROOT / folder / "index.md").read_text()
    names = {file.name for file in (ROOT / folder).glob("*.md")} - {"index.md"}
    assert {name for name in names if f"]({name})" not in index} == set()


def test_the_index_has_the_pages_for_users_first_and_then_those_for_maintainers() -> None:
    index = (ROOT / "docs" / "index.md").read_text()
    users, maintainers = index.split("\n## For those who change the library\n")
    named = re.findall(r"^\| \[[^\]]+\]\(([^)]+)\)", maintainers, re.MULTILINE)
    there = [f"contributing/{file.name}" for file in (ROOT / "docs" / "contributing").glob("*")]
    assert sorted(named) == sorted(there)
    assert "](contributing/" not in users


@pytest.mark.parametrize("page", ["architecture.md", "changes.md"])
def test_every_file_that_a_page_names_is_there(page: str) -> None:
    code = [*ROOT.glob("*.py"), *(ROOT / "stocksync_ws").rglob("*.py")]
    code += (ROOT / "tests").rglob("*.py")
    files = [f"/{file.relative_to(ROOT)}" for file in code]
    text = re.sub(
        r"^```.*?^```$", "", (ROOT / "docs" / "contributing" / page).read_text(), flags=FENCED
    )
    names = {name for span in re.findall(r"`([^`]+)`", text) for name in FILE.findall(span)}
    assert len(names) > 30
    assert [name for name in names if not any(file.endswith(f"/{name}") for file in files)] == []


def test_no_catalogue_is_stale() -> None:
    command = [sys.executable, str(ROOT / "docs" / "generate.py"), "--check"]
    checked = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert checked.returncode == 0, checked.stderr


GENERATED = [page for page in PAGES if "<!-- Made by docs/generate.py " in page.read_text()]


def test_every_catalogue_is_found() -> None:
    names = {page.stem for page in GENERATED}
    assert names == {"counters", "errors", "limits", "reference", "sessions"}


@pytest.mark.slow
@pytest.mark.parametrize("page", GENERATED, ids=_name)
def test_a_stale_catalogue_is_seen(page: Path, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    for name in ("stocksync_ws", "tests"):
        (tmp_path / name).symlink_to(ROOT / name)
    copy = tmp_path / "docs" / page.name
    copy.write_text(copy.read_text().replace("| ", "|  ", 1))
    command = [sys.executable, str(tmp_path / "docs" / "generate.py"), "--check"]
    checked = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert checked.returncode == 1
    assert checked.stderr == f"stale: {page.name}; run python docs/generate.py\n"


def test_the_reserved_headers_of_the_page_are_those_of_the_code() -> None:
    page = (ROOT / "docs" / "protocol.md").read_text()
    found = re.search(r"counted: `([^`]+)`", page)
    assert found is not None
    assert set(found[1].split()) == RESERVED


@dataclass(frozen=True)
class Alice:
    name: str = "alice"


def test_the_frames_of_the_page_are_what_is_sent() -> None:
    page = (ROOT / "docs" / "protocol.md").read_text()
    shown = [block.text for block in blocks(page) if block.language == "text"]
    assert shown[0].startswith("CONNECT\n")
    shown[0] = shown[0].partition("^@\n")[2]
    app = StompApp("/ws", authenticator=everybody_is(Alice()))
    with World(app) as world:
        peer = world.upgrade()
        peer.send("CONNECT\naccept-version:1.1,1.2\nhost:localhost\nheart-beat:10000,10000\n\n\0")
        peer.send("SUBSCRIBE\nid:sub-1\ndestination:/topic/inventory\n\n\0")
        payload = {"product_id": "kettle", "quantity": 5}
        app.template.convert_and_send("/topic/inventory", payload)
        peer.send("SUBSCRIBE\nid:errors\ndestination:/user/queue/errors\n\n\0")
        peer.send("SEND\ndestination:/app/nothing\nreceipt:r8\n\n\0")
        world.settle()
        peer.send("SUBSCRIBE\nid:sub-1\ndestination:/topic/inventory\nreceipt:r7\n\n\0")
        connected, message, told, error = [raw.decode() for raw in peer.raw()]
    for frame, text in zip((connected, message, error, told), shown, strict=True):
        exact = re.escape(text.removesuffix("\n").replace("^@", "\0"))
        assert re.fullmatch(re.sub("<[^<>]*>", "[^\n]+?", exact), frame), frame


def test_a_broken_link_is_seen() -> None:
    page = ROOT / "docs" / "index.md"
    text = "# Here\n[a](#here) [b](#there) [c](nowhere.md) [d](errors.md#close-codes) [e](/etc)\n"
    assert list(broken_links(page, text)) == ["#there", "nowhere.md", "/etc"]


def test_blocks_are_found() -> None:
    assert list(blocks("a\n```python\nx = 1\n```\nb\n```\nraw\n```\n")) == [
        Block("python", "x = 1\n"),
        Block("", "raw\n"),
    ]

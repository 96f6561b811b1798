"""The three laws of the house, read from the table in `docs/contributing/architecture.md`.

The checker is a function from a source text to its violations, so that each law has a test that
shows it biting.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = "stocksync_ws"
ADAPTERS = frozenset(("aio", "threads", "asgi", "wsgi", "redis"))
BUILT_ON = {"threads": frozenset(("aio",)), "wsgi": frozenset(("threads", "aio"))}
"""Adapters that are built on others."""
OUTSIDE = {"h11": "wire", "wsproto": "wire", "redis": "redis", "hiredis": "redis"}
"""What is from outside, and the one room that imports it."""
ANYWHERE = frozenset(("typing_extensions",))
STANDARD = """
__future__ abc base64 binascii bisect collections contextlib contextvars copy dataclasses datetime
decimal difflib enum functools hashlib heapq hmac inspect io itertools json logging math operator re
string struct types typing urllib.parse uuid warnings weakref zlib
"""
"""What layers 0 to 6 may import of the standard library, submodules included."""
PURE = frozenset(STANDARD.split())
LAST_PURE = 6


@dataclass(frozen=True)
class Row:
    """One row of the table."""

    layer: int
    module: str
    allowed: frozenset[str]
    in_functions: bool
    """Adapters may be imported inside functions."""


def read_table(text: str) -> dict[str, Row]:
    """The rows under "Layers", by module."""
    section = text.split("\n## Layers\n", 1)[1].split("\n## ", 1)[0]
    cells = [
        [cell.strip() for cell in line.strip().strip("|").split("|")]
        for line in section.splitlines()
        if line.startswith("|")
    ]
    assert cells[0] == ["layer", "module", "job", "imports of the house"]
    ground = frozenset(module for layer, module, _, _ in cells[2:] if layer == "0")
    rows: dict[str, Row] = {}
    for layer, module, _, imports in cells[2:]:
        assert module not in rows, f"{module} stands twice in the table"
        names, _, rest = imports.partition(";")
        allowed = {name.strip() for name in names.split(",")} - {"—"}
        if "ground" in allowed:
            allowed = allowed - {"ground"} | ground
        assert rest.strip() in ("", "adapters inside functions only"), rest
        rows[module] = Row(int(layer), module, frozenset(allowed), bool(rest))
    return rows


ROWS = read_table((ROOT / "docs" / "contributing" / "architecture.md").read_text())
FILES = sorted((ROOT / PACKAGE).rglob("*.py"))


def dotted(file: Path) -> str:
    """`stocksync_ws/broker/__init__.py` -> `stocksync_ws.broker`."""
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = frozenset(dotted(file) for file in FILES)
PACKAGES = frozenset(dotted(file) for file in FILES if file.name == "__init__.py")


@dataclass(frozen=True)
class Import:
    line: int
    target: str
    """A dotted module."""
    deferred: bool
    """Inside a function or under TYPE_CHECKING."""


def imports_of(module: str, tree: ast.Module) -> Iterator[Import]:
    """Every import; `from a import b` is of `a.b` when that is a module, else of `a`."""
    yield from _imports(module, tree, False)


def _imports(module: str, node: ast.AST, deferred: bool) -> Iterator[Import]:
    if isinstance(node, ast.Import):
        yield from (Import(node.lineno, name.name, deferred) for name in node.names)
    elif isinstance(node, ast.ImportFrom):
        base = node.module or ""
        if node.level:
            package = module if module in PACKAGES else module.rpartition(".")[0]
            parents = package.split(".")[: len(package.split(".")) - node.level + 1]
            base = ".".join([*parents, *([base] if base else [])])
        for name in node.names:
            whole = f"{base}.{name.name}"
            yield Import(node.lineno, whole if whole in MODULES else base, deferred)
    if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
        for child in node.body:
            yield from _imports(module, child, True)
        for child in node.orelse:
            yield from _imports(module, child, deferred)
        return
    inner = deferred or isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
    for child in ast.iter_child_nodes(node):
        yield from _imports(module, child, inner)


def room_of(module: str) -> str:
    """The row a module belongs to; "" for the root of the package."""
    return module.split(".")[1] if "." in module else ""


def violations(module: str, source: str) -> list[str]:
    """Everything in this source that breaks one of the laws."""
    tree = ast.parse(source)
    found = list(_law_1(module, tree))
    found += _law_2(module, tree)
    found += _law_3(module, tree)
    return found


def _law_1(module: str, tree: ast.Module) -> Iterator[str]:
    """A module imports its own package and what its row names; nothing imports an `__init__`."""
    room = room_of(module)
    for each in imports_of(module, tree):
        if each.target.split(".")[0] != PACKAGE:
            continue
        where = f"{module}:{each.line}: law 1: "
        if each.target in PACKAGES or each.target not in MODULES:
            yield f"{where}{each.target} is an __init__ or no module: import from the module"
            continue
        wanted = room_of(each.target)
        if wanted == room:
            continue
        if not room:
            if wanted in ADAPTERS | {"testing"}:
                yield f"{where}the root re-exports no adapter, and imports {wanted}"
            continue
        row = ROWS[room]
        if wanted in ADAPTERS - BUILT_ON.get(room, frozenset()) and room in ADAPTERS:
            yield f"{where}the adapters {room} and {wanted} do not import each other"
        elif wanted in ADAPTERS and row.in_functions:
            if not each.deferred:
                yield f"{where}{room} imports {wanted} inside functions only"
        elif not _is_allowed(row, each.target):
            yield f"{where}{room} may not import {each.target.removeprefix(PACKAGE + '.')}"


def _is_allowed(row: Row, target: str) -> bool:
    """`broker` allows everything in it, `broker.model` only that room."""
    parts = target.split(".")[1:]
    return any(".".join(parts[:depth]) in row.allowed for depth in (1, 2))


def _law_2(module: str, tree: ast.Module) -> Iterator[str]:
    """Below the adapters: a part of the standard library, no clock and no randomness."""
    room = room_of(module)
    if not room or ROWS[room].layer > LAST_PURE:
        return
    for each in imports_of(module, tree):
        top = each.target.split(".")[0]
        if top in sys.stdlib_module_names and not _is_pure(each.target):
            yield f"{module}:{each.line}: law 2: {each.target} of the standard library"
    clocks = _names_of_datetime(tree)
    for node in ast.walk(tree):
        line = getattr(node, "lineno", 0)
        asks = isinstance(node, ast.Attribute) and node.attr in ("now", "utcnow", "today")
        if asks and ast.unparse(node).split(".")[0] in clocks:
            yield f"{module}:{line}: law 2: {ast.unparse(node)} reads a clock"
        name = node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")
        name = node.name if isinstance(node, ast.alias) else name
        if name in ("uuid1", "uuid4"):
            yield f"{module}:{line}: law 2: {name} is random"


def _is_pure(target: str) -> bool:
    parts = target.split(".")
    return any(".".join(parts[:end]) in PURE for end in range(1, len(parts) + 1))


def _names_of_datetime(tree: ast.Module) -> set[str]:
    """What `datetime`, its classes included, is called in a module."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {a.asname or a.name for a in node.names if a.name == "datetime"}
        elif isinstance(node, ast.ImportFrom) and node.module == "datetime":
            names |= {a.asname or a.name for a in node.names}
    return names


def _law_3(module: str, tree: ast.Module) -> Iterator[str]:
    """What is from outside in its room only, typing_extensions anywhere, nothing else."""
    room = room_of(module)
    for each in imports_of(module, tree):
        top = each.target.split(".")[0]
        if top == PACKAGE or top in sys.stdlib_module_names or top in ANYWHERE:
            continue
        if OUTSIDE.get(top) != room or not room:
            yield f"{module}:{each.line}: law 3: {top} from outside"
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id in ("__import__", "import_module"):
            yield f"{module}:{node.lineno}: law 3: an import that no law can see"


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_every_module_keeps_the_three_laws(file: Path) -> None:
    assert violations(dotted(file), file.read_text()) == []


def test_every_module_has_a_row_and_every_row_a_module() -> None:
    rooms = {room_of(module) for module in MODULES if room_of(module)}
    assert rooms == set(ROWS)


def test_no_row_looks_up() -> None:
    for row in ROWS.values():
        for allowed in row.allowed:
            name = allowed.partition(".")[0]
            assert name in ROWS, f"{row.module} names {name}, which has no row"
            assert ROWS[name].layer <= row.layer, f"{row.module} names {name} above it"
            assert row.module not in ROWS[name].allowed, f"{row.module} and {name} in a circle"
        if row.module in ADAPTERS:
            others = row.allowed & ADAPTERS - BUILT_ON.get(row.module, frozenset())
            assert not others, f"{row.module} names another adapter"


def test_the_wires_know_neither_stomp_nor_broker() -> None:
    ground = {row.module for row in ROWS.values() if row.layer == 0}
    assert ROWS["wire"].allowed == ground
    assert ground == {
        "codes",
        "errors",
        "policies",
        "checks",
        "config",
        "types",
        "timers",
        "counters",
        "rates",
        "position",
        "backplane",
        "compilation",
        "agreement",
    }


@pytest.mark.parametrize(
    "file", [f for f in FILES if f.name == "__init__.py"], ids=lambda f: str(f.relative_to(ROOT))
)
def test_an_init_only_re_exports(file: Path) -> None:
    for node in ast.parse(file.read_text()).body:
        assigned = [ast.unparse(target) for target in getattr(node, "targets", [])]
        text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        plain = text or isinstance(node, ast.ImportFrom)
        assert plain or assigned in (["__all__"], ["__version__"]), ast.unparse(node)


@pytest.mark.parametrize(
    ("module", "source", "problem"),
    [
        ("driver.links", "from stocksync_ws.broker.broker import Broker", "law 1"),
        ("messaging.dispatch", "from stocksync_ws.broker.delivery.topics import Topics", "law 1"),
        ("stomp.frame", "from stocksync_ws.broker.index import Index", "law 1"),
        ("wire.http", "from stocksync_ws.stomp.frame import Frame", "law 1"),
        ("errors", "from stocksync_ws.config import Limits", "law 1"),
        ("driver.links", "import stocksync_ws.running.host", "law 1"),
        ("driver.links", "from ..running.host import AioHost", "law 1"),
        ("driver.links", "def f():\n from stocksync_ws.running.host import AioHost", "law 1"),
        ("broker.broker", "from stocksync_ws.stomp import Frame", "__init__"),
        ("broker.broker", "from stocksync_ws.broker import Index", "__init__"),
        ("broker.broker", "import stocksync_ws", "__init__"),
        ("app", "from stocksync_ws.aio.server import Server", "inside functions"),
        ("aio.server", "from stocksync_ws.testing.world import World", "law 1"),
        ("running.run", "from stocksync_ws.aio.server import Server", "law 1"),
        ("running.run", "def f():\n from stocksync_ws.aio.server import Server", "law 1"),
        ("streams", "from stocksync_ws.running.run import Run", "law 1"),
        ("timers", "import time", "law 2"),
        ("timers", "def f():\n import asyncio", "law 2"),
        ("timers", "from os import path", "law 2"),
        ("timers", "import urllib.request", "law 2"),
        ("messaging.convert", "from datetime import datetime\ndatetime.now()", "law 2"),
        ("messaging.convert", "import datetime as d\nd.date.today()", "law 2"),
        ("messaging.convert", "from datetime import datetime as d\nf = d.utcnow", "law 2"),
        ("messaging.convert", "import uuid\nuuid.uuid4()", "law 2"),
        ("messaging.convert", "from uuid import uuid1 as u", "law 2"),
        ("stomp.frame", "import h11", "law 3"),
        ("aio.server", "from wsproto.events import Ping", "law 3"),
        ("messaging.convert", "import pydantic", "law 3"),
        ("running.host", "m = __import__('uvloop')", "law 3"),
    ],
)
def test_a_violation_is_seen(module: str, source: str, problem: str) -> None:
    found = violations(f"{PACKAGE}.{module}", source)
    assert len(found) == 1
    assert problem in found[0]


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("wire.http", "import h11\nfrom wsproto.events import Ping"),
        ("stomp.frame", "from typing_extensions import Self\nfrom collections.abc import Mapping"),
        ("broker.broker", "from stocksync_ws.stomp.frame import Frame\nimport urllib.parse"),
        ("messaging.application", "from stocksync_ws.messaging import decorators"),
        ("messaging.convert", "from datetime import datetime\ndatetime.isoformat"),
        ("messaging.convert", "timers.now()\nclock.today"),
        ("app", "def f():\n from stocksync_ws.aio.server import Server"),
        ("app", "if TYPE_CHECKING:\n from stocksync_ws.aio.server import Server"),
        ("app", "from stocksync_ws.running.run import Run"),
        ("aio.server", "from stocksync_ws.running.run import Run"),
        ("testing.world", "from stocksync_ws.running.host import AioHost\nimport asyncio"),
    ],
)
def test_what_is_allowed_is_let_pass(module: str, source: str) -> None:
    assert violations(f"{PACKAGE}.{module}", source) == []

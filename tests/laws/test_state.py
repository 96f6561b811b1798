"""No module keeps state below the adapters: what changes belongs to an object.

Rule of the law: in layers 0 to 6 no module-level name is changed after its module was imported, and
no function has a hidden cache. A table that is only read may stand there.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.laws.test_layers import FILES, LAST_PURE, ROOT, ROWS, dotted, room_of

_STATEFUL = """
count cycle iter deque defaultdict OrderedDict Counter WeakKeyDictionary WeakValueDictionary
WeakSet ContextVar bytearray Random Lock
"""
"""What is made only to be changed."""
_CHANGES = """
add append appendleft clear discard extend extendleft insert pop popitem popleft remove reverse
setdefault sort update
"""
"""Methods of containers that change them."""
STATEFUL = frozenset(_STATEFUL.split())
CHANGES = frozenset(_CHANGES.split())
CACHES = frozenset(("cache", "lru_cache"))


def state_of(source: str) -> list[str]:
    """Everything in this source by which its module keeps state."""
    tree = ast.parse(source)
    names = _module_names(tree)
    found: list[str] = []
    for node in ast.walk(tree):
        line = getattr(node, "lineno", 0)
        found += [f"{line}: {what}" for what in _changes(node, names)]
    return found


def _module_names(tree: ast.Module) -> set[str]:
    """Names that are assigned at the level of the module."""
    names: set[str] = set()
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else []
        if isinstance(node, ast.AnnAssign):
            targets = [node.target]
        names |= {target.id for target in targets if isinstance(target, ast.Name)}
    return names


def _changes(node: ast.AST, names: set[str]) -> Iterator[str]:
    if isinstance(node, ast.Global):
        yield f"global {', '.join(node.names)}"
    if isinstance(node, ast.Module):
        for each in node.body:
            value = getattr(each, "value", None)
            if isinstance(value, ast.Call) and _last(value.func) in STATEFUL:
                yield f"a {_last(value.func)} of the module"
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        for decorator in node.decorator_list:
            called = decorator.func if isinstance(decorator, ast.Call) else decorator
            if _last(called) in CACHES:
                yield f"{node.name} has a hidden cache"
    method = node.func if isinstance(node, ast.Call) else None
    changes = isinstance(method, ast.Attribute) and method.attr in CHANGES
    if changes and _root(method.value) in names:
        yield f"{ast.unparse(method)} changes the module"
    written = isinstance(node, (ast.Subscript, ast.Attribute)) and not isinstance(
        node.ctx, ast.Load
    )
    if written and _root(node.value) in names:
        yield f"{ast.unparse(node)} changes the module"


def _last(node: ast.AST) -> str:
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def _root(node: ast.AST) -> str:
    return node.id if isinstance(node, ast.Name) else ""


@pytest.mark.parametrize(
    "file",
    [f for f in FILES if room_of(dotted(f)) and ROWS[room_of(dotted(f))].layer <= LAST_PURE],
    ids=lambda f: str(f.relative_to(ROOT)),
)
def test_no_module_below_the_adapters_keeps_state(file: Path) -> None:
    assert state_of(file.read_text()) == []


@pytest.mark.parametrize(
    "source",
    [
        "from itertools import count\nNUMBERS = count(1)",
        "import itertools\nNUMBERS: object = itertools.count(1)",
        "NAMES = {}\ndef f(a):\n NAMES[a] = 1",
        "NAMES = {}\ndef f(a):\n del NAMES[a]",
        "NAMES: dict[str, int] = {}\ndef f(a):\n return NAMES.setdefault(a, 1)",
        "SEEN = []\ndef f(a):\n SEEN.append(a)",
        "SEEN = set()\ndef f():\n SEEN.clear()",
        "LAST = 0\ndef f():\n global LAST",
        "from functools import lru_cache\n@lru_cache(maxsize=3)\ndef f(): ...",
        "import functools\n@functools.cache\ndef f(): ...",
        "from collections import deque\nWAITING = deque()",
        "class A: ...\nDEFAULT = A()\ndef f():\n DEFAULT.value = 3",
    ],
)
def test_state_of_a_module_is_seen(source: str) -> None:
    assert len(state_of(source)) == 1


@pytest.mark.parametrize(
    "source",
    [
        "PORTS = {'http': 80}\ndef f(a):\n return PORTS[a]",
        "NAMES = ()\ndef f(names):\n names.append(NAMES)",
        "from functools import cached_property\nclass A:\n @cached_property\n def b(self): ...",
        "class A:\n def __init__(self):\n  self.seen = []\n  self.seen.append(1)",
    ],
)
def test_a_table_and_an_object_are_let_pass(source: str) -> None:
    assert state_of(source) == []

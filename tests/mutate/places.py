"""The places where a fault may stand, each with the one fault it gets, and the sample of them.

A place is a statement inside a function. It is named by its file, its function and its text, not by
its line, so that an edit elsewhere neither renames it nor moves it in or out of the sample: the
order of the sample is that of hashes of the names.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from types import CodeType
from typing import TypeAlias

from tests.mutate.operators import ATTRIBUTES, Edit, edits, heading, text_of

__all__ = ["Place", "codes", "places_of", "sample"]

TEXT = frozenset(("__repr__", "__str__"))
"""Functions whose result is there to be read."""
Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef
Defined: TypeAlias = Function | ast.ClassDef
BLOCKS = ("body", "orelse", "finalbody", "handlers", "cases")


@dataclass(frozen=True)
class Place:
    """One statement, and its fault."""

    file: str
    """Below the tree, as `shop/stock.py`."""
    function: str
    """As `Stock.take`, or `outer.<locals>.inner`."""
    was: str
    now: str
    count: int
    """Equal statements of the function before this one."""
    lines: range
    fault: int
    """The position of the fault among all of the file."""

    @property
    def name(self) -> str:
        """What the place is known by, whatever its fault and line."""
        return "\n".join((self.file, self.function, self.was, str(self.count)))

    @property
    def key(self) -> tuple[str, str, str, str]:
        return self.file, self.function, self.was, self.now

    def __str__(self) -> str:
        now = "(deleted)" if self.now == "pass" else self.now
        return f"{self.file}:{self.lines.start} {self.function}: {self.was}  ->  {now}"


def rank(*parts: object) -> bytes:
    """Where something stands in an order that has nothing to do with what it is."""
    return sha256("\n".join(map(str, parts)).encode()).digest()


@dataclass(frozen=True)
class _Found:
    function: str
    edit: Edit
    number: int


def places_of(root: Path, file: str, seed: int) -> list[Place]:
    """Every place of a file, in the order of the file."""
    groups: dict[int, list[_Found]] = {}
    for number, (function, edit) in enumerate(_faults(_tree(root, file))):
        groups.setdefault(id(edit.statement), []).append(_Found(function, edit, number))
    seen: Counter[tuple[str, str]] = Counter()
    places: list[Place] = []
    for group in groups.values():
        function, statement = group[0].function, group[0].edit.statement
        was = text_of(statement)
        count = seen[function, was]
        seen[function, was] += 1
        names = {each.edit.text: each.number for each in group if each.edit.text != was}
        if names:
            now = min(names, key=lambda text: rank(seed, file, function, was, count, text))
            lines = heading(statement)
            places.append(Place(file, function, was, now, count, lines, names[now]))
    return places


def sample(places: Iterable[Place], most: int, seed: int) -> list[Place]:
    """So many places, from every file as many as from any other, as far as it has them."""
    files: dict[str, list[Place]] = {}
    for place in places:
        files.setdefault(place.file, []).append(place)
    turns: list[tuple[int, bytes, Place]] = []
    for inside in files.values():
        ranked = sorted((rank(seed, place.name), place) for place in inside)
        turns += [(turn, key, place) for turn, (key, place) in enumerate(ranked)]
    turns.sort(key=lambda each: each[:2])
    return [place for _, _, place in turns[:most]]


def codes(root: Path, place: Place) -> dict[tuple[str, int], CodeType]:
    """The code objects of the file with the fault in it, by qualified name and first line."""
    tree = _tree(root, place.file)
    for number, (_, edit) in enumerate(_faults(tree)):
        if number == place.fault:
            with edit:
                whole = compile(tree, str(root / place.file), "exec", dont_inherit=True)
            return {(code.co_qualname, code.co_firstlineno): code for code in _nested(whole)}
    raise LookupError(f"no such fault: {place}")


def _tree(root: Path, file: str) -> ast.Module:
    return ast.parse((root / file).read_text())


def _nested(code: CodeType) -> Iterator[CodeType]:
    yield code
    for const in code.co_consts:
        if isinstance(const, CodeType):
            yield from _nested(const)


def _faults(tree: ast.Module) -> Iterator[tuple[str, Edit]]:
    """Function and edit of everything that may go wrong in a file."""
    yield from _in_statements(tree, "", set(), False)


def _in_statements(
    holder: ast.AST, function: str, known: set[str], inside: bool
) -> Iterator[tuple[str, Edit]]:
    for field in BLOCKS:
        for index, node in enumerate(getattr(holder, field, [])):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                if not _is_text(node):
                    names = {each.arg for each in _arguments(node.args)}
                    names |= {ATTRIBUTES} if node.name != "__init__" else set()
                    yield from _in_statements(node, _dotted(function, node, inside), names, True)
            elif isinstance(node, ast.ClassDef):
                yield from _in_statements(node, _dotted(function, node, inside), set(), False)
            else:
                if inside and isinstance(node, ast.stmt):
                    for edit in edits(holder, field, index, frozenset(known)):
                        yield function, edit
                    known |= _stored(node)
                yield from _in_statements(node, function, known, inside)


def _dotted(
    outer: str, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef, inside: bool
) -> str:
    between = ".<locals>." if inside else "."
    return f"{outer}{between}{node.name}" if outer else node.name


def _is_text(node: Function) -> bool:
    marks = [ast.unparse(each) for each in node.decorator_list]
    return node.name in TEXT or any(mark.endswith("overload") for mark in marks)


def _arguments(args: ast.arguments) -> list[ast.arg]:
    more = [each for each in (args.vararg, args.kwarg) if each is not None]
    return [*args.posonlyargs, *args.args, *args.kwonlyargs, *more]


def _stored(node: ast.stmt) -> set[str]:
    """Names that a statement, without those in it, gives a value."""
    if isinstance(node, ast.Assign):
        return {name.id for each in node.targets for name in ast.walk(each) if _is_store(name)}
    if isinstance(node, ast.AnnAssign) and node.value is not None:
        return {ast.unparse(node.target)}
    if isinstance(node, (ast.For, ast.AsyncFor)):
        return {name.id for name in ast.walk(node.target) if _is_store(name)}
    return set()


def _is_store(node: ast.AST) -> bool:
    return isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)

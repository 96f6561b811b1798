"""The faults that one statement may get: each is an edit of its syntax tree that can be undone.

Rule: a statement keeps its names. What is deleted or replaced stays in the tree where it is never
reached, so that a function closes over the same variables and stays the generator that it was.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

__all__ = ["ATTRIBUTES", "Edit", "edits", "heading", "text_of"]

N = TypeVar("N", bound=ast.AST)

COMPARED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
CALCULATED: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.FloorDiv: ast.Mult,
    ast.Div: ast.Mult,
    ast.Mod: ast.Add,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
}
CALLED = {"min": "max", "max": "min", "any": "all", "all": "any", "popleft": "pop"}
CHOSEN = (ast.Compare, ast.BoolOp, ast.Constant)
"""Conditions that have faults of their own."""
LOGGERS = re.compile(r"(^|[._])(log|logger)\.(\w+)$")
HEADS = {
    ast.If: ("test",),
    ast.While: ("test",),
    ast.For: ("iter",),
    ast.AsyncFor: ("iter",),
    ast.With: ("items",),
    ast.AsyncWith: ("items",),
}
"""Of statements that hold others, the part that is their own."""
ATTRIBUTES = "self."
"""Among known names: the object has been made, and its attributes have values."""
PASSED_OVER = (
    ast.Assert,
    ast.ClassDef,
    ast.FunctionDef,
    ast.AsyncFunctionDef,
    ast.Import,
    ast.ImportFrom,
    ast.Match,
    ast.Try,
    ast.TryStar,
)


@dataclass
class Edit:
    """One fault: a node of the tree that becomes another. A context manager: it is there inside."""

    statement: ast.stmt
    parent: ast.AST
    field: str
    index: int | None
    """Of a field that is a list."""
    new: ast.AST
    shown: str = ""
    """What the statement becomes, where the tree does not say it."""

    def __enter__(self) -> Edit:
        self._old = self._put(self.new)
        return self

    def __exit__(self, *_: object) -> None:
        self._put(self._old)

    def _put(self, node: Any) -> Any:
        if self.index is None:
            old = getattr(self.parent, self.field)
            setattr(self.parent, self.field, node)
        else:
            nodes = getattr(self.parent, self.field)
            old, nodes[self.index] = nodes[self.index], node
        return old

    @property
    def text(self) -> str:
        """The statement with the fault, on one line."""
        if self.shown:
            return self.shown
        with self:
            return text_of(self.statement)


def text_of(statement: ast.stmt) -> str:
    """A statement in the one way of writing it; of one that holds others, its first line."""
    fields = HEADS.get(type(statement))
    if fields is None:
        return ast.unparse(statement)
    kept = {name: getattr(statement, name, None) for name in statement._fields}
    kept |= {"body": [ast.Pass()]} | ({"orelse": []} if "orelse" in kept else {})
    return ast.unparse(ast.copy_location(type(statement)(**kept), statement)).splitlines()[0]


def heading(statement: ast.stmt) -> range:
    """The source lines of a statement without those of the statements in it."""
    last = statement.end_lineno or statement.lineno
    if type(statement) in HEADS:
        last = max(statement.lineno, statement.body[0].lineno - 1)  # type: ignore[attr-defined]
    return range(statement.lineno, last + 1)


def edits(holder: ast.AST, field: str, index: int, known: frozenset[str]) -> Iterator[Edit]:
    """Every fault of the statement that stands in this place.

    Args:
        known: Names that have a value before it; `self.` is one while attributes have.
    """
    statement: ast.stmt = getattr(holder, field)[index]
    if isinstance(statement, PASSED_OVER):
        return
    for new, shown in _whole(statement, known):
        yield Edit(statement, holder, field, index, _placed(new, statement), shown)
    if isinstance(statement, ast.Raise) or _logs(statement):
        return
    for parent, name, place, node in _inside(statement):
        for new in _faults(parent, name, node):
            yield Edit(statement, parent, name, place, _placed(new, node))


def _placed(new: N, old: ast.AST) -> N:
    """A new node on the lines of the old one: code objects are known by their lines."""
    for node in ast.walk(new):
        if isinstance(node, (ast.expr, ast.stmt)) and not hasattr(node, "lineno"):
            ast.copy_location(node, old)
    return ast.fix_missing_locations(new)


def _whole(statement: ast.stmt, known: frozenset[str]) -> Iterator[tuple[ast.stmt, str]]:
    if _may_go(statement, known):
        yield ast.If(ast.Constant(False), [statement], []), "pass"
    if isinstance(statement, ast.Return) and not isinstance(statement.value, ast.Constant | None):
        nothing = ast.IfExp(ast.Constant(True), ast.Constant(None), statement.value)
        yield ast.Return(nothing), "return None"
    if isinstance(statement, ast.Break):
        yield ast.Continue(), "continue"
    if isinstance(statement, ast.Continue):
        yield ast.Break(), "break"


def _may_go(statement: ast.stmt, known: frozenset[str]) -> bool:
    if isinstance(statement, ast.Expr):
        kinds = (ast.Call, ast.Await, ast.Yield, ast.YieldFrom)
        return isinstance(statement.value, kinds) and _logs(statement) != "debug"
    if isinstance(statement, ast.Assign):
        return all(_has_value(target, known) for target in statement.targets)
    if isinstance(statement, ast.Return):
        return statement.value is None
    return isinstance(statement, (ast.AugAssign, ast.Delete, ast.Raise, ast.Break, ast.Continue))


def _has_value(target: ast.expr, known: frozenset[str]) -> bool:
    """What has no value yet would be missed by whatever reads it: such a fault tells nothing."""
    if isinstance(target, ast.Tuple):
        return all(_has_value(each, known) for each in target.elts)
    if isinstance(target, ast.Name):
        return target.id in known
    return ATTRIBUTES in known or not ast.unparse(target).startswith(ATTRIBUTES)


def _logs(statement: ast.stmt) -> str:
    """The method of a logger that a statement calls; "" for any other."""
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
        found = LOGGERS.search(ast.unparse(statement.value.func))
        return found[3] if found else ""
    return ""


Inside = tuple[ast.AST, str, int | None, ast.AST]


def _inside(node: ast.AST) -> Iterator[Inside]:
    """Every node below, with its place; annotations and nested statements are left out."""
    for name in HEADS.get(type(node), node._fields):  # type: ignore[call-overload]
        if name in ("annotation", "format_spec", "targets", "target"):
            continue
        value = getattr(node, name, None)
        several = isinstance(value, list)
        for index, child in enumerate(value if several else [value]):
            if isinstance(child, ast.AST) and not isinstance(child, ast.stmt):
                yield node, name, index if several else None, child
                yield from _inside(child)


def _faults(parent: ast.AST, field: str, node: ast.AST) -> Iterator[ast.AST]:
    for kind, faults in FAULTS.items():
        if isinstance(node, kind):
            yield from faults(node)
    if isinstance(parent, ast.AugAssign) and field == "op":
        yield from _augmented(parent)
    condition = field == "test" and isinstance(parent, (ast.If, ast.While, ast.IfExp))
    negated = isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not)
    if condition and not negated and not isinstance(node, CHOSEN):
        assert isinstance(node, ast.expr)
        yield ast.UnaryOp(ast.Not(), node)
    if isinstance(parent, ast.Subscript) and field == "slice":
        if isinstance(node, ast.Constant) and node.value == 0:
            yield ast.UnaryOp(ast.USub(), ast.Constant(1))
        elif ast.unparse(node) == "-1":
            yield ast.Constant(0)


def _constant(node: ast.Constant) -> Iterator[ast.AST]:
    if isinstance(node.value, bool):
        yield ast.Constant(not node.value)
    elif isinstance(node.value, int):
        yield ast.Constant(node.value + 1)
        if node.value:
            yield ast.Constant(node.value - 1)
    elif isinstance(node.value, float):
        yield ast.Constant(node.value + 1)


def _unary(node: ast.UnaryOp) -> Iterator[ast.AST]:
    if isinstance(node.op, (ast.Not, ast.USub)):
        yield node.operand


def _bool(node: ast.BoolOp) -> Iterator[ast.AST]:
    yield ast.BoolOp(ast.Or() if isinstance(node.op, ast.And) else ast.And(), node.values)


def _compare(node: ast.Compare) -> Iterator[ast.AST]:
    for index, each in enumerate(node.ops):
        ops = list(node.ops)
        ops[index] = COMPARED[type(each)]()
        yield ast.Compare(node.left, ops, node.comparators)


def _calculation(node: ast.BinOp) -> Iterator[ast.AST]:
    if type(node.op) in CALCULATED and not any(map(_is_sequence, (node.left, node.right))):
        yield ast.BinOp(node.left, CALCULATED[type(node.op)](), node.right)


def _is_sequence(node: ast.expr) -> bool:
    """Texts and lists know one operator; any other is missed by whatever runs the line."""
    if isinstance(node, ast.Constant):
        return isinstance(node.value, (str, bytes))
    return isinstance(node, (ast.JoinedStr, ast.List, ast.Tuple))


def _call(node: ast.Call) -> Iterator[ast.AST]:
    function = node.func
    if isinstance(function, ast.Name) and function.id in CALLED:
        other: ast.expr = ast.Name(CALLED[function.id], ast.Load())
    elif isinstance(function, ast.Attribute) and function.attr in CALLED:
        other = ast.Attribute(function.value, CALLED[function.attr], ast.Load())
    else:
        return
    yield ast.Call(other, node.args, node.keywords)


def _augmented(node: ast.AugAssign) -> Iterator[ast.AST]:
    if type(node.op) in CALCULATED and not _is_sequence(node.value):
        yield CALCULATED[type(node.op)]()


FAULTS: dict[type[ast.AST], Callable[[Any], Iterator[ast.AST]]] = {
    ast.Constant: _constant,
    ast.UnaryOp: _unary,
    ast.BoolOp: _bool,
    ast.Compare: _compare,
    ast.BinOp: _calculation,
    ast.Call: _call,
}

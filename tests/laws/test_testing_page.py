"""`docs/testing.md` has every public name of `stocksync_ws.testing`, and none that is not there.

A class has the section of its name, which names every method and attribute that is not private,
those that only its constructor sets among them. What a table shows with parentheses is called so.
"""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator
from typing import Any

import pytest

from stocksync_ws import testing
from tests.laws.api import PACKAGE, ROOT

PAGE = (ROOT / "docs" / "testing.md").read_text()
CLASSES = [name for name in testing.__all__ if inspect.isclass(getattr(testing, name))]
IN_SECTION = {"ReceivedFrame": "Peer"}
"""Classes that another section tells of."""


def section(page: str, name: str) -> str:
    """What stands below a heading; "" when there is none."""
    _, found, rest = page.partition(f"\n## {name}\n")
    return rest.split("\n## ", 1)[0] if found else ""


def members(cls: type) -> set[str]:
    """Every public method and attribute that the class, or a base of ours, has or sets."""
    found: set[str] = set()
    for base in cls.__mro__:
        if base.__module__.split(".")[0] == PACKAGE:
            found |= {name for name, value in vars(base).items() if not name.startswith("_")}
            found |= set(assigned(textwrap.dedent(inspect.getsource(base))))
    return found


def assigned(source: str) -> Iterator[str]:
    """The public attributes that the methods of a class set or declare."""
    for node in ast.walk(ast.parse(source)):
        own = isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)
        if own and isinstance(node.value, ast.Name) and node.value.id == "self":  # type: ignore[attr-defined]
            name: str = node.attr  # type: ignore[attr-defined]
            if not name.startswith("_"):
                yield name


def named(text: str) -> set[str]:
    """The names that begin a code span."""
    return set(re.findall(r"(?<!`)`(\w+)(?:\([^`]*\))?`", text))


def calls(text: str) -> list[tuple[str, str]]:
    """The calls in the first cells of tables: names, and what stands in parentheses."""
    cells = re.findall(r"^\| (`[^|]*) \|", text, re.MULTILINE)
    return [call for cell in cells for call in re.findall(r"`(\w+)\(([^`]*)\)`", cell)]


def wrong_call(function: Any, shown: str) -> str | None:
    """How a call is shown that differs from the signature in names, order or defaults."""
    parameters = list(inspect.signature(function).parameters.values())
    if parameters and parameters[0].name == "self":
        del parameters[0]
    texts = [str(each.replace(annotation=inspect.Parameter.empty)) for each in parameters]
    texts = [re.sub(r"=<.*>", "=...", text).replace("'", '"') for text in texts]
    expected = ", ".join(texts)
    return None if shown == expected else f"({shown}) is ({expected})"


@pytest.mark.parametrize("name", testing.__all__)
def test_every_public_name_stands_on_the_page(name: str) -> None:
    where = IN_SECTION.get(name, name)
    assert name in named(section(PAGE, where)) or section(PAGE, name)


@pytest.mark.parametrize("name", CLASSES)
def test_every_method_and_attribute_stands_in_its_section(name: str) -> None:
    there = named(section(PAGE, IN_SECTION.get(name, name)))
    assert members(getattr(testing, name)) - there == set()


@pytest.mark.parametrize("name", [name for name in CLASSES if name not in IN_SECTION])
def test_every_call_of_its_tables_is_the_one_of_the_code(name: str) -> None:
    cls = getattr(testing, name)
    shown = calls(section(PAGE, name))
    assert shown
    functions = [(getattr(cls, each, cls if each == name else None), text) for each, text in shown]
    assert [wrong_call(function, text) for function, text in functions if function] == [None] * len(
        shown
    )


def test_a_missing_name_is_seen() -> None:
    class Example:
        def __init__(self) -> None:
            self.shown = self.hidden = 1
            self._private = 2

    page = "# A\n\n## Example\n\n| `shown`, `other()` | x |\n\n## B\n`hidden`\n"
    assert members(Example) == set()  # it is not ours
    assert set(assigned(textwrap.dedent(inspect.getsource(Example)))) == {"shown", "hidden"}
    assert named(section(page, "Example")) == {"shown", "other"}
    assert section(page, "C") == ""


def test_a_call_that_is_not_the_one_of_the_code_is_seen() -> None:
    def function(self: object, a: int, b: str = "x", *, c: object = object, **d: str) -> None: ...

    assert calls('| `f(a)`, `g(b="x")` | `h()` |\n') == [("f", "a"), ("g", 'b="x"')]
    assert wrong_call(function, 'a, b="x", c=..., **d') is None
    for shown in ("a", 'b="x", a, c=..., **d', 'a, b="y", c=..., **d'):
        assert wrong_call(function, shown) is not None

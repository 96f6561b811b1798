"""Every public name has its place in docs/reference.md, and only one; `test_docs` says whether the
page is stale.
"""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.laws.api import own, public_packages

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "reference.md").read_text()


@pytest.fixture(scope="module")
def reference() -> Iterator[ModuleType]:
    """docs/reference.py, which is a script beside its page and stands in no package."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(DOCS))
        yield importlib.import_module("reference")


def headings(level: int) -> list[str]:
    return re.findall(rf"^{'#' * level} (.+)$", PAGE, re.MULTILINE)


def named() -> dict[str, Any]:
    """Every name of every `__all__`, below the package."""
    return {
        f"{package.__name__}.{name}".removeprefix("stocksync_ws."): getattr(package, name)
        for package in public_packages()
        for name in package.__all__
    }


def test_every_public_object_has_one_heading() -> None:
    found = headings(3)
    assert len(found) == len(set(found)) > 80
    names = named()
    assert set(found) <= set(names)
    shown = [id(names[name]) for name in found if inspect.isclass(names[name])]
    assert len(shown) == len(set(shown)), "a class under two names"
    missing = {n for n, v in names.items() if n not in found and id(v) not in shown}
    assert missing == set()


def test_every_method_of_a_public_class_has_one_heading() -> None:
    found = headings(4)
    assert len(found) == len(set(found)) > 100
    classes = {name: value for name, value in named().items() if inspect.isclass(value)}
    methods = {
        f"{name}.{attribute}"
        for name, cls in classes.items()
        if name in headings(3)
        for attribute, value in own(cls).items()
        if attribute != "__init__" and inspect.isfunction(value)
    }
    assert methods - set(found) == set()


def test_every_anchor_of_the_page_is_that_of_one_heading(reference: ModuleType) -> None:
    anchors = [reference.anchor(name) for level in (2, 3, 4) for name in headings(level)]
    assert len(anchors) == len(set(anchors))


@pytest.mark.parametrize(
    "public",
    [
        {"StompApp": object, "Newcomer": object},  # stands in no group
        {"StompApp": object},  # the others of the groups are no longer public
    ],
)
def test_a_name_without_a_place_is_a_mistake(
    reference: ModuleType, public: dict[str, object]
) -> None:
    with pytest.raises(ValueError, match=r"GROUPS of docs/reference\.py"):
        reference.places(public)


def test_a_docstring_becomes_paragraphs_and_lists(reference: ModuleType) -> None:
    text = """Does it.

    Args:
        one: The first, which is
            long.
        two: The other.

    Returns:
        A number.

    The end.
    """
    assert list(reference.prose(inspect.cleandoc(text))) == [
        "Does it.",
        "Arguments:\n\n* `one`: The first, which is long.\n* `two`: The other.",
        "Returns:\n\n* A number.",
        "The end.",
    ]

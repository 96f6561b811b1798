"""Every public name has its place in docs/reference.md, and only one; `test_docs` says whether the
page is stale.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from stocksync_ws import Latest, Queue, Stream, Topic
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


NO_SUBJECT = re.compile(
    r"(How|It|Its|That|There|These|They|This|Those|What|Whatever|When|Where|Whether|Which|Who"
    r"|Whoever|Why)\b"
)
"""How a text begins that does not say what it is about."""


def texts(reference: ModuleType) -> Iterator[tuple[str, str]]:
    """Every docstring of a public name or member, the text below a field, and each entry of a
    section, with whose it is.
    """
    for name, value in named().items():
        yield name, inspect.cleandoc(value.__doc__ or "") if callable(value) else ""
        if inspect.isclass(value):
            for attribute, member in own(value).items():
                yield f"{name}.{attribute}", inspect.cleandoc(getattr(member, "__doc__", "") or "")
            for field, text in reference.texts_of_fields(value).items():
                yield f"{name}.{field}", text


def entries(reference: ModuleType, text: str) -> Iterator[str]:
    """The texts behind the names in the sections of a docstring."""
    for title, section in reference.SECTION.findall(text):
        for entry in reference.items_of(title, section):
            yield entry.removeprefix("* ").partition("`: ")[2] or entry.removeprefix("* ")


def test_public_docstrings_name_their_subject(reference: ModuleType) -> None:
    found = list(texts(reference))
    assert len(found) > 300
    found += [(name, entry) for name, text in found for entry in entries(reference, text)]
    wrong = [f"{name}: {text[:60]}" for name, text in found if NO_SUBJECT.match(text)]
    assert wrong == []


def test_a_docstring_becomes_paragraphs_and_lists(reference: ModuleType) -> None:
    text = """Does it.

    Args:
        one: The first, which is
            long.
        two: The other.

    Returns:
        A number.

    Raises:
        ValueError: It is alone, and
            long.

    The end.
    """
    assert list(reference.prose(inspect.cleandoc(text))) == [
        "Does it.",
        "Arguments:\n\n* `one`: The first, which is long.\n* `two`: The other.",
        "Returns:\n\n* A number.",
        "Raises:\n\n* `ValueError`: It is alone, and long.",
        "The end.",
    ]


@pytest.mark.parametrize("policy", [Topic, Stream, Latest, Queue])
def test_a_policy_stands_with_its_fields_and_defaults(policy: Any) -> None:
    head = f"\n### {policy.__name__}\n\n```pyi\n"
    shown = PAGE.partition(head)[2].partition("```")[0]
    assert shown.startswith(f"class {policy.__name__}(\n")
    for field in dataclasses.fields(policy):
        assert re.search(
            rf"^    {field.name}: .* = {re.escape(repr(field.default))},$", shown, re.M
        )


def test_names_in_code_are_links(reference: ModuleType) -> None:
    anchors = reference.all_anchors({"World": int, "testing.Peer": str, "f": len})
    assert reference.linked("See `World`, `f` and `g`.", "f", anchors) == (
        "See [`World`](#world), `f` and `g`."
    )
    assert reference.linked("* `World`: not `World`", "f", anchors) == (
        "* `World`: not [`World`](#world)"
    )
    assert reference.linked("```pyi\n`World`\n```", "f", anchors) == "```pyi\n`World`\n```"

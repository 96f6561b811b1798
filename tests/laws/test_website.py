"""What the site is built from: every page in its place, every link with somewhere to lead. Whether
the generator finds them all is judged by `python -m nox -s docs`.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
BLOB = "https://github.com/stocksync-ws/stocksync-ws/blob/main"
FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
DIVIDES = re.compile(r"\|(?: ?:?-+:? ?\|)+")
"""The line between the head of a table and its rows."""


@pytest.fixture(scope="module")
def website() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(DOCS))
        yield importlib.import_module("website")


def pages(nav: object) -> Iterator[str]:
    if isinstance(nav, str):
        yield nav
    elif isinstance(nav, dict):
        for each in nav.values():
            yield from pages(each)
    elif isinstance(nav, list):
        for each in nav:
            yield from pages(each)


def test_the_navigation_has_every_page_once(website: ModuleType) -> None:
    named = list(pages(website.navigation()))
    there = [website.place(page) for page in (ROOT / "README.md", *DOCS.rglob("*.md"))]
    assert sorted(named) == sorted(there)


def test_the_navigation_has_the_order_of_the_index(website: ModuleType) -> None:
    groups = [next(iter(each)) for each in website.navigation()]
    assert groups[0] == "stocksync-ws"
    assert groups[2] == "Begin"
    assert groups[-1] == "For those who change the library"


@pytest.mark.parametrize(
    ("page", "link", "there"),
    [
        ("README.md", f"[d]({BLOB}/docs/delivery.md)", "[d](delivery.md)"),
        ("README.md", f"[all]({BLOB}/docs/index.md)", "[all](overview.md)"),
        ("README.md", f"[log]({BLOB}/CHANGELOG.md)", f"[log]({BLOB}/CHANGELOG.md)"),
        ("docs/protocol.md", "[delivery.md](delivery.md#a)", "[Delivery](delivery.md#a)"),
        ("docs/sockjs.md", "[a](../examples/README.md)", f"[a]({BLOB}/examples/README.md)"),
        ("docs/embedding/index.md", "[a](../../README.md#x)", "[a](../index.md#x)"),
        ("docs/embedding/index.md", "[a](../delivery.md)", "[a](../delivery.md)"),
        ("docs/handlers.md", "[a](#x) [b](https://b.example/c.md)", None),
    ],
)
def test_a_link_leads_on_the_site_where_it_leads_in_the_tree(
    website: ModuleType, page: str, link: str, there: str | None
) -> None:
    moved = website.LINK.sub(lambda m: website.link(ROOT / page, m[1], m[2]), link)
    assert moved == (link if there is None else there)


def test_code_stays_as_it_is(website: ModuleType) -> None:
    page = DOCS / "handlers.md"
    assert FENCED.findall(website.moved(page)) == FENCED.findall(page.read_text()) != []


def broken_tables(text: str) -> Iterator[str]:
    """Rows that are text on the site: a head without its line, or without a blank line before it,
    and a row that has other columns than the head.
    """
    lines = FENCED.sub("", text).splitlines()
    columns = 0
    for before, line, after in zip(["", *lines], lines, [*lines[1:], ""], strict=False):
        if not line.startswith("|"):
            continue
        cells = len(re.findall(r"(?<!\\)\|", line)) - 1
        if before.startswith("|"):
            if cells != columns:
                yield line
            continue
        columns = cells
        if before or not DIVIDES.fullmatch(after):
            yield line


@pytest.mark.parametrize(
    "page", [*ROOT.glob("*.md"), *DOCS.rglob("*.md")], ids=lambda page: page.name
)
def test_every_row_stands_in_a_table(page: Path) -> None:
    assert list(broken_tables(page.read_text())) == []


@pytest.mark.parametrize(
    ("text", "broken"),
    [
        ("| a | b |\n|---|--:|\n| 1 | `x\\|y` |\n\n| c |\n| --- |\n| 2 |\n", []),
        ("| a |\n|---|\n| 1 |\n\n| 2 |\n| 3 |\n", ["| 2 |"]),
        ("| a |\n|---|\n\n| 1 |\n", ["| 1 |"]),
        ("Words\n| a |\n|---|\n| 1 |\n", ["| a |"]),
        ("| a | b |\n|---|---|\n| 1 |\n", ["| 1 |"]),
        ("```text\n| a |\n```\n", []),
    ],
)
def test_a_row_without_its_table_is_seen(text: str, broken: list[str]) -> None:
    assert list(broken_tables(text)) == broken


def test_what_is_built_is_no_part_of_the_tree() -> None:
    assert "build/" in (ROOT / ".gitignore").read_text().splitlines()

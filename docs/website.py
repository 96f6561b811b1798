"""Writes into `build/docs` what the site is built from; `python -m nox -s docs` builds it there.

The pages are plain Markdown that reads alone. What the generator needs besides is made here, beside
the pages and not in them: the README becomes the front page, links to files outside `docs` lead to
the repository, and the order of index.md and embedding/index.md becomes the navigation.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tomllib
from pathlib import Path
from typing import TypeAlias

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
HOME: str = PROJECT["urls"]["Homepage"]
BLOB = f"{HOME}/blob/main/"
RAW = HOME.replace("https://github.com/", "https://raw.githubusercontent.com/") + "/main/"
FRONT = {"README.md": "index.md", "docs/index.md": "overview.md"}
"""Pages that have another place on the site; every other page of `docs` keeps its own."""
Nav: TypeAlias = "list[str | dict[str, str | Nav]]"

CONFIG = """\
[project]
site_name = {name}
site_description = {description}
repo_url = {home}
repo_name = "GitHub"
docs_dir = "source"
site_dir = "site"
nav = {nav}
extra_css = ["site.css"]

[project.theme]
font = false
features = [
    "content.code.copy", "navigation.footer", "navigation.sections", "navigation.top",
    "search.highlight", "toc.follow",
]

[[project.theme.palette]]
media = "(prefers-color-scheme: light)"
scheme = "default"
toggle.icon = "lucide/sun"
toggle.name = "Dark"

[[project.theme.palette]]
media = "(prefers-color-scheme: dark)"
scheme = "slate"
toggle.icon = "lucide/moon"
toggle.name = "Light"

[project.markdown_extensions]
sane_lists = {{}}
tables = {{}}
pymdownx.highlight.anchor_linenums = false
pymdownx.superfences = {{}}

[project.markdown_extensions.toc]
permalink = true
toc_depth = 3
slugify = {{ object = "pymdownx.slugs.slugify", kwds = {{ case = "lower" }} }}
"""
"""The extensions are those without which the pages do not look as on the repository's own site, and
headings have the anchors that they have there. No font and no script comes from elsewhere.
"""

CSS = """\
/* Tables have room; names in the first columns stay whole, what is long breaks in the last one.
   On a phone they break too, so that the last column is seen; what is wider scrolls by itself. */
.md-grid { max-width: 72rem; }
.md-typeset table:not([class]) { font-size: 0.7rem; }
.md-typeset table:not([class]) :is(th, td) { min-width: 0; padding: 0.5em 0.8em; }
.md-typeset table:not([class]) td code { word-break: normal; }
.md-typeset table:not([class]) td:last-child { min-width: 8rem; }
.md-typeset table:not([class]) td:last-child, .md-typeset table:not([class]) td:last-child code {
  overflow-wrap: anywhere;
}
@media (max-width: 30em) {
  .md-typeset table:not([class]) :is(th, td) { padding: 0.5em 0.4em; }
  .md-typeset table:not([class]) td:not(:last-child) { min-width: 3.2rem; }
  .md-typeset table:not([class]) td:first-child { min-width: 5.2rem; }
  .md-typeset table:not([class]) :is(td, td code) { overflow-wrap: anywhere; }
}
.md-typeset a code { text-underline-offset: 0.25em; }
"""
LINK = re.compile(r"\[([^\]]*)\]\(([^)]+)\)")
A_FILE = re.compile(r"[\w/-]+\.md")
"""A link that is called as its file is: on the site it is called as its page is."""


def main() -> None:
    build = ROOT / "build" / "docs"
    shutil.rmtree(build, ignore_errors=True)
    source = build / "source"
    shutil.copytree(DOCS / "images", source / "images")
    for page in (ROOT / "README.md", *sorted(DOCS.rglob("*.md"))):
        target = source / place(page)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(moved(page))
    (source / "site.css").write_text(CSS)
    (build / "zensical.toml").write_text(config())


def place(file: Path) -> str:
    """Where a page of ours, or an image, is on the site."""
    name = file.relative_to(ROOT).as_posix()
    return FRONT.get(name, name.removeprefix("docs/"))


def moved(page: Path) -> str:
    """The text of a page with the links that it has on the site; code stays as it is."""
    parts = re.split(r"(^```.*?^```$)", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    return "".join(
        part if part.startswith("```") else LINK.sub(lambda m: link(page, m[1], m[2]), part)
        for part in parts
    )


def link(page: Path, text: str, target: str) -> str:
    """A link of a page, or an image, as it is on the site."""
    own = target.removeprefix(BLOB).removeprefix(RAW)
    if own.startswith(("http://", "https://", "#")):
        return f"[{text}]({target})"
    name, hash_sign, anchor = own.partition("#")
    file = ((page.parent if own == target else ROOT) / name).resolve()
    path = file.relative_to(ROOT).as_posix()
    inside = file.is_relative_to(DOCS) and file.suffix in (".md", ".png")
    if not inside and path not in FRONT:
        return f"[{text}]({BLOB}{path}{hash_sign}{anchor})"
    if A_FILE.fullmatch(text):
        text = title(file)
    there = os.path.relpath(place(file), Path(place(page)).parent)
    return f"[{text}]({there}{hash_sign}{anchor})"


def title(page: Path) -> str:
    found = re.search(r"^# (.+)$", page.read_text(), re.MULTILINE)
    assert found is not None, page
    return found[1]


def navigation() -> Nav:
    """The tables of index.md, each below the words in front of it; a folder is a part."""
    nav: Nav = [{"stocksync-ws": "index.md"}, {"All pages": "overview.md"}]
    seen: set[str] = set()
    text = (DOCS / "index.md").read_text()
    for line in re.findall(r"^(?:\w.*:|## .*|\| \[.*)$", text, re.MULTILINE):
        row = re.match(r"\| \[[^\]]*\]\(([^)]+)\)", line)
        if row is None:
            nav.append({line.removeprefix("## ").removesuffix(":"): []})
        elif row[1] not in seen:
            pages = part(row[1]) if row[1].endswith("/index.md") else [row[1]]
            seen.update(pages)
            (group,) = nav[-1].values() if isinstance(nav[-1], dict) else ([],)
            assert isinstance(group, list)
            group += [{"Embedding": list(pages)}] if len(pages) > 1 else pages
    return nav


def part(index: str) -> list[str]:
    """A folder: its index, and its pages in the order in which that names them."""
    folder = index.removesuffix("index.md")
    names = re.findall(r"\]\(([\w-]+\.md)[)#]", (DOCS / index).read_text())
    return [index, *(folder + name for name in dict.fromkeys(names))]


def toml(nav: object) -> str:
    """The navigation as TOML writes it."""
    if isinstance(nav, list):
        return f"[{', '.join(map(toml, nav))}]"
    if isinstance(nav, dict):
        return "{ " + ", ".join(f"{json.dumps(k)} = {toml(v)}" for k, v in nav.items()) + " }"
    return json.dumps(nav)


def config() -> str:
    return CONFIG.format(
        name=json.dumps(PROJECT["name"]),
        description=json.dumps(PROJECT["description"]),
        home=json.dumps(HOME),
        nav=toml(navigation()),
    )


if __name__ == "__main__":
    main()

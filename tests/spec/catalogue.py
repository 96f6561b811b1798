"""What the specifications demand, which test proves it, and the page that shows both.

Rule: `stomp-<version>.txt` holds every sentence with a word of demand; a test that proves one
quotes a part of it in `@pytest.mark.stomp("1.1 1.2", "SEND", "MUST", "quoted part")`, a wire check
in its `proves`. A quotation that fits no sentence, or more than one of its section, is an error,
and so is a sentence nobody proves. A mark counts for the versions its test really speaks: that is
seen to while the tests run, see `conftest`.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from tests.spec import wording

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PAGE = ROOT / "docs" / "conformance.md"
VERSIONS = ("1.0", "1.1", "1.2")
INTRODUCTION = """\
<!-- Made by python -m tests.spec --write from the markers of tests/spec; edit those. -->

# Conformance

Every sentence of the three specifications that demands something, word for word (… stands for
words left out), the tests that prove it, and, where we depart from it on purpose, in whole or in
part, the rows of [decisions](decisions.md) that say so. MUST and SHOULD are those of the text;
REQUIRED and RECOMMENDED count as these. *will* is what 1.1 and 1.2 say without a key word: that
something will, must or should be, and what follows from that. The text of 1.0 knows no key words:
there "will", "required" and "must" count as MUST, "should" and "recommended" as SHOULD. A sentence
that binds the client is proved by what the server does with a client that keeps it, and with one
that does not. *wire* names a check of `tests/spec/wire_*.py`: octets in, exactly these octets out.
Every test speaks every version that it proves something for.

| version | MUST, MUST NOT | SHOULD, SHOULD NOT | will | with a test | departures |
|---|---|---|---|---|---|""".splitlines()
DEMANDS = ("MUST", "MUST NOT", "SHOULD", "SHOULD NOT", "WILL")
NO_DEMAND = "NO DEMAND"
"""The grade of a sentence that has a word of demand and demands nothing of client or server."""


@dataclass
class Sentence:
    """One demand of one version."""

    version: str
    section: str
    grade: str
    words: str
    departs: list[str]
    """The rows of docs/decisions.md by which we depart from it, wholly or in part."""
    tests: list[str] = field(default_factory=list)


@cache
def _lines(version: str) -> tuple[tuple[str, str, str, str], ...]:
    """Section, grade, words and departures of each line."""
    found: list[tuple[str, str, str, str]] = []
    section = ""
    for line in (HERE / f"stomp-{version}.txt").read_text().splitlines():
        if line.startswith("## "):
            section = line[3:]
        elif section and line:
            match = re.fullmatch(r"([A-Z ]+): (.*)", line)
            if match is None or match[1] not in (*DEMANDS, NO_DEMAND):
                raise ValueError(f"stomp-{version}.txt: {line!r}")
            words, _, rows = match[2].partition(" => ")
            found.append((section, match[1], words, rows))
    return tuple(found)


def sentences(version: str) -> list[Sentence]:
    """The demands of one version, in the order of its text."""
    return [
        Sentence(version, section, grade, words, rows.split("; ") if rows else [])
        for section, grade, words, rows in _lines(version)
        if grade != NO_DEMAND
    ]


def quotations(version: str) -> list[tuple[str, str]]:
    """Section and words of every line, those that demand nothing too."""
    return [(section, words) for section, _, words, _ in _lines(version)]


def tests() -> Iterator[tuple[str, Callable[..., Any]]]:
    """All test functions of this folder, with their ids."""
    for file in sorted(HERE.glob("test_*.py")):
        module = importlib.import_module(f"tests.spec.{file.stem}")
        for name, function in vars(module).items():
            if name.startswith("test_") and callable(function):
                yield f"tests/spec/{file.name}::{name}", function


def proofs() -> Iterator[tuple[str, tuple[str, str, str, str]]]:
    """Everything that claims to prove something: who, and versions, section, grade and words."""
    for test, function in tests():
        for mark in getattr(function, "pytestmark", ()):
            if mark.name == "stomp":
                yield test, mark.args
    for check in importlib.import_module("tests.spec.test_wire").CHECKS:
        for quote in check.proves:
            yield f"wire {check.row}: {check.about}", quote


def collect() -> list[Sentence]:
    """All sentences with the tests that prove them.

    Raises:
        ValueError: A marker quotes what no specification says, or too little to tell which.
    """
    every = [sentence for version in VERSIONS for sentence in sentences(version)]
    for test, (versions, section, grade, words) in proofs():
        for version in versions.split():
            proved = _find(every, test, version, section, grade, words).tests
            if test not in proved:
                proved.append(test)
    return every


def _find(
    every: list[Sentence], test: str, version: str, section: str, grade: str, words: str
) -> Sentence:
    place, plain = (version, section, grade), wording.plain
    here = [each for each in every if (each.version, each.section, each.grade) == place]
    fitting = [each for each in here if words in each.words]
    fitting = fitting or [each for each in here if plain(words) in plain(each.words)]
    if len(fitting) != 1:
        raise ValueError(f"{test}: {len(fitting)} sentences of {place} hold {words!r}")
    return fitting[0]


def page() -> str:
    """docs/conformance.md, as it should be."""
    every = collect()
    lines = [*INTRODUCTION]
    lines += [_counts(v, [each for each in every if each.version == v]) for v in VERSIONS]
    lines.append(_counts("all", every))
    for version in VERSIONS:
        lines += ["", f"## STOMP {version}", "", "| section | grade | sentence | proof |"]
        lines.append("|---|---|---|---|")
        lines += [_row(each) for each in every if each.version == version]
    return "\n".join(lines) + "\n"


def _counts(name: str, those: list[Sentence]) -> str:
    musts = sum(each.grade.startswith("MUST") for each in those)
    shoulds = sum(each.grade.startswith("SHOULD") for each in those)
    proved = sum(bool(each.tests) for each in those)
    departing = sum(bool(each.departs) for each in those)
    rest = len(those) - musts - shoulds
    return f"| {name} | {musts} | {shoulds} | {rest} | {proved} | {departing} |"


def _row(each: Sentence) -> str:
    proof = [*_proofs(each.tests), *(f"departs: {row}" for row in each.departs)]
    words = each.words.replace("|", "\\|").replace("<", "&lt;")
    words = re.sub(r"`[^`]*`", lambda code: code[0].replace("&lt;", "<"), words)
    grade = "will" if each.grade == "WILL" else each.grade
    return f"| {each.section} | {grade} | {words} | {'<br>'.join(proof)} |"


def _proofs(tests: list[str]) -> Iterator[str]:
    """The names of the tests; of the wire checks of one row the first two."""
    wire: dict[str, list[str]] = {}
    for test in tests:
        if test.startswith("wire "):
            row, _, about = test.partition(": ")
            wire.setdefault(row, []).append(about.replace("|", "\\|"))
        else:
            yield f"`{test.removeprefix('tests/spec/')}`"
    for row, checks in wire.items():
        more = f"; and {len(checks) - 2} more" if len(checks) > 2 else ""
        yield f"{row}: {'; '.join(checks[:2])}{more}"

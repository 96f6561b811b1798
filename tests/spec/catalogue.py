"""What the specifications demand, which test proves it, and the page that shows both.

Rule: `stomp-<version>.txt` holds every sentence with MUST or SHOULD; a test that proves one quotes
a part of it in `@pytest.mark.stomp("1.1 1.2", "SEND", "MUST", "quoted part")`. A quotation that
fits no sentence, or more than one of its section, is an error, and so is a sentence nobody proves.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PAGE = ROOT / "docs" / "conformance.md"
VERSIONS = ("1.0", "1.1", "1.2")
INTRODUCTION = """\
<!-- Made by python -m tests.spec --write from the markers of tests/spec; edit those. -->

# Conformance

Every sentence of the three specifications that holds MUST or SHOULD (REQUIRED and RECOMMENDED
count as these), the tests that prove it, and, where we depart from it on purpose, the row of
[decisions](decisions.md) that says so. A sentence that binds the client is proved by what the
server does with a client that keeps it, and with one that does not. The text of 1.0 uses no key
words: there "will", "required" and "must" count as MUST, "should" and "recommended" as SHOULD.

| version | MUST, MUST NOT | SHOULD, SHOULD NOT | with a test | departures |
|---|---|---|---|---|""".splitlines()
GRADES = ("MUST", "MUST NOT", "SHOULD", "SHOULD NOT")


@dataclass
class Sentence:
    """One demand of one version."""

    version: str
    section: str
    grade: str
    words: str
    departs: str | None
    """The row of docs/decisions.md by which we depart from it, wholly or in part."""
    tests: list[str] = field(default_factory=list)


def sentences(version: str) -> list[Sentence]:
    """The demands of one version, in the order of its text."""
    found: list[Sentence] = []
    section = ""
    for line in (HERE / f"stomp-{version}.txt").read_text().splitlines():
        if line.startswith("## "):
            section = line[3:]
        elif (match := re.fullmatch(r"([A-Z ]+): (.*)", line)) and match[1] in GRADES:
            words, _, row = match[2].partition(" => ")
            found.append(Sentence(version, section, match[1], words, row or None))
    return found


def tests() -> Iterator[tuple[str, Callable[..., Any]]]:
    """All test functions of this folder, with their ids."""
    for file in sorted(HERE.glob("test_*.py")):
        module = importlib.import_module(f"tests.spec.{file.stem}")
        for name, function in vars(module).items():
            if name.startswith("test_") and callable(function):
                yield f"tests/spec/{file.name}::{name}", function


def collect() -> list[Sentence]:
    """All sentences with the tests that prove them.

    Raises:
        ValueError: A marker quotes what no specification says, or too little to tell which.
    """
    every = [sentence for version in VERSIONS for sentence in sentences(version)]
    for test, function in tests():
        for mark in getattr(function, "pytestmark", ()):
            if mark.name == "stomp":
                versions, section, grade, words = mark.args
                for version in versions.split():
                    _find(every, test, version, section, grade, words).tests.append(test)
    return every


def _find(
    every: list[Sentence], test: str, version: str, section: str, grade: str, words: str
) -> Sentence:
    place = (version, section, grade)
    fitting = [
        each
        for each in every
        if (each.version, each.section, each.grade) == place and words in each.words
    ]
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
    proved = sum(bool(each.tests) for each in those)
    departing = sum(each.departs is not None for each in those)
    return f"| {name} | {musts} | {len(those) - musts} | {proved} | {departing} |"


def _row(each: Sentence) -> str:
    proof = [f"`{test.removeprefix('tests/spec/')}`" for test in each.tests]
    if each.departs is not None:
        proof.append(f"departs: {each.departs}")
    words = each.words.replace("|", "\\|").replace("<n>", "n")
    return f"| {each.section} | {each.grade} | {words} | {'<br>'.join(proof)} |"

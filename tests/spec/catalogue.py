"""Which test proves which demand of the specifications, and the page that shows both.

Rule: a test names all that it proves in one `@pytest.mark.stomp("1.1 1.2 SEND 1", "1.2 ERROR 4")`,
a wire check in its `proves`. A reference to a demand that does not exist is an error, and so is a
demand nobody proves. A mark counts for the versions its test really speaks: that is seen to while
the tests run, see `conftest`.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from tests.spec.demands import HERE, VERSIONS, Demand, places, read

ROOT = HERE.parents[1]
PAGE = ROOT / "docs" / "contributing" / "conformance.md"
INTRODUCTION = """\
<!-- Made by python -m tests.spec --write from tests/spec; edit its stomp-*.txt and markers. -->

# Conformance

What the three [specifications of STOMP](https://stomp.github.io) demand, each demand in our own
words, the tests that prove it, and, where we depart from it on purpose, in whole or in part, the
rows of [decisions](decisions.md) that say so. A row says what is so where its demand is kept, and
its grade how strongly that is demanded. Sections are those of the specifications, which are what
counts; the numbers are ours, and tests name a demand by them, as in `1.2 SEND 3`. MUST and SHOULD
are the key words of 1.1 and 1.2; REQUIRED and RECOMMENDED count as these. *will* is what both
demand without a key word: what will, must or should be, and what follows from that. 1.0 has no key
words: "will", "required" and "must" count there as MUST, "should" and "recommended" as SHOULD. A
demand on the client is proved by what the server does with a client that keeps it, and with one
that does not. *wire* names a check of `tests/spec/wire_*.py`: octets in, exactly these octets out.
Every test speaks every version that it proves something for.

| version | MUST, MUST NOT | SHOULD, SHOULD NOT | will | with a test | departures |
|---|---|---|---|---|---|""".splitlines()


def tests() -> Iterator[tuple[str, Callable[..., Any]]]:
    """All test functions of this folder, with their ids."""
    for file in sorted(HERE.glob("test_*.py")):
        module = importlib.import_module(f"tests.spec.{file.stem}")
        for name, function in vars(module).items():
            if name.startswith("test_") and callable(function):
                yield f"tests/spec/{file.name}::{name}", function


def proofs() -> Iterator[tuple[str, Sequence[str]]]:
    """Everything that claims to prove something, and the references to what it proves."""
    for test, function in tests():
        yield test, marked(test, function)
    for check in importlib.import_module("tests.spec.test_wire").CHECKS:
        yield f"wire {check.row}: {check.about}", check.proves


def marked(test: str, function: Callable[..., Any]) -> Sequence[str]:
    """The references of the marker of a test function.

    Raises:
        ValueError: It has more than one.
    """
    marks = [mark for mark in getattr(function, "pytestmark", ()) if mark.name == "stomp"]
    if len(marks) > 1:
        raise ValueError(f"{test}: {len(marks)} markers, one holds all references")
    return marks[0].args if marks else ()


def collect() -> list[Demand]:
    """All demands with the tests that prove them."""
    return prove([each for version in VERSIONS for each in read(version)], proofs())


def prove(every: list[Demand], claims: Iterable[tuple[str, Sequence[str]]]) -> list[Demand]:
    """These demands with those who claim to prove them.

    Raises:
        ValueError: A claim is about no demand.
    """
    by_place = {each.place: each for each in every}
    for test, references in claims:
        for place in places(references):
            if place not in by_place:
                raise ValueError(f"{test}: there is no demand {place}")
            by_place[place].tests.append(test)
    return every


def unproved(every: Iterable[Demand]) -> list[str]:
    """Those that no test proves."""
    return [str(each.place) for each in every if not each.tests]


def page() -> str:
    """docs/contributing/conformance.md, as it should be."""
    every = collect()
    lines = [*INTRODUCTION]
    lines += [_counts(v, [each for each in every if each.place.version == v]) for v in VERSIONS]
    lines.append(_counts("all", every))
    for version in VERSIONS:
        lines += ["", f"## STOMP {version}", "", "| section | number | grade | demand | proof |"]
        lines.append("|---|---|---|---|---|")
        lines += [_row(each) for each in every if each.place.version == version]
    return "\n".join(lines) + "\n"


def _counts(name: str, those: list[Demand]) -> str:
    musts = sum(each.grade.startswith("MUST") for each in those)
    shoulds = sum(each.grade.startswith("SHOULD") for each in those)
    proved = sum(bool(each.tests) for each in those)
    departing = sum(bool(each.departs) for each in those)
    rest = len(those) - musts - shoulds
    return f"| {name} | {musts} | {shoulds} | {rest} | {proved} | {departing} |"


def _row(each: Demand) -> str:
    proof = [*_proofs(each.tests), *(f"departs: {row}" for row in each.departs)]
    words = each.words.replace("|", "\\|").replace("<", "&lt;")
    words = re.sub(r"`[^`]*`", lambda code: code[0].replace("&lt;", "<"), words)
    grade = "will" if each.grade == "WILL" else each.grade
    _, section, number = each.place
    return f"| {section} | {number} | {grade} | {words} | {'<br>'.join(proof)} |"


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

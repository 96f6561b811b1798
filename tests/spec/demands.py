"""What the specifications demand, a row each, and how a test names one.

Rule: `stomp-<version>.txt` holds a row for every demand of a version, under the section of the
specification that makes it: its number within the section, its grade, and one line that says it in
our own words. Facts, terms and names of sections are the specification's, sentences are not. The
numbers of a section run from 1 without hole or repetition, and never change, because tests name a
demand by version, section and number: `1.2 SEND 3`, and `1.1 1.2 SEND 3` where both versions have
it under that number.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent
VERSIONS = ("1.0", "1.1", "1.2")
GRADES = ("MUST", "MUST NOT", "SHOULD", "SHOULD NOT", "WILL")
_ROW = re.compile(rf"(\d+) ({'|'.join(GRADES)}): (.+?)(?: => (.+))?")
_REFERENCE = re.compile(r"(\d\.\d(?: \d\.\d)*) (\D+) (\d+)")


class Place(NamedTuple):
    """Where a demand stands."""

    version: str
    section: str
    number: int

    def __str__(self) -> str:
        return f"{self.version} {self.section} {self.number}"


@dataclass
class Demand:
    """One demand of one version."""

    place: Place
    grade: str
    words: str
    departs: list[str]
    """The rows of docs/contributing/decisions.md by which we depart from it, wholly or in part."""
    tests: list[str] = field(default_factory=list)


def read(version: str) -> list[Demand]:
    """The demands of one version, in the order of its specification."""
    return parse(version, (HERE / f"stomp-{version}.txt").read_text())


def parse(version: str, text: str) -> list[Demand]:
    """The demands of a text; what stands before its first section is about the text.

    Raises:
        ValueError: A line is no row.
    """
    found: list[Demand] = []
    section = ""
    for line in text.splitlines():
        if line.startswith("## "):
            section = line[3:]
        elif section and line:
            match = _ROW.fullmatch(line)
            if match is None:
                raise ValueError(f"{version} {section}: no row: {line!r}")
            number, grade, words, rows = match.groups()
            place = Place(version, section, int(number))
            found.append(Demand(place, grade, words, rows.split("; ") if rows else []))
    return found


def misnumbered(every: Iterable[Demand]) -> dict[str, list[int]]:
    """The sections whose numbers are not 1, 2, 3 and so on, and those numbers."""
    numbers: dict[str, list[int]] = {}
    for each in every:
        numbers.setdefault(f"{each.place.version} {each.place.section}", []).append(
            each.place.number
        )
    return {
        section: those
        for section, those in numbers.items()
        if those != list(range(1, len(those) + 1))
    }


def places(references: Sequence[str]) -> list[Place]:
    """What the references of one marker name.

    Raises:
        ValueError: One is no reference; or two could be one, or name the same.
    """
    found: dict[tuple[str, int], list[str]] = {}
    for reference in references:
        match = _REFERENCE.fullmatch(reference)
        versions = match[1].split() if match else []
        if match is None or versions != sorted(set(versions)):
            raise ValueError(f"no reference to a demand: {reference!r}")
        key = match[2], int(match[3])
        if key in found:
            raise ValueError(f"{match[2]} {match[3]} stands twice: {references}")
        found[key] = versions
    return [
        Place(version, section, number)
        for (section, number), versions in found.items()
        for version in versions
    ]

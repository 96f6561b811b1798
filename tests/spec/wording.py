"""The texts of the specifications, and whether a quotation really stands in them.

Rule: `texts/` holds the texts as they were published, whole and unchanged. Only so can both be
checked: that a quotation is verbatim, and that no sentence with a key word is missing from the
catalogue. Markdown and line breaks do not count, everything else does; `…` stands for words left
out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

TEXTS = Path(__file__).parent / "texts"
ABOUT = {
    "Abstract",
    "Background",
    "Changes in the Protocol",
    "Conformance",
    "Design Philosophy",
    "Overview",
    "Protocol Overview",
}
"""Sections that speak about the protocol and are not it."""
LEFT_OUT = "…"
LONG = 4
"""Words that a piece of a quotation has before it stands for the sentence it is from."""
LOUD = r"MUST|SHALL|SHOULD|REQUIRED|RECOMMENDED"
QUIET = r"will|must|shall|should|requires?d?|recommended|mandatory|needs"
_HEADING = re.compile(r"#+ (.*)|<h\d[^>]*>(.*)</h\d>")
_NEW = re.compile(r"\s*(\*|\d\.) ")
_BETWEEN = re.compile(r"(?<=[.!?:])\s+(?=[A-Z`*<(])")


@cache
def plain(text: str) -> str:
    """A text without its Markdown, on one line."""
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)
    text = re.sub(r"^\s*\* ", " ", text, flags=re.MULTILINE)
    text = re.sub(r"[`*]|\b_|_\b", "", text).replace("\\!", "!")
    return " ".join(text.split())


@cache
def sections(version: str) -> dict[str, str]:
    """The sections of a text by their headings; what stands before the first is Introduction."""
    found: dict[str, str] = {}
    name = ""
    for line in (TEXTS / f"stomp-{version}.md").read_text().splitlines():
        match = _HEADING.fullmatch(line)
        if match:
            name = (match[1] or match[2]).strip()
            name = "Introduction" if name.endswith("Version 1.0") else name
        else:
            found[name] = f"{found.get(name, '')}{line}\n"
    return found


def pieces(quotation: str) -> list[str]:
    """What of a quotation is verbatim."""
    return [piece for each in quotation.split(LEFT_OUT) if (piece := plain(each))]


def holds(version: str, section: str, quotation: str) -> bool:
    """Every piece of a quotation stands in the section, in its order."""
    text = plain(sections(version).get(section, ""))
    place = 0
    for piece in pieces(quotation):
        place = text.find(piece, place)
        if place < 0:
            return False
        place += len(piece)
    return True


def sentences(version: str) -> Iterator[tuple[str, str]]:
    """Section and wording of every sentence that is no example."""
    for section, text in sections(version).items():
        if section in ABOUT:
            continue
        paragraphs = [""]
        for line in text.splitlines():
            if not line.strip() or _NEW.match(line):
                paragraphs.append("")
            if not line.startswith("    ") or _NEW.match(line):
                paragraphs[-1] += f"{line}\n"
        for paragraph in paragraphs:
            for sentence in _BETWEEN.split(paragraph):
                if words := plain(sentence):
                    yield section, words


def demands(version: str) -> Iterator[tuple[str, str]]:
    """Those of them with a word of demand, loud or quiet."""
    word = re.compile(rf"\b({QUIET if version == '1.0' else f'{LOUD}|{QUIET}'})\b")
    for section, words in sentences(version):
        if word.search(words):
            yield section, words


def covers(quotation: str, sentence: str) -> bool:
    """The quotation is of this sentence, or holds it."""
    return any(
        sentence in piece or (piece in sentence and len(piece.split()) >= LONG)
        for piece in pieces(quotation)
    )

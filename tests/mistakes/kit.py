"""Rows of the table of mistakes: what a newcomer writes, and the whole text that answers it.

Rule: a text names the thing, where it stands (`HERE` is file and line of the mistake, `ROOT` the
folder of the project), and what to write instead. The last is given a second time in each row, so
that no row can do without it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import pytest

__all__ = ["Loose", "Mistake", "check", "compare", "raises", "shown"]

F = TypeVar("F", bound=Callable[..., Any])

ROOT = str(Path(__file__).parents[2])
VARYING = re.compile(r"\[Errno -?[0-9]+\] |((?:session|correlation|peer)=)[^ ]+")
"""Numbers of the platform, and of a session."""
PLACE = re.compile(r"ROOT/[^ :']*\.py:[0-9]+")


class Loose(Protocol):
    """An application as somebody writes who does not ask a type checker."""

    def __getattr__(self, name: str) -> Callable[..., Callable[[F], F]]: ...


@dataclass(frozen=True)
class Mistake:
    """One row."""

    code: Callable[..., Any]
    kind: type[BaseException]
    says: str
    """The whole text."""
    write: str
    """The part of it that says what to write instead."""


def raises(
    rows: list[Mistake], kind: type[BaseException], says: str, write: str
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Put the decorated function, which makes the mistake, into a table."""

    def put(code: Callable[..., Any]) -> Callable[..., Any]:
        rows.append(Mistake(code, kind, says, write))
        return code

    return put


def check(row: Mistake, *given: object) -> None:
    """Make the mistake, and compare what is raised."""
    with pytest.raises(row.kind) as raised:
        row.code(*given)
    assert isinstance(raised.value, row.kind)
    compare(str(raised.value), row.says, row.write)


def shown(text: str) -> str:
    """A text without what differs from machine to machine."""
    for folder in (ROOT, str(Path.cwd())):
        text = text.replace(folder, "ROOT")
    return VARYING.sub(lambda found: found[1] or "", PLACE.sub("HERE", text))


def compare(text: str, says: str, write: str) -> None:
    """Compare a text, and look for what it says to write."""
    assert shown(text) == says
    assert write
    assert write in says

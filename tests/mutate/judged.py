"""Survivors that were looked at: a fault that changes nothing, or nothing that anybody minds.

`judged.toml` names each by its file, its function, the statement before and after, and says why. An
entry that matches no fault of today, or one that a test kills, has to leave it.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

__all__ = ["KINDS", "Judged", "read", "stale"]

KINDS = ("equivalent", "harmless")
"""No test can tell it from the code; one could, but what it tells is promised to nobody."""

Key = tuple[str, str, str, str]


@dataclass(frozen=True)
class Judged:
    file: str
    function: str
    was: str
    now: str
    kind: str
    reason: str

    @property
    def key(self) -> Key:
        return self.file, self.function, self.was, self.now

    def __str__(self) -> str:
        return f"{self.file} {self.function}: {self.was}  ->  {self.now}"


def read(path: Path) -> dict[Key, Judged]:
    """The entries of the list.

    Raises:
        ValueError: One of them has no reason, an unknown kind, or stands there twice.
    """
    found: dict[Key, Judged] = {}
    for fields in tomllib.loads(path.read_text()).get("survivor", []):
        entry = Judged(**fields)
        if entry.kind not in KINDS or not entry.reason.strip() or entry.key in found:
            raise ValueError(f"{path.name}: no kind, no reason, or there twice: {entry}")
        found[entry.key] = entry
    return found


def stale(entries: Iterable[Judged], faults: set[Key], killed: set[Key]) -> list[str]:
    """Why each entry that has to leave the list has to."""
    return [
        f"{'is killed' if entry.key in killed else 'matches no fault'}: {entry}"
        for entry in entries
        if entry.key not in faults or entry.key in killed
    ]

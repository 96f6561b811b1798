"""What the suite found, judged: what must pass, and what fails by design with its reason.

Rule: a case that fails and is not named here is a fault, and so is one that is named here and
passes, and a case that did not run.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

__all__ = ["BY_DESIGN", "CASES", "CHANCE", "GROUPS", "Verdict", "page"]

GROUPS = {
    "1": "framing",
    "2": "pings and pongs",
    "3": "reserved bits",
    "4": "opcodes",
    "5": "fragmentation",
    "6": "UTF-8",
    "7": "close handshake",
    "9": "limits and performance",
    "10": "miscellaneous",
}
"""The groups of cases that are run. 12 and 13 are about compression, which is never negotiated."""
CASES = 301
"""Cases in them."""

_EMPTY = (
    "An empty message is a sign of life, and no message: STOMP has no empty frame. The echo does"
    " not hear of it."
)
_PONG = (
    "Of several PINGs that come at once the newest is answered, as RFC 6455 §5.5.3 allows: a flood"
    " of PINGs costs one PONG."
)
_KIND = (
    "A STOMP frame is the same in a text and in a binary message, so the wire hands on octets. The"
    " echo answers by text what is UTF-8, and the suite sends ASCII as binary here."
)
BY_DESIGN = {
    "1.1.1": _EMPTY,
    "1.2.1": _EMPTY,
    "2.10": _PONG,
    "6.1.1": _EMPTY,
    "6.1.2": _EMPTY,
    **{f"9.4.{number}": _KIND for number in range(2, 10)},
    "9.7.1": _EMPTY,
    "9.8.1": _EMPTY,
}
"""The cases that fail, and why they may."""
CHANCE = {"2.11": _PONG}
"""Cases that fail for the same reason when their octets happen to come together."""
PASSED = ("OK", "NON-STRICT", "INFORMATIONAL")


@dataclass
class Verdict:
    """The results of one run, by `index.json` of the suite."""

    results: dict[str, dict[str, object]]
    total: int = CASES
    counted: Counter[tuple[str, str]] = field(default_factory=Counter)
    """How many of a group had which result."""
    faults: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        for case, result in self.results.items():
            how, close = str(result["behavior"]), str(result["behaviorClose"])
            passed = how in PASSED and close in PASSED
            group = case.partition(".")[0]
            if case in CHANCE:
                self.counted[group, how if passed else "by design"] += 1
            elif case in BY_DESIGN:
                self.counted[group, "by design"] += 1
                if passed:
                    self.faults.append(f"{case} passes, and is named as one that fails")
            elif passed:
                self.counted[group, how] += 1
            else:
                self.counted[group, "FAILED"] += 1
                self.faults.append(f"{case}: {how}, its close {close}")
        if len(self.results) != self.total:
            self.faults.append(f"{len(self.results)} cases ran, and not {self.total}")

    def table(self) -> list[str]:
        """The groups and their numbers, as a table of Markdown."""
        columns = (*PASSED, "by design", "FAILED")
        lines = [
            "| group | passed | not strict | informational | failed by design | failed |",
            "|---|---|---|---|---|---|",
        ]
        for group, title in GROUPS.items():
            numbers = " | ".join(str(self.counted[group, column]) for column in columns)
            lines.append(f"| {group} {title} | {numbers} |")
        sums = [sum(self.counted[group, column] for group in GROUPS) for column in columns]
        return [*lines, f"| all | {' | '.join(map(str, sums))} |"]


HEAD = """<!-- Made by python -m tests.autobahn --write; edit tests/autobahn/judge.py instead. -->

# WebSocket conformance

The cases of the [Autobahn test suite](https://github.com/crossbario/autobahn-testsuite) against our
server: `python -m nox -s autobahn`. The suite speaks to an echo, so `tests/autobahn/echo.py` puts
one in the place of the broker; sockets, HTTP, framing, UTF-8 and the close handshake are those of
every session, with bounds above the suite's largest messages. It needs Python 2.7; where there is
none, the nox session says that it is skipped.

*Not strict* is a result that the suite accepts, but not its first choice: UTF-8 is judged when a
frame is whole. *Informational* is one for which the suite has no right answer. Case 2.11 passes or
fails by how its octets happen to arrive. Cases 12 and 13 are about compression, which is never
negotiated.
"""


def page(verdict: Verdict) -> str:
    """The page of the documentation."""
    lines = [HEAD, *verdict.table(), "", "## Failed by design", "", "| cases | why |", "|---|---|"]
    reasons: dict[str, list[str]] = {}
    for case, reason in (BY_DESIGN | CHANCE).items():
        reasons.setdefault(reason, []).append(case)
    lines += [f"| {', '.join(cases)} | {reason} |" for reason, cases in reasons.items()]
    return "\n".join(lines) + "\n"

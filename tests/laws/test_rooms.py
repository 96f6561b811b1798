"""The rooms of the broker: who may know whom. The table is in `docs/contributing/architecture.md`.

Imports under TYPE_CHECKING count: what a reader has to know is the same. Among the records of one
room a circle is allowed in `model/` and nowhere else.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest

from tests.laws.test_layers import FILES, PACKAGE, ROOT, dotted, imports_of

BROKER = f"{PACKAGE}.broker"
RECORDS = "model"
"""The one room whose modules may form a circle."""


def read_rooms(text: str) -> dict[str, frozenset[str]]:
    """The rows under "Rooms of the broker": what each room may import besides itself."""
    section = text.split("\n## Rooms of the broker\n", 1)[1].split("\n## ", 1)[0]
    rows = [
        [cell.strip() for cell in line.strip().strip("|").split("|")]
        for line in section.splitlines()
        if line.startswith("|")
    ]
    assert rows[0] == ["room", "job", "may import"]
    return {
        room.strip("`").removesuffix("/").removesuffix(".py"): frozenset(
            name.strip() for name in allowed.split(",")
        )
        - {"—"}
        for room, _, allowed in rows[2:]
    }


ROOMS = read_rooms((ROOT / "docs" / "contributing" / "architecture.md").read_text())
MODULES = {dotted(file): file.read_text() for file in FILES if dotted(file).startswith(BROKER)}


def room_of(module: str) -> str | None:
    """`stocksync_ws.broker.frames.sending` -> `frames`; None outside of the broker."""
    parts = module.split(".")
    return parts[2] if module.startswith(BROKER) and len(parts) > 2 else None


def upward(module: str, source: str) -> list[str]:
    """The imports of this source that the table of rooms does not allow."""
    own = room_of(module)
    assert own is not None
    found: list[str] = []
    for each in imports_of(module, ast.parse(source)):
        wanted = room_of(each.target)
        if wanted is not None and wanted != own and wanted not in ROOMS[own]:
            found.append(f"{module}:{each.line}: {own}/ may not import {wanted}/")
    return found


def graph(sources: Mapping[str, str]) -> dict[str, set[str]]:
    """Who imports whom among these modules."""
    return {
        module: {each.target for each in imports_of(module, ast.parse(source))} & set(sources)
        for module, source in sources.items()
    }


def circles(arrows: Mapping[str, Iterable[str]]) -> set[str]:
    """The modules that can be reached from themselves."""
    found: set[str] = set()
    for start in arrows:
        seen: set[str] = set()
        waiting = list(arrows[start])
        while waiting:
            each = waiting.pop()
            if each not in seen:
                seen.add(each)
                waiting += arrows[each]
        if start in seen:
            found.add(start)
    return found


@pytest.mark.parametrize("module", [m for m in MODULES if room_of(m) is not None])
def test_every_arrow_points_down(module: str) -> None:
    assert upward(module, MODULES[module]) == []


def test_every_room_has_a_row_and_every_row_a_room() -> None:
    assert {room_of(module) for module in MODULES} - {None} == set(ROOMS)


def test_no_room_is_above_itself() -> None:
    assert circles(ROOMS) == set()


def test_delivery_and_calls_do_not_know_each_other() -> None:
    assert "calls" not in ROOMS["delivery"]
    assert "delivery" not in ROOMS["calls"]


def test_the_only_circle_is_among_records() -> None:
    assert {room_of(module) for module in circles(graph(MODULES))} <= {RECORDS}


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("model.session", "from stocksync_ws.broker.delivery.topics import Topics"),
        ("model.session", "if TYPE_CHECKING:\n from stocksync_ws.broker.calls.tasks import Tasks"),
        ("calls.tasks", "from stocksync_ws.broker.delivery.topics import Topics"),
        ("delivery.topics", "from stocksync_ws.broker.calls.tasks import Tasks"),
        ("delivery.topics", "def f():\n from stocksync_ws.broker.sessions import lifecycle"),
        ("sessions.errors", "from stocksync_ws.broker.frames.receipts import Receipts"),
        ("frames.receipts", "from stocksync_ws.broker.broker import Broker"),
    ],
)
def test_an_arrow_that_points_up_is_seen(module: str, source: str) -> None:
    assert len(upward(f"{BROKER}.{module}", source)) == 1


def test_a_circle_is_seen() -> None:
    assert circles({"a": ["b"], "b": ["c"], "c": ["b"]}) == {"b", "c"}
    assert circles({"a": ["b"], "b": []}) == set()


OWNERS = {
    "mailbox": {"delivery"},
    "inbound": {"frames"},
    "clocks": {"sessions"},
    "subscriptions": {"delivery", "frames"},
}
"""The rooms that write the fields of each part of a session; its own methods are in `model/`."""


def foreign_writes(module: str, source: str) -> list[str]:
    """Fields of a part of a session that this source assigns in another room than its owner's."""
    own = room_of(module)
    found: list[str] = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Attribute) or isinstance(node.ctx, ast.Load):
            continue
        holder = node.value
        part = holder.attr if isinstance(holder, ast.Attribute) else getattr(holder, "id", "")
        if part in OWNERS and own not in OWNERS[part] | {RECORDS}:
            found.append(f"{module}:{node.lineno}: {own}/ writes {ast.unparse(node)}")
    return found


@pytest.mark.parametrize("module", [m for m in MODULES if room_of(m) is not None])
def test_each_part_of_a_session_is_written_by_one_room(module: str) -> None:
    assert foreign_writes(module, MODULES[module]) == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("frames.decoding", "session.clocks.frame_since = None"),
        ("frames.decoding", "clocks = session.clocks\nclocks.frame_since = None"),
        ("sessions.lifecycle", "session.mailbox.unsent += 1"),
        ("calls.tasks", "session.inbound.task = None"),
        ("broker", "del session.subscriptions.active"),
    ],
)
def test_a_write_from_another_room_is_seen(module: str, source: str) -> None:
    assert len(foreign_writes(f"{BROKER}.{module}", source)) == 1
    assert foreign_writes(f"{BROKER}.model.session", source) == []


def test_the_table_is_read_as_it_stands() -> None:
    text = "# A\n## Rooms of the broker\n\n| room | job | may import |\n|---|---|---|\n"
    text += "| `frames/` | x | model, calls |\n| `model/` | y | — |\n\n## B\n"
    assert read_rooms(text) == {"frames": frozenset(("model", "calls")), "model": frozenset()}


def test_the_files_are_there() -> None:
    assert (Path(ROOT) / "stocksync_ws" / "broker" / "model").is_dir()

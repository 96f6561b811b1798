"""The typing tests are about every public name; the type checkers read them, `nox -s types`."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

import stocksync_ws
from stocksync_ws import MessagingTemplate, StompApp
from stocksync_ws.aio import Server

FILES = sorted((Path(__file__).parents[1] / "typing").glob("*.py"))
TEXT = "\n".join(file.read_text() for file in FILES)
OF_THE_ADAPTERS = {
    "abort",
    "adopt",
    "claim",
    "hurry",
    "leave_behind",
    "page",
    "refuses",
    "serve_forever",
    "start",
    "stop",
    "swallow",
}
"""Methods of a server that the entry points of the application call."""


def public_members(cls: type) -> list[str]:
    found = [name for name, _ in inspect.getmembers(cls) if not name.startswith("_")]
    return [name for name in found if name not in OF_THE_ADAPTERS]


def test_every_public_name_is_imported_there() -> None:
    imported = set(re.findall(r"^    (\w+),$", TEXT, re.MULTILINE))
    assert set(stocksync_ws.__all__) - imported == set()


@pytest.mark.parametrize("cls", [StompApp, MessagingTemplate, Server])
def test_every_public_method_is_called_there(cls: type) -> None:
    used = set(re.findall(r"\.(\w+)", TEXT))
    assert set(public_members(cls)) - used == set()


def test_what_must_not_type_check_names_the_error_of_both() -> None:
    refused = (FILES[0].parent / "refused.py").read_text().splitlines()
    lines = [line for line in refused if "ignore[" in line]
    assert len(lines) > 90
    both = re.compile(r"  # type: ignore\[[a-z, -]+\]  # pyright: ignore\[[A-Za-z, ]+\]$")
    assert [line for line in lines if both.search(line) is None] == []

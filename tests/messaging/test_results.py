"""Declared results: what cannot be sent is told when the application is checked."""

from __future__ import annotations

import collections.abc as abc
import socket
from collections.abc import AsyncIterator, Awaitable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from typing import Any, Literal, NotRequired, Protocol, TypedDict, TypeVar
from uuid import UUID

import msgspec
import pydantic
import pytest

from stocksync_ws import ConfigurationError, SessionConnected, StompApp
from stocksync_ws.messaging.results import check_result

T = TypeVar("T")


class Color(Enum):
    RED = "red"


class Named(Protocol):
    name: str


class Plain:
    pass


class Model(pydantic.BaseModel):
    at: datetime


class Struct(msgspec.Struct):
    at: datetime


@dataclass
class Tree:
    name: str
    below: list[Tree] = field(default_factory=list)
    by: dict[UUID, Decimal | None] = field(default_factory=dict)


class Keys(TypedDict):
    a: NotRequired[date]


@dataclass
class Broken:
    things: dict[str, list[Plain]]


class BrokenKeys(TypedDict, total=False):
    a: NotRequired[Plain]


SENDABLE: list[Any] = [
    None,
    str,
    bytes,
    bytes | None,
    int | float | bool,
    Color,
    Literal["a", 1],
    Tree,
    list[Tree | None],
    tuple[int, ...],
    frozenset[UUID],
    Sequence[Color],
    Mapping[str, Model],
    dict[int, Struct],
    dict[Color, Any],
    dict[T, T],
    dict[object, int],
    dict,
    list,
    Keys,
    Any,
    object,
    Named,
    T,
]


@pytest.mark.parametrize("annotation", SENDABLE, ids=str)
def test_what_has_a_json_form_passes(annotation: Any) -> None:
    def handler() -> Any: ...

    handler.__annotations__["return"] = annotation
    check_result(handler, "handler")


@pytest.mark.parametrize(
    ("annotation", "says"),
    [
        (Plain, "Plain has no JSON form"),
        (complex, "complex has no JSON form"),
        (socket.socket, "socket has no JSON form"),
        (list[Plain], "Plain has no JSON form"),
        (dict[str, bytes], "bytes has no JSON form; return it alone, or encode it as text"),
        (Broken, "Broken.things: Plain has no JSON form"),
        (BrokenKeys, "BrokenKeys.a: Plain has no JSON form"),
        (int | Plain, "Plain has no JSON form"),
        (dict[float, int], r"dict\[float, int\]: a key is float; it can be str, int, UUID or an"),
        (dict[bool, int], "a key is bool"),
        (Iterator[int], r"Iterator\[int\] is made piece by piece; return a list"),
        (AsyncIterator[int], "is made piece by piece; return a list"),
        (abc.Generator[int, None, None], "is made piece by piece; return a list"),
        (Awaitable[int], r"Awaitable\[int\] is not awaited; make the function `async def`"),
    ],
)
def test_what_has_none_is_told_with_its_place(annotation: Any, says: str) -> None:
    def handler() -> Any: ...

    handler.__annotations__["return"] = annotation
    with pytest.raises(ConfigurationError, match=says) as raised:
        check_result(handler, "handler")
    assert "possible are str, bytes, and as JSON" in str(raised.value)
    assert "test_results.py:" in str(raised.value)


def test_what_is_not_declared_or_does_not_exist_is_nobodys_business() -> None:
    def undeclared():  # type: ignore[no-untyped-def]
        ...

    def unknown() -> NotThere: ...  # type: ignore[name-defined]  # noqa: F821

    check_result(undeclared, "handler")
    check_result(unknown, "handler")


def test_each_kind_of_declaration_is_checked_and_a_listener_is_not() -> None:
    def wrong() -> Plain:
        return Plain()

    for declare in (
        lambda app: app.message_mapping("/a"),
        lambda app: app.subscribe_mapping("/a"),
        lambda app: app.snapshot("/topic/a"),
        lambda app: app.message_exception_handler(KeyError),
    ):
        app = StompApp("/ws")
        with pytest.raises(ConfigurationError, match="Plain has no JSON form"):
            declare(app)(wrong)
            app.check()
    app = StompApp("/ws")

    @app.event_listener(SessionConnected)
    def listen(event: SessionConnected) -> Plain:
        return Plain()

    app.check()

"""Declared results: what cannot be sent is told when the application is checked, and what can be
sent is written as it is declared.
"""

from __future__ import annotations

import collections.abc as abc
import json
import socket
from collections import ChainMap, deque
from collections.abc import AsyncIterator, Awaitable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import (
    Annotated,
    Any,
    Generic,
    Literal,
    NamedTuple,
    NotRequired,
    Protocol,
    Required,
    TypedDict,
    TypeVar,
)
from uuid import UUID

import msgspec
import pydantic
import pytest
from pydantic.dataclasses import dataclass as pydantic_dataclass

from stocksync_ws import ConfigurationError, ConversionError, SessionConnected, StompApp
from stocksync_ws.messaging.convert import PayloadEncoder
from stocksync_ws.messaging.results import result_writer
from stocksync_ws.messaging.writers import Writer
from stocksync_ws.testing import World

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
    result_writer(handler, "handler")


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
        result_writer(handler, "handler")
    assert "possible are str, bytes, and as JSON" in str(raised.value)
    assert "test_results.py:" in str(raised.value)


def test_what_is_not_declared_or_does_not_exist_is_nobodys_business() -> None:
    def undeclared():  # type: ignore[no-untyped-def]
        ...

    def unknown() -> NotThere: ...  # type: ignore[name-defined]  # noqa: F821

    result_writer(undeclared, "handler")
    result_writer(unknown, "handler")


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


# Writing


@dataclass
class Public:
    name: str
    at: datetime | None = None


@dataclass
class Private(Public):
    secret: str = "secret"


@dataclass
class Team:
    lead: Public
    members: dict[UUID, list[Public]] = field(default_factory=dict)
    made: str = field(init=False, default="here")


@dataclass
class Page(Generic[T]):
    items: list[T]
    first: T | None = None
    last: T = None  # type: ignore[assignment]
    anything: Any = None


class PublicKeys(TypedDict):
    name: Required[str]
    by: NotRequired[Public]
    below: NotRequired[list[PublicKeys]]


@dataclass
class Deep(Generic[T]):
    """Each level is another type, without end."""

    below: Deep[list[T]] | None = None


class PublicModel(pydantic.BaseModel):
    name: str = pydantic.Field(alias="Name")


class PrivateModel(PublicModel):
    secret: str = "secret"


class Models(pydantic.BaseModel):
    all: list[PublicModel]


class Root(pydantic.RootModel[str]):
    pass


@pydantic_dataclass
class Point:
    x: int
    site: pydantic.FileUrl | None = None


class PublicStruct(msgspec.Struct, rename="camel", omit_defaults=True):
    full_name: str
    below: list[PublicStruct] = []
    price: Decimal = Decimal(0)
    raw: Any = None
    span: timedelta | None = None


class PrivateStruct(PublicStruct):
    secret: str = "secret"

    def __post_init__(self) -> None:
        self.secret += "!"


class Row(msgspec.Struct, array_like=True, tag="row"):
    at: int
    who: Public


class Spot(NamedTuple):
    x: int
    who: Public


UNKNOWN = UUID(int=0)
PRIVATE = Private("ann", datetime(2026, 1, 2))
ANN = {"name": "ann", "at": "2026-01-02T00:00:00"}


def writer_of(annotation: Any) -> Writer | None:
    def handler() -> Any: ...

    handler.__annotations__["return"] = annotation
    return result_writer(handler, "handler")


def written(annotation: Any, value: object) -> tuple[bytes, str]:
    writer = writer_of(annotation)
    assert writer is not None
    return PayloadEncoder().encode_as(writer, value)


@pytest.mark.parametrize(
    ("annotation", "value", "wanted"),
    [
        (None, None, None),
        (int, True, True),
        (float, 1, 1),
        (Decimal, Decimal("1.5"), "1.5"),
        (Color, Color.RED, "red"),
        (Literal["a", 1], 1, 1),
        (date, datetime(2026, 1, 2), "2026-01-02T00:00:00"),
        (Public, PRIVATE, ANN),
        (Public | None, PRIVATE, ANN),
        (Public | None, None, None),
        (Annotated[Public, "said"], PRIVATE, ANN),
        (list[Public], [PRIVATE], [ANN]),
        (Sequence[Public], deque([PRIVATE]), [ANN]),
        (Sequence[int], range(2), [0, 1]),
        (frozenset[int], frozenset([1]), [1]),
        (abc.Set[str], {"a": 1}.keys(), ["a"]),
        (tuple[Public, ...], (PRIVATE,), [ANN]),
        (tuple[int, Public], (1, PRIVATE), [1, ANN]),
        (Spot, Spot(1, PRIVATE), [1, ANN]),
        (dict[str, Public], {"k": PRIVATE}, {"k": ANN}),
        (Mapping[int, Public], ChainMap({7: PRIVATE}), {"7": ANN}),
        (dict[Color, Public], {Color.RED: PRIVATE}, {"red": ANN}),
        (dict[str, object], {"k": 1}, {"k": 1}),
        (
            Team,
            Team(PRIVATE, {UNKNOWN: [PRIVATE]}),
            {"lead": ANN, "members": {str(UNKNOWN): [ANN]}, "made": "here"},
        ),
        (
            Tree,
            Tree("a", [Tree("b")]),
            {"name": "a", "below": [{"name": "b", "below": [], "by": {}}], "by": {}},
        ),
        (
            Page[Public],
            Page([PRIVATE], PRIVATE, PRIVATE),
            {"items": [ANN], "first": ANN, "last": ANN, "anything": None},
        ),
        (PublicKeys, {"name": "ann", "by": PRIVATE, "more": 1}, {"name": "ann", "by": ANN}),
        (
            PublicKeys,
            {"name": "ann", "below": [{"name": "bob", "more": 1}]},
            {"name": "ann", "below": [{"name": "bob"}]},
        ),
        (PublicModel, PrivateModel(Name="ann"), {"Name": "ann"}),
        (PublicModel, PublicModel(Name="ann"), {"Name": "ann"}),
        (Models, Models(all=[PrivateModel(Name="ann")]), {"all": [{"Name": "ann"}]}),
        (list[PublicModel | PublicStruct], [PrivateModel(Name="ann")], [{"Name": "ann"}]),
        (Root, Root("text"), "text"),
        (Point, Point(1), {"x": 1, "site": None}),
        (PublicStruct, PrivateStruct("ann"), {"fullName": "ann"}),
        (
            PublicStruct,
            PublicStruct("a", [PrivateStruct("b", price=Decimal(1))], span=timedelta(seconds=1)),
            {"fullName": "a", "below": [{"fullName": "b", "price": "1"}], "span": "PT1S"},
        ),
        (Row, Row(1, PRIVATE), ["row", 1, ANN]),
        (Public | Private, PRIVATE, {**ANN, "secret": "secret"}),
        (Public | Tree, PRIVATE, ANN),
        (list[int] | list[Public], [PRIVATE], [ANN]),
        (dict[str, int] | Mapping[str, str], {"a": "b"}, {"a": "b"}),
        (list[Color | int], [Color.RED, 1], ["red", 1]),
    ],
    ids=str,
)
def test_a_result_is_written_as_it_is_declared(
    annotation: Any, value: object, wanted: object
) -> None:
    body, content_type = written(annotation, value)
    assert (json.loads(body), content_type) == (wanted, "application/json")


@pytest.mark.parametrize(
    ("annotation", "value", "body", "content_type"),
    [
        (str, "ann", b"ann", "text/plain;charset=utf-8"),
        (str | Public, "ann", b"ann", "text/plain;charset=utf-8"),
        (bytes, bytearray(b"ann"), b"ann", "application/octet-stream"),
        (bytes | None, b"ann", b"ann", "application/octet-stream"),
        (bytes | Public, b"ann", b"ann", "application/octet-stream"),
    ],
)
def test_text_and_octets_stay_what_they_are(
    annotation: Any, value: object, body: bytes, content_type: str
) -> None:
    assert written(annotation, value) == (body, content_type)


@pytest.mark.parametrize(
    ("annotation", "value", "says"),
    [
        (None, 1, "$: expected None, got int"),
        (str, 1, "$: expected str, got int"),
        (int, "1", "$: expected int, got str"),
        (Color, "red", "$: expected Color, got str"),
        (Literal["a"], "b", "$: expected Literal['a'], got another value"),
        (Public, {"name": "ann"}, "$: expected Public, got dict"),
        (Public, None, "$: expected Public, got None"),
        (list[Public], [PRIVATE, 1], "$[1]: expected Public, got int"),
        (list[int], "12", "$: expected list[int], got str"),
        (Sequence[str], "12", "$: expected Sequence[str], got str"),
        (tuple[int, int], (1,), "$: expected 2 items, got 1"),
        (tuple[int], (), "$: expected 1 item, got 0"),
        (tuple[int, str], (1, 2), "$[1]: expected str, got int"),
        (dict[str, int], {"a b": "c"}, "$['a b']: expected int, got str"),
        (dict[str, int], {1: 1}, "$['1']: expected a key that is str, got int"),
        (Team, Team(Public(7)), "$.lead.name: expected str, got int"),  # type: ignore[arg-type]
        (PublicKeys, {}, "$.name: missing"),
        (PublicKeys, {"name": 1}, "$.name: expected str, got int"),
        (Public | Tree, 1, "$: expected Public | Tree, got int"),
        (
            Public | Tree,
            Tree("a", by={UNKNOWN: 1}),  # type: ignore[dict-item]
            f"$.by['{UNKNOWN}']: expected Decimal | None, got int",
        ),
        (Literal["a"] | Literal["b"] | Public, "c", "$: fits none of"),
        (PublicStruct, PublicStruct(1), "$.full_name: expected str, got int"),  # type: ignore[arg-type]
        (list[float], [1.0, float("nan")], "$[1]: NaN and Infinity are not JSON"),
    ],
    ids=str,
)
def test_what_does_not_fit_is_told_with_its_path(annotation: Any, value: object, says: str) -> None:
    with pytest.raises(ConversionError) as raised:
        written(annotation, value)
    assert str(raised.value).startswith(says)


def test_what_a_model_or_a_field_raises_is_told_with_its_path() -> None:
    class Lazy:
        @property
        def name(self) -> str:
            raise AttributeError("no name yet")

    class Named(pydantic.BaseModel):
        thing: Any

    class Held(msgspec.Struct):
        thing: Any

    half = Public.__new__(Public)
    with pytest.raises(ConversionError, match=r"^\$\[0\]\.name: .*no attribute 'name'"):
        written(list[Public], [half])
    with pytest.raises(ConversionError, match=r"^\$\[0\]: Unable to serialize unknown type"):
        written(list[Named], [Named(thing=Lazy())])
    with pytest.raises(ConversionError, match=r"^\$\[0\]: .*Lazy"):
        written(list[Held], [Held(Lazy())])


def test_a_value_that_contains_itself_is_told() -> None:
    tree = Tree("a")
    tree.below.append(tree)
    with pytest.raises(ConversionError, match="nested too deeply, or contains itself"):
        written(Tree, tree)


@pytest.mark.parametrize("annotation", [Any, object, T, Named, int | Any, Deep[int], Page], ids=str)
def test_what_says_nothing_or_everything_is_written_by_the_value(annotation: Any) -> None:
    if annotation is Page:
        body, _ = written(Page, Page([PRIVATE]))
        assert json.loads(body)["items"] == [{**ANN, "secret": "secret"}]
    else:
        assert writer_of(annotation) is None


def test_a_field_whose_class_does_not_exist_at_run_time_is_written_by_its_value() -> None:
    @dataclass
    class Open:
        name: NotThere  # type: ignore[name-defined]  # noqa: F821

    class OpenKeys(TypedDict):
        name: NotThere  # type: ignore[name-defined]  # noqa: F821

    class OpenStruct(msgspec.Struct):
        name: NotThere  # type: ignore[name-defined]  # noqa: F821

    for kind in (Open, OpenStruct):
        assert written(list[kind], [kind(PRIVATE)])[0].count(b"secret") == 2  # type: ignore[valid-type]
    assert written(list[OpenKeys], [{"name": PRIVATE}])[0].count(b"secret") == 2


def test_a_reply_a_snapshot_an_answer_and_a_mapped_error_are_written_as_declared() -> None:
    app = StompApp("/ws")

    @app.message_mapping("/a")
    def a(text: str) -> Public:
        if text == "fail":
            raise KeyError(text)
        return PRIVATE

    @app.subscribe_mapping("/b")
    @app.snapshot("/topic/b")
    def b() -> list[Public]:
        return [PRIVATE]

    @app.message_exception_handler(KeyError)
    def c(error: KeyError) -> Public:
        return PRIVATE

    with World(app) as world:
        peer = world.connect()
        for destination in ("/app/b", "/topic/b"):
            peer.subscribe(destination)
            assert json.loads(peer.message().body) == [ANN]
        peer.subscribe("/topic/a")
        peer.subscribe("/user/queue/errors")
        for text in ("good", "fail"):
            peer.send_to("/app/a", text)
            assert json.loads(peer.message().body) == ANN


def test_a_result_that_does_not_fit_is_handler_failed_and_the_log_says_where(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = StompApp("/ws")

    @app.message_mapping("/a")
    def a() -> list[Public]:
        return [PRIVATE, 7]  # type: ignore[list-item]

    with World(app, raise_errors=False) as world:
        peer = world.connect()
        peer.send_to("/app/a", "")
        assert peer.error().headers["code"] == "handler-failed"
    assert "returned what cannot be sent as the declared list[Public]: $[1]: expected Public" in (
        caplog.text
    )

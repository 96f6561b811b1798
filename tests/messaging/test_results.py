"""Declared results: what cannot be sent is told when the application is checked, and what can be
sent is written as it is declared.
"""

from __future__ import annotations

import collections
import collections.abc as abc
import json
import socket
from array import array
from collections import ChainMap, deque
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Iterable,
    Iterator,
    Mapping,
    MutableSequence,
    Sequence,
)
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import (
    Annotated,
    Any,
    ClassVar,
    Generic,
    Literal,
    NamedTuple,
    NotRequired,
    Protocol,
    Required,
    TypedDict,
    TypeVar,
    TypeVarTuple,
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
S = TypeVar("S")
Ts = TypeVarTuple("Ts")


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


@dataclass
class Octets:
    it: bytes


class HoldsOctets(msgspec.Struct):
    held: Octets
    who: Public | msgspec.UnsetType = msgspec.UNSET


AT = datetime(2026, 1, 2)
TREE = Tree("a", [Tree("b", by={UUID(int=0): Decimal(1)})])
SENDABLE: list[tuple[Any, object, str]] = [
    (None, None, "null"),
    (str, "text", "text"),
    (bytes, b"octets", "octets"),
    (bytes | None, None, "null"),
    (int | float | bool, 1.5, "1.5"),
    (Color, Color.RED, '"red"'),
    (Literal["a", 1], 1, "1"),
    (
        Tree,
        TREE,
        f'{{"name":"a","below":[{{"name":"b","below":[],"by":{{"{UUID(int=0)}":"1"}}}}],"by":{{}}}}',
    ),
    (list[Tree | None], [None, Tree("a")], '[null,{"name":"a","below":[],"by":{}}]'),
    (tuple[int, ...], (1, 2), "[1,2]"),
    (frozenset[UUID], frozenset([UUID(int=0)]), f'["{UUID(int=0)}"]'),
    (Sequence[Color], [Color.RED], '["red"]'),
    (Mapping[str, Model], {"k": Model(at=AT)}, '{"k":{"at":"2026-01-02T00:00:00"}}'),
    (dict[int, Struct], {7: Struct(AT)}, '{"7":{"at":"2026-01-02T00:00:00"}}'),
    (dict[Color, Any], {Color.RED: [1]}, '{"red":[1]}'),
    (dict[T, T], {1: 1}, '{"1":1}'),  # type: ignore[valid-type]
    (dict[object, int], {"k": 1}, '{"k":1}'),
    (dict[bool, int], {True: 1}, '{"true":1}'),
    (dict[float | None, Color], {1.5: Color.RED, None: Color.RED}, '{"1.5":"red","null":"red"}'),
    (dict, {"k": AT}, '{"k":"2026-01-02T00:00:00"}'),
    (list, [AT], '["2026-01-02T00:00:00"]'),
    (Keys, {"a": date(2026, 1, 2)}, '{"a":"2026-01-02"}'),
    (pydantic.BaseModel, Model(at=AT), '{"at":"2026-01-02T00:00:00"}'),
    (msgspec.Struct, Struct(AT), '{"at":"2026-01-02T00:00:00"}'),
    (Any, [1], "[1]"),
    (object, [1], "[1]"),
    (Named, TREE.below[0], f'{{"name":"b","below":[],"by":{{"{UUID(int=0)}":"1"}}}}'),
    (T, [1], "[1]"),
]


@pytest.mark.parametrize(("annotation", "value", "wanted"), SENDABLE, ids=str)
def test_what_has_a_json_form_is_written_as_without_a_declaration(
    annotation: Any, value: object, wanted: str
) -> None:
    def handler() -> Any: ...

    handler.__annotations__["return"] = annotation
    writer = result_writer(handler, "handler")
    undeclared = PayloadEncoder().encode(value)
    assert undeclared[0].decode() == wanted
    assert undeclared == (
        undeclared if writer is None else PayloadEncoder().encode_as(writer, value)
    )


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
        (
            dict[date, int],
            r"dict\[date, int\]: a key is date; it can be str, a number, bool, None, a UUID or",
        ),
        (Iterable[int], r"Iterable\[int\] may be made piece by piece; write Sequence or list"),
        (tuple[HoldsOctets, Octets], "Octets.it: bytes has no JSON form"),
        (bytearray | list[memoryview], "memoryview has no JSON form"),
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

    assert result_writer(undeclared, "handler") is None
    assert result_writer(unknown, "handler") is None


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


Bare = collections.namedtuple("Bare", ["x", "who"])


class Pair(NamedTuple, Generic[T]):
    x: int
    who: T


class Below(Pair[Public]):
    made: ClassVar[int] = 0


class Late(NamedTuple):
    who: Public
    why: NotThere  # type: ignore[name-defined]  # noqa: F821


@dataclass
class Half:
    who: Public
    made: ClassVar[int] = 0
    why: NotThere | None = None  # type: ignore[name-defined]  # noqa: F821


class HalfKeys(TypedDict):
    who: Public
    why: NotRequired[NotThere]  # type: ignore[name-defined]  # noqa: F821


class HalfStruct(msgspec.Struct, omit_defaults=True):
    who: Public
    why: NotThere | None = None  # type: ignore[name-defined]  # noqa: F821


@dataclass
class PublicPage(Page[Public]):
    pass


@dataclass
class Swapped(Page[list[T]], Generic[T]):
    """Its variable is another than that of its base, and has the same name."""

    own: T | None = None


class KeysOf(TypedDict, Generic[T]):
    who: T


class PublicKeysOf(KeysOf[Public]):
    more: int


class StructOf(msgspec.Struct, Generic[T]):
    who: T


class PublicStructOf(StructOf[Public]):
    pass


class Staff(list[Public]):
    pass


class Ranks(dict[str, T]):
    pass


class Shelf(Sequence[T]):
    """A collection of the application's own."""

    def __init__(self, *held: T) -> None:
        self.held = held

    def __len__(self) -> int:
        return len(self.held)

    def __getitem__(self, at: Any) -> Any:
        return self.held[at]


class Labelled(Shelf[S], Generic[T, S]):
    pass


@dataclass
class Several(Generic[*Ts]):
    all: tuple[*Ts]


class ModelPage(pydantic.BaseModel, Generic[T]):
    items: list[T]


class ModelList(pydantic.RootModel[list[S]], Generic[S]):
    pass


@dataclass
class NamedPage(Page["Public"]):
    """Its base has a name for an argument."""


@dataclass
class UnknownPage(Page["NotThere"]):  # type: ignore[name-defined]
    pass


@dataclass
class Held(Generic[T]):
    page: ModelPage[T]
    more: ModelList[T] | None = None


@pydantic_dataclass
class Card(Generic[T]):
    who: T
    number: int = pydantic.Field(default=4711, exclude=True)
    full_name: str = pydantic.Field(default="ann", serialization_alias="fullName")

    @pydantic.field_serializer("full_name")
    def upper(self, name: str) -> str:
        return name.upper()


class Cards(Card[PublicModel]):
    pass


@dataclass
class Wallet(Card):  # type: ignore[type-arg]
    """A dataclass of Python: its fields as they are."""

    number: int = 1
    full_name: str = "ann"


class Fixed(msgspec.Struct, frozen=True):
    at: int


class Defaults(msgspec.Struct, omit_defaults=True):
    who: Fixed = Fixed(1)
    t: tuple[int, ...] = ()
    f: frozenset[int] = frozenset()
    s: set[int] = msgspec.field(default_factory=set)
    by: dict[date | float, Color] = {}


class One(TypedDict):
    a: int


class Two(One):
    b: NotRequired[int]


@dataclass
class Top:
    a: int = 1


@dataclass
class Middle(Top):
    b: int = 2


@dataclass
class Bottom(Middle):
    c: int = 3


UNKNOWN = UUID(int=0)
PRIVATE = Private("ann", datetime(2026, 1, 2))
ANN = {"name": "ann", "at": "2026-01-02T00:00:00"}
HELD = {"items": [{"Name": "a"}]}
CARD = {"who": {"Name": "a"}, "fullName": "ANN"}
OCTETS = [{"held": {"it": "YQ=="}}, ANN]


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
        # Tuples with names
        (Bare, Bare(1, [2]), [1, [2]]),
        (Pair[Public], Pair(1, PRIVATE), [1, ANN]),
        (Pair, Pair(1, PRIVATE), [1, {**ANN, "secret": "secret"}]),
        (Below, Below(1, PRIVATE), [1, ANN]),
        (Late, Late(PRIVATE, AT), [ANN, "2026-01-02T00:00:00"]),
        # One annotation that does not resolve
        (Half, Half(PRIVATE, AT), {"who": ANN, "why": "2026-01-02T00:00:00"}),
        (HalfKeys, {"who": PRIVATE, "more": 1}, {"who": ANN}),
        (HalfKeys, {"who": PRIVATE, "why": [1]}, {"who": ANN, "why": [1]}),
        (HalfStruct, HalfStruct(PRIVATE), {"who": ANN}),
        # Type variables of bases
        (
            PublicPage,
            PublicPage([PRIVATE], PRIVATE, PRIVATE),
            {"items": [ANN], "first": ANN, "last": ANN, "anything": None},
        ),
        (
            NamedPage,
            NamedPage([PRIVATE], None, PRIVATE),
            {"items": [ANN], "first": None, "last": ANN, "anything": None},
        ),
        (
            UnknownPage,
            UnknownPage([1], 2),
            {"items": [1], "first": 2, "last": None, "anything": None},
        ),
        (
            Swapped[Public],
            Swapped([[PRIVATE]], None, [PRIVATE], None, PRIVATE),
            {"items": [[ANN]], "first": None, "last": [ANN], "anything": None, "own": ANN},
        ),
        (KeysOf[Public], {"who": PRIVATE}, {"who": ANN}),
        (PublicKeysOf, {"who": PRIVATE, "more": 1, "yet": 2}, {"who": ANN, "more": 1}),
        (PublicStructOf, PublicStructOf(PRIVATE), {"who": ANN}),
        (
            Page[Annotated[Public, {"doc": 1}]],
            Page([PRIVATE], None, PRIVATE),
            {"items": [ANN], "first": None, "last": ANN, "anything": None},
        ),
        (Several[int, str], Several((1, "a")), {"all": [1, "a"]}),
        # Collections of other kinds
        (MutableSequence[Public], [PRIVATE], [ANN]),
        (deque[Public], deque([PRIVATE]), [ANN]),
        (deque, deque([1]), [1]),
        (abc.ValuesView[Public], {"k": PRIVATE}.values(), [ANN]),
        (abc.ItemsView[str, Public], {"k": PRIVATE}.items(), [["k", ANN]]),
        (Shelf[Public], Shelf(PRIVATE), [ANN]),
        (Labelled[int, Public], Labelled(PRIVATE), [ANN]),
        (Staff, Staff([PRIVATE]), [ANN]),
        (Ranks[Public], Ranks(k=PRIVATE), {"k": ANN}),
        (array, array("i", [1]), [1]),
        # Models
        (ModelPage[PublicModel], ModelPage(items=[PrivateModel(Name="a")]), HELD),
        (ModelPage[PublicModel], ModelPage[Any](items=[PrivateModel(Name="a")]), HELD),
        (
            Held[PublicModel],
            Held(ModelPage(items=[PrivateModel(Name="a")]), ModelList([PrivateModel(Name="a")])),
            {"page": HELD, "more": [{"Name": "a"}]},
        ),
        (ModelList[PublicModel], ModelList([PrivateModel(Name="a")]), [{"Name": "a"}]),
        (ModelPage[str] | ModelPage[int], ModelPage(items=[1]), {"items": [1]}),
        (list[ModelPage[Any] | ModelPage[int]], [ModelPage[int](items=[1])], [{"items": [1]}]),
        (Card[PublicModel], Card(PrivateModel(Name="a")), CARD),
        (Cards, Cards(PrivateModel(Name="a")), {**CARD, "who": {"Name": "a", "secret": "secret"}}),
        (Card, Cards(PublicModel(Name="a")), CARD),
        (Wallet, Wallet(1), {"who": 1, "number": 1, "full_name": "ann"}),
        (tuple[HoldsOctets, Public], (HoldsOctets(Octets(b"a")), PRIVATE), OCTETS),
        (HoldsOctets, HoldsOctets(Octets(b"a"), PRIVATE), {"held": {"it": "YQ=="}, "who": ANN}),
        (Defaults, Defaults(), {}),
        (
            Defaults,
            Defaults(Fixed(2), (1,), frozenset([2]), {3}, {date(2026, 1, 2): Color.RED}),
            {"who": {"at": 2}, "t": [1], "f": [2], "s": [3], "by": {"2026-01-02": "red"}},
        ),
        # The nearest member of a union
        (One | Two, {"a": 1, "b": 2}, {"a": 1, "b": 2}),
        (Two | One, {"a": 1, "c": 2}, {"a": 1}),
        (One | Top, {"a": 1}, {"a": 1}),
        (One | Top, Top(), {"a": 1}),
        (One | dict[str, int], {"a": 1, "b": 2}, {"a": 1, "b": 2}),
        (Top | Middle, Bottom(), {"a": 1, "b": 2}),
        (Top | Middle | Bottom, Bottom(), {"a": 1, "b": 2, "c": 3}),
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
        (Pair[int], Pair(1, "a"), "$[1]: expected int, got str"),
        (HalfKeys, {"why": 1}, "$.who: missing"),
        (Card[int], Card("a"), "$: "),  # type: ignore[arg-type]
        (ModelPage[int], ModelPage(items=["a"]), "$: "),
        (HoldsOctets, HoldsOctets(Octets("a")), "$.held.it: expected bytes, got str"),  # type: ignore[arg-type]
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


def test_an_argument_that_pydantic_cannot_write_is_told() -> None:
    with pytest.raises(ConfigurationError, match=r"^pydantic cannot write Card\[Plain\]: "):
        writer_of(Card[Plain])


@pytest.mark.usefixtures("uncollected")
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

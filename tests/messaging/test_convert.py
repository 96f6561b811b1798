"""Bodies in and out: what fits, what does not, and that nothing else than the documented error
escapes.
"""

from __future__ import annotations

import collections.abc as abc
import contextlib
import decimal
import json
import sys
from collections import OrderedDict
from dataclasses import KW_ONLY, InitVar, dataclass, field
from datetime import UTC, date, datetime, time
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from types import MappingProxyType
from typing import (
    Annotated,
    Any,
    Generic,
    Literal,
    NewType,
    NotRequired,
    Optional,
    Required,
    TypedDict,
    TypeVar,
)
from uuid import UUID

import pytest
import typing_extensions
from hypothesis import example, given
from hypothesis import strategies as st

from stocksync_ws.errors import ConfigurationError, ConversionError
from stocksync_ws.messaging import convert
from stocksync_ws.messaging.convert import PayloadEncoder, decoder_for

U1 = UUID("12345678-1234-5678-1234-567812345678")
Sku = NewType("Sku", str)


class Color(Enum):
    RED = "red"
    BLUE = "blue"


class Level(IntEnum):
    LOW = 1
    HIGH = 2


class Mixed(Enum):
    HALF = 0.5
    TWO = 2.0
    YES = True
    NOTHING = None


class Size(StrEnum):
    S = "s"


class Odd(Enum):
    PAIR = (1, 2)


@dataclass
class Item:
    sku: str
    quantity: int = 1


@dataclass
class Order:
    items: list[Item]
    _: KW_ONLY
    color: Color = Color.RED
    note: str | None = None
    tags: set[str] = field(default_factory=set)
    total: int = field(init=False, default=0)


@dataclass
class Node:
    name: str
    children: list[Node] = field(default_factory=list)


@dataclass
class Checked:
    quantity: int

    def __post_init__(self) -> None:
        if self.quantity < 0:
            raise ValueError("quantity must not be negative")
        if self.quantity == 0:
            raise TypeError
        if self.quantity == 13:
            raise KeyError("domain")


class Point(TypedDict):
    x: int
    y: NotRequired[int]


class Loose(TypedDict, total=False):
    a: Required[Annotated[int, "x"]]
    b: typing_extensions.ReadOnly[str]


@dataclass
class Cat:
    kind: Literal["cat"]
    lives: int


@dataclass
class Dog:
    kind: Literal["dog"]
    tricks: list[str]


@dataclass
class Left:
    next: Left | Right | None
    left: int


@dataclass
class Right:
    next: Left | Right | None
    right: int


def _decode(annotation: Any, value: Any) -> Any:
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    return decoder_for(annotation)(body, "application/json")


# Out


@dataclass(frozen=True)
class Everything:
    at: datetime
    day: date
    hour: time
    price: Decimal
    id: UUID
    color: Color
    item: Item


def test_text_octets_and_json_have_their_content_types() -> None:
    assert PayloadEncoder().encode("grün") == ("grün".encode(), "text/plain;charset=utf-8")
    assert PayloadEncoder().encode(b"\x00") == (b"\x00", "application/octet-stream")
    assert PayloadEncoder().encode(bytearray(b"a")) == (b"a", "application/octet-stream")
    assert PayloadEncoder().encode(memoryview(b"a")) == (b"a", "application/octet-stream")
    assert PayloadEncoder().encode({"a": [1, 2.5, True, None, "ü"]}) == (
        '{"a":[1,2.5,true,null,"ü"]}'.encode(),
        "application/json",
    )
    assert PayloadEncoder().encode(None) == (b"null", "application/json")


def test_every_supported_type_goes_out() -> None:
    payload = Everything(
        at=datetime(2026, 11, 24, 1, 2, 3, tzinfo=UTC),
        day=date(2026, 11, 24),
        hour=time(1, 2),
        price=Decimal("1.50"),
        id=U1,
        color=Color.BLUE,
        item=Item("a"),
    )
    assert json.loads(PayloadEncoder().encode(payload)[0]) == {
        "at": "2026-11-24T01:02:03+00:00",
        "day": "2026-11-24",
        "hour": "01:02:00",
        "price": "1.50",
        "id": str(U1),
        "color": "blue",
        "item": {"sku": "a", "quantity": 1},
    }


@pytest.mark.parametrize(
    ("payload", "body"),
    [
        (Color.RED, b'"red"'),
        (Size.S, b'"s"'),
        (Level.HIGH, b"2"),
        (frozenset({1}), b"[1]"),
        ((1, (2,)), b"[1,[2]]"),
        (MappingProxyType({"a": 1}), b'{"a":1}'),
        (OrderedDict(a=1), b'{"a":1}'),
        ({Size.S: 1}, b'{"s":1}'),
        ({Color.RED: 1}, b'{"red":1}'),
        ({1: Color.RED}, b'{"1":"red"}'),
        ({Level.LOW: {U1: [Decimal(1)]}}, f'{{"1":{{"{U1}":["1"]}}}}'.encode()),
        ({U1: {"a": datetime(2026, 1, 1)}}, f'{{"{U1}":{{"a":"2026-01-01T00:00:00"}}}}'.encode()),
        ({U1: {(1, 2).__class__.__name__: True}}, f'{{"{U1}":{{"tuple":true}}}}'.encode()),
    ],
)
def test_json_forms(payload: object, body: bytes) -> None:
    assert PayloadEncoder().encode(payload) == (body, "application/json")


class Whole(int):
    def __str__(self) -> str:
        return "no number"


@pytest.mark.parametrize(
    "key", [None, True, False, 1.5, -0.0, 1e22, 7, Whole(7), Level.LOW, Size.S]
)
def test_a_key_that_json_writes_is_written_so_beside_any_other(key: object) -> None:
    by_itself = json.dumps({key: 1}, separators=(",", ":"))
    assert PayloadEncoder().encode({key: 1})[0].decode() == by_itself
    beside = PayloadEncoder().encode([{key: 1}, {U1: 1}])[0].decode()
    assert beside == f'[{by_itself},{{"{U1}":1}}]'


class Opaque:
    pass


@dataclass
class Unset:
    a: int = field(init=False)


_CIRCLE: list[Any] = []
_CIRCLE.append(_CIRCLE)


@pytest.mark.usefixtures("uncollected")
@pytest.mark.parametrize(
    ("payload", "path", "problem"),
    [
        ("\ud800", "$", "lone surrogate"),
        (["\ud800"], "$[0]", "lone surrogate"),
        ({"\ud800": 1}, "$", "lone surrogate in a key"),
        ({"a": [1, float("nan")]}, "$.a[1]", "NaN"),
        ({"a b": float("inf")}, "$['a b']", "NaN"),
        ([Decimal("NaN")], "$[0]", "NaN"),
        ([Item("a", 10**5000)], "$[0].quantity", "too many digits"),
        ([{10**5000: "a"}], "$[0]", "too many digits in a key"),
        ({"x": Opaque()}, "$.x", "Opaque has no JSON form"),
        ([b"a"], "$[0]", "bytes has no JSON form"),
        ([Item], "$[0]", "type has no JSON form"),
        ({(1, 2): 1}, "$", "a key is tuple"),
        ({date(2026, 1, 2): 1}, "$", "a key is date; it can be str, a number, bool, None, a UUID"),
        ({float("nan"): 1}, "$", "NaN and Infinity in a key are not JSON"),
        ([{U1: 1, float("inf"): 1}], "$[0]", "NaN and Infinity in a key"),
        ([Unset()], "$[0]", "no attribute 'a'"),
        (_CIRCLE, "$", "contains itself"),
    ],
)
def test_what_has_no_json_form_is_an_error_with_its_path(
    payload: object, path: str, problem: str
) -> None:
    with pytest.raises(ConversionError) as caught:
        PayloadEncoder().encode(payload)
    assert caught.value.path == path
    assert any(part in caught.value.problem for part in problem.split("|"))


def test_names_of_dataclasses_are_not_kept_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convert, "KNOWN_CLASSES", 1)
    encoder = PayloadEncoder()
    for payload in (Item("a"), Node("b"), Item("a")):
        encoder.encode(payload)
        assert len(encoder._names) == 1


# In: types


@pytest.mark.parametrize(
    ("annotation", "value", "expected"),
    [
        (int, 5, 5),
        (float, 5, 5.0),
        (float, 2.5, 2.5),
        (bool, True, True),
        (None, None, None),
        (Any, {"a": [1, 2.5]}, {"a": [1, 2.5]}),
        (object, [1], [1]),
        (datetime, "2026-11-24T01:02:03Z", datetime(2026, 11, 24, 1, 2, 3, tzinfo=UTC)),
        (datetime, "2026-11-24T01:02:03", datetime(2026, 11, 24, 1, 2, 3)),
        (date, "2026-11-24", date(2026, 11, 24)),
        (time, "01:02", time(1, 2)),
        (Decimal, "1.10", Decimal("1.10")),
        (Decimal, 3, Decimal(3)),
        (UUID, str(U1), U1),
        (Color, "red", Color.RED),
        (Level, 2, Level.HIGH),
        (Mixed, 0.5, Mixed.HALF),
        (Mixed, 2, Mixed.TWO),
        (Mixed, True, Mixed.YES),
        (Mixed, None, Mixed.NOTHING),
        (Literal["a", 1, None], 1, 1),
        (Literal[Color.RED], "red", Color.RED),
        (list[int], [1, 2], [1, 2]),
        (list, [1, "a"], [1, "a"]),
        (abc.Sequence[int], [1], [1]),
        (tuple[int, str], [1, "a"], (1, "a")),
        (tuple[int, ...], [1, 2], (1, 2)),
        (tuple, [1, "a"], (1, "a")),
        (tuple[()], [], ()),
        (set[int], [1, 1], {1}),
        (set, [1], {1}),
        (frozenset[str], ["a"], frozenset({"a"})),
        (abc.Set[str], ["a"], frozenset({"a"})),
        (dict[str, int], {"a": 1}, {"a": 1}),
        (dict, {"a": 1}, {"a": 1}),
        (dict[Any, int], {"a": 1}, {"a": 1}),
        (dict[Sku, int], {"a": 1}, {"a": 1}),
        (abc.Mapping[Color, int], {"red": 1}, {Color.RED: 1}),
        (dict[UUID, int], {str(U1): 1}, {U1: 1}),
        (dict[Literal["a"], int], {"a": 1}, {"a": 1}),
        (Optional[int], None, None),  # noqa: UP045 - the old spelling must work too
        (int | str, "a", "a"),
        (float | int, 1, 1),
        (datetime | str, "no date", "no date"),
        (Sku, "a", "a"),
        (Annotated[int, "x"], 1, 1),
        (typing_extensions.TypeAliasType("Alias", list[int]), [1], [1]),
        (Point, {"x": 1, "z": 2}, {"x": 1}),
        (Point, {"x": 1, "y": 2}, {"x": 1, "y": 2}),
        (Loose, {"a": 1}, {"a": 1}),
        (Item, {"sku": "a", "other": 1}, Item("a", 1)),
        (
            Order,
            {"items": [{"sku": "a"}], "color": "blue", "tags": ["x"], "total": 5},
            Order([Item("a")], color=Color.BLUE, tags={"x"}),
        ),
        (Node, {"name": "a", "children": [{"name": "b"}]}, Node("a", [Node("b")])),
        (Cat | Dog, {"kind": "dog", "tricks": []}, Dog("dog", [])),
        (list[int] | list[str], ["a"], ["a"]),
        (dict[str, Any] | list[Any], [1], [1]),
    ],
)
def test_what_fits(annotation: Any, value: object, expected: object) -> None:
    found = _decode(annotation, value)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("annotation", "value", "path", "problem"),
    [
        (int, "5", "$", "expected int, got str"),
        (int, 5.0, "$", "expected int, got float"),
        (int, True, "$", "expected int, got bool"),
        (int, None, "$", "expected int, got None"),
        (float, "5", "$", "expected float, got str"),
        (float, True, "$", "expected float, got bool"),
        (float, 10**400, "$", "number out of range"),
        (bool, 1, "$", "expected bool, got int"),
        (None, 0, "$", "expected None, got int"),
        (datetime, 5, "$", "expected ISO 8601 datetime, got int"),
        (datetime, "yesterday", "$", "expected ISO 8601 datetime"),
        (Decimal, " 1", "$", "expected decimal number"),
        (Decimal, "1_0", "$", "expected decimal number"),
        (Decimal, "NaN", "$", "expected decimal number"),
        (Decimal, True, "$", "expected decimal number, got bool"),
        (Decimal, "1e309", "$", "number out of range"),
        (Decimal, "1e-309", "$", "number out of range"),
        (Decimal, 10**309, "$", "number out of range"),
        (Decimal, "1e99999999999999999999", "$", "number out of range"),
        (UUID, "{" + str(U1) + "}", "$", "expected UUID"),
        (UUID, U1.hex, "$", "expected UUID"),
        (Color, "green", "$", "expected one of 'red', 'blue'"),
        (Color, ["red"], "$", "expected one of 'red', 'blue'"),
        (Level, True, "$", "expected one of 1, 2"),
        (Level, 1.0, "$", "expected one of 1, 2"),
        (Mixed, 7, "$", "expected one of 0.5, 2.0, True, None"),
        (Literal[1, 2, 3, 4, 5, 6, 7, 8, 9], 0, "$", "expected one of 1, 2, 3, 4, 5, 6, 7, 8, ..."),
        (list[int], {}, "$", "expected list[int], got dict"),
        (list[int], [1, "a"], "$[1]", "expected int, got str"),
        (set[Any], [[1]], "$", "an item of the set[Any] cannot be hashed"),
        (tuple[int, str], [1], "$", "expected 2 items, got 1"),
        (tuple[int], [1, 2], "$", "expected 1 item, got 2"),
        (tuple[int, str], "a", "$", "expected tuple[int, str], got str"),
        (tuple[int, str], [1, 2], "$[1]", "expected str, got int"),
        (dict[str, int], [], "$", "expected dict[str, int], got list"),
        (dict[str, int], {"a": 1, "b c": "x"}, "$['b c']", "expected int, got str"),
        (dict[Color, int], {"green": 1}, "$.green", "expected one of 'red', 'blue'"),
        (Item, [], "$", "expected Item, got list"),
        (Item, {}, "$.sku", "missing"),
        (Point, {"y": 1}, "$.x", "missing"),
        (Point, {"x": 1, "y": "a"}, "$.y", "expected int, got str"),
        (Loose, {"b": "x"}, "$.a", "missing"),
        (Loose, 1, "$", "expected Loose, got int"),
        (Order, {"items": [{"sku": "a"}, {"sku": 1}]}, "$.items[1].sku", "expected str, got int"),
        (Node, {"name": "a", "children": [{}]}, "$.children[0].name", "missing"),
        (int | None, "a", "$", "expected int | None, got str"),
        (list[int] | list[str], [1, "a"], "$[1]", "expected int, got str"),
        (date | UUID, "x", "$", "fits none of ISO 8601 date | UUID"),
        (Cat | Dog, {"kind": "cow"}, "$.kind", "expected one of 'cat'"),
        (Cat | Dog, {"kind": "dog", "tricks": [1]}, "$.tricks[0]", "expected str, got int"),
        (Checked, {"quantity": -1}, "$", "quantity must not be negative"),
        (list[Checked], [{"quantity": 0}], "$[0]", "TypeError"),
        (
            dict[str, Any] | Item,
            "a",
            "$",
            "expected dict[str, Any] | Item, got str",
        ),
    ],
)
def test_what_does_not_fit(annotation: Any, value: object, path: str, problem: str) -> None:
    with pytest.raises(ConversionError) as caught:
        _decode(annotation, value)
    assert (caught.value.path, caught.value.problem) == (path, problem)


def test_the_cause_of_a_post_init_error_is_kept_for_the_log() -> None:
    with pytest.raises(ConversionError) as caught:
        _decode(Checked, {"quantity": -1})
    assert isinstance(caught.value.__cause__, ValueError)


def test_a_domain_error_of_a_post_init_passes_to_the_exception_handlers() -> None:
    with pytest.raises(KeyError, match="domain"):
        _decode(Checked, {"quantity": 13})


def test_a_long_foreign_key_is_cut_and_escaped_in_the_path() -> None:
    with pytest.raises(ConversionError) as caught:
        _decode(dict[str, int], {"\n" + "x" * 100: "a"})
    assert caught.value.path == "$['\\n" + "x" * 39 + "']"


def test_decimals_are_exact_and_do_not_change_their_neighbours() -> None:
    @dataclass
    class Price:
        amount: Decimal
        rate: float
        raw: Any
        either: float | str
        half: Mixed

    body = (
        b'{"amount":0.1000000000000000055511151231257827,"rate":0.5,"raw":{"x":[0.5,"a"]},'
        b'"either":1.5,"half":0.5}'
    )
    price = _decode(Price, body)
    assert price.amount == Decimal("0.1000000000000000055511151231257827")
    assert (price.rate, price.either, price.half) == (0.5, 1.5, Mixed.HALF)
    assert price.raw == {"x": [0.5, "a"]}
    assert type(price.rate) is type(price.raw["x"][0]) is float
    with pytest.raises(ConversionError, match=r"expected tuple\[Decimal\] \| int, got float"):
        _decode(tuple[Decimal] | int, b"0.5")


def test_decimals_out_of_range_do_not_depend_on_the_traps_of_the_context() -> None:
    with (
        decimal.localcontext(decimal.Context(traps=[])),
        pytest.raises(ConversionError, match="number out of range"),
    ):
        _decode(Decimal, "1e99999999999999999999")


LARGEST = 2**63 - 1


@pytest.mark.parametrize(
    ("annotation", "text", "path"),
    [
        (int, "{}", "$"),
        (int | None, "{}", "$"),
        (list[int], "[0, {}]", "$[1]"),
        (tuple[int, str], '[{}, ""]', "$[0]"),
        (dict[str, int], '{{"a b": {}}}', "$['a b']"),
        (Item, '{{"sku": "a", "quantity": {}}}', "$.quantity"),
        (Any, "{}", "$"),
        (dict[str, Any], '{{"a": [0, {{"b": {}}}]}}', "$.a[1].b"),
        (list[object], '[0.12345678901234567890, null, "12345678901234567890", {}]', "$[3]"),
        (tuple[Decimal, Any], "[1.5, [2.5, {}]]", "$[1][1]"),
    ],
)
def test_an_integer_has_64_bits_wherever_it_stands(annotation: Any, text: str, path: str) -> None:
    decode = decoder_for(annotation)
    for number in (LARGEST, -LARGEST - 1):
        decode(text.format(number).encode(), None)
    for number in (LARGEST + 1, -LARGEST - 2, 10**4299):
        with pytest.raises(ConversionError) as caught:
            decode(text.format(number).encode(), None)
        assert (caught.value.path, caught.value.problem) == (path, "integer beyond 64 bits")
        decoder_for(annotation, None)(text.format(number).encode(), None)


def test_an_integer_may_have_fewer_bits() -> None:
    """Such as the 54 that JavaScript holds exactly."""
    for annotation in (int, Any):
        decode = decoder_for(annotation, 54)
        assert decode(b"-9007199254740992", None) == -(2**53)
        with pytest.raises(ConversionError, match="integer beyond 54 bits"):
            decode(b"9007199254740992", None)


def test_an_integer_that_is_read_as_something_else_has_the_bounds_of_that() -> None:
    assert _decode(float, b"1000000000000000000000000") == 1e24
    assert _decode(Decimal, b"1000000000000000000000000") == Decimal(10**24)
    assert _decode(Literal[1180591620717411303424], b"1180591620717411303424") == 2**70


def test_a_float_of_a_document_with_decimals_may_be_very_small() -> None:
    assert _decode(tuple[Decimal, float], b"[1, 5e-324]") == (1, 5e-324)


def test_a_class_inside_a_function_may_refer_to_itself() -> None:
    @dataclass
    class Inner:
        next: Inner | None = None

    assert _decode(Inner, {"next": {"next": None}}) == Inner(Inner())


def test_unions_inside_each_other_are_linear() -> None:
    value: Any = None
    for _ in range(100):
        value = {"next": value, "right": 1}
    found = _decode(Left | Right, value)
    assert type(found) is type(found.next) is Right
    # The innermost is wrong: without a memory, 2**100 trials.
    value = {"right": "x"}
    for _ in range(100):
        value = {"next": value, "right": 1}
    with pytest.raises(ConversionError) as caught:
        _decode(Left | Right, value)
    assert caught.value.path == "$" + ".next" * 101
    assert caught.value.problem == "missing"


def test_a_decoder_keeps_nothing_of_a_document() -> None:
    compiled = convert.compile_shape(list[Cat | Dog])
    assert compiled.read([{"kind": "cat", "lives": 9}], "") == [Cat("cat", 9)]
    assert compiled.memo == {}


# In: declarations

T = TypeVar("T")


@dataclass
class Box(Generic[T]):
    item: T


@dataclass
class WithInit:
    a: int
    b: InitVar[int]


@dataclass
class Lost:
    a: Nowhere  # type: ignore[name-defined]  # noqa: F821


@dataclass
class Broken:
    a: "1 +"  # type: ignore[valid-type]  # noqa: F722


@pytest.mark.parametrize(
    ("annotation", "parts"),
    [
        (Opaque, ["Opaque cannot be decoded", "dataclasses", "TypedDicts"]),
        (list[bytes], ["bytes", "take the whole body"]),
        (Odd, ["Odd: (1, 2) is no value that JSON can hold"]),
        (set[list[int]], ["list[int] cannot be hashed; use a list"]),
        (dict[int, str], ["dict[int, str]: a key can be str, UUID"]),
        (dict[str | UUID, str], ["a key can be str, UUID"]),
        (dict[Level, str], ["a key can be str, UUID"]),
        (WithInit, ["WithInit.b is an InitVar"]),
        (Box[int], ["cannot be decoded"]),
        (Box, ["Box.item: ~T cannot be decoded"]),
        (Lost, ["name 'Nowhere' is not defined", "import Nowhere", "TYPE_CHECKING"]),
        (Broken, ["annotations of Broken cannot be evaluated"]),
        (5, ["5 cannot be decoded"]),
    ],
)
def test_a_type_that_cannot_be_decoded_is_refused_when_declared(
    annotation: Any, parts: list[str]
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        decoder_for(annotation)
    for part in parts:
        assert part in str(caught.value)


def test_only_classes_may_refer_to_themselves() -> None:
    if sys.version_info >= (3, 12):
        names: dict[str, Any] = {}
        exec("type Json = list[Json]", names)
        alias: Any = names["Json"]
    else:
        alias = typing_extensions.TypeAliasType("Json", int)
        vars(alias)["__value__"] = list[alias]
    with pytest.raises(ConfigurationError, match="Json refers to itself"):
        decoder_for(alias)


# In: content-types


@pytest.mark.parametrize(
    ("annotation", "body", "content_type", "expected"),
    [
        (bytes, b"\xff", None, b"\xff"),
        (bytes, b"\xff", "not a type", b"\xff"),
        (bytes | None, b"", "application/json", b""),
        (str, b"", None, ""),
        (str, b"5", None, "5"),
        (str, b'"5"', "text/plain", '"5"'),
        (str, b'"5"', "application/json", "5"),
        (str, b'"5"', "application/json; charset=UTF-8", "5"),
        (str, b'"5"', "text/json", "5"),
        (str, b'"5"', "application/vnd.shop+json", "5"),
        (str, b"a", "application/octet-stream", "a"),
        (str, "ü".encode("latin-1"), "text/plain; charset=ISO-8859-1", "ü"),
        (str, b"a", 'text/html;x=";";charset="us-ascii"', "a"),
        (str, b"a", "text/plain; ", "a"),
        (str | None, b"null", None, "null"),
        (str | None, b"null", "application/json", None),
        (Sku, b"a", None, "a"),
        (int, b" 5\n", None, 5),
        (int, b"5", "text/plain", 5),
        (int, b"5", "application/octet-stream", 5),
        (int, b"5", "APPLICATION/JSON", 5),
        (int, b"5", "application/octet-stream;x=y", 5),
        (int, b"5", "application/json;charset=utf-8", 5),
        (dict, b'{"a":1,"a":2}', None, {"a": 2}),
        (str, rb'"\ud83d\ude00"', "application/json", "\U0001f600"),
    ],
)
def test_content_types_that_are_taken(
    annotation: Any, body: bytes, content_type: str | None, expected: object
) -> None:
    assert decoder_for(annotation)(body, content_type) == expected


@pytest.mark.usefixtures("uncollected")
@pytest.mark.parametrize(
    ("annotation", "body", "content_type", "path", "problem"),
    [
        (int, b"5", "application/xml", "header content-type", "neither text nor JSON"),
        (str, b"5", "image/png", "header content-type", "neither text nor JSON"),
        (int, b"5", "", "header content-type", "type/subtype"),
        (int, b"5", "json", "header content-type", "type/subtype"),
        (int, b"5", "a/b c", "header content-type", "malformed parameters"),
        (int, b"5", 'a/b;c="', "header content-type", "malformed parameters"),
        (int, b"5", "text/plain;charset=utf-16", "header content-type", "charset can be"),
        (str, b"\xff", None, "$", "octet 0 is not utf-8"),
        (str, b"a\xc3\xbc", "text/plain;charset=us-ascii", "$", "octet 1 is not ascii"),
        (str, b"5", "application/json", "$", "expected str, got int"),
        (int, b"", None, "$", "the body is empty"),
        (int, b" \n", "application/json", "$", "the body is empty"),
        (int, b"{", None, "$", "not JSON: Expecting property name"),
        (int, b"5 6", None, "$", "not JSON: Extra data at character 2"),
        (Any, b"\xef\xbb\xbf5", None, "$", "byte order mark"),
        (Any, b"NaN", None, "$", "NaN is not JSON"),
        (Any, b"[-Infinity]", None, "$", "-Infinity is not JSON"),
        (Any, b"1e400", None, "$", "number out of range"),
        (Any, b"9" * 5_000, None, "$", "too many digits"),
        (Any, b"[" * 65_536, None, "$", "nested too deeply"),
        # Where the parser does not mind the depth, it minds the end.
        (Node, b'{"name":"","children":[' * 2_800, None, "$", "nested too deeply|not JSON"),
        (Any, rb'["\ud800"]', None, "$", "lone surrogate"),
        (dict[str, Decimal], rb'{"\uDC00":0.5}', None, "$", "lone surrogate"),
        (Decimal, b"1e309", None, "$", "number out of range"),
        (list[Decimal], b"[1, 10.5e308]", None, "$[1]", "number out of range"),
        (tuple[Decimal, float], b"[1, 1e4000]", None, "$[1]", "number out of range"),
    ],
)
def test_bodies_and_content_types_that_are_not(
    annotation: Any, body: bytes, content_type: str | None, path: str, problem: str
) -> None:
    with pytest.raises(ConversionError) as caught:
        decoder_for(annotation)(body, content_type)
    assert caught.value.path == path
    assert any(part in caught.value.problem for part in problem.split("|"))


# Any input, any value

_ALL = [
    decoder_for(annotation)
    for annotation in (
        str,
        int,
        Any,
        datetime,
        Decimal,
        Order,
        Node,
        Point,
        Cat | Dog,
        Left | Right,
        list[float | Decimal | date | None],
        dict[Color, tuple[int, ...]],
    )
]


@given(
    st.one_of(
        st.binary(),
        st.text().map(str.encode),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
            lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from("ab"), inner),
        ).map(lambda value: json.dumps(value).encode()),
    ),
    st.none() | st.text() | st.sampled_from(["text/plain", "application/json", "a/b;c=d"]),
)
@example(b"[" * 65_536, None)
@example(b'"\\ud800"', "application/json")
def test_any_bytes_are_a_value_or_a_conversion_error(body: bytes, content_type: str | None) -> None:
    for decode in _ALL:
        with contextlib.suppress(ConversionError):
            decode(body, content_type)


_AROUND = st.text(st.sampled_from(" \t\n\r\x0b\xa0\ufeff")) | st.text(" \n", max_size=2)
_JSON = st.sampled_from(["1", "[1]", '{"a": "b"}', '" "', "-0.5e3", "null", "[", "01", "", "1 2"])


@given(_AROUND, _JSON | st.text(max_size=4), _AROUND | st.text(max_size=4))
@example("", "1", " x")
@example(" ", "", "")
def test_a_text_is_read_as_the_standard_library_reads_it(
    before: str, text: str, behind: str
) -> None:
    """Without its regular expressions for the blanks around it."""
    text = before + text + behind
    try:
        wanted = repr(_STANDARD.decode(text))
    except ValueError as error:
        wanted = str(error)
    try:
        found = repr(convert._value(_STANDARD, text))
    except ValueError as error:
        found = str(error)
    assert found == wanted


_STANDARD = json.JSONDecoder()


@dataclass
class Whole:
    text: str
    number: int
    real: float
    flag: bool
    nothing: None
    at: datetime
    day: date
    hour: time
    price: Decimal
    id: UUID
    color: Color
    level: Level
    either: int | str | None
    items: list[Item]
    pair: tuple[int, str]
    tags: frozenset[str]
    counts: dict[str, int]
    by_color: dict[Color, Item]
    point: Point


_TEXT = st.text(st.characters(exclude_categories=["Cs"]))
_INT = st.integers(-(2**63), 2**63 - 1)
_ITEM = st.builds(Item, _TEXT, _INT)
_WHOLE = st.builds(
    Whole,
    _TEXT,
    _INT,
    st.floats(allow_nan=False, allow_infinity=False),
    st.booleans(),
    st.none(),
    st.datetimes(timezones=st.none() | st.just(UTC)),
    st.dates(),
    st.times(),
    st.decimals(-(10**300), 10**300, allow_nan=False, allow_infinity=False),
    st.uuids(),
    st.sampled_from(Color),
    st.sampled_from(Level),
    st.none() | _INT | _TEXT,
    st.lists(_ITEM, max_size=3),
    st.tuples(_INT, _TEXT),
    st.frozensets(_TEXT, max_size=3),
    st.dictionaries(_TEXT, _INT, max_size=3),
    st.dictionaries(st.sampled_from(Color), _ITEM),
    st.fixed_dictionaries({"x": _INT}, optional={"y": _INT}),
)
_WHOLE_DECODER = decoder_for(Whole)


@given(_WHOLE)
def test_what_goes_out_comes_in_again(value: Whole) -> None:
    body, content_type = PayloadEncoder().encode(value)
    assert _WHOLE_DECODER(body, content_type) == value


# The encoder that is kept

_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner),
)  # fmt: skip


@given(_VALUES)
def test_what_is_written_by_the_encoder_that_is_kept_is_what_json_writes(value: Any) -> None:
    plain = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    assert convert._json_writer(repr)(value) == plain


def other(*arguments: object) -> Any:
    """An encoder in C that is called in the same way, and writes in another."""
    return lambda value, level: ["?"]


@pytest.mark.parametrize("make", [None, json.JSONEncoder, other], ids=["none", "changed", "other"])
def test_where_the_interpreter_has_another_encoder_json_writes(make: object) -> None:
    assert convert._json_writer(repr, make)({"a": [1, 0.5]}) == '{"a":[1,0.5]}'


def test_on_this_interpreter_the_encoder_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    write = convert._json_writer(repr)
    monkeypatch.setattr(json.JSONEncoder, "encode", None)
    assert write({"a": {1: b""}}) == '{"a":{"1":"b\'\'"}}'

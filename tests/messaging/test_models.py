"""Classes of pydantic and msgspec: as parameters, as results, and what does not fit."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import date
from decimal import Decimal
from typing import Annotated, Any

import msgspec
import pydantic
import pytest
from pydantic.dataclasses import dataclass as pydantic_dataclass

from stocksync_ws import ConfigurationError, ConversionError, StompApp
from stocksync_ws.messaging.convert import PayloadEncoder, decoder_for
from stocksync_ws.testing.world import World


class Item(pydantic.BaseModel):
    product: str
    quantity: int = pydantic.Field(ge=0, alias="qty")
    until: date | None = None


class Strict(pydantic.BaseModel, strict=True):
    until: date


class Numbers(pydantic.RootModel[list[int]]):
    pass


class Node(pydantic.BaseModel):
    name: str
    below: list[Node] = []


@pydantic_dataclass
class Point:
    x: int
    y: int = 0


@pydantic_dataclass
class Card:
    number: int = pydantic.Field(default=4711, exclude=True)
    full_name: str = pydantic.Field(default="ann", serialization_alias="fullName")

    @pydantic.field_serializer("full_name")
    def upper(self, name: str) -> str:
        return name.upper()


class CardBelow(Card):
    pass


class Struct(msgspec.Struct, rename={"quantity": "qty"}):
    product: str
    quantity: Annotated[int, msgspec.Meta(ge=0)]
    price: Decimal = Decimal(0)
    until: date | None = None


class Cat(msgspec.Struct, tag="cat"):
    lives: int


class Dog(msgspec.Struct, tag="dog"):
    tricks: list[str]


class Row(msgspec.Struct, array_like=True):
    at: int
    name: str


def read(annotation: object, value: Any) -> Any:
    return decoder_for(annotation)(json.dumps(value).encode(), None)


@pytest.mark.parametrize(
    ("annotation", "value", "found"),
    [
        (Item, {"product": "a", "qty": 3}, Item(product="a", qty=3)),
        (Item, {"product": "a", "qty": "3"}, Item(product="a", qty=3)),
        (Strict, {"until": "2026-01-02"}, Strict(until=date(2026, 1, 2))),
        (Numbers, [1, 2], Numbers([1, 2])),
        (Node, {"name": "a", "below": [{"name": "b"}]}, Node(name="a", below=[Node(name="b")])),
        (Point, {"x": 1}, Point(1)),
        (Struct, {"product": "a", "qty": 3}, Struct("a", 3)),
        (Struct, {"product": "a", "qty": 3, "price": "1.5"}, Struct("a", 3, Decimal("1.5"))),
        (
            Struct,
            {"product": "a", "qty": 3, "until": "2026-01-02"},
            Struct("a", 3, Decimal(0), date(2026, 1, 2)),
        ),
        (Row, [1, "a"], Row(1, "a")),
        (list[Item], [{"product": "a", "qty": 1}], [Item(product="a", qty=1)]),
        (dict[str, Struct], {"k": {"product": "a", "qty": 1}}, {"k": Struct("a", 1)}),
        (Item | None, None, None),
        (Item | str, "text", "text"),
        (Cat | Dog, {"type": "dog", "tricks": ["sit"]}, Dog(["sit"])),
        (Item | Struct, {"product": "a", "qty": 1}, Item(product="a", qty=1)),
        (Row | Cat, [1, "a"], Row(1, "a")),
    ],
)
def test_a_class_of_theirs_is_read_alone_in_containers_and_in_unions(
    annotation: object, value: Any, found: object
) -> None:
    body = json.dumps(value).encode()
    got = decoder_for(annotation)(body, "application/json")
    assert (type(got), got) == (type(found), found)


@pytest.mark.parametrize(
    ("annotation", "value", "path", "problem"),
    [
        (Item, {"product": "a", "qty": -1}, "$.qty", "greater than or equal to 0"),
        (Item, {"qty": 1}, "$.product", "Field required"),
        (Item, [], "$", "object"),
        (Node, {"name": "a", "below": [{"name": 7}]}, "$.below[0].name", "valid string"),
        (Point, {"x": "?"}, "$.x", "valid integer"),
        (list[Item], [{"product": "a"}], "$[0].qty", "Field required"),
        (Struct, {"product": "a", "qty": -1}, "$.qty", "Expected `int` >= 0"),
        (Struct, {"product": "a", "qty": "1"}, "$.qty", "Expected `int`, got `str`"),
        (Struct, {"qty": 1}, "$", "missing required field `product`"),
        (Dog, {"type": "dog", "tricks": ["a", 7]}, "$.tricks[1]", "Expected `str`, got `int`"),
        (dict[str, Struct], {"k": {"product": 1, "qty": 1}}, "$.k.product", "Expected `str`"),
    ],
)
def test_what_does_not_fit_is_told_with_its_path(
    annotation: object, value: Any, path: str, problem: str
) -> None:
    with pytest.raises(ConversionError) as raised:
        read(annotation, value)
    assert raised.value.path == path
    assert problem in raised.value.problem


@pytest.mark.parametrize("annotation", [Numbers, Item, Struct])
def test_a_number_that_no_payload_may_hold_is_refused_before_they_see_it(annotation: Any) -> None:
    number = "9" * 30
    body = f"[{number}]" if annotation is Numbers else f'{{"product":"a","qty":{number}}}'
    with pytest.raises(ConversionError, match=r"64 bits|out of range|large"):
        decoder_for(annotation)(body.encode(), None)


def test_an_init_of_the_applications_own_may_refuse() -> None:
    class Even(pydantic.BaseModel):
        a: int

        def __init__(self, a: int) -> None:
            if a % 2:
                raise ValueError("it is odd")
            super().__init__(a=a)

    assert read(Even, {"a": 2}).a == 2
    with pytest.raises(ConversionError, match=r"\$: Value error, it is odd"):
        read(Even, {"a": 1})


def test_an_error_of_their_validators_that_is_none_of_theirs_is_the_applications() -> None:
    class Odd(pydantic.BaseModel):
        a: int

        @pydantic.field_validator("a")
        @classmethod
        def check(cls, value: int) -> int:
            raise KeyError(value)

    with pytest.raises(KeyError):
        read(Odd, {"a": 1})


@pytest.mark.parametrize(
    ("value", "body"),
    [
        (Item(product="a", qty=3), '{"product":"a","qty":3,"until":null}'),
        ([Struct("a", 3)], '[{"product":"a","qty":3,"price":"0","until":null}]'),
        ({"k": Dog(["sit"])}, '{"k":{"type":"dog","tricks":["sit"]}}'),
        (Row(1, "a"), '[1,"a"]'),
        (Numbers([1, 2]), "[1,2]"),
        (Point(1, 2), '{"x":1,"y":2}'),
        (Card(), '{"fullName":"ANN"}'),
        ([CardBelow()], '[{"fullName":"ANN"}]'),
        (Node(name="a", below=[Node(name="b")]), '{"name":"a","below":[{"name":"b","below":[]}]}'),
    ],
)
def test_a_class_of_theirs_is_written_as_they_write_it(value: object, body: str) -> None:
    assert PayloadEncoder().encode(value) == (body.encode(), "application/json")


def test_what_they_cannot_write_is_told_with_its_path() -> None:
    class Bad(msgspec.Struct):
        thing: Any

    with pytest.raises(ConversionError, match=r"\$\[0\]"):
        PayloadEncoder().encode([Bad(object())])


def test_from_a_frame_to_a_reply() -> None:
    app = StompApp("/ws")

    @app.message_mapping("/items")
    def items(item: Item) -> list[Item | Struct]:
        return [item, Struct("b", 1)]

    with World(app) as world:
        peer = world.connect()
        peer.subscribe("/topic/items")
        peer.send_to("/app/items", '{"product":"a","qty":3}')
        first, second = json.loads(peer.message().body)
        assert first == {"product": "a", "qty": 3, "until": None}
        assert second == {"product": "b", "qty": 1, "price": "0", "until": None}


def test_a_model_that_is_not_complete_says_what_to_do() -> None:
    class Late(pydantic.BaseModel):
        thing: NotThereYet  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(ConfigurationError, match=r"Late refers to what is not defined yet: define"):
        decoder_for(Late)


def test_nothing_of_theirs_is_imported_by_us() -> None:
    script = (
        "import sys; from stocksync_ws import StompApp; from stocksync_ws.testing import World\n"
        "app = StompApp('/ws')\n"
        "@app.message_mapping('/a')\n"
        "def a(x: dict[str, int]) -> list[int]: return [1]\n"
        "World(app).close()\n"
        "assert not {'pydantic', 'msgspec', 'pydantic_core'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)

"""Classes of pydantic and msgspec as payloads and as results.

Rule: nothing is imported that the application did not: a class of theirs can only be met when their
package is there. What does not fit becomes a `Mismatch` with its path; their own rules (strictness,
aliases, validators, tags) hold.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, get_origin

from stocksync_ws.errors import ConfigurationError
from stocksync_ws.messaging.hints import type_name
from stocksync_ws.messaging.readers import JSON_TYPES, Reader, Shape, step
from stocksync_ws.messaging.scalars import Mismatch
from stocksync_ws.messaging.writers import Writer

__all__ = [
    "dataclass_dumper",
    "dumper_for",
    "is_model",
    "model_shape",
    "model_writer",
    "struct_maker",
]

_AT = re.compile(r" - at `(key in )?\$?([^`]*)`$")
"""Where msgspec says that something does not fit: `Expected `int`, got `str` - at `$.quantity``."""


def _pydantic_kind(kind: Any) -> bool:
    """Whether it is a model, or a dataclass that pydantic has made."""
    return isinstance(kind, type) and "__pydantic_validator__" in vars(kind)


def _msgspec(kind: Any) -> Any:
    """The module of msgspec that has made a Struct; None for every other type."""
    if not isinstance(kind, type) or not hasattr(kind, "__struct_config__"):
        return None
    return inspect.getmodule(next(base for base in kind.__mro__ if base.__module__ == "msgspec"))


def is_model(kind: Any) -> bool:
    """Whether pydantic or msgspec knows how to read and write a class."""
    return _pydantic_kind(kind) or _msgspec(kind) is not None


def model_shape(kind: Any, looked_at: Reader) -> Shape | None:
    """The shape of a class of theirs; None for every other type.

    Args:
        kind: A plain annotation.
        looked_at: Refuses numbers that no payload may hold.

    Raises:
        ConfigurationError: It cannot be built, for example since a name in it is not there yet.
    """
    if _pydantic_kind(kind):
        return _pydantic_shape(kind, looked_at)
    msgspec = _msgspec(kind)
    return None if msgspec is None else _struct_shape(msgspec, kind, looked_at)


def _pydantic_shape(kind: Any, looked_at: Reader) -> Shape:
    complete = getattr(kind, "__pydantic_complete__", True)
    if not (complete or kind.model_rebuild(raise_errors=False)):
        raise ConfigurationError(
            f"{type_name(kind)} refers to what is not defined yet: define that above it, or call"
            f" {type_name(kind)}.model_rebuild() before the handler"
        )
    validate: Callable[[str], Any] = kind.__pydantic_validator__.validate_json

    def read(value: Any) -> Any:
        # As JSON and not as the dict it is: strict models take a date from a string only there.
        text = json.dumps(looked_at(value), ensure_ascii=False)
        try:
            return validate(text)
        except ValueError as error:
            told: Any = error  # A `pydantic.ValidationError`, which is one; it raises no other.
            first = told.errors(include_url=False, include_context=False, include_input=False)[0]
            path = [step(at) if isinstance(at, str) else f"[{at}]" for at in first["loc"]]
            raise Mismatch(first["msg"], *reversed(path)) from error

    root = getattr(kind, "__pydantic_root_model__", False)
    return Shape(read, frozenset(JSON_TYPES if root else (dict,)), type_name(kind))


def _struct_shape(msgspec: Any, kind: Any, looked_at: Reader) -> Shape:
    def read(value: Any) -> Any:
        try:
            return msgspec.convert(looked_at(value), kind)
        except msgspec.ValidationError as error:
            said = str(error)
            at = _AT.search(said)
            if at is None:
                raise Mismatch(said) from error
            raise Mismatch(said[: at.start()], at[2]) from error

    shape = list if kind.__struct_config__.array_like else dict
    return Shape(read, frozenset((shape,)), type_name(kind))


def dumper_for(kind: type) -> Callable[[Any], Any] | None:
    """What makes JSON values of an object of this class, no dataclass; None when it is none of
    theirs.

    Aliases are written, as FastAPI does; what it makes may still hold what is no JSON.
    """
    msgspec = _msgspec(kind)
    if msgspec is not None:
        to_builtins: Callable[[Any], Any] = msgspec.to_builtins
        return to_builtins
    return _dump_model if _pydantic_kind(kind) else None


def dataclass_dumper(kind: type) -> Callable[[Any], Any] | None:
    """As `dumper_for`, of a dataclass that pydantic has made; None for one of Python itself."""
    return None if _pydantic_maker(kind) is None else _dump_dataclass


def _pydantic_maker(kind: type) -> Any:
    """The nearest class, from this one upwards, whose fields pydantic writes; None when there is
    none, or when a dataclass that pydantic has not made is nearer.
    """
    for base in kind.__mro__:
        own = vars(base)
        if "__pydantic_validator__" in own:
            return base
        if "__dataclass_fields__" in own:
            return None
    return None


def _pydantic() -> Any:
    """The module, which has been imported by whoever made a class with it."""
    return inspect.getmodule(SimpleNamespace(__module__="pydantic"))


def _dump_model(value: Any) -> Any:
    return value.model_dump(mode="json", by_alias=True)


def _dump_dataclass(value: Any) -> Any:
    return value.__pydantic_serializer__.to_python(value, mode="json", by_alias=True)


def model_writer(kind: Any) -> Writer | None:
    """The writer of a declared model or dataclass of pydantic: its fields and no others, also of an
    object of a class below it, or of a generic one that was made without arguments. None when the
    class is no such one.

    Args:
        kind: A plain annotation, with the arguments of a generic class.

    Raises:
        ConfigurationError: pydantic cannot write an argument of a generic dataclass.
    """
    origin: Any = get_origin(kind) or kind
    maker = _pydantic_maker(origin)
    if maker is None:
        return None
    name = type_name(kind)
    if maker.__module__ == "pydantic.main":
        return Writer((origin,), None, name)  # `BaseModel` itself has no fields to choose.
    if kind is origin:
        serializer = maker.__pydantic_serializer__
    else:
        # That of the class does not know the arguments of `Page[Item]`.
        try:
            serializer = _pydantic().TypeAdapter(kind).serializer
        except Exception as error:
            raise ConfigurationError(f"pydantic cannot write {name}: {error}") from error
    exactly = None if dataclasses.is_dataclass(maker) else kind

    def write(value: Any) -> Any:
        try:
            if type(value) is exactly:
                return _dump_model(value)
            if not isinstance(value, origin):
                value = _view(origin, value)
            # Without `error` it warns, and then writes what does not fit by the value.
            return serializer.to_python(value, mode="json", by_alias=True, warnings="error")
        except (TypeError, ValueError, AttributeError) as error:
            raise Mismatch(str(error)) from error

    # `Page[Item]` of a model is a class of its own, and what `Page(...)` makes is not below it.
    generic = getattr(maker, "__pydantic_generic_metadata__", {}).get("origin")
    return Writer((origin,) if generic is None else (origin, generic), write, name)


def _view(kind: Any, value: Any) -> Any:
    """The same fields as an object of this class: that of a root model is looked at."""
    view = kind.__new__(kind)
    view.__setstate__(value.__getstate__())
    return view


def struct_maker(kind: Any) -> Callable[[dict[str, Any], Any], Any] | None:
    """The function that writes a Struct of msgspec from its written fields and the object itself;
    None for other classes.

    It is msgspec that writes: tags, new names, no defaults if they are left out.
    """
    msgspec = _msgspec(kind)
    if msgspec is None:
        return None
    config = kind.__struct_config__
    names: tuple[str, ...] = kind.__struct_fields__
    # A twin without `__post_init__`, which has looked at the real one already.
    twin = msgspec.defstruct(
        kind.__name__,
        [
            (name, Any, msgspec.field(name=written_as))
            for name, written_as in zip(names, kind.__struct_encode_fields__, strict=True)
        ],
        kw_only=True,
        tag=config.tag,
        tag_field=config.tag_field,
        array_like=config.array_like,
    )
    omits = config.omit_defaults and not config.array_like
    # Of the last fields, as of a function.
    defaults: list[tuple[str, Any]] = (
        list(zip(reversed(names), reversed(kind.__struct_defaults__), strict=False))
        if omits
        else []
    )

    def make(written: dict[str, Any], value: Any) -> Any:
        # What is written of a value is another object: only the value tells that it is a default.
        for name, default in defaults:
            given = getattr(value, name)
            if given is default or (type(given) is getattr(default, "factory", None) and not given):
                written[name] = msgspec.UNSET
        try:
            return msgspec.to_builtins(twin(**written))
        except (TypeError, ValueError) as error:
            raise Mismatch(str(error)) from error

    return make

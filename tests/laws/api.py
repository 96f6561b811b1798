"""The public names and how each is written: read by the snapshot and by docs/reference.py.

Public is what an `__init__.py` names in `__all__`.
"""

from __future__ import annotations

import dataclasses
import enum
import importlib
import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
FACES = {"Session": ["attributes", "id", "peer", "transport", "user", "user_name", "version"]}
"""Records of the broker that user code gets to see: only these of their attributes are public."""
PACKAGE = "stocksync_ws"


def public_packages() -> list[Any]:
    """The packages that have an `__all__`, the root first."""
    names = sorted(
        ".".join(file.parent.relative_to(ROOT).parts)
        for file in (ROOT / PACKAGE).rglob("__init__.py")
    )
    packages = [importlib.import_module(name) for name in names]
    return [package for package in packages if hasattr(package, "__all__")]


def describe(packages: list[Any]) -> str:
    """One line for each public name, signature, member and field."""
    lines: list[str] = []
    seen: dict[int, str] = {}
    for package in packages:
        lines += ["", f"# {package.__name__}"]
        for name in sorted(package.__all__):
            value = getattr(package, name)
            whole = f"{package.__name__}.{name}"
            if inspect.isclass(value) and id(value) in seen:
                lines.append(f"{name} = {seen[id(value)]}")
                continue
            seen[id(value)] = whole
            lines += _named(name, value)
    return "\n".join(lines[1:]) + "\n"


def _named(name: str, value: Any) -> Iterator[str]:
    if inspect.isclass(value):
        yield from _class(name, value)
    elif inspect.isfunction(value):
        yield function_line(name, value)
    else:
        shown = sorted(value) if isinstance(value, (set, frozenset)) else value
        yield f"{name}: {type(value).__name__} = {shown!r}"


def _class(name: str, cls: type) -> Iterator[str]:
    bases = [base.__name__ for base in cls.__bases__ if base is not object]
    yield f"class {name}({', '.join(bases)})" if bases else f"class {name}"
    if issubclass(cls, enum.Enum):
        yield from (f"    {member} = {value.value!r}" for member, value in _members(cls))
    if dataclasses.is_dataclass(cls):
        for field in dataclasses.fields(cls):
            default = "" if field.default is dataclasses.MISSING else f" = {field.default!r}"
            yield f"    {field.name}: {field.type}{default}"
    if getattr(cls, "_is_protocol", False):
        # What only type checkers know to be a property stands here as its annotation.
        known = inspect.get_annotations(cls)
        yield from (f"    {name}: {kind}" for name, kind in known.items())
    for attribute, value in sorted(own(cls).items()):
        yield from (f"    {line}" for line in _attribute(attribute, value))


def _members(cls: type[enum.Enum]) -> Iterator[tuple[str, enum.Enum]]:
    yield from cls.__members__.items()


def own(cls: type) -> dict[str, Any]:
    """What the class and its bases of ours define, without private names and members of enums."""
    found: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        if base.__module__.split(".")[0] == PACKAGE:
            found.update(vars(base))
    made = dataclasses.is_dataclass(cls) or issubclass(cls, enum.Enum)
    if made or getattr(cls, "_is_protocol", False):
        found.pop("__init__", None)  # the fields and members say it
    skipped = set(getattr(cls, "__members__", ()))
    if dataclasses.is_dataclass(cls):
        skipped |= {field.name for field in dataclasses.fields(cls)}
    public = {
        name: value
        for name, value in found.items()
        if name not in skipped and (name == "__init__" or not name.startswith("_"))
    }
    face = FACES.get(cls.__name__)
    return public if face is None else {name: public[name] for name in face if name in public}


def _attribute(name: str, value: Any) -> Iterator[str]:
    if isinstance(value, property):
        assert value.fget is not None
        yield f"{name} -> {_shown(inspect.signature(value.fget).return_annotation)}  # property"
    elif isinstance(value, (classmethod, staticmethod)):
        yield function_line(name, value.__func__) + f"  # {type(value).__name__}"
    elif inspect.isfunction(value):
        yield function_line(name, value)
    elif inspect.isdatadescriptor(value) or not callable(value):
        yield f"{name}  # attribute"


def function_line(name: str, function: Callable[..., Any]) -> str:
    texts, returns = parts(function)
    return f"{definition(function)} {name}({', '.join(texts)})" + (
        f" -> {returns}" if returns else ""
    )


def definition(function: Callable[..., Any]) -> str:
    return "async def" if inspect.iscoroutinefunction(function) else "def"


def parts(function: Callable[..., Any]) -> tuple[list[str], str]:
    """The parameters of a function, `*` among them, and its return annotation."""
    signature = inspect.signature(function)
    parameters = list(signature.parameters.values())
    texts = [_parameter(parameter) for parameter in parameters]
    kinds = [parameter.kind for parameter in parameters]
    if inspect.Parameter.KEYWORD_ONLY in kinds and inspect.Parameter.VAR_POSITIONAL not in kinds:
        texts.insert(kinds.index(inspect.Parameter.KEYWORD_ONLY), "*")
    return texts, _shown(signature.return_annotation)


def _parameter(parameter: inspect.Parameter) -> str:
    default = parameter.default
    if callable(default) and default is not inspect.Parameter.empty:
        parameter = parameter.replace(default=_Named(default.__name__))
    elif dataclasses.is_dataclass(default):
        parameter = parameter.replace(default=_Named(f"{type(default).__name__}(...)"))
    bare = str(parameter.replace(annotation=inspect.Parameter.empty))
    annotation = _shown(parameter.annotation)
    name, separator, text = bare.partition("=")
    if not annotation:
        return bare
    return f"{name}: {annotation}" + (f" = {text}" if separator else "")


class _Named:
    """Prints as its name: the `repr` of a function holds its address."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return self._name


def _shown(annotation: Any) -> str:
    if annotation is inspect.Parameter.empty:
        return ""
    return annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)

"""Templates with variables, and the router that finds the most specific one.

Rule: no pattern language. A segment of a template is a literal or one whole `{name}`, so matching
is a walk through dictionaries: no regular expression ever meets a path from the wire, and a path
costs the same whether there are three routes or three thousand. Where a literal and a variable both
fit, the literal wins, segment by segment from the left; when that branch ends nowhere, the walk
goes back to the variable. Two templates of one shape could never be told apart, so the second is
refused. Templates of rules know wildcards too: `*` is a variable without a name, and a last `**`
fits what nothing else does.

Paths here are without the application prefix: `/inventory/p1/adjust` for
`/app/inventory/p1/adjust`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Generic, TypeVar

from stocksync_ws.errors import ConfigurationError
from stocksync_ws.policies import has_surrogate

__all__ = ["Router", "Template"]

T = TypeVar("T")

_NOT_A_VALUE = frozenset(("", ".", ".."))
"""Segments that no destination may have (`docs/`: destination names), so no variable stands for
them.
"""


def _refuse(text: str, problem: str) -> ConfigurationError:
    return ConfigurationError(
        f"template {text!r}: {problem}; a template looks like '/inventory/{{product_id}}/adjust'"
    )


_FOREIGN = re.compile(r"<(?:\w+:)?(?P<tag>\w+)>|:(?P<colon>[A-Za-z_]\w*)")
"""Variables as Flask, Django and Express write them: `<int:room>`, `:room`."""


def _variable(text: str, segment: str, wildcards: bool) -> str | None:
    """The name in a `{name}` segment, none for `*`, None for a literal one."""
    if wildcards and segment == "*":
        return ""
    foreign = _FOREIGN.fullmatch(segment)
    if foreign is not None:
        name = foreign["tag"] or foreign["colon"]
        raise _refuse(text, f"{segment!r} is no variable here; write {{{name}}}")
    if "*" in segment:
        if wildcards:
            raise _refuse(
                text, f"in {segment!r} the wildcard is not the whole segment, or not last"
            )
        raise _refuse(text, f"{segment!r} is a wildcard, and mappings have none; use a {{name}}")
    if "{" not in segment and "}" not in segment:
        return None
    name = segment[1:-1]
    if segment[0] != "{" or segment[-1] != "}" or "{" in name or "}" in name:
        raise _refuse(text, f"in {segment!r} the variable is not the whole segment")
    if ":" in name:
        bare = name.partition(":")[0]
        raise _refuse(
            text, f"{segment!r} holds a pattern; use {{{bare}}} and give the parameter a type"
        )
    if not name.isidentifier():
        raise _refuse(text, f"{name!r} is no name a parameter can have")
    return name


class Template:
    """A path with variables, such as `/inventory/{product_id}/adjust`. Immutable.

    Args:
        text: The path.
        wildcards: A segment may be `*`, and the last one `**`, as in a pattern.

    Raises:
        ConfigurationError: It does not start with a slash, has an empty, `.` or `..` segment, a
            wildcard, a pattern, a lone surrogate, a variable that is not a whole segment, or one
            name twice.
    """

    __slots__ = ("_parts", "names", "rest", "text")

    def __init__(self, text: str, *, wildcards: bool = False) -> None:
        if not text.startswith("/"):
            raise _refuse(text, f"the leading slash is missing: write {'/' + text!r}")
        if has_surrogate(text):
            raise _refuse(text, "a lone surrogate is no character")
        segments = text.split("/")[1:]
        for segment in segments:
            if segment in _NOT_A_VALUE:
                wanted = "/" + "/".join(each for each in segments if each not in _NOT_A_VALUE)
                problem = f"a segment is {segment!r}" if segment else "empty segment"
                raise _refuse(text, f"{problem}: write {wanted!r}")
        self.rest = wildcards and segments[-1] == "**"
        """It fits whatever follows: it ends with `**`."""
        if self.rest:
            segments.pop()
        parts = tuple((segment, _variable(text, segment, wildcards)) for segment in segments)
        names = tuple(name for _, name in parts if name)
        for name in names:
            if names.count(name) > 1:
                raise _refuse(text, f"{{{name}}} stands in it twice")
        self.text = text
        """The template as it was written."""
        self.names = names
        """Its variables, from the left."""
        self._parts = parts

    def __repr__(self) -> str:
        return f"Template({self.text!r})"

    @property
    def parts(self) -> tuple[tuple[str, str | None], ...]:
        """Each segment with the name of its variable (none for `*`), None for a literal; without a
        last `**`.
        """
        return self._parts

    @property
    def pattern(self) -> str:
        """Its shape: the template without the names of its variables."""
        segments = ["*" if name is not None else literal for literal, name in self._parts]
        return "/" + "/".join(segments + ["**"] * self.rest)

    def match(self, path: str) -> dict[str, str] | None:
        """The values of the variables, or None when the path does not fit."""
        segments = path.split("/")
        more = len(segments) - 1 - len(self._parts)
        if segments[0] or more < 0 or (more and not self.rest):
            return None
        found: dict[str, str] = {}
        for segment, (literal, name) in zip(segments[1:], self._parts, strict=False):
            if name is None:
                if segment != literal:
                    return None
            elif segment in _NOT_A_VALUE:
                return None
            elif name:
                found[name] = segment
        return found

    def expand(self, variables: Mapping[str, str]) -> str:
        """The path with these values in place of the variables; further values are ignored.

        Raises:
            ValueError: A value is missing, or is not one segment (empty, `.`, `..`, or with a
                slash).
        """
        segments: list[str] = []
        for literal, name in self._parts:
            segment = literal
            if name is not None:
                if name not in variables:
                    raise ValueError(f"{self.text}: no value for {{{name}}}")
                segment = variables[name]
                if segment in _NOT_A_VALUE or "/" in segment:
                    raise ValueError(f"{self.text}: {{{name}}} cannot be {segment[:40]!a}")
            segments.append(segment)
        return "/" + "/".join(segments)


class _Leaf(Generic[T]):
    """What a route leads to."""

    __slots__ = ("label", "names", "text", "value")

    def __init__(self, template: Template, value: T, label: str) -> None:
        self.names = [name for _, name in template.parts if name is not None]
        self.text = template.text
        self.value = value
        self.label = label


class _Node(Generic[T]):
    """One place between two segments."""

    __slots__ = ("leaf", "literals", "rest", "variable")

    def __init__(self) -> None:
        self.literals: dict[str, _Node[T]] = {}
        self.variable: _Node[T] | None = None
        self.leaf: _Leaf[T] | None = None
        self.rest: _Leaf[T] | None = None
        """For whatever follows here: of a template that ends with `**`."""


class Router(Generic[T]):
    """Finds the value of the most specific template that fits a path."""

    __slots__ = ("_exact", "_root", "texts")

    def __init__(self) -> None:
        self._root: _Node[T] = _Node()
        self._exact: dict[str, _Leaf[T]] = {}
        self.texts: list[str] = []
        """The templates as they were written, in the order of `add`."""

    def add(self, template: Template, value: T, *, label: str) -> None:
        """Add a route.

        Args:
            template: The paths it is for.
            value: What `match` gives back.
            label: What an error calls it: the declaration.

        Raises:
            ConfigurationError: A template of the same shape is there already.
        """
        node = self._root
        for literal, name in template.parts:
            if name is None:
                node = node.literals.setdefault(literal, _Node())
            else:
                if node.variable is None:
                    node.variable = _Node()
                node = node.variable
        taken = node.rest if template.rest else node.leaf
        if taken is not None:
            raise ConfigurationError(
                f"ambiguous mapping: {template.text!r} of {label}\n"
                f"  fits the same paths as {taken.text!r} of {taken.label};\n"
                f"  change one of the two, or merge their functions"
            )
        leaf = _Leaf(template, value, label)
        self.texts.append(template.text)
        if template.rest:
            node.rest = leaf
            return
        node.leaf = leaf
        if not leaf.names:
            self._exact[template.text] = leaf

    def match(self, path: str) -> tuple[T, dict[str, str]] | None:
        """The value of the most specific template with the values of its variables, or None."""
        exact = self._exact.get(path)
        if exact is not None:
            return exact.value, {}
        segments = path.split("/")
        if segments[0]:
            return None
        values: list[str] = []
        leaf = _walk(self._root, segments, 1, values)
        if leaf is None:
            return None
        variables = dict(zip(leaf.names, values, strict=True))
        variables.pop("", None)
        return leaf.value, variables


def _walk(node: _Node[T], segments: list[str], at: int, values: list[str]) -> _Leaf[T] | None:
    """Literal first, then the variable, then what fits anything; a node is visited at most once,
    however often we turn back.

    The recursion is as deep as the longest template, not as the path.
    """
    if at == len(segments):
        return node.leaf or node.rest
    segment = segments[at]
    child = node.literals.get(segment)
    if child is not None:
        leaf = _walk(child, segments, at + 1, values)
        if leaf is not None:
            return leaf
    if node.variable is not None and segment not in _NOT_A_VALUE:
        values.append(segment)
        leaf = _walk(node.variable, segments, at + 1, values)
        if leaf is not None:
            return leaf
        values.pop()
    return node.rest

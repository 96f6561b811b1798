"""Variables of templates that nothing uses: a name that was misspelt, or forgotten.

Rule: judged when all declarations are known, since an exception handler may be what uses one. Who
takes the frame or all headers has the destination in it, and is asked for nothing more.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from types import NoneType
from typing import Annotated, Any, get_args, get_origin

from stocksync_ws.errors import ConfigurationError
from stocksync_ws.messaging.exchange import DestinationVariable
from stocksync_ws.messaging.hints import (
    members,
    nearest,
    plain,
    report,
    resolve,
    scope_of,
    signature_of,
)
from stocksync_ws.messaging.marks import (
    Authorization,
    Declaration,
    ExceptionMapping,
    Interceptor,
    Listener,
    MessageMapping,
)
from stocksync_ws.messaging.routing import Template
from stocksync_ws.stomp.frame import Frame

__all__ = ["check_variables", "renames"]


def check_variables(declarations: Iterable[Declaration]) -> None:
    """Refuse mappings with a variable that no parameter, reply or exception handler uses.

    Args:
        declarations: All of an application; their annotations resolve.

    Raises:
        ConfigurationError: There is one.
    """
    known = list(declarations)
    handlers = [each for each in known if isinstance(each.mapping, ExceptionMapping)]
    for declaration in known:
        mapping = declaration.mapping
        if isinstance(mapping, (Authorization, ExceptionMapping, Interceptor, Listener)):
            continue
        left = dict.fromkeys(Template(mapping.path).names)
        if not left or _takes_all(declaration) or _replies_to_path(declaration):
            continue
        users = [declaration, *(each for each in handlers if _maps(each, declaration))]
        used = {name for each in users for name in _asked_for(each.function, each.label)}
        used |= {
            name
            for each in users
            for reply in each.replies
            for destination in reply.destinations
            for name in Template(destination).names
        }
        unused = [name for name in left if name not in used]
        if unused:
            raise ConfigurationError(_text(declaration, unused[0]))


def renames(
    function: Callable[..., Any], label: str, names: Iterable[str], *left: str
) -> list[str]:
    """What to rename among parameters that nothing fills, where a variable waits for one.

    Args:
        function: The handler.
        label: What an error calls it.
        names: The variables of its template.
        left: The parameters that nothing fills.
    """
    try:
        used = set(_asked_for(function, label))
    except ConfigurationError:  # A name that does not exist yet.
        used = set(signature_of(function, label).parameters)
    unused = [name for name in names if name not in used]
    found = [(nearest(name, left), name) for name in unused]
    certain = [f"rename {near!r} to {name!r}" for near, name in found if near is not None]
    return certain or [
        f"if it is the variable {{{name}}}, which nothing uses, rename it {name!r}"
        for name in unused
    ]


def _text(declaration: Declaration, name: str) -> str:
    function, label = declaration.function, declaration.label
    taken = list(signature_of(function, label).parameters)
    problem = (
        f"nothing uses the variable {{{name}}}; its parameters are {', '.join(taken) or 'none'}:"
        f" add a parameter {name!r}, or write a literal segment in its place"
    )
    near = nearest(name, taken)
    fixes = [] if near is None else [f"rename {near!r} to {name!r}"]
    return report(function, label, problem, *fixes)


def _maps(handler: Declaration, declaration: Declaration) -> bool:
    """Whether an exception handler may be called for a mapping."""
    general = handler.owner is None or handler.advice_order is not None
    return general or handler.owner is declaration.owner


def _replies_to_path(declaration: Declaration) -> bool:
    """Whether a returned value goes to the path of the mapping itself, with its variables."""
    if declaration.replies:
        return any(not reply.destinations for reply in declaration.replies)
    returned = signature_of(declaration.function, declaration.label).return_annotation
    nothing = returned is None or returned is NoneType or returned == "None"
    return isinstance(declaration.mapping, MessageMapping) and not nothing


def _annotations(function: Callable[..., Any], label: str) -> Mapping[str, Any]:
    """Of each parameter, resolved."""
    scope = scope_of(function)
    parameters = signature_of(function, label).parameters
    return {
        name: None
        if each.annotation is inspect.Parameter.empty
        else resolve(each.annotation, scope)
        for name, each in parameters.items()
    }


def _takes_all(declaration: Declaration) -> bool:
    return any(
        name == "headers" or Frame in members(plain(annotation))
        for name, annotation in _annotations(declaration.function, declaration.label).items()
    )


def _asked_for(function: Callable[..., Any], label: str) -> Iterable[str]:
    """The variables that its parameters may stand for."""
    for name, annotation in _annotations(function, label).items():
        markers = get_args(annotation)[1:] if get_origin(annotation) is Annotated else ()
        for marker in markers:
            if isinstance(marker, DestinationVariable) and marker.name:
                yield marker.name
                break
        else:
            yield name

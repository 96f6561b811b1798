"""The page `reference.md`: every public name, from its docstring, where a reader looks for it.

Rule: a public name is named in one group of `GROUPS`, or by the `package.*` of one; what stands in
no group, or in two, is a mistake that `python docs/generate.py` names.
"""

from __future__ import annotations

import ast
import dataclasses
import enum
import importlib
import inspect
import re
import sys
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from stocksync_ws.policies import Overflow  # noqa: E402
from tests.laws.api import definition, own, parts, public_packages  # noqa: E402

PACKAGE = "stocksync_ws"
WIDTH = 96


@dataclass(frozen=True)
class Group:
    title: str
    text: str
    """What the names are for, with a link to the guide that explains them."""
    names: str
    """Below the package, in the order of the page; `testing.*` are those of a package that stand
    nowhere else."""


GROUPS = (
    Group(
        "Application",
        "One object for an endpoint, its handlers and its server: [tutorial](tutorial.md), "
        "[embedding](embedding/index.md).",
        "StompApp",
    ),
    Group(
        "Handlers",
        "Functions that answer SEND and SUBSCRIBE, and what their parameters ask for: "
        "[handlers](handlers.md).",
        "message_mapping subscribe_mapping snapshot send_to send_to_user message_exception_handler"
        " authorize event_listener controller controller_advice Payload Header DestinationVariable"
        " CurrentUser Session Frame",
    ),
    Group(
        "Users and sessions",
        "Who a session belongs to: [handlers](handlers.md#who-a-client-is), "
        "[security](security.md#who-somebody-is); who is connected: [users](users.md).",
        "Authenticated ConnectRequest HttpRequest Principal Users ConnectedUser SubscriptionInfo",
    ),
    Group(
        "Interceptors",
        "What sees frames, publications, deliveries and handshakes on their way: "
        "[interceptors](interceptors.md).",
        "inbound_interceptor outbound_interceptor delivery_filter handshake_interceptor"
        " OutboundMessage PublicationKind Refusal",
    ),
    Group(
        "Template",
        "Messages from anywhere in the application: [handlers](handlers.md#sending-from-anywhere).",
        "MessagingTemplate Published",
    ),
    Group(
        "Destinations",
        "What is kept of a destination, for `StompApp(destinations=...)`: [delivery](delivery.md).",
        "Topic Stream Latest Queue",
    ),
    Group(
        "Events",
        "What listeners hear: [handlers](handlers.md#events).",
        "SessionConnected SessionSubscribed SessionUnsubscribed SessionDisconnected"
        " DisconnectReason HandshakeRejected ConnectRejected FrameDenied SlowConsumer HeartBeatLost"
        " TransactionAborted DeadLetter MessageDropped PresenceJoined PresenceLeft"
        " BrokerAvailability BackplaneAvailability BackplaneReset",
    ),
    Group(
        "Who is there",
        "Who is subscribed to a destination: [presence](presence.md).",
        "Presence Member MemberSession",
    ),
    Group(
        "Errors",
        "Exceptions that the application meets or raises, and the codes that clients are told: "
        "[handlers](handlers.md#errors), [errors](errors.md).",
        "StockSyncError ConfigurationError ConversionError AccessDenied BadCredentials"
        " HandlerTimeout InterceptorFailed BrokerBusy BrokerClosed BackplaneUnavailable"
        " PublishUncertain IdempotencyMismatch WrongLoop ForkedBrokerError"
        " ErrorCode CloseCode",
    ),
    Group(
        "Settings and counters",
        "Bounds, what was counted, and which build runs: [limits](limits.md), "
        "[counters](counters.md), [performance](performance.md#compiled-wheels).",
        "Limits Rate SockJSOptions Counters compiled",
    ),
    Group(
        "Several workers",
        "An engine that orders what several workers publish: [scaling](scaling.md).",
        "Backplane BackplaneSettings",
    ),
    Group(
        "Redis",
        "Redis or Valkey behind several workers, with the extra `redis`: [redis](redis.md).",
        "redis.RedisBackplane redis.Publisher redis.AsyncPublisher",
    ),
    Group(
        "Hosting",
        "The server that `StompApp.listen` gives, and what it serves: "
        "[hosting](embedding/hosting.md).",
        "aio.Server wire.Site wire.Page",
    ),
    Group("Testing", "An application without a network: [testing](testing.md).", "testing.*"),
    Group(
        "STOMP frames",
        "For a client or a tool of one's own; no I/O: [protocol](protocol.md).",
        "stomp.*",
    ),
    Group(
        "Wires",
        "HTTP and WebSocket from bytes to bytes, for a server of one's own; no I/O: "
        "[architecture](contributing/architecture.md).",
        "wire.*",
    ),
)
TABLES = {
    "Limits": "limits.md#limits",
    "SockJSOptions": "limits.md#sockjs",
    "Counters": "counters.md",
    "Topic": "limits.md#one-destination",
    "Stream": "limits.md#one-destination",
    "Latest": "limits.md#one-destination",
    "Queue": "limits.md#one-destination",
    "ErrorCode": "errors.md",
    "CloseCode": "errors.md#close-codes",
    "DisconnectReason": "errors.md#reasons-of-a-disconnect",
}
"""Where the fields or members stand that have a table on another page."""

PAGE = """\
# API reference

{made}

Every public name, with its docstring. Names without a prefix are imported from `stocksync_ws`,
those with one from the package that it names: `from stocksync_ws.testing import World`. Whatever
is not on this page may change at any time ([changelog](../CHANGELOG.md)).

| part | names |
|---|---|
{contents}

{groups}
"""


def reference_page(made: str) -> str:
    public = public_names()
    placed, anchors = places(public), all_anchors(public)
    return PAGE.format(
        made=made,
        contents="\n".join(f"| {group.title} | {links(names)} |" for group, names in placed),
        groups="\n\n".join(group_text(group, names, anchors) for group, names in placed),
    )


def public_names() -> dict[str, Any]:
    """Every public object once, by its shortest name below the package."""
    found: dict[str, Any] = {}
    for package in public_packages():
        prefix = package.__name__.removeprefix(PACKAGE).removeprefix(".")
        for name in package.__all__:
            value = getattr(package, name)
            again = inspect.isclass(value) and any(value is each for each in found.values())
            if not again:
                found[f"{prefix}.{name}" if prefix else name] = value
    return found


def places(public: dict[str, Any]) -> list[tuple[Group, dict[str, Any]]]:
    """The names of each group; ValueError when one stands nowhere, twice, or is none."""
    named = [name for group in GROUPS for name in group.names.split() if not name.endswith(".*")]
    wrong = {name for name in named if name not in public or named.count(name) > 1}
    placed = []
    for group in GROUPS:
        names: list[str] = []
        for name in group.names.split():
            package = name.removesuffix("*")
            rest = (n for n in sorted(public) if n.startswith(package) and n not in named)
            names += rest if package != name else [name]
        placed.append((group, {name: public[name] for name in names if name in public}))
    wrong |= set(public) - {name for _, names in placed for name in names}
    if wrong:
        raise ValueError(f"GROUPS of docs/reference.py: in none or in two, or not public: {wrong}")
    return placed


def links(names: dict[str, Any]) -> str:
    return ", ".join(f"[`{name}`](#{anchor(name)})" for name in names)


def anchor(name: str) -> str:
    return name.lower().replace(".", "")


def group_text(group: Group, names: dict[str, Any], anchors: dict[str, str]) -> str:
    texts = [group.text]
    for name, value in names.items():
        heading, *rest = entry(name, value)
        own_members = {
            n.removeprefix(f"{name}."): a for n, a in anchors.items() if n.startswith(f"{name}.")
        }
        texts += [heading, *(linked(text, name, anchors | own_members) for text in rest)]
    return f"## {group.title}\n\n" + "\n\n".join(texts)


def all_anchors(public: dict[str, Any]) -> dict[str, str]:
    """The anchor of every name, and of every method and property behind the name of its class."""
    found = {name: anchor(name) for name in public}
    for name, value in public.items():
        if inspect.isclass(value):
            members = (each for each, kind in own(value).items() if not plain(kind))
            found |= {f"{name}.{each}": anchor(f"{name}.{each}") for each in members}
    return found


def linked(text: str, name: str, anchors: dict[str, str]) -> str:
    """A text of the entry of `name`, with links where its code is a name; no signature has any."""
    if text.startswith(("```", "#")):
        return text
    known = anchors.keys() - {name}
    return re.sub(
        r"(?<!\[)`([\w.]+)`(?!\])(?!: )",
        lambda m: f"[{m[0]}](#{anchors[m[1]]})" if m[1] in known else m[0],
        text,
    )


def entry(name: str, value: Any) -> Iterator[str]:
    yield f"### {name}"
    if inspect.isclass(value):
        yield from class_entry(name, value)
    elif inspect.isfunction(value):
        yield signature(name.rpartition(".")[2], value)
        yield from prose(inspect.getdoc(value) or "")
    else:
        yield from prose(text_below(name))
        if isinstance(value, (bytes, str, tuple, frozenset)):
            shown = sorted(value) if isinstance(value, frozenset) else value
            yield f"Value: `{shown!r}`"


def class_entry(name: str, cls: type) -> Iterator[str]:
    short, public = cls.__name__, own(cls)
    bases = [base.__name__ for base in cls.__bases__ if not base.__name__.startswith(("_", "obj"))]
    if "__init__" in public and inspect.isfunction(public["__init__"]):
        yield signature(short, public["__init__"], keyword="class")
    elif bases and dataclasses.is_dataclass(cls):
        made = signature(short, cls.__init__, keyword="class")
        yield made.replace("Overflow", str(Overflow).removeprefix("typing."))  # not public
    elif bases:
        yield f"```pyi\nclass {short}({', '.join(bases)})\n```"
    yield from prose(inspect.cleandoc(cls.__doc__ or ""))
    yield from fields_of(cls)
    lines = [f"* `{attribute}`" for attribute, value in public.items() if plain(value)]
    if lines:
        yield "Attributes:\n\n" + "\n".join(sorted(lines))
    for attribute, value in sorted(public.items()):
        if attribute != "__init__":
            yield from member(f"{name}.{attribute}", value)


def plain(value: object) -> bool:
    """An attribute of which the class says no more than its name."""
    described = isinstance(value, (property, classmethod, staticmethod))
    return not described and (inspect.isdatadescriptor(value) or not callable(value))


def member(name: str, value: Any) -> Iterator[str]:
    """A property or a method."""
    short = name.rpartition(".")[2]
    if isinstance(value, property):
        assert value.fget is not None
        kind = inspect.signature(value.fget).return_annotation
        yield f"#### {name}"
        yield f"```pyi\n{short}: {kind}\n```"
        yield from prose(inspect.getdoc(value) or "")
        return
    function = getattr(value, "__func__", value)
    if inspect.isfunction(function):
        yield f"#### {name}"
        yield signature(short, function)
        yield from prose(inspect.getdoc(function) or "")


def fields_of(cls: type) -> Iterator[str]:
    """The fields of a dataclass or Protocol, the members of an Enum; or where they stand."""
    if cls.__name__ in TABLES:
        page = TABLES[cls.__name__]
        kind = "member" if issubclass(cls, enum.Enum) else "field"
        yield f"Each {kind} stands in [{page.partition('#')[0]}]({page})."
    elif issubclass(cls, enum.Enum):
        rows = [f"| `{key}` | `{each.value!r}` |" for key, each in cls.__members__.items()]
        yield "| member | value |\n|---|---|\n" + "\n".join(rows)
    elif dataclasses.is_dataclass(cls):
        texts = texts_of_fields(cls)
        rows = [
            f"| `{field.name}` | {code(str(field.type))} | {default(field)} |"
            f" {texts.get(field.name, '').replace('|', chr(92) + '|')} |"
            for field in dataclasses.fields(cls)
        ]
        if rows:
            yield "| field | type | default | |\n|---|---|---|---|\n" + "\n".join(rows)


def texts_below(cls: Any) -> dict[str, str]:
    """The text below each field of a dataclass, or member of an Enum, that has one."""
    tree = ast.parse(inspect.getsource(cls)).body[0]
    assert isinstance(tree, ast.ClassDef)
    texts: dict[str, str] = {}
    for node, after in pairwise(tree.body):
        if isinstance(node, (ast.Assign, ast.AnnAssign)) and isinstance(after, ast.Expr):
            assert isinstance(after.value, ast.Constant)
            target = node.target if isinstance(node, ast.AnnAssign) else node.targets[0]
            texts[ast.unparse(target)] = " ".join(str(after.value.value).split())
    return texts


def texts_of_fields(cls: type) -> dict[str, str]:
    """The texts below the fields of a dataclass and of its bases of ours."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if base.__module__.split(".")[0] == PACKAGE:
            found |= texts_below(base)
    return found


def code(text: str) -> str:
    return f"`{text}`".replace("|", "\\|")


def default(field: dataclasses.Field[Any]) -> str:
    if field.default is not dataclasses.MISSING:
        return code(repr(field.default))
    return "" if field.default_factory is dataclasses.MISSING else "made when missing"


def signature(name: str, function: Callable[..., Any], keyword: str = "") -> str:
    """A function as a reader calls it, on one line or with a line for each parameter."""
    texts, returns = parts(function)
    texts = [text for text in texts if text not in ("self", "cls")]
    end = f" -> {returns}" if returns and keyword != "class" else ""
    head = f"{keyword or definition(function)} {name}("
    whole = f"{head}{', '.join(texts)}){end}"
    if len(whole) > WIDTH:
        whole = f"{head}\n" + "".join(f"    {text},\n" for text in texts) + f"){end}"
    return f"```pyi\n{whole}\n```"


SECTION = re.compile(r"^([A-Z][a-z ]+):\n((?: {4}.*(?:\n|\Z))(?:(?: {4}.*)?\n?)*)", re.MULTILINE)
"""Its title, and entries that follow without a blank line; code follows behind one."""


def prose(text: str) -> Iterator[str]:
    """A docstring in Markdown: its sections become lists, its code stays indented."""
    last = 0
    for found in SECTION.finditer(text):
        yield from filter(None, [text[last : found.start()].strip("\n")])
        yield f"{found[1].replace('Args', 'Arguments')}:\n\n" + "\n".join(
            items_of(found[1], found[2])
        )
        last = found.end()
    yield from filter(None, [text[last:].strip("\n")])


def items_of(section: str, text: str) -> Iterator[str]:
    """The entries of a section of a docstring, as lines of a list."""
    # Not `cleandoc`, for which the first line has no margin: an entry alone would end at its first.
    lines = textwrap.dedent(text).strip("\n")
    if section in ("Returns", "Yields"):
        yield f"* {' '.join(lines.split())}"
        return
    for part in re.split(r"\n(?! )", lines):
        name, _, meaning = part.partition(":")
        yield f"* `{name}`: {' '.join(meaning.split())}"


def text_below(name: str) -> str:
    """The text below a constant, in the module that its package imports it from."""
    package, _, short = name.rpartition(".")
    whole = ".".join(filter(None, (PACKAGE, package)))
    file = importlib.import_module(whole).__file__
    assert file is not None
    for node in ast.parse(Path(file).read_text()).body:
        if isinstance(node, ast.ImportFrom) and any(each.name == short for each in node.names):
            return text_in(str(node.module), short)
    return text_in(whole, short)


def text_in(module: str, name: str) -> str:
    body = ast.parse(inspect.getsource(importlib.import_module(module))).body
    for node, after in pairwise(body):
        if not isinstance(node, (ast.Assign, ast.AnnAssign)):
            continue
        target = node.target if isinstance(node, ast.AnnAssign) else node.targets[0]
        if ast.unparse(target) == name and isinstance(after, ast.Expr):
            assert isinstance(after.value, ast.Constant)
            return inspect.cleandoc(str(after.value.value))
    return ""

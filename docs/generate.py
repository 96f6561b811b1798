"""Writes the catalogues `errors.md`, `counters.md`, `limits.md`, `sessions.md` and `reference.md`.

python docs/generate.py            writes them
python docs/generate.py --check    exit code 1 when one of them is stale
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from reference import reference_page, texts_below  # noqa: E402

from stocksync_ws import errors  # noqa: E402
from stocksync_ws.broker.model.state import State  # noqa: E402
from stocksync_ws.broker.sessions.ends import ENDS, Cause, Effect, End  # noqa: E402
from stocksync_ws.codes import CloseCode, DisconnectReason, ErrorCode  # noqa: E402
from stocksync_ws.config import (  # noqa: E402
    BrokerConfig,
    EndpointConfig,
    Limits,
    SockJSOptions,
)
from stocksync_ws.counters import Counters  # noqa: E402
from stocksync_ws.policies import (  # noqa: E402
    Latest,
    Policy,
    PushedPolicy,
    Queue,
    Stream,
    Topic,
    TopicPolicy,
)

MADE = "<!-- Made by docs/generate.py from {source}; edit that instead. -->"


@dataclass(frozen=True)
class Item:
    """A field of a class: its name, default and the text below it."""

    name: str
    default: str
    text: str


def items(cls: Any) -> Iterator[Item]:
    """The fields of a dataclass, in order."""
    texts = texts_below(cls)
    for field in fields(cls):
        if field.default is not MISSING:
            default = number(field.default)
        else:
            default = "made when missing" if field.default_factory is not MISSING else "required"
        yield Item(field.name, default, texts.get(field.name, ""))


def number(value: object) -> str:
    """A default as a reader likes it."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 10_000:
        for unit, size in (("MiB", 1 << 20), ("KiB", 1 << 10)):
            if value % size == 0:
                return f"`{value}` ({value // size} {unit})"
    return f"`{value!r}`"


def cell(text: str) -> str:
    return text.replace("|", "\\|")


def sources() -> str:
    """All of the package but the module that declares the codes."""
    package = ROOT / "stocksync_ws"
    files = [file for file in sorted(package.rglob("*.py")) if file != package / "codes.py"]
    return "\n".join(file.read_text() for file in files)


ERRORS = """\
# Errors

{made}

What an ERROR frame may say. `code` and `message` are headers, the sentence begins the body; all of
it is fixed text. Behind it the body may name a header, or a limit with its value and what came:
`Limits.max_header_line=8192, got 9130`. After ERROR the connection is closed with the close code.

Errors of the application (`bad-payload`, `send-denied`, `subscribe-denied`, `no-destination`,
`no-handler`, `rate-limited`, `handler-failed`, `handler-timeout`) are told by a MESSAGE instead to
a session that is subscribed to the error destination, and that session lives on: see
[protocol.md](protocol.md#errors).

| code | message | body | close | whose fault | reason of the disconnect |
|---|---|---|---|---|---|
{codes}
{later}
## Close codes

After a code marked yes, and after 1005 and 1006, a client should connect again; after the others it
should not, because the same would happen again.

| close code | name | connect again |
|---|---|---|
{close_codes}

## Reasons of a disconnect

`SessionDisconnected.reason` is one of: {reasons}. Reserved for features that are not built yet:
{later_reasons}.

## Exceptions

What an application may meet stands in `stocksync_ws`; the errors of the protocol, which are
answered to clients, stand in `stocksync_ws.errors`.

```text
{tree}
```
"""


def errors_page() -> str:
    used = set(re.findall(r"\bErrorCode\.([A-Z0-9_]+)\b", sources()))
    reasons = set(re.findall(r"\bDisconnectReason\.([A-Z_]+)\b", sources()))
    reasons |= {code.reason.name for code in ErrorCode}
    tree = inspect.cleandoc("\n" + (errors.__doc__ or "").split("\n\n")[2])
    return ERRORS.format(
        made=MADE.format(source="stocksync_ws/codes.py"),
        codes="\n".join(code_row(code) for code in ErrorCode if code.name in used),
        later=reserved(code.code for code in ErrorCode if code.name not in used),
        close_codes="\n".join(close_row(code) for code in CloseCode),
        reasons=listed(reason.value for reason in DisconnectReason if reason.name in reasons),
        later_reasons=listed(r.value for r in DisconnectReason if r.name not in reasons),
        tree=tree,
    )


def code_row(code: ErrorCode) -> str:
    return (
        f"| `{code.code}` | {cell(code.message)} | {cell(code.sentence)} | {code.close.value} |"
        f" {code.fault.value} | `{code.reason.value}` |"
    )


def close_row(code: CloseCode) -> str:
    again = code in (1001, 1011, 1012, 1013) or 4000 <= code < 4500
    return f"| {code.value} | `{code.name}` | {'yes' if again else 'no'} |"


def reserved(codes: Iterable[str]) -> str:
    """The codes that nothing sends yet; no sentence when there are none."""
    found = listed(codes)
    return (
        f"\nReserved for features that are not built yet, and never sent: {found}.\n"
        if found
        else ""
    )


def listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


COUNTERS = """\
# Counters

{made}

`StompApp.counters` holds the totals of the present run, or of the last one.

{counters}
"""


def counters_page() -> str:
    made = MADE.format(source="stocksync_ws/counters.py")
    rows = [f"| `{item.name}` | {cell(item.text)} |" for item in items(Counters)]
    lines = ["| counter | what it counts |", "|---|---|", *rows]
    return COUNTERS.format(made=made, counters="\n".join(lines))


LIMITS = """\
# Settings and limits

{made}

Everything here is given to `StompApp`: the path first, `limits=Limits(...)`, and the others by
their names. A wrong value is a `ConfigurationError` that names the setting. Nothing is read from
the environment.

## Limits

`Limits(max_message_size=1_048_576, connect_timeout=5)`: seconds, bytes and counts.

{limits}

## Destinations and liveness

Patterns are destinations in which a segment `*` stands for one segment and a last `**` for any
number of them.

{broker}

### One destination

`destinations={{"/topic/prices/**": Stream(history=1_000)}}`. A `Topic` keeps nothing, a `Stream` a
history, a `Latest` the newest message of each key; a `Queue` stands below a queue prefix, and
nothing else does.

{policies}

## The endpoint

{endpoint}

## SockJS

`sockjs=True`, or `sockjs=SockJSOptions(...)`; see [sockjs.md](sockjs.md).

{sockjs}
"""


def limits_page() -> str:
    return LIMITS.format(
        made=MADE.format(source="stocksync_ws/config.py"),
        limits="\n".join(table(Limits)),
        broker="\n".join(table(BrokerConfig, leave_out=("limits",))),
        policies="\n".join(policies_table()),
        endpoint="\n".join(table(EndpointConfig)),
        sockjs="\n".join(table(SockJSOptions)),
    )


def policies_table() -> Iterator[str]:
    """The fields of all kinds of destinations, each once, with the kinds that have it."""
    kinds: tuple[Any, ...] = (Topic, Stream, Latest, Queue)
    bases: tuple[Any, ...] = (Policy, TopicPolicy, PushedPolicy, *kinds)
    texts = {name: text for base in bases for name, text in texts_below(base).items()}
    yield "| setting | of | default | meaning |"
    yield "|---|---|---|---|"
    for name, text in texts.items():
        values = {k.__name__: number(getattr(k, name)) for k in kinds if hasattr(k, name)}
        default = next(iter(values.values()))
        if len(set(values.values())) > 1:
            default = ", ".join(f"{value} ({kind})" for kind, value in values.items())
        yield f"| `{name}` | {', '.join(values)} | {default} | {cell(text)} |"


def table(cls: Any, leave_out: tuple[str, ...] = ()) -> Iterator[str]:
    yield "| setting | default | meaning |"
    yield "|---|---|---|"
    for item in items(cls):
        if item.name not in leave_out:
            assert item.text, f"{item.name} has no text"
            yield f"| `{item.name}` | {item.default} | {cell(item.text)} |"


SESSIONS = """\
# How a session ends

{made}

A session begins as OPENING, while its handshake is decided. An accepted one is AWAITING its CONNECT
or STOMP frame, and CONNECTED when that was granted. It ends by a row of the table below and in no
other way. What has no row does nothing: a session that is closing is not closed again, one that is
CLOSED is not lost. `SessionDisconnected` is told once for a session that was CONNECTED, and never
for another one. CLOSING and ENDING last no longer than their deadlines: `close_timeout` (see
[limits.md](limits.md)), and 5 s.

```text
{diagram}
```

## The table

Effects are done in this order, within one step.

| state | cause | next state | effects, in order |
|---|---|---|---|
{ends}

## Causes

| cause | what it means |
|---|---|
{causes}

## Effects

| effect | what is done |
|---|---|
{effects}
"""
BEGINNING = f"{State.OPENING.name} --accepted--> {State.AWAITING.name} --CONNECT--> " + (
    State.CONNECTED.name
)
"""The two steps that are no end, and so in no row."""


def sessions_page() -> str:
    return SESSIONS.format(
        made=MADE.format(source="stocksync_ws/broker/sessions/ends.py"),
        diagram="\n".join((BEGINNING, "", *arrows())),
        ends="\n".join(end_row(state, cause, end) for (state, cause), end in ENDS.items()),
        causes="\n".join(word_rows(Cause)),
        effects="\n".join(word_rows(Effect)),
    )


def arrows() -> Iterator[str]:
    """A line for each row of the table: from where, why, and whereto."""
    wide = max(len(state.name) for state in State)
    long = max(len(cause.value) for cause in Cause)
    last = None
    for (state, cause), end in ENDS.items():
        if last is not None and last is not state:
            yield ""
        name = "" if last is state else state.name
        why = f"{cause.value} ".ljust(long + 1, "-")
        yield f"{name:{wide}} +-- {why}--> {end.state.name}"
        last = state


def end_row(state: State, cause: Cause, end: End) -> str:
    done = ", ".join(effect.value for effect in end.effects)
    return f"| {state.name} | {cell(cause.value)} | {end.state.name} | {cell(done)} |"


def word_rows(kind: type[Cause] | type[Effect]) -> Iterator[str]:
    """What each word of the table means."""
    texts = texts_below(kind)
    for each in kind:
        assert each.name in texts, f"{each.name} has no text"
        yield f"| {cell(each.value)} | {cell(texts[each.name])} |"


def reference() -> str:
    return reference_page(MADE.format(source="the docstrings"))


PAGES = {
    "errors.md": errors_page,
    "counters.md": counters_page,
    "limits.md": limits_page,
    "sessions.md": sessions_page,
    "reference.md": reference,
}


def main(arguments: list[str]) -> int:
    stale = []
    for name, make in PAGES.items():
        file, text = Path(__file__).with_name(name), make()
        if file.exists() and file.read_text() == text:
            continue
        stale.append(name)
        if "--check" not in arguments:
            file.write_text(text)
    if stale and "--check" in arguments:
        sys.stderr.write(f"stale: {', '.join(stale)}; run python docs/generate.py\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

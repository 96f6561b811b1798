"""The agreement of the workers that share an engine, as a text.

Rule: everything that decides where a message goes and what is kept of it, and nothing else: of two
workers that differ in it, one would drop what the other promises.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, cast

from stocksync_ws.config import BrokerConfig, Limits
from stocksync_ws.policies import DestinationPolicy, Latest, Queue, Stream, Topic

__all__ = ["agreement_of", "config_of", "differences", "repair_of"]

FORMAT = 1
"""The version of messages in an engine; it rises when they are written in another way."""
PREFIXES = ("application_prefixes", "broker_prefixes", "queue_prefixes")
TEXTS = ("user_prefix", "presence_prefix")

_KINDS: dict[str, type[DestinationPolicy]] = {
    "topic": Topic,
    "stream": Stream,
    "latest": Latest,
    "queue": Queue,
}


def agreement_of(config: BrokerConfig) -> str:
    """The settings that other workers must have as this one has them, as JSON."""
    destinations: list[object] = []
    for pattern, policy in config.destinations.items():
        kind = next(name for name, cls in _KINDS.items() if isinstance(policy, cls))
        destinations.append([pattern, kind, asdict(policy)])
    engine = config.backplane
    facts: dict[str, object] = {
        "format": FORMAT,
        **{name: getattr(config, name) for name in (*PREFIXES, *TEXTS)},
        "max_keys": config.limits.max_keys,
        "destinations": destinations,
    }
    if engine is not None:
        facts["repair"] = engine.config.repair_messages, engine.config.repair_seconds
    return json.dumps(facts, separators=(",", ":"))


def differences(ours: str, theirs: str) -> str:
    """The differences between two workers, for the person who mends them; empty: none."""
    one, other = _read(ours), _read(theirs)
    if other is None:
        return "what the others have cannot be read: another version of stocksync-ws has written it"
    assert one is not None
    found = [
        f"{name}: here {one.get(name)!r}, there {other.get(name)!r}"
        for name in dict.fromkeys([*one, *other])
        if name != "destinations" and one.get(name) != other.get(name)
    ]
    here, there = _policies(one), _policies(other)
    for pattern in dict.fromkeys([*here, *there]):
        one_of, other_of = here.get(pattern), there.get(pattern)
        if one_of != other_of:
            ours, theirs = _shown(one_of, other_of), _shown(other_of, one_of)
            found.append(f"destinations[{pattern!r}]: here {ours}, there {theirs}")
    if not found and list(here) != list(there):
        found.append("destinations: the patterns stand in another order, and the first counts")
    return "; ".join(found)


def config_of(text: str, **more: Any) -> BrokerConfig:
    """Settings of an application that is not here, from what its workers agree about.

    Args:
        text: A text that `agreement_of` has written.
        more: Settings beside it.

    Raises:
        ValueError: Another version has written it.
    """
    facts = _read(text)
    if facts is None or facts.get("format") != FORMAT:
        raise ValueError("what the workers agree about was written by another version")
    destinations: dict[str, DestinationPolicy] = {}
    for pattern, kind, given in facts["destinations"]:
        fields: dict[str, Any] = {**given, "retry": tuple(given["retry"])}
        destinations[pattern] = _KINDS[kind](**fields)
    settings: dict[str, Any] = {name: tuple(facts[name]) for name in PREFIXES}
    settings |= {name: facts[name] for name in TEXTS}
    limits = Limits(max_keys=facts["max_keys"])
    return BrokerConfig(**settings, destinations=destinations, limits=limits, **more)


def repair_of(text: str) -> dict[str, Any]:
    """The fields of `BackplaneSettings` that the workers agree about."""
    facts = _read(text) or {}
    messages, seconds = facts.get("repair", (None, None))
    found = {"repair_messages": messages, "repair_seconds": seconds}
    return {name: value for name, value in found.items() if value is not None}


def _read(text: str) -> dict[str, Any] | None:
    try:
        found = cast("object", json.loads(text))
    except ValueError:
        return None
    if not isinstance(found, dict) or "destinations" not in found:
        return None
    return cast("dict[str, Any]", found)


def _policies(facts: Mapping[str, Any]) -> dict[str, tuple[str, dict[str, Any]]]:
    return {pattern: (kind, fields) for pattern, kind, fields in facts["destinations"]}


def _shown(
    policy: tuple[str, dict[str, Any]] | None, other: tuple[str, dict[str, Any]] | None
) -> str:
    """A policy, with the fields in which it differs from another one of its kind."""
    if policy is None:
        return "none"
    kind, fields = policy
    listed = ""
    if other is not None and other[0] == kind:
        changed = {name: each for name, each in fields.items() if other[1].get(name) != each}
        listed = ", ".join(f"{name}={value!r}" for name, value in changed.items())
    return f"{kind.capitalize()}({listed})"

"""The channels of an engine: which one a destination has, and what the engine keeps of it.

Rule: pure. Every worker and every publisher must come to the same answers.
"""

from __future__ import annotations

from stocksync_ws.backplane import BackplaneSettings, Keep
from stocksync_ws.broker.model.destination import Address
from stocksync_ws.broker.model.namespace import is_reply_queue, worker_of
from stocksync_ws.broker.model.publication import find_header
from stocksync_ws.policies import Latest, Policy, Stream

__all__ = ["channel_of", "channel_of_worker", "destination_in", "keep_of"]

FOR_EVER = 1e12
"""Seconds."""


def channel_of_worker(name: str) -> str:
    """The channel that one worker alone follows."""
    return f"worker:{name}"


def channel_of(address: Address) -> str:
    """The channel of a destination. That of a user begins with the length of the name, since a name
    may hold anything; that of a reply queue is the one of its worker.
    """
    if isinstance(address, str):
        if is_reply_queue(address):
            return channel_of_worker(worker_of(address))
        return address
    name, path = address
    return f"user:{len(name)}:{name}{path}"


def destination_in(address: Address) -> str:
    """The destination that a message itself has to say; empty: its channel says it."""
    return address if isinstance(address, str) and is_reply_queue(address) else ""


def keep_of(
    policy: Policy,
    headers: tuple[tuple[str, str], ...],
    destination: str,
    settings: BackplaneSettings,
    max_keys: int,
) -> Keep:
    """The part of a channel that the engine keeps: its history, and enough to repair a gap.

    Args:
        policy: Of the destination.
        headers: Of the message.
        destination: As its receivers see it.
        settings: Of the engine.
        max_keys: `Limits.max_keys`.
    """
    least, seconds = settings.repair_messages, settings.repair_seconds
    if isinstance(policy, Stream):
        return Keep(max(policy.history, least), max(policy.seconds, seconds))
    if isinstance(policy, Latest):
        return Keep(max_keys, FOR_EVER, find_header(headers, policy.key) or destination)
    return Keep(least, seconds)

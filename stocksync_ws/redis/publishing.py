"""The appends of a process that serves nothing: they are made without an application, and answered.

Rule: no I/O and no clock of its own. What must be known of the application, the prefixes and what
is kept of each destination, its workers have left in Redis; where none has ever run, it is the
default.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import NoReturn, cast

from stocksync_ws.agreement import config_of, repair_of
from stocksync_ws.backplane import Append, Appended, AppendOutcome, BackplaneSettings, Item
from stocksync_ws.broker.model.channels import channel_of, destination_in, keep_of
from stocksync_ws.broker.model.destination import address_of
from stocksync_ws.broker.model.namespace import Namespace
from stocksync_ws.broker.model.payload import Payloads
from stocksync_ws.broker.model.policy_table import PolicyTable
from stocksync_ws.broker.model.publication import Draft, PublicationKind, Published
from stocksync_ws.config import BrokerConfig
from stocksync_ws.errors import (
    BackplaneUnavailable,
    ConfigurationError,
    IdempotencyMismatch,
    PublishUncertain,
)
from stocksync_ws.messaging.drafts import Drafts
from stocksync_ws.position import Position
from stocksync_ws.redis.connections import unguessable

__all__ = ["Publishing"]

_log = logging.getLogger("stocksync_ws.redis")

REREAD = 60.0
"""Seconds after which what the workers have left is read again."""
SOON = 1.0
"""The same, while they have left nothing."""
MOST_SEEN = 1_000
"""Channels whose last position is remembered."""
NOT_THERE = "nothing was sent, since Redis was not ready within {:g} s"
NOT_ANSWERED = "Redis has not answered within {:g} s; it may have been published"


class _Engine:
    """The mark of an application that has an engine: nobody opens it here."""

    config = BackplaneSettings()

    def open(self, worker: str, agreement: str, receive: object) -> NoReturn:
        raise NotImplementedError("a publisher serves nothing")

    def partition(self, channel: str) -> int:
        return 0


class Publishing:
    """The messages of one publisher, in its order.

    Args:
        prefix: Of the workers.
        wall: The time in seconds since the epoch.
    """

    def __init__(self, prefix: str, wall: Callable[[], float]) -> None:
        self._prefix = prefix
        self._wall = wall
        self.name = unguessable(128)
        self._number = 0
        self._payloads = Payloads()
        self._warned = False
        self._seen: OrderedDict[str, Position] = OrderedDict()
        self._text: bytes | None = b""
        self._take(BrokerConfig(backplane=_Engine()), BackplaneSettings())

    def _take(self, config: BrokerConfig, settings: BackplaneSettings) -> None:
        self._config = config
        self._settings = settings
        self._drafts = Drafts(config)
        self._policies = PolicyTable(config, Namespace(config))

    def is_due(self, now: float, read_at: float) -> bool:
        """Whether what the workers have left is to be read again: soon, where there was nothing."""
        return now - read_at >= (REREAD if self._text else SOON)

    def learn(self, text: bytes | None) -> None:
        """Take what the workers have left; None: nothing.

        Raises:
            ConfigurationError: Workers of another version have left it.
        """
        if text == self._text:
            return
        if text is None:
            if not self._warned:
                self._warned = True
                _log.warning(
                    "Redis knows of no worker under the prefix %r, and nobody is told of what is"
                    " published there: none has run yet, or Redis has lost what it had, or the"
                    " application has another prefix",
                    self._prefix,
                )
            return
        try:
            agreed = text.decode()
            settings = BackplaneSettings(**repair_of(agreed))
            self._take(config_of(agreed, backplane=_Engine()), settings)
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigurationError(
                f"what the workers under the prefix {self._prefix!r} have left for"
                f" publishers cannot be read: {error}; use one version of stocksync-ws"
            ) from error
        self._text = text

    # What is sent

    def to(self, destination: str, payload: object, headers: Mapping[str, str] | None) -> Draft:
        """A payload to a destination."""
        return self._drafts.to(destination, payload, headers)

    def octets(self, destination: str, body: bytes, headers: Mapping[str, str] | None) -> Draft:
        """Octets to a destination."""
        return self._drafts.octets(destination, body, headers)

    def to_user(
        self, user: str, destination: str, payload: object, headers: Mapping[str, str] | None
    ) -> Draft:
        """A payload to all sessions of a user."""
        return self._drafts.to_user(user, destination, payload, headers)

    def append(self, draft: Draft, key: str) -> Append:
        """A draft as the next append.

        Raises:
            ValueError: The key is none.
        """
        if not isinstance(cast("object", key), str) or len(key) > self._config.limits.max_id:
            raise ValueError(
                f"idempotency_key must be a text such as f'order-{{order.id}}', of at most"
                f" {self._config.limits.max_id} characters, not {key!r}"
            )
        self._number += 1
        address = address_of(draft.target)
        named = address if isinstance(address, str) else self._config.user_prefix + address[1]
        most = self._config.limits.max_keys
        keep = keep_of(self._policies.of(address), draft.headers, named, self._settings, most)
        channel = channel_of(address)
        kind, to = PublicationKind.MESSAGE, destination_in(address)
        payload = self._payloads.pack(draft, kind, self._wall(), to)
        item = Item(channel, payload, keep, self._seen.get(channel))
        digest = sha256(draft.body).hexdigest() if key else ""
        text = f"publisher {key}" if key else ""
        return Append(self._number, (item,), text, digest, self._number)

    def settled(self, append: Append, answer: Appended, *, again: bool) -> Published:
        """The outcome of an append, as its sender is told.

        Args:
            append: Which.
            answer: What Redis says.
            again: It was sent more than once.

        Raises:
            BackplaneUnavailable: Redis refuses it.
            PublishUncertain: It may have been published.
            IdempotencyMismatch: The key was used for another message.
        """
        outcome = answer.outcome
        if outcome is AppendOutcome.MISMATCH:
            key = append.key.partition(" ")[2]
            raise IdempotencyMismatch(
                f"the idempotency key {key!r} was used for another message to this destination"
            )
        if outcome is AppendOutcome.REFUSED and not again:
            raise BackplaneUnavailable(f"Redis refuses it: {answer.problem}")
        if outcome is AppendOutcome.REFUSED or not answer.positions:
            raise PublishUncertain("it was sent twice, and the first time may have succeeded")
        channel, position = append.items[0].channel, answer.positions[0]
        duplicate = outcome is AppendOutcome.DUPLICATE
        if not duplicate:
            self._seen[channel] = position
            self._seen.move_to_end(channel)
            if len(self._seen) > MOST_SEEN:
                self._seen.popitem(last=False)
        return Published(str(position), 0, answer.workers, duplicate)

    def failed(self, problem: str, *, sent: bool, seconds: float) -> Exception:
        """The error about one that was not answered in time."""
        if sent:
            return PublishUncertain(f"{NOT_ANSWERED.format(seconds)}: {problem}")
        return BackplaneUnavailable(f"{NOT_THERE.format(seconds)}: {problem}")

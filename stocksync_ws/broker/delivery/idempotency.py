"""Idempotent SEND: a repeat with the same key has no second effect.

Rule: a key belongs to a user (or to the session of an anonymous one, and ends with it) and a
destination, so nobody can probe or suppress what another sends. It is remembered when the effect
has happened, never for a failure; a repeat that comes while the first still runs joins it. A SEND
whose key is more than its owner may have is refused; only where all users together have too many is
one forgotten before its time, the oldest.
"""

from __future__ import annotations

from collections import OrderedDict
from hashlib import blake2b
from typing import TypeAlias

from stocksync_ws.broker.model.environment import Environment
from stocksync_ws.broker.model.owner import Owner
from stocksync_ws.broker.model.pipeline import Task
from stocksync_ws.broker.model.session import SessionRecord

__all__ = ["Idempotency", "Key", "Remembered"]

Key: TypeAlias = tuple[str, str, str]
"""Scope, destination, key."""


class Remembered:
    """What became of a SEND with a key."""

    __slots__ = ("digest", "expires_at", "message_id", "owner", "waiting")

    def __init__(self, digest: bytes, owner: Owner) -> None:
        self.digest = digest
        self.owner = owner
        """In whose share it counts."""
        self.expires_at: float | None = None
        """None while the first still runs."""
        self.message_id: str | None = None
        self.waiting: list[Task] = []
        """The scripts of repeats that joined it: they go on with whether it succeeded."""


class Idempotency:
    """The keys of all users."""

    __slots__ = (
        "_keys",
        "_limits",
        "_of_anonymous",
        "_owners",
        "_running",
        "_step",
        "armed",
        "armed_at",
        "deadline",
    )

    def __init__(self, env: Environment) -> None:
        self._limits = env.limits
        self._owners = env.owners
        self._step = env.step
        self.deadline: float | None = None
        self.armed = 0
        self.armed_at = 0.0
        self._running: dict[Key, Remembered] = {}
        """Keys whose first run is not over."""
        self._keys: OrderedDict[Key, Remembered] = OrderedDict()
        """Keys whose effect has happened, the oldest first."""
        self._of_anonymous: dict[Owner, dict[Key, None]] = {}
        """The same, of each anonymous session."""

    def __len__(self) -> int:
        return len(self._keys) + len(self._running)

    def find(self, key: Key, body: bytes) -> tuple[Remembered | None, bool]:
        """What is known of a key, and whether the body is the same."""
        found = self._running.get(key)
        if found is None:
            self._expire()
            found = self._keys.get(key)
        return found, found is None or found.digest == _digest(body)

    def refusal(self, session: SessionRecord, more: int) -> str:
        """Whether a session may not have so many keys more: what a refusal says, or nothing. Ask
        `find` first.
        """
        return self._owners.of(session).refusal("keys", more, one=more == 1)

    def begin(self, session: SessionRecord, key: Key, body: bytes) -> None:
        """A SEND with a new key runs."""
        owner = self._owners.of(session)
        self._running[key] = Remembered(_digest(body), owner)
        owner.own(1, "keys")

    def succeed(self, key: Key, message_id: str | None) -> None:
        """Its effect has happened."""
        found = self._running.pop(key)
        owner = found.owner
        if owner.ended:
            owner.own(-1, "keys")
        else:
            found.message_id = message_id
            found.expires_at = self._step.now + self._limits.idempotency_seconds
            self._keys[key] = found
            if owner.crowd is not None:
                self._of_anonymous.setdefault(owner, {})[key] = None
            if len(self._keys) > self._limits.idempotency_keys:
                self._forget(next(iter(self._keys)))
            self._step.sooner(self, found.expires_at)
        self._tell(found, True)

    def fail(self, key: Key) -> None:
        """The SEND of a key has failed, and is not remembered."""
        found = self._running.pop(key)
        found.owner.own(-1, "keys")
        self._tell(found, False)

    def end(self, session: SessionRecord) -> None:
        """A session has ended; nobody can repeat what it sent if it was anonymous."""
        owner = session.account
        if owner is not None and owner.crowd is not None:
            owner.ended = True
            for key in self._of_anonymous.pop(owner, ()):
                del self._keys[key]
                owner.own(-1, "keys")

    def _tell(self, found: Remembered, succeeded: bool) -> None:
        waiting, found.waiting = found.waiting, []
        for task in waiting:
            self._step.joined(task, succeeded)

    def wake(self, now: float) -> None:
        """Keys have grown old."""
        self._step.wake(now, self._forget_old)

    def _forget_old(self) -> None:
        self._expire()
        self.deadline = None
        if self._keys:
            oldest = next(iter(self._keys.values())).expires_at
            assert oldest is not None
            self._step.rearm(self, oldest)

    def _expire(self) -> None:
        """All live equally long, so the oldest are the first to go."""
        while self._keys:
            key, found = next(iter(self._keys.items()))
            assert found.expires_at is not None
            if found.expires_at > self._step.now:
                return
            self._forget(key)

    def _forget(self, key: Key) -> None:
        owner = self._keys.pop(key).owner
        owner.own(-1, "keys")
        of_session = self._of_anonymous.get(owner)
        if of_session is not None:
            del of_session[key]
            if not of_session:
                del self._of_anonymous[owner]


def _digest(body: bytes) -> bytes:
    return blake2b(body, digest_size=16).digest()

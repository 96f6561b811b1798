"""Idempotent SEND: a repeat with the same key has no second effect.

Rule: a key belongs to a user (or to the session of an anonymous one) and a destination, so nobody
can probe or suppress what another sends. It is remembered when the effect has happened, never for a
failure; a repeat that comes while the first still runs joins it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from hashlib import blake2b
from typing import TypeAlias

from stocksync_ws.config import Limits

__all__ = ["Idempotency", "Key", "Remembered"]

Key: TypeAlias = tuple[str, str, str]
"""Scope, destination, key."""


class Remembered:
    """What became of a SEND with a key."""

    __slots__ = ("digest", "expires_at", "message_id", "scope", "waiting")

    def __init__(self, scope: str, digest: bytes) -> None:
        self.scope = scope
        self.digest = digest
        self.expires_at: float | None = None
        """None while the first still runs."""
        self.message_id: str | None = None
        self.waiting: list[Callable[[bool, float], None]] = []
        """Repeats that joined it: told whether it succeeded."""


class Idempotency:
    """The keys of all users."""

    __slots__ = ("_keys", "_limits", "_shares")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._keys: OrderedDict[Key, Remembered] = OrderedDict()
        self._shares: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._keys)

    def find(self, key: Key, body: bytes, now: float) -> tuple[Remembered | None, bool]:
        """What is known of a key, and whether the body is the same."""
        found = self._keys.get(key)
        if found is None or (found.expires_at is not None and found.expires_at <= now):
            if found is not None:
                self._remove(key)
            return None, True
        return found, found.digest == _digest(body)

    def begin(self, key: Key, body: bytes) -> Remembered:
        """A SEND with a new key runs."""
        found = self._keys[key] = Remembered(key[0], _digest(body))
        self._shares[key[0]] = self._shares.get(key[0], 0) + 1
        self._evict(key[0])
        return found

    def succeed(self, key: Key, message_id: str | None, now: float) -> None:
        """Its effect has happened."""
        found = self._keys.get(key)
        if found is not None:
            found.message_id = message_id
            found.expires_at = now + self._limits.idempotency_seconds
            self._tell(found, True, now)

    def fail(self, key: Key, now: float) -> None:
        """It failed, and is not remembered."""
        found = self._keys.get(key)
        if found is not None:
            self._remove(key)
            self._tell(found, False, now)

    def _tell(self, found: Remembered, succeeded: bool, now: float) -> None:
        waiting, found.waiting = found.waiting, []
        for tell in waiting:
            tell(succeeded, now)

    def _evict(self, scope: str) -> None:
        """The oldest go first: of this user over its share, of all over the whole."""
        share = max(1, self._limits.idempotency_keys // 10)
        while self._shares.get(scope, 0) > share and self._drop_oldest(scope):
            pass
        while len(self._keys) > self._limits.idempotency_keys and self._drop_oldest(None):
            pass

    def _drop_oldest(self, scope: str | None) -> bool:
        for key, found in self._keys.items():
            if scope in (None, found.scope) and found.expires_at is not None:
                self._remove(key)
                return True
        return False

    def _remove(self, key: Key) -> None:
        found = self._keys.pop(key)
        left = self._shares[found.scope] - 1
        if left:
            self._shares[found.scope] = left
        else:
            del self._shares[found.scope]


def _digest(body: bytes) -> bytes:
    return blake2b(body, digest_size=16).digest()

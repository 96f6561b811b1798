"""The agreement of the workers of a prefix, as Redis knows it.

Rule: whoever connects compares what it has with what the others have, and leaves it there for them
and for publishers. It is the others' until the last of them has ended, or has said nothing for a
minute.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable
from typing import Any, Literal, Protocol

from stocksync_ws.agreement import differences
from stocksync_ws.errors import ConfigurationError
from stocksync_ws.redis.packing import Names, command
from stocksync_ws.redis.scripts import AGREE

__all__ = ["Agreement", "Mismatch"]

_log = logging.getLogger("stocksync_ws.redis")

_WAYS_OUT = (
    "give all of them the same, or this one another prefix; for a deploy that replaces them one by"
    ' one: RedisBackplane(on_policy_mismatch="warn")'
)
HOLDS = 60
"""Seconds without a sign of a worker after which it is none."""

Mismatch = Literal["error", "warn"]
"""The fate of a worker that has other policies: it is kept away, or let in with a WARNING."""


class Ask(Protocol):
    """Sends one command, and waits for its answer."""

    def __call__(self, *words: str | bytes | int) -> Awaitable[Any]: ...


class Agreement:
    """The agreement that one worker keeps with the others.

    Args:
        names: The names in Redis.
        worker: The name of this worker.
        text: What it must have as the others; empty: nothing is compared.
        on_mismatch: What becomes of it if it has not.
    """

    def __init__(self, names: Names, worker: str, text: str, on_mismatch: Mismatch) -> None:
        self._names = names
        self._worker = worker
        self._text = text
        self._on_mismatch = on_mismatch
        self._warned: set[str] = set()

    async def compare(self, ask: Ask) -> None:
        """Compare it with that of the others.

        Raises:
            ConfigurationError: They have another one.
        """
        if not self._text:
            return
        theirs = await ask(*self._words(whatever=False))
        if theirs is None:
            return
        if found := differences(self._text, theirs.decode()):
            problem = (
                f"backplane: workers under the prefix {self._names.prefix!r} have other policies"
                f" than this one ({found})"
            )
            if self._on_mismatch == "error":
                raise ConfigurationError(f"{problem}: {_WAYS_OUT}")
            self.warn_once(f"{problem}; what one of them promises, another one may drop")
        await ask(*self._words(whatever=True))

    def renewal(self) -> bytes | None:
        """A command that says that this worker is still there; where the others have something else
        by now, it stays.
        """
        return command(*self._words(whatever=False)) if self._text else None

    def farewell(self) -> bytes | None:
        """A command that says that this worker has ended."""
        if not self._text:
            return None
        return command("ZREM", self._names.shared("alive"), self._worker)

    def _words(self, *, whatever: bool) -> tuple[str | int, ...]:
        keys = self._names.shared("alive"), self._names.shared("policies")
        return "EVAL", AGREE, 2, *keys, self._worker, self._text, HOLDS, int(whatever)

    def warn_once(self, text: str) -> None:
        """Say something to whoever runs this worker."""
        if text not in self._warned:
            self._warned.add(text)
            _log.warning("%s", text)

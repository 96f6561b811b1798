"""How functions of every kind are run, decided once."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Iterator

import pytest

from stocksync_ws.broker.model.pipeline import Mode
from stocksync_ws.errors import ConfigurationError
from stocksync_ws.messaging.modes import mode_of


def test_colour_is_decided_once() -> None:
    def plain() -> None: ...
    async def coroutine() -> None: ...

    class Sync:
        def __call__(self) -> None: ...

    class Async:
        async def __call__(self) -> None: ...

        async def method(self) -> None: ...

    assert mode_of(plain, False) is Mode.POOL
    assert mode_of(plain, True) is Mode.INLINE
    assert mode_of(Sync(), False) is Mode.POOL
    assert mode_of(len, True) is Mode.INLINE
    for function in (
        coroutine,
        Async(),
        Async().method,
        functools.partial(coroutine),
        functools.partial(functools.partial(Async())),
    ):
        assert mode_of(function, False) is Mode.ASYNC
        with pytest.raises(ConfigurationError, match="is async and declared inline=True"):
            mode_of(function, True)


def test_generators_are_refused_for_now() -> None:
    def items() -> Iterator[int]:
        yield 1

    async def stream() -> AsyncIterator[int]:
        yield 1

    for function in (items, stream):
        with pytest.raises(ConfigurationError, match="is a generator function"):
            mode_of(function, False)

"""One descriptor for all streams of a loop: an epoll of their own, which the loop watches.

Rule: a loop pays for each descriptor that it watches, and again for each of its events: a handle, a
look-up, a place in its queue. In a storm thousands are readable in every turn, of which a turn has
time for a few. Here it has events for that many: those that have waited longest, since epoll queues
them. Where there is no epoll, the loop itself watches.
"""

from __future__ import annotations

import asyncio
import select
from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from typing import Any, Final

from stocksync_ws.streams import Poller

__all__ = ["MOST", "EpollPoller", "poller_of"]

MOST: Final = 128
"""Events of one turn."""
_READ: Final = getattr(select, "EPOLLIN", 0)
_WRITE: Final = getattr(select, "EPOLLOUT", 0)


def poller_of(loop: asyncio.AbstractEventLoop, at_end: list[Callable[[], None]]) -> Poller:
    """The poller of a loop watches all of its streams.

    Args:
        loop: The loop, which runs.
        at_end: Called when nothing is to be watched any more.
    """
    if not hasattr(select, "epoll"):
        return loop
    poller = EpollPoller(loop)
    at_end.append(poller.close)
    return poller


class EpollPoller:
    """Watches descriptors, as a loop does; after `close` it does nothing."""

    __slots__ = (
        "_begun",
        "_context",
        "_epoll",
        "_loop",
        "_readers",
        "_watched",
        "_writers",
        "call_soon",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.call_soon = loop.call_soon
        self._context = copy_context()
        """In which all are called back: that of a first stream may be a request's, whose variables
        are nobody else's, and would be kept.
        """
        self._epoll = select.epoll()
        self._readers: dict[int, Callable[[], Any]] = {}
        self._writers: dict[int, Callable[[], Any]] = {}
        self._watched: dict[int, int] = {}
        """The watches, by descriptor."""
        self._begun = False
        """The loop watches the epoll: from the first descriptor on, since not every loop can."""

    def add_reader(self, fd: int, callback: Callable[[], Any], /) -> None:
        """Call back whenever the descriptor is readable."""
        self._readers[fd] = callback
        self._watch(fd, self._watched.get(fd, 0) | _READ)

    def remove_reader(self, fd: int, /) -> None:
        """Stop that."""
        if self._readers.pop(fd, None) is not None:
            self._watch(fd, self._watched.get(fd, 0) & ~_READ)

    def add_writer(self, fd: int, callback: Callable[[], Any], /) -> None:
        """Call back whenever the descriptor is writable."""
        self._writers[fd] = callback
        self._watch(fd, self._watched.get(fd, 0) | _WRITE)

    def remove_writer(self, fd: int, /) -> None:
        """Stop that."""
        if self._writers.pop(fd, None) is not None:
            self._watch(fd, self._watched.get(fd, 0) & ~_WRITE)

    def _watch(self, fd: int, events: int) -> None:
        if self._epoll.closed:
            return
        if not self._begun:
            self._context.run(self._loop.add_reader, self._epoll.fileno(), self._serve)
            self._begun = True
        before = self._watched.get(fd, 0)
        if events:
            change = self._epoll.modify if before else self._epoll.register
            change(fd, events)
            self._watched[fd] = events
        elif before:
            del self._watched[fd]
            with suppress(OSError):  # it is closed already
                self._epoll.unregister(fd)

    def _serve(self) -> None:
        """The share of one turn. An error or a hang-up is told to whoever waits for anything."""
        readers, writers = self._readers, self._writers
        for fd, event in self._epoll.poll(0, MOST):
            try:
                # What user code sets in context variables is no business of another connection.
                if event & ~_WRITE and (reader := readers.get(fd)) is not None:
                    copy_context().run(reader)
                if event & ~_READ and (writer := writers.get(fd)) is not None:
                    copy_context().run(writer)
            except Exception as error:
                # A bug of ours is the loop's to tell, and nobody else's loss.
                told = {"message": "internal error of a stream", "exception": error}
                self._loop.call_exception_handler(told)

    def close(self) -> None:
        """Watch nothing any more."""
        if not self._epoll.closed:
            if self._begun and not self._loop.is_closed():
                self._loop.remove_reader(self._epoll.fileno())
            self._epoll.close()
        self._readers.clear()
        self._writers.clear()
        self._watched.clear()

"""One bounded inbox for the publications of other threads, with one wake-up of the owner thread.

Rule: off the owner thread a publication waits here; on it, it is applied at once, behind what
others had posted before. Before the start the inbox keeps what is published, and so it does when
the owner is gone without a stop; after the stop it refuses. Results of pool functions come the same
way, behind what these had posted, and never count against the bounds. The lock of the inbox is the
only one on the way of a message.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from weakref import WeakSet

from stocksync_ws.broker.model.publication import Draft, Published, Told
from stocksync_ws.errors import REFUSED, BrokerBusy, BrokerClosed, ForkedBrokerError, WrongLoop
from stocksync_ws.posts import Command, Item, Post, Publish, Running, Wish

_log = logging.getLogger("stocksync_ws.broker")

__all__ = ["MAX_BYTES", "MAX_MESSAGES", "START", "Inbox"]

MAX_MESSAGES = 10_000
"""Publications that may wait for the owner thread."""
MAX_BYTES = 16 * 1024 * 1024
"""Bytes of publications that may wait for the owner thread."""

START = 30.0
"""Seconds that an awaited publication waits for a start, and others are kept before a warning."""

STOPPED = "the application was stopped: publish before its end, or serve it again"


class Inbox:
    """The entrance of publications, from any thread and any loop."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        """The clock, in seconds; asked only while nobody applies what is posted."""
        self._kept_since: float | None = None
        """The time of the first post that nobody applies; infinity once a warning has told it."""
        self._lock = threading.Lock()
        self._items: deque[Item] = deque()
        self._batch: deque[Item] = deque()
        """Items that the owner thread has taken over and not applied yet."""
        self._queue: deque[Post] = deque()
        """Awaited publications that wait for room."""
        self._messages = 0
        self._bytes = 0
        self._owner: int | None = None
        self._pid = os.getpid()
        self._publish: Publish | None = None
        self.running: Running | None = None
        """The run; None: there is none, and no session."""
        self._wake: Callable[[], None] | None = None
        self._gone: Callable[[], bool] | None = None
        self._woken = False
        self._closed = False
        _INBOXES.add(self)

    # The owner's side

    def open(
        self,
        publish: Publish,
        wake: Callable[[], None],
        gone: Callable[[], bool],
        running: Running,
    ) -> None:
        """Begin to apply publications on the calling thread, and apply those that were kept.

        Args:
            publish: Applies one publication.
            wake: Makes the owner thread call `drain`; called from any thread.
            gone: Tells that nobody will call `drain` any more; asked from any thread.
            running: The run, which has the sessions.

        Raises:
            WrongLoop: Another run applies already, in this process.
        """
        with self._lock:
            if self._pid == os.getpid() and not self._nobody_applies():
                raise WrongLoop(
                    "this StompApp runs already: end that run first, a World by `with` or close(),"
                    " or make a StompApp for each"
                )
            self._owner = threading.get_ident()
            self._pid = os.getpid()
            self._publish = publish
            self.running = running
            self._wake = wake
            self._gone = gone
            self._closed = False
            self._kept_since = None
        self.drain()

    def drain(self) -> None:
        """Apply everything that has been posted. On the owner thread only, and never from user
        code: results of pool functions are sent back into their pipelines here.
        """
        self._collect()
        while self._batch:
            item = self._batch.popleft()
            if callable(item):
                item()
            else:
                self._apply(item)
            if not self._batch:
                self._collect()

    def _collect(self) -> None:
        """Take over what was posted, and admit publications that waited for room."""
        with self._lock:
            self._batch.extend(self._items)
            self._items.clear()
            self._messages = self._bytes = 0
            self._woken = False
            self._admit_waiting()

    def _apply_posts(self) -> None:
        """Apply what others had posted, and leave results of pool functions where they are."""
        self._collect()
        results: deque[Item] = deque()
        while self._batch:
            item = self._batch.popleft()
            if callable(item):
                results.append(item)
            else:
                self._apply(item)
        self._batch = results
        if results:
            with self._lock:
                self._ring()

    def refuse(self) -> None:
        """Accept nothing more, and apply what was accepted. Results of the pool still come."""
        with self._lock:
            self._closed = True
        self.drain()

    def close(self) -> None:
        """Refuse, and forget the run: items that come now are refused or lost."""
        self.refuse()
        with self._lock:
            self._publish = self._wake = self._gone = self._owner = self.running = None

    def after_fork(self) -> None:
        """Go on in a child that was just forked. A lock that another thread held would never be
        released, and what waits for the owner thread of the parent is applied there.
        """
        self._lock = threading.Lock()
        if not self._nobody_applies():
            for waiting in (self._items, self._batch, self._queue):
                waiting.clear()

    # Everybody's side

    def post(self, draft: Draft) -> None:
        """Publish without waiting.

        Raises:
            BrokerBusy: Too much waits already.
            BrokerClosed: After the stop.
            ForkedBrokerError: In a forked child of the process that started the application.
        """
        if self._is_owner():
            try:
                self._now(draft)
            except REFUSED:
                pass  # Counted, and told by an event, as from another thread.
            return
        with self._lock:
            self._check()
            late = self._is_late()
            taken = self._has_room(draft)
            waiting = self._messages
            if taken:
                self._append(Post(draft, None))
        if late:
            _log.warning("messages are kept and reach nobody: %s", self._why())
        if not taken and self._nobody_applies():
            raise BrokerBusy(f"{waiting} messages wait for the application: {self._why()}")
        if not taken:
            raise BrokerBusy(f"{waiting} messages wait for the owner thread; try again later")

    async def publish(self, draft: Draft) -> Published:
        """Publish, and wait for the start, for room, and until the message has been applied.

        Raises:
            BrokerBusy: The message was for a queue that is full.
            BrokerClosed: After the stop, or when nothing has started the application for `START`
                seconds; then nothing was published.
            ForkedBrokerError: In a forked child of the process that started the application.
        """
        is_owner = self._is_owner()  # Raises in a forked child.
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Published] = loop.create_future()
        if is_owner:
            return self._now(draft, partial(_settle, future)) or await future

        def waiter(published: Published | None, error: Exception | None) -> None:
            try:
                loop.call_soon_threadsafe(_settle, future, published, error)
            except RuntimeError:
                pass  # The caller's loop is closed: nobody waits any more.

        post = Post(draft, waiter)
        with self._lock:
            self._check()
            self._enqueue(post)
            waits_for_start = self._nobody_applies()
        if waits_for_start:
            await asyncio.wait([future], timeout=START)
            self._withdraw(post)
        return await future

    def publish_wait(self, draft: Draft, timeout: float) -> Published:
        """Publish, and block this thread until it has been applied, at most `timeout` seconds.

        Raises:
            RuntimeError: An event loop runs on this thread: it would wait for itself.
            TimeoutError: The message has not been applied in time; it was taken out again, or is
                applied later, if the owner thread has it already. Where nothing has started the
                application the text says so.
            BrokerBusy: The message was for a queue that is full.
            BrokerClosed: After the stop.
            ForkedBrokerError: In a forked child of the process that started the application.
        """
        if _runs_a_loop():
            raise RuntimeError(
                "publish_wait would block the event loop that runs on this thread; use"
                " `await template.publish(...)`"
            )
        self._is_owner()  # Raises in a forked child.
        told = threading.Event()
        outcome: list[Published | Exception] = []

        def waiter(published: Published | None, error: Exception | None) -> None:
            outcome.extend(each for each in (error, published) if each is not None)
            told.set()

        post = Post(draft, waiter)
        with self._lock:
            self._check()
            self._enqueue(post)
        if not told.wait(timeout) and (self._take_out(post) or not told.is_set()):
            why = f": {self._why()}" if self._nobody_applies() else ""
            raise TimeoutError(f"the message was not published within {timeout:g} s{why}")
        if isinstance(outcome[0], Exception):
            raise outcome[0]
        return outcome[0]

    def _withdraw(self, post: Post) -> None:
        """Take a publication out again that is not applied, if no run applies any.

        Raises:
            BrokerClosed: It was taken out.
        """
        if self._closed or not self._nobody_applies() or not self._take_out(post):
            return
        raise BrokerClosed(f"nothing was published for {START:g} s: {self._why()}")

    def _take_out(self, post: Post) -> bool:
        """Take a publication out, unless it is being applied, and tell whether it was taken out."""
        with self._lock:
            if post in self._queue:
                self._queue.remove(post)
            elif post in self._items:
                self._items.remove(post)
                self._messages -= 1
                self._bytes -= post.draft.size
            else:
                return False
        return True

    def hand_over(self, result: Callable[[], None]) -> None:
        """Run `result` on the owner thread, behind what this thread has posted; after the end it
        is dropped.
        """
        with self._lock:
            if self._wake is not None or not self._closed:
                self._items.append(result)
                self._ring()

    def command(self, work: Command) -> None:
        """Do something with the sessions of this run: at once on the owner thread, from another
        one there, behind what this thread has posted. Where nothing runs, nothing is done.

        Raises:
            ForkedBrokerError: In a forked child of the process that started the application.
        """
        if self._is_owner() and not self._looks():
            if self._items or self._batch:
                self._apply_posts()
            self._apply(Wish(work))
            return
        with self._lock:
            if not self._nobody_applies():
                self._items.append(Wish(work))
                self._ring()

    def _nobody_applies(self) -> bool:
        """Tell whether no run applies what is posted: there is none, or its owner is gone."""
        return self._publish is None or (self._gone is not None and self._gone())

    def _why(self) -> str:
        """The reason why nobody applies what is posted, and the remedy."""
        cause = "the event loop of the application was closed without a stop"
        if self._publish is None:
            cause = "the application has not been started in this process"
        return (
            f"{cause}; serve() starts it, and so does the lifespan of the application that it was"
            " installed in"
        )

    def _apply(self, item: Post | Wish) -> None:
        """Apply what was posted. A bug of ours must not keep the rest from being applied, nor a
        caller waiting for ever.
        """
        published: Published | None = None
        error: Exception | None = None
        try:
            if self._publish is None or self.running is None:
                raise BrokerClosed(STOPPED)
            if isinstance(item, Post):
                published = self._publish(item.draft, item.waiter)
                if published is None:
                    return
            else:
                self.running.act(item.command)
        except (*REFUSED, BrokerClosed) as refusal:
            error = refusal
        except Exception as bug:
            _log.error("internal error in what was posted", exc_info=bug)
            error = bug
        if isinstance(item, Post) and item.waiter is not None:
            item.waiter(published, error)

    # Under the lock, or on the owner thread

    def _is_late(self) -> bool:
        """Tell whether this post is the first one `START` seconds or more after the first kept."""
        if not self._nobody_applies():
            return False
        now = self._clock()
        if self._kept_since is None:
            self._kept_since = now
        if now - self._kept_since < START:
            return False
        self._kept_since = math.inf  # said once
        return True

    def _is_owner(self) -> bool:
        # Asked each time, and before the lock: some servers fork without telling Python.
        if self._owner is not None and self._pid != os.getpid():
            raise ForkedBrokerError("the application runs in the parent of this process")
        if self._owner != threading.get_ident():
            return False
        return self._gone is None or not self._gone()

    def _looks(self) -> bool:
        """Tell whether an interceptor runs: its acts come behind the message that it looks at."""
        return self.running is not None and self.running.broker.looking

    def _now(self, draft: Draft, waiter: Told | None = None) -> Published | None:
        if (self._items or self._batch) and not self._looks():
            self._apply_posts()
        if self._publish is None:
            raise BrokerClosed(STOPPED)
        return self._publish(draft, waiter)

    def _check(self) -> None:
        if self._closed:
            raise BrokerClosed(STOPPED)

    def _has_room(self, draft: Draft) -> bool:
        # An empty inbox takes one message of any size, or it would wait for ever.
        fits = self._messages < MAX_MESSAGES and self._bytes + draft.size <= MAX_BYTES
        return fits or not self._messages

    def _enqueue(self, post: Post) -> None:
        """Accept a publication that is awaited, in its turn."""
        if self._has_room(post.draft) and not self._queue:
            self._append(post)
        else:
            self._queue.append(post)

    def _append(self, post: Post) -> None:
        self._items.append(post)
        self._messages += 1
        self._bytes += post.draft.size
        self._ring()

    def _ring(self) -> None:
        if self._wake is not None and not self._woken:
            self._woken = True
            self._wake()

    def _admit_waiting(self) -> None:
        """Accept awaited publications in their order, as many as there is room for."""
        while self._queue and self._has_room(self._queue[0].draft):
            self._append(self._queue.popleft())


_INBOXES: WeakSet[Inbox] = WeakSet()


def _after_fork() -> None:
    for inbox in _INBOXES:
        inbox.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _runs_a_loop() -> bool:
    """Tell whether an event loop runs on this thread."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _settle(
    future: asyncio.Future[Published], published: Published | None, error: Exception | None
) -> None:
    if error is not None and not future.done():
        future.set_exception(error)
    elif published is not None and not future.done():
        future.set_result(published)

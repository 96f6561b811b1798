"""A WebSocket scope as a stream of the driver: messages to the host, and the host's messages in.

Rule: it moves messages and decides nothing. A `websocket.send` is begun in the flush itself, as the
host would begin it; where the host suspends, a task finishes it, and what comes behind waits.
Everything else (accept, close, a refusal) is sent in a task from the start, since hosts use
time-outs there. The driver is told `feed`, `drained`, `ended`, never from inside one of its own
calls.

The application's coroutine is the reader: `run` returns when the scope is over. To end it from
outside its task is cancelled, and only while it waits for the host; a cancellation that is not ours
is passed on.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextvars import Context, copy_context
from typing import Any

from stocksync_ws.asgi.stepping import DONE, Receive, Rest, Send, Stepping, new_stepper
from stocksync_ws.driver.driver import Driver
from stocksync_ws.driver.ports import Link
from stocksync_ws.types import Chunk, Connection
from stocksync_ws.wire.scope import ScopeConnection
from stocksync_ws.wire.scope_wire import ScopeChunk

__all__ = ["ScopeStream"]

_FAILED = ScopeChunk(
    {"type": "websocket.close", "code": 1011, "reason": "internal error"}, 0, last=True
)


class ScopeStream:
    """One WebSocket scope.

    Args:
        driver: Whom it tells.
        send: The host's.
        stepping: Shared by all scopes of the application.
    """

    __slots__ = (
        "_broken",
        "_cancelled",
        "_closing",
        "_context",
        "_driver",
        "_failing",
        "_going_on",
        "_host_send",
        "_over",
        "_queue",
        "_reader",
        "_stepping",
        "_unsent",
        "_waits",
        "_writer",
        "link",
        "send",
    )

    def __init__(self, driver: Driver, send: Send, stepping: Stepping) -> None:
        self._driver = driver
        self._host_send = send
        self._stepping = stepping
        # What middleware of the host keeps in context variables is there in every send.
        self._context: Context = copy_context()
        self._queue: deque[ScopeChunk] = deque()
        """Messages behind the one that the host has not finished."""
        self._unsent = 0
        """Bytes of that one and of those."""
        self._writer: asyncio.Task[Any] | None = None
        self._reader: asyncio.Task[Any] | None = asyncio.current_task()
        self._going_on: asyncio.Future[None] | None = None
        """Done when reading goes on; None: it is not paused."""
        self._broken = False
        """A message was lost: nothing is sent behind it but a close."""
        self._failing = False
        """The scope is being closed with 1011: a disconnect is the echo of that."""
        self._closing = False
        """The scope is over when everything is sent."""
        self._over = False
        self._waits = False
        """The reader waits for the host, or for reading to go on."""
        self._cancelled = False
        """We have cancelled the reader."""
        self.send: Callable[[Chunk], int] | None = self._send if stepping.allowed else None
        """The direct way out: one step of the host's `send`."""
        self.link: Link

    # The driver's verbs

    @property
    def unsent(self) -> int:
        """Bytes of messages that the host has not finished sending; at least one while there is
        one.
        """
        return max(self._unsent, 1) if self._writer is not None else 0

    def write(self, chunks: list[Chunk]) -> int:
        """Send what can be sent at once, and keep the rest; what is unsent."""
        if self._over or self._broken:
            return self.unsent
        left: Sequence[ScopeChunk] = chunks
        if self._writer is None and self._stepping.allowed:
            try:
                left = self._begin(chunks)
            except OSError:
                self._tell(self._driver.ended)
                return 0
        if left:
            self._keep(left)
        return 0 if self._writer is None else self.unsent

    def _send(self, chunk: Chunk) -> int:
        """Begin to send one message; its size when the host has finished it, else 0.

        Raises:
            OSError: The client has gone.
        """
        if not self._stepping.allowed:
            self._keep([chunk])
            return 0
        self._begin((chunk,))
        if self._writer is not None:
            return 0
        size: int = chunk.size
        return size

    def _begin(self, chunks: Sequence[ScopeChunk]) -> Sequence[ScopeChunk]:
        """Begin to send messages, one behind the other, until the host does not finish one at once,
        or one needs a task; those that were not begun.

        Raises:
            OSError: The client has gone.
        """
        stepping = self._stepping
        stepper, stepping.idle = stepping.idle or new_stepper(), None
        left = iter(chunks)
        try:
            found = self._context.run(stepper.send, (self._host_send, left))
        except OSError:
            raise
        except asyncio.CancelledError as error:
            raise ConnectionAbortedError("the host has cancelled its own send") from error
        except Exception as error:
            self._fail(error)
            return ()
        if found is DONE:
            stepping.idle = stepper
            return ()
        if isinstance(found, ScopeChunk):
            stepping.idle = stepper
            return [found, *left]
        # With nothing left to it, the stepper ends its work behind the message it has begun.
        not_begun = list(left)
        self._unsent = chunks[-1 - len(not_begun)].size
        self._write_on(Rest(stepper, found), self._unsent)
        return not_begun

    def keep(self, chunk: Chunk, sent: int) -> int:
        """A message that was begun is finished by a task already; what is unsent."""
        return self.unsent

    def pause(self) -> None:
        """Ask the host for no more messages, which pauses its reading."""
        if self._going_on is None:
            self._going_on = asyncio.get_running_loop().create_future()

    def unpause(self) -> None:
        """Ask for messages again."""
        going_on, self._going_on = self._going_on, None
        if going_on is not None and not going_on.done():
            going_on.set_result(None)

    def shut(self) -> None:
        """End the scope when everything is sent."""
        self._closing = True
        if self._writer is None:
            self._end()

    def abort(self) -> None:
        """End the scope now, whatever is unsent."""
        self.send = None
        self._forget()
        self._end()

    def _forget(self) -> None:
        """Nothing that is unsent will be sent."""
        self._queue.clear()
        self._unsent = 0
        writer, self._writer = self._writer, None
        if writer is not None:
            _cancel(writer)

    def _end(self) -> None:
        """The reader is to return."""
        self._over = True
        if self._waits and not self._cancelled and self._reader is not None:
            self._cancelled = True
            _cancel(self._reader)

    # Writing

    def _keep(self, chunks: Sequence[ScopeChunk]) -> None:
        self._queue.extend(chunks)
        self._unsent += sum(chunk.size for chunk in chunks)
        if self._writer is None:
            self._write_on(None, 0)

    def _write_on(self, rest: Rest | None, size: int) -> None:
        # In the same context: middleware may reset there what it has set in the first step. And
        # past the factory of the loop, which might begin the task at once.
        loop = asyncio.get_running_loop()
        self._writer = asyncio.Task(self._write(rest, size), loop=loop, context=self._context)

    async def _write(self, rest: Rest | None, size: int) -> None:
        """Finish one message of so many bytes, then send those behind it, one after the other."""
        last = lost = False
        try:
            if rest is not None:
                await rest
                self._unsent -= size
                self._progress()
            while self._queue and not last:
                chunk = self._queue.popleft()
                last = chunk.last
                await self._send_whole(chunk)
                self._unsent -= chunk.size
                self._progress()
        except OSError:
            lost = True
        except asyncio.CancelledError:
            if not self._over:  # else it is our own
                self._writer = None
                self._tell(self._driver.ended)
            raise
        except Exception as error:
            if not last and not self._over:
                await self._give_up(error)
            lost = True
        if self._over:
            return
        if lost:
            # It counts as unsent until the end is told: it was not sent.
            asyncio.get_running_loop().call_soon(self._end_lost)
            return
        self._writer = None
        if last:
            # A close that is sent ends the scope: the host waits for the client's answer itself.
            self._tell(self._driver.ended)
        elif self._closing:
            self._end()
        else:
            self._tell(self._driver.drained)

    def _end_lost(self) -> None:
        self._writer = None
        self._driver.ended(self.link)

    async def _give_up(self, error: Exception) -> bool:
        """A message could not be sent, and nobody knows what of it has left: end with 1011. Where
        that cannot be sent either, it was the client that had gone, which hosts tell in many ways.
        Whether it was the host.
        """
        self._broken = True
        self._queue.clear()
        self._unsent = 0
        await asyncio.sleep(0)  # A disconnect that has come is heard first.
        if self._over:
            return False
        self._failing = True
        try:
            await self._send_whole(_FAILED)
        except Exception:
            return False
        self._driver.failed(self.link, error)
        return True

    def _tell(self, driver: Callable[..., None], *args: Any) -> None:
        """Tell the driver in the next turn: not from inside its own calls, nor inside a task, where
        what is begun outside of one must not begin.
        """
        asyncio.get_running_loop().call_soon(driver, self.link, *args)

    async def _send_whole(self, chunk: ScopeChunk) -> None:
        """Send one message in a task.

        A host that knows no close codes but 1000 and from 3000 on would keep the connection open:
        it gets 2000 more, 3012 for 1012.
        """
        try:
            await self._host_send(chunk.message)
        except OSError:
            raise
        except Exception:
            code = chunk.message.get("code", 0)
            if self._over or not 1000 < code < 2000:
                raise
            await self._host_send({**chunk.message, "code": code + 2000})

    def _progress(self) -> None:
        if self._queue and not self._over:
            self._tell(self._driver.drained)

    def _fail(self, error: Exception) -> None:
        """A step has raised: nothing is sent behind it but a close, and none is taken until it is
        known whose fault it was.
        """
        self._broken = True
        stepping = self._stepping
        stepping.suspect()

        def settle(ended: asyncio.Task[bool]) -> None:
            host = not ended.cancelled() and ended.result()
            stepping.settle(error if host else None)

        loop = asyncio.get_running_loop()
        ending = asyncio.Task(self._end_failed(error), loop=loop, context=self._context)
        ending.add_done_callback(settle)  # Also of a task that was cancelled before it began.
        self._writer = ending

    async def _end_failed(self, error: Exception) -> bool:
        host = await self._give_up(error)
        if not self._over:
            self._writer = None
            self._tell(self._driver.ended)
        return host

    # Reading

    async def run(self, connection: Connection, receive: Receive) -> None:
        """Be the application of this scope until it is over.

        Args:
            connection: Its connection; `websocket.connect` has come.
            receive: The host's.
        """
        self.link = self._driver.connected(self, connection)
        try:
            while not self._over:
                message = await self._next(receive)
                if message is not None:
                    self._hear(connection, message)
        except asyncio.CancelledError:
            if self._is_foreign():
                raise
        else:
            self._is_foreign()  # Some hosts swallow a cancellation.
        finally:
            self._over = True
            # Nobody is there to take a refusal either, which the driver would wait for.
            self._forget()
            self._driver.ended(self.link)
            self._reader = None

    def _is_foreign(self) -> bool:
        """Take our own cancellation back; whether there is one that is not ours."""
        return self._reader is None or not self._cancelled or self._reader.uncancel() > 0

    async def _next(self, receive: Receive) -> Mapping[str, Any] | None:
        self._waits = True
        try:
            if self._going_on is None:
                return await receive()
            await self._going_on
            return None
        finally:
            self._waits = False

    def _hear(self, connection: Connection, message: Mapping[str, Any]) -> None:
        if message["type"] == "websocket.receive":
            text = message.get("text")
            data = text.encode() if text is not None else message.get("bytes") or b""
            self._driver.feed(self.link, data)
        elif message["type"] == "websocket.disconnect" and not self._failing:
            self._over = True
            if isinstance(connection, ScopeConnection):
                connection.gone(message)


def _cancel(task: asyncio.Task[Any]) -> None:
    """Cancel a task; on a loop that was closed under it, it does not run any more."""
    if not task.get_loop().is_closed():
        task.cancel()

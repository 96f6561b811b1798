"""An asyncio event loop whose clock is a number: nothing waits, everything is deterministic.

Rule: time moves only in `advance`, from one timer to the next; between two timers everything that
is ready runs to its end. No selector, no socket, no thread. `asyncio.sleep` and `asyncio.timeout`
in user code obey the same clock.
"""

from __future__ import annotations

from asyncio import base_events, get_running_loop
from collections.abc import Coroutine
from functools import partial
from typing import Any, NoReturn, TypeVar

from stocksync_ws.testing.given import check_coroutine, check_seconds

__all__ = ["VirtualLoop", "is_running"]

T = TypeVar("T")


_REFUSED = (
    "add_reader",
    "add_writer",
    "connect_accepted_socket",
    "connect_read_pipe",
    "connect_write_pipe",
    "create_connection",
    "create_datagram_endpoint",
    "create_server",
    "create_unix_connection",
    "create_unix_server",
    "getaddrinfo",
    "getnameinfo",
    "run_in_executor",
    "sendfile",
    "sock_accept",
    "sock_connect",
    "sock_recv",
    "sock_recv_into",
    "sock_recvfrom",
    "sock_sendall",
    "sock_sendfile",
    "sock_sendto",
    "start_tls",
    "subprocess_exec",
    "subprocess_shell",
)
"""What a loop does with sockets, pipes, processes and threads."""


def is_running() -> bool:
    """Whether an event loop runs in this thread."""
    try:
        get_running_loop()
    except RuntimeError:
        return False
    return True


class _NoSelector:
    """Stands where the loop looks for I/O: it has none, but it moves the clock."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop

    def select(self, timeout: float | None) -> list[Any]:
        self._loop.idle(timeout)
        return []


def _refuse(name: str, *args: object, **kwargs: object) -> NoReturn:
    """In the place of a method that would wait for the world outside, which never answers."""
    raise RuntimeError(
        f"a World has a virtual clock and no I/O, so `{name}` of its loop would never end: give"
        " the code under test a fake of what it talks to, or test it over sockets with"
        " `app.serve_in_thread(port=0)`"
    )


class VirtualLoop(base_events.BaseEventLoop):
    """Run it with `settle`, `advance` and `run`."""

    def __init__(self, start: float = 1_000.0) -> None:
        super().__init__()
        self._now = start
        self._until = start
        self._selector = _NoSelector(self)
        for name in _REFUSED:
            setattr(self, name, partial(_refuse, name))

    def time(self) -> float:
        """Seconds, virtual."""
        return self._now

    def idle(self, timeout: float | None) -> None:
        """Nothing is ready: go on to the next timer, or stop at the end of the time given."""
        if timeout is not None and timeout <= 0:
            return
        if timeout is not None and self._now + timeout <= self._until:
            self._now += timeout
        else:
            self._now = self._until
            self.stop()

    def settle(self) -> None:
        """Run everything that is ready now; time stands still."""
        self.advance(0.0)

    def advance(self, seconds: float) -> None:
        """Let so many seconds pass.

        Raises:
            TypeError: `seconds` is no number.
            ValueError: `seconds` is negative or infinite.
        """
        check_seconds("advance", seconds)
        self._until = self._now + seconds
        self.run_forever()

    def stall(self, seconds: float) -> None:
        """Let the clock jump, as if the loop had been blocked: nothing runs meanwhile.

        Raises:
            TypeError: `seconds` is no number.
            ValueError: `seconds` is negative or infinite.
        """
        check_seconds("stall", seconds)
        self._now += seconds
        self._until = self._now

    def run(self, coroutine: Coroutine[Any, Any, T], seconds: float = 60.0) -> T:
        """Run a coroutine to its end, in at most so many virtual seconds.

        Raises:
            TimeoutError: The coroutine was cancelled, since the seconds were over.
            TypeError: `coroutine` is none, or `seconds` is no number.
            ValueError: `seconds` is negative or infinite.
        """
        check_coroutine(coroutine)
        try:
            check_seconds("run", seconds, "coroutine, ")
        except BaseException:
            coroutine.close()
            raise
        task = self.create_task(coroutine)
        self._until = self._now + seconds
        task.add_done_callback(lambda _: self.stop())
        self.run_forever()
        if not task.done():
            task.cancel()
            self.settle()
            raise TimeoutError(f"not done in {seconds} virtual seconds")
        self.settle()
        return task.result()

    def _process_events(self, event_list: list[Any]) -> None:
        """There is no I/O."""

    def _write_to_self(self) -> None:
        """Nothing sleeps that would have to be woken."""

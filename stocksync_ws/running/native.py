"""The parts of native threads, also where gevent has put greenlets in their place.

Rule: the loop of a server and the pool of its handlers are native threads whatever the application
has patched: a greenlet would share the thread, and the loop, of the application. Nothing is
imported that is not there already.
"""

from __future__ import annotations

import _socket
import _thread
import queue
import socket
import sys
import threading
from collections.abc import Callable
from typing import Any

__all__ = [
    "Lock",
    "is_patched",
    "new_lock",
    "new_queue",
    "socket_of",
    "socket_pair",
    "start_thread",
]

Lock = _thread.LockType


def is_patched() -> bool:
    """Tell whether greenlets stand in the place of threads."""
    monkey: Any = sys.modules.get("gevent.monkey")
    return monkey is not None and bool(monkey.is_module_patched("threading"))


def _original(module: Any, name: str) -> Any:
    monkey: Any = sys.modules.get("gevent.monkey")
    if monkey is not None:
        return monkey.get_original(module.__name__, name)
    return getattr(module, name)


def new_lock() -> Lock:
    """A lock that blocks the thread, and all greenlets of it."""
    lock: Lock = _original(_thread, "allocate_lock")()
    return lock


def new_queue() -> queue.SimpleQueue[Any]:
    """A queue between native threads."""
    made: queue.SimpleQueue[Any] = _original(queue, "SimpleQueue")()
    return made


def socket_of(fd: int) -> socket.socket:
    """A socket of a descriptor that any thread may close: a cooperative one is bound to the loop
    of the thread that made it.
    """
    made: socket.socket = _original(socket, "socket")(fileno=fd)
    return made


def socket_pair() -> tuple[socket.socket, socket.socket]:
    """Two such sockets that are connected to each other."""
    one, other = _socket.socketpair()
    return socket_of(one.detach()), socket_of(other.detach())


def start_thread(function: Callable[[], None], name: str, *, daemon: bool) -> None:
    """Run a function in a new native thread.

    Args:
        function: The function; it must not raise.
        name: The name of the thread, for debuggers.
        daemon: The interpreter does not wait for it at its exit. Where greenlets stand in the place
            of threads it never does.

    Raises:
        RuntimeError: No thread can be started, as at the exit of the interpreter.
    """
    if is_patched():
        _original(_thread, "start_new_thread")(function, ())
    else:
        threading.Thread(target=function, name=name, daemon=daemon).start()

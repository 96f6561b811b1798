"""STOMP as plain text, for the test client of any framework."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

__all__ = ["ADJUST", "async_until", "frame", "opening", "until"]


def frame(command: str, body: str = "", **headers: str) -> str:
    """One frame."""
    lines = "".join(f"{name.replace('_', '-')}:{text}\n" for name, text in headers.items())
    return f"{command}\n{lines}\n{body}\0"


CONNECT = {"accept_version": "1.2", "host": "x", "heart_beat": "0,1"}
"""With heart-beats, which end the wait of a test for what does not come."""
TOPIC = frame("SUBSCRIBE", id="1", destination="/topic/inventory")
ERRORS = frame("SUBSCRIBE", id="2", destination="/user/queue/errors", receipt="open")
ADJUST = frame("SEND", '{"delta": 1}', destination="/app/inventory/kettle/adjust")


def opening(**headers: str) -> str:
    """All that is said before the first message: it ends with a RECEIPT."""
    return frame("CONNECT", **CONNECT, **headers) + TOPIC + ERRORS


def until(receive: Callable[[], str], command: str) -> str:
    """The next frame of this command."""
    while True:
        text = receive()
        assert text != "\n", f"no {command} came"
        if text.startswith(command):
            return text


async def async_until(receive: Callable[[], Awaitable[str | bytes]], command: str) -> str:
    """The next frame of this command."""
    while True:
        text = str(await receive())
        assert text != "\n", f"no {command} came"
        if text.startswith(command):
            return text

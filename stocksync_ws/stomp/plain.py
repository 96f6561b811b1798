"""The quick reader of frames: one that lies whole and plain in its message, at once.

Rule: it reads what the slow reader of `decoder.py` would read to the same frame, or it does nothing
and says so. It knows no error. A head that repeats is not read again.
"""

from __future__ import annotations

from typing import NamedTuple

from stocksync_ws.config import Limits
from stocksync_ws.stomp.frame import SEND, Frame
from stocksync_ws.stomp.rules import Body, Rule

__all__ = ["PlainReader"]


class _Known(NamedTuple):
    """The last plain SEND: clients repeat its head to the octet, and only its body differs."""

    head: bytes
    """To the blank line, and that as well."""
    command: str
    headers: dict[str, str]
    length: int | None


class PlainReader:
    """A message, how far it was read, and what a frame in it is allowed to be.

    Args:
        limits: As for the `Decoder`.
        rules: The rule of each command, by the octets of its line.
    """

    __slots__ = ("_blank", "_data", "_known", "_limits", "_pos", "_table")

    def __init__(self, limits: Limits, rules: dict[bytes, Rule]) -> None:
        self._limits = limits
        self._table = rules
        self._known: _Known | None = None
        # The message that is being read, and how far it was read.
        self._data = b""
        self._pos = 0
        # Where its next blank line is, once looked for: looking again for every frame would make
        # many small frames cost the square of their number.
        self._blank = -1

    def _quick(self) -> Frame | None:
        """The frame that begins here; None: nothing was done, read it the slow way."""
        data, pos, limits = self._data, self._pos, self._limits
        if (known := self._known) is not None and data.startswith(known.head, pos):
            return self._again(known)
        blank = self._blank
        if blank < pos:
            blank = data.find(b"\n\n", pos)
            self._blank = blank = blank if blank >= 0 else len(data)
        # One comparison for three limits: a head that is no longer than a line may be has no line
        # that is too long, and `Limits` sees to it that no line may be longer than a block.
        if blank == len(data) or blank + 2 - pos > limits.max_header_line:
            return None
        # With a CR the blank line may be an earlier one. Looked for before anything is cut out, and
        # no further than the head goes.
        if data.find(b"\r", pos, blank) >= 0:
            return None
        first = data.find(b"\n", pos, blank + 1)
        rule = self._table.get(data[pos:first])
        if rule is None or rule.dialect.trim:
            return None
        head = data[first + 1 : blank] if first < blank else b""  # no line of a header
        if not head.isascii() or (b"\\" in head and rule.dialect.escapes):
            return None
        headers = rule.plain_headers(head.decode("ascii"), limits) if head else {}
        start = blank + 2
        end = data.find(b"\0", pos)
        if headers is None or end < start:
            return None
        text, length = headers.get("content-length"), None
        if text is not None:
            if len(text) > 10 or not text.isdigit():
                return None
            length = int(text)
            end = start + length
            if end >= len(data) or data[end]:
                return None
        if end >= pos + limits.max_message_size or (end > start and rule.body is not Body.KEPT):
            return None
        if rule.command == SEND:
            self._known = _Known(data[pos:start], SEND, headers.copy(), length)
        self._pos = end + 1
        if self._pos == len(data):
            self._data, self._pos = b"", 0
        return Frame(rule.command, headers, data[start:end])

    def _again(self, known: _Known) -> Frame | None:
        """The same for a frame that begins as the last one did."""
        data, pos = self._data, self._pos
        start = pos + len(known.head)
        if known.length is None:
            end = data.find(b"\0", start)
            if end < 0:
                return None
        else:
            end = start + known.length
            if end >= len(data) or data[end]:
                return None
        if end >= pos + self._limits.max_message_size:
            return None
        self._pos = end + 1
        if self._pos == len(data):
            self._data, self._pos = b"", 0
        return Frame(known.command, known.headers.copy(), data[start:end])

"""Octets to frames: the incremental `Decoder`.

Rule: every octet is looked at a bounded number of times, however the input is cut into messages,
and what a frame means never depends on the cuts. The one exception is meant: an ACK or NACK with a
content-length is judged by what else its WebSocket message holds.

Two readers share the message. `PlainReader` takes a frame that lies whole and plain in it, at once;
whatever is unusual about it, it gives up without a trace and the slow reader starts over, line by
line. Only the slow reader knows errors: of two faults it tells the one that is complete first.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum, auto

from stocksync_ws.codes import ErrorCode
from stocksync_ws.config import Limits, exceeded
from stocksync_ws.errors import LimitExceeded, RemoteProtocolError
from stocksync_ws.stomp.command_line import (
    COMMANDS,
    FIRST_FRAME,
    GAP,
    MAX_COMMAND,
    begins,
    missing_end,
    typed_nul,
)
from stocksync_ws.stomp.frame import CONNECT, STOMP, Frame, Version
from stocksync_ws.stomp.negotiate import BLANKS, choose_version
from stocksync_ws.stomp.plain import PlainReader
from stocksync_ws.stomp.rules import REFUSED_WHEN_REPEATED, Body, Rule, table, unescape

__all__ = ["Decoder"]

_CR = 13
_EOLS = re.compile(rb"(?:\n|\r\n)*+\r?")  # a last CR counts, its LF may come
_CONTENT_LENGTH = re.compile(r"[0-9]{1,10}")


class _State(Enum):
    BETWEEN = auto()
    COMMAND = auto()
    HEADERS = auto()
    BODY = auto()


# Globals, because looking up a member of an Enum costs more than the comparison it is for.
_BETWEEN, _IN_COMMAND, _IN_HEADERS, _IN_BODY = _State


class Decoder(PlainReader):
    """Frames of one peer, one at a time, each by the version that holds when it is asked for.

    `feed` a message, then call `next` until it returns None. Line ends and NULs between frames are
    skipped. The first error ends it: there is no way to find the next frame after it.

    Args:
        limits: `max_message_size` (a frame with its NUL), `max_header_block` (command line to
            blank line, line ends included), `max_header_line` (without its LF), `max_headers`,
            `max_messages_per_frame` and `max_id` are kept here, while reading.
        server_frames: Decode what a server sends; else what a client sends.
    """

    __slots__ = (
        "_echoed",
        "_failure",
        "_headers",
        "_held",
        "_left",
        "_lines",
        "_messages",
        "_rule",
        "_server_frames",
        "_size",
        "_state",
        "_version",
    )

    def __init__(self, limits: Limits, server_frames: bool = False) -> None:
        super().__init__(limits, table(server_frames, None))
        self._server_frames = server_frames
        self._version: Version | None = None
        self._failure: tuple[ErrorCode, str | None, Mapping[str, str], str] | None = None
        # The frame that is being read.
        self._state = _BETWEEN
        self._rule: Rule | None = None
        self._headers: dict[str, str] = {}
        self._held = bytearray()  # of a line or body, what earlier messages brought
        self._size = 0  # octets of its whole lines and of its body so far
        self._lines = 0  # header lines
        self._messages = 1
        self._left: int | None = None  # octets of the body to come; None: to the first NUL
        self._echoed = False

    @property
    def version(self) -> Version | None:
        """The version of the session; set it when CONNECT was answered. None: not yet known."""
        return self._version

    @version.setter
    def version(self, version: Version | None) -> None:
        self._version = version
        self._table = table(self._server_frames, version)
        self._known = None

    @property
    def mid_frame(self) -> bool:
        """A frame was begun and is not complete. What stands between frames begins none."""
        return self._state is not _BETWEEN

    @property
    def unread(self) -> bool:
        """Octets of a frame have come that `next` has not looked at."""
        match = GAP.match(self._data, self._pos)
        return match is not None and match.end() < len(self._data)

    @property
    def kept(self) -> int:
        """Octets that are kept: of the frame that was begun, and of the message that is read."""
        line = 0 if self._state is _IN_BODY else len(self._held)
        return len(self._data) + self._size + line

    @property
    def wanting(self) -> str:
        """The part that the frame that was begun lacks, for its sender; empty between frames."""
        return "" if self._state is _BETWEEN else missing_end(bytes(self._held))

    def feed(self, payload: bytes) -> None:
        """Take one WebSocket message; its borders matter, so call it only when `next` gave None.

        Args:
            payload: The message, whole; text as UTF-8.

        Raises:
            RemoteProtocolError: The decoder is dead already.
        """
        if self._failure is not None:
            raise self._error()
        if self._pos < len(self._data):  # a CR whose LF may come
            payload = self._data[self._pos :] + payload
        self._data = payload
        self._pos = 0
        self._blank = -1
        self._messages += 1

    def next(self) -> Frame | None:
        """The next frame, or None when more octets are needed (STOMP 1.2, "STOMP Frames").

        Raises:
            RemoteProtocolError: The peer broke the protocol, with command and headers of the frame
                as far as they were read. Every later call raises it again.
            LimitExceeded: The frame is larger than `Limits` allow, in any dimension.
        """
        if self._failure is not None:
            raise self._error()
        if self._state is _BETWEEN:
            if self._pos >= len(self._data) or not self._skip_gap():
                return None
            frame = self._quick()
            if frame is not None:
                return frame
            self._messages = 1
            self._state = _IN_COMMAND
        elif self._messages > self._limits.max_messages_per_frame:
            raise self._exceeds("max_messages_per_frame", self._messages)
        if self._state is _IN_COMMAND and not self._read_command():
            return None
        if self._state is _IN_HEADERS and not self._read_headers():
            return None
        return self._read_body()

    # -- Failing ---------------------------------------------------------------------------------

    def _exceeds(self, limit: str, got: int, *, whole: bool = True) -> RemoteProtocolError:
        """Die of a limit; what is counted is told from what is measured."""
        counted = limit in ("max_headers", "max_messages_per_frame")
        code = ErrorCode.LIMIT_COUNT if counted else ErrorCode.LIMIT_SIZE
        return self._fail(code, detail=exceeded(self._limits, limit, got, whole=whole))

    def _fail(
        self, code: ErrorCode, command: str | None = None, detail: str = ""
    ) -> RemoteProtocolError:
        """Die of `code`. What is kept is no exception: its traceback would hold this decoder."""
        if self._rule is not None:
            command = self._rule.command
        self._failure = (code, command, self._headers, detail)
        self._state = _BETWEEN
        self._data, self._held = b"", bytearray()
        return self._error()

    def _error(self) -> RemoteProtocolError:
        assert self._failure is not None
        code, command, headers, detail = self._failure
        error = LimitExceeded if code.code == "limit" else RemoteProtocolError
        return error(code, command, headers, detail)

    # -- Between frames --------------------------------------------------------------------------

    def _skip_gap(self) -> bool:
        """Skip what may stand between frames; True when a frame begins."""
        data, pos, end = self._data, self._pos, len(self._data)
        if pos < end and data[pos] <= _CR:
            match = GAP.match(data, pos)
            assert match is not None
            self._pos = pos = match.end()
            if pos < end and data[pos] == _CR:
                if pos + 1 == end:
                    return False
                raise self._fail(ErrorCode.BAD_HEADER)
        if pos < end:
            return True
        self._data, self._pos = b"", 0
        return False

    # -- The head of a frame, line by line -------------------------------------------------------

    def _read_line(self, limit: int) -> bytes | None:
        """The next line without its LF, or None when the message ends first.

        Args:
            limit: Octets it may have before its LF.
        """
        data, pos, block = self._data, self._pos, self._limits.max_header_block - self._size - 1
        room = min(limit, block) - len(self._held)
        end = data.find(b"\n", pos, pos + room + 1)
        stop = end if end >= 0 else pos + room
        if data.find(b"\0", pos, stop) >= 0:
            raise self._fail(ErrorCode.BAD_HEADER) if self._rule else self._unknown(None)
        if end >= 0:
            line = data[pos:end]
            self._pos = end + 1
            if self._held:
                self._held += line
                line = bytes(self._held)
                self._held = bytearray()
            self._size += len(line) + 1
            return line
        if len(data) - pos > room:
            if not self._rule and not begins(bytes(self._held) + data[pos : pos + limit]):
                raise self._unknown(None)
            end = data.find(b"\n", pos)
            length = len(self._held) + (end if end >= 0 else len(data)) - pos
            if limit <= block:
                raise self._exceeds("max_header_line", length, whole=end >= 0)
            raise self._exceeds("max_header_block", self._size + length + 1, whole=False)
        self._hold(pos)
        return None

    def _hold(self, pos: int) -> None:
        """Keep the rest of this message for the next one; nothing keeps the message itself."""
        self._held += self._data[pos:] if pos else self._data
        self._data, self._pos = b"", 0

    def _read_command(self) -> bool:
        line = self._read_line(MAX_COMMAND)
        if line is None:
            if not begins(bytes(self._held)):
                raise self._unknown(None)
            return False
        rule = self._table.get(line)
        if rule is None:
            raise self._unknown(COMMANDS.get(line))
        self._rule = rule
        self._state = _IN_HEADERS
        return True

    def _unknown(self, command: str | None) -> RemoteProtocolError:
        detail = "" if self._version or self._server_frames else FIRST_FRAME
        return self._fail(ErrorCode.UNKNOWN_COMMAND, command, detail)

    def _read_headers(self) -> bool:
        rule = self._rule
        assert rule is not None
        while True:
            line = self._read_line(self._limits.max_header_line)
            if line is None:
                return False
            if rule.dialect.crlf and line.endswith(b"\r"):
                line = line[:-1]
            if not line:
                self._measure(rule)
                self._state = _IN_BODY
                return True
            self._lines += 1
            if self._lines > self._limits.max_headers:
                raise self._exceeds("max_headers", self._lines, whole=False)
            self._take_header(line, rule)

    def _take_header(self, line: bytes, rule: Rule) -> None:
        dialect = rule.dialect
        if dialect.crlf and b"\r" in line:
            raise self._fail(ErrorCode.BAD_HEADER)
        try:
            text = line.decode()
        except UnicodeDecodeError:
            raise self._fail(ErrorCode.BAD_UTF8) from None
        name, colon, value = text.partition(":")
        if not name or not colon:
            raise self._fail(ErrorCode.BAD_HEADER)
        if dialect.escapes and "\\" in text:
            name = self._unescape(name, dialect.escapes)
            value = self._unescape(value, dialect.escapes)
        if dialect.trim:
            value = value.lstrip(BLANKS)
        for known, extra in rule.ids:
            if name == known and (size := len(value.encode())) > self._limits.max_id + extra:
                raise self._exceeds("max_id", size)
        if self._headers.setdefault(name, value) != value:
            if name == "content-length":
                raise self._fail(ErrorCode.BAD_CONTENT_LENGTH)
            if name in REFUSED_WHEN_REPEATED:
                raise self._fail(ErrorCode.REPEATED_HEADER, detail=f"It is {name}.")

    def _unescape(self, text: str, escapes: tuple[tuple[str, str], ...]) -> str:
        plain = unescape(text, escapes)
        if plain is None:
            raise self._fail(ErrorCode.BAD_ESCAPE)
        return plain

    # -- The body of a frame ---------------------------------------------------------------------

    def _measure(self, rule: Rule) -> None:
        """The head is complete: decide where the body ends, and refuse one that may not be."""
        has_body = rule.body is Body.KEPT or rule.body is Body.DROPPED
        self._left = None if has_body else 0
        self._echoed = False
        value = self._headers.get("content-length")
        if value is not None:
            if rule.command in (CONNECT, STOMP) and self._asks_for_1_0():
                value = value.lstrip(BLANKS)
            if _CONTENT_LENGTH.fullmatch(value) is None:
                raise self._fail(ErrorCode.BAD_CONTENT_LENGTH)
            length = int(value)
            if has_body:
                self._left = length
            elif rule.body is Body.ECHOED:
                self._echoed = length > 0
            elif length:
                raise self._fail(ErrorCode.BODY_NOT_ALLOWED)
        size = self._size + (self._left or 0) + 1
        if size > self._limits.max_message_size:
            raise self._exceeds("max_message_size", size, whole=self._left is not None)

    def _asks_for_1_0(self) -> bool:
        """CONNECT is read before the version is known, but its values are those of that version."""
        return choose_version(self._headers.get("accept-version")) is Version.V10

    def _read_body(self) -> Frame | None:
        data, pos = self._data, self._pos
        rule = self._rule
        assert rule is not None
        if self._left is None:
            room = self._limits.max_message_size - self._size - 1
            end = data.find(b"\0", pos, pos + room + 1)
            if end < 0:
                if len(data) - pos > room:
                    size = self._limits.max_message_size + 1
                    raise self._exceeds("max_message_size", size, whole=False)
                self._hold_body(rule)
                return None
        else:
            end = pos + self._left
            if end >= len(data):
                self._left = end - len(data)
                self._hold_body(rule)
                return None
            if data[end]:
                has_body = rule.body is Body.KEPT or rule.body is Body.DROPPED
                code = ErrorCode.MISSING_NUL if has_body else ErrorCode.BODY_NOT_ALLOWED
                raise self._fail(code, detail=typed_nul(data[end : end + 2]))
        if self._echoed and not _EOLS.fullmatch(data, end + 1):
            raise self._fail(ErrorCode.BODY_NOT_ALLOWED)
        body = data[pos:end]
        self._pos = end + 1
        return self._finish(rule, body)

    def _hold_body(self, rule: Rule) -> None:
        self._size += len(self._data) - self._pos
        self._hold(self._pos)
        if rule.body is Body.DROPPED:
            self._held.clear()

    def _finish(self, rule: Rule, body: bytes) -> Frame:
        if self._held:
            self._held += body
            body = bytes(self._held)
            self._held = bytearray()
        if rule.body is Body.DROPPED:
            body = b""
        frame = Frame(rule.command, self._headers, body)
        self._state, self._rule, self._headers = _BETWEEN, None, {}
        self._size = self._lines = 0
        if self._pos == len(self._data):
            self._data, self._pos = b"", 0
        return frame

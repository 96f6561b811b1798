"""What the server writes, read by a parser of its own: strict, and nothing of the library in it.

Rule: exactly what STOMP 1.0 to 1.2 and RFC 6455 let a server send, and of several ways to write it
the one that every client reads alike; anything else is `Malformed`.
"""

from __future__ import annotations

__all__ = ["Malformed", "Read", "Reader"]

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
COMMANDS = ("CONNECTED", "MESSAGE", "RECEIPT", "ERROR")
ESCAPES = {
    "1.0": {},
    "1.1": {"n": "\n", "c": ":", "\\": "\\"},
    "1.2": {"r": "\r", "n": "\n", "c": ":", "\\": "\\"},
}
REQUIRED = {
    "CONNECTED": ("version", "session", "heart-beat", "server"),
    "MESSAGE": ("destination", "message-id"),
    "RECEIPT": ("receipt-id",),
    "ERROR": ("message", "code"),
}

REPEATED = ("delivery-attempt",)
"""A dead letter that is delivered again has that of its first life, too; the first one counts."""

Read = tuple[str, dict[str, str], bytes]
"""Command, headers, body. A heart-beat is `BEAT`, the Close frame `CLOSE` with its code as body."""


class Malformed(AssertionError):
    """The server wrote what no server may write."""


class Reader:
    """The octets of one connection, in any pieces."""

    def __init__(self, version: str) -> None:
        self.version = version
        self.rest = b""
        self.upgraded = False
        self.status = ""
        """The first line of the answer to the upgrade."""
        self.begun = False
        """The first frame has come."""

    def feed(self, data: bytes) -> list[Read]:
        """What is complete with these octets."""
        self.rest += data
        if not self.upgraded and not self._upgrade():
            return []
        found: list[Read] = []
        while (frame := self._frame()) is not None:
            one = self._message(*frame)
            self.begun = True
            found.append(one)
        return found

    def _upgrade(self) -> bool:
        head, end, rest = self.rest.partition(b"\r\n\r\n")
        if not end:
            return False
        self.status = head.split(b"\r\n")[0].decode("ascii")
        self.upgraded, self.rest = self.status.startswith("HTTP/1.1 101 "), rest
        return self.upgraded

    def _frame(self) -> tuple[int, bytes] | None:
        """One WebSocket frame: whole, unmasked, its length written as short as it can be."""
        data = self.rest
        if len(data) < 2:
            return None
        _check(data[0] & 0xF0 == 0x80, "not FIN alone")
        _check(data[1] < 0x80, "masked by a server")
        length, start = data[1], 2
        if length == 126:
            length, start = int.from_bytes(data[2:4], "big"), 4
            _check(len(data) < 4 or length > 125, "a length that could be shorter")
        elif length == 127:
            length, start = int.from_bytes(data[2:10], "big"), 10
            _check(len(data) < 10 or length > 65_535, "a length that could be shorter")
        if len(data) < start + length:
            return None
        self.rest = data[start + length :]
        return data[0] & 0x0F, data[start : start + length]

    def _message(self, opcode: int, payload: bytes) -> Read:
        if opcode == CLOSE:
            _check(2 <= len(payload) <= 125, "a Close of no good length")
            payload[2:].decode()
            return "CLOSE", {}, str(int.from_bytes(payload[:2], "big")).encode()
        if opcode in (PING, PONG):
            _check(len(payload) <= 125, "a control frame that is too long")
            return "PING" if opcode == PING else "PONG", {}, payload
        _check(opcode in (TEXT, BINARY), f"opcode {opcode}")
        _check((opcode == TEXT) == _is_text(payload), "the opcode does not say what it is")
        if payload == b"\n":
            return "BEAT", {}, b""
        return self._stomp(payload)

    def _stomp(self, payload: bytes) -> Read:
        """One STOMP frame, which is one message."""
        head, blank, rest = payload.partition(b"\n\n")
        _check(bool(blank), "no blank line")
        _check(b"\r" not in head and b"\0" not in head, "CR or NUL in the head")
        command, *lines = head.decode().split("\n")
        _check(command in COMMANDS, f"command {command!r}")
        _check((command == "CONNECTED") != self.begun, f"{command} is first, or is not")
        headers: dict[str, str] = {}
        for line in lines:
            name, colon, value = line.partition(":")
            _check(bool(colon and name), f"header line {line!r}")
            name, value = self._unescape(command, name), self._unescape(command, value)
            _check(name not in headers or name in REPEATED, f"header {name!r} twice")
            headers.setdefault(name, value)
        for name in REQUIRED[command]:
            _check(name in headers, f"{command} without {name}")
        return command, headers, _body(command, headers, rest)

    def _unescape(self, command: str, text: str) -> str:
        escapes = ESCAPES["1.0" if command == "CONNECTED" else self.version]
        if "\\" not in text or not escapes:
            _check(self.version == "1.0" or ":" not in text or not escapes, "a bare colon")
            return text
        plain, at = "", 0
        while at < len(text):
            if text[at] == "\\":
                _check(text[at + 1 : at + 2] in escapes, f"escape in {text!r}")
                plain += escapes[text[at + 1]]
                at += 1
            else:
                plain += text[at]
            at += 1
        return plain


def _body(command: str, headers: dict[str, str], rest: bytes) -> bytes:
    """What stands before the last NUL, and content-length says so."""
    body, nul = rest[:-1], rest[-1:]
    _check(nul == b"\0", "no NUL at the end")
    _check(command in ("MESSAGE", "ERROR") or not body, f"{command} with a body")
    length = headers.get("content-length")
    _check(length == (str(len(body)) if body else None), f"content-length {length}")
    return body


def _is_text(payload: bytes) -> bool:
    try:
        payload.decode()
    except UnicodeDecodeError:
        return False
    return True


def _check(fine: bool, problem: str) -> None:
    if not fine:
        raise Malformed(problem)

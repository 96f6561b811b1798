"""SockJS frames, without a session: messages to frames, frames to what a transport sends, and the
arrays of messages that clients post.

Rule: every function is pure. A message is quoted once, when it is dressed; its quoted text is what
mailboxes hold, and a frame is made of those that leave together. Every frame is terminated: a
client does not see one that is not, and asks again at once, for ever.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast
from urllib.parse import parse_qsl

__all__ = [
    "ANOTHER_OPEN",
    "FORMATS",
    "HEART_BEAT",
    "INTERRUPTED",
    "OPEN",
    "CloseFrame",
    "Format",
    "PostError",
    "close_frame",
    "form_field",
    "message_frame",
    "quote",
    "read_messages",
]

_FIELDS: Final = 16
"""Fields that a form may have."""

OPEN: Final = b"o"
HEART_BEAT: Final = b"h"

_FRAGILE: Final = re.compile("[\u200c-\u200f\u2028-\u202f\u2060-\u206f\ufff0-\uffff]")
"""What some browsers change in a text that they read, beside what JSON escapes itself."""
_MARKUP: Final = re.compile(rb"[<>&]")


class CloseFrame(bytes):
    """The frame that ends a session, in a mailbox behind the messages."""

    __slots__ = ()


def quote(payload: bytes) -> bytes:
    """A message as a text of JSON.

    Args:
        payload: Valid UTF-8.
    """
    text = json.dumps(payload.decode(), ensure_ascii=False)
    if not text.isascii():
        text = _FRAGILE.sub(_escape, text)
    return text.encode()


def _escape(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"


def message_frame(quoted: Sequence[bytes]) -> bytes:
    """The frame of quoted messages."""
    return b"a[%b]" % b",".join(quoted)


def close_frame(code: int, reason: str) -> CloseFrame:
    """The frame that ends a session.

    Args:
        code: A close code.
        reason: A constant of ours; never peer text.
    """
    return CloseFrame(b"c[%d,%b]" % (code, json.dumps(reason).encode()))


INTERRUPTED: Final = close_frame(1002, "Connection interrupted")
"""To a client whose session is gone."""
ANOTHER_OPEN: Final = close_frame(2010, "Another connection still open")
"""To a request for a session that another request carries."""


# Transports


@dataclass(frozen=True)
class Format:
    """How one transport sends frames."""

    transport: str
    """Its name in the path, in events and in log lines."""
    method: str
    content_type: str
    streams: bool
    """An answer holds any number of frames; else it ends with the first one."""
    wrap: Callable[[bytes, str], bytes]
    """A frame as this transport sends it, for a callback; that is "" where the transport has
    none.
    """
    prelude: Callable[[str], bytes] = lambda callback: b""
    """What a stream begins with."""
    callback: bool = False
    """The request names a function."""


def _line(frame: bytes, callback: str) -> bytes:
    return frame + b"\n"


def _event(frame: bytes, callback: str) -> bytes:
    # The client decodes percent signs out of every event.
    return b"data: %b\r\n\r\n" % frame.replace(b"%", b"%25")


def _script_text(frame: bytes) -> bytes:
    """A frame as a literal of JavaScript that may stand in a script element."""
    text = json.dumps(frame.decode()).encode()
    return _MARKUP.sub(lambda found: b"\\u%04x" % found[0][0], text)


def _script(frame: bytes, callback: str) -> bytes:
    return b"<script>\np(%b);\n</script>\r\n" % _script_text(frame)


def _call(frame: bytes, callback: str) -> bytes:
    # The comment keeps the answer from being read as a file of another kind.
    return b"/**/%b(%b);\r\n" % (callback.encode(), _script_text(frame))


def _page(callback: str) -> bytes:
    """The head of the endless page, padded so that browsers show it at once."""
    head = f"""<!doctype html>
<html><head>
  <meta http-equiv="X-UA-Compatible" content="IE=edge" />
  <meta http-equiv="Content-Type" content="text/html; charset=UTF-8" />
</head><body><h2>Don't panic!</h2>
  <script>
    document.domain = document.domain;
    var c = parent.{callback};
    c.start();
    function p(d) {{c.message(d);}};
    window.onload = function() {{c.stop();}};
  </script>"""
    return f"{head.ljust(1_024)}\r\n\r\n".encode()


_SCRIPT_TYPE: Final = "application/javascript; charset=UTF-8"

FORMATS: Final = {
    each.transport: each
    for each in (
        Format("xhr", "POST", _SCRIPT_TYPE, streams=False, wrap=_line),
        Format(
            "xhr_streaming",
            "POST",
            _SCRIPT_TYPE,
            streams=True,
            wrap=_line,
            # Some browsers show nothing of an answer before they have 2 KiB of it.
            prelude=lambda callback: b"h" * 2_048 + b"\n",
        ),
        Format(
            "eventsource",
            "GET",
            "text/event-stream",
            streams=True,
            wrap=_event,
            prelude=lambda callback: b"\r\n",
        ),
        Format(
            "htmlfile",
            "GET",
            "text/html; charset=UTF-8",
            streams=True,
            wrap=_script,
            prelude=_page,
            callback=True,
        ),
        Format("jsonp", "GET", _SCRIPT_TYPE, streams=False, wrap=_call, callback=True),
    )
}
"""The transports over plain HTTP, by name."""


# Posts


class PostError(Exception):
    """A post cannot be read; nothing of it is taken.

    Attributes:
        status: The HTTP status of the answer.
        text: A sentence of ours for its body.
    """

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


def form_field(body: bytes) -> bytes:
    """The field `d` of a form; empty where there is none, and for what is no form."""
    try:
        fields = parse_qsl(body.decode(), max_num_fields=_FIELDS)
    except ValueError:
        return b""
    return dict(fields).get("d", "").encode()


def read_messages(body: bytes, most: int, largest: int, *, single: bool = False) -> list[bytes]:
    """The messages of a JSON array of texts; empty ones are left out.

    Args:
        body: The array.
        most: How many there may be.
        largest: Bytes that each may have.
        single: One text instead of an array is taken too.

    Raises:
        PostError: 500 for what is no such array, 413 over a bound; by the peer.
    """
    if not body:
        raise PostError(500, "Payload expected.")
    try:
        found: Any = json.loads(body)
    except (ValueError, RecursionError):
        raise PostError(500, "Broken JSON encoding.") from None
    if single and isinstance(found, str):
        found = [found]
    if not isinstance(found, list):
        raise PostError(500, "Payload expected.")
    texts = cast("list[object]", found)
    if len(texts) > most:
        got = len(texts)
        raise PostError(413, f"Too many messages at once: Limits.sockjs_messages={most}, got {got}")
    messages: list[bytes] = []
    for text in texts:
        if not isinstance(text, str):
            raise PostError(500, "Payload expected.")
        try:
            message = text.encode()
        except UnicodeEncodeError:
            raise PostError(500, "Broken JSON encoding.") from None
        if len(message) > largest:
            got = len(message)
            raise PostError(
                413, f"A message is too large: Limits.max_message_size={largest}, got {got}"
            )
        if message:
            messages.append(message)
    return messages

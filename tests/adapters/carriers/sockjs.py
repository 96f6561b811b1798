"""A browser of SockJS: connections of HTTP, and sessions over each transport.

Rule: answers are read with h11, and frames are taken apart by hand; nothing of the library's codecs
is used here. `Http` shows an answer as it came; a `Page` does what the protocol asks of a client.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from urllib.parse import unquote

import h11

from carriers.client import CLOSE, TEXT, Client, Gone, Pipe, Stomp, ws_frame

__all__ = ["TRANSPORTS", "Answer", "Browser", "Http", "HttpPage", "Page", "SocketPage", "text_of"]

TRANSPORTS = ["xhr", "xhr_streaming", "eventsource"]
PRELUDES = {"xhr": b"", "xhr_streaming": b"h" * 2_048 + b"\n", "eventsource": b"\r\n"}
_names = count(1)


@dataclass(frozen=True)
class Answer:
    """One answer."""

    status: int
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes
    version: str


# Connections


class Http:
    """One connection, on which a request may follow another."""

    def __init__(self, pipe: Pipe) -> None:
        self.pipe = pipe
        self._parser = h11.Connection(h11.CLIENT, max_incomplete_event_size=65_536)

    def ask(
        self, method: str, target: str, body: bytes = b"", *, version: str = "1.1", **headers: str
    ) -> Http:
        """Send a request. A header that is "" is left out."""
        fields = {"Host": "localhost"}
        if method == "POST":
            fields["Content-Length"] = str(len(body))
        fields |= {name.replace("_", "-"): text for name, text in headers.items()}
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items() if value)
        if self._parser.our_state is h11.DONE:
            self._parser.start_next_cycle()
        # It has to know what was asked; the bytes are ours.
        self._parser.send(h11.Request(method=method, target=target, headers=[("Host", "x")]))
        self._parser.send(h11.EndOfMessage())
        self.pipe.send(f"{method} {target} HTTP/{version}\r\n{lines}\r\n".encode() + body)
        return self

    def _event(self) -> h11.Event:
        try:
            while (event := self._parser.next_event()) is h11.NEED_DATA:
                self._parser.receive_data(self.pipe.receive())
        except h11.RemoteProtocolError as error:
            raise Gone(str(error)) from None
        if isinstance(event, h11.ConnectionClosed):
            raise Gone("the server has closed")
        assert not isinstance(event, type), event
        return event

    def head(self) -> Answer:
        """Status and headers."""
        while not isinstance(event := self._event(), h11.Response):
            assert isinstance(event, h11.InformationalResponse), event
        headers = {name.decode(): value.decode() for name, value in event.headers}
        return Answer(event.status_code, headers, b"", event.http_version.decode())

    def chunk(self) -> bytes:
        """The next chunk, or some bytes of a body without chunks; nothing at its end."""
        data = b""
        while True:
            event = self._event()
            if isinstance(event, h11.EndOfMessage):
                assert not data
                return b""
            assert isinstance(event, h11.Data), event
            data += bytes(event.data)
            if event.chunk_end or (data == bytes(event.data) and not event.chunk_start):
                return data

    def answer(self) -> Answer:
        """A whole answer."""
        head = self.head()
        body = b"".join(iter(self.chunk, b""))
        return Answer(head.status, head.headers, body, head.version)

    @property
    def is_idle(self) -> bool:
        """The next request may be sent here."""
        return self._parser.our_state is self._parser.their_state is h11.DONE


class Browser:
    """Asks on a connection that is idle, and opens one where none is.

    Args:
        connect: Opens a stream.
        again: A connection is used again, unless the server has said that it closes it.
    """

    def __init__(self, connect: Callable[[], Pipe], *, again: bool = True) -> None:
        self._connect = connect
        self._again = again
        self._idle: list[Http] = []
        self.opened = 0
        """Connections so far."""

    def connect(self) -> Http:
        """A new connection."""
        self.opened += 1
        return Http(self._connect())

    def begin(
        self, method: str, target: str, body: bytes = b"", *, version: str = "1.1", **headers: str
    ) -> Http:
        """Send a request; who has read the whole answer gives the connection back."""
        http = self._idle.pop() if self._idle else self.connect()
        return http.ask(method, target, body, version=version, **headers)

    def give_back(self, http: Http) -> None:
        """The answer has ended."""
        if http.is_idle and self._again:
            self._idle.append(http)
        else:
            http.pipe.close()

    def ask(
        self, method: str, target: str, body: bytes = b"", *, version: str = "1.1", **headers: str
    ) -> Answer:
        """One request, and its answer."""
        http = self.begin(method, target, body, version=version, **headers)
        answer = http.answer()
        self.give_back(http)
        return answer


# Sessions


def text_of(command: str, headers: dict[str, str] | None = None, body: str = "") -> str:
    """One STOMP frame as a text."""
    lines = "".join(f"{name}:{value}\n" for name, value in (headers or {}).items())
    return f"{command}\n{lines}\n{body}\0"


class Page(ABC):
    """One session, whatever transports it; `o` has not been read."""

    def __init__(self) -> None:
        self._messages: deque[str] = deque()
        self._receipts = 0

    @abstractmethod
    def frame(self) -> str:
        """The next frame of SockJS."""

    @abstractmethod
    def post(self, *messages: str) -> None:
        """Send messages at once."""

    def leave(self) -> None:
        """Make the session depend on a connection, which is then closed."""
        return

    def send(self, command: str, headers: dict[str, str] | None = None, body: str = "") -> None:
        """Send one STOMP frame."""
        self.post(text_of(command, headers, body))

    def say(self, body: str, destination: str = "/app/say") -> None:
        """SEND."""
        self.send("SEND", {"destination": destination}, body)

    def message(self, command: str = "MESSAGE") -> Stomp:
        """The next STOMP frame, which must be of this command; heart-beats are left out."""
        while True:
            while not self._messages:
                frame = self.frame()
                if frame.startswith("c"):
                    raise Gone(frame)
                if frame != "h":
                    assert frame[0] == "a", frame[:200]
                    self._messages += json.loads(frame[1:])
            text = self._messages.popleft()
            if text.strip():
                found = Stomp.read(text.encode())
                assert found.command == command, found
                return found

    def closed(self) -> str:
        """The frame that ends the session; what comes before it is left out."""
        while not (frame := self.frame()).startswith("c"):
            pass
        return frame

    def open(self) -> Page:
        """Take `o`."""
        assert self.frame() == "o"
        return self

    def connect(self) -> Page:
        """Take `o`, then CONNECT."""
        self.open().send("CONNECT", {"accept-version": "1.2", "host": "localhost"})
        self.message("CONNECTED")
        return self

    def subscribe(self, destination: str) -> Page:
        """SUBSCRIBE, and wait for the RECEIPT."""
        self._receipts += 1
        receipt = f"r{self._receipts}"
        self.send("SUBSCRIBE", {"id": receipt, "destination": destination, "receipt": receipt})
        assert self.message("RECEIPT").headers["receipt-id"] == receipt
        return self


class HttpPage(Page):
    """A session over plain HTTP: one receiver after the other, and a post for what it sends."""

    def __init__(self, browser: Browser, transport: str, *, base: str = "/ws", **headers: str):
        super().__init__()
        self.browser = browser
        self.transport = transport
        self.base = base
        self.name = f"s{next(_names)}"
        self.headers = headers
        self.receiver: Http | None = None
        """The request that is waited for."""
        self.receivers = 0
        """Those so far."""
        self._buffer = b""
        self._any = False
        """The receiver has brought a frame."""

    def path(self, transport: str, server: str = "000") -> str:
        """Of a request of this session."""
        return f"{self.base}/{server}/{self.name}/{transport}"

    def listen(self) -> Answer:
        """Ask for frames; the head of the answer, which a poll does not have before its frame."""
        method = "GET" if self.transport == "eventsource" else "POST"
        self.receivers += 1
        self._any = False
        self.receiver = self.browser.begin(
            method, self.path(self.transport, f"{self.receivers:03}"), **self.headers
        )
        if self.transport == "xhr":
            return Answer(0, {}, b"", "")
        head = self._check(self.receiver)
        prelude = PRELUDES[self.transport]
        while len(self._buffer) < len(prelude):
            self._buffer += self._more()
        assert self._buffer.startswith(prelude)
        self._buffer = self._buffer[len(prelude) :]
        return head

    def _check(self, http: Http) -> Answer:
        head = http.head()
        if head.status != 200:
            raise Gone(f"{head.status} {http.chunk()!r}")
        return head

    def _more(self) -> bytes:
        assert self.receiver is not None
        data = self.receiver.chunk()
        if not data:
            assert not self._buffer, self._buffer[:200]
            assert self._any, "an answer without a frame: a client would ask for ever"
            self.browser.give_back(self.receiver)
            self.receiver = None
        return data

    def frame(self) -> str:
        """The next one; a receiver that has ended is followed by the next."""
        while True:
            mark = b"\r\n\r\n" if self.transport == "eventsource" else b"\n"
            frame, found, rest = self._buffer.partition(mark)
            if found:
                self._buffer = rest
                self._any = True
                if self.transport == "xhr":
                    self._end_poll()
                return self._read(frame)
            if self.receiver is None:
                self.listen()
            if self.transport == "xhr" and not self._buffer:
                assert self.receiver is not None
                self._check(self.receiver)
            self._buffer += self._more()

    def _end_poll(self) -> None:
        assert not self._buffer, self._buffer[:200]
        assert self._more() == b""

    def _read(self, frame: bytes) -> str:
        text = frame.decode()
        if self.transport == "eventsource":
            assert text.startswith("data: "), text[:200]
            return unquote(text[6:])
        return text

    def leave(self) -> None:
        http = self.browser.connect()
        http.ask("POST", self.path("xhr"), **self.headers)
        http.pipe.half_close()

    def try_post(self, *messages: str) -> Answer:
        """Send messages at once; the answer."""
        body = json.dumps(messages).encode()
        return self.browser.ask("POST", self.path("xhr_send"), body, **self.headers)

    def begin_post(self, *messages: str) -> Http:
        """Send messages at once, and do not wait for the answer."""
        body = json.dumps(messages).encode()
        return self.browser.begin("POST", self.path("xhr_send"), body, **self.headers)

    def post(self, *messages: str) -> None:
        answer = self.try_post(*messages)
        assert (answer.status, answer.body) == (204, b""), answer


class SocketPage(Page):
    """A session in the messages of a WebSocket."""

    def __init__(self, client: Client, **headers: str) -> None:
        super().__init__()
        self.client = client
        self.name = f"s{next(_names)}"
        client.upgrade(target=f"/ws/000/{self.name}/websocket", **headers)

    def frame(self) -> str:
        opcode, payload = self.client.next_message()
        if opcode == CLOSE:
            raise Gone(f"Close {int.from_bytes(payload[:2])}")
        assert opcode == TEXT, (opcode, payload[:200])
        return payload.decode()

    def post(self, *messages: str) -> None:
        self.client.pipe.send(ws_frame(TEXT, json.dumps(messages).encode()))

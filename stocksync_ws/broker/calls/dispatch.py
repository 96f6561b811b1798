"""What the broker asks of the application: pipelines for the places where user code has a say.

Rule: the broker knows no decorator and no handler. It asks for a pipeline and runs it; None means
that there is nothing to run. A pipeline may publish through the broker, and may raise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol, TypeAlias

from stocksync_ws.broker.calls.events import Event
from stocksync_ws.broker.model.credentials import Credentials
from stocksync_ws.broker.model.pipeline import Call, Pipeline
from stocksync_ws.broker.model.publication import Draft, Publication, PublicationKind
from stocksync_ws.broker.model.session import SessionRecord
from stocksync_ws.stomp.frame import Frame
from stocksync_ws.types import Handshake, Refusal

__all__ = [
    "UNSENT",
    "Denial",
    "Dispatch",
    "Filter",
    "NullDispatch",
    "Outbound",
    "Reply",
    "Verdict",
]


@dataclass(frozen=True, slots=True)
class Reply:
    """The one answer to a SUBSCRIBE to the application."""

    body: bytes
    headers: tuple[tuple[str, str], ...] = ()


class Denial(NamedTuple):
    """Why a session may not, for the log alone."""

    rule: str
    label: str = ""
    """The function or statement of the application that said so; empty: a setting."""

    @property
    def text(self) -> str:
        """Both, in one line."""
        return f"{self.label}: {self.rule}" if self.label else self.rule


Verdict: TypeAlias = "Denial | Pipeline[Denial | None] | None"
"""None: it may. A pipeline where user code has to be asked, which may raise."""

Failed: TypeAlias = Callable[[str, Exception], None]
"""Told the label of a function that raised, and what."""

Outbound: TypeAlias = Callable[[Draft, PublicationKind, Failed], None]
"""Lets all outbound interceptors look at a draft, and change it. Raises `AccessDenied` for a veto,
`InterceptorFailed` where one failed.
"""

Filter: TypeAlias = Callable[[SessionRecord, Publication, Failed], bool]
"""Whether a session gets a publication; never raises."""

UNSENT: Final = Reply(b"")
"""The snapshot of a destination that has none to send; known by identity."""


class Dispatch(Protocol):
    """The application, as the broker sees it."""

    @property
    def needs_threads(self) -> bool:
        """Calls of it may have to run in threads."""
        ...

    def handshake(self, handshake: Handshake) -> Pipeline[Refusal | Credentials | None] | None:
        """Before the upgrade is answered: a `Refusal` refuses it, and so does what it raises;
        `Credentials` say who it is. None: accepted at once.
        """
        ...

    @property
    def has_inbound(self) -> bool:
        """There are inbound interceptors: `inbound` has to be asked."""
        ...

    def inbound(self, session: SessionRecord, frame: Frame) -> Pipeline[Frame] | None:
        """Let the interceptors look at a frame before anything else does: what they made of it.
        Raises `AccessDenied` for a veto. None: there are none for such a frame.
        """
        ...

    @property
    def outbound(self) -> Outbound | None:
        """The outbound interceptors as one function; None: there are none."""
        ...

    def delivery_filter(self, destination: str) -> Filter | None:
        """The filter of a topic, by the name that its subscribers use; None: everybody gets all."""
        ...

    def connect(self, session: SessionRecord, frame: Frame) -> Pipeline[Credentials | None] | None:
        """The user of a CONNECT; raises `AccessDenied` or `BadCredentials`. None, also of the
        pipeline: the one of the handshake, else anonymous.
        """
        ...

    def refresh(self, session: SessionRecord, frame: Frame) -> Pipeline[Credentials | None]:
        """Ask anew who gave the session its credentials, which end; `frame` is the SEND with the
        new passcode. Raises as `connect`.
        """
        ...

    def roles(self, session: SessionRecord) -> Pipeline[frozenset[str]] | None:
        """The roles of its user as they are now. None: they do not change."""
        ...

    def refuses(self, session: SessionRecord, path: str) -> bool:
        """Whether the handler of a SEND would refuse this session by its roles."""
        ...

    def send(self, session: SessionRecord, frame: Frame, path: str) -> Pipeline[None] | None:
        """Handle a SEND to the application; `path` is what follows its prefix. None: no handler."""
        ...

    def subscribe(
        self, session: SessionRecord, frame: Frame, path: str
    ) -> Pipeline[Reply | None] | None:
        """Answer a SUBSCRIBE to the application. None: no handler."""
        ...

    def snapshot(
        self, session: SessionRecord, frame: Frame, destination: str
    ) -> Pipeline[Reply | None] | None:
        """The first message to a subscriber of a destination; `UNSENT` for nothing. None: the
        destination has no snapshot function. A pipeline that returns None has failed, and told it.
        """
        ...

    @property
    def has_rules(self) -> bool:
        """Somebody may not do everything: `judge` has to be asked."""
        ...

    def judge(
        self, session: SessionRecord, frame: Frame, command: str, destination: str
    ) -> Verdict:
        """Whether a session may use a destination.

        Args:
            frame: The frame that asks.
            command: `SEND` or `SUBSCRIBE`: what the session would do there.
            destination: A literal one.
        """
        ...

    def judge_answer(self, session: SessionRecord, frame: Frame, reply_to: str) -> Verdict:
        """Whether a session may be answered at the `reply-to` of a frame: what it may not SEND
        itself, nobody sends for it.
        """
        ...

    def no_handler(self, command: str, path: str) -> str:
        """Why `send` or `subscribe` gave None, for the log; asked at most once a second.

        Args:
            command: `SEND` or `SUBSCRIBE`.
            path: What follows the prefix of the application.
        """
        ...

    def hears(self, kind: type[Event]) -> bool:
        """Somebody listens for events of this kind; the answer does not change in a run."""
        ...

    def event(self, event: Event) -> Sequence[Call]:
        """The listeners to tell, in order."""
        ...


class NullDispatch:
    """A `Dispatch` with nothing to say: every client is anonymous and nothing has a handler."""

    needs_threads = False
    has_rules = False
    has_inbound = False
    outbound: Outbound | None = None

    def inbound(self, session: SessionRecord, frame: Frame) -> Pipeline[Frame] | None:
        """No interceptor."""

    def delivery_filter(self, destination: str) -> Filter | None:
        """No filter."""

    def handshake(self, handshake: Handshake) -> Pipeline[Refusal | Credentials | None] | None:
        """Accept."""

    def connect(self, session: SessionRecord, frame: Frame) -> Pipeline[Credentials | None] | None:
        """Anonymous."""

    def refresh(self, session: SessionRecord, frame: Frame) -> Pipeline[Credentials | None]:
        """Anonymous."""
        yield from ()
        return None

    def roles(self, session: SessionRecord) -> Pipeline[frozenset[str]] | None:
        """Nobody has any."""

    def refuses(self, session: SessionRecord, path: str) -> bool:
        """No handler refuses."""
        return False

    def send(self, session: SessionRecord, frame: Frame, path: str) -> Pipeline[None] | None:
        """No handler."""

    def subscribe(
        self, session: SessionRecord, frame: Frame, path: str
    ) -> Pipeline[Reply | None] | None:
        """No handler."""

    def snapshot(
        self, session: SessionRecord, frame: Frame, destination: str
    ) -> Pipeline[Reply | None] | None:
        """No snapshot."""

    def judge(
        self, session: SessionRecord, frame: Frame, command: str, destination: str
    ) -> Verdict:
        """The session may."""

    def judge_answer(self, session: SessionRecord, frame: Frame, reply_to: str) -> Verdict:
        """The session may."""

    def no_handler(self, command: str, path: str) -> str:
        """There is none."""
        return "nothing has a handler"

    def hears(self, kind: type[Event]) -> bool:
        """Nobody does."""
        return False

    def event(self, event: Event) -> Sequence[Call]:
        """No listener."""
        return ()

"""What went wrong with a frame, and what the client is told.

Rule: errors of the protocol are always ERROR and close. Errors of the application are told to a
session that listens for them, which lives on; any other session gets ERROR and is closed, as STOMP
demands. Texts are fixed; what really happened stands once in the log, under a correlation id.
"""

from __future__ import annotations

from collections.abc import Callable

from stocksync_ws.broker.calls.events import ConnectRejected
from stocksync_ws.broker.calls.listeners import Listeners
from stocksync_ws.broker.calls.session_log import SessionLog
from stocksync_ws.broker.delivery.mailboxes import Mailboxes
from stocksync_ws.broker.model.namespace import Namespace
from stocksync_ws.broker.model.publication import Draft
from stocksync_ws.broker.model.session import Session, State
from stocksync_ws.broker.sessions.lifecycle import Lifecycle
from stocksync_ws.broker.sessions.publisher import Publisher
from stocksync_ws.broker.sessions.replies import error, error_message
from stocksync_ws.config import Limits
from stocksync_ws.counters import Counters
from stocksync_ws.errors import (
    AccessDenied,
    BadCredentials,
    Cancelled,
    CloseCode,
    ConversionError,
    DisconnectReason,
    ErrorCode,
    HandlerTimeout,
    RemoteProtocolError,
)
from stocksync_ws.stomp.frame import SUBSCRIBE, Frame, Version

__all__ = ["ErrorReporter"]


class ErrorReporter:
    """From an exception or a code to what the session is told."""

    __slots__ = (
        "_correlation",
        "_counters",
        "_journal",
        "_life",
        "_limits",
        "_listeners",
        "_outbox",
        "_publisher",
        "_space",
    )

    def __init__(
        self,
        limits: Limits,
        space: Namespace,
        counters: Counters,
        life: Lifecycle,
        listeners: Listeners,
        publisher: Publisher,
        outbox: Mailboxes,
        journal: SessionLog,
        correlation: Callable[[], str],
    ) -> None:
        self._limits = limits
        self._space = space
        self._counters = counters
        self._life = life
        self._listeners = listeners
        self._outbox = outbox
        self._publisher = publisher
        self._journal = journal
        self._correlation = correlation

    # Errors of the protocol

    def protocol(self, session: Session, problem: RemoteProtocolError, now: float) -> None:
        """The peer broke the protocol: ERROR, then close."""
        self._counters.protocol_errors += 1
        self._journal.refused(session, problem.code, None, now)
        self._error(session, problem.code, problem.command, problem, now)

    def timed_out(self, session: Session, code: ErrorCode, now: float) -> None:
        """CONNECT or the rest of a frame did not come in time."""
        self.protocol(session, RemoteProtocolError(code), now)

    def refuse_connect(
        self, session: Session, frame: Frame, version: Version, problem: BaseException, now: float
    ) -> None:
        """The application refused a CONNECT, or failed to decide about it."""
        code = _connect_code(problem)
        self._counters.connects_refused += 1
        if code in (ErrorCode.CONNECT_REFUSED, ErrorCode.BAD_CREDENTIALS):
            self._journal.refused(session, code, problem, now)
        else:
            self._failed(session, "authenticator", code, problem)
        session.version = version
        event = ConnectRejected(
            session_id=session.id,
            code=code,
            login=frame.headers.get("login"),
            peer=session.peer,
        )
        refusal = RemoteProtocolError(code, frame.command, frame.headers)
        self._error(session, code, frame.command, refusal, now)
        self._listeners.emit(session, event, now)

    def _error(
        self,
        session: Session,
        code: ErrorCode,
        command: str | None,
        problem: RemoteProtocolError,
        now: float,
    ) -> None:
        if session.state not in (State.AWAITING, State.CONNECTED):
            self._life.close(session, code.close, code.reason, now)
            return
        version = session.version or Version.V12
        frame = error(code, command, problem.headers, version, self._limits)
        self._outbox.frame(session, frame, True, now)
        self._life.close(session, code.close, code.reason, now)

    # Errors of the application

    def handler(
        self, session: Session, frame: Frame, problem: BaseException, label: str, now: float
    ) -> None:
        """User code raised and nothing mapped it."""
        if isinstance(problem, Cancelled):
            return
        code = _handler_code(problem, frame.command)
        self.application(session, frame, code, now, label=label, problem=problem)

    def application(
        self,
        session: Session,
        frame: Frame,
        code: ErrorCode,
        now: float,
        *,
        label: str = "",
        problem: BaseException | None = None,
    ) -> None:
        """A frame could not be handled: told to a session that listens, fatal for one that does
        not.
        """
        self._counters.application_errors += 1
        correlation_id = self._failed(session, label, code, problem)
        if session.state is not State.CONNECTED:
            return
        if not self._is_listening(session):
            refusal = RemoteProtocolError(code, frame.command, frame.headers)
            self._error(session, code, frame.command, refusal, now)
            return
        headers, body = error_message(
            code, frame.command, frame.headers, correlation_id, self._limits
        )
        path = self._space.error_path
        self._publisher.publish(Draft(path, tuple(headers), body, session=session.id), now)

    def in_transaction(self, session: Session, frame: Frame, problem: Exception | None) -> None:
        """A SEND of a committed transaction failed, or has no handler; the others are not
        undone.
        """
        code = ErrorCode.NO_HANDLER
        if problem is not None:
            code = _handler_code(problem, frame.command)
        self.application(session, frame, code, self._outbox.now, problem=problem)

    def _failed(
        self, session: Session, label: str, code: ErrorCode, problem: BaseException | None
    ) -> str:
        correlation_id = self._correlation()
        self._journal.failed(session, label, code, correlation_id, problem)
        return correlation_id

    def _is_listening(self, session: Session) -> bool:
        destination = self._space.error_destination
        return any(each.destination == destination for each in session.subscriptions.values())

    # Errors of our own

    def internal(self, what: str, session: Session, problem: BaseException, now: float) -> None:
        """The fence: a bug of ours ends one session with 1011, not the others."""
        self._counters.internal_errors += 1
        self._journal.internal(what, session, problem)
        reason = DisconnectReason.INTERNAL_ERROR
        self._life.close(session, CloseCode.INTERNAL_ERROR, reason, now, drop=True)


def _connect_code(problem: BaseException) -> ErrorCode:
    if isinstance(problem, BadCredentials):
        return ErrorCode.BAD_CREDENTIALS
    if isinstance(problem, AccessDenied):
        return ErrorCode.CONNECT_REFUSED
    if isinstance(problem, HandlerTimeout):
        return ErrorCode.HANDLER_TIMEOUT
    return ErrorCode.HANDLER_FAILED


def _handler_code(problem: BaseException, command: str) -> ErrorCode:
    if isinstance(problem, ConversionError):
        return ErrorCode.BAD_PAYLOAD
    if isinstance(problem, HandlerTimeout):
        return ErrorCode.HANDLER_TIMEOUT
    if isinstance(problem, AccessDenied):
        return ErrorCode.SUBSCRIBE_DENIED if command == SUBSCRIBE else ErrorCode.SEND_DENIED
    return ErrorCode.HANDLER_FAILED

"""What went wrong with a frame, and what the client is told.

Rule: errors of the protocol are always ERROR and close. Errors of the application are told to a
session that listens for them, which lives on; any other session gets ERROR and is closed, as STOMP
demands. Texts are fixed; what really happened stands once in the log, under a correlation id.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from stocksync_ws.broker.calls.dispatch import Denial
from stocksync_ws.broker.calls.events import ConnectRejected, FrameDenied
from stocksync_ws.broker.calls.room import Calls
from stocksync_ws.broker.model.environment import Environment
from stocksync_ws.broker.model.publication import Draft, PublicationKind
from stocksync_ws.broker.model.session import SessionRecord
from stocksync_ws.broker.model.state import State
from stocksync_ws.broker.sessions.lifecycle import Lifecycle
from stocksync_ws.broker.sessions.publisher import Publisher
from stocksync_ws.broker.sessions.replies import error, error_message
from stocksync_ws.codes import CloseCode, DisconnectReason, ErrorCode
from stocksync_ws.errors import (
    AccessDenied,
    BackplaneUnavailable,
    BadCredentials,
    Cancelled,
    ConversionError,
    HandlerTimeout,
    InterceptorFailed,
    PublishUncertain,
    RemoteProtocolError,
)
from stocksync_ws.stomp.frame import SEND, SUBSCRIBE, Frame, Version
from stocksync_ws.types import Refusal, ToSession

__all__ = ["NOT_OWN", "NO_PREFIX", "ErrorReporter", "handler_code"]

NO_ANSWER_THERE = "reply-to: the client may not SEND there itself; it may name /temp-queue/…"
NOT_OWN = "user_prefix: below it only broker_prefixes, /queue and /topic, and no user's name"
_DENIALS = frozenset(
    (ErrorCode.SEND_DENIED, ErrorCode.SUBSCRIBE_DENIED, ErrorCode.SUBSCRIPTION_REVOKED)
)
"""Codes that `FrameDenied` tells."""
NO_PREFIX = "it is below none of application_prefixes, broker_prefixes and user_prefix"


class ErrorReporter:
    """From an exception or a code to what the session is told."""

    __slots__ = (
        "_counters",
        "_dispatch",
        "_lifecycle",
        "_limits",
        "_listeners",
        "_log",
        "_namespace",
        "_publisher",
        "_tasks",
        "_token",
    )

    def __init__(
        self,
        env: Environment,
        calls: Calls,
        lifecycle: Lifecycle,
        publisher: Publisher,
    ) -> None:
        self._limits = env.namespace.widest
        """For destinations that are named in an error."""
        self._namespace = env.namespace
        self._counters = env.counters
        self._token = env.token
        self._log = calls.log
        self._dispatch = calls.dispatch
        self._tasks = calls.tasks
        self._listeners = calls.listeners
        self._lifecycle = lifecycle
        self._publisher = publisher

    # Errors of the protocol

    def protocol(self, session: SessionRecord, problem: RemoteProtocolError) -> None:
        """The peer broke the protocol: ERROR, then close."""
        self._counters.protocol_errors += 1
        self._log.refused(session, problem.code, problem)
        if problem.code in _DENIALS:
            destination = problem.headers.get("destination")
            self._tell_denied(
                session, problem.command or "", destination, problem.code, problem.rule
            )
        self._error(session, problem.code, problem.command, problem)

    def script(self, session: SessionRecord, problem: BaseException) -> None:
        """The script of a frame ended by an error: the peer's fault, or a bug of ours."""
        if isinstance(problem, RemoteProtocolError):
            self.protocol(session, problem)
        else:
            self.internal("a frame", session, problem)

    def _tell_denied(
        self,
        session: SessionRecord,
        command: str,
        destination: str | None,
        code: ErrorCode,
        rule: str,
    ) -> None:
        event = FrameDenied(
            session_id=session.id,
            user=session.user,
            command=command,
            destination=destination,
            code=code,
            rule=rule,
        )
        self._listeners.emit(session, event)

    def refuse_connect(
        self,
        session: SessionRecord,
        frame: Frame,
        version: Version,
        problem: BaseException,
        label: str = "authenticator",
    ) -> None:
        """The application refused a CONNECT, or failed to decide about it.

        Args:
            session: Whose CONNECT it is.
            frame: The CONNECT.
            version: The version in which it is told.
            problem: What user code raised.
            label: Whose function that was.
        """
        code = _connect_code(problem)
        self._counters.connects_refused += 1
        if code in _REFUSALS:
            self._log.refused(session, code, problem)
        else:
            self._failed(session, label, code, problem)
        session.version = version
        event = ConnectRejected(
            session_id=session.id,
            code=code,
            login=frame.headers.get("login"),
            peer=session.peer,
        )
        detail = problem.detail if isinstance(problem, RemoteProtocolError) else ""
        refusal = RemoteProtocolError(code, frame.command, frame.headers, detail)
        self._error(session, code, frame.command, refusal)
        self._listeners.emit(session, event)

    def refuse_handshake(self, session: SessionRecord, problem: BaseException) -> None:
        """The application refused an upgrade, or failed to decide about it: an HTTP error."""
        if session.state is not State.OPENING:
            return
        code = _connect_code(problem)
        if code in _REFUSALS:
            self._log.refused(session, code, problem)
        else:
            task = self._tasks.current
            self._failed(session, "" if task is None else task.label, code, problem)
        self._lifecycle.decide(session, Refusal(_STATUS[code], f"{code.message}."))

    def refuse_credentials(
        self, session: SessionRecord, frame: Frame, problem: RemoteProtocolError | AccessDenied
    ) -> None:
        """A refresh of credentials was refused: ERROR, then close."""
        self._counters.credentials_refused += 1
        code = ErrorCode.BAD_CREDENTIALS
        self._log.refused(session, code, problem)
        self._error(session, code, SEND, RemoteProtocolError(code, SEND, frame.headers))

    def expired(self, session: SessionRecord) -> None:
        """The credentials of a session have ended: ERROR, then close."""
        self._counters.credentials_expired += 1
        code = ErrorCode.CREDENTIALS_EXPIRED
        self._error(session, code, None, RemoteProtocolError(code))

    def end(self, session: SessionRecord, code: ErrorCode, detail: str, why: str = "") -> bool:
        """The server ends a session: ERROR, then close; what waits for it is dropped.

        Args:
            detail: Told to the client behind the sentence of the code.
            why: For the log; empty: the detail.

        Returns:
            False: it was being closed already.
        """
        if session.state in (State.CLOSING, State.CLOSED):
            return False
        self._log.ended(session, code, why or detail)
        if session.state in (State.AWAITING, State.CONNECTED):
            version = session.version or Version.V12
            session.mailbox.frame(error(code, None, {}, version, self._limits, detail))
        self._lifecycle.close(session, code.close, code.reason, drop=True)
        return True

    def _error(
        self,
        session: SessionRecord,
        code: ErrorCode,
        command: str | None,
        problem: RemoteProtocolError,
    ) -> None:
        if session.state not in (State.AWAITING, State.CONNECTED):
            self._lifecycle.close(session, code.close, code.reason)
            return
        version = session.version or Version.V12
        detail = problem.detail or self._detail(code)
        headers, retry_after = problem.headers, problem.retry_after
        frame = error(code, command, headers, version, self._limits, detail, retry_after)
        session.mailbox.frame(frame)
        self._lifecycle.close(session, code.close, code.reason)

    # Errors of the application

    def handler(self, session: SessionRecord, frame: Frame, problem: BaseException) -> None:
        """User code raised and nothing mapped it."""
        if isinstance(problem, Cancelled):
            return
        code = handler_code(problem, frame.command)
        self.application(session, frame, code, problem)

    def failed(self, session: SessionRecord, frame: Frame, problem: BaseException) -> None:
        """User code raised; the client is told by somebody else."""
        code = handler_code(problem, frame.command)
        self._failed_call(session, code, problem, frame.headers.get("destination"))

    def _failed_call(
        self,
        session: SessionRecord,
        code: ErrorCode,
        problem: BaseException,
        destination: str | None = None,
    ) -> None:
        task = self._tasks.current
        label = "" if task is None else task.label
        self._failed(session, label, code, problem, destination)

    def unknown(self, session: SessionRecord, problem: Exception) -> None:
        """The application cannot tell any more what the user of a session may: the session ends,
        and its client may come back and be asked.
        """
        code = _connect_code(problem)
        if code not in _REFUSALS:
            self._counters.application_errors += 1
            self._failed_call(session, code, problem)
        self.end(session, code, "", str(problem))

    def revoked(self, session: SessionRecord, frame: Frame, denial: Denial) -> None:
        """A subscription is not allowed any more, and has ended.

        Args:
            frame: Its SUBSCRIBE, or what stands for it.
        """
        listens = self._is_listening(session)
        code = ErrorCode.SUBSCRIPTION_REVOKED if listens else ErrorCode.SUBSCRIBE_DENIED
        self.denied(session, frame, code, denial)

    def denied(self, session: SessionRecord, frame: Frame, code: ErrorCode, denial: Denial) -> None:
        """A setting or a rule of the application refuses a frame."""
        self.application(session, frame, code, rule=denial.rule, label=denial.label)

    def application(
        self,
        session: SessionRecord,
        frame: Frame,
        code: ErrorCode,
        problem: BaseException | None = None,
        rule: str = "",
        label: str = "",
        retry_after: int = 0,
    ) -> None:
        """A frame could not be handled: told to a session that listens, fatal for one that does
        not; behind the RECEIPTs of its SENDs that the engine of several workers has not answered.

        Args:
            problem: What user code raised.
            rule: What decided where it is no user code: the setting, for the log alone.
            label: Whose rule it was; empty: whose call it is that raised.
            retry_after: Seconds after which it may come again; 0: the client is not told.
        """
        task = None if problem is None else self._tasks.current
        label = label if task is None else task.label
        window = session.inbound.window
        told = partial(self.tell, session, frame, code, problem, rule, label, retry_after)
        if window is None:
            told()
        else:
            window.refusals.append(told)

    def tell(
        self,
        session: SessionRecord,
        frame: Frame,
        code: ErrorCode,
        problem: BaseException | None = None,
        rule: str = "",
        label: str = "",
        retry_after: int = 0,
    ) -> None:
        """Tell now that a frame could not be handled; see `application`."""
        self._counters.application_errors += 1
        destination = frame.headers.get("destination")
        if code is ErrorCode.NO_HANDLER:
            path = self._namespace.classify(frame.headers["destination"])[1]
            why = partial(self._dispatch.no_handler, frame.command, path)
            correlation_id = self._failed(session, label, code, problem, destination, why)
        else:
            correlation_id = self._failed(session, label, code, problem, destination, rule)
        if code in _DENIALS:
            said = rule if problem is None else str(problem)
            said = f"{label}: {said}" if label else said
            self._tell_denied(session, frame.command, destination, code, said)
        if session.state is not State.CONNECTED:
            return
        told = self._is_listening(session)
        if told and self._reply(session, frame, code, correlation_id, retry_after):
            return
        refusal = RemoteProtocolError(code, frame.command, frame.headers, retry_after=retry_after)
        self._error(session, code, frame.command, refusal)

    def _reply(
        self,
        session: SessionRecord,
        frame: Frame,
        code: ErrorCode,
        correlation_id: str,
        retry_after: int,
    ) -> bool:
        """Tell a session that listens; whether an interceptor let it be told."""
        headers, body = error_message(
            code,
            frame.command,
            frame.headers,
            correlation_id,
            self._limits,
            self._detail(code),
            retry_after,
        )
        target = ToSession(session.id, self._namespace.error_path)
        draft = Draft(target, tuple(headers), body)
        draft.sender = session.face
        try:
            self._publisher.publish(draft, PublicationKind.ERROR_REPLY)
        except (AccessDenied, InterceptorFailed):
            return False
        return True

    def in_transaction(
        self, session: SessionRecord, frame: Frame, problem: Exception | None
    ) -> None:
        """A SEND of a committed transaction failed, or has no handler; the others are not
        undone.
        """
        if problem is None:
            self.application(session, frame, ErrorCode.NO_HANDLER)
        else:
            self.application(session, frame, handler_code(problem, frame.command), problem)

    def _failed(
        self,
        session: SessionRecord,
        label: str,
        code: ErrorCode,
        problem: BaseException | None,
        destination: str | None = None,
        rule: str | Callable[[], str] = "",
    ) -> str:
        if code is ErrorCode.NO_DESTINATION:
            rule = f"{rule}: {self._namespace.prefixes}"
        correlation_id = self._token(64)
        self._log.failed(session, label, code, correlation_id, problem, destination, rule)
        return correlation_id

    def _detail(self, code: ErrorCode) -> str:
        """More for the client, behind the sentence of a code."""
        if code is ErrorCode.NO_DESTINATION:
            return f"They are {self._namespace.prefixes}."
        return ""

    def _is_listening(self, session: SessionRecord) -> bool:
        destination = self._namespace.error_destination
        return any(
            each.destination == destination for each in session.subscriptions.active.values()
        )

    # Errors of our own

    def internal(self, what: str, session: SessionRecord, problem: BaseException) -> None:
        """The fence: a bug of ours ends one session with 1011, not the others."""
        self._counters.internal_errors += 1
        self._log.internal(what, session, problem)
        reason = DisconnectReason.INTERNAL_ERROR
        self._lifecycle.close(session, CloseCode.INTERNAL_ERROR, reason, drop=True)


_REFUSALS = frozenset(
    (
        ErrorCode.CONNECT_REFUSED,
        ErrorCode.BAD_CREDENTIALS,
        ErrorCode.LIMIT_COUNT,
        ErrorCode.USER_LIMIT,
        ErrorCode.KICKED,
    )
)
"""Refusals of a CONNECT that are no failures."""
_STATUS = {
    ErrorCode.BAD_CREDENTIALS: 401,
    ErrorCode.CONNECT_REFUSED: 403,
    ErrorCode.HANDLER_FAILED: 500,
    ErrorCode.HANDLER_TIMEOUT: 503,
    ErrorCode.LIMIT_COUNT: 503,
}
"""The answer to an upgrade."""


def _connect_code(problem: BaseException) -> ErrorCode:
    if isinstance(problem, BadCredentials):
        return ErrorCode.BAD_CREDENTIALS
    if isinstance(problem, AccessDenied):
        return ErrorCode.CONNECT_REFUSED
    if isinstance(problem, RemoteProtocolError):
        return problem.code
    if isinstance(problem, HandlerTimeout):
        return ErrorCode.HANDLER_TIMEOUT
    return ErrorCode.HANDLER_FAILED


def handler_code(problem: BaseException, command: str) -> ErrorCode:
    """The code of the ERROR or error reply for an exception of user code."""
    if isinstance(problem, ConversionError):
        return ErrorCode.BAD_PAYLOAD
    if isinstance(problem, HandlerTimeout):
        return ErrorCode.HANDLER_TIMEOUT
    if isinstance(problem, BackplaneUnavailable):
        return ErrorCode.BACKPLANE_UNAVAILABLE
    if isinstance(problem, PublishUncertain):
        return ErrorCode.PUBLISH_UNCERTAIN
    if isinstance(problem, AccessDenied):
        return ErrorCode.SUBSCRIBE_DENIED if command == SUBSCRIBE else ErrorCode.SEND_DENIED
    return ErrorCode.HANDLER_FAILED

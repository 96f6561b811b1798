"""Log lines of sessions: one per connect and disconnect, and one per failed frame; and of messages
that nobody waits for and that an engine has not taken.

Rule: text of a peer is escaped and cut at 200 characters, secrets never appear, and when the level
is off no work is done. In a storm of more than 100 lines a second about sessions one summary line a
second stands for the rest; of what failed there is one line a second for each kind, since it may
have a traceback, and one summary.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from stocksync_ws.broker.model.session import SessionRecord
from stocksync_ws.broker.model.step import Step
from stocksync_ws.codes import ErrorCode, Fault
from stocksync_ws.errors import InterceptorFailed, RemoteProtocolError

__all__ = ["SessionLog", "quote"]

STORM = 100
"""Lines a second before the rest is summed up."""
FAILURES = 1_000
"""Listeners and kinds of exceptions that are told apart."""

_sessions = logging.getLogger("stocksync_ws.session")
_handlers = logging.getLogger("stocksync_ws.handler")
_broker = logging.getLogger("stocksync_ws.broker")


def quote(text: object) -> str:
    """Peer text for a log line: escaped, at most 200 characters."""
    quoted = ascii(str(text)[:220])
    return quoted if len(quoted) <= 200 else quoted[:197] + "..."


def _user(session: SessionRecord) -> str:
    return "-" if session.user_name is None else quote(session.user_name)


class _Kind:
    """A kind of failure: when it was told of, and how many more there were since."""

    __slots__ = ("logger", "more", "since")

    def __init__(self, logger: logging.Logger, since: float, more: int) -> None:
        self.logger = logger
        self.since = since
        self.more = more


def _cause(error: BaseException) -> str:
    """The cause of a refusal: the text of an application's own error, or the destination, the
    limit and the setting of one of ours.
    """
    if not isinstance(error, RemoteProtocolError):
        return f" error={quote(error)}"
    destination = error.headers.get("destination")
    facts = (("destination", destination), ("detail", error.detail), ("rule", error.rule))
    return "".join(f" {name}={quote(text)}" for name, text in facts if text)


_REFUSED = "refused session=%s user=%s peer=%s code=%s%s"
_ENDED = "ended session=%s user=%s peer=%s code=%s%s"


def _refuse(session: SessionRecord, code: str, cause: str, what: str = _REFUSED) -> None:
    _sessions.info(
        what,
        session.id,
        _user(session),
        session.peer,
        code,
        cause,
    )


def _behind(error: BaseException) -> str:
    """The exception behind an error that does not quote it."""
    cause = error.__cause__
    if cause is None or str(cause) in str(error):
        return ""
    return f" cause={quote(f'{type(cause).__name__}: {cause}')}"


class SessionLog:
    """Writes the log lines of one broker; wakes once a second while it holds lines back."""

    __slots__ = (
        "_connects",
        "_disconnects",
        "_failures",
        "_kinds",
        "_lines",
        "_refusals",
        "_second",
        "_step",
        "armed",
        "armed_at",
        "deadline",
        "unmapped",
    )

    def __init__(self, step: Step) -> None:
        self._step = step
        self._refusals = 0
        self._second = float("-inf")
        self._lines = 0
        self._connects = 0
        self._disconnects = 0
        self._failures: set[tuple[str, str]] = set()
        """Listeners and kinds of exceptions whose traceback has been written."""
        self._kinds: dict[str, _Kind] = {}
        """Kinds of failures that were told of lately."""
        self.unmapped: list[BaseException] | None = None
        """Every error of user code that no exception handler mapped, for who raises them again and
        empties the list; None: nobody does.
        """
        self.deadline: float | None = None
        self.armed = 0
        self.armed_at = 0.0

    def _admit(self) -> bool:
        now = self._step.now
        # After a stall of ours the broker's own time may stand a little before the last line's.
        if not 0 <= now - self._second < 1.0:
            self._second = now
            self._lines = 0
        self._lines += 1
        if self._lines <= STORM:
            return True
        if self.deadline is None:
            self._step.rearm(self, self._second + 1.0)
        return False

    def _first(self, logger: logging.Logger, kind: str) -> bool:
        """Whether a failure is the first of its kind in this second; the others are counted."""
        now = self._step.now
        known = self._kinds.get(kind)
        if known is None or not 0 <= now - known.since < 1.0:
            more = 0 if known is None else known.more
            self._kinds[kind] = _Kind(logger, now, more)
            return True
        known.more += 1
        if self.deadline is None:
            self._step.rearm(self, known.since + 1.0)
        return False

    def connected(self, session: SessionRecord) -> None:
        """A session reached CONNECTED."""
        if not _sessions.isEnabledFor(logging.INFO):
            return
        if not self._admit():
            self._connects += 1
            return
        _sessions.info(
            "connected session=%s user=%s transport=%s version=%s peer=%s",
            session.id,
            _user(session),
            session.transport,
            session.version,
            session.peer,
        )

    def disconnected(self, session: SessionRecord, reason: str, seconds: float) -> None:
        """A session ended."""
        if not _sessions.isEnabledFor(logging.INFO):
            return
        if not self._admit():
            self._disconnects += 1
            return
        _sessions.info(
            "disconnected session=%s user=%s transport=%s reason=%s code=%d duration=%.3fs",
            session.id,
            _user(session),
            session.transport,
            reason,
            session.close_code,
            seconds,
        )

    def wake(self, now: float) -> None:
        """A second of a storm is over."""
        self._step.wake(now, self._sum_up)

    def _sum_up(self) -> None:
        """Say what was held back."""
        self.deadline = None
        kinds, self._kinds = self._kinds, {}
        for kind, known in kinds.items():
            if known.more:
                known.logger.warning("in the last second %d more: %s", known.more, kind)
        if self._connects or self._disconnects or self._refusals:
            _sessions.info(
                "in the last second %d more connected, %d more disconnected, %d more were refused",
                self._connects,
                self._disconnects,
                self._refusals,
            )
            self._connects = self._disconnects = self._refusals = 0

    def refused(self, session: SessionRecord, code: ErrorCode, error: BaseException) -> None:
        """A CONNECT was refused, or a peer broke the protocol."""
        if self._tells_refusal():
            _refuse(session, code.code, _cause(error))

    def violated(self, session: SessionRecord, close: int, detail: str) -> None:
        """A peer broke the framing of WebSocket, for which there is no ERROR; `detail` is ours."""
        if self._tells_refusal():
            _refuse(session, str(close), f" detail={quote(detail)}")

    def ended(self, session: SessionRecord, code: ErrorCode, why: str) -> None:
        """The application, or a setting of it, ended a session."""
        if self._tells_refusal():
            cause = f" detail={quote(why)}" if why else ""
            _refuse(session, code.code, cause, _ENDED)

    def _tells_refusal(self) -> bool:
        if not _sessions.isEnabledFor(logging.INFO):
            return False
        if self._admit():
            return True
        self._refusals += 1
        return False

    def failed(
        self,
        session: SessionRecord,
        label: str,
        code: ErrorCode,
        correlation_id: str,
        error: BaseException | None,
        destination: str | None = None,
        rule: str | Callable[[], str] = "",
    ) -> None:
        """A frame failed in the application: what it was and who sent it, with the correlation id
        that its sender is told; one a second and kind.
        """
        if error is not None and code.fault is Fault.APPLICATION and self.unmapped is not None:
            cause = error.__cause__ if isinstance(error, InterceptorFailed) else None
            self.unmapped.append(cause or error)
        if not self._first(_handlers, f"failed mapping={label or '-'} code={code.code}"):
            return
        # A rule that is a function costs time to word, and is asked only here.
        said = rule() if callable(rule) else rule
        ours = code in (ErrorCode.HANDLER_FAILED, ErrorCode.INTERNAL_ERROR)
        _handlers.log(
            logging.ERROR if ours else logging.WARNING,
            "failed mapping=%s session=%s user=%s destination=%s code=%s correlation=%s%s%s",
            label or "-",
            session.id,
            _user(session),
            "-" if destination is None else quote(destination),
            code.code,
            correlation_id,
            "" if error is None or ours else f" error={quote(error)}{_behind(error)}",
            said and f" rule={quote(said)}",
            exc_info=error if ours else None,
        )

    def listener_failed(self, label: str, session_id: str | None, error: BaseException) -> None:
        """An event listener raised; the others go on."""
        self._function_failed("listener", label, session_id, error)

    def interceptor_failed(self, label: str, error: BaseException) -> None:
        """An outbound interceptor or a delivery filter raised; one publication, or one delivery of
        it, comes of it to nothing.
        """
        self._function_failed("interceptor", label, None, error)

    def _function_failed(
        self, what: str, label: str, session_id: str | None, error: BaseException
    ) -> None:
        """The traceback stands in the log once for each function and kind of exception: a crowd
        that leaves would write it a thousand times.
        """
        if self.unmapped is not None:
            self.unmapped.append(error)
        name = type(error).__name__
        if not self._first(_handlers, f"{what} failed mapping={label} error={name}"):
            return
        kind = (label, name)
        known = kind in self._failures
        if not known and len(self._failures) < FAILURES:
            self._failures.add(kind)
        _handlers.error(
            "%s failed mapping=%s session=%s error=%s",
            what,
            label,
            session_id or "-",
            quote(error),
            exc_info=None if known else error,
        )

    def lost(self, destination: str, reason: str, error: Exception) -> None:
        """An engine has not taken a message, or may not have; one line a second and reason."""
        if self._first(_broker, f"lost reason={reason}"):
            _broker.warning(
                "lost destination=%s reason=%s error=%s",
                quote(destination),
                reason,
                quote(error),
            )

    def internal(self, what: str, session: SessionRecord | None, error: BaseException) -> None:
        """A bug of ours, caught by the fence."""
        if not self._first(_broker, f"internal error in {what} error={type(error).__name__}"):
            return
        _broker.error(
            "internal error in %s session=%s", what, session.id if session else "-", exc_info=error
        )

    def note(self, text: str, *args: object) -> None:
        """Something an operator should know once."""
        _broker.warning(text, *args)

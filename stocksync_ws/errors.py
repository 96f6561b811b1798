"""Every error of the library.

Rule: an error knows whose fault it is and what to answer: what a client is told of it is a code of
`codes.py`.

    StockSyncError
     +-- ProtocolError
     |    +-- LocalProtocolError       our caller asked for something STOMP cannot express
     |    +-- RemoteProtocolError      the peer broke the protocol
     |         +-- LimitExceeded       ... or one of our `Limits`
     +-- ConversionError               a body does not fit the parameter it is for
     +-- AccessDenied                  the application refuses this user
     |    +-- BadCredentials           ... because login and passcode are wrong
     +-- HandlerTimeout                user code took longer than `Limits.handler_timeout`
     +-- InterceptorFailed             an outbound interceptor raised, and nothing was published
     +-- BrokerClosed                  the application was stopped
     +-- BrokerBusy                    the inbox of other threads, or a queue, is full
     +-- BackplaneUnavailable          a message was not sent: the engine was away, or refused it
     +-- PublishUncertain              a message may have been sent: the engine has not answered
     +-- IdempotencyMismatch           the idempotency key of a message was used for another one
     +-- WrongLoop                     a second event loop while the application runs on a first
     +-- ForkedBrokerError             used in a child process of the one that started it
     +-- ConfigurationError            a setting or a declaration is wrong; raised before the start
"""

from __future__ import annotations

from collections.abc import Mapping

from stocksync_ws.codes import ErrorCode

__all__ = [
    "REFUSED",
    "AccessDenied",
    "BackplaneUnavailable",
    "BadCredentials",
    "BrokerBusy",
    "BrokerClosed",
    "Cancelled",
    "ConfigurationError",
    "ConversionError",
    "ForkedBrokerError",
    "HandlerTimeout",
    "IdempotencyMismatch",
    "InterceptorFailed",
    "LimitExceeded",
    "LocalProtocolError",
    "ProtocolError",
    "PublishUncertain",
    "RemoteProtocolError",
    "StockSyncError",
    "WrongLoop",
]


class StockSyncError(Exception):
    """The base of every error this library raises on purpose."""


class ProtocolError(StockSyncError):
    """STOMP was broken, by us (`LocalProtocolError`) or by the peer (`RemoteProtocolError`)."""


class LocalProtocolError(ProtocolError):
    """Our caller asked for a frame that STOMP cannot express; nothing was sent."""


class RemoteProtocolError(ProtocolError):
    """The peer broke the protocol. The decoder raises nothing else, and is dead afterwards.

    Attributes:
        code: The content of the ERROR frame.
        command: The command of the failing frame, when it was read and is a STOMP command.
        headers: The headers of the failing frame that had been read; the ERROR echoes `receipt`
            from them.
        detail: The header, or the limit, its value and what came; empty where the code says it
            all. Told to the peer behind the fixed sentence, and logged.
        rule: The setting that decided, for the log alone; or empty.
        retry_after: Seconds after which the peer may send the frame again; 0: it is not told.
    """

    def __init__(
        self,
        code: ErrorCode,
        command: str | None = None,
        headers: Mapping[str, str] | None = None,
        detail: str = "",
        rule: str = "",
        retry_after: int = 0,
    ) -> None:
        super().__init__(f"{code.message}: {detail}" if detail else code.message)
        self.code = code
        self.command = command
        self.headers: Mapping[str, str] = headers if headers is not None else {}
        self.detail = detail
        self.rule = rule
        self.retry_after = retry_after


class LimitExceeded(RemoteProtocolError):
    """The peer sent more than a field of `Limits` allows."""


class ConversionError(StockSyncError):
    """A body does not fit the parameter it is for. The sender's fault; mapped like a domain error.

    Attributes:
        path: The place in the body, for example `$.items[2].quantity`; `$` is the body itself.
        problem: The fault there, for example `expected int, got str`.
    """

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{path}: {problem}")
        self.path = path
        self.problem = problem


class AccessDenied(StockSyncError):
    """The error to raise in an authenticator, a handler or an interceptor to refuse this user, or
    a message; an upgrade is answered with 403. Its text is logged, never sent.
    """


class BadCredentials(AccessDenied):
    """The error to raise in an authenticator when login and passcode are wrong: close 4501,
    clients do not retry; an upgrade is answered with 401.
    """


class HandlerTimeout(StockSyncError):
    """User code took longer than `Limits.handler_timeout` seconds and was cancelled."""


class InterceptorFailed(StockSyncError):
    """An outbound interceptor raised something other than `AccessDenied`, which is the cause, or
    returned what is no message. Nothing was published.
    """


class BrokerClosed(StockSyncError):
    """The application was stopped and accepts nothing any more, or nothing has started it."""


class BrokerBusy(StockSyncError):
    """A message finds no room: the inbox of other threads is full (10,000 messages or 16 MiB), or
    the queue that is named. Try again later.
    """


class BackplaneUnavailable(StockSyncError):
    """A message was not sent: the engine behind the workers was not there for
    `BackplaneSettings.publish_timeout` seconds, or refuses it. It may be sent again.
    """


class PublishUncertain(StockSyncError):
    """A message was sent to the engine behind the workers, which has not answered in
    `BackplaneSettings.publish_timeout` seconds: it may have been published.
    """


class IdempotencyMismatch(StockSyncError):
    """The idempotency key of a message was used for another one, and nothing was sent. The caller's
    fault: a key names one message.
    """


REFUSED = (BrokerBusy, AccessDenied, InterceptorFailed)
"""Errors for which a publication is not taken: counted, told by an event, raised to who waits."""


class WrongLoop(StockSyncError):
    """The application runs on one event loop and was started on a second one."""


class ForkedBrokerError(StockSyncError):
    """The application was started in a parent process and used in its forked child."""


class ConfigurationError(StockSyncError):
    """A setting or a declaration is wrong. Raised before the first connection; the text says how to
    mend it.
    """


class Cancelled(BaseException):
    """The error thrown into a pipeline whose session has ended, so that its clean-up runs. Never
    catch and drop it.
    """

"""A SEND with new credentials: the session goes on instead of ending with the old ones.

Rule: it is the one SEND below the user prefix, and no setting or rule forbids it. Another user than
before, or a refusal, ends the session; what is no passcode, or a failure of the application, leaves
it to the credentials that it has.
"""

from __future__ import annotations

from stocksync_ws.broker.calls.dispatch import Denial, Dispatch
from stocksync_ws.broker.calls.room import Calls
from stocksync_ws.broker.frames.receipts import Receipts
from stocksync_ws.broker.frames.reviewing import Reviewing
from stocksync_ws.broker.model.credentials import EXPIRE, Credentials
from stocksync_ws.broker.model.environment import Environment
from stocksync_ws.broker.model.pipeline import Script
from stocksync_ws.broker.model.session import SessionRecord
from stocksync_ws.broker.model.state import State
from stocksync_ws.broker.sessions.room import Sessions
from stocksync_ws.codes import ErrorCode
from stocksync_ws.errors import (
    AccessDenied,
    BadCredentials,
    Cancelled,
    LimitExceeded,
    RemoteProtocolError,
)
from stocksync_ws.stomp.frame import Frame

__all__ = ["Refreshing"]

ENDLESS = (
    "expires_in: the credentials of this session do not end; let the authenticator return"
    " Authenticated(user, expires_in=...)"
)


class Refreshing:
    """The SEND to `/user/session/credentials`."""

    __slots__ = (
        "_dispatch",
        "_errors",
        "_expiry",
        "_lifecycle",
        "_receipts",
        "_reviewing",
        "_step",
    )

    def __init__(
        self,
        env: Environment,
        calls: Calls,
        sessions: Sessions,
        receipts: Receipts,
        reviewing: Reviewing,
    ) -> None:
        self._step = env.step
        self._dispatch: Dispatch = calls.dispatch
        self._errors = sessions.errors
        self._expiry = sessions.expiry
        self._lifecycle = sessions.lifecycle
        self._receipts = receipts
        self._reviewing = reviewing

    def refresh(self, session: SessionRecord, frame: Frame) -> Script | None:
        """Ask the authenticator again.

        Raises:
            RemoteProtocolError: It is in a transaction.
        """
        if session.state is not State.CONNECTED:
            return None
        if "transaction" in frame.headers:
            detail = "Credentials are refreshed outside of transactions."
            raise RemoteProtocolError(ErrorCode.UNSUPPORTED, frame.command, frame.headers, detail)
        credentials = session.credentials
        if credentials is None:
            self._errors.denied(session, frame, ErrorCode.SEND_DENIED, Denial(ENDLESS))
            return None
        problem = _misread(credentials, frame.body)
        if problem:
            self._errors.application(session, frame, ErrorCode.BAD_PAYLOAD, rule=problem)
            return None
        return self._ask(session, frame, credentials)

    def _ask(self, session: SessionRecord, frame: Frame, before: Credentials) -> Script:
        number = session.reviews
        try:
            after = yield from self._dispatch.refresh(session, frame)
            self._take(session, frame, before, after)
            # What was subscribed with other roles is judged by these; where rights have changed
            # while the authenticator was asked, these may be the old ones.
            self._reviewing.review(session, reads_roles=session.reviews != number)
        except AccessDenied as refusal:
            if session.state is State.CONNECTED:
                self._errors.refuse_credentials(session, frame, refusal)
        except LimitExceeded as limit:
            self._errors.application(session, frame, limit.code, limit)
        except (Exception, Cancelled) as error:
            self._errors.handler(session, frame, error)

    def _take(
        self,
        session: SessionRecord,
        frame: Frame,
        before: Credentials,
        after: Credentials | None,
    ) -> None:
        if after is None or after.user.name != before.user.name:
            name = "nobody" if after is None else repr(after.user.name)
            raise AccessDenied(
                f"the session is of {before.user.name!r}, not of {name}: a client connects again as"
                f" somebody else"
            )
        after.begin(self._step.now)
        if after.ended(self._step.now):
            raise BadCredentials("the new credentials have ended")
        self._expiry.keep(session, after)
        self._lifecycle.rearm(session)
        left = after.left(self._step.now)
        self._receipts.send(session, frame, None if left is None else {EXPIRE: str(left)})


def _misread(credentials: Credentials, body: bytes) -> str:
    """Why a body is no passcode; empty where it may be one."""
    if credentials.at_handshake:
        return "the handshake's authenticator takes no passcode: leave the body empty" * bool(body)
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return "a passcode is UTF-8"
    return "a passcode has no NUL" if "\0" in text else ""

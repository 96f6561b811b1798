"""CONNECT, STOMP and DISCONNECT: who it is, which version is spoken, and the end in good order.

Rule: the application decides once per session, at CONNECT; heart-beats are agreed by the rule of
the specification (STOMP 1.2, "Heart-beating") and never adapt.
"""

from __future__ import annotations

from stocksync_ws.broker.calls.dispatch import Dispatch
from stocksync_ws.broker.frames.receipts import Receipts
from stocksync_ws.broker.frames.refreshing import Refreshing
from stocksync_ws.broker.frames.reviewing import Reviewing
from stocksync_ws.broker.model.credentials import Credentials
from stocksync_ws.broker.model.environment import Environment
from stocksync_ws.broker.model.pipeline import Pipeline, Script
from stocksync_ws.broker.model.session import SessionRecord
from stocksync_ws.broker.model.state import State
from stocksync_ws.broker.sessions.room import Sessions
from stocksync_ws.codes import CloseCode, DisconnectReason, ErrorCode
from stocksync_ws.errors import AccessDenied, BadCredentials, Cancelled, RemoteProtocolError
from stocksync_ws.stomp.frame import Frame, Version
from stocksync_ws.stomp.negotiate import (
    agree_heart_beats,
    choose_version,
    parse_heart_beat,
    trim_for_1_0,
)

__all__ = ["Connecting"]


class Connecting:
    """The frames CONNECT, STOMP and DISCONNECT."""

    __slots__ = (
        "_dispatch",
        "_errors",
        "_expiry",
        "_lifecycle",
        "_receipts",
        "_reviewing",
        "_server_beats",
        "_step",
        "_users",
        "refreshing",
    )

    def __init__(
        self,
        env: Environment,
        dispatch: Dispatch,
        sessions: Sessions,
        receipts: Receipts,
        refreshing: Refreshing,
        reviewing: Reviewing,
    ) -> None:
        self._dispatch = dispatch
        self.refreshing = refreshing
        """The SEND of new credentials."""
        self._lifecycle = sessions.lifecycle
        self._errors = sessions.errors
        self._expiry = sessions.expiry
        self._step = env.step
        self._users = sessions.users
        self._receipts = receipts
        self._reviewing = reviewing
        send, receive = env.config.heart_beat
        self._server_beats = (round(send * 1000), round(receive * 1000))

    def connect(self, session: SessionRecord, frame: Frame) -> Script | None:
        """CONNECT or STOMP: negotiate, then ask the application who it is.

        Raises:
            RemoteProtocolError: There is no common version, or a heart-beat that is malformed.
        """
        version = choose_version(frame.headers.get("accept-version"))
        if version is None:
            raise RemoteProtocolError(ErrorCode.UNSUPPORTED_VERSION, frame.command, frame.headers)
        beats = (0, 0)
        if version is Version.V10:
            frame.headers = trim_for_1_0(frame.headers)
        else:
            try:
                beats = parse_heart_beat(frame.headers.get("heart-beat"))
            except RemoteProtocolError as problem:
                raise RemoteProtocolError(problem.code, frame.command, frame.headers) from None
        session.clocks.end_connect()  # Its part is done; the rest is our own time.
        pipeline = self._dispatch.connect(session, frame)
        if pipeline is None:
            self._decide(session, frame, version, beats, None)
            return None
        return self._ask(pipeline, session, frame, version, beats)

    def _ask(
        self,
        pipeline: Pipeline[Credentials | None],
        session: SessionRecord,
        frame: Frame,
        version: Version,
        beats: tuple[int, int],
    ) -> Script:
        self._users.ask(session)
        try:
            credentials = yield from pipeline
        except (Exception, Cancelled) as error:
            self._users.answered(session)
            if session.state is State.AWAITING:
                self._errors.refuse_connect(session, frame, version, error)
            return
        if session.state is State.AWAITING:
            self._decide(session, frame, version, beats, credentials)

    def _decide(
        self,
        session: SessionRecord,
        frame: Frame,
        version: Version,
        beats: tuple[int, int],
        credentials: Credentials | None,
    ) -> None:
        """Credentials of CONNECT count; where it has none, those of the handshake."""
        before, now = session.credentials, self._step.now
        if credentials is not None:
            credentials.begin(now)
        try:
            if before is not None and credentials is not None:
                _check_name(before.user.name, credentials.user.name)
            credentials = credentials or before
            user = None if credentials is None else credentials.user
            if credentials is not None and credentials.ended(now):
                raise BadCredentials("the credentials have ended")
            self._users.admit(session, user)
        except (AccessDenied, RemoteProtocolError) as problem:
            self._users.answered(session)
            self._errors.refuse_connect(session, frame, version, problem)
            return
        self._expiry.keep(session, credentials)
        asked = self._users.answered(session)
        self._connected(session, frame, version, beats)
        if user is not None and asked is not None and user.name in asked.reviewed:
            self._reviewing.review(session)

    def _connected(
        self, session: SessionRecord, frame: Frame, version: Version, beats: tuple[int, int]
    ) -> None:
        session.survives_resets = frame.headers.get("on-reset") == "message"
        client_every, server_every = agree_heart_beats(beats, self._server_beats)
        session.clocks.agree(client_every / 1000, server_every / 1000)
        session.version = session.inbound.decoder.version = version
        self._lifecycle.welcome(session, self._server_beats)

    def disconnect(self, session: SessionRecord, frame: Frame) -> None:
        """DISCONNECT: its RECEIPT is the last frame, then close 1000."""
        self._receipts.send(session, frame)
        reason = DisconnectReason.CLIENT_DISCONNECT
        self._lifecycle.close(session, CloseCode.NORMAL, reason)


def _check_name(at_handshake: str, at_connect: str) -> None:
    if at_connect != at_handshake:
        raise AccessDenied(
            f"the handshake was of {at_handshake!r}, and the CONNECT is of {at_connect!r}"
        )

"""SEND, ACK and NACK: what a client puts in.

Rule: permission is asked when the frame arrives. A SEND to the broker has its effect in one step;
one to the application when its handler has returned. Frames of a transaction wait for COMMIT.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from stocksync_ws.broker.calls.dispatch import Denial
from stocksync_ws.broker.calls.room import Calls
from stocksync_ws.broker.delivery.idempotency import Key, Remembered
from stocksync_ws.broker.delivery.queues import QueueFull
from stocksync_ws.broker.delivery.room import Delivery
from stocksync_ws.broker.frames.rights import FAILED, Rights
from stocksync_ws.broker.frames.sharing import Sharing
from stocksync_ws.broker.model.environment import Environment
from stocksync_ws.broker.model.headers import misread_life, strip_reserved
from stocksync_ws.broker.model.namespace import (
    APPLICATION,
    TEMP_QUEUE,
    Kind,
    Place,
    is_reply_queue,
)
from stocksync_ws.broker.model.pipeline import Join, Pipeline, Script, Task
from stocksync_ws.broker.model.publication import Draft, Published
from stocksync_ws.broker.model.session import SessionRecord
from stocksync_ws.broker.model.state import State
from stocksync_ws.broker.sessions.errors import NO_ANSWER_THERE, NO_PREFIX
from stocksync_ws.broker.sessions.room import Sessions
from stocksync_ws.codes import ErrorCode
from stocksync_ws.config import exceeded
from stocksync_ws.errors import (
    AccessDenied,
    Cancelled,
    InterceptorFailed,
    LimitExceeded,
    RemoteProtocolError,
)
from stocksync_ws.stomp.frame import SEND, Frame
from stocksync_ws.types import ToDestination

__all__ = ["Sending", "duplicate"]

NO_KEY = "A SEND of a transaction to a shared destination takes no idempotency-key."
NO_SEND = "client_send: none of its patterns covers it; add one, or let clients send to a handler"


class Sending:
    """The frames SEND, ACK and NACK."""

    __slots__ = (
        "_counters",
        "_delivery",
        "_dispatch",
        "_errors",
        "_idempotency",
        "_limits",
        "_namespace",
        "_owners",
        "_publisher",
        "_receipts",
        "_rights",
        "_tasks",
        "sharing",
    )

    def __init__(
        self,
        env: Environment,
        calls: Calls,
        delivery: Delivery,
        sessions: Sessions,
        sharing: Sharing,
        rights: Rights,
    ) -> None:
        self.sharing = None if sharing.none else sharing
        self._limits = env.limits
        self._namespace = env.namespace
        self._counters = env.counters
        self._dispatch = calls.dispatch
        self._tasks = calls.tasks
        self._delivery = delivery
        self._publisher = sessions.publisher
        self._errors = sessions.errors
        self._receipts = sharing.receipts
        self._rights = rights
        self._owners = env.owners
        self._idempotency = delivery.idempotency

    # SEND

    def send(self, session: SessionRecord, frame: Frame, place: Place) -> Script | None:
        """Take a SEND.

        Raises:
            RemoteProtocolError: It is malformed, or in a transaction and not allowed, or larger
                than what may be sent to its receivers.
        """
        destination, kind, path, wildcard, _, _ = place
        if wildcard:
            detail = "A SEND takes no wildcard."
            raise RemoteProtocolError(
                ErrorCode.BAD_DESTINATION, frame.command, frame.headers, detail
            )
        if len(frame.body) > self._limits.max_outbound_message and kind is not APPLICATION:
            detail = exceeded(self._limits, "max_outbound_message", len(frame.body))
            raise LimitExceeded(ErrorCode.LIMIT_SIZE, frame.command, frame.headers, detail)
        if kind is not APPLICATION and (misread := misread_life(frame.headers)):
            raise RemoteProtocolError(
                ErrorCode.BAD_HEADER, frame.command, frame.headers, f"It is {misread}."
            )
        refusal = None if kind is APPLICATION else self._refusal(place)
        reply_to = frame.headers.get("reply-to")
        if reply_to is not None and not self._namespace.may_be_answered_at(reply_to):
            refusal = refusal or (ErrorCode.SEND_DENIED, Denial(NO_ANSWER_THERE))
        if refusal is None and not self._rights.none:
            verdict = self._rights.send(session, frame, destination, reply_to)
            if isinstance(verdict, Denial):
                refusal = ErrorCode.SEND_DENIED, verdict
            elif verdict is not None:
                return self._judged(session, frame, verdict, kind, path)
        return self._take(session, frame, kind, path, refusal)

    def _judged(
        self,
        session: SessionRecord,
        frame: Frame,
        pipeline: Pipeline[Denial | None],
        kind: Kind,
        path: str,
    ) -> Script:
        """Go on when the functions of rules have decided."""
        denial = yield from self._rights.ask(session, frame, pipeline)
        if denial is FAILED or session.state not in (State.CONNECTED, State.ENDING):
            return
        refusal = None if denial is None else (ErrorCode.SEND_DENIED, denial)
        script = self._take(session, frame, kind, path, refusal)
        if script is not None:
            yield from script

    def _take(
        self,
        session: SessionRecord,
        frame: Frame,
        kind: Kind,
        path: str,
        refusal: tuple[ErrorCode, Denial] | None,
    ) -> Script | None:
        """Do what a SEND asks for, or refuse it."""
        if refusal is None and "reply-to" in frame.headers:
            self._rewrite_reply_to(session, frame, frame.headers["reply-to"])
        if "transaction" in frame.headers:
            self._add_to_transaction(session, frame, kind, refusal)
        elif refusal is not None:
            self._errors.denied(session, frame, *refusal)
        elif self.sharing is not None and self._is_shared(frame, kind):
            self._share(session, frame)
        elif self.sharing is not None and session.inbound.window is not None:
            return self._behind_window(session, frame, kind, path)
        elif "idempotency-key" in frame.headers:
            return self._send_once(session, frame, kind, path)
        elif kind is APPLICATION:
            pipeline = self._dispatch.send(session, frame, path)
            if pipeline is not None:
                return self._handle(session, frame, pipeline, None)
            self._errors.application(session, frame, ErrorCode.NO_HANDLER)
        elif self._publish(session, frame) is not None:
            self._receipts.send(session, frame)
        return None

    def _behind_window(self, session: SessionRecord, frame: Frame, kind: Kind, path: str) -> Script:
        """An interceptor has sent a frame elsewhere: it waits as others do."""
        window = session.inbound.window
        assert window is not None
        yield Join(window.waiting)
        if session.state in (State.CONNECTED, State.ENDING):
            script = self._take(session, frame, kind, path, None)
            if script is not None:
                yield from script

    def _is_shared(self, frame: Frame, kind: Kind) -> bool:
        sharing, destination = self.sharing, frame.headers["destination"]
        if sharing is None or (kind is not Kind.TOPIC and not is_reply_queue(destination)):
            return False
        return sharing.shares(destination)

    def goes_beside(self, session: SessionRecord, frame: Frame) -> bool:
        """A frame needs not wait for SENDs of its session that are on their way to the engine."""
        assert self.sharing is not None
        if frame.command != SEND or "transaction" in frame.headers:
            return False
        place = self._namespace.place(frame.headers.get("destination", ""))
        if place is None or self.sharing.is_full(session):
            return False
        return self._is_shared(frame, place.kind)

    def _share(self, session: SessionRecord, frame: Frame) -> None:
        """Send it to all workers; an idempotency key is known by the engine."""
        assert self.sharing is not None
        key = self._key(session, frame)
        text = "" if key is None else json.dumps(key)
        self.sharing.send(session, frame, self.draft(session, frame), text)

    def _refusal(self, place: Place) -> tuple[ErrorCode, Denial] | None:
        """The refusal of a SEND, and the setting behind it."""
        if place.may_send or is_reply_queue(place.destination):
            return None
        kind = place.kind
        if kind is Kind.NOWHERE:
            return ErrorCode.NO_DESTINATION, Denial(NO_PREFIX)
        if kind is Kind.USER:
            rule = "user_prefix: clients do not send below it, but to a handler"
            return ErrorCode.SEND_DENIED, Denial(rule)
        if kind is Kind.PRESENCE:
            rule = "presence_prefix: nobody sends below it; members come and go by their SUBSCRIBE"
            return ErrorCode.SEND_DENIED, Denial(rule)
        return ErrorCode.SEND_DENIED, Denial(NO_SEND)

    def _rewrite_reply_to(self, session: SessionRecord, frame: Frame, reply_to: str) -> None:
        """Whoever gets a SEND, a handler too, is given an address that it can answer to."""
        if reply_to.startswith(TEMP_QUEUE):
            frame.headers["reply-to"] = self._delivery.reply_queues.address(session, reply_to)

    def _add_to_transaction(
        self,
        session: SessionRecord,
        frame: Frame,
        kind: Kind,
        refusal: tuple[ErrorCode, Denial] | None,
    ) -> None:
        if "idempotency-key" in frame.headers and self._is_shared(frame, kind):
            raise RemoteProtocolError(ErrorCode.UNSUPPORTED, SEND, frame.headers, NO_KEY)
        if refusal is None and not self.find(session, frame)[1]:
            refusal = ErrorCode.IDEMPOTENCY_MISMATCH, Denial("")
        if refusal is not None:
            code, denial = refusal
            raise RemoteProtocolError(code, frame.command, frame.headers, rule=denial.text)
        self._delivery.transactions.add(session, frame)

    def _publish(self, session: SessionRecord, frame: Frame) -> Published | None:
        """Publish a SEND to the broker; None: an interceptor refuses it or failed, and that has
        been told. What a requester does not fetch is no fault of the service that answers it.

        Raises:
            RemoteProtocolError: The queue is full, or its owner holds as much as it may.
        """
        draft = self.draft(session, frame)
        try:
            if is_reply_queue(frame.headers["destination"]):
                return self._publisher.publish(draft)
            return self._publisher.publish_for_client(draft)
        except QueueFull as full:
            raise RemoteProtocolError(
                ErrorCode.QUEUE_FULL, frame.command, frame.headers, str(full)
            ) from None
        except AccessDenied as veto:
            self._errors.denied(session, frame, ErrorCode.SEND_DENIED, Denial(str(veto)))
        except InterceptorFailed as failure:
            self._errors.handler(session, frame, failure)
        return None

    def draft(self, session: SessionRecord, frame: Frame) -> Draft:
        """The draft of a SEND: without the server's own headers, in the share of its sender."""
        headers, stripped = strip_reserved(frame.headers)
        self._counters.headers_stripped += stripped
        draft = Draft(ToDestination(frame.headers["destination"]), headers, frame.body)
        draft.owner = session.account or self._owners.of(session)
        draft.sender = session.face
        return draft

    def _handle(
        self, session: SessionRecord, frame: Frame, pipeline: Pipeline[None], key: Key | None
    ) -> Script:
        """RECEIPT when the handler has returned, or what the client is told of its failure."""
        failure: BaseException | None = None
        try:
            yield from pipeline
        except (Exception, Cancelled) as error:
            failure = error
        if key is not None:
            self.conclude(key, failure)
        if failure is None:
            self._receipts.send(session, frame)
        else:
            self._errors.handler(session, frame, failure)

    # SEND with an idempotency key

    def _key(self, session: SessionRecord, frame: Frame) -> Key | None:
        """Whose key it is and for what; None when there is none.

        Raises:
            RemoteProtocolError: It is empty or too long.
        """
        text = frame.headers.get("idempotency-key")
        if text is None or frame.command != SEND:
            return None
        if not text or len(text.encode()) > self._limits.max_id:
            detail = "The idempotency-key is empty."
            if text:
                detail = "idempotency-key: " + exceeded(self._limits, "max_id", len(text.encode()))
            raise RemoteProtocolError(ErrorCode.LIMIT_SIZE, frame.command, frame.headers, detail)
        return session.owner, frame.headers["destination"], text

    def find(
        self, session: SessionRecord, frame: Frame
    ) -> tuple[Remembered | None, bool, Key | None]:
        """What is known of its key, whether the body is the same, and the key."""
        key = self._key(session, frame)
        if key is None:
            return None, True, None
        return *self._idempotency.find(key, frame.body), key

    def _send_once(self, session: SessionRecord, frame: Frame, kind: Kind, path: str) -> Script:
        """A SEND with a key: the same one that still runs is waited for, one that is done is
        answered from memory.
        """
        known, same, key = self.find(session, frame)
        while same and known is not None and known.expires_at is None:
            succeeded = yield Join(known.waiting)
            if session.state not in (State.CONNECTED, State.ENDING):
                return
            if succeeded:
                yield from self._repeat(session, frame, kind, path, None)
                return
            known, same, key = self.find(session, frame)
        assert key is not None
        if not same:
            self._errors.application(session, frame, ErrorCode.IDEMPOTENCY_MISMATCH)
        elif known is not None:
            yield from self._repeat(session, frame, kind, path, known.message_id)
        elif kind is APPLICATION:
            pipeline = self._dispatch.send(session, frame, path)
            if pipeline is None:
                self._errors.application(session, frame, ErrorCode.NO_HANDLER)
                return
            self._check_keys(session, frame)
            self._idempotency.begin(session, key, frame.body)
            yield from self._handle(session, frame, pipeline, key)
        else:
            self._check_keys(session, frame)
            published = self._publish(session, frame)
            if published is None:
                return
            self._idempotency.begin(session, key, frame.body)
            self._receipts.send(session, frame, self.remember(key, published))

    def _repeat(
        self, session: SessionRecord, frame: Frame, kind: Kind, path: str, message_id: str | None
    ) -> Script:
        """Answer a repeat from memory, unless the handler would refuse it now."""
        if kind is APPLICATION and self._dispatch.refuses(session, path):
            refused = self._dispatch.send(session, frame, path)
            assert refused is not None
            yield from self._handle(session, frame, refused, None)
            return
        self._counters.messages_duplicate += 1
        self._receipts.send(session, frame, duplicate(message_id))

    def _check_keys(self, session: SessionRecord, frame: Frame) -> None:
        refusal = self._idempotency.refusal(session, 1)
        if refusal:
            raise LimitExceeded(ErrorCode.LIMIT_COUNT, frame.command, frame.headers, refusal)

    def remember(self, key: Key, published: Published) -> Mapping[str, str] | None:
        """A SEND with a key was published; what its RECEIPT says. A dropped reply is none."""
        if not published.message_id:
            self._idempotency.fail(key)
            return None
        self._idempotency.succeed(key, published.message_id)
        return {"message-id": published.message_id}

    def conclude(self, key: Key, error: BaseException | None) -> None:
        """What became of a SEND with a key. A function that was left behind in its thread still
        works: only its end tells.
        """
        task = self._tasks.current
        if error is None:
            self._idempotency.succeed(key, None)
        elif task is None or task.left is None:
            self._idempotency.fail(key)
        else:
            self._tasks.start(self._await_left(task, key), task.context)

    def _await_left(self, task: Task, key: Key) -> Script:
        if (yield Join(task.outlived)):
            self._idempotency.succeed(key, None)
        else:
            self._idempotency.fail(key)

    # ACK, NACK

    def acknowledge(self, session: SessionRecord, frame: Frame) -> None:
        """Settle what an ACK or NACK names, now or at COMMIT.

        Raises:
            RemoteProtocolError: It names what was never issued, or no open transaction.
        """
        if "transaction" in frame.headers:
            self._delivery.transactions.settle(session, frame)
            return
        taken = self._delivery.acks.take(session, frame)
        # It is settled; what a NACK brings again comes behind its RECEIPT.
        if "receipt" in frame.headers:
            self._receipts.send(session, frame)
        for settlement in taken:
            self._delivery.acks.apply(session, settlement)


def duplicate(message_id: str | None) -> dict[str, str]:
    """What the RECEIPT of a repeat says."""
    extra = {"duplicate": "true"}
    if message_id is not None:
        extra["message-id"] = message_id
    return extra

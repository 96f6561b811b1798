"""SEND, ACK and NACK: what a client puts in.

Rule: permission is asked when the frame arrives. A SEND to the broker has its effect in one step;
one to the application when its handler has returned. Frames of a transaction wait for COMMIT.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from stocksync_ws.broker.calls.dispatch import Dispatch
from stocksync_ws.broker.calls.tasks import Tasks
from stocksync_ws.broker.delivery.acknowledgements import Acknowledgements
from stocksync_ws.broker.delivery.queues import QueueFull
from stocksync_ws.broker.delivery.transactions import Transactions
from stocksync_ws.broker.frames.idempotency import Idempotency, Key, Remembered
from stocksync_ws.broker.frames.receipts import Receipts
from stocksync_ws.broker.model.headers import strip_reserved
from stocksync_ws.broker.model.namespace import Kind, Namespace, has_wildcard
from stocksync_ws.broker.model.pipeline import Outcome, Task
from stocksync_ws.broker.model.publication import Draft, Published
from stocksync_ws.broker.model.session import Session, State
from stocksync_ws.broker.sessions.errors import ErrorReporter
from stocksync_ws.broker.sessions.publisher import Publisher
from stocksync_ws.config import Limits
from stocksync_ws.counters import Counters
from stocksync_ws.errors import ErrorCode, RemoteProtocolError
from stocksync_ws.stomp.frame import SEND, Frame

__all__ = ["Sending", "duplicate"]

TEMP_QUEUE = "/temp-queue/"


class Sending:
    """The frames SEND, ACK and NACK."""

    def __init__(
        self,
        limits: Limits,
        dispatch: Dispatch,
        space: Namespace,
        counters: Counters,
        acks: Acknowledgements,
        transactions: Transactions,
        idempotency: Idempotency,
        publisher: Publisher,
        tasks: Tasks,
        failures: ErrorReporter,
        receipts: Receipts,
        proceed: Callable[[Session, float], None],
    ) -> None:
        self._limits = limits
        self._dispatch = dispatch
        self._space = space
        self._counters = counters
        self._acks = acks
        self._transactions = transactions
        self._idempotency = idempotency
        self._publisher = publisher
        self._tasks = tasks
        self._failures = failures
        self._receipts = receipts
        self._proceed = proceed

    # SEND

    def send(self, session: Session, frame: Frame, destination: str, now: float) -> None:
        """Take a SEND.

        Raises:
            RemoteProtocolError: It is malformed, or in a transaction and not allowed.
        """
        if has_wildcard(destination):
            raise RemoteProtocolError(ErrorCode.BAD_DESTINATION, frame.command, frame.headers)
        kind, path = self._space.classify(destination)
        refusal = self._refusal(kind, destination)
        if refusal is None:
            self._rewrite_reply_to(session, frame)
        if "transaction" in frame.headers:
            if refusal is not None:
                raise RemoteProtocolError(refusal, frame.command, frame.headers)
            if not self.find(session, frame, now)[1]:
                raise _mismatch(frame)
            self._transactions.add(session, frame)
        elif refusal is not None:
            self._failures.application(session, frame, refusal, now)
        elif "idempotency-key" in frame.headers:
            self._send_once(session, frame, kind, path, now)
        else:
            self._perform(session, frame, kind, path, now)

    def _refusal(self, kind: Kind, destination: str) -> ErrorCode | None:
        if kind is Kind.APPLICATION or self._publisher.is_reply_queue(destination):
            return None
        if kind is Kind.NOWHERE:
            return ErrorCode.NO_DESTINATION
        if kind is Kind.USER or not self._space.may_send.match(destination):
            return ErrorCode.SEND_DENIED
        return None

    def _perform(self, session: Session, frame: Frame, kind: Kind, path: str, now: float) -> None:
        if kind is Kind.APPLICATION:
            pipeline = self._dispatch.send(session, frame, path)
            if pipeline is None:
                self._failures.application(session, frame, ErrorCode.NO_HANDLER, now)
            else:
                self._tasks.run_frame(session, pipeline, partial(self._handled, frame, None), now)
        else:
            self._publish(frame, now)
            self._receipts.send(session, frame, now)

    def _publish(self, frame: Frame, now: float) -> Published:
        """Publish a SEND to the broker. What a requester does not fetch is no fault of the service
        that answers it.

        Raises:
            RemoteProtocolError: The queue is full.
        """
        draft = self.draft(frame)
        if self._publisher.is_reply_queue(draft.destination):
            return self._publisher.publish(draft, now)
        try:
            return self._publisher.publish_for_client(draft, now)
        except QueueFull:
            raise RemoteProtocolError(ErrorCode.QUEUE_FULL, frame.command, frame.headers) from None

    def _rewrite_reply_to(self, session: Session, frame: Frame) -> None:
        """Whoever gets a SEND, a handler too, is given an address that it can answer to."""
        reply_to = frame.headers.get("reply-to")
        if reply_to is not None and reply_to.startswith(TEMP_QUEUE):
            frame.headers["reply-to"] = self._publisher.reply_address(session, reply_to)

    def draft(self, frame: Frame) -> Draft:
        """What a SEND publishes: without the server's own headers."""
        headers, stripped = strip_reserved(frame.headers)
        self._counters.headers_stripped += stripped
        return Draft(frame.headers["destination"], headers, frame.body)

    def _handled(
        self,
        frame: Frame,
        key: Key | None,
        task: Task,
        value: Any,
        error: BaseException | None,
        now: float,
    ) -> None:
        session = self._tasks.frame_done(task)
        if key is not None:
            self.conclude(key, task, error, now)
        if error is None:
            self._receipts.send(session, frame, now)
        else:
            self._failures.handler(session, frame, error, task.label, now)
        self._proceed(session, now)

    def conclude(
        self, key: Key, task: Task | None, error: BaseException | None, now: float
    ) -> None:
        """What became of a SEND with a key. A function that was left behind in its thread still
        works: only its end tells.
        """
        if error is None:
            self._idempotency.succeed(key, None, now)
        elif task is None or task.left is None:
            self._idempotency.fail(key, now)
        else:
            task.when_left_ends = partial(self._left_behind, key)

    def _left_behind(self, key: Key, outcome: Outcome, now: float) -> None:
        if outcome.error is None:
            self._idempotency.succeed(key, None, now)
        else:
            self._idempotency.fail(key, now)

    # SEND with an idempotency key

    def _key(self, session: Session, frame: Frame) -> Key | None:
        """Whose key it is and for what; None when there is none.

        Raises:
            RemoteProtocolError: It is empty or too long.
        """
        text = frame.headers.get("idempotency-key")
        if text is None or frame.command != SEND:
            return None
        if not text or len(text.encode()) > self._limits.max_id:
            raise RemoteProtocolError(ErrorCode.LIMIT_SIZE, frame.command, frame.headers)
        return session.owner, frame.headers["destination"], text

    def find(
        self, session: Session, frame: Frame, now: float
    ) -> tuple[Remembered | None, bool, Key | None]:
        """What is known of its key, whether the body is the same, and the key."""
        key = self._key(session, frame)
        if key is None:
            return None, True, None
        return *self._idempotency.find(key, frame.body, now), key

    def _send_once(self, session: Session, frame: Frame, kind: Kind, path: str, now: float) -> None:
        known, same, key = self.find(session, frame, now)
        assert key is not None
        if not same:
            code = ErrorCode.IDEMPOTENCY_MISMATCH
            self._failures.application(session, frame, code, now)
        elif known is None:
            self._idempotency.begin(key, frame.body)
            self._perform_once(session, frame, kind, path, key, now)
        elif known.expires_at is None:
            session.joined = True
            known.waiting.append(partial(self._joined, session, frame, kind, path))
        else:
            self._counters.messages_duplicate += 1
            self._receipts.send(session, frame, now, duplicate(known.message_id))

    def _perform_once(
        self, session: Session, frame: Frame, kind: Kind, path: str, key: Key, now: float
    ) -> None:
        if kind is Kind.APPLICATION:
            pipeline = self._dispatch.send(session, frame, path)
            if pipeline is None:
                self._idempotency.fail(key, now)
                self._failures.application(session, frame, ErrorCode.NO_HANDLER, now)
            else:
                self._tasks.run_frame(session, pipeline, partial(self._handled, frame, key), now)
            return
        try:
            published = self._publish(frame, now)
        except RemoteProtocolError:
            self._idempotency.fail(key, now)
            raise
        self._receipts.send(session, frame, now, self.remember(key, published, now))

    def remember(self, key: Key, published: Published, now: float) -> Mapping[str, str] | None:
        """A SEND with a key was published; what its RECEIPT says. A dropped reply is none."""
        if not published.message_id:
            self._idempotency.fail(key, now)
            return None
        self._idempotency.succeed(key, published.message_id, now)
        return {"message-id": published.message_id}

    def _joined(
        self, session: Session, frame: Frame, kind: Kind, path: str, succeeded: bool, now: float
    ) -> None:
        """The first run of this key, which a repeat had joined, has ended."""
        session.joined = False
        if session.state not in (State.CONNECTED, State.ENDING):
            return
        if succeeded:
            self._counters.messages_duplicate += 1
            self._receipts.send(session, frame, now, duplicate(None))
        else:
            self._send_once(session, frame, kind, path, now)
        self._proceed(session, now)

    # ACK, NACK

    def acknowledge(self, session: Session, frame: Frame, now: float) -> None:
        """Settle what an ACK or NACK names, now or at COMMIT.

        Raises:
            RemoteProtocolError: It names what was never issued, or no open transaction.
        """
        if "transaction" in frame.headers:
            self._transactions.settle(session, frame)
            return
        taken = self._acks.take(session, frame)
        # It is settled; what a NACK brings again comes behind its RECEIPT.
        if "receipt" in frame.headers:
            self._receipts.send(session, frame, now)
        for settlement in taken:
            self._acks.apply(session, settlement)


def _mismatch(frame: Frame) -> RemoteProtocolError:
    return RemoteProtocolError(ErrorCode.IDEMPOTENCY_MISMATCH, frame.command, frame.headers)


def duplicate(message_id: str | None) -> dict[str, str]:
    extra = {"duplicate": "true"}
    if message_id is not None:
        extra["message-id"] = message_id
    return extra

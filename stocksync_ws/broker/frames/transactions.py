"""BEGIN, COMMIT and ABORT: transactions whose effects happen in one step or not at all.

Rule: at COMMIT everything that concerns the broker happens in one step, in the order of the frames,
or nothing does; then the SENDs to the application run, one after the other, and the failure of one
does not undo the others. The RECEIPTs of all frames leave when the last has returned.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from stocksync_ws.broker.calls.dispatch import Dispatch
from stocksync_ws.broker.calls.tasks import Tasks
from stocksync_ws.broker.delivery.acknowledgements import Acknowledgements
from stocksync_ws.broker.delivery.transactions import Transactions
from stocksync_ws.broker.frames.idempotency import Idempotency, Key, Remembered
from stocksync_ws.broker.frames.receipts import Receipts
from stocksync_ws.broker.frames.sending import Sending, duplicate
from stocksync_ws.broker.model.namespace import Kind, Namespace
from stocksync_ws.broker.model.pipeline import Pipeline, Task
from stocksync_ws.broker.model.publication import Draft
from stocksync_ws.broker.model.session import Session, State
from stocksync_ws.broker.model.transaction import Transaction
from stocksync_ws.broker.sessions.errors import ErrorReporter
from stocksync_ws.broker.sessions.publisher import Publisher
from stocksync_ws.counters import Counters
from stocksync_ws.errors import ErrorCode, RemoteProtocolError
from stocksync_ws.stomp.frame import SEND, Frame

__all__ = ["TransactionFrames"]


class TransactionFrames:
    """The frames BEGIN, COMMIT and ABORT."""

    def __init__(
        self,
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
        sending: Sending,
        proceed: Callable[[Session, float], None],
    ) -> None:
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
        self._sending = sending
        self._proceed = proceed

    def begin(self, session: Session, frame: Frame, now: float) -> None:
        """BEGIN: its RECEIPT leaves at once."""
        self._transactions.begin(session, frame, now)
        self._receipts.send(session, frame, now)

    def abort(self, session: Session, frame: Frame, now: float) -> None:
        """ABORT: everything is undone; the frames of the transaction get no RECEIPT."""
        transaction = self._transactions.close(session, frame)
        self._transactions.undo(session, transaction, now)
        self._receipts.send(session, frame, now)

    def commit(self, session: Session, frame: Frame, now: float) -> None:
        """COMMIT: what concerns the broker in one step, then the SENDs to the application.

        Raises:
            RemoteProtocolError: The transaction is not open, or a queue has no room for it.
        """
        transaction = self._transactions.close(session, frame)
        drafts = self._drafts(session, transaction, now)
        refusal = None if self._publisher.has_room([*drafts.values()]) else ErrorCode.QUEUE_FULL
        if not self._keys_agree(session, transaction, now):
            refusal = ErrorCode.IDEMPOTENCY_MISMATCH
        if refusal is not None:
            self._transactions.undo(session, transaction, now)
            raise RemoteProtocolError(refusal, frame.command, frame.headers)
        for place, each in enumerate(transaction.frames):
            if each.command != SEND:
                for settlement in transaction.settlements.get(place, ()):
                    settlement.unhold()
                    self._acks.apply(session, settlement)
            elif not self._is_for_application(each):
                draft = drafts.get(place)
                transaction.extra[place] = self._commit_send(session, each, draft, now)
        self._run_handlers(session, transaction, frame, [], now)

    def _drafts(self, session: Session, transaction: Transaction, now: float) -> dict[int, Draft]:
        """What the SENDs to the broker publish, by their place; nothing for one that repeats what
        was done before.
        """
        return {
            place: self._sending.draft(each)
            for place, each in enumerate(transaction.frames)
            if each.command == SEND
            and not self._is_for_application(each)
            and self._sending.find(session, each, now)[0] is None
        }

    def _keys_agree(self, session: Session, transaction: Transaction, now: float) -> bool:
        """No idempotency key stands for two bodies."""
        seen: dict[Key, bytes] = {}
        for each in transaction.frames:
            _, same, key = self._sending.find(session, each, now)
            if key is None:
                continue
            if not same or seen.setdefault(key, each.body) != each.body:
                return False
        return True

    def _commit_send(
        self, session: Session, frame: Frame, draft: Draft | None, now: float
    ) -> Mapping[str, str] | None:
        """Publish a SEND of a transaction, unless it repeats one; what its RECEIPT says."""
        known, _, key = self._sending.find(session, frame, now)
        if known is not None or draft is None:
            assert known is not None
            self._counters.messages_duplicate += 1
            return duplicate(known.message_id)
        if self._publisher.is_reply_queue(draft.destination):
            published = self._publisher.publish(draft, now)
        else:
            published = self._publisher.publish_for_client(draft, now, reserved=True)
        if key is None:
            return None
        self._idempotency.begin(key, frame.body)
        return self._sending.remember(key, published, now)

    def _is_for_application(self, frame: Frame) -> bool:
        return self._space.classify(frame.headers["destination"])[0] is Kind.APPLICATION

    def _run_handlers(
        self,
        session: Session,
        transaction: Transaction,
        commit: Frame,
        failed: list[Frame],
        now: float,
    ) -> None:
        pipeline = self._handlers(session, transaction, failed)
        done = partial(self._committed, transaction, commit, failed)
        self._tasks.run_frame(session, pipeline, done, now)

    def _handlers(
        self, session: Session, transaction: Transaction, failed: list[Frame]
    ) -> Pipeline[Remembered | None]:
        """One after the other; a failure of one does not undo the others. What has to be waited
        for first: the same SEND runs for another session.
        """
        for place, frame in enumerate(transaction.frames):
            if place < transaction.place:
                continue
            transaction.place = place
            if frame.command != SEND or not self._is_for_application(frame):
                continue
            known, _, key = self._sending.find(session, frame, self._publisher.now)
            if known is not None and known.expires_at is None:
                return known
            if known is not None:
                self._counters.messages_duplicate += 1
                transaction.extra[place] = duplicate(known.message_id)
                continue
            path = self._space.classify(frame.headers["destination"])[1]
            pipeline = self._dispatch.send(session, frame, path)
            if pipeline is None:
                failed.append(frame)
                self._failures.in_transaction(session, frame, None)
                continue
            if key is not None:
                self._idempotency.begin(key, frame.body)
            try:
                yield from pipeline
                if key is not None:
                    self._idempotency.succeed(key, None, self._publisher.now)
            except BaseException as error:
                if key is not None:
                    self._sending.conclude(key, session.task, error, self._publisher.now)
                if not isinstance(error, Exception):
                    raise
                failed.append(frame)
                self._failures.in_transaction(session, frame, error)
        return None

    def _committed(
        self,
        transaction: Transaction,
        commit: Frame,
        failed: list[Frame],
        task: Task,
        value: Any,
        error: BaseException | None,
        now: float,
    ) -> None:
        session = self._tasks.frame_done(task)
        if value is not None:
            session.joined = True
            value.waiting.append(partial(self._go_on, session, transaction, commit, failed))
        elif error is not None:
            self._failures.handler(session, commit, error, task.label, now)
        else:
            for place, frame in enumerate(transaction.frames):
                if not any(frame is each for each in failed):
                    extra = transaction.extra.get(place)
                    self._receipts.send(session, frame, now, extra, held_back=True)
            self._receipts.send(session, commit, now)
        self._proceed(session, now)

    def _go_on(
        self,
        session: Session,
        transaction: Transaction,
        commit: Frame,
        failed: list[Frame],
        succeeded: bool,
        now: float,
    ) -> None:
        """What a committed transaction had to wait for has ended."""
        session.joined = False
        if session.state not in (State.CONNECTED, State.ENDING):
            return
        self._run_handlers(session, transaction, commit, failed, now)
        self._proceed(session, now)

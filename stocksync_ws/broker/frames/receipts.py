"""RECEIPTs: sent after the effect, in the order of the frames, and bounded in number.

Rule: they travel in the mailbox like everything else and are never dropped by a policy.
"""

from __future__ import annotations

from collections.abc import Mapping

from stocksync_ws.broker.model.environment import Environment
from stocksync_ws.broker.model.session import SessionRecord
from stocksync_ws.broker.model.state import CONNECTED
from stocksync_ws.broker.sessions.replies import receipt
from stocksync_ws.errors import ErrorCode, LimitExceeded
from stocksync_ws.stomp.frame import Frame

__all__ = ["Receipts"]


class Receipts:
    """What is owed to the clients."""

    __slots__ = ("_limits",)

    def __init__(self, env: Environment) -> None:
        self._limits = env.limits

    def check(self, session: SessionRecord, frame: Frame) -> None:
        """Whether one more may be owed; asked before a frame that wants one has its effect. Those
        of the frames of a transaction are held back, and do not count.

        Raises:
            LimitExceeded: As many receipts wait for the client as may.
        """
        if "transaction" in frame.headers:
            return
        owed = session.mailbox.receipts
        while owed and not owed[0].waiting:
            owed.popleft()
        if owed and len(owed) >= self._limits.max_receipts:
            detail = self._limits.exceeded("max_receipts", len(owed) + 1)
            raise LimitExceeded(ErrorCode.LIMIT_COUNT, frame.command, frame.headers, detail)

    def send(
        self,
        session: SessionRecord,
        frame: Frame,
        extra: Mapping[str, str] | None = None,
        *,
        held_back: bool = False,
    ) -> None:
        """The effect of the frame has happened; say so if it asked.

        Args:
            held_back: A transaction held it back: it does not count.
        """
        receipt_id = frame.headers.get("receipt")
        if receipt_id is None or session.state is not CONNECTED:
            return
        assert session.version is not None
        entry = session.mailbox.frame(receipt(receipt_id, session.version, extra))
        if not held_back:
            session.mailbox.owe(entry)

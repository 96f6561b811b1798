"""RECEIPTs: sent after the effect, in the order of the frames, and bounded in number.

Rule: they travel in the mailbox like everything else and are never dropped by a policy. How many
are owed is the business of `frames/decoding.py`: over the bound the next frame waits.
"""

from __future__ import annotations

from collections.abc import Mapping

from stocksync_ws.broker.model.session import SessionRecord
from stocksync_ws.broker.model.state import CONNECTED
from stocksync_ws.broker.sessions.replies import receipt
from stocksync_ws.stomp.frame import Frame

__all__ = ["Receipts"]


class Receipts:
    """What is owed to the clients."""

    __slots__ = ()

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

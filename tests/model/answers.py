"""What the naive broker answers to a frame: RECEIPT, ERROR, or a word about an error of the
application.

Rule: what a frame may not do is ERROR, then close. What the application refuses is told to a
session that listens for it, which lives on; any other gets ERROR, too.
"""

from __future__ import annotations

from tests.model import rules
from tests.model.ends import BLAMING, Ends
from tests.model.records import Frame, Session

__all__ = ["Answers"]

CLOSES = {
    "bad-payload": "1007",
    "frame-timeout": "1008",
    "handler-failed": "1011",
    "handler-timeout": "1011",
    "idempotency-mismatch": "1008",
    "limit": "1008",
    "no-destination": "1008",
    "no-handler": "1008",
    "queue-full": "1013",
    "send-denied": "1008",
    "subscribe-denied": "1008",
}
"""Else 1002."""
MISTAKES = ("idempotency-mismatch", "no-destination", "no-handler")
"""Refusals that break the protocol, whatever their close says."""


class Answers(Ends):
    """RECEIPT and ERROR."""

    def refuse(self, session: Session, code: str, frame: Frame) -> None:
        """ERROR, then close."""
        if session.alive:
            session.say("ERROR", code, **told(frame))
        close = CLOSES.get(code, "1002")
        self.close(session, close, blames=close in BLAMING or code in MISTAKES)

    def fail(self, session: Session, code: str, frame: Frame) -> None:
        """An error of the application."""
        if not session.alive:
            return
        if not any(sub.said == rules.ERRORS for sub in session.subs.values()):
            self.refuse(session, code, frame)
            return
        about = told(frame)
        text = "|".join(str(about[name]) for name in ("destination", "subscription"))
        receipt = frame.get("receipt")
        marks = {"receipt-id": receipt} if receipt else {}
        self.publish_to(session, "/queue/errors", f"{code}|{text}", marks)

    def receipt(self, session: Session, frame: Frame, more: dict[str, str] | None = None) -> None:
        if frame.get("receipt") and session.alive:
            session.say("RECEIPT", frame["receipt"], **(more or {}))


def told(frame: Frame) -> dict[str, str | None]:
    """What an ERROR says of the frame it is about."""
    if frame["command"] == "GARBAGE":
        return {}
    named = "id" if frame["command"] in ("SUBSCRIBE", "UNSUBSCRIBE") else "subscription"
    return {
        "receipt_id": frame.get("receipt"),
        "command": frame["command"],
        "destination": frame.get("destination"),
        "subscription": frame.get(named),
    }

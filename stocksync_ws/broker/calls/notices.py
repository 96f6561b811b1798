"""What listeners are told of a subscription, made from its record.

Rule: pure; an event is complete when it is made.
"""

from __future__ import annotations

from stocksync_ws.broker.calls.events import SessionSubscribed, SessionUnsubscribed
from stocksync_ws.broker.model.session import Subscription

__all__ = ["subscribed", "unsubscribed"]


def subscribed(subscription: Subscription) -> SessionSubscribed:
    """It is active."""
    session = subscription.session
    return SessionSubscribed(
        session_id=session.id,
        user=session.user,
        subscription_id=subscription.id,
        destination=subscription.destination,
    )


def unsubscribed(subscription: Subscription) -> SessionUnsubscribed:
    """The client ended it, or another session took its name over."""
    session = subscription.session
    return SessionUnsubscribed(
        session_id=session.id,
        user=session.user,
        subscription_id=subscription.id,
        destination=subscription.destination,
    )

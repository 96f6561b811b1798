"""STOMP messaging over WebSocket for Python web applications.

    from stocksync_ws import StompApp, send_to

    ws = StompApp("/ws")

    @ws.message_mapping("/hello")
    @send_to("/topic/greetings")
    async def hello(name: str) -> str:
        return f"Hello, {name}!"

    ws.run()

This file only re-exports; the names of `__all__` are the public ones.

PYTEST_DONT_REWRITE: because of the plugin beside it pytest would warn, or with `-W error` end, in a
process that had imported the package before.
"""

from stocksync_ws.app import StompApp
from stocksync_ws.backplane import Backplane, BackplaneSettings
from stocksync_ws.broker.calls.events import (
    BackplaneAvailability,
    BackplaneReset,
    BrokerAvailability,
    ConnectRejected,
    DeadLetter,
    FrameDenied,
    HandshakeRejected,
    HeartBeatLost,
    MessageDropped,
    PresenceJoined,
    PresenceLeft,
    SessionConnected,
    SessionDisconnected,
    SessionSubscribed,
    SessionUnsubscribed,
    SlowConsumer,
    TransactionAborted,
)
from stocksync_ws.broker.model.outbound import OutboundMessage
from stocksync_ws.broker.model.publication import PublicationKind, Published
from stocksync_ws.broker.model.session import Session
from stocksync_ws.codes import CloseCode, DisconnectReason, ErrorCode
from stocksync_ws.compilation import compiled
from stocksync_ws.config import Limits, SockJSOptions
from stocksync_ws.counters import Counters
from stocksync_ws.errors import (
    AccessDenied,
    BackplaneUnavailable,
    BadCredentials,
    BrokerBusy,
    BrokerClosed,
    ConfigurationError,
    ConversionError,
    ForkedBrokerError,
    HandlerTimeout,
    IdempotencyMismatch,
    InterceptorFailed,
    PublishUncertain,
    StockSyncError,
    WrongLoop,
)
from stocksync_ws.messaging.authenticated import Authenticated
from stocksync_ws.messaging.connect import ConnectRequest
from stocksync_ws.messaging.decorators import (
    authorize,
    controller,
    controller_advice,
    event_listener,
    message_exception_handler,
    message_mapping,
    send_to,
    send_to_user,
    snapshot,
    subscribe_mapping,
)
from stocksync_ws.messaging.exchange import CurrentUser, DestinationVariable, Header, Payload
from stocksync_ws.messaging.intercepting import (
    delivery_filter,
    handshake_interceptor,
    inbound_interceptor,
    outbound_interceptor,
)
from stocksync_ws.messaging.template import MessagingTemplate
from stocksync_ws.policies import Latest, Queue, Stream, Topic
from stocksync_ws.presence import Member, MemberSession, Presence
from stocksync_ws.rates import Rate
from stocksync_ws.stomp.frame import Frame
from stocksync_ws.types import HttpRequest, Principal, Refusal
from stocksync_ws.users import ConnectedUser, SubscriptionInfo, Users

__version__ = "0.1.0"

__all__ = [
    "AccessDenied",
    "Authenticated",
    "Backplane",
    "BackplaneAvailability",
    "BackplaneReset",
    "BackplaneSettings",
    "BackplaneUnavailable",
    "BadCredentials",
    "BrokerAvailability",
    "BrokerBusy",
    "BrokerClosed",
    "CloseCode",
    "ConfigurationError",
    "ConnectRejected",
    "ConnectRequest",
    "ConnectedUser",
    "ConversionError",
    "Counters",
    "CurrentUser",
    "DeadLetter",
    "DestinationVariable",
    "DisconnectReason",
    "ErrorCode",
    "ForkedBrokerError",
    "Frame",
    "FrameDenied",
    "HandlerTimeout",
    "HandshakeRejected",
    "Header",
    "HeartBeatLost",
    "HttpRequest",
    "IdempotencyMismatch",
    "InterceptorFailed",
    "Latest",
    "Limits",
    "Member",
    "MemberSession",
    "MessageDropped",
    "MessagingTemplate",
    "OutboundMessage",
    "Payload",
    "Presence",
    "PresenceJoined",
    "PresenceLeft",
    "Principal",
    "PublicationKind",
    "PublishUncertain",
    "Published",
    "Queue",
    "Rate",
    "Refusal",
    "Session",
    "SessionConnected",
    "SessionDisconnected",
    "SessionSubscribed",
    "SessionUnsubscribed",
    "SlowConsumer",
    "SockJSOptions",
    "StockSyncError",
    "StompApp",
    "Stream",
    "SubscriptionInfo",
    "Topic",
    "TransactionAborted",
    "Users",
    "WrongLoop",
    "authorize",
    "compiled",
    "controller",
    "controller_advice",
    "delivery_filter",
    "event_listener",
    "handshake_interceptor",
    "inbound_interceptor",
    "message_exception_handler",
    "message_mapping",
    "outbound_interceptor",
    "send_to",
    "send_to_user",
    "snapshot",
    "subscribe_mapping",
]

"""Settings: frozen, validated when made, and never read from the environment.

Rule: a number that bounds something stands in `Limits` and nowhere else. Units are seconds, bytes
or counts and are given with each field.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import timedelta
from itertools import permutations
from typing import Literal, TypeAlias, cast

from stocksync_ws.backplane import Backplane
from stocksync_ws.checks import (
    MOST_SECONDS,
    check_heart_beat,
    check_host,
    check_origin,
    check_path_of_endpoint,
    check_patterns,
    check_sessions,
    check_shared,
    fail,
    is_below,
)
from stocksync_ws.policies import DestinationPolicy, Queue, TopicPolicy, check_path
from stocksync_ws.rates import Rate

__all__ = [
    "BrokerConfig",
    "EndpointConfig",
    "Limits",
    "SessionWins",
    "SockJSOptions",
    "exceeded",
]


SessionWins: TypeAlias = Literal["newest", "oldest"]
"""The session that stays where a user has too many."""

_WITHIN = (
    ("max_header_line", "max_header_block"),
    ("max_header_block", "max_message_size"),
    ("send_queue", "max_total_queued"),
)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Bounds of what one server takes from its clients and keeps for them.

    Raises:
        ConfigurationError: A value is not a positive number, or two values contradict each other.
    """

    handshake_timeout: float = 5.0
    """Seconds from the first byte of a connection to the end of its HTTP request."""
    max_handshake_bytes: int = 16_384
    """Bytes of one HTTP request head."""
    max_handshake_headers: int = 100
    """Header lines of one HTTP request."""
    connect_timeout: float = 10.0
    """Seconds from the upgrade to a complete CONNECT frame; the authenticator has its own limit."""
    pre_auth_bytes: int = 16_384
    """Bytes kept of a client before it is CONNECTED: messages, half ones too, and posts."""
    max_message_size: int = 65_536
    """Bytes of one STOMP frame with its headers, and of one WebSocket message; inbound only."""
    max_fragments: int = 1_024
    """WebSocket frames of one message, empty ones included."""
    max_messages_per_frame: int = 128
    """WebSocket messages one STOMP frame may be spread over."""
    frame_timeout: float = 30.0
    """Seconds from first to last byte of a STOMP or WebSocket frame or message, while we read."""
    max_headers: int = 64
    """Header lines of one STOMP frame, repeated ones included."""
    max_header_line: int = 8_192
    """Bytes of one STOMP header line."""
    max_header_block: int = 16_384
    """Bytes of command and headers of one STOMP frame."""
    max_id: int = 128
    """Bytes of a subscription id, a receipt, a transaction name or a message id."""
    max_destination: int = 255
    """Bytes of a destination."""
    max_segments: int = 16
    """Segments of a destination."""
    max_subscriptions: int = 100
    """Subscriptions of one session."""
    max_reply_queues: int = 100
    """Reply queues of one session; beyond it the one that was used longest ago goes."""
    max_receipts: int = 256
    """Receipts owed to one session, without those of transactions; over it the next frame waits."""
    max_transactions: int = 8
    """Transactions one session may have open."""
    max_transaction_frames: int = 256
    """Frames of one transaction."""
    max_transaction_bytes: int = 262_144
    """Bytes of the frames of one transaction."""
    transaction_timeout: float = 60.0
    """Seconds a transaction may stay open."""
    ack_window: int = 100
    """Messages one acknowledging subscription may hold unsettled."""
    ack_window_bytes: int = 524_288
    """Bytes of these messages; an empty window takes one of any size."""
    pending_messages: int = 1_000
    """Messages that wait for one subscription outside of its mailbox: a full window, a snapshot."""
    pending_bytes: int = 524_288
    """Bytes of these messages."""
    queue_messages: int = 10_000
    """Messages one queue keeps."""
    queue_bytes: int = 16_777_216
    """Bytes of the messages one queue keeps."""
    max_queues: int = 10_000
    """Queues that may exist."""
    max_streams: int = 10_000
    """Destinations whose history is kept; the least recently used goes first."""
    history_bytes: int = 1_048_576
    """Bytes of the history of one destination; the newest message is kept whatever its size."""
    max_stored: int = 67_108_864
    """Bytes of all stored messages together."""
    owner_share: float = 0.1
    """The part of `max_stored`, `max_queues`, `max_streams` and `idempotency_keys` that one user or
    anonymous session may hold by its SENDs, at most 1; all anonymous ones together hold a half.
    """
    queue_idle_seconds: float = 86_400.0
    """Seconds a queue without consumers is kept; then its messages expire."""
    max_keys: int = 10_000
    """Keys of one `latest` destination."""
    durable_seconds: float = 300.0
    """Seconds a durable subscription is kept after its session ended."""
    durable_messages: int = 1_000
    """Messages kept for one durable subscription."""
    durable_bytes: int = 1_048_576
    """Bytes of the messages kept for one durable subscription."""
    max_durables: int = 10
    """Durable subscriptions of one user."""
    idempotency_seconds: float = 300.0
    """Seconds an idempotency key is remembered."""
    idempotency_keys: int = 10_000
    """Keys that are remembered, of all clients together."""
    rated_users: int = 10_000
    """Users whose `user_rate` is remembered when they have left, until it is whole again."""
    inbox: int = 65_536
    """Bytes that wait for their turn (each message counts 64 more); over it, reading pauses."""
    read_budget: int = 65_536
    """Bytes read from one connection in one turn of the loop."""
    read_frames: int = 64
    """Frames taken from one connection in one turn of the loop."""
    sockjs_body: int = 1_048_576
    """Bytes of one SockJS request body, and of one message on its WebSocket."""
    sockjs_messages: int = 4_096
    """Messages in one SockJS request body, and in one message on its WebSocket."""
    sockjs_posts: int = 8
    """Posts of one SockJS session that wait at a time; more get 503."""
    sockjs_sessions: int = 10_000
    """SockJS sessions over plain HTTP that are open at a time."""
    sockjs_remembered: int = 10_000
    """Closed SockJS sessions that are remembered at a time; the oldest is forgotten first."""
    max_outbound_message: int = 16 * 1024 * 1024
    """Bytes of one message that we send, also above `send_queue`: a mailbox within its bound takes
    one such message, and while that leaves only `send_stall_seconds` judges its session.
    """
    send_queue: int = 524_288
    """Bytes that may wait for one session; judged once a turn, after a flush was tried."""
    send_queue_seconds: float = 30.0
    """Seconds the oldest waiting frame may wait."""
    send_stall_seconds: float = 10.0
    """Seconds without the transport taking a byte while frames wait."""
    max_total_queued: int = 268_435_456
    """Bytes that wait for all sessions, or of them for us; over it the largest holder is closed."""
    ping_after: float = 25.0
    """Seconds without a byte from the peer before a WebSocket PING is sent."""
    pong_timeout: float = 20.0
    """Seconds after that PING in which a byte must come from a client that owes no heart-beats."""
    presence_grace: float = 5.0
    """Seconds a user may be gone with all connections, and come back without having left."""
    presence_interval: float = 0.1
    """Seconds between two messages about the presence of one destination, at least."""
    presence_info: int = 1_024
    """Bytes of the JSON that the application attaches to one session."""
    handler_timeout: float = 30.0
    """Seconds one call of user code may take, whether handler, listener or authenticator."""
    handler_threads: int | None = None
    """Threads for `def` handlers; None: as `concurrent.futures`. Others: two of each kind."""
    max_connections: int | None = None
    """Connections open at a time; None: as many as file descriptors allow."""
    close_timeout: float = 5.0
    """Seconds a close may take before the connection is aborted."""
    shutdown_timeout: float = 30.0
    """Seconds a stop may take in all; 3 more where a coroutine does not end when cancelled."""

    def __post_init__(self) -> None:
        for item in fields(self):
            value: object = getattr(self, item.name)
            if value is None and item.name in ("handler_threads", "max_connections"):
                continue
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
                hint = f": write {value.total_seconds()}" if isinstance(value, timedelta) else ""
                problem = f"must be a positive number, not {value!r}{hint}"
                raise fail(f"Limits.{item.name}", problem)
        for name, bound in _WITHIN:
            if getattr(self, name) > getattr(self, bound):
                most = getattr(self, bound)
                raise fail(f"Limits.{name}", f"must not exceed {bound} ({most}): raise that too")
        if self.owner_share > 1:
            raise fail("Limits.owner_share", "must not exceed 1")


def exceeded(limits: Limits, name: str, got: int, *, whole: bool = True) -> str:
    """The text in an error about the limit `name`: `Limits.max_header_line=8192, got 9130`.

    Args:
        limits: The bounds that hold.
        name: A field.
        got: The value that came, in the unit of the limit.
        whole: The whole value came; else it was refused while it came, and would be more.
    """
    return f"Limits.{name}={getattr(limits, name)}, got {'' if whole else 'at least '}{got}"


_URL = re.compile(r"(?:/|https?://)[^\s\"'<>\\\x00-\x20\x7f-\U0010ffff]*")
"""URLs that may stand in an attribute of HTML as they are."""


PRIVATE = ("/reply-queue/", "/temp-queue/")
"""Prefixes of the addresses of private queues."""


@dataclass(frozen=True, kw_only=True)
class BrokerConfig:
    """The meaning of destinations, the rights of clients to them, and the judgement of liveness.

    Patterns are destinations in which `*` stands for one segment and a last `**` for any number.

    Raises:
        ConfigurationError: A prefix or pattern is malformed, or prefixes overlap.
    """

    application_prefixes: tuple[str, ...] = ("/app",)
    """Prefixes of destinations that go to handlers."""
    broker_prefixes: tuple[str, ...] = ("/topic", "/queue")
    """Prefixes of destinations that go to the broker."""
    queue_prefixes: tuple[str, ...] = ("/queue",)
    """Prefixes of queues; one that is none of `broker_prefixes` is not served."""
    user_prefix: str = "/user"
    """The prefix of destinations that mean the receiver's own: `/user/queue/errors`."""
    presence: tuple[str, ...] = ()
    """Patterns of topics whose subscribers are listed, for the application and for clients."""
    presence_prefix: str = "/presence"
    """The prefix below which clients read these lists, `/presence/topic/room/7`, and never send."""
    client_send: tuple[str, ...] = ()
    """Patterns of broker destinations that clients may SEND to."""
    client_subscribe: tuple[str, ...] = ("/topic/**",)
    """Patterns of broker destinations that clients may SUBSCRIBE to."""
    heart_beat: tuple[float, float] = (10.0, 10.0)
    """Seconds between heart-beats: those we can send, and those we want to receive; 0: none."""
    missed_heart_beats: float = 3.0
    """Agreed intervals without a byte after which a peer is lost."""
    error_destination: str = "/queue/errors"
    """The destination below the user prefix that tells a session of errors of the application."""
    destinations: Mapping[str, DestinationPolicy] = field(
        default_factory=dict[str, DestinationPolicy]
    )
    """Policies of destinations by their patterns; the first that matches counts."""
    sessions_per_user: int | None = None
    """Sessions one user may have; None: any number. Anonymous sessions are not counted."""
    session_wins: SessionWins = "newest"
    """The winner at that bound: the `newest` ends the oldest, or the `oldest` ones keep it out."""
    limits: Limits = field(default_factory=Limits)
    session_rate: Rate | None = None
    """The rate at which one session may SEND and SUBSCRIBE; None: any."""
    user_rate: Rate | None = None
    """The rate of all sessions of a user together; anonymous ones have only `session_rate`."""
    backplane: Backplane | None = None
    """The engine that several workers share; None: there is one worker, and it needs none."""

    def __post_init__(self) -> None:
        given = cast("object", self.limits)
        if not isinstance(given, Limits):
            raise fail("limits", f"write limits=Limits(max_connections=1_000), not {given!r}")
        prefixes = [*self.application_prefixes, *self.broker_prefixes, self.user_prefix]
        prefixes.append(self.presence_prefix)
        for setting in ("application_prefixes", "broker_prefixes", "queue_prefixes"):
            for prefix in getattr(self, setting):
                check_path(setting, prefix)
        check_path("user_prefix", self.user_prefix)
        check_path("presence_prefix", self.presence_prefix)
        check_path("error_destination", self.error_destination)
        for one, other in permutations(prefixes, 2):
            if (one + "/").startswith(other + "/"):
                problem = "a destination would have two meanings; change one of the two"
                raise fail("prefixes", f"{one!r} and {other!r} overlap: {problem}")
        for prefix in prefixes:
            if (prefix + "/").startswith(PRIVATE):
                problem = "is kept for private queues, which rules and settings do not close"
                raise fail("prefixes", f"{prefix!r} {problem}: write another one")
        for setting in ("client_send", "client_subscribe", "destinations", "presence"):
            patterns = tuple(getattr(self, setting))
            check_patterns(setting, patterns)
            for pattern in patterns:
                self._check_below(setting, pattern)
        for pattern in self.presence:
            if any(is_below(pattern, prefix) for prefix in self.queue_prefixes):
                problem = "is below a queue prefix, and consumers are not there together: name a"
                raise fail("presence", f"{pattern!r} {problem} topic, or leave it out")
        self._check_policies()
        if self.backplane is not None:
            named = self.client_send, self.client_subscribe
            check_shared(self.backplane, self.destinations, self.queue_prefixes, *named)
        for setting in ("session_rate", "user_rate"):
            rate = getattr(self, setting)
            if rate is not None and not isinstance(rate, Rate):
                raise fail(setting, f"must be a Rate, not {rate!r}: write Rate(20, burst=40)")
        check_heart_beat(self.heart_beat)
        check_sessions(self.sessions_per_user, self.session_wins)
        if not self.missed_heart_beats > 1:
            raise fail("missed_heart_beats", f"must be above 1, not {self.missed_heart_beats!r}")

    def _check_policies(self) -> None:
        for pattern, policy in self.destinations.items():
            given = cast("object", policy)
            if not isinstance(given, (TopicPolicy, Queue)):
                problem = f"needs a Topic(…), Stream(…), Latest(…) or Queue(…), not {given!r}"
                if isinstance(given, type):
                    problem = f"needs an object, not a class: write {given.__name__}()"
                raise fail("destinations", f"{pattern!r} {problem}")
            queue = any(is_below(pattern, prefix) for prefix in self.queue_prefixes)
            if queue is not isinstance(policy, Queue):
                problem = "below a queue prefix: write Queue(…)"
                if not queue:
                    problem = "below no queue prefix: write Topic(…), Stream(…) or Latest(…)"
                raise fail("destinations", f"{pattern!r} is {problem}")
            if policy.dead_letter is not None:
                self._check_below(f"{type(policy).__name__}.dead_letter", policy.dead_letter)

    def _check_below(self, setting: str, text: str) -> None:
        if any(is_below(text, prefix) for prefix in self.broker_prefixes):
            return
        why = ": write " + " or ".join(f"'{prefix}/…'" for prefix in self.broker_prefixes)
        if any(is_below(text, prefix) for prefix in self.application_prefixes):
            why = ", but for handlers, to which every client may send: leave it out"
        elif is_below(text, self.user_prefix):
            why = ", but below user_prefix, where every client may subscribe: leave it out"
        raise fail(setting, f"{text!r} is under no broker prefix{why}")


@dataclass(frozen=True, kw_only=True)
class SockJSOptions:
    """Settings of SockJS at an endpoint, for browsers behind proxies that let no WebSocket through.

    Raises:
        ConfigurationError: A value is out of its range, or the iframe page has no client to load.
    """

    websocket: bool = True
    """WebSocket, plain at `/websocket` below the path, and framed."""
    xhr_streaming: bool = True
    """One long answer to a POST."""
    xhr: bool = True
    """Long polling."""
    eventsource: bool = True
    """Server-sent events."""
    iframe: bool = False
    """The page for transports in a frame; answered with 404 where origins are listed, since it is
    a bridge for any other page.
    """
    htmlfile: bool = False
    """An endless page of scripts, for Internet Explorer."""
    jsonp: bool = False
    """Polling by script elements, for browsers that are gone."""
    client_url: str | None = None
    """The sockjs-client that the iframe page loads, in the version of the outer page."""
    base_url: str | None = None
    """The address that `/info` tells clients to use instead of the one they came to."""
    cookie: bool = False
    """A `JSESSIONID` cookie is sent, and asked for, for balancers that stick by it."""
    bind_address: bool = True
    """Requests of a session must come from the address that opened it; the port may differ."""
    heart_beat: float = 25.0
    """Seconds of silence after which a waiting client gets a heart-beat of SockJS."""
    disconnect_delay: float = 5.0
    """Seconds a session lives while no request of its client waits for messages."""
    stream_bytes: int = 131_072
    """Bytes after which a stream ends, and the client asks for the next one."""
    remember: float = 60.0
    """Seconds a closed session is remembered, so that late requests are told of its end."""

    def __post_init__(self) -> None:
        for name in ("heart_beat", "disconnect_delay", "stream_bytes", "remember"):
            if not getattr(self, name) > 0:
                raise fail(f"SockJSOptions.{name}", "must be a positive number")
        if self.heart_beat > MOST_SECONDS:
            problem = (
                f"is in seconds, at most {MOST_SECONDS:g}, not {self.heart_beat!r}; if that is"
            )
            problem += f" ms, write {self.heart_beat / 1_000:g}"
            raise fail("SockJSOptions.heart_beat", problem)
        if self.iframe and not _is_url(self.client_url):
            problem = "the iframe page needs a path or http address of sockjs-client, not"
            raise fail("SockJSOptions.client_url", f"{problem} {self.client_url!r}")
        if self.base_url is not None and not _is_address(self.base_url):
            raise fail(
                "SockJSOptions.base_url",
                f"{self.base_url!r} must be a whole address such as"
                f" 'https://one.shop.example/inventory-ws': of a path clients make no WebSocket",
            )

    @classmethod
    def conformance(cls) -> SockJSOptions:
        """Options with everything on, for the public test suite; not for production."""
        return cls(iframe=True, htmlfile=True, jsonp=True, client_url="/sockjs.min.js")


def _is_address(text: str) -> bool:
    return not text.startswith("/") and _is_url(text)


def _is_url(text: str | None) -> bool:
    return text is not None and _URL.fullmatch(text) is not None


@dataclass(frozen=True, kw_only=True)
class EndpointConfig:
    """The path of an endpoint, and the origins and hosts for which it opens.

    Raises:
        ConfigurationError: The path or an origin is malformed.
    """

    path: str
    """The path of the WebSocket, with and without a trailing slash."""
    allowed_origins: tuple[str, ...] = ()
    """Exact origins such as `https://shop.example`, `capacitor://localhost`, `file://` or `null`;
    none: the same origin; `("*",)`: any.
    """
    allowed_hosts: tuple[str, ...] | None = None
    """Host names that may stand in the Host header; None: any."""
    sockjs: SockJSOptions | None = None
    """SockJS below the path; None: only WebSocket."""

    def __post_init__(self) -> None:
        check_path_of_endpoint(self.path)
        for origin in self.allowed_origins:
            check_origin(origin)
        for host in self.allowed_hosts or ():
            check_host(host)

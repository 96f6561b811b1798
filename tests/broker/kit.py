"""What the tests of delivery share: an application open to clients, and a log of its events."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from contextvars import copy_context
from dataclasses import dataclass
from itertools import count
from typing import Any, TypeVar

from stocksync_ws import StompApp, policies
from stocksync_ws.broker.calls.events import (
    DeadLetter,
    MessageDropped,
    SessionDisconnected,
    SessionSubscribed,
    SessionUnsubscribed,
    TransactionAborted,
)
from stocksync_ws.broker.model.environment import Environment
from stocksync_ws.broker.model.ledger import AckMode
from stocksync_ws.broker.model.log import ByteCounter
from stocksync_ws.broker.model.namespace import Namespace
from stocksync_ws.broker.model.post_office import PostOffice
from stocksync_ws.broker.model.publication import Draft, Publication
from stocksync_ws.broker.model.session import SessionRecord
from stocksync_ws.broker.model.step import Step
from stocksync_ws.broker.model.subscription import Reader
from stocksync_ws.broker.model.topic import Topic
from stocksync_ws.config import BrokerConfig, Limits
from stocksync_ws.counters import Counters
from stocksync_ws.messaging.connect import ConnectRequest
from stocksync_ws.stomp.decoder import Decoder
from stocksync_ws.stomp.frame import Frame, Version
from stocksync_ws.testing.peer import Peer
from stocksync_ws.testing.world import World
from stocksync_ws.timers import Timers
from stocksync_ws.types import (
    Chunk,
    Handshake,
    HttpRequest,
    Principal,
    ToDestination,
    ToSession,
    ToUser,
    Wire,
)
from stocksync_ws.wire import WebSocketWire

__all__ = [
    "Broker",
    "TextWire",
    "User",
    "ack",
    "bodies",
    "environment",
    "epoch",
    "lonely_reader",
    "lonely_topic",
    "policy",
    "publication",
    "record",
    "refused",
    "resubscribe",
    "text_only",
]

E = TypeVar("E")
R = TypeVar("R")
EVENTS = (
    DeadLetter,
    MessageDropped,
    SessionDisconnected,
    SessionSubscribed,
    SessionUnsubscribed,
    TransactionAborted,
)
QUIET = {"ping_after": 1e9, "send_queue_seconds": 1e9, "send_stall_seconds": 1e9}


@dataclass(frozen=True)
class User:
    name: str


class TextWire:
    """To the broker a wire that carries text only, to its client a WebSocket.

    It has a wire, and is none: a class of the compiled build can be no base of ours.
    """

    key: Hashable = "text"

    def __init__(self, wire: Wire | None = None) -> None:
        vars(self)["wire"] = wire or WebSocketWire()

    def __getattr__(self, name: str) -> Any:
        return getattr(vars(self)["wire"], name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(vars(self)["wire"], name, value)

    def dress(self, head: bytes, tail: bytes, text: bool) -> Chunk | None:
        chunk: Chunk | None = vars(self)["wire"].dress(head, tail, text) if text else None
        return chunk


def text_only(world: World) -> None:
    """From now on the client that connected last is on a wire that carries text only."""
    record = list(world.broker.sessions.values())[-1]
    record.wire = TextWire(record.wire)


def policy(place: str, **settings: Any) -> policies.DestinationPolicy:
    """What is set for one destination that keeps no history."""
    kind = policies.Queue if place.startswith("/queue/") else policies.Topic
    return kind(**settings)


def everybody_is(user: Any) -> Callable[[ConnectRequest], Principal]:
    """An authenticator that takes everybody for this user."""

    def authenticate(request: ConnectRequest) -> Principal:
        found: Principal = user
        return found

    return authenticate


def authenticate(request: ConnectRequest) -> User | None:
    return User(request.login) if request.login else None


def environment(config: BrokerConfig | None = None, timers: Timers | None = None) -> Environment:
    """What a room of a broker is given, without the broker: a step ends with nothing done."""
    config = config or BrokerConfig()
    numbers = count()
    step = Step(Timers() if timers is None else timers, lambda: None)
    return Environment(
        config,
        config.limits,
        Namespace(config),
        Counters(),
        step,
        PostOffice(config.limits, step),
        {},
        lambda bits: f"token{next(numbers)}-{bits}",
        float,
    )


def record(env: Environment | None = None, wire: Wire | None = None) -> SessionRecord:
    """The record of a session without a broker around it."""
    env = env or environment()
    request = HttpRequest("GET", "/ws", peer="1.2.3.4:5")
    handshake = Handshake(request, wire or WebSocketWire(), None)
    keeper: Any = None
    decoder = Decoder(env.limits)
    return SessionRecord("s1", handshake, decoder, env.office, keeper, copy_context())


def lonely_topic(policy: policies.TopicPolicy | None = None) -> Topic:
    """A topic without a broker around it."""
    keeper: Any = None
    return Topic("/topic/a", policy or policies.Topic(), ByteCounter(), keeper)


def lonely_reader(mode: AckMode) -> Reader:
    """A subscription to such a topic."""
    session = record()
    session.version = Version.V12
    return Reader(session, "s", "/topic/a", lonely_topic(), mode, None)


def drafted(
    destination: str,
    headers: tuple[tuple[str, str], ...] = (),
    body: bytes = b"",
    *,
    user: str | None = None,
    session: str | None = None,
) -> Draft:
    """A draft to a destination, or to what follows the user prefix."""
    if session is not None:
        return Draft(ToSession(session, destination), headers, body)
    target = ToDestination(destination) if user is None else ToUser(user, destination)
    return Draft(target, headers, body)


def publication(
    number: int,
    message_id: str,
    destination: str,
    headers: tuple[tuple[str, str], ...] = (),
    body: bytes = b"",
    at: float = 0.0,
) -> Publication:
    """An admitted message."""
    return Publication(number, message_id, destination, drafted(destination, headers, body), at)


class Broker(World):
    """A world in which clients may use every destination, and nobody is pinged; what its handlers
    fail at is told to the clients alone.

    Args:
        destinations: Policies.
        prepare: Declares handlers.
        settings: Fields of `Limits`.
    """

    def __init__(
        self,
        destinations: dict[str, policies.DestinationPolicy] | None = None,
        *,
        prepare: Callable[[StompApp], object] | None = None,
        **settings: Any,
    ) -> None:
        self.events: list[Any] = []
        self.app = StompApp(
            "/ws",
            authenticator=authenticate,
            heart_beat=(0, 0),
            client_send=("/topic/**", "/queue/**"),
            client_subscribe=("/topic/**", "/queue/**"),
            destinations=destinations or {},
            limits=Limits(**(QUIET | settings)),
        )

        @self.app.event_listener(*EVENTS, inline=True)
        def heard(event: object) -> None:
            self.events.append(event)

        if prepare is not None:
            prepare(self.app)
        super().__init__(self.app, raise_errors=False)

    def heard(self, kind: type[E]) -> list[E]:
        """Events of a kind so far."""
        return [event for event in self.events if isinstance(event, kind)]

    def publish(self, destination: str, *bodies: str | bytes, **headers: str) -> None:
        """Publish from the server's side."""
        for body in bodies:
            data = body.encode() if isinstance(body, str) else body
            self.app.template.send(destination, data, headers or None)
        self.settle()

    def receivers(self, destination: str, body: bytes) -> int:
        """Publish, and say how many got it."""
        return self.run(self.app.template.publish(destination, body)).receivers

    def act(self, work: Callable[..., R], *args: Any) -> R:
        """One step of the broker, and what the driver does behind it."""
        result = self.broker._step.run(self.now, work, *args)
        self.runtime.driver._finish(self.now)
        self.settle()
        return result

    def reader(self, destination: str, version: str = "1.2", login: str = "", **more: str) -> Peer:
        """A client with one subscription of the id `s`."""
        peer = self.connect(version, **({"login": login} if login else {}))
        peer.subscribe(destination, "s", **more)
        return peer

    def text_client(self, version: str = "1.2", **headers: str) -> Peer:
        """A client whose wire carries text only."""
        peer = self.connect(version, **headers)
        text_only(self)
        return peer

    def text_reader(self, destination: str, login: str = "", **more: str) -> Peer:
        """Such a client with one subscription of the id `s`."""
        peer = self.text_client(**({"login": login} if login else {}))
        peer.subscribe(destination, "s", **more)
        return peer


def bodies(peer: Peer) -> list[str]:
    """The bodies of the MESSAGEs that have come; nothing else may have."""
    frames = peer.frames()
    assert all(frame.command == "MESSAGE" for frame in frames), frames
    return [frame.body.decode() for frame in frames]


def ack(peer: Peer, message: Frame, command: str = "ACK", **more: str) -> None:
    """ACK or NACK in the form of the client's version."""
    headers = message.headers
    if "ack" in headers:
        fields = {"id": headers["ack"]}
    else:
        fields = {"message-id": headers["message-id"], "subscription": headers["subscription"]}
    peer.command(command, fields | more)


def refused(peer: Peer, code: str, close: int, **headers: str) -> None:
    """The last frame was an ERROR with this code, and the connection is closed with `close`."""
    error = peer.error()
    assert error.headers["code"] == code
    assert error.headers.items() >= headers.items()
    assert peer.closed == close


def resubscribe(peer: Peer, place: str = "/topic/s", **more: str) -> Frame:
    """SUBSCRIBE, and its RECEIPT."""
    fields = {"destination": place, "id": "s", "receipt": "r"}
    fields.update({name.replace("_", "-"): value for name, value in more.items()})
    peer.command("SUBSCRIBE", fields)
    return peer.frame("RECEIPT")


def epoch(world: Broker) -> str:
    channel = world.broker.delivery.registry.find("/topic/s")
    assert channel is not None
    return str(channel.log.epoch)

"""The pipelines: what happens between a frame for the application and its RECEIPT.

Rule: straight-line generators. User code is reached by `yield Call`, what is to be published leaves
by `yield Draft`, and an exception of user code is mapped by a `message_exception_handler` or raised
on, for the broker to tell the client with a fixed text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from stocksync_ws.broker.calls.dispatch import UNSENT, Denial, Filter, Outbound, Verdict
from stocksync_ws.broker.calls.dispatch import Reply as Answer
from stocksync_ws.broker.calls.events import Event
from stocksync_ws.broker.model.credentials import Credentials
from stocksync_ws.broker.model.namespace import APPLICATION, Namespace
from stocksync_ws.broker.model.pipeline import Call, Pipeline
from stocksync_ws.broker.model.publication import Draft
from stocksync_ws.broker.model.session import SessionRecord
from stocksync_ws.config import BrokerConfig
from stocksync_ws.errors import ConversionError, StockSyncError
from stocksync_ws.messaging.access import refusal
from stocksync_ws.messaging.advice import no_handler
from stocksync_ws.messaging.convert import PayloadEncoder
from stocksync_ws.messaging.exchange import Exchange
from stocksync_ws.messaging.identity import Identity
from stocksync_ws.messaging.marks import ReplyTo
from stocksync_ws.messaging.principals import UserAsPayload
from stocksync_ws.messaging.routes import Handler, Reply, Routes
from stocksync_ws.messaging.routing import Router
from stocksync_ws.messaging.template import MessagingTemplate
from stocksync_ws.stomp.frame import SEND, SUBSCRIBE, Frame
from stocksync_ws.types import Handshake, Refusal, Target, ToDestination, ToSession, ToUser

__all__ = ["Dispatcher"]

DEFAULT_TOPIC = "/topic"
DEFAULT_QUEUE = "/queue"
_DEFAULT = (Reply(ReplyTo(())),)
"""What a returned value without a reply decorator does."""


class Dispatcher:
    """`broker.calls.dispatch.Dispatch` for declared handlers.

    Args:
        routes: Gives the frozen routes; called for each frame, so that freezing may come late.
        identity: Says who a client is.
    """

    def __init__(
        self,
        config: BrokerConfig,
        routes: Callable[[], Routes],
        identity: Identity,
        template: MessagingTemplate,
    ) -> None:
        self._routes = routes
        self._identity = identity
        self._template = template
        self._space = Namespace(config)
        self._error_destination = config.error_destination
        self._encoder = PayloadEncoder()
        self._most = config.limits.max_outbound_message

    @property
    def needs_threads(self) -> bool:
        """A function of the application is plain and not inline. The application freezes."""
        return self._routes().needs_threads or self._identity.needs_threads

    def handshake(self, handshake: Handshake) -> Pipeline[Refusal | Credentials | None] | None:
        """Ask the interceptors, and then the authenticator of the handshake."""
        interceptors = self._routes().interceptors
        looks = None if interceptors is None else interceptors.handshake(handshake)
        asks = self._identity.handshake(handshake.request)
        if looks is None or asks is None:
            return looks or asks
        return _in_turn(looks, asks)

    @property
    def has_inbound(self) -> bool:
        """Frames are looked at before anything else. The application freezes."""
        interceptors = self._routes().interceptors
        return interceptors is not None and interceptors.has_inbound

    def inbound(self, session: SessionRecord, frame: Frame) -> Pipeline[Frame] | None:
        """Ask the inbound interceptors for such a frame."""
        interceptors = self._routes().interceptors
        assert interceptors is not None
        return interceptors.inbound(session, frame, self._template)

    @property
    def outbound(self) -> Outbound | None:
        """The outbound interceptors as one function. The application freezes."""
        interceptors = self._routes().interceptors
        return None if interceptors is None else interceptors.outbound

    def delivery_filter(self, destination: str) -> Filter | None:
        """The filters of a topic as one. The application freezes."""
        interceptors = self._routes().interceptors
        return None if interceptors is None else interceptors.filter_for(destination)

    def connect(self, session: SessionRecord, frame: Frame) -> Pipeline[Credentials | None] | None:
        """Ask the authenticator."""
        return self._identity.connect(session, frame)

    def refresh(self, session: SessionRecord, frame: Frame) -> Pipeline[Credentials | None]:
        """Ask the one that gave the session its credentials."""
        return self._identity.refresh(session, frame)

    def roles(self, session: SessionRecord) -> Pipeline[frozenset[str]] | None:
        """Ask for the roles of its user."""
        return self._identity.roles(session)

    def refuses(self, session: SessionRecord, path: str) -> bool:
        """Ask `roles=` and `authenticated=` of the handler."""
        return _guard(self._routes().messages, session, path) is not None

    @property
    def has_rules(self) -> bool:
        """Somebody may not do everything. The application freezes."""
        routes = self._routes()
        return routes.guarded or routes.rights is not None

    def judge(
        self, session: SessionRecord, frame: Frame, command: str, destination: str
    ) -> Verdict:
        """Ask what a snapshot function is for, which a client may not need, and then the rules."""
        routes = self._routes()
        if command == SUBSCRIBE:
            denial = _guard(routes.snapshots, session, destination)
            if denial is not None:
                return denial
        if routes.rights is None:
            return None
        return routes.rights.judge(session, frame, command, destination, self._template)

    def judge_answer(self, session: SessionRecord, frame: Frame, reply_to: str) -> Verdict:
        """Ask what would be asked of a SEND there, its handler too."""
        kind, path = self._space.classify(reply_to)
        verdict: Verdict = None
        if kind is APPLICATION:
            verdict = _guard(self._routes().messages, session, path)
        if verdict is None:
            headers = {name: text for name, text in frame.headers.items() if name != "reply-to"}
            asked = Frame(SEND, headers | {"destination": reply_to}, frame.body)
            verdict = self.judge(session, asked, SEND, reply_to)
        if verdict is None or isinstance(verdict, Denial):
            return _of_answer(reply_to, verdict)
        return _later_of_answer(reply_to, verdict)

    def send(self, session: SessionRecord, frame: Frame, path: str) -> Pipeline[None] | None:
        """Call the handler of a SEND and publish what it returns."""
        found = self._routes().messages.match(path)
        if found is None:
            return None
        route, variables = found
        return self._handle(route, self._exchange(session, frame, variables), path)

    def subscribe(
        self, session: SessionRecord, frame: Frame, path: str
    ) -> Pipeline[Answer | None] | None:
        """Call the handler of a SUBSCRIBE; what it returns is the one answer."""
        found = self._routes().subscribes.match(path)
        if found is None:
            return None
        route, variables = found
        return self._answer(route, self._exchange(session, frame, variables), path)

    def snapshot(
        self, session: SessionRecord, frame: Frame, destination: str
    ) -> Pipeline[Answer | None] | None:
        """Call the snapshot function of a broker destination."""
        found = self._routes().snapshots.match(destination)
        if found is None:
            return None
        route, variables = found
        return self._first(route, self._exchange(session, frame, variables), destination)

    def no_handler(self, command: str, path: str) -> str:
        """Name the mappings that there are instead."""
        routes = self._routes()
        sends = "message_mapping", routes.messages
        subscribes = "subscribe_mapping", routes.subscribes
        if command == SUBSCRIBE:
            return no_handler(path, *subscribes, *sends)
        return no_handler(path, *sends, *subscribes)

    def event(self, event: Event) -> Sequence[Call]:
        """One call for each listener."""
        return list(self._routes().listening.calls(event))

    def hears(self, kind: type[Event]) -> bool:
        """Ask the listeners; the application freezes."""
        return self._routes().listening.of(kind) != []

    def _exchange(
        self, session: SessionRecord, frame: Frame, variables: Mapping[str, str]
    ) -> Exchange:
        exchange = Exchange(
            session=session.face, frame=frame, variables=variables, template=self._template
        )
        exchange.roles = session.roles
        return exchange

    # Pipelines

    def _handle(self, route: Handler, exchange: Exchange, path: str) -> Pipeline[None]:
        try:
            result = yield route.call(exchange)
        except Exception as error:
            yield from self._map(route, exchange, path, error)
            return
        if result is None:
            return
        assert exchange.frame is not None
        reply_to = exchange.frame.headers.get("reply-to")
        replies = route.replies or (_DEFAULT if reply_to is None else ())
        yield from self._reply(route, replies, exchange, path, result, reply_to)

    def _answer(self, route: Handler, exchange: Exchange, path: str) -> Pipeline[Answer | None]:
        try:
            result = yield route.call(exchange)
        except Exception as error:
            yield from self._map(route, exchange, path, error)
            return None
        if result is None:
            return None
        if route.replies:
            yield from self._reply(route, route.replies, exchange, path, result)
            return None
        body, content_type = self._encode(route, result)
        return Answer(body, (("content-type", content_type),))

    def _first(self, route: Handler, exchange: Exchange, path: str) -> Pipeline[Answer | None]:
        """A snapshot; None when its failure was mapped."""
        try:
            result = yield route.call(exchange)
        except Exception as error:
            yield from self._map(route, exchange, path, error)
            return None
        if result is None:
            return UNSENT
        body, content_type = self._encode(route, result)
        return Answer(body, (("content-type", content_type),))

    def _map(
        self, route: Handler, exchange: Exchange, path: str, error: Exception
    ) -> Pipeline[None]:
        """Let an exception handler answer, or raise the exception on."""
        found = self._routes().exception_handler(route, error)
        if found is None or isinstance(error, UserAsPayload):
            raise error
        handler, matched = found
        exchange.error = matched
        result = yield handler.call(exchange)
        if result is None:
            return
        if handler.replies:
            yield from self._reply(handler, handler.replies, exchange, path, result)
            return
        # An error is the sender's affair: unlike in Spring it never goes to a topic by default.
        body, content_type = self._encode(handler, result)
        session = exchange.session
        assert session is not None
        headers = _headers(exchange, content_type)
        yield Draft(ToSession(session.id, self._error_destination), headers, body)

    def _reply(
        self,
        handler: Handler,
        replies: Sequence[Reply],
        exchange: Exchange,
        path: str,
        result: object,
        reply_to: str | None = None,
    ) -> Pipeline[None]:
        """Send what a handler returned where its decorators say, and where the sender waits."""
        body, content_type = self._encode(handler, result)
        headers = _headers(exchange, content_type)
        if reply_to is not None:
            yield Draft(ToDestination(reply_to), _correlated(exchange, headers), body)
        for reply in replies:
            for destination in _destinations(handler, reply, exchange, path):
                yield _draft(reply, destination, headers, body, exchange)

    def _encode(self, handler: Handler, result: object) -> tuple[bytes, str]:
        """Encode what a handler returned; a mistake there is ours, not the sender's."""
        try:
            body, content_type = handler.encode(self._encoder, result)
        except ConversionError as error:
            raise StockSyncError(
                f"{handler.label} returned what cannot be sent{handler.declared}: {error}\n"
                f"  {handler.place}"
            ) from error
        if len(body) > self._most:
            raise StockSyncError(
                f"{handler.label} returned a message of {len(body)} bytes, larger than"
                f" Limits.max_outbound_message ({self._most} bytes)"
            )
        return body, content_type


def _in_turn(
    looks: Pipeline[Refusal | None], asks: Pipeline[Credentials | None]
) -> Pipeline[Refusal | Credentials | None]:
    """Interceptors first; whom they refuse, nobody asks who it is."""
    refusal = yield from looks
    return (yield from asks) if refusal is None else refusal


def _guard(routes: Router[Handler], session: SessionRecord, path: str) -> Denial | None:
    """What the declaration of the function that is called for a path says of a session."""
    found = routes.match(path)
    if found is None or found[0].access is None:
        return None
    problem = refusal(found[0].access, session.user, session.roles)
    return Denial(problem, found[0].label) if problem else None


def _of_answer(reply_to: str, denial: Denial | None) -> Denial | None:
    if denial is None:
        return None
    return denial._replace(rule=f"reply-to {reply_to!r}: {denial.rule}")


def _later_of_answer(reply_to: str, pipeline: Pipeline[Denial | None]) -> Pipeline[Denial | None]:
    return _of_answer(reply_to, (yield from pipeline))


def _headers(exchange: Exchange, content_type: str) -> tuple[tuple[str, str], ...]:
    """An answer to an error names the receipt of the frame, so that the client can tell which."""
    content = ("content-type", content_type)
    receipt = exchange.frame.headers.get("receipt") if exchange.frame is not None else None
    if exchange.error is None or receipt is None:
        return (content,)
    return (content, ("receipt-id", receipt))


def _correlated(
    exchange: Exchange, headers: tuple[tuple[str, str], ...]
) -> tuple[tuple[str, str], ...]:
    """An answer names the `correlation-id` of its question, where that had one."""
    assert exchange.frame is not None
    correlation_id = exchange.frame.headers.get("correlation-id")
    return headers if correlation_id is None else (*headers, ("correlation-id", correlation_id))


def _destinations(handler: Handler, reply: Reply, exchange: Exchange, path: str) -> Sequence[str]:
    if not reply.templates:
        return [(DEFAULT_QUEUE if reply.user else DEFAULT_TOPIC) + path]
    try:
        return [template.expand(exchange.variables) for template in reply.templates]
    except (KeyError, ValueError) as error:
        raise StockSyncError(f"{handler.label}: its reply has no destination: {error}") from error


def _draft(
    reply: Reply,
    destination: str,
    headers: tuple[tuple[str, str], ...],
    body: bytes,
    exchange: Exchange,
) -> Draft:
    target: Target = ToDestination(destination)
    if reply.user:
        session = exchange.session
        assert session is not None
        if reply.broadcast and session.user is not None:
            target = ToUser(session.user.name, destination)
        else:
            target = ToSession(session.id, destination)
    return Draft(target, headers, body)

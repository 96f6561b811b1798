"""`StompApp`: an application, its endpoint and its settings.

Rule: every setting of an application is an argument of `StompApp`, and is checked where it is
written.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

from stocksync_ws.arguments import (
    endpoint_config,
    mapping,
    sockjs_routes,
    texts,
)
from stocksync_ws.backplane import Backplane
from stocksync_ws.config import BrokerConfig, Limits, SessionWins, SockJSOptions
from stocksync_ws.counters import Counters
from stocksync_ws.entry_points import EntryPoints
from stocksync_ws.inbox import Inbox
from stocksync_ws.messaging.connect import Authenticate, AuthenticateHandshake, RolesOf
from stocksync_ws.messaging.identity import Identity
from stocksync_ws.messaging.rights import Default
from stocksync_ws.messaging.scalars import INTEGER_BITS
from stocksync_ws.policies import DestinationPolicy
from stocksync_ws.presence import Presence
from stocksync_ws.rates import Rate
from stocksync_ws.stomp.negotiate import choose_subprotocol
from stocksync_ws.users import Users
from stocksync_ws.wire.endpoint import Page, Site

if TYPE_CHECKING:
    from stocksync_ws.arguments import Texts
    from stocksync_ws.asgi.gateway import Workers
    from stocksync_ws.wire.sockjs.routes import SockJSRoutes

__all__ = ["StompApp"]

_DEFAULTS = BrokerConfig()


class StompApp(EntryPoints):
    """Spring-style messaging for a web application.

    `Texts` below are a list, a tuple or a set of texts, and never one text alone.

    Args:
        path: The path of the WebSocket, for example `/inventory-ws`.
        allowed_origins: Pages that may open it in a browser: `["*"]`, or exact origins such as
            `https://shop.example`, `capacitor://localhost`, `file://`, `null`; none: the same one.
        allowed_hosts: Host names that may stand in the Host header; None: any.
        authenticator: A function, sync or async, that decides once per session, at CONNECT, who it
            is: from a `ConnectRequest` to an object with a `name`, `Authenticated` around one, or
            None. Its return annotation names the class of the users, by which handlers get them.
            None: CONNECT says nothing, and everybody is who the handshake said, or anonymous.
        application_prefixes: Prefixes of destinations that go to handlers.
        broker_prefixes: Prefixes of destinations that go to the broker.
        queue_prefixes: The broker prefixes of queues.
        user_prefix: The prefix of destinations that mean the receiver's own sessions.
        client_send: Patterns of broker destinations that clients may SEND to.
        client_subscribe: Patterns of broker destinations that clients may SUBSCRIBE to.
        heart_beat: Seconds between heart-beats: those we can send, those we want to get; 0: none.
        missed_heart_beats: Agreed intervals without a byte after which a peer is lost.
        error_destination: The destination below the user prefix for errors of the application.
        destinations: Patterns of broker destinations, each with its policy: a `Topic`, `Stream`,
            `Latest` or `Queue`; the first that matches counts.
        limits: Every bound, see `Limits`.
        sockjs: Serve SockJS too, for browsers that a proxy keeps from opening a WebSocket; True, or
            `SockJSOptions`. Clients are then `new SockJS("/inventory-ws")`.
        json_integers: Bits of an integer in a body, a variable or a header; one with more is a
            `ConversionError`. 54 is what JavaScript holds exactly; None: any, to 4,300 digits.
        trusted_proxies: Addresses and networks of proxies whose `Forwarded` and `X-Forwarded-For`,
            `-Proto`, `-Host` are believed, `unix` for a Unix socket; ASGI hosts have a setting.
        asgi_batch: Join the frames that a client gets in a turn into one message, on a host server:
            much cheaper on busy topics, if clients look for several in one, as @stomp/stompjs does.
        workers: The answer of a second worker process behind the same address, after 30 s: `warn`
            logs a warning, `refuse` answers 503 to new sessions as well.
        roles: A function, sync or async, from a user to its roles, asked once a session.
        sessions_per_user: Sessions one user may have; None: any number. Anonymous sessions are not
            counted. With a backplane: at one worker.
        session_wins: The winner over that bound: the `newest` session ends the oldest one (close
            4505), or the `oldest` ones keep it out (`user-limit`).
        default_access: The access without a rule of `authorize`, open (`allow`) or none (`deny`).
        session_rate: The rate at which one session may SEND and SUBSCRIBE; frames beyond it are
            refused with `rate-limited`. None: any.
        user_rate: The rate of all sessions of a user together, beyond a reconnect too; with a
            backplane those of one worker.
        handshake_authenticator: A function as `authenticator`, from the `HttpRequest` of the
            upgrade, before that is answered; None leaves it to CONNECT. `BadCredentials` is 401,
            `AccessDenied` 403.
        presence: Patterns of topics whose subscribers are listed: `ws.presence` has the lists, and
            clients that may SUBSCRIBE to the topic read them below `presence_prefix`.
        backplane: The engine that several workers share; None: there is one worker.
        presence_prefix: The prefix of presence: `/presence/topic/room/7` for `/topic/room/7`.

    Raises:
        ConfigurationError: A setting is wrong; the text says which and how to mend it.
    """

    _sockjs: SockJSRoutes | None = None
    """The routes of SockJS, made for the first server."""

    def __init__(
        self,
        path: str,
        *,
        allowed_origins: Texts = (),
        allowed_hosts: Texts | None = None,
        authenticator: Authenticate | None = None,
        application_prefixes: Texts = _DEFAULTS.application_prefixes,
        broker_prefixes: Texts = _DEFAULTS.broker_prefixes,
        queue_prefixes: Texts = _DEFAULTS.queue_prefixes,
        user_prefix: str = _DEFAULTS.user_prefix,
        client_send: Texts = _DEFAULTS.client_send,
        client_subscribe: Texts = _DEFAULTS.client_subscribe,
        heart_beat: tuple[float, float] = _DEFAULTS.heart_beat,
        missed_heart_beats: float = _DEFAULTS.missed_heart_beats,
        error_destination: str = _DEFAULTS.error_destination,
        destinations: Mapping[str, DestinationPolicy] = _DEFAULTS.destinations,
        limits: Limits = _DEFAULTS.limits,
        sockjs: bool | SockJSOptions = False,
        json_integers: int | None = INTEGER_BITS,
        trusted_proxies: Texts = (),
        asgi_batch: bool = False,
        workers: Workers = "warn",
        roles: RolesOf | None = None,
        default_access: Default = "allow",
        session_rate: Rate | None = None,
        user_rate: Rate | None = None,
        handshake_authenticator: AuthenticateHandshake | None = None,
        presence: Texts = _DEFAULTS.presence,
        presence_prefix: str = _DEFAULTS.presence_prefix,
        sessions_per_user: int | None = _DEFAULTS.sessions_per_user,
        session_wins: SessionWins = _DEFAULTS.session_wins,
        backplane: Backplane | None = None,
    ) -> None:
        config = BrokerConfig(
            application_prefixes=texts("application_prefixes", application_prefixes),
            broker_prefixes=texts("broker_prefixes", broker_prefixes),
            queue_prefixes=texts("queue_prefixes", queue_prefixes),
            user_prefix=user_prefix,
            client_send=texts("client_send", client_send),
            client_subscribe=texts("client_subscribe", client_subscribe),
            heart_beat=heart_beat,
            missed_heart_beats=missed_heart_beats,
            error_destination=error_destination,
            destinations=mapping("destinations", destinations),
            sessions_per_user=sessions_per_user,
            session_wins=session_wins,
            limits=limits,
            session_rate=session_rate,
            user_rate=user_rate,
            presence=texts("presence", presence),
            presence_prefix=presence_prefix,
            backplane=backplane,
        )
        self.inbox = Inbox()
        self.endpoint = endpoint_config(path, allowed_origins, allowed_hosts, sockjs)
        identity = Identity(authenticator, handshake_authenticator, roles)
        super().__init__(config, self.inbox, identity, json_integers, default_access)
        self._trusted_proxies = texts("trusted_proxies", trusted_proxies)
        self._may_serve(workers, asgi_batch=asgi_batch)

    @cached_property
    def users(self) -> Users:
        """Users and sessions that are connected, to be found, ended and judged anew from any
        thread.
        """
        return Users(self.inbox)

    @cached_property
    def presence(self) -> Presence:
        """Members of the destinations of `presence=`; may be asked in any thread."""
        return Presence(self.inbox, self.config)

    @property
    def counters(self) -> Counters:
        """Totals of what was refused, dropped, late or lost in this run, or in the last one."""
        return self._run.counters

    def site(self, pages: Mapping[str, Page] | None = None) -> Site:
        """The endpoint, and the pages and routes beside it, for a server of this application."""
        site = Site(self.endpoint, choose_subprotocol, dict(pages or {}))
        if self.endpoint.sockjs is not None:
            # One table of sessions, whatever servers the application has.
            self._sockjs = self._sockjs or sockjs_routes(self.endpoint, self.config.limits)
            routes = self._sockjs
            site = replace(site, routes={self.endpoint.path: routes}, greet=routes.greet)
        if self._trusted_proxies:
            from stocksync_ws.aio.proxies import TrustedProxies

            site = replace(site, seen=TrustedProxies(self._trusted_proxies))
        return site

    @property
    def ready(self) -> bool:
        """The application runs and takes new sessions: the answer to a health check of its own. May
        be asked from any thread.
        """
        runtime = self._run.runtime
        return runtime is not None and runtime.ready

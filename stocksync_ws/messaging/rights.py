"""Who may SEND where and SUBSCRIBE to what: the rules of an application.

Rule: of the rules that fit a destination the most specific one decides alone; nothing is merged and
nothing is inherited. A rule whose frame no gate lets through would never be asked, and is refused
when the application freezes. The verdict of a function is kept for the session (the last 256),
unless it reads the frame. One that raises anything but `AccessDenied`, or returns no bool, allows
nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal, Protocol, TypeAlias

from stocksync_ws.broker.calls.dispatch import Denial, Verdict
from stocksync_ws.broker.model.namespace import Namespace
from stocksync_ws.broker.model.pipeline import Call, Pipeline
from stocksync_ws.broker.model.session import SessionRecord
from stocksync_ws.errors import AccessDenied, ConfigurationError, StockSyncError
from stocksync_ws.messaging.access import ANONYMOUS, FRAMES, frames_of, lacking
from stocksync_ws.messaging.exchange import Exchange
from stocksync_ws.messaging.marks import (
    Authorization,
    Declaration,
    MessageMapping,
    SnapshotMapping,
    SubscribeMapping,
)
from stocksync_ws.messaging.routing import Router, Template
from stocksync_ws.stomp.frame import Frame

__all__ = ["MOST_VERDICTS", "Default", "Rights", "Rule", "check_roles"]

MOST_VERDICTS = 256
"""Verdicts of functions that a session keeps."""
MOST_FOUND = 1_024
"""Destinations whose rule is known without a search."""
MOST_TEXT = 200
"""Characters of an `AccessDenied` that are kept, and logged."""


Default: TypeAlias = Literal["allow", "deny"]


class Decides(Protocol):
    """The function of a rule, ready to be called."""

    label: str
    reads_frame: bool

    def call(self, exchange: Exchange) -> Call:
        """The call, with its arguments bound; raises as `Handler.call`."""
        ...


class Rule:
    """One rule, and the function that decides; None: its access alone does.

    Raises:
        ConfigurationError: It has neither, and is not for anyone.
    """

    __slots__ = ("_anonymous", "_lacking", "handler", "label", "mark", "said_no")

    def __init__(self, mark: Authorization, handler: Decides | None) -> None:
        self.mark = mark
        self.handler = handler
        self.label = f"authorize({mark.path!r})" if handler is None else handler.label
        # Made once: sessions keep them.
        self.said_no = Denial("it returned False", self.label)
        self._anonymous = Denial(ANONYMOUS, self.label)
        self._lacking = Denial(lacking(mark.access), self.label)
        if handler is None and not mark.access.authenticated and not mark.anyone:
            raise ConfigurationError(
                f"{self.label} says nothing: decorate a function with it, or write roles={{…}},"
                f" authenticated=True or anyone=True"
            )

    def refusal(self, session: SessionRecord) -> Denial | None:
        """What its access says of a session, without code."""
        access = self.mark.access
        if not access.authenticated:
            return None
        if session.user is None:
            return self._anonymous
        if access.roles and access.roles.isdisjoint(session.roles):
            return self._lacking
        return None


def check_roles(rules: Iterable[Rule], declarations: Iterable[Declaration]) -> None:
    """Refuse roles in an application whose users have none.

    Raises:
        ConfigurationError: A rule or a handler asks for one.
    """
    asked = [(rule.label, rule.mark.access) for rule in rules]
    asked += [
        (each.label, each.mapping.access)
        for each in declarations
        if isinstance(each.mapping, (MessageMapping, SubscribeMapping, SnapshotMapping))
    ]
    for label, access in asked:
        if access.roles:
            raise ConfigurationError(
                f"{label}: roles={set(access.roles)!r}, but nothing says which roles a user has:"
                f" write StompApp(…, roles=lambda user: user.roles)"
            )


class Rights:
    """The rules of a frozen application.

    Raises:
        ConfigurationError: Two rules of one shape are for one frame, or one is for a frame that no
            client may use there.
    """

    __slots__ = ("_found", "_otherwise", "_routers", "_shapes")

    def __init__(self, rules: Iterable[Rule], space: Namespace, default: Default) -> None:
        self._otherwise = default == "deny"
        self._shapes: set[tuple[str, str]] = set()
        self._routers: Mapping[str, Router[Rule]] = {frame: Router() for frame in FRAMES}
        self._found: dict[str, tuple[Rule, Mapping[str, str]] | None] = {}
        """What was looked up last, by frame and destination: the same for all sessions."""
        known = [(rule, frames_of(rule.mark, rule.label, space)) for rule in rules]
        for rule, frames in known:
            for frame in frames:
                self._add(frame, rule.mark.path, rule)
        for rule, frames in known:  # A handler is the same under each application prefix.
            for path in space.beside(rule.mark.path):
                for frame in frames:
                    self._add(frame, path, rule, again=True)

    def _add(self, frame: str, path: str, rule: Rule, *, again: bool = False) -> None:
        template = Template(path, wildcards=True)
        shape = frame, template.pattern
        if again and shape in self._shapes:
            return  # It has a rule of its own there.
        self._shapes.add(shape)
        self._routers[frame].add(template, rule, label=rule.label)

    def judge(
        self, session: SessionRecord, frame: Frame, command: str, destination: str, template: Any
    ) -> Verdict:
        """Whether a session may use a destination.

        Args:
            frame: The frame that asks, for a function that reads its headers.
            command: SEND or SUBSCRIBE: what the session would do there.
            destination: A literal one.
            template: The messaging template, for a function that takes it.
        """
        key = command + destination
        try:
            found = self._found[key]
        except KeyError:
            found = self._look_up(key, command, destination)
        if found is None:
            return _closed(command, destination) if self._otherwise else None
        rule, variables = found
        denial = rule.refusal(session)
        if denial is not None or rule.handler is None:
            return denial
        if session.verdicts is not None and key in session.verdicts:
            known: Denial | None = session.verdicts[key]
            return known
        exchange = Exchange(
            session=session.face, frame=frame, variables=variables, template=template
        )
        return _ask(rule, rule.handler, session, exchange, key)

    def _look_up(
        self, key: str, command: str, destination: str
    ) -> tuple[Rule, Mapping[str, str]] | None:
        if len(self._found) >= MOST_FOUND:
            self._found.clear()
        found = self._found[key] = self._routers[command].match(destination)
        return found


def _closed(command: str, destination: str) -> Denial:
    return Denial(
        f"default_access='deny', and no rule opens it to {command}: write"
        f" ws.authorize({destination!r}, frames=({command!r},), …)"
    )


def _ask(
    rule: Rule, handler: Decides, session: SessionRecord, exchange: Exchange, key: str
) -> Pipeline[Denial | None]:
    number = session.reviews
    try:
        allowed = yield handler.call(exchange)
    except AccessDenied as denied:
        denial: Denial | None = Denial(f"AccessDenied: {denied}"[:MOST_TEXT], rule.label)
    else:
        if not isinstance(allowed, bool):
            raise StockSyncError(
                f"{rule.label} returned {allowed!r}; a rule returns True or False, or raises"
                f" AccessDenied"
            )
        denial = None if allowed else rule.said_no
    if not handler.reads_frame and session.reviews == number:
        _keep(session, key, denial)
    return denial


def _keep(session: SessionRecord, key: str, denial: Denial | None) -> None:
    """The oldest one goes when there are too many."""
    verdicts = session.verdicts
    if verdicts is None:
        verdicts = session.verdicts = {}
    elif len(verdicts) >= MOST_VERDICTS:
        del verdicts[next(iter(verdicts))]
    verdicts[key] = denial

"""Who may SEND where and SUBSCRIBE to what: the rules of an application.

Rule: of the rules that fit a destination the most specific one decides alone; nothing is merged and
nothing is inherited. A rule whose frame no gate lets through would never be asked, and is refused
when the application freezes. What a rule said of a destination holds for the session, until it is
asked anew. A function that raises anything but `AccessDenied`, or returns no bool, allows nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal, Protocol, TypeAlias

from stocksync_ws.broker.model.namespace import Namespace
from stocksync_ws.broker.model.pipeline import Call, Pipeline
from stocksync_ws.broker.model.session import SessionRecord
from stocksync_ws.errors import AccessDenied, ConfigurationError, StockSyncError
from stocksync_ws.messaging.access import FRAMES, refusal
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
"""Verdicts that a session keeps."""

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

    __slots__ = ("handler", "label", "mark")

    def __init__(self, mark: Authorization, handler: Decides | None) -> None:
        self.mark = mark
        self.handler = handler
        self.label = f"authorize({mark.path!r})" if handler is None else handler.label
        if handler is None and not mark.access.authenticated and not mark.anyone:
            raise ConfigurationError(
                f"{self.label} says nothing: decorate a function with it, or write roles={{…}},"
                f" authenticated=True or anyone=True"
            )


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

    __slots__ = ("_otherwise", "_routers")

    def __init__(self, rules: Iterable[Rule], space: Namespace, default: Default) -> None:
        self._otherwise = ""
        if default == "deny":
            self._otherwise = "default_access='deny', and no @authorize covers it"
        self._routers: Mapping[str, Router[Rule]] = {frame: Router() for frame in FRAMES}
        for rule in rules:
            self._add(rule, space)

    def _add(self, rule: Rule, space: Namespace) -> None:
        mark = rule.mark
        template = Template(mark.path, wildcards=True)
        pattern = "/" + "/".join(
            [*("*" if name is not None else text for text, name in template.parts)]
            + (["**"] if template.rest else [])
        )
        open_to = [frame for frame in FRAMES if space.lets_through(frame, pattern)]
        for frame in mark.frames or FRAMES:
            if frame not in open_to and (mark.frames or not open_to):
                raise ConfigurationError(
                    f"{rule.label}: no client may {frame} there anyway, so it is never asked:"
                    f" {_GATES[frame]}, or leave the rule out"
                )
        for frame in mark.frames or open_to:
            self._routers[frame].add(template, rule, label=rule.label)

    def judge(
        self, session: SessionRecord, frame: Frame, command: str, destination: str, template: Any
    ) -> str | Pipeline[str]:
        """Whether a session may use a destination.

        Args:
            frame: The frame that asks, for a function that reads its headers.
            command: SEND or SUBSCRIBE: what the session would do there.
            destination: A literal one.
            template: The messaging template, for a function that takes it.

        Returns:
            Why not, for the log; empty when it may; a pipeline when a function has to be asked.
        """
        key = command + destination
        if session.verdicts is not None:
            known = session.verdicts.get(key)
            if known is not None:
                return known
        found = self._routers[command].match(destination)
        if found is None:
            return self._otherwise
        rule, variables = found
        problem = refusal(rule.mark.access, session.user, session.roles)
        if not problem and rule.handler is not None:
            exchange = Exchange(
                session=session.face, frame=frame, variables=variables, template=template
            )
            return _ask(rule, rule.handler, session, exchange, key)
        if problem:
            problem = f"{rule.label}: {problem}"
        _keep(session, key, problem)
        return problem


def _ask(
    rule: Rule, handler: Decides, session: SessionRecord, exchange: Exchange, key: str
) -> Pipeline[str]:
    try:
        allowed = yield handler.call(exchange)
    except AccessDenied as denied:
        verdict = f"{rule.label}: AccessDenied: {denied}"
    else:
        if not isinstance(allowed, bool):
            raise StockSyncError(
                f"{rule.label} returned {allowed!r}; a rule returns True or False, or raises"
                f" AccessDenied"
            )
        verdict = "" if allowed else f"{rule.label} returned False"
    if not handler.reads_frame:
        _keep(session, key, verdict)
    return verdict


def _keep(session: SessionRecord, key: str, verdict: str) -> None:
    """The oldest one goes when there are too many."""
    verdicts = session.verdicts
    if verdicts is None:
        verdicts = session.verdicts = {}
    elif len(verdicts) >= MOST_VERDICTS:
        del verdicts[next(iter(verdicts))]
    verdicts[key] = verdict


_GATES = {
    "SEND": "open the destination with client_send=[…]",
    "SUBSCRIBE": "open the destination with client_subscribe=[…]",
}
"""What lets a frame through, by frame."""

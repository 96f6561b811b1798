"""Messages that an application wants sent: converted and validated, in the caller's thread.

Rule: a mistake is raised to whoever made it, with what to write instead. Nothing is sent here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import cast

from stocksync_ws.broker.model.headers import check_own
from stocksync_ws.broker.model.namespace import (
    MOST_FOUND,
    REPLY_QUEUE,
    Kind,
    Namespace,
    is_destination,
    is_pattern,
)
from stocksync_ws.broker.model.publication import Draft
from stocksync_ws.checks import NOT_SHARED
from stocksync_ws.config import BrokerConfig
from stocksync_ws.messaging.convert import OCTET_KINDS, PayloadEncoder
from stocksync_ws.messaging.converters import NONE, Converters
from stocksync_ws.messaging.media import JSON, OCTETS, TEXT
from stocksync_ws.policies import has_surrogate
from stocksync_ws.types import Target, ToDestination, ToSession, ToUser

__all__ = ["Drafts"]

_ALONE = {kind: (("content-type", kind),) for kind in (JSON, OCTETS, TEXT)}
"""The headers of a message that has no others."""
_VARIABLE = re.compile(r"/(\{[A-Za-z_][\w.]*\})(?=/|$)")
"""A segment that was meant to be filled in."""


def _hint(text: str) -> str:
    """The end of the error about a text that is no destination: how to write it."""
    bare = "/" + "/".join(part for part in text.split("/") if part)
    if bare == "/":
        return ": write one like '/topic/inventory'"
    if "://" in text:
        return ", but an address: write one like '/topic/inventory'"
    if is_pattern(text):
        return ": publish to each destination by itself, without wildcards"
    if not text.startswith("/"):
        return f"; it begins with a slash: {bare!r}"
    if bare != text:
        return f"; no segment is empty, and no slash is last: {bare!r}"
    return ": /segments, none of them '.' or '..', within Limits.max_destination and max_segments"


class Drafts:
    """Makes drafts of what an application sends.

    Args:
        config: What destinations mean, and how large a message may be.
        converters: For content types that are not known here; None: there are none.
    """

    __slots__ = ("_checked", "_converters", "_encoder", "_limits", "_space")

    def __init__(self, config: BrokerConfig, converters: Converters | None = None) -> None:
        self._converters = NONE if converters is None else converters
        self._encoder = PayloadEncoder()
        self._space = Namespace(config)
        self._limits = config.limits
        self._checked: dict[str, ToDestination] = {}
        """Destinations that can be sent to, as has been found out."""

    def octets(self, destination: str, body: bytes, headers: Mapping[str, str] | None) -> Draft:
        """Octets as they are, to a destination."""
        target = self._check(destination)
        given = cast("object", body)
        if not isinstance(given, bytes):
            raise ValueError(
                f"send takes bytes as they are, not {type(given).__name__}: use convert_and_send"
            )
        pairs = () if headers is None else check_own(headers)
        return self._draft(target, pairs, body)

    def to_session(
        self,
        session_id: str,
        destination: str,
        payload: object,
        headers: Mapping[str, str] | None,
    ) -> Draft:
        """A payload to one session."""
        given = cast("object", session_id)
        if not isinstance(given, str) or not given:
            raise ValueError(
                f"session_id must be the id of a session, such as session.id, not {given!r}"
            )
        target = ToSession(str.__str__(given), self._check_own(given, destination, "session"))
        return self._converted(target, payload, headers)

    def to(self, destination: str, payload: object, headers: Mapping[str, str] | None) -> Draft:
        """A payload to a destination."""
        return self._converted(self._check(destination), payload, headers)

    def to_user(
        self, user: str, destination: str, payload: object, headers: Mapping[str, str] | None
    ) -> Draft:
        """A payload to all sessions of a user."""
        name = cast("object", user)
        if not isinstance(name, str) or not name:
            raise ValueError(f"user must be the name of a user, such as user.name, not {name!r}")
        if has_surrogate(name) or "\0" in name:
            # Behind NUL stand the ids of anonymous sessions: see `SessionRecord.owner`.
            what = "NUL" if "\0" in name else "a lone surrogate"
            raise ValueError(
                f"user {name!r}: {what} is no character of a name, and no user has it: write"
                f" user.name"
            )
        target = ToUser(str.__str__(name), self._check_own(name, destination))
        return self._converted(target, payload, headers)

    def _converted(
        self, target: Target, payload: object, headers: Mapping[str, str] | None
    ) -> Draft:
        """A draft of a payload; the content-type is the caller's, if there is one."""
        if headers is None:
            body, kind = self._encoder.encode(payload)
            return self._draft(target, _ALONE[kind], body)
        pairs = check_own(headers)
        asked = next((value for name, value in pairs if name == "content-type"), None)
        if asked is None:
            body, kind = self._encoder.encode(payload)
            return self._draft(target, (("content-type", kind), *pairs), body)
        if not isinstance(payload, OCTET_KINDS):
            converter = self._converters.asked(asked)
            if converter is not None:
                return self._draft(target, pairs, converter.encode(payload))
        return self._draft(target, pairs, self._encoder.encode(payload)[0])

    def _draft(self, target: Target, headers: tuple[tuple[str, str], ...], body: bytes) -> Draft:
        """A draft that is no larger than a message may be."""
        draft = Draft(target, headers, body)
        if draft.size > self._limits.max_outbound_message:
            raise ValueError(
                f"a message of {draft.size} bytes is larger than Limits.max_outbound_message"
                f" ({self._limits.max_outbound_message} bytes)"
            )
        return draft

    def _check(self, destination: str) -> ToDestination:
        if type(destination) is str:
            known = self._checked.get(destination)
            if known is not None:
                return known
        given = cast("object", destination)
        if not isinstance(given, str):
            raise ValueError(
                f"a destination is a text such as '/topic/inventory', not {given!r};"
                f" it comes before the payload"
            )
        if not is_destination(given, self._limits) or is_pattern(given):
            raise ValueError(f"{given!r} is not a destination that can be sent to{_hint(given)}")
        if "{" in given and (variable := _VARIABLE.search(given)) is not None:
            raise ValueError(
                f"{given!r} holds {variable[1]} itself, which is no variable here: write f{given!r}"
            )
        kind, path = self._space.classify(given)
        if kind is Kind.USER:
            raise ValueError(self._to_user(given, path))
        if kind is Kind.PRESENCE:
            raise ValueError(
                f"{given!r} is below presence_prefix, where nobody sends: members come and go by"
                f" their SUBSCRIBE to {path!r}; for what is said about one, ws.presence.attach"
            )
        if kind is Kind.QUEUE and self._space.is_unshared(given):
            raise ValueError(f"{given!r} {NOT_SHARED.format(given)}")
        if kind not in (Kind.TOPIC, Kind.QUEUE) and not given.startswith(REPLY_QUEUE):
            hint = f": write {'/topic' + given!r}"
            if self._space.classify(given + "/x")[0] is not kind:
                hint = f", but one itself: write {'/topic/inventory'!r}"
            if kind is Kind.APPLICATION:
                hint = "; handlers are what clients send to: call the function itself"
            raise ValueError(f"{given!r} is under none of the broker prefixes{hint}")
        checked = str.__str__(given)
        if len(self._checked) >= MOST_FOUND:
            self._checked.clear()
        target = self._checked[checked] = ToDestination(checked)
        return target

    def _to_user(self, given: str, path: str) -> str:
        """The text about a destination below the user prefix, which a user may be part of."""
        name, slash, rest = path[1:].partition("/")
        if not self._space.is_own_path(path) and self._space.is_own_path(slash + rest):
            return f"{given!r}: write convert_and_send_to_user({name!r}, {slash + rest!r}, payload)"
        return f"{given!r}: use convert_and_send_to_user, with the name of a user before {path!r}"

    def _check_own(self, whom: object, destination: str, to: str = "user") -> str:
        given = cast("object", destination)
        if (
            not isinstance(given, str)
            or not is_destination(given, self._limits)
            or is_pattern(given)
            or not self._space.is_own_path(given)
        ):
            hint = ""
            if isinstance(whom, str) and whom.startswith("/"):
                raise ValueError(
                    f"{whom!r} is no {to}, which comes before the destination: write"
                    f" convert_and_send_to_{to}({given!r}, {whom!r}, payload)"
                )
            if isinstance(given, str):
                kind, path = self._space.classify(given)
                wanted = path if kind is Kind.USER else "/" + given.lstrip("/")
                if self._space.is_own_path(wanted) and wanted != given:
                    hint = f": write {wanted!r}"
            raise ValueError(
                f"{given!r} must be like '/queue/errors', without the user prefix{hint}"
            )
        return str.__str__(given)

"""The messaging template: publishing from anywhere, in any thread, without waiting.

Rule: conversion and validation happen in the caller's thread, so that a mistake is raised to
whoever made it. What is accepted is in the inbox and will be applied, in the order in which one
thread gave it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, cast

from stocksync_ws.broker.model.publication import Draft, Published
from stocksync_ws.config import BrokerConfig
from stocksync_ws.messaging.converters import Converters
from stocksync_ws.messaging.drafts import Drafts

__all__ = ["MAX_WAIT", "Gate", "MessagingTemplate"]

MAX_WAIT = 4_000_000
"""Seconds a thread may wait: what every platform can."""


class Gate(Protocol):
    """Where publications enter; an adapter's inbox."""

    def post(self, draft: Draft) -> None:
        """Accept at once, or raise."""
        ...

    async def publish(self, draft: Draft) -> Published:
        """Wait for room, and until the publication has been applied."""
        ...

    def publish_wait(self, draft: Draft, timeout: float) -> Published:
        """Block the thread for that, at most so many seconds."""
        ...


class MessagingTemplate:
    """Sends messages to destinations and users. Thread-safe; made by the application.

    Every method raises:
        ValueError: An argument is of another type than it says, a destination or a header is
            malformed, or the message is larger than `Limits.max_outbound_message`. The caller's
            fault; nothing was sent.
        ConversionError: The payload cannot be converted, or not to the `content-type` of the
            headers. The caller's fault; nothing was sent.
        BrokerBusy: The inbox is full (10,000 messages or 16 MiB); the text says so where that is
            because nothing has started the application. `publish` and `publish_wait` wait for room
            there, and raise it for a queue that is full; the others drop what a full queue does not
            take, with a `MessageDropped` event.
        BrokerClosed: The application was stopped, or for `publish` not started within 30 s.
    """

    __slots__ = ("_drafts", "_gate")

    def __init__(
        self, gate: Gate, config: BrokerConfig, converters: Converters | None = None
    ) -> None:
        self._gate = gate
        self._drafts = Drafts(config, converters)

    def convert_and_send(
        self, destination: str, payload: object, headers: Mapping[str, str] | None = None
    ) -> None:
        """Convert a payload and send it to all subscribers of a broker destination.

        Args:
            destination: Under a broker prefix, for example `/topic/inventory`.
            payload: `str` goes as text, `bytes` as they are, everything else as JSON, or as the
                converter of its content type writes it.
            headers: Further headers of the MESSAGE; a `content-type` wins over the conversion's.
                Where the application has a converter for it, that encodes the payload; without one
                it can be of JSON or `text/*`, in UTF-8, and of `bytes` any.
        """
        self._gate.post(self._drafts.to(destination, payload, headers))

    def convert_and_send_to_user(
        self,
        user: str,
        destination: str,
        payload: object,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Convert a payload and send it to all sessions of a user.

        Args:
            user: The name of the user's principal.
            destination: Without the user prefix: `/queue/errors` reaches the user's sessions that
                are subscribed to `/user/queue/errors`.
            payload: As in `convert_and_send`.
            headers: As in `convert_and_send`.
        """
        self._gate.post(self._drafts.to_user(user, destination, payload, headers))

    def convert_and_send_to_session(
        self,
        session_id: str,
        destination: str,
        payload: object,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Convert a payload and send it to one session, an anonymous one too; one that is gone, or
        is not subscribed, gets nothing (`Counters.messages_unrouted`). With a backplane: a session
        of this worker; name the user to reach sessions of others.

        Args:
            session_id: `Session.id`, or the `session_id` of an event.
            destination: Without the user prefix: `/queue/errors` reaches the session if it is
                subscribed to `/user/queue/errors`.
            payload: As in `convert_and_send`.
            headers: As in `convert_and_send`.
        """
        self._gate.post(self._drafts.to_session(session_id, destination, payload, headers))

    def send(self, destination: str, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        """Send octets as they are; give their `content-type` in `headers`."""
        self._gate.post(self._drafts.octets(destination, body, headers))

    async def publish(
        self, destination: str, payload: object, headers: Mapping[str, str] | None = None
    ) -> Published:
        """Send as `convert_and_send` does, but wait for room and until the message has been queued;
        before the application has started, until that, but at most 30 s (then `BrokerClosed`).

        Returns:
            The `message-id`, and the number of subscriptions it was queued for.
        """
        return await self._gate.publish(self._drafts.to(destination, payload, headers))

    async def publish_to_user(
        self,
        user: str,
        destination: str,
        payload: object,
        headers: Mapping[str, str] | None = None,
    ) -> Published:
        """Send to all sessions of a user and wait as `publish` does; the arguments are those of
        `convert_and_send_to_user`.

        Returns:
            The `message-id`, and the number of the user's subscriptions it was queued for: 0 when
            the user is not there, or not subscribed.
        """
        return await self._gate.publish(self._drafts.to_user(user, destination, payload, headers))

    def publish_wait(
        self,
        destination: str,
        payload: object,
        headers: Mapping[str, str] | None = None,
        *,
        timeout: float = 30.0,
    ) -> Published:
        """Send as `publish` does, on a thread without an event loop: block until the message was
        queued.

        Args:
            destination: As in `convert_and_send`.
            payload: As in `convert_and_send`.
            headers: As in `convert_and_send`.
            timeout: Seconds, 0 to 4,000,000.

        Raises:
            TimeoutError: The message was not queued in time. It is not going to be, unless it was
                just being queued.
            RuntimeError: An event loop runs on this thread.
        """
        given = cast("object", timeout)
        if not isinstance(given, (int, float)) or not 0 <= given <= MAX_WAIT:
            raise ValueError(f"timeout is a number of seconds, 0 to {MAX_WAIT:,}, not {given!r}")
        return self._gate.publish_wait(self._drafts.to(destination, payload, headers), timeout)

"""Counters of what was refused, dropped, late or lost: one number each, so that nothing is silent.

Rule: code that drops or ignores a thing counts it here. `docs/counters.md` is made from this class.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Counters"]


@dataclass(slots=True)
class Counters:
    """Totals since the start. Any thread may read them; only the owner thread writes them."""

    connections: int = 0
    """Connections accepted."""
    connections_refused: int = 0
    """Connections answered with 503, at the cap or while stopping."""
    handshakes_refused: int = 0
    """Upgrades and broken requests refused by an HTTP error, or SockJS sessions by a close."""
    origins_refused: int = 0
    """Upgrades refused because of their Origin."""
    sessions: int = 0
    """Sessions that reached CONNECTED."""
    sessions_kicked: int = 0
    """Sessions that the application ended by `users.disconnect`."""
    sessions_replaced: int = 0
    """Sessions that were ended for a newer one of their user, as `sessions_per_user` says."""
    connects_refused: int = 0
    """CONNECT frames that were refused."""
    credentials_expired: int = 0
    """Sessions closed because their credentials had ended."""
    credentials_refused: int = 0
    """Refreshes of credentials that were refused."""
    frames_in: int = 0
    """Client frames processed."""
    frames_rate_limited: int = 0
    """Client frames refused by `session_rate` or `user_rate`."""
    messages_published: int = 0
    """Publications accepted by the broker."""
    messages_queued: int = 0
    """Deliveries put into a mailbox."""
    messages_unrouted: int = 0
    """Publications that reached nobody and were not kept, and replies whose requester was gone."""
    messages_settled: int = 0
    """Deliveries that were acknowledged."""
    messages_unsettled: int = 0
    """Deliveries on topics whose session or subscription ended before they were acknowledged."""
    messages_dropped: int = 0
    """Messages that subscribers lost, or that were not taken; `MessageDropped` says why."""
    messages_withheld: int = 0
    """Deliveries that a delivery filter withheld from a subscriber."""
    publications_vetoed: int = 0
    """Publications that an outbound interceptor refused."""
    interceptors_failed: int = 0
    """Outbound interceptors and delivery filters that raised something else than a refusal."""
    messages_dead: int = 0
    """Dead letters."""
    messages_duplicate: int = 0
    """SENDs that repeated an idempotency key."""
    acks_ignored: int = 0
    """ACK and NACK of deliveries that were settled before, or of an `auto` subscription."""
    ack_timeouts: int = 0
    """Deliveries that were given back because no ACK came."""
    transactions_aborted: int = 0
    """Transactions that were open for too long."""
    recoveries: int = 0
    """SUBSCRIBEs that asked for what they had missed and got it."""
    recoveries_failed: int = 0
    """SUBSCRIBEs that asked for what they had missed and could not get it."""
    headers_stripped: int = 0
    """Reserved headers taken off a client's SEND."""
    protocol_errors: int = 0
    """Sessions ended because the peer broke STOMP, WebSocket or a limit, or did what it may not."""
    application_errors: int = 0
    """Frames that failed in or before user code and were told to the client."""
    subscriptions_revoked: int = 0
    """Subscriptions that `users.reauthorize` ended, because they are not allowed any more."""
    unsubscribes_ignored: int = 0
    """UNSUBSCRIBE of an id whose SUBSCRIBE had been refused."""
    user_names_withheld: int = 0
    """CONNECTED frames without `user-name`, because the name cannot stand in a header."""
    backplane_connections: int = 0
    """Connections to the engine behind the workers."""
    backplane_gaps: int = 0
    """Pushes of the engine that did not follow the one before."""
    backplane_repaired: int = 0
    """Messages that were read again because a push of them was missing."""
    backplane_repeats: int = 0
    """Publications that were sent to the engine twice, and done once."""
    backplane_resets: int = 0
    """Channels of the engine that began anew or lost messages, the workers' own too."""
    backplane_refused: int = 0
    """Publications that were not sent: the engine was not there, or refused them."""
    backplane_uncertain: int = 0
    """Publications that the engine has not answered in time."""
    orders_lost: int = 0
    """Calls of `users.disconnect`, `users.reauthorize` and `presence.attach` that other workers
    were not told of, because 1,000 waited for the engine.
    """
    slow_consumers: int = 0
    """Sessions closed because they did not take their messages."""
    heart_beats_lost: int = 0
    """Sessions closed because nothing came from the peer."""
    aborts: int = 0
    """Connections reset because their close took too long."""
    events_dropped: int = 0
    """Events about no session that were not told, because 1,000 waited for their listeners."""
    listeners_failed: int = 0
    """Event listeners that raised or timed out."""
    handlers_timed_out: int = 0
    """Calls of user code that were given up after `handler_timeout`."""
    calls_abandoned: int = 0
    """Coroutines that swallowed their cancellation for 5 seconds."""
    pool_slots_stuck: int = 0
    """Threads of the pool that are, at this moment, in a function that was given up."""
    results_dropped: int = 0
    """Results of calls that came after their session had ended or the call had timed out."""
    slow_calls: int = 0
    """Calls that held the event loop for 100 ms or more."""
    stalls: int = 0
    """Wakes that came more than 250 ms late."""
    internal_errors: int = 0
    """Exceptions of our own that were caught by the fence."""
    stuck_deadlines: int = 0
    """Deadlines that did not move after their wake: a bug of ours that would have looped."""

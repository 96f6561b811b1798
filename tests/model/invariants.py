"""The invariants I1 to I12, each a function; all of them hold after every step.

Rule: they know nothing of the naive broker. They look at what clients got, in its order; at the
events, the counters and the accounts of the real one; and at what their witness saw accepted. Who
fails says which it is, and what broke it.

I1   what was accepted is delivered, once, or its loss is told
I2   one order for each destination, and for what is live in each session
I3   nothing after the RECEIPT of UNSUBSCRIBE, after the end of a session, after ERROR
I4   one Connected and one Disconnected for each session, whatever listeners do
I5   nothing is left at the end
I6   everything that is kept has its bound
I7   nothing is raised into a publisher, and who does not read holds nobody up
I8   who is silent is found out, who is not is left alone
I9   every close comes to its end in time
I10  the same round is the same octets
I11  everything that is written can be read, by a parser that is not ours
I12  no exception and nothing of another user reaches a client
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from stocksync_ws.broker.model.post_office import HOLDING
from stocksync_ws.broker.model.queue import Queue
from stocksync_ws.broker.model.state import State
from stocksync_ws.codes import DisconnectReason
from tests.model import rules
from tests.model.application import LIMITS
from tests.model.witness import Accepted, Reading, Record

if TYPE_CHECKING:
    from tests.model.twin import Twin

__all__ = ["AFTER_EVERY_STEP", "Broken", "i5_nothing_is_left", "i10_the_same_octets"]

TICK = 1e-3
"""Seconds: how late what is due may be found."""
MOMENT = 0.06
"""Seconds that a cancelled handler has."""


class Broken(AssertionError):
    """An invariant does not hold."""


def _check(fine: object, invariant: str, problem: str, *about: object) -> None:
    """`problem` with `about` in its `{}`, put together only when it is needed."""
    if not fine:
        raise Broken(f"{invariant}: {problem.format(*about)}")


# I1


def i1_accepted_is_delivered_or_told(run: Twin) -> None:
    for record in run.witness.records:
        for kind, headers, _ in record.news:
            if kind == "RECEIPT":
                _i1_receipt(run, record, headers)
            elif kind == "MESSAGE":
                reading = record.readings.get(headers["subscription"])
                if reading is not None:
                    reading.dropped += int(headers.get("dropped", "0"))
                one = run.witness.accepted.get(headers["message-id"])
                if one is not None and "snapshot" not in headers:
                    _i1_message(run, record, headers, one)
    for record in run.witness.records:
        for reading in record.readings.values():
            _i1_up_to_date(run, record, reading)
    _i1_queues_keep(run)


def _i1_receipt(run: Twin, record: Record, headers: dict[str, str]) -> None:
    """A RECEIPT says that the broker has the message."""
    frame = record.asked.get(headers["receipt-id"], {})
    place = frame.get("destination")
    if frame.get("command") != "SEND" or place not in rules.PLACES or "duplicate" in headers:
        return
    bodies = [one.body for one in run.witness.order.get(place, [])]
    _check(frame["body"] in bodies, "I1", "{} has its RECEIPT and was not accepted", frame)


def _i1_message(run: Twin, record: Record, headers: dict[str, str], one: Accepted) -> None:
    """Once, and nothing before it is missing, but for what `dropped` says."""
    run.witness.unread.get(one.address, {}).pop(one.message_id, None)
    if headers.get("redelivered") == "true":
        return
    if rules.is_queue(str(one.address)):
        first = one.message_id not in run.witness.read_as_new
        _check(first, "I1", "{} was delivered twice as new", one)
        run.witness.read_as_new.add(one.message_id)
        return
    reading = record.readings.get(headers["subscription"])
    if reading is None or reading.address != one.address:
        return
    last, reading.last = reading.last, one.index
    told = reading.dropped
    if reading.loose:
        return
    order = run.witness.order[one.address]
    if last is None:
        missed = one.index - reading.upper - _dead(run, order[reading.upper : one.index])
        _check(missed <= told, "I1", "{} begins with {}, {} were told", reading, one, told)
        reading.dropped = told - max(0, missed) if reading.frame.get("durable") else 0
    else:
        if one.address == rules.LATEST:  # of what was there before only the newest values come
            last = max(last, min(reading.real.replay_to, one.index) - 1)
        missed = one.index - last - 1
        dead = _dead(run, order[last + 1 : one.index])
        # What came back to a durable name may tell of what was lost behind it.
        more = reading.frame.get("durable")
        fine = missed - dead <= told and (told <= missed or more)
        _check(fine, "I1", "{} messages before {} are gone, {} were told", missed, one, told)
        reading.dropped = max(0, told - missed)


def _dead(run: Twin, messages: list[Accepted]) -> int:
    """How many of these have died."""
    return sum(run.witness.is_dead(one) for one in messages)


def _i1_up_to_date(run: Twin, record: Record, reading: Reading) -> None:
    """Who reads, and has room, has everything."""
    client, real = record.client, reading.real
    if client.stuck or client.real.state is not State.CONNECTED or getattr(real, "blocked", False):
        return
    if client.real.subscriptions.active.get(reading.frame["id"]) is not real or reading.loose:
        return
    ledger = real.ledger
    if ledger is not None and len(ledger) + ledger.returning >= ledger.window:
        return
    order = run.witness.order.get(reading.address, [])
    order = order[max(reading.upper, len(order) - 1 if reading.address == rules.LATEST else 0) :]
    order = [one for one in order if not run.witness.is_dead(one)]
    if rules.is_queue(str(reading.address)) or not order:
        return
    has_all = reading.last is not None and reading.last >= order[-1].index
    _check(has_all, "I1", "{} has not got {}", reading, order[-1])


def _i1_queues_keep(run: Twin) -> None:
    """What nobody has got of a queue is kept, and so is what was not settled. What a transport held
    that broke may be lost with it.
    """
    witness, kept, before = run.witness, run.witness.kept(), run.witness.held
    for record in witness.records:
        broken = record.client.cut or record.client.stream.aborted
        witness.excused = witness.excused or (broken and not record.broken)
        record.broken = broken
    settled = run.world.counters.messages_settled - witness.settled
    if not any(client.stuck for client in run.clients):
        unread = [one for each in witness.unread.values() for one in each.values()]
        lost = [one for one in unread if one.message_id not in kept]
        for one in lost:
            _check(witness.excused or witness.expired[one.address] > 0, "I1", "{} is gone", one)
            witness.expired[one.address] -= 1
            del witness.unread[one.address][one.message_id]
        read = {headers.get("message-id") for r in witness.records for _, headers, _ in r.news}
        # What was delivered may be among the unread: its transport broke before anybody got it.
        gone = before - kept - witness.dead - read - {one.message_id for one in lost}
        left = sum(count for count in witness.expired.values() if count > 0)
        fine = len(gone) <= settled + left or witness.excused
        _check(fine, "I1", "{} are gone, {} were settled", gone, settled)
        witness.excused = False
        witness.expired.clear()
    witness.note_held()


# I2


def i2_one_order(run: Twin) -> None:
    for record in run.witness.records:
        for kind, headers, _ in record.news:
            one = run.witness.accepted.get(headers.get("message-id", ""))
            if kind != "MESSAGE" or one is None or "snapshot" in headers:
                continue
            if headers.get("redelivered") == "true" or rules.is_queue(str(one.address)):
                continue
            reading = record.readings.get(headers["subscription"])
            if reading is None or reading.loose or reading.address != one.address:
                continue
            before, reading.newest = reading.newest, one.index
            _check(one.index > before, "I2", "{} came behind {} of its destination", one, before)
            if _is_always_live(reading):
                behind = record.last_number
                _check(one.number >= behind, "I2", "{} came behind {} of its session", one, behind)
                record.last_number = one.number


def _is_always_live(reading: Reading) -> bool:
    """What comes is pushed to it, and never read from a log."""
    frame = reading.frame
    plain = reading.address == rules.PLAIN or reading.real.destination.startswith("/user/")
    resumes = "last" in frame or frame.get("durable")
    return plain and frame.get("ack", "auto") == "auto" and not resumes


# I3


def i3_nothing_behind_an_end(run: Twin) -> None:
    for record in run.witness.records:
        for kind, headers, _ in record.news:
            last = record.kinds[-1] if record.kinds else ""
            _check(last != "CLOSE", "I3", "{} behind the Close", kind)
            _check(last != "ERROR" or kind == "CLOSE", "I3", "{} behind ERROR", kind)
            record.kinds.append(kind)
            if kind == "MESSAGE":
                _i3_message(run, record, headers)
            elif kind == "RECEIPT":
                _i3_receipt(record, record.asked.get(headers["receipt-id"], {}))


def _i3_message(run: Twin, record: Record, headers: dict[str, str]) -> None:
    sub_id = headers["subscription"]
    _check(sub_id not in record.closed, "I3", "{} behind the RECEIPT of its UNSUBSCRIBE", headers)
    one = run.witness.accepted.get(headers["message-id"])
    if record.over_at is not None and one is not None:
        _check(one.number <= record.over_at, "I3", "{} behind the end of its session", one)


def _i3_receipt(record: Record, frame: dict[str, Any]) -> None:
    """Of an UNSUBSCRIBE whose id was not used again since."""
    if frame.get("command") == "UNSUBSCRIBE":
        again = record.subscribes.get(frame["id"], {}).get("sent", 0) > frame["sent"]
        if not again:
            record.closed.add(frame["id"])


# I4


def i4_events_come_in_pairs(run: Twin) -> None:
    ids = [record.client.real.id for record in run.witness.all]
    for record in run.witness.records:
        over = record.client.real.state in (State.CLOSING, State.CLOSED)
        told = (record.connected, record.disconnected)
        _check(told == (1, int(over)), "I4", "{} was told of {}", record.client.real, told)
    for event in run.application.events[-8:]:
        name = type(event).__name__
        if name == "SessionDisconnected":
            _check(isinstance(event.reason, DisconnectReason), "I4", "{} has no reason", event)
        if name in ("SessionConnected", "SessionDisconnected"):
            _check(event.session_id in ids, "I4", "{} is of no session that was connected", event)


# I5


def i5_nothing_is_left(run: Twin) -> None:
    """At the end: everybody has left, and more time has passed than anything waits."""
    broker = run.world.broker
    for address, channel in broker.delivery.registry.known.items():
        _check(not channel.groups, "I5", "subscriptions of {}", address)
        if isinstance(channel, Queue):
            _check(len(channel.log) > 0, "I5", "the empty queue {}", address)
            _check(not channel.consumers, "I5", "consumers of {}", address)
            _check(not channel.delayed, "I5", "pauses of {}", address)
            left = (channel.attempts.keys() | channel.seen) - {offset for offset, _ in channel.log}
            _check(not left, "I5", "attempts {} of {}", left, address)
        else:
            _check(not channel.behind, "I5", "readers of {}", address)
            _check(not channel.durables, "I5", "durable names of {}", address)
            _check(address in rules.WITH_HISTORY, "I5", "the topic {}", address)
            streams = address in rules.STREAMS and len(channel.log)
            _check(not streams, "I5", "aged messages of {}", address)
    _check(not broker.sessions, "I5", "sessions {}", broker.sessions)
    _check(
        not broker.office.total,
        "I5",
        "{} octets of sessions",
        broker.office.total,
    )
    _check(not broker.calls.tasks.running, "I5", "tasks {}", broker.calls.tasks.running)
    stored = sum(_stored(channel) for channel in broker.delivery.registry.known.values())
    _check(
        broker.delivery.registry.stored.size == stored,
        "I5",
        "{} octets stored",
        broker.delivery.registry.stored.size,
    )
    _check(not run.world.runtime.driver.connections, "I5", "connections")
    _check(broker._step._timers.next() is None, "I5", "a timer at {}", broker._step._timers.next())
    _check(not run.application.waiting, "I5", "handlers {}", run.application.waiting)


# I6


def i6_everything_is_bounded(run: Twin) -> None:
    broker = run.world.broker
    received = 0
    entries: dict[int, int] = {}
    for client in run.clients:
        real = client.real
        size = sum(entry.size for entry in real.mailbox.entries)
        _check(
            real.mailbox.queued == size,
            "I6",
            "{} counts {} octets, not {}",
            real,
            real.mailbox.queued,
            size,
        )
        few = size + client.stream.unsent <= 8 * LIMITS.send_queue
        _check(few, "I6", "{} queues {}", real, size)
        entries.update((id(entry), entry.size) for entry in real.mailbox.entries if entry.waiting)
        received += _i6_session(real)
    counted = broker.office.received
    _check(counted == received, "I6", "{} octets kept, not {}", counted, received)
    total = sum(entries.values()) + received
    counted = broker.office.total
    _check(counted == total <= LIMITS.max_total_queued, "I6", "{} queued, not {}", counted, total)
    stored = sum(_stored(channel) for channel in broker.delivery.registry.known.values())
    counted = broker.delivery.registry.stored.size
    _check(counted == stored <= LIMITS.max_stored, "I6", "{} stored, not {}", counted, stored)
    channels = broker.delivery.registry.known.values()
    queues = sum(isinstance(each, Queue) and not each.private for each in channels)
    _check(
        len(broker.delivery.registry.queues) == queues,
        "I6",
        "{} queues, not {}",
        len(broker.delivery.registry.queues),
        queues,
    )
    full = run.witness.fullest
    _check(full <= LIMITS.queue_messages, "I6", "a queue has taken one more than {}", full - 1)
    for address, channel in broker.delivery.registry.known.items():
        _i6_channel(address, channel)


def _stored(channel: Any) -> int:
    """Octets of a destination: what is out of a queue is still kept."""
    return channel.log.size + (channel.out_size if isinstance(channel, Queue) else 0)


def _i6_session(real: Any) -> int:
    """What came of it is bounded; how much of it is kept."""
    inbox = sum(len(payload) + 64 for payload in real.inbound.waiting or ())
    _check(real.inbound.size == inbox, "I6", "{} counts {}, not {}", real, real.inbound.size, inbox)
    most = LIMITS.inbox + LIMITS.max_message_size
    _check(inbox <= most, "I6", "{} has an inbox of {} octets", real, inbox)
    fine = real.inbound.paused == (inbox > LIMITS.inbox) or real.state is not State.CONNECTED
    _check(fine, "I6", "{} is read: {}, with {} octets", real, not real.inbound.paused, inbox)
    opened = (real.subscriptions.transactions or {}).values()
    frames = max((len(each.frames) for each in opened), default=0)
    few = len(opened) <= LIMITS.max_transactions and frames <= LIMITS.max_transaction_frames
    _check(few, "I6", "{} has {} transactions, one of {} frames", real, len(opened), frames)
    for sub_id, ledger in (real.subscriptions.ledgers or {}).items():
        sizes = [delivery.publication.size for delivery in ledger]
        few = ledger.size <= LIMITS.ack_window_bytes or len(sizes) == 1
        fine = few and ledger.size >= sum(sizes)
        _check(fine, "I6", "{} has {} octets in {}", real, ledger.size, sub_id)
    kept = inbox + real.inbound.decoder.kept + real.wire.kept + sum(each.size for each in opened)
    kept = kept if real.state in HOLDING else 0
    _check(real.inbound.held == kept, "I6", "{} counts {}, not {}", real, real.inbound.held, kept)
    return int(kept)


def _i6_channel(address: object, channel: Any) -> None:
    if isinstance(channel, Queue):
        return
    kept, most = len(channel.log), max(LIMITS.durable_messages, LIMITS.pending_messages)
    if address in rules.WITH_HISTORY:
        most = 4 if address == rules.LATEST else max(LIMITS.durable_messages, rules.HISTORY)
    _check(kept <= most, "I6", "{} keeps {} messages", address, kept)


# I7


def i7_nobody_holds_others_up(run: Twin) -> None:
    _check(not run.witness.raised, "I7", "a publisher saw {}", run.witness.raised)
    for client in run.clients:
        waits = bool(client.real.mailbox.entries) and not (client.stuck or client.cut)
        _check(not waits, "I7", "{} could have had {}", client.real, client.real.mailbox.entries)
    counters = run.world.counters
    problems = counters.internal_errors, counters.stuck_deadlines, counters.stalls
    _check(problems == (0, 0, 0), "I7", "internal errors, stuck deadlines, stalls: {}", problems)


# I8


def i8_the_silent_are_found_out(run: Twin) -> None:
    grace = rules.GRACE * rules.BEAT_SECONDS
    now = run.world.now
    for record in run.witness.records:
        client = record.client
        silent = now - client.spoke_at
        for kind, _, body in record.news:
            if (kind, body) == ("CLOSE", b"4000"):
                _check(client.beats, "I8", "{} owes no heart-beat", client.real)
                early = client.silence < grace
                _check(not early, "I8", "{} was silent for {} only", client.real, client.silence)
        reads = client.real.state is State.CONNECTED and client.real.clocks.paused_since is None
        if client.beats and reads:
            known = silent <= grace + client.real.clocks.paused_total + TICK
            _check(known, "I8", "{} is silent since {}", client.real, silent)


# I9


def i9_every_close_ends(run: Twin) -> None:
    now = run.world.now
    stopping = now - (run.witness.stopping_since or now)
    left = list(run.world.broker.sessions) if stopping > LIMITS.shutdown_timeout else []
    _check(not left, "I9", "{} are there {} seconds after the stop", left, stopping)
    for record in run.witness.records:
        real = record.client.real
        if real.state in (State.CLOSING, State.ENDING):
            record.closing_since = record.closing_since or now
            most = LIMITS.close_timeout + TICK
            if real.state is State.ENDING:
                most += MOMENT
            since = now - record.closing_since
            _check(since <= most, "I9", "{} closes since {}", real, since)
        if real.state is State.CLOSED:
            record.gone_since = record.gone_since or now
            since = now - record.gone_since
            late = since > LIMITS.close_timeout + TICK and not record.client.stream.link.gone
            _check(not late, "I9", "the connection of {} is there since {}", real, since)


# I10


def i10_the_same_octets(first: Twin, second: Twin) -> None:
    """Two plays of one run."""
    _check(len(first.all) == len(second.all), "I10", "another number of clients")
    for one, other in zip(first.all, second.all, strict=True):
        _check(one.wire == other.wire, "I10", "{} got other octets", one.real)
    same = repr(first.application.events) == repr(second.application.events)
    _check(same, "I10", "other events")


# I11


def i11_everything_can_be_read(run: Twin) -> None:
    for record in run.witness.records:
        client = record.client
        _check(not client.malformed, "I11", client.malformed)
        for kind, headers, _ in record.news:
            if kind == "RECEIPT":
                asked = record.asked.pop(headers["receipt-id"], None)
                _check(asked is not None, "I11", "a RECEIPT that was not asked for: {}", headers)
            if kind == "MESSAGE":
                wanted = client.version == "1.2" and "redelivered" in headers
                acked = "ack" in headers
                plain = headers.get("redelivered") == "true" and not acked
                _check(acked == wanted or plain, "I11", "ack does not fit: {}", headers)


# I12


def i12_no_secret_is_told(run: Twin) -> None:
    for record in run.witness.records:
        client = record.client
        if not record.news:
            continue
        new = bytes(client.wire[max(0, client.looked - 64) :])
        client.looked = len(client.wire)
        secrets = [rules.SECRET, "MappedError", "UnmappedError", "Traceback", ".py"]
        user = None if client.real.user is None else client.real.user.name
        secrets += [each for each in rules.USERS if each != user]
        secrets += [o.real.id for o in run.clients if o is not client]
        found = [secret for secret in secrets if secret.encode() in new]
        _check(not found, "I12", "{} was told {}", client.real, found)


AFTER_EVERY_STEP: tuple[Callable[[Any], None], ...] = (
    i1_accepted_is_delivered_or_told,
    i2_one_order,
    i3_nothing_behind_an_end,
    i4_events_come_in_pairs,
    i6_everything_is_bounded,
    i7_nobody_holds_others_up,
    i8_the_silent_are_found_out,
    i9_every_close_ends,
    i11_everything_can_be_read,
    i12_no_secret_is_told,
)

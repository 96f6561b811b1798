"""What a worker shares with others: whatever one publishes, all deliver, in one order."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from stocksync_ws import AccessDenied, OutboundMessage, StompApp
from stocksync_ws.backplane import (
    Append,
    AppendOutcome,
    BackplaneSettings,
    Connected,
    Keep,
    Lost,
)
from stocksync_ws.broker.calls.events import BackplaneAvailability, MessageDropped
from stocksync_ws.broker.model.channels import channel_of
from stocksync_ws.broker.model.flight import Failure, Settlement
from stocksync_ws.broker.model.publication import Draft, PublicationKind, Published
from stocksync_ws.broker.sessions.workers import Workers
from stocksync_ws.errors import BackplaneUnavailable, BrokerBusy, PublishUncertain
from stocksync_ws.position import Position
from stocksync_ws.testing.backplane import MemoryEngine
from stocksync_ws.testing.peer import Peer
from stocksync_ws.types import ToDestination, ToSession, ToUser
from tests.broker.kit import drafted
from tests.broker.several import Several


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def workers_of(several: Several, worker: int = 0) -> Workers:
    workers = several.worlds[worker].broker._sessions.workers
    assert workers is not None
    return workers


def followed(several: Several, worker: int = 0) -> set[str]:
    """The destinations whose channels a worker follows."""
    return set(workers_of(several, worker)._addresses)


def publish_by(how: str, several: Several, sender: Peer) -> None:
    """One message to `/topic/a`, from the server's side or by a client of the first worker."""
    if how == "template":
        several.publish("/topic/a", "x")
    elif how == "SEND":
        sender.command("SEND", {"destination": "/topic/a"}, b"x")
    else:
        sender.command("BEGIN", {"transaction": "t"})
        sender.command("SEND", {"destination": "/topic/a", "transaction": "t"}, b"x")
        sender.command("COMMIT", {"transaction": "t"})


# Channels


def test_a_channel_is_named_like_its_destination_and_users_cannot_share_one() -> None:
    assert channel_of("/topic/a") == "/topic/a"
    assert channel_of(("ann", "/queue/a")) == "user:3:ann/queue/a"
    assert channel_of(("a", "/b/c")) != channel_of(("a/b", "/c"))


def test_what_goes_to_a_session_or_is_local_is_not_shared(stack: ExitStack) -> None:
    workers = workers_of(Several(stack))
    assert workers.shares(ToDestination("/topic/a"))
    assert workers.shares(ToDestination("/topic/kept/a"))
    assert workers.shares(ToUser("ann", "/queue/a"))
    assert not workers.shares(ToSession("s1", "/queue/a"))
    assert not workers.shares(ToDestination("/topic/here"))
    assert not workers.shares(ToDestination("/queue/a"))


# Publishing


@pytest.mark.parametrize("destination", ["/topic/plain", "/topic/kept/a", "/topic/latest"])
def test_what_one_worker_publishes_reaches_all_with_one_message_id(
    stack: ExitStack, destination: str
) -> None:
    several = Several(stack, 3)
    peers = [several.connect(worker) for worker in range(3)]
    for peer in peers:
        peer.command("SUBSCRIBE", {"id": "s", "destination": destination})
    several.settle()
    for worker in (0, 2, 1):
        several.publish(destination, f"from {worker}", worker, key=str(worker))
    found = [
        [(frame.body, frame.headers["message-id"]) for frame in peer.frames()] for peer in peers
    ]
    assert [body for body, _ in found[0]] == [b"from 0", b"from 2", b"from 1"]
    assert found[0] == found[1] == found[2]


def test_who_awaits_a_publication_is_told_its_id_and_who_got_it(stack: ExitStack) -> None:
    several = Several(stack)
    here, there = several.connect(0), several.connect(1)
    for peer in (here, there):
        peer.command("SUBSCRIBE", {"id": "s", "destination": "/topic/a"})
    several.settle()
    published = several.worlds[0].run(several.apps[0].template.publish("/topic/a", "x"))
    several.settle()
    assert (published.receivers, published.workers) == (1, 1)
    assert {peer.frames()[-1].headers["message-id"] for peer in (here, there)} == {
        published.message_id
    }


@pytest.mark.parametrize("subscribed", [(), (0,), (1,), (0, 1)])
@pytest.mark.parametrize("how", ["template", "SEND", "COMMIT"])
def test_a_publication_is_counted_once_where_it_was_sent(
    how: str, subscribed: tuple[int, ...], stack: ExitStack
) -> None:
    several = Several(stack)
    sender, others = several.connect(0), [several.connect(worker) for worker in subscribed]
    for peer in others:
        peer.command("SUBSCRIBE", {"id": "s", "destination": "/topic/a"})
    several.settle()
    publish_by(how, several, sender)
    several.settle()
    for peer in others:
        assert peer.frames()[-1].body == b"x"
    counters = [world.counters for world in several.worlds]
    assert [each.messages_published for each in counters] == [1, 0]
    assert [each.messages_unrouted for each in counters] == [not subscribed, 0]


def test_each_message_of_a_transaction_is_counted(stack: ExitStack) -> None:
    several = Several(stack)
    sender = several.connect(0)
    sender.command("BEGIN", {"transaction": "t"})
    for body in "xyz":
        sender.command("SEND", {"destination": "/topic/a", "transaction": "t"}, body)
    sender.command("COMMIT", {"transaction": "t"})
    several.settle()
    counters = [world.counters for world in several.worlds]
    assert [each.messages_published for each in counters] == [3, 0]
    assert [each.messages_unrouted for each in counters] == [3, 0]


def test_a_publication_that_is_kept_is_not_unrouted(stack: ExitStack) -> None:
    several = Several(stack)
    several.worlds[0].run(several.apps[0].template.publish("/topic/kept/a", "x"))
    assert several.worlds[0].counters.messages_unrouted == 0


def test_a_user_gets_it_at_every_worker(stack: ExitStack) -> None:
    several = Several(stack)
    peers = [several.connect(worker, login=name) for worker, name in enumerate(("ann", "ann"))]
    other = several.connect(0, login="bob")
    for peer in (*peers, other):
        peer.command("SUBSCRIBE", {"id": "s", "destination": "/user/queue/mine"})
    several.settle()
    several.apps[1].template.convert_and_send_to_user("ann", "/queue/mine", "hello")
    assert [several.bodies(peer) for peer in (*peers, other)] == [["hello"], ["hello"], []]


def test_what_is_local_stays_with_its_worker(stack: ExitStack) -> None:
    several = Several(stack)
    peers = [several.connect(worker) for worker in range(2)]
    for peer in peers:
        peer.subscribe("/topic/here")
    several.publish("/topic/here", "x", 1)
    assert [several.bodies(peer) for peer in peers] == [[], ["x"]]


def test_the_engine_keeps_the_history_and_enough_to_repair_a_gap(
    stack: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[Keep] = []
    append = MemoryEngine.append

    def note(self: MemoryEngine, worker: str, command: Append, at: float) -> object:
        named = ("/topic", "user:")
        kept.extend(item.keep for item in command.items if item.channel.startswith(named))
        return append(self, worker, command, at)

    monkeypatch.setattr(MemoryEngine, "append", note)
    several = Several(stack, settings=BackplaneSettings(repair_messages=3, repair_seconds=5))
    several.publish("/topic/kept/a", "x")
    several.publish("/topic/a", "x")
    several.publish("/topic/latest", "x", key="k")
    several.publish("/topic/latest", "x")
    several.apps[0].template.convert_and_send_to_user("ann", "/queue/a", "x")
    several.settle()
    repairs, values = Keep(3, 5), (10_000, 1e12)
    assert kept == [
        Keep(10, 60.0),
        repairs,
        Keep(*values, "k"),
        Keep(*values, "/topic/latest"),
        repairs,
    ]


def test_a_message_that_has_died_on_its_way_is_dropped_and_told(stack: ExitStack) -> None:
    several = Several(stack)
    peer = several.connect(1)
    peer.command("SUBSCRIBE", {"id": "s", "destination": "/topic/a"})
    several.settle()
    link = [*several.engine.links.values()][1]
    link.lose()
    several.publish("/topic/a", "short", expiration="1000")
    several.publish("/topic/a", "long", expiration="100000")
    workers_of(several, 1)._wall = lambda: workers_of(several, 0)._wall() + 5
    several.advance(5)
    link.connect()
    assert several.bodies(peer) == ["long"]
    assert several.events.count(MessageDropped(destination="/topic/a", reason="expired")) == 1


# What interceptors see


@pytest.mark.parametrize("how", ["template", "SEND", "COMMIT"])
def test_interceptors_see_each_message_once_where_it_is_sent(how: str, stack: ExitStack) -> None:
    seen: list[tuple[str, bytes]] = []

    def prepare(app: StompApp) -> None:
        @app.outbound_interceptor()
        def look(message: OutboundMessage) -> OutboundMessage:
            seen.append((message.destination, message.body))
            return message.replace(body=message.body + b"!")

    several = Several(stack, prepare=prepare)
    sender, other = several.connect(0), several.connect(1)
    other.command("SUBSCRIBE", {"id": "s", "destination": "/topic/a"})
    several.settle()
    publish_by(how, several, sender)
    assert several.bodies(other) == ["x!"]
    assert seen == [("/topic/a", b"x")]


@pytest.mark.parametrize("how", ["template", "SEND", "COMMIT"])
def test_what_an_interceptor_refuses_reaches_no_worker(how: str, stack: ExitStack) -> None:
    def prepare(app: StompApp) -> None:
        @app.outbound_interceptor()
        def look(message: OutboundMessage) -> None:
            raise AccessDenied("not today")

    several = Several(stack, prepare=prepare)
    sender, others = several.connect(0), [several.connect(worker) for worker in (0, 1)]
    for peer in others:
        peer.command("SUBSCRIBE", {"id": "s", "destination": "/topic/a"})
    several.settle()
    publish_by(how, several, sender)
    assert [several.bodies(peer) for peer in others] == [[], []]


# What became of a publication


def outcome(
    several: Several, draft: Draft, settlement: Settlement
) -> tuple[Published | None, Exception | None]:
    """What the sender of a message is told."""
    told: list[tuple[Published | None, Exception | None]] = []
    publisher = several.worlds[0].broker._sessions.publisher
    publisher.settled(draft, lambda *what: told.append(what), settlement)
    (only,) = told
    return only


@pytest.mark.parametrize(
    ("settlement", "error", "refused", "uncertain"),
    [
        (Settlement(Failure.UNAVAILABLE), BackplaneUnavailable, 1, 0),
        (Settlement(AppendOutcome.REFUSED, problem="full"), BackplaneUnavailable, 1, 0),
        (Settlement(Failure.UNCERTAIN), PublishUncertain, 0, 1),
        (Settlement(AppendOutcome.REPEATED), PublishUncertain, 0, 1),
    ],
)
def test_what_was_not_done_or_may_not_have_been_is_an_error(
    stack: ExitStack,
    settlement: Settlement,
    error: type[Exception],
    refused: int,
    uncertain: int,
) -> None:
    several = Several(stack)
    published, problem = outcome(several, drafted("/topic/a", (), b"x"), settlement)
    assert published is None
    assert isinstance(problem, error)
    counters = several.worlds[0].counters
    assert (counters.backplane_refused, counters.backplane_uncertain) == (refused, uncertain)


def test_what_was_not_sent_says_why_the_engine_is_gone(stack: ExitStack) -> None:
    several = Several(stack)
    for link in several.engine.links.values():
        link.lose("it rains")
    several.settle()
    _, problem = outcome(several, drafted("/topic/a", (), b"x"), Settlement(Failure.UNAVAILABLE))
    assert str(problem) == (
        "the engine behind the workers was not there in time, and nothing was sent: it rains"
    )


def test_what_was_done_names_its_place(stack: ExitStack) -> None:
    settlement = Settlement(AppendOutcome.REPEATED, (Position("e", 3, 7),), 4)
    draft = drafted("/queue/a", (), b"x", user="ann")
    assert outcome(Several(stack), draft, settlement) == (Published("e.3-7", 0, 4), None)


def test_too_much_in_flight_is_refused_and_counted(
    stack: ExitStack, caplog: pytest.LogCaptureFixture
) -> None:
    several = Several(stack, settings=BackplaneSettings(max_in_flight=1))
    several.engine.disconnect()
    several.publish("/topic/a", "x")
    several.apps[0].template.send("/topic/a", b"y")
    several.settle()
    assert several.worlds[0].counters.backplane_refused == 1
    told = MessageDropped(destination="/topic/a", reason="backplane-busy")
    assert told in several.events
    assert "lost destination='/topic/a' reason=backplane-busy error='max_in_flight" in caplog.text


def test_what_nobody_waits_for_is_told_by_the_log(
    stack: ExitStack, caplog: pytest.LogCaptureFixture
) -> None:
    several = Several(stack)
    several.engine.disconnect()
    for body in (b"x", b"y"):
        several.apps[0].template.send("/topic/a", body)
    several.advance(7)
    lines = [each.getMessage() for each in caplog.records if each.name == "stocksync_ws.broker"]
    reason = "reason=backplane-unavailable"
    assert [line.partition(" error=")[0] for line in lines] == [
        f"lost destination='/topic/a' {reason}",
        f"in the last second 1 more: lost {reason}",
    ]
    assert "the engine behind the workers was not there in time" in lines[0]


def test_who_waits_is_told_and_not_the_log(
    stack: ExitStack, caplog: pytest.LogCaptureFixture
) -> None:
    several = Several(stack, settings=BackplaneSettings(max_in_flight=1))
    several.engine.disconnect()

    async def publish() -> list[BaseException | Published]:
        publish = several.apps[0].template.publish
        calls = publish("/topic/a", "x"), publish("/topic/a", "y")
        return await asyncio.gather(*calls, return_exceptions=True)

    kinds = [type(each) for each in several.worlds[0].run(publish())]
    assert kinds == [BackplaneUnavailable, BrokerBusy]
    assert [each for each in caplog.records if each.name == "stocksync_ws.broker"] == []


# SUBSCRIBE


def test_a_subscribe_waits_until_its_destination_is_followed(stack: ExitStack) -> None:
    several = Several(stack)
    several.engine.disconnect()
    peer = several.connect()
    peer.command("SUBSCRIBE", {"id": "s", "destination": "/topic/a", "receipt": "r"})
    several.advance(9)
    peer.nothing()
    several.engine.reconnect()
    several.settle()
    assert peer.frame("RECEIPT").headers["receipt-id"] == "r"


def test_a_subscribe_that_waits_too_long_is_refused(stack: ExitStack) -> None:
    several = Several(stack)
    several.engine.disconnect()
    peer, later = several.connect(), several.connect()
    peer.command("SUBSCRIBE", {"id": "s", "destination": "/topic/a"})
    several.advance(4)
    later.command("SUBSCRIBE", {"id": "s", "destination": "/topic/a", "receipt": "r"})
    several.advance(6)
    assert peer.error().headers["code"] == "backplane-unavailable"
    assert peer.closed == 1013
    later.nothing()
    several.engine.reconnect()
    several.settle()
    later.frame("RECEIPT")


def test_a_session_that_was_refused_may_ask_again(stack: ExitStack) -> None:
    several = Several(stack)
    several.engine.disconnect()
    peer = several.connect(login="ann")
    waiting = {"id": "s", "destination": "/topic/a", "receipt": "r"}
    peer.command("SUBSCRIBE", waiting)
    several.advance(11)
    assert peer.error().headers["receipt-id"] == "r"
    again = several.connect()
    again.command("SUBSCRIBE", waiting)
    several.engine.reconnect()
    several.settle()
    again.frame("RECEIPT")


def test_a_destination_that_is_followed_is_subscribed_at_once_even_without_the_engine(
    stack: ExitStack,
) -> None:
    several = Several(stack)
    several.connect().command("SUBSCRIBE", {"id": "s", "destination": "/topic/a"})
    several.settle()
    several.engine.disconnect()
    several.connect().subscribe("/topic/a")


def test_what_was_there_before_comes_to_who_asks_for_it(stack: ExitStack) -> None:
    several = Several(stack)
    for number in range(3):
        several.publish("/topic/kept/a", f"m{number}")
        several.publish("/topic/latest", f"v{number}", key=str(number % 2))
    peer = several.connect(1)
    for destination in ("/topic/kept/a", "/topic/latest"):
        headers = {"id": destination, "destination": destination, "history": "2"}
        peer.command("SUBSCRIBE", headers)
        several.settle()
    assert several.bodies(peer) == ["m1", "m2", "v1", "v2"]


def test_who_comes_back_to_another_worker_recovers(stack: ExitStack) -> None:
    several = Several(stack)
    first = several.connect()
    first.command("SUBSCRIBE", {"id": "s", "destination": "/topic/kept/a"})
    several.settle()
    several.publish("/topic/kept/a", "seen")
    last = first.message().headers["message-id"]
    first.eof()
    several.publish("/topic/kept/a", "missed")
    second = several.connect(1)
    fields = {"id": "s", "destination": "/topic/kept/a", "receipt": "r", "last-message-id": last}
    second.command("SUBSCRIBE", fields)
    several.settle()
    assert second.frame("RECEIPT").headers["recovered"] == "true"
    assert several.bodies(second) == ["missed"]


# Channels that nobody reads


def test_a_channel_is_followed_for_a_while_when_nobody_reads_it(stack: ExitStack) -> None:
    several = Several(stack, settings=BackplaneSettings(linger=10))
    peer = several.connect()
    peer.command("SUBSCRIBE", {"id": "s", "destination": "/topic/a"})
    several.settle()
    several.advance(100)
    assert followed(several) == {"/topic/a"}
    peer.command("UNSUBSCRIBE", {"id": "s"})
    several.advance(9)
    assert followed(several) == {"/topic/a"}
    peer.subscribe("/topic/a", "t")
    several.advance(15)
    peer.command("UNSUBSCRIBE", {"id": "t"})
    several.advance(25)
    assert followed(several) == set()
    assert "/topic/a" not in next(iter(several.engine.links.values())).channels


def test_a_channel_that_a_subscribe_waits_for_is_not_left(stack: ExitStack) -> None:
    settings = BackplaneSettings(linger=2, subscribe_timeout=50)
    several = Several(stack, settings=settings)
    several.engine.disconnect()
    peer = several.connect()
    peer.command("SUBSCRIBE", {"id": "s", "destination": "/topic/a", "receipt": "r"})
    several.advance(20)
    assert followed(several) == {"/topic/a"}
    several.engine.reconnect()
    several.settle()
    peer.frame("RECEIPT")


def test_a_history_that_has_given_way_is_read_again(stack: ExitStack) -> None:
    several = Several(stack, max_streams=1)
    peer = several.connect()

    def come(destination: str, **headers: str) -> list[str]:
        fields = {"id": destination, "destination": destination, **headers}
        peer.command("SUBSCRIBE", fields)
        several.settle()
        return several.bodies(peer)

    several.publish("/topic/kept/a", "1", 1)
    assert come("/topic/kept/a", history="all") == ["1"]
    peer.command("UNSUBSCRIBE", {"id": "/topic/kept/a"})
    come("/topic/kept/b")
    assert "/topic/kept/a" not in several.worlds[0].broker.delivery.registry.topics
    several.publish("/topic/kept/a", "2", 1)
    peer.command("UNSUBSCRIBE", {"id": "/topic/kept/b"})
    assert come("/topic/kept/a", history="all") == ["1", "2"]
    several.publish("/topic/kept/a", "3", 1)
    assert several.bodies(peer) == ["3"]


# Resets


def test_a_connection_that_comes_twice_or_is_lost_twice_is_told_once(stack: ExitStack) -> None:
    several = Several(stack, 1)
    world = several.worlds[0]
    several.events.clear()
    for event in (Lost(), Lost(), Connected(), Connected()):
        world.runtime._told([event])
    several.settle()
    told = [each.available for each in several.events if isinstance(each, BackplaneAvailability)]
    assert told == [False, True]


def test_a_reset_of_a_channel_that_nobody_reads_is_told_to_nobody(
    stack: ExitStack,
) -> None:
    several = Several(stack)
    peer = several.connect()
    peer.command("SUBSCRIBE", {"id": "s", "destination": "/topic/a"})
    several.settle()
    peer.command("UNSUBSCRIBE", {"id": "s"})
    several.settle()
    several.engine.restart()
    several.settle()
    assert several.resets() == []
    assert peer.closed is None


def test_a_dead_letter_of_one_worker_is_a_dead_letter_at_all(stack: ExitStack) -> None:
    several = Several(stack)
    peer = several.connect(1)
    peer.command("SUBSCRIBE", {"id": "s", "destination": "/topic/dead"})
    several.settle()
    publisher = several.worlds[0].broker._sessions.publisher
    draft = drafted("/topic/dead", (("expiration", "0"),), b"x")
    several.worlds[0].broker._step.run(
        several.worlds[0].now, publisher.send, draft, None, PublicationKind.DEAD_LETTER
    )
    several.worlds[0].runtime.driver.publish(drafted("/topic/other", (), b""))
    several.advance(1)
    assert several.bodies(peer) == ["x"]


def test_another_run_of_the_engine_with_all_it_had_is_not_seen(stack: ExitStack) -> None:
    several = Several(stack)
    peer = several.connect()
    for destination in ("/topic/kept/a", "/topic/a"):
        peer.command("SUBSCRIBE", {"id": destination, "destination": destination})
    several.settle()
    several.publish("/topic/kept/a", "1")
    several.publish("/topic/a", "1")
    several.engine.restart(several.engine.engine.snapshot())
    several.publish("/topic/kept/a", "2")
    several.publish("/topic/a", "2")
    frames = [frame for frame in peer.frames() if frame.command == "MESSAGE"]
    assert [frame.body for frame in frames] == [b"1", b"1", b"2", b"2"]
    assert not any("recovered" in frame.headers for frame in frames)
    assert frames[2].headers["message-id"].endswith(".1-2")


@pytest.mark.parametrize("destination", ["/topic/kept/a", "/topic/latest", "/topic/a"])
def test_who_asks_for_it_is_told_of_a_reset_by_the_next_message(
    stack: ExitStack, destination: str
) -> None:
    several = Several(stack)
    peer = several.connect(on_reset="message")
    peer.command("SUBSCRIBE", {"id": "s", "destination": destination})
    several.settle()
    for number in range(3):
        several.publish(destination, f"old {number}")
    several.bodies(peer)
    several.engine.restart()
    several.publish(destination, "new 1")
    several.publish(destination, "new 2")
    frames = peer.frames()
    assert [frame.body for frame in frames] == [b"new 1", b"new 2"]
    assert [frame.headers.get("recovered") for frame in frames] == ["false", None]
    assert several.resets() == [destination]
    assert several.worlds[0].counters.backplane_resets


def test_a_snapshot_that_runs_during_a_reset_comes_before_the_new_history(
    stack: ExitStack,
) -> None:
    def prepare(app: StompApp) -> None:
        @app.snapshot("/topic/kept/a")
        def state() -> str:
            return "state"

    several = Several(stack, prepare=prepare)
    for number in range(5):
        several.publish("/topic/kept/a", f"old {number}")
    world, peer = several.worlds[0], several.connect(on_reset="message")
    world.hold_pool()
    fields = {"id": "s", "destination": "/topic/kept/a", "history": "2"}
    peer.command("SUBSCRIBE", fields)
    several.settle()
    several.engine.restart()
    several.publish("/topic/kept/a", "new")
    world.release_pool()
    assert several.bodies(peer) == ["state", "new"]


@pytest.mark.parametrize("error", [True, False])
def test_who_waits_for_a_reply_that_a_reset_would_drop_is_closed(
    stack: ExitStack, error: bool
) -> None:
    several = Several(stack)
    peer = several.connect(on_reset="message", login="ann")
    peer.command("SUBSCRIBE", {"id": "e", "destination": "/user/queue/errors", "ack": "client"})
    several.settle()
    several.engine.restart()
    several.settle()
    peer.stream.open_window(0)
    peer.command("BEGIN", {"transaction": "t", "receipt": "r"})  # the transport is full with it
    if error:
        peer.send_to("/app/nobody", "x", receipt="r")
    several.settle()
    several.engine.restart()
    several.settle()
    peer.stream.open_window(None)
    several.advance(30)
    assert peer.closed == (4010 if error else None)

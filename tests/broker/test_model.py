"""The broker against a naive one made of lists, whatever is done to it in whatever order.

I1 what was accepted reaches every subscription that was active, once; I2 in the order of
acceptance; I3 nothing after UNSUBSCRIBE, DISCONNECT or ERROR; I4 one Connected and one Disconnected
for each session; I5 nothing is left at the end.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from stocksync_ws import SessionConnected, SessionDisconnected, StompApp
from stocksync_ws.testing.peer import Peer
from stocksync_ws.testing.world import World

TOPICS = st.sampled_from(["/topic/a", "/topic/b"])
IDS = st.sampled_from(["1", "2", "3"])
VERSIONS = st.sampled_from(["1.0", "1.1", "1.2"])
WHICH = st.integers(0, 3)


@dataclass
class Client:
    """What one client should have seen."""

    peer: Peer
    number: int
    subscriptions: dict[str, str] = field(default_factory=dict)
    expected: list[tuple[str, ...]] = field(default_factory=list)
    got: list[tuple[str, ...]] = field(default_factory=list)
    alive: bool = True
    blocked: bool = False


class BrokerMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        app = self.app = StompApp("/ws", allowed_origins=["*"], client_send=["/topic/**"])
        self.events: list[tuple[str, str]] = []

        @app.event_listener(SessionConnected, SessionDisconnected, inline=True)
        def hear(event: Any) -> None:
            self.events.append((type(event).__name__, event.session_id))

        @app.message_mapping("/relay", inline=True)
        def relay(body: str) -> str:
            return body

        self.world = World(app)
        self.clients: list[Client] = []
        self.all: list[Client] = []
        self.messages = 0
        self.receipts = 0

    def pick(self, which: int) -> Client:
        return self.clients[which % len(self.clients)]

    def fan_out(self, topic: str) -> str:
        self.messages += 1
        text = f"m{self.messages}"
        for client in self.clients:
            for subscription, destination in client.subscriptions.items():
                if destination == topic:
                    client.expected.append(("MESSAGE", subscription, text))
        return text

    def over(self, client: Client) -> None:
        client.alive = False
        client.subscriptions.clear()
        self.clients.remove(client)

    @precondition(lambda self: len(self.clients) < 4)
    @rule(version=VERSIONS)
    def connect(self, version: str) -> None:
        client = Client(self.world.connect(version), len(self.all))
        self.clients.append(client)
        self.all.append(client)

    @precondition(lambda self: self.clients)
    @rule(which=WHICH, subscription=IDS, topic=TOPICS)
    def subscribe(self, which: int, subscription: str, topic: str) -> None:
        client = self.pick(which)
        self.receipts += 1
        receipt = f"r{self.receipts}"
        fields = {"id": subscription, "destination": topic, "receipt": receipt}
        client.peer.command("SUBSCRIBE", fields)
        if subscription in client.subscriptions:
            client.expected.append(("ERROR", "duplicate-subscription"))
            self.over(client)
        else:
            client.subscriptions[subscription] = topic
            client.expected.append(("RECEIPT", receipt))

    @precondition(lambda self: self.clients)
    @rule(which=WHICH, subscription=IDS)
    def unsubscribe(self, which: int, subscription: str) -> None:
        client = self.pick(which)
        self.receipts += 1
        receipt = f"r{self.receipts}"
        client.peer.command("UNSUBSCRIBE", {"id": subscription, "receipt": receipt})
        if client.subscriptions.pop(subscription, None) is None:
            client.expected.append(("ERROR", "unknown-subscription"))
            self.over(client)
        else:
            client.expected.append(("RECEIPT", receipt))

    @precondition(lambda self: self.clients)
    @rule(which=WHICH, topic=TOPICS)
    def send(self, which: int, topic: str) -> None:
        client = self.pick(which)
        text = self.fan_out(topic)
        self.receipts += 1
        client.expected.append(("RECEIPT", f"r{self.receipts}"))
        client.peer.send_to(topic, text, receipt=f"r{self.receipts}")

    @rule(topic=TOPICS, several=st.integers(1, 3))
    def publish(self, topic: str, several: int) -> None:
        for _ in range(several):
            self.app.template.convert_and_send(topic, self.fan_out(topic))
        self.world.settle()

    @precondition(lambda self: self.clients)
    @rule(which=WHICH, how=st.sampled_from(["DISCONNECT", "close", "eof", "garbage"]))
    def leave(self, which: int, how: str) -> None:
        client = self.pick(which)
        if how == "DISCONNECT":
            client.peer.command("DISCONNECT", {"receipt": "bye"})
            client.expected.append(("RECEIPT", "bye"))
        elif how == "close":
            client.peer.close()
        elif how == "garbage":
            client.peer.send(b"FOO\n\n\0")
            client.expected.append(("ERROR", "unknown-command"))
        else:
            self.collect(client)
            client.peer.eof()
            client.expected = client.got[:]  # what had not been written by then is lost
        self.over(client)

    @precondition(lambda self: self.clients)
    @rule(which=WHICH)
    def stop_reading(self, which: int) -> None:
        client = self.pick(which)
        client.blocked = True
        client.peer.stream.window = 0

    @precondition(lambda self: any(client.blocked for client in self.clients))
    @rule()
    def read_on(self) -> None:
        for client in self.clients:
            client.blocked = False
            client.peer.stream.open_window(None)
        self.world.settle()

    @rule(seconds=st.sampled_from([0.01, 0.5, 2.0]))
    def advance(self, seconds: float) -> None:
        self.read_on()
        self.world.advance(seconds)
        for client in self.clients:
            client.peer.pong()

    def collect(self, client: Client) -> None:
        for frame in client.peer.frames():
            headers = frame.headers
            if frame.command == "MESSAGE":
                client.got.append(("MESSAGE", headers["subscription"], frame.body.decode()))
            elif frame.command == "RECEIPT":
                client.got.append(("RECEIPT", headers["receipt-id"]))
            else:
                client.got.append((frame.command, headers["code"]))

    @invariant()
    def everybody_saw_what_is_due_in_order(self) -> None:
        for client in self.all:
            self.collect(client)
            due = client.expected
            if client.alive and not client.blocked:
                assert sorted(client.got) == sorted(due)
            messages = [frame for frame in client.got if frame[0] == "MESSAGE"]
            wanted = [frame for frame in due if frame[0] == "MESSAGE"]
            numbers = [int(text[1:]) for _, _, text in messages]
            assert numbers == sorted(numbers)
            for subscription in {frame[1] for frame in messages}:
                told = [frame for frame in messages if frame[1] == subscription]
                assert told == [f for f in wanted if f[1] == subscription][: len(told)]

    @invariant()
    def sessions_and_subscriptions_are_those_of_the_model(self) -> None:
        broker = self.world.broker
        assert sum(
            group.refs
            for channel in broker.store.channels.values()
            for group in channel.groups.values()
        ) == sum(len(client.subscriptions) for client in self.clients)
        connected = [name for name, _ in self.events if name == "SessionConnected"]
        ended = [session for name, session in self.events if name == "SessionDisconnected"]
        assert len(connected) == len(self.all)
        assert len(ended) == len(set(ended)) == len(self.all) - len(self.clients)

    def teardown(self) -> None:
        try:
            self.end()
        finally:
            self.world.close()

    def end(self) -> None:
        for client in self.clients[:]:
            client.peer.stream.open_window(None)
            client.peer.eof()
        self.world.advance(30)
        broker = self.world.broker
        assert not broker.life.sessions
        assert not broker.outbox.total
        assert not broker.store.channels
        assert not broker.tasks.running
        assert self.world.runtime.driver.connections == 0
        assert broker._timers.next() is None
        assert self.world.counters.internal_errors == 0
        for client in self.all:
            own = f"id{client.number + 2}-128"
            names = [name for name, session in self.events if session == own]
            assert names == ["SessionConnected", "SessionDisconnected"]


TestBroker = BrokerMachine.TestCase
TestBroker.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)

"""What must hold whatever carries a session, however slowly, and wherever it breaks."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from stocksync_ws import StompApp
from stocksync_ws.config import Limits, SockJSOptions
from tests.wire.sockjs.client import Answer, Client, Line, Web

SIZES = (1, 90, 2_500, 30_000)
TRANSPORTS = ("xhr", "xhr_streaming", "eventsource")
BATCH = 65_536

numbers = st.integers(0, 3)
actions = st.one_of(
    st.tuples(st.just("publish"), st.lists(numbers, min_size=1, max_size=4)),
    st.tuples(st.just("pump"), st.sampled_from(TRANSPORTS), st.sampled_from((None, 5, 700, 9_000))),
    st.tuples(st.just("take"), st.sampled_from((1, 100, 3_000, 50_000, None))),
    st.tuples(st.just("begin"), st.lists(numbers, max_size=4), st.booleans()),
    st.tuples(st.just("feed"), numbers, st.sampled_from((1, 40, 3_000, 70_000))),
    st.tuples(st.just("finish"), numbers),
    st.tuples(st.just("cut_post"), numbers),
    st.tuples(st.just("advance"), st.sampled_from((0.0, 0.2, 1.0, 2.5))),
)
"""What the world does. The receiver is cut once, early or late: that ends its session."""


class Post:
    """A body on its way."""

    def __init__(self, web: Web, texts: list[str], messages: list[str]) -> None:
        self.texts = texts
        self._rest = json.dumps(messages).encode()
        self.line: Line = web.line()
        headers = {"Content-Length": str(len(self._rest))}
        self.answer: Answer = self.line.head("POST", "/ws/0/s1/xhr_send", headers)

    def feed(self, count: int) -> bool:
        """Send so much more, if it is read; whether the body is whole now, for the first time."""
        if not self._rest or self.answer.whole:
            return False
        while count > 0 and self._rest and not self.line.stream.paused and not self.answer.whole:
            part = self._rest[: min(count, 65_536)]
            self._rest = self._rest[len(part) :]
            count -= len(part)
            self.line.feed(part)
        return not self._rest


class Story:
    """One client of one session, and what both ends have sent and got."""

    def __init__(self, send_queue: int, stream_bytes: int) -> None:
        self.limits = Limits(inbox=8_192, send_queue=send_queue)
        app = StompApp(
            "/ws",
            allowed_origins=["*"],
            # However long a story takes, its end is remembered.
            sockjs=SockJSOptions(stream_bytes=stream_bytes, remember=600),
            heart_beat=(0, 0),
            limits=self.limits,
        )
        self.arrived: list[str] = []

        @app.message_mapping("/in")
        async def take(body: str) -> None:
            self.arrived.append(body)
            if body[0] in "13579":
                await asyncio.sleep(0.3)

        self.web = Web(app)
        self.client = Client(self.web).connect("/topic/a")
        self.session: Any = next(iter(self.web.broker.sessions.values()))
        self.sent: list[str] = []
        self.whole: list[str] = []
        """Texts of the bodies that became whole, in that order."""
        self.posts: list[Post] = []
        self.count = 0

    def text(self, size: int) -> str:
        self.count += 1
        return f"{self.count} " + "%" * SIZES[size]

    def act(self, action: tuple[Any, ...]) -> None:
        kind, *given = action
        getattr(self, kind)(*given)
        self.check()

    def publish(self, sizes: list[int]) -> None:
        for size in sizes:
            self.sent.append(self.text(size))
            self.web.app.template.send("/topic/a", self.sent[-1].encode())
        self.web.world.settle()

    def pump(self, transport: str, window: int | None) -> None:
        client = self.client
        if client.closed is None and client.line is None:
            client.transport, client.window = transport, window
            client.attach()
        client.read()

    def take(self, count: int | None) -> None:
        if self.client.line is not None:
            self.client.line.stream.open_window(count)
            self.web.world.settle()

    def begin(self, sizes: list[int], split: bool) -> None:
        texts = [self.text(size) for size in sizes]
        messages: list[str] = []
        for text in texts:
            frame = f"SEND\ndestination:/app/in\n\n{text}\0"
            messages += [frame[:9], frame[9:]] if split else [frame]
        self.posts.append(Post(self.web, texts, messages))

    def feed(self, place: int, count: int) -> None:
        if self.posts:
            post = self.posts[place % len(self.posts)]
            # What it brings counts before anything that becomes whole later.
            before = len(self.whole)
            self.whole += post.texts
            if not post.feed(count):
                del self.whole[before:]

    def finish(self, place: int) -> None:
        self.feed(place, 10**9)

    def cut_post(self, place: int) -> None:
        if self.posts:
            self.posts.pop(place % len(self.posts)).line.eof()

    def cut(self) -> None:
        """The receiver's connection breaks, wherever its answer is."""
        client = self.client
        client.read()
        if client.closed is None and client.line is not None:
            client.cut()
            # What had arrived may still be in work.
            assert self.web.sessions.find("s1").over
        self.check()

    def advance(self, seconds: float) -> None:
        self.web.world.advance(seconds)

    def got(self) -> list[str]:
        return [
            bytes(frame.body).decode() for frame in self.client.stomp if frame.command == "MESSAGE"
        ]

    def check(self) -> None:
        got = self.got()
        assert got == self.sent[: len(got)]
        assert self.arrived == self.whole[: len(self.arrived)]
        assert self.session.inbound.size <= self.limits.inbox + BATCH + 128
        mailbox = self.session.mailbox
        assert mailbox.queued <= self.web.broker.office.hard + 40_000
        wire = self.web.sessions.find("s1")
        assert wire is None or 0 <= wire.posters <= self.limits.sockjs_posts

    def end(self) -> None:
        """Let everything come to its end, as far as the session lives."""
        self.client.window = None
        for _ in range(100):
            self.take(None)
            if self.client.closed is None:
                self.client.pump()
            for place, post in enumerate(self.posts):
                self.finish(place)
                post.line.read()
            self.advance(0.5)
            self.check()
        if self.client.closed is None:
            self.client.pump()
            assert self.got() == self.sent
            assert self.arrived == self.whole
            answered = [post.answer.status for post in self.posts]
            assert set(answered) <= {204, 500, 503, 408}, answered
            self.client.cut()
        self.web.world.settle()
        assert not self.web.broker.sessions
        self.check()
        assert self.web.told()[0] in (1002, 4008)
        self.web.close()
        assert not self.web.world.runtime.driver._links.open
        assert not self.web.world.runtime.driver._links._bringing


@settings(max_examples=60)
@given(
    st.lists(actions, max_size=40),
    st.sampled_from((40_000, 500_000)),
    st.sampled_from((1_000, 20_000)),
    st.integers(0, 60),
)
def test_both_ends_get_a_prefix_in_order_and_once(
    steps: list[tuple[Any, ...]], send_queue: int, stream_bytes: int, cut_at: int
) -> None:
    story = Story(send_queue, stream_bytes)
    for place, action in enumerate(steps):
        if place == cut_at:
            story.cut()
        story.act(action)
    story.end()

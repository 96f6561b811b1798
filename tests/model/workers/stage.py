"""The stage of a round: one engine, some workers, some clients, and one clock.

Rule: every step is a name and a few small numbers, asked for one by one, so that a round comes from
a seed or from a list. What is on its way moves only in steps.
"""

from __future__ import annotations

from collections.abc import Callable

from stocksync_ws import StompApp
from stocksync_ws.backplane import BackplaneSettings
from stocksync_ws.broker.model.publication import Published
from stocksync_ws.broker.model.session import SessionRecord
from stocksync_ws.errors import BackplaneUnavailable, BrokerBusy
from stocksync_ws.testing.backplane import MemoryLink
from tests.broker.kit import drafted
from tests.model.workers.browser import Browser
from tests.model.workers.places import PLACES, Place, make_app
from tests.model.workers.story import hold
from tests.model.workers.truth import Truth
from tests.model.workers.worker import ROOM, Worker

__all__ = ["Draw", "Stage"]

Draw = Callable[[int], int]
"""A number from 0 up to, and without, this one."""

USERS = ("ann", "bob")
SPANS = (0.1, 0.1, 0.5, 1.0, 2.0, 6.0, 12.0, 35.0)
_APPS: dict[tuple[int, float], StompApp] = {}
KEPT = (8, 40, 1_000)
"""What the engine keeps at least."""
LINGERS = (0.2, 30.0)
PAGES = (1, 2, 5, 100)


def app_of(kept: int, linger: float) -> StompApp:
    if (kept, linger) not in _APPS:
        settings = BackplaneSettings(
            repair_messages=kept, linger=linger, max_in_flight=20, max_outage=None
        )
        _APPS[kept, linger] = make_app(settings)
    return _APPS[kept, linger]


class Publishing:
    """A publication of the server that is awaited."""

    def __init__(self, worker: Worker, channel: str, body: str) -> None:
        self.worker = worker
        self.channel = channel
        self.body = body
        self.at = worker.now
        self.told = 0


class Stage:
    """All of it."""

    def __init__(self, draw: Draw) -> None:
        self.time = 1_000.0
        self.app = app_of(KEPT[draw(len(KEPT))], LINGERS[draw(len(LINGERS))])
        self.truth = self.engine = Truth(PAGES[draw(len(PAGES))])
        self.links: dict[str, MemoryLink] = {}
        self.workers: list[Worker] = []
        self.browsers: list[Browser] = []
        self.published: list[Publishing] = []
        self.keys: dict[tuple[str, str, str], str] = {}
        self.later: list[tuple[Worker, SessionRecord]] = []
        """Connections whose Close is answered."""
        self.saved: object = None
        self.faults = draw(4) != 0
        self.losing = draw(2) == 0
        """The engine forgets, in some rounds."""
        self.lanes = 1 + draw(2)
        """A worker may subscribe on another connection than it reads and appends on."""
        self.unanswered = False
        """Answers were lost alone, or refused: what was done is not known to the worker."""
        self.holes: set[tuple[str, str]] = set()
        """Pushes were lost alone: by worker and channel."""
        self.excused = False
        """Something happened of which subscribers must be told."""
        self.tells = self.closes = self.unrecovered = 0
        self.bodies = self.started = self.steps = 0
        self.log: list[str] = []
        first, count = draw(len(PLACES)), (1, 1, 2, 3, len(PLACES))[draw(5)]
        self.places = [PLACES[(first + n) % len(PLACES)] for n in range(count)]
        """Destinations of this round: where there are few, more happens at each."""
        for _ in range(2 + draw(2)):
            self.start()

    # As the backplane of the links

    def now(self) -> float:
        return self.time

    def moved(self, link: MemoryLink) -> None:
        """It moves in a step."""

    # The round

    def do(self, name: str, draw: Draw) -> None:
        self.steps += 1
        getattr(self, name)(draw)
        self.answer_closes()

    def answer_closes(self) -> None:
        while self.later:
            worker, session = self.later.pop()
            worker.lose(session)

    def note(self, *what: object) -> None:
        self.log.append(" ".join(map(str, what)))

    def start(self) -> Worker:
        self.started += 1
        worker = Worker(self, f"w{self.started}")
        self.workers.append(worker)
        worker.link.connect()
        return worker

    def worker(self, draw: Draw) -> Worker:
        return self.workers[draw(len(self.workers))]

    def browser(self, draw: Draw) -> Browser | None:
        there = [each for each in self.browsers if each.connected]
        return there[draw(len(there))] if there else None

    def body(self) -> str:
        self.bodies += 1
        return f"b{self.bodies}"

    def slot(self, place: Place, draw: Draw) -> str:
        return "xyz"[draw(3)] if place.latest else ""

    def place(self, draw: Draw) -> Place:
        """Mostly one that somebody reads."""
        read = [sub.place for each in self.browsers for sub in each.subs.values()]
        return read[draw(len(read))] if read and draw(4) else self.places[draw(len(self.places))]

    # What steps share

    def publish_at(self, worker: Worker, place: Place, draw: Draw) -> None:
        body, user = self.body(), USERS[draw(2)]
        slot = self.slot(place, draw)
        self.note(worker, "publishes", place.name, body)
        name = place.name.removeprefix("/user") if place.user else place.name
        headers = (("key", slot),) if slot else ()
        draft = drafted(name, headers, body.encode(), user=user if place.user else None)
        waiting = Publishing(worker, place.channel(user), body)

        def told(published: Published | None, error: Exception | None) -> None:
            self._told(waiting, published, error)

        try:
            worker.publish(draft, told)
        except BrokerBusy:
            return
        self.published.append(waiting)

    def _told(
        self, waiting: Publishing, published: Published | None, error: Exception | None
    ) -> None:
        waiting.told += 1
        hold(waiting.told == 1, f"I5: {waiting.body!r} is settled twice")
        done = self.truth.bodies.get(waiting.body, [])
        if published is not None:
            entry = self.truth.find(waiting.channel, published.message_id)
            hold(entry in done, f"I4: {waiting.body!r} is {done}, not {published}")
            assert entry is not None
            entry.known.add(waiting.worker.name)
        elif isinstance(error, BackplaneUnavailable):
            hold(not done, f"I5: {waiting.body!r} is told as never sent, and was done: {done}")
        else:
            self.uncertain(waiting.body, waiting.at)

    def uncertain(self, body: str, at: float) -> None:
        """Before its time is over, only what was done is uncertain: its position is not known."""
        if self.time - at < 4.9 and not (self.unanswered or self.losing):
            hold(body in self.truth.bodies, f"I5: {body!r} is told as uncertain, and is not done")

    def fetch(self, browser: Browser, room: int) -> bool:
        """A client reads what waits for it; whether something did."""
        worker = browser.worker
        if worker is None:
            return False
        waiting = [each for each in worker.narrow if each.wire.browser is browser]  # type: ignore[attr-defined]
        for mailbox in waiting:
            del worker.narrow[mailbox]
            worker.fetch(mailbox, room)
        worker.turn()
        return bool(waiting)

    def lose(self, link: MemoryLink) -> None:
        link.lose()
        self.holes = {each for each in self.holes if each[0] != link.worker}

    # Time

    def advance(self, draw: Draw) -> None:
        self.pass_time(SPANS[draw(len(SPANS))])

    def pass_time(self, span: float) -> None:
        self.note("advance", span)
        end = self.time + span
        while True:
            due = [
                (at, n) for n, w in enumerate(self.workers) if (at := w.timers.next()) is not None
            ]
            if not due or min(due)[0] > end:
                break
            at, number = min(due)
            self.time = max(self.time, at)
            self.workers[number].wake()
        self.time = end

    # The end

    def finish(self) -> None:
        """No further fault: everything comes to rest, then one more message goes everywhere."""
        self.engine.refuses = ""
        for browser in self.browsers:
            browser.narrow = False
        self.calm(lambda n: 0)
        self.pass_time(20.0)
        self.rest()
        for worker in self.workers:
            for place in self.places:
                for user in range(2 if place.user else 1):
                    self.publish_at(worker, place, lambda n, user=user: user % n)  # type: ignore[misc]
            self.rest()
        self.pass_time(25.0)  # closes are spread over time
        self.rest()
        self.holes.clear()
        self.nobody_waits()
        for browser in self.browsers:
            for sub in browser.subs.values():
                sub.story.ends({worker.name for worker in self.workers})
        if not self.excused and not self.truth.has_aged:
            hold(not self.tells, "something is told as missing, and nothing was")

    def calm(self, draw: Draw) -> None:
        """Everything that is on its way arrives."""
        self.note("calm")
        self.rest()
        if not self.unanswered:
            self.nobody_waits()
            self.nothing_is_missing()

    def nobody_waits(self) -> None:
        if self.holes:
            return  # who has an answer may wait for a push that was lost, for a while
        for browser in self.browsers:
            session = browser.session
            leaves = session is not None and session.clocks.drain_at is not None
            if browser.narrow or leaves:
                continue  # it reads nothing, or is told of all by its close
            hold(not browser.waits(), f"I5: {browser.name} waits for {browser.waits()}")
        for waiting in self.published:
            hold(waiting.told == 1, f"I5: {waiting.body!r} is not settled")

    def nothing_is_missing(self) -> None:
        """Without a lost push, what is pushed last is there as well."""
        for browser in self.browsers:
            for sub in () if browser.narrow else browser.subs.values():
                worker, session = browser.worker, browser.session
                assert worker is not None
                assert session is not None
                reader = session.subscriptions.active.get(sub.name)
                leaves = session.clocks.drain_at is not None
                if leaves or reader is None or reader.unrecovered or reader.dropped:
                    continue  # it is refused, or will be told
                if (worker.name, sub.story.channel) not in self.holes:
                    sub.story.has_all()

    def rest(self) -> None:
        """Until nothing is on its way."""
        for _ in range(10_000):
            if not self.move():
                return
        raise AssertionError("there is no rest")

    def move(self) -> bool:
        moved = False
        for worker in self.workers:
            link = worker.link
            if not link.connected:
                link.connect()
                moved = True
            while link.commands:
                link.execute()
                moved = True
        for worker in self.workers:
            link = worker.link
            while link.answers or link.pushes:
                if link.pushes:
                    link.tell_push()
                else:
                    link.tell_answer()
                moved = True
            while worker.held:
                worker.resume(*worker.held.pop(0))
                moved = True
        for browser in self.browsers:
            moved = (not browser.narrow and self.fetch(browser, ROOM)) or moved
            while browser.acks:
                browser.acknowledge("ACK")
                moved = True
        self.answer_closes()
        return moved

"""The steps of a round: clients, what is on its way, and faults.

Rule: as in `stage.py`; a step draws what it does, and notes it before it is done.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from stocksync_ws.backplane import Appended, Subscribe, Subscribed, Unsubscribe
from tests.model.workers.browser import Browser
from tests.model.workers.stage import USERS, Draw, Stage
from tests.model.workers.worker import ROOM

__all__ = ["STEPS", "Round"]

_SUBSCRIBING = (Subscribe, Subscribed, Unsubscribe)


class Round(Stage):
    """All steps."""

    # Clients

    def connect(self, draw: Draw) -> None:
        """A client comes, or comes back, to any worker."""
        away = [each for each in self.browsers if not each.connected and each.session is None]
        if len(self.browsers) < 4 and (not away or draw(2)):
            survives, listens = draw(2) == 0, draw(3) == 0
            name = f"c{len(self.browsers) + 1}"
            user = USERS[draw(2)]
            away = [Browser(self, name, user, survives=survives, listens=listens)]
            self.browsers += away
        if away:
            browser, worker = away[draw(len(away))], self.worker(draw)
            self.note(browser.name, "connects to", worker, f"{browser.survives=}")
            browser.connect(worker)

    def subscribe(self, draw: Draw) -> None:
        browser = self.browser(draw)
        if browser is None or len(browser.subs) > 5:
            return
        place = self.places[draw(len(self.places))]
        headers: dict[str, str] = {}
        mode = draw(6)
        if mode < 3:
            headers["ack"] = ("client", "client-individual", "auto")[mode]
            headers["prefetch-count"] = str(1 + draw(3))
            self.excused = self.excused or mode < 2  # its window may be full for too long
        if draw(4) == 0:
            headers["history"] = ("all", "0", "2")[draw(3)]
        recovers = draw(4) != 0
        self.note(browser.name, "SUBSCRIBE", place.name, headers, recovers)
        browser.subscribe(place, headers, recovers=recovers)

    def unsubscribe(self, draw: Draw) -> None:
        browser = self.browser(draw)
        if browser is not None and browser.subs:
            sub = [*browser.subs.values()][draw(len(browser.subs))]
            if not sub.leaving:
                self.note(browser.name, "UNSUBSCRIBE", sub.place.name)
                browser.unsubscribe(sub)

    def come_back(self, draw: Draw) -> None:
        """A subscription ends, and there is one again when its channel is no longer followed."""
        browser = self.browser(draw)
        if browser is not None and browser.subs:
            sub = [*browser.subs.values()][draw(len(browser.subs))]
            if not sub.leaving:
                self.note(browser.name, "UNSUBSCRIBE", sub.place.name)
                browser.unsubscribe(sub)
                self.pass_time(0.5)
                if not browser.connected:
                    return
                self.note(browser.name, "SUBSCRIBE", sub.place.name)
                browser.subscribe(sub.place, {}, recovers=draw(2) == 0)

    def send(self, draw: Draw) -> None:
        browser, place = self.browser(draw), self.place(draw)
        if browser is not None and not place.user:
            key = str(draw(4)) if draw(5) == 0 else ""
            body, slot = self.body(), self.slot(place, draw)
            self.note(browser.name, "SEND", place.name, body, key)
            browser.send(place, body, key, slot)

    def burst(self, draw: Draw) -> None:
        for _ in range(2 + draw(4)):
            self.send(draw)

    def transact(self, draw: Draw) -> None:
        browser, place = self.browser(draw), self.place(draw)
        if browser is not None and not place.user and not browser.commits:
            bodies = [self.body() for _ in range(1 + draw(3))]
            self.note(browser.name, "COMMIT", place.name, bodies)
            browser.transact(place, bodies, self.slot(place, draw))

    def publish(self, draw: Draw) -> None:
        self.publish_at(self.worker(draw), self.place(draw), draw)

    def ack(self, draw: Draw) -> None:
        browser = self.browser(draw)
        if browser is not None and browser.acks:
            self.note(browser.name, "ACK")
            browser.acknowledge("NACK" if draw(8) == 0 else "ACK")

    def leave(self, draw: Draw) -> None:
        browser = self.browser(draw)
        if browser is not None:
            self.note(browser.name, "is lost")
            browser.leave()

    def stop_reading(self, draw: Draw) -> None:
        browser = self.browser(draw)
        if browser is not None:
            browser.narrow = not browser.narrow
            self.excused = True
            self.note(browser.name, f"{browser.narrow=}")
            self.fetch(browser, ROOM if draw(2) else 1)

    def return_call(self, draw: Draw) -> None:
        worker = self.worker(draw)
        if worker.held:
            self.note(worker, "snapshot returns")
            worker.resume(*worker.held.pop(draw(len(worker.held))))

    # What is on its way

    def execute(self, draw: Draw) -> None:
        link = self.worker(draw).link
        for _ in range(min((1, 1, 2, 4)[draw(4)], len(link.commands))):
            if self.lanes == 2 and draw(2):
                self._overtake(link.commands)
            self.note(link.worker, "executed:", link.commands[0])
            link.execute()

    def _overtake(self, items: deque[Any]) -> None:
        """The first command or answer of the other connection comes first."""
        first = isinstance(items[0], _SUBSCRIBING)
        for item in items:
            if isinstance(item, _SUBSCRIBING) is not first:
                items.remove(item)
                items.appendleft(item)
                return

    def answer(self, draw: Draw) -> None:
        link = self.worker(draw).link
        for _ in range(1 + draw(3)):
            if link.answers:
                if self.lanes == 2 and draw(2):
                    self._overtake(link.answers)
                self.note(link.worker, "is told", link.answers[0])
                link.tell_answer()

    def push(self, draw: Draw) -> None:
        link = self.worker(draw).link
        for _ in range(1 + draw(3)):
            if link.pushes:
                self.note(link.worker, "is told", link.pushes[0])
                link.tell_push()

    def lose_push(self, draw: Draw) -> None:
        link = self.worker(draw).link
        if self.faults and link.pushes:
            self.note(link.worker, "never gets", link.pushes[0])
            self.holes.add((link.worker, link.pushes.popleft().channel))

    def double_push(self, draw: Draw) -> None:
        link = self.worker(draw).link
        if self.faults and link.pushes:
            self.note(link.worker, "gets twice", link.pushes[0])
            link.pushes.appendleft(link.pushes[0])

    def lose_answer(self, draw: Draw) -> None:
        """Only that of an append: who reads or subscribes has one while the connection lasts."""
        link = self.worker(draw).link
        if self.faults and link.answers and isinstance(link.answers[0], Appended):
            self.note(link.worker, "never gets", link.answers[0])
            self.unanswered = True
            link.answers.popleft()

    # Faults

    def lose_link(self, draw: Draw) -> None:
        link = self.worker(draw).link
        if self.faults and link.connected:
            self.note(link.worker, "loses its connection with", len(link.commands), "commands")
            self.lose(link)

    def renew_link(self, draw: Draw) -> None:
        link = self.worker(draw).link
        if not link.connected:
            self.note(link.worker, "has a connection again")
            link.connect()

    def save(self, draw: Draw) -> None:
        self.note("the engine is saved")
        self.saved = self.engine.snapshot()

    def restart(self, draw: Draw) -> None:
        """The engine comes back, with all it had, with what was saved, or with nothing."""
        if not self.faults:
            return
        for worker in self.workers:
            self.lose(worker.link)
        how = draw(6) if self.losing else 0
        if how < 2:
            self.note("the engine comes back with all it had")
            self.engine.restart(self.engine.snapshot())
            return
        self.excused = True
        state = None if how == 5 else self.saved
        self.note("the engine comes back", "with less" if state else "with nothing")
        self.engine.restart(state)

    def trim(self, draw: Draw) -> None:
        if self.faults:
            place, user = self.place(draw), USERS[draw(2)]
            keep = draw(4)
            self.excused = True
            self.note("trim", place.name, keep)
            self.engine.trim(place.channel(user), keep)

    def refuse(self, draw: Draw) -> None:
        if self.faults:
            self.engine.refuses = "" if self.engine.refuses else "full"
            self.unanswered = True
            self.note("refuses", self.engine.refuses)

    def die(self, draw: Draw) -> None:
        """A worker dies with all it has, and another one begins."""
        if not self.faults:
            return
        worker = self.worker(draw)
        self.note(worker, "dies")
        self.workers.remove(worker)
        worker.link.close()
        for browser in self.browsers:
            if browser.worker is worker:
                browser.leave()
        self.published = [each for each in self.published if each.worker is not worker or each.told]
        self.start()


STEPS: dict[str, Any] = {
    "connect": 10,
    "subscribe": 16,
    "unsubscribe": 3,
    "come_back": 6,
    "send": 20,
    "burst": 4,
    "transact": 3,
    "publish": 14,
    "ack": 12,
    "leave": 3,
    "stop_reading": 4,
    "return_call": 8,
    "execute": 60,
    "answer": 40,
    "push": 40,
    "lose_push": 2,
    "double_push": 2,
    "lose_answer": 1,
    "lose_link": 4,
    "renew_link": 8,
    "save": 5,
    "restart": 3,
    "trim": 1,
    "refuse": 1,
    "die": 1,
    "advance": 4,
    "calm": 2,
}
"""How often each step is taken."""

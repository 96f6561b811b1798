"""The scripts against the naive engine: random commands, of which both must say the same.

Rule: epochs and generations are random, so they are the same up to their names. Another run of
Redis is another name of the run, with what a dump of all keys has kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from redis import Redis

from stocksync_ws.backplane import Append, Appended, AppendOutcome, History, Item, Keep, Read
from stocksync_ws.position import Position
from stocksync_ws.redis.packing import Names, Packer, appended, history
from stocksync_ws.redis.scripts import APPEND, READ
from stocksync_ws.testing import MemoryBackplane
from tests.redis.servers import Server

CHANNELS = st.sampled_from(["/topic/a", "/topic/b"])
WORKERS = st.sampled_from(["w1", "w2"])
KEEPS = st.builds(
    Keep,
    st.integers(1, 6),
    st.just(1_000.0),
    st.sampled_from([None, None, None, "", "x", "y", "{z} "]),
)
KEEP = Keep(1_000, 1_000.0)
NAMES = Names("scripts")
MOST_RUNS = 12
"""Redis knows the last 16 generations, the naive engine knows all."""


class Real:
    """The scripts on a server."""

    def __init__(self, server: Server) -> None:
        self.client = Redis(port=server.port)
        self.client.flushall()
        self.digests = [str(self.client.script_load(text)) for text in (APPEND, READ)]
        self._tokens = count()
        self.run = 0
        self._packers: dict[str, Packer] = {}

    def packer(self, worker: str) -> Packer:
        """As a worker has one for each connection."""
        if worker not in self._packers:
            digests, tokens = (self.digests[0], self.digests[1]), self._tokens
            self._packers[worker] = Packer(
                NAMES, worker, str(self.run), digests, "PUBLISH", lambda bits: f"t{next(tokens)}-"
            )
        return self._packers[worker]

    def send(self, packed: bytes) -> Any:
        connection = self.client.connection_pool.get_connection()
        try:
            connection.send_packed_command([packed])
            return connection.read_response(disable_decoding=True)
        finally:
            self.client.connection_pool.release(connection)

    def dump(self) -> dict[bytes, bytes]:
        return {key: self.client.dump(key) for key in self.client.scan_iter()}  # type: ignore[union-attr, misc]

    def load(self, dump: dict[bytes, bytes]) -> None:
        self.client.flushall()
        for key, value in dump.items():
            self.client.restore(key, 0, value)

    def restart(self, dump: dict[bytes, bytes]) -> None:
        self.load(dump)
        self.run += 1
        self._packers.clear()

    def append(self, append: Append, worker: str = "w1") -> Appended:
        packed = self.packer(worker).append(append)
        return appended(append.number, self.send(packed), ours=0)[0]

    def read(self, read: Read, worker: str = "w1") -> History:
        return history(read, self.send(self.packer(worker).read(read)))[0]


class Same:
    """Names of one side that mean what names of the other mean."""

    def __init__(self) -> None:
        self._theirs: dict[object, object] = {}
        self._ours: dict[object, object] = {}

    def check(self, ours: object, theirs: object) -> None:
        assert self._theirs.setdefault(ours, theirs) == theirs, (ours, theirs)
        assert self._ours.setdefault(theirs, ours) == ours, (ours, theirs)


class Scripts(RuleBasedStateMachine):
    server: Server

    @initialize()
    def begin(self) -> None:
        self.real = Real(self.server)
        self.naive = MemoryBackplane().engine
        self.numbers = {"w1": count(1), "w2": count(1)}
        self.last: dict[str, Append] = {}
        self.seen: dict[str, list[tuple[Position, Position]]] = {}
        self.epochs, self.generations = Same(), Same()
        self.saved: tuple[object, dict[bytes, bytes]] = self.naive.snapshot(), {}
        self.runs = 0
        self.answers: dict[tuple[str, int], list[tuple[Position, ...]]] = {}
        """What was answered when it was done; a state that is lost has it done again."""

    def position(self, channel: str, ours: Position, theirs: Position) -> None:
        """One place, on both sides."""
        self.epochs.check((channel, ours.epoch), (channel, theirs.epoch))
        self.generations.check(
            (channel, ours.epoch, ours.generation), (channel, theirs.epoch, theirs.generation)
        )
        assert ours.offset == theirs.offset
        self.seen.setdefault(channel, []).append((ours, theirs))

    def append(self, worker: str, one: Append, other: Append) -> None:
        ours, _ = self.naive.append(worker, one, 0.0)
        theirs = self.real.append(other, worker)
        assert ours.outcome is theirs.outcome
        if ours.outcome is not AppendOutcome.REPEATED:
            self.answers.setdefault((worker, other.number), []).append(theirs.positions)
        elif not ours.positions:
            # Nobody asks below `oldest`: what is remembered of it is forgotten now and then.
            assert theirs.positions in ((), *self.answers.get((worker, other.number), ()))
            return
        assert len(ours.positions) == len(theirs.positions)
        for item, here, there in zip(one.items, ours.positions, theirs.positions, strict=False):
            self.position(item.channel, here, there)

    @rule(
        worker=WORKERS,
        channels=st.lists(CHANNELS, min_size=1, max_size=3),
        keep=KEEPS,
        payload=st.binary(max_size=5),
        key=st.sampled_from(["", "", "", "k", "l"]),
        back=st.integers(0, 5),
        data=st.data(),
    )
    def append_something(
        self,
        worker: str,
        channels: list[str],
        keep: Keep,
        payload: bytes,
        key: str,
        back: int,
        data: st.DataObject,
    ) -> None:
        seen = [self.draw_seen(channel, data) for channel in channels]
        number = next(self.numbers[worker])
        digest = payload.hex() if key else ""
        sides: list[Append] = []
        for side in (0, 1):
            items = tuple(
                Item(channel, payload, keep, None if each is None else each[side])
                for channel, each in zip(channels, seen, strict=True)
            )
            sides.append(Append(number, items, key, digest, max(1, number - back)))
        self.last[worker] = sides[0]
        self.append(worker, *sides)

    def draw_seen(self, channel: str, data: st.DataObject) -> tuple[Position, Position] | None:
        known = self.seen.get(channel)
        return data.draw(st.none() | st.sampled_from(known)) if known else None

    @rule(worker=WORKERS, less=st.integers(0, 2))
    def append_again(self, worker: str, less: int) -> None:
        if worker in self.last:
            again = replace(
                self.last[worker],
                number=max(1, self.last[worker].number - less),
                items=tuple(replace(item, seen=None) for item in self.last[worker].items),
                key="",
                digest="",
            )
            self.append(worker, again, again)

    @rule(worker=WORKERS, channel=CHANNELS, start=st.none() | st.integers(1, 9), data=st.data())
    def read(self, worker: str, channel: str, start: int | None, data: st.DataObject) -> None:
        seen = self.draw_seen(channel, data)
        ours = self.naive.read(Read(channel, 1, start, None if seen is None else seen[0]))
        asked = Read(channel, 1, start, None if seen is None else seen[1])
        theirs = self.real.read(asked, worker)
        self.position(channel, ours.top, theirs.top)
        assert ours.lost == theirs.lost
        assert ours.complete_to == theirs.complete_to
        assert [offset for _, offset in ours.begins] == [offset for _, offset in theirs.begins]
        for (here, _), (there, _) in zip(ours.begins, theirs.begins, strict=True):
            self.generations.check(
                (channel, ours.top.epoch, here), (channel, theirs.top.epoch, there)
            )
        assert [payload for _, payload in ours.entries] == [body for _, body in theirs.entries]
        for (place, _), (other, _) in zip(ours.entries, theirs.entries, strict=True):
            self.position(channel, place, other)

    @rule()
    def save(self) -> None:
        self.saved = self.naive.snapshot(), self.real.dump()

    @rule(what=st.sampled_from(["all", "saved", "nothing"]))
    def restart(self, what: str) -> None:
        if self.runs == MOST_RUNS:
            return
        self.runs += 1
        state = {
            "all": (self.naive.snapshot(), self.real.dump()),
            "saved": self.saved,
            "nothing": (None, {}),
        }[what]
        self.naive.restart(state[0])
        self.real.restart(state[1])

    @invariant()
    def nothing_grows(self) -> None:
        """What a worker has done is known no longer than it may come again."""
        for key in self.real.client.keys("*:d:*") if hasattr(self, "real") else ():  # type: ignore[union-attr]
            assert self.real.client.llen(key) <= 8 * 3  # type: ignore[operator]

    def teardown(self) -> None:
        if hasattr(self, "real"):
            self.real.client.close()


@pytest.fixture(scope="module")
def exact(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A server whose streams are trimmed to the message."""
    made = Server(tmp_path_factory.mktemp("redis"), "--stream-node-max-entries", "1")
    yield made
    made.kill()


def test_the_scripts_do_what_the_naive_engine_does(exact: Server) -> None:
    Scripts.server = exact
    Scripts.TestCase.settings = settings(
        max_examples=60,
        stateful_step_count=40,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
    Scripts.TestCase("runTest").runTest()


@pytest.fixture
def real(exact: Server) -> Iterator[Real]:
    made = Real(exact)
    yield made
    made.client.close()


def message(number: int, keep: Keep = KEEP, channel: str = "/topic/a") -> Append:
    """An append of the number as its payload."""
    return Append(number, (Item(channel, b"%d" % number, keep, None),), oldest=number)


def test_what_a_worker_has_done_is_forgotten_when_it_may_not_come_again(real: Real) -> None:
    done = NAMES.done("/topic/a", "w1")
    first: dict[int, Appended] = {}
    for number in range(1, 101):
        first[number] = real.append(replace(message(number), oldest=max(1, number - 19)))
        assert real.client.llen(done) < 20 + 16  # type: ignore[operator]
    for number in range(81, 101):
        again = real.append(replace(message(number), oldest=81))
        assert again.outcome is AppendOutcome.REPEATED
        assert again.positions == first[number].positions
    assert real.append(message(1)) == Appended(1, AppendOutcome.REPEATED)
    assert real.client.xlen(NAMES.stream("/topic/a")) == 100


def commands(real: Real, work: Callable[[], object]) -> list[list[str]]:
    """The commands that Redis runs meanwhile, those of its scripts too."""
    with real.client.monitor() as monitor:
        work()
        real.client.echo("end")
        found: list[list[str]] = []
        while not found or found[-1][0] != "ECHO":
            found.append(str(monitor.next_command()["command"]).split())
    return found


def test_what_may_come_again_is_not_looked_through_at_each_append(real: Real) -> None:
    """All commands of a burst know the same oldest one: nothing can be forgotten meanwhile."""
    for number in range(1, 201):
        real.append(replace(message(number), oldest=1))
    done = NAMES.done("/topic/a", "w1")
    assert real.client.llen(done) == 200

    def work() -> None:
        for number in range(201, 265):
            real.append(message(number))

    looks = [each[-2:] for each in commands(real, work) if each[0] == "LRANGE"]
    assert looks == [["0", "63"]] * 4
    assert real.client.llen(done) < 200, "it gets shorter when something may be forgotten"  # type: ignore[operator]


def test_one_of_many_that_come_again_is_found_without_a_look_at_all(real: Real) -> None:
    first = {
        number: real.append(replace(message(number), oldest=1)) for number in range(2, 2_001, 2)
    }
    for number in (2, 1_000, 1_002, 2_000):
        seen: list[Appended] = []
        work = lambda: seen.append(real.append(message(number)))  # noqa: B023, E731
        asked = [each[0] for each in commands(real, work) if each[0] in ("LINDEX", "LRANGE")]
        assert len(asked) <= 12
        assert set(asked) == {"LINDEX"}
        assert seen[0].outcome is AppendOutcome.REPEATED
        assert seen[0].positions == first[number].positions
    for number in (1, 3, 1_001, 1_999):
        assert real.append(message(number)) == Appended(number, AppendOutcome.REPEATED)


def test_an_epoch_is_never_used_twice_on_one_connection(real: Real) -> None:
    """Redis may lose everything without an end of the connection."""
    read = Read("/topic/a", 1, None, None)
    epochs: list[str] = []
    for number in range(1, 4):
        real.client.flushall()
        epochs.append(real.append(message(number)).positions[0].epoch)
        real.client.flushall()
        epochs.append(real.read(read).top.epoch)
    assert len(set(epochs)) == 6


def test_channels_that_begin_in_one_step_have_an_epoch_each(real: Real) -> None:
    items = tuple(Item(f"/topic/{name}", b"x", KEEP, None) for name in "abc")
    positions = real.append(Append(1, items, oldest=1)).positions
    assert len({each.epoch for each in positions}) == 3


def test_a_generation_is_never_used_twice_on_one_connection(real: Real) -> None:
    """Redis may load an older state without an end of the connection."""
    real.append(message(1))
    saved = real.dump()
    real.restart(saved)
    read = Read("/topic/a", 1, None, None)
    generations: list[int] = []
    for number in range(2, 5):
        real.load(saved)
        generations.append(real.append(message(number)).positions[0].generation)
        real.load(saved)
        generations.append(real.read(read).top.generation)
    assert len(set(generations)) == 6


@pytest.mark.parametrize("slot", [None, "x"])
def test_what_is_older_than_it_is_kept_leaves(real: Real, slot: str | None) -> None:
    """The time of a message is what Redis has written beside it."""
    keep = Keep(1_000, 60.0)
    real.append(message(1, keep))
    stream, (now, _) = NAMES.stream("/topic/a"), real.client.time()  # type: ignore[misc]
    for offset in range(2, 101):
        age = 70 if offset <= 90 else 50
        entry = {"d": offset, "g": 0, "t": now - age}
        real.client.xadd(stream, entry, id=f"{offset}-0")  # type: ignore[arg-type]
    real.client.hset(NAMES.facts("/topic/a"), "s", 100)
    real.client.xtrim(stream, minid="2-0")  # the first one is of now
    for number in range(2, 10):
        real.append(message(number, keep._replace(slot=slot)))
    oldest = real.read(Read("/topic/a", 1, 1, None)).entries[0][0].offset
    assert oldest in range(60, 92), "it is looked for now and then, 64 messages at a time"
    for number in range(10, 26):
        real.append(message(number, keep._replace(slot=slot)))
    assert real.read(Read("/topic/a", 1, 1, None)).entries[0][0].offset == 91

"""One run: collect the tests, find what covers what, take the sample, try each fault, and report.

Everything happens inside one session of pytest, which has collected and imported all tests; what
tries a fault is forked off it.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import pytest

from tests.mutate import judged
from tests.mutate.covering import Covering, covering, import_all
from tests.mutate.places import Place, codes, places_of, sample
from tests.mutate.trials import Bench, Failures, Verdict

__all__ = ["SEED", "Plan", "Session", "mutate"]

SEED = 1
"""Of the sample that the list of survivors is about."""
LEAST = 0.95
"""Of what is neither equivalent nor harmless, the part that has to be killed in each package."""


@dataclass(frozen=True)
class Plan:
    """What is mutated, and by what it is judged."""

    root: Path
    package: str
    quotas: Mapping[str, int]
    """Places by sub-package."""
    tests: Sequence[str]
    """As pytest takes them."""
    judged: Path
    seed: int = SEED
    jobs: int = 1
    only: str = ""
    """Of the sample, the places whose description contains it."""
    recheck: bool = False
    """Try what stands in the list, too: it may be killed today."""
    state: Path | None = None
    """A folder that keeps coverage and kills, for another run of the same code."""


@dataclass
class Row:
    """What came of the places of one package."""

    name: str
    killed: int = 0
    kinds: dict[str, int] = field(default_factory=lambda: dict.fromkeys(judged.KINDS, 0))
    survivors: list[str] = field(default_factory=list)

    @property
    def ratio(self) -> float:
        judging = self.killed + len(self.survivors)
        return self.killed / judging if judging else 1.0

    def __str__(self) -> str:
        kinds = "".join(f"{self.kinds[kind]:>12}" for kind in judged.KINDS)
        total = self.killed + sum(self.kinds.values()) + len(self.survivors)
        numbers = f"{total:>8}{self.killed:>8}{kinds}{len(self.survivors):>11}"
        return f"{self.name:<12}{numbers}{self.ratio:>9.1%}"


HEAD = "package       places  killed  equivalent    harmless  survivors   killed"


def mutate(plan: Plan) -> int:
    """Run a plan.

    Returns:
        0; 1 if too few faults were killed or the list is stale; 2 if nothing could be judged.
    """
    options = ["-s", "-p", "no:cacheprovider", "-o", "addopts=--import-mode=importlib", "-q", "-q"]
    with os.fdopen(os.dup(sys.stdout.fileno()), "w") as out:
        session = Session(plan, lambda line: print(line, file=out, flush=True))
        pytest.main([*options, f"--rootdir={plan.root}", *plan.tests], plugins=[session])
    return session.code


class Session:
    """A plugin: all of the run, in the place of running the tests."""

    def __init__(self, plan: Plan, say: Callable[[str], None]) -> None:
        self._plan = plan
        self._say = say
        self.code = 2

    def pytest_configure(self, config: pytest.Config) -> None:
        """A property draws the same inputs in each child, and does not shrink what fails."""
        # Imported before pytest looks at its plugins, its assertions could not be rewritten.
        from hypothesis import Phase, settings

        kept = settings.get_profile(settings.get_current_profile_name())
        phases = (Phase.explicit, Phase.generate)
        settings.register_profile("mutate", kept, derandomize=True, phases=phases)
        settings.load_profile("mutate")

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        if session.testsfailed:
            self._say("the tests cannot be collected")
            return True
        plan, failures = self._plan, Failures()
        session.config.pluginmanager.register(failures)
        import_all(plan.root, plan.package)
        found = self._covering(session.items, failures)
        wanted, every = self._places(found)
        self._say(f"{len(wanted)} places of {len(every)}")
        # A test that is parametrized by a set stands elsewhere in each process.
        items = {item.nodeid: item for item in session.items}
        bench = Bench([items[name] for name in found.tests], found.seconds, failures)
        verdicts = self._try(bench, found, wanted)
        self.code = self.report(wanted, every, verdicts)
        return True

    def _covering(self, items: Sequence[pytest.Item], failures: Failures) -> Covering:
        plan = self._plan
        folder = plan.state or Path(tempfile.mkdtemp())
        folder.mkdir(exist_ok=True)
        path = folder / f"covering-{self._digest(items)}.json"
        try:
            if path.exists():
                return Covering.load(path)
            return covering(plan.root, plan.package, items, failures, path, self._say)
        finally:
            if plan.state is None:
                shutil.rmtree(folder)

    def _digest(self, items: Sequence[pytest.Item]) -> str:
        files = {*(self._plan.root / self._plan.package).rglob("*.py"), *(i.path for i in items)}
        digest = sha256("\n".join(sorted(item.nodeid for item in items)).encode())
        for file in sorted(files):
            digest.update(file.read_bytes())
        return digest.hexdigest()[:16]

    def _places(self, found: Covering) -> tuple[list[Place], list[Place]]:
        """The sample, and everything it was taken of."""
        plan = self._plan
        wanted: list[Place] = []
        every: list[Place] = []
        for package, quota in plan.quotas.items():
            files = sorted((plan.root / plan.package / package).rglob("*.py"))
            names = [file.relative_to(plan.root).as_posix() for file in files]
            places = [place for name in names for place in places_of(plan.root, name, plan.seed)]
            every += places
            alive = [p for p in places if not found.is_import_only(p.file, p.lines)]
            wanted += sample(alive, quota, plan.seed)
        return [place for place in wanted if plan.only in str(place)], every

    def _try(self, bench: Bench, found: Covering, places: Sequence[Place]) -> dict[Place, Verdict]:
        verdicts = dict(self._kept(places))
        if not self._plan.recheck:
            listed = judged.read(self._plan.judged)
            verdicts |= {place: Verdict(False) for place in places if place.key in listed}
        left = [place for place in places if place not in verdicts]

        def one(place: Place) -> Verdict:
            order = found.of(place.file, place.lines)
            if not order:
                return Verdict(False)
            code = codes(self._plan.root, place)
            return bench.try_fault(self._plan.root / place.file, code, order)

        for index, verdict in _spread(left, one, self._plan.jobs):
            place = left[index]
            verdicts[place] = verdict
            word = "killed  " if verdict.killed else "SURVIVES" if verdict.tests else "NO TEST "
            counted = f"[{len(verdicts):>3}/{len(places)}]"
            self._say(f"{counted} {word} {verdict.seconds:5.1f} s  {place}")
            self._keep(place, verdict)
        return verdicts

    # Kills that an earlier run of the same code has left

    @property
    def _path(self) -> Path | None:
        return self._plan.state and self._plan.state / f"kills-{self._code_digest}.jsonl"

    @property
    def _code_digest(self) -> str:
        digest = sha256()
        for file in sorted((self._plan.root / self._plan.package).rglob("*.py")):
            digest.update(file.read_bytes())
        return digest.hexdigest()[:16]

    def _kept(self, places: Sequence[Place]) -> Iterator[tuple[Place, Verdict]]:
        if self._path is None or not self._path.exists():
            return
        lines = [json.loads(line) for line in self._path.read_text().splitlines()]
        known = {tuple(line["place"]): Verdict(True, line["by"]) for line in lines}
        for place in places:
            if (*place.key, place.count) in known:
                yield place, known[*place.key, place.count]

    def _keep(self, place: Place, verdict: Verdict) -> None:
        if self._path is not None and verdict.killed:
            with self._path.open("a") as file:
                entry = {"place": [*place.key, place.count], "by": verdict.by}
                file.write(json.dumps(entry) + "\n")

    # What came of it

    def report(
        self, wanted: Sequence[Place], every: Sequence[Place], verdicts: Mapping[Place, Verdict]
    ) -> int:
        """Say what came of the sample; the exit code.

        Args:
            every: The places that the sample was taken of.
        """
        plan = self._plan
        listed = judged.read(plan.judged)
        rows = {package: Row(package) for package in plan.quotas}
        for place in wanted:
            row = rows[self._package_of(place)]
            verdict = verdicts[place]
            if verdict.killed:
                row.killed += 1
            elif place.key in listed:
                row.kinds[listed[place.key].kind] += 1
            else:
                row.survivors.append(f"{place}   ({verdict.tests} tests)")
        self._say(HEAD)
        for row in rows.values():
            self._say(str(row))
        for line in [line for row in rows.values() for line in row.survivors]:
            self._say(f"survives: {line}")
        killed = {place.key for place in wanted if verdicts[place].killed}
        packages = tuple(f"{plan.package}/{package}/" for package in plan.quotas)
        ours = [each for each in listed.values() if each.file.startswith(packages)]
        ours = ours if plan.seed == SEED else []
        old = judged.stale(ours, {place.key for place in every}, killed)
        for line in old:
            self._say(f"{plan.judged.name}: {line}")
        return int(bool(old) or any(row.ratio < LEAST for row in rows.values()))

    def _package_of(self, place: Place) -> str:
        inside = place.file.removeprefix(f"{self._plan.package}/")
        return next(name for name in self._plan.quotas if inside.startswith(f"{name}/"))


def _spread(
    places: Sequence[Place], one: Callable[[Place], Verdict], jobs: int
) -> Iterator[tuple[int, Verdict]]:
    """The verdict on each place, as they come from so many workers.

    A worker takes the next number from one pipe, and writes what it found into another, in lines
    that are short enough to be written whole.
    """
    numbers, give = os.pipe()
    take, told = os.pipe()
    os.write(give, b"".join(index.to_bytes(2) for index in range(len(places))))
    os.close(give)
    workers = [_worker(numbers, told, places, one) for _ in range(jobs)]
    os.close(numbers)
    os.close(told)
    with os.fdopen(take) as lines:
        for line in lines:
            index, fields = json.loads(line)
            yield index, Verdict(*fields)
    for worker in workers:
        if os.waitpid(worker, 0)[1]:
            raise RuntimeError("a worker did not come to its end")


def _worker(
    numbers: int, told: int, places: Sequence[Place], one: Callable[[Place], Verdict]
) -> int:
    child = os.fork()
    if child:
        return child
    try:
        while taken := os.read(numbers, 2):
            index = int.from_bytes(taken)
            found = one(places[index])
            fields = [found.killed, found.by[:1000], found.tests, found.seconds]
            os.write(told, json.dumps([index, fields]).encode() + b"\n")
        os._exit(0)
    except BaseException as problem:
        print(f"a worker fails: {problem!r}", file=sys.stderr, flush=True)
    finally:
        os._exit(1)

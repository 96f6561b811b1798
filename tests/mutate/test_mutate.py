"""The script that puts faults into the code, on a package that is made for it."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.mutate.__main__ import NOT, QUOTAS, ROOT
from tests.mutate.judged import Judged, read, stale
from tests.mutate.operators import edits, text_of
from tests.mutate.places import codes, places_of, sample
from tests.mutate.running import Plan, Session
from tests.mutate.trials import Verdict

LEDGER = '''"""A package to put faults into."""

def few(count):
    if count < 10:
        return True
    return False

def note(words, word):
    words.append(word)

def _at_import():
    return sorted("cab")

LETTERS = _at_import()
'''
TESTS = """
from shop.stock import ledger

def test_few():
    assert ledger.few(9)
    assert ledger.few(10) is False

def test_note():
    ledger.note([], "a")

def test_that_fails_by_itself():
    assert ledger.few(11)
"""
LIST = """
[[survivor]]
file = "shop/stock/ledger.py"
function = "note"
was = "words.append(word)"
now = "pass"
kind = "harmless"
reason = "Nobody reads them."
"""
RUN = """
import sys
from pathlib import Path
from tests.mutate.running import Plan, mutate

root = Path.cwd()
plan = Plan(root, "shop", {"stock": 40}, ["test_ledger.py"], root / "judged.toml", jobs=2,
            state=root / "state")
sys.exit(mutate(plan))
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    folder = tmp_path / "shop" / "stock"
    folder.mkdir(parents=True)
    for each in (tmp_path / "shop", folder):
        (each / "__init__.py").write_text("")
    (folder / "ledger.py").write_text(LEDGER)
    (tmp_path / "test_ledger.py").write_text(TESTS)
    (tmp_path / "judged.toml").write_text("")
    return tmp_path


def mutated(tree: Path) -> tuple[int, str]:
    """Exit code and output of a run."""
    paths = os.pathsep.join((str(tree), str(ROOT)))
    done = subprocess.run(
        [sys.executable, "-c", RUN],
        cwd=tree,
        env=os.environ | {"PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.slow
def test_what_a_test_sees_is_killed_and_what_none_sees_survives(tree: Path) -> None:
    code, told = mutated(tree)
    assert code == 1, told
    assert "fails as the code is, and judges nothing: test_ledger.py::test_that_fails" in told
    assert re.search(r"^stock +4 +3 +0 +0 +1 +75\.0%$", told, re.MULTILINE), told
    survivor = "shop/stock/ledger.py:9 note: words.append(word)  ->  (deleted)"
    assert f"survives: {survivor}   (1 tests)" in told
    assert "_at_import" not in told


@pytest.mark.parametrize(
    ("listed", "killed", "code", "row"),
    [
        ("", (), 1, "stock              1       0           0           0          1     0.0%"),
        (LIST, (), 0, "stock              1       0           0           1          0   100.0%"),
        (
            "",
            ("note",),
            0,
            "stock              1       1           0           0          0   100.0%",
        ),
        (LIST, ("note",), 1, "judged.toml: is killed: shop/stock/ledger.py note: words"),
        (LIST.replace("words", "other"), ("note",), 1, "judged.toml: matches no fault: "),
    ],
)
def test_a_survivor_that_nobody_minds_does_not_count(
    tree: Path, listed: str, killed: tuple[str, ...], code: int, row: str
) -> None:
    path = tree / "judged.toml"
    path.write_text(listed)
    told: list[str] = []
    session = Session(Plan(tree, "shop", {"stock": 40}, (), path), told.append)
    every = places_of(tree, "shop/stock/ledger.py", 1)
    [place] = [place for place in every if place.function == "note"]
    verdict = Verdict(place.function in killed, tests=1)
    assert session.report([place], every, {place: verdict}) == code
    assert [line for line in told if line.startswith(row)]


# Faults


def faults(source: str, *known: str) -> set[str]:
    """What the one statement of a function may become."""
    tree = ast.parse(source)
    return {edit.text for edit in edits(tree, "body", 0, frozenset(known))}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("if a < b: pass", {"if a <= b:"}),
        ("while a >= b: pass", {"while a > b:"}),
        ("if a is None: pass", {"if a is not None:"}),
        ("if a in b and c: pass", {"if a not in b and c:", "if a in b or c:"}),
        ("if not a: pass", {"if a:"}),
        ("if a: pass", {"if not a:"}),
        ("for a in b[1:]: pass", {"for a in b[2:]:", "for a in b[0:]:"}),
        ("with a(True): pass", {"with a(False):"}),
        ("return a + 1", {"return None", "return a - 1", "return a + 2", "return a + 0"}),
        ("return 'a' + b", {"return None"}),
        ("return a[0]", {"return None", "return a[1]", "return a[-1]"}),
        ("return b if a else c", {"return None", "return b if not a else c"}),
        ("return True", {"return False"}),
        ("return None", set()),
        ("return", {"pass"}),
        ("return min(a)", {"return None", "return max(a)"}),
        ("a.b = c", {"pass"}),
        ("a = b", set()),
        ("a, b = c", set()),
        ("a += 2", {"pass", "a -= 2", "a += 3", "a += 1"}),
        ("a += 'x'", {"pass"}),
        ("a()", {"pass"}),
        ("yield a", {"pass"}),
        ("del a[b]", {"pass"}),
        ("break", {"pass", "continue"}),
        ("continue", {"pass", "break"}),
        ("raise E(1) from None", {"pass"}),
        ("self._log.error('%d', 1)", {"pass"}),
        ("_log.debug('%d', 1)", set()),
        ("'a docstring'", set()),
        ("assert a == 1", set()),
        ("a: Literal[1] = b", set()),
        ("import a", set()),
        ("def f(a=1): pass", set()),
    ],
)
def test_the_faults_of_a_statement(source: str, expected: set[str]) -> None:
    assert faults(source) == expected


def test_a_name_that_has_a_value_may_keep_it() -> None:
    assert faults("a = b", "a") == {"pass"}
    assert faults("a, b = c", "a", "b") == {"pass"}
    assert faults("self.a = b") == set()
    assert faults("self.a = b", "self.") == {"pass"}


def test_a_fault_is_gone_again() -> None:
    tree = ast.parse("return a < 1")
    for edit in edits(tree, "body", 0, frozenset()):
        assert edit.text != "return a < 1"
        assert text_of(tree.body[0]) == "return a < 1"


def test_a_fault_keeps_what_a_function_closes_over_and_what_it_is(tmp_path: Path) -> None:
    source = "def f(a):\n    def g():\n        yield a\n    return g\n"
    (tmp_path / "m.py").write_text(source)
    [place, _] = places_of(tmp_path, "m.py", 1)
    changed = codes(tmp_path, place)["f.<locals>.g", 2]
    scope: dict[str, object] = {}
    exec(source, scope)
    made = scope["f"](1)  # type: ignore[operator]
    made.__code__ = changed
    assert list(made()) == []


# Places


BEFORE = "def f(a):\n    g(a)\n    g(a)\n    return a\n"


@pytest.mark.parametrize(
    "after",
    ["import x\n\n\n" + BEFORE, "def g(a):\n    return 1\n\n\n" + BEFORE, BEFORE + "# more\n"],
)
def test_a_place_is_the_same_wherever_it_stands(tmp_path: Path, after: str) -> None:
    (tmp_path / "m.py").write_text(BEFORE)
    before = {place.name: place.now for place in places_of(tmp_path, "m.py", 1)}
    (tmp_path / "m.py").write_text(after)
    assert len(before) == 3
    found = {place.name: place.now for place in places_of(tmp_path, "m.py", 1)}
    assert before.items() <= found.items()


def test_of_each_file_as_many_are_taken_as_of_any_other(tmp_path: Path) -> None:
    long = "\n".join(f"def f{number}():\n    return {number}\n" for number in range(50))
    for name, text in (("long.py", long), ("short.py", BEFORE)):
        (tmp_path / name).write_text(text)
    every = [place for name in ("long.py", "short.py") for place in places_of(tmp_path, name, 1)]
    files = [place.file for place in sample(every, 10, 1)]
    assert (files.count("short.py"), files.count("long.py")) == (3, 7)
    assert sample(every, 10, 1) == sample(every[::-1], 10, 1)


def test_three_hundred_places_are_taken_and_forty_at_least_of_each_package() -> None:
    assert sum(QUOTAS.values()) == 300
    assert min(QUOTAS.values()) == 40
    assert all((ROOT / "tests" / name).is_dir() for name in NOT)


# The list


def test_every_entry_has_a_kind_and_a_reason_and_stands_there_once(tmp_path: Path) -> None:
    path = tmp_path / "list.toml"
    path.write_text(LIST)
    assert [entry.kind for entry in read(path).values()] == ["harmless"]
    bad = LIST * 2, LIST.replace("harmless", "good"), LIST.replace("Nobody reads them.", " ")
    for text in bad:
        path.write_text(text)
        with pytest.raises(ValueError, match=r"note: words\.append"):
            read(path)


def test_what_matches_no_fault_or_is_killed_has_to_leave_it() -> None:
    entry = Judged("f", "g", "was", "now", "harmless", "why")
    assert stale([entry], {entry.key}, set()) == []
    assert stale([entry], set(), set()) == ["matches no fault: f g: was  ->  now"]
    assert stale([entry], {entry.key}, {entry.key}) == ["is killed: f g: was  ->  now"]


@pytest.mark.pure("reads the sources of the checkout, which has no package here")
def test_the_list_of_the_house_can_be_read() -> None:
    files = {entry.file for entry in read(Path(__file__).with_name("judged.toml")).values()}
    assert all((ROOT / file).is_file() for file in files)

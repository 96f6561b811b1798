"""The public names, held by a snapshot: a change of them is a change of `public_api.txt`.

After a wanted change:

    python -m tests.laws.test_api --write
"""

from __future__ import annotations

import difflib
import inspect
import sys
from pathlib import Path

from tests.laws.api import describe, function_line, public_packages

SNAPSHOT = Path(__file__).with_name("public_api.txt")


def test_the_public_api_is_the_one_that_was_agreed() -> None:
    now, then = describe(public_packages()), SNAPSHOT.read_text()
    change = "\n".join(difflib.unified_diff(then.splitlines(), now.splitlines(), lineterm=""))
    assert not change, f"public names changed; see the head of this file:\n{change}"


def test_every_public_name_exists_once_and_is_documented() -> None:
    for package in public_packages():
        names = package.__all__
        assert len(names) == len(set(names)), package.__name__
        for name in names:
            value = getattr(package, name)
            if inspect.isclass(value) or inspect.isfunction(value):
                assert (value.__doc__ or "").strip(), f"{package.__name__}.{name}"


def test_a_change_of_a_signature_is_seen() -> None:
    def old(a: int, *, b: str = "x") -> None: ...
    def new(a: int, *, b: str = "y") -> None: ...

    assert function_line("f", old) == "def f(a: int, *, b: str = 'x') -> None"
    assert function_line("f", new) != function_line("f", old)


if __name__ == "__main__":
    if "--write" in sys.argv:
        SNAPSHOT.write_text(describe(public_packages()))
    else:
        sys.exit(__doc__)

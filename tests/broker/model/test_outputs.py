"""What a step has for the world: what must be taken at once, and what in the next turn."""

from __future__ import annotations

import pytest

from stocksync_ws.broker.model.crowd import Crowd
from stocksync_ws.broker.model.outputs import Outputs, drain
from tests.broker.model.office import Office, entry

URGENT = {"aborts", "answers", "calls", "cancels", "reads"}
PENDING = {"calls", "cancels", "crowd", "dirty", "engine"}


# A compiled class has its slots, and no list of them.
@pytest.mark.parametrize("name", getattr(Outputs, "__slots__", sorted(URGENT | PENDING)))
def test_each_output_is_urgent_or_pending_or_both(name: str) -> None:
    outputs = Outputs()
    assert (outputs.urgent, outputs.pending) == (False, False)
    if name == "crowd":
        outputs.crowd = Crowd(entry(), [], Office().env.office, lambda given, mailboxes: None)
    else:
        getattr(outputs, name).append("something")
    assert outputs.urgent is (name in URGENT)
    assert outputs.pending is (name in PENDING)
    assert outputs.urgent or outputs.pending


def test_whoever_takes_what_is_in_a_list_empties_it_and_the_list_lives_on() -> None:
    outputs = Outputs()
    kept = outputs.dirty
    kept += ["one", "two"]  # type: ignore[list-item]
    taken = drain(outputs.dirty)
    assert taken == ["one", "two"]
    assert outputs.dirty is kept
    assert kept == []
    kept.append("three")  # type: ignore[arg-type]
    assert taken == ["one", "two"]

"""The way in of one session: whether it may decode, and whether anything is left to do."""

from __future__ import annotations

from collections import deque
from typing import Any

import pytest

from stocksync_ws.broker.model.inbound import Inbound
from stocksync_ws.config import Limits
from stocksync_ws.stomp.decoder import Decoder


def inbound(**slots: Any) -> Inbound:
    made = Inbound(Decoder(Limits()))
    for name, value in slots.items():
        setattr(made, name, value)
    return made


def test_a_fresh_one_may_decode_and_has_no_work() -> None:
    assert inbound().may_decode
    assert not inbound().has_work


@pytest.mark.pure("hands over a stand-in; compiled code takes its own records")
@pytest.mark.parametrize(
    ("slots", "may_decode"),
    [
        ({"task": object()}, False),
        ({"stuck": object()}, False),
        ({"decoder_empty": False}, True),
        ({"waiting": deque([b"x"])}, True),
    ],
    ids=lambda value: str(*value) if isinstance(value, dict) else "",
)
def test_each_of_these_is_work_and_only_a_frame_in_work_stops_decoding(
    slots: dict[str, Any], may_decode: bool
) -> None:
    made = inbound(**slots)
    assert made.has_work
    assert made.may_decode is may_decode


def test_what_waits_is_thrown_away_and_what_was_decoded_in_part_is_kept() -> None:
    made = inbound(waiting=deque([b"x"]), size=65, decoder_empty=False)
    decoder = made.decoder
    made.clear()
    assert (made.waiting, made.size) == (None, 0)
    assert made.decoder is decoder
    assert made.has_work


@pytest.mark.pure("hands over a stand-in; compiled code takes its own records")
def test_with_a_new_decoder_that_is_thrown_away_too_and_the_frame_in_work_stays() -> None:
    task: Any = object()
    made = inbound(waiting=deque([b"x"]), size=65, decoder_empty=False, task=task)
    decoder = Decoder(Limits())
    made.clear(decoder)
    assert made.decoder is decoder
    assert made.decoder_empty
    assert made.task is task
    made.task = None
    assert not made.has_work

"""The control log: what is written of a notice is what is read."""

from __future__ import annotations

from stocksync_ws.broker.model.control import AGE, CHANNEL, Notice, notice, read_notice


def test_a_notice_is_read_as_it_was_written_and_keeps_its_slot() -> None:
    message = notice(Notice.GONE, "w", "slot", destination="/topic/ä", owner="\0x")
    assert (message.channel, message.keep.seconds, message.keep.slot) == (CHANNEL, AGE, "slot")
    found = read_notice(message.payload)
    assert found is not None
    kind, worker, facts = found
    assert (kind, worker) == (Notice.GONE, "w")
    assert (facts["destination"], facts["owner"]) == ("/topic/ä", "\0x")


def test_a_kind_that_is_not_known_is_none() -> None:
    assert read_notice(b'{"kind":"weather","worker":"w"}') is None

"""Records of the SENDs of one session that wait for the engine."""

from __future__ import annotations

from stocksync_ws.broker.model.window import MOST_SENDS, SharedSend, Window
from stocksync_ws.stomp.frame import Frame


def test_a_window_is_empty_and_nobody_waits_behind_it() -> None:
    window = Window()
    assert not window.sends
    assert not window.waiting
    assert MOST_SENDS == 64


def test_a_send_has_no_settlement_until_the_engine_has_answered() -> None:
    frame = Frame("SEND", {"destination": "/topic/a"}, b"")
    send = SharedSend(frame)
    assert (send.frame, send.settlement) == (frame, None)

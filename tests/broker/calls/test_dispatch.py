"""What the broker asks of an application, where there is none."""

from __future__ import annotations

from typing import Any

import pytest

from stocksync_ws.broker.calls.dispatch import NullDispatch


def test_without_an_application_there_is_nothing_to_say() -> None:
    quiet: Any = NullDispatch()
    assert quiet.handshake(None) is quiet.connect(None, None) is None
    with pytest.raises(StopIteration) as ended:
        next(quiet.refresh(None, None))
    assert ended.value.value is None
    assert quiet.send(None, None, "/a") is quiet.subscribe(None, None, "/a") is None
    assert quiet.roles(None) is None
    assert quiet.refuses(None, "/a") is False
    assert quiet.has_rules is False
    assert quiet.judge(None, None, "SEND", "/a") is quiet.judge_answer(None, None, "/a") is None
    assert quiet.hears(None) is False
    assert quiet.has_inbound is False
    assert quiet.outbound is quiet.inbound(None, None) is quiet.delivery_filter("/topic/a") is None
    assert quiet.event(None) == ()

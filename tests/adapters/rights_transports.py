"""Rights over each transport of SockJS: what no rule opens is refused by each of them. Collected
where a fixture `serve` says over what; it has SockJS.

Rule: only bytes that come and go are looked at.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from carriers.sockjs import TRANSPORTS
from carriers.stage import Stage

Serve = Callable[..., Stage]


@pytest.mark.parametrize("transport", [*TRANSPORTS, "websocket"])
def test_a_closed_application_refuses_what_no_rule_opens(serve: Serve, transport: str) -> None:
    stage = serve(access="deny")
    for command, destination in (("SEND", "/app/say"), ("SUBSCRIBE", "/topic/say")):
        page = stage.page(transport).connect()
        page.send(command, {"destination": destination, "id": "1"})
        assert page.message("ERROR").headers["code"] == f"{command.lower()}-denied"
        assert page.closed().startswith("c[1008,")

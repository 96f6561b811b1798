"""One stompjs client on a page of ours."""

from __future__ import annotations

import json
from typing import Any

from peers.chromium import Page


class Peer:
    """One stompjs client on the page."""

    def __init__(self, page: Page, name: str, url: str, **options: Any) -> None:
        self._page = page
        self._name = json.dumps(name)
        page.run(f"start({self._name}, {json.dumps(url)}, {json.dumps(options)})")

    def note(self, what: str) -> Any:
        return self._page.run(f"noteOf({self._name}).{what}")

    def wait(self, condition: str) -> None:
        """Wait until it holds for the notes, which are called `it`."""
        self._page.wait(f"((it) => {condition})(noteOf({self._name}))")

    def messages(self, destination: str, count: int) -> list[Any]:
        """The bodies of all messages from there, once there are so many; JSON is read."""
        where = f"messagesOf({self._name}, {json.dumps(destination)})"
        self._page.wait(f"{where}.length >= {count}")
        found = [json.loads(message["text"]) for message in self._page.run(where)]
        assert len(found) == count
        return found

    def send(self, destination: str, body: str, **headers: str) -> None:
        arguments = f"{json.dumps(destination)}, {json.dumps(body)}, {json.dumps(headers)}"
        self._page.run(f"publish({self._name}, {arguments})")

    def send_bytes(self, destination: str, body: bytes) -> None:
        arguments = f"{json.dumps(destination)}, {list(body)}"
        self._page.run(f"publishBytes({self._name}, {arguments})")

    def adjust(self, product: str, delta: int, *, urgent: bool = False) -> None:
        body = json.dumps({"delta": delta, "urgent": urgent})
        self.send(f"/app/inventory/{product}/adjust", body, **{"content-type": "application/json"})

    def disconnect(self) -> None:
        self._page.run(f"clients[{self._name}].client.deactivate()")

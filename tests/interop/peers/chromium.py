"""A headless Chromium, driven over its DevTools protocol.

One thread, one socket: events are taken in while an answer is awaited, and kept per page. Waiting
happens inside the page, so nothing here guesses how long something takes.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from peers.tools import module

PATIENCE = 15.0
"""Seconds anything may take before the test fails."""

FLAGS = (
    "--headless",
    "--remote-debugging-port=0",
    "--remote-allow-origins=*",
    "--disable-background-networking",
    "--disable-background-timer-throttling",
    "--disable-backgrounding-occluded-windows",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    "--disable-gpu",
    "--disable-quic",
    "--disable-renderer-backgrounding",
    "--disable-sync",
    "--hide-scrollbars",
    "--no-default-browser-check",
    "--no-first-run",
    "--no-proxy-server",
)


class Chromium:
    """`with Chromium(executable, folder) as browser: page = browser.page()`."""

    def __init__(self, executable: str, folder: Path) -> None:
        client = module("websockets.sync.client", "websockets")
        profile = folder / "profile"
        flags = [*FLAGS, f"--user-data-dir={profile}"]
        if os.geteuid() == 0:
            flags.append("--no-sandbox")  # Chromium refuses to run as root with it.
        with (folder / "chromium.log").open("wb") as log:
            self._process = subprocess.Popen(
                [executable, *flags, "about:blank"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self._last = 0
        self._pages: dict[str, Page] = {}
        self._stack = ExitStack()
        try:
            url = self._endpoint(profile / "DevToolsActivePort")
            self._socket = self._stack.enter_context(
                client.connect(url, max_size=None, proxy=None, ping_interval=None)
            )
        except BaseException:
            self._process.kill()
            self._process.wait()
            raise

    def _endpoint(self, file: Path) -> str:
        until = time.monotonic() + 2 * PATIENCE
        while time.monotonic() < until:
            lines = file.read_text().split() if file.exists() else []
            if len(lines) == 2:
                return f"ws://127.0.0.1:{lines[0]}{lines[1]}"
            assert self._process.poll() is None, "Chromium ended at its start"
            time.sleep(0.02)
        raise AssertionError("Chromium does not listen")

    def call(self, method: str, session: str | None = None, **parameters: Any) -> Any:
        self._last += 1
        number = self._last
        request = {"id": number, "method": method, "params": parameters}
        if session:
            request["sessionId"] = session
        self._socket.send(json.dumps(request))
        while True:
            message = json.loads(self._socket.recv(timeout=2 * PATIENCE))
            if message.get("id") == number:
                break
            page = self._pages.get(message.get("sessionId"))
            if page is not None and "method" in message:
                page.events.append((message["method"], message["params"]))
        if "error" in message:
            raise AssertionError(f"{method}: {message['error']['message']}")
        return message["result"]

    def page(self, url: str = "", *, width: int = 1280, height: int = 800) -> Page:
        """A page of a profile of its own, so that pages share nothing."""
        context = self.call("Target.createBrowserContext")["browserContextId"]
        target = self.call("Target.createTarget", url="about:blank", browserContextId=context)
        attached = self.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        page = Page(self, attached["sessionId"], context)
        self._pages[attached["sessionId"]] = page
        for domain in ("Page", "Runtime", "Network", "Log"):
            page.call(f"{domain}.enable")
        page.call("Emulation.setFocusEmulationEnabled", enabled=True)
        page.resize(width, height)
        if url:
            page.open(url)
        return page

    def forget(self, session: str, context: str) -> None:
        if self._pages.pop(session, None) is not None:
            self.call("Target.disposeBrowserContext", browserContextId=context)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self.call("Browser.close")
            self._process.wait(PATIENCE)
        finally:
            self._stack.close()
            if self._process.poll() is None:
                self._process.kill()
                self._process.wait()


class Page:
    """One page, looked at and used as a person would: real mouse clicks, visible text."""

    def __init__(self, browser: Chromium, session: str, context: str) -> None:
        self.events: list[tuple[str, dict[str, Any]]] = []
        self._browser = browser
        self._session = session
        self._context = context

    def call(self, method: str, **parameters: Any) -> Any:
        return self._browser.call(method, self._session, **parameters)

    def close(self) -> None:
        self._browser.forget(self._session, self._context)

    def open(self, url: str) -> None:
        result = self.call("Page.navigate", url=url)
        assert "errorText" not in result, f"{url}: {result.get('errorText')}"
        self.wait(f"location.href === {json.dumps(url)} && document.readyState === 'complete'")

    def resize(self, width: int, height: int, *, mobile: bool = False) -> None:
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=2 if mobile else 1,
            mobile=mobile,
        )

    def scheme(self, name: str) -> None:
        feature = {"name": "prefers-color-scheme", "value": name}
        self.call("Emulation.setEmulatedMedia", features=[feature])

    def screenshot(self, file: Path) -> None:
        data = self.call("Page.captureScreenshot", format="png")["data"]
        file.write_bytes(base64.b64decode(data))

    # ---- looking

    def run(self, expression: str) -> Any:
        """The value of a JavaScript expression; a promise is awaited."""
        result = self.call(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        if "exceptionDetails" in result:
            details = result["exceptionDetails"]
            text = details.get("exception", {}).get("description", details["text"])
            raise AssertionError(f"{expression}: {text}")
        return result["result"].get("value")

    def wait(self, condition: str, seconds: float = PATIENCE) -> Any:
        """Wait until the expression is truthy; returns its value."""
        answer = self.run(
            f"""new Promise((resolve) => {{
              const until = performance.now() + {seconds * 1000};
              const look = () => {{
                let value = null, problem = "";
                try {{ value = ({condition}); }} catch (error) {{ problem = String(error); }}
                if (value) resolve({{ value }});
                else if (performance.now() < until) setTimeout(look, 10);
                else resolve({{ problem, text: document.body?.innerText ?? "" }});
              }};
              look();
            }})"""
        )
        if "value" not in answer:
            seen = f"{answer['problem']}\n{answer['text']}\n{self.complaints()}"
            raise AssertionError(f"never came true: {condition}\n{seen}")
        return answer["value"]

    def text(self, testid: str) -> str:
        return str(self.run(f"{_find(testid)}.innerText.replace(/\\s+/g, ' ').trim()"))

    def wait_for_text(self, testid: str, part: str) -> None:
        text = f"{_find(testid)}.innerText.replace(/\\s+/g, ' ').includes({json.dumps(part)})"
        self.wait(f"{_visible(testid)} && {text}")

    def is_visible(self, testid: str) -> bool:
        return bool(self.run(_visible(testid)))

    # ---- doing

    def click(self, testid: str) -> None:
        """Press the mouse in the middle of it, once it can be pressed and nothing covers it."""
        x, y = self.wait(
            f"""(() => {{
              const element = {_find(testid)};
              if (!element || element.disabled) return null;
              element.scrollIntoView({{ block: "nearest" }});
              const box = element.getBoundingClientRect();
              const at = [box.x + box.width / 2, box.y + box.height / 2];
              return element.contains(document.elementFromPoint(...at)) && at;
            }})()"""
        )
        mouse = {"x": x, "y": y, "button": "left", "clickCount": 1}
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
        self.call("Input.dispatchMouseEvent", type="mousePressed", **mouse)
        self.call("Input.dispatchMouseEvent", type="mouseReleased", **mouse)

    def click_twice(self, testid: str) -> None:
        """Two clicks in a row: the second is made before the first was answered."""
        self.run(f"[1, 2].forEach(() => {_find(testid)}.click())")

    def type(self, testid: str, text: str) -> None:
        """Replace what stands in a field."""
        self.click(testid)
        self.run(f"{_find(testid)}.select()")
        self.call("Input.insertText", text=text)

    def choose(self, testid: str, value: str) -> None:
        """Take an option of a select."""
        self.run(
            f"""(() => {{
              const select = {_find(testid)};
              if (!select.checkVisibility()) throw new Error("nobody sees it");
              select.focus();
              select.value = {json.dumps(value)};
              select.dispatchEvent(new Event("change", {{ bubbles: true }}));
            }})()"""
        )

    def hover_away(self) -> None:
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=1, y=1)

    # ---- what happened

    def complaints(self) -> list[str]:
        """Errors and warnings of the console, and exceptions that nobody caught."""
        self.run("0")  # What has happened until now has been told when this is answered.
        found = []
        for method, event in self.events:
            if method == "Runtime.exceptionThrown":
                details = event["exceptionDetails"]
                found.append(details.get("exception", {}).get("description", details["text"]))
            elif method == "Log.entryAdded" and event["entry"]["level"] in ("error", "warning"):
                found.append(event["entry"]["text"])
            elif method == "Runtime.consoleAPICalled" and event["type"] in ("error", "warning"):
                found.append(" ".join(str(item.get("value")) for item in event["args"]))
        return found

    def requested(self) -> list[str]:
        """The addresses of everything that was fetched or connected to."""
        self.run("0")
        urls = [
            event["request"]["url"] if method == "Network.requestWillBeSent" else event["url"]
            for method, event in self.events
            if method in ("Network.requestWillBeSent", "Network.webSocketCreated")
        ]
        return [url for url in urls if not url.startswith("data:")]

    def frames(self, direction: str) -> list[str]:
        """The payloads of all WebSocket messages, `Sent` or `Received`; binary ones in base64."""
        self.run("0")
        method = f"Network.webSocketFrame{direction}"
        return [event["response"]["payloadData"] for name, event in self.events if name == method]


def _find(testid: str) -> str:
    return f"document.querySelector('[data-testid={json.dumps(testid)}]')"


def _visible(testid: str) -> str:
    return f"Boolean({_find(testid)}?.checkVisibility({{ visibilityProperty: true }}))"

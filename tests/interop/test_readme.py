"""The quick start of the README, its script and its page, in Chromium."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from peers import tools
from peers.chromium import Page
from peers.examples import free_port

ROOT = Path(__file__).parents[2]
CDN = re.compile(
    r'src="https://cdn\.jsdelivr\.net/npm/@stomp/stompjs@7/bundles/stomp\.umd\.min\.js"'
)


def block(language: str) -> str:
    """The first block of a language."""
    found = re.search(
        rf"^```{language}\n(.*?)^```$", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL
    )
    assert found is not None
    return found[1]


def test_two_windows_see_each_other_and_a_failure_ends_nothing(
    open_page: Callable[[str], Page], tmp_path: Path
) -> None:
    port = free_port()
    page, replaced = CDN.subn('src="/stomp.js"', block("html"))
    assert replaced == 1
    (tmp_path / "index.html").write_text(page)
    script = block("python").replace("8000", str(port))
    script = script.replace(
        '{"/": "index.html"}', f'{{"/": "index.html", "/stomp.js": {str(tools.stompjs())!r}}}'
    )
    (tmp_path / "stock.py").write_text(script)
    with subprocess.Popen(
        [sys.executable, "stock.py"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line.startswith(
                f"serving ws://127.0.0.1:{port}/inventory-ws, http://127.0.0.1:{port}/,"
            )
            windows = [open_page(f"http://127.0.0.1:{port}/") for _ in range(2)]
            shown = "document.getElementById('log').textContent"
            for window in windows:
                window.wait(f"""{shown}.includes('{{"grinder":30,"kettle":8}}')""")
            windows[0].run("document.querySelector('button').click(); 1")
            for window in windows:
                window.wait(f"""{shown}.includes('{{"kettle":7}}')""")
            windows[0].run(
                "client.publish({destination: '/app/inventory/teapot/adjust',"
                """ body: '{"delta":1}'}); 1"""
            )
            windows[0].wait(f"{shown}.includes('there is no product')")
            windows[0].run("document.querySelector('button').click(); 1")
            for window in windows:
                window.wait(f"""{shown}.includes('{{"kettle":6}}')""")
            assert "there is no product" not in windows[1].run(shown)
        finally:
            process.send_signal(signal.SIGINT)
            assert process.wait(10) == 0

"""Tools that a machine may lack.

A test whose tool is missing is skipped and says so; with `STOCKSYNC_INTEROP=required` it fails
instead, so that a run that must prove something cannot pass by proving nothing.
"""

import importlib
import os
import shutil
from pathlib import Path
from types import ModuleType

import pytest

HERE = Path(__file__).parents[1]
PAGES = HERE / "browser"
NODE = HERE / "node"
SOCKJS = PAGES / "node_modules" / "sockjs-client" / "dist" / "sockjs.min.js"
STOMPJS = PAGES / "node_modules" / "@stomp" / "stompjs" / "bundles" / "stomp.umd.min.js"


def missing(text: str) -> None:
    if os.environ.get("STOCKSYNC_INTEROP") == "required":
        pytest.fail(f"STOCKSYNC_INTEROP=required, but {text}", pytrace=False)
    pytest.skip(f"skipped: {text}", allow_module_level=True)


def module(name: str, package: str, group: str = "interop") -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError:
        missing(f"no {package} (dependency group {group})")
        raise


def chromium() -> str:
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    found = next((path for path in map(shutil.which, names) if path), None)
    if found is None:
        missing("no Chromium/Node: none of the commands " + ", ".join(names))
    assert found is not None
    return found


def node() -> str:
    found = shutil.which("node")
    if found is None:
        missing("no Node: there is no command node")
    assert found is not None
    return found


def rx_stomp() -> Path:
    if not (NODE / "node_modules" / "@stomp" / "rx-stomp").exists():
        missing("no Node: @stomp/rx-stomp is not there; `npm ci` in tests/interop/node")
    return NODE / "rpc.mjs"


def stompjs() -> Path:
    if not STOMPJS.exists():
        missing("no Chromium/Node: @stomp/stompjs is not there; `npm ci` in tests/interop/browser")
    return STOMPJS


def sockjs() -> Path:
    if not SOCKJS.exists():
        missing("no Chromium/Node: sockjs-client is not there; `npm ci` in tests/interop/browser")
    return SOCKJS

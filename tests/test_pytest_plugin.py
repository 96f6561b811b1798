"""The plugin for pytest, as pytest finds it: by the entry point of an installed distribution."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
NAME = "pytest_stocksync_ws"
APPLICATION = """
import pytest
from stocksync_ws import StompApp

@pytest.fixture
def stomp_app():
    app = StompApp("/ws", client_send=["/topic/**"])

    @app.message_mapping("/fail")
    async def fail():
        raise ZeroDivisionError("a bug of the application")

    return app
"""

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def install(site: Path) -> None:
    """What an installer leaves of the distribution, with the files of this tree."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    info = site / "stocksync_ws-0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: stocksync-ws\nVersion: 0\n")
    points = project["entry-points"]["pytest11"]
    lines = [f"{name} = {module}\n" for name, module in points.items()]
    (info / "entry_points.txt").write_text("[pytest11]\n" + "".join(lines))
    (info / "RECORD").write_text(f"{NAME}.py,,\nstocksync_ws/__init__.py,,\n")
    (site / f"{NAME}.py").symlink_to(ROOT / f"{NAME}.py")
    (site / "stocksync_ws").symlink_to(ROOT / "stocksync_ws")


def environment(site: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(site), "PYTHONDONTWRITEBYTECODE": "1"}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Writes files into a folder of their own, and runs pytest on them."""
    site, folder = tmp_path / "site", tmp_path / "tests"
    install(site)
    folder.mkdir()

    def run(*arguments: str, script: str = "", **files: str) -> subprocess.CompletedProcess[str]:
        for name, text in files.items():
            (folder / f"{name}.py").write_text(text)
        start = ["-c", script] if script else ["-m", "pytest"]
        return subprocess.run(
            [sys.executable, *start, "-p", "no:cacheprovider", *arguments],
            cwd=folder,
            env=environment(site),
            capture_output=True,
            text=True,
            timeout=60,
        )

    return run


def test_it_runs_the_application_of_the_fixture(run: Run) -> None:
    tests = """
def test_a(world, stomp_app):
    peer = world.connect()
    peer.subscribe("/topic/a")
    stomp_app.template.send("/topic/a", b"x")
    world.settle()
    assert peer.message().body == b"x"

def test_b(world):
    assert not world.broker.sessions
"""
    ran = run(conftest=APPLICATION, test_it=tests)
    assert ran.returncode == 0, ran.stdout
    assert "2 passed" in ran.stdout


def test_a_bug_of_the_application_fails_the_test(run: Run) -> None:
    tests = """
def test_a(world):
    world.connect().send_to("/app/fail")
"""
    ran = run(conftest=APPLICATION, test_it=tests)
    assert ran.returncode == 1
    assert re.search(r"^E +ZeroDivisionError: a bug of the application$", ran.stdout, re.MULTILINE)
    assert re.search(r"^conftest\.py:\d+: ZeroDivisionError$", ran.stdout, re.MULTILINE)
    assert "1 failed" in ran.stdout


def test_without_the_fixture_it_says_what_to_write(run: Run) -> None:
    ran = run(test_it="def test_a(world): ...\n")
    assert ran.returncode == 1
    assert (
        "the fixture `world` runs the application that a fixture `stomp_app` returns" in ran.stdout
    )
    assert "    def stomp_app():" in ran.stdout
    assert "1 error" in ran.stdout
    assert "Traceback" not in ran.stdout


def test_another_application_is_refused_by_name(run: Run) -> None:
    tests = """
import pytest
from starlette.applications import Starlette

@pytest.fixture
def stomp_app():
    return Starlette()

def test_a(world): ...
"""
    ran = run(test_it=tests)
    assert (
        "TypeError: a World runs a StompApp, and got Starlette: give it the StompApp" in ran.stdout
    )


def test_the_fixtures_of_a_module_come_first(run: Run) -> None:
    tests = """
import pytest
from stocksync_ws import StompApp

class TestOther:
    @pytest.fixture
    def stomp_app(self):
        return StompApp("/other", client_send=["/topic/b"])

    def test_a(self, world, stomp_app):
        assert world.runtime.config is stomp_app.config
        assert stomp_app.config.client_send == ("/topic/b",)

class TestOwn:
    @pytest.fixture
    def world(self):
        return "mine"

    def test_b(self, world):
        assert world == "mine"
"""
    ran = run(conftest=APPLICATION, test_it=tests)
    assert "2 passed" in ran.stdout, ran.stdout


SILENT = """
import sys

def test_a(request):
    assert request.config.pluginmanager.hasplugin("pytest_stocksync_ws")
    names = {name.split(".")[0] for name in sys.modules}
    assert not names & {"stocksync_ws", "h11", "wsproto"}
"""


def test_who_does_not_use_it_gets_nothing_imported_and_no_warning(run: Run) -> None:
    ran = run("-W", "error", test_it=SILENT)
    assert "1 passed" in ran.stdout, ran.stdout
    assert "warning" not in ran.stdout


def test_a_process_that_has_the_package_already_runs_without_a_warning(run: Run) -> None:
    script = "import sys, stocksync_ws, pytest; sys.exit(pytest.main(sys.argv[1:]))"
    tests = "def test_a(world): world.connect()\n"
    ran = run("-W", "error", script=script, conftest=APPLICATION, test_it=tests)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "warning" not in ran.stdout


def test_it_can_be_switched_off(run: Run) -> None:
    ran = run("-p", f"no:{NAME}", conftest=APPLICATION, test_it="def test_a(world): ...\n")
    assert "fixture 'world' not found" in ran.stdout


def test_named_on_the_command_line_it_is_there_once(run: Run) -> None:
    tests = "def test_a(world): ...\n"
    ran = run("-p", NAME, conftest=APPLICATION, test_it=tests)
    assert "1 passed" in ran.stdout, ran.stdout


def test_the_files_of_the_page_are_a_test_that_passes(run: Run) -> None:
    page = (ROOT / "docs" / "testing.md").read_text()
    files = dict(re.findall(r"^```python\n# (\w+)\.py\n(.*?)^```$", page, re.MULTILINE | re.DOTALL))
    assert set(files) == {"stock", "conftest", "test_stock"}
    ran = run(**files)
    assert "1 passed" in ran.stdout, ran.stdout


def test_the_example_passes(run: Run, tmp_path: Path) -> None:
    for file in (ROOT / "examples" / "testing").glob("*.py"):
        shutil.copy(file, tmp_path / "tests")
    ran = run("-W", "error")
    assert ran.returncode == 0, ran.stdout
    assert re.search(r"\b1\d passed", ran.stdout)

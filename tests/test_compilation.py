"""Which modules are compiled: compiled.toml says so, and what is imported is that."""

from __future__ import annotations

import ast
import tomllib
from abc import ABCMeta
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

import stocksync_ws

PACKAGE = Path(stocksync_ws.__file__).parent
TABLE = tomllib.loads((Path(__file__).parents[1] / "compiled.toml").read_text())
INTERPRETED: dict[str, str] = TABLE["interpreted"]


def modules() -> list[str]:
    """All modules that are compiled, or listed as interpreted."""
    found = [f"{name}.py" for name in TABLE["modules"]]
    for room in TABLE["packages"]:
        files = (PACKAGE / room).rglob("*.py")
        found += [str(file.relative_to(PACKAGE)) for file in files if file.name != "__init__.py"]
    return sorted(name.removesuffix(".py") for name in found)


MODULES = modules()


def suffix(module: str) -> str:
    """What is imported for a module: the end of the name of its file."""
    spec = find_spec(f"stocksync_ws.{module.replace('/', '.')}")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).suffix


def test_there_are_many_and_most_of_them_are_compiled() -> None:
    assert len(MODULES) > 100
    assert len(INTERPRETED) < len(MODULES) / 2


@pytest.mark.parametrize("module", MODULES)
def test_each_module_is_compiled_or_stands_in_the_list(module: str) -> None:
    pure = not stocksync_ws.compiled or module in INTERPRETED
    assert (suffix(module) == ".py") is pure


@pytest.mark.parametrize("module", INTERPRETED)
def test_what_is_in_the_list_is_a_module_and_has_a_reason(module: str) -> None:
    assert module in MODULES
    assert len(INTERPRETED[module].split()) >= 3


def test_the_rest_of_the_package_is_interpreted_in_either_build() -> None:
    rooms = {*TABLE["packages"], *TABLE["modules"]}
    compiled = {file.relative_to(PACKAGE).parts[0] for file in PACKAGE.rglob("*.so")}
    assert {name.partition(".")[0] for name in compiled} <= rooms


@pytest.mark.parametrize("module", [name for name in MODULES if name not in INTERPRETED])
def test_no_class_that_may_be_compiled_is_an_abc(module: str) -> None:
    """Compiled ones would share one cache of what is an instance of what."""
    imported = import_module(f"stocksync_ws.{module.replace('/', '.')}")
    classes = [each for each in vars(imported).values() if type(each) is ABCMeta]
    assert [each for each in classes if each.__module__ == imported.__name__] == []


@pytest.mark.parametrize("module", [name for name in MODULES if name not in INTERPRETED])
def test_no_pipeline_stands_in_what_may_be_compiled(module: str) -> None:
    """An exception that is thrown into a compiled generator loses its traceback."""
    tree = ast.parse((PACKAGE / f"{module}.py").read_text())
    functions = [each for each in ast.walk(tree) if isinstance(each, ast.FunctionDef)]
    yields = [
        each.name
        for each in functions
        if any(isinstance(node, (ast.Yield, ast.YieldFrom)) for node in ast.walk(each))
        and each.returns is not None
        and not ast.unparse(each.returns).startswith(("Iterator", "Generator[tuple"))
    ]
    assert yields == []


def test_the_build_is_the_one_that_was_to_be_tested(request: pytest.FixtureRequest) -> None:
    wanted = request.config.getoption("--build")
    assert wanted in (None, "compiled" if stocksync_ws.compiled else "pure")

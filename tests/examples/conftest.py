"""The examples as modules, for the test client of their framework."""

from __future__ import annotations

import importlib.util
import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def load() -> Iterator[Callable[[str], ModuleType]]:
    """Loads an example anew: its stock is a variable of it. Nothing is left behind."""
    path = list(sys.path)
    names = ["shop"]
    # Litestar configures the logging of the process when an application is made.
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)

    def load(name: str) -> ModuleType:
        names.append(f"example_{name}")
        spec = importlib.util.spec_from_file_location(names[-1], EXAMPLES / name / "app.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module  # Frameworks look there for what an annotation means.
        spec.loader.exec_module(module)
        return module

    yield load
    sys.path[:] = path
    root.setLevel(level)
    root.handlers[:] = handlers
    for name in names:
        sys.modules.pop(name, None)

"""Files, functions and docstrings: small enough to read, and saying what they are for."""

from __future__ import annotations

import ast
import io
import tokenize
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "stocksync_ws").rglob("*.py"))
FILE_LINES = 450
ADAPTER_LINES = 400
ADAPTERS = ("aio", "threads", "asgi", "wsgi", "redis")
FUNCTION_LINES = 60
CONSTRUCTOR_ARGUMENTS = 6
FUNCTION_LINES_P90 = 25

_NO_CODE = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT)


@lru_cache(maxsize=len(FILES))
def code_lines(source: str) -> list[tuple[str, int, int]]:
    """Name, first line and number of code lines of each function: signature and body, without
    docstring, comments and blank lines.
    """
    used: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in _NO_CODE:
            used |= set(range(token.start[0], token.end[0] + 1))
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            assert node.end_lineno is not None
            used -= set(range(node.lineno, node.end_lineno + 1))
    found: list[tuple[str, int, int]] = []
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            assert node.end_lineno is not None
            lines = sum(line in used for line in range(node.lineno, node.end_lineno + 1))
            found.append((node.name, node.lineno, lines))
    return found


def words(source: str) -> Iterator[str]:
    """What has no place in the library: left-over notes, and output to nowhere."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type in (tokenize.COMMENT, tokenize.STRING):
            for word in ("TODO", "FIXME", "XXX"):
                if word in token.string:
                    yield f"{token.start[0]}: {word}"
        elif token.type == tokenize.NAME and token.string in ("print", "breakpoint"):
            yield f"{token.start[0]}: {token.string}"


def long_constructors(source: str) -> Iterator[str]:
    """Classes whose objects are made of more than `CONSTRUCTOR_ARGUMENTS` others. The fields of a
    dataclass do not count: it is a record.
    """
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.ClassDef):
            continue
        for function in node.body:
            if isinstance(function, ast.FunctionDef) and function.name == "__init__":
                arguments = function.args.args[1:] + function.args.kwonlyargs
                if len(arguments) > CONSTRUCTOR_ARGUMENTS:
                    yield f"{node.name}: {len(arguments)}"


def _name(file: Path) -> str:
    return str(file.relative_to(ROOT))


@pytest.mark.parametrize("file", FILES, ids=_name)
def test_a_file_is_short(file: Path) -> None:
    room = file.relative_to(ROOT / "stocksync_ws").parts[0].removesuffix(".py")
    bound = ADAPTER_LINES if room in ADAPTERS else FILE_LINES
    assert len(file.read_text().splitlines()) <= bound


@pytest.mark.parametrize("file", FILES, ids=_name)
def test_a_function_fits_a_screen(file: Path) -> None:
    functions = code_lines(file.read_text())
    assert [each for each in functions if each[2] > FUNCTION_LINES] == []


def test_most_functions_are_much_shorter() -> None:
    sizes = sorted(size for file in FILES for _, _, size in code_lines(file.read_text()))
    assert sizes[len(sizes) * 9 // 10] <= FUNCTION_LINES_P90


@pytest.mark.parametrize("file", FILES, ids=_name)
def test_a_constructor_takes_few_arguments(file: Path) -> None:
    if file.name != "app.py":  # the settings of StompApp
        assert list(long_constructors(file.read_text())) == []


def test_a_long_constructor_is_seen_and_a_record_is_let_pass() -> None:
    arguments = ", ".join("abcdefg")
    fields = "".join(f"    {name}: int\n" for name in "abcdefg")
    assert list(long_constructors(f"class A:\n    def __init__(self, {arguments}): ...")) == [
        "A: 7"
    ]
    assert list(long_constructors(f"class A:\n    def __init__(self, *, {arguments}): ...")) != []
    assert list(long_constructors(f"@dataclass\nclass A:\n{fields}")) == []


@pytest.mark.parametrize("file", FILES, ids=_name)
def test_a_module_states_its_rule(file: Path) -> None:
    docstring = ast.get_docstring(ast.parse(file.read_text()))
    assert docstring, "no docstring"
    assert docstring.splitlines()[0].strip()
    if file.name != "__init__.py":
        assert "\nRule: " in docstring


@pytest.mark.parametrize("file", FILES, ids=_name)
def test_nothing_is_left_over(file: Path) -> None:
    assert list(words(file.read_text())) == []


def test_code_lines_leaves_out_what_is_no_code() -> None:
    source = '''
def f(
    a,
):
    """A docstring
    of two lines."""
    # a comment

    text = """two
    lines"""
    return a  # and one more
'''
    assert code_lines(source) == [("f", 2, 6)]


def test_left_overs_are_seen() -> None:
    assert list(words('# TODO: later\nprint("x")\n"""FIXME"""\n')) == [
        "1: TODO",
        "2: print",
        "3: FIXME",
    ]

"""Every promise of docs/reliability.md names tests that exist, run and assert something.

Whether a named test was skipped shows only when it runs: ``tests/conftest.py`` fails a run in which one was, unless its row of the
page says that it may be skipped, and why.
"""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from tests.conftest import relied_on, skipped_without_leave

ROOT = Path(__file__).resolve().parents[2]
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
TESTS = sorted(set(NAMED.findall((ROOT / "docs" / "reliability.md").read_text(encoding="utf-8"))))
LEFT_OUT = {"skip", "skipif", "xfail"}
ASSERTING = {"raises", "warns", "fail"}  # of pytest


@cache
def functions(path: str) -> dict[str, ast.FunctionDef]:
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    return {node.name: node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def marks(function: ast.FunctionDef) -> set[str]:
    """Last words of its decorators: ``skip`` of ``@pytest.mark.skip(...)``."""
    calls = [node.func if isinstance(node, ast.Call) else node for node in function.decorator_list]
    return {call.attr for call in calls if isinstance(call, ast.Attribute)}


def called(function: ast.FunctionDef) -> set[str]:
    calls = [node.func for node in ast.walk(function) if isinstance(node, ast.Call)]
    return {call.attr if isinstance(call, ast.Attribute) else call.id for call in calls if isinstance(call, ast.Attribute | ast.Name)}


def asserts(function: ast.FunctionDef, known: dict[str, ast.FunctionDef], depth: int = 2) -> bool:
    """Does it, or a function of its module that it calls, hold an assertion?"""
    calls = called(function)
    if any(isinstance(node, ast.Assert) for node in ast.walk(function)) or calls & ASSERTING or any(c.startswith("assert_") for c in calls):
        return True
    helpers = [known[name] for name in called(function) if name in known and known[name] is not function]
    return depth > 0 and any(asserts(helper, known, depth - 1) for helper in helpers)


PAINS = 32  # rows of the table of what users of such systems suffer from
ROW = re.compile(r"^\| (\d+) \| (.+) \| (.+) \| (.+) \|$", re.MULTILINE)


def test_the_page_names_tests() -> None:
    assert len(TESTS) > 60
    assert [f"{path}::{name}" for path, name in TESTS if not re.search(r"/test_\w+\.py$", path) or not name.startswith("test_")] == []


def test_every_pain_has_a_promise_and_a_test() -> None:
    rows = ROW.findall((ROOT / "docs" / "reliability.md").read_text(encoding="utf-8"))
    assert [int(number) for number, *_ in rows] == list(range(1, PAINS + 1))
    assert [number for number, _, promise, shown in rows if not promise.strip() or not NAMED.search(shown)] == []


@pytest.mark.parametrize(("path", "name"), TESTS, ids=[f"{path}::{name}" for path, name in TESTS])
def test_a_named_test_exists_runs_and_asserts(path: str, name: str) -> None:
    assert (ROOT / path).exists(), f"{path} does not exist"
    known = functions(path)
    assert name in known, f"{path} has no {name}"
    assert not marks(known[name]) & LEFT_OUT, f"{name} is left out"
    assert asserts(known[name], known), f"{name} asserts nothing"


@pytest.mark.parametrize("path", sorted({path for path, _ in TESTS}))
def test_no_module_with_a_named_test_is_left_out(path: str) -> None:
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    marked = [node for node in tree.body if isinstance(node, ast.Assign) and "pytestmark" in ast.unparse(node.targets[0])]
    assert not [node for node in marked if re.search(r"mark\.(skip|skipif|xfail)\b", ast.unparse(node.value))]


def test_a_test_without_assertion_or_left_out_is_told() -> None:
    text = """
@pytest.mark.skip(reason="")
def one():
    two()

def two():
    pass

def three():
    four()

def four():
    assert 1
"""
    known = {node.name: node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef)}
    assert marks(known["one"]) & LEFT_OUT
    assert [name for name in known if asserts(known[name], known)] == ["three", "four"]


def test_a_run_fails_that_skipped_what_is_relied_on() -> None:
    path, name = next((path, name) for path, name in TESTS if f"{path}::{name}" in relied_on())
    other = next(f"{path}::{name}" for path, name in TESTS if f"{path}::{name}" not in relied_on())
    assert skipped_without_leave({f"{path}::{name}": {"skipped"}, other: {"skipped"}}) == [f"{path}::{name}"]
    assert skipped_without_leave({f"{path}::{name}": {"skipped", "passed"}}) == []
    assert skipped_without_leave({"tests/no/test_of.py::test_ours": {"skipped"}}) == []

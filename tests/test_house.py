"""The house keeps its lines: imports go one way, Prefect stays in its rooms, no name shadows another."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROLES = ("nightcrew", "reports", "tasks", "flows", "watchers", "deployments")
MAY_IMPORT = {
    "nightcrew": {"nightcrew"},
    "reports": {"nightcrew", "reports"},
    "tasks": {"nightcrew", "reports", "tasks"},
    "flows": {"nightcrew", "reports", "tasks", "flows"},
    "watchers": {"nightcrew", "watchers"},
    "deployments": set(ROLES),
}


def modules(role: str) -> list[Path]:
    return sorted((ROOT / role).rglob("*.py"))


def imported(path: Path) -> set[str]:
    """Root packages that a module imports, anywhere in it."""
    roots: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            roots |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            roots.add(node.module.split(".")[0])
        elif isinstance(node, ast.ImportFrom) and node.level:
            roots.add(path.relative_to(ROOT).parts[0])
    return roots


@pytest.mark.parametrize("role", ROLES)
def test_imports_go_one_way(role: str) -> None:
    wrong = {str(p.relative_to(ROOT)): bad for p in modules(role) if (bad := (imported(p) & set(ROLES)) - MAY_IMPORT[role])}
    assert wrong == {}


@pytest.mark.parametrize("role", ["nightcrew", "reports", "tasks", "watchers"])
def test_prefect_stays_in_flows_and_deployments(role: str) -> None:
    assert [str(p) for p in modules(role) if "prefect" in imported(p)] == []


def test_only_the_ledger_opens_connections() -> None:
    makers = [
        str(p.relative_to(ROOT))
        for role in ROLES
        for p in modules(role)
        if "create_engine" in p.read_text(encoding="utf-8") and p.relative_to(ROOT).parts[:2] != ("nightcrew", "ledger")
    ]
    assert makers == []


def test_only_one_module_talks_smtp() -> None:
    talkers = [str(p.relative_to(ROOT)) for role in ROLES for p in modules(role) if "smtplib" in imported(p)]
    assert talkers == ["reports/smtp.py"]


@pytest.mark.parametrize("role", ["reports", "tasks", "flows", "watchers", "deployments"])
def test_no_module_of_a_role_bears_the_name_of_another(role: str) -> None:
    # A file-path entry point puts the role's folder first on sys.path: such a module would shadow the other.
    taken = set(sys.stdlib_module_names) | set(ROLES)
    names = {p.stem if p.suffix else p.name for p in (ROOT / role).iterdir() if p.suffix == ".py" or (p / "__init__.py").exists()}
    assert names & taken - {"__init__"} == set()


def test_every_test_folder_is_a_package() -> None:
    folders = {p.parent for p in (ROOT / "tests").rglob("test_*.py")}
    assert [str(f) for f in folders if not (f / "__init__.py").exists()] == []


def test_nothing_unpickles() -> None:
    words = ("allow_pickle", "import pickle", "joblib", "dill")
    found = [
        str(p.relative_to(ROOT)) for role in ROLES for p in modules(role) if any(word in p.read_text(encoding="utf-8") for word in words)
    ]
    assert found == []

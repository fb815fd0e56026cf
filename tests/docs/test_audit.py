"""What the audit of the dependencies says: a weakness fails it, and one that was not run has not passed."""

from __future__ import annotations

from typing import Any

import pytest

from tests.audit import judge

GOOD: dict[str, Any] = {"name": "a", "version": "1", "vulns": []}
WEAK: dict[str, Any] = {
    "name": "b",
    "version": "2",
    "vulns": [{"id": "CVE-1", "fix_versions": ["2.1"]}, {"id": "CVE-2", "fix_versions": []}],
}
UNKNOWN: dict[str, Any] = {"name": "c", "version": "3", "skip_reason": "not found"}


@pytest.mark.parametrize(
    ("dependencies", "status", "words"),
    [
        ([GOOD], 0, "1 of 1 dependencies were audited, 0 of them"),
        ([GOOD, WEAK], 1, "b 2: CVE-1, mended in 2.1"),
        ([WEAK, UNKNOWN], 1, "CVE-2, not mended yet"),
        ([GOOD, UNKNOWN], 2, "not run for 1: not found"),
        ([], 2, "not run for any: there is no list"),
    ],
)
def test_an_audit_that_was_not_run_has_not_passed(dependencies: list[dict[str, Any]], status: int, words: str) -> None:
    found, lines = judge({"dependencies": dependencies})
    assert found == status
    assert words in "\n".join(lines)

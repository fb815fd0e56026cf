"""What the audit of the dependencies says: a weakness fails it, and one that was not run has not passed."""

from __future__ import annotations

from typing import Any

import pytest

from tests.audit import CONSTRAINTS, KNOWN_WEAK, judge, pins

GOOD: dict[str, Any] = {"name": "a", "version": "1", "vulns": []}
WEAK: dict[str, Any] = {
    "name": "b",
    "version": "2",
    "vulns": [{"id": "CVE-1", "fix_versions": ["2.1"]}, {"id": "CVE-2", "fix_versions": []}],
}
CANARY: dict[str, Any] = {"name": KNOWN_WEAK[0], "version": KNOWN_WEAK[1], "vulns": [{"id": "CVE-0", "fix_versions": []}]}
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
    found, lines = judge({"dependencies": [*dependencies, CANARY]}, {one["name"] for one in dependencies})
    assert found == status
    assert words in "\n".join(lines)
    assert KNOWN_WEAK[0] not in "\n".join(lines)


@pytest.mark.parametrize("canary", [[], [{**CANARY, "vulns": []}], [{"name": KNOWN_WEAK[0], "skip_reason": "not found"}]])
def test_who_knows_no_weakness_at_all_was_not_asked(canary: list[dict[str, Any]]) -> None:
    """A mirror without advisories says of every package that nothing is known."""
    status, lines = judge({"dependencies": [GOOD, *canary]}, {"a"})
    assert status == 2
    assert lines[0].startswith("not run")


def test_a_pin_without_an_answer_was_not_audited() -> None:
    status, lines = judge({"dependencies": [GOOD, CANARY]}, {"a", "left-out"})
    assert status == 2
    assert "1 of 2 dependencies were audited" in lines[0]
    assert "no answer for left-out" in lines[1]


def test_all_pins_are_asked_for() -> None:
    text = CONSTRAINTS.read_text(encoding="utf-8")
    assert len(pins(text)) == sum("==" in line and not line.lstrip().startswith("#") for line in text.splitlines())
    assert pins("Foo_Bar.baz==1.0\n# x==1\nextra[a,b]==2 ; python_version > '3'\n") == {"foo-bar-baz", "extra"}
    assert KNOWN_WEAK[0] not in pins(text)

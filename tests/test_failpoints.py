"""Failpoints: inert unless armed, each named once in the code, deadly at the wanted time."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from nightcrew import failpoints

ROOT = Path(__file__).resolve().parents[1]
REACHED = re.compile(r'failpoints\.reach\("([\w.]+)"\)')
CODE = ("nightcrew", "tasks", "flows", "reports", "watchers", "deployments")


def run(failpoint: str, *reached: str) -> int:
    """Exit code of a process that reaches these places."""
    script = "import sys\nfrom nightcrew import failpoints\nfor name in sys.argv[1:]:\n    failpoints.reach(name)\n"
    environment = {"NIGHTCREW_FAILPOINT": failpoint, "PATH": "/usr/bin:/bin"}
    return subprocess.run(
        [sys.executable, "-c", script, *reached], cwd=ROOT, env=environment, stderr=subprocess.DEVNULL, check=False
    ).returncode


def test_the_code_has_the_places_that_are_named() -> None:
    found = [name for role in CODE for path in (ROOT / role).rglob("*.py") for name in REACHED.findall(path.read_text(encoding="utf-8"))]
    stages = {place for place in failpoints.PLACES if place.startswith("file.")}
    assert len(stages) == 5  # of nightcrew.io.atomic, which names them by its stages
    assert sorted({*found} | stages) == sorted(failpoints.PLACES)


def test_a_place_is_deadly_the_nth_time_and_only_when_armed() -> None:
    assert run("claim.taken:2", "claim.taken", "unit.started", "claim.taken") == -signal.SIGKILL
    assert run("claim.taken:2", "claim.taken", "unit.started") == 0
    assert run("", "claim.taken") == 0


def test_a_name_that_is_none_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="no failpoint"):
        failpoints.arm("claim.token:3")
    assert run("claim.token") == 1


def test_places_are_counted_without_killing() -> None:
    with failpoints.counted() as counts:
        failpoints.reach("mail.sent")
        failpoints.reach("mail.sent")
        assert counts == {"mail.sent": 2}
    failpoints.reach("mail.sent")
    assert counts == {"mail.sent": 2}

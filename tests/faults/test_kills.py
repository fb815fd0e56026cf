"""Kills at every boundary and at random moments: the same products, the same balance, nothing twice, each death told."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.faults import lives

ROOT = Path(__file__).resolve().parents[2]
Record = Callable[[str, object], None]


def many_kills(folder: Path, kills: int, nights: int, seed: int, limit_s: float) -> dict[str, Any]:
    """The tale of ``tests.faults.lives``; fails when it found a broken promise."""
    command = [sys.executable, "-m", "tests.faults.lives", str(folder), str(kills), str(nights), str(seed)]
    threads = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")  # threads and forks do not mix
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, **threads}, capture_output=True, text=True, timeout=limit_s, check=False)
    assert done.stdout, done.stderr[-4000:]
    tale: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert tale["faults"] == [], done.stderr[-4000:]
    assert done.returncode == 0
    return tale


def record(tale: dict[str, Any], record_property: Record) -> None:
    for name in ("kills", "nights"):
        record_property(name, tale[name])
    record_property(
        "evidence",
        f"{tale['kills']} kills in {tale['nights']} nights at {len(tale['at'])} places, {tale['told']} ended runs told, "
        f"{tale['given_up']} retries asked for, {tale['unknown_mails']} mails of unknown fate told; products, balance and pages the same",
    )


@pytest.mark.parametrize(("status", "said"), [(-signal.SIGKILL, "none of 60 lives came to its end"), (-signal.SIGSEGV, "ended with -11")])
def test_a_night_that_never_ends_is_no_survived_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int, said: str) -> None:
    want = lives.Undisturbed(None, {}, [], 1.0)  # type: ignore[arg-type]  # never looked at
    tale = lives.Tale()
    monkeypatch.setattr(lives, "_disturbed", lambda *_: int(status))
    lives.a_night_of_kills(tmp_path, tmp_path / "night", want, tale, [], random.Random(1))
    assert len(tale.faults) == 1
    assert said in tale.faults[0]


def test_sigkill_at_each_boundary_of_a_night(tmp_path: Path, record_property: Record) -> None:
    """SIGKILL at the boundaries of a night, one life after the other (short form)."""
    tale = many_kills(tmp_path, kills=10, nights=1, seed=1, limit_s=240)
    assert tale["kills"] >= 6
    record(tale, record_property)


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_a_hundred_sigkills_in_ten_nights(tmp_path: Path, record_property: Record) -> None:
    """SIGKILL at 24 named boundaries and at random moments, at least 100 times."""
    tale = many_kills(tmp_path, kills=120, nights=10, seed=20261121, limit_s=1400)
    assert tale["kills"] >= 100
    assert tale["nights"] <= 10
    record(tale, record_property)

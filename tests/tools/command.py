"""Run ``nightcrew frames ...`` in this process as a shell would see it."""

from __future__ import annotations

import sys
from dataclasses import dataclass

import pytest

from deployments.cli import main


@dataclass(frozen=True)
class Ran:
    """Exit code and what was printed."""

    code: int
    out: str
    err: str


class Runner:
    """Calls the command line and gathers what it prints."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch = monkeypatch
        self._capsys = capsys

    def __call__(self, *words: object) -> Ran:
        self._monkeypatch.setattr(sys, "argv", ["nightcrew", "frames", *map(str, words)])
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 0 if stop.code is None else 1
        found = self._capsys.readouterr()
        return Ran(code, found.out, found.err)

    def fails(self, *words: object) -> str:
        """Run, expect a code above 0 and exactly one sentence without a trace, and return it."""
        ran = self(*words)
        assert ran.code > 0
        assert "Traceback" not in ran.err
        assert ran.err.count("\n") == 1
        assert ran.err.startswith("nightcrew: ")
        return ran.err.removeprefix("nightcrew: ").strip()

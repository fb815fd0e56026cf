"""Fixtures of the tests of the hand tools."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tools.command import Runner


@pytest.fixture
def frames(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Runner:
    """Runs ``nightcrew frames``."""
    return Runner(monkeypatch, capsys)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path

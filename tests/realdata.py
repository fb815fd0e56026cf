"""Where the real frames lie; tests that need them skip with a clear reason where they are absent."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2] / "shared" / "data"


def folder(name: str) -> Path:
    """The folder ``name`` of the real frames, or skip the test that asks."""
    path = ROOT / name
    if not path.is_dir():
        pytest.skip(f"real frames are absent: ../shared/data/{name} does not exist beside the checkout")
    return path

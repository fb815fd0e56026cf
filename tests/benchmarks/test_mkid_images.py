"""The parts of the photon images' benchmark measure what they say, on little data."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import mkid_images


def test_cubes_are_measured_against_their_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mkid_images, "MILLIONS", 0.02)
    monkeypatch.setattr(mkid_images, "REPEATS", 1)
    rows = mkid_images.cube_rows(mkid_images.make_table(tmp_path))
    limits = {row["work"]: row["at_least"] for row in rows if "at_least" in row}
    assert limits["image with weights"] == 100
    assert limits["10-frame time cube with weights"] == limits["11-bin spectral cube with weights"] == 60
    assert all(row["value"] > 0 for row in rows)

"""The benchmark's commands on tiny frames: ours and siril's give the same median."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from benchmarks import combine, combine_inside, data
from benchmarks.spent import Command, run, siril


@pytest.fixture
def frames(tmp_path: Path) -> list[Path]:
    paths = []
    for number in range(1, 8):
        paths.append(tmp_path / f"f_{number:05d}.fits")
        fits.PrimaryHDU(data.noise_frame(np.random.default_rng(number), 96), data.header(number)).writeto(paths[-1])
    return paths


@pytest.mark.skipif(siril() is None, reason="siril is not installed: the benchmark's anchor cannot be tried")
@pytest.mark.parametrize("method", ["median", "mean"])
def test_siril_and_ours_agree(method: str, frames: list[Path], tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    ours, theirs = combine._ours(frames, combine.OUR_METHODS[method], work), combine._siril(frames, method, work)
    kept = [Command(command.words) for command in (ours, theirs)]
    spent = [run(command) for command in kept]
    assert all(cost.wall_s > 0 and cost.peak_mb > 1 for cost in spent)
    got, anchor = (fits.getdata(command.makes[0]).astype(float) for command in (ours, theirs))
    factor = 65535.0 if anchor.max() <= 1 else 1.0
    np.testing.assert_allclose(anchor * factor, got, rtol=1e-4)


def test_a_command_that_fails_shows_its_words() -> None:
    with pytest.raises(RuntimeError, match="no such thing"):
        run(Command(["sh", "-c", "echo no such thing; exit 3"]))


def test_cost_of_an_added_frame() -> None:
    line = combine._by_frame("", "", {10: 0.04, 30: 0.08, 100: 0.255}, at_most=1.5)
    assert line.value == pytest.approx(1.25)
    assert line.note == "2.0 ms, 2.5 ms each for 10-30, 30-100"
    assert combine._by_frame("", "", {10: 0.05, 30: 0.04, 100: 0.2}).value == np.inf


def test_frames_are_combined_as_the_command_does(frames: list[Path], tmp_path: Path) -> None:
    found = combine_inside.growth_main(tmp_path, 1, tmp_path / "out" / "made.fits")
    assert set(found) == {"10", "30", "100"}
    assert fits.getdata(tmp_path / "out" / "made.fits").shape == (96, 96)

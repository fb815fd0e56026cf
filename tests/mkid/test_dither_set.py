"""Science exposures whose log lines name a dither become one combined image by themselves, beside their own images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from nightcrew.simulate.mkid_plan import dither, preset
from nightcrew.simulate.mkid_run import make_run
from tests.mkid.test_set import NAME, bench_of, folder, put, settle

pytestmark = [pytest.mark.slow]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Three positions; the log asks for a dither with speckle maps, and the last line for one with an impossible name."""
    out = tmp_path_factory.mktemp("simulated") / "run"
    exposures = (*dither(16, 14, 2.0, star_cps=6000.0), replace(dither(16, 14, 1.0)[0], name="other"))
    make_run(
        out,
        replace(preset("tiny"), columns=16, rows=14, exposures=exposures, duplicate_fraction=0.0, hot_fraction=0.0),
        6,
        keep_photons=False,
    )
    files = {path.relative_to(out).as_posix(): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}
    lines = files["observing_log.csv"].decode().splitlines()
    more = [",dither,speckles", ",triangle,yes", ",triangle,yes", ",triangle,yes", ",../etc,perhaps"]
    files["observing_log.csv"] = "\n".join(line + extra for line, extra in zip(lines, more, strict=True)).encode()
    return {name: data for name, data in files.items() if not name.startswith("truth")}


def test_a_named_dither_is_combined(run: dict[str, bytes], tmp_path: Path) -> None:
    bench = bench_of(tmp_path)
    put(bench, run)
    made = settle(bench)
    assert {"mkid_dither triangle", "mkid_images dither_0", "mkid_images other", "mkid_report all"} <= set(made)
    assert sum(name.startswith("mkid_dither") for name in made) == 1
    row = made["mkid_dither triangle"]
    assert row.grade == "D"  # there is no wavelength solution
    assert row.metrics["dither_positions"] == 3
    here = folder(bench, row)
    with fits.open(here / "dither.fits") as hdus:
        assert hdus[0].header["NPOS"] == 3
        places = np.array([[hdus[0].header[f"STARX{n}"], hdus[0].header[f"STARY{n}"]] for n in (1, 2, 3)])
        assert places == pytest.approx(np.array([exposure.star_px for exposure in dither(16, 14, 2.0)]), abs=0.5)  # no flat field
        y, x = np.unravel_index(int(np.nan_to_num(hdus[0].data).argmax()), hdus[0].data.shape)
        assert (x, y) == pytest.approx((hdus[0].header["CRPIX1"] - 1, hdus[0].header["CRPIX2"] - 1), abs=1.5)
    assert (here / "report.html").is_file()
    page = (folder(bench, made["mkid_images other"]) / "report.html").read_text(encoding="utf-8")
    assert "perhaps" in page
    assert "not understood" in page
    assert bench.scope(NAME, kind="mkid").name == NAME

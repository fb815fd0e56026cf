"""Masters of nights by the site's clock: neither does midnight in Greenwich split one, nor does one date there mix two."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from nightcrew.settings import SiteSettings
from tasks.executor import Wish
from tests.support.small_nights import Bench


@pytest.mark.parametrize(
    ("zone", "longitude_deg", "evening", "noon"),
    [
        ("Pacific/Honolulu", -155.5, "2026-05-17T05:00:00", "2026-05-17T22:00"),  # the noon between two nights falls into one UTC date
        ("America/Santiago", -70.4, "2026-05-16T23:50:00", "2026-05-17T16:00"),
        ("Australia/Sydney", 149.1, "2026-05-16T12:00:00", "2026-05-17T02:00"),
    ],
)
def test_a_master_is_of_one_local_night(tmp_path: Path, zone: str, longitude_deg: float, evening: str, noon: str) -> None:
    """Four bias frames from the evening to a second before noon on both sides of midnight UTC where it falls there, three from noon on."""
    folder = tmp_path / "raw"
    folder.mkdir()
    last = (datetime.fromisoformat(noon) - timedelta(seconds=1)).isoformat()
    starts = [evening, "2026-05-16T23:59:59", "2026-05-17T00:00:01", last] if evening < "2026-05-17" else [evening, last]
    starts += [f"{noon}:{second:02d}" for second in (0, 10, 20)]
    rng = np.random.default_rng(10)
    for number, start in enumerate(starts):
        cards = {"IMAGETYP": "Bias Frame", "DATE-OBS": start, "EXPTIME": 0.0, "INSTRUME": "Bench camera", "CCD-TEMP": -20.0}
        fits.PrimaryHDU(rng.integers(990, 1010, (32, 32)).astype(np.uint16), fits.Header(cards)).writeto(folder / f"b{number}.fit")
    bench = Bench(folder, tmp_path / "out", site=SiteSettings(longitude_deg=longitude_deg, timezone=zone))
    bench.see()
    bench.ingest()
    bench.close()
    bench.run(Wish(only=("bias_master",)))
    scopes = {scope.id: scope.name for scope in bench.scopes()}
    found = {scopes[row.scope_id]: row.metrics["n_frames"] for row in bench.products() if row.recipe == "bias_master"}
    assert found == {"2026-05-16": len(starts) - 3, "2026-05-17": 3}

"""One light under its own pixels and under changed ones is one exposure, whichever comes first."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from nightcrew.simulate import camera_file
from tasks.executor import Wish
from tests.support.small_nights import Bench, make_raw, small_plan

LIGHT, COPY = "crew-1-B-001.fit", "crew-1-B-001-corrected.fit"


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two lights and bias frames; of a light and of a bias changed copies that were written later."""
    root = tmp_path_factory.mktemp("night")
    make_raw(root, small_plan())
    for path in (root / "raw").iterdir():
        if not path.name.startswith(("bias", "crew-1-B")):
            path.unlink()
    for name, copy in ((LIGHT, COPY), ("bias-001.fit", "bias-001-corrected.fit")):
        content = (root / "raw" / name).read_bytes()
        if name != LIGHT:  # a start in whole seconds, and no exposure: a fast series may look so
            start = camera_file.format_card("DATE-OBS", "2026-05-17T05:00:00.123")
            content = camera_file.replace_card(content, "DATE-OBS", start)
            (root / "raw" / name).write_bytes(content)
        changed = (camera_file.pixels(content) * (1.03 if name == LIGHT else 1.001)).astype(np.uint16)
        (root / "raw" / copy).write_bytes(camera_file.replace_pixels(content, changed))
    for path in (root / "raw").iterdir():
        time = 1_700_000_000 + 1000 * ("corrected" in path.name)
        os.utime(path, (time, time))
    return root / "raw"


def taken_in(raw: Path, root: Path, names: list[str], *, apart: bool) -> Bench:
    bench = Bench(raw, root)
    for some in [[name] for name in names] if apart else [names]:
        bench.see(raw / name for name in some)
        bench.ingest()
    bench.close()
    bench.run(Wish(only=("bias_master", "reduce_light")))
    return bench


def test_a_changed_copy_of_a_light_is_held_out_whatever_the_order(raw: Path, tmp_path: Path) -> None:
    names = sorted(path.name for path in raw.iterdir())
    seen = []
    for number, order in enumerate((names, names[::-1])):
        bench = taken_in(raw, tmp_path / str(number), order, apart=number == 1)
        state, reason = bench.state_of(COPY)
        assert state == "set_aside"
        assert reason.startswith(f"duplicate: a changed copy of {LIGHT}, with its camera, start, exposure and noise")
        lights = [row for row in bench.products() if row.recipe == "reduce_light"]
        assert len(lights) == 2
        assert len(bench.files()) == len(names)  # nothing is lost
        (master,) = [row for row in bench.products() if row.recipe == "bias_master"]
        told = "2 of its frames share camera, start and exposure with another (bias-001-corrected.fit, bias-001.fit)"
        assert any(one.startswith(told) for one in master.grade_reasons)
        assert master.grade >= "B"
        seen.append(sorted(row.fingerprint for row in lights))
        bench.space.database.close()
    assert seen[0] == seen[1]


def test_where_the_original_is_gone_its_copy_counts(raw: Path, tmp_path: Path) -> None:
    bench = taken_in(raw, tmp_path, [COPY, "crew-1-B-002.fit"], apart=False)
    assert bench.state_of(COPY)[0] != "set_aside"
    assert len([row for row in bench.products() if row.recipe == "reduce_light"]) == 2

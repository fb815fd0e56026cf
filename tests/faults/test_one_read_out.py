"""What a camera's program gets wrong and no header tells: one read-out under two times, numbers on another scale, a sign that was lost."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from nightcrew.io.products import read_image_product
from nightcrew.ledger.rows import ProductRow
from nightcrew.simulate import camera_file
from tasks import stacks
from tests.support.small_nights import Bench, make_raw, small_plan
from tests.support.undrawn import undrawn


def spoil(path: Path, keyword: str, card: bytes) -> None:
    path.write_bytes(camera_file.replace_card(path.read_bytes(), keyword, card.ljust(80)))


def repeat(of: Path, path: Path) -> None:
    """The pixels of one file under the header of another."""
    path.write_bytes(camera_file.replace_pixels(path.read_bytes(), camera_file.pixels(of.read_bytes())))


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """Biases and lights of which one repeats another's read-out, one has another gain, one has none, and one has lost its BZERO."""
    root = tmp_path_factory.mktemp("night")
    plan = small_plan(pixels=64)
    make_raw(root, replace(plan, n_bias=5, n_flats=3, darks=plan.darks[:1], targets=(replace(plan.targets[0], repeats=4),)))
    raw = root / "raw"
    repeat(raw / "bias-001.fit", raw / "bias-002.fit")
    spoil(raw / "bias-005.fit", "BZERO", b"COMMENT lost")
    repeat(raw / "crew-1-V-001.fit", raw / "crew-1-V-002.fit")
    spoil(raw / "crew-1-B-002.fit", "EGAIN", camera_file.format_card("EGAIN", 13.0))
    spoil(raw / "crew-1-B-003.fit", "EGAIN", b"COMMENT unknown")
    for path in raw.glob("crew-1-B-00[234].fit"):  # four lights that lie on each other
        path.write_bytes(camera_file.replace_pixels(path.read_bytes(), camera_file.pixels((raw / "crew-1-B-001.fit").read_bytes())))
        noise = np.random.default_rng(int(path.stem[-1])).integers(0, 5, (64, 64)).astype(np.uint16)
        path.write_bytes(camera_file.replace_pixels(path.read_bytes(), camera_file.pixels(path.read_bytes()) + noise))
    made = Bench(raw, root / "root")
    with undrawn():
        made.night()
    yield made
    made.space.database.close()


def stack_of(night: Bench, name: str) -> ProductRow:
    (row,) = [row for row in night.products() if row.recipe == "stack" and row.facts["filter"] == name]
    return row


def test_a_read_out_given_twice_counts_once_in_a_master(night: Bench) -> None:
    """A bias whose pixels are those of another: the camera handed its buffer out again."""
    (row,) = [row for row in night.products() if row.recipe == "bias_master"]
    assert row.metrics["n_frames"] == 3
    state, reason = night.state_of("bias-002.fit")
    assert state == "set_aside"
    assert "its pixels are those of bias-001.fit" in reason
    good = [camera_file.pixels((night.folder / f"bias-00{n}.fit").read_bytes()).astype(np.float64) for n in (1, 3, 4)]
    assert np.abs(read_image_product(night.space.context.file(row, "image")).science - np.median(good, axis=0)).max() < 0.01


def test_a_bias_far_below_0_is_left_out(night: Bench) -> None:
    """A bias that lost its BZERO; a whole set of such agrees with itself."""
    state, reason = night.state_of("bias-005.fit")
    assert state == "set_aside"
    assert "no read-out lies so far below 0" in reason


def test_a_light_given_twice_counts_once_in_a_stack(night: Bench) -> None:
    """A light whose pixels are those of another."""
    row = stack_of(night, "V")
    (left_out,) = row.metrics["left_out"].values()
    assert "its pixels are those of" in left_out
    assert any("it counts once" in reason for reason in row.grade_reasons)


def test_lights_of_another_scale_enter_no_stack(night: Bench) -> None:
    """A light in ADU, and one in electrons by another gain, among two that agree: electrons and ADU are never averaged."""
    row = stack_of(night, "B")
    assert row.metrics["unit"] == "electron"
    reasons = sorted(row.metrics["left_out"].values())
    assert [("in adu" in reason, "a gain of 13" in reason) for reason in reasons] == [(True, False), (False, True)]
    good = [
        one
        for one in night.products()
        if one.recipe == "reduce_light" and one.facts["filter"] == "B" and one.key not in row.metrics["left_out"]
    ]
    planes = [read_image_product(night.space.context.file(one, "image")).science for one in good]
    assert len(planes) == 2
    stacked = read_image_product(night.space.context.file(row, "image")).science
    assert abs(float(np.nanmedian(stacked)) - float(np.nanmedian(np.mean(planes, axis=0)))) < 1.0


@pytest.mark.parametrize(
    ("scales", "kept", "told"),
    [
        ([("electron", 1.3), ("electron", 1.301)], 2, 0),
        ([("adu", None), ("electron", 1.3)], 1, 1),
        ([("adu", None), ("adu", None)], 2, 0),
        ([("adu", None), ("electron", 1.3), ("electron", 1.3)], 2, 0),
        ([("electron", 1.3), ("electron", 13.0), ("electron", 2.6)], 1, 1),
    ],
)
def test_the_scale_of_most_counts_and_where_nobody_can_say_it_is_told(
    monkeypatch: pytest.MonkeyPatch, scales: list[tuple[str, float | None]], kept: int, told: int
) -> None:
    rows: list[Any] = [SimpleNamespace(key=str(number)) for number in range(len(scales))]
    monkeypatch.setattr(stacks, "_scale", lambda _context, row: scales[int(row.key)])
    found = stacks._of_one_scale(None, rows)  # type: ignore[arg-type]
    assert (len(found[0]), len(found[1]), len(found[2])) == (kept, len(scales) - kept, told)
    assert told == 0 or scales[int(found[0][0].key)][0] == "electron"

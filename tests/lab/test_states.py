"""What frames are taken with and where they are saturated: frames of several states, sizes, filters and number formats never mix."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

from nightcrew.detector.set_up import SetUp
from nightcrew.errors import RejectedInput
from nightcrew.io.headers import read_hdus
from nightcrew.io.images import read_image
from nightcrew.lab.convert import Section
from nightcrew.lab.flats import choose_dark, find_darks
from nightcrew.lab.groups import group_frames, name_parts
from nightcrew.lab.index import index_sections
from nightcrew.lab.options import LabOptions
from nightcrew.lab.records import LabFrame, read_index
from nightcrew.lab.results import LabMade
from nightcrew.lab.saturation import by_set_up, saturation_of, top_of
from nightcrew.lab.states import odd_sizes_aside, of_state, one_state, states_of
from tasks.lab_bias import bias_step
from tasks.lab_changes import degradation_step, structure_step
from tasks.lab_dark import dark_step
from tasks.lab_flats import flat_step, labels_of
from tasks.lab_run import masters_of, models_of
from tests.lab.conftest import Campaign
from tests.lab.test_index import frame as fits_frame

QUICK = LabOptions(save_plots=False)


def lab(kind: str, **values: Any) -> LabFrame:
    return LabFrame(**{"path": Path("x.fits"), "caltype": kind, "temperature_c": 10.0, **values})


@pytest.mark.parametrize(
    ("bits", "shift", "step", "highest", "expected"),
    [
        (16, 0, 16, 65520.0, 65520.0),  # 12 bits stored x16, the configuration states the words
        (12, 0, 16, 40000.0, 65520.0),  # 12 bits in the upper end
        (12, 0, 1, 4095.0, 4095.0),  # and in the lower one
        (12, 0, 1, 9000.0, 65535.0),  # which the data contradict
        (16, 4, 1, 4095.0, 4095.0),  # shifted down while converting
        (14, 0, 4, 60000.0, 65532.0),
        (10, 0, 64, 60000.0, 65472.0),
        (8, 0, 1, 255.0, 255.0),
        (0, 0, 1, 60000.0, 65535.0),
    ],
)
def test_the_end_of_the_scale_by_the_form_of_the_numbers(bits: int, shift: int, step: int, highest: float, expected: float) -> None:
    assert top_of(bits, shift, step, highest) == expected


def test_saturation_of_a_campaign() -> None:
    def some(*highest: float, **values: Any) -> list[LabFrame]:
        return [lab("DARK", highest_adu=one, **{"step_adu": 1, **values}) for one in highest]

    assert saturation_of(some(30_000.0, 65_520.0, step_adu=16)) == 65_520
    assert saturation_of(some(900.0, 4_095.0, bit_depth=16)) == 4_095  # a converter of 12 bits in words of 16
    assert saturation_of(some(900.0, 3_000.0, bit_depth=16)) == 65_535
    assert saturation_of(some(900.0, 65_525.0)) == 65_525
    assert saturation_of(some(900.0, 4_095.0, set_up=SetUp(shift_bits="4"))) == 4_095
    assert saturation_of(some(900.0, 1_000.0, saturation_adu=50_000.0)) == 50_000
    assert saturation_of([lab("DARK")]) == 65_520


def test_a_shifted_campaign_masks_its_saturated_pixels(tiny: Campaign, tmp_path: Path) -> None:
    """The same frames, 12 bits stored as they are: with the end of the scale at 65520 nothing was ever saturated."""
    frames = []
    for number, one in enumerate(f for f in tiny.frames if f.caltype != "FLAT"):
        pixels = read_image(one.path) >> np.uint16(4)
        if one.caltype == "DARK":
            pixels[3, 5] = 4095
        path = tmp_path / f"{number}.fits"
        fits.writeto(path, pixels)
        frames.append(replace(one, path=path, set_up=replace(one.set_up, shift_bits="4"), step_adu=1, highest_adu=float(pixels.max())))
    bias = bias_step(frames, tmp_path / "b", QUICK)
    made = dark_step(frames, bias.model, tmp_path / "d", QUICK, mode="fit_2d_model")
    assert made.model is not None
    assert np.isnan(made.model.rate[3, 5])
    assert np.isfinite(made.model.rate).sum() >= made.model.rate.size - 5


def test_the_index_tells_the_set_up_and_the_form_of_the_numbers(tmp_path: Path) -> None:
    pixels = (np.arange(1, 101, dtype=np.uint16) * 16).reshape(10, 10)
    cards = {"TEMP": 1.0, "INSTRUME": "QHY 1", "GAIN": 26.0, "OFFSET": 30, "READOUTM": "fast", "XBINNING": 2, "YBINNING": 2, "BITSHIFT": 4}
    fits_frame(tmp_path / "Bias" / "a.fits", pixels, **cards, BITDEPTH=12)
    (row,) = index_sections([Section(tmp_path / "Bias", "BIAS")]).frames
    assert row.set_up == SetUp(camera="QHY 1", gain_setting="26", offset_setting="30", readout_mode="fast", binning="2x2", shift_bits="4")
    assert (row.bit_depth, row.step_adu, row.highest_adu, row.saturated_fraction) == (12, 16, 1600.0, 0.0)
    from nightcrew.lab.index import write_frames_index

    (back,) = read_index(write_frames_index(tmp_path / "index.csv", [row]))
    assert replace(back, path=row.path, attempt=row.attempt) == row


def test_a_frame_of_12_bits_that_is_full_is_bad(tmp_path: Path) -> None:
    full = np.full((10, 10), 4095, np.uint16)
    full[0, :4] = 17
    fits_frame(tmp_path / "Bias" / "a.fits", full, TEMP=1.0, BITDEPTH=12)
    (row,) = index_sections([Section(tmp_path / "Bias", "BIAS")]).frames
    assert row.saturated_fraction == 0.96
    assert "saturated" in row.reason


def test_readings_of_one_dose_are_one_and_the_folder_counts_first() -> None:
    log = [lab("BIAS", stage="radiating", dose_krad=dose) for dose in (5.0, 5.01, 5.02, 10.0, 10.1)]
    assert len(set(states_of(log))) == 2
    assert [group.dose_krad for group in group_frames(log)] == [pytest.approx(5.01), pytest.approx(10.05)]
    ramp = [lab("BIAS", attempt=f"Irradiation/{d}kRads/a", stage="radiating", dose_krad=d - n) for d in (5, 10) for n in (4.9, 2.0, 0.0)]
    assert [state.dose_krad for state in states_of(ramp)] == [5.0] * 3 + [10.0] * 3


def test_a_ramp_of_dose_or_temperature_is_not_one_cell() -> None:
    """Readings 1 % apart: from neighbour to neighbour 10 and 20 kRad were one dose."""
    doses = [10 * 1.01**n for n in range(71)]
    ramp = [lab("BIAS", stage="radiating", dose_krad=dose) for dose in doses]
    for dose, state in zip(doses, states_of(ramp), strict=True):
        assert dose == pytest.approx(state.dose_krad, rel=0.021)
    assert len(set(states_of(ramp))) < 40
    cooling = [lab("DARK", temperature_c=20 - 0.3 * n, exposure_s=5.0) for n in range(60)]
    for group in group_frames(cooling):
        t = [frame.temperature_c or 0.0 for frame in group.frames]
        assert 0.2 < max(t) - min(t) <= 1.5 + 1e-9


def test_bias_and_darks_of_a_model_are_of_one_state() -> None:
    """Bias frames before irradiation and darks only after it: each by itself would be of another state."""
    frames = [lab("BIAS", stage="pre")] * 3 + [lab("BIAS", stage="post")] * 2 + [lab("DARK", stage="post")] * 4
    state, warnings = one_state(frames)
    assert state is not None
    assert state.stage == "post"
    assert len(of_state(frames, state)) == 6
    assert "frames of post; frames of 1 other states were not mixed in" in warnings[0]
    gains = [lab("BIAS", set_up=SetUp(gain_setting=g)) for g in ("1", "1", "2")]
    assert one_state(gains)[0] == states_of(gains)[0]


def test_darks_of_another_state_than_the_bias_are_no_darks_for_it(tiny: Campaign, tmp_path: Path) -> None:
    frames = [replace(frame, stage="pre" if frame.caltype == "BIAS" else "post") for frame in tiny.frames]
    bias = bias_step(frames, tmp_path, QUICK)
    with pytest.raises(RejectedInput, match=r"no usable dark of .* of pre, which the bias frames are of"):
        dark_step(frames, bias.model, tmp_path, QUICK)


def test_masters_and_darks_for_flats_keep_to_their_state(tiny: Campaign) -> None:
    flat = next(frame for frame in tiny.frames if frame.caltype == "FLAT")
    groups = group_frames(find_darks(tiny.frames))
    assert choose_dark(flat, groups) is not None
    assert choose_dark(replace(flat, set_up=replace(flat.set_up, gain_setting="9")), groups) is None
    other = group_frames(find_darks([replace(frame, stage="pre", dose_krad=0.0) for frame in tiny.frames]))
    assert choose_dark(replace(flat, stage="post", dose_krad=40.0), other) is None
    two = group_frames([lab("BIAS"), lab("BIAS", set_up=SetUp(gain_setting="2", binning="2x2"))])
    assert [name_parts(group) for group in two] == ["gainnone-bin1x1_", "gain2-bin2x2_"]


def test_a_frame_of_an_odd_size_is_set_aside_and_ends_nothing(tiny: Campaign, tmp_path: Path) -> None:
    frames = list(tiny.frames)
    place = next(n for n, frame in enumerate(frames) if frame.caltype == "BIAS")
    fits.writeto(tmp_path / "odd.fits", np.full((7, 9), 3000, np.uint16))
    frames[place] = replace(frames[place], path=tmp_path / "odd.fits", nx=9, ny=7)
    aside = odd_sizes_aside(frames)
    assert [n for n, frame in enumerate(aside) if frame.bad] == [place]
    assert aside[place].reason.startswith("9 x 7 pixels, 50 other frames have 64 x 48")
    made = LabMade(title="odd", frames=frames)
    masters_of(made, tmp_path / "out", QUICK)
    models_of(made, tmp_path / "out", QUICK, only=["bias", "structure"])
    assert made.missing == {}
    assert made.bias is not None
    assert len(made.bias.frames) == sum(frame.caltype == "BIAS" for frame in frames) - 1


def test_a_level_of_bias_frames_far_apart_holds_at_one_temperature_only(tiny: Campaign, tmp_path: Path) -> None:
    """Two frames 20 K apart have no slope; their mean was used for every temperature between them."""
    biases = sorted((frame for frame in tiny.frames if frame.caltype == "BIAS"), key=lambda frame: frame.temperature_c or 0)
    made = bias_step([biases[0], biases[-1]], tmp_path, QUICK)
    assert "no slope" in made.warnings[0]
    assert len(made.frames) == 1
    t = made.frames[0].temperature_c or 0.0
    assert made.model.outside(t) == ""
    assert made.model.outside(10.0)
    with pytest.raises(RejectedInput, match="the bias of the darks is not known"):
        dark_step(
            [*made.frames, *(f for f in tiny.frames if f.caltype == "DARK" and (f.temperature_c or 0) > 25)], made.model, tmp_path, QUICK
        )


def filtered(tiny: Campaign, tmp_path: Path) -> list[LabFrame]:
    """The campaign, its flats in two filters of different vignetting and pattern, interleaved in time."""
    rng = np.random.default_rng(3)
    pattern = 1 + rng.normal(0, 0.05, (48, 64))
    frames: list[LabFrame] = []
    for number, one in enumerate(tiny.frames):
        if one.caltype != "FLAT":
            frames.append(one)
            continue
        name = "VB"[number % 2]
        path = one.path
        if name == "B":
            path = tmp_path / "in" / f"{number}.fits"
            path.parent.mkdir(exist_ok=True)
            fits.writeto(path, np.rint(3300 + (read_image(one.path) - 3300.0) * pattern).astype(np.uint16))
        frames.append(replace(one, path=path, filter=name))
    return frames


def test_filters_are_never_compared_with_each_other(tiny: Campaign, tmp_path: Path) -> None:
    frames = filtered(tiny, tmp_path)
    made = degradation_step(frames, tmp_path / "d", QUICK)
    assert {one.kind for one in made.seen} == {"B", "V"}
    changed = sum(made.classes["temperature"].values())
    assert changed < 0.02 * 48 * 64  # against the other filter's pattern most pixels would differ
    with (tmp_path / "d" / "analysis_flats.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["analysis_type"] == "temperature"]
    assert {row["filter"] for row in rows} == {"B", "V"}
    structure = structure_step(frames, tmp_path / "s", QUICK)
    assert sum(structure.classes["structure"].values()) < 0.02 * 48 * 64


def test_flats_are_combined_within_their_filter_and_state_only(tiny: Campaign, tmp_path: Path) -> None:
    flats = [frame for frame in tiny.frames if frame.caltype == "FLAT"]
    assert set(labels_of(flats)) == {""}
    mixed = [replace(flat, filter="V", stage=("pre", "post")[n % 2], dose_krad=(0.0, 40.0)[n % 2]) for n, flat in enumerate(flats)]
    assert set(labels_of(mixed)) == {"V pre 0 kRad", "V post 40 kRad"}
    darks = [frame for frame in tiny.frames if frame.caltype == "DARK"]
    made = flat_step([*mixed, *darks], tmp_path, QUICK, mode="fit_model")
    assert set(made.models) == set(made.vignetting) == {"V pre 0 kRad", "V post 40 kRad"}
    assert {master.label for master in made.masters} == set(made.models)


def test_darks_of_another_exposure_are_scaled_so_that_hot_pixels_are_no_changes(tmp_path: Path) -> None:
    """Flats of 0.5 and 1 s with darks of 1 s: hot pixels were taken off twice too much from the shorter ones, and counted as changed."""
    rng = np.random.default_rng(2)
    rate = np.full((40, 50), 10.0)
    rate.flat[rng.choice(2000, 30, replace=False)] = 8000.0
    frames: list[LabFrame] = []

    def put(kind: str, number: int, seconds: float, light: float) -> None:
        pixels = 3000 + rate * seconds + light * seconds + rng.normal(0, 8, rate.shape)
        path = tmp_path / f"{kind}{number}_{seconds:g}.fits"
        fits.writeto(path, np.rint(pixels).astype(np.uint16))
        frames.append(lab(kind, path=path, exposure_s=seconds, timestamp_s=float(len(frames)), nx=50, ny=40, attempt="a"))

    for number in range(4):
        put("BIAS", number, 0.0, 0.0)
        put("DARK", number, 1.0, 0.0)
    for seconds in (0.5, 1.0):
        for number in range(3):
            put("FLAT", number, seconds, 20_000.0)
    made = degradation_step(frames, tmp_path / "out", QUICK)
    assert sum(made.classes["temperature"].values()) <= 2
    flats = flat_step(frames, tmp_path / "flat", QUICK, mode="reduce_only")
    assert (flats.frames, flats.unscaled) == (6, "")
    short = read_image(tmp_path / "flat" / "flat_reduced" / "a_FLAT0_0.5_FLAT_REDUCED_WITH_DARK.fits")
    hot = rate > 1000
    assert float(short[hot].mean()) == pytest.approx(10_000, rel=0.005)


def test_flats_of_several_set_ups_have_their_own_saturation_and_darks_that_were_not_scaled_are_told(tmp_path: Path) -> None:
    """The end of the scale of the first set-up, 4095, left no pixel of the second one's flats."""
    rng = np.random.default_rng(5)
    frames: list[LabFrame] = []
    for gain, top, level in (("1", 4095.0, 2000.0), ("2", 65_535.0, 30_000.0)):
        for kind, seconds, mean in (("DARK", 1.0, 300.0), ("FLAT", 0.5, level), ("FLAT", 0.5, level)):
            path = tmp_path / f"{gain}{kind}{len(frames)}.fits"
            fits.writeto(path, np.rint(rng.normal(mean, 5, (20, 24))).astype(np.uint16))
            about = {"exposure_s": seconds, "timestamp_s": float(len(frames)), "nx": 24, "ny": 20, "attempt": "a"}
            frames.append(lab(kind, path=path, set_up=SetUp(gain_setting=gain), step_adu=1, highest_adu=top, **about))
    assert sorted(by_set_up(QUICK, frames).values()) == [4095.0, 65_535.0]
    assert set(by_set_up(replace(QUICK, saturation_adu=9.0), frames).values()) == {9.0}
    made = flat_step(frames, tmp_path / "flat", QUICK, mode="reduce_only")
    sentence = "4 of 4 flats were reduced with darks of another exposure as they are"
    assert made.unscaled.startswith(sentence)
    assert made.warnings == [made.unscaled]
    reduced = sorted((tmp_path / "flat" / "flat_reduced").glob("*.fits"))
    assert all(np.isfinite(read_image(path)).all() for path in reduced)
    assert {read_hdus(path, first_only=True)[0].cards["FLAT_DARK_SCAL"] for path in reduced} == {"not scaled"}
    changes = degradation_step(frames, tmp_path / "out", QUICK)
    assert [text.startswith(sentence) for text in changes.warnings] == [True]
    assert len(changes.seen) == 8

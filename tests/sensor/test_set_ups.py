"""Set-ups, filters and binnings keep apart; frames that do not fit are named and the rest goes on."""

from __future__ import annotations

import math
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nightcrew.errors import RejectedInput, TransientError
from nightcrew.sensor.characterise import RegionResult, SensorResult, characterise
from nightcrew.sensor.emva1288 import Linear1288
from nightcrew.sensor.frames import SensorFrame, UnreadableFrame, Window, of_array
from nightcrew.sensor.groups import group_frames, same_exposure
from nightcrew.sensor.hot_lists import WARM_COLUMNS
from nightcrew.sensor.options import DataSheet
from nightcrew.sensor.sensor_data import SensorData
from nightcrew.simulate.sensor import SensorModel
from reports import sensor_tables
from reports.sensor import grade_of, grown_since, tables_of
from reports.sensor_quantities import quantities
from reports.summary import Quantity
from tests.sensor.sets import QUICK, SMALL, frames_of, measured, small_plan, whole

LEVELS = (0.1, 0.2, 0.3, 0.5)


def with_header(frames: list[SensorFrame], tag: str, **values: Any) -> list[SensorFrame]:
    return [replace(frame, name=f"{tag}-{frame.name}", header=replace(frame.header, **values)) for frame in frames]


def two_gains() -> SensorResult:
    frames = with_header(frames_of(small_plan(replace(SMALL, gain_e_per_adu=1.5), flat_levels=LEVELS), 1), "a", gain_setting="100")
    frames += with_header(frames_of(small_plan(replace(SMALL, gain_e_per_adu=4.5), flat_levels=LEVELS), 1), "b", gain_setting="0")
    return characterise(frames, QUICK)


def test_every_set_up_has_its_own_gain_in_the_tables() -> None:
    result = two_gains()
    frames = [frame for group in result.grouping.groups for frame in group.frames]
    table = tables_of(result, frames).data_summary
    assert table["set_up"].nunique() == 2
    for label, truth in (("gain 100", 1.5), ("gain 0", 4.5)):
        mine = table[[label in name for name in table["set_up"]]]
        assert len(mine) == len(LEVELS)
        ratio = mine["avg_signal-offset(e-)"] / mine["avg_signal-offset"]
        assert ratio.to_numpy() == pytest.approx(truth, rel=0.03)  # one gain stood for both


def test_reasons_name_their_set_up() -> None:
    plan = small_plan(flat_levels=LEVELS)
    frames = with_header(frames_of(plan, 1), "a", gain_setting="100") + with_header(
        frames_of(replace(plan, biases=1), 2), "b", gain_setting="0"
    )
    grade, reasons = grade_of(characterise(frames, QUICK))
    assert grade == "B"
    assert all("gain 0: " in reason for reason in reasons)


def test_crop_over_amplifiers_of_other_gains_has_no_electrons() -> None:
    from nightcrew.simulate.sensor_set import preset

    plan = replace(preset("amplifiers"), dark_exposures_s=(), flat_darks=False, flat_levels=LEVELS)
    frames = frames_of(plan, 2)
    result = characterise(frames, replace(QUICK, amplifiers=(2, 1)))
    table = tables_of(result, frames).data_summary
    assert "shot+read(e-)" not in table or table["shot+read(e-)"].isna().all()
    inside = characterise(frames, replace(QUICK, amplifiers=(2, 1), crop=Window(0, 100, 0, 100)))
    assert tables_of(inside, frames).data_summary["shot+read(e-)"].notna().all()


def test_hot_pixels_are_compared_within_their_set_up(tmp_path: Path) -> None:
    model = replace(SMALL, hot_fraction=5e-3)
    plan = small_plan(model, dark_exposures_s=(300.0,), flat_levels=LEVELS, biases=4)
    frames = with_header(frames_of(plan, 1), "a", gain_setting="100") + with_header(frames_of(plan, 2), "b", gain_setting="0")
    result = characterise(frames, QUICK)
    sensor_tables.save_table(tmp_path, "warm_pixels", WARM_COLUMNS, sensor_tables.warm_rows(result))
    grown = grown_since(result, tmp_path)
    assert len(grown) == 2  # the second set-up was left out, and both were looked up in one heap of pixels
    assert all((one.new, one.gone, one.median_ratio) == (0, 0, 1.0) for one in grown)
    assert len({one.set_up for one in grown}) == 2


def filters(factor: float) -> SensorResult:
    """A dense sweep in V; in B the lamp is ``factor`` as bright, and every exposure is there, too."""
    plan = small_plan(flat_levels=(*LEVELS, 0.7, 0.9, 1.05, 1.2))
    frames = frames_of(plan, 1)
    other = frames_of(replace(plan, flat_levels=tuple(factor * level for level in plan.flat_levels[:6]), filter="B"), 2)
    times = sorted({frame.header.exposure_s or 0.0 for frame in frames if frame.header.kind == "flat"})
    dim = [frame for frame in other if frame.header.kind == "flat"]
    moved = [replace(frame, name=f"B{n}", header=replace(frame.header, exposure_s=times[n // 2])) for n, frame in enumerate(dim)]
    return characterise([*frames, *moved], QUICK)


def test_emva_takes_one_filter() -> None:
    mixed, alone = whole(filters(0.3)).flats[0], whole(measured(small_plan(flat_levels=(*LEVELS, 0.7, 0.9, 1.05, 1.2)), 1)).flats[0]
    assert isinstance(mixed.emva, Linear1288)
    assert isinstance(alone.emva, Linear1288)
    assert mixed.emva == alone.emva
    assert (mixed.emva_filter, mixed.filters) == ("L", ("B", "L"))
    found = {one.name: one.where.get("filter") for one in quantities(filters(0.3))}
    assert found["emva.responsivity"] == found["linearity_error"] == "L"
    assert found["gain"] is None  # photons' noise knows no filter


def test_exposures_with_several_lamps_are_no_sweep_by_exposure() -> None:
    by_time, by_lamp = small_plan(flat_levels=LEVELS), small_plan(flat_levels=(0.15, 0.25, 0.35, 0.45, 0.6), by_illumination=True)
    frames = [*frames_of(by_time, 1), *with_header(frames_of(replace(by_lamp, biases=0), 2), "x")]
    flat = whole(characterise(frames, QUICK)).flats[0]
    assert flat.linearity is not None
    assert "several levels" in flat.linearity.reason
    assert isinstance(flat.emva, Linear1288)
    assert flat.emva.responsivity_dn_per_s is None
    assert 1 / flat.emva.gain_dn_per_e == pytest.approx(1.5, rel=0.1)


BINNED = small_plan(dark_exposures_s=(60.0, 180.0, 300.0), flat_levels=LEVELS)


def named(found: tuple[Quantity, ...], name: str, **where: object) -> Quantity:
    return next(one for one in found if one.name == name and all(one.where.get(key) == value for key, value in where.items()))


def binned() -> tuple[tuple[Quantity, ...], tuple[Quantity, ...], RegionResult]:
    """The same frames, told as not binned and as binned 2 x 3."""
    options = replace(QUICK, data_sheet=DataSheet(rate_e_per_s=112.0, at_c=60.0, doubling_k=11.0), sky_e_per_s=(("V", 0.5),))
    frames = frames_of(BINNED, 1)
    plain = characterise(frames, options)
    other = characterise(with_header(frames, "b", binning_x=2, binning_y=3), options)
    return quantities(plain), quantities(other), whole(plain)


def test_rates_and_limits_of_binned_pixels() -> None:
    plain, mine, region = binned()
    rate, six = named(plain, "dark_current"), named(mine, "dark_current", binning="2x3")
    assert rate.value is not None
    assert six.value == pytest.approx(rate.value / 6)
    assert six.error == pytest.approx((rate.error or 0) / 6)
    assert "of an unbinned pixel" in six.note
    whole_limit = named(plain, "max_practical_exposure")
    noise, gain = region.noises[0].adu, region.gain
    assert noise is not None
    assert gain is not None
    assert whole_limit.value == pytest.approx((noise * gain.value) ** 2 / rate.value)
    assert named(mine, "max_practical_exposure", binning="2x3").value == pytest.approx(whole_limit.value)
    assert named(mine, "max_practical_exposure", binning="1x1").value == pytest.approx(6 * (whole_limit.value or 0))  # t x bin^2
    ratio = "dark_current_over_data_sheet"
    assert named(mine, ratio).value == pytest.approx((named(plain, ratio).value or 0) / 6)
    least = "min_practical_exposure"
    assert named(mine, least, filter="V").value == pytest.approx((named(plain, least, filter="V").value or 0) / 6)
    assert all("binning" not in one.where for one in plain)


def test_box_outside_one_set_up_leaves_that_out() -> None:
    frames = frames_of(small_plan(flat_levels=LEVELS), 1)
    small = of_array(np.zeros((20, 20), np.uint16), name="odd", kind="bias", exposure_s=0.0, temperature_c=-10.0)
    options = replace(QUICK, box=Window(10, 60, 10, 60), crop=Window(10, 60, 10, 60))
    result = characterise([*frames, small], options)
    assert whole(result).gain is not None  # one odd frame ended the whole set
    assert "lies outside" in result.set_ups[1].remarks[0]
    data = tables_of(result, [*frames, small])
    assert [name for name, _ in data.left_out] == ["odd"]
    assert len(data.data_set) == len(frames)
    assert named(quantities(result), "gain", set_up="20x20+0+0b1x1").value is None
    assert grade_of(result)[0] == "B"


class _Broken(SensorFrame):
    """A frame whose header can be read and whose pixels cannot: for good, or while the share is away."""

    def _rows(self) -> Any:
        @contextmanager
        def broken() -> Any:
            raise RejectedInput("the compressed data end too early") if self.compressed else TransientError("the share is away")
            yield

        return broken()


def test_what_may_pass_is_not_left_out() -> None:
    frames = frames_of(small_plan(flat_levels=LEVELS), 1)
    with pytest.raises(TransientError, match="share is away"):
        characterise([_Broken(name="a", header=frames[0].header), *frames], QUICK)


def test_frames_whose_pixels_cannot_be_read_are_left_out_with_the_cause() -> None:
    frames = frames_of(small_plan(flat_levels=LEVELS), 1)
    broken = [_Broken(name=f"broken{n}", header=frames[0].header, compressed=True) for n in range(3)]
    with pytest.raises(UnreadableFrame, match="end too early"), broken[0].opened():
        pass
    result = characterise([broken[0], *frames, *broken[1:]], QUICK)
    assert [name for name, _ in result.left_out] == ["broken0", "broken1", "broken2"]
    assert whole(result).gain == whole(characterise(frames, QUICK)).gain
    assert [name for name, _ in tables_of(result, [*frames, *broken]).left_out] == []


def test_files_that_cannot_be_used_are_named_and_the_rest_is_added(tmp_path: Path) -> None:
    from nightcrew.simulate.camera_file import write_camera_file

    cards: list[Any] = [("IMAGETYP", "Bias Frame", ""), ("EXPTIME", 0.0, "")]
    for name, side in (("a.fits", 120), ("b.fits", 120), ("small.fits", 30)):
        write_camera_file(tmp_path / name, np.full((side, side), 100 + side, np.uint16), cards)
    (tmp_path / "c.fits").write_bytes(b"no FITS")
    data = SensorData(Window(0, 100, 0, 100))
    data.addFiles(tmp_path)
    assert list(data.data_set["file"]) == ["a.fits", "b.fits"]
    assert [name for name, _ in data.left_out] == ["c.fits", "small.fits"]
    assert "lies outside" in data.left_out[1][1]


@pytest.mark.parametrize(("one", "other", "same"), [(0.1 + 0.2, 0.3, True), (5.0003, 5.0, True), (5.01, 5.0, False), (0.0, 1e-5, False)])
def test_exposures_that_are_one(one: float, other: float, same: bool) -> None:
    assert same_exposure(one, other) is same


def test_exposures_that_differ_by_their_writing_are_one_group() -> None:
    frames = [of_array(np.zeros((4, 4)), name=str(n), kind="dark", exposure_s=t, temperature_c=0.0) for n, t in enumerate((0.1 + 0.2, 0.3))]
    assert len(group_frames(frames).groups) == 1


def test_darks_of_the_flats_exposure_are_found_although_written_otherwise() -> None:
    # the bright level of a high dark current: with the bias instead of the dark the signal holds the dark current, too
    model = SensorModel(nx=64, ny=64, dark_rate_e_per_s=400.0, dark_spread=0.0)
    plan = small_plan(model, flat_levels=(*LEVELS, 0.6), flat_darks=True)
    frames = frames_of(plan, 1)
    moved = [
        replace(frame, header=replace(frame.header, exposure_s=(frame.header.exposure_s or 0.0) * (1 + 2e-5)))
        if frame.header.kind == "dark"
        else frame
        for frame in frames
    ]
    same, other = (whole(characterise(found, QUICK)).flats[0].emva for found in (frames, moved))
    assert isinstance(same, Linear1288)
    assert isinstance(other, Linear1288)
    assert other.responsivity_dn_per_s == pytest.approx(same.responsivity_dn_per_s, rel=1e-6)
    assert not math.isclose(same.responsivity_dn_per_s or 0.0, (plan.lamp_e_per_s + 400.0) / 1.5, rel_tol=0.05)

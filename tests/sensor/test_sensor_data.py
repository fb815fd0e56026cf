"""photonica's quantities where its definitions are right, and its listed defects mended."""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nightcrew.errors import Refused, RejectedInput
from nightcrew.sensor.frames import SensorFrame, Window, of_array
from nightcrew.sensor.photon_transfer import SUMMARY_COLUMNS, difference_variance
from nightcrew.sensor.sensor_data import SensorData
from nightcrew.simulate.camera_file import CameraCard, write_camera_file

SHAPE = (200, 300)


def image(level: float, noise: float, seed: int, shape: tuple[int, int] = SHAPE) -> np.ndarray[tuple[int, int], np.dtype[np.uint16]]:
    values = np.random.default_rng(seed).normal(level, noise, shape)
    return np.clip(np.rint(values), 0, 65535).astype(np.uint16)


def frame(
    kind: str, seed: int, *, level: float = 1000.0, noise: float = 6.0, t: float = 0.0, warm: float | None = -10.0, **v: str
) -> SensorFrame:
    return of_array(image(level, noise, seed), name=f"{kind}-{t:g}-{warm}-{seed}.fits", kind=kind, exposure_s=t, temperature_c=warm, **v)


def tables(frames: list[SensorFrame], **options: Any) -> SensorData:
    data = SensorData(**options)
    for one in frames:
        data.add(one)
    data.calcStats()
    return data


def usual() -> list[SensorFrame]:
    flats = [frame("flat", 20 + n, level=20_000, noise=130, t=5.0, filter="V") for n in range(2)]
    return [frame("bias", n) for n in range(4)] + [frame("dark", 10 + n, level=1030, noise=8, t=60.0) for n in range(2)] + flats


def row_of(data: SensorData, kind: str) -> pd.Series:
    table = data.data_summary
    return table[table["img_type"] == kind].iloc[0]


def test_columns_in_the_order_of_the_specification() -> None:
    assert tuple(tables(usual()).data_summary.columns[: len(SUMMARY_COLUMNS)]) == SUMMARY_COLUMNS


def test_quantities_equal_the_definitions() -> None:
    frames = usual()
    data = tables(frames, offset_correction=2.0)
    crops = [np.asarray(one.data, np.float64)[50:150, 100:200] for one in frames]
    bias, pair = crops[:4], crops[6:]
    row = row_of(data, "flat")
    offset, read = np.mean([c.mean() for c in bias]), np.mean([c.std() for c in bias])
    total = np.mean([c.std() for c in pair])
    delta = (pair[1] + 10_000 - pair[0]).std()
    assert row["avg_signal"] == pytest.approx(np.mean([c.mean() for c in pair]))
    assert row["avg_signal-offset"] == pytest.approx(row["avg_signal"] - offset - 2.0)
    assert row["avg_std_dev"] == row["total_noise"] == pytest.approx(total)
    assert row["delta_std_dev"] == pytest.approx(delta)
    assert row["shot+read"] == pytest.approx(delta / math.sqrt(2))
    assert row["read(DN)"] == pytest.approx(read)
    assert row["sig_shot"] == pytest.approx(math.sqrt(delta**2 / 2 - read**2))
    assert row["offset_correction"] == 2.0


def test_fixed_pattern_equals_its_definition() -> None:
    pattern = np.random.default_rng(99).normal(0, 200, SHAPE)
    flats = [of_array(image(20_000, 130, n) + pattern, name=f"f{n}", kind="flat", exposure_s=5.0, temperature_c=-10.0) for n in range(2)]
    crops = [np.asarray(one.data, np.float64)[50:150, 100:200] for one in flats]
    row = row_of(tables([frame("bias", 1), frame("bias", 2), *flats]), "flat")
    total, delta = np.mean([crop.std() for crop in crops]), (crops[1] - crops[0]).std()
    assert row["FPN"] == pytest.approx(math.sqrt(total**2 - delta**2 / 2))
    assert row["FPN"] == pytest.approx(200, rel=0.05)


def test_data_set_holds_the_crop_of_every_frame() -> None:
    table = tables(usual()).data_set
    first = table.iloc[0]
    assert list(table.columns)[:11] == [
        "file", "img_type", "exptime", "ccd_temp", "ff_geometry", "crop_geometry", "min", "max", "signal", "std_dev", "data",
    ]  # fmt: skip  # read as a table
    assert (first["ff_geometry"], first["crop_geometry"]) == (SHAPE, (100, 100))
    assert first["data"].shape == (100, 100)
    assert first["signal"] == pytest.approx(first["data"].mean())
    assert first["signal-offset"] == pytest.approx(first["signal"] - first["offset"])


def test_crop_is_x_then_y() -> None:  # photonica took rows first
    assert tables(usual(), cropsize=(100, 50)).data_set.iloc[0]["crop_geometry"] == (50, 100)


def test_crop_larger_than_the_image_is_trimmed() -> None:
    assert tables(usual(), cropsize=(400, 400)).data_set.iloc[0]["crop_geometry"] == SHAPE


def test_box() -> None:
    crop = tables(usual(), cropsize=Window(10, 40, 20, 30)).data_set.iloc[0]["data"]
    pixels: Any = usual()[0].data
    assert np.array_equal(crop, pixels[20:30, 10:40])


def test_flats_and_darks_of_one_exposure_stay_apart() -> None:  # defect 1: they were merged
    frames = [frame("bias", n) for n in range(2)]
    frames += [frame("dark", 10 + n, level=1005, t=5.0) for n in range(2)]
    frames += [frame("flat", 20 + n, level=12_600, noise=100, t=5.0) for n in range(2)]
    data = tables(frames)
    assert row_of(data, "flat")["avg_signal"] == pytest.approx(12_600, abs=5)
    assert row_of(data, "dark")["avg_signal"] == pytest.approx(1005, abs=1)


def test_filters_stay_apart() -> None:
    frames = [frame("flat", n, level=9000 + 5000 * (n // 2), noise=80, t=5.0, filter="BV"[n // 2]) for n in range(4)]
    assert list(tables(frames).data_summary["filter"]) == ["B", "V"]


def test_temperature_without_bias_is_reported_and_the_rest_goes_on() -> None:  # defect 2: KeyError
    frames = [*usual(), *(frame("dark", 50 + n, level=1100, t=60.0, warm=0.0) for n in range(2))]
    table = tables(frames).data_summary
    lonely = table[table["ccd_temp"] == 0.0].iloc[0]
    assert "no bias at this temperature" in lonely["verdict"]
    assert pd.isna(lonely["avg_signal-offset"])
    assert lonely["shot+read"] > 0
    assert row_of(tables(frames), "flat")["verdict"] == "enough"


def test_temperatures_within_the_tolerance_are_one() -> None:  # defect 2: -10.02 beside -10.00
    frames = [frame("bias", n, warm=-10.0) for n in range(2)] + [frame("dark", 9 + n, t=60.0, level=1040, warm=-10.02) for n in range(2)]
    dark = row_of(tables(frames), "dark")
    assert dark["avg_signal-offset"] == pytest.approx(40.0, abs=5 * 6.0 / np.sqrt(2 * 200 * 300) * np.sqrt(2))
    assert "no bias" not in dark["verdict"]


@pytest.mark.parametrize("pedestal", [0, 50, 10_000])
def test_pedestal_changes_nothing(pedestal: int) -> None:  # defect 3: 16-bit arithmetic
    assert row_of(tables(usual(), pedestal=pedestal), "flat")["delta_std_dev"] == row_of(tables(usual()), "flat")["delta_std_dev"]


@pytest.mark.parametrize("count", [2, 3, 6])
def test_all_pairs_count(count: int) -> None:  # defect 4: first and last alone
    crops = [image(1000 + 3 * n, 10, n, (50, 50)) for n in range(count)]
    variance, pairs = difference_variance(crops)
    every = [np.var(crops[i].astype(float) - crops[j]) for i in range(count) for j in range(i)]
    assert pairs == len(every)
    assert variance == pytest.approx(np.mean(every))


@settings(max_examples=10, deadline=None)
@given(st.randoms(use_true_random=False))
def test_order_of_the_files_does_not_matter(shuffler: random.Random) -> None:  # defect 4: order of the listing
    frames = [frame("bias", n) for n in range(3)] + [frame("dark", 10 + n, level=1030, t=60.0) for n in range(5)]
    mixed = list(frames)
    shuffler.shuffle(mixed)
    pd.testing.assert_frame_equal(tables(mixed).data_summary, tables(frames).data_summary)


def test_one_frame_says_what_it_lacks() -> None:  # defect 5
    data = tables([frame("bias", 1), frame("bias", 2), frame("dark", 3, t=60.0, level=1030)])
    row = row_of(data, "dark")
    assert "needs 1 more" in row["verdict"]
    assert pd.isna(row["shot+read"])
    assert pd.isna(row["FPN"])


def test_short_exposures_count() -> None:  # defect 6: below 1 s was dropped
    data = tables([frame("bias", 1), frame("bias", 2), *(frame("flat", 5 + n, level=5000, noise=60, t=0.5) for n in range(2))])
    assert row_of(data, "flat")["exptime"] == 0.5


@pytest.mark.parametrize(
    ("keyword", "value", "kind"),
    [
        ("PICTTYPE", 2, "bias"),
        ("PICTTYPE", 3, "dark"),
        ("PICTTYPE", 4, "flat"),
        ("IMAGETYP", "Flat Field", "flat"),
        ("OBSTYPE", "BIAS", "bias"),
    ],
)
def test_kinds_by_their_keywords(tmp_path: Path, keyword: str, value: str | int, kind: str) -> None:  # defect 7
    path = tmp_path / "a.fit"
    write_camera_file(path, image(1000, 5, 1, (120, 120)), [(keyword, value, ""), ("EXPTIME", 1.0, ""), ("CCD-TEMP", -10.0, "")])
    data = SensorData()
    data.addFile(path)
    assert data.data_set.iloc[0]["img_type"] == kind


def test_temporal_read_noise_beside_the_spatial_one() -> None:  # defect 8
    pattern = np.random.default_rng(99).normal(0, 20, SHAPE)
    biases = [of_array(image(1000, 6, n) + pattern, name=f"b{n}", kind="bias", exposure_s=0.0, temperature_c=-10.0) for n in range(2)]
    row = row_of(tables([*biases, frame("dark", 8, t=60.0), frame("dark", 9, t=60.0)]), "dark")
    assert row["read(DN)"] == pytest.approx(math.hypot(6, 20), rel=0.05)
    assert row["temporal_read(DN)"] == pytest.approx(6, rel=0.05)


def test_negative_difference_has_its_reason() -> None:  # defect 11: a bare NaN
    row = row_of(tables([frame("bias", 1, noise=8), frame("bias", 2, noise=8), *(frame("dark", 5 + n, t=60.0) for n in range(2))]), "dark")
    assert pd.isna(row["sig_shot"])
    assert "does not exceed the read noise" in row["verdict"]


def test_electrons_when_the_gain_is_known() -> None:
    row = row_of(tables(usual(), gain_e_per_adu=1.3), "flat")
    assert row["shot+read(e-)"] == pytest.approx(1.3 * row["shot+read"])


def test_folder_and_list_give_the_same(tmp_path: Path) -> None:
    for n in range(3):
        cards: list[CameraCard] = [("IMAGETYP", "Bias Frame", ""), ("EXPTIME", 0.0, ""), ("CCD-TEMP", -10.0, "")]
        write_camera_file(tmp_path / f"b{n}.FIT", image(1000, 5, n, (120, 120)), cards)
    one, other = SensorData(), SensorData()
    one.addFiles(tmp_path)
    other.addFiles(sorted(tmp_path.iterdir()))
    assert list(one.data_set["file"]) == list(other.data_set["file"]) == ["b0.FIT", "b1.FIT", "b2.FIT"]


def test_what_is_no_frame_is_told(tmp_path: Path) -> None:
    (tmp_path / "x.fits").write_bytes(b"not a FITS file")
    with pytest.raises(RejectedInput):
        SensorData().addFile(tmp_path / "x.fits")
    with pytest.raises(Refused, match="no folder"):
        SensorData().addFiles(tmp_path / "absent")

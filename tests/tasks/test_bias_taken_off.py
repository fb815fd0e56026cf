"""Lights whose bias the camera's program took off: in pixels they are what the raw ones are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nightcrew.frames.model import FrameHeader
from nightcrew.io.products import read_image_product
from nightcrew.lights.reduce import Master
from nightcrew.planning.groups import BIAS_TAKEN_OFF
from nightcrew.simulate import camera_file
from nightcrew.simulate.camera_file import format_card, replace_card
from nightcrew.simulate.detector import CameraModel, build_detector
from tasks.bias_told import light_with_bias, without_pedestal
from tasks.executor import Wish
from tests.support.small_nights import Bench, make_raw, small_plan

BIAS_ADU = 1000
MADE = Wish(only=("bias_master", "dark_master", "thermal_master", "flat_master", "bad_pixel_mask", "reduce_light"))


def without_bias(content: bytes, bias_adu: int = BIAS_ADU, *, told: bool = True) -> bytes:
    """The frame as a program leaves it that takes the bias off and says so (or does not)."""
    pixels = camera_file.pixels(content).astype(np.int64) - bias_adu
    changed = camera_file.replace_pixels(content, np.clip(pixels, 0, 65535).astype(np.uint16))
    return changed if not told else replace_card(changed, "OBSERVER", format_card("CALSTAT", "B", "calibration done"))


@pytest.mark.parametrize(("kinds", "pedestal"), [(("crew-1-B-001",), 0), (("crew-1-B-001",), 100), (("crew-1-B-001", "flat-B"), 0)])
def test_the_bias_is_not_taken_off_a_second_time(tmp_path: Path, kinds: tuple[str, ...], pedestal: int) -> None:
    """Beside a raw light of the same field: equal levels, whatever else came without its bias, and whatever its program added."""
    make_raw(tmp_path, small_plan())
    raw = tmp_path / "raw"
    for path in sorted(raw.iterdir()):
        if path.name.startswith(kinds):
            content = without_bias(path.read_bytes(), BIAS_ADU - pedestal)
            path.write_bytes(replace_card(content, "PEDESTAL", format_card("PEDESTAL", -pedestal, "correction to add")))
        elif path.name.startswith(("crew-1-V", "flat-V")):
            path.unlink()
    bench = Bench(raw, tmp_path / "out")
    bench.see()
    bench.ingest()
    bench.close()
    bench.run(MADE)
    off, raw_one = sorted((row for row in bench.products() if row.recipe == "reduce_light"), key=lambda row: str(row.facts["time_utc"]))
    assert (BIAS_TAKEN_OFF in off.grade_reasons, BIAS_TAKEN_OFF in raw_one.grade_reasons) == (True, False)
    one, other = (read_image_product(bench.space.context.file(row, "image")) for row in (off, raw_one))
    noise_e = float(np.nanmedian(np.asarray(other.uncertainty)))
    assert abs(np.nanmedian(one.science) - np.nanmedian(other.science)) < 5 * 1.25 * noise_e * np.sqrt(2 / one.science.size)
    scaled_e = float(np.nanmedian(np.asarray(one.uncertainty)))  # the rate that is scaled brings the error of its bias along
    assert noise_e < scaled_e < 1.2 * noise_e
    assert off.metrics["notes"] == (["a pedestal of 100 ADU that its program had added was taken off"] if pedestal else [])


def test_the_error_of_a_bias_counts_where_the_darks_lost_another_one(tmp_path: Path) -> None:
    """A dark that holds its bias takes it off the light without the error of a bias master; one that lost some other bias does not."""
    variance: dict[str, float] = {}
    for name in ("kept", "off"):
        make_raw(tmp_path / name, small_plan())
        raw = tmp_path / name / "raw"
        for path in sorted(raw.iterdir()):
            if path.name.startswith(("flat", "crew-1-V", "crew-1-B-002")):
                path.unlink()
            elif name == "off" and path.name.startswith("dark"):
                path.write_bytes(without_bias(path.read_bytes(), BIAS_ADU - 200))  # nothing is cut off at 0
        bench = Bench(raw, tmp_path / name / "out")
        bench.see()
        bench.ingest()
        bench.close()
        bench.run(MADE)
        (light,) = (row for row in bench.products() if row.recipe == "reduce_light")
        context = bench.space.context
        variance[name] = float(np.nanmedian(np.asarray(read_image_product(context.file(light, "image")).uncertainty) ** 2))
    (bias,) = (row for row in bench.products() if row.recipe == "bias_master")
    of_bias = float(np.nanmedian(np.asarray(read_image_product(context.file(bias, "image")).uncertainty) ** 2))
    assert variance["off"] - variance["kept"] == pytest.approx(of_bias * small_plan().camera.gain_e_per_adu ** 2, rel=0.15)


def test_a_header_that_says_so_wrongly_is_contradicted(tmp_path: Path) -> None:
    """A light and the darks hold their bias though their headers deny it: each says so, with grade D."""
    make_raw(tmp_path, small_plan())
    raw = tmp_path / "raw"
    for path in sorted(raw.iterdir()):
        if path.name.startswith(("crew-1-B-001", "dark-30s")):
            path.write_bytes(without_bias(path.read_bytes(), 0))
        elif path.name.startswith(("crew-1-V", "flat-V")):
            path.unlink()
    bench = Bench(raw, tmp_path / "out")
    bench.see()
    bench.ingest()
    bench.close()
    bench.run(Wish(only=MADE.only))
    rows = [row for row in bench.products() if row.recipe in ("reduce_light", "dark_master")]
    accused = {
        f"{row.recipe} {row.facts.get('exposure_s'):g}": row.grade for row in rows if "still holds its bias" in " ".join(row.grade_reasons)
    }
    assert accused == {"dark_master 30": "D", "reduce_light 30": "D"}
    told = "its header says that its bias was taken off, but its level is"
    (light,) = (row for row in rows if row.recipe == "reduce_light" and any(reason.startswith(told) for reason in row.grade_reasons))
    assert read_image_product(bench.space.context.file(light, "image")).cards["NCGRADE"] == light.grade == "D"


@pytest.mark.parametrize(
    ("cards", "off", "has_dark", "added", "grade"),
    [
        ({"PEDESTAL": -100}, True, False, -100.0, "A"),
        ({"PEDESTAL": -100}, True, True, 0.0, "C"),  # its darks bear one, too, and it cancels; or not
        ({"PEDESTAL": 100}, True, False, 0.0, "C"),
        ({"PEDESTAL": -100}, False, False, 0.0, "A"),  # a raw light and its bias hold the same
        ({"PEDESTAL": 0}, True, False, 0.0, "A"),
        ({"PEDESTAL": "none"}, True, False, 0.0, "A"),
        ({}, True, False, 0.0, "A"),
    ],
)
def test_a_pedestal_is_taken_off_where_it_is_certain_and_told_where_it_is_not(
    cards: dict[str, Any], off: bool, has_dark: bool, added: float, grade: str
) -> None:
    header = FrameHeader(kind="light", instrument="CAM", profile="", nx=4, ny=4, bias_subtracted=off)
    found, told = without_pedestal(header, cards, has_dark=has_dark)
    assert (found, told[0], len(told[1])) == (added, grade, int(grade == "C"))


def test_a_bright_light_that_lost_its_bias_in_silence_is_told() -> None:
    """Its level stays above 0 when the bias is taken off once more."""
    made = build_detector(CameraModel(nx=384, ny=256), 5)
    rng = np.random.default_rng(1)
    frames = [made.read_out(rng, np.zeros(made.shape, np.float32)).astype(float) for _ in range(5)]
    bias = Master(np.mean(frames, axis=0), np.full(made.shape, 5.4 / np.sqrt(5)))
    light = made.expose(rng, np.asarray(made.response * 2000 * 1.3, np.float32))
    header = FrameHeader(kind="light", instrument="CAM", profile="", nx=384, ny=256, gain_e_per_adu=1.3, read_noise_e=7.0)
    without = light.astype(np.int64) - np.round(np.mean(frames[:3], axis=0)).astype(np.int64)
    grade, reasons = light_with_bias(header, without, bias)
    assert (grade, "its bias of 1000 ADU was taken off before it came, which its header does not say" in reasons[0]) == ("D", True)
    assert light_with_bias(header, light, bias) == ("A", ())


def test_what_no_header_tells_the_pixels_do(tmp_path: Path) -> None:
    """A program that takes the bias off in silence: the light is far below 0, and neither it nor what is made of it is better than D."""
    make_raw(tmp_path, small_plan())
    raw = tmp_path / "raw"
    path = raw / "crew-1-B-001.fit"
    path.write_bytes(without_bias(path.read_bytes(), told=False))
    bench = Bench(raw, tmp_path / "out")
    bench.see(path for path in sorted(raw.iterdir()) if not path.name.startswith(("crew-1-V", "flat-V")))
    bench.ingest()
    bench.close()
    bench.run(Wish(only=(*MADE.only, "photometry", "stack")))
    state, reason = bench.state_of(path.name)
    assert state == "degraded"
    assert "far below 0: bias or dark was taken off twice" in reason
    assert bench.state_of("crew-1-B-002.fit") == ("done", "grade A")
    grades = {(row.recipe, row.grade) for row in bench.products() if row.recipe in ("reduce_light", "photometry", "stack")}
    assert grades == {("reduce_light", "A"), ("reduce_light", "D"), ("photometry", "A"), ("photometry", "D"), ("stack", "D")}
    for row in bench.products():
        if row.recipe in ("reduce_light", "stack"):
            assert read_image_product(bench.space.context.file(row, "image")).cards["NCGRADE"] == row.grade

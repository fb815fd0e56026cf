"""How flats are brought to one level, and what few frames leave of a clip."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from nightcrew.calibration.combine import Combined, combine
from nightcrew.calibration.normalisation import FrameCalibration
from nightcrew.frames.flags import PixelFlag
from nightcrew.quality.flats import FlatLimits
from tasks import masters
from tasks.frames_in import Look
from tasks.gathering import Stack

SHAPE = (6, 8)
ANY = cast(Any, SimpleNamespace)


def plane(value: float) -> Any:
    return np.full(SHAPE, value, np.float32)


@pytest.mark.parametrize(
    ("roles", "below"),
    [({}, 0.0), ({"bias": "b"}, 300.0), ({"dark": "d"}, 330.0), ({"bias": "b", "thermal": "t"}, 300.0 + 2.0 * (10.0 + 0.5))],
)
def test_a_flat_less_its_overscan_bias_and_dark_is_brought_to_one(
    monkeypatch: pytest.MonkeyPatch, roles: dict[str, str], below: float
) -> None:
    """1000 ADU of light on what the masters tell, and 40 ADU of overscan; the rate is 2 ADU/s for 10 s and half a second more."""
    planes = {"b": plane(300.0), "d": plane(330.0), "t": plane(2.0)}
    monkeypatch.setattr(masters, "read_image_product", lambda name: SimpleNamespace(science=planes[name]))
    monkeypatch.setattr(masters, "flat_models", lambda *_: None)
    context = ANY(product=lambda print_: ANY(print_=print_, metrics={"offset_s": 0.5}), file=lambda row, _: row.print_)
    inputs = [ANY(frame=None, role=f"{role}_master", fingerprint=print_) for role, print_ in roles.items()]
    calibrate = masters._flat_calibrations(context, ANY(inputs=inputs, parameters={"corrections": {"f" * 64: roles}}))
    raw = plane(40.0 + below + 1000.0)
    seen = Look(0.0, 0.0, 0.0, 40.0, np.arange(SHAPE[0]), raw - np.float32(40.0))
    calibration, level, above = calibrate(ANY(sha256="f" * 64, header=ANY(exposure_s=10.0)), seen)
    assert level == pytest.approx(1000.0)
    assert above == pytest.approx(1000.0)
    np.testing.assert_allclose(combine([raw], per_frame=[calibration]).result, 1.0, rtol=1e-6)


@pytest.mark.parametrize(("values", "mean"), [((1.0, 3.0), 2.0), ((1.0, 3.0, 50.0), 3.0), ((1.0, 3.0, 5.0, 50.0), 4.0)])
def test_extremes_are_dropped_where_something_is_left(monkeypatch: pytest.MonkeyPatch, values: tuple[float, ...], mean: float) -> None:
    monkeypatch.setattr(masters, "sources", lambda frames: frames)
    stack = Stack(frames=cast(Any, [plane(value) for value in values]))
    context, planned = ANY(memory_bytes=1 << 20, threads=1), ANY(parameters={"method": "clip_extremes"})
    done = masters._combine(context, planned, stack, [FrameCalibration()] * len(values))
    np.testing.assert_allclose(done.result, mean)


def test_no_master_of_whole_numbers_is_surer_than_its_quantisation() -> None:
    assert masters.quantisation_floor("bias_master", 5) == pytest.approx(np.sqrt(1 / 12 / 5))
    assert masters.quantisation_floor("flat_master", 5) == 0.0


def test_only_a_dark_has_the_photon_noise_of_its_warm_pixels() -> None:
    master = np.full((64, 64), 100.0, np.float32)
    master[32, 32] = 4100.0
    done = Combined(result=master, uncertainty=np.full((64, 64), 2.0, np.float32))
    stack = ANY(frames=[ANY(header=ANY(gain_e_per_adu=2.0))] * 5)
    dark, bias = (masters._uncertainty(ANY(recipe=recipe), stack, done, 0.0) for recipe in ("dark_master", "bias_master"))
    assert dark is not None
    assert bias is not None
    assert bias[32, 32] == bias[0, 0] == dark[0, 0]
    assert dark[32, 32] ** 2 - dark[0, 0] ** 2 == pytest.approx(1.434 * 4000.0 / (2.0 * 5), rel=0.01)


@pytest.mark.parametrize(("level", "said"), [(420.0, ""), (430.0, "too bright: 86.0 % of saturation"), (20.0, "too faint: 4.0 % of")])
def test_a_flat_is_judged_above_its_overscan_and_bias(level: float, said: str) -> None:
    """Saturated at 1000 ADU, of which 460 are overscan and 40 bias: 500 ADU are left for light."""
    seen = Look(level + 40.0, 1.0, 0.0, 460.0, np.arange(1), plane(level))
    stack = Stack(frames=[ANY(header=ANY(saturation_adu=1000.0))], looks=[seen])
    found = masters._unusable(stack, lambda *_: (FrameCalibration(), level, plane(level)), FlatLimits())
    assert list(found) == ([0] if said else [])
    assert said in found.get(0, "")


def test_a_pixel_is_cold_against_its_surroundings_and_a_dark_corner_is_not() -> None:
    result = np.full((64, 64), 2.0, np.float32)
    result[:32, :32] = 0.4  # a corner in the shade, a fifth of the rest
    result[3, 4], result[40, 41], result[50, 51] = 0.1, 0.6, -1.0
    mask = np.zeros((64, 64), np.uint16)
    mask[50, 51] = PixelFlag.REJECTED
    flat, flags, cold = masters._mask_flat(Combined(result=result, mask=mask), 2.0, 0.5)
    assert flat[0, 0] == pytest.approx(0.2)
    assert np.argwhere(flags).tolist() == [[3, 4], [40, 41], [50, 51]]
    assert [int(flags[place]) for place in ((3, 4), (40, 41), (50, 51))] == [
        PixelFlag.COLD,
        PixelFlag.COLD,
        PixelFlag.REJECTED | PixelFlag.BAD_FLAT,
    ]
    assert cold == 2


@pytest.mark.parametrize(("count", "grade", "left"), [(3, "C", 3), (5, "B", 4), (8, "A", 7)])
def test_one_flat_that_was_lit_otherwise_costs_more_where_there_are_few(count: int, grade: str, left: int) -> None:
    """Of three it stays, being more than a quarter; of five it goes, and the master is B; of eight nothing is in doubt."""
    tilt = np.linspace(-1, 1, 64)[None, :] * np.ones((64, 1))
    frames = [ANY(id=n, path=b"raw/flat-%d.fit" % n, tilt=0.2 if n == 1 else 0.001 * n) for n in range(count)]
    stack = Stack(frames=cast(Any, frames), looks=cast(Any, [None] * count))

    def calibrate(frame: Any, _seen: Look) -> tuple[FrameCalibration, float, Any]:
        return FrameCalibration(), 1e4, (1e4 * (1 + frame.tilt * tilt)).astype(np.float32)

    given, reasons = masters._without_oddly_lit(ANY(parameters={"minimum": 2}), stack, calibrate)
    assert (given, len(stack.frames), list(stack.left_out)) == (grade, left, [] if left == count else [1])
    assert ["flat-1.fit" in reason for reason in reasons] == ([] if grade == "A" else [True])


@pytest.mark.parametrize(("lit", "grade", "left"), [(0, "A", 5), (2, "A", 3), (3, "D", 5), (5, "D", 5)])
def test_light_in_frames_that_cannot_go_is_graded_by_how_many_have_it(
    monkeypatch: pytest.MonkeyPatch, lit: int, grade: str, left: int
) -> None:
    given, stack = without_light(monkeypatch, 5, lit, minimum=3)
    assert (given, len(stack.frames)) == (grade, left)


def test_light_in_less_than_half_of_too_few_frames_is_b(monkeypatch: pytest.MonkeyPatch) -> None:
    assert without_light(monkeypatch, 3, 1, minimum=3)[0] == "B"
    assert without_light(monkeypatch, 4, 2, minimum=3)[0] == "D"


def without_light(monkeypatch: pytest.MonkeyPatch, count: int, lit: int, *, minimum: int) -> tuple[str, Stack]:
    """Grade and stack of ``count`` bias frames of which light fell on ``lit``."""
    stack = Stack(frames=cast(Any, [ANY(id=n, path=b"raw/b") for n in range(count)]), looks=cast(Any, [ANY(overscan_adu=0.0)] * count))
    monkeypatch.setattr(masters, "sources", lambda frames: frames)
    monkeypatch.setattr(masters, "combine", lambda *_, **__: ANY(result=None))
    monkeypatch.setattr(masters, "_lit", lambda *_: dict.fromkeys(range(lit), "light fell on it"))
    grade, _ = masters._without_light(ANY(memory_bytes=1, threads=1), ANY(parameters={"minimum": minimum}), stack)
    return grade, stack

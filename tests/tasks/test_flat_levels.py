"""How flats are brought to one level, and what few frames leave of a clip."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from nightcrew.calibration.combine import combine
from nightcrew.calibration.normalisation import FrameCalibration
from tasks import masters
from tasks.frames_in import Look

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
    stack = masters.Stack(frames=cast(Any, [plane(value) for value in values]))
    context, planned = ANY(memory_bytes=1 << 20, threads=1), ANY(parameters={"method": "clip_extremes"})
    done = masters._combine(context, planned, stack, [FrameCalibration()] * len(values))
    np.testing.assert_allclose(done.result, mean)


def test_no_master_of_whole_numbers_is_surer_than_its_quantisation() -> None:
    assert masters.quantisation_floor("bias_master", 5) == pytest.approx(np.sqrt(1 / 12 / 5))
    assert masters.quantisation_floor("flat_master", 5) == 0.0

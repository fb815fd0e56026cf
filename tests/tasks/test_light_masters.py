"""What a light's unit hands to the reduction: the numbers of its masters, with their masks."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from nightcrew.lights.reduce import Master, ReducedLight, ReduceParameters
from tasks import lights

ANY = cast(Any, SimpleNamespace)
SHAPE = (40, 60)
HEADER = {
    "exposure_s": 60.0,
    "trim": (10, 60, 4, 40),
    "overscan": None,
    "saturation_adu": 60_000.0,
    "gain_e_per_adu": 1.5,
    "read_noise_e": 6.0,
    "bias_subtracted": False,
    "time_utc": "2026-03-14T22:00:00",
}


class ReachedError(Exception):
    """The call that the test looks at, with what was given."""


def given(monkeypatch: pytest.MonkeyPatch, facts: dict[str, Any], *roles: str) -> tuple[ReduceParameters, dict[str, Any]]:
    """Parameters and masters of the reduction of a light with masters of these roles."""
    image = ANY(science=np.ones(SHAPE), uncertainty=np.full(SHAPE, 2.0), mask=np.full(SHAPE, 8, np.uint16))

    def stop(_raw: Any, *, parameters: ReduceParameters, **masters: Any) -> ReducedLight:
        raise ReachedError(parameters, masters)

    monkeypatch.setattr(lights, "pixels_of", lambda _: (np.arange(40.0 * 60).reshape(SHAPE), 60_000.0, ANY(cards={})))
    monkeypatch.setattr(lights, "read_image_product", lambda _: image)
    monkeypatch.setattr(lights, "_shares_bias", lambda *_: True)
    monkeypatch.setattr(lights, "without_pedestal", lambda *_, **__: (0.0, ("A", ())))
    monkeypatch.setattr(lights, "reduce_light", stop)
    row = ANY(facts=facts, metrics={"offset_s": 0.25})
    context = ANY(product=lambda _: row, file=lambda *_: None)
    light = ANY(role="light", frame=ANY(header=ANY(**HEADER)))
    inputs = [light, *(ANY(role=role, fingerprint=role, frame=None) for role in roles)]
    with pytest.raises(ReachedError) as reached:
        lights.reduce(context, ANY(inputs=inputs, parameters={}))
    parameters, masters = reached.value.args
    return parameters, masters


def test_a_rate_stands_for_the_exposure_and_what_its_law_adds(monkeypatch: pytest.MonkeyPatch) -> None:
    parameters, masters = given(monkeypatch, {"bias": "removed"}, "bias_master", "thermal_master")
    assert (parameters.dark_scale, parameters.dark_includes_bias, parameters.dark_shares_bias) == (60.25, False, True)
    assert masters["flat"] is None
    assert masters["bad_pixels"] is None


def test_a_dark_of_its_exposure_is_taken_as_it_is_with_its_errors_and_flags(monkeypatch: pytest.MonkeyPatch) -> None:
    parameters, masters = given(monkeypatch, {"bias": "kept"}, "dark_master", "flat_master", "bad_pixel_mask")
    assert (parameters.dark_scale, parameters.dark_includes_bias) == (1.0, True)
    assert (parameters.trim, parameters.saturation_adu) == ((10, 60, 4, 40), 60_000.0)
    assert masters["bias"] is None
    for role in ("dark", "flat"):
        master = masters[role]
        assert isinstance(master, Master)
        assert master.uncertainty is not None
        assert master.mask is not None
        assert (master.data[0, 0], master.uncertainty[0, 0], master.mask[0, 0]) == (1.0, 2.0, 8)
    assert (masters["bad_pixels"] == 8).all()


def test_coordinates_move_by_the_columns_and_rows_that_were_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(_cards: Any, x0: int, y0: int) -> Any:
        raise ReachedError(x0, y0)

    monkeypatch.setattr(lights, "sky_of", lambda _: ANY(valid=True, cards=[]))
    monkeypatch.setattr(lights, "moved", stop)
    reduced = ANY(science=np.ones((4, 5)), mask=np.zeros((4, 5), np.uint16))
    frame = ANY(header=ANY(**HEADER), sha256="f" * 64)
    with pytest.raises(ReachedError) as reached:
        lights._write(ANY(), ANY(parameters={"dark": "exact"}), frame, reduced, None, ANY(), ("A", ()))
    assert reached.value.args == (10, 4)


@pytest.mark.parametrize(("away_deg", "told"), [(None, 0), (4.9, 0), (5.1, 1)])
def test_a_solution_far_from_where_the_header_points_is_told(away_deg: float | None, told: int) -> None:
    row = ANY(metrics={"shape": [4, 5], "from_pointing_deg": away_deg}, parameters={"radius_deg": 5.0})
    planned = ANY(inputs=[ANY(role="plate_solution", fingerprint="p")])
    solution, remarks = lights._solution(ANY(product=lambda _: row), planned, (4, 5))
    assert solution is row.metrics
    assert len(remarks) == told


@pytest.mark.parametrize(("median", "grade"), [(-4.9, "B"), (-5.1, "D"), (0.0, "B")])
def test_a_light_far_below_zero_is_d(median: float, grade: str) -> None:
    found, reasons = lights._grade(ANY(grade="A", grade_reasons=()), ANY(median=median, sigma=1.0), "electron", ("B", ("of its bias",)))
    assert found == grade
    assert reasons[0] == "of its bias"
    assert len(reasons) == (2 if grade == "D" else 1)

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray

from nightcrew.frames.flags import PixelFlag
from nightcrew.photometry.flags import SourceFlag
from nightcrew.simulate.compare import RecoveredNight, compare_night
from nightcrew.simulate.compare_files import untwine
from nightcrew.simulate.compare_pixels import RecoveredLight, pixel_pulls, variance_ratio
from nightcrew.simulate.compare_stars import StarTable, predicted_error_mag, residuals, star_table
from nightcrew.simulate.comparison import Comparison
from nightcrew.simulate.expected import expected_light
from nightcrew.simulate.randomness import generator
from nightcrew.simulate.truth import Truth
from tests.simulate.nights import defects, reduced, tiny_night


def perfect_states(truth: Truth) -> dict[str, tuple[str, str]]:
    states = {frame.name: ("done", "") for frame in truth.frames}
    for trouble in truth.troubles:
        states[trouble.path] = (trouble.states[0], f"because: {(*trouble.expected_words, 'x')[0].upper()} it is")
    return states


@cache
def lights() -> tuple[RecoveredLight, ...]:
    """Reduced lights with catalogues drawn from truth and the predicted errors."""
    raw, truth = tiny_night()
    return tuple(replace(light, stars=catalogue(truth, light)) for light in reduced(raw, truth))


def catalogue(truth: Truth, light: RecoveredLight) -> StarTable:
    frame = truth.frame(light.name)
    x, y = truth.star_positions(frame)
    error = predicted_error_mag(truth, frame, expected_light(truth, frame), x, y, 6.0)
    rng = generator(5, light.name)
    magnitude = truth.instrumental_magnitudes(frame, 6.0) + error * rng.standard_normal(x.size)
    return StarTable(
        x_px=x + 0.1,
        y_px=y - 0.1,
        magnitude=magnitude,
        magnitude_error=error,
        radius_px=np.full(x.size, 6.0),
        flagged=np.zeros(x.size, dtype=bool),
    )


def perfect(truth: Truth) -> RecoveredNight:
    return RecoveredNight(states=perfect_states(truth), gain_e_per_adu=1.301, read_noise_e=7.02, bad_pixels=defects(truth), lights=lights())


def failed(night: RecoveredNight) -> list[str]:
    return [item.name for item in compare_night(tiny_night()[1], night).failed]


def test_a_perfect_reduction_passes_every_item() -> None:
    _, truth = tiny_night()
    result = compare_night(truth, perfect(truth))
    assert [(item.name, item.note, item.recovered) for item in result.failed] == []
    assert result.passed
    assert len(result.items) > 20
    json.dumps(result.rows(), allow_nan=False)


def test_pulls_of_a_plain_reduction_are_normal() -> None:
    _, truth = tiny_night()
    for light in lights():
        pulls = pixel_pulls(light, expected_light(truth, truth.frame(light.name)))
        assert pulls.mean == pytest.approx(0, abs=0.02)
        assert pulls.width == pytest.approx(1, abs=0.02)
        assert pulls.outlier_fraction < 1e-4


def test_nothing_recovered_fails_by_name() -> None:
    names = failed(RecoveredNight(states={}))
    for name in ("files seen", "gain", "read noise", "bad-pixel mask", "reduced lights", "pulls of reduced pixels", "magnitudes"):
        assert name in names


def test_no_items_is_not_a_pass() -> None:
    assert not Comparison(()).passed


def spoiled_states(change: str) -> dict[str, tuple[str, str]]:
    _, truth = tiny_night()
    states = perfect_states(truth)
    if change == "reason":
        states[truth.troubles[0].path] = ("rejected", "some other reason")
    elif change == "state":
        states[truth.troubles[3].path] = ("done", "saturated")
    elif change == "frame":
        states[truth.select("dark")[0].name] = ("rejected", "why not")
    elif change == "unseen":
        del states[truth.select("light")[0].name]
    elif change == "late":
        states[truth.troubles[4].path] = ("degraded", "no flat")
    return states


SPOILED_LIGHTS: dict[str, Callable[[RecoveredLight], RecoveredLight]] = {
    "offset": lambda light: replace(light, science_e=light.science_e + np.float32(1.0)),
    "noise": lambda light: replace(light, science_e=light.science_e * np.float32(1.2)),
    "uncertainty": lambda light: replace(light, uncertainty_e=light.uncertainty_e * np.float32(1.02)),
    "no flags": lambda light: replace(light, mask=defects(tiny_night()[1])),
    "all flagged": lambda light: replace(light, mask=light.mask | _some(light.mask.shape)),
    "magnitude": lambda light: _stars(light, shift_mag=0.02),
    "error": lambda light: _stars(light, error_factor=0.5),
    "no stars": lambda light: _stars(light, move_px=5.0),
}


def spoil(change: str) -> RecoveredNight:
    """The perfect night with one thing wrong."""
    night = replace(perfect(tiny_night()[1]), states=spoiled_states(change))
    if change in SPOILED_LIGHTS:
        return replace(night, lights=[SPOILED_LIGHTS[change](light) for light in lights()])
    if change == "lost":
        return replace(night, lights=lights()[1:])
    if change == "gain":
        return replace(night, gain_e_per_adu=1.35)
    if change == "read noise":
        return replace(night, read_noise_e=None)
    if change == "no mask":
        return replace(night, bad_pixels=np.zeros_like(defects(tiny_night()[1])))
    return night


def _some(shape: tuple[int, ...]) -> NDArray[np.uint16]:
    return ((generator(9).random(shape) < 0.005) * int(PixelFlag.COSMIC_RAY)).astype(np.uint16)


def _stars(light: RecoveredLight, *, shift_mag: float = 0.0, error_factor: float = 1.0, move_px: float = 0.0) -> RecoveredLight:
    assert light.stars is not None
    stars = replace(
        light.stars,
        magnitude=light.stars.magnitude + shift_mag,
        magnitude_error=light.stars.magnitude_error * error_factor,
        x_px=light.stars.x_px + move_px,
    )
    return replace(light, stars=stars)


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ("reason", "truncated"),
        ("state", "bright_flat"),
        ("late", "late_flat"),
        ("frame", "dark frames done"),
        ("unseen", "files seen"),
        ("gain", "gain"),
        ("read noise", "read noise"),
        ("no mask", "hot pixels flagged"),
        ("no mask", "cold pixels flagged"),
        ("offset", "pixel pulls, mean"),
        ("noise", "pixel pulls, width"),
        ("uncertainty", "variance of the uncertainty plane"),
        ("no flags", "cosmic-ray pixels flagged"),
        ("all flagged", "cosmic-ray pixels flagged falsely"),
        ("magnitude", "magnitudes of bright stars"),
        ("error", "magnitudes, width"),
        ("lost", "reduced lights"),
        ("no stars", "bright stars found"),
    ],
)
def test_each_planted_error_fails_its_own_item(change: str, name: str) -> None:
    assert any(item.startswith(name) for item in failed(spoil(change)))


def test_variance_ratio_is_that_of_the_planes() -> None:
    _, truth = tiny_night()
    light = lights()[0]
    expected = expected_light(truth, truth.frame(light.name))
    assert variance_ratio(light, expected) == pytest.approx(1, abs=1e-6)
    assert variance_ratio(replace(light, uncertainty_e=light.uncertainty_e * 2), expected) == pytest.approx(4, abs=1e-5)


def test_either_of_two_twins_may_be_the_one_set_aside() -> None:
    _, truth = tiny_night()
    duplicate = truth.troubles[1]
    states = perfect_states(truth)
    states[duplicate.twin], states[duplicate.path] = states[duplicate.path], states[duplicate.twin]
    assert untwine(truth.troubles, states) == perfect_states(truth)
    assert untwine(truth.troubles, perfect_states(truth)) == perfect_states(truth)
    both = perfect_states(truth) | {duplicate.twin: ("set_aside", "duplicate")}
    assert untwine(truth.troubles, both) == both


def test_catalogue_of_the_pipeline_is_understood() -> None:
    from nightcrew.photometry.measure import measure
    from nightcrew.photometry.parameters import PhotometryParameters

    _, truth = tiny_night()
    light = lights()[0]
    frame = truth.frame(light.name)
    parameters = PhotometryParameters(fwhm_px=3.0)
    catalogue = measure(
        light.science_e, light.uncertainty_e, light.mask, exposure_s=30.0, gain_e_per_adu=1.3, parameters=parameters
    ).catalogue
    table = star_table(catalogue)
    assert len(table.magnitude) == len(catalogue)
    result = residuals(truth, frame, table, expected_light(truth, frame))
    assert result.delta_mag.size > 3
    assert np.abs(result.delta_mag / result.predicted_error_mag).max() < 6
    catalogue["flags"] = int(SourceFlag.SATURATED)
    assert residuals(truth, frame, star_table(catalogue), expected_light(truth, frame)).delta_mag.size == 0

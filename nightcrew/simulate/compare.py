"""Recovered against simulated truth: one item a quantity, with the tolerance that noise allows and the verdict."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from nightcrew.simulate.compare_files import outcome_items, trouble_items, untwine
from nightcrew.simulate.compare_pixels import (
    PullStatistics,
    RecoveredLight,
    bad_pixel_items,
    cosmic_counts,
    cosmic_items,
    light_items,
    pixel_pulls,
    variance_ratio,
)
from nightcrew.simulate.compare_stars import StarResiduals, magnitude_items, residuals
from nightcrew.simulate.comparison import Comparison, Item, count_item, relative_item
from nightcrew.simulate.expected import CombineMethod, expected_light
from nightcrew.simulate.night import model_of
from nightcrew.simulate.truth import Truth


@dataclass(frozen=True, kw_only=True)
class RecoveredNight:
    """What the pipeline made of a simulated night; ``None`` or empty where it made nothing.

    ``states``: file name -> (state, reason).  ``lights`` may be a generator: one light is held at a time.
    """

    states: Mapping[str, tuple[str, str]]
    gain_e_per_adu: float | None = None
    read_noise_e: float | None = None
    bad_pixels: NDArray[np.uint16] | None = None  # mask product, bits of PixelFlag
    lights: Iterable[RecoveredLight] = ()
    cosmic_rays_flagged: bool = True
    method: CombineMethod = "median"  # of the masters


@dataclass
class _Sums:
    """What is added up over the lights of a night."""

    names: list[str] = field(default_factory=list)
    pulls: list[PullStatistics] = field(default_factory=list)
    ratios: list[float] = field(default_factory=list)
    flagged: list[tuple[int, int, int, int]] = field(default_factory=list)
    stars: list[StarResiduals] = field(default_factory=list)


def compare_night(truth: Truth, recovered: RecoveredNight) -> Comparison:
    """Every comparison that the recovered products allow, in the order of the report; what is absent fails by name."""
    states = untwine(truth.troubles, recovered.states)
    sums = _sum_up(truth, recovered)
    missing = sorted({frame.name for frame in truth.select("light")} - set(sums.names))
    return Comparison(
        (
            *outcome_items(truth, states),
            *trouble_items(truth.troubles, states),
            *camera_items(truth, recovered),
            *bad_pixel_items(truth, recovered.bad_pixels),
            count_item("reduced lights", len(sums.names), len(truth.select("light")), ", ".join(missing)),
            *light_items(sums.pulls, sums.ratios),
            *(cosmic_items(sums.flagged) if recovered.cosmic_rays_flagged else ()),
            *magnitude_items(sums.stars),
        )
    )


def _sum_up(truth: Truth, recovered: RecoveredNight) -> _Sums:
    model, sums = model_of(truth), _Sums()
    for light in recovered.lights:
        frame = truth.frame(light.name)
        expected = expected_light(truth, frame, model=model, method=recovered.method)
        sums.names.append(light.name)
        sums.pulls.append(pixel_pulls(light, expected))
        sums.ratios.append(variance_ratio(light, expected))
        sums.flagged.append(cosmic_counts(truth, frame, light.mask, expected))
        if light.stars is not None:
            sums.stars.append(residuals(truth, frame, light.stars, expected))
    return sums


def camera_items(truth: Truth, recovered: RecoveredNight) -> list[Item]:
    """Gain and read noise against truth; tolerances are three standard errors of one pair of frames, at least 1 %.

    A variance from N pixels has the relative error sqrt(2/N); the gain's is that, the read noise's half of it.
    """
    n_pixels = truth.plan.camera.nx * truth.plan.camera.ny
    gain_tolerance = max(0.01, 3 * float(np.sqrt(2 / n_pixels)))
    noise_tolerance = max(0.01, 3 * float(np.sqrt(0.5 / n_pixels)))
    why = f"3 standard errors of a pair of {n_pixels} pixels, at least 1 %"
    return [
        relative_item("gain", recovered.gain_e_per_adu, truth.gain_e_per_adu, gain_tolerance, "e-/ADU", why),
        relative_item("read noise", recovered.read_noise_e, truth.read_noise_e, noise_tolerance, "e-", why),
    ]

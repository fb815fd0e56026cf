"""How well models foretell what they have not seen: every temperature (and exposure) left out once and predicted from the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nightcrew.detector.bias_model import BiasModel, fit_bias
from nightcrew.detector.clusters import clusters
from nightcrew.detector.dark_levels import cell_numbers
from nightcrew.detector.dark_model import fit_dark
from nightcrew.detector.stack import F4, Frame, FrameStack
from nightcrew.errors import RejectedInput
from nightcrew.quality.statistics import clipped_mean_sigma

PIXELS = 1 << 15  # evenly spread; enough for a percent of a percent of the noise


@dataclass(frozen=True, kw_only=True, slots=True)
class HeldOut:
    """A cell that was left out: its mean temperature and exposure, and the measured mean frame against the prediction, over some pixels.

    ``mae``: mean |measured - predicted|; ``mae_std`` its scatter; ``mape``: median percent of |measured|; ``noise``: the mae that the
    measured mean's own noise makes, ``expected`` the one that it makes together with the model's error.  ``error``: of ``measured`` -
    ``predicted``, from the scatter over the pixels.  All in adu (signal without bias for darks).  ``reason``: why there is no prediction.
    """

    temperature_c: float
    exposure_s: float | None
    frames: int
    measured: float | None = None
    predicted: float | None = None
    mae: float | None = None
    mae_std: float | None = None
    mape: float | None = None
    noise: float | None = None
    expected: float | None = None
    error: float | None = None
    extrapolated: bool = False
    reason: str = ""


def _sampled(frames: Sequence[Frame], pixels: int) -> tuple[list[F4], NDArray[np.int64]]:
    """A few rows of each frame as arrays [row, x], and which."""
    with FrameStack(frames) as stack:
        rows = stack.sample_rows(pixels)
        values = stack.sample(pixels)
        return [row.reshape(rows.size, stack.shape[1]) for row in values], rows


def compare(measured: NDArray[Any], predicted: NDArray[Any]) -> dict[str, float]:
    """Means over the middle nine tenths of the pixels (by prediction), mean absolute error with its scatter, median percent of measured.

    ``error``: of the difference of the means, from the scatter of the pixels.  Over pixels finite in both; means, since medians of whole
    steps are whole steps.
    """
    good = np.isfinite(measured) & np.isfinite(predicted)
    if not good.any():
        raise RejectedInput("no pixel has both a measured and a predicted value")
    real, model = measured[good].astype(np.float64), predicted[good].astype(np.float64)
    off = np.abs(real - model)
    share = 100 * off / np.maximum(np.abs(real), 1e-7)
    low, high = np.quantile(model, (0.05, 0.95))
    middle = (model >= low) & (model <= high)
    return {
        "measured": float(np.mean(real[middle])),
        "predicted": float(np.mean(model[middle])),
        "mae": float(off.mean()),
        "mae_std": float(off.std()),
        "mape": float(np.median(share)),
        "error": float((real - model)[middle].std() / np.sqrt(middle.sum())),
    }


def _mean_of(frames: Sequence[F4]) -> tuple[F4, float]:
    """Mean of the frames of a cell (the median of more than two, which hits do not move), and the mean absolute error its noise makes."""
    stack = np.stack(list(frames))
    middle = np.median(stack, axis=0) if len(frames) > 2 else stack.mean(axis=0)
    if len(frames) < 2:
        return middle.astype(np.float32), float("nan")
    sigma = clipped_mean_sigma(stack[1] - stack[0])[1] / np.sqrt(2.0)
    spread = sigma / np.sqrt(len(frames)) * (1.2 if len(frames) > 2 else 1.0)
    return middle.astype(np.float32), float(spread * np.sqrt(2 / np.pi))


def bias_left_out(frames: Sequence[Frame], temperatures_c: Sequence[float], *, pixels: int = PIXELS) -> list[HeldOut]:
    """Every temperature of the bias frames predicted from the other temperatures."""
    sample, _ = _sampled(frames, pixels)
    t = np.asarray(temperatures_c, np.float64)
    found = []
    groups = clusters(temperatures_c)
    for number, group in enumerate(groups):
        mean_t = float(t[group].mean())
        rest = np.setdiff1d(np.arange(t.size), group)
        edge = number in (0, len(groups) - 1)
        try:
            model = fit_bias([sample[i] for i in rest], t[rest].tolist(), threads=1)
        except RejectedInput as error:
            found.append(HeldOut(temperature_c=mean_t, exposure_s=None, frames=group.size, reason=str(error)))
            continue
        real, noise = _mean_of([sample[i] for i in group])
        found.append(_row(mean_t, None, group.size, real, model.value(mean_t), noise, model.error(mean_t), edge))
    return found


def dark_left_out(
    frames: Sequence[Frame],
    temperatures_c: Sequence[float],
    exposures_s: Sequence[float],
    bias: BiasModel,
    *,
    saturation: float = 65520.0,
    pixels: int = PIXELS,
    **options: Any,
) -> list[HeldOut]:
    """Every cell of temperature and exposure predicted from all others; ``options`` as for ``fit_dark``."""
    sample, rows = _sampled(frames, pixels)
    t, seconds = np.asarray(temperatures_c, np.float64), np.asarray(exposures_s, np.float64)
    part = bias.rows(rows)
    cells = cell_numbers(t, seconds)
    found = []
    for cell in sorted(set(cells)):
        group = np.array([i for i, one in enumerate(cells) if one == cell])
        rest = np.setdiff1d(np.arange(t.size), group)
        mean_t, exposure = float(t[group].mean()), float(seconds[group].mean())
        try:
            model = fit_dark([sample[i] for i in rest], t[rest].tolist(), seconds[rest].tolist(), part, saturation=saturation, **options)
        except RejectedInput as error:
            found.append(HeldOut(temperature_c=mean_t, exposure_s=exposure, frames=group.size, reason=str(error)))
            continue
        real, noise = _mean_of([np.where(sample[i] < saturation, sample[i] - part.value(float(t[i])), np.nan) for i in group])
        predicted, left = model.signal(mean_t, exposure), model.error(mean_t, exposure)
        found.append(_row(mean_t, exposure, group.size, real, predicted, noise, left, bool(model.outside(mean_t, exposure))))
    return found


def _row(t: float, exposure: float | None, frames: int, real: F4, predicted: F4, noise: float, error: F4, edge: bool) -> HeldOut:
    known = noise if np.isfinite(noise) else None
    both = float(np.hypot(noise, np.nanmedian(error) * np.sqrt(2 / np.pi)))
    expected = both if np.isfinite(both) else None
    row = HeldOut(temperature_c=t, exposure_s=exposure, frames=frames, noise=known, expected=expected, extrapolated=edge)
    return replace(row, **compare(real, predicted))  # type: ignore[arg-type]  # names of its own fields

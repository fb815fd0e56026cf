"""The quantities of a laboratory campaign for ``summary.json``, all in the units of the stored samples (adu of the raw frames)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nightcrew.frames.flags import PixelFlag
from nightcrew.lab.results import LabMade
from reports.summary import Quantity, determined

KEY = ("bias_level", "bias_slope", "dark_rate", "doubling_temperature", "hot_pixels", "vignetting_edge")


def _median(plane: NDArray[np.float32]) -> tuple[float, float]:
    """Median over the good pixels and its standard error."""
    good = plane[np.isfinite(plane)].astype(np.float64)
    if good.size == 0:
        return float("nan"), float("nan")
    return float(np.median(good)), 1.2533 * float(good.std()) / float(np.sqrt(good.size))


def quantities(made: LabMade) -> tuple[Quantity, ...]:
    """Counts, then the models' numbers; what was not determined is null with its reason."""
    counts = [
        Quantity(name="frames", value=len(made.frames), unit=""),
        Quantity(name="bad_frames", value=sum(frame.bad for frame in made.frames), unit=""),
        Quantity(name="rejected_files", value=len(made.rejected), unit=""),
    ]
    return (*counts, *_bias(made), *_dark(made), *_flat(made), *_changes(made))


def _bias(made: LabMade) -> list[Quantity]:
    why = made.missing.get("bias", "the bias model was not asked for")
    if made.bias is None:
        return [determined(name, None, why) for name in ("bias_level", "bias_slope", "bias_noise")]
    model = made.bias.model
    level, level_error = _median(model.level)
    slope, slope_error = _median(model.slope)
    sloped = model.temperatures_c[1] - model.temperatures_c[0] >= 2.0
    where = {"temperature_c": 0.0 if sloped else round(sum(model.temperatures_c) / 2, 2)}
    return [
        determined("bias_level", level, "no good pixel", error=level_error, unit="adu", where=where),
        determined("bias_slope", slope if sloped else None, "bias frames of one temperature only", error=slope_error, unit="adu/K"),
        determined("bias_noise", model.frame_noise, "", unit="adu"),
    ]


def _dark(made: LabMade) -> list[Quantity]:
    names = ("dark_rate", "dark_coefficient_b", "doubling_temperature", "gamma", "hot_pixels", "telegraph_pixels")
    why = made.missing.get("dark", "the dark model of temperature and exposure was not asked for")
    if made.dark is None or made.dark.model is None:
        return [determined(name, None, why) for name in names]
    model = made.dark.model
    shape = model.shape
    rate, rate_error = _median(model.rate)
    where = {"temperature_c": shape.reference_c, "exposure_s": shape.reference_s}
    one_t, one_exposure = "darks of one temperature only", "darks of one exposure only"
    doubling = shape.doubling_k
    doubling_error = None if doubling is None or shape.b_error is None else doubling * shape.b_error / shape.b
    b = shape.b if shape.b_error is not None else None
    return [
        determined("dark_rate", rate, "no good pixel", error=rate_error, unit="adu/s", where=where),
        determined("dark_coefficient_b", b, one_t, error=shape.b_error, unit="1/K", where={"temperature_c": shape.reference_c}),
        determined("doubling_temperature", doubling, one_t, error=doubling_error, unit="K", where={"temperature_c": shape.reference_c}),
        determined("gamma", shape.measured_gamma, one_exposure, error=shape.gamma_error, unit=""),
        Quantity(name="hot_pixels", value=int(model.hot.sum()), unit=""),
        Quantity(name="telegraph_pixels", value=int(((model.flags & PixelFlag.UNSTABLE) > 0).sum()), unit=""),
    ]


def _flat(made: LabMade) -> list[Quantity]:
    why = made.missing.get("flat", "the vignetting was not asked for")
    if made.flat is None or not made.flat.edges:
        return [determined("vignetting_edge", None, why)]
    return [
        Quantity(
            name="vignetting_edge",
            value=edge,
            unit="",
            where={"filter": name} if name else {},
            note="lowest over highest response of the optics",
        )
        for name, edge in sorted(made.flat.edges.items())
    ]


def _changes(made: LabMade) -> list[Quantity]:
    if made.degradation is None:
        return []
    return [
        Quantity(name="changed_pixels", value=count, unit="", where={"analysis": analysis, "class": name})
        for analysis, classes in made.degradation.classes.items()
        for name, count in classes.items()
    ]

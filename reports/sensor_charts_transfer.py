"""Curves of the flats: photon transfer, variance against mean, covariances, linearity."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nightcrew.sensor.characterise import RegionResult, SetUpResult
from nightcrew.sensor.flats import FlatResult
from reports.sensor_charts import COLOURS, FAINT, INK, Chart, dress, legend

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

F8 = NDArray[np.float64]
MOST_REGIONS = 6  # drawn in one figure; the numbers hold all


def measured(set_up: SetUpResult) -> list[tuple[RegionResult, FlatResult]]:
    """Regions and temperatures that have a fitted curve."""
    return [(region, flat) for region in set_up.regions for flat in region.flats if flat.curve.fit is not None]


def name_of(region: RegionResult, flat: FlatResult) -> str:
    """``amp00, -10 C``."""
    return region.region.name if flat.temperature_c is None else f"{region.region.name}, {flat.temperature_c:.1f} C"


def photon_transfer(set_up: SetUpResult, summary: pd.DataFrame, start: str) -> Chart | None:
    """Log-log photon transfer of the crop: total, shot, read and fixed-pattern noise against signal, with slopes and intercepts marked."""
    if not measured(set_up):
        return None
    flats = summary[(summary["img_type"] == "flat") & (summary["avg_signal-offset"] > 0)].sort_values("avg_signal-offset")
    if flats.empty:
        return None
    columns = ("signal / adu", "total noise / adu", "shot+read / adu", "read / adu", "fixed pattern / adu", "signal shot / adu")
    names = ("avg_signal-offset", "total_noise", "shot+read", "temporal_read(DN)", "FPN", "sig_shot")
    numbers = np.column_stack([np.asarray(flats[name], np.float64) for name in names])
    flat = measured(set_up)[0][1]
    gain = flat.curve.fit.gain if flat.curve.fit is not None else math.nan
    prnu = flat.uniformity.prnu_percent

    def paint(canvas: Figure) -> None:
        axes = canvas.add_subplot()
        _noises(axes, numbers)
        _slopes(axes, numbers, gain, prnu)
        if flat.curve.turn_off is not None:
            axes.axvspan(flat.curve.turn_off.lower, flat.curve.turn_off.upper, color=COLOURS[4], alpha=0.25, linewidth=0, label="full well")
        axes.set_xscale("log")
        axes.set_yscale("log")
        dress(axes, "signal above the offset / ADU", "noise / ADU")
        legend(axes, "upper left")

    marks = f"The shot line of slope 1/2 crosses a noise of 1 ADU at the gain, {gain:.3f} e-/ADU"
    floor = f"; the read noise is {numbers[0, 3]:.2f} ADU" if np.isfinite(numbers[0, 3]) else ""
    pattern = f"; the fixed pattern rises with slope 1, PRNU {prnu:.2f} %" if prnu is not None else ""
    return Chart(
        name=f"{start}photon-transfer",
        title="Photon transfer",
        caption=f"Noises of the crop against its signal. {marks}{floor}{pattern}.",
        paint=paint,
        columns=columns,
        rows=[tuple(row) for row in numbers.tolist()],
    )


def _noises(axes: Axes, numbers: F8) -> None:
    labels = ("total", "shot + read", "read (temporal)", "fixed pattern", "signal shot")
    markers = ("o", "s", "_", "^", "D")
    for place, (label, marker) in enumerate(zip(labels, markers, strict=True), start=1):
        good = np.isfinite(numbers[:, place]) & (numbers[:, place] > 0)
        if good.any():
            line = "-" if label == "read (temporal)" else ""
            x, y = numbers[good, 0], numbers[good, place]
            axes.plot(x, y, linestyle=line, marker=marker, markersize=4, color=COLOURS[place - 1], label=label, linewidth=1)


def _slopes(axes: Axes, numbers: F8, gain: float, prnu: float | None) -> None:
    """Guides: shot noise sqrt(S / g) down to where it is 1, and fixed pattern PRNU x S."""
    top = float(numbers[:, 0].max())
    low = max(min(gain, float(numbers[:, 0].min())), 1e-3)
    signal = np.geomspace(low, top, 60)
    axes.plot(signal, np.sqrt(signal / gain), color=COLOURS[4], linewidth=0.9, linestyle="--", label="slope 1/2: sqrt(S / gain)")
    axes.plot([gain], [1.0], marker="*", markersize=9, color=COLOURS[1], linestyle="", label=f"gain {gain:.3f} e-/ADU")
    if prnu is not None:
        pattern = prnu / 100 * signal
        seen = pattern > 0.3
        axes.plot(signal[seen], pattern[seen], color=FAINT, linewidth=0.9, linestyle=":", label="slope 1: PRNU x S")


def variance_mean(set_up: SetUpResult, start: str) -> Chart | None:
    """Variance against mean with the fit, and the residuals below."""
    found = measured(set_up)
    if not found:
        return None
    rows: list[tuple[Any, ...]] = []
    for region, flat in found:
        rows += _variance_rows(region, flat)

    def paint(canvas: Figure) -> None:
        upper, lower = canvas.subplots(2, 1, sharex=True, height_ratios=(2.4, 1))
        for place, (region, flat) in enumerate(found[:MOST_REGIONS]):
            _variance_of(upper, lower, region, flat, COLOURS[place % len(COLOURS)])
        lower.axhline(0, color=INK, linewidth=0.7)
        reach = max(1.0, *(1.15 * float(np.abs(flat.curve.fit.residual).max()) for _, flat in found if flat.curve.fit is not None))
        lower.set_ylim(-reach, reach)
        dress(upper, "", "variance / ADU²")
        dress(lower, "signal above the offset / ADU", "residual / σ")
        low, high = upper.get_ylim()
        upper.set_ylim(low, high + 0.2 * (high - low))  # room for the words above the curve
        legend(upper, "upper left")

    fits = [flat.curve.fit for _, flat in found if flat.curve.fit is not None]
    free = [f"{fit.chi2:.1f} for {fit.freedom}" for fit in fits[:MOST_REGIONS] if fit.freedom > 0]
    chi = f"; chi² {', '.join(free)} degrees of freedom" if free else ", by a line through the biases' noise: nothing tests it"
    bent = any(fit.a00 is not None for fit in fits)
    return Chart(
        name=f"{start}variance-mean",
        title="Variance against mean",
        caption=f"Filled points were fitted{chi}." + (" The dashed line has no brighter-fatter term." if bent else ""),
        paint=paint,
        columns=("region", "signal / adu", "variance / adu^2", "error / adu^2", "fitted", "model / adu^2", "residual / sigma"),
        rows=rows,
        size_in=(5.2, 4.4),
    )


def _variance_rows(region: RegionResult, flat: FlatResult) -> list[tuple[Any, ...]]:
    curve, used, rows = flat.curve, 0, list[tuple[Any, ...]]()
    for point, fitted in zip(curve.points, curve.fitted, strict=True):
        model = residual = None
        if fitted and curve.fit is not None:
            model, residual, used = float(curve.fit.model[used]), float(curve.fit.residual[used]), used + 1
        error = point.variance * point.relative_error if point.variance > 0 else None
        rows.append((name_of(region, flat), point.signal, point.variance, error, "yes" if fitted else "no", model, residual))
    return rows


def _variance_of(upper: Axes, lower: Axes, region: RegionResult, flat: FlatResult, colour: str) -> None:
    curve, fit = flat.curve, flat.curve.fit
    if fit is None:
        return
    signal = np.array([point.signal for point in curve.points])
    variance = np.array([point.variance for point in curve.points])
    used = curve.fitted
    label = f"{name_of(region, flat)}: {fit.gain:.3f} ± {curve.gain_error:.3f} e-/ADU"
    upper.plot(signal[used], variance[used], marker="o", markersize=4, linestyle="", color=colour, label=label)
    upper.plot(signal[~used], variance[~used], marker="o", markersize=4, linestyle="", markerfacecolor="none", color=colour)
    line = np.linspace(0, signal[used].max(), 100)
    upper.plot(line, fit.variance_at(line), color=colour, linewidth=1)
    if curve.line is not None:
        upper.plot(line, curve.line.floor + line / fit.gain, color=FAINT, linewidth=0.8, linestyle="--")
    lower.plot(signal[used], fit.residual, marker="o", markersize=3.5, linestyle="", color=colour)


def covariance_decay(set_up: SetUpResult, start: str) -> Chart | None:
    """How the brighter-fatter matrix falls off with distance."""
    found = [(region, flat) for region, flat in measured(set_up) if flat.curve.fit is not None and flat.curve.fit.a_error is not None]
    if not found:
        return None
    rows: list[tuple[Any, ...]] = []
    for region, flat in found:
        fit = flat.curve.fit
        if fit is not None and fit.a is not None and fit.a_error is not None:
            for i, j in np.ndindex(*fit.a.shape):
                rows.append((name_of(region, flat), i, j, math.hypot(i, j), float(fit.a[i, j]), float(fit.a_error[i, j])))

    def paint(canvas: Figure) -> None:
        axes = canvas.add_subplot()
        for place, (region, flat) in enumerate(found[:MOST_REGIONS]):
            mine = [row for row in rows if row[0] == name_of(region, flat)]
            distance, a, error = (np.array([row[k] for row in mine]) for k in (3, 4, 5))
            colour = COLOURS[place % len(COLOURS)]
            for sign, marker in ((1, "o"), (-1, "v")):
                good = sign * a > 2 * error
                words = "attracts: a > 0" if sign > 0 else "repels: a < 0"
                axes.errorbar(
                    distance[good],
                    np.abs(a[good]),
                    error[good],
                    fmt=marker,
                    markersize=4,
                    color=colour,
                    elinewidth=0.8,
                    label=f"{name_of(region, flat)}, {words}" if good.any() else None,
                )
            order = np.argsort(distance)
            axes.plot(distance[order], 2 * error[order], color=FAINT, linewidth=0.8, linestyle=":", label="2 errors" if not place else None)
        axes.set_yscale("log")
        dress(axes, "distance / px", "|a| / (1/e-)")
        legend(axes, "upper right")

    return Chart(
        name=f"{start}covariance-decay",
        title="Covariances with neighbours",
        caption="Matrix a of Astier et al. 2019 against distance; only values above two errors are shown. All lie in covariances.csv.",
        paint=paint,
        columns=("region", "lag y / px", "lag x / px", "distance / px", "a / (1/e-)", "error / (1/e-)"),
        rows=rows,
    )


def linearity(set_up: SetUpResult, start: str) -> Chart | None:
    """Deviation from a straight response against signal."""
    straight = [(r, f, f.linearity) for r in set_up.regions for f in r.flats if f.linearity and f.linearity.deviation_percent is not None]
    if not straight:
        return None
    rows: list[tuple[Any, ...]] = []
    for region, flat, one in straight:
        deviation = one.deviation_percent if one.deviation_percent is not None else np.empty(0)
        values = zip(one.exposure_s.tolist(), one.signal_adu.tolist(), deviation.tolist(), one.used.tolist(), strict=True)
        rows += [(name_of(region, flat), *v[:3], "yes" if v[3] else "no") for v in values]

    def paint(canvas: Figure) -> None:
        axes = canvas.add_subplot()
        reach = 0.0
        for place, (region, flat, one) in enumerate(straight[:MOST_REGIONS]):
            if one.deviation_percent is None:
                continue
            label = f"{name_of(region, flat)}: error {one.error_percent:.3g} %"
            inside = one.used
            axes.plot(
                one.signal_adu[inside], one.deviation_percent[inside], marker="o", markersize=4, color=COLOURS[place % 7], label=label
            )
            reach = max(reach, float(np.abs(one.deviation_percent[inside]).max()))
        axes.axhline(0, color=INK, linewidth=0.7)
        axes.set_ylim(-1.3 * reach - 1e-6, 1.3 * reach + 1e-6)
        dress(axes, "signal above the offset / ADU", "deviation / %")
        legend(axes)

    return Chart(
        name=f"{start}linearity",
        title="Linearity",
        caption="Deviation from the line of least relative deviation, between 5 % and 95 % of saturation (EMVA 1288).",
        paint=paint,
        columns=("region", "exposure / s", "signal / adu", "deviation / %", "used"),
        rows=rows,
        size_in=(5.2, 3.0),
    )

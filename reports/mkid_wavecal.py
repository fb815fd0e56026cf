"""The eight plots of a wavelength calibration.  Each carries the numbers that it shows, and none is ever empty."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from nightcrew.errors import Refused
from nightcrew.mkid import line_models as lm
from nightcrew.mkid.energy_fit import energy_at
from nightcrew.mkid.flags import describe
from nightcrew.mkid.line_data import LineData
from nightcrew.mkid.phase_histogram import BIN_DEG
from nightcrew.mkid.wavelength_solution import HISTOGRAM_FLAGS, MODELS, WavelengthSolution
from reports.figures import LIGHT, EmptyFigureError
from reports.mkid_figures import COLOURS, MARKERS, Plot, canvas, dress, grid, histogram, image, legend, png_of

Floats = NDArray[np.float64]
NO_FREQUENCIES = "R against frequency is not drawn: no list of resonator frequencies was given (--frequencies FILE)"
_PARAMETER_LABELS = (
    "centre / deg",
    "sigma / deg",
    "counts",
    "background at edge / (1/deg)",
    "background rate / (1/deg)",
    "second centre / deg",
    "second sigma / deg",
    "second counts",
)


def laser_names(solution: WavelengthSolution) -> list[str]:
    """``850 nm`` and so on."""
    return [f"{nm:g} nm" for nm in solution.wavelengths_nm]


def _solved_only(solution: WavelengthSolution, values: Floats) -> Floats:
    """Values [laser, y, x] of the pixels with a solution, others NaN."""
    return np.where(solution.solved & solution.line_good, values, np.nan)


def energysolution(solution: WavelengthSolution, pixel: tuple[int, int]) -> Plot:
    """Energies against the phases of the lines of the pixel (y, x), with the fit."""
    y, x = _inside(solution, pixel)
    good = solution.line_good[:, y, x]
    if not good.any():
        raise EmptyFigureError(f"pixel x {x}, y {y}: no laser could be fitted ({describe(int(solution.flag[y, x]))})")
    centre, error, energy = solution.line_centre_deg[good, y, x], solution.line_centre_error_deg[good, y, x], solution.energies_ev[good]
    phase = np.linspace(centre.min() - 8, centre.max() + 8, 100)
    fitted = energy_at(solution.coefficients[y, x], phase)
    figure = canvas((5.0, 3.4))
    axes = figure.add_subplot()
    axes.errorbar(centre, energy, xerr=error, fmt="o", color=COLOURS[0], markersize=4)
    if np.isfinite(fitted).all():
        axes.plot(phase, fitted, color=COLOURS[5], linewidth=1.2)
    lines = [f"{nm:g} nm: R = {r:.2f}" for nm, r in zip(solution.wavelengths_nm[good], solution.resolution[good, y, x], strict=True)]
    axes.text(0.98, 0.97, "\n".join(lines), transform=axes.transAxes, ha="right", va="top", fontsize=7, color=LIGHT.ink)
    dress(axes, f"pixel x {x}, y {y}, resonator {int(solution.resid[y, x])}", "phase / deg", "energy / eV")
    numbers = {"phase_deg": phase, "energy_ev": fitted, "centre_deg": centre, "centre_error_deg": error, "laser_energy_ev": energy}
    numbers |= {"resolution": solution.resolution[:, y, x], "coefficients": solution.coefficients[y, x]}
    caption = f"Energy of the lasers against the phase of their lines; {describe(int(solution.flag[y, x]))}"
    return Plot(name=f"energysolution_x{x}_y{y}", title="Energy solution", caption=caption, png=png_of(figure), numbers=numbers)


def histogramfits(solution: WavelengthSolution, data: LineData, pixel: tuple[int, int]) -> Plot:
    """Histogram and model of every laser of the pixel (y, x)."""
    y, x = _inside(solution, pixel)
    figure, every = grid(solution.wavelengths_nm.size)
    numbers: dict[str, NDArray[np.generic]] = {}
    edges = -np.arange(data.histogram.shape[-1] + 1) * BIN_DEG
    for laser, axes in enumerate(every):
        counts = data.histogram[laser, y, x]
        if not counts.any():
            axes.text(0.5, 0.5, "no photons", transform=axes.transAxes, ha="center", fontsize=8, color=LIGHT.faint)
        lit = np.flatnonzero(counts)
        stop = int(lit[-1]) + 2 if lit.size else 2
        axes.stairs(counts[:stop][::-1], edges[: stop + 1][::-1], color=LIGHT.faint, linewidth=0.8)
        numbers[f"counts_{laser}"], numbers[f"edges_deg_{laser}"] = counts, edges
        middle, expected = model_counts(solution, data, laser, pixel)
        if expected.size:
            axes.plot(-middle, expected, color=COLOURS[5], linewidth=1.1)
        numbers[f"model_phase_deg_{laser}"], numbers[f"model_counts_{laser}"] = -middle, expected
        said = HISTOGRAM_FLAGS[solution.line_flag[laser, y, x]]
        dress(axes, f"{solution.wavelengths_nm[laser]:g} nm: {said}", "phase / deg", "photons per half degree")
    caption = f"Pixel x {x}, y {y}; models: {', '.join(MODELS[int(one)] for one in solution.line_model[:, y, x])}"
    return Plot(name=f"histogramfits_x{x}_y{y}", title="Histogram fits", caption=caption, png=png_of(figure), numbers=numbers)


def model_counts(solution: WavelengthSolution, data: LineData, laser: int, pixel: tuple[int, int]) -> tuple[Floats, Floats]:
    """Heights (minus the phase) and expected photons per half degree of a fit, over the range that was fitted; empty without one."""
    y, x = pixel
    number = int(solution.line_model[laser, y, x])
    if not number:
        return np.empty(0), np.empty(0)
    model = lm.LineModel.named(MODELS[number])
    signs = np.where(np.isin(np.arange(lm.N_PARAMETERS), (lm.CENTRE, lm.SECOND_CENTRE)), -1.0, 1.0)
    parameters = (solution.line_parameters[laser, y, x] * signs)[list(model.free)]
    edge = -float(solution.line_edge_deg[laser, y, x])
    high = np.flatnonzero(data.histogram[laser, y, x])
    count = max(int((high[-1] + 1) - round(edge / BIN_DEG)), 1) if high.size else 1
    bins = lm.Bins(np.array([edge]), np.array([BIN_DEG]), count, None)
    expected = model.expected(bins, parameters[None], np.zeros(1, dtype=np.intp))[0][0]
    dark = data.dark_expected(laser, np.array([y * solution.shape[1] + x]))
    if dark is not None:
        first = round(edge / BIN_DEG)
        expected = expected + dark[0, first : first + count]
    middle: Floats = edge + (np.arange(count, dtype=np.float64) + 0.5) * BIN_DEG
    return middle, expected


def rhistogram(solution: WavelengthSolution) -> Plot:
    """Distribution of the energy resolution, for each laser."""
    return _distribution(solution, solution.resolution, "rhistogram", "Energy resolution", "R = E / FWHM")


def centerhist(solution: WavelengthSolution) -> Plot:
    """Distribution of the phases of the lines, for each laser."""
    return _distribution(solution, solution.line_centre_deg, "centerhist", "Phases of the lines", "phase / deg")


def _distribution(solution: WavelengthSolution, values: Floats, name: str, title: str, label: str) -> Plot:
    shown = _solved_only(solution, values)
    if not np.isfinite(shown).any():
        raise EmptyFigureError(f"{title}: no pixel has a solution")
    figure = canvas((5.0, 3.2))
    axes = figure.add_subplot()
    edges, counts = histogram(axes, list(zip(laser_names(solution), shown, strict=True)))
    dress(axes, "", label, "pixels")
    legend(axes)
    middle = [float(np.nanmedian(one)) if np.isfinite(one).any() else float("nan") for one in shown]
    caption = "Medians: " + ", ".join(f"{laser} {value:.2f}" for laser, value in zip(laser_names(solution), middle, strict=True))
    numbers = {"values": shown, "edges": edges, "counts": counts, "wavelengths_nm": solution.wavelengths_nm, "median": np.array(middle)}
    return Plot(name=name, title=title, caption=caption, png=png_of(figure), numbers=numbers)


def rvsf(solution: WavelengthSolution, frequencies_ghz: Mapping[int, float]) -> Plot:
    """Energy resolution against the frequency of the resonators; ``Refused`` without frequencies."""
    if not frequencies_ghz:
        raise Refused(NO_FREQUENCIES)
    frequency = np.array([frequencies_ghz.get(int(one), np.nan) for one in solution.resid.ravel()]).reshape(solution.shape)
    shown = _solved_only(solution, solution.resolution)
    both = np.isfinite(shown) & np.isfinite(frequency)
    if not both.any():
        raise EmptyFigureError("R against frequency: none of the resonators with a solution has a frequency in the list")
    figure = canvas((5.0, 3.2))
    axes = figure.add_subplot()
    for laser, name in enumerate(laser_names(solution)):
        colour = COLOURS[laser % len(COLOURS)]
        axes.plot(frequency[both[laser]], shown[laser][both[laser]], ".", markersize=2, color=colour, alpha=0.5, label=name)
        middle, values = _running(frequency[both[laser]], shown[laser][both[laser]])
        axes.plot(middle, values, color=colour, linewidth=1.4)
    dress(axes, "", "resonator frequency / GHz", "R = E / FWHM")
    legend(axes, outside=True)
    numbers = {"frequency_ghz": frequency, "resolution": shown, "wavelengths_nm": solution.wavelengths_nm}
    caption = f"{int(both.any(axis=0).sum())} resonators; lines are running medians"
    return Plot(name="rvsf", title="Energy resolution against frequency", caption=caption, png=png_of(figure), numbers=numbers)


def _running(x: Floats, y: Floats, parts: int = 12) -> tuple[Floats, Floats]:
    order = np.argsort(x, kind="stable")
    pieces = [piece for piece in np.array_split(order, parts) if piece.size]
    return np.array([np.median(x[piece]) for piece in pieces]), np.array([np.median(y[piece]) for piece in pieces])


def fitparameters(solution: WavelengthSolution) -> Plot:
    """Distribution of each parameter of the histogram fits, for each laser."""
    good = (solution.solved & solution.line_good)[..., None]
    shown = np.where(good, solution.line_parameters, np.nan)
    used = [place for place in range(lm.N_PARAMETERS) if np.isfinite(shown[..., place]).any()]
    if not used:
        raise EmptyFigureError("parameters of the fits: no laser of any pixel could be fitted")
    figure, every = grid(len(used))
    numbers: dict[str, NDArray[np.generic]] = {"values": shown, "wavelengths_nm": solution.wavelengths_nm}
    for axes, place in zip(every, used, strict=True):
        sets = list(zip(laser_names(solution), shown[..., place], strict=True))
        numbers[f"edges_{place}"], numbers[f"counts_{place}"] = histogram(axes, sets, bins=30)
        dress(axes, "", _PARAMETER_LABELS[place], "pixels")
    legend(every[0], outside=True)
    caption = "Parameters of the models of the histograms, good fits only"
    return Plot(name="fitparameters", title="Parameters of the fits", caption=caption, png=png_of(figure), numbers=numbers)


def resolutionimage(solution: WavelengthSolution) -> Plot:
    """Maps of the energy resolution, one for each laser."""
    shown = _solved_only(solution, solution.resolution)
    if not np.isfinite(shown).any():
        raise EmptyFigureError("maps of the resolution: no pixel has a solution")
    low, high = np.nanpercentile(shown, [1, 99])
    lit = [laser for laser in range(shown.shape[0]) if np.isfinite(shown[laser]).any()]
    figure, every = grid(len(lit), size_in=(2.8, 3.0))
    for axes, laser in zip(every, lit, strict=True):
        image(axes, shown[laser], laser_names(solution)[laser], low=float(low), high=float(high), label="R")
    caption = "R = E / FWHM of every pixel; grey pixels have no solution"
    numbers = {"resolution": shown, "wavelengths_nm": solution.wavelengths_nm}
    return Plot(name="resolutionimage", title="Maps of the energy resolution", caption=caption, png=png_of(figure), numbers=numbers)


def summary(solution: WavelengthSolution, frequencies_ghz: Mapping[int, float]) -> Plot:
    """Resolutions, centres, R against frequency, and the numbers, on one sheet."""
    resolution, centre = _solved_only(solution, solution.resolution), _solved_only(solution, solution.line_centre_deg)
    if not np.isfinite(resolution).any():
        raise EmptyFigureError("summary of the wavelength calibration: no pixel has a solution")
    figure, (left, right, low, text) = grid(4, columns=2, size_in=(3.8, 2.7))
    names = laser_names(solution)
    histogram(left, list(zip(names, resolution, strict=True)))
    dress(left, "", "R = E / FWHM", "pixels")
    legend(left)
    histogram(right, list(zip(names, centre, strict=True)))
    dress(right, "", "phase of the line / deg", "pixels")
    _frequency_part(low, solution, resolution, frequencies_ghz)
    lines = summary_lines(solution)
    text.axis("off")
    text.text(0.0, 1.0, "\n".join(lines), transform=text.transAxes, va="top", fontsize=8, color=LIGHT.ink, linespacing=1.5)
    numbers = {"resolution": resolution, "centre_deg": centre, "wavelengths_nm": solution.wavelengths_nm, "solved": solution.solved}
    caption = "; ".join(lines[:2])
    return Plot(name="summary", title="Wavelength calibration", caption=caption, png=png_of(figure), numbers=numbers)


def _frequency_part(axes: object, solution: WavelengthSolution, resolution: Floats, frequencies_ghz: Mapping[int, float]) -> None:
    from matplotlib.axes import Axes

    if not isinstance(axes, Axes):
        raise TypeError("no axes to draw in")
    frequency = np.array([frequencies_ghz.get(int(one), np.nan) for one in solution.resid.ravel()]).reshape(solution.shape)
    if not np.isfinite(frequency).any():
        axes.axis("off")
        axes.text(0.5, 0.5, "\n".join(NO_FREQUENCIES.split(": ")), transform=axes.transAxes, ha="center", fontsize=7, color=LIGHT.faint)
        return
    for laser, name in enumerate(laser_names(solution)):
        axes.plot(frequency.ravel(), resolution[laser].ravel(), MARKERS[0], markersize=1.5, color=COLOURS[laser % len(COLOURS)], label=name)
    dress(axes, "", "resonator frequency / GHz", "R = E / FWHM")


def summary_lines(solution: WavelengthSolution) -> list[str]:
    """The calibration in sentences."""
    tried = solution.line_flag.min(axis=0) != 1
    solved, count = int(solution.solved.sum()), solution.resid.size
    lines = [f"{solved} of {count} pixels solved ({100 * solved / count:.1f} %), {int(tried.sum())} were tried"]
    found = zip(laser_names(solution), solution.resolution_by_laser(), strict=True)
    lines += [f"{name}: R = {middle:.2f}, scatter {mad:.2f}, {number} pixels" for name, (middle, mad, number) in found if number]
    quadratic = sum("wavecal.quadratic" in describe(int(one)) for one in solution.flag[solution.solved])
    return [*lines, f"{quadratic} parabolas, {solved - quadratic} straight lines"]


def _inside(solution: WavelengthSolution, pixel: tuple[int, int]) -> tuple[int, int]:
    y, x = pixel
    rows, columns = solution.shape
    if not (0 <= y < rows and 0 <= x < columns):
        raise Refused(f"there is no pixel x {x}, y {y} in an array of {columns} x {rows}")
    return y, x


ARRAY_PLOTS: dict[str, Callable[[WavelengthSolution], Plot]] = {
    "rhistogram": rhistogram,
    "centerhist": centerhist,
    "fitparameters": fitparameters,
    "resolutionimage": resolutionimage,
}
PIXEL_PLOTS = ("energysolution", "histogramfits")
NAMES = (*PIXEL_PLOTS, *ARRAY_PLOTS, "rvsf", "summary")
"""All eight."""


def draw(
    names: Sequence[str],
    solution: WavelengthSolution,
    data: LineData,
    frequencies_ghz: Mapping[int, float],
    pixels: Sequence[tuple[int, int]],
) -> tuple[list[Plot], list[str]]:
    """Plots by name, and in a sentence each those that have nothing to show, which cost the others nothing.

    Those of single pixels are drawn once for each of ``pixels`` (y, x).  ``Refused`` for a name that is none.
    """
    wrong = sorted(set(names) - set(NAMES))
    if wrong:
        raise Refused(f"there is no plot {wrong[0]!r}, only {', '.join(NAMES)}")
    painters: list[Callable[[], Plot]] = []
    for name in (one for one in NAMES if one in names):
        if name in ARRAY_PLOTS:
            painters.append(partial(ARRAY_PLOTS[name], solution))
        elif name in PIXEL_PLOTS:
            painters += [
                partial(energysolution, solution, one) if name == "energysolution" else partial(histogramfits, solution, data, one)
                for one in pixels
            ]
        else:
            painters.append(partial(rvsf if name == "rvsf" else summary, solution, frequencies_ghz))
    return drawn(painters)


def drawn(painters: Sequence[Callable[[], Plot]]) -> tuple[list[Plot], list[str]]:
    """Plots, and in a sentence each those that have nothing to show."""
    made, notes = [], []
    for painter in painters:
        try:
            made.append(painter())
        except EmptyFigureError as error:
            notes.append(f"not drawn: {error}")
    return made, notes


def typical_pixel(solution: WavelengthSolution) -> tuple[int, int]:
    """The solved pixel (y, x) whose resolution is nearest to the median; ``EmptyFigureError`` when none is solved."""
    known = np.isfinite(solution.resolution) & solution.solved
    values = np.where(known, solution.resolution, 0.0).sum(axis=0) / np.where(known.any(axis=0), known.sum(axis=0), np.nan)
    if not np.isfinite(values).any():
        raise EmptyFigureError("no pixel has a solution")
    off = np.where(np.isfinite(values), np.abs(values - np.nanmedian(values)), np.inf)
    y, x = np.unravel_index(int(np.argmin(off)), solution.shape)
    return int(y), int(x)

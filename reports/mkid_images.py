"""Pages of science exposures of photon lists: images, spectrum, light curve and speckle maps, with the numbers that they show."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nightcrew.mkid import flags as f
from nightcrew.mkid.cube import Cube
from nightcrew.mkid.science_products import ScienceProducts
from nightcrew.mkid.speckle import DESCRIPTIONS, INFORMATION, SpeckleFlag
from nightcrew.mkid.speckle_maps import SpeckleMaps
from nightcrew.mkid.speckle_words import AS_COUNTED
from reports.analysis import AnalysisSection, AnalysisTable
from reports.figures import EmptyFigureError
from reports.mkid_figures import COLOURS, Plot, canvas, dress, grid, histogram, image, legend, map_size, png_of, write_numbers
from reports.summary import Quantity, determined
from reports.text import plural

Floats = NDArray[np.float64]


def sections_of(products: ScienceProducts, out: Path) -> tuple[AnalysisSection, ...]:
    """Sections of the page of an exposure; the numbers of its figures go to ``out/numbers``."""
    parts = [_image_section(products), _light_section(products)]
    if products.speckles is not None:
        parts.append(_speckle_section(products.speckles, products.notes[:2]))
    write_numbers([plot for _, plots in parts for plot in plots], out)
    return tuple(section for section, _ in parts)


def quantities_of(products: ScienceProducts) -> tuple[Quantity, ...]:
    """Quantities for the summary of the page, each with the exposure that it is of."""
    return tuple(
        determined(name, value, why, unit=unit, where={"exposure": products.name})
        for name, (value, unit, why) in products.quantities.items()
    )


def _shown(cube: Cube, values: Floats) -> Floats:
    """Bad pixels have no place in a picture's scale."""
    return np.where(cube.bad, np.nan, values)


def _drawn(makers: list[Callable[[], Plot]]) -> tuple[list[Plot], list[str]]:
    """Plots that have something to show, and a sentence for each that has not."""
    plots: list[Plot] = []
    said: list[str] = []
    for make in makers:
        try:
            plots.append(make())
        except EmptyFigureError as error:
            said.append(f"Not drawn: {error}.")
    return plots, said


def _image_section(products: ScienceProducts) -> tuple[AnalysisSection, list[Plot]]:
    cube = products.image
    plots, said = _drawn([partial(image_plot, cube), partial(exposure_plot, cube)])
    rows = [
        (name, int(np.count_nonzero(cube.flag & np.uint32(f.bit(name)))), about)
        for name, about in f.FLAGS.items()
        if np.count_nonzero(cube.flag & np.uint32(f.bit(name)))
    ]
    tables = [AnalysisTable(title="Flags of the pixels", columns=("flag", "pixels", "meaning"), rows=tuple(rows))] if rows else []
    span_s = float(cube.time_edges_us[-1] - cube.time_edges_us[0]) / 1e6
    taken = f"Dead time is taken into account in the {cube.dead_time_in}. Flagged pixels are grey."
    text = (f"{int(cube.counts.sum())} photons in {span_s:g} s. {taken}", *products.remarks, *said)
    figures = tuple(plot.figure() for plot in plots)
    return AnalysisSection(title="Image", text=text, tables=tuple(tables), figures=figures), plots


def image_plot(cube: Cube) -> Plot:
    """Rate of every pixel, and its error."""
    rate, error = (_shown(cube, values[0, 0]) for values in (cube.rate_cps, cube.rate_error_cps))
    figure, (left, right) = grid(2, columns=2, size_in=map_size(rate.shape, 3.4))
    image(left, rate, "rate / (ct/s)")
    image(right, error, "error / (ct/s)")
    caption = f"{plural(int(np.isfinite(rate).sum()), 'pixel')}, {int(cube.counts.sum())} photons"
    numbers = {"rate_cps": cube.rate_cps[0, 0], "rate_error_cps": cube.rate_error_cps[0, 0], "flag": cube.flag}
    return Plot(name="image", title="Image", caption=caption, png=png_of(figure), numbers=numbers)


def exposure_plot(cube: Cube) -> Plot:
    """How long every pixel counted, and how the rates are spread."""
    exposure, rate = _shown(cube, cube.exposure_s[0]), _shown(cube, cube.rate_cps[0, 0])
    figure, (left, right) = grid(2, columns=2, size_in=map_size(rate.shape, 3.4))
    image(left, exposure, "exposure / s")
    edges, counts = histogram(right, [("rate", rate)])
    dress(right, "pixels by rate", "rate / (ct/s)", "pixels")
    numbers = {"exposure_s": cube.exposure_s[0], "edges_cps": edges, "pixels": counts[0]}
    caption = "Time in which each pixel counted; distribution of the rates"
    return Plot(name="exposure", title="Exposure and rates", caption=caption, png=png_of(figure), numbers=numbers)


def _light_section(products: ScienceProducts) -> tuple[AnalysisSection, list[Plot]]:
    makers: list[Callable[[], Plot]] = [partial(time_plot, products.time_cube)]
    if products.cube is not None:
        makers += [partial(spectrum_plot, products.cube), partial(colour_plot, products.cube)]
    plots, said = _drawn(makers)
    text = ("Medians over the pixels without a problem. Times are UTC of the readout's clock, not barycentric.", *said)
    return AnalysisSection(title="Light in time and wavelength", text=text, figures=tuple(plot.figure() for plot in plots)), plots


def steady_pixels(rates: Floats, bad: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Pixels [y, x] without a problem that have a rate [step, y, x] in every step in which any has one.

    Medians over others would jump where a board falls silent, whose pixels may be the brightest ones.
    """
    known = np.isfinite(rates) & ~bad
    steady: NDArray[np.bool_] = np.logical_and.reduce(known[known.any(axis=(1, 2))]) & known.any(axis=0)
    return steady


def _median_and_spread(cube: Cube, axis: int) -> tuple[Floats, Floats, Floats]:
    """Median rate over :func:`steady_pixels` along ``axis`` (0 time, 1 wavelength), and its quartiles."""
    rates = cube.rate_cps[:, 0] if axis == 0 else cube.rate_cps[0]
    good = steady_pixels(rates, cube.bad)
    if not good.any():
        raise EmptyFigureError("no pixel is without a problem all the time")
    values = rates[:, good]
    low, middle, high = (
        np.array([np.percentile(row[np.isfinite(row)], share) if np.isfinite(row).any() else np.nan for row in values])
        for share in (25, 50, 75)
    )
    return low, middle, high


def time_plot(cube: Cube) -> Plot:
    """Median rate against time."""
    low, middle, high = _median_and_spread(cube, 0)
    edges_s = cube.time_edges_us / 1e6
    figure = canvas((5.2, 2.6))
    axes = figure.add_subplot()
    axes.stairs(middle, edges_s, color=COLOURS[0], linewidth=1.4, label="median pixel")
    axes.stairs(high, edges_s, baseline=low, fill=True, color=COLOURS[4], alpha=0.3, label="quartiles")
    dress(axes, "", "time / s", "rate / (ct/s)")
    legend(axes)
    numbers = {"edges_s": edges_s, "median_cps": middle, "low_cps": low, "high_cps": high}
    number = plural(int(steady_pixels(cube.rate_cps[:, 0], cube.bad).sum()), "pixel")
    caption = f"{middle.size} steps; median {np.nanmedian(middle):.4g} ct/s; {number} that counted in every step"
    return Plot(name="light_curve", title="Light curve of the median pixel", caption=caption, png=png_of(figure), numbers=numbers)


def spectrum_plot(cube: Cube) -> Plot:
    """Median rate by wavelength."""
    bins = cube.wavelengths
    if bins is None:
        raise EmptyFigureError("the cube has no wavelengths")
    width = np.diff(bins.edges_nm)
    low, middle, high = (values / width for values in _median_and_spread(cube, 1))
    figure = canvas((5.2, 2.6))
    axes = figure.add_subplot()
    axes.stairs(middle, bins.edges_nm, color=COLOURS[0], linewidth=1.4, label="median pixel")
    axes.stairs(high, bins.edges_nm, baseline=low, fill=True, color=COLOURS[4], alpha=0.3, label="quartiles")
    dress(axes, "", "wavelength / nm", "ct / (s nm)")
    legend(axes)
    numbers = {"edges_nm": bins.edges_nm, "median_cps_per_nm": middle, "low_cps_per_nm": low, "high_cps_per_nm": high}
    caption = f"{bins.n} bins, evenly spaced in {bins.spacing}"
    return Plot(name="spectrum", title="Spectrum of the median pixel", caption=caption, png=png_of(figure), numbers=numbers)


def colour_plot(cube: Cube) -> Plot:
    """Images in up to six bins of wavelength."""
    bins = cube.wavelengths
    if bins is None:
        raise EmptyFigureError("the cube has no wavelengths")
    chosen = np.unique(np.linspace(0, bins.n - 1, min(bins.n, 6)).round().astype(int))
    figure, every = grid(chosen.size, columns=3, size_in=map_size(cube.bad.shape, 2.6))
    for axes, place in zip(every, chosen.tolist(), strict=True):
        image(axes, _shown(cube, cube.rate_cps[0, place]), f"{bins.edges_nm[place]:.0f} to {bins.edges_nm[place + 1]:.0f} nm")
    numbers = {"rate_cps": cube.rate_cps[0], "edges_nm": bins.edges_nm}
    return Plot(name="colours", title="Images by wavelength", caption="rate in ct/s", png=png_of(figure), numbers=numbers)


def _speckle_section(maps: SpeckleMaps, notes: tuple[str, ...]) -> tuple[AnalysisSection, list[Plot]]:
    plots, said = _drawn([partial(speckle_plot, maps), partial(speckle_spread_plot, maps)])
    rows = [
        (
            flag.name or "",
            "noted" if flag & INFORMATION else "left out",
            int(((maps.flags & np.uint32(flag)) != 0).sum()),
            DESCRIPTIONS[flag],
        )
        for flag in SpeckleFlag
    ]
    table = AnalysisTable(
        title="Where the numbers may be believed",
        columns=("reason", "effect", "pixels", "meaning"),
        rows=tuple(row for row in rows if row[2]),
        note="Pixels of all steps of time together.",
    )
    source = "a block bootstrap" if any(maps.bootstrapped) else "the curvature of the likelihood"
    how = f"counts in bins of {maps.rules.bin_s:g} s" if maps.method == "binned" else "the times between photons"
    fitted = f"Modified-Rician light fitted to {how}; errors are those of {source}. Pixels that are not valid are grey."
    text = (fitted, AS_COUNTED[maps.method], *notes, *said)
    return AnalysisSection(title="Speckle statistics", text=text, tables=(table,), figures=tuple(p.figure() for p in plots)), plots


def speckle_plot(maps: SpeckleMaps) -> Plot:
    """Ic, Is, (Ip,) Ic/Is of the step with the most valid pixels, those alone."""
    step = int(maps.valid.sum(axis=(1, 2)).argmax())
    valid, (ic, is_, ip) = maps.valid[step], maps.parameters_cps[:, step]
    parts = [("Ic / (ct/s)", ic), ("Is / (ct/s)", is_), ("Ic / Is", maps.ratio[step])]
    if maps.rules.companion:
        parts.insert(2, ("Ip / (ct/s)", ip))
    parts.append(("decorrelation time / s", maps.decorrelation_s[step]))
    shown = [(title, np.where(valid, values, np.nan)) for title, values in parts]
    shown = [(title, values) for title, values in shown if np.isfinite(values).any()]
    if not shown:
        raise EmptyFigureError("speckle maps: no pixel has numbers that may be believed")
    figure, every = grid(len(shown), columns=2, size_in=map_size(valid.shape, 3.4))
    for axes, (title, values) in zip(every, shown, strict=True):
        image(axes, values, title)
    numbers: dict[str, NDArray[Any]] = {
        "parameters_cps": maps.parameters_cps,
        "errors_cps": maps.errors_cps,
        "ratio": maps.ratio,
        "flags": maps.flags,
    }
    caption = f"{int(valid.sum())} of {valid.size} pixels may be believed"
    if len(maps.valid) > 1:
        start_s, stop_s = (float(edge) / 1e6 for edge in maps.edges_us[step : step + 2])
        caption += f"; the best of {len(maps.valid)} steps, {start_s:g} to {stop_s:g} s"
    return Plot(name="speckles", title="Speckle maps", caption=caption, png=png_of(figure), numbers=numbers)


def speckle_spread_plot(maps: SpeckleMaps) -> Plot:
    """How Ic and Is are spread over the valid pixels."""
    values = [(name, maps.parameters_cps[place][maps.valid]) for place, name in enumerate(("Ic", "Is"))]
    figure = canvas((5.2, 2.6))
    axes = figure.add_subplot()
    edges, counts = histogram(axes, values)
    dress(axes, "", "ct / s", "pixels")
    legend(axes)
    numbers = {"edges_cps": edges, "pixels_ic": counts[0], "pixels_is": counts[1]}
    caption = "valid pixels of all steps of time"
    return Plot(name="speckle_spread", title="Ic and Is of the pixels", caption=caption, png=png_of(figure), numbers=numbers)

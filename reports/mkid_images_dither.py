"""Sections of the page of a combined dither."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nightcrew.mkid.dither_products import DitherProducts
from nightcrew.mkid.dither_speckles import PLANES_COMPANION, planes_of
from nightcrew.mkid.drizzled import Drizzled
from nightcrew.mkid.rician import IS
from reports.analysis import AnalysisSection, AnalysisTable
from reports.figures import EmptyFigureError
from reports.mkid_figures import Plot, grid, image, map_size, png_of, write_numbers
from reports.summary import Quantity, determined


def dither_sections(products: DitherProducts, out: Path) -> tuple[AnalysisSection, ...]:
    """Combined image with its exposure, positions, and speckle maps where there are any; numbers go to ``out/numbers``."""
    found = products.combined
    plots = [_image_plot(found.drizzled)]
    text = [f"{len(found.positions)} positions, {found.drizzled.n_shots} images added. North is up, east is left.", *products.remarks]
    if products.speckles is not None and products.ratio is not None:
        how = "are weighted by the flat field" if products.speckles_weighted else "are as counted: pixels differ in sensitivity"
        text += [f"Rates of the speckle maps {how}.", *_limits_in_words(products.speckles)]
        try:
            plots.append(_speckle_plot(products.speckles, products.ratio))
        except EmptyFigureError as error:
            text.append(f"Not drawn: {error}.")
    write_numbers(plots, out)
    rows = tuple(
        (one.name, *(_known(v) for v in (*one.star_px, *one.error_px, one.fwhm_px)), one.n_steps, one.exposure_s) for one in found.positions
    )
    table = AnalysisTable(
        title="Positions",
        columns=("table", "x / px", "y / px", "x error / px", "y error / px", "FWHM / px", "steps of rotation", "exposure / s"),
        rows=rows,
        note="Without an error the place is the log's. Exposures are medians of the pixels that are not bad.",
    )
    return (AnalysisSection(title="Combined dither", text=tuple(text), tables=(table,), figures=tuple(plot.figure() for plot in plots)),)


def _limits_in_words(rates: Drizzled) -> list[str]:
    """How many pixels have a limit instead of values."""
    companion = planes_of(rates) == PLANES_COMPANION
    limits, known = (int(np.isfinite(plane).sum()) for plane in (rates.rate_cps[-1], rates.rate_cps[IS]))
    if not limits:
        return []
    what, instead = ("Is", "Ic, Is and Ip") if companion else ("Ic", "Ic and Is")
    why = "an average of faint Is beside a companion is several times too great" if companion else "averages of faint Ic are too great"
    return [f"{limits} of {limits + known} pixels have an upper limit of {what} (95 %) instead of {instead}: {why}."]


def dither_quantities(products: DitherProducts) -> tuple[Quantity, ...]:
    """Quantities for the summary of the page."""
    result, where = products.combined.drizzled, {"dither": products.name}
    widths = [one.fwhm_px for one in products.combined.positions if math.isfinite(one.fwhm_px)]
    exposure = float(result.exposure_s.max(initial=0.0))
    return (
        determined("dither_positions", float(len(products.combined.positions)), "", where=where),
        determined("dither_exposure", exposure if exposure > 0 else None, "nothing fell on the grid", unit="s", where=where),
        determined("dither_fwhm", float(np.median(widths)) if widths else None, "places are the log's", unit="px", where=where),
    )


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _image_plot(result: Drizzled) -> Plot:
    whole = np.where(result.exposure_s > 0, np.nansum(result.rate_cps, axis=0), np.nan)
    figure, (left, right) = grid(2, columns=2, size_in=map_size(whole.shape, 3.4))
    image(left, whole, "rate / (ct/s)")
    image(right, np.where(result.exposure_s > 0, result.exposure_s, np.nan), "exposure / s")
    numbers: dict[str, NDArray[Any]] = {"rate_cps": result.rate_cps, "variance": result.variance, "exposure_s": result.exposure_s}
    caption = f"all wavelengths; drops of {result.pixfrac:g} pixel"
    return Plot(name="dither", title="Combined dither", caption=caption, png=png_of(figure), numbers=numbers)


def _speckle_plot(rates: Drizzled, ratio: Drizzled) -> Plot:
    shown = [(values, f"{name} / (ct/s)") for name, values in zip(planes_of(rates), rates.rate_cps, strict=True)]
    shown = [(values, title) for values, title in [*shown, (ratio.rate_cps[0], "Ic / Is")] if np.isfinite(values).any()]
    if not shown:
        raise EmptyFigureError("no pixel has speckle statistics")
    figure, every = grid(len(shown), columns=2 if len(shown) == 4 else 3, size_in=map_size(ratio.rate_cps.shape, 2.8))
    for axes, (values, title) in zip(every, shown, strict=True):
        image(axes, values, title)
    numbers: dict[str, NDArray[Any]] = {"rates_cps": rates.rate_cps, "variance": rates.variance, "ratio": ratio.rate_cps[0]}
    return Plot(
        name="dither_speckles", title="Speckle statistics of the dither", caption="valid pixels", png=png_of(figure), numbers=numbers
    )

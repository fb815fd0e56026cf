"""A page on single pixels of an array: what the wavelength solution knows of each, with its histograms and flat weights."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import numpy as np

from nightcrew.mkid.flags import describe
from nightcrew.mkid.line_data import LineData
from nightcrew.mkid.wavelength_solution import HISTOGRAM_FLAGS, MODELS, WavelengthSolution
from reports.analysis import AnalysisPage, AnalysisSection, AnalysisTable
from reports.figures import EmptyFigureError
from reports.mkid_figures import Plot
from reports.mkid_solutions import inputs_of
from reports.mkid_wavecal import energysolution, histogramfits
from reports.summary import Quantity, Summary, determined


def pixel_page(solution: WavelengthSolution, data: LineData, pixels: Sequence[tuple[int, int]]) -> tuple[AnalysisPage, list[Plot]]:
    """The page of the pixels (y, x), and its figures with the numbers that go beside it."""
    plots: list[Plot] = []
    sections = tuple(_section(solution, data, pixel, plots) for pixel in pixels)
    solved = sum(bool(solution.solved[pixel]) for pixel in pixels)
    page = AnalysisPage(
        kind="mkid",
        title="Pixels",
        verdict=f"{solved} of {len(pixels)} pixels have a wavelength solution",
        status="good" if solved == len(pixels) else "attention",
        summary=Summary(
            recipe="mkid_pixels",
            inputs=inputs_of(solution.provenance),
            grade="",
            quantities=tuple(one for pixel in pixels for one in _quantities(solution, pixel)),
        ),
        key_quantities=(),
        sections=sections,
    )
    return page, plots


def _quantities(solution: WavelengthSolution, pixel: tuple[int, int]) -> list[Quantity]:
    y, x = pixel
    made = []
    for laser, nm in enumerate(solution.wavelengths_nm.tolist()):
        where: dict[str, str | int | float | bool | None] = {"x": x, "y": y, "wavelength_nm": nm}
        why = HISTOGRAM_FLAGS[int(solution.line_flag[laser, y, x])]
        why = why if why != "good" else "the pixel has no solution"
        value, error = float(solution.resolution[laser, y, x]), float(solution.resolution_error[laser, y, x])
        made.append(determined("energy_resolution", value, why, error=error, where=where))
    return made


def _section(solution: WavelengthSolution, data: LineData, pixel: tuple[int, int], plots: list[Plot]) -> AnalysisSection:
    y, x = pixel
    drawn = [histogramfits(solution, data, pixel)]
    with contextlib.suppress(EmptyFigureError):  # the text says that no laser could be fitted
        drawn.insert(0, energysolution(solution, pixel))
    plots += drawn
    rows = []
    for laser, nm in enumerate(solution.wavelengths_nm.tolist()):
        values = (solution.line_centre_deg, solution.line_centre_error_deg, solution.resolution, solution.line_chi2)
        shown = [float(one[laser, y, x]) if np.isfinite(one[laser, y, x]) else None for one in values]
        model, flag = MODELS[int(solution.line_model[laser, y, x])], HISTOGRAM_FLAGS[int(solution.line_flag[laser, y, x])]
        rows.append((nm, int(solution.line_photons[laser, y, x]), flag, model, *shown))
    columns = ("wavelength / nm", "photons", "fit", "model", "centre / deg", "error / deg", "R", "chi square / degree of freedom")
    c0, c1, c2 = solution.coefficients[y, x].tolist()
    energies = f"E / eV = {c0:.5g} {c1:+.5g} p {c2:+.5g} p^2, p in degrees." if np.isfinite(c0) else "No energies."
    text = (f"Resonator {int(solution.resid[y, x])}; flags: {describe(int(solution.flag[y, x]))}.", energies)
    table = AnalysisTable(title=f"Lasers of x {x}, y {y}", columns=columns, rows=tuple(rows))
    return AnalysisSection(title=f"x {x}, y {y}", text=text, tables=(table,), figures=tuple(plot.figure() for plot in drawn))

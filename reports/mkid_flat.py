"""Plots of flat fields: the three books, the book of an application, and the figures of the page."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from nightcrew.errors import Refused
from nightcrew.io import atomic
from nightcrew.mkid.energy_fit import energy_at
from nightcrew.mkid.flat_solution import FlatSolution, polynomial_weights
from nightcrew.mkid.wavelength_solution import WavelengthSolution
from reports.figures import LIGHT, EmptyFigureError
from reports.mkid_figures import COLOURS, Plot, canvas, dress, grid, image, legend, png_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

Floats = NDArray[np.float64]
Painter = Callable[["Axes"], None]
_COLUMNS, _ROWS = 3, 4  # of a page
_WEIGHTS = (0.5, 2.0)  # limits of the axes


def book_names(solution: str) -> dict[str, str]:
    """File names of the books of a solution."""
    return {
        "pixels": f"{solution}_WavelengthCompare.pdf",
        "slices": f"{solution}__wvlSlices.pdf",
        "mask": f"{solution}__mask.pdf",
        "applied": f"{solution}FlatCalSolnPlotsPerPixel.pdf",
    }


def write_book(final: Path, painters: Sequence[Painter]) -> int:
    """Write a PDF with three columns and four rows a page, the same bytes each time; the number of its pages.

    ``EmptyFigureError`` when there is nothing to paint.
    """
    from matplotlib.backends.backend_pdf import PdfPages

    if not painters:
        raise EmptyFigureError(f"{final.name}: there is nothing to draw")
    with (
        atomic.NewFile(final, durable=False, overwrite=True) as new,
        PdfPages(new.file, metadata={"CreationDate": None, "Creator": None, "Producer": None}) as book,
    ):
        pages = 0
        for page in _pages(painters):
            book.savefig(page)
            pages += 1
    return pages


def write_books(
    flat: FlatSolution, wavelength: WavelengthSolution | None, folder: Path, solution: str, pixels: Sequence[tuple[int, int]]
) -> tuple[list[Path], list[str]]:
    """Write the three books of a flat field, and in a sentence each those that have nothing to show, which cost the others nothing."""
    names, written, notes = book_names(solution), [], []
    books = {"pixels": pixel_book(flat, wavelength, pixels), "slices": slice_book(flat), "mask": mask_book(flat)}
    for part, painters in books.items():
        try:
            write_book(folder / names[part], painters)
            written.append(folder / names[part])
        except EmptyFigureError as error:
            notes.append(f"not written: {error}")
    return written, notes


def _pages(painters: Sequence[Painter]) -> Iterator[Canvas]:
    size = _COLUMNS * _ROWS
    for start in range(0, len(painters), size):
        page = canvas((8.3, 11.7))
        for place, painter in enumerate(painters[start : start + size]):
            painter(page.add_subplot(_ROWS, _COLUMNS, place + 1))
        yield page


def pixel_book(flat: FlatSolution, wavelength: WavelengthSolution | None, pixels: Sequence[tuple[int, int]]) -> list[Painter]:
    """For each pixel (y, x): weights of all chunks with their average, spectrum, and wavelength solution."""
    made: list[Painter] = []
    for pixel in _inside(flat, pixels):
        made.append(partial(_paint_weights, flat=flat, pixel=pixel))
        made.append(partial(_paint_spectrum, flat=flat, pixel=pixel))
        made.append(partial(_paint_wavelengths, wavelength=wavelength, pixel=pixel))
    return made


def applied_book(flat: FlatSolution, pixels: Sequence[tuple[int, int]]) -> list[Painter]:
    """For each pixel (y, x) weights of all chunks with their average."""
    return [partial(_paint_weights, flat=flat, pixel=pixel) for pixel in _inside(flat, pixels)]


def slice_book(flat: FlatSolution) -> list[Painter]:
    """For each wavelength bin a map of the weights and one of the flat's counts."""
    made: list[Painter] = []
    for place, centre in enumerate(flat.centres_nm):
        weights, rate = flat.weights[place], flat.spectrum_cps[place]
        if np.isfinite(weights).any():
            made.append(partial(image, values=weights, title=f"weights at {centre:.0f} nm", low=_WEIGHTS[0], high=_WEIGHTS[1]))
        if np.isfinite(rate).any():
            top = max(float(np.nanmean(rate) + 3 * np.nanstd(rate)), 1e-9)
            made.append(partial(image, values=rate, title=f"flat at {centre:.0f} nm / (1/s)", low=0.0, high=top))
    return made


def mask_book(flat: FlatSolution) -> list[Painter]:
    """For each wavelength bin a map of the pixels without a weight."""
    masks = [(centre, (flat.weight_flag[place] > 0).astype(float)) for place, centre in enumerate(flat.centres_nm)]
    return [partial(image, values=mask, title=f"masked at {centre:.0f} nm", low=0.0, high=1.0) for centre, mask in masks]


def _inside(flat: FlatSolution, pixels: Sequence[tuple[int, int]]) -> Sequence[tuple[int, int]]:
    rows, columns = flat.shape
    for y, x in pixels:
        if not (0 <= y < rows and 0 <= x < columns):
            raise Refused(f"there is no pixel x {x}, y {y} in an array of {columns} x {rows}")
    return pixels


def some_pixels(flat: FlatSolution, most: int) -> list[tuple[int, int]]:
    """At most ``most`` pixels (y, x) with weights, spread over the array."""
    good = np.argwhere(flat.good.any(axis=0))
    chosen = good[np.unique(np.linspace(0, max(len(good) - 1, 0), min(most, len(good))).astype(int))] if len(good) else good
    return [(int(y), int(x)) for y, x in chosen]


def _paint_weights(axes: Axes, flat: FlatSolution, pixel: tuple[int, int]) -> None:
    y, x = pixel
    nm = flat.centres_nm
    for chunk in range(flat.chunk_weights.shape[0]):
        axes.plot(nm, flat.chunk_weights[chunk, :, y, x], color="#b8c0c8", linewidth=0.6)
    axes.errorbar(nm, flat.weights[:, y, x], yerr=flat.weight_error[:, y, x], fmt=".", color=COLOURS[0], markersize=3, linewidth=0.8)
    fine = np.linspace(nm[0], nm[-1], 80)
    rows = np.broadcast_to(flat.coefficients[y, x], (fine.size, flat.coefficients.shape[-1]))
    axes.plot(fine, polynomial_weights(rows, np.clip(fine, *flat.own_nm[y, x]), flat.range_nm), color=COLOURS[5], linewidth=1.0)
    axes.set_ylim(*_WEIGHTS)
    dress(axes, f"x {x}, y {y}: weights", "nm", "")


def _paint_spectrum(axes: Axes, flat: FlatSolution, pixel: tuple[int, int]) -> None:
    y, x = pixel
    axes.plot(flat.centres_nm, flat.spectrum_cps[:, y, x], color=COLOURS[2], linewidth=1.0, drawstyle="steps-mid")
    dress(axes, f"x {x}, y {y}: flat / (1/s)", "nm", "")


def _paint_wavelengths(axes: Axes, wavelength: WavelengthSolution | None, pixel: tuple[int, int]) -> None:
    y, x = pixel
    if wavelength is None or not wavelength.solved[y, x] or not np.isfinite(wavelength.phase_range_deg[y, x]).all():
        axes.text(0.5, 0.5, "no wavelength solution", transform=axes.transAxes, ha="center", fontsize=8, color=LIGHT.faint)
    else:
        good = wavelength.line_good[:, y, x]
        low, high = wavelength.phase_range_deg[y, x].tolist()
        phase = np.linspace(low, high, 60)
        axes.plot(phase, energy_at(wavelength.coefficients[y, x], phase), color=COLOURS[5], linewidth=1.0)
        axes.plot(wavelength.line_centre_deg[good, y, x], wavelength.energies_ev[good], "o", color=COLOURS[0], markersize=3)
    dress(axes, f"x {x}, y {y}: eV against deg", "deg", "")


def weight_maps(flat: FlatSolution, *, most: int = 6) -> Plot:
    """Maps of the weights at some wavelengths."""
    lit = [place for place in range(len(flat.centres_nm)) if np.isfinite(flat.weights[place]).any()]
    if not lit:
        raise EmptyFigureError("weights of the flat field: no pixel has one")
    chosen = [lit[place] for place in np.unique(np.linspace(0, len(lit) - 1, min(most, len(lit))).astype(int))]
    figure, every = grid(len(chosen), size_in=(2.8, 3.0))
    for axes, place in zip(every, chosen, strict=True):
        image(axes, flat.weights[place], f"{flat.centres_nm[place]:.0f} nm", low=_WEIGHTS[0], high=_WEIGHTS[1], label="weight")
    numbers = {"weights": flat.weights, "weight_error": flat.weight_error, "bins_nm": flat.bins_nm}
    caption = "Factor for the counts of each pixel; grey pixels have none"
    return Plot(name="flat_weights", title="Flat weights", caption=caption, png=png_of(figure), numbers=numbers)


def weight_scatter(flat: FlatSolution) -> Plot:
    """Scatter of the weights over the array and their median error, by wavelength; masked pixels below."""
    nm = flat.centres_nm
    scatter, error = scatter_by_wavelength(flat)
    if not np.isfinite(scatter).any():
        raise EmptyFigureError("scatter of the flat weights: no pixel has a weight")
    masked = (flat.weight_flag > 0).sum(axis=(1, 2))
    figure, (top, low) = grid(2, columns=1, size_in=(5.0, 2.0))
    top.plot(nm, scatter, "o-", color=COLOURS[0], markersize=3, linewidth=1, label="scatter over the array")
    top.plot(nm, error, "-", color=COLOURS[5], linewidth=1, label="median error")
    top.set_ylim(bottom=0)
    dress(top, "", "", "weight")
    legend(top)
    low.plot(nm, masked, color=COLOURS[3], drawstyle="steps-mid", linewidth=1.2)
    low.set_ylim(bottom=0)
    dress(low, "", "wavelength / nm", "pixels without weight")
    for axes in (top, low):  # the same wavelengths below each other, also where only some have weights
        axes.set_xlim(float(flat.bins_nm.min()), float(flat.bins_nm.max()))
    numbers = {"wavelength_nm": nm, "scatter": scatter, "median_error": error, "masked": masked}
    caption = f"Median scatter {np.nanmedian(scatter):.3f}"
    return Plot(name="flat_scatter", title="Flat weights by wavelength", caption=caption, png=png_of(figure), numbers=numbers)


def scatter_by_wavelength(flat: FlatSolution) -> tuple[Floats, Floats]:
    """Robust standard deviation of the weights over the array and their median error, in each bin; NaN where no pixel has one."""
    scatter, error = np.full(len(flat.bins_nm), np.nan), np.full(len(flat.bins_nm), np.nan)
    for place in range(len(flat.bins_nm)):
        good = flat.good[place]
        if np.count_nonzero(good) > 1:
            values = flat.weights[place][good]
            scatter[place] = 1.4826 * np.median(np.abs(values - np.median(values)))
            error[place] = np.median(flat.weight_error[place][good])
    return scatter, error

"""The histograms that a wavelength solution was fitted to, kept in its file so that every fit can be drawn again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nightcrew.mkid.line_guess import smoothed
from nightcrew.mkid.solution_file import WAVELENGTH, SolutionFile

NAMES = {
    "histogram": "[laser, y, x, bin]: photons by pulse height, minus the phase, in bins of half a degree from 0",
    "dark_histogram": "[dark, y, x, bin]: the same of the darks",
    "dark_index": "[laser]: its dark, -1 without",
    "dark_scale": "[laser, y, x]: time of the laser's histogram / time of the dark's",
}


@dataclass(frozen=True)
class LineData:
    """See :data:`NAMES`."""

    histogram: NDArray[np.uint32]
    dark_histogram: NDArray[np.uint32]
    dark_index: NDArray[np.int64]
    dark_scale: NDArray[np.float64]

    def arrays(self) -> dict[str, tuple[NDArray[Any], str]]:
        """For :func:`~nightcrew.mkid.solution_file.write_solution`."""
        return {name: (np.asarray(getattr(self, name)), about) for name, about in NAMES.items()}

    def dark_expected(self, laser: int, pixels: slice | NDArray[np.intp]) -> NDArray[np.float64] | None:
        """Counts [pixel, bin] that the dark lets expect in the histograms of ``pixels`` (y * columns + x); None without a dark.

        The dark is smoothed by two degrees: its own noise would otherwise become a structure of the model.
        """
        dark = int(self.dark_index[laser])
        if dark < 0:
            return None
        bins = self.histogram.shape[-1]
        counts = self.dark_histogram[dark].reshape(-1, bins)[pixels]
        expected: NDArray[np.float64] = smoothed(counts) * self.dark_scale[laser].reshape(-1)[pixels][:, None]
        return expected


def read_line_data(path: Path) -> LineData:
    """Histograms of a wavelength solution; errors as of :class:`~nightcrew.mkid.solution_file.SolutionFile`."""
    with SolutionFile(path, WAVELENGTH) as file:
        return LineData(**{name: file.array(name) for name in NAMES})

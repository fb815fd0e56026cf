"""Counts as pictures for the mail, where a page's own bars and tiles are not at hand: the balance and the calibration grid."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from reports.figures import Dress, EmptyFigureError, figure, plain
from reports.model import CELL_STATES, CalibrationCell
from reports.tables import calibration_table
from reports.text import shortened
from reports.values import Figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CELL_COLOURS = {"existed": "#2e7d4f", "borrowed": "#2f6fab", "late": "#8a5c00", "missing": "#b3261e"}

_WIDTH_IN = 3.6
_LETTER_WIDTH = 0.62  # of the size of the letters, of digits and capitals


def _tile_words(cell: CalibrationCell) -> str:
    return shortened(plain(f"{cell.kind} {cell.label}"), 34)


def grid_figure(cells: tuple[CalibrationCell, ...], name: str = "calibrations") -> Figure:
    """The calibration grid as coloured tiles with their state in words (for the mail; the page draws its own)."""
    if not cells:
        raise EmptyFigureError("calibration grid: no calibration was asked for")
    longest = max(len(_tile_words(cell)) for cell in cells)
    across = 3 if longest <= 16 else 2  # a range of temperatures wants a wider tile
    size_pt = min(8.0, _WIDTH_IN * 72 * 0.8 / across / (_LETTER_WIDTH * longest))
    down = math.ceil(len(cells) / across)

    def painter(axes: Axes, dress: Dress) -> None:
        from matplotlib.patches import FancyBboxPatch

        del dress
        for place, cell in enumerate(cells):
            x, y = place % across, place // across
            colour = CELL_COLOURS[cell.state]
            axes.add_patch(
                FancyBboxPatch((x + 0.07, y + 0.1), 0.86, 0.8, boxstyle="round,pad=0,rounding_size=0.06", color=colour, mutation_aspect=0.6)
            )
            words = ((_tile_words(cell), 0.36, size_pt), (f"{cell.state}{f', {cell.grade}' if cell.grade else ''}", 0.67, 7.0))
            for words_shown, height, size in words:
                axes.text(x + 0.5, y + height, words_shown, ha="center", va="center", fontsize=size, color="white")
        axes.set_xlim(0, across)
        axes.set_ylim(down, 0)
        axes.set_axis_off()

    counted = ", ".join(f"{sum(cell.state == state for cell in cells)} {state}" for state in CELL_STATES)
    return figure(name, "Calibrations", counted, painter, calibration_table(cells, name), (_WIDTH_IN, 0.5 * down + 0.1))

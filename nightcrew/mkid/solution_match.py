"""Does a calibration belong to the array of a photon table?  A wrong one would give numbers all the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from nightcrew.errors import RejectedInput
from nightcrew.io.source import shown

if TYPE_CHECKING:
    from nightcrew.mkid.photon_table import PhotonTable

Resid = NDArray[np.uint32]
_LEAST_SHARED = 0.5  # of the table's resonators that a calibration of the same array knows, whatever became of its beam map


def check_arrays(table: PhotonTable, solutions: Mapping[str, Resid]) -> None:
    """Raise :class:`RejectedInput` when a calibration (what it is -> its resonators [y, x]) is of another array than the table."""
    for what, resid in solutions.items():
        if resid.shape != table.shape:
            sizes = " x ".join(map(str, table.shape[::-1])), " x ".join(map(str, resid.shape[::-1]))
            raise RejectedInput(f"{shown(table.path)}: has an array of {sizes[0]} pixels, the {what} one of {sizes[1]}")
        number, known = resonators(table.resid), shared(table.resid, resid)
        if known < _LEAST_SHARED * number:
            raise RejectedInput(f"{shown(table.path)}: only {known} of its {number} resonators are in the {what}: that is of another array")


def check_times(table: PhotonTable, window_us: tuple[int, int]) -> None:
    """Raise :class:`RejectedInput` when cosmic rays were searched for in a window of Unix time that the table has nothing of."""
    low, high = window_us
    if high > low and not (low < table.stop_us and table.start_us < high):
        raise RejectedInput(f"{shown(table.path)}: the cosmic rays are of another exposure, which ends before this one or begins after it")


def resonators(resid: Resid) -> int:
    """How many resonators there are."""
    return int(np.count_nonzero(resid))


def shared(wanted: Resid, known: Resid) -> int:
    """How many of the resonators ``wanted`` a calibration knows."""
    return int(np.count_nonzero((wanted > 0) & np.isin(wanted, known)))

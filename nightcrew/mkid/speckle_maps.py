"""Maps of speckle statistics of a photon table: every pixel fitted, in steps of time if wanted, in bounded memory."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from nightcrew.errors import MissingCalibration, Refused
from nightcrew.mkid.calibrated import CalibratedPhotons, CalibratedTable
from nightcrew.mkid.lightcurve import bad_stretches
from nightcrew.mkid.live_time import Stretches
from nightcrew.mkid.speckle import SpeckleFits, SpeckleFlag, SpeckleRules
from nightcrew.mkid.speckle_binned import fit_counts
from nightcrew.mkid.speckle_intervals import fit_intervals, intervals_of
from nightcrew.mkid.speckle_time import Autocovariance, autocovariance, decorrelation, of_array
from nightcrew.mkid.timing import binned_counts

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_MOST_VALUES = 1 << 23  # bins of a chunk of pixels
_MOST_PHOTONS = 1 << 22  # photons of a chunk of pixels
_MOST_MAPPED = 1 << 23  # pixels times steps: 2 GB of maps
_MOST_BINS = 1 << 23  # of a pixel in a step
_MOST_COUNTED = 1.5e10  # bins in all: half an hour
PARAMETERS = ("ic", "is", "ip")


@dataclass(frozen=True, kw_only=True)
class SpeckleMaps:
    """Maps ``[step, y, x]``; rates in photons per second.  NaN where a number is not determined, with the reason in ``flags``."""

    edges_us: Ints  # of the steps, since the start of the table
    start_us: int
    method: str
    rules: SpeckleRules
    window_nm: tuple[float, float] | None
    parameters_cps: Floats  # [parameter, step, y, x], in order of PARAMETERS
    errors_cps: Floats
    limits_cps: Floats
    covariance_cps2: Floats  # of Ic and Is
    free_cps: Floats  # [parameter, step, y, x] without the bound of Is or Ip at 0, for averages
    free_errors_cps: Floats
    free_covariance_cps2: Floats  # of the Ic and Is of these
    ratio: Floats
    ratio_error: Floats
    log_likelihood: Floats
    chi2: Floats
    dof: Ints
    probability: Floats
    decorrelation_s: Floats
    mean_cps: Floats
    flags: NDArray[np.uint32]
    valid: NDArray[np.bool_]
    array_decorrelation_s: tuple[float, ...]  # [step]
    bootstrapped: tuple[bool, ...]  # [step]


def make_maps(
    table: CalibratedTable,
    rules: SpeckleRules,
    edges_us: Ints,
    *,
    method: Literal["binned", "intervals"] = "binned",
    window_nm: tuple[float, float] | None = None,
) -> SpeckleMaps:
    """Fit every pixel that no problem is flagged for, in each step between ``edges_us`` (since the start of the table).

    Photons count as they are: weights of a flat field would make them other than Poisson.  Raises :class:`MissingCalibration` when a
    window of wavelength is asked for and there is no solution, :class:`Refused` for steps that hold no ten bins.
    """
    if window_nm is not None and table.calibrations.wavelength is None:
        raise MissingCalibration("wavelengths need a wavelength solution, and the table is read without one (nightcrew mkid apply)")
    if np.diff(edges_us).min() < 10 * rules.bin_s * 1e6:
        raise Refused(f"steps of time have to hold ten bins of {rules.bin_s} s or more")
    _check_budget(table.n_pixels, rules.bin_s, edges_us)
    with_dead_time = replace(rules, dead_time_s=table.dead_time_us * 1e-6)
    fits = [_Step(table, with_dead_time, (int(a), int(b)), method, window_nm).fits() for a, b in itertools.pairwise(edges_us)]
    images: dict[str, Any] = {name: _images([getattr(one, name) for one in fits], table.shape) for name in _IMAGES}
    stacks: dict[str, Any] = {name: np.moveaxis(_images([getattr(one, name) for one in fits], table.shape), -1, 0) for name in _STACKS}
    return SpeckleMaps(
        edges_us=edges_us,
        start_us=table.start_us,
        method=method,
        rules=with_dead_time,
        window_nm=window_nm,
        array_decorrelation_s=tuple(one.array_decorrelation_s for one in fits),
        bootstrapped=tuple(one.bootstrapped for one in fits),
        **images,
        **stacks,
    )


def _check_budget(n_pixels: int, bin_s: float, edges_us: Ints) -> None:
    """``Refused`` for what would take gigabytes, or the better part of an hour."""
    n_steps, bins = edges_us.size - 1, np.diff(edges_us).astype(np.float64) / (bin_s * 1e6)
    if n_steps * n_pixels > _MOST_MAPPED:
        raise Refused(f"maps of {n_steps} steps with {n_pixels} pixels are too many (up to {_MOST_MAPPED} values): take longer steps")
    if bins.max() > _MOST_BINS or bins.sum() * n_pixels > _MOST_COUNTED:
        raise Refused(f"bins of {bin_s} s are too many: {bins.sum():.3g} for each of {n_pixels} pixels; take longer ones")


_STACKS = ("parameters_cps", "errors_cps", "limits_cps", "free_cps", "free_errors_cps")
_IMAGES = (
    "covariance_cps2",
    "free_covariance_cps2",
    "ratio",
    "ratio_error",
    "log_likelihood",
    "chi2",
    "dof",
    "probability",
    "decorrelation_s",
    "mean_cps",
    "flags",
    "valid",
)


def _images(values: list[NDArray[Any]], shape: tuple[int, int]) -> NDArray[Any]:
    stacked = np.stack(values)
    return stacked.reshape(len(values), *shape, *stacked.shape[2:])


class _Step:
    """One step of time: pixels in chunks, first for the decorrelation time of the array, then for the fits."""

    def __init__(
        self, table: CalibratedTable, rules: SpeckleRules, window_us: tuple[int, int], method: str, window_nm: tuple[float, float] | None
    ) -> None:
        self._table, self._rules, self._window_us, self._method, self._window_nm = table, rules, window_us, method, window_nm
        self._bin_us = round(rules.bin_s * 1e6)
        if self._bin_us < 1:
            raise Refused("a bin has to be a microsecond or longer")
        self._flagged = ~table.usable.ravel()

    def _chunks(self) -> Iterator[range]:
        """Ranges of pixels that fit into memory."""
        photons = np.cumsum(self._table.table.counts(*self._window_us).ravel())
        n_bins = (self._window_us[1] - self._window_us[0]) // self._bin_us
        low = 0
        while low < photons.size:
            before = int(photons[low - 1]) if low else 0
            high = int(np.searchsorted(photons, before + _MOST_PHOTONS, side="right"))
            high = max(min(high, low + max(_MOST_VALUES // n_bins, 1), photons.size), low + 1)
            yield range(low, high)
            low = high

    def _photons(self, pixels: range) -> tuple[CalibratedPhotons, Ints]:
        """Photons that are fitted, and how many each pixel counted of any wavelength."""
        photons = self._table.photons(pixels, *self._window_us)
        every = np.diff(photons.first)
        keep = ~np.repeat(self._flagged[pixels.start : pixels.stop], np.diff(photons.first))
        if self._window_nm is not None:
            keep &= (photons.wavelength_nm >= self._window_nm[0]) & (photons.wavelength_nm < self._window_nm[1])
        if keep.all():
            return photons, every
        first = np.concatenate([[0], np.cumsum(keep)])[photons.first]
        columns = (getattr(photons, name)[keep] for name in ("resid", "time_us", "wavelength_nm", "weight", "phase_deg"))
        return CalibratedPhotons(pixels.start, first, *columns), every

    def _counts(self, photons: CalibratedPhotons, pixels: range) -> NDArray[np.int32]:
        bad = [bad_stretches(self._table, pixel) for pixel in pixels]
        return binned_counts(photons, len(pixels), self._window_us, self._bin_us, bad)

    def fits(self) -> SpeckleFits:
        """Fits of all pixels."""
        found: list[Autocovariance] = []
        if self._rules.decorrelation_s is None:
            found = [autocovariance(self._counts(self._photons(pixels)[0], pixels), self._rules.bin_s) for pixels in self._chunks()]
        array_s = of_array(found) if self._rules.decorrelation_s is None else self._rules.decorrelation_s
        own_s = np.concatenate([decorrelation(piece).time_s for piece in found]) if found else np.full(self._table.n_pixels, array_s)
        return self._joined([self._fit(pixels, own_s[pixels.start : pixels.stop], array_s) for pixels in self._chunks()])

    def _fit(self, pixels: range, own_s: Floats, array_s: float) -> SpeckleFits:
        photons, every = self._photons(pixels)
        if self._method == "binned":
            return fit_counts(self._counts(photons, pixels), self._rules, array_s=array_s, every=every)
        span_us = self._window_us[1] - self._window_us[0]
        time_us = photons.time_us - self._window_us[0]
        silences = self._table.table.silences
        boards = silences.board.ravel()[pixels.start : pixels.stop]
        own = [(boards == board, self._breaks_of(silences.of_board(board))) for board in silences.boards]
        timed = intervals_of(photons.first, time_us, span_us, self._table.dead_time_us, self._breaks_us(), own)
        usable_s = self._table.exposure_s(*self._window_us).ravel()[pixels.start : pixels.stop]
        unseen = every - np.diff(photons.first)
        return fit_intervals(timed, self._rules, own_s, array_s, usable_s=usable_s, unseen=unseen)

    def _breaks_us(self) -> Ints:
        """Times that no interval of any pixel may span: gaps and steps of the pixel mask.

        Gaps shorter than a bin (cosmic rays) break nothing: an interval that spans one is hardly longer, while leaving out those that do,
        which are longer than others, would make the light seem brighter.
        """
        masks = self._table.calibrations.masks
        steps = [] if masks is None else [masks.edges_us[1:-1].astype(np.int64) - self._table.start_us - self._window_us[0]]
        return np.sort(np.concatenate([self._breaks_of(self._table.lost), *steps]))

    def _breaks_of(self, lost: Stretches) -> Ints:
        """Begins of stretches since the start of the step, those shorter than a bin left out."""
        begins: Ints = lost[lost[:, 1] - lost[:, 0] >= self._bin_us, 0] - self._table.start_us - self._window_us[0]
        return begins

    def _joined(self, parts: list[SpeckleFits]) -> SpeckleFits:
        names = (*_STACKS, *_IMAGES[:-2])
        arrays = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
        flags = np.concatenate([part.flags for part in parts])
        flags[self._flagged] |= np.uint32(SpeckleFlag.PIXEL)
        arrays["mean_cps"][self._flagged] = np.nan
        array_s = parts[0].array_decorrelation_s
        return SpeckleFits(**arrays, flags=flags, array_decorrelation_s=array_s, bootstrapped=any(part.bootstrapped for part in parts))

"""A simulated MKID array: what each pixel is and how it answers, and the photons that it makes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nightcrew.mkid import words as w
from nightcrew.mkid.beam_map import text_of
from nightcrew.simulate.mkid_frames import Events
from nightcrew.simulate.mkid_plan import Exposure, MkidPlan
from nightcrew.simulate.randomness import generator
from nightcrew.simulate.speckle import correlated_intensities, photon_times
from nightcrew.simulate.speckle_scene import point_source

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

HC_EV_NM = 1239.841984
FWHM_PER_SIGMA = 2.354820045
KINDS = ("good", "hot", "cold", "dead", "no tone", "duplicate")
_HOT_CPS = 1800.0
_COLD_RESPONSE = 0.03
_BAND_EV = (HC_EV_NM / 1500, HC_EV_NM / 700)
_BASELINE_DEG = 1.5  # noise
_HALO_PX = 5.0


@dataclass(frozen=True)
class MkidArray:
    """Truth of every channel, in order of y * columns + x of the place that is its own."""

    columns: int
    rows: int
    boards: int
    resid: NDArray[np.uint32]
    kind: NDArray[np.int64]  # index into KINDS
    place: Ints  # pixel that its words name; a duplicate names its neighbour's
    board: Ints
    response: Floats  # quantum efficiency
    slope_deg_per_ev: Floats
    curve_per_ev: Floats
    resolution: Floats

    def phase_deg(self, energy_ev: Floats, channel: Ints) -> Floats:
        """-slope E (1 - curve E)."""
        return -self.slope_deg_per_ev[channel] * energy_ev * (1 - self.curve_per_ev[channel] * energy_ev)

    def beam_map_text(self) -> str:
        """The beam map as the instrument's team would have it."""
        flag = np.select([self.kind == KINDS.index("no tone"), self.kind == KINDS.index("duplicate")], [1, 7], 0)
        return text_of(self.resid, flag, self.place % self.columns, self.place // self.columns)


def make_array(plan: MkidPlan, seed: int) -> MkidArray:
    """An array by plan and seed."""
    rng = generator(seed, "mkid array")
    n = plan.columns * plan.rows
    fractions = (plan.hot_fraction, plan.cold_fraction, plan.dead_fraction, plan.no_tone_fraction, plan.duplicate_fraction)
    kind = np.searchsorted(np.cumsum(fractions), rng.random(n), side="right") + 1
    kind[kind > len(fractions)] = 0
    pixel = np.arange(n)
    duplicate = kind == KINDS.index("duplicate")
    neighbour = np.where(pixel % plan.columns > 0, pixel - 1, pixel + 1)
    per_board = -(-n // plan.boards)
    board = pixel // per_board
    response = rng.uniform(0.7, 1.0, n)
    response[kind == KINDS.index("cold")] *= _COLD_RESPONSE
    response[np.isin(kind, [KINDS.index("dead"), KINDS.index("no tone")])] = 0.0
    return MkidArray(
        columns=plan.columns,
        rows=plan.rows,
        boards=plan.boards,
        resid=(10_000 * (board + 1) + pixel % per_board).astype(np.uint32),
        kind=kind,
        place=np.where(duplicate, neighbour, pixel),
        board=np.where(duplicate, board[neighbour], board),
        response=response,
        slope_deg_per_ev=rng.normal(75, 5, n),
        curve_per_ev=rng.uniform(0.05, 0.11, n),
        resolution=plan.resolution * rng.uniform(0.85, 1.15, n),
    )


def make_events(
    array: MkidArray, plan: MkidPlan, exposure: Exposure | None, start_us: int, stop_us: int, rng: np.random.Generator
) -> Events:
    """Photons of ``[start_us, stop_us)`` after dead time; without an exposure there is only background."""
    span_s = (stop_us - start_us) / 1e6
    alive = array.response > 0
    noise_cps = np.where(alive, plan.background_cps, 0.0) + np.where(array.kind == KINDS.index("hot"), _HOT_CPS, 0.0)
    light_cps = array.response * (exposure.rate_cps if exposure else 0.0)
    parts = []
    for rate_cps, is_light in ((noise_cps, False), (light_cps, True)):
        channel = np.repeat(np.arange(rate_cps.size), rng.poisson(rate_cps * span_s))
        energy_ev = _energies(exposure, is_light, channel.size, rng)
        parts.append((channel, rng.integers(start_us, stop_us, channel.size), energy_ev))
    if exposure is not None and exposure.star_px is not None:
        parts.append(_science(array, exposure, start_us, stop_us, rng))
    if exposure is not None and exposure.flashes:
        parts.append(_flashes(array, exposure, start_us, stop_us, rng))
    channel, time_us, energy_ev = (np.concatenate([part[place] for part in parts]) for place in range(3))
    keep = _alive_after(channel, time_us, plan.dead_time_us)
    return Events.joined([_measured(array, channel[keep], time_us[keep], energy_ev[keep], rng), _unmapped(plan, start_us, stop_us, rng)])


def _energies(exposure: Exposure | None, is_light: bool, count: int, rng: np.random.Generator) -> Floats:
    if not is_light or exposure is None:
        return 0.3 + rng.exponential(0.25, count)  # the tail of the trigger's noise
    if exposure.wavelength_nm is not None:
        return np.full(count, HC_EV_NM / exposure.wavelength_nm)
    return rng.uniform(*_BAND_EV, count)


def speckle_rates(array: MkidArray, exposure: Exposure) -> tuple[Floats, Floats]:
    """Constant and flickering light of the speckles (Ic, Is) of each place y * columns + x, in photons per second of a perfect pixel."""
    if exposure.star_px is None:
        return np.zeros(array.resid.size), np.zeros(array.resid.size)
    place = np.arange(array.resid.size)
    away = np.hypot(place % array.columns - exposure.star_px[0], place // array.columns - exposure.star_px[1])
    halo = 1 / (1 + (away / _HALO_PX) ** 2)
    return exposure.speckle_ic_cps * halo, exposure.speckle_is_cps * halo


def _science(array: MkidArray, exposure: Exposure, start_us: int, stop_us: int, rng: np.random.Generator) -> tuple[Ints, Ints, Floats]:
    """A star and modified-Rician speckles around it; each channel sees the light of the place that is its own."""
    star_px = exposure.star_px or (0.0, 0.0)
    star = point_source((array.rows, array.columns), star_px, exposure.star_cps, exposure.fwhm_px).ravel()
    ic, is_ = speckle_rates(array, exposure)
    span_s, step_s = (stop_us - start_us) / 1e6, exposure.speckle_tau_s / 20
    steps = max(math.ceil(span_s / step_s), 1)
    light = correlated_intensities(rng, ic, is_, star, steps, step_s=step_s, tau_s=exposure.speckle_tau_s)
    light *= array.response[:, None]
    channel, time_s = photon_times(rng, light, span_s / steps)
    time_us = np.minimum(start_us + (time_s * 1e6).astype(np.int64), stop_us - 1)
    return channel, time_us, rng.uniform(*_BAND_EV, channel.size)


def _flashes(array: MkidArray, exposure: Exposure, start_us: int, stop_us: int, rng: np.random.Generator) -> tuple[Ints, Ints, Floats]:
    """Cosmic rays: a third of the array answers within some ten microseconds."""
    expected = exposure.flashes * (stop_us - start_us) / 1e6 / exposure.duration_s
    times_us = rng.integers(start_us, stop_us, rng.poisson(expected))
    hit = (rng.random((times_us.size, array.resid.size)) < 0.33) & (array.response > 0)
    flash, channel = np.nonzero(hit)
    time_us = np.minimum(times_us[flash] + rng.exponential(8.0, channel.size).astype(np.int64), stop_us - 1)
    return channel, time_us, 0.3 + rng.exponential(0.4, channel.size)


def _alive_after(channel: Ints, time_us: Ints, dead_time_us: int) -> Ints:
    """Indices of the photons that a channel counts: none within the dead time of one that it counted."""
    kept = np.lexsort((time_us, channel))
    while True:
        blind = np.zeros(kept.size, dtype=np.bool_)
        blind[1:] = (channel[kept][1:] == channel[kept][:-1]) & (np.diff(time_us[kept]) < dead_time_us)
        blind[1:] &= ~blind[:-1]  # one that was not counted blinds nobody
        if not blind.any():
            return kept
        kept = kept[~blind]


def _measured(array: MkidArray, channel: Ints, time_us: Ints, energy_ev: Floats, rng: np.random.Generator) -> Events:
    sigma_ev = energy_ev / (FWHM_PER_SIGMA * array.resolution[channel])
    phase_deg = array.phase_deg(energy_ev + sigma_ev * rng.standard_normal(channel.size), channel)
    baseline_deg = _BASELINE_DEG * rng.standard_normal(channel.size)
    return Events(
        time_us,
        array.board[channel],
        array.place[channel] % array.columns,
        array.place[channel] // array.columns,
        np.clip(np.rint(phase_deg / w.DEGREE_PER_PHASE_UNIT), *w.PHASE_LIMITS).astype(np.int64),
        np.clip(np.rint(baseline_deg / w.DEGREE_PER_BASELINE_UNIT), *w.BASELINE_LIMITS).astype(np.int64),
    )


def _unmapped(plan: MkidPlan, start_us: int, stop_us: int, rng: np.random.Generator) -> Events:
    board = np.repeat(np.arange(plan.boards), rng.poisson(plan.unmapped_cps * (stop_us - start_us) / 1e6, plan.boards))
    n = board.size
    place = w.UNMAPPED_PLACE
    column, row = np.full(n, place >> 10, dtype=np.int64), np.full(n, place & 1023, dtype=np.int64)
    return Events(rng.integers(start_us, stop_us, n), board, column, row, -rng.integers(1, 20_000, n), rng.integers(-900, 900, n))

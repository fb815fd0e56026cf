"""A quick look at raw ``.bin`` seconds: what did we just take?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nightcrew.errors import Refused, RejectedInput
from nightcrew.io.source import shown
from nightcrew.mkid.beam_map import BeamMap
from nightcrew.mkid.calibrated import CalibratedPhotons
from nightcrew.mkid.live_time import Stretches, joined, lost_stretches
from nightcrew.mkid.packets import Photons
from nightcrew.mkid.quicklook import QuickLook, Source, look
from nightcrew.mkid.seconds import sort_out
from nightcrew.mkid.stream import Account, PhotonStream
from nightcrew.mkid.unheard import silences_of, unheard_in_words
from nightcrew.mkid.words import DEGREE_PER_PHASE_UNIT, phases

_LONGEST_S = 60
_MOST_WORDS = 1 << 25  # 32 million photons take 2 GB
_CHUNK_BINS = 1 << 23
_WINDOW_NM = (700.0, 1500.0)


def look_at_seconds(paths: list[Path], shape: tuple[int, int], beam_map: BeamMap | None = None, *, bin_s: float = 0.01) -> QuickLook:
    """A quick look at one contiguous run of raw seconds; ``shape`` is (rows, columns), flags are those of the beam map.

    Everything in the files counts, from the first photon's second to the end of the last one's.  Times before their first frame and after
    their last one, gaps, and silences of a board are no exposure, as far as the frames tell; what they do not tell is said.

    Raises :class:`RejectedInput` when nothing can be read, :class:`Refused` for more than a run, than a minute, or than 32 million words.
    """
    listing = sort_out(paths)
    words = sum(path.stat().st_size for path in listing.files.values()) // 8
    if words > _MOST_WORDS:
        raise Refused(f"{words} words are too many for a quick look, which takes up to {_MOST_WORDS}: take fewer seconds")
    runs = listing.runs()
    if len(runs) != 1 or runs[0][1] - runs[0][0] > _LONGEST_S:
        reasons = "; ".join(one.reason for one in listing.rejected)
        raise Refused(
            f"a quick look takes one contiguous run of up to {_LONGEST_S} seconds, and these are {len(runs)} runs. {reasons}".strip()
        )
    first, stop = runs[0]
    stream = PhotonStream(listing.files, shape, (first - 1) * 1_000_000, (stop + 1) * 1_000_000)
    photons = Photons.joined([block for block in stream.blocks() if len(block)])
    account = stream.account
    if not account.files:
        raise RejectedInput("; ".join(one.reason for one in account.rejected) or "nothing in these files can be read")
    inside = _window(photons, first * 1_000_000, stop * 1_000_000)
    silences = account.silences(shape) if beam_map is None else silences_of(beam_map, account, inside)
    silent = [] if beam_map is None else unheard_in_words(beam_map, account)
    lost, silences = _lost(account, inside), silences.since(inside[0])
    unsure = _not_known(account)
    account.of_run(first, stop)
    n_pixels = shape[0] * shape[1]
    first_row, order = _by_pixel(photons.pixel, n_pixels)
    resid = np.zeros(shape, dtype=np.uint32) if beam_map is None else beam_map.resid
    seconds = f"{first}" if stop == first + 1 else f"{first} to {stop - 1}"
    source = Source(
        title=f"{shown(listing.files[first])}" if stop == first + 1 else f"seconds {seconds}",
        facts=(
            ("photons", str(len(photons))),
            ("seconds", seconds),
            ("array", f"{shape[1]} x {shape[0]} pixels"),
            ("frames", str(account.tally.frames)),
            ("lost frames", str(account.tally.lost)),
            ("boards", ", ".join(str(board) for board in account.tally.boards)),
        ),
        remarks=("Raw seconds: no calibration is applied.", *silent, *account.sentences(), unsure),
        start_us=inside[0],
        span_us=inside[1] - inside[0],
        resid=resid,
        flag=np.zeros(shape, dtype=np.uint32) if beam_map is None else beam_map.flag,
        coefficients=np.full((n_pixels, 3), np.nan),
        window_nm=_WINDOW_NM,
        lost=lost - inside[0],
        silences=silences,
    )
    n = len(photons)
    every = CalibratedPhotons(
        first_pixel=0,
        first=first_row,
        resid=np.empty(0, np.uint32),
        time_us=(photons.time_us - inside[0])[order],
        wavelength_nm=np.broadcast_to(np.float32(np.nan), (n,)),
        weight=np.broadcast_to(np.float32(1), (n,)),
        phase_deg=phases(photons.word[order]) * np.float32(DEGREE_PER_PHASE_UNIT),
    )
    return look(source, _chunks(every, source.span_us // max(round(bin_s * 1e6), 1)), bin_s=bin_s)


def _by_pixel(pixel: NDArray[np.int32], n_pixels: int) -> tuple[NDArray[np.int64], NDArray[np.intp]]:
    """First row of each pixel, and the order of photons by pixel: a counting sort of narrow numbers, which leaves times as they come."""
    narrow = pixel.astype(np.uint16 if n_pixels <= 1 << 16 else np.uint32)
    first = np.concatenate([[0], np.cumsum(np.bincount(pixel, minlength=n_pixels))]).astype(np.int64)
    return first, np.argsort(narrow, kind="stable")


def _chunks(every: CalibratedPhotons, n_bins: int) -> Iterator[CalibratedPhotons]:
    """Pixels in groups whose bins fit into memory."""
    n_pixels = every.first.size - 1
    step = max(_CHUNK_BINS // max(n_bins, 1), 1)
    for low in range(0, n_pixels, step):
        first = every.first[low : min(low + step, n_pixels) + 1]
        rows = slice(int(first[0]), int(first[-1]))
        columns = (getattr(every, name)[rows] for name in ("time_us", "wavelength_nm", "weight", "phase_deg"))
        yield CalibratedPhotons(low, first - rows.start, every.resid, *columns)


def _lost(account: Account, window_us: tuple[int, int]) -> Stretches:
    """Stretches of a window in which no frame came; seconds without a file where that is not known."""
    gaps = account.gaps_us
    stretches = lost_stretches(account.missing_seconds) if gaps is None else np.array(gaps, dtype=np.int64).reshape(-1, 2)
    return joined(np.clip(stretches, *window_us))


def _not_known(account: Account) -> str:
    """What raw seconds do not tell of the time in which their pixels were read out."""
    unknown = (
        "what the next file holds of the last moments, silences of a board shorter than a tenth of a second, and whether a pixel without "
        "photons is dark or its board was silent"
    )
    if account.gaps_us is None:
        return f"Not known: when the readout or a board was silent, for frames are too few; {unknown}. Such times count as dark."
    few = [str(board) for board in account.tally.boards if board not in account.boards]
    boards = f"when {'board' if len(few) == 1 else 'boards'} {', '.join(few)} with few frames were silent; " if few else ""
    return f"Not known: {boards}{unknown}. Such times count as dark."


def _window(photons: Photons, start_us: int, stop_us: int) -> tuple[int, int]:
    """The files' seconds, widened to what photons are really there: files are not aligned to their seconds."""
    if not len(photons):
        return start_us, stop_us
    return min(start_us, int(photons.time_us.min())), max(stop_us, int(photons.time_us.max()) + 1)

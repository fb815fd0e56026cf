"""Raw seconds without a table: what is in them, and counts as a cube."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nightcrew.errors import Refused
from nightcrew.mkid.packets import Photons
from nightcrew.mkid.seconds import Listing
from nightcrew.mkid.stream import Account, PhotonStream

SECOND_US = 1_000_000
_MOST_VALUES = 1 << 28  # of a cube: 1 GB
_LONGEST_STEP_S = 1e8


@dataclass(frozen=True)
class RawRun:
    """A contiguous run of files, everything in them whatever its time."""

    first: int  # second
    stop: int  # the second after the last
    account: Account
    first_us: int | None  # Unix time of the first and the last photon
    last_us: int | None
    start_us: int  # of the cube
    step_us: int
    cube: NDArray[np.uint32]  # photons [step, y, x]


def parse_runs(
    listing: Listing, shape: tuple[int, int], *, step_s: float | None = None, sink: Callable[[Photons], None] | None = None
) -> Iterator[RawRun]:
    """Parse each contiguous run of files into a cube with steps of ``step_s`` (None: one image of the whole run).

    ``sink`` is given every block of photons.  ``Refused`` when a cube would be too large or has no steps.
    """
    if step_s is not None and not 1e-6 <= step_s <= _LONGEST_STEP_S:
        raise Refused(f"steps of {step_s:g} s are none of a cube: from a microsecond to {_LONGEST_STEP_S:g} s")
    for first, stop in listing.runs():
        start_us, stop_us = (first - 1) * SECOND_US, (stop + 1) * SECOND_US
        step_us = stop_us - start_us if step_s is None else round(step_s * 1e6)
        n_steps = -(-(stop_us - start_us) // step_us) if step_us > 0 else 0
        if not 0 < n_steps * shape[0] * shape[1] <= _MOST_VALUES:
            raise Refused(f"{n_steps} steps of {shape[1]} x {shape[0]} pixels are no cube that can be made; choose another step")
        yield _parsed(PhotonStream(listing.files, shape, start_us, stop_us), (first, stop), shape, (n_steps, step_us), sink)


def _parsed(
    stream: PhotonStream, run: tuple[int, int], shape: tuple[int, int], steps: tuple[int, int], sink: Callable[[Photons], None] | None
) -> RawRun:
    n_pixels = shape[0] * shape[1]
    cube = np.zeros(steps[0] * n_pixels, dtype=np.uint32)
    times: list[int] = []
    for block in stream.blocks():
        if not len(block):
            continue
        place = (block.time_us - stream.start_us) // steps[1] * n_pixels + block.pixel
        low = int(place.min())
        counts = np.bincount(place - low)
        cube[low : low + counts.size] += counts.astype(np.uint32)
        times = [min(*times[:1], int(block.time_us.min()), 1 << 62), max(*times[1:], int(block.time_us.max()), 0)]
        if sink is not None:
            sink(block)
    account = stream.account
    account.of_run(*run)
    first_us, last_us = times or (None, None)
    return RawRun(*run, account, first_us, last_us, stream.start_us, steps[1], cube.reshape(steps[0], *shape))

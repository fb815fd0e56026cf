"""What all pixels of a dark fit share: the numbers of each frame, the noise law, the limits."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nightcrew.detector.exponential import LARGEST, exponential
from nightcrew.detector.noise import NoiseLaw

F4 = NDArray[np.float32]
Bool = NDArray[np.bool_]
Rows = list[NDArray[np.float32]]

OWN_B = 0.05  # of the shared B: largest error of a pixel's own
MOST_HITS = 0.2  # of a pixel's frames: more jumps than that are no hits
UNSTABLE_SIGMA = 10.0  # errors of chi^2 above 1
LARGEST_STEP = 0.5  # of the shared B, in one iteration
FAR_B = 0.1  # of the shared B: pixels that differ by more need further iterations
STRONG = 0.1  # of the largest factor: frames that a first rate is taken from


@dataclass(frozen=True, eq=False)
class Design:
    """What all pixels share, [frame]: factor f (s), u (K) and temperature (C); noise law; value from which a pixel is saturated (adu).

    ``typical_rate`` (adu/s): of an ordinary pixel; the first weights are its.
    """

    factor: F4
    u: F4
    temperature_c: F4
    b: float
    noise: NoiseLaw
    saturation: float
    typical_rate: float
    own_b: bool

    @cached_property
    def first(self) -> F4:
        """f w with the weights of an ordinary pixel."""
        return self.factor * self._first_weight

    @cached_property
    def first_norm(self) -> F4:
        """f f w with the same weights."""
        return self.factor * self.first

    @cached_property
    def _first_weight(self) -> F4:
        weight: F4 = np.float32(1) / self.noise.variance(np.float32(self.typical_rate) * self.factor)
        return weight

    @cached_property
    def uu(self) -> F4:
        """u^2."""
        return self.u * self.u

    @cached_property
    def fu(self) -> F4:
        """f u."""
        return self.factor * self.u

    @cached_property
    def ff(self) -> F4:
        """f^2."""
        return self.factor * self.factor

    @cached_property
    def ffu(self) -> F4:
        """f^2 u."""
        return self.ff * self.u

    @cached_property
    def ffuu(self) -> F4:
        """f^2 u^2."""
        return self.ffu * self.u

    @cached_property
    def read2(self) -> np.float32:
        """Variance without signal (adu^2)."""
        return np.float32(self.noise.read**2)

    @property
    def own_limit(self) -> np.float32:
        """Largest error of a pixel's own B."""
        return np.float32(OWN_B * self.b)

    @property
    def far_limit(self) -> np.float32:
        """Distance from the shared B that needs further iterations."""
        return np.float32(FAR_B * self.b)

    @property
    def largest_step(self) -> np.float32:
        """Of B, in one iteration."""
        return np.float32(LARGEST_STEP * self.b)

    @property
    def u_most(self) -> np.float32:
        """Largest distance from the reference temperature (K)."""
        return np.float32(np.abs(self.u).max())

    @property
    def largest_db(self) -> np.float32:
        """Own B beyond which an exponential would be too large: far beyond what any step reaches."""
        return np.float32(LARGEST / max(self.u_most, np.float32(1)))

    @property
    def strong(self) -> np.float32:
        """Factor from which a frame has much signal."""
        return np.float32(np.float32(STRONG) * self.factor.max())

    @property
    def most_hits(self) -> np.float32:
        """Share of a pixel's frames."""
        return np.float32(MOST_HITS)

    @property
    def unstable_sigma(self) -> np.float32:
        """Errors of chi^2 above 1."""
        return np.float32(UNSTABLE_SIGMA)

    def terms(self) -> F4:
        """[frame, number] in the order of the kernel."""
        columns = (self.temperature_c, self.first, self.first_norm, self.factor, self.u, self.uu, self.fu, self.ff, self.ffu, self.ffuu)
        return np.ascontiguousarray(np.column_stack(columns), np.float32)

    def numbers(self, hit_sigma: float) -> dict[str, float]:
        """The rest for the kernel."""
        named = (
            "u_most",
            "largest_db",
            "own_limit",
            "far_limit",
            "largest_step",
            "most_hits",
            "strong",
            "unstable_sigma",
            "read2",
            "saturation",
            "b",
        )
        found = {name: float(getattr(self, name)) for name in named}
        return {**found, "noise_factor": self.noise.factor, "hit2": hit_sigma**2}


def known(values: F4) -> Bool:
    """Which values are there: those that are not are NaN."""
    found: Bool = ~np.isnan(values)
    return found


def variance(course: F4, design: Design) -> F4:
    """Of a value whose signal is ``course`` (adu^2)."""
    made: F4 = np.where(course > 0, course, np.float32(0)) * np.float32(design.noise.factor) + design.read2
    return made


def course_of(i: int, rate: F4, db: F4 | None, design: Design) -> F4:
    """Signal (adu) of pixels in frame ``i``; ``db`` None: the shared B holds for all."""
    course: F4 = design.factor[i] * rate
    if db is not None:
        course *= exponential(design.u[i] * db)
    return course


def signal_of(raw: NDArray[Any], level: F4, slope: F4, design: Design, i: int) -> F4:
    """Raw values of frame ``i`` less their bias; NaN where saturated or not known."""
    signal = (raw - level) - design.temperature_c[i] * slope
    good = (raw < np.float32(design.saturation)) & np.isfinite(signal)
    made: F4 = np.where(good, signal, np.float32(np.nan))
    return made

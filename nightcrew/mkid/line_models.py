"""Models of a laser's histogram of pulse heights: a Gaussian line on the tail of the trigger's noise.

Heights are minus the phase, so positive.  The line is integrated over each bin; wide bins cost information and make no bias.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

CENTRE, SIGMA, COUNTS, EDGE, RATE, SECOND_CENTRE, SECOND_SIGMA, SECOND_COUNTS = range(8)
N_PARAMETERS = 8
_ROOT_2PI = float(np.sqrt(2 * np.pi))


@dataclass(frozen=True)
class Bins:
    """Bins of many histograms: ``start`` and ``width`` [fit] in degrees of height, and what a dark adds [fit, bin]."""

    start: Floats
    width: Floats
    number: int
    dark: Floats | None

    def edges(self, which: NDArray[np.intp]) -> Floats:
        """[fit, bin + 1]."""
        return self.start[which, None] + self.width[which, None] * np.arange(self.number + 1)


@dataclass(frozen=True)
class LineModel:
    """One of the models; ``free`` are the parameters it has, as places among all eight."""

    number: int
    free: tuple[int, ...]

    NAMES: ClassVar[dict[str, tuple[int, tuple[int, ...]]]] = {
        "gaussian_and_exp": (1, (CENTRE, SIGMA, COUNTS, EDGE, RATE)),
        "gaussian_and_gaussian": (2, (CENTRE, SIGMA, COUNTS, SECOND_CENTRE, SECOND_SIGMA, SECOND_COUNTS)),
        "gaussian_and_gaussian_and_exp": (3, tuple(range(N_PARAMETERS))),
    }

    @classmethod
    def named(cls, name: str) -> LineModel:
        """A model by its name."""
        return cls(*cls.NAMES[name])

    def expected(self, bins: Bins, parameters: Floats, which: NDArray[np.intp]) -> tuple[Floats, Floats]:
        """Counts [fit, bin] and their derivatives [fit, parameter, bin]; ``parameters`` are the free ones."""
        slopes = np.empty((which.size, len(self.free), bins.number))
        edges = bins.edges(which)
        value = _gaussian(edges, parameters[:, :3], slopes[:, :3])
        at = 3
        if EDGE in self.free:
            value += _exponential(edges, bins, which, parameters[:, 3:5], slopes[:, 3:5])
            at = 5
        if SECOND_CENTRE in self.free:
            value += _gaussian(edges, parameters[:, at:], slopes[:, at:])
        if bins.dark is not None:
            value += bins.dark[which]
        return value, slopes


def _gaussian(edges: Floats, parameters: Floats, slopes: Floats) -> Floats:
    from scipy.special import ndtr

    centre, sigma, counts = (parameters[:, place, None] for place in range(3))
    z = (edges - centre) / sigma
    density = np.exp(-0.5 * z * z) / _ROOT_2PI
    share = np.diff(ndtr(z), axis=1)
    slopes[:, 0] = np.diff(density, axis=1) * (-counts / sigma)
    slopes[:, 1] = np.diff(z * density, axis=1) * (-counts / sigma)
    slopes[:, 2] = share
    value: Floats = counts * share
    return value


def _exponential(edges: Floats, bins: Bins, which: NDArray[np.intp], parameters: Floats, slopes: Floats) -> Floats:
    """The integral of an exponential over equal bins is its value in their middles, up to a factor that its height takes up."""
    at_edge, rate = parameters[:, 0, None], parameters[:, 1, None]
    away = (edges[:, 1:] + edges[:, :-1]) / 2 - bins.start[which, None]
    falling = bins.width[which, None] * np.exp(-rate * away)
    slopes[:, 0] = falling
    value: Floats = at_edge * falling
    slopes[:, 1] = -away * value
    return value


def skew_slope(edges: Floats, centre: Floats, sigma: Floats, counts: Floats) -> Floats:
    """Derivative of the counts [fit, bin] by the third Hermite coefficient of the line, skewness / 6."""
    z = ((edges[:, 1:] + edges[:, :-1]) / 2 - centre[:, None]) / sigma[:, None]
    width = edges[:, 1:] - edges[:, :-1]
    value: Floats = counts[:, None] * width / sigma[:, None] * np.exp(-0.5 * z * z) / _ROOT_2PI * (z**3 - 3 * z)
    return value

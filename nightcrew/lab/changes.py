"""What changed between flats: pixels that differ from a reference flat by more than noise, and what that says about the sensor.

Flats are brought to their robust mean, the median of the difference is taken out, and a pixel is an outlier beyond ``k`` robust standard
deviations of the difference.  So a change of the lamp, or one bright pixel, flags nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from nightcrew.detector.stack import F4
from nightcrew.errors import RejectedInput
from nightcrew.lab.records import LabFrame
from nightcrew.quality.statistics import median_and_sigma, sample_pixels

OUTLIER_SIGMA = 5.0
SENSOR_DAMAGE, LIKELY_SENSOR, TEMPERATURE = "Sensor Damage", "Likely Sensor", "Temperature"
IGNORE_TEMPERATURE = "IgnoreTemp"
SATURATED_SHARE = 60_000 / 65_520  # of the saturation: from there on a flat's pixel is not trusted
MOST_SATURATED = 1e-3  # of the pixels: above, a flat says nothing
MOST_LISTED = 100_000


@dataclass(frozen=True, slots=True, eq=False)
class Difference:
    """A flat against its reference: the map (relative, its median removed), its robust scatter, flat places of the outliers."""

    map: F4
    scatter: float
    outliers: NDArray[np.int64]


def difference(flat: F4, reference: F4, *, sigma: float = OUTLIER_SIGMA) -> Difference:
    """Difference of two normalised flats [y, x]; RejectedInput when no pixel is good in both."""
    made = flat - reference
    known = sample_pixels(made)
    known = known[np.isfinite(known)]
    if known.size == 0:
        raise RejectedInput("no pixel is good in both flats")
    middle, scatter = median_and_sigma(known)
    made -= np.float32(middle)
    with np.errstate(invalid="ignore"):
        outliers = np.flatnonzero(np.abs(made) > sigma * max(scatter, 1e-9))
    return Difference(made, scatter, outliers)


def in_time(frames: Iterable[LabFrame]) -> list[LabFrame]:
    """Frames by time stamp, then frame number, then name."""
    late = float("inf")
    return sorted(
        frames, key=lambda f: (late if f.timestamp_s is None else f.timestamp_s, late if f.frame is None else f.frame, str(f.path))
    )


@dataclass(slots=True)
class Hits:
    """Outliers of one analysis: for each flat its label (temperature, or ``IgnoreTemp``), its time, and where."""

    rows: list[tuple[str, float | None, NDArray[np.int64]]] = field(default_factory=list)

    def add(self, label: str, time_s: float | None, places: NDArray[np.int64]) -> None:
        """Outliers of one flat."""
        self.rows.append((label, time_s, places))

    def counts(self, n_pixels: int) -> tuple[NDArray[np.uint16], NDArray[np.uint16]]:
        """How often each pixel was an outlier, and under how many labels."""
        total, labels = np.zeros(n_pixels, np.uint16), np.zeros(n_pixels, np.uint16)
        for label in sorted({row[0] for row in self.rows}):
            seen = np.zeros(n_pixels, bool)
            for _, _, places in (row for row in self.rows if row[0] == label):
                total[places] += 1
                seen[places] = True
            labels += seen
        return total, labels

    def of_pixels(self, chosen: NDArray[np.int64]) -> dict[int, list[tuple[str, float | None]]]:
        """Labels and times of the outliers of some pixels."""
        found: dict[int, list[tuple[str, float | None]]] = {int(place): [] for place in chosen}
        wanted = np.sort(chosen)
        for label, time_s, places in self.rows:
            for place in np.intersect1d(places, wanted, assume_unique=True):
                found[int(place)].append((label, time_s))
        return found


def classify(labels: Sequence[str]) -> str:
    """The class of a pixel from the labels of its hits, one for each: several labels, one label several times, or once."""
    if len(set(labels)) > 1:
        return SENSOR_DAMAGE
    return LIKELY_SENSOR if len(labels) > 1 else TEMPERATURE


def class_counts(total: NDArray[np.uint16], labels: NDArray[np.uint16]) -> Mapping[str, int]:
    """How many pixels are of each class, from the counts of :meth:`Hits.counts`."""
    return {
        SENSOR_DAMAGE: int(np.count_nonzero(labels > 1)),
        LIKELY_SENSOR: int(np.count_nonzero((labels == 1) & (total > 1))),
        TEMPERATURE: int(np.count_nonzero((labels == 1) & (total == 1))),
    }

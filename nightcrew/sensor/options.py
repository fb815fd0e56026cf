"""What a person may choose about the characterisation of a sensor; command line and watched folders share it."""

from __future__ import annotations

from dataclasses import dataclass

from nightcrew.sensor.frames import Window
from nightcrew.sensor.groups import TEMPERATURE_TOLERANCE_C, Lights
from nightcrew.sensor.pairs import CLIP_SIGMA, MAX_LAG
from nightcrew.sensor.regions import CROP

PEDESTAL = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSheet:
    """What the maker states of the dark current: ``rate_e_per_s`` a pixel at ``at_c``, doubling every ``doubling_k``."""

    rate_e_per_s: float
    at_c: float
    doubling_k: float


@dataclass(frozen=True, kw_only=True)
class SensorOptions:
    """Options of :func:`nightcrew.sensor.characterise.characterise`.

    ``crop`` is of the tables only; the curves use whole regions.  ``box`` limits everything to a window.  ``bayer``: a pattern, ``auto``
    (from the headers) or ``none``.  ``sky_e_per_s``: (filter, rate) of the sky on an unbinned pixel for the minimum exposures,
    ``times_read_noise`` their n.
    """

    crop: tuple[int, int] | Window = CROP
    offset_correction: float = 0.0
    pedestal: int = PEDESTAL
    temperature_tolerance_c: float = TEMPERATURE_TOLERANCE_C
    box: Window | None = None
    amplifiers: tuple[int, int] = (1, 1)
    bayer: str = "auto"
    lights: Lights = "leave out"
    max_lag: int = MAX_LAG
    clip_sigma: float = CLIP_SIGMA
    bootstrap: int = 200
    seed: int = 1
    times_read_noise: float = 1.0
    sky_e_per_s: tuple[tuple[str, float], ...] = ()
    data_sheet: DataSheet | None = None
    threads: int = 2

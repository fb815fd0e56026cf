"""Options of the laboratory's models, one place for command line and service."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from nightcrew.detector.dark_shape import Law
from nightcrew.errors import Refused

DARK_MODES = (
    "full",
    "synthetic_only",
    "evaluation_only",
    "evaluate_dark_current",
    "fit_2d_model",
    "evaluate_2d_model",
    "synthetic_2d",
    "synthetic_2d_single",
)
FLAT_MODES = (
    "full",
    "full_no_vignetting",
    "reduce_only",
    "normalize_only",
    "vignetting_only",
    "make_master",
    "fit_model",
    "evaluate_model",
)
PARTS = ("bias", "dark", "flat", "structure", "degradation")
FlatType = Literal["sky", "lab", "satellite"]
NormMethod = Literal["robust", "mean", "max"]
MasterMethod = Literal["median", "mean"]


@dataclass(frozen=True, kw_only=True)
class LabOptions:
    """How models are made.  Temperatures in C, exposures in s, levels in adu of the stored samples."""

    gap_k: float = 0.5
    """Frames belong to one temperature where no gap is larger than this."""
    law: Law = "exponential"
    """Of the dark rate: exponential or arrhenius."""
    free_gamma: bool = True
    """Look for a power of the exposure in the dark signal."""
    saturation_adu: float = 0.0
    """From this stored value on a pixel is saturated; 0: by the form of the numbers and the headers."""
    hot_sigma: float = 10.0
    """A pixel is hot above the median rate by so many robust standard deviations."""
    t_ref: float | None = None
    """Reference temperature; None: the dark model's own choice, 0 C for flats."""
    exp_ref: float | None = None
    """Reference exposure; None: the median for darks, 0 s for flats."""
    temps: tuple[float, ...] = ()
    """Temperatures of synthetic frames; none: those that were measured."""
    exposures: tuple[float, ...] = (1.0, 5.0, 10.0, 20.0, 25.0)
    """Exposures of synthetic darks of the model of two variables."""
    temp_single: float = 20.0
    exptime_single: float = 10.0
    save_eval_fits: bool = False
    save_plots: bool = True
    flat_type: FlatType = "lab"
    norm_method: NormMethod = "robust"
    master_method: MasterMethod = "median"
    reduce: bool = True
    """Subtract darks from flats before structure and degradation are looked for."""


def mode_of(mode: str, modes: tuple[str, ...]) -> str:
    """The mode; ``Refused`` with those that exist when it is none."""
    if mode not in modes:
        raise Refused(f"there is no mode {mode!r}; there are {', '.join(modes)}")
    return mode

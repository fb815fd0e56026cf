"""What the analyses of a campaign found: plain values that tasks make and reports show."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from nightcrew.detector.bias_model import BiasModel
from nightcrew.detector.dark_model import DarkModel
from nightcrew.detector.flat_model import FlatModel
from nightcrew.detector.held_out import HeldOut
from nightcrew.detector.stack import F4
from nightcrew.detector.vignetting import Vignetting
from nightcrew.io.images import read_image
from nightcrew.lab.frame_stats import FrameStats
from nightcrew.lab.masters import Master
from nightcrew.lab.records import LabFrame


@dataclass(frozen=True, kw_only=True, eq=False)
class BiasMade:
    """The bias model of a campaign, how it foretells temperatures that were left out, and warnings."""

    model: BiasModel
    left_out: list[HeldOut]
    frames: list[LabFrame]
    warnings: list[str]


@dataclass(frozen=True, kw_only=True, eq=False)
class Cell:
    """The mean dark of one temperature and exposure: rate [y, x] in adu/s, no clipping, negative values kept."""

    temperature_c: float
    cluster_c: float
    exposure_s: float
    name: str
    folder: str
    frames: int
    path: Path
    median: float
    scatter: float

    def rate(self) -> F4:
        """The plane, read again."""
        pixels: F4 = read_image(self.path).astype(np.float32, copy=False)
        return pixels


@dataclass(kw_only=True, eq=False)
class DarkMade:
    """What was made of the darks; parts that the mode did not ask for are empty."""

    model: DarkModel | None = None
    by_exposure: dict[float, DarkModel] = field(default_factory=dict)
    cells: list[Cell] = field(default_factory=list)
    left_out: list[HeldOut] = field(default_factory=list)
    frames: list[LabFrame] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # on synthetic frames that were asked for beyond the model's domain
    bias_beyond: str = ""  # a sentence when the bias of some darks had to be extrapolated


@dataclass(frozen=True, kw_only=True)
class MasterFlat:
    """A master flat that was written; ``label``: its filter, with stage, dose and set-up where flats of the filter have several."""

    label: str
    filter: str
    temperature_c: float
    exposure_s: float
    frames: int
    path: Path


@dataclass(kw_only=True, eq=False)
class FlatMade:
    """What was made of the flats, by their label (filter, state) where it differs; ``skipped`` flats with their reasons."""

    vignetting: dict[str, Vignetting] = field(default_factory=dict)
    edges: dict[str, float] = field(default_factory=dict)
    masters: list[MasterFlat] = field(default_factory=list)
    models: dict[str, FlatModel] = field(default_factory=dict)
    evaluation: list[dict[str, object]] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    frames: int = 0
    unscaled: str = ""  # a sentence when flats were reduced with darks of another exposure as they are


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A flat that was compared: normalised level (adu) and relative scatter of the flat, outliers against its reference."""

    frame: LabFrame
    label: str
    level: float
    std: float
    outliers: int
    scatter: float
    reference: str
    kind: str = ""  # filter, stage-less: what flats must share to be compared


@dataclass(kw_only=True)
class ChangesMade:
    """What was found: every flat against its reference, pixels of each class by analysis, warnings."""

    seen: list[Seen] = field(default_factory=list)
    classes: dict[str, dict[str, int]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class MastersMade:
    """What was made: the frames that count with their statistics, masters over all attempts, warnings."""

    frames: list[LabFrame]
    stats: list[FrameStats]
    masters: list[Master]
    warnings: list[str]

    def stats_by_path(self) -> dict[Path, FrameStats]:
        """Statistics of each frame."""
        return {frame.path: one for frame, one in zip(self.frames, self.stats, strict=True)}


@dataclass(kw_only=True, eq=False)
class LabMade:
    """A whole campaign: its frames, what was made of them, and why a part was not (``missing``: part -> sentence)."""

    title: str
    frames: list[LabFrame] = field(default_factory=list)
    rejected: list[tuple[str, str]] = field(default_factory=list)
    masters: MastersMade | None = None
    bias: BiasMade | None = None
    dark: DarkMade | None = None
    flat: FlatMade | None = None
    structure: ChangesMade | None = None
    degradation: ChangesMade | None = None
    missing: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def all_warnings(self) -> list[str]:
        """Warnings of all parts, each once, in the order of the parts."""
        parts = (self.masters, self.bias, self.dark, self.flat, self.structure, self.degradation)
        return list(dict.fromkeys([*self.warnings, *(text for part in parts if part is not None for text in part.warnings)]))

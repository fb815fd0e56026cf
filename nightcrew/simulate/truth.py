"""The truth of a simulated night: what was planted, as a JSON file beside the frames."""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nightcrew.errors import RejectedInput
from nightcrew.simulate.detector import PixelList
from nightcrew.simulate.plan import NightPlan
from nightcrew.simulate.pointing import Floats, Pointing, to_pixels

FORMAT = 1
TRUTH_NAME = "truth.json"
RAW_FOLDER = "raw"


@dataclass(frozen=True, kw_only=True)
class PlantedPixels:
    """Planted pixels as JSON keeps them: parallel lists of row, column and value."""

    y: tuple[int, ...] = ()
    x: tuple[int, ...] = ()
    value: tuple[float, ...] = ()

    @classmethod
    def of(cls, pixels: PixelList) -> PlantedPixels:
        """From arrays."""
        return cls(y=tuple(pixels.y.tolist()), x=tuple(pixels.x.tolist()), value=tuple(pixels.value.tolist()))

    def arrays(self) -> PixelList:
        """As arrays."""
        return PixelList(np.array(self.y, dtype=np.int64), np.array(self.x, dtype=np.int64), np.array(self.value, dtype=np.float64))


@dataclass(frozen=True, kw_only=True)
class FrameTruth:
    """One frame: what was asked of the camera and what fell onto it.  ``name`` is the file's name."""

    name: str
    kind: str  # bias, dark, flat, light
    exposure_s: float
    time_utc: str  # start, ISO 8601 without zone
    temperature_c: float
    filter: str = ""
    target: str = ""
    airmass: float = 0.0
    transmission: float = 1.0  # of the atmosphere, for stars
    sky_e_per_s: float = 0.0  # per pixel of unit response
    lamp_e_per_s: float = 0.0  # flats: per pixel of unit response
    fwhm_px: float = 0.0
    pointing: Pointing = dataclasses.field(default_factory=Pointing)
    cosmic_rays: PlantedPixels = dataclasses.field(default_factory=PlantedPixels)


@dataclass(frozen=True, kw_only=True)
class FieldTruth:
    """The stars of a target, brightest first; ``magnitude`` and ``flux_e_per_s`` (above the atmosphere) by filter."""

    target: str
    standard: bool
    ra_deg: tuple[float, ...]
    dec_deg: tuple[float, ...]
    xi_arcsec: tuple[float, ...]
    eta_arcsec: tuple[float, ...]
    magnitude: dict[str, tuple[float, ...]]
    flux_e_per_s: dict[str, tuple[float, ...]]


@dataclass(frozen=True, kw_only=True)
class PlantedTrouble:
    """A file that must be named in the report: in one of ``states``, with one of ``expected_words`` in its reason.

    ``expected_words`` compare without case; an empty tuple asks for the state only.  ``path`` is relative to the
    folder that it was planted in (surrogate escapes for bytes that are not UTF-8).
    """

    path: str
    kind: str
    expected_words: tuple[str, ...]
    states: tuple[str, ...]
    description: str = ""
    twin: str = ""  # the file that this one repeats: either of the two may be the one that counts
    adds_file: bool = True  # false: the trouble lies in the order of files that are there anyway


@dataclass(frozen=True, kw_only=True)
class Truth:
    """Everything planted in a simulated night.  Frames are in order of time, ``drop_order`` names every file."""

    seed: int
    plan: NightPlan
    gain_e_per_adu: float
    read_noise_e: float
    bias_level_adu: float
    saturation_adu: float
    hot: PlantedPixels  # e-/s at the camera's reference temperature
    cold: PlantedPixels  # response
    frames: tuple[FrameTruth, ...]
    fields: tuple[FieldTruth, ...]
    troubles: tuple[PlantedTrouble, ...] = ()
    drop_order: tuple[str, ...] = ()
    format: int = FORMAT

    def frame(self, name: str) -> FrameTruth:
        """The frame of a file name (KeyError when absent)."""
        return {frame.name: frame for frame in self.frames}[name]

    def field(self, target: str) -> FieldTruth:
        """The stars of a target (KeyError when absent)."""
        return {field.target: field for field in self.fields}[target]

    def select(self, kind: str, *, filter_name: str | None = None, exposure_s: float | None = None) -> tuple[FrameTruth, ...]:
        """Frames of a kind, optionally of one filter or exposure."""
        return tuple(f for f in self.frames if f.kind == kind and filter_name in (None, f.filter) and exposure_s in (None, f.exposure_s))

    def counts(self) -> dict[str, int]:
        """Good frames by kind, and ``trouble`` for the files planted on top of them."""
        counts = Counter(frame.kind for frame in self.frames)
        counts["trouble"] = sum(trouble.adds_file for trouble in self.troubles)
        return dict(sorted(counts.items()))

    def star_positions(self, frame: FrameTruth) -> tuple[Floats, Floats]:
        """0-based pixel centres (x, y) of the target's stars on a light; some lie outside."""
        field = self.field(frame.target)
        scale, centre = self.plan.pixel_scale_arcsec, frame_centre(self.plan)
        return to_pixels(np.array(field.xi_arcsec), np.array(field.eta_arcsec), centre, scale, frame.pointing)

    def star_flux_e_per_s(self, frame: FrameTruth) -> Floats:
        """Total flux of the target's stars as it reaches the detector on a light."""
        return np.array(self.field(frame.target).flux_e_per_s[frame.filter]) * frame.transmission

    def instrumental_magnitudes(self, frame: FrameTruth, radius_px: float | None = None) -> Floats:
        """-2.5 log10(flux in e-/s) of the target's stars on a light: the whole flux, or what an aperture holds."""
        part = 1.0 if radius_px is None else self.plan.psf(frame.fwhm_px).enclosed(radius_px)
        return np.asarray(-2.5 * np.log10(self.star_flux_e_per_s(frame) * part))


def frame_centre(plan: NightPlan) -> tuple[float, float]:
    """0-based pixel (x, y) where an undithered frame has its target."""
    return (plan.camera.nx - 1) / 2, (plan.camera.ny - 1) / 2


def save_truth(truth: Truth, path: Path) -> None:
    """Write the truth as JSON (the same truth gives the same bytes)."""
    text = json.dumps(dataclasses.asdict(truth), indent=None, separators=(",", ":"), sort_keys=True, allow_nan=False)
    path.write_text(text + "\n", encoding="ascii")


def load_truth(path: Path) -> Truth:
    """Read what :func:`save_truth` wrote; ``path`` may be the file or the folder that holds it."""
    path = path / TRUTH_NAME if path.is_dir() else path
    values = json.loads(path.read_text(encoding="ascii"))
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise RejectedInput(f"{path.name} is not a truth file of format {FORMAT}")
    truth: Truth = from_plain(Truth, values)
    return truth


def from_plain(kind: Any, value: Any) -> Any:
    """Rebuild dataclasses and tuples from what JSON keeps of them, by their type hints."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        return typing.cast(Any, kind)(**{key: from_plain(hints[key], item) for key, item in value.items()})
    if origin is tuple:
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            return tuple(from_plain(arguments[0], item) for item in value)
        return tuple(from_plain(hint, item) for hint, item in zip(arguments, value, strict=True))
    if origin is dict:
        return {key: from_plain(arguments[1], item) for key, item in value.items()}
    if origin in (typing.Union, types.UnionType):
        return value
    return float(value) if kind is float else value

"""A frame's normalised header: what every later step may know about an exposure.

All values are plain Python (JSON-able) and bear their unit in the name.  ``None`` or ``""`` means "not known";
nothing is guessed here (see :mod:`nightcrew.frames.normalise`).
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

FrameKind = Literal["bias", "dark", "flat", "light", "thermal", "other"]
KINDS: tuple[FrameKind, ...] = ("bias", "dark", "flat", "light", "thermal", "other")


@dataclass(frozen=True, kw_only=True)
class FrameHeader:
    """The normalised header of one exposure.

    ``time_utc`` is the start of the exposure, ISO 8601 without zone (``2013-07-04T05:42:02.000``), always UTC.
    ``night`` is the ISO date of the local noon before ``time_utc`` at the site.
    ``window`` is (x0, y0, nx, ny), 0-based, in binned pixels of the stored array; ``trim`` and ``overscan`` are
    (x0, x1, y0, y1), 0-based half-open in the stored array.
    """

    kind: FrameKind
    instrument: str
    profile: str
    other_reason: str = ""  # why the kind is "other", one sentence
    camera: str = ""  # make, model and serial as the header gives them: keeps mixed cameras apart
    detector: str = ""  # chip of a camera that has several
    nx: int = 0
    ny: int = 0
    hdu: int = 0  # index of the HDU that holds the image
    window_x0: int = 0
    window_y0: int = 0
    binning_x: int = 1
    binning_y: int = 1
    gain_setting: str = ""
    offset_setting: str = ""  # the camera's black-level setting: it moves the bias
    readout_mode: str = ""
    exposure_s: float | None = None
    temperature_c: float | None = None
    set_temperature_c: float | None = None
    filter: str = ""
    target: str = ""
    time_utc: str = ""
    time_is_date_only: bool = False
    night: str = ""
    sequence: str = ""  # frame number where times are not sub-second
    gain_e_per_adu: float | None = None
    read_noise_e: float | None = None
    saturation_adu: float | None = None
    trim: tuple[int, int, int, int] | None = None
    overscan: tuple[int, int, int, int] | None = None
    bayer: str = ""  # colour filter pattern such as "RGGB", "" for monochrome
    ra_deg: float | None = None
    dec_deg: float | None = None
    airmass: float | None = None
    bias_subtracted: bool = False  # the camera already took the bias out
    notes: tuple[str, ...] = ()  # conflicts and assumptions, one sentence each

    def as_dict(self) -> dict[str, Any]:
        """Plain dictionary, JSON-able, keys in the order of definition."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> FrameHeader:
        """Inverse of :meth:`as_dict` (lists become tuples; keys of newer versions are ignored)."""
        return cls.taking(dict(values))

    @classmethod
    def taking(cls, values: dict[str, Any]) -> FrameHeader:
        """The same, of a dictionary that nobody else has: it becomes part of the header, without a copy."""
        known = cls.__dataclass_fields__
        if values.keys() == known.keys():  # written by this version: all but always
            for name in _SEQUENCES:
                value = values[name]
                if value is not None:
                    values[name] = tuple(value)
            header = object.__new__(cls)
            object.__setattr__(header, "__dict__", values)
            return header
        clean: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items() if k in known}
        if not clean.keys() >= _REQUIRED:
            return cls(**clean)  # which says what is missing
        # Filled in one go: a frozen dataclass sets its 37 fields one by one, and a plan reads thousands of headers.
        header = object.__new__(cls)
        header.__dict__.update(_DEFAULTS)
        header.__dict__.update(clean)
        return header

    def canonical(self) -> str:
        """Canonical JSON text: equal headers have equal text."""
        return json.dumps(self.as_dict(), sort_keys=True, separators=(",", ":"), allow_nan=False)

    @property
    def geometry(self) -> str:
        """Text key of everything that must agree for pixels to lie on each other."""
        return _geometry(self.nx, self.ny, self.window_x0, self.window_y0, self.binning_x, self.binning_y)


@lru_cache(maxsize=1000)  # a night's frames have few, and are asked again and again
def _geometry(nx: int, ny: int, x0: int, y0: int, binning_x: int, binning_y: int) -> str:
    return f"{nx}x{ny}+{x0}+{y0}b{binning_x}x{binning_y}"


_SEQUENCES = tuple(f.name for f in dataclasses.fields(FrameHeader) if "tuple" in str(f.type))
_REQUIRED = {f.name for f in dataclasses.fields(FrameHeader) if f.default is dataclasses.MISSING}
_DEFAULTS = {f.name: f.default for f in dataclasses.fields(FrameHeader) if f.default is not dataclasses.MISSING}

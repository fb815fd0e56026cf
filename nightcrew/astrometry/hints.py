"""What a header says beforehand about where a frame looks and how large its pixels are on the sky."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from nightcrew.frames.text import parse_number
from nightcrew.io.headers import HeaderValue

ARCSEC_PER_RAD = math.degrees(1.0) * 3600.0
_SCALE_FACTOR = 1.3
"""A scale worked out from a header may be wrong by so much either way (focal lengths are nominal)."""
_FOCAL_MM = ("FOCALLEN", "FOCAL")
_PIXEL_UM = ("XPIXSZ", "PIXSIZE1", "PIXSIZE")
_SCALES = ("SECPIX", "SECPIX1", "PIXSCALE", "SCALE")
_FINEST, _COARSEST = 1e-3, 1800.0  # arcsec/px that a camera can have


@dataclass(frozen=True, slots=True, kw_only=True)
class Hint:
    """A pointing [deg] believed within ``radius_deg``, and a range of scales [arcsec/px]; None is not known.

    ``scale_is_asked``: the range is the observer's own (settings), not a header's: it holds for a blind search, too.
    """

    ra_deg: float | None = None
    dec_deg: float | None = None
    radius_deg: float = 5.0
    scale_low: float | None = None
    scale_high: float | None = None
    scale_is_asked: bool = False

    @property
    def has_position(self) -> bool:
        """Is there a pointing?"""
        return self.ra_deg is not None and self.dec_deg is not None

    @property
    def narrows(self) -> bool:
        """Does it say more than a blind search would use?"""
        return self.has_position or (self.scale_low is not None and not self.scale_is_asked)

    def blind(self) -> Hint:
        """Without all that headers say."""
        low, high = (self.scale_low, self.scale_high) if self.scale_is_asked else (None, None)
        return replace(self, ra_deg=None, dec_deg=None, scale_low=low, scale_high=high)


def hint_of(
    cards: Mapping[str, HeaderValue],
    *,
    ra_deg: float | None,
    dec_deg: float | None,
    radius_deg: float,
    scale_low: float | None = None,
    scale_high: float | None = None,
    binning: int = 1,
) -> Hint:
    """The hint of a frame: its normalised pointing, and the asked range of scales or the one that its header gives."""
    if not _is_position(ra_deg, dec_deg):
        ra_deg = dec_deg = None
    if scale_low is not None or scale_high is not None:
        asked = (scale_low or _FINEST, scale_high or _COARSEST)
        return Hint(ra_deg=ra_deg, dec_deg=dec_deg, radius_deg=radius_deg, scale_low=asked[0], scale_high=asked[1], scale_is_asked=True)
    found = header_scales(cards, binning)
    low, high = (min(found) / _SCALE_FACTOR, max(found) * _SCALE_FACTOR) if found else (None, None)
    return Hint(ra_deg=ra_deg, dec_deg=dec_deg, radius_deg=radius_deg, scale_low=low, scale_high=high)


def header_scales(cards: Mapping[str, HeaderValue], binning: int = 1) -> tuple[float, ...]:
    """Scales [arcsec/px] that a header's own words give, none when it has none: its scale, the matrix of a WCS that is not valid as a
    whole, or pixel size over focal length (cameras disagree whether the size is that of a binned pixel: both)."""
    said = [_positive(cards.get(key)) for key in _SCALES]
    said.append(_matrix_scale(cards))
    focal = next((value for key in _FOCAL_MM if (value := _positive(cards.get(key)))), None)
    pixel = next((value for key in _PIXEL_UM if (value := _positive(cards.get(key)))), None)
    if focal and pixel:
        native = ARCSEC_PER_RAD * pixel * 1e-3 / focal
        said += [native, native * max(binning, 1)]
    return tuple(sorted({value for value in said if value is not None and _FINEST <= value <= _COARSEST}))


def _is_position(ra_deg: float | None, dec_deg: float | None) -> bool:
    known = ra_deg is not None and dec_deg is not None
    return known and math.isfinite(ra_deg or 0.0) and abs(dec_deg or 0.0) <= 90.0


def _positive(value: HeaderValue) -> float | None:
    number = parse_number(value) if value is not None else None
    return number.value if number is not None and math.isfinite(number.value) and number.value > 0 else None


def _number(value: HeaderValue) -> float:
    number = parse_number(value) if value is not None else None
    return number.value if number is not None and math.isfinite(number.value) else 0.0


def _matrix_scale(cards: Mapping[str, HeaderValue]) -> float | None:
    a, b, c, d = (_number(cards.get(key)) for key in ("CD1_1", "CD1_2", "CD2_1", "CD2_2"))
    area = abs(a * d - b * c) or abs(_number(cards.get("CDELT1")) * _number(cards.get("CDELT2")))
    return math.sqrt(area) * 3600.0 if area > 0 and math.isfinite(area) else None

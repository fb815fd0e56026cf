"""Whether a header holds a celestial world coordinate system that can be used, where it points, and the cards to keep.

Only the cards that make up the system are shown to astropy: leftovers of older solutions (``_TYPE1``, commented
coefficients) and unrelated keywords cannot spoil it.  Conventions: FITS WCS paper II (doi:10.1051/0004-6361:20021327) and
SIP (Shupe et al. 2005, ASP Conf. Ser. 347, 491).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nightcrew.frames.text import parse_number
from nightcrew.io.headers import Hdu, HeaderValue

Card = tuple[str, HeaderValue, str]

_LINEAR = re.compile(
    r"(?:CTYPE|CRVAL|CRPIX|CDELT|CUNIT|CROTA)[12]|(?:CD|PC)[12]_[12]|PV[12]_\d{1,2}|WCSAXES|LONPOLE|LATPOLE|RADESYS|RADECSYS|EQUINOX"
)
_SIP = re.compile(r"(?:A|B|AP|BP)_(?:ORDER|\d_\d)")
# Every card of a world coordinate system: the valid ones are written anew, mangled ones must not stay beside them.
ANY_CARD = re.compile(
    r"WCSAXES|WCSNAME|CTYPE\d|CUNIT\d|CRPIX\d|CRVAL\d|CDELT\d|CROTA\d|CD\d_\d|PC\d{1,3}_?\d{0,3}|PV\d_\d+|LONPOLE|LATPOLE"
    r"|A(P?)_(ORDER|DMAX|\d_\d)|B(P?)_(ORDER|DMAX|\d_\d)|TR\d_\d+|RADESYS|RADECSYS|EQUINOX"
)
_CELESTIAL = re.compile(r"(RA---|DEC--|[GE]LON-|[GE]LAT-)-?([A-Z]{3})(-SIP)?")
_ANY_AXIS = re.compile(
    r"(?:CTYPE|CUNIT|CRVAL|CRPIX|CDELT|CNAME|CROTA|CRDER|CSYER|LTV)(\d)[A-Z]?|(?:CD|PC|LTM)(\d)_(\d)[A-Z]?|P[VS](\d)_\d{1,2}[A-Z]?"
)
_AXES = re.compile(r"WCSAXES[A-Z]?|WCSDIM")
_TEXT = re.compile(r"CTYPE[12]|CUNIT[12]|RADESYS|RADECSYS")
_MAX_SIP_ORDER = 9
_FINEST_ARCSEC, _COARSEST_ARCSEC = 1e-4, 3600.0


@dataclass(frozen=True, slots=True)
class SkyCoordinates:
    """What a header says about the sky.  ``valid`` False: ``reason`` tells why, and nothing else is set.

    ``ra_deg`` and ``dec_deg`` (ICRS or the header's equatorial frame) are those of the middle of the array,
    ``scale_arcsec_per_px`` the root of a pixel's area there; ``cards`` is what a product must keep.
    """

    valid: bool
    reason: str = ""
    ra_deg: float | None = None
    dec_deg: float | None = None
    scale_arcsec_per_px: float | None = None
    projection: str = ""
    cards: tuple[Card, ...] = ()


def sky_of(hdu: Hdu) -> SkyCoordinates:
    """The celestial coordinates of the image in ``hdu``; never raises for what a header holds."""
    cards = _system_cards(hdu)
    values = {key: value for key, value, _ in cards}
    projection, reason = _projection(values)
    if not reason:
        reason = _linear_fault(values)
    if reason:
        return SkyCoordinates(valid=False, reason=reason)
    cards = _with_fitting_sip(cards, projection)
    return _measured(hdu, cards, projection)


def moved(cards: tuple[Card, ...], x0: int, y0: int) -> tuple[Card, ...]:
    """The cards for an image whose first pixel was (``x0``, ``y0``), 0-based: trimming moves the reference pixel."""
    shift = {"CRPIX1": x0, "CRPIX2": y0}
    return tuple((key, _number(value) - shift[key] if key in shift else value, about) for key, value, about in cards)


def of_lost_axes(cards: Mapping[str, HeaderValue], n_axes: int) -> frozenset[str]:
    """Keywords about axes beyond the first ``n_axes``, which an image that has no more must not carry on (and the count of all axes)."""
    found = set()
    for key in cards:
        match = _ANY_AXIS.fullmatch(key)
        if match and any(int(axis) > n_axes for axis in match.groups() if axis):
            found.add(key)
    return frozenset(found | {key for key in cards if _AXES.fullmatch(key)}) if found else frozenset()


def _number(value: HeaderValue) -> float:
    """A number of a kept card as such; cards of numbers hold nothing else."""
    return float(value) if isinstance(value, int | float) else math.nan


def _system_cards(hdu: Hdu) -> tuple[Card, ...]:
    """The cards of the primary system, in the order of the header; numbers as floats, unusable values left out."""
    kept: list[Card] = []
    for key, value in hdu.cards.items():
        if not (_LINEAR.fullmatch(key) or _SIP.fullmatch(key)):
            continue
        if _TEXT.fullmatch(key):
            if isinstance(value, str) and value.strip() and value.isprintable():
                kept.append((key, value.strip()[:68], hdu.comments.get(key, "")))
            continue
        number = parse_number(value)
        if number is not None and not number.unit:
            whole = key == "WCSAXES" or key.endswith("_ORDER")
            kept.append((key, int(number.value) if whole else number.value, hdu.comments.get(key, "")))
    return tuple(kept)


def _projection(values: dict[str, HeaderValue]) -> tuple[str, str]:
    """(projection with ``-SIP``, "") or ("", reason)."""
    types = [str(values.get(f"CTYPE{axis}", "")).upper() for axis in (1, 2)]
    if not any(types):
        return "", "the header has no world coordinates (no CTYPE1)"
    found = [_CELESTIAL.fullmatch(text) for text in types]
    if found[0] is None or found[1] is None:
        return "", f"CTYPE1 '{types[0][:20]}' and CTYPE2 '{types[1][:20]}' are no axes on the sky"
    kinds = {match[1][:2].strip("-") if match[1][0] in "RD" else match[1][1:4] for match in found if match}
    if kinds not in ({"RA", "DE"}, {"LON", "LAT"}) or found[0][2] != found[1][2]:
        return "", f"CTYPE1 '{types[0]}' and CTYPE2 '{types[1]}' do not belong together"
    return f"{found[0][2]}{'-SIP' if found[0][3] and found[1][3] else ''}", ""


def _linear_fault(values: dict[str, HeaderValue]) -> str:
    """What is missing or impossible in the reference point and the matrix; "" when all is well."""
    missing = [key for key in ("CRVAL1", "CRVAL2", "CRPIX1", "CRPIX2") if key not in values]
    if missing:
        return f"{', '.join(missing)} missing or no number"
    if not abs(_number(values["CRVAL2"])) <= 90.0:
        return f"CRVAL2 {values['CRVAL2']} is no declination"
    has_matrix = any(key.startswith(("CD1_", "CD2_", "PC1_", "PC2_")) for key in values)
    if not has_matrix and not ("CDELT1" in values and "CDELT2" in values):
        return "neither a CD matrix nor CDELT1 and CDELT2"
    return ""


def _with_fitting_sip(cards: tuple[Card, ...], projection: str) -> tuple[Card, ...]:
    """Without distortion coefficients where the type does not announce them, or their order is absurd."""
    orders = [value for key, value, _ in cards if key.endswith("_ORDER")]
    usable = projection.endswith("-SIP") and bool(orders) and all(isinstance(v, int) and 0 <= v <= _MAX_SIP_ORDER for v in orders)
    return cards if usable else tuple(card for card in cards if not _SIP.fullmatch(card[0]))


def _measured(hdu: Hdu, cards: tuple[Card, ...], projection: str) -> SkyCoordinates:
    """Centre and scale by astropy; invalid when it cannot make sense of the cards."""
    import warnings

    from astropy.io import fits
    from astropy.wcs import WCS, InconsistentAxisTypesError, NoConvergence, WcsError

    header = fits.Header()
    for key, value, _ in cards:
        header[key] = value
    ny, nx = hdu.shape[-2:] if len(hdu.shape) >= 2 else (1, 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # astropy warns of every repair that it makes; the checks here decide
            wcs: Any = WCS(header, naxis=2)
            x, y = (nx - 1) / 2.0, (ny - 1) / 2.0
            corners = wcs.all_pix2world([[x, y], [x + 1, y], [x, y + 1]], 0)
    except (WcsError, InconsistentAxisTypesError, NoConvergence, ValueError, ZeroDivisionError, OverflowError, MemoryError) as error:
        return SkyCoordinates(valid=False, reason=f"the world coordinates cannot be used: {' '.join(str(error).split())[:120]}")
    scale = _scale_arcsec([tuple(float(v) for v in corner) for corner in corners])
    if not _FINEST_ARCSEC <= scale <= _COARSEST_ARCSEC:
        return SkyCoordinates(valid=False, reason=f"a scale of {scale:.3g} arcsec/px is impossible: the matrix is singular or wrong")
    longitude, latitude = (float(v) for v in corners[0])
    ra, dec = _equatorial(longitude, latitude, str(header["CTYPE1"]))
    return SkyCoordinates(valid=True, ra_deg=ra, dec_deg=dec, scale_arcsec_per_px=scale, projection=projection, cards=cards)


def _equatorial(longitude_deg: float, latitude_deg: float, first_type: str) -> tuple[float, float]:
    """To right ascension and declination; galactic and ecliptic systems are transformed."""
    if first_type.upper().startswith(("RA", "DEC")):
        return longitude_deg % 360.0, latitude_deg
    from astropy.coordinates import SkyCoord

    frame = "galactic" if first_type.upper().startswith("G") else "barycentricmeanecliptic"
    position = SkyCoord(longitude_deg, latitude_deg, unit="deg", frame=frame).icrs
    return float(position.ra.deg), float(position.dec.deg)


def _scale_arcsec(corners: list[tuple[float, ...]]) -> float:
    """Root of the area of the pixel spanned by (centre, one right, one up), small-angle, arcsec; 0 when not finite."""
    (ra, dec), right, up = corners
    if not all(math.isfinite(v) for corner in corners for v in corner):
        return 0.0
    cos_dec = math.cos(math.radians(dec))
    (a, b), (c, d) = ((((r - ra + 180.0) % 360.0 - 180.0) * cos_dec, e - dec) for r, e in (right, up))
    return math.sqrt(abs(a * d - b * c)) * 3600.0

"""Is a plate solver's answer right?  Its files are read as foreign ones, and its claims worked out again."""

from __future__ import annotations

import dataclasses
import io
import math
import stat
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nightcrew.astrometry.hints import Hint
from nightcrew.astrometry.sources import Sources
from nightcrew.errors import NightcrewError, TransientError
from nightcrew.frames.wcs import Card, sky_of
from nightcrew.io.atomic import passing
from nightcrew.io.headers import HeaderValue, read_hdus

Double = NDArray[np.float64]

LEAST_MATCHED = 6
LEAST_LOG_ODDS = math.log(1e9)
LEAST_LOG_ODDS_AGAINST_HEADER = math.log(1e12)
"""A blind solution outside the search radius, or of another scale, contradicts the header: it needs better odds."""
MOST_RMS_PX = 2.0
MOST_AXIS_RATIO = 1.1
MOST_DISTORTION = 0.02
"""Of the diagonal: so far may the distortion polynomial move a corner; more is a wild extrapolation."""
_J2000 = 2000.0
_SAME_STAR_PX = 0.01
_MOST_BYTES = 16_000_000
_SCALE_SLACK = 1.02  # the solver's own limits are those of its first match, before the fit


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why there is no solution, in words."""

    reason: str


@dataclass(frozen=True, slots=True)
class Raw:
    """What the program wrote: cards of its header; matched stars (x, y in px from 0; ra, dec in deg), [n] each; its log-odds."""

    hdu: Any
    x: Double
    y: Double
    ra_deg: Double
    dec_deg: Double
    log_odds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A world coordinate system that passed our checks.

    ``cards`` (TAN or TAN-SIP) hold for the image whose sources were given; ``ra_deg``, ``dec_deg`` are those of its middle;
    ``rms_arcsec`` is that of the ``matched`` stars about the catalogue's places, recomputed by us; ``log_odds`` the solver's
    natural logarithm; ``from_pointing_deg`` the distance from the header's pointing.
    """

    cards: tuple[Card, ...]
    ra_deg: float
    dec_deg: float
    scale_arcsec_per_px: float
    matched: int
    rms_arcsec: float
    log_odds: float
    from_pointing_deg: float | None


def read_answer(folder: Path) -> Raw | Refusal:
    """What the program left in its folder; a missing WCS is the usual "not solved"."""
    files = [folder / f"stars.{ending}" for ending in ("wcs", "corr", "match")]
    if not _exists(files[0]):
        return Refusal("it found no solution")
    for path in files:
        if not _is_small_file(path):
            return Refusal(f"its answer {path.name} is missing, too large or no file")
    try:
        hdu = read_hdus(files[0], first_only=True)[0]
        field_x, field_y, ra, dec = _columns(files[1], "field_x", "field_y", "index_ra", "index_dec")
        odds = _columns(files[2], "LOGODDS")[0]
    except (NightcrewError, OSError, ValueError) as error:
        if cause := passing(error):
            raise TransientError(f"the plate solver's answer cannot be read now ({cause})") from error
        return Refusal(f"its answer cannot be read ({' '.join(str(error).split())[:120]})")
    matched = (field_x, field_y, ra, dec)
    if len({column.size for column in matched}) != 1 or not all(np.isfinite(column).all() for column in matched):
        return Refusal("its answer holds matched stars without a place")
    if odds.size != 1 or not math.isfinite(float(odds[0])):
        return Refusal("its answer says nothing of its odds")
    return Raw(hdu, field_x - 1.0, field_y - 1.0, ra, dec, float(odds[0]))


def _exists(path: Path) -> bool:
    try:
        path.lstat()
    except FileNotFoundError:
        return False
    return True


def _is_small_file(path: Path) -> bool:
    try:
        status = path.lstat()
    except FileNotFoundError:
        return False
    return stat.S_ISREG(status.st_mode) and status.st_size <= _MOST_BYTES


def _columns(path: Path, *names: str) -> list[Double]:
    """Columns of the first table of a FITS file as float64."""
    from astropy.io import fits

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what astropy mends is checked below by its numbers
        try:
            with fits.open(io.BytesIO(path.read_bytes())) as hdus:
                table: Any = hdus[1].data
                return [np.array(table[name], np.float64).ravel() for name in names]
        except Exception as error:  # astropy raises whatever it likes, even AssertionError, for what is no table
            raise ValueError(type(error).__name__) from error


def checked(raw: Raw, stars: Sources, shape: tuple[int, int], stage: Hint, whole: Hint) -> Answer | Refusal:
    """The answer when it holds, else the rule that it breaks.

    ``stage`` is the hint that was given with the question, ``whole`` all that is known: a blind answer is compared with the pointing,
    too.  Scale and middle are worked out from the cards, the residuals from the matched stars, which must be stars that we gave.
    """
    sky = sky_of(dataclasses.replace(raw.hdu, shape=shape))
    fault = _frame_fault({key: value for key, value, _ in sky.cards})
    if fault:
        return Refusal(fault)
    ra, dec, scale = sky.ra_deg, sky.dec_deg, sky.scale_arcsec_per_px
    if not sky.valid or ra is None or dec is None or scale is None:
        return Refusal(f"its WCS is not valid: {sky.reason}")
    away = None if not whole.has_position else _separation_deg(ra, dec, float(whole.ra_deg or 0.0), float(whole.dec_deg or 0.0))
    if raw.log_odds < LEAST_LOG_ODDS:
        return Refusal(f"its odds are too low (logarithm {raw.log_odds:.1f}, {LEAST_LOG_ODDS:.1f} are needed)")
    against_header = raw.log_odds >= LEAST_LOG_ODDS_AGAINST_HEADER
    cards = tuple((key, value, _COMMENTS.get(key, "")) for key, value, _ in sky.cards)
    fault = _scale_fault(scale, stage, whole, against_header=against_header)
    fault = fault or _place_fault(away, stage, whole, against_header=against_header) or _shape_fault(cards, shape)
    if fault:
        return Refusal(fault)
    residuals = _residuals_px(cards, raw)
    fault = _stars_fault(raw, stars, residuals)
    if fault:
        return Refusal(fault)
    rms_px = float(np.sqrt((residuals**2).mean()))
    return Answer(
        cards=cards,
        ra_deg=ra,
        dec_deg=dec,
        scale_arcsec_per_px=scale,
        matched=int(residuals.size),
        rms_arcsec=rms_px * scale,
        log_odds=raw.log_odds,
        from_pointing_deg=away,
    )


_COMMENTS = {
    "CTYPE1": "gnomonic projection, by plate solution",
    "CTYPE2": "gnomonic projection, by plate solution",
    "CRVAL1": "[deg] right ascension of the reference pixel",
    "CRVAL2": "[deg] declination of the reference pixel",
    "EQUINOX": "[yr] of the coordinates",
}


def _frame_fault(cards: Mapping[str, HeaderValue]) -> str:
    """The frame of its coordinates must be that of the indexes, for which the matched stars vouch: ICRS, or FK5 of 2000."""
    frames = [str(cards[key]).upper() for key in ("RADESYS", "RADECSYS") if key in cards]
    equinox = cards.get("EQUINOX", 2000.0)
    if all(frame in ("ICRS", "FK5") for frame in frames) and equinox == _J2000:
        return ""
    return f"its coordinates are of another frame ({' '.join(frames)[:20]} {equinox}), ICRS or FK5 of 2000 are expected".replace("( ", "(")


def _scale_fault(scale: float, stage: Hint, whole: Hint, *, against_header: bool) -> str:
    given = stage.scale_low is not None
    low, high = (stage.scale_low, stage.scale_high) if given else (whole.scale_low, whole.scale_high)
    if low is None or high is None or low / _SCALE_SLACK <= scale <= high * _SCALE_SLACK or (against_header and not given):
        return ""
    return f"its scale of {scale:.4g} arcsec/px is outside the range from {low:.4g} to {high:.4g}"


def _place_fault(away_deg: float | None, stage: Hint, whole: Hint, *, against_header: bool) -> str:
    if away_deg is None or away_deg <= whole.radius_deg or (against_header and not stage.has_position):
        return ""
    rest = f"the search radius is {whole.radius_deg:g}" if stage.has_position else "and its odds do not outweigh that"
    return f"its middle is {away_deg:.3g} degrees from where the header points, {rest}"


def _stars_fault(raw: Raw, stars: Sources, residuals: Double) -> str:
    from scipy.spatial import cKDTree

    if residuals.size < LEAST_MATCHED:
        return f"only {residuals.size} stars were matched, {LEAST_MATCHED} are needed"
    if not np.isfinite(residuals).all():
        return "matched stars do not lie on its own plate"
    distance = np.asarray(cKDTree(np.column_stack([stars.x, stars.y])).query(np.column_stack([raw.x, raw.y]))[0])
    if (distance > _SAME_STAR_PX).any() or len(np.unique(np.column_stack([raw.x, raw.y]), axis=0)) < LEAST_MATCHED:
        return "it matched stars that were not given to it"
    rms = float(np.sqrt((residuals**2).mean()))
    return f"its stars miss their places by {rms:.3g} px (rms), {MOST_RMS_PX:g} are allowed" if rms > MOST_RMS_PX else ""


def _residuals_px(cards: tuple[Card, ...], raw: Raw) -> Double:
    """Distances between the matched stars and where the cards put their catalogue's places."""
    wcs = _wcs(cards)
    x, y = wcs.all_world2pix(raw.ra_deg, raw.dec_deg, 0, quiet=True)
    return np.asarray(np.hypot(x - raw.x, y - raw.y), np.float64)


def _shape_fault(cards: tuple[Card, ...], shape: tuple[int, int]) -> str:
    """Square pixels, and a distortion that stays one in the corners, where there may be no matched star."""
    wcs = _wcs(cards)
    matrix = np.asarray(wcs.pixel_scale_matrix)
    singular = np.linalg.svd(matrix, compute_uv=False)
    if not (np.isfinite(singular).all() and singular[0] <= MOST_AXIS_RATIO * singular[1]):
        return "its pixels are not square"
    corners = np.array([[0.0, 0.0], [shape[1] - 1.0, 0.0], [0.0, shape[0] - 1.0], [shape[1] - 1.0, shape[0] - 1.0]])
    moved = np.asarray(wcs.pix2foc(corners, 0)) if wcs.sip is not None else corners
    largest = float(np.hypot(*(moved - corners).T).max())
    return "" if largest <= MOST_DISTORTION * math.hypot(*shape) else f"its distortion moves a corner by {largest:.3g} px"


def _wcs(cards: tuple[Card, ...]) -> Any:
    from astropy.io.fits import Header
    from astropy.wcs import WCS

    header = Header()
    for key, value, _ in cards:
        header[key] = _plain(value)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of cards that the solver writes itself, and that are checked by their numbers
        return WCS(header, naxis=2)


def _plain(value: HeaderValue) -> Any:
    return value


def _separation_deg(ra1: float, dec1: float, ra2: float, dec2: float) -> float:
    """Angle between two places, by haversines: exact for small and large ones."""
    d1, d2, delta = math.radians(dec1), math.radians(dec2), math.radians(ra1 - ra2)
    h = math.sin((d1 - d2) / 2) ** 2 + math.cos(d1) * math.cos(d2) * math.sin(delta / 2) ** 2
    return math.degrees(2 * math.asin(min(1.0, math.sqrt(h))))

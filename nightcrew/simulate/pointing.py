"""Where the simulated telescope points: times, airmass, and the tangent-plane astrometry of a frame."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from nightcrew.frames.site import Site

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Pointing:
    """Position of a frame against its target's undithered one: pixel = centre + shift + R(rotation) (offset / scale)."""

    shift_x_px: float = 0.0
    shift_y_px: float = 0.0
    rotation_deg: float = 0.0


def night_start_utc(night: date, longitude_deg: float) -> datetime:
    """Mean local noon that begins ``night``, in UTC."""
    return datetime(night.year, night.month, night.day, 12, tzinfo=UTC) - timedelta(hours=longitude_deg / 15)


def julian_date(time_utc: datetime) -> float:
    """Julian date (UTC)."""
    return 2440587.5 + time_utc.timestamp() / 86400


def sidereal_time_deg(time_utc: datetime, longitude_deg: float) -> float:
    """Local mean sidereal time (USNO's linear formula, good to a second for decades around 2000)."""
    greenwich_h = 18.697374558 + 24.06570982441908 * (julian_date(time_utc) - 2451545.0)
    return (greenwich_h * 15 + longitude_deg) % 360


def altitude_deg(ra_deg: float, dec_deg: float, time_utc: datetime, site: Site) -> float:
    """True altitude above the horizon."""
    hour_angle = np.radians(sidereal_time_deg(time_utc, site.longitude_deg) - ra_deg)
    dec, latitude = np.radians(dec_deg), np.radians(site.latitude_deg)
    sine = np.sin(latitude) * np.sin(dec) + np.cos(latitude) * np.cos(dec) * np.cos(hour_angle)
    return float(np.degrees(np.arcsin(sine)))


def airmass(altitude: float) -> float:
    """Airmass at an altitude in degrees (Pickering 2002, DIO 12, 20)."""
    return float(1 / np.sin(np.radians(altitude + 244 / (165 + 47 * altitude**1.1))))


def to_pixels(xi_arcsec: Floats, eta_arcsec: Floats, centre_px: tuple[float, float], scale: float, at: Pointing) -> tuple[Floats, Floats]:
    """0-based pixel coordinates (x, y) of tangent-plane offsets (east, north) on a frame; x grows to the west."""
    angle = np.radians(at.rotation_deg)
    u, v = -xi_arcsec / scale, eta_arcsec / scale
    x = centre_px[0] + at.shift_x_px + u * np.cos(angle) - v * np.sin(angle)
    y = centre_px[1] + at.shift_y_px + u * np.sin(angle) + v * np.cos(angle)
    return x, y


def to_sky(xi_arcsec: Floats, eta_arcsec: Floats, ra_deg: float, dec_deg: float) -> tuple[Floats, Floats]:
    """Right ascension and declination in degrees of tangent-plane offsets (inverse gnomonic projection)."""
    xi, eta = np.radians(xi_arcsec / 3600), np.radians(eta_arcsec / 3600)
    dec0 = np.radians(dec_deg)
    below = np.cos(dec0) - eta * np.sin(dec0)
    ra = (ra_deg + np.degrees(np.arctan2(xi, below))) % 360
    dec = np.degrees(np.arctan2(np.sin(dec0) + eta * np.cos(dec0), np.hypot(xi, below)))
    return ra, dec


def wcs_cards(
    ra_deg: float, dec_deg: float, centre_px: tuple[float, float], scale: float, at: Pointing
) -> list[tuple[str, float | str, str]]:
    """Header cards of the TAN solution that :func:`to_pixels` describes (FITS pixels count from 1)."""
    cosine, sine = np.cos(np.radians(at.rotation_deg)), np.sin(np.radians(at.rotation_deg))
    step = scale / 3600
    return [
        ("CTYPE1", "RA---TAN", "gnomonic projection"),
        ("CTYPE2", "DEC--TAN", "gnomonic projection"),
        ("CUNIT1", "deg", ""),
        ("CUNIT2", "deg", ""),
        ("EQUINOX", 2000.0, ""),
        ("RADESYS", "ICRS", ""),
        ("CRVAL1", ra_deg, "[deg] right ascension at the reference pixel"),
        ("CRVAL2", dec_deg, "[deg] declination at the reference pixel"),
        ("CRPIX1", centre_px[0] + at.shift_x_px + 1, "[px]"),
        ("CRPIX2", centre_px[1] + at.shift_y_px + 1, "[px]"),
        ("CD1_1", float(-step * cosine), "[deg/px]"),
        ("CD1_2", float(-step * sine), "[deg/px]"),
        ("CD2_1", float(-step * sine), "[deg/px]"),
        ("CD2_2", float(step * cosine), "[deg/px]"),
    ]


def sexagesimal(value: float, decimals: int = 1) -> str:
    """``[-]DD MM SS.s`` as camera programs write it; give hours for right ascension."""
    units = round(abs(value) * 3600 * 10**decimals)
    whole, part = divmod(units, 10**decimals)
    minutes, seconds = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    sign = "-" if value < 0 else "+"
    fraction = f".{part:0{decimals}d}" if decimals else ""
    return f"{sign}{hours:02d} {minutes:02d} {seconds:02d}{fraction}"

"""The header that the simulated camera's program writes: the cards of MaxIm DL, in its manner."""

from __future__ import annotations

from datetime import UTC, datetime

from nightcrew.simulate.camera_file import CameraCard
from nightcrew.simulate.plan import NightPlan
from nightcrew.simulate.pointing import altitude_deg, julian_date, sexagesimal, wcs_cards
from nightcrew.simulate.truth import FrameTruth, frame_centre

IMAGE_TYPES = {"bias": "Bias Frame", "dark": "Dark Frame", "flat": "Flat Field", "light": "Light Frame"}
INSTRUMENT = "NCSIM"


def frame_cards(plan: NightPlan, frame: FrameTruth) -> list[CameraCard]:
    """All cards of a frame but the structural ones."""
    cards = _exposure_cards(plan, frame) + _camera_cards(plan) + _site_cards(plan)
    if frame.kind == "light":
        cards += _sky_cards(plan, frame)
    if plan.camera.overscan_columns:
        cards += _section_cards(plan)
    return cards


def start_time(frame: FrameTruth) -> datetime:
    """Start of the exposure with its zone (UTC)."""
    return datetime.fromisoformat(frame.time_utc).replace(tzinfo=UTC)


def _exposure_cards(plan: NightPlan, frame: FrameTruth) -> list[CameraCard]:
    # MaxIm writes the wheel's position on bias and dark frames too: it means nothing there
    return [
        ("DATE-OBS", frame.time_utc, "[ISO 8601] UTC at start of exposure"),
        ("EXPTIME", frame.exposure_s, "[s] length of exposure"),
        ("EXPOSURE", frame.exposure_s, "[s] length of exposure"),
        ("SET-TEMP", plan.set_temperature_c, "[C] CCD temperature set point"),
        ("CCD-TEMP", frame.temperature_c, "[C] CCD temperature at start of exposure"),
        ("FILTER", frame.filter or plan.filters[0].name, "filter wheel position"),
        ("IMAGETYP", IMAGE_TYPES[frame.kind], "type of image"),
        ("OBJECT", frame.target, "name of the target"),
        ("JD", julian_date(start_time(frame)), "Julian date at start of exposure"),
    ]


def _camera_cards(plan: NightPlan) -> list[CameraCard]:
    camera = plan.camera
    return [
        ("INSTRUME", INSTRUMENT, "simulated camera, its truth is known"),
        ("SERIALNO", camera.serial, "serial number of the camera"),
        ("XBINNING", 1, "binning in X"),
        ("YBINNING", 1, "binning in Y"),
        ("XORGSUBF", 0, "subframe X position in binned pixels"),
        ("YORGSUBF", 0, "subframe Y position in binned pixels"),
        ("XPIXSZ", 9.0, "[um] pixel width"),
        ("YPIXSZ", 9.0, "[um] pixel height"),
        ("EGAIN", camera.gain_e_per_adu, "[e-/ADU] electronic gain"),
        ("RDNOISE", camera.read_noise_e, "[e-] read noise"),
        ("GAIN", 100, "gain setting of the camera"),
        ("READOUTM", "Raw 1 MHz", "readout mode of image"),
        ("PEDESTAL", 0, "correction to add for zero-based ADU"),
        ("SWCREATE", "Nightcrew simulator", "program that wrote this file"),
        ("SBSTDVER", "SBFITSEXT Version 1.0", "version of the SBFITSEXT standard in effect"),
    ]


def _site_cards(plan: NightPlan) -> list[CameraCard]:
    site = plan.site
    return [
        ("SITELAT", sexagesimal(site.latitude_deg, 0), "[deg] latitude"),
        ("SITELONG", sexagesimal(site.longitude_deg, 0), "[deg] longitude, east positive"),
        ("SITEELEV", site.elevation_m, "[m] elevation"),
        ("FOCALLEN", 1547.0, "[mm] focal length of telescope"),
        ("APTDIA", 400.0, "[mm] aperture diameter of telescope"),
        ("TELESCOP", "Simulated 0.4 m", "telescope"),
        ("OBSERVER", "Nightcrew", "observer"),
    ]


def _sky_cards(plan: NightPlan, frame: FrameTruth) -> list[CameraCard]:
    target = plan.target(frame.target)
    altitude = altitude_deg(target.ra_deg, target.dec_deg, start_time(frame), plan.site)
    solution = wcs_cards(target.ra_deg, target.dec_deg, frame_centre(plan), plan.pixel_scale_arcsec, frame.pointing)
    return [
        ("OBJCTRA", sexagesimal(target.ra_deg / 15, 2).lstrip("+"), "[h m s] nominal right ascension of the target"),
        ("OBJCTDEC", sexagesimal(target.dec_deg), "[d m s] nominal declination of the target"),
        ("OBJCTALT", round(altitude, 4), "[deg] nominal altitude of the target"),
        ("AIRMASS", frame.airmass, "relative optical path length"),
        *solution,
    ]


def _section_cards(plan: NightPlan) -> list[CameraCard]:
    nx, ny, extra = plan.camera.nx, plan.camera.ny, plan.camera.overscan_columns
    return [
        ("TRIMSEC", f"[1:{nx},1:{ny}]", "light-sensitive pixels"),
        ("BIASSEC", f"[{nx + 1}:{nx + extra},1:{ny}]", "overscan columns"),
    ]

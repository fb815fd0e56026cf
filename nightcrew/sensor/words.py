"""Options of the characterisation as people write them, on the command line and in the configuration."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from nightcrew.errors import Refused
from nightcrew.sensor.frames import Window
from nightcrew.sensor.options import DataSheet, SensorOptions
from nightcrew.sensor.regions import parse_crop


def parse_box(text: str) -> Window:
    """``x0:x1,y0:y1``, 0-based and half-open."""
    window = parse_crop(text)
    if not isinstance(window, Window):
        raise Refused(f"{text!r} is no box: give x0:x1,y0:y1")
    return window


def parse_layout(text: str) -> tuple[int, int]:
    """``COLUMNSxROWS`` of amplifiers."""
    layout = parse_crop(text)
    if isinstance(layout, Window):
        raise Refused(f"{text!r} is no layout of amplifiers: give COLUMNSxROWS, as 2x1")
    if min(layout) < 1:
        raise Refused(f"{text!r}: there is at least one amplifier, give COLUMNSxROWS, as 2x1")
    return layout


def parse_bayer(text: str) -> str:
    """``auto``, ``none``, or a pattern of 2 x 2 letters, as RGGB."""
    if text in ("auto", "none"):
        return text
    if not re.fullmatch(r"[RGBCMYW]{4}", text.upper()):
        raise Refused(f"{text!r} is no colour pattern: give auto, none, or four letters, as RGGB")
    return text.upper()


def parse_sky(text: str) -> tuple[str, float]:
    """``FILTER=RATE`` of the sky in e-/s a pixel."""
    name, _, rate = text.rpartition("=")
    try:
        value = float(rate)
    except ValueError:
        value = 0.0
    if not name or not 0 < value < float("inf"):
        raise Refused(f"{text!r} is no rate of the sky: give FILTER=RATE, as V=0.8 (e-/s a pixel)")
    return name, value


def parse_data_sheet(text: str) -> DataSheet:
    """``RATE@C/DOUBLING``: the maker's dark rate in e-/s a pixel, at which temperature, doubling every so many K."""
    try:
        rate, rest = text.split("@")
        at_c, doubling = rest.split("/")
        sheet = DataSheet(rate_e_per_s=float(rate), at_c=float(at_c), doubling_k=float(doubling))
    except ValueError:
        sheet = None
    if sheet is None or not (sheet.rate_e_per_s > 0 and sheet.doubling_k > 0):
        raise Refused(f"{text!r} is no dark rate of a data sheet: give RATE@C/DOUBLING, as 112@60/11")
    return sheet


LEAST: Mapping[str, tuple[float, bool]] = {
    "temperature_tolerance_c": (0.0, True),
    "clip": (3.0, True),
    "times_read_noise": (0.0, False),
    "max_lag": (0, True),
    "bootstrap": (0, True),
}
"""The least value of an option, and whether it is itself allowed."""


def _check(values: Mapping[str, Any]) -> None:
    """Numbers that make no sense are refused, not computed with."""
    for name, (least, itself) in LEAST.items():
        if name not in values:
            continue
        value = _number(values[name], name)
        if value < least or (value == least and not itself):
            raise Refused(f"{name} = {value:g}: it must be {'at least' if itself else 'above'} {least:g}")
    _number(values.get("offset_correction", 0.0), "offset_correction")


def _number(value: Any, name: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise Refused(f"{name} = {value!r} is no number")
    return number


def options_of(values: Mapping[str, Any]) -> SensorOptions:
    """Options from plain values, as the configuration's table ``[sensor]`` has them; :class:`Refused` names what is wrong."""
    sky: Sequence[str] = values.get("sky", ())
    _check(values)
    return SensorOptions(
        crop=parse_crop(str(values.get("crop", "100x100"))),
        offset_correction=float(values.get("offset_correction", 0.0)),
        temperature_tolerance_c=float(values.get("temperature_tolerance_c", 0.5)),
        box=parse_box(str(values["box"])) if values.get("box") else None,
        amplifiers=parse_layout(str(values.get("amplifiers", "1x1"))),
        bayer=parse_bayer(str(values.get("bayer", "auto"))),
        lights="as flats" if values.get("lights_are_flats") else "leave out",
        max_lag=int(values.get("max_lag", 8)),
        clip_sigma=float(values.get("clip", 5.0)),
        bootstrap=int(values.get("bootstrap", 200)),
        seed=int(values.get("seed", 1)),
        times_read_noise=float(values.get("times_read_noise", 1.0)),
        sky_e_per_s=tuple(parse_sky(one) for one in sky),
        data_sheet=parse_data_sheet(str(values["data_sheet"])) if values.get("data_sheet") else None,
        threads=int(values.get("threads", 2)),
    )

"""What the lines of the observing log say of a whole dither: wishes of any position, one target and site for all."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from nightcrew.mkid.dither import Field
from nightcrew.mkid.science_products import ScienceWishes

_LONGEST_TEXT = 60
_SAME_DEG = 1 / 60  # targets and sites closer than this are the same
_NUMBERS = ("ra_deg", "dec_deg", "latitude_deg", "longitude_deg", "plate_scale_mas")
_REGISTER = ("data", "log")


@dataclass(frozen=True, kw_only=True)
class DitherLog:
    """``field`` has target and site, its angle is that of each position's own line.  ``problems`` are sentences for a person."""

    field: Field
    register: str
    wishes: ScienceWishes
    plate_scale_mas: float | None
    problems: tuple[str, ...]


def read_logs(logs: Sequence[Mapping[str, str]]) -> DitherLog:
    """From the columns of all positions, in order: what one position asks for is asked for the dither.

    Where positions say different things, the first that says anything is taken, and that is told.
    """
    problems: list[str] = []
    columns = {name: _agreed(name, logs, problems) for name in ("speckle_bin_s", "speckle_step_s", "register")}
    wanted = [log for log in logs if ScienceWishes.from_log({"speckles": log.get("speckles", "")}).speckles]
    unknown = [log for log in logs if ScienceWishes.from_log({"speckles": log.get("speckles", "")}).problems]
    columns["speckles"] = _agreed("speckles", wanted or unknown, problems)
    register = columns["register"] or "data"
    if register not in _REGISTER:
        problems.append(f"register = {register[:_LONGEST_TEXT]!r} is not understood (data or log): the star was searched for in the data.")
        register = "data"
    numbers = {name: _number(name, logs, problems) for name in _NUMBERS}
    angles = sum(_as_number(log.get("position_angle_deg", "")) is not None for log in logs)
    if 0 < angles < len(logs):
        problems.append(f"position_angle_deg stands in {angles} of {len(logs)} lines: the other positions were turned as if it were 0.")
    wishes = ScienceWishes.from_log(columns)
    return DitherLog(
        field=Field(
            ra_deg=numbers["ra_deg"],
            dec_deg=numbers["dec_deg"],
            latitude_deg=numbers["latitude_deg"],
            longitude_deg=numbers["longitude_deg"],
        ),
        register=register,
        wishes=wishes,
        plate_scale_mas=numbers["plate_scale_mas"],
        problems=(*problems, *wishes.problems),
    )


def _agreed(name: str, logs: Iterable[Mapping[str, str]], problems: list[str]) -> str:
    said = list(dict.fromkeys(text for log in logs if (text := log.get(name, "").strip())))
    if len(said) > 1:
        words = ", ".join(repr(text[:_LONGEST_TEXT]) for text in said[:4])
        problems.append(f"Positions of the dither differ in {name} ({words}): the first was taken.")
    return said[0] if said else ""


def _number(name: str, logs: Iterable[Mapping[str, str]], problems: list[str]) -> float | None:
    said = [value for log in logs if (value := _as_number(log.get(name, ""))) is not None]
    if said and max(abs(value - said[0]) for value in said) > _SAME_DEG:
        problems.append(f"Positions of the dither differ in {name} ({min(said):g} to {max(said):g}): that of the first was taken.")
    return said[0] if said else None


def _as_number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None

"""What becomes of a science exposure: image, cubes and, where the observing log asks for them, speckle maps.

An observing log may have these columns (docs/mkid_images.md); a wish that is not understood is told, and left out:

- ``speckles``: ``yes`` or ``binned``, ``intervals``, with ``companion`` beside it to fit one; empty or ``no``: none
- ``speckle_bin_s``: seconds of a bin; ``speckle_step_s``: a map for each step of so many seconds
- ``time_step_s``: steps of the time cube (a tenth of the exposure otherwise)
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from nightcrew.errors import Refused
from nightcrew.mkid.calibrated import CalibratedTable, Calibrations, open_calibrated
from nightcrew.mkid.cube import Cube
from nightcrew.mkid.cube_bins import time_edges
from nightcrew.mkid.cube_files import write_cube
from nightcrew.mkid.image import CubeWish, cube_of, provenance_cards
from nightcrew.mkid.image_sky import sky_of
from nightcrew.mkid.speckle import SpeckleRules
from nightcrew.mkid.speckle_files import write_maps
from nightcrew.mkid.speckle_maps import SpeckleMaps, make_maps
from nightcrew.mkid.speckle_words import in_words

IMAGE, CUBE, TIME_CUBE, SPECKLES = "image.fits", "cube.fits", "time_cube.fits", "speckles.fits"
_STEPS = 10
_LONGEST_TEXT = 60


@dataclass(frozen=True, kw_only=True)
class ScienceWishes:
    """What is made of an exposure besides its image.  ``problems`` are wishes that were not understood, in sentences."""

    time_step_s: float | None = None
    energy_width_ev: float | None = None  # None: that of the table
    speckles: Literal["", "binned", "intervals"] = ""
    companion: bool = False
    speckle_bin_s: float = 0.01
    speckle_step_s: float | None = None
    problems: tuple[str, ...] = ()

    @classmethod
    def from_log(cls, columns: Mapping[str, str]) -> ScienceWishes:
        """From the further columns of a line of the observing log."""
        problems: list[str] = []
        words = columns.get("speckles", "").lower().replace("+", " ").split()
        unknown = sorted(set(words) - {"yes", "no", "binned", "intervals", "companion"})
        if unknown:
            problems.append(f"speckles = {columns['speckles'][:_LONGEST_TEXT]!r} is not understood: yes, no, binned, intervals, companion")
            words = []
        wanted = bool(words) and "no" not in words
        return cls(
            time_step_s=_seconds(columns, "time_step_s", problems),
            speckles="" if not wanted else "intervals" if "intervals" in words else "binned",
            companion="companion" in words,
            speckle_bin_s=_seconds(columns, "speckle_bin_s", problems) or 0.01,
            speckle_step_s=_seconds(columns, "speckle_step_s", problems),
            problems=tuple(problems),
        )


def _seconds(columns: Mapping[str, str], name: str, problems: list[str]) -> float | None:
    text = columns.get(name, "").strip()
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 1e-4 <= value <= 86_400:
        problems.append(f"{name} = {text[:_LONGEST_TEXT]!r} is no number of seconds")
        return None
    return value


@dataclass(frozen=True, kw_only=True)
class ScienceProducts:
    """What was made: files in the folder, and the arrays that a report shows."""

    name: str
    files: tuple[tuple[str, str], ...]  # (name, what it is)
    image: Cube
    cube: Cube | None  # in wavelength
    time_cube: Cube
    speckles: SpeckleMaps | None
    remarks: tuple[str, ...]  # what a person should know: wishes that could not be met
    notes: tuple[str, ...] = ()  # what was found, in sentences
    quantities: Mapping[str, tuple[float | None, str, str]] = field(default_factory=dict)  # name -> value, unit, why not


def make_science_products(
    table_path: Path, solutions: Sequence[Path] | Calibrations, wishes: ScienceWishes, out: Path, *, name: str = ""
) -> ScienceProducts:
    """Write ``image.fits``, ``cube.fits`` (with a wavelength solution), ``time_cube.fits`` and, when asked, ``speckles.fits`` into ``out``.

    A cube or a map that is refused is left out, or made in the usual steps, which the remarks say; everything else is made.
    Raises the errors of :func:`~nightcrew.mkid.calibrated.open_calibrated` and of writing.
    """
    cards = provenance_cards(table_path, () if isinstance(solutions, Calibrations) else solutions)
    remarks = list(wishes.problems)
    with open_calibrated(table_path, solutions) as table:
        image = cube_of(table, CubeWish())
        time_cube = _in_time(table, wishes.time_step_s, remarks)
        cube = _spectral(table, wishes, remarks)
        maps = _speckles(table, wishes, remarks) if wishes.speckles else None
        sky = sky_of(table)
    files = [(IMAGE, "image: rate, error, counts, exposure, flags"), (TIME_CUBE, "cube in time [time, y, x]")]
    write_cube(out / IMAGE, image, cards=cards, sky=sky)
    write_cube(out / TIME_CUBE, time_cube, axes=("time",), cards=cards, sky=sky)
    if cube is not None:
        write_cube(out / CUBE, cube, axes=("wavelength",), cards=cards, sky=sky)
        files.append((CUBE, "cube in wavelength [wavelength, y, x]"))
    if maps is not None:
        write_maps(out / SPECKLES, maps, cards=cards)
        files.append((SPECKLES, "speckle maps: Ic, Is, their ratio, errors, goodness, validity"))
    return ScienceProducts(
        name=name or table_path.stem,
        files=tuple(files),
        image=image,
        cube=cube,
        time_cube=time_cube,
        speckles=maps,
        remarks=tuple(remarks),
        notes=tuple(in_words(maps)) if maps is not None else (),
        quantities=_quantities(image, cube, maps),
    )


def _in_time(table: CalibratedTable, wished_s: float | None, remarks: list[str]) -> Cube:
    if wished_s is not None:
        try:
            return cube_of(table, CubeWish(step_s=min(wished_s, table.duration_s)))
        except Refused as error:
            remarks.append(f"The cube in time has {_STEPS} steps, not steps of {wished_s:g} s: {error}.")
    step_us = -(-(table.stop_us - table.start_us) // _STEPS)  # rounded up: what is left over is no step of its own
    return cube_of(table, CubeWish(step_s=step_us / 1e6))


def _spectral(table: CalibratedTable, wishes: ScienceWishes, remarks: list[str]) -> Cube | None:
    if table.calibrations.wavelength is None:
        remarks.append("There is no wavelength solution: no cube in wavelength was made.")
        return None
    width = wishes.energy_width_ev or float(table.table.attributes.get("energy_resolution", 0.1))
    try:
        return cube_of(table, CubeWish(energy_width_ev=width))
    except Refused as error:
        remarks.append(f"No cube in wavelength was made: {error}.")
        return None


def _speckles(table: CalibratedTable, wishes: ScienceWishes, remarks: list[str]) -> SpeckleMaps | None:
    span_us = table.stop_us - table.start_us
    rules = SpeckleRules(bin_s=wishes.speckle_bin_s, companion=wishes.companion)
    step_us = span_us if wishes.speckle_step_s is None else round(wishes.speckle_step_s * 1e6)
    if min(step_us, span_us) < 10 * rules.bin_s * 1e6:
        remarks.append(f"Speckle maps were asked for, but the time is shorter than ten bins of {rules.bin_s:g} s.")
        return None
    edges = time_edges(0, span_us, step_us)
    if edges.size > 2 and edges[-1] - edges[-2] < 10 * rules.bin_s * 1e6:
        edges = np.delete(edges, -2)  # what is left over is too short for a map of its own, and joins the last
    method: Literal["binned", "intervals"] = "intervals" if wishes.speckles == "intervals" else "binned"
    try:
        return make_maps(table, rules, edges, method=method)
    except Refused as error:
        remarks.append(f"No speckle maps were made: {error}.")
        return None


def _quantities(image: Cube, cube: Cube | None, maps: SpeckleMaps | None) -> dict[str, tuple[float | None, str, str]]:
    rate, bad = image.rate_cps[0, 0], image.bad
    good = np.isfinite(rate) & ~bad
    exposed = image.exposure_s[0][good]
    found: dict[str, tuple[float | None, str, str]] = {
        "photons": (float(image.counts.sum()), "", ""),
        "bad_pixels": (float(bad.sum()), "", ""),
        "median_rate": (float(np.median(rate[good])) if good.any() else None, "ct/s", "every pixel is bad or did not count"),
        "brightest_rate": (float(rate[good].max()) if good.any() else None, "ct/s", "every pixel is bad or did not count"),
        "median_exposure": (float(np.median(exposed)) if good.any() else None, "s", "every pixel is bad or did not count"),
    }
    if cube is not None:
        share = float(cube.counts.sum()) / max(float(image.counts.sum()), 1.0)
        found["share_with_wavelength"] = (share if image.counts.any() else None, "", "there are no photons")
    if maps is not None:
        ic, is_ = (maps.parameters_cps[place][maps.valid] for place in (0, 1))
        why = "no pixel has speckle statistics that may be believed"
        found["speckle_valid_share"] = (float(maps.valid.mean()), "", "")
        found["median_ic"] = (float(np.median(ic)) if ic.size else None, "ct/s", why)
        found["median_is"] = (float(np.median(is_)) if is_.size else None, "ct/s", why)
        known = [tau for tau in maps.array_decorrelation_s if math.isfinite(tau)]
        found["decorrelation_time"] = (float(np.median(known)) if known else None, "s", "no correlation from bin to bin is seen")
    return found

"""Made-up nights: pages with known contents for the tests of rendering, mail and checks."""

from __future__ import annotations

import dataclasses
import math
from functools import lru_cache

import numpy as np

from reports.model import (
    AnalysisSection,
    BalanceRow,
    CalibrationCell,
    Cause,
    FolderFact,
    LightEntry,
    MasterEntry,
    NightPage,
    Notice,
    PlateEntry,
    Provenance,
    StackEntry,
    Trend,
    TrendPoint,
    TruthRow,
)
from reports.stretch import thumbnail
from reports.tables import columns
from reports.trends import trend
from reports.values import KeyNumber, NumberTable, Picture

CAMERA = "STL-1001"
NIGHT = "2026-03-14"


def star_field(seed: int, size: int = 160, stars: int = 40, fwhm_px: float = 2.8) -> np.ndarray:
    """A small field of Gaussian stars on a noisy sky, float32 [y, x]."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:size, 0:size]
    image = random.normal(100, 4, (size, size))
    sigma = fwhm_px / 2.3548
    for _ in range(stars):
        cx, cy, flux = random.uniform(0, size), random.uniform(0, size), 10 ** random.uniform(1.5, 3.4)
        image += flux * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * sigma**2))
    return image.astype(np.float32)


@lru_cache(maxsize=256)
def field_picture(seed: int, alt: str) -> Picture:
    return thumbnail(star_field(seed), alt)


@lru_cache(maxsize=64)
def flat_picture(seed: int, alt: str) -> Picture:
    y, x = np.mgrid[-1:1:160j, -1:1:160j]
    noise = np.random.default_rng(seed).normal(0, 0.004, x.shape)
    return thumbnail((1 - 0.12 * (x**2 + y**2) + noise).astype(np.float32), alt, stretch="zscale")


@lru_cache(maxsize=64)
def bias_picture(seed: int, alt: str) -> Picture:
    random = np.random.default_rng(seed)
    return thumbnail(
        (1000 + random.normal(0, 2, (160, 160)) + random.normal(0, 1.5, 160)[None, :]).astype(np.float32), alt, stretch="zscale"
    )


_FIELD = field_picture(1, "M 67 in V, 60 s: a field of about 40 stars")


@lru_cache(maxsize=16)
def lights(count: int = 40, *, distinct: bool = True) -> tuple[LightEntry, ...]:
    made = []
    random = np.random.default_rng(7)
    for place in range(count):
        band = "BVRI"[place * 4 // count]
        minutes = 20 * 60 + 15 + place * 470 / count
        day = 14 if minutes < 24 * 60 else 15
        time = f"2026-03-{day}T{int(minutes // 60) % 24:02d}:{int(minutes) % 60:02d}:{int(minutes * 60) % 60:02d}.000"
        target = "M 67" if place % count < count // 2 else "SA 112"
        name = f"{target.replace(' ', '').lower()}-{band}-{place:03d}.fits"
        picture = field_picture(place, f"{name}: thumbnail of the reduced light") if distinct else _FIELD
        made.append(
            LightEntry(
                name=name,
                instrument=CAMERA,
                target=target,
                filter=band,
                exposure_s=60.0,
                time_utc=time,
                state="done",
                grade="B" if band == "B" else "A",
                reason="flat taken at another temperature: 2.9 C from the dark's" if band == "B" else "",
                fwhm_px=2.6 + 0.4 * math.sin(place / 9) + float(random.normal(0, 0.05)),
                ellipticity=0.06,
                background=1.4 + 0.8 * (place / count) + 0.3 * "BVRI".index(band) + float(random.normal(0, 0.02)),
                depth_mag=-4.2 - 0.2 * "BVRI".index(band) + float(random.normal(0, 0.03)),
                sources=int(random.integers(60, 140)),
                thumbnail=picture,
                command=f"nightcrew why {name}",
            )
        )
    return tuple(made)


def masters() -> tuple[MasterEntry, ...]:
    made = [
        MasterEntry(
            name="bias",
            instrument=CAMERA,
            kind="bias",
            label="-20 °C",
            frames=20,
            level_adu=1012.43,
            noise_adu=1.47,
            change=0.31,
            change_sigma=0.8,
            change_percent=0.03,
            compared_with="2026-03-12",
            grade="A",
            picture=bias_picture(2, "Master bias at -20 °C: even, faint columns"),
            extras=(KeyNumber(name="Read noise", value=6.56, unit="ADU", error=0.03),),
        )
    ]
    for place, exposure in enumerate(("1 s", "10 s", "60 s")):
        made.append(
            MasterEntry(
                name=f"dark {exposure}",
                instrument=CAMERA,
                kind="dark",
                label=f"{exposure}, -20 °C",
                frames=10,
                level_adu=0.34 * (1, 10, 60)[place],
                noise_adu=2.1,
                change=-0.02,
                change_sigma=-0.3,
                change_percent=-0.1,
                compared_with="2026-03-12",
                grade="A",
                picture=bias_picture(10 + place, f"Master dark {exposure}"),
                extras=(KeyNumber(name="Dark current", value=0.341, unit="ADU/s", error=0.004, digits=3),),
            )
        )
    for place, band in enumerate("BVRI"):
        made.append(
            MasterEntry(
                name=f"flat {band}",
                instrument=CAMERA,
                kind="flat",
                label=band,
                frames=9 if band == "R" else 10,
                left_out=(("flat-R-004.fits", "too bright: median 61,200 ADU, limit 52,000 ADU"),) if band == "R" else (),
                level_adu=1.0,
                noise_adu=0.0031,
                level_unit="of median",
                change=0.0,
                change_sigma=0.2,
                compared_with="2026-03-11",
                grade="B" if band == "B" else "A",
                reason="5 of 10 frames were taken 0.8 to 3.7 C from the dark" if band == "B" else "",
                picture=flat_picture(30 + place, f"Master flat {band}: vignetting of 12 percent in the corners"),
                extras=(KeyNumber(name="Gain", value=2.01, unit="e-/ADU", error=0.02),),
            )
        )
    return tuple(made)


def calibrations() -> tuple[CalibrationCell, ...]:
    rows = [
        ("bias", "-20 °C", "existed", "A", 0.0, 40, ""),
        ("dark", "60 s, -20 °C", "existed", "A", 0.0, 40, ""),
        ("dark", "10 s, -20 °C", "existed", "A", 0.0, 0, ""),
        ("flat", "B", "existed", "B", 0.0, 10, "taken 2.9 C from the dark's temperature"),
        ("flat", "V", "existed", "A", 0.0, 10, ""),
        ("flat", "R", "late", "A", 0.0, 10, ""),
        ("flat", "I", "borrowed", "B", 3.0, 10, "3 days old"),
        ("bad pixels", "all", "borrowed", "A", 12.0, 40, ""),
    ]
    return tuple(
        CalibrationCell(
            instrument=CAMERA, kind=kind, label=label, state=state, grade=grade, age_days=age, users=users, reason=reason,  # type: ignore[arg-type]  # words of the page
            origin=NIGHT if not age else "2026-03-11",
        )
        for kind, label, state, grade, age, users, reason in rows
    )  # fmt: skip  # read as a table


CAUSES = (
    Cause(
        state="rejected",
        cause="file ends early: 4,195,200 of 8,392,320 bytes",
        count=1,
        files=("m67-V-099.fits",),
        command="nightcrew why m67-V-099.fits",
        kind="light",
        mend="Copy it again from the camera's computer; it is taken in by itself.",
    ),
    Cause(
        state="set_aside",
        cause="same content as bias-001.fits",
        count=1,
        files=("bias-001 (copy).fits",),
        command="nightcrew why x",
        kind="bias",
    ),
    Cause(
        state="set_aside",
        cause="foreign file, not a frame",
        count=1,
        files=("observing notes.txt",),
        command="nightcrew why x",
        kind="foreign",
    ),
    Cause(
        state="set_aside",
        cause="left out of flat R: too bright",
        count=1,
        files=("flat-R-004.fits",),
        command="nightcrew why x",
        kind="flat",
    ),
)

BALANCE = (
    BalanceRow(instrument=CAMERA, kind="bias", seen=21, done=20, set_aside=1),
    BalanceRow(instrument=CAMERA, kind="dark", seen=30, done=30),
    BalanceRow(instrument=CAMERA, kind="flat", seen=40, done=39, set_aside=1),
    BalanceRow(instrument=CAMERA, kind="light", seen=41, done=40, rejected=1),
    BalanceRow(instrument="", kind="foreign", seen=1, set_aside=1),
)


def trends(*, bad: bool = False) -> tuple[Trend, ...]:
    random = np.random.default_rng(5)
    made = []
    for quantity, label, unit, level, spread in (
        ("bias_level", "Bias level", "ADU", 1012.0, 0.6),
        ("read_noise", "Read noise", "ADU", 6.56, 0.03),
        ("dark_current", "Dark current at -20 °C", "ADU/s", 0.341, 0.004),
        ("gain", "Gain", "e-/ADU", 2.0, 0.01),
        ("fwhm", "Median FWHM", "px", 2.7, 0.2),
        ("background_v", "Sky background in V", "e-/s", 1.9, 0.2),
    ):
        nights = [f"2026-02-{day:02d}" for day in range(8, 28)]
        points = [TrendPoint(night=night, value=float(random.normal(level, spread)), error=spread / 3) for night in nights]
        tonight = level + (9 * spread if bad and quantity == "read_noise" else 0.4 * spread)
        made.append(trend(quantity, label, unit, CAMERA, [*points, TrendPoint(night=NIGHT, value=tonight, error=spread / 3)], NIGHT))
    return tuple(made)


@lru_cache(maxsize=1)
def stacks() -> tuple[StackEntry, ...]:
    return tuple(
        StackEntry(
            name=f"{target} {band}", instrument=CAMERA, target=target, filter=band, frames=10, exposure_s=600.0, grade="A", fwhm_px=2.71,
            depth_mag=-3.1, sources=212,
            picture=thumbnail(star_field(100 + place, 400, 160), f"Finder chart of {target} in {band}", size_px=400),
        )
        for place, (target, band) in enumerate((("M 67", "B"), ("M 67", "V"), ("SA 112", "R"), ("SA 112", "I")))
    )  # fmt: skip  # read as a table


TRUTH = (
    TruthRow(name="gain", recovered=1.993, truth=2.0, unit="e-/ADU", pull=-0.7, allowed="3 %"),
    TruthRow(name="read noise", recovered=6.58, truth=6.56, unit="ADU", pull=0.6, allowed="5 %"),
    TruthRow(
        name="bright stars in V: recovered minus true magnitude",
        recovered=0.0012,
        truth=0.0,
        unit="mag",
        pull=0.4,
        allowed="0.005 mag",
        digits=4,
    ),
)

PROVENANCE = Provenance(
    software=(("nightcrew", "0.1.0"), ("numpy", "2.4.6"), ("astropy", "8.0.2")),
    recipes=(("bias_master", 1, 1), ("dark_master", 1, 3), ("flat_master", 1, 4), ("reduce_light", 1, 40)),
    profiles=("sbig_stl",),
    parameters=(("Combination", "median"), ("Cosmic rays", "found and flagged")),
    inputs_digest="5f0c1b9e7a3d",
    inputs=133,
    commands=(f"nightcrew status {NIGHT}", f"nightcrew rerun {NIGHT} --from masters"),
)

FOLDERS = (FolderFact(path="/data/incoming", reachable=True, last_file_at="2026-03-14 04:02 UTC", last_sweep_at="2026-03-15 07:58 UTC"),)


def good_night() -> NightPage:
    """A night as one wants it: one truncated file, a duplicate, a text file, a bright flat, everything else done."""
    return NightPage(
        night=NIGHT,
        site="Hill Observatory",
        made_at="2026-03-15T08:00:12",
        timezone="Europe/Vienna",
        balance=BALANCE,
        causes=CAUSES,
        calibrations=calibrations(),
        masters=masters(),
        lights=(
            *lights(),
            LightEntry(
                name="m67-V-099.fits", instrument=CAMERA, target="M 67", filter="V", exposure_s=60.0, time_utc="2026-03-14T21:59:00",
                state="rejected", reason="file ends early: 4,195,200 of 8,392,320 bytes",
            ),
        ),
        stacks=stacks(),
        trends=trends(),
        truth=TRUTH,
        folders=FOLDERS,
        provenance=PROVENANCE,
        files=file_table(),
    )  # fmt: skip  # read as a table


def file_table() -> NumberTable:
    rows = tuple((light.name, "light", light.state, light.reason) for light in lights(4))
    return NumberTable(name="files", columns=columns("file", "kind", "state", "reason"), rows=rows)


def troubled_night() -> NightPage:
    """Missing flat, a changed bias, a failed product, a trend outside, a lab section."""
    page = good_night()
    cells = tuple(
        dataclasses.replace(
            cell, state="missing", grade="", age_days=None, reason="the nearest flat in I is 94 days old, the rule allows 60"
        )
        if cell.label == "I"
        else cell
        for cell in page.calibrations
    )
    changed = tuple(
        dataclasses.replace(
            m, change=14.2, change_sigma=21.4, change_percent=1.4, changed=True, grade="B", reason="level changed by more than 5 sigma"
        )
        if m.kind == "bias"
        else dataclasses.replace(m, certified=False, certification="9 of 10 frames disagree by more than 5 sigma: shutter open?")
        if m.label.startswith("10 s")
        else m
        for m in page.masters
    )
    dim = tuple(
        dataclasses.replace(light, state="degraded", grade="D", reason="no flat in I: step skipped") if light.filter == "I" else light
        for light in page.lights
    )
    balance = tuple(dataclasses.replace(row, done=30, degraded=10) if row.kind == "light" else row for row in page.balance)
    causes = (
        Cause(
            state="failed", cause="registration found 2 matching stars, 3 are needed", count=1, files=("stack SA 112 I",),
            command=f"nightcrew why '{NIGHT} stack SA 112 I'", kind="product",
        ),
        Cause(
            state="degraded", cause="no flat in I: step skipped (grade D)", count=10,
            files=tuple(light.name for light in dim if light.filter == "I"), command="nightcrew why sa112-I-030.fits", kind="light",
            mend="Take flats in I; the lights are redone by themselves.",
        ),
        *page.causes,
    )  # fmt: skip  # read as a table
    section = AnalysisSection(
        title="Photon transfer, sensor 7", status="attention", verdict="full well fell by 6 % since the last irradiation step",
        key_numbers=(
            KeyNumber(name="Gain", value=0.82, unit="e-/DN", error=0.01),
            KeyNumber(name="Full well", value=None, note="no saturated step"),
        ),
        link="../../lab/sensor-7/index.html",
    )  # fmt: skip  # read as a table
    return dataclasses.replace(
        page, calibrations=cells, masters=changed, lights=dim, balance=balance, causes=causes, trends=trends(bad=True), sections=(section,),
        plates=plates(),
        notices=(
            Notice(level="warning", text="The disk was nearly full: writing paused", at="2026-03-14 23:10", command="nightcrew doctor"),
        ),
    )  # fmt: skip  # read as a table


def plates() -> tuple[PlateEntry, ...]:
    """A solver that failed on most."""
    reasons = (
        ("with hints: it found no solution; blind: it found no solution", 16),
        ("the solver was not asked: it used its time box up for 3 lights in a row", 9),
        ("no solution within the time box of 30 s", 3),
    )
    return (PlateEntry(instrument=CAMERA, from_header=10, solved=2, blind=1, failed=28, unsolved=28, rms_arcsec=1.69, reasons=reasons),)


def empty_night() -> NightPage:
    """Nothing came."""
    return NightPage(
        night=NIGHT,
        site="Hill Observatory",
        made_at="2026-03-15T08:00:12",
        timezone="Europe/Vienna",
        folders=FOLDERS,
        last_night_with_files="2026-03-12",
    )


def failed_night() -> NightPage:
    """The run itself broke off after the masters."""
    page = good_night()
    return dataclasses.replace(
        page,
        failed="the process that reduced the lights was killed (out of memory)",
        lights=tuple(
            dataclasses.replace(
                light, state="waiting", grade="", reason="not reduced yet", thumbnail=None, fwhm_px=None, background=None, depth_mag=None
            )
            if light.state == "done"
            else light
            for light in page.lights
        ),
        stacks=(),
        truth=(),
        closed=False,
        balance=(*page.balance[:3], BalanceRow(instrument=CAMERA, kind="light", seen=41, waiting=40, rejected=1), page.balance[4]),
        causes=(
            *CAUSES,
            Cause(state="waiting", cause="not reduced yet", count=40, files=("a.fits",), command=f"nightcrew status {NIGHT}", kind="light"),
        ),
    )


def big_night(count: int = 500) -> NightPage:
    """Hundreds of lights."""
    page = good_night()
    balance = tuple(dataclasses.replace(row, seen=count, done=count, rejected=0) if row.kind == "light" else row for row in page.balance)
    return dataclasses.replace(page, balance=balance, lights=lights(count, distinct=False), causes=CAUSES[1:])

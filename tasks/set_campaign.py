"""Unit of work of irradiation campaigns: frames and logs of one set in; masters, tables, figures and page out."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from nightcrew.errors import Refused, RejectedInput
from nightcrew.irradiation.star_noise import Star
from nightcrew.ledger.rows import Measurement
from reports.summary import Quantity
from tasks.campaign import CampaignRequest, CampaignResult, run_campaign
from tasks.set_units import SetResult, SetUnit

TREND = ("bias_dose_slope", "dark_dose_slope", "alpha", "beta", "dc0", "q", "read_noise", "hot_pixel_growth", "star_limit_loss")
"""Quantities that go into the ledger as measurements of the set."""
_WORK = "work"


def make_analysis(unit: SetUnit) -> SetResult:
    """Analyse the campaign that the set holds now.  Frames that cannot be used are left out by name; RejectedInput when none is left."""
    import dataclasses

    view = unit.out / _WORK / unit.planned.night
    for file in unit.files:
        link = view / PurePosixPath(file.relative)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(Path(unit.path(file)))
    try:
        result = run_campaign(request_of(unit, view))
    except Refused as error:
        raise RejectedInput(str(error)) from error
    finally:
        shutil.rmtree(unit.out / _WORK, ignore_errors=True)
    page = dataclasses.replace(result.page, commands=unit.commands)
    left_out = _left_out(unit, result)
    return SetResult(
        grade=page.summary.grade or "A",
        grade_reasons=page.needs_person[:3] if page.status != "good" else (),
        metrics={q.name: q.value for q in reversed(page.summary.quantities) if q.name in page.key_quantities},
        left_out=left_out,
        measurements=tuple(_measurement(q) for q in page.summary.quantities if q.name in TREND),
        page=page,
    )


def request_of(unit: SetUnit, root: Path) -> CampaignRequest:
    """The request by the configuration's table ``[campaign]``; ``root`` shows the set's files."""

    def number(name: str, default: float) -> float:
        return float(unit.parameters.get(name, default))

    star = Star()
    gain = number("gain_e_per_adu", 0.0)
    return CampaignRequest(
        root=root,
        out=unit.out,
        work=unit.out / _WORK,
        plan=str(unit.parameters.get("plan", "")),
        ignore_temperature=bool(unit.parameters.get("ignore_temperature", False)),
        gain_e_per_adu=gain if gain > 0 else None,
        star=Star(
            magnitude=number("star_magnitude", star.magnitude),
            zero_point_mag=number("zero_point_mag", star.zero_point_mag),
            exposure_s=number("star_exposure_s", star.exposure_s),
            aperture_radius_px=number("aperture_radius_px", star.aperture_radius_px),
            sky_e_per_s=number("sky_e_per_s", star.sky_e_per_s),
        ),
        predict_krad=tuple(float(dose) for dose in unit.parameters.get("predict_krad", ())),
        title=unit.planned.night,
        memory_bytes=unit.memory_bytes // 3,
        threads=unit.threads,
    )


def _left_out(unit: SetUnit, result: CampaignResult) -> dict[str, str]:
    """Reasons by the names of the set's files: a frame made of a raw one goes by the raw one's name."""
    reasons: dict[str, str] = {}
    for part in result.parts:
        reasons |= part.analysis.left_out if part.analysis is not None else part.campaign.left_out
    names = {frame_name(file.relative): file.relative for file in unit.files}
    return {names[name]: reason for name, reason in reasons.items() if name in names}


def frame_name(relative: str) -> str:
    """By what name the analysis knows a file: its attempt's folder and its FITS' name."""
    path = PurePosixPath(relative)
    folder = path.parent.parent if path.parent.name.lower() in ("frames", "fits") else path.parent
    name = f"{path.stem}.fits" if path.suffix.lower() == ".raw" else path.name
    return (folder / name).as_posix()


def _measurement(quantity: Quantity) -> Measurement:
    where: dict[str, Any] = dict(quantity.where)
    return Measurement(
        quantity=quantity.name, value=quantity.value, error=quantity.error, unit=quantity.unit, note=quantity.note, where=where
    )


units: Mapping[str, Callable[[SetUnit], SetResult]] = {"campaign_analysis": make_analysis}

"""Everything that the masters of one campaign say: response, joint model, hot pixels, annealing.  No file is written here."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from nightcrew.irradiation.annealing import Recovered, fit_annealing, recovered_part
from nightcrew.irradiation.discover import Campaign
from nightcrew.irradiation.hits import LEAST_FRAMES, hot_from, unrejected
from nightcrew.irradiation.hot_pixels import HotLimit, exponential_tail, growth, hot_limit, hot_mask, no_tail
from nightcrew.irradiation.joint import JointFit, fit_joint
from nightcrew.irradiation.joint_names import NAMES
from nightcrew.irradiation.least_squares import Fit
from nightcrew.irradiation.masters import Master, read_map
from nightcrew.irradiation.observations import observe
from nightcrew.irradiation.response import (
    NOMINAL,
    Level,
    RateModel,
    chosen,
    dose_model,
    dose_slope,
    exposures,
    rate_model,
    shifts,
)
from nightcrew.irradiation.results import Analysis, Healing, HotCount, HotPixels, Joint, Slope, levels_of

HOT_FALSE = 0.03  # of the hot pixels: where more than these (and one) may be hits, there is no number
HEALS = 4.0  # standard errors of the healed part: above, levels after the beam are not in the joint fit
MOVES = 3.0  # standard errors of a parameter: where frames after the beam move it farther, they are not in the joint fit
DRIFT_C, DRIFT_R = 0.3, 0.8  # range of the temperatures, and their correlation with dose, from which on a slope may be theirs
DOUBLES_C = 6.0  # a dark current doubles every so many Kelvin, usually


def analyse(
    campaign: Campaign,
    masters: Sequence[Master],
    left_out: Mapping[str, str],
    *,
    step_adu: float = 0.0,
    gain_e_per_adu: float | None = None,
    remarks: Sequence[str] = (),
) -> Analysis:
    """Fit everything that the masters determine; what they do not is NaN with a reason."""
    counts: dict[int, list[float]] = {}
    for one in masters:
        counts.setdefault(one.group.temperature_bin, []).extend([one.group.temperature_c] * len(one.group.frames))
    bins = {place: float(np.mean(values)) for place, values in sorted(counts.items())}
    main = max(counts, key=lambda place: (len(counts[place]), -place), default=0)
    in_bin = {place: [one for one in masters if one.group.temperature_bin == place] for place in bins}
    healing = _healing(in_bin.get(main, []))
    joint = {place: _joint(inside, bins[place], _healing(inside), gain_e_per_adu) for place, inside in in_bin.items()}
    levels = levels_of(in_bin.get(main, []))
    slopes = tuple(slope for place, inside in in_bin.items() for slope in _slopes(levels_of(inside), bins[place]))
    doubts = _doubts(masters, slopes)
    return Analysis(
        campaign=campaign,
        masters=tuple(masters),
        bins=bins,
        main_bin=main,
        step_adu=step_adu,
        gain_e_per_adu=gain_e_per_adu,
        slopes=slopes,
        rate_models=tuple(_rate_models(levels)),
        dose_models=tuple(_dose_models(levels)),
        shifts=tuple(shift for kind, exposure in _kinds(levels) for shift in shifts(levels, kind, exposure)),
        joint=joint,
        hot=_hot(in_bin.get(main, [])),
        healing=healing,
        left_out=dict(left_out),
        remarks=(*doubts, *campaign.remarks, *remarks, *(text for one in joint.values() for text in one.remarks)),
        doubts=doubts,
    )


def _doubts(masters: Sequence[Master], slopes: Sequence[Slope]) -> tuple[str, ...]:
    """What makes the numbers less sure than their errors say: nominal doses, biases of another stage, temperatures that follow the dose."""
    found = []
    nominal = sum(one.group.nominal for one in masters)
    if nominal:
        found.append(f"{NOMINAL}, in {nominal} of {len(masters)} groups; their dose rates, and so q and sigma_q, are no better")
    borrowed = [one for one in masters if one.bias is not None and one.bias.group.stage != one.group.stage]
    if borrowed:
        found.append(f"{len(borrowed)} of the darks' masters had a bias of another stage removed")
    carried = [one for one in masters if one.bias is not None and one not in borrowed and one.bias.group.step != one.group.step]
    if carried:
        found.append(f"{len(carried)} of the darks' masters had a bias of another dose removed, carried by the biases' growth")
    found += [
        f"{slope.kind.lower()}{f' {slope.exposure_s:g} s' if slope.kind == 'DARK' else ''}: {slope.warmth}"
        for slope in slopes
        if slope.warmth
    ]
    return tuple(found)


def _kinds(levels: Sequence[Level]) -> list[tuple[str, float]]:
    """(kind, exposure) of all laws: bias as one, darks by exposure."""
    return [(kind, t) for kind in ("BIAS", "DARK") for t in exposures(chosen(levels, kind=kind))]


def _slopes(levels: Sequence[Level], temperature_c: float) -> list[Slope]:
    """Growth per kRad from the frames before and in the beam, where heat has not healed anything."""
    made = []
    for kind, exposure in _kinds(levels):
        used = [one for one in chosen(levels, kind=kind, exposure_s=exposure) if one.stage != "post"]
        value, error, remark = dose_slope(used)
        warmth = warmth_of(used) if math.isfinite(value) else ""
        remark = "; ".join(filter(None, (remark, warmth)))
        made.append(
            Slope(kind=kind, exposure_s=exposure, temperature_c=temperature_c, value=value, error=error, remark=remark, warmth=warmth)
        )
    return made


def warmth_of(levels: Sequence[Level]) -> str:
    """What the temperature may have done to a slope over dose; "" where it does not follow the dose."""
    known = [one for one in levels if math.isfinite(one.temperature_c)]
    dose, warm = (np.array(x) for x in ([one.dose_krad for one in known], [one.temperature_c for one in known]))
    if len(known) < 2 or np.ptp(dose) == 0 or np.ptp(warm) <= DRIFT_C:
        return ""
    r = float(np.corrcoef(dose, warm)[0, 1])
    if not abs(r) > DRIFT_R:
        return ""
    per_krad = float(np.polyfit(dose, warm, 1)[0])
    text = f"the temperature changes by {per_krad:.3g} K/kRad with the dose (over {np.ptp(warm):.2g} K, r = {r:.2f}): "
    if known[0].kind != "DARK":
        return f"{text}a level that changes by 1 adu/K adds {per_krad:.3g} adu/kRad to the slope"
    adds = float(np.mean([one.mean for one in known])) * math.log(2) / DOUBLES_C * per_krad
    return f"{text}a dark current that doubles every {DOUBLES_C:g} K adds {adds:.3g} adu/kRad to the slope"


def _rate_models(levels: Sequence[Level]) -> list[RateModel]:
    """The older suite's laws over dose and rate, from frames in the beam; darks by exposure."""
    made = []
    for kind, exposure in [*_kinds(levels), *([("FLAT", None)] if chosen(levels, kind="FLAT", stage="radiating") else [])]:
        used = [
            one
            for one in chosen(levels, kind=kind, stage="radiating", exposure_s=exposure if kind == "DARK" else None)
            if not math.isnan(one.rate_krad_per_s)
        ]
        made.append(rate_model(used, kind, exposure if kind == "DARK" else None))
    return made


def _dose_models(levels: Sequence[Level]) -> list[tuple[str, float | None, Fit]]:
    """MEAN over dose in all stages; darks by exposure, other kinds pooled."""
    made: list[tuple[str, float | None, Fit]] = []
    for kind in ("BIAS", "DARK", "FLAT"):
        every = chosen(levels, kind=kind)
        for exposure in exposures(every) if kind == "DARK" else [None] if every else []:
            made.append((kind, exposure, dose_model(chosen(levels, kind=kind, exposure_s=exposure))))
    return made


def _healing(masters: Sequence[Master]) -> tuple[Healing, ...]:
    made = []
    after = [one for one in masters if one.group.stage == "post" and one.corrected and math.isfinite(one.group.since_end_s)]
    for kind, exposure in _kinds([one.level() for one in after]):
        used = sorted((one for one in after if _is(one, kind, exposure)), key=lambda one: one.group.since_end_s)
        before = [(one.mean, one.error) for one in masters if one.group.stage == "pre" and one.corrected and _is(one, kind, exposure)]
        t, y, e = (np.array(x) for x in zip(*((one.group.since_end_s, one.mean, one.error) for one in used), strict=True))
        gone = Recovered(math.nan, math.nan, "one visit after the beam, or none before it")
        if before and len(y) > 1:
            gone = recovered_part(before[0], (float(y[0]), float(e[0])), (float(y[-1]), float(e[-1])))
        made.append(
            Healing(
                kind=kind,
                exposure_s=exposure,
                since_s=t,
                level_adu=y,
                error_adu=e,
                fit=fit_annealing(t, y, e),
                recovered=gone.part,
                recovered_error=gone.error,
                recovered_why=gone.why,
            )
        )
    return tuple(made)


def _is(master: Master, kind: str, exposure_s: float) -> bool:
    level = master.level()
    return level.kind == kind and level.exposure_s == exposure_s


def _joint(masters: Sequence[Master], temperature_c: float, healing: Sequence[Healing], gain: float | None) -> Joint:
    remarks = []
    used = [one for one in masters if one.group.kind in ("BIAS", "DARK")]
    unknown = [one for one in used if one.group.kind == "DARK" and math.isnan(one.group.rate_krad_per_s)]
    if unknown:
        remarks.append(f"{len(unknown)} groups of darks have no dose rate and are not in the joint fit")
    heals = any(abs(one.fit.healed) > HEALS * one.fit.healed_error for one in healing if not one.fit.why)
    if heals:
        remarks.append("levels change after the beam, so the frames after it are not in the joint fit")
    used = [one for one in used if one not in unknown and not (heals and one.group.stage == "post")]
    if not used:
        return Joint(temperature_c=temperature_c, fit=None, observations=None, masters=(), remarks=tuple(remarks))
    data = observe(used)
    fit = fit_joint(data, gain_e_per_adu=gain)
    quiet = [one for one in used if one.group.stage != "post"]
    if len(quiet) < len(used) and any(one.group.stage == "radiating" for one in quiet):
        other = fit_joint(without := observe(quiet), gain_e_per_adu=gain)
        moved = _moved(fit, other)
        if moved:
            remarks.append(f"frames after the beam move {', '.join(moved)} by more than {MOVES:g} errors, so they are not in the joint fit")
            used, data, fit = quiet, without, other
    return Joint(
        temperature_c=temperature_c,
        fit=fit,
        observations=data,
        masters=tuple(used),
        remarks=tuple(remarks),
    )


def _moved(fit: JointFit, other: JointFit) -> list[str]:
    """Parameters that two fits tell apart by more than ``MOVES`` errors of the second, of those that both determine."""
    return [name for name in NAMES if abs(fit.values[name] - other.values[name]) > MOVES * other.errors[name]]


def _hot(masters: Sequence[Master]) -> HotPixels:
    """Darks of the longest exposure by one limit, from the first of them (before the beam where there is such a dark)."""
    darks = [one for one in masters if one.group.kind == "DARK" and one.corrected]
    if not darks:
        return HotPixels(limit=None, exposure_s=math.nan, counts=(), growth=None, why="no dark without its bias")
    longest = max(one.group.exposure_s for one in darks)
    used = [one for one in darks if one.group.exposure_s == longest]
    used.sort(key=lambda one: (one.group.stage == "post", one.group.dose_krad, one.group.visit))
    several = [one for one in used if len(one.group.frames) >= LEAST_FRAMES]
    if not several:
        most = max(len(one.group.frames) for one in used)
        why = f"the darks of {longest:g} s are {most} frames at most, from which hits cannot be told; {LEAST_FRAMES} are needed"
        return HotPixels(limit=None, exposure_s=longest, counts=(), growth=None, why=why)
    noise = max(math.sqrt(one.stack.variance / len(one.group.frames)) if one.stack.variance >= 0 else 0.0 for one in several)
    limit = hot_limit(read_map(several[0].path), noise_adu=noise)
    counts = tuple(_hot_count(one, limit) for one in used)
    during = [one for one in counts if one.stage != "post" and not one.why]
    return HotPixels(
        limit=limit,
        exposure_s=longest,
        counts=counts,
        growth=growth([one.dose_krad for one in during], [one.count or 0 for one in during]) if during else None,
    )


def _hot_count(one: Master, limit: HotLimit) -> HotCount:
    """Hot pixels of a master; undetermined where its hits cannot be told from hot pixels."""
    n, pixels = len(one.group.frames), one.stack.shape[0] * one.stack.shape[1]
    dose = one.group.doses[hot_from(n)].dose_krad
    if n < LEAST_FRAMES:
        why = f"{n} {'frame' if n == 1 else 'frames'}: hits cannot be told from hot pixels, {LEAST_FRAMES} are needed"
        return HotCount(stage=one.group.stage, dose_krad=dose, count=None, tail=no_tail(why), master=one, why=why)
    image = read_map(one.path)
    count = int(hot_mask(image, limit).sum())
    falsely = pixels * unrejected(n, one.stack.hits)
    why = ""
    if falsely > max(1.0, HOT_FALSE * count):
        why = f"of {count} some {falsely:.3g} are pixels with hits in each of their last {n - hot_from(n)} frames"
    tail = exponential_tail(image, limit.excess_adu) if not why else no_tail(why)
    return HotCount(stage=one.group.stage, dose_krad=dose, count=None if why else count, tail=tail, master=one, why=why)

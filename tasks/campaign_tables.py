"""Tables of a whole campaign: its groups, its frames with their doses, statistics of frames, hot pixels, annealing."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from nightcrew.irradiation.frames import in_time_order
from nightcrew.irradiation.hot_pixels import hot_mask
from nightcrew.irradiation.masters import Master, read_map
from nightcrew.irradiation.results import Analysis, HotPixels
from reports.campaign_plots import Axis, Series, curve_png, map_png, stage_series
from tasks.campaign_files import Tree

FRAME_INFO = (
    "PATH",
    "CALTYPE",
    "STAGE",
    "FRAME",
    "TIMESTAMP",
    "EXPTIME",
    "DOSE",
    "DOSE_RATE",
    "DOSE_ERROR",
    "DOSE_SOURCE",
    "SINCE_END",
    "REMARKS",
)
FRAME_STATS = ("PATH", "CALTYPE", "TEMP", "EXPTIME", "MEAN", "MEDIAN", "STD", "P16", "P84", "STAGE", "DOSE")


def write_frame_info(tree: Tree, analysis: Analysis) -> None:
    """``frame_info.csv``: every frame with its dose, its source and its error, or why it has none."""
    rows = []
    for frame in in_time_order(analysis.campaign.frames):
        dose = analysis.campaign.doses[frame.relative]
        remarks = [*dose.remarks, *([analysis.left_out[frame.relative]] if frame.relative in analysis.left_out else [])]
        rows.append(
            {
                "PATH": frame.relative,
                "CALTYPE": frame.kind,
                "STAGE": dose.stage,
                "FRAME": frame.number,
                "TIMESTAMP": None if frame.time_s is None else repr(frame.time_s),
                "EXPTIME": frame.exposure_s,
                "DOSE": dose.dose_krad,
                "DOSE_RATE": dose.rate_krad_per_s,
                "DOSE_ERROR": dose.error_krad,
                "DOSE_SOURCE": dose.source,
                "SINCE_END": dose.since_end_s,
                "REMARKS": "; ".join(remarks),
            }
        )
    tree.table("frame_info.csv", FRAME_INFO, rows, "every frame with its dose and where that is from")
    left = [{"PATH": name, "REASON": reason} for name, reason in sorted(analysis.left_out.items())]
    tree.table("left_out.csv", ("PATH", "REASON"), left, "frames that are in no master, with the reason")


def write_frame_stats(tree: Tree, analysis: Analysis) -> None:
    """``frame_stats.csv``: exact numbers of every frame, as stored."""
    rows = [
        {
            "PATH": frame.relative,
            "CALTYPE": frame.kind,
            "TEMP": frame.temperature_c,
            "EXPTIME": frame.exposure_s,
            "MEAN": numbers.mean,
            "MEDIAN": numbers.median,
            "STD": numbers.std,
            "P16": numbers.p16,
            "P84": numbers.p84,
            "STAGE": one.group.stage,
            "DOSE": dose.dose_krad,
        }
        for one in analysis.masters
        for frame, numbers, dose in zip(one.group.frames, one.stack.numbers, one.group.doses, strict=True)
    ]
    tree.table("frame_stats.csv", FRAME_STATS, rows, "statistics of every frame")


def write_log(tree: Tree, analysis: Analysis) -> None:
    """``radiationLogCompleto.csv`` made from what is known (in OUT; a log in the campaign's folder is never touched)."""
    rows = []
    for number, frame in enumerate(
        in_time_order([f for f in analysis.campaign.frames if analysis.campaign.doses[f.relative].stage == "radiating"])
    ):
        dose = analysis.campaign.doses[frame.relative]
        time = None if frame.time_s is None else repr(frame.time_s)
        rows.append({"FrameNum": number, "TimeStamp": time, "Dose": dose.dose_krad, "Path": frame.relative})
    tree.table(
        "radiationLogCompleto.csv", ("FrameNum", "TimeStamp", "Dose", "Path"), rows, "dose of every frame in the beam, in the order of time"
    )


def write_campaign_table(tree: Tree, analysis: Analysis) -> None:
    """``campaign.ecsv``: a row a group, with units."""
    import io

    from astropy.table import Table

    rows = [_group_row(one) for one in analysis.masters]
    table = Table(rows=rows, names=list(_UNITS)) if rows else Table(names=list(_UNITS))
    for name, (unit, about) in _UNITS.items():
        table[name].unit = unit or None
        table[name].description = about
    text = io.StringIO()
    table.write(text, format="ascii.ecsv")
    tree.text("campaign.ecsv", text.getvalue(), "a row a group of frames: what was measured")


_UNITS = {
    "kind": ("", "BIAS, DARK or FLAT"),
    "stage": ("", "pre, radiating or post"),
    "dose": ("krad", "mean dose of the frames"),
    "dose_error": ("krad", "error of the dose"),
    "dose_source": ("", "where the dose is from"),
    "dose_rate": ("krad/s", "dose rate while the frames were taken"),
    "temperature": ("deg_C", "mean temperature"),
    "exposure": ("s", "exposure of a frame"),
    "since_end": ("s", "time since the end of the beam"),
    "frames": ("", "number of frames"),
    "mean": ("adu", "level: hits taken out, darks without bias, late_hot included"),
    "mean_error": ("adu", "its standard error"),
    "late_hot": ("adu", "estimated part of pixels that became hot in the last frames, which the master holds as hits"),
    "median": ("adu", "median of the master"),
    "std": ("adu", "population standard deviation over pixels and frames"),
    "raw_mean": ("adu", "mean of the frames as stored, hits included"),
    "noise": ("adu", "temporal noise of a pixel in a frame, hits included"),
    "noise_error": ("adu", "its standard error"),
    "noise_without_hits": ("adu", "the same without hits"),
    "hits": ("", "values taken out, a pixel and frame"),
    "bias_removed": ("", "whether a dark's bias was removed (others: False)"),
    "file": ("", "the master"),
}


def _group_row(one: Master) -> tuple[object, ...]:
    group, level = one.group, one.level()
    sources = sorted({dose.source for dose in group.doses})
    return (
        group.kind,
        group.stage,
        group.dose_krad,
        group.dose_error_krad,
        "+".join(sources),
        group.rate_krad_per_s,
        group.temperature_c,
        group.exposure_s,
        group.since_end_s,
        len(group.frames),
        level.mean,
        level.mean_error,
        one.stack.late_hot_adu,
        one.median,
        one.std,
        one.stack.raw_mean,
        level.noise,
        level.noise_error,
        math.sqrt(one.stack.variance) if one.stack.variance >= 0 else math.nan,
        one.stack.hits,
        one.bias is not None,
        f"masters/{one.path.name}",
    )


def write_damage(tree: Tree, analysis: Analysis) -> list[str]:
    """``damage/``: hot pixels by dose, tails of the dark signal, annealing; sentences on what there is not."""
    absent = _write_hot(tree, analysis.hot)
    absent += _write_healing(tree, analysis)
    return absent


def _write_hot(tree: Tree, hot: HotPixels) -> list[str]:
    if hot.limit is None or not hot.counts:
        return [f"No hot pixels were counted: {hot.why}."]
    limit = hot.limit.excess_adu
    rows = [
        {
            "STAGE": one.stage,
            "DOSE": one.dose_krad,
            "HOT_PIXELS": one.count,
            "LIMIT": limit,
            "TAIL": one.tail.scale_adu,
            "TAIL_ERROR": one.tail.scale_error_adu,
            "TAIL_PIXELS": one.tail.n,
            "TAIL_PROBABILITY": one.tail.probability,
            "FRAMES": len(one.master.group.frames),
            "WHY": one.why,
        }
        for one in hot.counts
    ]
    tree.table("damage/hot_pixels.csv", tuple(rows[0]), rows, "hot pixels and the tail of the dark signal by dose")
    counted = [(one, one.count) for one in hot.counts if one.count is not None]
    series = stage_series((one.stage, one.dose_krad, float(n), math.sqrt(max(n, 1))) for one, n in counted)
    found = hot.growth
    if found is not None and not found.why:
        at = np.array([min(o.dose_krad for o in hot.counts), max(o.dose_krad for o in hot.counts)])
        series.append(
            Series(label=f"{found.per_krad:.4g} per kRad", x=at, y=found.before + found.per_krad * at, line=True, colour="#555555")
        )
    title = f"pixels more than {limit:.4g} adu above the median in {hot.exposure_s:g} s"
    tree.bytes(
        "damage/hot_pixels.png", curve_png(series, Axis(label="dose / kRad"), Axis(label="hot pixels"), title), "growth of hot pixels"
    )
    tree.arrays(
        "damage/hot_pixels.npz",
        "the plotted numbers",
        dose=[one.dose_krad for one, _ in counted],
        count=[n for _, n in counted],
        per_krad=found.per_krad if found else math.nan,
        before=found.before if found else math.nan,
    )
    _write_histogram(tree, hot)
    last = max(hot.counts, key=lambda one: (one.dose_krad, one.stage == "post"))
    image = read_map(last.master.path)
    tree.bytes(
        "damage/hot_map.png",
        map_png(image, f"dark {hot.exposure_s:g} s at {last.dose_krad:.4g} kRad, {last.stage}", "adu"),
        "dark at the end",
    )
    tree.arrays("damage/hot_map.npz", "the map", map=image)
    tree.image("damage/hot_mask.fits", hot_mask(image, hot.limit).astype(np.uint8), "hot pixels at the end", unit="")
    return [f"No number of hot pixels, {one.stage} {one.dose_krad:.4g} kRad: {one.why}." for one in hot.counts if one.why]


def _write_histogram(tree: Tree, hot: HotPixels) -> None:
    """How many pixels stand how far above the median of the dark, one curve a dose."""
    shown: list[Series] = []
    arrays: dict[str, object] = {}
    images = (_excess(read_map(one.master.path)) for one in hot.counts)  # one at a time: memory does not grow with the doses
    top = max(float(image[max(-3, -image.size)]) for image in images)
    edges = np.linspace(-0.05 * top, max(top, 1.0), 80)
    for one in hot.counts:
        image = _excess(read_map(one.master.path))
        counts = image.size - np.searchsorted(image, edges)
        label = f"{one.dose_krad:.4g} kRad {one.stage}" + (f" visit {one.master.group.visit}" if one.master.group.visit else "")
        shown.append(Series(label=label, x=edges, y=np.where(counts > 0, counts, np.nan), line=True))
        arrays[f"above_{len(shown) - 1}"] = counts
    picture = curve_png(
        shown[:6],
        Axis(label="dark signal above the median / adu"),
        Axis(label="pixels above that", scale="log"),
        "distribution of the dark signal",
    )
    tree.bytes("damage/dark_distribution.png", picture, "distribution of the dark signal by dose")
    doses = [one.dose_krad for one in hot.counts]
    tree.arrays("damage/dark_distribution.npz", "the plotted numbers", edges=edges, dose=doses, **arrays)


def _excess(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Sorted finite values above the median."""
    values = np.sort(image[np.isfinite(image)], axis=None)
    return np.asarray(values - np.median(values), dtype=np.float32)


def _write_healing(tree: Tree, analysis: Analysis) -> list[str]:
    if not analysis.healing:
        return ["Nothing is known of annealing: no frame after the beam has a time since its end."]
    rows: list[dict[str, object]] = []
    absent: list[str] = []
    for one in analysis.healing:
        name = f"{one.kind.lower()}{f' {one.exposure_s:g} s' if one.kind == 'DARK' else ''}"
        if one.fit.why:
            absent.append(f"Annealing of {name}: {one.fit.why}.")
        rows += [
            {
                "CALTYPE": one.kind,
                "EXPTIME": one.exposure_s if one.kind == "DARK" else None,
                "SINCE_END": t,
                "MEAN": y,
                "MEAN_ERROR": e,
                "TIME_CONSTANT": one.fit.time_constant_s,
                "TIME_CONSTANT_ERROR": one.fit.time_constant_error_s,
                "RECOVERED": one.recovered,
            }
            for t, y, e in zip(one.since_s.tolist(), one.level_adu.tolist(), one.error_adu.tolist(), strict=True)
        ]
    tree.table("damage/annealing.csv", tuple(rows[0]), rows, "levels after the beam")
    longest = max(analysis.healing, key=lambda one: (one.kind == "DARK", one.exposure_s))
    if len(longest.since_s) < 2:
        return absent
    series = [
        Series(label=f"{longest.kind.lower()} {longest.exposure_s:g} s", x=longest.since_s, y=longest.level_adu, error=longest.error_adu)
    ]
    if not longest.fit.why:
        at = np.linspace(0, float(longest.since_s.max()), 60)
        series.append(Series(label=f"time constant {longest.fit.time_constant_s:.4g} s", x=at, y=longest.fit.level(at), line=True))
    picture = curve_png(series, Axis(label="time since the end of the beam / s"), Axis(label="level / adu"), "after the beam")
    tree.bytes("damage/annealing.png", picture, "levels after the beam")
    arrays = {"since": longest.since_s, "level": longest.level_adu, "error": longest.error_adu}
    tree.arrays("damage/annealing.npz", "the plotted numbers", **arrays)
    return absent

"""Files of operation sequences: series as tables, maps, films."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from nightcrew.errors import NightcrewError, RejectedInput
from nightcrew.irradiation.discover import Campaign
from nightcrew.irradiation.dose import Logs
from nightcrew.irradiation.dose_log import DoseLog, read_dose_log
from nightcrew.irradiation.operation import Operation, analyse_sequence, sequences
from nightcrew.irradiation.stacks import stored_step
from reports.campaign_page import sequence_folder
from reports.campaign_plots import Axis, Series, curve_png, film_frames, gif, map_png, panels_png
from reports.stretch import display_range
from tasks.campaign_files import Tree
from tasks.films import FilmMaker

POWER_LOG = "powerlog.csv"


def write_operation(tree: Tree, campaign: Campaign, folder: str, memory_bytes: int) -> tuple[list[Operation], list[str]]:
    """All sequences of a campaign below ``folder``; sentences on what there is not."""
    made, absent, films = [], [], FilmMaker()
    for name, frames in sequences(campaign.operation).items():
        logs = Logs(whole=campaign.logs.whole, by_folder={key: log for key, log in campaign.logs.by_folder.items() if key == name})
        root = Path(str(campaign.root))
        try:
            found = analyse_sequence(
                name,
                frames,
                logs,
                power=_power(root, name, campaign.name),
                step_adu=stored_step([frame.path for frame in frames]),
                memory_bytes=memory_bytes,
            )
        except RejectedInput as error:
            absent.append(str(error))
            continue
        _write_sequence(tree, f"{folder}{sequence_folder(name, campaign.name)}/", found, absent, films)
        made.append(found)
    return made, [*absent, *films.told()]


def _power(root: Path, folder: str, campaign: str) -> DoseLog | None:
    """The folder's power log, if there is one that can be read."""
    inside = folder.removeprefix(f"{campaign}/") if campaign else folder
    place = root / inside
    found = next((path for path in sorted(place.iterdir()) if path.name.lower() == POWER_LOG), None) if place.is_dir() else None
    if found is None:
        return None
    try:
        return read_dose_log(found)
    except NightcrewError:
        return None


def _write_sequence(tree: Tree, place: str, found: Operation, absent: list[str], films: FilmMaker) -> None:
    series = found.series
    _write_tables(tree, place, found)
    limits = display_range(found.mean) or (0.0, 1.0)
    frames, hits = film_frames(list(found.small), limits), film_frames(list(found.small_outliers), (0.0, 1.0))
    for name, pictures in (("frames", frames), ("outliers", hits)):
        tree.bytes(f"{place}{name}.gif", gif(pictures), "film")
        film = films.film(pictures)
        if film is not None:
            tree.bytes(f"{place}{name}.mp4", film, "film")
    tree.bytes(f"{place}cumulative_outliers.png", map_png(found.cumulative, "frames in which a pixel stood out", "", limits=(0, 3)), "map")
    tree.arrays(f"{place}cumulative_outliers.npz", "the map", frames=found.cumulative)
    tree.image(f"{place}cumulative_outliers.fits", (found.cumulative > 0).astype(np.uint8), "pixels that stood out in any frame", unit="")
    tree.image(f"{place}persistent_outliers.fits", found.persistent.astype(np.uint8), "pixels that stayed high to the end", unit="")
    level = [one.mean for one in series.numbers]
    scatter = [one.std for one in series.numbers]
    intensity = [Series(label="mean, bars = std", x=series.time_s, y=level, error=scatter)]
    tree.bytes(
        f"{place}intensity_stats.png", curve_png(intensity, Axis(label="time / s"), Axis(label="level / adu"), found.name), "level in time"
    )
    tree.arrays(f"{place}intensity_stats.npz", "the plotted numbers", time=series.time_s, mean=level, std=scatter)
    _write_metrics(tree, place, found)
    _write_correlation(tree, place, found)
    strip = np.concatenate([found.first, found.mean, found.last], axis=1)
    tree.bytes(f"{place}first_last.png", map_png(strip, "first, mean, last", "adu"), "first, mean and last frame")
    tree.arrays(f"{place}first_last.npz", "the three images", first=found.first, mean=found.mean, last=found.last)
    absent += [f"{found.name}: {text}." for text in (*found.remarks, *([found.why] if found.why else []))]
    if found.correlation.why:
        absent.append(f"{found.name}: outliers and dose rate cannot be compared ({found.correlation.why}).")


def _write_tables(tree: Tree, place: str, found: Operation) -> None:
    series = found.series
    names = sorted(series.others)
    rows = [
        {
            "PATH": frame.relative,
            "FRAME": frame.number,
            "TIME": series.time_s[i],
            "DOSE": series.dose_krad[i],
            "DOSE_RATE": series.rate_krad_per_s[i],
            "OUTLIERS": int(series.outliers[i]),
            "MEAN": series.numbers[i].mean,
            "STD": series.numbers[i].std,
            "MEDIAN": series.numbers[i].median,
            **{name.upper(): float(series.others[name][i]) for name in names},
        }
        for i, frame in enumerate(series.frames)
    ]
    columns = ("PATH", "FRAME", "TIME", "DOSE", "DOSE_RATE", "OUTLIERS", "MEAN", "STD", "MEDIAN", *(name.upper() for name in names))
    tree.table(f"{place}series.csv", columns, rows, "every frame")
    tree.arrays(
        f"{place}maps.npz",
        "maps of the sequence",
        cumulative=found.cumulative,
        persistent=found.persistent,
        transient=(found.cumulative > 0) & ~found.persistent,
    )
    tree.json(
        f"{place}operation.json",
        {
            "frames": len(series.frames),
            "outliers": int(series.outliers.sum()),
            "expected_false": found.expected_false,
            "false_alarm_rate": found.false_alarm,
            "persistent_pixels": int(found.persistent.sum()),
            "transient_pixels": int(((found.cumulative > 0) & ~found.persistent).sum()),
            "pearson_r": found.correlation.r if np.isfinite(found.correlation.r) else None,
            "why": found.why or found.correlation.why,
            "beside": {
                name: {"pearson_r": law.r if np.isfinite(law.r) else None, "why": law.why} for name, law in sorted(found.beside.items())
            },
        },
        "numbers of the sequence",
    )


_SHOWN = {
    "current_a": ("current / A", 1.0),
    "voltage_v": ("voltage / V", 1.0),
    "temperature_c": ("temperature / C", 1.0),
    "power_w": ("power / W", 1.0),
}


def _write_metrics(tree: Tree, place: str, found: Operation) -> None:
    series = found.series
    panels = [([Series(label="outliers", x=series.time_s, y=series.outliers.astype(float))], Axis(label="outliers"))]
    if np.isfinite(series.dose_krad).any():
        panels.append(([Series(label="dose", x=series.time_s, y=series.dose_krad, line=True)], Axis(label="dose / kRad")))
    if np.isfinite(series.rate_krad_per_s).any():
        panels.append(([Series(label="rate", x=series.time_s, y=series.rate_krad_per_s, line=True)], Axis(label="rate / kRad/s")))
    for name in sorted(series.others):
        label = _SHOWN.get(name, (name, 1.0))[0]
        panels.append(([Series(label=name, x=series.time_s, y=series.others[name], line=True)], Axis(label=label)))
    plotted = {axis.label.split(" / ", maxsplit=1)[0].replace(" ", "_"): one[0].y for one, axis in panels}
    tree.arrays(f"{place}metrics.npz", "the plotted numbers", time=series.time_s, **plotted)
    tree.bytes(
        f"{place}metrics.png", panels_png(panels, Axis(label="time from the first frame / s"), found.name), "courses of the sequence"
    )


def _write_correlation(tree: Tree, place: str, found: Operation) -> None:
    series, law = found.series, found.correlation
    x = series.dose_krad if np.isfinite(series.dose_krad).any() else series.time_s
    label = Axis(label="dose / kRad" if x is series.dose_krad else "time / s")
    shown = [Series(label="frames", x=x, y=series.outliers.astype(float), error=np.sqrt(np.maximum(series.outliers, 1)))]
    if np.isfinite(series.rate_krad_per_s).any():
        model = law.predict(np.nan_to_num(series.rate_krad_per_s))
    else:
        model = np.full(len(x), law.constant)
    shown.append(Series(label="expected by dose rate" if not law.why else "mean", x=x, y=model, line=True))
    title = f"outliers of each frame, r = {law.r:.2f}" if np.isfinite(law.r) else "outliers of each frame"
    tree.bytes(f"{place}rad_vs_outliers.png", curve_png(shown, label, Axis(label="outliers"), title), "outliers against the beam")
    tree.arrays(
        f"{place}rad_vs_outliers.npz",
        "the plotted numbers",
        x=x,
        outliers=series.outliers,
        model=model,
        rate=series.rate_krad_per_s,
        dose=series.dose_krad,
        time=series.time_s,
    )

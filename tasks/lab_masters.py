"""Masters, statistics and their figures of a laboratory campaign, written under the names that the laboratory knows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from nightcrew.io.images import read_image
from nightcrew.lab.frame_stats import FrameStats, stats_of_frames, write_frame_stats
from nightcrew.lab.groups import GAP_K, Group, group_frames, name_parts, texts
from nightcrew.lab.masters import make_masters, plane
from nightcrew.lab.records import LabFrame
from nightcrew.lab.results import MastersMade
from reports import lab_figures as draw
from reports.lab_figures import Course

STATISTICS = ("mean", "median", "std")


def masters_and_stats(
    frames: Sequence[LabFrame], out: Path, *, gap_k: float = GAP_K, threads: int = 2, figures: bool = True
) -> MastersMade:
    """``masters/``, ``frame_stats.csv``, ``plots/`` and ``comparisons/`` below ``out``."""
    used = [frame for frame in frames if not frame.bad and frame.caltype]
    stats = stats_of_frames(used, threads=threads)
    write_frame_stats(out / "frame_stats.csv", used, stats)
    masters, warnings = make_masters(used, out, gap_k=gap_k)
    made = MastersMade(frames=used, stats=stats, masters=masters, warnings=warnings)
    if figures:
        _trends(made, out / "plots", gap_k)
        _comparisons(made, out / "comparisons")
    return made


def _trends(made: MastersMade, out: Path, gap_k: float) -> None:
    by_path = made.stats_by_path()
    bias = [frame for frame in made.frames if frame.caltype == "BIAS" and frame.temperature_c is not None]
    for name in STATISTICS if bias else ():
        x = [float(frame.temperature_c or 0) for frame in bias]
        y = [float(getattr(by_path[frame.path], name)) for frame in bias]
        png = draw.courses(f"Bias frames: {name}", "temperature / C", f"{name} / adu", [Course(label="frames", x=x, y=y, joined=False)])
        draw.put(out / f"bias_{name}_vs_temp.png", png, {"temperature_c": x, f"{name}_adu": y})
    for kind in ("DARK", "FLAT"):
        frames = [f for f in made.frames if f.caltype == kind and f.temperature_c is not None and f.exposure_s is not None]
        _trends_of_exposure(kind, frames, by_path, out, gap_k)


def _trends_of_exposure(kind: str, frames: list[LabFrame], by_path: dict[Path, FrameStats], out: Path, gap_k: float) -> None:
    """One figure a temperature (and stage, dose, filter), statistics against exposure."""
    merged: dict[tuple[str, float | None], list[Group]] = {}
    for group in group_frames(frames, gap_k=gap_k):
        merged.setdefault((name_parts(group), group.cluster_c), []).append(group)
    text = texts([t for _, t in merged], 1)
    for (start, t), some in merged.items():
        chosen = [frame for group in some for frame in group.frames]
        x = [float(frame.exposure_s or 0) for frame in chosen]
        for name in STATISTICS:
            y = [float(getattr(by_path[frame.path], name)) for frame in chosen]
            title = f"{kind.title()}s at {text[t]} C: {name}"
            png = draw.courses(title, "exposure / s", f"{name} / adu", [Course(label="frames", x=x, y=y, joined=False)])
            draw.put(out / f"{kind.lower()}_{start}{name}_T{text[t]}.png", png, {"exposure_s": x, f"{name}_adu": y})


def _comparisons(made: MastersMade, out: Path) -> None:
    """Each master beside the frame of its group with the largest scatter, in the master's grey scale (5 to 95 %)."""
    by_path = made.stats_by_path()
    for master in made.masters:
        odd = max(master.group.frames, key=lambda frame: (by_path[frame.path].std, str(frame.path)))
        mean, frame = plane(master), np.asarray(read_image(odd.path), np.float32)
        range_ = draw.limits(mean, 5, 95)
        shift = master.median - float(np.nanmedian(frame)) if master.bias_c is not None else 0.0  # a dark frame still has its bias
        panels = [
            ("master", "adu", mean),
            (f"{odd.path.name} (largest scatter)" + (", shifted" if shift else ""), "adu", frame + np.float32(shift)),
        ]
        png = draw.maps(panels, ranges={0: range_, 1: range_}, colours="gray")
        stem = master.name.removeprefix("master_")
        arrays = {"master": draw.thinned(mean), "frame": draw.thinned(frame + np.float32(shift))}
        draw.put(out / f"{stem}.png", png, {"frame": [odd.path.name], "std_adu": [by_path[odd.path].std]}, arrays)

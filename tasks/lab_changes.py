"""New structures and degradation in the flats of a campaign: tables, maps and figures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from nightcrew.detector.clusters import clusters
from nightcrew.detector.set_up import short_names
from nightcrew.detector.stack import F4
from nightcrew.errors import RejectedInput
from nightcrew.io.images import read_image
from nightcrew.io.products import write_image_product
from nightcrew.lab.changes import (
    IGNORE_TEMPERATURE,
    MOST_LISTED,
    MOST_SATURATED,
    SATURATED_SHARE,
    Hits,
    class_counts,
    classify,
    difference,
    in_time,
)
from nightcrew.lab.flats import UNSCALED, DarkShelf, choose_dark, find_darks, level_of, unscaled_sentence
from nightcrew.lab.groups import safe, texts
from nightcrew.lab.options import LabOptions
from nightcrew.lab.records import LabFrame, good
from nightcrew.lab.results import ChangesMade, Seen
from nightcrew.lab.saturation import by_set_up
from nightcrew.lab.tables import write_table
from reports import lab_figures as draw
from reports.lab_figures import Course
from tasks.lab_bias import suspicious
from tasks.lab_flats import stem_of

FLATS = ("analysis_type", "approx_temp", "file_path", "time_header", "n_outliers", "std_diff", "mean_flat", "std_flat", "filter")
OUTLIERS = ("analysis_type", "pixel", "num_occurrences", "temp_labels", "times", "classification")
STRUCTURES = ("TEMP", "TIMESTAMP", "PATH", "COUNT", "STD", "LEVEL", "REFERENCE", "FILTER")


class _Flats:
    """Flats made comparable: dark subtracted where one fits, brought to their robust mean."""

    def __init__(self, frames: Sequence[LabFrame], options: LabOptions) -> None:
        self._no_dark = False
        self._unscaled: set[Path] = set()
        self.options = options
        self._most_adu = {set_up: SATURATED_SHARE * adu for set_up, adu in by_set_up(options, frames).items()}
        self.flats = in_time(f for f in good(frames, "FLAT") if f.temperature_c is not None)
        self._shelf = DarkShelf(find_darks(frames) if options.reduce else [], gap_k=options.gap_k, biases=good(frames, "BIAS"))
        if not self.flats:
            raise RejectedInput("there is no usable flat with a temperature")

    def read(self, flat: LabFrame) -> tuple[F4, float, bool]:
        """The normalised flat [y, x], its level (adu), whether a dark was subtracted; RejectedInput when it is saturated or empty."""
        pixels: F4 = read_image(flat.path).astype(np.float32)
        most_adu = self._most_adu[flat.set_up]
        saturated = pixels >= most_adu
        if float(saturated.mean()) > MOST_SATURATED:
            raise RejectedInput(f"{flat.path.name}: {100 * float(saturated.mean()):.2g} % of its pixels are at {most_adu:.6g} adu or above")
        choice = choose_dark(flat, self._shelf.groups)
        dark, scaling = (None, UNSCALED) if choice is None else self._shelf.dark(choice, flat.exposure_s)
        if dark is not None and dark.shape == pixels.shape:
            pixels -= dark
            self._unscaled |= {flat.path} if scaling == UNSCALED else set()
        else:
            self._no_dark = self._no_dark or self.options.reduce
        pixels[saturated] = np.nan
        level = level_of(pixels, "robust")
        pixels /= np.float32(level)
        return pixels, level, dark is not None

    @property
    def warnings(self) -> list[str]:
        """What was wrong with the flats that were read."""
        absent = ["some flats have no dark that fits: their bias stays in, which hides changes"] if self._no_dark else []
        unscaled = unscaled_sentence(len(self._unscaled), len(self.flats))
        return [*absent, *([unscaled] if unscaled else [])]

    def by_kind(self) -> list[tuple[str, list[LabFrame]]]:
        """Flats that may be compared: of one filter and set-up, in time, with a word for them ("" where there is but one kind)."""
        short = short_names(flat.set_up for flat in self.flats)
        words = [" ".join(filter(None, (flat.filter, short[flat.set_up]))) for flat in self.flats]
        return [(word, [flat for flat, own in zip(self.flats, words, strict=True) if own == word]) for word in sorted(set(words))]

    def by_temperature(self) -> list[tuple[str, str, list[LabFrame]]]:
        """Flats of each kind and cluster of temperature, in time, with their kind and the label of the temperature."""
        groups = clusters([float(f.temperature_c or 0) for f in self.flats], gap_k=self.options.gap_k)
        means = [float(np.mean([self.flats[i].temperature_c or 0 for i in group])) for group in groups]
        text = texts(means, 1)
        label = {self.flats[i].path: text[mean] for mean, group in zip(means, groups, strict=True) for i in group}
        found = []
        for kind, some in self.by_kind():
            found += [(kind, text[mean], chosen) for mean in means if (chosen := [flat for flat in some if label[flat.path] == text[mean]])]
        return found


def _against_first(
    flats: _Flats,
    kind: str,
    label: str,
    some: Sequence[LabFrame],
    made: ChangesMade,
    each: Callable[[LabFrame, F4, F4, bool], None] | None,
    hits: Hits,
) -> None:
    """Compare flats of one label with their first one."""
    reference: F4 | None = None
    first = ""
    for flat in some:
        try:
            pixels, level, reduced = flats.read(flat)
        except RejectedInput as error:
            if str(error) not in made.warnings:
                made.warnings.append(str(error))
            continue
        std = float(np.nanstd(pixels))
        if reference is None:
            reference, first = pixels, flat.path.name
            made.seen.append(Seen(frame=flat, label=label, level=level, std=std, outliers=0, scatter=0.0, reference=first, kind=kind))
            continue
        if pixels.shape != reference.shape:
            made.warnings.append(f"{flat.path.name}: has another size than {first} and was not compared")
            continue
        found = difference(pixels, reference)
        hits.add(label, flat.timestamp_s, found.outliers)
        made.seen.append(
            Seen(
                frame=flat,
                label=label,
                level=level,
                std=std,
                outliers=found.outliers.size,
                scatter=found.scatter,
                reference=first,
                kind=kind,
            )
        )
        if each:
            each(flat, pixels, found.map, reduced)


def structure_step(frames: Sequence[LabFrame], out: Path, options: LabOptions) -> ChangesMade:
    """New structures against the first flat of each temperature: table, maps of how often a pixel was new, level against time and T."""
    suspicious(frames, "BIAS", out, "suspicious_bias.log")
    flats, made, hits = _Flats(frames, options), ChangesMade(), Hits()
    shape = (0, 0)
    for kind, label, some in flats.by_temperature():
        own = Hits()
        _against_first(flats, kind, label, some, made, None, own)
        hits.rows += own.rows
        shape = (some[0].ny, some[0].nx) if some[0].ny else read_image(some[0].path).shape
        if own.rows:
            total, _ = own.counts(shape[0] * shape[1])
            tail = f"{safe(kind)}_T{label}" if kind else f"T{label}"
            write_image_product(out / f"structures_{tail}.fits", science=total.reshape(shape).astype(np.float32), unit="", durable=False)
    rows = [
        {
            "TEMP": one.label,
            "TIMESTAMP": None if one.frame.timestamp_s is None else f"{one.frame.timestamp_s!r}",
            "PATH": one.frame.path.name,
            "COUNT": one.outliers,
            "STD": one.scatter,
            "LEVEL": one.level,
            "REFERENCE": one.reference,
            "FILTER": one.kind,
        }
        for one in made.seen
    ]
    write_table(out / "structure_analysis.csv", STRUCTURES, rows)
    made.warnings += flats.warnings
    if options.save_plots:
        _level_figures(made, out)
    total, labels = hits.counts(shape[0] * shape[1])
    made.classes["structure"] = dict(class_counts(total, labels))
    return made


def _level_figures(made: ChangesMade, out: Path) -> None:
    labels = sorted({one.label for one in made.seen}, key=float)
    start = min((one.frame.timestamp_s for one in made.seen if one.frame.timestamp_s is not None), default=0.0)
    for label in labels:
        some = [one for one in made.seen if one.label == label and one.frame.timestamp_s is not None]
        x = [float(one.frame.timestamp_s or 0) - start for one in some]
        rate = [one.level / (one.frame.exposure_s or 1) for one in some]
        kinds = [one.kind for one in some]
        png = draw.courses(f"Flats at {label} C", "time / s", "level / exposure / (adu/s)", _lines(kinds, x, rate))
        draw.put(out / f"mean_vs_time_T{label}.png", png, {"filter": kinds, "time_s": x, "level_adu_per_s": rate})
    x = [float(one.frame.temperature_c or 0) for one in made.seen]
    y = [one.level / (one.frame.exposure_s or 1) for one in made.seen]
    kinds = [one.kind for one in made.seen]
    png = draw.courses("Flats", "temperature / C", "level / exposure / (adu/s)", _lines(kinds, x, y))
    draw.put(out / "mean_vs_temperature.png", png, {"filter": kinds, "temperature_c": x, "level_adu_per_s": y})


def _lines(kinds: Sequence[str], x: Sequence[float], y: Sequence[float], error: Sequence[float] | None = None) -> list[Course]:
    """Points of each kind of flats with a mark of their own."""
    found = []
    for kind in sorted(set(kinds)):
        places = [place for place, one in enumerate(kinds) if one == kind]
        errors = None if error is None else [error[i] for i in places]
        found.append(Course(label=kind or "flats", x=[x[i] for i in places], y=[y[i] for i in places], error=errors, joined=False))
    return found


def degradation_step(frames: Sequence[LabFrame], out: Path, options: LabOptions) -> ChangesMade:
    """Outgassing and damage: every flat against the first of its temperature, and again whatever the temperature; pixels classified."""
    suspicious(frames, "BIAS", out, "suspicious_bias.log")
    suspicious(frames, "DARK", out, "suspicious_darks.log")
    flats, made = _Flats(frames, options), ChangesMade()

    def keep(flat: LabFrame, pixels: F4, map_: F4, reduced: bool) -> None:
        folder = out / ("flats_norm_reduced" if reduced else "flats_norm")
        write_image_product(folder / f"{stem_of(flat)}_norm.fits", science=pixels, unit="", durable=False)
        if options.save_plots:
            limit = 5 * max(float(np.nanmedian(np.abs(map_))) * 1.4826, 1e-9)
            png = draw.maps([(f"{flat.path.name} - reference", "relative", map_)], ranges={0: (-limit, limit)}, colours="coolwarm")
            draw.put(out / "diff_maps" / f"{stem_of(flat)}.png", png, arrays={"difference": draw.thinned(map_)})

    by_temperature, whatever = Hits(), Hits()
    for kind, label, some in flats.by_temperature():
        _against_first(flats, kind, label, some, made, keep, by_temperature)
    for kind, some in flats.by_kind():
        _against_first(flats, kind, IGNORE_TEMPERATURE, some, made, None, whatever)
    made.warnings += flats.warnings
    first = flats.flats[0]
    shape = (first.ny, first.nx) if first.ny else read_image(first.path).shape
    _tables(made, {"temperature": by_temperature, IGNORE_TEMPERATURE: whatever}, (int(shape[0]), int(shape[1])), out)
    if options.save_plots:
        _summary_figures(made, out / "summary_plots")
        _plane_figures(by_temperature, whatever, (int(shape[0]), int(shape[1])), out / "sensor_plane_outliers")
    return made


def _tables(made: ChangesMade, analyses: dict[str, Hits], shape: tuple[int, int], out: Path) -> None:
    rows = [
        {
            "analysis_type": IGNORE_TEMPERATURE if one.label == IGNORE_TEMPERATURE else "temperature",
            "approx_temp": one.label,
            "file_path": one.frame.path.name,
            "time_header": None if one.frame.timestamp_s is None else f"{one.frame.timestamp_s!r}",
            "n_outliers": one.outliers,
            "std_diff": one.scatter,
            "mean_flat": one.level,
            "std_flat": one.std,
            "filter": one.kind,
        }
        for one in made.seen
    ]
    write_table(out / "analysis_flats.csv", FLATS, rows)
    listed: list[dict[str, object]] = []
    for name, hits in analyses.items():
        total, labels = hits.counts(shape[0] * shape[1])
        made.classes[name] = dict(class_counts(total, labels))
        chosen = np.flatnonzero(total)
        if chosen.size > MOST_LISTED:
            made.warnings.append(f"{chosen.size} pixels changed ({name}); the table lists the {MOST_LISTED} that did so most often")
            chosen = np.sort(chosen[np.argsort(-total[chosen].astype(int), kind="stable")[:MOST_LISTED]])
        for place, seen in hits.of_pixels(chosen.astype(np.int64)).items():
            names = [label for label, _ in seen]
            times = ";".join("" if time is None else f"{time!r}" for _, time in seen)
            listed.append(
                {
                    "analysis_type": name,
                    "pixel": f"({place // shape[1]}, {place % shape[1]})",
                    "num_occurrences": len(seen),
                    "temp_labels": ";".join(names),
                    "times": times,
                    "classification": classify(names),
                }
            )
    write_table(out / "analysis_outliers.csv", OUTLIERS, listed)


def _summary_figures(made: ChangesMade, out: Path) -> None:
    some = [one for one in made.seen if one.label != IGNORE_TEMPERATURE]
    start = min((one.frame.timestamp_s for one in some if one.frame.timestamp_s is not None), default=0.0)
    timed = [one for one in some if one.frame.timestamp_s is not None]
    time = [float(one.frame.timestamp_s or 0) - start for one in timed]
    t = [float(one.frame.temperature_c or 0) for one in some]
    for name, x, rows, label in (("time", time, timed, "time / s"), ("temperature", t, some, "temperature / C")):
        y = [float(one.outliers) for one in rows]
        kinds = [one.kind for one in rows]
        png = draw.courses("Pixels that differ from the first flat", label, "pixels", _lines(kinds, x, y))
        draw.put(out / f"outliers_vs_{name}.png", png, {"filter": kinds, name: x, "outliers": y})
        mean, std = [one.level for one in rows], [one.std * one.level for one in rows]
        png = draw.courses("Level and scatter of the flats", label, "adu", _lines(kinds, x, mean, std))
        short = "temp" if name == "temperature" else name
        draw.put(out / f"mean_std_vs_{short}.png", png, {"filter": kinds, name: x, "mean_adu": mean, "std_adu": std})


def _plane_figures(by_temperature: Hits, whatever: Hits, shape: tuple[int, int], out: Path) -> None:
    """Where on the sensor the outliers lie."""
    for label in sorted({row[0] for row in by_temperature.rows}, key=float):
        total, _ = Hits([row for row in by_temperature.rows if row[0] == label]).counts(shape[0] * shape[1])
        _plane(out / f"outliers_T{label}.png", f"Outliers at {label} C", total.reshape(shape).astype(np.float32))
    total, _ = Hits([*by_temperature.rows, *whatever.rows]).counts(shape[0] * shape[1])
    _plane(out / "all_outliers_sensor_plane.png", "All outliers", total.reshape(shape).astype(np.float32))


def _plane(path: Path, title: str, counts: F4) -> None:
    y, x = np.nonzero(counts)
    top = max(float(counts.max()), 1.0)
    png = draw.maps([(title, "times", counts)], ranges={0: (0.0, top)}, colours="magma")
    draw.put(path, png, {"y": y.tolist(), "x": x.tolist(), "times": counts[y, x].astype(int).tolist()})

"""The page of an irradiation campaign: verdict, what there is and is not, response, damage, annealing, precision, sequences."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from nightcrew.irradiation.costs import star_forecast
from nightcrew.irradiation.results import Analysis
from nightcrew.irradiation.star_noise import Star
from nightcrew.irradiation.tokens import STAGES
from reports.analysis import AnalysisFigure, AnalysisPage, AnalysisSection, AnalysisTable, Cell
from reports.campaign_summary import JOINT, KEY_QUANTITIES, campaign_quantities, extrapolated, operation_quantities
from reports.campaign_verdict import PagePart, grade_of, needs_of, status_of, verdict_of
from reports.names import slug
from reports.summary import Quantity, Summary
from reports.text import plural

MOST_REMARKS = 12
MOST_PICTURES = 24  # of one kind; the others lie in their folder


@dataclass(frozen=True, kw_only=True, eq=False)
class PageSource:
    """What the page is made of: ``read(name)`` gives the bytes of a written file, ``files`` what each is."""

    parts: tuple[PagePart, ...]
    title: str
    inputs: tuple[Mapping[str, str], ...]
    read: Callable[[str], bytes]
    files: Mapping[str, str]
    star: Star = field(default_factory=Star)
    predict_krad: tuple[float, ...] = ()


def campaign_page(source: PageSource) -> AnalysisPage:
    """The whole page; ``summary`` holds every named quantity."""
    several = len(source.parts) > 1
    quantities: list[Quantity] = []
    sections: list[AnalysisSection] = []
    needs: list[str] = []
    for part in source.parts:
        where = {"campaign": part.name} if several else {}
        if part.analysis is not None:
            quantities += campaign_quantities(part.analysis, source.star, source.predict_krad, where)
        quantities += operation_quantities(part.operation, where)
        head = f"{part.name}: " if several else ""
        sections += _Sections(part, source, head).all()
        needs += [head + text for text in needs_of(part)]
    names = {quantity.name for quantity in quantities}
    grade, reasons = grade_of(source.parts, quantities)
    status = status_of(source.parts)
    return AnalysisPage(
        kind="campaign",
        title=source.title,
        verdict=" ".join(verdict_of(part, several) for part in source.parts),
        status="attention" if status == "good" and reasons else status,
        needs_person=tuple(dict.fromkeys([*reasons, *needs]))[:MOST_REMARKS],
        summary=Summary(
            recipe="campaign_analysis",
            inputs=tuple(source.inputs),
            grade="B" if grade == "A" and status != "good" else grade,
            quantities=tuple(distinct(quantities)),
            warnings=tuple(dict.fromkeys(text for part in source.parts for text in (*part.remarks, *part.absent))),
        ),
        key_quantities=tuple(name for name in KEY_QUANTITIES if name in names),
        sections=tuple(sections),
        files=tuple((name, about) for name, about in source.files.items() if _worth_naming(name)),
    )


def distinct(quantities: Sequence[Quantity]) -> list[Quantity]:
    """Quantities of one name under equal conditions told apart by a number, so that none is lost (two groups may have one dose)."""
    seen: dict[str, int] = {}
    made = []
    for one in quantities:
        key = f"{one.name} {sorted(one.where.items())}"
        seen[key] = seen.get(key, 0) + 1
        made.append(one if seen[key] == 1 else replace(one, where={**one.where, "again": seen[key]}))
    return made


def sequence_folder(name: str, campaign: str) -> str:
    """Where the files of an operation sequence lie below ``operation/``: its folder without the campaign's and ``Operation``."""
    parts = name.removeprefix(f"{campaign}/" if campaign else "").split("/")
    kept = parts[1:] if len(parts) > 1 and parts[0].lower() in ("operation", "oper") else parts
    return "/".join(slug(part) for part in kept)


def _worth_naming(name: str) -> bool:
    last = name.rpartition("/")[2]
    return last.endswith((".csv", ".ecsv", ".gif", ".mp4", ".json"))


class _Sections:
    def __init__(self, part: PagePart, source: PageSource, head: str) -> None:
        self.part, self.source, self.head = part, source, head
        self.prefix = f"{slug(part.folder.strip('/'))}-" if part.folder else ""

    def all(self) -> list[AnalysisSection]:
        made = [self._holds()]
        if self.part.analysis is not None and self.part.plan not in ("standard", "irradiation"):
            made += [self._response(self.part.analysis), self._model(self.part.analysis), self._damage(self.part.analysis)]
            made += [self._precision(self.part.analysis), self._courses()]
        elif self.part.analysis is not None:
            made.append(self._laboratory())
        if self.part.operation:
            made.append(self._operation())
        return [section for section in made if section.text or section.tables or section.figures]

    def _figure(self, name: str, title: str, caption: str = "") -> tuple[AnalysisFigure, ...]:
        """A written figure by its name; nothing where it was not drawn."""
        path = f"{self.part.folder}{name}"
        if f"{path}.png" not in self.source.files:
            return ()
        numbers = next((f"{path}{end}" for end in (".npz", ".csv", ".fits") if f"{path}{end}" in self.source.files), "")
        stem = self.prefix + name.replace("/", "-")
        png = self.source.read(f"{path}.png")
        return (AnalysisFigure(name=stem, title=self.head + title, alt=f"{title}. {caption}", png=png, numbers=numbers, caption=caption),)

    def _pictures(self, folder: str, word: str) -> tuple[AnalysisFigure, ...]:
        """Figures lying in a folder (not deeper) whose names hold ``word``, by name, ``MOST_PICTURES`` of them."""
        start = f"{self.part.folder}{folder}"
        stems = [name[len(start) : -len(".png")] for name in self.source.files if name.startswith(start) and name.endswith(".png")]
        chosen = sorted(stem for stem in stems if "/" not in stem and word in stem)
        return tuple(one for stem in chosen[:MOST_PICTURES] for one in self._figure(f"{folder}{stem}", stem.replace("_", " ")))

    def _courses(self) -> AnalysisSection:
        """What the stages are like one by one, and what is between them."""
        base = {"krad": "radiation_analysis/"}.get(self.part.plan, "")
        figures = tuple(
            one
            for stage in STAGES
            for kind in ("bias", "dark")
            for one in self._figure(f"{base}{stage}/mean_std_{kind}_vs_time", f"{kind.capitalize()}, {stage}: level and scatter in time")
        )
        return AnalysisSection(title=f"{self.head}Courses and differences", figures=figures + self._pictures(base, "_minus_"))

    def _laboratory(self) -> AnalysisSection:
        """Masters as the laboratory makes them: levels over temperature and exposure, and each master beside its frames."""
        figures = self._pictures("plots/", "") + self._pictures("comparisons/", "")
        text = ("All masters lie below masters/, all pictures below plots/ and comparisons/.",)
        return AnalysisSection(title=f"{self.head}Masters", text=text, figures=figures)

    def _base(self) -> str:
        return {"krad": "dose_analysis/"}.get(self.part.plan, "precision/")

    def _holds(self) -> AnalysisSection:
        tables = [] if self.part.analysis is None else [self._matrix(self.part.analysis)]
        text = [f"Plan: {self.part.plan}."]
        if self.part.absent:
            lines = tuple((line,) for line in self.part.absent)
            tables.append(AnalysisTable(title=f"{self.head}What is absent", columns=("what, and why",), rows=lines))
        remarks = list(self.part.remarks[:MOST_REMARKS])
        if remarks:
            tables.append(AnalysisTable(title=f"{self.head}Remarks", columns=("remark",), rows=tuple((text,) for text in remarks)))
        if self.part.left_out:
            rows = tuple((name, reason) for name, reason in sorted(self.part.left_out.items())[:MOST_REMARKS])
            note = f"{len(self.part.left_out)} in all, see left_out.csv" if len(self.part.left_out) > MOST_REMARKS else ""
            tables.append(AnalysisTable(title=f"{self.head}Frames left out", columns=("frame", "reason"), rows=rows, note=note))
        return AnalysisSection(title=f"{self.head}What the campaign holds and lacks", text=tuple(text), tables=tuple(tables))

    def _matrix(self, analysis: Analysis) -> AnalysisTable:
        """Rows: stage and dose; columns: kind, exposure, temperature; cells: frames (0 where there are none)."""
        columns: dict[tuple[str, float, int], None] = {}
        steps: dict[tuple[int, float, int], tuple[str, dict[tuple[str, float, int], int]]] = {}
        for one in sorted(analysis.masters, key=lambda one: (one.group.kind, one.group.exposure_s, one.group.temperature_bin)):
            group = one.group
            key = (group.kind, 0.0 if group.kind == "BIAS" else round(group.exposure_s, 9), group.temperature_bin)
            columns[key] = None
            nominal = next((f.nominal_dose_krad for f in group.frames if f.nominal_dose_krad is not None), None)
            dose = nominal if nominal is not None and group.stage == "radiating" else group.dose_krad
            step = (STAGES.index(group.stage), round(dose, 4), group.visit)
            label = f"{group.stage} {dose:.4g} kRad" + (f", visit {group.visit + 1}" if group.visit else "")
            cells = steps.setdefault(step, (label, {}))[1]
            cells[key] = cells.get(key, 0) + len(group.frames)
        names = ["stage and dose"]
        for kind, exposure, place in columns:
            temperature = f" {analysis.bins[place]:.1f} C" if len(analysis.bins) > 1 else ""
            names.append(kind.lower() + (f" {exposure:g} s" if kind != "BIAS" else "") + temperature)
        rows: list[tuple[Cell, ...]] = [(label, *(cells.get(key, 0) for key in columns)) for _, (label, cells) in sorted(steps.items())]
        lacking = sum(row.count(0) for row in rows)
        note = f"{plural(lacking, 'cell')} without a frame" if lacking else "every cell has frames"
        return AnalysisTable(title=f"{self.head}Frames by stage, dose, kind, exposure", columns=tuple(names), rows=tuple(rows), note=note)

    def _response(self, analysis: Analysis) -> AnalysisSection:
        rows: list[tuple[Cell, ...]] = [
            (s.kind.lower(), _exposed(s.kind, s.exposure_s), round(s.temperature_c, 2), _n(s.value), _n(s.error), s.remark)
            for s in analysis.slopes
        ]
        slopes = AnalysisTable(
            title=f"{self.head}Growth with dose",
            columns=("kind", "exposure / s", "temperature / C", "slope / (adu/kRad)", "error", "remark"),
            rows=tuple(rows),
            note="Levels without hits; from the frames before and in the beam, at a fixed dose rate where that is determined.",
        )
        shifts: list[tuple[Cell, ...]] = [
            (s.kind.lower(), _exposed(s.kind, s.exposure_s), s.transition, _n(s.value), _n(s.error), s.why) for s in analysis.shifts
        ]
        shift_table = AnalysisTable(
            title=f"{self.head}Shifts at the begin and end of the irradiation",
            columns=("kind", "exposure / s", "between", "shift / adu", "error", "why not"),
            rows=tuple(shifts),
            note="Irradiated less reference: positive when the irradiated level is higher.",
        )
        base = self._base()
        figures = self._figure(f"{base}analysis/dose_model_bias", "Bias against dose", "Line with its band, residuals below")
        for kind, exposure, _ in analysis.dose_models:
            if kind == "DARK" and exposure is not None:
                name = f"{base}analysis/dose_model_dark_E{f'{exposure:.6g}'.replace('.', 'p')}s"
                figures += self._figure(name, f"Dark {exposure:g} s against dose", "Line with its band, residuals below")
        figures += self._figure(f"{base}plots/std_model_bias", "Bias: scatter against level")
        return AnalysisSection(title=f"{self.head}Response", tables=(slopes, shift_table), figures=figures)

    def _model(self, analysis: Analysis) -> AnalysisSection:
        text = (
            (
                "signal = B0 + alpha D + (DC0 + beta D) t + q R t; variance = read^2 + (DC0 + beta D) t / gain + (q^2 + sigma_q^2) R t; "
                "all terms fitted together, levels and noise with their covariance."
            ),
        )
        tables = []
        for joint in analysis.joint.values():
            if joint.fit is None:
                continue
            fit = joint.fit
            rows: list[tuple[Cell, ...]] = [
                (ours, _n(fit.values[ours]), _n(fit.errors[ours]), unit, fit.why.get(ours, "")) for ours, unit in JOINT.values()
            ]
            note = f"chi^2 {fit.chi2:.4g} for {fit.freedom} degrees of freedom; errors widened {fit.scale:.3g} times."
            title = (
                f"{self.head}Joint model at {joint.temperature_c:.2f} C"
                if math.isfinite(joint.temperature_c)
                else f"{self.head}Joint model"
            )
            tables.append(
                AnalysisTable(title=title, columns=("parameter", "value", "error", "unit", "why not"), rows=tuple(rows), note=note)
            )
        figures = self._figure("radiation_model/dark_current_residuals", "Residuals of the darks")
        figures += self._figure("radiation_model/qq_plot", "Residuals against a normal law")
        figures += self._figure("radiation_model/alpha_map", "Growth of the bias, pixel by pixel")
        figures += self._figure("radiation_model/beta_map", "Growth of the dark current, pixel by pixel")
        return AnalysisSection(title=f"{self.head}Joint model", text=text, tables=tuple(tables), figures=figures)

    def _damage(self, analysis: Analysis) -> AnalysisSection:
        rows: list[tuple[Cell, ...]] = [
            (one.stage, round(one.dose_krad, 4), one.count, _n(one.tail.scale_adu), _n(one.tail.scale_error_adu), one.why or one.tail.why)
            for one in analysis.hot.counts
        ]
        tables = []
        if rows:
            columns = ("stage", "dose / kRad", "hot pixels", "tail / adu", "error", "why not")
            note = (
                f"Excess over the median of more than {analysis.hot.limit.excess_adu:.4g} adu in {analysis.hot.exposure_s:g} s."
                if analysis.hot.limit
                else ""
            )
            tables.append(AnalysisTable(title=f"{self.head}Hot pixels", columns=columns, rows=tuple(rows), note=note))
        healing: list[tuple[Cell, ...]] = [
            (
                h.kind.lower(),
                _exposed(h.kind, h.exposure_s),
                _n(h.fit.time_constant_s),
                _n(h.recovered),
                _n(h.recovered_error),
                "; ".join(filter(None, (h.fit.why, h.recovered_why))),
            )
            for h in analysis.healing
        ]
        if healing:
            heads = ("kind", "exposure / s", "time constant / s", "recovered part", "its error", "why not")
            tables.append(AnalysisTable(title=f"{self.head}Annealing", columns=heads, rows=tuple(healing)))
        figures = self._figure("damage/hot_pixels", "Growth of hot pixels")
        figures += self._figure("damage/dark_distribution", "Distribution of the dark signal")
        figures += self._figure("damage/hot_map", "Dark at the end")
        figures += self._figure("damage/annealing", "After the beam")
        for name in ("bias_first_vs_pre", "dark_first_vs_pre", "bias_post_vs_last", "dark_post_vs_last"):
            figures += self._figure(f"{self._base()}analysis/{name}", name.replace("_", " "), "Irradiated less reference, % of the mean")
        return AnalysisSection(title=f"{self.head}Damage and annealing", tables=tuple(tables), figures=figures)

    def _precision(self, analysis: Analysis) -> AnalysisSection:
        star = self.source.star
        found, why = star_forecast(analysis, star, self.source.predict_krad)
        gain, origin = analysis.gain
        text = [
            f"A star of {star.magnitude:g} mag (zero point {star.zero_point_mag:g} mag for 1 e-/s), {star.exposure_s:g} s, aperture of "
            f"{star.aperture_radius_px:g} px, sky {star.sky_e_per_s:g} e-/s a pixel."
            + (f" Gain {gain:.4g} e-/adu, {origin}." if gain is not None else f" No gain: {origin}.")
        ]
        rows: list[tuple[Cell, ...]] = [
            (
                round(one.dose_krad, 4),
                _n(one.magnitude_error),
                _n(one.magnitude_error_error),
                _n(one.limiting_magnitude),
                _n(one.limiting_magnitude_error),
                _n(one.dark_e_per_s),
                one.why or "; ".join(filter(None, (extrapolated(analysis, one.dose_krad), "saturates" if one.peak_adu > 65535 else ""))),
            )
            for one in found
        ]
        tables: tuple[AnalysisTable, ...] = ()
        if rows:
            columns = ("dose / kRad", "magnitude error / mag", "its error", "limit / mag", "its error", "dark / (e-/s)", "remark")
            title = f"{self.head}Forecast for the star"
            tables = (AnalysisTable(title=title, columns=columns, rows=tuple(rows), note=f"Limit at S/N {star.snr_limit:g}."),)
        elif why:
            text.append(f"No forecast: {why}.")
        base = self._base()
        figures = self._figure(f"{base}analysis/star_forecast", "Forecast for the star")
        figures += self._figure(f"{base}plots/photometric_precision_vs_dose", "Magnitude error at half of the head-room")
        figures += self._figure(f"{base}analysis/magnitude_vs_dose", "Loss of the magnitude limit by lost range")
        figures += self._figure(f"{base}analysis/dynamic_range_vs_dose_16", "Dynamic range")
        figures += self._figure(f"{base}analysis/bit_depth", "Converters of other widths")
        figures += self._figure(f"{base}analysis/relative_noise_vs_dose_16", "Noise against that before the beam")
        figures += self._figure(f"{base}pixel_precision/zone_mag_error", "Four quadrants")
        return AnalysisSection(title=f"{self.head}Photometric precision", text=tuple(text), tables=tables, figures=figures)

    def _operation(self) -> AnalysisSection:
        rows: list[tuple[Cell, ...]] = []
        figures: tuple[AnalysisFigure, ...] = ()
        for one in self.part.operation:
            law = one.correlation
            total = None if one.why else int(one.series.outliers.sum())
            rows.append(
                (
                    one.name,
                    len(one.series.frames),
                    total,
                    round(one.expected_false, 3),
                    int(one.persistent.sum()),
                    _n(law.r),
                    one.why or law.why,
                )
            )
            name = f"operation/{sequence_folder(one.name, self.part.name)}"
            figures += self._figure(f"{name}/rad_vs_outliers", f"{one.name}: outliers and beam")
            figures += self._figure(f"{name}/intensity_stats", f"{one.name}: level")
            figures += self._figure(f"{name}/cumulative_outliers", f"{one.name}: where they were")
            figures += self._figure(f"{name}/metrics", f"{one.name}: courses")
        columns = ("sequence", "frames", "outliers", "expected by chance", "persistent pixels", "r with dose rate", "why not")
        rate = self.part.operation[0].false_alarm
        note = (
            f"A value stands out from the other frames of its pixel; false-alarm rate {rate:g} of a value. "
            "The films of each, frames.gif and outliers.gif, lie in its folder below operation/."
        )
        table = AnalysisTable(title=f"{self.head}Sequences", columns=columns, rows=tuple(rows), note=note)
        return AnalysisSection(title=f"{self.head}Operation sequences", tables=(table,), figures=figures)


def _exposed(kind: str, exposure_s: float) -> str:
    """A dark's exposure as text; a bias has none."""
    return f"{exposure_s:g}" if kind == "DARK" else ""


def _n(value: float) -> float | None:
    """A number to four digits; None where there is none."""
    return float(f"{value:.5g}") if math.isfinite(value) else None

"""The report of a laboratory campaign: what was found and what not, models with maps, residuals and validity, what to measure next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from nightcrew.detector.dark_shape import DarkShape
from nightcrew.detector.held_out import HeldOut
from nightcrew.lab.quality import FEW_TEMPERATURES, Judged, bias_quality, campaign_quality, dark_quality, models_quality, temperatures_of
from nightcrew.lab.results import BiasMade, ChangesMade, DarkMade, FlatMade, LabMade
from nightcrew.ledger.rows import worst
from nightcrew.planning.light_models import GRADE as LIGHT_GRADE
from reports import lab_figures as draw
from reports.analysis import AnalysisFigure, AnalysisPage, AnalysisSection, AnalysisStatus, AnalysisTable
from reports.lab_figures import Course
from reports.lab_quantities import KEY, quantities
from reports.summary import Summary
from reports.text import adaptive, plural

RECIPE = "lab_models"
UNITS = "All levels are in the units of the stored samples (adu of the raw frames): 12 bits stored x16 stay x16."
_MOST_ROWS = 40


def lab_page(
    made: LabMade, *, inputs: Sequence[Mapping[str, str]] = (), grade: str = "A", commands: tuple[str, ...] = (), folder: str = ""
) -> AnalysisPage:
    """The page of a campaign; ``folder`` is where its files lie below the page's own folder ("" or ``models/``)."""
    warnings = made.all_warnings()
    grade = worst(grade, campaign_quality(made)[0])
    numbers = quantities(made)
    known = {quantity.name for quantity in numbers}
    sections = [_found(made)]
    if made.bias is not None:
        sections.append(_bias(made.bias, folder))
    if made.dark is not None and made.dark.model is not None:
        sections.append(_dark(made.dark, folder))
    if made.flat is not None:
        sections.append(_flat(made.flat))
    sections += [_changes(title, part) for title, part in (("New structures", made.structure), ("Degradation", made.degradation)) if part]
    if warnings:
        sections.append(AnalysisSection(title="Remarks", text=tuple(warnings[:_MOST_ROWS])))
    return AnalysisPage(
        kind="lab",
        title=made.title or "Laboratory",
        verdict=_verdict(made),
        status=_status(made, warnings),
        needs_person=tuple(advice(made)),
        summary=Summary(recipe=RECIPE, inputs=tuple(inputs), grade=grade, quantities=numbers, warnings=tuple(warnings)),
        key_quantities=tuple(name for name in KEY if name in known),
        sections=tuple(sections),
        files=FILES,
        commands=commands,
    )


FILES = (
    ("index.csv", "one row a frame: kind, stage, temperature, and which cannot be used"),
    ("frame_stats.csv", "mean, median, scatter and percentiles of every frame"),
    ("bias/bias_model/bias_a_map.fits", "bias at 0 C of every pixel, with its error"),
    ("bias/bias_model/bias_b_map.fits", "slope of the bias with temperature"),
    ("dark/dark_model_2d/A_map_2D.fits", "dark rate of every pixel at the reference, with error and flags"),
    ("dark/dark_model_2d/B_map_2D.fits", "how the rate grows with temperature"),
    ("bias/evaluation/evaluation_summary.csv", "temperatures left out and foretold"),
    ("dark/evaluation_summary.csv", "cells of temperature and exposure left out and foretold"),
)


def _verdict(made: LabMade) -> str:
    parts = []
    if made.bias is not None:
        parts.append(f"bias(T) from {plural(len(made.bias.frames), 'frame')}")
    if made.dark is not None and made.dark.model is not None:
        shape = made.dark.model.shape
        doubling = "" if shape.doubling_k is None else f", doubling every {shape.doubling_k:.2f} K"
        parts.append(f"dark rate {adaptive(float(np.nanmedian(made.dark.model.rate)))} adu/s at {shape.reference_c:g} C{doubling}")
    if made.flat is not None:
        parts.append(f"{plural(len(made.flat.masters), 'master flat')}")
    if not parts:
        reason = next(iter(made.missing.values()), "nothing was asked for")
        return f"No model could be made of {plural(len(made.frames), 'frame')}: {reason}."
    return _sentence(parts)


def _sentence(parts: Sequence[str]) -> str:
    text = "; ".join(parts)
    return f"{text[0].upper()}{text[1:]}."


def _status(made: LabMade, warnings: Sequence[str]) -> AnalysisStatus:
    if made.bias is None and made.dark is None and made.flat is None:
        return "bad"
    if any(grade > "B" for grade, _ in models_quality(made).values()):
        return "attention"
    remarks = [text for text in warnings if text not in made.warnings]  # what logs and names lack is no fault of the models
    return "attention" if remarks or made.missing or made.rejected or any(frame.bad for frame in made.frames) else "good"


def advice(made: LabMade) -> list[str]:
    """What a person should do: what is missing, and which temperatures and exposures would help."""
    found = [f"No {part} result: {reason}" for part, reason in made.missing.items()]
    if made.rejected:
        found.append(f"{plural(len(made.rejected), 'raw file')} could not be used; first: {made.rejected[0][1]}")
    bad = [frame for frame in made.frames if frame.bad]
    if bad:
        found.append(f"{plural(len(bad), 'frame')} cannot be used; first: {bad[0].path.name}: {bad[0].reason}")
    for what, (grade, reasons) in models_quality(made).items():
        if grade > "B":
            found.append(f"The {what} model has grade {grade}: {'; '.join(reasons)}.")
    if made.bias is not None:
        count = temperatures_of(made.bias.frames)
        if count < FEW_TEMPERATURES:
            found.append(f"Take bias frames at more temperatures: {count} say nothing about a bent course of bias(T).")
    if made.dark is not None and made.dark.model is not None:
        found += _dark_advice(made.dark)
    return found


def _dark_advice(dark: DarkMade) -> list[str]:
    model = dark.model
    if model is None:
        return []
    found = []
    if model.shape.b_error is None:
        found.append("Take darks at a second temperature, at least 3 K away: the temperature coefficient is not determined.")
    elif temperatures_of(dark.frames) < FEW_TEMPERATURES:
        found.append("Take darks at a third temperature: two say nothing about the law of the temperature.")
    if model.shape.gamma_error is None:
        found.append("Take darks of a second exposure, at least 1.5 times as long: whether the signal grows in proportion is not known.")
    own = float(np.isfinite(model.db_error).mean())
    if model.shape.b_error is not None and own < 0.5:
        warmest, longest = model.temperatures_c[1], model.exposures_s[1]
        found.append(
            f"{100 * (1 - own):.0f} % of the pixels have too little dark signal for a temperature coefficient of their own: "
            f"darks warmer than {warmest:.0f} C or longer than {longest:g} s would give it."
        )
    return found


def _found(made: LabMade) -> AnalysisSection:
    rows = []
    for kind in ("BIAS", "DARK", "FLAT", "OPER", ""):
        some = [frame for frame in made.frames if frame.caltype == kind]
        if not some:
            continue
        t = sorted(frame.temperature_c for frame in some if frame.temperature_c is not None)
        exposures = sorted({float(f"{frame.exposure_s:.6g}") for frame in some if frame.exposure_s is not None})
        rows.append(
            (
                kind or "unknown",
                len(some),
                sum(frame.bad for frame in some),
                len({frame.attempt for frame in some}),
                f"{_degrees(t[0])} to {_degrees(t[-1])}" if t else "unknown",
                ", ".join(f"{value:g}" for value in exposures[:8]) + (" ..." if len(exposures) > 8 else ""),
            )
        )
    absent = [name for name in ("BIAS", "DARK", "FLAT") if not any(frame.caltype == name for frame in made.frames)]
    text = [UNITS] + ([f"Not found: {', '.join(absent)}."] if absent else [])
    tables = [
        AnalysisTable(title="Frames", columns=("kind", "frames", "bad", "attempts", "temperatures / C", "exposures / s"), rows=tuple(rows))
    ]
    bad = [(frame.path.name, frame.caltype, frame.reason) for frame in made.frames if frame.bad]
    bad += [(name, "raw", reason) for name, reason in made.rejected]
    if bad:
        note = f"The first {_MOST_ROWS} of {len(bad)}." if len(bad) > _MOST_ROWS else ""
        tables.append(
            AnalysisTable(title="Frames that cannot be used", columns=("file", "kind", "reason"), rows=tuple(bad[:_MOST_ROWS]), note=note)
        )
    return AnalysisSection(title="What was found", text=tuple(text), tables=tuple(tables))


def left_out_table(rows: Sequence[HeldOut]) -> AnalysisTable:
    """Cells that were left out and foretold from the others."""
    dark = any(row.exposure_s is not None for row in rows)
    columns = (
        "temperature / C",
        *(("exposure / s",) if dark else ()),
        "frames",
        "measured / adu",
        "foretold / adu",
        "mean |difference| / adu",
    )
    shown = tuple(
        (
            _degrees(row.temperature_c),
            *((row.exposure_s,) if dark else ()),
            row.frames,
            row.measured,
            row.predicted,
            row.mae,
            row.noise,
            row.reason or ("beyond the others" if row.extrapolated else ""),
        )
        for row in rows[:_MOST_ROWS]
    )
    note = "Each row was foretold by a model of all other rows; the noise is that of the measured mean, which no model can beat."
    return AnalysisTable(title="Left out and foretold", columns=(*columns, "noise alone / adu", "remark"), rows=shown, note=note)


def _degrees(temperature_c: float) -> str:
    """Two decimals, never minus zero."""
    return f"{round(temperature_c, 2) + 0.0:.2f}"


def _trust(judged: Judged) -> str:
    grade, reasons = judged
    said = f": {'; '.join(reasons)}" if reasons else "; nothing speaks against it"
    return f"Grade of the model: {grade}{said}. Lights that it serves have grade {worst(LIGHT_GRADE, grade)}."


def _bias(bias: BiasMade, folder: str) -> AnalysisSection:
    model = bias.model
    text = [
        "bias(T) = a + b T for every pixel, T in C, by weighted least squares over all frames.",
        f"Measured from {_degrees(model.temperatures_c[0])} to {_degrees(model.temperatures_c[1])} C"
        + ("; holds up to a tenth of that range beyond its ends." if model.sloped else "; without slope it holds within 0.5 K."),
        _trust(bias_quality(bias)),
        f"A frame's noise is {adaptive(model.frame_noise)} adu.",
        f"The median reduced chi^2 of the pixels is {float(np.nanmedian(model.chi2)):.3f}; {plural(model.hits, 'particle hit')} left out.",
    ]
    if model.curvature is not None:
        bow = model.curvature
        word = "is" if bow.significant else "is not"
        text.append(
            f"A second-order term {word} significant: {bow.value:.2g} +- {bow.error:.1g} adu/K^2, at most {adaptive(bow.largest_adu)} adu."
        )
    panels = [("a: bias at 0 C", "adu", model.level), ("b: slope", "adu/K", model.slope)]
    panels += [("error of a", "adu", model.level_error), ("reduced chi^2", "", model.chi2)]
    png = draw.maps(panels)
    figure = AnalysisFigure(
        name="bias_maps",
        title="Bias model",
        alt="Maps of bias at 0 C, slope, error and chi^2",
        png=png,
        numbers=f"{folder}bias/bias_model/bias_a_map.fits",
    )
    tables = (left_out_table(bias.left_out),) if bias.left_out else ()
    return AnalysisSection(title="Bias", text=tuple(text), tables=tables, figures=(figure,))


def _law(shape: DarkShape) -> str:
    u = "T - T_ref" if shape.law == "exponential" else "T_ref (T - T_ref) / T in kelvin"
    power = "" if shape.gamma == 0 else f" (t / {shape.reference_s:g} s)^{shape.gamma:.4f}"
    return f"signal(T, t) = R exp(B u) t{power}, u = {u}, T_ref = {shape.reference_c:g} C."


def _dark(dark: DarkMade, folder: str) -> AnalysisSection:
    model = dark.model
    if model is None:
        raise ValueError("the dark section needs a model")
    shape = model.shape
    own = float(np.isfinite(model.db_error).mean())
    b = "not determined" if shape.b_error is None else f"{shape.b:.5f} +- {shape.b_error:.5f} 1/K"
    gamma = "not determined" if shape.gamma_error is None else f"{(shape.measured_gamma or 0) + 0.0:.2g} +- {shape.gamma_error:.1g}"
    kept = "" if shape.gamma or shape.gamma_error is None else " (not significant: the model has none)"
    text = [
        f"{_law(shape)} Fitted in counts with their noise; saturated values and hits are left out.",
        f"Shared B: {b}; exponent gamma: {gamma}{kept}. {100 * own:.1f} % of the pixels have a B of their own (error at most 5 % of B).",
        f"A pixel is hot above {adaptive(model.hot_limit)} adu/s at the reference; telegraph pixels are flagged apart.",
        (
            f"Valid from {_degrees(model.temperatures_c[0])} to {_degrees(model.temperatures_c[1])} C"
            f" and up to {1.2 * model.exposures_s[1]:g} s."
        ),
        "Outside of it synthetic frames have grade D.",
        _trust(dark_quality(dark)),
        *dark.notes,
    ]
    b_map = (model.db + np.float32(shape.b)).astype(np.float32)
    panels = [("R: rate at the reference", "adu/s", model.rate), ("error of R", "adu/s", model.rate_error)]
    panels += [("B of each pixel", "1/K", b_map), ("reduced chi^2", "", model.chi2)]
    maps = draw.maps(panels)
    figures = [
        AnalysisFigure(
            name="dark_maps",
            title="Dark model",
            alt="Maps of the dark rate, its error, B and chi^2",
            png=maps,
            numbers=f"{folder}dark/dark_model_2d/A_map_2D.fits",
        )
    ]
    if dark.cells:
        figures.append(_course(dark, folder))
    tables = (left_out_table(dark.left_out),) if dark.left_out else ()
    return AnalysisSection(title="Dark", text=tuple(text), tables=tables, figures=tuple(figures))


def _course(dark: DarkMade, folder: str) -> AnalysisFigure:
    lines = []
    exposures = sorted({cell.exposure_s for cell in dark.cells})
    for number, exposure in enumerate(exposures):
        some = sorted((cell for cell in dark.cells if cell.exposure_s == exposure), key=lambda cell: cell.temperature_c)
        x, y = [cell.temperature_c for cell in some], [cell.median for cell in some]
        # Of an ideal sensor they all lie on each other: the first ones are drawn largest.
        size = 3.0 + 2.0 * (len(exposures) - number)
        lines.append(Course(label=f"{exposure:g} s", x=x, y=y, joined=False, size=size, hollow=True))
    if dark.model is not None:
        shape, (low, high) = dark.model.shape, dark.model.temperatures_c
        t = np.linspace(low, high, 60)
        rate = shape.rate * np.asarray(shape.factor(t, shape.reference_s)) / shape.reference_s
        lines.append(Course(label="model", x=t.tolist(), y=rate.tolist(), points=False))
    png = draw.courses("Mean dark rate", "temperature / C", "rate / (adu/s)", lines, log_y=True)
    first = sorted({cell.folder for cell in dark.cells})[0]
    return AnalysisFigure(
        name="dark_current",
        title="Dark rate against temperature",
        alt="Mean dark rate against temperature, one line an exposure",
        png=png,
        numbers=f"{folder}dark/{first}/dark_current_vs_temperature.csv",
    )


def _flat(flat: FlatMade) -> AnalysisSection:
    text = [f"{plural(flat.frames, 'flat')} reduced, {len(flat.skipped)} left out."]
    rows = []
    for name, vignetting in sorted(flat.vignetting.items()):
        k = (*vignetting.k, None, None, None)[:3]
        rows.append((name or "none", *k, vignetting.centre_x, vignetting.centre_y, flat.edges.get(name), vignetting.scatter))
    columns = ("filter", "k1", "k2", "k3", "centre x / px", "centre y / px", "edge", "scatter")
    tables = [
        AnalysisTable(
            title="Vignetting", columns=columns, rows=tuple(rows), note="V = 1 + k1 r^2 + k2 r^4 + k3 r^6, r = 1 at half a diagonal"
        )
    ]
    masters = tuple((m.label or "none", _degrees(m.temperature_c), m.exposure_s, m.frames) for m in flat.masters[:_MOST_ROWS])
    tables.append(AnalysisTable(title="Master flats", columns=("filter", "temperature / C", "exposure / s", "frames"), rows=masters))
    figures = tuple(_flat_figures(flat))
    return AnalysisSection(title="Flats", text=tuple(text), tables=tuple(table for table in tables if table.rows), figures=figures)


def _flat_figures(flat: FlatMade) -> list[AnalysisFigure]:
    """The response of each kind of flats, vignetting and pixels; the first few."""
    found = []
    for number, (name, model) in enumerate(sorted(flat.models.items())[:4]):
        panels = [("A: response of the pixels", "", model.a)]
        if name in flat.vignetting:
            height, width = model.a.shape
            panels.append(("vignetting, taken out", "", flat.vignetting[name].plane((int(height), int(width)))))
        title = f"Flat response{f', {name}' if name else ''}"
        png = draw.maps(panels)
        found.append(AnalysisFigure(name=f"flat_{number}", title=title, alt="Maps of the response and the vignetting", png=png))
    return found


def _changes(title: str, made: ChangesMade) -> AnalysisSection:
    rows = tuple((analysis, name, count) for analysis, classes in made.classes.items() for name, count in classes.items())
    compared = sum(one.frame.path.name != one.reference for one in made.seen)
    text = (
        f"{plural(compared, 'comparison')} with the first flat of each temperature; a pixel counts beyond 5 robust standard deviations.",
        "Seen at several temperatures: sensor damage; several times at one: likely the sensor; once: temperature or chance.",
    )
    return AnalysisSection(
        title=title, text=text, tables=(AnalysisTable(title="Pixels", columns=("analysis", "class", "pixels"), rows=rows),)
    )

"""The data sheet: one page with a sensor's main numbers and curves, as PDF (vectors) and as HTML."""

from __future__ import annotations

import base64
import io
import math
import textwrap
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from nightcrew.io import atomic
from reports.analysis import AnalysisFigure, AnalysisPage
from reports.analysis_words import between
from reports.figures import plain
from reports.sensor_charts import FAINT, INK, Chart
from reports.summary import Quantity
from reports.text import visible

if TYPE_CHECKING:
    from matplotlib.figure import Figure

A4_IN = (8.27, 11.69)
CURVES = ("photon-transfer", "variance-mean", "linearity", "dark-rate-temperature", "spectrogram", "defect-map")
MOST_CURVES = 4
MOST_ROWS = 30
MOST_OF_ONE = 3
MOST_LETTERS = 52  # of a line of the last column
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
LINES = (
    ("gain", "Gain"),
    ("gain_stated", "Gain, as stated"),
    ("read_noise", "Read noise"),
    ("full_well", "Full well"),
    ("emva.snr_max", "Largest signal-to-noise ratio"),
    ("emva.dynamic_range", "Dynamic range"),
    ("emva.absolute_sensitivity_threshold", "Absolute sensitivity threshold"),
    ("linearity_error", "Linearity error"),
    ("prnu", "PRNU"),
    ("dsnu", "DSNU"),
    ("a00", "Brighter-fatter a00"),
    ("dark_current", "Dark current"),
    ("dark_current_over_data_sheet", "Dark current over the data sheet's"),
    ("doubling_temperature", "Doubles every"),
    ("activation_energy", "Activation energy"),
    ("hot_pixels", "Hot pixels"),
    ("trapped_charge", "Trapped charge after a flood"),
    ("max_practical_exposure", "Maximum practical exposure"),
    ("min_practical_exposure", "Minimum practical exposure"),
)


def write_sheet(
    page: AnalysisPage, charts: Mapping[str, Sequence[Chart]], figures: Mapping[str, Sequence[AnalysisFigure]], out: Path
) -> None:
    """Write ``data_sheet.pdf`` and ``data_sheet.html`` into ``out``; the same page gives the same bytes."""
    rows = sheet_rows(page)
    chosen = _chosen([chart for members in charts.values() for chart in members])
    pdf = _pdf(page, rows, chosen)
    atomic.replace(out / "data_sheet.pdf", lambda file: _put(pdf, file.write))
    shown = {figure.name: figure for members in figures.values() for figure in members}
    html = _html(page, rows, [shown[chart.name] for chart in chosen if chart.name in shown])
    atomic.write_text(out / "data_sheet.html", html, overwrite=True)


def _put(data: bytes, write: object) -> None:
    if callable(write):
        write(data)


def sheet_rows(page: AnalysisPage) -> list[tuple[str, str, str]]:
    """(what, value with error and unit, where) of the main quantities; one whose values are all unknown says why in one row.

    Of a quantity with many values so many are shown that every quantity has its place on the sheet.
    """
    every = [_rows(page, most) for most in range(MOST_OF_ONE, 0, -1)]
    rows = next((found for found in every if sum(_height(row) for row in found) <= MOST_ROWS), every[-1])
    kept = MOST_ROWS - 1 if len(rows) > MOST_ROWS else len(rows)
    return [*rows[:kept], *([("...", "", "all stand in summary.json")] if kept < len(rows) else [])]


def _rows(page: AnalysisPage, most: int) -> list[tuple[str, str, str]]:
    rows: list[tuple[str, str, str]] = []
    for name, words in LINES:
        every = [one for one in page.summary.quantities if one.name == name]
        known = [one for one in every if one.value is not None]
        shown = _main(known)[:most]
        rows += [(words, _value(one), _where(one)) for one in shown]
        more = sum(not one.where.get("flooded") for one in known) - len(shown)
        if name != "dsnu" and more > 0:
            rows[-1] = (words, rows[-1][1], ", ".join(filter(None, (rows[-1][2], f"{more} more in summary.json"))))
        if every and not known:
            rows.append((words, "not known", every[0].note))
    return rows


def _height(row: tuple[str, str, str]) -> int:
    """Lines that a row takes."""
    return max(1, len(_lines(row[2])))


def _lines(text: str) -> list[str]:
    """At most two lines of the last column."""
    found = textwrap.wrap(text, MOST_LETTERS)
    return found if len(found) <= 2 else [found[0], _clipped(" ".join(found[1:]), MOST_LETTERS)]


def _main(known: list[Quantity]) -> list[Quantity]:
    """The values of a quantity that a sheet has room for: of dsnu the longest exposure of each place, of the others up to three."""
    if known and known[0].name == "dsnu":
        longest: dict[tuple[object, object], Quantity] = {}
        for one in known:
            key = (one.where.get("region"), one.where.get("temperature_c"))
            if key not in longest or float(one.where.get("exposure_s") or 0) > float(longest[key].where.get("exposure_s") or 0):
                longest[key] = one
        known = list(longest.values())
    unflooded = [one for one in known if not one.where.get("flooded")]
    return (unflooded or known)[:MOST_OF_ONE]


def _value(one: Quantity) -> str:
    if one.value is not None and one.interval is not None:
        middle, ends = between(one.value, one.interval)
        return f"{f'{middle} {one.unit}'.strip()} ({ends})"
    value = one.value if one.value is not None else math.nan
    if isinstance(value, int):
        return f"{value} {one.unit}".strip()
    return f"{_rounded(value, one.error)} {one.unit}".strip()


def _rounded(value: float, error: float | None) -> str:
    """The error with two digits and the value to the same place; very small and large ones with a power of ten."""
    size = max(abs(value), error or 0.0)
    power = math.floor(math.log10(size)) if size > 0 else 0
    shift = power if power < -3 or power > 6 else 0
    scaled, spread = value / 10**shift, (error or 0.0) / 10**shift
    places = 1 - math.floor(math.log10(spread)) if spread > 0 else 3 - math.floor(math.log10(abs(scaled) or 1.0))
    places = min(max(places, 0), 6)
    shown = f"{scaled:.{places}f}" + (f" ± {spread:.{places}f}" if error else "")
    return (
        shown if not shift else f"({shown}) ×10{str(shift).translate(_RAISED)}" if error else f"{shown} ×10{str(shift).translate(_RAISED)}"
    )


def _where(one: Quantity) -> str:
    words = {
        "temperature_c": "{} C",
        "at_temperature_c": "at {} C",
        "exposure_s": "{:g} s",
        "region": "{}",
        "binning": "binned {}",
        "filter": "{}",
        "set_up": "{}",
        "source": "by the {}",
        "rate_e_per_s": "light of {:g} e-/s",
    }
    parts = [words[key].format(value) for key, value in one.where.items() if key in words and value != "whole"]
    return ", ".join(parts)


def _chosen(charts: Sequence[Chart]) -> list[Chart]:
    found = [next((chart for chart in charts if chart.name.endswith(name)), None) for name in CURVES]
    return [chart for chart in found if chart is not None][:MOST_CURVES]


def _pdf(page: AnalysisPage, rows: Sequence[tuple[str, str, str]], charts: Sequence[Chart]) -> bytes:
    import numpy as np
    from matplotlib.backends.backend_pdf import FigureCanvasPdf
    from matplotlib.figure import Figure

    canvas = Figure(figsize=A4_IN, layout="constrained")
    FigureCanvasPdf(canvas)
    engine = canvas.get_layout_engine()
    if engine is not None:
        engine.set(rect=(0.07, 0.04, 0.88, 0.92))  # type: ignore[call-arg]  # the base class's set() has no parameters
    halves = np.asarray(canvas.subfigures(2, 1, height_ratios=(1.05, 1.35)))
    _table(halves[0], page, rows)
    parts = np.asarray(halves[1].subfigures(2, 2)).reshape(-1)
    for part, chart in zip(parts, charts, strict=False):
        chart.paint(part)
        part.suptitle(plain(chart.title), fontsize=9, color=INK)
    buffer = io.BytesIO()
    canvas.savefig(buffer, format="pdf", metadata={"CreationDate": None, "Producer": None, "Creator": None, "Title": visible(page.title)})
    return buffer.getvalue()


def _table(upper: Figure, page: AnalysisPage, rows: Sequence[tuple[str, str, str]]) -> None:
    axes = upper.add_subplot()
    axes.set_axis_off()
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.text(0, 1.0, plain(page.title), fontsize=15, color=INK, va="top", weight="bold")
    verdict = textwrap.wrap(page.verdict.replace("\N{NO-BREAK SPACE}", " "), 105)[:3]
    for place, words in enumerate(verdict):
        axes.text(0, 0.945 - 0.036 * place, plain(words), fontsize=8.5, color=FAINT, va="top")
    top = 0.885 - 0.036 * max(len(verdict) - 1, 0)
    step = min(0.038, top / max(sum(_height(row) for row in rows), 1))
    y = top
    for place, row in enumerate(rows):
        words, value, where = row
        repeated = place and rows[place - 1][0] == words
        axes.text(0.0, y, "" if repeated else plain(words), fontsize=8.5, color=INK, va="top")
        axes.text(0.36, y, plain(value), fontsize=8.5, color=INK, va="top")
        for line, part in enumerate(_lines(where)):
            axes.text(0.66, y - line * step, plain(part), fontsize=8, color=FAINT, va="top")
        y -= _height(row) * step


def _clipped(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _html(page: AnalysisPage, rows: Sequence[tuple[str, str, str]], figures: Sequence[AnalysisFigure]) -> str:
    lines = "".join(f"<tr><td>{_safe(a)}</td><td>{_safe(b)}</td><td class=w>{_safe(c)}</td></tr>" for a, b, c in rows)
    pictures = "".join(
        f'<figure><img alt="{_safe(figure.alt)}" src="data:image/png;base64,{base64.b64encode(figure.png).decode()}">'
        f"<figcaption>{_safe(figure.title)}</figcaption></figure>"
        for figure in figures
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">"
        f"<title>{_safe(page.title)}: data sheet</title><style>{_STYLE}</style></head><body>"
        f"<h1>{_safe(page.title)}</h1><p>{_safe(page.verdict)}</p><table>{lines}</table><div>{pictures}</div></body></html>\n"
    )


def _safe(text: str) -> str:
    return escape(visible(text.replace("\N{NO-BREAK SPACE}", " ")))


_STYLE = (
    "body{font:14px/1.4 system-ui,sans-serif;max-width:60rem;margin:1.5rem auto;padding:0 1rem;color:#1f2328}h1{font-size:1.4rem;margin:0}"
    "p{color:#6a737d}table{border-collapse:collapse;width:100%}td{padding:.15rem .6rem .15rem 0;border-bottom:1px solid #e6e8eb}"
    ".w{color:#6a737d}div{display:grid;grid-template-columns:repeat(auto-fit,minmax(18rem,1fr));gap:1rem;margin-top:1rem}"
    "figure{margin:0}img{width:100%;height:auto}figcaption{color:#6a737d;font-size:.85rem}"
)

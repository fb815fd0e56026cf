"""The curves that people expect of a sensor, for every set-up; which of them there are depends on what was measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nightcrew.sensor.characterise import SensorResult, SetUpResult
from reports.analysis import AnalysisFigure
from reports.sensor_charts import Chart, draw
from reports.sensor_charts_dark import dark_transfer, rates_over_temperature
from reports.sensor_charts_pattern import defect_map, growth, spectrograms
from reports.sensor_charts_transfer import covariance_decay, linearity, photon_transfer, variance_mean

if TYPE_CHECKING:
    import pandas as pd


def charts_of(result: SensorResult, summary: pd.DataFrame) -> dict[str, tuple[Chart, ...]]:
    """``"<place of the set-up> <chapter>"`` -> its charts; chapters are transfer, linearity, dark and pattern."""
    made: dict[str, tuple[Chart, ...]] = {}
    for place, set_up in enumerate(result.set_ups):
        start = f"setup{place + 1}-" if len(result.set_ups) > 1 else ""
        table = summary[summary["set_up"] == set_up.set_up.label]
        for chapter, charts in _chapters(set_up, table, start).items():
            made[f"{place} {chapter}"] = charts
    return made


def drawn(charts: Mapping[str, Sequence[Chart]], out: Path) -> dict[str, tuple[AnalysisFigure, ...]]:
    """The charts as figures, their numbers saved below ``out``."""
    return {chapter: tuple(draw(chart, out) for chart in members) for chapter, members in charts.items()}


def _chapters(set_up: SetUpResult, summary: pd.DataFrame, start: str) -> dict[str, tuple[Chart, ...]]:
    return {
        "transfer": tuple(_transfer(set_up, summary, start)),
        "linearity": tuple(chart for chart in (linearity(set_up, start),) if chart is not None),
        "dark": tuple(_dark(set_up, summary, start)),
        "pattern": tuple(_pattern(set_up, start)),
    }


def _transfer(set_up: SetUpResult, summary: pd.DataFrame, start: str) -> Iterator[Chart]:
    charts = (photon_transfer(set_up, summary, start), variance_mean(set_up, start), covariance_decay(set_up, start))
    yield from (chart for chart in charts if chart is not None)


def _dark(set_up: SetUpResult, summary: pd.DataFrame, start: str) -> Iterator[Chart]:
    charts = (dark_transfer(summary, start), rates_over_temperature(set_up, start))
    yield from (chart for chart in charts if chart is not None)


def _pattern(set_up: SetUpResult, start: str) -> Iterator[Chart]:
    charts = (spectrograms(set_up, start), defect_map(set_up, start), growth(set_up, start))
    yield from (chart for chart in charts if chart is not None)

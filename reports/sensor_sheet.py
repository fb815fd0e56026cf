"""One page with a sensor's main numbers and curves (stub)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from reports.analysis import AnalysisFigure, AnalysisPage


def write_sheet(page: AnalysisPage, figures: Mapping[str, Sequence[AnalysisFigure]], out: Path) -> None:
    return

"""The curves that people expect of a sensor (stub)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nightcrew.sensor.characterise import SensorResult
from reports.analysis import AnalysisFigure

if TYPE_CHECKING:
    import pandas as pd


def figures_of(result: SensorResult, summary: pd.DataFrame, out: Path) -> dict[str, Sequence[AnalysisFigure]]:
    return {}

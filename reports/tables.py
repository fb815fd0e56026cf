"""Numbers saved beside a page: the rows behind each figure and table, as CSV with units in the header."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from reports.model import STATES, BalanceRow, CalibrationCell, LightEntry, MasterEntry, NightPage, StackEntry, Trend, TruthRow
from reports.text import csv_cell
from reports.values import Column, NumberTable


def csv_text(table: NumberTable) -> str:
    """The table as CSV (RFC 4180, ``\\n`` ends lines): one header line ``name [unit]``, empty cells for None."""
    head = ",".join(csv_cell(f"{column.name} [{column.unit}]" if column.unit else column.name) for column in table.columns)
    return "\n".join([head, *(",".join(map(csv_cell, row)) for row in table.rows), ""])


def columns(*names: str) -> tuple[Column, ...]:
    """Columns from ``name`` or ``name|unit`` or ``name|unit|description``."""
    parts = [[*name.split("|"), "", ""][:3] for name in names]
    return tuple(Column(name=name, unit=unit, description=text) for name, unit, text in parts)


def page_tables(page: NightPage) -> Iterator[NumberTable]:
    """All tables of a night's page, in its order; empty ones are left out."""
    made = [
        balance_table(page.balance),
        calibration_table(page.calibrations),
        master_table(page.masters),
        light_table(page.lights),
        stack_table(page.stacks),
        trend_table(page.trends),
        truth_table(page.truth),
    ]
    if page.files is not None:
        made.append(page.files)
    made += [figure.numbers for section in page.sections for figure in section.figures]
    yield from (table for table in made if table.rows)


def _table(name: str, entries: Iterable[Any], *fields: str) -> NumberTable:
    """One row an entry; each field is ``attribute``, ``attribute|unit`` or ``attribute|unit|column name``."""
    parts = [[*field.split("|"), "", ""][:3] for field in fields]
    rows = tuple(tuple(_cell(getattr(entry, attribute)) for attribute, _, _ in parts) for entry in entries)
    return NumberTable(name=name, columns=tuple(Column(name=label or attribute, unit=unit) for attribute, unit, label in parts), rows=rows)


def _cell(value: Any) -> str | int | float | bool | None:
    return len(value) if isinstance(value, tuple) else value


def balance_table(rows: tuple[BalanceRow, ...], name: str = "balance") -> NumberTable:
    """Files per instrument and kind, by state."""
    return _table(name, rows, "instrument", "kind", "seen", *STATES)


def calibration_table(cells: tuple[CalibrationCell, ...], name: str = "calibrations") -> NumberTable:
    """The calibration grid."""
    return _table(name, cells, "instrument", "kind", "label", "state", "grade", "age_days|d|age", "origin", "users", "reason")


def master_table(masters: tuple[MasterEntry, ...]) -> NumberTable:
    """Masters with level, noise and change (in ``level_unit``)."""
    first = ("name", "instrument", "kind", "label", "frames", "left_out", "level_adu||level", "noise_adu||noise", "level_unit||unit")
    return _table(
        "masters",
        masters,
        *first,
        "change",
        "change_unit",
        "change_sigma",
        "compared_with",
        "certified",
        "certification",
        "grade",
        "reason",
    )


def light_table(lights: tuple[LightEntry, ...]) -> NumberTable:
    """Every light with its quality (background in ``background_unit``)."""
    first = ("name||file", "instrument", "target", "filter", "exposure_s|s|exposure", "time_utc", "state", "grade", "fwhm_px|px|fwhm")
    return _table("lights", lights, *first, "ellipticity", "background", "background_unit", "depth_mag|mag|depth", "sources", "reason")


def stack_table(stacks: tuple[StackEntry, ...]) -> NumberTable:
    """Every stack with its quality."""
    first = ("name", "instrument", "target", "filter", "frames", "left_out", "exposure_s|s|exposure", "grade")
    return _table("stacks", stacks, *first, "fwhm_px|px|fwhm", "depth_mag|mag|depth", "sources", "reason")


def trend_table(trends: tuple[Trend, ...], name: str = "trends") -> NumberTable:
    """All trends, one row a night, with the limits that were learned."""
    rows = []
    for trend in trends:
        low, high = (trend.limits.low, trend.limits.high) if trend.limits else (None, None)
        rows += [(trend.instrument, trend.quantity, trend.unit, p.night, p.value, p.error, low, high) for p in trend.points]
    head = columns("instrument", "quantity", "unit", "night", "value", "error", "low", "high")
    return NumberTable(name=name, columns=head, rows=tuple(rows))


def truth_table(rows: tuple[TruthRow, ...]) -> NumberTable:
    """Recovered against simulated values."""
    return _table("truth", rows, "name", "recovered", "truth", "unit", "pull", "allowed", "passed")

"""The ledger's rows as the rest of the library sees them: frozen, typed, without a connection."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, NamedTuple

from nightcrew.frames.model import FrameHeader
from nightcrew.ledger.jsontext import loads

MARKED_BAD = "marked bad by a person"
FileState = Literal["waiting", "done", "degraded", "rejected", "set_aside"]
FILE_STATES: tuple[FileState, ...] = ("waiting", "done", "degraded", "rejected", "set_aside")
Grade = Literal["A", "B", "C", "D"]


def worst(*grades: str) -> str:
    """The worst of the grades, "A" when there is none."""
    return max(grades, default="A")


@dataclass(frozen=True, slots=True, kw_only=True)
class ScopeRow:
    """A night (or campaign) of one instrument."""

    id: int
    kind: str
    name: str
    instrument: str
    state: str = "open"
    revision: int = 0
    mark: int = 0
    planned_mark: int = -1
    reported_mark: int = -1
    last_arrival_at: str = ""
    wake_at: str = ""
    touched_at: str = ""
    mailed_at: str = ""
    closed_at: str = ""
    close_asked: bool = False

    @property
    def title(self) -> str:
        """How people name it: ``2026-03-14/NCSIM``; a set with its kind, ``sensor/set1``."""
        return f"{self.name}/{self.instrument}" if self.kind == "night" else f"{self.kind}/{self.name}"


class FrameRow(NamedTuple):
    """One exposure and where the bytes that count lie (a named tuple: a plan reads tens of thousands)."""

    id: int
    scope_id: int
    identity: str
    sha256: str
    path: bytes
    size: int
    mtime_ns: int
    header: FrameHeader
    header_hash: str
    arrived_at: str
    absent: str = ""  # "gone" from its folder; "changing": its bytes are not those that were read, it is read again
    ctime_ns: int = 0  # 0: not known
    pixels: str = ""  # hash of the pixel values and sketch of their noise, where it was needed to tell exposures apart


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRow:
    """A file of a product, below the products root."""

    role: str
    path: str
    sha256: str
    size: int


class _StoredProduct(NamedTuple):
    """A product's columns, in the order of the table: reading a row makes nothing but a tuple."""

    id: int
    recipe: str
    version: int
    scope_id: int
    key: str
    instrument: str
    fingerprint: str
    parameters_json: str
    facts_json: str
    files_json: str
    metrics_json: str
    grade: str
    grade_reasons_json: str
    certified: bool
    certification: str
    marked_bad: str
    state: str
    time_utc: str
    made_at: str
    claim_id: int


class ProductRow(_StoredProduct):
    """A product that was made, current or not.

    What is stored as JSON is parsed when it is first asked for: a plan reads thousands of rows and needs few of these.
    """

    @cached_property
    def facts(self) -> dict[str, Any]:
        """What association compares: exposure_s, temperature_c, filter ..."""
        facts: dict[str, Any] = loads(self.facts_json)
        return facts

    @cached_property
    def files(self) -> tuple[FileRow, ...]:
        """Its files, below the products root."""
        return tuple(FileRow(**values) for values in loads(self.files_json))

    @cached_property
    def metrics(self) -> dict[str, Any]:
        """Numbers that the unit of work measured on the way."""
        metrics: dict[str, Any] = loads(self.metrics_json)
        return metrics

    @cached_property
    def parameters(self) -> dict[str, Any]:
        """The recipe's parameters that it was made with."""
        parameters: dict[str, Any] = loads(self.parameters_json)
        return parameters

    @cached_property
    def grade_reasons(self) -> tuple[str, ...]:
        """Why its grade is not A, one sentence each."""
        return tuple(loads(self.grade_reasons_json)) if self.grade_reasons_json != "[]" else ()

    @property
    def usable(self) -> bool:
        """May other products be made from it?"""
        return self.certified and not self.marked_bad and self.state == "made"

    @property
    def barred_because(self) -> str:
        """Why it is not usable, "" when it is."""
        if self.marked_bad:
            return f"{MARKED_BAD}: {self.marked_bad}"
        if not self.certified:
            return f"failed certification: {self.certification}"
        return "" if self.state == "made" else f"its file is {self.state}"

    def file(self, role: str) -> FileRow:
        """The file of that role; KeyError when the product has none."""
        for row in self.files:
            if row.role == role:
                return row
        raise KeyError(f"{self.recipe} {self.key} has no file '{role}'")


@dataclass(frozen=True, slots=True, kw_only=True)
class NewProduct:
    """What a unit of work hands to the ledger: everything of a product but its row."""

    files: tuple[FileRow, ...]
    metrics: dict[str, Any]
    grade: str
    grade_reasons: tuple[str, ...]
    certified: bool = True
    certification: str = ""
    left_out: dict[int, str] = field(default_factory=dict)  # frame id -> why the recipe did not use it
    files_left_out: dict[str, str] = field(default_factory=dict)  # the same for files of a set, by name below its folder
    measurements: tuple[Measurement, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One number with its error and unit; ``value`` None means "could not be determined", with the reason in ``note``."""

    quantity: str
    value: float | None
    error: float | None
    unit: str
    where: dict[str, Any] = field(default_factory=dict)
    note: str = ""

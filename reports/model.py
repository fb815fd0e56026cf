"""Everything a report page shows, as plain frozen values: no ledger, no files, no clock.

:mod:`reports.gather` builds these from the ledger, :mod:`reports.verdict` judges them and :mod:`reports.render` turns
them into pages.  Texts may hold anything that a file name or a header held: they are escaped where they are shown.
Times are ISO 8601 UTC text; ``None`` is "could not be determined" and is shown as a dash, with ``note`` as the reason.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from reports.values import Figure, KeyNumber, NumberTable, Picture

Status = Literal["good", "attention", "bad", "empty"]
State = Literal["done", "degraded", "waiting", "rejected", "set_aside"]
Grade = Literal["A", "B", "C", "D", ""]
CellState = Literal["existed", "borrowed", "late", "missing"]
Level = Literal["info", "notice", "warning", "problem"]
ScopeKind = Literal["night", "campaign", "lab", "sensor", "mkid"]

STATES: tuple[State, ...] = ("done", "degraded", "waiting", "rejected", "set_aside")
GRADES: tuple[Grade, ...] = ("A", "B", "C", "D")
CELL_STATES: tuple[CellState, ...] = ("existed", "borrowed", "late", "missing")
LEVELS: tuple[Level, ...] = ("problem", "warning", "notice", "info")


@dataclass(frozen=True, kw_only=True)
class BalanceRow:
    """How many files of one kind were seen and what became of them; the five states must add up to ``seen``."""

    instrument: str
    kind: str
    seen: int
    done: int = 0
    degraded: int = 0
    waiting: int = 0
    rejected: int = 0
    set_aside: int = 0

    def count(self, state: State) -> int:
        """The number of files in ``state``."""
        return int(getattr(self, state))

    @property
    def missing(self) -> int:
        """Files seen that are in no state (or counted twice, when negative); 0 when the balance closes."""
        return self.seen - sum(self.count(state) for state in STATES)


def instruments_of(balance: Iterable[BalanceRow]) -> tuple[str, ...]:
    """All instruments of a balance, sorted."""
    return tuple(sorted({row.instrument for row in balance if row.instrument}))


@dataclass(frozen=True, kw_only=True)
class Cause:
    """Files that share a state and the cause of it, with the command that shows why."""

    state: Literal["failed", "rejected", "waiting", "degraded", "set_aside"]
    cause: str
    count: int
    files: tuple[str, ...]  # the first ones; all of them are in the saved numbers
    command: str
    kind: str = ""
    mend: str = ""


@dataclass(frozen=True, kw_only=True)
class CalibrationCell:
    """One calibration that this night's lights (or masters) asked for, and what they got.

    ``existed``: made of this night's frames in time.  ``borrowed``: from another night.  ``late``: came after the first
    light had been reduced, which was then done again.  ``missing``: none fits.
    """

    instrument: str
    kind: str  # bias, dark, flat, bad pixels ...
    label: str  # "60 s, -20 °C" or a filter: what tells it from others of its kind
    state: CellState
    grade: Grade = ""
    age_days: float | None = None
    origin: str = ""  # the night it comes from
    users: int = 0  # lights that asked for it
    reason: str = ""
    command: str = ""


@dataclass(frozen=True, kw_only=True)
class MasterEntry:
    """A master made of this night's frames."""

    name: str
    instrument: str
    kind: str
    label: str
    frames: int
    left_out: tuple[tuple[str, str], ...] = ()  # (file, reason)
    level_adu: float | None = None
    noise_adu: float | None = None
    level_unit: str = "ADU"
    change: float | None = None  # level minus that of the master it was compared with; of flats the rms change of shape
    change_unit: str = ""  # "" is level_unit
    change_sigma: float | None = None
    change_percent: float | None = None
    compared_with: str = ""  # the night of that one; "" when this is the first
    changed: bool = False  # more than the rules allow: a person should look
    certified: bool = True
    certification: str = ""  # why it failed
    grade: Grade = ""
    reason: str = ""
    picture: Picture | None = None
    extras: tuple[KeyNumber, ...] = ()  # read noise, gain, hot pixels ...
    command: str = ""


@dataclass(frozen=True, kw_only=True)
class LightEntry:
    """One light: what it became and how good it is."""

    name: str
    instrument: str
    target: str
    filter: str
    exposure_s: float | None
    time_utc: str
    state: State
    grade: Grade = ""
    reason: str = ""
    fwhm_px: float | None = None
    ellipticity: float | None = None
    background: float | None = None
    background_unit: str = "e-/s"
    depth_mag: float | None = None  # instrumental magnitude of a 5-sigma point source: no zero point in it
    sources: int | None = None
    thumbnail: Picture | None = None
    pictured: bool = True  # False: one of too many for the page to show its picture
    command: str = ""


@dataclass(frozen=True, kw_only=True)
class StackEntry:
    """One stack with its finder chart and the figures of its stars."""

    name: str
    instrument: str
    target: str
    filter: str
    frames: int
    left_out: tuple[tuple[str, str], ...] = ()
    exposure_s: float | None = None  # of the whole stack
    grade: Grade = ""
    reason: str = ""
    fwhm_px: float | None = None
    depth_mag: float | None = None
    sources: int | None = None
    picture: Picture | None = None
    finder: Picture | None = None  # with circles, numbers and magnitudes
    star_figures: tuple[Picture, ...] = ()
    command: str = ""


@dataclass(frozen=True, kw_only=True)
class PlateEntry:
    """Where an instrument's lights have their world coordinates from, where plate solving is on."""

    instrument: str
    from_header: int = 0
    solved: int = 0
    blind: int = 0  # of the solved ones
    astray: int = 0  # of the blind ones: further from the header's pointing than the search radius
    failed: int = 0  # for which the solver was to be asked, and there is no solution
    unsolved: int = 0  # all without coordinates
    rms_arcsec: float | None = None  # median of the solved ones
    unavailable: str = ""  # why there is no solver
    reasons: tuple[tuple[str, int], ...] = ()  # why lights have no coordinates, with counts

    @property
    def failure_percent(self) -> float | None:
        """Failures of those that were to be solved; None when none was."""
        tried = self.solved + self.failed
        return 100.0 * self.failed / tried if tried else None


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits learned from earlier nights: median -+ k x 1.4826 x MAD."""

    low: float
    high: float
    median: float
    nights: int


@dataclass(frozen=True, kw_only=True)
class TrendPoint:
    """The value of one night; ``error`` is 1 sigma."""

    night: str
    value: float
    error: float | None = None


@dataclass(frozen=True, kw_only=True)
class Trend:
    """A quantity over the last nights, oldest first; the last point is of the page's night unless ``tonight`` is False."""

    quantity: str
    label: str
    unit: str
    instrument: str
    points: tuple[TrendPoint, ...]
    limits: Limits | None = None  # None: too few nights to learn from
    outside: bool = False
    tonight: bool = True


@dataclass(frozen=True, kw_only=True)
class TruthRow:
    """A recovered quantity beside the simulated truth."""

    name: str
    recovered: float | None
    truth: float | None
    unit: str = ""
    pull: float | None = None  # (recovered - truth) / sigma
    allowed: str = ""
    passed: bool = True
    digits: int = 3


@dataclass(frozen=True, kw_only=True)
class AnalysisSection:
    """The short form of another report (laboratory, sensor, campaign, photon lists), with a link to the whole."""

    title: str
    status: Status
    verdict: str
    key_numbers: tuple[KeyNumber, ...] = ()
    figures: tuple[Figure, ...] = ()
    link: str = ""  # relative to the page's folder


@dataclass(frozen=True, kw_only=True)
class FolderFact:
    """What is known of a watched folder: says why a night may be empty.

    ``walked``: the last walk was late enough to have seen all that the night brought (or what it brought until the page was made).
    """

    path: str
    reachable: bool
    last_file_at: str = ""
    last_sweep_at: str = ""
    walked: bool = True
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Notice:
    """Something that happened to the service itself: disk, mail, watcher, a failed run."""

    level: Level
    text: str
    at: str = ""
    command: str = ""


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """What made the night's products: enough to make them again."""

    software: tuple[tuple[str, str], ...] = ()
    recipes: tuple[tuple[str, int, int], ...] = ()  # name, version, products of this night
    profiles: tuple[str, ...] = ()
    parameters: tuple[tuple[str, str], ...] = ()
    inputs_digest: str = ""  # of the sorted content hashes
    inputs: int = 0
    products: tuple[str, ...] = ()  # folders on this machine: told as text, since pages serve no products
    commands: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Link:
    """A neighbouring page."""

    label: str
    target: str


@dataclass(frozen=True, kw_only=True)
class NightPage:
    """All that the page of one night (or campaign) shows."""

    night: str  # ISO date of the local noon it starts at, or the campaign's name
    site: str
    made_at: str
    kind: ScopeKind = "night"
    timezone: str = "UTC"
    revision: int = 1
    revision_notes: tuple[str, ...] = ()
    closed: bool = True
    failed: str = ""  # why the night's run itself failed; "" when it ended well
    balance: tuple[BalanceRow, ...] = ()
    causes: tuple[Cause, ...] = ()
    calibrations: tuple[CalibrationCell, ...] = ()
    masters: tuple[MasterEntry, ...] = ()
    lights: tuple[LightEntry, ...] = ()
    stacks: tuple[StackEntry, ...] = ()
    plates: tuple[PlateEntry, ...] = ()  # empty where plate solving is off
    trends: tuple[Trend, ...] = ()
    truth: tuple[TruthRow, ...] = ()
    sections: tuple[AnalysisSection, ...] = ()
    folders: tuple[FolderFact, ...] = ()
    last_night_with_files: str = ""
    notices: tuple[Notice, ...] = ()
    provenance: Provenance = Provenance()
    files: NumberTable | None = None  # every file with its state and reason, saved beside the page
    links: tuple[Link, ...] = ()
    config: str = ""  # configuration file that the commands are asked of where they are shown; "" where they find it themselves

    @property
    def instruments(self) -> tuple[str, ...]:
        """All instruments of the page, sorted."""
        return instruments_of(self.balance)

    @property
    def seen(self) -> int:
        """Files seen for this night."""
        return sum(row.seen for row in self.balance)

    def total(self, state: State, kind: str | None = None) -> int:
        """Files in ``state``, of one ``kind`` or of all."""
        return sum(row.count(state) for row in self.balance if kind is None or row.kind == kind)


@dataclass(frozen=True, kw_only=True)
class Action:
    """Something a person should know or do, most urgent level first."""

    level: Level
    text: str
    command: str = ""
    anchor: str = ""  # section of the page that shows more


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The night in one word and one sentence, and what needs a person."""

    status: Status
    word: str
    sentence: str
    actions: tuple[Action, ...] = ()
    reasons: tuple[str, ...] = ()  # why nothing came, on an empty night

    @property
    def untold(self) -> tuple[str, ...]:
        """The reasons that do not stand among the actions, for where both are shown close together."""
        told = {action.text for action in self.actions}
        return tuple(reason for reason in self.reasons if reason not in told)


@dataclass(frozen=True, kw_only=True)
class IndexEntry:
    """One line of the index of nights."""

    night: str
    kind: ScopeKind
    link: str
    status: Status
    word: str
    sentence: str
    revision: int
    instruments: tuple[str, ...]
    seen: int
    lights: int
    reduced: int
    grades: tuple[int, int, int, int]
    needs: int
    made_at: str
    numbers: tuple[tuple[str, str], ...] = ()  # (name, value) of a set's key quantities


@dataclass(frozen=True, kw_only=True)
class IndexPage:
    """All nights and campaigns that have a report, newest first."""

    site: str
    made_at: str
    entries: tuple[IndexEntry, ...]
    notices: tuple[Notice, ...] = ()
    timezone: str = "UTC"

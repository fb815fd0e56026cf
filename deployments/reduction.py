"""One folder, reduced at once: the same ingest, plan and units as the service, on a ledger of its own, without a server."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from nightcrew.errors import Refused
from nightcrew.frames.profiles import Profile
from nightcrew.io.atomic import write_text
from nightcrew.ledger import arrivals, comparisons, scopes
from nightcrew.ledger.rows import ScopeRow
from nightcrew.recipes.parameters import LightParameters, NightParameters, PhotometryParameters, from_settings
from nightcrew.settings import FolderSettings, LedgerSettings, ProductsSettings, Settings, StateSettings
from nightcrew.settings_file import FILE_NAME, file_of
from tasks.workspace import Workspace
from watchers.names import NameFilter
from watchers.sweep import Trouble, walk

if TYPE_CHECKING:
    from tasks.executor import ScopeRun
    from tasks.run import Outcome

T = TypeVar("T", PhotometryParameters, LightParameters)
OWN_FOLDER = ".nightcrew"
_WISHES = "reduction.json"
_MUCH = 40  # so many new files are worth starting the worker processes while they are read
Tell = Callable[[str, int, int], None]
"""(what is being done, how many are done, of how many): progress for people."""


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """What the command line asks of one reduction; None keeps the configuration's value."""

    radius_px: float | None = None
    subframe_px: int | None = None
    smoothing_px: float | None = None
    sky: str | None = None
    exclude_filters: tuple[str, ...] = ()
    use_flat: bool = True
    use_dark: bool = True
    cosmic_rays: bool | None = None
    register: bool | None = None
    stack_method: str | None = None
    force: bool = False
    save: str = ""  # title in the names of figures

    def parameters(self, settings: Settings) -> NightParameters:
        """The recipes' parameters: the configuration's, with these in their place."""
        base = from_settings(settings)
        photometry = _changed(
            base.photometry, radius_px=self.radius_px, subframe_px=self.subframe_px, smoothing_px=self.smoothing_px, sky=self.sky
        )
        lights = _changed(base.lights, cosmic_rays=self.cosmic_rays, register=self.register, stack_method=self.stack_method)
        lights = dataclasses.replace(lights, use_dark=self.use_dark, use_flat=self.use_flat)
        figures = dataclasses.replace(base.figures, title=self.save)
        excluded = tuple(sorted(self.exclude_filters))
        return dataclasses.replace(base, photometry=photometry, lights=lights, figures=figures, exclude_filters=excluded)


def _changed(parameters: T, **values: Any) -> T:
    return dataclasses.replace(parameters, **{key: value for key, value in values.items() if value is not None})


@dataclass(frozen=True, kw_only=True)
class Reduction:
    """What a reduction did."""

    files: int
    runs: tuple[ScopeRun, ...]
    vanished: int = 0  # files that an earlier reduction had seen and that are gone now
    scopes: tuple[ScopeRow, ...]

    @property
    def made(self) -> int:
        """Products made by this run; 0 when everything was there."""
        return sum(run.made for run in self.runs)

    @property
    def busy(self) -> tuple[str, ...]:
        """Nights that another process works on: what it makes, and whether it can, is not known here."""
        titles = {scope.id: scope.title for scope in self.scopes}
        return tuple(titles[run.scope_id] for run in self.runs if run.busy)

    @property
    def failures(self) -> tuple[Outcome, ...]:
        """Units that failed or could not be finished."""
        return tuple(o for run in self.runs for o in run.outcomes if o.state in ("failed", "again"))


def is_text(path: Path) -> bool:
    """Is a path text (UTF-8)?  Of bytes that are none Python makes surrogates, which no configuration and no ledger can hold."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def settings_for(base: Settings, data: Path, calibration: Path | None, out: Path) -> Settings:
    """The configuration of one reduction: its folders, and everything of ours below ``out``.

    Raises ``Refused`` when a folder does not exist or has a name that is no text, or when ``out`` is one of the raw folders.
    """
    folders = [data.absolute(), *([calibration.absolute()] if calibration is not None else [])]
    for folder in (*folders, out.absolute()):
        if not is_text(folder):  # names of files may be any bytes; a folder's stands in the configuration
            raise Refused(f"{folder} is no text (UTF-8): give the folder another name, or reach it by a link with one")
    for folder in folders:
        if not folder.is_dir():
            raise Refused(f"{folder} is no folder")
        if os.path.realpath(folder) == os.path.realpath(out):
            raise Refused(f"--out {out} is the folder of the raw frames; name another, nothing is written beside them")
    if len(folders) == 2 and folders[1].is_relative_to(folders[0]):
        folders.pop()  # it is walked with the first
    out = out.absolute()
    return base.model_copy(
        update={
            "folders": tuple(FolderSettings(path=folder) for folder in folders),
            "products": ProductsSettings(root=out),
            "reports": base.reports.model_copy(update={"root": out / "report"}),
            "state": StateSettings(root=out / OWN_FOLDER),
            "ledger": LedgerSettings(),
        }
    ).anchored(Path.cwd())  # of no file: that of `base` is about another ledger


def open_reduction(settings: Settings, wishes: Wishes) -> Workspace:
    """The workspace of one reduction, its ledger made when there is none."""
    space = Workspace.open(settings, make_tables=True, parameters=wishes.parameters(settings))
    if wishes.force:
        space = dataclasses.replace(space, profiles={name: _forced(profile) for name, profile in space.profiles.items()})
    return space


def remember(settings: Settings, wishes: Wishes) -> Path | None:
    """Write down what a reduction was asked, so that ``why`` and its like can be asked of it; the configuration file for them.

    None where no configuration can say it, since the raw frames lie below ``--out``.
    """
    root = settings.state.root
    write_text(root / _WISHES, json.dumps(dataclasses.asdict(wishes), indent=1) + "\n", overwrite=True)
    head = "# Written by `nightcrew reduce`: for `nightcrew why`, `status`, `ledger` and `mark` about this folder.\n\n"
    write_text(root / FILE_NAME, head + file_of(settings), overwrite=True)
    try:
        Settings.load(root / FILE_NAME)
    except Refused:
        (root / FILE_NAME).unlink()
        return None
    return root / FILE_NAME


def reopened(settings: Settings) -> Workspace:
    """The workspace of a configuration; where it is that of a reduction, with what was asked of that."""
    file = settings.state.root / _WISHES
    if not file.exists():
        return Workspace.open(settings)
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
        wishes = Wishes(**{**values, "exclude_filters": tuple(values["exclude_filters"])})
    except (ValueError, TypeError, KeyError) as error:
        raise Refused(f"{file} is not what `nightcrew reduce` writes: {error}; reduce the folder again") from error
    return open_reduction(settings, wishes)


def _forced(profile: Profile) -> Profile:
    """A profile whose rules go on where they would stop: sets of any size are combined, what would block is left out."""
    rules = profile.rules
    loose = {name: "skip" for name in ("bias_missing", "dark_missing", "flat_missing") if getattr(rules, name) == "block"}
    forced = rules.model_copy(update={"minimum_bias": 1, "minimum_dark": 1, "minimum_flat": 1, **loose})
    return profile.model_copy(update={"rules": forced})


def reduce_folders(space: Workspace, tell: Tell = lambda _what, _done, _of: None) -> Reduction:
    """Take in what lies in the folders and make everything that can be made of it.

    Raw files that an earlier reduction saw and that are gone are marked so; what was made of them stays.

    Raises ``Refused`` when a folder cannot be read, or is empty although files of it are known.
    """
    from tasks.executor import Wish
    from tasks.pool import pooled

    files, vanished = _record(space)
    space.renormalise()  # a mended profile counts although no file is new
    with space.database.read() as connection:
        much = arrivals.count_to_read(connection) >= _MUCH
    with pooled(space.context, space.settings.limits.processes, tell, start=much) as make:
        ingest_all(space, tell)
        with space.database.read() as connection:
            found = [scope for scope in scopes.find(connection) if scope.kind == "night"]
        space.close_all([scope.id for scope in found if scope.state == "open"])
        runs = tuple(space.run(scope.id, wish=Wish(retry=True), make=make) for scope in reversed(found))
    return Reduction(files=files, vanished=vanished, runs=runs, scopes=tuple(reversed(found)))


def _record(space: Workspace) -> tuple[int, int]:
    """Write down what lies in the folders; the number of files, and of those that are not there any more."""
    ours = frozenset(
        os.fsencode(os.path.realpath(path))
        for path in (space.settings.products.root, space.settings.reports.root, space.settings.state.root)
    )
    count = vanished = 0
    for folder in space.settings.folders:
        trouble = Trouble()
        root = os.fsencode(os.path.realpath(folder.path))
        rows = [
            arrivals.Seen(
                path=entry.path,
                folder=str(folder.path),
                size=entry.size,
                mtime_ns=entry.mtime_ns,
                ctime_ns=entry.ctime_ns,
                kind="ignored" if entry.verdict else "",
                verdict=entry.verdict,
            )
            for entry in walk(root, NameFilter(folder.ignore), trouble, recursive=folder.recursive, skip=ours)
        ]
        if trouble.reasons:
            raise Refused("; ".join(trouble.reasons))
        gone = gone_below(space, root, {row.path for row in rows})
        arrivals.record(space.database, rows)
        vanished += arrivals.mark_vanished(space.database, gone)
        count += len(rows)
    return count, vanished


def gone_below(space: Workspace, root: bytes, met: set[bytes]) -> list[bytes]:
    """Known paths below a folder that a walk through it did not meet."""
    with space.database.read() as connection:
        known = arrivals.paths_below(connection, root)
    if known and not met:
        raise Refused(f"{os.fsdecode(root)} is empty although {len(known)} files of it are known; is its disk mounted?")
    return [path for path in known if path not in met]


def ingest_all(space: Workspace, tell: Tell) -> None:
    """Read everything that was recorded; what changes or cannot be opened just now stays an arrival."""
    for _ in range(2):  # what is found to hold other bytes than were read is read in the second round
        with space.database.read() as connection:
            total = comparisons.count_waiting(connection)
        done = 0
        tell("reading headers", 0, total)
        while done < total:
            batch = space.ingest(min(100, space.settings.limits.burst_files))
            read = batch.files + batch.compared - batch.again
            done += read
            tell("reading headers", done, total)
            if not read:
                return  # the rest changes or cannot be opened just now; the report names it

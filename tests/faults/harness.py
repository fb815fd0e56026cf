"""A small night of everything, and one life of a service over it: the real sweep, dispatcher, ingest, plan, reports and mail.

Only Prefect is left out: its place is taken by :class:`LocalRuns`, which keeps its runs in files, so that it remembers them when
the process is killed, as a server does.  A life begins with a sweep and ends when nothing is due any more and the morning's mail
is written; a killed one is followed by the next.
"""

from __future__ import annotations

import json
import os
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

from deployments.dispatch import Dispatcher
from deployments.runs import WAITS
from flows.housekeeping import tidy
from flows.pages import report_when_closed
from flows.post import deliver_queued
from flows.reporting import queue_morning
from nightcrew.errors import TransientError
from nightcrew.ledger import arrivals, comparisons, dispatches, history, messages, scopes
from nightcrew.ledger.dispatches import DispatchRow
from nightcrew.ledger.rows import ScopeRow
from nightcrew.settings import (
    FolderSettings,
    LightsSettings,
    LimitsSettings,
    MailSettings,
    NightSettings,
    PhotometrySettings,
    Settings,
    SiteSettings,
)
from nightcrew.simulate.lab import make_campaign
from nightcrew.simulate.lab_plan import lab_plan
from nightcrew.simulate.mkid_plan import Exposure, preset
from nightcrew.simulate.mkid_run import make_run
from nightcrew.simulate.night import simulate_night
from reports import names
from reports.model import ScopeKind
from tasks.executor import Wish
from tasks.workspace import Workspace
from tests.support.small_nights import MORNING, small_plan
from tests.support.undrawn import undrawn
from watchers.names import NameFilter
from watchers.service import ledger_sink
from watchers.settle import Settled
from watchers.sweep import Trouble, walk

NIGHT = "2026-05-16"
DAY = "2026-05-17"
KINDS = {"night": "night", "laboratory": "lab", "lists": "mkid"}  # watched folder -> its kind
_LIFE = timedelta(minutes=10)  # on the clock of the ledger; a step of the loop takes 5 s of it
_STEP = timedelta(seconds=5)
_STEPS = 400
_PAGES: dict[str, ScopeKind] = {"night": "night", "lab": "lab", "mkid": "mkid"}


def make_material(out: Path, *, pixels: int = 64) -> Path:
    """The files of a night with troublemakers, of a laboratory attempt, and of an MKID exposure; the folder of the three folders."""
    plan = small_plan(NIGHT, pixels=pixels, troubles=("truncated", "duplicate", "text_file", "bright_flat"))
    plan = replace(plan, darks=plan.darks[:1], filters=plan.filters[:1], late_filter="", separation_px=12.0)
    simulate_night(out / "simulated-night", plan, 3)
    laboratory = replace(
        lab_plan("tiny"),
        bias_temperatures_c=(10.0,),
        bias_frames=3,
        dark_temperatures_c=(),
        dark_exposures_s=(),
        flat_temperatures_c=(),
        flat_exposures_s=(),
    )
    make_campaign(out / "simulated-laboratory", laboratory, 4)
    sky = Exposure(name="sky", kind="dark", duration_s=1.0, rate_cps=50.0)
    make_run(out / "simulated-lists", replace(preset("tiny"), columns=6, rows=5, exposures=(sky,), gap_s=0.7), 5, keep_photons=False)
    watched = out / "watched"
    for name in KINDS:
        (watched / name).mkdir(parents=True)
    (out / "simulated-night" / "raw").rename(watched / "night" / "tonight")
    (out / "simulated-laboratory" / "campaign").rename(watched / "laboratory" / "chip7")
    for path in (out / "simulated-lists").glob("truth*"):
        path.unlink()
    (out / "simulated-lists").rename(watched / "lists" / "run1")
    return watched


def settings_of(watched: Path, root: Path, **sections: Any) -> Settings:
    """Three watched folders, everything else below ``root``; nothing waits, and mails go into a folder."""
    given: dict[str, Any] = {
        "site": SiteSettings(longitude_deg=-70.4042, latitude_deg=-24.6272, elevation_m=2635.0, timezone="America/Santiago"),
        "folders": tuple(
            FolderSettings.model_validate({"path": watched / name, "kind": kind, "quiet_s": 0.0}) for name, kind in KINDS.items()
        ),
        "lights": LightsSettings(cosmic_rays=False),
        "photometry": PhotometrySettings(star_figures=0),
        "limits": LimitsSettings(disk_reserve_bytes=0, threads=1),
        "night": NightSettings(group_quiet_s=0.0, quiet_s=0.0),
        "mail": MailSettings(transport="mailbox", to=["observer@localhost"]),
    }
    return Settings(**{**given, **sections}).anchored(root)


class LocalRuns:
    """What the dispatcher needs of Prefect, in files: a run by its row's key, executed by :meth:`work`."""

    def __init__(self, space: Workspace, *, between: Callable[[str], None] | None = None, folder: Path | None = None) -> None:
        self._space = space
        self._folder = folder or space.settings.state.root / "runs"
        self._folder.mkdir(parents=True, exist_ok=True)
        self.between = between or (lambda _flow: None)
        self.faults: list[str] = []  # runs that ended by a fault of the program: no fault from outside may cause one

    def crash_orphans(self) -> int:
        """Runs that a killed life left running have crashed; how many."""
        lost = [path for path in self._folder.iterdir() if path.suffix == ".json" and self._read(path)["state"] == "RUNNING"]
        for path in lost:
            self._write(path, {**self._read(path), "state": f"Crashed: {dispatches.GONE_AT_START}"})
        return len(lost)

    def start(self, row: DispatchRow, scope: ScopeRow | None) -> str:
        """See ``deployments.dispatch.Runs``."""
        path = self._folder / f"{row.id}.json"
        if not path.exists():
            self._write(path, {"state": "SCHEDULED", "flow": row.flow, "scope": None if scope is None else scope.id, "wish": row.wish})
        return str(row.id)

    def outcome(self, run_id: str) -> str | None:
        """See ``deployments.dispatch.Runs``."""
        state = str(self._read(self._folder / f"{run_id}.json")["state"])
        return WAITS if state == "SCHEDULED" else None if state == "RUNNING" else state

    def crash(self, run_id: str, message: str) -> None:
        """See ``deployments.dispatch.Runs``."""
        path = self._folder / f"{run_id}.json"
        self._write(path, {**self._read(path), "state": f"Crashed: {message}"})

    def work(self) -> None:
        """Execute what is scheduled, in the order in which it was asked for."""
        for path in sorted(self._folder.glob("*.json"), key=lambda one: int(one.stem)):
            run = self._read(path)
            if run["state"] == "SCHEDULED":
                self._write(path, {**run, "state": "RUNNING"})
                self._write(path, {**run, "state": self._run(run)})

    def _run(self, run: dict[str, Any]) -> str:
        self.between(run["flow"])
        try:
            if run["flow"] == "ingest":
                self._ingest()
            elif run["flow"] == "morning":
                self._morning(run["wish"]["morning"])
            else:
                self._space.renormalise()
                retry = bool(run["wish"].get("retry_failed"))
                self._space.run(run["scope"], wish=Wish(retry=retry, outdated=retry))
                report_when_closed(self._space, run["scope"])
        except TransientError as error:
            return f"Failed: {error}"
        except Exception as error:  # noqa: BLE001  # the edge of a run, as Prefect's; the test sees it
            self.faults.append(traceback.format_exc())
            return f"Failed: {type(error).__name__}: {error}"
        return "Completed"

    def _ingest(self) -> None:
        while True:
            done = self._space.ingest(10)
            if done.again == done.files:
                return

    def _morning(self, morning: str) -> None:
        queue_morning(self._space, morning)
        deliver_queued(self._space.database, self._space.settings.mail)
        tidy(self._space, date.fromisoformat(morning))

    def _read(self, path: Path) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return found

    def _write(self, path: Path, run: dict[str, Any]) -> None:
        part = path.with_suffix(".part")
        with part.open("w", encoding="utf-8") as file:
            json.dump(run, file)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)


class FaultyError(AssertionError):
    """A run ended by a fault of the program."""


class NotToldError(AssertionError):
    """A page does not say what it should."""


class NeverAtRestError(AssertionError):
    """A life did not come to rest within its steps."""


@dataclass
class Life:
    """One life of the service: from its start until everything is done.

    ``number`` counts the lives of one night: each begins ten minutes after the last on the ledger's clock.
    """

    settings: Settings
    number: int = 0
    morning: str = DAY
    between: Callable[[str], None] | None = None  # called before each run with the name of its flow
    each_step: Callable[[], None] | None = None
    runs_folder: Path | None = None  # where the fake server keeps its runs: in the state's folder
    retry_given_up: bool = True  # as a person who reads of it would

    def __post_init__(self) -> None:
        days = date.fromisoformat(self.morning) - date.fromisoformat(DAY)
        self.now: datetime = MORNING + days + _LIFE * self.number
        self.space = Workspace.open(self.settings, clock=lambda: self.now, make_tables=True)
        self.runs = LocalRuns(self.space, between=self.between, folder=self.runs_folder)
        self._passed_s = 0.0

    def live(self) -> None:
        """Until nothing is left to do and the mail of the morning is written; figures are not drawn."""
        with undrawn():
            self._live()

    def _live(self) -> None:
        messages.happened(self.space.database, "service", "info", "started")
        self.runs.crash_orphans()
        dispatcher = Dispatcher(self.space, self.runs, clock=lambda: self._passed_s)
        self.sweep()
        for _ in range(_STEPS):
            if self.each_step is not None:
                self.each_step()
            dispatcher.step()
            self.runs.work()
            self.now += _STEP
            self._passed_s += 60.0  # of the dispatcher's own clock: its pauses are over
            if self.runs.faults:
                raise FaultyError("\n".join(self.runs.faults))
            if self._at_rest() and self._mailed() and not self._retried():
                return
        raise NeverAtRestError(f"after {_STEPS} steps: {self.tell()}")

    def close(self) -> None:
        """Close the ledger."""
        self.space.database.close()

    def sweep(self) -> None:
        """As the watcher's sweep: what is new is recorded in bursts, what is gone is marked, and the sweep says so."""
        for folder in self.settings.folders:
            sink = ledger_sink(self.space.database, folder.path)
            with self.space.database.read() as connection:
                known = arrivals.known_stats(connection, str(folder.path))
            entries = list(walk(os.fsencode(folder.path), NameFilter(()), Trouble()))
            fresh = [
                Settled(e.path, e.size, e.mtime_ns, e.verdict, e.ctime_ns)
                for e in entries
                if known.get(e.path) != (e.size, e.mtime_ns, e.ctime_ns)
            ]
            for start in range(0, len(fresh), 10):
                sink.record(fresh[start : start + 10])
            gone = sorted(known.keys() - {entry.path for entry in entries})
            if gone:
                sink.vanished(gone)
            sink.swept([])

    def _at_rest(self) -> bool:
        database = self.space.database
        with database.read() as connection:
            every = scopes.find(connection)
            busy = dispatches.all_living(connection) or comparisons.count_waiting(connection) or scopes.due(connection, database.now())
        return not busy and all(one.state == "closed" and one.wake_at == "" and one.reported_mark == one.mark for one in every)

    def _mailed(self) -> bool:
        """Is the morning's mail on its way?  Asked for when it is not, as its schedule does."""
        with self.space.database.read() as connection:
            known = messages.mail_of(connection, self.morning)
        if known is None or known[0] == "queued":
            dispatches.request(self.space.database, "morning", None, {"morning": self.morning})
            return False
        return True

    def _retried(self) -> bool:
        """A person who reads on a page that units were given up asks for them again."""
        if not self.retry_given_up:
            return False
        found = 0
        for scope, reason in self.given_up():
            page = self.settings.reports.root / names.page_path(_PAGES[scope.kind], scope.name)
            if reason not in page.read_text(encoding="utf-8"):
                raise NotToldError(f"the page of {scope.title} does not say: {reason}")
            dispatches.request(self.space.database, scope.kind, scope.id, {"retry_failed": True})
            found += 1
        return bool(found)

    def given_up(self) -> list[tuple[ScopeRow, str]]:
        """Units whose process died three times: their scope, and the reason that its page must tell."""
        with self.space.database.read() as connection:
            every = [(scope, history.failures(connection, scope.id)) for scope in scopes.find(connection)]
        return [(scope, failure.reason) for scope, failed in every for failure in failed.values() if failure.deaths]

    def tell(self) -> str:
        """What helps to understand why it does not come to rest."""
        with self.space.database.read() as connection:
            lines = [*scopes.find(connection), *dispatches.recent(connection, 5), arrivals.balance(connection)]
            told = messages.happenings(connection, "")[-8:]
        return "\n".join(str(line) for line in (*lines, *told))

"""The real service as a child process, and what tests ask of it."""

from __future__ import annotations

import email
import email.policy
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import psutil
from sqlalchemy import select

from deployments.endpoints import Endpoints, answers, free_port
from flows.catalogue import DEPLOYMENT, FLOWS
from flows.parent import die_with_parent
from flows.reporting import queue_morning
from nightcrew.ledger import arrivals, dispatches, migrate, products, scopes
from nightcrew.ledger.arrivals import PathRow
from nightcrew.ledger.dispatches import DispatchRow
from nightcrew.ledger.rows import ProductRow, ScopeRow
from nightcrew.ledger.schema import claim, dispatch
from nightcrew.settings import LedgerSettings, Settings, StateSettings
from tasks.workspace import Workspace
from tests.service import planted
from tests.support import toy_kind

T = TypeVar("T")
PROFILE = 'description = "For a test of its own"\nextends = "nightcrew_simulated"\ninstrument = "{name}"\n'
CONFIGURATION = """\
[site]
longitude_deg = -96.453
latitude_deg = 46.867
elevation_m = 311.8
timezone = "America/Chicago"

[reports]
port = {pages_port}
time = "{time}"

[prefect]
port = {port}

[watch]
settle_s = 0.5
patience_s = 4.0
burst_s = 0.3
sweep_s = 4.0

[night]
quiet_s = 2.0
group_quiet_s = 0.0

[lights]
cosmic_rays = {cosmic_rays}

[photometry]
star_figures = 1

[limits]
disk_reserve_bytes = 0
"""
FOLDER = """
[[folders]]
path = "incoming/{name}"
instrument = "{profile}"
kind = "{kind}"
quiet_s = 3.0
"""


@dataclass(frozen=True)
class Watched:
    """A watched folder and the instrument whose frames come into it; "auto": chosen from the headers."""

    name: str
    simulated: bool = True
    kind: str = "night"


def configure(root: Path, folders: Sequence[Watched], *, time_of_report: str = "08:00", cosmic_rays: bool = False) -> Settings:
    """Write a configuration with quick waits and free ports, and the profiles of the folders' instruments."""
    values = {"port": free_port("127.0.0.1"), "pages_port": free_port("127.0.0.1"), "time": time_of_report}
    text = CONFIGURATION.format(**values, cosmic_rays=str(cosmic_rays).lower())
    (root / "instruments").mkdir(parents=True)
    for folder in folders:
        (root / "incoming" / folder.name).mkdir(parents=True)
        text += FOLDER.format(name=folder.name, profile=folder.name if folder.simulated else "auto", kind=folder.kind)
        if folder.simulated:
            (root / "instruments" / f"{folder.name}.toml").write_text(PROFILE.format(name=folder.name.upper()))
    (root / "nightcrew.toml").write_text(text)
    return Settings.load(root / "nightcrew.toml")


class Running:
    """``nightcrew up`` over a folder of its own.

    Everything is asked of the ledger, as a person's ``nightcrew status`` does; Prefect is asked over its API.
    ``toy``: the kind of sets that is the toy of ``tests.support.toy_kind``.
    """

    def __init__(self, settings: Settings, toy: str = "") -> None:
        assert settings.file is not None
        self.settings = settings
        self.root = settings.file.parent
        self._process: subprocess.Popen[bytes] | None = None
        self._held = False
        self._toy = toy
        self.given: dict[str, str] = {}  # further environment
        (self.root / "planted").mkdir()
        shutil.copy(planted.__file__, self.root / "planted" / "sitecustomize.py")
        shutil.copy(toy_kind.__file__, self.root / "planted" / "toy_kind.py")

    def start(self, limit_s: float = 90.0) -> None:
        """Start it, and wait until the server answers and knows our flows."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("NIGHTCREW_", "PREFECT_"))}
        paths = [str(self.root / "planted"), *filter(None, [environment.get("PYTHONPATH")])]
        environment |= {"PYTHONPATH": os.pathsep.join(paths), "PLANTED_FAULTS": str(self._faults), "PLANTED_TOY": self._toy, **self.given}
        parent = os.getpid()
        with (self.root / "up.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", "from deployments.cli import main; main()", "up", "--config", str(self.settings.file)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
                preexec_fn=lambda: die_with_parent(parent),  # noqa: PLW1509  # one thread forks
            )
        self.wait(self._serves, "the flows are known to the server", limit_s)

    def _serves(self) -> bool:
        import httpx

        if self.endpoints is None or self.endpoints.pid != self.up.pid or not answers(f"{self.api}/health"):
            return False
        answer = httpx.post(f"{self.api}/deployments/filter", json={}, timeout=10)
        return answer.status_code == 200 and len(answer.json()) == len(FLOWS)

    @property
    def endpoints(self) -> Endpoints | None:
        """Where it listens."""
        return Endpoints.read(self.settings.state.root)

    @property
    def api(self) -> str:
        """Address of Prefect's API."""
        assert self.endpoints is not None
        return self.endpoints.api_url

    @property
    def up(self) -> psutil.Process:
        """The supervisor."""
        assert self._process is not None
        return psutil.Process(self._process.pid)

    def child(self, name: str) -> psutil.Process | None:
        """A child of the supervisor: watcher, pages, dispatcher, runner."""
        return next((child for child in self.up.children() if child.cmdline()[-2:] == ["deployments.children", name]), None)

    @property
    def server(self) -> psutil.Process:
        """Prefect's server."""
        return next(child for child in self.up.children() if "deployments.prefect_server" in child.cmdline())

    def stop(self) -> None:
        """Stop it as a person would; by force when that takes too long."""
        if self._process is None or self._process.poll() is not None:
            return
        family = self.family()
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(90)
        finally:
            for process in family:
                _kill(process)
            self._process.wait()

    def family(self) -> list[psutil.Process]:
        """The supervisor and everything that it started."""
        return [self.up, *self.up.children(recursive=True)]

    def kill_everything(self) -> None:
        """SIGKILL for every process at once, as when the power goes: nobody hears of another's death."""
        assert self._process is not None
        family = self.family()
        for process in family:
            process.suspend()
        for process in {*family, *self.family()}:
            _kill(process)
        self._process.wait()

    # what to fail

    @property
    def _faults(self) -> Path:
        return self.root / "faults.json"

    def plant(self, *faults: dict[str, Any]) -> None:
        """Make these faults happen from now on (and no others)."""
        part = self._faults.with_suffix(".part")
        part.write_text(json.dumps([*faults, *([{"at": "dispatch"}] if self._held else [])]))
        part.replace(self._faults)

    # what it does

    @cached_property
    def space(self) -> Workspace:
        """The ledger and all that belongs to it."""
        return Workspace.open(self.settings)

    def wait(self, condition: Callable[[], T | None], what: str, limit_s: float = 60.0, pause_s: float = 0.2) -> T:
        """Wait until ``condition`` gives something true; the answer.  Fails when the service ends or time runs out."""
        end = time.monotonic() + limit_s
        while True:
            found = condition()
            if found:
                return found
            assert self._process is None or self._process.poll() is None, f"the service ended: {self.words('up')}"
            assert time.monotonic() < end, f"not within {limit_s:.0f} s: {what}\n{self.tell()}"
            time.sleep(pause_s)

    def words(self, name: str) -> str:
        """The end of a log."""
        log = self.root / "up.log" if name == "up" else self.settings.state.root / "logs" / f"{name}.log"
        return "\n".join(log.read_text(errors="replace").splitlines()[-15:]) if log.exists() else ""

    def tell(self) -> str:
        """Everything that helps to understand why something did not happen."""
        with self.space.database.read() as connection:
            rows = [str(row) for row in scopes.find(connection)] + [str(row) for row in dispatches.recent(connection, 8)]
            counts = str(arrivals.balance(connection))
        return "\n".join([counts, *rows, *(f"--- {name}\n{self.words(name)}" for name in ("up", "watcher", "dispatcher", "runner"))])

    def incoming(self, name: str) -> Path:
        """The watched folder of that name."""
        return self.root / "incoming" / name

    def drop(self, name: str, files: Iterable[Path], *, below: Path | None = None, seed: int = 0, pause_s: float = 0.0) -> int:
        """Copy files into a watched folder in random order, with their folders below ``below``; how many."""
        order = sorted(files)
        random.Random(seed).shuffle(order)
        for file in order:
            target = self.incoming(name) / (file.relative_to(below) if below else file.name)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)
            time.sleep(pause_s)
        return len(order)

    def scope(self, instrument: str) -> ScopeRow | None:
        """The one scope of an instrument."""
        with self.space.database.read() as connection:
            found = scopes.find(connection, instrument=instrument)
        assert len(found) <= 1
        return found[0] if found else None

    def settled(self, instrument: str, seen: int, folder: str) -> ScopeRow | None:
        """The scope of an instrument once all files of its folder are read, and it is closed, planned and reported."""
        row = self.scope(instrument)
        if row is None or not (row.state == "closed" and row.planned_mark >= row.mark == row.reported_mark):
            return None
        rows = self.files(folder)
        with self.space.database.read() as connection:
            running = dispatches.living(connection, "night", row.id)
        return row if len(rows) == seen and running is None and not any(one.to_read for one in rows) else None

    def settled_set(self, kind: str, name: str, seen: int) -> ScopeRow | None:
        """A set once so many of its files are read, and it is closed, planned and reported."""
        with self.space.database.read() as connection:
            found = scopes.find(connection, kind=kind, name=name)
            rows = arrivals.of_scope(connection, found[0].id) if found else []
        if not found or len(rows) != seen or any(row.to_read for row in rows):
            return None
        return found[0] if found[0].state == "closed" and found[0].planned_mark >= found[0].mark == found[0].reported_mark else None

    def files(self, folder: str) -> list[PathRow]:
        """Every file of a watched folder that the ledger knows."""
        start = os.fsencode(self.incoming(folder)) + b"/"
        with self.space.database.read() as connection:
            every = [*arrivals.without_scope(connection)]
            every += [row for scope in scopes.find(connection) for row in arrivals.of_scope(connection, scope.id)]
        return [row for row in every if row.path.startswith(start)]

    def products(self, instrument: str) -> list[ProductRow]:
        """The current products of an instrument."""
        row = self.scope(instrument)
        if row is None:
            return []
        with self.space.database.read() as connection:
            return products.current_of_scope(connection, row.id)

    def content(self, instrument: str) -> dict[str, bytes]:
        """Path below the products root -> bytes on disk of every current product's file."""
        root = self.settings.products.root
        return {file.path: (root / file.path).read_bytes() for row in self.products(instrument) for file in row.files}

    def lose(self, instrument: str, recipe: str, number: int = 0) -> ProductRow:
        """Delete the files of one product by hand; those of a recipe are counted in the order of their keys."""
        row = sorted((one for one in self.products(instrument) if one.recipe == recipe), key=lambda one: one.key)[number]
        for file in row.files:
            (self.settings.products.root / file.path).unlink()
        return row

    def all_there(self, instrument: str) -> bool:
        """Are the files of all current products there?"""
        return all((self.settings.products.root / file.path).exists() for row in self.products(instrument) for file in row.files)

    def idle(self, instrument: str) -> bool:
        """Is the night of an instrument planned, and does no run of it live?"""
        row = self.scope(instrument)
        return row is not None and row.planned_mark == row.mark and all(one.state == "ended" for one in self.dispatched(instrument))

    def claims(self, instrument: str, *states: str) -> list[Any]:
        """Claims of units (not of plans) of an instrument in those states, oldest first."""
        row = self.scope(instrument)
        if row is None:
            return []
        statement = select(claim).where(claim.c.scope_id == row.id, claim.c.recipe != "#plan", claim.c.state.in_(states))
        with self.space.database.read() as connection:
            return list(connection.execute(statement.order_by(claim.c.id)).all())

    def made_since(self, instrument: str, token: int) -> Counter[tuple[str, str]]:
        """(recipe, key) of what was made after the claim ``token``."""
        return Counter((row.recipe, row.key) for row in self.claims(instrument, "done") if row.id > token)

    def last_claim(self, instrument: str) -> int:
        """The newest claim of an instrument."""
        return max((row.id for row in self.claims(instrument, "done", "failed", "again", "died", "running")), default=0)

    def dispatched(self, instrument: str) -> list[DispatchRow]:
        """The attempts to run the night of an instrument, oldest first."""
        row = self.scope(instrument)
        if row is None:
            return []
        with self.space.database.read() as connection:
            ids = connection.execute(select(dispatch.c.id).where(dispatch.c.scope_id == row.id)).scalars().all()
            return sorted((one for one in dispatches.recent(connection, 10_000) if one.id in ids), key=lambda one: one.id)

    def look_again(self, instrument: str) -> None:
        """Mark the scope of an instrument, as an arrival or a new master does."""
        row = self.scope(instrument)
        assert row is not None
        with self.space.database.write() as connection:
            scopes.mark(connection, [row.id], self.space.database.now())

    def ask(self, instrument: str, **wish: Any) -> DispatchRow:
        """Ask for a run of an instrument's night, as ``nightcrew rerun`` does."""
        row = self.scope(instrument)
        assert row is not None
        return dispatches.request(self.space.database, "night", row.id, wish)

    def ended(self, row: DispatchRow, limit_s: float = 60.0) -> DispatchRow:
        """Wait until an attempt has ended; as it is then."""

        def look() -> DispatchRow | None:
            with self.space.database.read() as connection:
                known = next(one for one in dispatches.recent(connection, 10_000) if one.id == row.id)
            return known if known.state == "ended" else None

        return self.wait(look, f"dispatch {row.id} ended", limit_s)

    def start_run(self, instrument: str) -> str:
        """Start a run of an instrument's night past the dispatcher, as Prefect's pages do; its id."""
        import httpx

        row = self.scope(instrument)
        assert row is not None
        deployment = httpx.get(f"{self.api}/deployments/name/night/{DEPLOYMENT}", timeout=10).json()["id"]
        body = {"parameters": {"scope": row.title}, "state": {"type": "SCHEDULED"}}
        address = f"{self.api}/deployments/{deployment}/create_flow_run"

        def asked() -> str | None:
            answer = httpx.post(address, json=body, timeout=10)
            return str(answer.json()["id"]) if answer.is_success else None  # a busy server answers 503

        return self.wait(asked, "the server takes the run")

    @contextmanager
    def without_dispatcher(self) -> Iterator[None]:
        """Nothing is dispatched meanwhile, so that what a person starts is all that runs."""
        self._held = True
        self.plant()
        time.sleep(2.0)  # a look that has begun ends
        try:
            yield
        finally:
            self._held = False
            self.plant()

    def morning(self, folder: Path) -> str:
        """The mail that a morning would send now, from a copy of the ledger in ``folder``: the real one keeps its news."""
        copy = migrate.backup(self.space.database, "copy")
        assert copy is not None
        update = {
            "ledger": LedgerSettings(url=f"sqlite:///{copy.rename(folder / 'ledger.sqlite')}"),
            "state": StateSettings(root=folder),
            "reports": self.settings.reports.model_copy(update={"root": folder / "reports"}),
        }
        with toy_kind.toy_kind(self._toy) if self._toy else nullcontext():
            message = queue_morning(Workspace.open(self.settings.model_copy(update=update)), "2099-01-01").message
        body = email.message_from_bytes(message, policy=email.policy.default).get_body(("plain",))
        assert body is not None
        return str(body.get_content())

    def log_of(self, run_id: str) -> list[str]:
        """The log of a flow run, as Prefect's pages show it."""
        import httpx

        query = {"logs": {"flow_run_id": {"any_": [run_id]}}, "limit": 200}
        return [str(line["message"]) for line in httpx.post(f"{self.api}/logs/filter", json=query, timeout=10).json()]

    def flow_run(self, run_id: str) -> dict[str, Any]:
        """A flow run, as Prefect's API tells it."""
        import httpx

        answer: dict[str, Any] = httpx.get(f"{self.api}/flow_runs/{run_id}", timeout=10).json()
        return answer


def _kill(process: psutil.Process) -> None:
    try:
        process.kill()
    except psutil.NoSuchProcess:
        return

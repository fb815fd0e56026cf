"""A running ``nightcrew up`` in a folder of its own, and eyes on its ledger and its Prefect."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import psutil
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun
from prefect.settings import PREFECT_API_URL, temporary_settings

from deployments.endpoints import Endpoints
from nightcrew.ledger import arrivals, dispatches, scopes
from nightcrew.ledger.arrivals import PathRow
from nightcrew.ledger.dispatches import DispatchRow
from nightcrew.settings import Settings
from tasks.workspace import Workspace

UP = "from deployments.cli import main; main()"
NIGHT = "2026-05-16/NCSIM"
ZONE = ZoneInfo("America/Santiago")
CONFIGURATION = """\
[site]
longitude_deg = -70.4042
latitude_deg = -24.6272
elevation_m = 2635.0
timezone = "America/Santiago"
[[folders]]
path = "raw"
[reports]
port = 0
time = "{time}"
[prefect]
port = 0
[watch]
settle_s = 0.3
patience_s = 3
sweep_s = 20
[night]
quiet_s = 3600
group_quiet_s = 0
[lights]
cosmic_rays = false
[limits]
disk_reserve_bytes = 0
"""


class Service:
    """A running ``nightcrew up`` in a folder, and eyes on its ledger and its Prefect."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.raw = root / "raw"
        self.raw.mkdir()
        self.report_at = datetime.now(UTC).replace(second=0, microsecond=0) + timedelta(minutes=2)
        local = self.report_at.astimezone(ZONE)
        (root / "nightcrew.toml").write_text(CONFIGURATION.format(time=local.strftime("%H:%M")), encoding="utf-8")
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("NIGHTCREW_")}
        self.process = self.start()
        self.settings = Settings.load(root / "nightcrew.toml")
        self.wait(lambda: Endpoints.read(self.settings.state.root) is not None, "endpoints")
        self.space = Workspace.open(self.settings)

    def start(self) -> subprocess.Popen[bytes]:
        with (self.root / "up.log").open("ab") as log:
            return subprocess.Popen([sys.executable, "-c", UP, "up"], cwd=self.root, env=self.environment, stdout=log, stderr=log)

    def wait(self, condition: Callable[[], Any], what: str, limit_s: float = 90.0) -> Any:
        end = time.monotonic() + limit_s
        while not (answer := condition()):
            assert self.process.poll() is None, (self.root / "up.log").read_text(encoding="utf-8")
            assert time.monotonic() < end, f"{what}: it did not happen; files {self.states()}, runs {self.rows()}"
            time.sleep(0.1)
        return answer

    @property
    def endpoints(self) -> Endpoints:
        found = Endpoints.read(self.settings.state.root)
        assert found is not None
        return found

    def client(self) -> SyncPrefectClient:
        with temporary_settings({PREFECT_API_URL: self.endpoints.api_url}):
            return get_client(sync_client=True)

    def run(self, run_id: str) -> FlowRun:
        with self.client() as client:
            return client.read_flow_run(UUID(run_id))

    def files(self) -> list[PathRow]:
        with self.space.database.read() as connection:
            return [row for scope in scopes.find(connection) for row in arrivals.of_scope(connection, scope.id)]

    def states(self) -> dict[str, str]:
        return {os.fsdecode(row.path).rpartition("/")[2]: row.state for row in self.files()}

    def rows(self, flow: str = "night") -> list[DispatchRow]:
        with self.space.database.read() as connection:
            return [row for row in dispatches.recent(connection)[::-1] if row.flow == flow]

    def made(self) -> dict[str, str]:
        """Product files below the products root by name, each with its hash; links are left out."""
        root = self.settings.products.root
        return {
            str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(root.rglob("*"))
            if path.is_file() and not path.is_symlink() and not path.name.startswith(".")
        }

    def child(self, name: str) -> psutil.Process:
        """The child process of that name: runner, server ..."""
        wanted = "prefect" if name == "server" else name
        return next(child for child in psutil.Process(self.process.pid).children() if wanted in child.cmdline())

    def process_of(self, run_id: str) -> psutil.Process | None:
        """The process that works on a run."""
        for child in self.child("runner").children(recursive=True):
            try:
                if any(run_id in value for value in child.environ().values()):
                    return child
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
        return None

    def crash_a_run(self) -> DispatchRow:
        """Dispatch a night and kill the run's process; the row of the run, which the service has done anew meanwhile."""
        with self.space.database.read() as connection:
            scope = scopes.find(connection)[0]
        with self.space.database.write() as connection:
            scopes.mark(connection, [scope.id], self.space.database.now())
        known = {row.id for row in self.rows()}
        new = self.wait(lambda: [row for row in self.rows() if row.id not in known and row.run_id], "a run")[0]
        process: psutil.Process = self.wait(lambda: self.process_of(new.run_id), "the run's process")
        process.kill()
        self.wait(lambda: any(row.id == new.id and row.outcome.startswith("Crashed") for row in self.rows()), "the crash")
        self.wait(self.all_done, "the rest")
        return new  # type: ignore[no-any-return]

    def all_done(self) -> bool:
        with self.space.database.read() as connection:
            quiet = not arrivals.count_to_read(connection) and not dispatches.all_living(connection)
            planned = all(scope.mark <= scope.planned_mark for scope in scopes.find(connection))
        return quiet and planned and bool(self.states())


def bring(source: Path, service: Service, *patterns: str) -> list[str]:
    names = sorted(file.name for pattern in patterns for file in source.glob(pattern))
    for name in names:
        shutil.copyfile(source / name, service.raw / f"{name}.part")
        (service.raw / f"{name}.part").rename(service.raw / name)
    return names

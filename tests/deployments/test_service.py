"""The whole service, for real: one ``nightcrew up`` for all tests here, which run in this order on one ledger."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
from prefect.client.schemas.objects import FlowRun
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import AwaitingRetry

from deployments.endpoints import Endpoints, running_pid
from nightcrew.ledger import arrivals, dispatches, messages, products, scopes
from nightcrew.ledger.arrivals import PathRow
from nightcrew.ledger.dispatches import DispatchRow
from nightcrew.settings import Settings
from tasks.workspace import Workspace
from tests.support.small_nights import make_raw

pytestmark = [pytest.mark.server, pytest.mark.xdist_group("server")]
UP = "from deployments.cli import main; main()"
NIGHT = "2026-05-16/NCSIM"
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
        local = self.report_at.astimezone(_zone())
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
        from uuid import UUID

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

    def all_done(self) -> bool:
        with self.space.database.read() as connection:
            quiet = not arrivals.count_to_read(connection) and not dispatches.all_living(connection)
            planned = all(scope.mark <= scope.planned_mark for scope in scopes.find(connection))
        return quiet and planned and bool(self.states())


def _zone() -> Any:
    from zoneinfo import ZoneInfo

    return ZoneInfo("America/Santiago")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("night")
    make_raw(out)
    return out / "raw"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    one = Service(tmp_path_factory.mktemp("service"))
    yield one
    if one.process.poll() is None:
        one.process.terminate()
        one.process.wait(60)


def bring(source: Path, service: Service, *patterns: str) -> list[str]:
    names = sorted(file.name for pattern in patterns for file in source.glob(pattern))
    for name in names:
        shutil.copyfile(source / name, service.raw / f"{name}.part")
        (service.raw / f"{name}.part").rename(service.raw / name)
    return names


def test_files_become_products_by_themselves(service: Service, source: Path) -> None:
    names = bring(source, service, "bias*", "dark*", "flat*", "crew-1-V-001*")
    (service.raw / "notes.txt").write_text("clear all night", encoding="utf-8")
    service.wait(lambda: {name for name, state in service.states().items() if state == "done"} >= set(names), "the night", 120)
    service.wait(service.all_done, "rest")


def test_the_run_is_readable_in_prefects_pages(service: Service) -> None:
    run = service.run(service.rows()[-1].run_id)
    assert run.name == f"night {NIGHT}"
    assert {"nightcrew", "2026-05-16", "NCSIM"} <= set(run.tags)
    with service.client() as client:
        tasks = {task.name for task in client.read_task_runs()}
        artifacts = client.read_artifacts(artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=["masters-2026-05-16-ncsim"])))
    assert any(name.startswith("dark master 30s -20.0C") for name in tasks)
    assert any(name.startswith("reduced light ") for name in tasks)
    assert artifacts


def test_a_run_that_is_killed_is_dispatched_anew_and_completes(service: Service, source: Path) -> None:
    before = len(service.rows())
    bring(source, service, "crew-1-V-002*")
    service.wait(lambda: len(service.rows()) > before and service.rows()[-1].run_id, "a run")
    row = service.rows()[-1]
    process: psutil.Process = service.wait(lambda: service.process_of(row.run_id), "the run's process")
    process.kill()
    service.wait(lambda: service.states().get("crew-1-V-002.fit") == "done", "the light")
    service.wait(service.all_done, "rest")
    rows = {one.id: one for one in service.rows()}
    assert rows[row.id].outcome.startswith("Crashed")
    assert any(one.id > row.id and one.outcome == "Completed" for one in rows.values())


def test_a_crashed_run_can_be_retried_and_makes_nothing_twice(service: Service) -> None:
    crashed = next(row for row in service.rows() if row.outcome.startswith("Crashed"))
    before = service.made()
    with service.client() as client:
        client.set_flow_run_state(service.run(crashed.run_id).id, AwaitingRetry())
    service.wait(lambda: (state := service.run(crashed.run_id).state) is not None and state.is_completed(), "the retry")
    assert service.made() == before


def test_a_run_from_the_form_makes_exactly_what_is_missing(service: Service) -> None:
    before = service.made()
    lost = next(name for name in before if "dark_master" in name and "30s" in name)
    (service.settings.products.root / lost).unlink()
    with service.client() as client:
        deployment = client.read_deployment_by_name("night/nightcrew")
        run = client.create_flow_run_from_deployment(deployment.id, parameters={"scope": NIGHT, "only": ["dark_master"]})
    service.wait(lambda: (state := service.run(str(run.id)).state) is not None and state.is_completed(), "the run")
    assert service.made() == before


def test_a_killed_runner_comes_back(service: Service, source: Path) -> None:
    service.child("runner").kill()
    bring(source, service, "crew-1-B-001*")
    service.wait(lambda: service.states().get("crew-1-B-001.fit") == "done", "the light")


def test_a_killed_server_comes_back_with_a_new_runner(service: Service, source: Path) -> None:
    runner = service.child("runner").pid
    service.child("server").kill()
    bring(source, service, "crew-1-B-002*")
    service.wait(lambda: service.states().get("crew-1-B-002.fit") == "done", "the light", 120)
    assert service.child("runner").pid != runner
    with service.space.database.read() as connection:
        assert any("server ended" in text for _, _, _, text in messages.happenings(connection, ""))


def test_the_scheduled_report_fires_and_its_mail_is_sent_once(service: Service) -> None:
    morning = service.report_at.astimezone(_zone()).date().isoformat()
    remaining = (service.report_at - datetime.now(UTC)).total_seconds()
    mail = service.settings.mail.mailbox / f"{morning}.eml"
    service.wait(mail.exists, "the scheduled report", max(remaining, 0) + 60)
    text = mail.read_bytes()
    dispatches.request(service.space.database, "morning", None, {"morning": morning})
    service.wait(lambda: service.rows("morning") and service.rows("morning")[-1].outcome == "Completed", "a second morning")
    with service.space.database.read() as connection:
        rows = messages.mails(connection)
    assert [(row.morning, row.state, row.attempts) for row in rows] == [(morning, "delivered", 1)]
    assert mail.read_bytes() == text


def test_products_equal_those_of_reduce_byte_for_byte(service: Service, tmp_path: Path) -> None:
    from deployments.reduction import Wishes, open_reduction, reduce_folders, settings_for

    with service.space.database.write() as connection:
        for scope in scopes.find(connection):
            scopes.ask_to_close(connection, scope.id)
    service.wait(lambda: _closed(service), "closing")
    service.wait(service.all_done, "rest")
    space = open_reduction(settings_for(service.settings, service.raw, None, tmp_path), Wishes())
    reduce_folders(space)
    with space.database.read() as connection:
        current = [row for scope in scopes.find(connection) for row in products.current_of_scope(connection, scope.id)]
    ours = service.made()
    assert len(current) > 15
    for row in current:
        for file in row.files:
            assert ours[file.path] == file.sha256, file.path


def _closed(service: Service) -> bool:
    with service.space.database.read() as connection:
        return all(scope.state == "closed" and scope.reported_mark == scope.mark for scope in scopes.find(connection))


def test_the_pages_answer(service: Service) -> None:
    import urllib.request

    with urllib.request.urlopen(f"{service.endpoints.pages_url}/night/2026-05-16/", timeout=10) as answer:  # noqa: S310  # our own page
        assert b"2026-05-16" in answer.read()


def test_a_second_service_is_refused(service: Service) -> None:
    answer = subprocess.run(
        [sys.executable, "-c", UP, "up"], cwd=service.root, env=service.environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert answer.returncode == 2
    assert "runs already" in answer.stderr


def test_it_stops_in_order_and_leaves_nothing_behind(service: Service) -> None:
    family = psutil.Process(service.process.pid).children(recursive=True)
    service.process.send_signal(signal.SIGTERM)
    assert service.process.wait(60) == 0
    gone, alive = psutil.wait_procs(family, timeout=5)
    assert alive == []
    assert len(gone) >= 5
    assert running_pid(service.settings.state.root) is None

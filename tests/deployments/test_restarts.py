"""What ``up`` restarts in a running service: the runner alone, and the server with a new runner."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from deployments.endpoints import Endpoints
from nightcrew.ledger import arrivals, messages, scopes
from nightcrew.settings import Settings
from tasks.workspace import Workspace
from tests.support.small_nights import make_raw

pytestmark = [pytest.mark.server, pytest.mark.xdist_group("server")]
CONFIGURATION = """\
[site]
longitude_deg = -70.4042
latitude_deg = -24.6272
timezone = "America/Santiago"
[[folders]]
path = "raw"
[reports]
port = 0
[prefect]
port = 0
[watch]
settle_s = 0.3
[night]
group_quiet_s = 0
[lights]
cosmic_rays = false
[limits]
disk_reserve_bytes = 0
"""


class Service:
    """A running ``nightcrew up`` in a folder of its own."""

    def __init__(self, root: Path) -> None:
        self.raw = root / "raw"
        self.raw.mkdir()
        (root / "nightcrew.toml").write_text(CONFIGURATION, encoding="utf-8")
        self.log = root / "up.log"
        environment = {name: value for name, value in os.environ.items() if not name.startswith("NIGHTCREW_")}
        command = [sys.executable, "-c", "from deployments.cli import main; main()", "up"]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, cwd=root, env=environment, stdout=log, stderr=log)
        self.settings = Settings.load(root / "nightcrew.toml")
        self.wait(lambda: Endpoints.read(self.settings.state.root) is not None, "the service")
        self.space = Workspace.open(self.settings)

    def wait(self, condition: Callable[[], Any], what: str, limit_s: float = 120.0) -> None:
        end = time.monotonic() + limit_s
        while not condition():
            assert self.process.poll() is None, self.log.read_text(encoding="utf-8")
            assert time.monotonic() < end, f"{what}: it did not happen"
            time.sleep(0.1)

    def bring(self, source: Path, *patterns: str) -> set[str]:
        names = {file.name for pattern in patterns for file in source.glob(pattern)}
        for name in sorted(names):
            shutil.copyfile(source / name, self.raw / f"{name}.part")
            (self.raw / f"{name}.part").rename(self.raw / name)
        return names

    def done(self) -> set[str]:
        with self.space.database.read() as connection:
            rows = [row for scope in scopes.find(connection) for row in arrivals.of_scope(connection, scope.id)]
        return {os.fsdecode(row.path).rpartition("/")[2] for row in rows if row.state == "done"}

    def child(self, name: str) -> psutil.Process:
        wanted = "prefect" if name == "server" else name
        return next(child for child in psutil.Process(self.process.pid).children() if wanted in child.cmdline())


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    one = Service(tmp_path)
    yield one
    if one.process.poll() is None:
        one.process.terminate()
        one.process.wait(60)


def test_runner_and_server_come_back_and_the_work_goes_on(service: Service, tmp_path_factory: pytest.TempPathFactory) -> None:
    out = tmp_path_factory.mktemp("night")
    make_raw(out)
    names = service.bring(out / "raw", "bias*", "dark*", "flat*", "crew-1-V-001*")
    service.wait(lambda: names <= service.done(), "the night")

    service.child("runner").kill()
    names = service.bring(out / "raw", "crew-1-V-002*")
    service.wait(lambda: names <= service.done(), "a light after the runner was killed")

    runner = service.child("runner").pid
    service.child("server").kill()
    names = service.bring(out / "raw", "crew-1-B-001*")
    service.wait(lambda: names <= service.done(), "a light after the server was killed")
    assert service.child("runner").pid != runner
    with service.space.database.read() as connection:
        assert any("server ended" in text for _, _, _, text in messages.happenings(connection, ""))

"""SIGKILL for a worker, for the watcher, for everything at once: the same products, nothing twice."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import psutil
import pytest

from nightcrew.settings import FolderSettings, InstrumentsSettings, LightsSettings, PhotometrySettings
from tests.service.running import Running
from tests.support.small_nights import Bench

pytestmark = [pytest.mark.server, pytest.mark.xdist_group("service")]
CAMERA = "KILLED"


def reference(service: Running, raw: Path, root: Path) -> dict[str, str]:
    """What the night gives when nothing is killed, by the local executor."""
    settings = service.settings
    bench = Bench(
        raw,
        root,
        site=settings.site,
        folders=(FolderSettings(path=raw, instrument="killed"),),
        instruments=InstrumentsSettings(folder=settings.instruments.folder),
        lights=LightsSettings(cosmic_rays=settings.lights.cosmic_rays),
        photometry=PhotometrySettings(star_figures=settings.photometry.star_figures),
    )
    bench.night()
    return bench.content()


def at_work(service: Running) -> Any:
    """A claim of a living worker, once there is one."""
    return service.wait(
        lambda: next((row for row in service.claims(CAMERA, "running") if psutil.pid_exists(row.pid)), None), "a worker makes a product"
    )


def test_a_night_survives_every_kill(service: Running, raw: dict[str, Path], tmp_path: Path) -> None:
    files = sorted(raw["killed"].iterdir())
    service.plant({"at": "unit", "of": CAMERA, "do": "sleep", "s": 0.5})  # else the night is over before anyone can be killed
    service.drop("killed", files[::2])
    worker = at_work(service)
    psutil.Process(worker.pid).kill()
    service.wait(lambda: any("Crashed" in row.outcome for row in service.dispatched(CAMERA)), "the killed run is told")

    watcher = service.child("watcher")
    assert watcher is not None
    watcher.kill()
    service.drop("killed", files[1::2])
    service.wait(lambda: len(service.files("killed")) == len(files), "the new watcher has seen what came meanwhile")

    at_work(service)
    running = [row for row in service.dispatched(CAMERA) if row.state == "accepted"]
    service.kill_everything()
    service.plant()
    service.start()
    (run_id,) = [row.run_id for row in running]
    service.wait(lambda: service.flow_run(run_id)["state_type"] == "CRASHED", "what the power loss left running is marked")
    assert service.flow_run(run_id)["state"]["message"] == "its process was gone when the service started"
    service.wait(lambda: service.settled(CAMERA, len(files), "killed"), "the night is reduced and reported", 120)

    rows = service.dispatched(CAMERA)
    crashed = next(row for row in rows if row.run_id == run_id)
    assert crashed.outcome == "Crashed: its process was gone when the service started"
    assert [row.outcome for row in rows if row.id > crashed.id][-1] == "Completed"

    made = {file.path: file.sha256 for row in service.products(CAMERA) for file in row.files}
    assert made == reference(service, raw["killed"], tmp_path)
    assert {path for path in made if not (service.settings.products.root / path).exists()} == set()
    twice = [key for key, count in Counter(row.fingerprint for row in service.claims(CAMERA, "done")).items() if count > 1]
    assert twice == []
    assert service.claims(CAMERA, "failed", "running") == []
    for file in files:
        assert (service.incoming("killed") / file.name).read_bytes() == file.read_bytes()

"""SIGKILL for a worker, for the watcher, for everything at once, for the runner, for the server: the same products, nothing twice."""

from __future__ import annotations

import html
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import pytest

from nightcrew.ledger import messages
from nightcrew.settings import FolderSettings, InstrumentsSettings, LightsSettings, PhotometrySettings
from tests.service.running import Running
from tests.support.small_nights import Bench

pytestmark = [pytest.mark.server, pytest.mark.xdist_group("service-kills")]
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

    reports, scope = service.settings.reports.root, service.scope(CAMERA)
    assert scope is not None
    page = (reports / "night" / scope.name / "index.html").read_text()
    for row in rows:
        if "Crashed" in row.outcome:
            assert f"the run of {scope.title} ended {row.outcome}" in html.unescape(page)
    assert "watcher was killed (SIGKILL" in html.unescape(
        (reports / "index.html").read_text()
    )  # of tonight; the frames are of an older night

    made = {file.path: file.sha256 for row in service.products(CAMERA) for file in row.files}
    assert made == reference(service, raw["killed"], tmp_path)
    assert {path for path in made if not (service.settings.products.root / path).exists()} == set()
    twice = [key for key, count in Counter(row.fingerprint for row in service.claims(CAMERA, "done")).items() if count > 1]
    assert twice == []
    assert service.claims(CAMERA, "failed", "running") == []
    for file in files:
        assert (service.incoming("killed") / file.name).read_bytes() == file.read_bytes()


@pytest.fixture
def killed(service: Running, raw: dict[str, Path]) -> Iterator[Running]:
    """The service once the night of the camera KILLED is there; nothing is planted any more afterwards."""
    files = sorted(raw["killed"].iterdir())
    if service.scope(CAMERA) is None:  # asked for alone
        service.drop("killed", files)
    service.wait(lambda: service.settled(CAMERA, len(files), "killed"), "the night is reduced and reported", 120)
    yield service
    service.plant()


def test_a_unit_that_kills_its_run_three_times_is_given_up_by_name_and_a_person_can_ask_again(killed: Running) -> None:
    before, token = len(killed.dispatched(CAMERA)), killed.last_claim(CAMERA)
    deadly, beside = killed.lose(CAMERA, "reduce_light", 0), killed.lose(CAMERA, "reduce_light", 1)
    killed.plant({"at": "unit", "of": CAMERA, "recipe": "reduce_light", "key": deadly.key, "do": "die"})
    killed.look_again(CAMERA)
    killed.wait(
        lambda: len(killed.dispatched(CAMERA)) > before and killed.idle(CAMERA), "the unit is given up and the scope is planned", 120
    )
    died = Counter(claim.key for claim in killed.claims(CAMERA, "died") if claim.id > token)
    assert died[deadly.key] == 3
    assert died[beside.key] <= 1
    assert ("reduce_light", beside.key) in killed.made_since(CAMERA, token)
    rows = killed.dispatched(CAMERA)[before:]
    assert ["Crashed" in row.outcome for row in rows] == [True, True, True, False]
    reason = "gave up: the process died 3 times while making it"
    (given_up,) = [row for row in killed.files("killed") if reason in row.reason]
    assert (given_up.kind, given_up.state) == ("light", "rejected")
    page = killed.settings.reports.root / "night" / "2025-05-17" / "index.html"
    killed.wait(lambda: reason in page.read_text(), "the report names it")
    time.sleep(3.0)
    assert len(killed.dispatched(CAMERA)) == before + len(rows)

    killed.plant()
    killed.ended(killed.ask(CAMERA, retry_failed=True))
    killed.wait(lambda: killed.idle(CAMERA), "the scope is planned")
    assert ("reduce_light", deadly.key) in killed.made_since(CAMERA, token)
    assert [row.reason for row in killed.files("killed") if "planted" in row.reason or "gave up" in row.reason] == []


def test_runner_and_server_come_back_and_the_work_goes_on(killed: Running) -> None:
    runner = killed.child("runner")
    assert runner is not None
    runner.kill()
    made_again(killed, "a catalogue after the runner was killed")

    runner = killed.child("runner")
    old, young = aged_run(killed)
    killed.server.kill()
    made_again(killed, "a catalogue after the server was killed")
    killed.wait(lambda: not rows_of(killed, old), "the history of 100 days ago is taken away by the server that came back")
    assert rows_of(killed, young)
    assert killed.child("runner") not in (None, runner)
    with killed.space.database.read() as connection:
        assert any("server was killed" in text for _, _, _, text in messages.happenings(connection, ""))


def made_again(service: Running, what: str) -> None:
    """A catalogue is lost and comes back."""
    token = service.last_claim(CAMERA)
    lost = service.lose(CAMERA, "photometry")
    service.look_again(CAMERA)
    service.wait(lambda: service.made_since(CAMERA, token) == {(lost.recipe, lost.key): 1}, what, 90)
    service.wait(lambda: service.idle(CAMERA), "the scope is planned")


def aged_run(service: Running) -> tuple[str, str]:
    """Two finished runs in Prefect's database, the first of which is made to have ended 100 days ago."""
    with closing(sqlite3.connect(prefect_database(service), timeout=60)) as database, database:
        query = "SELECT id FROM flow_run WHERE state_type = 'COMPLETED' ORDER BY end_time LIMIT 2"
        (old,), (young,) = database.execute(query).fetchall()
        database.execute("UPDATE flow_run SET end_time = datetime(end_time, '-100 days') WHERE id = ?", (old,))
    assert rows_of(service, old)
    return old, young


def rows_of(service: Running, run: str) -> int:
    """How many rows Prefect keeps of a run: the run, its tasks, its words."""
    queries = (
        "SELECT count(*) FROM flow_run WHERE id = ?",
        "SELECT count(*) FROM task_run WHERE flow_run_id = ?",
        "SELECT count(*) FROM log WHERE flow_run_id = ?",
    )
    with closing(sqlite3.connect(prefect_database(service), timeout=60)) as database:
        return sum(int(database.execute(query, (run,)).fetchone()[0]) for query in queries)


def prefect_database(service: Running) -> Path:
    """The file of Prefect's server."""
    return service.settings.state.root / "prefect" / "prefect.db"

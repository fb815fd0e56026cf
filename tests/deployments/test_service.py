"""The whole service, for real: files become products; what is killed comes back; the schedule fires."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
from prefect.states import AwaitingRetry

from nightcrew.ledger import dispatches, messages, products, scopes
from tests.deployments.running import NIGHT, ZONE, Service, bring

pytestmark = [pytest.mark.server, pytest.mark.xdist_group("server")]


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
    morning = service.report_at.astimezone(ZONE).date().isoformat()
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

"""A run has the tags of its night and instrument, whoever started it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID, uuid4

import httpx
import pytest

from flows import tagging

Told = list[tuple[UUID, list[str]]]


class FakeRun:
    """What ``prefect.runtime`` says of the run."""

    def __init__(self, run_id: str | None, *tags: str) -> None:
        self.id = run_id
        self.tags = list(tags)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Told:
    """What was said to the server."""
    found: Told = []

    class Client:
        def update_flow_run(self, run_id: UUID, tags: list[str]) -> None:
            if "unreachable" in tags:
                raise httpx.ConnectError("no answer")
            found.append((run_id, tags))

    @contextmanager
    def client(*, sync_client: bool) -> Iterator[Client]:
        assert sync_client
        yield Client()

    monkeypatch.setattr(tagging, "get_client", client)
    return found


def test_a_run_from_the_form_gets_its_tags_beside_those_of_its_deployment(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    run_id = uuid4()
    monkeypatch.setattr(tagging, "flow_run", FakeRun(str(run_id), "nightcrew"))
    tagging.tag_run("2026-03-14", "NCSIM")
    assert told == [(run_id, ["2026-03-14", "NCSIM", "nightcrew"])]


def test_a_run_that_has_them_asks_for_nothing(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    for run in (FakeRun(None), FakeRun(str(uuid4()), "nightcrew", "NCSIM", "2026-03-14")):
        monkeypatch.setattr(tagging, "flow_run", run)
        tagging.tag_run("2026-03-14", "NCSIM")
    assert told == []


def test_a_server_that_does_not_answer_costs_the_tags_only(
    told: Told, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tagging, "flow_run", FakeRun(str(uuid4()), "unreachable"))
    tagging.tag_run("NCSIM")
    assert told == []
    assert "could not be tagged" in caplog.text

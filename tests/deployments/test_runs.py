"""Asking Prefect over HTTP: what is sent, and what its answers mean."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from deployments.runs import WAITS, PrefectRuns
from nightcrew.errors import TransientError
from nightcrew.ledger.dispatches import DispatchRow
from nightcrew.ledger.rows import ScopeRow

SCOPE = ScopeRow(id=7, kind="night", name="2026-05-16", instrument="NCSIM")
ROW = DispatchRow(id=3, flow="night", scope_id=7, wish={"from_step": "lights"}, created_at="2026-05-17T08:00:00.000")


class Fake(ThreadingHTTPServer):
    """A server that remembers what it was asked."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[tuple[str, dict[str, Any], str]] = []
        self.answers: dict[str, tuple[int, Any]] = {
            "/api/deployments/name/night/nightcrew": (200, {"id": "dep"}),
            "/api/deployments/dep/create_flow_run": (201, {"id": "run"}),
        }

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/api"


class _Handler(BaseHTTPRequestHandler):
    server: Fake

    def do_GET(self) -> None:
        self._answer({})

    def do_POST(self) -> None:
        self._answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

    def _answer(self, body: dict[str, Any]) -> None:
        self.server.asked.append((self.path, body, self.headers.get("Authorization", "")))
        code, value = self.server.answers.get(self.path, (404, {"detail": "Not Found"}))
        self.send_response(code)
        self.end_headers()
        self.wfile.write(json.dumps(value).encode())

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  the name of the base class
        pass


@pytest.fixture
def fake() -> Iterator[Fake]:
    server = Fake()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_run_is_asked_for_with_the_rows_key_and_the_scopes_tags(fake: Fake) -> None:
    runs = PrefectRuns(fake.url, "observer:secret")
    assert runs.start(ROW, SCOPE) == "run"
    _, body, authorization = fake.asked[-1]
    assert body["idempotency_key"] == "2026-05-17T08:00:00.000-3"
    assert body["parameters"] == {"from_step": "lights", "scope": "2026-05-16/NCSIM"}
    assert body["tags"] == ["nightcrew", "2026-05-16", "NCSIM"]
    assert base64.b64decode(authorization.removeprefix("Basic ")) == b"observer:secret"
    runs.start(ROW, None)
    assert [path for path, _, _ in fake.asked].count("/api/deployments/name/night/nightcrew") == 1


def test_a_deployment_that_is_not_served_yet_is_asked_for_again(fake: Fake) -> None:
    known = fake.answers.pop("/api/deployments/name/night/nightcrew")
    runs = PrefectRuns(fake.url)
    with pytest.raises(TransientError, match="does not know"):
        runs.start(ROW, SCOPE)
    fake.answers["/api/deployments/name/night/nightcrew"] = known
    assert runs.start(ROW, SCOPE) == "run"


@pytest.mark.parametrize(
    ("state", "outcome"),
    [
        ({"type": "RUNNING", "name": "Running"}, None),
        ({"type": "PENDING", "name": "Pending"}, None),
        ({"type": "SCHEDULED", "name": "Late"}, WAITS),
        ({"type": "COMPLETED", "name": "Completed"}, "Completed"),
        ({"type": "CRASHED", "name": "Crashed", "message": "out of memory"}, "Crashed: out of memory"),
        ({"type": "FAILED", "name": "Failed", "message": None}, "Failed: no message"),
        (None, None),
    ],
)
def test_states_become_outcomes(fake: Fake, state: dict[str, Any] | None, outcome: str | None) -> None:
    fake.answers["/api/flow_runs/run"] = (200, {"state": state})
    assert PrefectRuns(fake.url).outcome("run") == outcome


def test_a_run_that_is_gone_is_lost(fake: Fake) -> None:
    assert str(PrefectRuns(fake.url).outcome("gone")).startswith("Lost")


@pytest.mark.parametrize("code", [401, 409, 503])
def test_other_answers_are_passing(fake: Fake, code: int) -> None:
    fake.answers["/api/deployments/dep/create_flow_run"] = (code, {"detail": "no"})
    with pytest.raises(TransientError, match=str(code)):
        PrefectRuns(fake.url).start(ROW, SCOPE)


def test_a_server_that_is_down_is_passing() -> None:
    with pytest.raises(TransientError, match="cannot be asked"):
        PrefectRuns("http://127.0.0.1:9/api").outcome("run")


def test_the_runs_that_are_planned_ahead_are_counted(fake: Fake) -> None:
    fake.answers["/api/deployments/name/morning/nightcrew"] = (200, {"id": "daily"})
    fake.answers["/api/flow_runs/count"] = (200, 3)
    assert PrefectRuns(fake.url).scheduled("morning") == 3
    path, body, _ = fake.asked[-1]
    assert path == "/api/flow_runs/count"
    assert body["deployments"] == {"id": {"any_": ["daily"]}}
    assert body["flow_runs"]["state"] == {"type": {"any_": ["SCHEDULED"]}}

"""One service a folder, and its end (these tests are the last of the shared service)."""

from __future__ import annotations

import signal
import subprocess
import sys

import psutil
import pytest

from deployments.endpoints import running_pid
from tests.service.running import Running

pytestmark = [pytest.mark.server, pytest.mark.xdist_group("service")]


def test_a_second_service_is_refused_and_told_who_runs(service: Running) -> None:
    command = [sys.executable, "-P", "-c", "from deployments.cli import main; main()", "up", "--config", str(service.settings.file)]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert answer.returncode == 2
    assert f"runs already (process {service.up.pid})" in answer.stderr


def test_the_work_steps_back_behind_whoever_waits_for_an_answer(service: Running) -> None:
    ours = psutil.Process().nice()
    runner, others = service.child("runner"), [service.child(name) for name in ("watcher", "dispatcher", "pages")]
    assert runner is not None
    assert runner.nice() == max(ours, service.settings.limits.niceness) > 0
    assert [other.nice() for other in others if other is not None] == [ours] * 3


def test_it_stops_in_order_and_leaves_nothing_behind(service: Running) -> None:
    family = service.family()
    assert len(family) >= 6
    service.up.send_signal(signal.SIGTERM)
    _, alive = psutil.wait_procs(family, timeout=60)
    assert alive == []
    assert running_pid(service.settings.state.root) is None
    stopped = [line.split()[-2] for line in service.words("up").splitlines() if line.endswith(" stopped")]
    assert stopped == ["watcher", "dispatcher", "runner", "pages", "server"]

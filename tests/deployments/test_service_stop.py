"""The end of the running service (the last of its tests)."""

from __future__ import annotations

import signal
import subprocess
import sys

import psutil
import pytest

from deployments.endpoints import running_pid
from tests.deployments.running import UP, Service

pytestmark = [pytest.mark.server, pytest.mark.xdist_group("server")]


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

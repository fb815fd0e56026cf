"""One service a folder, and its end (these tests are the last of the shared service)."""

from __future__ import annotations

import signal
import subprocess
import sys
from ipaddress import ip_address
from urllib.parse import urlsplit

import httpx
import psutil
import pytest

from deployments.endpoints import running_pid
from tests.service.running import Running

pytestmark = [pytest.mark.server, pytest.mark.xdist_group("service")]


def test_every_door_is_on_this_machine_and_shut_to_foreign_pages(service: Running) -> None:
    """All sockets that the service listens on; and a page of elsewhere in the browser of this machine."""
    doors = [one.laddr for process in service.family() for one in process.net_connections() if one.status == psutil.CONN_LISTEN]
    assert {process.rlimit(psutil.RLIMIT_CORE)[0] for process in service.family()} == {0}  # no core dump holds a password
    assert {ip_address(door.ip).is_loopback for door in doors} == {True}
    assert service.endpoints is not None
    wanted = [urlsplit(url).port for url in (service.endpoints.ui_url, service.endpoints.pages_url)]
    assert {door.port for door in doors} >= set(wanted)
    ask = f"{service.api}/deployments/filter"
    assert httpx.post(ask, json={}).status_code == 200
    assert httpx.post(ask, json={}, headers={"Origin": service.endpoints.ui_url}).status_code == 200
    other = service.endpoints.ui_url.replace("127.0.0.1", "localhost")  # the same pages, as people type their address
    assert other != service.endpoints.ui_url
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type,x-prefect-ui"}
    for answer in (httpx.post(ask, json={}, headers={"Origin": other}), httpx.options(ask, headers={"Origin": other, **asked})):
        assert answer.status_code == 200
        assert answer.headers["Access-Control-Allow-Origin"] in ("*", other)
    for headers in ({"Origin": "https://evil.example"}, {"Host": "evil.example:4200"}):
        assert httpx.post(ask, json={}, headers=headers).status_code == 403


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

"""Children are kept alive, follow what they need, die with their parent and stop in order."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from deployments.process import Child, trim_log
from deployments.supervise import OnlyOne, Supervisor, plan_children
from nightcrew.errors import Refused
from nightcrew.settings import Settings
from nightcrew.settings_file import default_file

SLEEP = "import time; time.sleep(60)"


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Child]]:
    made: list[Child] = []

    def child(name: str, code: str = SLEEP, **options: Any) -> Child:
        one = Child(name, (sys.executable, "-c", code), dict(os.environ), tmp_path, tmp_path / f"{name}.log", pause_s=0.01, **options)
        made.append(one)
        return one

    yield child
    for one in made:
        one.stop()


def supervisor(*children: Child, healthy: Callable[[str], bool] = lambda name: True) -> tuple[Supervisor, list[str]]:
    told: list[str] = []
    return Supervisor({child.name: child for child in children}, healthy, lambda level, text: told.append(f"{level}: {text}")), told


def step_until(boss: Supervisor, condition: Callable[[], bool], timeout_s: float = 10.0) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        boss.step()
        time.sleep(0.02)


def test_what_dies_is_started_again_with_its_last_words_told(make: Callable[..., Child]) -> None:
    child = make("watcher", "import sys; sys.exit('the disk is gone')")
    boss, told = supervisor(child)
    step_until(boss, lambda: child.starts == 2)
    assert told[0] == "problem: watcher ended with code 1; its last line was: the disk is gone; it is started again"


def test_who_was_killed_is_not_said_to_have_died_of_its_last_line(make: Callable[..., Child]) -> None:
    child = make("watcher", "import os, signal, sys; print('3 paths recorded', flush=True); os.kill(os.getpid(), signal.SIGKILL)")
    boss, told = supervisor(child)
    step_until(boss, lambda: child.starts == 2)
    how = "watcher was killed (SIGKILL: by the kernel, for want of memory, or by a person)"
    assert told[0] == f"problem: {how}; its last line was: 3 paths recorded; it is started again"


def test_the_words_of_an_earlier_life_are_not_its_last(make: Callable[..., Child]) -> None:
    child = make("watcher", "import os; os._exit(3)")
    child.log.write_text("all is well\n")
    boss, told = supervisor(child)
    step_until(boss, lambda: child.starts == 2)
    assert told[0] == "problem: watcher ended with code 3; it had said nothing; it is started again"


def test_pauses_grow(make: Callable[..., Child]) -> None:
    child = make("watcher", "pass")
    boss, _ = supervisor(child)
    step_until(boss, lambda: child.starts == 3)
    assert child.pause_s >= 0.04


def test_the_same_end_is_told_once(make: Callable[..., Child]) -> None:
    child = make("watcher", "import sys, time; sys.exit(f'{time.time()} the share is away')")
    boss, told = supervisor(child)
    step_until(boss, lambda: child.starts == 3 and not child.lives)
    assert len(told) == 1


def test_the_runner_waits_for_a_healthy_server_and_follows_its_restart(make: Callable[..., Child]) -> None:
    server, runner = make("server"), make("runner", needs="server")
    health = {"server": False}
    boss, told = supervisor(server, runner, healthy=lambda name: health.get(name, True))
    step_until(boss, lambda: server.lives)
    boss.step()
    assert not runner.lives
    health["server"] = True
    step_until(boss, lambda: runner.lives)
    assert server.process is not None
    server.process.kill()
    step_until(boss, lambda: server.starts == 2 and runner.starts == 2 and runner.lives)
    assert any("runner is restarted" in line for line in told)


def test_children_stop_in_order(make: Callable[..., Child], monkeypatch: pytest.MonkeyPatch) -> None:
    stopped: list[str] = []
    children = [make(name) for name in ("server", "pages", "runner", "dispatcher", "watcher")]
    boss, _ = supervisor(*children)
    for child in children:
        child.start()
    real = Child.stop

    def noted(self: Child) -> bool:
        stopped.append(self.name)
        return real(self)

    monkeypatch.setattr(Child, "stop", noted)
    boss.stop_all()
    assert stopped == ["watcher", "dispatcher", "runner", "pages", "server"]
    assert not any(child.lives for child in children)


def test_a_child_that_ignores_the_signal_is_killed_with_its_own_children(make: Callable[..., Child]) -> None:
    code = (
        "import signal, subprocess, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        f"print(subprocess.Popen([sys.executable, '-c', {SLEEP!r}]).pid, flush=True); time.sleep(60)"
    )
    child = make("runner", code, stop_s=0.3)
    child.start()
    end = time.monotonic() + 10
    while not child.last_words():
        assert time.monotonic() < end
        time.sleep(0.02)
    grandchild = psutil.Process(int(child.last_words()))
    assert child.stop() is False
    grandchild.wait(timeout=5)


def test_children_die_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    code = (
        "import os, sys, time; from pathlib import Path; from deployments.process import Child;"
        f"folder = Path({str(tmp_path)!r});"
        f"child = Child('x', (sys.executable, '-c', {SLEEP!r}), dict(os.environ), folder, folder / 'x.log');"
        "child.start(); print(child.process.pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        child.wait(timeout=5)


def test_logs_are_kept_small(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_bytes(b"x" * 100)
    trim_log(log, most_bytes=100)
    assert log.stat().st_size == 100
    trim_log(log, most_bytes=99)
    assert (log.stat().st_size, (tmp_path / "a.log.1").stat().st_size) == (0, 100)


def test_one_service_a_state_folder(tmp_path: Path) -> None:
    one = OnlyOne(tmp_path)
    with pytest.raises(Refused, match=f"process {os.getpid()}"):
        OnlyOne(tmp_path)
    one.close()
    OnlyOne(tmp_path).close()


def test_a_state_folder_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file in its place")
    with pytest.raises(Refused, match="state cannot be written"):
        OnlyOne(tmp_path / "state")
    (tmp_path / "other" / "up.lock").mkdir(parents=True)
    with pytest.raises(Refused, match=r"the state folder .* cannot be written"):
        OnlyOne(tmp_path / "other")


def test_children_get_our_own_prefect_and_nothing_of_the_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "nightcrew.toml").write_text(default_file(), encoding="utf-8")
    monkeypatch.setenv("PREFECT_API_KEY", "of another server")
    monkeypatch.setenv("PREFECT_API_URL", "https://elsewhere/api")
    monkeypatch.setenv("PREFECT_SERVER_DATABASE_CONNECTION_URL", "postgresql+asyncpg://x")
    settings = Settings.load(tmp_path / "nightcrew.toml")
    children, endpoints = plan_children(settings)
    environment = children["runner"].environment
    assert "PREFECT_API_KEY" not in environment
    assert environment["PREFECT_API_URL"] == endpoints.api_url == "http://127.0.0.1:4200/api"
    assert environment["PREFECT_SERVER_DATABASE_CONNECTION_URL"] == "postgresql+asyncpg://x"
    assert environment["PREFECT_HOME"] == str(tmp_path / "state" / "prefect")
    assert environment["NIGHTCREW_CONFIG"] == str(tmp_path / "nightcrew.toml")
    assert list(children) == ["server", "watcher", "pages", "dispatcher", "runner"]


def test_a_server_of_ones_own_is_used_instead_of_ours(tmp_path: Path) -> None:
    (tmp_path / "nightcrew.toml").write_text('[prefect]\napi_url = "http://10.0.0.5:4200/api"\n', encoding="utf-8")
    children, endpoints = plan_children(Settings.load(tmp_path / "nightcrew.toml"))
    assert "server" not in children
    assert endpoints.ui_url == "http://10.0.0.5:4200"


def test_without_a_file_there_is_no_service(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="nightcrew init"):
        plan_children(Settings().anchored(tmp_path))

"""What failed in a group is run again by its own name, and a promise that was skipped stays a failure."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.again import again, failed
from tests.conftest import SKIPPED, name_of, relied_on

ROOT = Path(__file__).resolve().parents[1]


def test_groups_are_no_part_of_a_name() -> None:
    stored = {"tests/a.py::test_x@service": True, "tests/a.py::test_y[b@c]": True, "tests/a.py::test_y[b@c]@tests/a.py": True}
    assert failed(json.dumps(stored)) == ["tests/a.py::test_x", "tests/a.py::test_y[b@c]"]
    assert {name_of(name) for name in stored} == {"tests/a.py::test_x", "tests/a.py::test_y"}


def test_a_run_in_groups_fails_that_skipped_a_promise_and_says_so_to_the_next(tmp_path: Path) -> None:
    name = min(relied_on())
    path, _, function = name.partition("::")
    (tmp_path / path).parent.mkdir(parents=True)
    (tmp_path / path).write_text(
        f"import pytest\n@pytest.mark.xdist_group('service-kills')\ndef {function}():\n    pytest.skip('no time')\n", encoding="utf-8"
    )
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = xdist_group\n", encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-n", "1", "--dist", "loadgroup", "-p", "xdist", "-p", "tests.conftest", "-q", path]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    for ours in ("PYTEST_XDIST_WORKER", "PYTEST_XDIST_TESTRUNUID", "PYTEST_ADDOPTS"):
        environment.pop(ours, None)
    done = subprocess.run(command, cwd=tmp_path, env=environment, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout + done.stderr
    assert f"FAILED {name}: docs/reliability.md relies on it" in done.stdout
    assert json.loads((tmp_path / ".pytest_cache" / "v" / SKIPPED).read_text(encoding="utf-8")) == [name]


@pytest.mark.parametrize(("skipped", "code"), [([], 0), (["tests/a.py::test_promise"], 1)])
def test_what_passes_again_does_not_hide_what_was_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], skipped: list[str], code: int
) -> None:
    for name, content in (("cache/lastfailed", {"tests/a.py::test_flaky@service": True}), (SKIPPED, skipped)):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text(json.dumps(content), encoding="utf-8")
    asked: list[list[str]] = []

    def passes(command: list[str], **_options: object) -> subprocess.CompletedProcess[str]:
        asked.append(command)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(subprocess, "run", passes)
    assert again(["-q"], tmp_path) == code
    assert asked == [[sys.executable, "-m", "pytest", "-q", "tests/a.py::test_flaky"]]
    assert ("test_promise" in capsys.readouterr().out) is bool(code)


def test_what_failed_really_runs_again_under_the_options_of_the_project(tmp_path: Path) -> None:
    """As ``make test`` does it: in the project's folder, where warnings are errors."""
    last = tmp_path / "cache" / "lastfailed"
    last.parent.mkdir(parents=True)
    last.write_text(json.dumps({"tests/test_again.py::test_groups_are_no_part_of_a_name@service": True}), encoding="utf-8")
    program = "import sys; from pathlib import Path; from tests.again import again; sys.exit(again(sys.argv[2:], Path(sys.argv[1])))"
    command = [sys.executable, "-c", program, str(tmp_path), "-q", "-p", "no:cacheprovider", "-n", "0"]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
    done = subprocess.run(command, cwd=ROOT, env=environment, check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout

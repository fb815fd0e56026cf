"""Secrets stay where they are, doors stay shut, and what is written is written by nobody else."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from deployments.environment import child_environment
from deployments.supervise import open_doors, plan_children
from nightcrew.errors import Refused
from nightcrew.settings import Settings
from reports.server import HEADERS
from tests.service.running import Running, Watched, configure
from tests.support.small_nights import make_raw, small_plan

SECRETS = {
    "NIGHTCREW_MAIL__PASSWORD": "planted-mail-5bX1",
    "NIGHTCREW_REPORTS__PASSWORD": "planted-pages-9kQ2",
    "NIGHTCREW_PREFECT__AUTH": "crew:planted-prefect-7rZ3",
}
DATABASE = "planted-database-4mW8"
WORDS = [secret.rpartition(":")[2].encode() for secret in (*SECRETS.values(), DATABASE)]
CLOSED = 9  # the discard port: nobody listens
CONFIGURATION = f"""\
[site]
longitude_deg = -70.4042
latitude_deg = -24.6272
timezone = "America/Santiago"
[[folders]]
path = "raw"
[lights]
cosmic_rays = false
[limits]
disk_reserve_bytes = 0
[mail]
transport = "smtp"
host = "127.0.0.1"
port = {CLOSED}
security = "none"
user = "crew"
"""


def planted_in(data: bytes) -> list[bytes]:
    return [word for word in WORDS if word in data]


def written_below(root: Path) -> Iterator[Path]:
    for path in root.rglob("*"):
        if path.is_file() and not path.is_symlink() and "planted" not in path.relative_to(root).parts:
            yield path


def loose(root: Path) -> list[Path]:
    """What others may write into."""
    return [path for path in root.rglob("*") if not path.is_symlink() and path.stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH)]


def command(root: Path, *words: str, **changes: str) -> bytes:
    """Everything that a command says, secrets in its environment."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("NIGHTCREW_", "PREFECT_"))}
    done = subprocess.run(
        [sys.executable, "-c", "from deployments.cli import main; main()", *words],
        cwd=root,
        env={**environment, **SECRETS, **changes},
        capture_output=True,
        check=False,
        timeout=120,
        umask=0,
    )
    return done.stdout + done.stderr


@pytest.mark.slow
def test_no_secret_in_anything_that_commands_say_or_write(tmp_path: Path) -> None:
    """A night by commands with planted secrets, a mail server that is down, a database that does not answer."""
    make_raw(tmp_path, small_plan(pixels=64))
    for path in (tmp_path / "raw").iterdir():
        if not path.name.startswith("bias"):
            path.unlink()
    (tmp_path / "nightcrew.toml").write_text(CONFIGURATION, encoding="utf-8")
    said = [command(tmp_path, *words.split()) for words in ("reduce raw --out made", "doctor")]
    assert b"3 done" in said[0]
    url = f"postgresql+psycopg://crew:{DATABASE}@127.0.0.1:{CLOSED}/nightcrew"
    said += [command(tmp_path, word, NIGHTCREW_LEDGER__URL=url) for word in ("doctor", "status")]
    assert b"ledger" in said[-2]
    assert [found for text in said if (found := planted_in(text))] == []
    assert [path for path in written_below(tmp_path) if planted_in(path.read_bytes())] == []
    loose = [
        path for path in (tmp_path / "made").rglob("*") if not path.is_symlink() and path.stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    ]
    assert loose == []


def test_settings_show_no_secret(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Secrets in the environment, sought in settings and process lists."""
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "nightcrew.toml").write_text(CONFIGURATION, encoding="utf-8")
    settings = Settings.load(tmp_path / "nightcrew.toml")
    assert not planted_in(f"{settings!r} {settings} {settings.model_dump()} {settings.model_dump_json()}".encode())
    children, endpoints = plan_children(settings)
    for child in children.values():
        assert not planted_in(" ".join(child.command).encode())  # a process list shows it to everybody
    assert not planted_in(str(endpoints).encode())
    environment = child_environment(settings, "http://127.0.0.1:4200/api", {})
    assert environment["PREFECT_API_AUTH_STRING"] == SECRETS["NIGHTCREW_PREFECT__AUTH"]


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "192.0.2.7", "127.example.org", "localhost.example.org", "telescope"])
@pytest.mark.parametrize(("section", "secret"), [("reports", "NIGHTCREW_REPORTS__PASSWORD"), ("prefect", "NIGHTCREW_PREFECT__AUTH")])
def test_no_door_is_open_without_a_password_and_an_open_one_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, section: str, secret: str, address: str
) -> None:
    (tmp_path / "nightcrew.toml").write_text(f'[{section}]\naddress = "{address}"\n', encoding="utf-8")
    with pytest.raises(Refused, match=re.escape(secret)):
        Settings.load(tmp_path / "nightcrew.toml")
    monkeypatch.setenv(secret, SECRETS[secret])
    (told,) = open_doors(Settings.load(tmp_path / "nightcrew.toml"))
    assert f"on {address}" in told
    assert "not encrypted" in told


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0"])
@pytest.mark.parametrize(
    ("secret", "value"),
    [
        ("NIGHTCREW_REPORTS__PASSWORD", ""),
        *(("NIGHTCREW_PREFECT__AUTH", value) for value in ("", ":", "planted", ":planted", "planted:")),
    ],
)
def test_an_empty_password_is_none_and_is_refused_unsaid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, secret: str, value: str, address: str
) -> None:
    section = secret.removeprefix("NIGHTCREW_").partition("__")[0].lower()
    (tmp_path / "nightcrew.toml").write_text(f'[{section}]\naddress = "{address}"\n', encoding="utf-8")
    monkeypatch.setenv(secret, value)
    with pytest.raises(Refused, match=secret) as told:
        Settings.load(tmp_path / "nightcrew.toml")
    assert "planted" not in str(told.value)


@pytest.mark.parametrize("address", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_loopback_needs_no_password(tmp_path: Path, address: str) -> None:
    (tmp_path / "nightcrew.toml").write_text(f'[reports]\naddress = "{address}"\n', encoding="utf-8")
    assert open_doors(Settings.load(tmp_path / "nightcrew.toml")) == []


def test_pages_forbid_every_script() -> None:
    """The content security policy of the pages."""
    rules = dict(one.strip().split(" ", 1) for one in HEADERS["Content-Security-Policy"].split(";"))
    assert rules["default-src"] == "'none'"
    assert "script-src" not in rules
    assert {rules[name] for name in ("base-uri", "form-action", "frame-ancestors")} == {"'none'"}


@pytest.mark.slow
@pytest.mark.server
def test_no_secret_in_anything_that_the_service_shows_or_writes(tmp_path: Path) -> None:
    """The running service with planted secrets: its process list, its logs, its databases, its pages, and the rights on them."""
    settings = configure(tmp_path / "service", [Watched("evening")])
    service = Running(settings)
    script = service.root / "planted" / "sitecustomize.py"
    mail = {name: value for name, value in SECRETS.items() if "PREFECT" not in name}
    lines = "".join(f"os.environ.setdefault({name!r}, {value!r})\n" for name, value in mail.items())
    script.write_text(script.read_text(encoding="utf-8") + lines, encoding="utf-8")
    make_raw(tmp_path / "made", small_plan("2025-05-16", pixels=64, troubles=("truncated",)))
    old = os.umask(0)
    try:
        service.start()
        files = service.drop("evening", (tmp_path / "made" / "raw").iterdir())
        service.wait(lambda: service.settled("EVENING", files, "evening"), "the night is reduced and reported", 240)
        shown = " ".join(" ".join(_words(process)) for process in service.family()).encode()
    finally:
        service.stop()
        os.umask(old)
    assert b"nightcrew" in shown
    assert not planted_in(shown)
    assert [path for path in written_below(service.root) if planted_in(path.read_bytes())] == []
    ours = [service.settings.state.root, service.settings.products.root, service.settings.reports.root]
    assert [path for root in ours for path in loose(root)] == []


def _words(process: psutil.Process) -> list[str]:
    try:
        return list(process.cmdline())
    except psutil.NoSuchProcess:
        return []

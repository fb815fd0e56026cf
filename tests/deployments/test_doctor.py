"""Each subject that the doctor looks at: what is wrong is found, and how to mend it is said."""

from __future__ import annotations

import ctypes
import importlib.metadata
import os
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from deployments import doctor, endpoints, runs
from deployments.doctor import Finding
from deployments.doctor_products import products
from deployments.endpoints import Endpoints
from deployments.supervise import OnlyOne
from nightcrew.errors import Refused
from nightcrew.ledger import dispatches, messages, migrate
from nightcrew.ledger.database import Database
from nightcrew.settings import FolderSettings, LedgerSettings, LimitsSettings, MailSettings, PlateSolvingSettings, Settings, SiteSettings
from tests.support.set_bench import SetBench
from tests.support.silent import asked_in_vain
from tests.support.toy_kind import toy_kind


def settings(root: Path, **sections: Any) -> Settings:
    """A sound configuration in ``root`` but for these sections."""
    (root / "raw").mkdir(exist_ok=True)
    values: dict[str, Any] = {
        "site": SiteSettings(longitude_deg=-70.4, latitude_deg=-24.6),
        "folders": (FolderSettings(path=root / "raw"),),
        "limits": LimitsSettings(disk_reserve_bytes=0),
        "mail": MailSettings(transport="mailbox"),
    }
    return Settings(**{**values, **sections}).anchored(root)


def told(findings: Iterator[Finding]) -> list[tuple[str, str]]:
    """(level, text), after a look that everything bad says how to mend it."""
    found = list(findings)
    assert [finding for finding in found if finding.level != "good" and not finding.mend] == []
    return [(finding.level, finding.text) for finding in found]


def one(findings: Iterator[Finding], words: str) -> str:
    """The level of the only finding whose text holds ``words``."""
    (level,) = [level for level, text in told(findings) if words in text]
    return level


def test_a_sound_machine_has_no_problem(tmp_path: Path) -> None:
    found = doctor.look(settings(tmp_path))
    assert {finding.subject for finding in found} >= {
        "configuration",
        "versions",
        "folder",
        "folder events",
        "disk",
        "mail",
        "ledger",
        "service",
        "clock",
    }
    assert [finding for finding in found if finding.level == "problem"] == []


def test_configuration(tmp_path: Path) -> None:
    assert one(doctor.configuration(settings(tmp_path)), "no nightcrew.toml") == "warning"
    assert one(doctor.configuration(settings(tmp_path, site=SiteSettings())), "the site is not set") == "warning"
    wrong = settings(tmp_path, folders=(FolderSettings(path=tmp_path / "raw", instrument="nonesuch"),))
    assert one(doctor.configuration(wrong), "no instrument profile is called nonesuch") == "problem"


def test_versions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert told(doctor.versions(settings(tmp_path)))[-1][0] == "good"
    real = importlib.metadata.version
    monkeypatch.setattr(doctor, "version", lambda name: "2.1.9" if name.lower() == "sqlalchemy" else real(name))
    assert one(doctor.versions(settings(tmp_path)), "2.1.9 is not") == "problem"


def test_another_python_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 13, 0, "final", 0))
    assert one(doctor.versions(settings(tmp_path)), "is not tested") == "warning"


def test_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    absent = settings(tmp_path, folders=(FolderSettings(path=tmp_path / "absent"),))
    assert one(doctor.folders(absent), "does not exist") == "problem"
    assert told(doctor.folders(settings(tmp_path)))[0][0] == "good"
    monkeypatch.setattr(doctor, "file_system_of", lambda _: "nfs4")
    assert one(doctor.folders(settings(tmp_path)), "tells of no changes made elsewhere") == "warning"
    polled = settings(tmp_path, folders=(FolderSettings(path=tmp_path / "raw", polling=True),))
    assert told(doctor.folders(polled))[0][0] == "good"
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert one(doctor.folders(settings(tmp_path)), "cannot be read by this user") == "problem"


def test_folder_events(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_inotify_works", lambda: False)
    assert one(doctor.events(settings(tmp_path)), "inotify cannot be used") == "problem"
    monkeypatch.setattr(doctor, "_number", lambda _: 1)
    assert one(doctor.events(settings(tmp_path)), "the kernel allows 1") == "warning"
    assert told(doctor.events(settings(tmp_path, folders=(FolderSettings(path=tmp_path / "raw", polling=True),)))) == []


def test_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert {level for level, _ in told(doctor.disk(settings(tmp_path)))} == {"good"}
    full = settings(tmp_path, limits=LimitsSettings(disk_reserve_bytes=10**18))
    assert {level for level, text in told(doctor.disk(full)) if "the reserve is" in text} == {"problem"}
    monkeypatch.setattr(doctor, "file_system_of", lambda _: "cifs")
    assert one(doctor.disk(settings(tmp_path)), "where SQLite loses data") == "problem"
    elsewhere = settings(tmp_path, ledger=LedgerSettings(url="postgresql+psycopg://user@host/name"))
    assert {level for level, _ in told(doctor.disk(elsewhere))} == {"good"}
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert {level for level, _ in told(doctor.disk(elsewhere))} == {"problem"}


def test_mail(tmp_path: Path) -> None:
    assert one(doctor.mail(settings(tmp_path, mail=MailSettings(transport="none"))), "no mail is sent") == "warning"
    port = endpoints.free_port("127.0.0.1")
    deaf = {"transport": "smtp", "host": "127.0.0.1", "port": port, "to": ("observer@example.org",), "security": "none"}
    assert one(doctor.mail(settings(tmp_path, mail=MailSettings(**deaf))), f"127.0.0.1:{port}") == "problem"
    secret = tmp_path / "password"
    secret.write_text("x")
    secret.chmod(0o644)
    found = told(doctor.mail(settings(tmp_path, mail=MailSettings(**deaf, password_file=secret))))
    assert any("owner only" in text for level, text in found if level == "problem")


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """The ledger of ``settings(tmp_path)``."""
    (tmp_path / "state").mkdir()
    made = Database(settings(tmp_path).ledger_url)
    migrate.upgrade(made)
    yield made
    made.close()


def test_ledger_that_is_not_there_whole_or_damaged(tmp_path: Path, database: Database) -> None:
    assert told(doctor.ledger(settings(tmp_path)))[0][0] == "good"
    database.close()
    path = tmp_path / "state" / "ledger.sqlite"
    for side in tmp_path.glob("state/ledger.sqlite-*"):
        side.unlink()
    path.write_bytes(b"no database at all" * 1000)
    assert one(doctor.ledger(settings(tmp_path)), "damaged: file is not a database") == "problem"
    path.unlink()
    assert one(doctor.ledger(settings(tmp_path)), "there is none yet") == "warning"


def test_ledger_of_a_newer_nightcrew(tmp_path: Path, database: Database) -> None:
    from sqlalchemy import text

    with database.write() as connection:
        connection.execute(text("update alembic_version set version_num = '9999'"))
    assert one(doctor.ledger(settings(tmp_path)), "made by a newer Nightcrew") == "problem"


def test_mails_that_want_a_person(tmp_path: Path, database: Database) -> None:
    for morning, state in (("2026-03-15", "unknown"), ("2026-03-16", "refused")):
        row = messages.queue_mail(database, morning=morning, message_id=f"<{morning}@x>", subject="s", message=b"m")
        messages.begin_sending(database, row.id)
        messages.end_sending(database, row.id, state, error="lost")
    found = list(doctor.ledger(settings(tmp_path)))
    assert any("--morning 2026-03-15 --resend" in finding.mend for finding in found)
    assert one(iter(found), "2026-03-16 is refused") == "warning"


def test_service(tmp_path: Path, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    sound = settings(tmp_path)
    assert one(doctor.service(sound), "it does not run") == "warning"
    lock = OnlyOne(sound.state.root)
    try:
        Endpoints(api_url="http://127.0.0.1:9/api", ui_url="", pages_url="", pid=os.getpid()).write(sound.state.root)
        found = told(doctor.service(sound))
        assert ("good", f"runs as process {os.getpid()}") in found
        assert any("does not answer" in text for level, text in found if level == "problem")
        assert any("the dispatcher was last alive at no time" in text for level, text in found if level == "problem")
        monkeypatch.setattr(endpoints, "answers", lambda _: True)
        messages.alive(database, "dispatcher")
        assert one(doctor.service(sound), "Prefect's server cannot be asked now") == "warning"
        planned = [0]
        monkeypatch.setattr(runs.PrefectRuns, "scheduled", lambda _, flow: planned[0] if flow == "morning" else 0)
        assert one(doctor.service(sound), "no run of the morning's report planned") == "warning"
        planned[0] = 3
        assert one(doctor.service(sound), "is planned") == "good"
        assert {level for level, _ in told(doctor.service(sound))} == {"good"}
        late = Database(sound.ledger_url, clock=lambda: datetime.now(UTC) - timedelta(hours=1))
        row = dispatches.request(late, "ingest", None)
        assert one(doctor.service(sound), "the run of ingest that was asked for at") == "warning"
        dispatches.end(late, row, "Completed")
        messages.alive(late, "dispatcher")
        late.close()
        assert one(doctor.service(sound), "was last alive at") == "problem"
    finally:
        lock.close()


@pytest.mark.parametrize(("status", "level"), [(0x40, "warning"), (0x01, "good")])
def test_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int, level: str) -> None:
    class Kernel:
        def __init__(self, *_: object, **__: object) -> None:
            pass

        def adjtimex(self, state: Any) -> int:
            ctypes.memmove(ctypes.addressof(state) + 40, status.to_bytes(4, sys.byteorder), 4)
            return 0

    monkeypatch.setattr(ctypes, "CDLL", Kernel)
    assert [found for found, _ in told(doctor.clock(settings(tmp_path)))] == [level]


def test_a_check_that_fails_is_a_finding_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: Settings) -> Iterator[Finding]:
        raise PermissionError("not for you")
        yield

    monkeypatch.setattr(doctor, "CHECKS", (broken,))
    assert [(finding.subject, finding.level, finding.text) for finding in doctor.look(settings(tmp_path))] == [
        ("broken", "problem", "not for you")
    ]


def test_the_plate_solver_is_looked_for_only_where_it_is_wanted(tmp_path: Path) -> None:
    assert list(doctor.plate_solver(settings(tmp_path))) == []
    wanted = {"enabled": True, "program": str(tmp_path / "solve-field"), "index_folder": tmp_path}
    assert one(doctor.plate_solver(settings(tmp_path, plate_solving=PlateSolvingSettings(**wanted))), "is not installed") == "warning"
    (tmp_path / "solve-field").touch(mode=0o755)
    assert one(doctor.plate_solver(settings(tmp_path, plate_solving=PlateSolvingSettings(**wanted))), "no index files") == "warning"
    (tmp_path / "index-4107.fits").touch()
    assert one(doctor.plate_solver(settings(tmp_path, plate_solving=PlateSolvingSettings(**wanted))), "indexes in") == "good"


def test_products_are_compared_with_their_hashes(tmp_path: Path) -> None:
    with toy_kind():
        bench = SetBench(tmp_path)
        bench.whole({"set1/a.num": "1", "set1/b.num": "2"})
    made, root = bench.products(), bench.settings.products.root
    files = sum(len(row.files) for row in made.values())
    assert [(level, f"{files} of {files} files" in text) for level, text in told(products(bench.settings))] == [("good", True)]
    changed = root / made["toy_convert a.num"].file("deep/value.txt").path
    gone = root / made["toy_sum all"].file("sum.csv").path
    changed.write_text("7.0", encoding="utf-8")
    gone.unlink()
    found = told(products(bench.settings))
    assert found[:2] == [
        ("problem", f"{changed.relative_to(root)} holds other bytes than were written"),
        ("problem", f"{gone.relative_to(root)} is gone"),
    ]
    assert found[2][1].startswith(f"{files - 2} of {files} files")
    assert bench.products() == made  # it only looks


def test_products_of_a_ledger_that_is_not_there_are_a_sentence_and_make_none(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="there is no ledger at"):
        list(products(settings(tmp_path)))
    assert not (tmp_path / "state").exists()


def test_a_folder_that_does_not_answer_is_told_and_holds_nothing_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server of a share is gone: it is then that somebody asks the doctor."""
    given = settings(tmp_path, folders=tuple(FolderSettings(path=tmp_path / name) for name in ("raw", "silent")))
    with asked_in_vain(monkeypatch, doctor) as answering:
        found = told(doctor.folders(given))
        assert [level for level, _ in found] == ["good", "problem"]
        assert found[1][1] == f"{tmp_path}/silent does not answer"
        assert len(told(doctor.events(given))) == 1
        assert not answering.is_set()

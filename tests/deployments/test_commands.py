"""The command line: quick to start, clear in what it says, honest in its exit code."""

from __future__ import annotations

import csv
import importlib
import json
import os
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from deployments.cli import COMMANDS, GROUPS, command_of, main
from deployments.cli.common import clean, say_json, say_table
from deployments.cli.ledger import ledger
from nightcrew.ledger import dispatches, products, scopes
from nightcrew.ledger.database import Database
from tasks.executor import Wish
from tests.support.commands import nightcrew
from tests.support.small_nights import Bench, make_raw

pytestmark = pytest.mark.usefixtures("undrawn_figures")


@pytest.fixture(scope="module")
def observatory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a configuration and the ledger of a small night."""
    root = tmp_path_factory.mktemp("observatory")
    make_raw(root)
    bench = Bench(root / "raw", root)
    (root / "raw" / "notes.txt").write_text("seeing was fine", encoding="utf-8")
    bench.night()
    (root / "nightcrew.toml").write_text(
        '[site]\nlongitude_deg = -70.4042\nlatitude_deg = -24.6272\ntimezone = "America/Santiago"\n[[folders]]\npath = "raw"\n'
        "[lights]\ncosmic_rays = false\n[photometry]\nstar_figures = 1\n[night]\ngroup_quiet_s = 0\n[limits]\ndisk_reserve_bytes = 0\n",
        encoding="utf-8",
    )
    return root


def test_every_command_exists_with_the_help_that_is_listed(tmp_path: Path) -> None:
    for name, (module, _) in COMMANDS.items():
        loaded = importlib.import_module(f"deployments.cli.{module}")
        assert hasattr(loaded, "app" if name in GROUPS else name), name
    listed = nightcrew("--help", folder=tmp_path)
    assert listed.returncode == 0
    assert all(name in listed.stdout for name in COMMANDS)


@pytest.mark.parametrize("words", [("--help",), ("frames", "--help"), ("init", "--help"), ("status", "--help")])
def test_a_quick_command_imports_nothing_heavy(words: tuple[str, ...]) -> None:
    code = (
        f"import sys; sys.argv = ['nightcrew', *{words!r}]\n"
        "from deployments.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'prefect', 'astropy', 'sqlalchemy', 'matplotlib', 'scipy', 'pandas'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr


def test_the_command_is_the_first_word_that_is_no_option() -> None:
    assert [command_of(words) for words in (["status", "--json"], ["--help"], [])] == ["status", "", ""]


def test_init_writes_a_file_that_loads_and_never_overwrites(tmp_path: Path) -> None:
    assert nightcrew("init", folder=tmp_path).returncode == 0
    again = nightcrew("init", folder=tmp_path)
    assert again.returncode == 2
    assert "was left alone" in again.stderr
    assert nightcrew("doctor", "--json", folder=tmp_path).stdout.startswith("[")


def test_a_wrong_key_ends_with_code_2_and_its_place(tmp_path: Path) -> None:
    (tmp_path / "nightcrew.toml").write_text("[mail]\nprot = 25\n", encoding="utf-8")
    answer = nightcrew("status", folder=tmp_path)
    assert answer.returncode == 2
    assert "nightcrew.toml:2: mail.prot" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_without_a_ledger_commands_say_what_to_do(tmp_path: Path) -> None:
    answer = nightcrew("status", folder=tmp_path)
    assert answer.returncode == 2
    assert "run `nightcrew up`" in answer.stderr


def test_status_balances(observatory: Path) -> None:
    told = json.loads(nightcrew("status", "--json", folder=observatory).stdout)
    scope = told["scopes"][0]
    assert scope["seen"] == sum(
        row[state] for row in scope["balance"] for state in ("done", "degraded", "waiting", "rejected", "set_aside")
    )
    assert (scope["night"], scope["instrument"], scope["state"]) == ("2026-05-16", "NCSIM", "closed")
    assert told["service"]["runs"] is False
    shown = nightcrew("status", folder=observatory)
    assert "together" in shown.stdout
    assert shown.returncode == 0


def test_status_names_outdated_products_and_the_command_that_remakes_them(observatory: Path) -> None:
    database = Database(f"sqlite:///{observatory / 'state' / 'ledger.sqlite'}")
    with database.read() as connection:
        flat = next(row for row in products.current_of_scope(connection, 1) if row.recipe == "flat_master")
    products.mark_bad(database, flat.id, "a cloud", remake_scopes=0)
    try:
        answer = nightcrew("status", folder=observatory, NIGHTCREW_NIGHT__REMAKE_NIGHTS="0")
    finally:
        products.mark_bad(database, flat.id, "", remake_scopes=0)
    assert "products are outdated; `nightcrew rerun 2026-05-16/NCSIM` remakes them" in answer.stdout


def test_status_says_what_waits_and_for_what(observatory: Path, tmp_path: Path) -> None:
    bench = Bench(observatory / "raw", tmp_path)
    bench.see(path for path in sorted((observatory / "raw").iterdir()) if not path.name.startswith("flat-V"))
    bench.ingest()
    bench.run(Wish(only=("bias_master",)))
    (tmp_path / "nightcrew.toml").write_text("")
    told = json.loads(nightcrew("status", "--json", folder=tmp_path).stdout)["scopes"][0]
    waits = [row for row in told["reasons"] if row["state"] == "waiting" and "flat master V" in row["reason"]]
    assert sum(row["files"] for row in waits) == 2
    assert told["state"] == "open"
    hours_ago = Database(bench.settings.ledger_url, clock=lambda: datetime.now(UTC) - timedelta(hours=2))
    dispatches.request(hours_ago, "ingest", None)
    shown = nightcrew("status", folder=tmp_path).stdout
    assert "flat master V" in shown
    assert "Waits: the run of ingest of 20" in shown
    assert "nobody works on it" in shown


def test_status_says_that_a_full_disk_pauses_the_service(observatory: Path) -> None:
    answer = nightcrew("status", folder=observatory, NIGHTCREW_LIMITS__DISK_RESERVE_BYTES="9000000000000000")
    assert re.search(r"\nPaused: the disk is nearly full: \d.* free at .*, the reserve is 9000.0 TB; it goes on by itself", answer.stdout)
    assert "Paused" not in nightcrew("status", folder=observatory, NIGHTCREW_LIMITS__DISK_RESERVE_BYTES="0").stdout


def test_status_names_the_other_nights_that_are_open(observatory: Path, tmp_path: Path) -> None:
    """Two cameras, or an archive that is copied in: the newest night is not all that happens."""
    bench = Bench(observatory / "raw", tmp_path)
    bench.see(path for path in sorted((observatory / "raw").iterdir()) if path.name.startswith("bias"))
    bench.ingest()
    (tmp_path / "nightcrew.toml").write_text("")
    database = Database(bench.settings.ledger_url)
    with database.write() as connection:
        for name in ("2026-05-17", "undated"):
            scopes.ensure(connection, "night", name, "CAM", database.now())
    shown = nightcrew("status", folder=tmp_path).stdout
    assert "\n2026-05-17  CAM" in shown
    told = json.loads(nightcrew("status", "--json", folder=tmp_path).stdout)
    assert [row["night"] for row in told["other_nights"]] == ["2026-05-16/NCSIM", "undated/CAM"]
    assert told["other_nights"][0]["waiting"] == told["other_nights"][0]["files"] > 0
    there = nightcrew("status", "2026-05-16", folder=tmp_path).stdout
    assert "x waiting: read; no plan took it yet" in there


def test_report_writes_the_page_and_sends_the_mornings_mail_once(observatory: Path) -> None:
    told = json.loads(nightcrew("report", "last", "--morning", "2026-05-17", "--json", folder=observatory).stdout)
    page = Path(told["page"])
    assert page == observatory / "reports" / "night" / "2026-05-16" / "index.html"
    assert page.is_file()
    assert told["faults"] == []
    mail = observatory / "mailbox" / "2026-05-17.eml"
    assert [Path(row[0]).name for row in told["mails"]] or mail.exists()
    sent = mail.read_bytes()
    again = nightcrew("report", "2026-05-16", "--morning", "2026-05-17", folder=observatory)
    assert "unchanged" in again.stdout
    assert mail.read_bytes() == sent
    assert nightcrew("report", "last", "--resend", folder=observatory).returncode == 2
    assert nightcrew("report", "last", "--morning", "yesterday", folder=observatory).returncode == 2


def test_why_names_candidates_and_their_rules(observatory: Path) -> None:
    told = json.loads(nightcrew("why", "crew-1-V-001.fit", "--json", folder=observatory).stdout)
    flats = next(choice for choice in told[0]["choices"] if "flat" in choice["need"])
    assert any("filter differs" in candidate["verdict"] for candidate in flats["candidates"])
    product = told[0]["products"][0]["files"][0]
    assert "current, grade" in nightcrew("why", product, folder=observatory).stdout
    assert nightcrew("why", "no-such-file.fit", folder=observatory).returncode == 2


@pytest.mark.parametrize("subject", ["nights", "files", "products", "runs", "mails", "happenings", "measurements"])
def test_the_ledger_is_listed_in_three_forms_of_the_same_rows(observatory: Path, subject: str) -> None:
    answers = {form: nightcrew("ledger", subject, "--format", form, folder=observatory) for form in ("table", "csv", "json")}
    assert {answer.returncode for answer in answers.values()} == {0}
    rows = json.loads(answers["json"].stdout)
    shown = list(csv.DictReader(answers["csv"].stdout.splitlines()))
    assert [list(row) for row in shown] == [list(row) for row in rows]
    plain = [{key: "" if value is None else str(value) for key, value in row.items()} for row in rows]
    assert shown == plain
    lines = answers["table"].stdout.splitlines()
    assert lines == ["No rows."] if not rows else len(lines) == len(rows) + 1


def test_the_ledger_is_asked_for_a_night_a_state_and_the_newest_rows(observatory: Path) -> None:
    def rows(*words: str) -> list[dict[str, object]]:
        answer = nightcrew("ledger", *words, "--format", "json", folder=observatory)
        assert answer.returncode == 0, answer.stderr
        return list(json.loads(answer.stdout))

    everything = rows("measurements")
    assert everything
    assert rows("measurements", "--night", "2026-05-16/NCSIM") == everything
    assert {row["state"] for row in rows("files", "--state", "set_aside")} == {"set_aside"}
    assert rows("products", "--limit", "2") == rows("products")[-2:]
    assert nightcrew("ledger", "files", "--night", "2020-01-01", folder=observatory).returncode == 2
    for words in (("mails", "--night", "last"), ("measurements", "--state", "made"), ("files", "--state", "gone")):
        assert nightcrew("ledger", *words, folder=observatory).returncode == 2, words


def test_why_says_what_a_product_was_made_from_and_what_it_is_used_for(observatory: Path) -> None:
    database = Database(f"sqlite:///{observatory / 'state' / 'ledger.sqlite'}")
    with database.read() as connection:
        made = products.current_of_scope(connection, 1)
        flat = next(row for row in made if row.recipe == "flat_master" and row.facts["filter"] == "B")
        (dark,) = (row for row in made if flat in products.dependants(connection, row.fingerprint))
    told = nightcrew("why", flat.fingerprint[:12], folder=observatory).stdout
    raw = sorted(path.name for path in (observatory / "raw").glob("flat-B-*"))
    assert all(name in told for name in raw)
    assert f"made from dark_master {dark.key} ({dark.fingerprint[:12]})" in told
    used = told.partition("  used for:\n")[2]
    assert used.count("): made, A") == sum(row.recipe == "reduce_light" and row.facts["filter"] == "B" for row in made)
    assert "[" not in told
    assert "detector: \n" not in told
    (answer,) = json.loads(nightcrew("why", flat.fingerprint[:12], "--json", folder=observatory).stdout)
    assert {one["fingerprint"] for one in answer["inputs"] if one["is_product"]} == {dark.fingerprint}
    assert sorted(one["name"].rpartition("/")[2] for one in answer["inputs"] if not one["is_product"]) == raw


def test_why_tells_of_an_old_night_what_stands_and_not_what_a_rerun_would_do(observatory: Path) -> None:
    light = "crew-1-V-001.fit"
    (answer,) = json.loads(nightcrew("why", light, "--json", folder=observatory).stdout)
    changed = {"NIGHTCREW_LIGHTS__COSMIC_RAYS": "true"}
    assert nightcrew("why", light, folder=observatory, **changed).stdout.splitlines()[1].startswith("  waiting: ")
    old = nightcrew("why", light, folder=observatory, NIGHTCREW_NIGHT__REMAKE_NIGHTS="0", **changed).stdout
    assert old.splitlines()[1].startswith(f"  {answer['verdict']}: outdated: ")
    made = next(one["fingerprint"] for one in answer["products"] if one["recipe"] == "reduce_light")
    told = nightcrew("why", made[:12], folder=observatory, NIGHTCREW_NIGHT__REMAKE_NIGHTS="0", **changed).stdout
    assert "outdated: the rules ask for another one now; `nightcrew rerun` remakes it" in told


def test_the_table_of_products_gives_the_digits_that_other_commands_take(observatory: Path) -> None:
    lines = nightcrew("ledger", "products", folder=observatory).stdout.splitlines()
    place = lines[0].index("fingerprint")
    digits = lines[1][place : place + 12]
    assert nightcrew("why", digits, folder=observatory).stdout.split()[0] == lines[1].split()[0]


def test_rerun_refuses_a_word_that_names_nothing(observatory: Path) -> None:
    answer = nightcrew("rerun", "last", "--only", "flat_masters", folder=observatory)
    assert answer.returncode == 2
    assert "--only flat_masters: no recipe is called so" in answer.stderr
    database = Database(f"sqlite:///{observatory / 'state' / 'ledger.sqlite'}")
    with database.read() as connection:
        row = products.current_of_scope(connection, 1)[0]
    for word in (row.recipe, row.key, row.fingerprint[:12]):
        assert nightcrew("rerun", "last", "--only", word, folder=observatory).returncode == 0


def test_rerun_makes_only_what_is_missing(observatory: Path) -> None:
    told = json.loads(nightcrew("rerun", "last", "--json", folder=observatory).stdout)
    assert told == [{"scope": "2026-05-16/NCSIM", "made": 0, "failed": 0, "again": 0, "busy": False}]
    for master in observatory.glob("products/**/dark_master*30s*"):
        master.unlink()
    told = json.loads(nightcrew("rerun", "2026-05-16", "--json", folder=observatory).stdout)
    assert told[0]["made"] >= 1
    assert nightcrew("rerun", "last", "--from", "flats", folder=observatory).returncode == 2


def test_rerun_asks_a_running_service_for_what_is_outdated_too(observatory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.import_module("deployments.cli.rerun"), "running_pid", lambda _root: 1)
    (told,) = json.loads(nightcrew("rerun", "last", "--no-retry", "--json", folder=observatory).stdout)
    database = Database(f"sqlite:///{observatory / 'state' / 'ledger.sqlite'}")
    with database.read() as connection:
        (row,) = [row for row in dispatches.recent(connection) if row.id == told["dispatch"]]
    assert row.wish == {"outdated": True}
    dispatches.change(database, row.id, "ended", outcome="Completed")


def test_close_says_when_it_was_closed_already(observatory: Path) -> None:
    assert "was closed already" in nightcrew("close", "last", folder=observatory).stdout


def test_doctor_names_each_fault_and_how_to_mend_it(tmp_path: Path) -> None:
    (tmp_path / "nightcrew.toml").write_text(
        '[[folders]]\npath = "absent"\ninstrument = "nonesuch"\n[mail]\ntransport = "smtp"\nhost = "127.0.0.1"\nport = 1\n'
        "[limits]\ndisk_reserve_bytes = 1_000_000_000_000_000\n",
        encoding="utf-8",
    )
    answer = nightcrew("doctor", "--json", folder=tmp_path)
    problems = {(row["subject"], row["mend"] != "") for row in json.loads(answer.stdout) if row["level"] == "problem"}
    assert answer.returncode == 1
    assert {("configuration", True), ("folder", True), ("disk", True), ("mail", True)} <= problems


def test_what_commands_write_is_written_by_nobody_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the shell's umask allows, and no more than it does."""
    monkeypatch.setattr("sys.argv", ["nightcrew", "made"])
    for given, modes in ((0o000, (0o755, 0o644)), (0o077, (0o700, 0o600))):
        folder = tmp_path / str(given)

        def make(folder: Path = folder) -> None:
            folder.mkdir()
            (folder / "file").write_text("")

        monkeypatch.setattr("deployments.cli.build", lambda *_, make=make: make)
        before = os.umask(given)
        try:
            main()
        finally:
            os.umask(before)
        assert tuple(path.stat().st_mode & 0o777 for path in (folder, folder / "file")) == modes


def test_json_cannot_steer_a_terminal_and_stays_json(capsys: pytest.CaptureFixture[str]) -> None:
    said = {"name": "a\x9b2J\u202eb\x7f\x1b é \u2013"}
    say_json(said)
    out = capsys.readouterr().out
    assert all(char.isprintable() or char == "\n" for char in out)
    assert json.loads(out) == said
    assert "é" in out


def test_a_csv_of_the_ledger_holds_no_formula(
    observatory: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("deployments.cli.ledger.query", lambda *_: [{"path": "=cmd|' /C calc'!A0", "value": -1.5, "error": None}])
    ledger("files", form="csv", config=observatory / "nightcrew.toml", night="", state="", limit=5)
    assert list(csv.DictReader(capsys.readouterr().out.splitlines())) == [{"path": "'=cmd|' /C calc'!A0", "value": "-1.5", "error": ""}]


def test_text_from_files_cannot_steer_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert "\x1b" not in clean("a\x1b[2Jb")
    say_table(["file", "state"], [["a\nb.fit", "done"], ["c", "done"]])
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [["file", "state"], ["a\ufffdb.fit", "done"], ["c", "done"]]
    assert clean("4\u202f000 lights, 6\u00a0px, \u202e") == "4 000 lights, 6 px, \ufffd"

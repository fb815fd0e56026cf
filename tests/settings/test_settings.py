"""The configuration: defaults, the file, the environment, and refusals that name the place."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from nightcrew import settings_file
from nightcrew.errors import Refused
from nightcrew.recipes.parameters import set_options
from nightcrew.settings import Settings
from nightcrew.settings_file import default_file, file_of, line_of


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("NIGHTCREW_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def written(text: str) -> Path:
    file = Path("nightcrew.toml")
    file.write_text(text, encoding="utf-8")
    return file


def test_the_written_file_loads_and_equals_the_defaults() -> None:
    assert Settings.load(written(default_file())).model_dump() == Settings().anchored(Path.cwd()).model_dump()


def test_every_option_stands_in_the_written_file() -> None:
    text = default_file()
    for section, field in Settings.model_fields.items():
        model = type(field.default[0] if isinstance(field.default, tuple) else field.default)
        for key in model.model_fields:
            assert f"\n{key} =" in text or f"\n# {key} =" in text or f"_{section.upper()}__{key.upper()} " in text, (section, key)


def test_paths_count_from_the_folder_of_the_file(tmp_path: Path) -> None:
    folder = tmp_path / "observatory"
    folder.mkdir()
    file = folder / "nightcrew.toml"
    file.write_text('[[folders]]\npath = "raw"\n[products]\nroot = "/elsewhere"\n', encoding="utf-8")
    settings = Settings.load(file)
    assert settings.folders[0].path == folder / "raw"
    assert settings.products.root == Path("/elsewhere")
    assert settings.ledger_url == f"sqlite:///{folder}/state/ledger.sqlite"
    assert settings.file == file


def test_the_file_is_found_in_the_working_folder_or_by_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written("[watch]\nsettle_s = 7\n")
    assert Settings.load().watch.settle_s == 7
    other = tmp_path / "other.toml"
    other.write_text("[watch]\nsettle_s = 9\n", encoding="utf-8")
    monkeypatch.setenv("NIGHTCREW_CONFIG", str(other))
    assert Settings.load().watch.settle_s == 9


def test_the_environment_overrides_one_key_of_a_section(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIGHTCREW_MAIL__PORT", "2525")
    settings = Settings.load(written('[mail]\nhost = "post"\nport = 25\n'))
    assert (settings.mail.host, settings.mail.port) == ("post", 2525)


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("[site]\nlongitude_deg = 1\n\n[mial]\nport = 1\n", 4, "did you mean 'mail'"),
        ("# a comment\n[mail]\nprot = 25\n", 3, "did you mean 'port'"),
        ("[mail]\nport = 99999\n", 2, "less than or equal to 65535"),
        ('[[folders]]\npath = "a"\n\n[[folders]]\npath = "b"\nkind = "nigth"\n', 6, "'night'"),
        ('[site]\ntimezone = "Europe/Wien"\n', 2, "no time zone"),
        ('[reports]\ntime = "8"\n', 2, "HH:MM"),
        ('[mail]\npassword = "x"\n', 2, "NIGHTCREW_MAIL__PASSWORD"),
        ('[prefect]\naddress = "0.0.0.0"\n', 1, "NIGHTCREW_PREFECT__AUTH"),
        ('[reports]\naddress = "0.0.0.0"\n', 1, "NIGHTCREW_REPORTS__PASSWORD"),
        ('[[folders]]\npath = "raw"\n[[folders]]\npath = "raw/deep"\n', 4, "seen twice"),
        ('[products]\nroot = "."\n[[folders]]\npath = "raw"\n', 4, "taken for raw frames"),
        ("[site]\nlatitude_deg = nan\n", 2, "finite"),
        ("site.latitude_deg = 100\n", 1, "less than or equal to 90"),
    ],
)
def test_a_wrong_key_or_value_is_refused_with_its_place(text: str, line: int, message: str) -> None:
    with pytest.raises(Refused) as caught:
        Settings.load(written(text))
    assert f"nightcrew.toml:{line}:" in str(caught.value)
    assert message in str(caught.value)


def test_all_faults_are_told_at_once() -> None:
    with pytest.raises(Refused) as caught:
        Settings.load(written("[mail]\nport = 0\n[limits]\nthreads = 0\n"))
    assert len(str(caught.value).splitlines()) == 2


def test_a_broken_file_is_refused_with_its_line() -> None:
    with pytest.raises(Refused, match=r"not TOML: .*line 2"):
        Settings.load(written("[site]\nlongitude_deg = \n"))


def test_a_file_that_does_not_exist_is_refused() -> None:
    with pytest.raises(Refused, match="nightcrew init"):
        Settings.load("nowhere.toml")


def test_a_misspelt_variable_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIGHTCREW_MIAL__PORT", "25")
    with pytest.raises(Refused, match="did you mean 'NIGHTCREW_MAIL'"):
        Settings.load()


def test_a_wrong_value_from_the_environment_names_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIGHTCREW_WATCH__SETTLE_S", "soon")
    with pytest.raises(Refused, match="environment variable NIGHTCREW_WATCH__SETTLE_S"):
        Settings.load()


def test_the_password_comes_from_the_environment_and_is_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIGHTCREW_MAIL__PASSWORD", "tiger-lily")
    settings = Settings.load()
    assert settings.mail.secret() == "tiger-lily"
    assert "tiger-lily" not in repr(settings) + settings.model_dump_json()


def test_the_password_file_must_be_its_owners_alone() -> None:
    secret = Path("secret")
    secret.write_text("tiger-lily\n", encoding="utf-8")
    settings = Settings.load(written('[mail]\npassword_file = "secret"\n'))
    secret.chmod(0o640)
    with pytest.raises(Refused, match="chmod 600"):
        settings.mail.secret()
    secret.chmod(0o600)
    assert settings.mail.secret() == "tiger-lily"


def test_lines_are_found_in_tables_arrays_and_dotted_keys() -> None:
    text = '[a]\nx = 1\n[[b]]\nx = 1\n[[b]]\n"x" = 2\n'
    assert [line_of(text, ("a", "x")), line_of(text, ("b", 1, "x")), line_of(text, ("b", 0, "y")), line_of(text, ("c",))] == [2, 6, 3, 0]


@pytest.mark.parametrize(
    ("first", "second", "refused"),
    [
        ('path = "data"', 'path = "data/lab"\nkind = "lab"', True),
        ('path = "data"\nkind = "sensor"', 'path = "data/night"', True),
        ('path = "data"\nkind = "sensor"', 'path = "data"\nkind = "lab"', True),
        ('path = "data"\nkind = "sensor"', 'path = "data2"\nkind = "lab"', False),
    ],
)
def test_folders_of_different_kinds_never_lie_inside_each_other(first: str, second: str, *, refused: bool) -> None:
    file = written(f"[[folders]]\n{first}\n[[folders]]\n{second}\n")
    if not refused:
        assert len(Settings.load(file).folders) == 2
        return
    with pytest.raises(Refused, match="every file must have one kind") as told:
        Settings.load(file)
    assert str(told.value).startswith(f"{file.absolute()}: the folder ")


def test_folders_are_told_apart_after_their_paths_are_known(tmp_path: Path) -> None:
    inner = tmp_path / "elsewhere" / "data" / "lab"
    text = f'[[folders]]\npath = "data"\n[[folders]]\npath = "{inner}"\nkind = "lab"\n'
    file = tmp_path / "elsewhere" / "nightcrew.toml"
    file.parent.mkdir()
    file.write_text(text, encoding="utf-8")
    with pytest.raises(Refused, match="every file must have one kind"):
        Settings.load(file)


def test_the_options_of_sets_come_from_one_place() -> None:
    file = written('[[folders]]\npath = "a"\nkind = "lab"\nquiet_s = 5\n[[folders]]\npath = "b"\n')
    settings = Settings.load(file)
    options = set_options(settings)
    assert options.quiet_of(str(settings.folders[0].path)) == 5
    assert options.quiet_of("another") == 600
    assert options.of_kind("mkid").get("nothing", 7) == 7


def test_a_file_of_settings_says_what_they_say(tmp_path: Path) -> None:
    text = """
[site]
name = 'Hill "2" é'
longitude_deg = -70.4
[[folders]]
path = "raw a"
ignore = ["*.tmp"]
[[folders]]
path = "b"
[lights]
cosmic_rays = false
[photometry]
radius_px = 4.5
[limits]
disk_reserve_bytes = 0
[campaign]
predict_krad = [1.0, 2.5]
"""
    (tmp_path / "a.toml").write_text(text, encoding="utf-8")
    given = Settings.load(tmp_path / "a.toml")
    (tmp_path / "b.toml").write_text(file_of(given), encoding="utf-8")
    assert Settings.load(tmp_path / "b.toml").model_dump() == given.model_dump()


def test_a_watched_folder_that_does_not_answer_hinders_no_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server of a share is gone: whoever looks at the folder hangs; the other folders are still told from one another."""
    silent, answers, looked = tmp_path / "silent", threading.Event(), os.path.realpath

    def realpath(path: str | Path, **options: bool) -> str:
        if Path(path) == silent:
            answers.wait(30.0)
        return looked(path, **options)

    monkeypatch.setattr(os.path, "realpath", realpath)
    monkeypatch.setattr(settings_file, "_ANSWER_S", 0.2)
    folders = "".join(f'[[folders]]\npath = "{path}"\n' for path in (silent, tmp_path / "raw"))
    start = time.monotonic()
    try:
        assert [folder.path for folder in Settings.load(written(folders)).folders] == [silent, tmp_path / "raw"]
        assert time.monotonic() - start < 5.0
        with pytest.raises(Refused, match="would be seen twice"):
            Settings.load(written(folders + f'[[folders]]\npath = "{tmp_path}/raw/inner"\n'))
    finally:
        answers.set()


@pytest.mark.parametrize(("name", "value", "told"), [("REPORTS__PASSWORD", "", "is empty"), ("PREFECT__AUTH", "crew:", "user:password")])
def test_a_secret_without_letters_opens_no_door(monkeypatch: pytest.MonkeyPatch, name: str, value: str, told: str) -> None:
    """A variable that was set to nothing by mistake is not taken for a password."""
    monkeypatch.setenv(f"NIGHTCREW_{name}", value)
    with pytest.raises(Refused, match=told):
        Settings.load()

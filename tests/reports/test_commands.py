"""Commands that pages offer for copying: safe words, and the configuration that they must name."""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
import subprocess
from html import unescape
from pathlib import Path

import pytest

import reports
from deployments.reduction import settings_for
from nightcrew.settings import Settings
from reports.check import html_faults
from reports.commands import all_asking, asking, command, own_config, unasked
from reports.render import judged_html
from reports.revisions import content_digest
from reports.verdict import judge
from tests.reports import samples


def test_the_words_of_a_command_are_safe_in_a_shell() -> None:
    assert command("why", "a b.fits") == "nightcrew why 'a b.fits'"
    assert command("rerun", "2026-03-14", options="--from masters") == "nightcrew rerun 2026-03-14 --from masters"
    assert command("why", "-rf; x") == "nightcrew why './-rf; x'"


HOSTILE = ["--x;touch PWNED;#.fits", "--x;y", "--help", "$(x)", "-rf", "`x`", "--config", "a --config b.fits", "it's", "--a'b"]


@pytest.mark.parametrize("name", HOSTILE)
def test_no_name_of_a_file_is_a_command_or_an_option(name: str) -> None:
    for text in (command("why", name), asking(command("why", name), "/out dir/a.toml")):
        lexer = shlex.shlex(text, posix=False, punctuation_chars=True)
        lexer.whitespace_split = True
        assert not [token for token in lexer if set(token) <= set("();<>|&")]
        assert shlex.split(text)[:3] == ["nightcrew", "why", f"./{name}" if name.startswith("-") else name]
        assert not shlex.split(text)[2].startswith("-")
    back = subprocess.run(["sh", "-c", f"nightcrew() {{ printf '%s' \"$2\"; }}; {command('why', name)}"], capture_output=True, check=True)
    assert back.stdout.decode().removeprefix("./") == name


def test_a_name_that_holds_the_words_of_an_option_is_asked_of_the_configuration_all_the_same() -> None:
    asked = asking(command("why", "a --config b.fits"), "/out/nightcrew.toml")
    assert asked == "nightcrew why 'a --config b.fits' --config /out/nightcrew.toml"
    assert asking(asked, "/out/nightcrew.toml") == asked


def test_a_command_names_its_configuration_once() -> None:
    once = asking("nightcrew why a.fits", "/out dir/nightcrew.toml")
    assert once == "nightcrew why a.fits --config '/out dir/nightcrew.toml'"
    assert asking(once, "/other.toml") == once
    assert asking("nightcrew why a.fits", "") == "nightcrew why a.fits"
    assert asking("", "/a.toml") == ""


def test_every_command_of_a_page_names_the_configuration_and_nothing_else_changes() -> None:
    page = dataclasses.replace(samples.troubled_night(), config="/out/nightcrew.toml")
    asked = all_asking(page, page.config)
    shown = [action.command for action in judge(asked).actions if action.command]
    assert len(shown) > 3
    assert all(one.endswith(" --config /out/nightcrew.toml") and one.count("--config") == 1 for one in shown)
    assert all(cause.command.endswith(" --config /out/nightcrew.toml") for cause in asked.causes)
    assert repr(asked).replace(" --config /out/nightcrew.toml", "") == repr(page)
    assert all_asking(page, "") is page


def offered(html: str) -> list[str]:
    """The commands of a page as a person copies them."""
    return [unescape(one) for one in re.findall(r"<code[^>]*>(nightcrew [^<]*)</code>", html)]


def test_a_page_of_the_service_names_the_configuration_file_of_the_service(tmp_path: Path) -> None:
    """Whoever is called at night copies the command in another folder, where another installation may be the one that answers."""
    file = tmp_path / "it's <b>&" / "nightcrew.toml"
    file.parent.mkdir()
    file.write_text('[state]\nroot = "state"\n', encoding="utf-8")
    settings = Settings.load(file)
    assert own_config(settings) == str(file)
    plain = samples.troubled_night()
    page = dataclasses.replace(plain, config=own_config(settings))
    html = judged_html(page)
    asked = offered(html)
    assert len(asked) == len(offered(judged_html(plain))) > 6
    for one in asked:
        assert shlex.split(one)[-2:] == ["--config", str(file)]
        assert one.count("--config") == 1
    assert html_faults(html) == ()
    assert content_digest(page) == content_digest(plain)  # a file of another name is no change of the page
    settings.state.root.mkdir()
    (settings.state.root / "nightcrew.toml").touch()  # that of a folder reduced by itself
    assert own_config(settings) == str(settings.state.root / "nightcrew.toml")
    assert own_config(Settings().anchored(tmp_path)) == ""


def test_a_folder_reduced_by_itself_is_never_asked_of_the_file_that_gave_its_options(tmp_path: Path) -> None:
    """That file is of another ledger, also where no configuration can say what was asked."""
    (tmp_path / "nightcrew.toml").write_text('[state]\nroot = "state"\n', encoding="utf-8")
    (tmp_path / "raw").mkdir()
    base = Settings.load(tmp_path / "nightcrew.toml")
    assert own_config(settings_for(base, tmp_path / "raw", None, tmp_path / "out")) == ""


def test_another_configuration_is_no_change_of_what_is_said() -> None:
    for config in ("/a.toml", '/it\'s a \\ "file".toml', "/über.toml"):
        said = ("See.", asking(command("why", "x"), config))
        for text in (json.dumps(said), json.dumps(said, ensure_ascii=False), said[1]):
            assert "--config" not in unasked(text, config)
    assert unasked("nightcrew why x --config /a", "") == "nightcrew why x --config /a"


def test_commands_are_put_together_in_one_place_only() -> None:
    root = Path(next(iter(reports.__path__))).parent
    strange = [
        str(path.relative_to(root))
        for folder in ("reports", "flows", "tasks")
        for path in sorted((root / folder).rglob("*.py"))
        if path.name != "commands.py"
        and re.search(r"[\"']+nightcrew (why|status|rerun|report|close|mark|doctor)( \{|[\"'])", path.read_text(encoding="utf-8"))
    ]
    assert strange == []

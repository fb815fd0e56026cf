"""The pages are current: generated parts, keywords, flags, commands, options, and the tests that they name."""

from __future__ import annotations

import ast
import re
import shlex
import subprocess
import sys
import tomllib
from functools import lru_cache
from importlib.util import find_spec
from itertools import takewhile
from pathlib import Path
from typing import get_args

import pytest

from docs import generate
from nightcrew.frames.flags import PixelFlag
from nightcrew.photometry.flags import SourceFlag

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = [*generate.pages(), *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md"))]
CODE = ("nightcrew", "reports", "tasks", "flows", "watchers", "deployments")


def page(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def ids(paths: list[Path]) -> list[str]:
    return [str(path.relative_to(ROOT)) for path in paths]


def test_generated_parts_are_current() -> None:
    stale = ids(generate.stale_pages())
    assert stale == [], "run: python -m docs.generate"


def test_every_generated_part_stands_on_a_page() -> None:
    named = {name for path in generate.pages() for name in re.findall(r"<!-- generated: ([a-z-]+) -->", path.read_text(encoding="utf-8"))}
    assert named == set(generate.PARTS)


def test_refreshing_keeps_what_is_written_by_hand() -> None:
    text = "before\n<!-- generated: recipes -->\nold\n<!-- end -->\nafter\n"
    new = generate.refreshed(text)
    assert new.startswith("before\n<!-- generated: recipes -->\n\n| Recipe |")
    assert new.endswith("|\n\n<!-- end -->\nafter\n")
    assert "\nold\n" not in new
    assert generate.refreshed(new) == new


def test_cells_cannot_break_their_table() -> None:
    assert generate.table(("a",), [("x|y <b> *z*\nw",)]).splitlines()[-1] == "| x\\|y &lt;b> \\*z\\* w |"


@pytest.mark.parametrize("flag", [*PixelFlag, *SourceFlag], ids=lambda flag: f"{type(flag).__name__}.{flag.name}")
def test_every_flag_is_described(flag: PixelFlag | SourceFlag) -> None:
    assert f"| {int(flag)} | `{flag.name}` |" in page("products.md")


def keywords() -> list[str]:
    """Our header keywords in the units of work: whole ones, and the numbered ones up to their number."""
    found: set[str] = set()
    for path in sorted((ROOT / "tasks").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and re.fullmatch(r"NC[A-Z]+", node.value):
                found.add(node.value)
    return sorted(found)


def test_keywords_are_found() -> None:
    assert {"NCGRADE", "NCPRINT", "NCWHY", "NCIN", "NCPAR", "NCFRAMES"} <= set(keywords())


@pytest.mark.parametrize("keyword", keywords())
def test_every_keyword_is_described(keyword: str) -> None:
    assert re.search(rf"^\| `{keyword}1?`", page("products.md"), re.MULTILINE)


def test_every_rule_of_a_profile_is_described_or_unused() -> None:
    from nightcrew.frames.profiles import Keywords, Rules

    text = page("instruments.md")
    used = "\n".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "nightcrew" / "planning").glob("*.py")))
    absent = [name for name in Rules.model_fields if re.search(rf"rules\.{name}\b", used) and f"`{name}`" not in text]
    assert absent == []
    assert [name for name in Keywords.model_fields if f"`{name}`" not in text] == []


def test_every_built_in_profile_is_listed() -> None:
    names = {path.stem for path in (ROOT / "nightcrew" / "frames" / "instruments").glob("*.toml")}
    assert {name for name in names if f"`{name}`" in page("instruments.md")} == names


def test_defaults_of_the_rules_are_the_written_ones() -> None:
    from nightcrew.frames.profiles import Rules

    text, rules = page("instruments.md"), Rules()
    for name in ("temperature_cluster_c", "temperature_a_c", "temperature_b_c", "exposure_tolerance"):
        assert f"| `{name}` | {getattr(rules, name)} |" in text, name
    for name in ("bias_age_days", "dark_age_days", "flat_age_days"):
        assert f"| `{name}` | {', '.join(f'{days:g}' for days in getattr(rules, name))} |" in text, name


def test_every_option_of_reduce_is_explained() -> None:
    import typer

    from deployments import cli

    command = typer.main.get_command(cli.build("reduce")).commands["reduce"]  # type: ignore[attr-defined]  # a group: it has commands
    options = {word for one in command.params if one.name != "help" for word in one.opts if word.startswith("-")}
    assert {word for word in options if f"`{word}`" not in page("reduce.md")} == set()


@lru_cache(maxsize=1)
def commands() -> frozenset[str]:
    from deployments import cli

    return frozenset(cli.COMMANDS)


@pytest.mark.parametrize("path", PAGES, ids=ids(PAGES))
def test_named_commands_exist(path: Path) -> None:
    named = set(re.findall(r"(?:^|`|\$ )nightcrew ([a-z]+)\b", path.read_text(encoding="utf-8"), re.MULTILINE))
    assert named - commands() == set()


def command_lines(text: str) -> list[list[str]]:
    """The words of every command line that a page prints, in a block or in the text, up to a pipe."""
    fence = re.compile(r"^```[a-z]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
    blocks = "\n".join(fence.findall(text)).replace("\\\n", " ")
    lines = re.findall(r"^\s*(?:\$ )?(?:[A-Z_]+=\S+ )*nightcrew (.*)", blocks, re.MULTILINE)
    lines += re.findall(r"`nightcrew ([^`]+)`", fence.sub("", text))
    split = [shlex.split(" ".join(line.split()), comments=True) for line in lines]
    return [list(takewhile(lambda word: word not in ("|", "&&", ">"), words)) for words in split]


@lru_cache(maxsize=128)
def parameters(name: str, sub: str) -> frozenset[str] | None:
    """The options of a command; None when there is no such command of the group."""
    import typer

    from deployments import cli

    command = typer.main.get_command(cli.build(name, name, *([sub] if sub else []))).commands[name]  # type: ignore[attr-defined]  # a group: it has commands
    if name in cli.GROUPS and sub:
        command = command.commands.get(sub)
    return None if command is None else frozenset({"--help", *(o for p in command.params for o in (*p.opts, *p.secondary_opts))})


@pytest.mark.parametrize("path", PAGES, ids=ids(PAGES))
def test_printed_command_lines_have_parts_and_options_that_exist(path: Path) -> None:
    from deployments import cli
    from deployments.cli.ledger import Subject

    wrong = []
    for words in command_lines(path.read_text(encoding="utf-8")):
        name = words[0].rstrip(",.:") if words else ""
        if name not in cli.COMMANDS:
            continue  # `nightcrew COMMAND`; a wrong word fails the test above
        sub = words[1].rstrip(",") if name in cli.GROUPS and len(words) > 1 and words[1][0].islower() else ""
        known = parameters(name, sub)
        options = [word.partition("=")[0] for word in words[1:] if re.match(r"--?[A-Za-z]", word)]
        if known is None or not known.issuperset(options) or (name == "ledger" and words[1:2] and words[1] not in get_args(Subject)):
            wrong.append(" ".join(words))
    assert wrong == []


@pytest.mark.parametrize("path", PAGES, ids=ids(PAGES))
def test_every_command_of_a_printed_list_exists(path: Path) -> None:
    """Such as `nightcrew frames log, stats, arith`: the test above looks at the first alone."""
    from deployments import cli

    lines = [words for words in command_lines(path.read_text(encoding="utf-8")) if words[0] in cli.GROUPS and words[1:2]]
    listed = [(words[0], word.rstrip(",")) for words in lines if words[1].endswith(",") for word in words[1:] if word != "and"]
    assert [f"{name} {sub}" for name, sub in listed if parameters(name, sub) is None] == []


@pytest.mark.parametrize("path", PAGES, ids=ids(PAGES))
def test_printed_configurations_and_profiles_are_taken(path: Path, tmp_path: Path) -> None:
    from nightcrew.frames.profiles import load_profiles
    from nightcrew.settings import Settings

    for place, block in enumerate(re.findall(r"^```toml\n(.*?)^```", path.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)):
        file = tmp_path / str(place) / "printed.toml"
        file.parent.mkdir()
        file.write_text(block, encoding="utf-8")
        if set(tomllib.loads(block)) <= set(Settings.model_fields):
            Settings.load(file)
        else:
            assert "printed" in load_profiles(file.parent)


@pytest.mark.parametrize("path", PAGES, ids=ids(PAGES))
def test_links_between_pages_lead_somewhere(path: Path) -> None:
    absent = []
    for link in re.findall(r"\]\(([^)\s]+)\)", path.read_text(encoding="utf-8")):
        name, _, place = link.partition("#")
        target = path.parent / name if name else path
        if not link.startswith("http") and not (target.exists() and (not place or place in anchors(target))):
            absent.append(link)
    assert absent == []


@lru_cache(maxsize=64)
def anchors(path: Path) -> frozenset[str]:
    """The headings of a page, as links name them."""
    headings = re.findall(r"^#+ (.*)", path.read_text(encoding="utf-8"), re.MULTILINE)
    return frozenset(re.sub(r"[^\w -]", "", heading.lower()).strip().replace(" ", "-") for heading in headings)


def test_every_make_target_that_a_page_names_exists() -> None:
    targets = set(re.findall(r"^([a-z][\w-]*):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = {name for path in PAGES for name in re.findall(r"(?:^|`)make ([a-z]\w*)", path.read_text(encoding="utf-8"), re.MULTILINE)}
    assert {"night", "test", "install"} <= named <= targets


def test_command_lines_are_found_in_blocks_and_in_the_text() -> None:
    text = "Call `nightcrew ledger\nfiles --state x`:\n\n```\n$ nightcrew why a.fit | less\nA=1 nightcrew up   # all\n```\n"
    assert sorted(command_lines(text)) == [["ledger", "files", "--state", "x"], ["up"], ["why", "a.fit"]]


@pytest.mark.parametrize("path", PAGES, ids=ids(PAGES))
def test_named_options_exist(path: Path) -> None:
    from nightcrew.settings import Settings

    sections = {name: type(f.default[0] if isinstance(f.default, tuple) else f.default) for name, f in Settings.model_fields.items()}
    named = re.findall(rf"`({'|'.join(sections)})\.([a-z_]+)`", path.read_text(encoding="utf-8"))
    assert [f"{section}.{key}" for section, key in named if key not in sections[section].model_fields] == []


@lru_cache(maxsize=64)
def functions_of(path: Path) -> frozenset[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


@pytest.mark.parametrize("path", PAGES, ids=ids(PAGES))
def test_named_tests_exist(path: Path) -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", path.read_text(encoding="utf-8"))
    absent = [f"{file}::{test}" for file, test in named if not (ROOT / file).is_file() or test not in functions_of(ROOT / file)]
    assert absent == []


def test_reliability_answers_every_pain_in_order() -> None:
    rows = re.findall(r"^\| (\d+) \| .* \| .* \| (.*) \|$", page("reliability.md"), re.MULTILINE)
    assert [int(number) for number, _ in rows] == list(range(1, 33))
    assert [number for number, shown in rows if "tests/" not in shown and "not covered yet" not in shown] == []


@pytest.mark.parametrize("path", PAGES, ids=ids(PAGES))
def test_named_files_exist(path: Path) -> None:
    named = re.findall(
        rf"`((?:{'|'.join((*CODE, 'tests', 'docs'))})/[\w./-]+\.(?:py|toml|yaml|md|service))`", path.read_text(encoding="utf-8")
    )
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_every_page_is_reached_from_the_navigation() -> None:
    navigation = set(re.findall(r"[\w/-]+\.md", (ROOT / "mkdocs.yml").read_text(encoding="utf-8")))
    assert navigation == {str(path.relative_to(DOCS)) for path in generate.pages()}, "name every page under nav in mkdocs.yml"


def test_the_picture_of_a_report_is_small() -> None:
    picture = DOCS / "images" / "report.png"
    assert picture.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert picture.stat().st_size < 400_000


def test_the_documentation_builds_without_warnings_and_loads_nothing(tmp_path: Path) -> None:
    if find_spec("mkdocs") is None or find_spec("material") is None:
        pytest.skip("mkdocs-material is not installed (make docs installs it)")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", tmp_path / "site"],
        cwd=ROOT,
        env={"NO_MKDOCS_2_WARNING": "1", "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    loads = re.compile(
        r"<(?:script|img|iframe|source)[^>]+src=[\"']?(?:https?:)?//|<link[^>]+href=[\"']?(?:https?:)?//(?![^>]*rel=canonical)"
    )
    pages = sorted((tmp_path / "site").rglob("*.html"))
    assert pages
    assert [page.name for page in pages if loads.search(page.read_text(encoding="utf-8"))] == []

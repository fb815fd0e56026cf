"""Writes the generated parts of the pages: ``python -m docs.generate`` after a change of options, flags or commands.

A generated part stands between ``<!-- generated: NAME -->`` and ``<!-- end -->``; what is around it is written by hand.
A test holds that every part is current.
"""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import IntFlag
from pathlib import Path
from typing import Any, get_args

from pydantic.fields import FieldInfo

PAGES = Path(__file__).parent
_PART = re.compile(r"(<!-- generated: ([a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def refreshed(text: str) -> str:
    """A page's text with every generated part written anew; KeyError for a part that nobody writes."""
    return _PART.sub(lambda found: f"{found[1]}\n{PARTS[found[2]]().strip()}\n\n{found[3]}", text)


def stale_pages() -> list[Path]:
    """The pages whose generated parts are not current."""
    return [page for page in pages() if refreshed(text := page.read_text(encoding="utf-8")) != text]


def pages() -> list[Path]:
    """All pages, sorted."""
    return sorted(PAGES.rglob("*.md"))


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; cells are escaped where Markdown would take a bar or an angle bracket for its own."""
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def _cell(text: str) -> str:
    plain = " ".join(text.split()).replace("|", "\\|")
    return plain if "`" in plain else plain.replace("<", "&lt;").replace("*", "\\*")


def configuration() -> str:
    """Every section of the settings with its options."""
    from nightcrew.settings import Settings

    parts = []
    for name, field in Settings.model_fields.items():
        many = isinstance(field.default, tuple)
        section = type(field.default[0] if many else field.default)
        head = f"[[{name}]]" if many else f"[{name}]"
        about = " ".join((section.__doc__ or "").split())
        rows = [_option(name, key, option) for key, option in section.model_fields.items()]
        parts.append(f"## `{head}`\n\n{about}\n\n{table(('Key', 'Default', 'Meaning'), rows)}")
    return "\n\n".join(parts)


def _option(section: str, key: str, option: FieldInfo) -> tuple[str, str, str]:
    from nightcrew.settings_file import SECRETS

    meaning = (option.description or "").rstrip(".")
    choices = [choice for choice in get_args(option.annotation) if isinstance(choice, str)]
    if choices:
        meaning += ": " + ", ".join(f"`{choice}`" for choice in choices)
    if (section, key) in SECRETS:
        return (f"`{key}`", "none", f"{meaning}: `NIGHTCREW_{section.upper()}__{key.upper()}`")
    return (f"`{key}`", f"`{_shown(option.default)}`" if option.default is not None else "none", meaning)


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return "[" + ", ".join(_shown(item) for item in value) + "]"
    return f'"{value}"' if isinstance(value, str | Path) else f"{value:_}" if isinstance(value, int) and value >= 10_000 else str(value)


def _bits(flags: type[IntFlag], descriptions: Mapping[Any, str]) -> str:
    return table(("Bit", "Name", "Meaning"), [(str(int(flag)), f"`{flag.name}`", descriptions[flag]) for flag in flags])


def pixel_flags() -> str:
    """The bits of every MASK plane."""
    from nightcrew.frames.flags import DESCRIPTIONS, PixelFlag

    return _bits(PixelFlag, DESCRIPTIONS)


def source_flags() -> str:
    """The bits of a catalogue's column ``flags``."""
    from nightcrew.photometry.flags import DESCRIPTIONS, SourceFlag

    return _bits(SourceFlag, DESCRIPTIONS)


def catalogue_columns() -> str:
    """All columns that a catalogue can have."""
    whole = _empty_catalogue(everything=True)
    always = set(_empty_catalogue(everything=False).colnames)
    rows = []
    for name in whole.colnames:
        column = whole[name]
        when = "" if name in always else " (only with a WCS)" if name.endswith("_deg") else ' (only with `sky = "subframe"`)'
        rows.append((f"`{name}`", str(column.unit or "").replace("pix2", "pix^2"), f"{column.description}{when}"))
    return table(("Column", "Unit", "Meaning"), rows)


def _empty_catalogue(*, everything: bool) -> Any:
    import dataclasses

    import numpy as np
    from astropy.wcs import WCS

    from nightcrew.photometry.catalogue import Measured, build_catalogue
    from nightcrew.photometry.radial_profile import ProfileFits

    measured = Measured.empty("electron", 60.0, 1.0)
    if not everything:
        return build_catalogue(measured)
    none = np.empty(0)
    fits = ProfileFits(none, none, none, none, none, none, np.empty(0, np.bool_))
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    return build_catalogue(dataclasses.replace(measured, sky=dataclasses.replace(measured.sky, fits=fits)), wcs)


def recipes() -> str:
    """All recipes with their step and folder."""
    from nightcrew.recipes.catalogue import RECIPES

    rows = [(f"`{r.name}`", str(r.version), r.title, f"`{r.step}`", f"`{r.folder}/`") for r in RECIPES.values()]
    return table(("Recipe", "Version", "Makes", "Step", "Folder"), rows)


def commands() -> str:
    """Every command with its arguments and options."""
    import typer

    from deployments import cli

    parts = []
    for name in cli.COMMANDS:
        found = typer.main.get_command(cli.build(name)).commands[name]  # type: ignore[attr-defined]  # a group: it has commands
        if name in cli.GROUPS:
            parts.append(f"## `nightcrew {name}`\n\n{_prose(found.help)}")
            parts += [f"### `nightcrew {name} {sub}`\n\n{_command(one)}" for sub, one in found.commands.items()]
        else:
            parts.append(f"## `nightcrew {name}`\n\n{_command(found)}")
    return "\n\n".join(parts)


def _command(command: Any) -> str:
    rows = [_parameter(one) for one in command.params if one.name != "help"]
    return _prose(command.help) + (f"\n\n{table(('Argument or option', 'Default', 'Meaning'), rows)}" if rows else "")


def _prose(text: str | None) -> str:
    return "\n\n".join(" ".join(part.split()) for part in (text or "").split("\n\n"))


def _parameter(one: Any) -> tuple[str, str, str]:
    option = one.opts[0].startswith("-")
    shown = (
        ", ".join(f"`{word}`" for word in (*one.opts, *one.secondary_opts))
        if option
        else f"`{(one.metavar or one.name).upper().replace('|', ' or ')}`"
    )
    default = "required" if one.required else "" if one.default in (None, "", False, (), []) else f"`{one.default}`"
    return shown, default, f"{one.help or ''}{_choices_of(one)}"


def _choices_of(one: Any) -> str:
    choices = [word for word in _words(one.type_descriptor.annotation) if isinstance(word, str)]
    return f" One of {', '.join(f'`{word}`' for word in choices)}." if choices else ""


def _words(annotation: Any) -> list[Any]:
    """The literals in an annotation such as ``Literal["a", "b"] | None``."""
    return [word for part in get_args(annotation) for word in ([part] if isinstance(part, str) else _words(part))]


PARTS: dict[str, Callable[[], str]] = {
    "configuration": configuration,
    "pixel-flags": pixel_flags,
    "source-flags": source_flags,
    "catalogue-columns": catalogue_columns,
    "recipes": recipes,
    "commands": commands,
}
"""Name of a generated part -> what writes it."""


def main() -> int:
    """Write every page whose generated parts changed; names them."""
    for page in stale_pages():
        page.write_text(refreshed(page.read_text(encoding="utf-8")), encoding="utf-8")
        sys.stdout.write(f"wrote {page.relative_to(PAGES.parent)}\n")
    return 0


if __name__ == "__main__":
    importlib.invalidate_caches()
    sys.exit(main())

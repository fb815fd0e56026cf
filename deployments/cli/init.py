"""``nightcrew init``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deployments.cli.common import say


def init(
    path: Annotated[Path, typer.Argument(help="File to write, or the folder to write nightcrew.toml into.")] = Path("nightcrew.toml"),
) -> None:
    """Write a commented nightcrew.toml with every option at its default."""
    from nightcrew.errors import Refused
    from nightcrew.io.atomic import write_text
    from nightcrew.settings_file import FILE_NAME, default_file

    file = path / FILE_NAME if path.is_dir() else path
    if file.exists():
        raise Refused(f"{file} exists already and was left alone; delete it first or name another file")
    write_text(file.absolute(), default_file())
    say(f"Wrote {file}. Now name your site and folders in it, then run: nightcrew up --config {file}")

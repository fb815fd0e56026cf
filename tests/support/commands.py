"""The command line without a process of its own: what a command prints and its exit code, in milliseconds."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from unittest import mock


@dataclass(frozen=True)
class Answer:
    """What a command said."""

    returncode: int
    stdout: str
    stderr: str


def nightcrew(*words: str, folder: Path, **environment: str) -> Answer:
    """``nightcrew WORDS`` in ``folder``, with the environment's own options of Nightcrew left out.

    The same entry point as the installed command.  Commands that set up logging or processes for good are called as processes.
    """
    from deployments.cli import main

    given = {name: value for name, value in os.environ.items() if not name.startswith("NIGHTCREW_")}
    out, err = io.StringIO(), io.StringIO()
    code = 0
    with (
        contextlib.chdir(folder),
        mock.patch.dict(os.environ, {**given, **environment}, clear=True),
        mock.patch.object(sys, "argv", ["nightcrew", *words]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(bool(end.code))
    return Answer(code, out.getvalue(), err.getvalue())

"""Runs once more, alone, what failed in the last run: ``python -m tests.again OPTIONS``.

pytest's own ``--last-failed`` does not know the tests again that ran in groups: their names were stored with ``@group`` at the end.
A test that ``docs/reliability.md`` relies on and that the last run skipped (``tests.conftest``) fails this one, too.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.conftest import SKIPPED

CACHE = Path(".pytest_cache/v")


def failed(text: str) -> list[str]:
    """The names of the failed tests in pytest's own file, as pytest takes them."""
    return sorted({re.sub(r"@[^\]@]*$", "", name) for name in json.loads(text)})


def again(options: Sequence[str], cache: Path = CACHE) -> int:
    """The exit code: 0 when what failed passes now, and nothing that is relied on was skipped."""
    last, left_out = cache / "cache" / "lastfailed", cache / SKIPPED
    names = failed(last.read_text(encoding="utf-8")) if last.exists() else []
    skipped = json.loads(left_out.read_text(encoding="utf-8")) if left_out.exists() else []
    # In a process of its own: this one has imported what pytest wants to look at first, which is an error there.
    code = subprocess.run([sys.executable, "-m", "pytest", *options, *names], check=False).returncode if names else 1
    for name in skipped:
        sys.stdout.write(f"FAILED {name}: docs/reliability.md relies on it, and the last run skipped it\n")
    return code or int(bool(skipped))


if __name__ == "__main__":
    sys.exit(again(sys.argv[1:]))

"""Runs once more, alone, what failed in the last run: ``python -m tests.again OPTIONS``.

pytest's own ``--last-failed`` does not know the tests again that ran in groups: their names were stored with ``@group`` at the end.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

LAST = Path(".pytest_cache/v/cache/lastfailed")


def failed(text: str) -> list[str]:
    """The names of the failed tests in pytest's own file, as pytest takes them."""
    return sorted({re.sub(r"@[^\]@]*$", "", name) for name in json.loads(text)})


if __name__ == "__main__":
    names = failed(LAST.read_text(encoding="utf-8")) if LAST.exists() else []
    sys.exit(pytest.main([*sys.argv[1:], *names]) if names else 1)

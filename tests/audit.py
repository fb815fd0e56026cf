"""``python -m tests.audit``: known weaknesses of the pinned dependencies, by pip-audit (extra "audit").

A dependency that the service knows nothing of or does not answer for, or a service that cannot be reached, was not audited, and an
audit that was not run has not passed.  A mirror without advisories answers like the real service for a package without weaknesses:
so a release that is long known to be weak is asked for as well, and who does not know of it was not asked.

Exits with 0 when all were audited and none is known to be weak, 1 for a weakness, 2 when not all could be audited.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

CONSTRAINTS = Path(__file__).resolve().parents[1] / "constraints.txt"
LIMIT_S = 600.0
KNOWN_WEAK = ("django", "1.2")  # CVE-2010-3082 and dozens more; nothing here depends on it


def judge(report: Mapping[str, Any], pinned: Collection[str]) -> tuple[int, list[str]]:
    """Exit status and lines for people, from pip-audit's JSON and the names (as :func:`plain`) that had to be in it."""
    everything = list(report.get("dependencies", []))
    if not any(one.get("vulns") for one in everything if (plain(one["name"]), one.get("version")) == KNOWN_WEAK):
        return 2, [
            f"not run: who was asked does not know that {' '.join(KNOWN_WEAK)} is weak, so that its silence about others tells nothing"
        ]
    found = [one for one in everything if plain(one["name"]) != KNOWN_WEAK[0]]
    answered = {plain(one["name"]) for one in found}
    found += [{"name": name, "skip_reason": f"no answer for {name}"} for name in sorted(set(pinned) - answered)]
    skipped = [one for one in found if "skip_reason" in one]
    weak = [one for one in found if one.get("vulns")]
    lines = [f"{one['name']} {one['version']}: {weakness['id']}, {_mend(weakness)}" for one in weak for weakness in one["vulns"]]
    audited = len(found) - len(skipped)
    lines.append(f"{audited} of {len(found)} dependencies were audited, {len(weak)} of them are known to be weak")
    if skipped or not found:
        lines.append(f"not run for {len(skipped) or 'any'}: {skipped[0]['skip_reason'] if skipped else 'there is no list'}")
    return (1 if weak else 2 if skipped or not found else 0), lines


def plain(name: str) -> str:
    """A project's name as all its spellings are compared (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(text: str) -> set[str]:
    """The names that a file of constraints pins."""
    return {plain(found[1]) for line in text.splitlines() if (found := re.match(r"\s*([A-Za-z0-9._-]+)\s*(?:\[[^]]*\])?\s*==", line))}


def _mend(weakness: Mapping[str, Any]) -> str:
    versions = ", ".join(weakness.get("fix_versions") or ())
    return f"mended in {versions}" if versions else "not mended yet"


def main() -> int:
    """Audit what ``constraints.txt`` pins."""
    command = [sys.executable, "-m", "pip_audit", "--requirement", str(CONSTRAINTS), "--no-deps", "--disable-pip", "--format", "json"]
    try:
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as canary:
            canary.write("==".join(KNOWN_WEAK) + "\n")
            canary.flush()
            command += ["--requirement", canary.name, "--progress-spinner", "off"]
            done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)
        report = json.loads(done.stdout)
    except (subprocess.TimeoutExpired, OSError, json.JSONDecodeError) as error:
        sys.stdout.write(f"not run: {error}\n")
        return 2
    status, lines = judge(report, pins(CONSTRAINTS.read_text(encoding="utf-8")))
    sys.stdout.write("\n".join(lines) + "\n")
    return status


if __name__ == "__main__":
    sys.exit(main())

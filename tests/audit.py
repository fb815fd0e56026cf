"""``python -m tests.audit``: known weaknesses of the pinned dependencies, by pip-audit (extra "audit").

A dependency that the service knows nothing of, or a service that cannot be reached, was not audited, and an audit that was not run
has not passed.  Exits with 0 when all were audited and none is known to be weak, 1 for a weakness, 2 when not all could be audited.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

CONSTRAINTS = Path(__file__).resolve().parents[1] / "constraints.txt"
LIMIT_S = 600.0


def judge(report: Mapping[str, Any]) -> tuple[int, list[str]]:
    """Exit status and lines for people, from pip-audit's JSON."""
    found = list(report.get("dependencies", []))
    skipped = [one for one in found if "skip_reason" in one]
    weak = [one for one in found if one.get("vulns")]
    lines = [f"{one['name']} {one['version']}: {weakness['id']}, {_mend(weakness)}" for one in weak for weakness in one["vulns"]]
    audited = len(found) - len(skipped)
    lines.append(f"{audited} of {len(found)} dependencies were audited, {len(weak)} of them are known to be weak")
    if skipped or not found:
        lines.append(f"not run for {len(skipped) or 'any'}: {skipped[0]['skip_reason'] if skipped else 'there is no list'}")
    return (1 if weak else 2 if skipped or not found else 0), lines


def _mend(weakness: Mapping[str, Any]) -> str:
    versions = ", ".join(weakness.get("fix_versions") or ())
    return f"mended in {versions}" if versions else "not mended yet"


def main() -> int:
    """Audit what ``constraints.txt`` pins."""
    command = [sys.executable, "-m", "pip_audit", "--requirement", str(CONSTRAINTS), "--no-deps", "--disable-pip", "--format", "json"]
    try:
        done = subprocess.run([*command, "--progress-spinner", "off"], capture_output=True, text=True, timeout=LIMIT_S, check=False)
        report = json.loads(done.stdout)
    except (subprocess.TimeoutExpired, OSError, json.JSONDecodeError) as error:
        sys.stdout.write(f"not run: {error}\n")
        return 2
    status, lines = judge(report)
    sys.stdout.write("\n".join(lines) + "\n")
    return status


if __name__ == "__main__":
    sys.exit(main())

"""Coverage-guided fuzzing of one target: ``python -m tests.fuzz.run TARGET [--minutes 10]``; needs the extra "fuzz" (atheris).

The corpus and what was found stay in ``.fuzz/<target>`` below the current folder.  Exits non-zero when something was found,
after printing it as the hex line that belongs into ``tests/fuzz/cases/<target>.txt``.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from tests.fuzz.targets import MOST_BYTES, TARGETS


def main() -> int:
    """Fuzz in a child process: libFuzzer ends the process that it runs in."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", choices=sorted(TARGETS))
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    folder = Path(".fuzz") / given.target
    corpus, found = folder / "corpus", folder / "found"
    if given.inside:
        _fuzz(given.target, corpus, found, given.minutes)
    for place in (corpus, found):
        place.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate([*TARGETS[given.target].seeds(), *TARGETS[given.target].cases()]):
        (corpus / f"seed-{number}").write_bytes(seed)
    command = [sys.executable, "-m", "tests.fuzz.run", given.target, "--minutes", str(given.minutes), "--inside"]
    done = subprocess.run(command, check=False, stderr=subprocess.PIPE, text=True, errors="replace")
    crashes = sorted(found.iterdir())
    for path in crashes:
        sys.stdout.write(f"{path.name}: {path.read_bytes().hex()}\n")
    lines = done.stderr.splitlines()
    sys.stdout.write("\n".join(lines if crashes or done.returncode else lines[-3:]) + "\n")
    return done.returncode or bool(crashes)


def _fuzz(name: str, corpus: Path, found: Path, minutes: float) -> None:
    import atheris  # type: ignore[import-untyped, import-not-found, unused-ignore]

    target = TARGETS[name]
    with atheris.instrument_imports(include=list(target.modules)):
        for seed in target.seeds():
            target.check(seed)  # imports what it reads with
    options = [
        f"-max_total_time={round(minutes * 60)}",
        f"-max_len={MOST_BYTES}",
        "-timeout=20",
        "-rss_limit_mb=2048",
        "-print_final_stats=1",
    ]
    atheris.Setup([sys.argv[0], *options, f"-artifact_prefix={found}/", str(corpus)], target.check)
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())

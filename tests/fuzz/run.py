"""Coverage-guided fuzzing of the readers: ``python -m tests.fuzz.run [TARGET ...] [--minutes 10]``; needs atheris.

The minutes are processor time: on a busy machine a target goes on, from the corpus that it has, until it has had them.

A line for each target.  The corpora and what was found stay in ``.fuzz/<target>`` below the current folder.  Exits non-zero when
something was found, after printing it as the hex line that belongs into ``tests/fuzz/cases/<target>.txt``.
"""

from __future__ import annotations

import argparse
import re
import resource
import subprocess
import sys
from pathlib import Path

from tests.fuzz.targets import MOST_BYTES, TARGETS

LEAST_S = 5.0
"""What is left of a target's time below which the fuzzer is not started again: importing takes as long."""

# atheris keeps the result of every comparison that it traces: here that of a table of a million places, a megabyte an input.
_NOT_TRACED = ("nightcrew.mkid.silences",)


def main() -> int:
    """Fuzz one target after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(TARGETS)}; all without")
    parser.add_argument("--minutes", type=float, default=10.0, help="of processor time, for each target")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    unknown = sorted(set(given.targets) - set(TARGETS))
    if unknown:
        parser.error(f"no target is called {', '.join(unknown)}")
    if given.inside:
        _fuzz(given.targets[0], given.minutes)
    bad = [name for name in given.targets or TARGETS if _one(name, given.minutes)]
    return int(bool(bad))


def _folder(name: str) -> Path:
    return Path(".fuzz") / name


def _one(name: str, minutes: float) -> bool:
    """Fuzz in a child process, since libFuzzer ends the one that it runs in; was anything found?"""
    corpus, found = _folder(name) / "corpus", _folder(name) / "found"
    for place in (corpus, found):
        place.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate([*TARGETS[name].seeds(), *TARGETS[name].cases()]):
        (corpus / f"seed-{number}").write_bytes(seed)
    before = set(found.iterdir())
    units, cpu_s, output, code = 0, 0.0, "", 0
    while not code and (not output or minutes * 60 - cpu_s > LEAST_S):  # once, however little time there is
        started_s = _children_cpu_s()
        command = [sys.executable, "-m", "tests.fuzz.run", name, "--minutes", str(minutes - cpu_s / 60), "--inside"]
        done = subprocess.run(command, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
        cpu_s += _children_cpu_s() - started_s
        output, code = done.stdout, done.returncode
        executed = re.search(r"number_of_executed_units:\s*(\d+)", output)
        units += int(executed[1]) if executed else 0
        code = code or int(executed is None or not int(executed[1]))  # a fuzzer that says nothing did nothing
    fresh = sorted(set(found.iterdir()) - before)
    bad = bool(fresh or code)
    sys.stdout.write(f"{'FOUND' if bad else 'nothing':<8} {name}: {units} inputs in {cpu_s / 60:.1f} min of processor time\n")
    for path in fresh:
        sys.stdout.write(f"  {path.name}: {path.read_bytes().hex()}\n")
    if bad:
        told = [line for line in output.splitlines() if not line.startswith(("#", "INFO"))]
        sys.stdout.write("\n".join(f"  {line}" for line in told[-60:]) + "\n")
    return bad


def _children_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _fuzz(name: str, minutes: float) -> None:
    import atheris  # type: ignore[import-untyped, import-not-found, unused-ignore]  # there or not

    target = TARGETS[name]
    with atheris.instrument_imports(include=list(target.modules), exclude=list(_NOT_TRACED)):
        for seed in target.seeds():
            target.check(seed)  # imports what it reads with

    def one(data: bytes) -> None:
        target.check(data)

    options = [
        f"-max_total_time={max(1, round(minutes * 60))}",  # 0 were for ever
        f"-max_len={MOST_BYTES}",
        "-timeout=20",
        "-rss_limit_mb=2048",
        "-print_final_stats=1",
    ]
    atheris.Setup([sys.argv[0], *options, f"-artifact_prefix={_folder(name) / 'found'}/", str(_folder(name) / "corpus")], one)
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())

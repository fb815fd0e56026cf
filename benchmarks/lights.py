"""Reducing lights: frames of 2048^2 a second with uncertainty, mask and catalogue, without and with cosmic rays; a big night's page.

The masters are made first and not counted; then the lights and their catalogues are made by the two worker processes of
``nightcrew reduce``, from the raw file to the recorded products (hashed and brought to disk).
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.spent import worker
from benchmarks.table import Line

if TYPE_CHECKING:
    from deployments.reduction import Wishes
    from tasks.executor import ScopeRun
    from tasks.workspace import Workspace

N_LIGHTS, N_COSMIC = 20, 8
PAGE_LIGHTS = 500
LIGHT_RECIPES = ("reduce_light", "photometry")


def lines(data: Path, work: Path, _repeats: int) -> list[Line]:
    """Frames a second, and the seconds of a page."""
    raw = bench_night(data) / "raw"
    plain = float(worker("benchmarks.lights", "rate", raw, work / "plain", N_LIGHTS))
    cosmic = float(worker("benchmarks.lights", "rate", raw, work / "cosmic", N_COSMIC, "cosmic"))
    page_s = float(worker("benchmarks.lights", "page", work / "big"))
    reduced = "lights of 2048^2 with uncertainty, mask and catalogue"
    return [
        Line(work=reduced, what="a second", value=plain, unit="", at_least=1.0),
        Line(work=f"{reduced}, cosmic rays", what="a second", value=cosmic, unit="", at_least=0.25),
        Line(work=f"report of a night of {PAGE_LIGHTS} lights", what="wall time", value=page_s, unit="s", at_most=20),
    ]


def bench_night(data: Path) -> Path:
    """The benchmark's simulated night, made once."""
    from nightcrew.simulate.night import make_night

    night = data / "night"
    if not (night / "truth.json").exists():
        make_night(night, "bench", 1)
    return night


def rate(raw: Path, work: Path, count: int, *, cosmic: bool) -> float:
    """Lights a second, over ``count`` lights of one filter."""
    from deployments.reduction import Wishes

    work.mkdir(parents=True)
    _link(_chosen(raw, count), work / "raw")
    space, _ = _reduced(work, Wishes(cosmic_rays=cosmic), only=("bias_master", "dark_master", "flat_master", "bad_pixel_mask"))
    start = time.perf_counter()
    run = _run(space, only=LIGHT_RECIPES)
    taken_s = time.perf_counter() - start
    catalogues = sum(outcome.recipe == "photometry" and outcome.state == "made" for outcome in run.outcomes)
    if catalogues != count:
        raise RuntimeError(f"{catalogues} catalogues of {count} lights were made")
    return count / taken_s


def page(work: Path) -> float:
    """Seconds for the page of a night of 500 small lights, with their reduced frames and catalogues, drawn for the first time."""
    from deployments.reduction import Wishes
    from flows.pages import write_page
    from nightcrew.simulate.night import simulate_night
    from nightcrew.simulate.plan import short_night

    plan = short_night()
    targets = (replace(plan.targets[0], n_stars=15, exposure_s=10.0, repeats=PAGE_LIGHTS),)
    small = replace(
        plan, camera=replace(plan.camera, nx=128, ny=128), targets=targets, filters=plan.filters[1:2], late_filter="", troubles=()
    )
    simulate_night(work, small, 1)
    space, run = _reduced(work, Wishes(cosmic_rays=False), only=())
    made = sum(outcome.recipe == "reduce_light" and outcome.state == "made" for outcome in run.outcomes)
    if made != PAGE_LIGHTS:
        raise RuntimeError(f"{made} of {PAGE_LIGHTS} lights were reduced")
    start = time.perf_counter()
    write_page(space, plan.night)
    return time.perf_counter() - start


def _chosen(raw: Path, lights: int) -> list[Path]:
    """Ten of each calibration frame of one filter, and lights in that filter."""
    from nightcrew.simulate.truth import load_truth

    truth = load_truth(raw.parent / "truth.json")
    name = min(frame.filter for frame in truth.select("light"))
    frames = [*truth.select("bias")[:10], *truth.select("dark")[:10], *truth.select("flat", filter_name=name)[:10]]
    return [raw / frame.name for frame in (*frames, *truth.select("light", filter_name=name)[:lights])]


def _link(paths: Sequence[Path], folder: Path) -> None:
    folder.mkdir()
    for path in paths:
        (folder / path.name).hardlink_to(path)


def _reduced(work: Path, wishes: Wishes, *, only: tuple[str, ...]) -> tuple[Workspace, ScopeRun]:
    """Take in ``work``/raw and make what ``only`` names (nothing named: everything)."""
    from deployments import reduction
    from nightcrew.ledger import scopes
    from nightcrew.settings import Settings

    space = reduction.open_reduction(reduction.settings_for(Settings(), work / "raw", None, work / "made"), wishes)
    reduction._record(space)
    reduction.ingest_all(space, lambda _what, _done, _of: None)
    with space.database.read() as connection:
        space.close_all([scope.id for scope in scopes.find(connection)])
    return space, _run(space, only=only)


def _run(space: Workspace, *, only: tuple[str, ...]) -> ScopeRun:
    from nightcrew.ledger import scopes
    from tasks.executor import Wish
    from tasks.pool import pooled

    with space.database.read() as connection:
        (scope,) = scopes.find(connection)
    with pooled(space.context, 2) as make:
        return space.run(scope.id, wish=Wish(only=only), make=make)


def main() -> int:
    """One measurement as JSON on the last line."""
    if sys.argv[1] == "page":
        value = page(Path(sys.argv[2]))
    else:
        raw, work, count = sys.argv[2:5]
        value = rate(Path(raw), Path(work), int(count), cosmic="cosmic" in sys.argv)
    sys.stdout.write(json.dumps(value) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

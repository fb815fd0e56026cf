"""Plate solutions in a night: what a solver gives, and that a solver that fails changes nothing."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import logging
import os
import shutil
import time
import warnings
from collections import Counter
from datetime import timedelta
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from nightcrew.astrometry.solve import TIME_IS_OVER, write_stars
from nightcrew.astrometry.sources import brightest, sources_of
from nightcrew.io.headers import read_hdus
from nightcrew.io.images import read_image
from nightcrew.ledger import products
from nightcrew.ledger.database import iso
from nightcrew.ledger.rows import ProductRow
from nightcrew.planning.explain import explain_file
from nightcrew.settings import PlateSolvingSettings
from nightcrew.simulate.plan import NightPlan
from reports.gather import gather_night
from reports.model import NightPage
from reports.night_data import Archive
from reports.night_summary import night_summary
from reports.render import judged_html
from reports.verdict import judge
from tasks import workspace
from tasks.catalogues import columns
from tasks.executor import ScopeRun, Wish, look
from tasks.plate_solutions import wasted_boxes
from tasks.sky import product_wcs
from tests.astrometry.fakes import answer, script
from tests.support.small_nights import Bench, make_raw, small_plan
from tests.support.undrawn import undrawn

pytestmark = pytest.mark.usefixtures("undrawn_figures")

LIGHTS = 4  # of them one keeps the coordinates that its camera wrote
UNSOLVED = LIGHTS - 1


def plan() -> NightPlan:
    small = small_plan(pixels=128)
    return dataclasses.replace(small, targets=(dataclasses.replace(small.targets[0], n_stars=16),))


@pytest.fixture(scope="module")
def sky(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A night whose lights have, but for the first, no WCS any more; and right answers for them by the hash of their list of stars."""
    out = tmp_path_factory.mktemp("night")
    make_raw(out, plan())
    lights = [path for path in sorted((out / "raw").iterdir()) if b"CTYPE1  =" in path.read_bytes()]
    assert len(lights) == LIGHTS
    for path in lights[1:]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            truth = WCS(fits.getheader(path))
        path.write_bytes(path.read_bytes().replace(b"CTYPE1  =", b"OTYPE1  ="))
        image = read_image(path)
        stars = brightest(sources_of(image))
        write_stars(out / f"{path.name}.xyls", stars)
        name = hashlib.sha256((out / f"{path.name}.xyls").read_bytes()).hexdigest()
        answer(out / "answers" / name, stars, image.shape, truth=truth, matched=10)
    return out


@pytest.fixture(scope="module")
def finished(sky: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The night without plate solving."""
    root = tmp_path_factory.mktemp("finished")
    bench = Bench(sky / "raw", root)
    with undrawn():
        bench.night()
    bench.space.database.close()
    return root


class Night:
    """The finished night, opened with a solver in a folder of its own."""

    def __init__(self, sky: Path, finished: Path, root: Path, text: str, **options: Any) -> None:
        self.raw, self.out, self.solver = sky / "raw", root / "out", root / "bin"
        self.asked = root / "asked"
        right = f'cp {sky}/answers/$(sha256sum < stars.xyls | cut -d" " -f1)/* .'
        script(self.solver, f"echo asked >> {self.asked}\n" + text.replace("RIGHT", right))
        shutil.copytree(finished, self.out, symlinks=True)
        self.options = options
        self.bench = self.opened()

    def opened(self, *, enabled: bool = True) -> Bench:
        """The workspace, opened anew."""
        plates = PlateSolvingSettings(
            enabled=enabled, program=str(self.solver / "solve-field"), index_folder=self.solver, **{"time_box_s": 5.0, **self.options}
        )
        return Bench(self.raw, self.out, plate_solving=plates)

    def times_asked(self) -> int:
        """How often the program was started."""
        return len(self.asked.read_text().splitlines()) if self.asked.exists() else 0

    def lights(self) -> list[ProductRow]:
        """The current reduced lights."""
        return [row for row in self.bench.products() if row.recipe == "reduce_light"]

    def page(self) -> NightPage:
        """The night's page."""
        space = self.bench.space
        archive = Archive(database=space.database, settings=space.settings, rules_for=space.rules_for, parameters=space.parameters)
        return gather_night(archive, "2026-05-16", made_at=self.bench.now)

    def cut(self) -> None:
        """Mend the camera's profile: of its frames the sensor's first 20 columns and 10 rows are cut off from now on."""
        own = self.bench.settings.instruments.folder
        own.mkdir(parents=True, exist_ok=True)
        (own / "nightcrew_simulated.toml").write_text('[layout]\ntrim = "[21:120,11:120]"\n')

    def wcs_of_lights(self) -> list[bool]:
        """Which lights have a WCS of the solver."""
        cards = [read_hdus(self.bench.space.context.file(row, "image"))[0].cards for row in self.lights()]
        return ["NCWCS" in one for one in cards]

    def why(self) -> list[str]:
        """What `nightcrew why` tells of the plate solution of each light that has none."""
        space, found = self.bench.space, []
        snapshot, done = look(space.context, self.bench.scopes()[0].id, space.parameters, space.rules_for)
        for row in (row for row in self.bench.files() if row.kind == "light"):
            of_row = [one for one in explain_file(row, snapshot, done).products if one["recipe"] == "plate_solution"]
            found += [f"{one['recipe']}: {one['reason']}" for one in of_row if one["status"] == "failed" and one["reason"]]
        assert len(found) == UNSOLVED
        return found

    def reasons(self) -> list[str]:
        """Why there is no plate solution, a light each."""
        return [
            product.reason
            for run in self.bench.run()
            if run.plan
            for product in run.plan.with_status("failed", "pending")
            if product.reason
        ]


def states(runs: list[ScopeRun]) -> Counter[tuple[str, str]]:
    return Counter((outcome.recipe, outcome.state) for run in runs for outcome in run.outcomes)


def content(root: Path, sky: Path) -> dict[str, str]:
    return Bench(sky / "raw", root).content()


def check_places(night: Night) -> None:
    """The catalogues have the places of the stars: the header's within a tenth of a pixel, on the field of the simulated sky."""
    for row in (row for row in night.bench.products() if row.recipe == "photometry"):
        table = columns(night.bench.space.context.file(row, "catalogue"))
        x, y, ra, dec = (np.array([float(text) for text in table[name]]) for name in ("x_px", "y_px", "ra_deg", "dec_deg"))
        wcs, _ = product_wcs(night.bench.space.context.file(next(one for one in night.lights() if one.key == row.key), "image"))
        there = np.array(wcs.all_world2pix(ra, dec, 0))
        assert np.abs(there - [x, y]).max() < 0.1
        target = plan().targets[0]
        assert np.abs(ra - target.ra_deg).max() * 3600 < 128 * 1.2  # the field of the simulated sky
        assert np.abs(dec - target.dec_deg).max() * 3600 < 128 * 1.2


def test_a_solved_light_has_the_coordinates_and_says_whose(sky: Path, finished: Path, tmp_path: Path) -> None:
    night = Night(sky, finished, tmp_path, "RIGHT")
    before = {row.key: row for row in night.lights()}
    runs = night.bench.run()
    assert states(runs)["plate_solution", "made"] == LIGHTS
    assert states(runs)["reduce_light", "made"] == UNSOLVED
    after = {row.key: row for row in night.lights()}
    assert {row.grade for row in after.values()} == {row.grade for row in before.values()}
    solved = [row for key, row in after.items() if row.fingerprint != before[key].fingerprint]
    assert len(solved) == UNSOLVED
    for row in solved:
        hdu = read_hdus(night.bench.space.context.file(row, "image"))[0]
        assert hdu.cards["NCWCS"] == "solve-field, with hints"
        assert hdu.cards["CTYPE1"] == "RA---TAN"
        assert hdu.cards["NCWCSN"] in range(6, 11)  # as many as were found of the ten brightest
        assert hdu.comments["NCWCS"] == "WCS is of astrometry.net, not the camera"
        assert row.metrics["wcs"]["source"] == "solved"
    kept = next(row for row in after.values() if row not in solved)
    assert "NCWCS" not in read_hdus(night.bench.space.context.file(kept, "image"))[0].cards
    runs = night.bench.run()
    assert states(runs) == {}
    assert night.times_asked() == UNSOLVED
    check_places(night)
    (plates,) = night.page().plates
    assert (plates.from_header, plates.solved, plates.blind, plates.unsolved, plates.failure_percent) == (1, UNSOLVED, 0, 0, 0.0)
    assert plates.rms_arcsec is not None
    assert plates.rms_arcsec < 0.01  # the answers have no noise
    bad = next(row for row in night.bench.products() if row.recipe == "plate_solution" and row.metrics["source"] == "solved")
    products.mark_bad(night.bench.space.database, bad.id, "it is another galaxy", remake_scopes=3)
    night.bench.run()
    assert [row.key for row in night.lights() if not row.metrics["wcs"]["valid"]] == [bad.key]


OTHER_FAILURES = ("exit 0", "yes | head -c 3000000; exit 1", "echo rubbish > stars.wcs")


@pytest.mark.parametrize("text", ["exit 3", *(pytest.param(text, marks=pytest.mark.slow) for text in OTHER_FAILURES)])
def test_a_solver_that_fails_on_every_light_changes_nothing(sky: Path, finished: Path, tmp_path: Path, text: str) -> None:
    """The same products, byte for byte, as without plate solving; no failure of a run, no light that waits, each reason told."""
    night = Night(sky, finished, tmp_path, text)
    runs = night.bench.run()
    assert states(runs) == {("plate_solution", "made"): 1, ("plate_solution", "without"): UNSOLVED}
    assert sum(run.failed for run in runs) == 0
    assert night.bench.content() == content(finished, sky)
    assert {row.state for row in night.bench.files() if row.kind == "light"} == {"done"}
    assert len(night.reasons()) == UNSOLVED
    assert all("plate_solution" in reason for reason in night.why())
    (plates,) = night.page().plates
    assert (plates.from_header, plates.solved, plates.failed, plates.unsolved) == (1, 0, UNSOLVED, UNSOLVED)
    assert plates.failure_percent == 100.0
    assert sum(count for _, count in plates.reasons) == UNSOLVED
    assert "failure rate 100 %." in judged_html(night.page())
    assert judge(night.page()).status == "attention"
    summary = night_summary(night.page(), judge(night.page()))
    assert {one.name: one.value for one in summary.quantities}["plates_failure_rate"] == 100.0


@pytest.mark.slow
def test_a_whole_night_with_a_solver_that_fails_is_the_night_without_one(sky: Path, finished: Path, tmp_path: Path) -> None:
    night = Night(sky, finished, tmp_path, "exit 3")
    shutil.rmtree(night.out)
    night.bench = night.opened()
    night.bench.night()
    assert night.bench.content() == content(finished, sky)


@pytest.mark.slow
def test_rerun_asks_again_and_remakes_just_what_is_solved_then(sky: Path, finished: Path, tmp_path: Path) -> None:
    night = Night(sky, finished, tmp_path, f"[ -e {tmp_path}/mended ] || exit 3; RIGHT")
    night.bench.run()
    (tmp_path / "mended").touch()
    assert states(night.bench.run()) == {}  # nobody asks again by himself
    runs = night.bench.run(Wish(retry=True))
    assert states(runs)["plate_solution", "made"] == UNSOLVED
    assert states(runs)["reduce_light", "made"] == UNSOLVED
    assert sum("source" in row.metrics["wcs"] for row in night.lights()) == UNSOLVED


def test_a_solver_that_hangs_is_not_asked_for_ever(sky: Path, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two of three lights use their time box up; the third is not asked for, before an hour is over or another program is there."""
    monkeypatch.setattr("tasks.plate_solutions.MOST_TIME_BOXES", 2)
    night = Night(sky, finished, tmp_path, "/bin/sleep 60", time_box_s=1.0)
    start = time.monotonic()
    night.bench.run()
    assert time.monotonic() - start < 10.0
    reasons = sorted(night.reasons())
    assert [reason.startswith(f"put off: {TIME_IS_OVER}") for reason in reasons] == [False, True, True]
    assert reasons[0] == "not tried now: the solver was not asked: it used its time box up for 2 lights in a row"
    assert night.bench.content() == content(finished, sky)
    night.solver.joinpath("solve-field").write_text(f"#!/bin/sh\ncp {sky}/answers/$(sha256sum < stars.xyls | cut -d' ' -f1)/* .\n")
    night.bench = night.opened()  # another program: asked by itself, at once
    night.bench.run()
    assert night.reasons() == []


@pytest.mark.slow
def test_a_blind_answer_elsewhere_than_the_header_points_is_noticed(sky: Path, finished: Path, tmp_path: Path) -> None:
    night = Night(sky, finished, tmp_path, "RIGHT", radius_deg=1e-5)
    night.bench.run()
    notes = [note for row in night.lights() for note in row.metrics["notes"] if "blind" in note]
    assert len(notes) == UNSOLVED
    assert all("degrees from where the header points" in note for note in notes)
    assert f"({UNSOLVED} blind, {UNSOLVED} of them elsewhere than the header points)" in judged_html(night.page())


def two_hard_ones(tmp_path: Path) -> str:
    """A solver that searches for ever for the first two lights that it is asked for, whenever, and solves the others."""
    return f"""h=$(sha256sum < stars.xyls); D={tmp_path}/hard; touch $D
        if [ $(wc -l < $D) -lt 2 ] && ! grep -q "$h" $D; then echo "$h" >> $D; fi; grep -q "$h" $D && exec /bin/sleep 60; RIGHT"""


def test_lights_that_were_not_asked_for_are_asked_for_by_themselves(
    sky: Path, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two lights use the time box up, the third could be solved: an hour later it is, before those two are tried again."""
    monkeypatch.setattr("tasks.plate_solutions.MOST_TIME_BOXES", 2)
    night = Night(sky, finished, tmp_path, two_hard_ones(tmp_path), time_box_s=1.0)
    night.bench.run()
    assert night.times_asked() == 2
    assert {row.state for row in night.bench.files() if row.kind == "light"} == {"done"}  # they do not wait for it
    wake_at = night.bench.scopes()[0].wake_at
    assert iso(night.bench.now) < wake_at <= iso(night.bench.now + timedelta(hours=1))
    night.bench.now += timedelta(hours=1, seconds=1)
    night.bench.run()
    assert sum(night.wcs_of_lights()) == 1


@pytest.mark.slow
def test_a_light_is_not_put_off_for_ever(sky: Path, finished: Path, tmp_path: Path) -> None:
    night = Night(sky, finished, tmp_path, two_hard_ones(tmp_path), time_box_s=1.0)
    for _ in range(4):
        night.bench.run()
        night.bench.now += timedelta(hours=1, seconds=1)
    assert night.reasons() == [f"{TIME_IS_OVER} of 1 s (half of it for the search with hints); so 3 times"] * 2
    assert night.times_asked() == 2 * 3 + 1


@pytest.mark.slow
def test_rerun_asks_first_for_what_was_never_asked_for(sky: Path, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.plate_solutions.MOST_TIME_BOXES", 2)
    night = Night(sky, finished, tmp_path, two_hard_ones(tmp_path), time_box_s=1.0)
    night.bench.run()
    night.bench.run(Wish(retry=True))
    assert sum(night.wcs_of_lights()) == 1


@pytest.mark.slow
def test_a_full_disk_is_no_failure_of_the_solver(sky: Path, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    night = Night(sky, finished, tmp_path, "RIGHT")
    with monkeypatch.context() as patch:
        patch.setattr("nightcrew.astrometry.solve.write_stars", full)
        night.bench.run()
        assert night.reasons() == ["put off: the plate solver could not be run now (No space left on device)"] * UNSOLVED
        assert night.bench.content() == content(finished, sky)
    night.bench.now += timedelta(hours=1, seconds=1)
    night.bench.run()
    assert sum(night.wcs_of_lights()) == UNSOLVED


@pytest.mark.slow
def test_a_busy_machine_does_not_change_whose_answer_a_light_gets(sky: Path, finished: Path, tmp_path: Path) -> None:
    """The question with hints, which the solver can answer, is killed by its time: the blind one is not asked instead."""
    text = f'case "$*" in *--ra*) [ -e {tmp_path}/busy ] && exec /bin/sleep 60;; esac; RIGHT'
    night = Night(sky, finished, tmp_path, text, time_box_s=3.0)
    (tmp_path / "busy").touch()
    night.bench.run()
    assert sum(night.wcs_of_lights()) == 0
    (tmp_path / "busy").unlink()
    night.bench.now += timedelta(hours=1, seconds=1)
    night.bench.run()
    of_plates = [row.metrics for row in night.bench.products() if row.recipe == "plate_solution" and row.metrics["source"] == "solved"]
    assert [one["how"] for one in of_plates] == ["with hints"] * UNSOLVED


@pytest.mark.slow
def test_an_absent_solver_is_told_once_and_what_was_solved_stands(
    sky: Path, finished: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    night = Night(sky, finished, tmp_path, "RIGHT")
    night.bench.run()
    solved = night.bench.content()
    (night.solver / "solve-field").unlink()
    workspace._tell_once.cache_clear()
    with caplog.at_level(logging.WARNING, logger="tasks.workspace"):
        for _ in range(3):
            night.bench = night.opened()
            assert states(night.bench.run()) == {}
    assert len([record for record in caplog.records if "is not installed" in record.message]) == 1
    assert night.bench.content() == solved


def test_without_a_solver_from_the_start_nothing_is_attempted(sky: Path, finished: Path, tmp_path: Path) -> None:
    night = Night(sky, finished, tmp_path, "RIGHT")
    (night.solver / "index-1.fits").unlink()
    night.bench = night.opened()
    assert states(night.bench.run()) == {}
    assert night.times_asked() == 0
    (plates,) = night.page().plates
    assert plates.failure_percent is None
    assert plates.unsolved == UNSOLVED
    assert plates.unavailable.startswith("the plate solver has no index files: none in ")
    assert night.bench.content() == content(finished, sky)


@pytest.mark.slow
def test_what_one_solver_gave_stands_when_the_next_one_fails(sky: Path, finished: Path, tmp_path: Path) -> None:
    night = Night(sky, finished, tmp_path, "RIGHT")
    night.bench.run()
    solved = night.bench.content()
    script(night.solver, "exit 3")
    night.bench = night.opened()
    assert states(night.bench.run()) == {("plate_solution", "made"): 1, ("plate_solution", "without"): UNSOLVED}
    assert night.bench.content() == solved
    assert states(night.bench.run()) == {}
    (plates,) = night.page().plates
    assert (plates.solved, plates.unsolved) == (UNSOLVED, 0)


@pytest.mark.parametrize("is_there", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_a_solution_of_other_pixels_is_not_a_lights(sky: Path, finished: Path, tmp_path: Path, is_there: bool) -> None:
    """The cut of the frames changed since; whether the solver fails now or is gone, no light has the reference pixel of before."""
    night = Night(sky, finished, tmp_path, "RIGHT")
    night.bench.run()
    assert sum(night.wcs_of_lights()) == UNSOLVED
    night.cut()
    if not is_there:
        (night.solver / "solve-field").unlink()
    night.bench = night.opened()
    night.bench.ingest()
    night.bench.run()
    assert {read_image(night.bench.space.context.file(row, "image")).shape for row in night.lights()} == {(110, 100)}
    assert sum(night.wcs_of_lights()) == 0
    assert sum(row.metrics["wcs"]["valid"] for row in night.lights()) == LIGHTS - UNSOLVED
    assert states(night.bench.run()) == {}


@pytest.mark.slow
def test_cards_for_another_shape_are_refused_by_the_light(
    sky: Path, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a plan says: a solution of another shape goes into no header, and the light says so."""
    monkeypatch.setattr("nightcrew.planning.plates.made_of", lambda header: "the same")
    monkeypatch.setattr("tasks.plate_solutions.made_of", lambda header: "the same")
    night = Night(sky, finished, tmp_path, "RIGHT")
    night.bench.run()
    night.cut()
    night.bench = night.opened()
    night.bench.ingest()
    night.bench.run()
    assert sum(night.wcs_of_lights()) == 0
    notes = Counter(note for row in night.lights() for note in row.metrics["notes"])
    assert notes["its plate solution holds for 128 x 128 px, the light has 100 x 110: it is not used"] == UNSOLVED


@pytest.mark.slow
def test_a_solution_that_a_person_marked_bad_stays_away(sky: Path, finished: Path, tmp_path: Path) -> None:
    night = Night(sky, finished, tmp_path, "RIGHT")
    night.bench.run()
    plate = next(row for row in night.bench.products() if row.recipe == "plate_solution" and row.metrics["source"] == "solved")
    products.mark_bad(night.bench.space.database, plate.id, "it is another galaxy", remake_scopes=3)
    night.bench.run()
    assert [row.key for row in night.lights() if not row.metrics["wcs"]["valid"]] == [plate.key]
    assert "not used: marked bad by a person: it is another galaxy" in unescape(judged_html(night.page()))
    script(night.solver, "exit 3")  # neither when another solver finds nothing
    night.bench = night.opened()
    night.bench.run()
    assert sum(night.wcs_of_lights()) == UNSOLVED - 1
    products.mark_bad(night.bench.space.database, plate.id, "", remake_scopes=3)
    night.bench.run()
    assert sum(night.wcs_of_lights()) == UNSOLVED


@pytest.mark.slow
def test_a_solution_outside_of_the_limits_of_today_does_not_stand(sky: Path, finished: Path, tmp_path: Path) -> None:
    night = Night(sky, finished, tmp_path, "RIGHT")
    night.bench.run()
    night.options = {"scale_low": 30.0, "scale_high": 40.0}
    night.bench = night.opened()
    night.bench.run()
    assert sum(night.wcs_of_lights()) == 0
    assert night.bench.content() == content(finished, sky)
    (night.solver / "solve-field").unlink()
    night.options = {}
    night.bench = night.opened()  # what was solved within those limits fits again, though there is no solver now
    night.bench.run()
    assert sum(night.wcs_of_lights()) == UNSOLVED


@pytest.mark.slow
def test_switched_off_again_the_lights_are_those_of_before(sky: Path, finished: Path, tmp_path: Path) -> None:
    night = Night(sky, finished, tmp_path, "RIGHT")
    night.bench.run()
    night.bench = night.opened(enabled=False)
    assert sum(run.made for run in night.bench.run()) == 0  # they are there already
    assert night.bench.content() == content(finished, sky)


@pytest.mark.slow
def test_a_solved_night_has_the_same_bytes_when_it_is_taken_in_at_once(sky: Path, finished: Path, tmp_path: Path) -> None:
    late = Night(sky, finished, tmp_path / "late", "RIGHT")
    late.bench.run()
    at_once = Night(sky, finished, tmp_path / "at once", "RIGHT")
    shutil.rmtree(at_once.out)
    shutil.copy2(late.solver / "solve-field", at_once.solver / "solve-field")
    at_once.bench = at_once.opened()
    at_once.bench.night()
    assert at_once.bench.content() == late.bench.content()


OVER, NOTHING, SOLVED_ONE, BY_HEADER = (
    ("failed", f"{TIME_IS_OVER} of 30 s", ""),
    ("failed", "blind: it found no solution", ""),
    ("done", "", '{"source": "solved"}'),
    ("done", "", '{"source": "header"}'),
)
AGAIN, NO_ROOM = ("again", f"{TIME_IS_OVER} of 30 s", ""), ("again", "the plate solver could not be run now", "")


@pytest.mark.parametrize(
    ("ends", "wasted"),
    [
        ([], 0),
        ([OVER] * 2, 0),
        ([OVER] * 3, 3),
        ([OVER, BY_HEADER, OVER, BY_HEADER, OVER], 3),  # lights that need no solver say nothing of it
        ([AGAIN, NO_ROOM] * 3, 3),
        ([NOTHING, OVER, OVER, OVER], 0),
        ([OVER, OVER, OVER, SOLVED_ONE], 0),  # clouds
        ([OVER] * 20 + [SOLVED_ONE], 20),
        ([SOLVED_ONE] + [OVER] * 20, 0),
    ],
)
def test_how_many_wasted_time_boxes_are_too_many(ends: list[tuple[str, str, str]], wasted: int) -> None:
    assert wasted_boxes(ends) == wasted

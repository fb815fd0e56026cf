"""What surrounds a plate solver: its question, its time box, and the checks that its answer must pass."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from nightcrew.astrometry import sources
from nightcrew.astrometry.check import MOST_RMS_PX, Answer, Refusal, checked, read_answer
from nightcrew.astrometry.hints import Hint, header_scales, hint_of
from nightcrew.astrometry.program import NoSolverError, find_solver
from nightcrew.astrometry.solve import TIME_IS_OVER, Solution, Unsolved, arguments, solve
from nightcrew.astrometry.sources import Sources, brightest, sources_of
from nightcrew.errors import TransientError
from tests.astrometry.fakes import DEC_DEG, RA_DEG, SCALE, SHAPE, answer, answering, field, script, solver

HINT = Hint(ra_deg=RA_DEG + 0.1, dec_deg=DEC_DEG, radius_deg=2.0, scale_low=1.5, scale_high=2.5)
BLIND = Hint()


def reason(found: Solution | Unsolved) -> str:
    assert isinstance(found, Unsolved), found
    return found.reason


def test_a_right_answer_is_a_solution(tmp_path: Path) -> None:
    answering(tmp_path)
    found = solve(field(), SHAPE, HINT, solver(tmp_path))
    assert isinstance(found, Solution)
    assert (found.how, found.matched) == ("with hints", 20)
    assert found.ra_deg == pytest.approx(RA_DEG, abs=1e-9)
    assert found.dec_deg == pytest.approx(DEC_DEG, abs=1e-9)
    assert found.scale_arcsec_per_px == pytest.approx(SCALE, rel=1e-6)
    assert found.rms_arcsec < 1e-6
    assert found.from_pointing_deg == pytest.approx(0.1 * np.cos(np.radians(DEC_DEG)), rel=1e-3)
    assert {key for key, _, _ in found.cards} >= {"CTYPE1", "CTYPE2", "CRVAL1", "CRVAL2", "CRPIX1", "CRPIX2"}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"scale": 3.0, "odds": 24.0}, "its scale of 3 arcsec/px is outside the range from 1.5 to 2.5"),
        ({"ra_deg": 150.0, "odds": 24.0}, "degrees from where the header points, the search radius is 2"),
        ({"error_px": 3.0}, "its stars miss their places by 3 px (rms), 2 are allowed"),
        ({"shift_px": 0.5}, "it matched stars that were not given to it"),
        ({"matched": 5}, "only 5 stars were matched, 6 are needed"),
        ({"odds": 15.0}, "its odds are too low (logarithm 15.0, 20.7 are needed)"),
        ({"odds": float("nan")}, "its answer says nothing of its odds"),
        ({"cards": [("RADESYS", "FK4"), ("EQUINOX", 1950.0)]}, "its coordinates are of another frame (FK4 1950.0)"),
        ({"cards": [("RADESYS", "FK5"), ("EQUINOX", 1950.0)]}, "its coordinates are of another frame (FK5 1950.0)"),
        ({"ratio": 1.2}, "its pixels are not square"),
        ({"distortion": 1e-3}, "its distortion moves a corner by"),
    ],
)
def test_a_wrong_answer_is_refused_by_our_own_check(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    answering(tmp_path, **changes)
    told = solve(field(), SHAPE, HINT, solver(tmp_path))
    assert words in reason(told)


def test_a_blind_answer_against_the_pointing_needs_better_odds(tmp_path: Path) -> None:
    """The first question finds nothing; the second one, without hints, an answer 26 degrees away."""
    truth = answering(tmp_path / "true", ra_deg=150.0, odds=24.0)
    script(tmp_path, f'for word; do [ "$word" = --ra ] && exit 0; done; exec {truth} "$@"')
    assert "its odds do not outweigh that" in reason(solve(field(), SHAPE, HINT, solver(tmp_path)))
    answering(tmp_path / "true", ra_deg=150.0, odds=60.0)
    found = solve(field(), SHAPE, HINT, solver(tmp_path))
    assert isinstance(found, Solution)
    assert found.how == "blind"
    assert found.from_pointing_deg == pytest.approx(25.9, abs=0.2)


def test_the_observers_range_of_scales_holds_for_a_blind_search_too(tmp_path: Path) -> None:
    answering(tmp_path, scale=3.0)
    asked = hint_of({}, ra_deg=None, dec_deg=None, radius_deg=5.0, scale_low=1.0, scale_high=2.5)
    assert "outside the range from 1 to 2.5" in reason(solve(field(), SHAPE, asked, solver(tmp_path)))
    assert isinstance(solve(field(), SHAPE, BLIND, solver(tmp_path)), Solution)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("exit 3", "it ended with code 3"),
        ("exit 0", "it found no solution"),
        ("kill -9 $$", "it was killed (SIGKILL"),
        ("yes | head -c 30000000; exit 4", "it ended with code 4"),
        ("echo nonsense | tee stars.wcs stars.corr > stars.match", "its answer cannot be read"),
        ("mkfifo stars.wcs stars.corr stars.match", "is missing, too large or no file"),
        ("ln -s /dev/zero stars.wcs", "is missing, too large or no file"),
        ("head -c 20000000 /dev/zero > stars.wcs", "is missing, too large or no file"),
        ("sleep 0.3; head -c 900000000 /dev/zero > stars.wcs || exit 5", "it ended with code 5"),
    ],
)
def test_a_program_that_fails_or_floods_gives_a_reason(tmp_path: Path, text: str, words: str) -> None:
    script(tmp_path, text)
    assert words in reason(solve(field(), SHAPE, BLIND, solver(tmp_path)))


def test_a_program_that_hangs_is_ended_with_its_children(tmp_path: Path) -> None:
    script(tmp_path, f"/bin/sleep 60 & echo $! > {tmp_path}/child; exec /bin/sleep 60")
    start = time.monotonic()
    told = reason(solve(field(), SHAPE, HINT, solver(tmp_path, time_box_s=1.0)))
    assert told == f"{TIME_IS_OVER} of 1 s (half of it for the search with hints)"
    assert time.monotonic() - start < 5.0
    child = int((tmp_path / "child").read_text())
    for _ in range(50):
        if not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE:
            break
        time.sleep(0.1)
    else:
        pytest.fail("the child of the solver lives on")


def test_a_blind_search_that_the_clock_stopped_may_be_tried_again(tmp_path: Path) -> None:
    """It did not get its processor time, or hung: the machine of another hour may tell more."""
    script(tmp_path, "exec /bin/sleep 60")
    assert solve(field(), SHAPE, BLIND, solver(tmp_path, time_box_s=0.5)) == Unsolved(f"{TIME_IS_OVER} of 0.5 s", passing=True)


def test_a_blind_search_that_used_its_processor_time_up_is_not_tried_again(tmp_path: Path) -> None:
    script(
        tmp_path, "sleep 2; exit 0"
    )  # how solve-field gives up: after its own limit, 0.8 of the box in whole seconds, without a solution
    told = solve(field(), SHAPE, BLIND, solver(tmp_path, time_box_s=3.0))
    assert told == Unsolved(f"{TIME_IS_OVER} of 3 s (its whole processor time was used)", passing=False)


def test_a_child_that_holds_the_output_open_is_not_waited_for(tmp_path: Path) -> None:
    script(tmp_path, "/bin/sleep 60 & exit 3")
    start = time.monotonic()
    assert "it ended with code 3" in reason(solve(field(), SHAPE, BLIND, solver(tmp_path)))
    assert time.monotonic() - start < 5.0


def test_it_gets_no_secret_and_no_folder_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIGHTCREW_MAIL__PASSWORD", "a secret")
    script(tmp_path, f"env > {tmp_path}/heard; pwd > {tmp_path}/where; exit 3")
    solve(field(), SHAPE, BLIND, solver(tmp_path))
    heard = dict(line.split("=", 1) for line in (tmp_path / "heard").read_text().splitlines())
    assert heard.keys() - {"_", "PWD", "OLDPWD", "SHLVL"} == {"PATH", "HOME", "TMPDIR", "LC_ALL"}
    where = Path((tmp_path / "where").read_text().strip())
    assert not where.exists()  # it was its own, and is gone


def test_hostile_cards_of_an_answer_do_not_get_into_a_header(tmp_path: Path) -> None:
    cards = [("OBJECT", "evil"), ("NCGRADE", "A"), ("CNAME1", "<script>"), ("CRVAL1A", 3.0), ("HISTORY", "../../x"), ("RADESYS", "ICRS")]
    answering(tmp_path, cards=cards)
    found = solve(field(), SHAPE, HINT, solver(tmp_path))
    assert isinstance(found, Solution)
    keys = {key for key, _, _ in found.cards}
    assert not keys & {"OBJECT", "NCGRADE", "CNAME1", "CRVAL1A", "HISTORY"}
    assert "RADESYS" in keys


def test_too_few_stars_are_not_asked_for(tmp_path: Path) -> None:
    script(tmp_path, f"touch {tmp_path}/asked")
    few = brightest(field(), 5)
    assert reason(solve(few, SHAPE, BLIND, solver(tmp_path))) == "only 5 stars were found, a plate solution needs 6"
    assert not (tmp_path / "asked").exists()


def test_an_absent_program_or_no_index_files_are_told(tmp_path: Path) -> None:
    with pytest.raises(NoSolverError, match="'no-such-solver' is not installed"):
        find_solver("no-such-solver", tmp_path, 1.0)
    path = script(tmp_path, "exit 0")
    (tmp_path / "index-1.fits").unlink()
    with pytest.raises(NoSolverError, match="no index files: none in"):
        find_solver(os.fspath(path), tmp_path, 1.0)


def test_files_of_a_solver_that_vanish_meanwhile_are_no_solver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = script(tmp_path, "exit 0")
    gone = [tmp_path / "index-1.fits", tmp_path / "index-2.fits"]
    monkeypatch.setattr("nightcrew.astrometry.program._indexes", lambda folder: (tmp_path, gone))
    with pytest.raises(NoSolverError, match="cannot be read"):
        find_solver(os.fspath(path), tmp_path, 1.0)


def test_what_it_writes_lies_in_the_folder_for_that_and_a_full_one_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script(tmp_path / "bin", f"pwd > {tmp_path}/where; exit 0")
    solve(field(), SHAPE, BLIND, solver(tmp_path / "bin"), work=tmp_path / "work")
    assert Path((tmp_path / "where").read_text().strip()).parent == tmp_path / "work"
    for number in (errno.ENOSPC, errno.EMFILE, errno.ENOMEM, errno.ETXTBSY):

        def fails(*_: object, number: int = number) -> None:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr("nightcrew.astrometry.solve.write_stars", fails)
        with pytest.raises(TransientError, match="could not be run now"):
            solve(field(), SHAPE, BLIND, solver(tmp_path / "bin"), work=tmp_path / "work")
    assert list((tmp_path / "work").iterdir()) == []


def test_the_identity_of_a_solver_is_that_of_its_files_not_of_their_place(tmp_path: Path) -> None:
    for name in ("one", "two"):
        script(tmp_path / name, "exit 0")
    assert solver(tmp_path / "one").identity == solver(tmp_path / "two").identity
    (tmp_path / "two" / "index-2.fits").write_bytes(b"another")
    assert solver(tmp_path / "one").identity != solver(tmp_path / "two").identity


def test_arguments_are_numbers_and_our_own_names() -> None:
    given = arguments("solve-field", SHAPE, Hint(ra_deg=361.0, dec_deg=-30.0, scale_low=1.0, scale_high=2.0), 5)
    assert given[given.index("--ra") + 1] == "1.000000"
    assert "--dec=-30.000000" in given  # not taken for an option
    assert "--ra" not in arguments("solve-field", SHAPE, BLIND, 5)


@pytest.mark.parametrize(
    ("cards", "scales"),
    [
        ({"FOCALLEN": 1000.0, "XPIXSZ": 9.0}, (1.8564, 3.7127)),
        ({"FOCALLEN": "1000 mm", "XPIXSZ": "9"}, (1.8564, 3.7127)),
        ({"FOCALLEN": 0.0, "XPIXSZ": 9.0}, ()),
        ({"CD1_1": 0.0, "CD1_2": 5e-4, "CD2_1": -5e-4, "CD2_2": 0.0}, (1.8,)),
        ({"CDELT1": -5e-4, "CDELT2": 5e-4}, (1.8,)),
        ({"SECPIX": 1.1, "FOCALLEN": "; rm -rf /"}, (1.1,)),
        ({"SECPIX": float("inf"), "CDELT1": 90.0, "CDELT2": 90.0}, ()),
    ],
)
def test_the_scale_that_a_header_gives(cards: dict[str, Any], scales: tuple[float, ...]) -> None:
    assert header_scales(cards, 2) == pytest.approx(scales, rel=1e-4)


def test_stars_are_found_among_more_hot_pixels() -> None:
    """20 stars of FWHM 3 px and 400 hot pixels, each higher than any star: the stars come back, hardly a hot pixel does."""
    rng = np.random.default_rng(5)
    ny, nx = 300, 300
    image = rng.normal(1000.0, 8.0, (ny, nx))
    x, y = rng.uniform(20, nx - 20, 20), rng.uniform(20, ny - 20, 20)
    yy, xx = np.mgrid[:ny, :nx]
    for x0, y0 in zip(x, y, strict=True):
        image += 1500.0 * np.exp(-0.5 * ((xx - x0) ** 2 + (yy - y0) ** 2) / 1.27**2)
    hot = rng.integers(0, ny * nx, 400)
    image.ravel()[hot] += rng.uniform(3000.0, 20_000.0, 400)
    found = sources_of(image.astype(np.float32))
    distance = np.hypot(found.x[:, None] - x, found.y[:, None] - y)
    assert (distance.min(axis=0) < 0.5).sum() >= 17  # a few lie beside a hot pixel or each other
    apart = np.abs(np.array(np.unravel_index(hot, (ny, nx))).T[:, None] - np.array(np.unravel_index(hot, (ny, nx))).T).max(axis=2)
    touching = int(((apart + 9 * np.eye(len(hot))).min(axis=1) <= 1).sum())  # those look like small stars
    assert (distance.min(axis=1) > 2.0).sum() <= touching / 2


def test_the_order_of_the_stars_does_not_matter(tmp_path: Path) -> None:
    answering(tmp_path)
    stars = field()
    mixed = np.random.default_rng(2).permutation(len(stars))
    other = Sources(stars.x[mixed], stars.y[mixed], stars.flux[mixed])
    one, two = (solve(given, SHAPE, HINT, solver(tmp_path)) for given in (stars, other))
    assert isinstance(one, Solution)
    assert isinstance(two, Solution)
    assert (one.cards, one.rms_arcsec) == (two.cards, two.rms_arcsec)


def test_an_answer_with_flipped_bytes_is_refused_or_right(tmp_path: Path) -> None:
    """Whatever bytes are damaged, nothing is raised; what is believed all the same looks where the true one does, within its rms."""
    answer(tmp_path, field(), SHAPE)
    whole = {path: path.read_bytes() for path in sorted(tmp_path.iterdir())}
    rng = np.random.default_rng(8)
    told = []
    for _ in range(50):
        path = list(whole)[int(rng.integers(len(whole)))]
        data = bytearray(whole[path])
        for place in rng.integers(0, len(data), 8):
            data[place] = rng.integers(256)
        path.write_bytes(data)
        raw = read_answer(tmp_path)
        found = raw if isinstance(raw, Refusal) else checked(raw, brightest(field()), SHAPE, HINT, HINT)
        path.write_bytes(whole[path])
        if isinstance(found, Answer):
            off = np.hypot((found.ra_deg - RA_DEG) * np.cos(np.radians(DEC_DEG)), found.dec_deg - DEC_DEG) * 3600
            assert off <= MOST_RMS_PX * SCALE
        else:
            told.append(found.reason)
    assert told
    assert all(told)


def test_a_large_frame_is_cleaned_slab_by_slab(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(6)
    image = rng.normal(100.0, 3.0, (50, 40)).astype(np.float32)
    image[[0, 9, 10, 11, 49], [0, 5, 20, 30, 39]] += 5000.0
    whole = sources._without_spikes(image)
    monkeypatch.setattr(sources, "_SLAB_ROWS", 10)
    assert np.array_equal(whole, sources._without_spikes(image), equal_nan=True)
    assert np.argwhere(np.isnan(whole)).tolist() == [[0, 0], [9, 5], [10, 20], [11, 30], [49, 39]]


def test_the_range_of_scales_reaches_30_percent_beyond_what_a_header_says() -> None:
    hint = hint_of({"SECPIX": 2.0, "PIXSCALE": 4.0}, ra_deg=None, dec_deg=None, radius_deg=5.0)
    assert [hint.scale_low, hint.scale_high] == pytest.approx([2.0 / 1.3, 4.0 * 1.3])
    asked = hint_of({"SECPIX": 2.0}, ra_deg=None, dec_deg=None, radius_deg=5.0, scale_low=1.9, scale_high=2.1)
    assert (asked.scale_low, asked.scale_high) == (1.9, 2.1)

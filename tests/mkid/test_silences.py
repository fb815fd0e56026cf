"""A silent board is no exposure of its pixels, which are learnt from the photons themselves."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5py
import numpy as np
import pytest
from typer.testing import CliRunner

from deployments.cli.mkid import app
from nightcrew.errors import RejectedInput
from nightcrew.mkid import calibrated
from nightcrew.mkid import words as w
from nightcrew.mkid.beam_map import read_beam_map
from nightcrew.mkid.calibrated import Calibrations, open_calibrated
from nightcrew.mkid.convert import Converted, convert_window
from nightcrew.mkid.cube import make_cube
from nightcrew.mkid.lightcurve import bad_stretches, light_curve
from nightcrew.mkid.live_time import lost_by_pixel
from nightcrew.mkid.mask_solution import PixelMasks
from nightcrew.mkid.packets import StreamParser
from nightcrew.mkid.phase_histogram import fill
from nightcrew.mkid.photon_table import PhotonTable
from nightcrew.mkid.pixel_masks import MaskOptions, find_masks
from nightcrew.mkid.quicklook import look_at_table
from nightcrew.mkid.seconds import list_seconds
from nightcrew.mkid.silences import Silences
from nightcrew.mkid.solution_grades import table_grade
from nightcrew.mkid.table_info import describe
from nightcrew.mkid.unheard import unheard_pixels
from nightcrew.simulate.mkid_plan import Exposure, preset
from nightcrew.simulate.mkid_run import make_run
from tasks.set_mkid import make_table
from tests.mkid.made_tables import START_US as MADE_US
from tests.mkid.made_tables import beam_map, table
from tests.mkid.streams import make

RATE_CPS, SECONDS, BOARD = 100.0, 6.0, 1
SILENT_S = (2.3, 4.8)  # since the start of the exposure, which is a second after that of the run
PLAN = replace(
    preset("tiny"),
    exposures=(Exposure(name="flat", kind="flat", duration_s=SECONDS, rate_cps=RATE_CPS),),
    gap_s=1.0,
    loss=0.0,
    hot_fraction=0.0,
    cold_fraction=0.0,
    dead_fraction=0.02,
    duplicate_fraction=0.0,
    no_tone_fraction=0.0,
)
START_US = (PLAN.start_unix + 1) * 1_000_000
STOP_US = START_US + round(SECONDS * 1e6)


def converted(folder: Path, plan: Any) -> Converted:
    make_run(folder / "run", plan, 3)
    beam_map = read_beam_map(folder / "run" / "beammap.txt")
    return convert_window(list_seconds(folder / "run" / "data").files, beam_map, START_US, STOP_US, folder / "flat.h5")


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Converted, Converted]:
    """The same exposure heard as a whole, and with a silent board."""
    folder = tmp_path_factory.mktemp("silence")
    silent = replace(PLAN, silences=((BOARD, 1 + SILENT_S[0], 1 + SILENT_S[1]),))
    return converted(folder / "whole", PLAN), converted(folder / "silent", silent)


def boards_of(made: Converted) -> Any:
    """Board of every pixel [y, x] by the truth."""
    with h5py.File(made.path.parent / "run" / "truth.h5") as truth:
        place, board = truth["channels/place"][:], truth["channels/board"][:]
    found = np.full((PLAN.rows, PLAN.columns), -1)
    found.ravel()[place[place >= 0]] = board[place >= 0] + 110
    return found


def test_boards_of_pixels_are_those_of_the_simulator(both: tuple[Converted, Converted]) -> None:
    for made in both:
        with PhotonTable(made.path) as table:
            lit, found = table.counts() > 0, table.silences.board
        assert 0.9 < lit.mean() < 1
        assert np.array_equal(found[lit], boards_of(made)[lit])
        assert (found[~lit] == -1).all()


def test_the_rates_of_a_silent_boards_pixels_are_true(both: tuple[Converted, Converted]) -> None:
    whole, silent = both
    with open_calibrated(whole.path, Calibrations()) as one, open_calibrated(silent.path, Calibrations()) as other:
        window = np.array([0, STOP_US - START_US])
        true, found = make_cube(one, window), make_cube(other, window)
        assert len(other.table.silences.rows) == 1
    mine, lit = boards_of(silent) == 110 + BOARD, true.counts[0, 0] > 0
    length_s = SILENT_S[1] - SILENT_S[0]
    assert true.exposure_s[0] + true.counts[0, 0] * 1e-5 == pytest.approx(SECONDS)  # dead time apart
    exposure_s = found.exposure_s[0] + found.counts[0, 0] * 1e-5
    assert exposure_s[mine & lit] == pytest.approx(SECONDS - length_s, abs=1.1e-3)  # two half milliseconds
    assert exposure_s[~mine | ~lit] == pytest.approx(SECONDS)
    assert np.array_equal(found.rate_cps[0, 0][~mine], true.rate_cps[0, 0][~mine])
    # A part of the same photons: their rate scatters about that of all by what the part that is missing lets expect.
    pixels = mine & lit
    off = (found.rate_cps - true.rate_cps)[0, 0][pixels]
    sigma = np.sqrt(true.rate_cps[0, 0][pixels] * (1 / (SECONDS - length_s) - 1 / SECONDS))
    pulls = off / sigma
    assert abs(pulls.mean()) < 4 / np.sqrt(pulls.size)
    assert pulls.std() == pytest.approx(1, abs=4 / np.sqrt(2 * pulls.size))


def test_steps_light_curves_and_histograms_know_of_silences(both: tuple[Converted, Converted]) -> None:
    _, silent = both
    mine = boards_of(silent) == 110 + BOARD
    with PhotonTable(silent.path) as table:
        lit = table.counts() > 0
        heard = fill(table).duration_s.reshape(table.shape)
    length_s = SILENT_S[1] - SILENT_S[0]
    assert heard[mine & lit] == pytest.approx(SECONDS - length_s, abs=1.1e-3)
    assert heard[~mine] == pytest.approx(SECONDS)
    edges = np.arange(7) * 1_000_000
    taken = np.array([0, 0, 0.7, 1, 0.8, 0])  # of each second
    with open_calibrated(silent.path, Calibrations()) as opened:
        steps = make_cube(opened, edges, dead_time=False).exposure_s
        pixel, other = (int(np.flatnonzero((chosen & lit).ravel())[0]) for chosen in (mine, ~mine))
        curve = light_curve(opened, [pixel], edges, dead_time=False)
        assert len(bad_stretches(opened, other)) == 0
        assert bad_stretches(opened, pixel) == pytest.approx(np.array([SILENT_S]) * 1e6, abs=1000)
    assert steps[:, mine & lit] == pytest.approx(np.repeat(1 - taken[:, None], (mine & lit).sum(), axis=1), abs=1.1e-3)
    assert curve.exposure_s == pytest.approx(1 - taken, abs=1.1e-3)
    assert np.isnan(curve.rate_cps[3])  # nobody knows


def test_what_pixels_lost_is_put_together_once_for_each_board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pixel by pixel it takes as long as all boards times all pixels."""
    placed = beam_map((10, 10))
    board = np.repeat(np.arange(10, dtype=np.int16), 10).reshape(10, 10)
    silences = Silences.of(board, {one: [(MADE_US + one * 1000, MADE_US + one * 1000 + 500)] for one in range(9)})
    path = table(tmp_path / "t.h5", placed, np.arange(100), np.arange(100), missing=[MADE_US // 10**6 + 3], silences=silences)
    masks = PixelMasks(edges_us=MADE_US + np.array([0, 10_000_000]), resid=placed.resid, bits=np.zeros((1, 10, 10), np.uint8))
    calls: list[str] = []

    def counted(name: str) -> None:
        inner = getattr(calibrated, name)

        def of(*given: Any) -> Any:
            calls.append(name)
            return inner(*given)

        monkeypatch.setattr(calibrated, name, of)

    counted("lost_by_board")
    counted("places_of")
    with open_calibrated(path, Calibrations(masks=masks)) as opened:
        found = [opened.lost_of(pixel).tolist() for pixel in range(100)]
        expected = lost_by_pixel(opened.lost, opened.table.silences, range(100))
        assert found == [one.tolist() for one in expected]
        assert [len(one) for one in found] == [2] * 90 + [1] * 10
        assert [bad_stretches(opened, pixel).tolist() for pixel in range(100)] == [(one - MADE_US).tolist() for one in expected]
    assert sorted(calls) == ["lost_by_board", "places_of"]


@pytest.mark.parametrize("step_s", [SECONDS, 1.0])
@pytest.mark.parametrize("method", ["threshold", "median", "laplacian"])
def test_pixels_of_a_silent_board_are_not_called_bad(both: tuple[Converted, Converted], step_s: float, method: str) -> None:
    whole, silent = both
    with PhotonTable(whole.path) as one, PhotonTable(silent.path) as other:
        options = MaskOptions(step_s=step_s, method=method)
        true, found = find_masks(one, options).bits != 0, find_masks(other, options).bits != 0
    # What is new is what 5 sigma of fewer counts lets expect among all pixels and steps: nearly nothing.
    assert (found & ~true).sum() <= 2
    assert (true & ~found).sum() <= 2


def test_linearity_takes_the_rate_while_the_board_was_heard(both: tuple[Converted, Converted]) -> None:
    whole, silent = both
    weights = []
    for made in (whole, silent):
        with open_calibrated(made.path, Calibrations(linearity_step_s=SECONDS)) as opened:
            opened.dead_time_us = 2000.0  # 1 / (1 - 0.2)
            photons = opened.photons()
            lit = np.diff(photons.first) > 0
            means = np.full(lit.size, np.nan)
            means[lit] = np.add.reduceat(photons.weight, photons.first[:-1][lit]) / np.diff(photons.first)[lit]
            weights.append(means.reshape(opened.shape))
    mine = boards_of(silent) == 110 + BOARD
    assert np.array_equal(weights[0][~mine], weights[1][~mine], equal_nan=True)
    assert np.nanmean(weights[1][mine]) == pytest.approx(np.nanmean(weights[0][mine]), rel=0.002)


@pytest.mark.parametrize("silent_s", [(0.0, 60.0), (0.5, 1 + SECONDS + 0.4)])
def test_pixels_of_a_board_that_sent_nothing_have_no_rate(silent_s: tuple[float, float], tmp_path: Path) -> None:
    """Half of the array would be dark without a word, as frames tell of no board that never sent one."""
    made = converted(tmp_path, replace(PLAN, dead_fraction=0.0, silences=((BOARD, *silent_s),)))
    mine = boards_of(made) == 110 + BOARD
    with open_calibrated(made.path, Calibrations()) as opened:
        cube = make_cube(opened, np.array([0, STOP_US - START_US]))
        look = look_at_table(opened, "t")
        report = opened.table.report
    assert np.isnan(cube.rate_cps[0, 0][mine]).all()
    assert np.isfinite(cube.rate_cps[0, 0][~mine]).all()
    assert table_grade(report)[0] == table_grade(made.report)[0] == "D"
    assert made.report == report
    assert any("no exposure of" in sentence for sentence in report["sentences"])
    assert any("no exposure of its" in remark for remark in look.remarks)


def test_the_service_grades_a_table_by_all_that_it_says(tmp_path: Path) -> None:
    make_run(tmp_path / "run", replace(PLAN, dead_fraction=0.0, silences=((BOARD, 0.0, 60.0),)), 3)
    files = [path for path in (tmp_path / "run").rglob("*") if path.suffix == ".bin" or path.name == "beammap.txt"]
    unit: Any = SimpleNamespace(
        files=[SimpleNamespace(relative=path.name, path=path) for path in files],
        path=lambda file: file.path,
        parameters={"flags": "current", "exposure": {"exposure": "flat"}, "start_us": START_US, "stop_us": STOP_US, "whole_run": False},
        out=tmp_path,
        planned=SimpleNamespace(night="run"),
        work=None,
    )
    found = make_table(unit)
    assert found.grade == "D"
    assert "no exposure of theirs" in " ".join(found.grade_reasons)
    window = ("--start", f"{START_US / 1e6:.0f}", "--duration", f"{SECONDS:g}", "--json")
    run = tmp_path / "run"
    said = CliRunner().invoke(
        app, ["convert", str(run / "data"), "-b", str(run / "beammap.txt"), "-o", str(tmp_path / "again.h5"), *window]
    )
    (row,) = json.loads(said.stdout)["tables"]
    assert [told for told in row["sentences"] if "no exposure of theirs" in told] == [row["problems"][0]]
    assert row["unheard_pixels"] == 200


def test_dark_pixels_of_a_board_that_was_heard_are_dark(tmp_path: Path) -> None:
    """Frames come without photons as well: then nobody may say that a pixel was not read out."""
    with_dark = replace(PLAN, dead_fraction=0.0)
    made = converted(tmp_path, with_dark)
    placed, account = read_beam_map(tmp_path / "run" / "beammap.txt"), made.account
    assert not unheard_pixels(placed, account).any()
    assert account.board_of_pixel is not None
    dark = account.board_of_pixel == 110 + BOARD
    account.board_of_pixel = np.where(dark, np.int16(-1), account.board_of_pixel)
    assert not unheard_pixels(placed, account).any()
    del account.boards[110 + BOARD], account.tally.lost_frames[110 + BOARD]
    assert (unheard_pixels(placed, account) == dark | (boards_of(made) == 110 + BOARD)).all()


def counts_of(made: Converted) -> Any:
    with PhotonTable(made.path) as table:
        return table.counts()


def seen_of(made: Converted) -> Any:
    mine = boards_of(made) == 110 + BOARD
    return np.where(mine & (counts_of(made) > 0), SECONDS - (SILENT_S[1] - SILENT_S[0]), SECONDS)


def test_a_table_says_what_was_silent_and_one_that_knows_nothing_reads_as_before(both: tuple[Converted, Converted], tmp_path: Path) -> None:
    whole, silent = both
    with PhotonTable(silent.path) as table:
        report = table.report
        ((board, begin, end),) = table.silences.rows.tolist()
        said, lit = describe(table), table.counts() > 0
    assert board == 110 + BOARD
    assert said["median_cps_of_lit"] == pytest.approx(RATE_CPS * 0.7, rel=0.3)  # by what the pixels answer
    assert said["brightest"]["cps"] == pytest.approx((counts_of(silent) / seen_of(silent))[lit].max())
    assert [list(stretch) for stretch in report["boards"][str(board)]["silences_us"]] == [[begin, end]]
    (told,) = (sentence for sentence in report["sentences"] if "silent" in sentence)
    assert "no exposure of its pixels" in told
    assert table_grade(report)[0] == "C"
    truth = json.loads((silent.path.parent / "run" / "truth.json").read_text())
    assert sum(report["words"]["lost_frames"].values()) == pytest.approx(sum(truth["lost_frames"].values()), rel=0.02)
    for change, expected in (("absent", SECONDS), ("of another array", None)):
        old = tmp_path / f"{change}.h5"
        old.write_bytes(silent.path.read_bytes())
        with h5py.File(old, "r+") as file:
            del file["boards/of_pixel"]
            if expected is None:
                file["boards"].create_dataset("of_pixel", data=np.zeros((2, 2), np.int16))
        with PhotonTable(old) as table:
            if expected is None:
                with pytest.raises(RejectedInput, match="boards are of another array"):
                    _ = table.silences
            else:
                assert len(table.silences.rows) == 0
        if expected is not None:
            with open_calibrated(old, Calibrations()) as opened:
                assert (opened.exposure_s() == expected).all()
    assert whole.account.boards[110 + BOARD].silences_us == ()


@pytest.mark.parametrize("pieces", [1, 7, 1000])
def test_boards_are_learnt_from_torn_streams_and_not_from_what_cannot_be_used(pieces: int) -> None:
    made = make(4, start_us=START_US, n_photons=2000, boards=(3, 200))  # pixel p is read by board p % 2
    words = made.stretch.words.copy()
    # In front: a frame whose time is of another day, a photon without a frame, and one with an impossible microsecond.
    another = w.header_words(77, 5, int(w.ticks(words[:1])[0]) + 86_400 * 2000)
    photon = w.photon_words([0, 1], [0, 0], [1, 1], [0, 0], [0, 0])
    impossible = w.photon_words([2], [0], [505], [0], [0])
    stream = np.concatenate([photon[1:], np.atleast_1d(another), photon[:1], words[:1], impossible, words[1:]])
    parser = StreamParser(made.shape)
    for part in np.array_split(stream, pieces):
        parser.feed(part.astype(">u8"), START_US // 1_000_000)
    parser.finish()
    seen = np.unique(made.events.y * made.shape[1] + made.events.x)
    expected = np.full(made.shape[0] * made.shape[1], -1)
    expected[seen] = np.where(seen % 2, 200, 3)
    assert np.array_equal(parser.board_of_pixel, expected)

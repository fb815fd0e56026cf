"""Boards that sent nothing: found where the photons tell which resonators go together, and told where they do not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from nightcrew.mkid.beam_map import BeamMap
from nightcrew.mkid.convert import report_of
from nightcrew.mkid.losses import BoardLoss
from nightcrew.mkid.solution_grades import table_grade
from nightcrew.mkid.stream import Account
from nightcrew.mkid.tally import Tally
from nightcrew.mkid.unheard import find_unheard

ROWS, COLUMNS = 125, 80
INDEX = np.arange(ROWS * COLUMNS)
OWN = np.arange(ROWS * COLUMNS) // 1000  # board of each pixel: ten of a thousand
BY_LINE = 10_000 * (OWN // 2 + 1) + 1024 * (OWN % 2) + INDEX % 1000  # two boards for each feed line


def placed(resid: Any, flag: Any = None) -> BeamMap:
    flags = np.zeros(INDEX.size) if flag is None else flag
    return BeamMap(resid.astype(np.uint32).reshape(ROWS, COLUMNS), flags.astype(np.uint32).reshape(ROWS, COLUMNS), "map.txt", "", 0, 0)


def account_of(board: Any, heard: Any, *, known: Any = None) -> Account:
    """``board`` of each pixel, -1 where it is dark; boards that were ``heard``, and those whose rate is known."""
    tally = Tally(photons=10**6, frames=10**5, lost_frames={int(one): 0 for one in heard})
    account = Account(tally, gaps_us=[], window_us=(0, 10_000_000), board_of_pixel=board.astype(np.int16).reshape(ROWS, COLUMNS))
    account.boards = {int(one): BoardLoss(10_000, (), 0.0) for one in (heard if known is None else known)}
    return account


def without(board: int, own: Any = OWN) -> Any:
    return np.where(own == board, -1, own)


HEARD = [0, 1, 2, 4, 5, 6, 7, 8, 9]


def test_a_dead_board_is_found_although_flagged_places_of_it_are_lit_by_another() -> None:
    flag, board = np.zeros(INDEX.size), without(3)
    flag[3500], board[3500] = 64, 4
    found = find_unheard(placed(BY_LINE, flag), account_of(board, HEARD))
    expected = OWN == 3
    expected[3500] = False  # photons came of it
    assert np.array_equal(found.pixels.ravel(), expected)
    assert not found.untold.any()
    report = report_of(placed(BY_LINE, flag), account_of(board, HEARD))
    grade, reasons = table_grade(report)
    assert grade == "B"  # 9.99 % of the array
    assert "no board sent anything of 999 pixels" in reasons[0]


@pytest.mark.parametrize("resid", [10_000 + INDEX, 1 + INDEX, 1 + INDEX * 7919 % INDEX.size])
def test_where_resonators_are_numbered_otherwise_nothing_is_called_unheard_and_that_is_told(resid: Any) -> None:
    """Boards of a thousand, numbered through, or in any order: no group of 1024 is a board."""
    account = account_of(without(3), HEARD)
    found = find_unheard(placed(resid), account)
    assert not found.pixels.any()
    assert np.array_equal(found.untold.ravel(), OWN == 3)
    grade, reasons = table_grade(report_of(placed(resid), account))
    assert grade == "B"
    assert "whether their board was silent cannot be told" in reasons[0]
    whole = find_unheard(placed(resid), account_of(OWN, range(10)))
    assert not whole.pixels.any()
    assert not whole.untold.any()


@pytest.mark.parametrize("lit", ["centre", "one half of each"])
def test_live_pixels_of_boards_with_more_channels_are_not_called_unheard(lit: str) -> None:
    own = INDEX // 2000
    resid = 10_000 * (own + 1) + INDEX % 2000
    x, y = INDEX % COLUMNS, INDEX // COLUMNS
    light = (abs(x - 40) < 10) & (y > 15) & (y < 110) if lit == "centre" else INDEX % 2000 < 1000
    found = find_unheard(placed(resid), account_of(np.where(light, own, -1), range(5)))
    assert not found.pixels.any()
    assert found.untold.any() == (lit != "centre")  # a board of 1024 and a silent one would look the same
    dead = find_unheard(placed(resid), account_of(np.where(light & (own != 2), own, -1), [0, 1, 3, 4]))
    assert np.array_equal(dead.pixels.ravel(), own == 2)


@pytest.mark.parametrize("known", [None, HEARD])
def test_a_board_that_was_heard_without_light_leaves_it_open_and_that_is_told(known: Any) -> None:
    """Board 5 without a tone, or a number that is of no board: board 3 may be that one or silent."""
    flag = np.zeros(INDEX.size)
    if known is None:
        flag[OWN == 5] = 1
        board, heard = np.where(OWN == 5, -1, without(3)), HEARD
    else:
        board, heard = without(3), [*HEARD, 200]
    account = account_of(board, heard, known=known)
    found = find_unheard(placed(BY_LINE, flag), account)
    assert not found.pixels.any()
    assert np.array_equal(found.untold.ravel(), OWN == 3)
    grade, reasons = table_grade(report_of(placed(BY_LINE, flag), account))
    assert grade == "B"
    assert f"frames came of board {5 if known is None else 200}, but no photon of a good pixel" in reasons[0]


@pytest.mark.parametrize(("unheard", "grade"), [(20, "B"), (99, "B"), (1000, "C"), (4999, "C"), (5000, "D")])
def test_pixels_that_were_not_read_out_count_by_their_share(unheard: int, grade: str) -> None:
    report: dict[str, Any] = {"words": {"photons": 10**6}, "placed_pixels": 10_000, "unheard_pixels": unheard}
    found, reasons = table_grade(report)
    assert found == grade
    assert reasons == (f"{unheard} pixels were not read out, and of 0 that cannot be told",)
    assert table_grade({**report, "sentences": ["so it is"]}) == (grade, ("so it is",))
    assert table_grade({"words": {"photons": 10**6}, "unheard_pixels": unheard})[0] == "D"  # of a table that does not tell the share

"""Boards that sent nothing at all: their pixels are known from the beam map alone, and were not read out.

A board sends frames whether it has photons or not.  Where every board that was heard has a lit pixel, and all pixels of a further board are
dark, that one was not heard.  Which pixels go together follows from the resonators: 10000 for each feed line, 1024 for each of its boards.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nightcrew.mkid.beam_map import BeamMap
from nightcrew.mkid.silences import UNKNOWN, Silences
from nightcrew.mkid.stream import Account

UNHEARD = 256
"""Board of pixels whose board sent nothing: beyond every number of a board."""
_PER_LINE, _PER_BOARD = 10_000, 1024
_LEAST = 20  # good pixels of a board, of which not one has a photon


def unheard_pixels(placed: BeamMap, account: Account) -> NDArray[np.bool_]:
    """Pixels [y, x] whose board sent no frame in the window of a complete ``account``."""
    none = np.zeros(placed.shape, dtype=np.bool_)
    if account.board_of_pixel is None:
        return none
    lit = account.board_of_pixel != UNKNOWN
    silent = {board for board, one in account.boards.items() if not one.frames}
    heard = set(account.tally.boards) - silent
    if not lit.any() or not heard <= set(account.board_of_pixel[lit].tolist()):
        return none  # dark pixels may be those of a board that was heard
    group = placed.resid // _PER_LINE * _PER_LINE + placed.resid % _PER_LINE // _PER_BOARD
    numbers, member = np.unique(group, return_inverse=True)
    member = member.reshape(placed.shape)
    good = np.bincount(member[placed.flag == 0], minlength=numbers.size)
    dark = np.bincount(member[lit], minlength=numbers.size) == 0
    found: NDArray[np.bool_] = ((good >= _LEAST) & dark)[member] & (placed.resid > 0)
    return found


def silences_of(placed: BeamMap, account: Account, window_us: tuple[int, int]) -> Silences:
    """When boards were silent, those that were all the time as well."""
    known, unheard = account.silences(placed.shape), unheard_pixels(placed, account)
    if not unheard.any():
        return known
    board = np.where(unheard, np.int16(UNHEARD), known.board)
    return Silences(board, np.concatenate([known.rows, np.array([[UNHEARD, *window_us]], dtype=np.int64)]))


def unheard_in_words(placed: BeamMap, account: Account) -> list[str]:
    """What a person should know of it."""
    unheard = unheard_pixels(placed, account)
    number = int(unheard.sum())
    if not number:
        return []
    resid = placed.resid[unheard]
    return [f"no board sent anything of {number} pixels (resonators {resid.min()} to {resid.max()}), which is no exposure of theirs"]

"""Boards that sent nothing at all: their pixels are known from the beam map alone, and were not read out.

A board sends frames whether it has photons or not.  Where every board that was heard has a lit pixel, and all pixels of a further board are
dark, that one was not heard.  Which pixels go together follows from the resonators: 10000 for each feed line, which one board reads, or one
board for each 1024 of it.  What the photons contradict is not so; where both may be, only what both say is taken for unheard.

Pixels with a flag tell nothing here: their place may be lit by the resonator of another board.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nightcrew.mkid.beam_map import BeamMap
from nightcrew.mkid.silences import UNKNOWN, Silences
from nightcrew.mkid.stream import Account

Flags = NDArray[np.bool_]

UNHEARD = 256
"""Board of pixels whose board sent nothing: beyond every number of a board."""
_PER_LINE, _PER_BOARD = 10_000, 1024
_LEAST = 20  # good pixels of a board, or next to each other by resonator, of which not one has a photon
_MIXED = 4  # changes of board for each board, in order of resonator, from which boards do not read neighbouring resonators


@dataclass(frozen=True)
class Unheard:
    """Pixels [y, x] of boards that sent no frame in the window, and dark ones that may be such or not, with the reason."""

    pixels: Flags
    untold: Flags
    why: str = ""


def find_unheard(placed: BeamMap, account: Account) -> Unheard:
    """What a complete ``account`` tells of boards that were not heard in its window."""
    none = np.zeros(placed.shape, dtype=np.bool_)
    board = account.board_of_pixel
    if board is None:
        return Unheard(none, none)
    good = (placed.flag == 0) & (placed.resid > 0)
    lit = (board != UNKNOWN) & good
    resid = placed.resid.astype(np.int64)
    line = resid // _PER_LINE
    groupings = (line * _PER_LINE + resid % _PER_LINE // _PER_BOARD, line)
    found = [_dark(group, good, lit) for group in groupings if _one_to_one(group[lit], board[lit])]
    if not found:
        return Unheard(none, _in_a_row(resid, board, good, lit), "the photons do not tell which resonators a board reads")
    either, both = np.logical_or.reduce(found), np.logical_and.reduce(found)
    silent = {number for number, one in account.boards.items() if not one.frames}
    unlit = sorted(set(account.tally.boards) - silent - set(board[lit].tolist()))
    if unlit:
        names = ", ".join(map(str, unlit))
        return Unheard(none, either & good, f"frames came of board {names}, but no photon of a good pixel")
    dark = both & (placed.resid > 0) & (board == UNKNOWN)
    return Unheard(dark, either & ~both & good, "they may be read by a board that was heard, or by another")


def _one_to_one(group: NDArray[np.int64], board: NDArray[np.int16]) -> bool:
    """Whether each group of lit pixels has one board, and each board one group."""
    pairs = np.unique(np.stack([group, board.astype(np.int64)]), axis=1)
    return all(np.unique(row).size == row.size for row in pairs)


def _dark(group: NDArray[np.int64], good: Flags, lit: Flags) -> Flags:
    """Pixels of groups that have enough good pixels, of which none is lit."""
    numbers, member = np.unique(group, return_inverse=True)
    member = member.reshape(group.shape)
    n_good, n_lit = (np.bincount(member[chosen], minlength=numbers.size) for chosen in (good, lit))
    dark: Flags = ((n_good >= _LEAST) & (n_lit == 0))[member]
    return dark


def _in_a_row(resid: NDArray[np.int64], board: NDArray[np.int16], good: Flags, lit: Flags) -> Flags:
    """Good dark pixels that follow each other by resonator; all of them where boards take turns, if they are enough."""
    places = np.flatnonzero(good)
    places = places[np.argsort(resid.ravel()[places], kind="stable")]
    dark = ~lit.ravel()[places]
    of_lit = board.ravel()[places][~dark]
    found = np.zeros(resid.size, dtype=np.bool_)
    if np.count_nonzero(np.diff(of_lit)) > _MIXED * np.unique(of_lit).size:
        found[places] = dark & (np.count_nonzero(dark) >= _LEAST)
    else:
        run = np.cumsum(~dark)  # the dark ones that follow a lit one have its number
        found[places] = dark & (np.bincount(run[dark], minlength=places.size + 1) >= _LEAST)[run]
    return found.reshape(resid.shape)


def unheard_pixels(placed: BeamMap, account: Account) -> Flags:
    """Pixels [y, x] whose board sent no frame in the window of a complete ``account``, as far as that is sure."""
    return find_unheard(placed, account).pixels


def silences_of(placed: BeamMap, account: Account, window_us: tuple[int, int]) -> Silences:
    """When boards were silent, those that were all the time as well."""
    known, unheard = account.silences(placed.shape), unheard_pixels(placed, account)
    if not unheard.any():
        return known
    board = np.where(unheard, np.int16(UNHEARD), known.board)
    return Silences(board, np.concatenate([known.rows, np.array([[UNHEARD, *window_us]], dtype=np.int64)]))


def unheard_in_words(placed: BeamMap, account: Account) -> list[str]:
    """What a person should know of it."""
    found, said = find_unheard(placed, account), []
    if found.pixels.any():
        which = _which(placed, found.pixels)
        said.append(f"no board sent anything of {which}, which is no exposure of theirs")
    if found.untold.any():
        dark = f"not one photon came of {_which(placed, found.untold)}"
        said.append(f"{dark}, and whether their board was silent cannot be told: {found.why}; their rates of 0 may be no measurement")
    return said


def _which(placed: BeamMap, pixels: Flags) -> str:
    resid = placed.resid[pixels]
    return f"{resid.size} pixels (resonators {resid.min()} to {resid.max()})"

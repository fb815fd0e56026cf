"""The bits of words."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from nightcrew.mkid import words as w


@given(
    x=st.integers(0, 1019),
    y=st.integers(0, 1023),
    us=st.integers(0, 511),
    phase=st.integers(*w.PHASE_LIMITS),
    baseline=st.integers(*w.BASELINE_LIMITS),
)
@settings(max_examples=200)
def test_a_photon_comes_back(x: int, y: int, us: int, phase: int, baseline: int) -> None:
    word = w.photon_words([x], [y], [us], [phase], [baseline])
    assert word.dtype == np.uint64
    assert word[0] < w.FIRST_HEADER
    assert (w.places(word)[0], w.microseconds(word)[0]) == (x << 10 | y, us)
    assert (w.phases(word)[0], w.baselines(word)[0]) == (phase, baseline)


@given(board=st.integers(0, 255), frame=st.integers(0, 10_000), tick=st.integers(0, 2**36 - 1))
@settings(max_examples=100)
def test_a_header_comes_back(board: int, frame: int, tick: int) -> None:
    header = w.header_words([board], [frame], [tick])
    assert header[0] >= w.FIRST_HEADER
    assert (w.boards(header)[0], w.frame_numbers(header)[0], w.ticks(header)[0]) == (board, frame % 4096, tick)


def test_words_of_the_format_description() -> None:
    # x 3, y 5, 7 us, phase -1, baseline -2: bits counted by hand
    assert int(w.photon_words(3, 5, 7, -1, -2)) == (3 << 54) + (5 << 44) + (7 << 35) + (0x3FFFF << 17) + 0x1FFFE
    assert int(w.header_words(2, 4097, 9)) == (0xFF << 56) + (2 << 48) + (1 << 36) + 9
    assert int(w.FILLER) == 0x7FFFFFFFFFFFFFFF
    assert int(w.photon_words(511, 1023, 511, -1, -1)) == int(w.FILLER)


def test_the_last_bits_in_degrees() -> None:
    assert abs(w.DEGREE_PER_PHASE_UNIT - 0.00174853) < 1e-8
    assert abs(w.DEGREE_PER_BASELINE_UNIT - 0.00349707) < 2e-8

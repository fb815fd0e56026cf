"""Temperatures that belong together: jitter does not part them, a ramp is not one of them."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from nightcrew.detector.clusters import clusters, narrow_parts, within
from nightcrew.detector.dark_levels import cell_numbers


def test_a_ramp_is_cut_into_even_parts() -> None:
    """Neighbours 0.25 K apart: by gaps alone ten kelvin were one cell."""
    ramp = np.arange(0, 10.1, 0.25)
    found = clusters(ramp)
    spans = [float(np.ptp(ramp[group])) for group in found]
    assert max(spans) <= 1.5
    assert min(spans) >= 0.25
    assert len({cell for cell, _ in cell_numbers(ramp, np.ones_like(ramp))}) == len(found)


def test_a_cut_lies_at_the_widest_step_near_the_middle() -> None:
    assert [group.tolist() for group in clusters([0.0, 0.45, 0.9, 1.38, 1.6])] == [[0, 1, 2], [3, 4]]


@given(st.lists(st.floats(-60, 60), max_size=40), st.floats(0.05, 5))
def test_every_value_is_in_one_part_that_is_narrow_and_equal_values_stay_together(values: list[float], width: float) -> None:
    ordered = sorted(values)
    parts = [ordered[part] for part in narrow_parts(ordered, within(width))]
    assert list(itertools.chain(*parts)) == ordered
    assert all(part and part[-1] - part[0] <= width * (1 + 1e-9) for part in parts)
    assert all(before[-1] < after[0] for before, after in itertools.pairwise(parts))

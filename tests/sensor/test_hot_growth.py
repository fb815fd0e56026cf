"""Hot pixels then and now."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nightcrew.errors import Refused
from nightcrew.sensor.hot_growth import growth, read_hot_pixels

PIXELS = st.dictionaries(st.tuples(st.integers(0, 9), st.integers(0, 9)), st.floats(0.1, 100))
HEAD = 'set-up,region,"temperature / C",y,x,"rate / (adu/s)","rate / (e-/s)"\n'


def test_every_way_that_a_pixel_can_go() -> None:
    before = {(0, 0): 1.0, (0, 1): 1.0, (0, 2): 1.0, (0, 3): 1.0}
    now = {(0, 0): 1.1, (0, 1): 2.0, (0, 2): 0.4, (5, 5): 9.0}
    found = growth("cam", "whole", -10.0, before, now)
    assert (found.new, found.gone, found.grown, found.shrunk, found.median_ratio) == (1, 1, 1, 1, 1.1)


@given(PIXELS, PIXELS)
def test_counts_add_up(before: dict[tuple[int, int], float], now: dict[tuple[int, int], float]) -> None:
    found = growth("cam", "whole", None, before, now)
    assert found.now - found.new == found.before - found.gone
    assert found.grown + found.shrunk <= found.now - found.new


def test_table_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "hot_pixels.csv"
    path.write_text(HEAD + "cam,whole,-10.0,3,4,1.5,\ncam,whole,,5,6,2.5,\nother,whole,-10.0,3,4,9.5,\n")
    assert read_hot_pixels(path) == {
        ("cam", "whole", -10.0): {(3, 4): 1.5},
        ("cam", "whole", None): {(5, 6): 2.5},
        ("other", "whole", -10.0): {(3, 4): 9.5},
    }


@pytest.mark.parametrize("text", ["a,b\n1,2\n", HEAD + "cam,whole,-10.0,three,4,1.5,\n", HEAD + "cam,whole,-10.0\n", HEAD + "cam\n"])
def test_other_tables_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "hot_pixels.csv"
    path.write_text(text)
    with pytest.raises(Refused, match="no table of hot pixels"):
        read_hot_pixels(path)


def test_absent_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="cannot be read"):
        read_hot_pixels(tmp_path / "absent.csv")

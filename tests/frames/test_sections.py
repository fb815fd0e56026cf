"""Sections after a cut show the same pixels of the chip as before it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nightcrew.frames.sections import moved_sections


def numbers(section: str) -> list[int]:
    """x0, x1, y0, y1 as they are written."""
    return [int(word) for axis in section.strip("[]").split(",") for word in axis.split(":")]


def shown(ccd: tuple[int, int], data: tuple[int, int], n: int) -> dict[int, tuple[int, ...]]:
    """For pixels 1..n of an image axis those of the CCD, sorted, by counting them one by one."""
    image = list(range(data[0], data[1] + 1)) if data[0] <= data[1] else list(range(data[0], data[1] - 1, -1))
    chip = list(range(ccd[0], ccd[1] + 1)) if ccd[0] <= ccd[1] else list(range(ccd[0], ccd[1] - 1, -1))
    b = len(chip) // len(image)
    return {p: tuple(sorted(chip[k * b : (k + 1) * b])) for k, p in enumerate(image) if 1 <= p <= n}


@settings(max_examples=200, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_every_pixel_that_is_left_shows_what_it_showed(seed: int) -> None:
    rng = np.random.default_rng(seed)
    ny, nx = (int(n) for n in rng.integers(4, 30, 2))
    cuts, cards, truth = [], {}, []
    words: dict[str, list[str]] = {"DATASEC": [], "DETSEC": [], "CCDSEC": []}
    for n in (nx, ny):
        first, last = sorted(int(v) for v in rng.integers(1, n + 1, 2))
        data = (first, last) if rng.random() < 0.8 else (last, first)
        binning, start = int(rng.integers(1, 4)), int(rng.integers(1, 2000))
        end = start + binning * (last - first + 1) - 1
        ccd = (start, end) if rng.random() < 0.6 else (end, start)
        low, high = sorted(int(v) for v in rng.choice(n + 1, 2, replace=False))
        cuts.append((low, high))
        truth.append(shown(ccd, data, n))
        for key, pair in (("DATASEC", data), ("DETSEC", ccd), ("CCDSEC", (start, end))):
            words[key].append(f"{pair[0]}:{pair[1]}")
    cards = {key: f"[{','.join(axes)}]" for key, axes in words.items()}
    got = moved_sections(cards, cuts[0], cuts[1], (ny, nx))
    left = [{p - low: chip for p, chip in axis.items() if low < p <= high} for axis, (low, high) in zip(truth, cuts, strict=True)]
    if not all(left):
        assert set(got.dropped) == {"DATASEC", "DETSEC", "CCDSEC"}
        return
    assert not got.dropped
    data_now, ccd_now = numbers(got.changed["DATASEC"]), numbers(got.changed["DETSEC"])
    for axis in (0, 1):
        d, c = data_now[2 * axis : 2 * axis + 2], ccd_now[2 * axis : 2 * axis + 2]
        assert shown((c[0], c[1]), (d[0], d[1]), cuts[axis][1] - cuts[axis][0]) == left[axis]


def test_by_hand() -> None:
    """Columns 11 to 60, rows 1 to 40 of 100 x 50 with 20 columns of overscan, binned by two, backwards on the detector."""
    cards = {"DATASEC": "[1:100,1:50]", "BIASSEC": "[101:120,1:50]", "TRIMSEC": "[6:95,3:48]"}
    cards |= {"CCDSEC": "[1:200,1:100]", "DETSEC": "[400:201,101:200]"}
    got = moved_sections(cards, (10, 60), (0, 40), (50, 120))
    assert got.changed == {"DATASEC": "[1:50,1:40]", "TRIMSEC": "[1:50,3:40]", "CCDSEC": "[21:120,1:80]", "DETSEC": "[380:281,101:180]"}
    assert got.dropped == {"BIASSEC": "nothing of it is left"}


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_a_datasec_outside_the_image_says_nothing(seed: int) -> None:
    """It counts other pixels than the image's, whatever part is cut out, on whichever axis, either way round."""
    rng = np.random.default_rng(seed)
    shape = tuple(int(n) for n in rng.integers(4, 30, 2))
    axes, cuts, odd = [], [], int(rng.integers(2))
    for axis, n in enumerate((shape[1], shape[0])):
        last = n + int(rng.integers(1, 3 * n)) if axis == odd else n
        first = int(rng.integers(1, last + 1))
        axes.append(f"{first}:{last}" if rng.random() < 0.7 else f"{last}:{first}")
        low, high = sorted(int(v) for v in rng.choice(n + 1, 2, replace=False))
        cuts.append((low, high))
    data = f"[{','.join(axes)}]"
    got = moved_sections({"DATASEC": data, "CCDSEC": data, "DETSEC": data}, cuts[0], cuts[1], (shape[0], shape[1]))
    assert got.changed == {}
    assert got.dropped["CCDSEC"] == got.dropped["DETSEC"] == f"DATASEC {data} reaches outside the image"


def test_unbinned_and_chip_coordinates_outside_the_image() -> None:
    binned = moved_sections({"DATASEC": "[1:4096,1:4096]", "CCDSEC": "[1:4096,1:4096]"}, (0, 2048), (0, 2048), (2048, 2048))
    assert (binned.changed, set(binned.dropped)) == ({}, {"DATASEC", "CCDSEC"})
    part = moved_sections({"DATASEC": "[1025:3072,1:2048]", "CCDSEC": "[1025:3072,1:2048]"}, (0, 2000), (0, 2048), (2048, 2048))
    assert part.dropped == {
        "DATASEC": "it reaches outside the image",
        "CCDSEC": "DATASEC [1025:3072,1:2048] reaches outside the image",
    }


def test_without_datasec_the_whole_image_is_meant() -> None:
    got = moved_sections({"CCDSEC": "[101:300,51:150]"}, (20, 30), (5, 10), (100, 200))
    assert got.changed == {"CCDSEC": "[121:130,56:60]"}


@pytest.mark.parametrize("section", ["[1:100:2,1:50]", "[*,*]", "", 7, "[0:5,1:3]", "[1:2]"])
def test_what_is_no_plain_section_is_dropped(section: Any) -> None:
    got = moved_sections({"DATASEC": section, "CCDSEC": "[1:120,1:50]"}, (10, 60), (0, 40), (50, 120))
    assert got.changed == {}
    assert got.dropped == {"DATASEC": "it is no plain section", "CCDSEC": "DATASEC is no plain section"}


def test_sizes_that_do_not_go_together_are_dropped() -> None:
    got = moved_sections({"CCDSEC": "[1:130,1:50]"}, (10, 60), (0, 40), (50, 120))
    assert got.dropped == {"CCDSEC": "its 130 pixels are no multiple of the 120 that the image has of it"}

"""Files whose content is absurd: each is an answer with its cause, whatever memory or time it asks for."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from nightcrew.errors import RejectedInput, TransientError
from nightcrew.io.structure import sha256_file
from tasks.lights import check_exposed


def frame() -> NDArray[np.uint16]:
    """A frame of noise."""
    return np.random.default_rng(1).normal(1000.0, 5.0, (64, 64)).astype(np.uint16)


def test_an_exposure_is_one() -> None:
    check_exposed(frame(), None)
    check_exposed(frame().astype(np.float32), 65535.0)
    half = frame()
    half[:31] = 65535
    check_exposed(half, None)


@pytest.mark.parametrize(
    ("pixels", "words"),
    [
        (np.full((300, 200), np.nan, np.float32), "no pixel is finite"),
        (np.full((300, 200), np.inf, np.float32), "no pixel is finite"),
        (np.zeros((300, 200), np.uint16), "every pixel is 0"),
        (np.full((300, 200), 517.5, np.float32), "every pixel is 517.5"),
        (np.full((300, 200), 65535, np.uint16), "100% of its pixels are saturated"),
    ],
)
def test_what_is_no_exposure_is_no_light(pixels: NDArray[Any], words: str) -> None:
    with pytest.raises(RejectedInput, match=words):
        check_exposed(pixels, None)


def test_a_mostly_saturated_light_is_none() -> None:
    most = frame()
    most[:40] = 60_000
    check_exposed(most, None)
    with pytest.raises(RejectedInput, match=r"62% of its pixels are saturated"):
        check_exposed(most, 60_000.0)


def test_one_odd_pixel_is_an_exposure_too() -> None:
    """The glance may miss it; the look does not."""
    dark = np.zeros((1000, 1000), np.uint16)
    dark[123, 457] = 1
    check_exposed(dark, None)


def test_hashing_never_waits_for_a_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "light.fit")
    told: list[str] = []

    def look() -> None:
        with pytest.raises(TransientError) as error:
            sha256_file(tmp_path / "light.fit")
        told.append(str(error.value))

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    thread.join(5)
    assert told == ["light.fit: is not a regular file"]

"""Planes of a laboratory's models that are taken off flats."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from nightcrew.detector.dark_shape import DarkShape
from nightcrew.errors import RejectedInput
from nightcrew.ledger.rows import FrameRow
from tasks.flat_models import FlatModels
from tests.support.made_nights import header


def models(exposure_s: float) -> FlatModels:
    dark = cast(Any, SimpleNamespace(shape=DarkShape(reference_c=-20.0, reference_s=10.0, b=0.1)))
    return FlatModels(None, dark, np.ones((2, 2), np.float32), -20.0, exposure_s)


def flat(exposure_s: float) -> FrameRow:
    return cast(FrameRow, SimpleNamespace(header=header("flat", exposure_s=exposure_s)))


def test_the_dark_of_a_flat_goes_with_its_exposure() -> None:
    ((_, factor),) = models(2.0).planes(flat(3.0), {"dark_model": "f"})
    assert factor == pytest.approx(1.5)


@pytest.mark.parametrize(("of_model", "of_flat"), [(0.0, 2.0), (2.0, 0.0), (2.0, -1.0)])
def test_an_exposure_of_nothing_is_refused(of_model: float, of_flat: float) -> None:
    with pytest.raises(RejectedInput, match="exposure above 0"):
        models(of_model).planes(flat(of_flat), {"dark_model": "f"})

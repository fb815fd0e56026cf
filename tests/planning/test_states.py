"""The sentence of one frame, from its grade and from what its master became."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from nightcrew.ledger.rows import ProductRow
from nightcrew.planning.model import Snapshot
from nightcrew.planning.states import FrameState, _calibration_state, _light_state

LEFT_OUT = {5: {7: "light fell on it"}}


def master(**changed: Any) -> ProductRow:
    row = {"id": 5, "recipe": "dark_master", "key": "60s", "fingerprint": "f", "usable": True, "barred_because": ""}
    return cast(ProductRow, SimpleNamespace(**{**row, **changed}))


@pytest.mark.parametrize(("grade", "state"), [("A", "done"), ("B", "done"), ("C", "degraded"), ("D", "degraded")])
def test_a_light_of_grade_c_is_degraded(grade: str, state: str) -> None:
    row = cast(ProductRow, SimpleNamespace(grade=grade, grade_reasons=("no dark", "no flat")))
    assert _light_state(row, "") == FrameState(cast(Any, state), f"grade {grade}: no dark; no flat")


@pytest.mark.parametrize(
    ("frame", "row", "rates", "state"),
    [
        (8, {}, {}, FrameState("done", "in dark master 60s")),
        (7, {}, {}, FrameState("set_aside", "left out of dark master 60s: light fell on it")),
        (8, {"usable": False, "barred_because": "too few"}, {}, FrameState("set_aside", "in dark master 60s, which is not used: too few")),
        (
            8,
            {"usable": False, "barred_because": "too few"},
            {"f": "-20C"},
            FrameState("done", "in thermal master -20C; its own dark master is not used: too few"),
        ),
    ],
)
def test_a_calibration_frame_is_where_its_master_is(frame: int, row: dict[str, Any], rates: dict[str, str], state: FrameState) -> None:
    snapshot = cast(Snapshot, SimpleNamespace(left_out=LEFT_OUT))
    assert _calibration_state(snapshot, frame, master(**row), rates) == state

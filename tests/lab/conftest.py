"""One small campaign for all tests of masters and models: simulated, converted, indexed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from nightcrew.lab.index import write_frames_index
from nightcrew.lab.records import LabFrame
from nightcrew.simulate.lab import make_campaign
from nightcrew.simulate.lab_plan import LabPlan, lab_plan
from tasks.lab_run import campaign


@dataclass(frozen=True)
class Campaign:
    """Frames of a simulated campaign, the folder of its raws, and the truth."""

    frames: Sequence[LabFrame]
    root: Path
    index: Path
    plan: LabPlan
    truth: dict[str, np.ndarray]


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Campaign:
    out = tmp_path_factory.mktemp("campaign")
    plan = replace(lab_plan("tiny"), dark_exposures_s=(1.0, 5.0, 10.0))
    make_campaign(out / "sim", plan, 4)
    with np.load(out / "sim" / "truth.npz") as arrays:
        truth = {name: arrays[name] for name in arrays}
    made = campaign([out / "sim" / "campaign"], out / "made")
    index = write_frames_index(out / "made" / "index.csv", made.frames)
    return Campaign(made.frames, out / "sim" / "campaign", index, plan, truth)

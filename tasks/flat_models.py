"""Flats of a night that have no dark or bias: what a laboratory's models take off them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nightcrew.detector.bias_model import BiasModel
from nightcrew.detector.dark_model import DarkModel
from nightcrew.detector.model_files import load_bias, load_dark
from nightcrew.errors import RejectedInput
from nightcrew.ledger.rows import FrameRow
from nightcrew.planning.light_models import MODEL_ROLE
from nightcrew.planning.model import PlannedProduct
from tasks.context import UnitContext

Image = NDArray[np.float32]


@dataclass(frozen=True)
class FlatModels:
    """A laboratory's models as planes that all flats share: level and slope of the bias, dark signal at one condition."""

    bias: BiasModel | None
    dark: DarkModel | None
    signal: Image | None
    temperature_c: float
    exposure_s: float

    def planes(self, frame: FrameRow, roles: Mapping[str, str]) -> list[tuple[Image, float]]:
        """What is taken off a flat, with the factor of each plane."""
        t, seconds = frame.header.temperature_c, frame.header.exposure_s
        if t is None or seconds is None:
            raise RejectedInput("a detector model needs the flat's temperature and exposure")
        found: list[tuple[Image, float]] = []
        if "bias_model" in roles and self.bias is not None:
            found += [(self.bias.level, 1.0), (self.bias.slope, t)]
        if "dark_model" in roles and self.dark is not None and self.signal is not None:
            if not (seconds > 0 and self.exposure_s > 0):
                raise RejectedInput(f"a dark model needs a flat's exposure above 0, not {seconds:g} s")
            shape = self.dark.shape
            found.append((self.signal, float(shape.factor(t, seconds) / shape.factor(self.temperature_c, self.exposure_s))))
        return found


def flat_models(context: UnitContext, planned: PlannedProduct) -> FlatModels | None:
    """The models that a flat master is planned with; None where it needs none."""
    item = next((item for item in planned.inputs if item.role == MODEL_ROLE), None)
    if item is None:
        return None
    row = context.product(item.fingerprint)
    used = {role for roles in planned.parameters["corrections"].values() for role in roles}
    frames = [one.frame.header for one in planned.inputs if one.frame is not None]
    t = float(np.median([header.temperature_c for header in frames if header.temperature_c is not None]))
    exposures = [header.exposure_s for header in frames if header.exposure_s is not None and header.exposure_s > 0]
    seconds = float(np.median(exposures)) if exposures else 0.0
    bias = load_bias(context.folder(row, "bias/bias_model")) if "bias_model" in used else None
    dark = load_dark(context.folder(row, "dark/dark_model_2d")) if "dark_model" in used else None
    # Pixels' own coefficients hardly differ over the few degrees of a night's flats: the shared law takes them from there.
    return FlatModels(bias, dark, None if dark is None else dark.signal(t, seconds), t, seconds)

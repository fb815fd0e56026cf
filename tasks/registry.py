"""Which unit of work makes which recipe.  Units are imported when first asked for: a report needs no astroscrappy."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, cast

from nightcrew.ledger.rows import NewProduct
from nightcrew.planning.model import PlannedProduct

if TYPE_CHECKING:
    from tasks.context import UnitContext

Unit = Callable[["UnitContext", PlannedProduct], NewProduct]

_UNITS = {
    "bias_master": "tasks.masters:make_bias",
    "dark_master": "tasks.masters:make_dark",
    "thermal_master": "tasks.thermal:make_thermal",
    "flat_master": "tasks.masters:make_flat",
    "bad_pixel_mask": "tasks.bad_pixels:make_bad_pixels",
    "camera_numbers": "tasks.camera:make_camera_numbers",
    "plate_solution": "tasks.plate_solutions:solve_light",
    "reduce_light": "tasks.lights:reduce",
    "photometry": "tasks.photometry:measure_light",
    "stack": "tasks.stacks:make_stack",
    "stack_photometry": "tasks.photometry:measure_stack",
}


def unit_for(recipe: str) -> Unit:
    """The unit of work of a recipe; KeyError when nobody makes it."""
    module, _, name = _UNITS[recipe].partition(":")
    return cast(Unit, getattr(import_module(module), name))

"""The recipes of a night: declarations only.  Their units of work stand in ``tasks.registry``.

``version`` is raised whenever the same inputs would give other numbers; all products of the recipe are stale then.
``step`` is the word that ``nightcrew rerun --from`` takes.
"""

from __future__ import annotations

from dataclasses import dataclass

STEPS = ("convert", "index", "masters", "models", "lights", "photometry", "precision", "mkid", "report")


@dataclass(frozen=True, slots=True)
class Recipe:
    """A named, versioned step."""

    name: str
    version: int
    step: str
    title: str
    folder: str  # of its products, below the scope's
    is_master: bool = False
    is_optional: bool = False  # what needs it does without it: that it cannot be made is a fact of the night, no failure of a run


_ALL = (
    Recipe("bias_master", 5, "masters", "bias master", "masters", is_master=True),
    Recipe("dark_master", 4, "masters", "dark master", "masters", is_master=True),
    Recipe("thermal_master", 5, "masters", "thermal master", "masters", is_master=True),
    Recipe("flat_master", 5, "masters", "flat master", "masters", is_master=True),
    Recipe("bad_pixel_mask", 2, "masters", "bad-pixel mask", "masters", is_master=True),
    Recipe("camera_numbers", 2, "masters", "gain and read noise", "masters"),
    Recipe("plate_solution", 2, "lights", "plate solution", "lights", is_optional=True),
    Recipe("reduce_light", 6, "lights", "reduced light", "lights"),
    Recipe("photometry", 2, "photometry", "catalogue", "photometry"),
    Recipe("stack", 3, "photometry", "stack", "stacks"),
    Recipe("sensor_characterisation", 9, "models", "sensor characterisation", "sensor"),
    Recipe("lab_attempt", 4, "convert", "laboratory frames", "lab"),
    Recipe("lab_models", 6, "models", "detector models", "lab"),
    Recipe("campaign_analysis", 6, "models", "irradiation campaign", "campaign"),
    Recipe("mkid_table", 6, "mkid", "photon table", "mkid"),
    Recipe("mkid_masks", 3, "mkid", "pixel masks and cosmic rays", "mkid"),
    Recipe("mkid_wavecal", 3, "mkid", "wavelength solution", "mkid"),
    Recipe("mkid_flatcal", 3, "mkid", "flat field of an array", "mkid"),
    Recipe("mkid_calibrated", 3, "mkid", "calibrated photon table", "mkid"),
    Recipe("mkid_images", 6, "mkid", "images, cubes and speckle maps", "mkid"),
    Recipe("mkid_dither", 6, "mkid", "combined dither", "mkid"),
    Recipe("mkid_report", 3, "mkid", "report of photon lists", "mkid"),
    Recipe("stack_photometry", 2, "photometry", "catalogue of a stack", "stacks"),
)
RECIPES: dict[str, Recipe] = {recipe.name: recipe for recipe in _ALL}
MASTERS: tuple[str, ...] = tuple(recipe.name for recipe in _ALL if recipe.is_master)

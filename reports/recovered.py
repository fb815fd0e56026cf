"""Recovered against simulated: what the products of a simulated night say beside the truth that made its frames.

Only for nights of the simulator (``truth.json``); the page of a real night has no such section.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from nightcrew.frames.flags import PixelFlag
from nightcrew.io.products import read_image_product
from nightcrew.ledger import arrivals, products, scopes
from nightcrew.ledger.database import Database
from nightcrew.ledger.rows import ProductRow, ScopeRow
from nightcrew.planning.snapshot import frames_of
from nightcrew.simulate.compare import RecoveredNight, compare_night
from nightcrew.simulate.compare_pixels import RecoveredLight
from nightcrew.simulate.compare_stars import star_table
from nightcrew.simulate.comparison import Comparison, Item
from nightcrew.simulate.truth import load_truth
from reports.model import TruthRow


def truth_rows(database: Database, products_root: Path, truth_file: Path) -> tuple[TruthRow, ...]:
    """Every comparison of a simulated night, as rows of the report; what is absent fails by name."""
    return tuple(_row(item) for item in compare_with_truth(database, products_root, truth_file).items)


def compare_with_truth(database: Database, products_root: Path, truth_file: Path) -> Comparison:
    """Compare the ledger's night with the truth; raises ``Refused`` for a file that is no truth."""
    from astropy.table import Table

    truth = load_truth(truth_file)
    with database.read() as connection:
        scope = next((s for s in scopes.find(connection, kind="night", name=truth.plan.night)), None)
        rows = [] if scope is None else products.current_of_scope(connection, scope.id)
        states = _states(database, scope)
        names = {f.id: PurePosixPath(os.fsdecode(f.path)).name for f in frames_of(connection, scope.id)} if scope else {}
        light_of = {
            row.fingerprint: _light_name(products.inputs_of(connection, row.id), names) for row in rows if row.recipe == "reduce_light"
        }
    catalogues = {row.key: row for row in rows if row.recipe == "photometry"}

    def lights() -> Iterator[RecoveredLight]:
        for row in rows:
            if row.recipe != "reduce_light" or row.key not in catalogues:
                continue
            image = read_image_product(products_root / row.file("image").path)
            table = Table.read(products_root / catalogues[row.key].file("catalogue").path, format="ascii.ecsv")
            if image.uncertainty is None or image.mask is None:
                continue
            yield RecoveredLight(
                name=light_of[row.fingerprint],
                science_e=image.science,
                uncertainty_e=image.uncertainty,
                mask=image.mask,
                stars=star_table(table),
            )

    camera = next((row.metrics for row in rows if row.recipe == "camera_numbers"), {})
    flagged = any(row.parameters.get("cosmic_rays") for row in rows if row.recipe == "reduce_light")
    recovered = RecoveredNight(
        states=states,
        gain_e_per_adu=camera.get("gain"),
        read_noise_e=camera.get("read_noise"),
        bad_pixels=_bad_pixels(products_root, rows),
        lights=lights(),
        cosmic_rays_flagged=flagged,
    )
    return compare_night(truth, recovered)


def _row(item: Item) -> TruthRow:
    name = item.name + (f" ({item.note})" if item.note and not item.passed else "")
    return TruthRow(name=name, recovered=item.recovered, truth=item.truth, unit=item.unit, allowed=item.rule, passed=item.passed)


def _states(database: Database, scope: ScopeRow | None) -> dict[str, tuple[str, str]]:
    """File name -> (state, reason) of the night's files and of those that tell no night."""
    with database.read() as connection:
        rows = arrivals.without_scope(connection) + (arrivals.of_scope(connection, scope.id) if scope else [])
    return {PurePosixPath(os.fsdecode(row.path)).name: (row.state, row.reason) for row in rows}


def _light_name(inputs: list[tuple[products.InputRow, str]], names: dict[int, str]) -> str:
    return next((names.get(row.frame_id, "") for row, _ in inputs if row.role == "light" and row.frame_id is not None), "")


def _bad_pixels(products_root: Path, rows: list[ProductRow]) -> NDArray[np.uint16] | None:
    """Hot and unstable pixels of the mask product, with the cold ones that the flats' masks hold."""
    mask: NDArray[np.uint16] | None = None
    wanted = np.uint16(PixelFlag.HOT | PixelFlag.UNSTABLE | PixelFlag.COLD | PixelFlag.BAD_FLAT)
    for row in rows:
        if row.recipe in ("bad_pixel_mask", "flat_master"):
            plane = read_image_product(products_root / row.file("image").path).mask
            if plane is not None:
                mask = plane & wanted if mask is None else mask | (plane & wanted)
    return mask

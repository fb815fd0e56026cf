"""A sensor, a laboratory and an irradiation campaign, copied in pieces into the running service: products, page and mail, no command."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import httpx
import pytest

from nightcrew.ledger import arrivals, products, scopes
from nightcrew.simulate.campaign import write_campaign
from nightcrew.simulate.campaign_sensor import make_damage
from nightcrew.simulate.lab import make_campaign
from nightcrew.simulate.sensor import SensorModel
from nightcrew.simulate.sensor_set import SensorPlan, make_sensor_set
from reports.summary import Summary, parse
from tests.service.running import Running
from tests.support.small_sets import SMALL_CAMPAIGN, SMALL_LAB

pytestmark = [pytest.mark.server, pytest.mark.xdist_group("service")]
CHIP = SensorPlan(
    sensor=SensorModel(nx=64, ny=64),
    dark_exposures_s=(60.0, 120.0),
    darks=2,
    biases=4,
    flat_levels=(0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 0.9, 1.1),
)
NAMES = {"sensor": "chip", "lab": "bench", "campaign": "proton"}
ANALYSES = {"sensor": "sensor_characterisation", "lab": "lab_models", "campaign": "campaign_analysis"}
QUANTITIES = {
    "sensor": {"gain", "read_noise", "full_well", "prnu", "dark_current"},
    "lab": {"bias_level", "bias_slope", "dark_rate", "hot_pixels"},
    "campaign": {"bias_dose_slope", "base_shift", "hot_pixels", "alpha", "magnitude_error"},
}


def simulated(root: Path) -> dict[str, Path]:
    """A small set of each kind."""
    make_sensor_set(root / "sensor", CHIP, 1)
    make_campaign(root / "lab", SMALL_LAB, 2)
    write_campaign(root / "campaign", SMALL_CAMPAIGN, 1, make_damage(SMALL_CAMPAIGN.sensor, 1))
    return {"sensor": root / "sensor" / "raw", "lab": root / "lab" / "campaign", "campaign": root / "campaign"}


def copy_in(service: Running, kind: str, root: Path, files: Sequence[Path]) -> None:
    for file in files:
        target = service.incoming(kind) / NAMES[kind] / file.relative_to(root)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)


def known(service: Running, kind: str) -> bool:
    with service.space.database.read() as connection:
        return bool(scopes.find(connection, kind=kind, name=NAMES[kind]))


def test_sets_that_come_in_pieces_are_analysed_without_a_command(service: Running, tmp_path: Path) -> None:
    roots = simulated(tmp_path / "sets")
    files = {kind: sorted(path for path in root.rglob("*") if path.is_file()) for kind, root in roots.items()}
    for kind, every in files.items():
        copy_in(service, kind, roots[kind], every[: len(every) // 2])
    for kind in files:
        service.wait(lambda kind=kind: known(service, kind), f"the {kind} set is known")  # type: ignore[misc]
    for kind, every in files.items():
        copy_in(service, kind, roots[kind], every[len(every) // 2 :])
    for kind, every in files.items():
        count = len(every)
        service.wait(
            lambda kind=kind, count=count: service.settled_set(kind, NAMES[kind], count),  # type: ignore[misc]
            f"the {kind} set is closed, planned and reported",
            150,
        )
    text = service.morning(tmp_path)
    for kind, name in NAMES.items():
        summary = summary_of(service, kind)
        determined = {quantity.name for quantity in summary.quantities if quantity.value is not None}
        assert determined >= QUANTITIES[kind], (kind, QUANTITIES[kind] - determined)
        page = httpx.get(f"http://127.0.0.1:{service.settings.reports.port}/{kind}/{name}/", timeout=10)
        assert page.status_code == 200
        assert "the balance closes" in page.text
        assert f"/{kind}/{name}/index.html" in text
        assert rejected(service, kind) == []


def summary_of(service: Running, kind: str) -> Summary:
    with service.space.database.read() as connection:
        (scope,) = scopes.find(connection, kind=kind, name=NAMES[kind])
        (row,) = [row for row in products.current_of_scope(connection, scope.id) if row.recipe == ANALYSES[kind]]
    (path,) = [file.path for file in row.files if file.role == "summary.json"]
    return parse((service.settings.products.root / path).read_text())


def rejected(service: Running, kind: str) -> list[str]:
    with service.space.database.read() as connection:
        (scope,) = scopes.find(connection, kind=kind, name=NAMES[kind])
        return [f"{row.path!r}: {row.reason}" for row in arrivals.of_scope(connection, scope.id) if row.state not in ("done", "set_aside")]

"""A sensor, a laboratory and an irradiation campaign, copied in pieces into the running service: products, page and mail, no command.

The campaign comes as campaigns come, dose step by dose step with a log that grows: page and mail follow after each.
"""

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
    """A small set of each kind; beside them ``first_step``, what there is of the campaign after its first dose."""
    make_sensor_set(root / "sensor", CHIP, 1)
    make_campaign(root / "lab", SMALL_LAB, 2)
    damage = make_damage(SMALL_CAMPAIGN.sensor, 1)
    first = {"pre": (-1,), "radiating": (0,)}
    write_campaign(root / "first_step", SMALL_CAMPAIGN, 1, damage, wanted=lambda shot: shot.step in first.get(shot.stage, ()))
    write_campaign(root / "campaign", SMALL_CAMPAIGN, 1, damage)
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
    first_step = tmp_path / "sets" / "first_step"
    begun = files_below(first_step)
    files = {kind: files_below(root) for kind, root in roots.items()}
    copy_in(service, "campaign", first_step, begun)
    for kind in ("sensor", "lab"):
        copy_in(service, kind, roots[kind], files[kind][: len(files[kind]) // 2])
    for kind in files:
        service.wait(lambda kind=kind: known(service, kind), f"the {kind} set is known")  # type: ignore[misc]  # mypy infers no defaults of a lambda
    for kind in ("sensor", "lab"):
        copy_in(service, kind, roots[kind], files[kind][len(files[kind]) // 2 :])
    service.wait(lambda: service.settled_set("campaign", "proton", len(begun)), "the campaign's first dose is analysed and reported", 150)
    said = check_campaign(service, tmp_path / "first", frames=12, steps=("pre 0 kRad", "radiating 5 kRad"), not_yet=("10 kRad", "post "))
    copy_in(service, "campaign", roots["campaign"], [path for path in files["campaign"] if is_new(path, roots["campaign"], first_step)])
    for kind, every in files.items():
        count = len(every)
        service.wait(
            lambda kind=kind, count=count: service.settled_set(kind, NAMES[kind], count),  # type: ignore[misc]  # mypy infers no defaults of a lambda
            f"the {kind} set is closed, planned and reported",
            150,
        )
    every_step = ("pre 0 kRad", "radiating 5 kRad", "radiating 10 kRad", "post 10 kRad")
    assert check_campaign(service, tmp_path / "last", frames=24, steps=every_step) != said
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


def files_below(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*") if path.is_file())


def is_new(path: Path, root: Path, before: Path) -> bool:
    """Whether a file was not there before, or has grown (the beam's log)."""
    old = before / path.relative_to(root)
    return not old.is_file() or old.read_bytes() != path.read_bytes()


def check_campaign(service: Running, folder: Path, *, frames: int, steps: Sequence[str], not_yet: Sequence[str] = ()) -> str:
    """Product, page and mail hold so many frames of these steps, and no other; the mail's words on the campaign."""
    assert {q.value for q in summary_of(service, "campaign").quantities if q.name == "frames"} == {frames}
    page = httpx.get(f"http://127.0.0.1:{service.settings.reports.port}/campaign/proton/", timeout=10).text
    assert f"{frames} frames up to" in page
    assert all(f">{step}<" in page for step in steps)
    assert not any(f">{step}" in page for step in not_yet)
    folder.mkdir()
    lines = service.morning(folder).splitlines()
    (place,) = [place for place, line in enumerate(lines) if "/campaign/proton/index.html" in line]
    words = " ".join(lines[max(place - 12, 0) : place + 1])
    assert f"{frames} frames up to" in words, words
    return words


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

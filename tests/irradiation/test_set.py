"""A watched folder of kind campaign: the analysis follows the campaign dose step by dose step, without a command."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from nightcrew.ledger import arrivals, products
from nightcrew.ledger.rows import ProductRow
from nightcrew.settings import FolderSettings
from nightcrew.settings_sets import CampaignSettings
from nightcrew.simulate.campaign import Shot, write_campaign
from nightcrew.simulate.campaign_sensor import make_damage
from tasks.set_campaign import frame_name
from tests.support.set_bench import QUIET_S, SetBench
from tests.support.small_sets import SMALL_CAMPAIGN

FRAMES_OF_A_VISIT = 6


class Watched(SetBench):
    """One campaign, ``proton``, in a watched folder."""

    def __init__(self, root: Path, **sections: Any) -> None:
        super().__init__(root, folders=(FolderSettings(path=root / "in", kind="campaign", quiet_s=QUIET_S),), **sections)

    def arrive(self, wanted: Callable[[Shot], bool]) -> None:
        """Frames and logs of a part of the campaign appear."""
        write_campaign(self.folder / "proton", SMALL_CAMPAIGN, 1, make_damage(SMALL_CAMPAIGN.sensor, 1), wanted=wanted)
        self.see()

    @property
    def id(self) -> int:
        """The campaign's scope."""
        return self.scope("proton", "campaign").id

    def calm(self) -> None:
        """Nothing more comes for a while."""
        self.now += timedelta(seconds=QUIET_S + 1)
        self.space.close_what_is_over()
        self.space.run(self.id)

    def rows(self) -> dict[str, Any]:
        """Every file's row by its name."""
        with self.space.database.read() as connection:
            return {row.path.decode().rpartition("/")[2]: row for row in arrivals.of_scope(connection, self.id)}

    def product(self) -> ProductRow:
        """The current analysis."""
        with self.space.database.read() as connection:
            (row,) = products.current_of_scope(connection, self.id)
        return row

    def quantities(self) -> dict[str, Any]:
        """What its summary says (the last of each name)."""
        page = next(file for file in self.product().files if file.role == "summary.json")
        text = (self.settings.products.root / page.path).read_text()
        return {q["name"]: q["value"] for q in json.loads(text)["quantities"]}


def test_the_page_follows_dose_step_by_dose_step(tmp_path: Path) -> None:
    bench = Watched(tmp_path, campaign=CampaignSettings(plan="radiation"))
    bench.arrive(lambda shot: shot.stage == "pre")
    bench.space.run(bench.id)
    assert {row.state for row in bench.rows().values()} == {"waiting"}  # more may come
    bench.calm()
    first = bench.quantities()
    assert (first["frames"], first["bias_dose_slope"]) == (FRAMES_OF_A_VISIT, None)
    bench.arrive(lambda shot: shot.stage == "radiating" and shot.step == 0)
    bench.calm()
    assert bench.quantities()["frames"] == 2 * FRAMES_OF_A_VISIT
    bench.arrive(lambda shot: shot.stage == "radiating" and shot.step == 1)
    bench.calm()
    last = bench.quantities()
    assert last["frames"] == 3 * FRAMES_OF_A_VISIT
    assert last["bias_dose_slope"] == pytest.approx(SMALL_CAMPAIGN.sensor.alpha_adu_per_krad, rel=0.1)
    assert {row.state for row in bench.rows().values()} == {"done"}
    assert not any(file.role.startswith("work/") for file in bench.product().files)


def test_what_cannot_be_used_is_named_and_options_count(tmp_path: Path) -> None:
    bench = Watched(tmp_path, campaign=CampaignSettings(gain_e_per_adu=0.125, plan="radiation"))
    write_campaign(
        bench.folder / "proton", SMALL_CAMPAIGN, 1, make_damage(SMALL_CAMPAIGN.sensor, 1), wanted=lambda shot: shot.stage == "pre"
    )
    raw = min((bench.folder / "proton").rglob("Bias*.raw"))
    raw.write_bytes(raw.read_bytes()[:-100])
    (bench.folder / "proton" / "notes.pdf").write_bytes(b"%PDF")
    bench.see()
    bench.calm()
    rows = bench.rows()
    assert rows["notes.pdf"].state == "set_aside"
    assert rows[raw.name].state == "set_aside"
    assert "pixels" in rows[raw.name].reason or "size" in rows[raw.name].reason
    assert bench.product().parameters["gain_e_per_adu"] == 0.125
    assert bench.quantities()["gain"] == 0.125


def test_names_of_frames() -> None:
    assert frame_name("Irradiation/5kRads/Bias/attempt0/frames/BiasT20_f1.raw") == "Irradiation/5kRads/Bias/attempt0/BiasT20_f1.fits"
    assert frame_name("5kRads/fits/a.fits") == "5kRads/a.fits"

"""Real frames through the whole local plan: what is known of them must come out."""

from __future__ import annotations

import email
import email.policy
import json
import os
import random
import tarfile
from collections import Counter
from pathlib import Path

import pytest

from flows.reporting import queue_morning
from nightcrew.ledger import products
from nightcrew.planning.explain import explain_file
from nightcrew.planning.snapshot import frames_of
from nightcrew.settings import LightsSettings, SiteSettings
from tasks.executor import look
from tests import realdata
from tests.support.small_nights import Bench
from tests.support.undrawn import undrawn

MINNESOTA = SiteSettings(longitude_deg=-96.453, latitude_deg=46.867, elevation_m=311.8, timezone="America/Chicago")
ARIZONA = SiteSettings(longitude_deg=-110.878, latitude_deg=31.68, elevation_m=1250.0, timezone="America/Phoenix")


@pytest.fixture(scope="module")
def sa112(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The night of SA112 unpacked, junk and all."""
    archive = next(realdata.folder("night_sa112").glob("*.tbz2"))
    out = tmp_path_factory.mktemp("sa112")
    with tarfile.open(archive) as tar:
        tar.extractall(out, filter="data")
    return out


@pytest.fixture(scope="module")
def sa112_bench(sa112: Path, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """The night after its run, taken in in random order and in bursts."""
    bench = Bench(sa112, tmp_path_factory.mktemp("sa112-out"), site=MINNESOTA)
    paths = sorted(path for path in sa112.rglob("*") if path.is_file())
    random.Random(112).shuffle(paths)
    for start in range(0, len(paths), 40):
        bench.see(paths[start : start + 40])
        bench.ingest()
    bench.close()
    with undrawn():
        bench.run()
    return bench


def test_sa112_is_one_night_of_150_frames_and_closes_over_its_junk(sa112_bench: Bench) -> None:
    rows = sa112_bench.files()
    assert [scope.name for scope in sa112_bench.scopes()] == ["2013-07-03"]
    assert Counter(row.kind for row in rows if row.frame_id is not None) == {"bias": 10, "dark": 50, "flat": 50, "light": 40}
    assert Counter(row.state for row in rows if row.frame_id is not None) == {"done": 150}
    assert {row.state for row in rows if row.frame_id is None} == {"set_aside"}


def test_sa112_gives_the_masters_lights_and_stacks_that_are_known(sa112_bench: Bench) -> None:
    count = Counter(row.recipe for row in sa112_bench.products())
    assert (count["bias_master"], count["dark_master"], count["flat_master"]) == (1, 5, 4)
    assert (count["reduce_light"], count["photometry"], count["stack"]) == (40, 40, 4)


def test_sa112_b_lights_are_graded_b_and_the_others_a(sa112_bench: Bench) -> None:
    lights = [row for row in sa112_bench.products() if row.recipe == "reduce_light"]
    assert Counter((row.facts["filter"], row.grade) for row in lights) == {("B", "B"): 10, ("V", "A"): 10, ("R", "A"): 10, ("I", "A"): 10}
    flat = next(row for row in sa112_bench.products() if row.recipe == "flat_master" and row.facts["filter"] == "B")
    assert flat.metrics["n_frames"] == 20
    assert any("up to 3.8 C from the temperature of 4 frames" in reason for reason in flat.grade_reasons)


def test_sa112_bias_noise_is_the_quantisation_floor(sa112_bench: Bench) -> None:
    bias = next(row for row in sa112_bench.products() if row.recipe == "bias_master")
    assert bias.certified
    assert bias.metrics["noise_adu"] < 1 / 12**0.5


def test_sa112_made_again_makes_nothing(sa112_bench: Bench) -> None:
    sa112_bench.see()
    sa112_bench.ingest()
    assert sum(run.made for run in sa112_bench.run()) == 0


def test_why_names_the_candidates_and_their_rules(sa112_bench: Bench) -> None:
    space = sa112_bench.space
    scope = sa112_bench.scopes()[0]
    snapshot, plan = look(space.context, scope.id, space.parameters, space.rules_for)
    light = next(row for row in sa112_bench.files() if row.kind == "light")
    answer = explain_file(light, snapshot, plan)
    text = json.dumps(answer.as_dict())
    assert answer.verdict.startswith("done")
    assert "exposure differs: the frame has" in text
    assert "filter differs" in text


@pytest.fixture(scope="module")
def stl1001(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """The SBIG frames after their run."""
    bench = Bench(realdata.folder("ccd_stl1001"), tmp_path_factory.mktemp("stl"))
    bench.night()
    return bench


def measured(bench: Bench, quantity: str) -> list[tuple[float, dict[str, float]]]:
    scope = bench.scopes()[0]
    with bench.space.database.read() as connection:
        return [(row["value"], row["where"]) for row in products.trend(connection, scope.instrument, quantity)]


def test_stl1001_kinds_are_right_and_two_bias_temperatures_are_not_mixed(stl1001: Bench) -> None:
    assert Counter(row.kind for row in stl1001.files()) == {"bias": 6, "dark": 14, "flat": 3}
    bias = [row for row in stl1001.products() if row.recipe == "bias_master"]
    assert sorted(row.metrics["n_frames"] for row in bias) == [3, 3]


def test_stl1001_gain_and_read_noise(stl1001: Bench) -> None:
    (gain, _), *_ = measured(stl1001, "gain")
    (noise, _), *_ = measured(stl1001, "read_noise_adu")
    assert gain == pytest.approx(2.0, rel=0.03)
    assert noise == pytest.approx(6.56, rel=0.05)


def test_stl1001_dark_current_at_both_temperatures(stl1001: Bench) -> None:
    rates = {round(where["temperature_c"]): value for value, where in measured(stl1001, "dark_rate")}
    assert rates[-5] == pytest.approx(0.341, rel=0.03)
    assert rates[-10] == pytest.approx(0.168, rel=0.03)


@pytest.mark.usefixtures("undrawn_figures")
def test_hatp32_without_calibrations_is_grade_d_and_says_so(tmp_path: Path) -> None:
    bench = Bench(realdata.folder("night_hatp32"), tmp_path, site=ARIZONA)
    bench.night()
    assert len(bench.scopes()) == 1
    rows = bench.files()
    assert Counter(row.state for row in rows) == {"degraded": 24}
    assert all("no bias" in row.reason and "no flat" in row.reason for row in rows)
    light = next(row for row in bench.products() if row.recipe == "reduce_light")
    head = (bench.settings.products.root / light.files[0].path).read_bytes()[:30_000]
    assert b"NCGRADE = 'D" in head
    assert light.facts["time_utc"].startswith("2017-12-20T01:33:43")
    with bench.space.database.read() as connection:
        temperatures = {frame.header.temperature_c for frame in frames_of(connection, bench.scopes()[0].id)}
    assert temperatures == {-4.15, -3.15, -2.15, -1.15}  # 269 to 272 K in whole kelvin
    row = queue_morning(bench.space, "2017-12-20")
    mail = email.message_from_bytes(row.message, policy=email.policy.default).get_body(("plain",))
    page = (bench.settings.reports.root / "night" / "2017-12-19" / "index.html").read_text(encoding="utf-8")
    for text in (str(mail.get_content() if mail else ""), page):
        assert "24 of 24 lights reduced, all with grade D" in text
        assert "No flat for" in text


@pytest.mark.parametrize("name", ["hard_to_read", "cmos_asi178", "sky", "star_camera_tiff", "mkid_arcons"])
def test_every_odd_file_ends_as_a_frame_or_with_a_reason(name: str, tmp_path: Path) -> None:
    folder = realdata.folder(name)
    bench = Bench(folder, tmp_path, lights=LightsSettings(cosmic_rays=True))
    bench.night()
    rows = bench.files()
    assert len(rows) == sum(1 for path in folder.rglob("*") if path.is_file())
    assert {row.state for row in rows} <= {"done", "degraded", "rejected", "set_aside"}
    silent = [os.fsdecode(row.path) for row in rows if row.state != "done" and not row.reason]
    assert silent == []
    faults = [row.reason for row in rows if "a fault in Nightcrew" in row.reason]
    assert faults == []


def test_the_truncated_dark_is_rejected_and_names_its_bytes(tmp_path: Path) -> None:
    bench = Bench(realdata.folder("cmos_asi178"), tmp_path)
    bench.night()
    state, reason = bench.state_of("Dark_ASIImg_1sec_frame0001.fit")
    assert state == "rejected"
    assert "2097152 of 2465280 bytes" in reason

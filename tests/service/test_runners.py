"""The optional task runners make the same bytes as the usual one: a night's lost products come back through each of them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from deployments.environment import child_environment
from nightcrew.settings import Settings
from tests.service.running import Running
from tests.support.small_nights import Bench, make_raw

pytestmark = [pytest.mark.server, pytest.mark.xdist_group("service-kills")]
CONFIGURATION = """\
[site]
longitude_deg = -70.4042
latitude_deg = -24.6272
elevation_m = 2635.0
timezone = "America/Santiago"
[[folders]]
path = "raw"
[lights]
cosmic_rays = false
[photometry]
star_figures = 1
[night]
group_quiet_s = 0
quiet_s = 0
[limits]
disk_reserve_bytes = 0
[runner]
task_runner = "{runner}"
"""
RUN = "import json, sys; from flows.night import reduce_night; print(json.dumps(reduce_night(sys.argv[1])))"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    root = tmp_path_factory.mktemp("runners")
    make_raw(root)
    bench = Bench(root / "raw", root)
    bench.night()
    yield bench
    bench.space.database.close()


@pytest.mark.parametrize("runner", ["processes", pytest.param("dask", marks=pytest.mark.slow)])
def test_lost_products_come_back_the_same_through_every_runner(service: Running, made: Bench, runner: str) -> None:
    if runner == "dask" and find_spec("prefect_dask") is None:
        pytest.skip("the extra dask is not installed: pip install nightcrew[dask]")
    before = made.content()
    root: Path = made.settings.products.root
    files = {path: (root / path).read_bytes() for path in before}
    lost = [path for path in files if Path(path).name.startswith(("light_", "flat_master"))]
    assert len(lost) > 4
    for path in lost:
        (root / path).unlink()

    configuration = root.parent / "nightcrew.toml"
    configuration.write_text(CONFIGURATION.format(runner=runner))
    environment = child_environment(Settings.load(configuration), service.api)
    made.space.notice_lost_products()
    (scope,) = made.scopes()
    answer = subprocess.run(
        [sys.executable, "-c", RUN, scope.title], env=environment, capture_output=True, text=True, timeout=200, check=False, cwd=root.parent
    )
    assert answer.returncode == 0, answer.stderr[-3000:]
    told = json.loads(answer.stdout.splitlines()[-1])
    assert (told["failed"], told["again"]) == (0, 0)
    assert told["made"] >= len({path.rpartition("-")[0] for path in lost}) - 1
    assert made.content() == before
    assert {path: (root / path).read_bytes() for path in before} == files

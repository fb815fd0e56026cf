"""The night of SA112, junk and all, dropped in random order into the running service; then the same by ``nightcrew reduce``."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
from collections import Counter
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

import pytest

from tests import realdata
from tests.service.running import Running, Watched, configure

pytestmark = [pytest.mark.server, pytest.mark.xdist_group("service-kills")]
CAMERA = "Apogee-USB-Net"
# 5 bias, 15 darks, all 20 flats in B and 5 in V, 3 lights in B and V; the junk
FEW = ("flood-flat-00[1-5]bias", "darks-00[1-3]D", "flood-flat-*B.", "flood-flat-00[1-5]V", "SA112-SF1-00[1-3][BV]", ".")


@pytest.fixture(scope="session")
def sa112(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The night unpacked."""
    archive = next(realdata.folder("night_sa112").glob("*.tbz2"))
    out = tmp_path_factory.mktemp("sa112")
    with tarfile.open(archive) as tar:
        tar.extractall(out, filter="data")
    return out


class Reduced:
    """``nightcrew reduce`` on the same files in another folder, on a fresh ledger, with the service's configuration."""

    def __init__(self, service: Running, files: Sequence[Path], below: Path, root: Path) -> None:
        self.out = root / "out"
        for file in files:
            target = root / "data" / file.relative_to(below)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)
        command = [sys.executable, "-P", "-c", "from deployments.cli import main; main()", "reduce", str(root / "data")]
        self._process = subprocess.Popen(
            [*command, "--out", str(self.out), "--config", str(service.settings.file)], stdout=subprocess.DEVNULL
        )

    def content(self) -> dict[str, str]:
        """Path -> hash of every product file."""
        assert self._process.wait(250) == 0
        files = [path for path in (self.out / "2013-07-03").rglob("*") if path.is_file() and not path.is_symlink()]
        return {str(path.relative_to(self.out)): sha256(path.read_bytes()).hexdigest() for path in files}


def through_the_service(service: Running, files: Sequence[Path], below: Path) -> dict[str, str]:
    """Drop the files while it runs, wait for the report; path -> hash of every current product's file."""
    service.drop("sa112", files, below=below, seed=112, pause_s=0.02)
    service.wait(lambda: service.settled(CAMERA, len(files), "sa112"), "the night is reduced and reported", 250)
    return {path: sha256(content).hexdigest() for path, content in service.content(CAMERA).items()}


def test_a_part_of_sa112_in_random_order_gives_the_bytes_of_reduce(service: Running, sa112: Path, tmp_path: Path) -> None:
    files = sorted({path for pattern in FEW for path in sa112.rglob(f"{pattern}*") if path.is_file()})
    assert len(files) == 5 + 15 + 25 + 6 + 2
    reduced = Reduced(service, files, sa112, tmp_path)
    made = through_the_service(service, files, sa112)
    count = Counter(row.recipe for row in service.products(CAMERA))
    assert (count["bias_master"], count["dark_master"], count["flat_master"]) == (1, 5, 2)
    assert (count["reduce_light"], count["photometry"], count["stack"]) == (6, 6, 2)
    assert made == reduced.content()
    token = service.last_claim(CAMERA)
    assert service.ended(service.ask(CAMERA)).outcome == "Completed"
    assert service.made_since(CAMERA, token) == {}


@pytest.mark.slow
def test_the_whole_of_sa112_through_a_service_of_its_own(sa112: Path, tmp_path: Path) -> None:
    service = Running(configure(tmp_path / "service", [Watched("sa112", simulated=False)]))
    files = sorted(path for path in sa112.rglob("*") if path.is_file())
    try:
        service.start()
        reduced = Reduced(service, files, sa112, tmp_path / "reduced")
        assert through_the_service(service, files, sa112) == reduced.content()
        kinds = Counter(row.kind for row in service.files("sa112") if row.frame_id is not None)
        assert kinds == {"bias": 10, "dark": 50, "flat": 50, "light": 40}
        assert Counter(row.state for row in service.files("sa112")) == {"done": 150, "set_aside": len(files) - 150}
        rows = service.products(CAMERA)
        count = Counter(row.recipe for row in rows)
        assert (count["bias_master"], count["dark_master"], count["flat_master"]) == (1, 5, 4)
        assert (count["reduce_light"], count["photometry"], count["stack"]) == (40, 40, 4)
        grades = Counter((row.facts["filter"], row.grade) for row in rows if row.recipe == "reduce_light")
        assert grades == {("B", "B"): 10, ("V", "A"): 10, ("R", "A"): 10, ("I", "A"): 10}
        token = service.last_claim(CAMERA)
        assert service.ended(service.ask(CAMERA)).outcome == "Completed"
        assert service.made_since(CAMERA, token) == {}
    finally:
        service.stop()

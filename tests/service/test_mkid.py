"""Photon lists in the running service, without a command: seconds and lines of a log become images, cubes and the asked speckle maps.

They are on a page of their own, and in the mail.  The short form has three lasers and an exposure; the long one (marked slow) has dark and
flat field as well, and lines that are added to the log while seconds trickle in.
"""

from __future__ import annotations

import email
import email.policy
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from astropy.io import fits

from flows.reporting import queue_morning
from nightcrew.ledger import migrate, products, scopes
from nightcrew.ledger.rows import ProductRow
from nightcrew.settings import LedgerSettings, Settings, StateSettings
from nightcrew.simulate.mkid_plan import Exposure, MkidPlan, dither, preset
from nightcrew.simulate.mkid_run import make_run
from reports.summary import parse
from tasks.workspace import Workspace
from tests.mkid.test_set import exposures
from tests.service.running import Running, Watched, configure

pytestmark = [pytest.mark.server, pytest.mark.xdist_group("service-mkid")]
NAME = "run1"
OPTIONS = """
[mkid]
flat_chunk_s = 1.0
flat_bin_ev = 0.2
flat_from_nm = 850.0
flat_to_nm = 1300.0
flat_degree = 1
mask_step_s = 2.0
"""


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Running]:
    made = configure(tmp_path / "service", [Watched("lists", simulated=False, kind="mkid")])
    assert made.file is not None
    made.file.write_text(made.file.read_text() + OPTIONS)
    running = Running(Settings.load(made.file))
    try:
        running.start()
        yield running
    finally:
        running.stop()


def current(service: Running) -> dict[str, ProductRow]:
    with service.space.database.read() as connection:
        found = scopes.find(connection, kind="mkid", name=NAME)
        return {f"{row.recipe} {row.key}": row for row in products.current_of_scope(connection, found[0].id)} if found else {}


def put(service: Running, name: str, data: bytes) -> None:
    path = service.incoming("lists") / NAME / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def mail_of_a_morning(service: Running, folder: Path) -> str:
    copy = migrate.backup(service.space.database, "copy")
    assert copy is not None
    update = {
        "ledger": LedgerSettings(url=f"sqlite:///{copy.rename(folder / 'ledger.sqlite')}"),
        "state": StateSettings(root=folder),
        "reports": service.settings.reports.model_copy(update={"root": folder / "reports"}),
    }
    message = queue_morning(Workspace.open(service.settings.model_copy(update=update)), "2099-01-01").message
    body = email.message_from_bytes(message, policy=email.policy.default).get_body(("plain",))
    assert body is not None
    return str(body.get_content())


def simulated(folder: Path, plan: MkidPlan) -> tuple[dict[str, bytes], list[str]]:
    """Files of a run by name, and the lines of its log, in which the science exposure asks for speckle maps."""
    make_run(folder, plan, 5, keep_photons=False)
    files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.*") if path.is_file()}
    heading, *lines = files["observing_log.csv"].decode().splitlines()
    wishes = [",yes,0.02" if ",science," in line else ",," for line in lines]
    return files, [f"{heading},speckles,speckle_bin_s", *(line + wish for line, wish in zip(lines, wishes, strict=True))]


def look(service: Running, folder: Path, exposure: str) -> str:
    """What everybody sees who gave no command: images, cubes and speckle maps, a page, and a line in the mail, which is returned."""
    made = current(service)
    row = made[f"mkid_images {exposure}"]
    assert {"image.fits", "time_cube.fits", "cube.fits", "speckles.fits", "report.html"} <= {file.role for file in row.files}
    root = service.settings.products.root
    paths = {file.role: root / file.path for file in row.files}
    with fits.open(paths["speckles.fits"]) as hdus:
        assert hdus["IC"].data.shape == hdus["VALID"].data.shape == (10, 12)
        assert (hdus["MEAN"].data > 0).any()
    with fits.open(paths["cube.fits"]) as hdus:
        assert hdus["SCI"].header["CTYPE3"] == "ENER"
    assert "Speckle statistics" in paths["report.html"].read_text()
    page = httpx.get(f"http://127.0.0.1:{service.settings.reports.port}/mkid/{NAME}/", timeout=10)
    assert page.status_code == 200
    assert "the balance closes" in page.text
    assert exposure in page.text
    text = mail_of_a_morning(service, folder)
    assert f"/mkid/{NAME}/index.html" in text
    return text


def test_an_exposure_and_its_line_become_images_cubes_and_speckle_maps(up: Running, tmp_path: Path) -> None:
    light: dict[str, Any] = {"duration_s": 2.5, "rate_cps": 300.0}
    lasers = tuple(Exposure(name=f"laser_{nm}", kind="laser", wavelength_nm=float(nm), **light) for nm in (850, 1100, 1375))
    plan = replace(preset("tiny"), columns=12, rows=10, exposures=(*lasers, *dither(12, 10, 4.0)[:1]), gap_s=0.5)
    files, log = simulated(tmp_path / "run", plan)
    seconds = sorted(name for name in files if name.endswith(".bin"))
    put(up, "beammap.txt", files["beammap.txt"])
    for name in seconds:
        put(up, name, files[name])
    put(up, "observing_log.csv", "\n".join(log).encode())
    up.wait(lambda: up.settled_set("mkid", NAME, len(seconds) + 2), "the set is closed, planned and reported", 200)
    look(up, tmp_path, "dither_0")


@pytest.mark.slow
def test_seconds_and_lines_trickle_in_and_everything_follows(up: Running, tmp_path: Path) -> None:
    science = dither(12, 10, 2.0)[:1]
    plan = replace(preset("tiny"), columns=12, rows=10, exposures=(*exposures()[:-1], *science), gap_s=0.7)
    files, log = simulated(tmp_path / "run", plan)
    seconds = sorted(name for name in files if name.endswith(".bin"))
    put(up, "beammap.txt", files["beammap.txt"])
    put(up, "observing_log.csv", f"{log[0]}\n".encode())
    for place, name in enumerate(seconds):
        put(up, name, files[name])
        if place in (8, 16):
            put(up, "observing_log.csv", "\n".join(log[: place // 4]).encode())
    put(up, "observing_log.csv", "\n".join(log).encode())
    up.wait(lambda: up.settled_set("mkid", NAME, len(seconds) + 2), "the set is closed, planned and reported", 280)

    made = current(up)
    wanted = {"mkid_wavecal laser_850", "mkid_flatcal flat", "mkid_calibrated dither_0", "mkid_images dither_0", "mkid_report all"}
    assert wanted <= set(made)
    assert len([name for name in made if name.startswith("mkid_table")]) == len(plan.exposures)
    row = made["mkid_report all"].files[0]
    folder = up.settings.products.root / row.path.removesuffix(f"/{row.role}")
    names = {one.name for one in parse((folder / "summary.json").read_text()).quantities}
    assert {"photons", "lost_frames", "solved_fraction", "energy_resolution", "flat_weight_scatter", "bad_pixels"} <= names
    assert "photon tables with" in look(up, tmp_path, "dither_0")

"""One running service for all tests of this folder, and one browser.

With ``-n 2 --dist loadgroup`` there are two, each on its own ports: the groups ``service`` and ``service-kills`` run side by side.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from tests.service.browsing import Browser, open_browser
from tests.service.running import Running, Watched, configure
from tests.support.small_nights import make_raw, small_plan

NIGHTS = {"evening": "2025-05-16", "killed": "2025-05-17"}
SETS = ("sensor", "lab", "campaign")
TOY = "mkid"  # photon lists have a service of their own
FIRES_IN_S = 110.0  # the report's time: late enough that no other test disturbs it, early enough that none waits long


@pytest.fixture(scope="session")
def raw(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A small night's frames for each simulated folder."""
    found = {}
    for name, night in NIGHTS.items():
        out = tmp_path_factory.mktemp(f"raw-{name}")
        make_raw(out, small_plan(night, troubles=("truncated", "duplicate", "text_file", "bright_flat")))
        found[name] = out / "raw"
    return found


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """``nightcrew up``, with a watched folder for each test; its morning report is due about two minutes after its start."""
    at = datetime.now(ZoneInfo("America/Chicago")) + timedelta(seconds=FIRES_IN_S + 60)
    sets = [Watched(name, simulated=False, kind=kind) for name, kind in (("toys", TOY), *((kind, kind) for kind in SETS))]
    folders = [Watched("sa112", simulated=False), *(Watched(name) for name in NIGHTS), *sets]
    settings = configure(tmp_path_factory.mktemp("service"), folders, time_of_report=f"{at:%H:%M}")
    made = Running(settings, TOY)
    try:
        made.start()
        yield made
    finally:
        made.stop()


@pytest.fixture(scope="session")
def night(service: Running, raw: dict[str, Path]) -> Running:
    """The service after the night 2025-05-16 of the camera EVENING went well."""
    files = service.drop("evening", raw["evening"].iterdir())
    service.wait(lambda: service.settled("EVENING", files, "evening"), "the night is reduced and reported", 120)
    return service


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A headless chromium; its screenshots are in the folder ``screenshots*`` of pytest's temporary folder."""
    made = open_browser(tmp_path_factory.mktemp("profile"), tmp_path_factory.mktemp("screenshots"))
    try:
        yield made
    finally:
        made.driver.quit()

"""The demonstration: a short simulated night through the whole service, from files to the morning's mail, and a verdict.

The service that runs is the real one (``nightcrew up`` with a configuration of its own in a fresh folder); this module
only drops the files, waits, asks for the morning as its schedule would, and checks what came out against the truth.
"""

from __future__ import annotations

import dataclasses
import email
import email.policy
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

from deployments.endpoints import Endpoints, answers
from flows.parent import die_with_parent
from nightcrew.endings import ending
from nightcrew.errors import NightcrewError, Refused
from nightcrew.io.atomic import write_text
from nightcrew.ledger import arrivals, dispatches, messages, products, scopes
from nightcrew.ledger.messages import MailRow
from nightcrew.settings import Settings
from nightcrew.simulate.comparison import Comparison
from nightcrew.simulate.truth import Truth
from reports import names
from tasks.workspace import Workspace

MARK = ".nightcrew-demo"
_SIMULATION = "simulated"
_WATCHED = "incoming"
_GIVE_UP_S = 600.0
_LOOK_S = 0.7
_CONFIGURATION = """\
# Written by `nightcrew demo`: embedded defaults, with shorter waits than a real night wants.
[site]
longitude_deg = {longitude}
latitude_deg = {latitude}
elevation_m = {elevation}
timezone = "{timezone}"

[[folders]]
path = "incoming"

[reports]
port = 0
truth = "simulated/truth.json"

[mail]
transport = "mailbox"

[prefect]
port = 0

[watch]
settle_s = 1.0
patience_s = 12.0
burst_s = 0.5
sweep_s = 10.0

[night]
quiet_s = 3600.0
group_quiet_s = 3.0

[limits]
disk_reserve_bytes = 100_000_000
"""


class DemonstrationFailedError(NightcrewError):
    """The service did not do what the demonstration shows; the text says what."""


@dataclass(frozen=True)
class Stage:
    """What the demonstration is at, for people: a heading, counts of files by state, and of products by recipe."""

    heading: str
    dropped: int
    to_drop: int
    files: Counter[str] = dataclasses.field(default_factory=Counter)
    products: Counter[str] = dataclasses.field(default_factory=Counter)


Show = Callable[[Stage], None]


def prepare(folder: Path, seed: int = 1, night: str | None = None) -> tuple[Settings, Truth]:
    """A fresh folder with the simulated night, its truth and a configuration.

    Raises ``Refused`` for a folder that holds anything else than an earlier demonstration (which is removed).
    """
    from nightcrew.simulate.night import make_night

    folder = folder.absolute()
    if folder.exists() and any(folder.iterdir()):
        if not (folder / MARK).exists():
            raise Refused(f"{folder} holds other files; name a new folder with --folder")
        shutil.rmtree(folder)
    (folder / _WATCHED).mkdir(parents=True)
    (folder / MARK).touch()
    truth = make_night(folder / _SIMULATION, "short", seed, night=night)
    site = truth.plan.site
    text = _CONFIGURATION.format(
        longitude=site.longitude_deg, latitude=site.latitude_deg, elevation=site.elevation_m, timezone=site.timezone or "UTC"
    )
    write_text(folder / "nightcrew.toml", text)
    return Settings.load(folder / "nightcrew.toml"), truth


class Service:
    """``nightcrew up`` as a child process."""

    def __init__(self, settings: Settings, log: Path) -> None:
        self._settings = settings
        environment = {name: value for name, value in os.environ.items() if not name.startswith("NIGHTCREW_")}
        parent = os.getpid()
        with log.open("ab") as output:
            self._process = subprocess.Popen(  # noqa: S603  # our own command
                [sys.executable, "-P", "-c", "from deployments.cli import main; main()", "up", "--config", str(settings.file)],
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env=environment,
                start_new_session=True,
                preexec_fn=lambda: die_with_parent(parent),  # noqa: PLW1509  # the driver has one thread
            )
        self._log = log

    def check(self) -> None:
        """Raise when the service has ended."""
        code = self._process.poll()
        if code is not None:
            end = " | ".join(self._log.read_text(encoding="utf-8", errors="replace").splitlines()[-3:])
            raise DemonstrationFailedError(f"the service {ending(code)}; its last lines were: {end}")

    def stop(self) -> None:
        """Stop it as a person would, and wait."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(90)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()

    @property
    def is_up(self) -> bool:
        """Do its pages answer?"""
        endpoints = Endpoints.read(self._settings.state.root)
        return endpoints is not None and answers(f"{endpoints.api_url}/health")


@dataclass(frozen=True, kw_only=True)
class Result:
    """What the demonstration ends with."""

    page: Path
    page_link: str
    mail: Path
    subject: str
    comparison: Comparison
    faults: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Did everything come out as it was planted?"""
        return self.comparison.passed and not self.faults


def run(settings: Settings, truth: Truth, show: Show, *, pause_s: float = 0.25) -> Result:
    """Start the service, drop the night while it runs, wait for the morning, and judge.

    Raises ``DemonstrationFailedError`` when the service ends or does not come to an end in ten minutes.
    """
    root = settings.products.root.parent
    service = Service(settings, root / "up.log")
    try:
        space = _wait_for_ledger(settings, service, show)
        show(Stage("dropping files", 0, len(truth.drop_order)))
        dropped = _drop(settings, truth, service, space, show, pause_s)
        _wait(service, lambda: _all_read(space, dropped), lambda: show(_stage(space, "reading the last files", dropped, dropped)))
        _close(space, truth.plan.night)
        _wait(service, lambda: _closed(space, truth.plan.night), lambda: show(_stage(space, "reducing", dropped, dropped)))
        morning = (date.fromisoformat(truth.plan.night) + timedelta(days=1)).isoformat()
        dispatches.request(space.database, "morning", None, {"morning": morning})
        _wait(
            service, lambda: _mail(space, morning) is not None, lambda: show(_stage(space, "writing the morning report", dropped, dropped))
        )
        link = (Endpoints.read(settings.state.root) or Endpoints(api_url="", ui_url="", pages_url="", pid=0)).pages_url
        return judge(space, truth, morning, link)
    finally:
        service.stop()


def _wait_for_ledger(settings: Settings, service: Service, show: Show) -> Workspace:
    """The workspace once ``up`` has made the ledger."""
    ledger = Path(settings.ledger_url.removeprefix("sqlite:///"))
    _wait(service, lambda: Endpoints.read(settings.state.root) is not None and ledger.exists(), lambda: show(Stage("starting", 0, 0)))
    return Workspace.open(settings)


def _drop(settings: Settings, truth: Truth, service: Service, space: Workspace, show: Show, pause_s: float) -> int:
    """Drop the files at a pace; the late flats come when the light that needs them has been seen waiting."""
    from nightcrew.simulate.drop import Pace, drop

    source, watched = settings.products.root.parent / _SIMULATION / "raw", settings.folders[0].path
    late = {frame.name for frame in truth.select("flat", filter_name=truth.plan.late_filter)}
    early = [name for name in truth.drop_order if name not in late]
    total = len(truth.drop_order)
    done = 0

    def bring(names_now: Sequence[str], heading: str) -> None:
        nonlocal done
        for _ in drop(source, watched, names_now, Pace(pause_s=pause_s)):
            done += 1
            service.check()
            show(_stage(space, heading, done, total))

    bring(early, "dropping files")
    waiting = f"waiting until lights in {truth.plan.late_filter} wait for their flats"
    _wait(service, lambda: _waits_for_flat(space, truth), lambda: show(_stage(space, waiting, done, total)))
    bring(sorted(late), "dropping the late flats")
    return done


def _waits_for_flat(space: Workspace, truth: Truth) -> bool:
    """Has a light of the late filter been planned and found waiting for its flat?"""
    lights = {frame.name for frame in truth.select("light", filter_name=truth.plan.late_filter)}
    with space.database.read() as connection:
        rows = [row for scope in scopes.find(connection, name=truth.plan.night) for row in arrivals.of_scope(connection, scope.id)]
    return any(os.fsdecode(row.path).rpartition("/")[2] in lights and row.state == "waiting" and "flat" in row.reason for row in rows)


def _all_read(space: Workspace, dropped: int) -> bool:
    """Is every file in the ledger, and ingested?"""
    with space.database.read() as connection:
        return sum(arrivals.balance(connection).values()) >= dropped and not arrivals.count_to_read(connection)


def _close(space: Workspace, night: str) -> None:
    """As ``nightcrew close`` does: a real night closes by itself, after its noon."""
    with space.database.read() as connection:
        found = scopes.find(connection, name=night)
    with space.database.write() as connection:
        for scope in found:
            scopes.ask_to_close(connection, scope.id)


def _closed(space: Workspace, night: str) -> bool:
    """Is the night closed, planned and reported?"""
    with space.database.read() as connection:
        found = scopes.find(connection, name=night)
    return bool(found) and all(s.state == "closed" and s.planned_mark >= s.mark == s.reported_mark for s in found)


def _mail(space: Workspace, morning: str) -> MailRow | None:
    with space.database.read() as connection:
        return next((row for row in messages.mails(connection, "delivered") if row.morning == morning), None)


def _stage(space: Workspace, heading: str, dropped: int, total: int) -> Stage:
    with space.database.read() as connection:
        files = Counter[str]()
        for (_, state), count in arrivals.balance(connection).items():
            files[state] += count
        made = Counter(row.recipe for scope in scopes.find(connection) for row in products.current_of_scope(connection, scope.id))
    return Stage(heading, dropped, total, files, made)


def _wait(service: Service, condition: Callable[[], bool], tell: Callable[[], None], limit_s: float = _GIVE_UP_S) -> None:
    end_s = time.monotonic() + limit_s
    while not condition():
        service.check()
        if time.monotonic() > end_s:
            raise DemonstrationFailedError(f"nothing came to an end within {limit_s:.0f} s; see the logs in the state folder")
        tell()
        time.sleep(_LOOK_S)


def judge(space: Workspace, truth: Truth, morning: str, pages_link: str) -> Result:
    """Compare with the truth, and look whether page and mail name what they must."""
    from reports.recovered import compare_with_truth

    settings = space.settings
    comparison = compare_with_truth(space.database, settings.products.root, settings.products.root.parent / _SIMULATION / "truth.json")
    page = settings.reports.root / names.page_path("night", truth.plan.night)
    mail = settings.mail.mailbox / f"{morning}.eml"
    faults = [*_page_faults(page, truth), *_mail_faults(mail)]
    row = _mail(space, morning)
    link = f"{pages_link}/{names.page_path('night', truth.plan.night)}"
    return Result(page=page, page_link=link, mail=mail, subject=row.subject if row else "", comparison=comparison, faults=tuple(faults))


def _page_faults(page: Path, truth: Truth) -> list[str]:
    """Troublemakers that the page, or the numbers beside it, do not name."""
    import html

    if not page.exists():
        return [f"there is no page {page}"]
    text = html.unescape(page.read_text(encoding="utf-8"))
    beside = "".join(file.read_text(encoding="utf-8") for file in sorted(page.parent.glob("numbers/*.csv")))
    return [
        f"the report does not name {trouble.path}"
        for trouble in truth.troubles
        if trouble.path not in text and not (trouble.twin and trouble.twin in text) and trouble.path not in beside
    ]


def _mail_faults(mail: Path) -> list[str]:
    if not mail.exists():
        return [f"there is no mail {mail}"]
    message = email.message_from_bytes(mail.read_bytes(), policy=email.policy.default)
    kinds = {part.get_content_type() for part in message.walk()}
    missing = {"text/plain", "text/html", "image/png"} - kinds
    return [f"the mail has no {kind} part" for kind in sorted(missing)]

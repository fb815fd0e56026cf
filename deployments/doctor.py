"""What ``nightcrew doctor`` looks at: one function a subject, each finding with how to mend it."""

from __future__ import annotations

import ctypes
import os
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from functools import partial
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Literal

from nightcrew.errors import NightcrewError, Refused, TransientError
from nightcrew.io.patience import answers
from nightcrew.io.room import room_of, shown_bytes
from nightcrew.settings import FolderSettings, Settings

Level = Literal["good", "warning", "problem"]
_ANSWER_S = 5.0  # how long a watched folder is waited for
_NETWORK = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "fuse.sshfs", "9p", "ceph", "glusterfs", "afs", "fuse.gvfsd-fuse"}
_OLD_SIGN = timedelta(minutes=15)
_OLD_LOOK = timedelta(hours=3)
_CLOCK_UNSYNCHRONISED = 0x40  # STA_UNSYNC of adjtimex(2)


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor's answer; ``mend`` says what to do about it."""

    subject: str
    level: Level
    text: str
    mend: str = ""


def look(settings: Settings) -> list[Finding]:
    """All findings; a check that itself fails is a finding, too."""
    findings: list[Finding] = []
    for check in CHECKS:
        try:
            findings.extend(check(settings))
        except (NightcrewError, OSError) as error:
            findings.append(Finding(check.__name__.replace("_", " "), "problem", str(error)))
    return findings


def configuration(settings: Settings) -> Iterator[Finding]:
    """The file, and what must not stay at its default."""
    if settings.file is None:
        yield Finding("configuration", "warning", "no nightcrew.toml: the defaults are used", "write one with `nightcrew init`")
    else:
        yield Finding("configuration", "good", str(settings.file))
    if settings.site.longitude_deg == 0 and settings.site.latitude_deg == 0:
        yield Finding(
            "configuration", "warning", "the site is not set, so nights follow UTC", "set [site] longitude_deg, latitude_deg, timezone"
        )
    from nightcrew.frames.profiles import load_profiles

    profiles = load_profiles(settings.instruments.folder if settings.instruments.folder.is_dir() else None)
    unknown = sorted({folder.instrument for folder in settings.folders} - {"auto", *profiles})
    if unknown:
        yield Finding(
            "configuration", "problem", f"no instrument profile is called {', '.join(unknown)}", f"one of: {', '.join(sorted(profiles))}"
        )


def versions(settings: Settings) -> Iterator[Finding]:
    """Python and the packages whose newer versions are known to break the service."""
    del settings
    from packaging.requirements import Requirement

    if sys.version_info[:2] != (3, 11):
        yield Finding("versions", "warning", f"Python {sys.version.split()[0]} is not tested", "use Python 3.11")
    wrong = []
    for text in requires("nightcrew") or ():
        wanted = Requirement(text)
        if wanted.marker is not None and not wanted.marker.evaluate({"extra": ""}):
            continue
        try:
            have = version(wanted.name)
        except PackageNotFoundError:
            wrong.append(f"{wanted.name} is missing")
            continue
        if not wanted.specifier.contains(have, prereleases=True):
            wrong.append(f"{wanted.name} {have} is not {wanted.specifier}")
    if wrong:
        yield Finding("versions", "problem", "; ".join(wrong), "install with the constraints file: make install")
    else:
        yield Finding(
            "versions", "good", f"Python {sys.version.split()[0]}, Prefect {version('prefect')}, SQLAlchemy {version('sqlalchemy')}"
        )


def folders(settings: Settings) -> Iterator[Finding]:
    """Watched folders: are they there, and will the kernel tell of changes?"""
    found = answers({folder.path: partial(_of_folder, folder) for folder in settings.folders}, _ANSWER_S)
    for folder in settings.folders:
        one = found.get(folder.path)
        if one is None:
            mend = "look after its server or the network: the service waits for it, other folders go on"
            yield Finding("folder", "problem", f"{folder.path} does not answer", mend)
        elif isinstance(one, Exception):
            raise one
        else:
            yield one


def _of_folder(folder: FolderSettings) -> Finding:
    if not folder.path.is_dir():
        return Finding("folder", "problem", f"{folder.path} does not exist", "create it, mount its disk, or mend [[folders]] path")
    if not os.access(folder.path, os.R_OK | os.X_OK):
        return Finding("folder", "problem", f"{folder.path} cannot be read by this user", "give this user the right to read it")
    kind = file_system_of(folder.path)
    if kind in _NETWORK and not folder.polling:
        return Finding("folder", "warning", f"{folder.path} is on {kind}, which tells of no changes made elsewhere", "set polling = true")
    return Finding("folder", "good", f"{folder.path} ({kind}, {'polled' if folder.polling else 'events'})")


def events(settings: Settings) -> Iterator[Finding]:
    """Does inotify work here, with room for all folders?"""
    if all(folder.polling for folder in settings.folders):
        return
    limit = _number(Path("/proc/sys/fs/inotify/max_user_watches"))
    there = answers({folder.path: folder.path.is_dir for folder in settings.folders if not folder.polling}, _ANSWER_S)
    needed = sum(_folders_below(path, limit) for path, answer in there.items() if answer is True)
    if limit and needed > limit * 0.8:
        mend = f"as root: sysctl fs.inotify.max_user_watches={max(524_288, 2 * needed)}"
        yield Finding("folder events", "warning", f"{needed} folders are to be watched, the kernel allows {limit}", mend)
    elif not _inotify_works():
        yield Finding(
            "folder events", "problem", "inotify cannot be used", "as root: sysctl fs.inotify.max_user_instances=512, or set polling = true"
        )
    else:
        yield Finding("folder events", "good", f"inotify works, {needed} of {limit} watches needed")


def disk(settings: Settings) -> Iterator[Finding]:
    """Free space where we write, and a local disk for the ledger."""
    for name, root in (("products", settings.products.root), ("reports", settings.reports.root), ("state", settings.state.root)):
        there = _nearest(root)
        room = room_of(there, settings.limits.disk_reserve_bytes)
        if not os.access(there, os.W_OK):
            yield Finding("disk", "problem", f"{name}: {there} cannot be written", "give this user the right to write there")
        elif not room.enough:
            mend = "make room, or lower limits.disk_reserve_bytes; the service goes on by itself"
            yield Finding("disk", "problem", f"{name}: {room.words}: paused", mend)
        else:
            yield Finding("disk", "good", f"{name}: {shown_bytes(room.free)} free at {there}")
    if file_system_of(_nearest(settings.state.root)) in _NETWORK and not settings.ledger.url:
        yield Finding("disk", "problem", "the ledger lies on a network share, where SQLite loses data", "set [state] root to a local disk")


def mail(settings: Settings) -> Iterator[Finding]:
    """Can the mail go out, and is there one whose fate is unknown?"""
    if settings.mail.transport == "none":
        yield Finding("mail", "warning", "no mail is sent", 'set [mail] transport = "smtp" or "mailbox"')
        return
    if settings.mail.transport == "smtp":
        import socket

        try:
            settings.mail.secret()
        except Refused as error:
            yield Finding("mail", "problem", str(error), "chmod 600 that file, or give the password by the environment")
        try:
            socket.create_connection((settings.mail.host, settings.mail.port), timeout=5).close()
            yield Finding("mail", "good", f"{settings.mail.host}:{settings.mail.port} answers")
        except OSError as error:
            yield Finding(
                "mail", "problem", f"{settings.mail.host}:{settings.mail.port}: {error}", "check [mail] host and port, and the network"
            )
    else:
        yield Finding("mail", "good", f"mails are put into {settings.mail.mailbox}")


def ledger(settings: Settings) -> Iterator[Finding]:
    """Is the ledger whole, of our schema, and are there mails or runs that want a person?"""
    from nightcrew.ledger import messages, migrate
    from nightcrew.ledger.database import Database, address

    url = address(settings.ledger_url)
    if url.get_backend_name() == "sqlite":
        if not Path(url.database or "").exists():
            yield Finding("ledger", "warning", "there is none yet", "it is made by the first `nightcrew up`")
            return
        verdict = _sqlite_verdict(str(url.database))
        if verdict != "ok":
            yield Finding("ledger", "problem", f"damaged: {verdict}", "stop the service and restore a copy (ledger.sqlite.*.bak)")
            return
    database = Database(settings.ledger_url)
    try:
        migrate.check(database)
    except Refused as error:
        yield Finding(
            "ledger", "problem", str(error), "install the Nightcrew that made it, or let `nightcrew up` bring an older one up to date"
        )
        return
    yield Finding("ledger", "good", str(url.database))
    with database.read() as connection:
        unsure, stuck = messages.mails(connection, "unknown"), messages.mails(connection, "queued", "refused")
    for row in unsure:
        mend = f"look whether it came; to send it again: nightcrew report --morning {row.morning} --resend"
        yield Finding("mail", "warning", f"it is not known whether the mail of {row.morning} was delivered: {row.last_error}", mend)
    for row in stuck:
        yield Finding(
            "mail", "warning", f"the mail of {row.morning} is {row.state} after {row.attempts} attempts: {row.last_error}", "mend [mail]"
        )
    database.close()


def _sqlite_verdict(path: str) -> str:
    """ "ok", or what is wrong with an SQLite file."""
    try:
        with closing(sqlite3.connect(f"{Path(path).absolute().as_uri()}?mode=ro", uri=True)) as connection:
            return str(connection.execute("PRAGMA quick_check").fetchone()[0])
    except sqlite3.DatabaseError as error:
        return str(error)


def service(settings: Settings) -> Iterator[Finding]:
    """Does it run, answer, and live?"""
    from deployments.endpoints import Endpoints, answers, running_pid
    from nightcrew.ledger import messages, run_signs
    from nightcrew.ledger.database import Database

    pid, endpoints = running_pid(settings.state.root), Endpoints.read(settings.state.root)
    if pid is None or endpoints is None:
        yield Finding("service", "warning", "it does not run", "start it with `nightcrew up`, or its systemd unit")
        return
    yield Finding("service", "good", f"runs as process {pid}")
    if not answers(f"{endpoints.api_url}/health"):
        yield Finding(
            "service",
            "problem",
            f"Prefect's server does not answer at {endpoints.api_url}",
            f"see {settings.state.root / 'logs' / 'server.log'}",
        )
    else:
        yield from _schedule(settings, endpoints.api_url)
    with Database(settings.ledger_url).read() as connection:
        signs = messages.signs_of_life(connection)
        untaken = run_signs.untaken(connection, datetime.now(UTC))
    for row in untaken:
        yield Finding(
            "service",
            "warning",
            f"the run of {row.flow} that was asked for at {row.created_at[:16]} UTC waits, and nobody works on it",
            f"look whether the runner lives: {settings.state.root / 'logs' / 'runner.log'}; it is asked for anew by itself",
        )
    sign = signs.get("dispatcher", ("", ""))[0]
    if not sign or datetime.now(UTC) - datetime.fromisoformat(sign).replace(tzinfo=UTC) > _OLD_SIGN:
        yield Finding(
            "service",
            "problem",
            f"the dispatcher was last alive at {sign or 'no time'}",
            f"see {settings.state.root / 'logs' / 'dispatcher.log'}",
        )


def _schedule(settings: Settings, api_url: str) -> Iterator[Finding]:
    """Does Prefect plan the morning's report?  With other versions than the pinned ones its schedules never fire, without a word."""
    from deployments.runs import PrefectRuns

    auth = settings.prefect.auth
    try:
        planned = PrefectRuns(api_url, auth.get_secret_value() if auth else "").scheduled("morning")
    except TransientError as error:
        yield Finding("schedule", "warning", f"not known: {error}", "ask again when the service has run for a minute")
        return
    if planned:
        yield Finding("schedule", "good", f"the report of {settings.reports.time} {settings.site.timezone} is planned")
        return
    mend = (
        f"wait a minute after a start; then see {settings.state.root / 'logs' / 'server.log'}, and `make install` for the pinned versions"
    )
    yield Finding("schedule", "warning", "Prefect has no run of the morning's report planned: its mail would come ten minutes late", mend)


def watchdog(settings: Settings) -> Iterator[Finding]:
    """Is the dead man's switch armed, so that somebody hears of a service that does not run?"""
    from deployments.watchdog import Memory

    mend = "systemctl enable --now nightcrew-watchdog.timer, or by cron every half hour: nightcrew watchdog"
    looked_at = Memory.read(settings.state.root).looked_at
    if not looked_at:
        yield Finding("watchdog", "warning", "nobody would tell that the service does not run", mend)
    elif datetime.now(UTC) - datetime.fromisoformat(looked_at).replace(tzinfo=UTC) > _OLD_LOOK:
        yield Finding("watchdog", "problem", f"it looked last at {looked_at} UTC", mend)
    else:
        yield Finding("watchdog", "good", f"armed, looked last at {looked_at} UTC")


def clock(settings: Settings) -> Iterator[Finding]:
    """Is the clock kept by somebody?  A wrong clock puts frames and mails into wrong nights."""
    state = ctypes.create_string_buffer(256)
    libc = ctypes.CDLL(None, use_errno=True)
    libc.adjtimex(state)
    status = int.from_bytes(state.raw[40:44], sys.byteorder)  # struct timex: modes, offset, freq, maxerror, esterror, status
    local = datetime.now(UTC).astimezone(_zone(settings)).strftime("%Y-%m-%d %H:%M")
    if status & _CLOCK_UNSYNCHRONISED:
        yield Finding(
            "clock", "warning", f"nobody keeps this machine's clock ({local} {settings.site.timezone})", "turn on NTP, such as chrony"
        )
    else:
        yield Finding("clock", "good", f"{local} {settings.site.timezone}, kept by NTP")


def plate_solver(settings: Settings) -> Iterator[Finding]:
    """The solver and its indexes, where plate solving is on; nothing is run."""
    plates = settings.plate_solving
    if not plates.enabled:
        return
    from nightcrew.astrometry.program import NoSolverError, find_solver

    try:
        solver = find_solver(plates.program, plates.index_folder, plates.time_box_s)
    except NoSolverError as error:
        mend = "install astrometry.net and index files for your field, or set [plate_solving] program, index_folder or enabled = false"
        yield Finding("plate solver", "warning", f"{error}: lights without world coordinates stay without them", mend)
    else:
        yield Finding("plate solver", "good", f"{solver.program}, indexes in {solver.index_folder}")


CHECKS: tuple[Callable[[Settings], Iterator[Finding]], ...] = (
    configuration,
    versions,
    folders,
    events,
    disk,
    mail,
    ledger,
    plate_solver,
    service,
    watchdog,
    clock,
)


def file_system_of(path: Path) -> str:
    """Type of the file system that holds ``path``, as /proc/mounts names it."""
    real = os.path.realpath(path)
    best, kind = "", "unknown"
    for line in Path("/proc/mounts").read_text(encoding="utf-8", errors="replace").splitlines():
        fields = line.split()
        mount = fields[1].encode().decode("unicode_escape")
        if (real == mount or real.startswith(mount.rstrip("/") + "/")) and len(mount) >= len(best):
            best, kind = mount, fields[2]
    return kind


def _nearest(path: Path) -> Path:
    while not path.exists():
        path = path.parent
    return path


def _number(path: Path) -> int:
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return 0


def _folders_below(root: Path, most: int) -> int:
    count = 0
    for _ in os.walk(root):
        count += 1
        if most and count > most:
            break
    return count


def _inotify_works() -> bool:
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = int(libc.inotify_init())
    if descriptor < 0:
        return False
    os.close(descriptor)
    return True


def _zone(settings: Settings) -> tzinfo:
    from zoneinfo import ZoneInfo

    return ZoneInfo(settings.site.timezone)

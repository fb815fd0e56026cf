"""A folder of seconds into tables: by an observing log, by a window, or one for each contiguous run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from nightcrew.errors import NightcrewError, Refused
from nightcrew.mkid.beam_map import BeamMap
from nightcrew.mkid.convert import Converted, convert_window
from nightcrew.mkid.observing_log import LoggedExposure, ObservingLog
from nightcrew.mkid.run_window import window_of_run
from nightcrew.mkid.seconds import Listing
from nightcrew.mkid.table_writer import Attribute

SECOND_US = 1_000_000


@dataclass(frozen=True)
class Job:
    """A table that is to be made; the window is half-open, in Unix microseconds."""

    out: Path
    start_us: int
    stop_us: int
    exposure: dict[str, Attribute] = field(default_factory=dict)
    run: tuple[int, int] | None = None  # a whole run of seconds, half-open: the window is that of the frames in its files


def jobs_of_log(log: ObservingLog, out: Path) -> list[Job]:
    """One table ``<name>.h5`` an exposure."""
    return [Job(out / f"{one.name}.h5", one.start_us, one.stop_us, _attributes(one)) for one in log.exposures]


def _attributes(one: LoggedExposure) -> dict[str, Attribute]:
    found: dict[str, Attribute] = {f"log_{key}": value for key, value in one.others.items() if key}
    found |= {"exposure": one.name, "type": one.kind}
    return found if one.wavelength_nm is None else {**found, "laser_nm": one.wavelength_nm}


def jobs_of_runs(listing: Listing, out: Path) -> list[Job]:
    """One table ``<first second>.h5`` for each contiguous run of seconds."""
    return [Job(out / f"{first}.h5", first * SECOND_US, stop * SECOND_US, run=(first, stop)) for first, stop in listing.runs()]


def job_of_window(out: Path, start_us: int, stop_us: int) -> Job:
    """One table; ``out`` is a folder, or the file when it ends with ``.h5``."""
    if stop_us <= start_us:
        raise Refused("the window ends before it begins")
    seconds, micros = divmod(start_us, SECOND_US)
    name = f"{seconds}.{micros:06d}".rstrip("0").rstrip(".") if micros else str(seconds)
    return Job(out if out.suffix == ".h5" else out / f"{name}.h5", start_us, stop_us)


def run_jobs(
    jobs: Sequence[Job], listing: Listing, beam_map: BeamMap, data_path: str, *, work: Path | None = None
) -> Iterator[tuple[Job, Converted | NightcrewError]]:
    """Make the tables; one that cannot be made is answered with its reason, and the rest goes on.

    ``work`` is a scratch folder in which tables are built, perhaps on another file system.
    """
    for job in jobs:
        try:
            start_us, stop_us = window_of_run(listing.files, *job.run) if job.run else (job.start_us, job.stop_us)
            made = convert_window(
                listing.files,
                beam_map,
                start_us,
                stop_us,
                job.out,
                data_path=data_path,
                exposure=job.exposure,
                expected=job.run,
                work=work,
            )
        except NightcrewError as error:
            yield job, error
        else:
            yield job, made

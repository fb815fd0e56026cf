"""The one configuration file, ``nightcrew.toml``: every option with its unit, its default and what it means.

Options are frozen and typed here, once; :mod:`nightcrew.settings_file` reads the file (with file, line, rule and the
nearest valid key in every refusal) and writes the commented file of ``nightcrew init`` from the descriptions below.
The environment overrides the file: ``NIGHTCREW_<SECTION>__<KEY>``, such as ``NIGHTCREW_MAIL__PORT=2525``; lists and
``[[folders]]`` as JSON.  Relative paths count from the folder of the file (without a file: the working folder).
"""

from __future__ import annotations

import os
import stat
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BaseModel, Field, PrivateAttr, SecretStr, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from nightcrew.errors import Refused
from nightcrew.settings_sets import CampaignSettings, LabSettings, MkidSettings, Section, SensorSettings

FolderKind = Literal["night", "sensor", "lab", "campaign", "mkid"]
SET_KINDS: tuple[FolderKind, ...] = ("sensor", "lab", "campaign", "mkid")
SkyMode = Literal["whole", "subframe", "annulus"]
CombineMethod = Literal["median", "mean", "sigma_clip", "clip_extremes"]


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise ValueError(f"{name!r} is no time zone of the IANA list, such as 'Europe/Vienna'") from error
    return name


def _clock(text: str) -> str:
    hour, colon, minute = text.partition(":")
    if not (colon and len(minute) == 2 and hour.isdecimal() and minute.isdecimal() and int(hour) < 24 and int(minute) < 60):
        raise ValueError(f"{text!r} is no time of day written as HH:MM, such as '08:00'")
    return f"{int(hour):02d}:{minute}"


def _expanded(path: Path) -> Path:
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise ValueError(f"{str(path)!r} names the folder of a user whom this machine does not know") from error


ConfigPath = Annotated[Path, AfterValidator(_expanded)]
TimeZone = Annotated[str, AfterValidator(_zone)]
Clock = Annotated[str, AfterValidator(_clock)]


class SiteSettings(Section):
    """Where the telescope or laboratory stands; a night runs from local noon to local noon."""

    name: str = Field("", max_length=80, description="name of the observatory or laboratory, shown on the pages")
    longitude_deg: float = Field(0.0, ge=-180, le=360, description="geographic longitude, degrees, east positive")
    latitude_deg: float = Field(0.0, ge=-90, le=90, description="geographic latitude, degrees, north positive")
    elevation_m: float = Field(0.0, ge=-500, le=10_000, description="height above sea level, metres")
    timezone: TimeZone = Field("UTC", description="IANA time zone: decides local noon and the time of the morning report")


class FolderSettings(Section):
    """One watched folder; repeat the table for more."""

    path: ConfigPath = Field(Path("incoming"), description="folder that the camera writes to; read only, nothing in it is ever changed")
    instrument: str = Field("auto", min_length=1, description='name of an instrument profile, or "auto": chosen from each header')
    kind: FolderKind = Field(
        "night", description="what the folder holds: frames of nights, or sets (a folder each) of sensor, lab, campaign or mkid data"
    )
    quiet_s: float = Field(600.0, ge=0, description="a set is complete when nothing came for so long, seconds (not of kind night)")
    polling: bool = Field(default=False, description="look for changes by polling (network shares send no events)")
    recursive: bool = Field(default=True, description="watch folders inside the folder, too")
    ignore: tuple[str, ...] = Field((), description='file-name patterns that are ignored but counted, such as "*_focus*.fits"')


def mixed_folders(folders: tuple[FolderSettings, ...]) -> str:
    """Why two watched folders cannot stand beside each other, "" when all can: every file must have one kind."""
    for inner in folders:
        for outer in folders:
            if outer.kind != inner.kind and inner.path.absolute().is_relative_to(outer.path.absolute()):
                return (
                    f"the folder {inner.path} of kind {inner.kind!r} lies inside {outer.path} of kind {outer.kind!r}: "
                    "every file must have one kind, so give it a folder of its own beside the other"
                )
    return ""


class ProductsSettings(Section):
    """Where products go."""

    root: ConfigPath = Field(Path("products"), description="folder of masters, reduced lights, catalogues and stacks")
    work: ConfigPath | None = Field(None, description="scratch folder to build photon tables in, perhaps on another file system")


class InstrumentsSettings(Section):
    """Instrument profiles of your own."""

    folder: ConfigPath = Field(Path("instruments"), description="folder with your own profiles (*.toml); it need not exist")


class ReportsSettings(Section):
    """The morning report and the pages."""

    root: ConfigPath = Field(Path("reports"), description="folder of the report pages")
    time: Clock = Field("08:00", description="local time of the morning report, HH:MM")
    address: str = Field("127.0.0.1", description="address that the page server listens on; other than loopback only with a password")
    port: int = Field(8765, ge=0, le=65535, description="port of the page server; 0: any free one")
    user: str = Field("observer", description="log-in name of the pages, when they have a password")
    password: SecretStr | None = Field(None, exclude=True, description="of the pages; only from the environment")
    truth: ConfigPath | None = Field(None, description="truth.json of a simulated night, to be compared with in its report")
    link: str = Field("", description="address of the pages as seen by readers of the mail; empty: http://address:port")

    @model_validator(mode="after")
    def _closed_door(self) -> Self:
        if self.password is not None and not self.password.get_secret_value():
            raise ValueError("NIGHTCREW_REPORTS__PASSWORD is empty: set a password, or unset it")
        if not is_loopback(self.address) and self.password is None:
            raise ValueError(f"set NIGHTCREW_REPORTS__PASSWORD to show the pages on {self.address!r}, or keep address = '127.0.0.1'")
        return self


class MailSettings(Section):
    """The morning mail.  The password comes from NIGHTCREW_MAIL__PASSWORD or from password_file, never from this file."""

    transport: Literal["none", "mailbox", "smtp"] = Field("mailbox", description="where the mail goes: nowhere, a folder, or a server")
    mailbox: ConfigPath = Field(Path("mailbox"), description='folder for transport = "mailbox": one .eml file a morning')
    host: str = Field("localhost", description="mail server")
    port: int = Field(587, ge=1, le=65535, description="its port: 587 for starttls, 465 for tls, 25 for none")
    security: Literal["starttls", "tls", "none"] = Field("starttls", description="how the connection is protected")
    user: str = Field("", description="log-in name; empty: no log-in")
    password: SecretStr | None = Field(None, exclude=True, description="only from the environment")
    password_file: ConfigPath | None = Field(None, description="file with the password, readable by its owner only")
    sender: str = Field("nightcrew@localhost", description="address that the mail comes from")
    to: tuple[str, ...] = Field(("observer@localhost",), description="addresses that get the mail")

    def secret(self) -> str | None:
        """The password from the environment or from ``password_file``; ``Refused`` when others can read the file."""
        if self.password is not None:
            return self.password.get_secret_value()
        if self.password_file is None:
            return None
        try:
            status = self.password_file.stat()
        except OSError as error:
            raise Refused(f"mail.password_file {self.password_file}: {error.strerror}") from error
        if status.st_uid != os.getuid() or stat.S_IMODE(status.st_mode) & 0o077:
            raise Refused(f"mail.password_file {self.password_file} may be readable by its owner only: run chmod 600 on it")
        return self.password_file.read_text(encoding="utf-8").strip("\r\n")


class LimitsSettings(Section):
    """How much of the machine the service may take."""

    disk_reserve_bytes: int = Field(2_000_000_000, ge=0, description="free space to leave alone; below it the service pauses")
    memory_bytes: int = Field(600_000_000, ge=50_000_000, description="working memory for combining frames")
    threads: int = Field(2, ge=1, le=256, description="threads of one process")
    processes: int = Field(2, ge=1, le=256, description='worker processes for runner.task_runner = "processes" or "dask"')
    niceness: int = Field(
        10, ge=0, le=19, description="how far the work steps back behind the watcher, the pages, your commands and all other programs"
    )
    burst_files: int = Field(500, ge=1, description="files taken in by one ingest run")
    max_file_bytes: int = Field(8_000_000_000, ge=2880, description="larger files are rejected")


class WatchSettings(Section):
    """When a file counts as arrived."""

    settle_s: float = Field(2.0, ge=0, description="size and time must stand still for so long, seconds")
    patience_s: float = Field(300.0, ge=0, description="a file shorter than its header says is taken as incomplete then, seconds")
    sweep_s: float = Field(300.0, gt=0, description="all folders are walked again after so long, seconds: events are only a hint")
    poll_s: float = Field(5.0, gt=0, description="pause between two looks at a polled folder, seconds")
    burst_s: float = Field(1.0, ge=0, description="arrivals within so long are taken in together, seconds")


class NightSettings(Section):
    """When a group or a night is complete."""

    quiet_s: float = Field(1800.0, ge=0, description="a night closes after its noon, when nothing came for so long, seconds")
    group_quiet_s: float = Field(60.0, ge=0, description="calibration frames are combined when none joined the set for so long, seconds")
    remake_nights: int = Field(3, ge=0, description="closed nights whose stale products are remade unasked; older ones wait for `rerun`")


class RetentionSettings(Section):
    """How long things are kept; 0 keeps them for ever.  Raw files are never touched."""

    superseded_days: int = Field(30, ge=0, description="products that a newer one replaced, days")
    logs_days: int = Field(30, ge=0, description="log files, days")
    runs_days: int = Field(90, ge=0, description="history of runs in the Prefect pages, days")
    backups: int = Field(7, ge=0, description="nightly copies of the ledger")


class RunnerSettings(Section):
    """How units of work are run."""

    task_runner: Literal["threads", "processes", "dask"] = Field("threads", description="where tasks of the flows run")
    attempts: int = Field(3, ge=1, le=10, description="tries of a product before it counts as failed for good")
    retry_delay_s: float = Field(10.0, ge=0, description="pause before the first retry, seconds; it doubles each time")
    task_timeout_s: float = Field(3600.0, gt=0, description="time limit of one task, seconds")


class MastersSettings(Section):
    """How calibration frames are combined."""

    method: CombineMethod = Field("median", description="how frames become a master")


class LightsSettings(Section):
    """How lights are reduced and stacked."""

    cosmic_rays: bool = Field(default=True, description="look for cosmic rays in every light (astroscrappy)")
    stack_method: Literal["mean", "median"] = Field("mean", description="how registered lights become a stack")
    register_lights: bool = Field(default=True, description="align the lights of a stack on their stars")


class PhotometrySettings(Section):
    """Sources and their magnitudes."""

    radius_px: float | None = Field(None, gt=0, description="aperture radius, pixels; without it: fwhm_factor x FWHM")
    fwhm_factor: float = Field(1.5, gt=0, description="aperture radius in units of the image's FWHM")
    sky: SkyMode = Field("annulus", description="background of a star: one value for the field, a fit in its subframe, or a ring")
    subframe_px: int = Field(25, ge=4, le=1000, description="half side of a star's subframe, pixels")
    smoothing_px: float = Field(0.0, ge=0, description="Gaussian sigma for detection and profile, pixels; 0: detection matched to stars")
    detection_sigma: float = Field(5.0, gt=0, description="detection threshold in units of the background noise")
    star_figures: int = Field(5, ge=0, le=200, description="figures of the brightest stars of each stack (aperture, profile, fit)")


class PlateSolvingSettings(Section):
    """Plate solutions by astrometry.net's solve-field, for lights whose header has no valid world coordinates."""

    enabled: bool = Field(default=False, description="solve lights without valid world coordinates; needs solve-field and index files")
    program: str = Field("solve-field", min_length=1, description="the solver: a name that is looked for, or a path")
    index_folder: ConfigPath | None = Field(None, description="folder of the index files; without it: where packages put them")
    time_box_s: float = Field(30.0, ge=1, le=3600, description="what the solver may take for one light, seconds")
    scale_low: float | None = Field(
        None, gt=0, description="smallest scale that is believed, arcsec/pixel; without it: the header's, else any"
    )
    scale_high: float | None = Field(None, gt=0, description="largest scale that is believed, arcsec/pixel")
    radius_deg: float = Field(5.0, gt=0, le=180, description="how far the header's pointing may be off, degrees")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.scale_low is not None and self.scale_high is not None and self.scale_low >= self.scale_high:
            raise ValueError(f"scale_low = {self.scale_low:g} is not below scale_high = {self.scale_high:g}")
        return self


class LedgerSettings(Section):
    """The database of everything that was ever seen."""

    url: str = Field("", description="database; empty: SQLite in the state folder; postgresql+psycopg://user@host/name for PostgreSQL")


class StateSettings(Section):
    """The service's own files."""

    root: ConfigPath = Field(Path("state"), description="folder of ledger, logs, locks and Prefect's database; on a local disk")


def is_loopback(address: str) -> bool:
    """Does the address reach this machine only?  A name that merely begins like one (127.example.org) does not."""
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"


class PrefectSettings(Section):
    """The Prefect server that `nightcrew up` runs, or one that exists."""

    address: str = Field("127.0.0.1", description="address that the server listens on; other than loopback only with auth")
    port: int = Field(4200, ge=0, le=65535, description="its port; 0: any free one")
    api_url: str = Field("", description="use this server instead of starting one, such as http://host:4200/api")
    auth: SecretStr | None = Field(None, exclude=True, description="only from the environment")
    pool: str = Field("", description="also register the flows on this work pool, for workers on other machines")

    @model_validator(mode="after")
    def _closed_door(self) -> Self:
        if self.auth is not None and not all(self.auth.get_secret_value().partition(":")):
            raise ValueError("NIGHTCREW_PREFECT__AUTH has to be user:password, neither of them empty")
        if not is_loopback(self.address) and self.auth is None:
            raise ValueError(
                "the Prefect server hands out stored secrets to anyone who reaches it: "
                f"set NIGHTCREW_PREFECT__AUTH=user:password to listen on {self.address!r}, or keep address = '127.0.0.1'"
            )
        return self


class Settings(BaseSettings):
    """All options.  ``Settings()`` are the defaults with the environment; ``Settings.load()`` reads the file, too."""

    model_config = SettingsConfigDict(
        env_prefix="NIGHTCREW_", env_nested_delimiter="__", extra="forbid", frozen=True, validate_default=True, case_sensitive=False
    )

    site: SiteSettings = SiteSettings()
    folders: tuple[FolderSettings, ...] = (FolderSettings(),)
    products: ProductsSettings = ProductsSettings()
    instruments: InstrumentsSettings = InstrumentsSettings()
    reports: ReportsSettings = ReportsSettings()
    mail: MailSettings = MailSettings()
    limits: LimitsSettings = LimitsSettings()
    watch: WatchSettings = WatchSettings()
    night: NightSettings = NightSettings()
    retention: RetentionSettings = RetentionSettings()
    runner: RunnerSettings = RunnerSettings()
    masters: MastersSettings = MastersSettings()
    lights: LightsSettings = LightsSettings()
    photometry: PhotometrySettings = PhotometrySettings()
    plate_solving: PlateSolvingSettings = PlateSolvingSettings()
    sensor: SensorSettings = SensorSettings()
    lab: LabSettings = LabSettings()
    campaign: CampaignSettings = CampaignSettings()
    mkid: MkidSettings = MkidSettings()
    ledger: LedgerSettings = LedgerSettings()
    state: StateSettings = StateSettings()
    prefect: PrefectSettings = PrefectSettings()

    _file: Path | None = PrivateAttr(None)

    @model_validator(mode="after")
    def _apart(self) -> Self:
        mixed = mixed_folders(self.folders)
        if mixed:
            raise ValueError(mixed)
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment first, then what was given (the file)."""
        del settings_cls, dotenv_settings, file_secret_settings
        return env_settings, init_settings

    @classmethod
    def load(cls, path: Path | str | None = None) -> Settings:
        """Settings of the file ``path``, else of $NIGHTCREW_CONFIG, else of ./nightcrew.toml if it exists, else the defaults.

        Paths come back absolute.  Raises ``Refused`` naming file, line, rule and the nearest valid key.
        """
        from nightcrew.settings_file import load

        return load(path)

    @property
    def file(self) -> Path | None:
        """The file that the settings came from."""
        return self._file

    @property
    def ledger_url(self) -> str:
        """The ledger's database as an SQLAlchemy URL."""
        return self.ledger.url or f"sqlite:///{self.state.root / 'ledger.sqlite'}"

    def anchored(self, base: Path, file: Path | None = None) -> Settings:
        """The same settings with every relative path made absolute from the folder ``base``."""
        changed: Settings = self.model_copy(update=_anchored_fields(self, base))
        changed._file = file
        mixed = mixed_folders(changed.folders)
        if mixed:
            raise Refused(mixed)
        return changed


def _anchored_fields(model: BaseModel, base: Path) -> dict[str, Any]:
    return {name: _anchor(getattr(model, name), base) for name in type(model).model_fields}


def _anchor(value: Any, base: Path) -> Any:
    if isinstance(value, Path):
        return base / value
    if isinstance(value, BaseModel):
        return value.model_copy(update=_anchored_fields(value, base))
    if isinstance(value, tuple):
        return tuple(_anchor(item, base) for item in value)
    return value

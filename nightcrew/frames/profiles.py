"""Instrument profiles: what a camera's headers mean, as data.

A profile is one TOML file.  Those in ``nightcrew/frames/instruments`` come with the program; the user's stand in a
folder beside the configuration.  A profile holds only what differs from the one that it ``extends`` (``generic`` when it
names none; a user's file with the name of a built-in profile mends that one).  ``generic.toml`` documents every table.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Mapping
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from nightcrew.errors import Refused
from nightcrew.frames.model import FrameKind
from nightcrew.frames.text import clean_text
from nightcrew.io.headers import Hdu

GENERIC = "generic"
BUILT_IN = Path(__file__).parent / "instruments"
BiasPolicy = Literal["skip", "block", "wait", "model"]
DarkPolicy = Literal["scale", "skip", "block", "wait", "model"]
FlatPolicy = Literal["skip", "block", "wait"]
Ages = tuple[float, float, float]
Positive = Annotated[float, Field(gt=0)]
_NOT_A_LETTER_OR_DIGIT = re.compile(r"[^a-z0-9]+")


class Table(BaseModel):
    """Base of every table of a profile: unknown keys are refused and nothing changes after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def _compiled(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"{pattern!r} is no regular expression: {error}") from error
    return pattern


def _one_group(pattern: str) -> str:
    if re.compile(_compiled(pattern)).groups < 1:
        raise ValueError(f"{pattern!r} needs a group that holds the number, such as 'exp(\\d+)s'")
    return pattern


class Keyword(Table):
    """One header keyword: the unit of its number ("" when the header must say) and the values that mean "no value"."""

    keyword: Annotated[str, AfterValidator(lambda text: text.strip().upper().removeprefix("HIERARCH ")), Field(min_length=1)]
    unit: str = ""
    missing: tuple[float | str, ...] = ()


def _keyword(value: Any) -> Any:
    return {"keyword": value} if isinstance(value, str) else value


KeywordList = tuple[Annotated[Keyword, BeforeValidator(_keyword)], ...]


class Keywords(Table):
    """For each normalised value the keywords that may hold it, best first."""

    kind: KeywordList = ()
    processed: KeywordList = ()  # presence alone says that the frame is no longer raw
    combined: KeywordList = ()  # numbers of frames: more than 1 says that the image was combined of several
    bias_subtracted: KeywordList = ()
    start: KeywordList = ()
    time: KeywordList = ()
    julian: KeywordList = ()
    exposure: KeywordList = ()
    temperature: KeywordList = ()
    set_temperature: KeywordList = ()
    filter: KeywordList = ()
    target: KeywordList = ()
    ra: KeywordList = ()
    dec: KeywordList = ()
    airmass: KeywordList = ()
    gain: KeywordList = ()
    gain_setting: KeywordList = ()
    gain_e_per_adu: KeywordList = ()
    offset_setting: KeywordList = ()
    read_noise_e: KeywordList = ()
    saturation_adu: KeywordList = ()
    bayer: KeywordList = ()
    readout_mode: KeywordList = ()
    binning: KeywordList = ()
    binning_x: KeywordList = ()
    binning_y: KeywordList = ()
    window_x: KeywordList = ()  # 0-based, binned pixels
    window_y: KeywordList = ()
    window_section: KeywordList = ()  # [x1:x2,y1:y2], 1-based, unbinned pixels
    trim: KeywordList = ()
    overscan: KeywordList = ()
    sequence: KeywordList = ()
    camera: KeywordList = ()
    serial: KeywordList = ()
    detector: KeywordList = ()


class NamePattern(Table):
    """What a file name (or the name of its folder) says about the kind of frame, and how far it is believed."""

    pattern: Annotated[str, AfterValidator(_compiled)]
    kind: FrameKind
    part: Literal["name", "folder"] = "name"
    use: Literal["note", "missing", "replace"] = "note"
    header: tuple[FrameKind, ...] = ("light",)  # with "replace": the kinds of the header that it overrules


class ExposurePattern(Table):
    """Where a file name gives the exposure; group 1 holds the number, group 2 the unit when there is one."""

    pattern: Annotated[str, AfterValidator(_one_group)]
    unit: Literal["s", "ms", "us"] = "s"
    use: Literal["note", "missing"] = "note"


class FileName(Table):
    """Patterns of file names, case-insensitive."""

    kind: tuple[NamePattern, ...] = ()
    exposure: tuple[ExposurePattern, ...] = ()


class Values(Table):
    """What spelled values mean.

    Keys of ``kind`` are compared without case, blanks and punctuation; ``"KEYWORD=value"`` binds to one keyword.
    """

    kind: dict[str, FrameKind] = {}
    default_kind: FrameKind | Literal[""] = ""  # of a frame that nothing names
    filter: dict[str, str] = {}

    @cached_property
    def kinds(self) -> dict[str, FrameKind]:
        """``kind`` with its keys spelled as :func:`canonical_value` does."""
        return {canonical_key(key): kind for key, kind in self.kind.items()}


@lru_cache(maxsize=4096)
def canonical_value(text: str) -> str:
    """Lower case, letters and digits only: ``"Flat Field"`` and ``"FLAT-FIELD"`` are one."""
    return _NOT_A_LETTER_OR_DIGIT.sub("", text.lower())


def canonical_key(key: str) -> str:
    """As :func:`canonical_value`, with the keyword of ``"PICTTYPE=1"`` kept apart."""
    keyword, equals, value = key.partition("=")
    return f"{keyword.strip().upper()}={canonical_value(value)}" if equals else canonical_value(key)


class Layout(Table):
    """Where the image stands in the file and which part of it counts.

    ``trim`` and ``overscan``: ``"header"``, ``"none"`` or a section ``"[x1:x2,y1:y2]"`` (1-based, inclusive).
    """

    extension: int | str | None = None
    trim: str = "header"
    overscan: str = "header"


class Detector(Table):
    """Numbers of the detector, used where the header lacks them, or instead of the header's with ``prefer = "profile"``."""

    prefer: Literal["header", "profile"] = "header"
    gain_means: Literal["auto", "setting", "e_per_adu"] = "auto"
    gain_e_per_adu: Positive | None = None
    read_noise_e: Positive | None = None
    saturation_adu: Positive | None = None
    bayer: Literal["", "RGGB", "BGGR", "GRBG", "GBRG"] = ""


class Clock(Table):
    """What a time without a zone means: ``UTC``, ``local`` (the site's) or an offset such as ``+02:00``; and which moment it is."""

    zone: Annotated[str, Field(pattern=r"^(UTC|local|[+-]\d\d:[0-5]\d)$")] = "UTC"
    refers_to: Literal["start", "middle", "end"] = "start"


SetUpWord = Literal["camera", "detector", "gain_setting", "offset_setting", "readout_mode", "binning", "window", "shift_bits"]


def _plain(value: Any) -> Any:
    """A number as the text that headers are normalised to."""
    return f"{value:.6g}" if isinstance(value, int | float) and not isinstance(value, bool) else value


class Rules(Table):
    """How frames of the instrument find their calibrations.  Ages are for the grades A, B and C; older is never used."""

    temperature_cluster_c: Positive = 1.0  # a wider gap between sorted temperatures splits a night's frames
    temperature_a_c: Annotated[float, Field(ge=0)] = 1.0
    temperature_b_c: Annotated[float, Field(ge=0)] = 5.0
    exposure_tolerance: Annotated[float, Field(ge=0, lt=1)] = 0.001  # relative
    bias_age_days: Ages = (30.0, 90.0, 365.0)
    dark_age_days: Ages = (30.0, 90.0, 365.0)
    flat_age_days: Ages = (7.0, 30.0, 180.0)
    model_age_days: tuple[float, float] = (365.0, 1095.0)  # of a laboratory's models: older than the first D, than the second not used
    minimum_bias: Annotated[int, Field(ge=1)] = 3
    minimum_dark: Annotated[int, Field(ge=1)] = 3
    minimum_flat: Annotated[int, Field(ge=1)] = 3
    flat_minimum_fraction: Annotated[float, Field(ge=0, le=1)] = 0.05  # of saturation
    flat_maximum_fraction: Annotated[float, Field(ge=0, le=1)] = 0.9
    bias_missing: BiasPolicy = "skip"
    dark_missing: DarkPolicy = "scale"
    flat_missing: FlatPolicy = "skip"
    dark: Literal["exact", "linear"] = "exact"
    laboratory: str = ""  # laboratory set whose bias and dark models serve the camera where a policy is "model"
    laboratory_setup: dict[SetUpWord, Annotated[str, BeforeValidator(_plain)]] = {}  # what its frames do not state themselves

    @model_validator(mode="after")
    def _agree(self) -> Rules:
        """Refuse rules that would grade in silence otherwise than they say."""
        for name in ("bias_age_days", "dark_age_days", "flat_age_days"):
            if list(getattr(self, name)) != sorted(getattr(self, name)):
                raise ValueError(f"{name}: the ages for grades A, B and C must not fall")
        for lower, upper in (("temperature_a_c", "temperature_b_c"), ("flat_minimum_fraction", "flat_maximum_fraction")):
            if getattr(self, lower) > getattr(self, upper):
                raise ValueError(f"{lower} is above {upper}")
        for name in ("bias_missing", "dark_missing"):
            if getattr(self, name) == "model" and not self.laboratory:
                raise ValueError(f'{name} = "model": laboratory must name the set whose models are meant')
        return self


class Profile(Table):
    """One instrument profile, complete: everything that it did not say is filled from what it extends."""

    name: str = ""
    description: str = ""
    instrument: str = ""  # name of the instrument for scopes and pages; "" = the camera's own name
    extends: str = ""
    match: tuple[dict[str, str], ...] = ()
    keywords: Keywords = Keywords()
    values: Values = Values()
    filename: FileName = FileName()
    layout: Layout = Layout()
    detector: Detector = Detector()
    clock: Clock = Clock()
    rules: Rules = Rules()

    @cached_property
    def used_keywords(self) -> frozenset[str]:
        """Every header keyword that the profile reads."""
        return frozenset(entry.keyword for field in Keywords.model_fields for entry in getattr(self.keywords, field))


def load_profiles(user_dir: Path | None) -> dict[str, Profile]:
    """All profiles by name: the built-in ones and those of ``user_dir`` (which need not exist).

    Raises :class:`Refused` with file, line, key, rule and the nearest valid key when a file is wrong.
    """
    from nightcrew.frames.profile_files import read_folder, resolve

    built_in = read_folder(BUILT_IN)
    own = read_folder(user_dir) if user_dir is not None else {}
    names = sorted({*built_in, *own})
    return {name: resolve(name, built_in, own) for name in names}


def choose_profile(hdus: Iterable[Hdu], profiles: Mapping[str, Profile], wanted: str | None) -> Profile:
    """The profile ``wanted`` by name, else the one whose ``[[match]]`` fits the header best (most conditions, then name).

    ``wanted`` None, "" or "auto" leaves the choice to the header; ``generic`` is taken when none fits.  Raises
    :class:`Refused` when there is no profile of the wanted name.
    """
    if wanted and wanted != "auto":
        if wanted in profiles:
            return profiles[wanted]
        from nightcrew.frames.profile_files import nearest

        raise Refused(f"there is no instrument profile {wanted!r}{nearest(wanted, profiles)}; known: {', '.join(sorted(profiles))}")
    headers = tuple(hdus)
    best, best_score = profiles[GENERIC], 0
    for name in sorted(profiles):
        score = max((_score(conditions, headers) for conditions in profiles[name].match), default=0)
        if score > best_score:
            best, best_score = profiles[name], score
    return best


def _score(conditions: Mapping[str, str], hdus: tuple[Hdu, ...]) -> int:
    """Number of conditions when all hold, else 0."""
    return len(conditions) if all(_holds(key.upper(), pattern, hdus) for key, pattern in conditions.items()) else 0


def _holds(keyword: str, pattern: str, hdus: tuple[Hdu, ...]) -> bool:
    for hdu in hdus[:3]:  # the primary header and the first extensions name the camera
        text = clean_text(hdu.cards.get(keyword))
        if text and fnmatch.fnmatchcase(text.lower(), pattern.lower()):
            return True
    return False

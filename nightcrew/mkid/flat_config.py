"""The older configuration of a flat field, ``name = value`` a line: typed, with what is required and what depends on another."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from nightcrew.errors import RejectedInput, TransientError
from nightcrew.io.source import shown
from nightcrew.mkid.flatcal import FlatOptions

_MOST_BYTES = 1 << 20
_LINE = re.compile(r"\s*([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*?)\s*")
_STAMP = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,99}")  # becomes part of a file name
_REQUIRED = ("run", "date", "flatCalTstamp", "flatObsTstamps", "wvlCalFile", "flatPath", "calSolnPath")


@dataclass(frozen=True, kw_only=True)
class FlatConfig:
    """Names as in the older configuration; see :func:`read_flat_config`."""

    run: str
    date: str  # YYYYMMDD: folder of the flats below flatPath
    flatCalTstamp: str  # noqa: N815  the older name; what the solution is called
    flatObsTstamps: tuple[str, ...]  # noqa: N815  tables, without .h5
    wvlCalFile: str  # noqa: N815  wavelength solution, absolute or below calSolnPath[/run][/wvlDate]
    wvlDate: str = ""  # noqa: N815  needed unless wvlCalFile is an absolute path
    flatPath: str  # noqa: N815  folder of the flats' tables, or of folders by date
    calSolnPath: str  # noqa: N815  folder of the solutions
    intTime: float = 5.0  # noqa: N815  s
    expTime: float = 30.0  # noqa: N815  s
    deadtime: float = 1e-6  # s
    energyBinWidth: float = 0.01  # noqa: N815  eV
    wvlStart: float = 700.0  # noqa: N815  nm
    wvlStop: float = 1500.0  # noqa: N815  nm
    countRateCutoff: float = 20_000.0  # noqa: N815  photons/s
    fractionOfChunksToTrim: float = 0.0  # noqa: N815  the older name
    timeMaskFileName: str = ""  # noqa: N815  pixel masks or cosmic rays, applied
    timeSpacingCut: None = None  # noqa: N815  nothing else is known

    def options(self) -> FlatOptions:
        """The same as options of the flat field."""
        return FlatOptions(
            chunk_s=self.intTime,
            most_s=self.expTime,
            dead_time_s=self.deadtime,
            energy_bin_ev=self.energyBinWidth,
            low_nm=self.wvlStart,
            high_nm=self.wvlStop,
            most_cps=self.countRateCutoff,
            trim_fraction=self.fractionOfChunksToTrim,
        )

    def tables(self) -> list[Path]:
        """Photon tables of the flats."""
        names = [f"{stamp}.h5" for stamp in self.flatObsTstamps]
        return [_first((Path(self.flatPath) / self.date, Path(self.flatPath)), name) for name in names]

    def wavelength_solution(self) -> Path:
        """The wavelength solution."""
        base = Path(self.calSolnPath)
        return _first((base / self.run / self.wvlDate, base / self.wvlDate, base), self.wvlCalFile)

    def time_mask(self) -> Path | None:
        """The time mask, when there is one."""
        return _first((Path(self.calSolnPath), Path(self.flatPath)), self.timeMaskFileName) if self.timeMaskFileName else None

    def solution(self) -> Path:
        """Where the flat field is written."""
        return Path(self.calSolnPath) / f"flatsol_{self.flatCalTstamp}.h5"


def _first(folders: tuple[Path, ...], name: str) -> Path:
    return next((folder / name for folder in folders if (folder / name).is_file()), folders[-1] / name)


def read_flat_config(path: Path) -> FlatConfig:
    """Read a configuration; ``RejectedInput`` names what is missing, unknown, or of another type."""
    try:
        data = path.read_bytes() if path.stat().st_size <= _MOST_BYTES else b"="
    except OSError as error:
        raise TransientError(f"{shown(path)}: cannot be read ({error.strerror})") from error
    return parse_flat_config(data.decode("utf-8", "replace"), shown(path))


def parse_flat_config(text: str, name: str) -> FlatConfig:
    """As :func:`read_flat_config`, from text.  Values are Python literals: quoted text, numbers, lists, None."""
    values: dict[str, Any] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        found = _LINE.fullmatch(line)
        if not found:
            raise RejectedInput(f"{name}: line {number} is not `name = value`")
        if found[1] in values:
            raise RejectedInput(f"{name}: line {number} sets {found[1]} again")
        values[found[1]] = _literal(found[2], f"{name}: line {number}")
    return _checked(values, name)


def _literal(text: str, where: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
        raise RejectedInput(f"{where} has no value that can be read; texts stand in quotes") from error


def _checked(values: Mapping[str, Any], name: str) -> FlatConfig:
    known = {one.name: one for one in fields(FlatConfig)}
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise RejectedInput(f"{name}: {unknown[0]!r} is no parameter of a flat field ({', '.join(known)})")
    absent = [one for one in _REQUIRED if one not in values]
    if absent:
        raise RejectedInput(f"{name}: {', '.join(absent)} must be given")
    if not Path(str(values["wvlCalFile"])).is_absolute() and not values.get("wvlDate"):
        raise RejectedInput(f"{name}: wvlDate must be given, unless wvlCalFile is an absolute path")
    return FlatConfig(**{key: _typed(key, str(known[key].type), value, name) for key, value in values.items()})


def _typed(key: str, kind: str, value: Any, name: str) -> Any:
    if kind == "None":
        if value is not None:
            raise RejectedInput(f"{name}: {key} can only be None")
        return None
    if kind == "float":
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise RejectedInput(f"{name}: {key} is a number, not {value!r}")
        return float(value)
    if key == "timeMaskFileName" and value is None:
        return ""
    if kind.startswith("tuple"):
        stamps = [value] if isinstance(value, str | int) else value
        if not isinstance(stamps, list | tuple) or not stamps or isinstance(value, bool):
            raise RejectedInput(f"{name}: {key} is a list of names, not {value!r}")
        return tuple(_text(key, one, name, stamp=True) for one in stamps)
    return _text(key, value, name, stamp=key in ("run", "date", "flatCalTstamp", "wvlDate"))


def _text(key: str, value: Any, name: str, *, stamp: bool) -> str:
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if not isinstance(text, str) or not text or "\0" in text:
        raise RejectedInput(f"{name}: {key} is text, not {value!r}")
    if stamp and not _STAMP.fullmatch(text):
        raise RejectedInput(f"{name}: {key} is a name of letters, digits and _ . + -, not {value!r}")
    return text

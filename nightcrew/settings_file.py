"""Reading and writing ``nightcrew.toml``: refusals name file, line, rule and the nearest valid key; the written file is
made from the field descriptions of :mod:`nightcrew.settings`, so that it cannot drift from them."""

from __future__ import annotations

import difflib
import json
import os
import re
import textwrap
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails, PydanticUndefined
from pydantic_settings import SettingsError

from nightcrew.errors import Refused
from nightcrew.io.patience import answers
from nightcrew.settings import Settings

FILE_NAME = "nightcrew.toml"
PREFIX = "NIGHTCREW_"
OTHER_VARIABLES = frozenset({"NIGHTCREW_CONFIG"})  # ours, but no option
SECRETS = {("mail", "password"), ("prefect", "auth"), ("reports", "password")}
_ANSWER_S = 5.0  # how long a watched folder is waited for that does not answer
_PREAMBLE = """\
# The configuration of Nightcrew.  Every option stands here with its default; change what you need, delete the rest.
# The environment overrides: NIGHTCREW_<SECTION>__<KEY>.  Relative paths count from the folder of this file.
"""
_HEADER = re.compile(r"^\s*(\[\[?)\s*([\w.\-\"' ]+?)\s*\]\]?\s*(#.*)?$")
_KEY = re.compile(r"^\s*([\w\-]+|\"[^\"]*\"|'[^']*')\s*(?:\.|=)")


def load(path: Path | str | None = None) -> Settings:
    """See :meth:`nightcrew.settings.Settings.load`."""
    file = _find(path)
    _check_environment(os.environ)
    if file is None:
        return _validated({}, "", None).anchored(Path.cwd())
    text = _text(file)
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise Refused(f"{file}: this is not TOML: {error}") from error
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, brackets in brackets
        raise Refused(f"{file}: this cannot be read as TOML: {error}") from error
    for section, key in SECRETS:
        table = values.get(section)
        if isinstance(table, dict) and key in table:
            raise Refused(
                f"{_place(file, text, (section, key))}: {section}.{key}: a secret may not stand in this file; "
                f"set {PREFIX}{section.upper()}__{key.upper()} in the environment"
            )
    settings = _validated(values, text, file).anchored(file.parent.absolute(), file)
    _check_folders(settings, file, text)
    return settings


def _check_folders(settings: Settings, file: Path, text: str) -> None:
    """Refuse watched folders that lie in one another, or in our own: a file would be seen twice, or products as raw frames."""
    watched = _real([folder.path for folder in settings.folders])
    ours = {"products.root": settings.products.root, "reports.root": settings.reports.root, "state.root": settings.state.root}
    for place, path in enumerate(watched):
        where = f"{_place(file, text, ('folders', place, 'path'))}: folders.{place}.path"
        for other, outer in enumerate(watched):
            if other != place and path.is_relative_to(outer) and (settings.folders[other].recursive or path == outer):
                raise Refused(f"{where}: {path} lies in the watched folder {outer}; its files would be seen twice")
        for name, root in ours.items():
            if path.is_relative_to(os.path.realpath(root)):
                raise Refused(f"{where}: {path} lies in {name}; our own files would be taken for raw frames")


def _real(paths: Sequence[Path]) -> list[Path]:
    """The real paths; one whose server is gone, so that nothing answers, stands as it is written."""
    found = answers({path: partial(os.path.realpath, path) for path in paths}, _ANSWER_S)
    real = [found.get(path) for path in paths]
    return [path if isinstance(one, Exception | None) else Path(one) for path, one in zip(paths, real, strict=True)]


def _find(path: Path | str | None) -> Path | None:
    if path is None and os.environ.get("NIGHTCREW_CONFIG"):
        path = os.environ["NIGHTCREW_CONFIG"]
    if path is not None:
        try:
            return Path(path).expanduser().absolute()
        except RuntimeError as error:
            raise Refused(f"{str(path)!r} names the folder of a user whom this machine does not know") from error
    default = Path(FILE_NAME)
    return default.absolute() if default.exists() else None


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise Refused(f"{file}: not UTF-8 text at byte {error.start}") from error
    except OSError as error:
        raise Refused(f"cannot read the configuration {file}: {error.strerror}; `nightcrew init` writes one") from error


def _check_environment(environment: Mapping[str, str]) -> None:
    """Refuse a NIGHTCREW_ variable that sets nothing: a misspelt override is worse than none."""
    sections = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    for name in sorted(environment):
        if name.startswith(PREFIX) and name not in OTHER_VARIABLES and name.split("__")[0].upper() not in sections:
            near = _nearest(name.split("__")[0], sorted(sections))
            raise Refused(f"environment variable {name}: no section of the settings has this name{near}")


def _validated(values: dict[str, Any], text: str, file: Path | None) -> Settings:
    try:
        return Settings(**values)
    except SettingsError as error:
        raise Refused(f"environment: {error} (lists and tables are written as JSON)") from error
    except ValidationError as error:
        lines = [_sentence(detail, values, text, file) for detail in error.errors(include_url=False)]
        raise Refused("\n".join(lines)) from error


def _sentence(detail: ErrorDetails, values: dict[str, Any], text: str, file: Path | None) -> str:
    location = tuple(part for part in detail["loc"] if isinstance(part, str | int))
    names = ".".join(str(part) for part in location)
    rule = detail["msg"].removeprefix("Value error, ")
    if not location:  # a rule about several places, such as folders of different kinds in one another
        return f"{file or 'the settings'}: {rule}"
    if file is not None and _given(values, location):
        origin = _place(file, text, location)
    else:
        origin = "environment variable " + PREFIX + "__".join(str(part).upper() for part in location)
    if detail["type"] == "extra_forbidden":
        valid = _valid_keys(location[:-1])
        return f"{origin}: {names}: there is no such key{_nearest(str(location[-1]), valid)}; valid here: {', '.join(valid)}"
    shown = "" if isinstance(detail["input"], dict | BaseModel) else f" (given: {detail['input']!r})"
    return f"{origin}: {names}: {rule}{shown}"


def _given(values: Any, location: tuple[str | int, ...]) -> bool:
    """Whether the file holds this place; an error of a whole section belongs to it as well."""
    for part in location:
        inside = part in values if isinstance(values, dict) else isinstance(values, list) and isinstance(part, int) and part < len(values)
        if not inside:
            return False
        values = values[part]
    return bool(location)


def _nearest(word: str, valid: list[str]) -> str:
    lowered = {name.lower(): name for name in valid}
    near = difflib.get_close_matches(word.lower(), list(lowered), n=1, cutoff=0.5)
    return f"; did you mean {lowered[near[0]]!r}?" if near else ""


def _model_of(location: tuple[str | int, ...]) -> type[BaseModel]:
    model: type[BaseModel] = Settings
    for part in location:
        if isinstance(part, str) and part in model.model_fields:
            model = _section_type(model.model_fields[part]) or model
    return model


def _valid_keys(location: tuple[str | int, ...]) -> list[str]:
    head = str(location[0]) if location else ""
    return [name for name in _model_of(location).model_fields if (head, name) not in SECRETS]


def _section_type(field: FieldInfo) -> type[BaseModel] | None:
    for candidate in (field.annotation, *get_args(field.annotation)):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
    return None


def _place(file: Path, text: str, location: tuple[str | int, ...]) -> str:
    line = line_of(text, location)
    return f"{file}:{line}" if line else str(file)


def line_of(text: str, location: tuple[str | int, ...]) -> int:
    """1-based line of the key at ``location`` (such as ``("folders", 1, "path")``) in TOML ``text``.

    Falls back on the line of the nearest enclosing table; 0 when there is none.
    """
    best, best_depth = 0, 0
    for line, path in _lines(text):
        depth = len(path)
        if path == location[:depth] and depth > best_depth:
            best, best_depth = line, depth
    return best


def _lines(text: str) -> Iterator[tuple[int, tuple[str | int, ...]]]:
    """(line, path) of every table header and key; a scan by line is enough for pointing a person at the place."""
    table: tuple[str | int, ...] = ()
    counts: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if header := _HEADER.match(line):
            name = header.group(2)
            table = tuple(part.strip().strip("\"'") for part in name.split("."))
            if header.group(1) == "[[":
                table = (*table, counts.get(name, 0))
                counts[name] = counts.get(name, 0) + 1
            yield number, table
        elif key := _KEY.match(line):
            yield number, (*table, key.group(1).strip("\"'"))


def default_file() -> str:
    """Text of a ``nightcrew.toml`` with every option at its default, each with its description."""
    parts = [_PREAMBLE]
    for name, field in Settings.model_fields.items():
        section = _section_type(field)
        if section is None:
            continue
        many = isinstance(field.default, tuple)
        about = textwrap.fill(" ".join((section.__doc__ or "").split()), 110, initial_indent="# ", subsequent_indent="# ")
        head = f"[[{name}]]" if many else f"[{name}]"
        rows = [_row(name, key, option) for key, option in section.model_fields.items()]
        parts.append("\n".join([about, head, *filter(None, rows)]) + "\n")
    return "\n".join(parts)


def file_of(settings: Settings) -> str:
    """Text of a file that says what these settings say: the watched folders, and every option that is not at its default.

    Secrets are left out: they never stand in a file.
    """
    parts = []
    for name, field in Settings.model_fields.items():
        value = getattr(settings, name)
        for table in value if isinstance(value, tuple) else (value,):
            default = {} if isinstance(value, tuple) else field.default.model_dump()
            rows = {key: given for key, given in table.model_dump().items() if given is not None and given != default.get(key)}
            if rows:
                head = f"[[{name}]]" if isinstance(value, tuple) else f"[{name}]"
                parts.append("\n".join([head, *(f"{key} = {_toml(given)}" for key, given in rows.items())]) + "\n")
    return "\n".join(parts)


def _row(section: str, key: str, option: FieldInfo) -> str:
    about = f"  # {option.description}{_choices(option)}"
    if (section, key) in SECRETS:
        return f"# {PREFIX}{section.upper()}__{key.upper()} in the environment: {key}, {option.description}"
    if option.default is None:
        return f"# {key} ={about}"
    if option.default is PydanticUndefined:
        raise TypeError(f"{section}.{key} has no default")
    return f"{key} = {_toml(option.default)}{about}"


def _choices(option: FieldInfo) -> str:
    choices = [choice for choice in get_args(option.annotation) if isinstance(choice, str)]
    return f" ({' | '.join(choices)})" if choices else ""


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return f"{value:_}" if value >= 10_000 else str(value)
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, tuple):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    return json.dumps(str(value), ensure_ascii=False)

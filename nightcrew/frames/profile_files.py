"""Reading profile files: what they extend, and refusals that name file, line, key and the nearest valid key."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from nightcrew.errors import Refused
from nightcrew.frames.profiles import GENERIC, Profile


@dataclass(frozen=True, slots=True)
class ProfileFile:
    """A profile file as read: nothing is checked but that it is TOML."""

    path: Path
    text: str
    values: dict[str, Any]


def read_folder(folder: Path) -> dict[str, ProfileFile]:
    """The ``*.toml`` files of a folder by profile name (the name of the file); empty when the folder is absent."""
    if not folder.is_dir():
        return {}
    return {path.stem: _read(path) for path in sorted(folder.glob("*.toml")) if not path.name.startswith(".")}


def _read(path: Path) -> ProfileFile:
    try:
        text = path.read_text(encoding="utf-8")
        return ProfileFile(path, text, tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise Refused(f"{path}: this is not TOML: {error}") from error
    except UnicodeDecodeError as error:
        raise Refused(f"{path}: not UTF-8 text at byte {error.start}") from error
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, brackets in brackets
        raise Refused(f"{path}: this cannot be read as TOML: {error}") from error
    except OSError as error:
        raise Refused(f"cannot read the instrument profile {path}: {error.strerror}") from error


def resolve(name: str, built_in: Mapping[str, ProfileFile], own: Mapping[str, ProfileFile]) -> Profile:
    """The complete profile ``name``: its file over what it extends, the user's files over the built-in ones."""
    merged: dict[str, Any] = {}
    chain = _chain(name, built_in, own)
    for place, file in enumerate(chain):
        # A user's file over the built-in one of the same name: the mended profile stays chosen for its camera.
        mends = place > 0 and chain[place - 1].path.stem == file.path.stem
        match = merged.get("match") if mends else None
        merged = _over(merged, file.values)
        if match is not None:
            merged.setdefault("match", match)
    file = chain[-1]
    merged["name"] = name
    try:
        return Profile.model_validate(merged)
    except ValidationError as error:
        raise Refused("\n".join(_sentence(detail, file) for detail in error.errors(include_url=False))) from error


def _chain(name: str, built_in: Mapping[str, ProfileFile], own: Mapping[str, ProfileFile]) -> list[ProfileFile]:
    """The files that make the profile, basis first."""
    chain: list[ProfileFile] = []
    file: ProfileFile | None = own.get(name) or built_in[name]
    while file is not None:
        if file in chain:
            raise Refused(f"{chain[0].path}: extends: the profiles extend each other in a circle")
        chain.insert(0, file)
        file = _basis(file, built_in, own)
    return chain


def _basis(file: ProfileFile, built_in: Mapping[str, ProfileFile], own: Mapping[str, ProfileFile]) -> ProfileFile | None:
    name = file.path.stem
    is_own = own.get(name) is file
    if name == GENERIC and not is_own:
        return None
    wanted = file.values.get("extends")
    if wanted is None:
        wanted = name if is_own and name in built_in else GENERIC
    if not isinstance(wanted, str):
        raise Refused(f"{file.path}: extends: must be the name of a profile")
    found = own.get(wanted) or built_in.get(wanted)
    if found is file and is_own and name in built_in:
        found = built_in[name]
    if found is None:
        known = sorted({*built_in, *own})
        raise Refused(f"{file.path}: extends: there is no profile {wanted!r}{nearest(str(wanted), known)}; known: {', '.join(known)}")
    return found


def _over(basis: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """``values`` over ``basis``: tables are merged key by key, lists and single values replaced; the match stays behind."""
    merged = {key: value for key, value in basis.items() if key not in ("match", "description", "extends")}
    for key, value in values.items():
        old = merged.get(key)
        merged[key] = _over(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def _sentence(detail: ErrorDetails, file: ProfileFile) -> str:
    from nightcrew.settings_file import line_of  # heavy, and needed only to refuse

    location = tuple(part for part in detail["loc"] if isinstance(part, str | int))
    line = line_of(file.text, location)
    place = f"{file.path}:{line}" if line else str(file.path)
    names = ".".join(str(part) for part in location)
    if detail["type"] == "extra_forbidden":
        valid = sorted(_valid_keys(location[:-1]))
        return f"{place}: {names}: there is no such key{nearest(str(location[-1]), valid)}; valid here: {', '.join(valid)}"
    shown = "" if isinstance(detail["input"], dict | BaseModel) else f" (given: {detail['input']!r})"
    return f"{place}: {names}: {detail['msg'].removeprefix('Value error, ')}{shown}"


def _valid_keys(location: tuple[str | int, ...]) -> list[str]:
    model: type[BaseModel] = Profile
    for part in location:
        if isinstance(part, str) and part in model.model_fields:
            model = _table_in(model.model_fields[part].annotation) or model
    return [name for name in model.model_fields if model is not Profile or name != "name"]


def _table_in(annotation: Any) -> type[BaseModel] | None:
    """The table class inside an annotation such as ``tuple[NamePattern, ...]``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for part in get_args(annotation):
        if (found := _table_in(part)) is not None:
            return found
    return None


def nearest(word: str, valid: Iterable[str]) -> str:
    """``"; did you mean 'x'?"`` for the valid word most like ``word``, "" when none is."""
    lowered = {name.lower(): name for name in valid}
    near = difflib.get_close_matches(word.lower(), list(lowered), n=1, cutoff=0.5)
    return f"; did you mean {lowered[near[0]]!r}?" if near else ""

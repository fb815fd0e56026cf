"""The commands that pages and mails offer for copying: put together here, so that each works as it stands."""

from __future__ import annotations

import dataclasses
import json
import operator
import shlex
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

from nightcrew.settings_file import FILE_NAME
from reports.text import shell_word

if TYPE_CHECKING:
    from nightcrew.settings import Settings

T = TypeVar("T")

_ONE, _SEVERAL = "command", "commands"  # the fields of a page's model that hold them


def command(*words: str, options: str = "") -> str:
    """``nightcrew why 'a b.fits'``: the words of a command, each safe in a shell and no option, whatever it holds.

    ``options`` are put behind them as they are: words of our own, never of a file.
    """
    return " ".join(("nightcrew", *map(shell_word, words), *([options] if options else [])))


def own_config(settings: Settings) -> str:
    """The configuration file that asks the ledger of these settings, from whatever folder and environment; "" where there is none.

    That is the one that lies with the ledger itself (of a folder reduced by itself), else the one that the settings came from.
    """
    file = settings.state.root / FILE_NAME
    return str(file if file.is_file() else settings.file or "")


def asking(text: str, config: str) -> str:
    """The command ``text``, asked of the configuration file ``config`` ("": the one that commands take by themselves)."""
    if not config or not text.startswith("nightcrew ") or _names_its_config(text):
        return text
    return f"{text} --config {shell_word(config)}"


def unasked(text: str, config: str) -> str:
    """``text`` (as it is, or in JSON) without the configuration that :func:`asking` put into its commands."""
    option = f" --config {shell_word(config)}"
    forms = {option, json.dumps(option)[1:-1], json.dumps(option, ensure_ascii=False)[1:-1]} if config else set()
    for form in forms:
        text = text.replace(form, "")
    return text


def _names_its_config(text: str) -> bool:
    """Is ``--config`` a word of the command, not a part of a file's name?"""
    return " --config " in text and "--config" in shlex.split(text)


def all_asking(model: T, config: str) -> T:
    """``model`` (a frozen dataclass of a page, or a tuple of such), every command in it asked of ``config``."""
    if not config:
        return model
    if isinstance(model, tuple):
        parts = tuple([part if type(part) in _PLAIN else all_asking(part, config) for part in model])
        return model if all(map(operator.is_, parts, model)) else parts  # type: ignore[return-value]  # a tuple, as the model is
    changed: dict[str, object] = {}
    kind: Any = type(model)
    for name in _fields_of(kind):
        value = getattr(model, name)
        if name == _ONE and isinstance(value, str):
            new: object = asking(value, config)
        elif name == _SEVERAL and isinstance(value, tuple):
            new = tuple(asking(one, config) for one in value)
        else:
            new = value if type(value) in _PLAIN else all_asking(value, config)
        if new is not value:
            changed[name] = new
    return dataclasses.replace(model, **changed) if changed else model  # type: ignore[type-var]  # a dataclass: it has fields


_PLAIN = frozenset({str, int, float, bool, bytes, type(None)})  # most of a page, and none of it holds a command


@cache
def _fields_of(kind: Any) -> tuple[str, ...]:
    """The names of the fields of a class that is a dataclass, () of any other."""
    return tuple(field.name for field in dataclasses.fields(kind)) if dataclasses.is_dataclass(kind) else ()

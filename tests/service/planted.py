"""Faults for a running service.

A copy of this file stands as ``sitecustomize.py`` on the import path of the service under test, so that its processes, which
are the real ones, fail where a test wants them to.  What is to fail stands in the JSON file that $PLANTED_FAULTS names:
a list of ``{"at": "unit" | "scope", "of": "INSTRUMENT", "recipe": "...", "key": "...", "do": "raise" | "die" | "sleep", "s": 1.5}``
(``recipe`` and ``key`` may be absent) and ``{"at": "dispatch"}``, which holds the dispatcher.  It is read at each start of a unit,
of a scope's run and of a dispatcher's look, so a test changes it at will.
Only the standard library is imported here: every Python process of the service begins with this.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any


def _faults() -> list[dict[str, Any]]:
    try:
        found: list[dict[str, Any]] = json.loads(Path(os.environ["PLANTED_FAULTS"]).read_text(encoding="utf-8"))
    except (KeyError, FileNotFoundError):
        return []
    return found


def _fail(at: str, **what: str) -> None:
    for fault in _faults():
        if fault["at"] != at or any(fault.get(name, value) != value for name, value in what.items()):
            continue
        if fault["do"] == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if fault["do"] == "raise":
            raise ZeroDivisionError("planted")
        time.sleep(fault["s"])


def _before_units(module: Any) -> None:
    real = module.unit_for

    def unit_for(recipe: str) -> Any:
        unit = real(recipe)

        def planted(context: Any, planned: Any) -> Any:
            _fail("unit", of=planned.instrument, recipe=planned.recipe, key=planned.key)
            return unit(context, planned)

        return planted

    module.unit_for = unit_for


def _before_scopes(module: Any) -> None:
    real = module.run_scope

    def run_scope(context: Any, scope_id: int, *arguments: Any) -> Any:
        from nightcrew.ledger import scopes

        with context.database.read() as connection:
            instrument = scopes.get(connection, scope_id).instrument
        _fail("scope", of=instrument)
        return real(context, scope_id, *arguments)

    module.run_scope = run_scope


def _before_dispatch(module: Any) -> None:
    real = module.Dispatcher.step

    def step(self: Any) -> None:
        if not any(fault["at"] == "dispatch" for fault in _faults()):
            real(self)

    module.Dispatcher.step = step


def _with_toy_recipes(module: Any) -> None:
    for name, step in (("toy_convert", "convert"), ("toy_sum", "models")):
        module.RECIPES[name] = module.Recipe(name, 1, step, name.replace("_", " "), "toy")


def _with_toy_kind(module: Any) -> None:
    """The kind of $PLANTED_TOY, if any, is the toy of ``tests.support.toy_kind``, of which a copy stands beside this file."""
    kind = os.environ.get("PLANTED_TOY", "")
    if kind:
        module.KINDS[kind] = module.Kind(kind, "toy", "toy_kind", "toy_kind")


_PATCHES = {
    "nightcrew.recipes.catalogue": _with_toy_recipes,
    "tasks.kinds": _with_toy_kind,
    "tasks.registry": _before_units,
    "tasks.executor": _before_scopes,
    "deployments.dispatch": _before_dispatch,
}


class _Loader(importlib.machinery.SourceFileLoader):
    def exec_module(self, module: ModuleType) -> None:
        super().exec_module(module)
        _PATCHES[module.__name__](module)


class _Finder(importlib.abc.MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        del target
        if fullname not in _PATCHES:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path)
        if spec is not None and spec.origin:
            spec.loader = _Loader(fullname, spec.origin)
        return spec


if __name__ == "sitecustomize":
    sys.meta_path.insert(0, _Finder())

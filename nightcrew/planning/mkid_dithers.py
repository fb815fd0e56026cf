"""Which science exposures are combined: those whose lines of the observing log name the same dither."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from nightcrew.mkid.dither_products import dither_of
from nightcrew.mkid.observing_log import LoggedExposure
from nightcrew.planning.model import PlannedProduct
from nightcrew.planning.sets import SetBuilder

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,99}")  # becomes part of a file name


def plan_dithers(
    builder: SetBuilder,
    exposures: Sequence[LoggedExposure],
    tables: Mapping[str, PlannedProduct],
    inputs: Mapping[str, Sequence[str]],
    parameters: Mapping[str, object],
    problems: list[str],
) -> list[PlannedProduct]:
    """A product ``mkid_dither`` for each named dither that has ended: another exposure followed it, or the set is quiet.

    ``tables`` are planned tables by exposure, ``inputs`` the fingerprints of what each science table is read with, itself among them.
    """
    groups: dict[str, list[LoggedExposure]] = {}
    for one in exposures:
        name = dither_of(one.others)
        if one.kind == "science" and name:
            groups.setdefault(name, []).append(one)
    planned = []
    for name, group in groups.items():
        if not _NAME.fullmatch(name):
            problems.append(f"{group[0].name}: {name[:60]!r} is no name for a dither (letters, digits, _ . + -)")
            continue
        ended = any(one.start_us > group[-1].start_us and dither_of(one.others) != name for one in exposures)
        ready = all(one.name in inputs for one in group if one.name not in tables or tables[one.name].status != "failed")
        able = [one for one in group if one.name in inputs]
        if not able or not (builder.quiet() or (ended and ready)):
            continue
        if len(able) < len(group):
            problems.append(f"dither {name}: {len(group) - len(able)} of {len(group)} positions could not be used")
        products = list(dict.fromkeys(print_ for one in able for print_ in inputs[one.name]))
        facts = {"positions": [one.name for one in able]}
        planned.append(builder.add("mkid_dither", name, products=products, parameters=parameters, facts=facts))
    return planned

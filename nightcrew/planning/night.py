"""The plan of a night: which masters, reduced lights, catalogues and stacks should exist now.

``plan_night`` is a pure function of a snapshot and a time.  It names *all* products that should exist, with their
fingerprints, in the order of their making; the executor makes those that are ready, and plans again.
"""

from __future__ import annotations

from nightcrew.planning import lights as light_plans
from nightcrew.planning import masters as master_plans
from nightcrew.planning.builder import Builder
from nightcrew.planning.collector import collector_paused
from nightcrew.planning.copies import changed_copies
from nightcrew.planning.model import Plan, Snapshot


def plan_night(snapshot: Snapshot, as_of: str) -> Plan:
    """The plan of a night scope.

    Parameters
    ----------
    snapshot
        The scope's frames and products, and the masters of other nights.
    as_of
        The time now, ledger text; decides only whether a group of calibration frames is quiet.
    """
    with collector_paused():
        return _plan(snapshot, as_of)


def _plan(snapshot: Snapshot, as_of: str) -> Plan:
    builder = Builder(snapshot, as_of)
    for odd in builder.of_kind.get("other", ()):
        builder.excluded[odd.id] = odd.header.other_reason or "of a kind that no recipe of a night takes"
    copies = changed_copies(builder.of_kind.get("light", ()))
    if copies:
        builder.excluded |= copies
        builder.of_kind["light"] = [light for light in builder.of_kind["light"] if light.id not in copies]
    master_plans.plan_bias(builder)
    master_plans.plan_darks(builder)
    master_plans.plan_thermal(builder)
    master_plans.plan_bad_pixels(builder)
    master_plans.plan_flats(builder)
    master_plans.plan_camera_numbers(builder)
    light_plans.plan_lights(builder)
    light_plans.plan_stacks(builder)
    return builder.plan()

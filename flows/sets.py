"""The flows of sets, one a kind: plan, make, plan again, until nothing is left; then artifacts and, when the set is closed, its page.

As for a night, the parameters are the wish, never the plan: run again, a flow makes exactly what is missing or stale.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from prefect import flow, tags
from prefect.runtime import flow_run

from flows.artifacts import link_to_report, tell_of_rejected, tell_of_set
from flows.executor import make_with_prefect
from flows.night import Step, complain_of_faults, write_report
from flows.opened import workspace
from flows.parent import die_with_parent
from flows.policy import our_task
from flows.signing import sign_run
from flows.tagging import tag_run
from nightcrew.errors import Refused
from nightcrew.ledger import scopes
from nightcrew.ledger.rows import ScopeRow
from tasks.executor import Wish
from tasks.workspace import Workspace


class PlanFailedError(RuntimeError):
    """The rules of a kind of sets failed by a fault of the program; its trace is in the log."""


def set_named(space: Workspace, kind: str, scope: str) -> ScopeRow:
    """The set called ``sensor/set1`` or, with its kind known, ``set1``; ``Refused`` with those that exist when there is none."""
    name = scope.removeprefix(f"{kind}/")
    with space.database.read() as connection:
        found = scopes.find(connection, kind=kind, name=name)
        known = ", ".join(row.title for row in scopes.find(connection, kind=kind)[:10])
    if not found:
        raise Refused(f"there is no set called {kind}/{name}; there are: {known or 'none'}")
    return found[0]


def run_name() -> str:
    """The run's name for people: ``sensor set1``."""
    kind = flow_run.flow_name or "set"
    return f"{kind} {str(flow_run.parameters.get('scope') or '').removeprefix(f'{kind}/')}"


def analyse(kind: str, scope: str, from_step: str, only: Sequence[str], *, retry_failed: bool, outdated: bool) -> dict[str, Any]:
    """Make what is missing or stale of one set; what every flow of this module does."""
    die_with_parent()
    space = workspace()
    sign_run(space.database)
    space.renormalise()
    row = set_named(space, kind, scope)
    tag_run(kind, row.name)
    asked = bool(outdated or from_step or only or retry_failed)  # by a person: what is outdated in an old set is remade, too
    wish = Wish(from_step=from_step, only=tuple(only), retry=retry_failed, outdated=asked)
    with tags(kind, row.name):
        with make_with_prefect(space.settings) as make:
            run = space.run(row.id, wish=wish, make=make)
        if run.busy:
            return {"scope": row.title, "busy": True}
        tell_of_rejected(space, row)
        tell_of_set(space, row)
        page = our_task(write_report, name="write report")(f"report of {row.title}", row.id)
        if page:
            link_to_report(space, page, row.title)
    complain_of_faults(run)
    if run.plan is not None and run.plan.fault:
        raise PlanFailedError(f"the plan of {row.title}: {run.plan.fault}")
    return {"scope": row.title, "made": run.made, "failed": run.failed, "again": run.again, "report": page}


@flow(name="sensor", flow_run_name=run_name, persist_result=False)
def analyse_sensor(
    scope: str, from_step: Step = "", only: list[str] | None = None, retry_failed: bool = False, outdated: bool = False
) -> dict[str, Any]:
    """Characterise a sensor from one set of frames: make what is missing or stale.

    Args:
        scope: The set, such as sensor/set1.
        from_step: Leave out the steps before this one.
        only: Make only these recipes, keys or fingerprints.
        retry_failed: Try again what failed for good.
        outdated: Remake what is outdated in an old set, too (as do the three wishes before).
    """
    return analyse("sensor", scope, from_step, only or (), retry_failed=retry_failed, outdated=outdated)


@flow(name="lab", flow_run_name=run_name, persist_result=False)
def analyse_lab(
    scope: str, from_step: Step = "", only: list[str] | None = None, retry_failed: bool = False, outdated: bool = False
) -> dict[str, Any]:
    """Convert and analyse the attempts of a laboratory folder: make what is missing or stale.

    Args:
        scope: The set, such as lab/set1.
        from_step: Leave out the steps before this one.
        only: Make only these recipes, keys or fingerprints.
        retry_failed: Try again what failed for good.
        outdated: Remake what is outdated in an old set, too (as do the three wishes before).
    """
    return analyse("lab", scope, from_step, only or (), retry_failed=retry_failed, outdated=outdated)


@flow(name="campaign", flow_run_name=run_name, persist_result=False)
def analyse_campaign(
    scope: str, from_step: Step = "", only: list[str] | None = None, retry_failed: bool = False, outdated: bool = False
) -> dict[str, Any]:
    """Analyse an irradiation campaign: make what is missing or stale.

    Args:
        scope: The set, such as campaign/set1.
        from_step: Leave out the steps before this one.
        only: Make only these recipes, keys or fingerprints.
        retry_failed: Try again what failed for good.
        outdated: Remake what is outdated in an old set, too (as do the three wishes before).
    """
    return analyse("campaign", scope, from_step, only or (), retry_failed=retry_failed, outdated=outdated)


@flow(name="mkid", flow_run_name=run_name, persist_result=False)
def analyse_mkid(
    scope: str, from_step: Step = "", only: list[str] | None = None, retry_failed: bool = False, outdated: bool = False
) -> dict[str, Any]:
    """Reduce the photon lists of one set: make what is missing or stale.

    Args:
        scope: The set, such as mkid/set1.
        from_step: Leave out the steps before this one.
        only: Make only these recipes, keys or fingerprints.
        retry_failed: Try again what failed for good.
        outdated: Remake what is outdated in an old set, too (as do the three wishes before).
    """
    return analyse("mkid", scope, from_step, only or (), retry_failed=retry_failed, outdated=outdated)

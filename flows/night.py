"""The flow of a night: plan, make, plan again, until nothing is left; then say so in artifacts and, when closed, in the report.

Its parameters are the wish, never the plan: run again, it makes exactly what is missing or stale.
"""

from __future__ import annotations

from typing import Any, Literal

from prefect import flow, tags

from flows.artifacts import link_to_report, tell_of_masters, tell_of_products, tell_of_rejected
from flows.executor import make_with_prefect
from flows.opened import workspace
from flows.pages import report_when_closed
from flows.parent import die_with_parent
from flows.policy import our_task
from flows.signing import sign_run
from flows.tagging import tag_run
from nightcrew.errors import Refused
from nightcrew.ledger import scopes
from nightcrew.ledger.rows import ScopeRow
from tasks.executor import ScopeRun, Wish
from tasks.workspace import Workspace

Step = Literal["", "convert", "index", "masters", "models", "lights", "photometry", "precision", "mkid", "report"]


class UnitsFailedError(RuntimeError):
    """Faults of the program itself stopped units; every one is in the ledger with its trace."""


def scope_named(space: Workspace, scope: str, kind: str = "night") -> ScopeRow:
    """The scope called ``2026-03-14/NCSIM``; ``Refused`` with those that exist when there is none."""
    name, _, instrument = scope.partition("/")
    with space.database.read() as connection:
        found = [row for row in scopes.find(connection, kind=kind, name=name) if not instrument or row.instrument == instrument]
        known = ", ".join(row.title for row in scopes.find(connection, kind=kind)[:10])
    if len(found) != 1:
        raise Refused(f"{'several scopes are' if found else 'there is no scope'} called {scope!r}; the newest are: {known or 'none'}")
    return found[0]


@flow(name="night", flow_run_name="night {scope}", persist_result=False)
def reduce_night(
    scope: str, from_step: Step = "", only: list[str] | None = None, retry_failed: bool = False, outdated: bool = False
) -> dict[str, Any]:
    """Make what is missing or stale of one night and instrument.

    Args:
        scope: Night and instrument, such as 2026-03-14/NCSIM.
        from_step: Leave out the steps before this one.
        only: Make only these recipes, keys or fingerprints.
        retry_failed: Try again what failed for good.
        outdated: Remake what is outdated in an old night, too (as do the three wishes before).
    """
    die_with_parent()
    space = workspace()
    sign_run(space.database)
    space.renormalise()
    row = scope_named(space, scope)
    tag_run(row.name, row.instrument)
    asked = bool(outdated or from_step or only or retry_failed)  # by a person: what is outdated in an old night is remade, too
    wish = Wish(from_step=from_step, only=tuple(only or ()), retry=retry_failed, outdated=asked)
    with tags(row.name, row.instrument):
        with make_with_prefect(space.settings) as make:
            run = space.run(row.id, wish=wish, make=make)
        if run.busy:
            return {"scope": scope, "busy": True}
        tell_of_masters(space, row)
        tell_of_rejected(space, row)
        tell_of_products(space, row)
        page = our_task(write_report, name="write report")(f"report of {row.name}", row.id)
        if page:
            link_to_report(space, page, row.name)
    complain_of_faults(run)
    return {"scope": scope, "made": run.made, "failed": run.failed, "again": run.again, "report": page}


def write_report(title: str, scope_id: int) -> str:
    """Write the page of a closed night or set when it is not current; its path below the report folder, else ""."""
    del title
    return report_when_closed(workspace(), scope_id)


def complain_of_faults(run: ScopeRun) -> None:
    """A rejected frame is a row in the ledger and no failure of the run; a fault of ours is both."""
    faults = [outcome for outcome in run.outcomes if outcome.state == "failed" and outcome.reason.startswith("a fault in Nightcrew")]
    if faults:
        first = faults[0]
        raise UnitsFailedError(
            f"{len(faults)} units failed by faults of the program, the first: {first.recipe} {first.key}: {first.reason}"
        )

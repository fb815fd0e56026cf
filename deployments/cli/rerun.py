"""``nightcrew rerun``: a wish for the dispatcher, or at once when no service runs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deployments.cli.common import ConfigOption, JsonOption, look, open_space, say, say_json, scopes_named
from deployments.endpoints import running_pid

if TYPE_CHECKING:
    from nightcrew.ledger.rows import ScopeRow
    from tasks.workspace import Workspace


def rerun(
    what: Annotated[
        str, typer.Argument(help="Night such as 2026-03-14 or 2026-03-14/INSTRUMENT, or a set such as sensor/set1; last: the newest night.")
    ],
    from_step: Annotated[str, typer.Option("--from", help="Leave out earlier steps: masters, lights, photometry, report ...")] = "",
    only: Annotated[list[str] | None, typer.Option("--only", help="Make only this recipe, key or fingerprint; repeatable.")] = None,
    retry: Annotated[bool, typer.Option("--retry/--no-retry", help="Try again what failed for good.")] = True,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Plan a night or set again and make what is missing, stale or failed.  What is current stays as it is."""
    from flows.catalogue import FLOW_OF_SCOPE
    from nightcrew.errors import Refused
    from nightcrew.ledger import dispatches
    from nightcrew.recipes.catalogue import RECIPES, STEPS
    from tasks.executor import Wish

    if from_step and from_step not in STEPS:
        raise Refused(f"there is no step {from_step!r}; the steps are: {', '.join(STEPS)}")
    space = open_space(config)
    with space.database.read() as connection:
        found = scopes_named(connection, what)
    if unknown := _unknown(space, found, only or ()):
        raise Refused(
            f"--only {unknown}: no recipe is called so, and nothing that {what} should have has this key or fingerprint; "
            f"recipes: {', '.join(RECIPES)}"
        )
    answers: list[dict[str, Any]] = []
    for scope in found:
        if scope.kind not in FLOW_OF_SCOPE:
            raise Refused(f"{scope.title} is of kind {scope.kind}, which cannot be run again yet; recipes: {', '.join(RECIPES)}")
        if running_pid(space.settings.state.root) is not None:
            asked = {"from_step": from_step, "only": only or [], "retry_failed": retry, "outdated": True}
            wish = {name: value for name, value in asked.items() if value}
            row = dispatches.request(space.database, FLOW_OF_SCOPE[scope.kind], scope.id, wish)
            answers.append({"scope": scope.title, "dispatch": row.id})
        else:
            run = space.run(scope.id, wish=Wish(from_step=from_step, only=tuple(only or ()), retry=retry))
            answers.append({"scope": scope.title, "made": run.made, "failed": run.failed, "again": run.again, "busy": run.busy})
    if json:
        say_json(answers)
        return
    for answer in answers:
        if "dispatch" in answer:
            say(f"{answer['scope']}: asked the service (dispatch {answer['dispatch']}); `nightcrew status` shows how it goes.")
        else:
            say(f"{answer['scope']}: {answer['made']} made, {answer['failed']} failed, {answer['again']} to be tried again.")
    if any(answer.get("failed") for answer in answers):
        raise typer.Exit(1)


def _unknown(space: Workspace, scopes: Iterable[ScopeRow], only: Iterable[str]) -> str:
    """The first of these words that is neither a recipe nor the key or fingerprint of a planned product; "" when all are known."""
    from nightcrew.recipes.catalogue import RECIPES

    words = [word for word in only if word not in RECIPES]
    if not words:
        return ""
    plans = [plan for scope in scopes if (plan := look(space, scope.id, outdated=True)[1]) is not None]
    planned = [product for plan in plans for product in plan.products]
    return next((word for word in words if not any(word == p.key or (word and p.fingerprint.startswith(word)) for p in planned)), "")

"""``nightcrew why``."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deployments.cli.common import ConfigOption, JsonOption, look, open_space, say, say_json, say_table, shown

if TYPE_CHECKING:
    from nightcrew.ledger.origins import NamedInput
    from nightcrew.planning.explain import Explanation
    from tasks.workspace import Workspace

_DIGITS = 8  # of a fingerprint, to be told from a word
_NAMES = 12  # of files shown; --json has all


def why(
    what: Annotated[str, typer.Argument(help="A file (path or the end of one) or a product (file or first digits of its fingerprint).")],
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Why a file or product is as it is: for each calibration the candidates, the rule that each failed, and what would mend it."""
    space = open_space(config)
    answers = explanations(space, what)
    if json:
        say_json([answer.as_dict() for answer in answers])
        return
    for answer in answers:
        _print(answer)


def explanations(space: Workspace, what: str) -> list[Explanation]:
    """Answers for every file or product that ``what`` names; ``Refused`` when there is none."""
    from nightcrew.errors import Refused
    from nightcrew.ledger import arrivals, history, origins, products
    from nightcrew.planning.explain import explain_attempts, explain_file, explain_product, explain_set_file
    from nightcrew.planning.sets import SetSnapshot

    what = what.removeprefix("./")  # as pages write a name that begins with a dash
    path = Path(os.path.abspath(what))  # noqa: PTH100  # a link's own name counts, so nothing is resolved but ".."
    print_ = _fingerprint_in(what)
    with space.database.read() as connection:
        rows = arrivals.find(connection, os.fsencode(path)) or arrivals.find(connection, os.fsencode(what))
        product = None if rows else products.by_fingerprint(connection, print_)
        dependants = products.dependants(connection, product.fingerprint) if product else []
        inputs = origins.named_inputs(connection, product.id) if product else []
        tries = [] if rows or product else history.attempts(connection, print_ if len(print_) >= _DIGITS else "")
    if not rows and product is None and not tries:
        raise Refused(f"neither a file nor a product of the ledger is called {what!r}; `nightcrew ledger files` lists the files")
    answers = []
    for row in rows:
        seen, plan = look(space, row.scope_id)
        if isinstance(seen, SetSnapshot) and plan is not None:
            answers.append(explain_set_file(row, seen, plan))
        else:
            answers.append(explain_file(row, None if isinstance(seen, SetSnapshot) else seen, plan))
    if product is not None:
        answers.append(explain_product(product, look(space, product.scope_id)[1], dependants, inputs))
    return answers + ([explain_attempts(tries)] if tries else [])


def _fingerprint_in(what: str) -> str:
    """The fingerprint in a product's file name (``..._60s.0123456789ab.fits``) or folder (``...-0123456789ab``), or ``what`` itself."""
    folder = re.search(r"-([0-9a-f]{12})(?:/|$)", what)
    if folder is not None:
        return folder[1]
    parts = [part for part in Path(what).name.split(".") if len(part) >= 8 and all(char in "0123456789abcdef" for char in part)]
    return parts[-1] if parts else what


def _origins(inputs: Sequence[NamedInput]) -> Iterator[str]:
    """What a product was made from: files by role, the first of many; each product and each frame left out on its own line."""
    raw: dict[str, list[str]] = {}
    for one in inputs:
        if not one.is_product and not one.left_out:
            raw.setdefault("" if one.role == one.name else one.role, []).append(one.name.rpartition("/")[2])
    for role, names in raw.items():
        more = f" and {len(names) - _NAMES} more" if len(names) > _NAMES else ""
        yield f"{len(names)} x {role or 'file'}: {', '.join(names[:_NAMES])}{more}"
    for one in inputs:
        if one.is_product:
            yield f"{one.name} ({one.fingerprint[:12]})" + (f", left out: {one.left_out}" if one.left_out else "")
        elif one.left_out:
            yield f"all but {one.name.rpartition('/')[2]}, left out: {one.left_out}"


def _print(answer: Explanation) -> None:
    say(f"{shown(answer.subject)}\n  {answer.verdict}")
    for name, value in answer.facts.items():
        say(f"  {name.replace('_', ' ')}: {', '.join(map(str, value)) if isinstance(value, list) else value}")
    for note in answer.notes:
        say(f"  note: {note}")
    for line in _origins(answer.inputs):
        say(f"  made from {line}")
    if answer.products and answer.inputs:
        say("  used for:")
    for product in answer.products:
        words = ", ".join(str(product[key]) for key in ("status", "grade", "reason") if product.get(key))
        name = f"{product['recipe'].replace('_', ' ')} {product['key']} ({product['fingerprint'][:12]})"
        say(f"{'    ' if answer.inputs else '  '}{name}: {words}")
    for choice in answer.choices:
        outcome = f"{choice.fingerprint[:12]}, grade {choice.grade}" if choice.found else "nothing fits"
        say(f"\n  needs {choice.need}: {outcome}" + (f" ({'; '.join(choice.reasons)})" if choice.reasons else ""))
        rows = [["   ", c.name, c.grade, c.verdict or "chosen", c.mend] for c in choice.considered]
        if rows:
            say_table(("   ", "candidate", "grade", "verdict", "what would mend it"), rows)
    say()

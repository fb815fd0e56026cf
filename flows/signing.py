"""A run says in the ledger which process works on it: our own heartbeat, which needs nobody to tell of a death."""

from __future__ import annotations

import logging

from prefect.runtime import flow_run

from nightcrew.errors import TransientError
from nightcrew.ledger import run_signs
from nightcrew.ledger.database import Database

_LOG = logging.getLogger("nightcrew.flows")


def sign_run(database: Database) -> None:
    """This process works on the current flow run; a ledger that cannot be written now does not stop it."""
    if not flow_run.id:
        return
    try:
        run_signs.begin(database, str(flow_run.id))
    except TransientError as error:
        _LOG.warning("the run could not sign in: %s", error)

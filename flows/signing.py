"""A run says in the ledger which process works on it: our own heartbeat, which needs nobody to tell of a death."""

from __future__ import annotations

import logging
import time

from prefect.runtime import flow_run

from nightcrew.errors import TransientError
from nightcrew.ledger import run_signs
from nightcrew.ledger.database import Database

_LOG = logging.getLogger("nightcrew.flows")
_TRIES = 3
_PAUSE_S = 2.0  # the ledger itself waits 30 s for whoever writes


def sign_run(database: Database) -> None:
    """This process works on the current flow run; a ledger that cannot be written now does not stop it."""
    if not flow_run.id:
        return
    for left in reversed(range(_TRIES)):
        try:
            run_signs.begin(database, str(flow_run.id))
        except TransientError as error:
            _LOG.warning("the run could not sign in: %s", error)
            if left:
                time.sleep(_PAUSE_S)
        else:
            return

"""Runs in Prefect as the dispatcher sees them, over plain HTTP: the client library alone would cost it 60 MB.

Only a few calls are needed, all of the server's documented REST API.
"""

from __future__ import annotations

import base64
import json
import os
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from flows.catalogue import DEPLOYMENT
from nightcrew.errors import TransientError
from nightcrew.ledger.dispatches import DispatchRow
from nightcrew.ledger.rows import ScopeRow

_TIMEOUT_S = 20.0
_FINAL = frozenset({"COMPLETED", "FAILED", "CRASHED", "CANCELLED"})
WAITS = "Scheduled"
"""What a run is that has not begun: the runner takes a few at a time, the others wait as long as it takes."""


class UnknownToPrefectError(TransientError):
    """The server answers, but does not know what was asked for (yet)."""


class PrefectRuns:
    """See ``deployments.dispatch.Runs``.

    Parameters
    ----------
    api_url
        Such as ``http://127.0.0.1:4200/api``.
    auth
        ``user:password`` when the server asks for one.
    """

    def __init__(self, api_url: str, auth: str = "") -> None:
        if not api_url.startswith(("http://", "https://")):
            raise ValueError(f"{api_url!r} is no http address")
        self._api_url = api_url.rstrip("/")
        self._headers = {"Content-Type": "application/json"}
        if auth:
            self._headers["Authorization"] = "Basic " + base64.b64encode(auth.encode()).decode("ascii")
        self._deployments: dict[str, str] = {}

    @classmethod
    def of_environment(cls, environment: Mapping[str, str] | None = None) -> PrefectRuns:
        """The server that ``up`` named to its children."""
        given = os.environ if environment is None else environment
        return cls(given["PREFECT_API_URL"], given.get("PREFECT_API_AUTH_STRING", ""))

    def start(self, row: DispatchRow, scope: ScopeRow | None) -> str:
        """Ask for a run of the served deployment; repeated for the same row it gives the same run."""
        parameters: dict[str, Any] = dict(row.wish)
        tags = ["nightcrew"]
        if scope is not None:
            parameters["scope"] = scope.title
            tags += [scope.name, scope.instrument or scope.kind]
        wanted = {
            "state": {"type": "SCHEDULED", "message": f"dispatch {row.id}"},
            "parameters": parameters,
            "tags": tags,
            # the time keeps a ledger that was begun anew apart from an older Prefect database
            "idempotency_key": f"{row.created_at}-{row.id}",
        }
        try:
            run = self._ask(f"/deployments/{self._deployment(row.flow)}/create_flow_run", wanted)
        except UnknownToPrefectError:
            self._deployments.pop(row.flow, None)
            raise
        return str(run["id"])

    def outcome(self, run_id: str) -> str | None:
        """How the run ended; a run that the server does not know (its database was removed) is "Lost", one that has not begun waits."""
        try:
            state = self._ask(f"/flow_runs/{urllib.parse.quote(run_id, safe='')}").get("state") or {}
        except UnknownToPrefectError:
            return "Lost: Prefect does not know the run any more"
        if state.get("type") == "SCHEDULED":  # also called Late
            return WAITS
        if state.get("type") not in _FINAL:
            return None
        return str(state["name"]) if state["type"] == "COMPLETED" else f"{state['name']}: {state.get('message') or 'no message'}"

    def crash(self, run_id: str, message: str) -> None:
        """Mark a run as Crashed, whatever Prefect believes of it."""
        state = {"type": "CRASHED", "name": "Crashed", "message": message}
        self._ask(f"/flow_runs/{urllib.parse.quote(run_id, safe='')}/set_state", {"state": state, "force": True})

    def scheduled(self, flow: str) -> int:
        """How many runs of the flow the server has planned ahead."""
        wanted = {"deployments": {"id": {"any_": [self._deployment(flow)]}}, "flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}}}
        return int(self._ask("/flow_runs/count", wanted))

    def _deployment(self, flow: str) -> str:
        if flow not in self._deployments:
            self._deployments[flow] = str(self._ask(f"/deployments/name/{flow}/{DEPLOYMENT}")["id"])
        return self._deployments[flow]

    def _ask(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """JSON answer of the server; TransientError when there is none."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._api_url + path, data=data, headers=self._headers)  # noqa: S310  # the scheme is checked
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:  # noqa: S310  # as above
                return json.load(answer)
        except urllib.error.HTTPError as error:
            if error.code == HTTPStatus.NOT_FOUND:
                raise UnknownToPrefectError(f"Prefect does not know {path} (yet)") from error
            raise TransientError(f"Prefect's server answers {error.code} to {path}: {error.read(300)!r}") from error
        except (OSError, ValueError) as error:
            raise TransientError(f"Prefect's server cannot be asked now: {error}") from error

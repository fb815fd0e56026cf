"""The environment of the service's child processes: our own Prefect, apart from any other on the machine."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from nightcrew.errors import Refused
from nightcrew.settings import Settings

# Measured in the service's design: with the defaults the server's own record lags behind by minutes after a large night.
_SERVER_TUNING = {
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "200",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_READ_BATCH_SIZE": "200",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "1",
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_BATCH_SIZE": "200",
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_READ_BATCH_SIZE": "200",
}
# A database of one's own and log levels may be set from outside; everything else would mix two services.
_PASSED_ON = ("PREFECT_SERVER_DATABASE_", "PREFECT_LOGGING_LEVEL", "PREFECT_SERVER_LOGGING_LEVEL", "PREFECT_SERVER_ENCRYPTION_KEY")


def child_environment(settings: Settings, api_url: str, given: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment for every child of ``up``: the configuration file and Prefect's settings.

    Raises ``Refused`` when the settings do not come from a file, since the children read it themselves.
    """
    if settings.file is None:
        raise Refused("there is no nightcrew.toml here: write one with `nightcrew init`, or name it with --config")
    given = os.environ if given is None else given
    environment = {name: value for name, value in given.items() if not name.startswith("PREFECT_") or name.startswith(_PASSED_ON)}
    environment.update(_SERVER_TUNING)
    environment.update(
        {
            "NIGHTCREW_CONFIG": str(settings.file),
            "PYTHONSAFEPATH": "1",  # the working folder must not shadow a package
            "PYTHONUNBUFFERED": "1",
            "MALLOC_ARENA_MAX": "2",  # glibc keeps a heap a thread otherwise, and gives none of them back: 180 MB more in a night
            "DO_NOT_TRACK": "1",
            "PREFECT_HOME": str(settings.state.root / "prefect"),
            "PREFECT_API_URL": api_url,
            "PREFECT_LOGGING_EXTRA_LOGGERS": "nightcrew,tasks,reports",  # their words appear in the run's log
            "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",  # threads of our own have no run to log to
            "PREFECT_RUNNER_POLL_FREQUENCY": "2",
            "PREFECT_RESULTS_DEFAULT_SERIALIZER": "json",
            "PREFECT_RESULTS_PERSIST_BY_DEFAULT": "false",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false",
        }
    )
    if settings.retention.runs_days:
        environment["PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED"] = "events,flow_runs"
        environment["PREFECT_SERVER_SERVICES_DB_VACUUM_RETENTION_PERIOD"] = str(settings.retention.runs_days * 86_400)
    if settings.prefect.auth is not None:
        secret = settings.prefect.auth.get_secret_value()
        environment["PREFECT_API_AUTH_STRING"] = environment["PREFECT_SERVER_API_AUTH_STRING"] = secret
    return environment


def prefect_home(settings: Settings) -> Path:
    """Where the server keeps its database."""
    return settings.state.root / "prefect"

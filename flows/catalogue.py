"""The flows that are served, by name; each stands at a module path, never at a file path.  No Prefect here."""

from __future__ import annotations

DEPLOYMENT = "nightcrew"
"""Name of every served deployment: ``night/nightcrew``."""

FLOWS: dict[str, str] = {
    "ingest": "flows.ingest:ingest",
    "night": "flows.night:reduce_night",
    "sensor": "flows.sets:analyse_sensor",
    "lab": "flows.sets:analyse_lab",
    "campaign": "flows.sets:analyse_campaign",
    "mkid": "flows.sets:analyse_mkid",
    "morning": "flows.morning:morning_report",
}
"""Flow name -> module path."""

FLOW_OF_SCOPE: dict[str, str] = {kind: kind for kind in ("night", "sensor", "lab", "campaign", "mkid")}
"""Kind of scope -> the flow that plans it; kinds without one are not dispatched."""

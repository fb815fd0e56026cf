"""A plate solution as plain facts for the ledger, and as cards of a header that say whose it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nightcrew.astrometry.solve import Solution
from nightcrew.io.cardtext import Card


def facts_of(found: Solution) -> dict[str, Any]:
    """A solution as plain numbers and texts, without the time that it took."""
    return {
        "how": found.how,
        "ra_deg": found.ra_deg,
        "dec_deg": found.dec_deg,
        "scale_arcsec_per_px": found.scale_arcsec_per_px,
        "matched": found.matched,
        "rms_arcsec": found.rms_arcsec,
        "log_odds": found.log_odds,
        "from_pointing_deg": found.from_pointing_deg,
        "cards": [[key, value, about] for key, value, about in found.cards],
    }


def cards_of(facts: Mapping[str, Any]) -> list[Card]:
    """The cards of a frame that was solved so: its coordinates, and that they are none of the camera's."""
    cards: list[Card] = [(str(key), value, str(about)) for key, value, about in facts["cards"]]
    away = facts.get("from_pointing_deg")
    return [
        *cards,
        ("NCWCS", f"solve-field, {facts['how']}", "WCS is of astrometry.net, not the camera"),
        ("NCWCSN", int(facts["matched"]), "stars matched by the plate solution"),
        ("NCWCSRMS", round(float(facts["rms_arcsec"]), 4), "[arcsec] rms of the matched stars"),
        ("NCWCSODD", round(float(facts["log_odds"]), 2), "natural logarithm of the odds"),
        *([] if away is None else [("NCWCSOFF", round(float(away), 4), "[deg] from the pointing of the raw header")]),
    ]

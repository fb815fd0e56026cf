"""Where a detector model holds: one rule for the models themselves and for the plan that chooses them."""

from __future__ import annotations

LONGER = 1.2  # times the longest exposure: how far a dark model may go
MARGIN = 0.1  # of the range of temperatures, and at least ...
LEAST_MARGIN_K = 1.0
WITHOUT_SLOPE_K = 0.5  # beyond the temperatures measured, where nothing is known of the temperature's part


def temperature_outside(what: str, temperature_c: float, low_c: float, high_c: float, *, no_slope: bool = False) -> str:
    """Why a model of ``what`` does not hold at a temperature; "" up to a tenth of its range, at least 1 K, beyond its ends.

    With ``no_slope`` the temperature's part is not known: half a kelvin.
    """
    margin = WITHOUT_SLOPE_K if no_slope else max(LEAST_MARGIN_K, MARGIN * (high_c - low_c))
    if low_c - margin <= temperature_c <= high_c + margin:
        return ""
    return f"{temperature_c:g} C lies outside the {low_c:g} to {high_c:g} C that the {what} model was measured at"


def exposure_outside(exposure_s: float, longest_s: float) -> str:
    """Why the dark model does not hold for an exposure; "" up to 1.2 times the longest that was measured."""
    if exposure_s <= LONGER * longest_s:
        return ""
    return f"{exposure_s:g} s is longer than the {longest_s:g} s that the dark model was measured at"


def extrapolated(what: str, temperature_c: float, low_c: float, high_c: float) -> str:
    """A sentence when a temperature lies beyond those measured, though within the domain of the model; "" inside them."""
    if low_c <= temperature_c <= high_c:
        return ""
    return f"{temperature_c:g} C lies a little beyond the {low_c:g} to {high_c:g} C that the {what} model was measured at"

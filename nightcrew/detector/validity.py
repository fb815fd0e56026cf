"""Where a detector model holds: one rule for the models themselves and for the plan that chooses them."""

from __future__ import annotations

import math

LONGER = 1.2  # times the longest exposure: how far a dark model may go
MARGIN = 0.1  # of the range of temperatures, and at least ...
LEAST_MARGIN_K = 1.0
LEAST_RATIO = 1.5  # between exposures, for them to tell how dark signal goes with exposure
UNKNOWN_GAMMA = 0.1  # one standard deviation of an exponent that they do not tell: sensors were seen to have as much
NEAR_EXPOSURE = 0.02  # relative: what needs no word
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


def gamma_unknown(exposures_s: tuple[float, float]) -> bool:
    """Whether darks of these exposures (shortest, longest) leave open how the signal goes with exposure."""
    return exposures_s[1] < LEAST_RATIO * exposures_s[0]


def beyond_exposures(exposure_s: float, exposures_s: tuple[float, float]) -> float:
    """Logarithm of how far an exposure lies beyond those measured; 0 within them."""
    shortest, longest = exposures_s
    nearest = min(max(exposure_s, shortest), longest)
    return abs(math.log(max(exposure_s, 1e-12) / nearest))


def exposure_extrapolated(exposure_s: float, exposures_s: tuple[float, float]) -> str:
    """A sentence when a dark is foretold for an exposure that those measured say nothing of; "" otherwise."""
    beyond = beyond_exposures(exposure_s, exposures_s)
    if not gamma_unknown(exposures_s) or beyond <= NEAR_EXPOSURE:
        return ""
    error = 100 * UNKNOWN_GAMMA * beyond
    return f"{exposures_s[1]:g} s alone do not tell how dark signal goes with exposure: at {exposure_s:g} s it may be {error:.0f} % off"


def extrapolated(what: str, temperature_c: float, low_c: float, high_c: float) -> str:
    """A sentence when a temperature lies beyond those measured, though within the domain of the model; "" inside them."""
    if low_c <= temperature_c <= high_c:
        return ""
    return f"{temperature_c:g} C lies a little beyond the {low_c:g} to {high_c:g} C that the {what} model was measured at"

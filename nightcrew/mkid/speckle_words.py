"""Speckle maps in numbers and sentences, for commands, summaries and reports."""

from __future__ import annotations

import numpy as np

from nightcrew.mkid.speckle import DESCRIPTIONS, INFORMATION, SpeckleFlag
from nightcrew.mkid.speckle_maps import PARAMETERS, SpeckleMaps

AS_COUNTED = {
    "binned": "Intensities are as counted: neither flat field nor quantum efficiency is in them, nor what the dead time took.",
    "intervals": "Intensities are as counted, with the dead time made up for: neither flat field nor quantum efficiency is in them.",
}
"""By the method: what the rates of maps of a single table are."""
_NAMES = {"ic": "Ic", "is": "Is", "ip": "Ip"}


def summary_of(maps: SpeckleMaps) -> dict[str, object]:
    """Plain values: pixels, how many are valid, medians over valid pixels, decorrelation times, reasons by their number of pixels."""
    valid = maps.valid
    values: dict[str, object] = {
        "steps": int(valid.shape[0]),
        "pixels": int(valid[0].size),
        "valid": [int(step.sum()) for step in valid],
        "method": maps.method,
        "rates": AS_COUNTED[maps.method],
        "errors": "bootstrap" if any(maps.bootstrapped) else "curvature",
        "array_decorrelation_s": [_plain(tau) for tau in maps.array_decorrelation_s],
    }
    for place, name in enumerate(PARAMETERS):
        if name != "ip" or maps.rules.companion:
            values[f"median_{name}_cps"] = _median(maps.parameters_cps[place][valid])
    values["median_ratio"] = _median(maps.ratio[valid])
    values["reasons"] = {flag.name: int(((maps.flags & np.uint32(flag)) != 0).sum()) for flag in SpeckleFlag}
    return values


def _plain(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _median(values: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> float | None:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if known.size else None


def in_words(maps: SpeckleMaps) -> list[str]:
    """Sentences for a person: what holds, and what bars the rest."""
    n_all, n_valid = maps.valid.size, int(maps.valid.sum())
    said = [f"{n_valid} of {n_all} pixels ({maps.valid.shape[0]} steps of time) have numbers that may be believed."]
    taus = [tau for tau in maps.array_decorrelation_s if np.isfinite(tau)]
    if taus:
        said.append(f"The array decorrelates in {np.median(taus):.3g} s; a bin has {maps.rules.bin_s:g} s.")
    else:
        said.append("No correlation from bin to bin is seen: either speckles live shorter than a bin, or the light is steady.")
    for place, name in enumerate(PARAMETERS):
        middle = _median(maps.parameters_cps[place][maps.valid])
        if middle is not None and (name != "ip" or maps.rules.companion):
            said.append(f"{_NAMES[name]}: median {middle:.4g} photons per second.")
    said.append(AS_COUNTED[maps.method])
    for flag in SpeckleFlag:
        count = int(((maps.flags & np.uint32(flag)) != 0).sum())
        if count:
            said.append(f"{count} {'noted' if flag & INFORMATION else 'left out'}: {DESCRIPTIONS[flag]}.")
    return said

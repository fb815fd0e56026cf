"""The joint model's files: parameters, residuals, and what the model makes of every master."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np

from nightcrew.calibration.pixel_fits import fit_pixels, line
from nightcrew.irradiation.joint import JointFit
from nightcrew.irradiation.masters import Master, read_map
from nightcrew.irradiation.observations import Observations
from nightcrew.irradiation.results import Analysis, Joint
from reports.campaign_plots import Axis, Series, curve_png, map_png
from tasks.campaign_files import Tree

# name in the tables of the older suite -> ours
PARAMETERS = {
    "B0": ("B0", "adu"),
    "alpha_D": ("alpha", "adu/kRad"),
    "DC0": ("DC0", "adu/s"),
    "beta_D": ("beta", "adu/s/kRad"),
    "q_mean": ("q", "adu/kRad"),
    "sigma_q": ("sigma_q", "adu/kRad"),
    "sigma_read": ("read", "adu"),
}


def write_model(tree: Tree, analysis: Analysis, folder: str = "radiation_model/") -> list[str]:
    """``fit_results.{csv,json}`` and the residuals of the main temperature; sentences on what there is not."""
    joint = analysis.joint.get(analysis.main_bin)
    if joint is None or joint.fit is None or joint.observations is None:
        return ["There is no bias and no dark with a dose, so there is no joint model."]
    rows = [row for place in analysis.joint for row in _parameter_rows(analysis.joint[place])]
    tree.table(
        f"{folder}fit_results.csv", ("param", "value", "err", "R2", "unit", "temperature", "why"), rows, "parameters of the joint model"
    )
    clean = [{key: value if not isinstance(value, float) or math.isfinite(value) else None for key, value in row.items()} for row in rows]
    tree.json(f"{folder}fit_results.json", clean, "parameters of the joint model")
    _write_residuals(tree, folder, joint.fit, joint.observations)
    return [f"Not determined: {why}." for why in joint.fit.why.values()]


def _parameter_rows(joint: Joint) -> list[dict[str, object]]:
    fit, data = joint.fit, joint.observations
    if fit is None or data is None:
        return []
    level = _explained(data.signal_adu, fit.signal_residual_adu)
    noise = _explained(data.variance_adu2, fit.variance_residual_adu2)
    rows: list[dict[str, object]] = []
    for name, (ours, unit) in PARAMETERS.items():
        r2 = noise if ours in ("read", "sigma_q") else level
        row = {"param": name, "value": fit.values[ours], "err": fit.errors[ours], "R2": r2, "unit": unit}
        rows.append({**row, "temperature": joint.temperature_c, "why": fit.why.get(ours, "")})
    return rows


def _explained(measured: np.ndarray, residual: np.ndarray) -> float:
    good = np.isfinite(measured) & np.isfinite(residual)
    total = float(np.sum((measured[good] - measured[good].mean()) ** 2)) if good.any() else 0.0
    return 1 - float(np.sum(residual[good] ** 2)) / total if total > 0 else math.nan


def _write_residuals(tree: Tree, folder: str, fit: JointFit, data: Observations) -> None:
    bias = data.exposure_s == 0
    for name, keep, label in (("bias", bias, "bias"), ("dark_current", ~bias, "dark")):
        dose, residual, error = data.dose_krad[keep], fit.signal_residual_adu[keep], data.signal_error_adu[keep]
        series = [Series(label=label, x=dose, y=residual, error=error)]
        picture = curve_png(series, Axis(label="dose / kRad"), Axis(label="level - model / adu"), f"residuals of the {label} levels")
        tree.bytes(f"{folder}{name}_residuals.png", picture, "level less model")
        tree.arrays(f"{folder}{name}_residuals.npz", "the plotted numbers", dose=dose, residual=residual, error=error)
    good = np.isfinite(fit.variance_residual_adu2)
    series = [
        Series(label="noise", x=data.dose_krad[good], y=fit.variance_residual_adu2[good], error=data.variance_error_adu2[good]),
    ]
    picture = curve_png(series, Axis(label="dose / kRad"), Axis(label="variance - model / adu^2", scale="symlog"), "residuals of the noise")
    tree.bytes(f"{folder}variance_residuals.png", picture, "variance less model")
    tree.arrays(
        f"{folder}variance_residuals.npz",
        "the plotted numbers",
        dose=data.dose_krad[good],
        residual=fit.variance_residual_adu2[good],
        error=data.variance_error_adu2[good],
    )
    pulls = np.sort(fit.pulls)
    expected = np.array([NormalDist().inv_cdf((i + 0.5) / len(pulls)) for i in range(len(pulls))])
    ends = np.array([expected.min(), expected.max()]) if len(pulls) else np.zeros(2)
    series = [Series(label="residuals over their errors", x=expected, y=pulls), Series(label="normal law", x=ends, y=ends, line=True)]
    tree.bytes(
        f"{folder}qq_plot.png", curve_png(series, Axis(label="expected of a normal law"), Axis(label="found"), "all residuals"), "Q-Q plot"
    )
    tree.arrays(f"{folder}qq_plot.npz", "the plotted numbers", expected=expected, found=pulls)


def write_pixel_maps(tree: Tree, analysis: Analysis, folder: str = "radiation_model/") -> list[str]:
    """B0 and alpha of every pixel from the biases, DC0 and beta from the darks of the longest exposure, with their errors.

    Weighted lines over dose through the masters before and in the beam, hits taken out.
    """
    absent = []
    for kind, names, unit in (("BIAS", ("B0", "alpha"), "adu"), ("DARK", ("DC0", "beta"), "adu/s")):
        used = _of_maps(analysis, kind)
        doses = [one.group.dose_krad for one in used]
        if len(set(doses)) < 3:
            absent.append(f"No maps of {names[0]} and {names[1]}: {len(set(doses))} doses of one exposure, 3 are needed.")
            continue
        seconds = used[0].group.exposure_s if kind == "DARK" else 1.0
        sigma = [math.sqrt(max(one.stack.variance, 1e-6) / len(one.group.frames)) for one in used]
        # the master's image stands in the primary HDU
        fit = fit_pixels([one.path for one in used], line(doses), frame_sigma=[value if value > 0 else 1.0 for value in sigma])
        for place, name in enumerate(names):
            per = f"{unit}/kRad" if place else unit
            image = fit.coefficients[place] / np.float32(seconds)
            tree.image(f"{folder}{name}_map.fits", image, f"{name} of every pixel", unit=per)
            if fit.errors is not None:
                tree.image(
                    f"{folder}{name}_error_map.fits", fit.errors[place] / np.float32(seconds), f"its standard error, {name}", unit=per
                )
            tree.bytes(f"{folder}{name}_map.png", map_png(image, f"{name} of every pixel", per), f"map of {name}")
            tree.arrays(f"{folder}{name}_map.npz", "the map", map=image)
    return absent


def _of_maps(analysis: Analysis, kind: str) -> list[Master]:
    """Masters of a kind (darks: of the longest exposure) before and in the beam, of the main temperature and one size."""
    group_of = [one for one in analysis.masters if one.group.kind == kind and one.corrected and one.group.stage != "post"]
    inside = [one for one in group_of if one.group.temperature_bin == analysis.main_bin and one.stack.variance >= 0]
    longest = max((one.group.exposure_s for one in inside), default=0.0) if kind == "DARK" else 0.0
    return [one for one in inside if kind == "BIAS" or math.isclose(one.group.exposure_s, longest, rel_tol=1e-2)]


def write_reconstruction(tree: Tree, analysis: Analysis, folder: str = "reconstruction/") -> list[str]:
    """Model minus master for every bias and dark; the model's fixed pattern is that of the masters before the beam."""
    joint = analysis.joint.get(analysis.main_bin)
    if joint is None or joint.fit is None:
        return ["Without a joint model no master can be reconstructed."]
    reference = _patterns(analysis)
    left = 0
    for one in analysis.masters:
        group = one.group
        if group.kind not in ("BIAS", "DARK") or group.temperature_bin != analysis.main_bin or not one.corrected:
            continue
        value = _modelled(joint.fit, group.kind, group.dose_krad, group.exposure_s)
        pattern = reference.get((group.kind, 0.0 if group.kind == "BIAS" else round(group.exposure_s, 9)))
        if not math.isfinite(value):
            left += 1
            continue
        synthetic = np.float32(value) + (pattern if pattern is not None and pattern.shape == one.stack.shape else np.float32(0))
        diff = (synthetic - read_map(one.path)).astype(np.float32)
        name = f"{folder}{one.path.stem}_diff"
        cards = [("DOSE", group.dose_krad, "kRad"), ("EXPTIME", group.exposure_s, "s"), ("SYNMEAN", value, "adu, level of the model")]
        tree.image(f"{name}.fits", diff, "model minus master", cards=cards)
        tree.bytes(f"{name}.png", map_png(diff, f"model - {one.path.stem}", "adu", centred=True), "model minus master")
        tree.arrays(f"{name}.npz", "model minus master", diff=diff)
    return [f"{left} masters could not be reconstructed: the model lacks a term that they need."] if left else []


def _modelled(fit: JointFit, kind: str, dose: float, exposure_s: float) -> float:
    """Level of a master: the bias, or a dark without bias and without hits."""
    at_rest, _ = fit.signal(dose, 0.0, 0.0)
    if kind == "BIAS":
        return float(at_rest[0])
    exposed, _ = fit.signal(dose, 0.0, exposure_s)
    dark = [fit.linear[2], fit.linear[3]]
    return (
        float((dark[0] + (dark[1] * dose if dose else 0.0)) * exposure_s)
        if not math.isfinite(exposed[0])
        else float(exposed[0] - at_rest[0])
    )


def _patterns(analysis: Analysis) -> dict[tuple[str, float], np.ndarray]:
    """Fixed pattern (less its mean) of each kind and exposure, before the beam or at the lowest dose."""
    found: dict[tuple[str, float], np.ndarray] = {}
    for one in sorted(analysis.masters, key=lambda one: (one.group.stage == "post", one.group.dose_krad)):
        key = (one.group.kind, 0.0 if one.group.kind == "BIAS" else round(one.group.exposure_s, 9))
        if key not in found and one.corrected and one.group.temperature_bin == analysis.main_bin:
            image = read_map(one.path)
            found[key] = image - np.float32(np.nanmean(image, dtype=np.float64))
    return found

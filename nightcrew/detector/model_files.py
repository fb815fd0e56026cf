"""Models on disk: maps as image products under the names that the laboratory knows, parameters as JSON beside them.

All values are in the units of the stored samples (adu of the raw frames): 12 bits stored x16 stay x16.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nightcrew.detector.bias_model import BiasModel, Curvature, LeftOut
from nightcrew.detector.dark_model import DarkModel
from nightcrew.detector.dark_shape import DarkShape
from nightcrew.detector.noise import NoiseLaw
from nightcrew.errors import RejectedInput
from nightcrew.io.atomic import write_new, write_text
from nightcrew.io.cardtext import Card
from nightcrew.io.products import read_image_product, write_image_product
from nightcrew.io.source import shown

FORMAT = 1
BIAS_JSON, DARK_JSON = "bias_model.json", "dark_model.json"
UNITS = ("UNITS", "stored samples", "adu of the raw frame as stored")
Array = NDArray[Any]


def save_bias(folder: Path, model: BiasModel, *, durable: bool = True) -> list[Path]:
    """``bias_a_map.fits`` (with errors), ``bias_b_map.fits``, ``bias_chi2_map.fits`` and ``bias_model.json``; returns the files."""
    cards: list[Card] = [
        UNITS,
        ("T_MIN", model.temperatures_c[0], "deg C, lowest temperature fitted"),
        ("T_MAX", model.temperatures_c[1], "deg C, highest temperature fitted"),
    ]
    level, slope = folder / "bias_a_map.fits", folder / "bias_b_map.fits"
    write_image_product(level, science=model.level, uncertainty=model.level_error, unit="adu", cards=cards, durable=durable)
    write_image_product(slope, science=model.slope, uncertainty=model.slope_error, unit="adu/K", cards=cards, durable=durable)
    chi2 = folder / "bias_chi2_map.fits"
    write_image_product(chi2, science=model.chi2, unit="", extras={"COUNT": model.count}, cards=cards, durable=durable)
    body = {
        "format": FORMAT,
        "law": "bias = a + b T, T in deg C",
        "units": "adu of the raw frame as stored",
        "temperatures_c": list(model.temperatures_c),
        "sloped": model.sloped,
        "correlation": model.correlation,
        "frame_noise_adu": model.frame_noise,
        "curvature": None if model.curvature is None else asdict(model.curvature),
        "left_out": [asdict(one) for one in model.left_out],
    }
    return [level, slope, chi2, _save_json(folder / BIAS_JSON, body, durable)]


def load_bias(folder: Path) -> BiasModel:
    """The model of :func:`save_bias`; RejectedInput when the folder holds none."""
    body = _load_json(folder / BIAS_JSON)
    level, slope = read_image_product(folder / "bias_a_map.fits"), read_image_product(folder / "bias_b_map.fits")
    chi2 = read_image_product(folder / "bias_chi2_map.fits")
    try:
        curvature = body["curvature"]
        return BiasModel(
            level=level.science,
            slope=slope.science,
            level_error=_plane(level.uncertainty, level.science),
            slope_error=_plane(slope.uncertainty, slope.science),
            chi2=chi2.science,
            count=chi2.extras["COUNT"],
            correlation=float(body["correlation"]),
            temperatures_c=(float(body["temperatures_c"][0]), float(body["temperatures_c"][1])),
            frame_noise=float(body["frame_noise_adu"]),
            curvature=None if curvature is None else Curvature(**curvature),
            left_out=tuple(LeftOut(**one) for one in body["left_out"]),
            sloped=bool(body.get("sloped", np.any(slope.science))),  # older files do not say it
        )
    except (KeyError, TypeError, ValueError) as error:
        raise RejectedInput(f"{shown(folder)}: holds no complete bias model ({error})") from error


def dark_cards(model: DarkModel) -> list[Card]:
    """Cards that say what the maps of a dark model mean."""
    shape = model.shape
    return [
        UNITS,
        ("T_REF", shape.reference_c, "deg C, reference temperature of the rate"),
        ("E_REF", shape.reference_s, "s, reference exposure of the rate"),
        ("DARKLAW", shape.law, "of the temperature"),
        ("B_G", shape.b, "1/K, shared by pixels without an own one"),
        ("GAMMA", shape.gamma, "signal goes as t^(1 + gamma)"),
        ("T_MIN", model.temperatures_c[0], "deg C, lowest temperature fitted"),
        ("T_MAX", model.temperatures_c[1], "deg C, highest temperature fitted"),
        ("E_MIN", model.exposures_s[0], "s, shortest exposure fitted"),
        ("E_MAX", model.exposures_s[1], "s, longest exposure fitted"),
    ]


def save_dark(folder: Path, model: DarkModel, *, two_dimensional: bool = True, durable: bool = True) -> list[Path]:
    """Maps of A (rate at the reference), B, gamma, hot pixels, parameters: ``A_map_2D.fits``..., of one exposure ``A_map.fits``..."""
    tail = "_2D" if two_dimensional else ""
    cards = dark_cards(model)
    rate, slope, hot = folder / f"A_map{tail}.fits", folder / f"B_map{tail}.fits", folder / "hot_pixels.fits"
    extras: dict[str, Array] = {"CHI2": model.chi2, "COUNT": model.count, "RHO": model.correlation}
    write_image_product(
        rate, science=model.rate, uncertainty=model.rate_error, mask=model.flags, unit="adu/s", extras=extras, cards=cards, durable=durable
    )
    b_map = (model.db + np.float32(model.shape.b)).astype(np.float32)
    shared = np.float32(np.nan if model.shape.b_error is None else model.shape.b_error)
    b_error = np.where(np.isfinite(model.db_error), model.db_error, shared)
    own = np.isfinite(model.db_error).astype(np.uint8)
    planes: dict[str, Array] = {"OWN": own, "DB": model.db}
    write_image_product(slope, science=b_map, uncertainty=b_error, unit="1/K", extras=planes, cards=cards, durable=durable)
    write_image_product(hot, science=model.hot.astype(np.float32), unit="", cards=cards, durable=durable)
    files = [rate, slope, hot]
    if two_dimensional:
        gamma = folder / "GAMMA_map_2D.fits"
        write_image_product(gamma, science=np.full(model.rate.shape, model.shape.gamma, np.float32), unit="", cards=cards, durable=durable)
        files.append(gamma)
    return [*files, *_save_parameters(folder, model, two_dimensional, durable)]


def _save_parameters(folder: Path, model: DarkModel, two_dimensional: bool, durable: bool) -> list[Path]:
    shape = model.shape
    values = {"A_g": shape.rate, "B_g": shape.b, "t_min": shape.reference_c, "t_ref": shape.reference_c, "e_ref": shape.reference_s}
    name = "global_params_2d.npz" if two_dimensional else "global_params.npz"
    numbers: dict[str, Any] = {key: np.float64(value) for key, value in values.items()}
    arrays = write_new(folder / name, lambda file: np.savez(file, **numbers), durable=durable)
    body = {
        "format": FORMAT,
        "law": "signal = R exp((B + db) u(T)) t (t / t_ref)^gamma",
        "units": "adu of the raw frame as stored",
        "shape": asdict(shape),
        "noise": asdict(model.noise),
        "hot_limit_adu_per_s": model.hot_limit,
        "temperatures_c": list(model.temperatures_c),
        "exposures_s": list(model.exposures_s),
        "two_dimensional": two_dimensional,
        "left_out": [asdict(one) for one in model.left_out],
    }
    return [arrays, _save_json(folder / DARK_JSON, body, durable)]


def load_dark(folder: Path) -> DarkModel:
    """The model of :func:`save_dark`; RejectedInput when the folder holds none."""
    body = _load_json(folder / DARK_JSON)
    tail = "_2D" if body.get("two_dimensional") else ""
    rate, slope = read_image_product(folder / f"A_map{tail}.fits"), read_image_product(folder / f"B_map{tail}.fits")
    try:
        error = np.where(slope.extras["OWN"] > 0, _plane(slope.uncertainty, slope.science), np.float32(np.nan))
        return DarkModel(
            rate=rate.science,
            rate_error=_plane(rate.uncertainty, rate.science),
            db=slope.extras["DB"],
            db_error=error.astype(np.float32),
            correlation=rate.extras["RHO"],
            chi2=rate.extras["CHI2"],
            count=rate.extras["COUNT"],
            flags=_plane(rate.mask, np.zeros(rate.science.shape, np.uint16)),
            shape=DarkShape(**body["shape"]),
            noise=NoiseLaw(**body["noise"]),
            hot_limit=float(body["hot_limit_adu_per_s"]),
            temperatures_c=(float(body["temperatures_c"][0]), float(body["temperatures_c"][1])),
            exposures_s=(float(body["exposures_s"][0]), float(body["exposures_s"][1])),
            left_out=tuple(LeftOut(**one) for one in body["left_out"]),
        )
    except (KeyError, TypeError, ValueError) as error_:
        raise RejectedInput(f"{shown(folder)}: holds no complete dark model ({error_})") from error_


def _plane(plane: Array | None, absent: Array) -> Array:
    return np.full_like(absent, np.nan) if plane is None else plane


def _save_json(path: Path, body: Mapping[str, Any], durable: bool) -> Path:
    return write_text(path, json.dumps(_plain(body), indent=1, allow_nan=False) + "\n", durable=durable)


def _plain(value: Any) -> Any:
    """JSON values; a number that is not finite becomes null."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value.item() if isinstance(value, np.generic) else value


def _load_json(path: Path) -> dict[str, Any]:
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise RejectedInput(f"{shown(path.parent)}: holds no {path.name}, so it is no folder of a model") from error
    except (ValueError, OSError) as error:
        raise RejectedInput(f"{shown(path)}: cannot be read as a model ({error})") from error
    if not isinstance(body, dict) or body.get("format") != FORMAT:
        raise RejectedInput(f"{shown(path)}: is no model of form {FORMAT}")
    return body

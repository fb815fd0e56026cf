"""Speckle maps as files: FITS with an image (or a cube of steps) for each quantity, HDF5 with the same arrays."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nightcrew.io.atomic import NewFile
from nightcrew.io.cardtext import format_card
from nightcrew.mkid.cube_files import STAMP, Card, window_cards
from nightcrew.mkid.speckle import DESCRIPTIONS, SpeckleFlag
from nightcrew.mkid.speckle_maps import PARAMETERS, SpeckleMaps

FORMAT, VERSION = "nightcrew speckle maps", 1
_ABOUT = {"ic": "coherent part of the starlight", "is": "speckles", "ip": "companion, steady and incoherent"}


def arrays_of(maps: SpeckleMaps, *, steps: bool | None = None) -> dict[str, tuple[NDArray[Any], str, str]]:
    """Name -> (array, unit, what it is): ``[y, x]``, or ``[step, y, x]`` when there are several steps (or ``steps``)."""
    found: dict[str, tuple[NDArray[Any], str, str]] = {}
    for place, name in enumerate(PARAMETERS):
        if name == "ip" and not maps.rules.companion:
            continue
        found[name.upper()] = (maps.parameters_cps[place], "ct / s", f"intensity of the {_ABOUT[name]}")
        found[f"{name.upper()}_ERR"] = (maps.errors_cps[place], "ct / s", "one sigma; NaN where the value stands at a bound")
        found[f"{name.upper()}_LIM"] = (maps.limits_cps[place], "ct / s", "95 % limit where the value stands at a bound, else NaN")
        found[f"{name.upper()}_FREE"] = (maps.free_cps[place], "ct / s", "without the bound of IS or IP at 0: for averages")
        found[f"{name.upper()}_FREE_ERR"] = (maps.free_errors_cps[place], "ct / s", "its one sigma")
    found |= {
        "IC_IS_COV": (maps.covariance_cps2, "ct2 / s2", "covariance of IC and IS; 0 where one stands at a bound"),
        "FREE_COV": (maps.free_covariance_cps2, "ct2 / s2", "covariance of IC_FREE and IS_FREE"),
        "RATIO": (maps.ratio, "", "Ic / Is; NaN where Is is not above its error"),
        "RATIO_ERR": (maps.ratio_error, "", "one sigma of Ic / Is"),
        "MEAN": (maps.mean_cps, "ct / s", "photons per second"),
        "LOGLIKE": (maps.log_likelihood, "", "greatest ln of the likelihood"),
        "CHI2": (maps.chi2, "", "chi^2 of the fit, on counts that are independent of each other"),
        "DOF": (maps.dof.astype(np.int32), "", "its degrees of freedom"),
        "PROB": (maps.probability, "", "probability of a greater chi^2"),
        "TAU": (maps.decorrelation_s, "s", "decorrelation time of the intensity (1/e); NaN where it is not seen"),
        "FLAGS": (maps.flags.astype(np.int32), "", "why the numbers may not be believed; bits named by FLAGnn"),
        "VALID": (maps.valid.astype(np.uint8), "", "1: the numbers may be believed"),
    }
    several = maps.flags.shape[0] > 1 if steps is None else steps
    return {name: (values if several else values[0], unit, about) for name, (values, unit, about) in found.items()}


def head_cards(maps: SpeckleMaps) -> list[Card]:
    """Window, method and rules."""
    rules = maps.rules
    cards = window_cards(maps.start_us, maps.edges_us)
    cards += [
        ("METHOD", maps.method, "binned counts, or intervals between photons"),
        ("BIN", rules.bin_s, "[s] length of a bin"),
        ("COMPAN", rules.companion, "whether a companion (Ip) was fitted"),
        ("ERRORS", "block bootstrap" if any(maps.bootstrapped) else "curvature of the likelihood", "where errors come from"),
        ("RESAMPLE", rules.resamples, "resamples of the bootstrap"),
        ("SEED", rules.seed, "of the bootstrap"),
        ("DEADTIME", rules.dead_time_s, "[s] after each photon"),
        ("SPECRATE", "as counted", "neither flat field nor quantum efficiency in the rates"),
        ("SPECDEAD", "in the fit" if maps.method == "intervals" else "not corrected", "dead time in the rates"),
        ("BINUNDO", rules.correct_bin and maps.method == "binned", "whether averaging over a bin was undone"),
    ]
    for number, tau_s in enumerate(maps.array_decorrelation_s, 1):
        cards.append((f"TAU{number}", tau_s if np.isfinite(tau_s) else "not seen", "[s] decorrelation time of the array"))
    if maps.window_nm is not None:
        cards += [("WAVEMIN", maps.window_nm[0], "[nm]"), ("WAVEMAX", maps.window_nm[1], "[nm] not included")]
    return cards


def write_maps(path: Path, maps: SpeckleMaps, *, cards: Sequence[Card] = (), overwrite: bool = False) -> Path:
    """Write maps as FITS, or as HDF5 where the name ends with .h5; the same maps give the same bytes."""
    if path.suffix.lower() in (".h5", ".hdf5"):
        return _write_hdf5(path, maps, cards, overwrite)
    from astropy.io import fits

    def header(found: Sequence[Card]) -> Any:
        return fits.Header.fromstring("".join(format_card(*card) for card in found))

    flags: list[Card] = [(f"FLAG{flag.bit_length() - 1:02d}", flag.name or "", DESCRIPTIONS[flag]) for flag in SpeckleFlag]
    hdus = fits.HDUList([fits.PrimaryHDU(header=header([*head_cards(maps), *cards]))])
    for name, (values, unit, about) in arrays_of(maps).items():
        own: list[Card] = [*([("BUNIT", unit, "")] if unit else []), *(flags if name == "FLAGS" else []), ("COMMENT", about, "")]
        hdus.append(fits.ImageHDU(values, header(own), name=name))
    for hdu in hdus:
        hdu.add_checksum(when=STAMP)
    with NewFile(path, overwrite=overwrite) as new:
        hdus.writeto(new.file)
    return path


def _write_hdf5(path: Path, maps: SpeckleMaps, cards: Sequence[Card], overwrite: bool) -> Path:
    import h5py

    with NewFile(path, overwrite=overwrite) as new, h5py.File(new.part, "w", libver=("v110", "v110")) as file:
        file.attrs["format"], file.attrs["format_version"] = FORMAT, VERSION
        file.attrs["flags"] = [flag.name for flag in SpeckleFlag]
        for key, value, _ in [*head_cards(maps), *cards]:
            file.attrs[key] = value
        file.create_dataset("step_edges_us", data=maps.edges_us, track_times=False)
        for name, (values, unit, about) in arrays_of(maps, steps=True).items():
            data = file.create_dataset(name.lower(), data=values, compression="gzip", compression_opts=1, shuffle=True, track_times=False)
            data.attrs.update({"units": unit, "about": about})
    return path

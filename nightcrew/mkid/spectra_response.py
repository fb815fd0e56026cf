"""From counts to flux by a standard star: its known spectrum over what was counted of it, bin by bin.

response = (flux of the star, smoothed to the resolution and averaged over the bin) / (count rate of the star by wavelength), in
(erg / s / cm^2 / A) / (ct / s / nm).  Count rates by wavelength do not depend on the width of the bins, so a response serves cubes with
bins of any width: their rates, divided by the widths of their bins, times the response are in erg / s / cm^2 / A.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nightcrew.errors import Refused, RejectedInput, TransientError
from nightcrew.io.atomic import NewFile
from nightcrew.io.ecsv import ecsv_bytes
from nightcrew.io.source import shown
from nightcrew.mkid.calibrated import CalibratedTable
from nightcrew.mkid.cube import Cube
from nightcrew.mkid.spectra import Spectrum

Floats = NDArray[np.float64]
_FORMAT = "nightcrew response 2"
_FORMAT_BY_BIN = "nightcrew response 1"  # factors for the count rate in the bin, not by wavelength
_MOST_BYTES = 32 << 20
_FWHM_PER_SIGMA = 2.354820045
_LEAST_SHARE = 0.8  # of a star's light that has to be measured
_FINE = 40  # steps of the reference within the resolution's sigma, at least


@dataclass(frozen=True, kw_only=True)
class Reference:
    """A known spectrum: flux in erg / s / cm^2 / A at wavelengths in nm, ascending."""

    wavelength_nm: Floats
    flux: Floats
    name: str = ""


@dataclass(frozen=True, kw_only=True)
class Response:
    """Factor by bin, in (erg / s / cm^2 / A) / (ct / s / nm), with its one-sigma error from the star's counts; NaN where it gave none."""

    edges_nm: Floats
    factor: Floats
    error: Floats


def read_reference(path: Path) -> Reference:
    """A spectrum from text: two columns, wavelength in nm and flux in erg / s / cm^2 / A, with commas or blanks; ``#`` begins a remark.

    Raises :class:`RejectedInput` with the line that is wrong, :class:`TransientError` when the file cannot be read.
    """
    try:
        text = path.read_bytes()[:_MOST_BYTES].decode("utf-8", "replace")
    except OSError as error:
        raise TransientError(f"{shown(path)}: cannot be read ({error.strerror})") from error
    rows: list[tuple[float, float]] = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split("#", 1)[0].replace(",", " ").split()
        if not words:
            continue
        try:
            wavelength, flux = (float(word) for word in words[:2])
        except ValueError as error:
            if not rows and number <= 2:
                continue  # a heading
            raise RejectedInput(f"{shown(path)}: line {number} is not `wavelength_nm flux`") from error
        if not (math.isfinite(wavelength) and math.isfinite(flux) and wavelength > 0 and flux >= 0):
            raise RejectedInput(f"{shown(path)}: line {number} has no wavelength above 0 and flux from 0 on")
        rows.append((wavelength, flux))
    if len(rows) < 2:
        raise RejectedInput(f"{shown(path)}: holds no spectrum")
    table = np.array(sorted(rows))
    return Reference(wavelength_nm=table[:, 0], flux=table[:, 1], name=path.name)


def averaged(reference: Reference, edges_nm: Floats, resolution: float) -> Floats:
    """Mean flux in bins after smoothing with a Gaussian of FWHM wavelength / ``resolution``; NaN in bins that it does not cover."""
    if not resolution > 0:
        raise Refused("the energy resolution has to be above 0")
    sigma = 1 / (resolution * _FWHM_PER_SIGMA)  # in ln(wavelength), where it is the same everywhere
    low, high = float(reference.wavelength_nm[0]), float(reference.wavelength_nm[-1])
    fine = np.exp(np.linspace(math.log(low), math.log(high), max(int(math.log(high / low) / sigma * _FINE), 200)))
    step = math.log(fine[1] / fine[0])
    reach = np.arange(-math.ceil(5 * sigma / step), math.ceil(5 * sigma / step) + 1) * step
    kernel = np.exp(-0.5 * (reach / sigma) ** 2)
    flux = np.interp(fine, reference.wavelength_nm, reference.flux)
    covered = np.convolve(np.ones_like(fine), kernel, mode="same")
    smooth = np.convolve(flux, kernel, mode="same") / covered
    total = np.concatenate([[0.0], np.cumsum(0.5 * (smooth[1:] + smooth[:-1]) * np.diff(fine))])
    means: Floats = np.diff(np.interp(edges_nm, fine, total)) / np.diff(edges_nm)
    return np.where((edges_nm[:-1] >= low * (1 - 1e-9)) & (edges_nm[1:] <= high * (1 + 1e-9)), means, np.nan)


def response_of(star: Spectrum, reference: Reference, resolution: float) -> Response:
    """Response from the spectrum of a standard star (its aperture's, above the sky)."""
    flux = averaged(reference, star.bins.edges_nm, resolution)
    rate = np.where(star.rate_cps > 0, star.rate_cps, np.nan)
    factor = flux / (rate / np.diff(star.bins.edges_nm))
    return Response(edges_nm=star.bins.edges_nm, factor=factor, error=factor * star.rate_error_cps / rate)


def typical_resolution(table: CalibratedTable) -> float:
    """Median energy resolution of the table's wavelength solution; ``Refused`` when it is not known."""
    solution = table.calibrations.wavelength
    known = [] if solution is None else [middle for middle, _, _ in solution.resolution_by_laser() if math.isfinite(middle)]
    if not known:
        raise Refused("the energy resolution is not known from the wavelength solution: name it")
    return float(np.median(known))


def calibrated_flux(cube: Cube, response: Response) -> tuple[Floats, Floats]:
    """Flux ``[time, wavelength, y, x]`` in erg / s / cm^2 / A of a cube, and its one-sigma error: counts and response together.

    The response is interpolated in a straight line between the middles of its bins, and NaN beyond them and beside bins in which it is
    not known; rates are divided by the widths of the cube's own bins.  ``Refused`` for a cube without wavelengths.
    """
    if cube.wavelengths is None:
        raise Refused("a cube without wavelengths cannot be calibrated in flux")
    if np.isfinite(response.factor).sum() < 2:
        raise Refused("the response is known in fewer than two bins")
    middles, at = ((edges[1:] + edges[:-1]) / 2 for edges in (response.edges_nm, cube.wavelengths.edges_nm))
    factor, error = (
        (np.interp(at, middles, values, left=np.nan, right=np.nan) / np.diff(cube.wavelengths.edges_nm))[:, None, None]
        for values in (response.factor, response.error)
    )
    rate = cube.rate_cps
    return rate * factor, np.hypot(cube.rate_error_cps * factor, rate * error)


def above_sky(star: Spectrum, sky: Spectrum) -> Spectrum:
    """The star's spectrum less the sky of as many pixels; the errors of both are in it."""
    share = len(star.pixels) / len(sky.pixels)
    return replace(
        star, rate_cps=star.rate_cps - share * sky.rate_cps, rate_error_cps=np.hypot(star.rate_error_cps, share * sky.rate_error_cps)
    )


def whole(star: Spectrum, share: float) -> Spectrum:
    """The spectrum of all of an aperture of which ``share`` of the star's light was measured; ``Refused`` where that is too little."""
    if not share >= _LEAST_SHARE:
        raise Refused(f"only {100 * share:.0f} % of the star's light in the aperture falls on usable pixels: choose another radius or star")
    return replace(star, rate_cps=star.rate_cps / share, rate_error_cps=star.rate_error_cps / share)


def write_response(path: Path, response: Response, *, meta: Mapping[str, object] | None = None, overwrite: bool = False) -> Path:
    """Write a response as ECSV: start and stop of the bins, factor and error."""
    from astropy.table import Table

    unit = "erg nm / (ct cm2 AA)"
    table = Table(
        {"start": response.edges_nm[:-1], "stop": response.edges_nm[1:], "factor": response.factor, "error": response.error},
        meta={"format": _FORMAT, **(meta or {})},
    )
    for name, its_unit in (("start", "nm"), ("stop", "nm"), ("factor", unit), ("error", unit)):
        table[name].unit = its_unit
    with NewFile(path, overwrite=overwrite) as new:
        new.file.write(ecsv_bytes(table))
    return path


def read_response(path: Path) -> Response:
    """Read what :func:`write_response` wrote; :class:`RejectedInput` for another file, :class:`TransientError` when there is none."""
    from astropy.table import Table

    if not path.is_file():
        raise TransientError(f"{shown(path)}: there is no such file")
    try:
        table = Table.read(path, format="ascii.ecsv")
        columns = [np.asarray(table[name], dtype=np.float64) for name in ("start", "stop", "factor", "error")]
    except (ValueError, KeyError, UnicodeDecodeError, TypeError) as error:
        raise RejectedInput(f"{shown(path)}: is no response") from error
    start, stop, factor, error_ = columns
    known = table.meta.get("format") in (_FORMAT, _FORMAT_BY_BIN)
    if not known or start.size < 2 or not np.allclose(start[1:], stop[:-1]) or not (stop > start).all():
        raise RejectedInput(f"{shown(path)}: is no response")
    width = stop - start if table.meta["format"] == _FORMAT_BY_BIN else 1.0
    return Response(edges_nm=np.append(start, stop[-1]), factor=factor * width, error=error_ * width)

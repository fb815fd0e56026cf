"""Images and cubes as files: FITS for every viewer, HDF5 with the same arrays.  The same cube gives the same bytes.

FITS: the primary HDU ``SCI`` is the rate, then ``UNCERT`` (one sigma of it), ``MASK`` (1: bad pixel, or one that did not count),
``COUNTS`` (weighted), ``VARIANCE``, ``PHOTONS`` (as counted), ``EXPOSURE``, ``FLAGS``, ``TIME_EDGES`` and ``WAVE_EDGES``.  Axes
are ``[y, x]`` for an image, ``[wavelength, y, x]`` or ``[time, y, x]`` for a cube, ``[time, wavelength, y, x]`` for both.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nightcrew.io.atomic import NewFile
from nightcrew.io.cardtext import format_card, plain
from nightcrew.mkid import flags as f
from nightcrew.mkid.cube import Cube
from nightcrew.mkid.spectra_response import Response, calibrated_flux
from nightcrew.mkid.wavelength_solution import HC_EV_NM

Card = tuple[str, str | int | float | bool, str]
_MJD_UNIX_EPOCH = 40587
_UNIX_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
STAMP = "checksum without a date"
"""Comment of CHECKSUM and DATASUM."""
FORMAT, VERSION = "nightcrew mkid cube", 1
_FEWER_AXES = {"EXPOSURE": ("time",), "FLAGS": ()}
"""Arrays that do not have all axes of the cube, with those that they may have beside y and x."""


def axes_of(cube: Cube, *, keep_time: bool | None = None, keep_wavelength: bool | None = None) -> tuple[str, ...]:
    """Names of the axes of the file before y and x; an axis of one bin is left out unless it is asked for."""
    time = cube.shape[0] > 1 if keep_time is None else keep_time
    wave = cube.shape[1] > 1 if keep_wavelength is None else keep_wavelength
    return (*(("time",) if time else ()), *(("wavelength",) if wave else ()))


def _squeezed(values: NDArray[Any], axes: tuple[str, ...]) -> NDArray[Any]:
    """[time, wavelength, y, x] with the axes of one bin left out."""
    dropped = tuple(place for place, name in enumerate(("time", "wavelength")) if name not in axes)
    return values.squeeze(dropped)


def arrays_of(cube: Cube, axes: tuple[str, ...]) -> dict[str, tuple[NDArray[Any], str, str]]:
    """Name -> (array, unit, what it is) in the order of the file."""
    exposure = cube.exposure_s[:, None]
    mask = np.broadcast_to(cube.bad | ~(exposure > 0), cube.shape).astype(np.uint8)
    full: dict[str, tuple[NDArray[Any], str, str]] = {
        "SCI": (cube.rate_cps, "ct / s", "rate: weighted counts per second of exposure"),
        "UNCERT": (cube.rate_error_cps, "ct / s", "one sigma of the rate, from the counts"),
        "MASK": (mask, "", "1: a problem is flagged, or the pixel did not count"),
        "COUNTS": (cube.weighted, "ct", "sum of the weights of the photons"),
        "VARIANCE": (cube.variance, "ct2", "sum of the squared weights of the photons"),
        "PHOTONS": (_narrow(cube.counts), "ct", "photons as they were counted"),
    }
    found = {name: (_squeezed(values, axes), unit, about) for name, (values, unit, about) in full.items()}
    time = exposure[:, 0] if "time" in axes else exposure[0, 0]
    found["EXPOSURE"] = (time, "s", f"time in which the pixel counted; dead time is taken into account in: {cube.dead_time_in}")
    found["FLAGS"] = (cube.flag, "", "flags of the pixels, bits named by the keywords FLAGnn")
    found["TIME_EDGES"] = (cube.time_edges_us / 1e6, "s", "edges of the steps, since the start of the photon table")
    if cube.wavelengths is not None:
        found["WAVE_EDGES"] = (cube.wavelengths.edges_nm, "nm", f"edges of the bins, evenly spaced in: {cube.wavelengths.spacing}")
    return found


def _narrow(counts: NDArray[np.int64]) -> NDArray[Any]:
    return counts.astype(np.int32) if counts.max(initial=0) < 2**31 else counts


def window_cards(start_us: int, edges_us: NDArray[np.int64]) -> list[Card]:
    """The window between the first and the last edge (since the start of the table, Unix time ``start_us``)."""
    first_us, last_us = (start_us + int(edge) for edge in edges_us[[0, -1]])
    return [
        ("DATE-BEG", _iso(first_us), "start of the window, UTC of the readout's clock"),
        ("DATE-END", _iso(last_us), "end of the window, not included"),
        ("TIMESYS", "UTC", "no barycentric correction"),
        ("MJD-BEG", first_us / 86_400e6 + _MJD_UNIX_EPOCH, "start of the window"),
        ("MJD-END", last_us / 86_400e6 + _MJD_UNIX_EPOCH, "end of the window"),
        ("UNIXSTR", start_us / 1e6, "[s] start of the photon table"),
        ("TELAPSE", (last_us - first_us) / 1e6, "[s] length of the window"),
    ]


def head_cards(cube: Cube) -> list[Card]:
    """What the whole file says of itself: window, spacing, exposure and log; nothing about its making."""
    cards = window_cards(cube.start_us, cube.time_edges_us)
    cards.append(("DEADTIME", cube.dead_time_in, "where dead time is taken into account"))
    if cube.wavelengths is not None:
        edges = cube.wavelengths.edges_nm
        cards += [("WAVEMIN", float(edges[0]), "[nm]"), ("WAVEMAX", float(edges[-1]), "[nm] not included")]
        cards += [("WAVESPAC", cube.wavelengths.spacing, "what the bins are evenly spaced in")]
    for name, value in sorted(cube.facts.items()):
        key = plain(name).upper().replace("=", "_")[:30]
        if isinstance(value, str):
            cards.append((f"TABLE {key}", plain(value)[:40], ""))
        elif np.isfinite(value):
            cards.append((f"TABLE {key}", value, ""))
    return cards


def _iso(unix_us: int) -> str:
    return (_UNIX_EPOCH + datetime.timedelta(microseconds=unix_us)).strftime("%Y-%m-%dT%H:%M:%S.%f")


def axis_cards(cube: Cube, axes: tuple[str, ...], sky: Sequence[Card] = ()) -> list[Card]:
    """World coordinates of an array with these axes; ``sky`` are those of x and y, pixel numbers without them."""
    cards: list[Card] = [("CTYPE1", "", "x, the column of the array"), ("CTYPE2", "", "y, the row of the array")]
    cards = list(sky) or [*cards, *((f"{key}{axis}", 1.0, "") for axis in (1, 2) for key in ("CRPIX", "CRVAL", "CDELT"))]
    for number, name in enumerate(reversed(axes), 3):
        cards += _time_axis(cube, number) if name == "time" else _wave_axis(cube, number)
    return cards


def _time_axis(cube: Cube, number: int) -> Iterator[Card]:
    edges_s = cube.time_edges_us / 1e6
    step_s = float(edges_s[1] - edges_s[0])
    yield (f"CTYPE{number}", "TIME", "seconds since the start of the photon table; TIME_EDGES has the edges")
    yield (f"CUNIT{number}", "s", "")
    yield (f"CRPIX{number}", 1.0, "")
    yield (f"CRVAL{number}", float(edges_s[0]) + step_s / 2, "middle of the first step")
    yield (f"CDELT{number}", step_s, "the last step may be shorter")


def _wave_axis(cube: Cube, number: int) -> Iterator[Card]:
    bins = cube.wavelengths
    if bins is None:
        return
    kind, unit, edges = "WAVE", "nm", bins.edges_nm
    if bins.spacing == "energy":
        kind, unit, edges = "ENER", "eV", HC_EV_NM / bins.edges_nm
    even = bins.spacing in ("energy", "wavelength", "one")
    yield (f"CTYPE{number}", kind if even else "WAVEBIN", "" if even else "number of the bin; WAVE_EDGES has the edges")
    if even:
        yield (f"CUNIT{number}", unit, "")
    yield (f"CRPIX{number}", 1.0, "")
    yield (f"CRVAL{number}", float(edges[0] + edges[1]) / 2 if even else 1.0, "middle of the first bin" if even else "")
    yield (f"CDELT{number}", float(edges[1] - edges[0]) if even else 1.0, "")


def _axes_with(name: str, axes: tuple[str, ...]) -> tuple[str, ...]:
    """Those of the cube's axes beside y and x that an array has."""
    return tuple(axis for axis in axes if name not in _FEWER_AXES or axis in _FEWER_AXES[name])


def flag_cards() -> list[Card]:
    """Names and meanings of the bits of FLAGS."""
    return [(f"FLAG{bit:02d}", name, about) for bit, (name, about) in enumerate(f.FLAGS.items())]


def _header(fits: Any, cards: Sequence[Card]) -> Any:
    return fits.Header.fromstring("".join(format_card(*card) for card in cards))


def _with_flux(arrays: dict[str, tuple[NDArray[Any], str, str]], cube: Cube, response: Response | None, axes: tuple[str, ...]) -> None:
    """Add flux and its error after what is counted, in place."""
    if response is not None:
        unit = "erg / (s cm2 AA)"
        for name, values, about in zip(
            ("FLUX", "FLUX_ERR"), calibrated_flux(cube, response), ("rate times response", "one sigma"), strict=True
        ):
            arrays[name] = (_squeezed(values, axes), unit, about)


def write_fits(
    path: Path,
    cube: Cube,
    *,
    axes: tuple[str, ...] | None = None,
    cards: Sequence[Card] = (),
    sky: Sequence[Card] = (),
    response: Response | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a cube as FITS; ``cards`` join the primary header, ``sky`` are the world coordinates of x and y, ``response`` adds flux."""
    from astropy.io import fits

    chosen = axes_of(cube) if axes is None else axes
    hdus = fits.HDUList()
    arrays = arrays_of(cube, chosen)
    _with_flux(arrays, cube, response, chosen)
    for name, (values, unit, about) in arrays.items():
        own: list[Card] = [("BUNIT", unit, "")] if unit else []
        own += axis_cards(cube, _axes_with(name, chosen), sky) if values.ndim > 1 else []
        if name == "UNCERT":
            own.append(("UTYPE", "StdDevUncertainty", "one standard deviation"))
        if name == "FLAGS":
            own += flag_cards()
        header = _header(fits, [*own, ("COMMENT", about, "")])
        stored = values.astype(np.float32) if name in ("SCI", "UNCERT") else values
        if not hdus:
            hdus.append(fits.PrimaryHDU(stored, header))
            hdus[0].header["EXTNAME"] = name
            hdus[0].header.extend(_header(fits, [*head_cards(cube), *cards]))
        else:
            hdus.append(fits.ImageHDU(stored, header, name=name))
    for hdu in hdus:
        hdu.add_checksum(when=STAMP)

    with NewFile(path, overwrite=overwrite) as new:
        hdus.writeto(new.file)
    return path


def write_hdf5(
    path: Path,
    cube: Cube,
    *,
    axes: tuple[str, ...] | None = None,
    facts: Mapping[str, Any] | None = None,
    sky: Sequence[Card] = (),
    response: Response | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a cube as HDF5: a dataset for each array, with ``units``, ``about``, coordinates; attributes as the header of the FITS file."""
    import h5py

    chosen = axes_of(cube) if axes is None else axes
    with NewFile(path, overwrite=overwrite) as new, h5py.File(new.part, "w", libver=("v110", "v110")) as file:
        file.attrs["format"], file.attrs["format_version"] = FORMAT, VERSION
        file.attrs["axes"] = [*chosen, "y", "x"]
        file.attrs["flags"] = list(f.FLAGS)
        for key, value, _ in head_cards(cube):
            file.attrs[key] = value
        for key, value in (facts or {}).items():
            file.attrs[key] = value
        arrays = arrays_of(cube, chosen)
        _with_flux(arrays, cube, response, chosen)
        for name, (values, unit, about) in arrays.items():
            packed = {"compression": "gzip", "compression_opts": 1, "shuffle": True} if values.ndim > 1 else {}
            data = file.create_dataset(name.lower(), data=values, track_times=False, **packed)
            data.attrs.update({"units": unit, "about": about})
            if values.ndim > 1:
                data.attrs.update({key: value for key, value, _ in axis_cards(cube, _axes_with(name, chosen), sky)})
    return path


def write_cube(path: Path, cube: Cube, **options: Any) -> Path:
    """By the ending of the name: ``.h5`` or ``.hdf5`` is HDF5, anything else FITS."""
    if path.suffix.lower() in (".h5", ".hdf5"):
        options["facts"] = {key: value for key, value, _ in options.pop("cards", ())}
        return write_hdf5(path, cube, **options)
    return write_fits(path, cube, **options)

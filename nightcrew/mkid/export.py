"""A calibrated copy of a photon table, for programs that know nothing of calibrations beside it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from nightcrew.errors import TransientError
from nightcrew.io.atomic import NewFile
from nightcrew.io.source import shown
from nightcrew.mkid import flags as f
from nightcrew.mkid.calibrated import CalibratedTable
from nightcrew.mkid.columns import ColumnWriter

FORMAT = "nightcrew calibrated photons"


def export_calibrated(table: CalibratedTable, final: Path) -> int:
    """Write every photon that is not masked as columns resid, time_us, wavelength_nm and weight; returns their number.

    Rows are in order of slab, pixel, time.  Pixels without a solution have NaN wavelengths and keep ``phase_deg``.  Attributes are those
    of the table, ``calibrations`` says with what it was calibrated, ``flags`` and ``exposure_s`` [y, x] what each pixel is worth.
    """
    import h5py

    with NewFile(final) as new:
        try:
            with h5py.File(new.part, "w", libver=("v110", "v110")) as file:
                return _fill(file, table)
        except OSError as error:
            if error.errno is None:  # HDF5 keeps the number to itself
                raise TransientError(f"{shown(final)}: cannot be written now ({error})") from error
            raise


def _fill(file: object, table: CalibratedTable) -> int:
    import h5py

    if not isinstance(file, h5py.File):
        raise TypeError("no file to write to")
    group = file.create_group("photons")
    columns = {
        "resid": ColumnWriter(group, "resid", np.uint32, {"about": "resonator"}),
        "time_us": ColumnWriter(group, "time_us", np.uint64, {"about": "time since start_unix_us", "units": "us"}),
        "wavelength_nm": ColumnWriter(group, "wavelength_nm", np.float32, {"about": "NaN: not calibrated", "units": "nm"}),
        "weight": ColumnWriter(group, "weight", np.float32, {"about": "flat field times linearity"}),
        "phase_deg": ColumnWriter(group, "phase_deg", np.float32, {"about": "raw pulse height", "units": "deg"}),
    }
    count = 0
    for slab in table.slabs():
        for name, column in columns.items():
            column.append(getattr(slab, name))
        count += len(slab)
    for column in columns.values():
        column.close()
    kept = {name: value for name, value in table.table.attributes.items() if name not in ("format", "format_version", "flags")}
    file.attrs.update({**kept, **_calibrations(table), "format": FORMAT, "format_version": 1, "flags": list(f.FLAGS), "photons": count})
    maps = {"resid": table.resid, "flag": table.flag, "exposure_s": table.exposure_s()}
    for name, values in maps.items():
        file.create_dataset(f"pixels/{name}", data=values, compression="gzip", compression_opts=1, shuffle=True).attrs["about"] = "[y, x]"
    return count


def _calibrations(table: CalibratedTable) -> dict[str, str]:
    parts = table.calibrations
    known = {"wavecal": parts.wavelength, "flatcal": parts.flat, "pixcal": parts.masks, "cosmiccal": parts.cosmic}
    found = {name: "" if one is None else json.dumps(one.provenance, sort_keys=True) for name, one in known.items()}
    return {**found, "lincal": "" if parts.linearity_step_s is None else f"rates in steps of {parts.linearity_step_s:g} s"}

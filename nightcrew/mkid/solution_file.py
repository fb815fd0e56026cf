"""HDF5 files of calibrations: arrays with what they mean, the resonators they belong to, and where they come from.

A calibration is a file of its own and is applied on reading, so a photon table never changes, and a better calibration replaces
one by name.  Every array is described by an attribute; ``provenance`` is JSON text with parameters and inputs (name, sha256).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nightcrew.errors import RejectedInput, TransientError
from nightcrew.io.atomic import NewFile
from nightcrew.io.hdf5 import open_hdf5, sound, trust
from nightcrew.io.source import shown
from nightcrew.mkid import flags as f

PREFIX = "nightcrew mkid "
WAVELENGTH, FLAT, MASKS, COSMIC = "wavelength solution", "flat field", "pixel masks", "cosmic rays"
KINDS = (WAVELENGTH, FLAT, MASKS, COSMIC)
VERSION = 1
MOST_BYTES = 1 << 31  # of one dataset: no array of a calibration comes near
_DIGEST_PIECE = 1 << 20

Provenance = Mapping[str, Any]


def write_solution(
    final: Path,
    kind: str,
    arrays: Mapping[str, tuple[NDArray[Any], str]],
    provenance: Provenance,
    attributes: Mapping[str, Any] | None = None,
    *,
    overwrite: bool = False,
) -> None:
    """Write the file whole or not at all; ``arrays`` maps dataset names to values and their meaning.

    The same content gives the same bytes.  Without ``overwrite`` another file under the name is left alone and is an error.
    """
    import h5py

    with NewFile(final, overwrite=overwrite) as new:
        try:
            with h5py.File(new.part, "w", libver=("v110", "v110")) as file:
                file.attrs.update({"format": PREFIX + kind, "format_version": VERSION, "flags": list(f.FLAGS), **(attributes or {})})
                for name, (values, about) in arrays.items():
                    packed = {"compression": "gzip", "compression_opts": 1, "shuffle": True} if values.size > 1024 else {}
                    file.create_dataset(name, data=values, **packed).attrs["about"] = about
                file.create_dataset("provenance", data=json.dumps(provenance, sort_keys=True, allow_nan=False))
        except OSError as error:
            if error.errno is None:  # HDF5 keeps the number to itself
                raise TransientError(f"{shown(final)}: cannot be written now ({error})") from error
            raise
    trust(final)


class SolutionFile:
    """A calibration, open for reading.  Use as a context manager.

    Raises :class:`RejectedInput` when the file is none, is damaged, or is of another kind than ``kind``, :class:`TransientError` when it
    is not there.
    """

    def __init__(self, path: Path, kind: str | None = None) -> None:
        self.path = path
        try:
            self._file: Any = open_hdf5(path)
        except RejectedInput as error:
            raise RejectedInput(f"{error}, so no calibration") from error
        try:
            self.kind = self._kind(kind)
        except RejectedInput:
            self._file.close()
            raise

    def __enter__(self) -> SolutionFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def _kind(self, wanted: str | None) -> str:
        with sound(self.path):
            found = str(self._file.attrs.get("format", ""))
        kind = found.removeprefix(PREFIX)
        if kind not in KINDS or found == kind:
            raise RejectedInput(f"{shown(self.path)}: is an HDF5 file, but no calibration of photon lists")
        if wanted is not None and kind != wanted:
            raise RejectedInput(f"{shown(self.path)}: holds a {kind}, not a {wanted}")
        if self.attribute("format_version") != VERSION:
            raise RejectedInput(f"{shown(self.path)}: has format {self._file.attrs.get('format_version')}, this program reads {VERSION}")
        return kind

    def array(self, name: str) -> NDArray[Any]:
        """A dataset; :class:`RejectedInput` when it is not there, claims more than :data:`MOST_BYTES`, or cannot be unpacked."""
        with sound(self.path):
            found = self._file.get(name)
        if not hasattr(found, "nbytes"):
            raise RejectedInput(f"{shown(self.path)}: is damaged, it has no {name}")
        if found.nbytes > MOST_BYTES:  # a small file may unpack to anything
            raise RejectedInput(f"{shown(self.path)}: is damaged, {name} claims {found.nbytes} bytes")
        try:
            return np.asarray(found[()])
        except (OSError, ValueError, TypeError) as error:
            raise RejectedInput(f"{shown(self.path)}: is damaged, {name} cannot be unpacked") from error

    def shaped(self, names: Iterable[str]) -> dict[str, NDArray[Any]]:
        """Datasets by name, each of the shape that its description gives, such as ``[laser, y, x, 3]``: y and x as in ``resid``, numbers as
        they are.  :class:`RejectedInput` for a dataset of another shape.
        """
        found = {name: self.array(name) for name in names}
        if found["resid"].ndim != 2:
            raise RejectedInput(f"{shown(self.path)}: is damaged, resid has the shape {found['resid'].shape}")
        for name, values in found.items():
            if values.dtype.kind not in "biuf":
                raise RejectedInput(f"{shown(self.path)}: is damaged, {name} holds no numbers")
        rows, columns = found["resid"].shape
        known = {"y": rows, "x": columns}
        for name, values in found.items():
            with sound(self.path):
                about = str(self._file[name].attrs.get("about", ""))
            said = about.partition("]")[0].removeprefix("[").split(", ")
            wanted = [known.get(axis, int(axis) if axis.isdecimal() else None) for axis in said]
            fits = len(wanted) == values.ndim and all(size in (None, real) for size, real in zip(wanted, values.shape, strict=True))
            if not fits:
                raise RejectedInput(f"{shown(self.path)}: is damaged, {name} has the shape {values.shape}")
        return found

    def flag(self, name: str = "flag") -> NDArray[np.uint32]:
        """Flags in today's bits, decoded by the names in the file."""
        stored = self.array(name)
        with sound(self.path):
            return f.named(stored.astype(np.uint32), [str(one) for one in self._file.attrs["flags"]])

    def attribute(self, name: str) -> Any:
        """An attribute as Python has it; None when it is not there."""
        with sound(self.path):
            value = self._file.attrs.get(name)
        return value.tolist() if hasattr(value, "tolist") else value

    @property
    def provenance(self) -> dict[str, Any]:
        with sound(self.path):
            values = json.loads(self.array("provenance").item())
        if not isinstance(values, dict):
            raise RejectedInput(f"{shown(self.path)}: is damaged, its provenance is none")
        return values


def kind_of(path: Path) -> str:
    """Which of :data:`KINDS` a file holds; errors as of :class:`SolutionFile`."""
    with SolutionFile(path) as file:
        return file.kind


def sha256_of(path: Path) -> str:
    """Digest of a file's bytes; :class:`TransientError` when it cannot be read."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while piece := file.read(_DIGEST_PIECE):
                digest.update(piece)
    except OSError as error:
        raise TransientError(f"{shown(path)}: cannot be read ({error.strerror})") from error
    return digest.hexdigest()


def places_of(wanted: NDArray[np.uint32], known: NDArray[np.uint32]) -> NDArray[np.intp]:
    """For each resonator [y, x] of a table the flat place of the same resonator in a calibration, -1 where it has none.

    A calibration belongs to resonators, not to places: it survives a new beam map.
    """
    flat = known.ravel()
    if wanted.shape == known.shape and np.array_equal(wanted, known):
        return np.where(flat > 0, np.arange(flat.size), -1).reshape(wanted.shape)
    order = np.argsort(flat, kind="stable")
    at = np.minimum(np.searchsorted(flat[order], wanted), flat.size - 1)
    place = order[at]
    return np.where((flat[place] == wanted) & (wanted > 0), place, -1)

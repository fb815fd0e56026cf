"""A look at HDF5 files in a process of its own: the library that reads them may crash or spin for ever on a damaged one.

``python -m nightcrew.io.hdf5_probe`` reads paths (hex, a line each) and answers a line each: "" when everything that a reader
would meet was met here without harm, else a sentence.  See :mod:`nightcrew.io.hdf5` for the other side.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from typing import Any

CPU_BOX_S = 100  # of one file; then the kernel ends us, also when nobody waits for the answer any more
MEMORY_BOX_BYTES = 4 << 30
_MOST_OBJECTS = 100_000
_READ_WHOLE = 1 << 20  # bytes: smaller datasets are read, of larger ones the table of their chunks
_ERRORS = (OSError, KeyError, ValueError, TypeError, RuntimeError, AttributeError, MemoryError, OverflowError, RecursionError)


def look(path: bytes) -> str:
    """What is wrong with a file, "" when nothing is."""
    import h5py

    try:
        size = os.stat(path).st_size  # noqa: PTH116  a path of bytes
        with h5py.File(path, "r") as file:
            pending: list[tuple[str, Any]] = [("", file)]
            seen = 0
            while pending:
                name, one = pending.pop()
                seen += 1
                if seen > _MOST_OBJECTS:
                    return f"more than {_MOST_OBJECTS} objects"
                for key in one.attrs:
                    one.attrs[key]
                if isinstance(one, h5py.Group):
                    pending += _children(h5py, name, one)
                elif isinstance(one, h5py.Dataset):
                    _dataset(h5py, name, one, size)
    except _ERRORS as error:
        return str(error)[:300] or type(error).__name__
    return ""


def _children(h5py: Any, name: str, group: Any) -> list[tuple[str, Any]]:
    found = []
    for key in group:
        link = group.get(key, getlink=True)
        if not isinstance(link, h5py.HardLink):
            raise ValueError(f"{name}/{key} is a link, which may lead anywhere")
        found.append((f"{name}/{key}", group[key]))
    return found


def _dataset(h5py: Any, name: str, data: Any, size: int) -> None:
    if data.is_virtual or data.external:
        raise ValueError(f"{name} holds its values in other files")
    if data.chunks is not None:
        data.id.chunk_iter(lambda chunk: _in_file(name, chunk, size))
    elif data.nbytes > size and data.id.get_storage_size():
        raise ValueError(f"{name} claims {data.nbytes} bytes")
    if data.nbytes <= _READ_WHOLE or h5py.check_vlen_dtype(data.dtype) is not None:
        data[()]


def _in_file(name: str, chunk: Any, size: int) -> None:
    if chunk.byte_offset is None or chunk.byte_offset + chunk.size > size:
        raise ValueError(f"a chunk of {name} lies outside of the file")


def main() -> int:
    """Answer until nobody asks any more."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BOX_BYTES, MEMORY_BOX_BYTES))
    for line in sys.stdin:
        used = resource.getrusage(resource.RUSAGE_SELF)
        resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime) + CPU_BOX_S, resource.RLIM_INFINITY))
        sys.stdout.write(json.dumps(look(bytes.fromhex(line))) + "\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())

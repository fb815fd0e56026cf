"""Measurements of combining that run in a process of their own: ``python -m benchmarks.combine_inside WHAT ...``."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.combine import GROWING
from benchmarks.spent import timed_in_turns

READ_PIECE = 4 << 20


def _read(paths: list[Path]) -> None:
    """Read all bytes in pieces of 4 MB."""
    piece = memoryview(bytearray(READ_PIECE))
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        offset = 0
        while got := os.preadv(descriptor, [piece], offset):
            offset += got
        os.close(descriptor)


def worker_main(folder: Path, repeats: int, count: int) -> object:
    """Median, mean and sigma clip in a running process, beside reading."""
    from nightcrew.calibration.combine import combine
    from nightcrew.calibration.methods import SigmaClip

    paths = sorted(folder.glob("*.fits"))[:count]
    works: dict[str, Callable[[], object]] = {
        "read": lambda: _read(paths),
        "median": lambda: combine(paths, planes=("result",)),
        "median, all planes": lambda: combine(paths),
        "mean": lambda: combine(paths, method="mean", planes=("result",)),
        "sigma clip": lambda: combine(paths, method="mean", clip=SigmaClip(), planes=("result",)),
    }
    return timed_in_turns(works, repeats)


def growth_main(folder: Path, repeats: int, out: Path) -> dict[str, dict[str, float]]:
    """What ``nightcrew frames combine`` does with 10, 30 and 100 files, from its arguments to the finished file."""
    from nightcrew.tools.combine_request import Request
    from nightcrew.tools.combine_tool import combine_files

    paths = sorted(folder.glob("*.fits"))

    def command(count: int) -> None:
        out.unlink(missing_ok=True)
        list(combine_files(paths[:count], Request(method="median"), out))

    return timed_in_turns({str(count): partial(command, count) for count in GROWING}, repeats)


def rice_main(folder: Path, repeats: int) -> object:
    """Decode all pixels (stored numbers, nothing added), by CFITSIO's decoder and by the kernel, and combine them.

    CFITSIO's is called tile by tile as astropy compiled it, without astropy's wrapper, which costs as much again.
    """
    import numpy as np

    from nightcrew.calibration.combine import combine
    from nightcrew.io.headers import choose_image, read_hdus
    from nightcrew.io.images import ImageFile
    from nightcrew.io.source import open_source
    from nightcrew.io.tilecodecs import decoder, guarded, margin
    from nightcrew.io.tiletable import TileTable

    paths = sorted(folder.glob("*.fz"))
    with ImageFile(paths[0]) as first:
        if first.decoded is None:
            raise ValueError(f"{first.name}: its stored numbers do not serve as they are")
        room = np.empty(first.shape, first.decoded[0])

    def by_cfitsio() -> None:
        for path in paths:
            hdu = choose_image(read_hdus(path))
            with open_source(path) as source:
                table = TileTable(source, hdu)
                decode = decoder(table.codec)
                data = guarded(source.read_at(hdu.data_offset, hdu.data_size), margin(table.codec, table.tile))
                for row, begin, length in zip(room, table.begins.tolist(), table.lengths.tolist(), strict=True):
                    row[:] = decode(data[begin : begin + length], table.tile)[0]

    def by_kernel() -> None:
        for path in paths:
            with ImageFile(path) as image:
                image.decoded_into(room, 0)

    works: dict[str, Callable[[], object]] = {
        "decode by cfitsio": by_cfitsio,
        "decode": by_kernel,
        "median": lambda: combine(paths, planes=("result",)),
    }
    return timed_in_turns(works, repeats)


def differences_main(paths: list[Path]) -> object:
    """How the two kernels differ, over methods, for integer and for float frames."""
    import numpy as np

    from nightcrew.calibration.combine import combine
    from nightcrew.calibration.methods import Clip, DropExtremes, SigmaClip
    from nightcrew.io.images import read_image

    window = [read_image(path)[:400] for path in paths]
    scaled = [frame.astype(np.float32) * np.float32(1.1) for frame in window]
    ways: list[tuple[str, Clip | None]] = [("median", None), ("mean", None), ("mean", SigmaClip()), ("mean", DropExtremes(low=1, high=1))]
    integers, ulps = 0, 0.0
    for method, clip in ways:
        for frames in (window, scaled):
            one, two = (combine(frames, method=method, clip=clip, kernel=kernel) for kernel in ("c", "numpy"))
            for name in ("result", "uncertainty"):
                a, b = getattr(one, name), getattr(two, name)
                if frames is window:
                    integers += int(np.sum(a != b))
                else:
                    ulps = max(ulps, float(np.max(np.abs(a - b) / np.spacing(np.abs(a)))))
    return {"pixels that differ, integer input": integers, "most units in the last place, float input": ulps}


def ccdproc_main(method: str, out: Path, paths: list[Path]) -> object:
    """The same by ccdproc."""
    import ccdproc
    import numpy as np

    ways: dict[str, dict[str, Any]] = {
        "median": {"method": "median"},
        "mean": {"method": "average"},
        "sigma clip": {
            "method": "average",
            "sigma_clip": True,
            "sigma_clip_low_thresh": 3,
            "sigma_clip_high_thresh": 3,
            "sigma_clip_func": np.ma.median,
            "sigma_clip_dev_func": np.ma.std,
        },
        "min-max": {"method": "average", "clip_extrema": True, "nlow": 1, "nhigh": 1},
    }
    ccdproc.combine([str(path) for path in paths], output_file=str(out), unit="adu", mem_limit=4e9, **ways[method])
    return {}


def main(words: list[str]) -> None:
    """One measurement, by its name."""
    what, rest = words[0], words[1:]
    if what == "ccdproc":
        found = ccdproc_main(rest[0], Path(rest[1]), [Path(word) for word in rest[2:]])
    elif what == "differences":
        found = differences_main([Path(word) for word in rest])
    elif what == "growth":
        found = growth_main(Path(rest[0]), int(rest[1]), Path(rest[2]))
    elif what == "rice":
        found = rice_main(Path(rest[0]), int(rest[1]))
    else:
        found = worker_main(Path(rest[0]), int(rest[1]), int(rest[2]))
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1:])

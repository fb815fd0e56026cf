"""Calibrating 20 lights of 2048^2 with uncertainty and mask: against ccdproc, and the time to copy as many bytes."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

from benchmarks.combine import has_ccdproc
from benchmarks.spent import Command, in_turns, python
from benchmarks.table import Line, absent, ratio

N_LIGHTS = 20
NAME = f"calibrating {N_LIGHTS} x 2048^2 with uncertainty and mask"
GAIN, READ_NOISE_E = 1.5, 8.0


def lines(data: Path, work: Path, repeats: int) -> list[Line]:
    """Ratios of whole processes.

    Products of the night are brought to disk (fsync), so the copy of the same bytes is too; without fsync the ratio is reported
    beside it (there the copy stays in the kernel, and our SHA-256 and checksums weigh more than the calibration).
    """
    arguments = (data / "small", data / "masters")
    products, copied = work / "to_copy", work / "copied"
    if not products.exists():
        ours_main(*arguments, products, durable=False)
    commands = {
        "ours": Command(python("benchmarks.calibrate", "ours", *arguments, work / "ours"), [work / "ours"]),
        "copy": Command(["sh", "-c", 'cp -r "$1" "$2" && sync "$2"/*', "copy", str(products), str(copied)], [copied]),
        "ours, no fsync": Command(python("benchmarks.calibrate", "ours_fast", *arguments, work / "ours"), [work / "ours"]),
        "copy, no fsync": Command(["cp", "-r", str(products), str(copied)], [copied]),
    }
    if has_ccdproc():
        commands["ccdproc"] = Command(python("benchmarks.calibrate", "ccdproc", *arguments, work / "theirs"), [work / "theirs"])
    spent = in_turns(commands, repeats)
    found = [
        ratio(NAME, "wall over copying the same bytes, both to disk", spent["ours"].wall_s, spent["copy"].wall_s, at_most=1.6),
        ratio(NAME, "same without fsync", spent["ours, no fsync"].wall_s, spent["copy, no fsync"].wall_s),
    ]
    if "ccdproc" in spent:
        found.append(ratio(NAME, "less CPU than ccdproc", spent["ccdproc"].cpu_s, spent["ours"].cpu_s, at_least=4))
    else:
        found.append(absent(NAME, "less CPU than ccdproc", "ccdproc"))
    return [*found, Line(work=NAME, what="peak memory", value=spent["ours"].peak_mb, unit="MB")]


def ours_main(raw: Path, masters: Path, out: Path, *, durable: bool = True) -> None:
    """Calibrate and write products, two frames at a time."""
    from concurrent.futures import ThreadPoolExecutor

    from nightcrew.calibration.calibrate import LightNumbers, LightPlanes, calibrate_light
    from nightcrew.io.images import ImageFile
    from nightcrew.io.products import read_image_product, write_image_product

    bias, dark, flat = (read_image_product(masters / f"{name}.fits") for name in ("bias", "dark", "flat"))
    planes = LightPlanes(
        bias=bias.science,
        bias_uncertainty=bias.uncertainty,
        dark=dark.science,
        dark_uncertainty=dark.uncertainty,
        flat=flat.science,
        flat_uncertainty=flat.uncertainty,
        masks=[m.mask for m in (bias, dark, flat) if m.mask is not None],
    )
    numbers = LightNumbers(gain_e_per_adu=GAIN, read_variance_e2=READ_NOISE_E**2, saturation_adu=60000)

    def one(path: Path) -> None:
        with ImageFile(path, 0) as image:
            done = calibrate_light(image.read(), planes, numbers)
            write_image_product(
                out / path.name,
                science=done.science,
                uncertainty=done.uncertainty,
                mask=done.mask,
                source_header=image.hdu.raw,
                unit="electron",
                durable=durable,
            )

    out.mkdir(exist_ok=True)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(one, sorted(raw.glob("*.fits"))[:N_LIGHTS]))


def ccdproc_main(raw: Path, masters: Path, out: Path) -> None:
    """The same by ccdproc, from the same masters."""
    import warnings

    import ccdproc
    from astropy import units
    from astropy.nddata import CCDData

    warnings.simplefilter("ignore")
    bias, dark = (CCDData.read(masters / f"{name}.fits", unit="adu") for name in ("bias", "dark"))
    flat = CCDData.read(masters / "flat.fits", unit=units.dimensionless_unscaled)
    out.mkdir(exist_ok=True)
    for path in sorted(raw.glob("*.fits"))[:N_LIGHTS]:
        frame = CCDData.read(path, unit="adu")
        frame = ccdproc.create_deviation(frame, gain=GAIN * units.electron / units.adu, readnoise=READ_NOISE_E * units.electron)
        frame = ccdproc.subtract_bias(frame, bias)
        frame = ccdproc.subtract_dark(frame, dark, dark_exposure=60 * units.s, data_exposure=60 * units.s)
        frame = ccdproc.flat_correct(frame, flat)
        frame = ccdproc.gain_correct(frame, GAIN * units.electron / units.adu)
        frame.write(out / path.name)


if __name__ == "__main__":
    ways = {"ours": ours_main, "ours_fast": partial(ours_main, durable=False), "ccdproc": ccdproc_main}
    ways[sys.argv[1]](*(Path(word) for word in sys.argv[2:5]))

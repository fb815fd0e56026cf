"""Calibrating 20 lights of 2048^2 with uncertainty and mask: against ccdproc, and the time to copy as many bytes.

It measures the engine with ten lights side by side (``calibrate_many``); the service calibrates light by light, from planes in memory.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks.combine import has_ccdproc
from benchmarks.spent import Command, in_turns, python
from benchmarks.table import Line, absent, ratio

N_LIGHTS = 20
AT_ONCE = 10
NAME = f"calibrating {N_LIGHTS} x 2048^2 with uncertainty and mask"
GAIN, READ_NOISE_E = 1.5, 8.0


def lines(data: Path, work: Path, repeats: int) -> list[Line]:
    """Ratios of whole processes.

    The night's products are brought to disk (fsync), so the copy of the same bytes is too; a copy has no SHA-256, so it is left out
    there.  With it, and without fsync (where a copy never leaves the kernel), the ratios are reported beside.
    """
    arguments = (data / "small", data / "masters")
    products, copied, made = work / "to_copy", work / "copied", work / "ours"
    if not products.exists():
        ours_main(*arguments, products, durable=False)
    commands = {way: Command(python("benchmarks.calibrate", way, *arguments, made), [made]) for way in ("ours", "no_digest", "no_fsync")}
    commands["copy"] = Command(["sh", "-c", 'cp -r "$1" "$2" && sync "$2"/*', "copy", str(products), str(copied)], [copied])
    commands["copy, no fsync"] = Command(["cp", "-r", str(products), str(copied)], [copied])
    if has_ccdproc():
        commands["ccdproc"] = Command(python("benchmarks.calibrate", "ccdproc", *arguments, work / "theirs"), [work / "theirs"])
    spent = in_turns(commands, repeats)
    found = [
        ratio(NAME, "wall over copying the same bytes to disk", spent["no_digest"].wall_s, spent["copy"].wall_s, at_most=1.6),
        ratio(NAME, "same with the products' SHA-256", spent["ours"].wall_s, spent["copy"].wall_s),
        ratio(NAME, "same without SHA-256 and fsync", spent["no_fsync"].wall_s, spent["copy, no fsync"].wall_s),
    ]
    if "ccdproc" in spent:
        found.append(ratio(NAME, "less CPU than ccdproc", spent["ccdproc"].cpu_s, spent["ours"].cpu_s, at_least=4))
    else:
        found.append(absent(NAME, "less CPU than ccdproc", "ccdproc"))
    return [*found, Line(work=NAME, what="peak memory", value=spent["ours"].peak_mb, unit="MB")]


def ours_main(raw: Path, masters: Path, out: Path, *, durable: bool = True, digest: bool = True) -> None:
    """Calibrate and write products, ten frames side by side on each of two threads."""
    from concurrent.futures import ThreadPoolExecutor
    from contextlib import ExitStack

    from nightcrew.calibration.calibrate import CalibratedLight, LightCalibrator, LightNumbers, LightPlanes, calibrate_many
    from nightcrew.io import products
    from nightcrew.io.images import ImageFile
    from nightcrew.io.products import ProductWriter, read_image_product

    if not digest:
        setattr(products, "sha256_of", lambda _descriptor, _size: "")  # noqa: B010  # the digest is what this way leaves out
    with ThreadPoolExecutor(2) as pool:
        bias, dark, flat = pool.map(lambda name: read_image_product(masters / f"{name}.fits"), ("bias", "dark", "flat"))
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
    calibrator = LightCalibrator(bias.science.shape, planes, numbers)

    def some(paths: list[Path]) -> None:
        with ExitStack() as opened:
            lights = []
            for path in paths:
                image = opened.enter_context(ImageFile(path, 0))
                writer = ProductWriter(out / path.name, calibrator.shape, unit="electron", source_header=image.hdu.raw, durable=durable)
                lights.append((image, partial(put, opened.enter_context(writer))))
            calibrate_many(lights, calibrator)

    def put(writer: ProductWriter, y0: int, rows: CalibratedLight) -> None:
        writer.write_rows("SCI", y0, rows.science)
        writer.write_rows("UNCERT", y0, rows.uncertainty)
        writer.write_rows("MASK", y0, rows.mask)

    out.mkdir(exist_ok=True)
    frames = sorted(raw.glob("*.fits"))[:N_LIGHTS]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(some, [frames[at : at + AT_ONCE] for at in range(0, N_LIGHTS, AT_ONCE)]))


def ccdproc_main(raw: Path, masters: Path, out: Path) -> None:
    """The same by ccdproc, from the same masters."""
    import warnings

    import ccdproc
    from astropy import units
    from astropy.nddata import CCDData

    warnings.simplefilter("ignore")  # the other program's remarks on units and headers
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
    ways: dict[str, Callable[[Path, Path, Path], None]] = {
        "ours": ours_main,
        "no_digest": partial(ours_main, digest=False),
        "no_fsync": partial(ours_main, digest=False, durable=False),
        "ccdproc": ccdproc_main,
    }
    ways[sys.argv[1]](*(Path(word) for word in sys.argv[2:5]))

"""Unit of work for gain and read noise: what any two bias frames and two flats of equal level tell of the camera."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nightcrew.errors import RejectedInput
from nightcrew.io.atomic import write_text
from nightcrew.io.images import ImageFile
from nightcrew.io.structure import sha256_file
from nightcrew.ledger.rows import FileRow, FrameRow, Measurement, NewProduct
from nightcrew.planning.model import PlannedProduct
from nightcrew.quality import camera_numbers
from reports.summary import Quantity, Summary, as_json
from tasks import naming
from tasks.context import UnitContext
from tasks.frames_in import file_of


def _middle(frame: FrameRow) -> NDArray[Any]:
    """The trimmed frame in ADU, NaN where there is no value."""
    with ImageFile(file_of(frame), frame.header.hdu) as image:
        data = image.read()
    if frame.header.trim is not None:
        x0, x1, y0, y1 = frame.header.trim
        data = data[y0:y1, x0:x1]
    if np.isfinite(camera_numbers.central_region(data)).mean() <= 0.5:  # of two such frames no pixel may have both values
        raise RejectedInput("half of the pixels in its middle have no value")
    return data


def make_camera_numbers(context: UnitContext, planned: PlannedProduct) -> NewProduct:
    """Gain (e-/ADU) and read noise (ADU and e-), with errors; what could not be determined says why."""
    left_out: dict[int, str] = {}
    frames: dict[str, list[NDArray[Any]]] = {}
    saturation = None
    for item in planned.inputs:
        if item.frame is None:
            continue
        try:
            group = f"flat {item.frame.header.filter}" if item.role == "flat" else item.role
            frames.setdefault(group, []).append(_middle(item.frame))
        except RejectedInput as error:
            left_out[item.frame.id] = str(error)
        saturation = item.frame.header.saturation_adu if saturation is None else saturation
    biases = frames.pop("bias", [])
    # Pairs are taken one after the other: an even number of each filter keeps them from mixing filters.
    flats = [flat for _, group in sorted(frames.items()) for flat in group[: len(group) // 2 * 2]]
    noise = camera_numbers.read_noise(biases)
    gain = camera_numbers.gain(flats, biases, saturation_adu=saturation)
    measured = [
        Measurement(quantity="gain", value=gain.value, error=gain.error, unit="e-/adu", note=gain.reason, where=_where(planned)),
        Measurement(quantity="read_noise_adu", value=noise.value, error=noise.error, unit="adu", note=noise.reason, where=_where(planned)),
        _in_electrons(planned, gain, noise),
    ]
    text = as_json(
        Summary(
            recipe=planned.recipe,
            inputs=tuple({"role": i.role, "sha256": i.fingerprint} for i in planned.inputs),
            grade=planned.grade,
            quantities=tuple(_quantity(m) for m in measured),
        )
    )
    path = naming.final(planned, "json")
    written = write_text(context.products_root / path, text, durable=context.durable)
    stat = sha256_file(written)
    metrics = {m.quantity: m.value for m in measured}
    return NewProduct(
        files=(FileRow(role="summary", path=str(path), sha256=stat.sha256, size=stat.size),),
        metrics=metrics,
        grade=planned.grade,
        grade_reasons=planned.grade_reasons,
        left_out=left_out,
        measurements=tuple(measured),
    )


def _in_electrons(planned: PlannedProduct, gain: camera_numbers.Measurement, noise: camera_numbers.Measurement) -> Measurement:
    value = error = None
    if gain.value is not None and noise.value is not None:
        value = gain.value * noise.value
        if gain.error is not None and noise.error is not None:
            error = float(value * np.hypot(gain.error / gain.value, noise.error / noise.value))
    note = "" if value is not None else (gain.reason or noise.reason)
    return Measurement(quantity="read_noise", value=value, error=error, unit="e-", note=note, where=_where(planned))


def _where(planned: PlannedProduct) -> dict[str, Any]:
    return {k: planned.facts[k] for k in ("temperature_c", "geometry", "gain_setting") if planned.facts.get(k) not in (None, "")}


def _quantity(m: Measurement) -> Quantity:
    return Quantity(name=m.quantity, value=m.value, error=m.error, unit=m.unit, where=m.where, note=m.note)

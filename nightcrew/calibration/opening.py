"""Open the frames of one combination, and see that they belong together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from nightcrew.calibration.opened_frame import OpenedFrame
from nightcrew.calibration.sources import ArraySource, Source
from nightcrew.errors import Refused

MOST_OPEN = 128  # files held open at once; frames beyond are opened again for every slab


def open_all(inputs: Sequence[Source]) -> list[OpenedFrame]:
    """Open every source and check that they agree; on failure nothing stays open.

    Raises ``Refused`` when there is none, or when shapes, units or gain settings differ (naming the odd frame),
    ``RejectedInput`` for a file that cannot be read.
    """
    if not inputs:
        raise Refused("there is no frame to combine")
    frames: list[OpenedFrame] = []
    try:
        for number, item in enumerate(inputs):
            frames.append(OpenedFrame(item if isinstance(item, ArraySource) else ArraySource(data=item), number))
            if number >= MOST_OPEN:
                frames[-1].park()
        _check_agreement(frames)
    except BaseException:
        close_all(frames)
        raise
    return frames


def close_all(frames: Sequence[OpenedFrame]) -> None:
    """Close every frame."""
    for frame in frames:
        frame.close()


def _check_agreement(frames: Sequence[OpenedFrame]) -> None:
    """Refuse frames that differ, naming the one that differs from most."""
    without = [frame for frame in frames if not frame.has_uncertainty]
    if 0 < len(without) < len(frames):
        raise Refused(f"{without[0].name}: has no uncertainty of its own, other frames have")
    for what, values in (
        ("size", [f"{frame.shape[1]} x {frame.shape[0]} pixels" for frame in frames]),
        ("unit", [frame.unit for frame in frames]),
        ("gain setting", [frame.gain_setting for frame in frames]),
    ):
        stated = Counter(value for value in values if value)
        if len(stated) < 2:
            continue
        usual, n_usual = stated.most_common(1)[0]
        odd = next(i for i, value in enumerate(values) if value and value != usual)
        raise Refused(f"the frames do not agree in {what}: {frames[odd].name} has {values[odd]}, {n_usual} of {len(frames)} have {usual}")

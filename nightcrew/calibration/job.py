"""One combination prepared: frames open, levels and weights known, ready to stream its rows into an output."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from nightcrew.calibration.kernels import fallback, native
from nightcrew.calibration.kernels.slab import FrameRows, OutRows
from nightcrew.calibration.methods import Rule
from nightcrew.calibration.normalisation import FrameCalibration, Normalise, normalised
from nightcrew.calibration.opening import close_all, open_all
from nightcrew.calibration.slabs import run_slabs
from nightcrew.calibration.sources import Source
from nightcrew.calibration.weights import Weights, frame_weights
from nightcrew.errors import Refused, TransientError

Kernel = Literal["auto", "c", "numpy"]
Sink = Callable[[int, OutRows], None]


@dataclass(frozen=True, kw_only=True)
class FrameInfo:
    """What was read and done for one frame."""

    name: str
    exposure_s: float | None = None
    statistic: float | None = None
    scale: float = 1.0
    shift: float = 0.0
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Output:
    """Where finished rows go: into ``planes`` [y, x], or, without them, slab by slab to ``sink(y0, rows)``, from several threads."""

    names: frozenset[str]
    dtype: str
    planes: OutRows | None = None
    sink: Sink | None = None

    def rows(self, y0: int, y1: int, nx: int) -> OutRows:
        """Rows to fill."""
        if self.planes is None:
            return empty_rows((y1 - y0, nx), self.names, self.dtype)
        cut = {name: None if plane is None else plane[y0:y1] for name, plane in self.planes.by_name().items()}
        return OutRows(**cut)  # type: ignore[arg-type]  # names of its own fields

    def done(self, y0: int, rows: OutRows) -> None:
        """``rows`` from row ``y0`` on are filled."""
        if self.sink is not None:
            self.sink(y0, rows)


def empty_rows(shape: tuple[int, int], names: frozenset[str], dtype: str) -> OutRows:
    """Planes to fill; ``result`` is always there."""
    return OutRows(
        result=np.empty(shape, dtype),
        uncertainty=np.empty(shape, dtype) if "uncertainty" in names else None,
        count=np.empty(shape, np.uint16) if "count" in names else None,
        mask=np.empty(shape, np.uint16) if "mask" in names else None,
    )


class CombineJob:
    """Frames and what is to be done to each; a context manager that closes the files."""

    def __init__(
        self,
        inputs: Sequence[Source],
        chosen: Rule,
        *,
        normalise: Normalise | None,
        weights: Weights | None,
        per_frame: Sequence[FrameCalibration | None] | None,
        threads: int,
    ) -> None:
        self.rule, self.threads = chosen, threads
        self.frames = open_all(inputs)
        self.shape = self.frames[0].shape
        try:
            given = [item or FrameCalibration() for item in per_frame or [None] * len(self.frames)]
            for frame, item in zip(self.frames, given, strict=True):
                item.check(frame.shape, frame.name)
            seen: dict[int, NDArray[np.float32]] = {}
            self.calibrations = [item.ready(seen) for item in given]
            self.levels: list[float] | None = None
            if normalise is not None:
                self.calibrations, self.levels = normalised(self.frames, self.calibrations, normalise, threads)
            self.weights, self.by_sigma = [1.0] * len(self.frames), False
            if weights is not None:
                self.weights, self.by_sigma = frame_weights(self.frames, self.calibrations, weights, threads)
        except BaseException:
            close_all(self.frames)
            raise

    def __enter__(self) -> CombineJob:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        close_all(self.frames)

    def infos(self) -> tuple[FrameInfo, ...]:
        """What was done for each frame."""
        return tuple(
            FrameInfo(
                name=frame.name,
                exposure_s=frame.exposure_s,
                statistic=None if self.levels is None else self.levels[i],
                scale=self.calibrations[i].scale,
                shift=self.calibrations[i].shift,
                weight=self.weights[i],
            )
            for i, frame in enumerate(self.frames)
        )

    def run(self, output: Output, *, memory_bytes: int, kernel: Kernel) -> None:
        """Stream all rows into ``output``."""
        images = self._whole_images() if kernel != "numpy" else None
        if images is not None and native.can_do(images, self.rule):
            bad = native.combine_images(images, self.rule, self.shape, output, threads=self.threads, memory_bytes=memory_bytes)
            if bad is None:
                return
            self.frames[bad].rows(0, self.shape[0], {})  # says what is wrong with it
            raise TransientError(f"{self.frames[bad].name}: could not be read, and then it could")

        def work(y0: int, y1: int, rows: list[FrameRows]) -> None:
            self._prepare(rows, y0, y1)
            out = output.rows(y0, y1, self.shape[1])
            combine_rows(rows, self.rule, out, kernel)
            output.done(y0, out)

        run_slabs(self.frames, work, memory_bytes=memory_bytes, threads=self.threads)

    def _whole_images(self) -> list[FrameRows] | None:
        """All frames for a kernel that reads them by itself; ``None`` where one cannot be read so."""
        images: list[FrameRows] = []
        for frame, calibration in zip(self.frames, self.calibrations, strict=True):
            image = frame.whole()
            if image is None or (image.sigma is not None and calibration.changes_errors):
                return None  # errors are scaled slab by slab
            images.append(image)
        self._prepare(images, 0, self.shape[0])
        return images

    def _prepare(self, rows: list[FrameRows], y0: int, y1: int) -> None:
        for frame, calibration, weight in zip(rows, self.calibrations, self.weights, strict=True):
            calibration.apply_to(frame, y0, y1)
            frame.weight, frame.weight_by_sigma = weight, self.by_sigma
            if weight == 0:
                frame.saturation = -np.inf  # takes no part: neither in the count nor in the scatter


def combine_rows(rows: list[FrameRows], chosen: Rule, out: OutRows, kernel: Kernel) -> None:
    """Combine rows in memory with the C kernel, or numpy where there is none."""
    if kernel == "c" or (kernel == "auto" and native.can_do(rows, chosen)):
        native.combine_rows(rows, chosen, out)
    else:
        fallback.combine_rows(rows, chosen, out)


def check_options(inputs: Sequence[Any], per_frame: Sequence[Any] | None, names: Sequence[str], dtype: str, threads: int) -> None:
    """Refuse options that cannot be carried out."""
    known = ("result", "uncertainty", "count", "mask")
    if unknown := set(names) - set(known):
        raise Refused(f"there is no plane {sorted(unknown)[0]!r}; choose from {', '.join(known)}")
    if dtype not in ("f4", "f8"):
        raise Refused(f"results are f4 or f8, not {dtype!r}")
    if per_frame is not None and len(per_frame) != len(inputs):
        raise Refused(f"{len(per_frame)} calibrations for {len(inputs)} frames")
    if threads < 1:
        raise Refused(f"combining needs at least one thread, not {threads}")

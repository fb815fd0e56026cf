"""Dark signal of every pixel as a function of temperature and exposure, streamed over dark frames: the model and its fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nightcrew.detector.bias_model import BiasModel, LeftOut
from nightcrew.detector.dark_levels import judge_darks
from nightcrew.detector.dark_pixels import Fitted, Passing, fit_rows
from nightcrew.detector.dark_shape import DarkShape, Law
from nightcrew.detector.dark_terms import Design
from nightcrew.detector.noise import NoiseLaw
from nightcrew.detector.stack import F4, Frame, FrameStack
from nightcrew.detector.validity import UNKNOWN_GAMMA, beyond_exposures, exposure_outside, gamma_unknown, temperature_outside
from nightcrew.errors import RejectedInput
from nightcrew.frames.flags import PixelFlag
from nightcrew.quality.statistics import median_and_sigma, sample_pixels

HOT_SIGMA = 10.0  # robust standard deviations above the median rate
BYTES_A_VALUE = 4  # of a frame's rows as they are stored, usually two
SLAB_BYTES = 32 << 20


@dataclass(frozen=True, kw_only=True, eq=False)
class DarkModel:
    """Planes [y, x]: ``rate`` R (adu/s at the reference), ``db`` = own B - shared B (1/K; 0: the shared B holds), errors, chi^2, flags.

    signal(T, t) = R exp((B + db) u(T)) t (t / t_ref)^gamma with ``shape``.  ``hot_limit``: rate (adu/s) above which a pixel is hot.
    ``temperatures_c`` and ``exposures_s``: lowest and highest fitted.
    """

    rate: F4
    rate_error: F4
    db: F4
    db_error: F4
    correlation: F4
    chi2: F4
    count: NDArray[np.uint16]
    flags: NDArray[np.uint16]
    shape: DarkShape
    noise: NoiseLaw
    hot_limit: float
    temperatures_c: tuple[float, float]
    exposures_s: tuple[float, float]
    left_out: tuple[LeftOut, ...] = ()

    def _factor(self, temperature_c: float, exposure_s: float) -> F4:
        own = np.exp(self.db * np.float32(self.shape.u(temperature_c)))
        made: F4 = own * np.float32(self.shape.factor(temperature_c, exposure_s))
        return made

    def signal(self, temperature_c: float, exposure_s: float) -> F4:
        """Dark signal [y, x] (adu, without bias)."""
        made: F4 = self.rate * self._factor(temperature_c, exposure_s)
        return made

    def error(self, temperature_c: float, exposure_s: float) -> F4:
        """One standard deviation [y, x] of :meth:`signal`, with what B and gamma leave open."""
        u = np.float32(self.shape.u(temperature_c))
        shared = np.float32(0.0 if self.shape.b_error is None else self.shape.b_error)
        # Where the shared B holds, its error is all there is; NaN marks those pixels.
        b_error = np.where(np.isfinite(self.db_error), self.db_error, shared)
        tilt = self.rate * b_error * u
        bend = self.rate * np.float32(self._bend(exposure_s))
        variance = self.rate_error**2 + tilt**2 + 2 * self.correlation * self.rate_error * tilt + bend**2
        made: F4 = np.sqrt(np.maximum(variance, 0)) * self._factor(temperature_c, exposure_s)
        return made

    def _bend(self, exposure_s: float) -> float:
        """What the exponent leaves open, of the signal: its error; of one that was found and not used, its size, too.

        Where the exposures do not tell it, one of ``UNKNOWN_GAMMA`` beyond them; an exponent that was held at 0 on purpose leaves nothing.
        """
        if self.shape.gamma_error is None:
            return UNKNOWN_GAMMA * beyond_exposures(exposure_s, self.exposures_s) if gamma_unknown(self.exposures_s) else 0.0
        dropped = (self.shape.measured_gamma or 0.0) - self.shape.gamma
        return float(np.hypot(self.shape.gamma_error, dropped) * np.log(max(exposure_s, 1e-12) / self.shape.reference_s))

    def outside(self, temperature_c: float, exposure_s: float) -> str:
        """Why the model does not hold for a temperature and exposure; "" where it does."""
        no_slope = self.shape.b_error is None
        return temperature_outside("dark", temperature_c, *self.temperatures_c, no_slope=no_slope) or exposure_outside(
            exposure_s, self.exposures_s[1]
        )

    @property
    def hot(self) -> NDArray[np.bool_]:
        """Hot pixels [y, x]."""
        return (self.flags & PixelFlag.HOT) > 0


def fit_dark(
    frames: Sequence[Frame],
    temperatures_c: Sequence[float],
    exposures_s: Sequence[float],
    bias: BiasModel,
    *,
    law: Law = "exponential",
    reference_c: float | None = None,
    reference_s: float | None = None,
    free_gamma: bool = True,
    saturation: float = 65520.0,
    hot_sigma: float = HOT_SIGMA,
    memory_bytes: int = 64 << 20,
    kernel: str = "auto",
) -> DarkModel:
    """Fit dark frames (files or arrays [y, x], adu with bias) against temperature (C) and exposure (s).

    ``bias`` is subtracted at each frame's own temperature; ``saturation`` (adu, stored) and above is left out.
    RejectedInput for fewer than 3 usable frames, other shapes, or no dark current.
    """
    t, seconds = np.asarray(temperatures_c, np.float64), np.asarray(exposures_s, np.float64)
    if not t.size == seconds.size == len(frames) or not np.all(np.isfinite(t) & (seconds > 0)):
        raise RejectedInput("every dark frame needs a temperature and an exposure above 0")
    if len(frames) < 3:
        raise RejectedInput(f"{len(frames)} dark frames: a model needs at least 3")
    with FrameStack(frames) as stack:
        if stack.shape != bias.shape:
            raise RejectedInput(f"the darks are {stack.shape}, the bias model {bias.shape}")
        judged = judge_darks(
            stack, t, seconds, bias, law=law, reference_c=reference_c, reference_s=reference_s, free_gamma=free_gamma, saturation=saturation
        )
    kept = judged.kept
    with FrameStack([frames[i] for i in kept]) as stack:
        shape = judged.shape
        design = Design(
            shape.factor(t[kept], seconds[kept]).astype(np.float32),
            shape.u(t[kept]).astype(np.float32),
            t[kept].astype(np.float32),
            shape.b,
            judged.noise,
            saturation,
            max(shape.rate, 0.0),
            own_b=shape.b_error is not None,
        )
        planes = _fit_all(stack, bias, shape, design, memory_bytes, kernel)
    return _model(planes, bias, judged.shape, judged.noise, t[kept], seconds[kept], judged.left_out, hot_sigma)


def _fit_all(stack: FrameStack, bias: BiasModel, shape: DarkShape, design: Design, memory_bytes: int, kernel: str) -> _Planes:
    """Fit rows after rows; what only the flags and errors need is kept no longer than its rows."""
    ny, nx = stack.shape
    planes = _Planes.empty(ny * nx)
    slabs = list(stack.slabs(BYTES_A_VALUE, min(memory_bytes, SLAB_BYTES)))
    passing = Passing.empty((slabs[0][1] - slabs[0][0]) * nx)
    for y0, y1 in slabs:
        level, slope = bias.level[y0:y1].reshape(-1), bias.slope[y0:y1].reshape(-1)
        part = planes.part(slice(y0 * nx, y1 * nx))
        fitted = part.fitted(passing.part(slice(0, (y1 - y0) * nx)))
        fit_rows(stack.stored_rows(y0, y1), level, slope, design, fitted, kernel=kernel)
        part.settle(fitted, bias.rows(slice(y0, y1)).error(shape.reference_c).reshape(-1))
    return planes


@dataclass(frozen=True, slots=True, eq=False)
class _Planes:
    """Planes of a model, flat."""

    rate: F4
    rate_error: F4
    db: F4
    db_error: F4
    correlation: F4
    chi2: F4
    count: NDArray[np.uint16]
    flags: NDArray[np.uint16]

    @classmethod
    def empty(cls, n_pixels: int) -> _Planes:
        """Planes to be filled."""
        a, b, c, d, e, f = (np.empty(n_pixels, np.float32) for _ in range(6))
        return cls(a, b, c, d, e, f, np.empty(n_pixels, np.uint16), np.empty(n_pixels, np.uint16))

    def part(self, where: slice) -> _Planes:
        """Views of some pixels."""
        return _Planes(*(getattr(self, name)[where] for name in self.__slots__))

    def fitted(self, passing: Passing) -> Fitted:
        """What a fit fills."""
        return Fitted(self.rate, self.rate_error, self.db, self.db_error, self.correlation, self.chi2, self.count, *passing)

    def settle(self, fitted: Fitted, bias_error: F4) -> None:
        """Errors with what is known only behind the fit, and flags."""
        unstable = np.flatnonzero(fitted.unstable)
        widen = np.sqrt(np.maximum(self.chi2[unstable], 1))
        self.rate_error[unstable] *= widen
        self.db_error[unstable] *= widen
        # The bias model's own error is the same in all frames of a pixel: it does not average out.
        with np.errstate(over="ignore"):
            bias_error *= fitted.lever
            bias_error *= bias_error
            bias_error += self.rate_error * self.rate_error
        np.sqrt(bias_error, out=self.rate_error)
        self.flags[...] = 0
        self.flags[unstable] = PixelFlag.UNSTABLE
        self.flags[np.flatnonzero(fitted.saturated)] |= np.uint16(PixelFlag.SATURATED)
        self.flags[np.flatnonzero(np.isnan(self.rate))] |= np.uint16(PixelFlag.NO_DATA)


def _model(
    planes: _Planes,
    bias: BiasModel,
    shape: DarkShape,
    noise: NoiseLaw,
    t: NDArray[np.float64],
    seconds: NDArray[np.float64],
    left_out: tuple[LeftOut, ...],
    hot_sigma: float,
) -> DarkModel:
    size = bias.shape
    rate, flags = planes.rate.reshape(size), planes.flags
    usual = sample_pixels(rate)
    usual = usual[np.isfinite(usual)]
    if usual.size == 0:
        raise RejectedInput("no pixel has a usable value in the darks: all are saturated")
    middle, spread = median_and_sigma(usual)
    limit = middle + hot_sigma * spread
    with np.errstate(invalid="ignore"):
        high = np.flatnonzero(planes.rate > limit)
    flags[high[(flags[high] & PixelFlag.UNSTABLE) == 0]] |= np.uint16(PixelFlag.HOT)
    return DarkModel(
        rate=rate,
        rate_error=planes.rate_error.reshape(size),
        db=planes.db.reshape(size),
        db_error=planes.db_error.reshape(size),
        correlation=planes.correlation.reshape(size),
        chi2=planes.chi2.reshape(size),
        count=planes.count.reshape(size),
        flags=flags.reshape(size),
        shape=shape,
        noise=noise,
        hot_limit=limit,
        temperatures_c=(float(t.min()), float(t.max())),
        exposures_s=(float(seconds.min()), float(seconds.max())),
        left_out=left_out,
    )

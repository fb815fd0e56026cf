"""Where the pixels of one frame lie on another, from the stars that both show.

astroalign (Beroiz et al. 2020, doi:10.1016/j.ascom.2020.100384) finds which stars belong together by the shapes of
triangles, without knowing shift, rotation or scale.  Where it finds none, the shift that most pairs of stars agree on is
tried; it is believed only where far more stars agree than chance and a pattern fixed to the detector could make.  astroalign
draws its samples at random, so its transform is only the start: all stars of both catalogues are then paired by position and
the similarity transform is fitted to the pairs by least squares until they no longer change.  The result therefore depends
neither on chance nor on the order of the stars.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Double = NDArray[np.float64]
# Places that refining a first transform can reach, in units of the match radius along shift x and y, rotation and scale at the
# field's edge: pairs are first sought within 4 radii of a guess, 2 of a shift.
_GUESS_PLACES = 4.0**4
_SHIFT_PLACES = 2.0**4
_SHIFT_BIN_PX = 3.0  # three bins hold what a turn by half a degree makes of one shift, 500 px from the centre


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistrationParameters:
    """When a transform is believed."""

    max_control_points: int = 30
    """Brightest stars given to astroalign (its cost grows with the square)."""
    max_stars: int = 500
    match_radius_px: float = 2.0
    min_matched: int = 4
    min_matched_fraction: float = 0.2
    """Of the stars that both frames should show in their common field."""
    shift_min_matched: int = 6
    """The shift that most pairs agree on is only believed with as many stars,"""
    shift_min_matched_fraction: float = 0.4
    """and this part of the stars in the common field;"""
    still_min_matched_fraction: float = 0.6
    """where nothing moved by it, with this part: hot pixels and what a flat left stay where they are."""
    max_false: float = 1e-6
    """Wrong frames that the guess or the shift may let through by chance, over all places tried."""
    max_scale_change: float = 0.02
    max_rms_px: float = 0.7


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """How a frame lies on the reference: ``reference = matrix @ (x, y, 1)`` for 0-based pixel positions of the frame.

    ``matrix`` is (2, 3), or ``None`` with the ``reason`` in words when no transform was found.
    """

    matrix: Double | None
    reason: str = ""
    n_matched: int = 0
    rms_px: float | None = None
    scale: float | None = None
    rotation_deg: float | None = None
    shift_px: tuple[float, float] | None = None
    """Where the frame's centre of stars moves: (x, y)."""

    @property
    def ok(self) -> bool:
        """Whether there is a transform."""
        return self.matrix is not None


def identity() -> Registration:
    """The reference on itself."""
    return Registration(matrix=np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]), rms_px=0.0, scale=1.0, rotation_deg=0.0, shift_px=(0.0, 0.0))


def register(
    positions: Double,
    flux: Double,
    reference_positions: Double,
    reference_flux: Double,
    parameters: RegistrationParameters | None = None,
    *,
    guess: Double | None = None,
) -> Registration:
    """Transform from a frame to the reference, by sources at ``positions`` ([n, 2]: x, y in px) of ``flux`` (any unit).

    Give sources without flags where possible.  ``guess`` is a first transform (2, 3), such as that of both frames' WCS: it is
    tried before any pattern of stars, and few stars that fall on each other under it are enough: so many that random stars
    of the same density would do so once in a million frames (three of ten on a megapixel, seven of eighty on 512 x 512).  It is
    never believed without stars.  Nothing is raised for frames that do not fit:
    see ``reason``.
    """
    parameters = parameters or RegistrationParameters()
    frame = _brightest(positions, flux, parameters.max_stars)
    reference = _brightest(reference_positions, reference_flux, parameters.max_stars)
    for name, stars in (("frame", frame), ("reference", reference)):
        if len(stars) < 3:
            return Registration(matrix=None, reason=f"the {name} shows only {len(stars)} stars, 3 are needed")
    if guess is not None:
        loose = replace(parameters, min_matched=3, min_matched_fraction=0.0)
        led = _judged(*_refined(frame, reference, np.asarray(guess, np.float64), 2 * parameters.match_radius_px), frame, reference, loose)
        if led.matrix is not None and _beyond_chance(led.matrix, frame, reference, _GUESS_PLACES, parameters):
            return led
    start = _first_guess(frame, reference, parameters.max_control_points)
    if not isinstance(start, str):
        found = _judged(*_refined(frame, reference, start, parameters.match_radius_px), frame, reference, parameters)
        if found.ok:
            return found
    shifted = _shifted(frame, reference, parameters)
    if shifted.ok:
        return shifted
    return Registration(matrix=None, reason=start) if isinstance(start, str) else found


def _brightest(positions: Double, flux: Double, number: int) -> Double:
    """Finite positions, the brightest first, ties by y and x: the given order does not matter."""
    positions, flux = np.asarray(positions, np.float64).reshape(-1, 2), np.asarray(flux, np.float64)
    finite = np.isfinite(positions).all(axis=1) & np.isfinite(flux)
    positions, flux = positions[finite], flux[finite]
    return positions[np.lexsort((positions[:, 0], positions[:, 1], -flux))[:number]]


def _first_guess(frame: Double, reference: Double, control_points: int) -> Double | str:
    """astroalign's transform (2, 3), or why there is none; tried with more stars before giving up."""
    import astroalign

    reason = "no transform found"
    for number in (control_points, 3 * control_points // 2):
        try:
            transform, _ = astroalign.find_transform(frame[:number], reference[:number], max_control_points=number)
            return np.asarray(transform.params[:2], np.float64)
        except (astroalign.MaxIterError, ValueError, IndexError, TypeError) as error:
            reason = f"no pattern of the {min(number, len(frame))} brightest stars found on the reference ({_sentence(error)})"
    return reason


def _shift(frame: Double, reference: Double) -> Double:
    """The shift (2, 3) that most pairs of stars agree on, within 1.5 bins: wide fields drift over hundreds of pixels during a night and the
    brightest stars (saturated, behind a cloud) are others then, while hundreds of faint ones still tell how far it moved.
    """
    steps = (reference[None, :, :] - frame[:, None, :]).reshape(-1, 2)
    cells = ((steps - steps.min(axis=0)) / _SHIFT_BIN_PX).astype(np.int64) + 1
    width = int(cells[:, 1].max()) + 2
    codes, counts = np.unique(cells[:, 0] * width + cells[:, 1], return_counts=True)
    votes = np.zeros(len(codes), np.int64)
    for neighbour in (dx * width + dy for dx in (-1, 0, 1) for dy in (-1, 0, 1)):
        place = np.minimum(np.searchsorted(codes, codes + neighbour), len(codes) - 1)
        votes += np.where(codes[place] == codes + neighbour, counts[place], 0)
    most = np.array(divmod(int(codes[np.argmax(votes)]), width))
    near = (np.abs(cells - most) <= 1).all(axis=1)
    shift = np.median(steps[near], axis=0)
    return np.array([[1.0, 0.0, shift[0]], [0.0, 1.0, shift[1]]])


def _shifted(frame: Double, reference: Double, parameters: RegistrationParameters) -> Registration:
    """The transform that starts from the most frequent shift, where it cannot be chance and is not that of the detector itself."""
    strict = replace(parameters, min_matched=parameters.shift_min_matched, min_matched_fraction=parameters.shift_min_matched_fraction)
    found = _judged(*_refined(frame, reference, _shift(frame, reference), parameters.match_radius_px), frame, reference, strict)
    if found.matrix is None:
        return found
    spans = np.ptp(frame, axis=0) + np.ptp(reference, axis=0)
    places = _SHIFT_PLACES * max(1.0, float(spans[0] * spans[1]) / (math.pi * parameters.match_radius_px**2))
    if not _beyond_chance(found.matrix, frame, reference, places, parameters):
        return Registration(
            matrix=None, reason=f"{found.n_matched} stars fall on each other as they would by chance", n_matched=found.n_matched
        )
    still = np.hypot(*(_apply(found.matrix, frame) - frame).T)
    expected = _common(found.matrix, frame, reference)
    if np.median(still) < parameters.match_radius_px and found.n_matched < parameters.still_min_matched_fraction * expected:
        told = f"only {found.n_matched} of {expected} stars stay where they are: hot pixels and residues of the flat would too"
        return Registration(matrix=None, reason=told, n_matched=found.n_matched)
    return found


def _beyond_chance(matrix: Double, frame: Double, reference: Double, places: float, parameters: RegistrationParameters) -> bool:
    """Whether random stars would match so well at any of ``places`` in less than ``max_false`` of the frames.

    By chance, the n1 and n2 stars in the common field of an area make ``n1 n2 pi r^2 / area`` pairs within r, Poisson distributed; stars
    that crowd together make more, so the pairs that the same stars make when moved by a few radii count when they are more.
    Simulated with random fields: none of 12 000 is believed by its shift, none of 24 000 by a wrong guess (6 to 500 stars against 6 to 500,
    on 256 to 2048 px).
    """
    from scipy.special import gammainc

    radius_px = parameters.match_radius_px
    moved = _apply(matrix, frame)
    low = np.maximum(moved.min(axis=0), reference.min(axis=0)) - radius_px
    high = np.minimum(moved.max(axis=0), reference.max(axis=0)) + radius_px
    mine, theirs = (np.count_nonzero(((stars >= low) & (stars <= high)).all(axis=1)) for stars in (moved, reference))
    chance = mine * theirs * math.pi * radius_px**2 / float(np.prod(high - low))
    turns = 2 * np.pi * np.arange(8) / 8
    beside = [len(_pairs(moved + 8 * radius_px * np.array([np.cos(turn), np.sin(turn)]), reference, radius_px)) for turn in turns]
    usual = max(float(chance), float(np.mean(beside)))
    n = len(_pairs(moved, reference, radius_px))
    return n > 0 and places * float(gammainc(n, usual)) < parameters.max_false  # gammainc(n, m): n or more where m are usual


def _sentence(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")[:120] or type(error).__name__


def _apply(matrix: Double, positions: Double) -> Double:
    return np.asarray(positions @ matrix[:, :2].T + matrix[:, 2])


def _pairs(moved: Double, reference: Double, radius_px: float) -> NDArray[np.intp]:
    """Pairs [n, 2] of stars that are each other's nearest within ``radius_px``."""
    from scipy.spatial import cKDTree

    distance, there = (np.asarray(found) for found in cKDTree(reference).query(moved, distance_upper_bound=radius_px))
    back = np.asarray(cKDTree(moved).query(reference, distance_upper_bound=radius_px)[1])
    own = np.flatnonzero(np.isfinite(distance))
    mutual = own[back[there[own]] == own]
    return np.column_stack([mutual, there[mutual]])


def _similarity(source: Double, target: Double) -> Double:
    """Least-squares similarity transform (2, 3): with positions as complex numbers, ``target = a source + b``."""
    s, t = source @ np.array([1.0, 1j]), target @ np.array([1.0, 1j])
    s0, t0 = s.mean(), t.mean()
    a = np.vdot(s - s0, t - t0) / np.vdot(s - s0, s - s0).real
    b = t0 - a * s0
    return np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]])


def _refined(frame: Double, reference: Double, matrix: Double, radius_px: float) -> tuple[Double, NDArray[np.intp]]:
    """Pair, fit, pair again with the better transform until the pairs stay (at most 20 times)."""
    before: NDArray[np.intp] = np.empty((0, 2), np.intp)
    for round_number in range(20):
        pairs = _pairs(_apply(matrix, frame), reference, 2 * radius_px if round_number < 2 else radius_px)
        if len(pairs) < 3 or (round_number > 2 and np.array_equal(pairs, before)):
            return matrix, pairs
        matrix, before = _similarity(frame[pairs[:, 0]], reference[pairs[:, 1]]), pairs
    return matrix, before


def _judged(matrix: Double, pairs: NDArray[np.intp], frame: Double, reference: Double, parameters: RegistrationParameters) -> Registration:
    """The transform with its numbers, or the rule that it breaks."""
    n = len(pairs)
    scale, rotation = math.hypot(matrix[0, 0], matrix[1, 0]), math.degrees(math.atan2(matrix[1, 0], matrix[0, 0]))
    residual = _apply(matrix, frame[pairs[:, 0]]) - reference[pairs[:, 1]] if n else np.full((1, 2), np.inf)
    rms = float(np.sqrt((residual**2).sum(axis=1).mean()))
    expected = _common(matrix, frame, reference)
    needed = max(parameters.min_matched, math.ceil(parameters.min_matched_fraction * expected))
    needed = min(needed, len(frame), len(reference)) if min(len(frame), len(reference)) == 3 else needed
    if n < needed:
        return Registration(matrix=None, reason=f"only {n} of {expected} stars fall on each other, {needed} are needed", n_matched=n)
    if abs(scale - 1.0) > parameters.max_scale_change:
        return Registration(matrix=None, reason=f"the scale would change by a factor of {scale:.3f}: a false match", n_matched=n)
    if rms > parameters.max_rms_px:
        return Registration(matrix=None, reason=f"stars miss each other by {rms:.2f} px, limit {parameters.max_rms_px:.2f}", n_matched=n)
    centre = frame.mean(axis=0)
    shift = _apply(matrix, centre[None, :])[0] - centre
    return Registration(
        matrix=matrix, n_matched=n, rms_px=rms, scale=scale, rotation_deg=rotation, shift_px=(float(shift[0]), float(shift[1]))
    )


def _common(matrix: Double, frame: Double, reference: Double) -> int:
    """Stars that both lists should share: those of each that fall within the other's extent, the smaller number."""
    moved = _apply(matrix, frame)
    inside = np.all((moved >= reference.min(axis=0)) & (moved <= reference.max(axis=0)), axis=1)
    also = np.all((reference >= moved.min(axis=0)) & (reference <= moved.max(axis=0)), axis=1)
    return int(min(np.count_nonzero(inside), np.count_nonzero(also)))

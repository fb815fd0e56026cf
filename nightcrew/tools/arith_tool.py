"""Arithmetic on files: lists of images with a number, one image, or a list of equal length."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from nightcrew.errors import NightcrewError, Refused, RejectedInput
from nightcrew.frames.units import unit_of_pixels
from nightcrew.io.cardtext import Card
from nightcrew.tools.arith import DTYPES, number_operand, operate, operator_of
from nightcrew.tools.boxes import Box
from nightcrew.tools.frame import Frame, cut, read_frame, with_cards
from nightcrew.tools.inputs import expand
from nightcrew.tools.writing import check_output, write_frame

Step = tuple[Path, Path | int | float, Path]
_DERIVED: Card = ("NCRECIPE", "frames arith", "computed from other files: no raw frame")
"""In a watched folder the result is never taken for a raw frame, though it bears the raw one's cards."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """One operation on every image: ``operator`` of :data:`nightcrew.tools.arith.OPERATORS`, a box for both sides, a pixel type."""

    operator: str
    box: Box | None = None
    dtype: str = ""
    extension: int | str | None = None


def split_words(words: Sequence[str]) -> tuple[list[Path], str, list[Path] | int | float]:
    """Images, operator, and images or a number from ``IMAGES OPERATOR IMAGES|NUMBER``, the images in one word or several."""
    places = [index for index, word in enumerate(words) if word.strip() in ("+", "-", "x", "X", "*", "/", "=")]
    if len(places) != 1 or not 0 < places[0] < len(words) - 1:
        wrong = next((word for word in words[1:2] if len(words) == 3 and not places), "")
        raise Refused(
            (f"'{wrong}' is no operator: " if wrong else "")
            + "write IMAGES OPERATOR IMAGE-OR-NUMBER with one of + - x / = between blanks, for example: 'b*.fits' - bias.fits"
        )
    place = places[0]
    right = words[place + 1 :]
    number = number_operand(right[0]) if len(right) == 1 and not os.path.isfile(right[0]) else None  # noqa: PTH113  False, and no error, for what cannot be a name at all
    return expand(words[:place]), operator_of(words[place]), expand(right) if number is None else number


def plan(left: Sequence[Path], right: Sequence[Path] | float, outputs: Sequence[Path]) -> list[Step]:
    """(image, operand, output) of every step; :class:`Refused` when the two lists do not fit each other."""
    if not isinstance(right, Sequence):
        return [(image, right, output) for image, output in zip(left, outputs, strict=True)]
    if len(right) not in (1, len(left)):
        raise Refused(f"{len(left)} images cannot be paired with {len(right)}: give one image, or as many")
    others = list(right) * (len(left) if len(right) == 1 else 1)
    return list(zip(left, others, outputs, strict=True))


def carry_out(
    steps: Sequence[Step],
    task: Task,
    *,
    say: Callable[[str], None],
    complain: Callable[[str], None],
    remark: Callable[[str], None],
    dry_run: bool = False,
) -> int:
    """Work through ``steps`` and return how many files were written (with ``dry_run``: would be).

    A step that cannot be done is told to ``complain`` in a sentence and leaves nothing behind; the others are done.
    An output that exists is such a step.  What a user has to know of a result (pixels without a value, digits lost) is a ``remark``.
    """
    if task.dtype and task.dtype not in DTYPES:
        raise Refused(f"there is no pixel type '{task.dtype}': choose from {', '.join(DTYPES)}")
    operand = _Operand(task)
    written = 0
    for image, other, output in steps:
        try:
            check_output(output)
            notes = () if dry_run else _step(image, other, output, task, operand)
        except NightcrewError as error:
            text = str(error)
            named = any(path.name in text for path in (image, other, output) if isinstance(path, Path))
            complain(text if named else f"{image}: {text}")
            continue
        written += 1
        say(f"{image} {task.operator} {other} -> {output}")
        for note in notes:
            remark(f"{output}: {note}")
    return written


class _Operand:
    """The right side, cut to the box; the image of the last step is kept, since most lists use one image throughout."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._path: Path | None = None
        self._cut: tuple[Frame, str] | None = None

    def get(self, path: Path) -> tuple[Frame, str]:
        """The image and the label of the box that was cut out of it."""
        if self._cut is None or path != self._path:
            self._cut, self._path = cut(read_frame(path, self._task.extension), self._task.box), path
        return self._cut


def _step(image: Path, other: Path | int | float, output: Path, task: Task, operand: _Operand) -> tuple[str, ...]:
    left, label = cut(read_frame(image, task.extension), task.box)
    right, right_label = operand.get(other) if isinstance(other, Path) else (other, "")
    unit = _unit(left, task.operator, right)
    same = isinstance(other, Path) and other.samefile(image)
    answer = operate(left.operand, task.operator, right.operand if isinstance(right, Frame) else right, dtype=task.dtype, same=same)
    second = f"{other.name}{right_label}" if isinstance(other, Path) else repr(other)
    history = [f"nightcrew frames arith: {image.name}{label} {task.operator} {second}", *answer.notes]
    header = with_cards(left.header, [_DERIVED, *(("HISTORY", line, "") for line in history)])
    write_frame(output, answer.operand, header, unit=unit)
    return answer.notes


def _unit(left: Frame, operator: str, right: Frame | float) -> str:
    """The unit of the result: numbers and images without a unit leave it; sums need one unit, a ratio of equal units has none."""
    if not isinstance(right, Frame) or not right.unit:
        return left.unit
    if operator == "=" or (not left.unit and operator != "/"):
        return right.unit
    alike = unit_of_pixels(left.unit) == unit_of_pixels(right.unit)
    if operator in "+-" and not alike:
        raise RejectedInput(f"the images have different units: {left.unit} and {right.unit}")
    if operator == "/":
        return "" if alike else f"{left.unit}/{right.unit}".removeprefix("/")
    return left.unit if operator in "+-" else f"{left.unit} {right.unit}"

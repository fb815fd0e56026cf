"""Arithmetic without surprises: exact integers, no wrap, errors that propagate (the defects of img_arith, section 3.4)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nightcrew.errors import Refused, RejectedInput
from nightcrew.frames.flags import PixelFlag
from nightcrew.tools.arith import Operand, converted, number_operand, operate, operator_of, result_type

U16 = np.array([[0, 1], [300, 65535]], dtype=np.uint16)


def result(left: Any, operator: str, right: Any, **options: Any) -> Any:
    return operate(
        Operand(np.asarray(left)), operator, Operand(right) if isinstance(right, np.ndarray) else right, **options
    ).operand.pixels


@pytest.mark.parametrize(
    ("left", "operator", "right", "kind"),
    [
        ("u2", "-", "u2", "i4"),
        ("u2", "+", "u2", "i4"),
        ("u2", "x", "u2", "u4"),
        ("u1", "+", "u1", "i2"),
        ("i2", "x", "i2", "i4"),
        ("i2", "+", "u2", "i4"),
        ("i4", "-", "i4", "i8"),
        ("u2", "x", 0, "u2"),
        ("u2", "x", 3, "i4"),
        ("u2", "-", 3, "i4"),
        ("u2", "-", -4, "i4"),
        ("i2", "x", 0, "i2"),
        ("u2", "-", -3_000_000_000, "u4"),
        ("u2", "/", 2, "f4"),
        ("u2", "/", "u2", "f4"),
        ("u2", "x", 2.0, "f4"),
        ("f4", "-", "u2", "f4"),
        ("f8", "/", "f4", "f8"),
        ("f4", "-", "f8", "f8"),
        ("i4", "/", 2, "f8"),
        ("u2", "=", 307, "u2"),
        ("u2", "=", -1, "i2"),
        ("u2", "=", 70000, "i4"),
        ("u2", "=", 0.5, "f4"),
        ("f8", "=", 0.5, "f8"),
        ("f4", "=", 3, "f4"),
        ("u2", "=", "i4", "i4"),
    ],
)
def test_type_of_the_result_follows_from_the_types_alone(left: str, operator: str, right: Any, kind: str) -> None:
    other = np.dtype(right) if isinstance(right, str) else right
    assert result_type(np.dtype(left), operator, other) == np.dtype(kind)
    made = result(np.zeros((2, 2), left), operator, np.ones((2, 2), right) if isinstance(right, str) else right)
    assert made.dtype == np.dtype(kind)


def test_assignment_of_an_integer_does_not_wrap() -> None:
    assert (result(np.zeros((2, 2), np.uint8), "=", 307) == 307).all()


def test_assignment_of_a_float_works_and_is_not_float16() -> None:
    assert result(U16, "=", 0.1).dtype == np.float32


def test_signed_operands_on_unsigned_images() -> None:
    assert (result(U16, "-", -4) == U16.astype(int) + 4).all()
    assert (result(np.array([[-5]], np.int16), "+", np.array([[65535]], np.uint16)) == 65530).all()
    assert (result(np.array([[-300]], np.int16), "x", np.array([[300]], np.int16)) == -90000).all()


def test_product_of_mixed_signs_takes_all_four_corners() -> None:
    assert (result(np.array([[-32768]], np.int16), "x", np.array([[-32768]], np.int16)) == 2**30).all()


def test_float64_keeps_its_precision() -> None:
    image = np.array([[1.0 + 1e-12]])
    assert result(image, "x", 3)[0, 0] == (1.0 + 1e-12) * 3
    assert result(image, "/", np.array([[3.0]], np.float32)).dtype == np.float64


def test_float32_is_computed_in_float64_and_rounded_once() -> None:
    a, b = np.array([[16777216.0]], np.float32), np.array([[1.0]], np.float32)
    assert result(a, "/", 3.0)[0, 0] == np.float32(16777216.0 / 3.0)
    assert result(a, "+", b)[0, 0] == np.float32(16777217.0)


def test_division_by_zero_is_nan_and_told() -> None:
    answer = operate(Operand(U16), "/", Operand(np.array([[0, 0], [1, 2]], np.uint16)))
    assert np.isnan(answer.operand.pixels[0]).all()
    assert answer.notes == ("2 pixels divided by zero are NaN",)
    assert operate(Operand(U16), "/", 0).notes == ("4 pixels divided by zero are NaN",)


def test_64_bit_overflow_is_refused_unless_floats_are_asked_for() -> None:
    big = np.array([[2**62]], np.int64)
    assert result(big, "+", 5)[0, 0] == 2**62 + 5
    assert result(big, "+", big).dtype == np.uint64
    with pytest.raises(RejectedInput, match="64-bit"):
        result(big, "x", 4)
    assert result(big, "x", 4, dtype="float64")[0, 0] == 2.0**64


def test_dtype_rounds_and_never_wraps() -> None:
    assert result(np.array([[1.5, 2.5, 3.4]]), "x", 1, dtype="uint8").tolist() == [[2, 2, 3]]
    with pytest.raises(RejectedInput, match="1 pixels do not fit uint16"):
        result(U16, "+", 1, dtype="uint16")
    with pytest.raises(RejectedInput, match="1 pixels do not fit int16"):
        converted(np.array([1.0, np.nan]), "int16")
    with pytest.raises(RejectedInput, match="1 pixels do not fit int64"):
        converted(np.array([2.0**63]), "int64")
    with pytest.raises(RejectedInput, match="too large for float32"):
        result(np.array([[1e30]], np.float32), "x", 1e30)
    with pytest.raises(Refused, match="no pixel type 'float16'"):
        converted(U16, "float16")


def test_cube_and_plane() -> None:
    cube = np.arange(12, dtype=np.int16).reshape(3, 2, 2)
    assert (result(cube, "-", cube[0]) == cube - cube[0]).all()
    assert (result(cube[0], "-", cube[:1]) == 0).all()
    with pytest.raises(RejectedInput, match="differ in size: 2 x 2 and 2 x 2 x 3 pixels"):
        result(cube[0], "-", cube)
    with pytest.raises(RejectedInput, match="differ in size"):
        result(U16, "-", np.zeros((2, 3)))


@pytest.mark.parametrize(
    ("operator", "sigma"),
    [("+", 0.5), ("-", 0.5), ("x", np.hypot(2 * 0.3, 6 * 0.4)), ("/", np.hypot(0.3 / 2, 6 * 0.4 / 4)), ("=", 0.4)],
)
def test_uncertainties_of_two_independent_images(operator: str, sigma: float) -> None:
    left, right = (Operand(np.full((2, 2), v, np.float32), np.full((2, 2), s, np.float32)) for v, s in ((6.0, 0.3), (2.0, 0.4)))
    found = operate(left, operator, right).operand.uncertainty
    assert found is not None
    assert found == pytest.approx(np.full((2, 2), sigma), rel=1e-6)


@pytest.mark.parametrize(("operator", "sigma"), [("+", 0.6), ("-", 0.0), ("x", 2 * 6 * 0.3), ("/", 0.0)])
def test_an_image_and_itself_have_the_same_error(operator: str, sigma: float) -> None:
    one = Operand(np.full((1, 1), 6.0, np.float32), np.full((1, 1), 0.3, np.float32))
    found = operate(one, operator, one, same=True).operand.uncertainty
    assert found is not None
    assert found[0, 0] == pytest.approx(sigma, abs=1e-6)


def test_exact_operands_only_scale_the_error() -> None:
    left = Operand(np.full((1, 1), 6.0, np.float32), np.full((1, 1), 0.3, np.float32))
    errors: list[Any] = [operate(left, op, 4).operand.uncertainty for op in "+-x/"]
    assert [float(error[0, 0]) for error in errors] == pytest.approx([0.3, 0.3, 1.2, 0.075])
    assert operate(Operand(left.pixels), "+", 4).operand.uncertainty is None


def test_pixels_without_a_value_are_nan_in_floats_and_flagged_in_integers() -> None:
    none = int(PixelFlag.NO_DATA)
    left = Operand(np.array([[-32768, 4]], np.int16), None, np.array([[none, 0]], np.uint16))
    divided, added = operate(left, "/", 2).operand, operate(left, "+", 1).operand
    assert np.isnan(divided.pixels[0, 0])
    assert divided.pixels[0, 1] == 2
    assert added.pixels.tolist() == [[-32767, 5]]
    assert divided.mask is not None
    assert added.mask is not None
    assert divided.mask.tolist() == added.mask.tolist() == [[none, 0]]
    assert left.pixels.tolist() == [[-32768, 4]]


def test_masks_are_joined_and_new_holes_flagged() -> None:
    left = Operand(np.ones((1, 3), np.float32), None, np.array([[1, 0, 0]], np.uint16))
    right = Operand(np.array([[1.0, 1.0, 0.0]], np.float32), None, np.array([[8, 8, 0]], np.uint16))
    mask = operate(left, "/", right).operand.mask
    assert mask is not None
    assert mask.tolist() == [[9, 8, int(PixelFlag.NO_DATA)]]
    assert operate(Operand(U16), "/", 0).operand.mask is None


def test_operators_and_numbers() -> None:
    assert [operator_of(text) for text in ("+", "-", "x", "*", "X", "/", "=")] == ["+", "-", "x", "x", "x", "/", "="]
    with pytest.raises(Refused, match="'%' is no operator"):
        operator_of("%")
    assert [number_operand(text) for text in ("3", "-4", "2.5", "1e3", "a.fits")] == [3, -4, 2.5, 1000.0, None]
    assert isinstance(number_operand("3"), int)


@settings(max_examples=80, deadline=None)
@given(st.sampled_from("+-x"), st.integers(-32768, 32767), st.integers(0, 65535))
def test_integers_are_those_of_python(operator: str, a: int, b: int) -> None:
    truth = {"+": a + b, "-": a - b, "x": a * b}[operator]
    left, right = np.array([[a]], np.int16), np.array([[b]], np.uint16)
    assert int(result(left, operator, right)[0, 0]) == truth
    assert int(result(left, operator, b)[0, 0]) == truth
    assert int(result(right, operator, left)[0, 0]) == (b - a if operator == "-" else truth)

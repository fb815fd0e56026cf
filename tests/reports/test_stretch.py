from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from reports import stretch
from tests.reports import samples


def test_the_range_ignores_stars_and_nan() -> None:
    image = samples.star_field(3, 300)
    image[5, 5] = np.nan
    found = stretch.display_range(image, "zscale")
    assert found is not None
    black, white = found
    assert 85 < black < 95
    assert 118 < white < 130


@pytest.mark.parametrize("image", [np.full((20, 20), np.nan, dtype=np.float32), np.zeros((0, 0), dtype=np.float32), np.full((9, 9), 7.0)])
def test_pictures_of_nothing_say_that_they_are_blank(image: np.ndarray) -> None:
    picture = stretch.encode(stretch.to_bytes(image), "nothing") if image.size else None
    assert picture is None or picture.blank


def test_the_first_row_is_at_the_bottom() -> None:
    image = np.zeros((10, 10), dtype=np.float32)
    image[0, 3] = 100
    grey = stretch.to_bytes(image, limits=(0, 100))
    assert grey[9, 3] == 255
    assert grey.sum() == 255


def test_shrinking_is_the_block_mean_without_nan() -> None:
    image = np.arange(64, dtype=np.float32).reshape(8, 8)
    image[0, 0] = np.nan
    small = stretch.shrink(image, 2)
    assert small.shape == (2, 2)
    assert small[1, 1] == pytest.approx(image[4:, 4:].mean())
    assert small[0, 0] == pytest.approx(np.nanmean(image[:4, :4]))


@pytest.mark.parametrize(
    ("shape", "small"), [((3, 70_000), (1, 159)), ((70_000, 3), (159, 1)), ((100, 1700), (9, 154)), ((1, 200), (1, 100))]
)
def test_narrow_images_become_small_pictures_too(shape: tuple[int, int], small: tuple[int, int]) -> None:
    image = np.ones(shape, np.float32) * np.linspace(0, 1, shape[1], dtype=np.float32)
    for found in (stretch.shrink(image, 160), stretch.shrink_rows(lambda y0, y1: image[y0:y1], shape, 160)):
        assert found.shape == small
        assert found.mean() == pytest.approx(image.mean(), abs=0.01)
    picture = stretch.thumbnail(image, "narrow")
    assert max(picture.width_px, picture.height_px) <= 160


def test_rows_of_a_large_file_give_the_same_picture_of_a_smooth_field() -> None:
    y, x = np.mgrid[0:1600, 0:1600]
    image = (x + 2 * y).astype(np.float32)
    asked: list[tuple[int, int]] = []

    def read(y0: int, y1: int) -> np.ndarray:
        asked.append((y0, y1))
        band: np.ndarray = image[y0:y1]
        return band

    small = stretch.shrink_rows(read, image.shape, 160)
    whole = stretch.shrink(image, 160)
    assert small.shape == whole.shape
    assert np.abs(small - whole).max() <= 2
    assert sum(y1 - y0 for y0, y1 in asked) <= 0.4 * 1600


def test_small_images_pass_unchanged() -> None:
    image = samples.star_field(1, 50)
    assert np.array_equal(stretch.shrink(image, 160), image)


def test_thumbnails_are_small_jpegs_with_text() -> None:
    picture = stretch.thumbnail(samples.star_field(2, 700), "a field")
    with Image.open(io.BytesIO(picture.data)) as opened:
        assert opened.format == "JPEG"
        assert opened.size == (picture.width_px, picture.height_px) == (140, 140)
    assert len(picture.data) < 12_000
    assert picture.alt == "a field"
    assert not picture.blank


def test_a_master_whose_pixels_are_all_alike_is_a_picture() -> None:
    even, none = np.full((50, 50), 7, dtype=np.float32), np.full((50, 50), np.nan, dtype=np.float32)
    assert stretch.thumbnail_rows(lambda a, b: even[a:b], (50, 50), "even").blank
    fine = stretch.thumbnail_rows(lambda a, b: even[a:b], (50, 50), "even", flat_is_fine=True)
    assert (fine.blank, fine.alt) == (False, "even: every pixel alike")
    assert stretch.thumbnail_rows(lambda a, b: none[a:b], (50, 50), "none", flat_is_fine=True).blank


def test_foreign_bytes_are_no_picture() -> None:
    with pytest.raises(ValueError, match="no PNG"):
        stretch.sized_png(b"GIF89a......", "x")
    png = stretch.encode(stretch.to_bytes(samples.star_field(2, 40)), "x", lossy=False)
    assert stretch.sized_png(png.data, "x").width_px == 40


def test_why_bytes_are_no_picture_is_said_in_the_same_words_each_time() -> None:
    said = set()
    for _ in range(2):
        with pytest.raises(ValueError, match="no PNG") as told:
            stretch.sized_png(b"nothing", "x")
        said.add(str(told.value))
    assert len(said) == 1
    assert "0x" not in said.pop()


def test_a_chart_that_is_a_jpeg_already_passes_as_it_is() -> None:
    jpeg = stretch.encode(stretch.to_bytes(samples.star_field(2, 40)), "x").data
    picture = stretch.sized_png(jpeg, "x")
    assert (picture.data, picture.media_type, picture.width_px) == (jpeg, "image/jpeg", 40)


def test_the_same_pixels_give_the_same_bytes() -> None:
    image = samples.star_field(4)
    assert stretch.thumbnail(image, "a").data == stretch.thumbnail(image, "a").data


def test_a_chart_that_png_cannot_pack_becomes_a_jpeg() -> None:
    rng = np.random.default_rng(1)
    noise = rng.integers(0, 255, (400, 500, 3)).astype(np.uint8)
    picture = stretch.sized_png(stretch.encode(noise, "x", lossy=False).data, "a chart")
    assert (picture.media_type, picture.width_px, picture.height_px, picture.alt) == ("image/jpeg", 500, 400, "a chart")
    assert len(picture.data) < 200_000

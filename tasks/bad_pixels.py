"""Unit of work for the bad-pixel mask: hot pixels from the dark master, unstable ones from its frames."""

from __future__ import annotations

import numpy as np

from nightcrew.errors import RejectedInput
from nightcrew.frames.flags import PixelFlag
from nightcrew.io.images import ImageFile
from nightcrew.io.products import read_image_product
from nightcrew.ledger.rows import NewProduct
from nightcrew.planning.model import PlannedProduct
from nightcrew.quality.bad_pixels import BadPixelLimits, Image, bad_pixel_mask
from tasks.context import UnitContext
from tasks.frames_in import file_of
from tasks.images_out import fact_cards, write_image


class TrimmedRows:
    """Rows of a raw frame's trimmed part, read when asked for."""

    def __init__(self, image: ImageFile, trim: tuple[int, int, int, int] | None) -> None:
        ny, nx = image.shape[-2:]
        self._image = image
        self._x0, self._x1, self._y0, self._y1 = trim or (0, nx, 0, ny)

    @property
    def shape(self) -> tuple[int, ...]:
        """(ny, nx) of the trimmed part."""
        return (self._y1 - self._y0, self._x1 - self._x0)

    def read_rows(self, y0: int, y1: int) -> Image:
        """Rows y0:y1 of the trimmed part, ADU."""
        return self._image.read_rows(self._y0 + y0, self._y0 + y1)[:, self._x0 : self._x1]


def make_bad_pixels(context: UnitContext, planned: PlannedProduct) -> NewProduct:
    """The mask (PixelFlag bits) as both science and mask plane of a FITS product."""
    row = context.product(next(i.fingerprint for i in planned.inputs if i.role == "dark_master"))
    dark = read_image_product(context.file(row, "image")).science
    opened: list[ImageFile] = []
    left_out: dict[int, str] = {}
    try:
        series: list[Image | TrimmedRows] = []
        for frame in (i.frame for i in planned.inputs if i.frame is not None):
            try:
                image = ImageFile(file_of(frame), frame.header.hdu)
            except RejectedInput as error:
                left_out[frame.id] = str(error)
                continue
            opened.append(image)
            series.append(TrimmedRows(image, frame.header.trim))
        limits = BadPixelLimits(hot_sigma=float(planned.parameters["hot_sigma"]))
        mask = bad_pixel_mask(darks=[dark], dark_frames=[series], limits=limits)
    finally:
        for image in opened:
            image.close()
    counts = {flag.name.lower(): int(np.count_nonzero(mask & np.uint16(flag))) for flag in (PixelFlag.HOT, PixelFlag.UNSTABLE) if flag.name}
    cards = [*fact_cards(planned.facts), ("NCHOT", counts["hot"], "hot pixels"), ("NCUNSTAB", counts["unstable"], "unstable pixels")]
    file = write_image(context, planned, science=mask.astype(np.float32), uncertainty=None, mask=mask, unit="", cards=cards)
    metrics = {"level_adu": None, "noise_adu": None, "n_frames": len(series), "pixels": int(mask.size), **counts}
    return NewProduct(files=(file,), metrics=metrics, grade=planned.grade, grade_reasons=planned.grade_reasons, left_out=left_out)

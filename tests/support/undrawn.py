"""Figures that are not drawn, for tests that live through nights and sets and look at everything but their pictures.

Drawing takes half of a small night, most of it for the layout of words.  What is drawn has tests of its own beside each module that
draws; here each PNG is one white pixel and each page of a PDF is empty: products, pages and mails have their figures, and show nothing.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from matplotlib.figure import Figure

PIXEL = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR42mP4DwABAQEAHLCMmQAAAABJRU5ErkJggg==")


_DRAWN = Figure.savefig


@contextmanager
def drawn() -> Iterator[None]:
    """Within, figures are drawn, in a module that else does not draw them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", _DRAWN)
        yield


@contextmanager
def undrawn() -> Iterator[None]:
    """Within, a figure saved as PNG is one white pixel, and one saved as PDF an empty page."""
    real = Figure.savefig

    def savefig(self: Figure, target: Any, *arguments: Any, **options: Any) -> None:
        if options.get("format") == "png" and hasattr(target, "write"):
            target.write(PIXEL)
        elif options.get("format") == "pdf":
            real(Figure(figsize=(1, 1)), target, *arguments, **options)
        else:
            real(self, target, *arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", savefig)
        yield

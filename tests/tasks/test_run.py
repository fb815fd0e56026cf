"""What a failure of a unit means: a hindrance that may pass, or a fault."""

from __future__ import annotations

import errno

import pytest

from nightcrew.errors import Refused, RejectedInput
from tasks.run import _hindrance


def refused(cause: Exception | None) -> Refused:
    """As a writer raises it."""
    error = Refused("/products/x: no files can be made there")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (PermissionError(errno.EACCES, "Permission denied"), "Permission denied"),  # a person will mend the folder's rights
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device"),
        (OSError(errno.EROFS, "Read-only file system"), "Read-only file system"),
        (refused(PermissionError(errno.EACCES, "Permission denied")), "/products/x: no files can be made there"),
        (refused(None), ""),
        (RejectedInput("no star in it"), ""),
        (OSError(errno.EBADF, "Bad file descriptor"), ""),
        (ValueError("No space left on device"), ""),
    ],
)
def test_what_may_pass_is_tried_again_and_nothing_else(error: Exception, told: str) -> None:
    assert _hindrance(error) == told

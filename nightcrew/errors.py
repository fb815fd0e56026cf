"""Errors that carry their own verdict: what the service may do about them is decided where the knowledge is.

``RejectedInput`` is the file's fault and is never retried; ``MissingCalibration`` waits; ``TransientError`` is
retried with back-off; ``Refused`` is the user's mistake, told in one sentence.  Anything else is a bug and fails
loudly, with its trace.
"""

from __future__ import annotations


class NightcrewError(Exception):
    """Base of all errors whose text is meant for a person."""


class RejectedInput(NightcrewError):
    """An input file or frame cannot be used; the text names the cause.  Never retried."""


class MissingCalibration(NightcrewError):
    """A calibration that the rules ask for does not exist (yet).  The product waits."""


class TransientError(NightcrewError):
    """Something outside failed for now (disk full, a file changing under us, a lock).  Retried with back-off."""


class PutOff(NightcrewError):
    """What is optional cannot be made now: its users do without it until it is tried again, in an hour.

    ``tried`` False: nothing was attempted; then it comes before those that were.
    """

    def __init__(self, reason: str, *, tried: bool = True) -> None:
        super().__init__(reason)
        self.tried = tried


class Refused(NightcrewError):
    """A command, option or configuration that cannot be carried out as given; the text says what to do instead."""

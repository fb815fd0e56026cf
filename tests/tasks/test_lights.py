"""The header of a reduced light describes what is left of the frame."""

from __future__ import annotations

from nightcrew.frames.model import FrameHeader
from nightcrew.io.headers import HeaderValue
from tasks.lights import _moved_to_trim
from tests.frames.made import hdu


def test_sections_and_physical_pixels_follow_the_trim() -> None:
    cards: dict[str, HeaderValue] = {"CCDSEC": "[1:100,1:50]", "DETSEC": "[200:101,1:50]", "AMPSEC": "[*,*]", "LTV1": -3.0}
    shown = hdu(cards | {"DATASEC": "[5:104,1:50]"}, shape=(50, 124))
    header = FrameHeader(kind="light", instrument="", profile="", nx=124, ny=50, trim=(9, 104, 2, 50))
    found, gone = _moved_to_trim(header, shown)
    assert [(key, value) for key, value, _ in found] == [("CCDSEC", "[6:100,3:50]"), ("DETSEC", "[195:101,3:50]"), ("LTV1", -12.0)]
    assert gone == ["AMPSEC"]
    assert _moved_to_trim(FrameHeader(kind="light", instrument="", profile="", nx=124, ny=50), shown) == ([], [])

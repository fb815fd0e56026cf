"""What kind of file is it, by its first bytes (and for camera raw files, which look like TIFF, by the name's ending)."""

from __future__ import annotations

RAW_SUFFIXES = (".cr2", ".nef", ".nrw", ".arw", ".sr2", ".dng", ".pef", ".raf", ".orf", ".rw2", ".3fr", ".iiq", ".cr3", ".crw", ".x3f")
_RAW_STARTS = (b"FUJIFILMCCD-RAW", b"IIRO", b"IIRS", b"MMOR", b"IIU\0", b"FOVb", b"II\x1a\0\0\0HEAPCCDR")
_TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def is_tiff_like(head: bytes) -> bool:
    """Whether the file has TIFF's directories (many camera raw formats do)."""
    return head.startswith((*_TIFF_STARTS, b"IIRO", b"IIRS", b"MMOR", b"IIU\0"))


def kind_of(head: bytes, name: str) -> str:
    """``"fits"``, ``"tiff"``, ``"camera_raw"``, ``"hdf5"`` or ``"foreign"`` from the first 16 bytes or more of a file."""
    if head[:9].upper() == b"SIMPLE  =":
        return "fits"
    if head.startswith(_RAW_STARTS) or head[4:11] == b"ftypcrx":
        return "camera_raw"
    if head.startswith(_TIFF_STARTS):
        return "camera_raw" if head[8:10] == b"CR" or name.lower().endswith(RAW_SUFFIXES) else "tiff"
    if head.startswith(b"\x89HDF\r\n\x1a\n"):
        return "hdf5"
    return "foreign"

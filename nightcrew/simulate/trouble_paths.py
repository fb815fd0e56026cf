"""Troublemakers whose path is wrong: hostile names, and things in the folder that are no files."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

from nightcrew.simulate.trouble_kind import ANY_GRADE, UNSEEN, Spot, TroubleKind

FUTURE = 4_102_444_800  # 2100-01-01T00:00:00Z as a file's time stamp


def _named(name: str | bytes) -> Callable[[Spot], Path]:
    """Maker of a good exposure under a difficult name."""

    def make(spot: Spot) -> Path:
        return spot.write(os.fsdecode(name), spot.exposure())

    return make


def _option_name(spot: Spot) -> Path:
    whole = spot.exposure()
    return spot.write("--x;touch PWNED;#.fit", whole[: len(whole) // 2])


def _long_name(spot: Spot) -> Path:
    return spot.write("l" * (255 - len(".fit")) + ".fit", spot.exposure())


def _future(spot: Spot) -> Path:
    path = spot.write(spot.next_name(), spot.exposure())
    os.utime(path, (FUTURE, FUTURE))
    return path


def _unreadable(spot: Spot) -> Path:
    path = spot.write(spot.next_name(), spot.exposure())
    path.chmod(0)
    return path


def _fifo(spot: Spot) -> Path:
    path = spot.folder / "pipe.fit"
    os.mkfifo(path)
    return path


def _socket(spot: Spot) -> Path:
    path = spot.folder / "socket.fit"
    with socket.socket(socket.AF_UNIX) as listener:
        here = os.open(spot.folder, os.O_RDONLY | os.O_DIRECTORY)  # the path itself may be longer than a socket's 107 bytes
        try:
            listener.bind(f"/proc/self/fd/{here}/{path.name}")
        finally:
            os.close(here)
    return path


def _directory(spot: Spot) -> Path:
    path = spot.folder / "folder.fit"
    path.mkdir()
    return path


def _link(name: str, target: str) -> Callable[[Spot], Path]:
    def make(spot: Spot) -> Path:
        path = spot.folder / name
        path.symlink_to(target)
        return path

    return make


def _hidden(name: str) -> Callable[[Spot], Path]:
    def make(spot: Spot) -> Path:
        return spot.write(name, b"\x00\x05\x16\x07" + bytes(60))  # an AppleDouble's magic number

    return make


KINDS: tuple[TroubleKind, ...] = (
    TroubleKind(
        name="newline_name", make=_named("night\nBcc: all@example.org\n.fit"), states=ANY_GRADE, description="line breaks in the name"
    ),
    TroubleKind(name="html_name", make=_named("<img src=x onerror=alert(1)>.fit"), states=ANY_GRADE, description="HTML in the name"),
    TroubleKind(
        name="quote_name",
        make=_named('it\'s "$(touch owned)"; `id`.fit'),
        states=ANY_GRADE,
        description="quotes and shell syntax in the name",
    ),
    TroubleKind(
        name="dots_name", make=_named("..%2f..%2f...fit"), states=(*ANY_GRADE, *UNSEEN), description="dots and escapes in the name"
    ),
    TroubleKind(name="long_name", make=_long_name, states=ANY_GRADE, description="a name of 255 bytes"),
    TroubleKind(name="not_utf8_name", make=_named(b"n\xe9buleuse-\xff.fit"), states=ANY_GRADE, description="a name that is not UTF-8"),
    TroubleKind(name="ansi_name", make=_named("\x1b[31mred\x1b[0m.fit"), states=ANY_GRADE, description="terminal commands in the name"),
    TroubleKind(name="future_file", make=_future, states=ANY_GRADE, description="a file stamped in the year 2100"),
    TroubleKind(
        name="unreadable",
        make=_unreadable,
        states=("waiting", "rejected"),
        words=("permission", "read"),
        description="no permission to read",
    ),
    TroubleKind(name="fifo", make=_fifo, source="", states=UNSEEN, description="a named pipe: opening it would hang"),
    TroubleKind(name="socket", make=_socket, source="", states=UNSEEN, description="a socket"),
    TroubleKind(name="directory", make=_directory, source="", states=UNSEEN, description="a folder named .fit"),
    TroubleKind(name="link_loop", make=_link("loop.fit", "loop.fit"), source="", states=UNSEEN, description="a link to itself"),
    TroubleKind(
        name="link_folder_loop", make=_link("again", "."), source="", states=UNSEEN, description="a link to the folder that it lies in"
    ),
    TroubleKind(
        name="link_outside", make=_link("passwd.fit", "/etc/passwd"), source="", states=UNSEEN, description="a link out of the folder"
    ),
    TroubleKind(
        name="link_dangling", make=_link("gone.fit", "nowhere/gone.fit"), source="", states=UNSEEN, description="a link to nothing"
    ),
    TroubleKind(name="hidden_file", make=_hidden("._crew.fit"), source="", states=UNSEEN, description="a resource fork of another system"),
    TroubleKind(name="temporary_file", make=_hidden("crew-1.fit.part"), source="", states=UNSEEN, description="an unfinished download"),
    TroubleKind(name="folder_junk", make=_hidden(".DS_Store"), source="", states=UNSEEN, description="a desktop's own file"),
    TroubleKind(
        name="option_name",
        make=_option_name,
        words=("truncated", "incomplete", "cut"),
        description="half a light, whose name begins as an option does and ends as a command",
    ),
)

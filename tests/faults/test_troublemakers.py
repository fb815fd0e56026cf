"""One night with every troublemaker in it: each file ends in its state with its reason, and the raw files are as they were."""

from __future__ import annotations

import errno
import hashlib
import html
import os
import re
import shlex
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from flows.pages import report_when_closed
from nightcrew import ingest
from nightcrew.io.structure import Fingerprinted, sha256_file
from nightcrew.ledger import arrivals, messages
from nightcrew.ledger.arrivals import PathRow
from nightcrew.simulate import trouble_content
from nightcrew.simulate.trouble_kind import Spot
from nightcrew.simulate.troublemakers import KINDS
from nightcrew.simulate.truth import PlantedTrouble
from reports.text import visible
from tests.support.small_nights import make_raw, small_plan
from tests.support.undrawn import undrawn
from tests.support.watched import Watched, raw_state

REASONED = ("rejected", "set_aside", "waiting", "degraded")
STATIC = tuple(KINDS)


class Files:
    """Files that do something while the night is watched, each an exposure of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._source = folder / "crew-1-B-001.fit"
        self._made = 0

    def content(self) -> bytes:
        self._made += 1
        return Spot(self.folder, self._source, 9000.0 + 61.0 * self._made).exposure()

    def write(self, name: str, content: bytes | None = None) -> Path:
        path = self.folder / name
        path.write_bytes(self.content() if content is None else content)
        return path


@dataclass(frozen=True)
class Night:
    """The night when everything has happened."""

    bench: Watched
    troubles: dict[str, PlantedTrouble]
    before: dict[bytes, tuple[object, ...]]
    pages: str
    quick: dict[str, tuple[str, str]]  # state and reason of some files in the middle of it
    rewritten: PathRow  # a file before it was

    def row(self, name: str) -> PathRow:
        (row,) = [row for row in self.bench.files() if row.path == os.fsencode(self.bench.folder / name)]
        return row


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Night]:
    root = tmp_path_factory.mktemp("troubles")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trouble_content, "BOMB_BYTES", 32 << 20)
        truth = make_raw(root, small_plan(pixels=64, troubles=STATIC))
        troubles = {trouble.kind: trouble for trouble in truth.troubles}
        bench = Watched(root / "raw", root / "out")
        _refuse_to_open(patch, bench.folder / troubles["unreadable"].path)
        with undrawn():
            seen = _through(bench, troubles, patch)
        yield seen


def _refuse_to_open(patch: pytest.MonkeyPatch, path: Path) -> None:
    """Root may read everything: for this file the system says what it would say to others."""
    real = os.open

    def refuse(file: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if isinstance(file, str | bytes | os.PathLike) and os.fsencode(file) == os.fsencode(path):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), os.fsdecode(file))
        return real(file, flags, mode, dir_fd=dir_fd)

    patch.setattr(os, "open", refuse)


def _through(bench: Watched, troubles: dict[str, PlantedTrouble], patch: pytest.MonkeyPatch) -> Night:
    files, folder = Files(bench.folder), bench.folder
    slow = files.content()
    files.write("slow.fit", slow[:3000])
    for name in (
        "grows-again.fit",
        "rewritten.fit",
        "renamed.fit",
        "moved-away.fit",
        "deleted-unread.fit",
        "deleted-read.fit",
        "pipe-later.fit",
    ):
        files.write(name)
    patient = files.content()
    files.write("never-whole.fit", patient[:9000])
    written = [3000]

    def grow() -> None:
        if written[0] < len(slow):
            with (folder / "slow.fit").open("ab") as file:
                file.write(slow[written[0] : written[0] + 1500])
            written[0] += 1500

    bench.watch(4, grow)
    quick = {"slow.fit": ("", "") if _unknown(bench, "slow.fit") else bench.state_of("slow.fit")}
    (folder / "deleted-unread.fit").unlink()
    (folder / "pipe-later.fit").unlink()
    os.mkfifo(folder / "pipe-later.fit")  # between the look of the watcher and that of ingest
    _delete_when_hashed(patch, folder / "deleted-read.fit")
    bench.ingest_once()
    quick["grows-again.fit"] = bench.state_of("grows-again.fit")
    with (folder / "grows-again.fit").open("ab") as file:
        file.write(
            b"XTENSION= 'IMAGE   '".ljust(80)
            + b"BITPIX  =                    8".ljust(80)
            + b"NAXIS   =                    0".ljust(80)
            + b"END".ljust(2640)
        )
    bench.watch(14, grow)
    bench.ingest_once()
    bench.run()
    (rewritten,) = [row for row in bench.files() if row.path == os.fsencode(folder / "rewritten.fit")]
    files.write("rewritten.fit")
    (folder / "renamed.fit").rename(folder / "new name.fit")
    elsewhere = folder.parent / "elsewhere"
    elsewhere.mkdir()
    (folder / "moved-away.fit").rename(elsewhere / "moved-away.fit")
    before = raw_state(folder)
    bench.watch(16)
    bench.ingest_once()
    bench.close()
    bench.run()
    bench.run()
    for scope in bench.scopes():
        report_when_closed(bench.space, scope.id)
    pages = "".join(path.read_text(encoding="utf-8") for path in sorted(bench.settings.reports.root.rglob("*.html")))
    return Night(bench=bench, troubles=troubles, before=before, pages=pages, quick=quick, rewritten=rewritten)


def _unknown(bench: Watched, name: str) -> bool:
    with bench.space.database.read() as connection:
        return not arrivals.find(connection, os.fsencode(bench.folder / name))


def _delete_when_hashed(patch: pytest.MonkeyPatch, victim: Path) -> None:
    def hash_file(path: Path, seen: os.stat_result) -> Fingerprinted:
        if path == victim:
            victim.unlink(missing_ok=True)
        return sha256_file(path, seen)

    patch.setattr(ingest, "sha256_file", hash_file)


def test_the_balance_closes(night: Night) -> None:
    """Every path that was ever met is one row in one state; none is in between."""
    rows = night.bench.files()
    assert len({row.path for row in rows}) == len(rows)
    below = [path for path, (mode, *_) in night.before.items() if mode]
    folder = os.fsencode(night.bench.folder / night.troubles["directory"].path)  # an empty folder is no file
    known = {row.path for row in rows}
    assert {path for path in below if path != folder} <= known
    gone = {path.rpartition(b"/")[2] for path in known - set(below)}
    assert gone == {b"deleted-unread.fit", b"deleted-read.fit", b"renamed.fit", b"moved-away.fit"}
    with night.bench.space.database.read() as connection:
        assert sum(arrivals.balance(connection).values()) == len(rows)
    assert Counter(row.state for row in rows if not row.reason) == Counter(
        row.state for row in rows if row.state == "done" and not row.reason
    )


def test_raw_files_are_as_they_were(night: Night) -> None:
    """The raw folder, before and after a night with every troublemaker."""
    assert raw_state(night.bench.folder) == night.before


@pytest.mark.parametrize("kind", [kind for kind in STATIC if kind != "directory"])
def test_each_ends_in_its_state_with_its_reason(night: Night, kind: str, record_property: Callable[[str, object], None]) -> None:
    """A troublemaker among the frames of a night."""
    trouble = night.troubles[kind]
    rows = [night.row(name) for name in (trouble.path, trouble.twin) if name]
    fitting = [row for row in rows if row.state in trouble.states]
    assert fitting, [(row.state, row.reason) for row in rows]
    for row in fitting:
        if row.state in REASONED:
            assert row.reason
            assert "a fault in Nightcrew" not in row.reason
    record_property("evidence", f"{fitting[0].state}, {fitting[0].reason[:150]!r}")
    words = [word for word in trouble.expected_words if any(word in row.reason.lower() for row in fitting)]
    assert words or not trouble.expected_words or all(row.state == "done" for row in fitting), [row.reason for row in fitting]


def test_a_file_that_grows_slowly_is_read_when_it_is_whole(night: Night) -> None:
    """A file that grows slowly."""
    assert night.quick["slow.fit"] == ("", "")
    assert night.row("slow.fit").state in ("done", "degraded")


def test_a_file_that_grows_again_is_read_again(night: Night) -> None:
    """A file that grows again after it has settled and was read."""
    assert night.quick["grows-again.fit"][0] == "waiting"
    row = night.row("grows-again.fit")
    assert row.state in ("done", "degraded")
    assert row.size == (night.bench.folder / "grows-again.fit").stat().st_size


def test_a_rewritten_file_is_the_exposure_that_it_is_now(night: Night) -> None:
    """A file rewritten with another exposure after it was reduced."""
    row, before = night.row("rewritten.fit"), night.rewritten
    assert before.state in ("done", "degraded")
    assert row.state in ("done", "degraded")
    assert row.sha256 == hashlib.sha256((night.bench.folder / "rewritten.fit").read_bytes()).hexdigest() != before.sha256
    assert row.frame_id not in (None, before.frame_id)
    lights = [product for product in night.bench.products() if product.recipe == "reduce_light"]
    with night.bench.space.database.read() as connection:
        assert arrivals.count_to_read(connection) == 1  # only the one that nobody may read
    assert len({product.fingerprint for product in lights}) == len(lights)


def test_a_renamed_file_is_one_exposure(night: Night) -> None:
    """A file renamed after it was reduced."""
    old, new = night.row("renamed.fit"), night.row("new name.fit")
    assert old.vanished
    assert new.frame_id == old.frame_id
    assert new.state in ("done", "degraded")
    assert old.state == "set_aside"
    assert "another name" in old.reason


def test_files_that_went_away_say_so(night: Night) -> None:
    """Files deleted before and while they are read, and one moved away."""
    assert (night.row("deleted-unread.fit").state, night.row("deleted-unread.fit").reason) == ("set_aside", arrivals.VANISHED_UNREAD)
    assert (night.row("deleted-read.fit").state, night.row("deleted-read.fit").reason) == ("set_aside", arrivals.VANISHED_UNREAD)
    page = html.unescape(night.pages)
    assert "4 raw files vanished from the watched folders" in page
    assert "deleted-read.fit, deleted-unread.fit, moved-away.fit and 1 more" in page
    moved = night.row("moved-away.fit")
    assert moved.vanished
    assert moved.state in ("done", "degraded")  # it was reduced before it went, and its product stands


def test_a_file_that_nobody_may_read_says_so(night: Night) -> None:
    """A file without permission to read: it waits, and its reason tells why."""
    assert night.row(night.troubles["unreadable"].path).reason.startswith(arrivals.NOT_YET)
    assert "Permission denied" in night.row(night.troubles["unreadable"].path).reason


def test_a_pipe_in_a_files_place_holds_nobody_up(night: Night) -> None:
    """A pipe in the place of a file that has settled."""
    row = night.row("pipe-later.fit")
    assert row.state == "set_aside"
    assert "named pipe" in row.reason


def test_what_never_becomes_whole_is_rejected_when_patience_ends(night: Night) -> None:
    """A file that is never finished."""
    row = night.row("never-whole.fit")
    assert row.state == "rejected"
    assert "cut short" in row.reason


class Elements(HTMLParser):
    """Which elements a page has, and the attributes that could do something."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.active: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.active += [name for name, value in attrs if name.startswith("on") or "javascript:" in (value or "")]


def test_no_name_and_no_header_does_anything_on_a_page(night: Night) -> None:
    """HTML, scripts, templates and control characters in names and headers."""
    parser = Elements()
    parser.feed(night.pages)
    assert not parser.active
    assert parser.tags["script"] == 0
    assert not re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]", night.pages)
    assert "{{ 7919*7907 }}" in html.unescape(night.pages)  # as it stands in the header
    assert str(7919 * 7907) not in night.pages  # a number that nothing else has
    assert "root:x:0" not in night.pages
    for name in ("nightcrew-escape", "owned"):
        assert not list(night.bench.settings.products.root.parent.parent.rglob(name))


def test_every_command_on_a_page_is_one_command_about_one_thing(night: Night) -> None:
    """No name of a file ends a command, begins another or is an option."""
    offered = {html.unescape(one) for one in re.findall(r"nightcrew why [^<]+", night.pages)}
    assert any("touch PWNED" in one for one in offered)
    for one in offered:
        lexer = shlex.shlex(re.sub(r"\$'[^']*'", "raw", one), posix=False, punctuation_chars=True)
        lexer.whitespace_split = True
        _, _, about, *more = lexer
        assert (about.startswith("-"), more) == (False, []), one


def test_every_file_that_needs_a_person_is_on_the_page(night: Night) -> None:
    """Rejected files, sought on the page."""
    rejected = [row for row in night.bench.files() if row.state == "rejected" and row.scope_id is not None]
    page = html.unescape(night.pages)
    missing = [row.path for row in rejected if visible(os.fsdecode(row.path).rpartition("/")[2]) not in page]
    assert rejected
    assert missing == []


def test_nothing_was_told_as_a_fault_of_the_program(night: Night) -> None:
    """A night with every troublemaker, sought for faults of the program."""
    with night.bench.space.database.read() as connection:
        told = [text for _, _, _, text in messages.happenings(connection, "")]
    assert [text for text in told if "fault in Nightcrew" in text] == []
    assert [row.reason for row in night.bench.files() if "fault in Nightcrew" in row.reason] == []

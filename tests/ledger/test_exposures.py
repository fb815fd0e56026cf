"""Exposures: one row each, whatever files hold them and in whatever order they came."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select

from nightcrew.ledger import arrivals, exposures
from nightcrew.ledger.arrivals import Seen
from nightcrew.ledger.schema import content, frame
from nightcrew.planning.snapshot import frames_of
from tests.support.made_nights import FOLDER, NIGHT, Made, Shelf, header, reading_of

LIGHT = header("light")
RAW = Made("light.fit", LIGHT, "bytes", 1_000)


def frames(shelf: Shelf, night: str = NIGHT) -> list[tuple[str, str, str]]:
    """(path, content, absent) of every exposure of a night."""
    with shelf.database.read() as connection:
        rows = frames_of(connection, shelf.scope(night).id)
    return sorted((row.path.decode().removeprefix(FOLDER + "/"), row.sha256, row.absent) for row in rows)


def state(shelf: Shelf, name: str) -> tuple[str, str]:
    row = shelf.file(name)
    return row.state, row.reason


def vanish(shelf: Shelf, *names: str) -> int:
    return arrivals.mark_vanished(shelf.database, [f"{FOLDER}/{name}".encode() for name in names])


def test_a_frame_has_its_row_its_scope_and_its_content(shelf: Shelf) -> None:
    touched = shelf.put([RAW])
    assert touched == {shelf.scope().id}
    assert frames(shelf) == [("light.fit", RAW.sha256, "")]
    assert shelf.scope().state == "open"
    with shelf.database.read() as connection:
        assert connection.execute(select(content.c.sha256)).scalars().all() == [RAW.sha256]


def test_the_same_content_under_two_paths_is_one_exposure_and_the_shortest_path_counts(shelf: Shelf) -> None:
    shelf.put([replace(RAW, name="copies/of/light.fit")])
    shelf.put([RAW])
    assert frames(shelf) == [("light.fit", RAW.sha256, "")]
    assert state(shelf, "copies/of/light.fit") == ("set_aside", "duplicate: the same bytes as light.fit")
    assert state(shelf, "light.fit")[0] == "waiting"


def test_of_equally_short_paths_the_first_counts(shelf: Shelf) -> None:
    shelf.put([replace(RAW, name="b.fit"), replace(RAW, name="a.fit")])
    assert frames(shelf) == [("a.fit", RAW.sha256, "")]


def test_the_same_exposure_under_other_bytes_is_one_and_the_one_changed_last_counts(shelf: Shelf) -> None:
    edited = Made("edited-light.fit", replace(LIGHT, target="Crew 2"), "edited", 2_000)
    shelf.put([RAW])
    shelf.put([edited])
    assert frames(shelf) == [("edited-light.fit", edited.sha256, "")]
    assert state(shelf, "light.fit") == ("set_aside", "duplicate: the same exposure as edited-light.fit, which was changed later")
    assert shelf.snapshot().frames[0].header.target == "Crew 2"


def test_a_compressed_copy_with_the_time_of_its_original_is_set_aside(shelf: Shelf) -> None:
    shelf.put([Made("light.fit.gz", LIGHT, "compressed", RAW.mtime_ns)])
    shelf.put([RAW])
    assert frames(shelf) == [("light.fit", RAW.sha256, "")]


def test_an_older_file_that_comes_later_changes_nothing(shelf: Shelf) -> None:
    shelf.put([RAW])
    mark = shelf.scope().mark
    shelf.put([Made("old.fit", replace(LIGHT, target="before"), "old bytes", 500)])
    assert frames(shelf) == [("light.fit", RAW.sha256, "")]
    assert shelf.snapshot().frames[0].header.target == "Crew 1"
    assert shelf.scope().mark > mark  # its file is in the night's balance


def test_an_overwritten_file_takes_its_frame_along(shelf: Shelf) -> None:
    shelf.put([RAW])
    other = Made("light.fit", header("light", 500.0), "other bytes", 3_000)
    shelf.see([other])
    assert frames(shelf) == [("light.fit", RAW.sha256, "changing")]
    shelf.read([other])
    assert frames(shelf) == [("light.fit", other.sha256, "")]


def test_an_overwritten_duplicate_leaves_the_exposure_to_the_other(shelf: Shelf) -> None:
    shelf.put([RAW, replace(RAW, name="copy-of-light.fit")])
    shelf.put([Made("light.fit", header("light", 500.0), "other bytes", 3_000)])
    assert [name for name, _, _ in frames(shelf)] == ["copy-of-light.fit", "light.fit"]
    assert state(shelf, "copy-of-light.fit") == ("waiting", "took over from a file that vanished")


def test_a_vanished_file_whose_duplicate_is_there_hands_its_exposure_over(shelf: Shelf) -> None:
    shelf.put([RAW, replace(RAW, name="copy-of-light.fit")])
    mark = shelf.scope().mark
    assert vanish(shelf, "light.fit") == 1
    assert frames(shelf) == [("copy-of-light.fit", RAW.sha256, "")]
    assert state(shelf, "copy-of-light.fit")[0] == "waiting"
    assert state(shelf, "light.fit") == ("set_aside", "vanished; the same exposure lives on under another name")
    assert shelf.scope().mark > mark


def test_a_file_replaced_by_its_compressed_copy_is_read_again_there(shelf: Shelf) -> None:
    packed = Made("light.fit.gz", LIGHT, "compressed", RAW.mtime_ns)
    shelf.put([RAW])
    shelf.put([packed])
    vanish(shelf, "light.fit")
    assert frames(shelf) == [("light.fit.gz", RAW.sha256, "changing")]
    assert shelf.file("light.fit.gz").to_read
    shelf.read([packed])
    assert frames(shelf) == [("light.fit.gz", packed.sha256, "")]


def test_a_vanished_file_without_another_stays_and_says_so(shelf: Shelf) -> None:
    shelf.put([RAW])
    vanish(shelf, "light.fit")
    assert frames(shelf) == [("light.fit", RAW.sha256, "gone")]
    assert vanish(shelf, "light.fit") == 0


def test_a_vanished_file_that_was_used_marks_nothing(shelf: Shelf) -> None:
    shelf.put([RAW])
    from nightcrew.ledger import states

    states.apply(shelf.database, shelf.scope().id, {shelf.snapshot().frames[0].id: ("done", "grade A")})
    before = shelf.scope()
    vanish(shelf, "light.fit")
    assert shelf.scope() == before


def test_a_file_that_comes_back_is_there_again(shelf: Shelf) -> None:
    shelf.put([RAW, replace(RAW, name="copy-of-light.fit")])
    vanish(shelf, "light.fit")
    shelf.see([RAW])
    assert frames(shelf) == [("light.fit", RAW.sha256, "")]
    assert state(shelf, "copy-of-light.fit") == ("set_aside", "duplicate: the same bytes as light.fit")


def test_distinct_frames_of_one_second_have_identities_of_their_own(shelf: Shelf) -> None:
    shelf.see([RAW, replace(RAW, name="next.fit", content="other pixels")])
    ids = {path: row.id for path, row in shelf.rows().items()}
    first, second = (reading_of(f, ids[f.path]) for f in (RAW, replace(RAW, name="next.fit", content="other pixels")))
    likeness = first.identity
    exposures.store(
        shelf.database,
        [
            replace(first, identity=f"{likeness}#a", likeness=likeness, pixels="a"),
            replace(second, identity=f"{likeness}#b", likeness=likeness, pixels="b"),
        ],
    )
    assert len(frames(shelf)) == 2
    with shelf.database.read() as connection:
        known = exposures.alike(connection, [likeness])[likeness]
    assert [(one.pixels, *one.contents) for one in known] == [("a", first.sha256), ("b", second.sha256)]


def test_what_changed_while_it_was_read_stays_an_arrival(shelf: Shelf) -> None:
    shelf.see([RAW])
    path_id = shelf.file("light.fit").id
    reading = reading_of(RAW, path_id)
    shelf.see([replace(RAW, mtime_ns=9_000)])  # recorded while the old bytes were being read
    exposures.store(shelf.database, [reading])
    assert shelf.file("light.fit").to_read
    assert frames(shelf) == [("light.fit", RAW.sha256, "changing")]
    for _ in range(2):  # whether the record or the reading is newer nobody knows: it settles when both say the same
        exposures.store(shelf.database, [replace(reading, mtime_ns=9_000, sha256="e" * 64)])
    assert not shelf.file("light.fit").to_read
    assert frames(shelf) == [("light.fit", "e" * 64, "")]


def test_a_frame_that_turns_out_to_be_none_leaves_its_night(shelf: Shelf) -> None:
    shelf.put([RAW])
    shelf.put([Made("light.fit", None, "cut short", 5_000)])
    assert frames(shelf) == []
    assert state(shelf, "light.fit") == ("rejected", "not a frame")


def test_a_rejected_file_counts_in_the_night_that_its_header_tells(shelf: Shelf) -> None:
    shelf.see([Made("short.fit", None)])
    reading = replace(reading_of(Made("short.fit", None), shelf.file("short.fit").id), scope_name=NIGHT, scope_instrument="NCSIM")
    exposures.store(shelf.database, [reading])
    assert shelf.file("short.fit").scope_id == shelf.scope().id


def test_an_edited_header_may_move_a_frame_to_another_night(shelf: Shelf) -> None:
    shelf.put([RAW])
    shelf.put([Made("light.fit", replace(LIGHT, night="2026-03-15"), "edited", 2_000)])
    assert frames(shelf) == []
    assert [name for name, _, _ in frames(shelf, "2026-03-15")] == ["light.fit"]
    assert shelf.file("light.fit").scope_id == shelf.scope("2026-03-15").id


def test_reading_the_same_files_anew_does_not_open_a_closed_night(shelf: Shelf) -> None:
    shelf.put([RAW])
    shelf.close()
    mark = shelf.scope().mark
    mended = replace(RAW, header=replace(LIGHT, exposure_s=0.06))
    exposures.store(shelf.database, [reading_of(mended, shelf.file("light.fit").id)], late=False)
    assert shelf.scope().state == "closed"
    assert shelf.scope().mark > mark


def test_a_late_file_opens_a_closed_night(shelf: Shelf) -> None:
    shelf.put([RAW])
    shelf.close()
    shelf.put([Made("late.fit", header("light", 500.0))])
    assert shelf.scope().state == "open"
    assert shelf.scope().closed_at == ""


def test_a_batch_costs_statements_by_its_size_over_five_hundred(shelf: Shelf) -> None:
    from sqlalchemy import event

    many = [Made(f"f{n:04d}.fit", header("light", float(n))) for n in range(400)]
    shelf.see(many)
    count = [0]

    def counted(*_: object) -> None:
        count[0] += 1

    event.listen(shelf.database.engine, "before_cursor_execute", counted)
    shelf.read(many)
    event.remove(shelf.database.engine, "before_cursor_execute", counted)
    assert count[0] < 60
    with shelf.database.read() as connection:
        assert connection.execute(select(func.count()).select_from(frame)).scalar_one() == 400


POOL = [
    RAW,
    replace(RAW, name="copy-of-light.fit"),
    replace(RAW, name="deeper/copy.fit"),
    Made("light.fit.gz", LIGHT, "compressed", 1_000),
    Made("edited.fit", replace(LIGHT, target="Crew 2"), "edited", 2_000),
    Made("edited-copy.fit", replace(LIGHT, target="Crew 2"), "edited", 2_000),
    Made("second.fit", header("light", 60.0), "second", 1_500),
    Made("second-moved.fit", replace(header("light", 60.0), night="2026-03-15"), "second, moved", 2_500),
    Made("bad.fit", None),
]


def picture(shelf: Shelf) -> object:
    """Everything that should not depend on the order of arrival."""
    nights = [(night, frames(shelf, night)) for night in (NIGHT, "2026-03-15")]
    headers = sorted((f.path, f.header.canonical()) for night in (NIGHT, "2026-03-15") for f in shelf.snapshot(night).frames)
    return nights, headers, sorted((row.path, row.state, row.kind) for row in shelf.rows().values())


@pytest.fixture
def usual(new_shelf: Callable[[], Shelf]) -> object:
    shelf = new_shelf()
    shelf.put(POOL)
    return picture(shelf)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.permutations(POOL), burst=st.integers(1, len(POOL)), again=st.sets(st.sampled_from(POOL), max_size=3))
def test_the_order_of_arrival_does_not_matter(
    new_shelf: Callable[[], Shelf], usual: object, order: list[Made], burst: int, again: set[Made]
) -> None:
    shelf = new_shelf()
    for start in range(0, len(order), burst):
        shelf.put(order[start : start + burst])
    vanish(shelf, *(one.name for one in again))
    shelf.see(again)
    shelf.read([one for one in again if shelf.file(one.name).to_read])
    unread = [one for one in POOL if shelf.file(one.name).to_read]
    shelf.read(unread)
    assert picture(shelf) == usual


def test_an_unknown_path_is_passed_over(shelf: Shelf) -> None:
    shelf.put([RAW])
    assert exposures.store(shelf.database, [reading_of(RAW, 12_345)]) == set()


def test_a_name_that_is_not_for_us_any_more_leaves_its_exposure(shelf: Shelf) -> None:
    shelf.put([RAW])
    row = Seen(path=RAW.path, folder=FOLDER, size=1, mtime_ns=9, kind="ignored", verdict="ignored: a socket")
    arrivals.record(shelf.database, [row])
    assert frames(shelf) == []
    assert state(shelf, "light.fit") == ("set_aside", "ignored: a socket")

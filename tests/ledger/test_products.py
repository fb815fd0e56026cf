"""Products: committed in one transaction, current by compare-and-swap, with their inputs, measurements and dependants."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from nightcrew.ledger import claims, outdated, products, retention, schema, scopes
from nightcrew.ledger.claims import Claimed
from nightcrew.ledger.products import InputRow, Recorded
from nightcrew.ledger.rows import FileRow, Measurement, NewProduct, ProductRow
from nightcrew.ledger.schema import claim
from tests.support.made_nights import MORNING, Made, Shelf, header

FILE = FileRow(role="image", path="2026-03-14/CAM/masters/bias.fits", sha256="a" * 64, size=10)
MADE = NewProduct(files=(FILE,), metrics={"level_adu": 1000.5}, grade="B", grade_reasons=("old",))


@pytest.fixture
def scope_id(shelf: Shelf) -> int:
    return new_scope(shelf, "2026-03-14")


def new_scope(shelf: Shelf, name: str) -> int:
    with shelf.database.write() as connection:
        return scopes.ensure(connection, "night", name, "CAM", shelf.database.now())


def recorded(letter: str, *, key: str = "key", recipe: str = "bias_master", **values: Any) -> Recorded:
    usual: dict[str, Any] = {
        "recipe": recipe,
        "version": 1,
        "key": key,
        "instrument": "CAM",
        "night": "2026-03-14",
        "fingerprint": letter * 64,
        "parameters": {"method": "median"},
        "facts": {"camera": "C1", "night": "2026-03-14"},
        "inputs": [],
        "time_utc": "2026-03-14T22:00:00.000",
        "serves_other_scopes": True,
    }
    return Recorded(**{**usual, **values})


def taken(shelf: Shelf, scope_id: int, what: Recorded) -> Claimed:
    claimed = claims.take(shelf.database, scope_id, what.recipe, what.key, what.fingerprint)
    assert claimed is not None
    return claimed


def make(shelf: Shelf, scope_id: int, what: Recorded, made: NewProduct = MADE) -> ProductRow:
    row = products.commit(shelf.database, taken(shelf, scope_id, what), what, made, remake_scopes=3)
    assert row is not None
    return row


def current(shelf: Shelf, scope_id: int) -> list[str]:
    with shelf.database.read() as connection:
        return [row.fingerprint[0] for row in products.current_of_scope(connection, scope_id)]


def test_names_of_files_that_are_no_utf8_come_back_as_they_were(shelf: Shelf, scope_id: int) -> None:
    name = os.fsdecode(b"flat-\xff.fit")
    made = replace(MADE, metrics={"left_out": {name: "saturated"}}, grade_reasons=(f"without {name}",))
    row = make(shelf, scope_id, recorded("a", parameters={"names": [name]}, facts={"first": name}), made)
    assert (row.metrics, row.grade_reasons) == (made.metrics, made.grade_reasons)
    assert (row.parameters, row.facts) == ({"names": [name]}, {"first": name})


def test_a_commit_says_everything_at_once(shelf: Shelf, scope_id: int) -> None:
    mark = shelf.scope(instrument="CAM").mark
    row = make(shelf, scope_id, recorded("a"))
    assert (row.fingerprint, row.files, row.metrics, row.grade, row.grade_reasons) == (
        "a" * 64,
        (FILE,),
        {"level_adu": 1000.5},
        "B",
        ("old",),
    )
    assert (row.facts["camera"], row.parameters, row.usable, row.barred_because) == ("C1", {"method": "median"}, True, "")
    assert row.file("image") == FILE
    assert current(shelf, scope_id) == ["a"]
    assert shelf.scope(instrument="CAM").mark == mark + 1
    with shelf.database.read() as connection:
        assert connection.execute(select(claim.c.state)).scalars().all() == ["done"]
        assert (
            products.get(connection, row.id) == products.by_fingerprint(connection, "a" * 64) == products.by_fingerprint(connection, "aaa")
        )


def test_a_claim_that_was_lost_commits_nothing(shelf: Shelf, scope_id: int) -> None:
    late = taken(shelf, scope_id, recorded("a"))
    claims.end(shelf.database, late, "died")
    make(shelf, scope_id, recorded("b"))
    assert products.commit(shelf.database, late, recorded("a"), MADE, remake_scopes=3) is None
    assert current(shelf, scope_id) == ["b"]
    with shelf.database.read() as connection:
        assert products.by_fingerprint(connection, "a" * 64) is None


def test_a_newer_product_of_a_key_becomes_current_and_the_old_one_stays(shelf: Shelf, scope_id: int) -> None:
    make(shelf, scope_id, recorded("a"))
    make(shelf, scope_id, recorded("b"))
    make(shelf, scope_id, recorded("c", key="other"))
    assert sorted(current(shelf, scope_id)) == ["b", "c"]
    with shelf.database.read() as connection:
        assert [row.fingerprint[0] for row in products.of_scope(connection, scope_id)] == ["a", "b", "c"]


def test_the_newer_claim_stands(shelf: Shelf, scope_id: int) -> None:
    old = taken(shelf, scope_id, recorded("a"))
    with shelf.database.write() as connection:
        new = Claimed(old.token + 5, scope_id, "bias_master", "key", "b" * 64)
        products._make_current(connection, new, "bias_master", "key", _row(connection, scope_id, new, "b"))
        products._make_current(connection, old, "bias_master", "key", _row(connection, scope_id, old, "a"))
    assert current(shelf, scope_id) == ["b"]


def _row(connection: Any, scope_id: int, claimed: Claimed, letter: str) -> int:
    del scope_id
    return products._upsert(connection, claimed, recorded(letter), MADE, "2026-03-15T00:00:00.000")


def test_made_again_under_the_same_fingerprint_it_is_one_row(shelf: Shelf, scope_id: int) -> None:
    inputs = [InputRow(role="bias", fingerprint="1" * 64)]
    first = make(shelf, scope_id, recorded("a", inputs=inputs))
    with shelf.database.write() as connection:
        products.set_state(connection, first.id, "lost")
    again = make(shelf, scope_id, recorded("a", inputs=inputs))
    assert (again.id, again.state) == (first.id, "made")
    with shelf.database.read() as connection:
        assert len(products.inputs_of(connection, again.id)) == 1


def test_inputs_remember_what_was_left_out(shelf: Shelf) -> None:
    shelf.put([Made("a.fit", header("bias", instrument="CAM")), Made("b.fit", header("bias", 60.0, instrument="CAM"))])
    frames = sorted(shelf.snapshot(instrument="CAM").frames, key=lambda f: f.path)
    scope_id = shelf.scope(instrument="CAM").id
    inputs = [InputRow(role="bias", fingerprint=f.sha256, frame_id=f.id) for f in frames]
    row = make(shelf, scope_id, recorded("a", inputs=inputs), replace(MADE, left_out={frames[1].id: "too bright"}))
    with shelf.database.read() as connection:
        assert [why for _, why in products.inputs_of(connection, row.id)] == ["", "too bright"]
        assert products.left_out_of_scope(connection, scope_id) == {row.id: {frames[1].id: "too bright"}}
        assert products.parts_of_current(connection, scope_id, ["bias_master"]) == {"a" * 64: {f.id for f in frames}}
        assert products.parts_of_current(connection, scope_id, ["dark_master"]) == {}


def test_measurements_trend_over_current_products_only(shelf: Shelf, scope_id: int) -> None:
    def measured(value: float | None) -> NewProduct:
        one = Measurement(quantity="bias_noise", value=value, error=None, unit="adu", where={"temperature_c": -20}, note="")
        return replace(MADE, measurements=(one,))

    make(shelf, scope_id, recorded("a"), measured(5.0))
    make(shelf, scope_id, recorded("b"), measured(None))
    other = new_scope(shelf, "2026-03-15")
    make(shelf, other, recorded("c", night="2026-03-15"), measured(6.0))
    with shelf.database.read() as connection:
        found = products.trend(connection, "CAM", "bias_noise")
    assert [(row["night"], row["value"], row["where"]) for row in found] == [
        ("2026-03-14", None, {"temperature_c": -20}),
        ("2026-03-15", 6.0, {"temperature_c": -20}),
    ]


def test_an_earlier_product_comes_back(shelf: Shelf, scope_id: int) -> None:
    first = make(shelf, scope_id, recorded("a"))
    make(shelf, scope_id, recorded("b"))
    with shelf.database.write() as connection:
        products.make_current(connection, scope_id, "bias_master", "key", first.id)
    assert current(shelf, scope_id) == ["a"]
    make(shelf, scope_id, recorded("c"))
    assert current(shelf, scope_id) == ["c"]


def test_what_is_not_asked_for_is_not_current_but_stays(shelf: Shelf, scope_id: int) -> None:
    make(shelf, scope_id, recorded("a"))
    with shelf.database.write() as connection:
        products.dismiss(connection, scope_id, [("bias_master", "key"), ("bias_master", "never")])
        assert products.by_fingerprint(connection, "a" * 64) is not None
    assert current(shelf, scope_id) == []


def test_masters_of_other_nights_within_a_span(shelf: Shelf, scope_id: int) -> None:
    make(shelf, scope_id, recorded("a"))
    other = new_scope(shelf, "2026-03-20")
    make(shelf, other, recorded("b", time_utc="2026-03-20T22:00:00.000"))
    make(shelf, other, recorded("c", recipe="photometry", time_utc="2026-03-20T22:00:00.000"))

    def elsewhere(of: int, span: tuple[str, str]) -> list[str]:
        with shelf.database.read() as connection:
            return [row.fingerprint[0] for row in products.current_elsewhere(connection, of, "CAM", ["bias_master"], span)]

    assert elsewhere(scope_id, ("2026-01-01", "2026-12-31")) == ["b"]
    assert elsewhere(other, ("2026-01-01", "2026-12-31")) == ["a"]
    assert elsewhere(scope_id, ("2026-01-01", "2026-03-20")) == []
    assert elsewhere(other, ("2026-03-15", "2026-12-31")) == []


def test_a_master_makes_its_siblings_look_and_a_light_does_not(shelf: Shelf, scope_id: int) -> None:
    other = new_scope(shelf, "2026-03-15")

    def mark() -> int:
        with shelf.database.read() as connection:
            return scopes.get(connection, other).mark

    before = mark()
    make(shelf, scope_id, recorded("a", recipe="reduce_light", serves_other_scopes=False))
    assert mark() == before
    make(shelf, scope_id, recorded("b"))
    assert mark() == before + 1


def test_a_person_marks_a_product_bad_and_takes_it_back(shelf: Shelf, scope_id: int) -> None:
    row = make(shelf, scope_id, recorded("a"))
    other = new_scope(shelf, "2026-03-15")
    for reason, usable in (("a dome light was on", False), ("", True)):
        with shelf.database.read() as connection:
            before = scopes.get(connection, scope_id).mark, scopes.get(connection, other).mark
        products.mark_bad(shelf.database, row.id, reason, remake_scopes=3)
        with shelf.database.read() as connection:
            now = products.get(connection, row.id)
            assert (scopes.get(connection, scope_id).mark, scopes.get(connection, other).mark) == (before[0] + 1, before[1] + 1)
        assert now.usable == usable
        assert (reason in now.barred_because) == (not usable) or not reason


def test_a_failed_certificate_bars_a_master(shelf: Shelf, scope_id: int) -> None:
    row = make(shelf, scope_id, recorded("a"), replace(MADE, certified=False, certification="too few frames"))
    assert not row.usable
    assert row.barred_because == "failed certification: too few frames"


def test_dependants_are_found(shelf: Shelf, scope_id: int) -> None:
    make(shelf, scope_id, recorded("a"))
    make(shelf, scope_id, recorded("b", recipe="reduce_light", inputs=[InputRow(role="bias_master", fingerprint="a" * 64)]))
    with shelf.database.read() as connection:
        assert [row.fingerprint[0] for row in products.dependants(connection, "a" * 64)] == ["b"]


def test_a_part_of_a_fingerprint_must_name_one_product(shelf: Shelf, scope_id: int) -> None:
    make(shelf, scope_id, recorded("a"))
    make(shelf, scope_id, recorded("b", fingerprint="a" * 63 + "b"))
    with shelf.database.read() as connection:
        assert products.by_fingerprint(connection, "aaa") is None
        assert products.by_fingerprint(connection, "%") is None
        assert products.by_fingerprint(connection, "a" * 63 + "b") is not None


def made_at(shelf: Shelf, hours: int) -> None:
    shelf.now = MORNING + timedelta(hours=hours)


def test_retention_takes_what_was_replaced_long_ago_and_never_a_parent_of_the_living(shelf: Shelf, scope_id: int) -> None:
    make(shelf, scope_id, recorded("a"))  # replaced, but what is current was made from it
    make(shelf, scope_id, recorded("b", key="other"))  # replaced long ago
    light = {"recipe": "reduce_light", "key": "light"}
    make(shelf, scope_id, recorded("c", inputs=[InputRow(role="bias_master", fingerprint="a" * 64)], **light))
    made_at(shelf, 1)
    make(shelf, scope_id, recorded("d"))
    make(shelf, scope_id, recorded("e", key="other"))
    make(shelf, scope_id, recorded("f", key="third"))
    made_at(shelf, 100)
    make(shelf, scope_id, recorded("0", key="third"))  # replaces f just now
    with shelf.database.read() as connection:
        assert [row.fingerprint[0] for row in retention.superseded(connection, "2026-03-16")] == ["b"]
        assert len(retention.known_files(connection)) == 1
    made_at(shelf, 300)
    make(shelf, scope_id, recorded("9", **light))
    with shelf.database.read() as connection:
        assert [row.fingerprint[0] for row in retention.superseded(connection, "2026-04-16")] == ["a", "b", "c", "f"]


def test_outdated_products_are_counted_by_scope(shelf: Shelf, scope_id: int) -> None:
    versions = {"bias_master": 1, "reduce_light": 1}

    def counted(**newer: int) -> dict[int, int]:
        with shelf.database.read() as connection:
            return outdated.counts(connection, {**versions, **newer})

    row = make(shelf, scope_id, recorded("a"))
    other = new_scope(shelf, "2026-03-20")
    light = recorded("b", recipe="reduce_light", inputs=[InputRow(role="bias_master", fingerprint="a" * 64)])
    make(shelf, other, light)
    assert counted() == {}
    assert counted(bias_master=2) == {scope_id: 1}
    with shelf.database.read() as connection:
        assert outdated.kept(connection, {**versions, "bias_master": 2}, 0) == []  # an open night mends itself
    with shelf.database.write() as connection:
        scopes.close(connection, scope_id, shelf.database.now())
    with shelf.database.read() as connection:
        assert outdated.kept(connection, {**versions, "bias_master": 2}, 3) == []  # and so do the newest
        ((scope, number),) = outdated.kept(connection, {**versions, "bias_master": 2}, 0)
    assert (scope.id, number) == (scope_id, 1)
    products.mark_bad(shelf.database, row.id, "a dome light was on", remake_scopes=0)
    assert counted() == {other: 1}
    products.mark_bad(shelf.database, row.id, "", remake_scopes=0)
    make(shelf, scope_id, recorded("c"))
    assert counted() == {other: 1}


def test_a_row_has_the_columns_of_its_table() -> None:
    json = {"parameters", "facts", "files", "metrics", "grade_reasons"}
    assert ProductRow._fields == tuple(f"{column.name}_json" if column.name in json else column.name for column in schema.product.c)

"""The builder of sets by itself: fingerprints, status, quiet, copies."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from nightcrew.ledger.history import Failure
from nightcrew.ledger.rows import ProductRow, ScopeRow
from nightcrew.planning import set_lab
from nightcrew.planning.set_plan import plan_set, without_copies
from nightcrew.planning.set_states import file_states
from nightcrew.planning.sets import SetBuilder, SetFile, SetSnapshot, TextNotNow, read_text
from nightcrew.recipes.parameters import SetParameters
from tests.support.toy_kind import toy_kind

NOW = "2026-05-17T07:00:00.000"


@pytest.fixture(autouse=True)
def _toy() -> Iterator[None]:
    with toy_kind():
        yield


def file(number: int, **changes: Any) -> SetFile:
    values: dict[str, Any] = {
        "id": number,
        "path": f"/in/set1/f{number}.num".encode(),
        "relative": f"f{number}.num",
        "size": 1,
        "mtime_ns": 1,
        "sha256": f"{number:064x}",
        "arrived_at": "2026-05-17T06:00:00.000",
        "kind": "num",
    }
    return SetFile(**{**values, **changes})


def row(fingerprint: str, **changes: Any) -> ProductRow:
    values: dict[str, Any] = {
        "id": 1,
        "recipe": "toy_convert",
        "version": 1,
        "scope_id": 1,
        "key": "k",
        "instrument": "",
        "fingerprint": fingerprint,
        "grade": "A",
        "certified": True,
        "certification": "",
        "marked_bad": "",
        "state": "made",
        "time_utc": "",
        "made_at": NOW,
        "claim_id": 1,
        "facts_json": "{}",
        "files_json": "[]",
        "metrics_json": "{}",
        "parameters_json": "{}",
        "grade_reasons_json": json.dumps([]),
    }
    return ProductRow(**{**values, **changes})


def snapshot(files: Sequence[SetFile] = (), **changes: Any) -> SetSnapshot:
    values: dict[str, Any] = {
        "scope": ScopeRow(id=1, kind="sensor", name="set1", instrument="", last_arrival_at="2026-05-17T06:00:00.000"),
        "root": b"/in/set1",
        "files": tuple(files),
        "products": {},
        "current": {},
        "failures": {},
        "parameters": SetParameters("sensor", {"limit": 3}),
        "quiet_s": 600.0,
    }
    return SetSnapshot(**{**values, **changes})


def print_of(change: Callable[[SetFile], SetFile] = lambda f: f, **arguments: Any) -> str:
    files = [change(file(1)), file(2)]
    builder = SetBuilder(snapshot(files), NOW)
    return builder.add("toy_convert", arguments.pop("key", "k"), files=files, **arguments).fingerprint


def test_a_fingerprint_follows_from_content_name_parameters_and_facts_and_nothing_else() -> None:
    base = print_of()
    assert print_of(lambda f: dataclasses.replace(f, id=99, arrived_at=NOW, mtime_ns=5, path=b"/elsewhere")) == base
    others = {
        print_of(lambda f: dataclasses.replace(f, sha256="f" * 64)),
        print_of(lambda f: dataclasses.replace(f, relative="other.num")),
        print_of(parameters={"limit": 3}),
        print_of(facts={"limit": 3}),
        print_of(key="l"),
        base,
    }
    assert len(others) == 6


def test_the_order_of_files_and_products_does_not_matter() -> None:
    builder, turned = SetBuilder(snapshot(), NOW), SetBuilder(snapshot(), NOW)
    files = [file(1), file(2)]
    one = [builder.add("toy_convert", f.relative, files=[f]).fingerprint for f in files]
    two = [turned.add("toy_convert", f.relative, files=[f]).fingerprint for f in reversed(files)]
    first = builder.add("toy_sum", "all", files=files, products=one)
    second = turned.add("toy_sum", "all", files=files[::-1], products=two)
    assert first == second


def test_status_follows_the_ledger() -> None:
    print_ = print_of()
    made = snapshot([file(1)], products={print_: row(print_)}, current={("toy_convert", "k"): print_})
    files = [file(1), file(2)]
    assert SetBuilder(made, NOW).add("toy_convert", "k", files=files).status == "present"
    assert SetBuilder(dataclasses.replace(made, current={}), NOW).add("toy_convert", "k", files=files).status == "adopt"
    assert SetBuilder(snapshot(files), NOW).add("toy_convert", "k", files=files).status == "ready"
    failed = SetBuilder(snapshot(files, failures={print_: Failure("no", "", 0)}), NOW).add("toy_convert", "k", files=files)
    assert (failed.status, failed.reason) == ("failed", "no")
    lost = snapshot(files, products={print_: row(print_, state="lost")}, current={("toy_convert", "k"): print_})
    assert SetBuilder(lost, NOW).add("toy_convert", "k", files=files).status == "ready"
    changing = [dataclasses.replace(files[0], absent="changing"), files[1]]
    assert SetBuilder(snapshot(changing), NOW).add("toy_convert", "k", files=changing).status == "pending"


def test_what_needs_a_failed_product_fails_and_what_needs_one_to_be_made_waits() -> None:
    print_ = print_of()
    files = [file(1), file(2)]
    builder = SetBuilder(snapshot(files, failures={print_: Failure("no", "", 0)}), NOW)
    bad = builder.add("toy_convert", "k", files=files)
    good = builder.add("toy_convert", "other", files=files[:1])
    assert builder.add("toy_sum", "a", products=[bad.fingerprint]).reason == "its input toy_convert k could not be made: no"
    waits = builder.add("toy_sum", "b", products=[good.fingerprint])
    assert (waits.status, waits.reason) == ("pending", "waits for toy_convert other")


def test_a_plan_that_is_wrong_is_told() -> None:
    builder = SetBuilder(snapshot(), NOW)
    builder.add("toy_convert", "k", files=[file(1)])
    with pytest.raises(ValueError, match="planned twice"):
        builder.add("toy_convert", "k", files=[file(2)])
    with pytest.raises(ValueError, match="not planned"):
        builder.add("toy_sum", "k", products=["0" * 64])


def test_hostile_keys_become_safe_ones() -> None:
    assert SetBuilder(snapshot(), NOW).add("toy_convert", "../../etc/pass wd", files=[file(1)]).key == "~2e./../etc/pass wd".replace(
        "/", "~2f"
    ).replace(" ", "~20")


@pytest.mark.parametrize(
    ("as_of", "changes", "quiet"),
    [
        ("2026-05-17T06:09:59.000", {}, False),
        ("2026-05-17T06:10:00.000", {}, True),
        ("2026-05-17T06:10:00.000", {"unread": 1}, False),
        (
            "2026-05-17T06:00:01.000",
            {"scope": ScopeRow(id=1, kind="sensor", name="set1", instrument="", state="closed", last_arrival_at="2026-05-17T06:00:00.000")},
            True,
        ),
    ],
)
def test_quiet_is_told_by_the_last_arrival(as_of: str, changes: dict[str, Any], quiet: bool) -> None:
    builder = SetBuilder(snapshot([file(1)], **changes), as_of)
    assert builder.quiet() is quiet
    assert builder.quiet([file(1)]) is quiet
    assert bool(builder.wakes) is (not quiet and not changes)
    if builder.wakes:
        assert set(builder.wakes) == {"2026-05-17T06:10:00.000"}


def test_of_copies_the_shortest_name_that_is_there_counts() -> None:
    files = [file(1, sha256="a"), file(2, sha256="a", relative="z.num"), file(3, sha256="a", relative="y.num", absent="gone"), file(4)]
    kept, aside = without_copies(files)
    assert [f.id for f in kept] == [4, 2]
    assert aside == {1: "duplicate: the same bytes as z.num", 3: "duplicate: the same bytes as z.num"}


def test_a_kind_may_keep_copies() -> None:
    files = [file(1, sha256="a"), file(2, sha256="a")]

    def take_all(builder: SetBuilder) -> None:
        builder.add("toy_convert", "all", files=builder.snapshot.files)

    assert len(plan_set(snapshot(files), take_all, NOW, keeps_copies=lambda _file: True).products[0].inputs) == 2
    assert len(plan_set(snapshot(files), take_all, NOW).products[0].inputs) == 1


def test_the_loss_of_an_original_makes_nothing_anew_under_its_copys_name() -> None:
    def take_all(builder: SetBuilder) -> None:
        for one in builder.snapshot.files:
            builder.add("toy_convert", one.relative, files=[one])

    original, copy = file(1, sha256="a"), file(2, sha256="a", relative="a copy.num")
    before = plan_set(snapshot([original, copy]), take_all, NOW).products[0]
    made = {before.fingerprint: row(before.fingerprint, key=before.key)}
    known = {"current": {("toy_convert", before.key): before.fingerprint}, "parts": {before.fingerprint: frozenset({original.relative})}}
    lost = [dataclasses.replace(original, absent="gone"), copy]
    after = plan_set(snapshot(lost, products=made, **known), take_all, NOW)
    assert [(p.key, p.status) for p in after.products] == [(before.key, "present")]
    # what was never made, or must be made anew, is made of the copy that is there
    unmade = plan_set(snapshot(lost, **known), take_all, NOW)
    assert [(p.key, p.status) for p in unmade.products] == [("a~20copy.num", "ready")]


def test_a_file_that_nobody_takes_waits_until_the_set_is_complete() -> None:
    seen = snapshot([file(1)])
    closed = dataclasses.replace(seen, scope=dataclasses.replace(seen.scope, state="closed"))
    for one, state in ((seen, "waiting"), (closed, "set_aside")):
        assert file_states(one, plan_set(one, lambda _builder: None, NOW))[1].state == state


def test_an_old_set_keeps_its_outdated_products_until_somebody_asks() -> None:
    files = [file(1)]

    def rules(builder: SetBuilder) -> None:
        builder.add("toy_convert", "k", files=builder.snapshot.files, parameters={"limit": 4})

    old = snapshot(files, products={"o" * 64: row("o" * 64)}, current={("toy_convert", "k"): "o" * 64}, remake=False)
    kept = plan_set(old, rules, NOW).products[0]
    assert (kept.status, kept.fingerprint) == ("present", "o" * 64)
    assert kept.kept.startswith("outdated")
    assert plan_set(dataclasses.replace(old, remake=True), rules, NOW).products[0].status == "ready"


def test_a_pipe_or_folder_in_the_place_of_a_text_holds_no_plan_up(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for name in ("pipe", "folder"):
        with pytest.raises(TextNotNow):
            read_text(file(1, path=os.fsencode(tmp_path / name)))


@pytest.mark.parametrize(("last", "wakes"), [("06:59:50.000", "07:00:10.000"), ("06:00:00.000", "07:06:00.000"), ("", "07:00:10.000")])
def test_a_text_that_cannot_be_read_is_tried_ever_more_rarely(last: str, wakes: str) -> None:
    def rules(builder: SetBuilder) -> None:
        builder.text(builder.snapshot.files[0])

    seen = snapshot([file(1, absent="changing")])
    scope = dataclasses.replace(seen.scope, last_arrival_at=f"2026-05-17T{last}" if last else "")
    assert plan_set(dataclasses.replace(seen, scope=scope), rules, NOW).wake_at == f"2026-05-17T{wakes}"


def test_attempts_of_a_laboratory_called_frames_are_two() -> None:
    raws = [file(n, relative=name, kind="raw") for n, name in enumerate(("a.raw", "frames/frames/b.raw"), 1)]
    builder = SetBuilder(snapshot(raws), "2026-05-18T07:00:00.000")
    set_lab.plan(builder)
    assert sorted(p.key for p in builder.products.values() if p.recipe == "lab_attempt") == ["frames", "frames~2f"]

"""What stands and what does not: lost files, vanished raws, bad masters, old nights, failures, wishes."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from nightcrew.errors import MissingCalibration, Refused, RejectedInput, TransientError
from nightcrew.ledger import arrivals, claims, products, scopes
from nightcrew.ledger.rows import FileRow, NewProduct, ProductRow
from nightcrew.planning import builder as builders
from nightcrew.planning.explain import explain_file
from nightcrew.planning.model import RAW_IS_GONE, PlannedProduct
from nightcrew.planning.night import plan_night
from nightcrew.recipes.catalogue import RECIPES
from nightcrew.recipes.parameters import LightParameters, MasterParameters
from tasks.executor import Wish
from tests.support.made_nights import FOLDER, NIGHT, Crew, fake_unit, header, series, small_night

BEFORE = "2026-03-12"


def with_file(crew: Crew) -> Callable[[object, PlannedProduct], NewProduct]:
    """A unit that writes a small file."""

    def unit(context: object, planned: PlannedProduct) -> NewProduct:
        name = f"{planned.recipe}_{planned.key}.{planned.fingerprint[:12]}.fits"
        crew.context.products_root.mkdir(exist_ok=True)
        (crew.context.products_root / name).write_bytes(b"pixels")
        file = FileRow(role="image", path=name, sha256=hashlib.sha256(b"pixels").hexdigest(), size=6)
        return replace(fake_unit(context, planned), files=(file,))

    return unit


def whole(crew: Crew, *nights: str, files: bool = False) -> None:
    """Make whole nights, closed."""
    if files:
        crew.units = dict.fromkeys(RECIPES, with_file(crew))
    for night in nights or (NIGHT,):
        crew.put(small_night(night))
    crew.close()
    crew.run_all()


def vanish(crew: Crew, *starts: str) -> None:
    paths = [path for path in crew.rows() if path.decode().removeprefix(f"{FOLDER}/").startswith(starts)]
    arrivals.mark_vanished(crew.database, paths)


def row_of(crew: Crew, recipe: str, night: str = NIGHT) -> ProductRow:
    return next(row for row in crew.current(night) if row.recipe == recipe)


def again(crew: Crew, night: str = NIGHT, wish: Wish | None = None) -> list[str]:
    """Recipes that a further run makes."""
    before = len(crew.made)
    crew.run(night, wish=wish)
    return sorted(name.split()[0] for name in crew.made[before:])


def test_a_raw_that_vanished_makes_nothing_stale(crew: Crew) -> None:
    whole(crew)
    before = crew.picture(), crew.states()
    vanish(crew, "bias", "dark", "flat", "light")
    assert again(crew) == []
    assert (crew.picture(), crew.states()) == before


def test_a_stale_light_whose_raw_is_gone_is_kept_and_named(crew: Crew) -> None:
    whole(crew)
    lost = "light-V2026-03-14-0000.fit"
    vanish(crew, lost)
    crew.parameters = replace(crew.parameters, lights=LightParameters(cosmic_rays=False))
    assert again(crew).count("reduce_light") == 3
    assert crew.states()[lost] == ("done", f"grade A: {RAW_IS_GONE}")
    (kept,) = [p for p in crew.plan().outdated if p.recipe == "reduce_light"]
    stack = next(row for row in crew.current() if row.recipe == "stack" and row.facts["filter"] == "V")
    assert stack.facts["n_frames"] == 2
    with crew.database.read() as connection:
        assert kept.fingerprint in {item.fingerprint for item, _ in products.inputs_of(connection, stack.id)}
    assert again(crew) == []


def test_a_light_that_vanished_before_it_was_reduced_is_rejected_and_its_siblings_go_on(crew: Crew) -> None:
    crew.put(small_night())
    vanish(crew, "light-V2026-03-14-0000.fit", "bias-2026-03-14-0001.fit")
    crew.close()
    crew.run_all()
    states = crew.states()
    assert states["light-V2026-03-14-0000.fit"] == ("rejected", builders.GONE)
    assert states["bias-2026-03-14-0001.fit"] == ("set_aside", builders.GONE)
    assert row_of(crew, "bias_master").facts["n_frames"] == 2
    assert sum(row.recipe == "reduce_light" for row in crew.current()) == 3


def test_a_frame_that_comes_back_is_used(crew: Crew) -> None:
    crew.put(small_night())
    vanish(crew, "bias-2026-03-14-0001.fit")
    crew.close()
    crew.run_all()
    crew.see([one for one in small_night() if one.name == "bias-2026-03-14-0001.fit"])
    crew.run_all()
    assert row_of(crew, "bias_master").facts["n_frames"] == 3
    assert {state for state, _ in crew.states().values()} == {"done"}


def test_masters_whose_raws_are_all_gone_are_kept(crew: Crew) -> None:
    whole(crew)
    vanish(crew, "bias", "dark", "flat")
    before = {key: value for key, value in crew.picture().items() if key[1] != "camera_numbers"}
    crew.parameters = replace(crew.parameters, masters=MasterParameters(method="mean"))
    again(crew)
    after = crew.picture()
    for recipe in ("bias_master", "dark_master", "flat_master"):
        assert {k: v for k, v in after.items() if k[1] == recipe} == {k: v for k, v in before.items() if k[1] == recipe}


def test_a_deleted_product_comes_back_alone(crew: Crew) -> None:
    whole(crew, files=True)
    before = crew.picture()
    (crew.context.products_root / row_of(crew, "flat_master").files[0].path).unlink()
    assert again(crew) == ["flat_master"]
    assert crew.picture() == before


def test_a_damaged_product_is_made_again(crew: Crew) -> None:
    whole(crew, files=True)
    file = crew.context.products_root / row_of(crew, "reduce_light").files[0].path
    file.write_bytes(b"pix")
    assert again(crew) == ["reduce_light"]
    assert file.read_bytes() == b"pixels"


def test_a_products_folder_that_is_away_loses_nothing(crew: Crew) -> None:
    whole(crew, files=True)
    root = crew.context.products_root
    root.rename(root.with_name("unmounted"))
    with pytest.raises(TransientError, match="is its disk mounted"):
        crew.run()
    root.with_name("unmounted").rename(root)
    assert again(crew) == []


def test_a_borrowed_master_whose_file_is_gone_is_remade_by_its_own_night(crew: Crew) -> None:
    crew.units = dict.fromkeys(RECIPES, with_file(crew))
    crew.put([one for one in small_night(BEFORE) if not one.name.startswith("light")])
    crew.close()
    crew.run_all()
    (crew.context.products_root / row_of(crew, "flat_master", BEFORE).files[0].path).unlink()
    crew.put(series("light", 1, 9000.0, filter="B"))
    crew.run()
    (state, reason) = crew.states()["light-B-0000.fit"]
    assert state == "waiting"
    assert f"of {BEFORE}, whose file was lost" in reason
    assert crew.scope().wake_at > crew.database.now()
    crew.run_all()
    crew.now += timedelta(seconds=31)
    crew.run_all()
    assert crew.states()["light-B-0000.fit"][0] == "done"


def test_a_master_marked_bad_makes_its_dependants_stale(crew: Crew) -> None:
    whole(crew)
    dark = next(row for row in crew.current() if row.recipe == "dark_master" and row.facts["exposure_s"] == 60.0)
    products.mark_bad(crew.database, dark.id, "a lamp was on", remake_scopes=3)
    made = again(crew)
    assert made.count("reduce_light") == 4
    grades = {row.grade for row in crew.current() if row.recipe == "reduce_light"}
    assert grades <= {"C", "D"}
    assert crew.states()["dark-2026-03-14-0000.fit"][0] == "set_aside"
    products.mark_bad(crew.database, dark.id, "", remake_scopes=3)
    again(crew)
    assert {row.grade for row in crew.current() if row.recipe == "reduce_light"} == {"A"}


def test_a_master_that_failed_its_certificate_is_not_used(crew: Crew) -> None:
    def few(context: object, planned: PlannedProduct) -> NewProduct:
        return replace(fake_unit(context, planned), certified=False, certification="noise 9.0 ADU, 5.0 expected")

    crew.units = {"flat_master": few}
    whole(crew)
    assert {row.grade for row in crew.current() if row.recipe == "reduce_light"} == {"D"}
    light = next(p for p in crew.plan().products if p.recipe == "reduce_light")
    verdicts = {c.verdict for choice in light.choices for c in choice.considered if c.name.startswith("flat_master")}
    assert verdicts == {"failed certification: noise 9.0 ADU, 5.0 expected"}
    assert crew.states()["flat-B2026-03-14-0000.fit"][0] == "set_aside"


def test_a_light_that_could_not_be_written_says_what_it_waits_for(crew: Crew) -> None:
    def full(_context: object, _planned: PlannedProduct) -> NewProduct:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def told() -> set[tuple[str, str]]:
        return {(state, reason.partition(" cannot be written ")[2]) for name, (state, reason) in crew.states().items() if "light" in name}

    crew.units = {"reduce_light": full}
    whole(crew)
    assert told() == {("waiting", "now (No space left on device); it waits for room")}
    assert {reason.partition(": ")[0] for name, (_, reason) in crew.states().items() if "light" in name} == {
        "reduce light could not be made for now, tried again by itself"
    }
    snapshot = crew.snapshot()
    why = explain_file(crew.file("light-V2026-03-14-0000.fit"), snapshot, plan_night(snapshot, crew.database.now()))
    assert "it waits for room" in why.verdict  # in a plan of its own, from the ledger alone
    assert "it waits for room" in why.products[0]["reason"]
    crew.units = {}
    again(crew)
    assert told() == {("done", "")}
    assert crew.snapshot().hindrances == {}  # what was made since is not hindered


def test_below_the_reserve_a_light_says_that_it_waits_for_room(crew: Crew) -> None:
    crew.context = replace(crew.context, disk_reserve_bytes=10**18)
    whole(crew)
    (bias,) = [told for name, told in crew.states().items() if name.startswith("bias") and name.endswith("0000.fit")]
    assert bias[0] == "waiting"
    assert "the disk is nearly full" in bias[1]


def test_an_earlier_product_is_adopted_not_remade(crew: Crew) -> None:
    whole(crew)
    before = crew.picture()
    crew.parameters = replace(crew.parameters, lights=LightParameters(cosmic_rays=False))
    again(crew)
    assert crew.picture() != before
    crew.parameters = replace(crew.parameters, lights=LightParameters())
    assert again(crew) == []
    assert crew.picture() == before


def test_old_nights_keep_what_is_outdated_until_a_person_asks(crew: Crew) -> None:
    nights = ("2026-03-08", "2026-03-10", "2026-03-12", "2026-03-13", NIGHT)
    whole(crew, *nights)
    crew.parameters = replace(crew.parameters, lights=LightParameters(cosmic_rays=False))
    unasked = Wish(outdated=False)
    old, new = nights[0], nights[-1]
    before = {key: value for key, value in crew.picture().items() if key[0] == old}
    assert again(crew, old, unasked) == []
    assert {key: value for key, value in crew.picture().items() if key[0] == old} == before
    state, reason = crew.states()[f"light-B{old}-0000.fit"]
    assert state == "done"
    assert "nightcrew rerun" in reason
    assert again(crew, new, unasked).count("reduce_light") == 4
    assert again(crew, old, Wish(retry=True)).count("reduce_light") == 4


def test_an_open_night_is_remade_however_old_it_is(crew: Crew) -> None:
    nights = ("2026-03-08", "2026-03-10", "2026-03-12", "2026-03-13", NIGHT)
    whole(crew, *nights)
    crew.put(series("light", 1, 30_000.0, night=nights[0], name="late"))
    made = again(crew, nights[0], Wish(outdated=False))
    assert "reduce_light" in made


def test_a_checkout_with_an_older_recipe_does_not_build(crew: Crew) -> None:
    from nightcrew.ledger import versions

    crew.put(small_night())
    versions.check(crew.database, {"flat_master": RECIPES["flat_master"].version + 1})
    with pytest.raises(Refused, match="flat_master version"):
        crew.run()
    assert crew.made == []


def test_a_wish_for_a_part_leaves_the_rest_due(crew: Crew) -> None:
    crew.put(small_night())
    crew.close()
    assert set(again(crew, wish=Wish(only=("bias_master",)))) == {"bias_master"}
    with crew.database.read() as connection:
        assert [row.name for row in scopes.due(connection, crew.database.now())] == [NIGHT]
    crew.run_all()
    assert {state for state, _ in crew.states().values()} == {"done"}


def test_from_a_step_on(crew: Crew) -> None:
    whole(crew)
    crew.parameters = replace(crew.parameters, masters=MasterParameters(method="mean"), lights=LightParameters(cosmic_rays=False))
    made = set(again(crew, wish=Wish(from_step="lights")))
    assert made.isdisjoint({"bias_master", "dark_master", "flat_master"})


def test_what_fails_for_a_passing_reason_is_tried_again_ever_more_rarely(crew: Crew) -> None:
    def away(_context: object, planned: PlannedProduct) -> NewProduct:
        raise TransientError(f"{planned.name}: the disk is full")

    crew.units = {"bias_master": away}
    crew.put(series("bias", 3))
    crew.close()
    pauses = []
    for _ in range(4):
        crew.run()
        wake = crew.scope().wake_at
        assert wake
        from datetime import datetime

        pauses.append((datetime.fromisoformat(wake) - datetime.fromisoformat(crew.database.now())).total_seconds())
    assert pauses == [30.0, 60.0, 120.0, 240.0]
    crew.units = {}
    crew.run()
    assert crew.scope().wake_at == ""
    assert {state for state, _ in crew.states().values()} == {"done"}


@pytest.mark.parametrize(
    ("error", "state"), [(RejectedInput, "rejected"), (MissingCalibration, "waiting"), (ZeroDivisionError, "rejected")]
)
def test_every_failure_settles_in_a_state_with_its_reason(crew: Crew, error: type[Exception], state: str) -> None:
    def fail(_context: object, _planned: PlannedProduct) -> NewProduct:
        raise error("planted")

    crew.units = {"bias_master": fail}
    crew.put(series("bias", 3))
    crew.close()
    crew.run()
    found, reason = crew.states()["bias--0000.fit"]
    assert found == state
    assert "planted" in reason


def test_a_failure_for_good_is_tried_again_when_a_person_asks(crew: Crew) -> None:
    def fail(_context: object, _planned: PlannedProduct) -> NewProduct:
        raise RejectedInput("planted")

    crew.units = {"bias_master": fail}
    crew.put(series("bias", 3))
    crew.close()
    crew.run()
    crew.units = {}
    assert again(crew) == []
    assert again(crew, wish=Wish(retry=True)) == ["bias_master"]


def test_a_stopped_unit_leaves_no_claim_behind(crew: Crew) -> None:
    def stopped(_context: object, _planned: PlannedProduct) -> NewProduct:
        raise KeyboardInterrupt

    crew.units = {"bias_master": stopped}
    crew.put(series("bias", 3))
    crew.close()
    with pytest.raises(KeyboardInterrupt):
        crew.run()
    crew.units = {}
    assert again(crew) == ["bias_master"]


def test_a_product_that_another_worker_makes_is_looked_at_again(crew: Crew) -> None:
    crew.put(series("bias", 3))
    crew.close()
    unit = crew.plan().with_status("ready")[0]
    held = claims.take(crew.database, unit.scope_id, unit.recipe, unit.key, unit.fingerprint)
    assert held is not None
    assert again(crew) == []
    assert crew.scope().wake_at  # should that worker die, somebody looks
    claims.end(crew.database, held, "died")
    assert again(crew) == ["bias_master"]


def test_a_frame_moved_to_another_night_leaves_nothing_current_behind(crew: Crew) -> None:
    crew.put(series("bias", 3))
    crew.close()
    crew.run_all()
    moved = [replace(one, header=replace(one.header, night="2026-03-15"), mtime_ns=9_000) for one in series("bias", 3) if one.header]
    crew.put(moved)
    crew.close()
    crew.run_all()
    assert {night for night, _, _ in crew.picture()} == {"2026-03-15"}


def test_links_follow_what_is_current(crew: Crew) -> None:
    crew.units = dict.fromkeys(RECIPES, with_file(crew))
    crew.put(series("bias", 3))
    crew.close()
    crew.run_all()

    def link() -> Path:
        (one,) = [path for path in crew.context.products_root.iterdir() if path.is_symlink()]
        return one.readlink()

    first = link()
    crew.parameters = replace(crew.parameters, masters=MasterParameters(method="mean"))
    again(crew)
    assert link() != first
    crew.parameters = replace(crew.parameters, masters=MasterParameters())
    assert again(crew) == []
    assert link() == first


def test_a_scope_of_nothing_but_odd_frames_settles(crew: Crew) -> None:
    from tests.support.made_nights import Made

    crew.put([Made("odd.fit", header("other"))])
    crew.close()
    crew.run_all()
    assert crew.states()["odd.fit"][0] == "set_aside"

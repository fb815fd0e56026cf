"""Names for a night: sorting, roots, tails (the defects of img_rename, section 3.1, one by one)."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nightcrew.errors import Refused
from nightcrew.tools.rename import NamedCards, Naming, default_root, plan_names, sort_frames
from nightcrew.tools.times import zone_of


def frames(key: str, *values: object) -> list[NamedCards]:
    return [NamedCards(Path(f"f{i}.fit"), {} if value is None else {key: value}) for i, value in enumerate(values)]


def order(key: str, *values: object) -> list[object]:
    return [frame.cards.get(key) for frame in sort_frames(frames(key, *values), [key])]


def test_one_sequence_in_time_with_the_date_of_the_earliest_frame() -> None:
    made = frames("DATE-OBS", "2021-02-27T03:00:00", "2021-02-26T23:00:00", "2021-02-27T01:00:00")
    moves = plan_names(made, Naming())
    assert [(str(m.old), str(m.new)) for m in moves] == [
        ("f1.fit", "20210226.0001.fit"),
        ("f2.fit", "20210226.0002.fit"),
        ("f0.fit", "20210226.0003.fit"),
    ]


def test_missing_date_obs_falls_back_to_the_other_date_cards() -> None:
    made = [
        NamedCards(Path("a"), {"DATEOBS": "2021-02-27T03:00:00"}),
        NamedCards(Path("b"), {"DATE": "2021-02-27"}),
        NamedCards(Path("c"), {}),
    ]
    assert [frame.path.name for frame in sort_frames(made, ["DATE-OBS"])] == ["b", "a", "c"]
    assert default_root(made, "ut", None) == "20210227."


def test_fractions_are_not_cut_to_integers() -> None:
    assert order("EXPTIME", 1.9, 1.2, 1.5) == [1.2, 1.5, 1.9]


def test_strings_that_only_look_like_dates_stay_strings() -> None:
    assert order("OBJECT", "May", "M 31", "10", "1.5") == ["1.5", "10", "M 31", "May"]


def test_numeric_strings_sort_as_numbers_when_all_are() -> None:
    assert order("SEQ", "10", "9", "060.00") == ["9", "10", "060.00"]


def test_mixed_types_in_a_key_sort_numbers_first_and_missing_last() -> None:
    flag = True
    assert order("GAIN", "high", 2, None, 1.5, "auto", flag) == [flag, 1.5, 2, "auto", "high", None]


def test_one_file_and_two_sort_keys() -> None:
    only = [NamedCards(Path("a.fit"), {"IMAGETYP": "Bias"})]
    assert [str(m.new) for m in plan_names(only, Naming(sort=("IMAGETYP", "DATE-OBS")))] == ["nodate.0001.fit"]


def test_no_file_is_refused() -> None:
    with pytest.raises(Refused, match="no frame"):
        plan_names([], Naming())


def test_every_key_counts_not_just_the_first_two() -> None:
    made = [NamedCards(Path(name), dict(zip("ABC", name, strict=True))) for name in ("112", "111", "121", "012")]
    assert [frame.path.name for frame in sort_frames(made, ["a", "B", "C"])] == ["012", "111", "112", "121"]


def test_equal_frames_keep_their_order() -> None:
    assert [frame.path.name for frame in sort_frames(frames("K", 1, 0, 1, 0), ["K"])] == ["f1.fit", "f3.fit", "f0.fit", "f2.fit"]


def test_date_key_uses_time_and_zone() -> None:
    assert order("DATE-OBS", "2017-12-19T18:33:00-0700", "2017-12-20T01:00:00")[0] == "2017-12-20T01:00:00"


def test_root_is_used_as_given_and_digits_grow() -> None:
    made = frames("K", *range(3))
    assert [m.new.name for m in plan_names(made, Naming(root="night-", tail=".fits", start=9998))] == [
        "night-09998.fits",
        "night-09999.fits",
        "night-10000.fits",
    ]


def test_compressed_files_stay_recognisable() -> None:
    made = [NamedCards(Path(name), {}) for name in ("a.fits.gz", "b.fits.fz", "c.fit.Z", "d.FTS")]
    assert [m.new.name for m in plan_names(made, Naming(root="r"))] == ["r0001.fit.gz", "r0002.fit.fz", "r0003.fit.Z", "r0004.fit"]
    assert plan_names(made[:1], Naming(root="r", tail=".fits.gz"))[0].new.name == "r0001.fits.gz"


def test_files_stay_in_their_folder_unless_told() -> None:
    made = [NamedCards(Path("x/a.fit"), {}), NamedCards(Path("y/b.fit"), {})]
    assert [str(m.new) for m in plan_names(made, Naming(root="r"))] == ["x/r0001.fit", "y/r0002.fit"]
    assert [str(m.new) for m in plan_names(made, Naming(root="r", into=Path("z")))] == ["z/r0001.fit", "z/r0002.fit"]


def test_local_and_night_dates() -> None:
    made = frames("DATE-OBS", "2021-02-27T08:00:00")
    zone = zone_of("America/Phoenix")
    assert default_root(made, "night", zone) == "20210226."
    assert default_root(made, "local", zone) == "20210227."


@pytest.mark.parametrize(("naming", "sentence"), [(Naming(root="../x"), "must not name a folder"), (Naming(sort=()), "no keyword")])
def test_impossible_names_are_refused(naming: Naming, sentence: str) -> None:
    with pytest.raises(Refused, match=sentence):
        plan_names(frames("K", 1), naming)


def test_existing_name_is_refused_unless_that_file_moves_too(tmp_path: Path) -> None:
    for name in ("r0001.fit", "r0002.fit", "a.fit"):
        (tmp_path / name).touch()
    with pytest.raises(Refused, match=r"r0001.fit exists already: nothing was renamed"):
        plan_names([NamedCards(tmp_path / "a.fit", {})], Naming(root="r"))
    ring = [NamedCards(tmp_path / "r0002.fit", {"K": 1}), NamedCards(tmp_path / "r0001.fit", {"K": 2})]
    assert len(plan_names(ring, Naming(root="r", sort=("K",)))) == 2


@settings(max_examples=40, deadline=None)
@given(st.permutations(range(6)))
def test_names_do_not_depend_on_the_order_of_the_files(order_given: list[int]) -> None:
    made = [NamedCards(Path(f"{i}.fit"), {"DATE-OBS": f"2021-02-27T03:00:{i:02d}"}) for i in range(6)]
    assert plan_names([made[i] for i in order_given], Naming()) == plan_names(made, Naming())

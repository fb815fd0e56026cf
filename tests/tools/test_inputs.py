"""Names, globs and comma lists."""

from __future__ import annotations

from pathlib import Path

import pytest

from nightcrew.errors import Refused
from nightcrew.tools.inputs import expand, is_fits_name, without_repetitions


@pytest.fixture
def night(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("b2.fit", "b1.fit", "a1.fits", "a 2.fits", "a,3.fits", "c[4].fits", "notes.txt", ".hidden.fits", "z.FIT.gz", "y.fits.fz"):
        (tmp_path / name).touch()
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "d.fits").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(*arguments: str) -> list[str]:
    return [str(path) for path in expand(arguments)]


@pytest.mark.usefixtures("night")
def test_each_glob_is_sorted_and_the_order_of_the_list_kept() -> None:
    assert names("b?.fit,a1.fits") == ["b1.fit", "b2.fit", "a1.fits"]
    assert names("a1.fits", "b?.fit") == ["a1.fits", "b1.fit", "b2.fit"]


@pytest.mark.usefixtures("night")
def test_blanks_and_line_ends_around_the_pieces_do_not_count() -> None:
    assert names(" b1.fit ,\\\n a1.fits ") == ["b1.fit", "a1.fits"]


@pytest.mark.usefixtures("night")
def test_a_comma_list_may_be_longer_than_any_file_name() -> None:
    assert names(",".join(["b1.fit"] * 1000)) == ["b1.fit"] * 1000
    with pytest.raises(Refused, match="does not exist"):
        names("x" * 300)
    with pytest.raises(Refused, match="does not exist"):
        names("~nobody-of-this-name/a.fits")


@pytest.mark.usefixtures("night")
def test_a_name_with_blank_comma_or_bracket_is_a_name() -> None:
    assert names("a 2.fits", "a,3.fits", "c[4].fits") == ["a 2.fits", "a,3.fits", "c[4].fits"]


@pytest.mark.usefixtures("night")
def test_nothing_named_is_every_fits_file_of_the_folder() -> None:
    assert names() == ["a 2.fits", "a,3.fits", "a1.fits", "b1.fit", "b2.fit", "c[4].fits", "y.fits.fz", "z.FIT.gz"]


@pytest.mark.usefixtures("night")
def test_recursive_globs_and_files_only() -> None:
    assert names("**/d.fits") == ["sub/d.fits"]
    assert names("*u*,b1.fit,s*/d.fits".replace("*u*,", "")) == ["b1.fit", "sub/d.fits"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["q*.fits"], r"no file matches 'q\*.fits'"),
        (["b1.fit,none.fits"], "the file 'none.fits' does not exist"),
        (["sub"], "is a folder"),
        ([""], "empty file name"),
        ([","], "no file is named"),
        (["su*"], "no file matches"),
    ],
)
@pytest.mark.usefixtures("night")
def test_what_no_file_answers_to_is_refused_by_name(words: list[str], sentence: str) -> None:
    with pytest.raises(Refused, match=sentence):
        expand(words)


def test_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="no FITS file"):
        expand([], folder=tmp_path)


@pytest.mark.usefixtures("night")
def test_repetitions_are_kept_by_expand_and_told_by_the_filter() -> None:
    once, again = without_repetitions(expand(["b1.fit,b?.fit,./b1.fit"]))
    assert [str(path) for path in once] == ["b1.fit", "b2.fit"]
    assert [path.name for path in again] == ["b1.fit", "b1.fit"]


def test_fits_names() -> None:
    assert all(is_fits_name(name) for name in ("a.fit", "A.FITS", "a.fts.gz", "a.fit.Z", "a.fits.fz"))
    assert not any(is_fits_name(name) for name in ("a.txt", "fit", "a.fits.bak"))

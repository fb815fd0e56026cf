from __future__ import annotations

import gzip
import hashlib
import json
import os
import stat
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nightcrew.errors import Refused
from nightcrew.io.structure import check
from nightcrew.simulate import camera_file, trouble_content
from nightcrew.simulate.troublemakers import KINDS, plant, plant_all, trouble_kind
from nightcrew.simulate.truth import PlantedTrouble, load_truth, save_truth
from tests.simulate.nights import tiny_night


def source_of(kind: str) -> Path:
    raw, truth = tiny_night()
    wanted = trouble_kind(kind).source or "light"
    return raw / truth.select(wanted)[0].name


@pytest.fixture(autouse=True)
def _small_bombs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trouble_content, "BOMB_BYTES", 8 << 20)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_each_kind_plants_one_thing_and_leaves_its_source_alone(kind: str, tmp_path: Path) -> None:
    source = source_of(kind)
    before = hashlib.sha256(source.read_bytes()).digest()
    trouble = plant(kind, tmp_path, source)
    assert [path.name for path in tmp_path.iterdir()] == [trouble.path]
    assert hashlib.sha256(source.read_bytes()).digest() == before
    assert trouble.kind == kind
    assert trouble.states
    assert trouble.description
    json.loads(json.dumps(trouble.path))


@pytest.mark.parametrize("kind", ["truncated", "header_only", "wrong_naxis", "zero_byte", "no_end", "gz_bomb"])
def test_incomplete_files_are_seen_as_such_with_a_planted_word(kind: str, tmp_path: Path) -> None:
    trouble = plant(kind, tmp_path, source_of(kind))
    found = check(tmp_path / trouble.path)
    assert not found.complete
    assert any(word in found.reason.lower() for word in trouble.expected_words)


def test_duplicate_has_the_same_bytes_and_names_its_twin(tmp_path: Path) -> None:
    source = source_of("duplicate")
    trouble = plant("duplicate", tmp_path, source)
    assert (tmp_path / trouble.path).read_bytes() == source.read_bytes()
    assert trouble.twin == source.name
    packed = plant("gz_duplicate", tmp_path, source)
    assert gzip.decompress((tmp_path / packed.path).read_bytes()) == source.read_bytes()


def test_spoiled_exposures_are_not_the_exposure_that_they_were_made_from(tmp_path: Path) -> None:
    source = source_of("truncated")
    times = {camera_file.read_value(source.read_bytes(), "DATE-OBS")}
    for kind in ("truncated", "header_only", "html_header", "saturated_light", "long_name"):
        content = (tmp_path / plant(kind, tmp_path, source).path).read_bytes()
        times.add(camera_file.read_value(content, "DATE-OBS"))
    assert len(times) == 6


def test_bright_flat_is_saturated_almost_everywhere(tmp_path: Path) -> None:
    trouble = plant("bright_flat", tmp_path, source_of("bright_flat"))
    image = camera_file.pixels((tmp_path / trouble.path).read_bytes())
    assert np.mean(image == 65535) > 0.9


def test_all_nan_is_a_whole_floating_point_file(tmp_path: Path) -> None:
    from astropy.io import fits

    trouble = plant("all_nan", tmp_path, source_of("all_nan"))
    assert np.isnan(fits.getdata(tmp_path / trouble.path)).all()


def test_bytes_are_swapped(tmp_path: Path) -> None:
    source = source_of("swapped_bytes")
    trouble = plant("swapped_bytes", tmp_path, source)
    swapped = camera_file.pixels((tmp_path / trouble.path).read_bytes()) ^ np.uint16(0x8000)
    assert np.array_equal(swapped.byteswap(), camera_file.pixels(source.read_bytes()) ^ np.uint16(0x8000))


def test_names_and_special_files_are_what_they_claim(tmp_path: Path) -> None:
    paths = {
        kind: tmp_path / plant(kind, tmp_path, source_of(kind)).path for kind in KINDS if KINDS[kind].make.__module__.endswith("paths")
    }
    assert stat.S_ISFIFO(paths["fifo"].stat().st_mode)
    assert stat.S_ISSOCK(paths["socket"].stat().st_mode)
    assert paths["directory"].is_dir()
    assert len(os.fsencode(paths["long_name"].name)) == 255
    assert "\n" in paths["newline_name"].name
    with pytest.raises(UnicodeDecodeError):
        os.fsencode(paths["not_utf8_name"].name).decode("utf-8")
    assert paths["future_file"].stat().st_mtime > 4e9
    assert stat.S_IMODE(paths["unreadable"].stat().st_mode) == 0
    assert not paths["link_dangling"].exists()
    assert paths["link_dangling"].is_symlink()
    with pytest.raises(OSError, match="symbolic links"):
        paths["link_loop"].stat()


def test_hostile_headers_keep_whole_cards(tmp_path: Path) -> None:
    for kind in ("html_header", "template_header", "path_header", "ansi_header", "newline_header", "filter_path", "huge_header"):
        trouble = plant(kind, tmp_path, source_of(kind))
        content = (tmp_path / trouble.path).read_bytes()
        assert len(content) % 2880 == 0
        assert check(tmp_path / trouble.path).complete
    assert b"\r\nBcc: all@example.org" in b"".join(path.read_bytes() for path in tmp_path.iterdir())


def test_bomb_is_small_on_disk(tmp_path: Path) -> None:
    trouble = plant("gz_bomb", tmp_path, source_of("gz_bomb"))
    assert (tmp_path / trouble.path).stat().st_size < 20_000


def test_nothing_is_written_over(tmp_path: Path) -> None:
    plant("text_file", tmp_path, source_of("text_file"))
    with pytest.raises(FileExistsError):
        plant("text_file", tmp_path, source_of("text_file"))


def test_the_short_nights_five_are_in_the_truth() -> None:
    raw, truth = tiny_night()
    assert [trouble.kind for trouble in truth.troubles] == ["truncated", "duplicate", "text_file", "bright_flat", "late_flat"]
    late = truth.troubles[-1]
    assert not late.adds_file
    assert truth.frame(late.path).filter == "R"
    assert sorted(path.name for path in raw.iterdir()) == sorted(truth.drop_order)
    assert all((raw / trouble.path).exists() for trouble in truth.troubles)


def test_unknown_and_impossible_troublemakers_are_refused() -> None:
    raw, truth = tiny_night()
    with pytest.raises(Refused, match="truncated"):
        plant_all(("gremlin",), raw, truth)
    with pytest.raises(Refused, match="late filter"):
        plant_all(("late_flat",), raw, replace(truth, plan=replace(truth.plan, late_filter="")))
    with pytest.raises(Refused, match="needs a flat"):
        plant_all(("bright_flat",), raw, replace(truth, frames=truth.select("light")))


def test_surrogates_survive_the_truth_file(tmp_path: Path) -> None:
    _, truth = tiny_night()
    odd = PlantedTrouble(path=os.fsdecode(b"n\xe9.fit"), kind="not_utf8_name", expected_words=(), states=("done",))
    save_truth(replace(truth, troubles=(odd,)), tmp_path / "truth.json")
    assert os.fsencode(load_truth(tmp_path).troubles[0].path) == b"n\xe9.fit"

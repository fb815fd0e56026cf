"""The linearity weight against its definition, however the table lies in slabs and whatever of it is read; and what is read for it."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nightcrew.mkid import photon_table, table_writer
from nightcrew.mkid.calibrated import open_calibrated
from nightcrew.mkid.linearity import linearity_weights
from nightcrew.mkid.live_time import joined, overlap_us, overlaps_us
from nightcrew.mkid.photon_table import PhotonTable
from tests.mkid.made_tables import START_US, beam_map, table

LENGTH_US, N = 4_000_000, 1600
MAP = beam_map((2, 3))
DEAD_US = 50.0


def made(folder: Path, seed: int, missing: tuple[int, ...] = (), slab_rows: int = 200) -> Path:
    """A table of six pixels and four seconds in some eight slabs."""
    rng = np.random.default_rng(seed)
    times = rng.integers(0, LENGTH_US, N)
    pixel = rng.integers(0, 6, N)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(table_writer, "_SLAB_ROWS", slab_rows)
        gone = [START_US // 10**6 + second for second in missing]
        return table(folder / "t.h5", MAP, pixel, times, duration_s=4.0, missing=gone, dead_time_us=DEAD_US)


def truth(opened: PhotonTable, pixel: np.ndarray[Any, Any], time_us: np.ndarray[Any, Any], step_us: int) -> list[float]:
    every = opened.read()
    counts = Counter(zip(every.pixel.tolist(), (every.time_us // step_us).tolist(), strict=True))
    weights = []
    for one, step in zip(pixel.tolist(), (time_us // step_us).tolist(), strict=True):
        low, high = step * step_us, min((step + 1) * step_us, LENGTH_US)
        live_us = high - low - overlap_us(opened.lost, START_US + low, START_US + high)
        share = counts[one, step] * DEAD_US / live_us if live_us >= 0.5 * (high - low) else 0.0
        weights.append(1 / (1 - min(share, 0.9)))
    return weights


@given(
    seed=st.integers(0, 2**32),
    step_us=st.sampled_from([1000, 30_001, 250_000, 700_000, 1_000_000, 9_000_000]),
    window=st.tuples(st.integers(0, LENGTH_US), st.integers(0, LENGTH_US)),
    pixels=st.tuples(st.integers(0, 6), st.integers(0, 6)),
    missing=st.sets(st.integers(0, 3), max_size=2),
)
@settings(max_examples=7, deadline=None)
def test_weights_are_those_of_the_definition(
    seed: int, step_us: int, window: tuple[int, int], pixels: tuple[int, int], missing: set[int]
) -> None:
    with tempfile.TemporaryDirectory() as folder, PhotonTable(made(Path(folder), seed, tuple(missing))) as opened:
        wanted = range(min(pixels), max(pixels))
        parts = [opened.read(), opened.read(wanted, min(window), max(window)), *opened.slabs(wanted)]
        for raw in parts:
            found = linearity_weights(opened, raw, step_us, DEAD_US)
            assert found == pytest.approx(truth(opened, raw.pixel, raw.time_us, step_us), rel=1e-6)


@pytest.mark.parametrize(("step_s", "most_times_rows"), [(1.0, 0), (0.25, 0), (0.1, N)])
def test_no_column_is_read_twice_but_the_times_of_slabs_that_share_a_step(
    step_s: float, most_times_rows: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, rows = made(tmp_path, 1), Counter[str]()
    real = PhotonTable._column

    def counted(self: PhotonTable, column: Any, start: int, stop: int) -> Any:
        rows[column.name.rpartition("/")[2]] += stop - start
        return real(self, column, start, stop)

    monkeypatch.setattr(PhotonTable, "_column", counted)
    with open_calibrated(path, [], linearity_step_s=step_s) as opened:
        assert sum(len(slab) for slab in opened.slabs()) == N
    assert rows["phase"] == rows["baseline"] == N
    assert rows["time_us"] - N <= most_times_rows


def test_the_index_is_read_some_slabs_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = made(tmp_path, 1, slab_rows=6)
    monkeypatch.setattr(photon_table, "_INDEX_SLABS", 8)
    with PhotonTable(path) as opened:
        taken: list[int] = []
        stored = opened._first_row

        class Watched:
            def __getitem__(self, key: Any) -> Any:
                found = stored[key]
                taken.append(found.shape[0])
                return found

        monkeypatch.setattr(opened, "_first_row", Watched())
        assert len(opened.read()) == N
        assert opened.counts().sum() == N
        assert len(opened._slab_us) > 200
        assert max(taken) <= 8


@given(
    st.lists(st.tuples(st.integers(0, 100), st.integers(0, 30)), max_size=6),
    st.lists(st.integers(0, 140), min_size=2, max_size=9, unique=True),
)
@settings(max_examples=50, deadline=None)
def test_overlaps_of_windows_are_those_of_each(parts: list[tuple[int, int]], edges: list[int]) -> None:
    rows = joined(np.array([(start, start + length) for start, length in parts], dtype=np.int64).reshape(-1, 2))
    at = np.array(sorted(edges), dtype=np.int64)
    assert overlaps_us(rows, at).tolist() == [overlap_us(rows, a, b) for a, b in zip(at[:-1].tolist(), at[1:].tolist(), strict=True)]

"""Groups of frames: jitter makes none, chains are cut, and every kind keeps its place after the beam."""

from __future__ import annotations

from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nightcrew.irradiation.frames import Frame, FrameDose
from nightcrew.irradiation.grouping import DOSE_PARTS, Group, clusters, make_groups
from nightcrew.irradiation.tokens import Stage


def frame(
    name: str,
    kind: str = "BIAS",
    *,
    exposure: float | None = 1.2e-5,
    temperature: float | None = 20.0,
    time: float | None = None,
    nominal: float | None = None,
    stage: Stage = "radiating",
) -> Frame:
    return Frame(
        path=Path(name),
        relative=name,
        campaign="",
        folder="Irradiation",
        kind=kind,
        stage=stage,
        number=int(name.rpartition("_")[2]),
        time_s=time,
        exposure_s=exposure,
        temperature_c=temperature,
        nominal_dose_krad=nominal,
    )


def dose(krad: float, stage: Stage = "radiating") -> FrameDose:
    return FrameDose(dose_krad=krad, error_krad=0.0, rate_krad_per_s=0.01, source="time", stage=stage)


def grouped(frames: list[Frame], doses: list[float] | None = None) -> list[Group]:
    values = doses if doses is not None else [0.0] * len(frames)
    groups, left_out = make_groups(frames, {f.relative: dose(d, f.stage or "pre") for f, d in zip(frames, values, strict=True)})
    assert left_out == {}
    return groups


def test_exposures_that_jitter_are_one_number_in_all_groups() -> None:
    # compared as exact floats each group was an exposure of its own, which overwrote the files of the others
    rng = np.random.default_rng(1)
    frames = [
        frame(f"d_{n}", "DARK", exposure=10 * (1 + 1e-3 * float(rng.normal())), nominal=5.0 * (1 + n // 4), stage="radiating")
        for n in range(12)
    ]
    groups = grouped(frames, [5.0] * 4 + [10.0] * 4 + [15.0] * 4)
    assert len(groups) == 3
    assert len({group.exposure_s for group in groups}) == 1
    assert groups[0].exposure_s == pytest.approx(10, rel=2e-3)
    own = np.mean([f.exposure_s for f in frames[:4] if f.exposure_s])
    assert groups[0].mean_exposure_s == pytest.approx(own)


def test_a_temperature_that_drifts_is_cut() -> None:
    frames = [frame(f"b_{n}", temperature=10 + 0.2 * n, stage="pre") for n in range(51)]  # 10 to 20 C in small steps: one chain
    groups = grouped(frames)
    assert len(groups) == 5
    for group in groups:
        inside = [f.temperature_c or 0.0 for f in group.frames]
        assert max(inside) - min(inside) <= 2.0 + 0.5
    assert sum(len(group.frames) for group in groups) == 51


def test_a_beam_that_runs_on_is_cut_into_steps_common_to_all_kinds() -> None:
    # Irradiation/Bias and Irradiation/Darks without dose folders: doses are a chain of small steps
    frames, doses = [], []
    for n in range(400):
        frames.append(frame(f"x_{n}", "DARK" if n % 2 else "BIAS", exposure=1.0 if n % 2 else 1e-5))
        doses.append(0.01 * (n + 1))
    groups = grouped(frames, doses)
    biases, darks = ([g for g in groups if g.kind == kind] for kind in ("BIAS", "DARK"))
    assert len(biases) == len(darks) == DOSE_PARTS[1]
    assert [g.step for g in biases] == [g.step for g in darks]
    for one, other in zip(biases, darks, strict=True):
        assert one.dose_krad == pytest.approx(other.dose_krad, abs=0.02)


def test_few_frames_in_a_beam_that_runs_on_stay_together_for_the_hits() -> None:
    frames = [frame(f"b_{n}") for n in range(16)]
    groups = grouped(frames, [2.5 * (n + 1) for n in range(16)])
    assert [len(group.frames) for group in groups] == [4, 4, 4, 4]


def test_doses_far_apart_are_groups_of_their_own() -> None:
    groups = grouped([frame(f"b_{n}") for n in range(2)], [0.5, 1.0])
    assert [group.dose_krad for group in groups] == [0.5, 1.0]


def after(turns: int, *, bias_pause: float = 0.2, kinds: tuple[str, ...] = ("BIAS", "DARK")) -> list[Frame]:
    """Visits after the beam, each with 20 short biases and 6 long darks."""
    made: list[Frame] = []
    now = 0.0
    for turn in range(turns):
        for kind, n, exposure, pause in (("BIAS", 20, 1e-5, bias_pause), ("DARK", 6, 100.0, 1.0)):
            if kind not in kinds:
                continue
            for _ in range(n):
                made.append(frame(f"{kind}{turn}_{len(made)}", kind, exposure=exposure, time=now, stage="post"))
                now += exposure + pause
        now += 3000.0
    return made


@pytest.mark.parametrize("turns", [1, 3])
def test_long_darks_after_the_beam_are_one_visit(turns: int) -> None:
    # between many short biases every dark of 100 s looked like a visit of its own, and later visits are in no response
    groups = grouped(after(turns))
    assert [(g.kind, g.visit, len(g.frames)) for g in groups] == [
        *(("BIAS", turn, 20) for turn in range(turns)),
        *(("DARK", turn, 6) for turn in range(turns)),
    ]


def test_a_kind_that_comes_after_a_pause_is_at_its_first_visit() -> None:
    frames = after(1, kinds=("BIAS",)) + [frame(f"late_{n}", "DARK", exposure=10.0, time=20_000.0 + 11 * n, stage="post") for n in range(4)]
    assert [(g.kind, g.visit) for g in grouped(frames)] == [("BIAS", 0), ("DARK", 0)]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0, 100), min_size=1, max_size=40), st.floats(0.01, 5), st.floats(0.5, 20), st.randoms(use_true_random=False))
def test_clusters_do_not_depend_on_order_and_keep_their_width(values: list[float], gap: float, width: float, random: Random) -> None:
    labels = clusters(values, gap, width=width)
    mixed = list(range(len(values)))
    random.shuffle(mixed)
    again = clusters([values[i] for i in mixed], gap, width=width)
    by_value = {values[i]: again[place] for place, i in enumerate(mixed)}
    assert [by_value[value] for value in values] == labels or len(set(values)) < len(values)
    for label in set(labels):
        inside = [value for value, own in zip(values, labels, strict=True) if own == label]
        assert max(inside) - min(inside) <= 1.26 * width + gap
    order = np.argsort(values, kind="stable")
    assert np.all(np.diff(np.array(labels)[order]) >= 0)

"""Hot pixels then and now: what changed, how sure that is, and what is told when it cannot be known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nightcrew.errors import Refused
from nightcrew.sensor.characterise import SensorResult, characterise
from nightcrew.sensor.frames import Window
from nightcrew.sensor.hot_growth import COUNTS, GROWN, HotGrowth, HotList, growth, median_interval
from nightcrew.sensor.hot_lists import NO_ERRORS, WARM_COLUMNS, hot_list, read_hot_lists, windows_of, windows_text
from nightcrew.simulate.sensor import SensorModel, SimulatedSensor, build_sensor
from nightcrew.simulate.sensor_set import SensorPlan
from reports import sensor_tables
from reports.sensor import grown_since, not_compared, summary_of
from reports.sensor_quantities import growth_quantities
from reports.summary import Summary
from tests.sensor.sets import QUICK, SMALL, frames_of, measured, small_plan, whole
from tests.sensor.test_coverage import FEW, LEVEL, MANY, check_coverage

PIXELS = st.dictionaries(st.tuples(st.integers(0, 9), st.integers(0, 9)), st.floats(0.1, 100))
HEAD = 'set-up,region,"temperature / C",y,x,"rate / (adu/s)","rate / (e-/s)"\n'


def bare(rates: Mapping[tuple[int, int], float]) -> HotList:
    """As an older result has it: hot pixels alone."""
    return HotList(rate_adu_per_s=rates, why=NO_ERRORS)


def listed(rates: Mapping[tuple[int, int], float], error: float, threshold: float = 1.0) -> HotList:
    return HotList(rate_adu_per_s=rates, error_adu_per_s=dict.fromkeys(rates, error), threshold_adu_per_s=threshold)


def compared(before: HotList, now: HotList) -> HotGrowth:
    return growth("cam", "whole", -10.0, before, now)


def test_every_way_that_a_pixel_can_go() -> None:
    before = {(0, 0): 1.0, (0, 1): 1.0, (0, 2): 1.0, (0, 3): 1.0}
    now = {(0, 0): 1.1, (0, 1): 2.0, (0, 2): 0.4, (5, 5): 9.0}
    found = compared(bare(before), bare(now))
    assert (found.new, found.gone, found.grown, found.shrunk, found.median_ratio) == (1, 1, 1, 1, 1.1)
    assert (dict(found.intervals), found.why) == ({}, NO_ERRORS)


@given(PIXELS, PIXELS)
def test_counts_add_up(before: dict[tuple[int, int], float], now: dict[tuple[int, int], float]) -> None:
    for one, two in ((bare(before), bare(now)), (listed(before, 0.5), listed(now, 0.2, 2.0))):
        found = compared(one, two)
        assert found.now - found.new == found.before - found.gone
        assert found.grown + found.shrunk <= found.now - found.new
        for name, interval in found.intervals.items():
            assert interval.low <= getattr(found, name) <= interval.high


def test_threshold_that_moved_makes_no_pixel_new_or_gone() -> None:
    rates = {(0, n): 1.0 + 0.1 * n for n in range(1, 20)}
    found = compared(listed(rates, 1e-3, threshold=2.0), listed(rates, 1e-3, threshold=1.0))  # the earlier darks were noisier
    assert (found.new, found.gone, found.excess_adu_per_s) == (0, 0, 2.0)
    assert (found.before, found.now) == (9, 9)


def test_differences_within_the_noise_may_all_be_chance_and_sure_ones_are_counted() -> None:
    rng = np.random.default_rng(3)
    true = rng.uniform(0.8, 1.2, 400)
    then, after = (true + rng.normal(0, 0.05, 400) for _ in range(2))
    after[:20] += 3  # of which half were hot already
    one, two = (listed({(0, n): float(rate) for n, rate in enumerate(rates)}, 0.05) for rates in (then, after))
    found = compared(one, two)
    fresh = int((true[:20] <= 1).sum())
    assert found.new > fresh + 10  # noise lifts as many again over the threshold
    assert found.intervals["new"].low <= fresh <= found.intervals["new"].high
    assert found.intervals["gone"].low == 0
    assert found.intervals["grown"].low <= 20 - fresh <= found.intervals["grown"].high


@pytest.mark.parametrize(("values", "truth"), [(5, None), (6, (0.0, 5.0)), (100, (39.0, 60.0))])
def test_interval_of_a_median_is_that_of_the_order_statistics(values: int, truth: tuple[float, float] | None) -> None:
    found = median_interval(np.arange(float(values))[::-1])
    assert (None if found is None else (found.low, found.high)) == truth  # 40th and 61st of 100, as tables have it


AGEING = SensorModel(nx=96, ny=96, hot_fraction=0.05, hot_rates_e_per_s=(1.0, 20.0), dark_spread=0.1)
PLAN = small_plan(AGEING, dark_exposures_s=(60.0, 120.0), flat_levels=(0.1, 0.3, 0.5, 0.6), biases=4, darks=2)


def aged(sensor: SimulatedSensor, seed: int) -> SimulatedSensor:
    """Some pixels have become hot, some hot ones have healed, some have changed by a factor, most are as they were."""
    rng = np.random.default_rng(seed)
    rates = sensor.dark_e_per_s.astype(np.float64)
    fate = rng.random(rates.shape)
    fresh, changed = fate < 0.01, sensor.hot & (fate > 0.5)
    rates[fresh] += np.exp(rng.uniform(0, 3, int(fresh.sum())))
    rates[changed] *= np.exp(rng.normal(0, 0.6, int(changed.sum())))
    rates[sensor.hot & (fate > 0.9)] = sensor.model.dark_rate_e_per_s
    return replace(sensor, dark_e_per_s=rates.astype(np.float32))


def list_of(plan: SensorPlan, seed: int, sensor: SimulatedSensor) -> HotList:
    region = whole(characterise(frames_of(plan, seed, sensor), replace(QUICK, bootstrap=0)))
    assert region.gain is not None
    found = hot_list(region.darks[0], region.gain.value, region.region.windows)
    assert found is not None
    return found


def true_counts(then: SimulatedSensor, after: SimulatedSensor, lists: tuple[HotList, HotList], bar: float) -> dict[str, int]:
    hot, rates = [], []
    for sensor, found in zip((then, after), lists, strict=True):
        rate = sensor.dark_e_per_s / sensor.model.gain_e_per_adu
        others = np.ones(rate.shape, np.bool_)
        for place, value in found.rate_adu_per_s.items():
            others[place] = value <= (found.threshold_adu_per_s or 0.0)
        hot.append(rate - rate[others].mean() > bar)
        rates.append(rate)
    both, ratio = hot[0] & hot[1], rates[1] / rates[0]
    kinds = {"new": hot[1] & ~hot[0], "gone": hot[0] & ~hot[1], "grown": both & (ratio > GROWN), "shrunk": both & (ratio < 1 / GROWN)}
    return {name: int(pixels.sum()) for name, pixels in kinds.items()}


def growth_hits(seeds: Sequence[int], *, ageing: bool) -> dict[str, int]:
    """How often each interval holds the truth."""
    hits = dict.fromkeys(COUNTS, 0)
    for seed in seeds:
        then = build_sensor(AGEING, seed)
        after = aged(then, seed) if ageing else then
        # other noise on the same maps, and more darks, so that the thresholds differ
        lists = (list_of(PLAN, seed, then), list_of(replace(PLAN, darks=3), seed, replace(after, seed=seed + 10**6)))
        found = compared(*lists)
        truth = true_counts(then, after, lists, found.excess_adu_per_s or 0.0)
        for name in COUNTS:
            hits[name] += found.intervals[name].low <= truth[name] <= found.intervals[name].high
    return hits


@pytest.mark.parametrize("ageing", [True, False], ids=["aged", "as it was"])
def test_coverage_of_the_growth(ageing: bool) -> None:
    for hits in growth_hits(FEW[:4], ageing=ageing).values():
        check_coverage(hits, 4, LEVEL, at_least=True)


@pytest.mark.slow
@pytest.mark.parametrize("ageing", [True, False], ids=["aged", "as it was"])
def test_coverage_of_the_growth_over_many_seeds(ageing: bool) -> None:
    for hits in growth_hits(MANY, ageing=ageing).values():
        check_coverage(hits, len(MANY), LEVEL, at_least=True)  # changes within the noise are told from chance by no one


SPOTTED = small_plan(replace(SMALL, hot_fraction=5e-3), dark_exposures_s=(100.0, 300.0), flat_levels=(0.1, 0.3, 0.5), biases=4)


@lru_cache(maxsize=2)
def spotted(*, clean: bool = False) -> SensorResult:
    return measured(replace(SPOTTED, sensor=replace(SMALL, dark_spread=0.05)) if clean else SPOTTED, 1)


def told(earlier: Path) -> Summary:
    grown = grown_since(spotted(), earlier)
    return summary_of(spotted(), (), grown, not_compared(spotted(), grown))


def test_growth_stands_on_page_and_summary(tmp_path: Path) -> None:
    sensor_tables.save_table(tmp_path, "warm_pixels", WARM_COLUMNS, sensor_tables.warm_rows(spotted()))
    found = {one.name: one for one in told(tmp_path).quantities if one.name.startswith("hot_pixels_")}
    assert set(found) == {f"hot_pixels_{name}" for name in (*COUNTS, "median_ratio")}
    assert all(one.interval is not None and one.interval.level == LEVEL for one in found.values())
    assert found["hot_pixels_median_ratio"].value == 1.0
    (table,) = sensor_tables.growth_section(grown_since(spotted(), tmp_path)).tables  # its numbers are saved as CSV beside the page
    ends = {row[3]: row[5:8] for row in table.rows}
    shown = {name: found[f"hot_pixels_{name}"].interval for name in COUNTS}
    assert all(one is not None and ends[name] == (one.low, one.high, 95.0) for name, one in shown.items())
    assert all(ends[name][0] == 0 for name in COUNTS)
    assert ends["median ratio"] == (1.0, 1.0, 95.0)


def test_clean_earlier_sensor_is_compared(tmp_path: Path) -> None:
    clean = spotted(clean=True)
    assert not sensor_tables.hot_rows(clean)  # no line in hot_pixels.csv: nothing was compared with it, and nothing told
    sensor_tables.save_table(tmp_path, "warm_pixels", WARM_COLUMNS, sensor_tables.warm_rows(clean))
    hot = whole(spotted()).darks[0].hot
    assert hot is not None
    assert hot.y.size > 5
    fresh = next(one for one in told(tmp_path).quantities if one.name == "hot_pixels_new")
    assert fresh.value == hot.y.size


def test_missing_earlier_temperature_is_told(tmp_path: Path) -> None:
    sensor_tables.save_table(tmp_path, "warm_pixels", WARM_COLUMNS, ())
    assert any("at -10 C of this set-up: their growth is not known" in warning for warning in told(tmp_path).warnings)


@pytest.mark.parametrize("larger_then", [True, False])
def test_pixels_that_one_of_the_results_did_not_look_at_are_neither_gone_nor_new(larger_then: bool) -> None:
    rates = {(0, x): 5.0 for x in range(10)}
    large = replace(listed(rates, 0.1), windows=(Window(0, 10, 0, 1),))
    small = replace(listed({(0, x): 5.0 for x in (2, 4)}, 0.1), windows=(Window(2, 6, 0, 1, 2),))
    found = compared(*((large, small) if larger_then else (small, large)))
    assert (found.before, found.now, found.new, found.gone) == (2, 2, 0, 0)
    assert found.windows_differ
    assert "both results looked at" in sensor_tables.growth_remark(found)
    older = compared(bare(rates), small)  # a table without windows: what lies outside today's is left out, and the rest told
    assert (older.before, older.gone) == (2, 0)
    assert "does not tell which pixels" in sensor_tables.growth_remark(older)


@pytest.mark.parametrize("windows", [(), (Window(0, 10, 5, 7),), (Window(0, 8, 1, 8, 2), Window(1, 8, 0, 8, 2))])
def test_windows_are_written_and_read_back(windows: tuple[Window, ...]) -> None:
    assert windows_of(windows_text(windows)) == windows
    with pytest.raises(ValueError, match="no window"):
        windows_of("1:2,3")


def test_temperatures_apart_are_told() -> None:
    one = replace(compared(listed({(0, 0): 2.0}, 0.1), listed({(0, 0): 2.1}, 0.1)), before_c=-9.4)
    notes = {found.name: found.note for found in growth_quantities([one])}
    assert {"hot_pixels_new", "hot_pixels_gone", "hot_pixels_median_ratio"} <= set(notes)
    assert all("0.6 C apart" in note for note in notes.values())
    assert any("0.6 C apart" in str(row[-1]) for row in sensor_tables.growth_section([one]).tables[0].rows)


def test_table_of_an_older_result_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "hot_pixels.csv"
    path.write_text(HEAD + "cam,whole,-10.0,3,4,1.5,\ncam,whole,,5,6,2.5,\nother,whole,-10.0,3,4,9.5,\n")
    found = read_hot_lists(tmp_path)
    assert {key: one.rate_adu_per_s for key, one in found.items()} == {
        ("cam", "whole", -10.0): {(3, 4): 1.5},
        ("cam", "whole", None): {(5, 6): 2.5},
        ("other", "whole", -10.0): {(3, 4): 9.5},
    }
    assert all(one.why == NO_ERRORS and one.excess is None for one in found.values())


def test_table_with_errors_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    result = measured(small_plan(dark_exposures_s=(60.0, 300.0), flat_levels=(0.1, 0.3, 0.5)), 1)
    sensor_tables.save_table(tmp_path, "warm_pixels", WARM_COLUMNS, sensor_tables.warm_rows(result))
    (found,) = read_hot_lists(tmp_path).values()
    region = whole(result)
    assert region.gain is not None
    assert found == hot_list(region.darks[0], region.gain.value, region.region.windows)


@pytest.mark.parametrize("text", ["a,b\n1,2\n", HEAD + "cam,whole,-10.0,three,4,1.5,\n", HEAD + "cam,whole,-10.0\n", HEAD + "cam\n"])
def test_other_tables_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "hot_pixels.csv").write_text(text)
    with pytest.raises(Refused, match="no table of hot pixels"):
        read_hot_lists(tmp_path)


def test_absent_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="cannot be read"):
        read_hot_lists(tmp_path / "absent")

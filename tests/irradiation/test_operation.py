"""Operation sequences: hits found as many as there were, order of frames, courses from logs, and a fit that may fail."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from nightcrew.irradiation.discover import Campaign, find_campaigns
from nightcrew.irradiation.dose import Logs
from nightcrew.irradiation.dose_log import parse_dose_log
from nightcrew.irradiation.frames import Frame
from nightcrew.irradiation.operation import analyse_sequence, correlate, ordered, sequences
from nightcrew.simulate.campaign_plan import DamagedSensor
from tests.irradiation.campaigns import plan_of, simulated


@pytest.fixture(scope="module")
def campaign(tmp_path_factory: pytest.TempPathFactory) -> tuple[Campaign, dict[str, list[int]]]:
    root = tmp_path_factory.mktemp("operation")
    sensor = DamagedSensor(ny=64, nx=64, hot_before=0.0, hot_per_krad=0.0)
    truth = simulated(root, plan_of(sensor=sensor, layout="oper", operation_frames=8, doses_krad=(5.0, 10.0)))
    hits: dict[str, list[int]] = {}
    for frame in truth["frames"]:
        hits.setdefault(frame["folder"], []).append(frame["hits"])
    return find_campaigns(root / "sim" / "campaign", root / "out")[0], hits


def test_as_many_outliers_as_hits(campaign: tuple[Campaign, dict[str, list[int]]]) -> None:
    found, hits = campaign
    assert found.layout == "oper"
    for name, frames in sequences(found.operation).items():
        one = analyse_sequence(name, frames, Logs(by_folder={name: found.logs.by_folder[name]}), step_adu=16.0)
        # a few hits share a pixel, or leave less than the limit
        total = sum(hits[name])
        assert one.series.outliers.sum() == pytest.approx(total, abs=0.06 * total + 2)
        assert np.all(np.abs(one.series.outliers - hits[name]) <= 4)
        assert one.expected_false < 0.1
        assert one.persistent.sum() <= 2
        assert (one.cumulative > 0).sum() <= one.series.outliers.sum()
        assert np.isfinite(one.series.dose_krad).all()
        assert one.series.time_s[0] == 0
        assert "dose rate" not in one.why
        assert one.correlation.why  # the rate is the same in all frames: nothing to compare with


def test_frames_in_the_order_of_their_numbers() -> None:
    frames = [
        Frame(path=Path(n), relative=n, campaign="", folder="", kind="OPER", stage="radiating", number=int(n[1:]))
        for n in ("f10", "f2", "f1")
    ]
    assert [frame.relative for frame in ordered(frames)] == ["f1", "f2", "f10"]


def test_outliers_follow_the_dose_rate() -> None:
    rate = np.array([0.0, 0.001, 0.002, 0.004, 0.004])
    found = correlate(rate, np.array([1, 11, 19, 42, 39]))
    assert found.r > 0.99
    assert found.line.value("slope") == pytest.approx(1e4, abs=4 * found.line.error("slope"))
    assert found.predict(np.array([0.002]))[0] == pytest.approx(20, abs=3)


def test_a_line_that_cannot_be_told_is_a_constant() -> None:
    # a rate that differs by its own errors gave an r
    found = correlate(0.002 * (1 + 1e-3 * np.array([1, -1, 0, 0])), np.array([10, 12, 8, 10]))
    assert math.isnan(found.r)
    assert "0.002 kRad/s in all 4 frames" in found.why
    assert found.predict(np.array([0.0, 1.0])).tolist() == [10, 10]
    assert "3 are needed" in correlate(np.array([0.1]), np.array([4])).why
    assert "as many outliers" in correlate(np.array([0.1, 0.2, 0.3]), np.array([4, 4, 4])).why


def test_one_frame_and_frames_without_logs(campaign: tuple[Campaign, dict[str, list[int]]]) -> None:
    found, _ = campaign
    name, frames = next(iter(sequences(found.operation).items()))
    one = analyse_sequence(name, frames[:1], Logs())
    assert "3 are needed" in one.why
    assert one.series.outliers.tolist() == [0]
    assert any("no log" in remark for remark in one.remarks)


def test_courses_are_interpolated_to_the_frames(campaign: tuple[Campaign, dict[str, list[int]]]) -> None:
    found, _ = campaign
    name, frames = next(iter(sequences(found.operation).items()))
    times = [frame.time_s or 0.0 for frame in ordered(frames)]
    text = "TimeStamp,Amperage,Voltage\n" + "\n".join(f"{t!r},{0.1 * i},5" for i, t in enumerate((times[0], times[-1])))
    one = analyse_sequence(name, frames, Logs(), power=parse_dose_log(text, "powerLog.csv"))
    # the current rises by half over the sequence, the voltage is the same in all frames
    assert abs(one.beside["current_a"].r) <= 1
    assert "the voltage is 5 V in all 8 frames" in one.beside["voltage_v"].why
    middle = (np.array(times) - times[0]) / (times[-1] - times[0])
    assert one.series.others["current_a"] == pytest.approx(0.1 * middle)
    assert set(one.series.others["voltage_v"]) == {5.0}

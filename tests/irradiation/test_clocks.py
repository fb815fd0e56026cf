"""Times, clocks and numbers that do not mean what they seem: what can be known of a frame's place in a step and in a log."""

from __future__ import annotations

import dataclasses
import math

import pytest

from nightcrew.irradiation.clocks import clocks_restart, deepest_first
from nightcrew.irradiation.dose import Logs, assign_doses
from nightcrew.irradiation.dose_log import DoseLog, krad_per, parse_dose_log
from nightcrew.irradiation.frames import Frame, in_time_order, places_in_step
from tests.irradiation.test_dose import STEPS, N, campaign, folder_frames, quiet, truth


def test_one_frame_without_a_time_leaves_the_others_in_order() -> None:
    bias, dark = folder_frames(5.0, start_s=1000.0), folder_frames(5.0, start_s=1005.0, kind="DARK")
    dark[4] = dataclasses.replace(dark[4], time_s=None)
    expected = [frame.relative for pair in zip(bias, dark, strict=True) for frame in pair]
    assert [frame.relative for frame in in_time_order([*dark, *bias])] == expected
    doses = assign_doses([*dark, *bias], Logs()).doses
    assert [doses[name].dose_krad for name in expected] == pytest.approx([5 * (n + 1) / 20 for n in range(20)])


def test_a_folder_without_times_lies_beside_the_others_of_its_step() -> None:
    bias, dark = folder_frames(5.0, start_s=1000.0), folder_frames(5.0, kind="DARK")
    kinds = [frame.kind for frame in in_time_order([*bias, *dark])]
    assert [kinds[5 * n : 5 * n + 5].count("DARK") for n in range(4)] == pytest.approx([2.5] * 4, abs=1)


def test_without_any_time_folders_lie_side_by_side() -> None:
    # by the order of their names all biases came before all darks, and the bias slope was wrong
    bias, dark = folder_frames(5.0), folder_frames(5.0, kind="DARK")
    doses = assign_doses([*bias, *dark], Logs()).doses
    mean = [sum(doses[f.relative].dose_krad for f in frames) / N for frames in (bias, dark)]
    assert mean[0] == pytest.approx(mean[1], rel=1e-12)
    run_on = folder_frames(5.0, first=N, kind="DARK")
    assert [f.kind for f, _ in places_in_step([*run_on, *bias])] == ["BIAS"] * N + ["DARK"] * N


def restarted() -> list[Frame]:
    """The campaign's frames, with clocks that begin at 0 in every dose folder."""
    return [f for nominal in STEPS for f in folder_frames(nominal, start_s=0.0)]


def folder_log(frames: list[Frame], *, times: bool = True, numbers: bool = True) -> DoseLog:
    head = ",".join(["FrameNum"] * numbers + ["TimeStamp"] * times + ["Dose"])
    rows = [",".join([str(f.number)] * numbers + [str(f.time_s)] * times + [repr(truth(f))]) for f in frames]
    return parse_dose_log("\n".join([head, *rows]), "radiationLogDef.csv")


@pytest.mark.parametrize("numbers", [True, False])
def test_folder_logs_with_clocks_of_their_own_are_not_mixed(numbers: bool) -> None:
    frames = restarted()
    by_folder = {f"Irradiation/{d:g}kRads": folder_log([f for f in frames if f.nominal_dose_krad == d], numbers=numbers) for d in STEPS}
    assert clocks_restart(frames)
    found = assign_doses([*frames, quiet("post", 10.0)], Logs(by_folder=by_folder))
    for frame in frames:
        assert found.doses[frame.relative].dose_krad == pytest.approx(truth(frame), abs=1e-9), frame.relative
        assert found.doses[frame.relative].source == "time"
    assert any("clocks restart" in remark for remark in found.remarks)
    post = found.doses["post/b.fits"]
    assert post.dose_krad == 20
    assert math.isnan(post.since_end_s)


def test_a_folder_to_which_something_was_added_later_has_no_clock_of_its_own() -> None:
    frames = [*folder_frames(5.0, start_s=1000.0), *folder_frames(10.0, start_s=1200.0)]
    assert not clocks_restart(frames)
    late = dataclasses.replace(frames[9], time_s=5000.0)
    assert not clocks_restart([*frames[:9], late, *frames[10:]])
    assert clocks_restart([*folder_frames(5.0, start_s=3.0), *folder_frames(10.0, start_s=9.0)])


def test_a_whole_log_says_nothing_by_time_to_clocks_that_restart() -> None:
    frames = restarted()
    log = parse_dose_log("TimeStamp,Dose\n" + "\n".join(f"{10 * i},{0.1 * i}" for i in range(200)), "radiationLog.csv")
    found = assign_doses(frames, Logs(whole=log))
    assert {one.source for one in found.doses.values()} == {"nominal"}


def test_a_log_whose_clock_restarts_is_not_sorted_by_it() -> None:
    rows = [f"{10 * (i % 10)},{i * 0.5}" for i in range(30)]
    log = parse_dose_log("TimeStamp,Dose\n" + "\n".join(rows), "radiationLogCompleto.csv")
    assert log.clock_restarts
    found = assign_doses(campaign(), Logs(whole=log))
    assert any("its clock restarts" in remark for remark in found.remarks)
    assert {one.source for name, one in found.doses.items() if "Irr" in name} == {"nominal"}
    mixed = parse_dose_log("TimeStamp,Dose\n20,2\n0,0\n10,1\n30,3", "log")
    assert not mixed.clock_restarts  # rows in any order are no second clock


def test_numbers_that_stand_twice_in_a_log_are_not_the_last_of_them() -> None:
    # a folder's log of biases and darks, numbers restarting, of which the biases alone are there
    frames = folder_frames(5.0)
    rows = [f"{i},{0.2 * i}" for i in range(N)] + [f"{i},{2 + 0.3 * i}" for i in range(N)]
    log = parse_dose_log("FrameNum,Dose\n" + "\n".join(rows), "radiationLogDef.csv")
    found = assign_doses(frames, Logs(by_folder={"Irradiation/5kRads": log}))
    assert {one.source for one in found.doses.values()} == {"nominal"}
    assert any("restart" in remark for remark in found.remarks)


def test_kinds_that_share_a_folder_and_numbers_are_matched_by_the_whole_sequence() -> None:
    bias, dark = (
        [dataclasses.replace(f, folder="5kRads", relative=f"5kRads/{f.path.name}") for f in frames]
        for frames in (folder_frames(5.0, start_s=0.0), folder_frames(5.0, start_s=5.0, kind="DARK"))
    )
    rows = [f"{i},{0.25 * (2 * i + k)}" for i in range(N) for k in (0, 1)]
    log = parse_dose_log("FrameNum,Dose\n" + "\n".join(rows), "radiationLogDef.csv")
    found = assign_doses([*dark, *bias], Logs(by_folder={"5kRads": log})).doses
    assert [found[f.relative].dose_krad for f in bias] == pytest.approx([0.5 * i for i in range(N)])
    assert [found[f.relative].dose_krad for f in dark] == pytest.approx([0.5 * i + 0.25 for i in range(N)])


def test_folders_of_one_step_without_times_have_no_certain_order() -> None:
    bias, dark = folder_frames(5.0), folder_frames(5.0, kind="DARK")
    rows = [f"{i},{0.1 * i}" for i in range(N)] + [f"{i},{1 + 0.4 * i}" for i in range(N)]
    log = parse_dose_log("FrameNum,Dose\n" + "\n".join(rows), "radiationLogCompleto.csv")
    found = assign_doses([*bias, *dark], Logs(whole=log))
    assert {one.source for one in found.doses.values()} == {"nominal"}


def test_the_nearest_log_counts() -> None:
    assert deepest_first(["Irradiation", "", "Irradiation/5kRads"]) == ["Irradiation/5kRads", "Irradiation", ""]
    frames = folder_frames(5.0)
    own = parse_dose_log("FrameNum,Dose\n" + "\n".join(f"{i},{0.5 * i}" for i in range(N)), "radiationLogDef.csv")
    other = parse_dose_log("FrameNum,Dose\n" + "\n".join(f"{i},{9 + i}" for i in range(N)), "radiationLog.csv")
    found = assign_doses(frames, Logs(by_folder={"Irradiation": other, "Irradiation/5kRads": own})).doses
    assert [found[f.relative].dose_krad for f in frames] == pytest.approx([0.5 * i for i in range(N)])


GRAYS = [("Gy", 0.1), ("mGy", 1e-4), ("MGy", 1e5), ("kGy", 100), ("cGy", 1e-3)]


@pytest.mark.parametrize(
    ("unit", "krad"),
    [(" ", 1), ("kRad", 1), ("krads", 1), ("KRAD", 1), ("rad", 1e-3), ("mrad", 1e-6), ("Mrad", 1e3), ("MRAD", 1e3), *GRAYS],
)
def test_milli_and_mega_are_told_by_their_case(unit: str, krad: float) -> None:
    assert krad_per(unit.strip()) == pytest.approx(krad, rel=1e-12)
    log = parse_dose_log(f"FrameNum,Dose ({unit})\n0,2\n1,4", "log")
    assert log.dose_krad == pytest.approx([2 * krad, 4 * krad])


def test_units_that_are_none_are_said() -> None:
    assert krad_per("furlongs") is None
    log = parse_dose_log("FrameNum,Dose (Sv),RadiationLevel\n0,2,7\n1,4,8", "log")
    assert log.dose_krad.tolist() == [7, 8]
    assert any("no unit of dose" in remark for remark in log.remarks)


@pytest.mark.parametrize(
    ("head", "factor"),
    [("Time (ms)", 1e-3), ("TimeStamp", 1), ("Time[min]", 60), ("time_s", 1), ("TimeStamp_us", 1e-6), ("Time (h)", 3600)],
)
def test_times_are_seconds_whatever_their_unit(head: str, factor: float) -> None:
    log = parse_dose_log(f"{head},Dose\n1000,1\n2000,2", "log")
    assert log.time_s == pytest.approx([1000 * factor, 2000 * factor])


def test_times_that_are_no_seconds_are_said() -> None:
    assert any("no unit of time" in text for text in parse_dose_log("Time (fortnights),Dose\n1,1\n2,2", "log").remarks)
    assert any(
        "dates without a time of day" in text for text in parse_dose_log("TimeStamp,Dose\n2024-01-01,1\n2024-01-02,2", "log").remarks
    )
    assert any("no number of seconds" in text for text in parse_dose_log("TimeStamp,Dose\nnan,1\nnan,2", "log").remarks)

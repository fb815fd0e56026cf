"""Dose of frames: every way that a campaign may tell it, and what is said when it does not."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nightcrew.errors import RejectedInput
from nightcrew.irradiation.dose import Logs, assign_doses
from nightcrew.irradiation.dose_curve import DoseCurve
from nightcrew.irradiation.dose_log import DoseLog, parse_dose_log, read_dose_log
from nightcrew.irradiation.frames import Frame
from nightcrew.irradiation.tokens import Stage, campaign_of
from nightcrew.lab.names import folder_dose_krad

STEPS = (5.0, 10.0, 20.0)
N = 10


def folder_frames(nominal: float, *, first: int = 0, start_s: float | None = None, kind: str = "BIAS") -> list[Frame]:
    """Ten frames of a dose step whose beam ran while they were taken, 10 s apart."""
    folder = f"Irradiation/{nominal:g}kRads/{kind.title()}"
    return [
        Frame(
            path=Path(f"{folder}/{kind}{i}.fits"),
            relative=f"{folder}/{kind}{i}.fits",
            campaign="",
            folder=folder,
            kind=kind,
            stage="radiating",
            number=first + i,
            time_s=None if start_s is None else start_s + 10.0 * i,
            nominal_dose_krad=nominal,
        )
        for i in range(N)
    ]


def quiet(stage: Stage, time_s: float | None) -> Frame:
    return Frame(path=Path(stage), relative=f"{stage}/b.fits", campaign="", folder=stage, kind="BIAS", stage=stage, number=0, time_s=time_s)


def campaign(*, times: bool = True, restart: bool = True) -> list[Frame]:
    made: list[Frame] = []
    for place, nominal in enumerate(STEPS):
        made += folder_frames(nominal, first=0 if restart else place * N, start_s=1000.0 + 200 * place if times else None)
    return [quiet("pre", 500.0 if times else None), *made, quiet("post", 5000.0 if times else None)]


def truth(frame: Frame) -> float:
    """Dose grows evenly from the step's begin to its end over the 90 s of its frames."""
    before = max((d for d in STEPS if d < (frame.nominal_dose_krad or 0)), default=0.0)
    place = int(frame.relative[-6])
    return before + ((frame.nominal_dose_krad or 0) - before) * place / (N - 1)


def log_of(frames: list[Frame], *, header: str = "FrameNum,TimeStamp,Dose", scale: float = 1.0, times: bool = True) -> DoseLog:
    rows = [
        f"{f.number},{f.time_s if times else ''},{truth(f) * scale!r}"
        for f in sorted(frames, key=lambda f: (f.time_s or 0, f.nominal_dose_krad or 0, f.number or 0))
        if f.stage == "radiating"
    ]
    return parse_dose_log("\n".join([header, *rows]), "radiationLogCompleto.csv")


def test_deepest_dose_wins() -> None:
    assert folder_dose_krad(("a", "10kRads")) == 10
    assert folder_dose_krad(("no_dose",)) is None
    assert folder_dose_krad(("20kRads_campaign", "5kRads")) == 5
    assert folder_dose_krad(("1e3kRads",)) == 1000


def test_campaigns_under_one_root() -> None:
    assert campaign_of(("CampaignA", "Irradiation", "5kRads")) == "CampaignA"
    assert campaign_of(("Preirradiation", "Bias")) == ""
    assert campaign_of(("proton", "second", "10kRads", "fits")) == "proton/second"


def test_dose_by_time_with_its_rate() -> None:
    frames = campaign()
    found = assign_doses(frames, Logs(whole=log_of(frames))).doses
    for frame in frames[1:-1]:
        one = found[frame.relative]
        assert one.dose_krad == pytest.approx(truth(frame), abs=1e-9)
        assert one.source == "time"
        step = (frame.nominal_dose_krad or 0) - max((d for d in STEPS if d < (frame.nominal_dose_krad or 0)), default=0.0)
        assert one.rate_krad_per_s == pytest.approx(step / 90, rel=1e-9)
    assert (found["pre/b.fits"].dose_krad, found["pre/b.fits"].rate_krad_per_s, found["pre/b.fits"].stage) == (0, 0, "pre")
    post = found["post/b.fits"]
    assert (post.dose_krad, post.rate_krad_per_s, post.stage) == (20, 0, "post")
    assert post.since_end_s == pytest.approx(5000 - 1490)


@pytest.mark.parametrize("restart", [True, False])
def test_dose_by_folder_and_number_when_there_is_no_time(restart: bool) -> None:
    # numbers that restart must not give the last row's dose to every folder
    frames = campaign(times=False, restart=restart)
    found = assign_doses(frames, Logs(whole=log_of(frames, times=False))).doses
    for frame in frames[1:-1]:
        assert found[frame.relative].dose_krad == pytest.approx(truth(frame))
        assert found[frame.relative].source == "number"


def test_numbers_that_fit_no_folder_are_not_used() -> None:
    frames = campaign(times=False)
    log = log_of(frames[:-6], times=False)
    short = [f for f in frames if f.nominal_dose_krad != 10.0]
    found = assign_doses(short, Logs(whole=log))
    assert {one.source for name, one in found.doses.items() if "Irradiation" in name} == {"nominal"}
    assert any("restart" in remark for remark in found.remarks)


def test_without_logs_the_step_is_spread_in_time_order() -> None:
    frames = [f for f in campaign() if f.stage == "radiating"]
    bias, dark = folder_frames(5.0, start_s=1000.0), folder_frames(5.0, start_s=1005.0, kind="DARK")
    found = assign_doses([*dark, *bias, *[f for f in frames if f.nominal_dose_krad != 5.0]], Logs()).doses
    # bias and dark alternate in time, so they alternate in dose
    assert [found[f.relative].dose_krad for f in bias] == pytest.approx([5 * (2 * i + 1) / 20 for i in range(N)])
    assert [found[f.relative].dose_krad for f in dark] == pytest.approx([5 * (2 * i + 2) / 20 for i in range(N)])
    assert found[frames[-1].relative].dose_krad == 20
    assert found[bias[0].relative].error_krad == pytest.approx(5 / math.sqrt(12))
    assert found[frames[-1].relative].rate_krad_per_s == pytest.approx(10 / N / 10)


@pytest.mark.parametrize(
    ("header", "form"),
    [
        ("FrameNum,TimeStamp,Dose", "%Y-%m-%dT%H:%M:%S"),
        ("FrameNum,TimeStamp (UTC),Dose", "%Y-%m-%d %H:%M:%SZ"),
        ("FrameNum,DateTime,Dose", "%d.%m.%Y %H:%M:%S"),
        ("FrameNum,Date,Time,Dose", "%d/%m/%Y,%H:%M:%S"),
    ],
)
def test_dates_in_a_log_are_times(header: str, form: str) -> None:
    # they were no numbers, so such a log was used by frame numbers, or not at all
    frames = [replace(f, time_s=None if f.time_s is None else f.time_s + 1.7736e9) for f in campaign()]  # 15 March 2026, 18:40 UTC
    rows = [
        f"{f.number},{datetime.fromtimestamp(f.time_s or 0, UTC).strftime(form)},{truth(f)!r}" for f in frames if f.stage == "radiating"
    ]
    log = parse_dose_log("\n".join([header, *rows]), "radiationLog.csv")
    assert log.time_s.tolist() == [f.time_s for f in frames if f.stage == "radiating"]
    assert any("taken as UTC" in remark for remark in log.remarks) == ("Z" not in form)
    found = assign_doses(frames, Logs(whole=log)).doses
    for frame in frames[1:-1]:
        assert found[frame.relative].source == "time"
        assert found[frame.relative].dose_krad == pytest.approx(truth(frame), abs=1e-9)


def test_times_of_a_log_that_may_mean_two_moments_are_refused() -> None:
    for times, why in ((("10:00:00", "10:01:00"), "times of day"), (("03/04/2026 10:00", "03/05/2026 10:00"), "comes first")):
        log = parse_dose_log("TimeStamp,Dose\n" + "".join(f"{t},{n}\n" for n, t in enumerate(times)), "radiationLog.csv")
        assert not log.has_times
        (remark,) = log.remarks
        assert why in remark
        assert remark.endswith("so its times were not used")


def test_a_constant_log_counts_as_missing() -> None:
    frames = [f for f in campaign(times=False) if f.nominal_dose_krad == 5.0]
    log = parse_dose_log("FrameNum,Dose\n" + "\n".join(f"{i},5.0" for i in range(N)), "radiationLogDef.csv")
    found = assign_doses(frames, Logs(by_folder={"Irradiation/5kRads": log}))
    assert [found.doses[f.relative].dose_krad for f in frames] == pytest.approx([0.5 * (i + 1) for i in range(N)])
    assert any("never changes" in remark for remark in found.remarks)


def test_a_folders_own_log_by_position() -> None:
    frames = [f for f in campaign(times=False) if f.nominal_dose_krad == 5.0]
    log = parse_dose_log("Dose\n" + "\n".join(str(0.1 * i**2) for i in range(N)), "radiationLogDef.csv")
    found = assign_doses(frames, Logs(by_folder={"Irradiation/5kRads": log})).doses
    assert [found[f.relative].dose_krad for f in frames] == pytest.approx([0.1 * i**2 for i in range(N)])
    assert {one.source for one in found.values()} == {"position"}


def test_log_and_folder_that_disagree_are_reported() -> None:
    frames = campaign()
    found = assign_doses(frames, Logs(whole=log_of(frames, scale=3.0)))
    assert any("the folder says" in remark for remark in found.remarks)
    assert any(one.remarks for one in found.doses.values())


def test_times_of_another_day_are_not_used() -> None:
    frames = campaign()
    log = log_of(frames)
    other = parse_dose_log("TimeStamp,Dose\n" + "\n".join(f"{t + 9e8},{d}" for t, d in zip(log.time_s, log.dose_krad, strict=True)), "log")
    found = assign_doses(frames, Logs(whole=other))
    assert any("nothing in common" in remark for remark in found.remarks)
    assert {one.source for name, one in found.doses.items() if "Irradiation" in name} == {"nominal"}


def test_a_frame_that_nothing_tells_of_has_no_dose() -> None:
    lonely = Frame(path=Path("x"), relative="Irradiation/x.fits", campaign="", folder="Irradiation", kind="BIAS", stage="radiating")
    found = assign_doses([lonely], Logs())
    assert math.isnan(found.doses[lonely.relative].dose_krad)
    assert any("no log and no folder" in remark for remark in found.remarks)


def test_stage_by_folder_and_log_that_disagree() -> None:
    frames = [*campaign(), quiet("post", 600.0)]
    frames = [f for f in frames if f.stage != "post" or f.time_s == 600.0]
    found = assign_doses(frames, Logs(whole=log_of(frames))).doses["post/b.fits"]
    assert found.stage == "post"
    assert "pre by the log" in found.remarks[0]


@settings(max_examples=10, deadline=None)
@given(st.randoms(use_true_random=False), st.booleans())
def test_the_order_of_files_changes_nothing(random: Random, times: bool) -> None:
    frames = campaign(times=times)
    log = log_of(frames, times=times)
    mixed = list(frames)
    random.shuffle(mixed)
    assert assign_doses(mixed, Logs(whole=log)).doses == assign_doses(frames, Logs(whole=log)).doses


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("FrameNum,Dose\n0,1.5\n1,nan\n2,x\n3,2.5", [1.5, math.nan, math.nan, 2.5]),
        ("\ufeffFrameNum;RadiationLevel\n0;1,5\n1;2,5", [1.5, 2.5]),
        ("Frame\tDose (Gy)\n0\t10\n1\t20", [1.0, 2.0]),
        ("FrameNum,Dose_rad\n0,1000\n1,2000", [1.0, 2.0]),
        ("FrameNum,Dose[Mrad],RadiationLevel\n0.0,0.001,7\n1.0,0.002,8", [1.0, 2.0]),
    ],
)
def test_logs_of_many_kinds(text: str, expected: list[float]) -> None:
    found = parse_dose_log(text, "radiationLog.csv")
    assert found.dose_krad == pytest.approx(expected, nan_ok=True)
    assert found.frame[:2].tolist() == [0, 1]


def test_logs_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(RejectedInput, match="no column Dose"):
        parse_dose_log("FrameNum,Temperature_of_lab\n0,1", "x.csv")
    with pytest.raises(RejectedInput, match="empty"):
        parse_dose_log("\n\n", "x.csv")
    with pytest.raises(RejectedInput, match="cannot be read"):
        read_dose_log(tmp_path / "absent.csv")
    (tmp_path / "log.csv").write_bytes(b"Dose,Note\n1,caf\xe9\n2,x\n")
    assert len(read_dose_log(tmp_path / "log.csv")) == 2


def test_groups_of_a_log_are_the_older_suites() -> None:
    log = parse_dose_log("FrameNum,Dose\n0,1\n1,1\n2,2\n0,2\n1,2", "x")
    assert [rows.tolist() for rows in log.groups()] == [[0, 1], [2], [3, 4]]
    assert [rows.tolist() for rows in log.segments()] == [[0, 1, 2], [3, 4]]


def curve_of(time_s: list[float], dose: list[float]) -> DoseCurve:
    return DoseCurve(parse_dose_log("TimeStamp,Dose\n" + "\n".join(f"{t},{d}" for t, d in zip(time_s, dose, strict=True)), "x"))


def test_runs_of_the_beam_and_pauses() -> None:
    t = list(range(0, 300, 10))
    dose = [0.0 if x < 50 else min(x - 50, 100) * 0.02 + max(0, x - 200) * 0.05 for x in t]
    curve = curve_of([float(x) for x in t], dose)
    assert [(run.start_s, run.stop_s) for run in curve.runs] == [(50, 150), (200, 290)]
    assert [run.rate_krad_per_s for run in curve.runs] == pytest.approx([0.02, 0.05])
    assert curve.at(100.5).dose_krad == pytest.approx(50.5 * 0.02)
    assert curve.at(180.0).rate_krad_per_s == 0
    assert curve.at(-5.0).place == "before"
    assert (curve.at(400.0).place, curve.at(400.0).rate_krad_per_s) == ("after", 0)


def test_a_rate_that_changes_without_a_pause_is_two_runs() -> None:
    t = np.arange(0, 200, 5.0)
    curve = curve_of(t.tolist(), np.where(t < 100, 0.01 * t, 1 + 0.04 * (t - 100)).tolist())
    assert [run.rate_krad_per_s for run in curve.runs] == pytest.approx([0.01, 0.04], rel=0.03)


def test_a_gap_in_a_log_costs_certainty() -> None:
    curve = curve_of([0, 10, 20, 30, 200, 210, 220], [0, 1, 2, 3, 20, 21, 22])
    assert curve.at(115.0).place == "gap"
    assert curve.at(115.0).error_krad == pytest.approx(17 / 2, rel=0.01)
    assert curve.at(15.0).error_krad < 0.5


def test_repeated_times_and_falling_doses_are_said() -> None:
    curve = curve_of([0, 10, 10, 20], [0, 5, 1, 0.5])
    assert curve.dose_krad.tolist() == [0, 1, 0.5]
    assert len(curve.remarks) == 2

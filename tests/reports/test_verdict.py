from __future__ import annotations

import dataclasses

import pytest

from reports.model import BalanceRow, CalibrationCell, Cause, FolderFact, NightPage, Notice, PlateEntry, TruthRow
from reports.verdict import empty_reasons, judge, light_counts
from tests.reports import samples


def night(**changes: object) -> NightPage:
    return dataclasses.replace(samples.good_night(), **changes)  # type: ignore[arg-type]  # any field of a night


def test_a_good_night_in_one_sentence() -> None:
    verdict = judge(samples.good_night())
    assert verdict.status == "good"
    assert verdict.sentence == "40 of 41 lights reduced, 30 with grade A and 10 with grade B; nothing needs a person (1 remark)."


def test_a_rejected_file_is_named_with_its_command() -> None:
    action = judge(samples.good_night()).actions[0]
    assert action.level == "notice"
    assert "file ends early" in action.text
    assert action.command == "nightcrew why m67-V-099.fits"


def test_many_rejected_lights_need_a_person() -> None:
    cause = Cause(state="rejected", cause="no header", count=9, files=("a",), command="nightcrew why a", kind="light")
    verdict = judge(night(causes=(cause,)))
    assert verdict.status == "attention"
    assert verdict.actions[0].level == "warning"


def test_trouble_is_sorted_by_urgency() -> None:
    verdict = judge(samples.troubled_night())
    assert verdict.status == "attention"
    levels = [action.level for action in verdict.actions]
    assert levels == sorted(levels, key=("problem", "warning", "notice").index)
    texts = " ".join(action.text for action in verdict.actions)
    for expected in (
        "1 product failed",
        "No flat for I",
        "changed by",
        "failed its test",
        "Read noise",
        "disk was nearly full",
        "full well",
    ):
        assert expected in texts


def test_more_than_half_of_the_lights_lost_is_a_bad_night() -> None:
    balance = (BalanceRow(instrument="c", kind="light", seen=10, done=4, rejected=6),)
    assert judge(night(balance=balance)).status == "bad"


def test_lights_that_wait_in_an_open_night_are_no_trouble() -> None:
    balance = (BalanceRow(instrument="c", kind="light", seen=10, waiting=10),)
    cause = Cause(state="waiting", cause="flat R is not there yet", count=10, files=("a",), command="nightcrew why a", kind="light")
    verdict = judge(night(balance=balance, causes=(cause,), closed=False, masters=(), calibrations=(), lights=(), trends=()))
    assert verdict.status == "good"
    assert "preliminary" in verdict.sentence


def test_lights_that_still_wait_after_the_close_need_a_person() -> None:
    balance = (BalanceRow(instrument="c", kind="light", seen=10, done=9, waiting=1),)
    cause = Cause(state="waiting", cause="flat R", count=1, files=("a",), command="nightcrew why a", kind="light")
    assert judge(night(balance=balance, causes=(cause,))).status == "attention"


def test_an_open_balance_is_a_problem() -> None:
    verdict = judge(night(balance=(BalanceRow(instrument="c", kind="bias", seen=10, done=9),)))
    assert verdict.actions[0].level == "problem"
    assert "10 seen, 9 accounted for" in verdict.actions[0].text


def test_a_failed_run_is_a_bad_night_and_says_why() -> None:
    verdict = judge(samples.failed_night())
    assert verdict.status == "bad"
    assert verdict.word == "The night failed"
    assert "out of memory" in verdict.sentence
    assert verdict.actions[0].command == f"nightcrew status {samples.NIGHT}"


def test_faults_of_the_report_itself_come_first() -> None:
    verdict = judge(samples.good_night(), ("figure 'x' is blank",))
    assert verdict.status == "attention"
    assert verdict.actions[0].text == "The report itself is incomplete: figure 'x' is blank"


def test_wrong_truth_is_a_problem() -> None:
    rows = (TruthRow(name="gain", recovered=3.0, truth=2.0, passed=False),)
    assert "gain" in judge(night(truth=rows)).actions[0].text


def test_missing_and_risky_calibrations() -> None:
    cells = (
        CalibrationCell(instrument="c", kind="flat", label="V", state="missing", users=3, reason="none within 60 days"),
        CalibrationCell(instrument="c", kind="dark", label="60 s", state="borrowed", grade="C", reason="scaled from 120 s"),
    )
    texts = [action.text for action in judge(night(calibrations=cells)).actions]
    assert "No flat for V (c); 3 lights had to do without. None within 60 days." in texts
    assert "The dark for 60 s (c) is risky (grade C): scaled from 120 s" in texts


@pytest.mark.parametrize(
    ("folders", "expected"),
    [
        ((FolderFact(path="/in", reachable=False, note="Permission denied."),), "could not be reached. Permission denied."),
        ((FolderFact(path="/in", reachable=True),), "was not walked during this night"),
        ((FolderFact(path="/in", reachable=True, last_sweep_at="07:58"),), "no file was ever seen there"),
        ((FolderFact(path="/in", reachable=True, last_sweep_at="07:58", walked=False),), "last walked at 07:58: what came later was not"),
        ((), "No folder is watched"),
    ],
)
def test_an_empty_night_says_why(folders: tuple[FolderFact, ...], expected: str) -> None:
    page = dataclasses.replace(samples.empty_night(), folders=folders)
    assert judge(page).status == "empty"
    reasons = empty_reasons(page)
    assert any(expected in reason for reason in reasons)
    assert any("most likely nothing was taken" in reason for reason in reasons) == (expected == "no file was ever seen there")


def test_an_empty_night_with_running_service_blames_nobody() -> None:
    reasons = judge(samples.empty_night()).reasons
    assert any("most likely nothing was taken" in reason for reason in reasons)
    noisy = dataclasses.replace(samples.empty_night(), notices=(Notice(level="problem", text="The service was down from 21:00 to 05:00"),))
    assert not any("most likely" in reason for reason in judge(noisy).reasons)
    assert "The service was down from 21:00 to 05:00" in judge(noisy).reasons


def test_calibrations_alone_are_a_night_too() -> None:
    page = night(lights=(), stacks=(), causes=(), balance=(BalanceRow(instrument="c", kind="bias", seen=20, done=20),), truth=())
    assert judge(page).sentence.startswith("No lights; 8 masters made of 89 calibration frames")


def test_duplicates_do_not_count_as_lights() -> None:
    page = night(balance=(BalanceRow(instrument="c", kind="light", seen=5, done=3, set_aside=2),))
    assert light_counts(page) == (3, 3)


def test_a_master_that_a_person_marked_did_not_fail_a_test() -> None:
    bad = "marked bad by a person: dome lights were on"
    master = dataclasses.replace(samples.masters()[0], certified=False, certification=bad)
    (action,) = judge(night(masters=(master,), calibrations=(), causes=(), trends=(), truth=(), notices=())).actions
    assert action.level == "notice"
    assert action.text.endswith(f"is not used: {bad}")
    assert "failed" not in action.text


def test_what_stands_among_the_actions_is_not_told_twice_in_the_mail() -> None:
    down = Notice(level="problem", text="The service was down from 21:00 to 05:00")
    verdict = judge(dataclasses.replace(samples.empty_night(), notices=(down,)))
    assert down.text in verdict.reasons
    assert down.text not in verdict.untold
    assert len(verdict.untold) == len(verdict.reasons) - 1


def test_frames_of_which_nobody_knows_what_they_are_need_a_person() -> None:
    """A camera that writes no frame type would else be set aside whole, in a good night."""
    reason = "no frame type in the header, and profile generic does not take it from the name"
    rows = (BalanceRow(instrument="generic", kind="other", seen=9, set_aside=9),)
    cause = Cause(state="set_aside", cause=reason, count=9, files=("a.fits",), command="nightcrew why a.fits", kind="other", mend="say it")
    page = night(lights=(), stacks=(), masters=(), calibrations=(), balance=rows, causes=(cause,), truth=())
    assert judge(page).status == "attention"
    assert any(action.text.startswith("9 files set aside: no frame type") for action in judge(page).actions)
    wanted = dataclasses.replace(cause, cause="duplicate: the same bytes as b.fits", mend="")
    assert judge(dataclasses.replace(page, causes=(wanted,))).status == "good"


def test_a_plate_solver_that_fails_often_asks_for_a_look_and_makes_no_night_bad() -> None:
    verdict = judge(night(plates=(PlateEntry(instrument="c", solved=0, failed=40, unsolved=40, reasons=(("it ended with 3", 40),)),)))
    assert verdict.status == "attention"
    (action,) = [one for one in verdict.actions if "plate solver" in one.text]
    assert action.text == "The plate solver failed on 40 of 40 lights of c (100 %): it ended with 3"
    assert action.level == "warning"
    assert action.command == "nightcrew rerun 2026-03-14"


def test_few_lights_without_a_plate_solution_need_nobody() -> None:
    verdict = judge(night(plates=(PlateEntry(instrument="c", solved=30, failed=10, unsolved=10, reasons=(("no stars", 10),)),)))
    assert verdict.status == "good"


def test_a_plate_solver_that_is_not_there_is_told_where_it_was_needed() -> None:
    absent = PlateEntry(instrument="c", from_header=3, unavailable="the plate solver 'solve-field' is not installed")
    assert judge(night(plates=(absent,))).status == "good"
    verdict = judge(night(plates=(dataclasses.replace(absent, unsolved=1, reasons=((absent.unavailable, 1),)),)))
    (action,) = [one for one in verdict.actions if "plate solver" in one.text]
    assert action.text == "1 light of c stayed without world coordinates: the plate solver 'solve-field' is not installed"
    assert action.command == "nightcrew doctor"
